//! Turns of requests that do the same work: the second one waits for the first, and finds its result.

use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The turns of all works, each named by a key. Bounded by the number of concurrent requests.
#[derive(Debug)]
pub(super) struct Turns<K: Hash + Eq>(Arc<DashMap<K, Arc<Mutex<()>>>>);

/// A turn; dropping it ends it.
pub(super) struct Turn<K: Hash + Eq> {
    // Dropped first.
    _guard: OwnedMutexGuard<()>,
    _forget: Forget<K>,
}

/// Removes the entry of a key without other requests, when it is dropped.
struct Forget<K: Hash + Eq> {
    turns: Arc<DashMap<K, Arc<Mutex<()>>>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Forget<K> {
    fn drop(&mut self) {
        // No other reference is taken while the entry is locked.
        self.turns.remove_if(&self.key, |_, turn| Arc::strong_count(turn) == 1);
    }
}

impl<K: Hash + Eq> Default for Turns<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq + Clone> Turns<K> {
    /// Waits for the turn of the work of this key.
    pub(super) async fn of(&self, key: K) -> Turn<K> {
        let forget = Forget { turns: Arc::clone(&self.0), key: key.clone() };
        let turn = Arc::clone(self.0.entry(key).or_default().value());
        Turn { _guard: turn.lock_owned().await, _forget: forget }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_work_waits_and_other_work_does_not() {
        let turns = Turns::default();
        let first = turns.of(1).await;
        let mut second = std::pin::pin!(turns.of(1));
        let mut third = Box::pin(turns.of(1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(turns.of(2).await);
        assert_eq!(turns.0.len(), 1, "ended work has no entry");
        drop(first);
        let second = second.await;
        assert!(futures_util::poll!(&mut third).is_pending());
        // A request that is given up while it waits.
        drop(third);
        drop(second);
        assert!(turns.0.is_empty(), "no turn outlives its requests");
    }
}
