//! Consent at binding: the text that states which data of a child is stored, and for how long.
//!
//! The text depends on the settings. Its version is a hash of the text, so another text has another version. Each text
//! that a user has agreed to is stored. Withdrawing the consent unbinds the toy and erases its data.

use sha2::{Digest, Sha256};

use super::Hub;
use super::error::DomainError;
use crate::model::{Timestamp, ToyId, UserId};

/// Characters of a version.
const VERSION_SIGNS: usize = 12;

/// The text of the consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentText {
    /// The version of the text.
    pub version: String,
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

impl Hub {
    /// The current text.
    pub fn consent_text(&self) -> ConsentText {
        let retention = &self.config.retention;
        let kept = |days: u32, else_until: &str| match days {
            0 => else_until.to_owned(),
            1 => "for one day".to_owned(),
            days => format!("for {days} days"),
        };
        let recordings = if self.config.speech.keep_ai_recordings {
            "Recordings of what the child says to the toy itself are kept until the toy is erased."
        } else {
            "Recordings of what the child says to the toy itself are deleted before they are processed."
        };
        let words = match self.config.speech.keep_words {
            true => format!(
                " If a guardian turns that on for the toy, the text of what the child says to it is kept {}, for its guardians \
                 to read.",
                kept(retention.words_days, "")
            ),
            false => String::new(),
        };
        let elsewhere = if self.config.speech.reply_url.is_empty() {
            "No recording and no text leaves this hub."
        } else {
            "The text of speech that is not a command is sent to the chat service that this hub's operator has chosen."
        };
        let text = format!(
            "This hub stores the name of the toy, the name that you give for the child, its friends, and its voice \
             messages. Voice messages are kept {}, friend requests {}, the record of who has read, befriended, erased and \
             exported what {}. {recordings}{words} {elsewhere} Only the two parties of a chat, and the guardians of a \
             toy in it, can play its messages. You may read the record, export everything, erase messages, chats, \
             friends, the toy and your account, and withdraw this consent by unbinding the toy, which erases all of it.",
            kept(retention.messages_days, "until they are erased"),
            kept(retention.requests_days, "until they are erased"),
            kept(retention.audit_days, "until the toy is erased"),
        );
        let mut version = hex::encode(Sha256::digest(&text));
        version.truncate(VERSION_SIGNS);
        ConsentText { version, text }
    }

    /// The text that the guardian agrees to by binding: the current one. Errors: `Invalid` if the guardian has seen
    /// another version.
    pub(super) fn agreed(&self, seen: Option<&str>) -> Result<ConsentText, DomainError> {
        let current = self.consent_text();
        if seen.is_some_and(|seen| seen.trim() != current.version) {
            return Err(DomainError::invalid(
                "consent",
                format!("is {}, the version of the current text", current.version),
            ));
        }
        Ok(current)
    }

    /// The consent that was given when a toy of `owner` was bound; without an owner, for the operator of the hub. None if
    /// an older version of the hub bound it. Errors: `UnknownParty`.
    pub async fn consent_of(&self, owner: Option<&UserId>, toy: &ToyId) -> Result<Option<Consent>, DomainError> {
        self.own_toy(owner, toy).await?;
        let found = self.store.consent(toy).await?;
        Ok(found.map(|(version, text, at)| Consent { text: ConsentText { version, text }, at }))
    }
}
