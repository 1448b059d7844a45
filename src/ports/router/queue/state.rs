//! The contents of a queue, which its lock protects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::{Durable, PublishedAt, QueueLimits};
use crate::model::{QoS, TopicFilter};
use crate::ports::router::backlog::Backlog;
use crate::ports::router::disk::{Entry, Op};
use crate::ports::router::{
    CloseReason, ConnectionId, Delivery, Incoming, LinkInfo, Publication, QueuePosition, Subscription,
};

/// A drained queue with room for more than this releases its memory.
const IDLE_CAPACITY: usize = 16;

/// A queue that was behind is no longer so below this part of its limit.
const LOW_MARK: usize = 4;

/// The approximate size of an entry besides its topic, properties and payload.
const ROW_BYTES: usize = 64;

/// The fill of a queue by messages of one kind.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Fill {
    messages: usize,
    bytes: usize,
}

impl Fill {
    pub(super) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether this is the `part`-th part of the limit or more.
    pub(super) fn reaches(self, limits: QueueLimits, part: usize) -> bool {
        self.messages >= (limits.messages_max / part).max(1) || self.bytes >= (limits.bytes_max / part).max(1)
    }

    pub(super) fn is_full(self, limits: QueueLimits) -> bool {
        self.reaches(limits, 1)
    }
}

/// A subscription of the connection.
#[derive(Debug)]
pub(in crate::ports::router) struct Known {
    pub(in crate::ports::router) subscription: Subscription,
    /// Whether it was ordered to be written, and no commit has failed since.
    pub(in crate::ports::router) is_stored: bool,
}

impl Known {
    /// Whether it is the one to `filter` in the group `share`.
    pub(in crate::ports::router) fn is(&self, filter: &TopicFilter, share: Option<&str>) -> bool {
        self.subscription.filter == *filter && self.subscription.share.as_deref() == share
    }
}

/// The deliveries of a queue, and its marks, under its lock.
#[derive(Debug, Default)]
pub(in crate::ports::router) struct State {
    pub(super) deliveries: VecDeque<Delivery>,
    /// The number of deliveries that are retained messages for a new subscription.
    pub(super) retained: usize,
    /// The other deliveries of QoS 0.
    pub(super) lossy: Fill,
    /// The other deliveries of QoS 1 and 2.
    pub(super) reliable: Fill,
    /// Publishers of QoS 1 and 2 wait until the low mark.
    pub(super) is_behind: bool,
    /// When messages of QoS 0 last exceeded the high mark without falling below the low one since.
    pub(super) crowded_since: Option<Instant>,
    /// The number of deliveries that the reader has taken.
    pub(super) taken: u64,
    pub(super) closed: Option<CloseReason>,
    /// The number of deliveries that were dropped because the queue was full.
    pub(in crate::ports::router) dropped: u64,
    /// The waiting reader, and whether it waits for deliveries or only for the close.
    pub(super) waker: Option<(Waker, Awaited)>,
    pub(in crate::ports::router) filters: Vec<Known>,
    /// Whether subscriptions were ordered to be written or removed.
    pub(in crate::ports::router) is_changed: bool,
    /// The stored queue of a persistent session that has not ended.
    pub(in crate::ports::router) backlog: Option<Box<Backlog>>,
    /// The replay for this connection alone, until all of it was sent. Boxed: few connections have one.
    replay: Option<Box<Replay>>,
    /// Whether the connection got its replay because of a subscription of the session.
    pub(in crate::ports::router) is_replayed: bool,
    /// The link of the connection, for the operator.
    pub(in crate::ports::router) link: Option<Box<LinkInfo>>,
}

/// Messages that are never stored in the session, as they are in the store.
#[derive(Debug)]
struct Replay {
    messages: VecDeque<Delivery>,
    /// The number of deliveries in memory that are sent before it.
    after: usize,
}

/// The event that the reader of a queue awaits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ports::router) enum Awaited {
    Delivery,
    Close,
}

/// The size of a delivery in its queue.
#[inline]
pub(super) fn size_of(delivery: &Delivery) -> usize {
    let Publication { topic, payload, properties, .. } = &*delivery.publication;
    ROW_BYTES + topic.as_str().len() + payload.weight() + properties.len()
}

