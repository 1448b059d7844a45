//! MQTT from outside: with raw packets, and with real clients.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::World;

const SOON: Duration = Duration::from_secs(5);

/// The protocol level of a CONNECT.
pub const V4: u8 = 4;
/// The protocol level of a CONNECT.
pub const V5: u8 = 5;

/// A client that sends and receives raw bytes.
pub struct Raw(TcpStream);

impl Raw {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// A client whose CONNECT was accepted.
    pub async fn connected(address: SocketAddr, level: u8, id: &str, user: &str, password: &str) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(&connect(level, id, user, password)).await;
        let (kind, body) = raw.packet().await;
        assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next packet: its first byte, and the bytes after its length.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        timeout(SOON, self.read_packet()).await.expect("no packet came").expect("closed")
    }

    /// The next packet, or none at the end of the connection.
    pub async fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }

    pub async fn expect(&mut self, kind: u8, body: &[u8]) {
        assert_eq!(self.packet().await, (kind, body.to_vec()));
    }

    /// The hub closes the connection, and sends nothing more.
    pub async fn expect_end(&mut self) {
        let next = timeout(SOON, self.read_packet()).await.expect("still open");
        assert_eq!(next, None);
    }

    /// No packet arrives: the next one is the answer to a ping.
    pub async fn expect_silence(&mut self) {
        self.send(&[0xc0, 0]).await;
        self.expect(0xd0, &[]).await;
    }
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The body of a v5 acknowledgement with a reason string (v5 §3.4.2.2.2).
pub fn with_reason(body: &[u8], reason: &str) -> Vec<u8> {
    let mut bytes = body.to_vec();
    bytes.push(3 + reason.len() as u8);
    bytes.push(31);
    bytes.extend(text(reason));
    bytes
}

pub fn packet(byte1: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![byte1];
    let mut length = body.len();
    while length >= 128 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

pub fn connect(level: u8, id: &str, user: &str, password: &str) -> Vec<u8> {
    connect_with(level, 0xc2, 60, &[], id, &[], user, password)
}

/// A CONNECT; `properties` and the will's properties for version 5.
#[allow(clippy::too_many_arguments)]
pub fn connect_with(
    level: u8,
    flags: u8,
    keep_alive_s: u16,
    properties: &[u8],
    id: &str,
    will: &[u8],
    user: &str,
    password: &str,
) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([level, flags]);
    body.extend(keep_alive_s.to_be_bytes());
    if level >= V5 {
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    body.extend(text(id));
    body.extend(will);
    for (bit, value) in [(0x80, user), (0x40, password)] {
        if flags & bit != 0 {
            body.extend(text(value));
        }
    }
    packet(0x10, &body)
}

pub fn publish(level: u8, byte1: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if byte1 & 0b0110 != 0 {
        body.extend(id.to_be_bytes());
    }
    if level == V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(byte1, &body)
}

pub fn subscribe(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == V5 {
        body.push(0);
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

#[tokio::test]
async fn refused_clients_get_a_reason() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let (key, secret) = (&*toy.device_key, &*toy.secret);
    for (hello, code) in [
        (connect(V4, "a", key, "wrong"), vec![0, 4]),
        (connect(V5, "a", key, "wrong"), vec![0, 0x86, 0]),
        (connect(V4, "a", "nobody", secret), vec![0, 4]),
        (connect_with(V4, 0x02, 60, &[], "a", &[], "", ""), vec![0, 4]),
        (connect_with(V5, 0x02, 60, &[], "a", &[], "", ""), vec![0, 0x86, 0]),
        (connect_with(V4, 0x82, 60, &[], "a", &[], key, ""), vec![0, 4]),
        (connect_with(V4, 0xc0, 60, &[], "", &[], key, secret), vec![0, 2]),
        (connect_with(V5, 0xc2, 60, b"\x15\0\x05SCRAM", "a", &[], key, secret), vec![0, 0x8c, 0]),
        (connect_with(V5, 0xc2, 60, b"\x21\0\0", "a", &[], key, secret), vec![0, 0x82, 0]),
        (connect(3, "a", key, secret), vec![0, 1]),
        (connect(6, "a", key, secret), vec![0, 0x84, 0]),
        (b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04abcd".to_vec(), vec![0, 1]),
    ] {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&hello).await;
        raw.expect(0x20, &code).await;
        raw.expect_end().await;
    }
}

#[tokio::test]
async fn nothing_is_answered_before_connect() {
    let world = World::start().await;
    for bytes in [
        &b"\xc0\0"[..],
        b"\x82\x08\0\x01\0\x03a/b\0",
        b"\x30\x05\0\x03a/b",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        b"\x10\xff\xff\xff\x7f",
        b"\x10\xff\xff\xff\xff",
        b"\x11\0",
        b"\x10\x04\0\x04MQ",
        b"\0\0\0\0",
    ] {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(bytes).await;
        raw.expect_end().await;
    }
}

#[tokio::test]
async fn a_version_5_connack_states_the_limits() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let mut raw = Raw::open(world.mqtt_addr()).await;
    let expiry = b"\x11\0\0\x0e\x10";
    raw.send(&connect_with(V5, 0xc2, 0, expiry, "", &[], &toy.device_key, &toy.secret)).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, &body[..2]), (0x20, &[0, 0][..]));
    let properties = &body[3..];
    let has = |wanted: &[u8]| properties.windows(wanted.len()).any(|bytes| bytes == wanted);
    assert!(has(&[0x11, 0, 0, 0x0e, 0x10]), "session expiry as it was asked for");
    assert!(has(&[0x12, 0]), "assigned client identifier");
    assert!(has(&[0x13, 2, 0x58]), "server keep alive");
    assert!(has(&[0x21, 0, 32]), "receive maximum");
    assert!(has(&[0x22, 0, 16]), "topic aliases");
    assert!(has(&[0x25, 1]) && has(&[0x28, 1]), "retained messages and wildcards");
    assert!(has(&[0x27, 0, 1, 0, 0]), "maximum packet size");
    assert!(has(&[0x29, 1]) && has(&[0x2a, 1]), "subscription identifiers and shared subscriptions");
}

