//! Shared subscriptions: each message is delivered to one session of a group (v5 §4.8.2).

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::ConnectionId;
use super::queue::{Pushed, Queue};
use crate::model::QoS;

/// The members of one group with one filter. They take turns.
#[derive(Debug)]
pub(super) struct Share {
    id: ConnectionId,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    all: Vec<(Arc<Queue>, QoS)>,
    next: usize,
}

impl Share {
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether a member satisfies the condition.
    pub(super) fn has(&self, is_such: impl Fn(&Queue) -> bool) -> bool {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.all.iter().any(|(queue, _)| is_such(queue))
    }

    /// Queues a message for the member whose turn it is. A member without room is skipped; an offline one gets it only
    /// if no member is online.
    pub(super) fn give(&self, push: impl Fn(&Queue, QoS) -> Pushed) -> Pushed {
        let turn = {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            if members.all.is_empty() {
                return Pushed::Refused;
            }
            members.next = (members.next + 1) % members.all.len();
            let (before, after) = members.all.split_at(members.next);
            after.iter().chain(before).cloned().collect::<Vec<_>>()
        };
        let (there, away): (Vec<_>, Vec<_>) = turn.iter().partition(|(queue, _)| queue.takes_deliveries());
        let mut result = Pushed::Refused;
        for (queue, qos) in there {
            match push(queue, *qos) {
                Pushed::Refused => {}
                Pushed::Held => result = Pushed::Held,
                taken => return taken,
            }
        }
        if result == Pushed::Held {
            return result;
        }
        let mut pushes = away.into_iter().map(|(queue, qos)| push(queue, *qos));
        pushes.find(|pushed| *pushed != Pushed::Refused).unwrap_or(Pushed::Refused)
    }

    /// The queue of a member that publishers wait for.
    pub(super) fn behind(&self) -> Option<Arc<Queue>> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.all.iter().find(|(queue, _)| queue.is_behind()).map(|(queue, _)| Arc::clone(queue))
    }
}

/// All groups by the text of their subscription, `$share/<group>/<filter>`.
#[derive(Debug, Default)]
pub(super) struct Shares(DashMap<Box<str>, Arc<Share>>);

impl Shares {
    /// Adds a member or changes its quality of service. `enter` is called with a new group while no other member can
    /// leave.
    pub(super) fn join(
        &self,
        text: &str,
        queue: &Arc<Queue>,
        qos: QoS,
        id: impl FnOnce() -> ConnectionId,
        enter: impl FnOnce(Arc<Share>),
    ) {
        let share = match self.0.entry(text.into()) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) => {
                let share = Arc::new(Share { id: id(), members: Mutex::default() });
                enter(Arc::clone(&share));
                entry.insert(share)
            }
        };
        let mut members = share.members.lock().unwrap_or_else(PoisonError::into_inner);
        match members.all.iter_mut().find(|(member, _)| member.id() == queue.id()) {
            Some(member) => member.1 = qos,
            None => members.all.push((Arc::clone(queue), qos)),
        }
    }

    /// Removes a member; `empty` is called with a group that has no member left.
    pub(super) fn leave(&self, text: &str, member: ConnectionId, empty: impl FnOnce(ConnectionId)) {
        let Entry::Occupied(entry) = self.0.entry(text.into()) else { return };
        let is_empty = {
            let mut members = entry.get().members.lock().unwrap_or_else(PoisonError::into_inner);
            members.all.retain(|(queue, _)| queue.id() != member);
            members.all.is_empty()
        };
        if is_empty {
            empty(entry.get().id());
            entry.remove();
        }
    }
}
