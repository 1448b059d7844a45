//! The topic router: the subscriptions of all connections, shared by every edge and by the hub itself.
//!
//! There is no central thread. A publish runs on the publisher's task: it looks its topic up in the `index`, then puts
//! one shared [`Publication`] into each subscriber's bounded `queue`, from which the subscriber's `mailbox` takes it. A
//! subscriber that is behind makes only its own publishers wait, for a limited time (`flow`). As a publisher puts its
//! messages into the queues itself, one after the other, their order is kept.
//!
//! The router knows neither permissions nor protocols: the hub decides who may publish and subscribe.
//! The queues of persistent sessions and retained messages survive the connection and the process: `disk` keeps them. A
//! publish that changes them returns a [`Reached::commit`] to wait for.
//!
//! Locks are taken in one order and never held across an `await`:
//! the file's gate ([`Disk::together`]), presence, then index, shares or retained messages, then one queue. The function
//! that forwards a publication is called under the gate alone, and may take a lock of its own.

mod backlog;
mod connected;
mod disk;
mod endings;
mod flow;
mod index;
mod mailbox;
mod payload;
mod presence;
mod publication;
mod queue;
mod retained;
mod session;
mod share;
mod subjects;
mod subscription;
mod topics;
mod totals;

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{Party, QoS, Timestamp, Topic, TopicFilter};

pub use backlog::{EarlyDeliveries, Fingerprint, PACKET_IDS};
pub use connected::{Connected, LinkInfo};
pub use disk::{
    Disk, DiskError, DiskLimits, Entry, ForwardId, Found, HEARD_STREAMS_MAX, HEARD_WITHIN, Heard, Overflow, Repaired,
    StorageState, StoredSession, Ticket, repair,
};
pub use flow::Held;
pub use mailbox::{
    CloseReason, Deliveries, Incoming, Mailbox, MailboxHandle, ReplayRetained, Taken, TooManySubscriptions,
};
pub use payload::{Announced, EncodeEvent, Form, Payload};
pub use publication::{Delivery, Publication, QueuePosition, Reached, Receipt};
pub use queue::{CLOCKS_DIFFER_MAX_S, QueueLimits};
pub use session::{InFlight, SessionHandle};
pub use subjects::Subjects;
pub use subscription::Subscription;
pub use topics::{RetainedTopic, Seen, SubscribedFilter, Topics};

#[cfg(test)]
pub(crate) use disk::tests::{LIMITS as DISK_LIMITS, TestDisk};

use disk::Op;
use flow::Owed;
use index::{Index, Target};
use presence::{Moves, Present};
use queue::{Manner, PublishedAt, Pushed, Queue};
use retained::{Kept, Retained, Stored};
use share::Shares;
use topics::Watch;
use totals::Totals;

/// The id of a connection of any protocol, unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A client of an earlier process.
    const NOBODY: Self = Self(u64::MAX);

    /// A connection of this process.
    #[cfg(test)]
    pub(crate) const fn for_tests(number: u64) -> Self {
        Self(number)
    }
}

/// Forwards a publication to the other hubs, with the change of the retained message of its topic, and the time when it was
/// published, by which a session knows it again. Returns whether it has ordered something to be stored.
pub type Forward<'a> = dyn Fn(&Arc<Publication>, Option<RetainedAs>, Timestamp) -> bool + 'a;

/// How a publication has changed the retained message of its topic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetainedAs {
    /// The version of the message.
    pub version: Timestamp,
    /// Whether the topic had another value, or none.
    pub is_new: bool,
}

/// What a publication has stored in the same commit as its messages.
#[derive(Default)]
struct Together<'a> {
    /// For a message of QoS 2 of a client.
    receipt: Option<Receipt>,
    /// For a publication that the other hubs get, too.
    forward: Option<&'a Forward<'a>>,
    /// For a publication of another hub.
    heard: Option<Heard>,
    /// For a retained publication of another hub.
    version: Option<Timestamp>,
    /// For a publication of another hub that says when it was published.
    published_at: Option<Timestamp>,
}

