//! The logins of live connections, read again periodically: another hub over the same database server may have revoked
//! one. A connection without a valid login is closed.

use std::sync::Arc;

use dashmap::DashMap;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::accounts::hash_of;
use super::login::Proof;
use super::units::ticks;
use crate::model::{Party, Timestamp};
use crate::ports::router::{CloseReason, ConnectionId, Mailbox};

/// Logins that are read at once; the store joins them to fewer queries.
const READ_AT_ONCE: usize = 256;

/// The credentials of the live connections, and of those that have ended since the last look.
#[derive(Debug, Default)]
pub(super) struct LiveLogins(DashMap<ConnectionId, (Party, Proof)>);

impl LiveLogins {
    /// Adds a connection. Those that address and id alone have opened cannot be revoked elsewhere.
    pub(super) fn add(&self, mailbox: &Mailbox, proof: &Proof) {
        let proof = match proof {
            Proof::Token(_) | Proof::Device(..) => proof.clone(),
            Proof::Id(_, Some(token), _) => Proof::Token(hash_of(token)),
            Proof::Id(_, None, _) | Proof::Guest => return,
        };
        self.0.insert(mailbox.connection_id(), (mailbox.party().clone(), proof));
    }
}

/// Reads the logins of all connections again until `shutdown`, if the database is on a server. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    if !hub.store.is_on_server() {
        return shutdown.cancelled().await;
    }
    let mut ticks = ticks(hub.config.cluster.logins_interval_s);
    let look = async {
        loop {
            ticks.tick().await;
            hub.check_live_logins(clock()).await;
        }
    };
    shutdown.run_until_cancelled(look).await;
}

impl Hub {
    async fn check_live_logins(&self, now: Timestamp) {
        self.live_logins.0.retain(|id, (party, _)| self.router.is_connected(party, *id));
        let logins: Vec<_> = self.live_logins.0.iter().map(|login| (*login.key(), login.value().clone())).collect();
        let check = |(id, (party, proof)): (ConnectionId, (Party, Proof))| async move {
            match self.login_of(&proof, now).await {
                Ok(Some(login)) if login.party == party => {}
                Ok(_) => {
                    tracing::info!(party = %party.in_log(), "a connection is closed: its login was revoked at another hub");
                    self.router.close_connection(&party, id, CloseReason::Revoked);
                }
                // The next look reads it again.
                Err(error) => tracing::debug!(?error, "the login of a connection could not be read"),
            }
        };
        stream::iter(logins).for_each_concurrent(READ_AT_ONCE, check).await;
    }
}
