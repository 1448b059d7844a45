//! The app socket: JSON frames over a WebSocket, each connection one task around one loop.
//!
//! A client presents its token in the handshake or in its first frame, `{"do":"auth","token":"…"}`; a web page, which
//! cannot set a header, sends a one-time ticket in the address. The first push, `welcome`, has its position in the
//! user's stream of events; then it gets the events that it missed (`follower`), and from then on those of its inbox.
//! Requests `{"id":n,"do":"…",…}` are executed one after the other, in a separate task, and answered with the same id.
//! Pushes have no id.
//!
//! `legacy` is the socket of older pages and phones. Beside it, `bytes` carries another protocol's byte stream over a
//! WebSocket.

mod bytes;
mod connection;
mod follower;
mod legacy;
mod line;
mod refused;
#[cfg(test)]
mod tests;
mod words;

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

pub use self::bytes::SocketBytes;
pub use self::legacy::Said;
pub use self::words::{WORDS, WordInfo};
use super::net::Linger;
use super::request::{self, Request};
use super::tasks::Tasks;
use super::wire;
use crate::api::request::Request as _;
use crate::config::{self, seconds};
use crate::domain::error::DomainError;
use crate::domain::live::QueueLimits;
use crate::domain::{CloseReason, Hub, Origin};
use crate::model::Secret;
use connection::Connection;
use refused::Refused;
use words::Auth;

/// Where apps open their socket.
pub const PATH: &str = "/ws";
/// Where older pages and phones open theirs, under the id of a user or toy.
pub const LEGACY_PATHS: [&str; 2] = ["/app/{id}", "/toy/{id}"];
/// The subprotocol's name.
pub const PROTOCOL: &str = "toyhub.v1";

/// How long a client may take to read a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The one table of close causes, which the documents are made from too.
macro_rules! close_causes {
    ($($name:ident = $code:literal, $reason:literal;)*) => {
        /// The cause of a close, with its close code. Below 4500 the client may reconnect, from 4500 on it must not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum CloseCause {
            $($name,)*
        }

        impl CloseCause {
            const ALL: &[Self] = &[$(Self::$name,)*];

            const fn code_and_reason(self) -> (u16, &'static str) {
                match self {
                    $(Self::$name => ($code, $reason),)*
                }
            }
        }
    };
}

close_causes! {
    ShuttingDown = 4000, "the hub stops, reconnect";
    TooSlow = 4001, "too slow to read, reconnect";
    TooMuch = 4002, "too many connections or requests, reconnect later";
    Fault = 4003, "the hub has a fault, reconnect later";
    NoToken = 4500, "a valid token is needed, log in again";
    Revoked = 4501, "the token was revoked, log in again";
    BadFrame = 4502, "send JSON text frames";
    Expired = 4503, "the token has expired, log in again";
}

/// The close codes with their reasons.
pub fn close_codes() -> impl Iterator<Item = (u16, &'static str)> {
    CloseCause::ALL.iter().map(|cause| cause.code_and_reason())
}

impl CloseCause {
    fn frame(self) -> CloseFrame {
        let (code, reason) = self.code_and_reason();
        CloseFrame { code: CloseCode::from(code), reason: reason.into() }
    }
}

impl From<CloseReason> for CloseCause {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::ShuttingDown => Self::ShuttingDown,
            CloseReason::SlowConsumer => Self::TooSlow,
            CloseReason::TooManyConnections | CloseReason::TakenOver => Self::TooMuch,
            CloseReason::Revoked => Self::Revoked,
        }
    }
}

/// The end of the loop: the connection is lost or closed by the client; or the hub closes it with a cause.
enum End {
    Gone,
    Close(CloseCause),
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(_) | SocketError::Utf8(_) | SocketError::Protocol(_) => {
                Self::Close(CloseCause::BadFrame)
            }
            _ => Self::Gone,
        }
    }
}

impl From<DomainError> for End {
    fn from(error: DomainError) -> Self {
        Self::Close(match error {
            DomainError::Unauthorized | DomainError::Forbidden | DomainError::UnknownParty | DomainError::Erased => {
                CloseCause::NoToken
            }
            DomainError::RateLimited { .. } | DomainError::Full(_) | DomainError::Busy => CloseCause::TooMuch,
            error => {
                tracing::error!(?error, "app socket");
                CloseCause::Fault
            }
        })
    }
}

/// The data of a handshake, in addition to the socket.
#[derive(Debug)]
pub struct Handshake {
    /// The token of its header.
    pub token: Option<Secret>,
    /// The one-time ticket of its address.
    pub ticket: Option<Secret>,
    /// The number of the last event that the client has seen, of its address.
    pub after: Option<u64>,
    /// The client's address.
    pub peer: IpAddr,
}

/// The shared state of all app sockets.
pub struct Apps {
    hub: Arc<Hub>,
    config: Arc<config::Ws>,
    /// Requests that are being done; they outlive their connection.
    tasks: Tasks,
    refused: Refused,
}

