//! The progress of long work, for a person who waits for it.
//!
//! ```text
//! let files = progress.begin("copying files", Some(2), Unit::Items);   // 0 of 2
//! files.add(1);                                                        // 1 of 2
//! drop(files);                                                         // the step is over
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The unit that a step counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Files, messages and the like.
    Items,
    /// Bytes.
    Bytes,
}

/// The state of one step of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The step, such as "copying files".
    pub name: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do, if that is known. It may grow.
    pub total: Option<u64>,
    /// The unit of both.
    pub unit: Unit,
    /// Whether the step begins.
    pub is_new: bool,
    /// Whether the step has ended, also by an error.
    pub is_over: bool,
}

/// The receiver of the steps of some work.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl Progress {
    /// Nobody waits for the work.
    pub fn unwatched() -> Self {
        Self(None)
    }

    /// `watch` is called at every change. It must not block.
    pub fn watched(watch: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watch)))
    }

    /// Whether somebody waits for the work. Otherwise nothing has to be counted in advance.
    pub fn is_watched(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a step that was counted elsewhere.
    pub fn tell(&self, step: Step) {
        if let Some(watch) = &self.0 {
            watch(step);
        }
    }

    /// Begins a step, which is over when the counter is dropped.
    pub fn begin(&self, name: &'static str, total: Option<u64>, unit: Unit) -> Counter {
        let is_counted = total.is_some();
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(total.unwrap_or_default()));
        let counter = Counter { progress: self.clone(), name, unit, is_counted, done, total };
        counter.tell(true, false);
        counter
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.is_watched()).finish()
    }
}

/// Counts the work of one step.
#[derive(Debug)]
pub struct Counter {
    progress: Progress,
    name: &'static str,
    unit: Unit,
    is_counted: bool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Counter {
    /// So much more is done.
    pub fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
        self.tell(false, false);
    }

    /// There is so much more to do.
    pub fn grow(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
        self.tell(false, false);
    }

    fn tell(&self, is_new: bool, is_over: bool) {
        let total = self.is_counted.then(|| self.total.load(Ordering::Relaxed));
        let done = self.done.load(Ordering::Relaxed);
        self.progress.tell(Step { name: self.name, done, total, unit: self.unit, is_new, is_over });
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.tell(false, true);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_change_of_a_step_and_its_end_are_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let progress = Progress::watched({
            let told = Arc::clone(&told);
            move |step| told.lock().unwrap().push((step.done, step.total, step.is_over))
        });
        let files = progress.begin("copying files", Some(2), Unit::Items);
        files.add(1);
        files.grow(3);
        drop(files);
        drop(progress.begin("compacting", None, Unit::Bytes));
        let expected = [
            (0, Some(2), false),
            (1, Some(2), false),
            (1, Some(5), false),
            (1, Some(5), true),
            (0, None, false),
            (0, None, true),
        ];
        assert_eq!(*told.lock().unwrap(), expected);
        assert!(progress.is_watched() && !Progress::unwatched().is_watched());
    }
}
