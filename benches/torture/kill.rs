//! `kill -9` at random moments, while all ways of sending are in use and the engine rotates, flushes and compacts.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;

use crate::disk_speed::synced_appends_per_second;
use crate::ledger::Way;
use crate::run::{Load, Run};

/// The plan of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub kills: usize,
    pub families: usize,
    pub memtable_bytes: u64,
    /// The range of the hub's run times.
    pub life_ms: (u64, u64),
    /// Kills between two complete readings.
    pub read_every: usize,
}

pub async fn torment(program: &Path, parent: &Path, plan: Plan) -> Result<bool> {
    let memtable_bytes = plan.memtable_bytes.to_string();
    let settings = [("TOYHUB_STORE__MEMTABLE_BYTES", memtable_bytes.as_str())];
    let speed_before = synced_appends_per_second(parent, Duration::from_secs(1))?;
    let mut run = Run::open(program, parent, &settings, plan.families).await?;
    run.send(Load { lanes: 1, pause: Duration::ZERO }, &Way::ALL);
    let mut starts = Vec::with_capacity(plan.kills);
    for kill in 1..=plan.kills {
        let life_ms = rand::rng().random_range(plan.life_ms.0..=plan.life_ms.1);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        run.kill().await?;
        starts.push(run.start().await?);
        if kill % plan.read_every == 0 {
            run.read_all(false).await?;
            let work = run.hub.work.total();
            eprintln!("{kill} kills, {} accepted, {work} rotations, flushes and compactions", run.ledger.accepted());
        }
    }
    let (work, accepted, voice) = (run.hub.work.clone(), run.ledger.accepted(), run.ledger.accepted_voice());
    run.sending.stop();
    let seconds = run.sending.seconds();
    let is_well = run.finish().await?;
    let speed_after = synced_appends_per_second(parent, Duration::from_secs(1))?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (rotations, flushes, compactions) = (count(&work.rotations), count(&work.flushes), count(&work.compactions));
    starts.sort();
    let at = |share: usize| starts.get((starts.len() - 1) * share / 100).copied().unwrap_or_default().as_millis();
    println!("kills: {}, memtable of {} bytes", plan.kills, plan.memtable_bytes);
    println!("hit: {rotations} rotations, {flushes} flushes, {compactions} tables written by compactions");
    println!("start after a kill: p50 {} ms, p99 {} ms, longest {} ms", at(50), at(99), at(100));
    println!(
        "durable sends a second: {:.0} ({:.0} of them voice messages); synced appends a second on the same disk: {:.0} before, {:.0} after",
        accepted as f64 / seconds,
        voice as f64 / seconds,
        speed_before,
        speed_after
    );
    Ok(is_well)
}
