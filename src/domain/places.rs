//! Places: the addresses from which a documented call without a token is permitted (`[auth] mode = "place"`).
//!
//! The documented clients know no tokens, and an id or a device key is no proof: the key is printed in the toy's QR
//! code. So such a call is accepted only from a place, an address at which the party that it names has authenticated
//! within the last `auth.place_days`: a user with a password, a toy with its device's secret or by a permitted opening.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use super::error::DomainError;
use super::units::{DAY_S, HOUR_S};
use super::{Hub, clock};
use crate::config::{AllowedFrom, AuthMode};
use crate::model::{Event, Network, Party, Secret, Timestamp, Toy, ToyId, UserId};
use crate::ports::store::ProvenPlace;

/// The precision of the stored time of last activity at a place. It saves most calls a write.
const SEEN_STEP_S: f64 = HOUR_S;
/// A toy that was active elsewhere within this time cannot open at a new place by itself.
const ELSEWHERE_S: f64 = DAY_S;

/// The origin of a call.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The address to which limits apply.
    pub peer: IpAddr,
    /// Whether the address says nothing about who calls, so that it is never a place: the call came through a proxy that
    /// `net.proxies` does not name, or from a web page that anybody may have made.
    pub is_hidden: bool,
    /// The kind of client, as it describes itself: nothing that is proven.
    pub agent: Option<u64>,
}

impl From<IpAddr> for Origin {
    fn from(peer: IpAddr) -> Self {
        Self { peer, is_hidden: false, agent: None }
    }
}

impl Origin {
    /// The same, of a client that describes itself so.
    #[must_use]
    pub fn with_agent(self, text: Option<&str>) -> Self {
        let hash = |text: &str| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        Self { agent: text.map(hash), ..self }
    }

    pub(super) fn place(self) -> Option<Network> {
        (!self.is_hidden).then(|| self.peer.into())
    }
}

/// Whether both addresses are in one home network: the same place, or private IPv4 addresses of one /24.
fn is_near(a: Network, b: Network) -> bool {
    match (a.address(), b.address()) {
        (IpAddr::V4(a), IpAddr::V4(b)) if is_private(a) && is_private(b) => a.octets()[..3] == b.octets()[..3],
        (a, b) => a == b,
    }
}

/// Whether a place is in one home network with one of `others`.
fn is_near_one(place: Network, others: &[Network]) -> bool {
    others.iter().any(|other| is_near(*other, place))
}

fn is_private(address: std::net::Ipv4Addr) -> bool {
    address.is_private() || address.is_link_local()
}

/// Whether an address is private, loopback or link-local.
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private(address) || address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

impl Hub {
    /// Checks whether an action is allowed from an address, with or without an invitation. Errors: `NotFromHere`.
    pub(super) fn check_allowed_from(
        &self,
        allowed: AllowedFrom,
        from: Origin,
        has_invite: bool,
        what: &'static str,
    ) -> Result<(), DomainError> {
        let is_allowed = match allowed {
            AllowedFrom::Open => true,
            AllowedFrom::Invite => has_invite,
            AllowedFrom::Local => !from.is_hidden && is_local(from.peer),
            AllowedFrom::Closed => false,
        };
        if is_allowed { Ok(()) } else { Err(DomainError::NotFromHere(what)) }
    }

    /// Checks whether a call that names no party is permitted: with any valid token, or from a place of any party.
    ///
    /// Errors: `Unauthorized`.
    pub async fn authorize_anybody(
        &self,
        token: Option<&Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let is_allowed = match (self.config.auth.mode, token) {
            (AuthMode::Open, _) => true,
            (_, Some(token)) => self.token_party(token, now).await?.is_some(),
            (AuthMode::Token, None) => false,
            (AuthMode::Place, None) => self.is_known_place(from.into(), now).await?,
        };
        if is_allowed { Ok(()) } else { Err(DomainError::Unauthorized) }
    }

    /// Whether any party has authenticated at the place of an address.
    async fn is_known_place(&self, from: Origin, now: Timestamp) -> Result<bool, DomainError> {
        let Some(place) = from.place() else { return Ok(false) };
        Ok(self.store.is_place_proven(&place.to_string(), clock::age_of(now) - self.place_lasts_s()).await?)
    }

