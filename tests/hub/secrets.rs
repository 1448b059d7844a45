//! Secrets: none of them is in plain in a file of the hub, and the demo family of `scripts/run` has random passwords.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::erasure::{files, latin};
use crate::export::entries;
use crate::mqtt::{Raw, V4, V5, connect_with, subscribe};
use crate::progress::songs;
use crate::sound;
use crate::world::{User, World, within};

/// Texts that must not be in any file, by what they are.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    /// The secret as it is written, and as the bytes that its hexadecimal digits stand for.
    fn add(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() > 8, "{what} {secret} may stand anywhere");
        self.0.push((what, latin(secret.as_bytes())));
        if let Ok(bytes) = hex::decode(secret) {
            self.0.push((what, latin(&bytes)));
        }
    }

    /// What is found in a text.
    fn in_text(&self, place: &str, text: &str) -> Vec<String> {
        let here = self.0.iter().filter(|(_, secret)| text.contains(secret.as_str()));
        here.map(|(what, _)| format!("{what} in {place}")).collect()
    }

    /// What is found in the names and bytes of the files of a folder.
    fn found(&self, folder: &Path) -> Vec<String> {
        let read = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let name = path.display().to_string();
            let text = latin(name.as_bytes()) + "\0" + &latin(&bytes);
            self.in_text(&name, &text)
        };
        files(folder).into_iter().flat_map(read).collect()
    }
}

/// Whether a text is in a file of a folder.
fn is_in(folder: &Path, text: &str) -> bool {
    files(folder).iter().any(|path| latin(&std::fs::read(path).unwrap_or_default()).contains(text))
}

