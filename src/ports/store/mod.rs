//! The database: SurrealDB, embedded on disk by default.
//!
//! Each method is one query or one transaction of the domain; SurrealQL is static text and values are bound. A conflict
//! of two writers is retried here and nowhere else. If the rules of a transaction refuse it, the result is a
//! [`Refusal`], which the transaction's text throws.

mod accounts;
mod asked;
mod audit;
mod backup;
mod chats;
mod consent;
mod content;
mod dump;
mod engine;
mod erase;
mod erased_marks;
mod erasure;
mod folder;
mod friends;
mod household;
mod identity;
mod joined;
mod kept_words;
mod looks;
mod mend;
mod message_row;
mod places;
mod positions;
mod pushes;
mod receipts;
mod recovery;
mod reminders;
mod requests;
mod rest;
mod restoring;
mod retained;
mod retention;
mod rows;
mod server;
mod server_export;
mod sessions;
mod streams;
#[cfg(test)]
mod tests;
mod tickets;
mod toy_voices;
mod toys;
mod transaction;
mod tunnel;
mod turns;
mod unread;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rand::RngExt;
use surrealdb::IndexedResults;
use surrealdb::types::{Error as DatabaseError, ErrorDetails, QueryError, SurrealValue, Variables, vars};

use crate::model::HubId;
use crate::ports::metrics::METRICS;
use crate::ports::progress::{Progress, Unit};
use engine::{Engine, end, open_engine};
use recovery::Contact;
use server::Connection;

pub use accounts::{PartyAt, StoredUser};
pub use backup::schema_version;
pub use chats::{Before, Kept, NewMessage, PartiesOfSound, Repeats};
pub use dump::{Dump, read_dump};
pub use erase::StoredMessage;
pub use erasure::{ChatErasure, DeviceAfter, Erasing, Erasure};
pub use folder::{check_files, damage, flushed_writes, is_open};
pub use friends::{Block, NewEntry, Unfriended};
pub use household::{Joining, NewInvite, OpenInvite};
pub use mend::{ChatCheck, EntryKey, MessagePlace, SoundOfMessage, StreamCheck};
pub use places::ProvenPlace;
pub use receipts::{Delivered, ReadMessages};
pub use requests::{Befriended, Consent, NewFriendRequest};
pub use rest::RestingToy;
pub use restoring::RestoreState;
pub use retained::{RetainedChange, RetainedMessage};
pub use server::{Server, UserLevel};
pub use sessions::SessionOwner;
pub use streams::Missed;
#[cfg(test)]
pub(crate) use tests::Fault;
pub use tickets::NewTicket;
pub use toys::{NewToy, StoredDevice};
pub use unread::{BatchMark, BatchUndo, UnreadMessage};

const SCHEMA: &str = include_str!("schema.surql");
/// How long an import may take.
const IMPORT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Raised with every change of `schema.surql`, and with words in its rows that an older program does not know.
const SCHEMA_VERSION: i64 = 20;
/// The migration of a database of version 1. Like `schema.surql` it can be repeated, as an interrupted start begins
/// again.
const FROM_VERSION_1: &str = "UPDATE friend SET delivered_seq = read_seq WHERE delivered_seq = NONE";
/// The maximum number of attempts of a transaction with conflicts.
const TRIES: u32 = 10;
/// The interval of checks for the end of earlier queries.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The location of the data.
    pub place: Location,
    /// The namespace.
    pub namespace: String,
    /// The database in the namespace.
    pub database: String,
    /// The timeout of a query in this process.
    pub query_timeout: Duration,
    /// Events that are kept of each user's stream.
    pub stream_events_max: usize,
}

