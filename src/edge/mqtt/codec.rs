//! Bytes from a client become one [`Request`] at a time.
//!
//! `rumqttd`'s codecs read the packets; this file checks before and after them:
//!
//! - The size is checked on the fixed header, before anything is buffered for it.
//! - Only packet types that a client may send reach a codec, with the flags that the specification fixes:
//!   the v5 codec panics on a CONNACK or UNSUBACK, and no codec checks the flags.
//! - A codec sees exactly one whole frame. Where it asks for more bytes, as both do on a cut-off property
//!   length, the packet is malformed; waiting would hang the connection.
//! - QoS, packet id and DUP of a PUBLISH are private fields there: they are read from the frame first.
//! - A v5 DISCONNECT with a reason and no property length is legal (v5 §3.14.2.2.1) and refused there: it is
//!   read here.
//! - Topics become [`Topic`], filters [`TopicFilter`]: `rumqttd`'s own checks cut a string at its first byte and
//!   panic on non-ASCII.
//! - A panic that is left becomes [`Fault::Malformed`].
//!
//! The packets that clients send most are read in place, from the read buffer: acknowledgements of four bytes, and PUBLISH
//! with a small payload and no properties ([`take_acknowledgement`], [`take_small_publish`]). These only take packets that
//! are whole and well-formed, and leave all others for the codecs, so that there is one judge of faults.

use bytes::{Buf as _, Bytes, BytesMut};
use rumqttd::protocol::{self, Packet, PubRecReason, RetainForwardRule};

use super::properties;
use super::reason::Fault;
use super::version::Version;
use crate::domain::live as routed;
use crate::domain::live::ReplayRetained;
use crate::model::{QoS, Topic, TopicFilter};

/// A payload up to this size is copied out of the read buffer, so that the buffer is free again at once.
const COPIED_PAYLOAD_BYTES: usize = 4 * 1024;

/// A packet of a client after its CONNECT.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Publish(Publish),
    /// PUBACK of a message of ours.
    PubAck(u16),
    /// PUBREC of a message of ours.
    PubRec {
        id: u16,
        /// The client does not take it (v5 §3.5.2.1): there is nothing to release.
        refused: bool,
    },
    PubRel(u16),
    PubComp(u16),
    Subscribe {
        id: u16,
        /// The subscription identifier of all filters; 0 for none (v5 §3.8.2.1.2).
        identifier: u32,
        filters: Vec<Subscription>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<Wanted>,
    },
    PingReq,
    Disconnect {
        /// The client requests that its will is published (v5 §3.14.2.1).
        with_will: bool,
        /// How long the session is to live on, where that changes (v5 §3.14.2.2.2).
        expiry_s: Option<u32>,
    },
}

/// A message from a client.
#[derive(Debug, PartialEq)]
pub(super) struct Publish {
    /// None where only the alias names it.
    pub topic: Option<Topic>,
    /// The alias of the topic from now on (v5 §3.3.2.3.4).
    pub alias: Option<u16>,
    pub payload: Bytes,
    pub qos: QoS,
    /// 0 at QoS 0.
    pub id: u16,
    pub retain: bool,
    /// Properties that are forwarded unchanged, see [`properties::passed_on`].
    pub properties: Bytes,
    /// Seconds until it is of no use (v5 §3.3.2.3.3).
    pub expires_in_s: Option<u32>,
}

/// One filter of a SUBSCRIBE, with its options (v5 §3.8.3.1; 3.1.1 has the first only).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subscription {
    pub filter: Wanted,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: ReplayRetained,
}

/// The text of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Filter {
        filter: TopicFilter,
        /// The group of a shared subscription, `$share/<group>/<filter>` (v5 §4.8.2).
        share: Option<Box<str>>,
    },
    Malformed,
}

impl Wanted {
    fn read(text: &str) -> Self {
        match routed::Subscription::from_text(text, QoS::AtMostOnce, 0, 0) {
            Some(routed::Subscription { filter, share, .. }) => Self::Filter { filter, share },
            None => Self::Malformed,
        }
    }
}

/// The fixed header of a packet (MQTT 3.1.1 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Packet type and flags.
    pub byte1: u8,
    /// Where the variable header starts.
    pub length: usize,
    /// The size of the whole packet.
    pub frame: usize,
}

