//! Writes the packets that the hub sends.
//!
//! `rumqttd`'s codecs write all packets except PUBLISH, whose QoS and packet id are private there, and DISCONNECT: with
//! a reason and no properties, theirs is one byte longer than its length field, and with empty properties, it drops the
//! reason. Two more pitfalls:
//!
//! - `V4` panics on a packet with properties, so properties are passed to `V5` only.
//! - Each codec panics on a CONNACK code of the other version: [`super::reason::Refusal`] keeps them apart.

use bytes::{BufMut as _, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet, PingResp, Protocol as _, PubAck, PubAckProperties,
    PubAckReason, PubComp, PubCompReason, PubRec, PubRecProperties, PubRecReason, SubAck, SubscribeReasonCode,
    UnsubAck, UnsubAckReason,
};

use super::version::Version;
use crate::model::{QoS, Topic};

/// The largest remaining length that four bytes can encode (MQTT 3.1.1 §2.2.3).
const REMAINING_MAX: usize = 268_435_455;

fn put(version: Version, packet: Packet, buffer: &mut BytesMut) {
    let before = buffer.len();
    let written = match version {
        Version::V4 => V4.write(packet, buffer),
        Version::V5 => V5.write(packet, buffer),
    };
    if written.is_err() {
        // Only a packet of more than 256 MiB gets here, which none of these is. Half a packet must not go out.
        buffer.truncate(before);
    }
}

/// CONNACK (§3.2). `properties` are for v5.
pub(super) fn connack(
    version: Version,
    session_present: bool,
    code: ConnectReturnCode,
    properties: ConnAckProperties,
    buffer: &mut BytesMut,
) {
    put(version, Packet::ConnAck(ConnAck { session_present, code }, Some(properties)), buffer);
}

/// PUBACK (§3.4). 3.1.1 has no reason; a packet of v5 carries `text` as its reason string, where there is one.
#[inline]
pub(super) fn puback(version: Version, pkid: u16, reason: PubAckReason, text: Option<String>, buffer: &mut BytesMut) {
    if reason == PubAckReason::Success && text.is_none() {
        // The short form, which both versions have: there is one for each message.
        let [high, low] = pkid.to_be_bytes();
        return buffer.put_slice(&[0x40, 2, high, low]);
    }
    puback_with_reason(version, pkid, reason, text, buffer);
}

fn puback_with_reason(version: Version, pkid: u16, reason: PubAckReason, text: Option<String>, buffer: &mut BytesMut) {
    let properties = text.map(|text| PubAckProperties { reason_string: Some(text), user_properties: Vec::new() });
    let properties = properties.filter(|_| version == Version::V5);
    put(version, Packet::PubAck(PubAck { pkid, reason }, properties), buffer);
}

/// PUBREC (§3.5). 3.1.1 has no reason; a packet of v5 carries `text` as its reason string, where there is one.
pub(super) fn pubrec(version: Version, pkid: u16, reason: PubRecReason, text: Option<String>, buffer: &mut BytesMut) {
    let properties = text.map(|text| PubRecProperties { reason_string: Some(text), user_properties: Vec::new() });
    let properties = properties.filter(|_| version == Version::V5);
    put(version, Packet::PubRec(PubRec { pkid, reason }, properties), buffer);
}

/// PUBREL (§3.6), which the client answers with PUBCOMP.
pub(super) fn pubrel(pkid: u16, buffer: &mut BytesMut) {
    buffer.put_slice(&[0x62, 2]);
    buffer.put_u16(pkid);
}

/// PUBCOMP (§3.7). 3.1.1 has no reason.
pub(super) fn pubcomp(version: Version, pkid: u16, reason: PubCompReason, buffer: &mut BytesMut) {
    put(version, Packet::PubComp(PubComp { pkid, reason }, None), buffer);
}

/// SUBACK (§3.9). 3.1.1 has one code for all failures.
pub(super) fn suback(version: Version, pkid: u16, mut codes: Vec<SubscribeReasonCode>, buffer: &mut BytesMut) {
    if version == Version::V4 {
        let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        codes.iter_mut().filter(|code| !granted(code)).for_each(|code| *code = SubscribeReasonCode::Failure);
    }
    put(version, Packet::SubAck(SubAck { pkid, return_codes: codes }, None), buffer);
}

