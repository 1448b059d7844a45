//! HAProxy and nginx before the hub, with the configurations that docs/tls.md shows.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ALL_VERSIONS;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::mqtt::{V4, connect, publish};
use crate::places::{assert_shut, family};
use crate::proxies::{enter, from};
use crate::sound;
use crate::transport::{connector_with, tls_folder};
use crate::world::{Toy, User, World, within};

/// The family's address. The hub and the proxy are at others.
const HOME: [u8; 4] = [127, 0, 0, 4];
const NEIGHBOR: [u8; 4] = [127, 0, 0, 5];

const LIMITS: [(&str, &str); 3] = [
    ("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "3"),
    ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "2"),
    ("TOYHUB_SERVER__LOG", "warn"),
];

/// The code blocks of a section of docs/tls.md, with their languages.
fn blocks(heading: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n##").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).map(|(name, text)| (name.into(), text.into())).collect()
}

/// The blocks of one language, in which each of `replaced` stands.
fn configuration(heading: &str, language: &str, replaced: &[(&str, String)]) -> String {
    let of_language = blocks(heading).into_iter().filter(|(name, _)| name == language);
    let mut text: String = of_language.map(|(_, text)| text).collect();
    for (shown, used) in replaced {
        assert!(text.contains(shown), "docs/tls.md, {heading}: no {shown:?} in {text}");
        text = text.replace(shown, used);
    }
    text
}

/// A running proxy. Where it serves each protocol, without and with TLS.
struct Proxy {
    http: SocketAddr,
    https: SocketAddr,
    mqtt: SocketAddr,
    mqtts: SocketAddr,
    _program: Child,
}

impl Proxy {
    /// Starts HAProxy before the hub, which sends headers of this version.
    async fn haproxy(world: &World, send_proxy: &str) -> Self {
        let folder = world.folder();
        let pem = std::fs::read_to_string(folder.join("hub.pem")).unwrap();
        let key = std::fs::read_to_string(folder.join("hub.key")).unwrap();
        std::fs::write(folder.join("toyhub.pem"), pem + &key).unwrap();
        let [http, https, mqtt, mqtts] = free_addresses().await;
        let replaced = [
            ("bind :80\n", format!("bind {http}\n")),
            ("bind :443 ", format!("bind {https} ")),
            ("bind :1883\n", format!("bind {mqtt}\n")),
            ("bind :8883 ", format!("bind {mqtts} ")),
            ("127.0.0.1:9527", world.http_addr().to_string()),
            ("127.0.0.1:11883", world.mqtt_addr().to_string()),
            ("/etc/haproxy/toyhub.pem", "toyhub.pem".into()),
            ("send-proxy-v2", send_proxy.into()),
            // The hub is checked often: it must not take this for failing clients.
            ("check\n", "check inter 20ms\n".into()),
        ];
        std::fs::write(folder.join("haproxy.cfg"), configuration("HAProxy", "haproxy", &replaced)).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", "haproxy.cfg"]);
        Self { http, https, mqtt, mqtts, _program: start(command, folder, mqtts).await }
    }

    /// Starts nginx before the hub. It serves MQTT with TLS alone.
    async fn nginx(world: &World) -> Self {
        let folder = world.folder();
        let [http, https, _, mqtts] = free_addresses().await;
        let replaced = [
            ("listen 80;", format!("listen {http};")),
            ("listen 443 ssl;", format!("listen {https} ssl;")),
            ("listen 8883 ssl;", format!("listen {mqtts} ssl;")),
            ("127.0.0.1:9527", world.http_addr().to_string()),
            ("127.0.0.1:1883", world.mqtt_addr().to_string()),
            ("/etc/toyhub/tls/", format!("{}/", folder.display())),
        ];
        let shown = configuration("nginx", "nginx", &replaced);
        let (http_block, stream_block) = shown.split_at(shown.find("stream {").unwrap());
        // What Debian's nginx.conf has around the blocks, with all files in the folder of the test.
        let kept: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};\n"))
            .concat();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
             daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr error;\nevents {{}}\n\
             http {{\naccess_log off;\n{kept}{http_block}}}\n{stream_block}"
        );
        std::fs::write(folder.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]);
        Self { http, https, mqtt: mqtts, mqtts, _program: start(command, folder, mqtts).await }
    }
}

