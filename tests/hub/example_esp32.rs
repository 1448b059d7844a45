//! `examples/esp32`: its protocol (`toy.c`) runs on this machine as a toy of a real hub, with lines for its hardware; the
//! file for ESP-IDF (`main.c`) is only checked by a compiler, against declarations written by hand.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::sound;
use crate::speech::hearing_any;
use crate::unread_by_voice::{send, unread};
use crate::world::{Toy, World, within};
use crate::xiaozhi::spoken;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

async fn gcc(arguments: &[&str]) {
    let mut command = Command::new("gcc");
    command
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror"])
        .args(arguments)
        .arg("-I")
        .arg(file("examples/esp32/main"));
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A toy whose hardware is lines.
struct Board {
    _program: Child,
    input: mpsc::UnboundedSender<String>,
    /// What it does, but for its publications.
    does: mpsc::UnboundedReceiver<String>,
}

impl Board {
    async fn start(world: &World, toy: &Toy) -> Self {
        let program = world.folder().join("esp32");
        let (core, host) = (file("examples/esp32/main/toy.c"), file("tests/clients/esp32_host.c"));
        let sources = [core.to_str().unwrap(), host.to_str().unwrap(), "-o", program.to_str().unwrap()];
        gcc(&[&["-O1", "-Wno-format-truncation", "-fsanitize=address,undefined"][..], &sources].concat()).await;
        let mut program = Command::new(program)
            .arg(&toy.id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let (input, mut to_write) = mpsc::unbounded_channel::<String>();
        let mut stdin = program.stdin.take().unwrap();
        tokio::spawn(async move {
            while let Some(line) = to_write.recv().await {
                if stdin.write_all(line.as_bytes()).await.is_err() || stdin.write_all(b"\n").await.is_err() {
                    return;
                }
            }
        });
        let mut filters = Vec::new();
        loop {
            let line = within("a line", lines.next_line()).await.unwrap().unwrap();
            match line.strip_prefix("subscribe ") {
                Some(filter) => filters.push(filter.to_owned()),
                None if line == "ready" => break,
                None => assert_eq!(line, "volume 50"),
            }
        }
        let address = world.mqtt_addr();
        let mut options = MqttOptions::new(&toy.id, address.ip().to_string(), address.port());
        options.set_credentials(&toy.device_key, &toy.secret);
        options.set_max_packet_size(64 * 1024, 64 * 1024);
        let (client, mut events) = AsyncClient::new(options, 64);
        let count = filters.len();
        for filter in filters {
            client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        }
        let to_board = input.clone();
        tokio::spawn(async move {
            let mut granted = 0;
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        granted += 1;
                        if granted == count {
                            let _ = to_board.send("connected".into());
                        }
                    }
                    Event::Incoming(Packet::Publish(publish)) => {
                        let line = format!("received {} {}", publish.topic, hex::encode(&publish.payload));
                        let _ = to_board.send(line);
                    }
                    _ => {}
                }
            }
        });
        let (sender, does) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(publication) = line.strip_prefix("publish ") else {
                    let _ = sender.send(line);
                    continue;
                };
                let [retain, topic, payload] = publication.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                let payload = hex::decode(payload).unwrap();
                client.publish(topic, QoS::AtLeastOnce, retain == "1", payload).await.unwrap();
            }
        });
        Self { _program: program, input, does }
    }

    fn tell(&self, line: impl Into<String>) {
        self.input.send(line.into()).unwrap();
    }

    async fn line(&mut self) -> String {
        within("what the toy does", self.does.recv()).await.expect("the program has ended")
    }

    /// The next sound, which is played to its end.
    async fn sound(&mut self) -> Vec<u8> {
        assert_eq!(self.line().await, "play begin");
        let mut sound = Vec::new();
        loop {
            let line = self.line().await;
            match line.strip_prefix("play ").unwrap_or_else(|| panic!("{line}")) {
                "end" => break,
                piece => sound.extend(hex::decode(piece).unwrap()),
            }
        }
        self.tell("played");
        sound
    }

    /// Holds the button while somebody speaks.
    fn talk(&self, text: &str) {
        self.tell("button 1");
        for part in spoken(text).chunks(512) {
            let samples: Vec<u8> = part.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect();
            self.tell(format!("heard {}", hex::encode(samples)));
        }
        self.tell("button 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_toy_of_the_esp32_plays_messages_and_obeys() {
    let world = World::start().await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    send(&world, &dad, &toy.id, sound::wav()).await;
    // The one that was unread when it connected, and one that comes later.
    let mut board = Board::start(&world, &toy).await;
    for _ in 0..2 {
        let notice = board.sound().await;
        assert!(sound::seconds(world.folder(), &notice) > 0.3, "you have a message from …");
        let message = board.sound().await;
        let expected = sound::seconds(world.folder(), &sound::wav());
        assert!((sound::seconds(world.folder(), &message) - expected).abs() < 0.2);
        within("the mark", async { while unread(&world, &toy.id).await > 0 {} }).await;
        send(&world, &dad, &toy.id, sound::wav()).await;
    }
    board.sound().await;
    board.sound().await;
    // The owner sets the volume; odd values have no effect.
    let address = world.mqtt_addr();
    let mut options = MqttOptions::new("owner", address.ip().to_string(), address.port());
    options.set_credentials(&dad.id, &dad.token);
    let (client, mut events) = AsyncClient::new(options, 16);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    for value in ["loud", "", "30"] {
        client.publish(format!("toy/{}/cmd/volume", toy.id), QoS::AtLeastOnce, false, value).await.unwrap();
    }
    assert_eq!(board.line().await, "volume 30");
    // Messages of nobody.
    let odd = [
        "received x 00",
        "received toy/000000000000000000000000/in",
        "received toy/000000000000000000000000/in 7b22",
        "received toy/000000000000000000000000/file/ 00",
        "received toy/000000000000000000000000/file/a/0 00",
        "received toy/000000000000000000000000/cmd/volume 2d31",
        "played",
    ];
    odd.into_iter().for_each(|line| board.tell(line));
    assert_eq!(board.line().await, "volume 0", "-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_toy_of_the_esp32_is_answered_and_sends_messages() {
    let world = hearing_any("send a message to dad", &[]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let mut board = Board::start(&world, &toy).await;
    world.wait_online(&dad, &toy.id, "1").await;
    board.talk("hello my little bear");
    let prompt = board.sound().await;
    assert!(sound::seconds(world.folder(), &prompt) > 0.3, "say your message");
    board.talk("good night");
    let got = async {
        loop {
            let got = world.post_as(&dad, "/recv_msg", json!({"to_user": dad.id, "from_user": toy.id})).await;
            if let Some(message) = got.as_array().and_then(|list| list.first()) {
                return message["message"].as_str().unwrap().to_owned();
            }
        }
    };
    let name = within("the message", got).await;
    let found = world.client().get(format!("{}/get_chat/{name}", world.http())).send().await.unwrap();
    let message = found.bytes().await.unwrap();
    assert!((sound::seconds(world.folder(), &message) - spoken("good night").len() as f64 / 16_000.0).abs() < 0.2);
}

#[tokio::test]
async fn the_file_for_esp_idf_has_the_syntax_and_types_of_c() {
    let (main, declarations) = (file("examples/esp32/main/main.c"), file("tests/clients/esp_idf"));
    gcc(&["-fsyntax-only", "-I", declarations.to_str().unwrap(), main.to_str().unwrap()]).await;
}
