//! The documented answers, to the letter: one success and the failures of each route.

use serde_json::{Value, json};

use crate::sound;
use crate::world::World;

/// Replaces values that differ from run to run by their kind.
fn stable(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(kind_of(text).map_or_else(|| text.clone(), str::to_owned)),
        Value::Array(items) => items.iter().map(stable).collect(),
        Value::Object(fields) => {
            let stable = |(name, value): (&String, &Value)| {
                let name = kind_of(name).map_or_else(|| name.clone(), str::to_owned);
                (name.clone(), if name == "create_time" { json!("<seconds>") } else { self::stable(value) })
            };
            fields.iter().map(stable).collect()
        }
        other => other.clone(),
    }
}

fn kind_of(text: &str) -> Option<&'static str> {
    let stem = text.strip_suffix(".mp3").unwrap_or(text);
    let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    // The mark of the sender, then the hash of the recording.
    let is_recording = |stem: &str| {
        let marked = stem.strip_prefix("up-").and_then(|marked| marked.split_once('-'));
        marked.is_some_and(|(mark, own)| hex(mark, 16) && hex(own, 32))
    };
    match stem {
        stem if stem.starts_with("say-") => Some("<notice>"),
        stem if text.ends_with(".mp3") && (hex(stem, 32) || is_recording(stem)) => Some("<sound>"),
        stem if hex(stem, 24) => Some("<id>"),
        stem if hex(stem, 32) => Some("<key>"),
        stem if hex(stem, 64) => Some("<token>"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_answers_as_documented() {
    let world = World::start().await;
    let unknown = "5c8f582f268d7942f44c6703";
    let mut seen = Vec::new();
    let mut note = |path: &str, what: &str, answer: &Value| {
        seen.push(json!({"route": path, "case": what, "answer": stable(answer)}));
    };
    macro_rules! call {
        ($path:expr, $what:expr, $body:tt) => {{
            let (_, answer) = world.post($path, json!($body)).await;
            note($path, $what, &answer);
            answer
        }};
    }

    call!("/reg", "success", {"username": "mia", "password": "correct horse", "nickname": "Mia", "gender": "2"});
    call!("/reg", "name taken", {"username": "mia", "password": "correct horse", "nickname": "Mia", "gender": "2"});
    call!("/reg", "no name", {"password": "correct horse", "nickname": "Mia", "gender": "2"});
    let mia = call!("/login", "success", {"username": "mia", "password": "correct horse"})["data"]["_id"].clone();
    call!("/login", "wrong password", {"username": "mia", "password": "no"});
    call!("/auto_login", "unknown", {"_id": unknown});
    call!("/auto_login", "malformed id", {"_id": "../etc/passwd"});
    call!("/content_list", "success", {});

    let (key, secret) = world.device().await;
    call!("/scan_qr", "success", {"device_key": key});
    call!("/scan_qr", "unknown", {"device_key": "no such key"});
    call!("/open_toy", "unbound", {"device_key": key});
    call!("/open_toy", "unknown", {"device_key": "00000000000000000000000000000000"});
    let binding =
        json!({"toy_name": "Fluffy", "baby_name": "Emma", "remark": "Mum", "user_id": mia, "device_key": key});
    call!("/bind_toy", "success", binding);
    call!("/bind_toy", "bound", binding);
    call!("/bind_toy", "missing", {"user_id": mia, "device_key": key});
    call!("/scan_qr", "bound", {"device_key": key});
    let toy = call!("/open_toy", "success", {"device_key": key, "token": secret})["toy_id"].clone();
    call!("/toy_list", "success", {"_id": mia});
    call!("/toy_list", "unknown", {"_id": unknown});
    let friends = call!("/friend_list", "success", {"_id": mia});
    call!("/friend_list", "a toy's id", {"_id": toy});
    let chat = friends["data"][0]["friend_chat"].clone();

    let (mia_id, toy_id) = (mia.as_str().unwrap(), toy.as_str().unwrap());
    let fields = [("user_id", mia_id), ("to_user", toy_id)];
    note("/app_uploader", "success", &world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await);
    let to_stranger = [("user_id", mia_id), ("to_user", unknown)];
    note("/app_uploader", "stranger", &world.upload("/app_uploader", "reco_file", sound::wav(), &to_stranger).await);
    note("/app_uploader", "no file", &world.upload("/app_uploader", "nothing", sound::wav(), &fields).await);
    note("/app_uploader", "no sound", &world.upload("/app_uploader", "reco_file", b"text".to_vec(), &fields).await);
    call!("/recv_msg", "success", {"from_user": mia, "to_user": toy});
    call!("/recv_msg", "nothing new", {"from_user": mia, "to_user": toy});
    call!("/recv_msg", "unknown", {"from_user": mia, "to_user": unknown});
    let fields = [("user_id", toy_id), ("to_user", mia_id), ("friend_type", "app")];
    note("/toy_uploader", "success", &world.upload("/toy_uploader", "reco", sound::wav(), &fields).await);
    note("/toy_uploader", "no sound", &world.upload("/toy_uploader", "reco", b"text".to_vec(), &fields).await);
    call!("/auto_login", "success", {"_id": mia});
    call!("/chat_list", "success", {"chat_id": chat, "to_user": mia, "from_user": toy});
    call!("/chat_list", "unknown chat", {"chat_id": unknown, "to_user": mia, "from_user": toy});
    let to_ai = [("toy_id", toy_id)];
    note("/ai_uploader", "no model", &world.upload("/ai_uploader", "reco", sound::wav(), &to_ai).await);
    note("/ai_uploader", "no sound", &world.upload("/ai_uploader", "reco", b"text".to_vec(), &to_ai).await);
    note(
        "/ai_uploader",
        "unknown toy",
        &world.upload("/ai_uploader", "reco", sound::wav(), &[("toy_id", unknown)]).await,
    );

    let tom = world.user("tom").await.id;
    let request = json!({"req_user": tom, "add_user": toy, "type": "app", "req_info": "I am Tom", "remark": "Fluff"});
    call!("/add_req", "success", request);
    call!("/add_req", "again", request);
    call!("/add_req", "oneself", {"req_user": tom, "add_user": tom, "type": "app"});
    call!("/add_req", "unknown", {"req_user": tom, "add_user": unknown, "type": "app"});
    call!("/add_req", "friends", {"req_user": mia, "add_user": toy, "type": "app"});
    let id = call!("/req_list", "success", {"_id": mia})["data"][0]["_id"].clone();
    call!("/req_list", "unknown", {"_id": unknown});
    call!("/acc_req", "success", {"req_id": id, "remark": "Uncle Tom"});
    call!("/acc_req", "answered", {"req_id": id, "remark": "Uncle Tom"});
    call!("/ref_req", "answered", {"req_id": id});
    call!("/ref_req", "unknown", {"req_id": unknown});
    let request = json!({"req_user": tom, "add_user": mia, "type": "app", "req_info": "and you?", "remark": "Mia"});
    call!("/add_req", "to a user", request);
    let id = call!("/req_list", "two", {"_id": mia})["data"][0]["_id"].clone();
    call!("/ref_req", "success", {"req_id": id});

    for (path, kind) in [
        ("/get_music/Success.mp3".to_owned(), "audio/mpeg"),
        ("/get_image/toy.jpg".to_owned(), "image/jpeg"),
        (format!("/get_qr/{key}.jpg"), "image/jpeg"),
        (format!("/get_qr/{key}.png"), "image/png"),
    ] {
        let answer = world.client().get(format!("{}{path}", world.http())).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
            (200, kind),
            "{path}"
        );
        let etag = answer.headers()["etag"].clone();
        let again = world.client().get(format!("{}{path}", world.http())).header("if-none-match", etag);
        assert_eq!(again.send().await.unwrap().status(), 304, "{path}");
    }
    for room in ["get_music", "get_image", "get_chat", "get_qr"] {
        let answer = world.client().get(format!("{}/{room}/nothing.mp3", world.http())).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{room}");
    }
    // The snapshot lists the fields by name.
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("routes", seen) });
}
