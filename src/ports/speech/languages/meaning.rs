//! The meanings of phrases, independent of the language.

use crate::model::ReminderKind;

/// The intent of a child. Titles and friends are indexes into the given names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Play this title.
    Play(usize),
    /// Play the title of this number, counted from 1. It may not exist.
    PlayNumber(u32),
    /// Play anything.
    PlayAny,
    /// Play something other than what is playing.
    PlayAnother,
    /// Play the last one again.
    PlayAgain,
    /// Go on with the last one, where it was interrupted.
    Resume,
    /// Play something to calm down or to fall asleep.
    PlayQuiet,
    /// Ask which of these two titles is meant.
    AskTitle(usize, usize),
    /// A song was requested by a title that is not in the library.
    NoSuchTitle,
    /// Be quiet.
    Stop,
    /// Turn the volume up.
    Louder,
    /// Turn the volume down.
    Softer,
    /// Start a message to this friend.
    Message(usize),
    /// Ask which of these two friends is meant.
    AskFriend(usize, usize),
    /// Ask whether this friend is meant.
    ConfirmFriend(usize),
    /// A message was requested to a name that is not in the address book, or without a name.
    NoSuchFriend,
    /// Say the time of day.
    Time,
    /// Say the day and date.
    Date,
    /// Say the result of a sum.
    Sum(i64),
    /// Tell a story.
    Story,
    /// Ask a riddle.
    Riddle,
    /// Say the toy's name.
    WhoAreYou,
    /// Say which reminders there are.
    ListReminders,
    /// Delete the reminders of this kind.
    CancelReminders(ReminderKind),
    /// Play the unread messages.
    PlayMessages,
    /// No command: the reply engine answers.
    Unknown,
}

/// What a child wants to be done with the message that it has spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftWish {
    /// To send it.
    Send,
    /// To speak it again.
    Again,
    /// To hear it.
    Play,
    /// Not to send it.
    Drop,
}

/// The meaning of a phrase in a language's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ports::speech) enum Meaning {
    /// This intent.
    Is(Intent),
    /// Play the title of the number at `#`.
    Number,
    /// Play the title at `…`; if none matches, this intent.
    Title(Intent),
    /// Start a message to the friend at `…`; if none matches, this intent.
    Friend(Intent),
}
