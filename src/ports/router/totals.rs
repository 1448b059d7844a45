//! The numbers of published and delivered messages, counted by many threads at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ConnectionId;

/// The number of parts. Each has a cache line of its own, so that publishers seldom contend for one.
const PARTS: usize = 16;

/// The sums of all parts.
#[derive(Debug, Default)]
pub(super) struct Totals([Part; PARTS]);

/// The messages of the publishers that count here. Aligned to two cache lines, which processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part {
    published: AtomicU64,
    delivered: AtomicU64,
}

impl Totals {
    /// Counts a message of `publisher`, none for the hub itself, that so many subscribers get.
    #[inline]
    pub(super) fn note(&self, publisher: Option<ConnectionId>, subscribers: usize) {
        let part = publisher.map_or(0, |ConnectionId(number)| number as usize % PARTS);
        self.0[part].published.fetch_add(1, Ordering::Relaxed);
        self.0[part].delivered.fetch_add(subscribers as u64, Ordering::Relaxed);
    }

    /// The messages that were published, and those that were delivered.
    pub(super) fn sum(&self) -> (u64, u64) {
        let parts = self.0.iter();
        let of = |part: &Part| (part.published.load(Ordering::Relaxed), part.delivered.load(Ordering::Relaxed));
        parts.map(of).fold((0, 0), |(published, delivered), part| (published + part.0, delivered + part.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_all_publishers_are_counted() {
        let totals = Totals::default();
        totals.note(None, 3);
        for number in 0..40 {
            totals.note(Some(ConnectionId::for_tests(number)), 2);
        }
        totals.note(Some(ConnectionId::NOBODY), 0);
        assert_eq!(totals.sum(), (42, 83));
    }
}
