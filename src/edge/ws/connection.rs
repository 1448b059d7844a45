//! One app's connection: a loop over its line and the request that is being executed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use ::bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::follower::{Follower, Step};
use super::line::{Input, Line};
use super::socket::Socket;
use super::words::{Auth, Logout, Ping, Publish, Voice, Word};
use super::{Apps, CloseCause, End};
use crate::api::{Reply, events};
use crate::domain::erasure::Device;
use crate::domain::error::DomainError;
use crate::domain::{Announced, Delivery, LinksOf, Mailbox, Payload, Resumption};
use crate::edge::label::note_party;
use crate::edge::request::{Caller, Request, answer, done};
use crate::edge::wire;
use crate::model::{Event, Party, QoS, Timestamp, TopicFilter, ToyId};
use crate::ports::metrics::METRICS;
use crate::ports::router::ConnectionId;

/// Events that are read from the store at once.
const PAGE: usize = 100;

/// The request that is being executed. The loop continues meanwhile.
enum InHand<'a> {
    /// In a task, which completes even if the connection ends.
    Task(JoinHandle<Option<(u64, Result<Reply, DomainError>)>>),
    /// A subscription, with the number of its request. It ends with the connection.
    Subscription(u64, Pin<Box<dyn Future<Output = Result<(), DomainError>> + Send + 'a>>),
}

