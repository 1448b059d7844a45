//! `[auth] mode = "place"`: a family with the documented calls alone, without tokens, from one address; and a stranger at
//! another address, who has photographed the toy's QR code and even knows all ids.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::mqtt::{Raw, V5};
use crate::sound;
use crate::speech::doctor;
use crate::world::{Toy, User, World, within};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A client at another address of this machine.
pub struct Stranger {
    client: reqwest::Client,
    http: String,
}

impl Stranger {
    pub fn new(world: &World) -> Self {
        let client = reqwest::Client::builder().local_address(ELSEWHERE).build().unwrap();
        Self { client, http: world.http() }
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.http)).json(&body);
        within(path, request.send()).await.unwrap().json().await.unwrap()
    }

    async fn upload(&self, path: &str, field: &'static str, names: &[(&'static str, &str)]) -> Value {
        let part = reqwest::multipart::Part::bytes(sound::tone(1)).file_name("a.wav");
        let form = names
            .iter()
            .fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
        let request = self.client.post(format!("{}{path}", self.http)).multipart(form.part(field, part));
        within(path, request.send()).await.unwrap().json().await.unwrap()
    }

    async fn get(&self, path: &str) -> u16 {
        let request = self.client.get(format!("{}{path}", self.http));
        within(path, request.send()).await.unwrap().status().as_u16()
    }
}

pub struct Family {
    pub parent: User,
    pub toy: Toy,
    chat: String,
    to_toy: String,
    to_parent: String,
}

/// Registration, binding and messages with documented calls, none of which has a token.
pub async fn family(world: &World) -> Family {
    let new = json!({"username": "mia", "password": "correct horse", "nickname": "Mia", "gender": "2"});
    world.ok("/reg", new).await;
    let login = world.ok("/login", json!({"username": "mia", "password": "correct horse"})).await["data"].clone();
    let parent = User {
        id: login["_id"].as_str().unwrap().into(),
        username: "mia".into(),
        token: login["token"].as_str().unwrap().into(),
    };
    let (device_key, secret) = world.device().await;
    world.ok("/scan_qr", json!({"device_key": device_key})).await;
    let binding = json!({
        "toy_name": "Fluffy", "baby_name": "Ben", "remark": "Mama", "user_id": parent.id, "device_key": device_key,
    });
    world.ok("/bind_toy", binding).await;
    let opened = world.ok("/open_toy", json!({"device_key": device_key})).await;
    assert!(opened.get("token").is_none(), "the key alone gets no token: {opened}");
    let toy = Toy { id: opened["toy_id"].as_str().unwrap().into(), device_key, secret };
    world.ok("/auto_login", json!({"_id": parent.id})).await;
    world.ok("/content_list", json!({})).await;
    let list = world.ok("/toy_list", json!({"_id": parent.id})).await;
    assert_eq!(list["data"][0]["_id"], toy.id.as_str());
    let friends = world.ok("/friend_list", json!({"_id": parent.id})).await;
    let chat = friends["data"][0]["friend_chat"].as_str().unwrap().to_owned();
    let names = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", sound::tone(1), &names).await;
    assert_eq!(sent["code"], 0, "{sent}");
    let names = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let sent = world.upload("/toy_uploader", "reco", sound::tone(2), &names).await;
    assert_eq!(sent["code"], 0, "{sent}");
    let (_, received) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    let to_toy = received[0]["message"].as_str().unwrap().to_owned();
    let read = world.ok("/chat_list", json!({"chat_id": chat, "to_user": parent.id})).await;
    let to_parent = read["data"][1]["message"].as_str().unwrap().to_owned();
    for name in [&to_toy, &to_parent] {
        let played = world.client().get(format!("{}/get_chat/{name}", world.http())).send().await.unwrap();
        assert_eq!(played.status(), 200, "{name}");
    }
    Family { parent, toy, chat, to_toy, to_parent }
}

