//! Sessions that outlive their connection and the process: `kill -9` at any moment loses no acknowledged message.

use std::time::Duration;

use crate::mqtt::{Raw, V4, V5, connect_with, packet, publish, subscribe, text};
use crate::world::{World, within};

const OPEN: (&str, &str) = ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0");

/// A guest with a persistent session, and whether the session was present.
async fn resume(world: &World, level: u8, id: &str) -> (Raw, bool) {
    let mut raw = Raw::open(world.conformance_addr()).await;
    // v5: session expiry of an hour.
    raw.send(&connect_with(level, 0, 60, &[0x11, 0, 0, 0x0e, 0x10], id, &[], "", "")).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
    (raw, body[0] == 1)
}

/// A guest without a persistent session.
async fn guest(world: &World, level: u8, id: &str) -> Raw {
    let mut raw = Raw::open(world.conformance_addr()).await;
    raw.send(&connect_with(level, 2, 60, &[], id, &[], "", "")).await;
    assert_eq!(raw.packet().await.1[..2], [0, 0]);
    raw
}

async fn listen(raw: &mut Raw, level: u8, filter: &str, qos: u8) {
    raw.send(&subscribe(level, 1, &[(filter, qos)])).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, body.last()), (0x90, Some(&qos)));
}

/// Sends a message, and waits until it is completely acknowledged.
pub async fn say(raw: &mut Raw, topic: &str, qos: u8, id: u16, payload: &[u8]) {
    raw.send(&publish(V4, 0x30 | qos << 1, topic, id, payload)).await;
    if qos == 1 {
        raw.expect(0x40, &id.to_be_bytes()).await;
    } else {
        raw.expect(0x50, &id.to_be_bytes()).await;
        raw.send(&packet(0x62, &id.to_be_bytes())).await;
        raw.expect(0x70, &id.to_be_bytes()).await;
    }
}

/// The next PUBLISH of 3.1.1 at QoS 1 or 2: first byte, packet id, payload.
async fn message(raw: &mut Raw) -> (u8, u16, Vec<u8>) {
    let (byte1, body) = raw.packet().await;
    assert_eq!(byte1 >> 4, 3, "{byte1:x} {body:?}");
    let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    (byte1, u16::from_be_bytes([body[topic], body[topic + 1]]), body[topic + 2..].to_vec())
}

#[tokio::test]
async fn acknowledged_messages_survive_a_kill() {
    let mut world = World::start_with(&[OPEN]).await;
    let (mut away, present) = resume(&world, V4, "away").await;
    assert!(!present);
    listen(&mut away, V4, "news/#", 2).await;
    away.send(&[0xe0, 0]).await;
    away.expect_end().await;
    let mut speaker = guest(&world, V4, "speaker").await;
    for number in 1..=20u8 {
        say(&mut speaker, "news/你好", 1 + number % 2, number.into(), &[number]).await;
    }
    say(&mut speaker, "other", 1, 99, b"not for it").await;
    world.kill().await;
    world.start_hub().await;

    let (mut away, present) = resume(&world, V4, "away").await;
    assert!(present);
    let mut ids = Vec::new();
    for number in 1..=20u8 {
        let (byte1, id, payload) = message(&mut away).await;
        let qos = 1 + number % 2;
        assert_eq!((byte1 & 6, payload), (qos << 1, vec![number]));
        ids.push((qos, id));
    }
    for (qos, id) in ids {
        if qos == 1 {
            away.send(&packet(0x40, &id.to_be_bytes())).await;
        } else {
            away.send(&packet(0x50, &id.to_be_bytes())).await;
            away.expect(0x62, &id.to_be_bytes()).await;
            away.send(&packet(0x70, &id.to_be_bytes())).await;
        }
    }
    away.expect_silence().await;
    drop(away);
    let (mut away, present) = resume(&world, V4, "away").await;
    assert!(present);
    away.expect_silence().await;
}

