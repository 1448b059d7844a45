//! What the router must not lose: persistent sessions with their queues, and retained messages, in one `redb` file.
//!
//! One thread writes (`writer`). What arrived during one commit goes into the next: a group commit, so that a hundred
//! publishers share one sync. Orders are kept, so that a [`Disk::barrier`] is reached when everything before it is on
//! disk. What belongs together is ordered under [`Disk::together`] and is never divided between two commits.
//!
//! The channel to the thread has no limit of its own, and needs none: every publisher waits for its barrier, with a
//! bounded number of messages ahead of it, and what a connection orders besides is answered one by one.
//!
//! Why not the database of the accounts: a durable message is two small writes in the life of a queue, thousands a
//! second; a B-tree that a plain thread fills does that without a query language in between.

mod copy;
mod file;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::ReadTransaction;
use tokio::sync::{mpsc, oneshot, watch};

use super::subjects::Subjects;
use super::{ConnectionId, Publication, Subscription};
use crate::model::{HubId, Party, QoS, Timestamp};

pub use file::{DiskError, Repaired, repair};

use file::{Opened, Opener};
use writer::Writer;

/// One persistent session, for as long as the file lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

/// What is dropped when a session's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The message that waited longest.
    DropOldest,
    /// The message that finds no room.
    DropNewest,
}

/// How much of a session is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// Messages that wait for one session.
    pub messages_max: u64,
    /// Bytes that wait for one session.
    pub bytes_max: u64,
    /// Seconds that a message waits.
    pub age_max_s: u64,
    /// What gives way.
    pub overflow: Overflow,
    /// Bytes of the file that are cached in memory.
    pub cache_bytes: usize,
}

/// A message in a session's queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place, counted up within the session.
    pub seq: u64,
    /// The message; empty once released.
    pub publication: Arc<Publication>,
    /// The quality of service that it is delivered at.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// The client has it (PUBREC); only PUBREL is left to send (MQTT 3.1.1 §4.3.3).
    pub released: bool,
}

/// A session that was found in the file.
#[derive(Debug)]
pub struct StoredSession {
    /// Which one.
    pub id: SessionId,
    /// Whose.
    pub party: Party,
    /// Its client id.
    pub client_id: String,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// When the last connection ended.
    pub ended_at: Timestamp,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Ids of QoS 2 messages that the client has not released.
    pub received: Vec<u16>,
    /// The last sequence number that its queue has given.
    pub last_seq: u64,
}

/// What the file held at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// Whose file it is, where that was noted.
    pub hub: Option<HubId>,
    /// All sessions.
    pub sessions: Vec<StoredSession>,
    /// All retained messages.
    pub retained: Vec<Publication>,
}

/// Whether the file takes what is ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum StorageState {
    /// It does.
    Writable,
    /// It does not. What is committed is safe; nothing new is acknowledged until the file is open again, which the
    /// writing thread tries by itself.
    Failed {
        /// Why, for the person who runs the hub.
        reason: String,
        /// Because there is no room.
        is_full: bool,
        /// Since when.
        since: Timestamp,
    },
}

impl Found {
    fn last_session(&self) -> u64 {
        self.sessions.iter().map(|session| session.id.0).max().unwrap_or(0)
    }
}

/// Reached when all that was ordered before it is on disk; an error if it could not be written.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<()>);

