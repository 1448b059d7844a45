//! The tools of a device (MCP, JSON-RPC 2.0), of which the hub calls three: its state, its volume and its brightness.
//!
//! The state is published on `toy/<id>/state/<key>`, and the owner sets volume and brightness on `toy/<id>/cmd/<key>`. A
//! device has what its state names. No other tool is ever called: neither words of a child nor a command of an owner
//! reach the tools that restart a device, or install firmware.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::Hub;
use crate::domain::live::Publication;
use crate::edge::{body, wire};
use crate::model::{Party, QoS, ToyCommand, ToyId};

/// By how much one wish changes the volume, in percent.
const VOLUME_STEP: u64 = 20;
/// Calls without an answer; an older one is forgotten.
const PENDING_MAX: usize = 8;

/// A setting of a device that its owner changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Volume,
    Brightness,
}

impl Level {
    const ALL: [Self; 2] = [Self::Volume, Self::Brightness];

    /// The last level of its topics, and the argument of its tool.
    fn key(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Brightness => "brightness",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Volume => "self.audio_speaker.set_volume",
            Self::Brightness => "self.screen.set_brightness",
        }
    }

    /// Its value in the state of a device, in percent.
    fn value_in(self, state: &Value) -> Option<u64> {
        let part = match self {
            Self::Volume => "audio_speaker",
            Self::Brightness => "screen",
        };
        state[part][self.key()].as_u64().filter(|value| *value <= 100)
    }
}

/// The state of a device as its tools have reported it.
#[derive(Default)]
pub(super) struct Tools {
    last_id: u64,
    /// Calls without an answer, by their ids; the answer of some is the state.
    pending: VecDeque<(u64, Call)>,
    /// The state, as it was published.
    published: BTreeMap<&'static str, String>,
    levels: BTreeMap<Level, u64>,
    /// Levels to set once the device has told its state.
    wanted: BTreeMap<Level, u64>,
    /// A change of the volume that waits for the current one.
    wish: Option<ToyCommand>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    State,
    Set,
}

/// The consequences of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Calls to send.
    pub(super) calls: Vec<Value>,
    /// The changed values of the state, by their key.
    pub(super) states: Vec<(&'static str, String)>,
}

impl Outcome {
    /// Calls alone.
    pub(super) fn of(calls: impl IntoIterator<Item = Value>) -> Self {
        Self { calls: calls.into_iter().collect(), states: Vec::new() }
    }
}

impl Tools {
    /// Asks for the state.
    pub(super) fn look(&mut self) -> Value {
        self.call(Call::State, "self.get_device_status", json!({}))
    }

    /// A child wants the device to be louder or softer: the call for its volume.
    pub(super) fn change_volume(&mut self, wish: ToyCommand) -> Value {
        self.wish = Some(wish);
        self.look()
    }

    /// A command of the owner, by the last level of its topic: the call for it, at once or after the state of the device.
    pub(super) fn set(&mut self, key: &str, value: &[u8]) -> Option<Value> {
        let level = Level::ALL.into_iter().find(|level| level.key() == key)?;
        let value = std::str::from_utf8(value).ok()?.trim().parse().ok().filter(|value| *value <= 100)?;
        if self.levels.contains_key(&level) {
            return Some(self.set_level(level, value));
        }
        self.wanted.insert(level, value);
        self.pending.iter().all(|(_, call)| *call != Call::State).then(|| self.look())
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, answer: &Value) -> Outcome {
        let mut outcome = Outcome::default();
        let asked = self.pending.iter().position(|(id, _)| answer["id"].as_u64() == Some(*id));
        let Some((_, call)) = asked.and_then(|at| self.pending.remove(at)) else { return outcome };
        if call == Call::Set {
            outcome.calls.push(self.look());
            return outcome;
        }
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        let Some(state) = body::parse_json(text.as_bytes()) else { return outcome };
        for level in Level::ALL {
            match level.value_in(&state) {
                Some(value) => {
                    self.levels.insert(level, value);
                    self.note(level.key(), value.to_string(), &mut outcome);
                }
                None => drop(self.levels.remove(&level)),
            }
        }
        if let Some(level) = state["battery"]["level"].as_u64().filter(|level| *level <= 100) {
            let battery = json!({"level": level, "charging": state["battery"]["charging"].as_bool()});
            self.note("battery", String::from_utf8_lossy(&wire::text(&battery)).into_owned(), &mut outcome);
        }
        for (level, value) in std::mem::take(&mut self.wanted) {
            if self.levels.contains_key(&level) {
                outcome.calls.push(self.set_level(level, value));
            }
        }
        let volume = self.levels.get(&Level::Volume).copied();
        if let (Some(wish), Some(volume)) = (self.wish.take(), volume) {
            let volume = match wish {
                ToyCommand::Louder => (volume + VOLUME_STEP).min(100),
                ToyCommand::Softer => volume.saturating_sub(VOLUME_STEP),
                ToyCommand::Stop => return outcome,
            };
            outcome.calls.push(self.set_level(Level::Volume, volume));
        }
        outcome
    }

    fn note(&mut self, key: &'static str, value: String, outcome: &mut Outcome) {
        if self.published.get(key) != Some(&value) {
            self.published.insert(key, value.clone());
            outcome.states.push((key, value));
        }
    }

    fn set_level(&mut self, level: Level, value: u64) -> Value {
        let mut arguments = json!({});
        arguments[level.key()] = json!(value);
        self.call(Call::Set, level.tool(), arguments)
    }

