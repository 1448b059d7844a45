//! `scripts/bench talk`: figures of devices with stock firmware, which are printed and not compared.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::stock_device::{Device, FIRMWARES, MAC, Played, UUID, activate, activate_as};
use crate::world::{User, World};
use crate::xiaozhi::{hub, spoken};

/// Turns of one device.
const TURNS: usize = 100;
/// Devices that speak at the same time.
const AT_ONCE: [usize; 5] = [1, 2, 4, 8, 16];
/// Turns of each of them.
const TURNS_OF_EACH: usize = 6;
/// Seconds for which the hub's memory must be steady.
const STEADY_S: usize = 5;
/// Ticks of processor time in a second, for programs (proc(5)).
const USER_HZ: f64 = 100.0;
/// Devices whose memory is measured, over each transport.
const IDLE: usize = 500;
/// Those of one user.
const TOYS_OF_OWNER: usize = 25;

/// What a login writes would otherwise fill the memory of the database, and count as that of the device.
const SMALL_DATABASE: [(&str, &str); 2] =
    [("TOYHUB_STORE__MEMTABLE_BYTES", "1048576"), ("TOYHUB_STORE__BLOCK_CACHE_BYTES", "1048576")];

const LIMITS: [(&str, &str); 9] = [
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000"),
    ("TOYHUB_RATES__REQUESTS_PER_PARTY_PER_MINUTE", "100000"),
    ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "100000"),
    ("TOYHUB_XIAOZHI__ACTIVATIONS_PER_ADDRESS_MAX", "1000"),
    ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "10000"),
    ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "10000"),
    ("TOYHUB_XIAOZHI__SILENCE_TIMEOUT_S", "600"),
    ("TOYHUB_XIAOZHI__TRANSPORT", "both"),
    ("TOYHUB_XIAOZHI__UDP_LISTEN", "127.0.0.1:0"),
];

/// A sum, and its result.
fn sum(number: usize) -> (String, String) {
    let (one, other) = (number % 9 + 1, number / 9 % 11 + 1);
    (format!("can you tell me what {one} plus {other} is"), (one + other).to_string())
}

#[derive(Default)]
struct Figures {
    latencies_ms: Vec<f64>,
    late_ms: Vec<f64>,
    right: usize,
    turns: usize,
    lost: usize,
}

impl Figures {
    fn add(&mut self, played: &Played, result: &str) {
        self.latencies_ms.extend(played.latency.map(|latency| latency.as_secs_f64() * 1e3));
        self.late_ms.extend(&played.late_ms);
        self.right += usize::from(played.sentences.iter().any(|said| said.contains(result)));
        self.turns += 1;
        self.lost += played.early + played.overflow + played.cut + played.underruns;
    }
}

/// The value of which this part of all is smaller.
fn quantile(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

/// The processor time of the hub, in milliseconds.
fn processor_ms(world: &World) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", world.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks * 1e3 / USER_HZ
}

/// The hub's memory that no file backs, in bytes, once it has been steady for some seconds: the allocator gives the
/// memory of password hashes back late.
async fn steady_bytes(world: &World) -> f64 {
    let (mut before, mut same) = (anonymous_bytes(world), 0);
    while same < STEADY_S {
        sleep(Duration::from_secs(1)).await;
        let now = anonymous_bytes(world);
        same = if (now - before).abs() < now / 200.0 { same + 1 } else { 0 };
        before = now;
    }
    before
}

/// The hub's memory that no file backs, in bytes.
fn anonymous_bytes(world: &World) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// The id of a device.
fn uuid(number: usize) -> String {
    format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f{number:06x}")
}

async fn device(world: &World, owner: &User, number: usize) -> Device {
    let uuid = uuid(number);
    let (url, token) = activate(world, owner, (MAC, &uuid)).await;
    Device::connect(&url, &token, (MAC, &uuid), FIRMWARES[3]).await
}

/// The time from the end of the words to the first packet, in automatic mode, and how evenly packets come. It includes
/// the silence by which the hub notices the end.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn of_one_device() {
    let world = hub(&LIMITS).await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, (MAC, UUID)).await;
    let mut device = Device::connect(&url, &token, (MAC, UUID), FIRMWARES[3]).await;
    let mut figures = Figures::default();
    let (before, began) = (processor_ms(&world), Instant::now());
    for number in 0..TURNS {
        let (words, result) = sum(number);
        figures.add(&device.ask(&spoken(&words)).await, &result);
    }
    let (spent, time) = (processor_ms(&world) - before, began.elapsed().as_secs_f64() * 1e3);
    println!("{TURNS} spoken sums, the included model, one device, {} answered right", figures.right);
    let (p50, p95) = (quantile(&mut figures.latencies_ms, 0.5), quantile(&mut figures.latencies_ms, 0.95));
    println!("end of the words to the first packet, ms: p50 {p50:.0}, p95 {p95:.0}");
    let (p50, p99) = (quantile(&mut figures.late_ms, 0.5), quantile(&mut figures.late_ms, 0.99));
    println!("packets later than their time, ms: p50 {p50:.1}, p99 {p99:.1}");
    println!("packets lost, and underruns: {}", figures.lost);
    println!("processor time of a turn: {:.0} ms, {:.0} % of one core", spent / TURNS as f64, spent / time * 100.0);
}

