//! The registry of calls is complete: each call is served at its edges, documented, and exercised by a test. A new call
//! gets its test here.

use std::path::Path;

use serde_json::{Value, json};
use toyhub::api::{self, Entry, ServedAt};
use toyhub::model::PartyKind;

use crate::one_connection::Line;
use crate::sound;
use crate::spec::{Validator, document, pointer};
use crate::world::{App, Toy, User, World};

/// The calls whose answers are compared with the documents here. All others are in `spec`.
pub const HELD_HERE: [&str; 17] = [
    "toy_profile",
    "block",
    "unblock",
    "block_list",
    "guardian_list",
    "change_password",
    "toy_settings",
    "set_quiet_hours",
    "set_daily_minutes",
    "mute",
    "set_content",
    "approve_content",
    "keep_words",
    "kept_words",
    "toy_voice",
    "set_toy_voice",
    "only_token",
];

/// A toy or an app at all three edges.
pub struct Edges<'w> {
    world: &'w World,
    caller: User,
    app: App,
    line: Line,
    validator: Validator,
}

impl<'w> Edges<'w> {
    async fn open(world: &'w World, toy: &Toy) -> Self {
        let opened = world.ok("/open_toy", json!({"device_key": toy.device_key, "token": toy.secret})).await;
        let token = opened["token"].as_str().unwrap().to_owned();
        let caller = User { id: toy.id.clone(), username: String::new(), token };
        let (app, line) = (world.app(&caller).await, Line::open(world, toy).await);
        Self { world, caller, app, line, validator: Validator::start() }
    }

    pub async fn open_app(world: &'w World, user: &User) -> Self {
        let (app, line) = (world.app(user).await, Line::open_app(world, user).await);
        Self { world, caller: user.clone(), app, line, validator: Validator::start() }
    }

    /// The `data` of a call that succeeds, the same at each edge; the answers match the documents. `named` are the fields
    /// that name the caller, which a connection omits.
    pub async fn ok(&mut self, name: &str, named: Value, fields: Value) -> Value {
        let path = format!("/{name}");
        let mut body = fields.clone();
        body.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        let place = pointer(&["paths", &path, "post", "requestBody", "content", "application/json", "schema"]);
        assert_eq!(self.validator.fault("openapi.json", &place, &body).await, None, "{path}: {body}");
        let answer = self.world.post_as(&self.caller, &path, body).await;
        let place = ["paths", &path, "post", "responses", "200", "content", "application/json", "schema"];
        self.validator.holds("openapi.json", &pointer(&place), &answer).await;
        assert_eq!(answer["code"], 0, "{answer}");

        let mut request = fields;
        request["do"] = json!(name);
        let at_socket = self.app.ask(request.clone()).await;
        let over_mqtt = self.line.answer(request).await;
        let place = pointer(&["components", "messages", &format!("answer_{name}"), "payload"]);
        for other in [at_socket, over_mqtt] {
            self.validator.holds("asyncapi.json", &place, &other).await;
            assert_eq!((&other["code"], &other["data"]), (&json!(0), &answer["data"]), "{other}");
        }
        answer["data"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_edges_give_the_same_answer() {
    let world = World::start().await;
    let toy = world.bound_toy("Fluffy").await;
    let mut edges = Edges::open(&world, &toy).await;
    let friends = edges.ok("friend_list", json!({"_id": toy.id}), json!({})).await;
    assert_eq!(friends[0]["friend_remark"], "Dad");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_requests_its_profile_and_unread_counts() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    world.upload("/app_uploader", "reco_file", sound::wav(), &[("user_id", &mia.id), ("to_user", &toy.id)]).await;
    let mut edges = Edges::open(&world, &toy).await;
    let profile = edges.ok("toy_profile", json!({"toy_id": toy.id}), json!({})).await;
    assert_eq!((&profile["toy_name"], &profile["baby_name"]), (&json!("Fluffy"), &json!("Fluffy's child")));
    assert_eq!((&profile["_id"], &profile["bind_user"]), (&json!(toy.id), &json!(mia.id)));
    assert_eq!(profile["chat"], json!({"count": 1, mia.id.clone(): 1}));

    // Other callers are refused: its owner, another toy, and an app for itself.
    assert_eq!(world.post_as(&mia, "/toy_profile", json!({"toy_id": toy.id})).await["code"], 10);
    assert_eq!(world.post_as(&mia, "/toy_profile", json!({"toy_id": mia.id})).await["code"], 1);
    let other = world.bound_toy("Rex").await;
    let mut of_other = Line::open(&world, &other).await;
    let answer = of_other.answer(json!({"do": "toy_profile", "toy_id": toy.id})).await;
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(1), &json!("no such user or toy")));
    let answer = world.app(&mia).await.ask(json!({"do": "toy_profile"})).await;
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(18), &json!("not permitted")));
    // A call for apps on a toy's connection.
    let unknown = "0".repeat(24);
    for request in [
        json!({"do": "erase_message", "message": unknown}),
        json!({"do": "erase_message", "message": unknown, "_id": other.id}),
        json!({"do": "erase_account", "password": "correct horse"}),
        json!({"do": "toy_list"}),
        json!({"do": "mute", "friend_id": mia.id}),
    ] {
        let answer = of_other.answer(request.clone()).await;
        assert_eq!((&answer["code"], &answer["msg"]), (&json!(18), &json!("not permitted")), "{request}");
    }
    let answer = of_other.answer(json!({"do": "acc_req", "req_id": unknown})).await;
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(1), &json!("no such friend request")));
}

