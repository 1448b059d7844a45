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
mod socket;
#[cfg(test)]
mod tests;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

pub use self::bytes::SocketBytes;
pub use self::legacy::Said;
pub use self::words::{WORDS, WordInfo};
use super::net::Counted;
use super::request::{self, Request};
use super::tasks::Tasks;
use super::wire;
use crate::api::request::Request as _;
use crate::config::{self, seconds};
use crate::domain::error::DomainError;
use crate::domain::live::QueueLimits;
use crate::domain::{CloseReason, Hub, Origin};
use crate::model::Secret;
use crate::ports::metrics::{METRICS, Traffic};
use crate::ports::router::LinkInfo;
use connection::Connection;
use refused::Refused;
use socket::Socket;
use words::Auth;

/// Where apps open their socket.
pub const PATH: &str = "/ws";
/// Where older pages and phones open theirs, under the id of a user or toy.
pub const LEGACY_PATHS: [&str; 2] = ["/app/{id}", "/toy/{id}"];
/// The subprotocol's name.
pub const PROTOCOL: &str = "toyhub.v1";

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
            CloseReason::Unavailable => Self::Fault,
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
            DomainError::Unavailable(_) => CloseCause::Fault,
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
        let _open = METRICS.app_sockets.enter();
        let (io, traffic) = Counted::new(io);
        let mut socket = Socket::new(io, &self.config).await;
        let end = self.converse(&mut socket, handshake, traffic).await.unwrap_or_else(|end| end);
        socket.close(end).await;
    }

    /// Serves an older page or phone, whose address names its party: see [`legacy`].
    pub async fn serve_legacy<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        io: S,
        path: String,
        token: Option<Secret>,
        from: Origin,
    ) {
        let _open = METRICS.legacy_sockets.enter();
        let (io, traffic) = Counted::new(io);
        let mut socket = Socket::new(io, &self.config).await;
        let end = legacy::serve(&self, &mut socket, &path, token, from, traffic).await;
        socket.close(end).await;
    }

    fn queue_limits(&self) -> QueueLimits {
        QueueLimits { messages_max: self.config.queue_messages_max, bytes_max: self.config.queue_bytes_max }
    }

    /// Authenticates the client, opens its mailbox, and serves it. The mailbox is dropped, and the client offline, before
    /// the connection is closed.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        socket: &mut Socket<S>,
        handshake: Handshake,
        traffic: Arc<Traffic>,
    ) -> Result<End, End> {
        let Handshake { token, ticket, mut after, peer } = handshake;
        self.hub.may_connect(peer)?;
        let mut asked = None;
        let admitted = match (token, ticket) {
            (Some(token), _) => self.hub.authenticate_token(&token, peer, wire::now()).await?,
            (None, Some(ticket)) => self.hub.redeem_ticket(&ticket, peer, wire::now()).await?,
            (None, None) => {
                let first = timeout(seconds(self.config.auth_timeout_s), socket.next()).await;
                let (id, auth) = first_request(first.map_err(|_| End::Close(CloseCause::NoToken))?)?;
                asked = Some(id);
                after = auth.after.or(after);
                self.hub.authenticate_token(&auth.token, peer, wire::now()).await?
            }
        };
        let mut mailbox = self.hub.connect(&admitted, self.queue_limits()).await?;
        mailbox.note_link(LinkInfo { protocol: "app socket", peer, since: wire::now(), traffic });
        // Before the place in the stream is read: an event in between is sent twice rather than never.
        self.hub.subscribe_to_inbox(&mailbox)?;
        if let Some(id) = asked {
            socket.send(&request::answer(id, Ok(request::done()))).await?;
        }
        let connection = Connection::open(self, socket, &mut mailbox, peer, admitted.expires_at, after).await?;
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
