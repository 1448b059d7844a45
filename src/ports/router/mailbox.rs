//! The receiving end of one connection.
//!
//! A worked example: a toy connects, gets a command, and is disconnected by another task.
//!
//! ```text
//! let mut mailbox = router.connect(toy, limits)       // first connection of the toy: online/<id> is 1
//! mailbox.subscribe(toy/<id>/cmd/+, IfNew)            // matching retained messages are queued
//! router.publish(toy/<id>/cmd/volume)                 // by the publisher's task, into the queue of the mailbox
//! mailbox.recv().await                                // Delivery
//! mailbox.handle().close(Revoked)                     // queued deliveries are dropped
//! mailbox.recv().await                                // Closed(Revoked), from now on
//! drop(mailbox)                                       // no subscriptions any more; online/<id> is 0
//! ```
//!
//! With a persistent session, `recv` first returns `Backlog`, until [`Mailbox::backlog`] has read the stored queue; and
//! the subscriptions outlive the mailbox.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use smallvec::SmallVec;

use super::disk::{self, Disk, Entry, Op, SessionId, Ticket};
use super::queue::{Awaited, Known, Manner, PublishedAt, Queue, State};
use super::{ConnectionId, Delivery, Publication, QueuePosition, Receipt, Router, SessionHandle, Subscription};
use crate::model::{Party, QoS, Timestamp, Topic, TopicFilter};

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The same client connected again.
    TakenOver,
    /// The client has read no message while its publishers waited, or the hub's own messages have filled its queue.
    /// Those stay in the store.
    SlowConsumer,
    /// Its login is no longer valid: a token was revoked or has expired, or a toy was unbound.
    Revoked,
    /// The hub stops.
    ShuttingDown,
    /// The hub cannot serve it now: it has lost its database.
    Unavailable,
    /// The party has too many connections.
    TooManyConnections,
}

/// An item of a mailbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A message.
    Delivery(Delivery),
    /// There are messages in the stored queue of the session: see [`Mailbox::backlog`].
    Backlog,
    /// The connection is to end; nothing follows.
    Closed(CloseReason),
}

/// The number of deliveries that are taken at once at most.
const TAKEN_MAX: usize = 16;

/// Deliveries that are taken from a mailbox at once, in order.
#[derive(Debug)]
pub struct Taken {
    /// The deliveries.
    pub deliveries: SmallVec<[Delivery; TAKEN_MAX]>,
    messages_left: usize,
    bytes_left: usize,
    /// Their size, which is at least that of their packets if they are no events of the hub.
    pub bytes: usize,
}

impl Taken {
    /// None yet, and room for so many messages, the last of which reaches the limit in bytes.
    pub fn up_to(messages: usize, bytes: usize) -> Self {
        let messages_left = messages.min(TAKEN_MAX);
        Self { deliveries: SmallVec::new(), messages_left, bytes_left: bytes, bytes: 0 }
    }

    /// Whether there is room for another one.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.messages_left > 0 && self.bytes_left > 0
    }

    #[inline]
    pub(super) fn put(&mut self, delivery: Delivery, bytes: usize) {
        self.messages_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.bytes += bytes;
        self.deliveries.push(delivery);
    }
}

/// A connection has too many subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for another subscription")]
pub struct TooManySubscriptions;

/// Whether a new subscription is sent the retained messages that match (v5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayRetained {
    /// At every SUBSCRIBE.
    Always,
    /// If the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// The receiving end of one connection. Dropping it makes the connection offline, however its loop ended: its
/// subscriptions are removed, except for those of a persistent session, and the last connection of a party publishes
/// the retained `online/<id>` = `0`.
#[derive(Debug)]
pub struct Mailbox {
    router: Arc<Router>,
    pub(super) queue: Arc<Queue>,
}

impl Mailbox {
    pub(super) fn new(router: Arc<Router>, queue: Arc<Queue>) -> Self {
        Self { router, queue }
    }

    /// The party of the connection.
    #[inline]
    pub fn party(&self) -> &Party {
        &self.queue.party
    }

    /// The id of the connection.
    #[inline]
    pub fn connection_id(&self) -> ConnectionId {
        self.queue.id
    }

