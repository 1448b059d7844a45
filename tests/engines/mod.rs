//! Programs that several hubs need beside them, for the tests of `scripts/test cluster` and for `scripts/torture cluster`:
//! each is started, killed and started again.

mod balancer;
mod nats;
mod s3_server;
mod store_server;

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

pub use balancer::Balancer;
pub use nats::{NODES, Nats};
pub use s3_server::S3Server;
pub use store_server::{PASSWORD, StoreServer};

/// The time in which a program has to do what is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `event` with the deadline.
async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event).await.unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// Starts a program whose output is in the file `log`. It ends with the returned value.
pub fn start(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true).spawn().unwrap()
}

/// Waits until a program that was started answers; false if it has ended instead.
pub async fn answers(what: &str, program: &mut Child, mut is_answered: impl AsyncFnMut() -> bool) -> bool {
    let answers = async {
        loop {
            if program.try_wait().unwrap().is_some() {
                return false;
            }
            if is_answered().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, answers).await
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
