//! A pool for blocking jobs, separate from the threads that serve connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dashmap::DashMap;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::model::Party;

/// The stack of a thread, as large as those of the runtime.
const STACK_BYTES: usize = 10 << 20;

/// A bounded pool for blocking jobs: the numbers of running and of waiting jobs are limited, and further jobs are
/// refused.
///
/// The jobs of one party run one after the other, and only one of them at a time is queued with those of others. So
/// parties take turns, however many jobs one of them has, and one party never occupies all workers.
#[derive(Debug)]
pub struct Workers {
    running: Semaphore,
    admitted: Semaphore,
    /// The limit of running and queued jobs.
    places: usize,
    per_party_max: usize,
    parties: DashMap<Party, Arc<Turns>>,
    /// A thread of the runtime would do, but those take turns with all their neighbours: the memory that a conversion has
    /// freed, and the caches of the processor, would be those of another one.
    threads: ThreadPool,
}

/// The jobs of one party.
#[derive(Debug)]
struct Turns {
    running: Semaphore,
    admitted: Semaphore,
}

/// Removes the entry of a party without other jobs, when it is dropped.
struct Forget<'w> {
    workers: &'w Workers,
    party: &'w Party,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        // No other reference is taken while the entry is locked.
        self.workers.parties.remove_if(self.party, |_, turns| Arc::strong_count(turns) == 1);
    }
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The queue is full.
    #[error("the queue of jobs is full")]
    Busy,
    /// The job panicked.
    #[error("the job failed")]
    Failed,
}

impl Workers {
    /// A pool of `workers` with a queue of `queue_max` jobs, `per_party_max` of them for one party.
    ///
    /// Errors: the system starts no more threads.
    pub fn new(workers: usize, queue_max: usize, per_party_max: usize) -> Result<Self, ThreadPoolBuildError> {
        let places = workers + queue_max;
        let threads = ThreadPoolBuilder::new().num_threads(workers).stack_size(STACK_BYTES).build()?;
        let (running, admitted) = (Semaphore::new(workers), Semaphore::new(places));
        Ok(Self { running, admitted, places, per_party_max, parties: DashMap::new(), threads })
    }

    /// The number of running and of queued jobs.
    pub fn jobs(&self) -> usize {
        self.places.saturating_sub(self.admitted.available_permits())
    }

    /// The limit of running and queued jobs.
    pub fn jobs_max(&self) -> usize {
        self.places
    }

    /// As [`Self::run`], after earlier jobs of the party.
    pub async fn run_of<T, F>(&self, party: &Party, job: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _place = self.admitted.try_acquire().map_err(|_| WorkError::Busy)?;
        // Dropped last, after the reference to the turns.
        let _forget = Forget { workers: self, party };
        let new = || Arc::new(Turns { running: Semaphore::new(1), admitted: Semaphore::new(1 + self.per_party_max) });
        let turns = Arc::clone(self.parties.entry(party.clone()).or_insert_with(new).value());
        let _own_place = turns.admitted.try_acquire().map_err(|_| WorkError::Busy)?;
        let _own_turn = turns.running.acquire().await.map_err(|_| WorkError::Failed)?;
        self.work(job).await
    }

    /// Runs `job` on a worker thread, after earlier jobs.
    pub async fn run<T, F>(&self, job: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _place = self.admitted.try_acquire().map_err(|_| WorkError::Busy)?;
        self.work(job).await
    }

    async fn work<T, F>(&self, job: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _turn = self.running.acquire().await.map_err(|_| WorkError::Failed)?;
        let (done, result) = oneshot::channel();
        let runtime = Handle::current();
        self.threads.spawn_fifo(move || {
            let _entered = runtime.enter();
            // A job that nobody waits for any more is executed all the same.
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        match result.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(WorkError::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::model::ToyId;

    #[tokio::test]
    async fn parties_take_turns_and_one_alone_never_has_all_workers() {
        let workers = Workers::new(1, 8, 2).unwrap();
        let (greedy, other) = (Party::from(ToyId::random()), Party::from(ToyId::random()));
        let (done, order) = channel();
        let job = |name: &'static str| {
            let done = done.clone();
            move || done.send(name).unwrap()
        };
        let (release, wait) = channel::<()>();
        let mut first = std::pin::pin!(workers.run_of(&greedy, move || wait.recv().unwrap()));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = std::pin::pin!(workers.run_of(&greedy, job("greedy 2")));
        let mut third = std::pin::pin!(workers.run_of(&greedy, job("greedy 3")));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert_eq!(workers.run_of(&greedy, || ()).await, Err(WorkError::Busy), "it has its share of the places");
        let mut late = std::pin::pin!(workers.run_of(&other, job("other")));
        assert!(futures_util::poll!(&mut late).is_pending());
        release.send(()).unwrap();
        let all = futures_util::future::join4(first, second, third, late).await;
        assert_eq!(all, (Ok(()), Ok(()), Ok(()), Ok(())));
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["other", "greedy 2", "greedy 3"]);
        assert!(workers.parties.is_empty(), "nobody is remembered");

        let workers = Workers::new(2, 8, 2).unwrap();
        let (release, wait) = channel::<()>();
        let mut first = std::pin::pin!(workers.run_of(&greedy, move || wait.recv().unwrap()));
        let mut second = std::pin::pin!(workers.run_of(&greedy, || ()));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(workers.run_of(&other, || 7).await, Ok(7), "beside a party with two long jobs");
        release.send(()).unwrap();
        assert_eq!(futures_util::future::join(first, second).await, (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn a_job_without_a_free_place_is_refused_at_once() {
        let workers = Arc::new(Workers::new(1, 1, 1).unwrap());
        let (release, wait) = channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move {
                workers
                    .run(move || {
                        started.send(()).unwrap();
                        wait.recv().unwrap();
                    })
                    .await
            }
        });
        has_started.await.unwrap();
        let mut second = std::pin::pin!(workers.run(|| 2));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(workers.run(|| 3).await, Err(WorkError::Busy));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(second.await, Ok(2));
    }

    #[tokio::test]
    async fn a_panic_ends_the_job_alone() {
        let workers = Workers::new(1, 1, 1).unwrap();
        assert_eq!(
            workers
                .run(|| if true {
                    panic!("on purpose")
                })
                .await,
            Err(WorkError::Failed)
        );
        assert_eq!(workers.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_pool_has_as_many_threads_as_workers() {
        let workers = Workers::new(2, 16, 1).unwrap();
        let (release, wait) = channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let name = || std::thread::current().id();
        // Jobs that nobody waits for any more still have the threads.
        for _ in 0..2 {
            let wait = Arc::clone(&wait);
            let mut given_up = Box::pin(workers.run(move || wait.lock().unwrap().recv().unwrap()));
            assert!(futures_util::poll!(&mut given_up).is_pending());
        }
        let mut late: Vec<_> = (0..8).map(|_| Box::pin(workers.run(name))).collect();
        for late in &mut late {
            assert!(futures_util::poll!(late).is_pending());
        }
        release.send(()).unwrap();
        release.send(()).unwrap();
        let mut threads = std::collections::HashSet::new();
        for late in late {
            threads.insert(late.await.unwrap());
        }
        assert!((1..=2).contains(&threads.len()), "{threads:?}");
    }
}
