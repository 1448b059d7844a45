//! The writing thread: it takes orders, commits them, and reopens the file after a failure.
//!
//! ```text
//!           ┌── orders ──▶ batch ──▶ one transaction ──▶ commit ──▶ answers ──┐
//! Writable ─┴─────────────────────────────────────────────────────────────────┘
//!     ▲                                  │ fails (no space, I/O error, damage)
//!     │ opened, missing changes written     ▼
//!     └──────────────── Failed: nothing is answered; tries to open, at growing intervals
//! ```
//!
//! After a failed commit `redb` refuses everything until it is reopened. The file then has the state of the last
//! commit, and memory is ahead of it. Most missing changes are repeated: they were not acknowledged, so publishers,
//! subscribers and acknowledging clients send them again. Changes that no client repeats are kept as `Missing` and
//! written first.
//!
//! The outcome of a failed commit is unknown: if the error came from the sync, or `redb` wrote its last pages as it was
//! closed, the commit is in the reopened file. Its messages are repeated by their publishers all the same, so they are
//! deleted before anything else happens, and a message of QoS 2 is not stored twice.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableDatabase as _};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};

use super::copy;
use super::file::{self, DiskError, Opened, Opener};
use super::tables::{Tables, Tallies};
use super::{DiskLimits, Entry, ForwardId, Op, SessionId, StorageState, now};
use crate::model::{Timestamp, Topic};
use crate::ports::metrics::METRICS;
use crate::ports::router::Publication;

/// The maximum number of consecutive commits without a sync; such a commit only deletes delivered messages.
const LAZY_COMMITS_MAX: u32 = 64;
/// The first pause before a failed file is opened again; it doubles up to [`REOPEN_PAUSE_MAX`].
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause, and so the longest delay after the disk has free space again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an order waits while the file is not open, before it is refused.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// The state of the thread.
pub(super) struct Writer {
    opener: Opener,
    /// The name of the file in errors.
    name: String,
    /// The path of the file; none in memory.
    path: Option<PathBuf>,
    /// None after a failure, until it is reopened.
    database: Option<Database>,
    tallies: Tallies,
    limits: DiskLimits,
    state: watch::Sender<StorageState>,
    dropped: Arc<AtomicU64>,
    gate: Arc<RwLock<()>>,
    lazy_commits: u32,
    missing: Missing,
    pause: Duration,
    open_at: Instant,
}

/// The orders for the reopened file: changes that are missing in it after failed commits, and that no client repeats, and
/// the deletion of messages that it may have, and that clients do repeat. They are bounded by the sessions that have ended
/// or changed their lifetime, by the topics of retained messages, by the publications that wait for the broker, and by one
/// commit: a file that is not open fails none.
#[derive(Default)]
struct Missing {
    ended: HashSet<SessionId>,
    lifetimes: HashMap<SessionId, (u32, Timestamp)>,
    retained: HashMap<Topic, (Arc<Publication>, Timestamp)>,
    /// The messages of the commit whose outcome is unknown, and the packet ids that were stored with them.
    doubtful_messages: Vec<(SessionId, u64)>,
    doubtful_ids: Vec<(SessionId, u16)>,
    /// The publications for other hubs of that commit, and those that the broker has.
    forwarded: HashSet<ForwardId>,
}

impl Missing {
    /// Notes a commit of unknown outcome, whose messages were refused and will be repeated.
    fn note_doubtful(&mut self, batch: &[Op]) {
        for op in batch {
            match op {
                Op::Enqueue { session, entry, .. } => self.doubtful_messages.push((*session, entry.seq)),
                Op::Received { session, id } => self.doubtful_ids.push((*session, *id)),
                Op::Forward { id, .. } => drop(self.forwarded.insert(*id)),
                _ => {}
            }
        }
    }

    fn note(&mut self, batch: &[Op]) {
        for op in batch {
            match op {
                Op::End { session } => {
                    self.lifetimes.remove(session);
                    self.ended.insert(*session);
                }
                Op::Lifetime { session, expiry_s, ended_at } => {
                    self.lifetimes.insert(*session, (*expiry_s, *ended_at));
                }
                Op::Retain { publication, version } => {
                    self.retained.insert(publication.topic.clone(), (Arc::clone(publication), *version));
                }
                Op::Forwarded { ids } => self.forwarded.extend(ids),
                // The sender of one of these gets an error and repeats it. A message whose acknowledgement is lost is
                // delivered and acknowledged once more. The next start records the hub of the file. What was not stored of
                // another hub comes again.
                Op::Claim { .. }
                | Op::Open { .. }
                | Op::Subscribe { .. }
                | Op::Unsubscribe { .. }
                | Op::Enqueue { .. }
                | Op::Forget { .. }
                | Op::Release { .. }
                | Op::Received { .. }
                | Op::Completed { .. }
                | Op::Forward { .. }
                | Op::Heard(_)
                | Op::Page { .. }
                | Op::Barrier(_)
                | Op::Snapshot(_)
                // The caller of these gets an error, and orders them again.
                | Op::Erase { .. }
                | Op::WriteAnew(_)
                | Op::Stop(_) => {}
            }
        }
    }

