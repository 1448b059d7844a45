//! AsyncAPI 3.0: what is said at the sockets and over MQTT, seen from the hub: it receives requests and sends events.

use std::borrow::Cow;

use super::calls::{Answer, Description, Ground, describe};
use super::schema::{
    self, Property, closed, component, either, exactly, id, map, may, must, object, party_kind, text, truth, upload,
    whole,
};
use super::topics::{PARAMETERS, Payload, TOPICS, Topic, Who};
use super::{VERSION, codes, shapes};
use crate::edge::calls::{CONNECTED, DOCUMENTED, Name};
use crate::edge::mqtt;
use crate::edge::wire::Json;
use crate::edge::ws::{self, Word};
use crate::model::PartyKind;

const ABOUT: &str = "\
The sockets and the MQTT topics of a toyhub, seen from the hub: what it *receives* clients say, what it *sends* they hear. \
Plain HTTP is described in `openapi.json`.

A request is `{\"id\":n,\"do\":\"…\",…}`, at the app socket as at the topics `…/out`; its answer has the same `id`. JSON \
numbers and truth values count as their text, and fields that are not described are not looked at. The requests of one \
connection are done one after the other. What the hub says unasked has a `type` and no `id`.

MQTT is 3.1.1 or 5. The first two levels of a filter take no wildcard. Delivery is at least once: drop repeats by `_id`.

";

const SOCKET: &str = "\
The app socket. The token comes in `Authorization`, or with the first frame, `auth`; a page brings a ticket of `/ticket` \
in the address. The first push is `welcome`. With `after`, in the address or in `auth`, the events after that number \
follow, without a gap; without it, the messages that nobody has heard.

";

const LEGACY: &str = "The socket of older pages and phones. Nothing is answered; what cannot be passed on is dropped.";

/// The document.
pub(super) fn document() -> Json {
    let about = format!("{ABOUT}{}\n{}", codes::table(), codes::close_table());
    Json::object([
        ("asyncapi", "3.0.0".into()),
        (
            "info",
            Json::object([
                ("title", "toyhub at its sockets and over MQTT".into()),
                ("version", VERSION.into()),
                ("description", about.into()),
                ("license", Json::object([("name", "Apache-2.0".into())])),
            ]),
        ),
        ("defaultContentType", "application/json".into()),
        ("servers", servers()),
        ("channels", channels()),
        ("operations", operations()),
        ("components", components()),
    ])
}

fn reference(place: &str, name: &str) -> Json {
    Json::object([("$ref", format!("#/{place}/{name}").into())])
}

fn references<'a>(place: &str, names: impl IntoIterator<Item = &'a str>) -> Json {
    Json::List(names.into_iter().map(|name| reference(place, name)).collect())
}

fn server(host: &'static str, protocol: &'static str, about: &str, security: &'static str) -> Json {
    Json::object([
        ("host", host.into()),
        ("protocol", protocol.into()),
        ("description", about.into()),
        ("security", references("components/securitySchemes", [security])),
    ])
}

fn servers() -> Json {
    let sockets = server("hub.example:9527", "ws", "The HTTP port.", "bearer");
    let legacy = server("hub.example:9528", "ws", "Where older pages and phones look for their socket.", "bearer");
    let tcp = server("hub.example:1883", "mqtt", "MQTT over TCP.", "login");
    let tls = server("hub.example:8883", "secure-mqtt", "MQTT over TLS, where it is switched on.", "login");
    let over_socket =
        format!("MQTT over a WebSocket of the HTTP port, subprotocol `{}`.", mqtt::SOCKET_PROTOCOLS.join(", "));
    let over_socket = server("hub.example:9527", "mqtt", &over_socket, "login").with("pathname", mqtt::SOCKET_PATH);
    Json::object([
        ("sockets", sockets),
        ("legacySockets", legacy),
        ("mqtt", tcp),
        ("mqttOverTls", tls),
        ("mqttOverWebSocket", over_socket),
    ])
}

