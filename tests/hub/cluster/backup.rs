//! Backups and restores between an embedded database, a database on a server, a folder and a bucket.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{StoreServer, hub, hubs};
use crate::engines::PASSWORD;
use crate::s3::S3;
use crate::sound;
use crate::world::{Toy, User, World, within};

type Settings = Vec<(&'static str, &'static str)>;

/// A parent and its toy, with the names and the bytes of the sounds that the parent has not heard.
struct Family {
    parent: User,
    toy: Toy,
    sounds: Vec<(String, Vec<u8>)>,
}

async fn family(world: &World, name: &str) -> Family {
    let parent = world.user(name).await;
    let toy = world.toy(&parent, "bear").await;
    Family { parent, toy, sounds: Vec::new() }
}

impl Family {
    async fn send(&mut self, world: &World, number: u32) {
        let fields = [("user_id", self.toy.id.as_str()), ("to_user", self.parent.id.as_str()), ("friend_type", "app")];
        let sent = world.upload("/toy_uploader", "reco", sound::tone(number), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        let name = sent["data"]["filename"].as_str().unwrap().to_owned();
        let (status, bytes) = sound_of(world, &name).await;
        assert_eq!(status, 200);
        self.sounds.push((name, bytes));
    }

    /// All is at this hub, too.
    async fn assert_at(&self, world: &World) {
        let parent = world.login(&self.parent).await;
        assert_eq!(world.unread(&parent).await["count"], self.sounds.len());
        let friends = world.post_as(&parent, "/friend_list", json!({"_id": parent.id})).await;
        assert_eq!(friends["data"][0]["friend_id"], self.toy.id.as_str(), "{friends}");
        for (name, bytes) in &self.sounds {
            let (status, found) = sound_of(world, name).await;
            assert!(status == 200 && found == *bytes, "{name}: {status}");
        }
    }
}

async fn sound_of(world: &World, name: &str) -> (u16, Vec<u8>) {
    let asked = world.client().get(format!("{}/get_chat/{name}", world.http())).send();
    let answer = within(name, asked).await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// The program in a folder, with these settings.
fn command(folder: &Path, arguments: &[&str], settings: &Settings) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toyhub"));
    command.args(arguments).current_dir(folder).env("TOYHUB_SERVER__DATA_DIR", folder.join("data"));
    for name in ["HTTP__LISTEN", "HTTP__LEGACY_LISTEN", "MQTT__LISTEN", "CONSOLE__LISTEN"] {
        command.env(format!("TOYHUB_{name}"), "127.0.0.1:0");
    }
    command.env("TOYHUB_DISCOVERY__MDNS", "false").envs(settings.iter().copied()).kill_on_drop(true);
    command
}

async fn program(folder: &Path, arguments: &[&str], settings: &Settings) -> Result<String, String> {
    let output = within("the program", command(folder, arguments, settings).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A hub on what was restored to a new folder with these settings.
async fn restored(backups: &Path, settings: &Settings) -> World {
    let folder = TempDir::new().unwrap();
    program(folder.path(), &["restore", backups.to_str().unwrap()], settings).await.unwrap();
    World::start_in(folder, settings).await
}

/// The database of a server with this name.
fn database(store: &StoreServer, name: &'static str) -> Settings {
    [store.settings(), vec![("TOYHUB_STORE__DATABASE", name)]].concat()
}

/// The bucket with this prefix.
fn bucket(s3: &S3, url: &'static str) -> Settings {
    [s3.settings(), vec![("TOYHUB_FILES__URL", url)]].concat()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_backup_moves_a_hub_between_all_kinds_of_places() {
    let (store, s3) = (StoreServer::start().await, S3::start().await);
    let mut world = World::start().await;
    let mut mia = family(&world, "mia").await;
    let places = [
        ("folder to server and bucket", [database(&store, "one"), bucket(&s3, "s3://sounds/one")].concat()),
        ("server and bucket to bucket", bucket(&s3, "s3://sounds/two")),
        ("bucket to server", database(&store, "two")),
        ("server to server and bucket", [database(&store, "three"), bucket(&s3, "s3://sounds/three")].concat()),
        ("server and bucket to folder", Vec::new()),
    ];
    for (number, (what, settings)) in places.into_iter().enumerate() {
        mia.send(&world, number as u32 + 1).await;
        let backups = TempDir::new().unwrap();
        let text = world.run(&["backup", backups.path().to_str().unwrap()]).await;
        let told = format!("\t1 users, 1 toys, {} messages\n", number + 1);
        assert!(text.contains(&told) && !text.contains("missing"), "{what}: {text}");
        world.stop().await;
        let other = restored(backups.path(), &settings).await;
        mia.assert_at(&other).await;
        let report = other.run(&["doctor"]).await;
        assert!(!report.contains("fault"), "{what}: {report}");
        world = other;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_user_of_each_level_makes_a_backup_and_restores_it() {
    let store = StoreServer::start().await;
    store.sql("DEFINE NAMESPACE IF NOT EXISTS toyhub; DEFINE DATABASE IF NOT EXISTS toyhub").await;
    store.sql("DEFINE DATABASE of_root; DEFINE DATABASE of_namespace; DEFINE DATABASE of_database").await;
    store.sql("DEFINE USER of_namespace ON NAMESPACE PASSWORD 'one' ROLES EDITOR").await;
    store.sql("DEFINE USER of_database ON DATABASE PASSWORD 'two' ROLES EDITOR").await;
    store.sql("USE DB of_database; DEFINE USER of_database ON DATABASE PASSWORD 'two' ROLES EDITOR").await;
    let url: &'static str = store.url().leak();
    let user = |level, username, password| -> Settings {
        vec![
            ("TOYHUB_STORE__URL", url),
            ("TOYHUB_STORE__USERNAME", username),
            ("TOYHUB_STORE__PASSWORD", password),
            ("TOYHUB_STORE__USER_LEVEL", level),
        ]
    };
    let mut mia = None;
    for (level, username, password, other) in [
        ("root", "root", PASSWORD, "of_root"),
        ("namespace", "of_namespace", "one", "of_namespace"),
        ("database", "of_database", "two", "of_database"),
    ] {
        let settings = user(level, username, password);
        let world = World::start_with(&settings).await;
        if mia.is_none() {
            mia = Some(family(&world, "mia").await);
        }
        let backups = TempDir::new().unwrap();
        let text = world.run(&["backup", backups.path().to_str().unwrap()]).await;
        assert!(text.contains("\t1 users, 1 toys, 0 messages\n"), "{level}: {text}");
        let export = snapshot(backups.path()).join("database.surql");
        let export = std::fs::read_to_string(export).unwrap();
        assert!(!export.contains("DEFINE USER"), "the users of a server stay there");
        let other = restored(backups.path(), &[settings, vec![("TOYHUB_STORE__DATABASE", other)]].concat()).await;
        mia.as_ref().unwrap().assert_at(&other).await;
    }
}

/// The tables of the hubs' database.
async fn tables(store: &StoreServer) -> Vec<String> {
    store.sql("DEFINE NAMESPACE IF NOT EXISTS toyhub; DEFINE DATABASE IF NOT EXISTS toyhub").await;
    let found = store.sql("RETURN object::keys((INFO FOR DB).tables)").await;
    found[0]["result"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// The mark of a restore in the hubs' database.
async fn token(store: &StoreServer) -> Value {
    match tables(store).await.contains(&"restore".to_owned()) {
        true => store.sql("SELECT VALUE token FROM restore").await[0]["result"].clone(),
        false => Value::Null,
    }
}

/// The program that restores, once it fills the database.
async fn restoring(folder: &TempDir, from: &str, settings: &Settings, store: &StoreServer) -> Child {
    let earlier = token(store).await;
    let mut command = command(folder.path(), &["restore", from], settings);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    within("the database to be filled", async {
        while token(store).await == earlier || tables(store).await.len() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    command
}

/// The only snapshot in a folder.
fn snapshot(backups: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(backups).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.join("manifest.toml").exists()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_restore_is_complete_or_not_at_all() {
    let (mut store, s3) = (StoreServer::start().await, S3::start().await);
    let mut world = World::start().await;
    let mut mia = family(&world, "mia").await;
    mia.send(&world, 1).await;
    let backups = TempDir::new().unwrap();
    let from = backups.path().to_str().unwrap();
    world.run(&["backup", from]).await;
    world.stop().await;

    let folder = TempDir::new().unwrap();
    let settings = [store.settings(), s3.settings()].concat();
    // A damaged file: nothing is left in any place.
    let list = std::fs::read_to_string(snapshot(backups.path()).join("files.list")).unwrap();
    let line = list.lines().find(|line| line.ends_with(&mia.sounds[0].0)).unwrap();
    let pooled = backups.path().join("pool").join(&line[..2]).join(&line[..64]);
    let whole = std::fs::read(&pooled).unwrap();
    std::fs::write(&pooled, "other bytes").unwrap();
    let why = program(folder.path(), &["restore", from], &settings).await.unwrap_err();
    assert!(why.contains(&mia.sounds[0].0) && why.contains("is damaged") && !why.contains("remain"), "{why}");
    assert_eq!(tables(&store).await, [""; 0]);
    assert_eq!(s3.list("").await, [""; 0]);
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 0);
    std::fs::write(&pooled, whole).unwrap();

    // It is killed while the database is filled.
    let mut command = restoring(&folder, from, &settings, &store).await;
    command.kill().await.unwrap();
    for start in [&settings, &store.settings()] {
        let other = TempDir::new().unwrap();
        let why = program(other.path(), &["serve"], start).await.unwrap_err();
        assert!(why.contains("a restore into this database was interrupted"), "{why}");
    }
    // The hub does not start on its folder either, and leaves it as it is for the next restore.
    assert!(program(folder.path(), &["serve"], &settings).await.unwrap_err().contains("a restore"));
    // The server is lost in the middle of the next one.
    let mut command = restoring(&folder, from, &settings, &store).await;
    store.kill().await;
    let ended = within("the restore", command.wait()).await.unwrap();
    assert!(!ended.success());
    store.start_again().await;
    program(folder.path(), &["restore", from], &settings).await.unwrap();
    let why = program(TempDir::new().unwrap().path(), &["restore", from], &settings).await.unwrap_err();
    assert!(why.contains("is not empty") && why.contains("nothing in it is overwritten"), "{why}");
    let other = World::start_in(folder, &settings).await;
    mia.assert_at(&other).await;
    mia.assert_at(&hub(&store, &s3.settings()).await).await;
    let prefix = "one hub/restoring".to_owned();
    assert!(!s3.list("").await.contains(&prefix));
}

/// The snapshots in a folder.
fn snapshots(backups: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(backups) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("0000")).collect();
    names.sort();
    names
}

/// Erases a message of the family for both, through this hub.
async fn erase(world: &World, family: &mut Family, number: usize) -> String {
    let (name, _) = family.sounds.remove(number);
    let parent = world.login(&family.parent).await;
    let friends = world.post_as(&parent, "/friend_list", json!({"_id": parent.id})).await;
    let chat = friends["data"][0]["friend_chat"].as_str().unwrap();
    let asked = json!({"chat_id": chat, "to_user": parent.id, "from_user": family.toy.id, "limit": 50});
    let list = world.post_as(&parent, "/chat_list", asked).await;
    let found = list["data"].as_array().unwrap().iter().find(|message| message["message"] == name.as_str());
    let id = found.unwrap_or_else(|| panic!("{list}"))["_id"].clone();
    let erased =
        world.post_as(&parent, "/erase_message", json!({"_id": parent.id, "message": id, "for": "both"})).await;
    assert_eq!(erased["code"], 0, "{erased}");
    world.run(&["erase", "--finish"]).await;
    assert_eq!(sound_of(world, &name).await.0, 404);
    name
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn erased_data_stays_erased_when_an_older_backup_is_restored_to_a_server() {
    let (store, s3) = (StoreServer::start().await, S3::start().await);
    let mut world = World::start().await;
    let mut mia = family(&world, "mia").await;
    for number in 1..4 {
        mia.send(&world, number).await;
    }
    let backups = TempDir::new().unwrap();
    let from = backups.path().to_str().unwrap();
    world.run(&["backup", from]).await;
    let mut erased = vec![erase(&world, &mut mia, 0).await];
    world.run(&["backup", from]).await;
    world.stop().await;

    let settings = [store.settings(), s3.settings()].concat();
    let (folder, oldest) = (TempDir::new().unwrap(), snapshots(backups.path())[0].clone());
    program(folder.path(), &["restore", from, "--snapshot", &oldest], &settings).await.unwrap();
    let why = program(TempDir::new().unwrap().path(), &["serve"], &settings).await.unwrap_err();
    assert!(why.contains("first start the hub on the data folder of that restore"), "{why}");
    let a = World::start_in(folder, &settings).await;
    let b = hub(&store, &s3.settings()).await;
    for world in [&a, &b] {
        assert_eq!(sound_of(world, &erased[0]).await.0, 404);
        for (name, bytes) in &mia.sounds {
            assert!(sound_of(world, name).await == (200, bytes.clone()), "{name}");
        }
    }

    // The erasures of one hub are in the backups of the other, also those from before.
    a.run(&["backup", from]).await;
    erased.push(erase(&b, &mut mia, 0).await);
    a.run(&["backup", from]).await;
    let alone = TempDir::new().unwrap();
    let to = alone.path().join("data");
    let oldest = snapshots(backups.path())[2].clone();
    program(alone.path(), &["restore", from, "--snapshot", &oldest], &Settings::new()).await.unwrap();
    assert!(to.join("erased.list").exists());
    let other = World::start_in(alone, &[]).await;
    for name in &erased {
        assert_eq!(sound_of(&other, name).await.0, 404, "{name}");
    }
    let (name, bytes) = &mia.sounds[0];
    assert!(sound_of(&other, name).await == (200, bytes.clone()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn two_hubs_back_up_to_one_folder() {
    let (store, s3) = (StoreServer::start().await, S3::start().await);
    let backups = TempDir::new().unwrap();
    let to = backups.path().join("all");
    let dir: &'static str = to.to_str().unwrap().to_owned().leak();
    let settings = [s3.settings(), vec![("TOYHUB_BACKUP__DIR", dir), ("TOYHUB_SERVER__LOG", "info")]].concat();
    let [a, b] = hubs(&store, &settings).await;
    within("the backup of one of them", async {
        while snapshots(&to).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for world in [&a, &b] {
        let report = world.run(&["doctor"]).await;
        assert!(report.contains("ok       backups: ") && report.contains("000001-"), "{report}");
        let log = std::fs::read_to_string(world.log()).unwrap();
        assert!(!log.contains("no backup made"), "{log}");
    }
    assert_eq!(snapshots(&to).len(), 1, "the other one has found that none is due");

    // By command, at the same time and one after the other.
    let mut mia = family(&a, "mia").await;
    mia.send(&a, 1).await;
    mia.send(&b, 2).await;
    let (one, two) = tokio::join!(a.command(&["backup", dir]).output(), b.command(&["backup", dir]).output());
    let mut made = 1;
    for output in [one.unwrap(), two.unwrap()] {
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() || why.contains("is in use by another backup"), "{why}");
        made += usize::from(output.status.success());
    }
    assert!(made > 1 && snapshots(&to).len() == made, "{:?}", snapshots(&to));
    for world in [&a, &b] {
        let text = world.run(&["backup", dir]).await;
        assert!(text.contains("\nwritten\t0 new files;"), "{text}");
    }
    let other = restored(&to, &Settings::new()).await;
    mia.assert_at(&other).await;
}