    /// Subscribes, or changes the quality of service of a subscription (MQTT 3.1.1 §3.8.4); returns true if it is new.
    /// Then all matching retained messages are queued, including those that were sent before.
    pub fn subscribe(
        &self,
        subscription: &Subscription,
        retained: ReplayRetained,
    ) -> Result<bool, TooManySubscriptions> {
        let Subscription { filter, share, qos, .. } = subscription;
        let (is_new, is_stored) = {
            let mut state = self.queue.state();
            let (is_new, is_stored) = match state.filters.iter_mut().find(|known| known.is(filter, share.as_deref())) {
                Some(known) => {
                    let is_stored = known.is_stored && known.subscription == *subscription;
                    *known = Known { subscription: subscription.clone(), is_stored: true };
                    (false, is_stored)
                }
                None => {
                    if state.filters.len() >= self.router.subscriptions_max {
                        return Err(TooManySubscriptions);
                    }
                    state.filters.reserve_exact(1);
                    state.filters.push(Known { subscription: subscription.clone(), is_stored: true });
                    (true, false)
                }
            };
            state.is_changed |= !is_stored;
            (is_new, is_stored)
        };
        // Most clients repeat their subscriptions at every connect; a repeated one is not written.
        if !is_stored && let Some((disk, session)) = self.disk() {
            disk.order(Op::Subscribe { session, subscription: subscription.clone() });
        }
        // The subscription precedes the retained messages: a message that is published in between may be sent twice.
        self.router.insert_subscription(&self.queue, subscription);
        let replay = match retained {
            ReplayRetained::Always => true,
            ReplayRetained::IfNew => is_new,
            ReplayRetained::Never => false,
        };
        // v5 §4.8.2: a shared subscription gets no retained messages.
        if replay && share.is_none() {
            self.router.retained.for_each_matching(filter, |publication| {
                let qos = (*qos).min(publication.qos);
                let delivery = Delivery { publication: Arc::clone(publication), qos, retain: true, stored: None };
                self.queue.push(delivery, Manner::Insists, PublishedAt::Unknown);
            });
        }
        Ok(is_new)
    }

    /// Ends a subscription. Returns false if there was none. Messages that are queued already are still sent (MQTT
    /// 3.1.1 §3.10.4).
    pub fn unsubscribe(&self, filter: &TopicFilter, share: Option<&str>) -> bool {
        self.router.unsubscribe(&self.queue, filter, share)
    }

    /// The filters of the connection, with the group of a shared one.
    pub fn subscriptions(&self) -> Vec<(TopicFilter, Option<Box<str>>)> {
        let of = |known: &Known| (known.subscription.filter.clone(), known.subscription.share.clone());
        self.queue.state().filters.iter().map(of).collect()
    }

    fn disk(&self) -> Option<(&Disk, SessionId)> {
        self.queue.durable.as_ref().map(|durable| (&durable.disk, durable.session))
    }

    /// Whether the session outlives this connection.
    pub fn is_durable(&self) -> bool {
        self.queue.durable.is_some()
    }

    /// The session that outlives this connection.
    pub fn session(&self) -> Option<SessionHandle> {
        self.is_durable().then(|| SessionHandle::new(Arc::clone(&self.router), Arc::clone(&self.queue)))
    }

    /// Sets the expiry interval of the session, which this connection serves.
    pub fn set_expiry(&self, seconds: u32) {
        let mut state = self.queue.state();
        if let (Some(backlog), Some((disk, session))) = (&mut state.backlog, self.disk()) {
            backlog.expiry_s = seconds;
            // In the file, a session does not expire while it is served.
            disk.order(Op::Lifetime { session, expiry_s: seconds, ended_at: 0.0 });
        }
    }

    /// The last number of the session's stored queue; none without such a session.
    pub fn last_seq(&self) -> Option<u64> {
        self.queue.state().backlog.as_ref().map(|backlog| backlog.last_seq)
    }

