//! TLS for all protocols, with real clients; and other bytes at TLS ports.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use futures_util::{SinkExt as _, StreamExt as _};

use crate::clients::{script, succeeds};
use crate::mqtt::{V5, connect, packet, publish, text};
use crate::transport::{TLS, connector_with, make_ca, make_certificate, open_tls, tls_folder};
use crate::world::{App, Toy, World, within};

/// TLS of HTTP and of MQTT.
const ALL: &[(&str, &str)] = &[("TOYHUB_HTTP__TLS_LISTEN", "127.0.0.1:0")];

async fn world(settings: &[(&'static str, &'static str)]) -> World {
    World::start_in(tls_folder(), &[TLS, ALL, settings].concat()).await
}

async fn curl(world: &World, arguments: &[&str], path: &str) -> Output {
    let url = format!("https://localhost:{}{path}", world.https_addr().port());
    let mut command = Command::new("curl");
    command.current_dir(world.folder()).args(["--silent", "--show-error", "--cacert", "ca.pem"]);
    within("curl", command.args(arguments).arg(url).output()).await.unwrap()
}

/// A WebSocket over TLS.
async fn socket(world: &World, path: &str, headers: &[(&'static str, &str)]) -> WebSocketStream<TlsStream<TcpStream>> {
    let stream = open_tls(world.https_addr(), &world.folder().join("ca.pem")).await.unwrap();
    let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    within("the handshake", client_async(request, stream)).await.unwrap().0
}

async fn frame(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> Value {
    loop {
        match within("a frame", socket.next()).await.expect("the socket ended").unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(close) => panic!("closed: {close:?}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_served_over_tls_one_two_and_one_three() {
    let world = world(&[]).await;
    let mia = world.user("mia").await;
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let body = json!({"username": "mia", "password": "correct horse"}).to_string();
        let call = [version, &["--json", &body]].concat();
        let output = curl(&world, &call, "/login").await;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["data"]["_id"], mia.id, "{answer} {}", String::from_utf8_lossy(&output.stderr));
        // Two requests on one connection.
        let again = format!("https://localhost:{}/healthz", world.https_addr().port());
        let output = curl(&world, &[version, &["--verbose", &again]].concat(), "/healthz").await;
        let (answers, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(answers.matches("\"ok\":true").count(), 2, "{answers}");
        assert!(log.contains("Re-using existing connection"), "{log}");
    }
    let stranger = curl(&world, &["--cacert", "/etc/ssl/certs/ca-certificates.crt"], "/healthz").await;
    assert!(!stranger.status.success(), "the certificate is not one of a public authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sockets_are_served_over_tls() {
    let world = world(&[]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;

    let mut app = socket(&world, "/ws", &[("authorization", &format!("Bearer {}", owner.token))]).await;
    assert_eq!(frame(&mut app).await["type"], "welcome");
    let topic = format!("toy/{}/state/battery", toy.id);
    app.send(Message::text(json!({"id": 1, "do": "subscribe", "topic": topic}).to_string())).await.unwrap();
    assert_eq!(frame(&mut app).await["code"], 0);

    let mut mqtt = socket(&world, "/mqtt", &[("sec-websocket-protocol", "mqtt")]).await;
    let publish = packet(0x30, &[&text(&topic)[..], &[0], b"80"].concat());
    mqtt.send(Message::binary([connect(V5, &toy.id, &toy.device_key, &toy.secret), publish].concat())).await.unwrap();
    let Some(Ok(Message::Binary(connack))) = within("CONNACK", mqtt.next()).await else { panic!("no CONNACK") };
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    assert_eq!(frame(&mut app).await["payload"], "80");

    let mut ears = socket(&world, &format!("/toy/{}", toy.id), &[]).await;
    let bearer = format!("Bearer {}", owner.token);
    let mut phone = socket(&world, &format!("/app/{}", owner.id), &[("authorization", &bearer)]).await;
    phone.send(Message::text(json!({"to_user": toy.id, "music": "Success.mp3"}).to_string())).await.unwrap();
    assert_eq!(frame(&mut ears).await["music"], "Success.mp3");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_large_downloads_work_over_tls() {
    let world = world(&[("TOYHUB_HTTP__TLS_RECORD_MAX_BYTES", "2048")]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    std::fs::write(world.folder().join("hello.wav"), crate::sound::wav()).unwrap();
    let (from, to) = (format!("user_id={}", owner.id), format!("to_user={}", toy.id));
    let form = ["--form", "record=@hello.wav;type=audio/wav", "--form", &from, "--form", &to, "--form", "app=app"];
    let output = curl(&world, &form, "/app_uploader").await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["code"], 0, "{answer}");
    let file = format!("/get_chat/{}", answer["data"]["filename"].as_str().unwrap());
    let (secure, plain) = (curl(&world, &[], &file).await, world.client().get(format!("{}{file}", world.http())));
    let plain = within("the file", plain.send()).await.unwrap().bytes().await.unwrap();
    assert!(plain.len() > 4096 && secure.stdout == plain, "{} {}", plain.len(), secure.stdout.len());
}

/// Reads the server's answer to plain text.
async fn send_plain(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A refused client may get a reset.
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_at_a_tls_port_gets_a_readable_answer() {
    let world = world(&[]).await;
    let mut stays = open_tls(world.https_addr(), &world.folder().join("ca.pem")).await.unwrap();
    for address in [world.https_addr(), world.mqtts_addr()] {
        for request in
            ["GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n", "POST /login HTTP/1.0\r\n\r\n", "PROXY TCP4 1.2.3.4"]
        {
            let answer = send_plain(address, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
            assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https://"), "{answer:?}");
        }
        // Neither HTTP nor TLS: an MQTT client without TLS, a PROXY header of version 2.
        for bytes in [&connect(V5, "a", "b", "c")[..], b"\r\n\r\n\0\r\nQUIT\n"] {
            assert!(!send_plain(address, bytes).await.contains("HTTP"));
        }
    }
    let url = format!("http://localhost:{}/healthz", world.https_addr().port());
    let output = within("curl", Command::new("curl").args(["--silent", &url]).output()).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("TLS alone"), "{output:?}");
    stays.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    within("an answer", stays.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK", "others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_at_a_plain_port_fails_at_once() {
    let world = world(&[]).await;
    let toy = world.bound_toy("Fluffy").await;
    for address in [world.http_addr(), world.mqtt_addr()] {
        assert!(open_tls(address, &world.folder().join("ca.pem")).await.is_err());
    }
    assert_eq!(world.watch("/healthz").await.0, 200);
    let mut raw = crate::mqtt::Raw::open(world.mqtt_addr()).await;
    raw.send(&connect(V5, &toy.id, &toy.device_key, &toy.secret)).await;
    assert_eq!(raw.packet().await.0, 0x20);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_another_alpn_protocol_are_refused() {
    let world = world(&[]).await;
    let ca = world.folder().join("ca.pem");
    let open = async |address, alpn: &[&[u8]]| {
        let connector = connector_with(&ca, &[&TLS12, &TLS13], alpn);
        let socket = TcpStream::connect(address).await.unwrap();
        let opened = within("tls", connector.connect(ServerName::try_from("localhost").unwrap(), socket)).await;
        opened.map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    // The protocols that a client offers, and the chosen one, if it is served.
    type Case<'a> = (SocketAddr, &'a [&'a [u8]], Option<Option<&'a [u8]>>);
    let cases: [Case<'_>; 7] = [
        (world.https_addr(), &[], Some(None)),
        (world.https_addr(), &[b"h2", b"http/1.1"], Some(Some(b"http/1.1"))),
        (world.https_addr(), &[b"h2"], None),
        (world.https_addr(), &[b"mqtt"], None),
        (world.mqtts_addr(), &[], Some(None)),
        (world.mqtts_addr(), &[b"mqtt"], Some(Some(b"mqtt"))),
        (world.mqtts_addr(), &[b"http/1.1"], None),
    ];
    for (address, alpn, expected) in cases {
        match (open(address, alpn).await, expected) {
            (Ok(agreed), Some(expected)) => assert_eq!(agreed.as_deref(), expected, "{alpn:?}"),
            (Err(error), None) => assert!(error.to_string().contains("NoApplicationProtocol"), "{error}"),
            (opened, expected) => panic!("{alpn:?}: {opened:?}, expected {expected:?}"),
        }
    }
    let address = world.https_addr().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-alpn", "h2", "-brief"]).stdin(std::process::Stdio::null());
    let output = within("openssl", command.output()).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no application protocol"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_handshake_blocks_no_others_and_times_out() {
    let world = world(&[("TOYHUB_NET__HANDSHAKE_TIMEOUT_S", "2")]).await;
    let mut stalled = Vec::new();
    for n in 0..40 {
        let mut socket = TcpStream::connect(world.https_addr()).await.unwrap();
        socket.write_all(&[0x16, 3, 1, 1, 0][..n % 6]).await.unwrap();
        stalled.push(socket);
    }
    assert!(curl(&world, &[], "/healthz").await.status.success());
    for mut socket in stalled {
        assert_eq!(within("the hub's patience", socket.read(&mut [0])).await.unwrap_or(0), 0);
    }
}

/// The `live` folder of an ACME client: names that are links to the files of the day.
fn renew(folder: &Path, ca: &str, number: u32) {
    make_ca(folder, ca);
    make_certificate(folder, ca, &format!("hub{number}"));
    for extension in ["pem", "key"] {
        let (link, fresh) = (folder.join(format!("live.{extension}")), folder.join("fresh"));
        std::os::unix::fs::symlink(format!("hub{number}.{extension}"), &fresh).unwrap();
        std::fs::rename(fresh, link).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_an_acme_client_renews_is_picked_up() {
    let folder = tls_folder();
    renew(folder.path(), "first", 1);
    let live = [("TOYHUB_NET__TLS_CERTIFICATE", "live.pem"), ("TOYHUB_NET__TLS_KEY", "live.key")];
    let world = World::start_in(folder, &[TLS, ALL, &live].concat()).await;
    let (first, second) = (world.folder().join("first.pem"), world.folder().join("second.pem"));
    for address in [world.https_addr(), world.mqtts_addr()] {
        open_tls(address, &first).await.unwrap();
    }
    renew(world.folder(), "second", 2);
    for address in [world.https_addr(), world.mqtts_addr()] {
        within("the new certificate", async {
            while open_tls(address, &second).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        assert!(open_tls(address, &first).await.is_err(), "the earlier one is gone");
    }
}

/// A socket that measures the TLS records that it receives.
struct Recorder {
    socket: TcpStream,
    /// Received bytes that are not parsed yet, and the size of the largest record with its header.
    seen: Arc<Mutex<(Vec<u8>, usize)>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let mut seen = self.seen.lock().unwrap();
        let (bytes, largest) = &mut *seen;
        bytes.extend_from_slice(&buffer.filled()[before..]);
        while let Some(length) =
            bytes.get(3..5).map(|length| 5 + usize::from(u16::from_be_bytes([length[0], length[1]])))
        {
            if bytes.len() < length {
                break;
            }
            *largest = (*largest).max(length);
            bytes.drain(..length);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_to_a_small_device_fit_its_buffer() {
    let world = world(&[("TOYHUB_MQTT__TLS_RECORD_MAX_BYTES", "1024")]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let mut app = world.app(&owner).await;
    let topic = format!("toy/{}/cmd/volume", toy.id);
    for version in [&TLS12, &TLS13] {
        let seen = Arc::new(Mutex::new((Vec::new(), 0)));
        let socket = TcpStream::connect(world.mqtts_addr()).await.unwrap();
        let recorder = Recorder { socket, seen: Arc::clone(&seen) };
        let connector = connector_with(&world.folder().join("ca.pem"), &[version], &[b"mqtt"]);
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = within("tls", connector.connect(name, recorder)).await.unwrap();
        let subscribe = packet(0x82, &[&[0, 1, 0][..], &text(&topic), &[0]].concat());
        let hello = connect(V5, &toy.id, &toy.device_key, &toy.secret);
        stream.write_all(&[hello, subscribe].concat()).await.unwrap();
        let mut received = Vec::new();
        let suback = packet(0x90, &[0, 1, 0, 0]);
        let read = async |stream: &mut TlsStream<Recorder>, received: &mut Vec<u8>, end: &[u8]| {
            while !received.ends_with(end) {
                assert_ne!(stream.read_buf(received).await.unwrap(), 0, "ended");
            }
        };
        within("SUBACK", read(&mut stream, &mut received, &suback)).await;
        let payload = "v".repeat(40_000) + "end";
        app.send(json!({"id": 9, "do": "publish", "topic": topic, "payload": payload})).await;
        within("the delivery", read(&mut stream, &mut received, b"end")).await;
        let largest = seen.lock().unwrap().1;
        assert!((900..=1024).contains(&largest), "{version:?}: a record of {largest} bytes");
    }
}

/// `openssl s_client` as a device with buffers of 4 KiB: it asks for fragments of 4096 bytes and sends those of 512.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_with_small_buffers_sends_and_receives_large_messages() {
    let world = world(&[]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let mut app = world.app(&owner).await;
    app.send(json!({"id": 8, "do": "subscribe", "topic": format!("toy/{}/state/text", toy.id)})).await;
    assert_eq!(app.answer(8).await["code"], 0);
    for version in ["-tls1_2", "-tls1_3"] {
        let records = world.folder().join(format!("records{version}"));
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-nocommands", "-servername", "localhost", "-maxfraglen", "4096"])
            .args(["-max_send_frag", "512", version, "-msg", "-msgfile", records.to_str().unwrap()])
            .args(["-connect", &world.mqtts_addr().to_string(), "-CAfile"])
            .arg(world.folder().join("ca.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let _input = large_message_each_way(&toy, &mut app, &mut client, version).await;
        let log = std::fs::read_to_string(&records).unwrap();
        let mut lines = log.lines();
        let mut lengths = Vec::new();
        while let Some(line) = lines.next() {
            if line.starts_with("<<<") && line.contains("RecordHeader") {
                let bytes: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
                lengths.push(5 + usize::from_str_radix(&bytes[3..5].concat(), 16).unwrap());
            }
        }
        let largest = lengths.iter().max().unwrap();
        assert!((3500..=4096).contains(largest), "{version}: a record of {largest} bytes");
    }
}

/// A toy whose MQTT connection is the standard streams of `client` publishes a state of 30 KB to its app, and gets a
/// command of 40 KB. Returns the input, whose end ends the connection.
async fn large_message_each_way(toy: &Toy, app: &mut App, client: &mut Child, name: &str) -> ChildStdin {
    let (command, state) = (format!("toy/{}/cmd/text", toy.id), format!("toy/{}/state/text", toy.id));
    let (mut input, mut output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let subscribe = packet(0x82, &[&[0, 1, 0][..], &text(&command), &[0]].concat());
    let hello = connect(V5, &toy.id, &toy.device_key, &toy.secret);
    input.write_all(&[hello, subscribe].concat()).await.unwrap();
    let mut received = Vec::new();
    let mut read_until = async |end: &[u8]| {
        let read = async {
            while !received.ends_with(end) {
                assert_ne!(output.read_buf(&mut received).await.unwrap(), 0, "{name}: ended");
            }
        };
        within("the bytes from the client", read).await;
    };
    read_until(&packet(0x90, &[0, 1, 0, 0])).await;
    let sent = format!("{name}{}", "s".repeat(30_000));
    input.write_all(&publish(V5, 0x32, &state, 7, sent.as_bytes())).await.unwrap();
    read_until(&packet(0x40, &[0, 7])).await;
    within("the state", async { while app.frame().await["payload"] != sent {} }).await;
    let payload = "v".repeat(40_000) + "end";
    app.send(json!({"id": 9, "do": "publish", "topic": command, "payload": payload})).await;
    read_until(b"end").await;
    input
}

/// mbedTLS, as a device asks for small fragments. The hub ignores the wish, as it may (RFC 6066 §4), and its records fit
/// the smallest buffer that devices with the default of this library are built with.
#[tokio::test(flavor = "multi_thread")]
async fn mbedtls_that_asks_for_small_fragments_sends_and_receives_large_messages() {
    let world = world(&[]).await;
    let program = world.folder().join("mbedtls_client");
    let mut compiler = Command::new("cc");
    compiler.arg("-o").arg(&program).arg(script("mbedtls_client.c")).args(["-lmbedtls", "-lmbedx509", "-lmbedcrypto"]);
    succeeds(compiler).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let mut app = world.app(&owner).await;
    app.send(json!({"id": 8, "do": "subscribe", "topic": format!("toy/{}/state/text", toy.id)})).await;
    assert_eq!(app.answer(8).await["code"], 0);
    for fragment in ["512", "1024", "2048", "4096"] {
        let mut client = Command::new(&program)
            .arg(world.mqtts_addr().port().to_string())
            .arg(world.folder().join("ca.pem"))
            .arg(fragment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        drop(large_message_each_way(&toy, &mut app, &mut client, fragment).await);
        let ended = within("the client's end", client.wait_with_output()).await.unwrap();
        let lines = String::from_utf8(ended.stderr).unwrap();
        let largest: usize = lines.trim_end().rsplit(' ').next().unwrap().parse().expect(&lines);
        assert!(ended.status.success() && (3500..=4096).contains(&largest), "{fragment}: {lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_command_line_is_served_and_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(env!("CARGO_BIN_EXE_toyhub"));
    make.current_dir(folder.path()).args(["certificate", "toys.example", "10.1.2.3"]);
    let printed = within("the program", make.output()).await.unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    // Its printed keys are used as broker.toml.
    let keys: String = text
        .lines()
        .skip_while(|line| *line != "[net]")
        .take_while(|line| !line.is_empty())
        .fold(String::new(), |keys, line| {
            keys + &line.replace("0.0.0.0:9443", "127.0.0.1:0").replace("0.0.0.0:8883", "127.0.0.1:0") + "\n"
        });
    std::fs::write(folder.path().join("broker.toml"), keys).unwrap();
    let world = World::start_in(folder, &[]).await;
    let ca = world.folder().join("tls/ca.pem");
    for address in [world.https_addr(), world.mqtts_addr()] {
        open_tls(address, &ca).await.unwrap();
    }
    let port = world.https_addr().port();
    let curl = async |name: &str| {
        let mut command = Command::new("curl");
        let (resolve, url) = (format!("{name}:{port}:127.0.0.1"), format!("https://{name}:{port}/healthz"));
        let command = command.args(["--silent", "--cacert"]).arg(&ca).args(["--resolve", &resolve, &url]);
        within("curl", command.output()).await.unwrap().status.success()
    };
    assert!(curl("toys.example").await && !curl("other.example").await);
}