    fn call(&mut self, call: Call, name: &str, arguments: Value) -> Value {
        self.last_id += 1;
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back((self.last_id, call));
        let params = json!({"name": name, "arguments": arguments});
        json!({"jsonrpc": "2.0", "id": self.last_id, "method": "tools/call", "params": params})
    }
}

/// The key of a command to a toy, if the topic is one.
pub(super) fn key_of_command<'t>(toy: &ToyId, topic: &'t str) -> Option<&'t str> {
    topic.strip_prefix("toy/")?.strip_prefix(toy.as_str())?.strip_prefix("/cmd/")
}

/// Publishes states of a toy, retained.
pub(super) async fn publish(hub: &Hub, toy: &ToyId, states: Vec<(&'static str, String)>) {
    for (key, value) in states {
        let Ok(topic) = format!("toy/{toy}/state/{key}").parse() else { continue };
        let publication = Publication {
            topic,
            payload: Bytes::from(value).into(),
            qos: QoS::AtMostOnce,
            retain: true,
            publisher: None,
            properties: Bytes::new(),
            expires_at: None,
        };
        if let Err(error) = hub.publish(&Party::from(toy.clone()), publication).await {
            tracing::debug!(%error, "the state of a device is not published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(call: &Value, state: &Value) -> Value {
        let content = json!([{"type": "text", "text": state.to_string()}]);
        json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": content, "isError": false}})
    }

    fn board() -> Value {
        json!({"audio_speaker": {"volume": 70}, "screen": {"brightness": 50}, "battery": {"level": 80, "charging": true}})
    }

    fn asked(call: &Value) -> (&str, &Value) {
        (call["params"]["name"].as_str().unwrap(), &call["params"]["arguments"])
    }

    #[test]
    fn the_state_is_told_once_until_it_changes() {
        let mut tools = Tools::default();
        let call = tools.look();
        let told = tools.take(&answer(&call, &board()));
        let battery = r#"{"level":80,"charging":true}"#;
        let expected = [("volume", "70"), ("brightness", "50"), ("battery", battery)];
        assert_eq!(told.states, expected.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(tools.take(&answer(&call, &board())), Outcome::default(), "nobody has asked");
        let call = tools.look();
        assert_eq!(tools.take(&answer(&call, &board())), Outcome::default(), "nothing has changed");
    }

    #[test]
    fn a_wish_changes_the_volume_by_a_step_and_ends_at_the_limits() {
        for (volume, wish, expected) in [
            (70, ToyCommand::Louder, 90),
            (90, ToyCommand::Louder, 100),
            (30, ToyCommand::Softer, 10),
            (10, ToyCommand::Softer, 0),
        ] {
            let mut tools = Tools::default();
            let call = tools.change_volume(wish);
            let outcome = tools.take(&answer(&call, &json!({"audio_speaker": {"volume": volume}})));
            assert_eq!(asked(&outcome.calls[0]), ("self.audio_speaker.set_volume", &json!({"volume": expected})));
            assert_eq!(
                asked(&tools.take(&answer(&outcome.calls[0], &json!(true))).calls[0]).0,
                "self.get_device_status"
            );
        }
        // A board without a volume.
        let mut tools = Tools::default();
        let call = tools.change_volume(ToyCommand::Louder);
        assert_eq!(tools.take(&answer(&call, &json!({}))), Outcome::default());
    }

    #[test]
    fn an_owner_sets_what_the_device_has_and_nothing_else() {
        let mut tools = Tools::default();
        for (key, value) in [("reboot", "1"), ("volume", "loud"), ("volume", "101"), ("volume", "-1"), ("", "1")] {
            assert_eq!(tools.set(key, value.as_bytes()), None, "{key} {value}");
        }
        // The state is asked for first, once.
        let call = tools.set("volume", b" 40 ").unwrap();
        assert_eq!(tools.set("brightness", b"0"), None);
        let outcome = tools.take(&answer(&call, &json!({"audio_speaker": {"volume": 70}})));
        assert_eq!(outcome.calls.len(), 1, "it has no display");
        assert_eq!(asked(&outcome.calls[0]), ("self.audio_speaker.set_volume", &json!({"volume": 40})));
        let call = tools.set("volume", b"50").unwrap();
        assert_eq!(asked(&call), ("self.audio_speaker.set_volume", &json!({"volume": 50})));
    }

    #[test]
    fn answers_that_make_no_sense_have_no_effect() {
        let mut tools = Tools::default();
        let state = json!({"audio_speaker": {"volume": 7000}, "battery": {"level": "full"}, "screen": 3});
        for make in [|_: &Value| json!({}), |_: &Value| json!(null), |call: &Value| json!({"id": call["id"]})] {
            let call = tools.look();
            assert_eq!(tools.take(&make(&call)), Outcome::default());
        }
        let call = tools.look();
        assert_eq!(tools.take(&answer(&call, &state)), Outcome::default());
        // Calls without an answer are bounded.
        (0..100).for_each(|_| drop(tools.look()));
        assert_eq!(tools.pending.len(), PENDING_MAX);
    }

    #[test]
    fn a_command_is_known_by_its_topic() {
        let toy: ToyId = "5c8f582f268d7942f44c6703".parse().unwrap();
        assert_eq!(key_of_command(&toy, "toy/5c8f582f268d7942f44c6703/cmd/volume"), Some("volume"));
        for topic in ["toy/5c8f582f268d7942f44c6703/in", "toy/5c8f5853268d7942f44c6705/cmd/volume", "cmd/volume"] {
            assert_eq!(key_of_command(&toy, topic), None);
        }
    }
}