/// The limits of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLimits {
    /// Filters that one connection may subscribe to.
    pub subscriptions_max: usize,
    /// Retained messages in all.
    pub retained_messages_max: usize,
    /// Retained messages of those below the same first two levels, which name an owner.
    pub retained_per_owner_max: usize,
    /// The maximum payload of a retained message, in bytes.
    pub retained_max_bytes: usize,
    /// The maximum time that a publisher waits for a subscriber that is behind.
    pub backpressure_max: Duration,
}

/// Routes publications to the mailboxes whose filters match.
#[derive(Debug)]
pub struct Router {
    index: Index,
    shares: Shares,
    retained: Retained,
    disk: Disk,
    /// The connections of each connected party.
    presence: DashMap<Party, Present>,
    /// Told of each party that has its first connection here, or has lost its last one.
    moves: OnceLock<Moves>,
    /// The sessions of each party that outlive their connections.
    sessions: DashMap<Party, Vec<Weak<Queue>>>,
    /// Wakes the tasks that wait until a party has no connection.
    departures: Notify,
    subscriptions_max: usize,
    backpressure_max: Duration,
    connections_made: AtomicU64,
    connections_live: AtomicUsize,
    totals: Totals,
    watch: Watch,
}

impl Router {
    /// A router without connections, over the sessions and retained messages of `disk`.
    pub fn new(limits: RouterLimits, disk: Disk, retained: Vec<(Publication, Timestamp)>) -> Arc<Self> {
        let router = Self {
            index: Index::default(),
            shares: Shares::default(),
            retained: Retained::new(&limits),
            disk,
            presence: DashMap::new(),
            moves: OnceLock::new(),
            sessions: DashMap::new(),
            departures: Notify::new(),
            subscriptions_max: limits.subscriptions_max,
            backpressure_max: limits.backpressure_max,
            connections_made: AtomicU64::new(0),
            connections_live: AtomicUsize::new(0),
            totals: Totals::default(),
            watch: Watch::default(),
        };
        for (publication, version) in retained {
            router.retained.store(&Arc::new(publication), Some(version), |_, _| {});
        }
        Arc::new(router)
    }

    /// Registers a new connection of `party`, whose mailbox has these limits.
    ///
    /// The first connection of a party publishes the retained `online/<id>` = `1`.
    pub fn connect(self: &Arc<Self>, party: Party, limits: QueueLimits) -> Mailbox {
        let queue = Arc::new(Queue::new(self.next_id(), party, limits, None));
        self.attach(queue)
    }

    fn next_id(&self) -> ConnectionId {
        ConnectionId(self.connections_made.fetch_add(1, Ordering::Relaxed))
    }

    fn attach(self: &Arc<Self>, queue: Arc<Queue>) -> Mailbox {
        self.connections_live.fetch_add(1, Ordering::Relaxed);
        // The entry stays locked while `online/<id>` is published, so that a first connection and the end of a last one
        // cannot be published in the wrong order.
        let mut present = self.presence.entry(queue.party().clone()).or_default();
        if present.here.is_empty() {
            present.here.reserve_exact(1);
        }
        present.here.push(Arc::clone(&queue));
        if present.here.len() == 1 {
            self.note_move(present.key(), true);
            if present.elsewhere == 0 {
                self.announce(present.key(), b"1");
            }
        }
        drop(present);
        Mailbox::new(Arc::clone(self), queue)
    }

    /// Queues `publication` for every connection that subscribes to its topic, and for the offline sessions.
    ///
    /// A retained one is kept for later subscribers, with a copy of its payload, as the payload may be a slice of a
    /// large read buffer. An empty retained payload deletes (MQTT 3.1.1 §3.3.1.3).
    pub fn publish(&self, publication: impl Into<Arc<Publication>>) -> Reached {
        self.route(publication.into(), Together::default())
    }