impl Ticket {
    /// Waits for the commit. Cancel-safe. False if it failed: nothing may then be acknowledged.
    pub async fn reached(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}

/// An order to the writing thread.
pub(super) enum Op {
    /// Whose file it is.
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
    /// How long a session outlives its last connection, and when that ended; 0 while a connection serves it.
    Lifetime {
        session: SessionId,
        expiry_s: u32,
        ended_at: Timestamp,
    },
    /// A session is over.
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
        now: Timestamp,
    },
    /// The client has a message for good.
    Forget {
        session: SessionId,
        seq: u64,
    },
    /// The client has a QoS 2 message (PUBREC); only PUBREL is left to send.
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
    },
    /// Answered with at most `limit` messages that are numbered above `after` and up to `up_to`.
    Page {
        session: SessionId,
        after: u64,
        up_to: u64,
        limit: usize,
        own: ConnectionId,
        page: oneshot::Sender<Vec<Entry>>,
    },
    /// What names one of these is forgotten, whoever it waits for.
    Erase {
        subjects: Arc<Subjects>,
    },
    /// Answered when the file was written anew, without the bytes of what was deleted.
    WriteAnew(oneshot::Sender<Result<(), DiskError>>),
    /// Answered when all before it is on disk.
    Barrier(oneshot::Sender<()>),
    /// Answered with the state that all before it has led to.
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
    /// Held for reading while orders that belong together are given; the thread takes a batch under the other side.
    gate: Arc<RwLock<()>>,
    state: watch::Receiver<StorageState>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Op")
    }
}

impl Disk {
    /// Opens the file, or memory without a path, and reads what it holds.
    pub fn open(path: Option<&Path>, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        Self::open_at(path, file::opener(path, limits.cache_bytes), limits)
    }

    /// Notes whose file this is.
    pub fn claim(&self, hub: &HubId) {
        self.order(Op::Claim { hub: hub.clone() });
    }

    #[cfg(test)]
    pub(super) fn open_with(opener: Opener, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        Self::open_at(None, opener, limits)
    }

    fn open_at(path: Option<&Path>, opener: Opener, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        let opened = opener()?;
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

    pub(super) fn new_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Orders a change. A thread that has ended is noticed by the next barrier.
    pub(super) fn order(&self, op: Op) {
        let _ = self.ops.send(op);
    }

    /// Until the guard is dropped, what is ordered is not divided between two commits: after a crash, all of it is on
    /// disk or none. To be held for as long as it takes to give the orders, since no commit begins meanwhile; it is the
    /// outermost of the router's locks.
    pub(super) fn together(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for all that was ordered so far.
    pub fn barrier(&self) -> Ticket {
        let (done, ticket) = oneshot::channel();
        self.order(Op::Barrier(done));
        Ticket(ticket)
    }

    /// At most `limit` messages of a session with numbers above `after`, up to `up_to`; none if the file cannot be read
    /// now. They are on disk, with all that was ordered before.
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

    /// Whether the file takes what is ordered.
    pub fn state(&self) -> StorageState {
        self.state.borrow().clone()
    }

    pub(super) fn is_writable(&self) -> bool {
        *self.state.borrow() == StorageState::Writable
    }

    /// Waits until the file takes what is ordered. Cancel-safe.
    pub(super) async fn writable(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|state| *state == StorageState::Writable).await.is_err() {
            // The thread has ended, and with it the hub.
            std::future::pending().await
        }
    }

    /// Whether the writing thread runs.
    pub fn is_writing(&self) -> bool {
        !self.ops.is_closed()
    }

    /// Copies the file to a new one: all that was ordered so far, and nothing of what is ordered meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), DiskError> {
        let (reader, snapshot) = oneshot::channel();
        self.order(Op::Snapshot(reader));
        let snapshot = snapshot.await;
        let snapshot = snapshot.map_err(|_| DiskError::Unusable("they cannot be written now".into()))?;
        let path = path.to_owned();
        let copied = tokio::task::spawn_blocking(move || {
            file::guarded(&path.display().to_string(), || copy::copy(&snapshot, &path))
        });
        copied.await.map_err(|error| DiskError::Unusable(error.to_string()))?
    }

    /// Writes the file anew with all that was ordered so far: a deleted row leaves its bytes in a page that is free.
    pub(super) async fn write_anew(&self) -> Result<(), DiskError> {
        let (done, written) = oneshot::channel();
        self.order(Op::WriteAnew(done));
        written.await.map_err(|_| DiskError::Unusable("they cannot be written now".into()))?
    }

    /// Messages that gave way to a limit since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what was ordered and closes the file.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.order(Op::Stop(done));
        // An error means that the thread has ended already.
        let _ = closed.await;
    }
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
