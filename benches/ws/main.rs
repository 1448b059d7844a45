//! The app socket and mosquitto's WebSocket listener, in one run: the latency of a toy's message to an app, the memory
//! of an idle app, and the time until all apps that reconnect at once have received their missed messages.
//!
//! The first argument is the hub's program; `quick` makes everything ten times smaller.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clients;
mod peers;
#[path = "../hub/phase.rs"]
mod phase;
#[path = "../hub/table.rs"]
mod table;

use std::time::{Duration, Instant};

use clients::Socket;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use peers::{Family, Peer};
use phase::Phase;
use serde_json::json;
use table::Better;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Messages that each app misses before the storm.
const MISSED: usize = 20;
/// Connections that are opened at the same time.
const OPENING: usize = 200;
/// The duration of each rate.
const FLOW: Duration = Duration::from_secs(5);

struct Figures {
    /// At each rate: p50 and p99.
    latencies: Vec<(Duration, Duration)>,
    idle_bytes: f64,
    storm: Duration,
}

struct Sizes {
    apps: usize,
    rates: [usize; 2],
    idle: usize,
    returning: usize,
    users: usize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let program = arguments.get(1).expect("the hub's program");
    let scale = if arguments.iter().any(|argument| argument == "quick") { 10 } else { 1 };
    let sizes = Sizes {
        apps: 200 / scale,
        rates: [1000 / scale, 5000 / scale],
        // The hub gives one address at most half of its descriptors, of which systems allow 20,000 or more.
        idle: 9000 / scale,
        returning: 5000 / scale,
        users: 50 / scale,
    };
    eprintln!("toyhub …");
    let toyhub = of_toyhub(program, &sizes).await;
    eprintln!("mosquitto …");
    let mosquitto = of_mosquitto(&sizes).await;
    print(&sizes, &toyhub, &mosquitto);
}

fn print(sizes: &Sizes, toyhub: &Figures, mosquitto: &Figures) {
    println!("2 cores shared by server and load; {} toys, each heard by one app", sizes.apps);
    println!("{:48}{:>12}{:>12}{:>10}", "", "toyhub", "mosquitto", "ratio");
    let row = |name: &str, ours: f64, theirs: f64| {
        table::record("ws", name, Better::Less, ours, "mosquitto", theirs);
        println!("{name:48}{ours:>12.1}{theirs:>12.1}{:>9.2}×", ours / theirs);
    };
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    for (at, rate) in sizes.rates.iter().enumerate() {
        let (ours, theirs) = (toyhub.latencies[at], mosquitto.latencies[at]);
        row(&format!("toy to app at {rate} messages/s, p50, µs"), micros(ours.0), micros(theirs.0));
        row(&format!("toy to app at {rate} messages/s, p99, µs"), micros(ours.1), micros(theirs.1));
    }
    row(&format!("KB for each of {} idle apps", sizes.idle), toyhub.idle_bytes / 1e3, mosquitto.idle_bytes / 1e3);
    let storm = format!("{} apps come back, {MISSED} messages each, s", sizes.returning);
    row(&storm, toyhub.storm.as_secs_f64(), mosquitto.storm.as_secs_f64());
}

