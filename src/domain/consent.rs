//! Consent at binding: the text that states which data of a child is stored, and for how long.
//!
//! The text depends on the settings, and exists in each language of the hub. Its version is a hash of the text, so another
//! text has another version. Each text that a user has agreed to is stored. Withdrawing the consent unbinds the toy and
//! erases its data.

use sha2::{Digest, Sha256};

use super::Hub;
use super::error::DomainError;
use crate::model::{Consent, ConsentText, ToyId, UserId};
use crate::ports::speech::languages::{Language, all};

/// Characters of a version.
const VERSION_SIGNS: usize = 12;

impl Hub {
    /// The current text in the language of this code, which may name a region, as those of browsers do; in English if
    /// there is no such language.
    pub fn consent_text(&self, language: &str) -> ConsentText {
        let code = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        self.consent_in(Language::of("", &code))
    }

    fn consent_in(&self, language: &Language) -> ConsentText {
        let (words, retention) = (&language.consent, &self.config.retention);
        let kept = |days: u32, else_until: &str| match days {
            0 => else_until.to_owned(),
            1 => words.one_day.to_owned(),
            days => words.days.replace("{days}", &days.to_string()),
        };
        let stored = words
            .stored
            .replace("{messages}", &kept(retention.messages_days, words.until_erased))
            .replace("{requests}", &kept(retention.requests_days, words.until_erased))
            .replace("{audit}", &kept(retention.audit_days, words.until_toy_erased));
        let keeps_recordings = self.config.speech.keep_ai_recordings;
        let recordings = if keeps_recordings { words.recordings_kept } else { words.recordings_deleted };
        let kept_words = words.words.replace("{words}", &kept(retention.words_days, words.until_toy_erased));
        let kept_words = self.config.speech.keep_words.then_some(kept_words);
        let reminders = (self.config.reminders.per_toy_max > 0).then_some(words.reminders);
        let elsewhere = if self.config.speech.reply_url.is_empty() { words.stays } else { words.sent };
        let sentences = [
            Some(stored.as_str()),
            Some(recordings),
            kept_words.as_deref(),
            reminders,
            Some(elsewhere),
            Some(words.rights),
        ];
        let text = sentences.into_iter().flatten().collect::<Vec<_>>().join(words.between);
        let mut version = hex::encode(Sha256::digest(&text));
        version.truncate(VERSION_SIGNS);
        ConsentText { version, language: language.code.to_owned(), text }
    }

    /// The text that the guardian agrees to by binding: the current one in the language that it has seen, in English if
    /// it names no version. Errors: `Invalid` if the guardian has seen another version.
    pub(super) fn agreed(&self, seen: Option<&str>) -> Result<ConsentText, DomainError> {
        let Some(seen) = seen else { return Ok(self.consent_text("en")) };
        let mut current = all().iter().map(|language| self.consent_in(language));
        current.find(|text| text.version == seen.trim()).ok_or_else(|| {
            let version = self.consent_text("en").version;
            DomainError::invalid(
                "consent",
                format!("is {version}, the version of the current text, or that of its translation"),
            )
        })
    }

    /// The consent that was given when a toy of `owner` was bound; without an owner, for the operator of the hub. None if
    /// an older version of the hub bound it. Errors: `UnknownParty`.
    pub async fn consent_of(&self, owner: Option<&UserId>, toy: &ToyId) -> Result<Option<Consent>, DomainError> {
        self.own_toy(owner, toy).await?;
        Ok(self.store.consent(toy).await?)
    }
}
