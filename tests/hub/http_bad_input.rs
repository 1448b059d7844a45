//! Input of strangers, bad connections and legacy clients: every answer has its code, no data is kept, and no client
//! waits.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use toyhub::api::{self, ServedAt};

use crate::world::World;

const WAIT: Duration = Duration::from_secs(40);
const TYPE_JSON: &str = "application/json";

/// Sends `bytes` unchanged and reads until the hub closes the connection.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    // The hub may answer and close before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer)).await.expect("the hub closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A whole request, after which the connection closes.
fn request(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn code_of(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let envelope: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no envelope: {answer}"));
    assert!(envelope["msg"].is_string() && envelope["data"].is_object(), "{answer}");
    envelope["code"].clone()
}

/// The files that uploads have left behind, which are none once their connections have ended.
async fn assert_nothing_spooled(world: &World) {
    let spool = world.data_dir().join("spool");
    let started = Instant::now();
    let count = || std::fs::read_dir(&spool).map_or(0, Iterator::count);
    while count() > 0 {
        assert!(started.elapsed() < WAIT, "{} uploads were kept", count());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_get_their_codes() {
    let world = World::start().await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    let cases: [(&str, &str, u16, u16); 8] = [
        (TYPE_JSON, "{", 400, 20),
        (TYPE_JSON, "[]", 400, 20),
        (TYPE_JSON, "{\"a\":\"\\ud80\"}", 400, 20),
        (TYPE_JSON, &deep, 400, 20),
        (TYPE_JSON, &large, 413, 21),
        ("text/xml", "<a/>", 415, 22),
        ("multipart/form-data", "x", 415, 22),
        ("multipart/form-data; boundary=b", "no boundary in here", 400, 20),
    ];
    for (content_type, body, status, code) in cases {
        let answer = raw(&world, &request("/login", content_type, body.as_bytes())).await;
        assert_eq!((status_of(&answer), code_of(&answer)), (status, json!(code)), "{content_type}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_distinguished() {
    let world = World::start().await;
    let ask = |method: Method, path: &str| world.client().request(method, world.http() + path).send();

    let answer = ask(Method::GET, "/nothing").await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 24);

    let answer = ask(Method::GET, "/login").await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "POST, OPTIONS");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], 25);

    let answer = ask(Method::OPTIONS, "/login").await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-methods"], "POST, OPTIONS");
    assert_eq!(ask(Method::HEAD, "/healthz").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_body_means_the_same() {
    let world = World::start().await;
    let url = world.http() + "/login";
    let client = world.client();
    let wrong = [("username", "nobody"), ("password", "x")];
    let form = wrong.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let requests = [
        client.post(&url).json(&json!({"username": "nobody", "password": "x", "more": {"a": [1]}})),
        client
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body("username=nobody&password=x"),
        client.post(&url).multipart(form),
        client.post(&url).body("{\"username\":\"nobody\",\"password\":\"x\"}"),
        client.post(&url).body("username=nobody&password=x"),
    ];
    for request in requests {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let envelope: Value = answer.json().await.unwrap();
        assert_eq!(envelope, json!({"code": 1, "msg": "wrong username or password", "data": {}}));
    }
    let answer = client.post(world.http() + "/content_list").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["msg"], "Get a list of content resources");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_small_clients_are_accepted() {
    let world = World::start().await;
    let parts = |text: &str| text.replace('\n', "\r\n");
    let register = |name: &str| {
        let fields = json!({"username": name, "password": "correct horse", "nickname": "Mia", "gender": "2"});
        fields.to_string()
    };
    let odd_parts = [("username", "parts"), ("password", "correct horse"), ("nickname", "Mia"), ("gender", "2")]
        .map(|(name, value)| parts(&format!("--b\ncontent-disposition: form-data ;Name = \"{name}\"\n\n{value}\n")))
        .concat()
        + "--b--\r\n";
    for (path, content_type, body) in [
        ("/reg", "application/x-www-form-urlencoded", register("curl")),
        ("/reg", "text/plain;charset=UTF-8", register("beacon")),
        ("//reg", TYPE_JSON, register("slashes")),
        ("/reg", "multipart/form-data ; charset=utf-8; boundary=b", odd_parts),
    ] {
        let answer = raw(&world, &request(path, content_type, body.as_bytes())).await;
        assert_eq!(code_of(&answer), 0, "{path} {content_type}: {answer}");
    }
    let cut = r#"{"username":"cut","password":"correct horse","nickname":"Mia \ud83d","gender":"2"}"#;
    let answer = raw(&world, &request("/reg", TYPE_JSON, cut.as_bytes())).await;
    assert_eq!(code_of(&answer), 0, "{answer}");
    let login = world.ok("/login", json!({"username": "cut", "password": "correct horse"})).await;
    assert_eq!(login["data"]["nickname"], "Mia \u{fffd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_call_tolerates_any_value() {
    let world = World::start_with(&[("TOYHUB_HTTP__BODY_MAX_BYTES", "100000")]).await;
    let long = "x".repeat(65_536);
    let values =
        [json!(""), json!(" "), json!(null), json!(true), json!(-1), json!(1e300), json!([]), json!({}), json!(long)];
    // None: the field is absent.
    let values: Vec<Option<Value>> = values.into_iter().map(Some).chain([None]).collect();
    for call in api::calls().filter(|call| call.facts.served_at != ServedAt::Connection) {
        let path = format!("/{}", call.facts.name);
        let names: Vec<&str> = (call.fields)().iter().map(|field| field.property.name).collect();
        for bad in &names {
            for value in &values {
                let others = names.iter().filter(|name| *name != bad).map(|name| ((*name).to_owned(), json!("a")));
                let mut body: Map<String, Value> = others.collect();
                body.extend(value.clone().map(|value| ((*bad).to_owned(), value)));
                let (status, answer) = world.post(&path, Value::Object(body)).await;
                let code = answer["code"].as_u64();
                assert!(status < 500 && code.is_some_and(|code| code != 19), "{path} {bad}: {status} {answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_unknown_field_is_a_client_error() {
    let world = World::start().await;
    // A party has authenticated at this address.
    world.user("mia").await;
    for (path, body) in [
        ("/login", json!({})),
        ("/login", json!({"username": null, "password": "x"})),
        ("/auto_login", json!({"_id": "not an id"})),
        ("/auto_login", json!({"_id": "000000000000000000000000"})),
        ("/friend_list", json!({})),
        ("/scan_qr", json!({"device_key": "unknown"})),
        ("/ref_req", json!({"req_id": "000000000000000000000000"})),
        ("/chat_list", json!({"chat_id": 5})),
        ("/app_uploader", json!({"to_user": "x", "user_id": "y", "reco_file": "not a file"})),
    ] {
        let (status, envelope) = world.post(path, body.clone()).await;
        assert_eq!((status, &envelope["code"], &envelope["data"]), (200, &json!(1), &json!({})), "{path} {body}");
    }
    let (_, opened) = world.post("/open_toy", json!({"device_key": "nonsense"})).await;
    assert_eq!(opened, json!({"code": 1, "music": "Nobind.mp3"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_opens_many_times_at_once_gets_a_token_each_time() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let opening = json!({"device_key": toy.device_key, "token": toy.secret});
    let opened = join_all((0..100).map(|_| world.post("/open_toy", opening.clone()))).await;
    for (status, answer) in opened {
        assert!(status == 200 && answer["token"].is_string(), "{status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_size_beyond_the_limit_is_refused_unread() {
    let world = World::start().await;
    let started = Instant::now();
    for content_type in [TYPE_JSON, "multipart/form-data; boundary=b"] {
        let head = format!(
            "POST /toy_uploader HTTP/1.1\r\nHost: hub\r\nContent-Type: {content_type}\r\nContent-Length: 2147483648\r\n\r\n"
        );
        let answer = raw(&world, head.as_bytes()).await;
        assert_eq!((status_of(&answer), code_of(&answer)), (413, json!(21)), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_nothing_spooled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_upload_leaves_nothing() {
    let world = World::start().await;
    // A party has authenticated at this address: recordings from it are written to disk.
    world.user("mia").await;
    let sound = "x".repeat(300_000);
    let body = format!("--b\r\nContent-Disposition: form-data; name=\"reco\"; filename=\"a\"\r\n\r\n{sound}");
    let whole = request("/toy_uploader", "multipart/form-data; boundary=b", body.as_bytes());

    // The body is as long as declared, and its last part has no end.
    let answer = raw(&world, &whole).await;
    assert_eq!((status_of(&answer), code_of(&answer)), (400, json!(20)), "{answer}");

    // The connection breaks.
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    stream.write_all(&whole[..200_000]).await.unwrap();
    drop(stream);
    assert_nothing_spooled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_bounded_in_size_and_number() {
    let world = World::start().await;
    let part =
        |name: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let endless_head = format!("--b\r\nContent-Disposition: form-data; name=\"a\"\r\nX: {}", "y".repeat(2_000_000));
    let last = "--b--\r\n";
    // Each of these bytes becomes three, as they are not UTF-8.
    let mut replaced = part("to_user", &"\u{1}".repeat(40_000)).into_bytes();
    replaced.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xfc);
    let cases = [
        ((part("to_user", &"x".repeat(200_000)) + last).into_bytes(), 413),
        ([&replaced, last.as_bytes()].concat(), 413),
        ((part("a", "x").repeat(100) + last).into_bytes(), 400),
        ((part("reco", "x").repeat(2) + last).into_bytes(), 400),
        (endless_head.into_bytes(), 400),
        ("y".repeat(2_000_000).into_bytes(), 400),
    ];
    for (body, status) in cases {
        let answer = raw(&world, &request("/toy_uploader", "multipart/form-data; boundary=b", &body)).await;
        assert_eq!(status_of(&answer), status, "{}: {answer}", String::from_utf8_lossy(&body[..60]));
    }
    assert_nothing_spooled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_may_precede_the_names() {
    let world = World::start().await;
    let form = Form::new()
        .part("blob", Part::bytes(vec![0u8; 100_000]).file_name("a.wav").mime_str("audio_pcm/wav").unwrap())
        .text("to_user", "000000000000000000000000")
        .text("user_id", "000000000000000000000000");
    let answer = world.client().post(world.http() + "/toy_uploader").multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["msg"], "no such user or toy");
    assert_nothing_spooled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_heads_end_their_connection_only() {
    let world = World::start().await;
    let many_headers = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500));
    let long_header = format!("GET /healthz HTTP/1.1\r\nX: {}", "y".repeat(300_000));
    let cases: [(&[u8], u16); 5] = [
        (many_headers.as_bytes(), 431),
        (long_header.as_bytes(), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all \r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: hub\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: hub\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ];
    for (bytes, status) in cases {
        assert_eq!(status_of(&raw(&world, bytes).await), status);
    }
    assert_eq!(world.client().get(world.http() + "/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_delay_no_others() {
    let world = World::start().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
        stream.write_all(b"POST /login HTTP/1.1\r\nHost: hub\r\nContent-Length: 50\r\n\r\nu").await.unwrap();
        slow.push(stream);
    }
    let started = Instant::now();
    for _ in 0..50 {
        let answer = world.client().get(world.http() + "/healthz").send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"ok": true}));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let mut answer = Vec::new();
    let mut first = slow.swap_remove(0);
    tokio::time::timeout(WAIT, first.read_to_end(&mut answer)).await.expect("the pause has an end").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!((status_of(&answer), code_of(&answer)), (408, json!(23)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leaves_the_store() {
    let world = World::start().await;
    for path in [
        "/get_chat/../../etc/passwd",
        "/get_chat/..%2f..%2fetc%2fpasswd",
        "/get_chat/%2e%2e",
        "/get_chat/..",
        "/get_chat/",
        "/get_chat/.hidden",
        "/get_chat/a%00b",
        "/get_music//etc/passwd",
        "/get_image/..\\..\\secret",
        "/get_qr/%252e%252e",
        "/get_music/unknown.mp3",
    ] {
        let answer =
            raw(&world, format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!((status_of(&answer), code_of(&answer)), (404, json!(24)), "{path}: {answer}");
    }
    // A stranger does not learn whether a recording exists.
    let answer = raw(&world, b"GET /get_chat/unknown.mp3 HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status_of(&answer), code_of(&answer)), (401, json!(10)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_is_resumed() {
    let world = World::start().await;
    let url = world.http() + "/get_music/Success.mp3";
    let client = world.client();
    let whole = client.get(&url).send().await.unwrap();
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    let etag = whole.headers()["etag"].clone();
    let sound = whole.bytes().await.unwrap();
    let size = sound.len();

    let rest = client.get(&url).header("range", "bytes=100-").header("if-range", &etag).send().await.unwrap();
    assert_eq!(rest.status(), 206);
    assert_eq!(rest.headers()["content-range"], format!("bytes 100-{}/{size}", size - 1).as_str());
    assert_eq!(rest.bytes().await.unwrap(), sound[100..]);

    for (range, status, start, end) in [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=-7", 206, size - 7, size),
        ("bytes=0-1,4-5", 200, 0, size),
        ("x", 200, 0, size),
    ] {
        let answer = client.get(&url).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(answer.bytes().await.unwrap(), sound[start..end], "{range}");
    }
    let other = client.get(&url).header("range", "bytes=5-").header("if-range", "\"other\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let beyond = client.get(&url).header("range", format!("bytes={size}-")).send().await.unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], format!("bytes */{size}").as_str());
    let known = client.get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((known.status().as_u16(), known.headers()["etag"].clone()), (304, etag));
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], size.to_string().as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_a_continue_gets_it_or_a_refusal() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    let body = b"username=nobody&password=x";
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: hub\r\nExpect: 100-continue\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0u8; 25];
    tokio::time::timeout(WAIT, stream.read_exact(&mut go_on)).await.expect("100 Continue").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!((status_of(&answer), code_of(&answer)), (200, json!(1)), "{answer}");

    let refused = "POST /login HTTP/1.1\r\nHost: hub\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n";
    assert_eq!(status_of(&raw(&world, refused.as_bytes()).await), 413);
}
