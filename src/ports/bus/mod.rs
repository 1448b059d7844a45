//! The bus: an MQTT broker, or a cluster of brokers, over which the hubs of one database reach each other.
//!
//! It carries notices: a lost one costs time until the next comparison with the database, and never a voice message. It also
//! carries what clients publish for each other, which no database has. That is on the disk of the publisher's hub until the
//! broker has it ([`Bus::forward`]), and then at the broker until the other hubs have it on their disks.
//!
//! A worked example: a voice message through hub B to a toy at hub A.
//!
//! ```text
//! hub B   the transaction is committed
//! hub B   Bus::send(News)  ─▶ outbox ─▶ link ─▶ broker      toyhub/<database>/in/toy/<id>
//! hub A   link ─▶ Window: new? ─▶ Handler::handle ─▶ Router::publish on toy/<id>/in
//! hub A   PUBACK, once the sessions that are away have it on disk
//! hub B   its own copy comes back: the broker works
//! ```
//!
//! A command through hub B to a toy at hub A.
//!
//! ```text
//! hub B   Bus::forward  ─▶ sessions' file: command 8, and its receipt or a session's copy, in one commit
//!                       ─▶ outbox ─▶ link ─▶ broker      toyhub/<database>/say/toy/<id>/cmd/volume
//! hub B   the commit is on disk: PUBACK to the publisher. At QoS 2 the command is sent only now
//! hub B   PUBACK of the broker: command 8 is deleted with the next commit
//! hub A   Window: command 8 is new ─▶ Handler::handle ─▶ Router::publish_heard
//! hub A   a session stores it, and that command 8 was received, in one commit; PUBACK to the broker
//! ```
//!
//! A hub that is killed sends what is left in its file at the next start, with the same ids; another hub knows by them what
//! it has received before, also if it was killed itself.
//!
//! All hubs subscribe to the same few filters at QoS 1, and receive everything: a subscription per toy is more than brokers
//! support. The broker keeps the session of a hub that is away (`clean_session` is false). Nothing is retained there.

mod event_form;
mod link;
mod notice;
mod outbox;
mod probe;
mod received;
mod window;

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{LastWill, Packet, PubAck, Publish};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::model::{HubId, Party, QoS, Secret, Timestamp};
use crate::ports::clock;
use crate::ports::router::{Disk, ForwardId, Heard, Publication, Ticket};

pub use notice::{ClientPublication, FINGERPRINT_BYTES, HubName, MovedMessage, MovingSession, Notice};

use link::{Link, LinkError};
use notice::{Envelope, FILTERS, Number, ROSTER_PAGE, Unreadable};
use outbox::{Outbox, OutboxLimits};
use received::{Kind, Received};
use window::Seen;

/// The pauses between two attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Signs of life that did not come back before the broker counts as one that loses messages.
const UNHEARD_MAX: u32 = 3;
/// How long the hello of this hub stays unacknowledged at the broker. Another hub with the same name, which takes the
/// session over, gets it then.
const HELLO_STAYS: Duration = Duration::from_millis(500);
/// How long another hub with the same name is reported after its last message.
const SAME_NAME_LASTS: Duration = Duration::from_secs(60);
/// How long the clock of a hub that has left is reported.
const FAST_CLOCK_LASTS: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the broker.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The address of a broker.
pub struct BusAddress {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For an encrypted connection.
    pub tls: Option<TlsConnector>,
}

/// The settings of the bus.
pub struct BusSettings {
    /// The name of this hub.
    pub hub: String,
    /// The identity of the database. Hubs of other databases may use the same broker.
    pub data: HubId,
    /// The brokers, at least one. The hub is connected to one of them.
    pub addresses: Vec<BusAddress>,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
    /// The first level of all topics.
    pub prefix: String,
    /// The time in which a connection has to open.
    pub connect_timeout: Duration,
    /// The time between two signs of life.
    pub keep_alive: Duration,
    /// By how much the clock of another hub may be ahead.
    pub clock_skew_max: Duration,
    /// The maximum size of a packet.
    pub packet_max_bytes: usize,
    /// The maximum number of messages that wait.
    pub queue_messages_max: usize,
    /// Their maximum size.
    pub queue_bytes_max: usize,
    /// The maximum number of messages that the broker has not acknowledged.
    pub in_flight_max: usize,
}