#[tokio::test]
async fn qos_2_stays_exactly_once_across_a_kill() {
    let mut world = World::start_with(&[OPEN]).await;
    let (mut listener, _) = resume(&world, V4, "listener").await;
    listen(&mut listener, V4, "once", 2).await;
    let (mut speaker, _) = resume(&world, V4, "speaker").await;
    speaker.send(&publish(V4, 0x34, "once", 5, b"x")).await;
    speaker.expect(0x50, &[0, 5]).await;
    let (byte1, id, _) = message(&mut listener).await;
    assert_eq!(byte1, 0x34);
    world.kill().await;
    world.start_hub().await;

    // Neither client knows the outcome: the sender repeats the message, and the hub repeats it to the receiver.
    let (mut speaker, present) = resume(&world, V4, "speaker").await;
    assert!(present);
    speaker.send(&publish(V4, 0x3c, "once", 5, b"x")).await;
    speaker.expect(0x50, &[0, 5]).await;
    speaker.send(&packet(0x62, &[0, 5])).await;
    speaker.expect(0x70, &[0, 5]).await;
    let (mut listener, _) = resume(&world, V4, "listener").await;
    assert_eq!(message(&mut listener).await, (0x3c, id, b"x".to_vec()), "the same id, marked as a repeat");
    listener.send(&packet(0x50, &id.to_be_bytes())).await;
    listener.expect(0x62, &id.to_be_bytes()).await;
    world.kill().await;
    world.start_hub().await;

    let (mut listener, _) = resume(&world, V4, "listener").await;
    listener.expect(0x62, &id.to_be_bytes()).await;
    listener.send(&packet(0x70, &id.to_be_bytes())).await;
    listener.expect_silence().await;
    // The sender's id is released: the same id is a new message.
    let (mut speaker, _) = resume(&world, V4, "speaker").await;
    speaker.send(&publish(V4, 0x34, "once", 5, b"y")).await;
    speaker.expect(0x50, &[0, 5]).await;
    assert_eq!(message(&mut listener).await.2, b"y");
}

