//! Sessions move with their clients from one hub to another.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::sleep;

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, bus_is, hub_of, pair};
use super::outbox::{Remote, command, connect_of, resume, try_resume};
use crate::metrics::{metrics, value};
use crate::mqtt::{Raw, V4, V5, connect_with, packet, publish, subscribe};
use crate::sessions::say;
use crate::world::{Toy, User, World, within};

/// A toy with a session, subscribed to its commands at QoS 2.
async fn begin(hub: &World, toy: &Toy) -> Raw {
    let (mut raw, is_present) = resume(hub, toy).await;
    assert!(!is_present);
    raw.send(&subscribe(V4, 1, &[(&format!("toy/{}/cmd/#", toy.id), 2)])).await;
    assert_eq!(raw.packet().await.0, 0x90);
    raw
}

/// Waits for an acknowledgement; those of commands are answered meanwhile.
async fn expect(raw: &mut Raw, kind: u8, id: u8) {
    loop {
        let (byte1, body) = raw.packet().await;
        if byte1 >> 4 != 6 {
            return assert_eq!((byte1, &body[..]), (kind, &[0, id][..]));
        }
        raw.send(&packet(0x70, &body)).await;
    }
}

/// Disconnects in order. Packets that the hub has sent before it knew are not acknowledged.
pub async fn leave(mut raw: Raw) {
    raw.send(&[0xe0, 0]).await;
    within("the end of the connection", async { while raw.read_packet().await.is_some() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_session_moves_with_its_queue_to_the_hub_of_its_client() {
    const COMMANDS: u16 = 150;
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut raw = begin(&a, &toy).await;
    // A message of QoS 2 of the toy that it does not release yet.
    let state = format!("toy/{}/state/battery", toy.id);
    raw.send(&publish(V4, 0x34, &state, 77, b"80")).await;
    raw.expect(0x50, &[0, 77]).await;
    leave(raw).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    for number in 0..COMMANDS {
        remote.say(number).await;
    }

    // Back and forth: each time the other hub has the session, and all messages.
    let (mut at_b, is_present) = resume(&b, &toy).await;
    assert!(is_present);
    for number in 0..COMMANDS / 2 {
        assert_eq!(command(&mut at_b).await, number);
    }
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    for number in COMMANDS / 2..COMMANDS {
        let mut found = command(&mut at_a).await;
        while found < number {
            // It was on its way to the toy at the other hub.
            found = command(&mut at_a).await;
        }
        assert_eq!(found, number);
    }
    // The repeat of the message that was not released is not routed again.
    let mut app = a.app(&parent).await;
    app.send(serde_json::json!({"id": 7, "do": "subscribe", "topic": state})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    at_a.send(&publish(V4, 0x3c, &state, 77, b"80")).await;
    expect(&mut at_a, 0x50, 77).await;
    at_a.send(&publish(V4, 0x32, &state, 78, b"79")).await;
    expect(&mut at_a, 0x40, 78).await;
    loop {
        let frame = app.frame().await;
        if frame["type"] == "publish" {
            assert_eq!(frame["payload"], "79");
            break;
        }
    }
    // It is subscribed, and the other hub has nothing left.
    remote.say(900).await;
    assert_eq!(command(&mut at_a).await, 900);
    leave(at_a).await;
    let (at_b, is_present) = resume(&b, &toy).await;
    assert!(is_present);
    leave(at_b).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_session_of_a_dead_hub_begins_anew() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    leave(begin(&a, &toy).await).await;
    Remote::open(&b, &parent, &toy).await.say(1).await;
    let cat = a.toy(&parent, "cat").await;
    let _cat = Raw::connected(a.mqtt_addr(), V4, "cat", &cat.device_key, &cat.secret).await;
    b.wait_online(&parent, &cat.id, "1").await;
    a.kill().await;
    b.wait_online(&parent, &cat.id, "0").await;
    let at_b = tokio::time::timeout(Duration::from_secs(2), begin(&b, &toy)).await.expect("nobody is waited for");
    leave(at_b).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    remote.say(2).await;
    // The other hub is back: the client gets what both have kept.
    a.start_hub().await;
    bus_is(&a, "ok").await;
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    let mut found = vec![command(&mut at_a).await];
    remote.say(3).await;
    while *found.last().unwrap() != 3 {
        found.push(command(&mut at_a).await);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [1, 2, 3]);
}

/// Two hubs that take turns: the client is always at the one that lives.
#[tokio::test]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_doubled_when_the_client_follows_the_hub_that_lives() {
    const OVERLAP: (&str, &str) = ("TOYHUB_CLUSTER__SESSION_OVERLAP_S", "1");
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let settings: Vec<_> = NEVER.iter().copied().chain([OVERLAP]).collect();
    let [mut a, mut b] = pair(&store, &broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    let state = format!("toy/{}/state/battery", toy.id);
    let mut app = b.app(&parent).await;
    app.send(serde_json::json!({"id": 7, "do": "subscribe", "topic": state})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    leave(begin(&a, &toy).await).await;
    Remote::open(&b, &parent, &toy).await.say(1).await;
    kill_seen(&mut a, &b, &parent, &cat).await;
    // Later than by what the clocks of two hubs may differ.
    sleep(Duration::from_secs(3)).await;
    let mut at_b = begin(&b, &toy).await;
    at_b.send(&publish(V4, 0x34, &state, 5, b"80")).await;
    at_b.expect(0x50, &[0, 5]).await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    // Both have a session that subscribes. Only that of the client keeps it, when the overlap is over.
    sleep(Duration::from_secs(1)).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    remote.say(2).await;
    assert_eq!(command(&mut at_b).await, 2);
    // A message of QoS 2 of the toy was received by the hub that is killed now. The other one does not know it, and says
    // so: the client does not send it again.
    drop(remote);
    leave(at_b).await;
    kill_seen(&mut b, &a, &parent, &cat).await;
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(!is_present, "a later session is at the other hub");
    let mut remote = Remote::open(&a, &parent, &toy).await;
    remote.say(3).await;
    assert_eq!([command(&mut at_a).await, command(&mut at_a).await], [1, 3]);
    leave(at_a).await;
    let (at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present, "from now on, it is here");
    leave(at_a).await;
}

/// Two hubs that compare with the database each second. The first one is dead, with 20 commands for the toy, which has left.
async fn dead_hub_with_commands(store: &StoreServer, broker: &Broker) -> ([World; 2], User, [Toy; 2], Remote) {
    let settings = [("TOYHUB_CLUSTER__POSITION_CHECK_S", "1"), ("TOYHUB_CLUSTER__SESSION_OVERLAP_S", "1")];
    let [mut a, b] = pair(store, broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    leave(begin(&a, &toy).await).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    for number in 0..20 {
        remote.say(number).await;
    }
    has_caught_up(&a, &b, &parent, &cat).await;
    kill_seen(&mut a, &b, &parent, &cat).await;
    ([a, b], parent, [toy, cat], remote)
}

/// The hub of the session was killed, and the client stays at another one when it is back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_dead_hub_has_kept_follows_the_client_when_it_is_back() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let ([mut a, b], _, [toy, _], mut remote) = dead_hub_with_commands(&store, &broker).await;
    let mut at_b = begin(&b, &toy).await;
    // Both hubs get what is published in the first second.
    for number in 20..25 {
        remote.say(number).await;
        assert_eq!(command(&mut at_b).await, number);
    }
    a.start_hub().await;
    bus_is(&a, "ok").await;
    let mut found = Vec::new();
    within("what the dead hub has kept", async {
        while found.len() < 20 {
            found.push(command(&mut at_b).await);
        }
    })
    .await;
    found.sort_unstable();
    assert_eq!(found, (0..20).collect::<Vec<_>>());
    remote.say(25).await;
    assert_eq!(command(&mut at_b).await, 25, "nothing comes twice");
    // Nothing is left there.
    leave(at_b).await;
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    remote.say(26).await;
    assert_eq!(command(&mut at_a).await, 26);
    leave(at_a).await;
}

/// The dead hub is killed again before it has offered what it has kept, or in the middle of handing it over: after its next
/// start it has to ask where the client is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_hub_has_kept_follows_the_client_after_another_restart() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let ([mut a, b], parent, [toy, cat], _) = dead_hub_with_commands(&store, &broker).await;
    let mut at_b = begin(&b, &toy).await;
    // Over the bus, it hears where the client is, and is killed at once.
    a.start_hub().await;
    bus_is(&a, "ok").await;
    has_caught_up(&a, &b, &parent, &cat).await;
    a.kill().await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    let mut found = std::collections::BTreeSet::new();
    within("what the dead hub has kept", async {
        while found.len() < 20 {
            found.insert(command(&mut at_b).await);
        }
    })
    .await;
    assert_eq!(found, (0..20).collect());
    leave(at_b).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_dead_hub_has_kept_ends_with_a_clean_start() {
    what_is_left_ends_with_a_clean_start(true).await;
}

/// The connection of the client to it ends only when it goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_paused_hub_has_kept_ends_with_a_clean_start() {
    what_is_left_ends_with_a_clean_start(false).await;
}

/// The client begins a session at another hub that has nothing of the one before.
async fn what_is_left_ends_with_a_clean_start(is_killed: bool) {
    const EXPIRY: [u8; 5] = [17, 0, 0, 14, 16];
    let settings = [("TOYHUB_CLUSTER__POSITION_CHECK_S", "1"), ("TOYHUB_CLUSTER__SESSION_OVERLAP_S", "1")];
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    let at_a = begin(&a, &toy).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    for number in 0..5 {
        remote.say(number).await;
    }
    has_caught_up(&a, &b, &parent, &cat).await;
    if is_killed {
        leave(at_a).await;
        kill_seen(&mut a, &b, &parent, &cat).await;
    } else {
        let _watched = Raw::connected(a.mqtt_addr(), V4, "watched", &cat.device_key, &cat.secret).await;
        b.wait_online(&parent, &cat.id, "1").await;
        a.signal("STOP").await;
        b.wait_online(&parent, &cat.id, "0").await;
    }
    // Than what the clocks of two hubs may differ by.
    sleep(Duration::from_secs(3)).await;
    let mut at_b = Raw::open(b.mqtt_addr()).await;
    at_b.send(&connect_with(V5, 0xc2, 60, &EXPIRY, "toy", &[], &toy.device_key, &toy.secret)).await;
    assert_eq!(at_b.packet().await.0, 0x20);
    at_b.send(&subscribe(V5, 1, &[(&format!("toy/{}/cmd/#", toy.id), 1)])).await;
    assert_eq!(at_b.packet().await.0, 0x90);
    if is_killed {
        a.start_hub().await;
    } else {
        a.signal("CONT").await;
    }
    bus_is(&a, "ok").await;
    within("the end of the session at the other hub", async {
        while value(&metrics(&a).await, "toyhub_sessions{state=\"away\"}") != 0.0 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    remote.say(5).await;
    let (byte1, body) = at_b.packet().await;
    assert_eq!((byte1 >> 4, body.last()), (3, Some(&b'5')), "nothing of before");
}

/// Kills a hub, and waits until another one has noticed.
async fn kill_seen(hub: &mut World, other: &World, parent: &User, toy: &Toy) {
    let _client = Raw::connected(hub.mqtt_addr(), V4, "watched", &toy.device_key, &toy.secret).await;
    other.wait_online(parent, &toy.id, "1").await;
    hub.kill().await;
    other.wait_online(parent, &toy.id, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn packet_ids_of_a_session_that_began_anew_elsewhere_are_free_again() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let state = format!("toy/{}/state/battery", toy.id);
    let mut raw = begin(&a, &toy).await;
    raw.send(&publish(V4, 0x34, &state, 77, b"80")).await;
    raw.expect(0x50, &[0, 77]).await;
    a.kill().await;
    // A session without the id, which the client uses for another message, or does not use.
    let mut raw = begin(&b, &toy).await;
    raw.send(&publish(V4, 0x34, &state, 1, b"79")).await;
    raw.expect(0x50, &[0, 1]).await;
    raw.send(&packet(0x62, &[0, 1])).await;
    raw.expect(0x70, &[0, 1]).await;
    leave(raw).await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    let mut app = b.app(&parent).await;
    app.send(serde_json::json!({"id": 7, "do": "subscribe", "topic": state})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    at_a.send(&publish(V4, 0x34, &state, 77, b"78")).await;
    expect(&mut at_a, 0x50, 77).await;
    loop {
        let frame = app.frame().await;
        if frame["type"] == "publish" {
            assert_eq!(frame["payload"], "78", "it is no repeat");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_that_stops_hands_its_sessions_over() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    let mut at_a = begin(&a, &toy).await;
    remote.say(1).await;
    assert_eq!(command(&mut at_a).await, 1);
    // The hub has the PUBREC: otherwise the next one sends the message again.
    let (byte1, body) = at_a.packet().await;
    assert_eq!(byte1 >> 4, 6);
    at_a.send(&packet(0x70, &body)).await;
    let moved = async {
        within("the end of the connection", async { while at_a.read_packet().await.is_some() {} }).await;
        // What comes while the client is nowhere moves, too.
        remote.say(2).await;
        resume(&b, &toy).await
    };
    let (code, (mut at_b, is_present)) = tokio::join!(a.stop(), moved);
    assert_eq!((code, is_present), (Some(0), true));
    assert_eq!(command(&mut at_b).await, 2);
    remote.say(3).await;
    assert_eq!(command(&mut at_b).await, 3);
    a.start_hub().await;
    bus_is(&a, "ok").await;
    leave(at_b).await;
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    remote.say(4).await;
    assert_eq!(command(&mut at_a).await, 4, "nothing is repeated");
    leave(at_a).await;
}

/// The client resumes its session, and repeats the messages of QoS 2 that it has no PUBREC of: they are not sent twice.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_session_that_began_anew_without_the_knowledge_of_its_client_is_the_one_before() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let state = format!("toy/{}/state/battery", toy.id);
    let mut app = b.app(&parent).await;
    app.send(serde_json::json!({"id": 7, "do": "subscribe", "topic": state})).await;
    assert_eq!(app.answer(7).await["code"], 0);
    let mut at_a = begin(&a, &toy).await;
    let mut sent = 0;
    for returns_to_a in [true, false] {
        sent += 1;
        at_a.send(&publish(V4, 0x34, &state, 77, sent.to_string().as_bytes())).await;
        expect(&mut at_a, 0x50, 77).await;
        kill_seen(&mut a, &b, &parent, &toy).await;
        // The client does not get the CONNACK.
        let (unheard, is_present) = resume(&b, &toy).await;
        assert!(!is_present);
        drop(unheard);
        a.start_hub().await;
        bus_is(&a, "ok").await;
        bus_is(&b, "ok").await;
        let (mut again, is_present) = resume(if returns_to_a { &a } else { &b }, &toy).await;
        assert!(is_present);
        again.send(&publish(V4, 0x3c, &state, 77, sent.to_string().as_bytes())).await;
        expect(&mut again, 0x50, 77).await;
        again.send(&packet(0x62, &[0, 77])).await;
        expect(&mut again, 0x70, 77).await;
        sent += 1;
        again.send(&publish(V4, 0x34, &state, 78, sent.to_string().as_bytes())).await;
        expect(&mut again, 0x50, 78).await;
        again.send(&packet(0x62, &[0, 78])).await;
        expect(&mut again, 0x70, 78).await;
        leave(again).await;
        at_a = resume(&a, &toy).await.0;
    }
    for number in 1..=sent {
        let frame = loop {
            let frame = app.frame().await;
            if frame["type"] == "publish" {
                break frame;
            }
        };
        assert_eq!(frame["payload"], number.to_string());
    }
}

/// The client does not know that its hub has not got its PUBREC: by another packet id it would take the message for a new one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_message_that_was_on_its_way_keeps_its_packet_id_at_the_next_hub() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    let mut at_a = begin(&a, &toy).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    for number in 1..=3 {
        remote.say(number).await;
        assert_eq!(command(&mut at_a).await, number);
    }
    let mut on_their_way = Vec::new();
    for number in [4, 5, 6] {
        remote.say(number).await;
        loop {
            let (byte1, body) = at_a.packet().await;
            if byte1 >> 4 == 3 {
                on_their_way.push((byte1 | 8, body));
                break;
            }
            at_a.send(&packet(0x70, &body)).await;
        }
    }
    drop(at_a);
    remote.say(7).await;
    has_caught_up(&a, &b, &parent, &cat).await;
    // From hub to hub, and back to one that had begun another queue.
    for hub in [&b, &a, &b] {
        let (mut raw, is_present) = resume(hub, &toy).await;
        assert!(is_present);
        for sent in &on_their_way {
            assert_eq!(raw.packet().await, *sent);
        }
    }
    // Also after a restart of the hub that has them now.
    let (mut raw, _) = resume(&a, &toy).await;
    for sent in &on_their_way {
        assert_eq!(raw.packet().await, *sent);
    }
    // The one behind them has moved, too.
    assert_eq!(raw.packet().await.0 >> 4, 3);
    drop(raw);
    a.kill().await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    let (mut raw, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    for (at, sent) in on_their_way.iter().enumerate() {
        assert_eq!(raw.packet().await, *sent);
        let id = &sent.1[sent.1.len() - 3..][..2];
        raw.send(&packet(if at == 1 { 0x50 } else { 0x40 }, id)).await;
    }
    assert_eq!(command(&mut raw).await, 7);
    remote.say(8).await;
    assert_eq!(command(&mut raw).await, 8);
    leave(raw).await;
}

/// Waits until a hub has what the other one has sent it so far. The toy is another one.
pub async fn has_caught_up(hub: &World, other: &World, parent: &User, toy: &Toy) {
    let state = format!("toy/{}/state/battery", toy.id);
    let mut observer = Raw::connected(hub.mqtt_addr(), V4, "observer", &parent.id, &parent.token).await;
    observer.send(&subscribe(V4, 1, &[(&state, 0)])).await;
    observer.expect(0x90, &[0, 1, 0]).await;
    let mut toy = Raw::connected(other.mqtt_addr(), V4, "other", &toy.device_key, &toy.secret).await;
    toy.send(&publish(V4, 0x30, &state, 0, b"80")).await;
    assert_eq!(observer.packet().await.0, 0x30);
}

/// A client of MQTT 3.1.1, with what it remembers of messages of QoS 2 between its connections.
#[derive(Default)]
struct Hopper {
    /// Packet ids of messages that are not released.
    held: HashSet<u16>,
    commands: Vec<u16>,
    /// Connections that began anew.
    began: usize,
}

impl Hopper {
    /// A connection that lasts as long as that, or until this command has come.
    async fn visit(&mut self, hub: &World, toy: &Toy, lasts: Duration, last: Option<u16>) {
        let Some((mut raw, is_present)) = try_resume(hub, toy).await else {
            // The session is going elsewhere, for an earlier CONNECT.
            return;
        };
        if !is_present {
            self.began += 1;
            self.held.clear();
            raw.send(&subscribe(V4, 1, &[(&format!("toy/{}/cmd/#", toy.id), 2)])).await;
        }
        let _ = tokio::time::timeout(lasts, async {
            while last.is_none_or(|last| !self.commands.contains(&last)) {
                let Some((byte1, body)) = raw.read_packet().await else { break };
                match byte1 >> 4 {
                    3 => {
                        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                        let id = u16::from_be_bytes([body[topic], body[topic + 1]]);
                        if self.held.insert(id) {
                            let number = std::str::from_utf8(&body[topic + 2..]).unwrap();
                            self.commands.push(number.parse().unwrap());
                        }
                        raw.send(&packet(0x50, &id.to_be_bytes())).await;
                    }
                    6 => {
                        self.held.remove(&u16::from_be_bytes([body[0], body[1]]));
                        raw.send(&packet(0x70, &body)).await;
                    }
                    _ => {}
                }
            }
        })
        .await;
    }

    /// Waits for the last command at a hub, and compares.
    async fn end(mut self, hub: &World, toy: &Toy, last: u16) {
        within("the last command", async {
            while !self.commands.contains(&last) {
                self.visit(hub, toy, Duration::from_secs(30), Some(last)).await;
            }
        })
        .await;
        // What is behind it, if the order has changed.
        self.visit(hub, toy, Duration::from_secs(1), None).await;
        assert_eq!(self.began, 0, "all hubs are there");
        let mut sorted = self.commands.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..=last).collect::<Vec<_>>(), "in the order {:?}", self.commands);
    }
}

/// Three hubs, a toy with a session at the first one, and its parent.
async fn three_hubs(store: &StoreServer, broker: &Broker) -> ([World; 3], User, Toy) {
    let [a, b] = pair(store, broker, &NEVER).await;
    let c = hub_of(store, "c", &broker.url(), &NEVER).await;
    bus_is(&c, "ok").await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    leave(begin(&a, &toy).await).await;
    ([a, b, c], parent, toy)
}

/// Publishes 0 to `last` as commands of QoS 2, through two hubs in turn.
async fn publish_commands([a, b, _]: &[World; 3], parent: &User, toy: &Toy, last: u16) {
    let topic = format!("toy/{}/cmd/volume", toy.id);
    let mut apps = Vec::new();
    for (hub, name) in [(a, "one"), (b, "other")] {
        apps.push(Raw::connected(hub.mqtt_addr(), V4, name, &parent.id, &parent.token).await);
    }
    for number in 0..last {
        say(&mut apps[usize::from(number % 2)], &topic, 2, number + 1, number.to_string().as_bytes()).await;
        sleep(Duration::from_millis(5)).await;
    }
    say(&mut apps[0], &topic, 2, last + 1, last.to_string().as_bytes()).await;
}

/// The client leaves in the middle of everything, also before its session has moved.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_lost_or_doubled_while_a_client_hops_from_hub_to_hub() {
    const LAST: u16 = 400;
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let (hubs, parent, toy) = three_hubs(&store, &broker).await;
    let mut hopper = Hopper::default();
    let hopping = async {
        for hop in 0..60_u64 {
            let hub = &hubs[[0, 1, 2, 1][(hop * hop % 7 % 4) as usize]];
            hopper.visit(hub, &toy, Duration::from_millis(hop * 37 % 90), None).await;
        }
    };
    tokio::join!(publish_commands(&hubs, &parent, &toy, LAST), hopping);
    hopper.end(&hubs[1], &toy, LAST).await;
}

/// The client gives CONNECTs up before their CONNACK, so that several hubs want its session at the same time, and the one
/// that is about to lose it wants it back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn nothing_is_lost_or_doubled_while_a_client_gives_its_connects_up() {
    const LAST: u16 = 600;
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let (hubs, parent, toy) = three_hubs(&store, &broker).await;
    let mut hopper = Hopper::default();
    let hopping = async {
        let mut at = 0;
        for hop in 0..60_u64 {
            for given_up in 0..hop % 5 {
                at = (at + 1 + (hop + given_up) as usize % 2) % 3;
                let mut raw = Raw::open(hubs[at].mqtt_addr()).await;
                raw.send(&connect_of(&toy)).await;
                sleep(Duration::from_millis([0, 3, 10, 30, 60][(hop * 7 + given_up * 3) as usize % 5])).await;
            }
            let hub = &hubs[(at + hop as usize) % 3];
            hopper.visit(hub, &toy, Duration::from_millis(hop * 37 % 90), None).await;
        }
    };
    tokio::join!(publish_commands(&hubs, &parent, &toy, LAST), hopping);
    hopper.end(&hubs[1], &toy, LAST).await;
}

/// The hub that was killed has missed what the client got in the first seconds of its new session, and gets it from the bus.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn what_a_new_session_has_delivered_is_not_repeated_by_the_hub_before() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [mut a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    leave(begin(&a, &toy).await).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    remote.say(1).await;
    // Later than by what the clocks of two hubs may differ.
    sleep(Duration::from_secs(3)).await;
    kill_seen(&mut a, &b, &parent, &cat).await;
    let mut at_b = begin(&b, &toy).await;
    for number in [2, 3, 4] {
        remote.say(number).await;
        assert_eq!(command(&mut at_b).await, number);
    }
    // It leaves while this one is on its way.
    remote.say(5).await;
    leave(at_b).await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    remote.say(6).await;
    has_caught_up(&a, &b, &parent, &cat).await;
    let (mut at_a, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    remote.say(7).await;
    let mut found = Vec::new();
    while found.last() != Some(&7) {
        found.push(command(&mut at_a).await);
    }
    // The one that was on its way may precede the others.
    found.sort_unstable();
    assert_eq!(found, [1, 5, 6, 7]);
    leave(at_a).await;
}

/// The toy connects to the other hub as its own one is killed: their clocks do not tell where it was last.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_asks_the_database_where_a_client_is_that_left_as_it_was_killed() {
    const OVERLAP: (&str, &str) = ("TOYHUB_CLUSTER__SESSION_OVERLAP_S", "1");
    const LOG: (&str, &str) = ("TOYHUB_SERVER__LOG", "toyhub=debug");
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let settings: Vec<_> = NEVER.iter().copied().chain([OVERLAP, LOG]).collect();
    let [mut a, mut b] = pair(&store, &broker, &settings).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let cat = a.toy(&parent, "cat").await;
    let at_a = begin(&a, &toy).await;
    kill_seen(&mut a, &b, &parent, &cat).await;
    drop(at_a);
    let mut at_b = begin(&b, &toy).await;
    // As if the hub had been killed at this moment.
    let file = std::fs::File::options().append(true).open(a.data_dir().join("sessions.redb")).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    sleep(Duration::from_secs(2)).await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    for number in [1, 2] {
        remote.say(number).await;
        assert_eq!(command(&mut at_b).await, number);
    }
    drop(remote);
    // Longer than a message is on its way between two hubs.
    sleep(Duration::from_secs(6)).await;
    // So that it does not ask for what is left here.
    b.signal("STOP").await;
    a.start_hub().await;
    bus_is(&a, "ok").await;
    within("the answer of the database", async {
        while !std::fs::read_to_string(a.log()).unwrap().contains("its client is at another hub") {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    b.signal("CONT").await;
    kill_seen(&mut b, &a, &parent, &cat).await;
    drop(at_b);
    let mut at_a = begin(&a, &toy).await;
    Remote::open(&a, &parent, &toy).await.say(3).await;
    assert_eq!(command(&mut at_a).await, 3);
    leave(at_a).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_client_returns_to_a_hub_that_was_paused() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut remote = Remote::open(&b, &parent, &toy).await;
    // The client does not notice that its connection is dead.
    let mut first = begin(&a, &toy).await;
    remote.say(1).await;
    assert_eq!(command(&mut first).await, 1);
    a.signal("STOP").await;
    for number in 2..6 {
        remote.say(number).await;
    }
    let mut at_b = begin(&b, &toy).await;
    remote.say(6).await;
    assert_eq!(command(&mut at_b).await, 6);
    a.signal("CONT").await;
    // The request for the session reaches a hub that is late, whose answer nobody waits for any more.
    within("the end of the old connection", async { while first.read_packet().await.is_some() {} }).await;
    leave(at_b).await;
    let began = std::time::Instant::now();
    let (mut at_a, _) = resume(&a, &toy).await;
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for a move");
    let mut found: Vec<u16> = Vec::new();
    for _ in 2..6 {
        found.push(command(&mut at_a).await);
    }
    assert_eq!(found, [2, 3, 4, 5]);
    leave(at_a).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_message_that_the_client_has_received_is_released_by_its_next_hub() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut remote = Remote::open(&a, &parent, &toy).await;
    let mut at_a = begin(&a, &toy).await;
    remote.say(1).await;
    // PUBREC; the client uses the message when it gets PUBREL.
    assert_eq!(command(&mut at_a).await, 1);
    leave(at_a).await;
    let (mut at_b, is_present) = resume(&b, &toy).await;
    assert!(is_present);
    at_b.expect(0x62, &[0, 1]).await;
    // Again with each connection, until the client completes it.
    leave(at_b).await;
    let (mut again, is_present) = resume(&a, &toy).await;
    assert!(is_present);
    again.expect(0x62, &[0, 1]).await;
    again.send(&packet(0x70, &[0, 1])).await;
    remote.say(2).await;
    assert_eq!(command(&mut again).await, 2);
    leave(again).await;
}
