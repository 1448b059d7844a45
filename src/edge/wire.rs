//! What edges write beside the answers of calls, and the clock of the edges.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::schema::map;
use crate::domain::{Health, PartState, clock};
use crate::model::Timestamp;

/// The current time, read here so that the layers below need no clock.
pub fn now() -> Timestamp {
    clock::now()
}

/// The current time for ages, such as the expiry of a session.
pub fn age_now() -> Timestamp {
    clock::age_now()
}

/// The instant of a time for ages on the monotonic clock; at most in a year, as no connection lasts longer.
pub fn instant_of(time: Timestamp) -> Instant {
    const LATEST: Duration = Duration::from_secs(366 * 86_400);
    let left = Duration::try_from_secs_f64((time - age_now()).max(0.0)).unwrap_or(LATEST);
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
            PartState::Loading => json!({"state": "loading"}),
            PartState::Degraded(reason) => json!({"state": "degraded", "reason": reason}),
            PartState::Failed(reason) => json!({"state": "failed", "reason": reason}),
        };
        (name, state)
    };
    json!({"ready": health.is_ready(), "parts": map(health.parts().into_iter().map(part))})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_names_each_part_and_why_it_fails() {
        let (store, sessions) = (PartState::Ok, PartState::Ok);
        let speech = PartState::Off;
        let files = PartState::Off;
        let mut all =
            Health { store, disk: PartState::Ok, files, bus: PartState::Off, sessions, speech, is_alive: true };
        let text = |all: &Health| health(all).to_string();
        assert!(text(&all).starts_with(r#"{"ready":true,"parts":{"store":{"state":"ok"},"disk":"#));
        assert!(text(&all).ends_with(r#""speech":{"state":"off"}}}"#), "to do without speech is no failure");
        all.bus = PartState::Degraded("no broker");
        assert!(text(&all).starts_with(r#"{"ready":true,"#), "the hub goes on without it");
        assert!(text(&all).contains(r#""bus":{"state":"degraded","reason":"no broker"}"#));
        all.disk = PartState::Failed("make room");
        assert!(text(&all).starts_with(r#"{"ready":false,"#));
        assert!(text(&all).contains(r#""disk":{"state":"failed","reason":"make room"}"#));
    }
}
