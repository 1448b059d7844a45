//! Retained messages of clients are in the database: every hub has the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, bus_is, hub_of, pair};
use crate::mqtt::{Raw, V4, publish};
use crate::world::{Toy, User, World, within};

/// Sets a state of the toy, or deletes it; returns when the hub has acknowledged it.
async fn set(hub: &World, toy: &Toy, state: &str, value: &str) {
    let mut raw = Raw::connected(hub.mqtt_addr(), V4, "states", &toy.device_key, &toy.secret).await;
    say(&mut raw, toy, state, value).await;
}

async fn say(raw: &mut Raw, toy: &Toy, state: &str, value: &str) {
    raw.send(&publish(V4, 0x33, &format!("toy/{}/state/{state}", toy.id), 7, value.as_bytes())).await;
    raw.expect(0x40, &[0, 7]).await;
}

/// Waits until an app that subscribes to the states of the toy has been sent these retained ones.
async fn states_are(hub: &World, parent: &User, toy: &Toy, expected: Value) {
    let mut app = hub.app(parent).await;
    app.send(json!({"id": 7, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    let mut found = serde_json::Map::new();
    // They precede the answer, or follow it.
    let mut is_answered = false;
    while !is_answered || Value::Object(found.clone()) != expected {
        let frame = within(&format!("{expected} beside {found:?}"), app.frame()).await;
        if frame["type"] == "publish" {
            let state = frame["topic"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            found.insert(state, frame["payload"].clone());
        }
        if frame["id"] == 7 {
            assert_eq!(frame["code"], 0, "{frame}");
            is_answered = true;
        }
    }
}

/// The topics and versions in the database.
async fn rows(store: &StoreServer) -> Vec<(String, f64)> {
    let found = store.sql("SELECT topic, version FROM retained ORDER BY topic").await;
    let row = |row: &Value| (row["topic"].as_str().unwrap().to_owned(), row["version"].as_f64().unwrap());
    found[0]["result"].as_array().unwrap().iter().map(row).collect()
}

/// Waits until the database has this many; returns them.
async fn rows_are(store: &StoreServer, count: usize) -> Vec<(String, f64)> {
    let written = async {
        loop {
            let found = rows(store).await;
            if found.len() == count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the rows of retained messages", written).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn every_hub_has_the_same_retained_messages() {
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, mut b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    set(&a, &toy, "battery", "80").await;
    set(&a, &toy, "volume", "3").await;
    let first = rows_are(&store, 2).await;
    let c = hub_of(&store, "c", &broker.url(), &NEVER).await;
    for hub in [&a, &b, &c] {
        states_are(hub, &parent, &toy, json!({"battery": "80", "volume": "3"})).await;
    }

    // An equal value is not written again, also not by another hub, and by a later process.
    a.kill().await;
    a.start_hub().await;
    for hub in [&a, &b] {
        set(hub, &toy, "battery", "80").await;
    }
    set(&b, &toy, "light", "on").await;
    let second = rows_are(&store, 3).await;
    assert_eq!((&second[0], &second[2]), (&first[0], &first[1]));
    states_are(&a, &parent, &toy, json!({"battery": "80", "volume": "3", "light": "on"})).await;

    // A hub is away, and the broker loses what it has kept for it.
    b.kill().await;
    set(&a, &toy, "battery", "70").await;
    set(&a, &toy, "volume", "").await;
    rows_are(&store, 2).await;
    broker.kill().await;
    broker.start_again().await;
    b.start_hub().await;
    bus_is(&b, "ok").await;
    for hub in [&a, &b, &c] {
        states_are(hub, &parent, &toy, json!({"battery": "70", "light": "on"})).await;
    }

    // The later one of two writers stays.
    for number in 0..10 {
        set(if number % 2 == 0 { &a } else { &b }, &toy, "battery", &number.to_string()).await;
    }
    set(&c, &toy, "light", "").await;
    rows_are(&store, 1).await;
    for hub in [&a, &b, &c] {
        states_are(hub, &parent, &toy, json!({"battery": "9"})).await;
    }

    let unbound = b.post_as(&parent, "/unbind_toy", json!({"user_id": parent.id, "toy_id": toy.id})).await;
    assert_eq!(unbound["code"], 0, "{unbound}");
    rows_are(&store, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_retained_message_that_a_killed_hub_has_acknowledged_is_in_the_database_later() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut raw = Raw::connected(a.mqtt_addr(), V4, "states", &toy.device_key, &toy.secret).await;
    for number in 0..20 {
        say(&mut raw, &toy, &format!("s{number:02}"), "on").await;
    }
    // Some of them are not written yet.
    a.kill().await;
    assert!(rows(&store).await.len() < 20);
    a.start_hub().await;
    rows_are(&store, 20).await;
    let all = (0..20).map(|number| (format!("s{number:02}"), json!("on"))).collect();
    states_are(&b, &parent, &toy, Value::Object(all)).await;
}