    /// Whether the party has authenticated at the place of an address. Records the activity there.
    pub(super) async fn is_proven_at(&self, party: &Party, from: Origin, now: Timestamp) -> Result<bool, DomainError> {
        let Some(place) = from.place().map(|place| place.to_string()) else { return Ok(false) };
        let found = self.store.place(party, &place).await?;
        self.is_proof(party, found, now).await
    }

    /// Whether a place at which the party has authenticated, if it has, is still valid. Records the activity there.
    pub(super) async fn is_proof(
        &self,
        party: &Party,
        place: Option<ProvenPlace>,
        now: Timestamp,
    ) -> Result<bool, DomainError> {
        let Some(found) = place else { return Ok(false) };
        let now = clock::age_of(now);
        if found.proved_at <= now - self.place_lasts_s() {
            return Ok(false);
        }
        if found.seen_at < now - SEEN_STEP_S {
            self.store.see_at_place(party, &found.place, now).await?;
        }
        Ok(true)
    }

    /// Records that the party has authenticated at the place of an address. This is not repeated within an hour.
    pub(super) async fn note_proof(
        &self,
        party: &Party,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let Some(place) = from.into().place().map(|place| place.to_string()) else { return Ok(()) };
        let (known, now) = (self.store.place(party, &place).await?, clock::age_of(now));
        if known.is_some_and(|known| known.proved_at > now - SEEN_STEP_S && known.proved_at <= now) {
            return Ok(());
        }
        Ok(self.store.prove_place(party, &place, now, self.config.auth.places_max).await?)
    }

    /// Records the place of a login with a device's secret, which never expires. A token is no proof for a place. A toy
    /// that has its secret need not be let in by its key: whoever opens it by the key now may be a stranger.
    pub(super) async fn note_secret(
        &self,
        party: &Party,
        expires_at: Timestamp,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        if expires_at == Timestamp::INFINITY {
            if let Party::Toy(toy) = party {
                self.end_letting_in(toy, now).await?;
            }
            self.note_proof(party, from, now).await?;
        }
        Ok(())
    }

    /// Whether a toy that knows only its device key may open at an address. If so, the address becomes a place of the
    /// toy.
    ///
    /// A toy whose calls always need a token may not. Any other toy may open at its places; near a place of a guardian,
    /// unless it was active elsewhere within the last day; and at one new place shortly after it was bound or a
    /// guardian called `let_in`, if it has not logged in with its secret since. In that time a place near a guardian
    /// replaces one that is not, whose opener may be a stranger. Openings that are refused are limited for each address.
    pub(super) async fn may_open(&self, toy: &Toy, from: Origin, now: Timestamp) -> Result<bool, DomainError> {
        let Some(place) = from.place() else { return Ok(false) };
        if self.wants_only_tokens(&toy.id).await? {
            return Ok(false);
        }
        let party = Party::Toy(toy.id.clone());
        let is_proven = self.is_proven_at(&party, from, now).await?;
        if !is_proven && self.rates.refused_openings_of_address.check(&place).is_err() {
            return Ok(false);
        }
        let of_guardians = self.guardian_places(&toy.id, now).await?;
        let is_near = is_near_one(place, &of_guardians);
        let was_let_in = is_near && self.end_letting_in(&toy.id, now).await?;
        if is_proven {
            return Ok(true);
        }
        let is_known = of_guardians.contains(&place) || self.store.place(&party, &place.to_string()).await?.is_some();
        let is_allowed = match is_near {
            true => was_let_in || !self.is_active_elsewhere(&party, place, now).await?,
            false => self.open_far(&toy.id, place, &of_guardians, now).await?,
        };
        if !is_allowed {
            return Ok(false);
        }
        self.store.prove_place(&party, &place.to_string(), clock::age_of(now), self.config.auth.places_max).await?;
        if !is_known {
            self.report_first_opening(&toy.id, place, now).await;
        }
        Ok(true)
    }

