//! A hub with families, senders and an audit, which most runs begin with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::family::{self, Family};
use crate::gate::{Gate, Stopwatch};
use crate::hub::{Hub, Running};
use crate::ledger::{Ledger, Way};
use crate::senders::Sender;

/// The load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Senders of each family for each way.
    pub lanes: usize,
    pub pause: Duration,
}

pub struct Run {
    pub hub: Hub,
    pub ledger: Arc<Ledger>,
    pub gate: Gate,
    pub families: Vec<Family>,
    pub audit: Audit,
    pub sending: Stopwatch,
    senders: Vec<JoinHandle<()>>,
    running: Option<Running>,
    /// The folder of the run, if it is a temporary one.
    _folder: Option<TempDir>,
}

impl Run {
    /// Starts a hub in a temporary folder of `parent`, with families whose sessions are open; nothing is sent yet.
    pub async fn open(program: &Path, parent: &Path, settings: &[(&str, &str)], families: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("toyhub-torture-").tempdir_in(parent)?;
        let hub = Hub::new(program, folder.path(), settings);
        let mut run = Self::open_in(hub, families).await?;
        run._folder = Some(folder);
        Ok(run)
    }

    /// The same with a hub whose folder is another's.
    pub async fn open_in(hub: Hub, families: usize) -> Result<Self> {
        let running = start(&hub).await?;
        let (ledger, gate) = (Arc::new(Ledger::default()), Gate::new());
        let families = family::families(&hub, running.addresses, families, families).await?;
        gate.set(Some(running.addresses));
        let audit = Audit::open(&ledger, &gate, &families, &Way::ALL).await?;
        Ok(Self {
            hub,
            ledger,
            gate,
            families,
            audit,
            sending: Stopwatch::default(),
            senders: Vec::new(),
            running: Some(running),
            _folder: None,
        })
    }

    /// Starts the senders of all ways.
    pub fn send(&mut self, load: Load, ways: &[Way]) {
        for (number, family) in self.families.iter().enumerate() {
            for way in ways {
                for lane in 0..load.lanes {
                    let sender = Sender {
                        ledger: Arc::clone(&self.ledger),
                        gate: self.gate.clone(),
                        family: family.clone(),
                        lane: number * load.lanes + lane,
                        pause: load.pause,
                    };
                    self.senders.push(tokio::task::spawn_local(sender.run(*way)));
                }
            }
        }
        self.sending.start();
    }

    pub fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the hub does not run")
    }

    /// `kill -9`; the senders wait for the next start.
    pub async fn kill(&mut self) -> Result<()> {
        self.sending.stop();
        let running = self.running.take().context("the hub does not run")?;
        // Before the gate closes: the hub is killed while senders use it.
        running.kill().await?;
        self.gate.set(None);
        Ok(())
    }

    /// SIGTERM; the senders wait for the next start.
    pub async fn stop(&mut self) -> Result<()> {
        self.sending.stop();
        let running = self.running.take().context("the hub does not run")?;
        let code = running.stop().await?;
        self.gate.set(None);
        if code != Some(0) {
            self.ledger.fault(format!("a stop by SIGTERM ended with code {code:?}"));
        }
        Ok(())
    }

    /// Starts the hub again; returns the time until it was ready.
    pub async fn start(&mut self) -> Result<Duration> {
        let running = start(&self.hub).await?;
        let (addresses, took) = (running.addresses, running.ready_after);
        self.running = Some(running);
        self.audit.greet(addresses).await;
        self.gate.set(Some(addresses));
        self.sending.start();
        Ok(took)
    }

    /// Pauses the senders and reads all data of the hub; with `anew`, every sound as well.
    pub async fn read_all(&mut self, anew: bool) -> Result<()> {
        let addresses = self.running()?.addresses;
        let held = self.gate.pause().await;
        self.sending.stop();
        self.audit.read_all(addresses, anew).await;
        self.sending.start();
        drop(held);
        Ok(())
    }

    /// Ends the senders, reads everything anew and stops the hub; returns whether there was no fault.
    pub async fn finish(mut self) -> Result<bool> {
        let addresses = self.running()?.addresses;
        drop(self.gate.pause().await);
        self.gate.close();
        self.sending.stop();
        for sender in self.senders.drain(..) {
            sender.await?;
        }
        self.audit.read_all(addresses, true).await;
        self.stop().await?;
        Ok(self.ledger.verdict())
    }
}

async fn start(hub: &Hub) -> Result<Running> {
    hub.start().await.map_err(|refusal| {
        anyhow!("the hub does not start (exit code {:?}):\n{}", refusal.code, refusal.lines.join("\n"))
    })
}
