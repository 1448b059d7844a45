//! Commands and messages at once: the time from the upload of a command to its answer on an idle machine, beside a
//! process that takes one core, and beside that and 1,000 MQTT messages a second through the same hub; and the latency
//! of these messages with and without commands. With `BENCH_PICTURE`, a file, draws the last over time, with two threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Times;
use crate::burner::Burner;
use crate::hub::Hub;
use crate::load;
use crate::picture::{Chart, Line, draw};
use crate::recordings::Recording;
use crate::upload;

const MESSAGES_PER_S: u32 = 1000;
const COMMAND_S: u32 = 4;
/// How long messages are measured without commands.
const MESSAGES_ALONE: Duration = Duration::from_secs(10);

/// Prints the table of a model: one line for each situation and number of threads.
pub async fn print(program: &str, model: &std::path::Path, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let recordings: Vec<Recording> =
        (0..count).map(|number| Recording::sum(folder.path(), COMMAND_S, number)).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{count} spoken sums of {COMMAND_S} s, one at a time, {cores} cores, {}; milliseconds",
        crate::name(model)
    );
    println!("{:44}{:>9}{:>9}{:>9}{:>14}{:>9}", "", "p50", "p95", "longest", "messages p50", "p99");
    for threads in [1, 2] {
        let settings = [
            ("TOYHUB_SPEECH__MODEL", model.display().to_string()),
            ("TOYHUB_SPEECH__THREADS", threads.to_string()),
            ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0".into()),
            // The limits are raised for the measurement, which uses one toy.
            ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000".into()),
        ];
        let hub = Hub::start(program.to_owned(), &settings);
        let [_, toy, ..] = hub.family().await;
        let broker = hub.conformance.expect("conformance=ADDRESS");
        let of = |what: &str| format!("threads = {threads}, {what}");
        row(&of("idle"), Some(&commands(&hub, &toy, &recordings).await), None);
        let burner = Burner::start();
        row(&of("one core taken"), Some(&commands(&hub, &toy, &recordings).await), None);
        let messages = Messages::start(broker);
        tokio::time::sleep(MESSAGES_ALONE).await;
        let alone = messages.stop().await;
        row(&of("one core taken, only messages"), None, Some(&alone));
        let messages = Messages::start(broker);
        let answers = commands(&hub, &toy, &recordings).await;
        let beside = messages.stop().await;
        row(&of("one core taken, and messages"), Some(&answers), Some(&beside));
        drop(burner);
        if let (2, Some(file)) = (threads, std::env::var_os("BENCH_PICTURE")) {
            picture(file.as_ref(), &alone, &answers, &beside);
        }
    }
}

/// Messages alone, and behind them messages beside commands.
fn picture(file: &std::path::Path, alone: &Times, answers: &Times, beside: &Times) {
    let messages: Vec<Duration> = alone.0.iter().chain(&beside.0).copied().collect();
    let minutes = |messages: usize| messages as f64 / f64::from(MESSAGES_PER_S) / 60.0;
    let half_second = MESSAGES_PER_S as usize / 2;
    let line = |name, percent| {
        let parts = messages.chunks(half_second).enumerate();
        let point =
            |(at, part): (usize, &[Duration])| (minutes(at * half_second), Times(part.to_vec()).percentile(percent));
        Line { name, points: parts.map(point).collect() }
    };
    let mut at = minutes(alone.0.len());
    let answered = answers.0.iter().map(|time| {
        at += time.as_secs_f64() / 60.0;
        (at, time.as_secs_f64() * 1e3)
    });
    let answers = [Line { name: "from the upload of a command to its answer", points: answered.collect() }];
    let messages = [line("p50 of half a second", 50), line("p99 of half a second", 99)];
    let title = format!("latency of {MESSAGES_PER_S} messages a second beside a busy process, ms");
    let charts = [
        Chart { title: &title, lines: &messages },
        Chart { title: "spoken commands, one after the other, ms", lines: &answers },
    ];
    draw(file, &charts).expect("the picture");
}

async fn commands(hub: &Hub, toy: &str, recordings: &[Recording]) -> Times {
    let client = reqwest::Client::new();
    let mut times = Times::default();
    for recording in recordings {
        let started = Instant::now();
        upload::ask(&client, hub, toy, recording).await;
        times.add(started.elapsed());
    }
    times
}

/// Messages that are being sent.
struct Messages {
    ends: Arc<AtomicBool>,
    load: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Messages {
    fn start(broker: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn(load::paced(broker, MESSAGES_PER_S, Arc::clone(&ends)));
        Self { ends, load }
    }

    async fn stop(self) -> Times {
        self.ends.store(true, Ordering::Relaxed);
        Times(self.load.await.unwrap())
    }
}

fn row(what: &str, commands: Option<&Times>, messages: Option<&Times>) {
    let cells = |times: Option<&Times>, percents: &[usize], width: usize| -> String {
        percents
            .iter()
            .map(|percent| match times {
                Some(times) => format!("{:>width$.1}", times.percentile(*percent)),
                None => format!("{:>width$}", "-"),
            })
            .collect()
    };
    println!("{what:44}{}{:5}{}", cells(commands, &[50, 95, 100], 9), "", cells(messages, &[50, 99], 9));
}