/// One app's connection.
pub(super) struct Connection<'a, S> {
    apps: &'a Arc<Apps>,
    line: Line<'a, S>,
    caller: Caller,
    /// The links to sounds in events. They are void once the login is revoked, which closes the connection.
    links: LinksOf,
    /// The place in the user's stream. Toys have none.
    follower: Option<Follower>,
    in_hand: Option<InHand<'a>>,
    waiting: VecDeque<Request>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    /// Welcomes a client that has logged in, and sends the events after number `after`, or, if it gives no number, the
    /// unread messages.
    pub(super) async fn open(
        apps: &'a Arc<Apps>,
        socket: &'a mut Socket<S>,
        mailbox: &'a mut Mailbox,
        peer: IpAddr,
        expires_at: Timestamp,
        after: Option<u64>,
    ) -> Result<Self, End> {
        let links = apps.hub.links_of(mailbox.party()).await?;
        let caller = Caller { hub: Arc::clone(&apps.hub), party: mailbox.party().clone(), peer };
        let (in_hand, waiting) = (None, VecDeque::new());
        let line = Line::new(socket, mailbox, &apps.config, expires_at);
        let mut connection = Self { apps, line, caller, links, follower: None, in_hand, waiting };
        let Party::User(user) = connection.caller.party.clone() else {
            connection.line.socket.send(&json!({"type": "welcome"})).await?;
            connection.send_unread().await?;
            return Ok(connection);
        };
        let welcome = |newest: u64, resumed: bool, reload: bool| json!({"type": "welcome", "seq": newest, "resumed": resumed, "reload": reload});
        let Some(seen) = after else {
            let newest = apps.hub.newest_event(&user).await?;
            connection.line.socket.send(&welcome(newest, false, false)).await?;
            connection.follower = Some(Follower::new(newest));
            connection.send_unread().await?;
            return Ok(connection);
        };
        let Resumption { newest, missed } = apps.hub.resume_stream(&user, seen, PAGE).await?;
        connection.line.socket.send(&welcome(newest, missed.is_some(), missed.is_none())).await?;
        let mut follower = Follower::new(if missed.is_some() { seen } else { newest });
        send_events(connection.line.socket, &connection.links, missed.unwrap_or_default(), &mut follower).await?;
        connection.follower = Some(follower);
        connection.catch_up(newest).await?;
        Ok(connection)
    }

    async fn send_unread(&mut self) -> Result<(), End> {
        for event in self.apps.hub.unread_events(&self.caller.party).await? {
            queue_event(self.line.socket, &self.links, &event, None).await?;
        }
        self.line.socket.flush().await
    }

    /// Sends the events of the stream from the store, up to number `seq` at least.
    async fn catch_up(&mut self, seq: u64) -> Result<(), End> {
        let Party::User(user) = &self.caller.party else { return Ok(()) };
        let Some(follower) = &mut self.follower else { return Ok(()) };
        while let Step::Send | Step::ReadAfter(_) = follower.step(seq) {
            match self.apps.hub.missed(user, follower.last(), PAGE).await {
                Ok(events) if events.is_empty() => return Ok(()),
                Ok(events) => send_events(self.line.socket, &self.links, events, follower).await?,
                Err(DomainError::StreamTooOld { current }) => {
                    self.line.socket.send(&json!({"type": "reload", "seq": current})).await?;
                    follower.sent(current);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Serves the client until its connection ends.
    pub(super) async fn run(mut self) -> End {
        note_party(&self.caller.party);
        tracing::info!("app connected");
        let Err(end) = self.converse().await;
        tracing::info!("app disconnected");
        end
    }

    async fn converse(&mut self) -> Result<Infallible, End> {
        loop {
            tokio::select! {
                input = self.line.next() => match input? {
                    Input::Delivery(delivery) => self.push(&delivery).await?,
                    Input::Text(text) => self.take(text.as_bytes()).await?,
                    Input::Binary => return Err(End::Close(CloseCause::BadFrame)),
                    Input::PingDue => self.line.ping().await?,
                },
                ended = end_of(&mut self.in_hand) => {
                    self.in_hand = None;
                    let (id, result) = ended?;
                    self.line.socket.send(&answer(id, result)).await?;
                    self.next().await?;
                },
            }
        }
    }

    /// An event of the inbox goes out in its turn, with links to its sounds; a publication on another topic is wrapped.
    async fn push(&mut self, delivery: &Delivery) -> Result<(), End> {
        METRICS.app_messages.sent[delivery.qos as usize].add();
        let publication = &delivery.publication;
        if publication.topic != self.caller.party.inbox() {
            let payload = String::from_utf8_lossy(publication.payload.bytes());
            let topic = publication.topic.as_str();
            return self.line.socket.send(&json!({"type": "publish", "topic": topic, "payload": payload})).await;
        }
        let Payload::Event(announced) = &publication.payload else {
            return self.line.socket.send_text(publication.payload.bytes().clone()).await;
        };
        let (Some(seq), Some(follower)) = (announced.seq(), &mut self.follower) else {
            return send_announced(self.line.socket, &self.links, announced).await;
        };
        match follower.step(seq) {
            Step::Drop => Ok(()),
            Step::Send => {
                send_announced(self.line.socket, &self.links, announced).await?;
                follower.sent(seq);
                Ok(())
            }
            Step::ReadAfter(_) => self.catch_up(seq).await,
        }
    }

    /// Takes a request; it is done after those that came before.
    async fn take(&mut self, text: &[u8]) -> Result<(), End> {
        let request = Request::parse(text).map_err(|_| End::Close(CloseCause::BadFrame))?;
        if self.waiting.len() >= self.apps.config.queue_messages_max {
            return Err(End::Close(CloseCause::TooMuch));
        }
        self.waiting.push_back(request);
        if self.in_hand.is_none() { self.next().await } else { Ok(()) }
    }

    /// Continues with the queued requests, up to the first one that may wait for the hub.
    async fn next(&mut self) -> Result<(), End> {
        while let Some(mut request) = self.waiting.pop_front() {
            let id = request.id;
            let result = match Word::read(&request.word, &mut request.given).transpose() {
                Err(error) => Err(error),
                Ok(Some(Word::Ping(Ping {}))) => Ok(()),
                Ok(Some(Word::Auth(Auth { .. }))) => {
                    Err(DomainError::invalid("do", "is auth, and you are logged in already"))
                }
                Ok(Some(Word::Subscribe(wanted))) => {
                    let subscribing = self.apps.hub.subscribe_plainly(self.line.mailbox, wanted.topic);
                    self.in_hand = Some(InHand::Subscription(id, Box::pin(subscribing)));
                    return Ok(());
                }
                Ok(Some(Word::Unsubscribe(wanted))) => {
                    self.unsubscribe(&wanted.topic);
                    Ok(())
                }
                Ok(work @ (Some(Word::Publish(_) | Word::Voice(_) | Word::Unbind(_) | Word::Logout(_)) | None)) => {
                    let (caller, connection) = (self.caller.clone(), self.line.mailbox.connection_id());
                    let performing = perform(caller, connection, work, request);
                    self.in_hand = Some(InHand::Task(self.apps.tasks.spawn(performing)));
                    return Ok(());
                }
            };
            self.line.socket.send(&answer(id, result.map(|()| done()))).await?;
        }
        Ok(())
    }

    fn unsubscribe(&self, filter: &TopicFilter) {
        if filter.as_str() != self.caller.party.inbox().as_str() {
            self.line.mailbox.unsubscribe(filter, None);
        }
    }
}

/// Sends the next events of the user's stream, with their numbers.
async fn send_events<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    links: &LinksOf,
    events: Vec<(u64, Event)>,
    follower: &mut Follower,
) -> Result<(), End> {
    for (number, event) in events {
        queue_event(socket, links, &event, Some(number)).await?;
        follower.sent(number);
    }
    socket.flush().await
}

/// Queues an event; `seq` is its number in the user's stream.
async fn queue_event<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    links: &LinksOf,
    event: &Event,
    seq: Option<u64>,
) -> Result<(), End> {
    socket.queue_text(events::encode(event, seq, Some((links, wire::now()))).into()).await
}

/// Sends an event that was published now. An event without a sound has no links: all its subscribers get the same text.
async fn send_announced<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<S>,
    links: &LinksOf,
    announced: &Announced,
) -> Result<(), End> {
    match announced.event() {
        event @ (Event::Message { .. } | Event::Play { .. }) => {
            queue_event(socket, links, event, announced.seq()).await?;
            socket.flush().await
        }
        _ => socket.send_text(announced.json().clone()).await,
    }
}

