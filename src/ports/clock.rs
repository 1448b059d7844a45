//! A monotonic clock for elapsed time: it never goes back, even if the date is changed.
//!
//! Times that are stored across a restart, or compared with a date, are times of day, which edges pass in with each
//! call.

#[cfg(test)]
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time since the clock was created. Clones show the same time.
#[derive(Debug, Clone)]
pub struct MonotonicClock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's clock; this is the instant at which this one was created.
    System(Instant),
    /// Advanced by tests.
    #[cfg(test)]
    Stopped(Arc<Mutex<Duration>>),
}

impl MonotonicClock {
    /// The system's.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// The time since it was created.
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            #[cfg(test)]
            Source::Stopped(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

#[cfg(test)]
impl MonotonicClock {
    /// A clock that only [`Self::advance`] changes.
    pub fn stopped() -> Self {
        Self(Source::Stopped(Arc::default()))
    }

    /// Advances a stopped clock.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System(_) => panic!("the system's clock cannot be moved"),
            Source::Stopped(now) => *now.lock().unwrap_or_else(PoisonError::into_inner) += by,
        }
    }
}
