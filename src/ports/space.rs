//! The free space of the data folder's disk, and the reserve that uploads must not use.
//!
//! The space is measured periodically and counted down in between, so that a check costs nothing. The reserve is for
//! operations that must continue when the disk is nearly full: logins, read marks, acknowledgements, and the database's
//! own compaction, which needs space before it frees any.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};

use rustix::io::Errno;

/// The free space of one disk.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    /// Held during a measurement: a disk that does not respond blocks one thread, not one for each measurement.
    measuring: Mutex<()>,
}

/// The disk has no space for this without using the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk has less free space than its reserve")]
pub struct NoRoom;

impl Space {
    /// Measures the disk of `folder`, of which `reserve_bytes` stay free.
    pub fn open(folder: &Path, reserve_bytes: u64) -> io::Result<Self> {
        let free_bytes = AtomicU64::new(free_bytes(folder)?);
        Ok(Self { folder: folder.to_owned(), reserve_bytes, free_bytes, measuring: Mutex::new(()) })
    }

    /// Measures the space again. It blocks, so it is called from a worker.
    pub fn measure(&self) -> io::Result<()> {
        let _measuring = match self.measuring.try_lock() {
            Ok(measuring) => measuring,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        self.free_bytes.store(free_bytes(&self.folder)?, Ordering::Relaxed);
        Ok(())
    }

    /// Whether `bytes` more can be written without using the reserve.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.free_bytes.load(Ordering::Relaxed) >= self.reserve_bytes.saturating_add(bytes)
    }

    /// Whether this much is free, and at least the reserve.
    pub fn has_free(&self, bytes: u64) -> bool {
        self.free_bytes.load(Ordering::Relaxed) >= self.reserve_bytes.max(bytes)
    }

    /// Bytes that are free, by the last measurement and what was written since.
    pub fn left_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Counts `bytes` as written, until the next measurement.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let rest = |free: u64| free.checked_sub(bytes).filter(|rest| *rest >= self.reserve_bytes);
        let taken = self.free_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
        taken.map(drop).map_err(|_| NoRoom)
    }
}

/// The space that an unprivileged program may still write.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether a full disk, or an exhausted quota, is among the causes of `error`.
///
/// The database and the session file keep only the text of the system's error, which ends with its number.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(|errno| format!("(os error {})", errno.raw_os_error()));
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let text = error.to_string();
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || full.iter().any(|full| text.contains(full))
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_left_alone_and_a_measurement_corrects_the_count() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::open(folder.path(), 1000).unwrap();
        space.free_bytes.store(1500, Ordering::Relaxed);
        assert!(space.has_room(500) && !space.has_room(501));
        assert!(space.has_free(1500) && !space.has_free(1501));
        assert_eq!(space.take(400), Ok(()));
        assert_eq!(space.take(101), Err(NoRoom));
        assert_eq!(space.take(100), Ok(()));
        assert!(space.has_room(0) && !space.has_room(1));
        space.free_bytes.store(999, Ordering::Relaxed);
        assert!(!space.has_free(1), "the reserve at least");
        space.free_bytes.store(0, Ordering::Relaxed);
        assert_eq!(space.take(0), Err(NoRoom), "the reserve itself is touched");
        space.measure().unwrap();
        assert!(space.has_room(0), "the disk of the tests has more than 1000 bytes");
    }

    #[test]
    fn one_measurement_runs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::open(folder.path(), 0).unwrap();
        let measuring = space.measuring.lock().unwrap();
        assert_eq!(space.measure().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(measuring);
        space.measure().unwrap();
    }

    #[test]
    fn a_full_disk_is_known_however_deep_its_error_lies() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Box<dyn Error + Send + Sync>);
        let full = || io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        assert!(is_disk_full(&full()));
        assert!(is_disk_full(&Outer(Box::new(Outer(Box::new(full()))))));
        assert!(is_disk_full(&Outer(format!("engine: {}, wrote 0 bytes", full()).into())));
        assert!(!is_disk_full(&Outer(Box::new(io::Error::from(io::ErrorKind::NotFound)))));
        assert!(!is_disk_full(&Outer("engine: Permission denied (os error 13)".into())));
    }
}
