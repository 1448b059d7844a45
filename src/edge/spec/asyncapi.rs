//! AsyncAPI 3.0: the messages of the sockets and of MQTT, seen from the hub: it receives requests and sends events.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::topics::{PARAMETERS, Payload, TOPICS, Topic, Who};
use super::{VERSION, codes};
use crate::api::answer::{self, Nothing, Shape};
use crate::api::events::EVENTS;
use crate::api::request::{FieldInfo, Presence, Request};
use crate::api::schema::{
    self, Components, Property, With, closed, either, exactly, id, map, may, must, object, party_kind, text, truth,
    whole,
};
use crate::api::{self, Entry, ServedAt};
use crate::edge::mqtt;
use crate::edge::request::InChunks;
use crate::edge::ws::{self, Said, WORDS, WordInfo};
use crate::model::PartyKind;

const ABOUT: &str = "\
The sockets and the MQTT topics of a toyhub, described from the hub's side: it *receives* requests and *sends* events. \
Plain HTTP is described in `openapi.json`.

A request is `{\"id\":n,\"do\":\"…\",…}`, at the app socket as at the topics `…/out`; its answer has the same `id`. JSON \
numbers and booleans count as their text, and undocumented fields are ignored. The requests of one \
connection are executed one after the other. Events have a `type` and no `id`.

MQTT is 3.1.1 or 5. The first two levels of a filter take no wildcard. Delivery is at least once: drop duplicates by `_id`.

";

const SOCKET: &str = "\
The app socket. The client sends its token in `Authorization` or in the first frame, `auth`; a web page sends a ticket of `/ticket` \
in the address. The first push is `welcome`. With `after`, in the address or in `auth`, the events after that number \
follow, without a gap; without it, the unread messages.

";

const LEGACY: &str = "The socket of legacy clients. There are no answers; frames that cannot be forwarded are dropped.";

/// The document.
pub(super) fn document() -> Value {
    let mut components = Components::default();
    let about = format!("{ABOUT}{}\n{}", codes::table(), codes::close_table());
    let said = Conversation::new(&mut components);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "toyhub at its sockets and over MQTT",
            "version": VERSION,
            "description": about,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": said.channels(),
        "operations": said.operations(),
        "components": said.components(components),
    })
}

fn reference(place: &str, name: &str) -> Value {
    json!({"$ref": format!("#/{place}/{name}")})
}

fn references<'a>(place: &str, names: impl IntoIterator<Item = &'a str>) -> Value {
    names.into_iter().map(|name| reference(place, name)).collect()
}

fn servers() -> Value {
    let server = |host: &str, protocol: &str, about: &str, security: &str| {
        let security = references("components/securitySchemes", [security]);
        json!({"host": host, "protocol": protocol, "description": about, "security": security})
    };
    let over_socket =
        format!("MQTT over a WebSocket of the HTTP port, subprotocol `{}`.", mqtt::SOCKET_PROTOCOLS.join(", "));
    let over_socket = server("hub.example:9527", "mqtt", &over_socket, "login").with("pathname", mqtt::SOCKET_PATH);
    json!({
        "sockets": server("hub.example:9527", "ws", "The HTTP port.", "bearer"),
        "legacySockets":
            server("hub.example:9528", "ws", "The port on which legacy clients open their socket.", "bearer"),
        "mqtt": server("hub.example:1883", "mqtt", "MQTT over TCP.", "login"),
        "mqttOverTls": server("hub.example:8883", "secure-mqtt", "MQTT over TLS, if it is enabled.", "login"),
        "mqttOverWebSocket": over_socket,
    })
}

/// A message of the document.
struct Message {
    name: Cow<'static, str>,
    json: Value,
}

impl Message {
    fn new(name: impl Into<Cow<'static, str>>, about: &str, payload: Value) -> Self {
        Self { name: name.into(), json: json!({"summary": about.trim(), "payload": payload}) }
    }

    fn numbered(mut self) -> Self {
        self.json = self.json.with("correlationId", reference("components/correlationIds", "id"));
        self
    }

    fn of_type(mut self, media: &str) -> Self {
        self.json = self.json.with("contentType", media);
        self
    }
}

/// A request, whom it serves, and its answer.
struct RequestMessages {
    word: &'static str,
    about: &'static str,
    takers: Vec<PartyKind>,
    ask: Message,
    answer: Message,
}

