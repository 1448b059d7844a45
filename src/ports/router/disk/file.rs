//! Opening, checking and repairing the file.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use redb::{Builder, Database};

use super::tables::{self, Tallies};
use super::{Found, now};

/// The file cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DiskError {
    /// Its content is damaged.
    #[error(
        "{file} is damaged ({cause}); restore a backup with 'toyhub restore', or have \
         'toyhub doctor --repair' put it aside and make an empty one"
    )]
    Damaged {
        /// The file.
        file: String,
        /// The symptom.
        cause: String,
    },
    /// The disk is full.
    #[error("sessions: no space left on the disk")]
    Full,
    /// Any other error, such as a missing permission.
    #[error("sessions: {0}")]
    Unusable(String),
}

impl DiskError {
    fn of(error: redb::Error, file: &str) -> Self {
        match error {
            redb::Error::Corrupted(cause) => Self::Damaged { file: file.into(), cause },
            // redb's error for a file with a foreign header.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged { file: file.into(), cause: error.to_string() }
            }
            // A file that ends before its last page.
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged { file: file.into(), cause: "it is cut off".into() }
            }
            redb::Error::Io(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Self::Full
            }
            redb::Error::DatabaseAlreadyOpen => Self::Unusable(format!("{file} is in use by another toyhub")),
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => {
                Self::Damaged { file: file.into(), cause: error.to_string() }
            }
            error => Self::Unusable(format!("{file}: {error}")),
        }
    }
}

/// A file that was opened and read.
pub(in crate::ports::router) struct Opened {
    /// Its name in errors.
    pub(super) name: String,
    pub(super) database: Database,
    pub(super) found: Found,
    pub(super) tallies: Tallies,
}

/// Opens the same file at each call.
pub(in crate::ports::router) type Opener = Box<dyn Fn() -> Result<Opened, DiskError> + Send>;

/// Opens the file at `path`, or a store in memory without one.
///
/// A missing file is created at the first call only: later, it must have been removed by accident.
pub(super) fn opener(path: Option<&Path>, cache_bytes: usize) -> Opener {
    let Some(path) = path.map(Path::to_owned) else {
        let in_memory = |builder: &Builder| builder.create_with_backend(redb::backends::InMemoryBackend::new());
        return Box::new(move || open("memory", cache_bytes, in_memory));
    };
    let is_first = Cell::new(true);
    Box::new(move || {
        let name = path.display().to_string();
        open(&name, cache_bytes, |builder| {
            if !is_first.replace(false) {
                check_room(&path)?;
            } else if !path.try_exists()? {
                create(&path, builder)?;
            }
            builder.open(&path)
        })
    })
}

/// The name of a file that replaces the one at `path`. The remains of an earlier attempt are removed.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // If they cannot be removed, creating the new file fails.
    let _ = std::fs::remove_file(&new);
    new
}

/// Replaces the file at `path` by the file `new`.
pub(super) fn replace(path: &Path, new: &Path) -> io::Result<()> {
    std::fs::rename(new, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Creates an empty file under another name first, so that a file of this name is complete, or it is damaged.
fn create(path: &Path, builder: &Builder) -> Result<(), redb::DatabaseError> {
    let new = beside(path);
    builder.create(&new)?.close()?;
    Ok(replace(path, &new)?)
}

/// After a failure, the file is not reopened before this much space is free: a commit that happens to fit into the
/// file's free pages would succeed, and the next one would fail again.
const ROOM_BYTES: usize = 1 << 20;

/// Checks that the disk of the file has free space.
fn check_room(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".room");
    let mut probe = std::fs::File::create(&name)?;
    // It is deleted with its handle, however the process ends.
    std::fs::remove_file(&name)?;
    probe.write_all(&vec![0; ROOM_BYTES])?;
    probe.sync_all()
}

/// Opens a database, checks it and reads the data that a start needs.
pub(super) fn open(
    name: &str,
    cache_bytes: usize,
    create: impl FnOnce(&Builder) -> Result<Database, redb::DatabaseError>,
) -> Result<Opened, DiskError> {
    guarded(name, || {
        let mut builder = Builder::new();
        // Every page is read at the start anyway. Without the check, redb trusts a file that was closed in order.
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
        let database = create(&builder)?;
        tables::make(&database)?;
        let (found, tallies) = tables::read(&database)?;
        Ok(Opened { name: name.into(), database, found, tallies })
    })
}

/// A panic of `redb` is treated as damage: it panics in several places on content that none of its files has. The
/// database is then abandoned.
pub(super) fn guarded<T>(name: &str, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, DiskError> {
    let outcome = quietly(|| catch_unwind(AssertUnwindSafe(work)));
    match outcome {
        Ok(result) => result.map_err(|error| DiskError::of(error, name)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let cause = text.unwrap_or_else(|| "it is unreadable".into());
            // One line, whatever the text of the panic.
            let cause = cause.lines().next().unwrap_or_default().to_owned();
            Err(DiskError::Damaged { file: name.into(), cause })
        }
    }
}

thread_local! {
    /// Whether a panic of this thread becomes an error, which contains all information.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the backtrace of a panic that is caught out of the log.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                others(panic);
            }
        }));
    });
    let before = IS_QUIET.replace(true);
    let outcome = work();
    IS_QUIET.set(before);
    outcome
}

/// The result of [`repair`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// The file was missing, and an empty one was created.
    Made,
    /// The file is valid and was not changed.
    Sound,
    /// The damaged file was moved here, and replaced by an empty one.
    ///
    /// The queued messages of offline clients, retained messages and subscriptions are lost with it. Voice messages are
    /// in the database and are not affected.
    PutAside(PathBuf),
}

/// Creates an empty file if there is none, or if the file is damaged; the damaged file is renamed to
/// `<file>.damaged-<seconds since 1970>`. No hub may run on it. Errors: `Unusable` if the file is in use or cannot be
/// moved, `Full`.
pub fn repair(path: &Path) -> Result<Repaired, DiskError> {
    const CACHE_BYTES: usize = 16 << 20;
    let open_it = || opener(Some(path), CACHE_BYTES)();
    if !path.exists() {
        return open_it().map(|_| Repaired::Made);
    }
    match open_it() {
        Ok(_) => return Ok(Repaired::Sound),
        Err(DiskError::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{:.0}", now()));
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(|error| DiskError::Unusable(format!("{}: {error}", path.display())))?;
    open_it().map(|_| Repaired::PutAside(aside))
}
