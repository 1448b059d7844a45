//! Reminders and timers: asked for by voice, kept over a restart, given by an event or spoken, and gone with their toy.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::browser::Script;
use crate::export::entries;
use crate::speech::{files_with, hearing_any};
use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate};
use crate::world::{Toy, User, World, within};
use crate::xiaozhi::spoken;

const IDS: (&str, &str) = (MAC, UUID);

/// What the export of a family says of the reminders of its first toy.
pub async fn kept(world: &World, user: &User) -> Value {
    let file = world.folder().join("export.zip");
    world.run(&["user", "export", &user.username, "--out", file.to_str().unwrap()]).await;
    let entries = entries(&std::fs::read(&file).unwrap());
    std::fs::remove_file(&file).unwrap();
    let family: Value = serde_json::from_slice(&entries["family.json"]).unwrap();
    family["toys"][0]["reminders"].clone()
}

async fn asked(world: &World, toy: &Toy) {
    let answer = world.ask(toy).await;
    assert_eq!(answer["from_user"], "ai", "{answer}");
}

/// Waits until the family has no reminder.
pub async fn none_left(world: &World, user: &User) {
    within("the end of the reminder", async { while kept(world, user).await != json!([]) {} }).await;
}

/// The device listens, and speaks the reminder to feed the cat.
pub async fn is_given_when_it_listens(device: &mut Device) {
    device.listen("start", "auto").await;
    let given = device.play(Instant::now(), true).await;
    assert!(given.sentences.concat().contains("feed the cat"), "{:?}", given.sentences);
    given.assert_all_sent("the reminder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_gets_the_event_of_a_due_reminder_with_a_sound_to_play() {
    let world = hearing_any("remind me in two seconds to feed the cat", &[]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let mut ears = world.mosquitto_sub(&toy, "mqttv5");
    world.wait_online(&dad, &toy.id, "1").await;
    asked(&world, &toy).await;
    let event = ears.event().await;
    let expected = (json!("reminder"), json!("reminder"), json!("feed the cat"));
    assert_eq!((&event["type"], &event["kind"], &event["words"]), (&expected.0, &expected.1, &expected.2), "{event}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(event["due"].as_f64().unwrap() <= now, "{event}");
    let sound = event["sound"].as_str().unwrap_or_else(|| panic!("{event}"));
    let found = world.client().get(format!("{}/get_chat/{sound}", world.http())).send().await.unwrap();
    assert_eq!(found.status(), 200);
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_in_the_browser_says_and_shows_a_due_reminder() {
    let world = hearing_any("remind me in two seconds to feed the cat", &[]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let mut script = Script::start("toy_reminder.mjs", [&world.http(), &toy.device_key, &toy.secret]);
    script.step("ready").await;
    asked(&world, &toy).await;
    let seen = script.step("reminded").await;
    assert_eq!(seen["status"], "A reminder. feed the cat");
    assert!(seen["seconds"].as_f64().unwrap() > 0.5, "the sound was played to its end: {seen}");
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_is_kept_over_a_restart_and_for_a_toy_that_is_offline() {
    let mut world = hearing_any("wake me in one second", &[]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    asked(&world, &toy).await;
    let before = kept(&world, &dad).await;
    assert_eq!((before.as_array().unwrap().len(), &before[0]["kind"]), (1, &json!("alarm")), "{before}");
    world.kill().await;
    world.start_hub().await;
    assert_eq!(kept(&world, &dad).await, before);
    let event = world.mosquitto_sub(&toy, "mqttv311").event().await;
    assert_eq!((&event["kind"], &event["due"], &event["words"]), (&json!("alarm"), &before[0]["time"], &json!("")));
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_is_dropped_when_its_toy_is_offline_for_too_long() {
    let world = hearing_any("remind me in one second to jump", &[("TOYHUB_REMINDERS__LATE_MAX_S", "1")]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    asked(&world, &toy).await;
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_has_a_bounded_number_of_reminders_and_they_are_erased_with_it() {
    let settings = [("TOYHUB_REMINDERS__PER_TOY_MAX", "2"), ("TOYHUB_SERVER__LOG", "debug")];
    let world = hearing_any("remind me tomorrow to find the purple elephant", &settings).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    for expected in [1, 2, 2] {
        asked(&world, &toy).await;
        let kept = kept(&world, &dad).await;
        assert_eq!(kept.as_array().unwrap().len(), expected, "{kept}");
        assert_eq!(kept[0]["words"], "find the purple elephant");
    }
    assert_eq!(world.post_as(&dad, "/unbind_toy", json!({"user_id": dad.id, "toy_id": toy.id})).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    assert_eq!(files_with(&world.data_dir(), "elephant"), Vec::<String>::new());
    let log = std::fs::read_to_string(world.log()).unwrap().to_lowercase();
    assert!(!log.contains("purple"), "words are never logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_device_speaks_a_reminder_when_it_is_idle_and_when_it_listens() {
    let world = hearing_any("remind me in four seconds to feed the cat", &[]).await;
    let dad = world.user("dad").await;
    for (number, firmware) in FIRMWARES.into_iter().enumerate() {
        let uuid = format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b{number:02x}");
        let ids = (MAC, uuid.as_str());
        let (url, token) = activate(&world, &dad, ids).await;
        let mut device = Device::connect(&url, &token, ids, firmware).await;
        let is_manual = number % 2 == 0;
        let confirmed = if is_manual {
            device.listen("start", "manual").await;
            let end = device.speak(&spoken("hello my little bear")).await;
            device.listen("stop", "manual").await;
            device.play(end, false).await
        } else {
            device.ask(&spoken("hello my little bear")).await
        };
        assert!(confirmed.sentences.concat().contains("in 4 seconds: feed the cat"), "{:?}", confirmed.sentences);
        if !is_manual {
            device.listen("start", "auto").await;
        }
        let given = device.play(Instant::now(), !is_manual).await;
        assert!(given.sentences.concat().contains("feed the cat"), "{:?}", given.sentences);
        given.assert_all_sent(&format!("the reminder, firmware {}", firmware.version));
        // It listens again, and is answered.
        let played = device.ask(&spoken("hello my little bear")).await;
        played.assert_all_sent("the turn after it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_was_not_spoken_is_given_at_the_next_conversation() {
    let world = hearing_any("remind me in one second to feed the cat", &[]).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.listen("start", "manual").await;
    device.speak(&spoken("hello my little bear")).await;
    device.listen("stop", "manual").await;
    // The connection ends while the hub confirms it.
    while device.text().await["state"] != "sentence_start" {}
    drop(device);
    within("the reminder", async { while kept(&world, &dad).await == json!([]) {} }).await;
    // Nothing is said before the device listens.
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    is_given_when_it_listens(&mut device).await;
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_that_the_child_interrupts_is_done() {
    let world = hearing_any("set a timer for two seconds", &[]).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.ask(&spoken("hello my little bear")).await;
    device.listen("start", "auto").await;
    while device.text().await["state"] != "sentence_start" {}
    device.abort().await;
    while device.text().await["state"] != "stop" {}
    none_left(&world, &dad).await;
}
