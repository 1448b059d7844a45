//! Health of the hub and its parts, for monitoring.
//!
//! The parts are checked periodically ([`Hub::check_health`]) and the result is kept, so that frequent queries cost
//! nothing. The report of a failed part names the remedy; the cause goes to the log.

use std::time::Duration;

use super::Hub;
use super::error::DomainError;
use crate::config::seconds;
use crate::ports::bus::BusState;
use crate::ports::files::Trouble;
use crate::ports::router::StorageState;

const NO_ANSWER: &str = "the database does not answer";
const LOST: &str = "the database server of store.url does not answer; the hub connects again by itself";
const NO_ROOM: &str = "less than server.free_bytes_min is free on the disk; free space on it";
const NOT_WRITING: &str = "the thread that writes the sessions has ended";

/// The state of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// It works.
    Ok,
    /// The configuration turns it off.
    Off,
    /// It is being loaded. Clients that need it wait.
    Loading,
    /// It does not work, for this reason; the hub loses nothing without it.
    Degraded(&'static str),
    /// It does not work, for this reason.
    Failed(&'static str),
}

/// The states of the hub's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The database.
    pub store: PartState,
    /// The free space of the data folder.
    pub disk: PartState,
    /// The bucket of sounds and pictures; off if they are in the data folder.
    pub files: PartState,
    /// The bus to the other hubs; off for a single hub.
    pub bus: PartState,
    /// The file of MQTT sessions and retained messages.
    pub sessions: PartState,
    /// Speech recognition.
    pub speech: PartState,
    /// Whether the hub works at all: the database answers, and the thread that writes the sessions runs.
    pub is_alive: bool,
}

impl Health {
    /// The state before the first check.
    const UNKNOWN: PartState = PartState::Failed("not checked yet");

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, PartState); 6] {
        [
            ("store", self.store),
            ("disk", self.disk),
            ("files", self.files),
            ("bus", self.bus),
            ("sessions", self.sessions),
            ("speech", self.speech),
        ]
    }

    /// Whether all configured parts work.
    pub fn is_ready(&self) -> bool {
        self.parts().iter().all(|(_, state)| !matches!(state, PartState::Failed(_)))
    }
}

/// The result of the last check.
#[derive(Debug)]
pub(super) struct LastCheck {
    health: Health,
    /// By the hub's clock.
    at: Option<Duration>,
}

impl Default for LastCheck {
    fn default() -> Self {
        let (unknown, is_alive) = (Health::UNKNOWN, false);
        let (store, disk, files, bus) = (unknown, unknown, unknown, unknown);
        let health = Health { store, disk, files, bus, sessions: unknown, speech: unknown, is_alive };
        Self { health, at: None }
    }
}

impl Hub {
    /// The result of the last check. A check that does not finish in time counts as a failure.
    pub fn health(&self) -> Health {
        let last = self.last_check();
        let age_max = 2 * (seconds(self.config.server.check_interval_s) + self.check_timeout());
        match last.at {
            Some(at) if self.clock.now().saturating_sub(at) > age_max => {
                Health { store: PartState::Failed("the hub cannot check itself"), is_alive: false, ..last.health }
            }
            // Since that check.
            _ if self.store.is_lost() => Health { store: PartState::Failed(LOST), ..last.health },
            _ => last.health,
        }
    }

