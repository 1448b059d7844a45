//! The content library, speech, and topics.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::super::reply::{Fault, Reply, bytes};
use super::{Api, Call};
use crate::domain::error::DomainError;
use crate::domain::hearing::{Heard, Words};
use crate::domain::{FileKind, NewContent, PartState};
use crate::edge::wire;
use crate::model::{Content, FileName};
use crate::ports::router::{RetainedTopic, Seen, SubscribedFilter};

impl Api {
    /// The library.
    pub(super) async fn content(&self) -> Result<Value, Fault> {
        let row = |Content { id, title, music, cover }: Content| json!({"id": id.as_str(), "title": title, "music": music.as_str(), "cover": cover.as_str()});
        let mut rows: Vec<_> = self.hub.content().await?.into_iter().map(row).collect();
        // The newest first.
        rows.reverse();
        Ok(json!({"rows": rows, "upload_max_bytes": self.config.console.upload_max_bytes}))
    }

    /// A sound or cover of the library.
    pub(super) async fn file(&self, call: &Call, kind: FileKind) -> Result<Reply, Fault> {
        let name: FileName = call.text("name")?.parse().map_err(|_| DomainError::UnknownFile)?;
        let file = self.hub.open_file(kind, &name, None, None, call.peer, wire::now()).await?;
        let pieces = self.hub.read_file(&file, 0..file.size).await?;
        let whole = pieces.try_fold(Vec::new(), |mut whole, piece| async move {
            whole.extend_from_slice(&piece);
            Ok(whole)
        });
        Ok(bytes(file.content_type, whole.await.map_err(DomainError::internal)?))
    }

    /// Adds a piece to the library. The body is the cover, of the size in the address, and after it the sound.
    pub(super) async fn add_content(&self, call: &Call, body: &Bytes) -> Result<Value, Fault> {
        let cover_bytes = call.number::<usize>("cover_bytes")?.unwrap_or(0);
        if cover_bytes > body.len() {
            return Err(DomainError::invalid("cover_bytes", "is more than the body has").into());
        }
        let (cover, sound) = (body.slice(..cover_bytes), body.slice(cover_bytes..));
        let new = NewContent { title: call.text("title")?, sound, cover, name: None };
        let content = self.hub.add_content(new, wire::now()).await?;
        tracing::info!(content = content.id.as_str(), "content added by the operator");
        Ok(json!({"id": content.id.as_str(), "title": content.title, "music": content.music.as_str()}))
    }

    /// The speech model and its languages.
    pub(super) fn speech(&self) -> Value {
        let settings = &self.config.speech;
        let languages = settings.known_languages();
        let model = self.hub.speech_model().map(|model| {
            json!({
                "name": model.name, "description": model.to_string(), "bytes": model.bytes,
                "is_official": model.official, "missing": model.missing(&languages),
            })
        });
        let reason = match self.hub.health().speech {
            PartState::Failed(reason) | PartState::Degraded(reason) => Some(reason),
            PartState::Ok | PartState::Off | PartState::Loading => None,
        };
        json!({
            "model": model, "reason": reason, "languages": languages, "command_max_s": settings.command_max_s,
            "recording_max_bytes": self.config.http.upload_max_bytes,
        })
    }

    /// Recognises a recording, as `toyhub hear` does.
    pub(super) async fn hear(&self, body: &Bytes) -> Result<Value, Fault> {
        let Heard { length, words } = self.hub.hear(body).await?;
        let length_s = length.as_secs_f64();
        Ok(match words {
            Ok(Words { text, confidence, language, intent, seconds }) => {
                let took = seconds.gate + seconds.language + seconds.first_pass + seconds.second_pass;
                json!({
                    "length_s": length_s, "text": text, "confidence": confidence, "language": language,
                    "intent": intent, "took_s": took.as_secs_f64(),
                })
            }
            Err(why) => json!({"length_s": length_s, "reason": why.to_string()}),
        })
    }

    /// Retained messages and subscriptions, and the last publications: their topics and sizes.
    pub(super) fn topics(&self, call: &Call) -> Value {
        let text = call.optional("search").unwrap_or_default();
        let topics = self.hub.topics(&text, self.config.console.rows_max);
        let retained = |RetainedTopic { topic, bytes, qos }: RetainedTopic| json!({"topic": topic.as_str(), "bytes": bytes, "qos": qos as u8});
        let filter = |SubscribedFilter { filter, subscribers }: SubscribedFilter| json!({"filter": filter, "subscribers": subscribers});
        let seen = |seen: Seen| {
            json!({
                "at": seen.at, "topic": seen.topic.as_str(), "bytes": seen.bytes, "qos": seen.qos as u8,
                "is_retained": seen.is_retained, "is_of_hub": seen.is_of_hub, "subscribers": seen.subscribers,
            })
        };
        let published = self.hub.seen_publications().into_iter().filter(|seen| seen.topic.as_str().contains(&text));
        json!({
            "retained_count": topics.retained_count,
            "retained": topics.retained.into_iter().map(retained).collect::<Vec<_>>(),
            "filters_count": topics.filters_count,
            "filters": topics.filters.into_iter().map(filter).collect::<Vec<_>>(),
            "published": published.map(seen).collect::<Vec<_>>(),
        })
    }
}
