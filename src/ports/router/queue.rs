//! A connection's queue: publishers put in what it is to get, and its own loop takes it out. It starts empty and gives
//! its memory back.
//!
//! Its bounds and marks are explained in [`flow`](super::flow).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::backlog::Backlog;
use super::disk::{self, Disk, Entry, Op, SessionId};
use super::{CloseReason, ConnectionId, Delivery, Incoming, Place, Publication, Subscription};
use crate::model::{Party, QoS, TopicFilter};

/// A drained queue with room for more than this gives its memory back.
const IDLE_CAPACITY: usize = 16;

/// Retained messages that may wait because of new subscriptions, for each other message that may.
///
/// They have a limit of their own, which drops: a toy with many retained states must not be able to close
/// the connection of whoever subscribes to them.
const RETAINED_PER_MESSAGE: usize = 16;

/// How long the publisher of a message of QoS 0 waits for a reader whose queue is half full of such messages.
///
/// A reader that is only waiting for the processor drains its queue within this time. One that has not is slow, and
/// messages of QoS 0 that find its queue full are dropped.
const COURTESY_MAX: Duration = Duration::from_millis(20);

/// A queue with this part of its limit or more is behind: see [`flow`](super::flow).
const HIGH_MARK: usize = 2;
/// A queue that was behind is so no more with less than this part of its limit.
const LOW_MARK: usize = 4;

/// What a row of a queue costs besides its topic, properties and payload, about.
const ROW_BYTES: usize = 64;

/// How much may wait for one connection in memory: this much of QoS 1 and 2, and as much again of QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes. The message that reaches the limit still finds room.
    pub bytes_max: usize,
}

/// What waits in a queue, of one kind.
#[derive(Debug, Default, Clone, Copy)]
struct Fill {
    messages: usize,
    bytes: usize,
}

impl Fill {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether this is the `part`-th part of the limit or more.
    fn reaches(self, limits: QueueLimits, part: usize) -> bool {
        self.messages >= (limits.messages_max / part).max(1) || self.bytes >= (limits.bytes_max / part).max(1)
    }

    fn is_full(self, limits: QueueLimits) -> bool {
        self.reaches(limits, 1)
    }
}

/// The part of a mailbox that publishers reach.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: ConnectionId,
    pub(super) party: Party,
    limits: QueueLimits,
    pub(super) durable: Option<Box<Durable>>,
    state: Mutex<State>,
    /// Notified when a queue that was behind has drained, or is closed.
    drained: Notify,
}

/// Where a persistent session is stored.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) disk: Disk,
    pub(super) session: SessionId,
    last_seq: u64,
    expiry_s: u32,
}

impl Durable {
    pub(super) fn new(disk: Disk, session: SessionId, last_seq: u64, expiry_s: u32) -> Self {
        Self { disk, session, last_seq, expiry_s }
    }
}

/// A subscription of the connection.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) subscription: Subscription,
    /// It was ordered to be written, and no commit is known to have failed since.
    pub(super) is_stored: bool,
}

impl Known {
    /// Whether it is the one to `filter` in the group `share`.
    pub(super) fn is(&self, filter: &TopicFilter, share: Option<&str>) -> bool {
        self.subscription.filter == *filter && self.subscription.share.as_deref() == share
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    deliveries: VecDeque<Delivery>,
    /// How many of the deliveries are retained messages for a new subscription.
    retained: usize,
    /// The other deliveries of QoS 0.
    lossy: Fill,
    /// The other deliveries of QoS 1 and 2.
    reliable: Fill,
    /// Publishers of QoS 1 and 2 wait until the low mark.
    is_behind: bool,
    /// Since when messages of QoS 0, once above the high mark, have not fallen below the low one.
    crowded_since: Option<Instant>,
    /// Counts the deliveries that the reader has taken.
    taken: u64,
    closed: Option<CloseReason>,
    /// Deliveries that found the queue full and did not close it.
    pub(super) dropped: u64,
    /// Who waits, and whether for deliveries or for the close only.
    waker: Option<(Waker, Awaited)>,
    pub(super) filters: Vec<Known>,
    /// Subscriptions were ordered to be written or removed.
    pub(super) is_changed: bool,
    /// Of a persistent session that has not ended.
    pub(super) backlog: Option<Box<Backlog>>,
    /// What is read from elsewhere for this connection alone, and is never stored: it can be read again.
    replay: VecDeque<Delivery>,
    /// How many of `deliveries` come before it.
    before_replay: usize,
    /// The connection has had its replay because of a subscription of the session.
    pub(super) is_replayed: bool,
}

/// What a publisher does if a queue of a connection is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It waits, and gives the message again.
    Waits,
    /// It never waits: the message may fill the queue to its limit, and more closes the queue.
    Insists,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued at QoS 0, and the publisher should let the reader catch up for a moment.
    Crowded,
    /// On its way to the stored queue of a session.
    Stored,
    /// Not queued: the queue is behind, and the publisher is to give the message again later.
    Held,
    /// The queue is full or closed.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Delivery,
    Close,
}

