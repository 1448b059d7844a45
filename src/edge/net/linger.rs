//! The end of a connection whose last bytes are to arrive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Continues to read for a moment after the last byte was sent, and discards the input.
///
/// A socket that is closed with unread input is reset, and the reset may overtake the last bytes that were sent: the
/// client would never see its answer, or the reason of a refusal.
#[derive(Debug)]
pub struct Linger {
    max: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Linger {
    fn default() -> Self {
        Self::of(Self::MAX)
    }
}

impl Linger {
    /// How long a connection that the hub has closed is still read from.
    pub const MAX: Duration = Duration::from_secs(1);

    /// One that lasts for at most `max`.
    pub fn of(max: Duration) -> Self {
        Self { max, timer: None }
    }

    /// Ready when the client has closed its side: true; or did not in time: false. An error if it has reset the connection.
    pub fn poll(&mut self, mut stream: Pin<&mut impl AsyncRead>, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let max = self.max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(max)));
        let mut scratch = [0u8; 8 * 1024];
        while timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(stream.as_mut().poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }
}
