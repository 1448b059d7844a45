//! What the hub remembers: SurrealDB, embedded on disk by default.
//!
//! Each method is one question or one transaction of the domain; SurrealQL is
//! static text and values are bound. A conflict of two writers is retried here
//! and nowhere else. What the rules of a transaction refuse comes back as a
//! [`Refusal`], which the transaction's text throws.

mod accounts;
mod audit;
mod backup;
mod chats;
mod consent;
mod content;
mod dump;
mod engine;
mod erase;
mod erasure;
mod folder;
mod friends;
mod household;
mod identity;
mod looks;
mod mend;
mod message_row;
mod places;
mod receipts;
mod recovery;
mod requests;
mod rest;
mod retention;
mod streams;
#[cfg(test)]
mod tests;
mod toys;
mod transaction;
mod turns;
mod unread;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand::RngExt;
use surrealdb::IndexedResults;
use surrealdb::types::{Error as DatabaseError, ErrorDetails, QueryError, SurrealValue, Variables, vars};

use crate::model::HubId;
use engine::{Engine, end, open_engine};

pub use accounts::StoredUser;
pub use backup::schema_version;
pub use chats::{Before, Kept, NewMessage, Repeats};
pub use dump::{Dump, read_dump};
pub use erase::StoredMessage;
pub use erasure::{ChatErasure, DeviceAfter, Erasing, Erasure};
pub use folder::{check_files, damage, flushed_writes, is_open};
pub use friends::{Block, NewEntry, Unfriended};
pub use household::{NewInvite, OpenInvite};
pub use mend::{ChatCheck, EntryKey, MessagePlace, SoundOfMessage, StreamCheck};
pub use places::ProvenPlace;
pub use receipts::{Delivered, Heard};
pub use requests::{Befriended, Consent, NewFriendRequest};
pub use rest::RestingToy;
pub use streams::Missed;
#[cfg(test)]
pub(crate) use tests::Fault;
pub use toys::NewToy;
pub use unread::Unheard;

const SCHEMA: &str = include_str!("schema.surql");
/// How long an import may take.
const IMPORT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Raised with every change of `schema.surql`.
const SCHEMA_VERSION: i64 = 11;
/// What a database of version 1 lacks. Repeating it changes nothing, as `schema.surql` does: a start that was cut off
/// begins again.
const FROM_VERSION_1: &str = "UPDATE friend SET delivered_seq = read_seq WHERE delivered_seq = NONE";
/// How often a transaction that met a conflict is tried in all.
const TRIES: u32 = 10;
/// How often the end of earlier questions is looked for.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where the data is.
    pub place: Place,
    /// The namespace.
    pub namespace: String,
    /// The database in the namespace.
    pub database: String,
    /// How long one query may take.
    pub query_timeout: Duration,
    /// Events that are kept of each user's stream.
    pub stream_events_max: usize,
}

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a folder, by SurrealKV in this process.
    Folder {
        /// The folder; one process at a time.
        path: std::path::PathBuf,
        /// The engine's block cache.
        block_cache_bytes: u64,
        /// The engine's write buffer.
        memtable_bytes: u64,
    },
    /// In this process's memory: gone at its end.
    Memory,
    /// On a SurrealDB server.
    Server {
        /// `ws://…` or `wss://…`
        url: String,
        /// A root user.
        username: String,
        /// Its password.
        password: crate::model::Secret,
    },
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A rule of the data refuses it; nothing was changed.
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
    /// The engine is being opened again.
    #[error("the database is being opened again")]
    Closed,
    /// The database has not answered in time; it may do what was asked all the same.
    #[error("the database has not answered in {0:?}")]
    NoAnswer(Duration),
    /// The database was not copied to a file, or not read from one.
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
    /// Whether the database was too slow: nothing is known to be wrong with it.
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

    /// Whether it is certain that nothing was changed. Otherwise the transaction may have been committed: the error came
    /// while it was, or instead of the answer to it.
    pub fn has_changed_nothing(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Undone(_) | Self::Open(_) | Self::Closed | Self::Changing | Self::Newer { .. } => {
                true
            }
            // What a transaction returns is read after its commit.
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
    /// No such chat, or not the asker's.
    UnknownChat,
    /// No such message, or not one to the asker.
    UnknownMessage,
    /// No such request, or not the asker's to answer.
    UnknownRequest,
    /// No address book entry joins the two.
    NotFriends,
    /// An entry joins the two already.
    AlreadyFriends,
    /// The same request waits.
    AlreadyRequested,
    /// The request was answered.
    AlreadyAnswered,
    /// The same request was refused at this time, in seconds since 1970.
    RefusedLately(u64),
    /// The requester has blocked the requestee.
    Blocked,
    /// No such invitation, or not for this; or it was used, or has expired.
    UnknownInvite,
    /// The user is a guardian of the toy.
    AlreadyGuardian,
    /// The toy has as many guardians as it may have.
    GuardiansFull,
    /// An issuer has as many open invitations as it may have.
    InvitesFull,
    /// An address book is full.
    BookFull,
    /// Too many requests wait for the answerer.
    RequestsFull,
    /// A chat's row is lost or behind its messages; or it has changed while it was mended.
    DamagedChat,
}

