//! Speech: what the hub hears, and what it says aloud.
//!
//! This room turns [`Sound`](super::audio::Sound) into words and text into
//! sound, with local engines and without any network. Whether something should
//! be said, and to whom it is sent, is decided elsewhere.

mod recognise;
mod speak;

pub use recognise::{
    Heard, ModelDescription, ModelError, ModelKind, NotHeard, RecogniseError, Recogniser, RecogniserSettings, Seconds,
};
pub use speak::{SpeakError, Speaker, SpeakerSettings};