#[tokio::test]
async fn a_toy_may_subscribe_to_its_own_topics() {
    let world = World::start().await;
    let (toy, other) = (world.bound_toy("fluffy").await, world.bound_toy("spot").await);
    let own = |rest: &str| format!("toy/{}/{rest}", toy.id);
    let filters =
        [own("in"), own("cmd/#"), format!("toy/{}/in", other.id), "#".into(), "a#".into(), "$share/g/a".into()];
    for (level, codes) in
        [(V4, vec![0, 7, 2, 0, 0x80, 0x80, 0x80, 0x80]), (V5, vec![0, 7, 0, 2, 0, 0x87, 0x87, 0x8f, 0x87])]
    {
        let mut raw = Raw::connected(world.mqtt_addr(), level, "a", &toy.device_key, &toy.secret).await;
        let wanted: Vec<_> = filters.iter().map(|filter| &**filter).zip([2, 0, 1, 1, 1, 1]).collect();
        raw.send(&subscribe(level, 7, &wanted)).await;
        raw.expect(0x90, &codes).await;
        let mut body = vec![0, 8];
        body.extend((level == V5).then_some(0));
        body.extend(text(&own("in")));
        body.extend(text("never/subscribed"));
        raw.send(&packet(0xa2, &body)).await;
        raw.expect(0xb0, if level == V5 { &[0, 8, 0, 0, 0x11] } else { &[0, 8] }).await;
    }
}