const BOTH: [PartyKind; 2] = [PartyKind::App, PartyKind::Toy];

impl RequestMessages {
    fn new(
        word: &'static str,
        about: &'static str,
        fields: Vec<Property>,
        msg: &'static str,
        data: Value,
        components: &mut Components,
    ) -> Self {
        let head = [
            may("id", whole(), "The number of the request, which the answer repeats. Default: 0."),
            must("do", exactly(word), ""),
        ];
        let sent = object(head.into_iter().chain(fields).collect());
        let answer = either(vec![
            answer::success(vec![must("id", whole(), "The number of the request.")], msg, data),
            failed(components),
        ]);
        Self {
            word,
            about: about.trim(),
            takers: BOTH.into(),
            ask: Message::new(format!("ask_{word}"), about, sent).numbered(),
            answer: Message::new(format!("answer_{word}"), "The answer.", answer).numbered(),
        }
    }

    /// A call that the edges share. The connection identifies the caller; a recording was sent in chunks.
    fn call(entry: &Entry, components: &mut Components) -> Self {
        let connected = |FieldInfo { property, presence }| match presence {
            Presence::Required | Presence::Optional => vec![property],
            Presence::Caller(_) | Presence::Unconnected => vec![Property { is_required: false, ..property }],
            Presence::Recording => InChunks::fields().into_iter().map(|field| field.property).collect(),
        };
        let fields = (entry.fields)().into_iter().flat_map(connected).collect();
        let msg = entry.facts.msg.filter(|_| !entry.takes_recording).unwrap_or("done");
        let data = (entry.answer)(components);
        let takers = BOTH.into_iter().filter(|kind| entry.is_for(*kind)).collect();
        Self { takers, ..Self::new(entry.facts.name, entry.about, fields, msg, data, components) }
    }

    /// A request of the app socket only.
    fn word(word: &WordInfo, components: &mut Components) -> Self {
        let fields = (word.fields)().into_iter().map(|field| field.property).collect();
        let nothing = Nothing::schema(components);
        Self::new(word.word, word.about, fields, "done", nothing, components)
    }
}

/// The answer to a request that failed.
fn failed(components: &mut Components) -> Value {
    components.named("FailedRequest", |components| {
        let id = must("id", whole(), "The number of the request; 0 if it cannot be parsed.");
        codes::failure(vec![id], components)
    })
}

/// The pushes of the app socket only.
fn pushes() -> Vec<Message> {
    let kind = |kind| must("type", exactly(kind), "");
    let seq = "The number of the user's newest event.";
    let toys = closed(vec![kind("welcome")]);
    let welcome = closed(vec![
        kind("welcome"),
        must("seq", whole(), seq),
        must("resumed", truth(), "All events after the client's number follow."),
        must(
            "reload",
            truth(),
            "The client's number is too old or unknown: load everything again, and continue from `seq`.",
        ),
    ]);
    let reload = closed(vec![kind("reload"), must("seq", whole(), seq)]);
    let publish = closed(vec![kind("publish"), must("topic", text(), ""), must("payload", text(), "")]);
    vec![
        Message::new("push_welcome", "The first frame; a toy has no numbers.", either(vec![welcome, toys])),
        Message::new(
            "push_reload",
            "Missed events are no longer kept: load everything again, and continue from `seq`.",
            reload,
        ),
        Message::new("push_publish", "A publication on a subscribed topic.", publish),
    ]
}

/// The frames of older clients.
fn legacy() -> Vec<Message> {
    let said = Said::fields().into_iter().map(|field| field.property).collect();
    let heard = vec![
        must("to_user", id(), "The receiver."),
        must("from_user", id(), "The sender."),
        may("music", schema::file(), "The sound to play, of /get_music/. Either this or `chat` is present."),
        may("chat", schema::file(), "The sound to play, of /get_chat/."),
        may("friend_type", party_kind(), "The sender's kind, beside `chat`."),
    ];
    vec![
        Message::new("legacy_said", "Asks a friend to play a sound.", object(said)),
        Message::new("legacy_heard", "A sound to play.", closed(heard)),
    ]
}