/// The location of the data.
#[derive(Debug, Clone)]
pub enum Location {
    /// In a folder, by SurrealKV in this process.
    Folder {
        /// The folder; one process at a time.
        path: std::path::PathBuf,
        /// The engine's block cache.
        block_cache_bytes: u64,
        /// The engine's write buffer.
        memtable_bytes: u64,
    },
    /// In the memory of this process; lost at its end.
    Memory,
    /// On a SurrealDB server.
    Server(Server),
}

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A rule of the data refused it; nothing was changed.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] DatabaseError),
    /// The database failed before the commit of a transaction, which is rolled back.
    #[error("database, before the commit: {0}")]
    Undone(#[source] DatabaseError),
    /// The engine could not be opened.
    #[error("cannot open the database: {0}")]
    Open(String),
    /// The engine is being reopened.
    #[error("the database is being reopened")]
    Closed,
    /// The server has not answered lately: the request was not sent.
    #[error("the database server is lost")]
    Lost,
    /// Too many transactions wait for the server.
    #[error("too many transactions wait for the database server")]
    Busy,
    /// The database has not answered in time; it may complete the query all the same.
    #[error("the database has not answered in {0:?}")]
    NoAnswer(Duration),
    /// The export or import of the database failed.
    #[error("the database cannot be copied: {0}")]
    Copy(String),
    /// The file that it is copied to or read from.
    #[error("the copy of the database: {0}")]
    CopyFile(#[from] std::io::Error),
    /// Others change the rows faster than they can be counted; nothing was changed.
    #[error("rows change faster than they can be counted")]
    Changing,
    /// Stored data that this version cannot read.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// The store was written by a newer version.
    #[error("the database has schema version {found}, this program knows {SCHEMA_VERSION}; start the newer program")]
    Newer {
        /// The version found.
        found: i64,
    },
}

impl StoreError {
    /// Whether the database was only too slow, without a known fault.
    pub fn is_late(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Database(error) | Self::Undone(error) => {
                matches!(error.details(), ErrorDetails::Query(Some(QueryError::TimedOut { .. })))
            }
            _ => false,
        }
    }

    /// Whether a transaction lost against others, as often as it was tried. Nothing was changed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) | Self::Undone(error) if is_conflict(error))
    }

    /// Whether a record was to be created whose id another one has.
    fn is_record_taken(&self) -> bool {
        let (Self::Database(error) | Self::Undone(error)) = self else { return false };
        matches!(error.details(), ErrorDetails::AlreadyExists(_)) || error.message().starts_with("Database record")
    }

    /// Whether a message was to be created whose sound another one has.
    fn is_sound_taken(&self) -> bool {
        let (Self::Database(error) | Self::Undone(error)) = self else { return false };
        error.message().contains("index `message_sound` already contains")
    }

    /// Whether it is certain that nothing was changed. Otherwise the transaction may have been committed: the error
    /// occurred during the commit, or instead of its answer.
    pub fn has_changed_nothing(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::Undone(_)
            | Self::Open(_)
            | Self::Closed
            | Self::Lost
            | Self::Busy
            | Self::Changing
            | Self::Newer { .. } => true,
            // The results of a transaction are read after its commit.
            Self::Corrupt(_) | Self::NoAnswer(_) | Self::Copy(_) | Self::CopyFile(_) => false,
            Self::Database(error) => {
                let is_not_executed = matches!(
                    error.details(),
                    ErrorDetails::Query(Some(QueryError::NotExecuted | QueryError::TransactionConflict))
                        | ErrorDetails::Validation(_)
                        | ErrorDetails::Configuration(_)
                        | ErrorDetails::NotAllowed(_)
                        | ErrorDetails::NotFound(_)
                        | ErrorDetails::AlreadyExists(_)
                        | ErrorDetails::Thrown
                );
                is_not_executed || is_conflict(error)
            }
        }
    }
}

/// Rules that a transaction checks on the data that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The user name belongs to another account.
    NameTaken,
    /// No such user or toy.
    UnknownParty,
    /// No such device.
    UnknownDevice,
    /// The device is this toy already.
    DeviceBound(crate::model::ToyId),
    /// No such chat, or not one of the caller's.
    UnknownChat,
    /// No such message, or not one to the caller.
    UnknownMessage,
    /// No such friend request, or not one that the caller may answer.
    UnknownRequest,
    /// The two are not friends.
    NotFriends,
    /// The two are already friends.
    AlreadyFriends,
    /// The same request has not been answered yet.
    AlreadyRequested,
    /// The request was answered.
    AlreadyAnswered,
    /// The same request was refused at this time, in seconds since 1970.
    RefusedLately(u64),
    /// The requester has blocked the recipient.
    Blocked,
    /// The invitation is unknown, is for another purpose, was used or has expired.
    UnknownInvite,
    /// The user is a guardian of the toy.
    AlreadyGuardian,
    /// The toy has the maximum number of guardians.
    GuardiansFull,
    /// An issuer has the maximum number of unused invitations.
    InvitesFull,
    /// An address book is full.
    BookFull,
    /// The answerer has too many unanswered requests.
    RequestsFull,
    /// A chat's row is lost or behind its messages; or it has changed during its repair.
    DamagedChat,
}

