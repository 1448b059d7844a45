//! Which messages of another hub were received: a broker may deliver one twice, and may lose some.

use crate::ports::router::HEARD_WITHIN;

/// How many numbers behind the highest are remembered: more than a hub sends again after a lost connection.
const WIDTH: u64 = HEARD_WITHIN;

/// The numbers of one process of a hub.
#[derive(Debug)]
pub(super) struct Window {
    /// The highest number that was received; 0 before the first.
    highest: u64,
    /// A bit for each of the last numbers, at its remainder.
    received: Box<[u64; (WIDTH / 64) as usize]>,
}

impl Default for Window {
    fn default() -> Self {
        Self { highest: 0, received: Box::new([0; (WIDTH / 64) as usize]) }
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
    /// Notes a number. One that is too far behind to be known counts as new: a message twice is better than never.
    pub(super) fn note(&mut self, number: u64) -> Seen {
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

    /// Sets the bit of a number, and returns what it was.
    fn set(&mut self, number: u64, is_received: bool) -> bool {
        let (at, bit) = ((number % WIDTH / 64) as usize, 1 << (number % 64));
        let was_received = self.received[at] & bit != 0;
        if is_received {
            self.received[at] |= bit;
        } else {
            self.received[at] &= !bit;
        }
        was_received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (WIDTH + 9, AfterGap),
            (9, New),
            (10, Repeated),
            (WIDTH + 8, New),
            (WIDTH + 8, Repeated),
            (5 * WIDTH, AfterGap),
            (5 * WIDTH, Repeated),
            (WIDTH + 9, New),
            (4 * WIDTH + 1, New),
            (4 * WIDTH + 1, Repeated),
            (5 * WIDTH + 1, New),
        ] {
            assert_eq!(window.note(number), expected, "{number}");
        }
    }
}
