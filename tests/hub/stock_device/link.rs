//! The connection of a device: a WebSocket, or MQTT with encrypted sound over UDP.

use std::net::SocketAddr;
use std::time::Duration;

use aes::Aes128;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use futures_util::{SinkExt, StreamExt};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const HEADER: usize = 16;

/// What the hub sends.
pub enum Heard {
    Text(Value),
    Sound(Bytes),
    /// The connection has ended.
    End,
}

pub enum Link {
    Socket { socket: Box<WebSocketStream<TcpStream>>, layout: u64 },
    Mqtt(Box<Mqtt>),
}

/// MQTT as the firmware speaks it: it subscribes to nothing.
pub struct Mqtt {
    client: AsyncClient,
    topic: String,
    incoming: mpsc::UnboundedReceiver<Value>,
    udp: Option<Udp>,
    /// Where sound goes instead of where the hub says, for a slow link.
    pub detour: Option<SocketAddr>,
}

/// The sound of one session.
pub struct Udp {
    pub socket: UdpSocket,
    key: [u8; 16],
    nonce: [u8; HEADER],
    /// The last sequence numbers, of the device and of the hub.
    pub sent: u32,
    pub received: u32,
    /// Packets of the hub that did not come.
    pub lost: u32,
}

impl Mqtt {
    /// Logs in with the section `mqtt` of the answer to a check.
    pub async fn log_in(section: &Value, at: Option<SocketAddr>) -> Self {
        let text = |name: &str| section[name].as_str().unwrap_or_else(|| panic!("{section}")).to_owned();
        let endpoint = text("endpoint");
        let (host, port) = match at {
            Some(address) => (address.ip().to_string(), address.port()),
            None => endpoint.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse().unwrap())).unwrap(),
        };
        let mut options = MqttOptions::new(text("client_id"), host, port);
        options.set_credentials(text("username"), text("password"));
        options.set_keep_alive(Duration::from_secs(section["keepalive"].as_u64().unwrap()));
        let (client, mut events) = AsyncClient::new(options, 16);
        let (sender, incoming) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    assert_eq!(publish.qos, QoS::AtMostOnce);
                    let _ = sender.send(serde_json::from_slice(&publish.payload).unwrap());
                }
            }
        });
        Self { client, topic: text("publish_topic"), incoming, udp: None, detour: None }
    }

    pub async fn publish(&mut self, message: impl Into<Vec<u8>>) {
        self.client.publish(&self.topic, QoS::AtMostOnce, false, message.into()).await.unwrap();
    }

    /// Begins a session, as the answer to a hello says.
    pub async fn begin(&mut self, answer: &Value) {
        let udp = &answer["udp"];
        let array = |name: &str| <[u8; 16]>::try_from(hex::decode(udp[name].as_str().unwrap()).unwrap()).unwrap();
        let address = format!("{}:{}", udp["server"].as_str().unwrap(), udp["port"]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        match self.detour {
            Some(detour) => socket.connect(detour).await.unwrap(),
            None => socket.connect(address).await.unwrap(),
        }
        self.udp = Some(Udp { socket, key: array("key"), nonce: array("nonce"), sent: 0, received: 0, lost: 0 });
    }

    pub fn udp(&mut self) -> &mut Udp {
        self.udp.as_mut().expect("no session")
    }
}

impl Udp {
    /// A datagram with this sequence number.
    pub fn datagram(&self, sequence: u32, packet: &[u8]) -> Vec<u8> {
        let mut header = self.nonce;
        header[2..4].copy_from_slice(&(packet.len() as u16).to_be_bytes());
        header[12..].copy_from_slice(&sequence.to_be_bytes());
        let mut packet = packet.to_vec();
        Ctr128BE::<Aes128>::new(&self.key.into(), &header.into()).apply_keystream(&mut packet);
        [&header[..], &packet].concat()
    }

    pub async fn send(&mut self, packet: &[u8]) {
        self.sent += 1;
        let datagram = self.datagram(self.sent, packet);
        self.socket.send(&datagram).await.unwrap();
    }

