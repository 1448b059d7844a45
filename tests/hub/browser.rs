//! `examples/browser` in headless Chromium, with a toy on MQTT at the other end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::clients::{installed, script};
use crate::one_connection::{Line, pieces};
use crate::relay::Relay;
use crate::sound;
use crate::world::{World, within};

/// Silence before the words, while the recorder starts.
const LEAD_S: f64 = 1.5;

/// The folder of a page on an origin of its own.
pub struct Pages {
    origin: String,
    _serving: JoinSet<()>,
}

impl Pages {
    /// Serves the page in this folder of the repository.
    pub async fn serve(folder: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answering = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answering.spawn(answer(stream, folder));
            }
        });
        Self { origin, _serving: serving }
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// Answers one request with a file of the page.
async fn answer(mut stream: TcpStream, folder: &[&str]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // A browser also opens connections for later, and closes them unused.
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().split('?').next().unwrap();
    let (name, kind) = match path {
        "/" => ("index.html", "text/html"),
        "/toyhub.js" => ("toyhub.js", "text/javascript"),
        _ => panic!("the page asks for {path}"),
    };
    let file: PathBuf = [&[env!("CARGO_MANIFEST_DIR")], folder, &[name]].concat().iter().collect();
    let body = std::fs::read(file).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    // The browser may have closed the connection already.
    let _ = stream.shutdown().await;
}

/// The words between two silences, as a file that Chromium takes for a microphone.
pub fn microphone(folder: &Path) -> (PathBuf, f64) {
    let filter = format!("adelay={},apad=pad_dur=5", LEAD_S * 1000.0);
    let sound = sound::converted(folder, "wav.wav", &["-af", &filter, "-ar", "48000", "-ac", "1"]);
    let path = folder.join("microphone.wav");
    std::fs::write(&path, sound).unwrap();
    (path, LEAD_S + sound::seconds(folder, &sound::wav()) + 0.5)
}

/// The script that controls the browser and prints its results.
pub struct Script {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts a script of `tests/clients` with Node.
    pub fn start<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut child = Command::new("node")
            .arg(script(name))
            .args(arguments)
            .env("NODE_PATH", installed("node_modules"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// What it sees at the next step.
    pub async fn next(&mut self, name: &str) -> Value {
        let line = within(name, self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("ended before: {name}"))).unwrap()
    }

    /// What it sees at this step, which is the next one.
    pub async fn step(&mut self, name: &str) -> Value {
        let seen = self.next(name).await;
        assert_eq!(seen["step"], name);
        seen
    }
}

/// All of a sound, over the toy's own connection.
async fn fetch(line: &mut Line, name: &str) -> Vec<u8> {
    let size = line.ok(json!({"do": "get_file", "name": name, "chunk_bytes": 4096, "count": 0})).await;
    let (chunks, mut sound) = (size["chunks"].as_u64().unwrap(), Vec::new());
    for first in (0..chunks).step_by(8) {
        let wanted = json!({"do": "get_file", "name": name, "chunk_bytes": 4096, "first": first, "count": 8});
        let (_, pieces) = line.answer_with_pieces(wanted).await;
        sound.extend(pieces.into_iter().flat_map(|(_, piece)| piece));
    }
    assert_eq!(size["size"].as_u64(), Some(sound.len() as u64));
    sound
}

/// The toy answers with the words; gives the message's id.
async fn answers(line: &mut Line, to: &str, upload: &str, recording: &[u8]) -> Value {
    let chunks = pieces(recording);
    line.chunks(upload, &chunks).await;
    let request = json!({"do": "toy_uploader", "to_user": to, "upload": upload, "chunks": chunks.len()});
    line.ok(request).await["_id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_records_sends_to_a_toy_and_plays_the_answer() {
    const EXAMPLE: &[&str] = &["examples", "browser"];
    let (pages, strangers) = (Pages::serve(EXAMPLE).await, Pages::serve(EXAMPLE).await);
    // Settings of tests have static lifetime.
    let world = World::start_with(&[("TOYHUB_HTTP__ALLOWED_ORIGINS", pages.origin.clone().leak())]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let relay = Relay::to(world.http_addr()).await;
    let mut line = Line::open(&world, &toy).await;
    let (microphone, seconds) = microphone(world.folder());

    let (address, seconds, microphone) = (relay.http(), seconds.to_string(), microphone.to_str().unwrap());
    let arguments =
        [&strangers.origin, &pages.origin, &address, "parent", "correct horse", &toy.id, microphone, &seconds];
    let mut script = Script::start("browser.mjs", arguments);
    script.step("refused").await;

    let recorded = script.step("sent").await["seconds"].as_f64().unwrap();
    let message = line.event("message").await;
    assert_eq!(message["from_user"], parent.id.as_str());
    let heard = line.ok(json!({"do": "recv_msg", "from_user": parent.id})).await;
    assert_eq!((heard.as_array().unwrap().len(), &heard[0]["_id"]), (1, &message["_id"]));
    let recording = fetch(&mut line, heard[0]["message"].as_str().unwrap()).await;
    let long = sound::seconds(world.folder(), &recording);
    assert!((long - recorded).abs() < 0.3, "{long} s of {recorded} s");
    let (spoken, words) =
        (sound::spoken_seconds(world.folder(), &recording), sound::spoken_seconds(world.folder(), &sound::wav()));
    // The browser's noise suppression removes a little of the words, too.
    assert!((spoken - words).abs() < 0.1 * words, "{spoken} s of speech, not {words} s");
    script.step("heard").await;

    let answer = answers(&mut line, &parent.id, "a", &sound::amr(world.folder())).await;
    let played = script.step("played").await;
    let expected = sound::seconds(world.folder(), &sound::wav());
    for (name, expected) in [("currentTime", expected), ("duration", expected), ("from", 0.0), ("to", expected)] {
        let found = played[name].as_f64().unwrap();
        assert!((found - expected).abs() < 0.05 * words, "{name}: {found} s, not {expected} s");
    }
    loop {
        let receipt = line.event("receipt").await;
        if receipt["state"] == "heard" {
            assert_eq!((&receipt["_id"], &receipt["by"]), (&answer, &json!(parent.id)));
            break;
        }
    }

    relay.cut();
    script.step("lost").await;
    for upload in ["b", "c"] {
        answers(&mut line, &parent.id, upload, &sound::beep()).await;
    }
    relay.mend(world.http_addr());
    assert_eq!(script.step("back").await["new"], 2);
    line.event("message").await;
    line.ok(json!({"do": "recv_msg", "from_user": parent.id})).await;
    assert_eq!(script.step("sent over the socket").await["shown"], 5, "nothing is shown twice");

    world.run(&["user", "log-out", "parent"]).await;
    let end = script.step("logged out").await;
    assert_eq!(
        end,
        json!({
            "step": "logged out", "reason": "the token was revoked, log in again", "state": "not connected",
        })
    );
}