/// A message of the document.
struct Message {
    name: Cow<'static, str>,
    json: Json,
}

impl Message {
    fn new(name: impl Into<Cow<'static, str>>, about: &str, payload: Json) -> Self {
        let json = Json::object([("summary", about.into()), ("payload", payload)]);
        Self { name: name.into(), json }
    }

    fn numbered(mut self) -> Self {
        self.json = self.json.with("correlationId", reference("components/correlationIds", "id"));
        self
    }

    fn of_type(mut self, media: &'static str) -> Self {
        self.json = self.json.with("contentType", media);
        self
    }
}

/// A request, whom it serves, and its answer.
struct Asked {
    word: &'static str,
    about: &'static str,
    takers: Vec<PartyKind>,
    ask: Message,
    answer: Message,
}

const BOTH: [PartyKind; 2] = [PartyKind::App, PartyKind::Toy];

/// `id` and `do`, with which every request begins.
fn head(word: &'static str) -> Vec<Property> {
    vec![may("id", whole(), "The number that the answer bears; 0 where none is given."), must("do", exactly(word), "")]
}

fn answer(msg: &'static str, data: Json) -> Json {
    let id = || must("id", whole(), "The number of the request.");
    either(vec![shapes::success(vec![id()], msg, data), component("FailedRequest")])
}

/// The calls that the edges share, as requests.
fn calls() -> Vec<Asked> {
    let documented = DOCUMENTED.into_iter().map(|(path, name)| (path.trim_start_matches('/'), name));
    let asked = |(word, name): (&'static str, Name)| {
        let description = describe(name);
        let takers = BOTH.into_iter().filter(|kind| description.is_for(*kind)).collect();
        let Description { about, ground, fields, answer: answered, .. } = description;
        let own = match ground {
            Ground::Party(field, _) => Some(field),
            _ => None,
        };
        let takes_recording = name.takes_recording();
        let mut sent = head(word);
        for field in fields {
            match (Some(field.name) == own, takes_recording && field.schema.get("contentMediaType").is_some()) {
                (true, _) => sent.push(Property { is_required: false, ..field }),
                (_, true) => sent.extend(in_chunks()),
                _ => sent.push(field),
            }
        }
        if word == "open_toy" {
            // A toy at its connection is known.
            sent.iter_mut().for_each(|field| field.is_required &= field.name == "do");
        }
        let (msg, data) = match answered {
            Answer::Envelope(msg, data) => (if takes_recording { "done" } else { msg }, data),
            Answer::Bare(data) => ("done", data),
        };
        Asked {
            word,
            about,
            takers,
            ask: Message::new(format!("ask_{word}"), about, object(sent)).numbered(),
            answer: Message::new(format!("answer_{word}"), "The answer.", answer(msg, data)).numbered(),
        }
    };
    documented.chain(CONNECTED).map(asked).collect()
}

/// Instead of a file.
fn in_chunks() -> [Property; 2] {
    [
        must("upload", upload(), "The recording, whose chunks have come before."),
        must("chunks", schema::from(0), "How many chunks it has."),
    ]
}

