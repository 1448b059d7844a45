//! A decision of the hub about what a child gets, before anything is spoken.

use std::sync::Arc;

use crate::model::{FileName, Party, Question, ToyCommand};
use crate::ports::audio::Sound;
use crate::ports::speech::languages::{Language, Line};

/// What a child gets, and what follows from it.
pub(super) struct Decision {
    pub(super) decided: Decided,
    /// In which its texts are spoken.
    pub(super) language: &'static Language,
    /// What is done once it was spoken.
    pub(super) then: Then,
}

/// What a child gets.
pub(super) enum Decided {
    /// Music, of `/get_music/`.
    Music(FileName),
    /// Music, from so many seconds after its beginning on.
    Resumed { music: FileName, from_s: f64 },
    /// A text that is spoken.
    Text(String),
    /// A reply to these words, which the reply engine makes while it is spoken.
    Reply(String),
    /// The unread messages.
    Messages,
    /// A prompt that is spoken. The next recording is for the friend.
    StartMessage { friend: Party, prompt: String },
}

/// A message that a child has spoken and that is not sent yet, in memory only. Clones share the sound.
#[derive(Clone)]
pub struct Draft {
    pub(super) friend: Party,
    /// The name of the friend, as the family calls it.
    pub(super) remark: String,
    pub(super) sound: Arc<Sound>,
    /// The answers that were not understood.
    pub(super) unclear: u8,
}

/// What follows once an answer was spoken.
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// The hub has asked a question.
    Ask(Box<Question>),
    /// The toy gets a command.
    Command(ToyCommand),
}

impl Decision {
    /// A text, and nothing that follows.
    pub(super) fn text(language: &'static Language, text: String) -> Self {
        Self { decided: Decided::Text(text), language, then: Then::Nothing }
    }

    /// A line of the hub.
    pub(super) fn line(language: &'static Language, line: &Line<'_>) -> Self {
        Self::text(language, line.text(language))
    }
}

/// Without the sound of the child, and the name of its friend.
impl std::fmt::Debug for Draft {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Draft").finish_non_exhaustive()
    }
}
