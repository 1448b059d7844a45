//! Voice messages: what is sent, and what limits their rate.

use std::time::{Duration, Instant};

use bytes::Bytes;
use toyhub::config::Config;
use toyhub::ports::audio::{self, DecodeLimits};

use crate::load::Request;
#[path = "../torture/disk_speed.rs"]
mod disk_speed;

const BOUNDARY: &str = "a-line-between-the-parts";
const RATE_HZ: usize = 8000;

/// A short word and a sentence, as toys send them, and a sentence as a phone sends it.
pub fn recordings() -> [(&'static str, Vec<u8>); 3] {
    let [word, sentence] = [0.5, 4.0].map(tones);
    [
        ("AMR 0.5 s", crate::amr::encode_amr_nb(&word)),
        ("AMR 4 s", crate::amr::encode_amr_nb(&sentence)),
        ("WAV 4 s", wav(&sentence)),
    ]
}

/// Changing tones, which a codec cannot store as silence.
fn tones(seconds: f64) -> Vec<i16> {
    let samples = 0..(seconds * RATE_HZ as f64) as usize;
    samples.map(|at| (((at * at / 700) as f64 / 9.0).sin() * 9000.0) as i16).collect()
}

fn wav(samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let rate = (RATE_HZ as u32).to_le_bytes();
    let head = [&b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0"[..], &rate, b"\x80\x3e\0\0\x02\0\x10\0data"].concat();
    [&head[..], &(data.len() as u32).to_le_bytes(), &data].concat()
}

/// The request with which a toy sends a recording to a user.
pub fn upload(toy: &str, user: &str, recording: &[u8]) -> Request {
    let field = |name: &str, value: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"reco\"; filename=\"r\"\r\n\r\n");
    let head = [field("user_id", toy), field("to_user", user), part].concat();
    let body = [head.as_bytes(), recording, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
    Request::post("/toy_uploader", &format!("multipart/form-data; boundary={BOUNDARY}"), &body)
}

/// Prints the CPU time of decoding and encoding each recording, and the time of one sync of the disk: what a message
/// costs at least, when many senders share a sync.
pub fn print_limit(time: Duration) {
    let config = Config::default();
    let limits =
        DecodeLimits { max_seconds: config.audio.recording_max_s, cpu_max: Duration::from_secs(5), ffmpeg: None };
    let mean = |work: &dyn Fn()| {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < time / 4 {
            work();
            count += 1;
        }
        begun.elapsed() / count
    };
    for (name, recording) in recordings() {
        let recording = Bytes::from(recording);
        let decode = || audio::decode_bytes(recording.clone(), &limits).expect("a sound");
        let sound = decode();
        let decoding = mean(&|| drop(decode()));
        let encoding = mean(&|| drop(audio::encode_mp3(&sound, config.audio.mp3_bitrate_kbps).expect("an MP3")));
        println!("{name}: decoding {decoding:.2?}, encoding {encoding:.2?} on one core");
    }
    let folder = tempfile::tempdir().unwrap();
    let syncs = disk_speed::synced_appends_per_second(folder.path(), time).unwrap();
    println!("one synced append of 4 KiB: {:.2?}", Duration::from_secs_f64(1.0 / syncs));
}
