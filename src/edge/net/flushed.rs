//! Streams with a buffer of their own, such as TLS and WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes are done when their bytes have left.
///
/// TLS and WebSocket take bytes into a buffer of their own. An MQTT session neither flushes nor, once its own buffer is
/// empty, writes again, so without this the last packet could stay in theirs; and the write timeouts of the protocols
/// would not see a client that does not read.
///
/// A write that is pending has to be repeated with at least the same bytes, which may be followed by more, as all
/// protocols here do.
#[derive(Debug)]
pub(super) struct Flushed<S> {
    stream: S,
    /// Bytes that the stream has taken and that may not have left.
    taken: usize,
}

impl<S> Flushed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Flushed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Flushed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, taken } = &mut *self;
        if *taken == 0 {
            *taken = ready!(Pin::new(&mut *stream).poll_write(context, bytes))?;
        }
        ready!(Pin::new(stream).poll_flush(context))?;
        Poll::Ready(Ok(std::mem::take(taken)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, duplex};

    use super::*;

    #[tokio::test]
    async fn a_write_is_done_when_its_bytes_have_left() {
        let (ours, mut theirs) = duplex(4);
        let mut stream = Flushed::new(BufWriter::with_capacity(100, ours));
        let mut read = [0; 6];
        // A cancelled write that is repeated does not send its bytes twice.
        assert!(stream.write(b"abcdef").now_or_never().is_none());
        let (written, got) = tokio::join!(stream.write(b"abcdefgh"), theirs.read_exact(&mut read));
        assert_eq!((written.unwrap(), got.unwrap()), (6, 6));
        assert_eq!(&read, b"abcdef");
    }
}
