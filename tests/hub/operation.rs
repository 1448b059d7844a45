//! The program from the operator's view: the command line, faults at the start, identity, limits.

use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::sound;
use crate::world::{World, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_while_the_hub_runs_and_while_it_does_not() {
    let mut world = World::start().await;
    let pictures = world.folder().join("qr");
    let added = world.run(&["device", "add", "--count", "3", "--out", pictures.to_str().unwrap()]).await;
    assert_eq!(added.lines().count(), 3);
    assert_eq!(std::fs::read_dir(&pictures).unwrap().count(), 6);
    assert_eq!(world.run(&["device", "list"]).await.lines().count(), 3);

    let (song, cover) = (world.folder().join("words.mp3"), pictures.join(format!("{}.png", &added[..32])));
    sound::converted(world.folder(), "mp3", &[]);
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "A Pug", "--cover", cover]).await;
    let list = world.ok("/content_list", json!({})).await;
    assert_eq!((&list["msg"], &list["data"][0]["title"]), (&json!("Get a list of content resources"), &json!("A Pug")));
    let music = format!("{}/get_music/{}", world.http(), list["data"][0]["music"].as_str().unwrap());
    let answer = world.client().get(music).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"audio/mpeg".parse().unwrap()));

    let wrong =
        within("the command", world.command(&["content", "add", cover, "--title", "x", "--cover", cover]).output());
    assert!(!wrong.await.unwrap().status.success(), "a picture is not a song");
    // Neither is read: the hub would run out of memory.
    let huge = world.folder().join("huge.mp3");
    std::fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap();
    for (path, fault) in [("/dev/zero", "is not a file"), (huge.to_str().unwrap(), "has more than 67108864 bytes")] {
        for (song, cover) in [(path, cover), (song, path)] {
            let mut command = world.command(&["content", "add", song, "--title", "x", "--cover", cover]);
            let refused = within("the command", command.output()).await.unwrap();
            let said = String::from_utf8(refused.stderr).unwrap();
            assert!(!refused.status.success() && said.contains(fault), "{song} {cover}: {said}");
        }
    }
    world.user("mia").await;
    assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"));
    assert_eq!(world.stop().await, Some(0));
    assert!(world.run(&["user", "list"]).await.trim().ends_with("\tmia"), "without a hub too");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_at_the_start_are_one_line_each() {
    let world = World::start().await;
    let address = world.http_addr().to_string();
    let cases = [
        ("TOYHUB_HTTP__LISTEN", address.as_str(), "is in use"),
        ("TOYHUB_HTTP__LISTEN", "nowhere", "http.listen"),
        ("TOYHUB_HTTP__LISSEN", "x", "names no known key"),
        ("TOYHUB_SERVER__DATA_DIR", "/proc/toyhub", "server.data_dir"),
    ];
    for (name, value, expected) in cases {
        let output = within("the program", world.command(&["serve"]).env(name, value).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(expected), "{name}={value}: {message}");
        assert_eq!(message.trim().lines().count(), 1, "{message}");
    }
    // Only faults of the file are reported with the name of the file.
    let file = world.folder().join("own.toml");
    std::fs::write(&file, "").unwrap();
    for named in [true, false] {
        let mut command = world.command(&["serve"]);
        if named {
            command.arg("--config").arg(&file);
        }
        let output = within("the program", command.env("TOYHUB_HTTP__LISTEN", &address).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        let begin = if named { format!("{}: http.listen: ", file.display()) } else { "http.listen: ".into() };
        assert!(message.starts_with(&begin), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let world = World::start().await;
    let inside = world.data_dir().join("backups");
    let around = world.folder().join("other/..");
    for (name, value, expected) in [
        ("TOYHUB_STORE__MEMTABLE_BYTES", "0", "store.memtable_bytes is 0"),
        ("TOYHUB_SERVER__LOG", "", "server.log is empty"),
        ("TOYHUB_BACKUP__DIR", inside.to_str().unwrap(), "backup.dir and server.data_dir"),
        ("TOYHUB_BACKUP__DIR", around.to_str().unwrap(), "backup.dir and server.data_dir"),
    ] {
        let output = within("the program", world.command(&["serve"]).env(name, value).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains(expected), "{name}={value}: {message}");
        assert_eq!(message.trim().lines().count(), 1, "{message}");
    }
    for nested in [inside.as_path(), world.folder()] {
        let output = within("the backup", world.command(&["backup", nested.to_str().unwrap()]).output()).await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains("contain each other"), "{message}");
    }
}

/// A closed output, as with `head`.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Runs a command with its standard output elsewhere.
async fn printing_to(stdout: Stdio, command: &mut Command) -> Output {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    within("the command", child.wait_with_output()).await.unwrap()
}

fn full_device() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_printed_leaves_no_device() {
    let mut world = World::start().await;
    for is_running in [true, false] {
        for stdout in [closed_pipe(), full_device()] {
            let mut command = world.command(&["device", "add", "--count", "3"]);
            let output = printing_to(stdout, &mut command).await;
            let line = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
            assert!(line.contains("3 devices whose secrets were not printed were removed again"), "{line}");
        }
        assert_eq!(world.run(&["device", "list"]).await, "", "{is_running}");
        assert_eq!(std::fs::read_dir(world.data_dir().join("files/qr")).unwrap().count(), 0, "their pictures too");
        if is_running {
            assert_eq!(world.stop().await, Some(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_port_that_is_in_use_its_key_and_the_remedy() {
    let mut world = World::start().await;
    world.stop().await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    for (variable, key) in [("TOYHUB_HTTP__LISTEN", "http.listen"), ("TOYHUB_MQTT__LISTEN", "mqtt.listen")] {
        let mut command = world.command(&["doctor"]);
        let output = within("the doctor", command.env(variable, address.to_string()).output()).await.unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let expected = format!("MISSING  port: {key}: {address} is in use; stop the other program or set another port");
        assert!(lines.lines().any(|line| line == expected), "{lines}");
        assert!(!output.status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_panics_where_its_output_cannot_be_written() {
    let mut world = World::start().await;
    world.device().await;
    world.user("mia").await;
    let backups = world.folder().join("backups");
    let backups = backups.to_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["device", "list"],
        &["content", "list"],
        &["user", "list"],
        &["doctor"],
        &["backup", backups],
        &["spec"],
        &["--help"],
        &["user", "log-out", "mia"],
    ];
    for arguments in commands {
        for (is_full, stdout) in [(false, closed_pipe()), (true, full_device())] {
            let mut command = world.command(arguments);
            let output = printing_to(stdout, &mut command).await;
            let line = String::from_utf8(output.stderr).unwrap();
            assert!(!line.contains("panicked"), "{arguments:?}: {line}");
            let prints_own_lines = !["--help", "content"].contains(&arguments[0]);
            let expected = if is_full && prints_own_lines { 1 } else { 0 };
            assert_eq!(output.status.code(), Some(expected), "{arguments:?}, full: {is_full}: {line}");
            assert_eq!(line.contains("the output cannot be written"), expected == 1, "{line}");
        }
    }
    // Nor if even the last line cannot be printed.
    let mut nameless = world.command(&["user", "log-out", "nobody"]);
    let status = within("the command", nameless.stdout(full_device()).stderr(full_device()).status()).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(world.stop().await, Some(0));
}

/// Such as a log on a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_full_outputs_serves() {
    let mut world = World::start_with(&[("TOYHUB_SERVER__LOG", "debug,surrealdb=warn,surrealkv=warn")]).await;
    let address = world.http_addr();
    assert_eq!(world.stop().await, Some(0));
    let mut command = world.command(&["serve"]);
    command.env("TOYHUB_HTTP__LISTEN", address.to_string()).kill_on_drop(true);
    let mut hub = command.stdout(full_device()).stderr(full_device()).spawn().unwrap();
    let reached = async {
        while world.client().get(format!("http://{address}/readyz")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the hub to serve", reached).await;
    world.user("mia").await;
    world.ok("/content_list", json!({})).await;
    let id = hub.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap().success());
    assert_eq!(within("the hub to stop", hub.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_client_that_disconnects_early_causes_no_warning() {
    let mut world = World::start_with(&[("TOYHUB_SERVER__LOG", "info,surrealdb=warn,surrealkv=warn")]).await;
    world.run(&["doctor"]).await;
    let socket = world.data_dir().join("control.sock");
    // A client that only connects, and one that does not wait for its answer.
    drop(UnixStream::connect(&socket).await.unwrap());
    let mut hasty = UnixStream::connect(&socket).await.unwrap();
    hasty.write_all(b"{\"command\":\"examine\",\"repair\":false}\n").await.unwrap();
    drop(hasty);
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(!log.contains("control socket"), "{log}");
}

/// Also beside an unusable configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_prints_a_complete_configuration() {
    let world = World::start().await;
    std::fs::write(world.config_file(), "[http\n").unwrap();
    assert_eq!(world.run(&["config", "--default"]).await, include_str!("../../broker.toml"));
    assert_eq!(world.run(&["config", "--reference"]).await, include_str!("../../docs/configuration.md"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_party_is_refused_also_at_a_place() {
    let world = World::start().await;
    let user = world.user("mia").await;
    let asked = json!({"_id": user.id});
    assert_eq!(world.post_as(&user, "/friend_list", asked.clone()).await["code"], 0);
    world.ok("/friend_list", asked.clone()).await;
    let other = world.user("tom").await;
    assert_eq!(world.post_as(&other, "/friend_list", asked).await["code"], 10, "another's token is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_concurrent_registrations_of_a_name_one_succeeds() {
    let world = World::start().await;
    let new = || json!({"username": "mia", "password": "correct horse", "nickname": "M", "gender": "1"});
    let answers = join_all((0..8).map(|_| world.post("/reg", new()))).await;
    let codes: Vec<_> = answers.iter().map(|(_, answer)| answer["code"].as_u64().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 1).count(), 7, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_concurrent_bindings_of_a_device_one_succeeds() {
    let world = World::start().await;
    let (key, _) = world.device().await;
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(world.user(&format!("user{n}")).await.id);
    }
    let bind =
        |id: &String| json!({"toy_name": "t", "baby_name": "b", "remark": "r", "user_id": id, "device_key": key});
    let answers = join_all(ids.iter().map(|id| world.post("/bind_toy", bind(id)))).await;
    let codes: Vec<_> = answers.iter().map(|(_, answer)| answer["code"].as_u64().unwrap()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 2).count(), 7, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_refused_then_slowed() {
    let world = World::start_with(&[("TOYHUB_RATES__FAILED_LOGINS_PER_ACCOUNT_PER_MINUTE", "3")]).await;
    let user = world.user("mia").await;
    let wrong = || json!({"username": user.username, "password": "wrong"});
    let unknown = world.post("/login", json!({"username": "nobody", "password": "x"})).await.1;
    let refused = world.post("/login", wrong()).await.1;
    assert_eq!((&refused["code"], &refused["msg"]), (&unknown["code"], &unknown["msg"]), "who exists is not told");
    let mut last = refused;
    for _ in 0..4 {
        last = world.post("/login", wrong()).await.1;
    }
    assert_eq!(last["code"], 11, "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_no_trace_in_the_log_and_a_refused_one_none_on_the_disk() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let chats = world.data_dir().join("files/chat");
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    for (what, bytes, code) in [
        ("text", b"#!AMR is what I say I am".to_vec(), 13),
        ("empty", Vec::new(), 14),
        ("picture", b"\x89PNG\r\n\x1a\n0000".to_vec(), 13),
    ] {
        let answer = world.upload("/app_uploader", "reco_file", bytes, &fields).await;
        assert_eq!(answer["code"], code, "{what}: {answer}");
    }
    assert_eq!(std::fs::read_dir(&chats).map_or(0, Iterator::count), 0, "nothing was kept");
    assert_eq!(world.unread(&parent).await["count"], 0);
    let (_, unheard) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    assert_eq!(unheard, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_socket_requires_a_token_and_receives_only_its_own_events() {
    let mut world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&tom, "Rex").await;
    let mut app = world.app(&mia).await;
    for topic in
        [format!("app/{}/in", tom.id), format!("toy/{}/state/#", toy.id), format!("online/{}", toy.id), "#".into()]
    {
        app.send(json!({"id": 7, "do": "subscribe", "topic": topic})).await;
        let answer = app.frame().await;
        assert_eq!((&answer["id"], &answer["code"]), (&json!(7), &json!(18)), "{topic}: {answer}");
    }
    app.send(json!({"id": 8, "do": "publish", "topic": format!("toy/{}/cmd/volume", toy.id), "payload": "9"})).await;
    assert_eq!(app.frame().await["code"], 18);
    let mut owner = world.app(&tom).await;
    owner.send(json!({"id": 9, "do": "publish", "topic": format!("toy/{}/cmd/volume", toy.id), "payload": "3"})).await;
    assert_eq!(owner.frame().await["code"], 0);
    app.send(json!("not a request")).await;
    assert_eq!(app.close_code().await, 4502);
    assert_eq!(world.stop().await, Some(0));
    assert_eq!(owner.close_code().await, 4000, "a stop is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_logs_no_fault() {
    let mut world = World::start_with(&[("TOYHUB_SERVER__LOG", "info")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let fields = [("user_id", mia.id.as_str()), ("to_user", toy.id.as_str())];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await["code"], 0);
    let _app = world.app(&mia).await;
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    let (_, stop) = log.split_once("stopping").expect("the log says that the hub stops");
    assert!(stop.contains("stopped"), "{stop}");
    assert!(!stop.contains("ERROR") && !stop.contains("WARN"), "{stop}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_past_the_deadline_are_cancelled_before_the_store_closes() {
    let folder = tempfile::tempdir().unwrap();
    let (synthesiser, hang, hangs) =
        (folder.path().join("synthesiser"), folder.path().join("hang"), folder.path().join("hangs"));
    // A synthesiser that works until the file tells it to hang.
    let script = format!(
        "#!/bin/sh\n[ -e {hang} ] || exec espeak-ng \"$@\"\ntouch {hangs}\nexec sleep 3600\n",
        hang = hang.display(),
        hangs = hangs.display()
    );
    std::fs::write(&synthesiser, script).unwrap();
    std::fs::set_permissions(&synthesiser, PermissionsExt::from_mode(0o755)).unwrap();
    let settings = [
        ("TOYHUB_SPEECH__SYNTHESISER", &*String::leak(synthesiser.to_str().unwrap().to_owned())),
        ("TOYHUB_SPEECH__TIMEOUT_S", "3600"),
        ("TOYHUB_SERVER__SHUTDOWN_TIMEOUT_S", "1"),
        ("TOYHUB_SERVER__LOG", "info"),
    ];
    let mut world = World::start_in(folder, &settings).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let mut app = world.app(&mia).await;
    let data = base64::engine::general_purpose::STANDARD.encode(sound::tone(555));
    assert_eq!(app.ask(json!({"do": "voice", "upload": "a", "n": 0, "data": data})).await["code"], 0);
    std::fs::write(&hang, "").unwrap();
    app.send(json!({"id": 9, "do": "app_uploader", "to_user": toy.id, "upload": "a", "chunks": 1})).await;
    let begins = async {
        while !hangs.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the synthesiser", begins).await;

    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    let (_, stop) = log.split_once("stopping").expect("the log says that the hub stops");
    assert_eq!(stop.matches("WARN").count(), 1, "{stop}");
    assert!(stop.contains("did not end in time") && stop.contains("stopped") && !stop.contains("ERROR"), "{stop}");
    std::fs::remove_file(&hang).unwrap();
    world.start_hub().await;
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(!log.contains("no clean stop"), "{log}");
    // It was not accepted, so the app sends it again.
    let mut app = world.app(&mia).await;
    let again = json!({"do": "app_uploader", "to_user": toy.id, "upload": "a", "chunks": 1});
    assert_eq!(app.ask(again).await["code"], 0);
}
