//! What the hub sends, as bytes in a buffer.
//!
//! `rumqttd`'s codecs write everything but PUBLISH, whose QoS and packet id they keep to themselves, and DISCONNECT:
//! given a reason and no properties, theirs is one byte longer than it says, and given empty properties, it loses
//! the reason. Two more traps of theirs:
//!
//! - `V4` panics on a packet with properties, so that properties are given to `V5` alone.
//! - Each codec panics on a CONNACK code of the other version: [`super::reason::Refusal`] keeps them apart.

use bytes::{BufMut as _, BytesMut};
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet, PingResp, Protocol as _, PubAck, PubAckReason, PubComp,
    PubCompReason, PubRec, PubRecReason, SubAck, SubscribeReasonCode, UnsubAck, UnsubAckReason,
};

use super::codec::Version;
use crate::model::Topic;

/// The largest remaining length that four bytes can say (MQTT 3.1.1 §2.2.3).
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
pub(super) fn connack(version: Version, code: ConnectReturnCode, properties: ConnAckProperties, buffer: &mut BytesMut) {
    put(version, Packet::ConnAck(ConnAck { session_present: false, code }, Some(properties)), buffer);
}

/// PUBACK (§3.4). 3.1.1 has no reason.
pub(super) fn puback(version: Version, pkid: u16, reason: PubAckReason, buffer: &mut BytesMut) {
    put(version, Packet::PubAck(PubAck { pkid, reason }, None), buffer);
}

/// PUBREC (§3.5). 3.1.1 has no reason.
pub(super) fn pubrec(version: Version, pkid: u16, reason: PubRecReason, buffer: &mut BytesMut) {
    put(version, Packet::PubRec(PubRec { pkid, reason }, None), buffer);
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
}

impl Outgoing<'_> {
    fn remaining(&self, version: Version, acknowledged: bool) -> usize {
        let properties = usize::from(version == Version::V5);
        2 + self.topic.as_str().len() + 2 * usize::from(acknowledged) + properties + self.payload.len()
    }

    /// Whether the packet is no larger than `packet_max_bytes`, at QoS 1 if `acknowledged`.
    pub(super) fn fits(&self, version: Version, acknowledged: bool, packet_max_bytes: usize) -> bool {
        let remaining = self.remaining(version, acknowledged);
        remaining <= REMAINING_MAX && 1 + length_of_length(remaining) + remaining <= packet_max_bytes
    }

    /// Writes the packet, at QoS 1 with the packet id `id`, at QoS 0 without one.
    pub(super) fn write(&self, version: Version, id: Option<u16>, buffer: &mut BytesMut) {
        let mut remaining = self.remaining(version, id.is_some());
        buffer.reserve(5 + remaining);
        buffer.put_u8(0b0011_0000 | u8::from(id.is_some()) << 1 | u8::from(self.retain));
        while remaining >= 128 {
            buffer.put_u8(0x80 | (remaining % 128) as u8);
            remaining /= 128;
        }
        buffer.put_u8(remaining as u8);
        // A topic has at most 65,535 bytes by construction.
        buffer.put_u16(self.topic.as_str().len() as u16);
        buffer.put_slice(self.topic.as_str().as_bytes());
        if let Some(id) = id {
            buffer.put_u16(id);
        }
        if version == Version::V5 {
            buffer.put_u8(0);
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
                for id in [None, Some(1), Some(65_535)] {
                    let topic: Topic = "toy/你好/in".parse().unwrap();
                    let payload = vec![7; size];
                    let packet = Outgoing { topic: &topic, payload: &payload, retain: size % 2 == 0 };
                    let mut buffer = BytesMut::new();
                    packet.write(version, id, &mut buffer);
                    assert!(packet.fits(version, id.is_some(), buffer.len()));
                    assert!(!packet.fits(version, id.is_some(), buffer.len() - 1));
                    let (header, frame) = take_frame(&mut buffer, 1 << 20).unwrap().unwrap();
                    assert!(buffer.is_empty());
                    let Request::Publish(read) = read_request(version, header, frame).unwrap() else { panic!() };
                    assert_eq!((&read.topic, &read.payload[..]), (&topic, &payload[..]));
                    assert_eq!(read.id, id.unwrap_or(0));
                    assert_eq!(read.qos == QoS::AtLeastOnce, id.is_some());
                    assert_eq!(read.retain, size % 2 == 0);
                }
            }
        }
    }

    #[test]
    fn properties_never_reach_the_old_version() {
        let mut buffer = BytesMut::new();
        let properties = ConnAckProperties { receive_max: Some(3), ..ConnAckProperties::default() };
        connack(Version::V4, ConnectReturnCode::Success, properties.clone(), &mut buffer);
        assert_eq!(&buffer[..], [0x20, 2, 0, 0]);
        buffer.clear();
        connack(Version::V5, ConnectReturnCode::Success, properties, &mut buffer);
        assert_eq!(&buffer[..], [0x20, 6, 0, 0, 3, 33, 0, 3]);
        buffer.clear();
        puback(Version::V4, 5, PubAckReason::NotAuthorized, &mut buffer);
        assert_eq!(&buffer[..], [0x40, 2, 0, 5]);
        buffer.clear();
        puback(Version::V5, 5, PubAckReason::NotAuthorized, &mut buffer);
        assert_eq!(&buffer[..], [0x40, 4, 0, 5, 0x87, 0]);
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
            (End::Fault(Fault::SubscriptionIdentifier), 0xa1),
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
            (Refusal::WillTopic, None, 0x90),
            (Refusal::TooManyConnects, Some(3), 0x9f),
            (Refusal::Quota, Some(3), 0x97),
            (Refusal::Busy, Some(3), 0x89),
            (Refusal::Unavailable, Some(3), 0x88),
        ] {
            assert_eq!(refusal.v4_code().is_some(), v4.is_some());
            let mut buffer = BytesMut::new();
            if let (Some(code), Some(byte)) = (refusal.v4_code(), v4) {
                connack(Version::V4, code, ConnAckProperties::default(), &mut buffer);
                assert_eq!(&buffer[..], [0x20, 2, 0, byte], "{refusal:?}");
                buffer.clear();
            }
            connack(Version::V5, refusal.v5_code(), ConnAckProperties::default(), &mut buffer);
            assert_eq!(&buffer[..], [0x20, 3, 0, v5, 0], "{refusal:?}");
        }
    }
}
