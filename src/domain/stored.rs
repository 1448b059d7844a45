//! The bytes of recordings that each party has stored (`[limits] stored_bytes_per_party`).
//!
//! They are counted once in each process, at the party's first upload, and then kept in memory. At the limit they are
//! counted again, as messages may have been erased.

use std::time::Duration;

use dashmap::DashMap;

use super::error::DomainError;
use super::{FileKind, Hub};
use crate::model::Party;

/// How long a count that refuses a recording is reused.
const COUNT_LASTS: Duration = Duration::from_secs(60);

/// The counts of the parties that have uploaded recordings.
#[derive(Debug, Default)]
pub(super) struct Stored(DashMap<Party, Usage>);

#[derive(Debug, Clone, Copy)]
struct Usage {
    bytes: u64,
    /// By the hub's clock.
    counted_at: Duration,
}

impl Hub {
    /// Checks whether the party may store another recording. Errors: `StoredFull`.
    pub async fn check_stored(&self, party: &Party) -> Result<(), DomainError> {
        self.check_stored_with(party, 1).await
    }

    /// Checks whether the party may store this many more bytes. Errors: `StoredFull`.
    pub(super) async fn check_stored_with(&self, party: &Party, bytes: u64) -> Result<(), DomainError> {
        let max_bytes = self.config.limits.stored_bytes_per_party;
        let fits = |usage: Usage| usage.bytes.saturating_add(bytes) <= max_bytes;
        let now = self.clock.now();
        let known = self.stored.0.get(party).map(|usage| *usage);
        let usage = match known {
            Some(usage) if fits(usage) || now.saturating_sub(usage.counted_at) < COUNT_LASTS => usage,
            _ => {
                let usage = Usage { bytes: self.count_stored(party).await?, counted_at: now };
                self.stored.0.insert(party.clone(), usage);
                usage
            }
        };
        if fits(usage) { Ok(()) } else { Err(DomainError::StoredFull { max_bytes }) }
    }

    /// Adds bytes to the count of the party. A party that was not counted yet is counted later.
    pub(super) fn note_stored(&self, party: &Party, bytes: u64) {
        if let Some(mut usage) = self.stored.0.get_mut(party) {
            usage.bytes = usage.bytes.saturating_add(bytes);
        }
    }

    async fn count_stored(&self, party: &Party) -> Result<u64, DomainError> {
        let sounds = self.store.sounds_sent_by(party).await?;
        self.files.size_of_all(FileKind::Chat, sounds).await.map_err(DomainError::internal)
    }
}
