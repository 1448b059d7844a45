//! The memory of clients that are connected and do nothing, over TCP and over TLS: the growth of the server's anonymous memory,
//! for each. Each client has a subscription of its own. The kernel's memory for sockets is not part of it.
//!
//! Each figure is of a server that has just started: in one that has done work before, clients fit into memory that is its
//! own already. For the same reason, the growth begins with some clients that are there: what a server needed for its start
//! is given back by then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use super::brokers::{Broker, memory_of};
use super::hub::Hub;
use super::load::{self, Client, Idle, grow};
use super::secure;
use super::table::{self, Better};

/// The memory of a server at rest changes by no more than this in [`REST`].
const STEADY_BYTES: u64 = 256 * 1024;
/// How long a server must be steady.
const REST: Duration = Duration::from_secs(5);
/// The longest wait for that.
const PATIENCE: Duration = Duration::from_secs(30);
/// The part of the clients that are there at the beginning of the growth.
const FIRST: usize = 10;

/// KB for each client.
struct Figures {
    tcp: [f64; 2],
    tls: [f64; 2],
}

/// Measures both, and prints the ratios.
pub async fn run(program: &str, scale: u64) {
    let (few, many) = ((5_000 / scale) as usize, (15_000 / scale) as usize);
    let folder = tempfile::tempdir().expect("a folder");
    secure::certificate(program, folder.path());
    eprintln!("toyhub …");
    let ours = toyhub(program, folder.path(), few, many).await;
    eprintln!("mosquitto …");
    let theirs = mosquitto(folder.path(), few, many).await;
    println!("anonymous memory of a server that has just started, for each idle client with one subscription");
    println!("{:44}{:>12}{:>12}{:>14}", "", "toyhub", "mosquitto", "of mosquitto");
    for (name, ours, theirs) in [
        (format!("KB for each of {few} over TCP"), ours.tcp[0], theirs.tcp[0]),
        (format!("KB for each of {many} over TCP"), ours.tcp[1], theirs.tcp[1]),
        (format!("KB for each of {few} over TLS"), ours.tls[0], theirs.tls[0]),
        (format!("KB for each of {many} over TLS"), ours.tls[1], theirs.tls[1]),
    ] {
        table::record("mqtt idle", &name, Better::Less, ours, "mosquitto", theirs);
        println!("{name:44}{ours:>12.2}{theirs:>12.2}{:>14}", format!("{:.2}×", ours / theirs));
    }
}

async fn toyhub(program: &str, certificate: &Path, few: usize, many: usize) -> Figures {
    let mut settings = secure::settings(certificate);
    settings.extend([
        ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0".into()),
        ("TOYHUB_MQTT__CONNECTIONS_MAX", "50000".into()),
        ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "50000".into()),
    ]);
    let hub = Hub::start(program.to_owned(), &settings);
    let tcp = over_tcp(hub.id(), hub.conformance.expect("conformance=ADDRESS"), few, many).await;
    drop(hub);
    let hub = Hub::start(program.to_owned(), &settings);
    let [user, toy, ..] = hub.family().await;
    let login = hub.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    let token = login["data"]["token"].as_str().expect("a token").to_owned();
    let place = Place {
        server: hub.mqtts.expect("mqtts=ADDRESS"),
        connector: connector(certificate),
        login: (user, token),
        topics: format!("toy/{toy}/state"),
    };
    let tls = over_tls(hub.id(), place, few, many).await;
    Figures { tcp, tls }
}

async fn mosquitto(certificate: &Path, few: usize, many: usize) -> Figures {
    let broker = Broker::mosquitto();
    let tcp = over_tcp(broker.id(), broker.address, few, many).await;
    drop(broker);
    let (broker, server) = Broker::mosquitto_with_both(certificate);
    let (login, topics) = (("user".to_owned(), "password".to_owned()), "idle".to_owned());
    let place = Place { server, connector: connector(certificate), login, topics };
    let tls = over_tls(broker.id(), place, few, many).await;
    Figures { tcp, tls }
}

/// Without tickets: each handshake is a full one.
fn connector(certificate: &Path) -> TlsConnector {
    let mut config = (**secure::connector(certificate).config()).clone();
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// A listener over TLS, and its clients.
#[derive(Clone)]
struct Place {
    server: std::net::SocketAddr,
    connector: TlsConnector,
    login: (String, String),
    /// Where the topic of each client begins.
    topics: String,
}

async fn over_tcp(process: u32, server: std::net::SocketAddr, few: usize, many: usize) -> [f64; 2] {
    let mut idle = Idle::new();
    idle.grow(server, few / FIRST).await;
    let before = at_rest(process).await;
    let mut figures = [0.0; 2];
    for (count, figure) in [few, many].into_iter().zip(&mut figures) {
        idle.grow(server, count).await;
        *figure = each(before, at_rest(process).await, count - few / FIRST);
    }
    figures
}

async fn over_tls(process: u32, place: Place, few: usize, many: usize) -> [f64; 2] {
    let open = |number: usize, from| {
        let Place { server, connector, login: (name, password), topics } = place.clone();
        async move {
            let stream = load::open(server, from).await.expect("a connection");
            let stream = connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await;
            let login = Some((&name[..], &password[..]));
            let client = Client::enter(stream.expect("tls"), &format!("idle{number}"), login).await;
            let mut client = client.expect("a login");
            client.subscribe(&format!("{topics}/{number}"), 1).await;
            client
        }
    };
    let mut clients = Vec::new();
    grow(&mut clients, few / FIRST, &open).await;
    let before = at_rest(process).await;
    let mut figures = [0.0; 2];
    for (count, figure) in [few, many].into_iter().zip(&mut figures) {
        grow(&mut clients, count, &open).await;
        *figure = each(before, at_rest(process).await, count - few / FIRST);
    }
    figures
}

fn each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count as f64 / 1000.0
}

/// The anonymous memory of a process, once it changes no more.
async fn at_rest(process: u32) -> u64 {
    let began = tokio::time::Instant::now();
    let mut last = memory_of(process, "RssAnon");
    loop {
        sleep(REST).await;
        let now = memory_of(process, "RssAnon");
        if now.abs_diff(last) <= STEADY_BYTES || began.elapsed() > PATIENCE {
            return now;
        }
        last = now;
    }
}
