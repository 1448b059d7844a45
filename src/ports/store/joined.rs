//! Reads of several callers that share one query.
//!
//! A query costs the engine about as much as reading ten rows by their ids. A read begins at once while fewer than
//! [`QUERIES_MAX`] queries of its kind run. Otherwise it waits, and the next query answers all reads that wait.
//!
//! ```text
//! caller A ── query of A ──▶ answer
//! caller B ── query of B ────────▶ answer
//! caller C    waits         ┌─ query of C, D and E ──▶ its own answer to each
//! caller D        waits     │
//! caller E            waits ┘
//! ```
//!
//! Nothing is kept between two queries: a query begins after the reads that it answers have been made, so each of them
//! sees everything that was committed before it. A row is given to its caller by the id that the row itself has, not by
//! its place in the result; the rows of an address book name their owner, which their reader checks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use surrealdb::types::{RecordId, Value, Variables, vars};
use tokio::sync::{Semaphore, oneshot};

use super::rows::{BY_ID, Row};
use super::transaction::keys_of;
use super::{Store, StoreError};

/// Queries of one kind at the same time.
const QUERIES_MAX: usize = 2;
/// Reads by id that one query answers.
const READS_MAX: usize = 64;

macro_rules! books {
    ($($number:literal)+) => {
        concat!($("SELECT * FROM type::record('friend', $k", $number, ") ORDER BY created_at; ",)+)
    };
}

/// The text that reads as many address books as its place says, counted from one. In the results, a statement's number is
/// that of its variable.
pub(super) const BOOKS: [&str; 8] = [
    "SELECT * FROM type::record('friend', $k0) ORDER BY created_at",
    books!(0 1),
    books!(0 1 2),
    books!(0 1 2 3),
    books!(0 1 2 3 4),
    books!(0 1 2 3 4 5),
    books!(0 1 2 3 4 5 6),
    books!(0 1 2 3 4 5 6 7),
];

/// The caller of a read. It gets an error only if the query was for it alone.
type Asker<A> = oneshot::Sender<Result<A, StoreError>>;

/// A read that waits, and its caller.
type Waiting<Q, A> = (Q, Asker<A>);

/// Reads of one kind: `Q` names what a caller reads, `A` is its answer.
struct Joined<Q, A> {
    waiting: Mutex<VecDeque<Waiting<Q, A>>>,
    turns: Semaphore,
    reads_max: usize,
}

impl<Q: Clone, A> Joined<Q, A> {
    fn new(reads_max: usize) -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(QUERIES_MAX), reads_max }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting<Q, A>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to `question`. `read` answers several questions in their order. Errors: those of `read`, for this
    /// question alone.
    async fn ask<F>(&self, question: Q, read: impl Fn(Vec<Q>) -> F) -> Result<A, StoreError>
    where
        F: Future<Output = Result<Vec<A>, StoreError>>,
    {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push_back((question.clone(), answer));
        let found = loop {
            let turn = tokio::select! {
                biased;
                found = &mut answered => break found,
                turn = self.turns.acquire() => turn,
            };
            let (questions, callers) = self.take();
            if questions.is_empty() {
                // Another caller's query has the question.
                drop(turn);
                break answered.await;
            }
            match read(questions).await {
                Ok(answers) => {
                    callers.into_iter().zip(answers).for_each(|(caller, answer)| drop(caller.send(Ok(answer))));
                }
                Err(error) => {
                    // Several callers read alone, and each gets the error of its own read.
                    if let Ok([caller]) = <[_; 1]>::try_from(callers) {
                        drop(caller.send(Err(error)));
                    }
                }
            }
        };
        match found {
            Ok(found) => found,
            // The query of several failed, or its caller stopped waiting for it.
            Err(_) => {
                let mut answers = read(vec![question]).await?;
                answers.pop().ok_or_else(|| StoreError::Corrupt("a read has no answer".into()))
            }
        }
    }

    /// The questions of the next query, and their callers, without those that have stopped waiting.
    fn take(&self) -> (Vec<Q>, Vec<Asker<A>>) {
        let mut waiting = self.waiting();
        waiting.retain(|(_, caller)| !caller.is_closed());
        let count = waiting.len().min(self.reads_max);
        waiting.drain(..count).unzip()
    }
}

