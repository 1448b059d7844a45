//! The stored queue of a persistent session, and its combination with a replay.
//!
//! A message may be in both: the stored queue has the messages that were published while the client was offline, the
//! replay has the unread messages from the store. Such a message is sent once, in the order of the replay, which is the
//! order of the chat: a message that was not published before the process ended is at its place there.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::disk::Entry;
use super::{Delivery, Publication, QueuePosition};
use crate::model::{QoS, Timestamp};

/// The router's state of the stored queue of a persistent session.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) last_seq: u64,
    pub(super) expiry_s: u32,
    /// Whether a connection serves the session.
    pub(super) attached: bool,
    /// Whether all stored messages were sent to the connection or are in its queue.
    pub(super) live: bool,
    /// The number up to which the connection has read the stored queue.
    pub(super) cursor: u64,
    /// The number up to which it is read before the replay.
    pub(super) replay_after: u64,
    /// When the client was last known to be here: when it came, or left.
    pub(super) seen_at: Timestamp,
    /// Messages that were published later are not kept: the client is at another hub, which keeps them.
    pub(super) kept_until: Option<Timestamp>,
    /// While messages of another session are added: those that were queued.
    pub(super) merged: Option<Box<Merged>>,
    /// The last number that was ever sent to a connection.
    given: u64,
    /// The last number that an earlier process has stored. That process may have sent all of them, or none.
    inherited: u64,
}

/// Messages that are known again by their topic, their payload and the time when they were published.
#[derive(Debug)]
pub(super) struct Merged {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    max: usize,
}

impl Merged {
    /// Of the last `max` messages.
    pub(super) fn new(max: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), max }
    }

    /// Notes a message; false if it was noted before.
    pub(super) fn note(&mut self, publication: &Publication, at: Timestamp) -> bool {
        let mut hasher = DefaultHasher::new();
        (publication.topic.as_str(), &publication.payload.bytes()[..], at.to_bits()).hash(&mut hasher);
        let message = hasher.finish();
        if !self.known.insert(message) {
            return false;
        }
        self.order.push_back(message);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Backlog {
    pub(super) fn new(last_seq: u64, expiry_s: u32) -> Self {
        let (attached, live, cursor, replay_after) = (false, false, 0, 0);
        let (seen_at, kept_until, merged, given, inherited) = (0.0, None, None, last_seq, last_seq);
        Self { last_seq, expiry_s, attached, live, cursor, replay_after, seen_at, kept_until, merged, given, inherited }
    }

    /// Records that a message is sent to the connection.
    pub(super) fn give(&mut self, place: &mut QueuePosition) {
        place.again = place.seq <= self.given;
        self.given = self.given.max(place.seq);
    }

    /// The messages of a page that are sent to the connection, and the numbers of those that the replay sends instead.
    pub(super) fn give_page(&mut self, page: Vec<Entry>, replay: &mut VecDeque<Delivery>) -> (Vec<Delivery>, Vec<u64>) {
        let (mut given, mut replayed) = (Vec::new(), Vec::new());
        for Entry { seq, publication, qos, retain, released, .. } in page {
            let is_same = |other: &Delivery| {
                other.publication.topic == publication.topic && other.publication.payload == publication.payload
            };
            let twin = replay.iter().position(is_same).filter(|_| seq <= self.replay_after && !released);
            if let Some(twin) = twin {
                if !self.is_repeated(seq, qos) {
                    replayed.push(seq);
                    continue;
                }
                replay.remove(twin);
            }
            let mut place = QueuePosition { seq, again: false, released };
            self.give(&mut place);
            given.push(Delivery { publication, qos, retain, stored: Some(place) });
        }
        (given, replayed)
    }

    /// Whether a message has to be sent again under its packet id, as the client may have received it (MQTT 3.1.1
    /// §4.4). At QoS 1 clients do not remember ids, so only messages that this process has sent count.
    fn is_repeated(&self, seq: u64, qos: QoS) -> bool {
        seq <= self.given && (qos == QoS::ExactlyOnce || seq > self.inherited)
    }
}
