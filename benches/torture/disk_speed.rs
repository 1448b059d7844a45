//! The speed of the disk itself: small synced appends, one after the other.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

const BLOCK: [u8; 4096] = [7; 4096];

/// Appends of 4 KiB, each followed by `fdatasync`, in a second.
pub fn synced_appends_per_second(folder: &Path, time: Duration) -> Result<f64> {
    let path = folder.join("synced-appends");
    let mut file = File::create(&path)?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < time {
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
