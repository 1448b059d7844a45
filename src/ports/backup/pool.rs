//! The files that snapshots share, each under the SHA-256 of its content, and the lists of their paths.
//!
//! A line of a list is `hash size time path`. A file whose size and time are unchanged since the previous list is not
//! read again. Lists are in the order of a walk through sorted folders, so two of them are compared line by line.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, BufWriter, Lines, Read, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio_util::sync::CancellationToken;

use super::{At as _, BackupError, Part, make_folder, new_file, sync_file_system, sync_folder};
use crate::ports::files::{Bucket, Listed};
use crate::ports::progress::Counter;

/// The folder of the pool.
pub(super) const FOLDER: &str = "pool";
/// The number of new files that are synced together: syncing each one would cost more than everything else.
const BATCH_FILES: usize = 256;
/// The bytes that are synced together: a concurrent message waits for the sync.
const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// The bytes of a file that are read at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// The number of files that are copied from or to a bucket at once; its other requests are those of clients.
const OBJECTS_AT_ONCE: usize = 4;
/// The maximum number of damaged files that an error names.
const NAMED_MAX: usize = 20;

/// The result of a copy.
#[derive(Debug, Clone)]
pub struct Copied {
    /// All files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the pool did not have.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
    /// The list itself.
    pub list: Part,
}

/// The result of a restore.
#[derive(Debug, Default, Clone)]
pub struct Extracted {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Skipped files.
    pub left_out: u64,
    /// Some of them, each with its fault.
    pub named: Vec<String>,
}

/// The paths in a list, for look-ups.
#[derive(Debug, Default)]
pub struct Paths(Vec<u64>);

impl Paths {
    pub(super) fn read(list: &Path) -> Result<Self, BackupError> {
        let mut hashes = Vec::new();
        for line in List::open(list)? {
            hashes.push(hash_of(&line?.path));
        }
        hashes.sort_unstable();
        Ok(Self(hashes))
    }

    /// Whether the list contains this path.
    pub fn contain(&self, path: &str) -> bool {
        self.0.binary_search(&hash_of(path)).is_ok()
    }
}

fn hash_of(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    hash: String,
    size: u64,
    modified_ns: u64,
    path: String,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let (hash, size, modified_ns) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = words.next()?;
        // A path of a list must stay inside the folder that it is restored to.
        let is_inside = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
        (is_hash && is_inside).then(|| Self { hash: hash.into(), size, modified_ns, path: path.into() })
    }

    fn pooled(&self, pool: &Path) -> PathBuf {
        pooled(pool, &self.hash)
    }

    /// Whether the pool has its content.
    fn is_in(&self, pool: &Path) -> bool {
        fs::symlink_metadata(self.pooled(pool)).is_ok_and(|meta| meta.is_file() && meta.len() == self.size)
    }
}

fn pooled(pool: &Path, hash: &str) -> PathBuf {
    pool.join(&hash[..2]).join(hash)
}

/// The list of a folder in a snapshot.
pub(super) fn list_path(snapshot: &Path, folder: &str) -> PathBuf {
    snapshot.join(format!("{folder}.list"))
}

/// The lines of a list.
struct List {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
}

impl List {
    fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).at(path)?;
        Ok(Self { path: path.to_owned(), lines: BufReader::with_capacity(BLOCK_BYTES, file).lines() })
    }
}

impl Iterator for List {
    type Item = Result<Line, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.lines.next()?.at(&self.path);
        Some(text.and_then(|text| {
            Line::parse(&text)
                .ok_or_else(|| BackupError::Damaged { path: self.path.clone(), why: "has a damaged line".into() })
        }))
    }
}

/// The number of files below a folder, as far as it can be read.
pub(super) fn count(folder: &Path, skip: &[&str]) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => {
            let is_skipped = entry.file_name().to_str().is_some_and(|name| skip.contains(&name));
            if is_skipped { 0 } else { count(&entry.path(), &[]) }
        }
        Ok(kind) => u64::from(kind.is_file()),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// The number of lines of a list.
pub(super) fn lines_of(list: &Path) -> u64 {
    List::open(list).map_or(0, |lines| lines.count() as u64)
}