impl Header {
    /// The header at the beginning of `bytes`; none if it is not complete yet.
    pub(super) fn read(bytes: &[u8], packet_max_bytes: usize) -> Result<Option<Self>, Fault> {
        let Some((&byte1, rest)) = bytes.split_first() else { return Ok(None) };
        if byte1 >> 4 == 0 {
            return Err(Fault::Malformed);
        }
        match variable_length(rest) {
            Some((remaining, bytes)) if 1 + bytes + remaining > packet_max_bytes => Err(Fault::PacketTooLarge),
            Some((remaining, bytes)) => Ok(Some(Self { byte1, length: 1 + bytes, frame: 1 + bytes + remaining })),
            None if rest.len() < 4 => Ok(None),
            None => Err(Fault::Malformed),
        }
    }

    /// Whether the flags are those that the specification fixes for this type (§2.2.2).
    fn flags_are_good(self) -> bool {
        match self.byte1 >> 4 {
            // PUBLISH: no QoS 3, and no DUP at QoS 0 (§3.3.1).
            3 => self.byte1 & 0b0110 != 0b0110 && self.byte1 & 0b1110 != 0b1000,
            // PUBREL, SUBSCRIBE, UNSUBSCRIBE.
            6 | 8 | 10 => self.byte1 & 0x0f == 0b0010,
            _ => self.byte1 & 0x0f == 0,
        }
    }
}

/// The variable byte integer at the beginning of `bytes` (v5 §1.5.5) and its size; none if it does not end in time.
fn variable_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Takes one whole frame from the front of `buffer`; none if it is not complete yet.
pub(super) fn take_frame(buffer: &mut BytesMut, packet_max_bytes: usize) -> Result<Option<(Header, BytesMut)>, Fault> {
    match Header::read(buffer, packet_max_bytes)? {
        Some(header) if !header.flags_are_good() => Err(Fault::Malformed),
        Some(header) if header.frame <= buffer.len() => Ok(Some((header, buffer.split_to(header.frame)))),
        _ => Ok(None),
    }
}

/// Takes an acknowledgement without a reason, which both versions write in four bytes, from the front of `buffer`. None of
/// another packet, which stays there.
#[inline]
pub(super) fn take_acknowledgement(buffer: &mut BytesMut, packet_max_bytes: usize) -> Option<Request> {
    let &[byte1, 2, high, low] = buffer.first_chunk()? else { return None };
    let id = Some(u16::from_be_bytes([high, low])).filter(|id| *id != 0 && packet_max_bytes >= 4)?;
    let acknowledgement = match byte1 {
        0x40 => Request::PubAck(id),
        0x50 => Request::PubRec { id, refused: false },
        0x62 => Request::PubRel(id),
        0x70 => Request::PubComp(id),
        _ => return None,
    };
    buffer.advance(4);
    Some(acknowledgement)
}

/// Takes a PUBLISH from the front of `buffer` if it has a topic, no properties and a payload that is copied anyway. None of
/// another packet, or a malformed or incomplete one, which stays there.
#[inline]
pub(super) fn take_small_publish(version: Version, buffer: &mut BytesMut, packet_max_bytes: usize) -> Option<Publish> {
    if buffer.first()? >> 4 != 3 {
        return None;
    }
    let header = Header::read(buffer, packet_max_bytes).ok()?.filter(|header| header.flags_are_good())?;
    let publish = small_publish(version, header.byte1, buffer.get(header.length..header.frame)?)?;
    buffer.advance(header.frame);
    Some(publish)
}

/// The PUBLISH of good flags whose variable header and payload are `body`.
fn small_publish(version: Version, byte1: u8, body: &[u8]) -> Option<Publish> {
    let qos = publish_qos(byte1);
    let (topic, rest) = body.split_at_checked(2 + usize::from(u16_at(body, 0)?))?;
    let (id, rest) = match qos {
        QoS::AtMostOnce => (0, rest),
        _ => (u16_at(rest, 0).filter(|id| *id != 0)?, &rest[2..]),
    };
    let payload = match version {
        Version::V4 => rest,
        Version::V5 => rest.strip_prefix(&[0])?,
    };
    if payload.len() > COPIED_PAYLOAD_BYTES {
        return None;
    }
    Some(Publish {
        topic: Some(std::str::from_utf8(&topic[2..]).ok()?.parse().ok()?),
        alias: None,
        payload: Bytes::copy_from_slice(payload),
        qos,
        id,
        retain: byte1 & 1 != 0,
        properties: Bytes::new(),
        expires_in_s: None,
    })
}

