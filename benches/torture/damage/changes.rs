//! The list of changes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The end of the hub before its folder is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// By SIGTERM: all data is in its tables.
    Stopped,
    /// By `kill -9`: the last messages are in its log only.
    Killed,
}

/// The right outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It starts with all data: the damaged part is not needed.
    Whole,
    /// It starts with all data, or is refused.
    WholeOrRefused,
    /// It is refused, or starts with all messages; their sounds may be missing.
    SoundsAside,
    /// It is refused.
    Refused,
    /// The lost data is like that of a power failure at the end of a log, which cannot be detected.
    Unknowable,
}

/// One change.
pub struct Change {
    pub name: &'static str,
    pub base: Base,
    pub expected: Expected,
    /// The error names one of these.
    pub names: &'static [&'static str],
    /// Changes the first folder; the second is another hub's. Returns false if there is nothing to change.
    pub apply: fn(&Path, &Path) -> Result<bool>,
    /// Whether it mounts a file system.
    pub read_only: bool,
}

const fn change(
    name: &'static str,
    base: Base,
    expected: Expected,
    names: &'static [&'static str],
    apply: fn(&Path, &Path) -> Result<bool>,
) -> Change {
    Change { name, base, expected, names, apply, read_only: false }
}

use Base::{Killed, Stopped};
use Expected::{Refused, SoundsAside, Unknowable, Whole, WholeOrRefused};