/// Four addresses that nothing else on this machine listens on: each proxy has an IP address of its own.
async fn free_addresses() -> [SocketAddr; 4] {
    static PROXIES: AtomicU8 = AtomicU8::new(1);
    let ip = IpAddr::from([127, 80, 0, PROXIES.fetch_add(1, Ordering::Relaxed)]);
    let mut listeners = Vec::new();
    for _ in 0..4 {
        listeners.push(TcpListener::bind((ip, 0)).await.unwrap());
    }
    std::array::from_fn(|n| listeners[n].local_addr().unwrap())
}

/// Starts a proxy, and waits until it listens.
async fn start(mut command: Command, folder: &Path, address: SocketAddr) -> Child {
    let log = folder.join("proxy.log");
    command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null()).stdin(Stdio::null());
    let program = command.current_dir(folder).kill_on_drop(true).spawn();
    let mut program = program.expect("scripts/test installs haproxy and nginx");
    within("the proxy", async {
        while TcpStream::connect(address).await.is_err() {
            let has_ended = program.try_wait().unwrap().is_some();
            assert!(!has_ended, "{}", std::fs::read_to_string(&log).unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    program
}

/// A hub with the settings that the section shows, in a folder with certificates.
async fn world_of(heading: &str, replaced: &[(&str, String)], settings: &[(&'static str, &'static str)]) -> World {
    let folder = tls_folder();
    std::fs::write(folder.path().join("broker.toml"), configuration(heading, "toml", replaced)).unwrap();
    World::start_in(folder, &[&LIMITS[..], settings].concat()).await
}

/// TLS to a proxy, from an address of this machine.
async fn open_tls(world: &World, source: [u8; 4], proxy: SocketAddr) -> TlsStream<TcpStream> {
    let connector = connector_with(&world.folder().join("ca.pem"), ALL_VERSIONS, &[]);
    let name = ServerName::try_from("localhost").unwrap();
    within("tls", connector.connect(name, from(source, proxy).await)).await.unwrap()
}

/// A family behind the proxy, and clients at other addresses. `world` uses the proxy.
async fn assert_served(world: &World, proxy: &Proxy) {
    let family = family(world).await;
    // Places are those of the clients: a client at another address is refused, though the same proxy forwards it.
    assert_shut(world, &family).await;
    assert_failed_logins_are_counted(world).await;
    assert_mqtt_is_served(world, proxy, &family.toy, &family.parent).await;
    assert_tls_is_served(world, proxy, &family.parent.token).await;
    // By default, nginx refuses bodies above 1 MiB.
    let large = sound::large();
    assert!(large.len() > 1024 * 1024);
    let names = [("user_id", family.parent.id.as_str()), ("to_user", family.toy.id.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", large, &names).await;
    assert_eq!(sent["code"], 0, "{sent}");
}

async fn assert_failed_logins_are_counted(world: &World) {
    let login = async |source: [u8; 4], name: String| {
        let client = reqwest::Client::builder().local_address(IpAddr::from(source)).build().unwrap();
        let request = client.post(format!("{}/login", world.http()));
        // What the client itself writes there has no effect.
        let request = request.header("X-Forwarded-For", "192.0.2.1").header("Forwarded", "for=192.0.2.1");
        let sent = request.json(&json!({"username": name, "password": "wrong"})).send();
        let answer: Value = within("an answer", sent).await.unwrap().json().await.unwrap();
        answer["code"].clone()
    };
    let limited = async {
        loop {
            match login([127, 0, 0, 7], "a".into()).await {
                code if code == 1 => {}
                code => break code,
            }
        }
    };
    assert_eq!(within("the limit of the address", limited).await, 11);
    assert_eq!(login([127, 0, 0, 8], "b".into()).await, 1, "another address");
}

/// MQTT over TLS and over WebSocket, with the limit of two connections from one address.
async fn assert_mqtt_is_served(world: &World, proxy: &Proxy, toy: &Toy, parent: &User) {
    let mut app = world.app(parent).await;
    let topic = format!("toy/{}/state/battery", toy.id);
    app.send(json!({"id": 2, "do": "subscribe", "topic": topic})).await;
    assert_eq!(app.answer(2).await["code"], 0);
    let mut open = Vec::new();
    for (source, id, expected) in [(HOME, "a", true), (HOME, "b", true), (HOME, "c", false), (NEIGHBOR, "d", true)] {
        let (is_in, socket) = enter(open_tls(world, source, proxy.mqtts).await, b"", id, toy).await;
        assert_eq!(is_in, expected, "{id}");
        open.push(socket);
    }
    assert!(mqtt_over_web(HOME, proxy.http, toy).await.is_none(), "over WebSocket as well");
    let _web = mqtt_over_web(NEIGHBOR, proxy.http, toy).await.expect("another address");
    open[0].write_all(&publish(V4, 0x32, &topic, 7, b"80")).await.unwrap();
    let mut puback = [0; 4];
    within("PUBACK", open[0].read_exact(&mut puback)).await.unwrap();
    assert_eq!(puback, [0x40, 2, 0, 7]);
    assert_eq!(app.frame().await["payload"], "80");
}

/// A connection of MQTT over WebSocket, unless it is refused.
async fn mqtt_over_web(source: [u8; 4], proxy: SocketAddr, toy: &Toy) -> Option<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://{proxy}/mqtt").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let opening = client_async(request, from(source, proxy).await);
    let mut socket = within("the handshake", opening).await.unwrap().0;
    let _ = socket.send(Message::binary(connect(V4, "web", &toy.device_key, &toy.secret))).await;
    let answer = within("an answer", socket.next()).await;
    matches!(answer, Some(Ok(Message::Binary(connack))) if connack[..] == [0x20, 2, 0, 0]).then_some(socket)
}

/// HTTP and the app socket over the TLS of the proxy.
async fn assert_tls_is_served(world: &World, proxy: &Proxy, token: &str) {
    let (ip, port) = (proxy.https.ip(), proxy.https.port());
    let mut curl = Command::new("curl");
    curl.current_dir(world.folder()).args(["--silent", "--fail", "--cacert", "ca.pem", "--resolve"]);
    curl.arg(format!("localhost:{port}:{ip}")).arg(format!("https://localhost:{port}/healthz"));
    assert!(within("curl", curl.output()).await.unwrap().status.success());
    let stream = open_tls(world, HOME, proxy.https).await;
    let mut socket = within("the handshake", client_async("wss://localhost/ws", stream)).await.unwrap().0;
    socket.send(Message::text(json!({"id": 1, "do": "auth", "token": token}).to_string())).await.unwrap();
    for expected in ["\"code\":0", "\"welcome\""] {
        let frame = within("a frame", socket.next()).await.expect("the socket is open").unwrap();
        assert!(frame.to_text().unwrap().contains(expected), "{frame}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_forwards_all_protocols_with_the_addresses_of_clients() {
    for send_proxy in ["send-proxy", "send-proxy-v2"] {
        // The checks of the proxy open a connection every 20 ms and close it: they lead to no ban.
        let mut world = world_of("HAProxy", &[], &[("TOYHUB_MQTT__FLAPPING_MAX", "20")]).await;
        let proxy = Proxy::haproxy(&world, send_proxy).await;
        world.use_proxy(proxy.http, proxy.mqtt, HOME.into());
        assert_served(&world, &proxy).await;
        let toy = world.bound_toy("Rex").await;
        let (is_in, _plain) = enter(from(NEIGHBOR, proxy.mqtt).await, b"", "plain", &toy).await;
        assert!(is_in, "{send_proxy}: MQTT without TLS");
        let log = std::fs::read_to_string(world.log()).unwrap();
        assert!(!log.contains("banned") && !log.contains("PROXY header"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_forwards_all_protocols_with_the_addresses_of_clients() {
    for header in ["x-forwarded-for", "forwarded"] {
        let replaced = [("forwarded_header = \"x-forwarded-for\"", format!("forwarded_header = \"{header}\""))];
        let mut world = world_of("nginx", &replaced, &[]).await;
        let proxy = Proxy::nginx(&world).await;
        world.use_proxy(proxy.http, proxy.mqtt, HOME.into());
        assert_served(&world, &proxy).await;
    }
}
