//! Speech: what the hub says aloud.
//!
//! This room turns text into [`Sound`](super::audio::Sound) with a local
//! engine, without any network. Whether something should be said, and to
//! whom it is sent, is decided elsewhere.

mod speak;

pub use speak::{SpeakError, Speaker, SpeakerSettings};
