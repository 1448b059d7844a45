//! One connection to a broker: MQTT 3.1.1 over TCP or TLS.
//!
//! `rumqttc` encodes and decodes. Its event loop is not used: it forgets what is unacknowledged when the broker has no
//! session, reports no queued message as such, knows one address, and needs a second version of `webpki` for TLS.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, Packet, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, Error as CodecError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{BusAddress, BusSettings};
use crate::ports::outgoing::{OutgoingError, encrypt};

/// The bytes to write from which on nothing is added until they are written.
const WRITTEN_AT_ONCE: usize = 256 * 1024;
/// The packet id of the only SUBSCRIBE of a connection.
const SUBSCRIBE_ID: u16 = u16::MAX;

/// Why a connection has ended, or was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    #[error(
        "the certificate of the broker is refused ({0}); name its authority in cluster.certificates, and the broker as its \
         certificate does"
    )]
    Untrusted(String),
    #[error("the broker does not answer with TLS ({0}); if its port is without TLS, set mqtt:// in cluster.bus")]
    NoTls(String),
    #[error(
        "the broker closes the connection instead of answering; if its port expects TLS, set mqtts:// in cluster.bus"
    )]
    Dismissed,
    #[error("the broker does not answer")]
    Silent,
    #[error("the broker has closed the connection")]
    Closed,
    #[error("the broker refuses the user or the password")]
    WrongCredentials,
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    #[error("the broker refuses the subscription to {0}")]
    FilterRefused(String),
    #[error("the broker sends what is no MQTT 3.1.1: {0}")]
    Malformed(String),
    #[error("the broker keeps a message for this hub that is larger than cluster.packet_max_bytes")]
    TooLarge,
    #[error("the broker accepts messages, and does not deliver them")]
    Loses,
    #[error("the sessions of this hub cannot be written")]
    NotStored,
}

impl LinkError {
    /// The reason for the operator, without details.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Closed | Self::Silent => {
                "no broker of cluster.bus can be reached; the hub goes on, and gets the events of other hubs late"
            }
            Self::Untrusted(_) => {
                "the certificate of the broker of cluster.bus is refused; name its authority in cluster.certificates, and \
                 the broker as its certificate does"
            }
            Self::NoTls(_) => {
                "the broker of cluster.bus does not answer with TLS; if its port is without TLS, set mqtt:// in cluster.bus"
            }
            Self::Dismissed => {
                "the broker of cluster.bus closes the connection instead of answering; if its port expects TLS, set mqtts:// in \
                 cluster.bus"
            }
            Self::WrongCredentials => "the broker of cluster.bus refuses cluster.username or its password",
            Self::Refused(_) | Self::Malformed(_) => "the broker of cluster.bus refuses the connection, see the log",
            Self::FilterRefused(_) => {
                "the broker of cluster.bus refuses the subscriptions; give cluster.username the right to subscribe and \
                 to publish below cluster.prefix"
            }
            Self::TooLarge => {
                "the broker keeps a message for this hub that is larger than cluster.packet_max_bytes; the hub begins another \
                 session there. Set the same size at all hubs, and let nobody else publish below cluster.prefix"
            }
            Self::Loses => "the broker of cluster.bus accepts messages, and does not deliver them",
            Self::NotStored => "the file of sessions cannot be written: messages of other hubs are not acknowledged",
        }
    }
}

/// Both directions of a stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(super) struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    read: BytesMut,
    to_write: BytesMut,
    /// Whether there is something to write, or to flush: the encryption keeps the end of what it was given.
    is_unwritten: bool,
    packet_max: usize,
    /// The filters of the subscription.
    filters: Vec<String>,
    /// Packets that came before the subscription was acknowledged.
    early: VecDeque<Packet>,
    /// Their maximum size, in bytes.
    early_max: usize,
}

