//! `manifest.toml`: the parts of a snapshot. It is written last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{At as _, BackupError, new_file, pool};
use crate::model::Timestamp;

/// The format version, raised when older programs cannot restore the snapshot.
pub(super) const FORMAT: u32 = 1;
const FILE: &str = "manifest.toml";

/// The content of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The start of the snapshot, in seconds since 1970 by the hub's clock.
    taken_at_unix_s: u64,
    /// The version of the program that made it.
    program: String,
    /// The schema version of the database.
    pub schema: i64,
    /// Missing files that the database names.
    pub missing_files: u64,
    /// The export of the database.
    pub database: Part,
    /// The file of sessions.
    pub sessions: Part,
    /// The rows of the database, by table.
    pub rows: BTreeMap<String, u64>,
    /// The lists of files, by folder of the data folder.
    pub lists: BTreeMap<String, Part>,
}

/// A file at the time of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Part {
    /// Hashes a file.
    pub fn of(path: &Path) -> Result<Self, BackupError> {
        pool::part_of(path)
    }
}

impl Manifest {
    /// The manifest of a snapshot that began at `now`.
    pub fn new(now: Timestamp, schema: i64, database: Part, sessions: Part) -> Self {
        Self {
            format: FORMAT,
            taken_at_unix_s: now.max(0.0) as u64,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema,
            missing_files: 0,
            database,
            sessions,
            rows: BTreeMap::new(),
            lists: BTreeMap::new(),
        }
    }

    /// The start of the snapshot.
    pub fn taken_at(&self) -> Timestamp {
        self.taken_at_unix_s as Timestamp
    }

    /// The start of the snapshot, as text.
    pub fn taken_at_text(&self) -> String {
        let at = OffsetDateTime::from_unix_timestamp(self.taken_at_unix_s as i64);
        let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (at.date(), at.time());
        format!("{date} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
    }

    /// The rows of a table.
    pub fn rows_of(&self, table: &str) -> u64 {
        self.rows.get(table).copied().unwrap_or(0)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let path = folder.join(FILE);
        let text = toml::to_string(self).map_err(std::io::Error::other).at(&path)?;
        let mut file: File = new_file(&path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at(&path)
    }

    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).at(&path)?;
        let damaged = |error: toml::de::Error| BackupError::Damaged {
            path: path.clone(),
            why: format!("is damaged: {}", error.message()),
        };
        let Format { format: found } = toml::from_str(&text).map_err(damaged)?;
        if found > FORMAT {
            return Err(BackupError::Newer { path, found });
        }
        toml::from_str(&text).map_err(damaged)
    }
}

/// A time in UTC in the form of snapshot names: `20261126T143124Z`.
pub(super) fn compact_time(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year().clamp(0, 9999),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
