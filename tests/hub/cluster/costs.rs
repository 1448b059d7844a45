//! `scripts/bench cluster`: what each part of a cluster spends on one message, one command, one login and one connection.
//! docs/cluster.md multiplies these.

use std::path::Path;

use serde_json::json;

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, pair};
use super::moving::leave;
use crate::metrics::{metrics, value};
use crate::mqtt::{Raw, V4};
use crate::s3::S3;
use crate::sessions::say;
use crate::sound;
use crate::world::World;

/// Voice messages of one measurement.
const MESSAGES: u32 = 300;
/// Commands of one measurement, at each quality of service.
const COMMANDS: u32 = 3000;
/// Logins of one measurement.
const LOGINS: u32 = 1000;
/// Readings of an address book.
const READINGS: u32 = 1000;
/// Idle connections of one measurement.
const CONNECTIONS: usize = 1000;
/// Ticks of processor time in a second, as Linux reports it.
const TICKS: f64 = 100.0;

/// The parts that spend processor time.
struct Parts<'a> {
    hubs: [&'a World; 2],
    store: &'a StoreServer,
    broker: &'a Broker,
}

/// What the parts have spent so far.
struct Spent {
    /// Processor time in ms: of the hubs, the database server, the broker.
    times: [f64; 4],
    /// Bytes that the database server has written.
    written: f64,
    /// Bytes of its data.
    stored: f64,
    /// Transactions of both hubs in the database, and commits of their files of sessions.
    commits: [f64; 2],
}

fn processor_ms(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS * 1000.0
}

fn field(path: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {path}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn resident_kib(process: u32) -> f64 {
    field(&format!("/proc/{process}/status"), "VmRSS:")
}

fn bytes_below(folder: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len() as f64,
        Err(_) => 0.0,
    });
    sizes.sum()
}

impl Parts<'_> {
    async fn spent(&self) -> Spent {
        let [a, b] = self.hubs.map(|hub| processor_ms(hub.id()));
        let mut commits = [0.0; 2];
        for hub in self.hubs {
            let text = metrics(hub).await;
            for (sum, part) in commits.iter_mut().zip(["store", "sessions"]) {
                *sum += value(&text, &format!("toyhub_{part}_commit_seconds_count"));
            }
        }
        Spent {
            times: [a, b, processor_ms(self.store.id()), processor_ms(self.broker.id())],
            written: field(&format!("/proc/{}/io", self.store.id()), "write_bytes:"),
            stored: bytes_below(&self.store.data()),
            commits,
        }
    }

    /// Prints what each of `count` events has cost since `before`.
    async fn print(&self, what: &str, count: u32, before: &Spent) {
        let now = self.spent().await;
        let of_each = |now: f64, before: f64| (now - before) / f64::from(count);
        let times: Vec<String> =
            now.times.iter().zip(before.times).map(|(now, before)| format!("{:.2}", of_each(*now, before))).collect();
        let [written, stored] = [(now.written, before.written), (now.stored, before.stored)]
            .map(|(now, before)| of_each(now, before) / 1024.0);
        let [transactions, commits] = [0, 1].map(|at| of_each(now.commits[at], before.commits[at]));
        println!("| {what} | {} | {transactions:.2} | {written:.1} | {stored:.1} | {commits:.2} |", times.join(" | "));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn figures() {
    let (store, broker, s3) = (StoreServer::start().await, Broker::start().await, S3::start().await);
    let more = [
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000000"),
        ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", "1000000"),
        ("TOYHUB_MQTT__FLAPPING_BAN_S", "0"),
        ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "100000"),
    ];
    let [a, b] = pair(&store, &broker, &[&NEVER[..], &s3.settings(), &more].concat()).await;
    let parts = Parts { hubs: [&a, &b], store: &store, broker: &broker };
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    println!(
        "| for each | hub, ms of processor | the other hub, ms | database, ms | broker, ms | transactions | database writes, KiB | \
         its data grows, KiB | commits of sessions |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");

    let recording = sound::amr(a.folder());
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let mut app = b.app(&parent).await;
    let before = parts.spent().await;
    for _ in 0..MESSAGES {
        let sent = a.upload("/toy_uploader", "reco", recording.clone(), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        while app.frame().await["type"] != "message" {}
    }
    parts.print("voice message, AMR, to an app at the other hub", MESSAGES, &before).await;
    let before = parts.spent().await;
    for _ in 0..READINGS {
        let list = b.post_as(&parent, "/friend_list", json!({"_id": parent.id})).await;
        assert_eq!(list["code"], 0);
    }
    parts.print("`/friend_list` at the other hub", READINGS, &before).await;

    for qos in [1, 2] {
        let mut app = Raw::connected(a.mqtt_addr(), V4, "remote", &parent.id, &parent.token).await;
        let before = parts.spent().await;
        for number in 0..COMMANDS {
            say(&mut app, &format!("toy/{}/cmd/volume", toy.id), qos, (number % 60_000 + 1) as u16, &[b'5'; 300]).await;
        }
        parts.print(&format!("command of 300 bytes, QoS {qos}"), COMMANDS, &before).await;
    }
    let before = parts.spent().await;
    for _ in 0..LOGINS {
        leave(Raw::connected(a.mqtt_addr(), V4, "toy", &toy.device_key, &toy.secret).await).await;
    }
    parts.print("connection of a toy and its end", LOGINS, &before).await;

    let before = [&a, &b].map(|hub| resident_kib(hub.id()));
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let client_id = format!("idle-{number}");
        open.push(Raw::connected(a.mqtt_addr(), V4, &client_id, &toy.device_key, &toy.secret).await);
    }
    let grown: Vec<f64> = [&a, &b]
        .iter()
        .zip(before)
        .map(|(hub, before)| (resident_kib(hub.id()) - before) / CONNECTIONS as f64)
        .collect();
    println!(
        "\nmemory of an idle connection of MQTT: {:.1} KiB at its hub, {:.1} KiB at the other",
        grown[0], grown[1]
    );
}
