//! The retained messages of clients, for hubs that share a server: each hub writes those of its own clients when they have
//! changed, and reads those of a toy or chat before a client subscribes to them.
//!
//! Of two writers, the one with the later version stays, in whatever order they write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use surrealdb::types::{SurrealValue, vars};

use super::transaction::{keys_of, record_of};
use super::{Store, StoreError};
use crate::model::{Timestamp, Topic};

/// Rows of one page.
const PAGE: i64 = 500;
/// When a message without an end expires.
const NEVER: Timestamp = 1e15;

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct RetainedRow {
    topic: String,
    payload: String,
    properties: String,
    qos: i64,
    version: f64,
    expires_at: f64,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq)]
pub struct RetainedMessage {
    /// Its topic, of two levels or more.
    pub topic: Topic,
    /// Its payload.
    pub payload: Bytes,
    /// The properties of MQTT 5.
    pub properties: Bytes,
    /// The publisher's quality of service: 0, 1 or 2.
    pub qos: u8,
    /// When it was published, as a time for ages: a later one replaces it.
    pub version: Timestamp,
    /// When it expires, as a time for ages.
    pub expires_at: Option<Timestamp>,
}

impl RetainedMessage {
    /// None for a row that no hub has written.
    fn of(row: RetainedRow) -> Option<Self> {
        let RetainedRow { topic, payload, properties, qos, version, expires_at } = row;
        let bytes = |text: String| STANDARD_NO_PAD.decode(text).ok().map(Bytes::from);
        Some(Self {
            topic: topic.parse().ok()?,
            payload: bytes(payload)?,
            properties: bytes(properties)?,
            qos: u8::try_from(qos).ok()?,
            version,
            expires_at: (expires_at < NEVER).then_some(expires_at),
        })
    }
}

/// A retained message, or the deletion of that of a topic, with its version.
#[derive(Debug, Clone, PartialEq)]
pub enum RetainedChange {
    /// It replaces an earlier one.
    Set(RetainedMessage),
    /// There is none any more.
    Deleted(Topic, Timestamp),
}

impl Store {
    /// The retained messages whose topics begin with the two levels of `group`, such as `toy/<id>`.
    pub async fn retained(&self, group: &str) -> Result<Vec<RetainedMessage>, StoreError> {
        let sql = "SELECT * FROM type::record('retained', $keys)";
        let mut found = self.run(sql, vars! { keys: keys_of(group) }).await?;
        Ok(found.rows::<RetainedRow>(0)?.into_iter().filter_map(RetainedMessage::of).collect())
    }

    /// Writes changes, unless the topic has a later one.
    pub async fn write_retained(&self, changes: &[RetainedChange]) -> Result<(), StoreError> {
        self.transact(|tx| async move {
            for change in changes {
                let (topic, version) = match change {
                    RetainedChange::Set(message) => (&message.topic, message.version),
                    RetainedChange::Deleted(topic, version) => (topic, *version),
                };
                let id = record_of("retained", group_of(topic.as_str()), topic.as_str().to_owned());
                let known = tx.one::<f64>("SELECT VALUE version FROM ONLY $id", vars! { id: id.clone() }).await?;
                match change {
                    RetainedChange::Deleted(..) if known.is_some_and(|known| known <= version) => {
                        tx.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
                    }
                    RetainedChange::Set(message) if known.is_none_or(|known| known < version) => {
                        let row = RetainedRow {
                            topic: topic.to_string(),
                            payload: STANDARD_NO_PAD.encode(&message.payload),
                            properties: STANDARD_NO_PAD.encode(&message.properties),
                            qos: i64::from(message.qos),
                            version,
                            expires_at: message.expires_at.unwrap_or(NEVER),
                        };
                        tx.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: row }).await?;
                    }
                    RetainedChange::Deleted(..) | RetainedChange::Set(_) => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Deletes the retained messages of a group, such as `toy/<id>`, or those whose topics begin with `topics`, which ends
    /// with '/', such as `toy/<id>/cmd/`.
    pub async fn delete_retained(&self, topics: &str) -> Result<(), StoreError> {
        let sql = "DELETE retained:[$group, '']..[$group, 'z'] WHERE string::starts_with(topic, $topics) RETURN NONE";
        self.run(sql, vars! { group: group_of(topics), topics: topics }).await.map(drop)
    }

    /// Deletes the retained messages that `is_wanted` selects. It reads all of them.
    pub async fn delete_retained_that(&self, is_wanted: impl Fn(&RetainedMessage) -> bool) -> Result<(), StoreError> {
        let mut last = (String::new(), String::new());
        loop {
            let (group, topic) = &last;
            let sql = "SELECT * FROM retained:[$group, $topic].. LIMIT $limit";
            let variables = vars! { group: group.as_str(), topic: topic.as_str(), limit: PAGE };
            let rows = self.run(sql, variables).await?.rows::<RetainedRow>(0)?;
            let (is_last, next) = (rows.len() < PAGE as usize, rows.last().map(|row| row.topic.clone()));
            for message in rows.into_iter().filter_map(RetainedMessage::of).filter(|message| is_wanted(message)) {
                let topic = message.topic.as_str();
                let id = record_of("retained", group_of(topic), topic.to_owned());
                self.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
            }
            match next {
                // The first row of the next page is this one again, or the one after it.
                Some(next) if !is_last => last = (group_of(&next).to_owned(), next),
                _ => return Ok(()),
            }
        }
    }

    /// Deletes the retained messages that have expired.
    pub async fn delete_expired_retained(&self, now: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE retained WHERE expires_at <= $now RETURN NONE", vars! { now: now }).await.map(drop)
    }
}

/// The first two levels of a topic, or all of it if it has fewer.
fn group_of(topic: &str) -> &str {
    topic.match_indices('/').nth(1).map_or(topic, |(end, _)| &topic[..end])
}
