//! The stored queue of a persistent session, and its combination with a replay.
//!
//! A message may be in both: the stored queue has the messages that were published while the client was offline, the
//! replay has the unread messages from the store. Such a message is sent once, in the order of the replay, which is the
//! order of the chat: a message that was not published before the process ended is at its place there.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest as _, Sha256};

use super::disk::Entry;
use super::{Delivery, Publication, QueuePosition};
use crate::model::{QoS, Timestamp};

/// Messages of a stored queue whose numbers differ by this have the same packet id (MQTT 3.1.1 §2.3.1: there is no id 0).
pub const PACKET_IDS: u64 = 65_535;
/// Messages that a session can name as delivered.
const DELIVERED_MAX: usize = 1024;

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
    /// Of a session that has moved here, or began anew as the hub of the one before was away: what that one may have, too.
    pub(super) shared: Option<Box<Shared>>,
    /// The last number that was ever sent to a connection.
    given: u64,
    /// The last number that an earlier process has stored. That process may have sent all of them, or none.
    inherited: u64,
}

/// By which a message is known again, also at another hub: its topic, its payload and the time when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// That of a publication.
    pub(super) fn of(publication: &Publication, at: Timestamp) -> Self {
        let (topic, payload) = (publication.topic.as_str(), publication.payload.bytes());
        let mut hash = Sha256::new();
        hash.update((topic.len() as u64).to_be_bytes());
        hash.update(topic);
        hash.update(payload);
        hash.update(at.to_bits().to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        Self(hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// Messages that have come.
#[derive(Debug)]
pub(super) struct Merged {
    known: HashSet<Fingerprint>,
    order: VecDeque<Fingerprint>,
    max: usize,
}

impl Merged {
    /// Of the last `max` messages.
    pub(super) fn new(max: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), max }
    }

    /// Notes a message; false if it was noted before.
    pub(super) fn note(&mut self, message: Fingerprint) -> bool {
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

/// The messages that a session got while another one of its client, at another hub, may have taken them, too.
#[derive(Debug)]
pub(super) struct Shared {
    /// Up to when the other one takes all.
    until: Timestamp,
    /// Those that were published up to then.
    early: Merged,
    /// The last ones of later: the other one may not know yet that this one is there.
    late: Merged,
}

impl Shared {
    /// Without messages.
    pub(super) fn new(until: Timestamp) -> Self {
        Self { until, early: Merged::new(DELIVERED_MAX), late: Merged::new(DELIVERED_MAX / 4) }
    }

    /// Notes messages that another hub has delivered.
    pub(super) fn extend(&mut self, delivered: &EarlyDeliveries) {
        self.until = self.until.max(delivered.until);
        for message in &delivered.messages {
            self.early.note(*message);
        }
    }

    /// Notes a message that this session gets.
    pub(super) fn note(&mut self, message: Fingerprint, at: Timestamp) {
        let noted = if at <= self.until { &mut self.early } else { &mut self.late };
        noted.note(message);
    }

    /// All of them, as if they were delivered.
    pub(super) fn all(&self) -> EarlyDeliveries {
        EarlyDeliveries {
            until: self.until,
            messages: self.early.order.iter().chain(&self.late.order).copied().collect(),
        }
    }
}

/// What a session has delivered of the messages that another one of its client may have, too.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyDeliveries {
    /// Up to when the other one takes all.
    pub until: Timestamp,
    /// The messages: those that were published up to then, and the last ones of later.
    pub messages: Vec<Fingerprint>,
}

impl Backlog {
    pub(super) fn new(last_seq: u64, expiry_s: u32) -> Self {
        let (attached, live, cursor, replay_after) = (false, false, 0, 0);
        let (seen_at, kept_until, merged, shared, given, inherited) = (0.0, None, None, None, last_seq, last_seq);
        Self {
            last_seq,
            expiry_s,
            attached,
            live,
            cursor,
            replay_after,
            seen_at,
            kept_until,
            merged,
            shared,
            given,
            inherited,
        }
    }

    /// The next message gets the number `seq`, or the first free one with the same packet id: the client may have it under
    /// this id, from an earlier hub.
    pub(super) fn continue_at(&mut self, seq: u64) {
        let behind = (self.last_seq + 1).saturating_sub(seq).div_ceil(PACKET_IDS);
        let seq = seq.max(1).saturating_add(behind.saturating_mul(PACKET_IDS));
        self.last_seq = seq - 1;
        (self.given, self.inherited) = (seq, seq);
    }

    /// The next messages get none of these packet ids for as long as possible: they begin after the largest gap.
    pub(super) fn continue_beside(&mut self, ids: &[u64]) {
        let mut ids: Vec<u64> = ids.iter().map(|id| id % PACKET_IDS).collect();
        ids.sort_unstable();
        let next = ids.iter().skip(1).chain(ids.first()).copied();
        let gap = |(id, next): (u64, u64)| (next + PACKET_IDS - id - 1) % PACKET_IDS;
        let Some((begin, _)) = ids.iter().copied().zip(next).max_by_key(|pair| gap(*pair)) else { return };
        let ahead = (begin + PACKET_IDS - self.last_seq % PACKET_IDS) % PACKET_IDS;
        self.last_seq = self.last_seq.saturating_add(ahead);
    }

    /// The last number that was ever sent to a connection, as far as is known.
    pub(super) fn last_given(&self) -> u64 {
        self.given
    }

    /// Another session of the client, at another hub, may have the messages of this one that are published up to then.
    pub(super) fn share(&mut self, until: Timestamp) -> &mut Shared {
        let shared = self.shared.get_or_insert_with(|| Box::new(Shared::new(until)));
        shared.until = shared.until.max(until);
        shared
    }

    /// Messages that are published later are not kept.
    pub(super) fn keep_until(&mut self, until: Timestamp) {
        self.kept_until = Some(self.kept_until.map_or(until, |earlier| earlier.min(until)));
    }

    /// Notes a message that comes; false if it has come before. One whose time is not known is a new one.
    pub(super) fn note(&mut self, publication: &Publication, at: Option<Timestamp>) -> bool {
        let Some(at) = at else { return true };
        if self.merged.is_none() && self.shared.is_none() {
            return true;
        }
        let message = Fingerprint::of(publication, at);
        if let Some(merged) = &mut self.merged
            && !merged.note(message)
        {
            return false;
        }
        if let Some(shared) = &mut self.shared {
            shared.note(message, at);
        }
        true
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
