//! Live connections: who may open one, subscribe and publish, and what a returning client is sent.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::Hub;
use super::error::DomainError;
use super::login::Admitted;
use super::permissions::{Action, Rule, rule};
use crate::model::{Event, Party, QoS, Topic, TopicFilter};
use crate::ports::router::{CloseReason, ConnectionId, Mailbox, Payload, SessionHandle, StorageState, StoredSession};

pub use crate::ports::router::{
    Figures, Held, Publication, QueueLimits, Reached, Receipt, ReplayRetained, Subscription, Ticket,
};

impl Hub {
    /// Whether an address may connect once more. Errors: `RateLimited`.
    pub fn may_connect(&self, peer: IpAddr) -> Result<(), DomainError> {
        self.rates.connects.spend(&peer.into())
    }

    /// A new live connection of a client; dropping the mailbox ends it. Errors: `Full`, `Unauthorized`.
    pub async fn connect(&self, admitted: &Admitted, limits: QueueLimits) -> Result<Mailbox, DomainError> {
        self.check_connections(&admitted.party)?;
        self.attach_admitted(admitted, || self.router.connect(admitted.party.clone(), limits)).await
    }

    /// A new session that outlives its connection by `expiry_s` seconds, and a connection to it. It is on disk when
    /// this returns. Errors: `Full`, `Unauthorized`, `Internal` where it cannot be stored.
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

    /// A connection of a client to a session of its own that there is. Errors: `Full`, `Unauthorized`.
    pub async fn attach(&self, session: &SessionHandle, admitted: &Admitted) -> Result<Mailbox, DomainError> {
        self.check_connections(session.party())?;
        self.attach_admitted(admitted, || session.attach()).await
    }

    /// The sessions of an earlier process, given once; each takes messages again.
    pub fn restore_sessions(&self) -> Vec<(StoredSession, SessionHandle)> {
        let stored = std::mem::take(&mut *self.stored_sessions.lock().unwrap_or_else(PoisonError::into_inner));
        let restored = stored.into_iter().map(|stored| {
            let handle = self.router.restore_session(&stored, self.session_limits());
            (stored, handle)
        });
        restored.collect()
    }

    /// What waits in memory for a session that outlives its connection.
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

