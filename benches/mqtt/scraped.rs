//! The cost of reading `/metrics` under load: the same load with and without a reader, in turn.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::brokers::Broker;
use super::load::{self, Idle};

const ROUNDS: usize = 5;
/// Prometheus reads every 15 seconds or more.
const INTERVAL: Duration = Duration::from_secs(1);

/// `ROUNDS` rounds of `messages` messages a pair, with `idle` idle connections, which a reading looks at.
pub async fn run(program: &Path, messages: u64, idle: usize) {
    let broker = Broker::toyhub(program);
    let console = broker.console.expect("console=ADDRESS");
    let mut connections = Idle::new();
    connections.grow(broker.address, idle).await;
    println!("10 pairs, {messages} messages a pair, {idle} idle connections, /metrics every {INTERVAL:?}");
    println!("{:>6}{:>5}{:>18}{:>18}{:>10}{:>10}", "round", "QoS", "not read, msg/s", "read, msg/s", "ratio", "ms");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        for qos in [0, 1] {
            let load = || load::flow(broker.address, 10, 1, messages, qos);
            // The order changes from round to round, as whatever runs first may be at an advantage.
            let (plain, read) = match round % 2 {
                0 => (load().await, beside(console, load()).await),
                _ => {
                    let read = beside(console, load()).await;
                    (load().await, read)
                }
            };
            let (read, took) = read;
            let ratio = read.per_second / plain.per_second;
            println!(
                "{round:>6}{qos:>5}{:>18.0}{:>18.0}{ratio:>10.3}{:>10.2}",
                plain.per_second,
                read.per_second,
                took.as_secs_f64() * 1e3
            );
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio: {:.3}", ratios[ratios.len() / 2]);
}

/// The result of `load`, during which the figures are read; and the mean time of a reading.
async fn beside<T>(console: SocketAddr, load: impl Future<Output = T>) -> (T, Duration) {
    let (mut took, mut count) = (Duration::ZERO, 0);
    let reading = async {
        loop {
            let began = Instant::now();
            let length = read(console).await;
            assert!(length > 1000, "the figures are {length} bytes");
            took += began.elapsed();
            count += 1;
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let done = tokio::select! {
        done = load => done,
        () = reading => unreachable!("it reads for ever"),
    };
    (done, took / count.max(1))
}

async fn read(console: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(console).await.expect("the console");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {console}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the console");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the console");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "the figures are refused");
    answer.len()
}
