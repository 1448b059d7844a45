//! The app socket: JSON frames over a WebSocket, each connection one task around one loop.
//!
//! A client presents its token in the handshake or in its first frame, `{"do":"auth","token":"…"}`.
//! It is then told of every event of its inbox, first of what it has not heard. Requests
//! `{"id":n,"do":"…",…}` are answered under the same id. What the hub pushes has no id.
//!
//! Beside it, `bytes` carries another protocol's byte stream over a WebSocket.

mod bytes;
mod deflate;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

pub use self::bytes::SocketBytes;
pub use self::deflate::Deflated;
use super::status;
use super::wire::{self, Json};
use crate::config::{self, seconds};
use crate::domain::error::DomainError;
use crate::domain::{CloseReason, Delivery, Hub, Incoming, Mailbox};
use crate::model::{Party, Secret, Topic, TopicFilter, ToyId};

/// The subprotocol's name.
pub const PROTOCOL: &str = "toyhub.v1";

/// How long a client may take to read a frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Pings without any answer after which a link is dead.
const SILENT_PINGS_MAX: u32 = 2;

/// Why a connection ends, by its close code: below 4500 come back, from there on do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    ShuttingDown,
    TooSlow,
    TooMuch,
    Fault,
    NoToken,
    Revoked,
    BadFrame,
}

impl Goodbye {
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::ShuttingDown => (4000, "the hub stops, come back"),
            Self::TooSlow => (4001, "too slow to read, come back"),
            Self::TooMuch => (4002, "too many connections or requests, come back later"),
            Self::Fault => (4003, "the hub has a fault, come back later"),
            Self::NoToken => (4500, "a valid token is needed, log in again"),
            Self::Revoked => (4501, "the token was revoked, log in again"),
            Self::BadFrame => (4502, "send JSON text frames"),
        };
        CloseFrame { code: CloseCode::from(code), reason: reason.into() }
    }
}

impl From<CloseReason> for Goodbye {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::ShuttingDown => Self::ShuttingDown,
            CloseReason::SlowConsumer => Self::TooSlow,
            CloseReason::TooManyConnections | CloseReason::TakenOver => Self::TooMuch,
            CloseReason::Revoked => Self::Revoked,
        }
    }
}

/// What ends the loop without a word: the link is gone, or the client said goodbye.
enum End {
    Gone,
    Say(Goodbye),
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(_) | SocketError::Utf8(_) | SocketError::Protocol(_) => Self::Say(Goodbye::BadFrame),
            _ => Self::Gone,
        }
    }
}

/// What a client sends.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Request {
    Auth { token: String },
    Ping,
    Subscribe { topic: String },
    Unsubscribe { topic: String },
    Publish { topic: String, payload: String },
    Unbind { toy: String },
    Logout,
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(default)]
    id: u64,
    #[serde(flatten)]
    request: Request,
}

/// Serves one app until it goes or the hub closes it. `token` is what its handshake brought.
///
/// `io` is the bytes behind a handshake that another edge has made.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    token: Option<Secret>,
    peer: IpAddr,
    hub: Arc<Hub>,
    config: Arc<config::Ws>,
) {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(config.message_max_bytes))
        .max_frame_size(Some(config.message_max_bytes))
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024);
    let mut stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let end = match open(&mut stream, &hub, &config, token, peer).await {
        Ok(mailbox) => {
            let party = mailbox.party().clone();
            tracing::info!(%party, "app connected");
            let end = Connection { stream: &mut stream, mailbox, hub: &hub, config: &config }.run().await;
            tracing::info!(%party, "app disconnected");
            end
        }
        Err(end) => end,
    };
    if let End::Say(goodbye) = end {
        // The client's own close frame is awaited for a moment, so that ours is not lost with the link.
        let _ = timeout(WRITE_TIMEOUT, stream.close(Some(goodbye.frame()))).await;
        let _ = timeout(Duration::from_secs(1), async { while let Some(Ok(_)) = stream.next().await {} }).await;
    }
}

/// Checks the token and opens the mailbox.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    hub: &Hub,
    config: &config::Ws,
    token: Option<Secret>,
    peer: IpAddr,
) -> Result<Mailbox, End> {
    hub.may_connect(peer).map_err(goodbye)?;
    let (id, token) = match token {
        Some(token) => (None, token),
        None => {
            let first = timeout(seconds(config.auth_timeout_s), stream.next()).await;
            let (id, token) = first_token(first.map_err(|_| End::Say(Goodbye::NoToken))?)?;
            (Some(id), token)
        }
    };
    let party = hub.authenticate_token(&token, peer, wire::now()).await.map_err(goodbye)?;
    let inbox = TopicFilter::from(&party.inbox());
    let mailbox = hub.connect(party, config.queue_messages_max).map_err(goodbye)?;
    if let Some(id) = id {
        send(stream, &answer(id, Ok(()))).await?;
    }
    hub.listen(&mailbox, inbox).await.map_err(goodbye)?;
    Ok(mailbox)
}

fn first_token(first: Option<Result<Message, SocketError>>) -> Result<(u64, Secret), End> {
    let Some(first) = first else { return Err(End::Gone) };
    let Message::Text(text) = first? else { return Err(End::Say(Goodbye::NoToken)) };
    match serde_json::from_str::<Numbered>(&text) {
        Ok(Numbered { id, request: Request::Auth { token } }) => Ok((id, Secret::new(token))),
        _ => Err(End::Say(Goodbye::NoToken)),
    }
}

