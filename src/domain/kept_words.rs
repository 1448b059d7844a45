//! Words of children to their toys, kept for the guardians.
//!
//! By default no word is kept. The operator of the hub permits it (`[speech] keep_words`), and a guardian turns it on for
//! one toy. The words are then deleted after `[retention] words_days`, with the toy, and when a guardian turns it off.

use super::error::DomainError;
use super::units::DAY_S;
use super::{Hub, clock};
use crate::model::{KeptWords, Reaction, Timestamp, ToyId, UserId};

impl Hub {
    /// Sets whether the words to a toy are kept. Turning it off deletes them. Errors: `UnknownParty`, `Invalid` if the
    /// operator does not permit it, `DiskFull`.
    pub async fn set_keep_words(
        &self,
        guardian: &UserId,
        toy: &ToyId,
        keeps: bool,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(Some(guardian), toy).await?;
        if !keeps {
            self.store.stop_keeping_words(toy, clock::age_of(now)).await?;
            self.wake_erasures();
            return Ok(());
        }
        if !self.config.speech.keep_words {
            return Err(DomainError::invalid("keep", "cannot be true: the operator of this hub keeps no words"));
        }
        self.check_room(0)?;
        Ok(self.store.start_keeping_words(toy).await?)
    }

    /// The words to a toy before a time, newest first, at most `limit`. Errors: `UnknownParty`.
    pub async fn kept_words(
        &self,
        guardian: &UserId,
        toy: &ToyId,
        before: Timestamp,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<KeptWords>, DomainError> {
        self.check_toy_of(Some(guardian), toy).await?;
        // Those past their days are not shown, whenever they are deleted.
        Ok(self.store.kept_words(toy, (self.words_since(now), before), limit).await?)
    }

    /// Keeps words to a toy, if the operator and a guardian wish it. A failure is logged: the child has its answer.
    pub(super) async fn keep_words(
        &self,
        toy: &ToyId,
        words: &str,
        (reaction, about): (Reaction, Option<String>),
        now: Timestamp,
    ) {
        if !self.config.speech.keep_words || self.check_room(0).is_err() {
            return;
        }
        let kept = KeptWords { at: now, words: words.trim().to_owned(), reaction, about };
        if let Err(error) = self.store.keep_words(toy, &kept).await {
            tracing::warn!(%error, "the words of a command were not kept");
        }
    }

    /// The time before which words are past their days.
    pub(super) fn words_since(&self, now: Timestamp) -> Timestamp {
        now - f64::from(self.config.retention.words_days) * DAY_S
    }
}
