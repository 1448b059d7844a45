//! The end of a connection whose last bytes are to arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Continues to read for a moment after the last byte was sent, and discards the input.
///
/// A socket that is closed with unread input is reset, and the reset may overtake what was sent last: the client would
/// never see its answer, or why it was refused.
#[derive(Debug, Default)]
pub struct Linger(Option<Pin<Box<Sleep>>>);

impl Linger {
    /// How long a connection that the hub has closed is still read from.
    pub const MAX: Duration = Duration::from_secs(1);

    /// Ready when the client has closed its side, or did not in time.
    pub fn poll(&mut self, mut stream: Pin<&mut impl AsyncRead>, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep(Self::MAX)));
        let mut scratch = [0u8; 8 * 1024];
        while timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(stream.as_mut().poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }
}
