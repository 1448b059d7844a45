//! The app socket, the legacy sockets and MQTT: every documented message, sent or received.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rumqttc::QoS;
use serde_json::{Value, json};

use super::{Validator, document, pointer};
use crate::calls::HELD_HERE;
use crate::one_connection::Line;
use crate::places::Stranger;
use crate::sound;
use crate::world::{App, User, World};

/// A client of the sockets that checks each message against the other document.
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

    /// An event of the hub.
    async fn pushed(&mut self, channel: &str, value: &Value) {
        let kind = value["type"].as_str().unwrap_or_else(|| panic!("{value}"));
        let own = ["welcome", "reload", "publish"].contains(&kind);
        self.holds(channel, &format!("{}_{kind}", if own { "push" } else { "event" }), value).await;
    }

    /// A documented request.
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

    /// Sends a request to the app socket; all other frames are compared with the document, too.
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

    /// Sends a request over MQTT.
    async fn ask_line(&mut self, line: &mut Line, word: &str, fields: Value) -> Value {
        let request = self.request("toyOut", word, fields).await;
        let answer = line.answer(request).await;
        self.answered("toyIn", word, &answer).await;
        answer
    }

    /// Reads frames until one of this type arrives.
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
async fn sockets_and_mqtt_match_their_document() {
    let settings = [("TOYHUB_WS__REQUESTS_PER_SECOND", "1000"), ("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "0")];
    let mut world = World::start_with(&settings).await;
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
    hub.ok(&mut app, "reg", json!({"username": "tom", "password": "correct horse", "nickname": "Tom", "gender": "1"}))
        .await;
    let data = hub.ok(&mut app, "login", json!({"username": "tom", "password": "correct horse"})).await;
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

    // The toy receives it, and answers.
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
    hub.ok(&mut app, "unfriend", json!({"friend_id": tom.id})).await;
    hub.until(&mut of_tom, "friend_removed").await;
    let invitation = hub.ok(&mut app, "invite", json!({"toy_id": toy.id, "remark": "Tommy"})).await;
    hub.ok(&mut of_tom, "join", json!({"invite": invitation["invite"]})).await;
    hub.ok(&mut app, "remove_guardian", json!({"toy_id": toy.id, "guardian_id": tom.id})).await;

    // Legacy sockets, and play requests over them.
    let mut old_toy = world.legacy_socket(&format!("/toy/{}", toy.id), None).await;
    let mut old_app = world.legacy_socket(&format!("/app/{}", mia.id), Some(&mia.token)).await;
    let said = json!({"to_user": mia.id, "music": "Success.mp3"});
    let place = pointer(&["components", "messages", "legacy_said", "payload"]);
    assert_eq!(hub.validator.fault("asyncapi.json", &place, &said).await, None);
    hub.met.insert("legacy_said".into());
    // There is no answer to it, so the other socket shows when it is open.
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
    let opened = world.ok("/open_toy", json!({"device_key": toy.device_key, "token": toy.secret})).await;
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
    hub.ok(&mut app, "let_in", json!({"toy_id": rex})).await;
    hub.ok(&mut app, "unbind", json!({"toy": rex})).await;

    // A toy at an address where it is not let in.
    Stranger::new(&world).post("/open_toy", json!({"device_key": toy.device_key})).await;
    hub.until(&mut app, "toy_wants_in").await;
    hub.ok(&mut app, "let_in", json!({"toy_id": toy.id})).await;
    Stranger::new(&world).post("/open_toy", json!({"device_key": toy.device_key})).await;
    hub.until(&mut app, "toy_opened").await;

    // Audit, consent and export.
    hub.ok(&mut app, "consent_text", json!({})).await;
    hub.ok(&mut app, "consent", json!({"toy_id": toy.id})).await;
    hub.ok(&mut app, "audit", json!({"toy_id": toy.id, "limit": 10})).await;
    hub.ok(&mut app, "export", json!({"password": "correct horse"})).await;
    hub.ok(&mut app, "push_key", json!({})).await;
    hub.ok(&mut app, "push_list", json!({})).await;

    // Erasures.
    hub.ok(&mut app, "erase_message", json!({"message": heard["_id"]})).await;
    hub.ok(&mut app, "erase_chat", json!({"chat_id": chat})).await;
    hub.until(&mut app, "erased").await;
    hub.ok(&mut of_tom, "add_req", json!({"add_user": mia.id})).await;
    let request = hub.until(&mut app, "friend_request").await;
    hub.ok(&mut app, "acc_req", json!({"req_id": request["_id"]})).await;
    hub.ok(&mut app, "erase_friend", json!({"friend_id": tom.id})).await;
    for (word, name, more) in [
        ("unbind_toy", "Bobo", json!({})),
        ("erase_toy", "Momo", json!({"password": "correct horse"})),
        ("withdraw_consent", "Dodo", json!({"password": "correct horse"})),
    ] {
        let unwanted = world.toy(&mia, name).await;
        let mut fields = more;
        fields["toy_id"] = json!(unwanted.id);
        hub.ok(&mut app, word, fields).await;
    }
    let eva = world.user("eva").await;
    let mut of_eva = world.app(&eva).await;
    // The connection may end before its answer.
    let erasure = hub.request("socket", "erase_account", json!({"password": "correct horse"})).await;
    of_eva.send(erasure).await;
    assert_eq!(of_eva.close_code().await, 4501);

    // How connections end.
    let mut stranger = world.socket("/ws").await;
    stranger.send(json!({"do": "auth", "token": "none"})).await;
    let mut garbler = world.app(&tom).await;
    garbler.send_raw(tokio_tungstenite::tungstenite::Message::text("no json")).await;
    // The connection may end before its answer.
    let logout = hub.request("socket", "logout", json!({})).await;
    app.send(logout).await;
    for (socket, code) in [(&mut stranger, 4500), (&mut garbler, 4502), (&mut app, 4501)] {
        assert_eq!(socket.close_code().await, code);
        assert!(hub.is_close_code("socket", code), "{code}");
    }
    let stopped = tokio::join!(of_tom.close_code(), old_toy.close_code(), world.stop());
    assert_eq!(stopped, (4000, 4000, Some(0)));
    assert!(hub.is_close_code("socket", 4000) && hub.is_close_code("legacyToy", 4000));

    // Everything that is documented was exercised.
    let messages = hub.document["components"]["messages"].as_object().unwrap();
    let mut missed: Vec<&String> = messages
        .iter()
        .filter(|(name, message)| !hub.met.contains(*name) && message["contentType"] != "application/octet-stream")
        .map(|(name, _)| name)
        .filter(|name| {
            !HELD_HERE.iter().any(|call| *name == &format!("ask_{call}") || *name == &format!("answer_{call}"))
        })
        .collect();
    missed.sort();
    // The first and the events of a toy need a model, the last a connection that is behind its own events.
    let expected = ["answer_ai_uploader", "answer_erase_account", "answer_logout", "event_command", "event_reminder"];
    assert_eq!(missed, [&expected[..], &["push_reload"]].concat());
}