/// All Rust sources below a folder, in one text.
pub fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Whether the documents describe a call where it is served, and nowhere else.
fn assert_described(call: &Entry, http: &Value, sockets: &Value) {
    let name = call.facts.name;
    assert_eq!(http["paths"].get(format!("/{name}")).is_some(), call.facts.served_at != ServedAt::Connection, "{name}");
    let has_word = call.facts.served_at != ServedAt::Http;
    for message in [format!("ask_{name}"), format!("answer_{name}")] {
        assert_eq!(sockets["components"]["messages"].get(&message).is_some(), has_word, "{message}");
    }
    for (channel, is_for) in
        [("socket", true), ("appOut", call.is_for(PartyKind::App)), ("toyOut", call.is_for(PartyKind::Toy))]
    {
        let operation = format!("{channel}_{name}");
        assert_eq!(sockets["operations"].get(&operation).is_some(), has_word && is_for, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_registered_call_is_served_documented_and_tested() {
    let world = World::start_with(&[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut edges = Edges::open(&world, &toy).await;
    let (http, sockets) = (document("openapi.json"), document("asyncapi.json"));
    let tests = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("hub"));
    let (mut paths, mut words) = (0, 0);
    for call in api::calls() {
        let name = call.facts.name;
        // Served: a refusal is the call's own.
        let (status, answer) = world.post(&format!("/{name}"), json!({})).await;
        let is_path = call.facts.served_at != ServedAt::Connection;
        assert_eq!(
            (status, answer["code"] == 24),
            if is_path { (200, false) } else { (404, true) },
            "{name}: {answer}"
        );
        let request = json!({"do": name});
        for answer in [edges.app.ask(request.clone()).await, edges.line.answer(request).await] {
            let is_unknown = answer["msg"].as_str().unwrap().contains("is none of the words");
            assert_eq!(is_unknown, call.facts.served_at == ServedAt::Http, "{name}: {answer}");
        }
        assert_described(call, &http, &sockets);
        // Each call is exercised: by `spec`, which covers all documented calls, or here; and by name somewhere.
        let has_test =
            HELD_HERE.contains(&name) || ["\"/", "\""].iter().any(|quote| tests.contains(&format!("{quote}{name}\"")));
        assert!(has_test, "no test calls {name}");
        paths += usize::from(is_path);
        words += usize::from(call.facts.served_at != ServedAt::Http);
    }
    // The documents describe no other call.
    let described = http["paths"].as_object().unwrap().values().filter(|path| path.get("post").is_some()).count();
    assert_eq!(described, paths);
    let operations = sockets["operations"].as_object().unwrap();
    let asked = operations.keys().filter(|name| name.starts_with("socket_") && *name != "socket_push").count();
    let own_words = toyhub::edge::ws::WORDS.len();
    assert_eq!(asked, words + own_words);
}
