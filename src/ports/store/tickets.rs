//! Tickets of hubs that share a server: one hub issues a ticket, and any of them accepts it. A ticket is deleted by the
//! statement that reads it, so that it is valid once.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::record;
use super::{Store, StoreError};
use crate::model::{Party, Timestamp};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct TicketRow {
    token: String,
    good_until: f64,
}

/// A ticket that was issued.
#[derive(Debug)]
pub struct NewTicket {
    /// Its hash.
    pub hash: String,
    /// The party that it is for.
    pub party: Party,
    /// The hash of the token that it stands for.
    pub token_hash: String,
    /// When it expires.
    pub good_until: Timestamp,
}

impl Store {
    /// Stores a ticket, unless its party has `of_party_max` valid ones. Returns whether it did.
    pub async fn add_ticket(&self, new: NewTicket, of_party_max: usize, now: Timestamp) -> Result<bool, StoreError> {
        let new = &new;
        self.transact(|tx| async move {
            let party = new.party.id();
            let sql = "SELECT VALUE good_until FROM ticket WHERE party = $party";
            let found = tx.rows::<f64>(sql, vars! { party: party }).await?;
            let unused = found.iter().filter(|good_until| **good_until > now).count();
            if unused >= of_party_max {
                return Ok(false);
            }
            if unused < found.len() {
                let sql = "DELETE ticket WHERE party = $party AND good_until <= $now RETURN NONE";
                tx.run(sql, vars! { party: party, now: now }).await?;
            }
            let sql = "CREATE $id SET party = $party, token = $of, good_until = $good_until RETURN NONE";
            let variables = vars! {
                id: record("ticket", &new.hash), party: party, of: new.token_hash.as_str(), good_until: new.good_until,
            };
            tx.run(sql, variables).await?;
            Ok(true)
        })
        .await
    }

    /// The hash of the token that a ticket of this hash stands for. This uses the ticket up.
    pub async fn take_ticket(&self, hash: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        let mut taken = self.run("DELETE ONLY $id RETURN BEFORE", vars! { id: record("ticket", hash) }).await?;
        let ticket = taken.optional::<TicketRow>(0)?;
        Ok(ticket.filter(|ticket| ticket.good_until > now).map(|ticket| ticket.token))
    }

    /// Deletes the tickets that have expired.
    pub async fn delete_tickets_before(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE ticket WHERE good_until <= $now RETURN NONE", vars! { now: now }).await.map(drop)
    }
}
