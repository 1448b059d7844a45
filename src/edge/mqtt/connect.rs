//! CONNECT: reads the first packet and checks all that needs neither the hub nor the router.

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{self, ConnAckProperties, Packet};

use super::codec::Header;
use super::encode;
use super::properties;
use super::reason::Refusal;
use super::version::Version;
use crate::model::{QoS, Secret, Topic};

/// A CONNECT that was refused, and its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The version to answer in; none where no MQTT client would understand.
    answer_in: Option<Version>,
    pub refusal: Refusal,
}

impl Rejection {
    pub(super) const SILENT: Self = Self { answer_in: None, refusal: Refusal::Malformed };

    pub(super) fn new(version: Version, refusal: Refusal) -> Self {
        Self { answer_in: Some(version), refusal }
    }

    pub(super) fn write(&self, buffer: &mut BytesMut) {
        let Some(version) = self.answer_in else { return };
        let code = match version {
            Version::V4 => self.refusal.v4_code(),
            Version::V5 => Some(self.refusal.v5_code()),
        };
        if let Some(code) = code {
            encode::connack(version, false, code, ConnAckProperties::default(), buffer);
        }
    }
}

/// The will: a message that is published if the connection ends without DISCONNECT (MQTT 3.1.1 §3.1.2.5).
#[derive(Debug, PartialEq)]
pub(super) struct Will {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// Seconds that it waits for the client to reconnect (v5 §3.1.3.2.2).
    pub delay_s: u32,
    /// Properties that are forwarded unchanged, see [`properties::passed_on`].
    pub properties: Bytes,
    /// Seconds until it is of no use, counted from its publishing (v5 §3.1.3.2.4).
    pub expires_in_s: Option<u32>,
}

/// A CONNECT (MQTT 3.1.1 §3.1).
#[derive(Debug, PartialEq)]
pub(super) struct Connect {
    pub version: Version,
    /// Whether the client is another broker: mosquitto's bridges set the highest bit of the level.
    pub is_bridge: bool,
    /// Empty where the client has none.
    pub client_id: String,
    pub keep_alive_s: u16,
    pub username: String,
    pub password: Secret,
    pub will: Option<Box<Will>>,
    /// QoS 1 messages that the client takes at once (v5 §3.1.2.11.3).
    pub receive_max: u16,
    /// The largest packet that the client takes (v5 §3.1.2.11.4).
    pub packet_max_bytes: usize,
    /// Whether an older session of the client is to be ended (MQTT 3.1.1 §3.1.2.4).
    pub is_clean: bool,
    /// Seconds that the session is to outlive its connection (v5 §3.1.2.11.2).
    pub expiry_s: u32,
    /// The highest topic alias that the client takes (v5 §3.1.2.11.5).
    pub aliases_max: u16,
    /// Whether the client requests reason strings (v5 §3.1.2.11.7).
    pub problem_information: bool,
}

impl Connect {
    /// Reads the first frame of a connection: a CONNECT or nothing.
    ///
    /// For a `guest`, no credentials are asked for.
    pub(super) fn read(header: Header, frame: BytesMut, guest: bool) -> Result<Self, Rejection> {
        if header.byte1 >> 4 != 1 {
            return Err(Rejection::SILENT);
        }
        let Preamble { version, is_bridge, flags } = Preamble::read(&frame[header.length..])?;
        let reject = |refusal| Rejection::new(version, refusal);
        // §3.1.2.3: bit 0 is reserved. §3.1.2.9: 3.1.1 has no password without a user name.
        if flags & 1 != 0 || (version == Version::V4 && flags & 0b1100_0000 == 0b0100_0000) {
            return Err(reject(Refusal::Malformed));
        }
        let mut frame = frame;
        if is_bridge {
            // The codec knows the level without the bit.
            frame[header.length + LEVEL_AT] &= !BRIDGE;
        }
        let packet = version.read(frame).map_err(|_| reject(Refusal::Malformed))?;
        let Packet::Connect(connect, properties, will, will_properties, login) = packet else {
            return Err(reject(Refusal::Malformed));
        };
        if connect.client_id.contains('\0') {
            return Err(reject(Refusal::Malformed));
        }
        if let Some(properties) = &properties {
            if properties.receive_maximum == Some(0) || properties.max_packet_size == Some(0) {
                return Err(reject(Refusal::Protocol));
            }
            if properties.authentication_method.is_some() {
                return Err(reject(Refusal::AuthenticationMethod));
            }
            // v5 §3.1.2.11.10: data without a method.
            if properties.authentication_data.is_some() {
                return Err(reject(Refusal::Protocol));
            }
        }
        let will = will.map(|will| read_will(will, will_properties)).transpose().map_err(reject)?;
        if version == Version::V4 && connect.client_id.is_empty() && !connect.clean_session {
            return Err(reject(Refusal::ClientId));
        }
        let login = login.filter(|login| !login.username.is_empty() && !login.password.is_empty());
        let (username, password) = match login {
            Some(login) => (login.username, login.password),
            None if guest => Default::default(),
            None => return Err(reject(Refusal::Credentials)),
        };
        let is_clean = connect.clean_session;
        let mut connect = Self {
            version,
            is_bridge,
            client_id: connect.client_id,
            keep_alive_s: connect.keep_alive,
            username,
            password: Secret::new(password),
            will,
            receive_max: u16::MAX,
            packet_max_bytes: usize::MAX,
            is_clean,
            // 3.1.1 has no number: such a session lives as long as the hub allows.
            expiry_s: if version == Version::V4 && !is_clean { u32::MAX } else { 0 },
            aliases_max: 0,
            problem_information: true,
        };
        if let Some(properties) = properties {
            connect.receive_max = properties.receive_maximum.unwrap_or(u16::MAX);
            connect.packet_max_bytes = properties.max_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
            connect.expiry_s = properties.session_expiry_interval.unwrap_or(0);
            connect.aliases_max = properties.topic_alias_max.unwrap_or(0);
            connect.problem_information = properties.request_problem_info != Some(0);
        }
        Ok(connect)
    }
}

