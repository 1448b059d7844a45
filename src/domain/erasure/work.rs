//! Carries out erasures: files, then rows, then old bytes in the files of the storage engines.
//!
//! Every step determines by itself the rows that are left, so that it can be repeated. It holds a page of rows in memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{chat_mark, device_mark, ended_mark, friend_mark, hidden_mark, message_mark, party_mark};
use crate::domain::error::DomainError;
use crate::domain::housekeeping::system_time;
use crate::domain::units::ticks;
use crate::domain::{Counter, FileKind, Hub, Unit};
use crate::model::{ChatId, DeviceKey, Event, FileName, Party, PartyId, Timestamp, ToyId, UserId};
use crate::ports::bus::Notice;
use crate::ports::erased::{self, Mark};
use crate::ports::store::{ChatErasure, Erasing, Erasure, StoredMessage};

/// Messages that are erased at once.
const BATCH: usize = 100;
/// Marks of erasures that are added to the list of the hubs at once.
const SHARED_AT_ONCE: usize = 1000;
/// The pause before a failed erasure is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Spoken answers may contain the name of an erased party. Those older than this were played already, and are deleted
/// at once.
const ANSWER_AGE: Duration = Duration::from_secs(60);

/// Carries out new erasures, and those left from an earlier process, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let mut ticks = ticks(hub.config.cluster.erasure_takeover_s);
    let work = async {
        loop {
            let begun = hub.erasures.begun.notified();
            match hub.finish_erasures(clock()).await {
                Ok(0) => {
                    tokio::select! {
                        () = begun => {}
                        () = hub.left_by_other_hubs(&mut ticks, clock) => {}
                    }
                }
                Ok(finished) => tracing::info!(finished, "erasures done"),
                Err(error) => {
                    tracing::warn!(?error, "an erasure failed and is tried again later");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

impl Hub {
    /// Carries out all erasures that have begun. Returns their number. When this returns, no erased data is left in the
    /// data folder, including the files of the database and of the sessions.
    pub async fn finish_erasures(&self, now: Timestamp) -> Result<usize, DomainError> {
        let _one = self.erasures.working.acquire().await.map_err(DomainError::internal)?;
        let progress = self.erasures.progress();
        let (mut done, mut counter) = (BTreeMap::new(), None);
        loop {
            let open = self.store.erasures().await?;
            let new: Vec<Erasure> = open.into_iter().filter(|open| !done.contains_key(&open.id)).collect();
            if new.is_empty() {
                break;
            }
            let begin = || progress.begin("erasing messages and accounts", Some(0), Unit::Items);
            let counter = counter.get_or_insert_with(begin);
            counter.grow(new.iter().map(size_of).sum());
            for erasure in new {
                self.carry_out_erasure(&erasure, now, counter).await?;
                counter.add(1);
                done.insert(erasure.id.clone(), erasure.what);
            }
        }
        drop(counter);
        if done.is_empty() {
            return Ok(0);
        }
        let _compacting = progress.begin("removing old bytes from the database", None, Unit::Items);
        // The notices are deleted last, after all messages that use them.
        for erasure in self.store.erasures().await?.iter().filter(|open| done.contains_key(&open.id)) {
            self.delete_sounds(&erasure.sounds).await?;
        }
        let before = system_time(now).checked_sub(ANSWER_AGE).unwrap_or(SystemTime::UNIX_EPOCH);
        self.files.sweep_answers(before).await.map_err(DomainError::internal)?;
        let subjects: Vec<String> = done.values().flat_map(subjects_of).collect();
        self.router.erase(&subjects).await.map_err(DomainError::internal)?;
        self.erase_shared(&subjects).await?;
        self.notify_hubs(|| Notice::Erase { subjects });
        for id in done.keys() {
            self.store.leave_trace(id).await?;
        }
        self.store.compact().await?;
        for id in done.keys() {
            self.store.end_erasure(id).await?;
        }
        Ok(done.len())
    }

    /// The number of unfinished erasures.
    pub async fn open_erasures(&self) -> Result<usize, DomainError> {
        Ok(self.store.erasures().await?.len())
    }

    async fn carry_out_erasure(&self, erasure: &Erasure, now: Timestamp, counter: &Counter) -> Result<(), DomainError> {
        match &erasure.what {
            Erasing::Party { party, device } => {
                let device_mark = device.as_ref().map(device_mark);
                self.write_marks(std::iter::once(party_mark(party)).chain(device_mark).collect()).await?;
                self.carry_out_party(party, device.as_ref(), now).await
            }
            Erasing::Chat { chat, parties, up_to, only_of, ends_friendship } => {
                if let ([a, b], true) = (parties.as_slice(), *ends_friendship) {
                    let (of_chat, a, b) = (only_of.as_ref().map(|by| ended_mark(chat, by)), a.as_str(), b.as_str());
                    let of_chat = of_chat.unwrap_or_else(|| chat_mark(chat));
                    self.write_marks(vec![of_chat, friend_mark(a, b), friend_mark(b, a)]).await?;
                }
                self.carry_out_chat(erasure, chat, (*up_to, only_of.as_ref()), counter).await?;
                // A friend is gone, although an earlier erasure may have cut off the events that named it.
                self.cut_streams(parties, &[chat.to_string()], *ends_friendship).await?;
                let topics = format!("chat/{chat}");
                self.router.forget_retained(&topics);
                self.forget_shared(&topics).await?;
                self.notify_hubs(|| Notice::Forget { topics });
                Ok(())
            }
            Erasing::Message { id, parties } => {
                self.write_marks(vec![message_mark(id)]).await?;
                self.cut_streams(parties, &[id.to_string()], false).await
            }
            Erasing::Trace => Ok(()),
        }
    }

    async fn carry_out_party(
        &self,
        party: &Party,
        device: Option<&DeviceKey>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.forget_stored_sessions(party);
        self.router.end_sessions(party);
        self.router.forget_retained(&party.to_string());
        self.leave_chats(party, now).await?;
        self.store.erase_requests(party).await?;
        self.store.erase_audit(&party.id().parse().map_err(DomainError::internal)?).await?;
        if let Party::User(user) = party {
            self.store.erase_stream(user).await?;
        }
        // It sorts before every id.
        let mut last = "0".to_owned();
        let subjects = [party.id().to_owned()];
        loop {
            let page = self.store.users_after(&last).await?;
            let Some(end) = page.last().cloned() else { break };
            for user in page {
                self.cut_stream(&user.parse().map_err(DomainError::internal)?, &subjects, false).await?;
            }
            last = end;
        }
        self.forget_files_here(party).await?;
        self.delete_cut_uploads(party).await?;
        if let Party::Toy(toy) = party {
            self.store.erase_kept_words(toy).await?;
            self.store.erase_reminders(toy).await?;
        }
        if let Some(key) = device {
            self.delete_qr_pictures(key).await?;
        }
        Ok(())
    }

    /// Also after a crash: sessions of an erased party that were found in the file are not resumed.
    pub(super) fn forget_stored_sessions(&self, party: &Party) {
        let stored = &self.stored_sessions;
        stored.lock().unwrap_or_else(PoisonError::into_inner).retain(|session| session.party != *party);
    }

    /// Deletes the files of an erased party that only this hub has: uploads in progress, and recordings for speech.
    pub(in crate::domain) async fn forget_files_here(&self, party: &Party) -> Result<(), DomainError> {
        self.forget_uploads(party).await?;
        let Party::Toy(toy) = party else { return Ok(()) };
        let folder = self.config.server.ai_recordings_dir();
        let prefix = format!("{toy}-");
        let forgotten = self.disk_workers.run(move || delete_files(&folder, &prefix)).await?;
        forgotten.map_err(DomainError::internal)
    }

    /// The toys of kept recordings for speech.
    pub(super) async fn toys_of_recordings(&self) -> Result<HashSet<ToyId>, DomainError> {
        let folder = self.config.server.ai_recordings_dir();
        let listed = self.disk_workers.run(move || {
            let names = files_of(&folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect::<std::io::Result<Vec<String>>>()
        });
        let names = listed.await?.map_err(DomainError::internal)?;
        Ok(names.iter().filter_map(|name| name.split('-').next()?.parse().ok()).collect())
    }

    /// Deletes the recordings of a party without a message, whose uploads were cut off, as by a crash. A recording that
    /// is being sent now is deleted when it is refused.
    async fn delete_cut_uploads(&self, party: &Party) -> Result<(), DomainError> {
        let prefix = format!("{}-", self.recording_prefix(party));
        let mut listed = self.files.list(FileKind::Chat);
        while let Some(found) = listed.next().await {
            let (name, _) = found.map_err(DomainError::internal)?;
            if name.as_str().starts_with(&prefix) {
                self.delete_refused(&name).await?;
            }
        }
        self.files.delete_lost(&prefix).await.map(drop).map_err(DomainError::internal)
    }

    /// Ends all friendships of an erased party, and records the erasure of its chats.
    pub(super) async fn leave_chats(&self, party: &Party, now: Timestamp) -> Result<(), DomainError> {
        loop {
            let chats = self.store.chats_of(party).await?;
            if chats.is_empty() {
                return Ok(());
            }
            for (chat, parties) in chats {
                let sounds = self.notices_between(&parties).await?;
                let [a, b] = parties.each_ref().map(PartyId::as_str);
                self.erasures.list.note(&[friend_mark(a, b), friend_mark(b, a)]);
                let chat = ChatErasure { chat, parties, only_of: None, ends_friendship: true, sounds };
                self.store.begin_chat_erasure(&chat, now).await?;
            }
        }
    }

    async fn carry_out_chat(
        &self,
        erasure: &Erasure,
        chat: &ChatId,
        (up_to, only_of): (u64, Option<&PartyId>),
        counter: &Counter,
    ) -> Result<(), DomainError> {
        let is_marked_whole = matches!(erasure.what, Erasing::Chat { ends_friendship: true, .. });
        let mut first = 1;
        loop {
            let batch = self.store.stored_messages(chat, (first, up_to), BATCH).await?;
            let Some(last) = batch.last() else {
                // Numbers without a message are done, too.
                counter.add((up_to + 1).saturating_sub(first));
                return Ok(());
            };
            counter.add(last.seq + 1 - first);
            first = last.seq + 1;
            let goes = |message: &&StoredMessage| {
                let is_hidden_from_other = message.hidden.as_ref().is_some_and(|from| Some(from) != only_of);
                only_of.is_none_or(|of| message.sender == *of || is_hidden_from_other)
            };
            let (erased, kept): (Vec<&StoredMessage>, Vec<_>) = batch.iter().partition(goes);
            let mut notices: Vec<FileName> = erased.iter().filter_map(|message| message.notice.clone()).collect();
            notices.sort();
            notices.dedup();
            if !notices.is_empty() {
                self.store.add_sounds(&erasure.id, &notices).await?;
            }
            if !is_marked_whole {
                let hidden = kept.iter().filter_map(|message| Some(hidden_mark(&message.id, only_of?.as_str())));
                let erased = erased.iter().map(|message| message_mark(&message.id));
                self.write_marks(erased.chain(hidden).collect()).await?;
            }
            for message in &erased {
                self.delete_sound(&message.sound).await?;
            }
            let numbers = |messages: &[&StoredMessage]| messages.iter().map(|message| message.seq).collect::<Vec<_>>();
            let (erased, hidden) = (numbers(&erased), numbers(&kept));
            self.store.erase_messages(chat, &erased, (&hidden, only_of)).await?;
        }
    }

    /// Deletes messages of a chat with their recordings, and the copies in the sessions and streams of its parties.
    pub(in crate::domain) async fn delete_messages(
        &self,
        chat: &ChatId,
        parties: &[PartyId],
        messages: &[StoredMessage],
    ) -> Result<(), DomainError> {
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            self.delete_sound(&message.sound).await?;
        }
        let numbers: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        self.store.erase_messages(chat, &numbers, (&[], None)).await?;
        let ids: Vec<String> = messages.iter().map(|message| message.id.to_string()).collect();
        self.cut_streams(parties, &ids, false).await
    }

    /// Deletes the events about subjects from the streams of the two parties of a chat, and the answers to their
    /// uploads. With `is_told` the parties are notified in any case.
    async fn cut_streams(&self, parties: &[PartyId], subjects: &[String], is_told: bool) -> Result<(), DomainError> {
        for id in parties {
            let Some((party, _)) = self.store.party(id).await? else { continue };
            if let Party::User(user) = &party {
                self.cut_stream(user, subjects, is_told).await?;
            }
            let chunks = Arc::clone(&self.chunks);
            let forgotten = self.disk_workers.run(move || chunks.forget_answers(&party)).await?;
            forgotten.map_err(DomainError::internal)?;
        }
        Ok(())
    }

    async fn cut_stream(&self, user: &UserId, subjects: &[String], is_told: bool) -> Result<(), DomainError> {
        if let Some(seq) = self.store.cut_stream(user, subjects, is_told).await? {
            self.announce(&Party::User(user.clone()), &Event::Erased, Some(seq)).await;
        }
        Ok(())
    }

    /// Deletes the recording of a message; it cannot be downloaded any more.
    async fn delete_sound(&self, name: &FileName) -> Result<(), DomainError> {
        self.files.delete_if_there(FileKind::Chat, name).await.map_err(DomainError::internal)
    }

    /// Deletes sounds without a message.
    pub(in crate::domain) async fn delete_sounds(&self, names: &[FileName]) -> Result<(), DomainError> {
        for name in names {
            if !self.store.is_sound_used(name).await? {
                self.delete_sound(name).await?;
            }
        }
        Ok(())
    }

    /// Deletes the sound of a message that was refused, unless another attempt has it.
    pub(in crate::domain) async fn delete_refused(&self, name: &FileName) -> Result<(), DomainError> {
        let Some(_claimed) = self.sounds.sweep(name) else { return Ok(()) };
        self.delete_sounds(std::slice::from_ref(name)).await
    }

    /// The names of the notices that are spoken between two parties.
    async fn notices_between(&self, [a, b]: &[PartyId; 2]) -> Result<Vec<FileName>, DomainError> {
        self.notices_of(&self.store.remarks_between(a, b).await?).await
    }

    /// Writes marks to the list of erasures, to that of the folder of backups, and to that of the hubs of a database.
    pub(super) async fn write_marks(&self, marks: Vec<Mark>) -> Result<(), DomainError> {
        if self.store.is_on_server() {
            let texts: Vec<String> = marks.iter().map(|mark| mark.to_hex()).collect();
            self.store.add_erased_marks(&texts).await?;
        }
        self.write_marks_here(marks).await
    }

    async fn write_marks_here(&self, marks: Vec<Mark>) -> Result<(), DomainError> {
        let list = Arc::clone(&self.erasures.list);
        let (data, backup) = (self.config.server.data_dir.clone(), self.config.backup.clone());
        let written = self.disk_workers.run(move || {
            list.write(&marks)?;
            // If the folder is not available now, the next backup writes the list.
            if backup.is_on() && backup.dir.is_dir()
                && let Err(error) = erased::merge(&[&data], &backup.dir)
            {
                tracing::warn!(%error, "the list of erasures could not be written to backup.dir; the next backup writes it");
            }
            Ok::<_, std::io::Error>(())
        });
        written.await?.map_err(DomainError::internal)
    }

    /// Exchanges the list of erasures with the other hubs of the database, if it is on a server: each of them has all
    /// marks then, for its backups.
    pub async fn share_marks(&self) -> Result<(), DomainError> {
        if !self.store.is_on_server() {
            return Ok(());
        }
        self.store.open_erased_marks().await?;
        let (mut shared, mut last) = (HashSet::new(), "0".to_owned());
        loop {
            let page = self.store.erased_marks_after(&last).await?;
            let Some(end) = page.last().cloned() else { break };
            shared.extend(page.iter().filter_map(|mark| Mark::from_hex(mark)));
            last = end;
        }
        let own: Vec<String> =
            self.erasures.list.all().into_iter().filter(|mark| !shared.contains(mark)).map(Mark::to_hex).collect();
        for some in own.chunks(SHARED_AT_ONCE) {
            self.store.add_erased_marks(some).await?;
        }
        self.write_marks_here(shared.into_iter().collect()).await
    }
}

/// The work of an erasure: itself, and the numbers of the chat that it erases.
fn size_of(erasure: &Erasure) -> u64 {
    match erasure.what {
        Erasing::Chat { up_to, .. } => up_to + 1,
        Erasing::Party { .. } | Erasing::Message { .. } | Erasing::Trace => 1,
    }
}

/// The ids by which messages, subscriptions and retained messages of other parties may refer to an erased party.
fn subjects_of(what: &Erasing) -> Vec<String> {
    match what {
        Erasing::Party { party, .. } => vec![party.id().to_owned()],
        Erasing::Chat { chat, only_of: None, .. } => vec![chat.to_string()],
        Erasing::Message { id, .. } => vec![id.to_string()],
        Erasing::Chat { .. } | Erasing::Trace => Vec::new(),
    }
}

/// The entries of a folder; none if it does not exist.
fn files_of(folder: &std::path::Path) -> std::io::Result<impl Iterator<Item = std::io::Result<std::fs::DirEntry>>> {
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        entries => Ok(Some(entries?).into_iter().flatten()),
    }
}

/// Deletes the files of a folder whose names begin with a prefix.
fn delete_files(folder: &std::path::Path, prefix: &str) -> std::io::Result<()> {
    for entry in files_of(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
