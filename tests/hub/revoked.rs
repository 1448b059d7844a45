//! A revoked login or permission ends the connections that depend on it within five seconds.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::calls::Edges;
use crate::mqtt::{Raw, V4, V5, connect, connect_with, packet, publish, subscribe, text};
use crate::world::World;

const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_unbound_toy_is_disconnected_and_its_sessions_end() {
    let world = World::start().await;
    let owner = world.user("papa").await;
    let toy = world.toy(&owner, "fluffy").await;
    let mut app = world.app(&owner).await;
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &toy.device_key, &toy.secret).await;
    raw.send(&publish(V5, 0x33, &format!("toy/{}/state/battery", toy.id), 7, b"80")).await;
    raw.expect(0x40, &[0, 7]).await;

    let stranger = world.user("stranger").await;
    let mut other = world.app(&stranger).await;
    other.send(json!({"id": 1, "do": "unbind", "toy": toy.id})).await;
    assert_ne!(other.frame().await["code"], 0, "somebody else's toy");

    app.send(json!({"id": 1, "do": "unbind", "toy": toy.id})).await;
    timeout(AT_ONCE, raw.expect(0xe0, &[0x98, 0])).await.expect("cut off in time");
    raw.expect_end().await;
    assert_eq!(app.frame().await["code"], 0);
    for level in [V4, V5] {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect(level, "a", &toy.device_key, &toy.secret)).await;
        raw.expect(0x20, if level == V4 { &[0, 4] } else { &[0, 0x86, 0] }).await;
    }
    app.send(json!({"id": 2, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_ne!(app.frame().await["code"], 0, "nobody owns it");
    assert!(world.run(&["device", "list"]).await.contains("unbound"));
    let friends = world.post_as(&owner, "/friend_list", json!({"_id": owner.id})).await;
    assert!(!friends.to_string().contains(&toy.id), "{friends}");
}

#[tokio::test]
async fn logging_out_everywhere_closes_the_connections() {
    let world = World::start().await;
    let user = world.user("papa").await;
    let mut app = world.app(&user).await;
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &user.id, &user.token).await;
    world.run(&["user", "log-out", &user.username]).await;
    timeout(AT_ONCE, raw.expect(0xe0, &[0x98, 0])).await.expect("cut off in time");
    assert_eq!(timeout(AT_ONCE, app.close_code()).await.expect("cut off in time"), 4501);
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect(V4, "a", &user.id, &user.token)).await;
    raw.expect(0x20, &[0, 4]).await;
}

/// Whoever is at a place of a party, by its address alone.
#[tokio::test]
async fn a_token_that_is_wanted_or_a_new_secret_ends_what_an_address_alone_has_opened() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let (first, second) = (world.toy(&mia, "Fluffy").await, world.toy(&mia, "Rex").await);
    for (toy, proof) in [(&first, json!({})), (&second, json!({"token": second.secret}))] {
        let mut opening = json!({"device_key": toy.device_key});
        opening.as_object_mut().unwrap().extend(proof.as_object().unwrap().clone());
        world.ok("/open_toy", opening).await;
    }
    let reads = async |who: &str, from: &str| {
        world.post("/recv_msg", json!({"from_user": from, "to_user": who})).await.1["code"].clone()
    };
    for (who, from, path) in [(&first.id, &mia.id, "toy"), (&second.id, &mia.id, "toy"), (&mia.id, &first.id, "app")] {
        assert_eq!(reads(who, from).await, json!(null), "a list");
        let mut socket = world.legacy_socket(&format!("/{path}/{who}"), None).await;
        match who {
            who if *who == first.id => world.run(&["toy", "only-token", who]).await,
            who if *who == second.id => world.run(&["device", "renew", &second.device_key]).await,
            _ => world.run(&["user", "only-token", &mia.username]).await,
        };
        assert_eq!(timeout(AT_ONCE, socket.close_code()).await.expect("cut off in time"), 4501);
        assert_eq!(reads(who, from).await, json!(10));
    }
    // A place does not come back with the permission to call without a token.
    world.run(&["toy", "only-token", &first.id, "--off"]).await;
    world.run(&["user", "only-token", &mia.username, "--off"]).await;
    assert_eq!(reads(&first.id, &mia.id).await, json!(10));
    assert_eq!(reads(&mia.id, &first.id).await, json!(10));

    // A guardian wishes it without the operator, for own toys only.
    let mut edges = Edges::open_app(&world, &mia).await;
    edges.ok("only_token", json!({"user_id": mia.id}), json!({"toy_id": first.id})).await;
    drop(edges);
    let proof = json!({"device_key": first.device_key, "token": first.secret});
    world.ok("/open_toy", proof.clone()).await;
    assert_eq!(reads(&first.id, &mia.id).await, json!(10));
    let withdrawn = json!({"user_id": mia.id, "toy_id": first.id, "withdraw": true});
    assert_eq!(world.post_as(&mia, "/only_token", withdrawn).await["code"], 0);
    world.ok("/open_toy", proof).await;
    assert_eq!(reads(&first.id, &mia.id).await, json!(null));
    let eve = world.user("eve").await;
    let of_others = json!({"user_id": eve.id, "toy_id": first.id});
    assert_eq!(world.post_as(&eve, "/only_token", of_others).await["code"], 1);
}

