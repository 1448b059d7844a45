//! The schedule of the backups of `[backup]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::wire;
use crate::domain::Hub;
use crate::domain::backup::BackedUp;

/// How often it is looked whether a backup is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// After a backup that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Makes backups until `shutdown`.
pub async fn run(hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        let began = Instant::now();
        pause = match hub.back_up_if_due(wire::now()).await {
            Ok(None) => LOOK_INTERVAL,
            Ok(Some(BackedUp { name, messages, new_files, new_bytes, missing_files, .. })) => {
                let seconds = began.elapsed().as_secs();
                tracing::info!(name, messages, new_files, new_bytes, missing_files, seconds, "backup made");
                LOOK_INTERVAL
            }
            Err(_) if shutdown.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, "no backup made, tried again in 15 minutes");
                RETRY_INTERVAL
            }
        };
    }
}
