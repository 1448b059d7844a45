//! Flow control from outside: publishers wait for a subscriber that is behind, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::json;

use crate::mqtt::{Raw, V4, V5, connect_with, packet, publish, subscribe};
use crate::world::{World, within};

const OPEN: (&str, &str) = ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0");
/// Longer than any test: no client may be closed as slow.
const PATIENT: (&str, &str) = ("TOYHUB_MQTT__BACKPRESSURE_MAX_S", "600");

/// A client without a kept session that has at most `in_flight` messages unanswered.
fn client(world: &World, id: &str, in_flight: u16) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, "127.0.0.1", world.conformance_addr().port());
    options.set_inflight(in_flight).set_keep_alive(Duration::from_secs(600));
    AsyncClient::new(options, 10)
}

/// Reads until the client is subscribed.
async fn subscribed(world: &World, id: &str, topic: &str) -> (AsyncClient, EventLoop) {
    let (client, mut events) = client(world, id, 100);
    client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
    within("SUBACK", async { while !matches!(events.poll().await, Ok(Event::Incoming(Packet::SubAck(_)))) {} }).await;
    (client, events)
}

/// The payloads of the next `count` messages.
async fn read(events: &mut EventLoop, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        if let Event::Incoming(Packet::Publish(publish)) = within("a message", events.poll()).await.unwrap() {
            payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        }
    }
    payloads
}

