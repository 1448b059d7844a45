//! What a recording comes to when a call uses it.

use super::ids::MessageId;
use super::names::FileName;
use super::party::{Party, PartyKind};

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: MessageId,
    /// The recording as it is stored, of `/get_chat/`.
    pub sound: FileName,
    /// The spoken notice, of `/get_chat/`; none where nothing can be spoken.
    pub notice: Option<FileName>,
    /// What kind of party receives it.
    pub receiver: PartyKind,
}

/// What a toy is answered that asks the hub something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Plays a song, of `/get_music/`.
    Music(FileName),
    /// Plays a spoken reply, of `/get_chat/`.
    Reply(FileName),
    /// Plays a prompt, of `/get_chat/`; the next recording is for the friend.
    StartMessage {
        /// Who the message will be for.
        friend: Party,
        /// What is played first.
        prompt: FileName,
    },
}

/// What a recording has come to.
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
