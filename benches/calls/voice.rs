//! Voice messages: what is sent, what limits their rate, and where their time goes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpu_time::ThreadTime;
use toyhub::config::Config;
use toyhub::ports::audio::{self, DecodeLimits};

use crate::hub::Hub;
use crate::load::{self, Request};
use crate::phase::Phase;
use crate::table::{self, Better};
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

/// The request with which a toy sends a recording to a user. Its last bytes are different each time, as no two recordings
/// of a microphone are the same.
pub fn upload(toy: &str, user: &str, recording: &[u8]) -> Request {
    let field = |name: &str, value: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"reco\"; filename=\"r\"\r\n\r\n");
    let head = [field("user_id", toy), field("to_user", user), part].concat();
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    let body = [head.as_bytes(), recording, end.as_bytes()].concat();
    Request::post("/toy_uploader", &format!("multipart/form-data; boundary={BOUNDARY}"), &body).numbered(end.len())
}

/// Where the time of a message goes. In milliseconds of one message, unless the name says otherwise.
pub struct Stages {
    name: String,
    senders: usize,
    rate: f64,
    /// Processor time of decoding and encoding, in a loop of this process, just before and after.
    codec: [f64; 2],
    /// A synced append of 4 KiB.
    sync: f64,
    /// What the hub has measured: the name, the number a message, and the milliseconds a message.
    measured: Vec<(&'static str, f64, f64)>,
    /// Flushes of the machine's disks: those that the file system and the disk's queue have not joined.
    flushes: f64,
    /// Processor time of the hub and of the load.
    hub_cpu: f64,
    load_cpu: f64,
    /// Time in which a processor had nothing to do.
    idle: f64,
}

/// The figures of the hub, with their names here.
const FIGURES: [(&str, &str); 7] = [
    ("decode", "decoding, on a worker"),
    ("encode", "encoding, on a worker"),
    ("notice", "notice, looked up"),
    ("file_write", "file: written, renamed, synced"),
    ("store_statement", "statements of the database"),
    ("store_commit", "commits, synced if they write"),
    ("sessions_commit", "commits of sessions"),
];

impl Stages {
    /// The rate that codec and sync alone permit: all processors convert, and the senders share one sync.
    fn limit(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(self.senders) as f64;
        let codec: f64 = self.codec.iter().sum();
        1000.0 * self.senders as f64 / (codec * self.senders as f64 / cores + self.sync)
    }