    /// As [`Self::publish`]. The receipt is stored in the same commit as the message: after a crash either both are
    /// stored, and a repeated message is not routed again, or neither, and it is a new message.
    pub fn publish_once(&self, publication: impl Into<Arc<Publication>>, receipt: Receipt) -> Reached {
        self.route(publication.into(), Together { receipt: Some(receipt), ..Together::default() })
    }

    /// As [`Self::publish`], or as [`Self::publish_once`] with a receipt. `forward` gets the publication for the other hubs,
    /// unless it is refused. What it orders to be stored is part of the commit.
    pub fn publish_to_all(
        &self,
        publication: impl Into<Arc<Publication>>,
        receipt: Option<Receipt>,
        forward: &Forward<'_>,
    ) -> Reached {
        self.route(publication.into(), Together { receipt, forward: Some(forward), ..Together::default() })
    }

    /// As [`Self::publish`], for a publication of another hub. `heard` is stored in the same commit as the message, if a
    /// session stores that. A retained one has the version that it has there; most say when they were published.
    pub fn publish_heard(
        &self,
        publication: Publication,
        heard: Option<Heard>,
        version: Option<Timestamp>,
        published_at: Option<Timestamp>,
    ) -> Reached {
        self.route(Arc::new(publication), Together { heard, version, published_at, ..Together::default() })
    }

    /// Drops a message: it reaches nobody. Its receipt is stored, so that it is not routed when it is repeated.
    pub fn drop_once(&self, receipt: Option<Receipt>) -> Reached {
        let commit = receipt.map(|Receipt { session, id }| {
            self.disk.order(Op::Received { session, id });
            self.disk.barrier()
        });
        Reached { subscribers: 0, retain_refused: false, commit, held: None }
    }

    fn route(&self, mut publication: Arc<Publication>, with: Together<'_>) -> Reached {
        let Together { receipt, forward, heard, version, published_at } = with;
        let at = match (forward, published_at) {
            (Some(_), _) => PublishedAt::At(disk::unique_now()),
            (None, Some(at)) => PublishedAt::At(at),
            // Another hub, of an older version, does not say when.
            (None, None) if heard.is_some() => PublishedAt::Unknown,
            (None, None) => PublishedAt::Now,
        };
        let together = (receipt.is_some() || heard.is_some()).then(|| self.disk.together());
        if publication.retain && publication.payload.bytes().len() <= self.retained.payload_max_bytes() {
            let payload = Bytes::copy_from_slice(publication.payload.bytes()).into();
            Arc::make_mut(&mut publication).payload = payload;
        }
        let mut stored = false;
        let mut retained = None;
        if publication.retain {
            // It is retained before it is delivered: a client that subscribes in between gets it twice rather than
            // never. Retained messages of the hub itself are not stored, as the hub publishes them again after a start.
            let durable = publication.publisher.is_some();
            let kept = self.retained.store(&publication, version, |publication, version| {
                if durable {
                    self.disk.order(Op::Retain { publication: Arc::clone(publication), version });
                }
            });
            stored = durable;
            retained = Some(kept);
        }
        let retain_refused = retained == Some(Stored::Refused);
        // Another hub has accepted it.
        if retain_refused && publication.qos != QoS::AtMostOnce && version.is_none() {
            // The publish is refused and may be repeated, so it must have no effect.
            return Reached { subscribers: 0, retain_refused: true, commit: None, held: None };
        }
        // The hub never waits for a slow client.
        let manner = if publication.publisher.is_some() { Manner::Waits } else { Manner::Insists };
        let mut subscribers = 0;
        let mut owed = Owed::default();
        for (target, granted) in self.index.matching(&publication.topic) {
            match target.give(&publication, granted, manner, at) {
                Pushed::Refused => continue,
                Pushed::Queued => {}
                Pushed::Stored => stored = true,
                Pushed::Held => owed.hold(target, granted),
                Pushed::Crowded => owed.crowd(target),
            }
            subscribers += 1;
        }
        if let Some(Receipt { session, id }) = receipt {
            self.disk.order(Op::Received { session, id });
            stored = true;
        }
        if let Some(forward) = forward.filter(|_| !retain_refused) {
            stored |= forward(&publication, retained.and_then(Stored::change), at.time());
        }
        if let Some(heard) = heard.filter(|_| stored) {
            self.disk.order(Op::Heard(heard));
        }
        drop(together);
        self.totals.note(publication.publisher, subscribers);
        self.watch.note(&publication, subscribers);
        let commit = stored.then(|| self.disk.barrier());
        let held = owed.held_until(|| Instant::now() + self.backpressure_max, &publication);
        Reached { subscribers, retain_refused, commit, held }
    }

