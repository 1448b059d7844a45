//! A folder of backups: snapshots side by side, and one pool of the files that they share.
//!
//! ```text
//! pool/3f/3f9a…            a file, under the SHA-256 of its content
//! 000012-20261126T143124Z/
//!     database.surql       the whole database
//!     sessions.redb        MQTT sessions and retained messages
//!     files.list           hash, size, time and path of each file
//!     manifest.toml        parts of the snapshot; written last
//! ```
//!
//! A snapshot is made under another name and renamed when all of it is on disk, so a folder with the name of a snapshot
//! is complete. Files in the pool never change, so a later snapshot only adds new files.
//!
//! All functions block: they are called from a thread of their own.

mod manifest;
mod pool;
mod target;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::model::{HubId, Timestamp};
use crate::ports::data_folder::{advice, make_private_folder};
use crate::ports::files::{Bucket, FilesError};
use crate::ports::progress::{Counter, Progress, Unit};

pub use manifest::{Manifest, Part};
pub use pool::{Copied, Extracted, Paths};
pub use target::{Opening, Target, unfinished_restore};

/// The export of the database in a snapshot.
pub const DATABASE: &str = "database.surql";
/// The file of sessions in a snapshot.
pub const SESSIONS: &str = "sessions.redb";

const LOCK: &str = ".lock";
/// The file that names the hub of the folder.
const HUB: &str = ".hub";
/// The prefix of a snapshot while it is made …
const UNFINISHED: &str = "unfinished-";
/// … and while it is removed.
const REMOVING: &str = "removing-";

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system returned an error.
    #[error("{}: {}", .path.display(), advice(.error))]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Another process uses this folder.
    #[error("{} is in use by another backup or restore; wait until it has ended", .0.display())]
    InUse(PathBuf),
    /// The folder has the backups of another hub, which those of this hub would replace.
    #[error("{} holds the backups of another hub ({found}); name a folder of its own for each hub", .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The hub that it belongs to.
        found: String,
    },
    /// The folder has no snapshot.
    #[error("{} holds no backup; name the folder that was given to 'toyhub backup'", .0.display())]
    Empty(PathBuf),
    /// The folder has no snapshot of this name.
    #[error("{} holds no snapshot {name}; it holds {known}", .path.display())]
    Unknown {
        /// The folder.
        path: PathBuf,
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// A part of the backup is damaged.
    #[error("{}: {why}", .path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// The damage.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{}: the backup has format {found}, this program knows {}; use the newer program", .path.display(), manifest::FORMAT)]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The data folder to restore into is not empty.
    #[error("{0} is not empty, and nothing in it is overwritten; move it away (mv {0} {0}.old) and run this again")]
    NotEmpty(PathBuf),
    /// The bucket could not be copied, or not be filled.
    #[error("{}", bucket_fault(.0))]
    Bucket(#[from] FilesError),
    /// The bucket has other files than were put there.
    #[error("files.url: the bucket lists {} files with {} bytes, but {} with {} were put there", .found.0, .found.1, .expected.0, .expected.1)]
    BucketDiffers {
        /// Files and bytes found.
        found: (u64, u64),
        /// Files and bytes expected.
        expected: (u64, u64),
    },
    /// The backup was cancelled.
    #[error("the hub stops")]
    Stopped,
}

/// One line on a bucket that fails.
fn bucket_fault(error: &FilesError) -> String {
    let why = error.trouble().map_or_else(|| error.to_string(), |trouble| trouble.to_string());
    format!("the sounds and pictures: {}", why.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Adds the path to an error.
trait At<T> {
    fn at(self, path: &Path) -> Result<T, BackupError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BackupError> {
        self.map_err(|error| BackupError::Io { path: path.to_owned(), error })
    }
}

/// An open folder of backups, which one process at a time writes to.
#[derive(Debug)]
pub struct BackupFolder {
    path: PathBuf,
    /// A copy of the folder may lack it.
    lock: Option<File>,
}

impl Drop for BackupFolder {
    /// Releases the lock. Closing the file is not enough: a child process that another thread has just started shares
    /// the open file until it executes its program.
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
    }
}

impl BackupFolder {
    /// Opens the folder to add a snapshot. Creates it if it does not exist, and removes unfinished snapshots of earlier
    /// runs.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        make_folder(path)?;
        let lock = path.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock).at(&lock)?;
        locked(file.try_lock(), path)?;
        let folder = Self { path: path.to_owned(), lock: Some(file) };
        for entry in fs::read_dir(path).at(path)? {
            let name = entry.at(path)?.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED).or(name.strip_prefix(REMOVING)));
            if rest.is_some_and(|rest| number_of(rest).is_some()) {
                let undone = path.join(&name);
                fs::remove_dir_all(&undone).at(&undone)?;
            }
        }
        Ok(folder)
    }

    /// Checks that the folder does not belong to another hub, and records the hub that it belongs to.
    pub fn claim(&self, hub: &HubId) -> Result<(), BackupError> {
        let file = self.path.join(HUB);
        match fs::read_to_string(&file) {
            Ok(found) if found.trim() == hub.as_str() => return Ok(()),
            // An earlier version may have failed to write it on a full disk.
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                return Err(BackupError::Foreign { path: self.path.clone(), found: found.trim().to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::Io { path: file, error }),
        }
        // The file appears complete or not at all.
        let mut new = NamedTempFile::new_in(&self.path).at(&self.path)?;
        new.write_all(hub.as_str().as_bytes()).and_then(|()| new.as_file().sync_all()).at(&file)?;
        new.persist(&file).map_err(|error| error.error).at(&file)?;
        sync_folder(&self.path)
    }

    /// The hub that the folder belongs to, if it is recorded.
    pub fn hub(&self) -> Option<HubId> {
        fs::read_to_string(self.path.join(HUB)).ok()?.trim().parse().ok()
    }

    /// Opens the folder to read a snapshot, also from a read-only medium.
    pub fn open_to_read(path: &Path) -> Result<Self, BackupError> {
        let lock = File::open(path.join(LOCK)).ok();
        if let Some(file) = &lock {
            locked(file.try_lock_shared(), path)?;
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The names of all snapshots, the oldest first.
    pub fn names(&self) -> Result<Vec<String>, BackupError> {
        snapshot_names(&self.path)
    }

    /// The snapshot of this name, or the newest.
    pub fn snapshot(&self, name: Option<&str>) -> Result<Snapshot, BackupError> {
        let mut names = self.names()?;
        let newest = names.pop().ok_or_else(|| BackupError::Empty(self.path.clone()))?;
        let name = match name {
            Some(name) if name == newest || names.iter().any(|known| known == name) => name.to_owned(),
            None => newest,
            Some(name) => {
                names.push(newest);
                let (path, name, known) = (self.path.clone(), name.to_owned(), names.join(", "));
                return Err(BackupError::Unknown { path, name, known });
            }
        };
        let path = self.path.join(&name);
        let manifest = Manifest::read(&path)?;
        Ok(Snapshot { pool: self.path.join(pool::FOLDER), path, name, manifest })
    }

    /// Begins a new snapshot.
    pub fn begin(self, now: Timestamp) -> Result<Unfinished, BackupError> {
        let newest = self.names()?.pop();
        let number = newest.as_deref().and_then(number_of).unwrap_or(0) + 1;
        let name = format!("{number:06}-{}", manifest::compact_time(now));
        let path = self.path.join(format!("{UNFINISHED}{name}"));
        make_folder(&path)?;
        let previous = newest.map(|newest| self.path.join(newest));
        Ok(Unfinished { folder: self, path, name, previous })
    }

    /// Removes all snapshots except the newest `keep`, and the files that only they used. Returns the number of removed
    /// snapshots.
    fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let mut kept = self.names()?;
        let removed: Vec<String> = kept.drain(..kept.len().saturating_sub(keep.max(1))).collect();
        for name in &removed {
            // It is renamed before its first part is removed, so that it no longer counts as a snapshot.
            let removing = self.path.join(format!("{REMOVING}{name}"));
            fs::rename(self.path.join(name), &removing).at(&removing)?;
            sync_folder(&self.path)?;
            fs::remove_dir_all(&removing).at(&removing)?;
        }
        if !removed.is_empty() {
            let lists: Vec<PathBuf> = kept.iter().map(|name| self.path.join(name)).collect();
            pool::remove_others(&self.path, &lists)?;
        }
        Ok(removed.len())
    }
}

/// The time and name of the newest snapshot in a folder, if there is one.
pub fn newest(path: &Path) -> Result<Option<(String, Timestamp)>, BackupError> {
    if !path.exists() {
        return Ok(None);
    }
    let Some(name) = snapshot_names(path)?.pop() else { return Ok(None) };
    let taken_at = Manifest::read(&path.join(&name))?.taken_at();
    Ok(Some((name, taken_at)))
}

/// A snapshot in progress. If it is dropped before [`Self::finish`], it leaves only files in the pool, which the next
/// one uses.
#[derive(Debug)]
pub struct Unfinished {
    folder: BackupFolder,
    path: PathBuf,
    name: String,
    previous: Option<PathBuf>,
}

impl Unfinished {
    /// The path of a part of the snapshot.
    pub fn part(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Copies new files below `data/folder`, except those in the folders `skip`, and lists all files. Files that are
    /// deleted meanwhile may be missing from the list.
    pub fn copy_files(
        &self,
        data: &Path,
        folder: &str,
        skip: &[&str],
        stop: &CancellationToken,
        progress: &Progress,
    ) -> Result<Copied, BackupError> {
        let total = if progress.is_watched() { pool::count(&data.join(folder), skip) } else { 0 };
        let counter = progress.begin(step_of(folder), Some(total), Unit::Items);
        let previous = self.previous.as_deref();
        pool::copy_in(&self.folder.path, &self.path, previous, data, folder, skip, (stop, &counter))
    }

    /// As [`Self::copy_files`], with the files of a bucket.
    pub fn copy_bucket(
        &self,
        bucket: &Bucket,
        folder: &str,
        stop: &CancellationToken,
        progress: &Progress,
    ) -> Result<Copied, BackupError> {
        let counter = progress.begin(step_of(folder), Some(0), Unit::Items);
        let previous = self.previous.as_deref();
        Handle::current().block_on(async {
            tokio::select! {
                copied = pool::copy_bucket(&self.folder.path, &self.path, previous, bucket, folder, &counter) => copied,
                () = stop.cancelled() => Err(BackupError::Stopped),
            }
        })
    }

    /// The paths in the list of [`Self::copy_files`].
    pub fn paths(&self, folder: &str) -> Result<Paths, BackupError> {
        Paths::read(&pool::list_path(&self.path, folder))
    }

    /// Completes the snapshot, which appears at once or not at all. With `keep`, the oldest ones beyond that number are
    /// removed. Returns its name.
    pub fn finish(&self, manifest: &Manifest, keep: Option<usize>) -> Result<String, BackupError> {
        manifest.write(&self.path)?;
        sync_folder(&self.path)?;
        let path = self.folder.path.join(&self.name);
        fs::rename(&self.path, &path).at(&path)?;
        sync_folder(&self.folder.path)?;
        if let Some(keep) = keep {
            self.folder.prune(keep)?;
        }
        Ok(self.name.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a success there is no such folder. If it cannot be removed now, the next backup removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A complete snapshot.
#[derive(Debug)]
pub struct Snapshot {
    pool: PathBuf,
    path: PathBuf,
    name: String,
    /// Its content.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of a part.
    pub fn part(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Copies a part, and checks it.
    pub fn extract_part(&self, name: &str, expected: &Part, to: &Path) -> Result<(), BackupError> {
        pool::extract(&self.part(name), expected, to, None)
    }

    /// Copies all files of a list to their paths below `data`. Missing or damaged files are an error; with `leave_out`
    /// they are skipped and reported.
    pub fn extract_files(
        &self,
        folder: &str,
        data: &Path,
        leave_out: bool,
        progress: &Progress,
    ) -> Result<Extracted, BackupError> {
        let (list, expected, counter) = self.begin_list(folder, progress)?;
        pool::extract_all(&self.pool, &list, expected, data, leave_out, &counter)
    }

    /// As [`Self::extract_files`], to a bucket.
    pub fn extract_to_bucket(
        &self,
        folder: &str,
        bucket: &Bucket,
        leave_out: bool,
        progress: &Progress,
    ) -> Result<Extracted, BackupError> {
        let (list, expected, counter) = self.begin_list(folder, progress)?;
        Handle::current().block_on(pool::extract_to_bucket(&self.pool, &list, expected, bucket, leave_out, &counter))
    }

    /// The list of a folder, with its expected content, and the progress of extracting it.
    fn begin_list(&self, folder: &str, progress: &Progress) -> Result<(PathBuf, &Part, Counter), BackupError> {
        let list = pool::list_path(&self.path, folder);
        let Some(expected) = self.manifest.lists.get(folder) else {
            let why = format!("the manifest does not contain the list of {folder}");
            return Err(BackupError::Damaged { path: list, why });
        };
        let total = if progress.is_watched() { pool::lines_of(&list) } else { 0 };
        let counter = progress.begin(step_of(folder), Some(total), Unit::Items);
        Ok((list, expected, counter))
    }
}

/// The name of the step that copies a folder of the data.
fn step_of(folder: &str) -> &'static str {
    match folder {
        "chunks" => "copying recordings in chunks",
        "ai-recordings" => "copying recordings to the hub",
        _ => "copying sounds and pictures",
    }
}

fn locked(outcome: Result<(), TryLockError>, path: &Path) -> Result<(), BackupError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BackupError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(error).at(path),
    }
}

/// The number of a snapshot; none for other names.
fn number_of(name: &str) -> Option<u64> {
    let (number, time) = name.split_once('-')?;
    let is_time = time.len() == 16 && time.ends_with('Z') && time.as_bytes()[8] == b'T';
    number.parse().ok().filter(|_| is_time && number.len() >= 6)
}

fn snapshot_names(path: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).at(path)? {
        if let Ok(name) = entry.at(path)?.file_name().into_string()
            && let Some(number) = number_of(&name)
        {
            names.push((number, name));
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// Creates a folder, and those above it, for the owner only.
fn make_folder(path: &Path) -> Result<(), BackupError> {
    make_private_folder(path).at(path)
}

fn sync_folder(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|folder| folder.sync_all()).at(path)
}

/// Syncs the file system of a folder: one sync for many new files.
fn sync_file_system(path: &Path) -> Result<(), BackupError> {
    let folder = File::open(path).at(path)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&folder).map_err(io::Error::from).at(path)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    folder.sync_all().at(path)
}

/// Creates a file that only its owner may read.
fn new_file(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).at(path)
}

/// Runs a blocking step on a thread of its own.
pub async fn blocking<T, F>(step: F) -> Result<T, BackupError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, BackupError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(step).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)).at(Path::new("backup")))
}
