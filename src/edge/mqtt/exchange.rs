//! The bookkeeping of one session, without sockets: packet ids on their way out, QoS 2 ids on their way in,
//! subscription options, topic aliases, and the packets that answer or deliver.
//!
//! A stored message has the same packet id on every connection, made from its place in the queue: so that a client
//! knows a repeat of QoS 2 even after the hub was killed, without an id ever being written to disk.
//!
//! A worked example, with a window of 2. Messages 7 (QoS 1) and 8 (QoS 2) of a stored queue are sent to the client:
//!
//! ```text
//! deliver(7)       PUBLISH id 7     sent: 7 awaits PUBACK
//! deliver(8)       PUBLISH id 8     sent: 7 awaits PUBACK, 8 awaits PUBREC; the window is full
//! acknowledged(7)                   sent: 8 awaits PUBREC; the next delivery may be taken
//! recorded(8)      PUBREL id 8      sent: 8 awaits PUBCOMP; the session sends PUBREL after the commit
//! completed(8)                      sent: nothing
//! ```
//!
//! The client publishes a message of QoS 2 with id 5, and repeats it, as the PUBREC was lost:
//!
//! ```text
//! receive(5)       Route            the hub routes the message
//! answer(5)        PUBREC id 5      received: 5
//! receive(5)       Repeat           it is not routed again
//! repeat(5)        PUBREC id 5
//! released(5)      PUBCOMP id 5     received: nothing; id 5 may be used for another message
//! ```

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;
use rumqttd::protocol::{PubAckReason, PubCompReason, PubRecReason};

use super::codec::{Publish, Subscription};
use super::encode::{self, Outgoing, V5Publish};
use super::reason::{Fault, Kind};
use super::version::Version;
use crate::domain::error::DomainError;
use crate::model::{QoS, Timestamp, Topic, TopicFilter};
use crate::ports::router::{ConnectionId, Delivery, PACKET_IDS};

/// The values that CONNECT and CONNACK negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub version: Version,
    /// The largest packet that the client takes (v5 §3.1.2.11.4).
    pub packet_max_bytes: usize,
    /// Messages of QoS 1 and 2 on their way to the client at once.
    pub window: u16,
    /// QoS 2 messages that the client may have unfinished.
    pub receive_max: u16,
    /// Whether the client is another broker, which gets none of its own messages back.
    pub is_bridge: bool,
    /// The highest topic alias that the client may use.
    pub aliases_in_max: u16,
    /// The highest topic alias that the client knows (v5 §3.1.2.11.5).
    pub aliases_out_max: u16,
    /// Whether the client requests reason strings (v5 §3.1.2.11.7).
    pub problem_information: bool,
    /// The last number that the session's stored queue has given; none without such a queue.
    pub last_seq: Option<u64>,
}

/// The state of a session between two connections, in addition to that of the router.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    /// Packet ids of QoS 2 messages that were routed and not released (MQTT 3.1.1 §4.3.3).
    pub received: BTreeSet<u16>,
    /// Packet ids of QoS 2 messages that another hub has sent, and that are released to the client until it completes them.
    pub released: BTreeSet<u16>,
    /// The subscriptions that have options or an identifier.
    pub options: Vec<Options>,
}

/// The state of a session between packets.
#[derive(Debug)]
pub(super) struct Exchange {
    terms: Terms,
    /// Messages of QoS 1 and 2 that the client has not acknowledged for good, in the order in which they were sent: most
    /// clients acknowledge them in that order.
    sent: VecDeque<Sent>,
    last_id: u16,
    /// So many of the ids that follow `last_id` are not in `sent`.
    free_ids: u16,
    /// The highest number of a stored message that was seen.
    last_seq: u64,
    memory: Memory,
    /// Boxed: few clients have any.
    aliases: Option<Box<Aliases>>,
}

/// The topic aliases of a connection.
#[derive(Debug, Default)]
struct Aliases {
    /// The client's.
    known: Vec<Option<Topic>>,
    /// The hub's.
    given: Vec<Topic>,
}

