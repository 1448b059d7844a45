//! Sounds and pictures, and uploads in progress.
//!
//! Names are the hub's own, never a client's. A file appears complete and synced under its name, or not at all. They are
//! in a folder or, for several hubs, in a [`Bucket`].

mod bucket;
mod copies;
mod folder;

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::FileName;
use crate::ports::metrics::METRICS;

pub use bucket::{Answer, Bucket, BucketSettings, ClaimFault, Trouble};
pub use copies::Listed;
use folder::Folder;

/// The prefix of the names of spoken answers, before a hyphen. Old ones are not needed …
pub const ANSWER_PREFIX: &str = "reply";
/// … so they have a folder of their own, from which old files are deleted.
pub const ANSWERS: &str = "reply";

/// The number of concurrent look-ups of files.
const LOOKED_UP_AT_ONCE: usize = 16;

/// The folder of MP3s that were made of recordings which are stored as they came. They are made again if they are gone, so
/// they are in no backup.
const MADE: &str = "made";

/// The folder of recordings whose messages were lost, for the operator.
pub const LOST: &str = "lost";

/// The extension of recordings that are stored as they came.
pub const AMR: &str = "amr";

/// The folder of notes, each of the files of a command that has not finished.
const UNFINISHED: &str = "unfinished";

/// Longer than any command runs.
const COMMAND_MAX: Duration = Duration::from_secs(3600);

/// The kinds of stored files, each with a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Songs, stories and the hub's own sounds: `/get_music/`.
    Music,
    /// Covers and avatars: `/get_image/`.
    Image,
    /// Voice messages and spoken notices: `/get_chat/`.
    Chat,
    /// QR pictures of devices: `/get_qr/`.
    Qr,
}

impl FileKind {
    const ALL: [Self; 4] = [Self::Music, Self::Image, Self::Chat, Self::Qr];

    /// The folder of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Music => "music",
            Self::Image => "image",
            Self::Chat => "chat",
            Self::Qr => "qr",
        }
    }
}

/// A stored file.
#[derive(Debug, Clone)]
pub struct StoredFile {
    location: ObjectPath,
    /// The entity tag as the store has it.
    stored_etag: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// A strong entity tag, without quotes (RFC 9110 §8.8.3).
    pub etag: String,
    /// Its media type.
    pub content_type: &'static str,
    /// The time at which it was stored.
    pub modified: SystemTime,
}

/// A note, on disk, of the files that a command stores before their rows are in the database. If the process ends before
/// [`Files::finish`], the next one finds it.
#[derive(Debug)]
pub struct Unfinished {
    location: ObjectPath,
    /// The name of the note: what the command adds.
    pub name: String,
    /// The files. Not all of them may be there.
    pub files: Vec<(FileKind, FileName)>,
}

/// Why a file could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The store returned an error.
    #[error("file store: {0}")]
    Store(#[from] object_store::Error),
    /// The bucket does not work.
    #[error("file store: {trouble}")]
    Bucket {
        /// The kind of the failure.
        trouble: Trouble,
        /// The error of the request; none if it was not answered in time.
        #[source]
        cause: Option<Answer>,
    },
    /// The system returned an error.
    #[error("file store: {0}")]
    Io(#[from] io::Error),
}

impl FilesError {
    /// The trouble of the bucket, if that is the cause.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Bucket { trouble, .. } => Some(*trouble),
            Self::Store(_) | Self::Io(_) => None,
        }
    }
}

/// Whether the cause of an error is a bucket that may work again by itself: the same call can be repeated later.
pub fn is_unavailable(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let found = match inner {
        Some(inner) => inner.downcast_ref::<FilesError>(),
        None => error.downcast_ref::<FilesError>(),
    };
    found.and_then(FilesError::trouble).is_some_and(Trouble::is_temporary)
}

/// The file store and the folder of uploads.
pub struct Files {
    objects: Arc<dyn ObjectStore>,
    /// None for a folder.
    bucket: Option<Arc<Bucket>>,
    /// None for a bucket.
    folder: Option<Local>,
    spool: PathBuf,
    memory: Option<SpoolMemory>,
}

