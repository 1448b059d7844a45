//! The stored queue of a persistent session, and what a connection is given of it beside a replay.
//!
//! A message may stand in both: the stored queue has what was published while the client was away, the replay what the
//! hub keeps elsewhere until it is read. It is sent once, and in the order of the replay, which is that of the messages:
//! what was not published before the process ended stands there between the others.

use std::collections::VecDeque;

use super::disk::Entry;
use super::{Delivery, Place};
use crate::model::QoS;

/// The stored queue of a persistent session, as far as the router has to know it.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) last_seq: u64,
    pub(super) expiry_s: u32,
    /// A connection serves the session.
    pub(super) attached: bool,
    /// All that is stored was given to the connection or stands in its queue.
    pub(super) live: bool,
    /// Up to where the connection has read the stored queue.
    pub(super) cursor: u64,
    /// Up to where it is read before the replay.
    pub(super) replay_after: u64,
    /// The last that was ever given to a connection.
    given: u64,
    /// The last that an earlier process has stored. It may have given all of them, or none.
    inherited: u64,
}

impl Backlog {
    pub(super) fn new(last_seq: u64, expiry_s: u32) -> Self {
        let (attached, live, cursor, replay_after) = (false, false, 0, 0);
        Self { last_seq, expiry_s, attached, live, cursor, replay_after, given: last_seq, inherited: last_seq }
    }

    /// Notes that a message is given to the connection.
    pub(super) fn give(&mut self, place: &mut Place) {
        place.again = place.seq <= self.given;
        self.given = self.given.max(place.seq);
    }

    /// What the connection is given of a page, and the numbers of the messages that it is given by the replay instead.
    pub(super) fn give_page(&mut self, page: Vec<Entry>, replay: &mut VecDeque<Delivery>) -> (Vec<Delivery>, Vec<u64>) {
        let (mut given, mut replayed) = (Vec::new(), Vec::new());
        for Entry { seq, publication, qos, retain, released } in page {
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
            let mut place = Place { seq, again: false, released };
            self.give(&mut place);
            given.push(Delivery { publication, qos, retain, stored: Some(place) });
        }
        (given, replayed)
    }

    /// Whether a message has to come again under its packet id, since the client may have received it (MQTT 3.1.1 §4.4).
    /// At QoS 1 no client remembers the id, so that it matters only to one that this process has sent it to.
    fn is_repeated(&self, seq: u64, qos: QoS) -> bool {
        seq <= self.given && (qos == QoS::ExactlyOnce || seq > self.inherited)
    }
}
