//! The lines that the hub speaks, independent of the language.

use time::{Date, OffsetDateTime, Time, UtcOffset};

use super::Language;
use crate::model::{ReminderKind, Timestamp, ToyCommand};

/// A line that the hub speaks. Each language has a text for all of them.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// The recording had no speech, or no command was recognised.
    NotUnderstood,
    /// The prompt of a message to the friend of this remark.
    SayYourMessage(&'a str),
    /// Asks which of two is meant.
    Which(&'a str, &'a str),
    /// Asks whether the message is for the friend of this remark.
    IsItFor(&'a str),
    /// The library does not contain this title.
    NoSuchTitle,
    /// The library has no title of this number.
    NoSuchNumber,
    /// The library is empty.
    NoMusic,
    /// Music was requested in quiet hours.
    QuietTime,
    /// The address book does not contain this friend.
    NoSuchFriend,
    /// The friend that was asked about is not meant.
    WhoFor,
    /// A command was carried out.
    Done(ToyCommand),
    /// The time of day.
    Time(Clock),
    /// Day and date.
    Date(Clock),
    /// The result of a sum.
    Sum(i64),
    /// By the toy's name, which may be empty.
    WhoAreYou(&'a str),
    /// One of the hub's own stories.
    Story,
    /// One of the hub's own riddles.
    Riddle,
    /// The notice of a message from the friend of this remark.
    MessageFrom(&'a str),
    /// The introduction of the messages from the friend of this remark.
    MessagesFrom(&'a str),
    /// There are no messages.
    NoMessages,
    /// The opening sound of a bound toy.
    Awake,
    /// The opening sound of a device that is not bound.
    NotBound,
    /// The opening sound of an unknown device.
    NotRegistered,
    /// Confirms to a child that its message was sent.
    Sent,
    /// Asks whether to send the message to the friend of this remark.
    ShallISend(&'a str),
    /// Confirms that a message was not sent.
    NotSent,
    /// Confirms a reminder.
    ReminderSet(Reminded<'a>),
    /// Asks when a reminder of this kind is wanted.
    WhenReminder(ReminderKind),
    /// The toy has as many reminders as it may have.
    RemindersFull,
    /// A reminder is wanted for a time that is too far away.
    TooFarAhead,
    /// Gives a reminder that is due.
    ReminderDue(Reminded<'a>),
    /// Gives a reminder that was due at its moment, when the toy could not be reached.
    ReminderMissed(Reminded<'a>),
    /// The reminders that are not due yet, of which there is at least one.
    RemindersAre(&'a [Reminded<'a>]),
    /// There are no reminders.
    NoReminders,
    /// So many reminders of this kind were deleted.
    RemindersCancelled(ReminderKind, usize),
    /// The number of unread messages, at least one, and the names of the friends that sent them. Asks whether to play them.
    UnreadMessages(usize, &'a [String]),
    /// Unread messages were asked for in quiet hours.
    MessagesLater,
    /// Confirms that messages are not played now.
    NotNow,
}

impl Line<'_> {
    /// Its text.
    pub fn text(&self, language: &Language) -> String {
        (language.say)(self)
    }
}

/// Day and time in the family's time zone.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub(super) date: Date,
    pub(super) time: Time,
}

impl Clock {
    /// The family's local time at `now`.
    pub fn new(now: Timestamp, utc_offset_minutes: i32) -> Self {
        let utc = OffsetDateTime::from_unix_timestamp(now as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let offset = UtcOffset::from_whole_seconds(utc_offset_minutes.saturating_mul(60)).unwrap_or(UtcOffset::UTC);
        let local = utc.checked_to_offset(offset).unwrap_or(utc);
        Self { date: local.date(), time: local.time() }
    }
}

/// When a reminder is due, as it is worded.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// After so many seconds.
    In(u32),
    /// At this time, so many days after today.
    At(Clock, i32),
}

/// A reminder, as it is worded.
#[derive(Clone, Copy)]
pub struct Reminded<'a> {
    /// Its kind.
    pub kind: ReminderKind,
    /// When it is due.
    pub moment: Moment,
    /// What it is about, in the words of the child; may be empty.
    pub words: &'a str,
}

// Written by hand: a child's words must not get into a log.
impl std::fmt::Debug for Reminded<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reminded").field("kind", &self.kind).field("moment", &self.moment).finish_non_exhaustive()
    }
}

/// A random one of some texts.
pub(super) fn any(texts: &[&'static str]) -> String {
    texts.get(rand::random_range(0..texts.len().max(1))).copied().unwrap_or_default().into()
}
