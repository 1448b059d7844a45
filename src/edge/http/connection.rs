//! One client's connection: its task, the client of each of its requests, and its socket with the guards that hyper
//! lacks.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::reply::{Body, full};
use super::{Edge, service};
use crate::config::seconds;
use crate::domain::Origin;
use crate::edge::net::{AddressPlace, Client, Forwarded, Linger, Place, Stream};

/// What a request knows of its connection.
pub(super) struct Connection {
    /// The client's address, even behind a proxy; an IPv4 address is never shown as an IPv6 one.
    pub(super) peer: IpAddr,
    /// Whether a proxy that is not named speaks for the client: then `peer` is the proxy.
    is_hidden: bool,
    /// Whether a request has a body of which something has not been read.
    unread: Arc<AtomicBool>,
    /// The place of a request that a proxy forwards: of its connections, each carries many clients.
    _place: Option<AddressPlace>,
}

impl Connection {
    /// From where the request comes.
    pub(super) fn origin(&self) -> Origin {
        Origin { peer: self.peer, is_hidden: self.is_hidden }
    }

    /// Notes whether the request at hand has a body of which something has not been read.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether the connection must end, since the rest of a body stands where the next request should.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// The same for a request, whose client a trusted proxy names; or why the request is not served.
    fn of(self: &Arc<Self>, request: &Request<Incoming>, edge: &Edge) -> Result<Arc<Self>, Refused> {
        let Some(forwarded) = edge.forwarded.filter(|_| edge.proxies.contains(self.peer)) else {
            let names_client = |header| request.headers().contains_key(header);
            if !names_client(Forwarded::XForwardedFor.header()) && !names_client(Forwarded::Rfc7239.header()) {
                return Ok(Arc::clone(self));
            }
            report_unnamed_proxy(self.peer);
            return Ok(Arc::new(Self {
                peer: self.peer,
                is_hidden: true,
                unread: Arc::clone(&self.unread),
                _place: None,
            }));
        };
        let values = request.headers().get_all(forwarded.header()).iter();
        // Text that is not ASCII names no address either.
        let values = values.map(|value| value.to_str().unwrap_or("?"));
        let values: Vec<&str> = values.collect();
        let Ok(peer) = forwarded.client(self.peer, values.into_iter(), &edge.proxies) else {
            tracing::warn!(proxy = %self.peer, header = forwarded.header(), "header of a proxy names no address");
            return Err((StatusCode::BAD_REQUEST, "The header in which the proxy names its client is malformed.\n"));
        };
        let place = edge.places.take_of(peer).map_err(|refused| {
            tracing::debug!(address = %peer, %refused, "http request refused");
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests and sockets from one address at once.\n")
        })?;
        Ok(Arc::new(Self { peer, is_hidden: false, unread: Arc::clone(&self.unread), _place: Some(place) }))
    }
}

/// Says once that a proxy is not named. Its clients are then at no place, and calls without a token are refused.
fn report_unnamed_proxy(peer: IpAddr) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            proxy = %peer,
            "requests name another client, but net.proxies does not name their proxy; without a token they are refused"
        );
    }
}

/// Status and plain text for a request that is not served.
type Refused = (StatusCode, &'static str);

/// The answer to a request that no route has seen.
fn refusal((status, text): Refused) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Answers one request. It never fails: every failure has its answer.
async fn answer(
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    match connection.of(&request, &edge) {
        Ok(connection) => service::answer(edge, connection, request).await,
        Err(refused) => Ok(refusal(refused)),
    }
}

/// Serves one client until it leaves or the hub stops; a running request is finished first.
pub(super) async fn run(stream: impl Stream + 'static, client: Client, edge: Arc<Edge>) {
    let Client { peer, place } = client;
    let unread = Arc::new(AtomicBool::new(false));
    let connection = Arc::new(Connection { peer, is_hidden: false, unread: Arc::clone(&unread), _place: None });
    let stall = seconds(edge.config.http.body_pause_timeout_s);
    let io = TokioIo::new(Guarded::new(Box::new(stream), unread, stall, place));
    let shared = Arc::clone(&edge);
    let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&connection), request));
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
/// - reads on for a moment when an answer ends the connection in the middle of an upload.
struct Guarded {
    stream: Box<dyn Stream>,
    unread: Arc<AtomicBool>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    _place: Place,
}

impl Guarded {
    fn new(stream: Box<dyn Stream>, unread: Arc<AtomicBool>, stall: Duration, place: Place) -> Self {
        Self { stream, unread, stall, stalled: None, linger: Linger::default(), _place: place }
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
        let Self { stream, linger, unread, .. } = &mut *self;
        if unread.load(Ordering::Relaxed) {
            ready!(linger.poll(Pin::new(stream), cx));
        }
        Poll::Ready(Ok(()))
    }
}
