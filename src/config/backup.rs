//! `[backup]`

use std::path::PathBuf;

use super::settings::settings;

settings! {
    /// Backups by the clock.
    pub struct Backup {
        /// Folder of backups, best on another disk; "" for none. `toyhub backup DIR` makes one at any time, `toyhub
        /// restore DIR` makes a data folder of the newest. Children's voices are in it, not encrypted: keep it from
        /// strangers.
        dir: PathBuf = PathBuf::new() => Everyday;
        /// Hours between two backups. The next one only adds sounds and pictures that are new.
        interval_h: u64 = 24 => Everyday;
        /// Backups that are kept; older ones go after a new one was made.
        keep: usize = 7;
    }
}

impl Backup {
    /// Whether the hub makes backups by itself.
    pub fn is_on(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }
}
