//! One client's session: a single loop over its socket, its mailbox and its silence.
//!
//! ```text
//!            ┌────────────── pump: mailbox → PUBLISH, while there is room and window ──────────────┐
//! CONNACK ──▶│ answer: whole packets of the input → hub → PUBACK, SUBACK, …, while there is room   │──▶ End
//!            └─ wait: written │ read │ delivery or close │ silence ────────────────────────────────┘
//! End ──▶ will ──▶ mailbox and place go, a session that lives on stays ──▶ DISCONNECT (v5) ──▶ close
//! ```
//!
//! Answers that require a commit are sent after it (`pending`), in the order of the packets; meanwhile the next packets
//! are taken, so that many acknowledgements share one sync. A session with many messages reads
//! before it writes (`batch`). A message for a subscriber that is behind is held, and
//! later packets of the client are put off (`waiting`).
//!
//! The hub's shutdown comes through the mailbox like every other reason to close. A client that does not read fills
//! the output; then neither packets nor deliveries are taken until the write timeout ends the connection.

mod batch;
mod packets;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Will;
use super::encode::{self, Outgoing, V5Publish};
use super::exchange::Exchange;
use super::link::Link;
use super::reason::{End, Fault};
use super::requests::{Desk, Done};
use super::sessions::{Kept, SessionPlace};
use super::version::Version;
use super::waiting::{Acknowledgement, Waiting};
use super::{Edge, Ending, Place, Stream, wills};
use crate::domain::cluster::SessionSearch;
use crate::domain::error::DomainError;
use crate::domain::live::Ticket;
use crate::domain::{Delivery, Incoming, Mailbox, Taken};
use crate::edge::label::note_party;
use crate::edge::line::Plug;
use crate::edge::wire::age_now;
use crate::model::{MessageId, QoS};
use crate::ports::metrics::{METRICS, Tally};
use crate::ports::router::CloseReason;

use batch::Batch;
use packets::Answered;

/// How many stored messages are read from disk at once.
const BACKLOG_PAGE: usize = 64;

/// The terms of the connection's end.
#[derive(Debug)]
pub(super) struct Lifetime {
    pub will: Option<Box<Will>>,
    /// Seconds that the session outlives the connection.
    pub expiry_s: u32,
    /// One and a half times the keep alive; none if the client has none.
    pub silence_max: Option<Duration>,
    /// When the token of the login expires, or a time in the far future.
    pub login_ends: Instant,
}

/// An answer that is not due yet.
#[derive(Debug)]
enum Pending {
    /// Encoded, and sent after its commit.
    Written(Acknowledgement),
    /// To a PUBLISH to the hub itself, with its quality of service and id; sent when the request was executed.
    Undone { done: Done, qos: QoS, id: u16 },
}

/// The result of the first pending answer.
enum Turn {
    /// It can be given.
    Given,
    /// Its commit failed.
    NotStored,
    /// The hub has executed or refused a request.
    Done(Result<(), DomainError>),
}

/// The next thing that a session acts on.
enum Event {
    /// Some of the output was written.
    Written(std::io::Result<()>),
    /// It is the turn of the first pending answer.
    Turn(Turn),
    /// The held message was queued; its answer.
    Released(Acknowledgement),
    /// Bytes were read; 0 at the end.
    Read(std::io::Result<usize>),
    /// The line has a message, or has ended.
    Down(Result<Bytes, Option<CloseReason>>),
    /// The mailbox has an item.
    Incoming(Incoming),
    /// The stored queue can be read again.
    Repaired,
    /// It is time to check whether the connection may stay open.
    Alarm,
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
    /// Messages that wait for a subscriber that is behind.
    waiting: Option<Box<Waiting>>,
    /// Stored messages that were read and not sent yet.
    backlog: VecDeque<Delivery>,
    /// The output that is not written yet.
    batch: Batch,
    /// Messages that are not counted yet.
    tally: Tally,
    heard_at: Instant,
    /// The address of the client.
    peer: IpAddr,
    /// Voice messages whose events are on their way to the client, by packet id.
    receipts: Vec<(u16, MessageId)>,
    /// The queue of its requests to the hub itself; most clients have none.
    desk: Option<Desk>,
    /// The search for a session that began anew here, as the hub that had it is away. The client does not know that before
    /// it has the CONNACK: if it does not get it, the session is still at the other hub, with the packet ids of QoS 2.
    unowned: Option<Box<SessionSearch>>,
    /// The line of a device whose messages are not routed.
    plug: Option<Box<Plug>>,
    /// Its place among the connections.
    _admission: Place,
}

