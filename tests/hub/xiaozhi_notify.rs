//! A message and a reminder reach a device with stock firmware that is idle, over MQTT.

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::reminders::{is_given_when_it_listens, none_left};
use crate::rest::around_now;
use crate::sound;
use crate::speech::hearing_any;
use crate::stock_device::{Device, FIRMWARES, Firmware, MAC, UUID, activate_as};
use crate::unread_by_voice::{send, unread};
use crate::world::{User, World, within};
use crate::xiaozhi::spoken;

const IDS: (&str, &str) = (MAC, UUID);
const MQTT: [(&str, &str); 2] = [("TOYHUB_XIAOZHI__TRANSPORT", "mqtt"), ("TOYHUB_XIAOZHI__UDP_LISTEN", "127.0.0.1:0")];
/// Any speech: the model of these tests returns the words of the test for it.
const SPEECH: &str = "hello my little bear";

/// A hub that understands these words, a user, its toy, and the toy's idle device.
async fn idle(
    words: &str,
    firmware: Firmware,
    settings: &[(&'static str, &'static str)],
) -> (World, User, String, Device) {
    let world = hearing_any(words, &[&MQTT[..], settings].concat()).await;
    let dad = world.user("dad").await;
    let answer = activate_as(&world, &dad, IDS, firmware).await;
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
    let mut device = Device::log_in(&answer["mqtt"], firmware).await;
    // From here on it is served.
    device.wake().await;
    device.goodbye().await;
    (world, dad, toy, device)
}

/// The address of the sound that an idle device is told of, and the text.
async fn notified(device: &mut Device) -> (String, String) {
    let message = device.text().await;
    assert_eq!(message["type"], "notify", "{message}");
    let subtitle = &message["subtitles"][0];
    assert_eq!(subtitle["start_ms"], 0, "{message}");
    (message["audio_url"].as_str().unwrap().to_owned(), subtitle["text"].as_str().unwrap().to_owned())
}

/// Fetches a sound as the firmware does: its status, and what it is.
async fn fetch(world: &World, url: &str) -> (u16, Vec<u8>) {
    let answer = within("the sound", world.client().get(url).header("Accept", "audio/ogg").send()).await.unwrap();
    let status = answer.status().as_u16();
    if status == 200 {
        assert_eq!(answer.headers()["content-type"], "audio/ogg");
    }
    (status, within("all of it", answer.bytes()).await.unwrap().to_vec())
}

/// The packets of an Ogg file of one stream, without the two at its beginning, which say what it is.
fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut packet, mut at, mut is_last) = (Vec::new(), Vec::new(), 0, false);
    while at < file.len() {
        assert!(!is_last && &file[at..at + 4] == b"OggS", "a page at {at}");
        is_last = file[at + 5] & 4 != 0;
        let count = usize::from(file[at + 26]);
        let lengths = file[at + 27..at + 27 + count].to_vec();
        at += 27 + count;
        for length in lengths {
            packet.extend(&file[at..at + usize::from(length)]);
            at += usize::from(length);
            if length < 255 {
                found.push(std::mem::take(&mut packet));
            }
        }
    }
    assert!(is_last && packet.is_empty(), "the end is missing");
    let head = found.remove(0);
    assert!(head.starts_with(b"OpusHead") && head[9] == 1, "one channel");
    assert!(found.remove(0).starts_with(b"OpusTags"));
    assert!(found.iter().all(|packet| (1..=2048).contains(&packet.len())), "packets that the firmware takes");
    found
}