#[tokio::test]
async fn queued_messages_are_withheld_after_a_lost_permission() {
    let world = World::start().await;
    let owner = world.user("papa").await;
    let toy = world.toy(&owner, "fluffy").await;
    let state = |key: &str| format!("toy/{}/state/{key}", toy.id);
    let resume = async |present: u8| {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect_with(V4, 0xc0, 60, &[], "phone", &[], &owner.id, &owner.token)).await;
        raw.expect(0x20, &[present, 0]).await;
        raw
    };
    let mut phone = resume(0).await;
    phone.send(&subscribe(V4, 1, &[(&state("#"), 1)])).await;
    phone.expect(0x90, &[0, 1, 1]).await;
    phone.send(&[0xe0, 0]).await;
    phone.expect_end().await;
    let mut raw = Raw::connected(world.mqtt_addr(), V4, "a", &toy.device_key, &toy.secret).await;
    for (id, key) in [(1, "before"), (2, "after")] {
        raw.send(&publish(V4, 0x32, &state(key), id, b"x")).await;
        raw.expect(0x40, &id.to_be_bytes()).await;
    }
    let mut phone = resume(1).await;
    assert_eq!(phone.packet().await.0, 0x32, "while the toy is the owner's");
    drop(phone);
    world.run(&["toy", "unbind", &toy.id]).await;
    let mut phone = resume(1).await;
    phone.expect_silence().await;
    phone.send(&packet(0xa2, &[&[0, 9][..], &text(&state("#"))].concat())).await;
    phone.expect(0xb0, &[0, 9]).await;
}

#[tokio::test]
async fn a_will_that_its_client_may_not_publish_is_refused_with_its_connect() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let (toy, other) = (world.toy(&mia, "Fluffy").await, world.bound_toy("Rex").await);
    let connects = async |level: u8, topic: &str, user: &str, password: &str| {
        let properties = if level == V5 { &[0][..] } else { &[] };
        let will = [properties, &text(topic), &text("gone")].concat();
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect_with(level, 0xc6, 60, &[], "with-a-will", &will, user, password)).await;
        let (kind, answer) = raw.packet().await;
        assert_eq!((kind, answer[0]), (0x20, 0));
        answer[1]
    };
    let own = format!("toy/{}/state/gone", toy.id);
    let of_toy = [
        format!("toy/{}/state/gone", other.id),
        format!("toy/{}/out", toy.id),
        format!("toy/{}/voice/upload/0", toy.id),
        format!("toy/{}/file/Success.mp3/0", toy.id),
        format!("toy/{}/in", toy.id),
        format!("online/{}", toy.id),
        format!("chat/{}", "0".repeat(24)),
        "$SYS/broker/uptime".into(),
        "news".into(),
    ];
    for (level, refused) in [(V4, 5), (V5, 0x87)] {
        for topic in &of_toy {
            assert_eq!(connects(level, topic, &toy.device_key, &toy.secret).await, refused, "{level} {topic}");
        }
        // No topic that anyone can publish to.
        for topic in ["#", "+", "", &format!("toy/{}/state/#", toy.id), &format!("toy/{}/state/+", toy.id)] {
            let invalid = if level == V4 { 5 } else { 0x90 };
            assert_eq!(connects(level, topic, &toy.device_key, &toy.secret).await, invalid, "{level} {topic}");
        }
        let will = [if level == V5 { &[0][..] } else { &[] }, &text("toy\0/state"), &text("gone")].concat();
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect_with(level, 0xc6, 60, &[], "with-a-will", &will, &toy.device_key, &toy.secret)).await;
        if level == V5 {
            raw.expect(0x20, &[0, 0x81, 0]).await;
        }
        raw.expect_end().await;
        for topic in ["out", "voice/upload/0"] {
            let topic = format!("app/{}/{topic}", mia.id);
            assert_eq!(connects(level, &topic, &mia.id, &mia.token).await, refused, "{level} {topic}");
        }
        // Its own, and that of a bridge, which is ignored.
        for topic in [own.as_str(), "$SYS/broker/connection/toy/state"] {
            assert_eq!(connects(level, topic, &toy.device_key, &toy.secret).await, 0, "{level} {topic}");
        }
        assert_eq!(connects(level, &own, &mia.id, &mia.token).await, refused, "a state is the toy's");
        assert_eq!(connects(level, &format!("toy/{}/cmd/gone", toy.id), &mia.id, &mia.token).await, 0);
        assert_eq!(connects(level, &format!("toy/{}/cmd/gone", other.id), &mia.id, &mia.token).await, refused);
    }
}