/// What only the app socket knows.
fn words() -> Vec<Asked> {
    let asked = |(word, meaning): (&'static str, Word)| {
        let topic = || must("topic", text(), "By the table of topics.");
        let (about, fields) = match meaning {
            Word::Auth => (
                "Logs in, in the first frame.",
                vec![
                    must("token", text(), "The token."),
                    may("after", whole(), "The number of the last event that the client has seen."),
                ],
            ),
            Word::Ping => ("Does nothing.", vec![]),
            Word::Subscribe => ("Hears a topic.", vec![topic()]),
            Word::Unsubscribe => ("Hears a topic no longer.", vec![topic()]),
            Word::Publish => ("Says something on a topic.", vec![topic(), may("payload", text(), "What is said.")]),
            Word::Voice => (
                "Brings a chunk of a recording, which an uploader then names.",
                vec![
                    must("upload", upload(), "What the sender calls the recording."),
                    must("n", whole(), "The number of the chunk, from 0."),
                    must("data", text().with("contentEncoding", "base64"), "The chunk, in Base64 (RFC 4648 §4)."),
                ],
            ),
            Word::Unbind => ("Makes an own toy a device again that anybody may bind.", vec![must("toy", id(), "")]),
            Word::Logout => (
                "Forgets every token of the user and ends all connections, this one too, maybe before the answer.",
                vec![],
            ),
        };
        let ask = object(head(word).into_iter().chain(fields).collect());
        Asked {
            word,
            about,
            takers: BOTH.into(),
            ask: Message::new(format!("ask_{word}"), about, ask).numbered(),
            answer: Message::new(format!("answer_{word}"), "The answer.", answer("done", shapes::nothing())).numbered(),
        }
    };
    Word::ALL.into_iter().map(asked).collect()
}

/// What parties are told, wherever they listen.
fn events() -> Vec<Message> {
    let event = |(name, about, schema)| Message::new(format!("event_{name}"), about, schema);
    shapes::events().into_iter().map(event).collect()
}

/// What only the app socket pushes.
fn pushes() -> Vec<Message> {
    let kind = |kind| must("type", exactly(kind), "");
    let seq = "The number of the user's newest event.";
    let toys = closed(vec![kind("welcome")]);
    let welcome = closed(vec![
        kind("welcome"),
        must("seq", whole(), seq),
        must("resumed", truth(), "All events after the client's number follow."),
        must("reload", truth(), "The client's number is too old or unknown: load all again, and go on from `seq`."),
    ]);
    let reload = closed(vec![kind("reload"), must("seq", whole(), seq)]);
    let publish = closed(vec![kind("publish"), must("topic", text(), ""), must("payload", text(), "")]);
    vec![
        Message::new("push_welcome", "The first frame; a toy has no numbers.", either(vec![welcome, toys])),
        Message::new("push_reload", "Events were lost to age: load all again, and go on from `seq`.", reload),
        Message::new("push_publish", "What a subscribed topic carries.", publish),
    ]
}

/// What older clients say and hear.
fn legacy() -> Vec<Message> {
    let played = || {
        [
            may("music", schema::file(), "To play, of /get_music/. Either this or `chat`."),
            may("chat", schema::file(), "To play, of /get_chat/."),
        ]
    };
    let said: Vec<_> = [must("to_user", id(), "The friend who shall play it.")].into_iter().chain(played()).collect();
    let heard = [must("to_user", id(), "Whose socket it is."), must("from_user", id(), "Who sent it.")];
    let kind = may("friend_type", party_kind(), "The sender's kind, beside `chat`.");
    let heard: Vec<_> = heard.into_iter().chain(played()).chain([kind]).collect();
    vec![
        Message::new("legacy_said", "Has a friend play a sound.", object(said)),
        Message::new("legacy_heard", "A sound to play.", closed(heard)),
    ]
}

/// What is said on topics and is no JSON object.
fn payloads() -> Vec<Message> {
    let chunk = || text().with("contentEncoding", "binary");
    let octets = "application/octet-stream";
    vec![
        Message::new("voice_chunk", "A piece of a recording.", chunk()).of_type(octets),
        Message::new("file_chunk", "A piece of a file.", chunk()).of_type(octets),
        Message::new("presence", "1: connected; 0: not.", schema::one_of(["0", "1"])).of_type("text/plain"),
        Message::new("anything", "What the two sides agree on.", Json::empty()).of_type(octets),
        Message::new("unreadable", "The answer to what is no request.", component("FailedRequest")),
    ]
}

/// The requests that one of `kind` makes over MQTT.
fn requests_of(kind: PartyKind) -> Vec<Asked> {
    let mut asked = calls();
    asked.retain(|asked| asked.takers.contains(&kind));
    asked
}

