//! The app socket: reconnecting without a gap, permissions, and misuse.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::sound;
use crate::world::{App, Toy, User, World, within};

async fn say(world: &World, toy: &Toy, to: &User) {
    let fields = [("user_id", toy.id.as_str()), ("to_user", &to.id), ("friend_type", "app")];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::beep(), &fields).await["code"], 0);
}

/// The frames up to the answer to a ping, which follows all earlier ones.
async fn frames(app: &mut App) -> Vec<Value> {
    app.send(json!({"id": 9, "do": "ping"})).await;
    let mut frames = Vec::new();
    loop {
        let frame = app.frame().await;
        if frame["id"] == 9 {
            return frames;
        }
        frames.push(frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_broken_connections_lose_and_repeat_no_event() {
    let world = World::start_with(&[
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000"),
        ("TOYHUB_ACCOUNTS__STREAM_EVENTS_MAX", "100000"),
    ])
    .await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    const MESSAGES: u64 = 120;
    let sending = async {
        for _ in 0..MESSAGES {
            say(&world, &toy, &parent).await;
        }
    };
    // The connection breaks after every few frames, read or not, while messages arrive.
    let listening = async {
        let (mut seen, mut last, mut breaks) = (Vec::new(), 0u64, 0u32);
        let mut random = 12_345u32;
        while last < MESSAGES || breaks < 1000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (mut app, welcome) = world.app_after(&parent, last).await;
            assert_eq!((&welcome["resumed"], &welcome["reload"]), (&json!(true), &json!(false)));
            let missed = welcome["seq"].as_u64().unwrap() - last;
            for _ in 0..u64::from(random >> 28).min(missed) {
                let frame = app.frame().await;
                assert_eq!(frame["type"], "message");
                let seq = frame["seq"].as_u64().unwrap();
                assert_eq!(seq, last + 1, "in order, without a gap");
                last = seq;
                seen.push(frame["_id"].as_str().unwrap().to_owned());
            }
            breaks += 1;
        }
        (seen, breaks)
    };
    let ((), (mut seen, breaks)) = within("all messages", async { tokio::join!(sending, listening) }).await;
    assert!(breaks >= 1000);
    assert_eq!(seen.len() as u64, MESSAGES);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len() as u64, MESSAGES, "nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_too_old_are_reported_and_survive_a_restart() {
    let mut world = World::start_with(&[("TOYHUB_ACCOUNTS__STREAM_EVENTS_MAX", "3")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    for _ in 0..5 {
        say(&world, &toy, &parent).await;
    }
    world.kill().await;
    world.start_hub().await;
    let (mut app, welcome) = world.app_after(&parent, 2).await;
    assert_eq!(welcome, json!({"type": "welcome", "seq": 5, "resumed": true, "reload": false}));
    for seq in 3..=5 {
        assert_eq!(app.frame().await["seq"], seq);
    }
    for (after, resumed) in [(5, true), (1, false), (6, false), (u64::MAX, false)] {
        let (mut app, welcome) = world.app_after(&parent, after).await;
        assert_eq!(welcome, json!({"type": "welcome", "seq": 5, "resumed": resumed, "reload": !resumed}), "{after}");
        assert_eq!(frames(&mut app).await, Vec::<Value>::new());
    }
    // A client that sends no event number gets the unread messages.
    let mut app = world.app(&parent).await;
    let unheard = frames(&mut app).await;
    assert_eq!((unheard.len(), unheard[0].get("seq")), (5, None));
    say(&world, &toy, &parent).await;
    assert_eq!(app.frame().await["seq"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_of_an_app_work_over_its_socket() {
    let world = World::start_with(&[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut ears = world.mosquitto_sub(&toy, "mqttv311");
    let mut app = world.app(&parent).await;
    let mut ask = async |mut request: Value| {
        request["id"] = json!(7);
        app.send(request).await;
        app.answer(7).await
    };
    let profile = ask(json!({"do": "auto_login"})).await;
    assert_eq!((&profile["msg"], &profile["data"]["_id"]), (&json!("Successful login"), &json!(parent.id)));
    assert_eq!(ask(json!({"do": "friend_list"})).await["data"][0]["friend_id"], toy.id.as_str());
    assert_eq!(ask(json!({"do": "toy_list"})).await["data"][0]["toy_name"], "Fluffy");
    assert_eq!(ask(json!({"do": "content_list"})).await["data"], json!([]));
    assert_eq!(ask(json!({"do": "scan_qr", "device_key": toy.device_key})).await["data"]["toy_id"], toy.id.as_str());

    let recording = sound::amr(world.folder());
    let chunks: Vec<_> = recording.chunks(2000).collect();
    use base64::Engine as _;
    for (n, chunk) in chunks.iter().enumerate().rev() {
        let data = base64::engine::general_purpose::STANDARD.encode(chunk);
        assert_eq!(ask(json!({"do": "voice", "upload": "a", "n": n, "data": data})).await["code"], 0);
    }
    let sent = json!({"do": "app_uploader", "to_user": toy.id, "upload": "a", "chunks": chunks.len()});
    let answer = ask(sent.clone()).await;
    assert_eq!((&answer["code"], &answer["data"]["friend_type"]), (&json!(0), &json!("toy")), "{answer}");
    let again = ask(sent).await;
    assert_eq!(again["data"]["_id"], answer["data"]["_id"], "asked again, answered the same");
    assert_eq!(again["data"]["filename"], answer["data"]["filename"]);
    let event = ears.event().await;
    assert_eq!((&event["type"], &event["from_user"]), (&json!("message"), &json!(parent.id)));

    say(&world, &toy, &parent).await;
    let waiting = ask(json!({"do": "unread"})).await["data"].clone();
    assert_eq!(waiting["chat"], json!({"count": 1, toy.id.as_str(): 1}));
    let message = waiting["messages"][0].clone();
    assert_eq!(ask(json!({"do": "delivered", "message": message["_id"]})).await["code"], 0);
    assert_eq!(ask(json!({"do": "unread"})).await["data"]["chat"]["count"], 1, "looking marks nothing");
    assert_eq!(ask(json!({"do": "mark_read", "from_user": toy.id, "message": message["_id"]})).await["code"], 0);
    assert_eq!(ask(json!({"do": "unread"})).await["data"]["chat"]["count"], 0);
    let heard = loop {
        let receipt = ears.event().await;
        if receipt["type"] == "receipt" && receipt["state"] == "heard" {
            break receipt;
        }
    };
    assert_eq!((&heard["_id"], &heard["by"]), (&message["_id"], &json!(parent.id)));
    let list = ask(json!({"do": "chat_list", "chat_id": event["chat_id"]})).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);

    for (request, code) in [
        (json!({"do": "fly"}), 1),
        (json!({"do": "voice", "upload": "a", "n": 0, "data": "no base64!"}), 1),
        (json!({"do": "voice", "upload": "../a", "n": 0, "data": ""}), 1),
        (json!({"do": "voice", "upload": "a", "n": -1, "data": ""}), 1),
        (json!({"do": "publish", "topic": format!("app/{}/out", parent.id), "payload": "{}"}), 18),
        (json!({"do": "mark_read", "from_user": parent.id}), 1),
        (json!({"do": "delivered", "message": "5c8f5853268d7942f44c6705"}), 1),
        (json!({"do": "auto_login", "_id": toy.id}), 1),
    ] {
        let answer = ask(request.clone()).await;
        assert_eq!(answer["code"], code, "{request}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_opens_its_socket_with_a_ticket_that_is_good_once() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let ticket = world.post_as(&parent, "/ticket", json!({})).await;
    let ticket = ticket["data"]["ticket"].as_str().unwrap_or_else(|| panic!("{ticket}")).to_owned();
    let mut app = world.socket(&format!("/ws?ticket={ticket}&after=0")).await;
    assert_eq!(app.frame().await["resumed"], true);
    for bad in [ticket.as_str(), "", "x", &parent.token] {
        let mut app = world.socket(&format!("/ws?ticket={bad}")).await;
        assert_eq!(app.close_code().await, 4500, "{bad}");
    }
    assert_eq!(world.post("/ticket", json!({})).await.1["code"], 10);
    // The ticket ends with its token.
    let ticket = world.post_as(&parent, "/ticket", json!({})).await["data"]["ticket"].as_str().unwrap().to_owned();
    world.run(&["user", "log-out", &parent.username]).await;
    assert_eq!(world.socket(&format!("/ws?ticket={ticket}")).await.close_code().await, 4500);
}

#[tokio::test(flavor = "multi_thread")]
async fn misuse_closes_only_the_socket_of_its_client() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut witness = world.app(&parent).await;
    let stranger = world.user("stranger").await;
    for (message, code) in [
        (Message::text("no json"), 4502),
        (Message::text("[]"), 4502),
        (Message::text("{".repeat(60_000)), 4502),
        (Message::text(format!("{{\"do\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000))), 4502),
        (Message::binary(vec![0; 10]), 4502),
        (Message::text("x".repeat(100_000)), 4502),
    ] {
        let mut app = world.app(&stranger).await;
        app.send_raw(message).await;
        assert_eq!(app.close_code().await, code);
    }
    let mut app = world.app(&stranger).await;
    app.send_invalid_utf8().await;
    assert_eq!(app.close_code().await, 4502);
    let mut app = world.app(&stranger).await;
    app.announce_huge_frame().await;
    assert_eq!(app.close_code().await, 4502);
    let mut app = world.app(&stranger).await;
    for _ in 0..30 {
        app.send(json!({"do": "ping"})).await;
    }
    assert_eq!(app.close_code().await, 4002, "more than twenty requests in a second");

    // Another family's data gets the answer of data that does not exist.
    let chat = witness.ask(json!({"do": "friend_list"})).await["data"][0]["friend_chat"].as_str().unwrap().to_owned();
    let mut app = world.app(&stranger).await;
    for (theirs, nobodys) in [
        (json!({"do": "subscribe", "topic": format!("chat/{chat}")}), "chat/5c8f5853268d7942f44c6705"),
        (json!({"do": "subscribe", "topic": format!("online/{}", toy.id)}), "online/5c8f5853268d7942f44c6705"),
        (
            json!({"do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)}),
            "toy/5c8f5853268d7942f44c6705/state/#",
        ),
        (json!({"do": "publish", "topic": format!("toy/{}/cmd/x", toy.id)}), "toy/5c8f5853268d7942f44c6705/cmd/x"),
    ] {
        let mut same = theirs.clone();
        same["topic"] = json!(nobodys);
        let (theirs, nobodys) = (app.ask(theirs).await, app.ask(same).await);
        assert_eq!((&theirs["code"], &theirs), (&json!(18), &nobodys));
    }
    let theirs = app.ask(json!({"do": "chat_list", "chat_id": chat})).await;
    let nobodys = app.ask(json!({"do": "chat_list", "chat_id": "5c8f5853268d7942f44c6705"})).await;
    assert_eq!((&theirs["code"], &theirs), (&json!(1), &nobodys));
    witness.ask(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_have_a_limit_and_a_reader_that_stalls_is_cut_off() {
    let world = World::start_with(&[
        ("TOYHUB_WS__REQUESTS_PER_SECOND", "20000"),
        ("TOYHUB_WS__QUEUE_MESSAGES_MAX", "16"),
        ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "16"),
        ("TOYHUB_MQTT__BACKPRESSURE_MAX_S", "1"),
    ])
    .await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut app = world.app(&parent).await;
    let mut refused = 0;
    for number in 0..200 {
        let topic = format!("toy/{}/state/{number}", toy.id);
        let answer = app.ask(json!({"do": "subscribe", "topic": topic})).await;
        refused += u32::from(answer["code"] == 12);
    }
    assert_eq!(refused, 200 - 63, "64 with its own inbox");

    let mut reader = world.app(&parent).await;
    reader.ask(json!({"do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    // 64 KiB at once, repeatedly, until the system's buffers and the queue are full.
    let flood = async {
        let address = world.mqtt_addr();
        let mut raw = crate::mqtt::Raw::connected(address, crate::mqtt::V4, "a", &toy.device_key, &toy.secret).await;
        let topic = format!("toy/{}/state/x", toy.id);
        for id in 1..=400u16 {
            raw.send(&crate::mqtt::publish(crate::mqtt::V4, 0x32, &topic, id, &[b'x'; 60_000])).await;
            raw.expect(0x40, &id.to_be_bytes()).await;
        }
    };
    within("the toy, which is held up for a moment only", flood).await;
    let cut = async {
        let mut pushes = 0;
        while reader.next_is_text().await {
            pushes += 1;
        }
        pushes
    };
    assert!(within("the end of the stalled reader", cut).await < 400);
    app.ask(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_detected() {
    let world = World::start_with(&[("TOYHUB_WS__PING_INTERVAL_S", "1")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    // The socket of a client that stops answering and does not close.
    let dead = world.legacy_socket(&format!("/toy/{}", toy.id), None).await;
    let witness = world.user("witness").await;
    crate::matrix::befriend(&world, &witness, &toy.id, &parent).await;
    world.wait_online(&witness, &toy.id, "1").await;
    world.wait_online(&witness, &toy.id, "0").await;
    drop(dead);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_the_connection_within_five_seconds() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let mut app = world.app(&parent).await;
    world.run(&["user", "log-out", &parent.username]).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), app.close_code()).await;
    assert_eq!(closed.expect("in time"), 4501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered_with_a_close() {
    let world = World::start().await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    for socket in [
        world.app(&owner).await,
        world.socket("/ws").await,
        world.legacy_socket(&format!("/app/{}", owner.id), Some(&owner.token)).await,
        world.legacy_socket(&format!("/toy/{}", toy.id), None).await,
    ] {
        assert!(socket.close_is_answered().await);
    }
}