impl<S: Stream> Session<S> {
    /// A session whose CONNACK is in the link's output.
    pub(super) fn new(
        edge: Arc<Edge>,
        link: Link<S>,
        mailbox: Mailbox,
        place: SessionPlace,
        exchange: Exchange,
        lifetime: Lifetime,
        (peer, admission): (IpAddr, Place),
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
            waiting: None,
            backlog,
            batch: Batch::default(),
            tally: Tally::default(),
            heard_at,
            peer,
            receipts: Vec::new(),
            desk: None,
            unowned: None,
            plug: None,
            _admission: admission,
        }
    }

    /// The messages of the client go over this line.
    pub(super) fn set_plug(&mut self, plug: Option<Plug>) {
        self.plug = plug.map(Box::new);
    }

    /// The session is that of this hub once the client sends something.
    pub(super) fn set_unowned(&mut self, search: Option<SessionSearch>) {
        self.unowned = search.map(Box::new);
    }

    /// From now on, this hub has the session: the client has the CONNACK.
    async fn own(&mut self, search: &SessionSearch) -> Result<(), End> {
        let (party, client_id) = (self.mailbox.party(), self.place.client_id());
        let owned = self.edge.hub.own_session(party, client_id, false, self.lifetime.expiry_s, search).await;
        match owned {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::Closed(CloseReason::TakenOver)),
            Err(error) => {
                tracing::debug!(%error, "the session of a client could not be noted as one of this hub");
                Err(End::Closed(CloseReason::Unavailable))
            }
        }
    }

    /// Serves the client until its connection has ended.
    pub(super) async fn run(mut self: Box<Self>) -> Ending {
        let version = self.exchange.version();
        note_party(self.mailbox.party());
        tracing::info!(?version, "mqtt client connected");
        let Err(end) = self.converse().await;
        self.count();
        tracing::info!(reason = ?end, dropped = self.mailbox.dropped(), "mqtt client disconnected");
        let is_orderly = end.is_orderly();
        // Boxed, like the hub's futures: an idle connection then has no room set aside for its end.
        Box::pin(self.finish(end)).await;
        if is_orderly { Ending::Orderly } else { Ending::Failed }
    }

    async fn converse(&mut self) -> Result<Infallible, End> {
        let mut alarm = pin!(sleep_until(self.alarm_at()));
        loop {
            while self.pump()? {
                Box::pin(self.send_stored()).await?;
            }
            if !self.link.input.is_empty()
                && let Some(search) = self.unowned.take()
            {
                Box::pin(self.own(&search)).await?;
            }
            loop {
                match self.answer()? {
                    Answered::All => break,
                    Answered::Message => {}
                    Answered::Later(acting) => acting.await?,
                }
                // Where the hub answers at once, nothing else in this loop would let other tasks have their turn.
                consume_budget().await;
            }
            let reads = self.reads();
            if !reads {
                // Packets that arrive meanwhile are not read: the keep alive is measured from the next read on.
                self.heard_at = Instant::now();
            }
            let repaired = self.mailbox.repaired();
            let next = poll_fn(|context| self.poll_event(reads, alarm.as_mut(), context));
            let event = match repaired {
                None => next.await,
                Some(repaired) => Box::pin(until(next, repaired)).await,
            };
            if self.take_event(event, reads, alarm.as_mut())? {
                Box::pin(self.send_stored()).await?;
            }
        }
    }

    /// The next event. Cancel-safe: what it takes from a queue or the socket is in the event or in a buffer.
    fn poll_event(&mut self, reads: bool, alarm: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Event> {
        // Written first, so that the output has room; read before silence is judged, since packets that were sent in time
        // may have waited for the hub.
        let takes_messages = !self.link.is_full();
        let takes_deliveries = self.exchange.takes_deliveries() && takes_messages;
        self.count();
        if !self.link.output.is_empty() {
            if reads
                && self.batch.reads_first()
                && let Poll::Ready(read) = self.link.poll_read(context)
                && let Some(bytes) = self.batch.note_read(read)
            {
                return Poll::Ready(Event::Read(Ok(bytes)));
            }
            if let Poll::Ready(written) = self.link.poll_write(context) {
                return Poll::Ready(Event::Written(written));
            }
        }
        self.batch.begin();
        if let Poll::Ready(turn) = poll_turn(&mut self.pending, context) {
            return Poll::Ready(Event::Turn(turn));
        }
        if let Some(waiting) = &mut self.waiting
            && let Poll::Ready(answer) = waiting.poll_released(context)
        {
            return Poll::Ready(Event::Released(answer));
        }
        if reads && self.batch.is_last() {
            return Poll::Ready(Event::Read(Ok(0)));
        }
        if reads && let Poll::Ready(read) = self.link.poll_read(context) {
            return Poll::Ready(Event::Read(read));
        }
        if let Some(plug) = self.plug.as_mut().filter(|_| takes_messages)
            && let Poll::Ready(message) = plug.poll_next(context)
        {
            return Poll::Ready(Event::Down(message));
        }
        if let Poll::Ready(incoming) = self.mailbox.poll(takes_deliveries, context) {
            return Poll::Ready(Event::Incoming(incoming));
        }
        alarm.poll(context).map(|()| Event::Alarm)
    }

    /// Acts on an event. Returns whether the stored queue is to be read.
    fn take_event(&mut self, event: Event, reads: bool, mut alarm: Pin<&mut Sleep>) -> Result<bool, End> {
        match event {
            Event::Written(written) => {
                written.map_err(|error| lost(&error))?;
                self.batch.begin();
            }
            Event::Turn(turn) => self.give_pending(turn)?,
            Event::Released(answer) => self.release(answer),
            Event::Read(Ok(0) | Err(_)) => self.end_after_waiting(End::Lost)?,
            // Not only whole packets: a large one may take longer than the keep alive on a slow link.
            Event::Read(Ok(_)) => self.heard_at = Instant::now(),
            Event::Down(message) => self.send_down(message)?,
            Event::Incoming(incoming) => return self.take(incoming),
            Event::Repaired => {}
            Event::Alarm => {
                let now = Instant::now();
                if !reads {
                    self.heard_at = now;
                }
                if self.lifetime.login_ends <= now {
                    return Err(End::Closed(CloseReason::Revoked));
                }
                if self.silence_ends().is_some_and(|end| end <= now) {
                    return Err(End::KeepAlive);
                }
                alarm.as_mut().reset(self.alarm_at());
            }
        }
        Ok(false)
    }

    fn silence_ends(&self) -> Option<Instant> {
        Some(self.heard_at + self.lifetime.silence_max?)
    }

    /// The time of the next check whether the connection may stay open.
    fn alarm_at(&self) -> Instant {
        let login_ends = self.lifetime.login_ends;
        self.silence_ends().map_or(login_ends, |silence_ends| silence_ends.min(login_ends))
    }

    /// Whether another packet of the client may be processed, as the number of unanswered packets is limited.
    fn takes_requests(&self) -> bool {
        !self.link.is_full() && self.pending.len() < usize::from(self.edge.config.inflight_max)
    }

    /// Whether another packet may be taken from the client, to be acted on or to be put off.
    fn reads(&self) -> bool {
        self.takes_requests() && self.waiting.as_ref().is_none_or(|waiting| waiting.has_room())
    }

    /// Encodes queued deliveries, up to the size of one write. Returns true before a stored one: those take time.
    fn pump(&mut self) -> Result<bool, End> {
        while self.has_room() {
            if !self.backlog.is_empty() {
                return Ok(true);
            }
            let mut taken = Taken::up_to(self.exchange.room(), self.link.room());
            let other = self.mailbox.take(&mut taken);
            self.link.output.reserve(taken.bytes);
            let is_all = taken.has_room();
            for delivery in taken.deliveries {
                self.deliver(&delivery)?;
            }
            if let Some(incoming) = other {
                if self.take(incoming)? {
                    return Ok(true);
                }
            } else if is_all {
                break;
            }
        }
        Ok(false)
    }

    /// Adds the messages that are not counted yet to those of the process: before a client can know that they were taken.
    #[inline]
    fn count(&mut self) {
        self.tally.add_to(&METRICS.mqtt_messages);
    }

    /// Whether another delivery may be encoded.
    fn has_room(&self) -> bool {
        self.exchange.takes_deliveries() && !self.link.is_full()
    }

    /// Returns whether the stored queue is to be read.
    fn take(&mut self, incoming: Incoming) -> Result<bool, End> {
        match incoming {
            Incoming::Delivery(delivery) => self.deliver(&delivery).map(|()| false),
            Incoming::Backlog => Ok(self.backlog.is_empty()),
            Incoming::Closed(reason) => Err(End::Closed(reason)),
        }
    }

    /// Encodes the messages of the stored queue that were read, or else reads some.
    async fn send_stored(&mut self) -> Result<(), End> {
        if self.backlog.is_empty() {
            self.read_backlog().await;
        }
        while self.has_room()
            && let Some(delivery) = self.backlog.pop_front()
        {
            self.deliver_stored(&delivery).await?;
        }
        Ok(())
    }

    async fn read_backlog(&mut self) {
        let limit = self.exchange.room().clamp(1, BACKLOG_PAGE);
        let page = pin!(self.mailbox.backlog(limit));
        self.backlog = self.link.write_during(page).await.into();
    }

    /// The client may have lost the permission for stored messages since.
    async fn deliver_stored(&mut self, delivery: &Delivery) -> Result<(), End> {
        let is_message = delivery.stored.is_some_and(|place| !place.released);
        let allowed = !is_message || {
            let asked = pin!(self.edge.hub.may_still_receive(self.mailbox.party(), &delivery.publication));
            // If the permission cannot be read now, the message stays in the file for the next connection.
            self.link.write_during(asked).await.map_err(|_| End::Fault(Fault::Unavailable))?
        };
        if allowed {
            return self.deliver(delivery);
        }
        self.forget(delivery);
        Ok(())
    }

    fn deliver(&mut self, delivery: &Delivery) -> Result<(), End> {
        let own = self.mailbox.connection_id();
        let Ok(is_sent) = self.exchange.deliver(delivery, own, age_now, &mut self.link.output) else {
            self.mailbox.renumber(delivery);
            return Ok(());
        };
        if is_sent {
            self.tally.sent(delivery.qos);
            self.batch.add();
        }
        if !is_sent || delivery.qos == QoS::AtMostOnce {
            self.forget(delivery);
            return Ok(());
        }
        let publication = &delivery.publication;
        if let Some(id) = self.exchange.newest()
            && publication.publisher.is_none()
            && publication.topic == self.mailbox.party().inbox()
            && let Some(message) = publication.payload.message()
        {
            self.receipts.push((id, message.clone()));
        }
        Ok(())
    }

    /// Sends a message of the line. Its end is that of the connection.
    fn send_down(&mut self, message: Result<Bytes, Option<CloseReason>>) -> Result<(), End> {
        let message = message.map_err(|reason| reason.map_or(End::Fault(Fault::Unavailable), End::Closed))?;
        let Some(plug) = &self.plug else { return Ok(()) };
        let (qos, version) = (QoS::AtMostOnce, self.exchange.version());
        let (topic, payload, v5) = (plug.topic(), &message[..], V5Publish::default());
        let packet = Outgoing { topic, payload, retain: false, qos, dup: false, v5 };
        if self.exchange.fits(&packet) {
            packet.write(version, 0, &mut self.link.output);
            self.tally.sent(qos);
        }
        Ok(())
    }

    fn forget(&self, delivery: &Delivery) {
        if let Some(place) = delivery.stored {
            self.mailbox.forget(place.seq);
        }
    }

    /// Writes an answer, after those that wait and after its own commit.
    fn respond(&mut self, commit: Option<Ticket>, write: impl FnOnce(&mut BytesMut)) {
        if commit.is_none() && self.pending.is_empty() {
            return write(&mut self.link.output);
        }
        let mut packet = BytesMut::new();
        write(&mut packet);
        self.pending.push_back(Pending::Written(Acknowledgement { commit, packet, received: None }));
    }

    /// As [`Self::respond`], with an encoded answer.
    fn give(&mut self, answer: Acknowledgement) {
        if answer.commit.is_none() && self.pending.is_empty() {
            self.link.output.extend_from_slice(&answer.packet);
        } else {
            self.pending.push_back(Pending::Written(answer));
        }
    }

    /// Writes the first of the waiting answers, and those behind it that wait for nothing.
    fn give_pending(&mut self, turn: Turn) -> Result<(), Fault> {
        match (turn, self.pending.pop_front()) {
            (Turn::Given, Some(Pending::Written(answer))) => {
                self.link.output.extend_from_slice(&answer.packet);
            }
            (Turn::Done(result), Some(Pending::Undone { qos, id, .. })) => {
                let mut packet = BytesMut::new();
                let is_new = self.exchange.answer(qos, id, result.as_ref().err(), &mut packet)?;
                match is_new.then(|| self.mailbox.received(id)).flatten() {
                    None => self.link.output.extend_from_slice(&packet),
                    commit => {
                        self.pending.push_front(Pending::Written(Acknowledgement {
                            commit,
                            packet,
                            received: Some(id),
                        }));
                    }
                }
            }
            (_, answer) => {
                self.mailbox.doubt_subscriptions();
                if let Some(Pending::Written(Acknowledgement { received: Some(id), .. })) = answer {
                    self.exchange.forget_received(id);
                }
                return Err(match self.edge.hub.storage_fault() {
                    DomainError::DiskFull => Fault::NoRoom,
                    _ => Fault::Unavailable,
                });
            }
        }
        while let Some(Pending::Written(Acknowledgement { commit: None, packet, .. })) = self.pending.front() {
            self.link.output.extend_from_slice(packet);
            self.pending.pop_front();
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        Ok(())
    }

    async fn finish(self, end: End) {
        let Self { edge, mut link, mailbox, mut place, mut exchange, lifetime, waiting, pending, .. } = self;
        // The message was accepted, and other subscribers have it: so all get it.
        let (held, answer) = waiting.and_then(|waiting| waiting.into_held()).unzip();
        let written = pending.into_iter().filter_map(|answer| match answer {
            Pending::Written(answer) => Some(answer),
            Pending::Undone { .. } => None,
        });
        for answer in written.chain(answer) {
            let Acknowledgement { commit: Some(mut commit), received, .. } = answer else { continue };
            if commit.reached().await {
                continue;
            }
            mailbox.doubt_subscriptions();
            // The session must not remember a message that is not on disk: its repeat would be lost.
            if let Some(id) = received {
                exchange.forget_received(id);
            }
        }
        let version = exchange.version();
        let publisher = mailbox.connection_id();
        let session = mailbox.session().filter(|_| lifetime.expiry_s > 0);
        let expiry_s = lifetime.expiry_s;
        let delayed = match (lifetime.will.filter(|_| end.publishes_will()), held) {
            (Some(will), held) if will.delay_s > 0 && session.is_some() => {
                Some(wills::delay(&edge, mailbox.party().clone(), publisher, will, expiry_s, held))
            }
            (Some(will), held) => {
                wills::publish(&edge, mailbox.party(), publisher, *will, held).await;
                None
            }
            (None, Some(held)) => {
                edge.tasks.spawn(held);
                None
            }
            (None, None) => None,
        };
        match session {
            Some(session) => {
                let ends_at = age_now() + f64::from(expiry_s);
                place.keep(Kept::new(session, exchange.into_memory(), ends_at, delayed));
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
            encode::disconnect(code, &mut link.output);
        }
        link.close().await;
    }
}

/// The first of the two; `repaired` is an event, too.
async fn until(event: impl Future<Output = Event>, repaired: impl Future<Output = ()>) -> Event {
    tokio::select! {
        biased;
        event = event => event,
        () = repaired => Event::Repaired,
    }
}

/// Ready at the commit of the first pending answer.
fn poll_turn(waiting: &mut VecDeque<Pending>, context: &mut Context<'_>) -> Poll<Turn> {
    match waiting.front_mut() {
        Some(Pending::Written(Acknowledgement { commit: None, .. })) => Poll::Ready(Turn::Given),
        Some(Pending::Written(Acknowledgement { commit: Some(commit), .. })) => {
            commit.poll_reached(context).map(|reached| if reached { Turn::Given } else { Turn::NotStored })
        }
        Some(Pending::Undone { done, .. }) => Pin::new(done).poll(context).map(|done| match done {
            Ok(result) => Turn::Done(result),
            Err(_) => Turn::NotStored,
        }),
        None => Poll::Pending,
    }
}

fn lost(error: &std::io::Error) -> End {
    match error.kind() {
        std::io::ErrorKind::TimedOut => End::WriteTimeout,
        _ => End::Lost,
    }
}