/// The order of paths in a walk through sorted folders.
fn compare(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Copies new files below `data/folder` into the pool and writes the list.
pub(super) fn copy_in(
    backups: &Path,
    snapshot: &Path,
    previous: Option<&Path>,
    data: &Path,
    folder: &str,
    skip: &[&str],
    watched: (&CancellationToken, &Counter),
) -> Result<Copied, BackupError> {
    let (stop, counter) = watched;
    let known = Known::read(previous, folder);
    let mut walk = Walk { intake: Intake::begin(backups, snapshot, folder, counter)?, known, stop };
    let top = data.join(folder);
    if top.exists() {
        walk.walk(&top, folder, skip)?;
    }
    walk.intake.end()
}

/// Copies new files of a bucket into the pool and writes the list, as [`copy_in`] does with the folder `folder`.
///
/// A file of a bucket never changes under its name, so one of the same size is not read again.
pub(super) async fn copy_bucket(
    backups: &Path,
    snapshot: &Path,
    previous: Option<&Path>,
    bucket: &Bucket,
    folder: &str,
    counter: &Counter,
) -> Result<Copied, BackupError> {
    let mut known = Known::read(previous, folder);
    let mut intake = Intake::begin(backups, snapshot, folder, counter)?;
    let pool = backups.join(FOLDER);
    for part in Bucket::COPIED {
        let listed = bucket.listed(part).await?;
        counter.grow(listed.len() as u64);
        let found = listed.into_iter().map(|file| {
            let path = format!("{folder}/{}", file.path);
            let unchanged = known.line(&path).filter(|line| line.size == file.size && line.is_in(&pool));
            async move {
                match unchanged {
                    Some(line) => Ok(Some((line, None))),
                    None => fetch(bucket, &file, path, snapshot).await,
                }
            }
        });
        let mut found = stream::iter(found).buffered(OBJECTS_AT_ONCE);
        while let Some(file) = found.next().await {
            // A missing one was deleted meanwhile.
            let Some((line, copy)) = file? else { continue };
            if let Some(copy) = copy {
                intake.keep(copy, &line)?;
            }
            intake.note(&line)?;
        }
    }
    intake.end()
}

/// Copies a file of a bucket beside the pool; none if it was deleted.
async fn fetch(
    bucket: &Bucket,
    file: &Listed,
    path: String,
    scratch: &Path,
) -> Result<Option<(Line, Option<TempPath>)>, BackupError> {
    let mut content = Hashing::new(NamedTempFile::new_in(scratch).at(scratch)?);
    while content.bytes < file.size {
        let Some(piece) = bucket.piece(file, content.bytes).await? else { return Ok(None) };
        content.write_all(&piece).at(scratch)?;
    }
    let (copy, Part { bytes: size, sha256: hash }) = content.end();
    let line = Line { hash, size, modified_ns: time_of(file.modified), path };
    Ok(Some((line, Some(copy.into_temp_path()))))
}

/// The list of the previous snapshot, which is read along with a walk in the same order. Without one, all files are read
/// again.
struct Known(Option<Peekable<Box<dyn Iterator<Item = Line>>>>);

impl Known {
    fn read(previous: Option<&Path>, folder: &str) -> Self {
        let list = previous.and_then(|previous| List::open(&list_path(previous, folder)).ok());
        let lines = list.map(|lines| Box::new(lines.map_while(Result::ok)) as Box<dyn Iterator<Item = Line>>);
        Self(lines.map(Iterator::peekable))
    }

    /// The entry of this path.
    fn line(&mut self, path: &str) -> Option<Line> {
        let lines = self.0.as_mut()?;
        while lines.next_if(|line| compare(&line.path, path) == Ordering::Less).is_some() {}
        lines.next_if(|line| line.path == path)
    }
}

/// Adds files to the pool, and writes the list.
struct Intake<'a> {
    pool: PathBuf,
    /// The folder of files that are not synced yet: on the pool's file system, and inside the unfinished snapshot, with
    /// which it is removed.
    scratch: &'a Path,
    path: PathBuf,
    list: Hashing<BufWriter<File>>,
    /// New files that are not synced yet.
    batch: Vec<(TempPath, String)>,
    batch_bytes: u64,
    /// Their hashes.
    fresh: BTreeSet<String>,
    /// Folders of the pool with new entries.
    touched: BTreeSet<PathBuf>,
    /// The files of the folder.
    counter: &'a Counter,
    copied: Copied,
}