    /// All these orders.
    fn ops(&self) -> Vec<Op> {
        let messages = self.doubtful_messages.iter().map(|(session, seq)| Op::Forget { session: *session, seq: *seq });
        let ids = self.doubtful_ids.iter().map(|(session, id)| Op::Completed { session: *session, id: *id });
        let ended = self.ended.iter().map(|session| Op::End { session: *session });
        let lifetimes = self.lifetimes.iter().map(|(session, (expiry_s, ended_at))| {
            let (expiry_s, ended_at) = (*expiry_s, *ended_at);
            Op::Lifetime { session: *session, expiry_s, ended_at }
        });
        let retained = self.retained.values().map(|(publication, version)| {
            let (publication, version) = (Arc::clone(publication), *version);
            Op::Retain { publication, version }
        });
        let forwarded = Op::Forwarded { ids: self.forwarded.iter().copied().collect() };
        messages.chain(ids).chain(ended).chain(lifetimes).chain(retained).chain([forwarded]).collect()
    }
}

impl Writer {
    pub(super) fn new(
        opener: Opener,
        (name, database, tallies): (String, Database, Tallies),
        limits: DiskLimits,
        state: watch::Sender<StorageState>,
    ) -> Self {
        Self {
            opener,
            name,
            path: None,
            database: Some(database),
            tallies,
            limits,
            state,
            dropped: Arc::default(),
            gate: Arc::default(),
            lazy_commits: 0,
            missing: Missing::default(),
            pause: REOPEN_PAUSE,
            open_at: Instant::now(),
        }
    }

    /// A writer with the shared state of the handle.
    pub(super) fn sharing(self, dropped: Arc<AtomicU64>, gate: Arc<RwLock<()>>) -> Self {
        Self { dropped, gate, ..self }
    }

    /// A writer of the file at `path`.
    pub(super) fn at(self, path: Option<&Path>) -> Self {
        Self { path: path.map(Path::to_owned), ..self }
    }

    /// Runs until the order to stop, or until no handle is left.
    pub(super) fn run(mut self, mut orders: mpsc::UnboundedReceiver<Op>) {
        let mut stop = None;
        while stop.is_none()
            && let Some(first) = self.first_order(&mut orders)
        {
            let mut batch = self.batch(first, &mut orders);
            if let Some(at) = batch.iter().position(|op| matches!(op, Op::Stop(_)))
                && let Some(Op::Stop(done)) = batch.drain(at..).next()
            {
                stop = Some(done);
            }
            self.write(batch, stop.is_some());
        }
        if self.database.is_none() {
            // The last attempt to write missing changes.
            self.open_again();
        }
        drop(self);
        if let Some(done) = stop {
            let _ = done.send(());
        }
    }

    /// The next order. Meanwhile it tries to reopen a failed file.
    fn first_order(&mut self, orders: &mut mpsc::UnboundedReceiver<Op>) -> Option<Op> {
        while self.database.is_none() {
            if self.open_at <= Instant::now() {
                self.open_again();
                continue;
            }
            match orders.try_recv() {
                Ok(op) => return Some(op),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::sleep(REFUSAL_PAUSE),
            }
        }
        orders.blocking_recv()
    }

    /// `first` and all orders so far. No caller is in the middle of orders that belong together.
    fn batch(&self, first: Op, orders: &mut mpsc::UnboundedReceiver<Op>) -> Vec<Op> {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Counted first, so that new orders cannot make it endless.
        let waiting = orders.len();
        let mut batch = Vec::with_capacity(waiting + 1);
        batch.push(first);
        batch.extend((0..waiting).map_while(|_| orders.try_recv().ok()));
        batch
    }

    fn write(&mut self, batch: Vec<Op>, last: bool) {
        let Some(pages) = self.commit(&batch, last) else {
            // The answers are dropped with the batch, so that nothing is acknowledged.
            self.missing.note(&batch);
            return;
        };
        self.pause = REOPEN_PAUSE;
        let mut pages = pages.into_iter();
        for op in batch {
            // The receiver may have stopped waiting.
            match op {
                Op::Barrier(done) => drop(done.send(())),
                Op::Page { page, .. } => drop(page.send(pages.next().unwrap_or_default())),
                Op::Snapshot(reader) => {
                    if let Some(Ok(snapshot)) = self.database.as_ref().map(Database::begin_read) {
                        drop(reader.send(snapshot));
                    }
                }
                Op::WriteAnew(done) => drop(done.send(self.write_anew())),
                _ => {}
            }
        }
    }

