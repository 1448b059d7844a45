//! Transactions of several statements, with the rules between them in Rust.
//!
//! The engine compiles each text of a query anew, which costs more than all other steps, unless it is one statement
//! whose target or source is a bound record id, or the records of a bound key or range of keys
//! (`type::record('friend', $keys)`), without a variable elsewhere: the compiled form of such a statement is cached. So
//! all code that runs for each message consists of such statements. A worked example, the marks of a reader:
//!
//! ```text
//! store.transact(|tx| async move {
//!     let entry = tx.one::<EntryRow>("SELECT * FROM ONLY $id", vars! { id: record_of("friend", owner, friend) }).await?;
//!     …                                                     // a violated rule returns an error: rolled back
//!     tx.run("UPDATE $id SET read_seq = $read RETURN NONE", vars! { … }).await?;
//!     Ok(…)                                                 // committed, and synced, before `transact` returns
//! })
//! ```
//!
//! A transaction reads one snapshot. Its commit fails if another one has written the same records since; then the whole
//! closure runs again. A rule that reads a record must therefore write it, too, unless later changes cannot break the
//! rule.

use std::sync::Arc;
use std::time::Instant;

use surrealdb::Surreal;
use surrealdb::engine::any::Any;
use surrealdb::engine::local::Db;
use surrealdb::method::Transaction as Begun;
use surrealdb::types::{Array, Range, RecordId, SurrealValue, Value, Variables, vars};
use tokio::sync::OwnedSemaphorePermit;

use super::engine::Engine;
use super::rows::{BY_ID, Row};
use super::{Attempts, Results, Store, StoreError, unless_lost};
use crate::ports::metrics::METRICS;

/// A transaction that is not committed yet.
pub(super) struct Transaction<'s> {
    store: &'s Store,
    engine: Arc<Engine>,
    /// Its place among those of the server.
    place: Option<Arc<OwnedSemaphorePermit>>,
    begun: Arc<Handle>,
    _era: Arc<()>,
    #[cfg(test)]
    fault: Arc<std::sync::atomic::AtomicBool>,
}

enum Handle {
    Embedded(Begun<Db>),
    Addressed(Begun<Any>),
}

/// The id of a record whose key is one text.
pub(super) fn record(table: &str, key: &str) -> RecordId {
    RecordId::new(table, key)
}

/// The id of a record whose key is a pair.
pub(super) fn record_of(table: &str, first: &str, second: impl SurrealValue) -> RecordId {
    let key = vec![Value::from_t(first.to_owned()), second.into_value()];
    RecordId::new(table, Array::from(key))
}

/// The range of all keys that are pairs of `first` and a text, such as an id.
pub(super) fn keys_of(first: &str) -> Value {
    let key =
        |second: &str| Value::Array(Array::from(vec![first.to_owned().into_value(), second.to_owned().into_value()]));
    Value::Range(Box::new(Range::from(key("")..key("~"))))
}

/// The range of the keys that are pairs of `first` and a number from `from` to `to`.
pub(super) fn keys_between(first: &str, from: i64, to: i64) -> Value {
    let key = |second: i64| Value::Array(Array::from(vec![first.to_owned().into_value(), second.into_value()]));
    Value::Range(Box::new(Range::from(key(from)..=key(to))))
}

impl Store {
    /// Runs `work` in a transaction, and commits it unless `work` returns an error. After a conflict with another
    /// writer it runs again, after a random pause.
    pub(super) async fn transact<'s, T, F>(&'s self, work: impl Fn(Transaction<'s>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempts = Attempts::default();
        loop {
            let transaction = self.begin().await?;
            let result = match work(transaction.share()).await {
                Ok(done) => transaction.commit().await.map(|()| done),
                Err(error) => {
                    transaction.cancel().await;
                    Err(error)
                }
            };
            match result {
                Err(error) if attempts.may_repeat(&error) => attempts.pause().await,
                result => return result,
            }
        }
    }

    async fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        let (engine, era) = (self.engine(), self.era());
        let place = match &*engine {
            Engine::Server(connection) => Some(Arc::new(connection.place(self.answer_timeout).await?)),
            _ => None,
        };
        if place.is_some() && !Arc::ptr_eq(&self.engine(), &engine) {
            // It was lost meanwhile.
            return Err(self.closed());
        }
        let begun = self.answered(&engine, async {
            match &*engine {
                Engine::Embedded { database, .. } => Ok(Handle::Embedded(database.clone().begin().await?)),
                Engine::Memory(database) => Ok(Handle::Addressed(database.clone().begin().await?)),
                Engine::Server(connection) => Ok(Handle::Addressed(connection.session().begin().await?)),
                Engine::Closed => Err(self.closed()),
            }
        });
        let begun = begun.await.inspect_err(|error| {
            if let StoreError::Database(error) = error {
                self.note(&engine, error);
            }
        });
        Ok(Transaction {
            store: self,
            engine: Arc::clone(&engine),
            place,
            begun: Arc::new(begun.map_err(undone)?),
            _era: era,
            #[cfg(test)]
            fault: Arc::default(),
        })
    }
}

