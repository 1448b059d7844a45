//! The voices of toys.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::{record, record_of};
use super::{Store, StoreError, stored};
use crate::model::{ToyId, ToyVoice};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct VoiceRow {
    uid: String,
    voice: Option<String>,
    voice_speed: Option<i64>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct UsedRow {
    name: Option<String>,
    speed: i64,
}

fn voice_of(name: Option<String>, speed: i64) -> Result<ToyVoice, StoreError> {
    let speed_percent = u16::try_from(speed).map_err(|_| StoreError::Corrupt("a voice has no speed".into()))?;
    Ok(ToyVoice { name, speed_percent })
}

impl Store {
    /// Sets the voice of a toy, and notes that it is used.
    pub async fn set_toy_voice(&self, toy: &ToyId, voice: &ToyVoice) -> Result<(), StoreError> {
        let speed = i64::from(voice.speed_percent);
        let used = record_of("used_voice", voice.name.as_deref().unwrap_or_default(), speed);
        self.run(
            "{
                UPSERT $used SET name = $name, speed = $speed;
                UPDATE $id SET voice = $name, voice_speed = $speed, ruled_at = time::unix(time::now());
                RETURN NONE;
            }",
            vars! { id: record("toy", toy.as_str()), used: used, name: voice.name.clone(), speed: speed },
        )
        .await
        .map(drop)
    }

    /// The toys with a voice of their own. It scans all toys, once in the life of a process.
    pub async fn toy_voices(&self) -> Result<Vec<(ToyId, ToyVoice)>, StoreError> {
        let sql = "SELECT record::id(id) AS uid, voice, voice_speed FROM toy WHERE voice_speed != NONE";
        let rows = self.run(sql, vars! {}).await?.rows::<VoiceRow>(0)?;
        rows.into_iter()
            .map(|row| Ok((stored(&row.uid)?, voice_of(row.voice, row.voice_speed.unwrap_or_default())?)))
            .collect()
    }

    /// The voice of a toy.
    pub async fn toy_voice(&self, toy: &ToyId) -> Result<ToyVoice, StoreError> {
        let sql = "SELECT record::id(id) AS uid, voice, voice_speed FROM ONLY $id";
        let row = self.run(sql, vars! { id: record("toy", toy.as_str()) }).await?.optional::<VoiceRow>(0)?;
        match row {
            Some(VoiceRow { voice, voice_speed: Some(speed), .. }) => voice_of(voice, speed),
            _ => Ok(ToyVoice::default()),
        }
    }

    /// All voices that toys have or had.
    pub async fn used_voices(&self) -> Result<Vec<ToyVoice>, StoreError> {
        let rows = self.run("SELECT name, speed FROM used_voice", vars! {}).await?.rows::<UsedRow>(0)?;
        rows.into_iter().map(|row| voice_of(row.name, row.speed)).collect()
    }
}