impl<'a> Intake<'a> {
    fn begin(backups: &Path, snapshot: &'a Path, folder: &str, counter: &'a Counter) -> Result<Self, BackupError> {
        let (path, pool) = (list_path(snapshot, folder), backups.join(FOLDER));
        make_folder(&pool)?;
        let list = Part { bytes: 0, sha256: String::new() };
        Ok(Self {
            pool,
            scratch: snapshot,
            list: Hashing::new(BufWriter::new(new_file(&path)?)),
            path,
            batch: Vec::new(),
            batch_bytes: 0,
            fresh: BTreeSet::new(),
            touched: BTreeSet::new(),
            counter,
            copied: Copied { files: 0, bytes: 0, new_files: 0, new_bytes: 0, list },
        })
    }

    fn note(&mut self, line: &Line) -> Result<(), BackupError> {
        self.copied.files += 1;
        self.copied.bytes += line.size;
        self.counter.add(1);
        writeln!(self.list, "{} {} {} {}", line.hash, line.size, line.modified_ns, line.path).at(&self.path)
    }

    /// Adds the copy of a file, unless the pool has its content.
    fn keep(&mut self, copy: TempPath, line: &Line) -> Result<(), BackupError> {
        if self.fresh.contains(&line.hash) || line.is_in(&self.pool) {
            return Ok(());
        }
        self.copied.new_files += 1;
        self.copied.new_bytes += line.size;
        self.fresh.insert(line.hash.clone());
        self.batch.push((copy, line.hash.clone()));
        self.batch_bytes += line.size;
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.keep_batch()?;
        }
        Ok(())
    }

    /// Syncs new files and moves them into the pool.
    fn keep_batch(&mut self) -> Result<(), BackupError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        sync_file_system(self.scratch)?;
        for (file, hash) in self.batch.drain(..) {
            let place = pooled(&self.pool, &hash);
            if let Some(folder) = place.parent()
                && self.touched.insert(folder.to_owned())
            {
                make_folder(folder)?;
            }
            file.persist(&place).map_err(|error| error.error).at(&place)?;
        }
        self.fresh.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// Syncs what is left, and the list.
    fn end(mut self) -> Result<Copied, BackupError> {
        self.keep_batch()?;
        for folder in &self.touched {
            sync_folder(folder)?;
        }
        sync_folder(&self.pool)?;
        let (list, part) = self.list.end();
        list.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all()).at(&self.path)?;
        Ok(Copied { list: part, ..self.copied })
    }
}

/// A walk through the folders of the data folder.
struct Walk<'a> {
    intake: Intake<'a>,
    known: Known,
    stop: &'a CancellationToken,
}

