//! The documented HTTP routes, the files, and the door to the sockets, on one port.
//!
//! Here is HTTP only: what a request may do is the hub's to say, and what a socket says is another edge's matter,
//! which gets the socket after its handshake ([`SocketRoute`]). The way of a request:
//!
//! `connection` (one task, one client) → `service` (route, CORS, access log) → `body` (bytes become fields)
//! → one of the [`calls`](super::calls), or `files` → `reply` (back to bytes).
//!
//! Limits, all of `[http]` in the configuration: connections in all and from one address, the time of a request's
//! head, the pauses and the length of its body. A client that does not read is cut off after the same pause.

mod body;
mod connection;
mod cors;
mod extensions;
mod files;
mod multipart;
mod reply;
mod routes;
mod service;
mod sockets;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use hyper::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, seconds};
use crate::domain::Hub;
use crate::model::Secret;
use connection::Admission;
use routes::Routes;

pub use multipart::RECORDING_FIELDS;
pub use routes::{FILES, HEALTH, READINESS};
pub use sockets::{Socket, SocketHandler, SocketIo, SocketRoute};

/// The first pause after a failed accept; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a process without file descriptors tries again this often.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How large a request's head may be.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How much of a request or an answer one connection holds in memory.
const BUFFER_MAX_BYTES: usize = 64 * 1024;

/// What all connections share.
struct Edge {
    hub: Arc<Hub>,
    config: Arc<Config>,
    routes: Routes,
    protocol: http1::Builder,
    /// No new requests; what runs may end.
    shutdown: CancellationToken,
    /// What still runs is cut off.
    cut: CancellationToken,
    /// Work that outlives its connection: accepted requests and opened sockets.
    tasks: TaskTracker,
}

impl Edge {
    fn new(
        hub: Arc<Hub>,
        config: Arc<Config>,
        sockets: Vec<SocketRoute>,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(seconds(config.http.header_timeout_s))
            .max_header_size(HEAD_MAX_BYTES)
            .max_buf_size(BUFFER_MAX_BYTES)
            // Simple clients close their sending side after the request and then wait for the answer.
            .half_close(true);
        let routes = Routes::new(config.http.dialect, sockets).map_err(io::Error::other)?;
        let cut = CancellationToken::new();
        Ok(Self { hub, config, routes, protocol, shutdown, cut, tasks: TaskTracker::new() })
    }
}

/// Serves HTTP clients until `shutdown`, and returns when every connection, accepted request and socket has ended,
/// or after `[server] shutdown_timeout_s` has cut off what was left. Dropping the future ends all connections at once.
///
/// `sockets` are the paths that open a WebSocket. Fails at once if two routes have the same path.
pub async fn serve(
    listeners: Vec<TcpListener>,
    hub: Arc<Hub>,
    config: Arc<Config>,
    sockets: Vec<SocketRoute>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let edge = Arc::new(Edge::new(hub, config, sockets, shutdown)?);
    // Tasks of the tracker are cut off even if this future is dropped.
    let _cut = edge.cut.clone().drop_guard();
    let mut connections = JoinSet::new();
    accept(&listeners, &edge, &mut connections).await;
    drop(listeners);
    edge.tasks.close();
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
        edge.tasks.wait().await;
    };
    if tokio::time::timeout(seconds(edge.config.server.shutdown_timeout_s), finish).await.is_err() {
        tracing::warn!("http connections cut off, they did not end in time");
        edge.cut.cancel();
        connections.shutdown().await;
        edge.tasks.wait().await;
    }
    Ok(())
}

/// Accepts connections until the shutdown.
async fn accept(listeners: &[TcpListener], edge: &Arc<Edge>, connections: &mut JoinSet<()>) {
    let admission = Admission::new(&edge.config.http);
    let mut pause = ACCEPT_PAUSE;
    loop {
        tokio::select! {
            biased;
            () = edge.shutdown.cancelled() => return,
            Some(ended) = connections.join_next() => report(ended),
            accepted = next(listeners) => match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE;
                    admit(stream, peer, edge, &admission, connections);
                }
                Err(error) => {
                    // EMFILE stays until a connection ends: without a pause this would be a busy loop.
                    tracing::warn!(%error, "http connection not accepted");
                    tokio::select! {
                        () = edge.shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                    }
                }
            },
        }
    }
}

/// The next connection of any listener.
async fn next(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let ready = listeners.iter().map(|listener| listener.poll_accept(context)).find(Poll::is_ready);
        ready.unwrap_or(Poll::Pending)
    })
    .await
}

/// Starts the task of a new connection, unless there are too many.
fn admit(stream: TcpStream, peer: SocketAddr, edge: &Arc<Edge>, admission: &Admission, connections: &mut JoinSet<()>) {
    let address = peer.ip().to_canonical();
    let slot = match admission.take(address) {
        Ok(slot) => slot,
        Err(refusal) => {
            tracing::debug!(%address, %refusal, "http connection refused");
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        // The client is gone already.
        tracing::debug!(%address, %error, "http connection lost");
        return;
    }
    connections.spawn(connection::run(stream, address, slot, Arc::clone(edge)));
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    headers.typed_get::<Authorization<Bearer>>().map(|header| Secret::new(header.token()))
}

/// A connection's task has ended; a panic in it ended that connection alone.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "http connection failed");
    }
}
