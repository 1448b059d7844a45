//! The check of a device at its start, and the poll of one that waits to be bound.
//!
//! The answers follow `main/ota.cc` of the firmware: an answer of status 200 is success, whatever it says, so a failure has
//! another status; a device that is not bound needs a `challenge`, or it does not poll; and a member of `websocket` or `mqtt` with a
//! name of more than 15 letters would make it restart for ever.
//!
//! Firmware that gets both sections takes MQTT. Before 1.6.2 the port of MQTT is fixed, so older firmware gets the
//! WebSocket only.

use serde_json::{Value, json};

use super::client_name::{ClientName, TOPIC_UP};
use super::firmware::Firmware;
use super::{Devices, Names, OverMqtt, SOCKET_PATHS};
use crate::config::StockTransport;
use crate::domain::error::DomainError;
use crate::domain::{CheckIn, Origin};
use crate::edge::wire;
use crate::model::{Secret, StockIdentity};

/// The request of a device at its start.
#[derive(Debug)]
pub struct Started {
    /// How it names itself.
    pub names: Names,
    /// `BOARD/VERSION`.
    pub agent: Option<String>,
    /// The host and the port at which it has reached the hub.
    pub host: Option<String>,
    /// Whether it has come over TLS.
    pub is_encrypted: bool,
    /// From where it comes.
    pub from: Origin,
}

/// The status of HTTP, and the body.
pub type Answer = (u16, Value);

/// Seconds without a packet after which a device with MQTT sends a ping.
const KEEP_ALIVE_S: u32 = 240;
/// The poll after which a device begins again, in milliseconds.
const TIMEOUT_MS: u32 = 30_000;

impl Devices {
    /// A device has started.
    pub async fn check_in(&self, started: Started) -> Answer {
        let identity = match started.names.identity() {
            Ok(identity) => identity,
            Err(malformed) => return (400, failure(malformed.0)),
        };
        let Some(url) = self.socket_url(&started) else {
            return (400, failure("the request names no host, set xiaozhi.websocket_url"));
        };
        let checked = self.hub.check_in(&identity, started.from).await;
        match checked {
            Ok(CheckIn::Bound { secret, .. }) => (200, self.bound(&started, &identity, &url, &secret)),
            Ok(CheckIn::Waiting(code)) => {
                let host = started.host.unwrap_or_default();
                let activation = json!({
                    "code": code.as_str(),
                    "message": format!("{host}\n{}", code.as_str()),
                    "challenge": identity.mac(),
                    "timeout_ms": TIMEOUT_MS,
                });
                // Some clients take the address and the token from this answer only. The firmware checks again.
                let websocket = json!({"url": url, "token": self.hub.waiting_token(&identity).reveal()});
                (200, json!({"server_time": self.time(), "activation": activation, "websocket": websocket}))
            }
            Err(error) => refusal(&error),
        }
    }

    /// A device asks whether it was bound.
    pub async fn activate(&self, names: Names) -> Answer {
        let identity = match names.identity() {
            Ok(identity) => identity,
            Err(malformed) => return (400, failure(malformed.0)),
        };
        match self.hub.is_activated(&identity).await {
            Ok(true) => (200, json!({"message": "bound"})),
            Ok(false) => (202, json!({"message": "not bound yet"})),
            Err(error) => refusal(&error),
        }
    }

    fn bound(&self, started: &Started, identity: &StockIdentity, url: &str, secret: &Secret) -> Value {
        let version = started.agent.as_deref().and_then(|agent| agent.rsplit_once('/')).map(|(_, version)| version);
        let mut answer = json!({"server_time": self.time()});
        let firmware = version.and_then(Firmware::parse);
        // Firmware of that time always tells a plain version; other clients do not.
        let mqtt = self.mqtt.as_ref().filter(|_| firmware.is_none_or(|version| version >= Firmware::WITH_MQTT_PORT));
        let mqtt = mqtt.and_then(|mqtt| self.mqtt_section(mqtt, started, identity, firmware, secret));
        if mqtt.is_none() || self.config.xiaozhi.transport != StockTransport::Mqtt {
            answer["websocket"] = json!({"url": url, "token": secret.reveal()});
        }
        if let Some(mqtt) = mqtt {
            answer["mqtt"] = mqtt;
        }
        // Its own version again: nothing new. Without it, it reads no more of the answer before 1.6.
        if let Some(version) = version.filter(|version| version.starts_with(|letter: char| letter.is_ascii_digit())) {
            answer["firmware"] = json!({"version": version, "url": ""});
        }
        answer
    }

    /// How the device connects over MQTT; none if the address at which it has reached the hub is unknown.
    fn mqtt_section(
        &self,
        mqtt: &OverMqtt,
        started: &Started,
        identity: &StockIdentity,
        firmware: Option<Firmware>,
        secret: &Secret,
    ) -> Option<Value> {
        let scheme = if started.is_encrypted { "https" } else { "http" };
        let address = format!("{scheme}://{}", started.host.as_deref()?);
        let name = ClientName { identity: identity.clone(), firmware, address };
        // The firmware understands no other hosts either.
        let name = ClientName::read(&name.write())?;
        let endpoint = match self.config.xiaozhi.mqtt_endpoint.as_str() {
            "" => format!("{}:{}", name.host(), mqtt.port?),
            configured => configured.to_owned(),
        };
        Some(json!({
            "endpoint": endpoint,
            "client_id": name.write(),
            "username": self.hub.stock_key(identity).as_str(),
            "password": secret.reveal(),
            "publish_topic": TOPIC_UP,
            "subscribe_topic": name.topic_down(),
            "keepalive": KEEP_ALIVE_S,
        }))
    }

    fn time(&self) -> Value {
        let milliseconds = (wire::now() * 1000.0) as i64;
        json!({"timestamp": milliseconds, "timezone_offset": self.config.speech.utc_offset_minutes})
    }

    /// The address of the WebSocket: that of the settings, or the one at which the device has reached the hub.
    fn socket_url(&self, started: &Started) -> Option<String> {
        let configured = &self.config.xiaozhi.websocket_url;
        if !configured.is_empty() {
            return Some(configured.clone());
        }
        let host = started.host.as_deref().filter(|host| !host.is_empty())?;
        let scheme = if started.is_encrypted { "wss" } else { "ws" };
        Some(format!("{scheme}://{host}{}", SOCKET_PATHS[0]))
    }
}

fn failure(message: &str) -> Value {
    json!({"error": message})
}

fn refusal(error: &DomainError) -> Answer {
    let status = match error {
        DomainError::RateLimited { .. } => 429,
        DomainError::Internal(cause) => {
            tracing::error!(%cause, "check of a device");
            500
        }
        _ => 503,
    };
    (status, failure(&error.to_string()))
}
