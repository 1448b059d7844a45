//! Persistent sessions: their queue stays in the index without a connection, and their messages are stored by `disk`.

use std::collections::HashSet;
use std::sync::Arc;

use super::backlog::{EarlyDeliveries, Fingerprint};
use super::disk::{self, Entry, Op, StoredSession};
use super::queue::{Durable, MOVE_MAX_S, Manner, PublishedAt, Queue};
use super::{ConnectionId, Delivery, Mailbox, MailboxHandle, Publication, QueueLimits, Router, Subscription};
use crate::model::{Party, QoS, Timestamp};

/// How long a message is on its way between two hubs, in seconds.
const ON_ITS_WAY_MAX_S: f64 = 5.0;
/// Messages that are read from the file at once before a merge.
const MERGE_PAGE: usize = 256;

/// A message that an earlier hub has sent to the client of a session, which has not acknowledged it.
#[derive(Debug)]
pub struct InFlight {
    /// Its number there, which makes its packet id.
    pub seq: u64,
    /// The message.
    pub publication: Publication,
    /// The quality of service that it is delivered at.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// When it was published.
    pub published_at: Option<Timestamp>,
}

impl InFlight {
    fn fingerprint(&self) -> Option<Fingerprint> {
        self.published_at.map(|at| Fingerprint::of(&self.publication, at))
    }
}

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

    /// The session that a connection serves, if that outlives it.
    pub fn session_of(self: &Arc<Self>, mailbox: &MailboxHandle) -> Option<SessionHandle> {
        let queue = mailbox.0.upgrade().filter(|queue| queue.is_durable())?;
        Some(SessionHandle::new(Arc::clone(self), queue))
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

    /// Whether this is that session.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    /// Whether the session has not ended.
    pub fn is_kept(&self) -> bool {
        self.queue.state().backlog.is_some()
    }

    /// Waits until the session is in the file; false if it could not be written.
    pub async fn is_stored(&self) -> bool {
        self.router.disk.barrier().reached().await
    }

    /// When its client was last here, as far as is known, as a time for ages.
    pub fn seen_at(&self) -> Timestamp {
        self.queue.state().backlog.as_ref().map_or(0.0, |backlog| backlog.seen_at)
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

    /// Messages of another session of the client are added to this one, and the bus may bring some of them, too: from now
    /// on, one that was published with the same content at the same time is queued once, if there are no more than `max`
    /// others in between. So is one that this session has stored before. Those that the other session has delivered are
    /// dropped, and those that it has sent without an acknowledgement are queued first, with their packet ids. Those that
    /// this session has get other ones then, as the client does not know them any more. None gets an id of `released`: the
    /// client has not completed their release. False if this is not on disk.
    pub async fn begin_merge(
        &self,
        max: usize,
        delivered: Option<&EarlyDeliveries>,
        in_flight: Vec<InFlight>,
        released: &[u16],
    ) -> bool {
        self.queue.begin_merge(max, delivered);
        let known: HashSet<_> = delivered.into_iter().flat_map(|delivered| &delivered.messages).copied().collect();
        let on_their_way: HashSet<_> = in_flight.iter().filter_map(InFlight::fingerprint).collect();
        let until = delivered.map(|delivered| delivered.until);
        // What is stored from now on is noted as it comes.
        let (last, is_renumbered) = (self.last_seq(), !in_flight.is_empty() || !released.is_empty());
        let is_dropped = |entry: &Entry| {
            let message = fingerprint(entry);
            let is_elsewhere = until.is_some_and(|until| was_elsewhere(entry, until));
            known.contains(&message) || on_their_way.contains(&message) || is_elsewhere
        };
        let Some(()) = self
            .for_each_page(last, |page| {
                for entry in page {
                    if is_dropped(&entry) || (is_renumbered && entry.released) {
                        self.forget(entry.seq);
                    } else {
                        self.queue.note_stored(std::iter::once((fingerprint(&entry), &entry)));
                    }
                }
            })
            .await
        else {
            return false;
        };
        let ids = in_flight.iter().map(|message| message.seq).chain(released.iter().map(|id| u64::from(*id)));
        let ids: Vec<u64> = ids.collect();
        for message in in_flight {
            let (seq, at) = (message.seq, message.published_at.map_or(PublishedAt::Unknown, PublishedAt::At));
            let InFlight { publication, qos, retain, .. } = message;
            let delivery = Delivery { publication: Arc::new(publication), qos, retain, stored: None };
            self.queue.push_as(delivery, Manner::Insists, at, Some(seq));
        }
        self.queue.continue_beside(&ids);
        if is_renumbered && self.for_each_page(last, |page| self.queue.renumber(page)).await.is_none() {
            return false;
        }
        !is_renumbered || self.is_stored().await
    }

    /// The stored messages up to this number, in pages, oldest first; none if they cannot be read now.
    async fn for_each_page(&self, up_to: u64, mut act: impl FnMut(Vec<Entry>)) -> Option<()> {
        let mut after = 0;
        while after < up_to {
            let page = self.stored((after, up_to), MERGE_PAGE).await?;
            let Some(end) = page.last() else { break };
            after = end.seq;
            act(page);
        }
        Some(())
    }

    /// The session has begun anew, as the hub of the one before is away. That one takes what is published up to `until`,
    /// too.
    pub fn begin_anew(&self, until: Timestamp) {
        self.queue.share(until);
    }

    /// Another hub gets the messages of this session, which may be kept here all the same: from now on, those that are
    /// delivered here are known.
    pub async fn share(&self) {
        self.queue.share(disk::now() + MOVE_MAX_S);
        let note = |page: Vec<Entry>| self.queue.note_stored(page.iter().map(|entry| (fingerprint(entry), entry)));
        if self.for_each_page(self.last_seq(), note).await.is_none() {
            tracing::debug!("the messages of a session cannot be read now: its client may get some again");
        }
    }

    /// What this session, which no connection serves, has delivered of the messages that another one may have, too; none if
    /// there is no other one, or if its queue cannot be read now.
    pub async fn delivered(&self) -> Option<EarlyDeliveries> {
        let mut delivered = self.queue.shared()?;
        let mut queued = HashSet::new();
        // The client has a released one.
        let note = |page: Vec<Entry>| queued.extend(page.iter().filter(|entry| !entry.released).map(fingerprint));
        self.for_each_page(self.last_seq(), note).await?;
        delivered.messages.retain(|message| !queued.contains(message));
        Some(delivered)
    }

    fn forget(&self, seq: u64) {
        if let Some(durable) = &self.queue.durable {
            durable.disk.order(Op::Forget { session: durable.session, seq });
        }
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

    /// At most `limit` messages that were sent to the client, or may have been, and that it has not acknowledged, oldest
    /// first. They are none if they cannot be read now. Those that wait for their release are not among them.
    pub async fn in_flight(&self, limit: usize) -> Vec<Entry> {
        let given = self.queue.state().backlog.as_ref().map_or(0, |backlog| backlog.last_given());
        let mut page = self.stored((0, given), limit).await.unwrap_or_default();
        page.retain(|entry| !entry.released);
        page
    }

    /// The client has connected to another hub at `since`, which keeps its messages. This session keeps those that are
    /// published up to `until`, and none of later until the client is back. False if the client was here at about that time:
    /// then nothing changes.
    pub fn note_elsewhere(&self, since: Timestamp, until: Timestamp) -> bool {
        self.queue.note_elsewhere(since, until)
    }

    /// As [`Self::note_elsewhere`], where it is certain. What it has of later is deleted.
    pub async fn leave(&self, until: Timestamp) {
        if !self.queue.leave(until) {
            return;
        }
        let forget = |page: Vec<Entry>| {
            page.iter().filter(|entry| was_elsewhere(entry, until)).for_each(|entry| self.forget(entry.seq));
        };
        if self.for_each_page(self.last_seq(), forget).await.is_none() {
            tracing::debug!("the messages of a session cannot be read now: its client may get some again");
        }
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

fn fingerprint(entry: &Entry) -> Fingerprint {
    Fingerprint::of(&entry.publication, entry.published_at)
}

/// Whether the other hub has surely got a message, which was published after `until`, when its session was there alone.
fn was_elsewhere(entry: &Entry, until: Timestamp) -> bool {
    (until..disk::now() - ON_ITS_WAY_MAX_S).contains(&entry.published_at)
}
