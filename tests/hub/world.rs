//! A real hub on its own ports in a temporary folder, and clients with one-line methods.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// No event of a test takes longer, however busy the machine is.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `event` with the deadline.
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// What the line begins with in which the hub prints the operator's password.
const PASSWORD_LINE: &str = "toyhub console: the operator's password is ";

pub struct World {
    folder: TempDir,
    /// The program of the hub.
    program: PathBuf,
    settings: Vec<(&'static str, &'static str)>,
    /// The hub's limit of file descriptors, if it differs from that of the tests.
    descriptors: Option<u32>,
    hub: Option<Child>,
    http: SocketAddr,
    mqtt: SocketAddr,
    mqtts: Option<SocketAddr>,
    https: Option<SocketAddr>,
    conformance: Option<SocketAddr>,
    legacy: Option<SocketAddr>,
    /// The line in which the hub prints its addresses.
    ready: String,
    /// The operator's password, which the hub prints at its first start.
    operator_password: Option<String>,
    client: reqwest::Client,
    /// Used in turns with the first one, behind a balancer.
    other_client: Option<reqwest::Client>,
    requests: AtomicUsize,
    /// The address of this machine that clients connect from, if a test has chosen one.
    source: Option<IpAddr>,
    /// Where its clients connect instead of the hub, if a test has chosen that.
    front: Option<Front>,
    /// What is there as long as this world.
    companions: Vec<Box<dyn Any + Send>>,
}

/// The addresses of a balancer before this hub and others.
#[derive(Debug, Clone, Copy)]
pub struct Front {
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
    pub legacy: SocketAddr,
}

/// An app user.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub username: String,
    pub token: String,
}

