//! From the first byte to CONNACK: who connects, on which terms.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use rand::Rng as _;
use rumqttd::protocol::{self, ConnAckProperties, ConnectReturnCode, Packet};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::codec::{self, Header, Version};
use super::encode;
use super::exchange::{Exchange, Terms};
use super::link::Link;
use super::reason::Refusal;
use super::session::Session;
use super::{Edge, Profile};
use crate::config::{self, seconds};
use crate::model::{QoS, Secret, Timestamp, Topic};
use crate::ports::router::{CloseReason, Mailbox};

/// A CONNECT that was refused, and how to say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The version to answer in; none where no MQTT client would understand.
    answer_in: Option<Version>,
    refusal: Refusal,
}

impl Rejection {
    const SILENT: Self = Self { answer_in: None, refusal: Refusal::Malformed };

    fn new(version: Version, refusal: Refusal) -> Self {
        Self { answer_in: Some(version), refusal }
    }

    fn write(&self, buffer: &mut BytesMut) {
        let Some(version) = self.answer_in else { return };
        let code = match version {
            Version::V4 => self.refusal.v4_code(),
            Version::V5 => Some(self.refusal.v5_code()),
        };
        if let Some(code) = code {
            encode::connack(version, code, ConnAckProperties::default(), buffer);
        }
    }
}

/// What the client's end of a session publishes if it ends badly (MQTT 3.1.1 §3.1.2.5).
#[derive(Debug, PartialEq)]
pub(super) struct Will {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
}

/// A CONNECT (MQTT 3.1.1 §3.1).
#[derive(Debug, PartialEq)]
pub(super) struct Hello {
    pub version: Version,
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
    /// Whether the client wants its session kept (v5 §3.1.2.11.2).
    pub wants_expiry: bool,
}

impl Hello {
    /// Reads the first frame of a connection: a CONNECT or nothing.
    pub(super) fn read(header: Header, frame: BytesMut) -> Result<Self, Rejection> {
        if header.byte1 >> 4 != 1 {
            return Err(Rejection::SILENT);
        }
        let (version, flags) = version_and_flags(&frame[header.length..])?;
        let reject = |refusal| Rejection::new(version, refusal);
        // §3.1.2.3: bit 0 is reserved. §3.1.2.9: 3.1.1 has no password without a user name.
        if flags & 1 != 0 || (version == Version::V4 && flags & 0b1100_0000 == 0b0100_0000) {
            return Err(reject(Refusal::Malformed));
        }
        let packet = version.read(frame).map_err(|_| reject(Refusal::Malformed))?;
        let Packet::Connect(connect, properties, will, _, login) = packet else {
            return Err(reject(Refusal::Malformed));
        };
        if connect.client_id.contains('\0') {
            return Err(reject(Refusal::Malformed));
        }
        let mut limits = (u16::MAX, usize::MAX, false);
        if let Some(properties) = properties {
            if properties.receive_maximum == Some(0) || properties.max_packet_size == Some(0) {
                return Err(reject(Refusal::Protocol));
            }
            if properties.authentication_method.is_some() {
                return Err(reject(Refusal::AuthenticationMethod));
            }
            let packet_max_bytes = properties.max_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
            let wants_expiry = properties.session_expiry_interval.is_some_and(|interval| interval > 0);
            limits = (properties.receive_maximum.unwrap_or(u16::MAX), packet_max_bytes, wants_expiry);
        }
        let will = will.map(read_will).transpose().map_err(reject)?;
        if version == Version::V4 && connect.client_id.is_empty() && !connect.clean_session {
            return Err(reject(Refusal::ClientId));
        }
        let Some(login) = login.filter(|login| !login.username.is_empty() && !login.password.is_empty()) else {
            return Err(reject(Refusal::Credentials));
        };
        Ok(Self {
            version,
            client_id: connect.client_id,
            keep_alive_s: connect.keep_alive,
            username: login.username,
            password: Secret::new(login.password),
            will,
            receive_max: limits.0,
            packet_max_bytes: limits.1,
            wants_expiry: limits.2,
        })
    }
}

