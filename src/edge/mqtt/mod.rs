//! MQTT 3.1.1 and 5, told apart by the CONNECT packet, over TCP, TLS, a Unix socket and what other edges bring.
//!
//! A connection is a task: `hello` reads its CONNECT, `connect` brings it to its session, `session` serves it. `codec`
//! and `encode` stand around `rumqttd`'s codecs, `exchange` does the bookkeeping without sockets, `link` holds the socket
//! and its buffers, `sessions` finds the session that a new one takes over, `requests` does what it says to the hub
//! itself, `waiting` puts off what follows a message for a subscriber that is behind, `wills` publishes what is left to
//! say at the end, `reason` turns what went wrong into codes.
//!
//! Before all that, clients come in: `listen` has the places, `tls` their certificates, `stream` what is not TCP,
//! `addresses` and `flapping` who may.
//!
//! What a client may do is the hub's to say; who receives what is the router's. Here are only the protocol and
//! its limits, all of which stand in `[mqtt]` of the configuration. A session that outlives its connection keeps its
//! subscriptions and its messages of QoS 1 and 2 in the router's file.

mod addresses;
mod codec;
mod connect;
mod encode;
mod exchange;
mod flapping;
mod hello;
mod housekeeping;
mod link;
mod listen;
mod reason;
mod requests;
mod session;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod waiting;
mod wills;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, seconds};
use crate::domain::Hub;
use crate::domain::live::QueueLimits;
use crate::edge::wire;
use crate::ports::router::CloseReason;
use addresses::Addresses;
use flapping::Flapping;
use listen::{Arrival, Transport};
use sessions::Sessions;
use stream::Flushed;

pub use listen::{Door, Listeners, UnixSocket};
pub use stream::Stream;
pub use tls::{Reloads, Tls, TlsFault};

/// Where MQTT comes over a WebSocket of the HTTP port.
pub const SOCKET_PATH: &str = "/mqtt";
/// The subprotocols that are spoken there.
pub const SOCKET_PROTOCOLS: &[&str] = &["mqtt"];

/// The first pause after a failed accept; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a process without file descriptors tries again this often.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a listener asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Credentials, and permission for every topic.
    Guarded,
    /// Neither: for conformance tests from this machine.
    Conformance,
}

/// What all connections share.
struct Edge {
    hub: Arc<Hub>,
    config: Arc<config::Mqtt>,
    sessions: Arc<Sessions>,
    /// Wills that wait for their delay.
    wills: TaskTracker,
    /// What clients have said to the hub itself and is being done.
    desks: TaskTracker,
    shutdown: CancellationToken,
}

impl Edge {
    /// What may wait for one connection, and behind a held message of one.
    fn queue_limits(&self) -> QueueLimits {
        QueueLimits { messages_max: self.config.queue_messages_max, bytes_max: self.config.queue_bytes_max }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As the protocol says, or because the hub wanted it so.
    Orderly,
    /// It was refused, or broke.
    Failed,
}

/// A connection that has ended, for the count of those that fail.
#[derive(Debug)]
struct Ended {
    peer: IpAddr,
    profile: Profile,
    started_at: Instant,
    ending: Ending,
}

/// Serves MQTT clients until `shutdown`, and returns when every connection has ended.
///
/// Dropping the future ends all connections at once.
pub async fn serve(mut listeners: Listeners, hub: Arc<Hub>, config: Arc<config::Mqtt>, shutdown: CancellationToken) {
    let tls = listeners.tls.take();
    let keep_up = async {
        match tls {
            Some(tls) => tls.keep_up().await,
            None => std::future::pending().await,
        }
    };
    let sessions = Arc::new(Sessions::restore(&hub, wire::now()));
    let (wills, desks) = (TaskTracker::new(), TaskTracker::new());
    let edge = Arc::new(Edge { hub, config, sessions, wills, desks, shutdown });
    tokio::select! {
        () = Entrance::new(Arc::clone(&edge)).serve(listeners) => {}
        () = keep_up => {}
        () = housekeeping::run(&edge) => {}
    }
    for tasks in [&edge.desks, &edge.wills] {
        tasks.close();
        tasks.wait().await;
    }
}

/// Where connections are let in and counted. There is one, whatever they come over.
struct Entrance {
    edge: Arc<Edge>,
    addresses: Arc<Addresses>,
    flapping: Flapping,
    connections: JoinSet<Ended>,
}

impl Entrance {
    fn new(edge: Arc<Edge>) -> Self {
        let flapping = Flapping::new(&edge.config);
        Self { edge, addresses: Arc::default(), flapping, connections: JoinSet::new() }
    }

