//! A connection's queue: publishers add deliveries, and the connection's own loop takes them. It starts empty and
//! releases its memory.
//!
//! Its bounds and marks are explained in [`flow`](super::flow).

mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::backlog::{Backlog, EarlyDeliveries, Fingerprint, Merged};
use super::disk::{self, Disk, Entry, Op, SessionId};
use super::{CloseReason, ConnectionId, Delivery, Incoming, Subscription, Taken};
use crate::model::{Party, QoS, Timestamp, TopicFilter};
use crate::ports::metrics::METRICS;

pub(super) use state::{Awaited, Known, State};

use state::size_of;

/// The limit of queued retained messages for new subscriptions, as a multiple of the limit of other messages.
///
/// They have a limit of their own, at which they are dropped: a toy with many retained states must not cause its
/// subscribers to be disconnected.
const RETAINED_PER_MESSAGE: usize = 16;

/// How far the clocks of two hubs may be apart, in seconds, so that one can judge the times of the other.
pub const CLOCKS_DIFFER_MAX_S: f64 = 2.0;

/// How long the move of a session takes at most, with what the bus has on its way, in seconds.
pub(super) const MOVE_MAX_S: f64 = 60.0;

/// How long the publisher of a message of QoS 0 waits for a reader whose queue is half full of such messages.
///
/// A reader that only waits for the processor drains its queue within this time. Otherwise it is slow, and messages of
/// QoS 0 are dropped while its queue is full.
const QOS_0_WAIT_MAX: Duration = Duration::from_millis(20);

/// A queue with this part of its limit or more is behind: see [`flow`](super::flow).
const HIGH_MARK: usize = 2;
/// The limits of one connection's queue in memory: for QoS 1 and 2 together, and again for QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes. The message that reaches the limit is still queued.
    pub bytes_max: usize,
}

/// The part of a mailbox that publishers access.
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

/// The behaviour of a publisher if a queue is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It waits, and queues the message later.
    Waits,
    /// It never waits: the message may fill the queue to its limit, and more closes the queue.
    Insists,
}

/// When a publication was published: a session whose client is at another hub does not keep those of later than that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PublishedAt {
    /// Just now, at this hub.
    Now,
    /// At this hub or another one, unlike any other publication of that hub.
    At(Timestamp),
    /// It is for this session in any case.
    Unknown,
}

impl PublishedAt {
    /// The time of a message that is stored or forwarded.
    pub(super) fn time(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Now | Self::Unknown => disk::unique_now(),
        }
    }

    /// By which a message is known again.
    fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Now | Self::Unknown => None,
        }
    }

    fn is_after(self, limit: Timestamp) -> bool {
        match self {
            Self::Now => disk::now() > limit,
            // A hub whose clock is ahead does not say when.
            Self::At(at) => at > limit && at < disk::now() + CLOCKS_DIFFER_MAX_S,
            Self::Unknown => false,
        }
    }
}

