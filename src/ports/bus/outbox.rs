//! The messages of this hub that wait for the broker, or for its acknowledgement.
//!
//! ```text
//!  sent, not acknowledged        not sent
//! ┌────┬────┬────┐┌────┬────┬────┬────┐
//! │ 41 │ 42 │ 43 ││ +  │ +  │ +  │ +  │ ◀── push
//! └────┴────┴────┘└────┴────┴────┴────┘
//! ```
//!
//! A message gets its number and its packet id when it is sent first. After a lost connection, what was not acknowledged
//! is sent again, in order, with the same numbers: whatever the broker has kept, the other hubs drop repeats by them.
//!
//! Publications of clients of QoS 1 and 2 are in the sessions' file, too, until the broker has them. A later process sends
//! those that are left there, with the ids that they have had from the beginning. One of QoS 2 is sent when it is in the
//! file, together with the packet id of its client: if the hub is killed, the client's repeat is known, or nobody has got
//! the first one.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use super::notice::{Notice, Number};
use crate::model::Party;
use crate::ports::router::{ForwardId, Ticket};

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboxLimits {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
}

/// A message that waits or was sent.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) notice: Notice,
    /// Its number and packet id, once it was sent.
    pub(super) sent: Option<(Number, u16)>,
    /// Whether it was sent on an earlier connection.
    pub(super) again: bool,
    /// For a message that is not sent before it is on disk.
    commit: Option<Ticket>,
}

impl Item {
    fn new(notice: Notice) -> Self {
        Self { notice, sent: None, again: false, commit: None }
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: OutboxLimits,
    items: VecDeque<Item>,
    /// How many of them were sent on this connection.
    in_flight: usize,
    bytes: usize,
    /// The last numbers of messages to all hubs, and of those to single ones.
    last_numbers: [u64; 2],
    last_id: u16,
    /// Whether a message was dropped, which the other hubs do not know yet.
    has_dropped: bool,
    /// The id of the last publication that was accepted.
    last_accepted: ForwardId,
    /// Publications that the broker has, and the file still has, too.
    forwarded: Vec<ForwardId>,
}

impl Outbox {
    /// A queue with the publications that earlier processes have left. Those of this process are of a later stream than
    /// theirs, and not of an earlier one than `stream`.
    pub(super) fn new(limits: OutboxLimits, stream: u64, left: Vec<Notice>) -> Self {
        let stream = left.iter().filter_map(Notice::forward_id).map(|id| id.stream + 1).fold(stream, u64::max);
        let last_accepted = ForwardId { stream, number: 0 };
        let (bytes, forwarded) = (left.iter().map(Notice::weight).sum(), Vec::new());
        let items = left.into_iter().map(Item::new).collect();
        let (in_flight, last_numbers, last_id, has_dropped) = (0, [0, 0], 0, false);
        Self { limits, items, in_flight, bytes, last_numbers, last_id, has_dropped, last_accepted, forwarded }
    }

    /// Assigns the id of a publication that is accepted now, and is given to [`Self::push_accepted`] then.
    pub(super) fn next_accepted(&mut self) -> ForwardId {
        self.last_accepted.number += 1;
        self.last_accepted
    }

    /// Adds a publication that cannot be refused any more: those that are accepted at the same time may be more than there
    /// is room for. With a ticket, it is sent when that is reached, and what is behind it, too.
    pub(super) fn push_accepted(&mut self, notice: Notice, commit: Option<Ticket>) {
        self.bytes += notice.weight();
        self.items.push_back(Item { commit, ..Item::new(notice) });
    }

    /// Ready when the next message waited for its commit, and does not any more. One that could not be stored is dropped:
    /// its client gets no acknowledgement, and sends it again.
    pub(super) fn poll_stored(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(item) = self.items.get_mut(self.in_flight) else { return Poll::Pending };
        let Some(commit) = &mut item.commit else { return Poll::Pending };
        let is_stored = ready!(commit.poll_reached(context));
        item.commit = None;
        if !is_stored && let Some(item) = self.items.remove(self.in_flight) {
            self.bytes = self.bytes.saturating_sub(item.notice.weight());
        }
        Poll::Ready(())
    }

    /// The publications that the broker has since the last call.
    pub(super) fn take_forwarded(&mut self) -> Vec<ForwardId> {
        std::mem::take(&mut self.forwarded)
    }