/// Whether the bus works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusState {
    /// It has not been tried yet.
    New,
    /// A message of this hub has come back to it.
    Up,
    /// It does not work, or another hub is set up wrongly, for this reason.
    Down(&'static str),
}

/// The hub, as the bus calls it. The methods do not block.
pub trait Handler: Sync {
    /// A message of another hub. It is acknowledged when the ticket is reached. `heard` is to be stored together with it.
    fn handle(&self, from: &HubName, notice: Notice, heard: Option<Heard>) -> Option<Ticket>;
    /// The parties that are connected to this hub.
    fn roster(&self) -> Vec<Party>;
    /// The hub is on the bus, for the first time or again: it may have missed anything.
    fn connected(&self);
    /// The hub is not on the bus any more.
    fn disconnected(&self);
    /// Messages of another hub were lost.
    fn lost(&self);
    /// Called with each sign of life.
    fn tick(&self);
}

/// The connection of this hub to the others.
pub struct Bus {
    settings: BusSettings,
    me: HubName,
    /// The beginning of all topics.
    root: String,
    outbox: Mutex<Outbox>,
    /// Where publications are stored until the broker has them.
    disk: Disk,
    /// What earlier processes have received of other hubs.
    heard: Vec<Heard>,
    pushed: Notify,
    is_joined: AtomicBool,
    is_hello_due: AtomicBool,
    is_roster_due: AtomicBool,
    status: Mutex<Status>,
}

struct Status {
    state: BusState,
    /// When a message of another hub with this name was received last.
    same_name_at: Option<Instant>,
    /// The hubs whose clocks are ahead, and when they said so last.
    fast_clocks: HashMap<String, Instant>,
    /// The reason that was logged last.
    logged: Option<LinkError>,
}

impl Status {
    /// Whether the clock of another hub was ahead lately.
    fn has_fast_clock(&self) -> bool {
        self.fast_clocks.values().any(|at| at.elapsed() < FAST_CLOCK_LASTS)
    }

    /// Whether another hub with this name was on the bus lately.
    fn shares_name(&self) -> bool {
        self.same_name_at.is_some_and(|at| at.elapsed() < SAME_NAME_LASTS)
    }
}

/// What one connection has seen.
struct Session {
    /// Whether the process was connected before.
    is_first: bool,
    /// Signs of life without their echo.
    unheard: u32,
    /// Whether a message of this hub has come back since the last sign of life.
    has_echo: bool,
    acks: FuturesOrdered<Pin<Box<dyn Future<Output = Option<u16>> + Send>>>,
}

impl Bus {
    /// A bus that is not connected yet. `epoch` is when the process was started, in milliseconds. `left` are the
    /// publications that earlier processes have left on the disk, and `heard` is what they have received.
    pub fn new(
        settings: BusSettings,
        epoch: u64,
        disk: Disk,
        left: Vec<(ForwardId, Publication, Timestamp)>,
        heard: Vec<Heard>,
    ) -> Self {
        let limits = OutboxLimits { messages_max: settings.queue_messages_max, bytes_max: settings.queue_bytes_max };
        let left = left.iter().map(|(id, publication, at)| notice_of(publication, Some(*id), (Some(*at), Some(*at))));
        let state = BusState::New;
        Self {
            me: HubName { hub: settings.hub.clone(), epoch },
            root: format!("{}/{}/", settings.prefix, settings.data),
            settings,
            outbox: Mutex::new(Outbox::new(limits, epoch, left.collect())),
            disk,
            heard,
            pushed: Notify::new(),
            is_joined: AtomicBool::new(false),
            is_hello_due: AtomicBool::new(false),
            is_roster_due: AtomicBool::new(false),
            status: Mutex::new(Status { state, same_name_at: None, fast_clocks: HashMap::new(), logged: None }),
        }
    }

