//! What the hub does by the clock while it runs: sounds that no message has are deleted, and what is too old
//! ([`super::retention`]).
//!
//! A sound is stored before its message. Where the hub dies in between, or the message is refused, the sound stays alone;
//! where the outcome was unknown, the sender may still send it again. After an hour neither happens any more. What was stored
//! before a crash may be all that is left of a message, if the log of the database was damaged: it is kept for
//! `retention.lost_days`, for `toyhub doctor` to report and for people to look at.
//!
//! To delete a sound that a message has would be the loss of a child's words. So each file is looked up in the database
//! just before it is deleted, under a claim that keeps requests from it; any doubt or error leaves it where it is; and
//! where most sounds seem to have no message, nothing is deleted: the database is not the one of these files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::DomainError;
use super::voice::NOTICE_PREFIX;
use super::{FileKind, Hub};
use crate::config::seconds;
use crate::model::{FileName, Timestamp};

const DAY: Duration = Duration::from_secs(86_400);
/// How old a sound is at least that is deleted: much older than any request may become.
const AGE_MIN: Duration = Duration::from_secs(3600);
/// Sounds that are looked up by one query.
const PAGE: usize = 500;
/// Sounds without a message that are deleted however few have one.
const FEW: u64 = 16;
/// Of so many sweeps one looks through all sounds, also those of before a crash.
const FULL_EVERY: u32 = 24;
/// The first sweep comes so long after the start, where it is not due before.
const FIRST: Duration = Duration::from_secs(60);
/// Sounds without a message that one sweep deletes; the next goes on.
const SWEPT_MAX: usize = 10_000;

/// What a look through the stored sounds has found.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Recordings that there are, of any age. Spoken notices, which many messages share, are none.
    pub(super) sounds: u64,
    /// Recordings without a message, among those that were looked up.
    pub(super) alone: u64,
    /// Those of them that are old enough to be deleted, as far as one sweep deletes them. Their senders had their
    /// answer, or gave up.
    pub(super) old: Vec<FileName>,
    /// Those of them that were stored before the last start after a crash, within `retention.lost_days`: the log of the
    /// database may have lost their messages.
    pub(super) recovered: Vec<FileName>,
}

impl Orphans {
    /// Whether so many sounds have no message that the database is more likely to be the wrong one.
    pub(super) fn are_suspicious(&self) -> bool {
        self.alone > FEW && self.alone > self.sounds / 2
    }
}

/// Sweeps until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let period = seconds(hub.config.chats.sweep_interval_s);
    let mut pause = period.min(FIRST);
    let sweep = async {
        // A message is deleted after its sound, so a sound that was found to have one is not looked up again, but for the
        // full sweeps, which find what has become old enough since.
        let (mut known_before, mut number) = (hub.recovered_at(), 0_u32);
        loop {
            sleep(pause).await;
            pause = period;
            let now = system_time(clock());
            let since = if number.is_multiple_of(FULL_EVERY) { SystemTime::UNIX_EPOCH } else { known_before };
            number = number.wrapping_add(1);
            match hub.sweep_sounds(since, now).await {
                Ok(true) => known_before = now.checked_sub(2 * AGE_MIN).unwrap_or(known_before),
                Ok(false) => {}
                Err(error) => tracing::warn!(?error, "sounds without a message not swept"),
            }
            if let Err(error) = hub.sweep_old(clock()).await {
                tracing::warn!(?error, "what is too old is not all deleted");
            }
        }
    };
    shutdown.run_until_cancelled(sweep).await;
}

impl Hub {
    /// Deletes the recordings without a message that were stored after `since` and more than an hour ago; false where
    /// some are left.
    pub(super) async fn sweep_sounds(&self, since: SystemTime, now: SystemTime) -> Result<bool, DomainError> {
        let found = self.find_orphans(since, now).await?;
        if found.are_suspicious() {
            tracing::error!(
                sounds = found.sounds,
                without_message = found.alone,
                "most sounds have no message, so none is deleted: is this the database of these files? See toyhub doctor"
            );
            return Ok(false);
        }
        let swept = self.delete_orphans(&found.old, now).await;
        if swept > 0 {
            tracing::info!(swept, "sounds without a message deleted");
        }
        Ok(swept == found.old.len() && swept < SWEPT_MAX)
    }

    /// Looks through the recordings that were stored after `since`.
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

    /// Deletes those of the recordings that still have no message, and gives their number.
    pub(super) async fn delete_orphans(&self, names: &[FileName], now: SystemTime) -> usize {
        let mut deleted = 0;
        for name in names {
            match self.delete_orphan(name, now).await {
                Ok(is_deleted) => deleted += usize::from(is_deleted),
                Err(error) => tracing::warn!(?error, "a sound without a message not deleted"),
            }
        }
        deleted
    }

    async fn delete_orphan(&self, name: &FileName, now: SystemTime) -> Result<bool, DomainError> {
        // From here on no request stores this sound; one that had begun before has ended.
        let Some(_claimed) = self.sounds.sweep(name) else { return Ok(false) };
        let file = self.files.find(FileKind::Chat, name).await.map_err(DomainError::internal)?;
        if !file.is_some_and(|file| is_old(file.modified, now)) || self.store.message_of_sound(name).await?.is_some() {
            return Ok(false);
        }
        self.files.delete(FileKind::Chat, name).await.map_err(DomainError::internal)?;
        Ok(true)
    }

    /// Moves those of the recordings that still have no message to a folder where people find them, and gives their
    /// number.
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

    /// Whether a recording of before a crash has been kept for long enough.
    fn is_given_up(&self, modified: SystemTime, now: SystemTime) -> bool {
        self.lost_before(now).is_some_and(|before| modified < before)
    }

    /// Lost recordings of before this are deleted; none where they are kept.
    pub(super) fn lost_before(&self, now: SystemTime) -> Option<SystemTime> {
        let days = self.config.retention.lost_days;
        if days == 0 { None } else { now.checked_sub(DAY * days) }
    }

    /// What was stored before this may have lost its message.
    fn recovered_at(&self) -> SystemTime {
        self.folder.recovered_at().map_or(SystemTime::UNIX_EPOCH, system_time)
    }
}

/// Whether a stored sound is a recording: of each of those there is one message.
fn is_recording(name: &FileName) -> bool {
    name.as_str().split_once('-').is_none_or(|(prefix, _)| prefix != NOTICE_PREFIX)
}

fn is_old(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).is_ok_and(|age| age > AGE_MIN)
}

pub(super) fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(now).unwrap_or_default()
}
