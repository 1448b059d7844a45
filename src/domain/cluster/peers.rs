//! The other hubs, and the parties that are connected to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Party;
use crate::ports::bus::HubName;
use crate::ports::clock::MonotonicClock;
use crate::ports::router::Router;

/// The other hubs.
pub(super) struct Peers {
    clock: MonotonicClock,
    /// A hub that was silent for longer is gone.
    silence_max: Duration,
    hubs: Mutex<HashMap<String, Peer>>,
}

/// A hub.
struct Peer {
    epoch: u64,
    seen_at: Duration,
    /// Whether its whole roster was received.
    is_known: bool,
    parties: HashSet<Party>,
    /// The parts of a roster that were received.
    parts: HashSet<Party>,
}

impl Peers {
    pub(super) fn new(clock: &MonotonicClock, silence_max: Duration) -> Self {
        Self { clock: clock.clone(), silence_max, hubs: Mutex::default() }
    }

    fn hubs(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a hub lives. Returns whether its roster is known. Another process of a hub begins without parties.
    pub(super) fn note(&self, from: &HubName, router: &Router) -> bool {
        let now = self.clock.now();
        let mut hubs = self.hubs();
        let peer = hubs.entry(from.hub.clone()).or_insert_with(|| {
            tracing::info!(hub = from.hub, "another hub is on the bus");
            Peer { epoch: from.epoch, seen_at: now, is_known: false, parties: HashSet::new(), parts: HashSet::new() }
        });
        if peer.epoch != from.epoch {
            forget(peer, router);
            (peer.epoch, peer.is_known) = (from.epoch, false);
        }
        peer.seen_at = now;
        peer.is_known
    }

    /// Whether no other hub is on the bus.
    pub(super) fn is_empty(&self) -> bool {
        self.hubs().is_empty()
    }

    /// Whether a hub is on the bus.
    pub(super) fn has(&self, hub: &str) -> bool {
        self.hubs().contains_key(hub)
    }

    /// A part of the roster of a hub that was noted.
    pub(super) fn note_roster(
        &self,
        from: &HubName,
        (is_first, is_last): (bool, bool),
        parties: Vec<Party>,
        router: &Router,
    ) {
        let mut hubs = self.hubs();
        let Some(peer) = hubs.get_mut(&from.hub) else { return };
        if is_first {
            peer.parts.clear();
        }
        peer.parts.extend(parties);
        if !is_last {
            return;
        }
        let roster = std::mem::take(&mut peer.parts);
        peer.parties.difference(&roster).for_each(|left| router.note_elsewhere(left, false));
        roster.difference(&peer.parties).for_each(|new| router.note_elsewhere(new, true));
        (peer.parties, peer.is_known) = (roster, true);
    }

    /// Parties have connected to a hub that was noted, or have left it.
    pub(super) fn note_moves(&self, from: &HubName, moves: Vec<(Party, bool)>, router: &Router) {
        let mut hubs = self.hubs();
        let Some(peer) = hubs.get_mut(&from.hub) else { return };
        for (party, is_there) in moves {
            let is_change = if is_there { peer.parties.insert(party.clone()) } else { peer.parties.remove(&party) };
            if is_change {
                router.note_elsewhere(&party, is_there);
            }
        }
    }

    /// A process of a hub is not on the bus any more.
    pub(super) fn note_gone(&self, from: &HubName, router: &Router) {
        let mut hubs = self.hubs();
        if hubs.get(&from.hub).is_some_and(|peer| peer.epoch == from.epoch)
            && let Some(mut peer) = hubs.remove(&from.hub)
        {
            forget(&mut peer, router);
            tracing::info!(hub = from.hub, "another hub has left the bus");
        }
    }

    /// Removes hubs that are silent, though the broker has not published their last will.
    pub(super) fn expire(&self, router: &Router) {
        let now = self.clock.now();
        self.hubs().retain(|hub, peer| {
            let is_alive = now.saturating_sub(peer.seen_at) <= self.silence_max;
            if !is_alive {
                forget(peer, router);
                tracing::warn!(hub, "another hub is silent");
            }
            is_alive
        });
    }

    /// Removes all hubs: this one gets nothing of them any more.
    pub(super) fn forget_all(&self, router: &Router) {
        self.hubs().drain().for_each(|(_, mut peer)| forget(&mut peer, router));
    }
}

fn forget(peer: &mut Peer, router: &Router) {
    peer.parties.drain().for_each(|party| router.note_elsewhere(&party, false));
    peer.parts.clear();
}
