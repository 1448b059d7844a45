//! Export of a family's data as one archive, generated while it is downloaded.
//!
//! The archive is a copy for people and programs: names and messages as JSON, sounds and pictures as they are stored.
//! It is generated page by page, so its size is not limited by memory.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::accounts::hash_of;
use super::error::DomainError;
use super::{FileKind, Hub, clock};
use crate::model::{ChatId, FileName, Party, Secret, Timestamp, UserId};
use crate::ports::archive::ArchiveError;
use crate::ports::store::StoredMessage;

pub use crate::ports::archive::Archive;

/// The maximum number of unused tickets; a new one beyond that replaces the oldest.
const TICKETS_MAX: usize = 256;
/// The number of bytes of a recording that are read at once.
const RECORDING_PIECE_BYTES: usize = 64 * 1024;
/// Messages of a page.
const PAGE: usize = 500;

/// The exports of the hub.
pub(super) struct Exports {
    places: Arc<Semaphore>,
    tickets: Mutex<VecDeque<(String, UserId, Timestamp)>>,
}

impl Exports {
    /// At most `parallel_max` at once.
    pub(super) fn new(parallel_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(parallel_max)), tickets: Mutex::default() }
    }
}

/// Pieces that are buffered for the reader; beyond that, the writer waits.
const PIECES_MAX: usize = 2;

/// The bytes of an archive, which `write` generates while they are read. Dropping the stream stops `write`. If `write`
/// fails, the reader gets an error instead of the end of the archive.
pub fn stream<'a, F>(write: impl FnOnce(Archive) -> F) -> BoxStream<'a, io::Result<Bytes>>
where
    F: Future<Output = Result<(), DomainError>> + Send + 'a,
{
    let (out, pieces) = mpsc::channel(PIECES_MAX);
    let writer: Pin<Box<dyn Future<Output = _> + Send + 'a>> = Box::pin(write(Archive::new(out)));
    let next = |(mut writer, mut pieces): (Option<_>, mpsc::Receiver<_>)| async move {
        while let Some(writing) = &mut writer {
            let done = tokio::select! {
                biased;
                piece = pieces.recv() => return piece.map(|piece| (piece, (writer, pieces))),
                done = writing => done,
            };
            writer = None;
            if let Err(error) = done {
                tracing::warn!(?error, "an export failed before its end");
                return Some((Err(io::Error::other("the export failed")), (None, pieces)));
            }
        }
        pieces.recv().await.map(|piece| (piece, (None, pieces)))
    };
    unfold((Some(writer), pieces), next).boxed()
}

impl Hub {
    /// A ticket to download the user's archive once, within `ws.ticket_ttl_s`.
    pub fn issue_export(&self, user: &UserId, now: Timestamp) -> Secret {
        let ticket = Secret::random();
        let now = clock::age_of(now);
        let good_until = now + crate::config::seconds(self.config.ws.ticket_ttl_s).as_secs_f64();
        let mut tickets = self.exports.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|(.., good_until)| *good_until > now);
        if tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back((hash_of(&ticket), user.clone(), good_until));
        ticket
    }

    /// The user of a ticket; this uses it up. Errors: `Unauthorized`.
    pub fn take_export(&self, ticket: &Secret, now: Timestamp) -> Result<UserId, DomainError> {
        let (hash, now) = (hash_of(ticket), clock::age_of(now));
        let mut tickets = self.exports.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tickets.iter().position(|(known, _, good_until)| *known == hash && *good_until > now);
        let found = at.and_then(|at| tickets.remove(at));
        found.map(|(_, user, _)| user).ok_or(DomainError::Unauthorized)
    }

    /// Deletes the tickets of a party whose login was revoked.
    pub(super) fn forget_exports(&self, party: &Party) {
        let mut tickets = self.exports.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|(_, user, _)| user.as_str() != party.id());
    }

    /// A permit for one of the concurrent exports. Errors: `Busy`.
    pub fn export_place(&self) -> Result<OwnedSemaphorePermit, DomainError> {
        Arc::clone(&self.exports.places).try_acquire_owned().map_err(|_| DomainError::Busy)
    }

    /// The chats of a user and of the user's toys.
    pub async fn family_chats(&self, user: &UserId) -> Result<BTreeSet<ChatId>, DomainError> {
        let mut parties = vec![Party::User(user.clone())];
        parties.extend(self.store.toys_of(user).await?.into_iter().map(|toy| Party::Toy(toy.id)));
        let mut chats = BTreeSet::new();
        for party in parties {
            chats.extend(self.store.friends(&party).await?.into_iter().map(|friend| friend.chat));
        }
        Ok(chats)
    }

    /// The highest numbers of the messages of chats, added up: as many messages there are at most.
    pub async fn messages_at_most(&self, chats: &BTreeSet<ChatId>) -> Result<u64, DomainError> {
        let mut sum = 0;
        for chat in chats {
            sum += self.store.last_number(chat).await?;
        }
        Ok(sum)
    }

    /// A page of a chat's messages from a number on, oldest first, without those that `user` has erased for itself.
    /// They are not marked as read. Returns the number at which the next page begins.
    pub async fn chat_page(
        &self,
        user: &UserId,
        chat: &ChatId,
        first: u64,
    ) -> Result<(Vec<StoredMessage>, Option<u64>), DomainError> {
        let mut page = self.store.stored_messages(chat, (first, u64::MAX), PAGE).await?;
        let next = page.last().map(|last| last.seq + 1);
        page.retain(|message| message.hidden.as_ref().is_none_or(|from| from.as_str() != user.as_str()));
        Ok((page, next))
    }

    /// Adds a stored file to an archive, if it exists.
    pub async fn add_to_archive(
        &self,
        archive: &mut Archive,
        path: &str,
        kind: FileKind,
        name: &FileName,
    ) -> Result<(), DomainError> {
        let Some(file) = self.files.find(kind, name).await.map_err(DomainError::internal)? else { return Ok(()) };
        archive.begin(path)?;
        let mut pieces = self.files.read(&file, 0..file.size).await.map_err(DomainError::internal)?;
        while let Some(piece) = pieces.next().await {
            archive.write(&piece.map_err(DomainError::internal)?).await?;
        }
        Ok(())
    }

    /// The kept recordings of the user's toys to the hub, with their paths in an archive.
    pub async fn kept_recordings(&self, user: &UserId) -> Result<Vec<PathBuf>, DomainError> {
        let toys: Vec<String> = self.store.toys_of(user).await?.iter().map(|toy| format!("{}-", toy.id)).collect();
        let folder = self.config.server.ai_recordings_dir();
        let listed = self.disk_workers.run(move || {
            let entries = match std::fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
            let is_theirs = |path: &PathBuf| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                toys.iter().any(|toy| name.starts_with(toy))
            };
            Ok(paths.into_iter().filter(is_theirs).collect())
        });
        listed.await?.map_err(|error: io::Error| DomainError::internal(error))
    }

    /// Adds such a recording to an archive.
    pub async fn add_recording_to_archive(&self, archive: &mut Archive, path: &Path) -> Result<(), DomainError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut file = tokio::fs::File::open(path).await.map_err(DomainError::internal)?;
        archive.begin(&format!("recordings/{name}"))?;
        let mut piece = vec![0; RECORDING_PIECE_BYTES];
        loop {
            let read = file.read(&mut piece).await.map_err(DomainError::internal)?;
            if read == 0 {
                return Ok(());
            }
            archive.write(&piece[..read]).await?;
        }
    }
}

impl From<ArchiveError> for DomainError {
    fn from(error: ArchiveError) -> Self {
        Self::internal(error)
    }
}
