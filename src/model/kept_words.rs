//! The words of a child to its toy that are kept for its guardians, if they wish it.

use super::Timestamp;

/// What the hub did on words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// A piece of the library was played.
    Played,
    /// A message to a friend was started.
    Message,
    /// They were answered in words.
    Answered,
}

impl Reaction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Played, Self::Message, Self::Answered];

    /// Its word in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Played => "played",
            Self::Message => "message",
            Self::Answered => "answered",
        }
    }

    /// The one of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reaction| reaction.as_str() == word)
    }
}

/// Recognised words, and what the hub did.
#[derive(Clone, PartialEq)]
pub struct KeptWords {
    /// When they were recognised.
    pub at: Timestamp,
    /// The words, as the speech model writes them.
    pub words: String,
    /// What the hub did.
    pub reaction: Reaction,
    /// The title that was played, or the toy's remark for the friend.
    pub about: Option<String>,
}

// Written by hand: a child's words must not get into a log by a `{:?}`.
impl std::fmt::Debug for KeptWords {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("KeptWords").field("at", &self.at).field("reaction", &self.reaction).finish_non_exhaustive()
    }
}
