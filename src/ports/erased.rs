//! The list of erasures, as hashes, beside the database. With it, restoring an older backup does not bring erased data
//! back.
//!
//! The list contains SHA-256 hashes of random ids, and no id. It only grows. It is in the data folder, and in each folder
//! of backups, outside of the snapshots, so that a restore of an older snapshot finds it in either place.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// The list, in the data folder and in a folder of backups.
pub const ERASED_FILE: &str = "erased.list";
/// A mark beside the list after a restore: the erasures of the list have to be repeated.
pub const RESTORED_FILE: &str = "erased.restored";

/// The hash of an erased item: its kind and its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark([u8; 32]);

impl Mark {
    /// The mark of one item.
    pub fn of(kind: &str, ids: &[&str]) -> Self {
        let hash = Sha256::new().chain_update("toyhub erased\0").chain_update(kind);
        Self(ids.iter().fold(hash, |hash, id| hash.chain_update("\0").chain_update(id)).finalize().into())
    }

    /// Parses a mark of [`Self::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).ok()?.try_into().ok().map(Self)
    }

    /// As text.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

/// The list of the data folder.
#[derive(Debug)]
pub struct ErasedList {
    path: PathBuf,
    /// The marks, each with whether it is in the file.
    known: RwLock<HashMap<Mark, bool>>,
    /// One writer at a time.
    writing: Mutex<()>,
}

impl ErasedList {
    /// Opens the list of a data folder; it blocks.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(ERASED_FILE);
        let known = read(&path)?.into_iter().map(|mark| (mark, true)).collect();
        Ok(Self { known: RwLock::new(known), path, writing: Mutex::default() })
    }

    /// Whether the item was erased.
    pub fn has(&self, mark: &Mark) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(mark)
    }

    /// All marks.
    pub fn all(&self) -> Vec<Mark> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Adds marks in memory; [`Self::write`] follows.
    pub fn note(&self, marks: &[Mark]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            known.entry(*mark).or_insert(false);
        }
    }

    /// Writes marks that are not in the file. They are on disk when this returns. It blocks.
    pub fn write(&self, marks: &[Mark]) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<Mark> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            marks.iter().copied().filter(|mark| known.get(mark) != Some(&true)).collect()
        };
        if !new.is_empty() {
            let is_new = !self.path.exists();
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
            file.write_all(text_of(&new).as_bytes())?;
            file.sync_all()?;
            if is_new && let Some(folder) = self.path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        let written = new.into_iter().map(|mark| (mark, true));
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(written);
        Ok(())
    }
}

/// The marks of a list; none without a file. A line that was cut off by a crash is ignored: its erasure continues and
/// writes it again.
fn read(path: &Path) -> io::Result<HashSet<Mark>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    Ok(text.lines().filter_map(|line| Mark::from_hex(line.trim())).collect())
}

/// A line break comes first, as a line that was cut off may precede it.
fn text_of(marks: &[Mark]) -> String {
    marks.iter().fold("\n".to_owned(), |text, mark| text + &hex::encode(mark.0) + "\n")
}

/// Adds the marks of the folders `from` to those of the folder `to`, completely or not at all. It blocks.
pub fn merge(from: &[&Path], to: &Path) -> io::Result<()> {
    let path = to.join(ERASED_FILE);
    let mut all = read(&path)?;
    let before = all.len();
    for folder in from {
        all.extend(read(&folder.join(ERASED_FILE))?);
    }
    if all.len() == before {
        return Ok(());
    }
    let mut marks: Vec<Mark> = all.into_iter().collect();
    marks.sort_unstable();
    let mut file = NamedTempFile::new_in(to)?;
    file.write_all(text_of(&marks).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(to)?.sync_all()
}

/// Whether the data folder was restored, so that erasures have to be repeated.
pub fn is_restored(data: &Path) -> bool {
    data.join(RESTORED_FILE).exists()
}

/// Marks a data folder as restored, if its list has any marks. It blocks.
pub fn note_restored(data: &Path) -> io::Result<()> {
    if !data.join(ERASED_FILE).exists() {
        return Ok(());
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(data.join(RESTORED_FILE))?.sync_all()
}

/// Removes the mark, after all erasures were repeated. It blocks.
pub fn forget_restored(data: &Path) -> io::Result<()> {
    fs::remove_file(data.join(RESTORED_FILE))?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erasures_are_known_after_a_start_and_in_another_folder() {
        let (data, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [one, two] = ["a", "b"].map(|id| Mark::of("user", &[id]));
        let list = ErasedList::open(data.path()).unwrap();
        assert!(!list.has(&one));
        list.write(&[one]).unwrap();
        // As a crash leaves it.
        fs::OpenOptions::new().append(true).open(data.path().join(ERASED_FILE)).unwrap().write_all(b"3f9a").unwrap();
        list.write(&[one, two]).unwrap();
        let list = ErasedList::open(data.path()).unwrap();
        assert!(list.has(&one) && list.has(&two) && !list.has(&Mark::of("toy", &["a"])));
        merge(&[data.path()], backups.path()).unwrap();
        let list = ErasedList::open(backups.path()).unwrap();
        assert!(list.has(&one) && list.has(&two));
        let text = fs::read_to_string(backups.path().join(ERASED_FILE)).unwrap();
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 2);
    }

    #[test]
    fn a_restored_folder_is_marked_until_its_list_was_applied() {
        let data = tempfile::tempdir().unwrap();
        note_restored(data.path()).unwrap();
        assert!(!is_restored(data.path()), "nothing was ever erased");
        ErasedList::open(data.path()).unwrap().write(&[Mark::of("user", &["a"])]).unwrap();
        note_restored(data.path()).unwrap();
        assert!(is_restored(data.path()));
        forget_restored(data.path()).unwrap();
        assert!(!is_restored(data.path()));
    }
}
