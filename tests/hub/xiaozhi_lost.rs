//! A stock device that is lost in the middle of what it is told: nothing of it counts as heard.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::reminders::kept;
use crate::sound;
use crate::speech::hearing_any;
use crate::stock_device::link::Heard;
use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate, activate_as};
use crate::unread_by_voice::{send, unread};
use crate::world::{User, World, within};
use crate::xiaozhi::spoken;
use crate::xiaozhi_notify::state;

const IDS: (&str, &str) = (MAC, UUID);
const MQTT: [(&str, &str); 2] = [("TOYHUB_XIAOZHI__TRANSPORT", "mqtt"), ("TOYHUB_XIAOZHI__UDP_LISTEN", "127.0.0.1:0")];
/// Any speech: the model of these tests returns the words of the test for it.
const SPEECH: &str = "hello my little bear";

/// A hub that understands these words, a user, its toy, and the toy's device in a conversation.
async fn conversation(words: &str, is_over_udp: bool) -> (World, User, String, Device) {
    let world = hearing_any(words, if is_over_udp { &MQTT } else { &[] }).await;
    let dad = world.user("dad").await;
    let device = if is_over_udp {
        let section = activate_as(&world, &dad, IDS, FIRMWARES[3]).await["mqtt"].clone();
        let mut device = Device::log_in(&section, FIRMWARES[3]).await;
        device.wake().await;
        device
    } else {
        let (url, token) = activate(&world, &dad, IDS).await;
        Device::connect(&url, &token, IDS, FIRMWARES[3]).await
    };
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
    (world, dad, toy, device)
}

/// A child asks with a button for what the model of the test understands, and hears the beginning of the answer.
async fn ask(device: &mut Device) {
    device.listen("start", "manual").await;
    device.speak(&spoken(SPEECH)).await;
    device.listen("stop", "manual").await;
    within("the first sound", async { while !matches!(device.link.next().await, Heard::Sound(_)) {} }).await;
}

/// The next message of the hub of this type and state, for a device of which nothing comes back.
async fn silently(device: &mut Device, kind: &str, state: Option<&str>) -> Value {
    let wait = async {
        loop {
            match device.link.next().await {
                Heard::Text(text) if text["type"] == kind && text["state"].as_str() == state => return text,
                Heard::Text(_) | Heard::Sound(_) => {}
                Heard::End => panic!("the connection ended"),
            }
        }
    };
    within(kind, wait).await
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_messages_that_a_lost_device_was_sent_stay_unread() {
    let (world, dad, toy, mut device) = conversation("play my messages", true).await;
    for sound in [sound::tone(1), sound::large()] {
        send(&world, &dad, &toy, sound).await;
    }
    ask(&mut device).await;
    let lost = Instant::now();
    silently(&mut device, "tts", Some("stop")).await;
    // The name of the friend and the first message take two seconds.
    assert!(lost.elapsed() < Duration::from_secs(11), "the hub talks on to nobody: {:?}", lost.elapsed());
    assert_eq!((unread(&world, &toy).await, state(&world, &dad, &toy).await.as_str()), (2, "sent"));
    // It is back.
    device.listen("start", "auto").await;
    let played = device.play(Instant::now(), true).await;
    assert_eq!(played.sentences.join(" "), "You have 2 new messages from Dad. Shall I play them?");
    device.ask(&spoken(SPEECH)).await;
    within("the mark of the messages", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_a_reminder_for_a_lost_device_is_kept() {
    let (world, dad, _, mut device) = conversation("set a timer for two seconds", true).await;
    ask(&mut device).await;
    silently(&mut device, "tts", Some("stop")).await;
    silently(&mut device, "tts", Some("start")).await;
    silently(&mut device, "tts", Some("stop")).await;
    assert_eq!(kept(&world, &dad).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_websocket_messages_that_a_lost_device_was_sent_stay_unread() {
    let (world, dad, toy, mut device) = conversation("play my messages", false).await;
    for sound in [sound::tone(1), sound::large()] {
        send(&world, &dad, &toy, sound).await;
    }
    ask(&mut device).await;
    // The connection takes what is sent, and nobody reads it: the first message is over after two seconds.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(unread(&world, &toy).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_in_the_middle_of_a_message_begins_anew() {
    let (world, dad, toy, mut device) = conversation("play my messages", true).await;
    send(&world, &dad, &toy, sound::wav()).await;
    ask(&mut device).await;
    device.send(json!({"type": "hello", "version": 3, "transport": "udp", "features": {"mcp": true}})).await;
    let answer = silently(&mut device, "hello", None).await;
    device.mqtt().begin(&answer).await;
    // The message of four seconds is not played on.
    let next = timeout(Duration::from_secs(7), device.text()).await;
    assert!(next.is_err(), "{next:?}");
    assert_eq!(unread(&world, &toy).await, 1);
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    within("the mark of the message", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_tools_is_known_to_be_there_when_it_listens_again() {
    let (world, dad, toy, mut device) = conversation("play my messages", true).await;
    device.send(json!({"type": "hello", "version": 3, "transport": "udp"})).await;
    let answer = silently(&mut device, "hello", None).await;
    device.mqtt().begin(&answer).await;
    send(&world, &dad, &toy, sound::tone(1)).await;
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    assert_eq!(unread(&world, &toy).await, 1);
    device.listen("start", "auto").await;
    within("the mark of the message", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_websocket_a_device_without_tools_answers_a_ping() {
    let world = hearing_any("play my messages", &[]).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let toy = toys["data"][0]["_id"].as_str().unwrap();
    send(&world, &dad, toy, sound::tone(1)).await;
    let mut device = Device::open(&url, &token, IDS, FIRMWARES[3]).await;
    device.send(json!({"type": "hello"})).await;
    device.session = silently(&mut device, "hello", None).await["session_id"].as_str().unwrap().to_owned();
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    within("the mark of the message", async { while unread(&world, toy).await > 0 {} }).await;
    assert_eq!(device.board.calls, Vec::<String>::new());
}