/// Where a CONNECT of protocol name "MQTT" has its level, counted from that name.
const LEVEL_AT: usize = 6;
/// The bit of the level that mosquitto's bridges set: "I am a broker".
const BRIDGE: u8 = 0x80;

/// The beginning of a CONNECT: it decides on the codec.
struct Preamble {
    version: Version,
    is_bridge: bool,
    flags: u8,
}

impl Preamble {
    /// `packet` starts at the protocol name.
    fn read(packet: &[u8]) -> Result<Self, Rejection> {
        let (level, is_old_name) = match packet {
            [0, 4, b'M', b'Q', b'T', b'T', level, ..] => (*level, false),
            // MQTT 3.1.
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => (*level, true),
            _ => return Err(Rejection::SILENT),
        };
        let is_bridge = level & BRIDGE != 0;
        let version = match (level & !BRIDGE, is_old_name) {
            (4, false) => Version::V4,
            (5, false) if !is_bridge => Version::V5,
            // A newer client reads the answer of version 5 (v5 §3.1.2.2), any other that of 3.1.1 (§3.1.2.2).
            (6.., false) if !is_bridge => return Err(Rejection::new(Version::V5, Refusal::UnsupportedVersion)),
            _ => return Err(Rejection::new(Version::V4, Refusal::UnsupportedVersion)),
        };
        let flags = *packet.get(LEVEL_AT + 1).ok_or(Rejection::SILENT)?;
        Ok(Self { version, is_bridge, flags })
    }
}

