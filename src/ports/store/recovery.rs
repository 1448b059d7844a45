//! Recovery from a stopped engine.
//!
//! SurrealKV recovers from a full disk by itself: the next commit replaces a log that could not be written, and a table
//! is written again until that succeeds. But after a partially applied commit or a failed sync, it refuses every
//! further write until it is reopened, while reads continue. No acknowledged write is lost by that: it is in the log,
//! which is replayed when the database is opened.
//!
//! A server that has not answered is lost ([`Store::lose`]): no request is sent to it any more, until a new connection
//! has been made ([`Store::reconnect`]).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use surrealdb::types::{Error as DatabaseError, Variables};
use tokio::sync::watch;
use tokio::time::timeout;

use super::engine::{Engine, end, open_engine};
use super::server::{self, Connection};
use super::{Location, Store, StoreError, StoreSettings};
use crate::ports::progress::Progress;

/// The prefix of every error of a stopped engine; only the text of its error is available here.
const STOPPED: &str = "Database stopped";

/// Whether a server is lost.
#[derive(Debug)]
pub(super) struct Contact(watch::Sender<bool>);

impl Default for Contact {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Store {
    /// Runs a minimal query. A server that fails it is lost: the user may have no rights any more.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let engine = self.engine();
        let pinged = self.run("SELECT VALUE version FROM ONLY meta:schema", Variables::new()).await;
        pinged.map(drop).inspect_err(|error| self.lose(&engine, error))
    }

    /// Whether the database is on a server.
    pub fn is_on_server(&self) -> bool {
        matches!(self.settings.place, Location::Server(_))
    }

    /// Whether the server is lost. Every request fails then, without being sent.
    pub fn is_lost(&self) -> bool {
        *self.contact.0.borrow()
    }

    /// Returns when the server is lost.
    pub async fn lost(&self) {
        // The sender is in this store.
        let _ = self.contact.0.subscribe().wait_for(|is_lost| *is_lost).await;
    }

    /// Connects to a lost server again. Errors: as of the opening; also if the database is not that of this hub any more.
    pub async fn reconnect(&self) -> Result<(), StoreError> {
        let Location::Server(server) = &self.settings.place else { return Ok(()) };
        let StoreSettings { namespace, database, .. } = &self.settings;
        let connection = Connection::open(server, namespace, database).await?;
        let limit = server.answer_timeout;
        let asked = connection.database.query("SELECT VALUE hub FROM ONLY meta:identity");
        let mut found = timeout(limit, asked).await.map_err(|_| StoreError::NoAnswer(limit))??;
        let found = found.take::<Option<String>>(0)?;
        if self.hub.get().is_some_and(|hub| found.as_deref() != Some(hub.as_str())) {
            return Err(StoreError::Open("the database there is not that of this hub any more".into()));
        }
        self.replace(Engine::Server(connection));
        self.contact.0.send_replace(false);
        Ok(())
    }

    /// Gives up the connection to a server that has not answered, or has answered so. Requests that were sent are still
    /// answered, if they are.
    pub(super) fn lose(&self, engine: &Arc<Engine>, why: &StoreError) {
        if !matches!(**engine, Engine::Server(_)) {
            return;
        }
        {
            let mut current = self.engine.write().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&current, engine) {
                return;
            }
            *current = Arc::new(Engine::Closed);
        }
        self.contact.0.send_replace(true);
        tracing::error!(%why, "the database server is lost: no client is accepted until it answers");
    }

    /// The error of a request that was not sent.
    pub(super) fn closed(&self) -> StoreError {
        if self.is_on_server() { StoreError::Lost } else { StoreError::Closed }
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

    /// Records that the engine has stopped, or that its server is lost.
    pub(super) fn note(&self, engine: &Arc<Engine>, error: &DatabaseError) {
        if server::is_loss(error) {
            self.lose(engine, &StoreError::Database(error.clone()));
        }
        if error.message().contains(STOPPED) && !self.has_stopped.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database's engine has stopped and refuses writes");
        }
    }
}
