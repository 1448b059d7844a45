//! Time zones by their names, with the rules of their daylight-saving time. The time zone database is part of the
//! program, so that it does not depend on the machine.

use jiff::tz::{Offset, TimeZone};

use crate::model::{DayMinute, Timestamp};

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of an IANA name, such as `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// One that is always so many minutes east of UTC.
    pub fn fixed(minutes_east: i32) -> Self {
        let offset = Offset::from_seconds(minutes_east.saturating_mul(60)).unwrap_or(Offset::UTC);
        Self(TimeZone::fixed(offset))
    }

    /// How many minutes it is east of UTC at this time.
    pub fn minutes_east(&self, now: Timestamp) -> i32 {
        self.0.to_offset(instant(now)).seconds() / 60
    }

    /// The time at which the wall clock shows so many minutes after midnight, so many days after today. A time that
    /// the clock skips is the one as long after the gap.
    pub fn time_at(&self, now: Timestamp, days: i32, minutes: u16) -> Option<Timestamp> {
        let today = self.0.to_datetime(instant(now)).date();
        let (days, minutes) = (days + i32::from(minutes / 1440), i64::from(minutes % 1440));
        let date = today.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
        let wall = date.at((minutes / 60) as i8, (minutes % 60) as i8, 0, 0);
        let time = self.0.to_ambiguous_timestamp(wall).compatible().ok()?;
        Some(time.as_second() as Timestamp)
    }

    /// The number of days from one time to a later one, by the calendar there.
    pub fn days_between(&self, now: Timestamp, then: Timestamp) -> i32 {
        let date = |time| self.0.to_datetime(instant(time)).date();
        date(now).until(date(then)).map_or(0, |span| span.get_days())
    }

    /// The local time there.
    pub fn wall_clock(&self, now: Timestamp) -> DayMinute {
        let local = self.0.to_datetime(instant(now));
        DayMinute::of(local.hour().unsigned_abs().into(), local.minute().unsigned_abs().into())
    }

    /// The day there, as a number: `20260329`.
    pub fn day(&self, now: Timestamp) -> i64 {
        let local = self.0.to_datetime(instant(now));
        (i64::from(local.year()) * 100 + i64::from(local.month())) * 100 + i64::from(local.day())
    }
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
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
        // The night of the 29th has no half past two.
        let at = |days, minutes| berlin.time_at(1_774_738_799.0, days, minutes);
        assert_eq!((at(0, 420), at(1, 420)), (Some(1_774_677_600.0), Some(1_774_760_400.0)));
        assert_eq!((at(1, 150), at(0, 1440)), (Some(1_774_747_800.0), Some(1_774_738_800.0)));
        assert_eq!(berlin.days_between(1_774_738_799.0, 1_774_738_800.0), 1);
        assert_eq!(berlin.minutes_east(1_774_745_999.0), 60);
        let fixed = Zone::fixed(-330);
        assert_eq!((fixed.minutes_east(0.0), fixed.wall_clock(0.0).to_string()), (-330, "18:30".to_owned()));
        assert!(Zone::named("Europe/Nowhere").is_none() && Zone::named("").is_none());
    }
}
