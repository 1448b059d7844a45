//! The short-term memory for toys, of hubs that share a server: the open question to a child and the last piece of music. So
//! the answer of a child is one at any hub. A row is deleted by the statement that takes the question, or when its time is
//! over.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::record;
use super::{Store, StoreError, stored};
use crate::model::{ChildWords, FileName, Question, ReminderKind, Timestamp, ToyId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct AskedRow {
    question: String,
    /// What it is about: ids, or the words of a reminder.
    about: Vec<String>,
    until: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct LastPlayedRow {
    music: String,
    until: f64,
}

impl AskedRow {
    fn of(question: &Question, until: Timestamp) -> Self {
        let (question, about) = match question {
            Question::Title(titles) => ("title", titles.iter().map(ToString::to_string).collect()),
            Question::Friend(friends) => ("friend", friends.iter().map(ToString::to_string).collect()),
            Question::IsItFor(friend) => ("is_it_for", vec![friend.to_string()]),
            Question::When(kind, words) => ("when", vec![kind.as_str().to_owned(), words.0.clone()]),
            Question::PlayMessages => ("play_messages", Vec::new()),
            Question::WhoFor => ("who_for", Vec::new()),
        };
        Self { question: question.to_owned(), about, until }
    }

    fn into_question(self) -> Result<Question, StoreError> {
        let about: Vec<&str> = self.about.iter().map(String::as_str).collect();
        Ok(match (self.question.as_str(), about.as_slice()) {
            ("title", [a, b]) => Question::Title([stored(a)?, stored(b)?]),
            ("friend", [a, b]) => Question::Friend([stored(a)?, stored(b)?]),
            ("is_it_for", [friend]) => Question::IsItFor(stored(friend)?),
            ("when", [kind, words]) => {
                let kind = ReminderKind::of_word(kind);
                let kind = kind.ok_or_else(|| StoreError::Corrupt("an unknown kind of reminder".into()))?;
                Question::When(kind, ChildWords((*words).to_owned()))
            }
            ("play_messages", []) => Question::PlayMessages,
            ("who_for", []) => Question::WhoFor,
            _ => return Err(StoreError::Corrupt("an unknown question to a child".into())),
        })
    }
}

impl Store {
    /// Stores the open question to the child of a toy, instead of one before it.
    pub async fn set_question(&self, toy: &ToyId, question: &Question, until: Timestamp) -> Result<(), StoreError> {
        let variables = vars! { id: record("asked", toy.as_str()), row: AskedRow::of(question, until) };
        self.run("UPSERT $id CONTENT $row RETURN NONE", variables).await.map(drop)
    }

    /// Whether a question to the child of a toy is open.
    pub async fn has_question(&self, toy: &ToyId, now: Timestamp) -> Result<bool, StoreError> {
        let mut found = self.run("SELECT * FROM ONLY $id", vars! { id: record("asked", toy.as_str()) }).await?;
        Ok(found.optional::<AskedRow>(0)?.is_some_and(|row| row.until >= now))
    }

    /// Takes the open question to the child of a toy. Of several callers, one gets it.
    pub async fn take_question(&self, toy: &ToyId, now: Timestamp) -> Result<Option<Question>, StoreError> {
        let mut taken = self.run("DELETE ONLY $id RETURN BEFORE", vars! { id: record("asked", toy.as_str()) }).await?;
        let open = taken.optional::<AskedRow>(0)?.filter(|row| row.until >= now);
        open.map(AskedRow::into_question).transpose()
    }

    /// Stores which piece of music a toy has played last.
    pub async fn set_last_played(&self, toy: &ToyId, music: &FileName, until: Timestamp) -> Result<(), StoreError> {
        let row = LastPlayedRow { music: music.to_string(), until };
        let variables = vars! { id: record("last_played", toy.as_str()), row: row };
        self.run("UPSERT $id CONTENT $row RETURN NONE", variables).await.map(drop)
    }

    /// The piece of music that a toy has played last; none if that is long ago.
    pub async fn last_played(&self, toy: &ToyId, now: Timestamp) -> Result<Option<FileName>, StoreError> {
        let mut found = self.run("SELECT * FROM ONLY $id", vars! { id: record("last_played", toy.as_str()) }).await?;
        let row = found.optional::<LastPlayedRow>(0)?.filter(|row| row.until >= now);
        row.map(|row| stored(&row.music)).transpose()
    }

    /// Deletes the rows whose time is over.
    pub async fn delete_asked_before(&self, now: Timestamp) -> Result<(), StoreError> {
        let sql = "DELETE asked WHERE until <= $now RETURN NONE; DELETE last_played WHERE until <= $now RETURN NONE";
        self.run(sql, vars! { now: now }).await.map(drop)
    }
}
