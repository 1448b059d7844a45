//! What this hub has published for the connected users and toys: a comparison with the database finds what the bus has lost.
//!
//! A user has a stream of numbered events. A toy has none: the counts of its address book change with each message, and
//! the ids of the messages that it was notified of are remembered while it is connected.
//!
//! ```text
//!            upto      ahead
//! ──────┬──────┴──┬───┬──┬──▶  numbers of a user's events
//!     start       7   9  10    8 is missing: it is read from the database at the next comparison
//! ```

use std::collections::{BTreeSet, VecDeque};

use dashmap::DashMap;

use crate::model::{Event, MessageId, Party, ToyId, UserId};

/// Numbers behind a gap that are remembered for one user.
const AHEAD_MAX: usize = 1024;

/// The positions of those that are connected to this hub, and of those that were a moment ago.
#[derive(Debug)]
pub(super) struct Positions {
    users: DashMap<UserId, Position>,
    toys: DashMap<ToyId, Notified>,
    /// Ids that are remembered for one toy.
    ids_max: usize,
}

#[derive(Debug)]
struct Position {
    /// The number of the last event when the user connected.
    start: u64,
    /// All numbers after `start` up to this one were published.
    upto: u64,
    /// Later ones that were published.
    ahead: BTreeSet<u64>,
    was_away: bool,
}

#[derive(Debug)]
struct Notified {
    /// How many messages the toy was sent, by the address book, at the last comparison.
    received: u64,
    /// Messages that it was notified of, the newest last, and whether a comparison has found them.
    ids: VecDeque<(MessageId, bool)>,
    was_away: bool,
}

impl Positions {
    pub(super) fn new(ids_max: usize) -> Self {
        Self { users: DashMap::new(), toys: DashMap::new(), ids_max }
    }

    pub(super) fn has(&self, party: &Party) -> bool {
        match party {
            Party::User(user) => self.users.contains_key(user),
            Party::Toy(toy) => self.toys.contains_key(toy),
        }
    }

    /// A user connects; `last` is the number of its last event, as it was read before.
    pub(super) fn start_user(&self, user: &UserId, last: u64) {
        let new = || Position { start: last, upto: last, ahead: BTreeSet::new(), was_away: false };
        self.users.entry(user.clone()).or_insert_with(new);
    }

    /// A toy connects: how many messages it was sent, and those that are unread, which it is notified of when it connects.
    pub(super) fn start_toy(&self, toy: &ToyId, received: u64, unread: Vec<MessageId>) {
        let ids = || unread.into_iter().map(|id| (id, false)).collect();
        self.toys.entry(toy.clone()).or_insert_with(|| Notified { received, ids: ids(), was_away: false });
    }

    /// Whether an event is still to be published. It is noted as published then.
    pub(super) fn note(&self, party: &Party, event: &Event, seq: Option<u64>) -> bool {
        match (party, seq, event) {
            (Party::User(user), Some(number), _) => {
                self.users.get_mut(user).is_none_or(|mut position| position.note(number))
            }
            (Party::Toy(toy), _, Event::Message { id, .. }) => {
                self.toys.get_mut(toy).is_none_or(|mut notified| notified.note(id, self.ids_max))
            }
            _ => true,
        }
    }

    /// The connected users. Those that are away for two comparisons are forgotten.
    pub(super) fn users(&self, is_here: impl Fn(&Party) -> bool) -> Vec<UserId> {
        let mut found = Vec::new();
        self.users.retain(|user, position| {
            let is_here = is_here(&Party::User(user.clone()));
            if is_here {
                found.push(user.clone());
            }
            let is_kept = is_here || !position.was_away;
            position.was_away = !is_here;
            is_kept
        });
        found
    }

    /// The connected toys, likewise.
    pub(super) fn toys(&self, is_here: impl Fn(&Party) -> bool) -> Vec<ToyId> {
        let mut found = Vec::new();
        self.toys.retain(|toy, notified| {
            let is_here = is_here(&Party::Toy(toy.clone()));
            if is_here {
                found.push(toy.clone());
            }
            let is_kept = is_here || !notified.was_away;
            notified.was_away = !is_here;
            is_kept
        });
        found
    }

    /// The number after which events of a user are missing, whose last event has number `last`.
    pub(super) fn behind(&self, user: &UserId, last: u64) -> Option<u64> {
        self.users.get(user).map(|position| position.upto).filter(|upto| *upto < last)
    }

    /// The events of a user up to this number cannot be read any more.
    pub(super) fn skip_to(&self, user: &UserId, number: u64) {
        if let Some(mut position) = self.users.get_mut(user) {
            position.upto = position.upto.max(number);
            position.close_up();
        }
    }

    /// Whether the count of a toy has changed since the last comparison.
    pub(super) fn has_changed(&self, toy: &ToyId, received: u64) -> bool {
        self.toys.get(toy).is_some_and(|notified| notified.received != received)
    }

