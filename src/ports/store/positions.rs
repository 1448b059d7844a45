//! How far users and toys are: a hub that was told nothing compares this with what it has sent.

use surrealdb::types::SurrealValue;

use super::streams::last_event_of;
use super::transaction::record;
use super::{Store, StoreError, stored_number};
use crate::model::{Party, ToyId, UserId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct IncomingRow {
    incoming: i64,
}

impl Store {
    /// The numbers of the users' last events, in the order of the users, by one query; 0 before the first event.
    pub async fn last_events(&self, users: &[UserId]) -> Result<Vec<u64>, StoreError> {
        let rows = self.rows_of(users.iter().map(|user| record("stream", user.as_str())).collect()).await?;
        rows.into_iter().map(last_event_of).collect()
    }

    /// How many messages a toy was sent, as its address book counts them. It changes with each message, and when friends
    /// or messages are erased.
    pub async fn received(&self, toy: &ToyId) -> Result<u64, StoreError> {
        let mut count = 0;
        for row in self.book_of(Party::Toy(toy.clone()).id()).await? {
            count += IncomingRow::from_value(row)?.incoming;
        }
        stored_number(count)
    }
}
