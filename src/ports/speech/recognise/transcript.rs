//! What recognition gives: the words of a recording, or why it has none.

use std::fmt;
use std::time::Duration;

use crate::ports::speech::grammar::{Clarity, Grammar, Likely};

/// The sample rate of Whisper.
pub(super) const RATE_HZ: u32 = 16_000;

/// The result of recognition.
#[derive(Clone, PartialEq)]
pub struct Transcript {
    /// The text, as the model writes it.
    pub text: String,
    /// Its language, such as `en`.
    pub language: &'static str,
    /// The confidence of the model, from 0 to 1.
    pub confidence: f32,
    /// The probability of the least certain part of a word, from 0 to 1.
    pub weakest: f32,
    /// Whether there is a long pause in the speech, or more speech than the words take.
    pub may_lack_words: bool,
    /// The sentences that the recording is most like, that with the least regret first, if it was compared with some.
    pub likely: Vec<Likely>,
    /// The time of each step.
    pub seconds: Seconds,
}

/// Decides by the recognised text and the code of its language whether, and with which sentences, the recording is compared.
pub type Expectation = Box<dyn FnOnce(&str, &'static str) -> Option<Grammar> + Send>;

/// The minimum of `weakest` for a message that is begun by few words without asking whether the friend is meant. Chosen
/// with 500 sentences without a friend and the included model, see models/README.md.
const SURE_MIN: f32 = 0.75;

impl Transcript {
    /// How clearly the words were heard. A name that was heard instead of another word is seldom clear.
    pub fn clarity(&self) -> Clarity {
        if self.may_lack_words {
            Clarity::Incomplete
        } else if self.weakest >= SURE_MIN {
            Clarity::Clear
        } else {
            Clarity::Unclear
        }
    }
}

// Written by hand: a child's words must not get into a log by a `{:?}`.
impl fmt::Debug for Transcript {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Transcript")
            .field("language", &self.language)
            .field("confidence", &self.confidence)
            .field("seconds", &self.seconds)
            .finish_non_exhaustive()
    }
}

/// The time that each step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seconds {
    /// In the queue.
    pub waiting: Duration,
    /// Resampling and voice activity detection.
    pub gate: Duration,
    /// Language detection, if there are several.
    pub language: Duration,
    /// The model's quick pass.
    pub first_pass: Duration,
    /// The thorough pass, if the result of the quick one was poor.
    pub second_pass: Duration,
    /// The comparison with known sentences, if the words were not clear.
    pub comparison: Duration,
}

/// Why a recording was not recognised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecogniseError {
    /// Too many recordings are waiting, or this one has waited too long.
    #[error("too many recordings wait for recognition")]
    Busy,
    /// The recording is longer than the limit.
    #[error("the recording is longer than {max_seconds} seconds")]
    TooLong {
        /// The limit, in seconds.
        max_seconds: u32,
    },
    /// There are no words in it.
    #[error("no speech was recognised: {0}")]
    NoTranscript(NoTranscript),
    /// It took too long.
    #[error("the recognition of the recording took too long")]
    TimedOut,
    /// Recognition failed, or stops.
    #[error("the recognition of the recording failed: {0}")]
    Failed(String),
}

/// Why a recording counts as one without speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTranscript {
    /// It is silence, noise or music.
    #[error("there is no speech in it")]
    NoSpeech,
    /// The model wrote no word.
    #[error("the model found no words")]
    NoWords,
    /// The model's confidence is too low.
    #[error("the confidence of the model is too low")]
    Unsure,
    /// The model repeats itself without an end, as it does on sounds that are not speech.
    #[error("the model repeats itself")]
    Repetition,
}
