//! Clients behind proxies: limits apply to the clients' own addresses, if a trusted proxy names them.
//!
//! The trusted proxies are 127.0.0.2 and 127.0.0.3; all other addresses are untrusted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::mqtt::{V4, connect};
use crate::transport::{TLS, connector_with, tls_folder};
use crate::world::{Toy, World, within};

const PROXIES: (&str, &str) = ("TOYHUB_NET__PROXIES", "127.0.0.2, 127.0.0.3/32, fd00::/8");
const MQTT: &[(&str, &str)] = &[PROXIES, ("TOYHUB_MQTT__PROXY_PROTOCOL", "true")];
const HTTP: &[(&str, &str)] = &[PROXIES, ("TOYHUB_HTTP__FORWARDED_HEADER", "x-forwarded-for")];
const PROXY: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 9];

/// A connection that comes from an address of this machine.
pub async fn from(source: [u8; 4], hub: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(source), 0).into()).unwrap();
    within("a connection", socket.connect(hub)).await.unwrap()
}

/// The PROXY header for a client, in version 1 or 2.
fn header(client: &str, is_second: bool) -> Vec<u8> {
    let client: IpAddr = client.parse().unwrap();
    let hub: IpAddr = if client.is_ipv4() { "10.0.0.1".parse().unwrap() } else { "::1".parse().unwrap() };
    let header = ProxyHeader::with_address(ProxiedAddress::stream((client, 4711).into(), (hub, 1883).into()));
    let mut bytes = Vec::new();
    if is_second { header.encode_v2(&mut bytes) } else { header.encode_v1(&mut bytes) }.unwrap();
    bytes
}

/// Connects a toy after this header; returns whether it was accepted, and the connection.
pub async fn enter<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, header: &[u8], id: &str, toy: &Toy) -> (bool, S) {
    let hello = [header, &connect(V4, id, &toy.device_key, &toy.secret)].concat();
    // A hub that refuses may have closed already.
    let _ = socket.write_all(&hello).await;
    let mut answer = [0; 4];
    let is_in = within("an answer", socket.read_exact(&mut answer)).await.is_ok() && answer == [0x20, 2, 0, 0];
    (is_in, socket)
}

