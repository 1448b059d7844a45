//! Which parties are connected: to this hub, and to the other hubs of the database.
//!
//! `online/<id>` is the union. A party that moves from one hub to another is published as offline at most for as long as
//! it has no connection at all, as far as this hub knows.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::queue::Queue;
use super::{Publication, Router};
use crate::model::{Party, QoS, Topic};

/// Called with a party that has its first connection to this hub (true), or has lost its last one.
type Watcher = dyn Fn(&Party, bool) + Send + Sync;

/// The watcher of those who come and go.
pub(super) struct Moves(Box<Watcher>);

impl fmt::Debug for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moves").finish_non_exhaustive()
    }
}

/// The connections of a party.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// To this hub.
    pub(super) here: Vec<Arc<Queue>>,
    /// How many other hubs have connections of it.
    pub(super) elsewhere: usize,
}

impl Present {
    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.elsewhere == 0
    }
}

impl Router {
    /// Whether `party` has a connection to any hub.
    pub fn online(&self, party: &Party) -> bool {
        self.presence.contains_key(party)
    }

    /// Whether `party` has a connection to this hub.
    pub fn online_here(&self, party: &Party) -> bool {
        self.connections(party) > 0
    }

    /// From now on, `moves` is called with each party that has its first connection to this hub (true), or has lost its
    /// last one, in the order in which that happens. It must not call the router. Only the first watcher is called.
    pub fn watch_moves(&self, moves: impl Fn(&Party, bool) + Send + Sync + 'static) {
        let _ = self.moves.set(Moves(Box::new(moves)));
    }

    /// The parties that are connected to this hub.
    pub fn parties_here(&self) -> Vec<Party> {
        let here = self.presence.iter().filter(|entry| !entry.here.is_empty() && !is_guest(entry.key()));
        here.map(|entry| entry.key().clone()).collect()
    }

    /// Another hub has its first connection of `party`, or has lost its last one.
    pub fn note_elsewhere(&self, party: &Party, is_there: bool) {
        if is_there {
            let mut present = self.presence.entry(party.clone()).or_default();
            let was_online = !present.is_empty();
            present.elsewhere += 1;
            if !was_online {
                self.announce(present.key(), b"1");
            }
            return;
        }
        self.presence.remove_if_mut(party, |party, present| {
            let was_online = !present.is_empty();
            present.elsewhere = present.elsewhere.saturating_sub(1);
            if was_online && present.is_empty() {
                self.announce(party, b"0");
            }
            present.is_empty()
        });
    }

    /// Called with the party's presence entry locked.
    pub(super) fn note_move(&self, party: &Party, is_here: bool) {
        if let Some(Moves(moves)) = self.moves.get()
            && !is_guest(party)
        {
            moves(party, is_here);
        }
    }

    /// Publishes whether `party` is online. Called with the party's presence entry locked.
    pub(super) fn announce(&self, party: &Party, online: &'static [u8]) {
        // The presence of a guest is not published.
        if is_guest(party) {
            return;
        }
        let Ok(topic) = format!("online/{}", party.id()).parse::<Topic>() else { return };
        let payload = Bytes::from_static(online).into();
        self.publish(Publication {
            topic,
            payload,
            qos: QoS::AtLeastOnce,
            retain: true,
            publisher: None,
            properties: Bytes::new(),
            expires_at: None,
        });
    }
}

/// Conformance tests connect as a toy that does not exist.
pub(super) fn is_guest(party: &Party) -> bool {
    matches!(party, Party::Toy(toy) if toy.is_nobody())
}
