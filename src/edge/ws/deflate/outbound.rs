//! What the hub sends: larger messages are deflated, everything else passes as it is.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::AsyncWrite;

use super::frame::{self, FIN, Frame, OPCODE, RSV1};

/// Messages from this size on are deflated: what is smaller hardly shrinks.
const DEFLATED_MIN_BYTES: usize = 128;
/// What a flush ends with and the sender leaves out (RFC 7692 §7.2.1).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

thread_local! {
    /// One for all connections of a thread, since each message stands alone: its memory is large and slow to get.
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// The way out.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    frame: Frame,
    /// Whether the next frame was deflated in vain.
    stays: bool,
    /// A deflated frame that is not written yet.
    pending: Bytes,
}

impl Outbound {
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a deflated frame as a whole, of others as much as the stream takes.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(io, context))?;
        let mut length = self.passing(bytes);
        if length == 0 && !bytes.is_empty() {
            if let Some((taken, frame)) = deflate(bytes) {
                self.pending = frame;
                // What does not go out now does so before the next write, or with a flush.
                if let Poll::Ready(Err(error)) = self.poll_drain(io, context) {
                    return Poll::Ready(Err(error));
                }
                return Poll::Ready(Ok(taken));
            }
            self.stays = true;
            length = self.passing(bytes);
        }
        let written = ready!(Pin::new(io).poll_write(context, &bytes[..length]))?;
        self.stays &= written == 0;
        let mut passed = 0;
        while passed < written {
            passed += self.frame.skip(&bytes[passed..written]);
        }
        Poll::Ready(Ok(written))
    }

    /// Writes what is pending.
    pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(context, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
            if self.pending.is_empty() {
                self.pending = Bytes::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How many of the first bytes go out as they are.
    fn passing(&self, bytes: &[u8]) -> usize {
        let (mut frame, mut stays, mut length) = (self.frame, self.stays, 0);
        while length < bytes.len() {
            if frame.is_between() && !stays && whole_message(&bytes[length..]).is_some() {
                break;
            }
            stays = false;
            length += frame.skip(&bytes[length..]);
        }
        length
    }
}

/// The head and payload lengths of the frame at the start, if it is a message in one frame, large enough, and whole.
///
/// The framing writes whole frames. One that comes in pieces stays as it is, which is always right.
fn whole_message(bytes: &[u8]) -> Option<(usize, usize)> {
    let is_message = matches!(bytes.first(), Some(first) if first & !OPCODE == FIN && matches!(first & OPCODE, 1 | 2));
    let (head, payload) = frame::lengths(bytes).filter(|_| is_message && !frame::is_masked(bytes))?;
    let payload = usize::try_from(payload).ok().filter(|payload| *payload >= DEFLATED_MIN_BYTES)?;
    (payload <= bytes.len() - head).then_some((head, payload))
}

/// Deflates the message at the start; gives its length and the frame in its place. Nothing if that saves nothing.
fn deflate(bytes: &[u8]) -> Option<(usize, Bytes)> {
    let (head, payload) = whole_message(bytes)?;
    let mut deflated = vec![0; payload];
    let length = COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        compress.compress(&bytes[head..head + payload], &mut deflated, FlushCompress::Sync).ok()?;
        // A full buffer may lack the end.
        let length = usize::try_from(compress.total_out()).ok()?;
        (compress.total_in() == payload as u64 && length < payload).then_some(length)
    })?;
    let deflated = deflated[..length].strip_suffix(TAIL)?;
    Some((head + payload, frame::write(bytes[0] | RSV1, false, deflated).into()))
}
