//! What a phrase can mean, whatever the language.

/// What is wanted. Titles and friends are indexes into the names that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Play this title.
    Play(usize),
    /// Play the title of this number, as counted from 1. There may be none.
    PlayNumber(u32),
    /// Play anything.
    PlayAny,
    /// Play something other than what is playing.
    PlayAnother,
    /// Play the last one once more.
    PlayAgain,
    /// Play something to calm down or to fall asleep.
    PlayQuiet,
    /// Ask back which of these two titles is meant.
    AskTitle(usize, usize),
    /// A song was asked for by a title that is not in the library.
    NoSuchTitle,
    /// Be quiet.
    Stop,
    /// Turn the volume up.
    Louder,
    /// Turn the volume down.
    Softer,
    /// Start a message to this friend.
    Message(usize),
    /// Ask back which of these two friends is meant.
    AskFriend(usize, usize),
    /// A message was asked for to somebody who is not in the address book, or to nobody by name.
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
    /// Say who the toy is.
    WhoAreYou,
    /// None of these: a matter for the reply engine.
    Unknown,
}

/// What a phrase of a language's table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ports::speech) enum Meaning {
    /// Just this.
    Is(Intent),
    /// Play the title of the number at `#`.
    Number,
    /// Play the title at `…`; if there is none like it, this.
    Title(Intent),
    /// Start a message to the friend at `…`; if there is none like it, this.
    Friend(Intent),
}
