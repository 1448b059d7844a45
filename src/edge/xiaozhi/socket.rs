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
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::End;
use super::frame::{Content, Layout};
use super::message::{self, Hello};
use super::transport::{Received, Transport};
use crate::config::{Config, seconds};
use crate::edge::net::Linger;
use crate::edge::wire;

/// A WebSocket after its handshake.
pub(super) struct Socket<S> {
    frames: WebSocketStream<S>,
    /// That of binary messages, as the hello says.
    layout: Layout,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for Socket<S> {
    async fn next(&mut self) -> Result<Received, End> {
        loop {
            match self.frames.next().await.ok_or(End::Gone)?? {
                Message::Text(text) => return Ok(Received::Text(text.into())),
                Message::Binary(message) => match self.layout.read(&message) {
                    Some(Content::Sound(packet)) => return Ok(Received::Sound(message.slice_ref(packet))),
                    Some(Content::Json(text)) => return Ok(Received::Text(message.slice_ref(text))),
                    None => {}
                },
                Message::Close(_) => return Err(End::Gone),
                Message::Pong(_) => return Ok(Received::Alive),
                Message::Ping(_) | Message::Frame(_) => {}
            }
        }
    }

    fn is_reachable(&self) -> bool {
        true
    }

    async fn greet(&mut self, hello: &Hello, session: &str) -> Result<(), End> {
        self.layout = Layout::of_version(hello.version);
        self.send(&message::hello_over_socket(hello.version, session)).await
    }

    async fn send(&mut self, message: &Value) -> Result<(), End> {
        let text = Utf8Bytes::try_from(Bytes::from(wire::text(message))).map_err(|_| End::Close)?;
        self.write(Message::Text(text)).await
    }

    /// All versions of the firmware answer it, after all that was sent before.
    async fn ping(&mut self) -> Result<bool, End> {
        self.write(Message::Ping(Bytes::new())).await?;
        Ok(true)
    }

    async fn send_sound(&mut self, packet: &Bytes, at_ms: u32) -> Result<(), End> {
        self.write(Message::Binary(self.layout.write(packet, at_ms))).await
    }
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
        Self { frames, layout: Layout::Bare, write_timeout: seconds(config.ws.write_timeout_s) }
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(self.write_timeout, self.frames.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::Gone),
        }
    }

    /// Ends the connection. A device that has gone needs no frame.
    pub(super) async fn close(mut self, end: End) {
        let frame = match end {
            End::Refused => Some(CloseFrame { code: CloseCode::Policy, reason: "not bound, or no valid token".into() }),
            End::Close | End::Closed(_) => Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }),
            End::Gone | End::Left => None,
        };
        if let Some(frame) = frame {
            let _ = timeout(self.write_timeout, self.frames.close(Some(frame))).await;
            let _ = timeout(Linger::MAX, async { while let Some(Ok(_)) = self.frames.next().await {} }).await;
        }
    }
}