    async fn serve(mut self, mut listeners: Listeners) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            tokio::select! {
                biased;
                () = self.edge.shutdown.cancelled() => break,
                Some(ended) = self.connections.join_next() => self.note(ended),
                accepted = listeners.accept() => match accepted {
                    Ok(arrival) => {
                        pause = ACCEPT_PAUSE;
                        self.admit(arrival);
                    }
                    Err(error) => {
                        // EMFILE stays until a connection ends: without a pause this would be a busy loop.
                        tracing::warn!(%error, "mqtt connection not accepted");
                        tokio::select! {
                            () = self.edge.shutdown.cancelled() => break,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                        }
                    }
                },
            }
        }
        drop(listeners);
        self.edge.sessions.close_all(CloseReason::ShuttingDown);
        while let Some(ended) = self.connections.join_next().await {
            self.note(ended);
        }
    }

    /// A connection's task has ended; a panic in it ended that connection alone.
    fn note(&mut self, ended: Result<Ended, JoinError>) {
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "mqtt connection failed");
                return;
            }
        };
        let now = Instant::now();
        let counts = ended.ending == Ending::Failed
            && ended.profile == Profile::Guarded
            && now.duration_since(ended.started_at) <= seconds(self.edge.config.flapping_age_s);
        if counts && self.flapping.failed(ended.peer, now) {
            tracing::warn!(address = %ended.peer, "mqtt address banned, too many of its connections fail");
        }
    }

    /// Starts the task of a new connection, unless there are too many or its address is banned.
    fn admit(&mut self, arrival: Arrival) {
        let Arrival { transport, peer, profile } = arrival;
        let config = &self.edge.config;
        if self.connections.len() >= config.connections_max {
            tracing::warn!("too many mqtt connections");
            return;
        }
        let started_at = Instant::now();
        if profile == Profile::Guarded && self.flapping.is_banned(peer, started_at) {
            return;
        }
        let Some(slot) = self.addresses.take(peer, config.connections_per_address_max) else {
            tracing::debug!(address = %peer, "too many mqtt connections from one address");
            return;
        };
        if let Transport::Tcp(socket) | Transport::Tls(socket, _) = &transport
            && let Err(error) = set_options(socket, config)
        {
            // The client is gone already.
            tracing::debug!(address = %peer, %error, "mqtt connection lost");
            return;
        }
        let edge = Arc::clone(&self.edge);
        let ended = move |ending| {
            drop(slot);
            Ended { peer, profile, started_at, ending }
        };
        match transport {
            // A task of its own kind: the many that are idle hold no room for what the others need.
            Transport::Tcp(socket) => {
                self.connections.spawn(async move { ended(converse(socket, peer, edge, profile).await) });
            }
            other => {
                self.connections.spawn(async move {
                    let opened = Box::pin(open(other, &edge)).await;
                    ended(match opened {
                        Some(stream) => converse(stream, peer, edge, profile).await,
                        None => Ending::Failed,
                    })
                });
            }
        }
    }
}

/// Brings what is not TCP alone to where bytes of MQTT flow; none if TLS does not open in time.
async fn open(transport: Transport, edge: &Edge) -> Option<Box<dyn Stream>> {
    match transport {
        Transport::Tcp(socket) => Some(Box::new(socket)),
        Transport::Tls(socket, acceptor) => open_tls(socket, acceptor, edge).await,
        Transport::Unix(socket) => Some(Box::new(socket)),
        Transport::Other(stream) => Some(Box::new(Flushed::new(stream))),
    }
}

async fn open_tls(socket: TcpStream, acceptor: TlsAcceptor, edge: &Edge) -> Option<Box<dyn Stream>> {
    let opened = tokio::select! {
        opened = timeout(seconds(edge.config.connect_timeout_s), acceptor.accept(socket)) => opened,
        () = edge.shutdown.cancelled() => return None,
    };
    match opened {
        Ok(Ok(stream)) => Some(Box::new(Flushed::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "mqtt connection failed to open tls");
            None
        }
        Err(_) => {
            tracing::debug!("mqtt connection took too long to open tls");
            None
        }
    }
}

/// Serves a client from its CONNECT to its end.
async fn converse<S>(socket: S, peer: IpAddr, edge: Arc<Edge>, profile: Profile) -> Ending
where
    S: AsyncRead + AsyncWrite,
{
    // Boxed: the memory of the handshake is free again once the session runs.
    match Box::pin(connect::handshake(socket, peer, edge, profile)).await {
        Some(session) => session.run().await,
        None => Ending::Failed,
    }
}

/// Small packets leave at once. A client that vanishes without a FIN is found out even if it asked for no keep alive.
fn set_options(socket: &TcpStream, config: &config::Mqtt) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(seconds(config.keep_alive_max_s.into()))
        .with_interval(seconds(config.write_timeout_s));
    SockRef::from(socket).set_tcp_keepalive(&keep_alive)
}