impl Transaction<'_> {
    /// Runs `sql` unchanged.
    pub(super) async fn run(&self, sql: &'static str, variables: Variables) -> Result<Results, StoreError> {
        #[cfg(test)]
        match super::tests::Fault::take(self.store, sql) {
            Some(fault) if fault.is_done => self.fault.store(true, std::sync::atomic::Ordering::Relaxed),
            Some(_) => return Err(StoreError::NoAnswer(std::time::Duration::ZERO)),
            None => {}
        }
        let query = async {
            match &*self.begun {
                Handle::Embedded(begun) => begun.query(sql).bind(variables).await,
                Handle::Addressed(begun) => begun.query(sql).bind(variables).await,
            }
        };
        let start = Instant::now();
        let results = async {
            let answer = self.store.answered(&self.engine, async { Ok(query.await) }).await?;
            METRICS.store_statement.since(start);
            self.store.reply(&self.engine, answer.inspect_err(|error| self.store.note(&self.engine, error))?)
        };
        results.await.map_err(undone)
    }

    /// Runs `sql`, which returns at most one row.
    pub(super) async fn one<T: SurrealValue>(
        &self,
        sql: &'static str,
        variables: Variables,
    ) -> Result<Option<T>, StoreError> {
        self.run(sql, variables).await?.optional::<T>(0).map_err(undone)
    }

    /// Runs `sql`, which returns any number of rows.
    pub(super) async fn rows<T: SurrealValue>(
        &self,
        sql: &'static str,
        variables: Variables,
    ) -> Result<Vec<T>, StoreError> {
        self.run(sql, variables).await?.rows::<T>(0).map_err(undone)
    }

    /// The rows of these ids, in their order; none for one that does not exist.
    pub(super) async fn rows_at(&self, ids: &[RecordId]) -> Result<Vec<Option<Row>>, StoreError> {
        let found = self.rows::<Value>(BY_ID, vars! { ids: ids.to_vec() }).await?;
        let mut found: Vec<(RecordId, Row)> = found.into_iter().filter_map(Row::of).collect();
        let mut row = |id: &RecordId| {
            let at = found.iter().position(|(other, _)| other == id)?;
            Some(found.swap_remove(at).1)
        };
        Ok(ids.iter().map(&mut row).collect())
    }

    /// Sets columns of a row, if it exists. For the engine this is less work than `SET`, which evaluates each column.
    pub(super) async fn merge(&self, id: RecordId, columns: impl SurrealValue) -> Result<(), StoreError> {
        self.run("UPDATE $id MERGE $columns RETURN NONE", vars! { id: id, columns: columns }).await.map(drop)
    }

    /// The maximum number of events of a stream.
    pub(super) fn stream_events_max(&self) -> i64 {
        self.store.stream_events_max
    }

    fn share(&self) -> Self {
        Self {
            store: self.store,
            engine: Arc::clone(&self.engine),
            place: self.place.clone(),
            begun: Arc::clone(&self.begun),
            _era: Arc::clone(&self._era),
            #[cfg(test)]
            fault: Arc::clone(&self.fault),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        let (store, engine) = (self.store, self.engine);
        // The closure has ended, and dropped its reference.
        let begun = Arc::into_inner(self.begun).ok_or(StoreError::Closed)?;
        let committed = async {
            match begun {
                Handle::Embedded(begun) => begun.commit().await.map(drop),
                Handle::Addressed(begun) => begun.commit().await.map(|session| keep(&engine, session)),
            }
        };
        let start = Instant::now();
        let committed = store.answered(&engine, async { Ok(committed.await) }).await?;
        METRICS.store_commit.since(start);
        committed.inspect_err(|error| store.note(&engine, error))?;
        #[cfg(test)]
        if self.fault.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::NoAnswer(std::time::Duration::ZERO));
        }
        Ok(())
    }

    /// Rolls back. If that fails, nothing is committed either.
    async fn cancel(self) {
        let engine = self.engine;
        let Some(begun) = Arc::into_inner(self.begun) else { return };
        let cancelled = async {
            match begun {
                Handle::Embedded(begun) => begun.cancel().await.map(drop),
                Handle::Addressed(begun) => begun.cancel().await.map(|session| keep(&engine, session)),
            }
        };
        if let Ok(Err(error)) = self.store.answered(&engine, async { Ok(cancelled.await) }).await {
            tracing::debug!(%error, "a transaction could not be rolled back cleanly");
        }
    }
}

/// Keeps the session of a transaction that has ended, if a new one would have to sign in.
fn keep(engine: &Engine, session: Surreal<Any>) {
    if let Engine::Server(connection) = engine {
        connection.keep(session);
    }
}

/// An error before the commit, after which nothing is changed.
fn undone(error: StoreError) -> StoreError {
    match unless_lost(error) {
        StoreError::Database(error) => StoreError::Undone(error),
        other => other,
    }
}
