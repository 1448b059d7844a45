//! `examples/toy.py` as a toy: its speaker and its microphone are files.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::clients::installed;
use crate::sound;
use crate::speech::{FOR_DAD, hearing_any, hearing_with};
use crate::world::{Toy, World, within};

struct PythonToy {
    _program: Child,
    button: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    played: PathBuf,
}

impl PythonToy {
    async fn start(world: &World, toy: &Toy, folder: &Path) -> Self {
        let (played, microphone, player) = (folder.join("played"), folder.join("microphone.wav"), folder.join("play"));
        std::fs::write(&microphone, sound::wav()).unwrap();
        std::fs::write(&played, "").unwrap();
        // A line for each sound, with its size.
        std::fs::write(&player, "wc -c < \"$2\" >> \"$1\"\n").unwrap();
        let mut program = Command::new(installed("venv/bin/python3"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/toy.py"))
            .args(["--hub", "127.0.0.1", "--port", &world.mqtt_addr().port().to_string()])
            .args(["--toy", &toy.id, "--key", &toy.device_key, "--mixer", ""])
            .args(["--play", &format!("sh '{}' '{}'", player.display(), played.display())])
            .args(["--record", &format!("cat '{}'", microphone.display())])
            .env("TOY_SECRET", &toy.secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut toy = Self { button: program.stdin.take().unwrap(), _program: program, lines, played };
        toy.says("connected").await;
        toy
    }

    async fn says(&mut self, expected: &str) {
        let line = within(expected, self.lines.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(expected));
    }

    /// Presses the button, and releases it when the microphone's file has ended.
    async fn talk(&mut self, then: &str) {
        self.button.write_all(b"\n").await.unwrap();
        self.says(then).await;
        self.button.write_all(b"\n").await.unwrap();
    }

    /// The sizes of the sounds that were played, once there are so many.
    async fn played(&self, count: usize) -> Vec<usize> {
        within("the sounds", async {
            loop {
                let text = std::fs::read_to_string(&self.played).unwrap();
                let sizes: Vec<usize> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
                if sizes.len() >= count {
                    return sizes;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_toy_in_python_plays_talks_and_obeys() {
    let world = hearing_with(FOR_DAD, &[]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let folder = tempfile::tempdir().unwrap();

    // A message from before it was turned on: its notice, then the recording; then it is read.
    let fields = [("user_id", dad.id.as_str()), ("to_user", toy.id.as_str())];
    let sent = world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    let mut python = PythonToy::start(&world, &toy, folder.path()).await;
    assert!(python.played(2).await.iter().all(|bytes| *bytes > 1000));
    within("the mark as read", async { while world.unread_of(&toy).await > 0 {} }).await;

    // The first recording asks for a message, the second is the message.
    python.talk("answered").await;
    python.talk("sent").await;
    let heard = world.post_as(&dad, "/recv_msg", json!({"to_user": dad.id, "from_user": toy.id})).await;
    assert_eq!(heard.as_array().unwrap().len(), 1, "{heard}");

    let mut app = world.app(&dad).await;
    app.send(json!({"id": 2, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    app.send(json!({"id": 3, "do": "publish", "topic": format!("toy/{}/cmd/volume", toy.id), "payload": "80"})).await;
    within("the volume", async { while app.frame().await["payload"] != "80" {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_toy_in_python_gives_reminders() {
    let world = hearing_any("set a timer for two seconds", &[]).await;
    let toy = world.bound_toy("Fluffy").await;
    let folder = tempfile::tempdir().unwrap();
    let mut python = PythonToy::start(&world, &toy, folder.path()).await;
    python.talk("answered").await;
    // The answer, and the reminder.
    python.played(2).await;
}
