//! A system clock that jumps, while the hub runs and between two runs, ends no login and no session.

use serde_json::{Value, json};

use crate::chats::fake_clock;
use crate::mqtt::{Raw, V4, connect_with, packet, publish, subscribe};
use crate::sound;
use crate::world::{App, Toy, User, World, within};

/// A hub whose clock is set by the file `clock` in its folder.
async fn world_at(offset: &str, settings: &[(&'static str, &'static str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    std::fs::write(&file, offset).unwrap();
    let file: &'static str = file.to_str().unwrap().to_owned().leak();
    let library: &'static str = fake_clock().leak();
    let mut all = vec![
        ("TOYHUB_SERVER__LOG", "info"),
        ("TOYHUB_CHATS__SWEEP_INTERVAL_S", "1"),
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    all.extend(settings);
    World::start_in(folder, &all).await
}

fn set(world: &World, offset: &str) {
    std::fs::write(world.folder().join("clock"), offset).unwrap();
}

/// Waits until the hub has logged a line with this text.
async fn logged(world: &World, text: &str) {
    let line = async {
        while !std::fs::read_to_string(world.log()).unwrap().contains(text) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(text, line).await;
}

/// Connects the toy with a session that is kept; whether there was one.
async fn resume(world: &World, toy: &Toy) -> (Raw, bool) {
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc0, 600, &[], "away", &[], &toy.device_key, &toy.secret)).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
    (raw, body[0] == 1)
}

async fn send(world: &World, user: &User, toy: &Toy) -> Value {
    let fields = [("user_id", user.id.as_str()), ("to_user", &toy.id), ("token", &user.token)];
    world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await
}

/// The login of the family is good in every way: by its token, and without one by its place.
async fn is_logged_in(world: &World, user: &User) -> bool {
    let with_token = world.post_as(user, "/auto_login", json!({"_id": user.id})).await;
    let (_, by_place) = world.post("/toy_list", json!({"_id": user.id})).await;
    assert_eq!(with_token["code"], by_place["code"], "{with_token} {by_place}");
    with_token["code"] == 0
}

struct Family {
    parent: User,
    toy: Toy,
}

/// A family whose toy has a session with a subscription, and is away.
async fn family(world: &World) -> Family {
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let (mut raw, _) = resume(world, &toy).await;
    raw.send(&subscribe(V4, 1, &[(&format!("toy/{}/in", toy.id), 1)])).await;
    raw.expect(0x90, &[0, 1, 1]).await;
    raw.send(&packet(0xe0, &[])).await;
    raw.expect_end().await;
    Family { parent, toy }
}

/// The toy resumes its session, and gets its unread messages.
async fn gets_its_message(world: &World, toy: &Toy) {
    let (mut raw, present) = resume(world, toy).await;
    assert!(present, "the session is there");
    raw.send(&packet(0xc0, &[])).await;
    let mut messages = 0;
    loop {
        let (byte1, body) = raw.packet().await;
        if byte1 == 0xd0 {
            // Until the messages have come.
            if messages > 0 {
                break;
            }
            raw.send(&packet(0xc0, &[])).await;
            continue;
        }
        assert_eq!(byte1 & 0xf6, 0x32, "a PUBLISH of QoS 1");
        let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        raw.send(&packet(0x40, &body[topic..topic + 2])).await;
        messages += 1;
    }
    raw.send(&packet(0xe0, &[])).await;
    raw.expect_end().await;
}

async fn live_connections(world: &World, family: &Family) -> (App, Raw) {
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc2, 600, &[], "live", &[], &family.toy.device_key, &family.toy.secret)).await;
    assert_eq!(raw.packet().await.1, [0, 0]);
    (world.app(&family.parent).await, raw)
}

