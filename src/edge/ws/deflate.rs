//! Compression of the messages of a WebSocket (RFC 7692), between its byte stream and the framing.
//!
//! The framing above knows nothing of it: a deflated message of the client reaches it as plain masked frames, and
//! its own larger messages leave deflated. Each message stands alone (`no_context_takeover` in both directions, which
//! the handshake has agreed on), so that a connection at rest keeps no window.

mod frame;
mod inbound;
mod outbound;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::inbound::Inbound;
use self::outbound::Outbound;

/// What a client did wrong. The stream ends with it, as an error of the kind `InvalidData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the compression bit is set where no deflated message begins")]
    Misplaced,
    #[error("a frame within a deflated message does not belong to it")]
    Interleaved,
    #[error("a deflated frame is not masked")]
    Unmasked,
    #[error("the message is too large")]
    TooLarge,
    #[error("the message cannot be inflated")]
    Corrupt,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// The byte stream of a WebSocket whose handshake has agreed on compression, this side being the server.
///
/// Reads give frames that are not deflated, writes take such frames. A client's fault is a read error of the kind
/// `InvalidData`; what can be written still goes out, so that a close frame can say why.
#[derive(Debug)]
pub struct Deflated<S> {
    io: S,
    inbound: Inbound,
    outbound: Outbound,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Deflated<S> {
    /// `message_max_bytes` limits what one message is once it is inflated.
    pub fn new(io: S, message_max_bytes: usize) -> Self {
        Self { io, inbound: Inbound::new(message_max_bytes), outbound: Outbound::default() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Deflated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, inbound, .. } = &mut *self;
        inbound.poll_read(io, context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Deflated<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, outbound, .. } = &mut *self;
        outbound.poll_write(io, context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, outbound, .. } = &mut *self;
        ready!(outbound.poll_drain(io, context))?;
        Pin::new(io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, outbound, .. } = &mut *self;
        ready!(outbound.poll_drain(io, context))?;
        Pin::new(io).poll_shutdown(context)
    }
}