    /// Subscribes `mailbox`; true if there was no such subscription.
    ///
    /// Whoever subscribes to its own inbox is sent its unread messages from the store, unless this connection had them
    /// when it took its session up ([`Self::resume`]). Errors: `Forbidden`, `Full`.
    pub async fn subscribe(
        &self,
        mailbox: &Mailbox,
        subscription: &Subscription,
        retained: ReplayRetained,
    ) -> Result<bool, DomainError> {
        let party = mailbox.party();
        let revocations = self.revocations.load(Ordering::SeqCst);
        self.check(party, Action::Subscribe, subscription.filter.as_str()).await?;
        // First the subscription, then what waits: a message in between comes twice rather than never.
        let is_new = mailbox.subscribe(subscription, retained).map_err(|_| DomainError::Full("subscription"))?;
        if self.revocations.load(Ordering::SeqCst) != revocations {
            // The right to the topic may have gone between the check and the subscription.
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

    /// Goes on with a session that subscribes already: what is unread is sent from the store. A message that was stored
    /// but never announced, because the hub ended in between, is in no session; a client that does not subscribe again
    /// gets it by this.
    pub async fn resume(&self, mailbox: &Mailbox) -> Result<(), DomainError> {
        let Some(granted) = mailbox.granted(&mailbox.party().inbox()) else { return Ok(()) };
        self.replay(mailbox, granted).await?;
        mailbox.set_replayed();
        Ok(())
    }

    /// Sends what is unread to this connection. It is not copied into a session: it stays in the store until it is
    /// read, and copies of it would take the room of what is nowhere else.
    async fn replay(&self, mailbox: &Mailbox, granted: QoS) -> Result<(), DomainError> {
        let party = mailbox.party();
        let unread = self.unheard_events(party, self.replay_max()).await?;
        // With the number under which it was published: the session may have kept it, and is sent one of the two.
        let publication = |(event, seq): &(Event, Option<u64>)| Arc::new(self.publication(party.inbox(), event, *seq));
        mailbox.replay(unread.iter().map(publication).collect(), granted);
        Ok(())
    }

    /// Subscribes `mailbox` to `filter` at QoS 1, for clients without MQTT's options. Errors: `Forbidden`, `Full`.
    pub async fn listen(&self, mailbox: &Mailbox, filter: TopicFilter) -> Result<(), DomainError> {
        self.subscribe(mailbox, &plain(filter), ReplayRetained::Always).await.map(drop)
    }

    /// Subscribes `mailbox` to its own inbox, without its unread messages: for clients that fetch what they missed by
    /// [`Hub::missed`] or [`Hub::unread`] afterwards, in this order, so that nothing falls in between. Errors: `Full`.
    pub fn follow(&self, mailbox: &Mailbox) -> Result<(), DomainError> {
        let own = plain(TopicFilter::from(&mailbox.party().inbox()));
        let subscribed = mailbox.subscribe(&own, ReplayRetained::Never);
        subscribed.map(drop).map_err(|_| DomainError::Full("subscription"))
    }

    /// Whether `party` may subscribe to this topic or filter now: checked again before a stored message is delivered.
    pub async fn may_hear(&self, party: &Party, topic: &str) -> Result<bool, DomainError> {
        match self.check(party, Action::Subscribe, topic).await {
            Ok(()) => Ok(true),
            Err(DomainError::Forbidden) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Publishes for a client. The edge waits for [`Reached::held`] and [`Reached::commit`] before it acknowledges the
    /// message. Errors: `Forbidden`, `Full` (no room to retain it),
    /// `DiskFull` (no room to store it).
    pub async fn publish(&self, party: &Party, publication: Publication) -> Result<Reached, DomainError> {
        self.publish_with(party, publication, None).await
    }

    /// As [`Self::publish`]; with a receipt, a message of QoS 2 that is stored together with it and so never routed
    /// again, even after a crash.
    pub async fn publish_with(
        &self,
        party: &Party,
        publication: Publication,
        receipt: Option<Receipt>,
    ) -> Result<Reached, DomainError> {
        self.check(party, Action::Publish, publication.topic.as_str()).await?;
        // What only passes through is delivered all the same.
        if !self.space.has_room(0) && self.router.would_store(&publication) {
            return Err(DomainError::DiskFull);
        }
        let reached = match receipt {
            Some(receipt) => self.router.publish_once(publication, receipt),
            None => self.router.publish(publication),
        };
        // With a refused message its held deliveries are given up: it is not acknowledged.
        if reached.retain_refused { Err(DomainError::Full("retained message")) } else { Ok(reached) }
    }

    /// Publishes for a client without MQTT's options, and returns when it has reached the subscribers that are behind and
    /// is stored wherever it has to be. `publisher` is the connection of `party` that it comes from.
    pub async fn say(
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

    /// Publishes the hub's own figures on `$SYS/…`, retained.
    pub fn tell_system(&self, topic: Topic, payload: String) {
        let publication =
            Publication { retain: true, qos: QoS::AtMostOnce, ..hub_message(topic, Bytes::from(payload)) };
        self.router.publish(publication);
    }

    /// Tells the connections of `party` the answer to something that one of them asked. Returns when it is stored
    /// for those of its sessions that are away.
    pub async fn reply(&self, party: &Party, answer: Bytes) -> Result<(), DomainError> {
        self.stored(self.router.publish(hub_message(party.inbox(), answer)).commit).await
    }

    /// The unheard messages of a party, oldest first, as far as its queue would hold them; they stay unheard.
    pub async fn unheard(&self, party: &Party) -> Result<Vec<Event>, DomainError> {
        Ok(self.unheard_events(party, self.replay_max()).await?.into_iter().map(|(event, _)| event).collect())
    }

    /// What the router has done and holds.
    pub fn figures(&self) -> Figures {
        self.router.figures()
    }

    /// Forgets retained messages that have expired.
    pub fn sweep(&self) {
        self.router.sweep();
    }

    /// Ends every live connection, with the reason that the hub stops, and a backup that runs.
    pub fn close_connections(&self) {
        self.backups.cancel();
        self.router.close_all(CloseReason::ShuttingDown);
    }

    /// Publishes an event to the live connections and the sessions of `party`. A client without any of both gets it on
    /// return, from the store.
    ///
    /// `seq` is the event's number in the user's stream, which the transaction behind it gave. It was committed before
    /// this is called, and so were all smaller numbers; but two callers may publish in either order. A connection that
    /// last sent number m therefore takes number m + 1 as it comes, reads m + 1..n from [`Hub::missed`] when it gets
    /// n > m + 1, and drops what is not above m.
    pub(super) async fn announce(&self, party: &Party, event: &Event, seq: Option<u64>) {
        let reached = self.router.publish(self.publication(party.inbox(), event, seq));
        if self.stored(reached.commit).await.is_err() {
            // The event itself is in the database; a session that was away learns of it when it subscribes again.
            tracing::error!("an event was not stored for a session that is away");
        }
    }

    /// Returns when what was published is on disk for the sessions that are away.
    async fn stored(&self, commit: Option<Ticket>) -> Result<(), DomainError> {
        let Some(mut commit) = commit else { return Ok(()) };
        if commit.reached().await { Ok(()) } else { Err(self.storage_fault()) }
    }

    /// Why the sessions were not written: `DiskFull`, or `Internal`.
    pub fn storage_fault(&self) -> DomainError {
        match self.router.storage_state() {
            StorageState::Failed { is_full: true, .. } => DomainError::DiskFull,
            StorageState::Failed { reason, .. } => DomainError::internal(reason),
            StorageState::Writable => DomainError::internal("the session store failed"),
        }
    }

    fn publication(&self, topic: Topic, event: &Event, seq: Option<u64>) -> Publication {
        hub_message(topic, Payload::event(event.clone(), seq, Arc::clone(&self.encode_event)))
    }

    /// Half of the smaller queue: what is new meanwhile finds room.
    fn replay_max(&self) -> usize {
        (self.config.mqtt.queue_messages_max.min(self.config.ws.queue_messages_max) / 2).max(1)
    }

    async fn check(&self, party: &Party, action: Action, topic: &str) -> Result<(), DomainError> {
        let allowed = match rule(party, action, topic) {
            Rule::Allowed => true,
            // Requests to the hub itself never go through the router.
            Rule::Forbidden | Rule::ToHub => false,
            Rule::IfOwnerOf(toy) => match super::user_of(party) {
                Some(user) => self.is_guardian(user, &toy).await?,
                None => false,
            },
            Rule::IfFriendOf(friend) => self.store.friend(party, &friend).await?.is_some(),
            Rule::IfMemberOf(chat) => self.store.is_member(party, &chat).await?,
        };
        if allowed { Ok(()) } else { Err(DomainError::Forbidden) }
    }
}

/// A subscription of a client without MQTT's options.
fn plain(filter: TopicFilter) -> Subscription {
    Subscription { filter, share: None, qos: QoS::AtLeastOnce, options: 0, id: 0 }
}

/// A message of the hub's own.
pub(super) fn hub_message(topic: Topic, payload: impl Into<Payload>) -> Publication {
    let (payload, qos, properties) = (payload.into(), QoS::AtLeastOnce, Bytes::new());
    Publication { topic, payload, qos, retain: false, publisher: None, properties, expires_at: None }
}
