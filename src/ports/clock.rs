//! The clocks of the hub.
//!
//! * [`now`] is the time of day: of messages, entries of the audit log, quiet hours.
//! * [`age_of`] turns it into a time for ages: the expiry of tokens, places and sessions. It advances with the
//!   monotonic clock of the system; if the time of day jumps, it does not. A board without a battery, whose clock NTP
//!   sets forward by years, ends no login by that.
//! * [`MonotonicClock`] measures elapsed time within the process.
//!
//! [`start`] reads the state of the last process, and [`check`], called every second, finds jumps. Between two checks
//! [`now`] does not jump either, so that a time of day and its age always belong together.

#[cfg(test)]
use std::sync::{Arc, Mutex};
use std::sync::{LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// A difference up to this one is drift, which the clock follows.
const DRIFT_MAX_S: f64 = 60.0;
const DAY_S: f64 = 86_400.0;

/// The clock of the process: there is one, as the system has one.
static CLOCK: LazyLock<(Instant, RwLock<Ages>)> =
    LazyLock::new(|| (Instant::now(), RwLock::new(Ages::of(system_now()))));

/// The time of day, in seconds since 1970.
pub fn now() -> Timestamp {
    let (ages, elapsed) = read();
    ages.base + elapsed + ages.offset
}

/// The time for ages at a time of day that [`now`] returned a short while ago.
pub fn age_of(now: Timestamp) -> Timestamp {
    let (ages, elapsed) = read();
    ages.age_of(now, elapsed)
}

/// The current time for ages.
pub fn age_now() -> Timestamp {
    let (ages, elapsed) = read();
    ages.base + elapsed
}

/// How long ago the time of day last jumped; `Duration::MAX` if it has not since the start. Data that is deleted by
/// the time of its file or row is deleted only after that time, by a clock that has not jumped since.
pub fn settled_for() -> Duration {
    let (ages, elapsed) = read();
    ages.jumped_at.map_or(Duration::MAX, |at| Duration::try_from_secs_f64(elapsed - at).unwrap_or_default())
}

/// Continues the ages of the last process on a data folder. If the time of day is more than a day later than then,
/// either the hub was switched off, or the clock is wrong: ages continue from then on for `doubt`, in which the clock
/// can be set right.
pub fn start(last: Option<Reading>, doubt: Duration) -> Option<Change> {
    let last = last?;
    let mut ages = CLOCK.1.write().unwrap_or_else(PoisonError::into_inner);
    ages.resume(last, system_now(), CLOCK.0.elapsed().as_secs_f64(), doubt.as_secs_f64())
}

/// Compares the time of day with the monotonic clock.
pub fn check() -> Option<Change> {
    let mut ages = CLOCK.1.write().unwrap_or_else(PoisonError::into_inner);
    ages.check(system_now(), CLOCK.0.elapsed().as_secs_f64())
}

/// The state to store for the next [`start`].
pub fn reading() -> Reading {
    let (ages, elapsed) = read();
    // An offset of less than a day is left behind by a start.
    let offset_s = if ages.settled_offset().abs() > DAY_S { ages.settled_offset().round() as i64 } else { 0 };
    Reading { age_unix_s: (ages.base + elapsed).max(0.0) as u64, offset_s }
}

fn read() -> (Ages, f64) {
    let ages = *CLOCK.1.read().unwrap_or_else(PoisonError::into_inner);
    (ages, CLOCK.0.elapsed().as_secs_f64())
}

fn system_now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The clock of a process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The time for ages.
    pub age_unix_s: u64,
    /// The time of day minus the time for ages, in seconds.
    pub offset_s: i64,
}

/// A jump of the time of day, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// At the start it is later than expected.
    StartedLater(f64),
    /// At the start it is earlier than when the hub last ran.
    StartedEarlier(f64),
    /// It jumped while the hub ran.
    Jumped(f64),
    /// After a start at a later time nobody set the clock back: ages follow it now.
    Accepted(f64),
}

