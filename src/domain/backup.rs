//! Backups of a running hub. The order of the copies makes the restored data consistent.
//!
//! A voice message is written as a file, then as a row of the database that names the file, then as an event in the
//! sessions of its receiver that names the row. The backup copies in the opposite order, so that everything that is
//! referred to is copied after the reference, and exists: sessions first, then recordings in chunks (whose answers name
//! messages), then the database, then the files. Messages that are accepted after the backup began may be in it or not.
//! A message whose event is not in the copied session is unread in the database, and toys get their unread messages
//! from there.
//!
//! Files never change under their name, but may be deleted during a backup. Missing files that the copied database
//! names are counted and reported; the rest can be restored without them.

mod elsewhere;
mod restore;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::DomainError;
use super::{FileKind, Hub};
use crate::model::{HubId, Timestamp};
use crate::ports::backup::{self, BackupError, BackupFolder, DATABASE, Manifest, Part, SESSIONS, Unfinished};
use crate::ports::files::Bucket;
use crate::ports::progress::{Progress, Unit};
use crate::ports::router::DiskError;
use crate::ports::space::is_disk_full;
use crate::ports::store::{Dump, read_dump, schema_version};
use crate::ports::{erased, files};

pub use crate::ports::backup::unfinished_restore;
pub use elsewhere::Openers;
pub use restore::{Restore, Restored, restore};
pub use schedule::newest;

/// The fields of the database that name files: table, field, and folder of the file.
const NAMED_FILES: [(&str, &str, FileKind); 6] = [
    ("message", "sound", FileKind::Chat),
    ("message", "notice", FileKind::Chat),
    ("content", "music", FileKind::Music),
    ("content", "cover", FileKind::Image),
    ("user", "avatar", FileKind::Image),
    ("toy", "avatar", FileKind::Image),
];

/// The maximum number of missing files that are logged by name.
const NAMED_MAX: u64 = 10;

/// The running backup: there is one at a time.
#[derive(Debug)]
pub(super) struct Backups {
    idle: Semaphore,
    stop: CancellationToken,
}

impl Backups {
    pub(super) fn new() -> Self {
        Self { idle: Semaphore::new(1), stop: CancellationToken::new() }
    }

    /// Cancels a running backup, which then leaves no files, and prevents further ones.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of a running backup.
    pub(super) async fn ended(&self) {
        let _ = self.idle.acquire().await;
    }
}

/// The result of a backup.
#[derive(Debug)]
pub struct BackedUp {
    /// The name of the snapshot.
    pub name: String,
    /// Users in it.
    pub users: u64,
    /// Toys in it.
    pub toys: u64,
    /// Messages in it.
    pub messages: u64,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that no earlier snapshot had.
    pub new_files: u64,
    /// Their bytes, including those of the database and the sessions.
    pub new_bytes: u64,
    /// Missing files that the database names.
    pub missing_files: u64,
}