    /// Whether another message fits.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() < self.limits.messages_max && self.bytes < self.limits.bytes_max
    }

    /// Adds a message; false if there is no room. The other hubs are then notified that they miss something.
    pub(super) fn push(&mut self, notice: Notice) -> bool {
        if !self.has_room() {
            self.has_dropped = true;
            return false;
        }
        if let Notice::Moved { parties } = notice {
            parties.into_iter().for_each(|(party, is_here)| self.push_move(party, is_here));
            return true;
        }
        self.bytes += notice.weight();
        self.items.push_back(Item::new(notice));
        true
    }

    /// Parties that come and go share a message as long as it is not sent.
    fn push_move(&mut self, party: Party, is_here: bool) {
        const PARTIES_MAX: usize = 500;
        let is_last_unsent = self.items.len() > self.in_flight;
        let last = self.items.back_mut().filter(|item| is_last_unsent && item.sent.is_none());
        if let Some(Item { notice: Notice::Moved { parties }, .. }) = last
            && parties.len() < PARTIES_MAX
        {
            parties.push((party, is_here));
            // As much as a party in a message of its own, without the frame.
            self.bytes += Notice::Moved { parties: Vec::new() }.weight() / 4;
            return;
        }
        let notice = Notice::Moved { parties: vec![(party, is_here)] };
        self.bytes += notice.weight();
        self.items.push_back(Item::new(notice));
    }

    /// The next message to send, if fewer than `in_flight_max` are unacknowledged. Its number and packet id are
    /// assigned.
    pub(super) fn next(&mut self, in_flight_max: usize) -> Option<&Item> {
        if self.in_flight >= in_flight_max {
            return None;
        }
        if self.has_dropped && self.items.len() == self.in_flight {
            self.has_dropped = false;
            self.items.push_back(Item::new(Notice::Dropped));
            self.bytes += Notice::Dropped.weight();
        }
        let (at, id) = (self.in_flight, if self.last_id == u16::MAX { 1 } else { self.last_id + 1 });
        // Ids are assigned in order, so that the oldest message is the first one whose id would be used twice.
        let is_used = self.items.front().is_some_and(|oldest| oldest.sent.is_some_and(|(_, used)| used == id));
        let item = self.items.get_mut(at)?;
        if item.sent.is_none() {
            if is_used || item.commit.is_some() {
                return None;
            }
            let [to_all, to_one] = &mut self.last_numbers;
            let number = match item.notice.receiver() {
                None => Number::ToAll(next(to_all)),
                Some(_) => Number::ToOne(next(to_one)),
            };
            self.last_id = id;
            item.sent = Some((number, id));
        }
        self.in_flight += 1;
        self.items.get(at)
    }

    /// Puts messages before those that were not sent on any connection.
    pub(super) fn insert_next(&mut self, notices: Vec<Notice>) {
        let at = self.items.partition_point(|item| item.sent.is_some());
        for notice in notices.into_iter().rev() {
            self.bytes += notice.weight();
            self.items.insert(at, Item::new(notice));
        }
    }

    /// The broker has acknowledged a packet id.
    pub(super) fn acknowledge(&mut self, id: u16) {
        let of_id = |item: &Item| item.sent.is_some_and(|(_, sent)| sent == id);
        let Some(at) = self.items.iter().take(self.in_flight).position(of_id) else { return };
        if let Some(item) = self.items.remove(at) {
            self.bytes = self.bytes.saturating_sub(item.notice.weight());
            self.in_flight -= 1;
            self.forwarded.extend(item.notice.forward_id());
        }
        if self.items.is_empty() {
            self.bytes = 0;
        }
    }

    /// The connection is lost: all is to be sent again, without what was only about this connection.
    pub(super) fn reset(&mut self) {
        self.in_flight = 0;
        self.items.retain(|item| item.sent.is_some() || !item.notice.is_of_connection());
        // The others would miss the number.
        for item in self.items.iter_mut().filter(|item| item.notice.is_of_connection()) {
            item.notice = Notice::Heartbeat { at: None };
        }
        self.bytes = self.items.iter().map(|item| item.notice.weight()).sum();
        self.items.iter_mut().for_each(|item| item.again |= item.sent.is_some());
    }