    /// Sends a notice to all other hubs. Returns false if there is no room: the other hubs are notified then that they
    /// miss something.
    pub fn send(&self, notice: Notice) -> bool {
        if notice.is_of_connection() && !self.is_joined() {
            // The next connection begins with the roster.
            return true;
        }
        let is_move = matches!(notice, Notice::Moved { .. });
        let has_room = self.outbox().push(notice);
        if is_move && !has_room {
            self.is_roster_due.store(true, Ordering::SeqCst);
        }
        self.pushed.notify_one();
        has_room
    }

    /// Sends a publication of a client to all other hubs. One of QoS 1 or 2 is ordered to be stored until the broker has
    /// it: then this returns true, and the publication is accepted when the commit is on disk. [`Self::has_room`] is asked
    /// before. A retained one has a version. One of QoS 2 is sent after its commit, which has the packet id of its client,
    /// too: a repeat of it is then known to this hub or, with the same id, to the others.
    pub fn forward(&self, publication: &Arc<Publication>, version: Option<Timestamp>, published_at: Timestamp) -> bool {
        if publication.qos == QoS::AtMostOnce {
            self.send(notice_of(publication, None, (version, None)));
            return false;
        }
        {
            // Under the lock, so that the order is the same on disk and on the bus.
            let mut outbox = self.outbox();
            self.disk.forget_forwarded(outbox.take_forwarded());
            let id = outbox.next_accepted();
            self.disk.keep_for_hubs(id, publication, version.unwrap_or(published_at));
            // Part of the same commit, as the caller's receipt is.
            let commit = (publication.qos == QoS::ExactlyOnce).then(|| self.disk.barrier());
            outbox.push_accepted(notice_of(publication, Some(id), (version, Some(published_at))), commit);
        }
        self.pushed.notify_one();
        true
    }

    /// Deletes from the disk what the broker has.
    fn forget_forwarded(&self) {
        self.disk.forget_forwarded(self.outbox().take_forwarded());
    }

    /// Whether there is room for another message.
    pub fn has_room(&self) -> bool {
        self.outbox().has_room()
    }

    /// About how many bytes fit in one message.
    pub fn content_max(&self) -> usize {
        self.settings.packet_max_bytes / 2
    }

