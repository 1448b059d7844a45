//! Bytes from a client become one [`Request`] at a time.
//!
//! `rumqttd`'s codecs read the packets; this file stands around them and never trusts them alone:
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

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{self, Packet, Protocol as _, RetainForwardRule};

use super::reason::Fault;
use crate::model::{QoS, Topic, TopicFilter};

/// A payload up to this size is copied out of the read buffer, so that the buffer is free again at once.
const COPIED_PAYLOAD_BYTES: usize = 4 * 1024;

/// The protocol version of a connection, chosen by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

impl Version {
    /// The codec's packet for one whole frame.
    pub(super) fn read(self, mut frame: BytesMut) -> Result<Packet, Fault> {
        let size = frame.len();
        let read = move || match self {
            Self::V4 => V4.read_mut(&mut frame, size),
            Self::V5 => V5.read_mut(&mut frame, size),
        };
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(packet)) => Ok(packet),
            Ok(Err(_)) | Err(_) => Err(Fault::Malformed),
        }
    }
}

/// What a client asks after its CONNECT.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Publish(Publish),
    /// PUBACK of a message of ours.
    PubAck(u16),
    PubRel(u16),
    Subscribe {
        id: u16,
        filters: Vec<Subscription>,
    },
    Unsubscribe {
        id: u16,
        /// `Err` where the text is no filter.
        filters: Vec<Result<TopicFilter, ()>>,
    },
    PingReq,
    Disconnect {
        /// The client wants its will published all the same (v5 §3.14.2.1).
        with_will: bool,
    },
}

/// A message from a client.
#[derive(Debug, PartialEq)]
pub(super) struct Publish {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: QoS,
    /// 0 at QoS 0.
    pub id: u16,
    pub retain: bool,
}

/// One filter of a SUBSCRIBE, with its options (v5 §3.8.3.1; 3.1.1 has the first only).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subscription {
    pub filter: Wanted,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// The text of a SUBSCRIBE's filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Filter(TopicFilter),
    /// `$share/…` (v5 §4.8.2).
    Shared,
    Malformed,
}

/// Whether a subscription asks for retained messages (v5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetainHandling {
    Always,
    IfNew,
    Never,
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

/// A packet that follows the CONNECT.
pub(super) fn read_request(version: Version, header: Header, frame: BytesMut) -> Result<Request, Fault> {
    let remaining = header.frame - header.length;
    match header.byte1 >> 4 {
        3 => read_publish(version, header, frame),
        4 | 6 if version == Version::V4 && remaining != 2 => Err(Fault::Malformed),
        8 if !subscribe_options_are_good(version, &frame[header.length..]) => Err(Fault::Malformed),
        4 | 6 | 8 | 10 => read_acknowledgement_or_filters(version, frame),
        12 if remaining == 0 => Ok(Request::PingReq),
        12 => Err(Fault::Malformed),
        14 => read_disconnect(version, remaining, frame),
        // PUBREC and PUBCOMP answer QoS 2, which is never granted. A second CONNECT (§3.1), what only a server
        // may send, and AUTH without an authentication method (v5 §4.12) are protocol errors as well.
        _ => Err(Fault::Protocol),
    }
}

fn read_publish(version: Version, header: Header, frame: BytesMut) -> Result<Request, Fault> {
    let qos = match header.byte1 >> 1 & 3 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let topic_length = u16_at(&frame, header.length).ok_or(Fault::Malformed)?;
    let id = match qos {
        QoS::AtMostOnce => 0,
        _ => u16_at(&frame, header.length + 2 + usize::from(topic_length)).ok_or(Fault::Malformed)?,
    };
    let Packet::Publish(publish, properties) = version.read(frame)? else { return Err(Fault::Malformed) };
    if let Some(properties) = properties {
        if properties.topic_alias.is_some() {
            return Err(Fault::TopicAlias);
        }
        if !properties.subscription_identifiers.is_empty() {
            return Err(Fault::Protocol);
        }
    }
    let topic = std::str::from_utf8(&publish.topic).map_err(|_| Fault::Malformed)?;
    let topic = topic.parse().map_err(|_| Fault::TopicName)?;
    Ok(Request::Publish(Publish { topic, payload: own(publish.payload), qos, id, retain: publish.retain }))
}

/// A payload that does not hold on to much more than itself.
pub(super) fn own(payload: Bytes) -> Bytes {
    if payload.len() <= COPIED_PAYLOAD_BYTES { Bytes::copy_from_slice(&payload) } else { payload }
}

fn read_acknowledgement_or_filters(version: Version, frame: BytesMut) -> Result<Request, Fault> {
    let request = match version.read(frame)? {
        Packet::PubAck(packet, _) => (packet.pkid, Request::PubAck(packet.pkid)),
        Packet::PubRel(packet, _) => (packet.pkid, Request::PubRel(packet.pkid)),
        Packet::Subscribe(packet, properties) => {
            if properties.is_some_and(|properties| properties.id.is_some()) {
                return Err(Fault::SubscriptionIdentifier);
            }
            let filters = packet.filters.into_iter().map(subscription).collect::<Result<Vec<_>, _>>()?;
            (packet.pkid, Request::Subscribe { id: packet.pkid, filters })
        }
        Packet::Unsubscribe(packet, _) => {
            if packet.filters.is_empty() {
                // §3.10.3: at least one filter. The codecs let none pass.
                return Err(Fault::Protocol);
            }
            let filters = packet.filters.iter().map(|text| text.parse().map_err(drop)).collect();
            (packet.pkid, Request::Unsubscribe { id: packet.pkid, filters })
        }
        _ => return Err(Fault::Malformed),
    };
    // A packet id is never 0 (§2.3.1); the codecs check PUBLISH only.
    if request.0 == 0 { Err(Fault::Malformed) } else { Ok(request.1) }
}

/// Whether the reserved bits of each filter's options are 0, which the codecs do not check (3.1.1 §3.8.3.1).
/// Good too is what is not whole: the codec refuses that.
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
    let wanted = match filter.path.parse() {
        Ok(_) if filter.path.starts_with("$share/") => {
            if filter.nolocal {
                // v5 §3.8.3.1: No Local on a shared subscription is a protocol error.
                return Err(Fault::Protocol);
            }
            Wanted::Shared
        }
        Ok(filter) => Wanted::Filter(filter),
        Err(_) => Wanted::Malformed,
    };
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
            RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            RetainForwardRule::Never => RetainHandling::Never,
        },
    })
}

fn read_disconnect(version: Version, remaining: usize, frame: BytesMut) -> Result<Request, Fault> {
    match (version, remaining) {
        (_, 0) => Ok(Request::Disconnect { with_will: false }),
        (Version::V4, _) => Err(Fault::Malformed),
        (Version::V5, 1) => Ok(Request::Disconnect { with_will: frame.last() != Some(&0) }),
        (Version::V5, _) => match version.read(frame)? {
            Packet::Disconnect(packet, _) => Ok(Request::Disconnect {
                with_will: packet.reason_code != protocol::DisconnectReasonCode::NormalDisconnection,
            }),
            _ => Err(Fault::Malformed),
        },
    }
}

#[cfg(test)]
mod tests;