/// The file store in a folder.
struct Local {
    path: PathBuf,
    /// The folder of each kind, in the order of [`FileKind::ALL`].
    kinds: [Arc<Folder>; FileKind::ALL.len()],
    answers: Arc<Folder>,
}

impl Local {
    fn of(&self, kind: FileKind, name: &FileName) -> Arc<Folder> {
        Arc::clone(if is_answer(kind, name) { &self.answers } else { &self.kinds[kind as usize] })
    }
}

/// The memory for uploads in progress that are small.
struct SpoolMemory {
    /// Bytes of one upload.
    upload_bytes: u32,
    /// A permit for each byte.
    places: Arc<Semaphore>,
}

impl Files {
    /// Opens the store in `folder`. Uploads are written to `spool`, from which files of earlier runs are deleted. So are
    /// files that an earlier run was writing when it was killed.
    pub fn open(folder: &Path, spool: &Path) -> Result<Self, FilesError> {
        std::fs::create_dir_all(folder)?;
        empty(spool)?;
        for name in FileKind::ALL.map(FileKind::folder).into_iter().chain([ANSWERS, MADE, UNFINISHED]) {
            delete_half_written(&folder.join(name))?;
        }
        let objects = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
            bucket: None,
            folder: Some(Local {
                path: folder.to_owned(),
                kinds: FileKind::ALL.map(|kind| Arc::new(Folder::at(folder.join(kind.folder())))),
                answers: Arc::new(Folder::at(folder.join(ANSWERS))),
            }),
            spool: spool.to_owned(),
            memory: None,
        })
    }

    /// The store in a bucket. Uploads are written to `spool`, as with [`Self::open`].
    pub fn over(bucket: Bucket, spool: &Path) -> Result<Self, FilesError> {
        empty(spool)?;
        Ok(Self {
            objects: Arc::clone(&bucket.objects),
            bucket: Some(Arc::new(bucket)),
            folder: None,
            spool: spool.to_owned(),
            memory: None,
        })
    }

    /// Keeps uploads of at most `upload_bytes` in memory, `bytes` of all together. Others are written to the spool.
    pub fn with_memory(mut self, upload_bytes: u64, bytes: u64) -> Self {
        let upload_bytes = u32::try_from(upload_bytes).unwrap_or(u32::MAX);
        let places = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        self.memory =
            (upload_bytes > 0).then(|| SpoolMemory { upload_bytes, places: Arc::new(Semaphore::new(places)) });
        self
    }

    /// Whether the files are in a bucket.
    pub fn is_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    /// The bucket; none for a folder.
    pub fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.as_ref()
    }

    /// The trouble of the bucket, if it has any.
    pub async fn check(&self) -> Option<Trouble> {
        match &self.bucket {
            Some(bucket) => bucket.check().await,
            None => None,
        }
    }

    /// Whether it is time for a periodic [`Self::sweep_answers`]. A bucket is listed less often than a folder.
    pub fn is_sweep_due(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.is_sweep_due())
    }

    /// Awaits a request, within the limits of a bucket.
    async fn call<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<T, FilesError> {
        match &self.bucket {
            Some(bucket) => bucket.call(request).await,
            None => Ok(request.await?),
        }
    }

    /// All objects of a folder, in no order.
    fn all(&self, folder: &str) -> BoxStream<'static, Result<ObjectMeta, FilesError>> {
        let listed = self.objects.list(Some(&ObjectPath::from(folder)));
        let Some(bucket) = self.bucket.clone() else { return listed.map_err(FilesError::from).boxed() };
        stream::try_unfold(listed, move |mut listed| {
            let bucket = Arc::clone(&bucket);
            async move {
                let next = bucket.call(async { listed.next().await.transpose() }).await?;
                Ok::<_, FilesError>(next.map(|meta| (meta, listed)))
            }
        })
        .boxed()
    }

    /// Stores `content` under `name`. It is on disk when this returns.
    pub async fn put(&self, kind: FileKind, name: &FileName, content: Bytes) -> Result<(), FilesError> {
        self.put_as(PutMode::Overwrite, kind, name, content).await.map(drop)
    }

    /// As [`Self::put`], if there is no file of this name; whether there was none.
    pub async fn put_new(&self, kind: FileKind, name: &FileName, content: Bytes) -> Result<bool, FilesError> {
        self.put_as(PutMode::Create, kind, name, content).await
    }

    async fn put_as(&self, mode: PutMode, kind: FileKind, name: &FileName, content: Bytes) -> Result<bool, FilesError> {
        let start = Instant::now();
        let is_stored = match &self.folder {
            Some(local) => {
                let (folder, name, is_new) = (local.of(kind, name), name.clone(), mode == PutMode::Create);
                let stored = tokio::task::spawn_blocking(move || folder.put(name.as_str(), &content, is_new));
                stored.await.map_err(io::Error::other)??
            }
            None => {
                let location = location(kind, name);
                match self.call(self.objects.put_opts(&location, content.into(), mode.into())).await {
                    Err(FilesError::Store(object_store::Error::AlreadyExists { .. })) => false,
                    stored => stored.map(|_| true)?,
                }
            }
        };
        if is_stored {
            METRICS.file_write.since(start);
        }
        Ok(is_stored)
    }

    /// Notes under `name` the files that a command is about to store.
    pub async fn begin(&self, name: &str, files: Vec<(FileKind, FileName)>) -> Result<Unfinished, FilesError> {
        let location = ObjectPath::from_iter([UNFINISHED, name]);
        let lines: String = files.iter().map(|(kind, name)| format!("{} {name}\n", kind.folder())).collect();
        self.call(self.objects.put(&location, lines.into())).await?;
        Ok(Unfinished { location, name: name.to_owned(), files })
    }

    /// Deletes a note: the rows of its files are in the database, or its files are deleted.
    pub async fn finish(&self, note: Unfinished) -> Result<(), FilesError> {
        self.call(self.objects.delete(&note.location)).await
    }

    /// The notes of commands that have not finished. In a bucket, only those that are an hour old: another hub may
    /// execute the others now.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>, FilesError> {
        let mut listed: Vec<ObjectMeta> = self.all(UNFINISHED).try_collect().await?;
        if self.is_bucket() {
            let latest = SystemTime::now().checked_sub(COMMAND_MAX);
            listed.retain(|meta| latest.is_some_and(|latest| SystemTime::from(meta.last_modified) < latest));
        }
        let mut notes = Vec::new();
        for ObjectMeta { location, .. } in listed {
            let lines = self.call(async { self.objects.get(&location).await?.bytes().await }).await?;
            let files = String::from_utf8_lossy(&lines).lines().filter_map(noted).collect();
            let name = location.filename().unwrap_or_default().to_owned();
            notes.push(Unfinished { location, name, files });
        }
        Ok(notes)
    }

    /// The MP3 that was made of a recording, if there is one.
    pub async fn find_made(&self, recording: &FileName) -> Result<Option<StoredFile>, FilesError> {
        self.find_at(&made(recording)).await
    }

    /// Stores the MP3 that was made of a recording.
    pub async fn put_made(&self, recording: &FileName, content: Bytes) -> Result<(), FilesError> {
        self.call(self.objects.put(&made(recording), content.into())).await.map(drop)
    }

    /// Removes the MP3 that was made of a recording, if there is one.
    pub async fn delete_made(&self, recording: &FileName) -> Result<(), FilesError> {
        match self.call(self.objects.delete(&made(recording))).await {
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => Ok(()),
            deleted => deleted,
        }
    }

    /// Removes a file, and what was made of it.
    pub async fn delete(&self, kind: FileKind, name: &FileName) -> Result<(), FilesError> {
        let deleted = self.call(self.objects.delete(&location(kind, name))).await;
        // In this order: whoever makes it looks afterwards whether the recording is still there.
        if kind == FileKind::Chat && name.extension() == AMR {
            self.delete_made(name).await?;
        }
        deleted
    }

    /// Removes a file, if it exists.
    pub async fn delete_if_there(&self, kind: FileKind, name: &FileName) -> Result<(), FilesError> {
        match self.delete(kind, name).await {
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => Ok(()),
            deleted => deleted,
        }
    }

    /// Moves a recording to the folder [`LOST`], from which it cannot be downloaded.
    pub async fn put_recording_aside(&self, name: &FileName) -> Result<(), FilesError> {
        let aside = ObjectPath::from_iter([LOST, name.as_str()]);
        self.call(self.objects.rename(&location(FileKind::Chat, name), &aside)).await?;
        if name.extension() == AMR { self.delete_made(name).await } else { Ok(()) }
    }

    /// The file of this name, if there is one.
    pub async fn find(&self, kind: FileKind, name: &FileName) -> Result<Option<StoredFile>, FilesError> {
        self.find_at(&location(kind, name)).await
    }

    async fn find_at(&self, location: &ObjectPath) -> Result<Option<StoredFile>, FilesError> {
        match self.call(self.objects.head(location)).await {
            Ok(meta) => Ok(Some(StoredFile {
                size: meta.size,
                etag: meta.e_tag.as_deref().unwrap_or_default().trim_matches('"').to_owned(),
                stored_etag: meta.e_tag,
                content_type: media_type(meta.location.extension().unwrap_or_default()),
                modified: meta.last_modified.into(),
                location: meta.location,
            })),
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a file of any of these names.
    pub async fn is_any(&self, kind: FileKind, names: &[FileName]) -> Result<bool, FilesError> {
        let Some(folder) = &self.folder else {
            for name in names {
                if self.find(kind, name).await?.is_some() {
                    return Ok(true);
                }
            }
            return Ok(false);
        };
        let folder = folder.path.join(kind.folder());
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name.as_str())).collect();
        let looked_up = tokio::task::spawn_blocking(move || {
            for path in paths {
                if path.try_exists()? {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        looked_up.await.map_err(io::Error::other)?
    }

    /// The total size of those of the files that exist.
    pub async fn size_of_all(&self, kind: FileKind, names: Vec<FileName>) -> Result<u64, FilesError> {
        let sizes = futures_util::stream::iter(names).map(|name| async move {
            Ok::<u64, FilesError>(self.find(kind, &name).await?.map_or(0, |file| file.size))
        });
        sizes.buffer_unordered(LOOKED_UP_AT_ONCE).try_fold(0, |sum, size| async move { Ok(sum + size) }).await
    }

    /// The bytes `range` of a file, as a stream.
    pub async fn read(
        &self,
        file: &StoredFile,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, FilesError> {
        if let Some(bucket) = &self.bucket {
            return pieces(Arc::clone(bucket), file, range).await;
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.objects.get_opts(&file.location, options).await?;
        Ok(found.into_stream().map(|piece| piece.map_err(io::Error::other)).boxed())
    }

    /// All bytes of a file.
    pub async fn read_whole(&self, file: &StoredFile) -> Result<Bytes, FilesError> {
        self.call(async { self.objects.get(&file.location).await?.bytes().await }).await
    }

    /// All files of a kind with the times at which they were stored, in no order. Files with foreign names are left
    /// out.
    pub fn list(&self, kind: FileKind) -> BoxStream<'static, Result<(FileName, SystemTime), FilesError>> {
        let named = self.all(kind.folder()).try_filter_map(|meta| {
            let name = meta.location.filename().and_then(|name| name.parse().ok());
            std::future::ready(Ok(name.map(|name| (name, meta.last_modified.into()))))
        });
        named.boxed()
    }

    /// Deletes spoken answers that are older than `before`. Returns their number.
    pub async fn sweep_answers(&self, before: SystemTime) -> Result<usize, FilesError> {
        self.delete_those(ANSWERS, |meta| SystemTime::from(meta.last_modified) < before).await
    }

    /// Deletes recordings of the folder [`LOST`] that were stored before `before`; gives how many.
    pub async fn sweep_lost(&self, before: SystemTime) -> Result<usize, FilesError> {
        self.delete_those(LOST, |meta| SystemTime::from(meta.last_modified) < before).await
    }

    /// Deletes recordings of the folder [`LOST`] whose names begin so; gives how many.
    pub async fn delete_lost(&self, prefix: &str) -> Result<usize, FilesError> {
        self.delete_those(LOST, |meta| meta.location.filename().is_some_and(|name| name.starts_with(prefix))).await
    }

    async fn delete_those(&self, folder: &str, goes: impl Fn(&ObjectMeta) -> bool) -> Result<usize, FilesError> {
        let listed = self.all(folder);
        let found: Vec<ObjectMeta> = listed.try_filter(|meta| std::future::ready(goes(meta))).try_collect().await?;
        for meta in &found {
            self.call(self.objects.delete(&meta.location)).await?;
        }
        Ok(found.len())
    }

    /// Begins an upload.
    pub async fn spool(&self) -> Result<Spooled, FilesError> {
        let held = self.memory.as_ref().and_then(|memory| {
            let place = Arc::clone(&memory.places).try_acquire_many_owned(memory.upload_bytes).ok()?;
            Some(Content::Memory { bytes: Vec::new(), bytes_max: memory.upload_bytes as usize, place })
        });
        let content = match held {
            Some(held) => held,
            None => Content::File(SpoolFile::create(&self.spool).await?),
        };
        Ok(Spooled { content, spool: self.spool.clone(), size: 0 })
    }
}

/// An upload in progress. Dropping it deletes it.
pub struct Spooled {
    content: Content,
    spool: PathBuf,
    size: u64,
}

/// Where the bytes of an upload are.
enum Content {
    Memory { bytes: Vec<u8>, bytes_max: usize, place: OwnedSemaphorePermit },
    File(SpoolFile),
}

struct SpoolFile {
    file: tokio::fs::File,
    path: TempPath,
}

impl SpoolFile {
    async fn create(spool: &Path) -> io::Result<Self> {
        let folder = spool.to_owned();
        let created = tokio::task::spawn_blocking(move || spool_file(&folder).map(NamedTempFile::into_parts));
        let (file, path): (File, TempPath) = created.await.map_err(io::Error::other)??;
        Ok(Self { file: tokio::fs::File::from_std(file), path })
    }
}

/// A new file in the spool, which is deleted when it is dropped.
fn spool_file(spool: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix("upload-").tempfile_in(spool)
}

impl Spooled {
    /// Appends `chunk`.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match &mut self.content {
            Content::Memory { bytes, bytes_max, .. } if bytes.len() + chunk.len() <= *bytes_max => {
                bytes.extend_from_slice(chunk);
            }
            Content::Memory { bytes, .. } => {
                let mut moved = SpoolFile::create(&self.spool).await?;
                moved.file.write_all(bytes).await?;
                moved.file.write_all(chunk).await?;
                self.content = Content::File(moved);
            }
            Content::File(spooled) => spooled.file.write_all(chunk).await?,
        }
        self.size += chunk.len() as u64;
        Ok(())
    }

    /// Bytes received.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes, if they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Memory { bytes, .. } => Some(bytes),
            Content::File(_) => None,
        }
    }

    /// Ends the upload.
    pub async fn finish(self) -> io::Result<Received> {
        match self.content {
            Content::Memory { bytes, place, .. } => {
                Ok(Received::Memory { bytes: bytes.into(), spool: self.spool, _place: place })
            }
            Content::File(mut spooled) => {
                spooled.file.flush().await?;
                Ok(Received::File(spooled.path))
            }
        }
    }
}