/// A subscription's options (v5 §3.8.3.1) and identifier, which the router only keeps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    pub filter: TopicFilter,
    pub share: Option<Box<str>>,
    pub no_local: bool,
    pub retain_as_published: bool,
    /// 0 for none.
    pub identifier: u32,
}

impl Options {
    /// As one byte, for the session's file.
    pub(super) fn bits(wanted: &Subscription, is_bridge: bool) -> u8 {
        u8::from(wanted.no_local || is_bridge) | u8::from(wanted.retain_as_published || is_bridge) << 1
    }

    /// The options of a byte of [`Self::bits`].
    pub(super) fn new(filter: TopicFilter, share: Option<Box<str>>, bits: u8, identifier: u32) -> Self {
        Self { filter, share, no_local: bits & 1 != 0, retain_as_published: bits & 2 != 0, identifier }
    }
}

/// A message on its way to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    id: u16,
    /// Its place in the stored queue.
    seq: Option<u64>,
    awaits: Awaits,
}

/// The next packet that is expected from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// PUBACK, at QoS 1.
    Acknowledgement,
    /// PUBREC, the first of QoS 2.
    Receipt,
    /// PUBCOMP, the second of QoS 2.
    Completion,
}

/// The client has another message under the packet id of a stored one, and has not acknowledged or completed it: that one was
/// sent 65,535 numbers ago, or by another hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketIdTaken;

/// The effect of a client's acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// A message; its place in the stored queue can be given up.
    Message { seq: Option<u64> },
    /// No message that is on its way; maybe an answer to an earlier connection.
    Unknown,
}

/// The action for an incoming PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// It is new: give it to the hub.
    Route,
    /// It is a QoS 2 message that the hub has: only acknowledge it.
    Repeat,
}

impl Exchange {
    pub(super) fn new(terms: Terms, memory: Memory) -> Self {
        let last_seq = terms.last_seq.unwrap_or_default();
        Self { terms, sent: VecDeque::new(), last_id: 0, free_ids: 0, last_seq, memory, aliases: None }
    }

    #[inline]
    pub(super) fn version(&self) -> Version {
        self.terms.version
    }

    /// What is kept for the next connection. A message of QoS 2 that is in no stored queue is not repeated under its packet
    /// id: that is released, or the client could take another message under it for a repeat.
    pub(super) fn into_memory(mut self) -> Memory {
        let unstored = |sent: &&Sent| sent.seq.is_none() && sent.awaits != Awaits::Acknowledgement;
        self.memory.released.extend(self.sent.iter().filter(unstored).map(|sent| sent.id));
        self.memory
    }

    /// Whether another delivery may be taken from the mailbox. With a full window none is taken, of any QoS: this keeps
    /// the order, and the mailbox's limit applies to a client that does not acknowledge.
    #[inline]
    pub(super) fn takes_deliveries(&self) -> bool {
        self.sent.len() < usize::from(self.terms.window)
    }

    /// How many deliveries of QoS 1 and 2 the client takes now.
    pub(super) fn room(&self) -> usize {
        usize::from(self.terms.window).saturating_sub(self.sent.len())
    }

