//! The place of one connection in its user's stream of events.
//!
//! Events are numbered without gaps, and a number is only given when all below it are committed; but two publishers may
//! publish theirs in either order. So a connection sends the next event as it comes, reads the events in between from the
//! store when a later one comes first, and drops those that it has sent.

/// The action for an event from the router.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it.
    Send,
    /// It was sent already.
    Drop,
    /// Others precede it: read all after this number from the store.
    ReadAfter(u64),
}

/// The number of the event that was sent last.
#[derive(Debug)]
pub(super) struct Follower {
    sent: u64,
}

impl Follower {
    /// A connection whose client has all up to number `sent`.
    pub(super) fn new(sent: u64) -> Self {
        Self { sent }
    }

    /// The number that was sent last.
    pub(super) fn last(&self) -> u64 {
        self.sent
    }

    /// The action for number `seq`.
    pub(super) fn step(&self, seq: u64) -> Step {
        match seq {
            seq if seq <= self.sent => Step::Drop,
            seq if seq == self.sent + 1 => Step::Send,
            _ => Step::ReadAfter(self.sent),
        }
    }

    /// Number `seq` was sent, or a `reload` up to it.
    pub(super) fn sent(&mut self, seq: u64) {
        self.sent = seq;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_sent_once_and_in_order_after_any_arrival_order() {
        let orders = [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 4, 3], [3, 1, 4, 2], [1, 1, 4, 4]];
        for order in orders {
            let (mut follower, mut sent) = (Follower::new(0), Vec::new());
            for seq in order {
                match follower.step(seq) {
                    Step::Drop => {}
                    Step::Send => {
                        sent.push(seq);
                        follower.sent(seq);
                    }
                    Step::ReadAfter(after) => {
                        // The store has all that is committed, at least up to this one.
                        for stored in after + 1..=seq {
                            sent.push(stored);
                            follower.sent(stored);
                        }
                    }
                }
            }
            assert_eq!(sent, [1, 2, 3, 4], "{order:?}");
        }
    }
}