async fn token_of(world: &World, name: &str, password: &str) -> String {
    let login = world.ok("/login", json!({"username": name, "password": password})).await;
    login["data"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_plain_in_any_file_of_the_hub() {
    const CHOSEN: &str = "Quagga chooses one";
    const CHANGED: &str = "Okapi changes it";
    let mut world = World::start_with(&[("TOYHUB_SERVER__LOG", "debug,surrealdb=info,surrealkv=info")]).await;
    let mut secrets = Secrets::default();
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();

    // Passwords: chosen, changed, and reset by the operator; and the tokens of these logins.
    let new = json!({"username": "quaggamia", "password": CHOSEN, "nickname": "Mia", "gender": "2"});
    world.ok("/reg", new).await;
    let login = world.ok("/login", json!({"username": "quaggamia", "password": CHOSEN})).await["data"].clone();
    let mut mia = User { id: text(&login["_id"]), username: "quaggamia".into(), token: text(&login["token"]) };
    secrets.add("a password", CHOSEN);
    secrets.add("a token", &mia.token);
    let change = json!({"user_id": mia.id, "password": CHOSEN, "new_password": CHANGED});
    mia.token = text(&world.post_as(&mia, "/change_password", change).await["data"]["token"]);
    secrets.add("a changed password", CHANGED);
    secrets.add("the token of a change", &mia.token);
    let printed = world.run(&["user", "password", "quaggamia"]).await.trim().to_owned();
    mia.token = token_of(&world, "quaggamia", &printed).await;
    secrets.add("the password of a reset", &printed);
    secrets.add("the token after a reset", &mia.token);
    world.post("/login", json!({"username": "quaggamia", "password": "Bongo guesses it"})).await;
    secrets.add("a wrong password", "Bongo guesses it");

    // Secrets of a device: the first one, a renewed one, and the token for it.
    let toy = world.toy(&mia, "Fluffy").await;
    secrets.add("a device secret", &toy.secret);
    let renewed = world.run(&["device", "renew", &toy.device_key]).await;
    let renewed = renewed.trim().split_once('\t').unwrap().1.to_owned();
    secrets.add("a renewed device secret", &renewed);
    let opened = world.ok("/open_toy", json!({"device_key": toy.device_key, "token": renewed})).await;
    secrets.add("a toy's token", &text(&opened["token"]));

    // Codes, tickets, and a signed link.
    let code = world.run(&["invite"]).await.split('\t').next().unwrap().to_owned();
    let of_toy = world.post_as(&mia, "/invite", json!({"user_id": mia.id, "toy_id": toy.id})).await;
    for code in [code, text(&of_toy["data"]["invite"])] {
        secrets.add("an invitation", &code);
        secrets.add("an invitation without its signs", &code.replace('-', ""));
    }
    secrets.add("a ticket", &text(&world.post_as(&mia, "/ticket", json!({})).await["data"]["ticket"]));
    let asked = json!({"_id": mia.id, "password": printed});
    secrets.add("a ticket of an export", &text(&world.post_as(&mia, "/export", asked).await["data"]["ticket"]));
    let fields = [("user_id", toy.id.as_str()), ("to_user", mia.id.as_str())];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::tone(1), &fields).await["code"], 0);
    let unread = world.app(&mia).await.ask(json!({"do": "unread"})).await;
    let link = text(&unread["data"]["messages"][0]["url"]);
    secrets.add("the signature of a link", link.rsplit_once('-').unwrap().1);

    // Sessions that are kept, of a toy and of an app, which log in with a secret and a token.
    for (level, user, password, filter) in [
        (V4, &toy.device_key, &renewed, format!("toy/{}/in", toy.id)),
        (V5, &mia.id, &mia.token, format!("app/{}/in", mia.id)),
    ] {
        let lasting: &[u8] = if level == V5 { &[0x11, 0, 0, 1, 0] } else { &[] };
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect_with(level, 0xc0, 60, lasting, "kept", &[], user, password)).await;
        assert_eq!(raw.packet().await.1[1], 0);
        raw.send(&subscribe(level, 1, &[(&filter, 1)])).await;
        while raw.packet().await.0 != 0x90 {}
        raw.send(&[0xe0, 0]).await;
        raw.expect_end().await;
    }
    let archive = world.folder().join("mia.zip");
    world.run(&["user", "export", "quaggamia", "--out", archive.to_str().unwrap()]).await;
    let backups = world.folder().join("backups");
    world.run(&["backup", backups.to_str().unwrap()]).await;

    // The log, the data and the backup are in the folder.
    assert!(is_in(&world.data_dir(), "quaggamia") && is_in(&world.data_dir(), "$argon2id$"), "the search finds texts");
    assert!(is_in(&backups, "quaggamia"));
    assert_eq!(secrets.found(world.folder()), [""; 0], "while the hub runs");
    for (name, bytes) in entries(&std::fs::read(&archive).unwrap()) {
        let text = latin(&bytes);
        assert_eq!(secrets.in_text(&name, &text), [""; 0], "in the archive");
        assert!(!text.contains("$argon2id$"), "{name}");
    }
    world.stop().await;
    assert_eq!(secrets.found(world.folder()), [""; 0], "after the stop");
}

/// `scripts/run` in a folder of its own.
struct Demo {
    script: Child,
    /// The passwords that it has printed, by user name; none for a user without a new one.
    passwords: BTreeMap<String, Option<String>>,
    output: String,
    http: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The script passes the signal on to its hub.
        if let Some(id) = self.script.id() {
            let _ = std::process::Command::new("kill").args(["-s", "TERM", &id.to_string()]).status();
        }
    }
}

