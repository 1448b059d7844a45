//! MQTT 3.1.1 and 5 on one TCP port, told apart by the CONNECT packet.
//!
//! A connection is a task: `connect` brings it to its session, `session` serves it. `codec` and `encode`
//! stand around `rumqttd`'s codecs, `exchange` does the bookkeeping without sockets, `link` holds the socket and
//! its buffers, `sessions` finds the session that a new one takes over, `reason` turns what went wrong into codes.
//!
//! What a client may do is the hub's to say; who receives what is the router's. Here are only the protocol and
//! its limits, all of which stand in `[mqtt]` of the configuration. A session that outlives its connection keeps its
//! subscriptions and its messages of QoS 1 and 2 in the router's file.

mod codec;
mod connect;
mod encode;
mod exchange;
mod housekeeping;
mod link;
mod reason;
mod session;
mod sessions;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, seconds};
use crate::domain::Hub;
use crate::ports::router::CloseReason;
use sessions::Sessions;

/// The first pause after a failed accept; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a process without file descriptors tries again this often.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a listener lets its clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Credentials, and the permissions of their owner.
    Guarded,
    /// No credentials and nearly every topic: for test suites, on the loopback alone.
    Conformance,
}

/// What all connections share.
struct Edge {
    hub: Arc<Hub>,
    config: Arc<config::Mqtt>,
    sessions: Arc<Sessions>,
    /// Wills that wait for their delay.
    wills: TaskTracker,
    shutdown: CancellationToken,
}

/// Listens where the configuration says.
pub async fn bind(config: &config::Mqtt) -> io::Result<TcpListener> {
    TcpListener::bind(config.listen).await
}

/// Serves MQTT clients until `shutdown`, and returns when every connection has ended.
///
/// Dropping the future ends all connections at once.
pub async fn serve(listener: TcpListener, hub: Arc<Hub>, config: Arc<config::Mqtt>, shutdown: CancellationToken) {
    let sessions = Arc::new(Sessions::restore(&hub, connect::now()));
    let edge = Arc::new(Edge { hub, config, sessions, wills: TaskTracker::new(), shutdown });
    let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&edge)));
    let addresses = Arc::new(Addresses::default());
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    loop {
        tokio::select! {
            biased;
            () = edge.shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    pause = ACCEPT_PAUSE;
                    admit(socket, peer, &edge, &addresses, &mut connections);
                }
                Err(error) => {
                    // EMFILE stays until a connection ends: without a pause this would be a busy loop.
                    tracing::warn!(%error, "mqtt connection not accepted");
                    tokio::select! {
                        () = edge.shutdown.cancelled() => break,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                    }
                }
            },
        }
    }
    drop(listener);
    edge.sessions.close_all(CloseReason::ShuttingDown);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    edge.wills.close();
    edge.wills.wait().await;
    housekeeping.abort();
}

/// A connection's task has ended; a panic in it ended that connection alone.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "mqtt connection failed");
    }
}

/// Starts the task of a new connection, unless there are too many.
fn admit(
    socket: TcpStream,
    peer: SocketAddr,
    edge: &Arc<Edge>,
    addresses: &Arc<Addresses>,
    connections: &mut JoinSet<()>,
) {
    let address = peer.ip().to_canonical();
    if connections.len() >= edge.config.connections_max {
        tracing::warn!("too many mqtt connections");
        return;
    }
    let Some(slot) = addresses.take(address, edge.config.connections_per_address_max) else {
        tracing::debug!(%address, "too many mqtt connections from one address");
        return;
    };
    if let Err(error) = set_options(&socket, &edge.config) {
        // The client is gone already.
        tracing::debug!(%address, %error, "mqtt connection lost");
        return;
    }
    let edge = Arc::clone(edge);
    connections.spawn(async move {
        let _slot = slot;
        // Boxed: the memory of the handshake is free again once the session runs.
        if let Some(session) = Box::pin(connect::handshake(socket, address, edge, Profile::Guarded)).await {
            session.run().await;
        }
    });
}

/// Small packets leave at once. A client that vanishes without a FIN is found out even if it asked for no keep alive.
fn set_options(socket: &TcpStream, config: &config::Mqtt) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(seconds(config.keep_alive_max_s.into()))
        .with_interval(seconds(config.write_timeout_s));
    SockRef::from(socket).set_tcp_keepalive(&keep_alive)
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl Addresses {
    fn take(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<AddressSlot> {
        let address = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(AddressSlot { addresses: Arc::clone(self), address })
    }
}

/// One connection's place in [`Addresses`].
#[derive(Debug)]
struct AddressSlot {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: with IPv6 the /64 network, all of whose addresses one host may use.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_limit_and_gives_its_places_back() {
        let addresses = Arc::new(Addresses::default());
        let take = |text: &str| addresses.take(text.parse().unwrap(), 2);
        let first = take("10.0.0.1");
        let second = take("10.0.0.1");
        assert!(first.is_some() && second.is_some());
        assert!(take("10.0.0.1").is_none());
        assert!(take("10.0.0.2").is_some());
        drop(first);
        assert!(take("10.0.0.1").is_some());
        let (_a, _b) = (take("2001:db8::1"), take("2001:db8::2"));
        assert!(take("2001:db8::3").is_none());
        assert!(take("2001:db8:0:1::3").is_some());
        drop(second);
        assert_eq!(addresses.0.lock().unwrap().len(), 1);
    }
}
