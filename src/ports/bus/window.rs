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
    /// The first and the last number of those that were missing since the last look.
    young: Option<(u64, u64)>,
    /// Those of the look before.
    old: Option<(u64, u64)>,
    /// Whether the numbers are those that sessions have stored before a restart: others were received, too.
    is_resumed: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { highest: 0, received: Box::new([0; (WIDTH / 64) as usize]), young: None, old: None, is_resumed: false }
    }
}

/// The meaning of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not received before.
    New,
    /// It was received before.
    Repeated,
}

impl Window {
    /// After the numbers that are known from before a restart: those in between, and up to the next one, are not missing.
    pub(super) fn resume(&mut self) {
        (self.young, self.old, self.is_resumed) = (None, None, true);
    }

    /// Notes a number. One that is too far behind to be known counts as new: a message twice is better than never.
    pub(super) fn note(&mut self, number: u64) -> Seen {
        if number > self.highest {
            // Before the first, the hub may have sent others to those that were there.
            let is_first = std::mem::take(&mut self.is_resumed) || self.highest == 0;
            if !is_first && number > self.highest + 1 {
                let first = self.young.map_or(self.highest + 1, |(first, _)| first);
                self.young = Some((first, number - 1));
            }
            for skipped in (self.highest + 1..number).rev().take(WIDTH as usize) {
                self.set(skipped, false);
            }
            self.highest = number;
            self.set(number, true);
            return Seen::New;
        }
        if self.highest - number >= WIDTH {
            return Seen::New;
        }
        if self.set(number, true) { Seen::Repeated } else { Seen::New }
    }

    /// Whether numbers that were missing at the last look are missing still. A broker may deliver the messages of different
    /// topics in another order, so that others than these are waited for until the next look.
    pub(super) fn look(&mut self) -> bool {
        let is_missing = self.old.take().is_some_and(|(first, last)| {
            self.highest - first >= WIDTH || (first..=last).any(|number| !self.has(number))
        });
        self.old = self.young.take();
        is_missing
    }

    fn has(&self, number: u64) -> bool {
        self.received[(number % WIDTH / 64) as usize] & (1 << (number % 64)) != 0
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
    fn a_gap_that_stays_is_noticed() {
        let mut window = Window::default();
        let mut looks = |numbers: &[u64]| {
            for number in numbers {
                window.note(*number);
            }
            window.look()
        };
        assert!(!looks(&[7, 8, 9, 11]), "10 may be on its way");
        assert!(!looks(&[10, 13]));
        assert!(looks(&[14]), "12 is missing");
        assert!(!looks(&[12, 15, 17, 16, 20, 18]), "it is named once");
        assert!(!looks(&[19]));
        assert!(!looks(&[21, 21 + WIDTH]));
        assert!(looks(&[22]), "too many to know");
        assert!(!looks(&[]));
    }

    #[test]
    fn what_was_received_before_a_restart_is_not_missing() {
        let mut window = Window::default();
        for stored in [9, 11] {
            window.note(stored);
        }
        window.resume();
        window.note(20);
        window.note(22);
        assert!(!window.look(), "21 may be on its way");
        window.note(21);
        assert!(!window.look());
        window.note(24);
        assert!(!window.look());
        assert!(window.look(), "23 is missing");
    }

    #[test]
    fn a_repeat_is_known() {
        use Seen::{New, Repeated};
        let mut window = Window::default();
        for (number, expected) in [
            (5, New),
            (5, Repeated),
            (6, New),
            (9, New),
            (8, New),
            (7, New),
            (8, Repeated),
            (10, New),
            (WIDTH + 9, New),
            (9, New),
            (10, Repeated),
            (WIDTH + 8, New),
            (WIDTH + 8, Repeated),
            (5 * WIDTH, New),
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
