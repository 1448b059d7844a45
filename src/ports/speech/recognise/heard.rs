//! What recognition gives: the words of a recording, or why it has none.

use std::fmt;
use std::time::Duration;

/// The sample rate that Whisper hears.
pub(super) const RATE_HZ: u32 = 16_000;

/// What was said.
#[derive(Clone, PartialEq)]
pub struct Heard {
    /// The words, as the model writes them.
    pub text: String,
    /// Their language, such as `en`.
    pub language: &'static str,
    /// How sure the model is of them, from 0 to 1.
    pub confidence: f32,
    /// What took how long.
    pub seconds: Seconds,
}

// By hand: what a child said must not get into a log by a `{:?}`.
impl fmt::Debug for Heard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Heard")
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
    /// Resampling, and looking for speech.
    pub gate: Duration,
    /// Finding the language, where there is a choice.
    pub language: Duration,
    /// The quick pass of the model.
    pub first_pass: Duration,
    /// The thorough one, where the quick one was poor.
    pub second_pass: Duration,
}

/// Why a recording has no words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecogniseError {
    /// Too many recordings wait, or this one did too long.
    #[error("too many recordings wait to be understood")]
    Busy,
    /// The recording is longer than the limit.
    #[error("the recording is longer than {max_seconds} seconds")]
    TooLong {
        /// The limit, in seconds.
        max_seconds: u32,
    },
    /// There are no words in it.
    #[error("no words were heard: {0}")]
    NotHeard(NotHeard),
    /// It took too long.
    #[error("the recording took too long to understand")]
    TimedOut,
    /// Recognition failed, or stops.
    #[error("the recording could not be understood: {0}")]
    Failed(String),
}

/// How it was found that nobody said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    /// It is silence, noise or music.
    #[error("nobody speaks")]
    NoSpeech,
    /// The model wrote no word.
    #[error("the model found none")]
    NoWords,
    /// The model hardly believes its own words.
    #[error("the model is not sure of any")]
    Unsure,
    /// The model repeats itself without an end, as it does on sounds that are not speech.
    #[error("the model repeats itself")]
    Repetition,
}
