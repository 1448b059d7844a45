//! The load: minimal clients of MQTT 3.1.1, the same for every broker.
//!
//! Publishers never have more than [`WINDOW`] messages in flight, so that no broker has to drop messages because a
//! subscriber got no processor time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Unacknowledged messages of one publisher.
const WINDOW: usize = 200;
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// A load without progress for this long has lost messages.
const STANDSTILL: Duration = Duration::from_secs(10);

/// The transport of a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// One client.
pub struct Client<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
}

/// A packet's first byte and where its body lies in the buffer.
struct Packet {
    byte1: u8,
    body: std::ops::Range<usize>,
}

/// A connection from this address of the machine: brokers limit those of one address.
pub async fn open(broker: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(broker).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Client {
    async fn connect(broker: SocketAddr, from: Ipv4Addr, id: &str) -> std::io::Result<Self> {
        Self::enter(open(broker, from).await?, id, None).await
    }

    async fn local(broker: SocketAddr, id: &str) -> Self {
        Self::connect(broker, Ipv4Addr::LOCALHOST, id).await.expect("a connection")
    }
}

impl<S: Stream> Client<S> {
    /// Logs in for a session that ends with the connection, with a name and a password if they are given.
    pub async fn enter(stream: S, id: &str, login: Option<(&str, &str)>) -> std::io::Result<Self> {
        let (client, is_present) = Self::log_in(stream, id, login, 2).await?;
        assert!(!is_present, "no session was asked for");
        Ok(client)
    }

    /// Logs in for a session that stays. Returns whether there was one.
    #[allow(dead_code, reason = "other measurements have no sessions")]
    pub async fn resume(stream: S, id: &str, login: Option<(&str, &str)>) -> std::io::Result<(Self, bool)> {
        Self::log_in(stream, id, login, 0).await
    }

    async fn log_in(stream: S, id: &str, login: Option<(&str, &str)>, flags: u8) -> std::io::Result<(Self, bool)> {
        let mut client = Self { stream, buffer: Vec::new(), start: 0 };
        let flags = if login.is_some() { flags | 0xc0 } else { flags };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0x02, 0x58];
        let (name, password) = login.unzip();
        for text in [Some(id), name, password].into_iter().flatten() {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend(text.as_bytes());
        }
        let mut hello = vec![0x10];
        let mut length = body.len();
        while length > 0x7f {
            hello.push(length as u8 | 0x80);
            length >>= 7;
        }
        hello.push(length as u8);
        hello.extend(body);
        client.stream.write_all(&hello).await?;
        let packet = client.packet().await?;
        assert_eq!((packet.byte1, client.buffer[packet.body.end - 1]), (0x20, 0), "CONNACK");
        let is_present = client.buffer[packet.body.start] == 1;
        Ok((client, is_present))
    }

    /// Publishes so many messages of QoS 1, and waits for their acknowledgements.
    #[allow(dead_code, reason = "other measurements publish from tasks of their own")]
    pub async fn publish_acknowledged(&mut self, topic: &str, count: usize) {
        let batch: Vec<u8> = (0..count).flat_map(|number| publish(topic, 1, number as u16 + 1)).collect();
        self.stream.write_all(&batch).await.expect("PUBLISH");
        for _ in 0..count {
            assert_eq!(self.packet().await.expect("PUBACK").byte1, 0x40);
        }
    }

    /// Receives so many messages of QoS 1, and acknowledges them.
    #[allow(dead_code, reason = "other measurements count what all clients receive")]
    pub async fn receive_acknowledging(&mut self, count: usize) {
        let mut received = 0;
        let mut acks = Vec::new();
        while received < count {
            let mut next = Some(self.packet().await.expect("PUBLISH"));
            while let Some(Packet { byte1, body }) = next {
                assert_eq!(byte1 >> 4, 3, "PUBLISH");
                let body = &self.buffer[body];
                let at = 2 + usize::from(body[1]);
                acks.extend([0x40, 2, body[at], body[at + 1]]);
                received += 1;
                next = self.parse();
            }
            self.stream.write_all(&acks).await.expect("PUBACK");
            acks.clear();
        }
    }

    /// Ends the connection.
    #[allow(dead_code, reason = "other measurements end by closing")]
    pub async fn disconnect(mut self) {
        // The server may close first.
        let _ = self.stream.write_all(&[0xe0, 0]).await;
        let _ = self.stream.read(&mut [0; 16]).await;
    }

    pub async fn subscribe(&mut self, topic: &str, qos: u8) {
        let mut packet = vec![0x82, 5 + topic.len() as u8, 0, 1, 0, topic.len() as u8];
        packet.extend(topic.as_bytes());
        packet.push(qos);
        self.stream.write_all(&packet).await.expect("SUBSCRIBE");
        let packet = self.packet().await.expect("SUBACK");
        assert_eq!((packet.byte1, self.buffer[packet.body.end - 1]), (0x90, qos), "SUBACK");
    }

    /// The whole packet at the front, if there is one.
    fn parse(&mut self) -> Option<Packet> {
        let bytes = &self.buffer[self.start..];
        let (mut length, mut shift, mut at) = (0, 0, 1);
        loop {
            let byte = *bytes.get(at)?;
            length |= usize::from(byte & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if bytes.len() < at + length {
            return None;
        }
        let (byte1, body) = (bytes[0], self.start + at..self.start + at + length);
        self.start = body.end;
        Some(Packet { byte1, body })
    }

    /// Reads until there is a packet.
    async fn packet(&mut self) -> std::io::Result<Packet> {
        loop {
            if let Some(packet) = self.parse() {
                return Ok(packet);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.reserve(64 * 1024);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn publish(topic: &str, qos: u8, id: u16) -> Vec<u8> {
    let length = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + PAYLOAD.len();
    let mut packet = vec![0x30 | qos << 1, length as u8, 0, topic.len() as u8];
    packet.extend(topic.as_bytes());
    if qos > 0 {
        packet.extend(id.to_be_bytes());
    }
    packet.extend(PAYLOAD);
    packet
}

/// The result of a load.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Messages that subscribers received in a second.
    pub per_second: f64,
    /// Lost messages.
    pub lost: u64,
}

/// `pairs` times one publisher of `messages` messages of QoS 1 and one subscriber; returns how many arrived, and
/// whether each arrived once and in order. A publisher has at most `in_flight` unacknowledged messages, and does not
/// wait for the subscriber.
pub async fn acknowledged(broker: SocketAddr, pairs: usize, messages: u32, in_flight: usize) -> Arrivals {
    let received = Arc::new(AtomicU64::new(0));
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    let mut ready = Vec::new();
    for number in 0..pairs {
        let topic = format!("busy/{number}");
        let mut client = Client::local(broker, &format!("sub{number}")).await;
        client.subscribe(&topic, 1).await;
        readers.spawn(read_numbered(client, messages, Arc::clone(&received)));
        ready.push((Client::local(broker, &format!("pub{number}")).await, topic));
    }
    let began = Instant::now();
    for (client, topic) in ready {
        writers.spawn(write_numbered(client, topic, messages, in_flight));
    }
    let mut last = 0;
    let mut in_order = true;
    loop {
        match timeout(STANDSTILL * 3, readers.join_next()).await {
            Ok(None) => break,
            Ok(Some(ordered)) => in_order &= ordered.expect("no panic"),
            Err(_) => {
                let now = received.load(Ordering::Relaxed);
                if now == last {
                    break;
                }
                last = now;
            }
        }
    }
    Arrivals { received: received.load(Ordering::Relaxed), in_order, took: began.elapsed() }
}

/// The received messages of a load.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    pub received: u64,
    /// Each message once, in the order of its publisher.
    pub in_order: bool,
    pub took: Duration,
}

/// Reads numbered messages until the last of them or the end of the connection; whether none was missing in between.
async fn read_numbered(mut client: Client, messages: u32, received: Arc<AtomicU64>) -> bool {
    let (mut next, mut in_order) = (0, true);
    let mut acks = Vec::new();
    while next < messages {
        let Ok(packet) = client.packet().await else { return in_order };
        let mut packet = Some(packet);
        while let Some(Packet { byte1, body }) = packet {
            if byte1 >> 4 == 3 {
                let body = &client.buffer[body];
                let at = 2 + usize::from(body[1]);
                acks.extend([0x40, 2, body[at], body[at + 1]]);
                let number = body[at + 2..at + 6].try_into().map_or(0, u32::from_be_bytes);
                in_order &= number == next;
                next = number + 1;
                received.fetch_add(1, Ordering::Relaxed);
            }
            packet = client.parse();
        }
        if client.stream.write_all(&acks).await.is_err() {
            return in_order;
        }
        acks.clear();
    }
    in_order
}

async fn write_numbered(mut client: Client, topic: String, messages: u32, in_flight: usize) {
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        let mut batch = Vec::new();
        while sent < messages && ((sent - acknowledged) as usize) < in_flight {
            let mut packet = publish(&topic, 1, (sent % 60_000) as u16 + 1);
            let payload = packet.len() - PAYLOAD.len();
            packet[payload..payload + 4].copy_from_slice(&sent.to_be_bytes());
            batch.extend(packet);
            sent += 1;
        }
        if client.stream.write_all(&batch).await.is_err() {
            return;
        }
        let Ok(first) = client.packet().await else { return };
        let mut packet = Some(first);
        while let Some(Packet { byte1, .. }) = packet {
            acknowledged += u32::from(byte1 >> 4 == 4);
            packet = client.parse();
        }
    }
}

/// One publisher of so many messages of QoS 1 in a second, and one subscriber, until `ends`. The latency of each message,
/// from the time at which it was due.
#[allow(dead_code, reason = "other measurements send as fast as they can")]
pub async fn paced(broker: SocketAddr, per_second: u32, ends: Arc<AtomicBool>) -> Vec<Duration> {
    const TOPIC: &str = "paced";
    let mut subscriber = Client::local(broker, "paced-sub").await;
    subscriber.subscribe(TOPIC, 1).await;
    let mut publisher = Client::local(broker, "paced-pub").await;
    let interval = Duration::from_secs(1) / per_second;
    let began = Instant::now();
    let writer = tokio::spawn(async move {
        let mut tick = tokio::time::interval(interval);
        let mut sent = 0u32;
        while !ends.load(Ordering::Relaxed) {
            tokio::select! {
                _ = tick.tick() => {
                    let mut packet = publish(TOPIC, 1, (sent % 60_000) as u16 + 1);
                    let payload = packet.len() - PAYLOAD.len();
                    packet[payload..payload + 4].copy_from_slice(&sent.to_be_bytes());
                    publisher.stream.write_all(&packet).await.expect("PUBLISH");
                    sent += 1;
                }
                packet = publisher.packet() => drop(packet.expect("PUBACK")),
            }
        }
        (publisher, sent)
    });
    let mut latencies = Vec::new();
    // A connection that is silent for so long has got everything.
    while let Ok(packet) = timeout(Duration::from_secs(2), subscriber.packet()).await {
        let Packet { byte1, body } = packet.expect("PUBLISH");
        if byte1 >> 4 == 3 {
            let body = &subscriber.buffer[body];
            let at = 2 + usize::from(body[1]);
            let ack = [0x40, 2, body[at], body[at + 1]];
            let number = body[at + 2..at + 6].try_into().map_or(0, u32::from_be_bytes);
            latencies.push(began.elapsed().saturating_sub(interval * number));
            subscriber.stream.write_all(&ack).await.expect("PUBACK");
        }
    }
    let (_publisher, sent) = writer.await.expect("no panic");
    assert_eq!(latencies.len(), sent as usize, "each message arrives once");
    latencies
}

/// A publisher, and the subscribers of its own topic.
pub struct Group<S = TcpStream> {
    pub topic: String,
    pub publisher: Client<S>,
    pub subscribers: Vec<Client<S>>,
}

/// `publishers` times one publisher with `subscribers` of its own topic.
pub async fn flow(broker: SocketAddr, publishers: usize, subscribers: usize, messages: u64, qos: u8) -> Outcome {
    let mut groups = Vec::new();
    for number in 0..publishers {
        let topic = format!("bench/{number}");
        let mut ready = Vec::new();
        for reader in 0..subscribers {
            let mut client = Client::local(broker, &format!("sub{number}-{reader}")).await;
            client.subscribe(&topic, qos).await;
            ready.push(client);
        }
        let publisher = Client::local(broker, &format!("pub{number}")).await;
        groups.push(Group { topic, publisher, subscribers: ready });
    }
    drive(groups, messages, qos).await
}

/// Each publisher sends `messages` messages.
pub async fn drive<S: Stream>(groups: Vec<Group<S>>, messages: u64, qos: u8) -> Outcome {
    let mut readers = JoinSet::new();
    let mut writers = JoinSet::new();
    let received = Arc::new(AtomicU64::new(0));
    let mut expected = 0;
    let mut ready = Vec::new();
    for Group { topic, publisher, subscribers } in groups {
        let window = Arc::new(Semaphore::new(WINDOW));
        let of_topic = Arc::new(AtomicU64::new(0));
        let share = subscribers.len() as u64;
        expected += messages * share;
        for client in subscribers {
            let (window, received, of_topic) = (Arc::clone(&window), Arc::clone(&received), Arc::clone(&of_topic));
            readers.spawn(async move { read(client, messages, share, &window, &received, &of_topic).await });
        }
        ready.push((publisher, topic, window));
    }
    let began = Instant::now();
    for (client, topic, window) in ready {
        writers.spawn(write(client, topic, messages, qos, window));
    }
    let mut last = 0;
    loop {
        if timeout(STANDSTILL, async { while readers.join_next().await.is_some() {} }).await.is_ok() {
            break;
        }
        let now = received.load(Ordering::Relaxed);
        if now == last {
            break;
        }
        last = now;
    }
    let took = began.elapsed();
    let received = received.load(Ordering::Relaxed);
    Outcome { per_second: received as f64 / took.as_secs_f64(), lost: expected - received }
}

async fn read<S: Stream>(
    mut client: Client<S>,
    messages: u64,
    subscribers: u64,
    window: &Semaphore,
    received: &AtomicU64,
    of_topic: &AtomicU64,
) {
    let mut count = 0;
    let mut acks = Vec::new();
    while count < messages {
        let Ok(first) = client.packet().await else { return };
        let mut next = Some(first);
        let mut read = 0;
        while let Some(packet) = next {
            if packet.byte1 >> 4 == 3 {
                read += 1;
                if packet.byte1 & 6 != 0 {
                    let body = &client.buffer[packet.body];
                    let at = 2 + usize::from(body[1]);
                    acks.extend([0x40, 2, body[at], body[at + 1]]);
                }
            }
            next = client.parse();
        }
        count += read;
        received.fetch_add(read, Ordering::Relaxed);
        // The window moves when all subscribers together have read as much as one message each.
        let before = of_topic.fetch_add(read, Ordering::Relaxed);
        let moved = (before + read) / subscribers - before / subscribers;
        window.add_permits(moved as usize);
        if !acks.is_empty() && client.stream.write_all(&acks).await.is_err() {
            return;
        }
        acks.clear();
    }
}

async fn write<S: Stream>(client: Client<S>, topic: String, messages: u64, qos: u8, window: Arc<Semaphore>) {
    let Client { stream, .. } = client;
    let (mut reader, mut writer) = split(stream);
    // Only acknowledgements arrive here, which the window does not need: the subscriber has received the message then.
    let drain = tokio::spawn(async move {
        let mut buffer = [0; 16 * 1024];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let mut sent = 0;
    while sent < messages {
        let mut batch = Vec::new();
        let Ok(permit) = window.acquire().await else { return };
        permit.forget();
        let mut count = 1;
        while count < 32 && sent + count < messages && window.try_acquire().map(|permit| permit.forget()).is_ok() {
            count += 1;
        }
        for number in sent..sent + count {
            batch.extend(publish(&topic, qos, (number % 60_000) as u16 + 1));
        }
        sent += count;
        if writer.write_all(&batch).await.is_err() {
            return;
        }
    }
    // The connection stays until the acknowledgements have come.
    let _ = timeout(Duration::from_secs(1), drain).await;
}

/// Round trips of one client that is subscribed to its own topic: the median and the 99th percentile.
pub async fn round_trips(broker: SocketAddr, count: usize) -> (Duration, Duration) {
    let mut client = Client::local(broker, "echo").await;
    client.subscribe("echo", 0).await;
    let packet = publish("echo", 0, 0);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        client.stream.write_all(&packet).await.expect("PUBLISH");
        timeout(STANDSTILL, client.packet()).await.expect("an echo").expect("a packet");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    (times[count / 2], times[count * 99 / 100])
}

/// Idle connections, closed on drop.
pub struct Idle(Vec<Client>);

impl Idle {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Opens more of them, `count` in all; each with a subscription of its own.
    pub async fn grow(&mut self, broker: SocketAddr, count: usize) {
        grow(&mut self.0, count, |number, from| async move {
            let mut client = Client::connect(broker, from, &format!("idle{number}")).await.expect("a connection");
            client.subscribe(&format!("idle/{number}"), 1).await;
            client
        })
        .await;
    }
}

/// Opens more clients, `count` in all, some at the same time. `open` gets the number of a client and its address.
pub async fn grow<C, F>(clients: &mut Vec<C>, count: usize, open: impl Fn(usize, Ipv4Addr) -> F)
where
    C: Send + 'static,
    F: Future<Output = C> + Send + 'static,
{
    let mut opening = JoinSet::new();
    for number in clients.len()..count {
        if opening.len() >= 64 {
            clients.push(opening.join_next().await.expect("one").expect("no panic"));
        }
        // An address has some 28,000 ports, and brokers limit the connections of one address.
        opening.spawn(open(number, Ipv4Addr::new(127, 0, 1, (number / 1000) as u8 + 1)));
    }
    while let Some(client) = opening.join_next().await {
        clients.push(client.expect("no panic"));
    }
}
