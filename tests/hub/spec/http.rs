//! Every documented path, exercised; every answer, compared with the document.

use std::collections::BTreeSet;

use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};

use super::{Validator, docs, document, pointer};
use crate::calls::HELD_HERE;
use crate::sound;
use crate::world::{World, within};

/// A client of the documented calls that checks each answer against the document.
struct Caller<'w> {
    world: &'w World,
    document: Value,
    validator: Validator,
    token: Option<String>,
    /// The calls that succeeded.
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

    /// Sends a request, and compares status, headers and body of the answer with the document.
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

    /// A call that succeeds, after it has failed without each field that the document requires.
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

    /// The same in every form of a body.
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
async fn http_matches_its_document() {
    let settings = [("TOYHUB_HTTP__BODY_MAX_BYTES", "4096"), ("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "0")];
    let world = World::start_with(&settings).await;
    let unknown = "5c8f582f268d7942f44c6703";
    let mut http = Caller::new(&world);
    let (key, _) = world.device().await;
    let (other_key, _) = world.device().await;
    let song = world.folder().join("words.mp3");
    sound::converted(world.folder(), "mp3", &[]);
    let cover = world.data_dir().join(format!("files/qr/{key}.png"));
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "A Pug", "--cover", cover]).await;

    let registration = json!({"username": "mia", "password": "correct horse", "nickname": "Mia"});
    http.ok("/reg", registration.clone()).await;
    assert_eq!(http.post("/reg", &registration).await["code"], 1);
    let login = json!({"username": "mia", "password": "correct horse"});
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
    http.ok("/let_in", json!({"user_id": mia, "toy_id": toy})).await;
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
    http.ok("/unfriend", json!({"user_id": mia, "friend_id": tom.id, "toy_id": toy})).await;
    let invitation = http.ok("/invite", json!({"user_id": mia, "toy_id": toy, "remark": "Tommy"})).await;
    let as_mia = http.token.replace(tom.token.clone());
    http.ok("/join", json!({"user_id": tom.id, "invite": invitation["data"]["invite"]})).await;
    http.token = as_mia;
    http.ok("/remove_guardian", json!({"user_id": mia, "toy_id": toy, "guardian_id": tom.id})).await;

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

    // The health, and the paths of the sockets.
    for path in ["/healthz", "/livez"] {
        let health = http.request(Method::GET, path);
        assert_eq!(http.answer(path, "get", health).await, json!({"ok": true}));
        let health = http.request(Method::HEAD, path);
        http.answer(path, "head", health).await;
    }
    let readiness = http.request(Method::GET, "/readyz");
    assert_eq!(http.answer("/readyz", "get", readiness).await["ready"], true);
    let readiness = http.request(Method::HEAD, "/readyz");
    http.answer("/readyz", "head", readiness).await;
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

    // Audit, consent and export.
    http.ok("/consent_text", json!({})).await;
    http.ok("/consent", json!({"user_id": mia, "toy_id": toy})).await;
    http.ok("/audit", json!({"_id": mia, "toy_id": toy})).await;
    let ticket = http.ok("/export", json!({"_id": mia, "password": "correct horse"})).await["data"]["ticket"].clone();
    for _ in 0..2 {
        let archive = http.request(Method::GET, &format!("/get_export/{}", ticket.as_str().unwrap()));
        http.answer("/get_export/{name}", "get", archive).await;
    }

    // Push messages.
    http.ok("/push_key", json!({})).await;
    let key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    let subscription =
        json!({"user_id": mia, "endpoint": "https://push.example/1", "p256dh": key, "auth": "BTBZMqHH6r4Tts7J_aSIgg"});
    http.ok("/set_push", subscription).await;
    assert_eq!(http.ok("/push_list", json!({"user_id": mia})).await["data"][0]["service"], "push.example");
    http.ok("/erase_push", json!({"user_id": mia})).await;

    // Erasures.
    let page = http.ok("/chat_list", json!({"chat_id": chat, "to_user": mia})).await["data"].clone();
    http.ok("/erase_message", json!({"_id": mia, "message": page[0]["_id"], "for": "me"})).await;
    http.ok("/erase_chat", json!({"_id": mia, "chat_id": chat})).await;
    let asked = json!({"req_user": tom.id, "add_user": toy});
    assert_eq!(world.post_as(&tom, "/add_req", asked).await["code"], 0);
    let requests = http.ok("/req_list", json!({"_id": mia})).await;
    http.ok("/acc_req", json!({"req_id": requests["data"][0]["_id"]})).await;
    http.ok("/erase_friend", json!({"_id": mia, "toy_id": toy, "friend_id": tom.id})).await;
    http.ok("/unbind_toy", json!({"user_id": mia, "toy_id": toy, "new_key": "1"})).await;
    let binding =
        json!({"toy_name": "Rex", "baby_name": "Ben", "remark": "Mum", "user_id": mia, "device_key": other_key});
    http.ok("/bind_toy", binding).await;
    let rex = http.ok("/toy_list", json!({"_id": mia})).await["data"][0]["_id"].clone();
    http.ok("/erase_toy", json!({"user_id": mia, "toy_id": rex, "password": "correct horse"})).await;
    let (third_key, _) = world.device().await;
    let binding =
        json!({"toy_name": "Bo", "baby_name": "Ben", "remark": "Mum", "user_id": mia, "device_key": third_key});
    http.ok("/bind_toy", binding).await;
    let third = http.ok("/toy_list", json!({"_id": mia})).await["data"][0]["_id"].clone();
    http.ok("/withdraw_consent", json!({"user_id": mia, "toy_id": third, "password": "correct horse"})).await;
    http.ok("/erase_account", json!({"_id": mia, "password": "correct horse"})).await;

    // Everything that is documented was exercised.
    let paths = http.document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let is_here = |method: &String| method != "parameters" && !(HELD_HERE.contains(&path.trim_start_matches('/')));
        for method in methods.as_object().unwrap().keys().filter(|method| is_here(method)) {
            assert!(http.met.iter().any(|met| met.starts_with(&format!("{method} {path} "))), "{method} {path}");
        }
        let is_call = methods.get("post").is_some() && !path.ends_with("_uploader");
        let is_call = is_call && !HELD_HERE.contains(&path.trim_start_matches('/'));
        assert!(!is_call || http.met.contains(path), "{path} never succeeded");
    }
    // And every code is one of the table.
    let text = http.document["info"]["description"].as_str().unwrap();
    let table = std::fs::read_to_string(docs().join("http.md")).unwrap();
    let rows = |text: &str| -> BTreeSet<String> {
        let numbers = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
        numbers.filter(|number| number.parse::<u16>().is_ok()).map(str::to_owned).collect()
    };
    let codes: BTreeSet<_> = rows(&table).into_iter().filter(|code| code.len() < 4).collect();
    assert_eq!(codes, rows(text), "the codes of docs/http.md");
}
