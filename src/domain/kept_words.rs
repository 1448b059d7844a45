//! Words of children to their toys, kept for the guardians.
//!
//! By default no word is kept. The operator of the hub permits it (`[speech] keep_words`), and a guardian turns it on for
//! one toy. The words are then deleted after `[retention] words_days`, with the toy, when a guardian turns it off, and at
//! the first start at which the operator does not permit it any more.

use super::error::DomainError;
use super::units::DAY_S;
use super::{Hub, clock};
use crate::model::{Action, KeptWords, Party, Reaction, Timestamp, ToyId, UserId};

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
            return self.stop_keeping_words(toy, Some(guardian), now).await;
        }
        if !self.config.speech.keep_words {
            return Err(DomainError::invalid("keep", "cannot be true: the operator of this hub keeps no words"));
        }
        self.check_room(0)?;
        if self.store.start_keeping_words(toy).await? {
            let (toy, guardian) = (Party::Toy(toy.clone()), Party::User(guardian.clone()));
            self.note(&toy, Action::WordsTurnedOn, Some(&guardian), None, now).await;
        }
        Ok(())
    }

    /// Turns it off for a toy, and deletes the words. `by` is none for the operator of the hub.
    async fn stop_keeping_words(&self, toy: &ToyId, by: Option<&UserId>, now: Timestamp) -> Result<(), DomainError> {
        if self.store.stop_keeping_words(toy, clock::age_of(now)).await? {
            let by = by.map(|by| Party::User(by.clone()));
            self.note(&Party::Toy(toy.clone()), Action::WordsTurnedOff, by.as_ref(), None, now).await;
        }
        self.wake_erasures();
        Ok(())
    }

    /// If the operator does not permit it, turns it off for all toys and deletes all words: those from before must not be
    /// read again if the operator permits it later, and no further ones be kept without another decision of a guardian.
    pub async fn delete_unpermitted_words(&self, now: Timestamp) -> Result<(), DomainError> {
        if self.config.speech.keep_words {
            return Ok(());
        }
        // The words of all toys first: an interrupted run finds the toys again.
        self.store.delete_kept_words_before(Timestamp::MAX).await?;
        let toys = self.store.toys_that_keep_words().await?;
        for toy in &toys {
            self.stop_keeping_words(toy, None, now).await?;
        }
        if !toys.is_empty() {
            tracing::info!(toys = toys.len(), "kept words deleted, as speech.keep_words is off");
        }
        Ok(())
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
        if !self.config.speech.keep_words {
            return Ok(Vec::new());
        }
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
