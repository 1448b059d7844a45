//! The receiving end of one connection: a bounded queue that starts empty and gives its memory back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{ConnectionId, Delivery, Publication, Router};
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
    /// What it logged in with is no longer valid: a token was revoked, a toy unbound.
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
    state: Mutex<State>,
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
    filters: Vec<TopicFilter>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued, and the publisher should let the reader catch up.
    Crowded,
    /// The queue is full or closed.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Delivery,
    Close,
}

impl Queue {
    pub(super) fn new(id: ConnectionId, party: Party, deliveries_max: usize) -> Self {
        Self { id, party, deliveries_max, state: Mutex::default() }
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
    pub(super) fn push(&self, delivery: Delivery) -> Pushed {
        let mut state = self.state();
        if state.closed.is_some() {
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
        if is_crowded { Pushed::Crowded } else { Pushed::Queued }
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

    pub(super) fn take_filters(&self) -> Vec<TopicFilter> {
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

impl State {
    fn next(&mut self, awaited: Awaited) -> Option<Incoming> {
        if let Some(reason) = self.closed {
            return Some(Incoming::Closed(reason));
        }
        if awaited == Awaited::Close {
            return None;
        }
        let delivery = self.deliveries.pop_front()?;
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
/// its subscriptions go, and the last connection of a party publishes the retained `online/<id>` = `0`.
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

    /// Subscribes to `filter`, or changes the quality of service of a subscription (MQTT 3.1.1 §3.8.4).
    /// Then the retained messages that match are queued, also those that were sent before.
    pub fn subscribe(&self, filter: TopicFilter, qos: QoS) -> Result<(), TooManySubscriptions> {
        {
            let mut state = self.queue.state();
            if !state.filters.contains(&filter) {
                if state.filters.len() >= self.router.subscriptions_max {
                    return Err(TooManySubscriptions);
                }
                state.filters.reserve_exact(1);
                state.filters.push(filter.clone());
            }
        }
        // Subscribed first, retained second: a message that is published in between comes twice at worst.
        self.router.index.insert(&filter, &self.queue, qos);
        self.router.retained.for_each_matching(&filter, |publication| {
            let qos = qos.min(publication.qos);
            self.queue.push(Delivery { publication: Arc::clone(publication), qos, retain: true });
        });
        Ok(())
    }

    /// Ends a subscription; false if there was none. What is queued already still comes (MQTT 3.1.1 §3.10.4).
    pub fn unsubscribe(&self, filter: &TopicFilter) -> bool {
        {
            let mut state = self.queue.state();
            let Some(at) = state.filters.iter().position(|other| other == filter) else { return false };
            state.filters.swap_remove(at);
        }
        self.router.index.remove(filter, self.queue.id);
        true
    }

    /// Queues a message for this connection alone, whatever it subscribes to, at the publication's quality of
    /// service. False if the mailbox is closed or full.
    pub fn push(&self, publication: Arc<Publication>) -> bool {
        let qos = publication.qos;
        self.queue.push(Delivery { publication, qos, retain: false }) != Pushed::Refused
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
        self.router.disconnect(&self.queue);
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