    /// Ends the time in which a toy may open at a new place, as it has opened near a guardian or proved itself. A place
    /// that is not near a guardian is forgotten then. Returns whether the time was not over.
    async fn end_letting_in(&self, toy: &ToyId, now: Timestamp) -> Result<bool, DomainError> {
        let is_open = self.store.take_letting_in(toy, now).await?;
        if is_open {
            self.forget_far_places(toy, now).await?;
        }
        Ok(is_open)
    }

    /// Whether a toy may open at a place that is not near a guardian: as the first one that does so while it is let in.
    /// The place then is one of the toy.
    async fn open_far(
        &self,
        toy: &ToyId,
        place: Network,
        of_guardians: &[Network],
        now: Timestamp,
    ) -> Result<bool, DomainError> {
        let known = self.store.places(&Party::Toy(toy.clone())).await?.into_iter().map(|known| known.place);
        let is_near = |known: &String| known.parse::<Network>().is_ok_and(|known| is_near_one(known, of_guardians));
        let near = known.filter(is_near).collect();
        let (age, keep) = (clock::age_of(now), self.config.auth.places_max);
        Ok(self.store.open_far(toy, &place.to_string(), near, age, keep).await?)
    }

    /// Records that a toy was opened at a new place, and notifies its guardians, as it may have been a stranger.
    async fn report_first_opening(&self, toy: &ToyId, place: Network, now: Timestamp) {
        self.note_opening(toy, &place.to_string(), now).await;
        let event = Event::ToyOpened { toy: toy.clone(), place: place.to_string() };
        if let Err(error) = self.notify_guardians(toy, &event).await {
            tracing::warn!(?error, "guardians not notified of a toy that was opened at a new place");
        }
    }

    async fn notify_guardians(&self, toy: &ToyId, event: &Event) -> Result<(), DomainError> {
        let told = self.store.notify(&self.guardians(toy).await?, event).await?;
        self.announce_to_users(&told, event).await;
        Ok(())
    }

    /// Whether the calls of a toy always need a token. Those of an erased toy do.
    async fn wants_only_tokens(&self, toy: &ToyId) -> Result<bool, DomainError> {
        let known = self.store.party(&toy.as_str().parse().map_err(DomainError::internal)?).await?;
        Ok(known.is_none_or(|(_, only_token)| only_token))
    }

    /// Notifies the guardians of a toy that was refused, at a limited rate. There is no notification for a toy whose
    /// calls always need a token: `let_in` would not help.
    pub(super) async fn report_refused_opening(&self, toy: &ToyId, from: Origin) {
        let Some(place) = from.place() else { return };
        if let Err(error) = self.notify_of_opening(toy, place).await {
            tracing::warn!(?error, "the guardians of a refused toy could not be notified");
        }
    }

    async fn notify_of_opening(&self, toy: &ToyId, place: Network) -> Result<(), DomainError> {
        if self.wants_only_tokens(toy).await? || self.rates.refused_openings.spend(toy).is_err() {
            return Ok(());
        }
        self.notify_guardians(toy, &Event::ToyWantsIn { toy: toy.clone(), place: place.to_string() }).await
    }

    /// Sets whether calls for a party always need a token. If so, its places are deleted and its connections closed.
    /// Errors: `UnknownParty`.
    pub async fn set_only_token(&self, party: &Party, is_on: bool) -> Result<(), DomainError> {
        let id = party.id().parse().map_err(DomainError::internal)?;
        self.store.party(&id).await?.filter(|(found, _)| found == party).ok_or(DomainError::UnknownParty)?;
        self.store.set_only_token(party, is_on).await?;
        if is_on {
            // A stranger at a place has no token: the open connections end, and the place stays closed when calls
            // without a token are permitted again.
            self.store.forget_places(party).await?;
            self.end_connections(party).await;
        }
        Ok(())
    }

    /// As [`Self::set_only_token`], for a user or a toy of a guardian. Errors: `UnknownParty`, also for a toy of other
    /// users.
    pub async fn want_only_tokens(&self, user: &UserId, toy: Option<&ToyId>, is_on: bool) -> Result<(), DomainError> {
        let party = match toy {
            Some(toy) => {
                self.check_toy_of(Some(user), toy).await?;
                Party::Toy(toy.clone())
            }
            None => Party::User(user.clone()),
        };
        self.set_only_token(&party, is_on).await
    }

