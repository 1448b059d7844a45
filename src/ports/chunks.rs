//! Recordings in chunks over an unreliable network: a folder for each recording, a file for each chunk.
//!
//! A chunk is on disk complete and synced, or not at all. Chunks may arrive in any order and more than once. When a
//! recording has been used, its chunks are deleted, and its outcome is stored in their place for a while, so that a
//! sender that did not receive the answer can repeat the call.
//!
//! All functions block: they are called from a worker.

mod outcome_row;

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::NamedTempFile;

use crate::model::{Outcome, Party, UploadName};

/// The file of the outcome of a finished recording. Chunks have numbers for names.
const ANSWER: &str = "answer";

/// The limits of incomplete recordings.
#[derive(Debug, Clone, Copy)]
pub struct ChunkLimits {
    /// Recordings of one party.
    pub uploads_max: usize,
    /// Chunks of one recording; their numbers are below it.
    pub chunks_max: u32,
    /// Bytes of one recording.
    pub bytes_max: u64,
    /// Chunks and bytes of all recordings of one party.
    pub of_party: Usage,
}

/// The space in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Chunks.
    pub chunks: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Usage {
    fn and(self, other: Self) -> Self {
        Self { chunks: self.chunks + other.chunks, bytes: self.bytes + other.bytes }
    }
}

/// Why a chunk was not stored, or a recording not returned.
#[derive(Debug, thiserror::Error)]
pub enum ChunksError {
    /// The number of a chunk is above the limit.
    #[error("a recording has at most {0} chunks")]
    TooManyChunks(u32),
    /// The recording is larger than allowed.
    #[error("a recording has at most {0} bytes")]
    TooLarge(u64),
    /// This chunk is missing, and it is the first one.
    #[error("chunk {0} is missing")]
    Missing(u32),
    /// The system returned an error.
    #[error("chunks: {0}")]
    Io(#[from] io::Error),
}

/// The state of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadState {
    /// The number of received chunks.
    pub received: u32,
    /// The number of the first missing chunk.
    pub first_missing: u32,
    /// Whether a call has used it.
    pub finished: bool,
}

/// All recordings in chunks.
#[derive(Debug)]
pub struct Chunks {
    folder: PathBuf,
    limits: ChunkLimits,
}

