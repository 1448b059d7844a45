//! One client's session: a single loop over its socket, its mailbox and its silence.
//!
//! ```text
//!            ┌────────────── pump: mailbox → PUBLISH, while there is room and window ──────────────┐
//! CONNACK ──▶│ answer: whole packets of the input → hub → PUBACK, SUBACK, …, while there is room   │──▶ End
//!            └─ wait: written │ read │ delivery or close │ silence ────────────────────────────────┘
//! End ──▶ will ──▶ mailbox and place go, a session that lives on stays ──▶ DISCONNECT (v5) ──▶ close
//! ```
//!
//! What has to be on disk first is answered when it is (`pending`), in the order of the questions; meanwhile the next
//! packets are taken, so that many acknowledgements share one sync.
//!
//! The hub's shutdown comes through the mailbox like every other reason to close. A client that does not read fills
//! the output; then neither packets nor deliveries are taken until the write timeout ends the connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttd::protocol::{QoS as WireQoS, SubscribeReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::codec::{self, Publish, Request, Subscription, Version, Wanted};
use super::encode;
use super::exchange::{Acknowledged, Exchange, Options, Receive};
use super::hello::Will;
use super::link::Link;
use super::reason::{self, End, Fault, Kind};
use super::requests::{Desk, Done, Job};
use super::sessions::{Kept, SessionPlace};
use super::{Edge, Ending};
use crate::domain::error::DomainError;
use crate::domain::live::{Publication, Subscription as Routed, Ticket};
use crate::domain::{Delivery, Incoming, Mailbox};
use crate::edge::calls::request::Caller;
use crate::edge::wire::{self, now};
use crate::model::{MessageId, Party, QoS};
use crate::ports::router::{CloseReason, ConnectionId};

/// How long a client's next packet waits after a publish that crowded a subscriber's mailbox. A client that sends
/// as fast as it can would otherwise fill 256 places before the subscriber's task gets its turn.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);

/// How many stored messages are read from disk at once.
const BACKLOG_PAGE: usize = 64;

/// What is to happen when the connection ends.
#[derive(Debug)]
pub(super) struct Lifetime {
    pub will: Option<Box<Will>>,
    /// Seconds that the session outlives the connection.
    pub expiry_s: u32,
    /// One and a half times the keep alive; none if the client has none.
    pub silence_max: Option<Duration>,
    /// When the token of the login expires, or later than anybody stays.
    pub login_ends: Instant,
}

/// An answer that has its turn to wait for.
#[derive(Debug)]
enum Pending {
    /// Written, and given when what it is about is on disk.
    Written { commit: Option<Ticket>, packet: BytesMut },
    /// To a PUBLISH that the hub itself takes, with its quality of service and id; given when that is done.
    Undone { done: Done, qos: QoS, id: u16 },
}

/// What the first of the waiting answers has come to.
enum Turn {
    /// It can be given.
    Given,
    /// Its commit failed.
    NotStored,
    /// The hub has done, or refused, what was asked.
    Done(Result<(), DomainError>),
}

/// A connected client.
pub(super) struct Session<S> {
    edge: Arc<Edge>,
    link: Link<S>,
    mailbox: Mailbox,
    place: SessionPlace,
    exchange: Exchange,
    lifetime: Lifetime,
    /// Answers in the order in which they are to be given.
    pending: VecDeque<Pending>,
    /// Stored messages that were read and not sent yet.
    backlog: VecDeque<Delivery>,
    heard_at: Instant,
    /// Where the client comes from.
    peer: IpAddr,
    /// Messages that the client is being told of, by packet id.
    receipts: Vec<(u16, MessageId)>,
    /// Where it leaves what it says to the hub itself; most clients never do.
    desk: Option<Desk>,
}