fn kind_of(topic: &Topic) -> PartyKind {
    if topic.address.starts_with("toy/") { PartyKind::Toy } else { PartyKind::App }
}

/// The names of the messages on a topic.
fn said_on(topic: &Topic) -> Vec<String> {
    let one = |name: &str| vec![name.to_owned()];
    match topic.payload {
        Payload::Inbox => {
            let events = events().into_iter().map(|event| event.name.into_owned());
            let answers = requests_of(kind_of(topic)).into_iter().map(|asked| asked.answer.name.into_owned());
            events.chain(answers).chain(one("unreadable")).collect()
        }
        Payload::Requests => requests_of(kind_of(topic)).into_iter().map(|asked| asked.ask.name.into_owned()).collect(),
        Payload::VoiceChunk => one("voice_chunk"),
        Payload::FileChunk => one("file_chunk"),
        Payload::Presence => one("presence"),
        Payload::Anything => one("anything"),
    }
}

/// The names of the messages at the app socket: what it takes, what it answers, what it says by itself.
fn said_at_socket() -> [Vec<String>; 3] {
    let asked: Vec<Asked> = words().into_iter().chain(calls()).collect();
    let (asks, answers) = asked.into_iter().map(|asked| (asked.ask.name.into(), asked.answer.name.into())).unzip();
    let pushes = pushes().into_iter().chain(events()).map(|push| push.name.into_owned()).collect();
    [asks, answers, pushes]
}

fn channels() -> Json {
    let messages = |names: Vec<String>| {
        map(names.into_iter().map(|name| {
            let message = reference("components/messages", &name);
            (name, message)
        }))
    };
    let channel = |address: String, about: String, servers: &[&str], names: Vec<String>| {
        let parameters: Vec<_> = PARAMETERS.iter().chain(&[("id", "The id of a user or a toy.")]).collect();
        let parameters = parameters.into_iter().filter(|(name, _)| address.contains(&format!("{{{name}}}")));
        let parameters: Vec<_> =
            parameters.map(|(name, about)| (*name, Json::object([("description", Json::from(*about))]))).collect();
        let channel = Json::object([
            ("address", address.into()),
            ("description", about.into()),
            ("servers", references("servers", servers.iter().copied())),
            ("messages", messages(names)),
        ]);
        if parameters.is_empty() { channel } else { channel.with("parameters", map(parameters)) }
    };
    let query = object(vec![
        may("ticket", text(), "A ticket of /ticket: good once, and soon."),
        may("after", whole(), "The number of the last event that the client has seen."),
    ]);
    let headers = object(vec![
        may("Authorization", text(), "`Bearer` and the token."),
        may("Sec-WebSocket-Protocol", exactly(ws::PROTOCOL), "The subprotocol."),
    ]);
    let binding = Json::object([
        ("method", "GET".into()),
        ("query", query),
        ("headers", headers),
        ("bindingVersion", "0.1.0".into()),
    ]);
    let socket =
        channel(ws::PATH.into(), format!("{SOCKET}{}", codes::close_table()), &["sockets"], said_at_socket().concat())
            .with("bindings", Json::object([("ws", binding)]))
            .with("x-close-codes", codes::close_codes());
    let older = ["legacyApp", "legacyToy"].into_iter().zip(ws::LEGACY_PATHS).map(|(key, path)| {
        let names = legacy().into_iter().map(|message| message.name.into_owned()).collect();
        let socket = channel(path.into(), LEGACY.into(), &["sockets", "legacySockets"], names);
        (key, socket.with("x-close-codes", codes::close_codes()))
    });
    let topics = TOPICS.iter().map(|topic| {
        let servers = ["mqtt", "mqttOverTls", "mqttOverWebSocket"];
        (topic.key, channel(topic.address.into(), topic.about.into(), &servers, said_on(topic)))
    });
    map([("socket", socket)].into_iter().chain(older).chain(topics))
}

