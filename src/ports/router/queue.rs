//! A connection's queue: publishers put in what it is to get, and its own loop takes it out. It starts empty and gives
//! its memory back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::disk::{self, Disk, Entry, Op, SessionId};
use super::{CloseReason, ConnectionId, Delivery, Incoming, Place, Subscription};
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

/// The part of a mailbox that publishers reach.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: ConnectionId,
    pub(super) party: Party,
    deliveries_max: usize,
    pub(super) durable: Option<Box<Durable>>,
    state: Mutex<State>,
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

/// The stored queue of a persistent session, as far as the router has to know it.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) last_seq: u64,
    pub(super) expiry_s: u32,
    /// A connection serves the session.
    attached: bool,
    /// All that is stored was given to the connection or stands in `deliveries`.
    pub(super) live: bool,
    /// Up to where the connection has read the stored queue.
    pub(super) cursor: u64,
    /// The last that was ever given to a connection.
    given: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    deliveries: VecDeque<Delivery>,
    /// How many of the deliveries are retained messages for a new subscription.
    retained: usize,
    /// Since when the queue, once more than half full, has not been empty.
    crowded_since: Option<Instant>,
    closed: Option<CloseReason>,
    /// Deliveries that found the queue full and did not close it.
    pub(super) dropped: u64,
    /// Who waits, and whether for deliveries or for the close only.
    waker: Option<(Waker, Awaited)>,
    pub(super) filters: Vec<(TopicFilter, Option<Box<str>>)>,
    /// Of a persistent session that has not ended.
    pub(super) backlog: Option<Box<Backlog>>,
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
pub(super) enum Awaited {
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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

    pub(super) fn poll(&self, context: &mut Context<'_>, awaited: Awaited) -> Poll<Incoming> {
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
    pub(super) fn give(&mut self, place: &mut Place) {
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

    pub(super) fn next(&mut self, awaited: Awaited) -> Option<Incoming> {
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
