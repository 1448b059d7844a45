//! Settings of guardians for a toy, over every edge and by the command line.

use serde_json::{Value, json};

use crate::calls::Edges;
use crate::mqtt::{Raw, V4, connect_with, packet, subscribe};
use crate::one_connection::Line;
use crate::sound;
use crate::world::{Toy, User, World};

/// Times of day around now, in UTC.
pub fn around_now() -> (String, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60;
    let time = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    (time(now - 60), time(now + 120))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_in_its_quiet_hours_gets_only_urgent_messages() {
    let world = World::start_with(&[("TOYHUB_CHATS__QUIET_CHECK_INTERVAL_S", "1")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let (me, which) = (json!({"user_id": mia.id}), json!({"toy_id": toy.id}));
    let mut edges = Edges::open_app(&world, &mia).await;
    let (from, until) = around_now();
    let wanted = json!({"toy_id": toy.id, "from": from, "until": until, "zone": "Etc/UTC"});
    edges.ok("set_quiet_hours", me.clone(), wanted).await;
    let expected = json!({"from": from, "until": until, "zone": "Etc/UTC", "approved_only": false, "approved": []});
    assert_eq!(edges.ok("toy_settings", me.clone(), which.clone()).await, expected);

    let mut line = Line::open(&world, &toy).await;
    let say = async |urgent: &str| -> Value {
        let fields = [("user_id", mia.id.as_str()), ("to_user", &toy.id), ("token", &mia.token), ("emergency", urgent)];
        let sent = world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        sent["data"]["_id"].clone()
    };
    let waiting = say("").await;
    assert_eq!(world.unread_of(&toy).await, 1);
    let (_, received) = world.post("/recv_msg", json!({"from_user": mia.id, "to_user": toy.id})).await;
    assert_eq!(received, json!([]));
    let urgent = say("true").await;
    let told = [line.event("message").await["_id"].clone(), line.event("message").await["_id"].clone()];
    assert_eq!(told, [waiting, urgent], "what waited comes with it, oldest first");
    let eve = world.user("eve").await;
    let fields = [("user_id", eve.id.as_str()), ("to_user", &toy.id), ("token", &eve.token), ("emergency", "1")];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await["code"], 18);

    // By the command line, while the hub runs.
    world.run(&["toy", "quiet", &toy.id, "--off"]).await;
    let settings = world.run(&["toy", "settings", &toy.id]).await;
    assert!(settings.contains("quiet hours\tnone") && settings.contains("content\tall"), "{settings}");
    world.run(&["toy", "quiet", &toy.id, &from, &until, "--zone", "Etc/UTC"]).await;
    say("").await;
    assert_eq!(world.unread_of(&toy).await, 3);
    world.run(&["toy", "quiet", &toy.id, "--off"]).await;
    for _ in 0..3 {
        line.event("message").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_lists_the_content_that_its_guardians_have_approved() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let song = world.folder().join("words.mp3");
    sound::converted(world.folder(), "mp3", &[]);
    let cover = world.data_dir().join(format!("files/qr/{}.png", toy.device_key));
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    for title in ["The Bus", "The Train"] {
        world.run(&["content", "add", song, "--title", title, "--cover", cover]).await;
    }
    let list = world.ok("/content_list", json!({})).await["data"].clone();
    let (bus, train) = (list[0]["_id"].clone(), list[1]["_id"].as_str().unwrap().to_owned());
    let me = json!({"user_id": mia.id});
    let mut edges = Edges::open_app(&world, &mia).await;
    edges.ok("set_content", me.clone(), json!({"toy_id": toy.id, "content": "approved"})).await;
    edges.ok("approve_content", me.clone(), json!({"toy_id": toy.id, "content_id": bus})).await;
    let mut line = Line::open(&world, &toy).await;
    let titles = async |line: &mut Line| -> Vec<Value> {
        let list = line.ok(json!({"do": "content_list"})).await;
        list.as_array().unwrap().iter().map(|content| content["title"].clone()).collect()
    };
    assert_eq!(titles(&mut line).await, ["The Bus"]);
    world.run(&["toy", "approve", &toy.id, &train]).await;
    edges.ok("approve_content", me, json!({"toy_id": toy.id, "content_id": bus, "withdraw": true})).await;
    assert_eq!(titles(&mut line).await, ["The Train"]);
    world.run(&["toy", "content", &toy.id, "all"]).await;
    assert_eq!(titles(&mut line).await.len(), 2);
    assert_eq!(world.ok("/content_list", json!({})).await["data"].as_array().unwrap().len(), 2, "for apps it is all");
    let eve = world.user("eve").await;
    let others = json!({"user_id": eve.id, "toy_id": toy.id, "content": "all", "content_id": bus});
    for path in ["/set_content", "/approve_content", "/toy_settings", "/set_quiet_hours"] {
        assert_eq!(world.post_as(&eve, path, others.clone()).await["code"], 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_limits_the_minutes_of_a_toys_day() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let (me, which) = (json!({"user_id": mia.id}), json!({"toy_id": toy.id}));
    let mut edges = Edges::open_app(&world, &mia).await;
    let wanted = json!({"toy_id": toy.id, "minutes": 30, "zone": "Europe/Berlin"});
    edges.ok("set_daily_minutes", me.clone(), wanted).await;
    let settings = edges.ok("toy_settings", me.clone(), which.clone()).await;
    let minutes = (&settings["minutes"], &settings["minutes_zone"], &settings["minutes_used"]);
    assert_eq!(minutes, (&json!(30), &json!("Europe/Berlin"), &json!(0.0)));
    // Each sound that the toy plays counts, by its length.
    let fields = [("user_id", mia.id.as_str()), ("to_user", &toy.id), ("token", &mia.token)];
    for number in 0..8 {
        let sent = world.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
    }
    let (_, received) = world.post("/recv_msg", json!({"from_user": mia.id, "to_user": toy.id})).await;
    assert_eq!(received.as_array().unwrap().len(), 8);
    let used = edges.ok("toy_settings", me.clone(), which.clone()).await["minutes_used"].as_f64().unwrap();
    assert!(used > 0.0, "{used}");
    let eve = world.user("eve").await;
    let others = json!({"user_id": eve.id, "toy_id": toy.id, "minutes": 1, "zone": "UTC"});
    assert_eq!(world.post_as(&eve, "/set_daily_minutes", others).await["code"], 1);
    // By the command line.
    assert!(world.run(&["toy", "settings", &toy.id]).await.contains("minutes\t30 a day"));
    world.run(&["toy", "minutes", &toy.id, "45", "--zone", "Etc/UTC"]).await;
    assert_eq!(edges.ok("toy_settings", me.clone(), which.clone()).await["minutes"], 45);
    world.run(&["toy", "minutes", &toy.id, "--off"]).await;
    assert!(edges.ok("toy_settings", me, which).await.get("minutes").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_muted_friend_are_stored_without_an_event() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    assert_eq!(world.post_as(&tom, "/add_req", json!({"req_user": tom.id, "add_user": toy.id})).await["code"], 0);
    world.accept(&mia, "Uncle").await;
    let mut edges = Edges::open_app(&world, &mia).await;
    let (me, him) = (json!({"user_id": mia.id}), json!({"toy_id": toy.id, "friend_id": tom.id}));
    edges.ok("mute", me.clone(), him.clone()).await;
    let mut line = Line::open(&world, &toy).await;
    let send = async |from: &User| {
        let fields = [("user_id", from.id.as_str()), ("to_user", &toy.id), ("token", &from.token)];
        let sent = world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        sent["data"]["_id"].clone()
    };
    let silent = send(&tom).await;
    let aloud = send(&mia).await;
    assert_eq!(line.event("message").await["_id"], aloud);
    let friends = line.ok(json!({"do": "friend_list"})).await;
    let of_tom = friends.as_array().unwrap().iter().find(|friend| friend["friend_id"] == tom.id.as_str()).unwrap();
    assert_eq!((&of_tom["muted"], &of_tom["unread"]), (&json!(true), &json!(1)));
    // Its guardians see it where they read its address book.
    let muted = async || -> Vec<Value> {
        let list = world.post_as(&mia, "/toy_list", json!({"_id": mia.id})).await;
        let friends = list["data"][0]["friend_list"].as_array().unwrap().iter();
        friends.filter(|friend| friend["muted"] == true).map(|friend| friend["friend_id"].clone()).collect()
    };
    assert_eq!(muted().await, [json!(tom.id)]);
    let mut loud = him;
    loud["withdraw"] = json!(true);
    edges.ok("mute", me, loud).await;
    assert!(muted().await.is_empty());
    let told: Vec<Value> = vec![line.event("message").await["_id"].clone(), line.event("message").await["_id"].clone()];
    assert!(told.contains(&silent), "{told:?}");
    let others = json!({"user_id": tom.id, "toy_id": toy.id, "friend_id": mia.id});
    assert_eq!(world.post_as(&tom, "/mute", others).await["code"], 1, "a toy of others");
}

/// The toy's session, which outlives its connection; `present` is whether the hub has it already.
async fn session(world: &World, toy: &Toy, present: u8) -> Raw {
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc0, 60, &[], "kept", &[], &toy.device_key, &toy.secret)).await;
    raw.expect(0x20, &[present, 0]).await;
    raw
}

async fn leave(mut raw: Raw) {
    raw.send(&[0xe0, 0]).await;
    raw.expect_end().await;
}

/// Whether the event of a message comes before the answers to some pings.
async fn gets_message(raw: &mut Raw) -> bool {
    for _ in 0..20 {
        raw.send(&[0xc0, 0]).await;
        let (kind, body) = raw.packet().await;
        if kind != 0xd0 {
            assert!(kind == 0x32 && String::from_utf8_lossy(&body).contains("\"type\":\"message\""));
            let mut next = (kind, body);
            while next.0 != 0xd0 {
                let id = 2 + usize::from(u16::from_be_bytes([next.1[0], next.1[1]]));
                raw.send(&packet(0x40, &next.1[id..id + 2])).await;
                next = raw.packet().await;
            }
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_events_are_withheld_while_a_toy_rests_or_has_muted_its_friend() {
    let world = World::start_with(&[("TOYHUB_CHATS__QUIET_CHECK_INTERVAL_S", "1")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let say = async || {
        let fields = [("user_id", mia.id.as_str()), ("to_user", &toy.id), ("token", &mia.token)];
        assert_eq!(world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await["code"], 0);
    };
    let mut raw = session(&world, &toy, 0).await;
    raw.send(&subscribe(V4, 1, &[(&format!("toy/{}/in", toy.id), 1)])).await;
    raw.expect(0x90, &[0, 1, 1]).await;
    leave(raw).await;
    say().await;
    let mut raw = session(&world, &toy, 1).await;
    assert!(gets_message(&mut raw).await, "it waits in the session");
    leave(raw).await;

    say().await;
    let (from, until) = around_now();
    world.run(&["toy", "quiet", &toy.id, &from, &until, "--zone", "Etc/UTC"]).await;
    let mut raw = session(&world, &toy, 1).await;
    assert!(!gets_message(&mut raw).await, "the toy rests");
    world.run(&["toy", "quiet", &toy.id, "--off"]).await;
    assert!(gets_message(&mut raw).await, "the end of the rest publishes it");
    leave(raw).await;

    say().await;
    let mute = json!({"user_id": mia.id, "toy_id": toy.id, "friend_id": mia.id});
    assert_eq!(world.post_as(&mia, "/mute", mute).await["code"], 0);
    let mut raw = session(&world, &toy, 1).await;
    assert!(!gets_message(&mut raw).await, "the friend is muted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_topic_is_silent_while_a_toy_rests_or_has_muted_its_friend() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    assert_eq!(world.post_as(&tom, "/add_req", json!({"req_user": tom.id, "add_user": toy.id})).await["code"], 0);
    world.accept(&mia, "Uncle").await;
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    let chat = format!("chat/{}", friends["data"][0]["friend_chat"].as_str().unwrap());
    let mut kept = session(&world, &toy, 0).await;
    kept.send(&subscribe(V4, 1, &[(&chat, 1)])).await;
    kept.expect(0x90, &[0, 1, 1]).await;
    leave(kept).await;
    let (mut line, mut of_tom) = (Line::open(&world, &toy).await, Line::open_app(&world, &tom).await);
    line.subscribe(&chat).await;
    let mut app = world.app(&tom).await;
    let (from, until) = around_now();
    let quiet = ["toy", "quiet", &toy.id, &from, &until, "--zone", "Etc/UTC"];
    let mute = |withdraw: bool| json!({"user_id": mia.id, "toy_id": toy.id, "friend_id": tom.id, "withdraw": withdraw.to_string()});
    for round in 0..2 {
        match round {
            0 => drop(world.run(&quiet).await),
            _ => assert_eq!(world.post_as(&mia, "/mute", mute(false)).await["code"], 0),
        }
        of_tom.publish(&chat, br#"{"type":"held back"}"#).await;
        let publish = json!({"do": "publish", "topic": chat, "payload": r#"{"type":"held back"}"#});
        assert_eq!(app.ask(publish).await["code"], 0);
        match round {
            0 => drop(world.run(&["toy", "quiet", &toy.id, "--off"]).await),
            _ => assert_eq!(world.post_as(&mia, "/mute", mute(true)).await["code"], 0),
        }
        of_tom.publish(&chat, format!(r#"{{"type":"round {round}"}}"#).as_bytes()).await;
        assert_eq!(line.next_event().await["type"], format!("round {round}"));
    }
    // The two publications wait in the session. They are withheld, as the toy rests again.
    world.run(&quiet).await;
    let mut kept = session(&world, &toy, 1).await;
    assert!(!gets_message(&mut kept).await);
}
