//! Durable state of the router: persistent sessions with their queues, retained messages, and what the other hubs of the
//! database have not got yet, in one `redb` file.
//!
//! One thread writes (`writer`). Orders that arrive during one commit are part of the next: a group commit, so that a
//! hundred publishers share one sync. Orders are executed in sequence, so a [`Disk::barrier`] is reached when
//! everything before it is on disk. Orders that belong together are given under [`Disk::together`] and are never
//! divided between two commits.
//!
//! The channel to the thread has no limit and needs none: every publisher waits for its barrier, with a bounded number
//! of messages ahead of it, and a connection's other orders are answered one by one.
//!
//! A worked example: two publishers send one message each to the same persistent session.
//!
//! ```text
//! publisher A             publisher B             writer
//! order(Enqueue 1)
//! barrier()                                       commit of Enqueue 1 begins
//!                         order(Enqueue 2)
//!                         barrier()
//! reached: PUBACK         ◀────────────────────── commit is synced; the next one, of Enqueue 2, begins
//!                         reached: PUBACK         commit is synced
//! ```
//!
//! If a commit fails, its barriers report that; no message of it is acknowledged, and the writer reopens the file.
//!
//! It is not the database of the accounts, as a durable message needs two small writes in a queue, thousands in a
//! second; a B-tree and a plain thread do that without a query language in between.

mod copy;
mod file;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use redb::ReadTransaction;
use tokio::sync::{mpsc, oneshot, watch};

use super::subjects::Subjects;
use super::{ConnectionId, Publication, Subscription};
use crate::model::{HubId, Party, QoS, Timestamp};
use crate::ports::clock;

pub use file::{DiskError, Repaired, repair};

use file::{Opened, Opener};
use writer::Writer;

/// The number of a persistent session, unique within the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

/// The identity of a publication that is forwarded to the other hubs of the database. It stays the same until the broker
/// has the publication, also in later processes, so that the other hubs know a repeat by it. The order is that in which the
/// publications were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForwardId {
    /// The process that has accepted it: a later process has a greater number.
    pub stream: u64,
    /// Counts the publications of this process from 1.
    pub number: u64,
}

/// Streams of another hub whose publications are known: that of its process, and those of earlier ones that may come again.
pub const HEARD_STREAMS_MAX: usize = 16;
/// A publication comes no second time when the number of another one of its stream is so much higher. A broker sends what a
/// hub has not acknowledged again after a while, 30 s with NATS: by then, 4,000 others may have come in each second.
pub const HEARD_WITHIN: u64 = 131_072;

/// A publication of another hub that sessions of this one have stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The name of the other hub.
    pub hub: String,
    /// The publication.
    pub id: ForwardId,
}

/// The message that is dropped when a session's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest message.
    DropOldest,
    /// The new message.
    DropNewest,
}

/// The limits of a stored session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// Messages in one session.
    pub messages_max: u64,
    /// Bytes in one session.
    pub bytes_max: u64,
    /// Seconds until a message expires.
    pub age_max_s: u64,
    /// The message that a full session drops.
    pub overflow: Overflow,
    /// Bytes of the file that are cached in memory.
    pub cache_bytes: usize,
}

/// A message in a session's queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its sequence number within the session.
    pub seq: u64,
    /// The message; empty once released.
    pub publication: Arc<Publication>,
    /// The quality of service that it is delivered at.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// The client has it (PUBREC); only PUBREL is left to send (MQTT 3.1.1 §4.3.3).
    pub released: bool,
    /// When it was published, unlike any other of its hub. It becomes too old by this.
    pub published_at: Timestamp,
}

/// A session that was found in the file.
#[derive(Debug)]
pub struct StoredSession {
    /// Its number.
    pub id: SessionId,
    /// The party.
    pub party: Party,
    /// Its client id.
    pub client_id: String,
    /// Its expiry interval, in seconds.
    pub expiry_s: u32,
    /// When the last connection ended.
    pub ended_at: Timestamp,
    /// When its client was last known to be here.
    pub seen_at: Timestamp,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Ids of QoS 2 messages that the client has not released.
    pub received: Vec<u16>,
    /// The last sequence number of its queue.
    pub last_seq: u64,
}

/// The content of the file at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// The hub that the file belongs to, if it is recorded.
    pub hub: Option<HubId>,
    /// All sessions.
    pub sessions: Vec<StoredSession>,
    /// All retained messages, with their versions.
    pub retained: Vec<(Publication, Timestamp)>,
    /// The publications for the other hubs that the broker may not have, in their order; with the times at which they were
    /// accepted, the versions of retained ones.
    pub outbox: Vec<(ForwardId, Publication, Timestamp)>,
    /// What was received of the other hubs.
    pub heard: Vec<Heard>,
}

