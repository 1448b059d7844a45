//! Two hubs over one database and one broker: what happens through one is noticed by the clients of the other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::broker::{BadBroker, Broker, BrokerFault};
use super::moving::{has_caught_up, leave};
use super::outbox::resume;
use super::store::works;
use super::{StoreServer, hub};
use crate::engines::{NODES, Nats};
use crate::one_connection::Line;
use crate::sound;
use crate::world::{App, Toy, User, World, within};

/// A revocation takes no longer.
const AT_ONCE: Duration = Duration::from_secs(5);
/// No comparison with the database is made during a test.
pub const NEVER: [(&str, &str); 2] =
    [("TOYHUB_CLUSTER__POSITION_CHECK_S", "3600"), ("TOYHUB_CLUSTER__LOGINS_INTERVAL_S", "3600")];
/// The comparisons are made all the time.
const OFTEN: [(&str, &str); 2] =
    [("TOYHUB_CLUSTER__POSITION_CHECK_S", "1"), ("TOYHUB_CLUSTER__LOGINS_INTERVAL_S", "1")];

/// A hub over the store and the broker.
pub async fn hub_of(
    store: &StoreServer,
    name: &'static str,
    bus: &str,
    settings: &[(&'static str, &'static str)],
) -> World {
    let bus: &'static str = bus.to_owned().leak();
    let own = [("TOYHUB_CLUSTER__HUB", name), ("TOYHUB_CLUSTER__BUS", bus), ("TOYHUB_CLUSTER__KEEP_ALIVE_S", "1")];
    hub(store, &[&own[..], settings].concat()).await
}

/// Two hubs that have the bus.
pub async fn pair(store: &StoreServer, broker: &Broker, settings: &[(&'static str, &'static str)]) -> [World; 2] {
    let a = hub_of(store, "a", &broker.url(), settings).await;
    let b = hub_of(store, "b", &broker.url(), settings).await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    [a, b]
}

