//! Files of commands that were interrupted before the database named them.
//!
//! Files are stored before their rows, so that no row names a missing file. A command that stores several therefore notes
//! them first ([`Files::begin`](crate::ports::files::Files::begin)).

use super::error::DomainError;
use super::own_sounds::is_own;
use super::{FileKind, Hub};
use crate::model::{DeviceKey, FileName};

impl Hub {
    /// Deletes the files of commands that were interrupted in an earlier run; returns their number. No command may run.
    pub async fn remove_unfinished_files(&self) -> Result<usize, DomainError> {
        let mut removed = 0;
        for note in self.files.unfinished().await.map_err(DomainError::internal)? {
            for (kind, name) in &note.files {
                if !self.is_in_use(&note.name, *kind, name).await? {
                    self.files.delete_if_there(*kind, name).await.map_err(DomainError::internal)?;
                    removed += 1;
                }
            }
            self.files.finish(note).await.map_err(DomainError::internal)?;
        }
        Ok(removed)
    }

    /// Whether the database, or the hub itself, refers to a file of the note `note`.
    async fn is_in_use(&self, note: &str, kind: FileKind, name: &FileName) -> Result<bool, DomainError> {
        Ok(match kind {
            FileKind::Music => is_own(name) || self.store.is_music(name).await?,
            FileKind::Image => self.store.is_content(note).await?,
            FileKind::Qr => match name.as_str().split('.').next().and_then(|key| key.parse::<DeviceKey>().ok()) {
                Some(key) => self.store.device(&key).await?.is_some(),
                None => true,
            },
            // The search for sounds without a message finds them.
            FileKind::Chat => true,
        })
    }
}
