//! Reminders, alarms and timers that a child has asked its toy for.

use std::fmt;

use super::Timestamp;
use super::ids::ReminderId;

/// The kind of a reminder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReminderKind {
    /// "Remind me …".
    Reminder,
    /// "Wake me …".
    Alarm,
    /// "Set a timer …".
    Timer,
}

impl ReminderKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reminder, Self::Alarm, Self::Timer];

    /// Its word in events, in exports and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reminder => "reminder",
            Self::Alarm => "alarm",
            Self::Timer => "timer",
        }
    }

    /// The one of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Words of a child. They are not in what `{:?}` writes, which may be a log line.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChildWords(pub String);

impl fmt::Debug for ChildWords {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ChildWords({} bytes)", self.0.len())
    }
}

/// A reminder that was not given yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Reminder {
    /// Its id.
    pub id: ReminderId,
    /// Its kind.
    pub kind: ReminderKind,
    /// When it is due.
    pub due: Timestamp,
    /// What the child wants to be reminded of, as it was recognised; may be empty.
    pub words: ChildWords,
    /// The code of the language in which it was asked for.
    pub language: String,
}