/// The whole answer up to the end of the connection.
async fn answer(mut socket: TcpStream, bytes: &[u8]) -> String {
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_the_address_that_the_proxy_names() {
    let world = World::start_with(&[MQTT, &[("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "2")]].concat()).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut kept = Vec::new();
    for (number, (client, expected)) in [
        ("192.0.2.1", true),
        ("192.0.2.1", true),
        ("192.0.2.1", false),
        ("192.0.2.2", true),
        ("::ffff:192.0.2.1", false),
        ("2001:db8:0:7::1", true),
        ("2001:db8:0:7::2", true),
        ("2001:db8:0:7:8000::3", false),
        ("2001:db8:0:8::1", true),
    ]
    .into_iter()
    .enumerate()
    {
        let socket = from(PROXY, world.mqtt_addr()).await;
        let (is_in, socket) = enter(socket, &header(client, number % 2 == 0), &format!("c{number}"), &toy).await;
        assert_eq!(is_in, expected, "{number}: {client}");
        kept.push(socket);
    }
    // The proxy's own connections and those of strangers are counted by their own address.
    let (is_in, _own) = enter(from(PROXY, world.mqtt_addr()).await, b"PROXY UNKNOWN\r\n", "own", &toy).await;
    assert!(is_in);
    let (is_in, _stranger) = enter(from(STRANGER, world.mqtt_addr()).await, b"", "stranger", &toy).await;
    assert!(is_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_applies_to_the_client_and_not_to_its_proxy() {
    let settings = [("TOYHUB_MQTT__FLAPPING_MAX", "4"), ("TOYHUB_MQTT__FLAPPING_BAN_S", "600")];
    let world = World::start_with(&[MQTT, &settings].concat()).await;
    let toy = world.bound_toy("Fluffy").await;
    let good =
        async |client: &str| enter(from(PROXY, world.mqtt_addr()).await, &header(client, true), client, &toy).await.0;
    assert!(good("2001:db8::1").await);
    within("the ban", async {
        while good("2001:db8::1").await {
            let bad = [header("2001:db8::2", false), b"nonsense".to_vec()].concat();
            assert_eq!(answer(from(PROXY, world.mqtt_addr()).await, &bad).await, "");
        }
    })
    .await;
    assert!(good("2001:db8:0:1::1").await && good("192.0.2.1").await, "others behind the same proxy");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_headers_of_trusted_proxies_are_accepted() {
    let settings = [
        ("TOYHUB_NET__HANDSHAKE_TIMEOUT_S", "1"),
        ("TOYHUB_HTTP__PROXY_PROTOCOL", "true"),
        ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0, [::1]:0"),
        ("TOYHUB_SERVER__LOG", "info"),
    ];
    let world = World::start_with(&[MQTT, &settings].concat()).await;
    let toy = world.bound_toy("Fluffy").await;
    let get = b"GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
    let http =
        async |source, header: &[u8]| answer(from(source, world.http_addr()).await, &[header, get].concat()).await;
    for is_second in [false, true] {
        for client in ["192.0.2.1", "2001:db8::1"] {
            let header = header(client, is_second);
            assert!(http(PROXY, &header).await.starts_with("HTTP/1.1 200 "));
            let refused = http(STRANGER, &header).await;
            assert!(refused.starts_with("HTTP/1.1 400 "), "{refused:?}");
            let (is_in, _) = enter(from(STRANGER, world.mqtt_addr()).await, &header, "forged", &toy).await;
            assert!(!is_in, "a stranger's header");
            // Cut in the middle: the connection ends by the client, or by the timeout.
            for length in [1, 14, header.len() / 2, header.len() - 1] {
                assert_eq!(http_cut(&world, &header[..length]).await, "", "{length}");
            }
        }
    }
    // A stranger on IPv6.
    let v6 = TcpStream::connect(v6_addr(&world)).await.unwrap();
    let refused = answer(v6, &[&header("2001:db8::1", false)[..], get].concat()).await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused:?}");
    let v6 = TcpStream::connect(v6_addr(&world)).await.unwrap();
    assert!(answer(v6, get).await.starts_with("HTTP/1.1 200 "));
    // A proxy that sends no header.
    assert_eq!(http(PROXY, b"").await, "");
    let (is_in, _) = enter(from(PROXY, world.mqtt_addr()).await, b"", "bare", &toy).await;
    assert!(!is_in);
    assert!(http(STRANGER, b"").await.starts_with("HTTP/1.1 200 "), "others are served");
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("without a good PROXY header refused") && log.contains("127.0.0.2"), "{log}");
}

/// A proxy that sends a part of a header and then nothing until the timeout.
async fn http_cut(world: &World, part: &[u8]) -> String {
    answer(from(PROXY, world.http_addr()).await, part).await
}

/// The second address of HTTP.
fn v6_addr(world: &World) -> SocketAddr {
    world.addresses("http=")[1]
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_behind_the_header_of_a_proxy() {
    let world = World::start_in(tls_folder(), &[TLS, MQTT].concat()).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut socket = from(PROXY, world.mqtts_addr()).await;
    socket.write_all(&header("192.0.2.1", true)).await.unwrap();
    let connector = connector_with(&world.folder().join("ca.pem"), ALL_VERSIONS, &[]);
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = within("tls", connector.connect(name, socket)).await.unwrap();
    stream.write_all(&connect(V4, "a", &toy.device_key, &toy.secret)).await.unwrap();
    let mut connack = [0; 4];
    within("CONNACK", stream.read_exact(&mut connack)).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
}

/// The answer to a request with these headers.
async fn request(world: &World, source: [u8; 4], headers: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n{headers}\r\n{body}"
    );
    answer(from(source, world.http_addr()).await, text.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_count_for_the_client_that_a_proxy_names() {
    let world =
        World::start_with(&[HTTP, &[("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "3")]].concat()).await;
    let login = async |source, headers: &str, name: &str| {
        let body = json!({"username": name, "password": "wrong"}).to_string();
        let answer = request(&world, source, headers, "/login", &body).await;
        match answer.as_str() {
            text if text.contains("\"code\":11") => "too many",
            text if text.contains("\"code\":1,") => "wrong",
            text => panic!("{text}"),
        }
    };
    let by = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    // One household: the addresses of one /64, with forged addresses before that of the proxy.
    for n in 0..4 {
        let forged = by(&format!("10.9.8.{n}, 2001:db8::{n}"));
        assert_eq!(login(PROXY, &forged, &format!("a{n}")).await, "wrong");
    }
    assert_eq!(login(PROXY, &by("2001:db8::99"), "a").await, "too many");
    assert_eq!(login(PROXY, &by("10.9.8.7,2001:db8::99"), "a").await, "too many", "forged");
    assert_eq!(login(PROXY, &by("2001:db8::99, 127.0.0.3"), "a").await, "too many", "two proxies");
    assert_eq!(login(PROXY, &by("2001:db8:0:1::1"), "a").await, "wrong", "another household");
    // A header from an untrusted address has no effect on it or on others.
    for n in 0..4 {
        assert_eq!(login(STRANGER, &by(&format!("192.0.2.{n}")), &format!("b{n}")).await, "wrong");
    }
    assert_eq!(login(STRANGER, &by("192.0.2.77"), "b").await, "too many");
    assert_eq!(login(PROXY, &by("192.0.2.1"), "c").await, "wrong");
    // The header that the configuration does not name is ignored.
    assert_eq!(login(PROXY, "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 2001:db8::5\r\n", "d").await, "too many");
    for headers in [by("nobody"), by("192.0.2.1, "), by("\u{fc}ber")] {
        let refused = request(&world, PROXY, &headers, "/login", "{}").await;
        assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("malformed"), "{headers}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_through_a_proxy_are_limited_for_each_client() {
    let settings = [("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "2")];
    let world = World::start_with(&[PROXIES, ("TOYHUB_HTTP__FORWARDED_HEADER", "forwarded"), settings[0]]).await;
    let open = async |client: &str| {
        let mut socket = from(PROXY, world.http_addr()).await;
        let text = format!(
            "GET /ws HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nForwarded: {client}\r\n\r\n"
        );
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        within("an answer", socket.read_exact(&mut head)).await.unwrap();
        (String::from_utf8(head.to_vec()).unwrap(), socket)
    };
    let opened = async |client| {
        let (head, socket) = open(client).await;
        assert_eq!(head, "HTTP/1.1 101", "{client}");
        socket
    };
    let first = opened("for=192.0.2.1").await;
    let _second = opened("for=\"192.0.2.1:4711\";proto=https").await;
    assert_eq!(open("for=192.0.2.1").await.0, "HTTP/1.1 429");
    let _others = [opened("for=192.0.2.2").await, opened("for=\"[2001:db8::1]\"").await, opened("for=unknown").await];
    drop(first);
    within("the place to be free", async { while open("for=192.0.2.1").await.0 != "HTTP/1.1 101" {} }).await;
}
