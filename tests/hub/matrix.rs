//! Every kind of toy with every kind of app, both ways, live and after an absence: each message arrives, once, and its
//! sender is notified that it was read.

use std::collections::VecDeque;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::mqtt::{Raw, V4, V5, publish, subscribe};
use crate::sound;
use crate::world::{App, Toy, User, World, within};

/// The protocol of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A toy, or by MQTT.js an app.
    Mqtt(u8),
    /// The current app socket.
    Socket,
    /// The older socket, with HTTP for the recordings.
    Legacy,
    /// HTTP alone.
    Http,
}

#[derive(Clone)]
enum Who {
    Toy(Toy),
    App(User),
}

/// A client, with its connection while it has one.
struct Client {
    kind: Kind,
    who: Who,
    link: Link,
    /// The number of the last event that an app socket has seen.
    seen: u64,
    uploads: u32,
    /// All recordings that it was notified of.
    told: Vec<String>,
}

enum Link {
    None,
    Device(Device),
    Script(Script),
    Socket(App),
}

/// A toy on MQTT.
struct Device {
    raw: Raw,
    level: u8,
    topics: String,
    packet_id: u16,
}

impl Device {
    async fn open(world: &World, toy: &Toy, level: u8) -> Self {
        let mut raw = Raw::connected(world.mqtt_addr(), level, "toy", &toy.device_key, &toy.secret).await;
        let topics = format!("toy/{}", toy.id);
        raw.send(&subscribe(level, 1, &[(&format!("{topics}/in"), 1)])).await;
        let mut device = Self { raw, level, topics, packet_id: 1 };
        while device.packet().await.0 != 0x90 {}
        device
    }

    /// The next packet that is not an acknowledgement; an event is acknowledged, and given as its JSON.
    async fn packet(&mut self) -> (u8, Value) {
        loop {
            let (byte1, body) = self.raw.packet().await;
            match byte1 >> 4 {
                3 => {
                    let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    self.raw.send(&[0x40, 2, body[topic], body[topic + 1]]).await;
                    let payload = topic + 2 + usize::from(self.level == V5);
                    return (byte1, serde_json::from_slice(&body[payload..]).unwrap());
                }
                4 => {}
                _ => return (byte1, Value::Null),
            }
        }
    }

    async fn publish(&mut self, rest: &str, payload: &[u8]) {
        self.packet_id += 1;
        let topic = format!("{}/{rest}", self.topics);
        self.raw.send(&publish(self.level, 0x32, &topic, self.packet_id, payload)).await;
    }
}

/// An app on MQTT.js.
struct Script {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
    topics: String,
    early: VecDeque<Value>,
}