/// Each call that a stranger at another address tries with the family's ids and names is refused.
pub async fn assert_shut(world: &World, family: &Family) {
    let stranger = Stranger::new(world);
    let Family { parent, toy, chat, .. } = family;
    let calls = [
        ("/auto_login", json!({"_id": parent.id})),
        ("/toy_list", json!({"_id": parent.id})),
        ("/friend_list", json!({"_id": parent.id})),
        ("/friend_list", json!({"_id": toy.id})),
        ("/chat_list", json!({"chat_id": chat, "to_user": parent.id})),
        ("/chat_list", json!({"chat_id": chat, "to_user": toy.id})),
        ("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})),
        ("/recv_msg", json!({"from_user": toy.id, "to_user": parent.id})),
        ("/req_list", json!({"_id": parent.id})),
        ("/req_list", json!({"user_id": parent.id})),
        ("/scan_qr", json!({"device_key": toy.device_key})),
        ("/add_req", json!({"req_user": toy.id, "add_user": parent.id, "type": "toy", "req_info": "", "remark": "x"})),
        ("/acc_req", json!({"req_id": "5c8f582f268d7942f44c6703", "remark": "x"})),
        (
            "/bind_toy",
            json!({
                "toy_name": "x", "baby_name": "x", "remark": "x", "user_id": parent.id, "device_key": toy.device_key,
            }),
        ),
    ];
    for (path, body) in calls {
        let answer = stranger.post(path, body.clone()).await;
        assert_ne!(answer["code"], 0, "{path} {body}: {answer}");
        assert!(
            answer.is_object() && answer["data"].as_object().is_none_or(|data| data.is_empty()),
            "{path}: {answer}"
        );
        for secret in [&parent.id, &toy.id, chat, &family.to_toy, &family.to_parent] {
            assert!(!answer.to_string().contains(secret.as_str()), "{path} {body}: {answer}");
        }
    }
    let opened = stranger.post("/open_toy", json!({"device_key": toy.device_key})).await;
    assert_eq!(opened, json!({"code": 1, "music": "Nobind.mp3"}));
    for (path, field, from, to) in [
        ("/app_uploader", "reco_file", &parent.id, &toy.id),
        ("/toy_uploader", "reco", &toy.id, &parent.id),
        ("/ai_uploader", "reco", &toy.id, &toy.id),
    ] {
        let names = [("user_id", from.as_str()), ("toy_id", from.as_str()), ("to_user", to.as_str())];
        let answer = stranger.upload(path, field, &names).await;
        assert_eq!(answer["code"], 10, "{path}: {answer}");
    }
    for name in [&family.to_toy, &family.to_parent] {
        assert_eq!(stranger.get(&format!("/get_chat/{name}")).await, 401, "{name}");
        // One that does not exist is no other: the files are not looked at for a stranger.
        assert_eq!(stranger.get("/get_chat/0123456789abcdef0123456789abcdef.mp3").await, 401);
    }
    for path in [format!("/toy/{}", toy.id), format!("/app/{}", parent.id)] {
        assert!(!legacy_socket_opens(world.http_addr(), &path).await, "{path}");
    }
}

/// Whether a legacy socket from another address stays open.
async fn legacy_socket_opens(address: SocketAddr, path: &str) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ELSEWHERE, 0).into()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let request = format!("ws://{address}{path}").into_client_request().unwrap();
    let Ok((mut socket, _)) = tokio_tungstenite::client_async(request, stream).await else { return false };
    let next = within("a close frame", futures_util::StreamExt::next(&mut socket)).await;
    !matches!(next, Some(Ok(tokio_tungstenite::tungstenite::Message::Close(_))) | Some(Err(_)) | None)
}

#[tokio::test]
async fn a_family_without_tokens_is_served_only_at_its_own_address() {
    let world = World::start().await;
    let family = family(&world).await;
    let unread = world.unread_of(&family.toy).await;
    assert_shut(&world, &family).await;
    assert_eq!(world.unread_of(&family.toy).await, unread, "nothing was sent or read by the stranger");

    // A login there authenticates only the parent there.
    let stranger = Stranger::new(&world);
    stranger.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    assert_eq!(stranger.post("/auto_login", json!({"_id": family.parent.id})).await["code"], 0);
    assert_eq!(stranger.post("/friend_list", json!({"_id": family.toy.id})).await["code"], 10);
    world.run(&["user", "log-out", "mia"]).await;
    assert_eq!(
        stranger.post("/auto_login", json!({"_id": family.parent.id})).await["code"],
        10,
        "places are forgotten"
    );
}

