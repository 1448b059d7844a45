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
use super::exchange::{Exchange, Memory, Terms};
use super::link::Link;
use super::reason::Refusal;
use super::session::{Lifetime, Session};
use super::sessions::{Kept, SessionPlace};
use super::{Edge, Profile};
use crate::config::{self, seconds};
use crate::domain::error::DomainError;
use crate::domain::permissions::guest;
use crate::model::{Party, QoS, Secret, Timestamp, Topic};
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
            encode::connack(version, false, code, ConnAckProperties::default(), buffer);
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
    /// Seconds that it waits for the client to come back (v5 §3.1.3.2.2).
    pub delay_s: u32,
    /// What is passed on as it is, see [`encode::properties`].
    pub properties: Bytes,
    /// Seconds until it is of no use, counted from its publishing (v5 §3.1.3.2.4).
    pub expires_in_s: Option<u32>,
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
    /// Whether an older session of the client is to be ended (MQTT 3.1.1 §3.1.2.4).
    pub is_clean: bool,
    /// Seconds that the session is to outlive its connection (v5 §3.1.2.11.2).
    pub expiry_s: u32,
    /// The highest topic alias that the client takes (v5 §3.1.2.11.5).
    pub aliases_max: u16,
    /// Whether the client wants reasons in words (v5 §3.1.2.11.7).
    pub problem_information: bool,
}

