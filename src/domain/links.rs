//! Links: signed addresses of sounds for players, which cannot present a token (`/get_chat/<name>?sig=…`).
//!
//! A link is made for one party, and opens the same files as a login of that party. Its signature is an HMAC over the
//! name, the expiry, the party and the party's login epoch, with a key derived from the hub's secret, which is in the
//! database. So links stay valid after a restart and in a restored backup, and end when the party's password changes or
//! all its tokens are revoked, which raises the epoch.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::DomainError;
use super::{Hub, clock};
use crate::model::{FileName, Party, PartyId, PartyKind, Secret, Timestamp};

/// The purpose of the derived key: the secret has other uses.
const PURPOSE: &[u8] = b"links to sounds";

/// Creates and verifies links.
pub(super) struct Links {
    mac: Hmac<Sha256>,
    lasts_s: Timestamp,
}

/// Creates the links of one party.
#[derive(Clone)]
pub struct LinksOf {
    links: Arc<Links>,
    party: Party,
    epoch: u64,
}

/// What the signature of a link states. It is not verified yet.
pub(super) struct Claim {
    /// For whom the link was made.
    pub(super) party: Party,
    good_until: u64,
    mac: Vec<u8>,
}

impl LinksOf {
    /// The address of a recording or spoken sound, valid for `auth.link_minutes`.
    pub fn to(&self, name: &FileName, now: Timestamp) -> String {
        let good_until = (clock::age_of(now) + self.links.lasts_s).ceil() as u64;
        let mac = self.links.signed(name, &self.party, self.epoch, good_until).finalize().into_bytes();
        let (kind, id) = (letter(self.party.kind()), self.party.id());
        format!("/get_chat/{name}?sig={good_until}-{kind}{id}-{}", hex::encode(mac))
    }
}

impl Links {
    pub(super) fn new(secret: &Secret, lasts_minutes: u32) -> Self {
        let key = keyed(secret.reveal().as_bytes()).chain_update(PURPOSE).finalize().into_bytes();
        Self { mac: keyed(&key), lasts_s: Timestamp::from(lasts_minutes) * 60.0 }
    }

    /// Whether the link to a sound with this claim is genuine, at an epoch of its party.
    pub(super) fn has_signed(&self, name: &FileName, claim: &Claim, epoch: u64) -> bool {
        self.signed(name, &claim.party, epoch, claim.good_until).verify_slice(&claim.mac).is_ok()
    }

    fn signed(&self, name: &FileName, party: &Party, epoch: u64, good_until: u64) -> Hmac<Sha256> {
        // Neither a name nor a party contains the byte between the two.
        self.mac
            .clone()
            .chain_update(name.as_str())
            .chain_update([0])
            .chain_update(party.to_string())
            .chain_update([0])
            .chain_update(epoch.to_be_bytes())
            .chain_update(good_until.to_be_bytes())
    }
}

impl Claim {
    /// Reads a signature; none if it is malformed or has expired.
    pub(super) fn read(signature: &str, now: Timestamp) -> Option<Self> {
        let mut parts = signature.splitn(3, '-');
        let (good_until, party, mac) = (parts.next()?.parse::<u64>().ok()?, parts.next()?, parts.next()?);
        let (letter, id) = party.split_at_checked(1)?;
        let kind = match letter {
            "a" => PartyKind::App,
            "t" => PartyKind::Toy,
            _ => return None,
        };
        let party = Party::new(kind, &id.parse::<PartyId>().ok()?);
        let mac = hex::decode(mac).ok()?;
        (clock::age_of(now) < good_until as Timestamp).then_some(Self { party, good_until, mac })
    }
}

impl Hub {
    /// Creates the links of a party. Errors: `UnknownParty`.
    pub async fn links_of(&self, party: &Party) -> Result<LinksOf, DomainError> {
        let epoch = self.store.login_epoch(party).await?.ok_or(DomainError::UnknownParty)?;
        Ok(LinksOf { links: Arc::clone(&self.links), party: party.clone(), epoch })
    }

    /// Creates the links of the party of a token; none for a token that is invalid.
    pub async fn links_of_token(&self, token: &Secret, now: Timestamp) -> Result<Option<LinksOf>, DomainError> {
        match self.token_party(token, now).await? {
            Some(party) => self.links_of(&party).await.map(Some),
            None => Ok(None),
        }
    }

    /// The party of a link to a sound; none if the link is not genuine or has expired, or if the party's password or
    /// tokens have changed since.
    pub(super) async fn party_of_link(
        &self,
        name: &FileName,
        signature: &str,
        now: Timestamp,
    ) -> Result<Option<Party>, DomainError> {
        let Some(claim) = Claim::read(signature, now) else { return Ok(None) };
        let epoch = self.store.login_epoch(&claim.party).await?;
        Ok(epoch.filter(|epoch| self.links.has_signed(name, &claim, *epoch)).map(|_| claim.party))
    }
}

fn letter(kind: PartyKind) -> char {
    match kind {
        PartyKind::App => 'a',
        PartyKind::Toy => 't',
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC accepts keys of any length.
        Err(_) => Hmac::new(&Default::default()),
    }
}

/// The links of a party, without a hub.
#[cfg(test)]
pub(crate) fn test_links(secret: &str, lasts_minutes: u32, party: Party) -> LinksOf {
    LinksOf { links: Arc::new(Links::new(&Secret::new(secret), lasts_minutes)), party, epoch: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5c8f582f268d7942f44c6703";

    #[test]
    fn a_link_opens_one_sound_for_a_while_for_one_party_and_epoch() {
        let (name, other): (FileName, FileName) = ("a.mp3".parse().unwrap(), "b.mp3".parse().unwrap());
        let me = Party::User(ID.parse().unwrap());
        let of = |secret: &str| test_links(secret, 2, me.clone());
        let link = of("secret").to(&name, 1000.5);
        let signature = link.strip_prefix("/get_chat/a.mp3?sig=").unwrap();
        let opens_at = |name: &FileName, signature: &str, now, epoch| {
            let claim = Claim::read(signature, now);
            claim.is_some_and(|claim| of("secret").links.has_signed(name, &claim, epoch))
        };
        let opens = |name: &FileName, signature: &str, now| opens_at(name, signature, now, 1);
        assert!(opens(&name, signature, 1000.5));
        assert!(opens(&name, signature, 1120.0));
        assert!(!opens(&name, signature, 1121.0), "it is too old");
        assert!(!opens(&other, signature, 1000.5), "another sound");
        assert!(!opens_at(&name, signature, 1000.5, 2), "another epoch");
        let claim = Claim::read(signature, 1000.5).unwrap();
        assert_eq!(claim.party, me);
        assert!(!of("other").links.has_signed(&name, &claim, 1), "another hub");
        let parts: Vec<&str> = signature.split('-').collect();
        let [until, party, mac] = parts[..] else { panic!("{signature}") };
        for forged in [
            String::new(),
            "-".into(),
            "--".into(),
            "9999999999".into(),
            format!("9999999999-{party}-{mac}"),
            format!("{until}-t{ID}-{mac}"),
            format!("{until}-a{}-{mac}", ID.replace('5', "6")),
            format!("{until}-{ID}-{mac}"),
            format!("{until}--{mac}"),
            format!("{until}-ü-{mac}"),
            format!("{until}-{party}-{}", "0".repeat(64)),
            format!("{until}-{party}-"),
            format!("{until}-{mac}"),
        ] {
            assert!(!opens(&name, &forged, 1000.5), "{forged}");
        }
        assert!(!opens(&name, &signature[..signature.len() - 2], 1000.5), "cut");
    }
}
