//! Rules of toys that were changed at another hub over the same database server: quiet hours, daily minutes, urgent
//! messages, voices, reminders. Each hub has those of all toys in memory, and reads the changed ones again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Hub;
use super::error::DomainError;
use super::units::ticks;
use crate::model::{Timestamp, ToyId};

/// A change is committed at most so long after the time that it bears.
const OVERLAP: Duration = Duration::from_secs(60);

/// Reads changed rules until `shutdown`, if the database is on a server. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    if !hub.store.is_on_server() {
        return shutdown.cancelled().await;
    }
    let mut ticks = ticks(hub.config.cluster.rules_interval_s);
    let look = async {
        let mut read_at = hub.clock.now();
        loop {
            ticks.tick().await;
            let now = hub.clock.now();
            match hub.read_changed_rules(now.saturating_sub(read_at) + OVERLAP, clock()).await {
                Ok(()) => read_at = now,
                // The next look covers this time, too.
                Err(error) => tracing::debug!(?error, "changed rules of toys are not read yet"),
            }
        }
    };
    shutdown.run_until_cancelled(look).await;
}

impl Hub {
    async fn read_changed_rules(&self, age_max: Duration, now: Timestamp) -> Result<(), DomainError> {
        for toy in self.store.toys_changed_within(age_max.as_secs()).await? {
            self.read_rules(toy).await?;
        }
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Reads the rules, the voice and the reminders of a toy.
    pub(super) async fn read_rules(&self, toy: ToyId) -> Result<(), DomainError> {
        if let Some(rules) = self.store.rules_of(&toy).await? {
            self.resting.replace(rules);
        }
        self.toy_voices.set(toy.clone(), self.store.toy_voice(&toy).await?);
        let reminders = self.store.reminders(&toy).await?;
        self.reminders.replace(toy, &reminders);
        Ok(())
    }
}