impl Hello {
    /// Reads the first frame of a connection: a CONNECT or nothing.
    ///
    /// For a `guest`, no credentials are asked for.
    pub(super) fn read(header: Header, frame: BytesMut, guest: bool) -> Result<Self, Rejection> {
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
        let mut hello = Self {
            version,
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
            hello.receive_max = properties.receive_maximum.unwrap_or(u16::MAX);
            hello.packet_max_bytes = properties.max_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
            hello.expiry_s = properties.session_expiry_interval.unwrap_or(0);
            hello.aliases_max = properties.topic_alias_max.unwrap_or(0);
            hello.problem_information = properties.request_problem_info != Some(0);
        }
        Ok(hello)
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

fn read_will(will: protocol::LastWill, properties: Option<protocol::LastWillProperties>) -> Result<Box<Will>, Refusal> {
    let topic = std::str::from_utf8(&will.topic).map_err(|_| Refusal::Malformed)?;
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
        passed_on = encode::properties(&protocol::PublishProperties {
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

/// Brings a new connection to its session; none if it was refused, silent for too long, or the hub stops.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite>(
    socket: S,
    peer: IpAddr,
    edge: Arc<Edge>,
    profile: Profile,
) -> Option<Session<S>> {
    let patience = seconds(edge.config.connect_timeout_s);
    let mut link = Link::new(socket, seconds(edge.config.write_timeout_s));
    let entered = async {
        let mut hello = read_hello(&mut link, edge.config.packet_max_bytes, profile).await?;
        hello.expiry_s = hello.expiry_s.min(edge.config.session_expiry_max_s);
        let reject = |refusal| Rejection::new(hello.version, refusal);
        let party = admit(&hello, peer, &edge, profile).await.map_err(reject)?;
        let entered = enter(&hello, party, &edge, patience).await.map_err(reject)?;
        Ok::<_, Rejection>((hello, entered))
    };
    let entered = tokio::select! {
        entered = timeout(patience * 2, entered) => entered.unwrap_or(Err(Rejection::SILENT)),
        () = edge.shutdown.cancelled() => Err(Rejection::SILENT),
    };
    let (mut hello, entered) = match entered {
        Ok(entered) => entered,
        Err(rejection) => {
            tracing::debug!(%peer, reason = ?rejection.refusal, "mqtt connection refused");
            rejection.write(&mut link.output.buffer);
            link.close().await;
            return None;
        }
    };
    if edge.shutdown.is_cancelled() {
        // Entered after all sessions were closed.
        entered.mailbox.close(CloseReason::ShuttingDown);
    }
    let terms = terms(&hello, &edge.config);
    let keep_alive_s = keep_alive_s(&hello, &edge.config);
    let properties = connack_properties(&hello, entered.assigned_id, keep_alive_s, &edge.config);
    let present = entered.is_resumed;
    encode::connack(hello.version, present, ConnectReturnCode::Success, properties, &mut link.output.buffer);
    // §3.1.2.10: one and a half times the keep alive; 0 turns it off.
    let silence_max = (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into()) * 3 / 2);
    let lifetime = Lifetime { will: hello.will.take(), expiry_s: hello.expiry_s, silence_max };
    Some(Session::new(edge, link, entered.mailbox, entered.place, Exchange::new(terms, entered.memory), lifetime))
}

async fn read_hello<S: AsyncRead + AsyncWrite>(
    link: &mut Link<S>,
    packet_max_bytes: usize,
    profile: Profile,
) -> Result<Hello, Rejection> {
    loop {
        match codec::take_frame(&mut link.input.buffer, packet_max_bytes) {
            Ok(Some((header, frame))) => return Hello::read(header, frame, profile == Profile::Conformance),
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

/// Who connects. The conformance listener asks nobody.
async fn admit(hello: &Hello, peer: IpAddr, edge: &Edge, profile: Profile) -> Result<Party, Refusal> {
    if profile == Profile::Conformance {
        return Ok(guest());
    }
    edge.hub.may_connect(peer).map_err(|error| Refusal::from(&error))?;
    let party = edge.hub.authenticate_client(&hello.username, hello.password.clone(), peer, now()).await;
    party.map_err(|error| Refusal::from(&error))
}

/// A client's place among the sessions, with what its session remembers.
struct Entered {
    mailbox: Mailbox,
    place: SessionPlace,
    memory: Memory,
    is_resumed: bool,
    assigned_id: Option<String>,
}

/// Ends the client's older connection, and takes its session up again or begins a new one.
async fn enter(hello: &Hello, party: Party, edge: &Edge, patience: Duration) -> Result<Entered, Refusal> {
    let assigned_id = hello.client_id.is_empty().then(assigned_client_id);
    let client_id = assigned_id.as_ref().unwrap_or(&hello.client_id);
    let mut place = edge.sessions.enter(&party, client_id, patience).await.ok_or(Refusal::Busy)?;
    let refused = |error: DomainError| Refusal::from(&error);
    let kept = place.take(now());
    let (mailbox, memory, is_resumed) = match kept {
        Some(kept) if !hello.is_clean => {
            let (handle, memory) = kept.resume();
            let mailbox = match edge.hub.attach(&handle) {
                Ok(mailbox) => mailbox,
                Err(error) => {
                    place.keep(Kept::new(handle, memory, now() + f64::from(hello.expiry_s), None));
                    return Err(refused(error));
                }
            };
            mailbox.set_expiry(hello.expiry_s);
            (Ok(mailbox), memory, true)
        }
        kept => {
            if let Some(kept) = kept {
                kept.end();
            }
            let mailbox = if hello.expiry_s == 0 {
                edge.hub.connect(party, edge.config.queue_messages_max)
            } else if !edge.sessions.has_room(&party, &edge.config) {
                Err(DomainError::Full("session of this user or toy"))
            } else {
                edge.hub.attach(&edge.hub.open_session(party, client_id, hello.expiry_s))
            };
            (mailbox, Memory::default(), false)
        }
    };
    let mailbox = mailbox.map_err(refused)?;
    if let Some(session) = mailbox.session() {
        // Here already, so that a connection that fails in whatever way leaves the session behind.
        place.keep(Kept::new(session, Memory::default(), now() + f64::from(hello.expiry_s), None));
    }
    place.serve(&mailbox);
    if is_resumed {
        forget_what_is_forbidden(&mailbox, edge).await.map_err(refused)?;
    }
    Ok(Entered { mailbox, place, memory, is_resumed, assigned_id })
}

/// Ends subscriptions of a resumed session that would be refused today.
async fn forget_what_is_forbidden(mailbox: &Mailbox, edge: &Edge) -> Result<(), DomainError> {
    for (filter, share) in mailbox.subscriptions() {
        if !edge.hub.may_hear(mailbox.party(), filter.as_str()).await? {
            mailbox.unsubscribe(&filter, share.as_deref());
        }
    }
    Ok(())
}

/// The time of the calendar.
pub(super) fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
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
        aliases_in_max: config.topic_aliases_max,
        aliases_out_max: hello.aliases_max.min(config.topic_aliases_max),
        problem_information: hello.problem_information,
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
        // Always told: the hub may allow less than was asked for (v5 §3.2.2.3.2).
        session_expiry_interval: Some(hello.expiry_s),
        receive_max: Some(config.inflight_max),
        retain_available: Some(1),
        max_packet_size: Some(u32::try_from(config.packet_max_bytes).unwrap_or(u32::MAX)),
        assigned_client_identifier: assigned,
        topic_alias_max: Some(config.topic_aliases_max),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(1),
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
        Hello::read(header, frame, false)
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
            is_clean: true,
            expiry_s: 0,
            aliases_max: 0,
            problem_information: true,
        };
        assert_eq!(v4, expected);
        let v5 = read(&connect(5, 0xc2, b"\x0d\x11\0\0\0\x09\x21\0\x05\x27\0\0\x01\0\0\x02id\0\x01u\0\x01p")).unwrap();
        let limits = Hello { version: Version::V5, receive_max: 5, packet_max_bytes: 256, expiry_s: 9, ..expected };
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
            delay_s: 0,
            properties: Bytes::new(),
            expires_in_s: None,
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
