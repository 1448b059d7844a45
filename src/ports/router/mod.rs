//! The topic router: who listens to what, shared by every edge and by the hub itself.
//!
//! There is no central thread. A publish runs on the publisher's task: it looks its topic up in the
//! `index`, then puts one shared [`Publication`] into each subscriber's bounded queue (`mailbox`).
//! Whatever a subscriber does with its queue, it never makes a publisher or another subscriber wait.
//! Because a publisher puts its messages into the queues one after the other itself, their order is kept.
//!
//! The router knows nothing of permissions, wires and databases: what a party may publish and hear is
//! the hub's rule, and what must survive a lost connection is in the store before it comes here.
//!
//! Locks are taken in one order and never held across an `await`:
//! presence, then index or retained messages, then one queue.

mod index;
mod mailbox;
mod retained;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use crate::model::{Party, QoS, Topic};

pub use mailbox::{CloseReason, Incoming, Mailbox, MailboxHandle, TooManySubscriptions};

use index::Index;
use mailbox::{Pushed, Queue};
use retained::{Retained, Stored};

/// One connection, of whatever protocol, for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// A message on its way, shared by all who receive it.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Where it is published.
    pub topic: Topic,
    /// What is published.
    pub payload: Bytes,
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Whether the topic keeps it for later subscribers (MQTT 3.1.1 §3.3.1.3).
    pub retain: bool,
    /// The connection that it came from; none where the hub speaks for itself.
    pub publisher: Option<ConnectionId>,
}

/// A publication for one subscriber.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What was published.
    pub publication: Arc<Publication>,
    /// The lesser of the publisher's quality of service and the granted one (MQTT 3.1.1 §3.8.4).
    pub qos: QoS,
    /// The flag to send: set only on a retained message that is sent because of a new subscription (§3.3.1.3).
    pub retain: bool,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Connections whose queue took the message.
    pub subscribers: usize,
    /// Whether it was to be retained and a limit forbade it; an older retained message is then gone too.
    pub retain_refused: bool,
}

/// How much the router keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLimits {
    /// Filters that one connection may subscribe to.
    pub subscriptions_max: usize,
    /// Retained messages in all.
    pub retained_messages_max: usize,
    /// How large the payload of a retained message may be.
    pub retained_max_bytes: usize,
}

/// Routes publications to the mailboxes whose filters match.
#[derive(Debug)]
pub struct Router {
    index: Index,
    retained: Retained,
    /// The live connections of each party that has any.
    presence: DashMap<Party, Vec<Arc<Queue>>>,
    subscriptions_max: usize,
    connections_made: AtomicU64,
    connections_live: AtomicUsize,
    crowding: AtomicU64,
}

impl Router {
    /// An empty router.
    pub fn new(limits: RouterLimits) -> Arc<Self> {
        Arc::new(Self {
            index: Index::default(),
            retained: Retained::new(limits.retained_messages_max, limits.retained_max_bytes),
            presence: DashMap::new(),
            subscriptions_max: limits.subscriptions_max,
            connections_made: AtomicU64::new(0),
            connections_live: AtomicUsize::new(0),
            crowding: AtomicU64::new(0),
        })
    }

    /// A new connection of `party`, whose mailbox holds at most `queue_messages_max` deliveries.
    ///
    /// The first connection of a party publishes the retained `online/<id>` = `1`.
    pub fn connect(self: &Arc<Self>, party: Party, queue_messages_max: usize) -> Mailbox {
        let id = ConnectionId(self.connections_made.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(Queue::new(id, party.clone(), queue_messages_max));
        self.connections_live.fetch_add(1, Ordering::Relaxed);
        // The entry stays locked while `online/<id>` is published, so that a first connection and the end of
        // a last one cannot announce themselves in the wrong order.
        let mut connections = self.presence.entry(party).or_default();
        connections.reserve_exact(1);
        connections.push(Arc::clone(&queue));
        if connections.len() == 1 {
            self.announce(connections.key(), b"1");
        }
        drop(connections);
        Mailbox::new(Arc::clone(self), queue)
    }

    /// Gives `publication` to every connection that subscribes to its topic.
    ///
    /// A retained one is kept for later subscribers, with a copy of its payload, since the payload may be a
    /// slice that holds on to a large read buffer. An empty retained payload deletes (MQTT 3.1.1 §3.3.1.3).
    pub fn publish(&self, mut publication: Publication) -> Reached {
        if publication.retain && publication.payload.len() <= self.retained.payload_max_bytes() {
            publication.payload = Bytes::copy_from_slice(&publication.payload);
        }
        let publication = Arc::new(publication);
        // Kept first, delivered second: whoever subscribes in between gets it twice rather than never.
        let stored = if publication.retain { self.retained.store(&publication) } else { Stored::Kept };
        let mut subscribers = 0;
        for (queue, granted) in self.index.matching(&publication.topic) {
            let qos = granted.min(publication.qos);
            let delivery = Delivery { publication: Arc::clone(&publication), qos, retain: false };
            match queue.push(delivery) {
                Pushed::Refused => continue,
                Pushed::Queued => {}
                Pushed::Crowded => {
                    self.crowding.fetch_add(1, Ordering::Relaxed);
                }
            }
            subscribers += 1;
        }
        Reached { subscribers, retain_refused: stored == Stored::Refused }
    }

    /// Whether `party` has a connection.
    pub fn online(&self, party: &Party) -> bool {
        self.presence.contains_key(party)
    }

    /// How many connections `party` has.
    pub fn connections(&self, party: &Party) -> usize {
        self.presence.get(party).map_or(0, |connections| connections.len())
    }

    /// How many connections there are in all.
    pub fn connections_live(&self) -> usize {
        self.connections_live.load(Ordering::Relaxed)
    }

    /// Closes every connection of `party`.
    pub fn close_party(&self, party: &Party, reason: CloseReason) {
        if let Some(connections) = self.presence.get(party) {
            connections.iter().for_each(|queue| queue.close(reason));
        }
    }

    /// Closes every connection.
    pub fn close_all(&self, reason: CloseReason) {
        for connections in &self.presence {
            connections.iter().for_each(|queue| queue.close(reason));
        }
    }

    /// Forgets a connection whose mailbox was dropped.
    fn disconnect(&self, queue: &Arc<Queue>) {
        // Nobody is left to see the reason; a closed queue takes nothing more from publishers that hold it.
        queue.close(CloseReason::ShuttingDown);
        for filter in queue.take_filters() {
            self.index.remove(&filter, queue.id());
        }
        self.connections_live.fetch_sub(1, Ordering::Relaxed);
        self.presence.remove_if_mut(queue.party(), |party, connections| {
            connections.retain(|other| other.id() != queue.id());
            if connections.is_empty() {
                self.announce(party, b"0");
            }
            connections.is_empty()
        });
    }

    /// Publishes whether `party` is online. Called with the party's presence entry locked.
    fn announce(&self, party: &Party, online: &'static [u8]) {
        let Ok(topic) = format!("online/{}", party.id()).parse::<Topic>() else { return };
        let payload = Bytes::from_static(online);
        self.publish(Publication { topic, payload, qos: QoS::AtLeastOnce, retain: true, publisher: None });
    }
}

#[cfg(test)]
mod tests;
