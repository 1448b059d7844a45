//! The checks of the stored data by `toyhub doctor`, and the repairs of `--repair`.
//!
//! The checks read the tables and the folder of sounds page by page, so that memory does not grow with the data, and
//! they can run while the hub runs. A recording from before a crash is never deleted: if its message is lost, the
//! recording may be all that is left of it.

use std::time::SystemTime;

use super::error::DomainError;
use super::housekeeping::system_time;
use super::{FileKind, Hub};
use crate::model::Timestamp;
use crate::ports::files::LOST;

/// The maximum number of messages without a sound that are listed.
const NAMED_MAX: usize = 20;

/// Why recordings may have no message.
const WHY_ALONE: &str = "the log may have lost its end in a crash, or a backup was made while they were sent";

/// The result of an examination.
#[derive(Debug, Default)]
pub struct Examination {
    /// The numbers of examined items.
    pub summary: String,
    /// Faults that were repaired.
    pub mended: Vec<String>,
    /// Faults that a repair would fix.
    pub open: Vec<String>,
    /// Losses that cannot be repaired. The hub works in spite of them.
    pub lost: Vec<String>,
}

impl Examination {
    fn note(&mut self, is_mended: bool, fault: String) {
        if is_mended { self.mended.push(fault) } else { self.open.push(fault) }
    }
}

impl Hub {
    /// Compares messages, counters, streams and sounds with each other; with `repair`, repairs the faults.
    pub async fn examine(&self, repair: bool, now: Timestamp) -> Result<Examination, DomainError> {
        let mut found = Examination::default();
        let chats = self.examine_chats(repair, &mut found).await?;
        let streams = self.examine_streams(repair, &mut found).await?;
        let messages = self.examine_messages(&mut found).await?;
        let sounds = self.examine_sounds(repair, system_time(now), &mut found).await?;
        found.summary = format!("{chats} chats, {messages} messages, {sounds} recordings, {streams} streams of events");
        Ok(found)
    }

    async fn examine_chats(&self, repair: bool, found: &mut Examination) -> Result<u64, DomainError> {
        let (mut chats, mut wrong, mut lost, mut with_losses) = (0, 0, 0, 0);
        let mut last = None;
        loop {
            let page = self.store.entries_after(last.as_ref()).await?;
            let Some(end) = page.last().cloned() else { break };
            for entry in page {
                // Both friends have an entry for their chat; the first one is counted.
                if entry.owner > entry.friend && self.store.has_entry(&entry.friend, &entry.owner).await? {
                    continue;
                }
                let check = match repair {
                    true => self.store.mend_chat(&entry.chat, &entry.owner, &entry.friend).await?,
                    false => self.store.check_chat(&entry.chat, &entry.owner, &entry.friend).await?,
                };
                chats += 1;
                wrong += u64::from(check.was_wrong);
                lost += check.lost;
                with_losses += u64::from(check.lost > 0);
            }
            last = Some(end);
        }
        if wrong > 0 {
            found.note(repair, format!("{wrong} chats whose counters do not match their messages"));
        }
        if lost > 0 {
            found.lost.push(format!("{lost} messages in {with_losses} chats: their numbers are skipped"));
        }
        Ok(chats)
    }

    async fn examine_streams(&self, repair: bool, found: &mut Examination) -> Result<u64, DomainError> {
        let (mut streams, mut wrong) = (0, 0);
        // It sorts before every id.
        let mut last = "0".to_owned();
        loop {
            let page = self.store.users_after(&last).await?;
            let Some(end) = page.last().cloned() else { break };
            for user in page {
                let check = match repair {
                    true => self.store.mend_stream(&user).await?,
                    false => self.store.check_stream(&user).await?,
                };
                streams += u64::from(check.events > 0);
                wrong += u64::from(check.was_wrong);
            }
            last = end;
        }
        if wrong > 0 {
            found
                .note(repair, format!("{wrong} streams with lost events: their devices have to load everything again"));
        }
        Ok(streams)
    }

    async fn examine_messages(&self, found: &mut Examination) -> Result<u64, DomainError> {
        let (mut messages, mut without, mut named) = (0_u64, 0_u64, Vec::new());
        let mut place = Default::default();
        loop {
            let (page, next) = self.store.sounds_from(&place).await?;
            if page.is_empty() {
                break;
            }
            messages += page.len() as u64;
            for message in page {
                let file = self.files.find(FileKind::Chat, &message.sound).await.map_err(DomainError::internal)?;
                if file.is_none() {
                    without += 1;
                    if named.len() < NAMED_MAX {
                        named.push(message.message.to_string());
                    }
                }
            }
            place = next;
        }
        if without > 0 {
            let more = if without > named.len() as u64 { ", …" } else { "" };
            let named = named.join(", ");
            found.lost.push(format!("the sounds of {without} messages, which are kept: {named}{more}"));
        }
        Ok(messages)
    }

    async fn examine_sounds(&self, repair: bool, now: SystemTime, found: &mut Examination) -> Result<u64, DomainError> {
        let orphans = self.find_orphans(SystemTime::UNIX_EPOCH, now).await?;
        if orphans.are_suspicious() {
            found.open.push(format!(
                "{} of {} recordings have no message: the database has lost much data, or does not belong to these files; none is \
                 moved or deleted; restore a backup with 'toyhub restore'",
                orphans.alone, orphans.sounds
            ));
            return Ok(orphans.sounds);
        }
        let moved = if repair { self.put_orphans_aside(&orphans.recovered).await? } else { 0 };
        if moved > 0 {
            found.mended.push(format!("{moved} recordings had no message: {WHY_ALONE}; they are in files/{LOST} now"));
        }
        let left = orphans.recovered.len() - moved;
        if left > 0 {
            found
                .open
                .push(format!("{left} recordings have no message: {WHY_ALONE}; --repair moves them to files/{LOST}"));
        }
        let deleted = if repair { self.delete_orphans(&orphans.old, now).await } else { 0 };
        if deleted > 0 {
            found.mended.push(format!("{deleted} recordings without a message, older than an hour: deleted"));
        }
        let left = orphans.old.len() - deleted;
        if left > 0 {
            found.open.push(format!("{left} recordings without a message, older than an hour"));
        }
        Ok(orphans.sounds)
    }
}