    /// The next packet that the firmware would take.
    pub async fn next(&mut self) -> Bytes {
        let mut datagram = [0; 2000];
        loop {
            let size = self.socket.recv(&mut datagram).await.unwrap();
            assert!((HEADER..=1500).contains(&size), "{size}");
            let header: [u8; HEADER] = datagram[..HEADER].try_into().unwrap();
            let mut packet = datagram[HEADER..size].to_vec();
            assert_eq!(header[0], 1, "a packet of sound");
            assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), packet.len());
            let sequence = u32::from_be_bytes(header[12..].try_into().unwrap());
            if sequence <= self.received {
                continue;
            }
            self.lost += sequence - self.received - 1;
            self.received = sequence;
            Ctr128BE::<Aes128>::new(&self.key.into(), &header.into()).apply_keystream(&mut packet);
            return packet.into();
        }
    }
}

impl Link {
    pub async fn send(&mut self, message: Value) {
        match self {
            Self::Socket { socket, .. } => socket.send(Message::text(message.to_string())).await.unwrap(),
            Self::Mqtt(mqtt) => mqtt.publish(message.to_string()).await,
        }
    }

    pub async fn send_sound(&mut self, packet: &[u8]) {
        let Self::Socket { socket, layout } = self else {
            let Self::Mqtt(mqtt) = self else { unreachable!() };
            return mqtt.udp().send(packet).await;
        };
        let mut message = Vec::new();
        match layout {
            2 => {
                message.extend([0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                message.extend((packet.len() as u32).to_be_bytes());
            }
            3 => {
                message.extend([0, 0]);
                message.extend((packet.len() as u16).to_be_bytes());
            }
            _ => {}
        }
        message.extend(packet);
        socket.send(Message::binary(message)).await.unwrap();
    }

    /// What the hub sends next. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        match self {
            Self::Socket { socket, layout } => loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return Heard::Text(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Binary(message))) => return Heard::Sound(payload(*layout, &message)),
                    None | Some(Err(_)) | Some(Ok(Message::Close(_))) => return Heard::End,
                    Some(Ok(_)) => {}
                }
            },
            Self::Mqtt(mqtt) => {
                let Mqtt { incoming, udp, .. } = &mut **mqtt;
                let sound = async {
                    match udp {
                        Some(udp) => udp.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    message = incoming.recv() => message.map_or(Heard::End, Heard::Text),
                    packet = sound => Heard::Sound(packet),
                }
            }
        }
    }
}

fn payload(layout: u64, message: &Bytes) -> Bytes {
    match layout {
        2 => {
            assert_eq!(u32::from_be_bytes(message[12..16].try_into().unwrap()) as usize, message.len() - 16);
            message.slice(16..)
        }
        3 => {
            assert_eq!(u16::from_be_bytes(message[2..4].try_into().unwrap()) as usize, message.len() - 4);
            message.slice(4..)
        }
        _ => message.clone(),
    }
}

/// A slow link for datagrams to the hub at this address: each takes `delay` in each direction, no more than
/// `bits_per_second` pass, and one in `loses_one_in` is lost. Gives the address of its other end.
pub async fn slow_udp(hub: SocketAddr, delay: Duration, bits_per_second: u32, loses_one_in: u32) -> SocketAddr {
    let (near, far) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = near.local_addr().unwrap();
    far.connect(hub).await.unwrap();
    tokio::spawn(async move {
        let (near, far) = (std::sync::Arc::new(near), std::sync::Arc::new(far));
        let mut device = None;
        let (mut up, mut down) = ([0; 2000], [0; 2000]);
        let mut free = [tokio::time::Instant::now(); 2];
        let mut count = 0u32;
        loop {
            let (direction, bytes) = tokio::select! {
                received = near.recv_from(&mut up) => {
                    let (size, from) = received.unwrap();
                    device = Some(from);
                    (0, up[..size].to_vec())
                }
                received = far.recv(&mut down) => {
                    let Ok(size) = received else { continue };
                    (1, down[..size].to_vec())
                }
            };
            count += 1;
            if count % loses_one_in == loses_one_in / 2 {
                continue;
            }
            // With the headers of IP and UDP.
            let bits = (bytes.len() as u32 + 28) * 8;
            let now = tokio::time::Instant::now();
            free[direction] = free[direction].max(now) + Duration::from_secs(1) * bits / bits_per_second;
            let (at, near, far) = (free[direction] + delay, near.clone(), far.clone());
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                let _ = match (direction, device) {
                    (0, _) => far.send(&bytes).await,
                    (_, Some(device)) => near.send_to(&bytes, device).await,
                    (_, None) => Ok(0),
                };
            });
        }
    });
    address
}
