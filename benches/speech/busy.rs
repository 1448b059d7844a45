//! Commands and messages at once: the time from the upload of a command to its answer on an idle machine, beside a
//! process that takes one core, and beside that and 1,000 MQTT messages a second through the same hub; and the latency
//! of these messages with and without commands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Times;
use crate::burner::Burner;
use crate::hub::Hub;
use crate::load;
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
        row(&of("one core taken, only messages"), None, Some(&messages.stop().await));
        let messages = Messages::start(broker);
        let answers = commands(&hub, &toy, &recordings).await;
        row(&of("one core taken, and messages"), Some(&answers), Some(&messages.stop().await));
        drop(burner);
    }
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
