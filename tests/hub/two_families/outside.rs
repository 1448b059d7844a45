//! The matrix over all edges of the program: HTTP, the app socket, MQTT with its topics, wills and shares, files, links,
//! tickets, and the legacy sockets; in the modes `place` and `token`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::multipart::{Form, Part};
use serde_json::{Map, Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use toyhub::api::{self, ServedAt};
use toyhub::edge::ws::WORDS;

use super::assignments::assignments;
use super::{Pool, Secrets, Tally};
use crate::mqtt::{Raw, V5, connect, connect_with, publish, subscribe, text};
use crate::sound;
use crate::spec::document;
use crate::world::{Toy, User, World, within};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Ways to fill the fields of one call that are tried over HTTP and over the socket; the registry's own matrix has all.
const FILLED_MAX: usize = 30;
/// The time without a message after which none is expected. The hub has answered a later request by then.
const QUIET: Duration = Duration::from_millis(200);

fn some<T>(all: Vec<T>) -> impl Iterator<Item = T> {
    let step = all.len().div_ceil(FILLED_MAX).max(1);
    all.into_iter().step_by(step)
}

/// The settings of a hub for [`disclose_nothing`].
pub const SETTINGS: [(&str, &str); 8] = [
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000"),
    ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", "100000"),
    ("TOYHUB_RATES__FAILED_LOGINS_PER_ACCOUNT_PER_MINUTE", "100000"),
    ("TOYHUB_ACCOUNTS__PENDING_REQUESTS_MAX", "100000"),
    ("TOYHUB_ACCOUNTS__PASSWORD_MEMORY_KIB", "8"),
    ("TOYHUB_WS__REQUESTS_PER_SECOND", "100000"),
    ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "1000"),
    ("TOYHUB_MQTT__FLAPPING_BAN_S", "0"),
];

/// The family, the other one, and the credentials of the other one.
struct Cast {
    world: World,
    parent: User,
    toy: Toy,
    other: User,
    others_toy: Toy,
    /// The token of a user who has logged out.
    logged_out: String,
    client: reqwest::Client,
    secrets: Secrets,
    pool: Pool,
}

async fn call(client: &reqwest::Client, world: &World, path: &str, token: Option<&str>, body: &Value) -> String {
    let request = client.post(format!("{}{path}", world.http())).json(body);
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    within(path, within(path, request.send()).await.unwrap().text()).await.unwrap()
}

async fn upload(
    client: &reqwest::Client,
    world: &World,
    path: &str,
    token: Option<&str>,
    fields: &Map<String, Value>,
) -> String {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| {
        form.text(name.clone(), value.as_str().map_or(value.to_string(), str::to_owned))
    });
    let form = form.part("reco", Part::bytes(sound::beep()).file_name("a.wav"));
    let request = client.post(format!("{}{path}", world.http())).multipart(form);
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    within(path, within(path, request.send()).await.unwrap().text()).await.unwrap()
}

