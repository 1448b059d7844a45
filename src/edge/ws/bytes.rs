//! A byte stream in the binary messages of a WebSocket, as MQTT uses it (MQTT 3.1.1 §6, 5 §6).
//!
//! A message's borders mean nothing: a packet may be spread over several, and several packets may share one
//! (MQTT-6.0.0-2). Anything but binary messages ends the stream (MQTT-6.0.0-1).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

/// The read buffer of an idle connection.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// The largest message that is sent: the framing's copy of it keeps its size.
const MESSAGE_OUT_MAX_BYTES: usize = 4 * 1024;
/// Room for one message and its header, besides answers to a ping and to a close.
const WRITE_BUFFER_MAX_BYTES: usize = 2 * MESSAGE_OUT_MAX_BYTES;

/// The bytes of a WebSocket's binary messages. Written bytes are sent by a flush.
#[derive(Debug)]
pub struct SocketBytes<S> {
    stream: WebSocketStream<S>,
    /// The unread rest of the latest message.
    message: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SocketBytes<S> {
    /// `io` is the bytes behind a handshake that another edge has made, this side being the server.
    pub async fn new(io: S, message_max_bytes: usize) -> Self {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(message_max_bytes))
            .max_frame_size(Some(message_max_bytes))
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES);
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        Self { stream, message: Bytes::new() }
    }

    /// Waits for the next message with bytes; `false` at the end.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.message.is_empty() {
            // The latest message's memory is free while the next one is waited for.
            self.message = Bytes::new();
            match ready!(Pin::new(&mut self.stream).poll_next(context)) {
                None => return Poll::Ready(Ok(false)),
                Some(Ok(Message::Binary(bytes))) => self.message = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(self.refuse(context, CloseCode::Unsupported, "send binary messages")));
                }
                // The framing answers pings, and a close on the way to its end.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(SocketError::Capacity(_))) => {
                    return Poll::Ready(Err(self.refuse(context, CloseCode::Size, "the message is too large")));
                }
                Some(Err(error)) => return Poll::Ready(Err(from_socket(error))),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Says why the connection ends, if that can be sent at once.
    fn refuse(&mut self, context: &mut Context<'_>, code: CloseCode, reason: &'static str) -> io::Error {
        let frame = CloseFrame { code, reason: reason.into() };
        let mut stream = Pin::new(&mut self.stream);
        if stream.as_mut().start_send(Message::Close(Some(frame))).is_ok() {
            let _ = stream.poll_flush(context);
        }
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_message(context))? {
            let length = self.message.len().min(buffer.remaining());
            buffer.put_slice(&self.message[..length]);
            self.message.advance(length);
            if self.message.is_empty() {
                self.message = Bytes::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SocketBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = Pin::new(&mut self.stream);
        ready!(stream.as_mut().poll_ready(context)).map_err(from_socket)?;
        let length = bytes.len().min(MESSAGE_OUT_MAX_BYTES);
        stream.start_send(Message::Binary(Bytes::copy_from_slice(&bytes[..length]))).map_err(from_socket)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context).map_err(from_socket)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context).map_err(from_socket)
    }
}

fn from_socket(error: SocketError) -> io::Error {
    match error {
        SocketError::Io(error) => error,
        SocketError::ConnectionClosed | SocketError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn pair(capacity: usize) -> (SocketBytes<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (ours, theirs) = duplex(capacity);
        (SocketBytes::new(ours, 1000).await, WebSocketStream::from_raw_socket(theirs, Role::Client, None).await)
    }

    #[tokio::test]
    async fn messages_become_bytes_and_their_borders_vanish() {
        let (mut bytes, mut client) = pair(64 * 1024).await;
        for part in ["ab", "", "c", "defg"] {
            client.send(Message::binary(part)).await.unwrap();
            client.send(Message::Ping(Bytes::new())).await.unwrap();
        }
        let mut read = [0; 7];
        bytes.read_exact(&mut read[..5]).await.unwrap();
        bytes.read_exact(&mut read[5..]).await.unwrap();
        assert_eq!(&read, b"abcdefg");
        client.close(None).await.unwrap();
        assert_eq!(bytes.read(&mut read).await.unwrap(), 0, "a close is the end");
        drop(bytes);
        while let Some(Ok(message)) = client.next().await {
            assert!(matches!(message, Message::Pong(_) | Message::Close(_)), "{message:?}");
        }
    }

    #[tokio::test]
    async fn written_bytes_arrive_completely_through_a_small_pipe() {
        let (mut bytes, mut client) = pair(1000).await;
        let sent: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            bytes.write_all(&sent).await.unwrap();
            bytes.flush().await.unwrap();
            bytes.shutdown().await.unwrap();
            bytes
        });
        let mut got = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            match message {
                Message::Binary(part) => got.extend_from_slice(&part),
                Message::Close(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, expected);
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn text_and_large_messages_end_the_stream() {
        for (message, code) in
            [(Message::text("hi"), CloseCode::Unsupported), (Message::binary(vec![0; 1001]), CloseCode::Size)]
        {
            let (mut bytes, mut client) = pair(64 * 1024).await;
            client.send(message).await.unwrap();
            assert_eq!(bytes.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close") };
            assert_eq!(close.code, code);
        }
    }
}
