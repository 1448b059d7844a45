//! Recordings of formats that the hub's own decoders do not read, and odd ones: uploads, and the library.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::metrics::metrics;
use crate::sound;
use crate::world::{Toy, User, World, within};

/// Formats that only ffmpeg decodes: names, and how ffmpeg writes them.
const OF_FFMPEG: [(&str, &str, &[&str]); 14] = [
    ("AIFF", "aiff", &[]),
    ("ALAC in CAF", "caf", &["-c:a", "alac"]),
    ("ALAC in M4A", "m4a", &["-c:a", "alac"]),
    ("WMA", "wma", &["-c:a", "wmav2"]),
    ("AU", "au", &[]),
    ("a transport stream", "ts", &["-c:a", "aac"]),
    ("MP2", "mp2", &["-ar", "16000"]),
    ("AVI", "avi", &["-c:a", "pcm_s16le"]),
    ("FLV", "flv", &["-c:a", "nellymoser", "-ar", "22050"]),
    ("WavPack", "wv", &[]),
    ("VOC", "voc", &["-c:a", "pcm_u8", "-ar", "8000"]),
    ("W64", "w64", &[]),
    ("AC-3", "ac3", &["-ar", "48000"]),
    ("E-AC-3", "eac3", &["-ar", "48000"]),
];

/// Formats that the hub decodes itself.
const OF_THE_HUB: [(&str, &str, &[&str]); 5] = [
    ("RIFF", "wave", &["-f", "wav"]),
    ("MP3", "mp3", &["-ar", "16000"]),
    ("Opus in Ogg", "ogg", &["-c:a", "libopus"]),
    ("Opus in WebM", "webm", &["-c:a", "libopus"]),
    ("FLAC", "flac", &[]),
];

async fn family(world: &World) -> (User, Toy) {
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    (parent, toy)
}

/// The answer to a recording of the toy.
async fn send(world: &World, (parent, toy): &(User, Toy), sound: Vec<u8>) -> Value {
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    world.upload("/toy_uploader", "reco", sound, &fields).await
}

