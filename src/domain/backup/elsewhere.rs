//! The parts of a restore that are not in the data folder: the database on a server, and the bucket.
//!
//! Each is marked from the first write to the end of the restore: no hub starts on it, and it holds nothing else. So it
//! can be emptied after a failure, and by the next call after an interruption.

use std::sync::Arc;

use super::{BackupError, BackupFault};
use crate::config::Config;
use crate::model::HubId;
use crate::ports::files::Bucket;
use crate::ports::store::{Store, StoreError, StoreSettings};

/// How the parts of a configuration are opened.
#[derive(Debug, Clone, Copy)]
pub struct Openers {
    /// The settings of the database.
    pub store: fn(&Config) -> StoreSettings,
    /// The bucket; none for a folder. Errors are one line.
    pub bucket: fn(&Config) -> Result<Option<Bucket>, String>,
}

/// What is left to do once all parts are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The token of the restore.
    pub token: String,
    /// The hub of the backup, whose bucket it is.
    pub hub: Option<HubId>,
    /// Whether the hub has to repeat erasures before others start.
    pub is_erasing: bool,
}

impl Note {
    pub(super) fn text(&self) -> String {
        let hub = self.hub.as_ref().map_or("-", HubId::as_str);
        format!("{} {hub} {}\n", self.token, self.is_erasing)
    }

    /// None for that of an earlier version, whose restores had no parts elsewhere.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (token, hub) = (words.next()?.to_owned(), words.next()?.parse().ok());
        Some(Self { token, hub, is_erasing: words.next()? == "true" })
    }
}

/// The parts of one restore.
pub(super) struct Elsewhere {
    token: String,
    /// The database, if it is on a server.
    pub store: Option<Store>,
    /// The bucket, if the files are in one.
    pub bucket: Option<Arc<Bucket>>,
}

impl Elsewhere {
    /// Connects to the parts, and changes nothing.
    pub(super) async fn connect(config: &Config, openers: Openers, token: String) -> Result<Self, BackupFault> {
        let bucket = (openers.bucket)(config).map_err(BackupFault::Setting)?.map(Arc::new);
        let store = match config.store.is_on_server() {
            true => Some(Store::open(&(openers.store)(config)).await.map_err(BackupFault::Store)?),
            false => None,
        };
        Ok(Self { token, store, bucket })
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Marks the parts, which have to be empty, or from an interrupted restore.
    pub(super) async fn begin(&self, config: &Config) -> Result<(), BackupFault> {
        if let Some(bucket) = &self.bucket
            && let Some(found) = bucket.begin_restore(&self.token).await.map_err(BackupError::from)?
        {
            return Err(BackupFault::BucketNotEmpty { url: config.files.url.clone(), found });
        }
        if let Some(store) = &self.store
            && !store.begin_restore(&self.token).await.map_err(BackupFault::Store)?
        {
            let (namespace, database) = (config.store.namespace.clone(), config.store.database.clone());
            return Err(BackupFault::ServerNotEmpty { url: config.store.url.clone(), namespace, database });
        }
        Ok(())
    }

    /// Removes the marks. It can be repeated.
    pub(super) async fn end(&self, note: &Note) -> Result<(), BackupFault> {
        if let Some(bucket) = &self.bucket {
            bucket.end_restore(&note.token, note.hub.as_ref()).await.map_err(BackupError::from)?;
        }
        if let Some(store) = &self.store {
            store.end_restore(&note.token, note.is_erasing).await.map_err(BackupFault::Store)?;
        }
        Ok(())
    }

    /// Removes what this restore has put into the parts, after `fault`. Returns the error for the operator.
    pub(super) async fn undo(&self, config: &Config, fault: BackupFault) -> BackupFault {
        let mut remains = Vec::new();
        if let Some(store) = &self.store
            && let Err(error) = self.empty(store).await
        {
            remains.push(format!("{} ({error})", config.store.url));
        }
        if let Some(bucket) = &self.bucket
            && let Err(error) = bucket.undo_restore(&self.token).await
        {
            remains.push(format!("{} ({})", config.files.url, BackupError::from(error)));
        }
        match remains.is_empty() {
            true => fault,
            false => BackupFault::Remains { fault: Box::new(fault), places: remains.join(" and ") },
        }
    }

    async fn empty(&self, store: &Store) -> Result<(), StoreError> {
        if store.is_lost() {
            store.reconnect().await?;
        }
        store.undo_restore(&self.token).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_again() {
        for hub in [None, Some(HubId::random())] {
            let note = Note { token: "0a".into(), hub, is_erasing: true };
            assert_eq!(Note::parse(&note.text()), Some(note));
        }
        assert_eq!(Note::parse(""), None);
    }
}
