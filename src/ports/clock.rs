//! The clock that counts how long something takes: it never goes back, whatever becomes of the date.
//!
//! What must be kept across a start, or is compared with a date, goes by the time of day, which edges pass in with each call.

#[cfg(test)]
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that passes, from when the clock was made. Clones show the same time.
#[derive(Debug, Clone)]
pub struct MonotonicClock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's clock, which was at this instant when this one was made.
    System(Instant),
    /// Moved by hand.
    #[cfg(test)]
    Stopped(Arc<Mutex<Duration>>),
}

impl MonotonicClock {
    /// The system's.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// How long it has run.
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
    /// One that only [`Self::advance`] moves.
    pub fn stopped() -> Self {
        Self(Source::Stopped(Arc::default()))
    }

    /// Moves a stopped clock on.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Source::System(_) => panic!("the system's clock cannot be moved"),
            Source::Stopped(now) => *now.lock().unwrap_or_else(PoisonError::into_inner) += by,
        }
    }
}
