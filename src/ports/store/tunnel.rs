//! TLS to a SurrealDB server: its client library has none of its own here, as that would need a second library of
//! cryptography, and a database that is built with it.
//!
//! ```text
//! client library ── ws:// ─▶ 127.0.0.1 ── Tunnel ── TLS, certificate verified ─▶ wss://store.example/…
//! ```
//!
//! The library connects to a port of this machine, and what it writes there is encrypted. The tunnel belongs to the tasks
//! of one [`Connection`](super::server::Connection) and ends with it. The certificate is verified once before the library
//! connects, so that a refused one is the error of the opening, instead of a lost connection without a reason. Another
//! process of this machine that connects to the port gets no more than it would get from the server: it has to sign in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ports::outgoing::{OutgoingError, Target};

/// Connections at once. The library has one, and for a moment two when it connects again.
const CONNECTIONS_MAX: usize = 4;
/// The maximum size of the request with which a WebSocket is opened.
const HEAD_MAX: usize = 16 * 1024;
/// Bytes that are read at once, of each direction.
const BUFFER: usize = 64 * 1024;

/// A port of this machine that leads to the server.
pub(super) struct Tunnel {
    listener: TcpListener,
    far: Arc<Far>,
    /// The address for the client library.
    url: String,
    /// The connection that has shown the certificate to be right.
    first: TlsStream<TcpStream>,
}

/// The far end.
struct Far {
    target: Target,
    tls: TlsConnector,
    /// The time in which a connection has to open, and its request has to come.
    limit: Duration,
}

impl Tunnel {
    /// Connects to the server and verifies its certificate. `path` is that of the address; each connection has to open
    /// within `limit`. To be called within the runtime of the connection. Errors: `Address`, `Unreachable`, `NoTls`, `Untrusted`.
    pub(super) async fn open(
        target: Target,
        path: &str,
        tls: TlsConnector,
        limit: Duration,
    ) -> Result<Self, OutgoingError> {
        let far = Far { target, tls, limit };
        let first = far.connect().await?;
        let here = |error: io::Error| OutgoingError::Unreachable(format!("no port of 127.0.0.1 is free: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(here)?;
        let port = listener.local_addr().map_err(here)?.port();
        let url = format!("ws://127.0.0.1:{port}/{path}");
        Ok(Self { listener, far: Arc::new(far), url, first })
    }

    /// The address for the client library.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Serves connections. It ends with the runtime.
    pub(super) async fn serve(self) {
        let Self { listener, far, first, .. } = self;
        let (mut first, mut carried) = (Some(first), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept(), if carried.len() < CONNECTIONS_MAX => accepted,
                Some(_) = carried.join_next() => continue,
            };
            match accepted {
                Ok((near, _)) => {
                    let (far, opened) = (Arc::clone(&far), first.take());
                    carried.spawn(async move {
                        if let Err(error) = far.carry(near, opened).await {
                            tracing::debug!(%error, "an encrypted connection to the database server has ended");
                        }
                    });
                }
                Err(error) => {
                    // No descriptor is free; the client library tries again.
                    tracing::warn!(%error, "no connection of the database's client can be accepted");
                    sleep(far.limit).await;
                }
            }
        }
    }
}

impl Far {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, OutgoingError> {
        let late = || OutgoingError::Unreachable(format!("no TLS within {} s", self.limit.as_secs()));
        timeout(self.limit, self.target.connect(&self.tls)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Carries one connection until one side ends it.
    async fn carry(&self, mut near: TcpStream, opened: Option<TlsStream<TcpStream>>) -> io::Result<()> {
        near.set_nodelay(true)?;
        let head = timeout(self.limit, read_head(&mut near)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let mut far = match opened {
            Some(far) => far,
            None => self.connect().await.map_err(io::Error::other)?,
        };
        far.write_all(&with_host(&head, self.target.authority())).await?;
        copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await.map(drop)
    }
}

/// Reads up to the end of a request's head. What comes behind it is read, too.
async fn read_head(near: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if near.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// A request for the host that the server is known by: a proxy before it may serve others, too.
fn with_host(request: &[u8], host: &str) -> Vec<u8> {
    let mut lines = request.split_inclusive(|byte| *byte == b'\n');
    let mut changed = Vec::with_capacity(request.len() + host.len());
    for line in lines.by_ref() {
        let is_host = line.split(|byte| *byte == b':').next().is_some_and(|name| name.eq_ignore_ascii_case(b"host"));
        match is_host {
            true => changed.extend_from_slice(format!("Host: {host}\r\n").as_bytes()),
            false => changed.extend_from_slice(line),
        }
        if line == b"\r\n" {
            break;
        }
    }
    for rest in lines {
        changed.extend_from_slice(rest);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_host_of_the_server_and_keeps_everything_else() {
        let request = b"GET /rpc HTTP/1.1\r\nhost: 127.0.0.1:4711\r\nUpgrade: websocket\r\n\r\nhost: x\nhost: y\n";
        let expected = "GET /rpc HTTP/1.1\r\nHost: store.example:8443\r\nUpgrade: websocket\r\n\r\nhost: x\nhost: y\n";
        assert_eq!(String::from_utf8(with_host(request, "store.example:8443")).unwrap(), expected);
    }
}
