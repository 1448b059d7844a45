//! The identity of the data folder: `hub.toml`, and which parts belong to a folder that was in use.
//!
//! A folder that has held a family's messages must never be taken for a new one, because a part of it is missing or
//! belongs to another hub. `hub.toml` says what was there; [`DataFolder::examine`] compares before anything is opened,
//! since an engine that finds no files makes new ones. [`DataFolder::confirm`] writes the file once everything is open,
//! [`DataFolder::note_stop`] at a clean stop, [`DataFolder::note_change`] before the parts are opened and closed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::value::{Date, Datetime, Offset, Time};

use crate::model::{Counts, HubId, Timestamp};

/// The file that names the hub.
pub const HUB_FILE: &str = "hub.toml";
/// Raised when a program of before cannot read the folder any more.
const FORMAT: u32 = 1;

/// The parts of a data folder, by name.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The folder of the embedded database; none where the database is a server or in memory.
    pub database: Option<PathBuf>,
    /// The file of sessions and retained messages; none where they are in memory.
    pub sessions: Option<PathBuf>,
    /// The folder of sounds and pictures.
    pub files: PathBuf,
}

/// `hub.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HubFile {
    format: u32,
    #[serde(with = "hub_id")]
    hub: HubId,
    created: Datetime,
    program: String,
    state: State,
    /// The start after the last end that was not clean, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered_at_unix_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_stop: Option<LastStop>,
}

/// Where in its life the hub was when it last wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It opens or closes its parts: the engine may be between two segments of its log.
    Changing,
    Running,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct LastStop {
    at: Datetime,
    /// How far the embedded database had come, as its engine counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_sequence: Option<u64>,
    users: u64,
    toys: u64,
    messages: u64,
}

/// What an engine finds wrong with its files.
#[derive(Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// Asks an engine how far the database in a folder has come, without opening it; none while a process has it open. The
/// second argument says that the last process ended while it ran.
pub type Progress = fn(&Path, bool) -> Result<Option<u64>, Damage>;

/// Why a folder is not opened. Each error names the file and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum DataFault {
    /// A part that was there is gone.
    #[error(
        "{} is missing, but this data folder was in use{held}; put it back, or restore a backup with \
         'toyhub restore'; 'toyhub doctor --repair' says what can be mended without one", .path.display()
    )]
    Missing {
        /// The part.
        path: PathBuf,
        /// What the folder held, where that is known.
        held: String,
    },
    /// A part cannot be read, or is damaged.
    #[error("{}: {why}; restore a backup with 'toyhub restore', or see 'toyhub doctor --repair'", .path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A part belongs to another hub.
    #[error(
        "{} is that of {found}, but the data folder is that of hub {expected}; put the right one back, or restore a \
         backup with 'toyhub restore'", .path.display()
    )]
    Foreign {
        /// The part.
        path: PathBuf,
        /// The identity in the part.
        found: String,
        /// The identity of the folder.
        expected: HubId,
    },
    /// The database is older than the folder.
    #[error(
        "{} is older than this data folder: it ends at write {found}, at the last clean stop it had {expected}; put \
         the newer one back, or restore a backup with 'toyhub restore'", .path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// How far it goes.
        found: u64,
        /// How far it went.
        expected: u64,
    },
    /// The folder was written by a newer program.
    #[error("{}: the data folder has format {found}, this program knows {FORMAT}; start the newer program", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

/// A data folder whose parts were examined.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    parts: Parts,
    known: Option<HubFile>,
    is_new: bool,
    ended_cleanly: bool,
}

