//! `[backup]`

use std::path::PathBuf;

use super::settings::settings;

settings! {
    /// Scheduled backups.
    pub struct Backup {
        /// Folder of backups, best on another disk; "" for none. `toyhub backup DIR` makes one at any time, `toyhub
        /// restore DIR` restores the newest. The folder contains children's voices, unencrypted: restrict access to it.
        dir: PathBuf = PathBuf::new() => Everyday;
        /// Hours between two backups. Each backup adds only new sounds and pictures.
        interval_h: u64 = 24 => Everyday;
        /// Backups that are kept; older ones are removed after a new one was made.
        keep: usize = 7;
    }
}

impl Backup {
    /// Whether the hub makes backups by itself.
    pub fn is_on(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }
}
