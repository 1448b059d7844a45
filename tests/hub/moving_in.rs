//! Devices and sounds that exist already move in, with the keys and names that others know.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::sound;
use crate::world::{World, within};

const KEYS: [&str; 3] =
    ["bc557bcc9570069a494a64eb38698d35", "a195ac8014fb069676835a78d300f8a3", "00112233445566778899aabbccddeeff"];
const SECRET: &str = "a secret of 1999 burnt in";

/// A command that fails; returns its message to the operator.
async fn fails(world: &World, arguments: &[&str]) -> String {
    let output = within("the command", world.command(arguments).output()).await.unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn written<'p>(path: &'p Path, text: &str) -> &'p str {
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap()
}

fn pictures(world: &World) -> usize {
    std::fs::read_dir(world.data_dir().join("files/qr")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_move_in_with_their_keys_whether_or_not_the_hub_runs() {
    let mut world = World::start().await;
    let path = world.folder().join("devices.csv");
    let [bear, rabbit, fox] = KEYS;
    let shouted = rabbit.to_ascii_uppercase();
    let file =
        format!("device_key,secret,name\r\n{bear},\"{SECRET}\",Bear\r\n {shouted} ,,\"the \"\"old\"\" rabbit\"\r\n");
    assert_eq!(world.run(&["device", "import", written(&path, &file)]).await, "2 devices imported\n");
    let list = format!("{bear}\tunbound\tBear\n{rabbit}\tunbound\tthe \"old\" rabbit\n");
    assert_eq!(world.run(&["device", "list"]).await, list);
    assert_eq!(world.stop().await, Some(0));
    assert_eq!(world.run(&["device", "import", written(&path, fox)]).await, "1 devices imported\n");
    world.start_hub().await;

    // The printed codes and the secret in the device work.
    let parent = world.user("parent").await;
    for (key, name) in [(bear, "Bear"), (rabbit, "Rabbit"), (fox, "Fox")] {
        assert_eq!(world.ok("/scan_qr", json!({"device_key": key})).await["data"]["device_key"], key);
        for kind in ["jpg", "png"] {
            let url = format!("{}/get_qr/{key}.{kind}", world.http());
            assert_eq!(world.client().get(url).send().await.unwrap().status(), 200);
        }
        let binding = json!({
            "toy_name": name, "baby_name": "B", "remark": "M", "user_id": parent.id, "device_key": key,
        });
        world.ok("/bind_toy", binding).await;
        assert_eq!(world.ok("/open_toy", json!({"device_key": key})).await["name"], name);
    }
    let opened = world.ok("/open_toy", json!({"device_key": bear, "token": SECRET})).await;
    assert!(opened["token"].is_string(), "{opened}");
    assert!(world.ok("/open_toy", json!({"device_key": rabbit, "token": ""})).await.get("token").is_none());
    let renewed = world.run(&["device", "renew", rabbit]).await;
    let secret = renewed.trim().split('\t').nth(1).unwrap();
    assert!(world.ok("/open_toy", json!({"device_key": rabbit, "token": secret})).await["token"].is_string());
    // A name stays with the device.
    let toy = opened["toy_id"].as_str().unwrap();
    let device = world.run(&["toy", "unbind", toy, "--new-key"]).await;
    let key = device.split('\t').next().unwrap();
    assert!(world.run(&["device", "list"]).await.contains(&format!("{key}\tunbound\tBear\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_fault_changes_nothing() {
    let world = World::start().await;
    let path = world.folder().join("devices.csv");
    let [bear, rabbit, fox] = KEYS;
    world.run(&["device", "add", "--key", fox]).await;
    let before = (world.run(&["device", "list"]).await, pictures(&world));
    let owner = world.user("mia").await;
    let erased = world.toy(&owner, "Erased").await;
    world.run(&["toy", "erase", &erased.id]).await;

    let file = format!(
        "{bear},{SECRET},Bear\n{rabbit},hunter2,Rabbit\nnot a key {SECRET}\n\n{fox}\n{bear},other-{SECRET}\n{},{rabbit}-{rabbit},x\n\
         {rabbit},{SECRET},{},x\n{rabbit},,{}\n{}\n",
        "1".repeat(32),
        "n".repeat(10),
        "n".repeat(200),
        erased.device_key,
    );
    let faults = fails(&world, &["device", "import", written(&path, &file)]).await;
    let lines: Vec<&str> = faults.lines().collect();
    assert!(lines[0].ends_with("devices.csv: nothing was imported"), "{faults}");
    // The shape of lines is checked first, as a line of another shape may be of another file.
    assert_eq!(lines[1..], ["line 8: has more than a device key, a secret and a name"], "{faults}");
    let file = file.replace(&format!("{rabbit},{SECRET},{},x\n", "n".repeat(10)), "");
    let faults = fails(&world, &["device", "import", written(&path, &file)]).await;
    let expected = [
        (2, "the secret is weak: it needs 16 characters, of which 6 are different"),
        (3, "the device key does not have 32 hexadecimal digits"),
        (5, "the hub has a device with this key already"),
        (6, "line 1 has the same device key"),
        (8, "the name has more than 100 characters"),
        (9, "the device with this key was erased; add it with a new key"),
    ];
    let expected: Vec<String> = expected.iter().map(|(line, fault)| format!("line {line}: {fault}")).collect();
    assert_eq!(faults.lines().skip(1).collect::<Vec<_>>(), expected, "{faults}");
    for secret in [SECRET, "hunter2", rabbit] {
        assert!(!faults.contains(secret), "{faults}");
    }

    // Cut in half, doubled, empty, no text, too large, or no file.
    let good = format!("{bear},{SECRET}\n{rabbit},{SECRET}\n");
    let halves = [&good[..good.len() / 2 - 20], &good[..good.len() - SECRET.len() - 20]];
    let large = "x".repeat(5 * 1024 * 1024);
    for bad in [halves[0], halves[1], &good.repeat(2), "", "\n\n", "key,secret,name\n", "\0\u{1}\u{2}", &large] {
        let fault = fails(&world, &["device", "import", written(&path, bad)]).await;
        assert!(!fault.contains(SECRET), "{fault}");
    }
    assert!(fails(&world, &["device", "import", "/nowhere.csv"]).await.contains("/nowhere.csv cannot be read"));
    assert_eq!((world.run(&["device", "list"]).await, pictures(&world)), before, "nothing was changed");

    // Of several commands at once with the same devices one succeeds.
    let file = written(&path, &good);
    let outputs = join_all((0..6).map(|_| world.command(&["device", "import", file]).output())).await;
    assert_eq!(outputs.into_iter().filter(|output| output.as_ref().unwrap().status.success()).count(), 1);
    assert_eq!((world.run(&["device", "list"]).await.lines().count(), pictures(&world)), (3, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_devices_move_in_at_once() {
    let world = World::start().await;
    let path = world.folder().join("devices.csv");
    let file: String = (0..400).map(|n| format!("{n:032x},{SECRET} {n},toy {n}\n")).collect();
    assert_eq!(world.run(&["device", "import", written(&path, &file)]).await, "400 devices imported\n");
    let list = world.run(&["device", "list"]).await;
    let expected: String = (0..400).map(|n| format!("{n:032x}\tunbound\ttoy {n}\n")).collect();
    assert_eq!(list, expected, "in the order of the file");
    let faults = fails(&world, &["device", "import", written(&path, &file)]).await;
    assert_eq!((faults.lines().count(), faults.lines().last()), (102, Some("and 300 more lines")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_added_with_its_key() {
    let world = World::start().await;
    world.user("mia").await;
    let [bear, ..] = KEYS;
    let added = world.run(&["device", "add", "--key", &bear.to_ascii_uppercase()]).await;
    let (key, secret) = added.trim().split_once('\t').unwrap();
    assert_eq!((key, secret.len()), (bear, 64));
    assert_eq!(world.ok("/scan_qr", json!({"device_key": bear})).await["data"]["device_key"], bear);
    for (key, expected) in
        [(bear, "the hub has a device with this key already"), ("bear", "32 hexadecimal digits"), ("", "32")]
    {
        let fault = fails(&world, &["device", "add", "--key", key]).await;
        assert!(fault.contains(expected), "{key}: {fault}");
    }
    let output = world.command(&["device", "add", "--key", KEYS[1], "--count", "2"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "one key is one device");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_keeps_the_name_that_pages_know() {
    let world = World::start().await;
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    let (key, _) = world.device().await;
    std::fs::copy(world.data_dir().join(format!("files/qr/{key}.png")), &cover).unwrap();
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    let add = |name: &'static str| ["content", "add", song, "--title", "A Pug", "--cover", cover, "--name", name];
    let printed = world.run(&add("Ode_to-Joy.1.wav")).await;
    assert!(printed.ends_with("\tOde_to-Joy.1.wav\tA Pug\n"), "{printed}");
    let get = async |name: &str| {
        let answer = world.client().get(format!("{}/get_music/{name}", world.http())).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    assert_eq!(get("Ode_to-Joy.1.wav").await, (200, sound::wav().into()));
    let list = world.ok("/content_list", json!({})).await["data"].clone();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["music"]), (1, &json!("Ode_to-Joy.1.wav")));
    for (name, expected) in [
        ("Ode_to-Joy.1.wav", "is the name of another sound"),
        ("Success.mp3", "is the name of another sound"),
        ("joy.ogg", "must end with .mp3"),
        ("joy", "must end with .mp3"),
        ("../joy.wav", "a file name has"),
        (".joy.wav", "a file name has"),
        ("j o y.wav", "a file name has"),
        ("", "a file name has"),
    ] {
        let fault = fails(&world, &add(name)).await;
        assert!(fault.contains(expected), "{name}: {fault}");
    }
    // Of another name than that of its kind it is MP3, as without a name.
    world.run(&add("joy.MP3")).await;
    sound::assert_same_length(world.folder(), &get("joy.MP3").await.1);
    let mp3 = world.folder().join("words.mp3");
    sound::converted(world.folder(), "mp3", &[]);
    let own = ["content", "add", mp3.to_str().unwrap(), "--title", "x", "--cover", cover, "--name", "SendOK.mp3"];
    assert!(fails(&world, &own).await.contains("is the name of another sound"));
    // A file of a command that was interrupted does not take the name for ever.
    std::fs::write(world.data_dir().join("files/music/half.wav"), b"RIFF").unwrap();
    world.run(&add("half.wav")).await;
    assert_eq!(get("half.wav").await.1, sound::wav());
    assert_eq!(world.ok("/content_list", json!({})).await["data"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_is_finished_by_the_hub_and_says_so() {
    let world = World::start_with(&[("TOYHUB_SERVER__LOG", "info")]).await;
    // The hub waits in the middle of the command for the content of this file.
    let path = world.folder().join("devices");
    let made = tokio::process::Command::new("mkfifo").arg(&path).status().await.unwrap();
    assert!(made.success());
    let mut importing = world.command(&["device", "import", path.to_str().unwrap()]);
    importing.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let importing = importing.spawn().unwrap();
    let opening = path.clone();
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(opening));
    let mut file = within("the hub opens the file", opened).await.unwrap().unwrap();
    let id = importing.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let output = within("the command's end", importing.wait_with_output()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("the hub finishes the command"), "{text}");
    assert_eq!(world.run(&["device", "list"]).await, "");
    std::io::Write::write_all(&mut file, format!("{},,Bear\n", KEYS[0]).as_bytes()).unwrap();
    drop(file);
    within("the outcome", logged(&world, "an interrupted command was finished")).await;
    assert_eq!(world.run(&["device", "list"]).await, format!("{}\tunbound\tBear\n", KEYS[0]));

    // New devices are of no use without their secrets.
    let mut socket = UnixStream::connect(world.data_dir().join("control.sock")).await.unwrap();
    socket.write_all(b"{\"command\":\"add_devices\",\"count\":300}\n").await.unwrap();
    drop(socket);
    within("the outcome", logged(&world, "its devices were removed again")).await;
    assert_eq!(world.run(&["device", "list"]).await.lines().count(), 1);
}

/// The names of the files in a folder of the data.
fn names(world: &World, folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(world.data_dir().join("files").join(folder)) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a command without a hub, and sends it a signal as soon as `is_time`. Returns whether that ended it.
async fn interrupt(world: &World, arguments: &[&str], signal: &str, is_time: impl Fn() -> bool) -> bool {
    let mut command = world.command(arguments);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    within("the moment of the signal", async {
        while !is_time() && running.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
    })
    .await;
    if let Some(id) = running.id() {
        // It may have ended since.
        tokio::process::Command::new("kill").args(["-s", signal, &id.to_string()]).status().await.unwrap();
    }
    !within("the command's end", running.wait()).await.unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_addition_to_the_library_leaves_no_file() {
    let mut world = World::start().await;
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    let (key, _) = world.device().await;
    std::fs::copy(world.data_dir().join(format!("files/qr/{key}.png")), &cover).unwrap();
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    let before = ["music", "image"].map(|folder| names(&world, folder));
    assert_eq!(world.stop().await, Some(0));
    let title = |number: usize| format!("song {number}.wav");
    let mut interrupted = 0;
    for (number, signal) in ["INT", "TERM", "KILL"].into_iter().cycle().take(9).enumerate() {
        let name = title(number);
        let add = ["content", "add", song, "--title", &name, "--cover", cover, "--name", &format!("{number}.wav")];
        // With its note, with its sound, or later.
        let folder = ["unfinished", "music", "image"][number % 3];
        let there = names(&world, folder);
        interrupted += usize::from(interrupt(&world, &add, signal, || !names(&world, folder).is_subset(&there)).await);
    }
    assert!(interrupted > 0, "the commands were faster than the signals");
    // As a command leaves it that is killed between its files and its row.
    let left = [("music", "left.wav"), ("image", "left.png"), ("music", "half.wav#3")];
    for (folder, name) in left {
        std::fs::write(world.data_dir().join("files").join(folder).join(name), "left").unwrap();
    }
    let notes = world.data_dir().join("files/unfinished");
    std::fs::create_dir_all(&notes).unwrap();
    std::fs::write(notes.join("00112233445566778899aabb"), "music left.wav\nimage left.png\nmusic gone.wav\n").unwrap();

    world.start_hub().await;
    let check = async |world: &World| {
        let list = world.ok("/content_list", json!({})).await["data"].as_array().unwrap().clone();
        for (at, (folder, field)) in [("music", "music"), ("image", "cover")].into_iter().enumerate() {
            let mut expected: BTreeSet<String> =
                list.iter().map(|content| content[field].as_str().unwrap().to_owned()).collect();
            expected.extend(before[at].iter().cloned());
            assert_eq!(names(world, folder), expected, "{folder}");
        }
        assert_eq!(names(world, "unfinished"), BTreeSet::new());
        list.iter().map(|content| content["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let added = check(&world).await;
    for number in (0..9).filter(|number| !added.contains(&title(*number))) {
        let (name, file) = (title(number), format!("{number}.wav"));
        world.run(&["content", "add", song, "--title", &name, "--cover", cover, "--name", &file]).await;
    }
    assert_eq!(check(&world).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_leaves_no_picture() {
    let mut world = World::start().await;
    let path = world.folder().join("devices.csv");
    let file: String = (0..300).map(|n| format!("{n:032x}\n")).collect();
    let file = written(&path, &file);
    assert_eq!(world.stop().await, Some(0));
    for (signal, pictures_min) in [("INT", 50), ("TERM", 200), ("KILL", 400)] {
        interrupt(&world, &["device", "import", file], signal, || pictures(&world) > pictures_min).await;
        world.start_hub().await;
        let devices = world.run(&["device", "list"]).await.lines().count();
        assert!([0, 300].contains(&devices), "{signal}: {devices}");
        assert_eq!((pictures(&world), names(&world, "unfinished")), (2 * devices, BTreeSet::new()), "{signal}");
        assert_eq!(world.stop().await, Some(0));
    }
    if world.run(&["device", "list"]).await.is_empty() {
        assert_eq!(world.run(&["device", "import", file]).await, "300 devices imported\n");
    }
    assert_eq!((pictures(&world), names(&world, "unfinished")), (600, BTreeSet::new()));
}

/// Waits for a line of the hub's log.
async fn logged(world: &World, line: &str) {
    while !std::fs::read_to_string(world.log()).unwrap().contains(line) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
