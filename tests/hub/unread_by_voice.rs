//! Unread messages on a device on which the hub speaks: on request, after waking, and while it is idle.

use serde_json::json;
use tokio::time::Instant;

use crate::rest::around_now;
use crate::sound;
use crate::speech::hearing_any;
use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate};
use crate::world::{User, World, within};
use crate::xiaozhi::spoken;

const IDS: (&str, &str) = (MAC, UUID);
/// Any speech: the model of these tests returns the words of the test for it.
const SPEECH: &str = "hello my little bear";

/// A hub that understands these words, a user with a stock device, its toy, and its connection.
async fn conversation(words: &str) -> (World, User, String, Device) {
    let world = hearing_any(words, &[]).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
    let device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    (world, dad, toy, device)
}

pub async fn send(world: &World, user: &User, toy: &str, sound: Vec<u8>) {
    let fields = [("user_id", user.id.as_str()), ("to_user", toy)];
    let sent = world.upload("/app_uploader", "reco_file", sound, &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
}

pub async fn unread(world: &World, toy: &str) -> u64 {
    let (_, list) = world.post("/friend_list", json!({"_id": toy})).await;
    list["data"][0]["unread"].as_u64().unwrap_or_else(|| panic!("{list}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_played_on_request_and_read_when_they_were_played() {
    let (world, dad, toy, mut device) = conversation("play my messages").await;
    let none = device.ask(&spoken(SPEECH)).await;
    assert!(none.sentences.concat().contains("no new messages"), "{:?}", none.sentences);
    let mut expected = 0.0;
    for sound in [sound::wav(), sound::tone(1)] {
        expected += sound::seconds(world.folder(), &sound);
        send(&world, &dad, &toy, sound).await;
    }
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    played.assert_all_sent("the messages");
    let seconds = played.samples.len() as f64 / 24_000.0;
    assert!((expected..expected + 4.0).contains(&seconds), "{seconds} s for {expected} s and a sentence");
    within("the mark of the last message", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_message_stays_unread() {
    let (world, dad, toy, mut device) = conversation("play my messages").await;
    send(&world, &dad, &toy, sound::tone(1)).await;
    device.listen("start", "manual").await;
    device.speak(&spoken(SPEECH)).await;
    device.listen("stop", "manual").await;
    while device.text().await["state"] != "sentence_start" {}
    device.abort().await;
    while device.text().await["state"] != "stop" {}
    assert_eq!(unread(&world, &toy).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_woken_is_told_of_messages_and_yes_plays_them() {
    let (world, dad, toy, mut device) = conversation("yes please").await;
    send(&world, &dad, &toy, sound::wav()).await;
    device.listen("start", "auto").await;
    let notice = device.play(Instant::now(), true).await;
    assert_eq!(notice.sentences.join(" "), "You have a new message from Dad. Shall I play it?");
    notice.assert_all_sent("the notice");
    assert_eq!(unread(&world, &toy).await, 1);
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    played.assert_all_sent("the message");
    within("the mark of the message", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_rings_an_idle_device_but_not_in_quiet_hours() {
    let (world, dad, toy, mut device) = conversation("no thank you").await;
    device.listen("start", "manual").await;
    device.speak(&spoken(SPEECH)).await;
    device.listen("stop", "manual").await;
    device.play(Instant::now(), false).await.assert_all_sent("any answer");
    // It is idle now, and its socket is open.
    send(&world, &dad, &toy, sound::wav()).await;
    let notice = device.play(Instant::now(), false).await;
    assert_eq!(notice.sentences.join(" "), "You have a new message from Dad. Shall I play it?");
    notice.assert_all_sent("the notice");
    let later = device.ask(&spoken(SPEECH)).await;
    assert_eq!(later.sentences, ["All right, later."]);
    assert_eq!(unread(&world, &toy).await, 1);

    let (from, until) = around_now();
    let quiet = json!({"user_id": dad.id, "toy_id": toy, "from": from, "until": until, "zone": "Etc/UTC"});
    assert_eq!(world.post_as(&dad, "/set_quiet_hours", quiet).await["code"], 0);
    send(&world, &dad, &toy, sound::tone(1)).await;
    // The next sound is the answer to a turn, and the one after it the notice at the end of the quiet hours.
    let answer = device.ask(&spoken(SPEECH)).await;
    assert!(!answer.sentences.concat().contains("message from"), "{:?}", answer.sentences);
    device.listen("start", "auto").await;
    let off = json!({"user_id": dad.id, "toy_id": toy, "from": "", "until": "", "zone": ""});
    assert_eq!(world.post_as(&dad, "/set_quiet_hours", off).await["code"], 0);
    let notice = device.play(Instant::now(), true).await;
    assert_eq!(notice.sentences.join(" "), "You have 2 new messages from Dad. Shall I play them?");
    notice.assert_all_sent("the notice at the end of the quiet hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_quiet_hours_messages_wait_and_the_device_says_so() {
    let (world, dad, toy, mut device) = conversation("play my messages").await;
    let (from, until) = around_now();
    let quiet = json!({"user_id": dad.id, "toy_id": toy, "from": from, "until": until, "zone": "Etc/UTC"});
    assert_eq!(world.post_as(&dad, "/set_quiet_hours", quiet).await["code"], 0);
    send(&world, &dad, &toy, sound::wav()).await;
    let played = device.ask(&spoken(SPEECH)).await;
    assert!(played.sentences.concat().contains("Your messages wait"), "{:?}", played.sentences);
    assert_eq!(unread(&world, &toy).await, 1);
}