/// Payloads of topics that are not JSON objects.
fn payloads(components: &mut Components) -> Vec<Message> {
    let chunk = || text().with("contentEncoding", "binary");
    let octets = "application/octet-stream";
    vec![
        Message::new("voice_chunk", "A piece of a recording.", chunk()).of_type(octets),
        Message::new("file_chunk", "A piece of a file.", chunk()).of_type(octets),
        Message::new("presence", "1: connected; 0: not.", schema::one_of(&["0", "1"])).of_type("text/plain"),
        Message::new("anything", "Any payload that the two sides agree on.", json!({})).of_type(octets),
        Message::new("unreadable", "The answer to a payload that is not a request.", failed(components)),
    ]
}

fn kind_of(topic: &Topic) -> PartyKind {
    if topic.address.starts_with("toy/") { PartyKind::Toy } else { PartyKind::App }
}

fn names<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<String> {
    messages.into_iter().map(|message| message.name.clone().into_owned()).collect()
}

/// All messages.
struct Conversation {
    /// The requests of the app socket to its connection.
    words: Vec<RequestMessages>,
    /// The calls that the edges share.
    calls: Vec<RequestMessages>,
    pushes: Vec<Message>,
    /// Events, on every channel that carries them.
    events: Vec<Message>,
    legacy: Vec<Message>,
    payloads: Vec<Message>,
}

impl Conversation {
    fn new(components: &mut Components) -> Self {
        let calls = api::calls().filter(|call| call.facts.served_at != ServedAt::Http);
        Self {
            words: WORDS.iter().map(|word| RequestMessages::word(word, components)).collect(),
            calls: calls.map(|call| RequestMessages::call(call, components)).collect(),
            pushes: pushes(),
            events: EVENTS
                .iter()
                .map(|event| Message::new(format!("event_{}", event.name), event.about, (event.schema)(components)))
                .collect(),
            legacy: legacy(),
            payloads: payloads(components),
        }
    }

    /// The requests that one of `kind` makes over MQTT.
    fn requests_of(&self, kind: PartyKind) -> impl Iterator<Item = &RequestMessages> {
        self.calls.iter().filter(move |asked| asked.takers.contains(&kind))
    }

    /// The names of the messages on a topic.
    fn messages_on(&self, topic: &Topic) -> Vec<String> {
        let one = |name: &str| vec![name.to_owned()];
        match topic.payload {
            Payload::Inbox => {
                let answers = self.requests_of(kind_of(topic)).map(|asked| &asked.answer);
                names(self.events.iter().chain(answers)).into_iter().chain(one("unreadable")).collect()
            }
            Payload::Requests => names(self.requests_of(kind_of(topic)).map(|asked| &asked.ask)),
            Payload::VoiceChunk => one("voice_chunk"),
            Payload::FileChunk => one("file_chunk"),
            Payload::Presence => one("presence"),
            Payload::Anything => one("anything"),
        }
    }

    /// The names of the pushes of the app socket.
    fn pushed(&self) -> Vec<String> {
        names(self.pushes.iter().chain(&self.events))
    }

    /// The names of all messages at the app socket.
    fn messages_at_socket(&self) -> Vec<String> {
        let asked = || self.words.iter().chain(&self.calls);
        let asks = names(asked().map(|asked| &asked.ask));
        let answers = names(asked().map(|asked| &asked.answer));
        [asks, answers, self.pushed()].concat()
    }

    fn channels(&self) -> Value {
        let query = object(vec![
            may("ticket", text(), "A ticket of /ticket, valid once, for a short time."),
            may("after", whole(), "The number of the last event that the client has seen."),
        ]);
        let headers = object(vec![
            may("Authorization", text(), "`Bearer` and the token."),
            may("Sec-WebSocket-Protocol", exactly(ws::PROTOCOL), "The subprotocol."),
        ]);
        let binding = json!({"method": "GET", "query": query, "headers": headers, "bindingVersion": "0.1.0"});
        let about = format!("{SOCKET}{}", codes::close_table());
        let socket = channel(ws::PATH, &about, &["sockets"], self.messages_at_socket())
            .with("bindings", json!({"ws": binding}))
            .with("x-close-codes", codes::close_codes());
        let older = ["legacyApp", "legacyToy"].into_iter().zip(ws::LEGACY_PATHS).map(|(key, path)| {
            let socket = channel(path, LEGACY, &["sockets", "legacySockets"], names(&self.legacy));
            (key, socket.with("x-close-codes", codes::close_codes()))
        });
        let topics = TOPICS.iter().map(|topic| {
            let servers = ["mqtt", "mqttOverTls", "mqttOverWebSocket"];
            (topic.key, channel(topic.address, topic.about, &servers, self.messages_on(topic)))
        });
        map([("socket", socket)].into_iter().chain(older).chain(topics))
    }