/// A documented request, which a client can repeat.
enum Asked {
    Call(&'static str, Value),
    Upload(&'static str, &'static str, Vec<(&'static str, String)>),
    Get(String),
}

impl Asked {
    /// The documented route.
    fn route(&self) -> String {
        let path = match self {
            Self::Call(path, _) | Self::Upload(path, _, _) => *path,
            Self::Get(path) => path.as_str(),
        };
        path.split('/').nth(1).unwrap().to_owned()
    }

    /// Everything that the client sends.
    fn sent(&self) -> String {
        match self {
            Self::Call(_, body) => body.to_string(),
            Self::Upload(_, _, names) => format!("{names:?}"),
            Self::Get(path) => path.clone(),
        }
    }

    /// The status and the text of the answer.
    async fn by(&self, client: &reqwest::Client, http: &str) -> (u16, String) {
        let request = match self {
            Self::Call(path, body) => client.post(format!("{http}{path}")).json(body),
            Self::Upload(path, field, names) => {
                let part = reqwest::multipart::Part::bytes(sound::tone(1)).file_name("a.wav");
                let form = reqwest::multipart::Form::new();
                let form = names.iter().fold(form, |form, (name, value)| form.text(*name, value.clone()));
                client.post(format!("{http}{path}")).multipart(form.part(*field, part))
            }
            Self::Get(path) => client.get(format!("{http}{path}")),
        };
        let response = within("an answer", request.send()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = within("the rest of an answer", response.bytes()).await.unwrap();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A family at home, whose clients send documented requests without a token.
struct Home<'w> {
    world: &'w World,
    asked: Vec<Asked>,
}

impl Home<'_> {
    async fn ask(&mut self, asked: Asked) -> Value {
        let (status, text) = asked.by(self.world.client(), &self.world.http()).await;
        assert_eq!(status, 200, "{}: {text}", asked.sent());
        self.asked.push(asked);
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn ok(&mut self, path: &'static str, body: Value) -> Value {
        let answer = self.ask(Asked::Call(path, body)).await;
        assert_eq!(answer["code"], 0, "{path}: {answer}");
        answer
    }

    async fn register(&mut self, name: &str) -> String {
        let password = format!("password of {name}");
        let new = json!({"username": name, "password": password, "nickname": format!("nick of {name}"), "gender": "2"});
        self.ok("/reg", new).await;
        let login = self.ok("/login", json!({"username": name, "password": password})).await;
        text(&login["data"]["_id"])
    }

    async fn upload(&mut self, path: &'static str, field: &'static str, names: &[(&'static str, &str)]) -> Value {
        let names = names.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let answer = self.ask(Asked::Upload(path, field, names)).await;
        assert_eq!(answer["code"], 0, "{path}: {answer}");
        answer
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_request_works_at_home_and_none_of_them_elsewhere() {
    const ROUTES: [&str; 22] = [
        "acc_req",
        "add_req",
        "ai_uploader",
        "app_uploader",
        "auto_login",
        "bind_toy",
        "chat_list",
        "content_list",
        "friend_list",
        "get_chat",
        "get_image",
        "get_music",
        "get_qr",
        "login",
        "open_toy",
        "recv_msg",
        "ref_req",
        "reg",
        "req_list",
        "scan_qr",
        "toy_list",
        "toy_uploader",
    ];
    let world = World::start_with(&[("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "0")]).await;
    let mut home = Home { world: &world, asked: Vec::new() };
    let (mia, tom) = (home.register("mia").await, home.register("tom").await);
    let (device_key, _) = world.device().await;
    home.ok("/auto_login", json!({"_id": mia})).await;
    home.ok("/content_list", json!({})).await;
    home.ok("/scan_qr", json!({"device_key": device_key})).await;
    let binding =
        json!({"toy_name": "Fluffy", "baby_name": "Ben", "remark": "Mama", "user_id": mia, "device_key": device_key});
    home.ok("/bind_toy", binding).await;
    let toy = text(&home.ok("/open_toy", json!({"device_key": device_key})).await["toy_id"]);
    assert_eq!(home.ok("/toy_list", json!({"_id": mia})).await["data"][0]["_id"], toy.as_str());

    // A friend asks twice: the first request is refused, the second one accepted.
    let wish = json!({"req_user": tom, "add_user": toy, "type": "app", "req_info": "hi", "remark": "Fluff"});
    for (path, remark) in [("/ref_req", None), ("/acc_req", Some("Tom"))] {
        home.ok("/add_req", wish.clone()).await;
        let request = home.ok("/req_list", json!({"_id": mia})).await["data"][0]["_id"].clone();
        let answer = remark.map_or(json!({"req_id": request}), |remark| json!({"req_id": request, "remark": remark}));
        home.ok(path, answer).await;
    }
    let friends = home.ok("/friend_list", json!({"_id": mia})).await;
    let chat = text(&friends["data"][0]["friend_chat"]);

    // Messages both ways, a question to the hub, and all files.
    home.upload("/app_uploader", "reco_file", &[("user_id", &mia), ("to_user", &toy)]).await;
    home.upload("/toy_uploader", "reco", &[("user_id", &toy), ("to_user", &mia), ("friend_type", "app")]).await;
    let asked = Asked::Upload("/ai_uploader", "reco", vec![("toy_id", toy.clone())]);
    let answer = home.ask(asked).await;
    assert!(answer.is_object() && answer["code"] != 10, "{answer}");
    let received = home.ask(Asked::Call("/recv_msg", json!({"from_user": mia, "to_user": toy}))).await;
    let list = home.ok("/chat_list", json!({"chat_id": chat, "to_user": mia})).await;
    let sounds = [text(&received[0]["message"]), text(&list["data"][1]["message"])];
    for path in [
        format!("/get_chat/{}", sounds[0]),
        format!("/get_chat/{}", sounds[1]),
        "/get_music/Success.mp3".into(),
        "/get_image/toy.jpg".into(),
        format!("/get_qr/{device_key}.jpg"),
    ] {
        home.ask(Asked::Get(path)).await;
    }
    let mut routes: Vec<String> = home.asked.iter().map(Asked::route).collect();
    routes.sort();
    routes.dedup();
    assert_eq!(routes, ROUTES, "the whole document");

    // The same requests elsewhere, as somebody sends them who knows everything but the passwords.
    let waiting = json!({"req_user": tom, "add_user": mia, "type": "app", "req_info": "hi", "remark": "M"});
    home.ok("/add_req", waiting).await;
    let request = home.ok("/req_list", json!({"_id": mia})).await["data"][0]["_id"].clone();
    home.asked.push(Asked::Call("/ref_req", json!({"req_id": request})));
    home.asked.push(Asked::Call("/acc_req", json!({"req_id": request, "remark": "x"})));
    home.upload("/app_uploader", "reco_file", &[("user_id", &mia), ("to_user", &toy)]).await;
    let picture = async || {
        let mut picture = Vec::new();
        for (path, id) in [("/auto_login", &mia), ("/req_list", &mia), ("/friend_list", &toy), ("/toy_list", &mia)] {
            picture.push(world.ok(path, json!({"_id": id})).await);
        }
        picture
    };
    let before = picture().await;
    let secrets = [&mia, &tom, &toy, &chat, &sounds[0], &sounds[1]];
    let stranger = reqwest::Client::builder().local_address(ELSEWHERE).build().unwrap();
    let mut refused = 0;
    for asked in home.asked.iter().filter(|asked| asked.route() != "login") {
        let (status, answer) = asked.by(&stranger, &world.http()).await;
        let (route, sent) = (asked.route(), asked.sent());
        let told = secrets.iter().find(|secret| answer.contains(secret.as_str()) && !sent.contains(secret.as_str()));
        assert_eq!(told, None, "{route} {sent}: {answer}");
        // The content of the library, the hub's own sounds and pictures are no one's secrets.
        if !["content_list", "get_music", "get_image", "get_qr"].contains(&route.as_str()) {
            let code = serde_json::from_str::<Value>(&answer).unwrap_or_default()["code"].clone();
            assert!(status == 401 || code == 10 || code == 1, "{route} {sent}: {status} {answer}");
            refused += 1;
        }
    }
    println!("{} documented requests at home, {refused} refused elsewhere", home.asked.len());
    assert_eq!(picture().await, before, "nothing was read, sent, answered or changed");
}

#[tokio::test]
async fn another_user_with_a_photograph_of_the_code_gets_no_access() {
    let world = World::start().await;
    let family = family(&world).await;
    let stranger = Stranger::new(&world);
    let new = json!({"username": "eve", "password": "correct horse", "nickname": "Eve", "gender": "2"});
    assert_eq!(stranger.post("/reg", new).await["code"], 0);
    let login = stranger.post("/login", json!({"username": "eve", "password": "correct horse"})).await;
    let (id, token) = (login["data"]["_id"].as_str().unwrap(), login["data"]["token"].as_str().unwrap());
    assert_eq!(stranger.post("/open_toy", json!({"device_key": family.toy.device_key})).await["code"], 1);
    let with_token = json!({"device_key": family.toy.device_key, "token": token});
    assert_eq!(stranger.post("/open_toy", with_token).await["code"], 1, "a token of somebody else");
    assert_eq!(stranger.post("/friend_list", json!({"_id": family.toy.id, "token": token})).await["code"], 10);
    assert_eq!(stranger.post("/friend_list", json!({"_id": family.toy.id})).await["code"], 10);
    assert_eq!(stranger.post("/friend_list", json!({"_id": id})).await["code"], 0, "her own");
    assert_eq!(stranger.get(&format!("/get_chat/{}", family.to_toy)).await, 401);
}

#[tokio::test]
async fn a_toy_moves_with_its_secret_or_its_owners_permission() {
    let world = World::start().await;
    let Family { parent, toy, .. } = family(&world).await;
    let elsewhere = Stranger::new(&world);
    let open = json!({"device_key": toy.device_key});
    assert_eq!(elsewhere.post("/open_toy", open.clone()).await["code"], 1);

    let mut app = world.app(&parent).await;
    app.send(json!({"id": 1, "do": "let_in", "toy_id": toy.id})).await;
    assert_eq!(app.answer(1).await["code"], 0);
    let opened = elsewhere.post("/open_toy", open.clone()).await;
    assert_eq!((opened["code"].as_u64(), opened.get("token")), (Some(0), None), "{opened}");
    assert_eq!(elsewhere.post("/friend_list", json!({"_id": toy.id})).await["code"], 0);
    world.ok("/open_toy", open.clone()).await;

    let other = world.toy(&parent, "Puffy").await;
    let proof = json!({"device_key": other.device_key, "token": other.secret});
    let opened = elsewhere.post("/open_toy", proof).await;
    assert!(opened["token"].is_string(), "the secret proves the toy: {opened}");
    assert_eq!(elsewhere.post("/friend_list", json!({"_id": other.id})).await["code"], 0);

    let stranger = world.user("eve").await;
    let mut app = world.app(&stranger).await;
    app.send(json!({"id": 1, "do": "let_in", "toy_id": toy.id})).await;
    assert_ne!(app.answer(1).await["code"], 0, "somebody else's toy");
}

#[tokio::test]
async fn a_link_opens_its_sound_without_a_token() {
    let mut world = World::start().await;
    let Family { parent, toy, to_parent, .. } = family(&world).await;
    let names = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let mut app = world.app(&parent).await;
    let sent = world.upload("/toy_uploader", "reco", sound::tone(3), &names).await;
    assert!(sent["data"].get("url").is_none(), "a documented call without a token is answered as documented: {sent}");
    let unread = app.ask(json!({"do": "unread"})).await["data"]["messages"].as_array().unwrap().last().unwrap().clone();
    let (url, name) = (unread["url"].as_str().unwrap(), unread["message"].as_str().unwrap());
    assert!(url.starts_with(&format!("/get_chat/{name}?sig=")), "{unread}");

    let list = json!({"from_user": toy.id, "to_user": parent.id});
    let with_token = world.post_as(&parent, "/recv_msg", list).await;
    let linked = with_token[0]["url"].as_str().unwrap().to_owned();
    assert!(linked.starts_with(&format!("/get_chat/{}?sig=", with_token[0]["message"].as_str().unwrap())));
    let stranger = Stranger::new(&world);
    let signature = linked.split_once('?').unwrap().1;
    for (path, status) in [
        (linked.clone(), 200),
        (url.to_owned(), 200),
        (format!("/get_chat/{name}"), 401),
        (format!("/get_chat/{to_parent}?{signature}"), 401),
        (linked.replace("sig=", "sig=9"), 401),
    ] {
        assert_eq!(stranger.get(&path).await, status, "{path}");
    }
    assert_eq!(world.stop().await, Some(0));
    world.set("TOYHUB_AUTH__MODE", "token");
    world.start_hub().await;
    let stranger = Stranger::new(&world);
    assert_eq!(stranger.get(&linked).await, 200, "after a restart, and in the other mode");
    assert_eq!(stranger.get(&format!("/get_chat/{name}")).await, 401);
}

#[tokio::test]
async fn clients_behind_an_unnamed_proxy_have_no_place() {
    let world = World::start_with(&[("TOYHUB_SERVER__LOG", "info,surrealdb=warn,surrealkv=warn")]).await;
    let Family { parent, toy, .. } = family(&world).await;
    let call = async |path: &str, body: Value| -> Value {
        let request = world.client().post(format!("{}{path}", world.http())).header("X-Forwarded-For", "203.0.113.7");
        within(path, request.json(&body).send()).await.unwrap().json().await.unwrap()
    };
    assert_eq!(call("/friend_list", json!({"_id": parent.id})).await["code"], 10);
    assert_eq!(call("/open_toy", json!({"device_key": toy.device_key})).await["code"], 1);
    let new = json!({"username": "eve", "password": "correct horse", "nickname": "Eve", "gender": "2"});
    assert_eq!(call("/reg", new).await["code"], 34, "the proxy's address says nothing of where she is");
    assert_eq!(call("/login", json!({"username": "mia", "password": "correct horse"})).await["code"], 0);
    assert_eq!(call("/friend_list", json!({"_id": parent.id})).await["code"], 10, "a login there proves no place");
    assert_eq!(call("/friend_list", json!({"_id": parent.id, "token": parent.token})).await["code"], 0);
    assert!(std::fs::read_to_string(world.log()).unwrap().contains("net.proxies does not name their proxy"));
    for (name, value) in [
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
        ("X-Client-IP", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("True-Client-IP", "203.0.113.7"),
        ("Via", "1.1 proxy"),
        ("X-Forwarded-Host", "hub.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Server", "proxy"),
    ] {
        let request = world.client().post(format!("{}/friend_list", world.http())).header(name, value);
        let request = request.json(&json!({"_id": parent.id}));
        let answer: Value = within(name, request.send()).await.unwrap().json().await.unwrap();
        assert_eq!(answer["code"], 10, "{name}");
    }
    world.ok("/friend_list", json!({"_id": parent.id})).await;
}

#[tokio::test]
async fn a_web_page_that_anybody_may_have_made_has_no_place() {
    let mut world = World::start().await;
    let Family { parent, toy, .. } = family(&world).await;
    let call = async |world: &World, origin: &str, path: &str, body: Value| -> Value {
        let request = world.client().post(format!("{}{path}", world.http())).header("Origin", origin);
        within(path, request.json(&body).send()).await.unwrap().json().await.unwrap()
    };
    let socket = async |world: &World, origin: &str| {
        let mut request = format!("ws://{}/app/{}", world.http_addr(), parent.id).into_client_request().unwrap();
        request.headers_mut().insert("Origin", origin.parse().unwrap());
        let stream = tokio::net::TcpStream::connect(world.http_addr()).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await.unwrap().0
    };
    let to_parent = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str())];
    let (list, open) = (json!({"_id": parent.id}), json!({"device_key": toy.device_key}));
    // The parent's browser, at home, shows a page of a stranger, who knows the toy's QR code and even the parent's id.
    for origin in ["http://evil.example", "null"] {
        for path in ["/friend_list", "/auto_login", "/toy_list"] {
            assert_eq!(call(&world, origin, path, list.clone()).await["code"], 10, "{origin} {path}");
        }
        assert_eq!(call(&world, origin, "/open_toy", open.clone()).await, json!({"code": 1, "music": "Nobind.mp3"}));
        assert_eq!(call(&world, origin, "/scan_qr", open.clone()).await["code"], 10);
        let new = json!({"username": "eve", "password": "correct horse", "nickname": "Eve", "gender": "2"});
        assert_eq!(call(&world, origin, "/reg", new).await["code"], 34);
        let closed = within("a frame", futures_util::StreamExt::next(&mut socket(&world, origin).await)).await;
        assert!(matches!(closed, Some(Ok(Message::Close(_)))), "{origin}: {closed:?}");
    }
    let with_token = json!({"_id": parent.id, "token": parent.token});
    assert_eq!(call(&world, "http://evil.example", "/friend_list", with_token).await["code"], 0, "a token is a token");
    // Pages of the home network, and apps.
    for origin in ["http://192.168.1.9:8080", "http://toyhub.local", "file://"] {
        assert_eq!(call(&world, origin, "/friend_list", list.clone()).await["code"], 0, "{origin}");
        assert_eq!(call(&world, origin, "/open_toy", open.clone()).await["code"], 0, "{origin}");
        let mut socket = socket(&world, origin).await;
        assert_eq!(world.upload("/toy_uploader", "reco", sound::beep(), &to_parent).await["code"], 0);
        let pushed = within("a frame", futures_util::StreamExt::next(&mut socket)).await;
        assert!(matches!(pushed, Some(Ok(Message::Text(_)))), "{origin}: {pushed:?}");
    }
    let hint = r#"add "http://evil.example" to http.allowed_origins"#;
    let examined = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
    let examined = String::from_utf8(examined.stdout).unwrap();
    assert!(examined.contains(hint), "{examined}");
    world.stop().await;
    world.set("TOYHUB_HTTP__ALLOWED_ORIGINS", "*,http://evil.example");
    world.start_hub().await;
    assert_eq!(call(&world, "http://evil.example", "/friend_list", list).await["code"], 0, "the operator trusts it");
}

#[tokio::test]
async fn with_token_the_device_key_opens_nothing_and_gets_no_token() {
    let world = World::start_with(&[("TOYHUB_AUTH__MODE", "token")]).await;
    let owner = world.user("mia").await;
    let (key, secret) = world.device().await;
    let binding = json!({"toy_name": "F", "baby_name": "B", "remark": "M", "user_id": owner.id, "device_key": key});
    assert_eq!(world.post_as(&owner, "/bind_toy", binding).await["code"], 0);
    assert_eq!(world.post("/open_toy", json!({"device_key": key})).await.1["code"], 1);
    let opened = world.ok("/open_toy", json!({"device_key": key, "token": secret})).await;
    let toy = opened["toy_id"].as_str().unwrap();
    assert_eq!(world.post("/friend_list", json!({"_id": toy})).await.1["code"], 10, "a place counts for nothing");
    assert_eq!(world.post("/auto_login", json!({"_id": owner.id})).await.1["code"], 10);
    assert_eq!(world.post("/scan_qr", json!({"device_key": key})).await.1["code"], 10);
}

#[tokio::test]
async fn an_old_file_that_names_sticky_gets_one_line_with_the_remedy() {
    let world = World::start().await;
    let file = world.folder().join("old.toml");
    let remedy = r#"set [auth] mode = "place" (the default), "token" or "open""#;
    for (text, variable, expected) in [
        ("[http]\nauth = \"sticky\"\n", None, remedy),
        ("[http]\nauth = \"token\"\n", None, remedy),
        ("[auth]\nmode = \"sticky\"\n", None, "expected one of `place`, `token`, `open`; correct its value"),
        ("", Some(("TOYHUB_HTTP__AUTH", "sticky")), remedy),
        ("", Some(("TOYHUB_AUTH__MODE", "sticky")), "expected one of `place`, `token`, `open`; correct its value"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = world.command(&["serve", "--config", file.to_str().unwrap()]);
        command.envs(variable);
        let output = within("the program", command.output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(expected), "{text} {variable:?}: {message}");
        assert_eq!(message.trim().lines().count(), 1, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_hub_warns_at_its_start_and_in_the_doctor() {
    for (mode, is_open) in [("open", true), ("place", false)] {
        let world = World::start_with(&[("TOYHUB_AUTH__MODE", mode), ("TOYHUB_SERVER__LOG", "warn")]).await;
        let log = std::fs::read_to_string(world.log()).unwrap();
        for text in [log, doctor(&world).await] {
            assert_eq!(text.contains("everybody who reaches this hub can read"), is_open, "{mode}: {text}");
        }
    }
}

#[tokio::test]
async fn accounts_and_toys_are_made_where_the_settings_say() {
    let settings = [("TOYHUB_AUTH__REGISTRATION", "closed"), ("TOYHUB_AUTH__BINDING", "closed")];
    let mut world = World::start().await;
    let parent = world.user("mia").await;
    let (device_key, _) = world.device().await;
    assert_eq!(world.stop().await, Some(0));
    settings.into_iter().for_each(|(name, value)| world.set(name, value));
    world.start_hub().await;
    let new = json!({"username": "eve", "password": "correct horse", "nickname": "Eve", "gender": "2"});
    assert_eq!(world.post("/reg", new).await.1["code"], 34);
    let binding = json!({
        "toy_name": "F", "baby_name": "B", "remark": "M", "user_id": parent.id, "device_key": device_key,
    });
    assert_eq!(world.post_as(&parent, "/bind_toy", binding).await["code"], 34);
}

#[tokio::test]
async fn guardians_are_notified_of_a_toy_that_is_not_let_in_and_let_it_in() {
    let world = World::start_with(&[("TOYHUB_RATES__REFUSED_OPENINGS_PER_TOY_PER_HOUR", "1")]).await;
    let Family { parent, toy, .. } = family(&world).await;
    let seen = world.app_after(&parent, 0).await.1["seq"].as_u64().unwrap();
    let mut app = world.app(&parent).await;
    let elsewhere = Stranger::new(&world);
    let open = json!({"device_key": toy.device_key});
    for _ in 0..3 {
        assert_eq!(elsewhere.post("/open_toy", open.clone()).await, json!({"code": 1, "music": "Nobind.mp3"}));
    }
    let told = json!({"type": "toy_wants_in", "seq": seen + 1, "toy_id": toy.id, "place": "127.0.0.2"});
    assert_eq!(app.frame().await, told);
    // The next event is another one: not every attempt is reported.
    let eve = world.user("eve").await;
    let asked = json!({"req_user": eve.id, "add_user": parent.id, "type": "app", "req_info": "", "remark": "M"});
    assert_eq!(world.post_as(&eve, "/add_req", asked).await["code"], 0);
    assert_eq!(app.frame().await["type"], "friend_request");
    // An app that was offline finds it in its stream, and permits the toy.
    let (mut later, _) = world.app_after(&parent, seen).await;
    assert_eq!(later.frame().await, told);
    assert_eq!(later.ask(json!({"do": "let_in", "toy_id": told["toy_id"]})).await["code"], 0);
    assert_eq!(elsewhere.post("/open_toy", open.clone()).await["code"], 0);
    // They are notified once of each new place: it may be that of a stranger who was faster.
    let opened = app.frame().await;
    assert_eq!(
        (&opened["type"], &opened["toy_id"], &opened["place"]),
        (&json!("toy_opened"), &json!(toy.id), &json!("127.0.0.2"))
    );
    assert_eq!(elsewhere.post("/open_toy", open.clone()).await["code"], 0);
    assert_eq!(world.ok("/open_toy", open).await["code"], 0, "at home");
    let record = world.post_as(&parent, "/audit", json!({"_id": parent.id, "toy_id": toy.id})).await;
    let openings: Vec<&Value> =
        record["data"].as_array().unwrap().iter().filter(|entry| entry["action"] == "opened_anew").collect();
    assert_eq!((openings.len(), &openings[0]["place"], &openings[0]["by"]), (1, &json!("127.0.0.2"), &json!(toy.id)));
    assert_eq!(later.ask(json!({"do": "ping"})).await["code"], 0);
}

#[tokio::test]
async fn a_stranger_who_opens_a_new_toy_first_is_reported_and_removed() {
    let world = World::start().await;
    let parent = world.user("mia").await;
    let (device_key, _) = world.device().await;
    let binding = json!({
        "toy_name": "Fluffy", "baby_name": "Ben", "remark": "Mama", "user_id": parent.id, "device_key": device_key,
    });
    world.ok("/bind_toy", binding).await;
    let mut app = world.app(&parent).await;
    let stranger = Stranger::new(&world);
    let opened = stranger.post("/open_toy", json!({"device_key": device_key})).await;
    assert_eq!(opened["code"], 0, "whoever is first, from anywhere");
    let event = app.frame().await;
    assert_eq!((&event["type"], &event["place"]), (&json!("toy_opened"), &json!("127.0.0.2")));
    assert_eq!(app.ask(json!({"do": "let_in", "toy_id": event["toy_id"]})).await["code"], 0);
    assert_eq!(stranger.post("/friend_list", json!({"_id": opened["toy_id"]})).await["code"], 10);
}

#[tokio::test]
async fn a_new_toy_that_logs_in_with_its_secret_is_closed_to_who_knows_its_key() {
    let world = World::start().await;
    let parent = world.user("mia").await;
    let stranger = Stranger::new(&world);
    for by_mqtt in [false, true] {
        let (device_key, secret) = world.device().await;
        let binding = json!({
            "toy_name": "Fluffy", "baby_name": "Ben", "remark": "Mama", "user_id": parent.id, "device_key": device_key,
        });
        world.ok("/bind_toy", binding).await;
        if by_mqtt {
            Raw::connected(world.mqtt_addr(), V5, "toy", &device_key, &secret).await;
        } else {
            world.ok("/open_toy", json!({"device_key": device_key, "token": secret})).await;
        }
        let opened = stranger.post("/open_toy", json!({"device_key": device_key})).await;
        assert_eq!(opened, json!({"code": 1, "music": "Nobind.mp3"}), "by MQTT: {by_mqtt}");
    }
}

#[tokio::test]
async fn a_link_ends_with_the_friendship_of_a_toy_and_with_the_recording() {
    let world = World::start().await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let tom = world.user("tom").await;
    let wish = json!({"req_user": tom.id, "add_user": toy.id, "type": "app", "req_info": "", "remark": "Fluffy"});
    assert_eq!(world.post_as(&tom, "/add_req", wish).await["code"], 0);
    world.accept(&owner, "Tom").await;
    let stranger = Stranger::new(&world);
    let send = async |pitch| {
        let names = [("user_id", tom.id.as_str()), ("to_user", &toy.id), ("token", &tom.token)];
        world.upload("/app_uploader", "reco_file", sound::tone(pitch), &names).await["data"].clone()
    };
    let (first, second) = (send(3).await, send(4).await);
    let chats = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    let chat = chats["data"][0]["friend_chat"].clone();
    let list = world.post_as(&tom, "/chat_list", json!({"to_user": tom.id, "chat_id": chat})).await;
    let links: Vec<String> = list["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{list} {chats}"))
        .iter()
        .map(|message| message["url"].as_str().unwrap().to_owned())
        .collect();
    for link in &links {
        assert_eq!(stranger.get(link).await, 200, "{link}");
    }
    assert_ne!(first["_id"], second["_id"]);
    let erasing = json!({"_id": tom.id, "message": first["_id"], "for": "both"});
    assert_eq!(world.post_as(&tom, "/erase_message", erasing).await["code"], 0);
    assert_eq!(stranger.get(&links[0]).await, 404, "at once");
    assert_eq!(stranger.get(&links[1]).await, 200);
    let end = json!({"user_id": owner.id, "toy_id": toy.id, "friend_id": tom.id});
    assert_eq!(world.post_as(&owner, "/unfriend", end).await["code"], 0);
    assert_eq!(stranger.get(&links[1]).await, 404);
}

#[tokio::test]
async fn a_link_opens_what_a_login_of_its_party_opens_and_ends_with_it() {
    let world = World::start().await;
    let (mia, papa, tom) = (world.user("mia").await, world.user("papa").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let code = world.post_as(&mia, "/invite", json!({"user_id": mia.id, "toy_id": toy.id})).await;
    let joined = json!({"user_id": papa.id, "invite": code["data"]["invite"]});
    assert_eq!(world.post_as(&papa, "/join", joined).await["code"], 0);
    let wish = json!({"req_user": tom.id, "add_user": mia.id, "type": "app", "req_info": "", "remark": "Mia"});
    assert_eq!(world.post_as(&tom, "/add_req", wish).await["code"], 0);
    world.accept(&mia, "Tom").await;
    let stranger = Stranger::new(&world);
    let mut app = world.app(&mia).await;
    let of_toy = [("user_id", toy.id.as_str()), ("to_user", mia.id.as_str())];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::tone(3), &of_toy).await["code"], 0);
    let of_tom = [("user_id", tom.id.as_str()), ("to_user", mia.id.as_str()), ("token", &tom.token)];
    let sent = world.upload("/app_uploader", "reco_file", sound::tone(4), &of_tom).await;
    let of_tom = sent["data"]["url"].as_str().unwrap().to_owned();

    // A live event has its links, too.
    let mut live = Vec::new();
    while live.len() < 2 {
        let event = app.frame().await;
        if event["type"] == "message" {
            live.push(event["url"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned());
        }
    }
    let friends = world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await;
    let chat = |friend: &str| {
        let entries = friends["data"].as_array().unwrap();
        entries.iter().find(|entry| entry["friend_id"] == friend).unwrap()["friend_chat"].clone()
    };
    let link = async |user: &User, chat: &Value| {
        let list = world.post_as(user, "/chat_list", json!({"to_user": user.id, "chat_id": chat})).await;
        list["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
    };
    let of_papa = link(&papa, &chat(&toy.id)).await;
    let own = link(&mia, &chat(&toy.id)).await;
    for link in live.iter().chain([&of_papa, &own, &of_tom]) {
        assert_eq!(stranger.get(link).await, 200, "{link}");
    }
    // The party cannot be exchanged.
    assert_eq!(stranger.get(&of_papa.replace(&papa.id, &mia.id)).await, 401);

    let removal = json!({"user_id": mia.id, "toy_id": toy.id, "guardian_id": papa.id});
    assert_eq!(world.post_as(&mia, "/remove_guardian", removal).await["code"], 0);
    assert_eq!((stranger.get(&of_papa).await, stranger.get(&own).await), (404, 200));
    // Who has erased a message for itself does not get its recording, by a link or a token; its sender does.
    let for_me = json!({"_id": mia.id, "message": sent["data"]["_id"], "for": "me"});
    assert_eq!(world.post_as(&mia, "/erase_message", for_me).await["code"], 0);
    assert_eq!((stranger.get(&live[1]).await, stranger.get(&of_tom).await), (404, 200));
    let name = live[1].split_once('?').unwrap().0;
    let download = async |user: &User| {
        let request = world.client().get(format!("{}{name}", world.http())).bearer_auth(&user.token);
        within(name, request.send()).await.unwrap().status().as_u16()
    };
    assert_eq!((download(&mia).await, download(&tom).await), (404, 200));
    // Nor does a guardian, of its own chat with the toy.
    let message = world.post_as(&mia, "/chat_list", json!({"to_user": mia.id, "chat_id": chat(&toy.id)})).await;
    let for_me = json!({"_id": mia.id, "message": message["data"][0]["_id"], "for": "me"});
    assert_eq!(stranger.get(&own).await, 200);
    assert_eq!(world.post_as(&mia, "/erase_message", for_me).await["code"], 0);
    assert_eq!(stranger.get(&own).await, 404);

    // A new password, and the end of all logins.
    let to_tom = [("user_id", mia.id.as_str()), ("to_user", tom.id.as_str()), ("token", &mia.token)];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::tone(5), &to_tom).await["code"], 0);
    let own = link(&mia, &chat(&tom.id)).await;
    assert_eq!(stranger.get(&own).await, 200);
    let change = json!({"user_id": mia.id, "password": "correct horse", "new_password": "better horse"});
    assert_eq!(world.post_as(&mia, "/change_password", change).await["code"], 0);
    assert_eq!((stranger.get(&own).await, stranger.get(&of_tom).await), (401, 200));
    world.run(&["user", "log-out", "tom"]).await;
    assert_eq!(stranger.get(&of_tom).await, 401);
}
