//! Publications on their way to subscribers.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::{SessionId, Ticket};
use super::flow::Held;
use super::{ConnectionId, Payload};
use crate::model::{QoS, Timestamp, Topic};

/// A published message, shared by all its receivers.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Its topic.
    pub topic: Topic,
    /// Its payload.
    pub payload: Payload,
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Whether the topic keeps it for later subscribers (MQTT 3.1.1 §3.3.1.3).
    pub retain: bool,
    /// The connection that published it; none for a message of the hub itself.
    pub publisher: Option<ConnectionId>,
    /// The properties that MQTT 5 forwards to the subscribers, in its encoding without the length: payload format,
    /// content type, response topic, correlation data, user properties (v5 §3.3.2.3).
    pub properties: Bytes,
    /// When it expires, as a time for ages (v5 §3.3.2.3.3).
    pub expires_at: Option<Timestamp>,
}

/// A publication for one subscriber.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The publication.
    pub publication: Arc<Publication>,
    /// The lower of the publisher's quality of service and the granted one (MQTT 3.1.1 §3.8.4).
    pub qos: QoS,
    /// The flag to send: set only on a retained message that is sent because of a new subscription (§3.3.1.3).
    pub retain: bool,
    /// Its position in the queue of a persistent session.
    pub stored: Option<QueuePosition>,
}

/// The position of a delivery in the stored queue of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePosition {
    /// The sequence number within the session.
    pub seq: u64,
    /// Whether it was sent to a connection before.
    pub again: bool,
    /// Whether the client has received the message (PUBREC), so that only PUBREL is left to send.
    pub released: bool,
}

/// The receipt of a routed QoS 2 message of a session: its packet id, which is not used for another message until the
/// client releases it.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub(super) session: SessionId,
    pub(super) id: u16,
}

/// The result of a publish.
#[derive(Debug)]
pub struct Reached {
    /// The number of connections whose queue has the message, or for which it is held.
    pub subscribers: usize,
    /// Whether a limit prevented that it is retained. An older retained message is then deleted, too.
    pub retain_refused: bool,
    /// The commit to wait for before the publish is acknowledged; none if nothing is stored.
    pub commit: Option<Ticket>,
    /// The held deliveries to wait for before the publish is acknowledged, and before the publisher publishes anything
    /// else; none if no subscriber is behind. Publications of the hub itself never have any.
    pub held: Option<Held>,
}
