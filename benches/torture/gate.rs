//! The gate by which senders know whether the hub runs, and whether they may continue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::hub::Addresses;

/// The maximum number of concurrent senders.
const SENDERS_MAX: u32 = 10_000;

/// One gate for all senders of a run.
#[derive(Clone)]
pub struct Gate {
    places: watch::Sender<Option<Addresses>>,
    permits: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Self {
        Self { places: watch::Sender::new(None), permits: Arc::new(Semaphore::new(SENDERS_MAX as usize)) }
    }

    /// Whether the hub runs.
    pub fn set(&self, addresses: Option<Addresses>) {
        self.places.send_replace(addresses);
    }

    /// Whether the hub runs, as far as it is known.
    pub fn is_open(&self) -> bool {
        self.places.borrow().is_some()
    }

    /// The address of the hub, once it runs. None if it does not start for a long time.
    pub async fn addresses(&self) -> Option<Addresses> {
        let mut places = self.places.subscribe();
        let found = tokio::time::timeout(Duration::from_secs(300), places.wait_for(Option::is_some)).await;
        *found.ok()?.ok()?
    }

    /// The right to send one message. None when the run has ended.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Waits until every sender has completed its message; they continue when the result is dropped.
    pub async fn pause(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_many_owned(SENDERS_MAX).await.ok()
    }

    /// Ends the run: senders complete their messages.
    pub fn close(&self) {
        self.permits.close();
    }
}

/// Time in which the hub was up and senders were sending.
#[derive(Default)]
pub struct Stopwatch {
    total: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    pub fn start(&mut self) {
        self.since = Some(Instant::now());
    }

    pub fn stop(&mut self) {
        self.total += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    pub fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }
}