fn operation(action: &'static str, channel: &str, about: &str, messages: &[String]) -> Json {
    let place = format!("channels/{channel}/messages");
    Json::object([
        ("action", action.into()),
        ("channel", reference("channels", channel)),
        ("summary", about.into()),
        ("messages", references(&place, messages.iter().map(String::as_str))),
    ])
}

/// A request at `channel`, and its answer at `reply`.
fn request(asked: &Asked, channel: &'static str, reply: &'static str) -> (String, Json) {
    let answers = references(&format!("channels/{reply}/messages"), [&*asked.answer.name]);
    let answered = Json::object([("channel", reference("channels", reply)), ("messages", answers)]);
    let asks = [asked.ask.name.clone().into_owned()];
    let operation = operation("receive", channel, asked.about, &asks).with("reply", answered);
    (format!("{channel}_{}", asked.word), operation)
}

fn operations() -> Json {
    let [_, _, pushes] = said_at_socket();
    let mut all = vec![("socket_push".to_owned(), operation("send", "socket", "What the hub says unasked.", &pushes))];
    all.extend(words().iter().chain(&calls()).map(|asked| request(asked, "socket", "socket")));
    for channel in ["legacyApp", "legacyToy"] {
        let said = ["legacy_said".to_owned()];
        all.push((format!("{channel}_said"), operation("receive", channel, "Has a friend play a sound.", &said)));
        let heard = ["legacy_heard".to_owned()];
        all.push((format!("{channel}_heard"), operation("send", channel, "What the client shall play.", &heard)));
    }
    for topic in &TOPICS {
        match topic.payload {
            Payload::Requests => {
                let (kind, reply) = match kind_of(topic) {
                    PartyKind::Toy => (PartyKind::Toy, "toyIn"),
                    PartyKind::App => (PartyKind::App, "appIn"),
                };
                all.extend(requests_of(kind).iter().map(|asked| request(asked, topic.key, reply)));
            }
            Payload::Inbox => {
                let told: Vec<_> = events().into_iter().map(|event| event.name.into_owned()).collect();
                let told: Vec<_> = told.into_iter().chain(["unreadable".to_owned()]).collect();
                all.push((format!("{}_told", topic.key), operation("send", topic.key, topic.about, &told)));
            }
            _ => {
                if topic.publishes != Who::Hub {
                    let said = operation("receive", topic.key, topic.about, &said_on(topic));
                    all.push((format!("{}_said", topic.key), said));
                }
                if topic.hears != Who::Hub {
                    let heard = operation("send", topic.key, topic.about, &said_on(topic));
                    all.push((format!("{}_heard", topic.key), heard));
                }
            }
        }
    }
    map(all)
}

fn components() -> Json {
    let asked = words().into_iter().chain(calls()).flat_map(|asked| [asked.ask, asked.answer]);
    let messages = asked.chain(pushes()).chain(events()).chain(legacy()).chain(payloads());
    let failed = shapes::failure(vec![must("id", whole(), "The number of the request; 0 where it cannot be read.")]);
    let schemas = shapes::components().into_iter().filter(|(name, _)| *name != "Failure");
    let schemas = schemas.chain([("FailedRequest", failed)]);
    let bearer = Json::object([
        ("type", "http".into()),
        ("scheme", "bearer".into()),
        ("description", "A token; the older sockets follow `[http] auth`.".into()),
    ]);
    let login = Json::object([
        ("type", "userPassword".into()),
        ("description", "Toy: device key, and its secret or a token. App: user id, and a token.".into()),
    ]);
    let number = Json::object([
        ("description", "The number of the request.".into()),
        ("location", "$message.payload#/id".into()),
    ]);
    Json::object([
        ("schemas", map(schemas)),
        ("messages", map(messages.map(|message| (message.name, message.json)))),
        ("correlationIds", Json::object([("id", number)])),
        ("securitySchemes", Json::object([("bearer", bearer), ("login", login)])),
    ])
}
