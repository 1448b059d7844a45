//! A message that a child has spoken on a stock device and wants to send, when something comes in between.

use serde_json::{Value, json};

use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate};
use crate::world::{App, User, World, within};
use crate::xiaozhi::{hub, spoken};

const IDS: (&str, &str) = (MAC, UUID);
const YES: &str = "yes please";

/// A child who was asked whether to send its message, and its friend with an app.
struct Asked {
    world: World,
    dad: User,
    app: App,
    toy: String,
    device: Device,
}

/// One turn: with a button, or else over a microphone that stays open.
async fn say(device: &mut Device, mode: &str, words: &str) -> String {
    device.listen("start", mode).await;
    let end = device.speak(&spoken(words)).await;
    if mode == "manual" {
        device.listen("stop", mode).await;
    } else {
        device.hush_until_understood().await;
    }
    let played = device.play(end, false).await;
    played.sentences.join(" ")
}

impl Asked {
    async fn new(mode: &str) -> Self {
        let world = hub(&[]).await;
        let dad = world.user("dad").await;
        let (url, token) = activate(&world, &dad, IDS).await;
        let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
        let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
        let app = world.app(&dad).await;
        let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
        say(&mut device, mode, "send a message to dad").await;
        let asked = say(&mut device, mode, "good night dad sleep well").await;
        assert!(asked.contains("Shall I send it to Dad?"), "{asked}");
        Self { world, dad, app, toy, device }
    }

    async fn messages(&self) -> usize {
        let list = self.world.post_as(&self.dad, "/friend_list", json!({"_id": self.dad.id})).await;
        let friends = list["data"].as_array().unwrap();
        let chat = friends.iter().find(|friend| friend["friend_id"] == self.toy.as_str()).unwrap();
        let request = json!({"chat_id": chat["friend_chat"], "to_user": self.dad.id});
        self.world.post_as(&self.dad, "/chat_list", request).await["data"].as_array().unwrap().len()
    }

    /// The friend gets the event of one message, and no more.
    async fn assert_sent_once(mut self) {
        let event = async {
            loop {
                let frame = self.app.frame().await;
                if frame["type"] == "message" {
                    return frame;
                }
            }
        };
        let event: Value = within("the event of the message", event).await;
        assert_eq!(event["from_user"], self.toy.as_str(), "{event}");
        assert_eq!(self.messages().await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_right_after_the_yes_does_not_stop_the_message() {
    let mut asked = Asked::new("realtime").await;
    asked.device.listen("start", "realtime").await;
    asked.device.speak(&spoken(YES)).await;
    asked.device.hush_until_understood().await;
    asked.device.burst(&spoken("and then the bear went home")).await;
    while asked.device.text().await["state"] != "stop" {}
    asked.assert_sent_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_right_after_the_yes_does_not_stop_the_message() {
    let mut asked = Asked::new("manual").await;
    asked.device.listen("start", "manual").await;
    asked.device.speak(&spoken(YES)).await;
    asked.device.listen("stop", "manual").await;
    while asked.device.text().await["type"] != "stt" {}
    asked.device.abort().await;
    while asked.device.text().await["state"] != "stop" {}
    // The next turn has nothing to do with the message any more.
    let answer = say(&mut asked.device, "manual", "what is two plus three").await;
    assert!(answer.contains('5'), "{answer}");
    asked.assert_sent_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_right_after_the_yes_does_not_stop_the_message() {
    for is_understood in [false, true] {
        let mut asked = Asked::new("manual").await;
        asked.device.listen("start", "manual").await;
        asked.device.speak(&spoken(YES)).await;
        asked.device.listen("stop", "manual").await;
        while is_understood && asked.device.text().await["type"] != "stt" {}
        asked.device.leave().await;
        asked.assert_sent_once().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_could_not_be_sent_is_sent_when_the_child_says_so_again() {
    let mut asked = Asked::new("manual").await;
    // A store that takes no recording.
    let (folder, aside) = (asked.world.data_dir().join("files/chat"), asked.world.folder().join("aside"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    asked.device.listen("start", "manual").await;
    asked.device.speak(&spoken(YES)).await;
    asked.device.listen("stop", "manual").await;
    while asked.device.text().await["type"] != "alert" {}
    while asked.device.text().await["state"] != "stop" {}
    assert_eq!(asked.messages().await, 0);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let sent = say(&mut asked.device, "manual", YES).await;
    assert!(sent.contains("on its way"), "{sent}");
    asked.assert_sent_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_says_nothing_is_asked_for_its_message_once_more() {
    for silences in [1, 2] {
        let world = hub(&[]).await;
        let dad = world.user("dad").await;
        let (url, token) = activate(&world, &dad, IDS).await;
        let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
        let prompt = say(&mut device, "manual", "send a message to dad").await;
        for number in 1..=silences {
            device.listen("start", "manual").await;
            let end = device.speak(&vec![0.0; 24_000]).await;
            device.listen("stop", "manual").await;
            let answer = device.play(end, false).await.sentences.join(" ");
            assert_eq!(answer == prompt, number == 1, "{answer}");
        }
        if silences == 1 {
            let asked = say(&mut device, "manual", "good night dad sleep well").await;
            assert!(asked.contains("Shall I send it to Dad?"), "{asked}");
        } else {
            let answer = say(&mut device, "manual", "what is two plus three").await;
            assert!(answer.contains('5'), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_answers_the_question_who_a_message_is_for() {
    let world = hub(&[]).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let asked = say(&mut device, "manual", "send a message").await;
    assert!(asked.contains("Who shall the message be for?"), "{asked}");
    let prompt = say(&mut device, "manual", "for my dad").await;
    assert!(prompt.contains("your message to Dad"), "{prompt}");
}