impl<S: AsyncRead + AsyncWrite> Session<S> {
    /// A session whose CONNACK is in the link's output.
    pub(super) fn new(
        edge: Arc<Edge>,
        link: Link<S>,
        mailbox: Mailbox,
        place: SessionPlace,
        exchange: Exchange,
        lifetime: Lifetime,
        peer: IpAddr,
    ) -> Self {
        let (pending, backlog, heard_at) = (VecDeque::new(), VecDeque::new(), Instant::now());
        Self {
            edge,
            link,
            mailbox,
            place,
            exchange,
            lifetime,
            pending,
            backlog,
            heard_at,
            peer,
            receipts: Vec::new(),
            desk: None,
        }
    }

    /// Serves the client until its connection has ended.
    pub(super) async fn run(mut self) -> Ending {
        let version = self.exchange.version();
        tracing::info!(party = %self.mailbox.party(), ?version, "mqtt client connected");
        let Err(end) = self.converse().await;
        tracing::info!(
            party = %self.mailbox.party(), reason = ?end, dropped = self.mailbox.dropped(), "mqtt client disconnected"
        );
        let is_orderly = matches!(end, End::Disconnected { .. } | End::Closed(_));
        // Boxed, like the hub's futures: an idle connection then has no room set aside for its end.
        Box::pin(self.finish(end)).await;
        if is_orderly { Ending::Orderly } else { Ending::Failed }
    }

    async fn converse(&mut self) -> Result<Infallible, End> {
        let mut alarm = pin!(sleep_until(self.alarm_at()));
        loop {
            self.pump().await?;
            self.answer().await?;
            let reads = self.takes_requests();
            let Self { link: Link { input, output }, mailbox, exchange, pending, .. } = &mut *self;
            let takes_deliveries = exchange.takes_deliveries() && !output.is_full();
            let delivery = async { if takes_deliveries { mailbox.recv().await } else { mailbox.closed().await } };
            tokio::select! {
                // Written first, so that the output has room; read before silence is judged, since what was sent in
                // time may have waited for the hub.
                biased;
                written = output.write(), if !output.buffer.is_empty() => written.map_err(|error| lost(&error))?,
                turn = first_turn(pending), if !pending.is_empty() => self.give_pending(turn)?,
                read = input.read(), if reads => match read {
                    Ok(0) | Err(_) => return Err(End::Lost),
                    Ok(_) => {}
                },
                incoming = delivery => self.take(incoming).await?,
                () = &mut alarm => {
                    let now = Instant::now();
                    if self.lifetime.login_ends <= now {
                        return Err(End::Closed(CloseReason::Revoked));
                    }
                    if self.silence_ends().is_some_and(|end| end <= now) {
                        return Err(End::KeepAlive);
                    }
                    alarm.as_mut().reset(self.alarm_at());
                }
            }
        }
    }

    fn silence_ends(&self) -> Option<Instant> {
        Some(self.heard_at + self.lifetime.silence_max?)
    }

    /// When it is time to see whether the connection may go on.
    fn alarm_at(&self) -> Instant {
        let login_ends = self.lifetime.login_ends;
        self.silence_ends().map_or(login_ends, |silence_ends| silence_ends.min(login_ends))
    }

    /// Whether another packet may be taken from the client: what it may leave unanswered is limited.
    fn takes_requests(&self) -> bool {
        !self.link.output.is_full() && self.pending.len() < usize::from(self.edge.config.inflight_max)
    }