    /// At most `limit` messages of the stored queue, oldest first. When all are read, new messages are queued in memory
    /// again.
    pub async fn backlog(&mut self, limit: usize) -> Vec<Delivery> {
        let Some(durable) = &self.queue.durable else { return Vec::new() };
        let read_to = |state: &State| {
            let backlog = state.backlog.as_ref()?;
            Some((backlog.cursor, backlog.last_seq, state.read_limit()))
        };
        let Some((cursor, last_seq, up_to)) = read_to(&self.queue.state()) else { return Vec::new() };
        let entries = durable.disk.page(durable.session, (cursor, up_to), limit, self.queue.id).await;
        // The file cannot be read now: the messages stay there, and this is called again.
        let Some(entries) = entries else { return Vec::new() };
        let mut state = self.queue.state();
        let Some(backlog) = &mut state.backlog else { return Vec::new() };
        if let Some(last) = entries.last() {
            backlog.cursor = last.seq;
        }
        if entries.len() < limit {
            backlog.cursor = backlog.cursor.max(last_seq.min(up_to));
            backlog.live = backlog.cursor == backlog.last_seq;
        }
        let (deliveries, replayed) = state.give_page(entries);
        drop(state);
        replayed.into_iter().for_each(|seq| self.forget(seq));
        deliveries
    }

    /// The client has acknowledged a stored message completely.
    pub fn forget(&self, seq: u64) {
        if let Some((disk, session)) = self.disk() {
            disk.order(Op::Forget { session, seq });
        }
    }

    /// Gives a stored message another number, and packet id, behind all others.
    pub fn renumber(&self, delivery: &Delivery) {
        let Delivery { publication, qos, retain, stored: Some(QueuePosition { seq, released, .. }) } = delivery else {
            return;
        };
        if *released {
            return self.forget(*seq);
        }
        let (publication, published_at) = (Arc::clone(publication), disk::unique_now());
        self.queue.renumber(vec![Entry {
            seq: *seq,
            publication,
            qos: *qos,
            retain: *retain,
            released: false,
            published_at,
        }]);
    }

