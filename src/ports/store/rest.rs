//! When a toy is quiet, and which content it plays.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::{record, record_of};
use super::{Store, StoreError, stored};
use crate::model::{ContentId, DayMinute, QuietHours, Timestamp, ToyId};

/// A toy that has quiet hours.
#[derive(Debug)]
pub struct QuietToy {
    /// Which.
    pub toy: ToyId,
    /// Its hours.
    pub hours: QuietHours,
    /// Until when an emergency lifts them.
    pub awake_until: Timestamp,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct QuietRow {
    uid: String,
    quiet_from: i64,
    quiet_until: i64,
    time_zone: String,
    awake_until: Option<f64>,
}

impl QuietRow {
    fn into_toy(self) -> Result<QuietToy, StoreError> {
        let minute = |minute: i64| {
            let minute = u16::try_from(minute).ok().and_then(DayMinute::from_number);
            minute.ok_or_else(|| StoreError::Corrupt("a minute of no day".into()))
        };
        let hours =
            QuietHours { from: minute(self.quiet_from)?, until: minute(self.quiet_until)?, zone: self.time_zone };
        Ok(QuietToy { toy: stored(&self.uid)?, hours, awake_until: self.awake_until.unwrap_or(0.0) })
    }
}

impl Store {
    /// Sets the quiet hours of a toy, or ends them.
    pub async fn set_quiet_hours(&self, toy: &ToyId, hours: Option<&QuietHours>) -> Result<(), StoreError> {
        let variables = vars! {
            id: record("toy", toy.as_str()), from: hours.map(|hours| i64::from(hours.from.number())),
            until: hours.map(|hours| i64::from(hours.until.number())), zone: hours.map(|hours| hours.zone.clone()),
        };
        let sql = "UPDATE $id SET quiet_from = $from, quiet_until = $until, time_zone = $zone, awake_until = NONE
            RETURN NONE";
        self.run(sql, variables).await.map(drop)
    }

    /// Lifts the quiet hours of a toy until then.
    pub async fn keep_awake(&self, toy: &ToyId, until: Timestamp) -> Result<(), StoreError> {
        let id = record("toy", toy.as_str());
        self.run("UPDATE $id SET awake_until = $until RETURN NONE", vars! { id: id, until: until }).await.map(drop)
    }

    /// All toys that have quiet hours; it goes through all toys, once in the life of a process.
    pub async fn quiet_toys(&self) -> Result<Vec<QuietToy>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS uid, quiet_from, quiet_until, time_zone, awake_until FROM toy
                    WHERE time_zone != NONE",
                vars! {},
            )
            .await?;
        reply.rows::<QuietRow>(0)?.into_iter().map(QuietRow::into_toy).collect()
    }

    /// Sets whether a toy plays only approved content.
    pub async fn set_approved_only(&self, toy: &ToyId, is_on: bool) -> Result<(), StoreError> {
        let id = record("toy", toy.as_str());
        self.run("UPDATE $id SET approved_only = $on RETURN NONE", vars! { id: id, on: is_on }).await.map(drop)
    }

    /// Whether a toy plays only approved content.
    pub async fn is_approved_only(&self, toy: &ToyId) -> Result<bool, StoreError> {
        let id = record("toy", toy.as_str());
        let mut reply = self.run("SELECT VALUE approved_only FROM ONLY $id", vars! { id: id }).await?;
        Ok(reply.optional::<bool>(0)?.unwrap_or(false))
    }

    /// Approves a piece of content for a toy, or takes that back.
    pub async fn approve(&self, toy: &ToyId, content: &ContentId, is_approved: bool) -> Result<(), StoreError> {
        let id = record_of("approval", toy.as_str(), content.as_str().to_owned());
        let sql = if is_approved {
            "UPSERT $id SET toy = $toy, content = $content RETURN NONE"
        } else {
            "DELETE $id RETURN NONE"
        };
        self.run(sql, vars! { id: id, toy: toy.as_str(), content: content.as_str() }).await.map(drop)
    }

    /// What is approved for a toy.
    pub async fn approvals(&self, toy: &ToyId) -> Result<Vec<ContentId>, StoreError> {
        let mut reply =
            self.run("SELECT VALUE content FROM approval:[$toy, '']..[$toy, 'z']", vars! { toy: toy.as_str() }).await?;
        reply.rows::<String>(0)?.iter().map(|content| stored(content)).collect()
    }
}