    /// Writes waiting deliveries, as many as one write holds.
    async fn pump(&mut self) -> Result<(), End> {
        while self.exchange.takes_deliveries() && !self.link.output.is_full() {
            if let Some(delivery) = self.backlog.pop_front() {
                self.deliver_stored(&delivery).await?;
                continue;
            }
            match self.mailbox.try_recv() {
                Some(incoming) => self.take(incoming).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Delivery(delivery) => self.deliver(&delivery),
            Incoming::Backlog if self.backlog.is_empty() => {
                let limit = self.exchange.room().clamp(1, BACKLOG_PAGE);
                let page = self.link.output.write_during(Box::pin(self.mailbox.backlog(limit))).await;
                self.backlog = page.into();
                Ok(())
            }
            Incoming::Backlog => Ok(()),
            Incoming::Closed(reason) => Err(End::Closed(reason)),
        }
    }

    /// What was kept is for a client that may have lost the right to it since.
    async fn deliver_stored(&mut self, delivery: &Delivery) -> Result<(), End> {
        let is_message = delivery.stored.is_some_and(|place| !place.released);
        let allowed = !is_message || {
            let topic = delivery.publication.topic.as_str();
            let asked = Box::pin(self.edge.hub.may_hear(self.mailbox.party(), topic));
            // If nobody can say now, the message stays where it is, for the next connection.
            self.link.output.write_during(asked).await.map_err(|_| End::Fault(Fault::Unavailable))?
        };
        if allowed {
            return self.deliver(delivery);
        }
        self.forget(delivery);
        Ok(())
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), End> {
        let own = self.mailbox.connection_id();
        let is_sent = self.exchange.deliver(delivery, own, now, &mut self.link.output.buffer)?;
        if !is_sent || delivery.qos == QoS::AtMostOnce {
            self.forget(delivery);
            return Ok(());
        }
        let publication = &delivery.publication;
        if let Some(id) = self.exchange.newest()
            && publication.publisher.is_none()
            && publication.topic == self.mailbox.party().inbox()
            && let Some(message) = wire::message_of(&publication.payload)
        {
            self.receipts.push((id, message));
        }
        Ok(())
    }

    fn forget(&self, delivery: &Delivery) {
        if let Some(place) = delivery.stored {
            self.mailbox.forget(place.seq);
        }
    }

    /// Answers the whole packets that have been read, as long as the answers find room.
    async fn answer(&mut self) -> Result<(), End> {
        let packet_max_bytes = self.edge.config.packet_max_bytes;
        let mut answered = false;
        while self.takes_requests() {
            let Some((header, frame)) = codec::take_frame(&mut self.link.input.buffer, packet_max_bytes)? else {
                break;
            };
            let request = codec::read_request(self.exchange.version(), header, frame)?;
            self.answer_request(request).await?;
            answered = true;
            // Where the hub answers at once, nothing else in this loop would let other tasks have their turn.
            consume_budget().await;
        }
        if answered {
            // Once for all packets of one read: the clock is asked often enough elsewhere.
            self.heard_at = Instant::now();
        }
        Ok(())
    }

    async fn answer_request(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Publish(publish) => return self.publish(publish).await,
            Request::Subscribe { id, identifier, filters } => return self.subscribe(id, identifier, filters).await,
            Request::Unsubscribe { id, filters } => return self.unsubscribe(id, filters).await,
            Request::PubAck(id) => {
                let acknowledged = self.exchange.acknowledged(id);
                self.finished(id, acknowledged);
            }
            Request::PubRec { id, refused: true } => {
                let acknowledged = self.exchange.recorded(id, true);
                self.receipts.retain(|(of, _)| *of != id);
                self.finished(id, acknowledged);
            }
            Request::PubRec { id, refused: false } => {
                // On disk first: a client that was told to forget the id would take a repeat for a new message.
                let commit = match self.exchange.recorded(id, false) {
                    Acknowledged::Message { seq: Some(seq) } => self.mailbox.release(seq),
                    _ => None,
                };
                self.say(commit, |buffer| encode::pubrel(id, buffer));
            }
            Request::PubComp(id) => {
                let acknowledged = self.exchange.completed(id);
                self.finished(id, acknowledged);
            }
            Request::PubRel(id) => {
                let mut packet = BytesMut::new();
                let is_known = self.exchange.released(id, &mut packet);
                // On disk first: the id may be used again for another message at once.
                let commit = if is_known { self.mailbox.completed(id) } else { None };
                self.say(commit, |buffer| buffer.extend_from_slice(&packet));
            }
            Request::PingReq => encode::pingresp(self.exchange.version(), &mut self.link.output.buffer),
            Request::Disconnect { with_will, expiry_s } => {
                if let Some(expiry_s) = expiry_s {
                    self.change_expiry(expiry_s)?;
                }
                return Err(End::Disconnected { with_will });
            }
        }
        Ok(())
    }

