//! Programs that several hubs need beside them, for the tests of `scripts/test cluster` and for `scripts/torture cluster`:
//! each is started, killed and started again.

mod balancer;
mod nats;
mod store_server;

use std::net::TcpListener;
use std::time::Duration;

pub use balancer::Balancer;
pub use nats::{NODES, Nats};
pub use store_server::{PASSWORD, StoreServer};

/// The time in which a program has to do what is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `event` with the deadline.
async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
