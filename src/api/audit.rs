//! Who has read, bound, befriended, erased and exported what, for the guardians.

use super::answer::{Id, Nullable, Shape, answer};
use super::request::{Limit, request};
use super::schema::{self, Components};
use super::{Asked, Call, Entry, Facts, Me, Subject, Who};
use crate::domain::error::DomainError;
use crate::model::{Action, Audited, Timestamp, ToyId, UserId};

/// Entries of one answer, if the client does not say how many.
const DEFAULT: u64 = 100;
/// Entries of one answer at most.
const MAX: u64 = 500;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "audit",
    about: "Who has read, bound, befriended, erased and exported what.",
    calls: &[Entry::of::<Audit>()],
};

request! {
    /// The record of the user or of an own toy, newest first: who has done what. What one person reads of a toy within an
    /// hour is one entry. Added.
    struct Audit {
        /// The user.
        me as "_id": Me<UserId>,
        /// The own toy; the user where none is given.
        toy as "toy_id": Option<ToyId>,
        /// How many entries: 100 where nothing is said, 500 at most.
        limit: Option<Limit<MAX>>,
        /// Only entries before this `at`.
        before: Option<Timestamp>,
    }
}

impl Call for Audit {
    const FACTS: Facts = Facts::new("audit", Who::Named, "done");
    type Answer = Vec<AuditEntry>;

    async fn handle(self, asked: &Asked) -> Result<Vec<AuditEntry>, DomainError> {
        let user = asked.acting(self.me).await?;
        let limit = self.limit.map_or(DEFAULT, |limit| limit.0);
        let before = self.before.unwrap_or(Timestamp::MAX);
        let found = asked.hub.audited(&user, self.toy.as_ref(), before, limit as usize).await?;
        Ok(found.into_iter().map(AuditEntry::from).collect())
    }
}

/// What was done.
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
        /// When, in seconds since 1970.
        at: Timestamp,
        /// What was done.
        action: Word,
        /// Who did it; null for whoever runs the hub.
        by: Nullable<Id>,
        /// With whom, where two are concerned; else null.
        about: Nullable<Id>,
        /// The address at which a toy was opened. Missing of all else.
        place: Option<String>,
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
        }
    }
}
