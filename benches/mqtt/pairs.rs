//! Ten pairs of clients with QoS 1, against toyhub and rumqttd in turn, ten times.

use std::path::Path;

use super::brokers::Broker;
use super::load;

const RUNS: usize = 10;

/// Prints each run. Fails if the hub loses a message; `messages` are those of a pair.
pub async fn run(program: &Path, messages: u64) {
    println!("10 pairs of clients, {messages} messages of QoS 1 each, 64-byte payloads");
    println!("{:>4}{:>16}{:>16}{:>10}{:>12}{:>12}", "run", "toyhub, /s", "rumqttd, /s", "ratio", "lost", "lost");
    let (mut ahead, mut lost) = (0, 0);
    for number in 1..=RUNS {
        let hub = load::flow(Broker::toyhub(program).address, 10, 1, messages, 1).await;
        let peer = load::flow(Broker::rumqttd().address, 10, 1, messages, 1).await;
        let ratio = hub.per_second / peer.per_second;
        ahead += usize::from(ratio >= 1.0);
        lost += hub.lost;
        println!(
            "{number:4}{:16.0}{:16.0}{ratio:9.2}×{:12}{:12}",
            hub.per_second, peer.per_second, hub.lost, peer.lost
        );
    }
    println!("toyhub is at least as fast in {ahead} of {RUNS} runs");
    assert_eq!(lost, 0, "the hub lost messages of QoS 1");
}
