//! Consents: the texts, and which guardian's toy has which.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError};
use crate::model::{Timestamp, ToyId};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ConsentRow {
    consent: Option<String>,
    created_at: f64,
}

impl Store {
    /// Stores a text that a guardian agrees to.
    pub async fn keep_consent_text(&self, version: &str, text: &str) -> Result<(), StoreError> {
        self.run(
            "UPSERT type::record('consent', $version) SET words = $words RETURN NONE",
            vars! { version: version, words: text },
        )
        .await
        .map(drop)
    }

    /// The version, text and time of the consent for a toy.
    pub async fn consent(&self, toy: &ToyId) -> Result<Option<(String, String, Timestamp)>, StoreError> {
        let mut reply = self
            .run("SELECT consent, created_at FROM ONLY type::record('toy', $toy)", vars! { toy: toy.as_str() })
            .await?;
        let Some(ConsentRow { consent: Some(version), created_at }) = reply.optional::<ConsentRow>(0)? else {
            return Ok(None);
        };
        let mut reply = self
            .run("SELECT VALUE words FROM ONLY type::record('consent', $version)", vars! { version: version.as_str() })
            .await?;
        let text = reply.optional::<String>(0)?.unwrap_or_default();
        Ok(Some((version, text, created_at)))
    }
}
