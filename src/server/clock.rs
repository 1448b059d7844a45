//! Watches the clock of the system for jumps ([`crate::ports::clock`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::domain::Hub;
use crate::ports::clock::{self, Change};

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the time is stored for the next start.
const NOTE_INTERVAL: Duration = Duration::from_secs(3600);
const DAY_S: f64 = 86_400.0;

/// Follows the clock until `shutdown`.
pub async fn watch(hub: Arc<Hub>, shutdown: CancellationToken) {
    let checks = async {
        let (mut ticks, mut noted_at) = (interval(CHECK_INTERVAL), Instant::now());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let change = clock::check();
            if let Some(change) = change {
                log(change);
            }
            if change.is_some() || noted_at.elapsed() >= NOTE_INTERVAL {
                noted_at = Instant::now();
                note(&hub).await;
            }
        }
    };
    shutdown.run_until_cancelled(checks).await;
}

async fn note(hub: &Arc<Hub>) {
    let hub = Arc::clone(hub);
    let noted = tokio::task::spawn_blocking(move || hub.note_clock()).await;
    if !matches!(noted, Ok(Ok(()))) {
        tracing::warn!("hub.toml could not be written; after a restart, a jump of the clock may be unknown");
    }
}

/// Logs a jump of the clock.
pub fn log(change: Change) {
    match change {
        Change::StartedLater(by) => tracing::warn!(
            days = (by / DAY_S).round(),
            "the system clock is more than a day later than when the hub last ran; if it is wrong, set it right: tokens \
             and sessions do not expire for server.clock_doubt_h"
        ),
        Change::StartedEarlier(by) => tracing::warn!(
            days = (by / DAY_S).round(),
            "the system clock is earlier than when the hub last ran; new messages get wrong times until it is set right"
        ),
        Change::Jumped(by) => tracing::warn!(
            seconds = by.round(),
            "the system clock jumped; tokens and sessions expire by the time that has really passed"
        ),
        Change::Accepted(by) => tracing::info!(
            days = (by / DAY_S).round(),
            "the system clock was not set back since the start; tokens and sessions expire by it again"
        ),
    }
}
