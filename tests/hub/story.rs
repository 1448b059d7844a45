//! The main use: a parent sends a recording, the toy plays it, the toy answers.

use serde_json::{Value, json};

use crate::sound;
use crate::world::{Toy, User, World, within};

/// A parent's recording for the toy.
async fn say(world: &World, user: &User, to: &str, recording: Vec<u8>) -> Value {
    let fields = [("user_id", user.id.as_str()), ("to_user", to), ("token", &user.token)];
    world.upload("/app_uploader", "reco_file", recording, &fields).await
}

/// A toy's recording.
async fn answer(world: &World, toy: &Toy, to: &str, kind: &str, recording: Vec<u8>) -> Value {
    let fields = [("user_id", toy.id.as_str()), ("to_user", to), ("friend_type", kind)];
    world.upload("/toy_uploader", "reco", recording, &fields).await
}

/// Downloads a sound with curl in two ranges.
fn download(world: &World, name: &str) -> Vec<u8> {
    let address = format!("{}/get_chat/{name}", world.http());
    let part = |range: &str| {
        let output = std::process::Command::new("curl").args(["-sSf", "-r", range, &address]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (head, tail) = (part("0-999"), part("1000-"));
    assert_eq!(head.len(), 1000);
    [head, tail].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parents_message_reaches_the_toy_and_its_answer_the_app() {
    message_and_answer(World::start().await).await;
}

pub async fn message_and_answer(world: World) {
    let parent = world.user("parent").await;
    let (device_key, secret) = world.device().await;
    let scanned = world.ok("/scan_qr", json!({"device_key": device_key})).await;
    assert_eq!(scanned["data"]["device_key"], device_key.as_str());
    let picture = world.client().get(format!("{}/get_qr/{device_key}.jpg", world.http())).send().await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/jpeg");

    let binding = json!({
        "toy_name": "Ball Ball", "baby_name": "Kid", "remark": "Dad", "user_id": parent.id, "device_key": device_key,
    });
    world.ok("/bind_toy", binding).await;
    let opened = world.ok("/open_toy", json!({"device_key": device_key})).await;
    let id = opened["toy_id"].as_str().unwrap().to_owned();
    let toy = Toy { id, device_key, secret };

    let mut ears = world.mosquitto_sub(&toy, "mqttv311");
    world.wait_online(&parent, &toy.id, "1").await;
    for (format, recording) in [
        ("wav", sound::wav()),
        ("amr", sound::amr(world.folder())),
        ("m4a", sound::converted(world.folder(), "m4a", &["-c:a", "aac"])),
        ("webm", sound::converted(world.folder(), "webm", &["-c:a", "libopus"])),
        ("mp3", sound::converted(world.folder(), "mp3", &[])),
    ] {
        let sent = say(&world, &parent, &toy.id, recording).await;
        assert_eq!((&sent["code"], &sent["msg"]), (&json!(0), &json!("Upload Success")), "{format}: {sent}");
        assert_eq!(sent["data"]["friend_type"], "toy");
        let event = ears.event().await;
        assert_eq!((&event["type"], &event["from_user"]), (&json!("message"), &json!(parent.id)), "{format}");
        assert_eq!((&event["friend_type"], &event["notice"]), (&json!("app"), &sent["data"]["filename"]));

        let (_, unheard) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
        assert_eq!(unheard.as_array().unwrap().len(), 1, "{format}: {unheard}");
        assert_eq!(unheard[0]["message"], event["chat"]);
        let heard = download(&world, event["chat"].as_str().unwrap());
        sound::assert_same_length(world.folder(), &heard);
        let again = within("what was heard is not unread", async {
            loop {
                let (_, again) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
                // Two hubs may give one message twice, if they are asked at once, but no other message.
                if !world.is_behind_a_balancer() || again != unheard {
                    break again;
                }
            }
        });
        assert_eq!(again.await, json!([]), "what was heard is not unread");
    }

    let mut app = world.app(&parent).await;
    assert_eq!(world.unread(&parent).await["count"], json!(0));
    let sent = answer(&world, &toy, &parent.id, "app", sound::amr(world.folder())).await;
    assert_eq!((&sent["code"], &sent["data"]["friend_type"]), (&json!(0), &json!("app")));
    let event = app.frame().await;
    assert_eq!((&event["type"], &event["from_user"]), (&json!("message"), &json!(toy.id)));
    assert_eq!(event["chat"], sent["data"]["filename"], "an app plays the message itself");
    assert_eq!(world.unread(&parent).await, json!({"count": 1, toy.id.as_str(): 1}));

    let asked = json!({"chat_id": event["chat_id"], "to_user": parent.id, "from_user": toy.id});
    let history = world.post_as(&parent, "/chat_list", asked).await;
    assert_eq!(history["data"].as_array().unwrap().len(), 6);
    assert_eq!(history["data"][5]["message"], event["chat"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_toy_gets_all_messages_on_reconnect_also_after_a_restart() {
    absence_and_restart(World::start().await).await;
}

pub async fn absence_and_restart(mut world: World) {
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let first = say(&world, &parent, &toy.id, sound::wav()).await;
    assert_eq!(first["code"], 0);
    assert_eq!(world.stop().await, Some(0), "Ctrl-C ends with 0");
    world.start_hub().await;
    let second = say(&world, &parent, &toy.id, sound::wav()).await;
    assert_eq!(second["code"], 0);

    let mut ears = world.mosquitto_sub(&toy, "mqttv5");
    let (one, two) = (ears.event().await, ears.event().await);
    assert_ne!(one["_id"], two["_id"]);
    assert!(one["create_time"].as_f64() < two["create_time"].as_f64(), "oldest first");
    let (_, unheard) = world.post("/recv_msg", json!({"from_user": "undefined", "to_user": toy.id})).await;
    let sounds: Vec<&Value> = unheard.as_array().unwrap().iter().map(|message| &message["message"]).collect();
    assert_eq!(sounds, [&one["chat"], &two["chat"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_survives_an_immediate_kill() {
    kill_after_each_message(World::start().await).await;
}

pub async fn kill_after_each_message(mut world: World) {
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    for round in 0..3 {
        let sent = say(&world, &parent, &toy.id, sound::wav()).await;
        world.kill().await;
        assert_eq!(sent["code"], 0, "round {round}");
        world.start_hub().await;
        let (_, unheard) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
        let messages = unheard.as_array().unwrap();
        assert_eq!(messages.len(), 1, "round {round}: {unheard}");
        let recording = download(&world, messages[0]["message"].as_str().unwrap());
        sound::assert_same_length(world.folder(), &recording);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_families_become_friends_and_their_toys_talk() {
    families_become_friends(World::start().await).await;
}

pub async fn families_become_friends(world: World) {
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&tom, "Rex").await);
    let refused = answer(&world, &fluffy, &rex.id, "toy", sound::wav()).await;
    assert_eq!(refused["code"], 1, "strangers hear nothing: {refused}");

    let found = world.post("/scan_qr", json!({"device_key": rex.device_key})).await.1;
    assert_eq!((&found["code"], &found["data"]["toy_id"]), (&json!(2), &json!(rex.id)));
    let mut app = world.app(&tom).await;
    let request = json!({
        "req_user": fluffy.id, "add_user": rex.id, "type": "toy", "req_info": "I am Fluffy", "remark": "Rexy",
    });
    world.ok("/add_req", request.clone()).await;
    assert_eq!(world.post("/add_req", request).await.1["code"], 1, "no second pending request");
    world.accept(&mia, "Rexy").await;
    assert_eq!(app.frame().await["type"], "friend_request", "after the guardian of the toy that asks");
    let list = world.post_as(&tom, "/req_list", json!({"_id": tom.id})).await;
    assert_eq!((&list["data"][0]["nickname"], &list["data"][0]["status"]), (&json!("Fluffy's child"), &json!(0)));
    let id = list["data"][0]["_id"].clone();
    let stolen = world.post_as(&mia, "/acc_req", json!({"req_id": id, "remark": "x"})).await;
    assert_ne!(stolen["code"], 0, "only the owner answers");
    let accepted = world.post_as(&tom, "/acc_req", json!({"req_id": id, "remark": "Fluffs"})).await;
    assert_eq!(accepted, json!({"code": 0, "msg": "Agree to add friends", "data": {}}));
    assert_eq!(world.post_as(&tom, "/ref_req", json!({"req_id": id})).await["code"], 1, "answered is answered");

    let mut ears = world.mosquitto_sub(&rex, "mqttv311");
    let sent = answer(&world, &fluffy, &rex.id, "undefined", sound::amr(world.folder())).await;
    assert_eq!((&sent["code"], &sent["data"]["friend_type"]), (&json!(0), &json!("toy")));
    let event = loop {
        let event = ears.event().await;
        if event["type"] == "message" {
            break event;
        }
    };
    assert_eq!((&event["from_user"], &event["friend_type"]), (&json!(fluffy.id), &json!("toy")));

    let request = json!({"req_user": mia.id, "add_user": tom.id, "type": "app", "req_info": "hi", "remark": "T"});
    assert_eq!(world.post_as(&mia, "/add_req", request).await["code"], 0);
    let list = world.post_as(&tom, "/req_list", json!({"_id": tom.id})).await;
    let id = list["data"][0]["_id"].clone();
    let refused = world.post_as(&tom, "/ref_req", json!({"req_id": id})).await;
    assert_eq!(refused, json!({"code": 0, "msg": "Refuse to add friends", "data": {}}));
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    assert_eq!(friends["data"].as_array().unwrap().len(), 1, "the toy alone");
}
