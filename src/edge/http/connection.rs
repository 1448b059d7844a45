//! One client's connection: its task, and its socket with the guards that hyper lacks.

use std::convert::Infallible;
use std::io;
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

use super::client::{Refused, Requester};
use super::reply::{Body, full};
use super::sent::Sent;
use super::{Edge, service};
use crate::config::seconds;
use crate::edge::net::{Client, Linger, Place, Stream};

/// How many bytes of further requests are looked at when an answer was written.
const AHEAD_MAX: usize = 16 << 10;

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
    client: Arc<Requester>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    client.sent.begin();
    match client.of(&request, &edge) {
        Ok(client) => service::answer(edge, client, request).await,
        Err(refused) => Ok(refusal(refused)),
    }
}

/// Serves one client until it leaves or the hub stops; a running request is finished first.
pub(super) async fn run(stream: impl Stream + 'static, client: Client, edge: Arc<Edge>) {
    let Client { peer, place, listener, .. } = client;
    let unread = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(Sent::default());
    let served = (edge.dialect_at(listener), edge.is_encrypted_at(listener));
    let requester = Arc::new(Requester::of_connection(peer, served, Arc::clone(&unread), Arc::clone(&sent)));
    let (stall, close) = (seconds(edge.config.http.body_pause_timeout_s), seconds(edge.config.http.close_timeout_s));
    let io = TokioIo::new(Guarded::new(Box::new(stream), unread, sent, (stall, close), place));
    let shared = Arc::clone(&edge);
    let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&requester), request));
    let mut serving = pin!(edge.protocol.serve_connection(io, service).with_upgrades());
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = edge.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        // Clients may disconnect at any time; malformed requests have been answered.
        tracing::debug!(%error, "http connection ended");
    }
}

/// A socket that holds its place as long as it lives, even when it has become a WebSocket, and that
///
/// - fails when the client reads nothing for the length of a pause: hyper would wait for ever;
/// - reads on for a moment when an answer ends the connection in the middle of an upload;
/// - notes when an answer has been sent, and when a client that plays a sound has closed its end.
struct Guarded {
    stream: Box<dyn Stream>,
    unread: Arc<AtomicBool>,
    sent: Arc<Sent>,
    /// What the client has sent by the end of an answer that was being written.
    ahead: Vec<u8>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    /// The wait for the client's end after an answer that hands messages over and ends the connection.
    proof: Linger,
    _place: Place,
}

impl Guarded {
    /// `stall` is the longest pause of a reader, `close` how long its end is awaited after an answer with messages.
    fn new(
        stream: Box<dyn Stream>,
        unread: Arc<AtomicBool>,
        sent: Arc<Sent>,
        (stall, close): (Duration, Duration),
        place: Place,
    ) -> Self {
        Self {
            stream,
            unread,
            sent,
            ahead: Vec::new(),
            stall,
            stalled: None,
            linger: Linger::default(),
            proof: Linger::of(close),
            _place: place,
        }
    }

    /// Whether the client has closed its end. Bytes that it has sent are kept for the next read.
    fn is_closed(&mut self, cx: &mut Context<'_>) -> bool {
        while self.ahead.len() < AHEAD_MAX {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return true,
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(buf.filled()),
                Poll::Ready(Err(_)) => return true,
            }
        }
        false
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
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        match &read {
            Ok(()) => self.sent.received(&buf.filled()[before..]),
            Err(_) => self.sent.lost(),
        }
        Poll::Ready(read)
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
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.sent.is_writing() {
            let is_closed = self.is_closed(cx);
            self.sent.flushed(is_closed);
        }
        // hyper does not look for the end of a client to which it writes, as one may close its sending side only.
        if self.sent.is_in_a_sound() && self.is_closed(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the device stops the sound")));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        let Self { stream, linger, proof, unread, sent, .. } = &mut *self;
        if sent.is_unproven() {
            match ready!(proof.poll(Pin::new(&mut *stream), cx)) {
                Ok(is_closed) => sent.proven(is_closed),
                // It has not read the answer.
                Err(_) => sent.lost(),
            }
        }
        if unread.load(Ordering::Relaxed) {
            // A client that resets the connection here has its answer, or does not want it.
            let _ = ready!(linger.poll(Pin::new(stream), cx));
        }
        Poll::Ready(Ok(()))
    }
}