/// Whether the file can be written.
#[derive(Debug, Clone, PartialEq)]
pub enum StorageState {
    /// It can.
    Writable,
    /// It cannot. Committed data is safe. Nothing new is acknowledged until the writing thread has reopened the file,
    /// which it tries by itself.
    Failed {
        /// The reason, for the operator.
        reason: String,
        /// Whether the disk is full.
        is_full: bool,
        /// The time of the failure.
        since: Timestamp,
    },
}

impl Found {
    fn last_session(&self) -> u64 {
        self.sessions.iter().map(|session| session.id.0).max().unwrap_or(0)
    }
}

/// Resolves when all orders before it are on disk; an error if they could not be written.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<()>);

impl Ticket {
    /// Waits for the commit. Cancel-safe. False if it failed: nothing may then be acknowledged.
    pub async fn reached(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }

    /// As [`Self::reached`]. Not to be called again once it was ready.
    pub fn poll_reached(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(context).map(|reached| reached.is_ok())
    }

    /// A ticket that is reached when something is sent.
    #[cfg(test)]
    pub(crate) fn of_test() -> (oneshot::Sender<()>, Self) {
        let (done, ticket) = oneshot::channel();
        (done, Self(ticket))
    }
}

/// An order to the writing thread.
pub(super) enum Op {
    /// The hub that the file belongs to.
    Claim {
        hub: HubId,
    },
    /// A new session.
    Open {
        session: SessionId,
        party: Party,
        client_id: String,
        expiry_s: u32,
    },
    /// The expiry interval of a session, and the end of its last connection; 0 while a connection serves it.
    Lifetime {
        session: SessionId,
        expiry_s: u32,
        ended_at: Timestamp,
    },
    /// The end of a session.
    End {
        session: SessionId,
    },
    Subscribe {
        session: SessionId,
        subscription: Subscription,
    },
    Unsubscribe {
        session: SessionId,
        filter: String,
    },
    /// A message for a session; `own` if its connection published it.
    Enqueue {
        session: SessionId,
        entry: Entry,
        own: bool,
    },
    /// The client has acknowledged a message completely.
    Forget {
        session: SessionId,
        seq: u64,
    },
    /// The client has received a QoS 2 message (PUBREC); only PUBREL is left to send.
    Release {
        session: SessionId,
        seq: u64,
    },
    /// A QoS 2 message of the client was routed.
    Received {
        session: SessionId,
        id: u16,
    },
    /// The client has released the packet id of a QoS 2 message.
    Completed {
        session: SessionId,
        id: u16,
    },
    /// A retained message, or the deletion of one.
    Retain {
        publication: Arc<Publication>,
        version: Timestamp,
    },
    /// A publication for the other hubs.
    Forward {
        id: ForwardId,
        publication: Arc<Publication>,
        accepted_at: Timestamp,
    },
    /// The broker has these publications.
    Forwarded {
        ids: Vec<ForwardId>,
    },
    /// A publication of another hub was given to the sessions.
    Heard(Heard),
    /// Answered with at most `limit` messages that are numbered above `after` and up to `up_to`.
    Page {
        session: SessionId,
        after: u64,
        up_to: u64,
        limit: usize,
        own: ConnectionId,
        page: oneshot::Sender<Vec<Entry>>,
    },
    /// Deletes messages and sessions that contain one of these ids.
    Erase {
        subjects: Arc<Subjects>,
    },
    /// Answered when the file was rewritten, without the bytes of deleted data.
    WriteAnew(oneshot::Sender<Result<(), DiskError>>),
    /// Answered when all orders before it are on disk.
    Barrier(oneshot::Sender<()>),
    /// Answered with the state after all orders before it.
    Snapshot(oneshot::Sender<ReadTransaction>),
    /// Ends the thread.
    Stop(oneshot::Sender<()>),
}

/// The handle of the writing thread.
#[derive(Debug, Clone)]
pub struct Disk {
    ops: mpsc::UnboundedSender<Op>,
    last_session: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    /// Held for reading while orders that belong together are given. The thread takes a batch with the write lock.
    gate: Arc<RwLock<()>>,
    state: watch::Receiver<StorageState>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Op")
    }
}

impl Disk {
    /// Opens the file, or a store in memory without a path, and reads its content.
    pub fn open(path: Option<&Path>, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        Self::open_at(path, file::opener(path, limits.cache_bytes), limits)
    }

    /// Records the hub that the file belongs to.
    pub fn claim(&self, hub: &HubId) {
        self.order(Op::Claim { hub: hub.clone() });
    }

    #[cfg(test)]
    pub(super) fn open_with(opener: Opener, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        Self::open_at(None, opener, limits)
    }