/// The reads that are joined.
pub(super) struct Reads {
    by_id: Joined<Vec<RecordId>, Vec<Option<Row>>>,
    books: Joined<String, Vec<Value>>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { by_id: Joined::new(READS_MAX), books: Joined::new(BOOKS.len()) }
    }
}

impl Store {
    /// The rows of these ids, in their order and from one snapshot; none for one that does not exist.
    pub(super) async fn rows_at<const N: usize>(&self, ids: [RecordId; N]) -> Result<[Option<Row>; N], StoreError> {
        let rows = self.rows_of(ids.to_vec()).await?;
        rows.try_into().map_err(|_| StoreError::Corrupt("a read has too few rows".into()))
    }

    /// As [`Self::rows_at`], for any number of ids.
    pub(super) async fn rows_of(&self, ids: Vec<RecordId>) -> Result<Vec<Option<Row>>, StoreError> {
        self.reads.by_id.ask(ids, |questions| self.read_ids(questions)).await
    }

    /// The address book of the party with this id, oldest entry first, as rows.
    pub(super) async fn book_of(&self, owner: &str) -> Result<Vec<Value>, StoreError> {
        self.reads.books.ask(owner.to_owned(), |owners| self.read_books(owners)).await
    }

    async fn read_ids(&self, questions: Vec<Vec<RecordId>>) -> Result<Vec<Vec<Option<Row>>>, StoreError> {
        let mut ids: Vec<RecordId> = questions.iter().flatten().cloned().collect();
        ids.sort();
        ids.dedup();
        let rows = self.run(BY_ID, vars! { ids: ids }).await?.rows::<Value>(0)?;
        let mut found: Vec<(RecordId, Row)> = rows.into_iter().filter_map(Row::of).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let row = |id: &RecordId| {
            let at = found.binary_search_by(|(other, _)| other.cmp(id)).ok()?;
            Some(found[at].1.clone())
        };
        let answer = |ids: Vec<RecordId>| ids.iter().map(row).collect();
        Ok(questions.into_iter().map(answer).collect())
    }

