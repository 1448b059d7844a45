//! A store on a server: users of each level, faults of the start, restarts of the server, the command line.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{StoreServer, hub, hubs};
use crate::engines::PASSWORD;
use crate::sound;
use crate::world::{User, World, within};

const DEFINED: &str = "DEFINE NAMESPACE IF NOT EXISTS toyhub; DEFINE DATABASE IF NOT EXISTS toyhub";

/// The program with a data folder of its own, and nothing of the environment of others.
pub(super) fn program(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toyhub"));
    command.args(arguments).current_dir(folder).env("TOYHUB_SERVER__DATA_DIR", folder.join("data"));
    for name in ["HTTP__LISTEN", "HTTP__LEGACY_LISTEN", "MQTT__LISTEN", "CONSOLE__LISTEN"] {
        command.env(format!("TOYHUB_{name}"), "127.0.0.1:0");
    }
    command.env("TOYHUB_DISCOVERY__MDNS", "false").env("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4");
    command.envs(settings.iter().copied()).kill_on_drop(true);
    command
}

/// The error of a hub that does not start, which it finds in bounded time.
pub(super) async fn refused(folder: &Path, settings: &[(&str, &str)]) -> String {
    let began = Instant::now();
    let output = within("the hub to refuse", program(folder, &["serve"], settings).output()).await.unwrap();
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{why}");
    assert!(began.elapsed() < Duration::from_secs(20), "after {:?}: {why}", began.elapsed());
    assert!(!why.contains(PASSWORD), "{why}");
    why
}

