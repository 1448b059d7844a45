//! The receiving end of one connection: a bounded queue that starts empty and gives its memory back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::disk::{self, Disk, Entry, Op, SessionId, Ticket};
use super::{ConnectionId, Delivery, Place, Publication, Router, SessionHandle, Subscription};
use crate::model::{Party, QoS, TopicFilter};

/// A drained queue with room for more than this gives its memory back.
const IDLE_CAPACITY: usize = 16;

/// Retained messages that may wait because of new subscriptions, for each other message that may.
///
/// They have a limit of their own, which drops: a toy with many retained states must not be able to close
/// the connection of whoever subscribes to them.
const RETAINED_PER_MESSAGE: usize = 16;

/// How long a queue that fills up asks publishers to pause.
///
/// A reader that is only waiting for the processor empties its queue within this time; one that has not is slow, and
/// from then on harms nobody but itself.
const CROWDED_MAX: Duration = Duration::from_millis(20);

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The same client connected again.
    TakenOver,
    /// The client reads more slowly than acknowledged messages arrive. They wait in the store.
    SlowConsumer,
    /// What it logged in with is no longer valid: a token was revoked or has expired, a toy unbound.
    Revoked,
    /// The hub stops.
    ShuttingDown,
    /// The party has more connections than it may have.
    TooManyConnections,
}

/// What a connection finds in its mailbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A message.
    Delivery(Delivery),
    /// Messages wait in the stored queue of the session: see [`Mailbox::backlog`].
    Backlog,
    /// The connection is to end; nothing follows.
    Closed(CloseReason),
}

/// A connection subscribes to more filters than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for another subscription")]
pub struct TooManySubscriptions;

/// The part of a mailbox that publishers reach.
#[derive(Debug)]
pub(super) struct Queue {
    id: ConnectionId,
    party: Party,
    deliveries_max: usize,
    durable: Option<Box<Durable>>,
    state: Mutex<State>,
}

/// Where a persistent session is stored.
#[derive(Debug)]
pub(super) struct Durable {
    disk: Disk,
    session: SessionId,
    last_seq: u64,
    expiry_s: u32,
}

impl Durable {
    pub(super) fn new(disk: Disk, session: SessionId, last_seq: u64, expiry_s: u32) -> Self {
        Self { disk, session, last_seq, expiry_s }
    }
}

/// The stored queue of a persistent session, as far as the router has to know it.
#[derive(Debug)]
struct Backlog {
    last_seq: u64,
    expiry_s: u32,
    /// A connection serves the session.
    attached: bool,
    /// All that is stored was given to the connection or stands in `deliveries`.
    live: bool,
    /// Up to where the connection has read the stored queue.
    cursor: u64,
    /// The last that was ever given to a connection.
    given: u64,
}

/// Whether a new subscription is sent the retained messages that match (v5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayRetained {
    /// At every SUBSCRIBE.
    Always,
    /// If there was no such subscription.
    IfNew,
    /// Never.
    Never,
}

#[derive(Debug, Default)]
struct State {
    deliveries: VecDeque<Delivery>,
    /// How many of the deliveries are retained messages for a new subscription.
    retained: usize,
    /// Since when the queue, once more than half full, has not been empty.
    crowded_since: Option<Instant>,
    closed: Option<CloseReason>,
    /// Deliveries that found the queue full and did not close it.
    dropped: u64,
    /// Who waits, and whether for deliveries or for the close only.
    waker: Option<(Waker, Awaited)>,
    filters: Vec<(TopicFilter, Option<Box<str>>)>,
    /// Of a persistent session that has not ended.
    backlog: Option<Box<Backlog>>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued, and the publisher should let the reader catch up.
    Crowded,
    /// On its way to the stored queue of a session.
    Stored,
    /// The queue is full or closed.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Delivery,
    Close,
}