    /// The messages of a toy were compared at this count.
    pub(super) fn note_received(&self, toy: &ToyId, received: u64) {
        if let Some(mut notified) = self.toys.get_mut(toy) {
            notified.received = received;
        }
    }

    /// Whether a comparison has found a message that the toy was not notified of. It is noted then.
    pub(super) fn is_missing(&self, toy: &ToyId, message: &MessageId) -> bool {
        let Some(mut notified) = self.toys.get_mut(toy) else { return false };
        let is_missing = notified.ids.iter().all(|(known, _)| known != message);
        if is_missing {
            notified.push(message.clone(), true, self.ids_max);
        }
        is_missing
    }
}

impl Position {
    /// Whether this number is still to be published. One from before the connection is: it may be for a session.
    fn note(&mut self, number: u64) -> bool {
        if number <= self.start {
            return true;
        }
        if number <= self.upto || self.ahead.contains(&number) {
            return false;
        }
        if number == self.upto + 1 {
            self.upto = number;
            self.close_up();
        } else if self.ahead.len() < AHEAD_MAX {
            self.ahead.insert(number);
        }
        true
    }

    fn close_up(&mut self) {
        while let Some(first) = self.ahead.first().copied()
            && first <= self.upto + 1
        {
            self.upto = self.upto.max(first);
            self.ahead.remove(&first);
        }
    }
}

impl Notified {
    /// Whether a message is still to be published: not if a comparison was faster than the bus. Others may be published
    /// again, as at the end of quiet hours.
    fn note(&mut self, id: &MessageId, max: usize) -> bool {
        match self.ids.iter_mut().find(|(known, _)| known == id) {
            Some((_, was_missing)) => !std::mem::take(was_missing),
            None => {
                self.push(id.clone(), false, max);
                true
            }
        }
    }

    fn push(&mut self, id: MessageId, was_missing: bool, max: usize) {
        if self.ids.len() >= max {
            self.ids.pop_front();
        }
        self.ids.push_back((id, was_missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChatId, FileName};

    fn message(id: &MessageId) -> Event {
        Event::Message {
            id: id.clone(),
            from: Party::Toy(ToyId::random()),
            chat: ChatId::random(),
            sound: FileName::random("mp3"),
            notice: None,
            created_at: 1.0,
        }
    }

    #[test]
    fn a_gap_in_a_stream_is_found_and_nothing_is_published_twice() {
        let (positions, user) = (Positions::new(8), UserId::random());
        let party = Party::User(user.clone());
        let note = |number| positions.note(&party, &Event::Erased, Some(number));
        assert!(note(3), "nobody is connected");
        positions.start_user(&user, 5);
        positions.start_user(&user, 9);
        assert!(note(4) && note(4), "before the connection");
        assert!(note(6) && note(8) && note(9) && !note(6) && !note(8));
        assert_eq!((positions.behind(&user, 9), positions.behind(&user, 6)), (Some(6), None));
        assert!(note(7) && !note(7) && !note(9));
        assert_eq!(positions.behind(&user, 9), None);
        assert!(note(12));
        positions.skip_to(&user, 11);
        assert_eq!(positions.behind(&user, 12), None);
    }

    #[test]
    fn a_toy_is_notified_once_of_a_message_that_a_comparison_has_found() {
        let (positions, toy) = (Positions::new(3), ToyId::random());
        let party = Party::Toy(toy.clone());
        let ids: Vec<MessageId> = (0..5).map(|_| MessageId::random()).collect();
        let note = |at: usize| positions.note(&party, &message(&ids[at]), None);
        positions.start_toy(&toy, 1, vec![ids[0].clone()]);
        assert!(!positions.has_changed(&toy, 1) && positions.has_changed(&toy, 3));
        positions.note_received(&toy, 3);
        assert!(!positions.has_changed(&toy, 3));
        assert!(note(1) && note(1), "a message may be announced again");
        assert!(!positions.is_missing(&toy, &ids[0]) && !positions.is_missing(&toy, &ids[1]));
        assert!(positions.is_missing(&toy, &ids[2]) && !positions.is_missing(&toy, &ids[2]));
        assert!(!note(2), "the comparison was faster than the bus");
        assert!(note(2) && note(3) && note(4));
        assert!(positions.is_missing(&toy, &ids[0]), "only the newest ids are kept");
    }

    #[test]
    fn who_is_away_for_two_comparisons_is_forgotten() {
        let (positions, user, toy) = (Positions::new(3), UserId::random(), ToyId::random());
        positions.start_user(&user, 0);
        positions.start_toy(&toy, 0, Vec::new());
        assert_eq!((positions.users(|_| true), positions.toys(|_| true)), (vec![user.clone()], vec![toy.clone()]));
        for is_known in [true, false] {
            assert!(positions.users(|_| false).is_empty() && positions.toys(|_| false).is_empty());
            assert_eq!(positions.has(&Party::User(user.clone())), is_known);
            assert_eq!(positions.has(&Party::Toy(toy.clone())), is_known);
        }
    }
}
