//! The documents of `docs/`: as the program writes them, and true of everything that a running hub answers and tells.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::multipart::Form;
use rumqttc::QoS;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::one_connection::Line;
use crate::sound;
use crate::world::{App, User, World, within};

const NAMES: [&str; 2] = ["openapi.json", "asyncapi.json"];

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn document(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(docs().join(name)).unwrap()).unwrap()
}

#[test]
fn the_documents_are_those_that_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_toyhub"));
        let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = run(&["spec"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "only said, not written");
    run(&["spec", "--out", "new/docs"]);
    for name in NAMES {
        assert!(listed.contains(name), "{listed}");
        let written = std::fs::read_to_string(folder.path().join("new/docs").join(name)).unwrap();
        let kept = std::fs::read_to_string(docs().join(name)).unwrap();
        assert!(written == kept, "docs/{name} is not what the code says: run `toyhub spec --out docs`");
    }
}

/// The validator of another maker (`tests/clients/validate.py`), over the documents of `docs/`.
struct Validator {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Validator {
    fn start() -> Self {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "clients", "validate.py"].iter().collect();
        let mut child = Command::new(crate::clients::installed("venv/bin/python3"))
            .arg(script)
            .arg(docs())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, input, lines: BufReader::new(output).lines() }
    }

    /// What is wrong with `value`, if anything is.
    async fn fault(&mut self, document: &str, place: &str, value: &Value) -> Option<String> {
        let line = json!({"document": document, "place": place, "value": value});
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let answer = within("the validator", self.lines.next_line()).await.unwrap().expect("the validator ended");
        (answer != "ok").then_some(answer)
    }

    /// `value` is as described; with a field more it is not.
    async fn holds(&mut self, document: &str, place: &str, value: &Value) {
        let fault = self.fault(document, place, value).await;
        assert_eq!(fault, None, "{document} {place}: {value}");
        let mut more = value.clone();
        let open = match &mut more {
            Value::Array(items) => items.first_mut(),
            object => Some(object),
        };
        if let Some(Value::Object(fields)) = open {
            fields.insert("undescribed".into(), json!(1));
            assert!(self.fault(document, place, &more).await.is_some(), "{document} {place} lets all pass: {more}");
        }
    }
}

fn pointer(levels: &[&str]) -> String {
    levels.iter().map(|level| format!("/{}", level.replace('~', "~0").replace('/', "~1"))).collect()
}

/// A client of the documented calls that believes the document.
struct Caller<'w> {
    world: &'w World,
    document: Value,
    validator: Validator,
    token: Option<String>,
    /// What succeeded.
    met: BTreeSet<String>,
}

