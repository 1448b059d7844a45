//! Kills, power loss, full disks, wrong clocks, damage, and long load. A ledger outside the hub's process decides
//! whether a message was lost. `scripts/torture` builds and runs it; docs/reliability.md has the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
// The futures of the database are deep.
#![recursion_limit = "256"]

mod audit;
mod clock;
mod cluster;
mod damage;
mod disk;
mod disk_speed;
#[allow(dead_code, unused_imports, reason = "tests use more of it")]
#[path = "../../tests/engines/mod.rs"]
mod engines;
mod family;
mod gate;
mod hub;
mod kill;
mod ledger;
mod mqtt;
mod picture;
mod power;
mod recovery;
mod run;
mod senders;
mod soak;
mod sound;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};

use power::Layer;

#[derive(Parser)]
struct Arguments {
    /// The hub's program.
    #[arg(long)]
    hub: PathBuf,
    /// Where temporary folders are made: on the disk that is to be tested.
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
    /// The file system that discards data that was not synced.
    #[arg(long, default_value = "forgetful")]
    forgetful: PathBuf,
    /// The library of Debian's package faketime.
    #[arg(long, default_value = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")]
    faketime: PathBuf,
    #[command(subcommand)]
    torment: Torment,
}

#[derive(Subcommand)]
enum Torment {
    /// Kills the hub at random moments.
    Kill {
        #[arg(long, default_value_t = 200)]
        kills: usize,
        #[arg(long, default_value_t = 4)]
        families: usize,
        /// Bytes of the engine's write buffer: a smaller one is flushed more often.
        #[arg(long, default_value_t = 131_072)]
        memtable_bytes: u64,
        /// The longest run before a kill, in milliseconds.
        #[arg(long, default_value_t = 4000)]
        life_ms_max: u64,
        /// Kills between two complete readings.
        #[arg(long, default_value_t = 10)]
        read_every: usize,
    },
    /// Simulates power failures at random moments.
    Power {
        #[arg(value_enum)]
        layer: Layer,
        #[arg(long, default_value_t = 50)]
        losses: usize,
        #[arg(long, default_value_t = 2)]
        families: usize,
        #[arg(long, default_value_t = 65_536)]
        memtable_bytes: u64,
        #[arg(long, default_value_t = 3000)]
        life_ms_max: u64,
        #[arg(long, default_value_t = 5)]
        read_every: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Fills the disk, and frees it again.
    Disk {
        #[arg(long, default_value_t = 6)]
        rounds: usize,
        /// Seconds that the disk stays full.
        #[arg(long, default_value_t = 10)]
        full_s: u64,
    },
    /// Sets the clock back an hour and forward a year.
    Clock {
        /// Seconds between two changes.
        #[arg(long, default_value_t = 5)]
        each_s: u64,
    },
    /// Damages a stopped hub's data folder.
    Damage {
        /// Changes whose names contain this.
        #[arg(long)]
        only: Option<String>,
        /// Milliseconds in which messages are sent before.
        #[arg(long, default_value_t = 3000)]
        fill_ms: u64,
    },
    /// Runs many clients for a long time.
    Soak(Soak),
    /// Starts a hub that has many messages, backs it up and restores it.
    Recovery {
        #[arg(long, default_value_t = 1_000_000)]
        messages: usize,
        /// How many of them have a recording.
        #[arg(long, default_value_t = 20_000)]
        sounds: usize,
    },
    /// Kills parts of a cluster at random moments: hubs, brokers, the database, the balancer.
    Cluster {
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        #[arg(long, default_value_t = 4)]
        families: usize,
    },
    /// A short form of those of a single hub, in less than four minutes.
    Short,
}

#[derive(Args)]
struct Soak {
    #[arg(long, default_value_t = 2000)]
    toys: usize,
    #[arg(long, default_value_t = 1000)]
    apps: usize,
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The hours that pass on the hub's clock meanwhile; 0 for the true time.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    #[arg(long, default_value_t = 120.0)]
    storm_every_s: f64,
    #[arg(long, default_value_t = 10.0)]
    voice_per_second: f64,
    #[arg(long, default_value_t = 40.0)]
    commands_per_second: f64,
    #[arg(long, default_value_t = 60.0)]
    states_per_second: f64,
    #[arg(long, default_value_t = 10.0)]
    chat_per_second: f64,
    #[arg(long, default_value_t = 15.0)]
    questions_per_minute: f64,
    /// The model that recognises questions; without one there are no questions.
    #[arg(long)]
    speech_model: Option<PathBuf>,
    /// The file of the picture.
    #[arg(long)]
    picture: Option<PathBuf>,
}

async fn torment(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { hub, folder, forgetful, faketime, torment } = &arguments;
    match torment {
        Torment::Kill { kills, families, memtable_bytes, life_ms_max, read_every } => {
            let plan = kill::Plan {
                kills: *kills,
                families: *families,
                memtable_bytes: *memtable_bytes,
                life_ms: (100, *life_ms_max),
                read_every: *read_every,
            };
            kill::torment(hub, folder, plan).await
        }
        Torment::Power { layer, losses, families, memtable_bytes, life_ms_max, read_every, seed } => {
            let plan = power::Plan {
                layer: *layer,
                losses: *losses,
                families: *families,
                memtable_bytes: *memtable_bytes,
                life_ms: (100, *life_ms_max),
                read_every: *read_every,
                seed: *seed,
            };
            power::torment(hub, folder, forgetful, plan).await
        }
        Torment::Disk { rounds, full_s } => disk::torment(hub, folder, *rounds, Duration::from_secs(*full_s)).await,
        Torment::Clock { each_s } => clock::torment(hub, folder, faketime, Duration::from_secs(*each_s)).await,
        Torment::Damage { only, fill_ms } => {
            damage::torment(hub, folder, only.as_deref(), Duration::from_millis(*fill_ms)).await
        }
        Torment::Soak(soak) => soak::torment(hub, folder, faketime, soak_plan(soak)).await,
        Torment::Recovery { messages, sounds } => recovery::torment(hub, folder, *messages, *sounds).await,
        Torment::Cluster { minutes, families } => {
            let plan = cluster::Plan { time: Duration::from_secs_f64(minutes * 60.0), families: *families };
            cluster::torment(hub, folder, plan).await
        }
        Torment::Short => short(hub, folder, forgetful, faketime).await,
    }
}

fn soak_plan(soak: &Soak) -> soak::Plan {
    soak::Plan {
        toys: soak.toys,
        apps: soak.apps,
        time: Duration::from_secs_f64(soak.minutes * 60.0),
        hours: soak.hours,
        storm_every: Duration::from_secs_f64(soak.storm_every_s),
        voice_per_second: soak.voice_per_second,
        commands_per_second: soak.commands_per_second,
        states_per_second: soak.states_per_second,
        chat_per_second: soak.chat_per_second,
        questions_per_minute: soak.questions_per_minute,
        speech_model: soak.speech_model.clone(),
        picture: soak.picture.clone(),
    }
}

/// A short form of those of a single hub.
async fn short(hub: &Path, folder: &Path, forgetful: &Path, faketime: &Path) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut is_well = true;
    let mut part = |name: &str, well: bool| {
        println!("{name}: {}, after {} s\n", if well { "well" } else { "NOT WELL" }, begun.elapsed().as_secs());
        is_well &= well;
    };
    let kills = kill::Plan { kills: 15, families: 2, memtable_bytes: 65_536, life_ms: (100, 2000), read_every: 5 };
    part("kill", kill::torment(hub, folder, kills).await?);
    for layer in [Layer::Strict, Layer::Ext4] {
        let plan = power::Plan {
            layer,
            losses: 6,
            families: 1,
            memtable_bytes: 65_536,
            life_ms: (100, 1500),
            read_every: 3,
            seed: 1,
        };
        part("power", power::torment(hub, folder, forgetful, plan).await?);
    }
    part("disk", disk::torment(hub, folder, 2, Duration::from_secs(3)).await?);
    part("clock", clock::torment(hub, folder, faketime, Duration::from_millis(500)).await?);
    part("damage", damage::torment(hub, folder, None, Duration::from_secs(1)).await?);
    Ok(is_well)
}

fn main() -> ExitCode {
    // Cargo calls benches with --bench.
    let arguments = Arguments::parse_from(std::env::args().filter(|argument| argument != "--bench"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match tokio::task::LocalSet::new().block_on(&runtime, torment(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
