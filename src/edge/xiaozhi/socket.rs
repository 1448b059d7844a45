//! The WebSocket of one device, each message with a time limit.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};

use super::End;
use crate::config::{Config, seconds};
use crate::edge::net::Linger;
use crate::edge::wire;

/// A WebSocket after its handshake.
pub(super) struct Socket<S> {
    frames: WebSocketStream<S>,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(io: S, config: &Config) -> Self {
        let max_bytes = config.xiaozhi.message_max_bytes;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(max_bytes))
            .max_frame_size(Some(max_bytes))
            .read_buffer_size(4 * 1024)
            // Each packet of sound goes at its own time.
            .write_buffer_size(0)
            .max_write_buffer_size(1024 * 1024);
        let frames = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        Self { frames, write_timeout: seconds(config.ws.write_timeout_s) }
    }

    /// The next message of the device; none at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Message, SocketError>> {
        self.frames.next().await
    }

    pub(super) async fn send(&mut self, message: &Value) -> Result<(), End> {
        let text = Utf8Bytes::try_from(Bytes::from(wire::text(message))).map_err(|_| End::Close)?;
        self.write(Message::Text(text)).await
    }

    pub(super) async fn send_binary(&mut self, message: Bytes) -> Result<(), End> {
        self.write(Message::Binary(message)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.write_timeout, self.frames.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Gone),
        }
    }

    /// Ends the connection. A device that has gone needs no frame.
    pub(super) async fn close(mut self, end: End) {
        if end == End::Close {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let _ = timeout(self.write_timeout, self.frames.close(Some(frame))).await;
            let _ = timeout(Linger::MAX, async { while let Some(Ok(_)) = self.frames.next().await {} }).await;
        }
    }
}