    /// Whether publishing this would add data to the file: a persistent session subscribes to it, or it is retained and
    /// its topic has no retained message yet.
    pub fn would_store(&self, publication: &Publication) -> bool {
        let Publication { topic, payload, retain, publisher, .. } = publication;
        if *retain && publisher.is_some() && !payload.bytes().is_empty() && !self.retained.holds(topic) {
            return true;
        }
        let is_kept = |(target, granted): (Target, QoS)| {
            granted.min(publication.qos) != QoS::AtMostOnce
                && match &target {
                    Target::Queue(queue) => queue.is_durable(),
                    Target::Share(share) => share.has(Queue::is_durable),
                }
        };
        publication.qos != QoS::AtMostOnce && self.index.matching(topic).into_iter().any(is_kept)
    }

    /// Whether the thread that writes sessions and retained messages runs.
    pub fn is_writing(&self) -> bool {
        self.disk.is_writing()
    }

    /// The counters of the router.
    pub fn figures(&self) -> Figures {
        let (published, delivered) = self.totals.sum();
        Figures {
            connections: self.connections_live(),
            published,
            delivered,
            retained: self.retained.count(),
            dropped: self.disk.dropped(),
        }
    }

    /// The queues and sessions. It looks at every connection and session.
    pub fn depths(&self) -> Depths {
        let mut depths = Depths::default();
        for present in &self.presence {
            for queue in &present.here {
                let queued = queue.depth();
                depths.queued += queued;
                depths.queued_max = depths.queued_max.max(queued);
            }
        }
        for sessions in &self.sessions {
            for is_attached in sessions.iter().filter_map(Weak::upgrade).filter_map(|queue| queue.is_attached()) {
                if is_attached {
                    depths.sessions_connected += 1;
                } else {
                    depths.sessions_away += 1;
                }
            }
        }
        depths
    }

    /// Deletes expired retained messages (v5 §3.3.2.3.3).
    pub fn sweep(&self) {
        self.forget_on_disk(&self.retained.take_expired(disk::now()));
    }

    /// Deletes the retained messages whose first two levels are `group`, such as `toy/<id>`. Returns those of clients of
    /// this hub, with their versions.
    pub fn forget_retained(&self, group: &str) -> Vec<(Topic, Timestamp)> {
        self.forget_on_disk(&self.retained.take_group(group))
    }

    /// Deletes the retained messages whose topics begin with `prefix`, of at least two levels, such as `toy/<id>/cmd/`.
    /// Returns those of clients of this hub, with their versions.
    pub fn forget_retained_below(&self, prefix: &str) -> Vec<(Topic, Timestamp)> {
        self.forget_on_disk(&self.retained.take_below(prefix))
    }

    /// From now on, the database has the retained messages of clients, too. Returns those that it may not have yet.
    pub fn share_retained(&self) -> Vec<(Topic, Timestamp)> {
        self.retained.share();
        self.retained.of_clients()
    }

    /// Whether a topic has a retained message, as far as this hub knows.
    pub fn has_retained(&self, topic: &Topic) -> bool {
        self.retained.holds(topic)
    }

