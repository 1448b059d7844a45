//! Behaviour of deployed clients: bursts, bridges, hasty reconnects, slow links.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::clients::{installed, script, succeeds};
use crate::mqtt::{Raw, V4, V5, connect, connect_with, packet, publish, subscribe};
use crate::world::{Toy, World, within};

/// MQTT.js sends so many before it reads an answer.
const BURST: u16 = 667;

fn burst(level: u8, topic: &str) -> Vec<u8> {
    (1..=BURST).flat_map(|id| publish(level, 0x34, topic, id, b"1")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_qos_2_of_version_3_1_1_is_completed() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let topic = format!("toy/{}/state/battery", toy.id);
    let mut raw = Raw::connected(world.mqtt_addr(), V4, "a", &toy.device_key, &toy.secret).await;
    raw.send(&burst(V4, &topic)).await;
    for id in 1..=BURST {
        raw.expect(0x50, &id.to_be_bytes()).await;
    }
    let releases: Vec<u8> = (1..=BURST).flat_map(|id| packet(0x62, &id.to_be_bytes())).collect();
    raw.send(&releases).await;
    for id in 1..=BURST {
        raw.expect(0x70, &id.to_be_bytes()).await;
    }
    raw.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_completes_a_burst_of_qos_2() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let topic = format!("toy/{}/state/battery", toy.id);
    let mut command = Command::new("node");
    command
        .arg(script("mqttjs_many.mjs"))
        .args([&format!("mqtt://{}", world.mqtt_addr()), &toy.device_key, &toy.secret, &topic, &BURST.to_string()])
        .env("NODE_PATH", installed("node_modules"));
    assert!(succeeds(command).await.contains("ok publish"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_version_5_that_ignores_receive_maximum_is_disconnected_with_its_code() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let topic = format!("toy/{}/state/battery", toy.id);
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &toy.device_key, &toy.secret).await;
    raw.send(&burst(V5, &topic)).await;
    let last = loop {
        let (kind, body) = raw.packet().await;
        if kind != 0x50 {
            break (kind, body[0]);
        }
    };
    assert_eq!(last, (0xe0, 0x93), "DISCONNECT, Receive Maximum exceeded (v5 §4.13)");
}

/// A mosquitto broker that is bridged to a toy's state.
struct Bridge {
    address: SocketAddr,
    _broker: Child,
    _folder: TempDir,
}

impl Bridge {
    /// `login` and `topic` are lines of its configuration.
    async fn open(hub: SocketAddr, version: &str, login: &str, topic: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Another process is unlikely to take the port meanwhile.
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nconnection hub\naddress {hub}\n{login}\n\
             bridge_protocol_version {version}\n{topic}\n",
            address.port(),
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let broker = command.spawn().expect("scripts/test installs mosquitto");
        within("the broker", async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Self { address, _broker: broker, _folder: folder }
    }
}

/// The topic and payload of the next message, which is acknowledged.
async fn message(raw: &mut Raw) -> (String, String) {
    let (kind, body) = raw.packet().await;
    assert_eq!(kind & 0xf6, 0x32, "PUBLISH of QoS 1");
    let (topic, rest) = body[2..].split_at(usize::from(u16::from_be_bytes([body[0], body[1]])));
    raw.send(&packet(0x40, &rest[..2])).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(topic), text(&rest[2..]))
}

/// Publishes to a topic that the client subscribes to, and receives both PUBACK and the message.
async fn publish_and_receive(raw: &mut Raw, topic: &str, id: u16, payload: &str) {
    raw.send(&publish(V4, 0x32, topic, id, payload.as_bytes())).await;
    let mut seen = [raw.packet().await, raw.packet().await];
    seen.sort();
    assert_eq!(seen.each_ref().map(|(kind, _)| *kind), [0x32, 0x40]);
    let at = 2 + topic.len();
    raw.send(&packet(0x40, &seen[0].1[at..at + 2])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mosquitto_bridge_brings_messages_both_ways_and_none_back() {
    for version in ["mqttv311", "mqttv50"] {
        let world = World::start_with(&[("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0")]).await;
        let mut hub = Raw::connected(world.conformance_addr(), V4, "a", "a", "a").await;
        // Retained: the bridge gets it whenever it subscribes.
        hub.send(&publish(V4, 0x33, "hub/first", 1, b"0")).await;
        hub.expect(0x40, &[0, 1]).await;
        let bridge = Bridge::open(world.conformance_addr(), version, "", "topic # both 1 state/ hub/").await;
        let mut local = Raw::connected(bridge.address, V4, "b", "b", "b").await;
        local.send(&subscribe(V4, 1, &[("state/#", 1)])).await;
        local.expect(0x90, &[0, 1, 1]).await;
        assert_eq!(message(&mut local).await, ("state/first".into(), "0".into()), "{version}");

        hub.send(&subscribe(V4, 2, &[("hub/battery", 1)])).await;
        hub.expect(0x90, &[0, 2, 1]).await;
        for (id, payload) in [(2, "1"), (3, "2")] {
            publish_and_receive(&mut local, "state/battery", id, payload).await;
            assert_eq!(message(&mut hub).await, ("hub/battery".into(), payload.into()), "{version}");
        }
        hub.send(&publish(V4, 0x32, "hub/last", 4, b"3")).await;
        // A message that the bridge had echoed would precede this one.
        assert_eq!(message(&mut local).await, ("state/last".into(), "3".into()), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mosquitto_bridge_logs_in_as_a_toy() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let login = format!("remote_username {}\nremote_password {}", toy.device_key, toy.secret);
    let topic = format!("topic # in 1 cmd/ toy/{}/cmd/", toy.id);
    for version in ["mqttv311", "mqttv50"] {
        let bridge = Bridge::open(world.mqtt_addr(), version, &login, &topic).await;
        let mut local = Raw::connected(bridge.address, V4, "b", "b", "b").await;
        local.send(&subscribe(V4, 1, &[("$SYS/broker/connection/+/state", 0)])).await;
        local.expect(0x90, &[0, 1, 0]).await;
        // The broker publishes retained messages about the state of its bridge.
        while !local.packet().await.1.ends_with(b"1") {}
    }
}

/// Connects, breaks the connection, and connects again within milliseconds; the newest connection lives on.
async fn connect_hastily(world: &World, toy: &Toy, level: u8, times: usize) {
    for _ in 0..times {
        let hello = connect(level, "hasty", &toy.device_key, &toy.secret);
        let mut broken = TcpStream::connect(world.mqtt_addr()).await.unwrap();
        broken.write_all(&hello).await.unwrap();
        drop(broken);
        let mut newest = Raw::connected(world.mqtt_addr(), level, "hasty", &toy.device_key, &toy.secret).await;
        // An older connection that was accepted later would end this one: each ping gives it time.
        for _ in 0..8 {
            newest.expect_silence().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Two hundred times: both versions, on an idle hub and on one that checks passwords all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_hasty_client_keeps_its_newest_connection() {
    // Broken connections must not lead to a ban here.
    let world = World::start_with(&[("TOYHUB_MQTT__FLAPPING_MAX", "100000")]).await;
    let toy = world.bound_toy("fluffy").await;
    let hasty = async || {
        for level in [V4, V5] {
            connect_hastily(&world, &toy, level, 50).await;
        }
    };
    hasty().await;
    let login = json!({"username": "owner-of-fluffy", "password": "correct horse"});
    let busy = async || while world.ok("/login", login.clone()).await["code"] == 0 {};
    tokio::select! {
        () = hasty() => {}
        ((), (), ()) = async { tokio::join!(busy(), busy(), busy()) } => unreachable!("it never ends"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_packet_on_a_slow_link_is_not_cut_by_keep_alive() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc2, 1, &[], "slow", &[], &toy.device_key, &toy.secret)).await;
    raw.expect(0x20, &[0, 0]).await;
    let large = publish(V4, 0x32, &format!("toy/{}/state/battery", toy.id), 1, &[b'x'; 24_000]);
    // Three seconds, twice the time that a silent client has.
    for part in large.chunks(large.len() / 10) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        raw.send(part).await;
    }
    raw.expect(0x40, &[0, 1]).await;
}