async fn are_alive((app, raw): &mut (App, Raw), toy: &Toy) {
    raw.send(&publish(V4, 0x32, &format!("toy/{}/state/battery", toy.id), 7, b"80")).await;
    raw.expect(0x40, &[0, 7]).await;
    let answer = app.ask(json!({"do": "friend_list"})).await;
    assert_eq!(answer["code"], 0, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_by_decades_ends_no_login_and_no_session() {
    // A board without a battery.
    let mut world = world_at("-50y", &[]).await;
    let family = family(&world).await;
    let mut live = live_connections(&world, &family).await;
    assert!(is_logged_in(&world, &family.parent).await);
    // The pause after a refusal is an age, too.
    let tom = world.user("tom").await;
    let wanted = json!({"req_user": tom.id, "add_user": family.parent.id});
    assert_eq!(world.post_as(&tom, "/add_req", wanted.clone()).await["code"], 0);
    let list = world.post_as(&family.parent, "/req_list", json!({"_id": family.parent.id})).await;
    let refused = world.post_as(&family.parent, "/ref_req", json!({"req_id": list["data"][0]["_id"]})).await;
    assert_eq!(refused["code"], 0, "{refused}");
    for (offset, jump) in [("+0", 1), ("-1h", 2)] {
        set(&world, offset);
        let jumps = async {
            while std::fs::read_to_string(world.log()).unwrap().matches("the system clock jumped").count() < jump {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        within("the jump to be seen", jumps).await;
        assert!(is_logged_in(&world, &family.parent).await, "{offset}");
        assert_eq!(world.post_as(&tom, "/add_req", wanted.clone()).await["code"], 11, "{offset}");
        are_alive(&mut live, &family.toy).await;
        let sent = send(&world, &family.parent, &family.toy).await;
        assert_eq!(sent["code"], 0, "{offset}: {sent}");
        gets_its_message(&world, &family.toy).await;
    }
    let chats = world.post_as(&family.parent, "/friend_list", json!({"_id": family.parent.id})).await;
    let chat =
        json!({"_id": family.parent.id, "chat_id": chats["data"][0]["friend_chat"], "to_user": family.parent.id});
    let list = world.post_as(&family.parent, "/chat_list", chat).await;
    let at = list["data"][1]["create_time"].as_f64().unwrap();
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((today - at).abs() < 7200.0, "messages have the time of day: {list}");
    // What was issued in 1976 is good in the next process, too.
    drop(live);
    assert_eq!(send(&world, &family.parent, &family.toy).await["code"], 0);
    for is_clean in [true, false] {
        if is_clean {
            assert_eq!(world.stop().await, Some(0));
        } else {
            world.kill().await;
        }
        world.start_hub().await;
        assert!(is_logged_in(&world, &family.parent).await, "{is_clean}");
    }
    gets_its_message(&world, &family.toy).await;
}

/// The engine runs its jobs every 30 seconds. One of them used to wait, in a busy loop, for the time that it had seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_does_not_stop_the_hub() {
    let world = world_at("+0", &[]).await;
    let parent = world.user("mia").await;
    let works_for = async |seconds: u64| {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
        while tokio::time::Instant::now() < end {
            let answer = within("an answer", world.post_as(&parent, "/toy_list", json!({"_id": parent.id}))).await;
            assert_eq!(answer["code"], 0, "{answer}");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    works_for(32).await;
    set(&world, "-1h");
    logged(&world, "the system clock jumped").await;
    works_for(33).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_wrong_clock_is_named_and_heals_with_it() {
    let mut world = world_at("+0", &[("TOYHUB_RETENTION__MESSAGES_DAYS", "30")]).await;
    let family = family(&world).await;
    assert_eq!(send(&world, &family.parent, &family.toy).await["code"], 0);
    for (offset, line) in
        [("+3y", "a day later than when the hub last ran"), ("-3y", "earlier than when the hub last ran")]
    {
        assert_eq!(world.stop().await, Some(0));
        set(&world, offset);
        world.start_hub().await;
        logged(&world, line).await;
        assert!(is_logged_in(&world, &family.parent).await, "{offset}");
        set(&world, "+0");
        logged(&world, "the system clock jumped").await;
        assert!(is_logged_in(&world, &family.parent).await, "{offset} and back");
        assert_eq!(world.unread_of(&family.toy).await, 1, "nothing is too old");
    }
    gets_its_message(&world, &family.toy).await;
    // Years later, the tokens have expired.
    assert_eq!(world.stop().await, Some(0));
    set(&world, "+3y");
    world.set("TOYHUB_SERVER__CLOCK_DOUBT_H", "0");
    world.start_hub().await;
    assert!(!is_logged_in(&world, &family.parent).await);
    let (_, present) = resume(&world, &family.toy).await;
    assert!(!present);
}
