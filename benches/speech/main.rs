//! The time until a toy gets its answer, by step.
//!
//! The first argument is the hub's program, the second a model file; `quick` takes a quarter of the recordings. With
//! `busy`, it measures commands beside a busy process and MQTT messages instead; with `many`, toys that ask at once; with
//! `spoken`, the hub's own lines are
//! recognised back; with `understand`, it prints the recognised texts and intents of recordings: see `understand.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../hub/burner.rs"]
mod burner;
mod busy;
#[path = "../hub/mod.rs"]
#[allow(dead_code)]
mod hub;
#[path = "../mqtt/load.rs"]
#[allow(dead_code)]
mod load;
mod many;
#[path = "../torture/picture.rs"]
mod picture;
mod recordings;
mod shapes;
mod spoken;
mod stages;
mod understand;
mod upload;

use std::path::Path;
use std::time::Duration;

use mimalloc::MiMalloc;
use recordings::Recording;

/// As in the hub.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Recordings of each length.
const COUNT: usize = 60;
const LENGTHS_S: [u32; 3] = [2, 4, 8];

/// Times of one thing, one for each recording.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time in milliseconds that so many percent did not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == burner::BURN) {
        burner::burn();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let [word, model, samples, languages @ ..] = &arguments[..]
        && word == "understand"
    {
        runtime.block_on(understand::answer_lines(Path::new(model), Path::new(samples), languages));
        return;
    }
    let [program, model, more @ ..] = &arguments[..] else { panic!("the hub's program and a model are needed") };
    let model = std::fs::canonicalize(model).expect("the model's file");
    let count = if more.iter().any(|word| word == "quick") { COUNT / 4 } else { COUNT };
    if more.iter().any(|word| word == "busy") {
        runtime.block_on(busy::print(program, &model, count));
        return;
    }
    if more.iter().any(|word| word == "many") {
        runtime.block_on(many::print(program, &model, count / 12));
        return;
    }
    if more.iter().any(|word| word == "spoken") {
        runtime.block_on(spoken::print(&model, more.iter().any(|word| word == "quick")));
        return;
    }
    runtime.block_on(figures(program, &model, count));
    shapes::print();
}

async fn figures(program: &str, model: &Path, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut columns = Vec::new();
    for seconds in LENGTHS_S {
        eprintln!("recordings of {seconds} s …");
        let recordings: Vec<Recording> =
            (0..count).map(|number| Recording::sum(folder.path(), seconds, number)).collect();
        let uploads = upload::measure(program, model, &recordings).await;
        let stages = stages::measure(model, &recordings).await;
        columns.push((uploads, stages));
    }
    println!("{count} spoken sums of each length, WAV at 16 kHz, one at a time, with {}", name(model));
    println!("{:48}{:>14}{:>14}{:>14}", "milliseconds: p50, p95", "2 s", "4 s", "8 s");
    let row = |what: &str, of: &dyn Fn(&(upload::Uploads, stages::Stages)) -> [f64; 2]| {
        let cells: String = columns.iter().map(of).map(|[half, most]| format!("{half:>7.1}{most:>7.1}")).collect();
        println!("{what:48}{cells}");
    };
    let both = |times: &Times| [times.percentile(50), times.percentile(95)];
    row("upload to answer, its sound newly spoken", &|(uploads, _)| both(&uploads.first));
    row("upload to answer, its sound kept from before", &|(uploads, _)| both(&uploads.again));
    row("  decode", &|(_, stages)| both(&stages.decode));
    row("  recognise", &|(_, stages)| both(&stages.recognise));
    row("  intent", &|(_, stages)| both(&stages.intent));
    row("  synthesise", &|(_, stages)| both(&stages.synthesise));
    row("whisper.cpp called directly", &|(_, stages)| both(&stages.direct));
    let ratios: String = columns
        .iter()
        .map(|(_, stages)| stages.recognise.percentile(50) / stages.direct.percentile(50))
        .map(|ratio| format!("{ratio:>13.3}×"))
        .collect();
    println!("{:48}{ratios}", "recognise, of whisper.cpp called directly, p50");
    let right: String = columns.iter().map(|(_, stages)| format!("{:>14}", stages.right)).collect();
    println!("{:48}{right}", "understood as this sum");
}

fn name(model: &Path) -> std::borrow::Cow<'_, str> {
    model.file_name().unwrap_or_default().to_string_lossy()
}
