//! The two directions of one socket, each with a buffer that is released while the connection is idle.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::edge::net::Linger;

/// The size of the first read after an idle time.
const READ_MIN_BYTES: usize = 2 * 1024;
/// The maximum size of a read.
const READ_MAX_BYTES: usize = 16 * 1024;
/// Nothing more is queued for writing above this size, so that many small packets share a write and a slow
/// client's messages stay in its mailbox, where they are counted.
const WRITE_BATCH_BYTES: usize = 16 * 1024;

/// A socket and its buffers.
#[derive(Debug)]
pub(super) struct Link<S> {
    pub input: Input<S>,
    pub output: Output<S>,
}

/// The received bytes.
#[derive(Debug)]
pub(super) struct Input<S> {
    half: ReadHalf<S>,
    pub buffer: BytesMut,
    step: usize,
}

/// The bytes to send.
#[derive(Debug)]
pub(super) struct Output<S> {
    half: WriteHalf<S>,
    pub buffer: BytesMut,
    timeout: Duration,
    /// The deadline for the bytes at the front.
    deadline: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite> Link<S> {
    pub(super) fn new(socket: S, write_timeout: Duration) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        Self {
            input: Input { half: reader, buffer: BytesMut::new(), step: READ_MIN_BYTES },
            output: Output { half: writer, buffer: BytesMut::new(), timeout: write_timeout, deadline: None },
        }
    }

    /// Sends the rest of the output and closes the connection. The client's end is awaited for a moment.
    pub(super) async fn close(mut self) {
        while !self.output.buffer.is_empty() {
            if self.output.write().await.is_err() {
                return;
            }
        }
        let Self { input: Input { mut half, .. }, mut output } = self;
        // A client that takes nothing more may not take the end either.
        if timeout(Linger::MAX, output.half.shutdown()).await.is_ok_and(|done| done.is_ok()) {
            let mut linger = Linger::default();
            // A reset ends it as well.
            let _ = poll_fn(|context| linger.poll(Pin::new(&mut half), context)).await;
        }
    }
}

impl<S: AsyncRead> Input<S> {
    /// Reads available bytes; 0 at the end. Cancel-safe. While it waits with an empty buffer, the buffer is released.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        let Self { half, buffer, step } = self;
        let read = poll_fn(|context| {
            buffer.reserve(*step);
            let room = buffer.capacity() - buffer.len();
            let polled = pin!(half.read_buf(buffer)).poll(context);
            match &polled {
                Poll::Ready(Ok(read)) if *read == room => *step = (*step * 2).min(READ_MAX_BYTES),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    *step = READ_MIN_BYTES;
                    if buffer.is_empty() {
                        *buffer = BytesMut::new();
                    }
                }
            }
            polled
        });
        read.await
    }
}

impl<S: AsyncWrite> Output<S> {
    /// Whether nothing more should be queued now.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BATCH_BYTES
    }

    /// Writes some of the buffer, which is not empty. Cancel-safe. Fails if nothing goes out for the write timeout,
    /// counted over all calls since the last byte that did.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.timeout);
        let written = timeout_at(deadline, self.half.write(&self.buffer)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.buffer.advance(written);
        self.deadline = None;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Waits for `future`, which is not cancelled, and writes in the meantime if it takes its time: answers to
    /// earlier packets do not wait for the database. A failure to write is met again by the next write.
    pub(super) async fn write_during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut writable = true;
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                written = self.write(), if writable && !self.buffer.is_empty() => writable = written.is_ok(),
            }
        }
    }
}
