//! The same load against toyhub, mosquitto and rumqttd, one after the other, with the ratios.
//!
//! The first argument is the hub's program; `quick` as another makes everything ten times smaller. `flow` counts the
//! QoS 1 messages that arrive on an overloaded machine, `pairs` compares QoS 1 with rumqttd ten times, `tls` measures
//! handshakes and messages over TLS, `storm` the return of toys with stored sessions, `idle` the memory of idle clients,
//! and `metrics` the cost of reading the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod brokers;
#[path = "../hub/burner.rs"]
mod burner;
mod busy;
#[path = "../hub/mod.rs"]
mod hub;
mod idle;
mod load;
mod pairs;
#[path = "../hub/phase.rs"]
mod phase;
mod scraped;
mod secure;
mod storm;
#[path = "../hub/table.rs"]
mod table;

use std::time::Duration;

use brokers::Broker;
use load::{Idle, Outcome};
use phase::Phase;
use table::Better;

/// The figures of one broker.
struct Figures {
    name: &'static str,
    pairs_qos0: Outcome,
    pairs_qos1: Outcome,
    fan_out: Outcome,
    round_trip: (Duration, Duration),
    idle_few: f64,
    idle_many: f64,
    resident_half: f64,
    resident_end: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, address] = &arguments[..]
        && flag == "--rumqttd"
    {
        return brokers::serve_rumqttd(address.parse().expect("an address"));
    }
    if arguments.get(1).is_some_and(|argument| argument == burner::BURN) {
        burner::burn();
    }
    let program = arguments.get(1).expect("the hub's program");
    let scale = if arguments.iter().any(|argument| argument == "quick") { 10 } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if arguments.iter().any(|argument| argument == "flow") {
        return busy::run(&runtime, program.as_ref(), 60_000 / scale);
    }
    if arguments.iter().any(|argument| argument == "pairs") {
        return runtime.block_on(pairs::run(program.as_ref(), 300_000 / scale));
    }
    if arguments.iter().any(|argument| argument == "tls") {
        return runtime.block_on(secure::run(program, scale));
    }
    if arguments.iter().any(|argument| argument == "storm") {
        return runtime.block_on(storm::run(program, scale));
    }
    if arguments.iter().any(|argument| argument == "idle") {
        return runtime.block_on(idle::run(program, scale));
    }
    if arguments.iter().any(|argument| argument == "metrics") {
        return runtime.block_on(scraped::run(program.as_ref(), 100_000 / scale, (5_000 / scale) as usize));
    }
    let start: [fn(&str) -> Broker; 3] =
        [|program| Broker::toyhub(program.as_ref()), |_| Broker::mosquitto(), |_| Broker::rumqttd()];
    let figures: Vec<Figures> =
        start.into_iter().map(|start| runtime.block_on(measure(&|| start(program), scale))).collect();
    print(&figures, scale);
    for figures in &figures[..1] {
        assert_eq!(figures.pairs_qos1.lost, 0, "{} lost messages of QoS 1", figures.name);
    }
}

async fn measure(start: &(dyn Fn() -> Broker + '_), scale: u64) -> Figures {
    let broker = start();
    eprintln!("{} …", broker.name);
    let named = |phase: &str| format!("{} {phase}", broker.name);
    let phase = Phase::begin(&named("pairs of QoS 0"), broker.id());
    let pairs_qos0 = load::flow(broker.address, 10, 1, 100_000 / scale, 0).await;
    drop(phase);
    let phase = Phase::begin(&named("pairs of QoS 1"), broker.id());
    let pairs_qos1 = load::flow(broker.address, 10, 1, 30_000 / scale, 1).await;
    drop(phase);
    let phase = Phase::begin(&named("one to fifty"), broker.id());
    let fan_out = load::flow(broker.address, 1, 50, 20_000 / scale, 0).await;
    drop(phase);
    let round_trip = load::round_trips(broker.address, (20_000 / scale) as usize).await;

    let fresh = start();
    let before = fresh.resident();
    let mut idle = Idle::new();
    let (few, many) = ((5_000 / scale) as usize, (15_000 / scale) as usize);
    let each = |resident: u64, count: usize| (resident as f64 - before as f64) / count as f64 / 1000.0;
    idle.grow(fresh.address, few).await;
    let idle_few = each(fresh.resident(), few);
    idle.grow(fresh.address, many).await;
    let idle_many = each(fresh.resident(), many);
    drop(idle);

    let fresh = start();
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    load::flow(fresh.address, 10, 1, 100_000 / scale, 0).await;
    let resident_half = mib(fresh.resident());
    load::flow(fresh.address, 10, 1, 100_000 / scale, 0).await;
    let resident_end = mib(fresh.resident());
    let name = broker.name;
    Figures { name, pairs_qos0, pairs_qos1, fan_out, round_trip, idle_few, idle_many, resident_half, resident_end }
}

fn print(all: &[Figures], scale: u64) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores shared by broker and load; 64-byte payloads; mosquitto without persistence");
    println!(
        "{:34}{:>12}{:>12}{:>12}{:>14}{:>12}",
        "", all[0].name, all[1].name, all[2].name, "of mosquitto", "of rumqttd"
    );
    let row = |name: &str, better: Better, value: &dyn Fn(&Figures) -> f64| {
        let values: Vec<f64> = all.iter().map(value).collect();
        for peer in [1, 2] {
            table::record("mqtt", name, better, values[0], all[peer].name, values[peer]);
        }
        let ratio = |peer: usize| format!("{:.2}×", values[0] / values[peer]);
        println!("{name:34}{:>12.1}{:>12.1}{:>12.1}{:>14}{:>12}", values[0], values[1], values[2], ratio(1), ratio(2));
    };
    row("10 pairs, QoS 0, messages/s", Better::More, &|figures| figures.pairs_qos0.per_second);
    row("10 pairs, QoS 1, messages/s", Better::More, &|figures| figures.pairs_qos1.per_second);
    row("1 to 50, QoS 0, deliveries/s", Better::More, &|figures| figures.fan_out.per_second);
    row("round trip p50, µs", Better::Less, &|figures| figures.round_trip.0.as_secs_f64() * 1e6);
    row("round trip p99, µs", Better::Less, &|figures| figures.round_trip.1.as_secs_f64() * 1e6);
    row(&format!("KB for each of {} idle", 5_000 / scale), Better::Less, &|figures| figures.idle_few);
    row(&format!("KB for each of {} idle", 15_000 / scale), Better::Less, &|figures| figures.idle_many);
    row(&format!("MiB resident after {} messages", 1_000_000 / scale), Better::Less, &|figures| figures.resident_half);
    row(&format!("MiB resident after {} messages", 2_000_000 / scale), Better::Less, &|figures| figures.resident_end);
    for figures in all {
        let Figures { name, pairs_qos0, pairs_qos1, fan_out, .. } = figures;
        println!(
            "{name} lost: {} of pairs QoS 0, {} of QoS 1, {} of 1 to 50",
            pairs_qos0.lost, pairs_qos1.lost, fan_out.lost
        );
    }
}
