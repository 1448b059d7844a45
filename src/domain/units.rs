//! Units of time.

use std::time::Duration;

use crate::model::Timestamp;

pub(super) const MINUTE_S: Timestamp = 60.0;
pub(super) const HOUR_S: Timestamp = 60.0 * MINUTE_S;
pub(super) const DAY_S: Timestamp = 24.0 * HOUR_S;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
