//! Hubs of two versions over one database, broker and bucket, and the older one replaced by the newer one.
//!
//! `scripts/test upgrade` builds the older program from its commit; `TEST_OLD_HUB` names it.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, bus_is, event, to_parent, to_toy};
use super::moving::leave;
use super::outbox::{Remote, command, resume};
use super::store::program;
use crate::mqtt::{V4, subscribe};
use crate::one_connection::Line;
use crate::s3::S3;
use crate::world::{App, Toy, User, World, within};

/// The older program.
fn old_program() -> PathBuf {
    std::env::var("TEST_OLD_HUB").expect("run this with scripts/test upgrade").into()
}

/// A family, of which the hub that it uses is another one each time.
struct Family {
    parent: User,
    toy: Toy,
    sent: u32,
}

impl Family {
    async fn new(hub: &World, name: &str) -> Self {
        let parent = hub.user(name).await;
        let toy = hub.toy(&parent, &format!("bear-of-{name}")).await;
        Self { parent, toy, sent: 0 }
    }

    fn topic(&self, rest: &str) -> String {
        format!("toy/{}/{rest}", self.toy.id)
    }

    /// Messages, receipts, commands, states and presence, with the toy at `here` and the app at `there`.
    async fn works(&mut self, here: &World, there: &World) {
        let mut line = Line::open(here, &self.toy).await;
        line.subscribe(&self.topic("cmd/#")).await;
        there.wait_online(&self.parent, &self.toy.id, "1").await;
        let mut app = there.app(&self.parent).await;
        app.send(json!({"id": 7, "do": "subscribe", "topic": self.topic("state/#")})).await;
        assert_eq!(app.answer(7).await["code"], 0);
        self.sent += 1;
        to_toy(there, &self.parent, &self.toy, self.sent).await;
        let message = line.event("message").await;
        let sound = format!("{}/get_chat/{}", here.http(), message["chat"].as_str().unwrap());
        assert_eq!(here.client().get(sound).send().await.unwrap().status(), 200, "a sound of the other hub");
        to_parent(here, &self.toy, &self.parent, self.sent).await;
        event(&mut app, "message").await;
        let (_, heard) = here.post("/recv_msg", json!({"from_user": self.parent.id, "to_user": self.toy.id})).await;
        assert_eq!(heard.as_array().map(Vec::len), Some(1), "{heard}");
        let receipt = event(&mut app, "receipt").await;
        assert!(["delivered", "heard"].contains(&receipt["state"].as_str().unwrap()), "{receipt}");
        for number in 0..5 {
            let say = json!({"do": "publish", "topic": self.topic("cmd/volume"), "payload": number.to_string()});
            assert_eq!(app.ask(say).await["code"], 0);
            assert_eq!(line.next_event().await, json!(number));
        }
        line.publish(&self.topic("state/battery"), b"80").await;
        assert_eq!(event(&mut app, "publish").await["payload"], "80");
        let (_, unread) = there.post("/recv_msg", json!({"from_user": self.toy.id, "to_user": self.parent.id})).await;
        assert_eq!(unread.as_array().map(Vec::len), Some(1), "{unread}");
        drop(line);
        there.wait_online(&self.parent, &self.toy.id, "0").await;
    }
}