impl Cast {
    async fn over(world: World) -> Self {
        let parent = world.user("mia-with-a-toy").await;
        let toy = world.toy(&parent, "Fluffy-of-mia").await;
        let client = reqwest::Client::builder().local_address(ELSEWHERE).build().unwrap();
        let login =
            json!({"username": "eve-the-other", "password": "password-of-eve", "nickname": "Eve", "gender": "2"});
        call(&client, &world, "/reg", None, &login).await;
        let login: Value = serde_json::from_str(&call(&client, &world, "/login", None, &login).await).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        let other = User {
            id: text(&login["data"]["_id"]),
            username: "eve-the-other".into(),
            token: text(&login["data"]["token"]),
        };
        let (device_key, secret) = world.device().await;
        let binding = json!({
            "toy_name": "Rex", "baby_name": "Bob", "remark": "E", "user_id": other.id, "device_key": device_key,
        });
        call(&client, &world, "/bind_toy", Some(&other.token), &binding).await;
        let toys = call(&client, &world, "/toy_list", Some(&other.token), &json!({"_id": other.id})).await;
        let toys: Value = serde_json::from_str(&toys).unwrap();
        let others_toy = Toy { id: text(&toys["data"][0]["_id"]), device_key, secret };

        let logged_out = world.user("liz-logged-out").await.token;
        world.run(&["user", "log-out", "liz-logged-out"]).await;
        let names = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
        let sent = world.upload("/app_uploader", "reco_file", sound::tone(1), &names).await;
        let names = [("user_id", toy.id.as_str()), ("to_user", &parent.id)];
        assert_eq!(world.upload("/toy_uploader", "reco", sound::tone(2), &names).await["code"], 0);
        let friends = world.post_as(&parent, "/friend_list", json!({"_id": parent.id})).await;
        let chat = text(&friends["data"][0]["friend_chat"]);
        let unread = world.app(&parent).await.ask(json!({"do": "unread"})).await;
        let recording = text(&unread["data"]["messages"][0]["message"]);
        let notice = text(&sent["data"]["filename"]);

        let mut secrets = Secrets::default();
        for (name, value) in [
            ("the parent's id", &parent.id),
            ("the toy's id", &toy.id),
            ("the chat", &chat),
            ("a recording", &recording),
            ("a notice", &notice),
            ("a message's id", &text(&sent["data"]["_id"])),
            ("a user name", &"mia-with-a-toy".to_owned()),
            ("the toy's name", &"Fluffy-of-mia".to_owned()),
            ("a token", &parent.token),
        ] {
            secrets.add(name, value);
        }
        let pool = Pool {
            own: vec![other.id.clone(), others_toy.id.clone()],
            ids: vec![parent.id.clone(), toy.id.clone(), chat, text(&sent["data"]["_id"])],
            device_key: toy.device_key.clone(),
            sounds: vec![recording, notice],
            upload: "upload-of-mia".into(),
        };
        Self { world, parent, toy, other, others_toy, logged_out, client, secrets, pool }
    }

    async fn restart(&mut self, mode: &'static str) {
        assert_eq!(self.world.stop().await, Some(0));
        self.world.set("TOYHUB_AUTH__MODE", mode);
        self.world.start_hub().await;
    }