pub(super) async fn works(world: &World, name: &str) {
    let parent = world.user(name).await;
    let toy = world.toy(&parent, "bear").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let sent = world.upload("/toy_uploader", "reco", sound::tone(1), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    assert_eq!(world.unread(&parent).await["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_user_of_each_level_can_be_that_of_the_hub() {
    let store = StoreServer::start().await;
    store.sql(DEFINED).await;
    store.sql("DEFINE USER of_namespace ON NAMESPACE PASSWORD 'one' ROLES EDITOR").await;
    store.sql("DEFINE USER of_database ON DATABASE PASSWORD 'two' ROLES EDITOR").await;
    let url: &'static str = store.url().leak();
    for (level, username, password) in
        [("root", "root", PASSWORD), ("namespace", "of_namespace", "one"), ("database", "of_database", "two")]
    {
        let settings = [
            ("TOYHUB_STORE__URL", url),
            ("TOYHUB_STORE__USERNAME", username),
            ("TOYHUB_STORE__PASSWORD", password),
            ("TOYHUB_STORE__USER_LEVEL", level),
        ];
        let world = World::start_with(&settings).await;
        works(&world, &format!("mia-{level}")).await;
        let told = within("doctor", world.command(&["doctor"]).output()).await.unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains(&format!("ok       store: {url}: signed in after")), "{told}");
    }
}

/// The settings of a server.
fn server(url: &str, username: &str, password: &str, level: &str) -> Vec<(&'static str, String)> {
    let settings = [
        ("TOYHUB_STORE__URL", url),
        ("TOYHUB_STORE__USERNAME", username),
        ("TOYHUB_STORE__PASSWORD", password),
        ("TOYHUB_STORE__USER_LEVEL", level),
    ];
    settings.map(|(name, value)| (name, value.to_owned())).into()
}

/// Neither `serve` nor `doctor` accepts these settings, and both state `why`.
async fn assert_named(folder: &Path, wrong: &[(&'static str, String)], why: &str) {
    let settings: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let told = refused(folder, &settings).await;
    assert!(told.contains(why), "{wrong:?}: {told}");
    let told = within("doctor", program(folder, &["doctor"], &settings).output()).await.unwrap();
    assert!(!told.status.success());
    let (lines, error) = (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert!(lines.contains(why) || error.contains(why), "{wrong:?}: {lines}{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_its_server_does_not_start() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let other = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (url, why) in [
        (format!("ws://{closed}"), "no SurrealDB server can be reached there"),
        (other.http().replace("http://", "ws://"), "does not answer as a SurrealDB server"),
        (format!("ws://{}", silent.1), "the server has not answered in 4 s"),
        ("wss://127.0.0.1:1".to_owned(), "no SurrealDB server can be reached there"),
    ] {
        assert_named(folder.path(), &server(&url, "root", PASSWORD, "root"), why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_wrong_user_is_named_at_the_start() {
    let store = StoreServer::start().await;
    drop(hub(&store, &[]).await);
    let url = store.url();
    let folder = tempfile::tempdir().unwrap();
    for (username, password, level, why) in [
        ("root", "another", "root", "refuses the root user \"root\" or the password"),
        ("nobody", PASSWORD, "root", "refuses the root user \"nobody\" or the password"),
        ("root", PASSWORD, "namespace", "refuses user \"root\" of namespace \"toyhub\""),
        ("root", PASSWORD, "database", "of database \"toyhub\" in namespace \"toyhub\""),
    ] {
        assert_named(folder.path(), &server(&url, username, password, level), why).await;
    }
    store.pause().await;
    let told = refused(folder.path(), &store.settings()).await;
    assert!(told.contains("has not answered in 4 s"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_used_folder_does_not_take_an_empty_database_and_its_commands_find_the_server() {
    let store = StoreServer::start().await;
    let mut world = hub(&store, &[]).await;
    works(&world, "mia").await;
    let settings = store.settings();
    // A shell without the settings of the service: the hub that runs answers.
    let device = within("device", program(world.folder(), &["device", "add"], &[]).output()).await.unwrap();
    assert!(device.status.success(), "{}", String::from_utf8_lossy(&device.stderr));
    let doctor = within("doctor", program(world.folder(), &["doctor"], &[]).output()).await.unwrap();
    let lines = String::from_utf8(doctor.stdout).unwrap();
    assert!(lines.contains("1 users") || lines.contains("messages"), "{lines}");
    world.stop().await;

    for command in [&["serve"][..], &["device", "list"], &["doctor"]] {
        let told = within("a command", program(world.folder(), command, &[]).output()).await.unwrap();
        let why = String::from_utf8(told.stderr).unwrap();
        let expected = format!("the database of this hub is on the server {}; set store.url to it", store.url());
        assert!(!told.status.success() && why.contains(&expected), "{command:?}: {why}");
        assert!(!world.data_dir().join("db").exists(), "{command:?} has made another database");
    }
    let devices = within("devices", program(world.folder(), &["device", "list"], &settings).output()).await.unwrap();
    assert!(devices.status.success() && !devices.stdout.is_empty());
    for name in ["TOYHUB_STORE__NAMESPACE", "TOYHUB_STORE__DATABASE"] {
        let why = refused(world.folder(), &[&settings[..], &[(name, "other")]].concat()).await;
        assert!(why.contains("is new and empty, but") && why.contains("check store.url, store.namespace"), "{why}");
    }
    world.start_hub().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn hubs_that_start_first_at_the_same_time_are_one() {
    let store = StoreServer::start().await;
    let start = || hub(&store, &[]);
    let (mut a, mut b, mut c) = tokio::join!(start(), start(), start());
    works(&a, "mia").await;
    // Each still belongs to the database after a restart.
    for world in [&mut a, &mut b, &mut c] {
        world.stop().await;
        world.start_hub().await;
        assert_eq!(world.post("/login", json!({"username": "mia", "password": "correct horse"})).await.1["code"], 0);
    }
    let identity = store.sql("SELECT VALUE hub FROM ONLY meta:identity").await[0]["result"].clone();
    for world in [&a, &b, &c] {
        let known = std::fs::read_to_string(world.data_dir().join("hub.toml")).unwrap();
        assert!(known.contains(&format!("hub = {identity}")), "{identity}: {known}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn hubs_come_back_after_a_restart_of_their_store() {
    let mut store = StoreServer::start().await;
    let [a, b] = hubs(&store, &[("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4")]).await;
    works(&a, "mia").await;
    for is_killed in [false, true] {
        match is_killed {
            true => store.kill().await,
            false => store.stop().await,
        }
        for world in [&a, &b] {
            let health = world.wait_ready(false).await;
            let reason = health["parts"]["store"]["reason"].as_str().unwrap();
            assert!(reason.contains("the database server of store.url does not answer"), "{health}");
            assert_eq!(world.watch("/healthz").await.0, 200, "a restart of the hub would not help");
            let (status, answer) = world.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
            assert_eq!((status, &answer["code"]), (200, &json!(17)), "{answer}");
        }
        store.start_again().await;
        for world in [&a, &b] {
            world.wait_ready(true).await;
            let answer = world.ok("/login", json!({"username": "mia", "password": "correct horse"})).await;
            assert_eq!(answer["code"], 0);
        }
        works(&b, &format!("tom-{is_killed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn an_embedded_database_moves_to_a_server() {
    let store = StoreServer::start().await;
    let mut world = World::start().await;
    works(&world, "mia").await;
    world.run(&["backup", "backups"]).await;
    world.stop().await;
    let backups = world.folder().join("backups");
    let snapshots = std::fs::read_dir(backups).unwrap().map(|entry| entry.unwrap().path());
    let export = snapshots.map(|path| path.join("database.surql")).find(|path| path.exists()).unwrap();
    store.sql(DEFINED).await;
    store.import(std::fs::read(export).unwrap()).await;
    for (name, value) in store.settings() {
        world.set(name, value);
    }
    world.start_hub().await;
    let answer = world.ok("/login", json!({"username": "mia", "password": "correct horse"})).await;
    let parent = User {
        id: answer["data"]["_id"].as_str().unwrap().into(),
        username: "mia".into(),
        token: answer["data"]["token"].as_str().unwrap().into(),
    };
    assert_eq!(world.unread(&parent).await["count"], 1);
    works(&world, "tom").await;
}