    fn print(&self) {
        let Self { name, senders, rate, codec: [decoding, encoding], sync, .. } = self;
        let (limit, cores) = (self.limit(), std::thread::available_parallelism().map_or(1, usize::from) as f64);
        println!(
            "\n{name}, {senders} at once: {rate:.1}/s, {:.0} % of the limit of {limit:.1}/s",
            100.0 * rate / limit
        );
        println!(
            "  the limit: decoding {decoding:.2} ms, encoding {encoding:.2} ms, one sync {sync:.2} ms for {senders}"
        );
        println!("  {:34}{:>10}{:>12}", "stage of the hub", "a message", "ms, waiting");
        for (stage, count, time) in &self.measured {
            println!("  {stage:34}{count:>10.2}{time:>12.2}");
        }
        println!("  {:34}{:>10.2}", "flushes of the disks", self.flushes);
        let (all, codec) = (1000.0 * cores / rate, decoding + encoding);
        println!("  {:34}{:>10}{:>12}", "processor time", "% of all", "ms");
        let rows = [
            ("codec, as above", codec),
            ("the hub without it", self.hub_cpu - codec),
            ("the load of this measurement", self.load_cpu),
            ("kernel threads and other processes", all - self.hub_cpu - self.load_cpu - self.idle),
            ("unused", self.idle),
        ];
        for (stage, time) in rows {
            println!("  {stage:34}{:>10.0}{time:>12.2}", 100.0 * time / all);
        }
    }
}

/// Measures the recordings of these senders, each a toy with its user: of one, of half of them, and of all at a time.
pub async fn measure(hub: &Hub, families: &[[String; 2]], time: Duration) -> Vec<Stages> {
    let mut all = Vec::new();
    for (name, recording) in recordings() {
        for senders in [1, families.len() / 2, families.len()] {
            let requests: Vec<Request> =
                families[..senders].iter().map(|[user, toy]| upload(toy, user, &recording)).collect();
            let before = codec(&recording, time / 8);
            let title = format!("voice message, {name}, {senders} at once");
            let mut begun = (Vec::new(), 0.0, 0.0, 0.0, 0.0);
            let phase = Phase::begin(&title, hub.id());
            let begin = || begun = (figures(hub), cpu_ms(hub.id()), cpu_ms(std::process::id()), idle_ms(), flushes());
            let (count, took) = load::answers(hub.http, &requests, time, begin).await;
            drop(phase);
            let (hub_cpu, load_cpu, idle) = (cpu_ms(hub.id()), cpu_ms(std::process::id()), idle_ms());
            let flushes = flushes();
            let figures = figures(hub);
            let after = codec(&recording, time / 8);
            let each = |total: f64| total / count as f64;
            let measured = FIGURES.iter().zip(begun.0.iter().zip(&figures));
            let measured = measured.map(|((_, name), (old, new))| (*name, each(new.0 - old.0), each(new.1 - old.1)));
            all.push(Stages {
                name: name.to_owned(),
                senders,
                rate: count as f64 / took.as_secs_f64(),
                codec: [0, 1].map(|at| (before[at] + after[at]) / 2.0),
                sync: sync_ms(time / 8),
                measured: measured.filter(|(_, count, _)| *count > 0.0).collect(),
                flushes: each(flushes - begun.4),
                hub_cpu: each(hub_cpu - begun.1),
                load_cpu: each(load_cpu - begun.2),
                idle: each(idle - begun.3),
            });
        }
    }
    all
}

/// The rates, as those of other calls.
pub fn rates(stages: &[Stages]) -> impl Iterator<Item = (String, f64)> {
    stages.iter().map(|stages| (format!("voice message, {}, {} at once", stages.name, stages.senders), stages.rate))
}

/// Records the rates for the table of all measurements, each beside its limit.
pub fn record(stages: &[Stages]) {
    for ((name, rate), stages) in rates(stages).zip(stages) {
        table::record("calls", &name, Better::More, rate, "limit of codec and sync", stages.limit());
    }
}

/// Prints where the time goes, and a summary.
pub fn print(stages: &[Stages]) {
    stages.iter().for_each(Stages::print);
    println!("\n{:34}{:>10}{:>10}{:>12}", "voice messages/s", "toyhub", "limit", "% of it");
    for one in stages {
        let (name, limit) = (format!("{}, {} at once", one.name, one.senders), one.limit());
        println!("{name:34}{:>10.1}{limit:>10.1}{:>12.0}", one.rate, 100.0 * one.rate / limit);
    }
}

/// Milliseconds of processor time to decode and to encode a recording.
fn codec(recording: &[u8], time: Duration) -> [f64; 2] {
    let config = Config::default();
    let limits =
        DecodeLimits { max_seconds: config.audio.recording_max_s, cpu_max: Duration::from_secs(5), ffmpeg: None };
    let mean = |work: &dyn Fn()| {
        let (begun, cpu, mut count) = (Instant::now(), ThreadTime::now(), 0u32);
        while begun.elapsed() < time {
            work();
            count += 1;
        }
        cpu.elapsed().as_secs_f64() * 1000.0 / f64::from(count)
    };
    let recording = Bytes::copy_from_slice(recording);
    let decode = || audio::decode_bytes(recording.clone(), &limits).expect("a sound");
    let sound = decode();
    let encode = || audio::encode_mp3(&sound, config.audio.mp3_bitrate_kbps).expect("an MP3");
    [mean(&|| drop(decode())), mean(&|| drop(encode()))]
}

fn sync_ms(time: Duration) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    1000.0 / disk_speed::synced_appends_per_second(folder.path(), time).unwrap()
}

/// Processor time of a process so far, in milliseconds.
fn cpu_ms(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    // The name, which may have spaces, ends with the last bracket; then there are 11 other fields.
    let times = stat.rsplit(')').next().expect("fields").split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<f64>().expect("a number") * 10.0).sum()
}

/// The time in which processors had nothing to do, or waited for the disk, of all processors together, in milliseconds.
fn idle_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("the times of the processors");
    // The first line begins with "cpu", user, nice, system.
    let times = stat.lines().next().expect("a line").split_whitespace().skip(4).take(2);
    times.map(|ticks| ticks.parse::<f64>().expect("a number") * 10.0).sum()
}

/// Flushes of all disks so far.
fn flushes() -> f64 {
    let disks = std::fs::read_to_string("/proc/diskstats").expect("the counters of the disks");
    // Numbers and name of the device, then 15 counters before that of flushes.
    disks.lines().filter_map(|disk| disk.split_whitespace().nth(18)?.parse::<f64>().ok()).sum()
}

/// Number and total milliseconds of each of [`FIGURES`]; 0 for those that the hub does not have.
fn figures(hub: &Hub) -> Vec<(f64, f64)> {
    let mut stream = TcpStream::connect(hub.console).expect("the console");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.console);
    stream.write_all(request.as_bytes()).expect("the console");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("the console");
    let value = |name: String| {
        let line = page.lines().find_map(|line| line.strip_prefix(&*name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    };
    let figure = |name: &str| {
        let [count, sum] = ["count", "sum"].map(|end| value(format!("toyhub_{name}_seconds_{end}")));
        (count, sum * 1000.0)
    };
    FIGURES.iter().map(|(name, _)| figure(name)).collect()
}