async fn of_toyhub(program: &str, sizes: &Sizes) -> Figures {
    let hub = Peer::toyhub(program);
    let families = hub.families(sizes.apps).await;
    let mut pairs = Vec::new();
    for (number, family) in families.iter().enumerate() {
        let login = Some((family.key.as_str(), family.secret.as_str()));
        let toy = clients::toy(hub.mqtt, &format!("toy-{number}"), login).await;
        let (mut app, _) = clients::app(hub.web, &family.token, None).await;
        clients::app_subscribes(&mut app, &format!("toy/{}/state/#", family.toy)).await;
        pairs.push((toy, format!("toy/{}/state/x", family.toy), app));
    }
    let mut latencies = Vec::new();
    for rate in sizes.rates {
        let _phase = Phase::begin(&format!("toy to app at {rate} messages per second"), hub.id());
        latencies.push(flow(&mut pairs, rate, payload_of_frame).await);
    }
    drop(pairs);

    eprintln!("  idle apps …");
    let fresh = Peer::toyhub(program);
    let family = fresh.families(1).await.remove(0);
    let before = fresh.resident();
    let mut idle = Vec::new();
    for _ in 0..sizes.idle {
        idle.push(clients::app(fresh.web, &family.token, None).await.0);
    }
    let idle_bytes = (fresh.resident() as f64 - before as f64) / sizes.idle as f64;
    drop(idle);

    eprintln!("  returning apps …");
    let fresh = Peer::toyhub(program);
    let families = fresh.families(sizes.users).await;
    for family in &families {
        for _ in 0..MISSED {
            message(&fresh, family).await;
        }
    }
    let phase = Phase::begin("apps that come back", fresh.id());
    let began = Instant::now();
    let mut returning = JoinSet::new();
    for number in 0..sizes.returning {
        let (web, token) = (fresh.web, families[number % families.len()].token.clone());
        returning.spawn(async move {
            let (mut app, _) = clients::app(web, &token, Some(0)).await;
            for seq in 1..=MISSED {
                assert_eq!(clients::frame(&mut app).await["seq"], seq);
            }
            app
        });
    }
    let apps = returning.join_all().await;
    let storm = began.elapsed();
    drop(phase);
    assert_eq!(apps.len(), sizes.returning);
    Figures { latencies, idle_bytes, storm }
}

/// A message from the family's toy, a tenth of a second long.
async fn message(hub: &Peer, family: &Family) {
    let samples = [0i16, 8000, 0, -8000].repeat(400);
    let data: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    let form = reqwest::multipart::Form::new()
        .text("user_id", family.toy.clone())
        .text("to_user", family.user.clone())
        .part("reco", reqwest::multipart::Part::bytes(wav).file_name("r.wav"));
    let sent = reqwest::Client::new().post(format!("http://{}/toy_uploader", hub.web)).multipart(form).send().await;
    let answer: serde_json::Value = serde_json::from_str(&sent.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer["code"], json!(0), "{answer}");
}

async fn of_mosquitto(sizes: &Sizes) -> Figures {
    let broker = Peer::mosquitto();
    let mut pairs = Vec::new();
    for number in 0..sizes.apps {
        let toy = clients::toy(broker.mqtt, &format!("toy-{number}"), None).await;
        let mut app = clients::mqtt_app(broker.web, &format!("app-{number}"), true).await;
        // As long as the hub's.
        let topic = format!("toy/{number:024}/state");
        clients::mqtt_app_subscribes(&mut app, &format!("{topic}/#"), 0).await;
        pairs.push((toy, format!("{topic}/x"), app));
    }
    let mut latencies = Vec::new();
    for rate in sizes.rates {
        latencies.push(flow(&mut pairs, rate, payload_of_packet).await);
    }
    drop(pairs);

    eprintln!("  idle apps …");
    let fresh = &Peer::mosquitto();
    let before = fresh.resident();
    let opening = stream::iter(0..sizes.idle).map(|number| async move {
        let mut app = clients::mqtt_app(fresh.web, &format!("app-{number}"), true).await;
        clients::mqtt_app_subscribes(&mut app, &format!("app/{number:024}/in"), 1).await;
        app
    });
    // Mosquitto is slow for each: many are opened at once.
    let idle: Vec<Socket> = opening.buffer_unordered(OPENING).collect().await;
    let idle_bytes = (fresh.resident() as f64 - before as f64) / sizes.idle as f64;
    drop(idle);

    eprintln!("  returning apps …");
    let fresh = &Peer::mosquitto();
    let leaving = stream::iter(0..sizes.returning).map(|number| async move {
        let mut app = clients::mqtt_app(fresh.web, &format!("app-{number}"), false).await;
        clients::mqtt_app_subscribes(&mut app, &format!("user/{}", number % sizes.users), 1).await;
        app.close(None).await.unwrap();
    });
    leaving.buffer_unordered(OPENING).collect::<Vec<()>>().await;
    let mut toy = clients::toy(fresh.mqtt, "toy", None).await;
    // As large as an event of the hub.
    let event = [b'x'; 260];
    for user in 0..sizes.users {
        for number in 0..MISSED {
            let id = Some(number as u16 + 1);
            toy.write_all(&clients::publish(&format!("user/{user}"), id, &event)).await.unwrap();
            let mut puback = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut toy, &mut puback).await.unwrap();
        }
    }
    let began = Instant::now();
    let mut returning = JoinSet::new();
    for number in 0..sizes.returning {
        let web = fresh.web;
        returning.spawn(async move {
            let mut app = clients::socket(web, "/mqtt", "mqtt", None).await;
            app.send(Message::binary(clients::connect(&format!("app-{number}"), None, false))).await.unwrap();
            let (mut stream, mut messages) = (Vec::new(), 0);
            while messages < MISSED {
                stream.extend(clients::bytes(&mut app).await);
                while let Some((byte1, body, length)) = take_packet(&stream) {
                    if byte1 >> 4 == 3 {
                        messages += 1;
                        let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        app.send(Message::binary(vec![0x40, 2, body[id], body[id + 1]])).await.unwrap();
                    }
                    stream.drain(..length);
                }
            }
            app
        });
    }
    let apps = returning.join_all().await;
    let storm = began.elapsed();
    assert_eq!(apps.len(), sizes.returning);
    Figures { latencies, idle_bytes, storm }
}