pub const CHANGES: &[Change] = &[
    change("nothing, after a stop", Stopped, Whole, &[], |_, _| Ok(true)),
    change("nothing, after a kill", Killed, Whole, &[], |_, _| Ok(true)),
    change("db: missing", Stopped, Refused, &["db"], |data, _| remove(data.join("db"))),
    change("db: empty", Stopped, Refused, &["db"], |data, _| {
        remove(data.join("db"))?;
        fs::create_dir(data.join("db"))?;
        Ok(true)
    }),
    change("db: another hub's", Stopped, Refused, &["db", "hub.toml"], |data, other| replace(data, other, "db")),
    change("manifest folder: missing", Stopped, Refused, &["manifest"], |data, _| remove(data.join("db/manifest"))),
    change("manifest: missing", Stopped, Refused, &["manifest"], |data, _| remove_first(data, "db/manifest")),
    change("manifest: 0 bytes", Stopped, Refused, &["manifest"], |data, _| cut(data, "db/manifest", 0)),
    change("manifest: cut in half", Stopped, Refused, &["manifest"], |data, _| cut(data, "db/manifest", 50)),
    change("manifest: a byte flipped", Stopped, Refused, &["manifest"], |data, _| flip(data, "db/manifest", 50)),
    change("manifest: other bytes", Stopped, Refused, &["manifest"], |data, _| scramble(data, "db/manifest")),
    change("tables: all missing", Stopped, Refused, &["sst"], |data, _| remove_all(data, "db/sstables")),
    change("table: missing", Stopped, Refused, &["sst"], |data, _| remove_first(data, "db/sstables")),
    change("table: 0 bytes", Stopped, Refused, &["sst"], |data, _| cut(data, "db/sstables", 0)),
    change("table: cut in half", Stopped, Refused, &["sst"], |data, _| cut(data, "db/sstables", 50)),
    change("table: a byte flipped in the first quarter", Stopped, WholeOrRefused, &["sst"], |data, _| {
        flip(data, "db/sstables", 25)
    }),
    change("table: a byte flipped in the middle", Stopped, WholeOrRefused, &["sst"], |data, _| {
        flip(data, "db/sstables", 50)
    }),
    change("table: a byte flipped near its end", Stopped, WholeOrRefused, &["sst"], |data, _| {
        flip(data, "db/sstables", 99)
    }),
    change("table: other bytes", Stopped, Refused, &["sst"], |data, _| scramble(data, "db/sstables")),
    change("log: a byte flipped in the middle", Killed, Refused, &["wal"], |data, _| flip(data, "db/wal", 50)),
    change("log: a byte flipped in the first tenth", Killed, Refused, &["wal"], |data, _| flip(data, "db/wal", 10)),
    change("log: other bytes", Killed, Refused, &["wal"], |data, _| scramble(data, "db/wal")),
    change("log: missing", Killed, Refused, &["wal", "data/db"], |data, _| remove_all(data, "db/wal")),
    change("log: folder missing", Killed, Refused, &["wal", "data/db"], |data, _| remove(data.join("db/wal"))),
    change("log: 0 bytes", Killed, Unknowable, &["wal", "data/db"], |data, _| cut(data, "db/wal", 0)),
    change("log: cut in half", Killed, Unknowable, &["wal"], |data, _| cut(data, "db/wal", 50)),
    change("log: a torn record at its end", Killed, Whole, &[], |data, _| {
        let Some(log) = largest(&data.join("db/wal"))? else { return Ok(false) };
        fs::OpenOptions::new().append(true).open(log)?.write_all(&[1, 2, 3])?;
        Ok(true)
    }),
    change("sessions.redb: missing", Stopped, Refused, &["sessions.redb"], |data, _| {
        remove(data.join("sessions.redb"))
    }),
    change("sessions.redb: 0 bytes", Stopped, Refused, &["sessions.redb"], |data, _| cut(data, "sessions.redb", 0)),
    change("sessions.redb: cut in half", Stopped, Refused, &["sessions.redb"], |data, _| {
        cut(data, "sessions.redb", 50)
    }),
    change("sessions.redb: cut in half after a kill", Killed, Refused, &["sessions.redb"], |data, _| {
        cut(data, "sessions.redb", 50)
    }),
    change("sessions.redb: a byte flipped in its header", Stopped, WholeOrRefused, &["sessions.redb"], |data, _| {
        flip_at(&data.join("sessions.redb"), 20)
    }),
    change("sessions.redb: every 4096th byte flipped", Stopped, WholeOrRefused, &["sessions.redb"], |data, _| {
        let path = data.join("sessions.redb");
        for at in (0..fs::metadata(&path)?.len()).step_by(4096) {
            flip_at(&path, at + 100)?;
        }
        Ok(true)
    }),
    change("sessions.redb: other bytes", Stopped, Refused, &["sessions.redb"], |data, _| {
        scramble(data, "sessions.redb")
    }),
    change("sessions.redb: another hub's", Stopped, Refused, &["sessions.redb"], |data, other| {
        replace(data, other, "sessions.redb")
    }),
    change("hub.toml: missing", Stopped, WholeOrRefused, &["hub.toml"], |data, _| remove(data.join("hub.toml"))),
    change("hub.toml: 0 bytes", Stopped, WholeOrRefused, &["hub.toml"], |data, _| cut(data, "hub.toml", 0)),
    change("hub.toml: other bytes", Stopped, WholeOrRefused, &["hub.toml"], |data, _| scramble(data, "hub.toml")),
    change("hub.toml: another hub's", Stopped, Refused, &["hub.toml", "db"], |data, other| {
        replace(data, other, "hub.toml")
    }),
    change("hub.toml and db: missing", Stopped, Refused, &["db", "hub.toml"], |data, _| {
        Ok(remove(data.join("db"))? & remove(data.join("hub.toml"))?)
    }),
    change("files: missing", Stopped, SoundsAside, &["files"], |data, _| remove(data.join("files"))),
    change("files/chat: missing", Stopped, SoundsAside, &["files"], |data, _| remove(data.join("files/chat"))),
    change("files: another hub's", Stopped, SoundsAside, &["files"], |data, other| replace(data, other, "files")),
    change("a sound: missing", Stopped, SoundsAside, &["files"], |data, _| remove_first(data, "files/chat")),
    change("a sound: 0 bytes", Stopped, SoundsAside, &["files"], |data, _| cut(data, "files/chat", 0)),
    change("two sounds: swapped", Stopped, SoundsAside, &["files"], |data, _| {
        let names = entries(&data.join("files/chat"))?;
        let [first, second, ..] = &names[..] else { return Ok(false) };
        let aside = data.join("files/aside");
        fs::rename(first, &aside)?;
        fs::rename(second, first)?;
        fs::rename(&aside, second)?;
        Ok(true)
    }),
    Change {
        name: "files: read-only",
        base: Stopped,
        expected: WholeOrRefused,
        names: &["files"],
        apply: |data, _| read_only(&data.join("files")),
        read_only: true,
    },
    change("spool: missing", Stopped, Whole, &[], |data, _| remove(data.join("spool"))),
    change("chunks: missing", Stopped, Whole, &[], |data, _| remove(data.join("chunks"))),
    change("control.sock: a file of this name", Stopped, Whole, &[], |data, _| {
        fs::write(data.join("control.sock"), "")?;
        Ok(true)
    }),
    change("db/LOCK: missing", Stopped, Whole, &[], |data, _| remove(data.join("db/LOCK"))),
    change("a foreign file in the folder", Stopped, Whole, &[], |data, _| {
        fs::write(data.join("notes.txt"), "a note")?;
        Ok(true)
    }),
];