async fn download(world: &World, path: &str) -> Vec<u8> {
    let answer = within(path, world.client().get(format!("{}{path}", world.http())).send()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

/// MP3 files whose beginning is wrong.
fn odd_mp3s(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let good = sound::converted(folder, "mp3", &["-ar", "16000", "-id3v2_version", "0", "-write_xing", "0"]);
    let short_tag = [&b"ID3\x03\0\0\0\0\0\x14APIC\0\0\x10\0\0\0image/png\0\x03\0"[..], &[0x55; 4000], &good].concat();
    let long_tag = [&b"ID3\x03\0\0\x7f\x7f\x7f\x7f"[..], &good].concat();
    let zeros = [&[0; 3000][..], &good].concat();
    let middle = good[500..].to_vec();
    vec![("a short tag", short_tag), ("a long tag", long_tag), ("zeros", zeros), ("the middle of a frame", middle)]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ffmpeg_reads_is_a_recording_as_loud_as_it_was() {
    let world = World::start_with(&[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000")]).await;
    let pair = family(&world).await;
    let folder = world.folder();
    let written = OF_FFMPEG.iter().map(|(name, end, codec)| (*name, sound::converted(folder, end, codec)));
    let written: Vec<_> = written.chain(odd_mp3s(folder)).collect();
    for (name, recording) in &written {
        let sent = send(&world, &pair, recording.clone()).await;
        assert_eq!(sent["code"], 0, "{name}: {sent}");
        let stored = download(&world, &format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap())).await;
        sound::assert_same_length(folder, &stored);
        // ffmpeg itself cannot open each of them: all are of the same words.
        let (before, after) = (sound::loudness_lufs(folder, &sound::wav()), sound::loudness_lufs(folder, &stored));
        assert!((before - after).abs() < 1.5, "{name}: {before} LUFS, stored with {after}");
    }
    // All at once, some of them cut.
    let answers = join_all(written.iter().enumerate().map(async |(number, (name, recording))| {
        let len = if number % 2 == 0 { recording.len() } else { recording.len() / 2 };
        (name, send(&world, &pair, recording[..len].to_vec()).await)
    }));
    for (name, answer) in answers.await {
        assert!([0, 13].map(Value::from).contains(&answer["code"]), "{name}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_recordings_are_stored_completely() {
    let world = World::start().await;
    let pair = family(&world).await;
    let folder = world.folder();
    let once = sound::seconds(folder, &sound::wav());
    let fragmented: &[&str] = &["-c:a", "aac", "-movflags", "empty_moov", "-frag_duration", "400000"];
    for (name, end, codec) in OF_THE_HUB.into_iter().chain([("fragmented MP4", "mp4", fragmented)]) {
        let recording = sound::converted(folder, end, codec);
        let sent = send(&world, &pair, recording.repeat(2)).await;
        assert_eq!(sent["code"], 0, "twice {name}: {sent}");
        let stored = download(&world, &format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap())).await;
        let twice = sound::seconds(folder, &stored);
        assert!((twice - 2.0 * once).abs() < 0.3, "twice {name}: {twice} s of {once} s");
        let half = send(&world, &pair, recording[..recording.len() / 2].to_vec()).await;
        assert_eq!(half["code"], 0, "half of {name}: {half}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_stream_is_never_a_fault_of_the_hub() {
    let settings = [("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000")];
    let world = World::start_with(&settings).await;
    let pair = family(&world).await;
    let good = sound::converted(world.folder(), "aac", &["-ar", "16000", "-b:a", "16k"]);
    let (mut sent, mut accepted) = (0, 0);
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        let answer = send(&world, &pair, bytes).await;
        assert!([0, 13].map(Value::from).contains(&answer["code"]), "{at}: {answer}");
        sent += 1;
        accepted += usize::from(answer["code"] == 0);
    }
    assert!(accepted * 10 >= sent * 9, "{accepted} of {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_judges_as_uploads_are_judged() {
    let world = World::start_with(&[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000")]).await;
    let pair = family(&world).await;
    let folder = world.folder();
    let cover = world.data_dir().join(format!("files/qr/{}.png", pair.1.device_key));
    let mut cases = odd_mp3s(folder);
    cases.extend(OF_FFMPEG.iter().map(|(name, end, codec)| (*name, sound::converted(folder, end, codec))));
    for (name, end, codec) in OF_THE_HUB {
        cases.push((name, sound::converted(folder, end, codec)));
    }
    cases.push(("AMR", sound::amr(folder)));
    cases.push(("a picture", std::fs::read(&cover).unwrap()));
    cases.push(("a playlist of a file", b"#EXTM3U\n/etc/passwd\n".to_vec()));
    cases.push(("a playlist of a host", b"#EXTM3U\nhttp://127.0.0.1:9/a.mp3\n".to_vec()));
    cases.push(("nothing", Vec::new()));
    let song = folder.join("song");
    let mut titles = Vec::new();
    for (name, bytes) in cases {
        std::fs::write(&song, &bytes).unwrap();
        let arguments = ["content", "add", song.to_str().unwrap(), "--title", name, "--cover", cover.to_str().unwrap()];
        let added = within("the command", world.command(&arguments).output()).await.unwrap();
        let answer = send(&world, &pair, bytes).await;
        assert_eq!(added.status.success(), answer["code"] == 0, "{name}: {answer} {added:?}");
        if added.status.success() {
            titles.push(name);
        } else {
            assert!([13, 14].map(Value::from).contains(&answer["code"]), "{name}: {answer}");
        }
    }
    assert_eq!(titles.len(), 24, "{titles:?}");
    // Every toy plays MP3.
    let list = world.ok("/content_list", json!({})).await["data"].clone();
    for content in list.as_array().unwrap() {
        let name = content["music"].as_str().unwrap();
        assert!(name.ends_with(".mp3"), "{content}");
        sound::assert_same_length(folder, &download(&world, &format!("/get_music/{name}")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ffmpeg_the_answer_is_clear_and_so_are_the_log_and_the_doctor() {
    let missing = [("TOYHUB_AUDIO__FFMPEG", "/nowhere/ffmpeg"), ("TOYHUB_SERVER__LOG", "info")];
    let off = [("TOYHUB_AUDIO__FFMPEG", ""), ("TOYHUB_SERVER__LOG", "info")];
    for (settings, logged, found) in [
        (&missing[..], "ffmpeg is not installed", "MISSING  ffmpeg"),
        (&off[..], "ffmpeg is turned off", "ok       ffmpeg: turned off"),
    ] {
        let world = World::start_with(settings).await;
        let pair = family(&world).await;
        let (_, end, codec) = OF_FFMPEG[0];
        let answer = send(&world, &pair, sound::converted(world.folder(), end, codec)).await;
        assert_eq!(answer["code"], 13, "{answer}");
        assert_eq!(send(&world, &pair, sound::wav()).await["code"], 0);
        for (name, bytes) in odd_mp3s(world.folder()) {
            assert_eq!(send(&world, &pair, bytes).await["code"], 0, "{name}");
        }
        let log = std::fs::read_to_string(world.log()).unwrap();
        assert!(log.contains(logged), "{log}");
        let doctor = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
        let lines = String::from_utf8(doctor.stdout).unwrap();
        assert!(lines.contains(found), "{lines}");
    }
}

/// The seeds and findings of the fuzzer for the decoders, as recordings.
#[tokio::test(flavor = "multi_thread")]
async fn no_sound_of_the_fuzzer_is_a_fault_of_the_hub() {
    let settings = [("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000")];
    let world = World::start_with(&settings).await;
    let pair = family(&world).await;
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let mut sent = 0;
    for target in ["sound", "wav", "flac", "ogg", "matroska", "mp4", "amr"] {
        let files = std::fs::read_dir(seeds.join(target)).unwrap().map(|entry| entry.unwrap().path());
        for file in files.collect::<Vec<PathBuf>>() {
            let answer = send(&world, &pair, std::fs::read(&file).unwrap()).await;
            assert!([0, 13, 14].map(Value::from).contains(&answer["code"]), "{file:?}: {answer}");
            sent += 1;
        }
    }
    assert!(sent >= 7, "{sent}");
}

/// The names of files in a folder of the hub's sounds.
fn stored(world: &World, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(world.data_dir().join("files").join(folder)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn amr_to_a_toy_is_kept_as_it_came_and_made_mp3_once_for_others() {
    let settings = [("TOYHUB_AUDIO__AMR_TO_TOYS", "true"), ("TOYHUB_CHATS__RETRY_WINDOW_S", "600")];
    let world = World::start_with(&settings).await;
    let family = family(&world).await;
    let (parent, toy) = &family;
    let stranger = world.user("stranger").await;
    let folder = tempfile::tempdir().unwrap();
    let amr = sound::amr(folder.path());
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", amr.clone(), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    let again = world.upload("/app_uploader", "reco_file", amr.clone(), &fields).await;
    assert_eq!(again["data"]["_id"], sent["data"]["_id"], "the same recording is the same message");

    let (_, unread) = world.post("/recv_msg", json!({"to_user": toy.id})).await;
    let name = unread[0]["message"].as_str().unwrap();
    assert!(name.ends_with(".amr"), "{unread}");
    let get = async |name: &str, user: &User| {
        let request = world.client().get(format!("{}/get_chat/{name}", world.http())).bearer_auth(&user.token);
        let answer = within(name, request.send()).await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    };
    assert_eq!(download(&world, &format!("/get_chat/{name}")).await, amr, "the toy gets it as it came");
    assert!(stored(&world, "made").is_empty(), "nobody has asked for an MP3");

    let friends = world.ok("/friend_list", json!({"_id": parent.id})).await;
    let mp3 = name.replace(".amr", ".mp3");
    let page = json!({"chat_id": friends["data"][0]["friend_chat"], "to_user": parent.id});
    assert_eq!(world.ok("/chat_list", page).await["data"][0]["message"], json!(mp3), "an app is told of an MP3");
    assert_eq!(get(&mp3, &stranger).await.0, 404);
    assert!(stored(&world, "made").is_empty(), "a stranger has nothing made");
    let made = join_all((0..8).map(|_| get(&mp3, parent))).await;
    assert!(made.iter().all(|(status, sound)| *status == 200 && *sound == made[0].1));
    assert!((sound::seconds(folder.path(), &made[0].1) - sound::seconds(folder.path(), &amr)).abs() < 0.1);
    assert_eq!(stored(&world, "made"), std::slice::from_ref(&mp3));
    let figures = metrics(&world).await;
    assert!(figures.contains("toyhub_encode_seconds_count 0\n"), "no message was encoded: {figures}");
    assert_eq!(get(&mp3, &stranger).await.0, 404);

    let id = sent["data"]["_id"].as_str().unwrap();
    let erase = json!({"_id": parent.id, "message": id, "for": "both"});
    assert_eq!(world.post_as(parent, "/erase_message", erase).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    for name in [name, &mp3] {
        assert_eq!(get(name, parent).await.0, 404, "{name} is erased");
    }
    assert!(stored(&world, "made").is_empty(), "what was made of it is erased with it");

    // A damaged recording, and one to a user, are stored as MP3.
    let cut = amr[..amr.len() - 5].to_vec();
    let to_user = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str())];
    for (path, field, sound, fields) in
        [("/app_uploader", "reco_file", cut, &fields), ("/toy_uploader", "reco", amr, &to_user)]
    {
        let sent = world.upload(path, field, sound, fields).await;
        assert_eq!(sent["code"], 0, "{path}: {sent}");
    }
    let names = stored(&world, "chat");
    assert!(names.iter().all(|name| name.ends_with(".mp3")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_spoken_once_for_concurrent_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (synthesiser, spoken) = (folder.path().join("synthesiser"), folder.path().join("spoken"));
    let script = format!("#!/bin/sh\necho once >>{}\nexec espeak-ng \"$@\"\n", spoken.display());
    std::fs::write(&synthesiser, script).unwrap();
    std::fs::set_permissions(&synthesiser, PermissionsExt::from_mode(0o755)).unwrap();
    let settings = [("TOYHUB_SPEECH__SYNTHESISER", &*String::leak(synthesiser.to_str().unwrap().to_owned()))];
    let world = World::start_with(&settings).await;
    let family = family(&world).await;
    let count = || std::fs::read_to_string(&spoken).unwrap_or_default().lines().count();
    let before = count();
    let sent = join_all((0..8).map(|pitch| send(&world, &family, sound::tone(400 + pitch)))).await;
    assert!(sent.iter().all(|sent| sent["code"] == 0), "{sent:?}");
    assert_eq!(count() - before, 1, "all have the same notice");
    assert_eq!(send(&world, &family, sound::tone(500)).await["code"], 0);
    assert_eq!(count() - before, 1, "nor later");
}
