//! Which messages of another hub were received: a broker may deliver one twice, and may lose some.

/// How many numbers behind the highest are remembered: more than a hub sends again after a lost connection.
pub(super) const WIDTH: u64 = 4096;

/// The numbers of one process of a hub.
#[derive(Debug)]
pub(super) struct Window {
    /// An earlier process of this hub has received all numbers up to this one.
    resumed: u64,
    /// The highest number that was received; 0 before the first.
    highest: u64,
    /// All numbers up to this one were received, or are lost.
    up_to: u64,
    /// A bit for each of the last numbers, at its remainder.
    received: Box<[u64; (WIDTH / 64) as usize]>,
}

impl Default for Window {
    fn default() -> Self {
        Self { resumed: 0, highest: 0, up_to: 0, received: Box::new([0; (WIDTH / 64) as usize]) }
    }
}

/// The meaning of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is the next one, or one that was overtaken.
    New,
    /// It is new, and others before it were not received.
    AfterGap,
    /// It was received before.
    Repeated,
}

impl Window {
    /// The numbers of a process of which an earlier process of this hub has received all up to this one.
    pub(super) fn resumed(up_to: u64) -> Self {
        Self { resumed: up_to, up_to, ..Self::default() }
    }

    /// The number up to which all were received, but for those that can only be lost: the other hub sends none again that is
    /// so far behind.
    pub(super) fn up_to(&self) -> u64 {
        self.up_to
    }

    /// Notes a number. One that is too far behind to be known counts as new: a message twice is better than never.
    pub(super) fn note(&mut self, number: u64) -> Seen {
        if number <= self.resumed {
            return Seen::Repeated;
        }
        if self.highest == 0 {
            self.up_to = number - 1;
        }
        let seen = self.note_new(number);
        self.up_to = self.up_to.max(self.highest.saturating_sub(WIDTH));
        while self.up_to < self.highest && self.has(self.up_to + 1) {
            self.up_to += 1;
        }
        seen
    }

    fn note_new(&mut self, number: u64) -> Seen {
        if number > self.highest {
            let is_next = number == self.highest + 1;
            // Before the first, the hub may have sent others to those that were there.
            let is_first = self.highest == 0;
            for skipped in (self.highest + 1..number).rev().take(WIDTH as usize) {
                self.set(skipped, false);
            }
            self.highest = number;
            self.set(number, true);
            return if is_next || is_first { Seen::New } else { Seen::AfterGap };
        }
        if self.highest - number >= WIDTH {
            return Seen::New;
        }
        if self.set(number, true) { Seen::Repeated } else { Seen::New }
    }

    /// Whether a number that is less than [`WIDTH`] behind was received.
    fn has(&self, number: u64) -> bool {
        let (at, bit) = place(number);
        self.received[at] & bit != 0
    }

    /// Sets the bit of a number, and returns what it was.
    fn set(&mut self, number: u64, is_received: bool) -> bool {
        let was_received = self.has(number);
        let (at, bit) = place(number);
        if is_received {
            self.received[at] |= bit;
        } else {
            self.received[at] &= !bit;
        }
        was_received
    }
}

/// The word of a number, and its bit.
fn place(number: u64) -> (usize, u64) {
    ((number % WIDTH / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_continues_after_what_was_received() {
        use Seen::{AfterGap, New, Repeated};
        let mut window = Window::default();
        for (number, up_to) in [(7, 7), (8, 8), (11, 8), (10, 8), (9, 11), (9, 11), (13, 11)] {
            window.note(number);
            assert_eq!(window.up_to(), up_to, "{number}");
        }
        // What is so far behind does not come again.
        window.note(12 + WIDTH);
        assert_eq!(window.up_to(), 13, "12 is lost, and 13 was received");

        let mut later = Window::resumed(13);
        for (number, seen, up_to) in [
            (12, Repeated, 13),
            (13, Repeated, 13),
            // It may have acknowledged others that no session stored.
            (20, New, 20),
            (14, New, 20),
            (14, Repeated, 20),
            (22, AfterGap, 20),
            (21, New, 22),
        ] {
            assert_eq!((later.note(number), later.up_to()), (seen, up_to), "{number}");
        }
    }

    #[test]
    fn a_repeat_is_known_and_a_gap_is_noticed() {
        use Seen::{AfterGap, New, Repeated};
        let mut window = Window::default();
        for (number, expected) in [
            (5, New),
            (5, Repeated),
            (6, New),
            (9, AfterGap),
            (8, New),
            (7, New),
            (8, Repeated),
            (10, New),
            (4105, AfterGap),
            (9, New),
            (10, Repeated),
            (4104, New),
            (4104, Repeated),
            (20_000, AfterGap),
            (20_000, Repeated),
            (4105, New),
            (15_905, New),
            (15_905, Repeated),
            (20_001, New),
        ] {
            assert_eq!(window.note(number), expected, "{number}");
        }
    }
}