    /// The retained message of a topic, with its version.
    pub fn retained(&self, topic: &Topic) -> Option<(Arc<Publication>, Timestamp)> {
        self.retained.with(topic, |kept| (Arc::clone(&kept.publication), kept.version))
    }

    /// The database has the retained message of a topic, or its deletion, in this version: it need not be on disk any more.
    pub fn note_shared(&self, topic: &Topic, version: Timestamp) {
        self.retained.unless_later(topic, version, || {
            self.disk.order(Op::Retain { publication: Arc::new(retained::erasure_of(topic)), version });
        });
    }

    /// Takes over the retained messages of a group, such as `toy/<id>`, as the database has them, with their versions. Those
    /// that it lacks are deleted, unless `is_unwritten` names them.
    pub fn merge_retained(
        &self,
        group: &str,
        found: Vec<(Publication, Timestamp)>,
        is_unwritten: impl Fn(&Topic, Timestamp) -> bool,
    ) {
        let found =
            found.into_iter().map(|(publication, version)| Kept { publication: Arc::new(publication), version });
        self.forget_on_disk(&self.retained.merge(group, found.collect(), is_unwritten));
    }

    /// Ends the sessions of a party, and deletes their messages.
    pub fn end_sessions(&self, party: &Party) {
        let sessions = self.sessions.remove(party).map(|(_, sessions)| sessions).unwrap_or_default();
        for queue in sessions.iter().filter_map(Weak::upgrade) {
            queue.end_session();
            self.forget_subscriptions(&queue);
        }
    }

    /// The parties with sessions here, and the toys with retained messages.
    pub fn parties_with_data(&self) -> Vec<Party> {
        let sessions = self.sessions.iter().map(|entry| entry.key().clone());
        let mut parties: Vec<Party> = sessions.filter(|party| !presence::is_guest(party)).collect();
        parties.extend(self.retained.groups().iter().filter_map(|group| group.parse().ok()));
        parties
    }

    /// Deletes everything that contains one of `subjects`, ids of parties, chats or messages: retained messages,
    /// messages of sessions, and subscriptions in the file. The file is then rewritten, without the bytes of deleted
    /// data.
    pub async fn erase(&self, subjects: &[String]) -> Result<(), DiskError> {
        let subjects = Arc::new(Subjects::new(subjects));
        self.forget_on_disk(&self.retained.take_naming(&subjects));
        self.disk.order(Op::Erase { subjects });
        self.disk.write_anew().await
    }

