//! One client's connection: who gets one, its task, and its socket with the guards that hyper lacks.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::{Edge, service};
use crate::config::{self, seconds};

/// How long a connection that is closed in the middle of an upload goes on to read, see [`Guarded`].
const LINGER: Duration = Duration::from_secs(1);

/// How many connections there may be, in all and from one address.
pub(super) struct Admission {
    all: Arc<Semaphore>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address_max: usize,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// All connections are taken.
    Full,
    /// This address has its share.
    AddressFull,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many connections",
            Self::AddressFull => "too many connections from one address",
        })
    }
}

impl Admission {
    pub(super) fn new(config: &config::Http) -> Self {
        // A semaphore panics above its own maximum, which no machine can serve anyway.
        let all = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
        Self { all, addresses: Arc::default(), per_address_max: config.connections_per_address_max }
    }

    /// A place for one connection of `address`; dropping it frees the place.
    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Refusal> {
        let permit = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Refusal::Full)?;
        let network = network_of(address);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(network).or_insert(0);
        if *count >= self.per_address_max {
            return Err(Refusal::AddressFull);
        }
        *count += 1;
        Ok(Slot { addresses: Arc::clone(&self.addresses), network, _permit: permit })
    }
}

/// A household's IPv6 addresses share their first 64 bits, and anyone can have that many.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// The place of one connection.
pub(super) struct Slot {
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    network: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.network);
            }
        }
    }
}

/// What the requests of one connection know of it.
pub(super) struct Connection {
    /// The client's address; an IPv4 address is never shown as an IPv6 one.
    pub(super) peer: IpAddr,
    unread: AtomicBool,
}

impl Connection {
    /// Notes whether the request at hand has a body of which something has not been read.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether the connection must end, since the rest of a body stands where the next request should.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
}

/// Serves one client until it leaves or the hub stops; a running request is finished first.
pub(super) async fn run(stream: TcpStream, peer: IpAddr, slot: Slot, edge: Arc<Edge>) {
    let connection = Arc::new(Connection { peer, unread: AtomicBool::new(false) });
    let stall = seconds(edge.config.http.body_pause_timeout_s);
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&connection), stall, slot));
    let shared = Arc::clone(&edge);
    let service = service_fn(move |request| service::answer(Arc::clone(&shared), Arc::clone(&connection), request));
    let mut serving = pin!(edge.protocol.serve_connection(io, service).with_upgrades());
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = edge.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        // Clients leave as they like; what they sent wrong has been answered.
        tracing::debug!(%error, "http connection ended");
    }
}

/// A socket that holds its place as long as it lives, even when it has become a WebSocket, and that
///
/// - fails when the client reads nothing for the length of a pause: hyper would wait for ever;
/// - reads on for a moment when an answer ends the connection in the middle of an upload. A close with unread bytes
///   resets the connection, and the client would never see the answer.
struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Pin<Box<Sleep>>>,
    _slot: Slot,
}

impl Guarded {
    fn new(stream: TcpStream, connection: Arc<Connection>, stall: Duration, slot: Slot) -> Self {
        Self { stream, connection, stall, stalled: None, lingering: None, _slot: slot }
    }

    /// Turns a write that has been pending for too long into an error.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if !self.connection.is_unread() {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let timer = this.lingering.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0u8; 8 * 1024];
        while timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all: usize, per_address: usize) -> Admission {
        Admission::new(&config::Http {
            connections_max: all,
            connections_per_address_max: per_address,
            ..config::Http::default()
        })
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = admission(3, 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = admission.take(a).unwrap_or_else(|refusal| panic!("{refusal}"));
        let _second = admission.take(a).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(matches!(admission.take(a), Err(Refusal::AddressFull)));
        let _third = admission.take(b).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(matches!(admission.take(b), Err(Refusal::Full)));
        drop(first);
        assert!(admission.take(a).is_ok());
    }

    #[test]
    fn an_ipv6_household_counts_as_one_address() {
        let admission = admission(9, 1);
        let _first = admission.take("2001:db8::1".parse().unwrap());
        assert!(matches!(admission.take("2001:db8::2".parse().unwrap()), Err(Refusal::AddressFull)));
        assert!(admission.take("2001:db8:0:1::1".parse().unwrap()).is_ok());
    }
}
