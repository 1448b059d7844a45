//! A client of MQTT 3.1.1 that keeps its half of a session over any number of connections. `rumqttc` encodes; its own
//! event loop forgets at a lost connection which QoS 2 messages it has received, and cannot judge "exactly once".

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PACKET_MAX_BYTES: usize = 256 * 1024;
/// The timeout of an answer, after which the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// The credentials of a client.
#[derive(Debug, Clone)]
pub struct Login {
    pub client_id: String,
    pub user: String,
    pub password: String,
    pub clean: bool,
}

/// One connection.
pub struct Link {
    stream: TcpStream,
    buffer: BytesMut,
    /// Whether the hub still had the session.
    pub session_present: bool,
}

impl Link {
    pub async fn open(address: SocketAddr, login: &Login) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, buffer: BytesMut::new(), session_present: false };
        let mut connect = Connect::new(&login.client_id);
        connect.keep_alive = 600;
        connect.clean_session = login.clean;
        connect.set_login(&login.user, &login.password);
        link.send(&Packet::Connect(connect)).await?;
        match link.next().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {
                link.session_present = ack.session_present
            }
            other => bail!("CONNECT is answered by {other:?}"),
        }
        Ok(link)
    }

    pub async fn send(&mut self, packet: &Packet) -> Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_MAX_BYTES)?;
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The next packet; an error if the connection is lost or no packet arrives in time.
    pub async fn next(&mut self) -> Result<Packet> {
        tokio::time::timeout(PATIENCE, self.read()).await.context("no packet for too long")?
    }

    /// The next packet. Cancel-safe.
    pub async fn read(&mut self) -> Result<Packet> {
        loop {
            match Packet::read(&mut self.buffer, PACKET_MAX_BYTES) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => bail!("a malformed packet: {error:?}"),
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection is lost");
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<()> {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 1;
        self.send(&Packet::Subscribe(subscribe)).await?;
        loop {
            match self.next().await? {
                Packet::SubAck(ack) if ack.return_codes == [SubscribeReasonCode::Success(qos)] => return Ok(()),
                Packet::SubAck(ack) => bail!("SUBSCRIBE of {filter} is answered by {ack:?}"),
                // The filter's messages may precede its SUBACK; those of QoS 1 are repeated.
                _ => {}
            }
        }
    }

    pub async fn disconnect(mut self) {
        let _ = self.send(&Packet::Disconnect).await;
        let _ = self.stream.shutdown().await;
        // The hub closes once it has read DISCONNECT.
        let _ = tokio::time::timeout(PATIENCE, async { while self.read().await.is_ok() {} }).await;
    }
}

/// The receiving half of a session.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Packet ids of QoS 2 messages that were received and not released.
    received: HashSet<u16>,
}

impl Inbox {
    /// Answers a packet as a subscriber does; returns the message, if it is a new one.
    pub async fn take(&mut self, link: &mut Link, packet: Packet) -> Result<Option<Publish>> {
        match packet {
            Packet::Publish(publish) => match publish.qos {
                QoS::AtMostOnce => Ok(Some(publish)),
                QoS::AtLeastOnce => {
                    link.send(&Packet::PubAck(PubAck::new(publish.pkid))).await?;
                    Ok(Some(publish))
                }
                QoS::ExactlyOnce => {
                    let is_new = self.received.insert(publish.pkid);
                    // The message is received from here on, even if the PUBREC is lost.
                    let sent = link.send(&Packet::PubRec(PubRec::new(publish.pkid))).await;
                    match (is_new, sent) {
                        (true, _) => Ok(Some(publish)),
                        (false, sent) => sent.map(|()| None),
                    }
                }
            },
            Packet::PubRel(release) => {
                self.received.remove(&release.pkid);
                link.send(&Packet::PubComp(PubComp::new(release.pkid))).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Whether the hub has not released a message yet.
    pub fn is_settled(&self) -> bool {
        self.received.is_empty()
    }
}

/// A message of QoS 1 or 2 on its way to the hub.
#[derive(Debug)]
struct OnItsWay {
    publish: Publish,
    number: u32,
    /// PUBREC was received; only PUBREL is left.
    received: bool,
}

/// The sending half of a session: unacknowledged messages are sent again, in order, on the next connection.
#[derive(Debug, Default)]
pub struct Outbox {
    on_their_way: VecDeque<OnItsWay>,
    last_id: u16,
}

impl Outbox {
    /// Queues a message; `number` is returned when it is acknowledged.
    pub async fn publish(&mut self, link: &mut Link, mut publish: Publish, number: u32) -> Result<()> {
        self.last_id = self.last_id % 60_000 + 1;
        publish.pkid = self.last_id;
        let packet = Packet::Publish(publish.clone());
        self.on_their_way.push_back(OnItsWay { publish, number, received: false });
        link.send(&packet).await
    }

    /// The packets that a new connection sends first.
    pub async fn resume(&mut self, link: &mut Link) -> Result<()> {
        for sent in &mut self.on_their_way {
            if sent.received {
                link.send(&Packet::PubRel(PubRel::new(sent.publish.pkid))).await?;
            } else {
                sent.publish.dup = true;
                link.send(&Packet::Publish(sent.publish.clone())).await?;
            }
        }
        Ok(())
    }

    /// Answers a packet as a publisher does; returns the number of a completely acknowledged message.
    pub async fn take(&mut self, link: &mut Link, packet: &Packet) -> Result<Option<u32>> {
        match packet {
            Packet::PubAck(PubAck { pkid }) | Packet::PubComp(PubComp { pkid }) => {
                let place = self.on_their_way.iter().position(|sent| sent.publish.pkid == *pkid);
                Ok(place.and_then(|place| self.on_their_way.remove(place)).map(|sent| sent.number))
            }
            Packet::PubRec(PubRec { pkid }) => {
                if let Some(sent) = self.on_their_way.iter_mut().find(|sent| sent.publish.pkid == *pkid) {
                    sent.received = true;
                }
                link.send(&Packet::PubRel(PubRel::new(*pkid))).await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    pub fn len(&self) -> usize {
        self.on_their_way.len()
    }

    /// Discards all messages: for a sender without a session.
    pub fn give_up(&mut self) -> Vec<u32> {
        self.on_their_way.drain(..).map(|sent| sent.number).collect()
    }
}
