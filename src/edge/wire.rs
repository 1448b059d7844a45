//! What edges write beside the answers of calls, and the clock of the edges.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::schema::{With, map};
use crate::domain::{Health, PartState};
use crate::model::{MessageId, Party, Timestamp};

/// The current time, read here so that the rooms below need no clock.
pub fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// When it will be that time, on the clock that waits; at most in a year, since nobody keeps a connection for longer.
pub fn instant_of(time: Timestamp) -> Instant {
    const LATEST: Duration = Duration::from_secs(366 * 86_400);
    let left = Duration::try_from_secs_f64((time - now()).max(0.0)).unwrap_or(LATEST);
    Instant::now() + left.min(LATEST)
}

/// The JSON text of a value.
pub fn text(value: &Value) -> Vec<u8> {
    // Writing to memory does not fail, and all keys are texts.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The body of `/readyz`.
pub fn health(health: &Health) -> Value {
    let part = |(name, state): (&'static str, PartState)| {
        let state = match state {
            PartState::Ok => json!({"state": "ok"}),
            PartState::Off => json!({"state": "off"}),
            PartState::Failed(reason) => json!({"state": "failed", "reason": reason}),
        };
        (name, state)
    };
    json!({"ready": health.is_ready(), "parts": map(health.parts().into_iter().map(part))})
}

/// The message that an event, given in its JSON text, tells of.
pub fn message_of(told: &[u8]) -> Option<MessageId> {
    // Most of what passes here is something else, and need not be parsed.
    if !told.starts_with(br#"{"type":"message""#) {
        return None;
    }
    let told = serde_json::from_slice::<Value>(told).ok()?;
    told.get("_id")?.as_str()?.parse().ok()
}

/// What an older client at its socket is sent of an event, given in its JSON: what to play, if anything. A toy plays
/// first who has written, an app the message itself.
pub fn legacy(told: &Value, me: &Party) -> Option<Value> {
    let text = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
    let (kind, name) = match (text("type")?.as_str(), me) {
        ("message", Party::Toy(_)) => ("chat", text("notice").or_else(|| text("chat"))?),
        ("message", Party::User(_)) => ("chat", text("chat")?),
        ("play", _) => match text("music") {
            Some(music) => ("music", music),
            None => ("chat", text("chat")?),
        },
        _ => return None,
    };
    let from = text("from_user")?;
    let frame = json!({"to_user": me.id(), "from_user": from}).with(kind, name);
    Some(if kind == "chat" { frame.with("friend_type", text("friend_type")?) } else { frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_names_each_part_and_why_it_fails() {
        let (store, sessions) = (PartState::Ok, PartState::Ok);
        let speech = PartState::Off;
        let mut all = Health { store, disk: PartState::Ok, sessions, speech, is_alive: true };
        let text = |all: &Health| health(all).to_string();
        assert!(text(&all).starts_with(r#"{"ready":true,"parts":{"store":{"state":"ok"},"disk":"#));
        assert!(text(&all).ends_with(r#""speech":{"state":"off"}}}"#), "to do without speech is no failure");
        all.disk = PartState::Failed("make room");
        assert!(text(&all).starts_with(r#"{"ready":false,"#));
        assert!(text(&all).contains(r#""disk":{"state":"failed","reason":"make room"}"#));
    }
}