impl Queue {
    pub(super) fn new(id: ConnectionId, party: Party, limits: QueueLimits, durable: Option<Durable>) -> Self {
        let mut state = State::default();
        if let Some(Durable { last_seq, expiry_s, .. }) = durable {
            state.backlog = Some(Box::new(Backlog::new(last_seq, expiry_s)));
        }
        let (state, drained) = (Mutex::new(state), Notify::new());
        Self { id, party, limits, durable: durable.map(Box::new), state, drained }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn party(&self) -> &Party {
        &self.party
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, and a state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery, unless the queue is closed, full, or behind and the publisher waits. Never waits itself.
    ///
    /// What a persistent session has to get is ordered to be stored first, in the order of the queue.
    pub(super) fn push(&self, mut delivery: Delivery, manner: Manner) -> Pushed {
        let mut state = self.state();
        let limits = self.limits;
        let mut ordered = false;
        if delivery.qos != QoS::AtMostOnce
            && let Some(durable) = &self.durable
            && state.backlog.is_some()
        {
            let has_room = state.closed.is_none() && !state.reliable.is_full(limits);
            let live = state.store(durable, self.id, &mut delivery, has_room);
            if !live {
                wake_reader(state);
                return Pushed::Stored;
            }
            ordered = true;
        }
        if state.closed.is_some() || state.backlog.as_ref().is_some_and(|backlog| !backlog.attached) {
            return Pushed::Refused;
        }
        let mut pushed = if ordered { Pushed::Stored } else { Pushed::Queued };
        let bytes = size_of(&delivery);
        if delivery.retain {
            if state.retained >= limits.messages_max.saturating_mul(RETAINED_PER_MESSAGE) {
                state.dropped += 1;
                return Pushed::Refused;
            }
            state.retained += 1;
        } else if delivery.qos == QoS::AtMostOnce {
            if state.lossy.is_full(limits) {
                state.dropped += 1;
                return Pushed::Refused;
            }
            if state.lossy.reaches(limits, HIGH_MARK)
                && state.crowded_since.get_or_insert_with(Instant::now).elapsed() < COURTESY_MAX
            {
                pushed = Pushed::Crowded;
            }
            state.lossy.add(bytes);
        } else {
            // The stored queue of a session bounds what waits for it.
            if manner == Manner::Waits && !ordered && (state.is_behind || state.reliable.reaches(limits, HIGH_MARK)) {
                state.is_behind = true;
                return Pushed::Held;
            }
            if state.reliable.is_full(limits) {
                self.close_locked(state, CloseReason::SlowConsumer);
                return Pushed::Refused;
            }
            state.reliable.add(bytes);
        }
        state.deliveries.push_back(delivery);
        wake_reader(state);
        pushed
    }

    /// Whether publishers wait for the queue.
    pub(super) fn is_behind(&self) -> bool {
        self.state().is_behind
    }

    /// Resolves when the queue has drained after this call, or is closed.
    pub(super) fn drained(&self) -> Notified<'_> {
        self.drained.notified()
    }

    /// How many deliveries the reader has taken since the queue was made.
    pub(super) fn taken(&self) -> u64 {
        self.state().taken
    }

    /// How long a publisher of QoS 0 waits for the reader at most.
    pub(super) fn courtesy(&self) -> Duration {
        let crowded_since = self.state().crowded_since;
        crowded_since.map_or(Duration::ZERO, |since| COURTESY_MAX.saturating_sub(since.elapsed()))
    }

    /// Whether what is pushed is stored: it is the queue of a persistent session.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.is_some() && self.state().backlog.is_some()
    }