impl Queue {
    pub(super) fn new(id: ConnectionId, party: Party, deliveries_max: usize, durable: Option<Durable>) -> Self {
        let mut state = State::default();
        if let Some(Durable { last_seq, expiry_s, .. }) = durable {
            let backlog = Backlog { last_seq, expiry_s, attached: false, live: false, cursor: 0, given: last_seq };
            state.backlog = Some(Box::new(backlog));
        }
        Self { id, party, deliveries_max, durable: durable.map(Box::new), state: Mutex::new(state) }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn party(&self) -> &Party {
        &self.party
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, and a state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery, unless the queue is closed or full. Never waits.
    ///
    /// What a persistent session has to get is ordered to be stored first, in the order of the queue.
    pub(super) fn push(&self, mut delivery: Delivery) -> Pushed {
        let mut state = self.state();
        let mut ordered = false;
        if delivery.qos != QoS::AtMostOnce
            && let Some(durable) = &self.durable
            && state.backlog.is_some()
        {
            let has_room = state.closed.is_none() && state.deliveries.len() < self.deliveries_max;
            let live = state.store(durable, self.id, &mut delivery, has_room);
            if !live {
                let waker = state.waker.take_if(|(_, awaited)| *awaited == Awaited::Delivery);
                drop(state);
                if let Some((waker, _)) = waker {
                    waker.wake();
                }
                return Pushed::Stored;
            }
            ordered = true;
        }
        if state.closed.is_some() || state.backlog.as_ref().is_some_and(|backlog| !backlog.attached) {
            return Pushed::Refused;
        }
        let others = state.deliveries.len() - state.retained;
        let is_full = if delivery.retain {
            state.retained >= self.deliveries_max.saturating_mul(RETAINED_PER_MESSAGE)
        } else {
            others >= self.deliveries_max
        };
        if is_full && (delivery.retain || delivery.qos == QoS::AtMostOnce) {
            state.dropped += 1;
            return Pushed::Refused;
        }
        if is_full {
            self.close_locked(state, CloseReason::SlowConsumer);
            return Pushed::Refused;
        }
        let is_crowded = others > self.deliveries_max / 2
            && state.crowded_since.get_or_insert_with(Instant::now).elapsed() < CROWDED_MAX;
        state.retained += usize::from(delivery.retain);
        state.deliveries.push_back(delivery);
        let waker = state.waker.take_if(|(_, awaited)| *awaited == Awaited::Delivery);
        drop(state);
        if let Some((waker, _)) = waker {
            waker.wake();
        }
        match (ordered, is_crowded) {
            (true, _) => Pushed::Stored,
            (false, true) => Pushed::Crowded,
            (false, false) => Pushed::Queued,
        }
    }

    /// Whether a connection takes what is pushed now.
    pub(super) fn takes_deliveries(&self) -> bool {
        let state = self.state();
        state.closed.is_none()
            && state.deliveries.len() < self.deliveries_max
            && state.backlog.as_ref().is_none_or(|backlog| backlog.attached)
    }

    /// The connection of a persistent session is gone; false for one without a session.
    pub(super) fn park(&self) -> bool {
        let mut state = self.state();
        let (Some(durable), Some(backlog)) = (&self.durable, &mut state.backlog) else { return false };
        backlog.attached = false;
        backlog.live = false;
        let (session, expiry_s) = (durable.session, backlog.expiry_s);
        durable.disk.order(Op::Park { session, expiry_s, ended_at: disk::now() });
        state.deliveries = VecDeque::new();
        state.retained = 0;
        state.waker = None;
        true
    }

    /// A connection begins to serve a persistent session.
    pub(super) fn unpark(&self) {
        let mut state = self.state();
        state.closed = None;
        if let Some(backlog) = &mut state.backlog {
            backlog.attached = true;
            backlog.live = false;
            backlog.cursor = 0;
        }
    }

    /// Nothing more is stored, and what is stored is removed.
    pub(super) fn end_session(&self) {
        let mut state = self.state();
        if let (Some(durable), Some(_)) = (&self.durable, state.backlog.take()) {
            durable.disk.order(Op::End { session: durable.session });
        }
    }

    /// Notes a subscription that is in the file already.
    pub(super) fn remember(&self, subscription: &Subscription) {
        self.state().filters.push((subscription.filter.clone(), subscription.share.clone()));
    }

    /// Closes the queue; the first reason stays.
    pub(super) fn close(&self, reason: CloseReason) {
        self.close_locked(self.state(), reason);
    }

    fn close_locked(&self, mut state: MutexGuard<'_, State>, reason: CloseReason) {
        state.closed.get_or_insert(reason);
        let deliveries = std::mem::take(&mut state.deliveries);
        state.retained = 0;
        let waker = state.waker.take();
        drop(state);
        drop(deliveries);
        if let Some((waker, _)) = waker {
            waker.wake();
        }
    }

    pub(super) fn take_filters(&self) -> Vec<(TopicFilter, Option<Box<str>>)> {
        std::mem::take(&mut self.state().filters)
    }

    fn poll(&self, context: &mut Context<'_>, awaited: Awaited) -> Poll<Incoming> {
        let mut state = self.state();
        if let Some(incoming) = state.next(awaited) {
            return Poll::Ready(incoming);
        }
        match &mut state.waker {
            Some((waker, was_awaited)) if waker.will_wake(context.waker()) => *was_awaited = awaited,
            waker => *waker = Some((context.waker().clone(), awaited)),
        }
        Poll::Pending
    }
}

impl Backlog {
    /// Notes that a message is given to the connection.
    fn give(&mut self, place: &mut Place) {
        place.again = place.seq <= self.given;
        self.given = self.given.max(place.seq);
    }
}

impl State {
    /// Orders a delivery to be stored; true if the connection may have it from memory as well.
    fn store(&mut self, durable: &Durable, own: ConnectionId, delivery: &mut Delivery, has_room: bool) -> bool {
        let Some(backlog) = &mut self.backlog else { return true };
        backlog.last_seq += 1;
        let seq = backlog.last_seq;
        let Delivery { publication, qos, retain, .. } = &*delivery;
        let entry = Entry { seq, publication: Arc::clone(publication), qos: *qos, retain: *retain, released: false };
        let own = publication.publisher == Some(own);
        durable.disk.order(Op::Enqueue { session: durable.session, entry, own, now: disk::now() });
        delivery.stored = Some(Place { seq, again: false, released: false });
        if backlog.live && !has_room {
            backlog.live = false;
            backlog.cursor = seq - 1;
        }
        backlog.attached && backlog.live
    }

    fn next(&mut self, awaited: Awaited) -> Option<Incoming> {
        if let Some(reason) = self.closed {
            return Some(Incoming::Closed(reason));
        }
        if awaited == Awaited::Close {
            return None;
        }
        let Some(mut delivery) = self.deliveries.pop_front() else {
            let waits = self.backlog.as_ref().is_some_and(|backlog| backlog.attached && !backlog.live);
            return waits.then_some(Incoming::Backlog);
        };
        if let (Some(place), Some(backlog)) = (&mut delivery.stored, &mut self.backlog) {
            backlog.give(place);
        }
        self.retained -= usize::from(delivery.retain);
        if self.deliveries.is_empty() {
            self.crowded_since = None;
            if self.deliveries.capacity() > IDLE_CAPACITY {
                self.deliveries = VecDeque::new();
            }
        }
        Some(Incoming::Delivery(delivery))
    }
}

/// The receiving end of one connection. Dropping it means offline, however the connection's loop ended:
/// its subscriptions go, but for those of a persistent session, and the last connection of a party publishes the retained `online/<id>` = `0`.
#[derive(Debug)]
pub struct Mailbox {
    router: Arc<Router>,
    queue: Arc<Queue>,
}

impl Mailbox {
    pub(super) fn new(router: Arc<Router>, queue: Arc<Queue>) -> Self {
        Self { router, queue }
    }

    /// Whose connection this is.
    pub fn party(&self) -> &Party {
        &self.queue.party
    }

    /// Which connection this is.
    pub fn connection_id(&self) -> ConnectionId {
        self.queue.id
    }

    /// Subscribes, or changes the quality of service of a subscription (MQTT 3.1.1 §3.8.4); true if it is new.
    /// Then the retained messages that match are queued, also those that were sent before.
    pub fn subscribe(
        &self,
        subscription: &Subscription,
        retained: ReplayRetained,
    ) -> Result<bool, TooManySubscriptions> {
        let Subscription { filter, share, qos, .. } = subscription;
        let is_new = {
            let mut state = self.queue.state();
            let is_new = !state.filters.iter().any(|known| known.0 == *filter && known.1 == *share);
            if is_new {
                if state.filters.len() >= self.router.subscriptions_max {
                    return Err(TooManySubscriptions);
                }
                state.filters.reserve_exact(1);
                state.filters.push((filter.clone(), share.clone()));
            }
            is_new
        };
        if let Some((disk, session)) = self.disk() {
            disk.order(Op::Subscribe { session, subscription: subscription.clone() });
        }
        // Subscribed first, retained second: a message that is published in between comes twice at worst.
        self.router.insert_subscription(&self.queue, subscription);
        let replay = match retained {
            ReplayRetained::Always => true,
            ReplayRetained::IfNew => is_new,
            ReplayRetained::Never => false,
        };
        // v5 §4.8.2: a shared subscription gets none.
        if replay && share.is_none() {
            self.router.retained.for_each_matching(filter, |publication| {
                let qos = (*qos).min(publication.qos);
                self.queue.push(Delivery { publication: Arc::clone(publication), qos, retain: true, stored: None });
            });
        }
        Ok(is_new)
    }

    /// Ends a subscription; false if there was none. What is queued already still comes (MQTT 3.1.1 §3.10.4).
    pub fn unsubscribe(&self, filter: &TopicFilter, share: Option<&str>) -> bool {
        {
            let mut state = self.queue.state();
            let known = |other: &(TopicFilter, Option<Box<str>>)| other.0 == *filter && other.1.as_deref() == share;
            let Some(at) = state.filters.iter().position(known) else { return false };
            state.filters.swap_remove(at);
        }
        if let Some((disk, session)) = self.disk() {
            let filter = share.map_or(filter.to_string(), |share| format!("$share/{share}/{filter}"));
            disk.order(Op::Unsubscribe { session, filter });
        }
        self.router.remove_subscription(&self.queue, filter, share);
        true
    }

    /// What the connection subscribes to, with the group where it shares.
    pub fn subscriptions(&self) -> Vec<(TopicFilter, Option<Box<str>>)> {
        self.queue.state().filters.clone()
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

    /// How long the session is to outlive this connection.
    pub fn set_expiry(&self, seconds: u32) {
        if let Some(backlog) = &mut self.queue.state().backlog {
            backlog.expiry_s = seconds;
        }
    }

    /// At most `limit` of the messages that wait in the stored queue, oldest first; with all of them read, new ones
    /// come from memory again.
    pub async fn backlog(&mut self, limit: usize) -> Vec<Delivery> {
        let Some(durable) = &self.queue.durable else { return Vec::new() };
        let read_to = |state: &State| state.backlog.as_ref().map(|backlog| (backlog.cursor, backlog.last_seq));
        let Some((cursor, last_seq)) = read_to(&self.queue.state()) else { return Vec::new() };
        let entries = durable.disk.page(durable.session, cursor, limit, self.queue.id).await;
        let mut state = self.queue.state();
        let Some(backlog) = &mut state.backlog else { return Vec::new() };
        if let Some(last) = entries.last() {
            backlog.cursor = last.seq;
        }
        if entries.len() < limit {
            backlog.cursor = backlog.cursor.max(last_seq);
            backlog.live = backlog.cursor == backlog.last_seq;
        }
        let deliveries = entries.into_iter().map(|entry| {
            let Entry { seq, publication, qos, retain, released } = entry;
            let mut place = Place { seq, again: false, released };
            backlog.give(&mut place);
            Delivery { publication, qos, retain, stored: Some(place) }
        });
        deliveries.collect()
    }

    /// The client has acknowledged a stored message for good.
    pub fn forget(&self, seq: u64) {
        if let Some((disk, session)) = self.disk() {
            disk.order(Op::Forget { session, seq });
        }
    }

    /// The client has a stored message of QoS 2 (PUBREC); to wait for before it is told to forget the id.
    pub fn release(&self, seq: u64) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Release { session, seq });
        Some(disk.barrier())
    }

    /// A QoS 2 message of the client was routed and must not be again until the id is released.
    pub fn received(&self, id: u16) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Received { session, id });
        Some(disk.barrier())
    }

    /// The client has released the id of a QoS 2 message (PUBREL).
    pub fn completed(&self, id: u16) -> Option<Ticket> {
        let (disk, session) = self.disk()?;
        disk.order(Op::Completed { session, id });
        Some(disk.barrier())
    }

    /// To wait for where subscriptions of a persistent session have changed.
    pub fn commit(&self) -> Option<Ticket> {
        self.disk().map(|(disk, _)| disk.barrier())
    }

    /// Queues a message for this connection alone, whatever it subscribes to, at the publication's quality of
    /// service. False if the mailbox is closed or full.
    pub fn push(&self, publication: Arc<Publication>) -> bool {
        let qos = publication.qos;
        self.queue.push(Delivery { publication, qos, retain: false, stored: None }) != Pushed::Refused
    }

    /// Closes the mailbox; the first reason stays.
    pub fn close(&self, reason: CloseReason) {
        self.queue.close(reason);
    }

    /// Something to close this mailbox with from elsewhere.
    pub fn handle(&self) -> MailboxHandle {
        MailboxHandle(Arc::downgrade(&self.queue))
    }

    /// Counts how often a message of anyone's has filled a queue faster than its reader was given the processor.
    ///
    /// Whoever publishes many messages in a row and sees this grow should pause for a moment: the readers are quick
    /// enough and only have to get their turn. Slow readers do not count.
    pub fn crowding(&self) -> u64 {
        self.router.crowding.load(Ordering::Relaxed)
    }

    /// How many deliveries of QoS 0, and retained messages for new subscriptions, found the mailbox full.
    pub fn dropped(&self) -> u64 {
        self.queue.state().dropped
    }

    /// The next delivery, in order. Once the mailbox is closed, always the reason: what was queued at QoS 1
    /// and above waits in the store.
    ///
    /// Cancel-safe: a delivery leaves the queue only with the value that is returned.
    pub async fn recv(&mut self) -> Incoming {
        poll_fn(|context| self.queue.poll(context, Awaited::Delivery)).await
    }

    /// Waits until the mailbox is closed and leaves deliveries where they are: for a connection that cannot
    /// take more at present. Cancel-safe.
    pub async fn closed(&mut self) -> Incoming {
        poll_fn(|context| self.queue.poll(context, Awaited::Close)).await
    }

    /// What [`Self::recv`] would return at once.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.queue.state().next(Awaited::Delivery)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.router.detach(&self.queue);
    }
}

/// Closes a mailbox that somebody else owns. Does not keep it alive.
#[derive(Debug, Clone)]
pub struct MailboxHandle(Weak<Queue>);

impl MailboxHandle {
    /// Closes the mailbox, if it still is there; the first reason stays.
    pub fn close(&self, reason: CloseReason) {
        if let Some(queue) = self.0.upgrade() {
            queue.close(reason);
        }
    }
}
