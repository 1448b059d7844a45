//! A device with the stock firmware of xiaozhi, as far as its server can see: what it sends, and what it does with what it
//! gets. It judges the hub: it drops packets outside of `speaking`, its queue is as small as that of its version, it cuts
//! off the sound at `tts stop`, and it never sends a ping or a Close.

pub mod link;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use opusic_c::{Application, Channels, Decoder, Encoder, SampleRate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, interval_at, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::world::{DEADLINE, User, World, within};
use link::{Heard, Link, Mqtt};

pub const MAC: &str = "a0:b1:c2:d3:e4:f5";
pub const UUID: &str = "7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b0c";
/// A packet lasts so long, in both directions.
const PACKET: Duration = Duration::from_millis(60);
/// Samples of a packet of the microphone.
const SAMPLES: usize = 960;

/// What distinguishes versions of the firmware.
#[derive(Clone, Copy)]
pub struct Firmware {
    pub version: &'static str,
    /// Packets that have room before they are played; more are dropped without a word.
    pub queue: usize,
    /// The layout of binary messages.
    pub layout: u64,
    /// Whether `tts stop` throws away what has not been played.
    pub cuts_at_stop: bool,
}

pub const FIRMWARES: [Firmware; 6] = [
    Firmware { version: "1.6.2", queue: 10, layout: 3, cuts_at_stop: true },
    Firmware { version: "1.8.0", queue: 40, layout: 1, cuts_at_stop: true },
    Firmware { version: "2.4.2", queue: 40, layout: 2, cuts_at_stop: false },
    Firmware { version: "2.5.0", queue: 20, layout: 1, cuts_at_stop: false },
    Firmware { version: "1.6.0", queue: 5, layout: 1, cuts_at_stop: true },
    Firmware { version: "1.6.6", queue: 40, layout: 3, cuts_at_stop: true },
];

/// The post of a device with the newest firmware.
pub async fn post(world: &World, path: &str, ids: (&str, &str), body: &'static str) -> (u16, Value) {
    post_as(world, path, ids, FIRMWARES[3], body).await
}

/// The post of a device.
pub async fn post_as(
    world: &World,
    path: &str,
    ids: (&str, &str),
    firmware: Firmware,
    body: &'static str,
) -> (u16, Value) {
    let request = world
        .client()
        .post(format!("{}{path}", world.http()))
        .header("Device-Id", ids.0)
        .header("Client-Id", ids.1)
        .header("Activation-Version", "1")
        .header("User-Agent", format!("bread-compact-wifi/{}", firmware.version))
        .header("Content-Type", "application/json")
        .body(body);
    let answer = within(path, request.send()).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// Has a new device activated as a toy of `owner`; gives its WebSocket's address and token.
pub async fn activate(world: &World, owner: &User, ids: (&str, &str)) -> (String, String) {
    let answer = activate_as(world, owner, ids, FIRMWARES[3]).await;
    let text = |name: &str| answer["websocket"][name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (text("url"), text("token"))
}

/// Has a new device activated as a toy of `owner`; gives the answer to its next check.
pub async fn activate_as(world: &World, owner: &User, ids: (&str, &str), firmware: Firmware) -> Value {
    let (status, answer) = post_as(world, "/xiaozhi/ota/", ids, firmware, "{}").await;
    assert_eq!(status, 200, "{answer}");
    let code = answer["activation"]["code"].as_str().unwrap();
    let binding = json!({
        "toy_name": "Robot", "baby_name": "Mia", "remark": "Dad", "user_id": owner.id, "device_key": code,
    });
    world.ok("/bind_toy", binding).await;
    post_as(world, "/xiaozhi/ota/", ids, firmware, "{}").await.1
}

/// A slow link to the hub at this address: each byte takes `delay` in each direction, and no more than `bits_per_second`
/// pass. Gives the address of its other end; it works until the end of the test.
pub async fn slow_link(hub: SocketAddr, delay: Duration, bits_per_second: u32) -> SocketAddr {
    lossy_link(hub, delay, bits_per_second, u32::MAX).await
}

/// As [`slow_link`], where one in so many segments is lost: it is sent again after the time to the other end and back, and
/// what follows waits for it.
pub async fn lossy_link(hub: SocketAddr, delay: Duration, bits_per_second: u32, loses_one_in: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((device, _)) = listener.accept().await {
            let Ok(hub) = TcpStream::connect(hub).await else { continue };
            let ((from_device, to_device), (from_hub, to_hub)) = (device.into_split(), hub.into_split());
            tokio::spawn(carry(from_device, to_hub, delay, bits_per_second, loses_one_in));
            tokio::spawn(carry(from_hub, to_device, delay, bits_per_second, loses_one_in));
        }
    });
    address
}

/// One direction of a slow link.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    bits_per_second: u32,
    loses_one_in: u32,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let read = async move {
        let (mut free_at, mut count) = (Instant::now(), 0);
        let mut buffer = [0; 512];
        while let Ok(size @ 1..) = from.read(&mut buffer).await {
            let bits = size as u32 * 8;
            free_at = free_at.max(Instant::now()) + Duration::from_secs(1) * bits / bits_per_second;
            count += 1;
            if count % loses_one_in == loses_one_in / 2 {
                free_at += 2 * delay;
            }
            if sender.send((free_at + delay, buffer[..size].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// A device in a conversation.
pub struct Device {
    firmware: Firmware,
    pub link: Link,
    encoder: Encoder,
    decoder: Decoder,
    pub session: String,
    pub board: Board,
}

/// What the tools of a device see and do.
pub struct Board {
    pub volume: u64,
    pub brightness: Option<u64>,
    pub battery: u64,
    /// The names of all tools that were called.
    pub calls: Vec<String>,
}

impl Board {
    /// The text of the result of a call.
    fn call(&mut self, name: &str, arguments: &Value) -> String {
        self.calls.push(name.to_owned());
        match name {
            "self.get_device_status" => {
                let mut state = json!({
                    "audio_speaker": {"volume": self.volume}, "screen": {},
                    "battery": {"level": self.battery, "charging": false},
                    "network": {"type": "wifi", "ssid": "the name of the network", "signal": "strong"},
                });
                if let Some(brightness) = self.brightness {
                    state["screen"]["brightness"] = json!(brightness);
                }
                return state.to_string();
            }
            "self.audio_speaker.set_volume" => self.volume = arguments["volume"].as_u64().unwrap(),
            "self.screen.set_brightness" => {
                assert!(self.brightness.is_some(), "it has no display");
                self.brightness = Some(arguments["brightness"].as_u64().unwrap());
            }
            other => panic!("{other}: nobody may call it"),
        }
        "true".to_owned()
    }
}

/// What a device did with an answer.
#[derive(Debug, Default)]
pub struct Played {
    /// What the hub has understood.
    pub heard: Option<String>,
    pub sentences: Vec<String>,
    /// Packets that were played, dropped as the device did not speak, dropped as the queue was full, and cut at the end.
    pub packets: usize,
    pub early: usize,
    pub overflow: usize,
    pub cut: usize,
    /// How often the queue was empty while more came later.
    pub underruns: usize,
    /// The largest number of packets in the queue.
    pub most: usize,
    /// From the end of the spoken sound to the first packet.
    pub latency: Option<Duration>,
    /// By how much each packet came after the time of an even pace from the first one on, in milliseconds; those that go
    /// ahead are left out.
    pub late_ms: Vec<f64>,
    /// The played samples, at 24 kHz.
    pub samples: Vec<f32>,
}

impl Played {
    /// Each packet came when the device had room for it, and was played. Whether it came in time is a matter of the
    /// machine, too: tests of its own measure that.
    pub fn assert_all_sent(&self, what: &str) {
        let lost = (self.early, self.overflow, self.cut);
        assert_eq!(lost, (0, 0, 0), "{what}: early, overflow, cut; of {}, at most {}", self.packets, self.most);
        assert!(self.packets > 0, "{what}: nothing was played");
    }

    /// Nothing was lost, and nothing was late.
    pub fn assert_whole(&self, what: &str) {
        let lost = (self.early, self.overflow, self.cut, self.underruns);
        let (packets, most) = (self.packets, self.most);
        assert_eq!(lost, (0, 0, 0, 0), "{what}: early, overflow, cut, underruns; of {packets}, at most {most}");
        assert!(self.packets > 0, "{what}: nothing was played");
    }
}

impl Device {
    /// Opens the socket as the firmware does, and says hello.
    pub async fn connect(url: &str, token: &str, ids: (&str, &str), firmware: Firmware) -> Self {
        let mut device = Self::open(url, token, ids, firmware).await;
        device.greet().await;
        device
    }

    /// Says hello over the WebSocket.
    pub async fn greet(&mut self) {
        self.say_hello(self.firmware.layout, "websocket").await;
    }

    /// Says hello, and gives the answer.
    async fn say_hello(&mut self, version: u64, transport: &str) -> Value {
        let hello = json!({
            "type": "hello", "version": version, "features": {"mcp": true}, "transport": transport,
            "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
        });
        self.send(hello).await;
        let answer = self.text().await;
        assert_eq!((&answer["type"], &answer["transport"]), (&json!("hello"), &json!(transport)), "{answer}");
        assert_eq!(answer["audio_params"]["sample_rate"], 24000, "{answer}");
        assert_eq!(answer["audio_params"]["frame_duration"], 60, "{answer}");
        self.session = answer["session_id"].as_str().unwrap().to_owned();
        answer
    }

    /// Logs in over MQTT with the section of the answer to a check, idle.
    pub async fn log_in(section: &Value, firmware: Firmware) -> Self {
        Self::over(Link::Mqtt(Box::new(Mqtt::log_in(section, None).await)), firmware)
    }

    /// Says hello over MQTT, and takes the session of UDP.
    pub async fn wake(&mut self) {
        let answer = self.say_hello(3, "udp").await;
        self.mqtt().begin(&answer).await;
    }

    /// Ends the session.
    pub async fn goodbye(&mut self) {
        let session = self.session.clone();
        self.send(json!({"session_id": session, "type": "goodbye"})).await;
    }

    pub fn mqtt(&mut self) -> &mut Mqtt {
        let Link::Mqtt(mqtt) = &mut self.link else { panic!("it is a WebSocket") };
        mqtt
    }

    /// A device over this link.
    pub fn over(link: Link, firmware: Firmware) -> Self {
        Self {
            firmware,
            link,
            encoder: Encoder::new(Channels::Mono, SampleRate::Hz16000, Application::Voip).unwrap(),
            decoder: Decoder::new(Channels::Mono, SampleRate::Hz24000).unwrap(),
            session: String::new(),
            board: Board { volume: 70, brightness: Some(50), battery: 80, calls: Vec::new() },
        }
    }

    /// Does what the hub asks a tool for, and answers.
    async fn use_tool(&mut self, message: &Value) {
        let payload = &message["payload"];
        assert_eq!((&payload["jsonrpc"], &payload["method"]), (&json!("2.0"), &json!("tools/call")), "{message}");
        assert!(payload["id"].is_u64(), "ids must be numbers: {message}");
        let params = &payload["params"];
        let text = self.board.call(params["name"].as_str().unwrap(), &params["arguments"]);
        let result = json!({"content": [{"type": "text", "text": text}], "isError": false});
        let answer = json!({"jsonrpc": "2.0", "id": payload["id"], "result": result});
        let session = self.session.clone();
        self.send(json!({"session_id": session, "type": "mcp", "payload": answer})).await;
    }

    /// Waits until the hub has done this to the board.
    pub async fn board_is(&mut self, what: &str, is_so: impl Fn(&Board) -> bool) {
        let wait = async {
            while !is_so(&self.board) {
                match self.link.next().await {
                    Heard::Text(message) if message["type"] == "mcp" => self.use_tool(&message).await,
                    Heard::Text(_) | Heard::Sound(_) => {}
                    Heard::End => panic!("the connection ended"),
                }
            }
        };
        within(what, wait).await;
    }

    /// Opens the socket, without a hello.
    pub async fn open(url: &str, token: &str, ids: (&str, &str), firmware: Firmware) -> Self {
        let mut request = url.into_client_request().unwrap();
        let host = request.uri().host().unwrap().to_owned();
        let address = request.uri().authority().unwrap().to_string();
        let headers = request.headers_mut();
        // The firmware leaves the port out.
        headers.insert("Host", host.parse().unwrap());
        headers.insert("Authorization", format!("Bearer {token}").parse().unwrap());
        headers.insert("Protocol-Version", firmware.layout.into());
        headers.insert("Device-Id", ids.0.parse().unwrap());
        headers.insert("Client-Id", ids.1.parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let opened = within("the handshake", tokio_tungstenite::client_async(request, stream)).await;
        let (socket, response) = opened.unwrap();
        assert_eq!(response.status(), 101);
        Self::over(Link::Socket { socket: Box::new(socket), layout: firmware.layout }, firmware)
    }

    pub async fn send(&mut self, message: Value) {
        self.link.send(message).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        let Link::Socket { socket, .. } = &mut self.link else { panic!("it is no WebSocket") };
        socket.send(message).await.unwrap();
    }

    pub async fn listen(&mut self, state: &str, mode: &str) {
        let session = self.session.clone();
        self.send(json!({"session_id": session, "type": "listen", "state": state, "mode": mode})).await;
    }

    pub async fn abort(&mut self) {
        let session = self.session.clone();
        self.send(json!({"session_id": session, "type": "abort"})).await;
    }

    /// The next text of the hub.
    pub async fn text(&mut self) -> Value {
        within("a text of the hub", async {
            loop {
                match self.link.next().await {
                    Heard::Text(message) if message["type"] == "mcp" => self.use_tool(&message).await,
                    Heard::Text(message) => return message,
                    Heard::Sound(_) => {}
                    Heard::End => panic!("the connection ended"),
                }
            }
        })
        .await
    }

    /// Whether the hub ends the conversation.
    /// The code with which the hub closes the WebSocket.
    pub async fn close_code(&mut self) -> u16 {
        let Link::Socket { socket, .. } = &mut self.link else { panic!("it is no WebSocket") };
        within("the close", async {
            loop {
                if let Message::Close(close) = socket.next().await.expect("a Close before the end").unwrap() {
                    return close.unwrap().code.into();
                }
            }
        })
        .await
    }

    pub async fn is_ended(&mut self) -> bool {
        within("the end", async { while !matches!(self.link.next().await, Heard::End) {} }).await;
        true
    }

    /// Ends the WebSocket's connection as the firmware does, without a frame.
    pub async fn leave(&mut self) {
        let Link::Socket { socket, .. } = &mut self.link else { panic!("it is no WebSocket") };
        socket.get_mut().shutdown().await.unwrap();
    }

    fn packet(&mut self, samples: &[f32]) -> Bytes {
        let mut packet = [0; 1500];
        let mut frame = samples.to_vec();
        frame.resize(SAMPLES, 0.0);
        let size = self.encoder.encode_float_to_slice(&frame, &mut packet).unwrap();
        Bytes::copy_from_slice(&packet[..size])
    }

    /// Speaks at the pace of a microphone; the button, if there is one, is pressed meanwhile. Gives the time of the end.
    pub async fn speak(&mut self, sound: &[f32]) -> Instant {
        let mut ticks = interval(PACKET);
        for part in sound.chunks(SAMPLES) {
            ticks.tick().await;
            let packet = self.packet(part);
            self.link.send_sound(&packet).await;
        }
        Instant::now()
    }

    /// Sends all of a sound at once.
    pub async fn burst(&mut self, sound: &[f32]) {
        for part in sound.chunks(SAMPLES) {
            let packet = self.packet(part);
            self.link.send_sound(&packet).await;
        }
    }

    /// Sends silence at the pace of a microphone until the hub shows what it has understood.
    pub async fn hush_until_understood(&mut self) -> String {
        let mut ticks = interval(PACKET);
        loop {
            let silence = self.packet(&[]);
            tokio::select! {
                message = self.text() => if message["type"] == "stt" {
                    return message["text"].as_str().unwrap().to_owned();
                },
                _ = ticks.tick() => self.link.send_sound(&silence).await,
            }
        }
    }

    /// Plays an answer as the firmware does, from `tts start` to the end of its sound, while the microphone of a device
    /// in automatic mode sends silence up to `tts start`.
    pub async fn play(&mut self, spoke_until: Instant, has_microphone: bool) -> Played {
        within("the end of the answer", self.play_until_stop(spoke_until, has_microphone)).await
    }

    async fn play_until_stop(&mut self, spoke_until: Instant, mut has_microphone: bool) -> Played {
        let (mut played, mut is_speaking, mut queue) = (Played::default(), false, 0usize);
        // The time at which the packet that is played now ends.
        let mut playing_until: Option<Instant> = None;
        let mut ran_out: Option<Instant> = None;
        let mut first = None;
        let mut ticks = interval_at(Instant::now() + PACKET, PACKET);
        loop {
            let end = playing_until.unwrap_or_else(|| Instant::now() + DEADLINE);
            tokio::select! {
                biased;
                () = sleep_until(end), if playing_until.is_some() => {
                    if queue > 0 {
                        queue -= 1;
                        playing_until = Some(end + PACKET);
                    } else {
                        (playing_until, ran_out) = (None, Some(Instant::now()));
                    }
                }
                heard = self.link.next() => match heard {
                    Heard::Sound(packet) => {
                        if !is_speaking {
                            played.early += 1;
                            continue;
                        }
                        played.latency.get_or_insert_with(|| spoke_until.elapsed());
                        if queue >= self.firmware.queue {
                            played.overflow += 1;
                            continue;
                        }
                        played.packets += 1;
                        let began = *first.get_or_insert_with(Instant::now);
                        let ahead = played.packets as f64 - 4.0;
                        if ahead > 0.0 {
                            played.late_ms.push(began.elapsed().as_secs_f64() * 1e3 - ahead * 60.0);
                        }
                        let mut samples = vec![0.0; 2880];
                        let count = self.decoder.decode_float_to_slice(&packet, &mut samples, false).unwrap();
                        assert_eq!(count, 1440, "60 ms at 24 kHz");
                        played.samples.extend(&samples[..count]);
                        if playing_until.is_none() {
                            // A device does not notice a pause of a few milliseconds: its output has a buffer.
                            let tolerance = Duration::from_millis(20);
                            if ran_out.take().is_some_and(|since| since.elapsed() > tolerance) {
                                played.underruns += 1;
                            }
                            playing_until = Some(Instant::now() + PACKET);
                        } else {
                            queue += 1;
                            played.most = played.most.max(queue);
                        }
                    }
                    Heard::Text(message) => {
                        assert_eq!(message["session_id"], json!(self.session), "{message}");
                        match (message["type"].as_str().unwrap(), message["state"].as_str().unwrap_or_default()) {
                            ("stt", _) => played.heard = message["text"].as_str().map(str::to_owned),
                            ("tts", "start") => {
                                (is_speaking, has_microphone) = (true, false);
                                queue = 0;
                            }
                            ("tts", "sentence_start") => {
                                assert!(is_speaking);
                                played.sentences.push(message["text"].as_str().unwrap().to_owned());
                            }
                            ("tts", "stop") => {
                                assert!(is_speaking);
                                let rest = queue + usize::from(playing_until.is_some());
                                played.cut += if self.firmware.cuts_at_stop { rest } else { 0 };
                                return played;
                            }
                            ("llm", _) => {}
                            ("mcp", _) => self.use_tool(&message).await,
                            ("alert", _) => panic!("{message}"),
                            other => panic!("{other:?}: {message}"),
                        }
                    }
                    Heard::End => panic!("the connection ended"),
                },
                _ = ticks.tick(), if has_microphone => {
                    let silence = self.packet(&[]);
                    self.link.send_sound(&silence).await;
                }
            }
        }
    }

    /// One turn in automatic mode.
    pub async fn ask(&mut self, sound: &[f32]) -> Played {
        self.listen("start", "auto").await;
        let end = self.speak(sound).await;
        self.play(end, true).await
    }
}