    async fn read_books(&self, owners: Vec<String>) -> Result<Vec<Vec<Value>>, StoreError> {
        let text = owners.len().checked_sub(1).and_then(|at| BOOKS.get(at));
        let text = text.ok_or_else(|| StoreError::Corrupt("too many address books in one read".into()))?;
        let mut variables = Variables::new();
        for (number, owner) in owners.iter().enumerate() {
            variables.insert(format!("k{number}"), keys_of(owner));
        }
        let mut results = self.run(text, variables).await?;
        (0..owners.len()).map(|number| results.rows::<Value>(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Reads that double a number; the first queries wait until they are let go.
    struct Doubling {
        joined: Joined<u32, u32>,
        queries: AtomicUsize,
        largest: AtomicUsize,
        go: Notify,
        blocked: AtomicUsize,
    }

    impl Doubling {
        fn new(blocked: usize) -> Arc<Self> {
            let (queries, largest) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (joined, go) = (Joined::new(8), Notify::new());
            Arc::new(Self { joined, queries, largest, go, blocked: AtomicUsize::new(blocked) })
        }

        async fn ask(&self, number: u32) -> Result<u32, StoreError> {
            self.joined.ask(number, |numbers| self.read(numbers)).await
        }

        async fn read(&self, numbers: Vec<u32>) -> Result<Vec<u32>, StoreError> {
            self.queries.fetch_add(1, Ordering::SeqCst);
            self.largest.fetch_max(numbers.len(), Ordering::SeqCst);
            if self.blocked.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                self.go.notified().await;
            }
            if numbers.contains(&13) {
                return Err(StoreError::Corrupt("13".into()));
            }
            Ok(numbers.into_iter().map(|number| number * 2).collect())
        }

        async fn until_queries(&self, count: usize) {
            let reached = async {
                while self.queries.load(Ordering::SeqCst) < count {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, reached).await.unwrap();
        }

        async fn until_waiting(&self, count: usize) {
            let reached = async {
                while self.joined.waiting().len() < count {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, reached).await.unwrap();
        }
    }

    #[tokio::test]
    async fn reads_that_wait_share_a_query_and_get_their_own_answers() {
        let doubling = Doubling::new(QUERIES_MAX);
        let ask = |number| {
            let doubling = Arc::clone(&doubling);
            tokio::spawn(async move { doubling.ask(number).await.unwrap() })
        };
        let mut callers: Vec<_> = (0..QUERIES_MAX as u32).map(ask).collect();
        doubling.until_queries(QUERIES_MAX).await;
        callers.extend((100..120).map(ask));
        doubling.until_waiting(20).await;
        (0..QUERIES_MAX).for_each(|_| doubling.go.notify_one());
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(timeout(DEADLINE, caller).await.unwrap().unwrap());
        }
        assert_eq!(answers, (0..QUERIES_MAX as u32).chain(100..120).map(|number| number * 2).collect::<Vec<_>>());
        assert_eq!(doubling.largest.load(Ordering::SeqCst), 8, "no query has more than its limit");
        assert!(doubling.queries.load(Ordering::SeqCst) <= QUERIES_MAX + 20 / 8 + 2);
    }

    #[tokio::test]
    async fn a_failed_read_fails_its_own_caller_only() {
        let doubling = Doubling::new(QUERIES_MAX);
        let ask = |number| {
            let doubling = Arc::clone(&doubling);
            tokio::spawn(async move { doubling.ask(number).await })
        };
        let first: Vec<_> = (0..QUERIES_MAX as u32).map(ask).collect();
        doubling.until_queries(QUERIES_MAX).await;
        let (good, bad) = (ask(7), ask(13));
        doubling.until_waiting(2).await;
        (0..QUERIES_MAX).for_each(|_| doubling.go.notify_one());
        assert_eq!(timeout(DEADLINE, good).await.unwrap().unwrap().unwrap(), 14);
        assert!(matches!(timeout(DEADLINE, bad).await.unwrap().unwrap(), Err(StoreError::Corrupt(_))));
        for caller in first {
            timeout(DEADLINE, caller).await.unwrap().unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_read_alone_that_fails_is_not_repeated() {
        let doubling = Doubling::new(0);
        assert!(matches!(doubling.ask(13).await, Err(StoreError::Corrupt(_))));
        assert_eq!(doubling.queries.load(Ordering::SeqCst), 1, "a store that does not answer is not waited for twice");
    }

    #[tokio::test]
    async fn callers_whose_query_is_given_up_read_alone() {
        // One more than the limit: the third query, of the reads that waited, is blocked, too.
        let doubling = Doubling::new(QUERIES_MAX + 1);
        let ask = |number| {
            let doubling = Arc::clone(&doubling);
            tokio::spawn(async move { doubling.ask(number).await })
        };
        let first: Vec<_> = (0..QUERIES_MAX as u32).map(ask).collect();
        doubling.until_queries(QUERIES_MAX).await;
        let leader = ask(5);
        doubling.until_waiting(1).await;
        let follower = ask(6);
        doubling.until_waiting(2).await;
        doubling.go.notify_one();
        doubling.until_queries(QUERIES_MAX + 1).await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        assert_eq!(timeout(DEADLINE, follower).await.unwrap().unwrap().unwrap(), 12);
        doubling.go.notify_one();
        for caller in first {
            timeout(DEADLINE, caller).await.unwrap().unwrap().unwrap();
        }
    }
}
