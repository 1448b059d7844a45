//! What clients publish for each other is on the disk of the publisher's hub until the broker has it.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, bus_is, hub_of, pair};
use crate::engines::Nats;
use crate::mqtt::{Raw, V4, connect_with, packet, subscribe};
use crate::one_connection::Line;
use crate::sessions::say;
use crate::world::{Toy, User, World, within};

/// The hub acknowledges a publication at QoS 1 and 2 in turn.
pub struct Remote {
    app: Raw,
    topic: String,
}

impl Remote {
    pub async fn open(hub: &World, parent: &User, toy: &Toy) -> Self {
        let app = Raw::connected(hub.mqtt_addr(), V4, "remote", &parent.id, &parent.token).await;
        Self { app, topic: format!("toy/{}/cmd/volume", toy.id) }
    }

    pub async fn say(&mut self, number: u16) {
        say(&mut self.app, &self.topic, 1 + (number % 2) as u8, number + 1, number.to_string().as_bytes()).await;
    }
}

/// A toy with a session that outlives its connection, subscribed to its commands at QoS 2; and whether the session was
/// there before.
pub async fn resume(hub: &World, toy: &Toy) -> (Raw, bool) {
    try_resume(hub, toy).await.expect("an accepted connection")
}

/// As [`resume`]; none if the hub refuses the connection, or closes it.
pub async fn try_resume(hub: &World, toy: &Toy) -> Option<(Raw, bool)> {
    let mut raw = Raw::open(hub.mqtt_addr()).await;
    raw.send(&connect_of(toy)).await;
    let (kind, body) = within("CONNACK", raw.read_packet()).await?;
    assert_eq!(kind, 0x20, "CONNACK");
    (body[1] == 0).then_some((raw, body[0] == 1))
}

/// The CONNECT of a toy with a session.
pub fn connect_of(toy: &Toy) -> Vec<u8> {
    connect_with(V4, 0xc0, 60, &[], "toy", &[], &toy.device_key, &toy.secret)
}

