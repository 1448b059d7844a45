//! The audit log of toys and users, which their guardians read.
//!
//! The key of an entry is its subject and its time: `audit:[subject, at, random]`.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored};
use crate::model::{Action, Audited, PartyId, Setting, Timestamp};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct AuditRow {
    subject: String,
    at: f64,
    action: String,
    actor: Option<String>,
    about: Option<String>,
    place: Option<String>,
    setting: Option<String>,
}

impl AuditRow {
    fn into_audited(self) -> Result<Audited, StoreError> {
        let action = Action::of_word(&self.action).ok_or_else(|| StoreError::Corrupt("unknown action".into()))?;
        let setting = self.setting.as_deref().map(|word| {
            Setting::of_word(word).ok_or_else(|| StoreError::Corrupt("unknown setting in the audit log".into()))
        });
        Ok(Audited {
            subject: stored(&self.subject)?,
            at: self.at,
            action,
            actor: self.actor.as_deref().map(stored).transpose()?,
            about: self.about.as_deref().map(stored).transpose()?,
            place: self.place,
            setting: setting.transpose()?,
        })
    }
}

impl Store {
    /// Adds an entry.
    pub async fn audit(&self, entry: &Audited) -> Result<(), StoreError> {
        let row = AuditRow {
            subject: entry.subject.to_string(),
            at: entry.at,
            action: entry.action.as_str().to_owned(),
            actor: entry.actor.as_ref().map(ToString::to_string),
            about: entry.about.as_ref().map(ToString::to_string),
            place: entry.place.clone(),
            setting: entry.setting.map(|setting| setting.as_str().to_owned()),
        };
        self.run(
            "CREATE type::record('audit', [$subject, $at, rand::ulid()]) CONTENT $row RETURN NONE",
            vars! { subject: entry.subject.as_str(), at: entry.at, row: row },
        )
        .await
        .map(drop)
    }

    /// The last entries of a subject before a time, newest first, at most `limit`.
    pub async fn audited(
        &self,
        subject: &PartyId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Audited>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM audit:[$subject, 0.0]..[$subject, $before] ORDER BY at DESC LIMIT $limit",
                vars! { subject: subject.as_str(), before: before, limit: limit as i64 },
            )
            .await?;
        reply.rows::<AuditRow>(0)?.into_iter().map(AuditRow::into_audited).collect()
    }

    /// Deletes the entries of a party and those that name it. It scans all entries.
    pub async fn erase_audit(&self, party: &PartyId) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(DELETE (
                SELECT VALUE id FROM audit WHERE subject = $party OR actor = $party OR about = $party LIMIT $rows
            ) RETURN BEFORE)",
            vars! { party: party.as_str() },
        )
        .await
    }

    /// Deletes the entries before a time. It scans all entries.
    pub async fn delete_audit_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(DELETE (SELECT VALUE id FROM audit WHERE at < $before LIMIT $rows) RETURN BEFORE)",
            vars! { before: before },
        )
        .await
    }
}