    /// The client has received a stored message of QoS 2 (PUBREC). Wait for the ticket before PUBREL is sent.
    pub fn release(&self, seq: u64) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Release { session, seq });
        Some(disk.barrier())
    }

    /// A QoS 2 message of the client was routed, and must not be routed again until the id is released.
    pub fn received(&self, id: u16) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Received { session, id });
        Some(disk.barrier())
    }

    /// The receipt that [`Router::publish_once`] stores with a QoS 2 message of the client; none without a persistent
    /// session.
    pub fn receipt(&self, id: u16) -> Option<Receipt> {
        self.disk().map(|(_, session)| Receipt { session, id })
    }

    /// The client has released the id of a QoS 2 message (PUBREL).
    pub fn completed(&self, id: u16) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Completed { session, id });
        Some(disk.barrier())
    }

    /// The ticket to wait for, if subscriptions of a persistent session have changed since the last call.
    pub fn commit(&self) -> Option<Ticket> {
        let (disk, _) = self.disk()?;
        std::mem::take(&mut self.queue.state().is_changed).then(|| disk.barrier())
    }

    /// After a failed commit: the next SUBSCRIBE writes its subscriptions, whether or not they are known.
    pub fn doubt_subscriptions(&self) {
        self.queue.state().filters.iter_mut().for_each(|known| known.is_stored = false);
    }

    /// Queues messages for this connection alone, independently of its subscriptions: after the messages that are stored
    /// for it now, and before later ones. They are not stored in its session, and replace an earlier replay that was not
    /// sent yet. A message that is in the session, too, is deleted there, and sent in the order of the replay.
    pub fn replay(&self, publications: Vec<Arc<Publication>>, granted: QoS) {
        let deliveries = publications.into_iter().map(|publication| {
            let qos = granted.min(publication.qos);
            Delivery { publication, qos, retain: false, stored: None }
        });
        self.queue.state().set_replay(deliveries.collect());
    }

    /// The quality of service at which the connection receives `topic`, by any of its subscriptions.
    pub fn granted(&self, topic: &Topic) -> Option<QoS> {
        let subscribers = self.router.index.matching(topic);
        subscribers.into_iter().find(|(target, _)| target.id() == self.queue.id).map(|(_, granted)| granted)
    }

    /// Records that the connection got its replay when it resumed its session.
    pub fn set_replayed(&self) {
        self.queue.state().is_replayed = true;
    }

    /// Whether that was recorded; resets it.
    pub fn take_replayed(&self) -> bool {
        std::mem::take(&mut self.queue.state().is_replayed)
    }

    /// Closes the mailbox. The first reason is kept.
    pub fn close(&self, reason: CloseReason) {
        self.queue.close(reason);
    }

    /// A handle that closes this mailbox.
    pub fn handle(&self) -> MailboxHandle {
        MailboxHandle(Arc::downgrade(&self.queue))
    }

    /// The number of deliveries of QoS 0, and of retained messages for new subscriptions, that were dropped because the
    /// mailbox was full.
    pub fn dropped(&self) -> u64 {
        self.queue.state().dropped
    }

    /// Splits off the receiving end, so that its owner can subscribe while it waits for deliveries.
    pub fn split(&mut self) -> (&Self, Deliveries<'_>) {
        let shared = &*self;
        (shared, Deliveries(shared))
    }

    /// As [`Deliveries::recv`].
    pub async fn recv(&mut self) -> Incoming {
        Deliveries(self).recv().await
    }

    /// As [`Self::recv`], for an owner that waits for several events without a future for each. Without `takes_deliveries`,
    /// it waits until the mailbox is closed and leaves deliveries in the queue: for a connection that cannot send more now.
    ///
    /// It does not notice that the stored queue can be read again: wait for [`Self::repaired`], too.
    pub fn poll(&mut self, takes_deliveries: bool, context: &mut Context<'_>) -> Poll<Incoming> {
        self.queue.poll(context, if takes_deliveries { Awaited::Delivery } else { Awaited::Close })
    }

    /// Resolves when the stored queue can be read again; none if it can be read, or if there is none.
    pub fn repaired(&self) -> Option<BoxFuture<'static, ()>> {
        let (disk, _) = self.disk().filter(|(disk, _)| !disk.is_writable())?;
        let disk = disk.clone();
        Some(Box::pin(async move { disk.writable().await }))
    }

    /// Takes the deliveries that are there, as many as `taken` is for. Returns the next item if it is none of them.
    pub fn take(&mut self, taken: &mut Taken) -> Option<Incoming> {
        self.queue.take(taken)
    }

    /// As [`Self::recv`], without waiting.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.queue.next(Awaited::Delivery)
    }
}

/// The receiving end of a mailbox. There is only one at a time.
#[derive(Debug)]
pub struct Deliveries<'a>(&'a Mailbox);

impl Deliveries<'_> {
    /// The next delivery, in order. Once the mailbox is closed, always the reason: queued messages of QoS 1 and 2 stay
    /// in the store.
    ///
    /// Cancel-safe: a delivery leaves the queue only with the value that is returned.
    pub async fn recv(&mut self) -> Incoming {
        let next = poll_fn(|context| self.0.queue.poll(context, Awaited::Delivery));
        let Some((disk, _)) = self.0.disk().filter(|(disk, _)| !disk.is_writable()) else { return next.await };
        let mut next = std::pin::pin!(next);
        tokio::select! {
            biased;
            incoming = &mut next => incoming,
            // The stored queue can be read again.
            () = disk.writable() => next.await,
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.router.detach(&self.queue);
    }
}

/// Closes a mailbox that another task owns. Does not keep it alive.
#[derive(Debug, Clone)]
pub struct MailboxHandle(pub(super) Weak<Queue>);

impl MailboxHandle {
    /// Closes the mailbox, if it still exists. The first reason is kept.
    pub fn close(&self, reason: CloseReason) {
        if let Some(queue) = self.0.upgrade() {
            queue.close(reason);
        }
    }

    /// As [`SessionHandle::note_elsewhere`], if it serves a session.
    pub fn note_elsewhere(&self, since: Timestamp, until: Timestamp) {
        if let Some(queue) = self.0.upgrade() {
            queue.note_elsewhere(since, until);
        }
    }
}
