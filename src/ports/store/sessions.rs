//! Which hub has the session of a client of MQTT, for hubs that share a server. The session itself is in the file of that
//! hub. A row may be out of date: the hub that it names says so.

use sha2::{Digest as _, Sha256};
use surrealdb::types::{SurrealValue, vars};

use super::transaction::record_of;
use super::{Store, StoreError};
use crate::model::{Party, Timestamp};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct OwnerRow {
    hub: String,
    until: f64,
}

/// The hub that has a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOwner {
    /// The name of the hub.
    pub hub: String,
    /// When the row is deleted, as a time for ages.
    pub until: Timestamp,
}

impl Store {
    /// The hub that has the session of a client.
    pub async fn session_owner(&self, party: &Party, client_id: &str) -> Result<Option<SessionOwner>, StoreError> {
        let mut found = self.run("SELECT * FROM ONLY $id", vars! { id: key(party, client_id) }).await?;
        let row = found.optional::<OwnerRow>(0)?;
        Ok(row.map(|OwnerRow { hub, until }| SessionOwner { hub, until }))
    }

    /// From now on, this hub has the session of a client; none if no hub has it.
    pub async fn set_session_owner(
        &self,
        party: &Party,
        client_id: &str,
        owner: Option<&SessionOwner>,
    ) -> Result<(), StoreError> {
        let id = key(party, client_id);
        let Some(SessionOwner { hub, until }) = owner else {
            return self.run("DELETE $id RETURN NONE", vars! { id: id }).await.map(drop);
        };
        let row = OwnerRow { hub: hub.clone(), until: *until };
        self.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: row }).await.map(drop)
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