#[tokio::test]
async fn a_publish_is_acknowledged_when_it_is_taken() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let battery = format!("toy/{}/state/battery", toy.id);
    for level in [V4, V5] {
        let mut raw = Raw::connected(world.mqtt_addr(), level, "a", &toy.device_key, &toy.secret).await;
        raw.send(&publish(level, 0x33, &battery, 0x1234, b"80")).await;
        raw.expect(0x40, &[0x12, 0x34]).await;
        raw.send(&publish(level, 0x30, &battery, 0, b"79")).await;
        raw.expect_silence().await;
        for _ in 0..2 {
            raw.send(&publish(level, 0x34, &battery, 9, b"78")).await;
            raw.expect(0x50, &[0, 9]).await;
        }
        raw.send(&[0x62, 2, 0, 9]).await;
        raw.expect(0x70, &[0, 9]).await;
        raw.send(&publish(level, 0x32, "toy/somebody/in", 3, b"hello")).await;
        let refused = |id| if level == V5 { with_reason(&[0, id, 0x87], "not permitted") } else { vec![0, id] };
        raw.expect(0x40, &refused(3)).await;
        raw.send(&publish(level, 0x34, "toy/somebody/in", 4, b"hello")).await;
        raw.expect(0x50, &refused(4)).await;
    }
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_gets_a_reason_and_is_closed() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let again = connect(V5, "a", &toy.device_key, &toy.secret);
    for (bytes, reason) in [
        (again, 0x82),
        (vec![0xf0, 0], 0x82),
        (vec![0x20, 3, 0, 0, 0], 0x82),
        (vec![0xb0, 4, 0, 1, 0, 0], 0x82),
        (vec![0xc0, 1, 0], 0x81),
        (vec![0x31, 0xff, 0xff, 0xff, 0xff], 0x81),
        (vec![0x30, 0x80, 0x80, 0x08], 0x95),
        (publish(V5, 0x30, "a/+", 0, b""), 0x90),
        (publish(V5, 0x30, "", 0, b""), 0x82),
        (packet(0x30, b"\0\x01a\x03\x23\0\0"), 0x94),
        (packet(0x30, b"\0\x01a\x03\x23\0\x11"), 0x94),
        (packet(0x82, b"\0\x01\x02\x0b\0\0\x01a\0"), 0x82),
        (packet(0x82, b"\0\x01\0"), 0x81),
        (packet(0x30, b"\0\x01a"), 0x81),
    ] {
        let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &toy.device_key, &toy.secret).await;
        raw.send(&bytes).await;
        raw.expect(0xe0, &[reason, 0]).await;
        raw.expect_end().await;
        let mut raw = Raw::connected(world.mqtt_addr(), V4, "a", &toy.device_key, &toy.secret).await;
        raw.send(&[0x20, 2, 0, 0]).await;
        raw.expect_end().await;
    }
}

#[tokio::test]
async fn topics_beyond_ascii_are_accepted() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    for level in [V4, V5] {
        let mut raw = Raw::connected(world.mqtt_addr(), level, "a", &toy.device_key, &toy.secret).await;
        raw.send(&publish(level, 0x32, "你好/in", 1, "你好".as_bytes())).await;
        assert_eq!(raw.packet().await.0, 0x40);
        raw.send(&subscribe(level, 2, &[("ü/#", 1), ("💧", 0)])).await;
        assert_eq!(raw.packet().await.0, 0x90);
        raw.expect_silence().await;
    }
}

#[tokio::test]
async fn the_same_client_takes_its_session_over() {
    let world = World::start().await;
    let (toy, other) = (world.bound_toy("fluffy").await, world.bound_toy("spot").await);
    let mut old = Raw::connected(world.mqtt_addr(), V5, "same", &toy.device_key, &toy.secret).await;
    let mut stranger = Raw::connected(world.mqtt_addr(), V5, "same", &other.device_key, &other.secret).await;
    let mut sibling = Raw::connected(world.mqtt_addr(), V4, "else", &toy.device_key, &toy.secret).await;
    let mut new = Raw::connected(world.mqtt_addr(), V4, "same", &toy.device_key, &toy.secret).await;
    old.expect(0xe0, &[0x8e, 0]).await;
    old.expect_end().await;
    let mut newest = Raw::connected(world.mqtt_addr(), V4, "same", &toy.device_key, &toy.secret).await;
    new.expect_end().await;
    for live in [&mut stranger, &mut sibling, &mut newest] {
        live.expect_silence().await;
    }
}

