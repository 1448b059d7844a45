//! Many children at once: toys that all ask within one second, and the time until each has its answer; then the same while
//! one more toy has sent several recordings before them, which must not delay the others by more than its turn.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Times;
use crate::hub::Hub;
use crate::recordings::Recording;
use crate::upload;

const TOYS: usize = 20;
const WITHIN: Duration = Duration::from_secs(1);
const COMMAND_S: u32 = 4;
/// Recordings of the toy that talks much.
const MANY: usize = 6;
/// The code of an answer that the hub is busy (docs/http.md).
const BUSY: i64 = 17;

/// Prints one line for each situation and number of threads.
pub async fn print(program: &str, model: &Path, rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut recordings: Vec<Recording> =
        (0..rounds * TOYS + MANY).map(|number| Recording::sum(folder.path(), COMMAND_S, number)).collect();
    let of_chatterer = recordings.split_off(rounds * TOYS);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{TOYS} toys ask within {} s, spoken sums of {COMMAND_S} s, {rounds} rounds, {cores} cores, {}; milliseconds",
        WITHIN.as_secs(),
        crate::name(model)
    );
    println!("{:40}{:>9}{:>9}{:>9}{:>9}{:>9}{:>16}", "", "p50", "p95", "longest", "answered", "busy", "answers/s/core");
    let settings = [
        ("TOYHUB_SPEECH__MODEL", model.display().to_string()),
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000".into()),
        ("TOYHUB_RATES__REGISTRATIONS_PER_ADDRESS_PER_MINUTE", "1000".into()),
        ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "1000".into()),
    ];
    let hub = Hub::start(program.to_owned(), &settings);
    let mut toys = Vec::new();
    for number in 0..=TOYS {
        let [_, toy, ..] = hub.family_of(&format!("user{number}")).await;
        toys.push(toy);
    }
    let (chatterer, toys) = toys.split_first().unwrap();
    // The model is loaded beside the start.
    let client = reqwest::Client::new();
    upload::ask(&client, &hub, chatterer, &recordings[0]).await;
    let mut alone = Answers::default();
    let mut beside = Answers::default();
    for round in recordings.chunks(TOYS) {
        ask_all(&client, &hub, toys, round, &mut alone).await;
    }
    for round in recordings.chunks(TOYS) {
        let mut more = JoinSet::new();
        for recording in of_chatterer.clone() {
            let (client, toy) = (client.clone(), chatterer.clone());
            let sent = upload::start(&client, &hub, &toy, &recording);
            more.spawn(sent);
        }
        tokio::task::yield_now().await;
        ask_all(&client, &hub, toys, round, &mut beside).await;
        more.join_all().await;
    }
    alone.print("alone", cores);
    beside.print(&format!("beside a toy with {MANY} recordings"), cores);
}

#[derive(Default)]
struct Answers {
    times: Times,
    answered: usize,
    busy: usize,
    count: usize,
    took: Duration,
}

impl Answers {
    fn print(&self, what: &str, cores: usize) {
        let [p50, p95, longest] = [50, 95, 100].map(|percent| self.times.percentile(percent));
        let rate = (self.count - self.busy) as f64 / self.took.as_secs_f64() / cores as f64;
        println!(
            "{what:40}{p50:>9.0}{p95:>9.0}{longest:>9.0}{:>9}{:>9}{rate:>16.2}",
            format!("{}/{}", self.answered, self.count),
            self.busy
        );
    }
}

/// The toys ask at even distances within [`WITHIN`].
async fn ask_all(client: &reqwest::Client, hub: &Hub, toys: &[String], recordings: &[Recording], all: &mut Answers) {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for (number, (toy, recording)) in toys.iter().zip(recordings).enumerate() {
        let at = tokio::time::Instant::from_std(began + WITHIN * number as u32 / TOYS as u32);
        let sent = upload::start(client, hub, toy, recording);
        asking.spawn(async move {
            tokio::time::sleep_until(at).await;
            let started = Instant::now();
            let answer = sent.await;
            (started.elapsed(), answer)
        });
    }
    for (time, answer) in asking.join_all().await {
        all.count += 1;
        if answer["code"] == BUSY {
            all.busy += 1;
            continue;
        }
        all.times.add(time);
        all.answered += usize::from(answer["chat"].is_string());
    }
    all.took += began.elapsed();
}
