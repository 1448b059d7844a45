//! Time zones by their names, with the rules of their daylight-saving time. The time zone database is part of the
//! program, so that it does not depend on the machine.

use jiff::tz::TimeZone;

use crate::model::{DayMinute, Timestamp};

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of an IANA name, such as `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// The local time there.
    pub fn wall_clock(&self, now: Timestamp) -> DayMinute {
        let now = jiff::Timestamp::from_second(now as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let local = self.0.to_datetime(now);
        DayMinute::of(local.hour().unsigned_abs().into(), local.minute().unsigned_abs().into())
    }

    /// The day there, as a number: `20260329`.
    pub fn day(&self, now: Timestamp) -> i64 {
        let now = jiff::Timestamp::from_second(now as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let local = self.0.to_datetime(now);
        (i64::from(local.year()) * 100 + i64::from(local.month())) * 100 + i64::from(local.day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_rules_of_the_zone() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        for (now, expected) in [
            // On 2026-03-29 clocks go from two to three, on 2026-10-25 from three to two.
            (1_774_745_999.0, "01:59"),
            (1_774_746_000.0, "03:00"),
            (1_792_889_999.0, "02:59"),
            (1_792_890_000.0, "02:00"),
            (1_792_893_600.0, "03:00"),
        ] {
            assert_eq!(berlin.wall_clock(now).to_string(), expected, "{now}");
        }
        assert_eq!(Zone::named("Asia/Kathmandu").unwrap().wall_clock(0.0).to_string(), "05:30");
        assert_eq!((berlin.day(1_774_738_799.0), berlin.day(1_774_738_800.0)), (20_260_328, 20_260_329));
        assert!(Zone::named("Europe/Nowhere").is_none() && Zone::named("").is_none());
    }
}
