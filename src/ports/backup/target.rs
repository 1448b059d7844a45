//! The target data folder of a restore: built beside its final paths, then moved into place.
//!
//! It is built in a folder of the data folder itself, which may be a mount point. While that folder exists, no hub
//! starts. Once it is marked as ready, an interrupted restore continues with the moves only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ports::erased::ERASED_FILE;

use super::{At as _, BackupError, make_folder, new_file, sync_file_system, sync_folder};

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

/// A data folder in progress. If it is dropped before [`Self::put_in_place`], it leaves an empty folder.
#[derive(Debug)]
pub struct Target {
    data: PathBuf,
    building: PathBuf,
}

impl Target {
    /// Prepares an empty folder; none if an earlier restore was ready, and has now been moved into place.
    pub fn open(data: &Path) -> Result<Option<Self>, BackupError> {
        make_folder(data)?;
        let building = data.join(BUILDING);
        if building.join(READY).exists() {
            Self { data: data.to_owned(), building }.move_all()?;
            return Ok(None);
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
        Ok(Some(Self { data: data.to_owned(), building }))
    }

    /// The folder where it is built.
    pub fn path(&self) -> &Path {
        &self.building
    }

    /// Moves it into place: all parts, or after a failure none.
    pub fn put_in_place(self) -> Result<(), BackupError> {
        sync_file_system(&self.building)?;
        let ready = self.building.join(READY);
        new_file(&ready)?.sync_all().at(&ready)?;
        sync_folder(&self.building)?;
        self.move_all()
    }

    fn move_all(&self) -> Result<(), BackupError> {
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
