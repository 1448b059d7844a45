//! A thousand at once, a third of them cut in half or doubled: each client gets an answer with a code, other clients are
//! served meanwhile, and the memory of the hub stays bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::mqtt::{V4, connect_with, publish};
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

const SETTINGS: [(&str, &str); 6] = [
    ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0"),
    ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "5000"),
    ("TOYHUB_HTTP__UPLOADS_PER_ADDRESS_MAX", "1000"),
    ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "5000"),
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000"),
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
    async fn ask(&self, path: &str, body: String) -> Value {
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

/// A recording of the thousand: every third one is cut in half or doubled.
fn recording(number: usize) -> Vec<u8> {
    let whole = sound::tone(number as u32);
    match number % 6 {
        1 => whole[..whole.len() / 2].to_vec(),
        4 => whole.repeat(2),
        _ => whole,
    }
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
        let asking = (0..COUNT).map(|n| {
            let body = match n % 6 {
                1 => whole[..whole.len() / 2].to_owned(),
                4 => whole.repeat(2),
                _ => whole.clone(),
            };
            crowd.ask(path, body)
        });
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
