//! A file system in memory that discards, on request, all data that was not synced: the state after a power failure,
//! in the strictest reading of POSIX.
//!
//!     forgetful MOUNTPOINT strict|journal
//!
//! `strict`: the content of a file is kept by `fsync` or `fdatasync` of that file, names in a folder by `fsync` of that
//! folder. `journal`: any `fsync` also keeps all names there are so far, as the journal of ext4 and XFS does.
//!
//! Commands are lines on the standard input, each answered by a line: `keep` (all data counts as synced), `lose SEED`
//! (all other data is lost), `lose-torn SEED` (some of the other data remains: pieces of files, zeros in place of
//! content, empty files, names).

mod disk;
mod tree;

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use fuser::{BackgroundSession, Config, MountOption, spawn_mount};

use disk::Disk;
use tree::Tree;

fn mount(tree: &Arc<Mutex<Tree>>, at: &PathBuf) -> std::io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("forgetful".into()), MountOption::NoAtime];
    spawn_mount(Disk::new(Arc::clone(tree)), at, &config)
}

/// Unmounts and waits for the end of the file system's thread.
fn unmount(mounted: BackgroundSession) -> std::io::Result<()> {
    match mounted.umount_and_join() {
        // The kernel fails a read of the device with it when the unmount comes while a request is being handed over.
        // Both the end of the connection and the unmount are complete then.
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
        result => result,
    }
}

fn serve(at: PathBuf, journal: bool) -> std::io::Result<()> {
    let tree = Arc::new(Mutex::new(Tree::new(journal)));
    let lock = || tree.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut mounted = Some(mount(&tree, &at)?);
    let answer = |text: &str| writeln!(std::io::stdout(), "{text}");
    answer("mounted")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (order, seed) = (words.next().unwrap_or(""), words.next().and_then(|seed| seed.parse().ok()).unwrap_or(1));
        match order {
            "keep" => {
                lock().keep_all();
                answer("kept")?;
            }
            "lose" | "lose-torn" => {
                // A new mount: the kernel must not serve lost data from its cache.
                mounted.take().map_or(Ok(()), unmount)?;
                let lost = lock().lose((order == "lose-torn").then_some(seed));
                mounted = Some(mount(&tree, &at)?);
                answer(&format!("lost {} names, {} files were not whole", lost.names, lost.files))?;
            }
            _ => answer("keep, lose SEED or lose-torn SEED")?,
        }
    }
    mounted.map_or(Ok(()), unmount)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, at, mode] = &arguments[..] else {
        eprintln!("usage: forgetful MOUNTPOINT strict|journal");
        return ExitCode::from(2);
    };
    match serve(PathBuf::from(at), mode == "journal") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forgetful: {error}");
            ExitCode::FAILURE
        }
    }
}
