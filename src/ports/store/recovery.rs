//! What the store does about an engine that has stopped.
//!
//! SurrealKV survives a full disk by itself: a log that found no room is replaced by the next commit, and a table is
//! written again until that succeeds. But after a commit of which a part was applied, or a sync that failed, it refuses
//! every further write until it is opened again, while reads go on. Nothing that was acknowledged is lost by that: it is
//! in the log, which opening replays.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use surrealdb::types::{Error as DatabaseError, Variables};

use super::engine::{Engine, end, open_engine};
use super::{Place, Store, StoreError};

/// How every error begins of an engine that has stopped for good; only the text of its error comes up to here.
const STOPPED: &str = "Database stopped";

impl Store {
    /// Asks the least that there is.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run("SELECT VALUE version FROM ONLY meta:schema", Variables::new()).await.map(drop)
    }

    /// Writes the least that there is: an engine whose log found no room begins a new one, and one that has stopped is
    /// found out.
    pub async fn try_write(&self) -> Result<(), StoreError> {
        self.run("UPSERT meta:tried SET version = (version ?? 0) + 1", Variables::new()).await.map(drop)
    }

    /// Whether the engine refuses all writes until it is opened again.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Relaxed)
    }

    /// Closes the engine and opens it again. Until it is open, every question is answered by [`StoreError::Closed`].
    pub async fn reopen(&self) -> Result<(), StoreError> {
        if !matches!(self.settings.place, Place::Folder { .. }) {
            self.has_stopped.store(false, Ordering::Relaxed);
            return Ok(());
        }
        let old = self.replace(Engine::Closed);
        if let Err(error) = end(&old).await {
            // What it could not write stands in its log.
            tracing::warn!(%error, "the stopped engine did not close in order");
        }
        drop(old);
        self.replace(open_engine(&self.settings).await?);
        self.has_stopped.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The engine as it is now. A question that has begun keeps its own to the end.
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, engine: Engine) -> Arc<Engine> {
        std::mem::replace(&mut *self.engine.write().unwrap_or_else(PoisonError::into_inner), Arc::new(engine))
    }

    /// Notes an engine that has stopped.
    pub(super) fn note(&self, error: &DatabaseError) {
        if error.message().contains(STOPPED) && !self.has_stopped.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database's engine has stopped and refuses writes");
        }
    }
}