impl Refusal {
    /// Reads what a transaction threw; the words stand in the transactions' texts.
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
    /// Events that are kept of each user's stream.
    stream_events_max: i64,
    turns: turns::Turns,
    /// Shared by all questions that have begun since the last [`Self::settle`].
    era: RwLock<Arc<()>>,
    /// How long an answer is awaited. An embedded engine keeps to its own limit, and ends what it has begun.
    answer_timeout: Option<Duration>,
    #[cfg(test)]
    pub(crate) fault: std::sync::Mutex<Option<tests::Fault>>,
}

impl Store {
    /// Opens the store and changes nothing in it; [`Self::prepare`] comes next.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        Ok(Self::over(open_engine(settings).await?, settings))
    }

    /// As [`Self::open`], for a database that [`Self::import_from`] fills: to the engine that is one query, of however
    /// many rows, so it has a time limit of its own.
    pub async fn open_to_import(settings: &StoreSettings) -> Result<Self, StoreError> {
        Self::open(&StoreSettings { query_timeout: IMPORT_MAX, ..settings.clone() }).await
    }

    fn over(engine: Engine, settings: &StoreSettings) -> Self {
        Self {
            engine: RwLock::new(Arc::new(engine)),
            settings: settings.clone(),
            has_stopped: AtomicBool::new(false),
            stream_events_max: i64::try_from(settings.stream_events_max).unwrap_or(i64::MAX),
            turns: turns::Turns::default(),
            era: RwLock::default(),
            answer_timeout: match settings.place {
                Place::Folder { .. } => None,
                Place::Memory | Place::Server { .. } => Some(settings.query_timeout),
            },
            #[cfg(test)]
            fault: std::sync::Mutex::default(),
        }
    }

    /// Brings the schema up to date, and notes whose database this is.
    pub async fn prepare(&self, hub: &HubId) -> Result<(), StoreError> {
        self.apply_schema().await?;
        self.run("UPSERT meta:identity SET hub = $hub", vars! { hub: hub.as_str() }).await?;
        Ok(())
    }

    /// Ends the engine: after this the folder may be opened again.
    pub async fn close(&self) -> Result<(), StoreError> {
        end(&self.engine()).await?;
        // The engine's drop would shut the datastore down once more, which then reports an error for what is over.
        self.abandon();
        Ok(())
    }

    /// Keeps the engine for good: as after a crash, nothing is flushed when the process ends.
    pub fn abandon(&self) {
        std::mem::forget(self.engine());
    }

    async fn apply_schema(&self) -> Result<(), StoreError> {
        let found = self.noted::<i64>("SELECT VALUE version FROM ONLY meta:schema").await?.unwrap_or(0);
        if found > SCHEMA_VERSION {
            return Err(StoreError::Newer { found });
        }
        if found < SCHEMA_VERSION {
            // Table by table: the time limit of a query is for each, and a first start may meet a machine that is busy.
            for table in SCHEMA.split("\n\n").filter(|part| part.contains("DEFINE")) {
                self.run(table, Variables::new()).await?;
            }
            if found == 1 {
                self.run(FROM_VERSION_1, Variables::new()).await?;
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

    /// One value that a database notes of itself; none in a new database, which has no such table yet.
    async fn noted<T: SurrealValue>(&self, sql: &'static str) -> Result<Option<T>, StoreError> {
        match self.run(sql, Variables::new()).await {
            Ok(mut reply) => reply.optional::<T>(0),
            Err(StoreError::Database(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `sql` as it stands; tries again, after a random pause, what lost against another writer.
    async fn run(&self, sql: &'static str, variables: Variables) -> Result<Reply, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            #[cfg(test)]
            if let Some(error) = tests::Fault::meet(self, sql, &variables).await {
                return Err(error);
            }
            match self.run_once(sql, variables.clone()).await {
                Err(error) if attempts.may_repeat(&error) => attempts.pause().await,
                result => return result,
            }
        }
    }

    async fn run_once(&self, sql: &'static str, variables: Variables) -> Result<Reply, StoreError> {
        let _era = self.era();
        let engine = self.engine();
        let query = async {
            match &*engine {
                Engine::Embedded { database, .. } => Ok(database.query(sql).bind(variables).await),
                Engine::Addressed(database) => Ok(database.query(sql).bind(variables).await),
                Engine::Closed => Err(StoreError::Closed),
            }
        };
        let results = self.answered(query).await?.inspect_err(|error| self.note(error))?;
        self.reply(results)
    }

    /// Held by a question for as long as it reads.
    fn era(&self) -> Arc<()> {
        Arc::clone(&self.era.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when every question and transaction has ended that began before: none reads old versions of rows then.
    async fn settle(&self) {
        let before = std::mem::take(&mut *self.era.write().unwrap_or_else(PoisonError::into_inner));
        while Arc::strong_count(&before) > 1 {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Awaits the database, as long as it may take.
    async fn answered<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.answer_timeout {
            Some(limit) => tokio::time::timeout(limit, question).await.map_err(|_| StoreError::NoAnswer(limit))?,
            None => question.await,
        }
    }

    /// The results of a query of which no statement has failed.
    fn reply(&self, mut results: IndexedResults) -> Result<Reply, StoreError> {
        let errors = results.take_errors();
        if errors.is_empty() {
            return Ok(Reply(results));
        }
        // In a failed transaction the other statements only say that they did not run.
        let telling = errors.values().find_map(|error| Refusal::parse(error.message()));
        if let Some(refusal) = telling {
            return Err(StoreError::Refused(refusal));
        }
        let mut errors: Vec<_> = errors.into_values().collect();
        errors.iter().for_each(|error| self.note(error));
        let first = errors
            .iter()
            .position(is_conflict)
            .or_else(|| errors.iter().position(|error| !error.message().contains("not executed")));
        Err(StoreError::Database(errors.swap_remove(first.unwrap_or(0))))
    }
}

/// How often something was tried that lost against another writer.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Counts a try that ended with `error`; whether there may be another.
    fn may_repeat(&mut self, error: &StoreError) -> bool {
        self.0 += 1;
        error.is_conflict() && self.0 < TRIES
    }

    /// A random pause, longer after each try.
    async fn pause(&self) {
        let pause_ms = rand::rng().random_range(1..=4u64 << self.0.min(6));
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Whether the transaction lost against another one. Some paths flatten the typed error to its text.
fn is_conflict(error: &DatabaseError) -> bool {
    let text = error.message();
    text.contains("ransaction conflict")
        || text.contains("ransaction retry required")
        || text.contains("can be retried")
}

/// The results of a query, by the number of the statement.
struct Reply(IndexedResults);

impl Reply {
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
