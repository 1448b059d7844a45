//! The queue before the workers: bounded, and fair between senders.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs of many senders. Each sender has a queue of its own, and the queues take turns: senders with a running job come
/// after those without one.
#[derive(Debug)]
pub(super) struct FairQueue<J> {
    lines: Mutex<Lines<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Lines<J> {
    /// The senders with waiting jobs, in the order of their turns; no queue is empty.
    waiting: VecDeque<(String, VecDeque<J>)>,
    waiting_max: usize,
    /// The number of running jobs of a sender.
    running: HashMap<String, usize>,
    closed: bool,
}

impl<J> FairQueue<J> {
    /// A queue for this number of jobs.
    pub(super) fn new(waiting_max: usize) -> Self {
        let lines = Lines { waiting: VecDeque::new(), waiting_max, running: HashMap::new(), closed: false };
        Self { lines: Mutex::new(lines), changed: Condvar::new() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines<J>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. Returns a job that has no place: the given one; or, if all places are taken and another sender has
    /// more of them than `sender`, the last job of that one.
    pub(super) fn push(&self, sender: &str, job: J) -> Option<J> {
        let mut lines = self.lines();
        let displaced = lines.push(sender, job);
        drop(lines);
        self.changed.notify_one();
        displaced
    }

    /// The next job and its sender, when there is one; `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<(String, J)> {
        let mut lines = self.lines();
        loop {
            if lines.closed {
                return None;
            }
            if let Some(next) = lines.next() {
                return Some(next);
            }
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A job of this sender is finished.
    pub(super) fn done(&self, sender: &str) {
        let mut lines = self.lines();
        if let Some(running) = lines.running.get_mut(sender) {
            *running -= 1;
            if *running == 0 {
                lines.running.remove(sender);
            }
        }
    }

    /// Closes the queue and drops its jobs.
    pub(super) fn close(&self) {
        let mut lines = self.lines();
        lines.closed = true;
        lines.waiting.clear();
        drop(lines);
        self.changed.notify_all();
    }
}

impl<J> Lines<J> {
    fn push(&mut self, sender: &str, job: J) -> Option<J> {
        if self.closed {
            return Some(job);
        }
        let mine = self.waiting.iter().position(|(name, _)| name == sender);
        let held = |at: usize| self.waiting[at].1.len();
        let mut displaced = None;
        if self.waiting.iter().map(|(_, jobs)| jobs.len()).sum::<usize>() >= self.waiting_max {
            let greediest = (0..self.waiting.len()).max_by_key(|at| held(*at));
            // Not a sender with only one place more: the two would replace each other's jobs in turn.
            match greediest.filter(|at| held(*at) > mine.map_or(0, held) + 1) {
                Some(at) => displaced = self.waiting[at].1.pop_back(),
                None => return Some(job),
            }
        }
        match mine {
            Some(at) => self.waiting[at].1.push_back(job),
            None => self.waiting.push_back((sender.to_owned(), VecDeque::from([job]))),
        }
        displaced
    }

    fn next(&mut self) -> Option<(String, J)> {
        let busy = |at: &usize| self.running.get(&self.waiting[*at].0).copied().unwrap_or(0);
        let turn = (0..self.waiting.len()).min_by_key(busy)?;
        let (sender, mut jobs) = self.waiting.remove(turn)?;
        let job = jobs.pop_front()?;
        if !jobs.is_empty() {
            self.waiting.push_back((sender.clone(), jobs));
        }
        *self.running.entry(sender.clone()).or_default() += 1;
        Some((sender, job))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(waiting_max: usize, jobs: &[&str]) -> (FairQueue<usize>, Vec<usize>) {
        let queue = FairQueue::new(waiting_max);
        let refused = jobs.iter().enumerate().filter_map(|(number, sender)| queue.push(sender, number)).collect();
        (queue, refused)
    }

    /// The order of jobs if every job takes forever, and if each is done at once.
    fn order(queue: &FairQueue<usize>, count: usize, finish: bool) -> String {
        let mut order = String::new();
        for _ in 0..count {
            let (sender, _) = queue.next().unwrap();
            order.push_str(&sender);
            if finish {
                queue.done(&sender);
            }
        }
        order
    }

    #[test]
    fn senders_of_many_jobs_wait_for_senders_of_few() {
        let jobs = ["a", "a", "a", "a", "b", "c", "b"];
        assert_eq!(order(&filled(9, &jobs).0, 7, true), "abcabaa");
        assert_eq!(order(&filled(9, &jobs).0, 7, false), "abcabaa");
        // A second job of a sender with a running job comes after the first of one without.
        let (queue, _) = filled(9, &["a", "a", "b"]);
        assert_eq!(queue.next(), Some(("a".into(), 0)));
        assert_eq!(queue.push("c", 3), None);
        assert_eq!(order(&queue, 3, false), "bca");
    }

    #[test]
    fn a_full_queue_refuses_but_not_in_favour_of_the_greediest() {
        assert_eq!(filled(3, &["a", "b", "c", "d"]).1, [3], "everybody has one place");
        assert_eq!(filled(3, &["a", "a", "a", "a"]).1, [3], "the only one has all places");
        let (queue, refused) = filled(3, &["a", "a", "a", "b", "c", "d"]);
        assert_eq!(refused, [2, 1, 5], "a gives up its last places, and keeps its first");
        assert_eq!(order(&queue, 3, true), "abc");
        assert_eq!(filled(2, &["a", "a", "b", "a"]).1, [1, 3]);
        assert_eq!(filled(0, &["a"]).1, [0]);
    }

    #[test]
    fn a_closed_queue_wakes_its_waiters_and_takes_nothing() {
        let queue = FairQueue::new(4);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.next());
            queue.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(queue.push("a", 1), Some(1));
        assert_eq!(queue.next(), None);
    }

    proptest! {
        #[test]
        fn no_job_is_lost_and_none_waits_for_two_of_another(
            jobs in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..40),
            waiting_max in 1usize..12,
        ) {
            let (queue, mut seen) = filled(waiting_max, &jobs);
            let waiting = jobs.len() - seen.len();
            prop_assert!(waiting <= waiting_max);
            let mut served: Vec<String> = Vec::new();
            for _ in 0..waiting {
                let (sender, job) = queue.next().unwrap();
                queue.done(&sender);
                prop_assert_eq!(&sender, jobs[job]);
                seen.push(job);
                served.push(sender);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..jobs.len()).collect::<Vec<_>>());
            for sender in ["a", "b", "c", "d"] {
                // All of them waited from the start, so no sender is served twice before its turn.
                let turns: Vec<_> = served.iter().enumerate().filter(|(_, name)| *name == sender).map(|(at, _)| at).collect();
                for span in turns.windows(2).map(|pair| &served[pair[0] + 1..pair[1]]) {
                    for other in ["a", "b", "c", "d"] {
                        prop_assert!(span.iter().filter(|name| *name == other).count() <= 1);
                    }
                }
            }
        }
    }
}
