//! A thousand at once, a third of them cut in half or doubled: each client gets an answer with a code, other clients are
//! served meanwhile, and the memory of the hub stays bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::mqtt::{Raw, V4, V5, connect_with, packet, publish};
use crate::sound;
use crate::spoken_model::saying;
use crate::world::{Toy, User, World};

const COUNT: usize = 1000;
/// On a busy machine, a thousand conversions take their time.
const PATIENCE: Duration = Duration::from_secs(300);
/// A client that is not part of the thousand.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(60);
/// What a thousand clients may add to the memory of the hub.
const MEMORY_MAX_KIB: u64 = 512 * 1024;

/// A page that may use the hub.
const ORIGIN: &str = "http://page.example";

const SETTINGS: [(&str, &str); 10] = [
    ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0"),
    ("TOYHUB_HTTP__ALLOWED_ORIGINS", ORIGIN),
    ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "5000"),
    ("TOYHUB_HTTP__UPLOADS_PER_ADDRESS_MAX", "1000"),
    ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "5000"),
    ("TOYHUB_MQTT__FLAPPING_MAX", "100000"),
    ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "100000"),
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000"),
    ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "5000"),
    ("TOYHUB_SPEECH__MODEL", "model.bin"),
];

/// The hub, with a family that sends and one that does not.
struct Crowd {
    world: World,
    parent: User,
    toy: Toy,
    other: User,
}

impl Crowd {
    async fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.bin"), saying("hello")).unwrap();
        let world = World::start_in(folder, &SETTINGS).await;
        let parent = world.user("mia").await;
        let toy = world.toy(&parent, "Fluffy").await;
        let other = world.user("tom").await;
        Self { world, parent, toy, other }
    }

    /// The memory of the hub that belongs to no file.
    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.world.id())).expect("the hub runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for all clients, while another client is served and the memory of the hub is measured.
    async fn while_others_are_served<T>(&self, what: &str, all: impl Future<Output = T>) -> T {
        let before = self.memory_kib();
        let most = std::cell::Cell::new(before);
        let others = async {
            loop {
                let asked = Instant::now();
                let list = self.world.post_as(&self.other, "/friend_list", json!({"_id": self.other.id})).await;
                if list["code"] != 0 || asked.elapsed() > OTHERS_WAIT_MAX {
                    return (asked.elapsed(), list);
                }
                most.set(most.get().max(self.memory_kib()));
                sleep(Duration::from_millis(50)).await;
            }
        };
        let done = tokio::select! {
            done = timeout(PATIENCE, all) => done.unwrap_or_else(|_| panic!("{what}: in vain waited")),
            (waited, answer) = others => panic!("{what}: another client waited {waited:?} for {answer}"),
        };
        let more = most.get() - before;
        assert!(more < MEMORY_MAX_KIB, "{what}: {more} KiB more");
        done
    }

    /// The text of an answer to a JSON body.
    async fn ask(&self, path: &str, body: Vec<u8>) -> Value {
        let request = self.world.client().post(self.world.http() + path).header("content-type", "application/json");
        value(request.body(body)).await
    }

    async fn upload(&self, path: &str, part: &'static str, sound: Vec<u8>, names: &[(&'static str, &str)]) -> Value {
        let form = names.iter().fold(Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()));
        let form = form.part(part, Part::bytes(sound).file_name("a.wav"));
        value(self.world.client().post(self.world.http() + path).multipart(form)).await
    }
}

async fn value(request: reqwest::RequestBuilder) -> Value {
    let answer = request.timeout(PATIENCE).send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {status} {text}"))
}

/// The number of answers with each code; an answer of another shape counts as 0.
fn codes(answers: &[Value]) -> BTreeMap<u64, usize> {
    let mut codes = BTreeMap::new();
    for answer in answers {
        *codes.entry(answer.get("code").map_or(0, |code| code.as_u64().expect("a code"))).or_default() += 1;
    }
    codes
}