impl Link {
    /// Connects and subscribes.
    pub(super) async fn open(
        address: &BusAddress,
        settings: &BusSettings,
        filters: &[String],
        will: LastWill,
    ) -> Result<Self, LinkError> {
        let opening = async {
            let mut link = Self::connect(address, settings).await?;
            link.introduce(settings, will, false).await?;
            link.subscribe(filters).await?;
            Ok(link)
        };
        timeout(settings.connect_timeout, opening).await.unwrap_or(Err(LinkError::Silent))
    }

    /// Has the broker forget the session of this hub, with all that it keeps for it.
    pub(super) async fn forget_session(
        address: &BusAddress,
        settings: &BusSettings,
        will: LastWill,
    ) -> Result<(), LinkError> {
        let forgetting = async {
            let mut link = Self::connect(address, settings).await?;
            link.introduce(settings, will, true).await?;
            link.close(settings.connect_timeout).await;
            Ok(())
        };
        timeout(settings.connect_timeout, forgetting).await.unwrap_or(Err(LinkError::Silent))
    }

    async fn connect(address: &BusAddress, settings: &BusSettings) -> Result<Self, LinkError> {
        let unreachable = |error: std::io::Error| LinkError::Unreachable(error.to_string());
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream: Box<dyn Stream> = match &address.tls {
            None => Box::new(stream),
            Some(tls) => {
                let connector: &TlsConnector = tls;
                let name = ServerName::try_from(address.host.clone());
                let name = name.map_err(|_| LinkError::Unreachable("the host is no valid name".into()))?;
                Box::new(encrypt(connector, name, stream).await.map_err(|error| match error {
                    OutgoingError::Untrusted(why) => LinkError::Untrusted(why),
                    OutgoingError::NoTls(why) => LinkError::NoTls(why),
                    error => LinkError::Unreachable(error.to_string()),
                })?)
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        let (read, to_write, early) = (BytesMut::new(), BytesMut::new(), VecDeque::new());
        let (packet_max, early_max, filters) = (settings.packet_max_bytes, settings.queue_bytes_max, Vec::new());
        Ok(Self { reader, writer, read, to_write, is_unwritten: false, packet_max, filters, early, early_max })
    }

    async fn introduce(
        &mut self,
        settings: &BusSettings,
        will: LastWill,
        clean_session: bool,
    ) -> Result<(), LinkError> {
        // Hubs of other databases may use the same broker.
        let mut connect = Connect::new(format!("toyhub-{}-{}", settings.data, settings.hub));
        // The hub sends a sign of life more often.
        let keep_alive = settings.keep_alive.as_secs().saturating_mul(2).clamp(1, u64::from(u16::MAX));
        connect.keep_alive = keep_alive as u16;
        connect.clean_session = clean_session;
        connect.last_will = Some(will);
        if let Some((username, password)) = &settings.credentials {
            connect.set_login(username.as_str(), password.reveal());
        }
        self.send(&Packet::Connect(connect))?;
        self.flush().await?;
        let answer = self.receive().await.map_err(|error| match error {
            LinkError::Closed => LinkError::Dismissed,
            error => error,
        })?;
        match answer {
            Packet::ConnAck(answer) => match answer.code {
                ConnectReturnCode::Success => Ok(()),
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                    Err(LinkError::WrongCredentials)
                }
                ConnectReturnCode::BadClientId => Err(LinkError::Refused("it does not accept the client id")),
                ConnectReturnCode::ServiceUnavailable => Err(LinkError::Refused("it is not available")),
                ConnectReturnCode::RefusedProtocolVersion => Err(LinkError::Refused("it has no MQTT 3.1.1")),
            },
            _ => Err(LinkError::Malformed("another packet as the answer to CONNECT".into())),
        }
    }

    async fn subscribe(&mut self, filters: &[String]) -> Result<(), LinkError> {
        let wanted = |path: &String| SubscribeFilter { path: path.clone(), qos: mqttbytes::QoS::AtLeastOnce };
        let filters_wanted = filters.iter().map(wanted).collect();
        self.send(&Packet::Subscribe(Subscribe { pkid: SUBSCRIBE_ID, filters: filters_wanted }))?;
        self.flush().await?;
        self.filters = filters.to_vec();
        let mut bytes = 0;
        while bytes < self.early_max {
            match self.receive().await? {
                Packet::SubAck(answer) => return self.granted(&answer),
                // Messages of the session may precede the answer.
                early => {
                    bytes += early.size();
                    self.early.push_back(early);
                }
            }
        }
        // The answer comes behind more of them.
        Ok(())
    }

    /// Checks the answer to SUBSCRIBE.
    fn granted(&self, answer: &SubAck) -> Result<(), LinkError> {
        let granted = SubscribeReasonCode::Success(mqttbytes::QoS::AtLeastOnce);
        let mut refused = self.filters.iter().zip(0..).filter(|(_, at)| answer.return_codes.get(*at) != Some(&granted));
        match refused.next() {
            None => Ok(()),
            Some((filter, _)) => Err(LinkError::FilterRefused(filter.clone())),
        }
    }

    /// The next packet. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<Packet, LinkError> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            if self.reader.read_buf(&mut self.read).await.map_err(|_| LinkError::Closed)? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<Packet>, LinkError> {
        match Packet::read(&mut self.read, self.packet_max) {
            Ok(packet) => Ok(Some(packet)),
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(CodecError::PayloadSizeLimitExceeded(_)) => Err(LinkError::TooLarge),
            Err(error) => Err(LinkError::Malformed(error.to_string())),
        }
    }