/// The first whole packet: its first byte, the bytes after its length, and its whole length.
fn take_packet(stream: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (mut length, mut shift, mut at) = (0usize, 0, 1);
    loop {
        let byte = *stream.get(at)?;
        length |= usize::from(byte & 0x7f) << shift;
        (shift, at) = (shift + 7, at + 1);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((*stream.first()?, stream.get(at..at + length)?.to_vec(), at + length))
}

type Pair = (tokio::net::TcpStream, String, Socket);

/// Sends `rate` messages a second in all, evenly over the toys; returns p50 and p99 of their latency to the apps.
async fn flow(pairs: &mut Vec<Pair>, rate: usize, payload: fn(&Message) -> Vec<u64>) -> (Duration, Duration) {
    let origin = Instant::now();
    let count = pairs.len();
    let each = FLOW.as_secs() as usize * rate / count;
    let mut readers = JoinSet::new();
    let mut toys = Vec::new();
    for (toy, topic, mut app) in pairs.drain(..) {
        toys.push((toy, topic));
        readers.spawn(async move {
            let mut took = Vec::with_capacity(each);
            while took.len() < each {
                let message = tokio::time::timeout(clients::PATIENCE, app.next()).await;
                let message = message.expect("all messages").expect("open").expect("a frame");
                let now = origin.elapsed().as_nanos() as u64;
                took.extend(payload(&message).into_iter().map(|sent_at| now - sent_at));
            }
            (app, took)
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut sent = 0;
    while sent < each * count {
        tick.tick().await;
        let due = (origin.elapsed().as_secs_f64() * rate as f64) as usize;
        while sent < due.min(each * count) {
            let (toy, topic) = &mut toys[sent % count];
            let now = format!("{:020}{}", origin.elapsed().as_nanos(), "x".repeat(44));
            toy.write_all(&clients::publish(topic, None, now.as_bytes())).await.unwrap();
            sent += 1;
        }
    }
    let (mut apps, mut all) = (Vec::new(), Vec::new());
    for (app, took) in readers.join_all().await {
        apps.push(app);
        all.extend(took);
    }
    // The order of the apps does not matter to the next flow, as long as every topic has its app.
    pairs.extend(toys.into_iter().zip(apps).map(|((toy, topic), app)| (toy, topic, app)));
    all.sort_unstable();
    let at = |share: f64| Duration::from_nanos(all[((all.len() - 1) as f64 * share) as usize]);
    (at(0.5), at(0.99))
}

/// When the messages of a frame were sent.
fn payload_of_frame(message: &Message) -> Vec<u64> {
    let Message::Text(text) = message else { return Vec::new() };
    let frame: serde_json::Value = serde_json::from_str(text).expect("JSON");
    frame["payload"].as_str().and_then(|payload| number(payload.as_bytes())).into_iter().collect()
}

fn payload_of_packet(message: &Message) -> Vec<u64> {
    let Message::Binary(bytes) = message else { return Vec::new() };
    let (mut rest, mut sent_at) = (&bytes[..], Vec::new());
    while let Some((_, body, length)) = take_packet(rest) {
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        sent_at.extend(number(&body[topic..]));
        rest = &rest[length..];
    }
    sent_at
}

fn number(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload.get(..20)?).ok()?.parse().ok()
}
