//! The same load over TLS against toyhub and mosquitto, with one certificate.
//!
//! Clients of both log in with a name and a password. The hub checks them and the permission for each topic; mosquitto
//! accepts any client.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::brokers::Broker;
use super::hub::Hub;
use super::load::{self, Client, Group, Outcome};

const PAIRS: usize = 10;
/// Handshakes at once.
const ABREAST: usize = 8;

/// A broker's listener, and the credentials of its clients.
struct Place<'a> {
    address: SocketAddr,
    connector: TlsConnector,
    /// Name and password of publishers and of subscribers.
    logins: [(&'a str, &'a str); 2],
    /// The topics of publishers and the filters of subscribers.
    topics: String,
}

struct Figures {
    name: &'static str,
    full: f64,
    resumed: f64,
    qos0: Outcome,
    qos1: Outcome,
}

/// Measures both, and prints the ratios.
pub async fn run(program: &str, scale: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(program, folder.path());
    let hub = Hub::start(program.to_owned(), &settings(folder.path()));
    let [user, toy, key, secret] = hub.family().await;
    let login = hub.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    let token = login["data"]["token"].as_str().expect("a token");
    let (logins, topics) = ([(&key[..], &secret[..]), (&user[..], token)], format!("toy/{toy}/state"));
    let place = |address| Place { address, connector: connector(folder.path()), logins, topics: topics.clone() };
    let ours = measure("toyhub", &place(hub.mqtts.expect("mqtts=ADDRESS")), scale).await;
    drop(hub);
    let mosquitto = Broker::mosquitto_with_tls(folder.path());
    let theirs = measure(mosquitto.name, &place(mosquitto.address), scale).await;
    print(&ours, &theirs);
    assert_eq!(ours.qos1.lost, 0, "toyhub lost messages of QoS 1");
}

/// Makes a certificate, and its authority, in this folder.
pub fn certificate(program: &str, folder: &Path) {
    let mut make = Command::new(program);
    let made = make.current_dir(folder).args(["certificate", "localhost", "--out", "."]).output();
    assert!(made.expect("toyhub runs").status.success(), "a certificate");
}

/// The settings of a hub with this certificate, and with limits above the load.
pub fn settings(folder: &Path) -> Vec<(&'static str, String)> {
    let unlimited = || "4000000000".to_owned();
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        ("TOYHUB_MQTT__TLS_LISTEN", "127.0.0.1:0".into()),
        ("TOYHUB_NET__TLS_CERTIFICATE", file("hub.pem")),
        ("TOYHUB_NET__TLS_KEY", file("hub.key")),
        ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "50000".into()),
        ("TOYHUB_MQTT__FLAPPING_MAX", unlimited()),
        ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "1000".into()),
        ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", unlimited()),
    ]
}

/// Trusts the authority of this folder.
pub fn connector(folder: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(folder.join("ca.pem")).expect("the authority");
    roots.add(authority).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn open(address: SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("a socket");
    connector.connect(ServerName::try_from("localhost").expect("a name"), socket).await.expect("tls")
}

async fn measure(name: &'static str, place: &Place<'_>, scale: u64) -> Figures {
    eprintln!("{name} …");
    let span = Duration::from_millis(10_000 / scale);
    let (full, resumed) = (handshakes(place, false, span).await, handshakes(place, true, span).await);
    let qos0 = load::drive(groups(place, 0).await, 50_000 / scale, 0).await;
    let qos1 = load::drive(groups(place, 1).await, 20_000 / scale, 1).await;
    Figures { name, full, resumed, qos0, qos1 }
}

/// Clients that connect, log in and disconnect, one after the other in each of some tasks, for this time. Returns their
/// number in a second.
async fn handshakes(place: &Place<'_>, is_resumed: bool, span: Duration) -> f64 {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..ABREAST {
        let (address, mut config) = (place.address, (**place.connector.config()).clone());
        if !is_resumed {
            config.resumption = Resumption::disabled();
        }
        let connector = TlsConnector::from(Arc::new(config));
        tasks.spawn(async move {
            let mut count = 0u64;
            while began.elapsed() < span {
                let mut stream = open(address, &connector).await;
                // The tickets of TLS 1.3 are sent after the handshake; a refused packet makes the broker answer.
                let _ = stream.write_all(&[0xe0, 0]).await;
                let _ = stream.read(&mut [0; 16]).await;
                count += 1;
            }
            count
        });
    }
    let counts = tasks.join_all().await;
    counts.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64()
}

async fn groups(place: &Place<'_>, qos: u8) -> Vec<Group<TlsStream<TcpStream>>> {
    let [publishers, subscribers] = place.logins;
    let mut groups = Vec::new();
    for number in 0..PAIRS {
        let topic = format!("{}/{number}", place.topics);
        let enter = async |id: String, login| {
            let stream = open(place.address, &place.connector).await;
            Client::enter(stream, &id, Some(login)).await.expect("a login")
        };
        let mut subscriber = enter(format!("sub{number}-{qos}"), subscribers).await;
        subscriber.subscribe(&topic, qos).await;
        let publisher = enter(format!("pub{number}-{qos}"), publishers).await;
        groups.push(Group { topic, publisher, subscribers: vec![subscriber] });
    }
    groups
}

fn print(ours: &Figures, theirs: &Figures) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores shared by broker and load; 64-byte payloads; TLS 1.3, ECDSA P-256");
    println!("{:34}{:>12}{:>12}{:>14}", "", ours.name, theirs.name, "of mosquitto");
    let row = |name: &str, of: &dyn Fn(&Figures) -> f64| {
        let (our, their) = (of(ours), of(theirs));
        println!("{name:34}{our:>12.1}{their:>12.1}{:>14}", format!("{:.2}×", our / their));
    };
    row("full handshakes/s", &|figures| figures.full);
    row("resumed handshakes/s", &|figures| figures.resumed);
    row("10 pairs, QoS 0, messages/s", &|figures| figures.qos0.per_second);
    row("10 pairs, QoS 1, messages/s", &|figures| figures.qos1.per_second);
    for Figures { name, qos0, qos1, .. } in [ours, theirs] {
        println!("{name} lost: {} of QoS 0, {} of QoS 1", qos0.lost, qos1.lost);
    }
}