#[tokio::test]
async fn a_full_session_drops_by_its_policy_and_counts() {
    for (policy, kept) in [("drop_oldest", [3u8, 4, 5]), ("drop_newest", [1, 2, 3])] {
        let settings = [OPEN, ("TOYHUB_MQTT__SESSION_MESSAGES_MAX", "3"), ("TOYHUB_MQTT__SYS_INTERVAL_S", "1")];
        let world = World::start_with(&[&settings[..], &[("TOYHUB_MQTT__SESSION_OVERFLOW", policy)]].concat()).await;
        let (mut away, _) = resume(&world, V4, "away").await;
        listen(&mut away, V4, "a", 1).await;
        drop(away);
        let mut speaker = guest(&world, V4, "speaker").await;
        for number in 1..=5u8 {
            say(&mut speaker, "a", 1, number.into(), &[number]).await;
        }
        let (mut away, present) = resume(&world, V4, "away").await;
        assert!(present);
        for number in kept {
            assert_eq!(message(&mut away).await.2, [number], "{policy}");
        }
        away.expect_silence().await;
        speaker.send(&subscribe(V4, 9, &[("$SYS/broker/sessions/dropped", 0)])).await;
        speaker.expect(0x90, &[0, 9, 0]).await;
        within("the figure", async {
            loop {
                let (_, body) = speaker.packet().await;
                if body.ends_with(b"2") {
                    break;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_slow_reader_of_a_kept_session_gets_all_messages() {
    const MESSAGES: u16 = 600;
    let world =
        World::start_with(&[OPEN, ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "8"), ("TOYHUB_MQTT__INFLIGHT_MAX", "4")]).await;
    let (mut slow, _) = resume(&world, V4, "slow").await;
    listen(&mut slow, V4, "flood", 1).await;
    let mut speaker = guest(&world, V4, "speaker").await;
    for number in 1..=MESSAGES {
        say(&mut speaker, "flood", 1, number, &number.to_be_bytes()).await;
    }
    for number in 1..=MESSAGES {
        let (byte1, id, payload) = message(&mut slow).await;
        assert_eq!((byte1, payload), (0x32, number.to_be_bytes().to_vec()));
        slow.send(&packet(0x40, &id.to_be_bytes())).await;
    }
    slow.expect_silence().await;
}

#[tokio::test]
async fn retained_messages_survive_a_kill_until_they_expire() {
    let mut world = World::start_with(&[OPEN]).await;
    let mut speaker = guest(&world, V4, "speaker").await;
    for (topic, payload) in [("kept/a", &b"1"[..]), ("kept/b", b"2"), ("kept/b", b"")] {
        speaker.send(&publish(V4, 0x33, topic, 7, payload)).await;
        speaker.expect(0x40, &[0, 7]).await;
    }
    let mut modern = guest(&world, V5, "modern").await;
    for (topic, seconds) in [("kept/short", 1), ("kept/long", 100)] {
        let mut body = text(topic);
        body.extend([0, 7, 5, 2, 0, 0, 0, seconds, b'x']);
        modern.send(&packet(0x33, &body)).await;
        modern.expect(0x40, &[0, 7]).await;
    }
    world.kill().await;
    world.start_hub().await;
    within("the short one expires", async {
        loop {
            let mut listener = guest(&world, V5, "listener").await;
            listen(&mut listener, V5, "kept/#", 1).await;
            let mut found = Vec::new();
            listener.send(&[0xc0, 0]).await;
            loop {
                let (byte1, body) = listener.packet().await;
                if byte1 == 0xd0 {
                    break;
                }
                assert_eq!(byte1, 0x33, "retained, QoS 1");
                let topic = String::from_utf8(body[2..2 + usize::from(body[1])].to_vec()).unwrap();
                if topic == "kept/long" {
                    let expiry = &body[body.len() - 7..];
                    assert_eq!(&expiry[..5], [5, 2, 0, 0, 0]);
                    assert!(expiry[5] <= 100);
                }
                found.push(topic);
            }
            found.sort();
            if found == ["kept/a", "kept/long"] {
                break;
            }
            assert_eq!(found, ["kept/a", "kept/long", "kept/short"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_shares_its_messages() {
    let world = World::start_with(&[OPEN]).await;
    let mut members = [guest(&world, V5, "one").await, guest(&world, V5, "two").await];
    for member in &mut members {
        listen(member, V5, "$share/group/jobs/#", 1).await;
    }
    let mut other = guest(&world, V4, "other").await;
    listen(&mut other, V4, "jobs/1", 0).await;
    let mut speaker = guest(&world, V4, "speaker").await;
    for number in 0..10u8 {
        say(&mut speaker, "jobs/1", 1, 1 + u16::from(number), &[number]).await;
    }
    let mut seen = Vec::new();
    for member in &mut members {
        for _ in 0..5 {
            let (_, body) = member.packet().await;
            seen.push(*body.last().unwrap());
        }
        member.expect_silence().await;
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<u8>>());
    for number in 0..10u8 {
        assert_eq!(other.packet().await.1.last(), Some(&number));
    }
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_for_the_client() {
    let world = World::start_with(&[OPEN]).await;
    let mut listener = guest(&world, V4, "listener").await;
    listen(&mut listener, V4, "wills/#", 0).await;
    let with_will = |topic: &str, delay_s: u8| {
        let mut will = vec![5, 0x18, 0, 0, 0, delay_s];
        will.extend(text(topic));
        will.extend(text("gone"));
        connect_with(V5, 0x04, 60, &[0x11, 0, 0, 0x0e, 0x10], topic, &will, "", "")
    };
    for (topic, delay_s) in [("wills/back", 100), ("wills/late", 1)] {
        let mut raw = Raw::open(world.conformance_addr()).await;
        raw.send(&with_will(topic, delay_s)).await;
        assert_eq!(raw.packet().await.1[..2], [0, 0]);
        drop(raw);
    }
    let (_back, present) = resume(&world, V5, "wills/back").await;
    assert!(present);
    let expected = [text("wills/late"), b"gone".to_vec()].concat();
    listener.expect(0x30, &expected).await;
    listener.expect_silence().await;
}

#[tokio::test]
async fn a_client_that_reconnects_takes_its_session_over() {
    let world = World::start_with(&[OPEN]).await;
    let (mut old, _) = resume(&world, V5, "same").await;
    listen(&mut old, V5, "a", 1).await;
    let (mut new, present) = resume(&world, V5, "same").await;
    assert!(present);
    old.expect(0xe0, &[0x8e, 0]).await;
    old.expect_end().await;
    let mut speaker = guest(&world, V4, "speaker").await;
    say(&mut speaker, "a", 1, 1, b"x").await;
    assert_eq!(new.packet().await.1.last(), Some(&b'x'));
}
