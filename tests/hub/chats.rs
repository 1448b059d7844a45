//! Chats with lost answers, lost rows, sounds without a message, and clocks that jump.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::one_connection::{Line, pieces};
use crate::sound;
use crate::tables;
use crate::world::{Toy, User, World, within};

const WINDOW: (&str, &str) = ("TOYHUB_CHATS__RETRY_WINDOW_S", "600");

/// A parent's message to the toy; the answer.
async fn say(world: &World, user: &User, to: &str, recording: Vec<u8>) -> Value {
    let fields = [("user_id", user.id.as_str()), ("to_user", to), ("token", &user.token)];
    let sent = world.upload("/app_uploader", "reco_file", recording, &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    sent
}

async fn answer(world: &World, toy: &Toy, to: &str) -> Value {
    let fields = [("user_id", toy.id.as_str()), ("to_user", to), ("friend_type", "app")];
    let sent = world.upload("/toy_uploader", "reco", sound::beep(), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    sent
}

async fn chat_of(world: &World, user: &User, friend: &str) -> String {
    let list = world.post_as(user, "/friend_list", json!({"_id": user.id})).await;
    let friend = list["data"].as_array().unwrap().iter().find(|entry| entry["friend_id"] == friend).unwrap();
    friend["friend_chat"].as_str().unwrap().to_owned()
}

async fn page(world: &World, user: &User, chat: &str, more: Value) -> Vec<Value> {
    let mut wanted = json!({"chat_id": chat, "to_user": user.id});
    wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let list = world.post_as(user, "/chat_list", wanted).await;
    assert_eq!(list["code"], 0, "{list}");
    list["data"].as_array().unwrap().clone()
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

async fn received(world: &World, toy: &Toy, from: &str) -> Vec<Value> {
    let (status, list) = world.post("/recv_msg", json!({"from_user": from, "to_user": toy.id})).await;
    assert_eq!(status, 200, "{list}");
    list.as_array().unwrap().clone()
}

/// The stored recordings.
fn recordings(world: &World) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(world.data_dir().join("files/chat")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("say-")).collect()
}

fn age(path: &PathBuf, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// The doctor's lines about the data, and whether it found no fault.
async fn doctor(world: &World, arguments: &[&str]) -> (Vec<String>, bool) {
    let output = within("the doctor", world.command(arguments).output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().filter(|line| line.contains(" data: ")).map(str::to_owned).collect();
    (lines, matches!(output.status.code(), Some(0 | 6)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_repeated_is_one_message_also_after_a_kill() {
    let mut world = World::start_with(&[WINDOW]).await;
    let parent = world.user("parent").await;
    let (fluffy, rex) = (world.toy(&parent, "Fluffy").await, world.toy(&parent, "Rex").await);
    let first = say(&world, &parent, &fluffy.id, sound::wav()).await;
    // Each answer has a new link.
    let lasting = |mut sent: Value| {
        sent["data"].as_object_mut().unwrap().remove("url");
        sent
    };
    let first = lasting(first);
    assert_eq!(lasting(say(&world, &parent, &fluffy.id, sound::wav()).await), first, "the same answer");
    world.kill().await;
    world.start_hub().await;
    assert_eq!(lasting(say(&world, &parent, &fluffy.id, sound::wav()).await), first, "a client that got no answer");

    let to_another = say(&world, &parent, &rex.id, sound::wav()).await;
    let another = say(&world, &parent, &fluffy.id, sound::beep()).await;
    let from_another = answer(&world, &fluffy, &parent.id).await;
    let ids =
        [&first, &to_another, &another, &from_another].map(|sent| sent["data"]["_id"].as_str().unwrap().to_owned());
    assert_eq!(std::collections::HashSet::from(ids.clone()).len(), 4, "{ids:?}");
    let chat = chat_of(&world, &parent, &fluffy.id).await;
    let list = page(&world, &parent, &chat, json!({})).await;
    assert_eq!(list.iter().map(|message| &message["_id"]).collect::<Vec<_>>(), [&ids[0], &ids[2], &ids[3]]);
    assert_eq!(numbers(&list), [1, 2, 3]);
    assert_eq!(received(&world, &fluffy, &parent.id).await.len(), 2);
    assert_eq!(recordings(&world).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_because_of_lost_rows_and_the_doctor_corrects_the_counters() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut sounds = Vec::new();
    for _ in 0..5 {
        say(&world, &parent, &toy.id, sound::beep()).await;
        let sent = answer(&world, &toy, &parent.id).await;
        sounds.push(sent["data"]["filename"].as_str().unwrap().to_owned());
    }
    let chat = chat_of(&world, &parent, &toy.id).await;
    assert_eq!(world.stop().await, Some(0));
    let (lines, _) = doctor(&world, &["doctor"]).await;
    assert_eq!(lines, ["ok       data: 1 chats, 10 messages, 10 recordings, 1 streams of events"]);
    // Messages 1, 3 … 9 go to the toy, 2, 4 … 10 to the parent; their events are 1 to 5.
    let lost = format!(
        "DELETE message:['{chat}', 1]; DELETE message:['{chat}', 9]; DELETE message:['{chat}', 10]; \
         DELETE event:['{}', 3]; DELETE chat:{chat};",
        parent.id
    );
    tables::run(world.data_dir(), lost).await;
    world.start_hub().await;

    // The app: over its socket, where an event is missing, and over HTTP.
    let (mut app, welcome) = world.app_after(&parent, 1).await;
    assert_eq!((&welcome["seq"], &welcome["reload"]), (&json!(5), &json!(true)), "not a stream with a gap");
    let waiting = app.ask(json!({"do": "unread"})).await;
    assert_eq!(numbers_of_unread(&waiting), 4, "{waiting}");
    let (mut later, welcome) = world.app_after(&parent, 3).await;
    assert_eq!(welcome["resumed"], true);
    assert_eq!((&later.frame().await["seq"], &later.frame().await["seq"]), (&json!(4), &json!(5)), "what there is");
    assert_eq!(world.unread(&parent).await["count"], 5, "the counter of before");
    assert_eq!(numbers(&page(&world, &parent, &chat, json!({})).await), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(world.unread(&parent).await["count"], 0, "all of it was read");
    let list = app.ask(json!({"do": "chat_list", "chat_id": chat, "limit": 2, "before_seq": 8})).await;
    assert_eq!(numbers(list["data"].as_array().unwrap()), [6, 7]);

    // The toy, over HTTP and over MQTT.
    let mut line = Line::open(&world, &toy).await;
    assert_eq!(line.ok(json!({"do": "unread"})).await["messages"].as_array().unwrap().len(), 3);
    assert_eq!(world.unread_of(&toy).await, 3, "set right when the chat got its row back");
    assert_eq!(received(&world, &toy, &parent.id).await.len(), 3);
    assert_eq!(received(&world, &toy, &parent.id).await, Vec::<Value>::new());
    assert_eq!(world.unread_of(&toy).await, 0);
    say(&world, &parent, &toy.id, sound::beep()).await;
    let heard = line.ok(json!({"do": "recv_msg", "from_user": parent.id})).await;
    assert_eq!(heard.as_array().unwrap().len(), 1, "the chat goes on");
    answer(&world, &toy, &parent.id).await;
    assert_eq!(numbers(&page(&world, &parent, &chat, json!({"limit": 3})).await), [8, 9, 10]);

    // Lost once more, and then repaired: by a running hub, and by the command alone.
    say(&world, &parent, &toy.id, sound::beep()).await;
    assert_eq!(world.stop().await, Some(0));
    let lost = format!("DELETE message:['{chat}', 11]; DELETE message:['{chat}', 10];");
    tables::run(world.data_dir(), lost).await;
    world.start_hub().await;
    assert_eq!(world.unread_of(&toy).await, 1);
    let (lines, is_content) = doctor(&world, &["doctor"]).await;
    assert!(
        !is_content && lines.iter().any(|line| line.starts_with("WRONG ") && line.contains("1 chats")),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.starts_with("WRONG ") && line.contains("1 streams")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("lost ") && line.contains("3 messages in 1 chats")), "{lines:?}");
    let (lines, is_content) = doctor(&world, &["doctor", "--repair"]).await;
    assert!(is_content && lines.iter().filter(|line| line.starts_with("mended ")).count() == 2, "{lines:?}");
    assert_eq!(world.unread_of(&toy).await, 0);
    assert_eq!(world.stop().await, Some(0));
    let (lines, is_content) = doctor(&world, &["doctor", "--repair"]).await;
    assert!(is_content && !lines.iter().any(|line| line.starts_with("mended ")), "{lines:?}");
    world.start_hub().await;
    say(&world, &parent, &toy.id, sound::beep()).await;
    assert_eq!(world.unread_of(&toy).await, 1);
}

fn numbers_of_unread(answer: &Value) -> usize {
    answer["data"]["messages"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_without_a_message_are_deleted_while_the_hub_runs() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    for _ in 0..3 {
        say(&world, &parent, &toy.id, sound::beep()).await;
    }
    let chat = chat_of(&world, &parent, &toy.id).await;
    let lost = page(&world, &parent, &chat, json!({})).await[1]["message"].as_str().unwrap().to_owned();
    assert_eq!(world.stop().await, Some(0));
    tables::run(world.data_dir(), format!("DELETE message:['{chat}', 2]")).await;
    recordings(&world).iter().for_each(|path| age(path, 4000));
    let young = world.data_dir().join("files/chat/young.mp3");
    std::fs::write(&young, b"stored a moment ago").unwrap();
    world.set("TOYHUB_CHATS__SWEEP_INTERVAL_S", "1");
    world.start_hub().await;
    let path = world.data_dir().join("files/chat").join(lost);
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the sweeping", gone).await;
    assert_eq!(recordings(&world).len(), 3, "those of messages, and the one that is young");
    assert!(young.exists());
    for message in page(&world, &parent, &chat, json!({})).await {
        let address = format!("{}/get_chat/{}", world.http(), message["message"].as_str().unwrap());
        let answer = world.client().get(address).bearer_auth(&parent.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// A library that sets the clock of a program.
pub fn fake_clock() -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = libraries.into_iter().find(|path| path.exists());
    found.expect("install faketime, as scripts/test does").to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_complete_after_the_clock_jumped() {
    let mut world =
        World::start_with(&[("TOYHUB_AUTH__MODE", "open"), ("TOYHUB_WS__REQUESTS_PER_SECOND", "20000")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let library: &'static str = fake_clock().leak();
    world.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    world.set("LD_PRELOAD", library);
    let mut sent = Vec::new();
    for clock in ["+0s", "-1h", "+365d", "+0s"] {
        assert_eq!(world.stop().await, Some(0), "{clock}");
        world.set("FAKETIME", clock);
        world.start_hub().await;
        for _ in 0..3 {
            sent.push(say(&world, &parent, &toy.id, sound::beep()).await["data"]["_id"].clone());
            sent.push(answer(&world, &toy, &parent.id).await["data"]["_id"].clone());
        }
    }
    let chat = chat_of(&world, &parent, &toy.id).await;
    let all = page(&world, &parent, &chat, json!({})).await;
    assert_eq!(all.iter().map(|message| message["_id"].clone()).collect::<Vec<_>>(), sent);
    assert!(all.is_sorted_by(|a, b| a["create_time"].as_f64() < b["create_time"].as_f64()), "{all:?}");
    let year = all[23]["create_time"].as_f64().unwrap() - all[0]["create_time"].as_f64().unwrap();
    assert!(year > 364.0 * 86_400.0, "the clock was a year ahead: {year}");

    let mut line = Line::open(&world, &toy).await;
    let refused = line.answer(json!({"do": "chat_list", "chat_id": chat, "before_seq": 5})).await;
    assert_eq!(refused["code"], 18, "a chat list is for apps");
    let mut app = world.app(&world.login(&parent).await).await;
    for limit in [1, 5, 50] {
        for (cursor, field) in [("before", "create_time"), ("before_seq", "seq")] {
            for over_socket in [false, true] {
                let (mut found, mut before) = (Vec::new(), Value::Null);
                loop {
                    let mut wanted = json!({"limit": limit, cursor: before});
                    let page = if over_socket {
                        wanted
                            .as_object_mut()
                            .unwrap()
                            .extend([("do".to_owned(), json!("chat_list")), ("chat_id".to_owned(), json!(chat))]);
                        app.ask(wanted).await["data"].as_array().unwrap().clone()
                    } else {
                        page(&world, &parent, &chat, wanted).await
                    };
                    let Some(oldest) = page.first() else { break };
                    before = oldest[field].clone();
                    found.extend(page.iter().rev().map(|message| message["_id"].clone()));
                }
                found.reverse();
                assert_eq!(found, sent, "{cursor} {limit}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_no_messages_is_refused() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    say(&world, &parent, &toy.id, sound::beep()).await;
    let chat = chat_of(&world, &parent, &toy.id).await;
    let asked = json!({"chat_id": chat, "to_user": parent.id, "limit": 0});
    let answer = world.post_as(&parent, "/chat_list", asked).await;
    assert_eq!((&answer["code"], &answer["data"]), (&json!(1), &json!({})), "{answer}");
    assert!(answer["msg"].as_str().unwrap().contains("a number from 1 to 500"), "{answer}");
    let mut app = world.app(&parent).await;
    assert_eq!(app.ask(json!({"do": "chat_list", "chat_id": chat, "limit": 0})).await["code"], 1);
    let answer = app.ask(json!({"do": "unread", "limit": 0})).await;
    assert!(answer["code"] == 1 && answer["msg"].as_str().unwrap().contains("from 1 to 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_in_chunks_is_found_again_under_its_name() {
    let world = World::start_with(&[WINDOW]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let recording = sound::beep();
    let chunks = pieces(&recording);
    let send = json!({"do": "toy_uploader", "to_user": parent.id, "upload": "a", "chunks": chunks.len()});
    let mut line = Line::open(&world, &toy).await;
    line.chunks("a", &chunks).await;
    let first = line.ok(send.clone()).await;
    // The new chunks replace its answer, but it is the same recording under the same name.
    line.chunks("a", &chunks).await;
    assert_eq!(line.ok(send).await["_id"], first["_id"]);
    line.chunks("b", &chunks).await;
    let other =
        line.ok(json!({"do": "toy_uploader", "to_user": parent.id, "upload": "b", "chunks": chunks.len()})).await;
    assert_ne!(other["_id"], first["_id"], "another name is another recording");
    assert_eq!(world.unread(&parent).await["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_puts_a_damaged_file_of_sessions_aside_and_keeps_every_message() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    say(&world, &parent, &toy.id, sound::beep()).await;
    assert_eq!(world.stop().await, Some(0));
    let sessions = world.data_dir().join("sessions.redb");
    let length = std::fs::metadata(&sessions).unwrap().len();
    std::fs::write(&sessions, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    let output = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("sessions.redb") && error.contains("doctor --repair"),
        "{error}"
    );
    let output = within("the doctor", world.command(&["doctor", "--repair"]).output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("mended   sessions: ") && text.contains("1 chats, 1 messages, 1 recordings"), "{text}");
    world.start_hub().await;
    assert_eq!(received(&world, &toy, &parent.id).await.len(), 1);
}
