//! The identity of the data folder: `hub.toml`, and the check that all parts of a used folder are present.
//!
//! A folder with a family's messages must never be treated as a new one because a part of it is missing or belongs to
//! another hub. `hub.toml` lists the content; [`DataFolder::examine`] compares before anything is opened, since an
//! engine that finds no files creates new ones. [`DataFolder::note_start`] writes the file before the parts are opened,
//! [`DataFolder::confirm`] once everything is open, [`DataFolder::note_change`] and [`DataFolder::note_stop`] before
//! and after a clean stop. [`mend`] recreates the parts that a hub can do without.

#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::value::{Date, Datetime, Offset, Time};

use crate::model::{Counts, HubId, Timestamp};
use crate::ports::clock;
use crate::ports::space::is_disk_full;

/// The file that names the hub.
pub const HUB_FILE: &str = "hub.toml";
/// The format version, raised when older programs cannot read the folder.
const FORMAT: u32 = 1;

/// The parts of a data folder, by name.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The folder of the embedded database; none for a database server or one in memory.
    pub database: Option<PathBuf>,
    /// The address of the database server, if the database is on one.
    pub server: Option<String>,
    /// The file of sessions and retained messages; none if they are in memory.
    pub sessions: Option<PathBuf>,
    /// The folder of sounds and pictures; none if they are in a bucket.
    pub files: Option<PathBuf>,
}

/// `hub.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct HubFile {
    format: u32,
    #[serde(with = "hub_id")]
    hub: HubId,
    created: Datetime,
    program: String,
    /// The address of the database server, if the database is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    state: State,
    /// The last start without a clean stop before it, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered_at_unix_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_stop: Option<LastStop>,
    /// The clock when the file was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<clock::Reading>,
}

/// The state of the hub when it last wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It creates its parts for the first time: all of them are empty.
    New,
    /// It is opening or closing its parts: the engine may be between two segments of its log.
    Changing,
    Running,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct LastStop {
    at: Datetime,
    /// The progress of the embedded database, in its engine's sequence numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_sequence: Option<u64>,
    users: u64,
    toys: u64,
    messages: u64,
}

/// Damage that an engine finds in its files.
#[derive(Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The fault.
    pub why: String,
}

/// Checks of the database in a folder, without opening it.
#[derive(Debug, Clone, Copy)]
pub struct Inspection {
    /// Whether a process has it open.
    pub is_open: fn(&Path) -> bool,
    /// Checks its files, and returns its progress. The second argument states that the last process ended while it ran.
    pub check: fn(&Path, bool) -> Result<u64, Damage>,
}

