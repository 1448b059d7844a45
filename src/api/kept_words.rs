//! The words of children to their toys, for the guardians who wish to read them.

use super::answer::{Nothing, Shape, answer};
use super::request::{Limit, request};
use super::rest::Flag;
use super::schema::{self, Components};
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::model::{self, Reaction, Timestamp, ToyId, UserId};

/// The default number of entries in one answer.
const DEFAULT: u64 = 100;
/// The maximum number of entries in one answer.
const MAX: u64 = 500;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "kept_words",
    about: "The words of children to their toys, for the guardians who wish to read them.",
    calls: &[Entry::of::<KeepWords>(), Entry::of::<KeptWords>()],
};

request! {
    /// Sets whether the recognised words of a toy's child are kept for its guardians. It is off for every toy, and can be
    /// turned on only if the operator of the hub permits it (`speech.keep_words`). Turning it off deletes the words. Both
    /// are entries of the audit log. Needs a token, also at a place of the guardian. Added.
    struct KeepWords {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// `true` or `1` turns it on.
        keep: Flag,
    }
}

impl Call for KeepWords {
    const FACTS: Facts = Facts::new("keep_words", Permitted::NamedByToken, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting_by_token(self.caller).await?;
        context.hub.set_keep_words(&user, &self.toy, self.keep.0, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The words of a toy's child that are kept, newest first, with what the hub did. They are deleted after
    /// `retention.words_days`. All reading by one guardian within an hour is one entry of the audit log. Needs a token, also at a
    /// place of the guardian. Added.
    struct KeptWords {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The number of entries: 100 by default, 500 at most; a larger number counts as 500.
        limit: Option<Limit<MAX>>,
        /// Only entries before this `at`.
        before: Option<Timestamp>,
    }
}

impl Call for KeptWords {
    const FACTS: Facts = Facts::new("kept_words", Permitted::NamedByToken, "done");
    type Answer = Vec<Words>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Words>, DomainError> {
        let user = context.acting_by_token(self.caller).await?;
        let limit = self.limit.map_or(DEFAULT, |limit| limit.0) as usize;
        let before = self.before.unwrap_or(Timestamp::MAX);
        let found = context.hub.kept_words(&user, &self.toy, before, limit, context.now).await?;
        if !found.is_empty() {
            context.hub.note_reading_of_words(&user, &self.toy, context.now).await;
        }
        Ok(found.into_iter().map(Words::from).collect())
    }
}

/// What the hub did.
pub struct ReactionWord(Reaction);

impl serde::Serialize for ReactionWord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Shape for ReactionWord {
    fn schema(_: &mut Components) -> serde_json::Value {
        schema::one_of(&Reaction::ALL.map(Reaction::as_str))
    }
}

answer! {
    /// An entry of `kept_words`.
    pub struct Words as "KeptWords" {
        /// The time, in seconds since 1970.
        at: Timestamp,
        /// The words, as the speech model writes them.
        words: String,
        /// What the hub did: `played` a piece of the library, started a `message` to a friend, or `answered` in words.
        action: ReactionWord,
        /// The title that was played, or the toy's remark for the friend.
        about: Option<String>,
    }
}

impl From<model::KeptWords> for Words {
    fn from(kept: model::KeptWords) -> Self {
        Self { at: kept.at, words: kept.words, action: ReactionWord(kept.reaction), about: kept.about }
    }
}
