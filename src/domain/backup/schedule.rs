//! Scheduled backups.

use std::path::Path;

use super::{BackedUp, BackupFault};
use crate::domain::Hub;
use crate::domain::units::HOUR_S;
use crate::model::Timestamp;
use crate::ports::backup::{self, BackupError};
use crate::ports::progress::Progress;

impl Hub {
    /// Makes the backup of `[backup]`, if one is due. Hubs of one database may share the folder: while one of them makes a
    /// backup, none is due for the others.
    pub async fn back_up_if_due(&self, now: Timestamp) -> Result<Option<BackedUp>, BackupFault> {
        let settings = &self.config.backup;
        let newest = newest(&settings.dir).await?.map(|(_, taken_at)| taken_at);
        if !is_due(newest, now, settings.interval_h) {
            return Ok(None);
        }
        match self.back_up(&settings.dir, Some(settings.keep), now, &Progress::unwatched()).await {
            Err(BackupFault::Folder(BackupError::InUse(_))) => Ok(None),
            made => made.map(Some),
        }
    }
}

/// The name and time of the newest snapshot in a folder, if there is one.
pub async fn newest(folder: &Path) -> Result<Option<(String, Timestamp)>, BackupFault> {
    let folder = folder.to_owned();
    Ok(backup::blocking(move || backup::newest(&folder)).await?)
}

fn is_due(newest: Option<Timestamp>, now: Timestamp, interval_h: u64) -> bool {
    // A time in the future was written with a wrong clock and is ignored.
    newest.is_none_or(|taken_at| now < taken_at || now - taken_at >= interval_h as f64 * HOUR_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_due_after_its_interval_and_after_a_wrong_clock() {
        let now = 1_795_000_000.0;
        assert!(is_due(None, now, 24));
        assert!(!is_due(Some(now), now, 24));
        assert!(!is_due(Some(now - 23.9 * HOUR_S), now, 24));
        assert!(is_due(Some(now - 24.0 * HOUR_S), now, 24));
        assert!(is_due(Some(now + 1.0), now, 24));
    }
}