/// Why a folder is not opened. Each error names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DataFault {
    /// Another process uses the folder.
    #[error("{}: another toyhub runs on this data folder; stop it first, or set another server.data_dir", .0.display())]
    InUse(PathBuf),
    /// A part is missing whose content is nowhere else.
    #[error(
        "{} is missing, but this data folder was in use{held}; put it back, or restore a backup with \
         'toyhub restore'", .path.display()
    )]
    Missing {
        /// The part.
        path: PathBuf,
        /// The content of the folder, if it is known.
        held: String,
    },
    /// A part is missing that a hub can do without.
    #[error(
        "{} is missing, but this data folder was in use{held}; put it back, restore a backup with 'toyhub restore', or \
         have 'toyhub doctor --repair' make an empty one", .path.display()
    )]
    MissingMendable {
        /// The part.
        path: PathBuf,
        /// The content of the folder, if it is known.
        held: String,
    },
    /// The database is damaged.
    #[error("{}: {why}; restore a backup with 'toyhub restore'", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// `hub.toml` cannot be read.
    #[error("{}: {why}; 'toyhub doctor --repair' recreates it from the database", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The fault.
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
        /// The progress of the database.
        found: u64,
        /// The progress at the last clean stop.
        expected: u64,
    },
    /// The hub of this folder has its database on a server, and the settings have an embedded one.
    #[error(
        "{}: the database of this hub is on the server {server}; set store.url to it, with store.username and \
         store.password, in broker.toml or as TOYHUB_STORE__URL and so on, as for 'toyhub serve'", .path.display()
    )]
    OnServer {
        /// The data folder.
        path: PathBuf,
        /// The address of the server.
        server: String,
    },
    /// The database of the server is empty, and the folder has been used.
    #[error(
        "the database on {server} is new and empty, but {} is the data folder of hub {expected}; check store.url, \
         store.namespace and store.database, or set a new server.data_dir", .path.display()
    )]
    EmptyServer {
        /// The data folder.
        path: PathBuf,
        /// The address of the server.
        server: String,
        /// The identity of the folder.
        expected: HubId,
    },
    /// The folder was written by a newer program.
    #[error("{}: the data folder has format {found}, this program knows {FORMAT}; start the newer program", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The system returned an error.
    #[error("{}: {}", .path.display(), advice(.error))]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
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
    /// Checks a folder before anything in it is opened, and changes nothing. It reads the whole database, so it is
    /// called from a thread that may block.
    pub fn examine(path: &Path, parts: Parts, engine: Inspection) -> Result<Self, DataFault> {
        if parts.database.as_deref().is_some_and(engine.is_open) {
            return Err(DataFault::InUse(path.to_owned()));
        }
        let known = HubFile::read(path)?;
        if let Some(server) = known.as_ref().and_then(|known| known.server.clone())
            && parts.database.is_some()
        {
            return Err(DataFault::OnServer { path: path.to_owned(), server });
        }
        let is_new = match &known {
            Some(known) => known.state == State::New,
            None => !parts.any_in_use(),
        };
        let ended_cleanly = known.as_ref().map_or(is_new, |known| matches!(known.state, State::New | State::Stopped));
        let folder = Self { path: path.to_owned(), parts, known, is_new, ended_cleanly };
        if !is_new {
            folder.check_parts(engine)?;
        }
        Ok(folder)
    }

    fn check_parts(&self, engine: Inspection) -> Result<(), DataFault> {
        if let Some(database) = &self.parts.database {
            if let Some(path) = missing_database(database) {
                return Err(DataFault::Missing { path, held: self.held() });
            }
            // Without `hub.toml` the folder may be from a version whose progress only its own program can read.
            if let Some(known) = &self.known {
                let found = (engine.check)(database, known.state == State::Running)
                    .map_err(|Damage { path, why }| DataFault::Damaged { path, why })?;
                let expected = known.last_stop.as_ref().and_then(|stop| stop.database_sequence);
                if let Some(expected) = expected.filter(|expected| found < *expected) {
                    return Err(DataFault::Older { path: database.clone(), found, expected });
                }
            }
        }
        match self.parts.missing_mendable() {
            Some(path) => Err(DataFault::MissingMendable { path: path.to_owned(), held: self.held() }),
            None => Ok(()),
        }
    }

    /// The content of the folder at its last clean stop, for an error.
    fn held(&self) -> String {
        let Some(stop) = self.known.as_ref().and_then(|known| known.last_stop.as_ref()) else { return String::new() };
        let LastStop { at, users, toys, messages, .. } = stop;
        format!(" and held {users} users, {toys} toys and {messages} messages on {at}")
    }

    /// Whether the folder is new.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether the last stop was clean, or the folder is new.
    pub fn ended_cleanly(&self) -> bool {
        self.ended_cleanly
    }

    /// The last start without a clean stop before it, as after a crash. Older files may have lost their rows in the
    /// database.
    pub fn recovered_at(&self) -> Option<Timestamp> {
        Some(self.known.as_ref()?.recovered_at_unix_s? as Timestamp)
    }

    /// The clock of the last process on this folder, at its last note.
    pub fn last_clock(&self) -> Option<clock::Reading> {
        self.known.as_ref()?.clock
    }

    /// Records the clock of a running hub.
    pub fn note_clock(&self) -> Result<(), DataFault> {
        match &self.known {
            Some(known) if known.state == State::Running => self.write(known),
            _ => Ok(()),
        }
    }

    /// The identity of the hub of this folder, if it has one yet.
    pub fn hub(&self) -> Option<&HubId> {
        self.known.as_ref().map(|known| &known.hub)
    }

    /// Records that the parts are about to be created or opened.
    pub fn note_start(&mut self, now: Timestamp) -> Result<(), DataFault> {
        if self.known.is_none() && self.is_new {
            // If this start is interrupted, the next one knows that the existing parts are empty.
            let new = HubFile::new(HubId::random(), now, State::New);
            self.write(&new)?;
            self.known = Some(new);
        }
        self.note_change()
    }

    /// Records that the parts are about to be closed.
    pub fn note_change(&self) -> Result<(), DataFault> {
        match &self.known {
            Some(known) if known.state != State::New => {
                self.write(&HubFile { state: State::Changing, ..known.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Compares the identity in the opened database with the folder's. If one of them has none, it takes that of the
    /// other. Returns the identity that the database has to store.
    pub fn settle(&self, in_database: Option<HubId>) -> Result<HubId, DataFault> {
        if let (Some(server), Some(hub), None, false) = (&self.parts.server, self.hub(), &in_database, self.is_new) {
            let (path, server) = (self.path.clone(), server.clone());
            return Err(DataFault::EmptyServer { path, server, expected: hub.clone() });
        }
        if self.parts.database.is_none() {
            // The database of a server may be shared; one in memory is always new.
            return Ok(in_database.or_else(|| self.hub().cloned()).unwrap_or_else(HubId::random));
        }
        match (self.hub(), in_database) {
            (Some(hub), Some(found)) if *hub == found => Ok(found),
            (Some(hub), None) if self.is_new => Ok(hub.clone()),
            (None, found) => Ok(found.unwrap_or_else(HubId::random)),
            (Some(hub), found) => {
                let path = self.parts.database.clone().unwrap_or_else(|| self.path.clone());
                let found = found.map_or("a new, empty database".to_owned(), |found| format!("hub {found}"));
                Err(DataFault::Foreign { path, found, expected: hub.clone() })
            }
        }
    }

    /// Compares the identity in the opened file of sessions with the folder's, which [`Self::settle`] returned.
    pub fn check_sessions(&self, in_file: Option<&HubId>, hub: &HubId) -> Result<(), DataFault> {
        match (in_file, &self.parts.sessions) {
            (Some(found), Some(path)) if found != hub => {
                Err(DataFault::Foreign { path: path.clone(), found: format!("hub {found}"), expected: hub.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Writes `hub.toml` for a folder whose parts are all open.
    pub fn confirm(&mut self, hub: HubId, now: Timestamp) -> Result<(), DataFault> {
        let mut known = self.known.clone().unwrap_or_else(|| HubFile::new(hub.clone(), now, State::Running));
        // That of the database on a server, which may be older than this folder.
        known.hub = hub;
        env!("CARGO_PKG_VERSION").clone_into(&mut known.program);
        known.state = State::Running;
        known.server.clone_from(&self.parts.server);
        if !self.ended_cleanly {
            // Rounded up: files of this second may be from before the start.
            known.recovered_at_unix_s = Some(now.max(0.0).ceil() as u64);
        }
        self.write(&known)?;
        self.known = Some(known);
        Ok(())
    }

    /// Records a clean stop, after the database was closed; `progress` returns the engine's progress.
    pub fn note_stop(
        &self,
        counts: Counts,
        now: Timestamp,
        progress: fn(&Path) -> Option<u64>,
    ) -> Result<(), DataFault> {
        let Some(known) = self.known.clone() else { return Ok(()) };
        let database_sequence = self.parts.database.as_deref().and_then(progress);
        let Counts { users, toys, messages } = counts;
        let last_stop = Some(LastStop { at: datetime(now), database_sequence, users, toys, messages });
        self.write(&HubFile { state: State::Stopped, last_stop, ..known })
    }

    /// Replaces `hub.toml`, completely and synced or not at all.
    fn write(&self, content: &HubFile) -> Result<(), DataFault> {
        let path = self.path.join(HUB_FILE);
        let content = HubFile { clock: Some(clock::reading()), ..content.clone() };
        let write = || -> io::Result<()> {
            let text = toml::to_string(&content).map_err(io::Error::other)?;
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

impl HubFile {
    fn new(hub: HubId, now: Timestamp, state: State) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let created = datetime(now);
        Self {
            format: FORMAT,
            hub,
            created,
            program,
            server: None,
            state,
            recovered_at_unix_s: None,
            last_stop: None,
            clock: None,
        }
    }

    /// Reads `hub.toml` of a data folder, if it exists.
    fn read(folder: &Path) -> Result<Option<Self>, DataFault> {
        let file = folder.join(HUB_FILE);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataFault::Io { path: file, error }),
        };
        let why = |error: toml::de::Error| format!("it cannot be read ({})", error.message());
        let known = toml::from_slice::<Self>(&bytes);
        let known = known.map_err(|error| DataFault::Unreadable { path: file.clone(), why: why(error) })?;
        if known.format > FORMAT {
            return Err(DataFault::Newer { path: file, found: known.format });
        }
        Ok(Some(known))
    }
}

impl Parts {
    /// Whether any part has content.
    fn any_in_use(&self) -> bool {
        let database = self.database.as_ref().is_some_and(|path| has_any_file(path));
        let files = self.files.as_ref().is_some_and(|path| has_any_file(path));
        database || self.sessions.as_ref().is_some_and(|path| path.exists()) || files
    }

    /// A missing part that a hub can do without.
    fn missing_mendable(&self) -> Option<&Path> {
        let sessions = self.sessions.as_deref().filter(|sessions| !sessions.is_file());
        sessions.or_else(|| self.files.as_deref().filter(|files| !files.is_dir()))
    }
}

/// The result of a repair of the data folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Mended {
    /// `hub.toml` could not be read and was moved here. The next start writes a new one, with the identity from the
    /// database. Without the file it cannot be checked whether the database is the newest one of the folder.
    HubFile(PathBuf),
    /// The folder of sounds and pictures was missing, and is empty now.
    Files(PathBuf),
}

/// Creates the missing parts of a used folder that a hub can do without, except for the sessions, which their engine
/// creates. Returns none and changes nothing if the folder is new, or if the database is missing, which has to be
/// restored. No hub may run on the folder; `is_open` checks whether one has its database open.
pub fn mend(
    path: &Path,
    parts: &Parts,
    is_open: fn(&Path) -> bool,
    now: Timestamp,
) -> Result<Option<Vec<Mended>>, DataFault> {
    let was_used = path.join(HUB_FILE).exists() || parts.any_in_use();
    if !was_used || parts.database.as_deref().is_some_and(|database| missing_database(database).is_some()) {
        return Ok(None);
    }
    if parts.database.as_deref().is_some_and(is_open) {
        return Err(DataFault::InUse(path.to_owned()));
    }
    let mut mended = Vec::new();
    match HubFile::read(path) {
        Ok(_) => {}
        Err(DataFault::Unreadable { path: file, .. }) => {
            let aside = path.join(format!("{HUB_FILE}.damaged-{now:.0}"));
            std::fs::rename(&file, &aside).map_err(|error| DataFault::Io { path: file, error })?;
            mended.push(Mended::HubFile(aside));
        }
        Err(fault) => return Err(fault),
    }
    if let Some(files) = parts.files.as_ref().filter(|files| !files.exists()) {
        make_private_folder(files).map_err(|error| DataFault::Io { path: files.clone(), error })?;
        mended.push(Mended::Files(files.clone()));
    }
    Ok(Some(mended))
}

/// Creates a folder, and those above it, for the owner only.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The first missing part of an embedded database.
fn missing_database(database: &Path) -> Option<PathBuf> {
    if !database.is_dir() {
        return Some(database.to_owned());
    }
    let manifests = database.join("manifest");
    (!has_files(&manifests)).then_some(manifests)
}

/// The system's error, with a remedy.
pub fn advice(error: &io::Error) -> String {
    match error.kind() {
        _ if is_disk_full(error) => format!("the disk is full ({error}); free space on it and try again"),
        io::ErrorKind::PermissionDenied => format!("{error}; give the hub's user the right to read and write it"),
        io::ErrorKind::ReadOnlyFilesystem => format!("{error}; mount the disk so that it can be written to"),
        _ => error.to_string(),
    }
}

/// Whether a folder contains a file that is not empty.
fn has_files(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0))
}

/// As [`has_files`], including subfolders.
fn has_any_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    has_files(folder) || entries.flatten().any(|entry| entry.path().is_dir() && has_any_file(&entry.path()))
}

/// An id as text: the model has no serde.
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
