//! Quiet hours, daily minutes and permitted content of toys.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::{keys_of, record, record_of};
use super::{Store, StoreError, stored};
use crate::model::{ContentId, DailyMinutes, DayMinute, Played, QuietHours, Timestamp, ToyId};

/// A toy with quiet hours or daily minutes.
#[derive(Debug)]
pub struct RestingToy {
    /// Its id.
    pub toy: ToyId,
    /// Its quiet hours.
    pub quiet: Option<QuietHours>,
    /// Its daily minutes, and the time that it has played.
    pub minutes: Option<(DailyMinutes, Played)>,
    /// The time until which an urgent message suspends both.
    pub awake_until: Timestamp,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct RestRow {
    uid: String,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
    time_zone: Option<String>,
    minutes_max: Option<i64>,
    minutes_zone: Option<String>,
    played_day: Option<i64>,
    played_s: Option<f64>,
    awake_until: Option<f64>,
}

impl RestRow {
    fn into_toy(self) -> Result<RestingToy, StoreError> {
        let corrupt = || StoreError::Corrupt("a minute of no day".into());
        let minute = |minute: i64| u16::try_from(minute).ok().and_then(DayMinute::from_number).ok_or_else(corrupt);
        let quiet = match (self.quiet_from, self.quiet_until, self.time_zone) {
            (Some(from), Some(until), Some(zone)) => {
                Some(QuietHours { from: minute(from)?, until: minute(until)?, zone })
            }
            _ => None,
        };
        let played = Played { day: self.played_day.unwrap_or(0), seconds: self.played_s.unwrap_or(0.0) };
        let minutes = match (self.minutes_max, self.minutes_zone) {
            (Some(minutes), Some(zone)) => {
                let minutes = u16::try_from(minutes).map_err(|_| corrupt())?;
                Some((DailyMinutes { minutes, zone }, played))
            }
            _ => None,
        };
        Ok(RestingToy { toy: stored(&self.uid)?, quiet, minutes, awake_until: self.awake_until.unwrap_or(0.0) })
    }
}

impl Store {
    /// Sets or removes the quiet hours of a toy.
    pub async fn set_quiet_hours(&self, toy: &ToyId, hours: Option<&QuietHours>) -> Result<(), StoreError> {
        let variables = vars! {
            id: record("toy", toy.as_str()), from: hours.map(|hours| i64::from(hours.from.number())),
            until: hours.map(|hours| i64::from(hours.until.number())), zone: hours.map(|hours| hours.zone.clone()),
        };
        let sql = "UPDATE $id SET quiet_from = $from, quiet_until = $until, time_zone = $zone, awake_until = NONE,
            ruled_at = time::unix(time::now()) RETURN NONE";
        self.run(sql, variables).await.map(drop)
    }

    /// Sets or removes the daily minutes of a toy.
    pub async fn set_daily_minutes(&self, toy: &ToyId, daily: Option<&DailyMinutes>) -> Result<(), StoreError> {
        let variables = vars! {
            id: record("toy", toy.as_str()), minutes: daily.map(|daily| i64::from(daily.minutes)),
            zone: daily.map(|daily| daily.zone.clone()),
        };
        let sql = "UPDATE $id SET minutes_max = $minutes, minutes_zone = $zone, awake_until = NONE,
            ruled_at = time::unix(time::now()) RETURN NONE";
        self.run(sql, variables).await.map(drop)
    }

    /// Stores the time that a toy has played on a day.
    pub async fn set_played(&self, toy: &ToyId, played: Played) -> Result<(), StoreError> {
        let id = record("toy", toy.as_str());
        self.run(
            "UPDATE $id SET played_day = $day, played_s = $seconds RETURN NONE",
            vars! { id: id, day: played.day, seconds: played.seconds },
        )
        .await
        .map(drop)
    }

    /// Suspends the rest of a toy until a time.
    pub async fn keep_awake(&self, toy: &ToyId, until: Timestamp) -> Result<(), StoreError> {
        let id = record("toy", toy.as_str());
        let sql = "UPDATE $id SET awake_until = $until, ruled_at = time::unix(time::now()) RETURN NONE";
        self.run(sql, vars! { id: id, until: until }).await.map(drop)
    }

    /// All toys with quiet hours or daily minutes. It scans all toys, once in the life of a process.
    pub async fn resting_toys(&self) -> Result<Vec<RestingToy>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS uid, quiet_from, quiet_until, time_zone, minutes_max, minutes_zone, played_day,
                    played_s, awake_until FROM toy WHERE time_zone != NONE OR minutes_max != NONE",
                vars! {},
            )
            .await?;
        reply.rows::<RestRow>(0)?.into_iter().map(RestRow::into_toy).collect()
    }

    /// The toys whose rules, voice or reminders were changed in the last seconds, by the clock of the database.
    pub async fn toys_changed_within(&self, seconds: u64) -> Result<Vec<ToyId>, StoreError> {
        let sql = "{
            LET $since = time::unix(time::now()) - $seconds;
            RETURN (SELECT VALUE record::id(id) FROM toy WHERE ruled_at > $since);
        }";
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut reply = self.run(sql, vars! { seconds: seconds }).await?;
        reply.rows::<String>(0)?.iter().map(|toy| stored(toy)).collect()
    }

    /// The quiet hours and daily minutes of a toy; none if it was erased.
    pub async fn rules_of(&self, toy: &ToyId) -> Result<Option<RestingToy>, StoreError> {
        let sql =
            "SELECT record::id(id) AS uid, quiet_from, quiet_until, time_zone, minutes_max, minutes_zone, played_day,
            played_s, awake_until FROM ONLY $id";
        let mut reply = self.run(sql, vars! { id: record("toy", toy.as_str()) }).await?;
        reply.optional::<RestRow>(0)?.map(RestRow::into_toy).transpose()
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

    /// Approves a piece of content for a toy, or revokes the approval.
    pub async fn approve(&self, toy: &ToyId, content: &ContentId, is_approved: bool) -> Result<(), StoreError> {
        let id = record_of("approval", toy.as_str(), content.as_str().to_owned());
        let sql = if is_approved {
            "UPSERT $id SET toy = $toy, content = $content RETURN NONE"
        } else {
            "DELETE $id RETURN NONE"
        };
        self.run(sql, vars! { id: id, toy: toy.as_str(), content: content.as_str() }).await.map(drop)
    }

    /// The approved content of a toy.
    pub async fn approvals(&self, toy: &ToyId) -> Result<Vec<ContentId>, StoreError> {
        let mut reply = self
            .run("SELECT VALUE content FROM type::record('approval', $keys)", vars! { keys: keys_of(toy.as_str()) })
            .await?;
        reply.rows::<String>(0)?.iter().map(|content| stored(content)).collect()
    }
}
