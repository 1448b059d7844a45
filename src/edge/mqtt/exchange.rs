//! The bookkeeping of one session, without sockets: packet ids on their way out, QoS 2 ids on their way in,
//! subscription options, and the packets that answer or deliver.

use bytes::BytesMut;
use rumqttd::protocol::{PubAckReason, PubCompReason, PubRecReason};

use super::codec::{Publish, RetainHandling, Subscription, Version};
use super::encode::{self, Outgoing};
use super::reason::{Fault, Kind};
use crate::domain::error::DomainError;
use crate::model::{QoS, TopicFilter};
use crate::ports::router::{ConnectionId, Delivery};

/// What both sides agreed on in CONNECT and CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub version: Version,
    /// The largest packet that the client takes (v5 §3.1.2.11.4).
    pub packet_max_bytes: usize,
    /// QoS 1 messages on their way to the client at once.
    pub window: u16,
    /// QoS 2 messages that the client may have unfinished.
    pub receive_max: u16,
}

/// The state of a session between packets.
#[derive(Debug)]
pub(super) struct Exchange {
    terms: Terms,
    /// Packet ids of QoS 1 messages that the client has not acknowledged.
    sent: Vec<u16>,
    last_id: u16,
    /// Packet ids of QoS 2 messages that were routed and not released (MQTT 3.1.1 §4.3.3).
    received: Vec<u16>,
    /// The v5 client's subscriptions; 3.1.1 has no options.
    options: Vec<Options>,
}

/// A v5 subscription's options (v5 §3.8.3.1), which the router knows nothing of.
#[derive(Debug)]
struct Options {
    filter: TopicFilter,
    granted: QoS,
    no_local: bool,
    retain_as_published: bool,
    wants_retained: bool,
}

/// What to do with an incoming PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// It is new: give it to the hub.
    Route,
    /// It is a QoS 2 message that the hub has: only acknowledge it.
    Repeat,
}

