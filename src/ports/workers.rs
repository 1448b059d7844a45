//! Work that blocks a thread, kept off the threads that serve connections.

use tokio::sync::Semaphore;

/// A bounded crew for blocking jobs: so many run at once, so many may wait, the next is refused.
#[derive(Debug)]
pub struct Workers {
    running: Semaphore,
    admitted: Semaphore,
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// As many jobs wait as may.
    #[error("too many jobs wait")]
    Busy,
    /// The job panicked.
    #[error("the job failed")]
    Failed,
}

impl Workers {
    /// A crew of `workers` with `queue_max` places to wait in.
    pub fn new(workers: usize, queue_max: usize) -> Self {
        Self { running: Semaphore::new(workers), admitted: Semaphore::new(workers + queue_max) }
    }

    /// Runs `job` on a thread of its own, after those that came before.
    pub async fn run<T, F>(&self, job: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _place = self.admitted.try_acquire().map_err(|_| WorkError::Busy)?;
        let _turn = self.running.acquire().await.map_err(|_| WorkError::Failed)?;
        tokio::task::spawn_blocking(job).await.map_err(|_| WorkError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn the_job_that_finds_no_place_is_refused_at_once() {
        let workers = Arc::new(Workers::new(1, 1));
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
        let workers = Workers::new(1, 1);
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
}
