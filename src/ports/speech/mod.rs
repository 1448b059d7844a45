//! Speech: what the hub hears, what it makes of it, and what it says aloud.
//!
//! This room turns [`Sound`](super::audio::Sound) into words, words into what they ask for ([`intent`]), and text into
//! sound, with local engines and without any network. The words themselves stand in [`languages`], one file each. Whether
//! something should be said or done, and to whom it is sent, is decided elsewhere.

pub mod intent;
pub mod languages;
mod recognise;
mod speak;

pub use recognise::{
    Heard, ModelDescription, ModelError, ModelKind, NotHeard, RecogniseError, Recogniser, RecogniserSettings, Seconds,
};
pub use speak::{SpeakError, Speaker, SpeakerSettings};