#[tokio::test]
async fn a_keep_alive_timeout_ends_a_session() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let hello = |level| connect_with(level, 0xc2, 1, &[], "a", &[], &toy.device_key, &toy.secret);
    for (level, goodbye) in [(V4, None), (V5, Some(&[0x8d, 0]))] {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&hello(level)).await;
        raw.packet().await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(900)).await;
            raw.expect_silence().await;
        }
        if let Some(goodbye) = goodbye {
            raw.expect(0xe0, goodbye).await;
        }
        raw.expect_end().await;
    }
}

#[tokio::test]
async fn rumqttc_clients_work() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let battery = format!("toy/{}/state/battery", toy.id);
    let inbox = format!("toy/{}/in", toy.id);

    let mut options = rumqttc::MqttOptions::new("v4", "127.0.0.1", world.mqtt_addr().port());
    options.set_credentials(&*toy.device_key, &*toy.secret).set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe(&inbox, rumqttc::QoS::ExactlyOnce).await.unwrap();
    client.publish(&battery, rumqttc::QoS::AtLeastOnce, true, "80").await.unwrap();
    client.publish(&battery, rumqttc::QoS::ExactlyOnce, true, "79").await.unwrap();
    let talk = async {
        let mut seen = Vec::new();
        while seen.len() < 4 {
            use rumqttc::{Event, Packet};
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::ConnAck(packet)) => seen.push(format!("connack {:?}", packet.code)),
                Event::Incoming(Packet::SubAck(packet)) => seen.push(format!("suback {:?}", packet.return_codes)),
                Event::Incoming(Packet::PubAck(_)) => seen.push("puback".into()),
                Event::Incoming(Packet::PubComp(_)) => seen.push("pubcomp".into()),
                _ => {}
            }
        }
        seen
    };
    let seen = timeout(SOON, talk).await.unwrap();
    assert_eq!(seen, ["connack Success", "suback [Success(ExactlyOnce)]", "puback", "pubcomp"]);

    let mut options = rumqttc::v5::MqttOptions::new("v5", "127.0.0.1", world.mqtt_addr().port());
    options.set_credentials(&*toy.device_key, &*toy.secret).set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 10);
    client.subscribe(&inbox, rumqttc::v5::mqttbytes::QoS::AtLeastOnce).await.unwrap();
    client.publish(&battery, rumqttc::v5::mqttbytes::QoS::AtLeastOnce, true, "80").await.unwrap();
    let talk = async {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            use rumqttc::v5::{Event, Incoming};
            match events.poll().await.unwrap() {
                Event::Incoming(Incoming::ConnAck(packet)) => seen.push(format!("connack {:?}", packet.code)),
                Event::Incoming(Incoming::SubAck(packet)) => seen.push(format!("suback {:?}", packet.return_codes)),
                Event::Incoming(Incoming::PubAck(packet)) => seen.push(format!("puback {:?}", packet.reason)),
                _ => {}
            }
        }
        seen
    };
    let seen = timeout(SOON, talk).await.unwrap();
    assert_eq!(seen, ["connack Success", "suback [Success(AtLeastOnce)]", "puback Success"]);
}

/// `mosquitto_sub` on an unused topic of the toy: it connects, subscribes, and its `-W` ends it with code 27.
#[tokio::test]
async fn mosquitto_clients_work() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let port = world.mqtt_addr().port().to_string();
    for version in ["mqttv311", "mqttv5"] {
        let arguments = ["-h", "127.0.0.1", "-p", &port, "-V", version, "-u", &*toy.device_key, "-q", "1", "-W", "1"];
        let listen = |password: &str, topic: &str| {
            let mut command = tokio::process::Command::new("mosquitto_sub");
            command.args(arguments).args(["-P", password, "-t", topic]).kill_on_drop(true);
            command
        };
        let Ok(output) = listen(&toy.secret, &format!("toy/{}/in", toy.id)).output().await else {
            eprintln!("mosquitto_sub is not installed");
            return;
        };
        assert_eq!(output.status.code(), Some(27), "{version}: {output:?}");
        let refused = listen("wrong", "a").output().await.unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("Connection"), "{version}: {refused:?}");
        assert!(!matches!(refused.status.code(), Some(0 | 27)), "{version}: {refused:?}");
    }
}
