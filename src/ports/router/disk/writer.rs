//! The thread that writes: it takes what was ordered, commits it, and opens the file again after a failure.
//!
//! ```text
//!           ┌── orders ──▶ batch ──▶ one transaction ──▶ commit ──▶ answers ──┐
//! Writable ─┴─────────────────────────────────────────────────────────────────┘
//!     ▲                                  │ fails (no space, I/O error, damage)
//!     │ opened, what is missing written     ▼
//!     └──────────────── Failed: nothing is answered; tries to open, at growing intervals
//! ```
//!
//! After a failed commit `redb` refuses everything until it is opened again. The file then is as the last commit left
//! it, and memory is ahead of it. Most of what is missing comes again: nobody was told that it was stored, so that
//! publishers, subscribers and acknowledging clients repeat it. What nobody repeats is kept as `Missing` and written first.

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
use super::{DiskLimits, Entry, Op, SessionId, StorageState, now};
use crate::model::{Timestamp, Topic};
use crate::ports::router::Publication;

/// Commits without a sync in a row, each of which only forgets what was delivered.
const LAZY_COMMITS_MAX: u32 = 64;
/// The first pause before a failed file is opened again; it doubles up to [`REOPEN_PAUSE_MAX`].
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: so long it may take after there is room again.
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an order waits for its refusal while the file is not open.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// The state of the thread.
pub(super) struct Writer {
    opener: Opener,
    /// How errors call the file.
    name: String,
    /// Where the file is; none in memory.
    path: Option<PathBuf>,
    /// None after a failure, until it is open again.
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

/// What is missing in the file after failed commits, and comes from nobody again. It is bounded by what there is:
/// sessions that have ended or changed their lifetime, and topics of retained messages.
#[derive(Default)]
struct Missing {
    ended: HashSet<SessionId>,
    lifetimes: HashMap<SessionId, (u32, Timestamp)>,
    retained: HashMap<Topic, Arc<Publication>>,
}

impl Missing {
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
                Op::Retain { publication } => {
                    self.retained.insert(publication.topic.clone(), Arc::clone(publication));
                }
                // Whoever waits for one of these is told that it failed and repeats it; what an acknowledgement was to
                // remove is delivered and acknowledged once more.
                // The next start notes whose file it is.
                Op::Claim { .. }
                | Op::Open { .. }
                | Op::Subscribe { .. }
                | Op::Unsubscribe { .. }
                | Op::Enqueue { .. }
                | Op::Forget { .. }
                | Op::Release { .. }
                | Op::Received { .. }
                | Op::Completed { .. }
                | Op::Page { .. }
                | Op::Barrier(_)
                | Op::Snapshot(_)
                // Who orders these learns that the file was not written, and orders them again.
                | Op::Erase { .. }
                | Op::WriteAnew(_)
                | Op::Stop(_) => {}
            }
        }
    }

    /// The orders that make up for what is missing.
    fn ops(&self) -> Vec<Op> {
        let ended = self.ended.iter().map(|session| Op::End { session: *session });
        let lifetimes = self.lifetimes.iter().map(|(session, (expiry_s, ended_at))| {
            let (expiry_s, ended_at) = (*expiry_s, *ended_at);
            Op::Lifetime { session: *session, expiry_s, ended_at }
        });
        let retained = self.retained.values().map(|publication| Op::Retain { publication: Arc::clone(publication) });
        ended.chain(lifetimes).chain(retained).collect()
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

    /// With what the handle shares.
    pub(super) fn sharing(self, dropped: Arc<AtomicU64>, gate: Arc<RwLock<()>>) -> Self {
        Self { dropped, gate, ..self }
    }

    /// Over the file at `path`.
    pub(super) fn at(self, path: Option<&Path>) -> Self {
        Self { path: path.map(Path::to_owned), ..self }
    }

    /// Serves until the order to stop, or until no handle is left.
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
            // The last chance for what is missing.
            self.open_again();
        }
        drop(self);
        if let Some(done) = stop {
            let _ = done.send(());
        }
    }

    /// The next order; opens a failed file again meanwhile.
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

    /// `first` and all that was ordered by now. Nobody is in the middle of orders that belong together.
    fn batch(&self, first: Op, orders: &mut mpsc::UnboundedReceiver<Op>) -> Vec<Op> {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Counted, so that orders that come meanwhile cannot make it endless.
        let waiting = orders.len();
        let mut batch = Vec::with_capacity(waiting + 1);
        batch.push(first);
        batch.extend((0..waiting).map_while(|_| orders.try_recv().ok()));
        batch
    }

    fn write(&mut self, batch: Vec<Op>, last: bool) {
        let Some(pages) = self.commit(&batch, last) else {
            // The answers are dropped with the batch: nobody is told that it was kept.
            self.missing.note(&batch);
            return;
        };
        self.pause = REOPEN_PAUSE;
        let mut pages = pages.into_iter();
        for op in batch {
            // Whoever does not wait any more needs no answer.
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

    /// Copies what the file holds to a new one, which takes its place.
    fn write_anew(&mut self) -> Result<(), DiskError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let Some(database) = self.database.as_ref() else {
            return Err(DiskError::Unusable("they cannot be written now".into()));
        };
        let new = file::beside(&path);
        file::guarded(&self.name, || copy::copy(&database.begin_read()?, &new))?;
        drop(self.database.take());
        self.lazy_commits = 0;
        let replaced = file::replace(&path, &new);
        self.open_again();
        match (replaced, &self.database) {
            (Ok(()), Some(_)) => Ok(()),
            (Ok(()), None) => Err(DiskError::Unusable("they cannot be read again yet".into())),
            (Err(error), _) => Err(DiskError::Unusable(format!("{}: {error}", self.name))),
        }
    }

    /// Commits a batch and gives the pages that it asks for; none if that failed.
    fn commit(&mut self, batch: &[Op], last: bool) -> Option<Vec<Vec<Entry>>> {
        let database = self.database.as_ref()?;
        // What only forgets may be forgotten itself: it is then delivered twice, never lost.
        let lazy = !last
            && self.lazy_commits < LAZY_COMMITS_MAX
            && batch.iter().all(|op| matches!(op, Op::Forget { .. } | Op::Page { .. }));
        self.lazy_commits = if lazy { self.lazy_commits + 1 } else { 0 };
        let (limits, tallies) = (self.limits, &mut self.tallies);
        match file::guarded(&self.name, || commit(database, batch, lazy, limits, tallies)) {
            Ok((pages, dropped)) => {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
                Some(pages)
            }
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    /// Gives up the database: after an I/O error it takes nothing more, and after damage it is not to be trusted.
    fn fail(&mut self, error: &DiskError) {
        tracing::error!(%error, "sessions not written");
        if let Some(database) = self.database.take() {
            // What it cannot write on its way out, it had not acknowledged.
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

    /// Opens the file again and writes what is missing, in a commit that shows whether there is room.
    fn open_again(&mut self) {
        let opened = (self.opener)().and_then(|Opened { database, mut tallies, .. }| {
            let missing = self.missing.ops();
            file::guarded(&self.name, || commit(&database, &missing, false, self.limits, &mut tallies))?;
            Ok((database, tallies))
        });
        match opened {
            Ok((database, tallies)) => {
                if *self.state.borrow() != StorageState::Writable {
                    tracing::info!("sessions are written again");
                }
                (self.database, self.tallies, self.missing) = (Some(database), tallies, Missing::default());
                self.state.send_replace(StorageState::Writable);
            }
            Err(error) => {
                tracing::debug!(%error, "sessions still not written");
                self.pause_after(&error);
            }
        }
    }
}

/// One transaction: the pages that were asked for, and how many messages gave way to a limit.
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
