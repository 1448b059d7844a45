//! What the router must not lose: persistent sessions with their queues, and retained messages, in one `redb` file.
//!
//! One thread writes. Whatever has arrived while it made one commit goes into the next: a group commit, so that a
//! hundred publishers share one sync. Orders are kept, so that a [`Disk::barrier`] is reached when everything before
//! it is on disk.
//!
//! The channel to the thread has no limit of its own, and needs none: every publisher waits for its barrier, with a
//! bounded number of messages ahead of it, and what a connection orders besides is answered one by one.
//!
//! Why not the database of the accounts: a durable message is two small writes in the life of a queue, thousands a
//! second; a B-tree that a plain thread fills does that without a query language in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{ConnectionId, Publication, Subscription};
use crate::model::{Party, PartyId, PartyKind, QoS, Timestamp, Topic};

/// Orders that share a commit at most.
const BATCH_MAX: usize = 4096;
/// Commits without a sync in a row, each of which only forgets what was delivered.
const LAZY_COMMITS_MAX: u32 = 64;

/// Party, client id, seconds that the session outlives its connection, end of the last connection (0: it lives).
const SESSIONS: TableDefinition<u64, (&str, &str, u32, f64Bits)> = TableDefinition::new("sessions");
/// By session and filter: share name, quality of service, options, identifier.
const FILTERS: TableDefinition<(u64, &str), (u8, u8, u32)> = TableDefinition::new("filters");
/// By session and sequence number.
const QUEUE: TableDefinition<(u64, u64), Row> = TableDefinition::new("queue");
/// Packet ids of QoS 2 messages that were routed and not released, by session.
const RECEIVED: TableDefinition<(u64, u16), ()> = TableDefinition::new("received");
/// By topic.
const RETAINED: TableDefinition<&str, Row> = TableDefinition::new("retained");

/// A timestamp as the bits of its floating point number; 0 for none.
#[allow(non_camel_case_types)]
type f64Bits = u64;

/// Topic, properties, payload, [`flags`], expiry, acceptance.
type Row = (&'static str, &'static [u8], &'static [u8], u8, f64Bits, f64Bits);

/// Which bit of a row's flags says what.
mod flags {
    pub const QOS: u8 = 0b0000_0011;
    pub const RETAIN: u8 = 0b0000_0100;
    pub const PUBLISHED_RETAIN: u8 = 0b0000_1000;
    pub const PUBLISHED_QOS_SHIFT: u8 = 4;
    pub const RELEASED: u8 = 0b0100_0000;
    pub const OWN: u8 = 0b1000_0000;
}

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

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("session store: {0}")]
pub struct DiskError(String);

impl DiskError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
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
    /// The client has it (PUBREC) and only has to be told to forget its id (MQTT 3.1.1 §4.3.3).
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
    /// The last sequence number of its queue.
    pub last_seq: u64,
}

/// What the file held at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// All sessions.
    pub sessions: Vec<StoredSession>,
    /// All retained messages.
    pub retained: Vec<Publication>,
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

pub(super) enum Op {
    Open { session: SessionId, party: Party, client_id: String, expiry_s: u32 },
    Park { session: SessionId, expiry_s: u32, ended_at: Timestamp },
    End { session: SessionId },
    Subscribe { session: SessionId, subscription: Subscription },
    Unsubscribe { session: SessionId, filter: String },
    Enqueue { session: SessionId, entry: Entry, own: bool, now: Timestamp },
    Forget { session: SessionId, seq: u64 },
    Release { session: SessionId, seq: u64 },
    Received { session: SessionId, id: u16 },
    Completed { session: SessionId, id: u16 },
    Retain { publication: Arc<Publication> },
    Page { session: SessionId, after: u64, limit: usize, own: ConnectionId, page: oneshot::Sender<Vec<Entry>> },
    Barrier(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// The handle of the writing thread.
#[derive(Debug, Clone)]
pub struct Disk {
    ops: mpsc::UnboundedSender<Op>,
    last_session: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Op")
    }
}

impl Disk {
    /// Opens the file, or memory without a path, and reads what it holds.
    pub fn open(path: Option<&Path>, limits: DiskLimits) -> Result<(Self, Found), DiskError> {
        let mut builder = Database::builder();
        builder.set_cache_size(limits.cache_bytes);
        let database = match path {
            Some(path) => builder.create(path),
            None => builder.create_with_backend(redb::backends::InMemoryBackend::new()),
        };
        let database = database.map_err(DiskError::new)?;
        make_tables(&database).map_err(DiskError::new)?;
        let (found, tallies) = read(&database).map_err(DiskError::new)?;
        let last_session = found.sessions.iter().map(|session| session.id.0).max().unwrap_or(0);
        let (ops, orders) = mpsc::unbounded_channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { database, limits, tallies, dropped: Arc::clone(&dropped), lazy_commits: 0 };
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || writer.run(orders))
            .map_err(DiskError::new)?;
        Ok((Self { ops, last_session: Arc::new(AtomicU64::new(last_session)), dropped }, found))
    }