/// Publishes `"<id> 0"`, `"<id> 1"`, … and returns when all are acknowledged.
async fn publish_all(publisher: (AsyncClient, EventLoop), id: &str, topic: &str, count: usize, acked: &AtomicUsize) {
    let (client, mut events) = publisher;
    let feed = async {
        for number in 0..count {
            client.publish(topic, QoS::AtLeastOnce, false, format!("{id} {number}")).await.unwrap();
        }
    };
    let drive = async {
        while acked.load(Ordering::Relaxed) < count {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                acked.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    tokio::join!(feed, drive);
}

fn numbered(id: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{id} {number}")).collect()
}

async fn guest(world: &World, level: u8, id: &str) -> Raw {
    let mut raw = Raw::open(world.conformance_addr()).await;
    raw.send(&connect_with(level, 2, 60, &[], id, &[], "", "")).await;
    assert_eq!(raw.packet().await.1[..2], [0, 0]);
    raw
}

#[tokio::test]
async fn a_reader_that_pauses_misses_nothing() {
    const COUNT: usize = 3000;
    let world = World::start_with(&[OPEN]).await;
    let (_reader, mut events) = subscribed(&world, "reader", "a").await;
    let acked = AtomicUsize::new(0);
    let publishing = publish_all(client(&world, "writer", 64), "m", "a", COUNT, &acked);
    let reading = async {
        within("messages to wait", async {
            while acked.load(Ordering::Relaxed) < 100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // The pause itself: the reader's own.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(acked.load(Ordering::Relaxed) < 500, "the writer waits");
        read(&mut events, COUNT).await
    };
    let ((), payloads) = tokio::join!(publishing, reading);
    assert_eq!(payloads, numbered("m", COUNT));
}

#[tokio::test]
async fn a_reader_that_never_reads_delays_only_its_own_publishers() {
    let world = World::start_with(&[OPEN, PATIENT]).await;
    let mut dead = guest(&world, V5, "dead").await;
    dead.send(&subscribe(V5, 1, &[("a", 1)])).await;
    dead.expect(0x90, &[0, 1, 0, 1]).await;
    // One half of the queue takes 128; and 32 more, if they are on their way before it is full.
    let room = 128..=160;
    let acked = Arc::new(AtomicUsize::new(0));
    let (writer, counter) = (client(&world, "writer", 64), Arc::clone(&acked));
    let held_up = tokio::spawn(async move { publish_all(writer, "m", "a", 400, &counter).await });
    within("the room to be used up", async {
        while acked.load(Ordering::Relaxed) < *room.start() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let (_reader, mut events) = subscribed(&world, "reader", "b").await;
    let (other, reader) = (AtomicUsize::new(0), client(&world, "other writer", 64));
    let ((), payloads) = tokio::join!(publish_all(reader, "n", "b", 2000, &other), read(&mut events, 2000));
    assert_eq!(payloads, numbered("n", 2000));
    assert!(room.contains(&acked.load(Ordering::Relaxed)));
    assert!(!held_up.is_finished());
    for _ in 0..32 {
        assert_eq!(dead.packet().await.0, 0x32);
    }
    dead.expect_silence().await;
    held_up.abort();
}

#[tokio::test]
async fn a_reader_that_never_reads_is_disconnected() {
    let world = World::start_with(&[OPEN, ("TOYHUB_MQTT__BACKPRESSURE_MAX_S", "1")]).await;
    let mut dead = guest(&world, V5, "dead").await;
    dead.send(&subscribe(V5, 1, &[("a", 1)])).await;
    dead.expect(0x90, &[0, 1, 0, 1]).await;
    let acked = AtomicUsize::new(0);
    within("the writer", publish_all(client(&world, "writer", 64), "m", "a", 400, &acked)).await;
    for _ in 0..32 {
        assert_eq!(dead.packet().await.0, 0x32);
    }
    dead.expect(0xe0, &[0x97, 0]).await;
    dead.expect_end().await;
}

#[tokio::test]
async fn two_clients_that_publish_to_each_other_both_finish() {
    const COUNT: usize = 5000;
    // With few messages in flight, both queues are behind all the time.
    let world = World::start_with(&[OPEN, PATIENT, ("TOYHUB_MQTT__INFLIGHT_MAX", "2")]).await;
    let talk = async |(client, mut events): (AsyncClient, EventLoop), other: &'static str| {
        let feed = async {
            for number in 0..COUNT {
                client.publish(other, QoS::AtLeastOnce, false, format!("m {number}")).await.unwrap();
            }
        };
        let drive = async {
            let (mut acked, mut payloads) = (0, Vec::new());
            while acked < COUNT || payloads.len() < COUNT {
                match within("progress", events.poll()).await.unwrap() {
                    Event::Incoming(Packet::PubAck(_)) => acked += 1,
                    Event::Incoming(Packet::Publish(publish)) => {
                        payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                    }
                    _ => {}
                }
            }
            payloads
        };
        tokio::join!(feed, drive).1
    };
    // Both subscribe before either publishes: a message without a subscriber is not delivered.
    let (one, two) = (subscribed(&world, "one", "one").await, subscribed(&world, "two", "two").await);
    let (one, two) = tokio::join!(talk(one, "two"), talk(two, "one"));
    assert_eq!(one, numbered("m", COUNT));
    assert_eq!(two, numbered("m", COUNT));
}

#[tokio::test]
async fn a_client_can_publish_to_itself() {
    let world = World::start_with(&[OPEN, PATIENT, ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "40")]).await;
    for (qos, count) in [(1, 60u16), (2, 30)] {
        let mut raw = guest(&world, V4, "echo").await;
        raw.send(&subscribe(V4, 1, &[("echo", qos)])).await;
        raw.expect(0x90, &[0, 1, qos]).await;
        // All at once, so that its acknowledgements follow its messages.
        let all: Vec<u8> = (1..=count).flat_map(|id| publish(V4, 0x30 | qos << 1, "echo", id, b"x")).collect();
        raw.send(&all).await;
        let (mut echoes, mut answers) = (0, 0);
        while echoes < count || answers < count {
            let (byte1, body) = raw.packet().await;
            match (byte1 >> 4, qos) {
                (3, 1) => {
                    echoes += 1;
                    raw.send(&packet(0x40, &body[6..8])).await;
                }
                (3, _) => raw.send(&packet(0x50, &body[6..8])).await,
                (6, _) => {
                    echoes += 1;
                    raw.send(&packet(0x70, &body)).await;
                }
                (4 | 5, _) => {
                    answers += 1;
                    assert_eq!(body, answers.to_be_bytes(), "in the order of the messages");
                    if qos == 2 {
                        raw.send(&packet(0x62, &body)).await;
                    }
                }
                (7, _) => {}
                _ => panic!("{byte1:x}"),
            }
        }
    }
}

#[tokio::test]
async fn many_writers_to_one_reader_lose_nothing() {
    const WRITERS: usize = 20;
    const COUNT: usize = 500;
    let world = World::start_with(&[OPEN]).await;
    let (_reader, mut events) = subscribed(&world, "reader", "a").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let id = format!("writer{number}");
            let writer = client(&world, &id, 64);
            tokio::spawn(async move { publish_all(writer, &id, "a", COUNT, &AtomicUsize::new(0)).await })
        })
        .collect();
    let payloads = read(&mut events, WRITERS * COUNT).await;
    for number in 0..WRITERS {
        let id = format!("writer{number}");
        let of_one: Vec<_> = payloads.iter().filter(|text| text.split(' ').next() == Some(&*id)).cloned().collect();
        assert_eq!(of_one, numbered(&id, COUNT));
    }
    for writer in writers {
        within("the writers", writer).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_the_hub_does_not_read_is_not_timed_out() {
    let settings = [OPEN, PATIENT, ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "8"), ("TOYHUB_MQTT__INFLIGHT_MAX", "4")];
    let world = World::start_with(&settings).await;
    let mut reader = guest(&world, V4, "reader").await;
    reader.send(&subscribe(V4, 1, &[("a", 1)])).await;
    reader.expect(0x90, &[0, 1, 1]).await;
    let mut writer = Raw::open(world.conformance_addr()).await;
    // A keep alive of one second. The number of queued, held and deferred messages is smaller than this.
    writer.send(&connect_with(V4, 2, 1, &[], "writer", &[], "", "")).await;
    writer.expect(0x20, &[0, 0]).await;
    let all: Vec<u8> = (1..=60).flat_map(|id| publish(V4, 0x32, "a", id, &[id as u8])).collect();
    writer.send(&all).await;
    // Longer than the silence that ends a connection.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for number in 1..=60 {
        let (byte1, body) = reader.packet().await;
        assert_eq!((byte1, body.last()), (0x32, Some(&number)));
        reader.send(&packet(0x40, &body[3..5])).await;
        // From here on the hub reads it again, and its keep alive applies.
        writer.send(&[0xc0, 0]).await;
    }
    let mut acknowledged = 0;
    while acknowledged < 60 {
        let (byte1, body) = writer.packet().await;
        if byte1 == 0x40 {
            acknowledged += 1;
            assert_eq!(body, [0, acknowledged]);
        }
    }
}

#[tokio::test]
async fn a_client_that_disconnects_while_it_waits_has_its_messages_published() {
    let world = World::start_with(&[OPEN, PATIENT, ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "64")]).await;
    let mut reader = guest(&world, V4, "reader").await;
    reader.send(&subscribe(V4, 1, &[("a", 1)])).await;
    reader.expect(0x90, &[0, 1, 1]).await;
    let mut writer = guest(&world, V4, "writer").await;
    let mut all: Vec<u8> = (1..=80).flat_map(|id| publish(V4, 0x32, "a", id, &[id as u8])).collect();
    all.extend([0xe0, 0]);
    writer.send(&all).await;
    for number in 1..=80 {
        let (byte1, body) = reader.packet().await;
        assert_eq!((byte1, body.last()), (0x32, Some(&number)));
        reader.send(&packet(0x40, &body[3..5])).await;
    }
}

#[tokio::test]
async fn an_app_that_awaits_an_answer_still_receives_pushes() {
    let settings = [PATIENT, ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "8"), ("TOYHUB_MQTT__INFLIGHT_MAX", "4")];
    let world = World::start_with(&settings).await;
    let user = world.user("mia").await;
    let toy = world.toy(&user, "fluffy").await;
    let (cmd, state) = (format!("toy/{}/cmd/x", toy.id), format!("toy/{}/state/x", toy.id));
    let mut raw = Raw::connected(world.mqtt_addr(), V4, "a", &toy.device_key, &toy.secret).await;
    raw.send(&subscribe(V4, 1, &[(&cmd, 1)])).await;
    raw.expect(0x90, &[0, 1, 1]).await;
    let mut app = world.app(&user).await;
    app.send(json!({"id": 1, "do": "subscribe", "topic": state})).await;
    assert_eq!(app.answer(1).await["code"], 0);
    // 4 in flight, and 4 in one half of the queue.
    for id in 10..18 {
        app.send(json!({"id": id, "do": "publish", "topic": cmd, "payload": "x"})).await;
        assert_eq!(app.answer(id).await["code"], 0);
    }
    app.send(json!({"id": 18, "do": "publish", "topic": cmd, "payload": "x"})).await;
    raw.send(&publish(V4, 0x30, &state, 0, b"on")).await;
    assert_eq!(app.frame().await["payload"], "on", "before the answer");
    for _ in 0..9 {
        let (byte1, body) = raw.packet().await;
        assert_eq!(byte1, 0x32);
        raw.send(&packet(0x40, &body[2 + cmd.len()..4 + cmd.len()])).await;
    }
    assert_eq!(app.answer(18).await["code"], 0);
}
