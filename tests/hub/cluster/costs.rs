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

/// What one event costs: ms of processor time, transactions, and KiB in the database.
#[derive(Clone, Copy)]
struct Cost {
    hub: f64,
    other: f64,
    store: f64,
    broker: f64,
    transactions: f64,
    stored: f64,
}

/// What a toy and its family do on a day: an assumption, which the page states.
const VOICE_A_DAY: f64 = 20.0;
const READINGS_A_DAY: f64 = 40.0;
const COMMANDS_A_DAY: f64 = 100.0;
const CONNECTIONS_A_DAY: f64 = 6.0;
/// The part of a day's events in its busiest hour.
const BUSIEST_HOUR: f64 = 0.1;
/// Cores of one hub that the busiest hour may keep busy: half of a machine with eight.
const CORES_OF_HUB: f64 = 4.0;
const HOURS_S: f64 = 3600.0;
const DAYS_OF_YEAR: f64 = 365.0;

/// Prints what so many toys need in the busiest hour. `costs` are those of a voice message, a reading, a command and a
/// connection; `sound` is the size of a sound in KiB, and `memory` that of a connection.
fn print_sizes(toys: f64, costs: [Cost; 4], sound: f64, memory: f64) {
    let a_day = [VOICE_A_DAY, READINGS_A_DAY, COMMANDS_A_DAY, CONNECTIONS_A_DAY];
    let rates = a_day.map(|of_toy| of_toy * toys * BUSIEST_HOUR / HOURS_S);
    // ms of processor time in a second, of one core with 1000.
    let cores =
        |of: fn(&Cost) -> f64| rates.iter().zip(&costs).map(|(rate, cost)| rate * of(cost)).sum::<f64>() / 1000.0;
    let (own, others) = (cores(|cost| cost.hub), cores(|cost| cost.other));
    // Each hub hears the events of all others. Beyond some number, another hub costs more than it brings.
    let is_enough = |hubs: &f64| (own + (hubs - 1.0) * others) / hubs <= CORES_OF_HUB;
    let hubs = (1..1000).map(f64::from).find(is_enough);
    let per_year = |kib_of_voice: f64| toys * VOICE_A_DAY * DAYS_OF_YEAR * kib_of_voice / 1024.0 / 1024.0 / 1024.0;
    println!(
        "| {toys:.0} | {:.0} | {:.0} | {own:.1} | {others:.2} | {} | {:.1} | {:.0} | {:.1} | {:.2} | {:.2} | {:.1} |",
        rates[0],
        rates[2],
        hubs.map_or("none is enough".into(), |hubs| format!("{hubs:.0}")),
        cores(|cost| cost.store),
        rates.iter().zip(&costs).map(|(rate, cost)| rate * cost.transactions).sum::<f64>(),
        cores(|cost| cost.broker),
        per_year(costs[0].stored),
        per_year(sound),
        toys * memory / 1024.0 / 1024.0,
    );
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
    async fn print(&self, what: &str, count: u32, before: &Spent) -> Cost {
        let now = self.spent().await;
        let of_each = |now: f64, before: f64| (now - before) / f64::from(count);
        let times: Vec<f64> = now.times.iter().zip(before.times).map(|(now, before)| of_each(*now, before)).collect();
        let [written, stored] = [(now.written, before.written), (now.stored, before.stored)]
            .map(|(now, before)| of_each(now, before) / 1024.0);
        let [transactions, commits] = [0, 1].map(|at| of_each(now.commits[at], before.commits[at]));
        let texts: Vec<String> = times.iter().map(|time| format!("{time:.2}")).collect();
        println!("| {what} | {} | {transactions:.2} | {written:.1} | {stored:.1} | {commits:.2} |", texts.join(" | "));
        Cost { hub: times[0], other: times[1], store: times[2], broker: times[3], transactions, stored }
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
        ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "100000"),
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
    let mut name = String::new();
    for _ in 0..MESSAGES {
        let sent = a.upload("/toy_uploader", "reco", recording.clone(), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        name = sent["data"]["filename"].as_str().unwrap().to_owned();
        while app.frame().await["type"] != "message" {}
    }
    let voice = parts.print("voice message, AMR, to an app at the other hub", MESSAGES, &before).await;
    let before = parts.spent().await;
    for _ in 0..READINGS {
        let list = b.post_as(&parent, "/friend_list", json!({"_id": parent.id})).await;
        assert_eq!(list["code"], 0);
    }
    let reading = parts.print("`/friend_list` at the other hub", READINGS, &before).await;

    // It was made at the other hub.
    let reading = Cost { hub: reading.other, other: reading.hub, ..reading };
    let mut of_commands = Vec::new();
    for qos in [1, 2] {
        let mut app = Raw::connected(a.mqtt_addr(), V4, "remote", &parent.id, &parent.token).await;
        let before = parts.spent().await;
        for number in 0..COMMANDS {
            say(&mut app, &format!("toy/{}/cmd/volume", toy.id), qos, (number % 60_000 + 1) as u16, &[b'5'; 300]).await;
        }
        of_commands.push(parts.print(&format!("command of 300 bytes, QoS {qos}"), COMMANDS, &before).await);
    }
    let before = parts.spent().await;
    for _ in 0..LOGINS {
        leave(Raw::connected(a.mqtt_addr(), V4, "toy", &toy.device_key, &toy.secret).await).await;
    }
    let connection = parts.print("connection of a toy and its end", LOGINS, &before).await;

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

    let url = format!("{}/get_chat/{name}", a.http());
    let sound = a.client().get(url).send().await.unwrap().bytes().await.unwrap();
    let sound = sound.len() as f64 / 1024.0;
    println!(
        "\nEach toy and its family: {VOICE_A_DAY} voice messages, {READINGS_A_DAY} readings of an address book, \
         {COMMANDS_A_DAY} commands or states, {CONNECTIONS_A_DAY} connections a day, {:.0} % of them in the busiest hour; \
         a sound of {sound:.1} KiB; {CORES_OF_HUB} busy cores for each hub.\n",
        BUSIEST_HOUR * 100.0
    );
    println!(
        "| toys | voice messages/s | commands/s | cores of all hubs, their own clients | cores of each hub for another's | hubs | \
         cores, database | transactions/s | cores, broker, for each hub | database grows a year, TiB | sounds a year, TiB | \
         memory of connections, GiB |"
    );
    println!("|{}", " ---: |".repeat(12));
    for toys in [10_000.0, 100_000.0, 1_000_000.0] {
        print_sizes(toys, [voice, reading, of_commands[0], connection], sound, grown[0]);
    }
}
