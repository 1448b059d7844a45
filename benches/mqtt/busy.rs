//! The QoS 1 messages that arrive on a busy machine.

use std::path::Path;

use tokio::runtime::Runtime;

use super::brokers::Broker;
use super::burner::Burner;
use super::load::{self, Arrivals};

const RUNS: usize = 10;
const PAIRS: usize = 4;
const IN_FLIGHT: usize = 64;

/// Ten runs against the hub and mosquitto in turn, each of `messages` messages a pair.
pub fn run(runtime: &Runtime, program: &Path, messages: u64) {
    let expected = messages * PAIRS as u64;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let _burners: Vec<Burner> = (0..cores).map(|_| Burner::start()).collect();
    println!(
        "{PAIRS} pairs, QoS 1, {IN_FLIGHT} in flight, {messages} messages a pair; {cores} cores, each with a burner"
    );
    println!("{:>4}{:>24}{:>10}{:>24}{:>10}", "run", "toyhub", "s", "mosquitto", "s");
    let mut complete = [0, 0];
    for run in 1..=RUNS {
        let measured = [Broker::toyhub(program), Broker::mosquitto()].map(|broker| {
            let load = load::acknowledged(broker.address, PAIRS, messages as u32, IN_FLIGHT);
            runtime.block_on(load)
        });
        let row = measured.map(|Arrivals { received, took, .. }| {
            format!("{:>24}{:>10.1}", format!("{received} of {expected}"), took.as_secs_f64())
        });
        println!("{run:>4}{}{}", row[0], row[1]);
        for (complete, arrivals) in complete.iter_mut().zip(measured) {
            *complete += usize::from(arrivals.received == expected && arrivals.in_order);
        }
    }
    println!("complete and in order: toyhub {} of {RUNS}, mosquitto {} of {RUNS}", complete[0], complete[1]);
    assert_eq!(complete[0], RUNS, "toyhub lost messages of QoS 1");
}
