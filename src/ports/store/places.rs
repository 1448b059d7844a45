//! Places: the addresses at which parties have authenticated.
//!
//! A place is an address as text, made by the domain: one IPv4 address or one IPv6 /64.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::{Transaction, keys_of, record, record_of};
use super::{Store, StoreError};
use crate::model::{Party, Timestamp, ToyId};

/// A place of a party.
#[derive(Debug, Clone, PartialEq, SurrealValue)]
#[surreal(crate = "surrealdb::types")]
pub struct ProvenPlace {
    /// The place.
    pub place: String,
    /// When the party last authenticated there.
    pub proved_at: Timestamp,
    /// When the party was last active there, with a precision of an hour.
    pub seen_at: Timestamp,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PlaceRow {
    party: String,
    place: String,
    proved_at: f64,
    seen_at: f64,
}

impl Store {
    /// Records that a party authenticated at a place. Beyond `keep` places of the party, the one with the oldest
    /// authentication is deleted.
    pub async fn prove_place(&self, party: &Party, place: &str, now: Timestamp, keep: usize) -> Result<(), StoreError> {
        let _turn = self.turns.of(party.id(), party.id()).await;
        self.transact(|tx| async move {
            let others = tx.other_places(party, place).await?;
            tx.prove_place(party, place, others, now, keep).await
        })
        .await
    }

    /// Records that a toy that may open at a new place has opened at one, `place`, that is not in `near`, and returns
    /// whether it may: not if it has another place that is not in `near`. The permission stays for a place near a
    /// guardian.
    pub async fn open_far(
        &self,
        toy: &ToyId,
        place: &str,
        near: Vec<String>,
        now: Timestamp,
        keep: usize,
    ) -> Result<bool, StoreError> {
        let (party, near) = (&Party::Toy(toy.clone()), &near);
        let _turn = self.turns.of(party.id(), party.id()).await;
        self.transact(|tx| async move {
            let id = record("toy", party.id());
            let until = tx.one::<f64>("SELECT VALUE let_in_until FROM ONLY $id", vars! { id: id }).await?;
            let others = tx.other_places(party, place).await?;
            if until.is_none_or(|until| until <= now) || others.iter().any(|other| !near.contains(&other.place)) {
                return Ok(false);
            }
            tx.prove_place(party, place, others, now, keep).await?;
            Ok(true)
        })
        .await
    }

    /// The place of a party, if it is one.
    pub async fn place(&self, party: &Party, place: &str) -> Result<Option<ProvenPlace>, StoreError> {
        let id = record_of("place", party.id(), place.to_owned());
        let mut reply = self.run("SELECT place, proved_at, seen_at FROM ONLY $id", vars! { id: id }).await?;
        reply.optional::<ProvenPlace>(0)
    }

    /// All places of a party.
    pub async fn places(&self, party: &Party) -> Result<Vec<ProvenPlace>, StoreError> {
        let mut reply = self.run(PLACES, vars! { keys: keys_of(party.id()) }).await?;
        reply.rows::<ProvenPlace>(0)
    }

    /// Records that a party is active at one of its places.
    pub async fn see_at_place(&self, party: &Party, place: &str, now: Timestamp) -> Result<(), StoreError> {
        let id = record_of("place", party.id(), place.to_owned());
        self.run("UPDATE $id SET seen_at = $now RETURN NONE", vars! { id: id, now: now }).await.map(drop)
    }

    /// Whether any party authenticated at a place after `since`.
    pub async fn is_place_proven(&self, place: &str, since: Timestamp) -> Result<bool, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE party FROM place WHERE place = $place AND proved_at > $since LIMIT 1",
                vars! { place: place, since: since },
            )
            .await?;
        Ok(!reply.rows::<String>(0)?.is_empty())
    }

    /// Deletes a place of a party.
    pub async fn forget_place(&self, party: &Party, place: &str) -> Result<(), StoreError> {
        let id = record_of("place", party.id(), place.to_owned());
        self.run("DELETE $id RETURN NONE", vars! { id: id }).await.map(drop)
    }

    /// Deletes all places of a party.
    pub async fn forget_places(&self, party: &Party) -> Result<(), StoreError> {
        self.run("DELETE place:[$party, '']..[$party, '~']", vars! { party: party.id() }).await.map(drop)
    }
}

impl Transaction<'_> {
    /// The places of a party without this one.
    async fn other_places(&self, party: &Party, place: &str) -> Result<Vec<ProvenPlace>, StoreError> {
        let mut others = self.rows::<ProvenPlace>(PLACES, vars! { keys: keys_of(party.id()) }).await?;
        others.retain(|other| other.place != place);
        Ok(others)
    }

    /// Writes a place of a party that has `others`, of which the oldest are deleted beyond `keep`.
    async fn prove_place(
        &self,
        party: &Party,
        place: &str,
        mut others: Vec<ProvenPlace>,
        now: Timestamp,
        keep: usize,
    ) -> Result<(), StoreError> {
        others.sort_by(|a, b| b.proved_at.total_cmp(&a.proved_at));
        for old in others.iter().skip(keep.saturating_sub(1)) {
            let id = record_of("place", party.id(), old.place.clone());
            self.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
        }
        let row = PlaceRow { party: party.id().into(), place: place.into(), proved_at: now, seen_at: now };
        let id = record_of("place", party.id(), place.to_owned());
        self.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: row }).await.map(drop)
    }
}

const PLACES: &str = "SELECT place, proved_at, seen_at FROM type::record('place', $keys)";
