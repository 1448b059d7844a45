//! Toys with stored sessions that all come back at once, over TCP and over TLS: the time until each has the messages that
//! it missed. Over TLS each resumes its own session, as a device does that keeps its ticket.
//!
//! The hub knows each toy, checks its secret and its permission for the topic, and has stored the messages on disk;
//! mosquitto accepts any client and keeps the messages in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use super::brokers::Broker;
use super::hub::Hub;
use super::load::{self, Client, Stream};
use super::phase::Phase;
use super::secure;
use super::table::{self, Better};

/// Messages that each toy misses.
const MISSED: usize = 20;
/// Connections without a CONNACK at the same time. Mosquitto listens with room for 100; a connection beyond that waits for
/// its first packet to be sent again, for seconds to a minute.
const ABREAST: usize = 64;
/// Toys of one user.
const TOYS_OF_USER: usize = 100;
/// Toys behind one address.
const TOYS_OF_ADDRESS: usize = 1000;
/// The storm has failed after this.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server, its listeners, and its clients.
struct Place {
    name: &'static str,
    process: u32,
    tcp: SocketAddr,
    tls: SocketAddr,
    toys: Vec<Toy>,
    /// The name and password of who may publish to the toys, and those of them which are its.
    publishers: Vec<(String, String, std::ops::Range<usize>)>,
}

#[derive(Clone)]
struct Toy {
    topic: String,
    name: String,
    password: String,
    /// Its own, with the ticket of its last connection.
    connector: TlsConnector,
}

struct Figures {
    tcp: Duration,
    tls: Duration,
}

/// Measures both, and prints the ratios.
pub async fn run(program: &str, scale: u64) {
    let count = (5_000 / scale) as usize;
    let folder = tempfile::tempdir().expect("a folder");
    secure::certificate(program, folder.path());
    let (hub, ours) = toyhub(program, folder.path(), count).await;
    let ours = measure(&ours).await;
    drop(hub);
    let (_broker, theirs) = mosquitto(folder.path(), count);
    let theirs = measure(&theirs).await;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores shared by broker and load; {count} toys with stored sessions, {MISSED} messages of QoS 1 each"
    );
    println!("{:48}{:>12}{:>12}{:>14}", "", "toyhub", "mosquitto", "of mosquitto");
    for (name, ours, theirs) in [("TCP", ours.tcp, theirs.tcp), ("resumed TLS", ours.tls, theirs.tls)] {
        let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
        let name = format!("{count} toys come back over {name}, s");
        table::record("mqtt storm", &name, Better::Less, ours, "mosquitto", theirs);
        println!("{name:48}{ours:>12.2}{theirs:>12.2}{:>14}", format!("{:.2}×", ours / theirs));
    }
}

async fn toyhub(program: &str, certificate: &Path, count: usize) -> (Hub, Place) {
    let unlimited = || "1000000".to_owned();
    let mut settings = secure::settings(certificate);
    settings.extend([
        ("TOYHUB_ACCOUNTS__PASSWORD_MEMORY_KIB", "8".into()),
        ("TOYHUB_ACCOUNTS__PASSWORD_PASSES", "1".into()),
        ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "10000".into()),
        ("TOYHUB_RATES__REGISTRATIONS_PER_ADDRESS_PER_MINUTE", unlimited()),
        ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", unlimited()),
    ]);
    let hub = Hub::start(program.to_owned(), &settings);
    let (mut toys, mut publishers) = (Vec::new(), Vec::new());
    for number in 0..count.div_ceil(TOYS_OF_USER) {
        let added = hub.run(&["device", "add", "--count", &TOYS_OF_USER.min(count - toys.len()).to_string()]);
        let devices: Vec<(&str, &str)> = added.lines().filter_map(|line| line.split_once('\t')).collect();
        let name = format!("user-{number}");
        let new = json!({"username": name, "password": "correct horse", "nickname": name, "gender": "2"});
        hub.post("/reg", new).await;
        let login = hub.post("/login", json!({"username": name, "password": "correct horse"})).await["data"].clone();
        let text = |field: &str| login[field].as_str().expect("a text").to_owned();
        let (user, token) = (text("_id"), text("token"));
        publishers.push((user.clone(), token, toys.len()..toys.len() + devices.len()));
        for (key, secret) in devices {
            let binding = json!({
                "toy_name": "T", "baby_name": "B", "remark": "R", "user_id": user, "device_key": key,
            });
            hub.post("/bind_toy", binding).await;
            let opened = hub.post("/open_toy", json!({"device_key": key})).await;
            let id = opened["toy_id"].as_str().expect("an id");
            let topic = format!("toy/{id}/cmd/x");
            toys.push(toy(certificate, topic, key.to_owned(), secret.to_owned()));
        }
    }
    let tls = hub.mqtts.expect("mqtts=ADDRESS");
    let place = Place { name: "toyhub", process: hub.id(), tcp: hub.mqtt, tls, toys, publishers };
    (hub, place)
}

