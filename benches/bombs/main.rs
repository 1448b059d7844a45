//! The cost of hostile sound files: the CPU time of each, and the latency of another party's messages while one party
//! sends only such files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod files;
#[path = "../hub/mod.rs"]
mod hub;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use hub::Hub;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use toyhub::config::Config;
use toyhub::ports::audio::{DecodeLimits, Ffmpeg, decode};

/// Messages of the bystander in each measurement.
const MESSAGES: usize = 400;
/// Connections on which the attacker sends.
const ATTACKERS: usize = 4;
/// The attacker's maximum bit rate: a fast home uplink, or as much as this machine copies.
const UPLINKS: [(&str, f64); 2] = [("100 Mbit/s", 100e6), ("unlimited", f64::INFINITY)];

fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MP4, 16,000 tracks that share one sample", files::mp4(16_000, 100)),
        ("MP4, a table of 1,200,000 sample lengths", files::mp4_with_times(1_200_000)),
        ("Matroska, 200 Vorbis codebooks of 4 MB", files::vorbis(200)),
        ("FLAC, every fifth byte begins a frame", files::flac(15_000_000)),
        ("AAC, 2,000,000 frames without content", files::adts(2_000_000)),
        ("AMR, 15,000,000 frames without content", files::amr(15_000_000)),
        ("MP3 behind a tag with a picture of 15 MB", files::tagged_mp3(15_000_000)),
    ]
}

/// A second of a tone, as WAV; each number another one.
fn tone(number: u32) -> Vec<u8> {
    let pitch = 0.17 + f64::from(number) * 0.0001;
    let samples = (0..16_000).map(|n| ((f64::from(n) * pitch).sin() * 8000.0) as i16);
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

async fn upload(client: &reqwest::Client, hub: &Hub, from: &str, to: &str, sound: Vec<u8>) -> Value {
    let form = Form::new().text("user_id", from.to_owned()).text("to_user", to.to_owned());
    let form = form.part("reco_file", Part::bytes(sound).file_name("a"));
    let sent = client.post(format!("http://{}/app_uploader", hub.http)).multipart(form).send().await.unwrap();
    serde_json::from_str(&sent.text().await.unwrap()).unwrap()
}

/// A user who is a friend of the first one's toy.
async fn attacker(hub: &Hub, owner: &str, toy: &str) -> String {
    let new = json!({"username": "eve", "password": "password of eve", "nickname": "Eve", "gender": "2"});
    hub.post("/reg", new).await;
    let login = hub.post("/login", json!({"username": "eve", "password": "password of eve"})).await;
    let id = login["data"]["_id"].as_str().unwrap().to_owned();
    let wish = json!({"req_user": id, "add_user": toy, "type": "app", "req_info": "", "remark": "T"});
    hub.post("/add_req", wish).await;
    let list = hub.post("/req_list", json!({"_id": owner})).await;
    hub.post("/acc_req", json!({"req_id": list["data"][0]["_id"], "remark": "E"})).await;
    id
}

async fn bystander(client: &reqwest::Client, hub: &Hub, from: &str, to: &str, numbers: &AtomicU32) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..MESSAGES {
        let sound = tone(numbers.fetch_add(1, Ordering::Relaxed));
        let started = Instant::now();
        let answer = upload(client, hub, from, to, sound).await;
        assert_eq!(answer["code"], 0, "{answer}");
        times.push(started.elapsed());
    }
    times.sort();
    times
}

fn print(what: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    println!("{what:<60} p50 {:>7.1?}  p99 {:>7.1?}  max {:>7.1?}", at(0.5), at(0.99), at(1.0));
}

/// The CPU time of the processes that this one has started and that have ended, to a hundredth of a second.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The fields behind the name, which may contain blanks: user and system time are the 14th and 15th of them.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn run(program: String) {
    let config = Config::default();
    let limits = DecodeLimits {
        max_seconds: config.audio.recording_max_s,
        cpu_max: Duration::from_secs(config.audio.decode_cpu_max_s),
        ffmpeg: Some(Ffmpeg {
            program: config.audio.ffmpeg.into(),
            timeout: Duration::from_secs(config.audio.ffmpeg_timeout_s),
            memory_max_bytes: config.audio.ffmpeg_memory_max_bytes,
        }),
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, bomb) in bombs() {
        let path = folder.path().join("bomb");
        std::fs::write(&path, &bomb).unwrap();
        let (cpu, children, started) = (ThreadTime::now(), cpu_of_children(), Instant::now());
        let outcome = decode(&path, &limits).map(|sound| sound.duration());
        let megabytes = bomb.len() as f64 / 1e6;
        println!(
            "{name:<46} {megabytes:>5.1} MB  CPU {:>7.1?} and {:>7.1?} of ffmpeg  {:>7.1?}  {outcome:?}",
            cpu.elapsed(),
            cpu_of_children() - children,
            started.elapsed()
        );
    }
    let rate = ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000".to_owned());
    let hub = Arc::new(Hub::start(program, &[rate]));
    let [user, toy, _, _] = hub.family().await;
    let eve = attacker(&hub, &user, &toy).await;
    let (client, numbers) = (reqwest::Client::new(), AtomicU32::new(0));
    bystander(&client, &hub, &user, &toy, &numbers).await;
    print("messages of a bystander, alone", &bystander(&client, &hub, &user, &toy, &numbers).await);
    for (uplink, bits_per_second) in UPLINKS {
        for (name, bomb) in bombs() {
            let is_over = Arc::new(AtomicBool::new(false));
            let pause = Duration::from_secs_f64((bomb.len() * 8 * ATTACKERS) as f64 / bits_per_second);
            let attacks = (0..ATTACKERS).map(|_| {
                let (hub, eve, toy, bomb, is_over) =
                    (hub.clone(), eve.clone(), toy.clone(), bomb.clone(), is_over.clone());
                tokio::spawn(async move {
                    let client = reqwest::Client::new();
                    while !is_over.load(Ordering::Relaxed) {
                        tokio::join!(upload(&client, &hub, &eve, &toy, bomb.clone()), tokio::time::sleep(pause));
                    }
                })
            });
            let attacks: Vec<_> = attacks.collect();
            print(&format!("{name}, {uplink}"), &bystander(&client, &hub, &user, &toy, &numbers).await);
            is_over.store(true, Ordering::Relaxed);
            for attack in attacks {
                attack.await.unwrap();
            }
        }
    }
}

fn main() {
    let program = std::env::args().nth(1).expect("the program");
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(program));
}
