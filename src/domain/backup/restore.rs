//! Restores a backup to a data folder, completely or not at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{BackupFault, DATABASE, SESSIONS};
use crate::config::Config;
use crate::model::HubId;
use crate::ports::backup::{self, BackupError, BackupFolder, Part, Snapshot, Target};
use crate::ports::erased;
use crate::ports::progress::{Progress, Unit};
use crate::ports::store::{Dump, Store, StoreSettings, read_dump, schema_version};

/// The options of a restore.
#[derive(Debug)]
pub struct Restore {
    /// The folder of backups.
    pub from: PathBuf,
    /// The snapshot. Default: the newest.
    pub snapshot: Option<String>,
    /// Whether missing or damaged files are skipped; otherwise they are an error.
    pub leave_out_damaged: bool,
}

/// The result of a restore.
#[derive(Debug)]
pub enum Restored {
    /// A whole snapshot.
    Snapshot {
        /// Its name.
        name: String,
        /// The time of the snapshot, as text.
        taken_at: String,
        /// The id of the hub, if the folder of backups has it.
        hub: Option<HubId>,
        /// Users, toys, messages.
        rows: [u64; 3],
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files that were skipped, up to a readable number.
        left_out: Vec<String>,
        /// Files that were missing when the backup was made.
        missing_files: u64,
    },
    /// The parts that an earlier call had restored; they only had to be moved into place.
    Continued,
}

/// Restores into the empty data folder of `config`. No hub may run on it.
///
/// The parts are copied beside their final paths and checked, and the restored database is read back. Only then are
/// they moved to their final paths.
///
/// Errors name the file and the remedy.
pub async fn restore(
    config: &Config,
    settings_of: fn(&Config) -> StoreSettings,
    request: Restore,
    progress: &Progress,
) -> Result<Restored, BackupFault> {
    let from = request.from.clone();
    restore_snapshot(config, settings_of, request, progress).await.map_err(|fault| match fault {
        BackupFault::Folder(BackupError::Io { path, error }) if path == from && error.kind() == ErrorKind::NotFound => {
            BackupError::Empty(path).into()
        }
        BackupFault::Folder(BackupError::Io { path, error }) if path != from && path.starts_with(&from) => {
            damaged(path, error.to_string())
        }
        BackupFault::Folder(BackupError::Damaged { path, why }) => damaged(path, why),
        other => other,
    })
}

/// A part of a snapshot cannot be used.
fn damaged(path: PathBuf, why: String) -> BackupFault {
    const WAY_OUT: &str = "restore another snapshot with --snapshot";
    let why = if why.contains(WAY_OUT) { why } else { format!("{why}; {WAY_OUT}") };
    BackupError::Damaged { path, why }.into()
}

async fn restore_snapshot(
    config: &Config,
    settings_of: fn(&Config) -> StoreSettings,
    request: Restore,
    progress: &Progress,
) -> Result<Restored, BackupFault> {
    if config.store.url != "embedded" {
        return Err(BackupFault::NotHere);
    }
    if config.files.is_bucket() {
        return Err(BackupFault::InBucket);
    }
    let Restore { from, snapshot, leave_out_damaged } = request;
    let backups = from.clone();
    let opened = backup::blocking(move || {
        let folder = BackupFolder::open_to_read(&from)?;
        let snapshot = folder.snapshot(snapshot.as_deref())?;
        // The lock of the folder is held, so that no other process removes the snapshot meanwhile.
        Ok((folder, Arc::new(snapshot)))
    });
    let (folder, snapshot) = opened.await?;
    if snapshot.manifest.schema > schema_version() {
        return Err(BackupFault::Newer { found: snapshot.manifest.schema, known: schema_version() });
    }
    let data = config.server.data_dir.clone();
    let Some(target) = backup::blocking(move || Target::open(&data)).await? else { return Ok(Restored::Continued) };
    // Everything is built in the target folder, with the same relative paths as in a data folder.
    let mut building = config.clone();
    building.server.data_dir = target.path().to_owned();

    let checking = progress.begin("checking the backup", None, Unit::Items);
    check_database(&snapshot).await?;
    drop(checking);
    restore_database(&snapshot, &settings_of(&building), target.path(), progress).await?;
    let sessions = building.server.sessions_file();
    let files = backup::blocking({
        let (snapshot, data) = (Arc::clone(&snapshot), target.path().to_owned());
        let (before, progress) = (config.server.data_dir.clone(), progress.clone());
        move || {
            snapshot.extract_part(SESSIONS, &snapshot.manifest.sessions, &sessions)?;
            let mut all = backup::Extracted::default();
            for folder in snapshot.manifest.lists.keys() {
                let some = snapshot.extract_files(folder, &data, leave_out_damaged, &progress)?;
                all.files += some.files;
                all.bytes += some.bytes;
                all.named.extend(some.named);
            }
            let io = |error| BackupError::Io { path: data.clone(), error };
            std::fs::create_dir_all(data.join("files")).map_err(io)?;
            // The data folder itself may still have its list of erasures.
            erased::merge(&[backups.as_path(), before.as_path()], &data)
                .and_then(|()| erased::note_restored(&data))
                .map_err(io)?;
            Ok(all)
        }
    });
    let files = files.await?;
    backup::blocking(move || target.put_in_place()).await?;
    let manifest = &snapshot.manifest;
    Ok(Restored::Snapshot {
        name: snapshot.name().to_owned(),
        taken_at: manifest.taken_at_text(),
        hub: folder.hub(),
        rows: ["user", "toy", "message"].map(|table| manifest.rows_of(table)),
        files: files.files,
        bytes: files.bytes,
        left_out: files.named,
        missing_files: manifest.missing_files,
    })
}

/// Checks the exported database against its checksum.
async fn check_database(snapshot: &Arc<Snapshot>) -> Result<(), BackupFault> {
    let (path, expected) = (snapshot.part(DATABASE), snapshot.manifest.database.clone());
    let found = read(path.clone()).await?;
    if (Part { bytes: found.bytes, sha256: found.sha256 }) != expected {
        return Err(damaged(path, "is damaged: its content has changed since the backup".into()));
    }
    compare_rows(snapshot, &found.rows)
}

/// Creates a database from the export, and reads it back.
async fn restore_database(
    snapshot: &Snapshot,
    settings: &StoreSettings,
    beside: &Path,
    progress: &Progress,
) -> Result<(), BackupFault> {
    let store = Store::open_to_import(settings).await.map_err(BackupFault::Store)?;
    let again = beside.join(DATABASE);
    let restored = async {
        store.import_from(&snapshot.part(DATABASE), progress).await?;
        store.export_to(&again, &CancellationToken::new(), progress).await
    };
    let restored = restored.await;
    store.close().await.map_err(BackupFault::Store)?;
    restored.map_err(BackupFault::Store)?;
    compare_rows(snapshot, &read(again.clone()).await?.rows)?;
    std::fs::remove_file(&again).map_err(|error| BackupError::Io { path: again, error }.into())
}

async fn read(path: PathBuf) -> Result<Dump, BackupFault> {
    let dump = backup::blocking(move || {
        read_dump(&path, |_, _, _| {}).map_err(|error| BackupError::Io { path: path.clone(), error })
    });
    Ok(dump.await?)
}

fn compare_rows(snapshot: &Snapshot, found: &std::collections::BTreeMap<String, u64>) -> Result<(), BackupFault> {
    for (table, expected) in &snapshot.manifest.rows {
        let found = found.get(table).copied().unwrap_or(0);
        if found != *expected {
            return Err(BackupFault::Incomplete { table: table.clone(), found, expected: *expected });
        }
    }
    Ok(())
}