/// The relation of the time of day to the time for ages.
#[derive(Debug, Clone, Copy)]
struct Ages {
    /// The time for ages at the start of the process.
    base: f64,
    /// The time of day minus the time for ages.
    offset: f64,
    /// The offset before the last jump, for times of day that were read before it.
    previous_offset: f64,
    /// When the time of day last jumped, in seconds since the start of the process.
    jumped_at: Option<f64>,
    doubt: Option<Doubt>,
}

/// After a start at a later time than expected.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Its end, in seconds since the start of the process.
    until: f64,
    /// The offset that becomes valid then.
    offset: f64,
}

impl Ages {
    fn of(system_now: Timestamp) -> Self {
        Self { base: system_now, offset: 0.0, previous_offset: 0.0, jumped_at: None, doubt: None }
    }

    /// A time of day read before the last jump is near the old offset, one read after it near the new one.
    fn age_of(&self, now: Timestamp, elapsed: f64) -> Timestamp {
        let distance = |offset: f64| (now - offset - self.base - elapsed).abs();
        let is_before = distance(self.previous_offset) < distance(self.offset);
        now - if is_before { self.previous_offset } else { self.offset }
    }

    /// The offset without the doubt of a start.
    fn settled_offset(&self) -> f64 {
        self.doubt.map_or(self.offset, |doubt| doubt.offset)
    }

    fn resume(&mut self, last: Reading, system_now: Timestamp, elapsed: f64, doubt_s: f64) -> Option<Change> {
        let last_age = last.age_unix_s as f64;
        // The clock may have been set right while the hub was switched off: then it is near without an offset.
        let ahead_by = |offset: f64| system_now - offset - last_age;
        let stored = last.offset_s as f64;
        let offset = if ahead_by(0.0).abs() < ahead_by(stored).abs() { 0.0 } else { stored };
        let ahead = ahead_by(offset);
        *self = Self::of(system_now - offset - elapsed);
        (self.offset, self.previous_offset) = (offset, offset);
        let is_later = ahead > DAY_S;
        if !is_later && ahead > -DAY_S {
            return None;
        }
        if is_later && doubt_s == 0.0 {
            return Some(Change::StartedLater(ahead));
        }
        // Ages continue where the last process left them.
        self.base = last_age - elapsed;
        self.offset = system_now - last_age;
        self.previous_offset = self.offset;
        self.jumped_at = Some(elapsed);
        if is_later {
            self.doubt = Some(Doubt { until: elapsed + doubt_s, offset });
            return Some(Change::StartedLater(ahead));
        }
        Some(Change::StartedEarlier(-ahead))
    }

    fn check(&mut self, system_now: Timestamp, elapsed: f64) -> Option<Change> {
        let by = system_now - self.base - elapsed - self.offset;
        if by.abs() > DRIFT_MAX_S {
            self.previous_offset = self.offset;
            self.offset += by;
            self.jumped_at = Some(elapsed);
            // Within a day of the expected time the clock is right again.
            self.doubt = self.doubt.filter(|doubt| (self.offset - doubt.offset).abs() > DAY_S);
            return Some(Change::Jumped(by));
        }
        self.base += by;
        let doubt = self.doubt.take_if(|doubt| elapsed >= doubt.until)?;
        let by = self.offset - doubt.offset;
        self.base += by;
        self.previous_offset = self.offset;
        self.offset = doubt.offset;
        Some(Change::Accepted(by))
    }
}

