//! Persistent sessions: their queue stays in the index without a connection, and their messages are stored by `disk`.

use std::sync::Arc;

use super::disk::{Entry, Op, StoredSession};
use super::queue::{Durable, Manner, PublishedAt, Queue};
use super::{ConnectionId, Delivery, Mailbox, Publication, QueueLimits, Router, Subscription};
use crate::model::{Party, QoS, Timestamp};

/// A persistent session, with or without a connection.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    router: Arc<Router>,
    pub(super) queue: Arc<Queue>,
}

impl Router {
    /// Creates a persistent session. It stays in the file until [`SessionHandle::end`].
    pub fn open_session(
        self: &Arc<Self>,
        party: Party,
        client_id: &str,
        limits: QueueLimits,
        expiry_s: u32,
    ) -> SessionHandle {
        let session = self.disk.new_session();
        let client_id = client_id.to_owned();
        self.disk.order(Op::Open { session, party: party.clone(), client_id, expiry_s });
        let durable = Durable::new(self.disk.clone(), session, 0, expiry_s);
        let queue = Arc::new(Queue::new(self.next_id(), party, limits, Some(durable)));
        self.note_session(queue.party(), &queue);
        SessionHandle { router: Arc::clone(self), queue }
    }

    /// Restores a session of an earlier process, which then receives messages again.
    pub fn restore_session(self: &Arc<Self>, stored: &StoredSession, limits: QueueLimits) -> SessionHandle {
        let durable = Durable::new(self.disk.clone(), stored.id, stored.last_seq, stored.expiry_s);
        let queue = Arc::new(Queue::new(self.next_id(), stored.party.clone(), limits, Some(durable)));
        queue.note_seen(stored.seen_at);
        self.note_session(queue.party(), &queue);
        for subscription in &stored.subscriptions {
            queue.remember(subscription);
            self.insert_subscription(&queue, subscription);
        }
        SessionHandle { router: Arc::clone(self), queue }
    }
}

impl SessionHandle {
    pub(super) fn new(router: Arc<Router>, queue: Arc<Queue>) -> Self {
        Self { router, queue }
    }

    /// The party of the session.
    pub fn party(&self) -> &Party {
        self.queue.party()
    }

    /// Waits until the session is in the file; false if it could not be written.
    pub async fn is_stored(&self) -> bool {
        self.router.disk.barrier().reached().await
    }

    /// Its subscriptions.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.queue.state().filters.iter().map(|known| known.subscription.clone()).collect()
    }

    /// The last number that its stored queue has given; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.queue.state().backlog.as_ref().map_or(0, |backlog| backlog.last_seq)
    }

    /// At most `limit` messages of the stored queue with numbers above `after`, up to `up_to`, oldest first; none if they
    /// cannot be read now.
    pub async fn stored(&self, (after, up_to): (u64, u64), limit: usize) -> Option<Vec<Entry>> {
        let durable = self.queue.durable.as_ref()?;
        self.router.disk.page(durable.session, (after, up_to), limit, ConnectionId::NOBODY).await
    }

    /// Messages of another session are added to this one, and the bus may bring some of them, too: from now on, one that was
    /// published with the same content at the same time is queued once, if there are no more than `max` others in between.
    pub fn begin_merge(&self, max: usize) {
        self.queue.begin_merge(max);
    }

    /// The end of [`Self::begin_merge`].
    pub fn end_merge(&self) {
        self.queue.end_merge();
    }

    /// Queues a message for this session alone, behind those that it has.
    pub fn enqueue(&self, publication: Publication, qos: QoS, retain: bool, published_at: Option<Timestamp>) {
        let delivery = Delivery { publication: Arc::new(publication), qos, retain, stored: None };
        let at = published_at.map_or(PublishedAt::Unknown, PublishedAt::At);
        self.queue.push(delivery, Manner::Insists, at);
    }

    /// The client has connected to another hub at `since`, which keeps its messages. This session keeps those that are
    /// published up to `until`, and none of later until the client is back.
    pub fn note_elsewhere(&self, since: Timestamp, until: Timestamp) {
        self.queue.note_elsewhere(since, until);
    }

    /// Attaches a connection. It gets the stored messages first.
    pub fn attach(&self) -> Mailbox {
        self.queue.unpark();
        self.router.attach(Arc::clone(&self.queue))
    }

    /// Ends the session, and deletes its subscriptions and its queue.
    pub fn end(&self) {
        self.queue.end_session();
        self.router.forget_subscriptions(&self.queue);
    }
}