    /// v5 §3.14.2.2.2: a session that was to end with its connection cannot be kept after all.
    fn change_expiry(&mut self, expiry_s: u32) -> Result<(), Fault> {
        if expiry_s > 0 && self.lifetime.expiry_s == 0 {
            return Err(Fault::Protocol);
        }
        self.lifetime.expiry_s = expiry_s.min(self.edge.config.session_expiry_max_s);
        self.mailbox.set_expiry(self.lifetime.expiry_s);
        Ok(())
    }

    fn finished(&mut self, id: u16, acknowledged: Acknowledged) {
        let Acknowledged::Message { seq } = acknowledged else { return };
        if let Some(seq) = seq {
            self.mailbox.forget(seq);
        }
        if let Some(at) = self.receipts.iter().position(|(of, _)| *of == id) {
            let (_, message) = self.receipts.swap_remove(at);
            self.desk().note(message);
        }
    }

    /// Writes an answer, after those that wait and after its own commit.
    fn say(&mut self, commit: Option<Ticket>, write: impl FnOnce(&mut BytesMut)) {
        if commit.is_none() && self.pending.is_empty() {
            return write(&mut self.link.output.buffer);
        }
        let mut packet = BytesMut::new();
        write(&mut packet);
        self.pending.push_back(Pending::Written { commit, packet });
    }

