//! The stream of a user's events, from which devices read the events that they missed.
//!
//! A user's events are numbered 1, 2, 3 … without gaps, within the transactions that cause them. Number n is only
//! assigned after n - 1 was committed. So a device that has m and receives n > m + 1 can fetch m + 1 to n at once, and
//! has then missed no event.

use super::Hub;
use super::error::DomainError;
use crate::model::{Event, Party, UserId};

impl Hub {
    /// The numbers of the oldest kept event and of the newest event of a user's stream. Before the first event: 1 and
    /// 0.
    pub async fn stream_position(&self, user: &UserId) -> Result<(u64, u64), DomainError> {
        let found = self.store.missed(user, 0, 0).await?;
        Ok((found.first, found.last))
    }

    /// The events of a user that follow number `after`, at most `limit`, without gaps and with their numbers.
    ///
    /// Fewer than `limit` events mean that there are no more. Errors: `StreamTooOld` if the event after `after` is no
    /// longer kept, if `after` was never assigned (the device has the number from another hub), or if one of the events
    /// is lost, as a device could not handle a gap.
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