pub async fn state(world: &World, user: &User, toy: &str) -> String {
    let list = world.post_as(user, "/friend_list", json!({"_id": user.id})).await;
    let friends = list["data"].as_array().unwrap();
    let chat = friends.iter().find(|friend| friend["friend_id"] == toy).unwrap_or_else(|| panic!("{list}"));
    let list = world.post_as(user, "/chat_list", json!({"chat_id": chat["friend_chat"], "to_user": user.id})).await;
    list["data"][0]["state"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_played_on_an_idle_device_and_delivered_when_it_was_fetched() {
    let (world, dad, toy, mut device) = idle("play my messages", FIRMWARES[3], &[]).await;
    send(&world, &dad, &toy, sound::wav()).await;
    let (url, text) = notified(&mut device).await;
    assert!(text.contains("Dad"), "{text}");
    assert_eq!(state(&world, &dad, &toy).await, "sent");
    let (status, file) = fetch(&world, &url).await;
    assert_eq!(status, 200);
    // The name of the friend, and the message.
    let played = packets(&file).len() as f64 * 0.06;
    let expected = sound::seconds(world.folder(), &sound::wav());
    assert!((expected + 0.3..expected + 4.0).contains(&played), "{played} s for {expected} s and a sentence");
    assert!((sound::seconds(world.folder(), &file) - played).abs() < 0.2, "ffmpeg reads it");
    within("the receipt", async { while state(&world, &dad, &toy).await != "delivered" {} }).await;
    // Once.
    assert_eq!(fetch(&world, &url).await.0, 404);
    // Nobody knows whether a child was there, so that it stays unread until it is asked for.
    assert_eq!(unread(&world, &toy).await, 1);
    device.wake().await;
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    within("the mark", async { while state(&world, &dad, &toy).await != "heard" {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_child_stops_is_not_delivered() {
    let (world, dad, toy, mut device) = idle("no thank you", FIRMWARES[3], &[]).await;
    send(&world, &dad, &toy, sound::large()).await;
    let (url, _) = notified(&mut device).await;
    let answer = world.client().get(&url).send().await.unwrap();
    let mut body = answer.bytes_stream();
    within("some of it", body.next()).await.unwrap().unwrap();
    drop(body);
    // Later ones come all the same, with the next sound.
    send(&world, &dad, &toy, sound::wav()).await;
    let (url, _) = notified(&mut device).await;
    assert_eq!(state(&world, &dad, &toy).await, "sent");
    let (status, file) = fetch(&world, &url).await;
    assert_eq!(status, 200);
    assert!(!packets(&file).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_does_not_fetch_a_message_is_told_of_it_when_it_is_woken() {
    let (world, dad, toy, mut device) =
        idle("yes please", FIRMWARES[3], &[("TOYHUB_XIAOZHI__NOTIFY_TTL_S", "1")]).await;
    send(&world, &dad, &toy, sound::wav()).await;
    let (url, _) = notified(&mut device).await;
    // The address is valid for a second. Then the device shows a text instead.
    let alert = device.text().await;
    assert_eq!(alert["type"], "alert", "{alert}");
    assert!(alert["message"].as_str().unwrap().contains("Dad"), "{alert}");
    assert_eq!(fetch(&world, &url).await.0, 404);
    device.wake().await;
    device.listen("start", "auto").await;
    let notice = device.play(Instant::now(), true).await;
    assert_eq!(notice.sentences.join(" "), "You have a new message from Dad. Shall I play it?");
    notice.assert_all_sent("the notice");
    let played = device.ask(&spoken(SPEECH)).await;
    assert_eq!(played.sentences, ["messages from Dad"]);
    played.assert_all_sent("the message");
    within("the mark", async { while unread(&world, &toy).await > 0 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_firmware_shows_a_text_and_is_told_when_it_is_woken() {
    let (world, dad, toy, mut device) = idle("remind me in three seconds to feed the cat", FIRMWARES[2], &[]).await;
    send(&world, &dad, &toy, sound::wav()).await;
    let alert = device.text().await;
    assert_eq!(alert["type"], "alert", "{alert}");
    for name in ["status", "message", "emotion"] {
        assert!(alert[name].is_string(), "{alert}");
    }
    assert!(alert["message"].as_str().unwrap().contains("Dad"), "{alert}");
    device.wake().await;
    device.listen("start", "auto").await;
    let notice = device.play(Instant::now(), true).await;
    assert!(notice.sentences.concat().contains("new message from Dad"), "{:?}", notice.sentences);
    // A reminder, too.
    let confirmed = device.ask(&spoken(SPEECH)).await;
    assert!(confirmed.sentences.concat().contains("feed the cat"), "{:?}", confirmed.sentences);
    device.goodbye().await;
    let alert = device.text().await;
    assert_eq!(alert["type"], "alert", "{alert}");
    assert!(alert["message"].as_str().unwrap().contains("feed the cat"), "{alert}");
    device.wake().await;
    is_given_when_it_listens(&mut device).await;
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_is_spoken_on_an_idle_device() {
    let (world, dad, _, mut device) = idle("remind me in three seconds to feed the cat", FIRMWARES[3], &[]).await;
    device.wake().await;
    let confirmed = device.ask(&spoken(SPEECH)).await;
    assert!(confirmed.sentences.concat().contains("in 3 seconds: feed the cat"), "{:?}", confirmed.sentences);
    device.goodbye().await;
    let (url, text) = notified(&mut device).await;
    assert!(text.contains("feed the cat"), "{text}");
    let (status, file) = fetch(&world, &url).await;
    assert_eq!(status, 200);
    assert!(packets(&file).len() > 10, "a sentence");
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_is_kept_when_its_fetch_breaks_off_and_told_when_the_device_is_woken() {
    let (world, dad, _, mut device) = idle("remind me in three seconds to feed the cat", FIRMWARES[3], &[]).await;
    device.wake().await;
    device.ask(&spoken(SPEECH)).await;
    device.goodbye().await;
    let (url, _) = notified(&mut device).await;
    // The child wakes the device at the first word.
    let answer = within("the head", world.client().get(&url).send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut size) = (answer.bytes_stream(), 0);
    within("a word", async {
        while size < 2_000 {
            size += body.next().await.unwrap().unwrap().len();
        }
    })
    .await;
    drop(body);
    device.wake().await;
    device.listen("start", "auto").await;
    let given = device.play(Instant::now(), true).await;
    assert!(given.sentences.concat().contains("feed the cat"), "{:?}", given.sentences);
    none_left(&world, &dad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_delivered_to_a_device_that_never_closes_the_connection() {
    let (world, dad, toy, mut device) =
        idle("no thank you", FIRMWARES[3], &[("TOYHUB_HTTP__CLOSE_TIMEOUT_S", "1")]).await;
    send(&world, &dad, &toy, sound::wav()).await;
    let (url, _) = notified(&mut device).await;
    // As of a device without a network: the system has the bytes, and nobody answers.
    let path = url.strip_prefix(&world.http()).unwrap();
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let all = async {
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "it breaks off");
        }
    };
    within("all of it", all).await;
    // A later one comes when the first has ended.
    send(&world, &dad, &toy, sound::tone(1)).await;
    notified(&mut device).await;
    assert_eq!(state(&world, &dad, &toy).await, "sent");
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_address_of_a_sound_is_that_of_the_proxy() {
    let settings = [("TOYHUB_XIAOZHI__WEBSOCKET_URL", "wss://hub.example/xiaozhi/v1/")];
    let (world, dad, toy, mut device) = idle("hello", FIRMWARES[3], &settings).await;
    send(&world, &dad, &toy, sound::tone(1)).await;
    let (url, _) = notified(&mut device).await;
    assert!(url.starts_with("https://hub.example/xiaozhi/sound/"), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_rings_in_quiet_hours_nor_for_a_friend_who_is_muted() {
    let (world, dad, toy, mut device) = idle("hello", FIRMWARES[3], &[]).await;
    let mum = world.user("mum").await;
    let wish = json!({"req_user": mum.id, "add_user": toy, "type": "app", "req_info": "", "remark": "Robot"});
    assert_eq!(world.post_as(&mum, "/add_req", wish).await["code"], 0);
    world.accept(&dad, "Mum").await;
    let (from, until) = around_now();
    let quiet = json!({"user_id": dad.id, "toy_id": toy, "from": from, "until": until, "zone": "Etc/UTC"});
    assert_eq!(world.post_as(&dad, "/set_quiet_hours", quiet).await["code"], 0);
    send(&world, &dad, &toy, sound::wav()).await;
    let off = json!({"user_id": dad.id, "toy_id": toy, "from": "", "until": "", "zone": ""});
    assert_eq!(world.post_as(&dad, "/set_quiet_hours", off).await["code"], 0);
    let (url, text) = notified(&mut device).await;
    assert!(text.contains("Dad"), "{text}");
    assert_eq!(fetch(&world, &url).await.0, 200, "at their end");
    // The next one is of another message: this one has rung once.
    let mute = json!({"user_id": dad.id, "toy_id": toy, "friend_id": dad.id});
    let muted = world.post_as(&dad, "/mute", mute).await;
    assert_eq!(muted["code"], 0, "{muted}");
    send(&world, &dad, &toy, sound::tone(1)).await;
    send(&world, &mum, &toy, sound::tone(1)).await;
    let (url, text) = notified(&mut device).await;
    assert!(text.contains("Mum"), "{text}");
    let (_, file) = fetch(&world, &url).await;
    let played = packets(&file).len() as f64 * 0.06;
    assert!(played < 3.0, "{played} s: one message of a tenth of a second, and a sentence");
    assert_eq!(unread(&world, &toy).await, 2);
}
