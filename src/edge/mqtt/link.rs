//! The two directions of one socket, each with a buffer that is released while the connection is idle.
//!
//! Its functions are polled instead of awaited where a session waits for several events at once: a future for each of them
//! would have its room in every idle connection.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::io::poll_read_buf;

use crate::edge::net::Linger;

/// The size of the first read after an idle time.
const READ_MIN_BYTES: u16 = 4 * 1024;
/// The maximum size of a read.
const READ_MAX_BYTES: u16 = 16 * 1024;
/// Nothing more is queued for writing above this size, so that many small packets share a write and a slow
/// client's messages stay in its mailbox, where they are counted.
const WRITE_BATCH_BYTES: usize = 16 * 1024;

/// A socket and its buffers.
#[derive(Debug)]
pub(super) struct Link<S> {
    socket: S,
    /// The received bytes.
    pub input: BytesMut,
    /// The bytes to send.
    pub output: BytesMut,
    /// The size of the next read.
    step: u16,
    write_timeout_s: u32,
    /// When nothing of the output goes out: the end of the write timeout.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(super) fn new(socket: S, write_timeout_s: u32) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { socket, input, output, step: READ_MIN_BYTES, write_timeout_s, deadline: None }
    }

    /// Reads available bytes; 0 at the end. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context)).await
    }

    /// As [`Self::read`]. While it waits with an empty buffer, the buffer is released.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.step.into());
        let room = self.input.capacity() - self.input.len();
        let polled = poll_read_buf(Pin::new(&mut self.socket), context, &mut self.input);
        match &polled {
            Poll::Ready(Ok(read)) if *read == room => self.step = (self.step * 2).min(READ_MAX_BYTES),
            Poll::Ready(_) => {}
            Poll::Pending => {
                self.step = READ_MIN_BYTES;
                if self.input.is_empty() {
                    self.input = BytesMut::new();
                }
            }
        }
        polled
    }

    /// Whether nothing more should be queued now.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// The bytes that may still be queued now. The packet that reaches the limit is queued, too.
    #[inline]
    pub(super) fn room(&self) -> usize {
        WRITE_BATCH_BYTES.saturating_sub(self.output.len())
    }

    /// Writes some of the output, which is not empty. Cancel-safe.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_write(context)).await
    }

    /// As [`Self::write`]. Fails if nothing goes out for the write timeout, counted over all calls since the last byte that
    /// did.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_write(context, &self.output) {
            Poll::Ready(written) => {
                let written = written?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.output.advance(written);
                self.deadline = None;
                if self.output.is_empty() {
                    self.output = BytesMut::new();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let timeout = Duration::from_secs(self.write_timeout_s.into());
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
                ready!(deadline.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Waits for `future`, which is not cancelled, and writes in the meantime if it takes its time: answers to
    /// earlier packets do not wait for the database. A failure to write is met again by the next write.
    pub(super) async fn write_during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut writable = true;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(value) = future.as_mut().poll(context) {
                    return Poll::Ready(value);
                }
                if !writable || self.output.is_empty() {
                    return Poll::Pending;
                }
                writable = ready!(self.poll_write(context)).is_ok();
            }
        })
        .await
    }

    /// Sends the rest of the output and closes the connection. The client's end is awaited for a moment.
    pub(super) async fn close(mut self) {
        while !self.output.is_empty() {
            if self.write().await.is_err() {
                return;
            }
        }
        // A client that takes nothing more may not take the end either.
        if timeout(Linger::MAX, self.socket.shutdown()).await.is_ok_and(|done| done.is_ok()) {
            let mut linger = Linger::default();
            // A reset ends it as well.
            let _ = poll_fn(|context| linger.poll(Pin::new(&mut self.socket), context)).await;
        }
    }
}
