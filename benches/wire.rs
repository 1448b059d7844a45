//! The bytes on the wire of one voice message from a toy, over its MQTT connection and over HTTP.
//!
//! The first argument is the hub's program. Bytes are those of the TCP streams, counted by a relay between the client
//! and the hub; TCP's and IP's own headers are not in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/hub/amr.rs"]
mod amr;
mod hub;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hub::Hub;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a chunk of the recording.
const CHUNK_BYTES: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// A relay that counts bytes.
#[derive(Default)]
struct Meter {
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter {
    /// The bytes since the last call: to the hub, and from it.
    fn take(&self) -> (u64, u64) {
        (self.up.swap(0, Ordering::SeqCst), self.down.swap(0, Ordering::SeqCst))
    }
}

async fn relay(target: SocketAddr, meter: Arc<Meter>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let hub = TcpStream::connect(target).await.unwrap();
            let ((client_in, client_out), (hub_in, hub_out)) = (client.into_split(), hub.into_split());
            let (up, down) = (Arc::clone(&meter), Arc::clone(&meter));
            tokio::spawn(async move { pass(client_in, hub_out, &up.up).await });
            tokio::spawn(async move { pass(hub_in, client_out, &down.down).await });
        }
    });
    address
}

async fn pass(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    count: &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(read as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Five seconds of speech as a toy records it, AMR at 12.2 kbit/s.
fn recording(folder: &TempDir) -> Vec<u8> {
    let (wav, raw) = (folder.path().join("words.wav"), folder.path().join("words.s16"));
    let words = "Good night little bear, sleep well and dream of the moon. Tomorrow we will play in the garden.";
    assert!(Command::new("espeak-ng").args(["-w", wav.to_str().unwrap(), words]).status().unwrap().success());
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-y", "-i"]).arg(&wav);
    ffmpeg.args(["-af", "apad", "-t", "5", "-f", "s16le", "-ac", "1", "-ar", "8000"]).arg(&raw);
    assert!(ffmpeg.status().unwrap().success());
    let samples = std::fs::read(raw).unwrap();
    let samples: Vec<i16> = samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    amr::encode_amr_nb(&samples)
}

async fn until(events: &mut rumqttc::EventLoop, mut wanted: impl FnMut(Packet) -> bool) {
    let found = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.expect("the connection")
                && wanted(packet)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("an answer in time");
}

async fn over_mqtt(relay: SocketAddr, meter: &Meter, family: &[String; 4], recording: &[u8]) {
    let [user, toy, key, secret] = family;
    let mut options = MqttOptions::new("toy", "127.0.0.1", relay.port());
    options.set_credentials(key, secret).set_inflight(16);
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe(format!("toy/{toy}/in"), QoS::AtLeastOnce).await.unwrap();
    until(&mut events, |packet| matches!(packet, Packet::SubAck(_))).await;
    print("MQTT 3.1.1: connect and subscribe", meter.take());
    let mut chunks = 0;
    for chunk in recording.chunks(CHUNK_BYTES) {
        let topic = format!("toy/{toy}/voice/1/{chunks}");
        client.publish(topic, QoS::AtLeastOnce, false, chunk).await.unwrap();
        chunks += 1;
    }
    let request = json!({"id": 1, "do": "toy_uploader", "to_user": user, "upload": "1", "chunks": chunks});
    client.publish(format!("toy/{toy}/out"), QoS::AtLeastOnce, false, request.to_string()).await.unwrap();
    let mut unacknowledged = chunks + 1;
    let mut answered = false;
    until(&mut events, |packet| {
        match packet {
            Packet::PubAck(_) => unacknowledged -= 1,
            Packet::Publish(publish) => {
                let answer: Value = serde_json::from_slice(&publish.payload).unwrap();
                assert_eq!((&answer["id"], &answer["code"]), (&json!(1), &json!(0)), "{answer}");
                answered = true;
            }
            _ => {}
        }
        unacknowledged == 0 && answered
    })
    .await;
    // The acknowledgement of the answer is sent by the next poll.
    let _ = tokio::time::timeout(Duration::from_millis(200), events.poll()).await;
    print("MQTT 3.1.1: the message, acknowledged and answered", meter.take());
}

async fn over_http(relay: SocketAddr, meter: &Meter, family: &[String; 4], recording: &[u8]) {
    let [user, toy, ..] = family;
    let client = reqwest::Client::new();
    for what in ["HTTP: the message, on a new connection", "HTTP: the message, on a kept connection"] {
        let part = reqwest::multipart::Part::bytes(recording.to_vec()).file_name("record.amr");
        let form = reqwest::multipart::Form::new()
            .text("user_id", toy.clone())
            .text("to_user", user.clone())
            .text("friend_type", "app")
            .part("reco", part);
        let sent = client.post(format!("http://{relay}/toy_uploader")).multipart(form).send().await.unwrap();
        let answer: Value = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
        assert_eq!(answer["code"], 0, "{answer}");
        print(what, meter.take());
    }
}

fn print(what: &str, (up, down): (u64, u64)) {
    println!("{what:<52} {up:>8} {down:>8}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let program = std::env::args().nth(1).expect("the path of the hub's program");
    let hub = Hub::start(program, &[]);
    let family = hub.family().await;
    let recording = recording(&hub.folder);
    println!("a recording of 5 s, AMR: {} bytes; chunks of {CHUNK_BYTES}", recording.len());
    println!("{:<52} {:>8} {:>8}", "bytes on the wire", "up", "down");
    let meter = Arc::new(Meter::default());
    over_mqtt(relay(hub.mqtt, Arc::clone(&meter)).await, &meter, &family, &recording).await;
    over_http(relay(hub.http, Arc::clone(&meter)).await, &meter, &family, &recording).await;
}
