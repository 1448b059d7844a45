//! Recovery from a stopped engine.
//!
//! SurrealKV recovers from a full disk by itself: the next commit replaces a log that could not be written, and a table
//! is written again until that succeeds. But after a partially applied commit or a failed sync, it refuses every
//! further write until it is reopened, while reads continue. No acknowledged write is lost by that: it is in the log,
//! which is replayed when the database is opened.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use surrealdb::types::{Error as DatabaseError, Variables};

use super::engine::{Engine, end, open_engine};
use super::{Location, Store, StoreError};
use crate::ports::progress::Progress;

/// The prefix of every error of a stopped engine; only the text of its error is available here.
const STOPPED: &str = "Database stopped";

impl Store {
    /// Runs a minimal query.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run("SELECT VALUE version FROM ONLY meta:schema", Variables::new()).await.map(drop)
    }

    /// Runs a minimal write: an engine whose log could not be written begins a new one, and a stopped engine is
    /// detected.
    pub async fn try_write(&self) -> Result<(), StoreError> {
        self.run("UPSERT meta:tried SET version = (version ?? 0) + 1", Variables::new()).await.map(drop)
    }

    /// Whether the engine refuses all writes until it is reopened.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Relaxed)
    }

    /// Reopens the engine. Until it is open, every query returns [`StoreError::Closed`].
    pub async fn reopen(&self) -> Result<(), StoreError> {
        if !matches!(self.settings.place, Location::Folder { .. }) {
            self.has_stopped.store(false, Ordering::Relaxed);
            return Ok(());
        }
        let old = self.replace(Engine::Closed);
        if let Err(error) = end(&old).await {
            // Unwritten data is in its log.
            tracing::warn!(%error, "the stopped engine could not be closed cleanly");
        }
        drop(old);
        self.replace(open_engine(&self.settings, &Progress::unwatched()).await?);
        self.has_stopped.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The current engine. A running query keeps its own to its end.
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, engine: Engine) -> Arc<Engine> {
        std::mem::replace(&mut *self.engine.write().unwrap_or_else(PoisonError::into_inner), Arc::new(engine))
    }

    /// Records that the engine has stopped.
    pub(super) fn note(&self, error: &DatabaseError) {
        if error.message().contains(STOPPED) && !self.has_stopped.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database's engine has stopped and refuses writes");
        }
    }
}
