//! The main job, told as a family would: a parent records, the toy hears, the toy answers.

use serde_json::{Value, json};

use crate::sound;
use crate::world::{Toy, User, World};

/// A parent's recording for the toy.
async fn say(world: &World, user: &User, to: &str, recording: Vec<u8>) -> Value {
    world.upload("/app_uploader", "reco_file", recording, &[("user_id", &user.id), ("to_user", to)]).await
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
    let world = World::start().await;
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
    let toy = Toy { id, device_key, secret, owner: parent.clone() };

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
        let (_, again) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
        assert_eq!(again, json!([]), "what was heard is not unread");
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