/// UNSUBACK (§3.11). 3.1.1 has no reasons.
pub(super) fn unsuback(version: Version, pkid: u16, reasons: Vec<UnsubAckReason>, buffer: &mut BytesMut) {
    put(version, Packet::UnsubAck(UnsubAck { pkid, reasons }, None), buffer);
}

/// PINGRESP (§3.13).
pub(super) fn pingresp(version: Version, buffer: &mut BytesMut) {
    put(version, Packet::PingResp(PingResp), buffer);
}

/// DISCONNECT from the server, which v5 alone has (v5 §3.14), with a reason and no properties.
pub(super) fn disconnect(reason: u8, buffer: &mut BytesMut) {
    buffer.put_slice(&[0xe0, 2, reason, 0]);
}

/// An outgoing PUBLISH (§3.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub topic: &'a Topic,
    pub payload: &'a [u8],
    pub retain: bool,
    pub qos: QoS,
    /// It may have been sent before.
    pub dup: bool,
    /// Only v5 has what follows.
    pub v5: V5Publish<'a>,
}

/// The parts of a PUBLISH that only MQTT 5 has (v5 §3.3.2.3).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct V5Publish<'a> {
    /// As [`passed_on`](super::properties::passed_on) wrote them.
    pub passed_on: &'a [u8],
    pub expires_in_s: Option<u32>,
    pub identifiers: &'a [u32],
    pub alias: Option<u16>,
    /// The client knows the alias: the topic is left out.
    pub alias_is_known: bool,
}

impl V5Publish<'_> {
    fn length(&self) -> usize {
        let identifiers: usize = self.identifiers.iter().map(|id| 1 + length_of_length(*id as usize)).sum();
        self.passed_on.len() + self.expires_in_s.map_or(0, |_| 5) + self.alias.map_or(0, |_| 3) + identifiers
    }

    fn write(&self, buffer: &mut BytesMut) {
        put_length(self.length(), buffer);
        buffer.put_slice(self.passed_on);
        if let Some(seconds) = self.expires_in_s {
            buffer.put_u8(2);
            buffer.put_u32(seconds);
        }
        if let Some(alias) = self.alias {
            buffer.put_u8(35);
            buffer.put_u16(alias);
        }
        for id in self.identifiers {
            buffer.put_u8(11);
            put_length(*id as usize, buffer);
        }
    }
}

/// A variable byte integer (v5 §1.5.5).
fn put_length(mut length: usize, buffer: &mut BytesMut) {
    while length >= 128 {
        buffer.put_u8(0x80 | (length % 128) as u8);
        length /= 128;
    }
    buffer.put_u8(length as u8);
}

impl Outgoing<'_> {
    fn topic_bytes(&self, version: Version) -> &[u8] {
        let is_left_out = version == Version::V5 && self.v5.alias_is_known;
        if is_left_out { &[] } else { self.topic.as_str().as_bytes() }
    }

    fn remaining(&self, version: Version) -> usize {
        let properties = match version {
            Version::V4 => 0,
            Version::V5 => {
                let length = self.v5.length();
                length_of_length(length) + length
            }
        };
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        2 + self.topic_bytes(version).len() + id + properties + self.payload.len()
    }

    /// Whether the packet is no larger than `packet_max_bytes`.
    pub(super) fn fits(&self, version: Version, packet_max_bytes: usize) -> bool {
        let remaining = self.remaining(version);
        remaining <= REMAINING_MAX && 1 + length_of_length(remaining) + remaining <= packet_max_bytes
    }

    /// Writes the packet, with the packet id `id` at QoS 1 and 2.
    pub(super) fn write(&self, version: Version, id: u16, buffer: &mut BytesMut) {
        let remaining = self.remaining(version);
        buffer.reserve(5 + remaining);
        buffer.put_u8(0b0011_0000 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        put_length(remaining, buffer);
        // A topic has at most 65,535 bytes by construction.
        let topic = self.topic_bytes(version);
        buffer.put_u16(topic.len() as u16);
        buffer.put_slice(topic);
        if self.qos != QoS::AtMostOnce {
            buffer.put_u16(id);
        }
        if version == Version::V5 {
            self.v5.write(buffer);
        }
        buffer.put_slice(self.payload);
    }
}

