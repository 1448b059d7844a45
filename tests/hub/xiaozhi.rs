//! Devices with stock firmware: activation, conversations, and bad input. [`Device`] is the judge.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::sound;
use crate::speech::{asked_by, hearing_any};
use crate::stock_device::link::Heard;
use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate, lossy_link, post, slow_link};
use crate::world::{User, World, within};

const IDS: (&str, &str) = (MAC, UUID);

/// A hub with the included model.
pub async fn hub(settings: &[(&'static str, &'static str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/toyhub-commands-en.bin");
    std::fs::copy(model, folder.path().join("model.bin")).unwrap();
    let settings: Vec<_> = settings.iter().copied().chain([("TOYHUB_SPEECH__MODEL", "model.bin")]).collect();
    World::start_in(folder, &settings).await
}

/// Words at 16 kHz, without the silence behind them.
pub fn spoken(text: &str) -> Vec<f32> {
    let wav = sound::spoken("en-us", text);
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.wav"), folder.path().join("a.raw"));
    std::fs::write(&source, wav).unwrap();
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-i"])
        .arg(&source)
        .args(["-f", "s16le", "-ac", "1", "-ar", "16000"])
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(target).unwrap();
    let samples = bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
    let mut samples: Vec<f32> = samples.collect();
    let end = samples.iter().rposition(|sample| sample.abs() > 0.01).unwrap_or_default();
    samples.truncate(end);
    samples
}

/// A user, and the address and token of a device that is bound.
async fn family(world: &World) -> (User, String, String) {
    let dad = world.user("dad").await;
    let (url, token) = activate(world, &dad, IDS).await;
    (dad, url, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_bound_by_the_six_digits_that_it_shows() {
    let world = World::start().await;
    let dad = world.user("dad").await;
    let (status, answer) = post(&world, "/xiaozhi/ota/", IDS, "{}").await;
    assert_eq!(status, 200);
    let code = answer["activation"]["code"].as_str().unwrap().to_owned();
    assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{answer}");
    assert!(answer["activation"]["challenge"].is_string(), "without it the device does not poll");
    assert!(answer.get("mqtt").is_none(), "{answer}");
    // Some clients keep this token and never check again. It is good from the binding on.
    let (url, token) = (answer["websocket"]["url"].clone(), answer["websocket"]["token"].clone());
    let (url, token) = (url.as_str().unwrap(), token.as_str().unwrap());
    let mut early = Device::open(url, token, IDS, FIRMWARES[3]).await;
    assert_eq!(early.close_code().await, 1008);
    assert!(answer["server_time"]["timestamp"].as_u64().unwrap() > 1_700_000_000_000, "{answer}");
    // It asks again, with or without the slash, and keeps its code.
    for path in ["/xiaozhi/ota", "/xiaozhi/ota/"] {
        assert_eq!(post(&world, path, IDS, "{}").await.1["activation"]["code"], code.as_str());
    }
    assert_eq!(post(&world, "/xiaozhi/ota/activate", IDS, "{}").await.0, 202);

    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(
        world.post("/scan_qr", json!({"device_key": wrong})).await.1["msg"],
        "Please scan the toy two-dimensional code"
    );
    let scanned = world.ok("/scan_qr", json!({"device_key": code})).await;
    assert_eq!(scanned["data"]["device_key"].as_str().unwrap().len(), 32, "{scanned}");
    let binding =
        json!({"toy_name": "Robot", "baby_name": "Mia", "remark": "Dad", "user_id": dad.id, "device_key": code});
    world.ok("/bind_toy", binding.clone()).await;
    assert_ne!(world.post("/bind_toy", binding).await.1["code"], 0, "the code is good once");

    assert_eq!(post(&world, "/xiaozhi/ota/activate", IDS, "{}").await.0, 200);
    let (status, answer) = post(&world, "/xiaozhi/ota/", IDS, "{}").await;
    assert!(status == 200 && answer.get("activation").is_none(), "{answer}");
    assert_eq!(answer["websocket"]["url"], format!("ws://{}/xiaozhi/v1/", world.http_addr()));
    assert_eq!(answer["firmware"], json!({"version": "2.5.0", "url": ""}));
    for section in ["websocket", "firmware", "server_time"] {
        let names = answer[section].as_object().unwrap().keys();
        assert!(names.into_iter().all(|name| section == "server_time" || name.len() <= 15), "keys of NVS: {answer}");
    }
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    assert_eq!(toys["data"][0]["toy_name"], "Robot", "{toys}");
    Device::connect(url, token, IDS, FIRMWARES[3]).await;
    let other = (MAC, "7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b0d");
    assert_eq!(Device::open(url, token, other, FIRMWARES[3]).await.close_code().await, 1008, "another device");
    let mut device = Device::connect(url, token, IDS, FIRMWARES[3]).await;
    world.run(&["toy", "unbind", toys["data"][0]["_id"].as_str().unwrap()]).await;
    assert!(device.is_ended().await);
    assert_eq!(Device::open(url, token, IDS, FIRMWARES[3]).await.close_code().await, 1008, "it is not bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_posts_are_answered_clearly_and_harm_nobody() {
    let settings = [("TOYHUB_XIAOZHI__ACTIVATIONS_PER_ADDRESS_MAX", "8")];
    let world = World::start_with(&settings).await;
    let dad = world.user("dad").await;
    // A network name with a quote makes the body of a stock device invalid.
    let body = r#"{"version":2,"board":{"type":"wifi","ssid":"my "net"","rssi":-40}}"#;
    assert_eq!(post(&world, "/xiaozhi/ota/", IDS, body).await.0, 200);
    for ids in [("", UUID), (MAC, ""), (MAC, "web_test_client"), ("../../etc", UUID), ("a0:b1", UUID)] {
        assert_eq!(post(&world, "/xiaozhi/ota/", ids, "{}").await.0, 400, "{ids:?}");
        assert_eq!(post(&world, "/xiaozhi/ota/activate", ids, "{}").await.0, 400, "{ids:?}");
    }
    // A flood of unknown devices fills the places of its address.
    let mut statuses = Vec::new();
    for number in 0..12 {
        let mac = format!("00:00:00:00:00:{number:02x}");
        statuses.push(post(&world, "/xiaozhi/ota/", (&mac, UUID), "{}").await.0);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7, "{statuses:?}");
    assert!(statuses.ends_with(&[429, 429]), "{statuses:?}");
    // One that waits is still served, and bound; then another id of its network address is another device.
    let (url, token) = activate(&world, &dad, IDS).await;
    let other = "00000000-0f1d-4e2a-9b6c-5d4e3f2a1b0c";
    let (_, answer) = post(&world, "/xiaozhi/ota/", (MAC, other), "{}").await;
    assert!(answer["activation"]["code"].is_string(), "{answer}");
    let waiting = answer["websocket"]["token"].as_str().unwrap();
    // Neither the other device nor a wrong token gets into the conversation.
    for (ids, token) in
        [((MAC, other), token.as_str()), ((MAC, other), waiting), (IDS, waiting), (IDS, "wrong"), (IDS, "")]
    {
        let mut device = Device::open(&url, token, ids, FIRMWARES[3]).await;
        assert!(device.is_ended().await);
    }
    Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_firmware_plays_all_of_each_answer_over_several_turns() {
    let world = hub(&[]).await;
    let dad = world.user("dad").await;
    let question = spoken("what is two plus three");
    for (number, firmware) in FIRMWARES.into_iter().enumerate() {
        let uuid = format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b{number:02x}");
        let ids = (MAC, uuid.as_str());
        let (url, token) = activate(&world, &dad, ids).await;
        let mut device = Device::connect(&url, &token, ids, firmware).await;
        for turn in 0..3 {
            let played = device.ask(&question).await;
            let what = format!("{} turn {turn}", firmware.version);
            assert_eq!(played.heard.as_deref(), Some("what is two plus three"), "{what}");
            assert!(played.sentences.len() == 1 && played.sentences[0].contains('5'), "{what}: {:?}", played.sentences);
            played.assert_all_sent(&what);
            let loud = played.samples.iter().filter(|sample| sample.abs() > 0.05).count();
            assert!(loud > 4_000, "{what}: {loud}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_ends_a_turn_and_the_socket_stays_open() {
    let world = hub(&[]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    for _ in 0..2 {
        device.listen("start", "manual").await;
        let end = device.speak(&spoken("what is four plus four")).await;
        device.listen("stop", "manual").await;
        let played = device.play(end, false).await;
        assert!(played.sentences[0].contains('8'), "{:?}", played.sentences);
        played.assert_all_sent("manual");
    }
    // A press without a word.
    device.listen("start", "manual").await;
    device.listen("stop", "manual").await;
    let played = device.play(Instant::now(), false).await;
    assert_eq!(played.heard, None);
    played.assert_all_sent("nothing said");
}

/// The hub ends its sound after an abort: no more packets come than the song has in the time in which the abort arrives,
/// and none after the end.
pub async fn assert_silent_after_abort(device: &mut Device) {
    let mut packets = 0;
    let end = async {
        loop {
            match device.link.next().await {
                Heard::Sound(_) => packets += 1,
                Heard::Text(message) if message["state"] == "stop" => return,
                Heard::Text(_) => {}
                Heard::End => panic!("the connection ended"),
            }
        }
    };
    within("the end of the song", end).await;
    // Those that go ahead, and a second of a busy machine. The song has three times as many.
    assert!(packets <= 4 + 16, "{packets} packets after the abort");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_silences_at_once_and_the_next_turn_is_served() {
    let world = hub(&[]).await;
    world.songs(["The Long Song"]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.listen("start", "manual").await;
    device.speak(&spoken("play a song")).await;
    device.listen("stop", "manual").await;
    let wait = async {
        loop {
            if device.text().await["state"] == "start" {
                return;
            }
        }
    };
    within("the song", wait).await;
    within("its sound", async { while !matches!(device.link.next().await, Heard::Sound(_)) {} }).await;
    device.abort().await;
    assert_silent_after_abort(&mut device).await;
    let played = device.ask(&spoken("what is one plus one")).await;
    assert!(played.sentences[0].contains('2'), "{:?}", played.sentences);
    played.assert_all_sent("after the abort");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_streamed_to_its_end() {
    let world = hub(&[]).await;
    world.songs(["The Bear Song"]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[0]).await;
    let played = device.ask(&spoken("play a song")).await;
    played.assert_all_sent("the song");
    let seconds = played.samples.len() as f64 / 24_000.0;
    let expected = sound::seconds(world.folder(), &sound::wav());
    assert!((expected..expected + 0.3).contains(&seconds), "{seconds} of {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_friend_is_the_next_turn() {
    let world = hub(&[]).await;
    let (dad, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let prompt = device.ask(&spoken("send a message to dad")).await;
    assert!(prompt.sentences[0].contains("Dad"), "{:?}", prompt.sentences);
    let asked = device.ask(&spoken("good night dad sleep well")).await;
    assert_eq!(asked.sentences.join(" "), "Shall I send it to Dad? Say send it, again, or no.");
    let sent = device.ask(&spoken("yes please")).await;
    assert!(sent.sentences[0].contains("on its way"), "{:?}", sent.sentences);
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let toy = toys["data"][0]["_id"].as_str().unwrap();
    let heard = world.post_as(&dad, "/recv_msg", json!({"to_user": dad.id, "from_user": toy})).await;
    assert_eq!(heard.as_array().unwrap().len(), 1, "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn louder_asks_the_device_for_its_volume_and_sets_it() {
    let world = hub(&[]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let played = device.ask(&spoken("louder please")).await;
    assert!(played.sentences.concat().contains("louder"), "{:?}", played.sentences);
    device.board_is("the volume", |board| board.volume == 90).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_realtime_a_child_interrupts_by_speaking() {
    let world = hub(&[]).await;
    world.songs(["The Long Song"]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.listen("start", "realtime").await;
    let pause = vec![0.0; 16_000];
    // The device says that it listens as soon as the song ends, or, on a slow link, after the next answer has begun.
    for is_late in [false, true] {
        device.speak(&[spoken("play a song"), pause.clone()].concat()).await;
        next_state(&mut device, "start").await;
        device.speak(&spoken("what is two plus two")).await;
        next_state(&mut device, "stop").await;
        if !is_late {
            device.listen("start", "realtime").await;
        }
        device.speak(&pause).await;
        next_state(&mut device, "start").await;
        if is_late {
            device.listen("start", "realtime").await;
        }
        let sentence = next_state(&mut device, "sentence_start").await;
        assert!(sentence["text"].as_str().is_some_and(|text| text.contains('4')), "{sentence}");
        next_state(&mut device, "stop").await;
        device.listen("start", "realtime").await;
    }
    // After an abort some clients do not say again that they listen.
    device.speak(&[spoken("play a song"), pause.clone()].concat()).await;
    next_state(&mut device, "start").await;
    device.abort().await;
    next_state(&mut device, "stop").await;
    device.speak(&[spoken("what is two plus two"), pause].concat()).await;
    let sentence = next_state(&mut device, "sentence_start").await;
    assert!(sentence["text"].as_str().is_some_and(|text| text.contains('4')), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_page_says_once_that_it_listens_and_is_heard_again() {
    let world = hub(&[]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let played = device.ask(&spoken("what is two plus two")).await;
    assert!(played.sentences[0].contains('4'), "{:?}", played.sentences);
    // Its microphone goes on, and has sent silence for some time when somebody speaks.
    let pause = vec![0.0; 24_000];
    let end = device.speak(&[pause, spoken("what is two plus three")].concat()).await;
    let played = device.play(end, true).await;
    assert!(played.sentences[0].contains('5'), "{:?}", played.sentences);
    played.assert_all_sent("the second answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_words_of_a_test_page_are_answered() {
    let world = hub(&[]).await;
    world.songs(["The Long Song"]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let typed = |text| json!({"type": "listen", "mode": "manual", "state": "detect", "text": text});
    device.send(typed("what is two plus two")).await;
    let played = device.play(tokio::time::Instant::now(), false).await;
    assert_eq!(played.heard.as_deref(), Some("what is two plus two"));
    assert!(played.sentences[0].contains('4'), "{:?}", played.sentences);
    played.assert_all_sent("the answer to typed words");
    // They interrupt a song.
    device.send(typed("play a song")).await;
    next_state(&mut device, "start").await;
    device.send(typed("what is two plus three")).await;
    next_state(&mut device, "stop").await;
    next_state(&mut device, "start").await;
    let sentence = next_state(&mut device, "sentence_start").await;
    assert!(sentence["text"].as_str().is_some_and(|text| text.contains('5')), "{sentence}");
}

/// The next message of the hub with this state.
async fn next_state(device: &mut Device, state: &str) -> Value {
    let wait = async {
        loop {
            let message = device.text().await;
            if message["state"] == state {
                return message;
            }
        }
    };
    within(state, wait).await
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_are_left_out_and_the_conversation_goes_on() {
    let world = hub(&[]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::open(&url, &token, IDS, FIRMWARES[3]).await;
    // Before the hello, and a hello without the form of the sound, as of a test page.
    device.send_raw(Message::binary(vec![1, 2, 3])).await;
    device.send(json!({"type": "listen", "state": "start", "mode": "auto"})).await;
    device.send(json!({"type": "hello"})).await;
    let hello = device.text().await;
    device.session = hello["session_id"].as_str().unwrap().to_owned();
    device.send_raw(Message::text(r#"{"type":"listen","state":"detect","text":"say "hi""}"#)).await;
    device.send_raw(Message::text("")).await;
    device.send(json!({"type": "iot", "states": []})).await;
    device.send(json!({"type": "mcp", "payload": {"id": 99, "result": {}}})).await;
    device.send(json!(null)).await;
    device.listen("start", "auto").await;
    for size in [0, 1, 2, 1500] {
        device.send_raw(Message::binary(vec![0xff; size])).await;
    }
    // Two turns at once: the second replaces the first.
    device.listen("start", "auto").await;
    let played = device.ask(&spoken("what is two plus three")).await;
    assert!(played.sentences[0].contains('5'), "{:?}", played.sentences);
    played.assert_all_sent("after odd messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_stops_talking_is_cut_and_silence_ends_the_conversation() {
    let world = hub(&[("TOYHUB_SPEECH__COMMAND_MAX_S", "3"), ("TOYHUB_XIAOZHI__SILENCE_TIMEOUT_S", "2")]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.listen("start", "auto").await;
    // A little longer than the limit, as the device does not read while it speaks.
    let mut words = spoken("and then the bear went over the mountain and ").repeat(3);
    words.truncate(16_000 * 16 / 5);
    let end = device.speak(&words).await;
    let played = device.play(end, false).await;
    played.assert_all_sent("the answer to an endless speaker");
    device.listen("start", "auto").await;
    assert!(device.is_ended().await, "nobody speaks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_names_its_device_in_the_address_and_an_erased_toy_is_disconnected() {
    let world = hub(&[]).await;
    let (dad, url, token) = family(&world).await;
    let url = format!("{url}?device-id={MAC}&client-id={UUID}&authorization=Bearer%20{token}");
    let (mut socket, _) = within(
        "the handshake",
        tokio_tungstenite::client_async(&url, tokio::net::TcpStream::connect(world.http_addr()).await.unwrap()),
    )
    .await
    .unwrap();
    use futures_util::{SinkExt as _, StreamExt as _};
    socket.send(Message::text(r#"{"type":"hello"}"#)).await.unwrap();
    let Some(Ok(Message::Text(hello))) = within("the hello", socket.next()).await else { panic!("no hello") };
    assert_eq!(serde_json::from_str::<Value>(&hello).unwrap()["type"], "hello");
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let erased = json!({"user_id": dad.id, "toy_id": toys["data"][0]["_id"]});
    assert_eq!(world.post_as(&dad, "/unbind_toy", erased).await["code"], 0);
    let closed = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    within("the close", closed).await;
    // It can be bound again, as a new toy.
    activate(&world, &dad, IDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_spoken_while_the_endpoint_makes_the_rest_of_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: &'static str = Box::leak(format!("http://{}/v1", listener.local_addr().unwrap()).into_boxed_str());
    let settings = [("TOYHUB_SPEECH__REPLY_URL", url), ("TOYHUB_SPEECH__REPLY_MODEL", "small")];
    let world = hearing_any("why do purple elephants wear hats", &settings).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    let (first_was_heard, may_go_on) = tokio::sync::oneshot::channel();
    let endpoint = async {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = asked_by(&mut stream).await;
        assert!(asked.contains(r#""stream":true"#), "{asked}");
        let event = |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all((head.to_owned() + &event("Elephants like hats. ")).as_bytes()).await.unwrap();
        may_go_on.await.unwrap();
        stream.write_all((event("A purple one has a purple hat.") + "data: [DONE]\n\n").as_bytes()).await.unwrap();
    };
    let talk = async {
        device.listen("start", "manual").await;
        device.speak(&spoken("hello my little bear")).await;
        device.listen("stop", "manual").await;
        assert_eq!(next_state(&mut device, "sentence_start").await["text"], "Elephants like hats.");
        first_was_heard.send(()).unwrap();
        assert_eq!(next_state(&mut device, "sentence_start").await["text"], "A purple one has a purple hat.");
        next_state(&mut device, "stop").await;
    };
    within("the reply", async { tokio::join!(endpoint, talk) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_that_was_interrupted_goes_on() {
    let world = hearing_any("go on with the story", &[]).await;
    let (key, _) = world.device().await;
    let (story, cover) = (world.folder().join("story.wav"), world.data_dir().join(format!("files/qr/{key}.png")));
    std::fs::write(&story, sound::large()).unwrap();
    let (story, cover) = (story.to_str().unwrap(), cover.to_str().unwrap());
    world.run(&["content", "add", story, "--title", "The Long Story", "--cover", cover]).await;
    let (_, url, token) = family(&world).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    // Nothing was interrupted: it begins. The child stops it after seven of ten seconds.
    device.listen("start", "manual").await;
    device.speak(&spoken("hello my little bear")).await;
    device.listen("stop", "manual").await;
    let mut packets = 0;
    let seven_seconds = async {
        while packets < 117 {
            packets += usize::from(matches!(device.link.next().await, Heard::Sound(_)));
        }
    };
    within("seven seconds", seven_seconds).await;
    device.abort().await;
    next_state(&mut device, "stop").await;
    device.listen("start", "manual").await;
    let end = device.speak(&spoken("hello my little bear")).await;
    device.listen("stop", "manual").await;
    let rest = device.play(end, false).await;
    let seconds = rest.packets as f64 * 0.06;
    assert!((4.5..8.5).contains(&seconds), "{seconds} s, from a little before the place on");
}

/// 200 ms each way and 64 kbit/s, as of a phone that shares its network.
async fn slow(world: &World, url: &str) -> String {
    let link = slow_link(world.http_addr(), Duration::from_millis(200), 64_000).await;
    url.replace(&world.http_addr().to_string(), &link.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_link_every_firmware_plays_all_of_an_answer() {
    let world = hub(&[]).await;
    let dad = world.user("dad").await;
    let question = spoken("what is two plus three");
    for (number, firmware) in FIRMWARES.into_iter().enumerate() {
        let uuid = format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1c{number:02x}");
        let ids = (MAC, uuid.as_str());
        let (url, token) = activate(&world, &dad, ids).await;
        let mut device = Device::connect(&slow(&world, &url).await, &token, ids, firmware).await;
        let played = device.ask(&question).await;
        assert!(played.sentences.concat().contains('5'), "{}: {:?}", firmware.version, played.sentences);
        played.assert_all_sent(&format!("{} over a slow link", firmware.version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_link_that_loses_packets_nothing_is_dropped_or_cut() {
    let world = hub(&[]).await;
    let dad = world.user("dad").await;
    let question = spoken("what is two plus three");
    for (number, firmware) in [FIRMWARES[0], FIRMWARES[3], FIRMWARES[4]].into_iter().enumerate() {
        let uuid = format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1e{number:02x}");
        let ids = (MAC, uuid.as_str());
        let (url, token) = activate(&world, &dad, ids).await;
        // 2 percent, with 200 ms there and back. The room of 1.6.0 is 360 ms: it cannot hold what a longer pause held up.
        let link = lossy_link(world.http_addr(), Duration::from_millis(100), 64_000, 50).await;
        let url = url.replace(&world.http_addr().to_string(), &link.to_string());
        let mut device = Device::connect(&url, &token, ids, firmware).await;
        let played = device.ask(&question).await;
        assert!(played.sentences.concat().contains('5'), "{}: {:?}", firmware.version, played.sentences);
        // Sound that comes late is a pause: the device has room for less than the time of a repetition.
        assert_eq!((played.early, played.overflow, played.cut), (0, 0, 0), "{}", firmware.version);
        println!("{}: {} packets, {} pauses", firmware.version, played.packets, played.underruns);
    }
}

/// 200 turns of all firmwares, every other one over a slow link: no packet is lost, and none is late.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour"]
async fn nothing_is_lost_in_two_hundred_turns() {
    const TURNS: usize = 200;
    let world = hub(&[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000")]).await;
    let dad = world.user("dad").await;
    let mut devices = Vec::new();
    for (number, firmware) in FIRMWARES.into_iter().chain(FIRMWARES).enumerate() {
        let uuid = format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1d{number:02x}");
        let ids = (MAC, uuid.as_str());
        let (url, token) = activate(&world, &dad, ids).await;
        let url = if number < FIRMWARES.len() { url } else { slow(&world, &url).await };
        devices.push((firmware, uuid, url, token));
    }
    let count = devices.len();
    let turns = devices.into_iter().enumerate().map(|(at, (firmware, uuid, url, token))| async move {
        // The hub closes a socket on which nobody speaks.
        let mut device = Device::connect(&url, &token, (MAC, &uuid), firmware).await;
        let (version, mut packets, mut late) = (firmware.version, 0, Vec::new());
        for turn in (at..TURNS).step_by(count) {
            let (one, other) = (turn % 9 + 1, turn / 9 % 9 + 1);
            let played = device.ask(&spoken(&format!("can you tell me what {one} plus {other} is"))).await;
            played.assert_whole(&format!("{version} turn {turn}"));
            packets += played.packets;
            late.extend(played.late_ms);
        }
        (packets, late)
    });
    let (mut packets, mut late) = (0, Vec::new());
    // Two at once, as on a machine of two cores.
    let mut all = futures_util::stream::iter(turns).buffer_unordered(2);
    while let Some((more, times)) = all.next().await {
        packets += more;
        late.extend(times);
    }
    late.sort_by(f64::total_cmp);
    let of = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
    println!("{TURNS} turns, {packets} packets, none lost, no underrun");
    println!("packets later than their time, ms: p50 {:.1}, p99 {:.1}", of(0.5), of(0.99));
}