/// The time since the clock was created: it never goes back, even if the date is changed. Clones show the same time.
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

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: f64 = 1_800_000_000.0;
    const YEAR_S: f64 = 365.0 * DAY_S;

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1.5
    }

    #[test]
    fn a_jump_changes_the_time_of_day_and_no_age() {
        let mut ages = Ages::of(0.0);
        assert_eq!(ages.check(10.5, 10.0), None, "drift");
        // NTP sets a clock that began in 1970.
        assert_eq!(ages.check(TODAY, 20.0), Some(Change::Jumped(TODAY - 20.5)));
        assert!(is_near(ages.age_of(TODAY, 20.0), 20.0));
        assert!(is_near(ages.age_of(19.0, 20.1), 19.0), "a time that was read before the jump");
        assert!(is_near(ages.age_of(TODAY + 100.0, 120.0), 120.0));
        // Set back by an hour: ages do not stand still.
        assert_eq!(ages.check(TODAY + 100.0 - 3600.0, 120.0), Some(Change::Jumped(-3600.0)));
        assert!(is_near(ages.age_of(TODAY - 3500.0, 120.0), 120.0));
    }

    #[test]
    fn a_later_start_is_doubted_and_heals_or_is_accepted() {
        let last = Reading { age_unix_s: TODAY as u64, offset_s: 0 };
        let start = |now: f64| {
            let mut ages = Ages::of(now);
            let change = ages.resume(last, now, 0.0, DAY_S);
            (ages, change)
        };
        // An hour later, nothing is odd, nor if it seems a little earlier.
        for now in [TODAY + 3600.0, TODAY - 600.0] {
            let (ages, change) = start(now);
            assert_eq!((change, ages.age_of(now, 0.0)), (None, now));
        }
        // The clock runs years ahead, and is set right after a minute.
        let (mut ages, change) = start(TODAY + YEAR_S);
        assert_eq!(change, Some(Change::StartedLater(YEAR_S)));
        assert!(is_near(ages.age_of(TODAY + YEAR_S, 0.0), TODAY));
        assert_eq!(ages.check(TODAY + 70.0, 60.0), Some(Change::Jumped(70.0 - 60.0 - YEAR_S)));
        assert!(is_near(ages.age_of(TODAY + 70.0, 60.0), TODAY + 60.0));
        assert_eq!(ages.check(TODAY + 2.0 * DAY_S, 2.0 * DAY_S - 10.0), None, "no doubt is left");
        // The hub was switched off for a year.
        let (mut ages, _) = start(TODAY + YEAR_S);
        assert_eq!(ages.check(TODAY + YEAR_S + DAY_S - 2.0, DAY_S - 2.0), None);
        assert_eq!(ages.check(TODAY + YEAR_S + DAY_S, DAY_S), Some(Change::Accepted(YEAR_S)));
        assert!(is_near(ages.age_of(TODAY + YEAR_S + DAY_S, DAY_S), TODAY + YEAR_S + DAY_S));
    }

    #[test]
    fn an_earlier_start_continues_the_ages() {
        let last = Reading { age_unix_s: TODAY as u64, offset_s: 0 };
        let mut ages = Ages::of(100.0);
        assert_eq!(ages.resume(last, 100.0, 0.0, DAY_S), Some(Change::StartedEarlier(TODAY - 100.0)));
        assert!(is_near(ages.age_of(105.0, 5.0), TODAY + 5.0));
        assert!(matches!(ages.check(TODAY + 8.0 * 3600.0, 10.0), Some(Change::Jumped(_))));
        assert!(is_near(ages.age_of(TODAY + 8.0 * 3600.0, 10.0), TODAY + 10.0));
        assert!(ages.settled_offset().abs() < DAY_S, "the next start leaves it behind");
    }

    #[test]
    fn an_offset_outlives_the_process() {
        let last = Reading { age_unix_s: 5000, offset_s: TODAY as i64 - 5000 };
        let mut ages = Ages::of(TODAY + 60.0);
        assert_eq!(ages.resume(last, TODAY + 60.0, 0.0, DAY_S), None);
        assert!(is_near(ages.age_of(TODAY + 60.0, 0.0), 5060.0));
        // One of a clock that was wrong then and is right now.
        let last = Reading { age_unix_s: TODAY as u64, offset_s: -(TODAY as i64) };
        let mut ages = Ages::of(TODAY + 60.0);
        assert_eq!(ages.resume(last, TODAY + 60.0, 0.0, DAY_S), None);
        assert!(is_near(ages.age_of(TODAY + 60.0, 0.0), TODAY + 60.0));
    }
}
