//! Transports of MQTT: TLS, WebSocket, a Unix socket, the listener for conformance tests; and refused clients.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command as Program, Output};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use crate::mqtt::{V4, V5, connect, packet, text};
use crate::world::{Toy, World, within};

pub const TLS: &[(&str, &str)] = &[
    ("TOYHUB_MQTT__TLS_LISTEN", "127.0.0.1:0"),
    ("TOYHUB_NET__TLS_CERTIFICATE", "hub.pem"),
    ("TOYHUB_NET__TLS_KEY", "hub.key"),
    ("TOYHUB_MQTT__TLS_CLIENT_CA", "ca.pem"),
    ("TOYHUB_NET__TLS_RELOAD_INTERVAL_S", "1"),
];

fn openssl(folder: &Path, arguments: &str) {
    let output = Program::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `NAME.pem` and `NAME.key` of an authority.
pub fn make_ca(folder: &Path, name: &str) {
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(folder, &format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.pem"));
}

/// `NAME.pem` and `NAME.key`, signed by `ca`, for this machine.
pub fn make_certificate(folder: &Path, ca: &str, name: &str) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let sign = format!("x509 -req -days 2 -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -extfile names");
    openssl(folder, &format!("{sign} -in {name}.csr -out {name}.pem"));
}

/// A folder with the certificates of `TLS`.
pub fn tls_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    make_ca(folder.path(), "ca");
    make_certificate(folder.path(), "ca", "hub");
    folder
}

/// And with a valid client certificate, and one of another authority.
fn folder_with_clients() -> TempDir {
    let folder = tls_folder();
    make_certificate(folder.path(), "ca", "toy");
    make_ca(folder.path(), "stranger");
    make_certificate(folder.path(), "stranger", "fake");
    folder
}

async fn tls_world(settings: &[(&'static str, &'static str)]) -> World {
    World::start_in(tls_folder(), &[TLS, settings].concat()).await
}

/// A client that trusts one certificate.
pub fn connector_with(ca: &Path, versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub async fn open_tls(address: SocketAddr, ca: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let connector = connector_with(ca, ALL_VERSIONS, &[]);
    within("tls", connector.connect(ServerName::try_from("localhost").unwrap(), socket)).await
}

/// A packet: its first byte, and the bytes after its length (of one byte). None at the end.
async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let read = async {
        let kind = stream.read_u8().await.ok()?;
        let mut body = vec![0; usize::from(stream.read_u8().await.ok()?)];
        stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    };
    within("a packet", read).await
}

/// Sends CONNECT as the toy; returns whether it was accepted.
async fn is_let_in(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), toy: &Toy) -> bool {
    // A hub that refuses may have closed already.
    let _ = stream.write_all(&connect(V4, &toy.id, &toy.device_key, &toy.secret)).await;
    read_packet(stream).await == Some((0x20, vec![0, 0]))
}

