//! Sounds and pictures in a bucket: a real S3 server (moto) behind a door that tests can close.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::engines::S3Server;
use crate::sound;
use crate::world::{Toy, User, World, within};

pub const OPEN: u8 = 0;
/// Each request is answered with 503.
pub const UNAVAILABLE: u8 = 1;
/// No request is answered.
pub const SILENT: u8 = 2;

/// A server with the bucket `sounds`.
pub struct S3 {
    _server: S3Server,
    /// The address of the door before it.
    address: SocketAddr,
    door: Arc<AtomicU8>,
    key: (String, String),
}

impl S3 {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(arguments: &[&str]) -> Self {
        let server = S3Server::start(arguments).await;
        let behind: SocketAddr = server.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let door = Arc::new(AtomicU8::new(OPEN));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(doorkeeper(listener, behind, Arc::clone(&door)));
        Self { address, door, key: server.key.clone(), _server: server }
    }

    pub fn set(&self, door: u8) {
        self.door.store(door, Ordering::SeqCst);
    }

    /// The names of all objects below a prefix.
    pub async fn list(&self, prefix: &str) -> Vec<String> {
        let prefix = prefix.replace(' ', "%20");
        let asked = reqwest::Client::new().get(format!("http://{}/sounds?list-type=2&prefix={prefix}", self.address));
        let text = within("the list", asked.send()).await.unwrap().text().await.unwrap();
        assert!(text.contains("<IsTruncated>false"), "{text}");
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// The settings of a hub whose sounds are in it.
    pub fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let leaked = |text: String| -> &'static str { text.leak() };
        vec![
            ("TOYHUB_FILES__URL", "s3://sounds/one hub"),
            ("TOYHUB_FILES__ENDPOINT", leaked(format!("http://{}", self.address))),
            ("TOYHUB_FILES__ALLOW_HTTP", "true"),
            ("TOYHUB_FILES__ACCESS_KEY_ID", leaked(self.key.0.clone())),
            ("TOYHUB_FILES__SECRET_ACCESS_KEY", leaked(self.key.1.clone())),
            ("TOYHUB_FILES__TIMEOUT_S", "2"),
            ("TOYHUB_FILES__RETRY_S", "1"),
            // A download is several requests.
            ("TOYHUB_FILES__PIECE_BYTES", "100"),
            ("TOYHUB_FILES__SWEEP_INTERVAL_S", "1"),
            ("TOYHUB_SERVER__CHECK_TIMEOUT_S", "3"),
        ]
    }
}

/// Passes connections on while the door is open. One request of a closed door ends its connection.
async fn doorkeeper(listener: TcpListener, behind: SocketAddr, door: Arc<AtomicU8>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let mut server = TcpStream::connect(behind).await.unwrap();
            let (mut request, mut answer) = (vec![0; 65536], vec![0; 65536]);
            loop {
                tokio::select! {
                    read = client.read(&mut request) => {
                        let Ok(bytes @ 1..) = read else { return };
                        match door.load(Ordering::SeqCst) {
                            UNAVAILABLE => {
                                let text = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                                let _ = client.write_all(text.as_bytes()).await;
                                // The rest of the request is read, so that the answer is not cut off.
                                let _ = client.shutdown().await;
                                while client.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {}
                                return;
                            }
                            SILENT => continue,
                            _ => if server.write_all(&request[..bytes]).await.is_err() { return },
                        }
                    }
                    read = server.read(&mut answer) => {
                        let Ok(bytes @ 1..) = read else { return };
                        if client.write_all(&answer[..bytes]).await.is_err() { return }
                    }
                }
            }
        });
    }
}

async fn pair(world: &World) -> (User, Toy) {
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "bear").await;
    (parent, toy)
}

