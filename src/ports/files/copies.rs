//! Copies of a bucket for a backup, and an empty bucket that a backup is restored to.
//!
//! While a bucket is filled, an object marks it as such: no hub starts on it, and all that is in it is from that restore.

use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _};

use super::bucket::{Bucket, MARK};
use super::{ANSWERS, FilesError, LOST, MADE, UNFINISHED};
use crate::model::HubId;

/// The object of a restore in progress. It contains the restore's token.
pub(super) const RESTORING: &str = "restoring";
/// Objects that are deleted at once.
const DELETED_AT_ONCE: usize = 4;

/// A file of a bucket.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its folder and name.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The time at which it was stored.
    pub modified: SystemTime,
    location: ObjectPath,
    etag: Option<String>,
}

impl Bucket {
    /// The folders of a backup, in order. Spoken answers are left out, and what was made of recordings.
    pub const COPIED: [&str; 6] = ["chat", "image", LOST, "music", "qr", UNFINISHED];

    /// All objects of a folder, in no order.
    async fn objects_of(&self, folder: &str) -> Result<Vec<ObjectMeta>, FilesError> {
        let mut found = Vec::new();
        let mut listed = self.objects.list(Some(&ObjectPath::from(folder)));
        while let Some(meta) = self.call(async { listed.next().await.transpose() }).await? {
            found.push(meta);
        }
        Ok(found)
    }

    /// The files of a folder, in the order of their names. Those with a name that is not the hub's are left out.
    pub async fn listed(&self, folder: &str) -> Result<Vec<Listed>, FilesError> {
        let mut found = Vec::new();
        for meta in self.objects_of(folder).await? {
            let Some(name) = meta.location.filename().filter(|name| !name.starts_with('.')) else { continue };
            if meta.location.parts_count() == 2 && !name.contains(['\n', '#']) {
                found.push(Listed {
                    path: format!("{folder}/{name}"),
                    size: meta.size,
                    modified: meta.last_modified.into(),
                    etag: meta.e_tag,
                    location: meta.location,
                });
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// The bytes of a file from `start`, as many as one request reads; none if the file was deleted.
    pub async fn piece(&self, file: &Listed, start: u64) -> Result<Option<Bytes>, FilesError> {
        let piece = start..file.size.min(start.saturating_add(self.piece_bytes));
        let (expected, if_match) = (piece.end - piece.start, file.etag.clone());
        let options = GetOptions { range: Some(GetRange::Bounded(piece)), if_match, ..GetOptions::default() };
        match self.call(async { self.objects.get_opts(&file.location, options).await?.bytes().await }).await {
            Ok(bytes) if bytes.len() as u64 == expected => Ok(Some(bytes)),
            Ok(_) => Err(std::io::Error::other(format!("{} is shorter than listed", file.path)).into()),
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Marks an empty bucket, or one whose restore was interrupted, which is emptied. If it has other objects, returns the
    /// first one.
    pub async fn begin_restore(&self, token: &str) -> Result<Option<String>, FilesError> {
        let is_marked = self.restoring().await?.is_some();
        if !is_marked {
            let mut all = self.objects.list(None);
            if let Some(meta) = self.call(async { all.next().await.transpose() }).await? {
                return Ok(Some(meta.location.to_string()));
            }
        }
        // The mark stays while the bucket is emptied.
        self.call(self.objects.put(&ObjectPath::from(RESTORING), token.to_owned().into())).await?;
        if is_marked {
            self.empty().await?;
        }
        Ok(None)
    }

    /// The token of a restore in progress.
    pub async fn restoring(&self) -> Result<Option<String>, FilesError> {
        let found = self.read(&self.objects, &ObjectPath::from(RESTORING)).await?;
        Ok(found.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    /// Stores a file of a backup: its folder and name.
    pub async fn put_restored(&self, path: &str, content: Bytes) -> Result<(), FilesError> {
        let location = ObjectPath::from_iter(path.split('/'));
        self.call(self.objects.put(&location, content.into())).await.map(drop)
    }

    /// Completes the restore of this token, if it is not complete: the bucket is that of the hub of the backup.
    pub async fn end_restore(&self, token: &str, hub: Option<&HubId>) -> Result<(), FilesError> {
        if self.restoring().await?.as_deref() != Some(token) {
            return Ok(());
        }
        if let Some(hub) = hub {
            self.call(self.objects.put(&ObjectPath::from(MARK), hub.as_str().to_owned().into())).await?;
        }
        self.call(self.objects.delete(&ObjectPath::from(RESTORING))).await
    }

    /// Deletes all that the restore of this token has put there.
    pub async fn undo_restore(&self, token: &str) -> Result<(), FilesError> {
        match self.restoring().await? {
            Some(found) if found == token => {
                self.empty().await?;
                self.call(self.objects.delete(&ObjectPath::from(RESTORING))).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes all objects but the mark of a restore.
    async fn empty(&self) -> Result<(), FilesError> {
        for folder in Self::COPIED.into_iter().chain([ANSWERS, MADE]) {
            let objects = self.objects_of(folder).await?;
            let deleted =
                objects.into_iter().map(|meta| async move { self.call(self.objects.delete(&meta.location)).await });
            stream::iter(deleted).buffer_unordered(DELETED_AT_ONCE).try_collect::<()>().await?;
        }
        self.call(self.objects.delete(&ObjectPath::from(MARK))).await
    }
}