/// A bound toy.
#[derive(Clone)]
pub struct Toy {
    pub id: String,
    pub device_key: String,
    pub secret: String,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A hub with these settings in addition to those of all tests.
    pub async fn start_with(settings: &[(&'static str, &'static str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    /// A hub in a folder with the files that its settings name.
    pub async fn start_in(folder: TempDir, settings: &[(&'static str, &'static str)]) -> Self {
        Self::start_program(PathBuf::from(env!("CARGO_BIN_EXE_toyhub")), folder, settings).await
    }

    /// Another program than the one of this tree.
    pub async fn start_program(program: PathBuf, folder: TempDir, settings: &[(&'static str, &'static str)]) -> Self {
        let unbound = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut world = Self {
            folder,
            program,
            settings: settings.to_vec(),
            descriptors: None,
            hub: None,
            http: unbound,
            mqtt: unbound,
            mqtts: None,
            https: None,
            conformance: None,
            legacy: None,
            ready: String::new(),
            operator_password: None,
            client: reqwest::Client::new(),
            other_client: None,
            requests: AtomicUsize::new(0),
            source: None,
            front: None,
            companions: Vec::new(),
        };
        world.start_hub().await;
        world
    }

    /// Starts the hub (again) on the same data.
    pub async fn start_hub(&mut self) {
        let mut command = match self.descriptors {
            None => self.command(&["serve"]),
            Some(limit) => {
                let limited = self.command(&[]);
                let mut command = Command::new("sh");
                let limit = format!("ulimit -n {limit} && exec \"$0\" serve");
                command.arg("-c").arg(limit).arg(&self.program).current_dir(self.folder.path());
                command.envs(limited.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
                command
            }
        };
        if self.has_own_log() {
            command.stderr(std::fs::File::create(self.log()).unwrap());
        }
        let mut hub = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(hub.stdout.take().unwrap()).lines();
        let ready = loop {
            let line = within("the hub to be ready", lines.next_line()).await.unwrap().expect("the hub ended early");
            match line.strip_prefix(PASSWORD_LINE) {
                Some(password) => self.operator_password = Some(password.to_owned()),
                None => break line,
            }
        };
        self.ready = ready;
        let address = |name: &str| self.addresses(name).first().copied();
        // Some tests have MQTT over TLS only.
        let both = [address("http=").unwrap(), address("mqtt=").unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))];
        let more = [address("mqtts="), address("https="), address("conformance="), address("legacy=")];
        [self.mqtts, self.https, self.conformance, self.legacy] = more;
        [self.http, self.mqtt] = both;
        self.hub = Some(hub);
        self.show_front();
    }

    /// Whether the settings or a configuration file choose the log level.
    fn has_own_log(&self) -> bool {
        self.config_file().exists() || self.settings.iter().any(|(name, _)| *name == "TOYHUB_SERVER__LOG")
    }

    /// Where a test may put a configuration file. The settings go before it.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("broker.toml")
    }

    /// The program of this tree, from the next start on.
    pub fn upgrade(&mut self) {
        self.program = PathBuf::from(env!("CARGO_BIN_EXE_toyhub"));
    }

    /// One more setting, for the next start.
    pub fn set(&mut self, name: &'static str, value: &'static str) {
        self.settings.push((name, value));
    }

    /// From now on, clients connect to a proxy at these addresses, from the address `source` of this machine.
    pub fn use_proxy(&mut self, http: SocketAddr, mqtt: SocketAddr, source: IpAddr) {
        (self.http, self.mqtt, self.source) = (http, mqtt, Some(source));
        self.client = reqwest::Client::builder().local_address(source).build().unwrap();
    }

    /// From now on, clients connect to a balancer, requests of HTTP in turns by two clients, which keep their connections:
    /// two requests may be at two hubs. Commands are those of this world's hub. `companions` end with the world, which
    /// keeps its own hub for `stop`, `kill` and `start_hub`.
    pub fn put_behind(&mut self, front: Front, companions: Vec<Box<dyn Any + Send>>) {
        self.client = reqwest::Client::new();
        self.other_client = Some(reqwest::Client::new());
        // All clients have one address: an older socket is permitted only where its party has logged in.
        self.source = None;
        (self.front, self.companions) = (Some(front), companions);
        self.show_front();
    }

    fn show_front(&mut self) {
        if let Some(front) = self.front {
            (self.http, self.mqtt, self.legacy) = (front.http, front.mqtt, Some(front.legacy));
        }
    }

    /// Limits the file descriptors of the hub, from the next start on.
    pub fn limit_descriptors(&mut self, limit: u32) {
        self.descriptors = Some(limit);
    }

    /// The program with this world's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TOYHUB_SERVER__DATA_DIR", self.data_dir())
            .env("TOYHUB_HTTP__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_HTTP__LEGACY_LISTEN", "127.0.0.1:0")
            .env("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "1000")
            .env("TOYHUB_HTTP__BODY_PAUSE_TIMEOUT_S", "2")
            .env("TOYHUB_MQTT__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_CONSOLE__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_DISCOVERY__MDNS", "false")
            // Tests send one recording many times, as messages of their own.
            .env("TOYHUB_CHATS__RETRY_WINDOW_S", "0")
            .env("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "10000")
            .env("TOYHUB_RATES__REGISTRATIONS_PER_ADDRESS_PER_MINUTE", "10000")
            .env("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "10000")
            .env("TOYHUB_RATES__REFUSED_CONNECTS_PER_PARTY_PER_MINUTE", "10000")
            .env("TOYHUB_WS__REFUSED_HOLD_S", "0")
            .envs(self.settings.iter().copied());
        if !self.has_own_log() {
            command.env("TOYHUB_SERVER__LOG", "warn");
        }
        command
    }

    /// Runs a command, and returns its output.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let output = within("the command", self.command(arguments).output()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ctrl-C; gives the exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal("INT").await;
        self.ended().await
    }

    /// The hub's process.
    pub fn id(&self) -> u32 {
        self.hub.as_ref().unwrap().id().expect("the hub has ended")
    }

    /// Whether the hub's process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.hub.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Sends a signal to the hub.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// Waits until the hub has ended; gives the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        within("the hub to stop", self.hub.take().unwrap().wait()).await.unwrap().code()
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.hub.take().unwrap().kill().await.unwrap();
    }

    /// All addresses of the listeners that the hub names `name=`.
    pub fn addresses(&self, name: &str) -> Vec<SocketAddr> {
        let words = self.ready.split(' ').filter_map(|word| word.strip_prefix(name));
        words.map(|address| address.parse().unwrap()).collect()
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt
    }

    /// Whether clients connect to a balancer before several hubs.
    pub fn is_behind_a_balancer(&self) -> bool {
        self.front.is_some()
    }

    /// Where older clients connect.
    pub fn legacy_addr(&self) -> SocketAddr {
        self.legacy.unwrap()
    }

    /// The address of MQTT over TLS, if it is configured.
    pub fn mqtts_addr(&self) -> SocketAddr {
        self.mqtts.unwrap()
    }

    /// The address of HTTP over TLS, if it is configured.
    pub fn https_addr(&self) -> SocketAddr {
        self.https.unwrap()
    }

    /// The address for conformance tests, if it is configured.
    pub fn conformance_addr(&self) -> SocketAddr {
        self.conformance.unwrap()
    }

    /// The operator's password, which the hub has printed at its first start.
    pub fn operator_password(&self) -> &str {
        self.operator_password.as_deref().expect("the hub has printed a password")
    }

    /// The address of the console.
    pub fn console(&self) -> String {
        format!("http://{}", self.addresses("console=")[0])
    }

    pub fn client(&self) -> &reqwest::Client {
        match &self.other_client {
            Some(other) if self.requests.fetch_add(1, Ordering::Relaxed) % 2 == 1 => other,
            _ => &self.client,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The log of the hub, if the settings choose the level.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("hub.log")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The status and the body of a monitoring path.
    pub async fn watch(&self, path: &str) -> (u16, Value) {
        answer(within(path, self.client().get(format!("{}{path}", self.http())).send()).await.unwrap()).await
    }

    /// Waits until the hub reports itself ready, or not ready.
    pub async fn wait_ready(&self, is_ready: bool) -> Value {
        let turned = async {
            loop {
                let (_, health) = self.watch("/readyz").await;
                if health["ready"] == is_ready {
                    return health;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the readiness to change", turned).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.client().post(format!("{}{path}", self.http())).json(&body);
        answer(within(path, request.send()).await.unwrap()).await
    }

    /// The whole answer of a call that succeeds.
    pub async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{path}: {answer}");
        answer
    }

    /// A call with a token.
    pub async fn post_as(&self, user: &User, path: &str, body: Value) -> Value {
        let request = self.client().post(format!("{}{path}", self.http())).bearer_auth(&user.token).json(&body);
        answer(within(path, request.send()).await.unwrap()).await.1
    }

    /// A form post, as pages send; the text of the answer.
    pub async fn form(&self, at: SocketAddr, path: &str, fields: &[(&str, &str)]) -> String {
        let request = self.client().post(format!("http://{at}{path}")).form(fields);
        within(path, request.send()).await.unwrap().text().await.unwrap()
    }

    /// Uploads a recording as a phone does.
    pub async fn upload(
        &self,
        path: &str,
        field: &'static str,
        sound: Vec<u8>,
        fields: &[(&'static str, &str)],
    ) -> Value {
        let mut form = Form::new();
        for (name, value) in fields {
            form = form.text(*name, (*value).to_owned());
        }
        let part = Part::bytes(sound).file_name("record").mime_str("audio_pcm/wav").unwrap();
        let request = self.client().post(format!("{}{path}", self.http())).multipart(form.part(field, part));
        answer(within(path, request.send()).await.unwrap()).await.1
    }

    /// Registers a user and logs in.
    pub async fn user(&self, name: &str) -> User {
        let new =
            json!({"username": name, "password": "correct horse", "nickname": format!("{name}'s nick"), "gender": "2"});
        self.ok("/reg", new).await;
        let data = self.ok("/login", json!({"username": name, "password": "correct horse"})).await["data"].clone();
        User {
            id: data["_id"].as_str().unwrap().into(),
            username: name.into(),
            token: data["token"].as_str().unwrap().into(),
        }
    }

    /// The same user with a new token.
    pub async fn login(&self, user: &User) -> User {
        let data = self.ok("/login", json!({"username": user.username, "password": "correct horse"})).await;
        User { token: data["data"]["token"].as_str().unwrap().into(), ..user.clone() }
    }

    /// Adds a device by the command line, while the hub runs: key and secret.
    pub async fn device(&self) -> (String, String) {
        let printed = self.run(&["device", "add"]).await;
        let (key, secret) = printed.trim().split_once('\t').unwrap();
        (key.into(), secret.into())
    }

    /// A toy of `owner` with this name, whose remark for the owner is Dad.
    pub async fn toy(&self, owner: &User, name: &str) -> Toy {
        let (device_key, secret) = self.device().await;
        let binding = json!({
            "toy_name": name, "baby_name": format!("{name}'s child"), "remark": "Dad", "user_id": owner.id,
            "device_key": device_key,
        });
        self.ok("/bind_toy", binding).await;
        let opened = self.ok("/open_toy", json!({"device_key": device_key})).await;
        Toy { id: opened["toy_id"].as_str().unwrap().into(), device_key, secret }
    }

    /// Accepts the newest request that `owner` can answer, with this remark for the requester.
    pub async fn accept(&self, owner: &User, remark: &str) {
        let list = self.post_as(owner, "/req_list", json!({"_id": owner.id})).await;
        let accepted = json!({"req_id": list["data"][0]["_id"], "remark": remark});
        assert_eq!(self.post_as(owner, "/acc_req", accepted).await["code"], 0);
    }

    /// A toy with an owner of its own.
    pub async fn bound_toy(&self, name: &str) -> Toy {
        let owner = self.user(&format!("owner-of-{name}")).await;
        self.toy(&owner, name).await
    }

    /// The `mosquitto_sub` program as the toy; each line is a payload.
    pub fn mosquitto_sub(&self, toy: &Toy, protocol: &str) -> Subscriber {
        let mut child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.mqtt.port().to_string(), "-V", protocol, "-q", "1"])
            .args(["-u", &toy.device_key, "-P", &toy.secret, "-i", &toy.id, "-t", &format!("toy/{}/in", toy.id)])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Subscriber { _child: child, lines }
    }

    /// An app's socket, logged in by its first frame.
    pub async fn app(&self, user: &User) -> App {
        let mut app = self.socket("/ws").await;
        app.send(json!({"id": 1, "do": "auth", "token": user.token})).await;
        assert_eq!(app.frame().await, json!({"id": 1, "code": 0, "msg": "done", "data": {}}));
        assert_eq!(app.frame().await["type"], "welcome");
        app
    }

    /// An app's socket that continues after the event of this number, and its `welcome`.
    pub async fn app_after(&self, user: &User, after: u64) -> (App, Value) {
        let mut app = self.socket(&format!("/ws?after={after}")).await;
        app.send(json!({"do": "auth", "token": user.token})).await;
        assert_eq!(app.frame().await["code"], 0);
        let welcome = app.frame().await;
        assert_eq!(welcome["type"], "welcome");
        (app, welcome)
    }

    /// Any WebSocket of the HTTP port.
    pub async fn socket(&self, path: &str) -> App {
        self.open_socket(self.http, path, None).await
    }

    /// A legacy socket, on its own port.
    pub async fn legacy_socket(&self, path: &str, token: Option<&str>) -> App {
        self.open_socket(self.legacy.unwrap(), path, token).await
    }

    /// A socket at one of several listeners.
    pub async fn open_socket(&self, address: SocketAddr, path: &str, token: Option<&str>) -> App {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
        }
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(source) = self.source {
            socket.bind((source, 0).into()).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        App { socket: tokio_tungstenite::client_async(request, stream).await.unwrap().0 }
    }

    /// The number of unread messages of a toy.
    pub async fn unread_of(&self, toy: &Toy) -> u64 {
        let (_, list) = self.post("/friend_list", json!({"_id": toy.id})).await;
        list["data"].as_array().unwrap().iter().map(|friend| friend["unread"].as_u64().unwrap()).sum()
    }

    /// Unread counts as an app sees them.
    pub async fn unread(&self, user: &User) -> Value {
        self.post_as(user, "/auto_login", json!({"_id": user.id})).await["data"]["chat"].clone()
    }

    /// Waits until the party is connected (or not), by the presence that its friend's app receives.
    pub async fn wait_online(&self, watcher: &User, id: &str, expected: &str) {
        let mut app = self.app(watcher).await;
        app.send(json!({"id": 2, "do": "subscribe", "topic": format!("online/{id}")})).await;
        within("presence", async { while app.frame().await["payload"] != expected {} }).await;
    }
}

async fn answer(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {status} {text}"));
    (status, value)
}

/// A running `mosquitto_sub`.
pub struct Subscriber {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    /// The next event.
    pub async fn event(&mut self) -> Value {
        let line = within("an event at the toy", self.lines.next_line()).await.unwrap().expect("mosquitto_sub ended");
        serde_json::from_str(&line).unwrap()
    }
}

/// The next text of a socket, `what`, as JSON; other frames are discarded.
pub async fn next_json(socket: &mut WebSocketStream<TcpStream>, what: &str) -> Value {
    within(what, async {
        loop {
            match socket.next().await.expect("the socket ended").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    })
    .await
}

/// A connected app.
pub struct App {
    socket: WebSocketStream<TcpStream>,
}

impl App {
    pub async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next JSON frame. The hub's pings do not extend the deadline.
    pub async fn frame(&mut self) -> Value {
        next_json(&mut self.socket, "a frame at the app").await
    }

    /// The answer to the request `id`; pushes before it are discarded.
    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["id"] == id {
                return frame;
            }
        }
    }

    /// Sends a request, and returns the answer.
    pub async fn ask(&mut self, mut request: Value) -> Value {
        request["id"] = json!(1_000_000);
        self.send(request).await;
        self.answer(1_000_000).await
    }

    /// A text frame whose bytes are no UTF-8, masked with zeros.
    pub async fn send_invalid_utf8(&mut self) {
        self.socket.get_mut().write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28]).await.unwrap();
    }

    /// The head of a frame of 100 MB, without its payload.
    pub async fn announce_huge_frame(&mut self) {
        let mut head = vec![0x81, 0xff];
        head.extend(100_000_000u64.to_be_bytes());
        head.extend([0, 0, 0, 0]);
        self.socket.get_mut().write_all(&head).await.unwrap();
    }

    /// Whether one more text arrives before the end.
    pub async fn next_is_text(&mut self) -> bool {
        matches!(within("a text or the end", self.socket.next()).await, Some(Ok(Message::Text(_))))
    }

    /// Sends a raw frame.
    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends all frames in one write.
    pub async fn send_at_once(&mut self, frame: &Value, times: usize) {
        for _ in 0..times {
            self.socket.feed(Message::text(frame.to_string())).await.unwrap();
        }
        self.socket.flush().await.unwrap();
    }

    /// Waits until the hub has answered a ping, so that it reads this socket.
    pub async fn is_read(&mut self) {
        self.socket.send(Message::Ping("read".into())).await.unwrap();
        within("the answer to a ping", async {
            while !matches!(self.socket.next().await.expect("the socket ended").unwrap(), Message::Pong(_)) {}
        })
        .await;
    }

    /// Closes, and gives whether the hub has answered with its own Close. The connection has ended then.
    pub async fn close_is_answered(mut self) -> bool {
        self.socket.send(Message::Close(None)).await.unwrap();
        let mut answered = false;
        within("the end of the socket", async {
            while let Some(Ok(frame)) = self.socket.next().await {
                answered |= matches!(frame, Message::Close(_));
            }
        })
        .await;
        answered
    }

    /// The code with which the hub closes. Its pings do not extend the deadline.
    pub async fn close_code(&mut self) -> u16 {
        within("the close frame", async {
            loop {
                if let Message::Close(close) = self.socket.next().await.expect("the socket ended").unwrap() {
                    return close.unwrap().code.into();
                }
            }
        })
        .await
    }
}