impl Script {
    async fn open(world: &World, user: &User) -> Self {
        let folder = [env!("CARGO_MANIFEST_DIR"), "tests", "clients", "mqttjs_app.mjs"];
        let mut child = Command::new("node")
            .arg(folder.iter().collect::<std::path::PathBuf>())
            .args([&format!("ws://{}/mqtt", world.http_addr()), &user.id, &user.token])
            .env("NODE_PATH", crate::clients::installed("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take().unwrap();
        let topics = format!("app/{}", user.id);
        let mut script = Self { _child: child, lines, input, topics, early: VecDeque::new() };
        // Queued messages may precede the answer to the subscription.
        loop {
            let line = script.read().await;
            if line["type"] == "ready" {
                return script;
            }
            script.early.push_back(line);
        }
    }

    async fn line(&mut self) -> Value {
        match self.early.pop_front() {
            Some(line) => line,
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Value {
        let line = within("a line of MQTT.js", self.lines.next_line()).await.unwrap().expect("MQTT.js ended");
        serde_json::from_str(&line).unwrap()
    }

    async fn publish(&mut self, rest: &str, payload: &[u8]) {
        let line = json!({"topic": format!("{}/{rest}", self.topics), "base64": STANDARD.encode(payload)});
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

impl Client {
    fn new(kind: Kind, who: Who) -> Self {
        Self { kind, who, link: Link::None, seen: 0, uploads: 0, told: Vec::new() }
    }

    fn id(&self) -> &str {
        match &self.who {
            Who::Toy(toy) => &toy.id,
            Who::App(user) => &user.id,
        }
    }

    fn name(&self) -> String {
        let who = if matches!(self.who, Who::Toy(_)) { "toy" } else { "app" };
        format!("{who} {:?}", self.kind)
    }

    async fn connect(&mut self, world: &World) {
        if !matches!(self.link, Link::None) {
            return;
        }
        self.link = match (self.kind, &self.who) {
            (Kind::Mqtt(level), Who::Toy(toy)) => Link::Device(Device::open(world, toy, level).await),
            (Kind::Mqtt(_), Who::App(user)) => Link::Script(Script::open(world, user).await),
            (Kind::Socket, Who::App(user)) => Link::Socket(world.app_after(user, self.seen).await.0),
            (Kind::Legacy, Who::App(user)) => {
                Link::Socket(world.legacy_socket(&format!("/app/{}", user.id), Some(&user.token)).await)
            }
            (Kind::Legacy, Who::Toy(toy)) => Link::Socket(world.legacy_socket(&format!("/toy/{}", toy.id), None).await),
            _ => Link::None,
        };
    }

    /// Disconnects, and returns when the hub has noticed.
    async fn leave(&mut self, world: &World, watcher: &User) {
        if !matches!(std::mem::replace(&mut self.link, Link::None), Link::None) {
            world.wait_online(watcher, self.id(), "0").await;
        }
    }

    /// Sends a recording in its own way.
    async fn send(&mut self, world: &World, to: &str) {
        self.uploads += 1;
        let (number, recording) = (self.uploads, sound::beep());
        let (call, friend_type) = match self.who {
            Who::Toy(_) => ("toy_uploader", "app"),
            Who::App(_) => ("app_uploader", "toy"),
        };
        let upload = format!("u{number}");
        let request = json!({"id": number, "do": call, "to_user": to, "upload": upload, "chunks": 1});
        match (&mut self.link, &self.who) {
            (Link::Device(device), _) => {
                device.publish(&format!("voice/{upload}/0"), &recording).await;
                device.publish("out", request.to_string().as_bytes()).await;
                while device.packet().await.1["id"] != number {}
            }
            (Link::Script(script), _) => {
                script.publish(&format!("voice/{upload}/0"), &recording).await;
                script.publish("out", request.to_string().as_bytes()).await;
                while script.line().await["id"] != number {}
            }
            (Link::Socket(app), Who::App(_)) if self.kind == Kind::Socket => {
                let voice = json!({"do": "voice", "upload": upload, "n": 0, "data": STANDARD.encode(&recording)});
                assert_eq!(ask(app, &mut self.seen, voice).await["code"], 0);
                assert_eq!(ask(app, &mut self.seen, request).await["code"], 0);
            }
            (link, who) => {
                let (path, field, mut fields) = match who {
                    Who::Toy(toy) => ("/toy_uploader", "reco", vec![("user_id", toy.id.as_str())]),
                    Who::App(user) => {
                        ("/app_uploader", "reco_file", vec![("user_id", user.id.as_str()), ("token", &user.token)])
                    }
                };
                fields.extend([("to_user", to), ("friend_type", friend_type)]);
                let sent = world.upload(path, field, recording, &fields).await;
                assert_eq!(sent["code"], 0, "{sent}");
                // Legacy clients also notify their friend themselves.
                if let Link::Socket(socket) = link {
                    let from = fields[0].1;
                    let chat = &sent["data"]["filename"];
                    let kind = if matches!(who, Who::Toy(_)) { "toy" } else { "app" };
                    socket.send(json!({"to_user": to, "from_user": from, "chat": chat, "friend_type": kind})).await;
                }
            }
        }
    }

    /// Waits until it is notified of a message, records it, and fetches it.
    async fn receive(&mut self, world: &World, from: &str) {
        let to = self.id().to_owned();
        let announced = match &mut self.link {
            Link::Device(device) => loop {
                let (_, event) = device.packet().await;
                if event["type"] == "message" {
                    break Some(event);
                }
            },
            Link::Script(script) => loop {
                let event = script.line().await;
                if event["type"] == "message" {
                    break Some(event);
                }
            },
            Link::Socket(app) => {
                let frame = loop {
                    let frame = app.frame().await;
                    note(&frame, &mut self.seen);
                    if self.kind == Kind::Legacy || frame["type"] == "message" {
                        break frame;
                    }
                };
                Some(frame)
            }
            Link::None => None,
        };
        if let Some(event) = &announced {
            assert_eq!(event["from_user"], from, "{event}");
        }
        let body = json!({"from_user": from, "to_user": to});
        let list = match &self.who {
            Who::Toy(_) => world.post("/recv_msg", body).await.1,
            Who::App(user) => world.post_as(user, "/recv_msg", body).await,
        };
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{}: one message, not {list}", self.name());
        let recording = list[0]["message"].as_str().unwrap().to_owned();
        let is_notice = self.kind == Kind::Legacy && matches!(self.who, Who::Toy(_));
        if let Some(event) = announced.filter(|_| !is_notice) {
            assert_eq!(event["chat"], recording.as_str());
        }
        assert!(!self.told.contains(&recording), "twice");
        self.told.push(recording);
    }
}

/// Sends a request on an app's socket, and records the events that arrive meanwhile.
async fn ask(app: &mut App, seen: &mut u64, mut request: Value) -> Value {
    request["id"] = json!(1_000_000);
    app.send(request).await;
    loop {
        let frame = app.frame().await;
        if frame["id"] == 1_000_000 {
            return frame;
        }
        note(&frame, seen);
    }
}

/// The events of a stream come in order and without a gap.
fn note(frame: &Value, seen: &mut u64) {
    if let Some(seq) = frame["seq"].as_u64() {
        assert_eq!(seq, *seen + 1, "{frame}");
        *seen = seq;
    }
}

/// Makes a user the friend of another party, for which `owner` answers.
pub async fn befriend(world: &World, user: &User, other: &str, owner: &User) {
    let wish = json!({"req_user": user.id, "add_user": other, "type": "app", "req_info": "", "remark": "T"});
    assert_eq!(world.post_as(user, "/add_req", wish).await["code"], 0);
    world.accept(owner, "U").await;
}

/// Whether all messages from a user to a friend were read.
async fn are_all_read(world: &World, user: &User, friend: &str) -> bool {
    let friends = world.post_as(user, "/friend_list", json!({"_id": user.id})).await;
    let entry = friends["data"].as_array().unwrap().iter().find(|entry| entry["friend_id"] == friend).unwrap().clone();
    let wanted = json!({"chat_id": entry["friend_chat"], "to_user": user.id, "from_user": friend});
    let list = world.post_as(user, "/chat_list", wanted).await;
    let own = list["data"].as_array().unwrap().iter().filter(|message| message["from_user"] == user.id.as_str());
    own.map(|message| message["state"].clone()).all(|state| state == "heard")
}

/// The settings of a hub for [`everyone_with_everyone`].
pub const SETTINGS: [(&str, &str); 3] = [
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000"),
    ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", "10000"),
    ("TOYHUB_WS__REQUESTS_PER_SECOND", "1000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_toy_and_every_kind_of_app_reach_each_other() {
    everyone_with_everyone(World::start_with(&SETTINGS).await).await;
}

pub async fn everyone_with_everyone(world: World) {
    let (mut toys, mut apps) = (Vec::new(), Vec::new());
    let kinds = [
        (Kind::Mqtt(V4), Kind::Socket),
        (Kind::Mqtt(V5), Kind::Mqtt(V5)),
        (Kind::Legacy, Kind::Legacy),
        (Kind::Http, Kind::Http),
    ];
    for (number, (of_toy, of_app)) in kinds.into_iter().enumerate() {
        let user = world.user(&format!("user-{number}")).await;
        let toy = world.toy(&user, &format!("Toy {number}")).await;
        toys.push(Client::new(of_toy, Who::Toy(toy)));
        apps.push(Client::new(of_app, Who::App(user)));
    }
    let users: Vec<User> =
        apps.iter().filter_map(|app| if let Who::App(user) = &app.who { Some(user.clone()) } else { None }).collect();
    // A friend of all parties receives their presence.
    let witness = world.user("witness").await;
    for (owner, toy) in users.iter().zip(&toys) {
        for user in users.iter().filter(|user| user.id != owner.id).chain([&witness]) {
            befriend(&world, user, toy.id(), owner).await;
        }
        befriend(&world, &witness, &owner.id, owner).await;
    }
    // Events that an app socket has received by now are not checked.
    for (app, user) in apps.iter_mut().zip(&users) {
        let mut socket = world.socket("/ws").await;
        socket.send(json!({"do": "auth", "token": user.token})).await;
        socket.frame().await;
        app.seen = socket.frame().await["seq"].as_u64().unwrap();
    }

    let mut sent = 0;
    for away in [false, true] {
        for toy in &mut toys {
            for (app, user) in apps.iter_mut().zip(&users) {
                for from_toy in [true, false] {
                    let (sender, receiver) = if from_toy { (&mut *toy, &mut *app) } else { (&mut *app, &mut *toy) };
                    let case = format!("{} to {}, away: {away}", sender.name(), receiver.name());
                    println!("{case}");
                    sender.connect(&world).await;
                    if away {
                        receiver.leave(&world, &witness).await;
                        sender.send(&world, receiver.id()).await;
                        receiver.connect(&world).await;
                    } else {
                        receiver.connect(&world).await;
                        sender.send(&world, receiver.id()).await;
                    }
                    let from = sender.id().to_owned();
                    receiver.receive(&world, &from).await;
                    if !from_toy {
                        // The hub marks messages when their answer has been sent: shortly afterwards.
                        let marked = async { while !are_all_read(&world, user, receiver.id()).await {} };
                        within(&case, marked).await;
                    }
                    sent += 1;
                }
            }
        }
    }
    assert_eq!((sent, toys.iter().chain(&apps).map(|client| client.told.len()).sum::<usize>()), (64, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_plays_music_at_a_friend_and_not_at_a_stranger() {
    music_for_a_friend(World::start().await).await;
}

pub async fn music_for_a_friend(world: World) {
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let stranger = world.bound_toy("Rex").await;
    let path = format!("/toy/{}", toy.id);
    let mut ears = world.legacy_socket(&path, None).await;
    let mut others = world.legacy_socket(&format!("/toy/{}", stranger.id), None).await;
    let mut app = world.legacy_socket(&format!("/app/{}", parent.id), Some(&parent.token)).await;
    others.send(json!({"to_user": toy.id, "music": "Success.mp3"})).await;
    for junk in ["", "no json", "[]", r#"{"to_user":"x","music":"a"}"#, r#"{"music":"../../x"}"#] {
        app.send_raw(tokio_tungstenite::tungstenite::Message::text(junk)).await;
    }
    app.send(json!({"to_user": toy.id, "music": "Success.mp3"})).await;
    let expected = json!({"to_user": toy.id, "from_user": parent.id, "music": "Success.mp3"});
    assert_eq!(ears.frame().await, expected, "the friend's alone");

    // An offline toy loses no stored message: it stays unread.
    drop(ears);
    world.wait_online(&parent, &toy.id, "0").await;
    app.send(json!({"to_user": toy.id, "music": "Success.mp3"})).await;
    let mut ears = within("what waits", async {
        loop {
            if world.unread_of(&toy).await == 1 {
                break world.legacy_socket(&path, None).await;
            }
        }
    })
    .await;
    let frame = ears.frame().await;
    assert_eq!((&frame["from_user"], &frame["friend_type"]), (&json!(parent.id), &json!("app")));
    let (_, list) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    let name = list[0]["message"].as_str().unwrap();
    let [song, copy] = ["get_music/Success.mp3", &format!("get_chat/{name}")].map(|path| {
        let url = format!("{}/{path}", world.http());
        async { world.client().get(url).send().await.unwrap().bytes().await.unwrap() }
    });
    assert_eq!(song.await, copy.await);

    // The permission is that of the calls: a token in the request must be the party's.
    let other = world.user("other").await;
    let mut thief = world.legacy_socket(&format!("/app/{}", parent.id), Some(&other.token)).await;
    assert_eq!(thief.close_code().await, 4500);
    let mut nobody = world.legacy_socket("/toy/5c8f5853268d7942f44c6705", None).await;
    assert_eq!(nobody.close_code().await, 4500);
    let mut wrong_kind = world.legacy_socket(&format!("/app/{}", toy.id), None).await;
    assert_eq!(wrong_kind.close_code().await, 4500);
}
