//! Live connections: who may open one, what it may hear and send, what it is told on return.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::Hub;
use super::error::DomainError;
use super::permissions::{Action, Rule, rule};
use crate::model::{Event, Party, QoS, Topic, TopicFilter};
use crate::ports::router::{CloseReason, Mailbox, Publication};

/// The highest quality of service that a subscription is granted.
const QOS_MAX: QoS = QoS::AtLeastOnce;

impl Hub {
    /// Whether an address may connect once more. Errors: `RateLimited`.
    pub fn may_connect(&self, peer: IpAddr) -> Result<(), DomainError> {
        self.rates.connects.spend(&peer)
    }

    /// A new live connection of `party`; dropping the mailbox ends it. Errors: `Full`.
    pub fn connect(&self, party: Party, queue_messages_max: usize) -> Result<Mailbox, DomainError> {
        if self.router.connections(&party) >= self.config.ws.connections_per_user_max {
            return Err(DomainError::Full("connection of this user or toy"));
        }
        Ok(self.router.connect(party, queue_messages_max))
    }

    /// Has `mailbox` hear `filter`; gives the granted quality of service.
    ///
    /// Whoever subscribes to its own inbox is told of its unheard messages. Errors: `Forbidden`, `Full`.
    pub async fn subscribe(&self, mailbox: &Mailbox, filter: TopicFilter, qos: QoS) -> Result<QoS, DomainError> {
        let party = mailbox.party();
        self.check(party, Action::Subscribe, filter.as_str()).await?;
        let granted = qos.min(QOS_MAX);
        let inbox = party.inbox();
        let is_inbox = filter.as_str() == inbox.as_str();
        // First the subscription, then what waits: a message in between comes twice rather than never.
        mailbox.subscribe(filter, granted).map_err(|_| DomainError::Full("subscription"))?;
        if is_inbox {
            for event in self.unheard_events(party, self.replay_max()).await? {
                mailbox.push(Arc::new(self.publication(inbox.clone(), &event)));
            }
        }
        Ok(granted)
    }

    /// Publishes for a live connection. Errors: `Forbidden`, `Full` (no room to retain it).
    pub async fn publish(
        &self,
        mailbox: &Mailbox,
        topic: Topic,
        payload: Bytes,
        qos: QoS,
        retain: bool,
    ) -> Result<(), DomainError> {
        self.check(mailbox.party(), Action::Publish, topic.as_str()).await?;
        let publisher = Some(mailbox.connection_id());
        let reached = self.router.publish(Publication { topic, payload, qos, retain, publisher });
        if reached.retain_refused { Err(DomainError::Full("retained message")) } else { Ok(()) }
    }

    /// Ends every live connection, with the reason that the hub stops.
    pub fn close_connections(&self) {
        self.router.close_all(CloseReason::ShuttingDown);
    }

    /// Tells every live connection of `party`. Who is away is told on return, from the store.
    pub(super) fn announce(&self, party: &Party, event: &Event) {
        self.router.publish(self.publication(party.inbox(), event));
    }

    fn publication(&self, topic: Topic, event: &Event) -> Publication {
        let payload = Bytes::from((self.encode_event)(event));
        Publication { topic, payload, qos: QoS::AtLeastOnce, retain: false, publisher: None }
    }

    /// Half of the smaller queue: what is new meanwhile finds room.
    fn replay_max(&self) -> usize {
        (self.config.mqtt.queue_messages_max.min(self.config.ws.queue_messages_max) / 2).max(1)
    }

    async fn check(&self, party: &Party, action: Action, topic: &str) -> Result<(), DomainError> {
        let allowed = match rule(party, action, topic) {
            Rule::Allowed => true,
            Rule::Forbidden => false,
            Rule::IfOwnerOf(toy) => {
                let toy = self.store.toy(&toy).await?;
                toy.is_some_and(|toy| super::user_of(party) == Some(&toy.bind_user))
            }
            Rule::IfFriendOf(friend) => self.store.friend(party, &friend).await?.is_some(),
            Rule::IfMemberOf(chat) => self.store.is_member(party, &chat).await?,
        };
        if allowed { Ok(()) } else { Err(DomainError::Forbidden) }
    }
}