/// The version of a CONNECT, which decides on the codec, and its flags. `packet` starts at the protocol name.
fn version_and_flags(packet: &[u8]) -> Result<(Version, u8), Rejection> {
    let level = match packet {
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] => *level,
        // MQTT 3.1.
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => *level,
        _ => return Err(Rejection::SILENT),
    };
    let version = match (level, packet.len()) {
        (4, 8..) if packet[1] == 4 => Version::V4,
        (5, 8..) if packet[1] == 4 => Version::V5,
        // A newer client reads the answer of version 5, an older one that of 3.1.1 (v5 §3.1.2.2).
        (6.., _) => return Err(Rejection::new(Version::V5, Refusal::UnsupportedVersion)),
        (4 | 5, _) if packet[1] == 4 => return Err(Rejection::SILENT),
        _ => return Err(Rejection::new(Version::V4, Refusal::UnsupportedVersion)),
    };
    Ok((version, packet[7]))
}

fn read_will(will: protocol::LastWill) -> Result<Box<Will>, Refusal> {
    let topic = std::str::from_utf8(&will.topic).map_err(|_| Refusal::Malformed)?;
    let topic = topic.parse().map_err(|_| Refusal::WillTopic)?;
    let qos = match will.qos {
        protocol::QoS::AtMostOnce => QoS::AtMostOnce,
        protocol::QoS::AtLeastOnce => QoS::AtLeastOnce,
        protocol::QoS::ExactlyOnce => QoS::ExactlyOnce,
    };
    // Kept as long as the session: a slice would keep the read buffer.
    let payload = Bytes::copy_from_slice(&will.message);
    Ok(Box::new(Will { topic, payload, qos, retain: will.retain }))
}

/// Brings a new connection to its session; none if it was refused, silent for too long, or the hub stops.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite>(
    socket: S,
    peer: IpAddr,
    edge: Arc<Edge>,
    _profile: Profile,
) -> Option<Session<S>> {
    let patience = seconds(edge.config.connect_timeout_s);
    let mut link = Link::new(socket, seconds(edge.config.write_timeout_s));
    let entered = async {
        let hello = read_hello(&mut link, edge.config.packet_max_bytes).await?;
        let mailbox = admit(&hello, peer, &edge).await.map_err(|refusal| Rejection::new(hello.version, refusal))?;
        Ok::<_, Rejection>((hello, mailbox))
    };
    let entered = tokio::select! {
        entered = timeout(patience, entered) => entered.unwrap_or(Err(Rejection::SILENT)),
        () = edge.shutdown.cancelled() => Err(Rejection::SILENT),
    };
    let (mut hello, mailbox) = match entered {
        Ok(entered) => entered,
        Err(rejection) => {
            tracing::debug!(%peer, reason = ?rejection.refusal, "mqtt connection refused");
            rejection.write(&mut link.output.buffer);
            link.close().await;
            return None;
        }
    };
    let assigned = hello.client_id.is_empty().then(assigned_client_id);
    let client_id = assigned.clone().unwrap_or_else(|| std::mem::take(&mut hello.client_id));
    let guard = edge.sessions.enter(client_id, &mailbox, patience).await;
    if edge.shutdown.is_cancelled() {
        // Entered after all sessions were closed.
        mailbox.close(CloseReason::ShuttingDown);
    }
    let terms = terms(&hello, &edge.config);
    let keep_alive_s = keep_alive_s(&hello, &edge.config);
    let properties = connack_properties(&hello, assigned, keep_alive_s, &edge.config);
    encode::connack(hello.version, ConnectReturnCode::Success, properties, &mut link.output.buffer);
    // §3.1.2.10: one and a half times the keep alive; 0 turns it off.
    let silence_max = (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into()) * 3 / 2);
    Some(Session::new(edge, link, mailbox, guard, Exchange::new(terms), hello.will, silence_max))
}

async fn read_hello<S: AsyncRead + AsyncWrite>(
    link: &mut Link<S>,
    packet_max_bytes: usize,
) -> Result<Hello, Rejection> {
    loop {
        match codec::take_frame(&mut link.input.buffer, packet_max_bytes) {
            Ok(Some((header, frame))) => return Hello::read(header, frame),
            Ok(None) if matches!(link.input.buffer.first(), None | Some(0x10)) => {}
            // No CONNECT: nothing that follows is waited for.
            Ok(None) | Err(_) => return Err(Rejection::SILENT),
        }
        match link.input.read().await {
            Ok(0) | Err(_) => return Err(Rejection::SILENT),
            Ok(_) => {}
        }
    }
}

async fn admit(hello: &Hello, peer: IpAddr, edge: &Edge) -> Result<Mailbox, Refusal> {
    let now: Timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    edge.hub.may_connect(peer).map_err(|error| Refusal::from(&error))?;
    let party = edge.hub.authenticate_client(&hello.username, hello.password.clone(), peer, now).await;
    party
        .and_then(|party| edge.hub.connect(party, edge.config.queue_messages_max))
        .map_err(|error| Refusal::from(&error))
}