fn publish_qos(byte1: u8) -> QoS {
    match byte1 >> 1 & 3 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// Takes one whole packet from the front of `buffer`, read in place or by its codec; none if it is not complete yet.
pub(super) fn take_request(
    version: Version,
    buffer: &mut BytesMut,
    packet_max_bytes: usize,
) -> Result<Option<Request>, Fault> {
    if let Some(acknowledgement) = take_acknowledgement(buffer, packet_max_bytes) {
        return Ok(Some(acknowledgement));
    }
    if let Some(publish) = take_small_publish(version, buffer, packet_max_bytes) {
        return Ok(Some(Request::Publish(publish)));
    }
    let Some((header, frame)) = take_frame(buffer, packet_max_bytes)? else { return Ok(None) };
    read_request(version, header, frame).map(Some)
}

/// A packet that follows the CONNECT.
pub(super) fn read_request(version: Version, header: Header, frame: BytesMut) -> Result<Request, Fault> {
    let remaining = header.frame - header.length;
    match header.byte1 >> 4 {
        3 => read_publish(version, header, frame),
        4..=7 if version == Version::V4 && remaining != 2 => Err(Fault::Malformed),
        8 if !subscribe_options_are_good(version, &frame[header.length..]) => Err(Fault::Malformed),
        4..=8 | 10 => read_acknowledgement_or_filters(version, frame),
        12 if remaining == 0 => Ok(Request::PingReq),
        12 => Err(Fault::Malformed),
        14 => read_disconnect(version, remaining, frame),
        // A second CONNECT (§3.1), packets that only a server
        // may send, and AUTH without an authentication method (v5 §4.12) are protocol errors as well.
        _ => Err(Fault::Protocol),
    }
}

fn read_publish(version: Version, header: Header, frame: BytesMut) -> Result<Request, Fault> {
    let qos = publish_qos(header.byte1);
    let topic_length = u16_at(&frame, header.length).ok_or(Fault::Malformed)?;
    let id = match qos {
        QoS::AtMostOnce => 0,
        _ => u16_at(&frame, header.length + 2 + usize::from(topic_length)).ok_or(Fault::Malformed)?,
    };
    let Packet::Publish(publish, properties) = version.read(frame)? else { return Err(Fault::Malformed) };
    let topic = match &publish.topic[..] {
        [] => None,
        topic => {
            let topic = std::str::from_utf8(topic).map_err(|_| Fault::Malformed)?;
            Some(topic.parse().map_err(|_| Fault::TopicName)?)
        }
    };
    let (payload, retain) = (own(publish.payload), publish.retain);
    let (mut passed_on, mut alias, mut expires_in_s) = (Bytes::new(), None, None);
    if let Some(properties) = properties {
        // v5 §3.3.2.3.8: only a server sends them. §3.3.2.3.5: the response topic is a topic, not a filter.
        let answerable = properties.response_topic.as_ref().is_none_or(|topic| topic.parse::<Topic>().is_ok());
        if !properties.subscription_identifiers.is_empty() || !answerable {
            return Err(Fault::Protocol);
        }
        passed_on = properties::passed_on(&properties);
        (alias, expires_in_s) = (properties.topic_alias, properties.message_expiry_interval);
    }
    if topic.is_none() && alias.is_none() {
        return Err(if version == Version::V5 { Fault::Protocol } else { Fault::TopicName });
    }
    Ok(Request::Publish(Publish { topic, alias, payload, qos, id, retain, properties: passed_on, expires_in_s }))
}

/// A payload that does not keep a much larger buffer alive.
pub(super) fn own(payload: Bytes) -> Bytes {
    if payload.len() <= COPIED_PAYLOAD_BYTES { Bytes::copy_from_slice(&payload) } else { payload }
}

fn read_acknowledgement_or_filters(version: Version, frame: BytesMut) -> Result<Request, Fault> {
    let request = match version.read(frame)? {
        Packet::PubAck(packet, _) => (packet.pkid, Request::PubAck(packet.pkid)),
        Packet::PubRec(packet, _) => {
            // Success, without a subscriber.
            let taken = matches!(packet.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers);
            (packet.pkid, Request::PubRec { id: packet.pkid, refused: !taken })
        }
        Packet::PubComp(packet, _) => (packet.pkid, Request::PubComp(packet.pkid)),
        Packet::PubRel(packet, _) => (packet.pkid, Request::PubRel(packet.pkid)),
        Packet::Subscribe(packet, properties) => {
            let identifier = match properties.and_then(|properties| properties.id) {
                // v5 §3.8.2.1.2: it is never 0.
                Some(0) => return Err(Fault::Protocol),
                identifier => identifier.and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
            };
            let filters = packet.filters.into_iter().map(subscription).collect::<Result<Vec<_>, _>>()?;
            (packet.pkid, Request::Subscribe { id: packet.pkid, identifier, filters })
        }
        Packet::Unsubscribe(packet, _) => {
            if packet.filters.is_empty() {
                // §3.10.3: at least one filter. The codecs let none pass.
                return Err(Fault::Protocol);
            }
            let filters = packet.filters.iter().map(|text| Wanted::read(text)).collect();
            (packet.pkid, Request::Unsubscribe { id: packet.pkid, filters })
        }
        _ => return Err(Fault::Malformed),
    };
    // A packet id is never 0 (§2.3.1); the codecs check PUBLISH only.
    if request.0 == 0 { Err(Fault::Malformed) } else { Ok(request.1) }
}

/// Whether the reserved bits of each filter's options are 0, which the codecs do not check (3.1.1 §3.8.3.1).
/// Also true for an incomplete packet, which the codec refuses.
fn subscribe_options_are_good(version: Version, packet: &[u8]) -> bool {
    let reserved = match version {
        Version::V4 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    let mut at = 2;
    if version == Version::V5 {
        let Some((properties, bytes)) = packet.get(at..).and_then(variable_length) else { return true };
        at += properties + bytes;
    }
    while let Some(length) = u16_at(packet, at) {
        at += 2 + usize::from(length);
        match packet.get(at) {
            Some(options) if options & reserved == 0 => at += 1,
            Some(_) => return false,
            None => return true,
        }
    }
    true
}

fn subscription(filter: protocol::Filter) -> Result<Subscription, Fault> {
    let wanted = Wanted::read(&filter.path);
    if filter.nolocal && matches!(wanted, Wanted::Filter { share: Some(_), .. }) {
        // v5 §3.8.3.1: No Local on a shared subscription is a protocol error.
        return Err(Fault::Protocol);
    }
    Ok(Subscription {
        filter: wanted,
        qos: match filter.qos {
            protocol::QoS::AtMostOnce => QoS::AtMostOnce,
            protocol::QoS::AtLeastOnce => QoS::AtLeastOnce,
            protocol::QoS::ExactlyOnce => QoS::ExactlyOnce,
        },
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => ReplayRetained::Always,
            RetainForwardRule::OnNewSubscribe => ReplayRetained::IfNew,
            RetainForwardRule::Never => ReplayRetained::Never,
        },
    })
}

fn read_disconnect(version: Version, remaining: usize, frame: BytesMut) -> Result<Request, Fault> {
    let plain = |with_will| Ok(Request::Disconnect { with_will, expiry_s: None });
    match (version, remaining) {
        (_, 0) => plain(false),
        (Version::V4, _) => Err(Fault::Malformed),
        (Version::V5, 1) => plain(frame.last() != Some(&0)),
        (Version::V5, _) => match version.read(frame)? {
            Packet::Disconnect(packet, properties) => Ok(Request::Disconnect {
                with_will: packet.reason_code != protocol::DisconnectReasonCode::NormalDisconnection,
                expiry_s: properties.and_then(|properties| properties.session_expiry_interval),
            }),
            _ => Err(Fault::Malformed),
        },
    }
}

#[cfg(test)]
mod tests;
