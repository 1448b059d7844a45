//! Restores a backup to a data folder, and to a database server and a bucket if the settings name them, completely or
//! not at all.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::elsewhere::{Elsewhere, Note, Openers};
use super::{BackupFault, DATABASE, SESSIONS};
use crate::config::Config;
use crate::model::HubId;
use crate::ports::backup::{self, BackupError, BackupFolder, Extracted, Opening, Part, Snapshot, Target};
use crate::ports::erased;
use crate::ports::progress::{Progress, Unit};
use crate::ports::store::{Dump, Store, StoreError, read_dump, schema_version};

/// The list of sounds and pictures.
const FILES: &str = "files";

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

/// Restores into the empty data folder of `config`, the empty database of its server and its empty bucket. No hub may run
/// on them.
///
/// The parts are copied beside their final paths and checked, and the restored database is read back. Only then are
/// they moved to their final paths. A database on a server and a bucket are marked until then, and emptied after a
/// failure.
///
/// Errors name the file and the remedy.
pub async fn restore(
    config: &Config,
    openers: Openers,
    request: Restore,
    progress: &Progress,
) -> Result<Restored, BackupFault> {
    let from = request.from.clone();
    restore_snapshot(config, openers, request, progress).await.map_err(|fault| match fault {
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
    openers: Openers,
    request: Restore,
    progress: &Progress,
) -> Result<Restored, BackupFault> {
    if config.store.url == "memory" {
        return Err(BackupFault::InMemory);
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
    let target = match backup::blocking(move || Target::open(&data)).await? {
        Opening::Empty(target) => target,
        Opening::Ready(target, note) => {
            if let Some(note) = Note::parse(&note) {
                Elsewhere::connect(config, openers, note.token.clone()).await?.end(&note).await?;
            }
            backup::blocking(move || target.put_in_place()).await?;
            return Ok(Restored::Continued);
        }
    };
    let checking = progress.begin("checking the backup", None, Unit::Items);
    check_database(&snapshot).await?;
    drop(checking);

    let elsewhere = Elsewhere::connect(config, openers, HubId::random().to_string()).await?;
    let building = target.path().to_owned();
    let filling = Filling { config, openers, backups, snapshot: &snapshot, building, progress, leave_out_damaged };
    let filled = async {
        elsewhere.begin(config).await?;
        let (note, files) = filling.fill(&elsewhere).await?;
        let text = note.text();
        let ready = backup::blocking(move || {
            target.make_ready(&text)?;
            Ok(target)
        });
        Ok((note, files, ready.await?))
    };
    let (note, files, target) = match filled.await {
        Ok(filled) => filled,
        Err(fault) => return Err(elsewhere.undo(config, fault).await),
    };
    // From here on, another call only has to complete it.
    elsewhere.end(&note).await?;
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
    // A damaged name of an empty table would match no rows, as the table does.
    if found.rows.keys().ne(snapshot.manifest.rows.keys()) {
        return Err(damaged(path, "and its manifest do not have the same tables".into()));
    }
    compare_rows(snapshot, &found.rows)
}

/// The copies of a restore.
struct Filling<'a> {
    config: &'a Config,
    openers: Openers,
    /// The folder of backups.
    backups: PathBuf,
    snapshot: &'a Arc<Snapshot>,
    /// The folder in which everything of the data folder is built, with the same relative paths.
    building: PathBuf,
    progress: &'a Progress,
    leave_out_damaged: bool,
}

impl Filling<'_> {
    /// Copies all parts, and checks them.
    async fn fill(self, elsewhere: &Elsewhere) -> Result<(Note, Extracted), BackupFault> {
        let mut config = self.config.clone();
        config.server.data_dir.clone_from(&self.building);
        let hub = match &elsewhere.store {
            Some(store) => self.fill_database(store, Some(elsewhere.token())).await.map_err(BackupFault::Store)?,
            None => {
                let store = Store::open_to_import(&(self.openers.store)(&config)).await.map_err(BackupFault::Store)?;
                let filled = self.fill_database(&store, None).await;
                store.close().await.map_err(BackupFault::Store)?;
                filled.map_err(BackupFault::Store)?
            }
        };
        let again = self.building.join(DATABASE);
        compare_rows(self.snapshot, &read(again.clone()).await?.rows)?;
        std::fs::remove_file(&again).map_err(|error| BackupError::Io { path: again, error })?;

        let sessions = config.server.sessions_file();
        let is_on_server = elsewhere.store.is_some();
        let bucket = elsewhere.bucket.clone();
        let before = self.config.server.data_dir.clone();
        let Self { backups, building: data, progress, leave_out_damaged, .. } = self;
        let (snapshot, progress) = (Arc::clone(self.snapshot), progress.clone());
        let token = elsewhere.token().to_owned();
        let filled = backup::blocking(move || {
            snapshot.extract_part(SESSIONS, &snapshot.manifest.sessions, &sessions)?;
            let mut all = Extracted::default();
            for folder in snapshot.manifest.lists.keys() {
                let some = match &bucket {
                    Some(bucket) if folder == FILES => {
                        snapshot.extract_to_bucket(folder, bucket, leave_out_damaged, &progress)?
                    }
                    _ => snapshot.extract_files(folder, &data, leave_out_damaged, &progress)?,
                };
                all.files += some.files;
                all.bytes += some.bytes;
                all.named.extend(some.named);
            }
            let io = |error| BackupError::Io { path: data.clone(), error };
            if bucket.is_none() {
                std::fs::create_dir_all(data.join(FILES)).map_err(io)?;
            }
            // The data folder itself may still have its list of erasures.
            erased::merge(&[backups.as_path(), before.as_path()], &data)
                .and_then(|()| erased::note_restored(&data))
                .map_err(io)?;
            let is_erasing = is_on_server && erased::is_restored(&data);
            Ok((Note { token, hub, is_erasing }, all))
        });
        Ok(filled.await?)
    }

    /// Fills a database from the export, and exports it once more. Returns the hub that it is of.
    async fn fill_database(&self, store: &Store, token: Option<&str>) -> Result<Option<HubId>, StoreError> {
        store.import_from(&self.snapshot.part(DATABASE), token, self.progress).await?;
        store.export_to(&self.building.join(DATABASE), &CancellationToken::new(), self.progress).await?;
        store.hub().await
    }
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