    /// Checks the parts. Errors: `Internal` if a part has failed that only a restart can recover.
    pub async fn check_health(&self) -> Result<(), DomainError> {
        let (store, disk, files) = tokio::join!(self.check_store(), self.check_disk(), self.check_files());
        let is_writing = self.router.is_writing();
        let sessions = match self.router.storage_state() {
            _ if !is_writing => PartState::Failed(NOT_WRITING),
            StorageState::Writable => PartState::Ok,
            StorageState::Failed { .. } => {
                PartState::Failed("the file of sessions cannot be written, see the log; the hub reopens it by itself")
            }
        };
        let is_alive = store != PartState::Failed(NO_ANSWER) && is_writing;
        let (bus, speech) = (self.check_bus(), self.speech_state());
        let health = Health { store, disk, files, bus, sessions, speech, is_alive };
        let before =
            std::mem::replace(&mut *self.last_check(), LastCheck { health, at: Some(self.clock.now()) }).health;
        for ((name, before), (_, now)) in before.parts().into_iter().zip(health.parts()) {
            match now {
                PartState::Failed(reason) if now != before => {
                    tracing::error!(part = name, reason, "a part is not ready")
                }
                PartState::Degraded(reason) if now != before => {
                    tracing::warn!(part = name, reason, "a part does not work, the hub goes on without it")
                }
                PartState::Ok if before != now && before != Health::UNKNOWN => {
                    tracing::info!(part = name, "the part is ready again")
                }
                _ => {}
            }
        }
        if before.disk == PartState::Failed(NO_ROOM) && disk == PartState::Ok {
            // Try a write now, rather than with the next message of a client.
            let tried = tokio::time::timeout(self.check_timeout(), self.store.try_write()).await;
            tracing::info!(writes = matches!(tried, Ok(Ok(()))), "the disk has free space again");
        }
        if is_writing { Ok(()) } else { Err(DomainError::internal(NOT_WRITING)) }
    }

    /// Reopens the database if its engine has stopped and the disk has free space. Returns whether it did.
    pub async fn mend_store(&self) -> Result<bool, DomainError> {
        // The storage engine writes its memory table to disk when it is closed or opened.
        if !self.store.has_stopped() || !self.space.has_free(self.config.store.memtable_bytes) {
            return Ok(false);
        }
        tracing::warn!("the database's engine has stopped, the hub reopens it");
        self.store.reopen().await?;
        tracing::info!("the database was reopened");
        Ok(true)
    }

    /// Whether `bytes` more may be written. Errors: `DiskFull`.
    pub fn check_room(&self, bytes: u64) -> Result<(), DomainError> {
        if self.space.has_room(bytes) { Ok(()) } else { Err(DomainError::DiskFull) }
    }

    async fn check_store(&self) -> PartState {
        if self.store.is_lost() {
            return PartState::Failed(LOST);
        }
        // A restart of the hub does not mend a server: the hub is alive all the same.
        let silent = PartState::Failed(if self.store.is_on_server() { LOST } else { NO_ANSWER });
        match tokio::time::timeout(self.check_timeout(), self.store.ping()).await {
            Ok(Ok(())) if self.store.has_stopped() => {
                PartState::Failed("the database's engine has stopped; the hub reopens it once the disk has free space")
            }
            Ok(Ok(())) => PartState::Ok,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the database failed its check");
                silent
            }
            Err(_) => silent,
        }
    }

    async fn check_disk(&self) -> PartState {
        let space = std::sync::Arc::clone(&self.space);
        let measured = tokio::task::spawn_blocking(move || space.measure());
        match tokio::time::timeout(self.check_timeout(), measured).await {
            Ok(Ok(Ok(()))) if self.space.has_room(0) => PartState::Ok,
            Ok(Ok(Ok(()))) => PartState::Failed(NO_ROOM),
            _ => PartState::Failed("the free space of server.data_dir cannot be measured"),
        }
    }

    async fn check_files(&self) -> PartState {
        if !self.files.is_bucket() {
            return PartState::Off;
        }
        match tokio::time::timeout(self.check_timeout(), self.files.check()).await {
            Ok(None) => PartState::Ok,
            Ok(Some(trouble)) => PartState::Failed(trouble.advice()),
            Err(_) => PartState::Failed(Trouble::Late.advice()),
        }
    }

    /// A hub without the bus is ready: what it accepts is in the database, and it finds there what others have sent. If
    /// it were not, a lost broker would take all hubs from the balancer at once.
    fn check_bus(&self) -> PartState {
        match self.bus_state() {
            None => PartState::Off,
            Some(BusState::New) => PartState::Loading,
            Some(BusState::Up) => PartState::Ok,
            Some(BusState::Down(reason)) => PartState::Degraded(reason),
        }
    }

    fn check_timeout(&self) -> Duration {
        seconds(self.config.server.check_timeout_s)
    }

    fn last_check(&self) -> std::sync::MutexGuard<'_, LastCheck> {
        self.last_check.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
