//! Backups: under load, compared with a ledger outside the hub; interrupted, damaged, scheduled.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mqtt::{Raw, V4, connect_with, publish, subscribe};
use crate::sound;
use crate::world::{Toy, User, World, within};

const SETTINGS: [(&str, &str); 2] =
    [("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0"), ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000")];

/// A parent and its toy, which sends it messages.
struct Pair {
    parent: User,
    toy: Toy,
}

async fn pair(world: &World, name: &str) -> Pair {
    let parent = world.user(name).await;
    let toy = world.toy(&parent, &format!("{name}'s \"toy\"")).await;
    Pair { parent, toy }
}

impl Pair {
    /// Sends a sound; gives its name once it is accepted.
    async fn send(&self, world: &World, sound: Vec<u8>) -> String {
        let fields = [("user_id", self.toy.id.as_str()), ("to_user", self.parent.id.as_str()), ("friend_type", "app")];
        let sent = world.upload("/toy_uploader", "reco", sound, &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        sent["data"]["filename"].as_str().unwrap().to_owned()
    }

    /// The names of all unread sounds, which are then marked as read.
    async fn receive(&self, world: &World) -> Vec<String> {
        let asked = json!({"from_user": self.toy.id, "to_user": self.parent.id});
        let unheard = world.post_as(&self.parent, "/recv_msg", asked).await;
        let name = |message: &Value| message["message"].as_str().unwrap().to_owned();
        unheard.as_array().unwrap_or_else(|| panic!("{unheard}")).iter().map(name).collect()
    }
}

async fn bytes_of(world: &World, name: &str) -> Vec<u8> {
    let answer = within(name, world.client().get(format!("{}/get_chat/{name}", world.http())).send()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{name}");
    answer.bytes().await.unwrap().to_vec()
}

/// The program, with a data folder of its own.
async fn restore(world: &World, data: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = world.command(&[&["restore"], arguments].concat());
    let output = within("the restore", command.env("TOYHUB_SERVER__DATA_DIR", data).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A hub on a folder that was restored from backups.
async fn restored(world: &World, backups: &Path, arguments: &[&str]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&[backups.to_str().unwrap()], arguments].concat();
    restore(world, &folder.path().join("data"), &arguments).await.unwrap();
    World::start_in(folder, &SETTINGS).await
}

/// The snapshots in a folder.
fn snapshots(backups: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(backups) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("0000")).collect();
    names.sort();
    names
}

/// A number that the command printed behind its first word.
fn printed(text: &str, word: &str, place: usize) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no {word}: {text}"));
    line.split_whitespace().nth(place).unwrap().parse().unwrap()
}

async fn guest(world: &World, id: &str, clean: u8) -> (Raw, bool) {
    let mut raw = Raw::open(world.conformance_addr()).await;
    raw.send(&connect_with(V4, clean, 60, &[], id, &[], "", "")).await;
    let (kind, body) = raw.packet().await;
    assert_eq!((kind, body[1]), (0x20, 0), "CONNACK");
    (raw, body[0] == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_accepted_before_a_backup_under_load_are_in_it() {
    let world = World::start_with(&SETTINGS).await;
    let backups = world.folder().join("backups");
    let pairs = [pair(&world, "mia's").await, pair(&world, "`tom`").await, pair(&world, "小明 \\ \"x\"").await];
    // An offline session with queued commands.
    let (mut away, _) = guest(&world, "away", 0).await;
    away.send(&subscribe(V4, 1, &[("commands/#", 1)])).await;
    assert_eq!(away.packet().await.0, 0x90);
    away.send(&[0xe0, 0]).await;
    away.expect_end().await;
    let (mut speaker, _) = guest(&world, "speaker", 2).await;
    for number in 1..=10u8 {
        speaker.send(&publish(V4, 0x32, "commands/x", number.into(), &[number])).await;
        speaker.expect(0x40, &[0, number]).await;
    }
    speaker.send(&publish(V4, 0x33, "commands/kept", 11, b"retained")).await;
    speaker.expect(0x40, &[0, 11]).await;

    // The ledger: each accepted message with its sender.
    let (ledger, done) = (RefCell::new(Vec::<(usize, String)>::new()), Cell::new(false));
    let write = async |index: usize| {
        let mut number = 0;
        while !done.get() {
            let name = pairs[index].send(&world, sound::tone(index as u32 * 1000 + number)).await;
            ledger.borrow_mut().push((index, name));
            number += 1;
        }
    };
    let back_up = async {
        within("some messages", async {
            while ledger.borrow().len() < 12 {
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
        let before = ledger.borrow().clone();
        let text = world.run(&["backup", backups.to_str().unwrap()]).await;
        done.set(true);
        (before, text)
    };
    let (_, _, _, (before, text)) = tokio::join!(write(0), write(1), write(2), back_up);
    let all = ledger.into_inner();
    assert!(all.len() > before.len(), "the hub was under load");
    assert!(!text.contains("missing"), "{text}");
    let held = text.lines().next().unwrap().split('\t').nth(1).unwrap().to_owned();
    assert!(held.starts_with("3 users, 3 toys, "), "{text}");

    let other = restored(&world, &backups, &[]).await;
    for (index, pair) in pairs.iter().enumerate() {
        let unread = other.unread(&pair.parent).await[&pair.toy.id].as_u64().unwrap();
        let names = pair.receive(&other).await;
        assert_eq!(names.len() as u64, unread, "the count is that of the messages");
        let in_order: Vec<&String> = all.iter().filter(|(of, _)| *of == index).map(|(_, name)| name).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), in_order[..names.len()], "in order, without holes");
        assert!(names.len() >= before.iter().filter(|(of, _)| *of == index).count(), "what was accepted before");
        for name in &names {
            assert_eq!(bytes_of(&other, name).await, bytes_of(&world, name).await, "{name}");
        }
        let login = json!({"username": pair.parent.username, "password": "correct horse"});
        assert_eq!(other.ok("/login", login).await["data"]["_id"], pair.parent.id.as_str());
        let name = pair.send(&other, sound::tone(9000)).await;
        assert_eq!(pair.receive(&other).await, [name], "it goes on");
        let picture = format!("/get_qr/{}.jpg", pair.toy.device_key);
        let [one, two] = [&world, &other].map(|world| world.client().get(format!("{}{picture}", world.http())).send());
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        assert_eq!(one.status(), 200);
        assert_eq!(one.bytes().await.unwrap(), two.bytes().await.unwrap());
    }
    let (mut away, is_present) = guest(&other, "away", 0).await;
    assert!(is_present);
    for number in 1..=11u8 {
        let (byte1, body) = away.packet().await;
        assert_eq!(byte1 & !8, 0x32, "QoS 1, marked as a repeat or not");
        let payload = if number == 11 { &b"retained"[..] } else { &[number] };
        assert!(body.ends_with(payload), "{number}: {body:?}");
    }
    let (mut late, _) = guest(&other, "late", 2).await;
    late.send(&subscribe(V4, 1, &[("commands/kept", 0)])).await;
    assert_eq!(late.packet().await.0, 0x90);
    assert_eq!(late.packet().await.0, 0x31, "what was retained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_backup_copies_only_new_files_with_a_hub_and_without() {
    let mut world = World::start_with(&SETTINGS).await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap().to_owned();
    let one = pair(&world, "mia").await;
    for number in 0..5 {
        one.send(&world, sound::tone(number)).await;
    }
    let text = world.run(&["backup", &to]).await;
    assert!(printed(&text, "written", 0) >= 5, "{text}");
    let text = world.run(&["backup", &to]).await;
    assert_eq!(printed(&text, "written", 0), 0, "{text}");
    let newest = one.send(&world, sound::tone(7)).await;
    let text = world.run(&["backup", &to]).await;
    assert_eq!(printed(&text, "written", 0), 1, "{text}");
    assert_eq!(world.stop().await, Some(0));
    let text = world.run(&["backup", &to, "--keep", "2"]).await;
    assert_eq!(printed(&text, "written", 0), 0, "no hub runs, and nothing is new: {text}");
    let kept = snapshots(&backups);
    assert_eq!(kept.len(), 2);

    let other = restored(&world, &backups, &["--snapshot", &kept[0]]).await;
    assert_eq!(one.receive(&other).await.last(), Some(&newest));
    let mut names = vec![backups.clone()];
    while let Some(path) = names.pop() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if path.is_dir() {
            names.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_not_used() {
    let mut world = World::start_with(&SETTINGS).await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap().to_owned();
    let one = pair(&world, "mia").await;
    let name = one.send(&world, sound::beep()).await;
    add_songs(&world);
    let mut command = world.command(&["backup", &to]).spawn().unwrap();
    let unfinished = copying(&backups).await;
    world.kill().await;
    assert!(!within("the command", command.wait()).await.unwrap().success());
    assert!(unfinished.exists() && snapshots(&backups).is_empty());
    let data = world.folder().join("none");
    let refused = restore(&world, &data, &[&to]).await.unwrap_err();
    assert!(refused.contains("holds no backup"), "{refused}");

    world.start_hub().await;
    let text = world.run(&["backup", &to]).await;
    assert!(!unfinished.exists(), "{text}");
    assert!(printed(&text, "files", 0) >= 2_000, "{text}");
    let other = restored(&world, &backups, &[]).await;
    assert_eq!(one.receive(&other).await, [name]);
    assert_eq!(std::fs::read_to_string(other.data_dir().join("files/music/1999.mp3")).unwrap(), "song 1999");
}

/// Adds so many files that a backup can be ended while it copies them.
fn add_songs(world: &World) {
    let music = world.data_dir().join("files/music");
    std::fs::create_dir_all(&music).unwrap();
    for number in 0..2_000 {
        std::fs::write(music.join(format!("{number}.mp3")), format!("song {number}")).unwrap();
    }
}

/// The unfinished snapshot, once its files are being copied.
async fn copying(backups: &Path) -> PathBuf {
    let copying = || {
        let entries = std::fs::read_dir(backups).ok()?;
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.join("files.list").exists())
    };
    within("the files to be copied", async {
        loop {
            match copying() {
                Some(path) => break path,
                None => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_interrupted_is_not_used() {
    let mut world = World::start_with(&SETTINGS).await;
    let one = pair(&world, "mia").await;
    let name = one.send(&world, sound::beep()).await;
    add_songs(&world);
    // The hub makes the backup and is stopped, or the command makes it itself.
    for (signal, by_hub) in [("INT", true), ("INT", false), ("TERM", false), ("KILL", false)] {
        let backups = world.folder().join(format!("{signal}-{by_hub}"));
        let to = backups.to_str().unwrap().to_owned();
        if !by_hub && signal == "INT" {
            assert_eq!(world.stop().await, Some(0));
        }
        let mut command = world.command(&["backup", &to]);
        let command = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let unfinished = copying(&backups).await;
        if by_hub {
            world.signal(signal).await;
            assert_eq!(world.ended().await, Some(0));
        } else {
            let id = command.id().unwrap().to_string();
            assert!(tokio::process::Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
        }
        let output = within("the command", command.wait_with_output()).await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && snapshots(&backups).is_empty(), "{signal}: {text}");
        if signal == "INT" {
            // Behind the steps, one line has the cause.
            let lines = text.trim().lines().filter(|line| !line.starts_with("copying "));
            assert_eq!((output.status.code(), lines.count()), (Some(1), 1), "{text}");
        }
        let refused = restore(&world, &world.folder().join("none"), &[&to]).await.unwrap_err();
        assert!(refused.contains("holds no backup"), "{refused}");
        if by_hub {
            world.start_hub().await;
        }
        let text = world.run(&["backup", &to]).await;
        assert!(!unfinished.exists() && snapshots(&backups).len() == 1, "{signal}: {text}");
        assert!(printed(&text, "files", 0) >= 2_000, "{text}");
        if signal == "KILL" {
            let other = restored(&world, &backups, &[]).await;
            assert_eq!(one.receive(&other).await, [name.as_str()]);
            let song = std::fs::read_to_string(other.data_dir().join("files/music/1999.mp3")).unwrap();
            assert_eq!(song, "song 1999");
        }
    }
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_and_the_file_named() {
    let world = World::start_with(&SETTINGS).await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap().to_owned();
    let one = pair(&world, "mia").await;
    let names = [one.send(&world, sound::tone(1)).await, one.send(&world, sound::tone(2)).await];
    world.run(&["backup", &to]).await;
    let snapshot = backups.join(&snapshots(&backups)[0]);
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    for part in ["database.surql", "sessions.redb", "files.list", "chunks.list", "manifest.toml"] {
        let path = snapshot.join(part);
        let whole = std::fs::read(&path).unwrap();
        for is_missing in [false, true] {
            match is_missing {
                true => std::fs::remove_file(&path).unwrap(),
                // An empty list has no byte to change.
                false if whole.is_empty() => std::fs::write(&path, "x").unwrap(),
                false => flip(&path),
            }
            let refused = restore(&world, &data, &[&to]).await.unwrap_err();
            // A readable but wrong manifest is detected by another part, or by the database.
            assert!(refused.contains(part) || part == "manifest.toml", "{part}: {refused}");
            assert!(refused.contains("restore another snapshot with --snapshot"), "{part}: {refused}");
            let cause = refused.trim().lines().last().unwrap();
            assert!(cause.contains("restore another snapshot with --snapshot"), "{refused}");
            assert_eq!(std::fs::read_dir(&data).map_or(0, Iterator::count), 0, "{part}: nothing is put in place");
            std::fs::write(&path, &whole).unwrap();
        }
    }
    let list = std::fs::read_to_string(snapshot.join("files.list")).unwrap();
    let line = list.lines().find(|line| line.ends_with(&names[0])).unwrap();
    let pooled: PathBuf = backups.join("pool").join(&line[..2]).join(&line[..64]);
    flip(&pooled);
    let refused = restore(&world, &data, &[&to]).await.unwrap_err();
    assert!(refused.contains(&names[0]) && refused.contains("is damaged"), "{refused}");
    std::fs::remove_file(&pooled).unwrap();
    let refused = restore(&world, &data, &[&to]).await.unwrap_err();
    assert!(refused.contains(&names[0]) && refused.contains("is missing"), "{refused}");
    assert_eq!(std::fs::read_dir(&data).map_or(0, Iterator::count), 0);

    let nowhere = world.folder().join("nowhere");
    let refused = restore(&world, &data, &[nowhere.to_str().unwrap()]).await.unwrap_err();
    assert!(refused.contains("nowhere") && refused.contains("that was given to 'toyhub backup'"), "{refused}");

    let text = restore(&world, &data, &[&to, "--leave-out-damaged"]).await.unwrap();
    let hub = std::fs::read_to_string(backups.join(".hub")).unwrap();
    assert!(text.contains(&format!("of hub {hub}, begun on ")) && text.contains(" UTC\n"), "{text}");
    assert!(text.contains("left out") && text.contains(&names[0]), "{text}");
    let other = World::start_in(folder, &SETTINGS).await;
    bytes_of(&other, &names[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_backups_and_restores_are_refused_with_a_remedy() {
    let world = World::start().await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap().to_owned();
    world.run(&["backup", &to]).await;
    let refused = restore(&world, &world.data_dir(), &[&to]).await.unwrap_err();
    assert!(refused.contains("is not empty") && refused.contains("move it away"), "{refused}");
    let inside = world.data_dir().join("backups");
    let output = within("the command", world.command(&["backup", inside.to_str().unwrap()]).output()).await.unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && refused.contains("contain each other"), "{refused}");
    assert!(snapshots(&inside).is_empty());

    let memory = World::start_with(&[("TOYHUB_STORE__URL", "memory")]).await;
    let output = within("the command", memory.command(&["backup", &to]).output()).await.unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && refused.contains("store.url is \"memory\""), "{refused}");
    assert_eq!(snapshots(&backups).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_is_not_opened_as_a_new_hub() {
    let world = World::start().await;
    let backups = world.folder().join("backups");
    world.user("mia").await;
    world.run(&["backup", backups.to_str().unwrap()]).await;
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("restoring/db")).unwrap();
    let mut command = world.command(&["serve"]);
    let output = within("the program", command.env("TOYHUB_SERVER__DATA_DIR", &data).output()).await.unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && refused.contains("was interrupted"), "{refused}");
    restore(&world, &data, &[backups.to_str().unwrap()]).await.unwrap();
    let other = World::start_in(folder, &[]).await;
    other.ok("/login", json!({"username": "mia", "password": "correct horse"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_follow_the_schedule() {
    let folder = TempDir::new().unwrap();
    let backups = folder.path().join("backups");
    let settings = [("TOYHUB_BACKUP__DIR", "backups"), ("TOYHUB_BACKUP__KEEP", "1")];
    let world = World::start_in(folder, &settings).await;
    within("the first backup", async {
        while snapshots(&backups).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let output = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("ok       backups: backups/000001-"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_another_hub_are_not_deleted() {
    let (one, other) = (World::start_with(&SETTINGS).await, World::start_with(&SETTINGS).await);
    let to = one.folder().join("backups").to_str().unwrap().to_owned();
    one.run(&["backup", &to]).await;
    let refused = within("the backup", other.command(&["backup", &to, "--keep", "1"]).output()).await.unwrap();
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && line.contains("the backups of another hub"), "{line}");
    assert_eq!(line.trim().lines().count(), 1, "{line}");
    one.run(&["backup", &to]).await;
}
