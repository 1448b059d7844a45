//! Units of time, and a clock that ticks.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::seconds;
use crate::model::Timestamp;

pub(super) const MINUTE_S: Timestamp = 60.0;
pub(super) const HOUR_S: Timestamp = 60.0 * MINUTE_S;
pub(super) const DAY_S: Timestamp = 24.0 * HOUR_S;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Ticks at once, and then each so many seconds. A late tick delays those behind it, instead of being followed at once.
pub(super) fn ticks(period_s: u64) -> Interval {
    let mut ticks = interval(seconds(period_s));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
