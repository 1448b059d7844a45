//! What a guardian agrees to at binding: what is stored of a child, and for how long.
//!
//! The text follows the settings. Its version is made of the text, so another text has another version; the texts that
//! somebody has agreed to are kept. Withdrawing consent is unbinding: it erases.

use sha2::{Digest, Sha256};

use super::Hub;
use super::error::DomainError;
use crate::model::{Timestamp, ToyId, UserId};

/// Signs of a version.
const VERSION_SIGNS: usize = 12;

/// What is agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentText {
    /// The version of the text.
    pub version: String,
    /// The text.
    pub text: String,
}

/// What was agreed to when a toy was bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    /// The text.
    pub text: ConsentText,
    /// When.
    pub at: Timestamp,
}

impl Hub {
    /// The text that a guardian agrees to now.
    pub fn consent_text(&self) -> ConsentText {
        let retention = &self.config.retention;
        let kept = |days: u32, else_until: &str| match days {
            0 => else_until.to_owned(),
            1 => "for one day".to_owned(),
            days => format!("for {days} days"),
        };
        let recordings = if self.config.speech.keep_ai_recordings {
            "What the child says to the toy itself is kept as a recording until the toy is erased."
        } else {
            "What the child says to the toy itself is deleted before it is listened to."
        };
        let elsewhere = if self.config.speech.reply_url.is_empty() {
            "No word leaves this hub."
        } else {
            "The words of what is no command are sent to the chat service that this hub's operator has chosen."
        };
        let text = format!(
            "This hub stores the name of the toy, the name that you give for the child, its friends, and its voice \
             messages. Voice messages are kept {}, friend requests {}, the record of who has read, befriended, erased and \
             exported what {}. {recordings} {elsewhere} Only the two parties of a chat hear its messages. You may read the \
             record, export everything, erase messages, chats, friends, the toy and your account, and withdraw this consent \
             by unbinding the toy, which erases all of it.",
            kept(retention.messages_days, "until they are erased"),
            kept(retention.requests_days, "until they are erased"),
            kept(retention.audit_days, "until the toy is erased"),
        );
        let mut version = hex::encode(Sha256::digest(&text));
        version.truncate(VERSION_SIGNS);
        ConsentText { version, text }
    }

    /// The text that a binding agrees to: of the version that the guardian has seen, or where the client knows none, the
    /// present one. Errors: `Invalid` for another version.
    pub(super) fn agreed(&self, seen: Option<&str>) -> Result<ConsentText, DomainError> {
        let current = self.consent_text();
        if seen.is_some_and(|seen| seen.trim() != current.version) {
            return Err(DomainError::invalid(
                "consent",
                format!("is {}, the version of the present text", current.version),
            ));
        }
        Ok(current)
    }

    /// What was agreed to when an own toy was bound; none of a toy that an older version of the hub has bound. Errors:
    /// `UnknownParty`.
    pub async fn consent_of(&self, owner: &UserId, toy: &ToyId) -> Result<Option<Consent>, DomainError> {
        self.own_toy(Some(owner), toy).await?;
        let found = self.store.consent(toy).await?;
        Ok(found.map(|(version, text, at)| Consent { text: ConsentText { version, text }, at }))
    }
}