impl Walk<'_> {
    fn walk(&mut self, folder: &Path, prefix: &str, skip: &[&str]) -> Result<(), BackupError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).at(folder)? {
            let name = entry.at(folder)?.file_name();
            match name.into_string() {
                // A file has such a name while it is being written.
                Ok(name) if name.starts_with('.') || name.contains('#') => {}
                Ok(name) if !name.contains('\n') => names.push(name.into_boxed_str()),
                _ => {
                    let why = "contains a file with a name that is not the hub's; move it away".into();
                    return Err(BackupError::Damaged { path: folder.to_owned(), why });
                }
            }
        }
        names.sort_unstable();
        for name in names {
            if self.stop.is_cancelled() {
                return Err(BackupError::Stopped);
            }
            let (path, listed) = (folder.join(&*name), format!("{prefix}/{name}"));
            // A missing file was deleted meanwhile, which can happen at any time.
            let Some(meta) = unless_gone(fs::symlink_metadata(&path)).at(&path)? else { continue };
            if meta.is_dir() {
                if !skip.contains(&&*name) {
                    match self.walk(&path, &listed, &[]) {
                        Err(BackupError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                        walked => walked?,
                    }
                }
            } else if meta.is_file() {
                self.take(&path, listed, meta.len(), time_of(meta.modified().at(&path)?))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, listed: String, size: u64, modified_ns: u64) -> Result<(), BackupError> {
        let known = self.known.line(&listed).filter(|line| line.size == size && line.modified_ns == modified_ns);
        let line = match known.filter(|line| line.is_in(&self.intake.pool)) {
            Some(line) => line,
            None => match self.read(path, listed)? {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        self.intake.note(&line)
    }

    /// Copies a file, unless the pool has its content; none if the file was deleted.
    fn read(&mut self, path: &Path, listed: String) -> Result<Option<Line>, BackupError> {
        let Some(mut source) = unless_gone(File::open(path)).at(path)? else { return Ok(None) };
        let modified_ns = time_of(source.metadata().and_then(|meta| meta.modified()).at(path)?);
        let scratch = self.intake.scratch;
        let mut content = Hashing::new(NamedTempFile::new_in(scratch).at(scratch)?);
        copy(&mut source, path, &mut content, scratch)?;
        let (copy, Part { bytes: size, sha256: hash }) = content.end();
        let line = Line { hash, size, modified_ns, path: listed };
        self.intake.keep(copy.into_temp_path(), &line)?;
        Ok(Some(line))
    }
}

/// Removes files from the pool that none of these snapshots lists.
pub(super) fn remove_others(backups: &Path, snapshots: &[PathBuf]) -> Result<(), BackupError> {
    let mut listed: Vec<[u8; 32]> = Vec::new();
    for snapshot in snapshots {
        for entry in fs::read_dir(snapshot).at(snapshot)? {
            let path = entry.at(snapshot)?.path();
            if path.extension().is_some_and(|extension| extension == "list") {
                for line in List::open(&path)? {
                    listed.extend(digest_of(&line?.hash));
                }
                listed.sort_unstable();
                listed.dedup();
            }
        }
    }
    let pool = backups.join(FOLDER);
    for folder in fs::read_dir(&pool).at(&pool)? {
        let folder = folder.at(&pool)?.path();
        for entry in fs::read_dir(&folder).at(&folder)? {
            let entry = entry.at(&folder)?;
            let digest = entry.file_name().to_str().and_then(digest_of);
            if digest.is_some_and(|digest| listed.binary_search(&digest).is_err()) {
                fs::remove_file(entry.path()).at(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn digest_of(hash: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(hash, &mut digest).ok().map(|()| digest)
}

/// Copies `from`, if its content is as `expected`.
pub(super) fn extract(
    from: &Path,
    expected: &Part,
    to: &Path,
    modified: Option<SystemTime>,
) -> Result<(), BackupError> {
    let damaged = |why: &str| BackupError::Damaged { path: from.to_owned(), why: why.into() };
    let source = unless_gone(File::open(from)).at(from)?;
    let mut source = source.ok_or_else(|| damaged("is missing"))?;
    let mut content = Hashing::new(new_file(to)?);
    let copied = copy(&mut source, from, &mut content, to);
    let (target, found) = content.end();
    if copied.is_err() || found != *expected {
        fs::remove_file(to).at(to)?;
        copied?;
        return Err(damaged("is damaged: its content has changed"));
    }
    if let Some(modified) = modified {
        target.set_times(FileTimes::new().set_modified(modified)).at(to)?;
    }
    Ok(())
}

pub(super) fn extract_all(
    pool: &Path,
    list: &Path,
    expected: &Part,
    data: &Path,
    leave_out: bool,
    counter: &Counter,
) -> Result<Extracted, BackupError> {
    let mut extracted = Extracted::default();
    check(list, expected)?;
    let mut made = PathBuf::new();
    for line in List::open(list)? {
        let line = line?;
        let target = data.join(&line.path);
        if let Some(folder) = target.parent().filter(|folder| *folder != made) {
            make_folder(folder)?;
            made = folder.to_owned();
        }
        let (source, content) = (line.pooled(pool), Part { bytes: line.size, sha256: line.hash.clone() });
        let modified = UNIX_EPOCH + Duration::from_nanos(line.modified_ns);
        let outcome = extract(&source, &content, &target, Some(modified)).map_err(|error| match error {
            // A file that the disk cannot read counts as damaged.
            BackupError::Io { path, error } if path == source => BackupError::Damaged { path, why: error.to_string() },
            error => error,
        });
        extracted.count(&line, outcome)?;
        counter.add(1);
    }
    extracted.complete(list, leave_out)
}

/// Copies all files of a list to a bucket, as [`extract_all`] does to a folder.
pub(super) async fn extract_to_bucket(
    pool: &Path,
    list: &Path,
    expected: &Part,
    bucket: &Bucket,
    leave_out: bool,
    counter: &Counter,
) -> Result<Extracted, BackupError> {
    let mut extracted = Extracted::default();
    check(list, expected)?;
    // After a failure no request is left that could still store a file.
    let failed = Cell::new(false);
    let put = List::open(list)?.take_while(|_| !failed.get()).map(|line| async move {
        let line = line?;
        let outcome = put(bucket, pool, &line).await;
        Ok::<_, BackupError>((line, outcome))
    });
    let (mut put, mut failure) = (stream::iter(put).buffered(OBJECTS_AT_ONCE), None);
    while let Some(file) = put.next().await {
        if let Err(error) = file.and_then(|(line, outcome)| extracted.count(&line, outcome)) {
            failed.set(true);
            failure.get_or_insert(error);
        }
        counter.add(1);
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let extracted = extracted.complete(list, leave_out)?;
    let (mut files, mut bytes) = (0, 0);
    for folder in Bucket::COPIED {
        for file in bucket.listed(folder).await? {
            files += 1;
            bytes += file.size;
        }
    }
    if (files, bytes) != (extracted.files, extracted.bytes) {
        return Err(BackupError::BucketDiffers { found: (files, bytes), expected: (extracted.files, extracted.bytes) });
    }
    Ok(extracted)
}

/// Copies one file to a bucket, if its content is as the list says.
async fn put(bucket: &Bucket, pool: &Path, line: &Line) -> Result<(), BackupError> {
    let source = line.pooled(pool);
    let damaged = |why: String| BackupError::Damaged { path: source.clone(), why };
    let found = unless_gone(fs::read(&source)).map_err(|error| damaged(error.to_string()))?;
    let content = found.ok_or_else(|| damaged("is missing".into()))?;
    if content.len() as u64 != line.size || hex::encode(Sha256::digest(&content)) != line.hash {
        return Err(damaged("is damaged: its content has changed".into()));
    }
    let path = line.path.split_once('/').map_or(line.path.as_str(), |(_, path)| path);
    Ok(bucket.put_restored(path, content.into()).await?)
}

impl Extracted {
    /// Counts a file that was copied, or is damaged. Other errors are returned.
    fn count(&mut self, line: &Line, outcome: Result<(), BackupError>) -> Result<(), BackupError> {
        match outcome {
            Ok(()) => {
                self.files += 1;
                self.bytes += line.size;
                Ok(())
            }
            Err(BackupError::Damaged { path, why }) => {
                self.left_out += 1;
                if self.named.len() < NAMED_MAX {
                    self.named.push(format!("{} ({}) {why}", line.path, path.display()));
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The result, unless files had to be skipped that may not be.
    fn complete(self, list: &Path, leave_out: bool) -> Result<Self, BackupError> {
        if self.left_out == 0 || leave_out {
            return Ok(self);
        }
        let why = format!(
            "{} of {} files are missing or damaged: {}; restore another snapshot with --snapshot, or all that is whole \
             with --leave-out-damaged",
            self.left_out,
            self.left_out + self.files,
            self.named.join(", ")
        );
        Err(BackupError::Damaged { path: list.to_owned(), why })
    }
}

/// Checks the content of a file.
fn check(path: &Path, expected: &Part) -> Result<(), BackupError> {
    let damaged = |why: &str| BackupError::Damaged { path: path.to_owned(), why: why.into() };
    let mut source = unless_gone(File::open(path)).at(path)?.ok_or_else(|| damaged("is missing"))?;
    let mut content = Hashing::new(io::sink());
    copy(&mut source, path, &mut content, path)?;
    if content.end().1 == *expected { Ok(()) } else { Err(damaged("is damaged: its content has changed")) }
}

/// Copies a file. An error names the side that failed.
fn copy(source: &mut impl Read, from: &Path, target: &mut impl Write, to: &Path) -> Result<(), BackupError> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = match source.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.at(from)?,
        };
        if read == 0 {
            return Ok(());
        }
        target.write_all(&block[..read]).at(to)?;
    }
}

/// A writer that hashes and counts its bytes.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, digest: Sha256::new(), bytes: 0 }
    }

    fn end(self) -> (W, Part) {
        (self.inner, Part { bytes: self.bytes, sha256: hex::encode(self.digest.finalize()) })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(content)?;
        self.digest.update(&content[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes a new file.
pub(super) fn part_of(path: &Path) -> Result<Part, BackupError> {
    let mut content = Hashing::new(io::sink());
    copy(&mut File::open(path).at(path)?, path, &mut content, path)?;
    Ok(content.end().1)
}

fn unless_gone<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn time_of(modified: SystemTime) -> u64 {
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
