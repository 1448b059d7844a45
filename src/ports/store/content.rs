//! The content library.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored};
use crate::model::{Content, FileName, Timestamp};

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ContentRow {
    uid: String,
    title: String,
    music: String,
    cover: String,
}

impl Store {
    /// Adds a piece of content.
    pub async fn add_content(&self, content: &Content, now: Timestamp) -> Result<(), StoreError> {
        self.run(
            "CREATE type::record('content', $id) SET title = $title, music = $music, cover = $cover, created_at = $now",
            vars! {
                id: content.id.as_str(), title: content.title.as_str(), music: content.music.as_str(),
                cover: content.cover.as_str(), now: now,
            },
        )
        .await?;
        Ok(())
    }

    /// Whether the library has a piece with this file.
    pub async fn is_music(&self, music: &FileName) -> Result<bool, StoreError> {
        let mut reply = self
            .run("SELECT VALUE music FROM content WHERE music = $music LIMIT 1", vars! { music: music.as_str() })
            .await?;
        Ok(!reply.rows::<String>(0)?.is_empty())
    }

    /// Whether the library has a piece with this id.
    pub async fn is_content(&self, id: &str) -> Result<bool, StoreError> {
        let mut reply = self.run("SELECT VALUE cover FROM ONLY type::record('content', $id)", vars! { id: id }).await?;
        Ok(reply.optional::<String>(0)?.is_some())
    }

    /// How long music of the library plays, in seconds; none where that is not known.
    pub async fn music_seconds(&self, music: &FileName) -> Result<Option<f64>, StoreError> {
        let mut reply = self
            .run("SELECT VALUE seconds FROM content WHERE music = $music LIMIT 1", vars! { music: music.as_str() })
            .await?;
        Ok(reply.rows::<Option<f64>>(0)?.into_iter().next().flatten())
    }

    /// Notes how long music of the library plays.
    pub async fn set_music_seconds(&self, music: &FileName, seconds: f64) -> Result<(), StoreError> {
        self.run(
            "UPDATE content SET seconds = $seconds WHERE music = $music RETURN NONE",
            vars! { music: music.as_str(), seconds: seconds },
        )
        .await
        .map(drop)
    }

    /// The library, oldest first, at most `limit`.
    pub async fn content(&self, limit: usize) -> Result<Vec<Content>, StoreError> {
        let mut reply = self
            .run(
                "SELECT *, record::id(id) AS uid FROM content ORDER BY created_at LIMIT $limit",
                vars! { limit: limit as i64 },
            )
            .await?;
        let rows = reply.rows::<ContentRow>(0)?;
        rows.into_iter()
            .map(|row| {
                Ok(Content {
                    id: stored(&row.uid)?,
                    title: row.title,
                    music: stored(&row.music)?,
                    cover: stored(&row.cover)?,
                })
            })
            .collect()
    }
}
