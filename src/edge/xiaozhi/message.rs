//! The JSON messages of a device and of the hub. The field `text` of a device is not escaped: what is no JSON is dropped.

use serde_json::{Value, json};

use crate::domain::turn::{PACKET_MS, PACKETS_HZ};
use crate::edge::body;

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By silence. The microphone is off while the hub speaks.
    Auto,
    /// When the button is released.
    Manual,
    /// By silence. The microphone stays on, and the child may interrupt the hub.
    Realtime,
}

/// A message of a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// The first message.
    Hello(Hello),
    /// The child may speak.
    Start(Mode),
    /// The button is released.
    Stop,
    /// The child interrupts the hub.
    Abort,
    /// Words that somebody typed, on a test page of another maker.
    Typed(String),
    /// An answer of one of its tools.
    Tool(Value),
    /// The device ends the session, or the one that it names.
    Goodbye(Option<String>),
    /// Any other, which has no effect.
    Other,
}

/// The capabilities of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    /// The version of the binary messages.
    pub(super) version: u64,
    /// Whether it sends samples instead of Opus.
    pub(super) sends_samples: bool,
    /// Whether it has tools, such as its volume.
    pub(super) has_tools: bool,
}

impl Said {
    /// Reads a message; none if it is no JSON.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let message = body::parse_json(text)?;
        let word = |name: &str| message[name].as_str().unwrap_or_default();
        Some(match (word("type"), word("state")) {
            ("hello", _) => Self::Hello(Hello {
                version: message["version"].as_u64().unwrap_or(1),
                sends_samples: message["audio_params"]["format"].as_str() == Some("pcm"),
                has_tools: message["features"]["mcp"].as_bool().unwrap_or_default(),
            }),
            ("listen", "start") => Self::Start(match word("mode") {
                "manual" => Mode::Manual,
                "realtime" => Mode::Realtime,
                _ => Mode::Auto,
            }),
            ("listen", "stop") => Self::Stop,
            // That of firmware, with the wake word, has no mode.
            ("listen", "detect") if message["mode"].is_string() && !word("text").trim().is_empty() => {
                Self::Typed(word("text").to_owned())
            }
            ("abort", _) => Self::Abort,
            ("mcp", _) => Self::Tool(message["payload"].clone()),
            ("goodbye", _) => Self::Goodbye(message["session_id"].as_str().map(str::to_owned)),
            _ => Self::Other,
        })
    }
}

/// The answer to the hello over a WebSocket, with the form of the sound that the hub sends.
pub(super) fn hello_over_socket(version: u64, session: &str) -> Value {
    json!({
        "type": "hello", "version": version, "transport": "websocket", "session_id": session, "audio_params": sound_sent(),
    })
}

/// The answer to the hello over MQTT, with the session of UDP: where the device sends its sound, the key, and the beginning
/// of its packets.
pub(super) fn hello_over_udp(session: &str, endpoint: (&str, u16), (key, nonce): (String, String)) -> Value {
    let (server, port) = endpoint;
    let udp = json!({"server": server, "port": port, "encryption": "aes-128-ctr", "key": key, "nonce": nonce});
    json!({
        "type": "hello", "version": UDP_VERSION, "transport": "udp", "session_id": session,
        "audio_params": sound_sent(), "udp": udp,
    })
}

/// The version of a hello over MQTT.
const UDP_VERSION: u64 = 3;

fn sound_sent() -> Value {
    json!({"format": "opus", "sample_rate": PACKETS_HZ, "channels": 1, "frame_duration": PACKET_MS})
}

/// The messages of the hub, all with the id of the session.
pub(super) struct Messages {
    pub(super) session: String,
}

impl Messages {
    /// Those to an idle device, which has no session.
    pub(super) fn outside_sessions() -> Self {
        Self { session: String::new() }
    }

    /// The words of the child, for its display.
    pub(super) fn heard(&self, text: &str) -> Value {
        json!({"type": "stt", "text": text, "session_id": self.session})
    }

    /// The face of the device.
    pub(super) fn face(&self, emotion: &str) -> Value {
        json!({"type": "llm", "emotion": emotion, "text": "", "session_id": self.session})
    }

    /// The hub begins to speak, or has ended.
    pub(super) fn speech(&self, state: &str) -> Value {
        json!({"type": "tts", "state": state, "session_id": self.session})
    }

    /// The sentence that follows.
    pub(super) fn sentence(&self, text: &str) -> Value {
        json!({"type": "tts", "state": "sentence_start", "text": text, "session_id": self.session})
    }

    /// The hub ends the session.
    pub(super) fn goodbye(&self) -> Value {
        json!({"type": "goodbye", "session_id": self.session})
    }

    /// A failure, as text on the display.
    pub(super) fn alert(&self, message: &str) -> Value {
        json!({"type": "alert", "status": "toyhub", "message": message, "emotion": "sad", "session_id": self.session})
    }

    /// A text on the display, with a sound of the device, also while it is idle.
    pub(super) fn notice(&self, message: &str) -> Value {
        json!({"type": "alert", "status": "toyhub", "message": message, "emotion": "happy", "session_id": self.session})
    }

    /// Has an idle device fetch a sound and play it, with a text on its display.
    pub(super) fn notify(&self, url: &str, text: &str) -> Value {
        let subtitles = json!([{"start_ms": 0, "text": text}]);
        json!({"type": "notify", "audio_url": url, "subtitles": subtitles, "session_id": self.session})
    }

    /// A message to the tools of the device.
    pub(super) fn to_tools(&self, payload: &Value) -> Value {
        json!({"type": "mcp", "payload": payload, "session_id": self.session})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_firmware_are_understood() {
        let hello = Hello { version: 3, sends_samples: false, has_tools: true };
        for (text, expected) in [
            (
                r#"{"type":"hello","version":3,"features":{"mcp":true},"transport":"websocket","audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":60}}"#,
                Some(Said::Hello(hello)),
            ),
            (r#"{"type":"hello"}"#, Some(Said::Hello(Hello { version: 1, has_tools: false, ..hello }))),
            (r#"{"session_id":"x","type":"listen","state":"start","mode":"auto"}"#, Some(Said::Start(Mode::Auto))),
            (r#"{"type":"listen","state":"start","mode":"manual"}"#, Some(Said::Start(Mode::Manual))),
            (r#"{"type":"listen","state":"start","mode":"realtime"}"#, Some(Said::Start(Mode::Realtime))),
            (r#"{"type":"listen","state":"stop"}"#, Some(Said::Stop)),
            (r#"{"type":"listen","state":"detect","text":"hi"}"#, Some(Said::Other)),
            (r#"{"type":"listen","mode":"manual","state":"detect","text":"hi"}"#, Some(Said::Typed("hi".into()))),
            (r#"{"type":"listen","mode":"manual","state":"detect","text":" "}"#, Some(Said::Other)),
            (r#"{"type":"abort","reason":"wake_word_detected"}"#, Some(Said::Abort)),
            (r#"{"type":"goodbye","session_id":"x"}"#, Some(Said::Goodbye(Some("x".into())))),
            (r#"{"type":"goodbye"}"#, Some(Said::Goodbye(None))),
            (r#"{"type":"iot","states":[]}"#, Some(Said::Other)),
            (r#"{"type":7}"#, Some(Said::Other)),
            ("[]", Some(Said::Other)),
            ("", None),
            (r#"{"type":"listen","state":"detect","text":"say "hi""}"#, None),
        ] {
            assert_eq!(Said::read(text.as_bytes()), expected, "{text}");
        }
    }
}