    /// Writes the first of the waiting answers, and those behind it that wait for nothing.
    fn give_pending(&mut self, turn: Turn) -> Result<(), Fault> {
        match (turn, self.pending.pop_front()) {
            (Turn::Given, Some(Pending::Written { packet, .. })) => {
                self.link.output.buffer.extend_from_slice(&packet);
            }
            (Turn::Done(result), Some(Pending::Undone { qos, id, .. })) => {
                let mut packet = BytesMut::new();
                let is_new = self.exchange.answer(qos, id, result.as_ref().err(), &mut packet)?;
                match is_new.then(|| self.mailbox.received(id)).flatten() {
                    None => self.link.output.buffer.extend_from_slice(&packet),
                    commit => self.pending.push_front(Pending::Written { commit, packet }),
                }
            }
            _ => {
                self.exchange.forget_received();
                return Err(Fault::Unavailable);
            }
        }
        while let Some(Pending::Written { commit: None, packet }) = self.pending.front() {
            self.link.output.buffer.extend_from_slice(packet);
            self.pending.pop_front();
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        Ok(())
    }

    async fn publish(&mut self, mut publish: Publish) -> Result<(), End> {
        let (qos, id) = (publish.qos, publish.id);
        let topic = self.exchange.topic(&mut publish)?;
        if self.exchange.receive(&publish)? == Receive::Repeat {
            let mut packet = BytesMut::new();
            self.exchange.repeat(id, &mut packet);
            self.say(None, |buffer| buffer.extend_from_slice(&packet));
            return Ok(());
        }
        if let Some(job) = Job::of(self.mailbox.party(), topic.as_str(), &publish.payload) {
            return self.leave(job, qos, id).await;
        }
        // Boxed: the hub's future is large, and most connections have none most of the time.
        let Publish { payload, retain, properties, expires_in_s, .. } = publish;
        let publisher = Some(self.mailbox.connection_id());
        let expires_at = expires_in_s.map(|seconds| now() + f64::from(seconds));
        let publication =
            Publication { topic, payload, qos, retain, publisher, properties, expires_at, stream_seq: None };
        let crowding = self.mailbox.crowding();
        let published = Box::pin(self.edge.hub.publish(self.mailbox.party(), publication));
        let published = self.link.output.write_during(published).await;
        if self.mailbox.crowding() != crowding {
            self.link.output.write_during(sleep(CROWDED_PAUSE)).await;
        }
        let (mut commit, refused) = match published {
            Ok(commit) => (commit, None),
            Err(error) => (None, Some(error)),
        };
        let mut packet = BytesMut::new();
        if self.exchange.answer(qos, id, refused.as_ref(), &mut packet)? {
            // Its barrier is behind that of the message.
            commit = self.mailbox.received(id).or(commit);
        }
        self.say(commit, |buffer| buffer.extend_from_slice(&packet));
        Ok(())
    }

    /// Leaves to the hub what is for the hub itself.
    async fn leave(&mut self, job: Result<Job, DomainError>, qos: QoS, id: u16) -> Result<(), End> {
        let job = match job {
            Ok(job) => job,
            Err(refused) => {
                let mut packet = BytesMut::new();
                let is_new = self.exchange.answer(qos, id, Some(&refused), &mut packet)?;
                let commit = is_new.then(|| self.mailbox.received(id)).flatten();
                self.say(commit, |buffer| buffer.extend_from_slice(&packet));
                return Ok(());
            }
        };
        let leaving = self.desk().leave(job);
        let left = self.link.output.write_during(Box::pin(leaving)).await;
        let done = left.ok_or(End::Fault(Fault::Unavailable))?;
        if qos != QoS::AtMostOnce {
            self.pending.push_back(Pending::Undone { done, qos, id });
        }
        Ok(())
    }

    fn desk(&mut self) -> &Desk {
        self.desk.get_or_insert_with(|| {
            let caller =
                Caller { hub: Arc::clone(&self.edge.hub), party: self.mailbox.party().clone(), peer: self.peer };
            Desk::open(&self.edge, caller, self.edge.config.inflight_max.into())
        })
    }

    async fn subscribe(&mut self, id: u16, identifier: u32, filters: Vec<Subscription>) -> Result<(), End> {
        let asked_max = self.edge.config.subscriptions_max;
        let mut codes = Vec::with_capacity(filters.len());
        for (at, wanted) in filters.into_iter().enumerate() {
            codes.push(match &wanted.filter {
                Wanted::Malformed => SubscribeReasonCode::TopicFilterInvalid,
                // More cannot be granted, so the hub is not made to look them all up.
                Wanted::Filter { .. } if at >= asked_max => SubscribeReasonCode::QuotaExceeded,
                Wanted::Filter { .. } => self.subscribe_to(wanted, identifier).await,
            });
        }
        let commit = self.mailbox.commit();
        let version = self.exchange.version();
        self.say(commit, |buffer| encode::suback(version, id, codes, buffer));
        Ok(())
    }

    async fn subscribe_to(&mut self, wanted: Subscription, identifier: u32) -> SubscribeReasonCode {
        let options = Options::bits(&wanted);
        let Subscription { filter: Wanted::Filter { filter, share }, qos, retain_handling, .. } = wanted else {
            return SubscribeReasonCode::TopicFilterInvalid;
        };
        // Remembered first: the retained messages that follow are sent by it.
        self.exchange.subscribed(Options::new(filter.clone(), share.clone(), options, identifier));
        let routed = Routed { filter, share, qos, options, id: identifier };
        let granted = Box::pin(self.edge.hub.subscribe(&self.mailbox, &routed, retain_handling));
        match self.link.output.write_during(granted).await {
            Ok(_) => SubscribeReasonCode::Success(match qos {
                QoS::AtMostOnce => WireQoS::AtMostOnce,
                QoS::AtLeastOnce => WireQoS::AtLeastOnce,
                QoS::ExactlyOnce => WireQoS::ExactlyOnce,
            }),
            Err(error) => {
                tracing::debug!(party = %self.mailbox.party(), %error, "mqtt subscription refused");
                self.exchange.unsubscribed(&routed.filter, routed.share.as_deref());
                Kind::of(&error).suback()
            }
        }
    }

    async fn unsubscribe(&mut self, id: u16, filters: Vec<Wanted>) -> Result<(), End> {
        let mut reasons = Vec::with_capacity(filters.len());
        for wanted in filters {
            reasons.push(reason::unsuback(match wanted {
                Wanted::Malformed => Err(()),
                Wanted::Filter { filter, share } => {
                    self.exchange.unsubscribed(&filter, share.as_deref());
                    Ok(self.mailbox.unsubscribe(&filter, share.as_deref()))
                }
            }));
        }
        let commit = self.mailbox.commit();
        let version = self.exchange.version();
        self.say(commit, |buffer| encode::unsuback(version, id, reasons, buffer));
        Ok(())
    }

    async fn finish(self, end: End) {
        let Self { edge, mut link, mailbox, mut place, exchange, lifetime, .. } = self;
        let version = exchange.version();
        let publisher = mailbox.connection_id();
        let session = mailbox.session().filter(|_| lifetime.expiry_s > 0);
        let will = lifetime.will.filter(|_| end.publishes_will());
        let delayed = match will {
            Some(will) if will.delay_s > 0 && session.is_some() => Some(will),
            Some(will) => {
                publish_will(&edge, mailbox.party(), publisher, *will).await;
                None
            }
            None => None,
        };
        match session {
            Some(session) => {
                let expiry_s = lifetime.expiry_s;
                let will = delayed.map(|will| delay_will(&edge, mailbox.party().clone(), publisher, will, expiry_s));
                let ends_at = now() + f64::from(expiry_s);
                place.keep(Kept::new(session, exchange.into_memory(), ends_at, will));
            }
            None => {
                place.clear();
                if let Some(session) = mailbox.session() {
                    session.end();
                }
            }
        }
        // Offline before the last bytes are sent: a client that takes over waits for this, not for a slow socket.
        drop(mailbox);
        drop(place);
        if matches!(end, End::Lost | End::WriteTimeout) {
            return;
        }
        if let (Version::V5, Some(code)) = (version, end.disconnect_code()) {
            encode::disconnect(code, &mut link.output.buffer);
        }
        link.close().await;
    }
}

/// What the first of the waiting answers waits for. Cancel-safe.
async fn first_turn(waiting: &mut VecDeque<Pending>) -> Turn {
    match waiting.front_mut() {
        Some(Pending::Written { commit: None, .. }) => Turn::Given,
        Some(Pending::Written { commit: Some(commit), .. }) => {
            if commit.reached().await {
                Turn::Given
            } else {
                Turn::NotStored
            }
        }
        Some(Pending::Undone { done, .. }) => match done.await {
            Ok(result) => Turn::Done(result),
            Err(_) => Turn::NotStored,
        },
        None => pending().await,
    }
}

async fn publish_will(edge: &Edge, party: &Party, publisher: ConnectionId, will: Will) {
    let Will { topic, payload, qos, retain, properties, expires_in_s, .. } = will;
    let expires_at = expires_in_s.map(|seconds| now() + f64::from(seconds));
    let publisher = Some(publisher);
    let publication = Publication { topic, payload, qos, retain, publisher, properties, expires_at, stream_seq: None };
    match Box::pin(edge.hub.publish(party, publication)).await {
        Ok(Some(mut commit)) => drop(commit.reached().await),
        Ok(None) => {}
        Err(error) => tracing::debug!(%party, %error, "mqtt will refused"),
    }
}

/// Publishes a will when its delay or the session is over, whichever is first (v5 §3.1.3.2.2), or the hub stops. What
/// is sent to the returned end decides before that.
fn delay_will(
    edge: &Arc<Edge>,
    party: Party,
    publisher: ConnectionId,
    will: Box<Will>,
    expiry_s: u32,
) -> oneshot::Sender<bool> {
    let (decide, decided) = oneshot::channel();
    let delay = Duration::from_secs(will.delay_s.min(expiry_s).into());
    let task_edge = Arc::clone(edge);
    edge.wills.spawn(async move {
        let publishes = tokio::select! {
            decision = decided => decision.unwrap_or(true),
            () = sleep(delay) => true,
            () = task_edge.shutdown.cancelled() => true,
        };
        if publishes {
            publish_will(&task_edge, &party, publisher, *will).await;
        }
    });
    decide
}

fn lost(error: &std::io::Error) -> End {
    match error.kind() {
        std::io::ErrorKind::TimedOut => End::WriteTimeout,
        _ => End::Lost,
    }
}