/// A message of the bus as a later version may send it.
#[derive(Serialize)]
struct Later<N> {
    v: u8,
    hub: &'static str,
    epoch: u64,
    n: u64,
    notice: N,
    more: [u8; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LaterNotice {
    /// Unknown content.
    Dance { with: &'static str },
    /// Known content, with a field that is not known.
    Heartbeat { mood: &'static str },
}

/// Publishes a payload on the broker below the topics of the database.
async fn put(broker: &Broker, topic: &str, payload: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payload");
    std::fs::write(&file, payload).unwrap();
    let port = broker.url().rsplit(':').next().unwrap().to_owned();
    let mut command = Command::new("mosquitto_pub");
    command.args(["-p", &port, "-q", "1", "-t", topic, "-f"]).arg(&file);
    assert!(within("mosquitto_pub", command.status()).await.unwrap().success());
}

/// The next publication at an app on this topic.
async fn published(app: &mut App, topic: &str) -> Value {
    loop {
        let frame = event(app, "publish").await;
        if frame["topic"] == topic {
            return frame["payload"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test upgrade"]
async fn a_hub_of_the_last_version_works_beside_this_one_and_is_replaced() {
    const QUEUED: u16 = 40;
    let (store, broker, s3) = (StoreServer::start().await, Broker::start().await, S3::start().await);
    let bus: &'static str = broker.url().leak();
    let of = |name: &'static str| {
        let own = [("TOYHUB_CLUSTER__HUB", name), ("TOYHUB_CLUSTER__BUS", bus), ("TOYHUB_CLUSTER__KEEP_ALIVE_S", "1")];
        let log = [("TOYHUB_SERVER__LOG", "info")];
        [&store.settings()[..], &own, &NEVER, &log, &s3.settings()].concat()
    };
    let start_old = async |name| World::start_program(old_program(), tempfile::tempdir().unwrap(), &of(name)).await;
    // The older version has made the database, and two hubs of it have been running.
    let (mut a, mut b) = (start_old("a").await, start_old("b").await);
    let (mut mia, mut tom) = (Family::new(&a, "mia").await, Family::new(&b, "tom").await);
    mia.works(&a, &b).await;

    // The first is replaced: a toy that is away has commands in its file, and the other hub sends more.
    let (mut raw, _) = resume(&a, &mia.toy).await;
    raw.send(&subscribe(V4, 1, &[(&mia.topic("cmd/#"), 2)])).await;
    assert_eq!(raw.packet().await.0, 0x90);
    leave(raw).await;
    let mut remote = Remote::open(&b, &mia.parent, &mia.toy).await;
    for number in 0..QUEUED / 2 {
        remote.say(number).await;
    }
    let app = b.app(&mia.parent).await;
    assert_eq!(a.stop().await, Some(0));
    for number in QUEUED / 2..QUEUED {
        remote.say(number).await;
    }
    to_toy(&b, &mia.parent, &mia.toy, 90).await;
    a.upgrade();
    a.start_hub().await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }

    // Side by side, both ways.
    mia.sent = 100;
    let (_, heard) = a.post("/recv_msg", json!({"from_user": mia.parent.id, "to_user": mia.toy.id})).await;
    assert_eq!(heard.as_array().map(Vec::len), Some(1), "sent while the hub was replaced: {heard}");
    for (here, there) in [(&a, &b), (&b, &a)] {
        mia.works(here, there).await;
        tom.works(here, there).await;
    }
    // The session moves from the new hub to the old one and back, with its queue.
    let (mut at_b, is_present) = resume(&b, &mia.toy).await;
    assert!(is_present, "the session has moved from the newer hub");
    for number in 0..QUEUED / 2 {
        assert_eq!(command(&mut at_b).await, number, "in order, and once");
    }
    leave(at_b).await;
    let (mut at_a, is_present) = resume(&a, &mia.toy).await;
    assert!(is_present, "the session has moved from the older hub");
    let mut last = command(&mut at_a).await;
    // Commands of the families' own since then are behind them.
    while last != QUEUED - 1 {
        let next = command(&mut at_a).await;
        assert!(next == last + 1 || next == last, "{next} after {last}");
        last = next;
    }
    leave(at_a).await;
    // A revocation at one ends the connections to the other.
    let mut at_a = a.app(&tom.parent).await;
    b.run(&["user", "log-out", "tom"]).await;
    assert_eq!(within("the end", at_a.close_code()).await, 4501);
    tom.parent = a.login(&tom.parent).await;
    let mut at_b = b.app(&tom.parent).await;
    a.run(&["user", "log-out", "tom"]).await;
    assert_eq!(within("the end", at_b.close_code()).await, 4501);
    tom.parent = b.login(&tom.parent).await;

    // What a later version may add: the older hub goes on.
    let identity = store.sql("SELECT VALUE hub FROM ONLY meta:identity").await;
    let root = format!("toyhub/{}", identity[0]["result"].as_str().unwrap());
    let later =
        |v, n| Later { v, hub: "later", epoch: 9, n, notice: LaterNotice::Dance { with: "me" }, more: [1, 2, 3] };
    let mood = LaterNotice::Heartbeat { mood: "fine" };
    let mood = rmp_serde::to_vec_named(&Later { v: 1, hub: "later", epoch: 9, n: 3, notice: mood, more: [0; 3] });
    for (topic, payload) in [
        ("hub/later".to_owned(), rmp_serde::to_vec_named(&later(2, 1)).unwrap()),
        (format!("in/toy/{}", mia.toy.id), rmp_serde::to_vec_named(&later(1, 2)).unwrap()),
        ("hub/later".to_owned(), mood.unwrap()),
        (format!("say/{}", mia.topic("cmd/volume")), b"no envelope".to_vec()),
        (format!("new/kind/{}", mia.toy.id), b"an unknown topic".to_vec()),
        (format!("in/plant/{}", mia.toy.id), rmp_serde::to_vec_named(&later(2, 4)).unwrap()),
    ] {
        put(&broker, &format!("{root}/{topic}"), &payload).await;
    }
    for table in ["user", "toy", "friend", "chat", "message", "event", "token", "session", "retained", "device"] {
        let column = format!("DEFINE FIELD later ON {table} TYPE option<string>; UPDATE {table} SET later = 'x'");
        store.sql(&column).await;
    }
    store.sql("DEFINE TABLE later SCHEMAFULL; DEFINE FIELD of ON later TYPE option<string>; CREATE later:one SET of = 'x'").await;
    mia.works(&a, &b).await;
    tom.works(&b, &a).await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    // The version of the tables is raised by a newer hub: an older one that runs goes on, and does not start again.
    let version = store.sql("SELECT VALUE version FROM ONLY meta:schema").await[0]["result"].as_i64().unwrap();
    store.sql("UPDATE meta:schema SET version = 1000").await;
    mia.works(&a, &b).await;
    let folder = tempfile::tempdir().unwrap();
    let refused = within("the refusal", program(folder.path(), &["serve"], &of("c")).output()).await.unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("start the newer program"), "{told}");
    store.sql(&format!("UPDATE meta:schema SET version = {version}")).await;

    // The second is replaced, too: what its clients have published before its end has arrived.
    let mut away = Line::open(&a, &mia.toy).await;
    away.subscribe(&mia.topic("cmd/last")).await;
    let mut remote = b.app(&mia.parent).await;
    for number in 0..20 {
        let say = json!({"do": "publish", "topic": mia.topic("cmd/last"), "payload": number.to_string()});
        assert_eq!(remote.ask(say).await["code"], 0);
    }
    assert_eq!(b.stop().await, Some(0));
    for number in 0..20 {
        assert_eq!(away.next_event().await, json!(number));
    }
    b.upgrade();
    b.start_hub().await;
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    drop(away);
    for (here, there) in [(&a, &b), (&b, &a)] {
        mia.works(here, there).await;
        tom.works(here, there).await;
    }
    drop(app);
    let mut app = b.app(&mia.parent).await;
    let topic = mia.topic("state/end");
    app.send(json!({"id": 8, "do": "subscribe", "topic": topic})).await;
    assert_eq!(app.answer(8).await["code"], 0);
    let mut line = Line::open(&a, &mia.toy).await;
    line.publish(&topic, b"1").await;
    assert_eq!(published(&mut app, &topic).await, "1");
}