impl Demo {
    async fn start(folder: &Path) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_toyhub")).parent().unwrap();
        let mut script = Command::new(folder.join("scripts/run"))
            .arg("--release")
            .arg(program)
            .arg("--no-install")
            .current_dir(folder)
            .env("TOYHUB_HTTP__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_HTTP__LEGACY_LISTEN", "127.0.0.1:0")
            .env("TOYHUB_MQTT__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_CONSOLE__LISTEN", "127.0.0.1:0")
            .env("TOYHUB_DISCOVERY__MDNS", "false")
            .env("TOYHUB_SERVER__LOG", "error")
            // No model is fetched, and none is loaded.
            .env("TOYHUB_SPEECH__MODEL", "/nowhere/model.bin")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut demo = Self { script, passwords: BTreeMap::new(), output: String::new(), http: String::new() };
        let mut name = String::new();
        within("the demo", async {
            while let Some(line) = lines.next_line().await.unwrap() {
                demo.output.push_str(&line);
                demo.output.push('\n');
                if let Some(rest) = line.strip_prefix("toyhub runs. HTTP and app socket: ") {
                    demo.http = rest.split(' ').next().unwrap().to_owned();
                } else if let Some(rest) = line.strip_prefix("  login ") {
                    name = rest.split(' ').next().unwrap().to_owned();
                } else if let Some(rest) = line.strip_prefix("    password: ") {
                    let password = (!rest.contains(' ')).then(|| rest.to_owned());
                    demo.passwords.insert(name.clone(), password);
                } else if line.starts_with("Ctrl-C") {
                    return;
                }
            }
            panic!("the script ended: {}", demo.output);
        })
        .await;
        demo
    }

    async fn logs_in(&self, name: &str, password: &str) -> bool {
        let body = json!({"username": name, "password": password});
        let request = reqwest::Client::new().post(format!("{}/login", self.http)).json(&body);
        let answer: Value = within("a login", request.send()).await.unwrap().json().await.unwrap();
        answer["code"] == 0
    }

    async fn stop(mut self) {
        let id = self.script.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
        within("the script to end", self.script.wait()).await.unwrap();
    }
}

/// A folder with the scripts of the repository. Some stand for the demo content and the voices, which take long.
fn copy_of_the_scripts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let scripts = folder.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for name in ["run", "packages", "make-demo-content", "get-voice"] {
        std::fs::copy(from.join(name), scripts.join(name)).unwrap();
    }
    songs(&folder.path().join("songs"), 1);
    let copy = "#!/bin/sh\ncp songs/* \"$1\" && mv \"$1/songs.tsv\" \"$1/content.tsv\"\n";
    std::fs::write(scripts.join("make-demo-content"), copy).unwrap();
    std::fs::write(scripts.join("get-voice"), "#!/bin/sh\n").unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_family_has_random_passwords_which_are_printed_once() {
    let folders = [copy_of_the_scripts(), copy_of_the_scripts()];
    let [one, other] = [Demo::start(folders[0].path()).await, Demo::start(folders[1].path()).await];
    let passwords: Vec<(String, String)> = [&one, &other]
        .iter()
        .flat_map(|demo| demo.passwords.iter().map(|(name, password)| (name.clone(), password.clone().unwrap())))
        .collect();
    assert_eq!(passwords.len(), 4, "{}", one.output);
    for (number, (name, password)) in passwords.iter().enumerate() {
        assert!(password.len() >= 12, "{password}");
        assert!(passwords[..number].iter().all(|(_, earlier)| earlier != password), "{password} is not random");
        assert_eq!(one.logs_in(name, password).await, number < 2, "{name}");
        assert_eq!(other.logs_in(name, password).await, number >= 2, "{name}");
    }
    let mut secrets = Secrets::default();
    passwords.iter().for_each(|(_, password)| secrets.add("a demo password", password));
    for folder in &folders {
        assert_eq!(secrets.found(folder.path()), [""; 0]);
    }
    other.stop().await;
    one.stop().await;

    // The second start creates nothing and cannot print them again.
    let again = Demo::start(folders[0].path()).await;
    assert_eq!(again.passwords.values().collect::<Vec<_>>(), [&None, &None], "{}", again.output);
    assert_eq!(secrets.in_text("the output", &again.output), [""; 0]);
    let (name, password) = &passwords[0];
    assert!(again.logs_in(name, password).await, "they are unchanged");
    again.stop().await;
}