impl<'w> Caller<'w> {
    fn new(world: &'w World) -> Self {
        let (document, validator) = (document("openapi.json"), Validator::start());
        Self { world, document, validator, token: None, met: BTreeSet::new() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.world.client().request(method, format!("{}{path}", self.world.http()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends, and holds the answer against the document: its status, its headers, its body.
    async fn answer(&mut self, pattern: &str, method: &str, request: reqwest::RequestBuilder) -> Value {
        let response = within(pattern, request.send()).await.unwrap();
        let status = response.status().as_u16().to_string();
        let described = &self.document["paths"][pattern][method]["responses"][&status];
        assert!(described.is_object(), "{method} {pattern}: {status} is not described");
        for name in described["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
            assert!(response.headers().contains_key(name), "{method} {pattern} {status}: no {name}");
        }
        let Some(media) = described["content"].as_object().map(|content| content.keys().cloned().collect::<Vec<_>>())
        else {
            assert!(response.bytes().await.unwrap().is_empty(), "{method} {pattern} {status} has a body");
            self.met.insert(format!("{method} {pattern} {status}"));
            return Value::Null;
        };
        let found = response.headers()["content-type"].to_str().unwrap().to_owned();
        let fits =
            |media: &String| found == *media || media.strip_suffix('*').is_some_and(|kind| found.starts_with(kind));
        assert!(media.iter().any(fits), "{method} {pattern} {status}: {found}, not {media:?}");
        let bytes = response.bytes().await.unwrap();
        self.met.insert(format!("{method} {pattern} {status}"));
        if found != "application/json" {
            return Value::Null;
        }
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let place = pointer(&["paths", pattern, method, "responses", &status, "content", &found, "schema"]);
        self.validator.holds("openapi.json", &place, &value).await;
        value
    }

    async fn post(&mut self, path: &str, body: &Value) -> Value {
        let request = self.request(Method::POST, path).json(body);
        self.answer(path, "post", request).await
    }

    fn is_done(answer: &Value) -> bool {
        answer.get("code").is_none_or(|code| code == 0)
    }

    /// A call that succeeds, after it has failed for the lack of each field that the document requires.
    async fn ok(&mut self, path: &str, body: Value) -> Value {
        let place = pointer(&["paths", path, "post", "requestBody", "content", "application/json", "schema"]);
        assert_eq!(self.validator.fault("openapi.json", &place, &body).await, None, "{path}: {body}");
        let schema = self.document.pointer(&place).unwrap().clone();
        for name in body.as_object().unwrap().keys() {
            assert!(schema["properties"].get(name).is_some(), "{path}: {name} is not described");
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(name.as_str().unwrap());
            assert!(self.validator.fault("openapi.json", &place, &less).await.is_some(), "{path} without {name}");
            let answer = self.post(path, &less).await;
            assert!(answer["msg"].as_str().is_some_and(|msg| msg.contains("is missing")), "{path} {name}: {answer}");
        }
        let answer = self.post(path, &body).await;
        assert!(Self::is_done(&answer), "{path}: {answer}");
        self.met.insert(path.to_owned());
        answer
    }

    /// The same in every form in which a body may come.
    async fn ok_in_every_form(&mut self, path: &str, body: Value) -> Value {
        let answer = self.ok(path, body.clone()).await;
        let fields: Vec<(String, String)> = body
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
            .collect();
        let content = self.document["paths"][path]["post"]["requestBody"]["content"].as_object().unwrap();
        let forms: Vec<_> = content.keys().cloned().collect();
        assert_eq!(forms.len(), 3);
        let parts = fields.iter().fold(Form::new(), |form, (name, text)| form.text(name.clone(), text.clone()));
        for request in
            [self.request(Method::POST, path).form(&fields), self.request(Method::POST, path).multipart(parts)]
        {
            assert!(Self::is_done(&self.answer(path, "post", request).await), "{path}");
        }
        answer
    }

    async fn upload(&mut self, path: &str, field: &'static str, sound: Vec<u8>, fields: &[(&str, &str)]) -> Value {
        let form =
            fields.iter().fold(Form::new(), |form, (name, text)| form.text((*name).to_owned(), (*text).to_owned()));
        let part = reqwest::multipart::Part::bytes(sound).file_name("record");
        let request = self.request(Method::POST, path).multipart(form.part(field, part));
        self.answer(path, "post", request).await
    }

    async fn file(&mut self, pattern: &str, name: &str, headers: &[(&str, &str)], methods: &[Method]) {
        for method in methods {
            let path = pattern.replace("{name}", name);
            let mut request = self.request(method.clone(), &path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            self.answer(pattern, &method.as_str().to_lowercase(), request).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_answers_as_it_is_described() {
    let world = World::start_with(&[("TOYHUB_HTTP__BODY_MAX_BYTES", "4096")]).await;
    let unknown = "5c8f582f268d7942f44c6703";
    let mut http = Caller::new(&world);
    let (key, _) = world.device().await;
    let (other_key, _) = world.device().await;
    let song = world.folder().join("words.mp3");
    sound::converted(world.folder(), "mp3", &[]);
    let cover = world.data_dir().join(format!("files/qr/{key}.png"));
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "A Pug", "--cover", cover]).await;

    let registration = json!({"username": "mia", "password": "pw", "nickname": "Mia"});
    http.ok("/reg", registration.clone()).await;
    assert_eq!(http.post("/reg", &registration).await["code"], 1);
    let login = json!({"username": "mia", "password": "pw"});
    let mia = http.ok_in_every_form("/login", login).await["data"].clone();
    assert_eq!(http.post("/ticket", &json!({})).await["code"], 10);
    http.token = Some(mia["token"].as_str().unwrap().into());
    http.ok("/ticket", json!({})).await;
    let mia = mia["_id"].as_str().unwrap().to_owned();
    let content = http.ok("/content_list", json!({})).await["data"][0].clone();

    assert_eq!(http.ok("/scan_qr", json!({"device_key": key})).await["data"]["device_key"], key.as_str());
    assert_eq!(http.post("/open_toy", &json!({"device_key": key})).await["code"], 2);
    assert_eq!(http.post("/open_toy", &json!({"device_key": unknown})).await["code"], 1);
    let binding =
        json!({"toy_name": "Fluffy", "baby_name": "Emma", "remark": "Mum", "user_id": mia, "device_key": key});
    http.ok("/bind_toy", binding).await;
    assert_eq!(http.post("/scan_qr", &json!({"device_key": key})).await["code"], 2);
    let opened = http.ok("/open_toy", json!({"device_key": key})).await;
    let toy = opened["toy_id"].as_str().unwrap().to_owned();
    http.ok_in_every_form("/toy_list", json!({"_id": mia})).await;
    let friends = http.ok_in_every_form("/friend_list", json!({"_id": mia})).await;
    let chat = friends["data"][0]["friend_chat"].clone();

    let to_toy = [("user_id", mia.as_str()), ("to_user", &toy)];
    let sent = http.upload("/app_uploader", "reco_file", sound::wav(), &to_toy).await;
    assert_eq!(sent["code"], 0);
    assert_eq!(http.upload("/app_uploader", "blob", b"text".to_vec(), &to_toy).await["code"], 13);
    let as_mia = http.token.clone();
    http.token = opened["token"].as_str().map(str::to_owned);
    let recording = http.ok("/recv_msg", json!({"to_user": toy})).await[0]["message"].as_str().unwrap().to_owned();
    let to_mia = [("user_id", toy.as_str()), ("to_user", &mia)];
    assert_eq!(http.upload("/toy_uploader", "reco", sound::beep(), &to_mia).await["code"], 0);
    assert_eq!(http.upload("/ai_uploader", "reco", sound::wav(), &[("toy_id", &toy)]).await["code"], 16);
    http.token = as_mia;
    let waiting = http.ok_in_every_form("/auto_login", json!({"_id": mia})).await;
    assert_eq!(waiting["data"]["chat"][&toy], 1);
    let page = json!({"chat_id": chat, "to_user": mia, "from_user": toy, "limit": 10, "before": 4e9});
    assert_eq!(http.ok("/chat_list", page).await["data"].as_array().unwrap().len(), 2);

    let as_mia = http.token.take();
    let tom = world.user("tom").await;
    http.token = Some(tom.token.clone());
    http.ok("/add_req", json!({"req_user": tom.id, "add_user": toy})).await;
    let more = json!({"req_user": tom.id, "add_user": mia, "type": "app", "req_info": "hi", "remark": "M"});
    http.ok("/add_req", more).await;
    http.token = as_mia;
    let requests = http.ok_in_every_form("/req_list", json!({"_id": mia})).await;
    http.ok("/ref_req", json!({"req_id": requests["data"][0]["_id"]})).await;
    http.ok("/acc_req", json!({"req_id": requests["data"][1]["_id"]})).await;

    // Faults of the form.
    let malformed = http.request(Method::POST, "/login").header("content-type", "application/json").body("{");
    assert_eq!(http.answer("/login", "post", malformed).await["code"], 20);
    let large = http.request(Method::POST, "/login").body("x".repeat(5000));
    assert_eq!(http.answer("/login", "post", large).await["code"], 21);
    let xml = http.request(Method::POST, "/login").header("content-type", "text/xml").body("<a/>");
    assert_eq!(http.answer("/login", "post", xml).await["code"], 22);

    // Files.
    let both = [Method::GET, Method::HEAD];
    let qr = format!("{key}.jpg");
    let song = content["music"].as_str().unwrap().to_owned();
    let cover = content["cover"].as_str().unwrap().to_owned();
    for (pattern, name) in [
        ("/get_music/{name}", song.as_str()),
        ("/get_image/{name}", &cover),
        ("/get_chat/{name}", &recording),
        ("/get_qr/{name}", &qr),
        ("/get_qr/{name}", &format!("{other_key}.png")),
    ] {
        http.file(pattern, name, &[], &both).await;
        http.file(pattern, name, &[("range", "bytes=5-20")], &both[..1]).await;
        http.file(pattern, name, &[("range", "bytes=99999999-")], &both[..1]).await;
        http.file(pattern, name, &[("if-none-match", "*")], &both).await;
        http.file(pattern, "nothing.mp3", &[], &both).await;
        for status in ["200", "206", "304", "404", "416"] {
            assert!(http.met.contains(&format!("get {pattern} {status}")), "{pattern} {status}");
        }
    }

    // The health, and the doors to the sockets.
    let health = http.request(Method::GET, "/healthz");
    assert_eq!(http.answer("/healthz", "get", health).await, json!({"ok": true}));
    let health = http.request(Method::HEAD, "/healthz");
    http.answer("/healthz", "head", health).await;
    for pattern in ["/ws", "/mqtt", "/app/{id}", "/toy/{id}"] {
        let path = pattern.replace("{id}", unknown);
        let plain = http.request(Method::GET, &path);
        assert_eq!(http.answer(pattern, "get", plain).await["code"], 26);
        let upgrade = |request: reqwest::RequestBuilder| {
            let request = request.header("connection", "upgrade").header("upgrade", "websocket");
            request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        };
        let opened = upgrade(http.request(Method::GET, &path)).header("sec-websocket-protocol", "toyhub.v1, mqtt");
        let opened = within("the upgrade", opened.send()).await.unwrap();
        assert_eq!(opened.status(), 101, "{pattern}");
    }
    let without = http.request(Method::GET, "/mqtt").header("connection", "upgrade").header("upgrade", "websocket");
    let without = without.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(http.answer("/mqtt", "get", without).await["code"], 26);

    // Everything that is described was met.
    let paths = http.document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys().filter(|name| *name != "parameters") {
            assert!(http.met.iter().any(|met| met.starts_with(&format!("{method} {path} "))), "{method} {path}");
        }
        let is_call = methods.get("post").is_some() && !path.ends_with("_uploader");
        assert!(!is_call || http.met.contains(path), "{path} never succeeded");
    }
    // And every code is one of the table.
    let text = http.document["info"]["description"].as_str().unwrap();
    let readme = std::fs::read_to_string(docs().with_file_name("README.md")).unwrap();
    let rows = |text: &str| -> BTreeSet<String> {
        let numbers = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
        numbers.filter(|number| number.parse::<u16>().is_ok()).map(str::to_owned).collect()
    };
    let codes: BTreeSet<_> = rows(&readme).into_iter().filter(|code| code.len() < 4).collect();
    assert_eq!(codes, rows(text), "the codes of the README");
}

/// A client of the sockets that believes the other document.
struct Listener {
    document: Value,
    validator: Validator,
    met: BTreeSet<String>,
    number: u64,
}

impl Listener {
    async fn holds(&mut self, channel: &str, message: &str, value: &Value) {
        let described = &self.document["channels"][channel]["messages"];
        assert!(described.get(message).is_some(), "{message} is not described on {channel}: {value}");
        let place = pointer(&["components", "messages", message, "payload"]);
        self.validator.holds("asyncapi.json", &place, value).await;
        self.met.insert(message.to_owned());
    }

    /// Something that the hub says unasked.
    async fn pushed(&mut self, channel: &str, value: &Value) {
        let kind = value["type"].as_str().unwrap_or_else(|| panic!("{value}"));
        let own = ["welcome", "reload", "publish"].contains(&kind);
        self.holds(channel, &format!("{}_{kind}", if own { "push" } else { "event" }), value).await;
    }

    /// A request as it is described.
    async fn request(&mut self, channel: &str, word: &str, mut fields: Value) -> Value {
        self.number += 1;
        (fields["id"], fields["do"]) = (json!(self.number), json!(word));
        let message = format!("ask_{word}");
        assert!(self.document["channels"][channel]["messages"].get(&message).is_some(), "{message} on {channel}");
        let place = pointer(&["components", "messages", &message, "payload"]);
        assert_eq!(self.validator.fault("asyncapi.json", &place, &fields).await, None, "{fields}");
        let known = self.document.pointer(&place).unwrap()["properties"].as_object().unwrap().clone();
        assert!(fields.as_object().unwrap().keys().all(|name| known.contains_key(name)), "{fields}");
        self.met.insert(message);
        fields
    }

    async fn answered(&mut self, channel: &str, word: &str, answer: &Value) {
        let met = self.met.clone();
        self.holds(channel, &format!("answer_{word}"), answer).await;
        if answer["code"] != 0 {
            self.met = met;
        }
    }

    /// Asks at the app socket; whatever else comes is held against the document too.
    async fn ask(&mut self, app: &mut App, word: &str, fields: Value) -> Value {
        let request = self.request("socket", word, fields).await;
        app.send(request.clone()).await;
        loop {
            let frame = app.frame().await;
            if frame["id"] == request["id"] {
                self.answered("socket", word, &frame).await;
                return frame;
            }
            self.pushed("socket", &frame).await;
        }
    }

    async fn ok(&mut self, app: &mut App, word: &str, fields: Value) -> Value {
        let answer = self.ask(app, word, fields).await;
        assert_eq!(answer["code"], 0, "{word}: {answer}");
        answer["data"].clone()
    }

    /// Asks over MQTT.
    async fn ask_line(&mut self, line: &mut Line, word: &str, fields: Value) -> Value {
        let request = self.request("toyOut", word, fields).await;
        let answer = line.answer(request).await;
        self.answered("toyIn", word, &answer).await;
        answer
    }

    /// Reads frames until one of this type has come.
    async fn until(&mut self, app: &mut App, kind: &str) -> Value {
        loop {
            let frame = app.frame().await;
            self.pushed("socket", &frame).await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    fn is_close_code(&self, channel: &str, code: u16) -> bool {
        let codes = self.document["channels"][channel]["x-close-codes"].as_array().unwrap();
        codes.iter().any(|known| known["code"] == code && known["comeBack"] == (code < 4500))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_mqtt_speak_as_it_is_described() {
    let mut world = World::start_with(&[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]).await;
    let (document, validator) = (document("asyncapi.json"), Validator::start());
    let mut hub = Listener { document, validator, met: BTreeSet::new(), number: 0 };
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let mut line = Line::open(&world, &toy).await;

    // The app, from its first frame on.
    let mut app = world.socket("/ws").await;
    hub.ok(&mut app, "auth", json!({"token": mia.token, "after": 0})).await;
    hub.until(&mut app, "welcome").await;
    assert_eq!(hub.ask(&mut app, "auth", json!({"token": mia.token})).await["code"], 1);
    hub.ok(&mut app, "ping", json!({})).await;
    hub.ok(&mut app, "reg", json!({"username": "tom", "password": "pw", "nickname": "Tom", "gender": "1"})).await;
    let data = hub.ok(&mut app, "login", json!({"username": "tom", "password": "pw"})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tom = User { id: text(&data["_id"]), username: "tom".into(), token: text(&data["token"]) };
    for word in ["auto_login", "content_list", "friend_list", "toy_list", "req_list", "unread"] {
        hub.ok(&mut app, word, json!({})).await;
    }
    let chat = hub.ok(&mut app, "friend_list", json!({"_id": mia.id})).await[0]["friend_chat"].clone();

    // Topics.
    let state = format!("toy/{}/state", toy.id);
    for topic in [format!("{state}/#"), format!("chat/{}", text(&chat)), format!("online/{}", toy.id)] {
        hub.ok(&mut app, "subscribe", json!({"topic": topic})).await;
    }
    let presence = hub.until(&mut app, "publish").await["payload"].clone();
    let place = pointer(&["components", "messages", "presence", "payload"]);
    assert_eq!(hub.validator.fault("asyncapi.json", &place, &presence).await, None);
    hub.met.insert("presence".into());
    line.client.publish(format!("{state}/battery"), QoS::AtLeastOnce, false, "80").await.unwrap();
    line.ok(json!({"do": "open_toy"})).await;
    assert_eq!(hub.until(&mut app, "publish").await["payload"], "80");
    hub.ok(&mut app, "unsubscribe", json!({"topic": format!("{state}/#")})).await;
    hub.ok(&mut app, "publish", json!({"topic": format!("toy/{}/cmd/volume", toy.id), "payload": "5"})).await;

    // A recording to the toy, in chunks.
    let recording = sound::amr(world.folder());
    let chunks: Vec<&[u8]> = recording.chunks(3000).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        hub.ok(&mut app, "voice", json!({"upload": "a", "n": n, "data": STANDARD.encode(chunk)})).await;
    }
    hub.ok(&mut app, "upload_state", json!({"upload": "a"})).await;
    hub.ok(&mut app, "app_uploader", json!({"to_user": toy.id, "upload": "a", "chunks": chunks.len()})).await;
    let told = line.event("message").await;
    hub.pushed("toyIn", &told).await;
    hub.ok(&mut app, "drop_upload", json!({"upload": "a"})).await;
    let incomplete = json!({"to_user": toy.id, "upload": "b", "chunks": 1});
    assert_eq!(hub.ask(&mut app, "app_uploader", incomplete).await["code"], 30);

    // The toy hears it, and answers.
    let waiting = hub.ask_line(&mut line, "unread", json!({"limit": 5})).await;
    let message = waiting["data"]["messages"][0]["_id"].clone();
    let sound = waiting["data"]["messages"][0]["message"].clone();
    hub.ask_line(&mut line, "delivered", json!({"message": message})).await;
    let (wanted, count) = (json!({"name": sound, "chunk_bytes": 500, "first": 1, "count": 2}), 2);
    let wanted = hub.request("toyOut", "get_file", wanted).await;
    let (answer, pieces) = line.answer_with_pieces(wanted).await;
    hub.answered("toyIn", "get_file", &answer).await;
    assert_eq!(pieces.len(), count);
    hub.ask_line(&mut line, "mark_read", json!({"from_user": mia.id, "message": message})).await;
    hub.until(&mut app, "receipt").await;
    hub.ask_line(&mut line, "recv_msg", json!({"from_user": mia.id})).await;
    for word in ["open_toy", "friend_list", "content_list"] {
        hub.ask_line(&mut line, word, json!({})).await;
    }
    let chunks: Vec<(usize, &[u8])> = recording.chunks(1000).enumerate().collect();
    line.chunks("c", &chunks).await;
    let sent = json!({"to_user": mia.id, "upload": "c", "chunks": chunks.len()});
    assert_eq!(hub.ask_line(&mut line, "toy_uploader", sent).await["code"], 0);
    line.chunks("d", &chunks).await;
    let asked = hub.ask_line(&mut line, "ai_uploader", json!({"upload": "d", "chunks": chunks.len()})).await;
    assert_eq!(asked["code"], 16, "there is no model here");
    let heard = hub.until(&mut app, "message").await;
    hub.ok(&mut app, "delivered", json!({"message": heard["_id"]})).await;
    hub.ok(&mut app, "recv_msg", json!({"from_user": toy.id})).await;
    while !hub.met.contains("event_read") {
        let frame = app.frame().await;
        hub.pushed("socket", &frame).await;
    }
    let receipt = line.event("receipt").await;
    hub.pushed("toyIn", &receipt).await;
    hub.ok(&mut app, "chat_list", json!({"chat_id": chat})).await;
    hub.ok(&mut app, "mark_read", json!({"from_user": toy.id})).await;
    hub.ok(&mut app, "get_file", json!({"name": heard["chat"], "count": 0})).await;
    line.client.publish(format!("toy/{}/out", toy.id), QoS::AtLeastOnce, false, "no json").await.unwrap();
    let unreadable = line.answer_to_nothing().await;
    hub.holds("toyIn", "unreadable", &unreadable).await;

    // Friends.
    let mut of_tom = world.app(&tom).await;
    let asked = json!({"add_user": mia.id, "type": "app", "req_info": "hi", "remark": "M"});
    hub.ok(&mut of_tom, "add_req", asked).await;
    let request = hub.until(&mut app, "friend_request").await;
    assert_eq!(hub.ok(&mut app, "req_list", json!({})).await.as_array().unwrap().len(), 1);
    hub.ok(&mut app, "ref_req", json!({"req_id": request["_id"]})).await;
    hub.ok(&mut of_tom, "add_req", json!({"add_user": mia.id})).await;
    let request = hub.until(&mut app, "friend_request").await;
    hub.ok(&mut app, "acc_req", json!({"req_id": request["_id"], "remark": "T"})).await;
    hub.until(&mut of_tom, "friend_added").await;

    // Older sockets, and what they have others play.
    let mut old_toy = world.legacy_socket(&format!("/toy/{}", toy.id), None).await;
    let mut old_app = world.legacy_socket(&format!("/app/{}", mia.id), Some(&mia.token)).await;
    let said = json!({"to_user": mia.id, "music": "Success.mp3"});
    let place = pointer(&["components", "messages", "legacy_said", "payload"]);
    assert_eq!(hub.validator.fault("asyncapi.json", &place, &said).await, None);
    hub.met.insert("legacy_said".into());
    // Which is answered by nothing, so that the other's socket says when it is open.
    world.upload("/toy_uploader", "reco", sound::beep(), &[("user_id", &toy.id), ("to_user", &mia.id)]).await;
    let played = old_app.frame().await;
    hub.holds("legacyApp", "legacy_heard", &played).await;
    assert_eq!(played["friend_type"], "toy");
    old_toy.send(said).await;
    let mut played = json!({});
    while played["music"] != "Success.mp3" {
        played = old_app.frame().await;
        hub.holds("legacyApp", "legacy_heard", &played).await;
    }
    hub.until(&mut app, "play").await;

    // A toy at the app socket has no numbers.
    let opened = world.ok("/open_toy", json!({"device_key": toy.device_key})).await;
    let mut of_toy = world.socket("/ws").await;
    hub.ok(&mut of_toy, "auth", json!({"token": opened["token"]})).await;
    assert_eq!(hub.until(&mut of_toy, "welcome").await, json!({"type": "welcome"}));

    // Devices.
    let (key, _) = world.device().await;
    hub.ok(&mut app, "scan_qr", json!({"device_key": key})).await;
    let binding = json!({"toy_name": "Rex", "baby_name": "Ben", "remark": "Mum", "device_key": key});
    hub.ok(&mut app, "bind_toy", binding).await;
    assert_eq!(hub.ask(&mut app, "scan_qr", json!({"device_key": key})).await["code"], 2);
    let rex = hub.ok(&mut app, "toy_list", json!({})).await;
    let rex = rex.as_array().unwrap().iter().find(|toy| toy["toy_name"] == "Rex").unwrap()["_id"].clone();
    hub.ok(&mut app, "unbind", json!({"toy": rex})).await;

    // How connections end.
    let mut stranger = world.socket("/ws").await;
    stranger.send(json!({"do": "auth", "token": "none"})).await;
    let mut garbler = world.app(&tom).await;
    garbler.send_raw(tokio_tungstenite::tungstenite::Message::text("no json")).await;
    // Its answer may lose the race with the end.
    let logout = hub.request("socket", "logout", json!({})).await;
    app.send(logout).await;
    for (socket, code) in [(&mut stranger, 4500), (&mut garbler, 4502), (&mut app, 4501)] {
        assert_eq!(socket.close_code().await, code);
        assert!(hub.is_close_code("socket", code), "{code}");
    }
    let stopped = tokio::join!(of_tom.close_code(), old_toy.close_code(), world.stop());
    assert_eq!(stopped, (4000, 4000, Some(0)));
    assert!(hub.is_close_code("socket", 4000) && hub.is_close_code("legacyToy", 4000));

    // Everything that is described was met.
    let messages = hub.document["components"]["messages"].as_object().unwrap();
    let missed: Vec<&String> = messages
        .iter()
        .filter(|(name, message)| !hub.met.contains(*name) && message["contentType"] != "application/octet-stream")
        .map(|(name, _)| name)
        .collect();
    // The first needs a model, the last a connection that its own events have outrun.
    assert_eq!(missed, ["answer_ai_uploader", "answer_logout", "push_reload"]);
}
