//! Two hubs over one database, three brokers and one bucket, behind a balancer. Each part is killed and started again,
//! first one after the other, then all of them at random moments, while messages are sent through the balancer. The
//! bucket is not killed: the server that stands for it keeps everything in memory.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::RngExt as _;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::audit::Audit;
use crate::engines::{Balancer, NODES, Nats, S3Server, StoreServer, free_port};
use crate::family;
use crate::gate::Gate;
use crate::hub::{Addresses, Hub, Running};
use crate::ledger::{Ledger, Way};
use crate::senders::Sender;

/// The ways of sending: all. At QoS 2 a sender has a session, which is at the hub that it was connected to: if that is
/// killed, the sender begins a new session at the other one, and does not send again what had no answer.
const WAYS: [Way; 8] = Way::ALL;
/// The time between two complete readings.
const ROUND: Duration = Duration::from_secs(60);
/// The ranges of the times for which a part runs, and is away.
const UP_MS: (u64, u64) = (2000, 15_000);
const DOWN_MS: (u64, u64) = (100, 5000);
/// When a part is killed alone, it is away for so long.
const ALONE_DOWN: Duration = Duration::from_secs(3);
/// The time in which everything has to be in order again.
const HEALING: Duration = Duration::from_secs(120);
/// The pause of a sender between two messages.
const PAUSE: Duration = Duration::from_millis(100);
/// A client that is not the balancer.
const WATCHER: [u8; 4] = [127, 0, 0, 9];

/// The plan of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The time of the random kills.
    pub time: Duration,
    pub families: usize,
}

pub async fn torment(program: &Path, parent: &Path, plan: Plan) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("toyhub-torture-").tempdir_in(parent)?;
    let mut cluster = Cluster::start(program, folder.path()).await?;
    let addresses = cluster.addresses()?;
    let (ledger, gate) = (Arc::new(Ledger::of_many_hubs()), Gate::new());
    let families = family::families(cluster.hub()?, addresses, plan.families, plan.families).await?;
    gate.set(Some(addresses));
    let mut audit = Audit::open(&ledger, &gate, &families, &WAYS).await?;
    let mut senders = Vec::new();
    for (lane, family) in families.iter().enumerate() {
        for way in WAYS {
            let (ledger, gate) = (Arc::clone(&ledger), gate.clone());
            let sender = Sender { ledger, gate, family: family.clone(), lane, pause: PAUSE };
            senders.push(tokio::task::spawn_local(sender.run(way)));
        }
    }
    cluster.kill_each(&ledger).await?;
    read_all(&mut audit, &cluster, &gate).await?;
    let (mut killing, mut kills) = (Duration::ZERO, 0);
    while killing < plan.time {
        let round = ROUND.min(plan.time - killing);
        kills += cluster.kill_at_random(round).await?;
        killing += round;
        read_all(&mut audit, &cluster, &gate).await?;
        eprintln!("{kills} kills, {} accepted", ledger.accepted());
    }
    drop(gate.pause().await);
    gate.close();
    for sender in senders {
        sender.await?;
    }
    // What one hub has accepted may still be on its way to the other.
    // Those that have not arrived by then count as lost.
    let begun = Instant::now();
    loop {
        audit.read_all(addresses, true).await;
        if WAYS.iter().all(|way| ledger.is_complete(*way)) || begun.elapsed() > HEALING {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    println!("{kills} kills at random in {} s", killing.as_secs());
    for (answer, count) in ledger.answers() {
        println!("{count} × {answer}");
    }
    Ok(ledger.verdict())
}

async fn read_all(audit: &mut Audit, cluster: &Cluster, gate: &Gate) -> Result<()> {
    let held = gate.pause().await;
    audit.read_all(cluster.addresses()?, false).await;
    drop(held);
    Ok(())
}

/// All parts. The balancer gives the addresses.
struct Cluster {
    parts: Vec<Part>,
    watcher: Client,
    _bucket: S3Server,
}

/// A part that can be killed.
enum Part {
    Hub {
        hub: Box<Hub>,
        running: Option<Running>,
        http: SocketAddr,
        name: &'static str,
    },
    /// One of the brokers.
    Brokers {
        nats: Box<Nats>,
        dead: usize,
    },
    Store(StoreServer),
    Balancer(Balancer),
}

impl Part {
    fn name(&self) -> &'static str {
        match self {
            Self::Hub { name, .. } => name,
            Self::Brokers { .. } => "one of three brokers",
            Self::Store(_) => "the database",
            Self::Balancer(_) => "the balancer",
        }
    }

    async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Hub { running, .. } => running.take().context("the hub does not run")?.kill().await?,
            Self::Brokers { nats, dead } => {
                *dead = rand::rng().random_range(0..NODES);
                nats.kill(*dead).await;
            }
            Self::Store(store) => store.kill().await,
            Self::Balancer(balancer) => balancer.kill().await,
        }
        Ok(())
    }

    /// Starts it again, as often as necessary: a hub does not start without the database.
    async fn start_again(&mut self) -> Result<()> {
        match self {
            Self::Hub { hub, running, .. } => {
                let begun = Instant::now();
                while running.is_none() {
                    match hub.start().await {
                        Ok(started) => *running = Some(started),
                        Err(refusal) if begun.elapsed() > HEALING => {
                            bail!("the hub does not start:\n{}", refusal.lines.join("\n"))
                        }
                        Err(_) => sleep(Duration::from_millis(500)).await,
                    }
                }
            }
            Self::Brokers { nats, dead } => nats.start_again(*dead).await,
            Self::Store(store) => store.start_again().await,
            Self::Balancer(balancer) => balancer.start_again().await,
        }
        Ok(())
    }

    /// Kills it and starts it again until it is told to stop. Returns it, and how often it was killed.
    async fn live(mut self, stop: watch::Receiver<bool>) -> Result<(Self, usize)> {
        let mut kills = 0;
        let wait = async |(least, most): (u64, u64)| {
            let pause = Duration::from_millis(rand::rng().random_range(least..=most));
            let mut stop = stop.clone();
            timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok()
        };
        while !wait(UP_MS).await {
            self.kill().await?;
            kills += 1;
            wait(DOWN_MS).await;
            self.start_again().await?;
        }
        Ok((self, kills))
    }
}