impl Apps {
    /// The edge over `hub`; requests that are being done are of `tasks`. At `shutdown` no refused socket is held any
    /// more.
    pub fn new(hub: Arc<Hub>, config: Arc<config::Ws>, tasks: Tasks, shutdown: CancellationToken) -> Arc<Self> {
        let refused = Refused::new(&config, shutdown);
        Arc::new(Self { hub, config, tasks, refused })
    }

    /// Serves one app until either side closes the connection. `io` is the stream after a handshake by another edge.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, io: S, handshake: Handshake) {
        let mut stream = self.frames(io).await;
        let end = self.converse(&mut stream, handshake).await.unwrap_or_else(|end| end);
        close(stream, end).await;
    }

    /// Serves an older page or phone, whose address names its party: see [`legacy`].
    pub async fn serve_legacy<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        io: S,
        path: String,
        token: Option<Secret>,
        from: Origin,
    ) {
        let mut stream = self.frames(io).await;
        let end = legacy::serve(&self, &mut stream, &path, token, from).await;
        close(stream, end).await;
    }

    fn queue_limits(&self) -> QueueLimits {
        QueueLimits { messages_max: self.config.queue_messages_max, bytes_max: self.config.queue_bytes_max }
    }

    async fn frames<S: AsyncRead + AsyncWrite + Unpin>(&self, io: S) -> WebSocketStream<S> {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(self.config.message_max_bytes))
            .max_frame_size(Some(self.config.message_max_bytes))
            .read_buffer_size(4 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(1024 * 1024);
        WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await
    }

    /// Authenticates the client, opens its mailbox, and serves it. The mailbox is dropped, and the client offline, before
    /// the connection is closed.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: &mut WebSocketStream<S>,
        handshake: Handshake,
    ) -> Result<End, End> {
        let Handshake { token, ticket, mut after, peer } = handshake;
        self.hub.may_connect(peer)?;
        let mut asked = None;
        let admitted = match (token, ticket) {
            (Some(token), _) => self.hub.authenticate_token(&token, peer, wire::now()).await?,
            (None, Some(ticket)) => self.hub.redeem_ticket(&ticket, peer, wire::now()).await?,
            (None, None) => {
                let first = timeout(seconds(self.config.auth_timeout_s), stream.next()).await;
                let (id, auth) = first_request(first.map_err(|_| End::Close(CloseCause::NoToken))?)?;
                asked = Some(id);
                after = auth.after.or(after);
                self.hub.authenticate_token(&auth.token, peer, wire::now()).await?
            }
        };
        let mut mailbox = self.hub.connect(&admitted, self.queue_limits()).await?;
        // Before the place in the stream is read: an event in between is sent twice rather than never.
        self.hub.subscribe_to_inbox(&mailbox)?;
        if let Some(id) = asked {
            send(stream, &request::answer(id, Ok(request::done()))).await?;
        }
        let connection = Connection::open(self, stream, &mut mailbox, peer, admitted.expires_at, after).await?;
        Ok(connection.run().await)
    }
}

/// The first frame of a client whose handshake brought no token, and its number.
fn first_request(first: Option<Result<Message, SocketError>>) -> Result<(u64, Auth), End> {
    let Some(first) = first else { return Err(End::Gone) };
    let Message::Text(text) = first? else { return Err(End::Close(CloseCause::NoToken)) };
    let mut request = Request::parse(text.as_bytes()).map_err(|_| End::Close(CloseCause::NoToken))?;
    if request.word != "auth" {
        return Err(End::Close(CloseCause::NoToken));
    }
    match Auth::read(&mut request.given) {
        Ok(auth) => Ok((request.id, auth)),
        Err(DomainError::Invalid { field: "after", .. }) => Err(End::Close(CloseCause::BadFrame)),
        Err(_) => Err(End::Close(CloseCause::NoToken)),
    }
}

/// Sends the reason, and waits a moment for the client's own close frame, so that ours is not lost with the link.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut stream: WebSocketStream<S>, end: End) {
    let End::Close(cause) = end else {
        // A client that has closed gets its own Close back (RFC 6455 §5.5.1).
        let _ = timeout(Linger::MAX, stream.flush()).await;
        return;
    };
    // A client that has disconnected already needs no close frame.
    let _ = timeout(WRITE_TIMEOUT, stream.close(Some(cause.frame()))).await;
    if matches!(cause, CloseCause::BadFrame) {
        // The following bytes are not frames: for example the rest of a frame that is too large.
        let mut linger = Linger::default();
        // A reset ends it as well.
        let _ = poll_fn(|context| linger.poll(Pin::new(stream.get_mut()), context)).await;
    } else {
        let _ = timeout(Linger::MAX, async { while let Some(Ok(_)) = stream.next().await {} }).await;
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut WebSocketStream<S>, frame: &Value) -> Result<(), End> {
    send_text(stream, wire::text(frame).into()).await
}

/// Sends JSON text that the hub has written.
async fn send_text<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut WebSocketStream<S>, text: Bytes) -> Result<(), End> {
    let text = Utf8Bytes::try_from(text).map_err(|_| End::Close(CloseCause::Fault))?;
    write(stream, Message::Text(text)).await
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    message: Message,
) -> Result<(), End> {
    match timeout(WRITE_TIMEOUT, stream.send(message)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(End::Gone),
    }
}