/// The half, the double or the whole of some bytes, by the number of the client.
fn varied(number: usize, whole: &[u8]) -> Vec<u8> {
    match number % 6 {
        1 => whole[..whole.len() / 2].to_vec(),
        4 => whole.repeat(2),
        _ => whole.to_vec(),
    }
}

/// A recording of the thousand.
fn recording(number: usize) -> Vec<u8> {
    varied(number, &sound::tone(number as u32))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_uploads_are_answered() {
    let crowd = Crowd::new().await;
    let names = [("user_id", crowd.parent.id.as_str()), ("to_user", crowd.toy.id.as_str())];
    let sending = (0..COUNT).map(|n| crowd.upload("/app_uploader", "reco_file", recording(n), &names));
    let answers = crowd.while_others_are_served("messages", join_all(sending)).await;
    let found = codes(&answers);
    // Beyond the queue of a party the hub is busy.
    assert!(found.keys().all(|code| [0, 17].contains(code)), "{found:?}");
    let sent = found[&0];
    assert!(sent >= 32, "{found:?}");
    assert_eq!(crowd.world.unread_of(&crowd.toy).await as usize, sent, "each accepted message is there, once");

    let names = [("toy_id", crowd.toy.id.as_str())];
    let asking = (0..COUNT).map(|n| crowd.upload("/ai_uploader", "reco", recording(n), &names));
    let found = codes(&crowd.while_others_are_served("questions", join_all(asking)).await);
    assert!(found.keys().all(|code| [0, 17].contains(code)) && found[&0] > 0, "{found:?}");

    // Bodies that end in the middle, as their connections do.
    let body = format!("--b\r\nContent-Disposition: form-data; name=\"user_id\"\r\n\r\n{}\r\n", crowd.parent.id);
    let body = body + "--b\r\nContent-Disposition: form-data; name=\"reco_file\"; filename=\"a\"\r\n\r\nRIFF";
    let cutting = (0..COUNT).map(async |_| {
        let mut stream = TcpStream::connect(crowd.world.http_addr()).await.unwrap();
        let head = format!(
            "POST /app_uploader HTTP/1.1\r\nHost: hub\r\nContent-Type: multipart/form-data; boundary=b\r\n\
             Content-Length: {}\r\n\r\n",
            2 * body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    });
    crowd.while_others_are_served("cut uploads", join_all(cutting)).await;
    let spool = crowd.world.data_dir().join("spool");
    let emptied = async {
        while std::fs::read_dir(&spool).map_or(0, Iterator::count) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, emptied).await.expect("no upload is kept");
    let names = [("user_id", crowd.parent.id.as_str()), ("to_user", crowd.toy.id.as_str())];
    assert_eq!(crowd.upload("/app_uploader", "reco_file", sound::beep(), &names).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_lists_and_logins_are_answered() {
    let crowd = Crowd::new().await;
    for path in ["/friend_list", "/auto_login"] {
        let whole = json!({"_id": crowd.parent.id}).to_string();
        let asking = (0..COUNT).map(|n| crowd.ask(path, varied(n, whole.as_bytes())));
        let answers = crowd.while_others_are_served(path, join_all(asking)).await;
        for (n, answer) in answers.iter().enumerate() {
            let expected = if [1, 4].contains(&(n % 6)) { 20 } else { 0 };
            assert_eq!(answer["code"], expected, "{path}, {n}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_large_packets_are_acknowledged() {
    let crowd = Crowd::new().await;
    let packet = publish(V4, 0x32, "large", 7, &[b'x'; 24_000]);
    // Every third client sends half of a packet and leaves, or two packets.
    let sending = (0..COUNT).map(async |n| {
        let mut stream = TcpStream::connect(crowd.world.conformance_addr()).await.unwrap();
        stream.write_all(&connect_with(V4, 2, 60, &[], &format!("large-{n}"), &[], "", "")).await.unwrap();
        let (half, rest) = packet.split_at(packet.len() / 2);
        let mut expected = vec![0x20, 2, 0, 0];
        stream.write_all(half).await.unwrap();
        let times = match n % 6 {
            1 => 0,
            4 => 2,
            _ => 1,
        };
        for _ in 0..times {
            stream.write_all(if expected.len() == 4 { rest } else { &packet }).await.unwrap();
            expected.extend([0x40, 2, 0, 7]);
        }
        let mut read = vec![0; expected.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, expected, "{n}");
    });
    crowd.while_others_are_served("large packets", join_all(sending)).await;

    // A thousand of one client, one behind the other.
    let mut stream = TcpStream::connect(crowd.world.conformance_addr()).await.unwrap();
    stream.write_all(&connect_with(V4, 2, 60, &[], "one", &[], "", "")).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for _ in 0..COUNT {
            writer.write_all(&packet).await.unwrap();
        }
    };
    let mut read = vec![0; 4 * (COUNT + 1)];
    let both = async { tokio::join!(write, reader.read_exact(&mut read)).1.unwrap() };
    crowd.while_others_are_served("packets of one client", both).await;
    assert!(read[4..].chunks(4).all(|packet| packet == [0x40, 2, 0, 7]));
}

/// The level of a bridge of mosquitto: 3.1.1, with the bit of a broker.
const BRIDGE: u8 = 0x80 | V4;
/// The level of 3.1, which the hub does not speak.
const OLD: u8 = 3;
/// A level that does not exist.
const NEW: u8 = 6;

/// Sends QoS 2 messages in one go, and completes all of them.
async fn complete_burst(raw: &mut Raw, level: u8, count: u16) {
    let burst: Vec<u8> = (1..=count).flat_map(|id| publish(level, 0x34, "burst", id, b"1")).collect();
    let releases: Vec<u8> = (1..=count).flat_map(|id| packet(0x62, &id.to_be_bytes())).collect();
    for (sent, kind) in [(burst, 0x50), (releases, 0x70)] {
        raw.send(&sent).await;
        for id in 1..=count {
            let (found, body) = raw.read_packet().await.expect("an acknowledgement");
            assert_eq!((found, &body[..2]), (kind, &id.to_be_bytes()[..]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connects_of_every_level_are_answered() {
    let crowd = Crowd::new().await;
    let connecting = (0..COUNT).map(async |n| {
        let level = [V4, V5, BRIDGE, OLD, NEW][n % 5];
        let form = if level == BRIDGE { V4 } else { level };
        let mut hello = connect_with(form, 2, 60, &[], &format!("odd-{n}"), &[], "", "");
        // Behind the packet type, the length and the name of the protocol.
        hello[8] = level;
        let mut raw = Raw::open(crowd.world.conformance_addr()).await;
        let number = n / 5;
        raw.send(&varied(number, &hello)).await;
        if number % 6 == 1 {
            return;
        }
        let (kind, body) = raw.read_packet().await.expect("CONNACK");
        let code = match level {
            OLD => 1,
            NEW => 0x84,
            _ => 0,
        };
        assert_eq!((kind, body[1]), (0x20, code), "{n}, level {level}");
        if code != 0 {
            assert_eq!(raw.read_packet().await, None, "{n}, level {level}");
        } else if number % 6 == 4 {
            // A second CONNECT is a violation of the protocol, which version 5 names.
            let reason = (level == V5).then(|| (0xe0, vec![0x82, 0]));
            let is_named = reason.is_some();
            assert_eq!(raw.read_packet().await, reason, "{n}, level {level}");
            assert!(!is_named || raw.read_packet().await.is_none(), "{n}");
        } else {
            // Version 5 announces how many, and 3.1.1 has no such limit.
            complete_burst(&mut raw, form, if level == V5 { 20 } else { 40 }).await;
        }
    });
    crowd.while_others_are_served("connects", join_all(connecting)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_odd_bodies_are_answered() {
    let crowd = Crowd::new().await;
    let id = &crowd.parent.id;
    let json = json!({"_id": id}).to_string();
    let parts = format!("--b\r\ncontent-disposition: form-data ;Name = \"_id\"\r\n\r\n{id}\r\n--b--\r\n");
    let emoji = json.replace('}', r#","note":"Mia \ud83d"}"#);
    let kinds = [
        ("/friend_list", "application/x-www-form-urlencoded", &json),
        ("/friend_list", "text/plain;charset=UTF-8", &json),
        ("//friend_list", "application/json", &json),
        ("/friend_list", "multipart/form-data ; charset=utf-8; boundary=b", &parts),
        ("/friend_list", "application/json", &emoji),
    ];
    let asking = (0..COUNT).map(|n| {
        let (path, content_type, whole) = kinds[n % kinds.len()];
        let request = crowd.world.client().post(crowd.world.http() + path).header("content-type", content_type);
        value(request.body(varied(n / kinds.len(), whole.as_bytes())))
    });
    let answers = crowd.while_others_are_served("bodies", join_all(asking)).await;
    for (n, answer) in answers.iter().enumerate() {
        let permitted: &[u64] = match n / kinds.len() % 6 {
            1 => &[1, 20],
            // What follows the last part of a multipart body does not count.
            4 => &[0, 1, 20],
            _ => &[0],
        };
        assert!(permitted.iter().any(|code| answer["code"] == *code), "{n}, {:?}: {answer}", kinds[n % kinds.len()]);
    }

    // The preflights of pages, for headers of their own.
    let headers = "x-requested-with, device-id, client-id";
    let asking = (0..COUNT).map(|n| {
        let asked = String::from_utf8(varied(n, headers.as_bytes())).unwrap();
        let request = crowd.world.client().request(Method::OPTIONS, crowd.world.http() + "/friend_list");
        let request = request.header("origin", ORIGIN).header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", &asked).timeout(PATIENCE);
        async move {
            let answer = request.send().await.expect("an answer");
            let found = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((answer.status().as_u16(), found("access-control-allow-headers")), (204, asked), "{n}");
            assert_eq!(found("access-control-allow-origin"), ORIGIN, "{n}");
        }
    });
    crowd.while_others_are_served("preflights", join_all(asking)).await;
}

/// The kinds of the frames that the hub sends until it ends the connection (RFC 6455 section 5.2).
async fn frames(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The client may have sent more than the hub reads: then the connection is reset.
    let _ = stream.read_to_end(&mut bytes).await;
    let (mut kinds, mut rest) = (Vec::new(), &bytes[..]);
    while let [first, length, ..] = *rest {
        kinds.push(first & 0x0f);
        let (head, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            length => (2, usize::from(length)),
        };
        rest = rest.get(head + length..).unwrap_or_default();
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sockets_are_closed_with_a_close() {
    const CLOSE: u8 = 8;
    let crowd = Crowd::new().await;
    let (http, legacy) = (crowd.world.http_addr(), crowd.world.addresses("legacy=")[0]);
    let kinds = [
        (http, "/ws".to_owned(), ""),
        (http, "/mqtt".to_owned(), "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n"),
        (legacy, format!("/app/{}", crowd.parent.id), ""),
        (legacy, format!("/toy/{}", crowd.toy.id), ""),
    ];
    let closing = (0..COUNT).map(async |n| {
        let (address, path, more) = &kinds[n % kinds.len()];
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{path}: {}", String::from_utf8_lossy(&answer));
        // Close, with the code 1000 and a mask of zeros.
        let close = [0x80 | CLOSE, 0x80 | 2, 0, 0, 0, 0, 3, 0xe8];
        let number = n / kinds.len();
        stream.write_all(&varied(number, &close)).await.unwrap();
        if number % 6 == 1 {
            stream.shutdown().await.unwrap();
        }
        let kinds = frames(&mut stream).await;
        let closes = kinds.iter().filter(|kind| **kind == CLOSE).count();
        // To half of a Close the hub may say why it ends the connection.
        match number % 6 {
            1 => assert!(closes <= 1, "{n}, {path}: {kinds:?}"),
            _ => assert_eq!((closes, kinds.last()), (1, Some(&CLOSE)), "{n}, {path}: {kinds:?}"),
        }
    });
    crowd.while_others_are_served("sockets", join_all(closing)).await;
}
