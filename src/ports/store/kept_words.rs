//! The words of children to their toys, which are kept for the guardians of some toys.
//!
//! The key of an entry is its toy and its time: `kept_words:[toy, at, random]`.

use surrealdb::types::{SurrealValue, vars};

use super::transaction::record;
use super::{Store, StoreError, stored};
use crate::model::{KeptWords, Reaction, Timestamp, ToyId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct WordsRow {
    at: f64,
    words: String,
    reaction: String,
    about: Option<String>,
}

impl WordsRow {
    fn into_words(self) -> Result<KeptWords, StoreError> {
        let unknown = || StoreError::Corrupt("an unknown reaction to words".into());
        let reaction = Reaction::of_word(&self.reaction).ok_or_else(unknown)?;
        Ok(KeptWords { at: self.at, words: self.words, reaction, about: self.about })
    }
}

impl Store {
    /// Turns on that the words to a toy are kept. Returns false if it was on.
    pub async fn start_keeping_words(&self, toy: &ToyId) -> Result<bool, StoreError> {
        let sql = "UPDATE $id SET keep_words = true WHERE keep_words != true RETURN VALUE keep_words";
        let mut reply = self.run(sql, vars! { id: record("toy", toy.as_str()) }).await?;
        Ok(!reply.rows::<bool>(0)?.is_empty())
    }

    /// Turns off that the words to a toy are kept, and deletes those that were kept. The old versions of their rows are
    /// recorded for an erasure. Returns false if it was off.
    pub async fn stop_keeping_words(&self, toy: &ToyId, now: Timestamp) -> Result<bool, StoreError> {
        let id = record("toy", toy.as_str());
        let sql = "{
                LET $kept = (UPDATE $id SET keep_words = NONE WHERE keep_words = true RETURN VALUE true);
                CREATE type::record('erasure', rand::ulid()) SET kind = 'trace', subject = '', parties = [], up_to = 0,
                    only_of = NONE, device = NONE, sounds = [], created_at = $now;
                RETURN $kept;
            }";
        let was_on = !self.run(sql, vars! { id: id, now: now }).await?.rows::<bool>(0)?.is_empty();
        self.erase_kept_words(toy).await?;
        Ok(was_on)
    }

    /// The toys whose words are kept. It reads all toys.
    pub async fn toys_that_keep_words(&self) -> Result<Vec<ToyId>, StoreError> {
        let sql = "SELECT VALUE record::id(id) FROM toy WHERE keep_words = true";
        let toys = self.run(sql, vars! {}).await?.rows::<String>(0)?;
        toys.iter().map(|toy| stored(toy)).collect()
    }

    /// Whether the words to a toy are kept.
    pub async fn keeps_words(&self, toy: &ToyId) -> Result<bool, StoreError> {
        let id = record("toy", toy.as_str());
        let mut reply = self.run("SELECT VALUE keep_words FROM ONLY $id", vars! { id: id }).await?;
        Ok(reply.optional::<bool>(0)?.unwrap_or(false))
    }

    /// Adds words to a toy, if those to it are kept. The toy's row is written, so that words that come while it is turned
    /// off or the toy is erased are not kept behind that.
    pub async fn keep_words(&self, toy: &ToyId, kept: &KeptWords) -> Result<(), StoreError> {
        let row = WordsRow {
            at: kept.at,
            words: kept.words.clone(),
            reaction: kept.reaction.as_str().to_owned(),
            about: kept.about.clone(),
        };
        self.run(
            "{
                LET $keeping = (UPDATE $id SET keep_words = true WHERE keep_words = true RETURN VALUE keep_words);
                IF array::len($keeping) = 1 {
                    CREATE type::record('kept_words', [$toy, $row.at, rand::ulid()]) CONTENT $row RETURN NONE;
                };
                RETURN NONE;
            }",
            vars! { id: record("toy", toy.as_str()), toy: toy.as_str(), row: row },
        )
        .await
        .map(drop)
    }

    /// The last words to a toy between two times, newest first, at most `limit`.
    pub async fn kept_words(
        &self,
        toy: &ToyId,
        (since, before): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<KeptWords>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM kept_words:[$toy, $since]..[$toy, $before] ORDER BY at DESC LIMIT $limit",
                vars! { toy: toy.as_str(), since: since, before: before, limit: limit as i64 },
            )
            .await?;
        reply.rows::<WordsRow>(0)?.into_iter().map(WordsRow::into_words).collect()
    }

    /// Deletes the words to a toy.
    pub async fn erase_kept_words(&self, toy: &ToyId) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(DELETE (
                SELECT VALUE id FROM kept_words:[$toy, $first]..[$toy, $last] LIMIT $rows
            ) RETURN BEFORE)",
            vars! { toy: toy.as_str(), first: 0.0, last: Timestamp::MAX },
        )
        .await
    }

    /// Deletes the words before a time. It scans all of them.
    pub async fn delete_kept_words_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(DELETE (SELECT VALUE id FROM kept_words WHERE at < $before LIMIT $rows) RETURN BEFORE)",
            vars! { before: before },
        )
        .await
    }
}