/// Several devices that speak in the same moment, again and again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn of_devices_that_speak_at_once() {
    let world = hub(&LIMITS).await;
    let dad = world.user("dad").await;
    let sums: Vec<_> =
        (0..TURNS_OF_EACH).map(|number| sum(number * 7)).map(|(words, result)| (spoken(&words), result)).collect();
    let mut first = 0;
    for count in AT_ONCE {
        let mut devices = Vec::new();
        for number in first..first + count {
            devices.push(device(&world, &dad, number).await);
        }
        first += count;
        let mut figures = Figures::default();
        let before = processor_ms(&world);
        for (words, result) in &sums {
            let start = Instant::now() + Duration::from_millis(200);
            let turns = devices.iter_mut().map(|device| async move {
                sleep_until(start).await;
                device.ask(words).await
            });
            for played in futures_util::future::join_all(turns).await {
                figures.add(&played, result);
            }
        }
        let spent = (processor_ms(&world) - before) / figures.turns as f64;
        let (p50, p95) = (quantile(&mut figures.latencies_ms, 0.5), quantile(&mut figures.latencies_ms, 0.95));
        println!(
            "{count} at once: first packet after p50 {p50:.0} ms, p95 {p95:.0} ms; {} of {} right; {} packets lost or \
             late; {spent:.0} ms of processor time for a turn",
            figures.right, figures.turns, figures.lost
        );
    }
}

/// The memory of devices that are connected and silent, over MQTT.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn of_idle_devices_over_mqtt() {
    let world = hub(&[&LIMITS[..], &SMALL_DATABASE].concat()).await;
    let answers = activate_all(&world).await;
    // What the hub needs once, such as memory for password hashes, is there with the first half.
    let (first, more) = answers.split_at(IDLE / 2);
    let mut devices = log_in(first).await;
    let before = steady_bytes(&world).await;
    let mut others = log_in(more).await;
    let each = (steady_bytes(&world).await - before) / more.len() as f64 / 1e3;
    println!("{} more idle devices over MQTT: {each:.1} KB each", more.len());
    for device in &mut devices {
        device.wake().await;
    }
    let before = steady_bytes(&world).await;
    for device in &mut others {
        device.wake().await;
    }
    let each = (steady_bytes(&world).await - before) / more.len() as f64 / 1e3;
    println!("an open conversation of one of them over UDP: {each:.1} KB more");
}

/// The memory of devices in a silent conversation over a WebSocket. While idle, they have no connection.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn of_idle_devices_over_a_websocket() {
    let world = hub(&[&LIMITS[..], &SMALL_DATABASE].concat()).await;
    let answers = activate_all(&world).await;
    let (mut devices, mut before) = (Vec::new(), 0.0);
    for (number, answer) in answers.iter().enumerate() {
        if number == IDLE / 2 {
            before = steady_bytes(&world).await;
        }
        let text = |name: &str| answer["websocket"][name].as_str().unwrap_or_else(|| panic!("{answer}"));
        devices.push(Device::connect(text("url"), text("token"), (MAC, &uuid(number)), FIRMWARES[3]).await);
    }
    let each = (steady_bytes(&world).await - before) / (IDLE / 2) as f64 / 1e3;
    println!("{} more devices with an open conversation over a WebSocket: {each:.1} KB each", IDLE / 2);
}

/// The answers to the checks of devices that are bound.
async fn activate_all(world: &World) -> Vec<Value> {
    let (mut owner, mut answers) = (world.user("dad").await, Vec::new());
    for number in 0..IDLE {
        if number % TOYS_OF_OWNER == 0 {
            owner = world.user(&format!("dad{number}")).await;
        }
        answers.push(activate_as(world, &owner, (MAC, &uuid(number)), FIRMWARES[3]).await);
    }
    answers
}

/// The devices of these answers to a check, idle.
async fn log_in(answers: &[Value]) -> Vec<Device> {
    futures_util::stream::iter(answers).then(|answer| Device::log_in(&answer["mqtt"], FIRMWARES[3])).collect().await
}