    /// The next packet, or progress of the packets to write: none then. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, LinkError> {
        match self.next_packet().await? {
            Some(Packet::SubAck(answer)) => self.granted(&answer).map(|()| None),
            packet => Ok(packet),
        }
    }

    async fn next_packet(&mut self) -> Result<Option<Packet>, LinkError> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
        if let Some(packet) = self.buffered()? {
            return Ok(Some(packet));
        }
        let is_unwritten = self.is_unwritten;
        tokio::select! {
            read = self.reader.read_buf(&mut self.read) => match read {
                Ok(1..) => self.buffered(),
                Ok(0) | Err(_) => Err(LinkError::Closed),
            },
            written = write_some(&mut self.writer, &mut self.to_write, &mut self.is_unwritten), if is_unwritten => {
                written.map(|()| None)
            }
        }
    }

    /// Whether another packet may be added to those to write.
    pub(super) fn has_room(&self) -> bool {
        self.to_write.len() < WRITTEN_AT_ONCE
    }

    /// Adds a packet to those to write. Errors: `Malformed` for one that is too large.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), LinkError> {
        let written = packet.write(&mut self.to_write, self.packet_max);
        self.is_unwritten = true;
        written.map(drop).map_err(|error| LinkError::Malformed(error.to_string()))
    }

    /// Writes all packets.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        while self.is_unwritten {
            write_some(&mut self.writer, &mut self.to_write, &mut self.is_unwritten).await?;
        }
        Ok(())
    }

    /// Ends the connection in order: the broker does not publish the last will.
    pub(super) async fn close(mut self, limit: Duration) {
        let closing = async {
            self.send(&Packet::Disconnect)?;
            self.flush().await?;
            self.writer.shutdown().await.map_err(|_| LinkError::Closed)
        };
        // The broker notices the end of the connection in any case.
        let _ = timeout(limit, closing).await;
    }
}

/// Writes a part, or flushes at the end. Cancel-safe.
async fn write_some(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    to_write: &mut BytesMut,
    is_unwritten: &mut bool,
) -> Result<(), LinkError> {
    if to_write.is_empty() {
        writer.flush().await.map_err(|_| LinkError::Closed)?;
        *is_unwritten = false;
        return Ok(());
    }
    match writer.write_buf(to_write).await {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => Err(LinkError::Closed),
    }
}
