//! Speech: what the hub says aloud, and what it makes of what it is told.
//!
//! This room turns text into [`Sound`](super::audio::Sound) with a local
//! engine, without any network, and a transcript into what it asks for
//! ([`intent`]). Whether something should be said or done, and to whom it is
//! sent, is decided elsewhere.

pub mod intent;
mod speak;

pub use speak::{SpeakError, Speaker, SpeakerSettings};
