//! What the hub says, whatever the language.

use time::{Date, OffsetDateTime, Time, UtcOffset};

use super::Language;
use crate::model::{Timestamp, ToyCommand};

/// Something that the hub says. Each language words all of them.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// Nobody spoke, or nothing was understood.
    NotHeard,
    /// The prompt of a message to the friend of this remark.
    SayYourMessage(&'a str),
    /// Asks back which of two is meant.
    Which(&'a str, &'a str),
    /// There is no such title in the library.
    NoSuchTitle,
    /// There is no title of this number in the library.
    NoSuchNumber,
    /// The library is empty.
    NoMusic,
    /// Music is asked for in quiet hours.
    QuietTime,
    /// There is no such friend in the address book.
    NoSuchFriend,
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
    /// What follows are the messages from the friend of this remark.
    MessagesFrom(&'a str),
    /// There are no messages.
    NoMessages,
    /// What a toy says that has opened itself.
    Awake,
    /// What a toy says whose device nobody has bound.
    NotBound,
    /// What a toy says whose device is unknown.
    NotRegistered,
}

impl Line<'_> {
    /// Its text.
    pub fn text(&self, language: &Language) -> String {
        (language.say)(self)
    }
}

/// Day and time where the family lives.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub(super) date: Date,
    pub(super) time: Time,
}

impl Clock {
    /// The family's clock at `now`.
    pub fn new(now: Timestamp, utc_offset_minutes: i32) -> Self {
        let utc = OffsetDateTime::from_unix_timestamp(now as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let offset = UtcOffset::from_whole_seconds(utc_offset_minutes.saturating_mul(60)).unwrap_or(UtcOffset::UTC);
        let local = utc.checked_to_offset(offset).unwrap_or(utc);
        Self { date: local.date(), time: local.time() }
    }
}

/// One of some texts, by chance.
pub(super) fn any(texts: &[&'static str]) -> String {
    texts.get(rand::random_range(0..texts.len().max(1))).copied().unwrap_or_default().into()
}