impl Exchange {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, sent: Vec::new(), last_id: 0, received: Vec::new(), options: Vec::new() }
    }

    pub(super) fn version(&self) -> Version {
        self.terms.version
    }

    /// Whether another delivery may be taken from the mailbox. With the window full none is, whatever its QoS:
    /// the order is kept, and the mailbox's limit decides what becomes of a client that does not acknowledge.
    pub(super) fn takes_deliveries(&self) -> bool {
        self.sent.len() < usize::from(self.terms.window)
    }

    /// Writes the PUBLISH of a delivery to connection `own`; false if the client is not to have it or cannot take it.
    pub(super) fn deliver(&mut self, delivery: &Delivery, own: ConnectionId, buffer: &mut BytesMut) -> bool {
        let Some(retain) = self.retain_flag(delivery, own) else { return false };
        let Terms { version, packet_max_bytes, .. } = self.terms;
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        let publication = &delivery.publication;
        let packet = Outgoing { topic: &publication.topic, payload: &publication.payload, retain };
        if !packet.fits(version, acknowledged, packet_max_bytes) {
            // v5 §3.1.2.11.4: it is dropped as if it had been sent.
            tracing::warn!(topic = %publication.topic, "message is larger than the mqtt client takes");
            return false;
        }
        let id = acknowledged.then(|| self.next_id());
        packet.write(version, id, buffer);
        true
    }

    fn next_id(&mut self) -> u16 {
        // The window is smaller than the number of ids, so that one is free.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.sent.contains(&self.last_id) {
                self.sent.push(self.last_id);
                return self.last_id;
            }
        }
    }

    /// The retain flag to send; none if no subscription asks for this delivery.
    fn retain_flag(&self, delivery: &Delivery, own: ConnectionId) -> Option<bool> {
        let topic = &delivery.publication.topic;
        let is_own = delivery.publication.publisher == Some(own);
        let mut matching = self.options.iter().filter(|options| options.filter.matches(topic)).peekable();
        if matching.peek().is_none() {
            return Some(delivery.retain);
        }
        let (mut wanted, mut as_published) = (false, false);
        for options in matching {
            wanted |= if delivery.retain { options.wants_retained } else { !(is_own && options.no_local) };
            as_published |= options.retain_as_published;
        }
        wanted.then_some(delivery.retain || (as_published && delivery.publication.retain))
    }

    /// PUBACK: room for another message. An unknown id is ignored; it may be an answer to an earlier connection.
    pub(super) fn acknowledged(&mut self, id: u16) {
        if let Some(at) = self.sent.iter().position(|sent| *sent == id) {
            self.sent.swap_remove(at);
        }
    }

    /// What to do with an incoming PUBLISH.
    pub(super) fn receive(&self, publish: &Publish) -> Result<Receive, Fault> {
        if publish.qos != QoS::ExactlyOnce {
            return Ok(Receive::Route);
        }
        if self.received.contains(&publish.id) {
            return Ok(Receive::Repeat);
        }
        if self.received.len() >= usize::from(self.terms.receive_max) {
            return Err(Fault::ReceiveMaximum);
        }
        Ok(Receive::Route)
    }

    /// Writes the answer to a PUBLISH that the hub took or refused.
    ///
    /// 3.1.1 can only acknowledge or close (§3.3.5.2): what is refused for good is acknowledged, or the client
    /// would send it for ever; what the hub may take later is not, and the connection ends.
    pub(super) fn answer(
        &mut self,
        qos: QoS,
        id: u16,
        published: Result<(), DomainError>,
        buffer: &mut BytesMut,
    ) -> Result<(), Fault> {
        let version = self.terms.version;
        let refused = match published {
            Ok(()) => None,
            Err(error) => {
                tracing::debug!(%error, "mqtt publish refused");
                Some(Kind::of(&error))
            }
        };
        if qos == QoS::AtMostOnce {
            return Ok(());
        }
        if version == Version::V4 && refused.is_some_and(Kind::may_pass) {
            return Err(Fault::Unavailable);
        }
        match (qos, refused) {
            (QoS::AtMostOnce | QoS::AtLeastOnce, _) => {
                encode::puback(version, id, refused.map_or(PubAckReason::Success, Kind::puback), buffer);
            }
            (QoS::ExactlyOnce, Some(kind)) if version == Version::V5 => {
                encode::pubrec(version, id, kind.pubrec(), buffer);
            }
            (QoS::ExactlyOnce, _) => {
                if !self.received.contains(&id) {
                    self.received.push(id);
                }
                encode::pubrec(version, id, PubRecReason::Success, buffer);
            }
        }
        Ok(())
    }

    /// PUBREL: the QoS 2 message with this id is complete.
    pub(super) fn released(&mut self, id: u16, buffer: &mut BytesMut) {
        let reason = match self.received.iter().position(|received| *received == id) {
            Some(at) => {
                self.received.swap_remove(at);
                PubCompReason::Success
            }
            None => PubCompReason::PacketIdentifierNotFound,
        };
        encode::pubcomp(self.terms.version, id, reason, buffer);
    }

    /// Whether a SUBSCRIBE asks for what is there already: the same filter at the same quality, with retained
    /// messages only if it is new (v5 §3.8.3.1). The hub then need not be asked.
    pub(super) fn has_subscription(&self, filter: &TopicFilter, qos: QoS, handling: RetainHandling) -> bool {
        let is_same = |options: &Options| options.filter == *filter && options.granted == qos;
        handling == RetainHandling::IfNew && self.options.iter().any(is_same)
    }

    /// Remembers the options of a subscription. 3.1.1 has none.
    pub(super) fn subscribed(&mut self, filter: TopicFilter, granted: QoS, wanted: &Subscription) {
        if self.terms.version == Version::V4 {
            return;
        }
        let known = self.options.iter_mut().find(|options| options.filter == filter);
        let wants_retained = match (wanted.retain_handling, &known) {
            (RetainHandling::Always, _) | (RetainHandling::IfNew, None) => true,
            // The retained messages of the first SUBSCRIBE may still be on their way.
            (RetainHandling::IfNew, Some(known)) => known.wants_retained && known.granted == granted,
            (RetainHandling::Never, _) => false,
        };
        let options = Options {
            filter,
            granted,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            wants_retained,
        };
        match known {
            Some(known) => *known = options,
            None => self.options.push(options),
        }
    }

    /// Forgets the options of a subscription.
    pub(super) fn unsubscribed(&mut self, filter: &TopicFilter) {
        self.options.retain(|options| options.filter != *filter);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::model::{Party, ToyId};
    use crate::ports::router::{Publication, Router, RouterLimits};

    fn exchange(version: Version, window: u16) -> Exchange {
        Exchange::new(Terms { version, packet_max_bytes: 100, window, receive_max: 2 })
    }

    fn ids() -> (ConnectionId, ConnectionId) {
        let router =
            Router::new(RouterLimits { subscriptions_max: 1, retained_messages_max: 1, retained_max_bytes: 1 });
        let id = || router.connect(Party::Toy(ToyId::random()), 1).connection_id();
        (id(), id())
    }

    fn delivery(topic: &str, qos: QoS, size: usize, retain: bool) -> Delivery {
        let (topic, payload) = (topic.parse().unwrap(), Bytes::from(vec![b'x'; size]));
        let publication = Publication { topic, payload, qos, retain: true, publisher: None };
        Delivery { publication: Arc::new(publication), qos, retain }
    }

    fn publish(qos: QoS, id: u16) -> Publish {
        Publish { topic: "a".parse().unwrap(), payload: Bytes::new(), qos, id, retain: false }
    }

    #[test]
    fn the_window_fills_and_empties() {
        let mut exchange = exchange(Version::V4, 2);
        let (own, _) = ids();
        let mut buffer = BytesMut::new();
        for expected in [1, 2] {
            assert!(exchange.takes_deliveries());
            buffer.clear();
            assert!(exchange.deliver(&delivery("a", QoS::AtLeastOnce, 1, false), own, &mut buffer));
            assert_eq!(&buffer[..], [0x32, 6, 0, 1, b'a', 0, expected, b'x']);
        }
        assert!(!exchange.takes_deliveries());
        exchange.acknowledged(9);
        assert!(!exchange.takes_deliveries());
        exchange.acknowledged(1);
        assert!(exchange.takes_deliveries());
        buffer.clear();
        exchange.deliver(&delivery("a", QoS::AtMostOnce, 1, true), own, &mut buffer);
        assert_eq!(&buffer[..], [0x31, 4, 0, 1, b'a', b'x'], "a retained message has its flag");
        assert!(exchange.takes_deliveries(), "QoS 0 takes no room");
    }

    #[test]
    fn a_packet_id_is_never_zero_nor_in_use() {
        let mut exchange = exchange(Version::V4, 10);
        exchange.sent = vec![65_535, 1];
        exchange.last_id = 65_534;
        assert_eq!(exchange.next_id(), 2);
    }

    #[test]
    fn a_message_larger_than_the_client_takes_is_skipped_and_costs_no_id() {
        let mut exchange = exchange(Version::V5, 1);
        let mut buffer = BytesMut::new();
        assert!(!exchange.deliver(&delivery("a", QoS::AtLeastOnce, 100, false), ids().0, &mut buffer));
        assert!(buffer.is_empty());
        assert!(exchange.takes_deliveries());
        assert!(exchange.deliver(&delivery("a", QoS::AtLeastOnce, 92, false), ids().0, &mut buffer));
        assert_eq!(buffer.len(), 100);
    }

    #[test]
    fn a_message_of_quality_two_is_routed_once() {
        for version in [Version::V4, Version::V5] {
            let mut exchange = exchange(version, 1);
            let mut buffer = BytesMut::new();
            let message = publish(QoS::ExactlyOnce, 7);
            assert_eq!(exchange.receive(&message), Ok(Receive::Route));
            exchange.answer(QoS::ExactlyOnce, 7, Ok(()), &mut buffer).unwrap();
            assert_eq!(&buffer[..], [0x50, 2, 0, 7]);
            assert_eq!(exchange.receive(&message), Ok(Receive::Repeat));
            assert_eq!(exchange.receive(&publish(QoS::AtLeastOnce, 7)), Ok(Receive::Route));
            exchange.answer(QoS::ExactlyOnce, 8, Ok(()), &mut buffer).unwrap();
            assert_eq!(exchange.receive(&publish(QoS::ExactlyOnce, 9)), Err(Fault::ReceiveMaximum));
            buffer.clear();
            exchange.released(7, &mut buffer);
            assert_eq!(&buffer[..], [0x70, 2, 0, 7]);
            assert_eq!(exchange.receive(&message), Ok(Receive::Route));
            buffer.clear();
            exchange.released(7, &mut buffer);
            let unknown: &[u8] = if version == Version::V4 { &[0x70, 2, 0, 7] } else { &[0x70, 4, 0, 7, 0x92, 0] };
            assert_eq!(&buffer[..], unknown);
        }
    }

    #[test]
    fn only_what_the_hub_took_is_acknowledged_without_a_reason() {
        let answer = |version, qos, error| {
            let mut exchange = exchange(version, 1);
            let mut buffer = BytesMut::new();
            exchange.answer(qos, 7, Err(error), &mut buffer).map(|()| buffer.to_vec())
        };
        use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
        use Version::{V4, V5};
        let broken = || DomainError::internal("broken");
        assert_eq!(answer(V5, AtLeastOnce, DomainError::Forbidden), Ok(vec![0x40, 4, 0, 7, 0x87, 0]));
        assert_eq!(answer(V5, AtLeastOnce, broken()), Ok(vec![0x40, 4, 0, 7, 0x80, 0]));
        assert_eq!(answer(V5, ExactlyOnce, DomainError::Busy), Ok(vec![0x50, 4, 0, 7, 0x97, 0]));
        assert_eq!(answer(V5, AtMostOnce, broken()), Ok(vec![]));
        assert_eq!(answer(V4, AtLeastOnce, DomainError::Forbidden), Ok(vec![0x40, 2, 0, 7]));
        assert_eq!(answer(V4, ExactlyOnce, DomainError::Forbidden), Ok(vec![0x50, 2, 0, 7]));
        assert_eq!(answer(V4, AtLeastOnce, broken()), Err(Fault::Unavailable));
        assert_eq!(answer(V4, ExactlyOnce, DomainError::Full("x")), Err(Fault::Unavailable));
        assert_eq!(answer(V4, AtMostOnce, broken()), Ok(vec![]));
    }

    #[test]
    fn the_options_of_version_five_are_kept() {
        let mut exchange = exchange(Version::V5, 1);
        let (own, other) = ids();
        let filter = |text: &str| text.parse::<TopicFilter>().unwrap();
        let wanted = |no_local, retain_as_published, retain_handling| Subscription {
            filter: super::super::codec::Wanted::Malformed,
            qos: QoS::AtMostOnce,
            no_local,
            retain_as_published,
            retain_handling,
        };
        let from = |publisher| {
            let mut delivery = delivery("a/b", QoS::AtMostOnce, 1, false);
            Arc::get_mut(&mut delivery.publication).unwrap().publisher = publisher;
            delivery
        };
        let retained = delivery("a/b", QoS::AtMostOnce, 1, true);
        assert_eq!(exchange.retain_flag(&from(Some(own)), own), Some(false));

        exchange.subscribed(filter("a/b"), QoS::AtMostOnce, &wanted(true, false, RetainHandling::Never));
        assert_eq!(exchange.retain_flag(&from(Some(own)), own), None);
        assert_eq!(exchange.retain_flag(&from(Some(other)), own), Some(false));
        assert_eq!(exchange.retain_flag(&from(None), own), Some(false));
        assert_eq!(exchange.retain_flag(&retained, own), None);

        exchange.subscribed(filter("a/+"), QoS::AtMostOnce, &wanted(false, true, RetainHandling::IfNew));
        assert_eq!(exchange.retain_flag(&from(Some(own)), own), Some(true), "the other filter wants it");
        assert_eq!(exchange.retain_flag(&retained, own), Some(true));
        assert!(exchange.has_subscription(&filter("a/+"), QoS::AtMostOnce, RetainHandling::IfNew));
        assert!(!exchange.has_subscription(&filter("a/+"), QoS::AtLeastOnce, RetainHandling::IfNew));
        assert!(!exchange.has_subscription(&filter("a/+"), QoS::AtMostOnce, RetainHandling::Always));
        exchange.subscribed(filter("a/+"), QoS::AtLeastOnce, &wanted(false, true, RetainHandling::IfNew));
        assert_eq!(exchange.retain_flag(&retained, own), None);

        exchange.unsubscribed(&filter("a/+"));
        assert_eq!(exchange.retain_flag(&from(Some(own)), own), None);
    }
}