fn length_of_length(remaining: usize) -> usize {
    match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::mqtt::codec::{Request, read_request, take_frame};
    use crate::edge::mqtt::reason::{End, Fault, Refusal};
    use crate::model::QoS;
    use crate::ports::router::CloseReason;

    #[test]
    fn a_publish_is_read_back_as_it_was_written() {
        for version in [Version::V4, Version::V5] {
            for size in [0, 1, 100, 127, 128, 16_370, 16_384, 70_000] {
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    let topic: Topic = "toy/你好/in".parse().unwrap();
                    let payload = vec![7; size];
                    let v5 = V5Publish { passed_on: &[1, 1], expires_in_s: Some(9), ..V5Publish::default() };
                    let dup = qos != QoS::AtMostOnce;
                    let packet = Outgoing { topic: &topic, payload: &payload, retain: size % 2 == 0, qos, dup, v5 };
                    let mut buffer = BytesMut::new();
                    packet.write(version, 65_535, &mut buffer);
                    assert!(packet.fits(version, buffer.len()));
                    assert!(!packet.fits(version, buffer.len() - 1));
                    let (header, frame) = take_frame(&mut buffer, 1 << 20).unwrap().unwrap();
                    assert!(buffer.is_empty());
                    assert_eq!(header.byte1 & 8 != 0, dup);
                    let Request::Publish(read) = read_request(version, header, frame).unwrap() else { panic!() };
                    assert_eq!((read.topic, &read.payload[..]), (Some(topic.clone()), &payload[..]));
                    assert_eq!(read.id, if qos == QoS::AtMostOnce { 0 } else { 65_535 });
                    assert_eq!(read.qos, qos);
                    assert_eq!(read.retain, size % 2 == 0);
                    let has_properties = version == Version::V5;
                    assert_eq!(read.properties, if has_properties { &[1, 1][..] } else { &[] });
                    assert_eq!(read.expires_in_s, has_properties.then_some(9));
                }
            }
        }
    }

    #[test]
    fn an_alias_and_identifiers_are_written() {
        let topic: Topic = "a".parse().unwrap();
        let v5 = V5Publish { identifiers: &[1, 200], alias: Some(3), ..V5Publish::default() };
        let write = |alias_is_known| {
            let v5 = V5Publish { alias_is_known, ..v5 };
            let packet = Outgoing { topic: &topic, payload: b"x", retain: false, qos: QoS::AtMostOnce, dup: false, v5 };
            let mut buffer = BytesMut::new();
            packet.write(Version::V5, 0, &mut buffer);
            buffer
        };
        assert_eq!(&write(false)[..], [0x30, 13, 0, 1, b'a', 8, 35, 0, 3, 11, 1, 11, 200, 1, b'x']);
        assert_eq!(&write(true)[..], [0x30, 12, 0, 0, 8, 35, 0, 3, 11, 1, 11, 200, 1, b'x']);
    }

    #[test]
    fn a_plain_puback_is_that_of_the_codec() {
        for version in [Version::V4, Version::V5] {
            let (mut ours, mut of_codec) = (BytesMut::new(), BytesMut::new());
            puback(version, 0x1234, PubAckReason::Success, None, &mut ours);
            puback_with_reason(version, 0x1234, PubAckReason::Success, None, &mut of_codec);
            assert_eq!(ours, of_codec, "{version:?}");
        }
    }

    #[test]
    fn properties_never_reach_the_old_version() {
        let mut buffer = BytesMut::new();
        let properties = ConnAckProperties { receive_max: Some(3), ..ConnAckProperties::default() };
        connack(Version::V4, false, ConnectReturnCode::Success, properties.clone(), &mut buffer);
        assert_eq!(&buffer[..], [0x20, 2, 0, 0]);
        buffer.clear();
        connack(Version::V5, false, ConnectReturnCode::Success, properties, &mut buffer);
        assert_eq!(&buffer[..], [0x20, 6, 0, 0, 3, 33, 0, 3]);
        buffer.clear();
        puback(Version::V4, 5, PubAckReason::NotAuthorized, Some("no".into()), &mut buffer);
        assert_eq!(&buffer[..], [0x40, 2, 0, 5]);
        buffer.clear();
        puback(Version::V5, 5, PubAckReason::NotAuthorized, None, &mut buffer);
        assert_eq!(&buffer[..], [0x40, 4, 0, 5, 0x87, 0]);
        buffer.clear();
        puback(Version::V5, 5, PubAckReason::NotAuthorized, Some("no".into()), &mut buffer);
        assert_eq!(&buffer[..], [0x40, 9, 0, 5, 0x87, 5, 31, 0, 2, b'n', b'o']);
        let codes =
            vec![SubscribeReasonCode::Success(rumqttd::protocol::QoS::AtLeastOnce), SubscribeReasonCode::NotAuthorized];
        buffer.clear();
        suback(Version::V4, 5, codes.clone(), &mut buffer);
        assert_eq!(&buffer[..], [0x90, 4, 0, 5, 1, 0x80]);
        buffer.clear();
        suback(Version::V5, 5, codes, &mut buffer);
        assert_eq!(&buffer[..], [0x90, 5, 0, 5, 0, 1, 0x87]);
    }

    #[test]
    fn the_codec_still_cannot_write_a_disconnect() {
        // When this fails, `disconnect` may become a call of the codec.
        use rumqttd::protocol::{Disconnect, DisconnectProperties, DisconnectReasonCode};
        let packet = |properties| {
            let mut buffer = BytesMut::new();
            let disconnect = Disconnect { reason_code: DisconnectReasonCode::SessionTakenOver };
            V5.write(Packet::Disconnect(disconnect, properties), &mut buffer).unwrap();
            buffer
        };
        let empty = DisconnectProperties {
            session_expiry_interval: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        assert_eq!(&packet(None)[..], [0xe0, 1, 0x8e, 0]);
        assert_eq!(&packet(Some(empty))[..], [0xe0, 0]);
    }

    #[test]
    fn every_disconnect_has_its_reason() {
        for (end, code) in [
            (End::Closed(CloseReason::TakenOver), 0x8e),
            (End::Closed(CloseReason::SlowConsumer), 0x97),
            (End::Closed(CloseReason::Revoked), 0x98),
            (End::Closed(CloseReason::ShuttingDown), 0x8b),
            (End::KeepAlive, 0x8d),
            (End::Fault(Fault::Malformed), 0x81),
            (End::Fault(Fault::Protocol), 0x82),
            (End::Fault(Fault::PacketTooLarge), 0x95),
            (End::Fault(Fault::TopicName), 0x90),
            (End::Fault(Fault::TopicAlias), 0x94),
            (End::Fault(Fault::ReceiveMaximum), 0x93),
        ] {
            let mut buffer = BytesMut::new();
            disconnect(end.disconnect_code().unwrap(), &mut buffer);
            assert_eq!(&buffer[..], [0xe0, 2, code, 0], "{end:?}");
        }
    }

    #[test]
    fn every_refusal_has_a_code_that_its_codec_can_write() {
        for (refusal, v4, v5) in [
            (Refusal::Malformed, None, 0x81),
            (Refusal::Protocol, None, 0x82),
            (Refusal::UnsupportedVersion, Some(1), 0x84),
            (Refusal::ClientId, Some(2), 0x85),
            (Refusal::Credentials, Some(4), 0x86),
            (Refusal::NotAuthorized, Some(5), 0x87),
            (Refusal::AuthenticationMethod, None, 0x8c),
            (Refusal::WillTopic, Some(5), 0x90),
            (Refusal::TooManyConnects, Some(3), 0x9f),
            (Refusal::Quota, Some(3), 0x97),
            (Refusal::Busy, Some(3), 0x89),
            (Refusal::Unavailable, Some(3), 0x88),
        ] {
            assert_eq!(refusal.v4_code().is_some(), v4.is_some());
            let mut buffer = BytesMut::new();
            if let (Some(code), Some(byte)) = (refusal.v4_code(), v4) {
                connack(Version::V4, false, code, ConnAckProperties::default(), &mut buffer);
                assert_eq!(&buffer[..], [0x20, 2, 0, byte], "{refusal:?}");
                buffer.clear();
            }
            connack(Version::V5, false, refusal.v5_code(), ConnAckProperties::default(), &mut buffer);
            assert_eq!(&buffer[..], [0x20, 3, 0, v5, 0], "{refusal:?}");
        }
    }
}
