//! Which hub has the session of a client of MQTT, for hubs that share a server. The session itself is in the file of that
//! hub. A row may be out of date: the hub that it names says so.

use sha2::{Digest as _, Sha256};
use surrealdb::types::{SurrealValue, vars};

use super::transaction::record_of;
use super::{Store, StoreError};
use crate::model::{Party, Timestamp};

const READ: &str = "SELECT * FROM ONLY $id";

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct OwnerRow {
    hub: String,
    until: f64,
    epoch: Option<i64>,
    anew_at: Option<f64>,
}

/// The hub that has a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOwner {
    /// The name of the hub.
    pub hub: String,
    /// When the row is deleted, as a time for ages.
    pub until: Timestamp,
    /// Raised with each change of the hub, and where a hub keeps a session that was about to move. A random number at first,
    /// so that a row that was deleted meanwhile is not taken for the same.
    pub epoch: i64,
    /// When the client last began a session that has nothing of those before, as a time for ages.
    pub anew_at: Option<Timestamp>,
}

impl SessionOwner {
    /// The row after this one, or the first one.
    pub fn next(before: Option<&Self>, hub: &str, until: Timestamp) -> Self {
        let epoch = before.map_or_else(|| rand::random::<u32>().into(), |before| before.epoch.wrapping_add(1));
        Self { hub: hub.to_owned(), until, epoch, anew_at: before.and_then(|before| before.anew_at) }
    }
}

impl From<OwnerRow> for SessionOwner {
    fn from(OwnerRow { hub, until, epoch, anew_at }: OwnerRow) -> Self {
        // Hubs of an earlier version write no epoch.
        Self { hub, until, epoch: epoch.unwrap_or_default(), anew_at }
    }
}

impl Store {
    /// The hub that has the session of a client.
    pub async fn session_owner(&self, party: &Party, client_id: &str) -> Result<Option<SessionOwner>, StoreError> {
        let mut found = self.run(READ, vars! { id: key(party, client_id) }).await?;
        Ok(found.optional::<OwnerRow>(0)?.map(SessionOwner::from))
    }

    /// Notes which hub has the session of a client, or that none has it, if the row still names the hub and the epoch of
    /// `before`. False if it has changed.
    pub async fn set_session_owner(
        &self,
        party: &Party,
        client_id: &str,
        before: Option<&SessionOwner>,
        owner: Option<&SessionOwner>,
    ) -> Result<bool, StoreError> {
        let id = key(party, client_id);
        let (id, turn) = (&id, |owner: &SessionOwner| (owner.hub.clone(), owner.epoch));
        self.transact(|tx| async move {
            let found = tx.one::<OwnerRow>(READ, vars! { id: id.clone() }).await?.map(SessionOwner::from);
            if found.as_ref().map(turn) != before.map(turn) {
                return Ok(false);
            }
            match owner {
                Some(SessionOwner { hub, until, epoch, anew_at }) => {
                    let row = OwnerRow { hub: hub.clone(), until: *until, epoch: Some(*epoch), anew_at: *anew_at };
                    tx.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id.clone(), row: row }).await?;
                }
                None => drop(tx.run("DELETE $id RETURN NONE", vars! { id: id.clone() }).await?),
            }
            Ok(true)
        })
        .await
    }

    /// Deletes the rows whose time is over.
    pub async fn delete_session_owners_before(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE session WHERE until <= $now RETURN NONE", vars! { now: now }).await.map(drop)
    }
}

/// A client id may have 65,535 bytes of any kind.
fn key(party: &Party, client_id: &str) -> surrealdb::types::RecordId {
    record_of("session", party.id(), hex::encode(Sha256::digest(client_id)))
}