    /// Writes the PUBLISH of a delivery to connection `own`, or the PUBREL of one that the client has; false if the
    /// client is not to have it, cannot take it or would get it too late.
    pub(super) fn deliver(
        &mut self,
        delivery: &Delivery,
        own: ConnectionId,
        now: impl FnOnce() -> Timestamp,
        buffer: &mut BytesMut,
    ) -> Result<bool, PacketIdTaken> {
        let stored_id = delivery.stored.map(|place| stored_id(place.seq));
        if stored_id.is_some_and(|id| self.is_taken(id)) {
            return Err(PacketIdTaken);
        }
        let seq = delivery.stored.map(|place| place.seq);
        self.last_seq = self.last_seq.max(seq.unwrap_or_default());
        if let (Some(place), Some(id)) = (delivery.stored, stored_id)
            && place.released
        {
            self.note_sent(Sent { id, seq, awaits: Awaits::Completion });
            encode::pubrel(id, buffer);
            return Ok(true);
        }
        let publication = &delivery.publication;
        let Some((retain, identifiers)) = self.flags(delivery, own) else { return Ok(false) };
        let expires_in_s = match publication.expires_at.map(|at| at - now()) {
            Some(left) if left <= 0.0 => return Ok(false),
            // The cast rounds down and ends at the largest number.
            left => left.map(|left| left.ceil() as u32),
        };
        let (alias, alias_is_known) = self.alias_for(&publication.topic);
        let v5 = V5Publish {
            passed_on: &publication.properties,
            expires_in_s,
            identifiers: &identifiers,
            alias,
            alias_is_known,
        };
        let dup = delivery.stored.is_some_and(|place| place.again);
        let (topic, payload, qos) = (&publication.topic, publication.payload.bytes(), delivery.qos);
        let packet = Outgoing { topic, payload, retain, qos, dup, v5 };
        if !self.fits(&packet) {
            // v5 §3.1.2.11.4: it is dropped as if it had been sent.
            tracing::warn!("a message is larger than the mqtt client takes");
            return Ok(false);
        }
        let awaits = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Awaits::Acknowledgement),
            QoS::ExactlyOnce => Some(Awaits::Receipt),
        };
        let id = match awaits {
            Some(awaits) => {
                let id = stored_id.unwrap_or_else(|| self.next_id());
                self.note_sent(Sent { id, seq, awaits });
                id
            }
            None => 0,
        };
        packet.write(self.terms.version, id, buffer);
        if alias.is_some() && !alias_is_known {
            self.aliases.get_or_insert_default().given.push(publication.topic.clone());
        }
        Ok(true)
    }

    /// Whether the client may have another message under this packet id, or its PUBREL (MQTT 3.1.1 §2.3.1).
    fn is_taken(&self, id: u16) -> bool {
        self.sent.iter().any(|sent| sent.id == id) || self.memory.released.contains(&id)
    }

    /// Whether the client takes a packet of this size (v5 §3.1.2.11.4).
    pub(super) fn fits(&self, packet: &Outgoing<'_>) -> bool {
        packet.fits(self.terms.version, self.terms.packet_max_bytes)
    }

    /// The packet id of the newest message on its way to the client.
    pub(super) fn newest(&self) -> Option<u16> {
        self.sent.back().map(|sent| sent.id)
    }

    #[inline]
    fn note_sent(&mut self, sent: Sent) {
        if sent.id != self.last_id {
            // It may be one of the ids that were free.
            self.free_ids = 0;
        }
        self.sent.push_back(sent);
    }

    /// A free packet id, which `note_sent` uses.
    #[inline]
    fn next_id(&mut self) -> u16 {
        if self.terms.last_seq.is_some() {
            // As far as can be from the ids of stored messages, which their numbers decide.
            self.last_id = stored_id(self.last_seq.saturating_add(u64::from(u16::MAX / 2)));
            self.free_ids = 0;
        }
        // The window, and what other hubs have sent, are fewer than the ids, so that one is free.
        for _ in 0..=self.memory.released.len() {
            while self.free_ids == 0 {
                self.free_ids = self.ids_before_the_next_sent();
                if self.free_ids == 0 {
                    self.last_id = id_after(self.last_id);
                }
            }
            self.free_ids -= 1;
            self.last_id = id_after(self.last_id);
            if !self.memory.released.contains(&self.last_id) {
                break;
            }
        }
        self.last_id
    }

    /// The number of ids after `last_id` before one that is in use.
    fn ids_before_the_next_sent(&self) -> u16 {
        let next = u32::from(id_after(self.last_id));
        let ids = u32::from(u16::MAX);
        let distance = |sent: &Sent| (u32::from(sent.id) + ids - next) % ids;
        // Not all ids: the one before the next is that of the last message.
        self.sent.iter().map(distance).min().map_or(u16::MAX, |distance| distance as u16)
    }

    /// The alias of a topic and whether the client knows it: the first topics of a connection get one, since a toy
    /// subscribes to few (v5 §3.3.2.3.4).
    fn alias_for(&self, topic: &Topic) -> (Option<u16>, bool) {
        if self.terms.aliases_out_max == 0 {
            return (None, false);
        }
        let number = |at: usize| u16::try_from(at + 1).ok().filter(|alias| *alias <= self.terms.aliases_out_max);
        let given = self.aliases.as_ref().map_or(&[][..], |aliases| &aliases.given);
        match given.iter().position(|known| known == topic) {
            Some(at) => (number(at), true),
            None => (number(given.len()), false),
        }
    }

    /// The retain flag to send and the identifiers of the subscriptions; none if no subscription asks for this
    /// delivery.
    fn flags(&self, delivery: &Delivery, own: ConnectionId) -> Option<(bool, Vec<u32>)> {
        let publication = &delivery.publication;
        let is_own = publication.publisher == Some(own);
        let topic = &publication.topic;
        let mut matching = self.memory.options.iter().filter(|options| options.filter.matches(topic)).peekable();
        let mut identifiers = Vec::new();
        if matching.peek().is_none() {
            return Some((delivery.retain, identifiers));
        }
        let (mut wanted, mut as_published) = (delivery.retain, false);
        for options in matching {
            if is_own && options.no_local {
                continue;
            }
            wanted = true;
            as_published |= options.retain_as_published;
            if options.identifier != 0 {
                identifiers.push(options.identifier);
            }
        }
        wanted.then_some((delivery.retain || (as_published && publication.retain), identifiers))
    }

    fn finish(&mut self, id: u16, awaited: Awaits) -> Acknowledged {
        match self.sent.iter().position(|sent| sent.id == id && sent.awaits == awaited) {
            Some(at) => Acknowledged::Message { seq: self.sent.remove(at).and_then(|sent| sent.seq) },
            None => Acknowledged::Unknown,
        }
    }

    /// PUBACK: the window has space for another message.
    pub(super) fn acknowledged(&mut self, id: u16) -> Acknowledged {
        self.finish(id, Awaits::Acknowledgement)
    }

    /// PUBREC: the client has the message, or refuses it; the id is not free before PUBCOMP (MQTT 3.1.1 §4.3.3).
    pub(super) fn recorded(&mut self, id: u16, refused: bool) -> Acknowledged {
        if refused {
            return self.finish(id, Awaits::Receipt);
        }
        match self.sent.iter_mut().find(|sent| sent.id == id && sent.awaits != Awaits::Acknowledgement) {
            Some(sent) => {
                sent.awaits = Awaits::Completion;
                Acknowledged::Message { seq: sent.seq }
            }
            None => Acknowledged::Unknown,
        }
    }

    /// PUBCOMP: the window has space for another message.
    pub(super) fn completed(&mut self, id: u16) -> Acknowledged {
        self.memory.released.remove(&id);
        self.finish(id, Awaits::Completion)
    }

    /// The topic of an incoming PUBLISH, given by its name or by an alias (v5 §3.3.2.3.4).
    #[inline]
    pub(super) fn topic(&mut self, publish: &mut Publish) -> Result<Topic, Fault> {
        let topic = publish.topic.take();
        let Some(alias) = publish.alias else { return topic.ok_or(Fault::Protocol) };
        if alias == 0 || alias > self.terms.aliases_in_max {
            return Err(Fault::TopicAlias);
        }
        let at = usize::from(alias) - 1;
        let Some(topic) = topic else {
            let known = self.aliases.as_ref().and_then(|aliases| aliases.known.get(at));
            return known.cloned().flatten().ok_or(Fault::Protocol);
        };
        let known = &mut self.aliases.get_or_insert_default().known;
        if known.len() <= at {
            known.resize(at + 1, None);
        }
        known[at] = Some(topic.clone());
        Ok(topic)
    }

    /// The action for an incoming PUBLISH.
    #[inline]
    pub(super) fn receive(&self, publish: &Publish) -> Result<Receive, Fault> {
        if publish.qos != QoS::ExactlyOnce {
            return Ok(Receive::Route);
        }
        if self.memory.received.contains(&publish.id) {
            return Ok(Receive::Repeat);
        }
        if self.memory.received.len() >= usize::from(self.terms.receive_max) {
            return Err(Fault::ReceiveMaximum);
        }
        Ok(Receive::Route)
    }

    /// Writes the answer to a PUBLISH that the hub took or refused; true if its id is now one of a QoS 2 message that
    /// must not be routed again.
    ///
    /// 3.1.1 can only acknowledge or close (§3.3.5.2): a message that is refused permanently is acknowledged, or the
    /// client would send it for ever; one that the hub may accept later is not, and the connection is closed.
    pub(super) fn answer(
        &mut self,
        qos: QoS,
        id: u16,
        refused: Option<&DomainError>,
        buffer: &mut BytesMut,
    ) -> Result<bool, Fault> {
        let version = self.terms.version;
        if let Some(error) = refused {
            tracing::debug!(%error, "mqtt publish refused");
        }
        let kind = refused.map(Kind::of);
        let text = refused.filter(|_| self.terms.problem_information).map(reason_string);
        if qos == QoS::AtMostOnce {
            return Ok(false);
        }
        if version == Version::V4 && kind.is_some_and(Kind::may_pass) {
            return Err(Fault::Unavailable);
        }
        match (qos, kind) {
            (QoS::AtMostOnce | QoS::AtLeastOnce, _) => {
                encode::puback(version, id, kind.map_or(PubAckReason::Success, Kind::puback), text, buffer);
            }
            (QoS::ExactlyOnce, Some(kind)) if version == Version::V5 => {
                encode::pubrec(version, id, kind.pubrec(), text, buffer);
            }
            (QoS::ExactlyOnce, _) => {
                self.repeat(id, buffer);
                return Ok(self.memory.received.insert(id));
            }
        }
        Ok(false)
    }

    /// Writes PUBREC for a QoS 2 message that the hub has.
    pub(super) fn repeat(&self, id: u16, buffer: &mut BytesMut) {
        encode::pubrec(self.terms.version, id, PubRecReason::Success, None, buffer);
    }

    /// PUBREL: the QoS 2 message with this id is complete; true if there was one.
    pub(super) fn released(&mut self, id: u16, buffer: &mut BytesMut) -> bool {
        let is_known = self.memory.received.remove(&id);
        let reason = if is_known { PubCompReason::Success } else { PubCompReason::PacketIdentifierNotFound };
        encode::pubcomp(self.terms.version, id, reason, buffer);
        is_known
    }

    /// A QoS 2 message was not stored: it is taken again rather than never.
    pub(super) fn forget_received(&mut self, id: u16) {
        self.memory.received.remove(&id);
    }

    /// The options of a subscription, as [`Options::bits`].
    pub(super) fn options_of(&self, wanted: &Subscription) -> u8 {
        Options::bits(wanted, self.terms.is_bridge)
    }

    /// Remembers the options of a subscription. 3.1.1 has none to add, but for those of a bridge.
    pub(super) fn subscribed(&mut self, options: Options) {
        let known = self.memory.options.iter_mut();
        match known.into_iter().find(|known| known.filter == options.filter && known.share == options.share) {
            Some(known) => *known = options,
            None if self.terms.version == Version::V5 || self.terms.is_bridge => self.memory.options.push(options),
            None => {}
        }
    }

    /// Forgets the options of a subscription.
    pub(super) fn unsubscribed(&mut self, filter: &TopicFilter, share: Option<&str>) {
        self.memory.options.retain(|options| options.filter != *filter || options.share.as_deref() != share);
    }
}

/// The packet id after another one.
#[inline]
fn id_after(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}

/// The packet id of a stored message; ids run from 1 to 65,535 (MQTT 3.1.1 §2.3.1).
pub(super) fn stored_id(seq: u64) -> u16 {
    ((seq.max(1) - 1) % PACKET_IDS) as u16 + 1
}

/// The reason string of a refusal, for the log of the client. Causes are in the hub's own log.
fn reason_string(error: &DomainError) -> String {
    error.to_string()
}

#[cfg(test)]
mod kills;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;