    /// Whether a connection takes what is pushed now.
    pub(super) fn takes_deliveries(&self) -> bool {
        let state = self.state();
        state.closed.is_none()
            && !state.reliable.is_full(self.limits)
            && state.backlog.as_ref().is_none_or(|backlog| backlog.attached)
    }

    /// The connection of a persistent session is gone; false for one without a session.
    pub(super) fn park(&self) -> bool {
        let mut state = self.state();
        let (Some(durable), Some(backlog)) = (&self.durable, &mut state.backlog) else { return false };
        backlog.attached = false;
        backlog.live = false;
        let (session, expiry_s) = (durable.session, backlog.expiry_s);
        durable.disk.order(Op::Lifetime { session, expiry_s, ended_at: disk::now() });
        drop(state.take_deliveries());
        state.is_replayed = false;
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
        self.state().filters.push(Known { subscription: subscription.clone(), is_stored: true });
    }

    /// Closes the queue; the first reason stays.
    pub(super) fn close(&self, reason: CloseReason) {
        self.close_locked(self.state(), reason);
    }

    fn close_locked(&self, mut state: MutexGuard<'_, State>, reason: CloseReason) {
        state.closed.get_or_insert(reason);
        let deliveries = state.take_deliveries();
        let waker = state.waker.take();
        drop(state);
        drop(deliveries);
        if let Some((waker, _)) = waker {
            waker.wake();
        }
        self.drained.notify_waiters();
    }

    /// Whether what is stored can be read now.
    fn is_readable(&self) -> bool {
        self.durable.as_ref().is_none_or(|durable| durable.disk.is_writable())
    }

    pub(super) fn take_filters(&self) -> Vec<(TopicFilter, Option<Box<str>>)> {
        let known = std::mem::take(&mut self.state().filters);
        known.into_iter().map(|Known { subscription, .. }| (subscription.filter, subscription.share)).collect()
    }

    /// What the reader finds now.
    pub(super) fn next(&self, awaited: Awaited) -> Option<Incoming> {
        self.next_locked(self.state(), awaited).ok()
    }

    pub(super) fn poll(&self, context: &mut Context<'_>, awaited: Awaited) -> Poll<Incoming> {
        match self.next_locked(self.state(), awaited) {
            Ok(incoming) => Poll::Ready(incoming),
            Err(mut state) => {
                match &mut state.waker {
                    Some((waker, was_awaited)) if waker.will_wake(context.waker()) => *was_awaited = awaited,
                    waker => *waker = Some((context.waker().clone(), awaited)),
                }
                Poll::Pending
            }
        }
    }

    /// What the reader finds, or else the locked state.
    fn next_locked<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        awaited: Awaited,
    ) -> Result<Incoming, MutexGuard<'a, State>> {
        let Some(incoming) = state.next(awaited, self.is_readable()) else { return Err(state) };
        let has_drained = state.has_drained(self.limits);
        drop(state);
        if has_drained {
            self.drained.notify_waiters();
        }
        Ok(incoming)
    }
}

/// What a delivery counts for in its queue.
fn size_of(delivery: &Delivery) -> usize {
    let Publication { topic, payload, properties, .. } = &*delivery.publication;
    ROW_BYTES + topic.as_str().len() + payload.weight() + properties.len()
}

