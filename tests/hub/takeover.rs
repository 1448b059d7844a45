//! One client cannot block the others: limits of its disk space, memory, descriptors and time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures_util::future::join_all;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::erasure::files;
use crate::sound;
use crate::world::{Toy, User, World, within};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn elsewhere() -> reqwest::Client {
    reqwest::Client::builder().local_address(ELSEWHERE).build().unwrap()
}

/// Uploads a form in the given order: texts, and the file where the name is empty.
async fn upload(client: &reqwest::Client, world: &World, fields: &[(&'static str, &str)], sound: &[u8]) -> Value {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| match *name {
        "" => form.part("reco_file", Part::bytes(sound.to_vec()).file_name("a.wav")),
        name => form.text(name, (*value).to_owned()),
    });
    let request = client.post(format!("{}/app_uploader", world.http())).multipart(form);
    within("the answer to an upload", request.send()).await.unwrap().json().await.unwrap()
}

async fn family(world: &World) -> (User, Toy) {
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "Fluffy").await;
    (parent, toy)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_recording_is_written_before_its_sender_is_known() {
    // Every accepted recording goes to the disk.
    let world = World::start_with(&[("TOYHUB_AUDIO__RECORDING_MEMORY_BYTES", "1")]).await;
    let (parent, toy) = family(&world).await;
    // Writes to the spool fail from now on.
    std::fs::remove_dir_all(world.data_dir().join("spool")).unwrap();
    let large = vec![7; 2_000_000];
    let (user, to) = (("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()));
    let (file, token, wrong) = (("", ""), ("token", parent.token.as_str()), ("token", "wrong"));
    let stranger = elsewhere();
    for fields in [
        &[user, to, file][..],
        &[file, user, to],
        &[file, to],
        &[user, to, wrong, file],
        &[wrong, file, user, to],
        &[file, user, to, token],
    ] {
        let answer = upload(&stranger, &world, fields, &large).await;
        assert_eq!(answer["code"], 10, "{fields:?}: {answer}");
    }
    let answer = upload(&stranger, &world, &[file, user, to], &sound::beep()).await;
    assert_eq!(answer["code"], 10, "a small one is held in memory: {answer}");
    // The other recordings reach the spool.
    for (client, fields) in [
        (world.client(), &[file, user, to][..]),
        (&stranger, &[user, to, token, file]),
        (&stranger, &[token, file, user, to]),
        (&stranger, &[file, user, to, token]),
    ] {
        let sound = if fields[0] == file { sound::beep() } else { large.clone() };
        let answer = upload(client, &world, fields, &sound).await;
        assert_eq!(answer["code"], 19, "{fields:?}: {answer}");
    }
}

/// The bytes of all files of the data folder.
fn stored_bytes(world: &World) -> u64 {
    files(&world.data_dir()).iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum()
}

/// The resident memory of the hub, in bytes.
fn resident_bytes(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_anonymous_uploads_at_once_leave_nothing_on_the_disk_and_little_in_memory() {
    const UPLOADS: usize = 40;
    let world = World::start().await;
    let (parent, toy) = family(&world).await;
    let (stored, resident) = (stored_bytes(&world), resident_bytes(&world));
    let large = bytes::Bytes::from(vec![7; 16_000_000]);
    let stranger = elsewhere();
    let attack = |number: usize| {
        let part = Part::stream(large.clone()).file_name("a.wav");
        let names = |form: Form| form.text("user_id", parent.id.clone()).text("to_user", toy.id.clone());
        // Half of them send the names of the family first, the others the recording.
        let form = match number % 2 {
            0 => names(Form::new()).part("reco_file", part),
            _ => names(Form::new().part("reco_file", part)),
        };
        let request = stranger.post(format!("{}/app_uploader", world.http())).multipart(form);
        async {
            // The connection may end while the client still sends.
            let answer: Value = request.send().await.ok()?.json().await.ok()?;
            answer["code"].as_u64()
        }
    };
    let began = std::time::Instant::now();
    let mut attacks = std::pin::pin!(join_all((0..UPLOADS).map(attack)));
    let (mut most_stored, mut most_resident) = (stored, resident);
    let codes = within("the uploads", async {
        loop {
            let pause = tokio::time::sleep(std::time::Duration::from_millis(5));
            let codes = tokio::select! {
                codes = attacks.as_mut() => Some(codes),
                () = pause => None,
            };
            most_stored = most_stored.max(stored_bytes(&world));
            most_resident = most_resident.max(resident_bytes(&world));
            if let Some(codes) = codes {
                return codes;
            }
        }
    })
    .await;
    let (on_disk, in_memory) = (most_stored - stored, most_resident.saturating_sub(resident));
    let took = began.elapsed().as_secs_f64();
    println!("{UPLOADS} anonymous uploads of 16 MB in {took:.1} s: {on_disk} bytes on the disk, {in_memory} in memory");
    assert!(codes.iter().flatten().all(|code| *code == 10), "{codes:?}");
    assert!(on_disk < 1 << 20, "{on_disk} bytes on the disk");
    assert!(in_memory < 64 << 20, "{in_memory} bytes in memory");
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()), ("", "")];
    assert_eq!(upload(world.client(), &world, &fields, &sound::beep()).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_follow_a_recording() {
    let world = World::start().await;
    let (parent, toy) = family(&world).await;
    let (user, to) = (("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()));
    let (file, token) = (("", ""), ("token", parent.token.as_str()));
    let long = sound::wav();
    assert!(long.len() > 128 * 1024, "more than is held in memory");
    for (client, sound, fields) in [
        (&elsewhere(), &sound::beep(), &[file, user, to, token][..]),
        (&elsewhere(), &long, &[token, file, user, to]),
        (world.client(), &long, &[file, user, to]),
    ] {
        let answer = upload(client, &world, fields, sound).await;
        assert_eq!(answer["code"], 0, "{fields:?}: {answer}");
    }
    let answer = upload(&elsewhere(), &world, &[file, user, to, token], &long).await;
    assert_eq!(answer["code"], 10);
    assert!(answer["msg"].as_str().unwrap().contains("before the recording"), "{answer}");
    assert_eq!(world.unread_of(&toy).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_of_one_party_has_a_limit() {
    let mut world = World::start_with(&[("TOYHUB_LIMITS__STORED_BYTES_PER_PARTY", "5000")]).await;
    let (parent, toy) = family(&world).await;
    let (user, to) = (("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()));
    let mut sent = 0;
    let refused = loop {
        let answer = upload(world.client(), &world, &[user, to, ("", "")], &sound::tone(sent)).await;
        if answer["code"] != 0 {
            break answer;
        }
        sent += 1;
    };
    assert_eq!(refused["code"], 35, "{refused}");
    assert!((1..=20).contains(&sent), "{sent} recordings of a tenth of a second in 5000 bytes");
    assert_eq!(world.unread_of(&toy).await, u64::from(sent));
    let back = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let answer = world.upload("/toy_uploader", "reco", sound::tone(1), &back).await;
    assert_eq!(answer["code"], 0, "another party has its own limit: {answer}");

    assert_eq!(world.stop().await, Some(0));
    world.start_hub().await;
    let answer = upload(world.client(), &world, &[user, to, ("", "")], &sound::tone(sent)).await;
    assert_eq!(answer["code"], 35, "what was stored before the start counts: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_name_is_a_client_error() {
    let world = World::start().await;
    for name in ["", "  ", "\0", &"x".repeat(5000)] {
        let (status, answer) = world.post("/login", json!({"username": name, "password": "x"})).await;
        assert_eq!((status, &answer["code"]), (200, &json!(1)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_of_one_ipv6_network_count_together() {
    let world = World::start_with(&[
        ("TOYHUB_NET__PROXIES", "127.0.0.1"),
        ("TOYHUB_HTTP__FORWARDED_HEADER", "x-forwarded-for"),
        ("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "3"),
        ("TOYHUB_ACCOUNTS__PASSWORD_MEMORY_KIB", "8"),
    ])
    .await;
    let login = async |address: String, name: String| -> u64 {
        let request = world.client().post(format!("{}/login", world.http())).header("X-Forwarded-For", address);
        let request = request.json(&json!({"username": name, "password": "x"}));
        let answer: Value = within("a login", request.send()).await.unwrap().json().await.unwrap();
        answer["code"].as_u64().unwrap()
    };
    let mut codes = Vec::new();
    for number in 1..=8 {
        codes.push(login(format!("2001:db8:1:2:{number}::{number}"), format!("user-{number}")).await);
    }
    assert_eq!(codes, [1, 1, 1, 1, 11, 11, 11, 11]);
    assert_eq!(login("2001:db8:1:3::1".into(), "user-9".into()).await, 1, "another network");
}

/// The files of the hub's descriptors.
fn open_files(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", world.id())).unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// A connection, unless the hub refuses it, which ends it at once.
async fn connect(from: IpAddr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.ok()?;
    let mut byte = [0];
    let ended = tokio::time::timeout(std::time::Duration::from_millis(20), stream.read(&mut byte)).await;
    ended.is_err().then_some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_leave_descriptors_to_the_others() {
    let mut world = World::start().await;
    let (parent, toy) = family(&world).await;
    assert_eq!(world.stop().await, Some(0));
    world.limit_descriptors(400);
    world.set("TOYHUB_SERVER__DESCRIPTORS_RESERVED", "300");
    world.start_hub().await;
    let mut kept = Vec::new();
    for number in 0..300 {
        let to = if number % 2 == 0 { world.http_addr() } else { world.mqtt_addr() };
        kept.extend(connect(IpAddr::V4(Ipv4Addr::LOCALHOST), to).await);
    }
    assert!(kept.len() < 100, "{} connections of one address", kept.len());
    let open = open_files(&world);
    assert!(open.len() < 300, "{}: {open:?}", open.len());
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()), ("token", &parent.token), ("", "")];
    let answer = upload(&elsewhere(), &world, &fields, &sound::beep()).await;
    assert_eq!(answer["code"], 0, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_raises_its_descriptor_limit_and_keeps_none_open_on_proc() {
    let world = World::start().await;
    family(&world).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), words.next(), "{line}");
    let of_proc = open_files(&world).into_iter().filter(|path| path.starts_with("/proc/")).count();
    assert!(of_proc < 10, "{of_proc} files of /proc are open");
}

fn assert_private(folder: &Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        assert!(meta.permissions().mode() & 0o077 == 0, "{}", path.display());
        found += 1;
        if meta.is_dir() {
            found += assert_private(&path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_hubs_user_may_open_its_files() {
    let world = World::start().await;
    let (parent, toy) = family(&world).await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()), ("", "")];
    assert_eq!(upload(world.client(), &world, &fields, &sound::beep()).await["code"], 0);
    assert_eq!(std::fs::metadata(world.data_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(assert_private(&world.data_dir()) > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_busy_run_contains_no_secret() {
    let filter = "trace,surrealdb=trace,tungstenite=trace,tungstenite::protocol=trace";
    let mut world = World::start_with(&[("TOYHUB_SERVER__LOG", filter)]).await;
    let (parent, toy) = family(&world).await;
    let mut secrets = vec![parent.token.clone(), toy.device_key.clone(), toy.secret.clone()];
    let mut app = world.app(&parent).await;
    let mut ears = world.mosquitto_sub(&toy, "5");
    world.wait_online(&parent, &toy.id, "1").await;
    let ticket = world.post_as(&parent, "/ticket", json!({})).await["data"]["ticket"].as_str().unwrap().to_owned();
    let mut page = world.socket(&format!("/ws?ticket={ticket}")).await;
    assert_eq!(page.frame().await["type"], "welcome");
    secrets.push(ticket);
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str()), ("", "")];
    assert_eq!(upload(world.client(), &world, &fields, &sound::beep()).await["code"], 0);
    assert_ne!(upload(world.client(), &world, &fields, b"no sound").await["code"], 0);
    let event = ears.event().await;
    secrets.extend(["chat", "notice"].iter().filter_map(|name| event[*name].as_str().map(str::to_owned)));
    for name in secrets.iter().filter(|name| name.ends_with(".mp3") || name.ends_with(".wav")) {
        let got = world.client().get(format!("{}/get_chat/{name}", world.http())).send().await.unwrap();
        assert_eq!(got.status(), 200);
    }
    app.ask(json!({"do": "friend_list"})).await;
    app.ask(json!({"do": "toy_list"})).await;
    let (old, new) = ("correct horse", "a new password of mia");
    // It is refused: a change would end the connections of this test.
    let wrong = json!({"do": "change_password", "user_id": parent.id, "password": new, "new_password": old});
    assert_ne!(app.ask(wrong).await["code"], 0);
    secrets.extend(["Fluffy", "mia's nick", old, new].map(str::to_owned));
    world.post("/login", json!({"username": "mia", "password": "wrong-password"})).await;
    world.post("/open_toy", json!({"device_key": toy.device_key, "token": "wrong-token"})).await;
    world.post("/scan_qr", json!({"device_key": toy.device_key})).await;
    world.post("/friend_list", json!({"_id": parent.id, "token": "wrong-token"})).await;
    let gone = world.client().get(format!("{}/get_chat/up-0123456789abcdef.mp3", world.http())).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    secrets.extend(["wrong-password", "wrong-token", "up-0123456789abcdef"].map(str::to_owned));
    // Its sound is lost: that is logged.
    let chat = world.data_dir().join("files").join("chat");
    std::fs::read_dir(&chat).unwrap().for_each(|entry| std::fs::remove_file(entry.unwrap().path()).unwrap());
    world.run(&["toy", "unbind", &toy.id]).await;
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("request answered") && log.lines().count() > 20, "{log}");
    // Which routes a family calls, and when, is not with its address.
    let of_address = log.lines().find(|line| line.contains("request answered") && line.contains("127.0.0.1"));
    assert_eq!(of_address, None);
    for secret in secrets {
        // Half of it is enough to distinguish ids, and not enough to gain access.
        let found = log.lines().find(|line| line.contains(&secret[..secret.len().min(24)]));
        assert_eq!(found, None, "{secret}");
    }
}