impl Cluster {
    async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let (store, nats) = (StoreServer::start().await, Nats::start().await);
        let bucket = S3Server::start(&[]).await;
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let addresses = [[address(), address()], [address(), address()]];
        let mut parts = Vec::new();
        for (number, name) in ["hub a", "hub b"].into_iter().enumerate() {
            let folder = folder.join(name.replace(' ', "-"));
            std::fs::create_dir(&folder)?;
            let mut hub = Hub::new(program, &folder, &store.settings());
            for (name, value) in settings_of(&bucket) {
                hub.set(name, &value);
            }
            let [http, mqtt] = addresses[number];
            let settings = [
                ("TOYHUB_HTTP__LISTEN", http.to_string()),
                ("TOYHUB_MQTT__LISTEN", mqtt.to_string()),
                ("TOYHUB_HTTP__PROXY_PROTOCOL", "true".to_owned()),
                ("TOYHUB_MQTT__PROXY_PROTOCOL", "true".to_owned()),
                ("TOYHUB_NET__PROXIES", "127.0.0.1".to_owned()),
                ("TOYHUB_CLUSTER__HUB", name.replace(' ', "-")),
                ("TOYHUB_CLUSTER__BUS", nats.urls(number)),
            ];
            for (name, value) in settings {
                hub.set(name, &value);
            }
            let mut part = Part::Hub { hub: Box::new(hub), running: None, http, name };
            part.start_again().await?;
            parts.push(part);
        }
        let balancer = Balancer::start(folder, addresses).await;
        parts.extend([Part::Brokers { nats: Box::new(nats), dead: 0 }, Part::Store(store), Part::Balancer(balancer)]);
        let watcher = Client::builder().local_address(IpAddr::from(WATCHER)).timeout(Duration::from_secs(5)).build()?;
        let cluster = Self { parts, watcher, _bucket: bucket };
        cluster.wait_in_order().await?;
        Ok(cluster)
    }

    fn balancer(&self) -> Result<&Balancer> {
        let found = self.parts.iter().find_map(|part| match part {
            Part::Balancer(balancer) => Some(balancer),
            _ => None,
        });
        found.context("a balancer")
    }

    fn addresses(&self) -> Result<Addresses> {
        let balancer = self.balancer()?;
        Ok(Addresses { http: balancer.http, mqtt: balancer.mqtt })
    }

    /// One of the hubs, for commands.
    fn hub(&self) -> Result<&Hub> {
        let found = self.parts.iter().find_map(|part| match part {
            Part::Hub { hub, .. } => Some(&**hub),
            _ => None,
        });
        found.context("a hub")
    }

    /// Waits until all hubs are on the bus, and get clients.
    async fn wait_in_order(&self) -> Result<()> {
        for part in &self.parts {
            let Part::Hub { http, name, .. } = part else { continue };
            let in_order = async {
                loop {
                    if self.is_in_order(*http).await.unwrap_or(false) {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(HEALING, in_order).await.with_context(|| format!("{name} is not ready, or not on the bus"))?;
        }
        self.balancer()?.wait_complete().await;
        Ok(())
    }

    /// Whether a hub is ready, and on the bus.
    async fn is_in_order(&self, http: SocketAddr) -> Result<bool> {
        let answer = self.watcher.get(format!("http://{http}/readyz")).send().await?;
        let health: Value = serde_json::from_str(&answer.text().await?)?;
        Ok(health["ready"] == true && health["parts"]["bus"]["state"] == "ok")
    }

    /// Kills each part alone, and prints how long it disturbs the others.
    async fn kill_each(&mut self, ledger: &Arc<Ledger>) -> Result<()> {
        println!(
            "| killed for {} s | longest time without an accepted message, s | in order again after, s |",
            ALONE_DOWN.as_secs()
        );
        println!("| --- | ---: | ---: |");
        for number in 0..self.parts.len() {
            let pauses = Pauses::watch(ledger);
            sleep(Duration::from_secs(2)).await;
            let part = &mut self.parts[number];
            part.kill().await?;
            sleep(ALONE_DOWN).await;
            let started = Instant::now();
            part.start_again().await?;
            let name = part.name();
            self.wait_in_order().await?;
            let healed = started.elapsed().as_secs_f64();
            sleep(Duration::from_secs(2)).await;
            println!("| {name} | {:.1} | {healed:.1} |", pauses.longest().await?.as_secs_f64());
        }
        println!();
        Ok(())
    }

    /// Kills all parts at random moments, each on its own. Returns the number of kills.
    async fn kill_at_random(&mut self, time: Duration) -> Result<usize> {
        let (stop, stopped) = watch::channel(false);
        let parts = std::mem::take(&mut self.parts);
        let lives: Vec<_> =
            parts.into_iter().map(|part| tokio::task::spawn_local(part.live(stopped.clone()))).collect();
        sleep(time).await;
        stop.send_replace(true);
        let mut kills = 0;
        for life in lives {
            let (part, killed) = life.await??;
            self.parts.push(part);
            kills += killed;
        }
        self.wait_in_order().await?;
        Ok(kills)
    }
}

/// The longest time in which no message was accepted.
struct Pauses {
    end: watch::Sender<bool>,
    watching: JoinHandle<Duration>,
}

impl Pauses {
    fn watch(ledger: &Arc<Ledger>) -> Self {
        let (end, mut ended) = watch::channel(false);
        let ledger = Arc::clone(ledger);
        let watching = tokio::task::spawn_local(async move {
            let (mut accepted, mut since, mut longest) = (ledger.accepted(), Instant::now(), Duration::ZERO);
            while timeout(Duration::from_millis(20), ended.wait_for(|end| *end)).await.is_err() {
                let now = ledger.accepted();
                if now != accepted {
                    (accepted, since) = (now, Instant::now());
                }
                longest = longest.max(since.elapsed());
            }
            longest
        });
        Self { end, watching }
    }

    async fn longest(self) -> Result<Duration> {
        self.end.send_replace(true);
        Ok(self.watching.await?)
    }
}

/// The settings of hubs whose sounds are in the bucket.
fn settings_of(bucket: &S3Server) -> [(&'static str, String); 5] {
    let (key, secret) = bucket.key.clone();
    [
        ("TOYHUB_FILES__URL", "s3://sounds/cluster".to_owned()),
        ("TOYHUB_FILES__ENDPOINT", bucket.endpoint.clone()),
        ("TOYHUB_FILES__ALLOW_HTTP", "true".to_owned()),
        ("TOYHUB_FILES__ACCESS_KEY_ID", key),
        ("TOYHUB_FILES__SECRET_ACCESS_KEY", secret),
    ]
}
