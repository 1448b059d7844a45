//! The data folder as an operator may find it: parts missing, damaged, of another hub. The hub starts whole or not at all.

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

/// What the start says, where it must fail.
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
        let doctor = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
        assert!(!doctor.status.success() && String::from_utf8_lossy(&doctor.stderr).contains(part), "{part}");
        if path.exists() {
            remove(&path);
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    world.start_hub().await;
    assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_hub_is_refused() {
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
async fn a_lost_hub_file_is_made_again_with_the_same_identity() {
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
    assert!(line.contains("hub.toml") && line.contains("toyhub doctor --repair"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_named() {
    let mut world = used().await;
    world.start_hub().await;
    // A clean stop writes what is in memory as a table.
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
