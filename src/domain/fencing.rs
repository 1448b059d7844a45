//! A hub whose database server is lost: it refuses clients, closes the connections that it has after a while, so that a
//! load balancer moves them to another hub, and connects to the server again.
//!
//! Nothing is accepted without a commit, so nothing has to be undone.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::error::DomainError;
use crate::config::seconds;
use crate::ports::router::CloseReason;

/// The pause between two attempts to connect to the server.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches the database server until `shutdown`. An embedded database is never lost.
pub async fn run(hub: Arc<Hub>, shutdown: CancellationToken) {
    let watch = async {
        loop {
            hub.store.lost().await;
            hub.regain_store().await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = shutdown.cancelled() => {}
    }
}

impl Hub {
    /// Refuses a client while the database server is lost. Errors: `Unavailable`.
    pub fn check_store_answers(&self) -> Result<(), DomainError> {
        if self.store.is_lost() { Err(DomainError::Unavailable("database")) } else { Ok(()) }
    }

    /// Returns when the lost server answers again. After a while without it, all connections are closed, once.
    async fn regain_store(&self) {
        let close = async {
            sleep(seconds(self.config.cluster.store_lost_close_s)).await;
            tracing::warn!("the database server is still lost: the connections of clients are closed");
            self.router.close_all(CloseReason::Unavailable);
            pending::<()>().await
        };
        let regain = async {
            let mut last = String::new();
            while let Err(error) = self.store.reconnect().await {
                let why = error.to_string();
                if why != last {
                    tracing::warn!(why, "the database server does not answer yet");
                    last = why;
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = regain => tracing::info!("the database server answers again"),
            () = close => {}
        }
    }
}