impl Chunks {
    /// Opens the folder. The chunks of earlier runs are kept.
    pub fn open(folder: &Path, limits: ChunkLimits) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), limits })
    }

    fn of_party(&self, party: &Party) -> PathBuf {
        self.folder.join(format!("{}-{}", party.kind().as_str(), party.id()))
    }

    fn of_upload(&self, party: &Party, upload: &UploadName) -> PathBuf {
        self.of_party(party).join(upload.as_str())
    }

    /// Stores chunks of one recording. They are on disk when this returns. If the name had an answer, it begins a new
    /// recording.
    pub fn keep(&self, party: &Party, upload: &UploadName, chunks: &[(u32, Bytes)]) -> Result<(), ChunksError> {
        if chunks.iter().any(|(number, _)| *number >= self.limits.chunks_max) {
            return Err(ChunksError::TooManyChunks(self.limits.chunks_max));
        }
        let folder = self.of_upload(party, upload);
        let new = Usage { chunks: chunks.len(), bytes: chunks.iter().map(|(_, chunk)| chunk.len() as u64).sum() };
        self.make_room(party, &folder, new)?;
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            sync_folder(&self.folder)?;
            sync_folder(&self.of_party(party))?;
        }
        unless_missing(fs::remove_file(folder.join(ANSWER)))?;
        if usage(&folder)?.and(new).bytes > self.limits.bytes_max {
            return Err(ChunksError::TooLarge(self.limits.bytes_max));
        }
        for (number, chunk) in chunks {
            put(&folder, &number.to_string(), chunk)?;
        }
        Ok(sync_folder(&folder)?)
    }

    /// Makes room for new chunks of a recording: deletes answers of other recordings, and then the recordings without a
    /// new chunk for the longest time. If their sender continues after all, it gets the error that chunks are missing.
    fn make_room(&self, party: &Party, folder: &Path, new: Usage) -> io::Result<()> {
        let (mut total, mut others) = (usage(folder)?.and(new), Vec::new());
        for upload in entries(&self.of_party(party))? {
            if upload.path() != folder {
                let used = usage(&upload.path())?;
                total = total.and(used);
                others.push((upload.path().join(ANSWER).exists(), modified(&upload), upload.path(), used));
            }
        }
        // Those that are deleted first are last.
        others.sort_by_key(|(is_answered, modified, ..)| (*is_answered, std::cmp::Reverse(*modified)));
        let Usage { chunks, bytes } = self.limits.of_party;
        while others.len() >= self.limits.uploads_max || total.chunks > chunks || total.bytes > bytes {
            let Some((.., path, used)) = others.pop() else { break };
            fs::remove_dir_all(path)?;
            total.chunks -= used.chunks;
            total.bytes -= used.bytes;
        }
        Ok(())
    }

    /// The state of a recording; empty for an unknown one.
    pub fn state(&self, party: &Party, upload: &UploadName) -> io::Result<UploadState> {
        let folder = self.of_upload(party, upload);
        let names = entries(&folder)?.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
        let numbers: BTreeSet<u32> = names.filter_map(|name| name.parse().ok()).collect();
        let first_missing = (0..).find(|number| !numbers.contains(number)).unwrap_or(u32::MAX);
        let received = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        Ok(UploadState { received, first_missing, finished: folder.join(ANSWER).exists() })
    }

    /// The complete recording of `count` chunks.
    pub fn assemble(&self, party: &Party, upload: &UploadName, count: u32) -> Result<Bytes, ChunksError> {
        if count > self.limits.chunks_max {
            return Err(ChunksError::TooManyChunks(self.limits.chunks_max));
        }
        let first_missing = self.state(party, upload)?.first_missing;
        if first_missing < count {
            return Err(ChunksError::Missing(first_missing));
        }
        let folder = self.of_upload(party, upload);
        let mut whole = Vec::new();
        for number in 0..count {
            whole.extend_from_slice(&fs::read(folder.join(number.to_string()))?);
        }
        Ok(whole.into())
    }

    /// Deletes the chunks of a used recording, and stores `outcome`.
    pub fn finish(&self, party: &Party, upload: &UploadName, outcome: &Outcome) -> io::Result<()> {
        let folder = self.of_upload(party, upload);
        put(&folder, ANSWER, &outcome_row::write(outcome))?;
        for entry in entries(&folder)? {
            if entry.file_name() != ANSWER {
                fs::remove_file(entry.path())?;
            }
        }
        sync_folder(&folder)
    }

    /// The outcome of a used recording. None if an earlier version of the hub has stored it in another format: then the
    /// chunks are missing, and a sender that sends them again gets the same message.
    pub fn outcome(&self, party: &Party, upload: &UploadName) -> io::Result<Option<Outcome>> {
        match fs::read(self.of_upload(party, upload).join(ANSWER)) {
            Ok(content) => Ok(outcome_row::read(&content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a recording.
    pub fn forget(&self, party: &Party, upload: &UploadName) -> io::Result<()> {
        unless_missing(fs::remove_dir_all(self.of_upload(party, upload)))
    }

    /// Deletes all recordings of a party.
    pub fn forget_party(&self, party: &Party) -> io::Result<()> {
        unless_missing(fs::remove_dir_all(self.of_party(party)))
    }

    /// The parties with recordings or answers.
    pub fn parties(&self) -> io::Result<Vec<Party>> {
        let party = |folder: DirEntry| folder.file_name().to_str()?.replacen('-', "/", 1).parse().ok();
        Ok(entries(&self.folder)?.into_iter().filter_map(party).collect())
    }

    /// Deletes the answers to a party's used recordings, as they contain the ids of messages and sounds. A sender that
    /// repeats a call is answered that chunks are missing, and sends them again.
    pub fn forget_answers(&self, party: &Party) -> io::Result<()> {
        for upload in entries(&self.of_party(party))? {
            if upload.path().join(ANSWER).exists() {
                unless_missing(fs::remove_dir_all(upload.path()))?;
            }
        }
        Ok(())
    }

    /// Deletes the recordings without a new chunk for `age_max`. Returns their number.
    pub fn sweep(&self, now: SystemTime, age_max: Duration) -> io::Result<usize> {
        let mut swept = 0;
        for party in entries(&self.folder)? {
            for upload in entries(&party.path())? {
                if now.duration_since(modified(&upload)).is_ok_and(|age| age >= age_max) {
                    fs::remove_dir_all(upload.path())?;
                    swept += 1;
                }
            }
            // This fails while recordings are left.
            let _ = fs::remove_dir(party.path());
        }
        Ok(swept)
    }
}

/// Writes a file that appears complete and synced. The caller syncs the folder.
fn put(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Ignores the error that the file does not exist.
fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The space that an upload uses.
fn usage(folder: &Path) -> io::Result<Usage> {
    let mut used = Usage::default();
    for entry in entries(folder)? {
        used = used.and(Usage { chunks: 1, bytes: entry.metadata()?.len() });
    }
    Ok(used)
}

/// The last change of an upload's folder. Without a readable time it counts as the oldest.
fn modified(entry: &DirEntry) -> SystemTime {
    entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, ToyId};

    struct Desk {
        _folder: tempfile::TempDir,
        chunks: Chunks,
        toy: Party,
    }

    fn desk(limits: ChunkLimits) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let chunks = Chunks::open(folder.path(), limits).unwrap();
        Desk { _folder: folder, chunks, toy: ToyId::random().into() }
    }

    const LIMITS: ChunkLimits =
        ChunkLimits { uploads_max: 2, chunks_max: 10, bytes_max: 20, of_party: Usage { chunks: 100, bytes: 1000 } };

    fn name(text: &str) -> UploadName {
        text.parse().unwrap()
    }

    fn reply() -> Outcome {
        Outcome::Answered(Answer::Reply("a.mp3".parse().unwrap()))
    }

    fn chunk(number: u32, text: &'static str) -> (u32, Bytes) {
        (number, Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn chunks_come_in_any_order_and_more_than_once() {
        let Desk { chunks, toy, .. } = desk(LIMITS);
        let upload = name("a");
        chunks.keep(&toy, &upload, &[chunk(2, "e"), chunk(0, "ab")]).unwrap();
        assert!(matches!(chunks.assemble(&toy, &upload, 3), Err(ChunksError::Missing(1))));
        let state = UploadState { received: 2, first_missing: 1, finished: false };
        assert_eq!(chunks.state(&toy, &upload).unwrap(), state);
        chunks.keep(&toy, &upload, &[chunk(1, "cd"), chunk(0, "ab")]).unwrap();
        assert_eq!(chunks.assemble(&toy, &upload, 3).unwrap(), "abcde");
        let again = Chunks::open(&chunks.folder, LIMITS).unwrap();
        assert_eq!(again.assemble(&toy, &upload, 3).unwrap(), "abcde", "it survives a restart");
        let other = Party::from(ToyId::random());
        assert!(matches!(chunks.assemble(&other, &upload, 3), Err(ChunksError::Missing(0))), "nobody else has it");
    }

    #[test]
    fn an_outcome_stays_until_the_name_is_used_anew() {
        let Desk { chunks, toy, .. } = desk(LIMITS);
        let upload = name("a");
        chunks.keep(&toy, &upload, &[chunk(0, "ab")]).unwrap();
        chunks.finish(&toy, &upload, &reply()).unwrap();
        assert_eq!(chunks.outcome(&toy, &upload).unwrap(), Some(reply()));
        assert!(matches!(chunks.assemble(&toy, &upload, 1), Err(ChunksError::Missing(0))), "the chunks are gone");
        chunks.keep(&toy, &upload, &[chunk(0, "cd")]).unwrap();
        assert_eq!(chunks.outcome(&toy, &upload).unwrap(), None);
        assert_eq!(chunks.assemble(&toy, &upload, 1).unwrap(), "cd");
    }

    #[test]
    fn nothing_is_unbounded() {
        let Desk { chunks, toy, .. } = desk(LIMITS);
        let keep = |upload: &str, chunk| chunks.keep(&toy, &name(upload), &[chunk]);
        assert!(matches!(keep("a", chunk(10, "a")), Err(ChunksError::TooManyChunks(10))));
        assert!(matches!(chunks.assemble(&toy, &name("a"), 11), Err(ChunksError::TooManyChunks(10))));
        keep("a", chunk(0, "0123456789")).unwrap();
        assert!(matches!(keep("a", chunk(1, "0123456789x")), Err(ChunksError::TooLarge(20))));
        keep("b", chunk(0, "b")).unwrap();
        chunks.finish(&toy, &name("b"), &reply()).unwrap();
        keep("c", chunk(0, "c")).unwrap();
        assert_eq!(chunks.outcome(&toy, &name("b")).unwrap(), None, "an answer gives way first");
        assert_eq!(chunks.state(&toy, &name("a")).unwrap().received, 1);
        keep("d", chunk(0, "d")).unwrap();
        assert_eq!(chunks.state(&toy, &name("a")).unwrap().received, 0, "then the recording that rested longest");
        assert_eq!(chunks.state(&toy, &name("c")).unwrap().received, 1);
    }

    #[test]
    fn a_party_has_a_quota_of_bytes_and_of_chunks() {
        let bounded = |chunks, bytes| ChunkLimits { uploads_max: 9, of_party: Usage { chunks, bytes }, ..LIMITS };
        for limits in [bounded(100, 25), bounded(2, 1000)] {
            let Desk { chunks, toy, .. } = desk(limits);
            for upload in ["a", "b", "c"] {
                chunks.keep(&toy, &name(upload), &[chunk(0, "0123456789")]).unwrap();
            }
            let received = ["a", "b", "c"].map(|upload| chunks.state(&toy, &name(upload)).unwrap().received);
            assert_eq!(received, [0, 1, 1], "the one that rested longest has given way: {limits:?}");
            chunks.keep(&ToyId::random().into(), &name("a"), &[chunk(0, "0123456789")]).unwrap();
            assert_eq!(chunks.state(&toy, &name("b")).unwrap().received, 1, "of another party nothing is taken");
        }
    }

    #[test]
    fn abandoned_recordings_are_deleted() {
        let Desk { chunks, toy, .. } = desk(LIMITS);
        chunks.keep(&toy, &name("a"), &[chunk(0, "a")]).unwrap();
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        assert_eq!(chunks.sweep(now, hour).unwrap(), 0);
        assert_eq!(chunks.state(&toy, &name("a")).unwrap().received, 1);
        assert_eq!(chunks.sweep(now + 2 * hour, hour).unwrap(), 1);
        assert_eq!(chunks.state(&toy, &name("a")).unwrap().received, 0);
    }
}