/// A complete upload. Dropping it deletes it.
pub enum Received {
    /// In memory.
    Memory {
        /// Its bytes.
        bytes: Bytes,
        /// The folder for a file with them, if a program has to read them.
        spool: PathBuf,
        /// Its part of the memory for uploads.
        _place: OwnedSemaphorePermit,
    },
    /// In the spool.
    File(TempPath),
}

impl Received {
    /// Moves it to a file. Blocks on the disk.
    pub fn keep(self, to: &Path) -> io::Result<()> {
        let path = match self {
            Self::File(path) => path,
            Self::Memory { bytes, spool, .. } => {
                let mut file = spool_file(&spool)?;
                file.write_all(&bytes)?;
                file.into_temp_path()
            }
        };
        path.persist(to).map_err(|error| error.error)
    }
}

/// Creates an empty folder.
fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)
}

/// The bytes `range` of a file in a bucket, in pieces of one request each: a slow reader holds neither a connection nor
/// a place among the requests. The first piece is read before this returns.
async fn pieces(
    bucket: Arc<Bucket>,
    file: &StoredFile,
    range: Range<u64>,
) -> Result<BoxStream<'static, io::Result<Bytes>>, FilesError> {
    let read = {
        let (location, etag, end) = (file.location.clone(), file.stored_etag.clone(), range.end);
        move |start: u64| {
            let (bucket, location, if_match) = (Arc::clone(&bucket), location.clone(), etag.clone());
            async move {
                let piece = start..end.min(start.saturating_add(bucket.piece_bytes));
                let after = piece.end;
                let options = GetOptions { range: Some(GetRange::Bounded(piece)), if_match, ..GetOptions::default() };
                let read = async { bucket.objects.get_opts(&location, options).await?.bytes().await };
                Ok::<_, FilesError>((bucket.call(read).await?, after))
            }
        }
    };
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let (first, after) = read(range.start).await?;
    let rest = stream::try_unfold(after, move |start| {
        let next = (start < range.end).then(|| read(start));
        async move {
            match next {
                Some(piece) => piece.await.map(Some).map_err(io::Error::other),
                None => Ok(None),
            }
        }
    });
    Ok(stream::once(std::future::ready(Ok(first))).chain(rest).boxed())
}

