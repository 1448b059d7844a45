//! The consent of a guardian to what is stored.

use super::Timestamp;

/// A text that a guardian agrees to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentText {
    /// The version of the text: a hash of it, so another text and another language have another version.
    pub version: String,
    /// The code of its language.
    pub language: String,
    /// The text.
    pub text: String,
}

/// The consent that was given when a toy was bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    /// The text.
    pub text: ConsentText,
    /// The time of the consent.
    pub at: Timestamp,
}
