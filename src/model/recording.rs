//! The outcome of a call with a recording.

use super::ids::MessageId;
use super::names::FileName;
use super::party::{Party, PartyKind};

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: MessageId,
    /// The stored recording, of `/get_chat/`.
    pub sound: FileName,
    /// The spoken notice, of `/get_chat/`; none without speech synthesis.
    pub notice: Option<FileName>,
    /// The kind of the receiver.
    pub receiver: PartyKind,
}

/// The answer to a recording that a toy sent to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Plays a song, of `/get_music/`.
    Music(FileName),
    /// Plays a spoken reply, of `/get_chat/`.
    Reply(FileName),
    /// Plays a prompt, of `/get_chat/`; the next recording is for the friend.
    StartMessage {
        /// The receiver of the message.
        friend: Party,
        /// The prompt that is played first.
        prompt: FileName,
    },
}

/// The outcome of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent to a friend.
    Sent(Sent),
    /// It was answered.
    Answered(Answer),
}

impl From<Sent> for Outcome {
    fn from(sent: Sent) -> Self {
        Self::Sent(sent)
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answered(answer)
    }
}

impl TryFrom<Outcome> for Sent {
    type Error = Outcome;

    fn try_from(outcome: Outcome) -> Result<Self, Outcome> {
        match outcome {
            Outcome::Sent(sent) => Ok(sent),
            other => Err(other),
        }
    }
}

impl TryFrom<Outcome> for Answer {
    type Error = Outcome;

    fn try_from(outcome: Outcome) -> Result<Self, Outcome> {
        match outcome {
            Outcome::Answered(answer) => Ok(answer),
            other => Err(other),
        }
    }
}
