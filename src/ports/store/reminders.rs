//! Reminders of toys. The key of one is its toy, its time and its id: `reminder:[toy, due, uid]`.

use surrealdb::types::{Array, RecordId, SurrealValue, vars};

use super::transaction::record;
use super::{Store, StoreError, stored};
use crate::model::{ChildWords, Reminder, ReminderId, ReminderKind, Timestamp, ToyId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ReminderRow {
    toy: String,
    uid: String,
    kind: String,
    due: f64,
    words: String,
    language: String,
}

impl ReminderRow {
    fn of(toy: &ToyId, reminder: &Reminder) -> Self {
        Self {
            toy: toy.to_string(),
            uid: reminder.id.to_string(),
            kind: reminder.kind.as_str().to_owned(),
            due: reminder.due,
            words: reminder.words.0.clone(),
            language: reminder.language.clone(),
        }
    }

    fn into_reminder(self) -> Result<(ToyId, Reminder), StoreError> {
        let kind = ReminderKind::of_word(&self.kind);
        let reminder = Reminder {
            id: stored(&self.uid)?,
            kind: kind.ok_or_else(|| StoreError::Corrupt("an unknown kind of reminder".into()))?,
            due: self.due,
            words: ChildWords(self.words),
            language: self.language,
        };
        Ok((stored(&self.toy)?, reminder))
    }
}

fn key(toy: &ToyId, due: Timestamp, id: &ReminderId) -> RecordId {
    let key = vec![toy.to_string().into_value(), due.into_value(), id.to_string().into_value()];
    RecordId::new("reminder", Array::from(key))
}

impl Store {
    /// Adds a reminder to a toy. Returns false if the toy has `max` of them, or is erased.
    ///
    /// The toy's row is written, so that two are not added at once, and none behind an erasure of the toy.
    pub async fn add_reminder(
        &self,
        toy: &ToyId,
        reminder: &Reminder,
        max: usize,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let variables = vars! {
            id: record("toy", toy.as_str()), toy: toy.as_str(), first: 0.0, last: Timestamp::MAX, max: max as i64,
            now: now, key: key(toy, reminder.due, &reminder.id), row: ReminderRow::of(toy, reminder),
        };
        let sql = "{
            LET $found = (UPDATE $id SET reminded_at = $now, ruled_at = time::unix(time::now()) RETURN VALUE id);
            LET $kept = array::len((SELECT VALUE uid FROM reminder:[$toy, $first]..[$toy, $last] LIMIT $max));
            IF array::len($found) = 1 AND $kept < $max {
                CREATE $key CONTENT $row RETURN NONE;
                RETURN true;
            };
            RETURN false;
        }";
        Ok(self.run(sql, variables).await?.optional::<bool>(0)?.unwrap_or(false))
    }

    /// The reminders of a toy, the next one first.
    pub async fn reminders(&self, toy: &ToyId) -> Result<Vec<Reminder>, StoreError> {
        let sql = "SELECT * FROM reminder:[$toy, $first]..[$toy, $last] ORDER BY due";
        let variables = vars! { toy: toy.as_str(), first: 0.0, last: Timestamp::MAX };
        let rows = self.run(sql, variables).await?.rows::<ReminderRow>(0)?;
        rows.into_iter().map(|row| row.into_reminder().map(|(_, reminder)| reminder)).collect()
    }

    /// One reminder of a toy; none if it was deleted.
    pub async fn reminder(&self, toy: &ToyId, due: Timestamp, id: &ReminderId) -> Result<Option<Reminder>, StoreError> {
        let mut reply = self.run("SELECT * FROM ONLY $key", vars! { key: key(toy, due, id) }).await?;
        let row = reply.optional::<ReminderRow>(0)?;
        row.map(|row| row.into_reminder().map(|(_, reminder)| reminder)).transpose()
    }

    /// The toys with reminders, and the times of these. It is for the start of the hub: it reads all of them.
    pub async fn all_reminders(&self) -> Result<Vec<(ToyId, Timestamp, ReminderId)>, StoreError> {
        let rows = self.run("SELECT * FROM reminder", vars! {}).await?.rows::<ReminderRow>(0)?;
        let read = rows.into_iter().map(|row| {
            let (toy, reminder) = row.into_reminder()?;
            Ok((toy, reminder.due, reminder.id))
        });
        read.collect()
    }

    /// Deletes a reminder.
    pub async fn delete_reminder(&self, toy: &ToyId, due: Timestamp, id: &ReminderId) -> Result<(), StoreError> {
        self.run("DELETE $key RETURN NONE", vars! { key: key(toy, due, id) }).await.map(drop)
    }

    /// Deletes the reminders of a toy.
    pub async fn erase_reminders(&self, toy: &ToyId) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(DELETE (
                SELECT VALUE id FROM reminder:[$toy, $first]..[$toy, $last] LIMIT $rows
            ) RETURN BEFORE)",
            vars! { toy: toy.as_str(), first: 0.0, last: Timestamp::MAX },
        )
        .await
    }
}
