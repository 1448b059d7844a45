//! The socket of one client: frames of JSON, each with a time limit.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use ::bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};

use super::{CloseCause, End};
use crate::config::{self, seconds};
use crate::edge::net::Linger;
use crate::edge::wire;

/// Queued frames are written when they are this large together.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// A WebSocket after its handshake.
pub(super) struct Socket<S> {
    frames: WebSocketStream<S>,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(io: S, config: &config::Ws) -> Self {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(config.message_max_bytes))
            .max_frame_size(Some(config.message_max_bytes))
            .read_buffer_size(4 * 1024)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(1024 * 1024);
        let frames = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        Self { frames, write_timeout: seconds(config.write_timeout_s) }
    }

    /// The next frame of the client. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message, SocketError>> {
        self.frames.next().await
    }

    pub(super) async fn send(&mut self, frame: &Value) -> Result<(), End> {
        self.send_text(wire::text(frame).into()).await
    }

    /// Sends JSON text that the hub has written.
    pub(super) async fn send_text(&mut self, text: Bytes) -> Result<(), End> {
        self.queue_text(text).await?;
        self.flush().await
    }

    /// Queues JSON text of which more follows: it is sent at the latest by [`Self::flush`].
    pub(super) async fn queue_text(&mut self, text: Bytes) -> Result<(), End> {
        let text = Utf8Bytes::try_from(text).map_err(|_| End::Close(CloseCause::Fault))?;
        self.in_time(|frames| frames.feed(Message::Text(text))).await
    }

    /// Sends all queued frames.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        self.in_time(|frames| frames.flush()).await
    }

    pub(super) async fn write(&mut self, message: Message) -> Result<(), End> {
        self.in_time(|frames| frames.send(message)).await
    }

    async fn in_time<'s, F>(&'s mut self, write: impl FnOnce(&'s mut WebSocketStream<S>) -> F) -> Result<(), End>
    where
        F: Future<Output = Result<(), SocketError>>,
    {
        match timeout(self.write_timeout, write(&mut self.frames)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(End::Gone),
        }
    }

    /// Sends the reason, and waits a moment for the client's own close frame, so that ours is not lost with the link.
    pub(super) async fn close(mut self, end: End) {
        let End::Close(cause) = end else {
            // A client that has closed gets its own Close back (RFC 6455 §5.5.1).
            let _ = timeout(Linger::MAX, self.frames.flush()).await;
            return;
        };
        // A client that has disconnected already needs no close frame.
        let _ = timeout(self.write_timeout, self.frames.close(Some(cause.frame()))).await;
        if matches!(cause, CloseCause::BadFrame) {
            // The following bytes are not frames: for example the rest of a frame that is too large.
            let mut linger = Linger::default();
            // A reset ends it as well.
            let _ = poll_fn(|context| linger.poll(Pin::new(self.frames.get_mut()), context)).await;
        } else {
            let _ = timeout(Linger::MAX, async { while let Some(Ok(_)) = self.frames.next().await {} }).await;
        }
    }
}