fn wake_reader(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take_if(|(_, awaited)| *awaited == Awaited::Delivery);
    drop(state);
    if let Some((waker, _)) = waker {
        waker.wake();
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
        // A message of QoS 2 is read from disk, so that no client holds a packet id that is not there: after a crash
        // the id would be given to another message.
        if backlog.live && (!has_room || delivery.qos == QoS::ExactlyOnce) {
            backlog.live = false;
            backlog.cursor = seq - 1;
        }
        backlog.attached && backlog.live
    }

    /// Sets what is given to this connection alone, behind what is stored for it or stands in its queue now.
    pub(super) fn set_replay(&mut self, deliveries: VecDeque<Delivery>) {
        if self.closed.is_some() {
            return;
        }
        (self.replay, self.before_replay) = (deliveries, self.deliveries.len());
        if let Some(backlog) = &mut self.backlog {
            backlog.replay_after = backlog.last_seq;
        }
    }

    /// What a connection is given of a page of the stored queue, and the numbers of what a replay stands for.
    pub(super) fn give_page(&mut self, page: Vec<Entry>) -> (Vec<Delivery>, Vec<u64>) {
        match &mut self.backlog {
            Some(backlog) => backlog.give_page(page, &mut self.replay),
            None => (Vec::new(), Vec::new()),
        }
    }

    /// Up to which number the stored queue is to be read now.
    pub(super) fn read_limit(&self) -> u64 {
        match &self.backlog {
            Some(backlog) if !self.replay.is_empty() && backlog.cursor < backlog.replay_after => backlog.replay_after,
            _ => u64::MAX,
        }
    }

    /// Whether it is the turn of what stands in `replay`: behind all that was stored before it, before all that came
    /// later.
    fn is_turn_of_replay(&self) -> bool {
        let is_read = |backlog: &Backlog| backlog.live || backlog.cursor >= backlog.replay_after;
        !self.replay.is_empty() && self.before_replay == 0 && self.backlog.as_deref().is_none_or(is_read)
    }

    fn next(&mut self, awaited: Awaited, is_readable: bool) -> Option<Incoming> {
        if let Some(reason) = self.closed {
            return Some(Incoming::Closed(reason));
        }
        if awaited == Awaited::Close {
            return None;
        }
        if self.is_turn_of_replay() {
            self.taken += 1;
            let delivery = self.replay.pop_front();
            if self.replay.is_empty() {
                self.replay = VecDeque::new();
            }
            return delivery.map(Incoming::Delivery);
        }
        let Some(mut delivery) = self.deliveries.pop_front() else {
            let waits = self.backlog.as_ref().is_some_and(|backlog| backlog.attached && !backlog.live);
            return (waits && is_readable).then_some(Incoming::Backlog);
        };
        self.before_replay = self.before_replay.saturating_sub(1);
        if let (Some(place), Some(backlog)) = (&mut delivery.stored, &mut self.backlog) {
            backlog.give(place);
        }
        if delivery.retain {
            self.retained -= 1;
        } else if delivery.qos == QoS::AtMostOnce {
            self.lossy.remove(size_of(&delivery));
        } else {
            self.reliable.remove(size_of(&delivery));
        }
        self.taken += 1;
        if self.deliveries.is_empty() && self.deliveries.capacity() > IDLE_CAPACITY {
            self.deliveries = VecDeque::new();
        }
        Some(Incoming::Delivery(delivery))
    }

    /// Whether a queue that was behind or crowded is so no more.
    fn has_drained(&mut self, limits: QueueLimits) -> bool {
        let mut has_drained = false;
        if self.is_behind && !self.reliable.reaches(limits, LOW_MARK) {
            self.is_behind = false;
            has_drained = true;
        }
        if self.crowded_since.is_some() && !self.lossy.reaches(limits, LOW_MARK) {
            self.crowded_since = None;
            has_drained = true;
        }
        has_drained
    }

    /// Empties the queue.
    fn take_deliveries(&mut self) -> VecDeque<Delivery> {
        (self.replay, self.before_replay) = (VecDeque::new(), 0);
        (self.retained, self.lossy, self.reliable) = (0, Fill::default(), Fill::default());
        (self.is_behind, self.crowded_since) = (false, None);
        std::mem::take(&mut self.deliveries)
    }
}
