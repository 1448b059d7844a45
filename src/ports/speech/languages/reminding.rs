//! The words of reminders, alarms and timers: how children ask for them, and how times are worded. They are understood in
//! [`intent`](crate::ports::speech::intent).

use crate::model::ReminderKind;

/// How a language asks for reminders. In all of it words are separated as in transcripts, and compared as they are.
#[derive(Debug)]
pub(in crate::ports::speech) struct Reminding {
    /// The words around a request, from which its time was taken out; `…` stands for what the child wants to be reminded
    /// of, which may be nothing.
    pub(in crate::ports::speech) frames: &'static [(ReminderKind, &'static [&'static str])],
    /// The forms of a time. `#` stands for a number, `@` for a unit of time.
    pub(in crate::ports::speech) times: &'static [(TimeForm, &'static [&'static str])],
    /// The units, in seconds.
    pub(in crate::ports::speech) units: &'static [(u32, &'static [&'static str])],
    /// Words that are the number one before a unit: "a minute".
    pub(in crate::ports::speech) one: &'static [&'static str],
    /// Parts of the day, beside a time or instead of one.
    pub(in crate::ports::speech) parts: &'static [(DayPart, &'static [&'static str])],
    /// Days, by their distance from today.
    pub(in crate::ports::speech) days: &'static [(u8, &'static [&'static str])],
    /// Words between the request and what it is about.
    pub(in crate::ports::speech) links: &'static [&'static str],
    /// Words of the child, and those with which the hub repeats them: "my", "your".
    pub(in crate::ports::speech) repeated: &'static [(&'static str, &'static str)],
}

/// What the numbers of a form of a time mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ports::speech) enum TimeForm {
    /// Pairs of a number and a unit: so long from now.
    In,
    /// A number and a unit, and half a unit more.
    InAndHalf,
    /// So many seconds from now, without a number.
    Seconds(u32),
    /// The hour, and if there is a second number, the minute.
    At,
    /// The minutes past the hour, and the hour.
    Past,
    /// The minutes to the hour, and the hour.
    To,
    /// An hour, and these minutes: 30 for half past, -15 for a quarter to.
    Beside(i16),
}

/// A part of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayPart {
    /// From midnight to noon.
    Morning,
    /// About noon.
    Noon,
    /// To the evening.
    Afternoon,
    /// To the night.
    Evening,
    /// Before and after midnight.
    Night,
}

impl Reminding {
    /// What a child said, as the hub repeats it to the child.
    pub(super) fn repeat(&self, words: &str) -> String {
        let repeat = |word: &str| {
            let plain = word.to_lowercase();
            let found = self.repeated.iter().find(|(said, _)| *said == plain);
            found.map_or_else(|| word.to_owned(), |(_, repeated)| (*repeated).to_owned())
        };
        if words.contains(' ') { words.split(' ').map(repeat).collect::<Vec<_>>().join(" ") } else { words.to_owned() }
    }
}

/// Hours, minutes and seconds.
pub(super) fn parts_of(seconds: u32) -> (u32, u32, u32) {
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Some texts, with another one between the last two.
pub(super) fn listed(texts: &[String], and: &str) -> String {
    match texts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{}{and}{last}", first.join(", ")),
    }
}
