//! The embedded engine's files, looked at from outside while nothing has them open.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The one manifest of a folder; the first two bytes are its format.
const MANIFEST: &str = "manifest/00000000000000000000.manifest";
/// The format of surrealkv up to 0.21, which 1.x converts in place.
const FORMAT_0: [u8; 2] = [0, 1];

/// How many writes the database in a folder has flushed, as its engine counts them. The number never falls.
pub fn flushed_writes(folder: &Path) -> Result<u64, String> {
    let found = surrealkv::inspect::inspect_db(folder);
    found.map(|found| found.last_sequence).map_err(|error| error.to_string())
}

/// Copies a database that surrealkv 0.x wrote to a folder beside it, whose name is given, before the engine converts
/// it; none where there is nothing to convert.
///
/// The conversion keeps the tables that it replaces, but the value log is shared with the new ones: only a whole copy
/// can be opened by the program of before.
pub fn keep_old_format(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut format = [0; 2];
    match File::open(folder.join(MANIFEST)).and_then(|mut file| file.read_exact(&mut format)) {
        Ok(()) if format == FORMAT_0 => {}
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // The engine names what is wrong with a manifest of no bytes.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let copy = folder.with_extension("before-0.2");
    if copy.exists() {
        // Made by an earlier start, which was cut off before the conversion changed the manifest.
        return Ok(Some(copy));
    }
    let unfinished = folder.with_extension("copying");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    copy_folder(folder, &unfinished)?;
    fs::rename(&unfinished, &copy)?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(Some(copy))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}
