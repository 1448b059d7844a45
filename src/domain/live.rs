//! Live connections: permissions to connect, subscribe and publish, and the messages that a reconnecting client is
//! sent.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::Hub;
use super::error::DomainError;
use super::login::Admitted;
use super::permissions::{Action, Rule, rule};
use crate::model::{ChatId, Event, Party, PartyId, QoS, Topic, TopicFilter};
use crate::ports::bus::Notice;
use crate::ports::router::{CloseReason, ConnectionId, Mailbox, Payload, SessionHandle, StorageState, StoredSession};

pub use crate::ports::router::{
    Figures, Held, Publication, QueueLimits, Reached, Receipt, ReplayRetained, Subscription, Ticket,
};

/// Whether refused connections are counted under a name: it may be that of a user, toy or device, or a page's text for
/// none, such as `undefined`.
fn is_counted(name: &str) -> bool {
    (1..=32).contains(&name.len())
}

/// A publication of a client that is not routed yet: something has to be looked up for it first.
#[derive(Debug)]
pub struct Undecided {
    publication: Arc<Publication>,
    receipt: Option<Receipt>,
}

/// The event of an unread message, with its number in a user's stream.
pub type UnreadEvent = (Event, Option<u64>);

impl Hub {
    /// Checks the rate of connections from an address. Errors: `RateLimited`, `Unavailable`.
    pub fn may_connect(&self, peer: IpAddr) -> Result<(), DomainError> {
        self.check_store_answers()?;
        self.rates.connects.spend(&peer.into())
    }

    /// As [`Self::may_connect`], for a client that names a user, toy or device. If too many connections under that name
    /// were refused lately, this one is refused, and does not count for the address: the others there have its
    /// connections to themselves. Errors: `RateLimited`, `Unavailable`.
    pub fn may_connect_as(&self, peer: IpAddr, name: &str) -> Result<(), DomainError> {
        if is_counted(name) {
            self.rates.refused_connects.check(&(peer.into(), name.to_owned()))?;
        }
        self.may_connect(peer)
    }

    /// Counts a connection that was refused although the address may connect.
    pub fn note_refused_connection(&self, peer: IpAddr, name: &str, error: &DomainError) {
        let is_of_client = matches!(
            error,
            DomainError::Unauthorized
                | DomainError::UnknownParty
                | DomainError::WrongCredentials
                | DomainError::Erased
                | DomainError::Full(_)
        );
        if is_of_client && is_counted(name) {
            self.rates.refused_connects.note(&(peer.into(), name.to_owned()));
        }
    }

    /// Registers a live connection of a client. Dropping the mailbox ends it. Errors: `Full`, `Unauthorized`.
    pub async fn connect(&self, admitted: &Admitted, limits: QueueLimits) -> Result<Mailbox, DomainError> {
        self.check_connections(&admitted.party)?;
        self.attach_admitted(admitted, || self.router.connect(admitted.party.clone(), limits)).await
    }

    /// Creates a session that outlives its connection by `expiry_s` seconds, and connects to it. It is on disk when
    /// this returns. Errors: `Full`, `Unauthorized`, `Internal` if it cannot be stored.
    pub async fn open_session(
        &self,
        admitted: &Admitted,
        client_id: &str,
        expiry_s: u32,
    ) -> Result<Mailbox, DomainError> {
        self.check_connections(&admitted.party)?;
        if self.router.storage_state() != StorageState::Writable {
            return Err(self.storage_fault());
        }
        let session = self.router.open_session(admitted.party.clone(), client_id, self.session_limits(), expiry_s);
        if !session.is_stored().await {
            session.end();
            return Err(self.storage_fault());
        }
        self.attach(&session, admitted).await.inspect_err(|_| session.end())
    }

    /// Connects a client to its existing session. Errors: `Full`, `Unauthorized`.
    pub async fn attach(&self, session: &SessionHandle, admitted: &Admitted) -> Result<Mailbox, DomainError> {
        self.check_connections(session.party())?;
        self.attach_admitted(admitted, || session.attach()).await
    }

    /// The sessions of an earlier process, returned once. Each receives messages again.
    pub fn restore_sessions(&self) -> Vec<(StoredSession, SessionHandle)> {
        let stored = std::mem::take(&mut *self.stored_sessions.lock().unwrap_or_else(PoisonError::into_inner));
        let restored = stored.into_iter().map(|stored| {
            let handle = self.router.restore_session(&stored, self.session_limits());
            (stored, handle)
        });
        restored.collect()
    }

