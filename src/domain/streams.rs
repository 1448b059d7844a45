//! The stream of a user's events, from which devices read the events that they missed.
//!
//! A user's events are numbered 1, 2, 3 … without gaps, within the transactions that cause them. Number n is only
//! assigned after n - 1 was committed. So a device that has m and receives n > m + 1 can fetch m + 1 to n at once, and
//! has then missed no event.

use super::Hub;
use super::error::DomainError;
use crate::model::{Event, Party, UserId};
use crate::ports::store::Missed;

/// The place at which a device enters the stream of its user again.
#[derive(Debug)]
pub struct Resumption {
    /// The number of the newest event.
    pub newest: u64,
    /// The first events that the device has missed, with their numbers; none if it has to load everything again.
    pub missed: Option<Vec<(u64, Event)>>,
}

impl Hub {
    /// The number of the newest event of a user's stream; 0 before the first.
    pub async fn newest_event(&self, user: &UserId) -> Result<u64, DomainError> {
        Ok(self.store.last_event(user).await?)
    }

    /// The first events that follow number `after`, at most `limit`, and the number of the newest, from one snapshot.
    pub async fn resume_stream(&self, user: &UserId, after: u64, limit: usize) -> Result<Resumption, DomainError> {
        let found = self.store.missed(user, after, limit).await?;
        let newest = found.last;
        Ok(Resumption { newest, missed: without_gap(user, found, after, limit).ok() })
    }

    /// The events of a user that follow number `after`, at most `limit`, without gaps and with their numbers.
    ///
    /// Fewer than `limit` events mean that there are no more. Errors: `StreamTooOld` if the event after `after` is no
    /// longer kept, if `after` was never assigned (the device has the number from another hub), or if one of the events
    /// is lost, as a device could not handle a gap.
    pub async fn missed(&self, user: &UserId, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, DomainError> {
        without_gap(user, self.store.missed(user, after, limit).await?, after, limit)
    }
}

/// The events after number `after`. Errors: `StreamTooOld`.
fn without_gap(user: &UserId, found: Missed, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, DomainError> {
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