impl Hub {
    /// Adds a snapshot of all data to the folder `to` while the hub runs. With `keep`, the oldest snapshots beyond that
    /// number are removed.
    ///
    /// After an error, no snapshot was added.
    pub async fn back_up(
        &self,
        to: &Path,
        keep: Option<usize>,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<BackedUp, BackupFault> {
        let _only_one = self.backups.idle.try_acquire().map_err(|_| BackupFault::Running)?;
        if self.store.is_in_memory() {
            return Err(BackupFault::InMemory);
        }
        let data = self.config.server.data_dir.clone();
        let snapshot = begin(to.to_owned(), data.clone(), self.folder.hub().cloned(), now).await?;
        let sessions = snapshot.part(SESSIONS);
        self.router.copy_sessions_to(&sessions).await.map_err(BackupFault::Sessions)?;
        self.share_marks().await.map_err(BackupFault::Erased)?;
        self.copy_erased(to).await?;
        let chunks = self.copy_files(&snapshot, &data, ("chunks", &[]), progress).await?;
        let database = snapshot.part(DATABASE);
        self.store.export_to(&database, &self.backups.stop, progress).await.map_err(BackupFault::Store)?;
        let files = match self.files.bucket() {
            Some(bucket) => self.copy_bucket(&snapshot, bucket, progress).await?,
            None => self.copy_files(&snapshot, &data, ("files", &[files::ANSWERS]), progress).await?,
        };
        let recordings = self.copy_files(&snapshot, &data, ("ai-recordings", &[]), progress).await?;

        let copied = [("chunks", chunks), ("files", files), ("ai-recordings", recordings)];
        let sum = |count: fn(&backup::Copied) -> u64| copied.iter().map(|(_, copied)| count(copied)).sum::<u64>();
        let (files, bytes) = (sum(|copied| copied.files), sum(|copied| copied.bytes));
        let (new_files, new_bytes) = (sum(|copied| copied.new_files), sum(|copied| copied.new_bytes));
        let lists = copied.into_iter().map(|(folder, copied)| (folder.to_owned(), copied.list)).collect();
        let checking = progress.begin("checking the copy of the database", None, Unit::Items);
        let finished = backup::blocking(move || {
            let _checking = checking;
            let (dump, missing_files) = read_back(&snapshot)?;
            let database = Part { bytes: dump.bytes, sha256: dump.sha256 };
            let sessions = Part::of(&sessions)?;
            let new_bytes = new_bytes + database.bytes + sessions.bytes;
            let mut manifest = Manifest::new(now, schema_version(), database, sessions);
            (manifest.rows, manifest.lists, manifest.missing_files) = (dump.rows, lists, missing_files);
            let name = snapshot.finish(&manifest, keep)?;
            let [users, toys, messages] = ["user", "toy", "message"].map(|table| manifest.rows_of(table));
            Ok(BackedUp { name, users, toys, messages, files, bytes, new_files, new_bytes, missing_files })
        });
        Ok(finished.await?)
    }

    /// Whether a backup is being made.
    pub fn is_backing_up(&self) -> bool {
        self.backups.idle.available_permits() == 0
    }

    /// Copies the list of erasures to the folder of backups.
    async fn copy_erased(&self, to: &Path) -> Result<(), BackupFault> {
        let (data, to) = (self.config.server.data_dir.clone(), to.to_owned());
        let copied = backup::blocking(move || {
            let path = to.join(erased::ERASED_FILE);
            erased::merge(&[&data], &to).map_err(|error| BackupError::Io { path, error })
        });
        Ok(copied.await?)
    }

    async fn copy_files(
        &self,
        snapshot: &Arc<Unfinished>,
        data: &Path,
        (folder, skip): (&'static str, &'static [&'static str]),
        progress: &Progress,
    ) -> Result<backup::Copied, BackupFault> {
        let (snapshot, data, stop) = (Arc::clone(snapshot), data.to_owned(), self.backups.stop.clone());
        let progress = progress.clone();
        let copied = backup::blocking(move || snapshot.copy_files(&data, folder, skip, &stop, &progress));
        Ok(copied.await?)
    }

    /// Copies the sounds and pictures of a bucket, into the same list as those of a folder.
    async fn copy_bucket(
        &self,
        snapshot: &Arc<Unfinished>,
        bucket: &Arc<Bucket>,
        progress: &Progress,
    ) -> Result<backup::Copied, BackupFault> {
        let (snapshot, bucket, stop) = (Arc::clone(snapshot), Arc::clone(bucket), self.backups.stop.clone());
        let progress = progress.clone();
        Ok(backup::blocking(move || snapshot.copy_bucket(&bucket, "files", &stop, &progress)).await?)
    }
}

/// Begins a snapshot. The folder must not be inside the data folder, nor contain it.
async fn begin(to: PathBuf, data: PathBuf, hub: Option<HubId>, now: Timestamp) -> Result<Arc<Unfinished>, BackupFault> {
    let begun = backup::blocking(move || {
        let nested = is_inside(&to, &data).and_then(|inside| Ok(inside || is_inside(&data, &to)?));
        if nested.map_err(|error| BackupError::Io { path: to.clone(), error })? {
            return Ok(None);
        }
        let folder = BackupFolder::open(&to)?;
        if let Some(hub) = hub {
            folder.claim(&hub)?;
        }
        Ok(Some(Arc::new(folder.begin(now)?)))
    });
    begun.await?.ok_or(BackupFault::Nested)
}

/// Whether a path is inside `folder`. Parts of the path may not exist yet.
fn is_inside(path: &Path, folder: &Path) -> std::io::Result<bool> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(&path);
    // A folder that does not exist yet contains nothing.
    Ok(folder.exists() && there.canonicalize()?.starts_with(folder.canonicalize()?))
}

/// Reads the copied database back from disk, and counts the files that it names and that were not copied.
fn read_back(snapshot: &Unfinished) -> Result<(Dump, u64), BackupError> {
    let paths = snapshot.paths("files")?;
    let (database, mut missing) = (snapshot.part(DATABASE), 0);
    let dump = read_dump(&database, |table, field, name| {
        let kind = NAMED_FILES.iter().find(|(of, named, _)| *of == table && *named == field).map(|(.., kind)| *kind);
        if let Some(kind) = kind
            && !paths.contain(&format!("files/{}/{name}", kind.folder()))
        {
            missing += 1;
            if missing <= NAMED_MAX {
                tracing::warn!(file = name, "a file that the database names is missing and was not backed up");
            }
        }
    });
    let dump = dump.map_err(|error| BackupError::Io { path: database, error })?;
    Ok((dump, missing))
}

/// The error, with advice for a full disk.
fn advised(error: &(dyn std::error::Error + 'static)) -> String {
    let is_full = is_disk_full(error) || matches!(error.downcast_ref(), Some(DiskError::Full));
    if is_full { format!("{error}; free space on the disk and try again") } else { error.to_string() }
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// One at a time.
    #[error("a backup is running already; wait until it has ended")]
    Running,
    /// Nothing is on disk.
    #[error("store.url is \"memory\": the data ends with the hub, so there is no backup of it and no restore to it")]
    InMemory,
    /// A setting cannot be used. The line begins with its key.
    #[error("{0}")]
    Setting(String),
    /// The database to restore into has tables.
    #[error(
        "store.url: database {database:?} of namespace {namespace:?} on {url} is not empty, and nothing in it is \
         overwritten; set another store.database"
    )]
    ServerNotEmpty {
        /// The server.
        url: String,
        /// The namespace.
        namespace: String,
        /// The database.
        database: String,
    },
    /// The bucket to restore into has objects.
    #[error(
        "files.url: {url} is not empty (it has {found}), and nothing in it is overwritten; name another prefix, as in \
         s3://bucket/prefix"
    )]
    BucketNotEmpty {
        /// The bucket.
        url: String,
        /// An object in it.
        found: String,
    },
    /// A restore failed, and its parts could not be removed.
    #[error(
        "{fault}; parts of the restore remain in {places}, and no hub starts on them: run 'toyhub restore' again, which \
         removes them and begins anew"
    )]
    Remains {
        /// Why it failed.
        #[source]
        fault: Box<BackupFault>,
        /// The places, each with the reason.
        places: String,
    },
    /// The backup would be lost together with the data folder.
    #[error(
        "the folder of backups and server.data_dir contain each other; name another folder, best on another \
         disk"
    )]
    Nested,
    /// The folder of backups, or a snapshot in it.
    #[error("{0}")]
    Folder(#[from] BackupError),
    /// The database could not be copied.
    #[error("the database: {}", advised(.0))]
    Store(#[source] crate::ports::store::StoreError),
    /// The sessions could not be copied.
    #[error("{}", advised(.0))]
    Sessions(#[source] DiskError),
    /// The list of erasures could not be exchanged with the other hubs.
    #[error("the list of erasures: {0}")]
    Erased(#[source] DomainError),
    /// The restored data differs from the backup.
    #[error(
        "{found} rows of {table} were restored, but {expected} were backed up; restore another snapshot with --snapshot"
    )]
    Incomplete {
        /// The table.
        table: String,
        /// Rows found.
        found: u64,
        /// Rows in the backup.
        expected: u64,
    },
    /// The snapshot is of a newer database.
    #[error("the backup has schema version {found}, this program knows {known}; use the newer program")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
}
