//! Power loss: the process is killed, and data that was not synced is lost.
//!
//! Two layers discard it. `forgetful`, beside this file, is a file system in memory in the strictest reading of POSIX,
//! or as with a journal. `ext4` is that of the kernel, on a file as a disk: its "shutdown" call ends it as a power
//! failure does, without writing the rest.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::hub::Hub;
use crate::ledger::Way;
use crate::run::{Load, Run};

/// The layer that discards data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// Content is kept by a sync of the file, names by a sync of the folder.
    Strict,
    /// Any sync keeps all names.
    Journal,
    /// The kernel's ext4 on a loop device.
    Ext4,
}

enum Storage {
    Forgetful { child: Box<Child>, orders: ChildStdin, answers: Lines<BufReader<ChildStdout>>, at: PathBuf },
    Ext4 { image: PathBuf, at: PathBuf },
}

/// The reason why a layer is not available here; none if it is.
pub async fn obstacle(layer: Layer, forgetful: &Path) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount".into());
    }
    match layer {
        Layer::Strict | Layer::Journal if !Path::new("/dev/fuse").exists() => Some("there is no /dev/fuse".into()),
        Layer::Strict | Layer::Journal if !forgetful.exists() => Some(format!("{} is not built", forgetful.display())),
        Layer::Ext4 if !Path::new("/dev/loop-control").exists() => Some("there is no /dev/loop-control".into()),
        _ => None,
    }
}

async fn must(program: &str, arguments: &[&str]) -> Result<()> {
    let ran = Command::new(program).args(arguments).output().await.with_context(|| program.to_owned())?;
    if !ran.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr));
    }
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

impl Storage {
    async fn open(layer: Layer, forgetful: &Path, folder: &Path) -> Result<Self> {
        let at = folder.join("disk");
        std::fs::create_dir(&at)?;
        if layer == Layer::Ext4 {
            let image = folder.join("disk.ext4");
            std::fs::File::create(&image)?.set_len(1 << 30)?;
            must("mkfs.ext4", &["-q", text(&image)]).await?;
            let storage = Self::Ext4 { image, at };
            storage.mount().await?;
            return Ok(storage);
        }
        let mode = if layer == Layer::Strict { "strict" } else { "journal" };
        let mut command = Command::new(forgetful);
        command.arg(&at).arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let orders = child.stdin.take().context("its input")?;
        let mut answers = BufReader::new(child.stdout.take().context("its output")?).lines();
        answers.next_line().await?.context("forgetful does not mount")?;
        Ok(Self::Forgetful { child: Box::new(child), orders, answers, at })
    }

    async fn mount(&self) -> Result<()> {
        if let Self::Ext4 { image, at } = self {
            // The journal is written only when necessary, and no rename syncs a file implicitly.
            let options = "loop,commit=3600,noauto_da_alloc";
            must("mount", &["-o", options, text(image), text(at)]).await?;
        }
        Ok(())
    }

    fn at(&self) -> &Path {
        match self {
            Self::Forgetful { at, .. } | Self::Ext4 { at, .. } => at,
        }
    }

    /// Marks all data as synced.
    async fn keep(&mut self) -> Result<()> {
        match self {
            Self::Forgetful { .. } => self.order("keep").await.map(|_| ()),
            Self::Ext4 { at, .. } => must("sync", &["-f", text(at)]).await,
        }
    }

    /// Ends the disk of a running hub, where that is possible.
    async fn cut(&self) -> Result<()> {
        match self {
            Self::Forgetful { .. } => Ok(()),
            // EXT4_IOC_SHUTDOWN without a flush of the journal.
            Self::Ext4 { at, .. } => {
                let order =
                    r#"open(F, "<", $ARGV[0]) or die; my $f = pack("L", 2); ioctl(F, 0x8004587d, $f) or die $!"#;
                must("perl", &["-e", order, text(at)]).await
            }
        }
    }

    /// Discards the data that was not synced, and mounts again.
    async fn lose(&mut self, torn: bool, seed: u64) -> Result<String> {
        match self {
            Self::Forgetful { .. } => {
                self.order(&if torn { format!("lose-torn {seed}") } else { format!("lose {seed}") }).await
            }
            Self::Ext4 { at, .. } => {
                must("umount", &[text(at)]).await?;
                self.mount().await?;
                Ok("the journal was replayed".into())
            }
        }
    }

    async fn order(&mut self, order: &str) -> Result<String> {
        let Self::Forgetful { orders, answers, .. } = self else { bail!("no orders") };
        orders.write_all(format!("{order}\n").as_bytes()).await?;
        answers.next_line().await?.context("forgetful has ended")
    }

    async fn close(self) {
        match self {
            Self::Forgetful { mut child, orders, .. } => {
                drop(orders);
                let _ = child.wait().await;
            }
            Self::Ext4 { at, .. } => drop(must("umount", &[text(&at)]).await),
        }
    }
}

/// The plan of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub layer: Layer,
    pub losses: usize,
    pub families: usize,
    pub memtable_bytes: u64,
    pub life_ms: (u64, u64),
    /// Losses between two complete readings.
    pub read_every: usize,
    pub seed: u64,
}

pub async fn torment(program: &Path, parent: &Path, forgetful: &Path, plan: Plan) -> Result<bool> {
    if let Some(obstacle) = obstacle(plan.layer, forgetful).await {
        println!("power, {:?}: skipped, {obstacle}", plan.layer);
        return Ok(true);
    }
    let folder: TempDir = tempfile::Builder::new().prefix("toyhub-power-").tempdir_in(parent)?;
    let mut storage = Storage::open(plan.layer, forgetful, folder.path()).await?;
    let outcome = losses(program, folder.path(), &mut storage, plan).await;
    storage.close().await;
    outcome
}

async fn losses(program: &Path, folder: &Path, storage: &mut Storage, plan: Plan) -> Result<bool> {
    let memtable_bytes = plan.memtable_bytes.to_string();
    let mut hub = Hub::new(program, folder, &[("TOYHUB_STORE__MEMTABLE_BYTES", &memtable_bytes)]);
    hub.data_dir = storage.at().join("data");
    let mut run = Run::open_in(hub, plan.families).await?;
    // The accounts are not tested here: their data counts as synced.
    storage.keep().await?;
    run.send(Load { lanes: 1, pause: Duration::ZERO }, &Way::ALL);
    let mut starts = Vec::with_capacity(plan.losses);
    for loss in 1..=plan.losses {
        let life_ms = rand::rng().random_range(plan.life_ms.0..=plan.life_ms.1);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        // A program without power does not see the end of its disk.
        run.running()?.freeze()?;
        storage.cut().await?;
        run.kill().await?;
        let torn = loss % 2 == 0;
        let seed = plan.seed + loss as u64;
        let lost = storage.lose(torn, seed).await?;
        match run.start().await {
            Ok(took) => starts.push(took),
            Err(error) => {
                println!("power, {:?}: loss {loss} (torn: {torn}, seed {seed}; {lost}): {error:#}", plan.layer);
                return Ok(false);
            }
        }
        if loss % plan.read_every == 0 {
            run.read_all(false).await?;
            eprintln!("{loss} losses of power ({lost}), {} accepted", run.ledger.accepted());
        }
    }
    let work = run.hub.work.clone();
    let is_well = run.finish().await?;
    starts.sort();
    let longest = starts.last().copied().unwrap_or_default().as_millis();
    println!(
        "power losses: {}, layer {:?}, memtable of {} bytes, {} rotations, flushes and compactions; longest start {longest} ms",
        plan.losses,
        plan.layer,
        plan.memtable_bytes,
        work.total()
    );
    Ok(is_well)
}