/// A client id for a client without one (v5 §3.1.3.1).
fn assigned_client_id() -> String {
    let mut digits = [0u8; 12];
    rand::rng().fill_bytes(&mut digits);
    format!("toyhub-{}", hex::encode(digits))
}

fn terms(hello: &Hello, config: &config::Mqtt) -> Terms {
    Terms {
        version: hello.version,
        packet_max_bytes: hello.packet_max_bytes,
        window: hello.receive_max.min(config.inflight_max),
        receive_max: config.inflight_max,
    }
}

/// The keep alive that the server holds the client to; 0 for none.
///
/// v5 lets the server choose (v5 §3.2.2.3.14). 3.1.1 does not: a client that asks for none, or for a long one, keeps
/// it, and TCP keep alive finds out when it is gone.
fn keep_alive_s(hello: &Hello, config: &config::Mqtt) -> u16 {
    let asked = hello.keep_alive_s;
    match hello.version {
        Version::V5 if asked == 0 || asked > config.keep_alive_max_s => config.keep_alive_max_s,
        _ => asked,
    }
}

fn connack_properties(
    hello: &Hello,
    assigned: Option<String>,
    keep_alive_s: u16,
    config: &config::Mqtt,
) -> ConnAckProperties {
    ConnAckProperties {
        // Sessions end with their connection: what is unread waits in the store.
        session_expiry_interval: hello.wants_expiry.then_some(0),
        receive_max: Some(config.inflight_max),
        retain_available: Some(1),
        max_packet_size: Some(u32::try_from(config.packet_max_bytes).unwrap_or(u32::MAX)),
        assigned_client_identifier: assigned,
        topic_alias_max: Some(0),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: (keep_alive_s != hello.keep_alive_s).then_some(keep_alive_s),
        ..ConnAckProperties::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Hello, Rejection> {
        let mut buffer = BytesMut::from(bytes);
        let (header, frame) = codec::take_frame(&mut buffer, 1 << 16).unwrap().unwrap();
        Hello::read(header, frame)
    }

    fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        packet.extend_from_slice(rest);
        packet[1] = (packet.len() - 2) as u8;
        packet
    }

    #[test]
    fn both_versions_are_told_apart() {
        let v4 = read(&connect(4, 0xc2, b"\0\x02id\0\x01u\0\x01p")).unwrap();
        let expected = Hello {
            version: Version::V4,
            client_id: "id".into(),
            keep_alive_s: 60,
            username: "u".into(),
            password: Secret::new("p"),
            will: None,
            receive_max: u16::MAX,
            packet_max_bytes: usize::MAX,
            wants_expiry: false,
        };
        assert_eq!(v4, expected);
        let v5 = read(&connect(5, 0xc2, b"\x0d\x11\0\0\0\x09\x21\0\x05\x27\0\0\x01\0\0\x02id\0\x01u\0\x01p")).unwrap();
        let limits =
            Hello { version: Version::V5, receive_max: 5, packet_max_bytes: 256, wants_expiry: true, ..expected };
        assert_eq!(v5, limits);
    }

    #[test]
    fn a_will_is_read_and_its_topic_checked() {
        let hello = read(&connect(4, 0xee, b"\0\0\0\x05\xe4\xbd\xa0/w\0\x03bye\0\x01u\0\x01p")).unwrap();
        let will = Will {
            topic: "你/w".parse().unwrap(),
            payload: Bytes::from_static(b"bye"),
            qos: QoS::AtLeastOnce,
            retain: true,
        };
        assert_eq!(hello.will, Some(Box::new(will)));
        let error = read(&connect(5, 0xc6, b"\0\0\0\0\0\x01#\0\0\0\x01u\0\x01p")).unwrap_err();
        assert_eq!(error, Rejection::new(Version::V5, Refusal::WillTopic));
    }

    #[test]
    fn what_is_refused_is_refused_with_its_code() {
        let v4 = |refusal| Rejection::new(Version::V4, refusal);
        let v5 = |refusal| Rejection::new(Version::V5, refusal);
        let old = b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04abcd".to_vec();
        for (packet, expected) in [
            (old, v4(Refusal::UnsupportedVersion)),
            (connect(3, 2, b"\0\x01a"), v4(Refusal::UnsupportedVersion)),
            (connect(6, 2, b"\0\0\x01a"), v5(Refusal::UnsupportedVersion)),
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
