//! The data folder that a backup is restored to: built beside what will be, then moved into place.
//!
//! It is built in a folder of the data folder itself, which may be a mount point. While that folder is there, no hub
//! starts. Once it is marked as ready, a restore that is cut off goes on with the moves and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ports::erased::ERASED_FILE;

use super::{At as _, BackupError, make_folder, new_file, sync_file_system, sync_folder};

const BUILDING: &str = "restoring";
/// Says that all is there and on disk.
const READY: &str = "ready";
/// What the system puts into a file system of its own.
const NOT_OURS: &str = "lost+found";

/// Whether a restore into this data folder was cut off.
pub fn unfinished_restore(data: &Path) -> bool {
    // Empty, it is only the last trace of one that is done.
    fs::read_dir(data.join(BUILDING)).is_ok_and(|mut entries| entries.next().is_some())
}

/// A data folder that is being built. Dropped before [`Self::put_in_place`], it leaves an empty folder.
#[derive(Debug)]
pub struct Target {
    data: PathBuf,
    building: PathBuf,
}

impl Target {
    /// Prepares an empty folder; none where an earlier restore was ready, and is now in place.
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

    /// Where it is built.
    pub fn path(&self) -> &Path {
        &self.building
    }

    /// Makes it the data folder: all of it, or after a failure none.
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