/// The next command in the session of a toy. It is acknowledged.
pub async fn command(toy: &mut Raw) -> u16 {
    loop {
        let (byte1, body) = toy.packet().await;
        if byte1 >> 4 == 6 {
            toy.send(&packet(0x70, &body)).await;
            continue;
        }
        assert_eq!(byte1 >> 4, 3, "{byte1:x} {body:?}");
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (id, payload) = body[topic..].split_at(2);
        toy.send(&packet(if byte1 & 6 == 2 { 0x40 } else { 0x50 }, id)).await;
        return std::str::from_utf8(payload).unwrap().parse().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_killed_hub_has_acknowledged_is_forwarded_at_its_next_start() {
    const BEFORE: u16 = 5;
    const AWAY: u16 = 60;
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = Line::open(&b, &toy).await;
    line.subscribe(&format!("toy/{}/cmd/#", toy.id)).await;
    let mut remote = Remote::open(&a, &parent, &toy).await;
    for number in 0..BEFORE {
        remote.say(number).await;
        assert_eq!(line.next_event().await, json!(number));
    }
    broker.stop().await;
    bus_is(&a, "degraded").await;
    for number in BEFORE..AWAY / 2 {
        remote.say(number).await;
    }
    // Twice, so that two processes have left something.
    a.kill().await;
    a.start_hub().await;
    let mut remote = Remote::open(&a, &parent, &toy).await;
    for number in AWAY / 2..AWAY {
        remote.say(number).await;
    }
    a.kill().await;
    broker.start_again().await;
    a.start_hub().await;
    for number in BEFORE..AWAY {
        assert_eq!(line.next_event().await, json!(number), "in order, and once");
    }
    // Whatever it sends again now is known at the other hub.
    a.kill().await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    Remote::open(&a, &parent, &toy).await.say(999).await;
    assert_eq!(line.next_event().await, json!(999));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_lost_while_most_servers_of_a_nats_cluster_and_a_hub_are_killed() {
    const COMMANDS: u16 = 60;
    let (store, mut nats) = (StoreServer::start().await, Nats::start().await);
    let mut a = hub_of(&store, "a", &nats.urls(0), &NEVER).await;
    let b = hub_of(&store, "b", &nats.urls(2), &NEVER).await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = Line::open(&b, &toy).await;
    line.subscribe(&format!("toy/{}/cmd/#", toy.id)).await;
    let mut remote = Remote::open(&a, &parent, &toy).await;
    for number in 0..COMMANDS / 3 {
        remote.say(number).await;
    }
    for node in [0, 1] {
        nats.kill(node).await;
    }
    // Some are sent to the last server, which does not acknowledge them.
    for number in COMMANDS / 3..COMMANDS {
        remote.say(number).await;
    }
    bus_is(&a, "degraded").await;
    a.kill().await;
    for node in [0, 1] {
        nats.start_again(node).await;
    }
    a.start_hub().await;
    // What NATS sends again comes in another order.
    let mut arrived = Vec::new();
    for _ in 0..COMMANDS {
        arrived.push(line.next_event().await.as_u64().unwrap());
    }
    arrived.sort_unstable();
    assert_eq!(arrived, (0..u64::from(COMMANDS)).collect::<Vec<_>>(), "all, and once");
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    Remote::open(&a, &parent, &toy).await.say(999).await;
    assert_eq!(line.next_event().await, json!(999));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_that_is_killed_in_the_middle_of_a_stream_misses_nothing_for_its_sessions() {
    const COMMANDS: u16 = 400;
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, mut b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let (mut away, _) = resume(&b, &toy).await;
    let topic = format!("toy/{}/cmd/#", toy.id);
    away.send(&subscribe(V4, 1, &[(&topic, 2)])).await;
    assert_eq!(away.packet().await.0, 0x90);
    away.send(&[0xe0, 0]).await;
    away.expect_end().await;
    let mut remote = Remote::open(&a, &parent, &toy).await;
    let (said, mut heard) = watch::channel(0);
    let saying = async {
        for number in 0..COMMANDS {
            remote.say(number).await;
            said.send_replace(number);
        }
    };
    let killing = async {
        for number in [100, 200] {
            heard.wait_for(|said| *said >= number).await.unwrap();
            b.kill().await;
            b.start_hub().await;
        }
    };
    tokio::join!(saying, killing);
    bus_is(&b, "ok").await;
    let (mut away, is_present) = resume(&b, &toy).await;
    assert!(is_present);
    for number in 0..COMMANDS {
        assert_eq!(command(&mut away).await, number, "in order, and once");
    }
    remote.say(999).await;
    assert_eq!(command(&mut away).await, 999);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_does_not_fit_is_refused_and_all_else_arrives() {
    const ROOM: usize = 20;
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let limits = [("TOYHUB_CLUSTER__QUEUE_MESSAGES_MAX", "20"), ("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")];
    let settings = [&NEVER[..], &limits].concat();
    let [a, b] = pair(&store, &broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = Line::open(&b, &toy).await;
    line.subscribe(&format!("toy/{}/cmd/#", toy.id)).await;
    let mut app = a.app(&parent).await;
    broker.stop().await;
    bus_is(&a, "degraded").await;
    let topic = format!("toy/{}/cmd/volume", toy.id);
    let mut said: Vec<Value> = Vec::new();
    loop {
        let number = said.len().to_string();
        let answer = app.ask(json!({"do": "publish", "topic": topic, "payload": number})).await;
        if answer["code"] != 0 {
            assert_eq!(answer["code"], 12, "{answer}");
            break;
        }
        said.push(json!(said.len()));
        assert!(said.len() <= ROOM);
    }
    // Events of the hub itself take room, too.
    assert!(said.len() > ROOM / 2, "{}", said.len());
    broker.start_again().await;
    for number in said {
        assert_eq!(line.next_event().await, number);
    }
}