    fn operations(&self) -> Value {
        let pushed = operation("send", "socket", "The events of the hub.", &self.pushed());
        let mut all = vec![("socket_push".to_owned(), pushed)];
        all.extend(self.words.iter().chain(&self.calls).map(|asked| request(asked, "socket", "socket")));
        for channel in ["legacyApp", "legacyToy"] {
            let said = ["legacy_said".to_owned()];
            all.push((
                format!("{channel}_said"),
                operation("receive", channel, "Asks a friend to play a sound.", &said),
            ));
            let heard = ["legacy_heard".to_owned()];
            all.push((
                format!("{channel}_heard"),
                operation("send", channel, "Asks the client to play a sound.", &heard),
            ));
        }
        for topic in &TOPICS {
            match topic.payload {
                Payload::Requests => {
                    let kind = kind_of(topic);
                    let reply = if kind == PartyKind::Toy { "toyIn" } else { "appIn" };
                    all.extend(self.requests_of(kind).map(|asked| request(asked, topic.key, reply)));
                }
                Payload::Inbox => {
                    let told: Vec<_> = names(&self.events).into_iter().chain(["unreadable".to_owned()]).collect();
                    all.push((format!("{}_told", topic.key), operation("send", topic.key, topic.about, &told)));
                }
                _ => {
                    let said = self.messages_on(topic);
                    if topic.publishes != Who::Hub {
                        let operation = operation("receive", topic.key, topic.about, &said);
                        all.push((format!("{}_said", topic.key), operation));
                    }
                    if topic.subscribes != Who::Hub {
                        let operation = operation("send", topic.key, topic.about, &said);
                        all.push((format!("{}_heard", topic.key), operation));
                    }
                }
            }
        }
        map(all)
    }

    fn components(self, components: Components) -> Value {
        let asked = self.words.into_iter().chain(self.calls).flat_map(|asked| [asked.ask, asked.answer]);
        let messages = asked.chain(self.pushes).chain(self.events).chain(self.legacy).chain(self.payloads);
        json!({
            "schemas": components.into_value(),
            "messages": map(messages.map(|message| (message.name, message.json))),
            "correlationIds": {
                "id": {"description": "The number of the request.", "location": "$message.payload#/id"},
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token; the older sockets follow `[auth] mode`.",
                },
                "login": {
                    "type": "userPassword",
                    "description": "Toy: device key, and its secret or a token. App: user id, and a token.",
                },
            },
        })
    }
}

fn channel(address: &str, about: &str, servers: &[&str], messages: Vec<String>) -> Value {
    let messages = messages.into_iter().map(|name| {
        let message = reference("components/messages", &name);
        (name, message)
    });
    let channel = json!({
        "address": address,
        "description": about,
        "servers": references("servers", servers.iter().copied()),
        "messages": map(messages),
    });
    let parameters = PARAMETERS.iter().chain(&[("id", "The id of a user or a toy.")]);
    let parameters = parameters.filter(|(name, _)| address.contains(&format!("{{{name}}}")));
    let parameters: Vec<_> = parameters.map(|(name, about)| (*name, json!({"description": about}))).collect();
    if parameters.is_empty() { channel } else { channel.with("parameters", map(parameters)) }
}

fn operation(action: &str, channel: &str, about: &str, messages: &[String]) -> Value {
    let place = format!("channels/{channel}/messages");
    json!({
        "action": action,
        "channel": reference("channels", channel),
        "summary": about,
        "messages": references(&place, messages.iter().map(String::as_str)),
    })
}

/// A request at `channel`, and its answer at `reply`.
fn request(asked: &RequestMessages, channel: &str, reply: &str) -> (String, Value) {
    let answers = references(&format!("channels/{reply}/messages"), [&*asked.answer.name]);
    let answered = json!({"channel": reference("channels", reply), "messages": answers});
    let asks = [asked.ask.name.clone().into_owned()];
    let operation = operation("receive", channel, asked.about, &asks).with("reply", answered);
    (format!("{channel}_{}", asked.word), operation)
}