fn goodbye(error: DomainError) -> End {
    End::Say(match error {
        DomainError::Unauthorized | DomainError::Forbidden => Goodbye::NoToken,
        DomainError::RateLimited { .. } | DomainError::Full(_) | DomainError::Busy => Goodbye::TooMuch,
        error => {
            tracing::error!(?error, "app socket");
            Goodbye::Fault
        }
    })
}

/// One app's connection.
struct Connection<'a, S> {
    stream: &'a mut WebSocketStream<S>,
    mailbox: Mailbox,
    hub: &'a Hub,
    config: &'a config::Ws,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn run(mut self) -> End {
        match self.pump().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn pump(&mut self) -> Result<std::convert::Infallible, End> {
        let period = seconds(self.config.ping_interval_s);
        let mut ping = interval_at(Instant::now() + period, period);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_pings = 0;
        let mut requests_left = self.config.requests_per_second;
        let mut second_began = Instant::now();
        loop {
            tokio::select! {
                incoming = self.mailbox.recv() => match incoming {
                    Incoming::Delivery(delivery) => self.push(&delivery).await?,
                    // App sockets have no stored queue: what they miss is in the database.
                    Incoming::Backlog => {}
                    Incoming::Closed(reason) => return Err(End::Say(reason.into())),
                },
                received = self.stream.next() => {
                    silent_pings = 0;
                    if second_began.elapsed() >= Duration::from_secs(1) {
                        second_began = Instant::now();
                        requests_left = self.config.requests_per_second;
                    }
                    match received.ok_or(End::Gone)?? {
                        Message::Text(_) if requests_left == 0 => return Err(End::Say(Goodbye::TooMuch)),
                        Message::Text(text) => {
                            requests_left -= 1;
                            self.request(&text).await?;
                        }
                        Message::Ping(_) | Message::Pong(_) => {}
                        Message::Close(_) => return Err(End::Gone),
                        Message::Binary(_) | Message::Frame(_) => return Err(End::Say(Goodbye::BadFrame)),
                    }
                },
                _ = ping.tick() => {
                    if silent_pings >= SILENT_PINGS_MAX {
                        return Err(End::Gone);
                    }
                    silent_pings += 1;
                    write(self.stream, Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// An event of the inbox goes out as it is; what another topic carries is wrapped.
    async fn push(&mut self, delivery: &Delivery) -> Result<(), End> {
        let publication = &delivery.publication;
        let payload = String::from_utf8_lossy(&publication.payload);
        if publication.topic == self.mailbox.party().inbox() {
            return write(self.stream, Message::text(payload.into_owned())).await;
        }
        let frame = Json::object([
            ("type", "publish".into()),
            ("topic", publication.topic.as_str().into()),
            ("payload", payload.into_owned().into()),
        ]);
        send(self.stream, &frame).await
    }

    async fn request(&mut self, text: &str) -> Result<(), End> {
        let Ok(Numbered { id, request }) = serde_json::from_str::<Numbered>(text) else {
            return Err(End::Say(Goodbye::BadFrame));
        };
        let done = self.act(request).await;
        if let Err(DomainError::Internal(cause)) = &done {
            tracing::error!(%cause, "app request");
        }
        send(self.stream, &answer(id, done)).await
    }

    async fn act(&mut self, request: Request) -> Result<(), DomainError> {
        match request {
            Request::Ping => Ok(()),
            Request::Auth { .. } => Err(DomainError::invalid("do", "is auth, and you are logged in already")),
            Request::Unbind { toy } => {
                let Party::User(owner) = self.mailbox.party() else { return Err(DomainError::Forbidden) };
                let toy = toy.parse::<ToyId>().map_err(|_| DomainError::UnknownParty)?;
                self.hub.unbind_toy(Some(owner), &toy).await
            }
            Request::Logout => self.hub.log_out_everywhere(self.mailbox.party()).await,
            Request::Subscribe { topic } => {
                let filter = topic.parse::<TopicFilter>().map_err(malformed)?;
                self.hub.listen(&self.mailbox, filter).await
            }
            Request::Unsubscribe { topic } => {
                self.mailbox.unsubscribe(&topic.parse::<TopicFilter>().map_err(malformed)?, None);
                Ok(())
            }
            Request::Publish { topic, payload } => {
                let topic = topic.parse::<Topic>().map_err(malformed)?;
                self.hub.say(&self.mailbox, topic, Bytes::from(payload)).await
            }
        }
    }
}

fn malformed(error: crate::model::Malformed) -> DomainError {
    DomainError::invalid("topic", error.to_string())
}

fn answer(id: u64, done: Result<(), DomainError>) -> Json {
    let (code, text) = match done {
        Ok(()) => (0, "done".to_owned()),
        Err(error) => (status::of(&error).code, error.to_string()),
    };
    Json::object([("id", id.into()), ("code", u64::from(code).into()), ("msg", text.into())])
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut WebSocketStream<S>, frame: &Json) -> Result<(), End> {
    let text = String::from_utf8(frame.to_vec()).map_err(|_| End::Gone)?;
    write(stream, Message::text(text)).await
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
