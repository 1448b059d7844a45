//! Turns: transactions of this process that write rows of the same party run one after the other.
//!
//! Without turns they would conflict, and all but one would run again; with many concurrent senders to one party, a
//! transaction could conflict until its attempts are used up. Turns are only for speed and fairness: correctness is
//! ensured by the transactions, also against the writers of another process.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Parties may share a turn by their hash; more turns make that rare.
const TURNS: usize = 1024;

/// The turns of all parties.
pub(super) struct Turns {
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the turns of two parties, by their ids. They end when the guards are dropped. The lower one is taken
    /// first, which prevents a deadlock.
    pub(super) async fn of(&self, one: &str, other: &str) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let (one, other) = (self.place(one), self.place(other));
        let first = self.turns[one.min(other)].lock().await;
        let second = if one == other { None } else { Some(self.turns[one.max(other)].lock().await) };
        (first, second)
    }

    fn place(&self, party: &str) -> usize {
        self.hasher.hash_one(party) as usize % TURNS
    }
}
