//! The identity of the database, and the number of its rows.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored, stored_number};
use crate::model::{Counts, HubId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct CountsRow {
    users: i64,
    toys: i64,
    messages: i64,
}

impl Store {
    /// The hub that the database belongs to; none for a new one, and for one from before 0.2.
    pub async fn hub(&self) -> Result<Option<HubId>, StoreError> {
        let hub = self.noted::<String>("SELECT VALUE hub FROM ONLY meta:identity").await?;
        hub.map(|hub| stored(&hub)).transpose()
    }

    /// The hash of the operator's password; none before it is made.
    pub async fn operator_password(&self) -> Result<Option<String>, StoreError> {
        self.noted::<String>("SELECT VALUE secret FROM ONLY meta:operator").await
    }

    /// Sets the hash of the operator's password, or removes it.
    pub async fn set_operator_password(&self, hash: Option<&str>) -> Result<(), StoreError> {
        self.run("UPSERT meta:operator SET secret = $hash RETURN NONE", vars! { hash: hash.map(str::to_owned) })
            .await
            .map(drop)
    }

    /// Counts users, toys and messages. It scans the users, the toys and the chats, so it is for the start and the end
    /// of a process.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        let mut reply = self
            .run_slowly(
                "RETURN {
                    users: count(SELECT VALUE id FROM user),
                    toys: count(SELECT VALUE id FROM toy),
                    messages: math::sum(SELECT VALUE seq - (erased ?? 0) FROM chat),
                }",
                vars! {},
            )
            .await?;
        let row = reply.optional::<CountsRow>(0)?;
        let row = row.ok_or_else(|| StoreError::Corrupt("nothing was counted".into()))?;
        Ok(Counts {
            users: stored_number(row.users)?,
            toys: stored_number(row.toys)?,
            messages: stored_number(row.messages)?,
        })
    }
}