impl Refusal {
    /// Parses the text that a transaction threw; the words are in the transactions' texts.
    fn parse(message: &str) -> Option<Self> {
        let word = message.split("toyhub:").nth(1)?;
        let word = word.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ' ')).next()?;
        Some(match word.split(' ').next()? {
            "name_taken" => Self::NameTaken,
            "unknown_party" => Self::UnknownParty,
            "unknown_device" => Self::UnknownDevice,
            "device_bound" => Self::DeviceBound(word.split(' ').nth(1)?.parse().ok()?),
            "unknown_chat" => Self::UnknownChat,
            "unknown_message" => Self::UnknownMessage,
            "unknown_request" => Self::UnknownRequest,
            "not_friends" => Self::NotFriends,
            "already_friends" => Self::AlreadyFriends,
            "already_requested" => Self::AlreadyRequested,
            "already_answered" => Self::AlreadyAnswered,
            "blocked" => Self::Blocked,
            "unknown_invite" => Self::UnknownInvite,
            "already_guardian" => Self::AlreadyGuardian,
            "guardians_full" => Self::GuardiansFull,
            "invites_full" => Self::InvitesFull,
            "book_full" => Self::BookFull,
            "requests_full" => Self::RequestsFull,
            "damaged_chat" => Self::DamagedChat,
            _ => return None,
        })
    }
}

/// The open store.
pub struct Store {
    engine: RwLock<Arc<Engine>>,
    settings: StoreSettings,
    has_stopped: AtomicBool,
    contact: Contact,
    /// The hub of this database, once it is prepared.
    hub: OnceLock<HubId>,
    /// Events that are kept of each user's stream.
    stream_events_max: i64,
    turns: turns::Turns,
    reads: joined::Reads,
    /// Shared by all queries that have begun since the last [`Self::settle`].
    era: RwLock<Arc<()>>,
    /// The timeout of an answer. An embedded engine has its own limit, and completes a query that it has begun.
    answer_timeout: Option<Duration>,
    #[cfg(test)]
    pub(crate) fault: std::sync::Mutex<Option<tests::Fault>>,
}

