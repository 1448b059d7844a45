//! Speech recognition, intent detection and speech synthesis.
//!
//! This room finds speech in a stream ([`Listener`]), and turns [`Sound`](super::audio::Sound) into words, words into
//! intents ([`intent`]), and text into sound, with local engines and without any network. The words of each language are
//! in a file of [`languages`]. Other rooms decide on actions and receivers.

mod grammar;
pub mod intent;
pub mod languages;
mod listen;
mod recognise;
mod speak;

pub use grammar::{Clarity, Grammar, Likely};
pub use listen::{LISTENER_HZ, Listener, ListenerSettings, Progress};
pub use recognise::{
    ComparisonLimits, Expectation, ModelDescription, ModelError, ModelKind, NoTranscript, RecogniseError, Recogniser,
    RecogniserSettings, Seconds, Transcript, let_threads_sleep, threads_sleep,
};
pub use speak::{PiperError, PiperSettings, Sentences, SpeakError, Speaker, SpeakerSettings, Voice};
