//! The audit log: which user read, bound, befriended, erased or exported what. Guardians read it.

use super::answer::{Id, Nullable, Shape, answer};
use super::request::{Limit, request};
use super::schema::{self, Components};
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::model::{Action, Audited, Setting, Timestamp, ToyId, UserId};

/// The default number of entries in one answer.
const DEFAULT: u64 = 100;
/// The maximum number of entries in one answer.
const MAX: u64 = 500;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "audit",
    about: "The audit log: which user read, bound, befriended, erased or exported what.",
    calls: &[Entry::of::<Audit>()],
};

request! {
    /// The audit log of the user or of an own toy, newest first. All reading of a toy's messages by one person within
    /// an hour is one entry. Added.
    struct Audit {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The own toy. Default: the user.
        toy as "toy_id": Option<ToyId>,
        /// The number of entries: 100 by default, 500 at most; a larger number counts as 500.
        limit: Option<Limit<MAX>>,
        /// Only entries before this `at`.
        before: Option<Timestamp>,
    }
}

impl Call for Audit {
    const FACTS: Facts = Facts::new("audit", Permitted::Named, "done");
    type Answer = Vec<AuditEntry>;

    async fn handle(self, context: &CallContext) -> Result<Vec<AuditEntry>, DomainError> {
        let user = context.acting(self.caller).await?;
        let limit = self.limit.map_or(DEFAULT, |limit| limit.0);
        let before = self.before.unwrap_or(Timestamp::MAX);
        let found = context.hub.audited(&user, self.toy.as_ref(), before, limit as usize).await?;
        Ok(found.into_iter().map(AuditEntry::from).collect())
    }
}

/// The action.
pub struct Word(Action);

impl serde::Serialize for Word {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Shape for Word {
    fn schema(_: &mut Components) -> serde_json::Value {
        schema::one_of(&Action::ALL.map(Action::as_str))
    }
}

answer! {
    /// An entry of `audit`.
    pub struct AuditEntry as "AuditEntry" {
        /// The time, in seconds since 1970.
        at: Timestamp,
        /// The action.
        action: Word,
        /// The user or toy that acted; null for the operator of the hub.
        by: Nullable<Id>,
        /// The other party, for an action between two; otherwise null. Of messages that were read: the friend of the
        /// toy, unless it is the reader.
        about: Nullable<Id>,
        /// The address at which a toy was opened. Absent in other entries.
        place: Option<String>,
        /// What the operator of the hub changed. Missing of all else.
        setting: Option<SettingWord>,
    }
}

/// What the operator of the hub changed.
pub struct SettingWord(Setting);

impl serde::Serialize for SettingWord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Shape for SettingWord {
    fn schema(_: &mut Components) -> serde_json::Value {
        schema::one_of(&Setting::ALL.map(Setting::as_str))
    }
}

impl From<Audited> for AuditEntry {
    fn from(entry: Audited) -> Self {
        Self {
            at: entry.at,
            action: Word(entry.action),
            by: Nullable(entry.actor.as_ref().map(Id::from)),
            about: Nullable(entry.about.as_ref().map(Id::from)),
            place: entry.place,
            setting: entry.setting.map(SettingWord),
        }
    }
}
