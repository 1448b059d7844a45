//! Writing into a folder of the file store, so that concurrent writers share the syncs of the folder.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile};

/// A folder of files, each of which appears complete and synced under its name, or not at all.
pub(super) struct Folder {
    path: PathBuf,
    syncs: SharedSyncs,
}

impl Folder {
    /// The folder at `path`. It is made when the first file is stored.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, syncs: SharedSyncs::default() }
    }

    /// Stores a file; with `is_new`, only if there is none of this name. Returns whether it did. The file and its name
    /// are on disk when this returns.
    pub(super) fn put(&self, name: &str, content: &[u8], is_new: bool) -> io::Result<bool> {
        let mut file = self.new_file(name)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        let path = self.path.join(name);
        let persisted = if is_new { file.persist_noclobber(path) } else { file.persist(path) };
        match persisted {
            Ok(_) => {}
            Err(error) if is_new && error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error.error),
        }
        self.syncs.sync(|| File::open(&self.path)?.sync_all())?;
        Ok(true)
    }

    /// A file with a name that [`super::delete_half_written`] knows.
    fn new_file(&self, name: &str) -> io::Result<NamedTempFile> {
        let unique = format!("{name}#{}", rand::random::<u32>());
        // The umask applies to them, as to all other files of the store.
        let permissions = Permissions::from_mode(0o666);
        let create =
            || Builder::new().prefix(&unique).rand_bytes(0).permissions(permissions.clone()).tempfile_in(&self.path);
        match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.path)?;
                if let Some(parent) = self.path.parent().filter(|parent| *parent != Path::new("")) {
                    File::open(parent)?.sync_all()?;
                }
                create()
            }
            created => created,
        }
    }
}

/// Syncs of one thing, numbered from 1 and one at a time. All that was changed before a sync began is on disk after it,
/// so those who come during one share the next one.
#[derive(Default)]
struct SharedSyncs {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Default)]
struct Progress {
    begun: u64,
    ended: u64,
    /// The number of the last one that failed, and why.
    failed: Option<(u64, io::ErrorKind)>,
    #[cfg(test)]
    waiting: usize,
}

impl SharedSyncs {
    /// Runs `sync`, or waits until another caller has run a sync that began after this call. It blocks the thread.
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut progress = self.progress();
        let awaited = progress.begun + 1;
        while progress.begun > progress.ended && progress.ended < awaited {
            #[cfg(test)]
            {
                progress.waiting += 1;
            }
            progress = self.ended.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
        if progress.ended < awaited {
            progress.begun += 1;
            drop(progress);
            let result = sync();
            let mut progress = self.progress();
            progress.ended += 1;
            if let Err(error) = &result {
                progress.failed = Some((progress.ended, error.kind()));
            }
            self.ended.notify_all();
            return result;
        }
        match progress.failed {
            // A later one that succeeds says nothing about what an earlier one could not write.
            Some((number, kind)) if number >= awaited => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn wait_until(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so() {
            assert!(Instant::now() < deadline, "it did not come to that");
            thread::yield_now();
        }
    }

    /// The result of a caller whose sync lasts until eight others wait, and those of the others, with the number of syncs.
    fn nine_callers(second: Option<io::ErrorKind>) -> (io::Result<()>, Vec<io::Result<()>>, usize) {
        let (syncs, count) = (SharedSyncs::default(), AtomicUsize::new(0));
        let (release, released) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (syncs, count) = (&syncs, &count);
            let first = scope.spawn(move || {
                syncs.sync(|| {
                    count.fetch_add(1, Ordering::SeqCst);
                    released.recv_timeout(DEADLINE).map_err(io::Error::other)
                })
            });
            wait_until(|| syncs.progress().begun == 1);
            let other = || {
                syncs.sync(|| {
                    count.fetch_add(1, Ordering::SeqCst);
                    second.map_or(Ok(()), |kind| Err(kind.into()))
                })
            };
            let others: Vec<_> = (0..8).map(|_| scope.spawn(other)).collect();
            wait_until(|| syncs.progress().waiting >= 8);
            release.send(()).unwrap();
            let first = first.join().unwrap();
            (first, others.into_iter().map(|other| other.join().unwrap()).collect(), count.load(Ordering::SeqCst))
        })
    }

    #[test]
    fn callers_that_come_during_a_sync_share_the_next_one() {
        let (first, others, count) = nine_callers(None);
        first.unwrap();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(count, 2);
    }

    #[test]
    fn a_sync_that_fails_fails_for_all_who_share_it() {
        let (first, others, count) = nine_callers(Some(io::ErrorKind::StorageFull));
        first.unwrap();
        assert!(others.iter().all(|other| matches!(other, Err(error) if error.kind() == io::ErrorKind::StorageFull)));
        assert_eq!(count, 2);
    }

    #[test]
    fn a_file_is_stored_once_under_a_new_name_and_replaced_under_another() {
        let folder = tempfile::tempdir().unwrap();
        let chat = Folder::at(folder.path().join("chat"));
        let content = || std::fs::read(folder.path().join("chat/a.mp3")).unwrap();
        assert!(chat.put("a.mp3", b"one", true).unwrap());
        assert!(!chat.put("a.mp3", b"two", true).unwrap());
        assert_eq!(content(), b"one");
        assert!(chat.put("a.mp3", b"two", false).unwrap());
        assert_eq!(content(), b"two");
        assert_eq!(std::fs::read_dir(folder.path().join("chat")).unwrap().count(), 1, "nothing half-written is left");
    }
}
