//! Consents: the texts, and which guardian's toy has which.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError};
use crate::model::{Consent, ConsentText, Timestamp, ToyId};

/// The language of texts from before schema 15.
const FIRST_LANGUAGE: &str = "en";

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ConsentRow {
    consent: Option<String>,
    created_at: Timestamp,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct TextRow {
    words: String,
    language: Option<String>,
}

impl Store {
    /// Stores a text that a guardian agrees to.
    pub async fn keep_consent_text(&self, text: &ConsentText) -> Result<(), StoreError> {
        let ConsentText { version, language, text } = text.clone();
        self.run(
            "UPSERT type::record('consent', $version) SET words = $words, language = $language RETURN NONE",
            vars! { version: version, words: text, language: language },
        )
        .await
        .map(drop)
    }

    /// The consent for a toy.
    pub async fn consent(&self, toy: &ToyId) -> Result<Option<Consent>, StoreError> {
        let mut reply = self
            .run("SELECT consent, created_at FROM ONLY type::record('toy', $toy)", vars! { toy: toy.as_str() })
            .await?;
        let Some(ConsentRow { consent: Some(version), created_at }) = reply.optional::<ConsentRow>(0)? else {
            return Ok(None);
        };
        let mut reply = self
            .run(
                "SELECT words, language FROM ONLY type::record('consent', $version)",
                vars! { version: version.as_str() },
            )
            .await?;
        let found = reply.optional::<TextRow>(0)?;
        let (text, language) = found.map(|row| (row.words, row.language)).unwrap_or_default();
        let language = language.unwrap_or_else(|| FIRST_LANGUAGE.to_owned());
        Ok(Some(Consent { text: ConsentText { version, language, text }, at: created_at }))
    }
}