    /// The limits of the queue in memory of a session that outlives its connection.
    fn session_limits(&self) -> QueueLimits {
        let mqtt = &self.config.mqtt;
        QueueLimits { messages_max: mqtt.queue_messages_max, bytes_max: mqtt.queue_bytes_max }
    }

    fn check_connections(&self, party: &Party) -> Result<(), DomainError> {
        let is_full = self.router.connections(party) >= self.config.ws.connections_per_user_max;
        if is_full && !super::permissions::is_guest(party) {
            return Err(DomainError::Full("connection of this user or toy"));
        }
        Ok(())
    }

    /// Subscribes `mailbox`. Returns true if the subscription is new.
    ///
    /// A client that subscribes to its own inbox is sent its unread messages from the store, unless this connection got
    /// them when it resumed its session ([`Self::resume`]). Errors: `Forbidden`, `Full`.
    pub async fn subscribe(
        &self,
        mailbox: &Mailbox,
        subscription: &Subscription,
        retained: ReplayRetained,
    ) -> Result<bool, DomainError> {
        let party = mailbox.party();
        let revocations = self.revocations.load(Ordering::SeqCst);
        self.check(party, Action::Subscribe, subscription.filter.as_str()).await?;
        #[cfg(test)]
        self.gate.pass().await;
        let is_held_back = match chat_of(subscription.filter.as_str()) {
            Some(chat) => self.holds_back(party, &chat).await?,
            None => false,
        };
        let retained = if is_held_back { ReplayRetained::Never } else { retained };
        if retained != ReplayRetained::Never && subscription.share.is_none() {
            self.read_retained(subscription.filter.as_str()).await?;
        }
        // The subscription precedes the unread messages: a message in between is sent twice rather than never.
        let is_new = mailbox.subscribe(subscription, retained).map_err(|_| DomainError::Full("subscription"))?;
        if self.revocations.load(Ordering::SeqCst) != revocations {
            // The permission may have been revoked between the check and the subscription.
            let lost = |_: &DomainError| {
                mailbox.unsubscribe(&subscription.filter, subscription.share.as_deref());
            };
            self.check(party, Action::Subscribe, subscription.filter.as_str()).await.inspect_err(lost)?;
        }
        let is_inbox = subscription.share.is_none() && subscription.filter.as_str() == party.inbox().as_str();
        if is_inbox && !mailbox.take_replayed() {
            self.replay(mailbox, subscription.qos).await?;
        }
        Ok(is_new)
    }

    /// Resumes a session that has its subscriptions: the unread messages are sent from the store. A message that was
    /// stored and never published, because the hub ended in between, is in no session. A client that does not subscribe
    /// again gets it here.
    pub async fn resume(&self, mailbox: &Mailbox) -> Result<(), DomainError> {
        let Some(granted) = mailbox.granted(&mailbox.party().inbox()) else { return Ok(()) };
        self.replay(mailbox, granted).await?;
        mailbox.set_replayed();
        Ok(())
    }

    /// Sends the unread messages to this connection. They are not copied into the session: they stay in the store until
    /// they are read, and copies would take the room of messages that are only in the session.
    async fn replay(&self, mailbox: &Mailbox, granted: QoS) -> Result<(), DomainError> {
        let party = mailbox.party();
        let unread = self.unread_events_up_to(party, self.replay_max()).await?;
        // The event keeps the number under which it was published. If the session has it, too, only one of the two is
        // sent.
        let publication = |(event, seq): &(Event, Option<u64>)| Arc::new(self.publication(party.inbox(), event, *seq));
        mailbox.replay(unread.iter().map(publication).collect(), granted);
        Ok(())
    }

    /// Subscribes `mailbox` to `filter` at QoS 1, for clients without MQTT's options. Errors: `Forbidden`, `Full`.
    pub async fn subscribe_plainly(&self, mailbox: &Mailbox, filter: TopicFilter) -> Result<(), DomainError> {
        self.subscribe(mailbox, &plain(filter), ReplayRetained::Always).await.map(drop)
    }

    /// Subscribes `mailbox` to its own inbox without its unread messages. It is for clients that fetch missed events by
    /// [`Hub::missed`] or [`Hub::unread`] afterwards. In this order no event is missed. Errors: `Full`.
    pub fn subscribe_to_inbox(&self, mailbox: &Mailbox) -> Result<(), DomainError> {
        let own = plain(TopicFilter::from(&mailbox.party().inbox()));
        let subscribed = mailbox.subscribe(&own, ReplayRetained::Never);
        subscribed.map(drop).map_err(|_| DomainError::Full("subscription"))
    }