impl DataFolder {
    /// Looks at a folder before anything in it is opened; changes nothing.
    pub fn examine(path: &Path, parts: Parts, progress: Progress) -> Result<Self, DataFault> {
        let file = path.join(HUB_FILE);
        let known = match std::fs::read(&file) {
            Ok(bytes) => {
                let known: HubFile = toml::from_slice(&bytes).map_err(|error| DataFault::Damaged {
                    path: file.clone(),
                    why: format!("it cannot be read ({})", error.message()),
                })?;
                if known.format > FORMAT {
                    return Err(DataFault::Newer { path: file, found: known.format });
                }
                Some(known)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(DataFault::Io { path: file, error }),
        };
        let is_new = known.is_none() && !parts.any_in_use();
        let ended_cleanly = known.as_ref().is_none_or(|known| known.state == State::Stopped);
        let folder = Self { path: path.to_owned(), parts, known, is_new, ended_cleanly };
        if !is_new {
            folder.check_parts(progress)?;
        }
        Ok(folder)
    }

    fn check_parts(&self, progress: Progress) -> Result<(), DataFault> {
        let missing = |path: &Path| DataFault::Missing { path: path.to_owned(), held: self.held() };
        if let Some(database) = &self.parts.database {
            if !database.is_dir() {
                return Err(missing(database));
            }
            let manifests = database.join("manifest");
            if !has_files(&manifests) {
                return Err(missing(&manifests));
            }
            // Without `hub.toml` the folder may be of a version whose files only their own program can count.
            if let Some(known) = &self.known {
                let found = progress(database, known.state == State::Running)
                    .map_err(|Damage { path, why }| DataFault::Damaged { path, why })?;
                let expected = known.last_stop.as_ref().and_then(|stop| stop.database_sequence);
                if let (Some(found), Some(expected)) = (found, expected)
                    && found < expected
                {
                    return Err(DataFault::Older { path: database.clone(), found, expected });
                }
            }
        }
        if self.known.is_some() {
            if let Some(sessions) = self.parts.sessions.as_ref().filter(|sessions| !sessions.is_file()) {
                return Err(missing(sessions));
            }
            if !self.parts.files.is_dir() {
                return Err(missing(&self.parts.files));
            }
        }
        Ok(())
    }

    /// What the folder held at its last clean stop, for an error.
    fn held(&self) -> String {
        let Some(stop) = self.known.as_ref().and_then(|known| known.last_stop.as_ref()) else { return String::new() };
        let LastStop { at, users, toys, messages, .. } = stop;
        format!(" and held {users} users, {toys} toys and {messages} messages on {at}")
    }

    /// Whether nothing was here before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// When the hub last started after an end that was not clean: what is older may have lost its place in the database.
    pub fn recovered_at(&self) -> Option<Timestamp> {
        Some(self.known.as_ref()?.recovered_at_unix_s? as Timestamp)
    }

    /// The identity of the hub whose folder this is, if it has one yet.
    pub fn hub(&self) -> Option<&HubId> {
        self.known.as_ref().map(|known| &known.hub)
    }

    /// Notes that the parts are about to be opened, or closed.
    pub fn note_change(&self) -> Result<(), DataFault> {
        let Some(known) = self.known.clone() else { return Ok(()) };
        self.write(&HubFile { state: State::Changing, ..known })
    }

    /// Compares the identity in the opened database with the folder's, and settles it where one of them has none:
    /// gives the identity that the database has to note.
    pub fn settle(&self, in_database: Option<HubId>) -> Result<HubId, DataFault> {
        if self.parts.database.is_none() {
            // A server's database may be shared, one in memory is always new.
            return Ok(in_database.or_else(|| self.hub().cloned()).unwrap_or_else(HubId::random));
        }
        match (self.hub(), in_database) {
            (Some(hub), Some(found)) if *hub == found => Ok(found),
            (None, found) => Ok(found.unwrap_or_else(HubId::random)),
            (Some(hub), found) => {
                let path = self.parts.database.clone().unwrap_or_else(|| self.path.clone());
                let found = found.map_or("a new, empty database".to_owned(), |found| format!("hub {found}"));
                Err(DataFault::Foreign { path, found, expected: hub.clone() })
            }
        }
    }

    /// Compares the identity in the opened file of sessions with the folder's, which [`Self::settle`] gave.
    pub fn check_sessions(&self, in_file: Option<&HubId>, hub: &HubId) -> Result<(), DataFault> {
        match (in_file, &self.parts.sessions) {
            (Some(found), Some(path)) if found != hub => {
                Err(DataFault::Foreign { path: path.clone(), found: format!("hub {found}"), expected: hub.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Writes `hub.toml` for a folder that is open with all its parts.
    pub fn confirm(&mut self, hub: HubId, now: Timestamp) -> Result<(), DataFault> {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let known = match self.known.take() {
            Some(known) => {
                let recovered_at_unix_s =
                    if self.ended_cleanly { known.recovered_at_unix_s } else { Some(now.max(0.0) as u64) };
                HubFile { program, state: State::Running, recovered_at_unix_s, ..known }
            }
            None => {
                let created = datetime(now);
                HubFile {
                    format: FORMAT,
                    hub,
                    created,
                    program,
                    state: State::Running,
                    recovered_at_unix_s: None,
                    last_stop: None,
                }
            }
        };
        self.write(&known)?;
        self.known = Some(known);
        Ok(())
    }

    /// Notes a clean stop, with the database closed.
    pub fn note_stop(&self, counts: Counts, now: Timestamp, progress: Progress) -> Result<(), DataFault> {
        let Some(known) = self.known.clone() else { return Ok(()) };
        let database_sequence = self.parts.database.as_deref().and_then(|path| progress(path, false).ok().flatten());
        let Counts { users, toys, messages } = counts;
        let last_stop = Some(LastStop { at: datetime(now), database_sequence, users, toys, messages });
        self.write(&HubFile { state: State::Stopped, last_stop, ..known })
    }

    /// Replaces `hub.toml`: whole and synced, or as it was.
    fn write(&self, content: &HubFile) -> Result<(), DataFault> {
        let path = self.path.join(HUB_FILE);
        let write = || -> io::Result<()> {
            let text = toml::to_string(content).map_err(io::Error::other)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(
                b"# The identity of this data folder. The hub writes this file; keep it with the folder.\n",
            )?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| DataFault::Io { path: path.clone(), error })
    }
}

impl Parts {
    /// Whether any part has content.
    fn any_in_use(&self) -> bool {
        let database = self.database.as_ref().is_some_and(|path| has_any_file(path));
        database || self.sessions.as_ref().is_some_and(|path| path.exists()) || has_any_file(&self.files)
    }
}

/// Whether a folder has a file that is not empty.
fn has_files(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0))
}

/// The same, with the folders in it.
fn has_any_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    has_files(folder) || entries.flatten().any(|entry| entry.path().is_dir() && has_any_file(&entry.path()))
}

/// An id as text; the model knows no serde.
mod hub_id {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::model::HubId;

    pub fn serialize<S: Serializer>(id: &HubId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HubId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A time in UTC, to the second.
fn datetime(at: Timestamp) -> Datetime {
    let at = time::OffsetDateTime::from_unix_timestamp(at as i64).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let date = Date { year: at.year().unsigned_abs() as u16, month: at.month() as u8, day: at.day() };
    let time = Time { hour: at.hour(), minute: at.minute(), second: at.second().into(), nanosecond: None };
    Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_795_000_000.0;

    fn parts(folder: &Path) -> Parts {
        Parts {
            database: Some(folder.join("db")),
            sessions: Some(folder.join("sessions.redb")),
            files: folder.join("files"),
        }
    }

    /// An engine that has come as far as a file of the folder says.
    fn progress(database: &Path, _: bool) -> Result<Option<u64>, Damage> {
        Ok(std::fs::read_to_string(database.join("progress")).ok().and_then(|text| text.parse().ok()))
    }

    fn examine(folder: &Path, sequence: u64) -> Result<DataFolder, DataFault> {
        if folder.join("db").exists() {
            std::fs::write(folder.join("db/progress"), sequence.to_string()).unwrap();
        }
        DataFolder::examine(folder, parts(folder), progress)
    }

    /// A folder that a hub has used and left cleanly at write 7.
    fn used() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut data = examine(folder.path(), 0).unwrap();
        assert!(data.is_new());
        let hub = data.settle(None).unwrap();
        std::fs::create_dir_all(folder.path().join("db/manifest")).unwrap();
        std::fs::create_dir_all(folder.path().join("files")).unwrap();
        std::fs::write(folder.path().join("db/manifest/1.manifest"), "m").unwrap();
        std::fs::write(folder.path().join("sessions.redb"), "s").unwrap();
        data.confirm(hub, NOW).unwrap();
        std::fs::write(folder.path().join("db/progress"), "7").unwrap();
        data.note_stop(Counts { users: 1, toys: 2, messages: 3 }, NOW, progress).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_known_again() {
        let folder = used();
        let data = examine(folder.path(), 7).unwrap();
        assert!(!data.is_new());
        let hub = data.hub().unwrap().clone();
        assert_eq!(data.settle(Some(hub.clone())).unwrap(), hub);
        assert!(matches!(data.settle(Some(HubId::random())), Err(DataFault::Foreign { .. })));
        assert!(matches!(data.settle(None), Err(DataFault::Foreign { .. })), "an empty database is no replacement");
    }

    #[test]
    fn a_missing_part_is_named() {
        for part in ["db", "db/manifest/1.manifest", "sessions.redb", "files"] {
            let folder = used();
            let path = folder.path().join(part);
            if path.is_dir() {
                std::fs::remove_dir_all(&path).unwrap()
            } else {
                std::fs::remove_file(&path).unwrap()
            }
            let fault = examine(folder.path(), 7).unwrap_err().to_string();
            assert!(fault.contains(part.trim_end_matches("/1.manifest")), "{fault}");
            assert!(fault.contains("3 messages on 2026-11-18T"), "{fault}");
        }
    }

    #[test]
    fn a_folder_without_its_hub_file_is_not_new() {
        let folder = used();
        std::fs::remove_file(folder.path().join(HUB_FILE)).unwrap();
        assert!(!examine(folder.path(), 7).unwrap().is_new(), "the database tells the identity");
        std::fs::remove_dir_all(folder.path().join("db")).unwrap();
        assert!(matches!(examine(folder.path(), 7), Err(DataFault::Missing { .. })));
    }

    #[test]
    fn an_older_database_and_a_newer_format_are_refused() {
        let folder = used();
        assert!(matches!(examine(folder.path(), 6), Err(DataFault::Older { found: 6, expected: 7, .. })));
        let file = folder.path().join(HUB_FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("format = 1", "format = 2")).unwrap();
        assert!(matches!(examine(folder.path(), 7), Err(DataFault::Newer { found: 2, .. })));
        std::fs::write(&file, "format = ").unwrap();
        assert!(matches!(examine(folder.path(), 7), Err(DataFault::Damaged { .. })));
    }
}