    /// Whether the broker has acknowledged everything.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

fn next(last: &mut u64) -> u64 {
    *last += 1;
    *last
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::super::notice::ClientPublication;
    use super::*;
    use crate::model::{QoS, ToyId, UserId};

    fn outbox(messages_max: usize) -> Outbox {
        Outbox::new(OutboxLimits { messages_max, bytes_max: 1 << 20 }, 7, Vec::new())
    }

    /// A publication with this id.
    fn publication(id: ForwardId) -> Notice {
        Notice::Publication(Box::new(ClientPublication {
            id: Some(id),
            topic: "chat/5c8f582f268d7942f44c6703".parse().unwrap(),
            payload: Bytes::from_static(b"louder"),
            qos: QoS::AtLeastOnce,
            retain: false,
            version: None,
            published_at: None,
            properties: Bytes::new(),
            expires_at: None,
        }))
    }

    fn end() -> Notice {
        Notice::End { party: Party::User(UserId::random()), is_erased: false }
    }

    /// Sends all that may be sent, which is to all hubs; numbers, packet ids and whether they were sent before.
    fn sent(outbox: &mut Outbox) -> Vec<(u64, u16, bool)> {
        let mut all = Vec::new();
        while let Some(item) = outbox.next(3) {
            let (Number::ToAll(number), id) = item.sent.unwrap() else { panic!("to one hub: {item:?}") };
            all.push((number, id, item.again));
        }
        all
    }

    #[test]
    fn messages_to_one_hub_leave_no_gap_for_the_others() {
        let mut outbox = outbox(10);
        let to_one = |call| Notice::SessionReady { to: "b".into(), call };
        assert!(outbox.push(end()) && outbox.push(to_one(1)) && outbox.push(end()) && outbox.push(to_one(2)));
        let numbers = [(); 4].map(|()| outbox.next(9).unwrap().sent.unwrap().0);
        assert_eq!(numbers, [Number::ToAll(1), Number::ToOne(1), Number::ToAll(2), Number::ToOne(2)]);
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_in_order_with_its_number() {
        let mut outbox = outbox(10);
        assert!((0..5).all(|_| outbox.push(end())));
        assert_eq!(sent(&mut outbox), [(1, 1, false), (2, 2, false), (3, 3, false)], "at most three at a time");
        outbox.acknowledge(2);
        outbox.acknowledge(9);
        assert_eq!(sent(&mut outbox), [(4, 4, false)]);
        outbox.reset();
        assert_eq!(sent(&mut outbox), [(1, 1, true), (3, 3, true), (4, 4, true)]);
        [1, 3, 4].into_iter().for_each(|id| outbox.acknowledge(id));
        assert_eq!(sent(&mut outbox), [(5, 5, false)]);
        outbox.acknowledge(5);
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn publications_keep_their_ids_in_later_processes() {
        let mut first = outbox(2);
        let ids: Vec<_> = (0..3).map(|_| first.next_accepted()).collect();
        assert_eq!(ids, [1, 2, 3].map(|number| ForwardId { stream: 7, number }));
        ids.iter().for_each(|id| first.push_accepted(publication(*id), None));
        assert!(!first.has_room() && !first.push(end()), "only what was accepted exceeds the limit");
        assert_eq!(sent(&mut first).len(), 3);
        first.acknowledge(2);
        assert_eq!((first.take_forwarded(), first.take_forwarded()), (vec![ids[1]], Vec::new()));

        // The clock was set back: its stream is a later one all the same.
        let limits = OutboxLimits { messages_max: 1, bytes_max: 1 };
        let mut second = Outbox::new(limits, 3, vec![publication(ids[0]), publication(ids[2])]);
        assert_eq!(second.next_accepted(), ForwardId { stream: 8, number: 1 });
        second.insert_next(vec![Notice::Hello]);
        assert_eq!(second.next(3).unwrap().notice, Notice::Hello);
        for id in [ids[0], ids[2]] {
            assert_eq!(second.next(3).unwrap().notice.forward_id(), Some(id));
        }
        second.acknowledge(2);
        second.acknowledge(1);
        assert_eq!(second.take_forwarded(), [ids[0]]);
    }

    #[test]
    fn a_message_of_qos_2_waits_for_its_commit_and_the_others_behind_it() {
        let mut outbox = outbox(10);
        let mut context = Context::from_waker(Waker::noop());
        let (stored, of_first) = Ticket::of_test();
        let (failed, of_second) = Ticket::of_test();
        for commit in [of_first, of_second] {
            let id = outbox.next_accepted();
            outbox.push_accepted(publication(id), Some(commit));
        }
        assert!(outbox.push(end()));
        assert!(sent(&mut outbox).is_empty() && outbox.poll_stored(&mut context).is_pending());
        outbox.reset();
        outbox.insert_next(vec![Notice::Hello]);
        assert_eq!(sent(&mut outbox), [(1, 1, false)], "a new connection begins all the same");
        stored.send(()).unwrap();
        assert!(outbox.poll_stored(&mut context).is_ready());
        assert_eq!(sent(&mut outbox), [(2, 2, false)]);
        drop(failed);
        assert!(outbox.poll_stored(&mut context).is_ready());
        assert_eq!(sent(&mut outbox), [(3, 3, false)], "what could not be stored is not sent");
        assert!(outbox.poll_stored(&mut context).is_pending(), "nothing waits");
        assert!(matches!(outbox.items.back().unwrap().notice, Notice::End { .. }));
        (1..=3).for_each(|id| outbox.acknowledge(id));
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn a_roster_goes_behind_what_is_sent_again() {
        let mut outbox = outbox(10);
        assert!(outbox.push(end()) && outbox.push(end()));
        assert_eq!(sent(&mut outbox).len(), 2);
        outbox.reset();
        outbox.insert_next(vec![Notice::Hello]);
        assert_eq!(sent(&mut outbox), [(1, 1, true), (2, 2, true), (3, 3, false)], "a gap would look like a loss");
    }

    #[test]
    fn what_is_about_a_connection_ends_with_it() {
        let mut outbox = outbox(10);
        for notice in [Notice::Hello, end(), Notice::RosterRequest] {
            assert!(outbox.push(notice));
        }
        assert!(outbox.next(2).is_some() && outbox.next(2).is_some() && outbox.next(2).is_none());
        outbox.reset();
        // A hello has a number, which the others would miss.
        let again = [(); 2].map(|()| outbox.next(2).unwrap().notice.clone());
        assert!(matches!(&again, [Notice::Heartbeat { at: None }, Notice::End { .. }]), "{again:?}");
        [1, 2].into_iter().for_each(|id| outbox.acknowledge(id));
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }

    #[test]
    fn parties_that_move_share_a_message_until_it_is_sent() {
        let mut outbox = outbox(10);
        let toys: Vec<Party> = (0..3).map(|_| Party::Toy(ToyId::random())).collect();
        let moved = |at: usize, is_here| Notice::Moved { parties: vec![(toys[at].clone(), is_here)] };
        assert!(outbox.push(moved(0, true)) && outbox.push(moved(1, true)));
        assert_eq!(outbox.items.len(), 1);
        assert_eq!(sent(&mut outbox).len(), 1);
        assert!(outbox.push(moved(0, false)) && outbox.push(moved(2, true)));
        assert_eq!(outbox.items.len(), 2, "what was sent does not change");
    }

    #[test]
    fn the_others_are_notified_once_that_a_message_was_dropped() {
        let mut outbox = outbox(2);
        assert!(outbox.push(end()) && outbox.push(end()) && !outbox.push(end()) && !outbox.push(end()));
        assert_eq!(sent(&mut outbox).len(), 3, "two messages, and that others are missing");
        assert_eq!(outbox.items.back().unwrap().notice, Notice::Dropped);
        [1, 2, 3].into_iter().for_each(|id| outbox.acknowledge(id));
        assert!(sent(&mut outbox).is_empty() && outbox.has_room());
    }

    #[test]
    fn a_roster_goes_before_the_moves_after_it() {
        let mut outbox = outbox(10);
        let toy = Party::Toy(ToyId::random());
        assert!(outbox.push(Notice::Moved { parties: vec![(toy.clone(), false)] }));
        outbox.insert_next(vec![Notice::Roster { is_first: true, is_last: true, parties: vec![toy] }]);
        assert!(matches!(outbox.next(3).unwrap().notice, Notice::Roster { .. }));
        assert!(matches!(outbox.next(3).unwrap().notice, Notice::Moved { .. }));
    }
}
