//! Data folders with parts that are missing, damaged or of another hub. The hub starts with all its data, or not at all.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::sound;
use crate::world::{World, within};

/// A hub that was killed, with a family and a message in its data folder.
async fn used() -> World {
    let mut world = World::start().await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await["code"], 0);
    world.kill().await;
    world
}

/// The error of a start that must fail.
async fn refusal(world: &World) -> String {
    let output = within("the program", world.command(&["serve"]).output()).await.unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it started: {message}");
    assert_eq!(message.lines().filter(|line| !line.contains("no speech model")).count(), 1, "{message}");
    message
}

fn remove(path: &Path) {
    if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_lacks_a_part_is_refused_by_name_and_opens_when_it_is_back() {
    let mut world = used().await;
    for part in ["db", "db/manifest", "db/wal", "sessions.redb", "files"] {
        let path: PathBuf = world.data_dir().join(part);
        let aside = world.folder().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        let line = refusal(&world).await;
        assert!(line.contains(part) && line.contains("toyhub restore"), "{part}: {line}");
        // The doctor repairs each fault for which the error refers to it.
        assert_eq!(line.contains("doctor --repair"), !part.starts_with("db"), "{part}: {line}");
        assert!(line.starts_with(world.data_dir().to_str().unwrap()), "{line}");
        let doctor = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
        assert!(String::from_utf8_lossy(&doctor.stderr).contains(part), "{part}");
        assert_eq!(doctor.status.code(), Some(5), "{part}");
        if path.exists() {
            remove(&path);
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    world.start_hub().await;
    assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_another_hub_are_refused() {
    let mut world = used().await;
    let mut other = used().await;
    for part in ["db", "sessions.redb"] {
        let (own, others) = (world.data_dir().join(part), other.data_dir().join(part));
        let aside = world.folder().join("aside");
        std::fs::rename(&own, &aside).unwrap();
        std::fs::rename(&others, &own).unwrap();
        let line = refusal(&world).await;
        assert!(line.contains(part) && line.contains("is that of hub") && line.contains("toyhub restore"), "{line}");
        std::fs::rename(&own, &others).unwrap();
        std::fs::rename(&aside, &own).unwrap();
    }
    world.start_hub().await;
    other.start_hub().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_database_is_refused() {
    let mut world = used().await;
    world.start_hub().await;
    assert_eq!(world.stop().await, Some(0));
    let (own, copy) = (world.data_dir().join("db"), world.folder().join("copy"));
    copy_folder(&own, &copy);
    world.start_hub().await;
    world.user("tom").await;
    assert_eq!(world.stop().await, Some(0));
    remove(&own);
    std::fs::rename(&copy, &own).unwrap();
    let line = refusal(&world).await;
    assert!(line.contains("is older than this data folder"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hub_file_is_created_again_with_the_same_identity() {
    let mut world = used().await;
    let file = world.data_dir().join("hub.toml");
    let identity = |text: String| text.lines().find(|line| line.starts_with("hub = ")).unwrap().to_owned();
    let before = identity(std::fs::read_to_string(&file).unwrap());
    remove(&file);
    world.start_hub().await;
    assert_eq!(identity(std::fs::read_to_string(&file).unwrap()), before);
    assert_eq!(world.stop().await, Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("users = 1\ntoys = 1\nmessages = 1"), "{text}");
    std::fs::write(&file, b"\xff\xfe").unwrap();
    let line = refusal(&world).await;
    assert!(line.starts_with(file.to_str().unwrap()) && line.contains("toyhub doctor --repair"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_named() {
    let mut world = used().await;
    world.start_hub().await;
    // A clean stop writes the data in memory as a table.
    assert_eq!(world.stop().await, Some(0));
    let tables = std::fs::read_dir(world.data_dir().join("db/sstables")).unwrap();
    let table = tables.map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = std::fs::read(&table).unwrap();
    let flipped = |at: usize| {
        let mut table = whole.clone();
        table[at] ^= 0x40;
        table
    };
    let flips = [whole.len() / 10, whole.len() / 3, whole.len() * 2 / 3].map(flipped);
    for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec()].into_iter().chain(flips) {
        std::fs::write(&table, damaged).unwrap();
        let line = refusal(&world).await;
        assert!(line.contains(table.file_name().unwrap().to_str().unwrap()), "{line}");
    }
    std::fs::write(&table, whole).unwrap();
    world.start_hub().await;
    world.ok("/content_list", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_killed_hub_left_unfinished_is_no_damage() {
    let mut world = used().await;
    world.start_hub().await;
    assert_eq!(world.stop().await, Some(0));
    let folder = world.data_dir().join("db/sstables");
    let table = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&table).unwrap();
    // The manifest does not name it: the table is written first, and its writes are still in the log.
    let unfinished = folder.join("00000000000000009999.sst");
    for bytes in [&[][..], &whole[..whole.len() / 2]] {
        std::fs::write(&unfinished, bytes).unwrap();
        world.start_hub().await;
        world.ok("/content_list", json!({})).await;
        assert_eq!(world.stop().await, Some(0));
        assert!(!unfinished.exists(), "the engine removes it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_its_hub_file_is_checked_as_any_other() {
    let mut world = used().await;
    remove(&world.data_dir().join("hub.toml"));
    for part in ["db", "sessions.redb", "files"] {
        let (path, aside) = (world.data_dir().join(part), world.folder().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let line = refusal(&world).await;
        assert!(line.contains(part) && line.contains("is missing"), "{part}: {line}");
        std::fs::rename(&aside, &path).unwrap();
    }
    world.start_hub().await;
    assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"));
}

/// What the doctor prints on both outputs, and its exit code.
async fn doctor(world: &World, arguments: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["doctor"], arguments].concat();
    let output = within("the doctor", world.command(&arguments).output()).await.unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (text, output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_repairs_each_part_for_which_the_start_refers_to_it() {
    let mut world = used().await;
    let data = world.data_dir();
    let (text, code) = doctor(&world, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let breaks: [(&str, &str, Option<&[u8]>, i32); 6] = [
        ("sessions: the missing file", "sessions.redb", None, 0),
        ("sessions: the damaged file", "sessions.redb", Some(b""), 0),
        ("hub.toml", "hub.toml", Some(b""), 0),
        ("hub.toml", "hub.toml", Some(b"\xff\xfe"), 0),
        // A start alone repairs it: the file is created again.
        ("", "hub.toml", None, 0),
        // The sound of the message is lost.
        ("files: the missing folder", "files", None, 6),
    ];
    for (mended, part, content, expected) in breaks {
        match content {
            Some(content) => std::fs::write(data.join(part), content).unwrap(),
            None => remove(&data.join(part)),
        }
        let (text, code) = doctor(&world, &["--repair"]).await;
        assert!(text.contains(&format!("mended   {mended}")) || mended.is_empty(), "{text}");
        assert_eq!(code, Some(expected), "{mended}: {text}");
        assert!(text.contains("1 chats, 1 messages"), "{text}");
        world.start_hub().await;
        assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"));
        world.kill().await;
    }
    // A database cannot be replaced.
    remove(&data.join("db"));
    remove(&data.join("sessions.redb"));
    let (text, code) = doctor(&world, &["--repair"]).await;
    assert!(code == Some(5) && text.contains("toyhub restore") && !text.contains("mended"), "{text}");
    assert!(!data.join("sessions.redb").exists(), "the folder is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_whose_messages_a_cut_log_has_lost_are_reported_at_once_and_never_deleted() {
    let mut world = World::start().await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    let send = async |number| {
        let sent = world.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
    };
    send(1).await;
    let log = || {
        let entries = std::fs::read_dir(world.data_dir().join("db/wal")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.pop().unwrap()
    };
    let (segment, whole_records) = (log(), std::fs::metadata(log()).unwrap().len());
    send(2).await;
    send(3).await;
    assert_eq!(log(), segment, "one segment has all of it");
    world.kill().await;
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    assert!(file.metadata().unwrap().len() > whole_records);
    file.set_len(whole_records).unwrap();

    let recordings = |folder: &str| {
        let entries = std::fs::read_dir(world.data_dir().join("files").join(folder)).into_iter().flatten();
        entries.filter(|entry| !entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("say-")).count()
    };
    let (text, code) = doctor(&world, &[]).await;
    assert!(text.contains("WRONG    data: 2 recordings have no message: the log may have lost its end"), "{text}");
    assert!(text.contains("1 chats, 1 messages, 3 recordings"), "{text}");
    assert_eq!((code, recordings("chat"), recordings("lost")), (Some(5), 3, 0), "{text}");
    let (text, code) = doctor(&world, &["--repair"]).await;
    assert!(text.contains("mended   data: 2 recordings had no message"), "{text}");
    assert_eq!((code, recordings("chat"), recordings("lost")), (Some(0), 1, 2), "{text}");
    let (text, code) = doctor(&world, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    world.start_hub().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hub_is_refused_and_leaves_the_folder_unchanged() {
    let mut world = used().await;
    world.start_hub().await;
    let file = world.data_dir().join("hub.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(before.contains("state = \"running\""), "{before}");
    let line = refusal(&world).await;
    assert!(line.contains("another toyhub runs on this data folder"), "{line}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "a kill of the first hub has to be noticed as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_named_without_advice_for_programmers() {
    let world = used().await;
    let log = std::fs::read_dir(world.data_dir().join("db/wal")).unwrap();
    let log = log.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&log, bytes).unwrap();
    let line = refusal(&world).await;
    assert!(line.starts_with(log.to_str().unwrap()) && line.contains("toyhub restore"), "{line}");
    assert!(!line.contains("SalvageValidPrefix") && !line.contains("doctor"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_hub_are_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = used().await;
    world.start_hub().await;
    world.run(&["device", "add", "--out", world.folder().join("qr").to_str().unwrap()]).await;
    assert_eq!(world.stop().await, Some(0));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    for path in [world.data_dir(), world.data_dir().join("sessions.redb"), world.data_dir().join("hub.toml")] {
        assert_eq!(mode(&path) & 0o077, 0, "{}: {:o}", path.display(), mode(&path));
    }
    let (mut folders, mut checked) = (vec![world.data_dir(), world.folder().join("qr")], 0);
    while let Some(path) = folders.pop() {
        assert_eq!(mode(&path) & 0o077, 0, "{}: {:o}", path.display(), mode(&path));
        checked += 1;
        if path.is_dir() {
            folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(checked > 20, "{checked}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
