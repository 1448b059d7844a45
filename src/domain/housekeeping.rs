//! Periodic clean-up: deletes sounds without a message, and data that is too old ([`super::retention`]).
//!
//! A sound is stored before its message. If the hub crashes in between, or the message is refused, the sound is left
//! without a message; after an unknown outcome the sender may still send it again. After an hour neither happens any
//! more. If the log of the database was damaged, a sound from before a crash may be all that is left of its message: it
//! is kept for `retention.lost_days`, so that `toyhub doctor` can report it and the operator can listen to it.
//!
//! Deleting a sound that has a message would lose a child's recording. So each file is looked up in the database just
//! before it is deleted, under a claim that keeps requests from using it. After any error the file is kept. If most
//! sounds seem to have no message, nothing is deleted: the database probably does not belong to these files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::DomainError;
use super::units::DAY;
use super::voice::NOTICE_PREFIX;
use super::{FileKind, Hub, clock};
use crate::config::seconds;
use crate::model::{FileName, Timestamp};

/// The minimum age of a sound that is deleted: much longer than any request may take.
const AGE_MIN: Duration = Duration::from_secs(3600);
/// The number of sounds that one query looks up.
const PAGE: usize = 500;
/// The number of sounds without a message up to which they are deleted in any case.
const FEW: u64 = 16;
/// One of this many sweeps reads all sounds, including those from before a crash.
const FULL_EVERY: u32 = 24;
/// The maximum time from the start to the first sweep.
const FIRST: Duration = Duration::from_secs(60);
/// The maximum number of sounds without a message that one sweep deletes.
const SWEPT_MAX: usize = 10_000;

/// The result of a search through the stored sounds.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// The number of recordings of any age. Spoken notices, which many messages share, are not counted.
    pub(super) sounds: u64,
    /// Recordings without a message, among those that were looked up.
    pub(super) alone: u64,
    /// Those of them that are old enough to be deleted, up to the limit of one sweep. Their requests have ended.
    pub(super) old: Vec<FileName>,
    /// Those of them that were stored before the last start after a crash, within `retention.lost_days`: the log of the
    /// database may have lost their messages.
    pub(super) recovered: Vec<FileName>,
}

impl Orphans {
    /// Whether so many sounds have no message that the database is probably the wrong one.
    pub(super) fn are_suspicious(&self) -> bool {
        self.alone > FEW && self.alone > self.sounds / 2
    }
}

/// Sweeps until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let period = seconds(hub.config.chats.sweep_interval_s);
    let mut pause = period.min(FIRST);
    let sweep = async {
        // A message is deleted after its sound, so a sound that was found to have one is not looked up again, except by
        // the full sweeps, which find sounds that have become old enough since.
        let (mut known_before, mut number) = (hub.recovered_at(), 0_u32);
        loop {
            sleep(pause).await;
            pause = period;
            let now = system_time(clock());
            let since = if number.is_multiple_of(FULL_EVERY) { SystemTime::UNIX_EPOCH } else { known_before };
            number = number.wrapping_add(1);
            // Before that, a recording of a minute ago may seem to be years old.
            let swept = match clock::settled_for() > AGE_MIN {
                true => hub.sweep_sounds(since, now).await,
                false => Ok(false),
            };
            match swept {
                Ok(true) => known_before = now.checked_sub(2 * AGE_MIN).unwrap_or(known_before),
                Ok(false) => {}
                Err(error) => tracing::warn!(?error, "the search for sounds without a message failed"),
            }
            if let Err(error) = hub.sweep_old(clock()).await {
                tracing::warn!(?error, "not all data that is too old was deleted");
            }
        }
    };
    shutdown.run_until_cancelled(sweep).await;
}

impl Hub {
    /// Deletes the recordings without a message that were stored after `since` and more than an hour ago. Returns false
    /// if some are left.
    pub(super) async fn sweep_sounds(&self, since: SystemTime, now: SystemTime) -> Result<bool, DomainError> {
        let found = self.find_orphans(since, now).await?;
        if found.are_suspicious() {
            tracing::error!(
                sounds = found.sounds,
                without_message = found.alone,
                "most sounds have no message, so none is deleted; the database may not belong to these files, see toyhub doctor"
            );
            return Ok(false);
        }
        let swept = self.delete_orphans(&found.old, now).await;
        if swept > 0 {
            tracing::info!(swept, "sounds without a message deleted");
        }
        Ok(swept == found.old.len() && swept < SWEPT_MAX)
    }

