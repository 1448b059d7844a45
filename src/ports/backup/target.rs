//! The target data folder of a restore: built beside its final paths, then moved into place.
//!
//! It is built in a folder of the data folder itself, which may be a mount point. While that folder exists, no hub
//! starts. Once it is marked as ready, an interrupted restore continues with the moves only. The mark contains a note, on
//! the parts of the restore that are not in this folder.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::ports::erased::ERASED_FILE;

use super::{At as _, BackupError, make_folder, sync_file_system, sync_folder};

const BUILDING: &str = "restoring";
/// The mark that all parts are complete and on disk.
const READY: &str = "ready";
/// Entries that the system creates in a file system.
const NOT_OURS: &str = "lost+found";

/// Whether a restore into this data folder was interrupted.
pub fn unfinished_restore(data: &Path) -> bool {
    // An empty folder is left over from a finished restore.
    fs::read_dir(data.join(BUILDING)).is_ok_and(|mut entries| entries.next().is_some())
}

/// The state in which a restore finds its data folder.
#[derive(Debug)]
pub enum Opening {
    /// It is empty.
    Empty(Target),
    /// An earlier restore was ready, and left this note; it has to be put in place.
    Ready(Target, String),
}

/// A data folder in progress. If it is dropped before [`Self::make_ready`], it leaves no files.
#[derive(Debug)]
pub struct Target {
    data: PathBuf,
    building: PathBuf,
}

impl Target {
    /// Prepares an empty folder, or finds what an earlier restore has made ready.
    pub fn open(data: &Path) -> Result<Opening, BackupError> {
        make_folder(data)?;
        let building = data.join(BUILDING);
        let ready = building.join(READY);
        if ready.exists() {
            let note = fs::read_to_string(&ready).at(&ready)?;
            return Ok(Opening::Ready(Self { data: data.to_owned(), building }, note));
        }
        for entry in fs::read_dir(data).at(data)? {
            let name = entry.at(data)?.file_name();
            if name != BUILDING && name != NOT_OURS && name != ERASED_FILE {
                return Err(BackupError::NotEmpty(data.to_owned()));
            }
        }
        if building.exists() {
            fs::remove_dir_all(&building).at(&building)?;
        }
        make_folder(&building)?;
        Ok(Opening::Empty(Self { data: data.to_owned(), building }))
    }

    /// The folder where it is built.
    pub fn path(&self) -> &Path {
        &self.building
    }

    /// Marks it as complete. After this it is put in place, also by a later call.
    pub fn make_ready(&self, note: &str) -> Result<(), BackupError> {
        sync_file_system(&self.building)?;
        let ready = self.building.join(READY);
        // The mark appears with its note or not at all.
        let mut new = NamedTempFile::new_in(&self.building).at(&ready)?;
        new.write_all(note.as_bytes()).and_then(|()| new.as_file().sync_all()).at(&ready)?;
        new.persist(&ready).map_err(|error| error.error).at(&ready)?;
        sync_folder(&self.building)
    }

    /// Moves all parts into place.
    pub fn put_in_place(&self) -> Result<(), BackupError> {
        for entry in fs::read_dir(&self.building).at(&self.building)? {
            let name = entry.at(&self.building)?.file_name();
            if name != READY {
                let to = self.data.join(&name);
                fs::rename(self.building.join(&name), &to).at(&to)?;
            }
        }
        sync_folder(&self.data)?;
        fs::remove_dir_all(&self.building).at(&self.building)?;
        sync_folder(&self.data)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.building.join(READY).exists() {
            let _ = fs::remove_dir_all(&self.building);
        }
    }
}