/// `mosquitto_pub` over TLS, with more arguments.
async fn mosquitto_pub(world: &World, toy: &Toy, version: &str, more: &[&str]) -> Output {
    let mut command = Command::new("mosquitto_pub");
    command
        .current_dir(world.folder())
        .args(["-h", "localhost", "-p", &world.mqtts_addr().port().to_string(), "--cafile", "ca.pem", "-V", version])
        .args(["-u", &toy.device_key, "-P", &toy.secret, "-q", "1"])
        .args(["-t", &format!("toy/{}/state/battery", toy.id), "-m", version])
        .args(more);
    within("mosquitto_pub", command.output()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_work_over_tls() {
    let world = tls_world(&[]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let mut app = world.app(&owner).await;
    let topic = format!("toy/{}/state/battery", toy.id);
    app.send(serde_json::json!({"id": 2, "do": "subscribe", "topic": topic})).await;
    assert_eq!(app.frame().await["code"], 0);
    for version in ["mqttv311", "mqttv5"] {
        let output = mosquitto_pub(&world, &toy, version, &[]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(app.frame().await["payload"], version);
    }
    // Deliveries that TLS splits into records, the last of them without a further write.
    let mut listener = open_tls(world.mqtts_addr(), &world.folder().join("ca.pem")).await.unwrap();
    assert!(is_let_in(&mut listener, &toy).await);
    let filter = format!("toy/{}/cmd/+", toy.id);
    listener.write_all(&packet(0x82, &[&[0, 1][..], &text(&filter), &[0]].concat())).await.unwrap();
    assert_eq!(read_packet(&mut listener).await, Some((0x90, vec![0, 1, 0])));
    let topic = format!("toy/{}/cmd/volume", toy.id);
    let payload = "v".repeat(40_000);
    for id in 3..6 {
        app.send(serde_json::json!({"id": id, "do": "publish", "topic": topic, "payload": payload})).await;
        let mut delivered = vec![0; packet(0x30, &[text(&topic), payload.clone().into_bytes()].concat()).len()];
        within("the delivery", listener.read_exact(&mut delivered)).await.unwrap();
        assert!(delivered.ends_with(payload.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_checked() {
    let folder = folder_with_clients();
    let good = &["--cert", "toy.pem", "--key", "toy.key"];
    let fake = &["--cert", "fake.pem", "--key", "fake.key"];
    let required = [TLS, &[("TOYHUB_MQTT__TLS_CLIENT_CERTIFICATES", "required")]].concat();
    let world = World::start_in(folder, &required).await;
    let toy = world.bound_toy("Fluffy").await;
    assert!(mosquitto_pub(&world, &toy, "mqttv5", good).await.status.success());
    assert!(!mosquitto_pub(&world, &toy, "mqttv5", fake).await.status.success());
    assert!(!mosquitto_pub(&world, &toy, "mqttv5", &[]).await.status.success());

    let folder = folder_with_clients();
    let optional = [TLS, &[("TOYHUB_MQTT__TLS_CLIENT_CERTIFICATES", "optional")]].concat();
    let world = World::start_in(folder, &optional).await;
    let toy = world.bound_toy("Fluffy").await;
    assert!(mosquitto_pub(&world, &toy, "mqttv5", good).await.status.success());
    assert!(mosquitto_pub(&world, &toy, "mqttv5", &[]).await.status.success());
    assert!(!mosquitto_pub(&world, &toy, "mqttv5", fake).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_a_restart() {
    let world = tls_world(&[]).await;
    let toy = world.bound_toy("Fluffy").await;
    let (old, new) = (world.folder().join("ca.pem"), world.folder().join("next.pem"));
    let mut stays = open_tls(world.mqtts_addr(), &old).await.unwrap();
    assert!(is_let_in(&mut stays, &toy).await);
    make_ca(world.folder(), "next");
    assert!(open_tls(world.mqtts_addr(), &new).await.is_err(), "not yet");
    make_certificate(world.folder(), "next", "hub");
    within("the new certificate", async {
        while open_tls(world.mqtts_addr(), &new).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(open_tls(world.mqtts_addr(), &old).await.is_err(), "the old one is gone");
    stays.write_all(&[0xc0, 0]).await.unwrap();
    assert_eq!(read_packet(&mut stays).await, Some((0xd0, vec![])), "who is connected stays connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_in_the_handshake_block_no_others() {
    let world = tls_world(&[("TOYHUB_NET__HANDSHAKE_TIMEOUT_S", "3")]).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut stalled = Vec::new();
    for n in 0..50 {
        let mut socket = TcpStream::connect(world.mqtts_addr()).await.unwrap();
        // Nothing, or the head of a record that never comes.
        socket.write_all(&[0x16, 3, 1, 1, 0][..n % 6]).await.unwrap();
        stalled.push(socket);
    }
    let mut good = open_tls(world.mqtts_addr(), &world.folder().join("ca.pem")).await.unwrap();
    assert!(is_let_in(&mut good, &toy).await);
    for mut socket in stalled {
        let mut byte = [0];
        assert_eq!(within("the hub's patience", socket.read(&mut byte)).await.unwrap_or(0), 0);
    }
    good.write_all(&[0xc0, 0]).await.unwrap();
    assert_eq!(read_packet(&mut good).await, Some((0xd0, vec![])));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_listeners_are_one_line_each() {
    let world = tls_world(&[]).await;
    std::fs::write(world.folder().join("not-a-socket"), "precious").unwrap();
    let cases: [(&str, &str, &[&str]); 7] = [
        ("NET__TLS_CERTIFICATE", "", &["net.tls_certificate", "name a PEM file"]),
        ("NET__TLS_CERTIFICATE", "nowhere.pem", &["net.tls_certificate", "nowhere.pem", "cannot be read"]),
        ("NET__TLS_CERTIFICATE", "hub.key", &["net.tls_certificate", "no certificate"]),
        ("NET__TLS_KEY", "ca.key", &["net.tls_key", "name the readable PEM file"]),
        ("MQTT__CONFORMANCE_LISTEN", "0.0.0.0:0", &["mqtt.conformance_listen", "loopback"]),
        ("MQTT__CONFORMANCE_LISTEN", "[::]:0", &["mqtt.conformance_listen", "loopback"]),
        ("MQTT__UNIX_SOCKET", "not-a-socket", &["mqtt.unix_socket", "set another path"]),
    ];
    for (name, value, expected) in cases {
        let mut command = world.command(&["serve"]);
        let output = within("the program", command.env(format!("TOYHUB_{name}"), value).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{name}={value}");
        assert!(expected.iter().all(|part| message.contains(part)), "{name}={value}: {message}");
        assert_eq!(message.trim().lines().count(), 1, "{message}");
    }
    assert_eq!(std::fs::read(world.folder().join("not-a-socket")).unwrap(), b"precious");
}

async fn open_web(world: &World, protocol: Option<&str>) -> Result<WebSocketStream<TcpStream>, SocketError> {
    let mut request = format!("ws://{}/mqtt", world.http_addr()).into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    let socket = TcpStream::connect(world.http_addr()).await.unwrap();
    let (stream, response) = within("the handshake", tokio_tungstenite::client_async(request, socket)).await?;
    let agreed = response.headers().get("sec-websocket-protocol").map(|agreed| agreed.to_str().unwrap());
    let wanted = protocol.map(|wanted| wanted.split(", ").find(|wanted| wanted.starts_with("mqtt")).unwrap());
    assert_eq!(agreed, wanted);
    Ok(stream)
}

/// The expected number of bytes, over any number of messages.
async fn read_web(stream: &mut WebSocketStream<TcpStream>, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match within("a message", stream.next()).await.expect("ended").unwrap() {
            Message::Binary(part) => bytes.extend_from_slice(&part),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes.len(), count, "{bytes:?}");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_over_websocket_ignores_message_boundaries() {
    let mut world = World::start().await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let mut stream = open_web(&world, Some("chat, mqtt")).await.unwrap();
    for byte in connect(V5, &toy.id, &toy.device_key, &toy.secret) {
        stream.send(Message::binary(vec![byte])).await.unwrap();
    }
    let head = read_connack(&mut stream).await;
    assert_eq!(head, [0x20, 0, 0], "CONNACK");
    // Three packets in one message, the third of them cut.
    let filter = format!("toy/{}/cmd/+", toy.id);
    let subscribe = packet(0x82, &[&[0, 1, 0][..], &text(&filter), &[0]].concat());
    stream.send(Message::binary([&[0xc0, 0], &subscribe[..], &[0xc0]].concat())).await.unwrap();
    assert_eq!(read_web(&mut stream, 8).await, [0xd0, 0, 0x90, 4, 0, 1, 0, 0]);
    stream.send(Message::binary(vec![0])).await.unwrap();
    assert_eq!(read_web(&mut stream, 2).await, [0xd0, 0]);
    // A delivery that is larger than any buffer on the way.
    let mut app = world.app(&owner).await;
    let (topic, payload) = (format!("toy/{}/cmd/volume", toy.id), "v".repeat(50_000));
    app.send(serde_json::json!({"id": 3, "do": "publish", "topic": topic, "payload": payload})).await;
    let length = packet(0x30, &[text(&topic), vec![0], payload.clone().into_bytes()].concat()).len();
    assert!(read_web(&mut stream, length).await.ends_with(payload.as_bytes()));
    assert_eq!(world.stop().await, Some(0));
    let Some(Ok(Message::Binary(goodbye))) = within("DISCONNECT", stream.next()).await else { panic!("no DISCONNECT") };
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8b), "the hub stops");
    assert!(matches!(within("the close", stream.next()).await, Some(Ok(Message::Close(_)))));
}

/// The packet type, flags and code of a CONNACK, without its properties.
async fn read_connack(stream: &mut WebSocketStream<TcpStream>) -> [u8; 3] {
    let Message::Binary(bytes) = within("CONNACK", stream.next()).await.unwrap().unwrap() else { panic!("no bytes") };
    assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
    [bytes[0], bytes[2], bytes[3]]
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_over_websocket_accepts_only_mqtt() {
    let world = World::start_with(&[("TOYHUB_MQTT__PACKET_MAX_BYTES", "1000")]).await;
    for protocol in [None, Some("mqttv3.1"), Some("mqttv3.1, mqtt"), Some("chat, mqtt")] {
        let mut stream = open_web(&world, protocol).await.unwrap();
        stream.send(Message::binary(connect(V4, "a", "nobody", "wrong"))).await.unwrap();
        assert_eq!(read_connack(&mut stream).await, [0x20, 0, 4], "{protocol:?}");
    }
    for (message, code) in [(Message::text("hello"), 1003), (Message::binary(vec![0; 2001]), 1009)] {
        let mut stream = open_web(&world, Some("mqtt")).await.unwrap();
        stream.send(message).await.unwrap();
        let closed = within("the close", stream.next()).await.unwrap().unwrap();
        assert!(matches!(closed, Message::Close(Some(close)) if u16::from(close.code) == code), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_this_machine_use_a_unix_socket() {
    let mut world = World::start_with(&[("TOYHUB_MQTT__UNIX_SOCKET", "mqtt.sock")]).await;
    let toy = world.bound_toy("Fluffy").await;
    let path = world.folder().join("mqtt.sock");
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert!(is_let_in(&mut stream, &toy).await);
    let second = within("a second hub", world.command(&["serve"]).output()).await.unwrap();
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && message.contains("mqtt.unix_socket: mqtt.sock is in use"), "{message}");
    world.kill().await;
    assert!(path.exists(), "abandoned");
    world.start_hub().await;
    assert!(is_let_in(&mut UnixStream::connect(&path).await.unwrap(), &toy).await);
    assert_eq!(world.stop().await, Some(0));
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_connections_fail_is_banned_for_a_while() {
    let world = World::start_with(&[
        ("TOYHUB_MQTT__FLAPPING_MAX", "5"),
        ("TOYHUB_MQTT__FLAPPING_BAN_S", "2"),
        ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0"),
    ])
    .await;
    let toy = world.bound_toy("Fluffy").await;
    let good = async |address| is_let_in(&mut TcpStream::connect(address).await.unwrap(), &toy).await;
    let mut stays = TcpStream::connect(world.mqtt_addr()).await.unwrap();
    assert!(is_let_in(&mut stays, &toy).await);
    let mut others = Vec::new();
    for n in 0..5 {
        let mut socket = TcpStream::connect(world.mqtt_addr()).await.unwrap();
        let other = Toy { id: format!("other{n}"), ..toy.clone() };
        assert!(is_let_in(&mut socket, &other).await);
        socket.write_all(&[0xe0, 0]).await.unwrap();
        others.push(socket);
    }
    for mut socket in others {
        assert_eq!(read_packet(&mut socket).await, None);
    }
    assert!(good(world.mqtt_addr()).await, "who says goodbye does not flap");
    within("the ban", async {
        loop {
            let mut socket = TcpStream::connect(world.mqtt_addr()).await.unwrap();
            let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
            assert_eq!(read_packet(&mut socket).await, None);
            if !good(world.mqtt_addr()).await {
                break;
            }
        }
    })
    .await;
    assert!(good(world.conformance_addr()).await, "conformance tests are not counted");
    within("the end of the ban", async { while !good(world.mqtt_addr()).await {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_toy_takes_nothing_from_the_others_at_its_address() {
    let world = World::start_with(&[
        ("TOYHUB_MQTT__FLAPPING_MAX", "20"),
        ("TOYHUB_MQTT__FLAPPING_PER_NAME_MAX", "10"),
        ("TOYHUB_MQTT__FLAPPING_BAN_S", "600"),
        ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "60"),
        ("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "30"),
        ("TOYHUB_RATES__REFUSED_CONNECTS_PER_PARTY_PER_MINUTE", "12"),
    ])
    .await;
    let owner = world.user("mia").await;
    let (toy, other) = (world.toy(&owner, "Fluffy").await, world.toy(&owner, "Rex").await);
    let broken = Toy { secret: "of another hub".into(), ..toy };
    for _ in 0..200 {
        let mut socket = TcpStream::connect(world.mqtt_addr()).await.unwrap();
        assert!(!is_let_in(&mut socket, &broken).await);
    }
    let mut socket = TcpStream::connect(world.mqtt_addr()).await.unwrap();
    assert!(is_let_in(&mut socket, &other).await);
}
