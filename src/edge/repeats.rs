//! Sums up log lines that repeat: one at once, and then one a minute with the number of repeats.

use std::hash::Hash;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

/// How long repeats are summed up.
const INTERVAL: Duration = Duration::from_secs(60);

/// Repeats, by the part that their lines share.
pub(super) struct Repeats<K> {
    max: usize,
    seen: DashMap<K, Seen>,
}

struct Seen {
    since: Instant,
    repeats: u64,
}

impl<K: Hash + Eq> Repeats<K> {
    /// Sums up the lines of at most so many keys. Those of further ones are not written.
    pub(super) fn new(max: usize) -> Self {
        Self { max, seen: DashMap::new() }
    }

    /// Counts one more. Gives the number of repeats since the last line if a line is due: 0 for the first one.
    pub(super) fn count(&self, key: K, now: Instant) -> Option<u64> {
        if let Some(mut seen) = self.seen.get_mut(&key) {
            seen.repeats += 1;
            if now.duration_since(seen.since) < INTERVAL {
                return None;
            }
            seen.since = now;
            return Some(std::mem::take(&mut seen.repeats));
        }
        if self.seen.len() >= self.max {
            // A key that has not repeated for so long begins anew.
            self.seen.retain(|_, seen| now.duration_since(seen.since) < 2 * INTERVAL);
            if self.seen.len() >= self.max {
                return None;
            }
        }
        self.seen.insert(key, Seen { since: now, repeats: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_one_line_a_minute() {
        let (repeats, start) = (Repeats::new(2), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let lines: Vec<(u64, u64)> = (0..3000).filter_map(|n| Some((n, repeats.count("page", at(n / 20))?))).collect();
        assert_eq!(lines, [(0, 0), (1200, 1200), (2400, 1200)]);
        assert_eq!(repeats.count("other", at(150)), Some(0));
        assert_eq!(repeats.count("third", at(150)), None, "the table is bounded");
        assert_eq!(repeats.count("third", at(300)), Some(0));
    }
}