fn read_will(will: protocol::LastWill, properties: Option<protocol::LastWillProperties>) -> Result<Box<Will>, Refusal> {
    let topic = std::str::from_utf8(&will.topic).map_err(|_| Refusal::Malformed)?;
    // §1.5.3: a text with this character ends the connection.
    if topic.contains('\0') {
        return Err(Refusal::Malformed);
    }
    let topic = topic.parse().map_err(|_| Refusal::WillTopic)?;
    let qos = match will.qos {
        protocol::QoS::AtMostOnce => QoS::AtMostOnce,
        protocol::QoS::AtLeastOnce => QoS::AtLeastOnce,
        protocol::QoS::ExactlyOnce => QoS::ExactlyOnce,
    };
    // Kept as long as the session: a slice would keep the read buffer.
    let payload = Bytes::copy_from_slice(&will.message);
    let (mut delay_s, mut expires_in_s, mut passed_on) = (0, None, Bytes::new());
    if let Some(will) = properties {
        if will.response_topic.as_ref().is_some_and(|topic| topic.parse::<Topic>().is_err()) {
            return Err(Refusal::Protocol);
        }
        delay_s = will.delay_interval.unwrap_or(0);
        expires_in_s = will.message_expiry_interval;
        passed_on = properties::passed_on(&protocol::PublishProperties {
            payload_format_indicator: will.payload_format_indicator,
            message_expiry_interval: None,
            topic_alias: None,
            response_topic: will.response_topic,
            correlation_data: will.correlation_data,
            user_properties: will.user_properties,
            subscription_identifiers: Vec::new(),
            content_type: will.content_type,
        });
    }
    let retain = will.retain;
    Ok(Box::new(Will { topic, payload, qos, retain, delay_s, properties: passed_on, expires_in_s }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::mqtt::codec;

    fn read(bytes: &[u8]) -> Result<Connect, Rejection> {
        let mut buffer = BytesMut::from(bytes);
        let (header, frame) = codec::take_frame(&mut buffer, 1 << 16).unwrap().unwrap();
        Connect::read(header, frame, false)
    }

    fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        packet.extend_from_slice(rest);
        packet[1] = (packet.len() - 2) as u8;
        packet
    }

    #[test]
    fn both_versions_are_distinguished() {
        let v4 = read(&connect(4, 0xc2, b"\0\x02id\0\x01u\0\x01p")).unwrap();
        let expected = Connect {
            version: Version::V4,
            is_bridge: false,
            client_id: "id".into(),
            keep_alive_s: 60,
            username: "u".into(),
            password: Secret::new("p"),
            will: None,
            receive_max: u16::MAX,
            packet_max_bytes: usize::MAX,
            is_clean: true,
            expiry_s: 0,
            aliases_max: 0,
            problem_information: true,
        };
        assert_eq!(v4, expected);
        let v5 = read(&connect(5, 0xc2, b"\x0d\x11\0\0\0\x09\x21\0\x05\x27\0\0\x01\0\0\x02id\0\x01u\0\x01p")).unwrap();
        let limits = Connect { version: Version::V5, receive_max: 5, packet_max_bytes: 256, expiry_s: 9, ..expected };
        assert_eq!(v5, limits);
    }

    #[test]
    fn a_bridge_of_mosquitto_is_known_by_the_bit_of_its_level() {
        let bridge = read(&connect(0x84, 0xc2, b"\0\x02id\0\x01u\0\x01p")).unwrap();
        assert_eq!((bridge.version, bridge.is_bridge), (Version::V4, true));
    }

    #[test]
    fn a_will_is_read_and_its_topic_checked() {
        let with_will = read(&connect(4, 0xee, b"\0\0\0\x05\xe4\xbd\xa0/w\0\x03bye\0\x01u\0\x01p")).unwrap();
        let will = Will {
            topic: "你/w".parse().unwrap(),
            payload: Bytes::from_static(b"bye"),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay_s: 0,
            properties: Bytes::new(),
            expires_in_s: None,
        };
        assert_eq!(with_will.will, Some(Box::new(will)));
        let of_topic = |level: u8, topic: &str| {
            let properties = if level == 5 { &[0][..] } else { &[] };
            let will = [properties, &[0, topic.len() as u8], topic.as_bytes(), b"\0\0"].concat();
            let rest = [properties, b"\0\x02id", &will[..], b"\0\x01u\0\x01p"].concat();
            read(&connect(level, 0xc6, &rest)).map(|connect| connect.will.is_some())
        };
        for (level, version) in [(4, Version::V4), (5, Version::V5)] {
            assert_eq!(of_topic(level, "a/b"), Ok(true));
            for topic in ["#", "a/#", "a/+/b", ""] {
                assert_eq!(of_topic(level, topic), Err(Rejection::new(version, Refusal::WillTopic)), "{topic}");
            }
            assert_eq!(of_topic(level, "a\0b"), Err(Rejection::new(version, Refusal::Malformed)));
        }
    }

    #[test]
    fn refusals_have_their_codes() {
        let v4 = |refusal| Rejection::new(Version::V4, refusal);
        let v5 = |refusal| Rejection::new(Version::V5, refusal);
        let old = b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04abcd".to_vec();
        for (packet, expected) in [
            (old, v4(Refusal::UnsupportedVersion)),
            (connect(3, 2, b"\0\x01a"), v4(Refusal::UnsupportedVersion)),
            (connect(6, 2, b"\0\0\x01a"), v5(Refusal::UnsupportedVersion)),
            (connect(0x83, 2, b"\0\x01a"), v4(Refusal::UnsupportedVersion)),
            (connect(0x85, 2, b"\0\0\x01a"), v4(Refusal::UnsupportedVersion)),
            (connect(4, 3, b"\0\x01a"), v4(Refusal::Malformed)),
            (connect(4, 0x42, b"\0\x01a\0\x01p"), v4(Refusal::Malformed)),
            (connect(4, 0xc2, b"\0\x01a\0\x01u"), v4(Refusal::Malformed)),
            (connect(4, 0xc2, b"\0\x01\0\0\x01u\0\x01p"), v4(Refusal::Malformed)),
            (connect(4, 0x1e, b"\0\x01a\0\x01t\0\0"), v4(Refusal::Malformed)),
            (connect(4, 0xc0, b"\0\0\0\x01u\0\x01p"), v4(Refusal::ClientId)),
            (connect(4, 2, b"\0\x01a"), v4(Refusal::Credentials)),
            (connect(4, 0x82, b"\0\x01a\0\x01u"), v4(Refusal::Credentials)),
            (connect(5, 2, b"\0\0\x01a"), v5(Refusal::Credentials)),
            (connect(5, 0x42, b"\0\0\x01a\0\x01p"), v5(Refusal::Credentials)),
            (connect(5, 2, b"\x04\x15\0\x01x\0\x01a"), v5(Refusal::AuthenticationMethod)),
            (connect(5, 2, b"\x03\x21\0\0\0\x01a"), v5(Refusal::Protocol)),
            (connect(5, 2, b"\x05\x27\0\0\0\0\0\x01a"), v5(Refusal::Protocol)),
            (connect(5, 2, b""), v5(Refusal::Malformed)),
            (b"\x10\x06\0\x04HTTP".to_vec(), Rejection::SILENT),
            (b"\x10\x07\0\x04MQTT\x04".to_vec(), Rejection::SILENT),
            (b"\xc0\0".to_vec(), Rejection::SILENT),
        ] {
            assert_eq!(read(&packet), Err(expected), "{packet:?}");
        }
    }
}