    /// Searches the recordings that were stored after `since`.
    pub(super) async fn find_orphans(&self, since: SystemTime, now: SystemTime) -> Result<Orphans, DomainError> {
        let (mut found, recovered_at) = (Orphans::default(), self.recovered_at());
        let mut pages = self.files.list(FileKind::Chat).chunks(PAGE);
        while let Some(page) = pages.next().await {
            let mut page = page.into_iter().collect::<Result<Vec<_>, _>>().map_err(DomainError::internal)?;
            page.retain(|(name, _)| is_recording(name));
            found.sounds += page.len() as u64;
            page.retain(|(_, modified)| *modified >= since);
            let names: Vec<FileName> = page.iter().map(|(name, _)| name.clone()).collect();
            let with_message: HashSet<FileName> = self.store.sounds_of_messages(&names).await?.into_iter().collect();
            for (name, modified) in page {
                if with_message.contains(&name) {
                    continue;
                }
                found.alone += 1;
                if modified < recovered_at && !self.is_given_up(modified, now) {
                    found.recovered.push(name);
                } else if is_old(modified, now) && found.old.len() < SWEPT_MAX {
                    found.old.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Deletes those of the recordings that still have no message. Returns their number.
    pub(super) async fn delete_orphans(&self, names: &[FileName], now: SystemTime) -> usize {
        let mut deleted = 0;
        for name in names {
            match self.delete_orphan(name, now).await {
                Ok(is_deleted) => deleted += usize::from(is_deleted),
                Err(error) => tracing::warn!(?error, "a sound without a message was not deleted"),
            }
        }
        deleted
    }

    async fn delete_orphan(&self, name: &FileName, now: SystemTime) -> Result<bool, DomainError> {
        // With this claim no request can store this sound, and none is in progress.
        let Some(_claimed) = self.sounds.sweep(name) else { return Ok(false) };
        let file = self.files.find(FileKind::Chat, name).await.map_err(DomainError::internal)?;
        if !file.is_some_and(|file| is_old(file.modified, now)) || self.store.message_of_sound(name).await?.is_some() {
            return Ok(false);
        }
        self.files.delete(FileKind::Chat, name).await.map_err(DomainError::internal)?;
        Ok(true)
    }

    /// Moves those of the recordings that still have no message to a folder for the operator. Returns their number.
    pub(super) async fn put_orphans_aside(&self, names: &[FileName]) -> Result<usize, DomainError> {
        let mut moved = 0;
        for name in names {
            let Some(_claimed) = self.sounds.sweep(name) else { continue };
            if self.store.message_of_sound(name).await?.is_none() {
                self.files.put_recording_aside(name).await.map_err(DomainError::internal)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Whether a recording from before a crash was kept for `retention.lost_days`.
    fn is_given_up(&self, modified: SystemTime, now: SystemTime) -> bool {
        self.lost_before(now).is_some_and(|before| modified < before)
    }

    /// The time before which lost recordings are deleted; none if they are kept forever.
    pub(super) fn lost_before(&self, now: SystemTime) -> Option<SystemTime> {
        let days = self.config.retention.lost_days;
        if days == 0 { None } else { now.checked_sub(DAY * days) }
    }

    /// The time of the last recovery after a crash: sounds that are older may have lost their messages.
    fn recovered_at(&self) -> SystemTime {
        self.folder.recovered_at().map_or(SystemTime::UNIX_EPOCH, system_time)
    }
}

/// Whether a stored sound is a recording, which has exactly one message.
fn is_recording(name: &FileName) -> bool {
    name.as_str().split_once('-').is_none_or(|(prefix, _)| prefix != NOTICE_PREFIX)
}

fn is_old(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).is_ok_and(|age| age > AGE_MIN)
}

pub(super) fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(now).unwrap_or_default()
}