    fn note_session(&self, party: &Party, queue: &Arc<Queue>) {
        let mut sessions = self.sessions.entry(party.clone()).or_default();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(queue));
    }

    fn forget_on_disk(&self, forgotten: &[Kept]) -> Vec<(Topic, Timestamp)> {
        let of_clients = forgotten.iter().filter(|kept| kept.publication.publisher.is_some());
        let forget = |Kept { publication, version }: &Kept| {
            self.disk.order(Op::Retain { publication: Arc::new(retained::erasure(publication)), version: *version });
            (publication.topic.clone(), *version)
        };
        of_clients.map(forget).collect()
    }

    /// Whether messages for sessions can be stored now.
    pub fn storage_state(&self) -> StorageState {
        self.disk.state()
    }

    /// Copies the sessions' file to a new one, with everything that was acknowledged so far.
    pub async fn copy_sessions_to(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.copy_to(path).await
    }

    /// A ticket for everything that was ordered to be stored so far.
    pub fn barrier(&self) -> Ticket {
        self.disk.barrier()
    }

    /// Writes the state of the sessions and closes their file.
    pub async fn close(&self) {
        self.disk.close().await;
    }

    /// The number of connections of `party` to this hub.
    pub fn connections(&self, party: &Party) -> usize {
        self.presence.get(party).map_or(0, |present| present.here.len())
    }

    /// The number of all connections.
    pub fn connections_live(&self) -> usize {
        self.connections_live.load(Ordering::Relaxed)
    }

    /// Waits until `party` has no connection to this hub.
    pub async fn left(&self, party: &Party) {
        loop {
            // Created before the check, so that a disconnect in between is not missed.
            let departure = self.departures.notified();
            if self.connections(party) == 0 {
                return;
            }
            departure.await;
        }
    }

    /// Closes every connection of `party`.
    pub fn close_party(&self, party: &Party, reason: CloseReason) {
        if let Some(present) = self.presence.get(party) {
            present.here.iter().for_each(|queue| queue.close(reason));
        }
    }

    /// Whether a party has this live connection.
    pub fn is_connected(&self, party: &Party, id: ConnectionId) -> bool {
        self.presence.get(party).is_some_and(|present| present.here.iter().any(|queue| queue.id() == id))
    }

    /// Closes one live connection of `party`.
    pub fn close_connection(&self, party: &Party, id: ConnectionId, reason: CloseReason) {
        if let Some(present) = self.presence.get(party) {
            present.here.iter().filter(|queue| queue.id() == id).for_each(|queue| queue.close(reason));
        }
    }

    /// Closes every connection.
    pub fn close_all(&self, reason: CloseReason) {
        for present in &self.presence {
            present.here.iter().for_each(|queue| queue.close(reason));
        }
    }

    /// Removes a connection whose mailbox was dropped. The queue of a persistent session stays in the index.
    fn detach(&self, queue: &Arc<Queue>) {
        if !queue.park() {
            // The reason is not read any more; a closed queue accepts no more messages from publishers that hold it.
            queue.close(CloseReason::ShuttingDown);
            self.forget_subscriptions(queue);
        }
        self.connections_live.fetch_sub(1, Ordering::Relaxed);
        self.presence.remove_if_mut(queue.party(), |party, present| {
            present.here.retain(|other| other.id() != queue.id());
            if present.here.is_empty() {
                self.note_move(party, false);
                if present.elsewhere == 0 {
                    self.announce(party, b"0");
                }
            }
            present.is_empty()
        });
        self.departures.notify_waiters();
    }

    fn forget_subscriptions(&self, queue: &Arc<Queue>) {
        for (filter, share) in queue.take_filters() {
            self.remove_subscription(queue, &filter, share.as_deref());
        }
    }

    fn insert_subscription(&self, queue: &Arc<Queue>, subscription: &Subscription) {
        let Subscription { filter, share, qos, .. } = subscription;
        match share {
            None => self.index.insert(filter, &Target::Queue(Arc::clone(queue)), *qos),
            Some(_) => self.shares.join(
                &subscription.text(),
                queue,
                *qos,
                || self.next_id(),
                |share| {
                    // The quality of service of each member applies when its turn comes.
                    self.index.insert(filter, &Target::Share(share), QoS::ExactlyOnce);
                },
            ),
        }
    }

    fn remove_subscription(&self, queue: &Arc<Queue>, filter: &TopicFilter, share: Option<&str>) {
        match share {
            None => self.index.remove(filter, queue.id()),
            Some(name) => {
                let text = format!("$share/{name}/{filter}");
                self.shares.leave(&text, queue.id(), |share| self.index.remove(filter, share));
            }
        }
    }
}

/// The counters of the router since the start, and its current state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Connections of all protocols.
    pub connections: usize,
    /// Published messages.
    pub published: u64,
    /// Deliveries of published messages.
    pub delivered: u64,
    /// Retained messages.
    pub retained: usize,
    /// Stored messages that were dropped at a limit.
    pub dropped: u64,
}

/// The present queues and sessions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    /// Messages in the queues of all connections, in memory.
    pub queued: usize,
    /// Messages in the longest of these queues.
    pub queued_max: usize,
    /// Persistent sessions that a connection serves.
    pub sessions_connected: usize,
    /// Persistent sessions without a connection.
    pub sessions_away: usize,
}

#[cfg(test)]
mod tests;
