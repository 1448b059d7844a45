//! Sessions across kills of the hub, connections that break repeatedly, and damage of the file.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::mqtt::{Raw, V4, connect_with, packet, publish, subscribe};
use crate::sound;
use crate::world::{Toy, World, within};

const OPEN: (&str, &str) = ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0");

/// A client of 3.1.1 with a persistent session, and whether the session was present.
async fn resume(address: std::net::SocketAddr, id: &str, login: Option<&Toy>) -> (Raw, bool) {
    resume_as(address, id, login.map(|toy| (&*toy.device_key, &*toy.secret))).await
}

/// As [`resume`], with a user name and a password.
async fn resume_as(address: std::net::SocketAddr, id: &str, login: Option<(&str, &str)>) -> (Raw, bool) {
    let mut raw = Raw::open(address).await;
    let connect = match login {
        Some((name, password)) => connect_with(V4, 0xc0, 60, &[], id, &[], name, password),
        None => connect_with(V4, 0, 60, &[], id, &[], "", ""),
    };
    raw.send(&connect).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
    (raw, body[0] == 1)
}

/// The parts of a PUBLISH at QoS 1 or 2: QoS, packet id, payload.
fn parts(byte1: u8, body: &[u8]) -> (u8, u16, Vec<u8>) {
    assert_eq!(byte1 >> 4, 3, "{byte1:x} {body:?}");
    let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    (byte1 >> 1 & 3, u16::from_be_bytes([body[topic], body[topic + 1]]), body[topic + 2..].to_vec())
}

/// The next `count` events at QoS 1, which are acknowledged.
async fn receive_events(raw: &mut Raw, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let (byte1, body) = raw.packet().await;
        let (_, id, payload) = parts(byte1, &body);
        raw.send(&packet(0x40, &id.to_be_bytes())).await;
        events.push(serde_json::from_slice(&payload).unwrap());
    }
    events
}