    fn tokens(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("without a token", None),
            ("with its own token", Some(self.other.token.clone())),
            ("with a guessed token", Some("0123456789abcdef".repeat(4))),
            ("with the token of a user who has logged out", Some(self.logged_out.clone())),
        ]
    }

    async fn http(&self, tally: &mut Tally) {
        for entry in api::calls().filter(|entry| entry.facts.served_at != ServedAt::Connection) {
            let path = format!("/{}", entry.facts.name);
            for fields in some(assignments(&(entry.fields)(), &self.pool)) {
                for (who, token) in self.tokens() {
                    let answer = match entry.takes_recording {
                        true => upload(&self.client, &self.world, &path, token.as_deref(), &fields).await,
                        false => call(&self.client, &self.world, &path, token.as_deref(), &json!(fields)).await,
                    };
                    assert!(!answer.contains("\"code\":19"), "{path} {fields:?}: {answer}");
                    tally.note(&self.secrets, who, entry.facts.name, &json!(fields).to_string(), &answer);
                }
            }
        }
    }

    /// A socket of the other family, at its own address.
    async fn socket(&self, path: &str, token: Option<&str>) -> Option<WebSocketStream<TcpStream>> {
        let address = self.world.http_addr();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ELSEWHERE, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
        }
        Some(tokio_tungstenite::client_async(request, stream).await.ok()?.0)
    }

    /// An app's socket that has logged in.
    async fn app(&self) -> WebSocketStream<TcpStream> {
        let mut socket = self.socket("/ws", None).await.unwrap();
        let auth = json!({"id": 1, "do": "auth", "token": self.other.token});
        socket.send(Message::text(auth.to_string())).await.unwrap();
        let (_, answer) = next(&mut socket, 1).await.expect("the other family logs in");
        assert_eq!(answer["code"], 0, "{answer}");
        socket
    }

    /// The app socket with every word: its own and those of the calls.
    async fn words(&self, tally: &mut Tally) {
        let calls = api::calls().filter(|entry| entry.facts.served_at != ServedAt::Http);
        let calls = calls.map(|entry| (entry.facts.name, (entry.fields)()));
        // A logout affects only the caller.
        let own = WORDS.iter().filter(|word| word.word != "logout").map(|word| (word.word, (word.fields)()));
        let mut socket = self.app().await;
        for (word, fields) in calls.chain(own) {
            for mut fields in some(assignments(&fields, &self.pool)) {
                // The caller's own toy stays bound.
                if fields.values().any(|value| *value == self.others_toy.id.as_str()) {
                    continue;
                }
                fields.insert("do".into(), json!(word));
                fields.insert("id".into(), json!(7));
                fields.insert("upload".into(), json!("upload-of-mia"));
                fields.insert("chunks".into(), json!(1));
                let request = json!(fields).to_string();
                let sent = socket.send(Message::text(request.clone())).await;
                let answered = match sent {
                    Ok(()) => next(&mut socket, 7).await,
                    Err(_) => None,
                };
                match answered {
                    Some((all, _)) => tally.note(&self.secrets, "over its socket", word, &request, &all),
                    None => {
                        tally.tried += 1;
                        socket = self.app().await;
                    }
                }
            }
        }
        for topic in self.topics() {
            for word in ["subscribe", "publish"] {
                let request = json!({"id": 7, "do": word, "topic": topic, "payload": "intruder"});
                socket.send(Message::text(request.to_string())).await.unwrap();
                tally.tried += 1;
                let Some((_, answer)) = next(&mut socket, 7).await else {
                    socket = self.app().await;
                    continue;
                };
                if answer["code"] == 0 {
                    tally.leak(format!("{word} {topic} over the app socket"));
                }
            }
        }
    }

    /// Every topic of the documents with the family's ids, and filters that would match them.
    fn topics(&self) -> Vec<String> {
        let document = document("asyncapi.json");
        let channels = document["channels"].as_object().unwrap().values();
        let addresses =
            channels.filter_map(|channel| channel["address"].as_str()).filter(|address| address.contains('{'));
        let mut topics = Vec::new();
        for address in addresses {
            for id in &self.pool.ids {
                let levels = address.trim_start_matches('/').split('/').map(|level| match level {
                    "{toyId}" | "{userId}" | "{partyId}" | "{chatId}" => id.as_str(),
                    level if level.starts_with('{') => "1",
                    level => level,
                });
                topics.push(levels.collect::<Vec<_>>().join("/"));
            }
        }
        assert!(topics.len() > 30, "{topics:?}");
        topics
    }

    fn filters(&self) -> Vec<String> {
        let toy = &self.toy.id;
        let wide = [
            "#", "+/#", "+/+/in", "toy/+/in", "toy/+/#", "app/+/in", "online/+", "online/#", "chat/+", "chat/#",
            "$SYS/#",
        ];
        let wide = wide.into_iter().map(str::to_owned);
        let all: Vec<String> =
            self.topics().into_iter().chain(wide).chain([format!("toy/{toy}/#"), format!("toy/{toy}/+")]).collect();
        let shared: Vec<String> = all.iter().map(|filter| format!("$share/group/{filter}")).collect();
        all.into_iter().chain(shared).collect()
    }

    /// MQTT as the other toy: filters, topics, wills, and the calls on `out`.
    async fn mqtt(&self, tally: &mut Tally) {
        let (key, secret) = (&self.others_toy.device_key, &self.others_toy.secret);
        let mut raw = Raw::connected(self.world.mqtt_addr(), V5, "intruder", key, secret).await;
        for (number, filter) in (1u16..).zip(self.filters()) {
            raw.send(&subscribe(V5, number, &[(&filter, 1)])).await;
            let (kind, body) = raw.packet().await;
            tally.tried += 1;
            // Nothing retained comes before the answer, and none after a refusal.
            if kind != 0x90 || body.last().is_none_or(|reason| *reason < 0x80) {
                tally.leak(format!("subscribe {filter}: {kind:x} {body:x?}"));
            }
        }
        raw.expect_silence().await;
        for (number, topic) in (1u16..).zip(self.topics()) {
            raw.send(&publish(V5, 0x33, &topic, number, b"intruder")).await;
            let (kind, body) = raw.packet().await;
            tally.tried += 1;
            if kind != 0x40 || body.get(2).is_none_or(|reason| *reason < 0x80) {
                tally.leak(format!("publish {topic}: {kind:x} {body:x?}"));
            }
        }
        raw.expect_silence().await;
        for topic in self.topics() {
            let will = [&[0][..], &text(&topic), &text("intruder")].concat();
            let mut dying = Raw::open(self.world.mqtt_addr()).await;
            // A retained will of QoS 1, whose sender then disconnects without DISCONNECT.
            dying.send(&connect_with(V5, 0xc2 | 0x2c, 60, &[], "dying", &will, key, secret)).await;
            tally.tried += 1;
            let _ = dying.packet().await;
            drop(dying);
        }
        for (user, password) in [
            (self.toy.device_key.as_str(), self.toy.device_key.as_str()),
            (&self.toy.device_key, &self.others_toy.secret),
            (&self.toy.id, &self.others_toy.secret),
            (&self.parent.id, &self.other.token),
            (&self.toy.device_key, &self.other.token),
        ] {
            let mut raw = Raw::open(self.world.mqtt_addr()).await;
            raw.send(&connect(V5, "guess", user, password)).await;
            let (_, body) = raw.packet().await;
            tally.tried += 1;
            if body.get(1) == Some(&0) {
                tally.leak(format!("MQTT as {user}"));
            }
        }
    }

    /// Files by name, with forged links, and tickets.
    async fn files(&self, tally: &mut Tally) {
        let unread = self.world.app(&self.parent).await.ask(json!({"do": "unread"})).await;
        let link = unread["data"]["messages"][0]["url"].as_str().unwrap().to_owned();
        let link_of_notice = unread["data"]["messages"][0]["notice_url"].as_str().unwrap().to_owned();
        let (path, signature) = link.split_once("?sig=").unwrap();
        let parts: Vec<&str> = signature.split('-').collect();
        let [until, party, mac] = parts[..] else { panic!("{link}") };
        let get = async |path: &str, token: Option<&str>| {
            let request = self.client.get(format!("{}{path}", self.world.http()));
            let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
            within(path, request.send()).await.unwrap().status().as_u16()
        };
        for (who, token) in self.tokens() {
            for name in &self.pool.sounds {
                let forged = [
                    format!("/get_chat/{name}"),
                    format!("/get_music/{name}"),
                    format!("/get_image/{name}"),
                    format!("/get_chat/{name}?sig={until}-{party}-{}", "0".repeat(64)),
                    format!("/get_chat/{name}?sig={until}-a{}-{mac}", self.other.id),
                    format!("/get_chat/{name}?sig={}-{party}-{mac}", u64::MAX),
                    format!("/get_chat/{name}?sig="),
                    format!("/get_chat/{name}?token={}", self.other.token),
                ];
                for path in forged {
                    tally.tried += 1;
                    // A notice belongs to no chat: any caller with a token, or at a known place, may download it by its
                    // name.
                    let is_valid = ["without a token", "with its own token"].contains(&who);
                    let is_notice = name.starts_with("say-") && is_valid;
                    let status = get(&path, token.as_deref()).await;
                    if status < 400 && !is_notice {
                        tally.leak(format!("{path} {who}: {status}"));
                    }
                }
            }
        }
        // The link itself is valid for any client, and for this sound only.
        assert_eq!(get(&link, None).await, 200);
        assert_eq!(self.pool.sounds[0], path.trim_start_matches("/get_chat/"));
        let others = link_of_notice.split_once('?').unwrap().1;
        if get(&format!("{path}?{others}"), None).await < 400 {
            tally.leak("the link of another sound".into());
        }
        let ticket = call(&self.client, &self.world, "/ticket", Some(&self.parent.token), &json!({})).await;
        let ticket: Value = serde_json::from_str(&ticket).unwrap();
        let ticket = ticket["data"]["ticket"].as_str().unwrap();
        let mut used = self.socket(&format!("/ws?ticket={ticket}"), None).await.unwrap();
        within("a welcome", used.next()).await.unwrap().unwrap();
        for ticket in [ticket, &"0123456789abcdef".repeat(4), &self.parent.id, &self.toy.device_key] {
            tally.tried += 1;
            if opens(self.socket(&format!("/ws?ticket={ticket}"), None).await).await {
                tally.leak("a ticket that is used or guessed".into());
            }
        }
    }

    /// The legacy sockets.
    async fn older_sockets(&self, tally: &mut Tally) {
        for path in
            [format!("/toy/{}", self.toy.id), format!("/app/{}", self.parent.id), format!("/toy/{}", self.parent.id)]
        {
            for (who, token) in self.tokens() {
                tally.tried += 1;
                if opens(self.socket(&path, token.as_deref()).await).await {
                    tally.leak(format!("{path} {who}"));
                }
            }
        }
        let own = format!("/app/{}", self.other.id);
        let mut socket = self.socket(&own, Some(&self.other.token)).await.unwrap();
        for to in &self.pool.ids {
            for played in ["music", "chat"] {
                tally.tried += 1;
                let frame = json!({"to_user": to, "from_user": self.parent.id, played: self.pool.sounds[0], "friend_type": "toy"});
                socket.send(Message::text(frame.to_string())).await.unwrap();
            }
        }
        let _ = tokio::time::timeout(QUIET, socket.next()).await;
    }

    /// The family's own view of its data.
    async fn picture(&self) -> String {
        let as_toy =
            self.world.ok("/open_toy", json!({"device_key": self.toy.device_key, "token": self.toy.secret})).await;
        let token = as_toy["token"].as_str().unwrap().to_owned();
        let as_toy = User { id: self.toy.id.clone(), username: String::new(), token };
        let mut picture = Vec::new();
        for (who, path) in [
            (&self.parent, "/auto_login"),
            (&self.parent, "/toy_list"),
            (&self.parent, "/friend_list"),
            (&as_toy, "/friend_list"),
        ] {
            let answer = self.world.post_as(who, path, json!({"_id": who.id})).await;
            assert_eq!(answer["code"], 0, "{path}: {answer}");
            picture.push(answer);
        }
        json!(picture).to_string()
    }

    /// The whole matrix, while the family's own clients are subscribed and publish.
    async fn run(&self, mode: &str) -> Tally {
        let mut tally = Tally::of(&self.pool);
        let before = self.picture().await;
        let mut ears = self.world.app(&self.parent).await;
        for topic in [format!("toy/{}/state/#", self.toy.id), format!("chat/{}", self.pool.ids[2])] {
            assert_eq!(ears.ask(json!({"do": "subscribe", "topic": topic})).await["code"], 0);
        }
        let mut toy = Raw::connected(self.world.mqtt_addr(), V5, "toy", &self.toy.device_key, &self.toy.secret).await;
        toy.send(&subscribe(V5, 1, &[(&format!("toy/{}/cmd/#", self.toy.id), 1)])).await;
        toy.packet().await;
        self.http(&mut tally).await;
        self.words(&mut tally).await;
        self.mqtt(&mut tally).await;
        self.files(&mut tally).await;
        self.older_sockets(&mut tally).await;
        // A client that is subscribed to everything it was granted receives no message of the family now.
        let mut spy = self.app().await;
        let state = publish(V5, 0x33, &format!("toy/{}/state/battery", self.toy.id), 9, b"state-of-fluffy");
        toy.send(&state).await;
        assert_eq!(toy.packet().await.0, 0x40, "nothing of the others came before it");
        loop {
            let frame = ears.frame().await;
            let told = frame.to_string();
            assert!(!told.contains("intruder"), "{told}");
            if told.contains("state-of-fluffy") {
                break;
            }
        }
        spy.send(Message::text(json!({"id": 8, "do": "ping"}).to_string())).await.unwrap();
        let (heard, _) = next(&mut spy, 8).await.unwrap();
        tally.note(&self.secrets, "a live event", "listening", "", &heard);
        assert!(!heard.contains("state-of-fluffy"), "{heard}");
        if self.picture().await != before {
            tally.leak("an effect".into());
        }
        tally.print(&format!("{mode}: through the edges"));
        tally
    }
}

/// All frames up to the answer with this number, and the answer; none if the socket ends.
async fn next(socket: &mut WebSocketStream<TcpStream>, id: u64) -> Option<(String, Value)> {
    let mut all = String::new();
    within("an answer at the socket", async {
        loop {
            match socket.next().await?.ok()? {
                Message::Text(text) => {
                    all.push_str(&text);
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["id"] == id {
                        return Some((all, frame));
                    }
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    })
    .await
}

/// Whether a socket stays open.
async fn opens(socket: Option<WebSocketStream<TcpStream>>) -> bool {
    let Some(mut socket) = socket else { return false };
    match tokio::time::timeout(QUIET * 10, socket.next()).await {
        Ok(next) => !matches!(next, Some(Ok(Message::Close(_)) | Err(_)) | None),
        Err(_) => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_edge_discloses_data_of_another_family() {
    let mut cast = Cast::over(World::start_with(&SETTINGS).await).await;
    cast.run("place").await.assert_tight();
    cast.restart("token").await;
    cast.run("token").await.assert_tight();
}

/// The whole matrix, in the mode of the world's hubs.
pub async fn disclose_nothing(world: World) {
    Cast::over(world).await.run("behind a balancer").await.assert_tight();
}