    /// Whether the hub is connected to a broker, and subscribes.
    pub fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::SeqCst)
    }

    /// Sends the parties of this hub to the others.
    pub fn send_roster(&self) {
        self.is_roster_due.store(true, Ordering::SeqCst);
        self.pushed.notify_one();
    }

    /// Whether the bus works.
    pub fn state(&self) -> BusState {
        let status = self.status();
        if status.shares_name() {
            return BusState::Down(
                "another hub of this database has the same cluster.hub; give each hub a name of its own, see the log",
            );
        }
        if status.state == BusState::Up && status.has_fast_clock() {
            return BusState::Down(
                "the clock of another hub is ahead of this one's by more than cluster.clock_skew_max_s; set the clocks by \
                 NTP, the log names the hub",
            );
        }
        status.state
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays on the bus until `shutdown`: connects again after each lost connection, to the next address.
    pub async fn run(&self, handler: &impl Handler, shutdown: &CancellationToken) {
        let (mut received, mut pause, mut is_first) = (Received::resumed(&self.heard), PAUSES.0, true);
        for address in self.settings.addresses.iter().cycle() {
            let connection = self.connection(address, handler, &mut received, &mut is_first, shutdown);
            let Err(error) = connection.await else { return };
            if self.is_joined.swap(false, Ordering::SeqCst) {
                handler.disconnected();
                pause = PAUSES.0;
            }
            if error == LinkError::TooLarge {
                // It would come again with each connection. The database has the events that are behind it.
                if let Err(error) = Link::forget_session(address, &self.settings, self.will()).await {
                    tracing::warn!(%error, "the session of this hub at the broker is not forgotten yet");
                }
            }
            self.note_lost(address, error);
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
            if self.status().shares_name() {
                // The two take the connection from each other: slowly.
                pause = PAUSES.1;
            }
        }
    }

    /// Serves one connection. Returns in order at `shutdown` only.
    async fn connection(
        &self,
        address: &BusAddress,
        handler: &impl Handler,
        received: &mut Received,
        is_first: &mut bool,
        shutdown: &CancellationToken,
    ) -> Result<(), LinkError> {
        let filters = self.filters();
        let opening = Link::open(address, &self.settings, &filters, self.will());
        let Some(opened) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
        let mut link = opened?;
        self.outbox().reset();
        self.is_joined.store(true, Ordering::SeqCst);
        self.is_hello_due.store(true, Ordering::SeqCst);
        self.send_roster();
        handler.connected();
        let is_first = std::mem::take(is_first);
        let mut session = Session { is_first, unheard: 0, has_echo: true, acks: FuturesOrdered::new() };
        let serving = self.serve(&mut link, handler, received, &mut session);
        match shutdown.run_until_cancelled(serving).await {
            Some(error) => {
                // The next connection acknowledges repeats at once: so everything is on disk before, or counts as new.
                let all_stored = async {
                    let mut all = error != LinkError::NotStored;
                    while let Some(ack) = session.acks.next().await {
                        all &= ack.is_some();
                    }
                    all
                };
                if shutdown.run_until_cancelled(all_stored).await == Some(false) {
                    *received = Received::default();
                }
                Err(error)
            }
            None => {
                self.leave(link, handler).await;
                Ok(())
            }
        }
    }

    fn filters(&self) -> Vec<String> {
        let own = format!("{}to/{}", self.root, self.me.hub);
        FILTERS.iter().map(|filter| format!("{}{filter}", self.root)).chain([own]).collect()
    }

    /// The message that the broker publishes when the hub is lost.
    fn will(&self) -> LastWill {
        let envelope = Envelope { from: self.me.clone(), number: Number::None, notice: Notice::Gone };
        let topic = format!("{}{}", self.root, envelope.notice.topic(&self.me.hub));
        LastWill { topic, message: envelope.encode().into(), qos: mqttbytes::QoS::AtLeastOnce, retain: false }
    }

    async fn serve(
        &self,
        link: &mut Link,
        handler: &impl Handler,
        received: &mut Received,
        session: &mut Session,
    ) -> LinkError {
        let mut ticks = interval(self.settings.keep_alive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.fill(link, handler) {
                return error;
            }
            let step = tokio::select! {
                packet = link.next() => match packet {
                    Ok(Some(packet)) => self.take(packet, handler, received, session),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
                Some(ack) = session.acks.next(), if !session.acks.is_empty() => match ack {
                    Some(id) => link.send(&Packet::PubAck(PubAck { pkid: id })),
                    // Unacknowledged, the broker sends it again on the next connection.
                    None => Err(LinkError::NotStored),
                },
                () = self.pushed.notified() => Ok(()),
                () = self.next_stored() => Ok(()),
                _ = ticks.tick() => self.tick(handler, received, session),
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    /// Waits until the message that is to be sent next is on disk, if it is not sent before that.
    async fn next_stored(&self) {
        poll_fn(|context| self.outbox().poll_stored(context)).await;
    }

    fn tick(&self, handler: &impl Handler, received: &mut Received, session: &mut Session) -> Result<(), LinkError> {
        session.unheard = if std::mem::take(&mut session.has_echo) { 0 } else { session.unheard + 1 };
        if session.unheard >= UNHEARD_MAX {
            return Err(LinkError::Loses);
        }
        let (messages, publications) = received.look();
        for hub in &messages {
            tracing::warn!(
                hub,
                "messages of another hub were lost on the bus: what the database has of them is read there"
            );
        }
        for hub in &publications {
            tracing::warn!(hub, "publications of clients of another hub were lost on the bus");
        }
        if !messages.is_empty() {
            handler.lost();
            self.send(Notice::RosterRequest);
        }
        self.send(Notice::Heartbeat { at: None });
        self.forget_forwarded();
        handler.tick();
        Ok(())
    }

    /// Gives the link what may be sent now.
    fn fill(&self, link: &mut Link, handler: &impl Handler) -> Result<(), LinkError> {
        if self.is_roster_due.swap(false, Ordering::SeqCst) {
            // Who comes or goes from now on is in a later message.
            let parties = handler.roster();
            let count = parties.len().div_ceil(ROSTER_PAGE).max(1);
            let page = |page: usize| Notice::Roster {
                is_first: page == 0,
                is_last: page + 1 == count,
                parties: parties.iter().skip(page * ROSTER_PAGE).take(ROSTER_PAGE).cloned().collect(),
            };
            let hello = self.is_hello_due.swap(false, Ordering::SeqCst).then_some(Notice::Hello);
            let notices = hello.into_iter().chain((0..count).map(page)).collect();
            self.outbox().insert_next(notices);
        }
        while link.has_room() {
            let mut outbox = self.outbox();
            let Some(item) = outbox.next(self.settings.in_flight_max) else { return Ok(()) };
            let Some((number, id)) = item.sent else { return Ok(()) };
            let notice = match &item.notice {
                Notice::Heartbeat { .. } => Notice::Heartbeat { at: Some(clock::now()) },
                notice => notice.clone(),
            };
            let envelope = Envelope { from: self.me.clone(), number, notice };
            let topic = format!("{}{}", self.root, envelope.notice.topic(&self.me.hub));
            let mut publish = Publish::new(topic, mqttbytes::QoS::AtLeastOnce, envelope.encode());
            (publish.pkid, publish.dup) = (id, item.again);
            let packet = Packet::Publish(publish);
            if packet.size() > self.settings.packet_max_bytes {
                // It would never fit. The other hubs notice by its number that it is missing.
                tracing::error!(bytes = packet.size(), "a message does not fit in cluster.packet_max_bytes");
                outbox.acknowledge(id);
                continue;
            }
            drop(outbox);
            link.send(&packet)?;
        }
        Ok(())
    }

    fn take(
        &self,
        packet: Packet,
        handler: &impl Handler,
        received: &mut Received,
        session: &mut Session,
    ) -> Result<(), LinkError> {
        match packet {
            Packet::Publish(publish) => {
                let (mut is_own_hello, mut ticket) = (false, None);
                match Envelope::decode(&publish.payload) {
                    Ok(envelope) => {
                        is_own_hello = envelope.from == self.me && envelope.notice == Notice::Hello;
                        ticket = self.receive(envelope, handler, received, session);
                    }
                    Err(fault) => self.note_unreadable(&publish.topic, &fault),
                }
                let id = publish.pkid;
                if publish.qos != mqttbytes::QoS::AtMostOnce {
                    session.acks.push_back(Box::pin(async move {
                        if is_own_hello {
                            sleep(HELLO_STAYS).await;
                        }
                        match ticket {
                            None => Some(id),
                            Some(mut ticket) => ticket.reached().await.then_some(id),
                        }
                    }));
                }
            }
            Packet::PubAck(ack) => self.outbox().acknowledge(ack.pkid),
            _ => {}
        }
        Ok(())
    }

    fn receive(
        &self,
        envelope: Envelope,
        handler: &impl Handler,
        received: &mut Received,
        session: &mut Session,
    ) -> Option<Ticket> {
        let Envelope { from, number, notice } = envelope;
        if from == self.me {
            session.has_echo = true;
            self.note_up();
            return None;
        }
        if from.hub == self.me.hub {
            // A broker may bring what an earlier process of this hub has left behind at any time. A hub that is alive, and
            // takes the session over, says hello again and again.
            let is_later = from.epoch > self.me.epoch;
            let is_again = notice == Notice::Hello && received.note_own_hello(from.epoch);
            if !session.is_first && (is_later || is_again) {
                self.note_same_name();
            }
            return None;
        }
        if let Notice::Heartbeat { at: Some(at) } = notice {
            self.note_clock(&from.hub, at - clock::now());
        }
        let id = notice.forward_id();
        // The last will is in no order with the messages.
        if number != Number::None {
            match received.note_message(&from, number, self.kind_of(&notice)) {
                Some(Seen::New) => {}
                Some(Seen::Repeated) => return None,
                // What clients have published there is not out of date.
                None if id.is_some() => {}
                None => return None,
            }
        }
        let Some(id) = id else { return handler.handle(&from, notice, None) };
        match received.note(&from.hub, id) {
            Seen::Repeated => return None,
            Seen::New => {}
        }
        let heard = Heard { hub: from.hub.clone(), id };
        handler.handle(&from, notice, Some(heard))
    }

    fn kind_of(&self, notice: &Notice) -> Kind {
        match notice {
            Notice::Hello => Kind::Hello,
            // What a process has left behind is older.
            Notice::Heartbeat { at: Some(at) }
                if (clock::now() - at).abs() < self.settings.keep_alive.as_secs_f64() =>
            {
                Kind::SignOfLife
            }
            _ => Kind::Other,
        }
    }

    /// Leaves in order, so that the others need not wait for the last will.
    async fn leave(&self, mut link: Link, handler: &impl Handler) {
        self.send(Notice::Gone);
        let leaving = async {
            loop {
                self.fill(&mut link, handler)?;
                if self.outbox().is_empty() {
                    return Ok::<(), LinkError>(());
                }
                tokio::select! {
                    packet = link.next() => {
                        if let Some(Packet::PubAck(ack)) = packet? {
                            self.outbox().acknowledge(ack.pkid);
                        }
                    }
                    () = self.next_stored() => {}
                }
            }
        };
        // If this fails, the others get the last will.
        let _ = timeout(LEAVE_MAX, leaving).await;
        self.forget_forwarded();
        self.is_joined.store(false, Ordering::SeqCst);
        link.close(LEAVE_MAX).await;
    }

    fn note_up(&self) {
        let mut status = self.status();
        if status.state != BusState::Up {
            status.state = BusState::Up;
            // The two take the connection from each other, which is logged once.
            let is_news = !status.shares_name();
            if is_news {
                status.logged = None;
            }
            drop(status);
            if is_news {
                tracing::info!(hub = self.me.hub, "on the bus");
            }
        }
    }

    fn note_lost(&self, address: &BusAddress, error: LinkError) {
        let mut status = self.status();
        status.state = BusState::Down(error.advice());
        if status.logged.as_ref() != Some(&error) && !status.shares_name() {
            let (broker, port) = (&address.host, address.port);
            tracing::warn!(broker, port, %error, "not on the bus: events of other hubs come late");
            status.logged = Some(error);
        }
    }

    fn note_same_name(&self) {
        let mut status = self.status();
        let is_known = status.shares_name();
        status.same_name_at = Some(Instant::now());
        drop(status);
        if !is_known {
            tracing::error!(
                hub = self.me.hub,
                "another hub of this database has the same cluster.hub: the two take the connection from each other; \
                 give each hub a name of its own"
            );
        }
    }

    /// Notes by how many seconds the clock of another hub is ahead of this one's. A message takes time, so it may be more; a
    /// clock that is behind is noticed at that hub.
    fn note_clock(&self, hub: &str, ahead_s: f64) {
        let mut status = self.status();
        if ahead_s <= self.settings.clock_skew_max.as_secs_f64() {
            if status.fast_clocks.remove(hub).is_some() {
                tracing::info!(hub, "the clock of another hub agrees with this one's again");
            }
        } else if status.fast_clocks.insert(hub.to_owned(), Instant::now()).is_none() {
            tracing::warn!(
                hub,
                ahead_s = ahead_s.round(),
                "the clock of another hub is ahead of this one's: tickets and retained messages are judged wrongly"
            );
        }
    }

    fn note_unreadable(&self, topic: &str, fault: &Unreadable) {
        // The topic names a party.
        let kind = topic.strip_prefix(&self.root).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        tracing::warn!(kind, %fault, "a message on the bus is dropped");
    }
}

/// With its version, and when it was published.
fn notice_of(
    publication: &Publication,
    id: Option<ForwardId>,
    (version, published_at): (Option<Timestamp>, Option<Timestamp>),
) -> Notice {
    Notice::Publication(Box::new(ClientPublication::new(publication, id, version, published_at)))
}