impl State {
    /// Orders a delivery to be stored. Returns true if the connection may get it from memory as well.
    pub(super) fn store(
        &mut self,
        durable: &Durable,
        own: ConnectionId,
        delivery: &mut Delivery,
        at: PublishedAt,
        has_room: bool,
    ) -> bool {
        let Some(backlog) = &mut self.backlog else { return true };
        backlog.last_seq += 1;
        let seq = backlog.last_seq;
        let Delivery { publication, qos, retain, .. } = &*delivery;
        let (publication, published_at) = (Arc::clone(publication), at.time());
        let entry = Entry { seq, publication, qos: *qos, retain: *retain, released: false, published_at };
        let own = delivery.publication.publisher == Some(own);
        durable.disk.order(Op::Enqueue { session: durable.session, entry, own });
        delivery.stored = Some(QueuePosition { seq, again: false, released: false });
        // A message of QoS 2 is read from disk, so that no client holds a packet id that is not stored: after a crash
        // the id would be assigned to another message.
        if backlog.live && (!has_room || delivery.qos == QoS::ExactlyOnce) {
            backlog.live = false;
            backlog.cursor = seq - 1;
        }
        backlog.attached && backlog.live
    }

    /// The number of deliveries in memory.
    pub(in crate::ports::router) fn queued(&self) -> usize {
        self.deliveries.len()
    }

    /// Sets the replay for this connection, after the messages that are stored for it or in its queue now.
    pub(in crate::ports::router) fn set_replay(&mut self, deliveries: VecDeque<Delivery>) {
        if self.closed.is_some() {
            return;
        }
        let replay = Replay { messages: deliveries, after: self.deliveries.len() };
        self.replay = (!replay.messages.is_empty()).then(|| Box::new(replay));
        if let Some(backlog) = &mut self.backlog {
            backlog.replay_after = backlog.last_seq;
        }
    }

    /// The messages of a page of the stored queue that are sent, and the numbers of those that the replay sends
    /// instead.
    pub(in crate::ports::router) fn give_page(&mut self, page: Vec<Entry>) -> (Vec<Delivery>, Vec<u64>) {
        let Some(backlog) = &mut self.backlog else { return (Vec::new(), Vec::new()) };
        let mut none = VecDeque::new();
        let given = backlog.give_page(page, self.replay.as_mut().map_or(&mut none, |replay| &mut replay.messages));
        self.forget_empty_replay();
        given
    }

    /// The number up to which the stored queue is read now.
    pub(in crate::ports::router) fn read_limit(&self) -> u64 {
        match &self.backlog {
            Some(backlog) if self.replay.is_some() && backlog.cursor < backlog.replay_after => backlog.replay_after,
            _ => u64::MAX,
        }
    }

    /// Whether it is the turn of the `replay`: after all messages that were stored before it, and before all later
    /// ones.
    fn is_turn_of_replay(&self) -> bool {
        let is_read = |backlog: &Backlog| backlog.live || backlog.cursor >= backlog.replay_after;
        self.replay.as_ref().is_some_and(|replay| replay.after == 0) && self.backlog.as_deref().is_none_or(is_read)
    }

    fn forget_empty_replay(&mut self) {
        self.replay.take_if(|replay| replay.messages.is_empty());
    }

    pub(super) fn next(&mut self, awaited: Awaited, is_readable: bool) -> Option<Incoming> {
        if let Some(reason) = self.closed {
            return Some(Incoming::Closed(reason));
        }
        if awaited == Awaited::Close {
            return None;
        }
        if self.is_turn_of_replay() {
            self.taken += 1;
            let delivery = self.replay.as_mut().and_then(|replay| replay.messages.pop_front());
            self.forget_empty_replay();
            return delivery.map(Incoming::Delivery);
        }
        let Some(mut delivery) = self.deliveries.pop_front() else {
            let waits = self.backlog.as_ref().is_some_and(|backlog| backlog.attached && !backlog.live);
            return (waits && is_readable).then_some(Incoming::Backlog);
        };
        if let Some(replay) = &mut self.replay {
            replay.after = replay.after.saturating_sub(1);
        }
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

    /// Whether a queue that was behind or crowded has drained.
    pub(super) fn has_drained(&mut self, limits: QueueLimits) -> bool {
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
    pub(super) fn take_deliveries(&mut self) -> VecDeque<Delivery> {
        self.replay = None;
        (self.retained, self.lossy, self.reliable) = (0, Fill::default(), Fill::default());
        (self.is_behind, self.crowded_since) = (false, None);
        std::mem::take(&mut self.deliveries)
    }
}
