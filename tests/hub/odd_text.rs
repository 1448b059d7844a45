//! Texts as small clients send them: bytes that are not UTF-8, a byte order mark, the zero at the end of a C string, half
//! of an emoji. Every edge reads them alike.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::mqtt::{Raw, V4, V5, publish, subscribe};
use crate::sound;
use crate::world::World;

/// A JSON object with a member `nickname`, and what is read of that.
const NICKNAMES: [(&[u8], &str); 6] = [
    (b"\"nickname\":\"M\xfcller\"}", "M\u{fffd}ller"),
    (b"\"nickname\":\"Mia \xf0\x9f\x98\"}", "Mia \u{fffd}"),
    (b"\"nickname\":\"Mia \\ud83d\"}", "Mia \u{fffd}"),
    (b"\"nickname\":\"Mia\"}\0", "Mia"),
    (b"\"nickname\":\"M\xfcller\"}\r\n\0\0\0", "M\u{fffd}ller"),
    ("\"nickname\":\"M\u{fc}ller\"}".as_bytes(), "M\u{fc}ller"),
];

async fn send(world: &World, path: &str, content_type: &str, body: Vec<u8>) -> Value {
    let request = world.client().post(world.http() + path).header("content-type", content_type).body(body);
    request.send().await.unwrap().json().await.unwrap()
}

async fn nickname(world: &World, username: &str) -> Value {
    let login = world.ok("/login", json!({"username": username, "password": "correct horse"})).await;
    login["data"]["nickname"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_reads_them_in_every_form_of_body() {
    let world = World::start().await;
    for (number, (rest, expected)) in NICKNAMES.into_iter().enumerate() {
        for (kind, content_type, mark) in [
            ("json", "application/json", &b""[..]),
            ("curl", "application/x-www-form-urlencoded", b"\xef\xbb\xbf"),
            ("beacon", "text/plain", b"\xef\xbb\xbf "),
        ] {
            let name = format!("{kind}{number}");
            let first = format!("{{\"username\":\"{name}\",\"password\":\"correct horse\",\"gender\":\"2\",");
            let answer = send(&world, "/reg", content_type, [mark, first.as_bytes(), rest].concat()).await;
            assert_eq!(answer["code"], 0, "{name}: {answer}");
            assert_eq!(nickname(&world, &name).await, expected, "{name}");
        }
    }
    for (name, field) in [("parts", &b"M\xfcller"[..]), ("form", b"M%FCller")] {
        let fields =
            [("username", name.as_bytes()), ("password", b"correct horse"), ("gender", b"2"), ("nickname", field)];
        let answer = if name == "form" {
            let pairs: Vec<Vec<u8>> =
                fields.iter().map(|(name, text)| [name.as_bytes(), b"=", text].concat()).collect();
            send(&world, "/reg", "application/x-www-form-urlencoded", pairs.join(&b"&"[..])).await
        } else {
            let part = |(name, text): &(&str, &[u8])| {
                let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                [head.as_bytes(), text, b"\r\n"].concat()
            };
            let body = [fields.iter().flat_map(part).collect(), b"--b--\r\n".to_vec()].concat();
            send(&world, "/reg", "multipart/form-data; boundary=b", body).await
        };
        assert_eq!(answer["code"], 0, "{name}: {answer}");
        assert_eq!(nickname(&world, name).await, "M\u{fffd}ller", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_the_file_name_of_another_code_page_is_accepted() {
    let world = World::start().await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut body = Vec::new();
    for (name, text) in [("user_id", toy.id.as_str()), ("to_user", &parent.id), ("friend_type", "app")] {
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        body.extend(part.as_bytes());
    }
    body.extend(b"--b\r\nContent-Disposition: form-data; name=\"reco\"; filename=\"M\xfcller.wav\"\r\n\r\n");
    body.extend(sound::beep());
    body.extend(b"\r\n--b--\r\n");
    let answer = send(&world, "/toy_uploader", "multipart/form-data; boundary=b", body).await;
    assert_eq!(answer["code"], 0, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_and_the_app_socket_read_them_in_requests() {
    let world = World::start().await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let request = |number: usize, rest: &[u8], mark: &[u8]| {
        [mark, format!("{{\"id\":{},\"do\":\"friend_list\",", number + 1).as_bytes(), rest].concat()
    };
    for level in [V4, V5] {
        let mut raw = Raw::connected(world.mqtt_addr(), level, "small", &toy.device_key, &toy.secret).await;
        raw.send(&subscribe(level, 1, &[(&format!("toy/{}/in", toy.id), 0)])).await;
        assert_eq!(raw.packet().await.0, 0x90);
        for (number, (rest, _)) in NICKNAMES.into_iter().enumerate() {
            for mark in [&b""[..], b"\xef\xbb\xbf"] {
                let text = request(number, rest, mark);
                raw.send(&publish(level, 0x30, &format!("toy/{}/out", toy.id), 0, &text)).await;
                let (kind, body) = raw.packet().await;
                let answer = body.iter().position(|byte| *byte == b'{').map(|at| &body[at..]).unwrap();
                let answer: Value = serde_json::from_slice(answer).unwrap();
                assert_eq!(
                    (kind & 0xf0, &answer["id"], &answer["code"]),
                    (0x30, &json!(number + 1), &json!(0)),
                    "{answer}"
                );
            }
        }
    }
    // A text of WebSocket is UTF-8 (RFC 6455); the rest is the same.
    let mut app = world.app(&parent).await;
    for (number, (rest, _)) in NICKNAMES.into_iter().enumerate() {
        for mark in [&b""[..], b"\xef\xbb\xbf"] {
            let Ok(text) = String::from_utf8(request(number, rest, mark)) else { continue };
            app.send_raw(Message::text(text)).await;
            let answer = app.answer(number as u64 + 1).await;
            assert_eq!(answer["code"], 0, "{answer}");
        }
    }
}