/// Receives all messages of QoS 2 until the hub sends no more. A packet id that is not released is a repeat, as the
/// specification states. Returns the new messages.
async fn receive(raw: &mut Raw, held: &mut BTreeSet<u16>) -> Vec<u8> {
    let mut seen = Vec::new();
    raw.send(&[0xc0, 0]).await;
    let mut is_silent = false;
    // Stored messages follow the answer to the ping: the end is a second ping without a message in between.
    loop {
        let (byte1, body) = raw.packet().await;
        match byte1 >> 4 {
            3 => {
                let (_, id, payload) = parts(byte1, &body);
                if held.insert(id) {
                    seen.push(payload[0]);
                }
                raw.send(&packet(0x50, &id.to_be_bytes())).await;
                is_silent = false;
            }
            6 => {
                held.remove(&u16::from_be_bytes([body[0], body[1]]));
                raw.send(&packet(0x70, &body)).await;
                is_silent = false;
            }
            13 if is_silent && held.is_empty() => return seen,
            13 => {
                is_silent = true;
                raw.send(&[0xc0, 0]).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => panic!("{other}"),
        }
    }
}

/// The hub is killed at some moment between PUBLISH and PUBREC; the publisher repeats packets without an answer.
#[tokio::test]
async fn qos_2_is_exactly_once_whenever_the_hub_is_killed() {
    let mut world = World::start_with(&[OPEN]).await;
    let mut held = BTreeSet::new();
    let (mut listener, _) = resume(world.conformance_addr(), "listener", None).await;
    listener.send(&subscribe(V4, 1, &[("once", 2)])).await;
    listener.expect(0x90, &[0, 1, 2]).await;
    let (speaker, _) = resume(world.conformance_addr(), "speaker", None).await;
    drop(speaker);
    let mut seen = Vec::new();
    for round in 0..8u8 {
        let (mut speaker, present) = resume(world.conformance_addr(), "speaker", None).await;
        assert!(present);
        // The same id in each round: it is released after each, and is a new message then.
        speaker.send(&publish(V4, 0x34, "once", 7, &[round])).await;
        // From unread to answered.
        tokio::time::sleep(Duration::from_micros(400 * u64::from(round))).await;
        world.kill().await;
        world.start_hub().await;
        let (mut speaker, present) = resume(world.conformance_addr(), "speaker", None).await;
        assert!(present);
        speaker.send(&publish(V4, 0x3c, "once", 7, &[round])).await;
        speaker.expect(0x50, &[0, 7]).await;
        speaker.send(&packet(0x62, &[0, 7])).await;
        speaker.expect(0x70, &[0, 7]).await;
        let (mut listener, present) = resume(world.conformance_addr(), "listener", None).await;
        assert!(present);
        seen.extend(receive(&mut listener, &mut held).await);
        assert_eq!(seen, (0..=round).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn packet_ids_continue_after_a_kill() {
    let mut world = World::start_with(&[OPEN]).await;
    let (mut listener, _) = resume(world.conformance_addr(), "listener", None).await;
    listener.send(&subscribe(V4, 1, &[("once", 2)])).await;
    listener.expect(0x90, &[0, 1, 2]).await;
    let mut ids = Vec::new();
    for round in 0..3u8 {
        let (mut speaker, _) = resume(world.conformance_addr(), "speaker", None).await;
        for number in 1..=2u8 {
            speaker.send(&publish(V4, 0x34, "once", number.into(), &[round, number])).await;
            speaker.expect(0x50, &[0, number]).await;
            speaker.send(&packet(0x62, &[0, number])).await;
            speaker.expect(0x70, &[0, number]).await;
            let (byte1, body) = listener.packet().await;
            let (_, id, _) = parts(byte1, &body);
            listener.send(&packet(0x50, &id.to_be_bytes())).await;
            listener.expect(0x62, &id.to_be_bytes()).await;
            listener.send(&packet(0x70, &id.to_be_bytes())).await;
            ids.push(id);
        }
        listener.expect_silence().await;
        // The next commit also stores that the messages are acknowledged.
        speaker.send(&publish(V4, 0x34, "other", u16::from(10 + round), b"x")).await;
        speaker.expect(0x50, &[0, 10 + round]).await;
        drop(listener);
        world.kill().await;
        world.start_hub().await;
        listener = resume(world.conformance_addr(), "listener", None).await.0;
        listener.expect_silence().await;
    }
    assert_eq!(ids, [1, 2, 3, 4, 5, 6], "each stands for one message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_whose_connection_flaps_keeps_its_commands() {
    // One connection is sent 8 unread messages; 8 cycles of that are more than the session holds.
    const UNREAD: usize = 12;
    const COMMANDS: u8 = 20;
    let settings = [
        ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "16"),
        ("TOYHUB_MQTT__SESSION_MESSAGES_MAX", "40"),
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000"),
    ];
    let world = World::start_with(&settings).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
    let upload = || world.upload("/app_uploader", "reco_file", sound::wav(), &fields);
    join_all((0..UNREAD).map(|_| upload())).await.iter().for_each(|answer| assert_eq!(answer["code"], 0, "{answer}"));

    let (inbox, commands) = (format!("toy/{}/in", toy.id), format!("toy/{}/cmd/#", toy.id));
    let come_back = async || {
        let (mut raw, present) = resume(world.mqtt_addr(), "toy", Some(&toy)).await;
        raw.send(&subscribe(V4, 1, &[(&inbox, 1), (&commands, 1)])).await;
        (raw, present)
    };
    let (raw, present) = come_back().await;
    assert!(!present);
    drop(raw);
    world.wait_online(&parent, &toy.id, "0").await;
    let mut app = world.app(&parent).await;
    for number in 0..COMMANDS {
        let topic = format!("toy/{}/cmd/{number}", toy.id);
        let request = serde_json::json!({"do": "publish", "topic": topic, "payload": format!("command {number}")});
        let answer = app.ask(request).await;
        assert_eq!(answer["code"], 0, "{answer}");
    }
    for _ in 0..8 {
        let (mut raw, present) = come_back().await;
        assert!(present);
        // It reads some, acknowledges none and disconnects.
        within("something", raw.packet()).await;
        drop(raw);
    }
    let (mut raw, present) = come_back().await;
    assert!(present);
    let (mut seen, mut messages) = (BTreeSet::new(), BTreeSet::new());
    while seen.len() < usize::from(COMMANDS) || messages.len() < 8 {
        let (byte1, body) = raw.packet().await;
        if byte1 >> 4 != 3 {
            continue;
        }
        let (qos, id, payload) = parts(byte1, &body);
        assert_eq!(qos, 1);
        raw.send(&packet(0x40, &id.to_be_bytes())).await;
        match serde_json::from_slice::<Value>(&payload) {
            Ok(event) => drop(messages.insert(event["_id"].as_str().unwrap().to_owned())),
            Err(_) => drop(seen.insert(String::from_utf8(payload).unwrap())),
        }
    }
    assert_eq!(seen, (0..COMMANDS).map(|number| format!("command {number}")).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_messages_reach_a_kept_session_once_and_oldest_first() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
    let mut sent = Vec::new();
    let mut send = async |world: &World, number| {
        let answer = world.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
        sent.push(answer["data"]["_id"].as_str().unwrap().to_owned());
    };
    // No session has the first one, as if the hub had ended before it was published.
    send(&world, 1).await;
    let (mut raw, _) = resume(world.mqtt_addr(), "toy", Some(&toy)).await;
    raw.send(&subscribe(V4, 1, &[(&format!("toy/{}/in", toy.id), 1)])).await;
    // Unread messages may precede the SUBACK.
    while raw.packet().await.0 != 0x90 {}
    drop(raw);
    world.wait_online(&parent, &toy.id, "0").await;
    send(&world, 2).await;
    world.kill().await;
    world.start_hub().await;
    send(&world, 3).await;

    let (mut raw, present) = resume(world.mqtt_addr(), "toy", Some(&toy)).await;
    assert!(present);
    let received = receive_events(&mut raw, sent.len()).await;
    assert_eq!(received.iter().map(|event| event["_id"].as_str().unwrap()).collect::<Vec<_>>(), sent);
    raw.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_kept_session_is_sent_each_unread_message_once() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", &parent.id), ("friend_type", "app")];
    let mut sent = Vec::new();
    let mut send = async |world: &World, number| {
        let answer = world.upload("/toy_uploader", "reco", sound::tone(number), &fields).await;
        assert_eq!(answer["code"], 0, "{answer}");
        sent.push(answer["data"]["_id"].as_str().unwrap().to_owned());
    };
    let login = Some((parent.id.as_str(), parent.token.as_str()));
    send(&world, 1).await;
    let (mut raw, _) = resume_as(world.mqtt_addr(), "phone", login).await;
    raw.send(&subscribe(V4, 1, &[(&format!("app/{}/in", parent.id), 1)])).await;
    while raw.packet().await.0 != 0x90 {}
    drop(raw);
    send(&world, 2).await;
    world.kill().await;
    world.start_hub().await;
    send(&world, 3).await;

    let (mut raw, present) = resume_as(world.mqtt_addr(), "phone", login).await;
    assert!(present);
    let received = receive_events(&mut raw, sent.len()).await;
    assert!(received.iter().all(|event| event["seq"].is_u64()), "{received:?}");
    assert_eq!(received.iter().map(|event| event["_id"].as_str().unwrap()).collect::<Vec<_>>(), sent);
    raw.expect_silence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_stops_the_start_with_one_line() {
    let mut world = World::start_with(&[OPEN]).await;
    let (mut listener, _) = resume(world.conformance_addr(), "listener", None).await;
    listener.send(&subscribe(V4, 1, &[("a", 1)])).await;
    listener.expect(0x90, &[0, 1, 1]).await;
    world.stop().await;
    let path = world.data_dir().join("sessions.redb");
    let sound = std::fs::read(&path).unwrap();
    let mut damaged = vec![("cut off", sound[..sound.len() / 2].to_vec()), ("empty", Vec::new())];
    let mut scrambled = sound.clone();
    scrambled[4096..].iter_mut().for_each(|byte| *byte ^= 0x55);
    damaged.push(("scrambled", scrambled));
    damaged.push(("another file", b"not a database".repeat(500)));
    for (what, bytes) in damaged {
        std::fs::write(&path, bytes).unwrap();
        let output = within("the program", world.command(&["serve"]).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{what}");
        assert_eq!(message.trim().lines().count(), 1, "{what}: {message}");
        for words in ["sessions.redb", "damaged", "'toyhub restore'", "'toyhub doctor --repair'"] {
            assert!(message.contains(words), "{what}: {message}");
        }
    }
    std::fs::write(&path, sound).unwrap();
    world.start_hub().await;
    assert!(resume(world.conformance_addr(), "listener", None).await.1);
}