async fn send(world: &World, (parent, toy): &(User, Toy), sound: Vec<u8>) -> Value {
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    world.upload("/toy_uploader", "reco", sound, &fields).await
}

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>, Option<String>) {
    let mut request = world.client().get(format!("{}{path}", world.http()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = within(path, request.send()).await.unwrap();
    let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec(), etag)
}

/// The error of a hub that does not start.
async fn refused(world: &World, more: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = world.command(&["serve"]);
    command.env("TOYHUB_SERVER__DATA_DIR", folder.path().join("data")).envs(more.iter().copied());
    let output = within("the hub to refuse", command.output()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_does_what_the_folder_does() {
    let s3 = S3::start().await;
    let mut world = World::start_with(&s3.settings()).await;
    let family = pair(&world).await;
    let sent = send(&world, &family, sound::tone(1)).await;
    assert_eq!(sent["code"], 0, "{sent}");
    assert!(!world.data_dir().join("files").exists(), "nothing is in the folder");
    assert_eq!(world.wait_ready(true).await["parts"]["files"]["state"], "ok");

    let path = format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap());
    let (status, whole, etag) = get(&world, &path, &[]).await;
    assert!(status == 200 && whole.len() > 300, "{status}, {} bytes", whole.len());
    let (status, part, _) = get(&world, &path, &[("range", "bytes=90-209")]).await;
    assert_eq!((status, part.as_slice()), (206, &whole[90..210]), "by three requests");
    let (status, end, _) = get(&world, &path, &[("range", "bytes=-5")]).await;
    assert_eq!((status, end.as_slice()), (206, &whole[whole.len() - 5..]));
    assert_eq!(get(&world, &path, &[("range", "bytes=99999999-")]).await.0, 416);
    assert_eq!(get(&world, &path, &[("if-none-match", &etag.unwrap())]).await.0, 304);

    // After a restart it is the same bucket, and the sweeps of it find nothing to delete.
    world.stop().await;
    world.start_hub().await;
    assert_eq!(get(&world, &path, &[]).await, (200, whole.clone(), get(&world, &path, &[]).await.2));

    let out = world.folder().join("pictures");
    world.run(&["device", "add", "--out", out.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 2, "its picture in two formats");
    let told = world.command(&["doctor"]).output().await.unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("ok       files: s3://sounds/one hub: written in"), "{told}");

    // Another hub does not take this bucket, nor does this hub take an empty one.
    let why = refused(&world, &[]).await;
    assert!(why.contains("files.url: s3://sounds/one hub: the bucket is that of hub"), "{why}");
    world.stop().await;
    let data = world.data_dir();
    let other = [("TOYHUB_FILES__URL", "s3://sounds/other"), ("TOYHUB_SERVER__DATA_DIR", data.to_str().unwrap())];
    let why = refused(&world, &other).await;
    assert!(why.contains("the bucket has no recordings, and the database has 1 messages"), "{why}");
    world.start_hub().await;

    let (parent, toy) = &family;
    let erased = json!({"user_id": parent.id, "toy_id": toy.id, "password": "correct horse"});
    assert_eq!(world.post_as(parent, "/erase_toy", erased.clone()).await["code"], 0, "{erased}");
    within("the recording to be deleted", async {
        while get(&world, &path, &[]).await.0 != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_bucket_refuses_is_answered_and_can_be_repeated() {
    let s3 = S3::start().await;
    let mut settings = s3.settings();
    settings.push(("TOYHUB_SERVER__LOG", "error"));
    let world = World::start_with(&settings).await;
    let family = pair(&world).await;
    assert_eq!(send(&world, &family, sound::tone(1)).await["code"], 0);
    for (door, reason) in [(UNAVAILABLE, "not available"), (SILENT, "does not answer in time")] {
        s3.set(door);
        let sent = send(&world, &family, sound::tone(u32::from(door) + 1)).await;
        assert_eq!(sent["code"], 17, "{sent}");
        let health = world.wait_ready(false).await;
        let told = health["parts"]["files"]["reason"].as_str().unwrap().to_owned();
        assert!(told.contains(reason), "{told}");
        assert_eq!(world.watch("/readyz").await.0, 503);
        s3.set(OPEN);
        world.wait_ready(true).await;
        let sent = send(&world, &family, sound::tone(u32::from(door) + 1)).await;
        assert_eq!(sent["code"], 0, "{sent}");
    }
    let (parent, toy) = &family;
    let asked = json!({"from_user": toy.id, "to_user": parent.id});
    let unheard = world.post_as(parent, "/recv_msg", asked).await;
    assert_eq!(unheard.as_array().unwrap().len(), 3, "none is lost, none twice: {unheard}");
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("a part is not ready") && !log.contains(&s3.key.1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_a_bucket_are_named_at_the_start() {
    let s3 = S3::start_with(&["signed"]).await;
    let folder = tempfile::tempdir().unwrap();
    let world = World::start_in(folder, &[]).await;
    let settings = s3.settings();
    let with = |more: &[(&'static str, &'static str)]| [&settings[..], more].concat();
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed: &'static str = format!("http://{}", nowhere.local_addr().unwrap()).leak();
    drop(nowhere);
    for (wrong, why) in [
        (("TOYHUB_FILES__SECRET_ACCESS_KEY", "another"), "refuses the credentials"),
        (("TOYHUB_FILES__ACCESS_KEY_ID", "AKIANOBODY"), "refuses the credentials"),
        (("TOYHUB_FILES__URL", "s3://nothing"), "the bucket of files.url does not exist"),
        (("TOYHUB_FILES__ENDPOINT", closed), "cannot be reached"),
        (("TOYHUB_FILES__URL", "s3://"), "files.url is unknown"),
        (("TOYHUB_FILES__ALLOW_HTTP", "false"), "files.endpoint is not encrypted"),
        (("TOYHUB_FILES__ACCESS_KEY_ID", ""), "only one of files.access_key_id and files.secret_access_key"),
        (("TOYHUB_FILES__CERTIFICATES", "/dev/null"), "files.certificates: /dev/null: there is no certificate"),
    ] {
        let told = refused(&world, &with(&[wrong])).await;
        assert!(told.contains(why) && !told.contains(&s3.key.1), "{wrong:?}: {told}");
    }
    s3.set(SILENT);
    let told = refused(&world, &settings).await;
    assert!(told.contains("does not answer in time"), "{told}");
}

/// Runs the program with a data folder of its own and these settings in addition.
async fn run_in(world: &World, data: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Result<String, String> {
    let mut command = world.command(arguments);
    command.env("TOYHUB_SERVER__DATA_DIR", data).envs(more.iter().copied());
    let output = within("the program", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The number of new files that `toyhub backup` has written.
fn written(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("written\t")).unwrap_or_else(|| panic!("{text}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

/// A family with messages, in a bucket: the paths and the bytes of their sounds.
async fn with_sounds(world: &World) -> Vec<(String, Vec<u8>)> {
    let family = pair(world).await;
    let mut sounds = Vec::new();
    for number in 0..6 {
        let sent = send(world, &family, sound::tone(number)).await;
        let path = format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap());
        let (_, bytes, _) = get(world, &path, &[]).await;
        sounds.push((path, bytes));
    }
    sounds
}

async fn assert_has(world: &World, sounds: &[(String, Vec<u8>)]) {
    for (path, bytes) in sounds {
        let (status, found, _) = get(world, path, &[]).await;
        assert!(status == 200 && found == *bytes, "{path}: {status}");
    }
    world.ok("/login", json!({"username": "mia", "password": "correct horse"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_bucket_is_restored_to_a_folder_and_to_another_bucket() {
    let s3 = S3::start().await;
    let mut world = World::start_with(&s3.settings()).await;
    let sounds = with_sounds(&world).await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap();
    let text = world.run(&["backup", to]).await;
    assert!(written(&text) >= 6 && !text.contains("missing"), "{text}");
    let text = world.run(&["backup", to]).await;
    assert_eq!(written(&text), 0, "{text}");
    let again = world.user("tom").await;
    let toy = world.toy(&again, "bear").await;
    assert_eq!(send(&world, &(again, toy), sound::tone(50)).await["code"], 0);
    world.stop().await;
    let text = world.run(&["backup", to]).await;
    assert!((1..=4).contains(&written(&text)), "only the new ones, without a hub: {text}");
    assert!(!backups.join("pool").join("unfinished").exists());

    // To a folder, with the settings of a folder only.
    let folder = tempfile::tempdir().unwrap();
    run_in(&world, &folder.path().join("data"), &["restore", to], &[("TOYHUB_FILES__URL", "folder")]).await.unwrap();
    let other = World::start_in(folder, &[]).await;
    assert_has(&other, &sounds).await;

    // To another bucket, which is marked as that of the hub.
    let folder = tempfile::tempdir().unwrap();
    let there = ("TOYHUB_FILES__URL", "s3://sounds/another");
    run_in(&world, &folder.path().join("data"), &["restore", to], &[there]).await.unwrap();
    assert!(!folder.path().join("data/files").exists());
    let other = World::start_in(folder, &[&s3.settings()[..], &[there]].concat()).await;
    assert_has(&other, &sounds).await;
    let of = |prefix: &str, all: &[String]| {
        let mut names: Vec<String> = all.iter().filter_map(|key| key.strip_prefix(prefix).map(str::to_owned)).collect();
        names.retain(|name| !name.starts_with("probe/"));
        names.sort();
        names
    };
    let (one, two) = (s3.list("one hub/").await, s3.list("another/").await);
    assert_eq!(of("one hub/", &one), of("another/", &two), "the same objects");

    // Nothing is overwritten.
    let nowhere = world.folder().join("nowhere");
    for url in ["s3://sounds/another", "s3://sounds"] {
        let why = run_in(&world, &nowhere, &["restore", to], &[("TOYHUB_FILES__URL", url)]).await.unwrap_err();
        assert!(why.contains(&format!("files.url: {url} is not empty")), "{why}");
        assert_eq!(why.lines().filter(|line| line.contains("not empty")).count(), 1, "{why}");
    }
    assert_eq!(std::fs::read_dir(nowhere.join("restoring")).map_or(0, Iterator::count), 0);
    assert_eq!(s3.list("").await.len(), one.len() + two.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_fails_in_the_middle_leaves_no_snapshot_and_no_hub_starts_on_half_of_a_restore() {
    let s3 = S3::start().await;
    let mut world = World::start_with(&s3.settings()).await;
    let sounds = with_sounds(&world).await;
    let backups = world.folder().join("backups");
    let to = backups.to_str().unwrap().to_owned();
    let names = |part: &str| -> Vec<String> {
        let entries = std::fs::read_dir(&backups).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(part)).collect()
    };
    // The door closes once the files are being copied.
    for (door, reason) in [(UNAVAILABLE, "not available"), (SILENT, "does not answer in time")] {
        let command = world.command(&["backup", &to]).stderr(Stdio::piped()).spawn().unwrap();
        let copying = async {
            while !names("unfinished-").iter().any(|name| backups.join(name).join("files.list").exists()) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            s3.set(door);
        };
        within("the files to be copied", copying).await;
        let output = within("the backup", command.wait_with_output()).await.unwrap();
        s3.set(OPEN);
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && why.contains(reason), "{why}");
        let lines = why.trim().lines().filter(|line| !line.starts_with("copying "));
        assert_eq!(lines.count(), 1, "{why}");
        assert_eq!(names("-2"), [""; 0], "no snapshot, and no half of one");
        world.wait_ready(true).await;
    }
    world.run(&["backup", &to]).await;
    world.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let there = [("TOYHUB_FILES__URL", "s3://sounds/another")];
    // While it waits for a silent server, it is killed.
    for is_killed in [false, true] {
        let mut command = world.command(&["restore", &to]);
        command.env("TOYHUB_SERVER__DATA_DIR", &data).envs(there).kill_on_drop(true);
        let mut command = command.stderr(Stdio::piped()).spawn().unwrap();
        within("the bucket to be filled", async {
            while s3.list("another/chat/").await.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
        s3.set(if is_killed { SILENT } else { UNAVAILABLE });
        if is_killed {
            command.kill().await.unwrap();
        }
        let output = within("the restore", command.wait_with_output()).await.unwrap();
        s3.set(OPEN);
        assert!(!output.status.success());
        if !is_killed {
            let why = String::from_utf8(output.stderr).unwrap();
            assert!(why.contains("parts of the restore remain in s3://sounds/another"), "{why}");
        }
        let why = refused(&world, &there).await;
        assert!(why.contains("a restore into the bucket was interrupted"), "{why}");
    }
    run_in(&world, &data, &["restore", &to], &there).await.unwrap();
    let other = World::start_in(folder, &[&s3.settings()[..], &there].concat()).await;
    assert_has(&other, &sounds).await;
    assert!(!s3.list("another/").await.contains(&"another/restoring".to_owned()));
}
