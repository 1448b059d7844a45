//! Tasks of the edges. All edges share one set: a stop waits for all of them together, and cancels those that have not
//! ended at the deadline, so that no task uses the store while it is closed.

use std::pin::Pin;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::label::{self, Label, Labelled};

/// The set of tasks. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl Tasks {
    /// Starts a task, which outlives its caller, and has its label. Its output is none if it was cancelled.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(self.track(task))
    }

    /// A task that the caller runs, with the label of the caller. Its output is none if it was cancelled.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        self.track_labelled(label::current(), Box::pin(task))
    }

    /// As [`Self::track`], with a label of its own.
    ///
    /// It is boxed: the futures around it have room for it three times.
    pub fn track_labelled<F: Future>(
        &self,
        label: Option<Arc<Label>>,
        task: Pin<Box<F>>,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        self.tracker.track_future(self.cut.clone().run_until_cancelled_owned(Labelled::new(label, task)))
    }

    /// Cancels all running tasks, and all later ones.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until all have ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn unfinished_tasks_are_cancelled_and_none_is_left() {
        let (tasks, mut connections) = (Tasks::default(), JoinSet::new());
        let (may_end, ends) = oneshot::channel();
        let (alive, mut is_gone) = oneshot::channel::<()>();
        let short = tasks.spawn(ends);
        let long = tasks.clone().spawn(async move {
            let _alive = alive;
            pending::<()>().await
        });
        connections.spawn(tasks.track(pending::<()>()));

        let ended = tasks.ended();
        tokio::pin!(ended);
        may_end.send(7).unwrap();
        assert_eq!(short.await.unwrap(), Some(Ok(7)));
        let waits = tokio::time::timeout(std::time::Duration::ZERO, &mut ended).await;
        assert!(waits.is_err() && is_gone.try_recv() == Err(oneshot::error::TryRecvError::Empty), "two still run");
        tasks.cut();
        ended.await;
        assert_eq!(is_gone.try_recv(), Err(oneshot::error::TryRecvError::Closed), "nothing of it is left");
        assert_eq!(long.await.unwrap(), None);
        assert_eq!(connections.join_next().await.unwrap().unwrap(), None);
        assert_eq!(tasks.spawn(async {}).await.unwrap(), None, "nothing starts any more");
    }

    #[tokio::test]
    async fn a_task_whose_owner_is_dropped_is_not_waited_for() {
        let (tasks, mut connections) = (Tasks::default(), JoinSet::new());
        connections.spawn(tasks.track(pending::<()>()));
        drop(connections);
        tasks.ended().await;
    }
}