fn mosquitto(certificate: &Path, count: usize) -> (Broker, Place) {
    let (broker, tls) = Broker::mosquitto_with_both(certificate);
    let toys = (0..count).map(|number| {
        let name = format!("toy-{number}");
        toy(certificate, format!("toy/{number}/cmd/x"), name, String::new())
    });
    let publishers = vec![("user".to_owned(), String::new(), 0..count)];
    let place =
        Place { name: broker.name, process: broker.id(), tcp: broker.address, tls, toys: toys.collect(), publishers };
    (broker, place)
}

fn toy(certificate: &Path, topic: String, name: String, password: String) -> Toy {
    let mut config = (**secure::connector(certificate).config()).clone();
    config.resumption = Resumption::in_memory_sessions(1);
    Toy { topic, name, password, connector: TlsConnector::from(Arc::new(config)) }
}

async fn measure(place: &Place) -> Figures {
    eprintln!("{} …", place.name);
    let mut times = [Duration::ZERO; 2];
    for (is_tls, time) in [false, true].into_iter().zip(&mut times) {
        subscribe(place, is_tls).await;
        publish(place, is_tls).await;
        let transport = if is_tls { "resumed TLS" } else { "TCP" };
        let _phase = Phase::begin(&format!("{} toys that come back over {transport}", place.name), place.process);
        *time = timeout(PATIENCE, storm(place, is_tls)).await.expect("the storm ends");
        eprintln!("  {transport}: {:.2} s", time.as_secs_f64());
    }
    Figures { tcp: times[0], tls: times[1] }
}

/// Each toy connects, subscribes, and disconnects.
async fn subscribe(place: &Place, is_tls: bool) {
    let mut clients = JoinSet::new();
    for (number, toy) in place.toys.iter().cloned().enumerate() {
        if clients.len() >= ABREAST {
            clients.join_next().await.expect("one").expect("no panic");
        }
        let (tcp, tls) = (place.tcp, place.tls);
        clients.spawn(async move {
            let stream = stream(if is_tls { tls } else { tcp }, number).await;
            if is_tls {
                stay(secure(stream, &toy).await, number, &toy).await;
            } else {
                stay(stream, number, &toy).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
}

async fn stay<S: Stream>(stream: S, number: usize, toy: &Toy) {
    let login = Some((&toy.name[..], &toy.password[..]));
    let (mut client, _) = Client::resume(stream, &format!("toy-{number}"), login).await.expect("a session");
    client.subscribe(&toy.topic, 1).await;
    client.disconnect().await;
}

async fn publish(place: &Place, is_tls: bool) {
    for (name, password, toys) in &place.publishers {
        let id = format!("user-{name}-{is_tls}");
        let stream = stream(place.tcp, 0).await;
        let mut client = Client::enter(stream, &id, Some((name, password))).await.expect("a login");
        for toy in &place.toys[toys.clone()] {
            client.publish_acknowledged(&toy.topic, MISSED).await;
        }
    }
}

/// All connect, as fast as the server lets them in. Returns the time until the last one has its messages.
async fn storm(place: &Place, is_tls: bool) -> Duration {
    let began = Instant::now();
    let door = Arc::new(Semaphore::new(ABREAST));
    let mut clients = JoinSet::new();
    for (number, toy) in place.toys.iter().cloned().enumerate() {
        let (server, door) = (if is_tls { place.tls } else { place.tcp }, Arc::clone(&door));
        clients.spawn(async move {
            let place = door.acquire().await.expect("it stays open");
            let stream = stream(server, number).await;
            if is_tls {
                let stream = secure(stream, &toy).await;
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
                receive(stream, number, &toy, place).await;
            } else {
                receive(stream, number, &toy, place).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("each toy has its messages");
    }
    began.elapsed()
}

async fn receive<S: Stream>(stream: S, number: usize, toy: &Toy, place: SemaphorePermit<'_>) {
    let login = Some((&toy.name[..], &toy.password[..]));
    let (mut client, is_present) = Client::resume(stream, &format!("toy-{number}"), login).await.expect("a session");
    drop(place);
    assert!(is_present, "the session is stored");
    client.receive_acknowledging(MISSED).await;
    client.disconnect().await;
}

async fn stream(server: SocketAddr, number: usize) -> TcpStream {
    let from = Ipv4Addr::new(127, 0, 1, (number / TOYS_OF_ADDRESS) as u8 + 1);
    load::open(server, from).await.expect("a connection")
}

async fn secure(stream: TcpStream, toy: &Toy) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    toy.connector.connect(name, stream).await.expect("tls")
}