fn remove(path: PathBuf) -> Result<bool> {
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&path)?,
        Ok(_) => fs::remove_file(&path)?,
        Err(_) => return Ok(false),
    }
    Ok(true)
}

/// The files of a folder, by name; of sounds, only messages.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(read) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_notice = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("say-"));
    paths.retain(|path| path.is_file() && !is_notice(path));
    paths.sort();
    Ok(paths)
}

/// The largest file of a folder; the file itself, where the path is one.
fn largest(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    Ok(entries(path)?.into_iter().max_by_key(|path| fs::metadata(path).map_or(0, |found| found.len())))
}

fn remove_first(data: &Path, place: &str) -> Result<bool> {
    largest(&data.join(place))?.map_or(Ok(false), remove)
}

fn remove_all(data: &Path, folder: &str) -> Result<bool> {
    let files = entries(&data.join(folder))?;
    for file in &files {
        fs::remove_file(file)?;
    }
    Ok(!files.is_empty())
}

/// Cuts a file to this part of its length, in percent.
fn cut(data: &Path, place: &str, percent: u64) -> Result<bool> {
    let Some(path) = largest(&data.join(place))? else { return Ok(false) };
    let file = fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.set_len(length * percent / 100)?;
    Ok(length > 0)
}

fn flip(data: &Path, place: &str, percent: u64) -> Result<bool> {
    let Some(path) = largest(&data.join(place))? else { return Ok(false) };
    let length = fs::metadata(&path)?.len();
    flip_at(&path, length * percent / 100)
}

fn flip_at(path: &Path, at: u64) -> Result<bool> {
    let mut bytes = fs::read(path)?;
    let Some(byte) = bytes.get_mut(usize::try_from(at)?) else { return Ok(false) };
    *byte ^= 0x40;
    fs::write(path, bytes)?;
    Ok(true)
}

/// Replaces a file's bytes by as many others.
fn scramble(data: &Path, place: &str) -> Result<bool> {
    let Some(path) = largest(&data.join(place))? else { return Ok(false) };
    let length = usize::try_from(fs::metadata(&path)?.len())?;
    let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + 7) as u8).collect();
    fs::write(path, bytes)?;
    Ok(length > 0)
}

fn replace(data: &Path, other: &Path, name: &str) -> Result<bool> {
    if !other.join(name).exists() || !remove(data.join(name))? {
        return Ok(false);
    }
    let status = std::process::Command::new("cp").arg("-a").arg(other.join(name)).arg(data.join(name)).status()?;
    anyhow::ensure!(status.success(), "cp -a");
    Ok(true)
}

/// Permissions do not stop root; a read-only mount does.
fn read_only(folder: &Path) -> Result<bool> {
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new("mount").args(arguments).arg(folder).status().context("mount")?;
        Ok::<_, anyhow::Error>(status.success())
    };
    Ok(mount(&["--bind", folder.to_str().context("a path")?])? && mount(&["-o", "remount,ro,bind"])?)
}