    pub(super) fn new_session(&self) -> SessionId {
        SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Orders a change. A thread that has ended is noticed by the next barrier.
    pub(super) fn order(&self, op: Op) {
        let _ = self.ops.send(op);
    }

    /// A ticket for all that was ordered so far.
    pub fn barrier(&self) -> Ticket {
        let (done, ticket) = oneshot::channel();
        self.order(Op::Barrier(done));
        Ticket(ticket)
    }

    pub(super) async fn page(&self, session: SessionId, after: u64, limit: usize, own: ConnectionId) -> Vec<Entry> {
        let (page, entries) = oneshot::channel();
        self.order(Op::Page { session, after, limit, own, page });
        entries.await.unwrap_or_default()
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

/// What waits for one session.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    messages: u64,
    bytes: u64,
}

struct Writer {
    database: Database,
    limits: DiskLimits,
    tallies: HashMap<u64, Tally>,
    dropped: Arc<AtomicU64>,
    lazy_commits: u32,
}

/// What is sent when the commit has succeeded.
enum Reply {
    Reached(oneshot::Sender<()>),
    Page(oneshot::Sender<Vec<Entry>>, Vec<Entry>),
}

impl Writer {
    fn run(mut self, mut orders: mpsc::UnboundedReceiver<Op>) {
        let mut stop = None;
        while stop.is_none()
            && let Some(first) = orders.blocking_recv()
        {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(op) = orders.try_recv()
            {
                batch.push(op);
            }
            if let Some(at) = batch.iter().position(|op| matches!(op, Op::Stop(_)))
                && let Some(Op::Stop(done)) = batch.drain(at..).next()
            {
                stop = Some(done);
            }
            if let Err(error) = self.commit(batch, stop.is_some()) {
                // The barriers of the batch are dropped with it: nobody is told that it was kept.
                tracing::error!(%error, "sessions not written");
            }
        }
        drop(self);
        if let Some(done) = stop {
            let _ = done.send(());
        }
    }

    fn commit(&mut self, batch: Vec<Op>, last: bool) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        // What only forgets may be forgotten itself: it is then delivered twice, never lost.
        let lazy = !last
            && self.lazy_commits < LAZY_COMMITS_MAX
            && batch.iter().all(|op| matches!(op, Op::Forget { .. } | Op::Page { .. }));
        self.lazy_commits = if lazy { self.lazy_commits + 1 } else { 0 };
        if lazy {
            transaction.set_durability(Durability::None)?;
        }
        let mut replies = Vec::new();
        {
            let mut tables = Tables::open(&transaction)?;
            for op in batch {
                tables.apply(op, self.limits, &mut self.tallies, &self.dropped, &mut replies)?;
            }
        }
        transaction.commit()?;
        for reply in replies {
            // Whoever does not wait any more needs no answer.
            match reply {
                Reply::Reached(done) => drop(done.send(())),
                Reply::Page(page, entries) => drop(page.send(entries)),
            }
        }
        Ok(())
    }
}

struct Tables<'t> {
    sessions: Table<'t, u64, (&'static str, &'static str, u32, f64Bits)>,
    filters: Table<'t, (u64, &'static str), (u8, u8, u32)>,
    queue: Table<'t, (u64, u64), Row>,
    received: Table<'t, (u64, u16), ()>,
    retained: Table<'t, &'static str, Row>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            filters: transaction.open_table(FILTERS)?,
            queue: transaction.open_table(QUEUE)?,
            received: transaction.open_table(RECEIVED)?,
            retained: transaction.open_table(RETAINED)?,
        })
    }

    fn apply(
        &mut self,
        op: Op,
        limits: DiskLimits,
        tallies: &mut HashMap<u64, Tally>,
        dropped: &AtomicU64,
        replies: &mut Vec<Reply>,
    ) -> Result<(), redb::Error> {
        match op {
            Op::Open { session, party, client_id, expiry_s } => {
                self.sessions.insert(session.0, (party.to_string().as_str(), client_id.as_str(), expiry_s, 0))?;
            }
            Op::Park { session, expiry_s, ended_at } => {
                let found = self.sessions.get(session.0)?.map(|row| {
                    let (party, client_id, ..) = row.value();
                    (party.to_owned(), client_id.to_owned())
                });
                if let Some((party, client_id)) = found {
                    let row = (party.as_str(), client_id.as_str(), expiry_s, ended_at.to_bits());
                    self.sessions.insert(session.0, row)?;
                }
            }
            Op::End { session: SessionId(session) } => {
                self.sessions.remove(session)?;
                self.filters.retain_in((session, "")..(session + 1, ""), |_, _| false)?;
                self.queue.retain_in((session, 0)..=(session, u64::MAX), |_, _| false)?;
                self.received.retain_in((session, 0)..=(session, u16::MAX), |_, ()| false)?;
                tallies.remove(&session);
            }
            Op::Subscribe { session, subscription } => {
                let row = (subscription.qos as u8, subscription.options, subscription.id);
                self.filters.insert((session.0, subscription.text().as_str()), row)?;
            }
            Op::Unsubscribe { session, filter } => drop(self.filters.remove((session.0, filter.as_str()))?),
            Op::Enqueue { session: SessionId(session), entry, own, now } => {
                let size = size_of(&entry.publication);
                let full =
                    |tally: &Tally| tally.messages >= limits.messages_max || tally.bytes + size > limits.bytes_max;
                let mut tally = tallies.get(&session).copied().unwrap_or_default();
                while limits.overflow == Overflow::DropOldest && full(&tally) {
                    let oldest = self.queue.range((session, 0)..=(session, u64::MAX))?.next().transpose()?;
                    let Some(seq) = oldest.map(|(key, _)| key.value().1) else { break };
                    self.forget(session, seq, &mut tally)?;
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
                if full(&tally) {
                    dropped.fetch_add(1, Ordering::Relaxed);
                } else {
                    tally.messages += 1;
                    tally.bytes += size;
                    let mut bits = flags_of(&entry.publication, entry.qos, entry.retain);
                    bits |= if own { flags::OWN } else { 0 };
                    self.queue.insert((session, entry.seq), row(&entry.publication, bits, now))?;
                }
                tallies.insert(session, tally);
            }
            Op::Forget { session: SessionId(session), seq } => {
                if let Some(mut tally) = tallies.get(&session).copied() {
                    self.forget(session, seq, &mut tally)?;
                    tallies.insert(session, tally);
                }
            }
            Op::Release { session: SessionId(session), seq } => {
                if let Some(mut tally) = tallies.get(&session).copied() {
                    self.forget(session, seq, &mut tally)?;
                    tally.messages += 1;
                    tallies.insert(session, tally);
                    self.queue.insert((session, seq), ("", &[][..], &[][..], flags::RELEASED | 2, 0, 0))?;
                }
            }
            Op::Received { session, id } => drop(self.received.insert((session.0, id), ())?),
            Op::Completed { session, id } => drop(self.received.remove((session.0, id))?),
            Op::Retain { publication } => {
                let topic = publication.topic.as_str();
                if publication.payload.is_empty() {
                    self.retained.remove(topic)?;
                } else {
                    let bits = flags_of(&publication, publication.qos, true);
                    self.retained.insert(topic, row(&publication, bits, 0.0))?;
                }
            }
            Op::Page { session: SessionId(session), after, limit, own, page } => {
                let mut entries = Vec::new();
                let oldest = now() - limits.age_max_s as f64;
                let mut stale = Vec::new();
                for found in self.queue.range((session, after + 1)..=(session, u64::MAX))? {
                    let (key, row) = found?;
                    let (seq, (.., accepted)) = (key.value().1, row.value());
                    if accepted != 0 && f64::from_bits(accepted) < oldest {
                        stale.push(seq);
                    } else if let Some(entry) = entry_of(seq, row.value(), own) {
                        entries.push(entry);
                    }
                    if entries.len() >= limit {
                        break;
                    }
                }
                let mut tally = tallies.get(&session).copied().unwrap_or_default();
                for seq in stale {
                    self.forget(session, seq, &mut tally)?;
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
                tallies.insert(session, tally);
                replies.push(Reply::Page(page, entries));
            }
            Op::Barrier(done) => replies.push(Reply::Reached(done)),
            Op::Stop(_) => {}
        }
        Ok(())
    }

    fn forget(&mut self, session: u64, seq: u64, tally: &mut Tally) -> Result<(), redb::Error> {
        if let Some(row) = self.queue.remove((session, seq))? {
            let (topic, properties, payload, bits, ..) = row.value();
            tally.messages = tally.messages.saturating_sub(1);
            if bits & flags::RELEASED == 0 {
                let size = ROW_BYTES + (topic.len() + properties.len() + payload.len()) as u64;
                tally.bytes = tally.bytes.saturating_sub(size);
            }
        }
        Ok(())
    }
}

/// What a row costs besides its topic, properties and payload, about.
const ROW_BYTES: u64 = 64;

fn size_of(publication: &Publication) -> u64 {
    ROW_BYTES + (publication.topic.as_str().len() + publication.properties.len() + publication.payload.len()) as u64
}

fn flags_of(publication: &Publication, qos: QoS, retain: bool) -> u8 {
    qos as u8
        | if retain { flags::RETAIN } else { 0 }
        | if publication.retain { flags::PUBLISHED_RETAIN } else { 0 }
        | (publication.qos as u8) << flags::PUBLISHED_QOS_SHIFT
}

fn row(publication: &Publication, bits: u8, accepted_at: Timestamp) -> (&str, &[u8], &[u8], u8, f64Bits, f64Bits) {
    let expires_at = publication.expires_at.map_or(0, f64::to_bits);
    let (properties, payload) = (&publication.properties[..], &publication.payload[..]);
    (publication.topic.as_str(), properties, payload, bits, expires_at, accepted_at.to_bits())
}

fn qos_of(bits: u8) -> QoS {
    match bits & flags::QOS {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// None where the row is damaged.
fn entry_of(
    seq: u64,
    (topic, properties, payload, bits, expires_at, _): (&str, &[u8], &[u8], u8, f64Bits, f64Bits),
    own: ConnectionId,
) -> Option<Entry> {
    let released = bits & flags::RELEASED != 0;
    let publication = Publication {
        topic: if released { "-" } else { topic }.parse::<Topic>().ok()?,
        payload: Bytes::copy_from_slice(payload),
        qos: qos_of(bits >> flags::PUBLISHED_QOS_SHIFT),
        retain: bits & flags::PUBLISHED_RETAIN != 0,
        publisher: (bits & flags::OWN != 0).then_some(own),
        properties: Bytes::copy_from_slice(properties),
        expires_at: (expires_at != 0).then(|| f64::from_bits(expires_at)),
        stream_seq: None,
    };
    let (qos, retain) = (qos_of(bits), bits & flags::RETAIN != 0);
    Some(Entry { seq, publication: Arc::new(publication), qos, retain, released })
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    Tables::open(&transaction)?;
    Ok(transaction.commit()?)
}

fn read(database: &Database) -> Result<(Found, HashMap<u64, Tally>), redb::Error> {
    let transaction = database.begin_read()?;
    let mut sessions: HashMap<u64, StoredSession> = HashMap::new();
    for row in transaction.open_table(SESSIONS)?.iter()? {
        let (key, row) = row?;
        let (party, client_id, expiry_s, ended_at) = row.value();
        let Some(party) = party_of(party) else { continue };
        let session = StoredSession {
            id: SessionId(key.value()),
            party,
            client_id: client_id.to_owned(),
            expiry_s,
            ended_at: if ended_at == 0 { now() } else { f64::from_bits(ended_at) },
            subscriptions: Vec::new(),
            received: Vec::new(),
            last_seq: 0,
        };
        sessions.insert(key.value(), session);
    }
    for row in transaction.open_table(FILTERS)?.iter()? {
        let (key, row) = row?;
        let ((session, text), (qos, options, id)) = (key.value(), row.value());
        if let (Some(session), Some(subscription)) =
            (sessions.get_mut(&session), Subscription::from_text(text, qos_of(qos), options, id))
        {
            session.subscriptions.push(subscription);
        }
    }
    for row in transaction.open_table(RECEIVED)?.iter()? {
        let (session, id) = row?.0.value();
        if let Some(session) = sessions.get_mut(&session) {
            session.received.push(id);
        }
    }
    let mut tallies: HashMap<u64, Tally> = HashMap::new();
    for row in transaction.open_table(QUEUE)?.iter()? {
        let (key, row) = row?;
        let ((session, seq), (topic, properties, payload, ..)) = (key.value(), row.value());
        let tally = tallies.entry(session).or_default();
        tally.messages += 1;
        tally.bytes += ROW_BYTES + (topic.len() + properties.len() + payload.len()) as u64;
        if let Some(session) = sessions.get_mut(&session) {
            session.last_seq = seq;
        }
    }
    let mut retained = Vec::new();
    for row in transaction.open_table(RETAINED)?.iter()? {
        let row = row?.1;
        if let Some(entry) = entry_of(0, row.value(), ConnectionId::NOBODY) {
            let mut publication = Arc::unwrap_or_clone(entry.publication);
            publication.publisher = Some(ConnectionId::NOBODY);
            retained.push(publication);
        }
    }
    Ok((Found { sessions: sessions.into_values().collect(), retained }, tallies))
}

fn party_of(text: &str) -> Option<Party> {
    let (kind, id) = text.split_once('/')?;
    let kind = [PartyKind::App, PartyKind::Toy].into_iter().find(|known| known.as_str() == kind)?;
    Some(Party::new(kind, &id.parse::<PartyId>().ok()?))
}
