//! A full disk: while it is full, the hub refuses writes and keeps running; once there is space, it works again by
//! itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::process::Command;

use crate::family::{done, post};
use crate::hub::Hub;
use crate::ledger::Way;
use crate::run::{Load, Run};

const DISK_BYTES: u64 = 256 << 20;
/// A size below the hub's reserve.
const LEFT_BYTES: u64 = 8 << 20;
/// All ways of sending work again within this time.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);

struct Small<'a>(&'a Path);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0).status();
    }
}

pub async fn torment(program: &Path, parent: &Path, rounds: usize, full_for: Duration) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("toyhub-disk-").tempdir_in(parent)?;
    let at = folder.path().join("disk");
    std::fs::create_dir(&at)?;
    let size = format!("size={DISK_BYTES}");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status().await;
    if !mounted.is_ok_and(|status| status.success()) {
        println!("disk: skipped, only root may mount");
        return Ok(true);
    }
    let small = Small(&at);
    let is_well = rounds_of(program, folder.path(), &at, rounds, full_for).await;
    drop(small);
    is_well
}

async fn rounds_of(program: &Path, folder: &Path, at: &Path, rounds: usize, full_for: Duration) -> Result<bool> {
    let mut hub = Hub::new(
        program,
        folder,
        &[("TOYHUB_STORE__MEMTABLE_BYTES", "131072"), ("TOYHUB_SERVER__FREE_BYTES_MIN", "33554432")],
    );
    hub.data_dir = at.join("data");
    let mut run = Run::open_in(hub, 2).await?;
    run.send(Load { lanes: 1, pause: Duration::from_millis(20) }, &Way::ALL);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for round in 1..=rounds {
        let ballast = at.join("ballast");
        // In odd rounds a part of the hub's reserve is left; in even ones no space at all.
        let is_reserve = round % 2 == 1;
        let left_bytes = if is_reserve { LEFT_BYTES } else { 0 };
        fill(at, &ballast, left_bytes)?;
        let (begun, before) = (Instant::now(), run.ledger.accepted_by_way());
        while begun.elapsed() < full_for {
            tokio::time::sleep(Duration::from_millis(200)).await;
            // Space that the hub frees is used by another program.
            fill(at, &ballast, left_bytes)?;
        }
        reads_go_on(&run, is_reserve).await?;
        let at_end = run.ledger.accepted_by_way();
        std::fs::remove_file(&ballast)?;
        let freed = Instant::now();
        loop {
            let now = run.ledger.accepted_by_way();
            let stuck: Vec<_> = Way::ALL.into_iter().filter(|way| now.get(way) <= at_end.get(way)).collect();
            if stuck.is_empty() {
                break;
            }
            if freed.elapsed() > RECOVERY_DEADLINE {
                let names: Vec<_> = stuck.iter().map(|way| way.name()).collect();
                run.ledger.fault(format!("{RECOVERY_DEADLINE:?} after room was made these do not work: {names:?}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let during = |way: &Way| at_end.get(way).unwrap_or(&0) - before.get(way).unwrap_or(&0);
        println!(
            "round {round}: {} accepted while full, all ways work {:.1} s after room was made",
            Way::ALL.iter().map(during).sum::<u64>(),
            freed.elapsed().as_secs_f64()
        );
        run.read_all(false).await?;
    }
    for (answer, count) in run.ledger.answers() {
        println!("answered {count} times: {answer}");
    }
    run.finish().await
}

/// Uses all space except `left_bytes`.
fn fill(at: &Path, ballast: &Path, left_bytes: u64) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(ballast)?;
    let block = [0_u8; 4096];
    loop {
        let disk = rustix::fs::statvfs(at)?;
        if left_bytes > 0 && disk.f_bavail * disk.f_frsize <= left_bytes {
            return Ok(());
        }
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("filling {}", at.display())),
        }
    }
}

/// Reads need no space; a login needs a little, which the reserve has.
async fn reads_go_on(run: &Run, is_reserve: bool) -> Result<()> {
    let addresses = run.running()?.addresses;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    let family = &run.families[0];
    let body = json!({"_id": family.user});
    let mut checks = vec![("/auto_login", body.clone()), ("/friend_list", body)];
    if is_reserve {
        checks.push(("/login", json!({"username": "parent0", "password": "correct horse"})));
    }
    for (path, body) in checks {
        let answer = post(&client, addresses, path, Some(&family.token), &body).await;
        if let Err(error) = answer.and_then(|answer| done(&answer)) {
            run.ledger.fault(format!("while the disk is full: {path}: {error:#}"));
        }
    }
    let health = client.get(format!("http://{}/healthz", addresses.http)).send().await?;
    if health.status() != 200 {
        bail!("/healthz answers {} while the disk is full", health.status());
    }
    match client.get(format!("http://{}/readyz", addresses.http)).send().await {
        Ok(ready) => println!("/readyz while the disk is full: {}, {}", ready.status(), ready.text().await?),
        Err(error) => run.ledger.fault(format!("/readyz: {error}")),
    }
    Ok(())
}