/// The result of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued at QoS 0; the publisher should wait a moment for the reader.
    Crowded,
    /// Ordered for the stored queue of a session.
    Stored,
    /// Not queued: the queue is behind, and the publisher has to queue the message later.
    Held,
    /// The queue is full or closed.
    Refused,
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

    #[inline]
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn party(&self) -> &Party {
        &self.party
    }

    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, and the state is consistent between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a delivery, unless the queue is closed, full, or behind and the publisher waits. Never waits itself.
    ///
    /// A delivery of a persistent session is first ordered to be stored, in the order of the queue.
    pub(super) fn push(&self, delivery: Delivery, manner: Manner, at: PublishedAt) -> Pushed {
        self.push_as(delivery, manner, at, None)
    }

    /// As [`Self::push`]. With a number, the message is stored with its packet id.
    pub(super) fn push_as(&self, mut delivery: Delivery, manner: Manner, at: PublishedAt, seq: Option<u64>) -> Pushed {
        let mut state = self.state();
        let limits = self.limits;
        let mut ordered = false;
        if delivery.qos != QoS::AtMostOnce
            && let Some(durable) = &self.durable
            && let Some(backlog) = &mut state.backlog
        {
            if backlog.kept_until.is_some_and(|until| at.is_after(until)) {
                return Pushed::Refused;
            }
            let is_new = backlog.note(&delivery.publication, at.known());
            // One with a number replaces what is here of it.
            if !is_new && seq.is_none() {
                return Pushed::Refused;
            }
            if let Some(seq) = seq {
                backlog.continue_at(seq);
            }
            let has_room = state.closed.is_none() && !state.reliable.is_full(limits);
            let live = state.store(durable, self.id, &mut delivery, at, has_room);
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
                METRICS.dropped.add();
                return Pushed::Refused;
            }
            state.retained += 1;
        } else if delivery.qos == QoS::AtMostOnce {
            if state.lossy.is_full(limits) {
                state.dropped += 1;
                METRICS.dropped.add();
                return Pushed::Refused;
            }
            if state.lossy.reaches(limits, HIGH_MARK)
                && state.crowded_since.get_or_insert_with(Instant::now).elapsed() < QOS_0_WAIT_MAX
            {
                pushed = Pushed::Crowded;
            }
            state.lossy.add(bytes);
        } else {
            // The limits of the stored queue apply to a persistent session.
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

    /// The number of queued deliveries.
    pub(super) fn depth(&self) -> usize {
        self.state().queued()
    }

    /// Whether a connection serves the persistent session of the queue; none if it has no session.
    pub(super) fn is_attached(&self) -> Option<bool> {
        self.state().backlog.as_ref().map(|backlog| backlog.attached)
    }

    /// Whether publishers wait for the queue.
    pub(super) fn is_behind(&self) -> bool {
        self.state().is_behind
    }

    /// Resolves when the queue has drained after this call, or is closed.
    pub(super) fn drained(&self) -> Notified<'_> {
        self.drained.notified()
    }

    /// The number of deliveries that the reader has taken since the queue was created.
    pub(super) fn taken(&self) -> u64 {
        self.state().taken
    }

    /// The maximum time that a publisher of QoS 0 waits for the reader.
    pub(super) fn qos_0_wait(&self) -> Duration {
        let crowded_since = self.state().crowded_since;
        crowded_since.map_or(Duration::ZERO, |since| QOS_0_WAIT_MAX.saturating_sub(since.elapsed()))
    }

    /// Whether deliveries are stored, as in the queue of a persistent session.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.is_some() && self.state().backlog.is_some()
    }

    /// Whether a connection takes deliveries now.
    pub(super) fn takes_deliveries(&self) -> bool {
        let state = self.state();
        state.closed.is_none()
            && !state.reliable.is_full(self.limits)
            && state.backlog.as_ref().is_none_or(|backlog| backlog.attached)
    }

    /// Detaches the connection of a persistent session. Returns false for a queue without a session.
    pub(super) fn park(&self) -> bool {
        let mut state = self.state();
        let (Some(durable), Some(backlog)) = (&self.durable, &mut state.backlog) else { return false };
        backlog.attached = false;
        backlog.live = false;
        let (session, expiry_s, ended_at) = (durable.session, backlog.expiry_s, disk::now());
        backlog.seen_at = ended_at;
        durable.disk.order(Op::Lifetime { session, expiry_s, ended_at });
        drop(state.take_deliveries());
        state.is_replayed = false;
        state.waker = None;
        state.link = None;
        true
    }

    /// Attaches a connection to a persistent session.
    pub(super) fn unpark(&self) {
        let mut state = self.state();
        state.closed = None;
        if let Some(backlog) = &mut state.backlog {
            backlog.attached = true;
            backlog.live = false;
            backlog.cursor = 0;
            backlog.seen_at = disk::now();
            backlog.kept_until = None;
        }
    }

    /// From now on, messages that come twice, from another session and by the bus, are queued once, if there are no more
    /// than `max` others in between. Those that another hub has delivered are not queued at all.
    pub(super) fn begin_merge(&self, max: usize, delivered: Option<&EarlyDeliveries>) {
        let mut state = self.state();
        let Some(backlog) = &mut state.backlog else { return };
        // The other hub has all until the move is complete, and the client may return to it before.
        let shared = backlog.share(disk::now() + MOVE_MAX_S);
        if let Some(delivered) = delivered {
            shared.extend(delivered);
        }
        let merged = backlog.merged.get_or_insert_with(|| Box::new(Merged::new(max)));
        for message in delivered.iter().flat_map(|delivered| &delivered.messages) {
            merged.note(*message);
        }
    }

    /// From now on, the messages of this session are noted, as another one of its client takes what is published up to
    /// `until`, too.
    pub(super) fn share(&self, until: Timestamp) {
        if let Some(backlog) = &mut self.state().backlog {
            backlog.share(until);
        }
    }

    /// Notes stored messages, which may come again, and which another session may have, too.
    pub(super) fn note_stored<'a>(&self, messages: impl Iterator<Item = (Fingerprint, &'a Entry)>) {
        let mut state = self.state();
        let Some(backlog) = &mut state.backlog else { return };
        for (message, entry) in messages {
            if let Some(merged) = &mut backlog.merged {
                merged.note(message);
            }
            if let Some(shared) = &mut backlog.shared {
                shared.note(message, entry.published_at);
            }
        }
    }

    /// Gives stored messages, which are not on their way to the client, new numbers behind all others.
    pub(super) fn renumber(&self, entries: Vec<Entry>) {
        let Some(durable) = &self.durable else { return };
        // Before the lock of the state, as everywhere.
        let _together = durable.disk.together();
        let mut state = self.state();
        let Some(backlog) = &mut state.backlog else { return };
        for Entry { seq, publication, qos, retain, released, published_at } in entries {
            durable.disk.order(Op::Forget { session: durable.session, seq });
            backlog.last_seq += 1;
            if backlog.live {
                backlog.live = false;
                backlog.cursor = backlog.last_seq - 1;
            }
            let entry = Entry { seq: backlog.last_seq, publication, qos, retain, released, published_at };
            durable.disk.order(Op::Enqueue { session: durable.session, entry, own: false });
        }
    }

    /// The next messages get none of these packet ids for as long as possible.
    pub(super) fn continue_beside(&self, ids: &[u64]) {
        if let Some(backlog) = &mut self.state().backlog {
            backlog.continue_beside(ids);
        }
    }

    /// The messages of this session that another one of its client may have, too, delivered or not; none if there is no
    /// other one.
    pub(super) fn shared(&self) -> Option<EarlyDeliveries> {
        self.state().backlog.as_ref()?.shared.as_ref().map(|shared| shared.all())
    }

    /// The end of [`Self::begin_merge`].
    pub(super) fn end_merge(&self) {
        if let Some(backlog) = &mut self.state().backlog {
            backlog.merged = None;
        }
    }

    /// The client of a restored session was not here after this time.
    pub(super) fn note_seen(&self, at: Timestamp) {
        if let Some(backlog) = &mut self.state().backlog {
            backlog.seen_at = at;
        }
    }

    /// The client has connected to another hub at `since`: messages that are published after `until` are not kept until it
    /// is back. Nothing happens if the clock of the other hub is ahead. Returns false, and changes nothing, if it was here
    /// at about that time or later.
    pub(super) fn note_elsewhere(&self, since: Timestamp, until: Timestamp) -> bool {
        let mut state = self.state();
        let is_trusted = since < disk::now() + CLOCKS_DIFFER_MAX_S;
        let Some(backlog) = state.backlog.as_mut().filter(|_| is_trusted) else { return true };
        let has_left = backlog.seen_at + CLOCKS_DIFFER_MAX_S < since;
        if has_left {
            backlog.keep_until(until);
        }
        has_left
    }

    /// As [`Self::note_elsewhere`], where it is certain. False if the client is back.
    pub(super) fn leave(&self, until: Timestamp) -> bool {
        let mut state = self.state();
        let Some(backlog) = state.backlog.as_mut().filter(|backlog| !backlog.attached) else { return false };
        backlog.keep_until(until);
        true
    }

    /// Ends the session: its stored messages are deleted, and no more are stored.
    pub(super) fn end_session(&self) {
        let mut state = self.state();
        if let (Some(durable), Some(_)) = (&self.durable, state.backlog.take()) {
            durable.disk.order(Op::End { session: durable.session });
        }
    }

    /// Records a subscription that is in the file already.
    pub(super) fn remember(&self, subscription: &Subscription) {
        self.state().filters.push(Known { subscription: subscription.clone(), is_stored: true });
    }

    /// Closes the queue. The first reason is kept.
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

    /// Whether the stored queue can be read now.
    fn is_readable(&self) -> bool {
        self.durable.as_ref().is_none_or(|durable| durable.disk.is_writable())
    }

    pub(super) fn take_filters(&self) -> Vec<(TopicFilter, Option<Box<str>>)> {
        let known = std::mem::take(&mut self.state().filters);
        known.into_iter().map(|Known { subscription, .. }| (subscription.filter, subscription.share)).collect()
    }

    /// Takes deliveries for the reader at once, as many as `taken` is for. Returns the next item if it is none of them.
    pub(super) fn take(&self, taken: &mut Taken) -> Option<Incoming> {
        let is_readable = self.is_readable();
        let mut state = self.state();
        let mut other = None;
        while taken.has_room() {
            match state.next(Awaited::Delivery, is_readable) {
                Some(Incoming::Delivery(delivery)) => {
                    let bytes = size_of(&delivery);
                    taken.put(delivery, bytes);
                }
                next => {
                    other = next;
                    break;
                }
            }
        }
        let has_drained = state.has_drained(self.limits);
        drop(state);
        if has_drained {
            self.drained.notify_waiters();
        }
        other
    }

    /// The next item for the reader.
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

    /// The next item for the reader, or else the locked state.
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

fn wake_reader(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take_if(|(_, awaited)| *awaited == Awaited::Delivery);
    drop(state);
    if let Some((waker, _)) = waker {
        waker.wake();
    }
}
