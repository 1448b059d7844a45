//! Checks of the embedded engine's files, while no process has them open.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::ports::data_folder::Damage;
use crate::ports::progress::{Counter, Progress, Unit};

/// The one manifest of a folder; the first two bytes are its format.
const MANIFEST: &str = "manifest/00000000000000000000.manifest";
/// The format of surrealkv up to 0.21, which 1.x converts in place.
const FORMAT_0: [u8; 2] = [0, 1];
/// The folder of the log.
const LOG: &str = "wal";

/// Checks the files of a closed database: the manifest, all tables, and that the log exists. Returns the number of
/// flushed writes, as [`flushed_writes`]. It reads all tables, so it is called from a thread that may block.
///
/// After an unclean end (`is_unclean`) the log must exist: its active segment is created when the database is opened,
/// and without it the engine would start without an error.
pub fn check_files(folder: &Path, is_unclean: bool) -> Result<u64, Damage> {
    let found = surrealkv::inspect::inspect_db(folder)
        .map_err(|error| Damage { path: damaged_file(folder), why: error.to_string() })?;
    // Otherwise a damaged block would fail the first call that reads it, or the engine's start, which tries again for
    // two minutes.
    if let Some(path) = damaged_table(folder) {
        return Err(Damage { path, why: "a part of this table does not match its checksum".into() });
    }
    let log = folder.join(LOG);
    if is_unclean && !has_segment(&log, found.log_number) {
        return Err(Damage { path: log, why: "the log of the last writes is missing".into() });
    }
    Ok(found.last_sequence)
}

/// The number of writes that a closed database has flushed, by its engine's counter, which never decreases. None if its
/// manifest cannot be read.
pub fn flushed_writes(folder: &Path) -> Option<u64> {
    surrealkv::inspect::inspect_db(folder).ok().map(|found| found.last_sequence)
}

/// Whether a process has the database open. The engine holds an exclusive lock, so a shared one is enough to see it, and
/// two checks at once do not see each other.
pub fn is_open(folder: &Path) -> bool {
    File::open(folder.join("LOCK")).is_ok_and(|lock| {
        let is_free = lock.try_lock_shared().is_ok();
        // Closing the file is not enough: a child process that starts now shares it.
        let _ = lock.unlock();
        !is_free
    })
}

/// Revokes the access of the user's group to the folder of the log, which the engine grants at each opening.
pub(super) fn close_log_to_group(folder: &Path) -> io::Result<()> {
    match fs::set_permissions(folder.join(LOG), fs::Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        set => set,
    }
}

/// The cause of the engine's error on opening a database: the file, as far as it is known, and the reason without the
/// engine's advice for programmers.
pub fn damage(folder: &Path, message: &str) -> Damage {
    let segment = message.split_whitespace().find_map(|word| {
        let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        name.ends_with(".wal").then(|| folder.join(LOG).join(name)).filter(|path| path.exists())
    });
    let path = segment.or_else(|| damaged_table(folder)).unwrap_or_else(|| folder.to_owned());
    let advice = [". Automatic repair", ". The log is not cut", ". Configure"];
    let end = advice.iter().filter_map(|advice| message.find(advice)).min().unwrap_or(message.len());
    let why = message[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    Damage { path, why }
}

/// Whether the log has a segment from number `first` on, which is not in tables yet.
fn has_segment(log: &Path, first: u64) -> bool {
    let number = |name: &str| name.strip_suffix(".wal")?.parse::<u64>().ok();
    let entries = fs::read_dir(log).into_iter().flatten().flatten();
    entries.filter_map(|entry| number(&entry.file_name().to_string_lossy())).any(|number| number >= first)
}

/// The file that prevents a database from opening: a table that cannot be read, otherwise the manifest.
fn damaged_file(folder: &Path) -> PathBuf {
    damaged_table(folder).unwrap_or_else(|| folder.join(MANIFEST))
}

/// The first table of a database that cannot be read completely. It reads all tables.
///
/// A table that the manifest does not name is not part of the database: a hub that ended while it wrote one leaves it
/// unfinished, its writes are still in the log, and the engine removes it. All tables are checked only if the manifest
/// itself cannot be read.
fn damaged_table(folder: &Path) -> Option<PathBuf> {
    let named = surrealkv::inspect::dump_manifest(folder).ok().map(|manifest| -> HashSet<u64> {
        manifest.levels.iter().flat_map(|level| &level.tables).map(|table| table.id).collect()
    });
    let tables = fs::read_dir(folder.join("sstables")).ok()?.flatten().map(|entry| entry.path());
    let tables = tables.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let id = |path: &Path| path.file_stem()?.to_str()?.parse().ok();
    let tables =
        tables.filter(|path| named.as_ref().is_none_or(|named| id(path).is_some_and(|id| named.contains(&id))));
    tables.filter(|path| surrealkv::inspect::dump_sst(path, false, true).is_err()).min()
}

/// Copies a database of surrealkv 0.x to a folder beside it, before the engine converts it. Returns the folder; none if
/// there is nothing to convert.
///
/// The conversion keeps the tables that it replaces, but the value log is shared with the new ones: only a complete
/// copy can be opened by an older program.
pub fn keep_old_format(folder: &Path, progress: &Progress) -> io::Result<Option<PathBuf>> {
    let mut format = [0; 2];
    match File::open(folder.join(MANIFEST)).and_then(|mut file| file.read_exact(&mut format)) {
        Ok(()) if format == FORMAT_0 => {}
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // For an empty manifest, the engine itself reports the fault.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let copy = folder.with_extension("before-0.2");
    if copy.exists() {
        // It is from an earlier start, which was interrupted before the conversion changed the manifest.
        return Ok(Some(copy));
    }
    let unfinished = folder.with_extension("copying");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let total = if progress.is_watched() { bytes_of(folder)? } else { 0 };
    let counter = progress.begin("keeping a copy of the database", Some(total), Unit::Bytes);
    copy_folder(folder, &unfinished, &counter)?;
    fs::rename(&unfinished, &copy)?;
    if let Some(parent) = folder.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(Some(copy))
}

/// The bytes of all files of a folder.
fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn copy_folder(from: &Path, to: &Path, counter: &Counter) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&source, &target, counter)?;
        } else {
            counter.add(fs::copy(&source, &target)?);
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}
