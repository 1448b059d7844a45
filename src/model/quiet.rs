//! Quiet hours: by the clock on the family's wall.

use std::fmt;
use std::str::FromStr;

use super::Malformed;

/// A minute of a day in local time: `07:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayMinute(u16);

impl DayMinute {
    /// Minutes of a day.
    const ALL: u16 = 24 * 60;

    /// The minute of an hour; beyond a day, the last one.
    pub fn of(hour: u16, minute: u16) -> Self {
        Self((hour.saturating_mul(60).saturating_add(minute)).min(Self::ALL - 1))
    }

    /// The minute of this number, from 0.
    pub fn from_number(number: u16) -> Option<Self> {
        (number < Self::ALL).then_some(Self(number))
    }

    /// Its number, from 0.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl FromStr for DayMinute {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const EXPECTED: Malformed = Malformed("a time of day is from 00:00 to 23:59");
        let (hour, minute) = text.split_once(':').ok_or(EXPECTED)?;
        let is_short = hour.len() <= 2 && minute.len() == 2;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        match (hour.parse::<u16>(), minute.parse::<u16>()) {
            (Ok(hour @ 0..24), Ok(minute @ 0..60)) if is_short && digits(text.replace(':', "").as_str()) => {
                Ok(Self::of(hour, minute))
            }
            _ => Err(EXPECTED),
        }
    }
}

impl fmt::Display for DayMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The hours of each day in which a toy is quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin.
    pub from: DayMinute,
    /// When they end; the minute itself is not included. If it is before `from`, it is on the next day.
    pub until: DayMinute,
    /// The IANA name of the family's time zone.
    pub zone: String,
}

impl QuietHours {
    /// Whether they include a minute of the day.
    pub fn include(&self, minute: DayMinute) -> bool {
        if self.from <= self.until {
            self.from <= minute && minute < self.until
        } else {
            self.from <= minute || minute < self.until
        }
    }
}

/// How long a toy plays on each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyMinutes {
    /// The minutes.
    pub minutes: u16,
    /// The IANA name of the family's time zone, which determines the start of a day.
    pub zone: String,
}

impl DailyMinutes {
    /// Minutes of a day.
    pub const MAX: u16 = 24 * 60;
}

/// The time that a toy has played on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Played {
    /// The day, as a number that its zone's calendar gives it.
    pub day: i64,
    /// For how many seconds.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_go_over_midnight() {
        let minute = |text: &str| text.parse::<DayMinute>().unwrap();
        let hours = |from, until| QuietHours { from: minute(from), until: minute(until), zone: "UTC".into() };
        for (from, until, at, expected) in [
            ("20:00", "07:00", "19:59", false),
            ("20:00", "07:00", "20:00", true),
            ("20:00", "07:00", "00:00", true),
            ("20:00", "07:00", "06:59", true),
            ("20:00", "07:00", "07:00", false),
            ("13:00", "14:30", "13:00", true),
            ("13:00", "14:30", "14:30", false),
            ("13:00", "14:30", "00:00", false),
            ("00:00", "23:59", "23:59", false),
        ] {
            assert_eq!(hours(from, until).include(minute(at)), expected, "{from} {until} {at}");
        }
        for bad in ["", "7", "24:00", "12:60", "1:2", "+1:00", "12:00:00", "a:bc", "-1:00"] {
            assert!(bad.parse::<DayMinute>().is_err(), "{bad}");
        }
        assert_eq!(minute("7:05").to_string(), "07:05");
    }
}