    /// Copies the content of the file to a new one, which replaces it.
    fn write_anew(&mut self) -> Result<(), DiskError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let Some(database) = self.database.as_ref() else {
            return Err(DiskError::Unusable("the file cannot be written now".into()));
        };
        let new = file::beside(&path);
        file::guarded(&self.name, || copy::copy(&database.begin_read()?, &new))?;
        drop(self.database.take());
        self.lazy_commits = 0;
        let replaced = file::replace(&path, &new);
        self.open_again();
        match (replaced, &self.database) {
            (Ok(()), Some(_)) => Ok(()),
            (Ok(()), None) => Err(DiskError::Unusable("the file cannot be reopened yet".into())),
            (Err(error), _) => Err(DiskError::Unusable(format!("{}: {error}", self.name))),
        }
    }

    /// Commits a batch and returns the pages that it requests; none if the commit failed.
    fn commit(&mut self, batch: &[Op], last: bool) -> Option<Vec<Vec<Entry>>> {
        let database = self.database.as_ref()?;
        // A commit that only deletes may be lost: its messages are then delivered twice.
        let lazy = !last
            && self.lazy_commits < LAZY_COMMITS_MAX
            && batch.iter().all(|op| matches!(op, Op::Forget { .. } | Op::Page { .. }));
        self.lazy_commits = if lazy { self.lazy_commits + 1 } else { 0 };
        let (limits, tallies, start) = (self.limits, &mut self.tallies, Instant::now());
        let committed = file::guarded(&self.name, || commit(database, batch, lazy, limits, tallies));
        if !lazy {
            METRICS.sessions_commit.since(start);
        }
        match committed {
            Ok((pages, dropped)) => {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
                Some(pages)
            }
            Err(error) => {
                self.missing.note_doubtful(batch);
                self.fail(&error);
                None
            }
        }
    }

    /// Closes the database: after an I/O error it accepts no more writes, and after damage it cannot be trusted.
    fn fail(&mut self, error: &DiskError) {
        tracing::error!(%error, "sessions could not be written");
        if let Some(database) = self.database.take() {
            // Changes that cannot be written on close were not acknowledged.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(database)));
        }
        self.lazy_commits = 0;
        self.pause_after(error);
    }

    fn pause_after(&mut self, error: &DiskError) {
        self.open_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(REOPEN_PAUSE_MAX);
        let since = match &*self.state.borrow() {
            StorageState::Failed { since, .. } => *since,
            StorageState::Writable => now(),
        };
        let is_full = matches!(error, DiskError::Full);
        self.state.send_replace(StorageState::Failed { reason: error.to_string(), is_full, since });
    }

    /// Reopens the file and writes the missing changes, in a commit that shows whether the disk has space.
    fn open_again(&mut self) {
        let opened = (self.opener)().and_then(|Opened { database, mut tallies, .. }| {
            let missing = self.missing.ops();
            file::guarded(&self.name, || commit(&database, &missing, false, self.limits, &mut tallies))?;
            Ok((database, tallies))
        });
        match opened {
            Ok((database, tallies)) => {
                if *self.state.borrow() != StorageState::Writable {
                    tracing::info!("sessions can be written again");
                }
                (self.database, self.tallies, self.missing) = (Some(database), tallies, Missing::default());
                self.state.send_replace(StorageState::Writable);
            }
            Err(error) => {
                tracing::debug!(%error, "sessions still cannot be written");
                self.pause_after(&error);
            }
        }
    }
}

/// Executes one transaction. Returns the requested pages, and the number of messages that were dropped at a limit.
fn commit(
    database: &Database,
    batch: &[Op],
    lazy: bool,
    limits: DiskLimits,
    tallies: &mut Tallies,
) -> Result<(Vec<Vec<Entry>>, u64), redb::Error> {
    let mut transaction = database.begin_write()?;
    if lazy {
        transaction.set_durability(Durability::None)?;
    }
    let (mut pages, mut dropped) = (Vec::new(), 0);
    {
        let mut tables = Tables::open(&transaction)?;
        for op in batch {
            if let Op::Page { session, after, up_to, limit, own, .. } = op {
                let range = after.saturating_add(1)..=*up_to;
                let (page, stale) = tables.page(*session, range, *limit, *own, limits, tallies)?;
                pages.push(page);
                dropped += stale;
            } else {
                dropped += tables.apply(op, limits, tallies)?;
            }
        }
        tables.write_removed(tallies)?;
    }
    transaction.commit()?;
    Ok((pages, dropped))
}
