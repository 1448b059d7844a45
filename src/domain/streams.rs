//! What a user's devices missed: the stream of the user's events, from the store.
//!
//! A user's events are numbered 1, 2, 3 … without gaps, in the transactions that they are about. Number n is only
//! given after n - 1 was committed. So whoever gets n live and has m < n - 1 can fetch m + 1 to n at once, and has then
//! missed nothing.

use super::Hub;
use super::error::DomainError;
use crate::model::{Event, Party, UserId};

impl Hub {
    /// Where a user's stream stands: the numbers of the oldest event that is kept and of the newest. Before the first
    /// event: 1 and 0.
    pub async fn stream_position(&self, user: &UserId) -> Result<(u64, u64), DomainError> {
        let found = self.store.missed(user, 0, 0).await?;
        Ok((found.first, found.last))
    }

    /// The events of a user that follow number `after`, at most `limit`, without gaps and with their numbers.
    ///
    /// What was fetched is all that there was when fewer than `limit` come. Errors: `StreamTooOld` where the event
    /// after `after` is not kept any more, where `after` was never given (the device's memory is of another hub), or
    /// where one of the events is lost: a device could not do anything about a gap.
    pub async fn missed(&self, user: &UserId, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, DomainError> {
        let found = self.store.missed(user, after, limit).await?;
        if after > found.last || after.saturating_add(1) < found.first {
            return Err(DomainError::StreamTooOld { current: found.last });
        }
        let expected = found.last.min(after.saturating_add(limit as u64)) - after;
        if found.events.len() as u64 != expected {
            tracing::error!(
                user = Party::User(user.clone()).in_log(),
                after,
                "events of a stream are lost; see toyhub doctor --repair"
            );
            return Err(DomainError::StreamTooOld { current: found.last });
        }
        Ok(found.events)
    }
}