impl Store {
    /// Opens the store and changes nothing in it; [`Self::prepare`] comes next.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        Self::open_watched(settings, &Progress::unwatched()).await
    }

    /// As [`Self::open`], for somebody who waits: the conversion of an old database may take long.
    pub async fn open_watched(settings: &StoreSettings, progress: &Progress) -> Result<Self, StoreError> {
        Ok(Self::over(open_engine(settings, progress).await?, settings))
    }

    /// As [`Self::open`], for a database that [`Self::import_from`] fills: for the engine an import is one query of any
    /// number of rows, so it has a time limit of its own.
    pub async fn open_to_import(settings: &StoreSettings) -> Result<Self, StoreError> {
        Self::open(&StoreSettings { query_timeout: IMPORT_MAX, ..settings.clone() }).await
    }

    fn over(engine: Engine, settings: &StoreSettings) -> Self {
        Self {
            engine: RwLock::new(Arc::new(engine)),
            settings: settings.clone(),
            has_stopped: AtomicBool::new(false),
            contact: Contact::default(),
            hub: OnceLock::new(),
            stream_events_max: i64::try_from(settings.stream_events_max).unwrap_or(i64::MAX),
            turns: turns::Turns::default(),
            reads: joined::Reads::default(),
            era: RwLock::default(),
            answer_timeout: match &settings.place {
                Location::Folder { .. } => None,
                Location::Memory => Some(settings.query_timeout),
                Location::Server(server) => Some(server.answer_timeout),
            },
            #[cfg(test)]
            fault: std::sync::Mutex::default(),
        }
    }

    /// Migrates the schema, and records the hub that the database belongs to. Returns that hub: another hub over the
    /// same server may have started first.
    pub async fn prepare(&self, hub: &HubId, progress: &Progress) -> Result<HubId, StoreError> {
        self.apply_schema(progress).await?;
        let recorded = "UPSERT ONLY meta:identity SET hub = hub ?? $hub RETURN VALUE hub";
        let mut reply = self.run(recorded, vars! { hub: hub.as_str() }).await?;
        let hub: HubId = stored(&reply.optional::<String>(0)?.unwrap_or_default())?;
        let _ = self.hub.set(hub.clone());
        Ok(hub)
    }

    /// Closes the engine. After this the folder can be opened again.
    pub async fn close(&self) -> Result<(), StoreError> {
        end(&self.engine()).await?;
        // Dropping the engine would shut the datastore down once more, which would report an error.
        self.abandon();
        Ok(())
    }

    /// Leaks the engine: as after a crash, nothing is flushed when the process ends.
    pub fn abandon(&self) {
        std::mem::forget(self.engine());
    }

    async fn apply_schema(&self, progress: &Progress) -> Result<(), StoreError> {
        let found = self.noted::<i64>("SELECT VALUE version FROM ONLY meta:schema").await?.unwrap_or(0);
        if found > SCHEMA_VERSION {
            return Err(StoreError::Newer { found });
        }
        if found < SCHEMA_VERSION {
            // Table by table, so that the time limit of a query applies to each: a first start may run on a busy
            // machine.
            let tables: Vec<&str> = SCHEMA.split("\n\n").filter(|part| part.contains("DEFINE")).collect();
            // A new database has nothing that would have to be migrated.
            let counter =
                (found > 0).then(|| progress.begin("migrating the tables", Some(tables.len() as u64), Unit::Items));
            for table in tables {
                self.run_slowly(table, Variables::new()).await?;
                if let Some(counter) = &counter {
                    counter.add(1);
                }
            }
            if found == 1 {
                self.run_slowly(FROM_VERSION_1, Variables::new()).await?;
            }
            if (1..11).contains(&found) {
                self.note_looks().await?;
            }
            let mut variables = Variables::new();
            variables.insert("version", SCHEMA_VERSION);
            self.run("UPSERT meta:schema SET version = $version", variables).await?;
        }
        Ok(())
    }

    /// One value of the database's metadata; none in a new database, which has no such table yet.
    async fn noted<T: SurrealValue>(&self, sql: &'static str) -> Result<Option<T>, StoreError> {
        match self.run(sql, Variables::new()).await {
            Ok(mut reply) => reply.optional::<T>(0),
            Err(StoreError::Database(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `sql` unchanged. After a conflict with another writer it tries again, after a random pause.
    async fn run(&self, sql: &'static str, variables: Variables) -> Result<Results, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            #[cfg(test)]
            if let Some(error) = tests::Fault::apply(self, sql, &variables).await {
                return Err(error);
            }
            match self.run_once(sql, variables.clone()).await {
                Err(error) if attempts.may_repeat(&error) => attempts.pause().await,
                result => return result,
            }
        }
    }

    /// As [`Self::run`], for a start or stop, which may read whole tables: a server has more time for it.
    async fn run_slowly(&self, sql: &'static str, variables: Variables) -> Result<Results, StoreError> {
        let limit = self.slow_limit();
        let mut attempts = Attempts::default();
        loop {
            match self.run_within(limit, sql, variables.clone()).await {
                Err(error) if attempts.may_repeat(&error) => attempts.pause().await,
                result => return result,
            }
        }
    }

    /// The time that a server has for a query that may read whole tables.
    fn slow_limit(&self) -> Option<Duration> {
        self.answer_timeout.map(|limit| limit.max(self.settings.query_timeout))
    }

    async fn run_once(&self, sql: &'static str, variables: Variables) -> Result<Results, StoreError> {
        self.run_within(self.answer_timeout, sql, variables).await
    }

    async fn run_within(
        &self,
        limit: Option<Duration>,
        sql: &'static str,
        variables: Variables,
    ) -> Result<Results, StoreError> {
        let _era = self.era();
        let engine = self.engine();
        let query = async {
            match &*engine {
                Engine::Embedded { database, .. } => Ok(database.query(sql).bind(variables).await),
                Engine::Memory(database) | Engine::Server(Connection { database, .. }) => {
                    Ok(database.query(sql).bind(variables).await)
                }
                Engine::Closed => Err(self.closed()),
            }
        };
        let start = Instant::now();
        let results = async {
            let answer = self.answered_within(limit, &engine, query).await?;
            METRICS.store_statement.since(start);
            self.reply(&engine, answer.inspect_err(|error| self.note(&engine, error))?)
        };
        // A read changes nothing, whether or not it was executed.
        if sql.starts_with("SELECT") { results.await.map_err(unless_lost) } else { results.await }
    }

    /// Held by a query for as long as it reads.
    fn era(&self) -> Arc<()> {
        Arc::clone(&self.era.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when all earlier queries and transactions have ended, so that none reads old versions of rows.
    async fn settle(&self) {
        let before = std::mem::take(&mut *self.era.write().unwrap_or_else(PoisonError::into_inner));
        while Arc::strong_count(&before) > 1 {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Awaits the database, up to the timeout. A server that does not answer in time is lost.
    async fn answered<T>(
        &self,
        engine: &Arc<Engine>,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.answered_within(self.answer_timeout, engine, question).await
    }

    async fn answered_within<T>(
        &self,
        limit: Option<Duration>,
        engine: &Arc<Engine>,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(limit) = limit else { return question.await };
        match tokio::time::timeout(limit, question).await {
            Ok(answer) => answer,
            Err(_) => {
                let error = StoreError::NoAnswer(limit);
                self.lose(engine, &error);
                Err(error)
            }
        }
    }

    /// The results of a query, unless a statement has failed.
    fn reply(&self, engine: &Arc<Engine>, mut results: IndexedResults) -> Result<Results, StoreError> {
        let errors = results.take_errors();
        if errors.is_empty() {
            return Ok(Results(results));
        }
        // In a failed transaction the errors of the other statements only state that they did not run.
        let telling = errors.values().find_map(|error| Refusal::parse(error.message()));
        if let Some(refusal) = telling {
            return Err(StoreError::Refused(refusal));
        }
        let mut errors: Vec<_> = errors.into_values().collect();
        errors.iter().for_each(|error| self.note(engine, error));
        let first = errors
            .iter()
            .position(is_conflict)
            .or_else(|| errors.iter().position(|error| !error.message().contains("not executed")));
        Err(StoreError::Database(errors.swap_remove(first.unwrap_or(0))))
    }
}

/// The error of a request that has changed nothing: if the server was lost before its answer, only that.
fn unless_lost(error: StoreError) -> StoreError {
    match error {
        StoreError::NoAnswer(_) => StoreError::Lost,
        StoreError::Database(cause) | StoreError::Undone(cause) if server::is_loss(&cause) => StoreError::Lost,
        error => error,
    }
}

/// The attempts of an operation that may conflict with another writer.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Counts an attempt that ended with `error`. Returns whether there may be another.
    fn may_repeat(&mut self, error: &StoreError) -> bool {
        self.0 += 1;
        error.is_conflict() && self.0 < TRIES
    }

    /// A random pause, longer after each attempt.
    async fn pause(&self) {
        let pause_ms = rand::rng().random_range(1..=4u64 << self.0.min(6));
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Whether the transaction had a conflict with another one. Some paths reduce the typed error to its text.
fn is_conflict(error: &DatabaseError) -> bool {
    let text = error.message();
    text.contains("ransaction conflict")
        || text.contains("ransaction retry required")
        || text.contains("can be retried")
}

/// The results of a query, by the number of the statement.
struct Results(IndexedResults);

impl Results {
    /// At most one row.
    fn optional<T: SurrealValue>(&mut self, statement: usize) -> Result<Option<T>, StoreError> {
        Ok(self.0.take::<Option<T>>(statement)?)
    }

    /// Any number of rows.
    fn rows<T: SurrealValue>(&mut self, statement: usize) -> Result<Vec<T>, StoreError> {
        Ok(self.0.take::<Vec<T>>(statement)?)
    }
}

/// Parses a stored text that was valid when it was written.
fn stored<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))
}

/// The party of a stored kind and id.
fn stored_party(kind: &str, id: &str) -> Result<crate::model::Party, StoreError> {
    let kind = match kind {
        "app" => crate::model::PartyKind::App,
        "toy" => crate::model::PartyKind::Toy,
        _ => return Err(StoreError::Corrupt("unknown kind of party".into())),
    };
    Ok(crate::model::Party::new(kind, &stored(id)?))
}

/// A stored count or number, which is never negative.
fn stored_number(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("a negative number".into()))
}
