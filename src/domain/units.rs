//! Units of time, in seconds.

use crate::model::Timestamp;

pub(super) const MINUTE_S: Timestamp = 60.0;
pub(super) const HOUR_S: Timestamp = 60.0 * MINUTE_S;
pub(super) const DAY_S: Timestamp = 24.0 * HOUR_S;