    fn open_at(path: Option<&Path>, opener: Opener, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        // The last commit is not older than what is known of a client that was connected when the process ended.
        let written_at = path.and_then(|path| path.metadata().ok()?.modified().ok());
        let written_at = written_at.and_then(|at| Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs_f64()));
        let mut opened = opener()?;
        for session in &mut opened.found.sessions {
            session.seen_at = session.seen_at.min(written_at.map_or(f64::MAX, clock::age_of));
        }
        let (ops, orders) = mpsc::unbounded_channel();
        let (set_state, state) = watch::channel(StorageState::Writable);
        let (dropped, gate) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let last_session = opened.tallies.last_session().max(opened.found.last_session());
        let last_session = Arc::new(AtomicU64::new(last_session));
        let Opened { name, database, found, tallies } = opened;
        let writer = Writer::new(opener, (name, database, tallies), limits, set_state)
            .at(path)
            .sharing(Arc::clone(&dropped), Arc::clone(&gate));
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || writer.run(orders))
            .map_err(|error| DiskError::Unusable(error.to_string()))?;
        Ok((Self { ops, last_session, dropped, gate, state }, found))
    }

    /// Keeps a publication for the other hubs until [`Self::forget_forwarded`]. It is on disk with the next barrier.
    /// `accepted_at` is the version of a retained one.
    pub fn keep_for_hubs(&self, id: ForwardId, publication: &Arc<Publication>, accepted_at: Timestamp) {
        self.order(Op::Forward { id, publication: Arc::clone(publication), accepted_at });
    }

    /// Deletes publications that the broker has.
    pub fn forget_forwarded(&self, ids: Vec<ForwardId>) {
        if !ids.is_empty() {
            self.order(Op::Forwarded { ids });
        }
    }

    pub(super) fn new_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Orders a change. The next barrier detects a thread that has ended.
    pub(super) fn order(&self, op: Op) {
        let _ = self.ops.send(op);
    }

    /// Orders that are given while the guard is held are not divided between two commits: after a crash, all of them
    /// are on disk or none. The guard is held only while the orders are given, as no commit begins meanwhile. It is the
    /// outermost of the router's locks.
    pub(super) fn together(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for all orders so far.
    pub fn barrier(&self) -> Ticket {
        let (done, ticket) = oneshot::channel();
        self.order(Op::Barrier(done));
        Ticket(ticket)
    }

    /// At most `limit` messages of a session with numbers above `after`, up to `up_to`; none if the file cannot be read
    /// now. They are on disk, with all orders before.
    pub(super) async fn page(
        &self,
        session: SessionId,
        (after, up_to): (u64, u64),
        limit: usize,
        own: ConnectionId,
    ) -> Option<Vec<Entry>> {
        let (page, entries) = oneshot::channel();
        self.order(Op::Page { session, after, up_to, limit, own, page });
        entries.await.ok()
    }

    /// Whether the file can be written.
    pub fn state(&self) -> StorageState {
        self.state.borrow().clone()
    }

    pub(super) fn is_writable(&self) -> bool {
        *self.state.borrow() == StorageState::Writable
    }

    /// Waits until the file can be written. Cancel-safe.
    pub(super) async fn writable(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|state| *state == StorageState::Writable).await.is_err() {
            // The thread has ended, which ends the hub.
            std::future::pending().await
        }
    }

    /// Whether the writing thread runs.
    pub fn is_writing(&self) -> bool {
        !self.ops.is_closed()
    }

    /// Copies the file to a new one, with all orders so far, and none that are given meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), DiskError> {
        let (reader, snapshot) = oneshot::channel();
        self.order(Op::Snapshot(reader));
        let snapshot = snapshot.await;
        let snapshot = snapshot.map_err(|_| DiskError::Unusable("the file cannot be written now".into()))?;
        let path = path.to_owned();
        let copied = tokio::task::spawn_blocking(move || {
            file::guarded(&path.display().to_string(), || copy::copy(&snapshot, &path))
        });
        copied.await.map_err(|error| DiskError::Unusable(error.to_string()))?
    }

    /// Rewrites the file with all orders so far, as a deleted row leaves its bytes in a free page.
    pub(super) async fn write_anew(&self) -> Result<(), DiskError> {
        let (done, written) = oneshot::channel();
        self.order(Op::WriteAnew(done));
        written.await.map_err(|_| DiskError::Unusable("the file cannot be written now".into()))?
    }

    /// The number of messages that were dropped at a limit since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes all orders and closes the file.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.order(Op::Stop(done));
        // An error means that the thread has ended already.
        let _ = closed.await;
    }
}

/// The current time for ages, which no other call returns: later than that of the call before.
pub(super) fn unique_now() -> Timestamp {
    static LAST: Mutex<Timestamp> = Mutex::new(0.0);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = now().max(last.next_up());
    *last
}

/// The current time for ages: those of sessions and messages.
pub(super) fn now() -> Timestamp {
    clock::age_now()
}