    /// Checks whether `party` may publish on a topic now. Errors: `Forbidden`.
    pub async fn check_publish(&self, party: &Party, topic: &Topic) -> Result<(), DomainError> {
        self.check(party, Action::Publish, topic.as_str()).await
    }

    /// Whether `party` may subscribe to this topic or filter now: this is checked again before a stored message is
    /// delivered.
    pub async fn may_receive(&self, party: &Party, topic: &str) -> Result<bool, DomainError> {
        match self.check(party, Action::Subscribe, topic).await {
            Ok(()) => Ok(true),
            Err(DomainError::Forbidden) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a publication that waited in a session of the party is still delivered to it. Errors: as of the store.
    pub async fn may_still_receive(&self, party: &Party, publication: &Publication) -> Result<bool, DomainError> {
        let topic = &publication.topic;
        if !self.may_receive(party, topic.as_str()).await? {
            return Ok(false);
        }
        match publication.payload.message() {
            Some(message) if *topic == party.inbox() => self.is_announced(party, message).await,
            _ => match chat_of(topic.as_str()) {
                Some(chat) => Ok(!self.holds_back(party, &chat).await?),
                None => Ok(true),
            },
        }
    }

    /// Whether a publication on a chat is not delivered to this member of it: a toy that rests, or a party that has
    /// muted the other member.
    async fn holds_back(&self, party: &Party, chat: &ChatId) -> Result<bool, DomainError> {
        if self.rests(party) {
            return Ok(true);
        }
        match self.other_member(party, chat).await? {
            Some(other) => self.has_muted(party, &other).await,
            None => Ok(false),
        }
    }

    async fn has_muted(&self, party: &Party, friend: &PartyId) -> Result<bool, DomainError> {
        Ok(self.store.friend(party, friend).await?.is_some_and(|friend| friend.is_muted))
    }

    async fn other_member(&self, party: &Party, chat: &ChatId) -> Result<Option<PartyId>, DomainError> {
        let members = self.store.pair_of_chat(chat).await?;
        Ok(members.and_then(|members| members.into_iter().find(|member| member.as_str() != party.id())))
    }

    /// Whether a publication of a party is on a chat whose other member is treated as offline.
    async fn is_silent(&self, party: &Party, topic: &Topic) -> Result<bool, DomainError> {
        let Some(chat) = chat_of(topic.as_str()) else { return Ok(false) };
        let Some(other) = self.other_member(party, &chat).await? else { return Ok(false) };
        let Some((other, _)) = self.store.party(&other).await? else { return Ok(false) };
        let publisher = party.id().parse().map_err(DomainError::internal)?;
        Ok(self.rests(&other) || self.has_muted(&other, &publisher).await?)
    }

    /// Publishes for a client. A publication on a chat whose other member is a toy that rests, or has muted this one, is
    /// not delivered and not retained. The edge waits for [`Reached::held`] and [`Reached::commit`] before it
    /// acknowledges the message. Errors: `Forbidden`, `Full` (no room to retain it), `DiskFull` (no room to store it).
    pub async fn publish(&self, party: &Party, publication: Publication) -> Result<Reached, DomainError> {
        match self.publish_at_once(party, Arc::new(publication), None) {
            Ok(published) => published,
            Err(undecided) => self.publish_undecided(party, undecided).await,
        }
    }

    /// As [`Self::publish`], without waiting: a publication for which something has to be looked up is returned for
    /// [`Self::publish_undecided`]. The receipt of a message of QoS 2 is stored together with it, so that the message is
    /// never routed again, even after a crash.
    pub fn publish_at_once(
        &self,
        party: &Party,
        publication: Arc<Publication>,
        receipt: Option<Receipt>,
    ) -> Result<Result<Reached, DomainError>, Undecided> {
        let topic = publication.topic.as_str();
        match rule(party, Action::Publish, topic) {
            Rule::Allowed if self.cluster_of(party).is_none() && chat_of(topic).is_none() => {
                Ok(self.route_here(publication, receipt))
            }
            Rule::Forbidden | Rule::ToHub => Ok(Err(DomainError::Forbidden)),
            Rule::Allowed | Rule::IfOwnerOf(_) | Rule::IfFriendOf(_) | Rule::IfMemberOf(_) => {
                Err(Undecided { publication, receipt })
            }
        }
    }

    /// As [`Self::publish`].
    pub async fn publish_undecided(&self, party: &Party, undecided: Undecided) -> Result<Reached, DomainError> {
        let Undecided { publication, receipt } = undecided;
        self.check(party, Action::Publish, publication.topic.as_str()).await?;
        if self.is_silent(party, &publication.topic).await? {
            return Ok(self.router.drop_once(receipt));
        }
        let Some(cluster) = self.cluster_of(party) else { return self.route_here(publication, receipt) };
        self.check_room_to_store(&publication)?;
        routed(self.publish_to_hubs(cluster, publication, receipt).await?)
    }

    /// Routes a permitted publication to the clients of this hub.
    fn route_here(&self, publication: Arc<Publication>, receipt: Option<Receipt>) -> Result<Reached, DomainError> {
        self.check_room_to_store(&publication)?;
        routed(match receipt {
            Some(receipt) => self.router.publish_once(publication, receipt),
            None => self.router.publish(publication),
        })
    }

    /// A message that need not be stored is delivered all the same if the disk is full.
    fn check_room_to_store(&self, publication: &Publication) -> Result<(), DomainError> {
        let is_refused = !self.space.has_room(0) && self.router.would_store(publication);
        if is_refused { Err(DomainError::DiskFull) } else { Ok(()) }
    }

    /// Publishes for a client without MQTT's options. Returns when the slow subscribers have room for the message and
    /// it is stored in all sessions that need it. `publisher` is the connection of `party` that sent it.
    pub async fn publish_plainly(
        &self,
        party: &Party,
        publisher: ConnectionId,
        topic: Topic,
        payload: Bytes,
    ) -> Result<(), DomainError> {
        let (qos, retain, properties) = (QoS::AtLeastOnce, false, Bytes::new());
        let publisher = Some(publisher);
        let payload = payload.into();
        let publication = Publication { topic, payload, qos, retain, publisher, properties, expires_at: None };
        let reached = self.publish(party, publication).await?;
        if let Some(held) = reached.held {
            held.await;
        }
        self.stored(reached.commit).await
    }

    /// Publishes the hub's figures on `$SYS/…`, retained.
    pub fn publish_figure(&self, topic: Topic, payload: String) {
        let publication =
            Publication { retain: true, qos: QoS::AtMostOnce, ..hub_message(topic, Bytes::from(payload)) };
        self.router.publish(publication);
    }

    /// Publishes the answer to a request of `party` to its connections. Returns when it is stored for its sessions that
    /// are offline.
    pub async fn reply(&self, party: &Party, answer: Bytes) -> Result<(), DomainError> {
        self.stored(self.router.publish(hub_message(party.inbox(), answer)).commit).await
    }

    /// The unread messages of a party, oldest first, as many as fit in its queue. They stay unread.
    pub async fn unread_events(&self, party: &Party) -> Result<Vec<Event>, DomainError> {
        Ok(self.unread_events_up_to(party, self.replay_max()).await?.into_iter().map(|(event, _)| event).collect())
    }

    /// A page of the unread messages of a user that follow event `after` of its stream, in the order of the stream; 0
    /// is the beginning. They stay unread. With the number after which the next page begins; none after the last page.
    pub async fn unread_page(&self, party: &Party, after: u64) -> Result<(Vec<UnreadEvent>, Option<u64>), DomainError> {
        let limit = self.replay_max();
        let page = self.unread_events_after(party, after, limit).await?;
        let next = page.iter().filter_map(|(_, seq)| *seq).max().filter(|_| page.len() >= limit);
        Ok((page, next))
    }

    /// The counters of the router.
    pub fn figures(&self) -> Figures {
        self.router.figures()
    }

    /// Deletes expired retained messages.
    pub fn sweep(&self) {
        self.router.sweep();
    }

    /// Closes every live connection, because the hub stops, and cancels a running backup.
    pub fn close_connections(&self) {
        self.backups.cancel();
        self.router.close_all(CloseReason::ShuttingDown);
    }

    /// Publishes an event to the live connections and the sessions of `party`. A client without either gets it from the
    /// store when it reconnects.
    ///
    /// `seq` is the event's number in the user's stream, assigned by its transaction. That transaction and those of all
    /// smaller numbers were committed before this call, but two callers may publish in either order. A connection that
    /// last sent number m therefore sends number m + 1 directly, reads m + 1..n from [`Hub::missed`] when it gets n > m
    /// + 1, and drops numbers up to m.
    pub(super) async fn announce(&self, party: &Party, event: &Event, seq: Option<u64>) {
        self.notify_hubs(|| Notice::Event { party: party.clone(), event: Box::new(event.clone()), seq });
        if let Party::User(user) = party {
            self.note_news(user, event);
        }
        self.announce_here(party, event, seq).await;
    }

    /// As [`Self::announce`], without the other hubs.
    pub(super) async fn announce_here(&self, party: &Party, event: &Event, seq: Option<u64>) {
        if self.stored(self.publish_event(party, event, seq)).await.is_err() {
            // The event itself is in the database. The client of the session gets it when it subscribes again.
            tracing::error!("an event was not stored for an offline session");
        }
    }

    /// Publishes an event on this hub. Returns the commit for the sessions that are offline.
    pub(super) fn publish_event(&self, party: &Party, event: &Event, seq: Option<u64>) -> Option<Ticket> {
        if !self.is_unpublished(party, event, seq) {
            return None;
        }
        self.router.publish(self.publication(party.inbox(), event, seq)).commit
    }

    /// Returns when a publication is on disk for the offline sessions.
    pub(super) async fn stored(&self, commit: Option<Ticket>) -> Result<(), DomainError> {
        let Some(mut commit) = commit else { return Ok(()) };
        if commit.reached().await { Ok(()) } else { Err(self.storage_fault()) }
    }

    /// The reason why the sessions could not be written: `DiskFull` or `Internal`.
    pub fn storage_fault(&self) -> DomainError {
        match self.router.storage_state() {
            StorageState::Failed { is_full: true, .. } => DomainError::DiskFull,
            StorageState::Failed { reason, .. } => DomainError::internal(reason),
            StorageState::Writable => DomainError::internal("the session store failed"),
        }
    }

    pub(super) fn publication(&self, topic: Topic, event: &Event, seq: Option<u64>) -> Publication {
        hub_message(topic, Payload::event(event.clone(), seq, self.encode_event))
    }

    /// Half of the smaller queue, which leaves room for new messages.
    pub(super) fn replay_max(&self) -> usize {
        (self.config.mqtt.queue_messages_max.min(self.config.ws.queue_messages_max) / 2).max(1)
    }

    async fn check(&self, party: &Party, action: Action, topic: &str) -> Result<(), DomainError> {
        let rule = rule(party, action, topic);
        match rule {
            Rule::Allowed => return Ok(()),
            // Requests to the hub itself never go through the router.
            Rule::Forbidden | Rule::ToHub => return Err(DomainError::Forbidden),
            Rule::IfOwnerOf(_) | Rule::IfFriendOf(_) | Rule::IfMemberOf(_) => {}
        }
        let (revocations, begun) = (self.revocations.load(Ordering::SeqCst), self.clock.now());
        // A subscription stays: it is always checked in the database.
        let is_remembered = action == Action::Publish && self.store.is_on_server();
        if is_remembered && self.permitted.has(party, &rule, revocations, begun) {
            return Ok(());
        }
        #[cfg(test)]
        self.permission_gate.pass().await;
        if !self.is_permitted(party, &rule).await? {
            return Err(DomainError::Forbidden);
        }
        if is_remembered {
            self.permitted.note(party, rule, revocations, begun);
        }
        Ok(())
    }

    /// Whether the database permits it to a party.
    async fn is_permitted(&self, party: &Party, rule: &Rule) -> Result<bool, DomainError> {
        match rule {
            Rule::Allowed => Ok(true),
            Rule::Forbidden | Rule::ToHub => Ok(false),
            Rule::IfOwnerOf(toy) => match super::user_of(party) {
                Some(user) => self.is_guardian(user, toy).await,
                None => Ok(false),
            },
            Rule::IfFriendOf(friend) => Ok(self.store.friend(party, friend).await?.is_some()),
            Rule::IfMemberOf(chat) => Ok(self.store.is_member(party, chat).await?),
        }
    }
}

/// The held deliveries of a refused message are dropped, as it is not acknowledged.
fn routed(reached: Reached) -> Result<Reached, DomainError> {
    if reached.retain_refused { Err(DomainError::Full("retained message")) } else { Ok(reached) }
}

/// The chat whose topic this is.
fn chat_of(topic: &str) -> Option<ChatId> {
    topic.strip_prefix("chat/")?.parse().ok()
}

/// A subscription of a client without MQTT's options.
fn plain(filter: TopicFilter) -> Subscription {
    Subscription { filter, share: None, qos: QoS::AtLeastOnce, options: 0, id: 0 }
}

/// A message from the hub itself.
pub(super) fn hub_message(topic: Topic, payload: impl Into<Payload>) -> Publication {
    let (payload, qos, properties) = (payload.into(), QoS::AtLeastOnce, Bytes::new());
    Publication { topic, payload, qos, retain: false, publisher: None, properties, expires_at: None }
}