fn location(kind: FileKind, name: &FileName) -> ObjectPath {
    ObjectPath::from_iter([if is_answer(kind, name) { ANSWERS } else { kind.folder() }, name.as_str()])
}

fn is_answer(kind: FileKind, name: &FileName) -> bool {
    kind == FileKind::Chat && name.as_str().split_once('-').is_some_and(|(prefix, _)| prefix == ANSWER_PREFIX)
}

/// Where the MP3 of a recording is.
fn made(recording: &FileName) -> ObjectPath {
    ObjectPath::from_iter([MADE, recording.with_extension("mp3").as_str()])
}

/// The file that a line of a note names.
fn noted(line: &str) -> Option<(FileKind, FileName)> {
    let (folder, name) = line.split_once(' ')?;
    let kind = FileKind::ALL.into_iter().find(|kind| kind.folder() == folder)?;
    Some((kind, name.parse().ok()?))
}

/// Deletes the files that were being written when an earlier run was killed: the store names them `NAME#NUMBER` until they
/// are complete.
fn delete_half_written(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
        if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The media type of files with this extension.
pub fn media_type(extension: &str) -> &'static str {
    match extension.to_ascii_lowercase().as_str() {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "m4a" | "mp4" => "audio/mp4",
        "ogg" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "amr" => "audio/amr",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_completely_and_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("files"), &folder.path().join("spool")).unwrap();
        let name: FileName = "a.mp3".parse().unwrap();
        assert!(files.find(FileKind::Chat, &name).await.unwrap().is_none());
        files.put(FileKind::Chat, &name, Bytes::from_static(b"0123456789")).await.unwrap();
        let file = files.find(FileKind::Chat, &name).await.unwrap().unwrap();
        assert_eq!((file.size, file.content_type), (10, "audio/mpeg"));
        assert!(!file.etag.is_empty());
        let part: Vec<Bytes> = files.read(&file, 3..7).await.unwrap().try_collect().await.unwrap();
        assert_eq!(part.concat(), b"3456");
        assert!(files.find(FileKind::Music, &name).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn old_answers_are_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("files"), &folder.path().join("spool")).unwrap();
        let [answer, message]: [FileName; 2] = ["reply-1.mp3", "say-1.mp3"].map(|name| name.parse().unwrap());
        for name in [&answer, &message] {
            files.put(FileKind::Chat, name, Bytes::from_static(b"sound")).await.unwrap();
        }
        let hour = std::time::Duration::from_secs(3600);
        assert_eq!(files.sweep_answers(SystemTime::now() - hour).await.unwrap(), 0);
        assert!(files.find(FileKind::Chat, &answer).await.unwrap().is_some());
        assert_eq!(files.sweep_answers(SystemTime::now() + hour).await.unwrap(), 1);
        assert!(files.find(FileKind::Chat, &answer).await.unwrap().is_none());
        assert!(files.find(FileKind::Chat, &message).await.unwrap().is_some());
        assert_eq!(files.sweep_answers(SystemTime::now() + hour).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_note_outlives_its_process_and_half_written_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Files::open(&folder.path().join("files"), &folder.path().join("spool")).unwrap();
        let files = open();
        let of_command: [(FileKind, FileName); 2] =
            [(FileKind::Music, "a-song.1.mp3".parse().unwrap()), (FileKind::Image, "b.png".parse().unwrap())];
        let finished = files.begin("one", vec![of_command[0].clone()]).await.unwrap();
        files.begin("two", of_command.to_vec()).await.unwrap();
        files.finish(finished).await.unwrap();
        for (name, is_half) in [("c.mp3#1", true), ("d.mp3#12", true), ("e#f.mp3", false), ("g.mp3", false)] {
            let path = folder.path().join("files/music").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"half").unwrap();
            drop(open());
            assert_eq!(path.exists(), !is_half, "{name}");
        }
        let notes = open().unfinished().await.unwrap();
        assert_eq!(notes.len(), 1);
        assert_eq!((notes[0].name.as_str(), &notes[0].files[..]), ("two", &of_command[..]));
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        let files = Files::open(&folder.path().join("files"), &spool).unwrap();
        let mut upload = files.spool().await.unwrap();
        upload.write(b"half").await.unwrap();
        assert_eq!(upload.size(), 4);
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 1);
        drop(upload);
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_small_upload_is_in_memory_while_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, kept) = (folder.path().join("spool"), folder.path().join("kept"));
        let files = Files::open(&folder.path().join("files"), &spool).unwrap().with_memory(8, 20);
        let spooled = || std::fs::read_dir(&spool).unwrap().count();
        let (mut small, mut large, mut late) =
            (files.spool().await.unwrap(), files.spool().await.unwrap(), files.spool().await.unwrap());
        assert_eq!(spooled(), 1, "20 bytes are two places of 8");
        for upload in [&mut small, &mut large, &mut late] {
            upload.write(b"1234").await.unwrap();
            upload.write(b"5678").await.unwrap();
        }
        assert_eq!(spooled(), 1);
        large.write(b"9").await.unwrap();
        assert_eq!((spooled(), large.size()), (2, 9), "it is larger than its place, which is free again");
        let next = files.spool().await.unwrap();
        assert_eq!(spooled(), 2);
        drop(next);
        for (upload, content) in [(small, "12345678"), (large, "123456789"), (late, "12345678")] {
            upload.finish().await.unwrap().keep(&kept).unwrap();
            assert_eq!(std::fs::read_to_string(&kept).unwrap(), content);
        }
        assert_eq!(spooled(), 0);
        assert!(matches!(files.spool().await.unwrap().finish().await.unwrap(), Received::Memory { .. }));
    }
}