/// Waits until the bus is in this state at a hub. The hub is ready in any case. Gives the reason.
pub async fn bus_is(hub: &World, state: &str) -> String {
    let turned = async {
        loop {
            let (status, health) = hub.watch("/readyz").await;
            assert_eq!((status, &health["ready"]), (200, &json!(true)), "{health}");
            let bus = &health["parts"]["bus"];
            if bus["state"] == state {
                return bus["reason"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the bus", turned).await
}

pub async fn to_toy(hub: &World, parent: &User, toy: &Toy, number: u32) {
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()), ("friend_type", "toy")];
    let sent = hub.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
}

pub async fn to_parent(hub: &World, toy: &Toy, parent: &User, number: u32) {
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let sent = hub.upload("/toy_uploader", "reco", sound::tone(number), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
}

/// The next event of this type at an app.
pub async fn event(app: &mut App, kind: &str) -> Value {
    loop {
        let frame = app.frame().await;
        if frame["type"] == kind {
            return frame;
        }
    }
}

/// Reads the stream of an app, without gaps and repeats after number `last`, up to the next message.
async fn until_message(app: &mut App, last: &mut u64) {
    loop {
        let frame = app.frame().await;
        assert_eq!(frame["seq"], json!(*last + 1), "{frame}");
        *last += 1;
        if frame["type"] == "message" {
            return;
        }
    }
}

/// The next publication on a topic at an app, which ends with this.
async fn published(app: &mut App, end: &str) -> Value {
    loop {
        let frame = event(app, "publish").await;
        if frame["topic"].as_str().unwrap().ends_with(end) {
            return frame["payload"].clone();
        }
    }
}

/// Two hubs have words that the third does not hear: it misses nothing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_third_hub_does_not_miss_what_two_say_to_each_other() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let log = [&NEVER[..], &[("TOYHUB_SERVER__LOG", "warn")]].concat();
    let c = hub_of(&store, "c", &broker.url(), &log).await;
    bus_is(&c, "ok").await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    for hub in [&a, &b, &a, &b] {
        leave(resume(hub, &toy).await.0).await;
        // The hubs look for missing messages with each sign of life, and wait for them until the next one.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    has_caught_up(&c, &b, &parent, &a.toy(&parent, "cat").await).await;
    let log = std::fs::read_to_string(c.log()).unwrap();
    assert!(!log.contains("lost on the bus"), "{log}");
}

/// Before it gets a server for its database, or after it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_over_an_embedded_database_uses_the_bus() {
    let broker = Broker::start().await;
    let bus: &'static str = broker.url().leak();
    let settings = [("TOYHUB_CLUSTER__HUB", "a"), ("TOYHUB_CLUSTER__BUS", bus), ("TOYHUB_CLUSTER__KEEP_ALIVE_S", "1")];
    let mut world = World::start_with(&settings).await;
    bus_is(&world, "ok").await;
    works(&world, "mia").await;
    world.kill().await;
    world.start_hub().await;
    bus_is(&world, "ok").await;
    works(&world, "tom").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_is_sent_through_one_hub_arrives_at_once_through_the_other() {
    const MESSAGES: u32 = 21;
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut toy_events = a.mosquitto_sub(&toy, "311");
    a.wait_online(&parent, &toy.id, "1").await;
    // Subscribed: the hub has answered what was asked after SUBSCRIBE.
    let mut line = Line::open(&a, &toy).await;
    let (mut at_a, mut at_b) = (a.app(&parent).await, b.app(&parent).await);
    let mut page = a.legacy_socket(&format!("/app/{}", parent.id), None).await;

    to_toy(&b, &parent, &toy, 0).await;
    assert_eq!(toy_events.event().await["type"], "message");
    line.event("message").await;

    for number in 0..MESSAGES {
        to_parent(&b, &toy, &parent, number).await;
        let (message_a, message_b) = tokio::join!(event(&mut at_a, "message"), event(&mut at_b, "message"));
        assert_eq!((&message_a["_id"], &message_a["seq"]), (&message_b["_id"], &message_b["seq"]));
        assert_eq!(page.frame().await["from_user"], json!(toy.id));
    }

    let (_, received) = b.post("/recv_msg", json!({"from_user": toy.id, "to_user": parent.id})).await;
    assert_eq!(received.as_array().map(Vec::len), Some(MESSAGES as usize), "{received}");
    assert_eq!(event(&mut at_a, "read").await["unread"], json!(0));
    assert_eq!(line.event("receipt").await["state"], "heard");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_lost_while_the_broker_is_away() {
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &OFTEN).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let (mut line, mut app) = (Line::open(&a, &toy).await, a.app(&parent).await);
    let mut page = a.legacy_socket(&format!("/app/{}", parent.id), None).await;
    to_parent(&b, &toy, &parent, 0).await;
    let mut last = event(&mut app, "message").await["seq"].as_u64().unwrap();
    page.frame().await;
    for round in 1..=2 {
        broker.kill().await;
        for hub in [&a, &b] {
            assert!(bus_is(hub, "degraded").await.contains("no broker of cluster.bus can be reached"));
        }
        to_toy(&b, &parent, &toy, round).await;
        line.event("message").await;
        to_parent(&b, &toy, &parent, round).await;
        until_message(&mut app, &mut last).await;
        assert_eq!(page.frame().await["from_user"], json!(toy.id));
        broker.start_again().await;
        for hub in [&a, &b] {
            bus_is(hub, "ok").await;
        }
    }
    to_parent(&b, &toy, &parent, 9).await;
    until_message(&mut app, &mut last).await;
    page.frame().await;
    assert!(timeout(Duration::from_secs(3), page.frame()).await.is_err(), "a page counts each message");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_revocation_through_one_hub_ends_the_connections_to_the_other() {
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let (mut app, mut line) = (a.app(&parent).await, Line::open(&a, &toy).await);
    b.run(&["user", "log-out", "mia"]).await;
    assert_eq!(timeout(AT_ONCE, app.close_code()).await.expect("in time"), 4501);
    b.run(&["device", "renew", &toy.device_key]).await;
    timeout(AT_ONCE, line.is_cut()).await.expect("in time");

    // Without the broker, the next check of the logins finds it.
    drop((a, b));
    let [a, b] = pair(&store, &broker, &OFTEN).await;
    let parent = a.login(&parent).await;
    let other = a.user("other").await;
    let (mut app, mut stays) = (a.app(&parent).await, a.app(&other).await);
    broker.kill().await;
    bus_is(&a, "degraded").await;
    b.run(&["user", "log-out", "mia"]).await;
    assert_eq!(within("the end", app.close_code()).await, 4501);
    assert_eq!(stays.ask(json!({"do": "ping"})).await["code"], 0, "another login is valid");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn who_is_connected_to_one_hub_is_online_at_the_other() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut app = b.app(&parent).await;
    app.send(json!({"id": 7, "do": "subscribe", "topic": format!("online/{}", toy.id)})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    let mut line = Line::open(&a, &toy).await;
    assert_eq!(published(&mut app, &toy.id).await, "1");
    // A play request is not stored: it is only told.
    let mut page = b.legacy_socket(&format!("/app/{}", parent.id), None).await;
    page.send(json!({"to_user": toy.id, "music": "lullaby.mp3"})).await;
    assert_eq!(line.event("play").await["music"], json!("lullaby.mp3"));
    // A hub that starts later learns it, too.
    let c = hub_of(&store, "c", &broker.url(), &NEVER).await;
    c.wait_online(&parent, &toy.id, "1").await;
    drop(line);
    assert_eq!(published(&mut app, &toy.id).await, "0");
    c.wait_online(&parent, &toy.id, "0").await;

    let line = Line::open(&a, &toy).await;
    assert_eq!(published(&mut app, &toy.id).await, "1");
    a.kill().await;
    assert_eq!(published(&mut app, &toy.id).await, "0", "the last will of the hub");
    drop(line);
    a.start_hub().await;
    let line = Line::open(&a, &toy).await;
    assert_eq!(published(&mut app, &toy.id).await, "1");
    a.stop().await;
    assert_eq!(published(&mut app, &toy.id).await, "0", "a hub that stops says goodbye");
    drop(line);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn clients_of_two_hubs_publish_for_each_other() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let settings = [&NEVER[..], &[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]].concat();
    let [a, b] = pair(&store, &broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let (mut line, mut app) = (Line::open(&a, &toy).await, b.app(&parent).await);
    line.subscribe(&format!("toy/{}/cmd/#", toy.id)).await;
    app.send(json!({"id": 7, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    for number in 0..100 {
        let command =
            json!({"do": "publish", "topic": format!("toy/{}/cmd/volume", toy.id), "payload": number.to_string()});
        assert_eq!(app.ask(command).await["code"], 0);
    }
    for number in 0..100 {
        assert_eq!(line.next_event().await, json!(number), "in order, and once");
    }
    let mut near = a.app(&parent).await;
    for (app, place) in [(&mut near, "the same hub"), (&mut app, "the other hub")] {
        let mut took = Vec::new();
        for number in 0..51 {
            let topic = format!("toy/{}/cmd/volume", toy.id);
            let began = Instant::now();
            app.send(json!({"do": "publish", "topic": topic, "payload": number.to_string()})).await;
            assert_eq!(line.next_event().await, json!(number));
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        println!("a command through {place} takes {:.1} ms (p50), {:.1} ms (max)", took[25], took[50]);
    }
    line.publish(&format!("toy/{}/state/battery", toy.id), b"80").await;
    assert_eq!(published(&mut app, "/battery").await, "80");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_bus_that_does_not_work_is_named_and_the_next_broker_is_taken() {
    let store = StoreServer::start().await;
    let (refusing, losing) =
        (BadBroker::start(BrokerFault::RefusesFilters).await, BadBroker::start(BrokerFault::Loses).await);
    let strict = Broker::start_with("allow_anonymous false\n").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("mqtt://{}", silent.local_addr().unwrap());
    let wait = [("TOYHUB_CLUSTER__CONNECT_TIMEOUT_S", "1")];
    for (bus, reason) in [
        (refusing.url(), "refuses the subscriptions"),
        (losing.url(), "accepts messages, and does not deliver them"),
        (strict.url(), "refuses cluster.username or its password"),
        (silent_url.clone(), "no broker of cluster.bus can be reached"),
        ("mqtt://127.0.0.1:1".to_owned(), "no broker of cluster.bus can be reached"),
    ] {
        let hub = hub_of(&store, "a", &bus, &wait).await;
        let named = async {
            while !bus_is(&hub, "degraded").await.contains(reason) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(reason, named).await;
    }
    let good = Broker::start().await;
    let urls = [refusing.url(), losing.url(), silent_url, good.url()];
    let hub = hub_of(&store, "a", &urls.join(","), &wait).await;
    bus_is(&hub, "ok").await;
    let told = within("doctor", hub.command(&["doctor"]).output()).await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    for (url, found) in urls.iter().zip([
        "the broker refuses the subscription to ",
        "the broker accepts messages, and does not deliver them",
        "the broker does not answer",
        "connected after ",
    ]) {
        let word = if *url == good.url() { "ok      " } else { "MISSING " };
        assert!(told.contains(&format!("{word} bus: {url}: {found}")), "{told}");
    }
    bus_is(&hub, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn two_hubs_with_the_same_name_are_named() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let a = hub_of(&store, "a", &broker.url(), &OFTEN).await;
    bus_is(&a, "ok").await;
    let also_a = hub_of(&store, "a", &broker.url(), &OFTEN).await;
    for hub in [&a, &also_a] {
        let named = async {
            while !bus_is(hub, "degraded").await.contains("has the same cluster.hub") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the name", named).await;
    }
    // Nothing is lost: the database has it.
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = Line::open(&a, &toy).await;
    to_toy(&also_a, &parent, &toy, 1).await;
    line.event("message").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_lost_while_servers_of_a_nats_cluster_are_killed_in_turn() {
    const BETWEEN: usize = 100;
    let (store, mut nats) = (StoreServer::start().await, Nats::start().await);
    let settings = [&NEVER[..], &[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]].concat();
    let a = hub_of(&store, "a", &nats.urls(0), &settings).await;
    let b = hub_of(&store, "b", &nats.urls(1), &settings).await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let (mut line, mut app) = (Line::open(&a, &toy).await, b.app(&parent).await);
    line.subscribe(&format!("toy/{}/cmd/#", toy.id)).await;
    let topic = format!("toy/{}/cmd/volume", toy.id);
    let mut sent = 0;
    for node in 0..NODES {
        nats.kill(node).await;
        for _ in 0..BETWEEN {
            let command = json!({"do": "publish", "topic": topic, "payload": sent.to_string()});
            assert_eq!(app.ask(command).await["code"], 0);
            sent += 1;
        }
        to_toy(&b, &parent, &toy, node as u32).await;
        let (mut commands, mut messages) = (sent - BETWEEN, 0);
        while commands < sent || messages < 1 {
            let event = line.next_event().await;
            if event["type"] == "message" {
                messages += 1;
            } else {
                assert_eq!(event, json!(commands), "in order, and once");
                commands += 1;
            }
        }
        nats.start_again(node).await;
        for hub in [&a, &b] {
            bus_is(hub, "ok").await;
        }
    }
}

/// A session at the broker would bring it again with each connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_message_that_is_too_large_keeps_no_hub_from_the_bus() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let log = [("TOYHUB_SERVER__LOG", "warn")];
    let [a, b] = pair(&store, &broker, &[&NEVER[..], &log].concat()).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = Line::open(&a, &toy).await;
    let mut app = b.app(&parent).await;
    let large = b.folder().join("large");
    std::fs::write(&large, vec![0; 1_100_000]).unwrap();
    let identity = std::fs::read_to_string(a.data_dir().join("hub.toml")).unwrap();
    let data = identity.lines().find_map(|line| line.strip_prefix("hub = \"")?.strip_suffix('"')).unwrap();
    let port = broker.url().rsplit(':').next().unwrap().to_owned();
    let sent = tokio::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", &format!("toyhub/{data}/say/large"), "-f"])
        .arg(&large)
        .status();
    assert!(within("the publication", sent).await.unwrap().success());
    for hub in [&a, &b] {
        let noticed = async {
            while !std::fs::read_to_string(hub.log()).unwrap().contains("larger than cluster.packet_max_bytes") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the line in the log", noticed).await;
    }
    app.send(json!({"id": 7, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    let arrived = async {
        // What is published before both are on the bus again may be lost.
        loop {
            line.publish(&format!("toy/{}/state/battery", toy.id), b"80").await;
            if let Ok(battery) = timeout(Duration::from_secs(1), published(&mut app, "/battery")).await {
                return battery;
            }
        }
    };
    assert_eq!(within("a publication through the bus", arrived).await, "80");
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
}