/// The number and the result of the request in hand. Cancel-safe.
async fn end_of(in_hand: &mut Option<InHand<'_>>) -> Result<(u64, Result<Reply, DomainError>), End> {
    match in_hand {
        // A task that was cancelled at the deadline of a stop has no result.
        Some(InHand::Task(task)) => task.await.map_err(|_| End::Close(CloseCause::Fault))?.ok_or(End::Gone),
        Some(InHand::Subscription(id, subscribing)) => {
            let result = subscribing.await;
            Ok((*id, result.map(|()| done())))
        }
        None => pending().await,
    }
}

/// Does a request to the hub, or a publish. A publish may wait for its subscribers: two apps that publish to each other must
/// not wait while their own pushes do.
async fn perform(
    caller: Caller,
    connection: ConnectionId,
    word: Option<Word>,
    request: Request,
) -> (u64, Result<Reply, DomainError>) {
    let id = request.id;
    let result = match word {
        Some(Word::Publish(said)) => publish(&caller, connection, said).await,
        Some(Word::Voice(piece)) => keep_chunk(&caller, piece).await,
        Some(Word::Unbind(unbound)) => unbind(&caller, &unbound.toy, wire::now()).await,
        Some(Word::Logout(Logout {})) => caller.hub.log_out_everywhere(&caller.party).await,
        _ => return (id, caller.call(request).await),
    };
    (id, result.map(|()| done()))
}

async fn publish(caller: &Caller, connection: ConnectionId, said: Publish) -> Result<(), DomainError> {
    METRICS.app_messages.received[QoS::AtLeastOnce as usize].add();
    let payload = Bytes::from(said.payload.unwrap_or_default());
    caller.hub.publish_plainly(&caller.party, connection, said.topic, payload).await
}

/// A piece of a recording, which the calls that take one then name by its `upload`.
async fn keep_chunk(caller: &Caller, piece: Voice) -> Result<(), DomainError> {
    caller.hub.keep_chunks(&caller.party, &piece.upload, vec![(piece.n, piece.data.0.into())]).await
}

async fn unbind(caller: &Caller, toy: &ToyId, now: Timestamp) -> Result<(), DomainError> {
    let Party::User(owner) = &caller.party else { return Err(DomainError::Forbidden) };
    caller.hub.erase_toy(Some(owner), toy, Device::NewSecret, now).await.map(drop)
}