    /// Permits a toy of a guardian to open at one new place within the next minutes. Its places that are not near a
    /// guardian are deleted, so that a stranger who opened it first loses access. The guardian `None` is the operator
    /// of the hub. Errors: `UnknownParty`, also for a toy of other users.
    pub async fn let_toy_in(&self, guardian: Option<&UserId>, id: &ToyId, now: Timestamp) -> Result<(), DomainError> {
        self.check_toy_of(guardian, id).await?;
        self.forget_far_places(id, now).await?;
        Ok(self.store.let_in(id, self.let_in_until(now)).await?)
    }

    /// Deletes the places of a toy that are not near a place of a guardian, and closes its connections; the toy itself
    /// reconnects.
    pub(super) async fn forget_far_places(&self, toy: &ToyId, now: Timestamp) -> Result<(), DomainError> {
        let party = Party::Toy(toy.clone());
        let of_guardians = self.guardian_places(toy, now).await?;
        let mut is_forgotten = false;
        for known in self.store.places(&party).await? {
            let place = known.place.parse::<Network>().map_err(DomainError::internal)?;
            if !is_near_one(place, &of_guardians) {
                self.store.forget_place(&party, &known.place).await?;
                is_forgotten = true;
            }
        }
        if is_forgotten {
            self.end_connections(&party).await;
        }
        Ok(())
    }

    /// The time, by [`clock::age_of`], until which a toy that is bound or permitted now may open at a new place.
    pub(super) fn let_in_until(&self, now: Timestamp) -> Timestamp {
        clock::age_of(now) + f64::from(self.config.auth.let_in_minutes) * 60.0
    }

    /// The places of the guardians of a toy.
    async fn guardian_places(&self, toy: &ToyId, now: Timestamp) -> Result<Vec<Network>, DomainError> {
        let proven_since = clock::age_of(now) - self.place_lasts_s();
        let mut found = Vec::new();
        for guardian in self.guardians(toy).await? {
            let places = self.store.places(&Party::User(guardian)).await?;
            let proven = places.iter().filter(|known| known.proved_at > proven_since);
            found.extend(proven.filter_map(|known| known.place.parse::<Network>().ok()));
        }
        Ok(found)
    }

    async fn is_active_elsewhere(&self, toy: &Party, place: Network, now: Timestamp) -> Result<bool, DomainError> {
        let places = self.store.places(toy).await?;
        let (here, now) = (place.to_string(), clock::age_of(now));
        Ok(places.iter().any(|known| known.place != here && known.seen_at > now - ELSEWHERE_S))
    }

    fn place_lasts_s(&self) -> f64 {
        f64::from(self.config.auth.place_days) * DAY_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Network {
        address.parse().unwrap()
    }

    #[test]
    fn a_place_is_an_ipv4_address_or_an_ipv6_network() {
        for (a, b, is_same) in [
            ("203.0.113.7", "::ffff:203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("127.0.0.1", "127.0.0.2", false),
        ] {
            assert_eq!(place(a) == place(b), is_same, "{a} {b}");
            assert_eq!(place(a).to_string().parse::<Network>().unwrap(), place(a));
        }
    }

    #[test]
    fn near_is_one_home_network() {
        for (a, b, expected) in [
            ("192.168.1.4", "192.168.1.200", true),
            ("192.168.1.4", "192.168.2.4", false),
            ("10.0.0.1", "10.0.0.9", true),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("fd00::1:2:3:4", "fd00::9:9:9:9", true),
            ("fd00:0:0:1::1", "fd00:0:0:2::1", false),
            ("192.168.1.4", "fd00::1", false),
        ] {
            assert_eq!(is_near(place(a), place(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn local_addresses_are_private_loopback_and_link_local_ones() {
        for (address, expected) in [
            ("192.168.1.4", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("169.254.1.1", true),
            ("127.0.0.2", true),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("::ffff:192.168.1.4", true),
            ("203.0.113.7", false),
            ("100.64.0.1", false),
            ("2001:db8::1", false),
            ("::ffff:203.0.113.7", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
        }
    }
}
