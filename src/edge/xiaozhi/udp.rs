//! The sound of devices with MQTT, over UDP: one socket for all, and one task that receives.
//!
//! ```text
//!  0      1       2        4      8           12         16
//!  type   flags   length   ssrc   timestamp   sequence   payload
//! ```
//!
//! Numbers are big endian, the length is that of the payload, one packet of Opus. The payload is encrypted by AES-128 in
//! counter mode; the 16 bytes before it are the first block of the counter. The key, and the bytes that a device puts
//! there, are made by the hub for each hello, and sent over MQTT.
//!
//! Within a session the two directions differ in one bit of the ssrc, and the timestamps of the hub grow with its sequence
//! numbers: a packet of the hub shares no part of the keystream with any other. The firmware sends the timestamp 0, or its
//! own time from 0 on. As the sequence number is the lowest part of the counter, consecutive packets of a device share most
//! of the keystream. An eavesdropper can therefore recover the speech of the child: the encryption does not protect it, and
//! the hub cannot change that.
//!
//! The mode has no authentication, and the ssrc is sent in clear. So a datagram of an unknown session, with an old sequence
//! number, or from another address than that of the device over MQTT is ignored. The packets to a device go to the port
//! that its last valid one came from. A program that sends from the address of the device, such as one behind the same
//! router or one that forges the address, can still take the session over: the hub recognises its sound, and answers it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aes::Aes128;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use dashmap::DashMap;
use rand::Rng as _;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::domain::turn::PACKET_MS;

/// Bytes of the header.
const HEADER: usize = 16;
/// The type of a packet of sound.
const SOUND: u8 = 1;
/// The largest datagram of the firmware.
const DATAGRAM_MAX: usize = 1500;
/// The bit of the ssrc that packets to a device have.
const DOWN: u32 = 0x8000_0000;
/// The largest step of a device's sequence numbers: half a minute of lost packets.
const STEP_MAX: u32 = 500;
/// A pause after an error of the socket, which may last.
const PAUSE: Duration = Duration::from_millis(20);

type Key = [u8; 16];

/// The socket, and the sessions by their ssrc.
pub struct Udp {
    socket: UdpSocket,
    sessions: DashMap<u32, Entry>,
    places: Arc<Semaphore>,
    queue_packets_max: usize,
}

struct Entry {
    key: Key,
    /// The last sequence number of the device.
    sequence: u32,
    /// The only address that its datagrams come from; none before the first one, if a proxy hides it.
    ip: Option<IpAddr>,
    /// The address and port of its last one.
    address: Option<SocketAddr>,
    sound: mpsc::Sender<Bytes>,
}

/// The session of one conversation. Dropping it ends it.
pub(super) struct Channel {
    udp: Arc<Udp>,
    ssrc: u32,
    key: Key,
    /// The last sequence number to the device.
    sequence: u32,
    sound: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Udp {
    /// Binds the socket.
    pub async fn bind(config: &config::Xiaozhi) -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind(config.udp_listen).await?,
            sessions: DashMap::new(),
            places: Arc::new(Semaphore::new(config.udp_sessions_max)),
            queue_packets_max: config.udp_queue_packets_max,
        })
    }

    /// Its address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let receive = async {
            // One byte more: a longer datagram is cut, and its length is then wrong.
            let mut datagram = [0; DATAGRAM_MAX + 1];
            loop {
                match self.socket.recv_from(&mut datagram).await {
                    Ok((size, from)) => {
                        if self.take(&mut datagram[..size], from).is_none() {
                            tracing::trace!("a datagram is ignored");
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "udp");
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(receive).await;
    }

    /// Takes a datagram; none if it belongs to no session, or not there.
    fn take(&self, datagram: &mut [u8], from: SocketAddr) -> Option<()> {
        let (header, payload) = datagram.split_first_chunk_mut::<HEADER>()?;
        let length = u16::from_be_bytes([header[2], header[3]]);
        if header[0] != SOUND || usize::from(length) != payload.len() {
            return None;
        }
        let [.., a, b, c, d] = *header;
        let sequence = u32::from_be_bytes([a, b, c, d]);
        let mut entry = self.sessions.get_mut(&u32::from_be_bytes([header[4], header[5], header[6], header[7]]))?;
        let step = sequence.checked_sub(entry.sequence)?;
        let ip = from.ip().to_canonical();
        if !(1..=STEP_MAX).contains(&step) || entry.ip.is_some_and(|expected| expected != ip) {
            return None;
        }
        (entry.sequence, entry.ip, entry.address) = (sequence, Some(ip), Some(from));
        encrypt(&entry.key, header, payload);
        // A conversation that is behind loses packets, as on the network.
        entry.sound.try_send(Bytes::copy_from_slice(payload)).ok()
    }

    /// Opens a session of a device at this address; without one, it is that of the first datagram. None if there are too
    /// many sessions.
    pub(super) fn open(self: &Arc<Self>, ip: Option<IpAddr>) -> Option<Channel> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (mut key, mut ssrc) = (Key::default(), [0; 4]);
        rand::rng().fill_bytes(&mut key);
        let (sender, sound) = mpsc::channel(self.queue_packets_max);
        let ssrc = loop {
            rand::rng().fill_bytes(&mut ssrc);
            let ssrc = u32::from_be_bytes(ssrc) & !DOWN;
            if let dashmap::Entry::Vacant(place) = self.sessions.entry(ssrc) {
                place.insert(Entry { key, sequence: 0, ip, address: None, sound: sender });
                break ssrc;
            }
        };
        Some(Channel { udp: Arc::clone(self), ssrc, key, sequence: 0, sound, _place: place })
    }
}

impl Channel {
    /// The key, and the bytes that the device begins its headers with, both in hexadecimal digits.
    pub(super) fn secrets(&self) -> (String, String) {
        let mut nonce = [0; HEADER];
        nonce[0] = SOUND;
        nonce[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        (hex::encode(self.key), hex::encode(nonce))
    }

    /// Whether the address of the device is known.
    pub(super) fn is_reachable(&self) -> bool {
        self.udp.sessions.get(&self.ssrc).is_some_and(|entry| entry.address.is_some())
    }

    /// The next packet of the device. Cancel-safe.
    pub(super) async fn next(&mut self) -> Bytes {
        match self.sound.recv().await {
            Some(packet) => packet,
            None => std::future::pending().await,
        }
    }

    /// Sends a packet. It is dropped while the address of the device is unknown.
    pub(super) async fn send(&mut self, packet: &[u8]) {
        let address = self.udp.sessions.get(&self.ssrc).and_then(|entry| entry.address);
        let (Some(address), Ok(length)) = (address, u16::try_from(packet.len())) else { return };
        self.sequence = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(HEADER + packet.len());
        datagram.extend([SOUND, 0]);
        datagram.extend(length.to_be_bytes());
        datagram.extend((self.ssrc | DOWN).to_be_bytes());
        // Not from 0 on in each sound: the counter of an earlier packet would come again.
        datagram.extend(self.sequence.wrapping_mul(PACKET_MS).to_be_bytes());
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend(packet);
        if let Some((header, payload)) = datagram.split_first_chunk_mut::<HEADER>() {
            encrypt(&self.key, header, payload);
        }
        if let Err(error) = self.udp.socket.send_to(&datagram, address).await {
            tracing::debug!(%error, "udp");
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.udp.sessions.remove(&self.ssrc);
    }
}

/// Encrypts a payload, or decrypts it.
fn encrypt(key: &Key, header: &[u8; HEADER], payload: &mut [u8]) {
    Ctr128BE::<Aes128>::new(key.into(), header.into()).apply_keystream(payload);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn udp(sessions_max: usize) -> Arc<Udp> {
        let config = config::Xiaozhi {
            udp_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            udp_sessions_max: sessions_max,
            udp_queue_packets_max: 4,
            ..config::Xiaozhi::default()
        };
        Arc::new(Udp::bind(&config).await.unwrap())
    }

    /// A datagram of a device, made as the firmware makes it.
    fn datagram(channel: &Channel, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let (key, nonce) = channel.secrets();
        let key: Key = hex::decode(key).unwrap().try_into().unwrap();
        let mut header: [u8; HEADER] = hex::decode(nonce).unwrap().try_into().unwrap();
        header[2..4].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        header[12..].copy_from_slice(&sequence.to_be_bytes());
        let mut payload = payload.to_vec();
        encrypt(&key, &header, &mut payload);
        [&header[..], &payload].concat()
    }

    #[test]
    fn the_cipher_is_that_of_the_standard() {
        // NIST SP 800-38A, F.5.1.
        let array = |text: &str| <[u8; 16]>::try_from(hex::decode(text).unwrap()).unwrap();
        let key = array("2b7e151628aed2a6abf7158809cf4f3c");
        let counter = array("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let mut text = hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51").unwrap();
        encrypt(&key, &counter, &mut text);
        assert_eq!(hex::encode(text), "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff");
    }

    #[tokio::test]
    async fn sound_passes_both_ways_and_follows_the_address_of_the_device() {
        let udp = udp(2).await;
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (udp, shutdown) = (Arc::clone(&udp), shutdown.clone());
            async move { udp.run(shutdown).await }
        });
        let mut channel = udp.open(None).unwrap();
        // The address of the device is not known yet.
        channel.send(b"lost").await;
        for (turn, sequence) in [(0, 1), (1, 5)] {
            let device = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            device.connect(udp.address().unwrap()).await.unwrap();
            device.send(&datagram(&channel, sequence, b"opus")).await.unwrap();
            assert_eq!(timeout(DEADLINE, channel.next()).await.unwrap(), "opus");
            channel.send(b"answer").await;
            let mut bytes = [0; 100];
            let size = timeout(DEADLINE, device.recv(&mut bytes)).await.unwrap().unwrap();
            assert_eq!((size, &bytes[..4]), (HEADER + 6, &[1, 0, 0, 6][..]));
            assert_eq!(
                bytes[8..16],
                [0, 0, 0, (turn + 1) * 60, 0, 0, 0, turn + 1],
                "the time, and the sequence from 1"
            );
            let header: [u8; HEADER] = bytes[..HEADER].try_into().unwrap();
            assert_ne!(bytes[HEADER..size], *b"answer", "it is encrypted");
            encrypt(&channel.key, &header, &mut bytes[HEADER..size]);
            assert_eq!(bytes[HEADER..size], *b"answer");
        }
        shutdown.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn no_two_packets_to_a_device_share_a_part_of_the_keystream() {
        let udp = udp(1).await;
        let mut channel = udp.open(None).unwrap();
        let device = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(udp.take(&mut datagram(&channel, 1, b"opus"), device.local_addr().unwrap()).is_some());
        let (mut blocks, mut bytes) = (HashSet::new(), [0; 1000]);
        for _ in 0..300 {
            // Of zeros, the keystream itself is sent.
            channel.send(&[0; 20 * 16]).await;
            let size = timeout(DEADLINE, device.recv(&mut bytes)).await.unwrap().unwrap();
            for block in bytes[HEADER..size].chunks(16) {
                assert!(blocks.insert(block.to_vec()), "a block comes twice");
            }
        }
        assert_eq!(blocks.len(), 300 * 20);
    }

    #[tokio::test]
    async fn replays_and_datagrams_of_unknown_sessions_are_ignored() {
        let udp = udp(2).await;
        let mut channel = udp.open(None).unwrap();
        let (device, stranger) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let take = |mut bytes: Vec<u8>, from| udp.take(&mut bytes, from).is_some();
        assert!(take(datagram(&channel, 3, b"a"), device));
        let mut wrong_type = datagram(&channel, 4, b"x");
        wrong_type[0] = 2;
        let mut wrong_length = datagram(&channel, 4, b"x");
        wrong_length[3] = 2;
        let mut other = datagram(&channel, 4, b"x");
        other[5] ^= 1;
        let old = [datagram(&channel, 3, b"a"), datagram(&channel, 2, b"x"), datagram(&channel, 0, b"x")];
        let far = [datagram(&channel, 4 + STEP_MAX, b"x"), datagram(&channel, u32::MAX, b"x")];
        let short = [vec![], vec![1], vec![1; HEADER - 1], vec![0; DATAGRAM_MAX], vec![0xff; DATAGRAM_MAX + 1]];
        for bytes in [wrong_type, wrong_length, other].into_iter().chain(old).chain(far).chain(short) {
            assert!(!take(bytes.clone(), stranger), "{bytes:?}");
        }
        let entry_of = || udp.sessions.get(&channel.ssrc).map(|entry| (entry.sequence, entry.address)).unwrap();
        assert_eq!(entry_of(), (3, Some(device)), "the others have not moved the session");
        // A packet without bytes, and the longest one.
        assert!(take(datagram(&channel, 4, b""), device));
        assert!(take(datagram(&channel, 5, &[7; DATAGRAM_MAX - HEADER]), device));
        for size in [1, 0, DATAGRAM_MAX - HEADER] {
            assert_eq!(timeout(DEADLINE, channel.next()).await.unwrap().len(), size);
        }
        // A conversation that does not listen keeps no more than its queue.
        let taken = (6..20).filter(|sequence| take(datagram(&channel, *sequence, b"y"), device)).count();
        assert_eq!(taken, 4);
    }

    #[tokio::test]
    async fn datagrams_from_another_address_are_ignored() {
        let udp = udp(2).await;
        let [own, mapped, other] =
            ["127.0.0.1:1", "[::ffff:127.0.0.1]:2", "127.0.0.2:1"].map(|text| text.parse().unwrap());
        for ip in [None, Some(IpAddr::from([127, 0, 0, 1]))] {
            let channel = udp.open(ip).unwrap();
            let take = |sequence, from| udp.take(&mut datagram(&channel, sequence, b"x"), from).is_some();
            if ip.is_some() {
                assert!(!take(1, other), "the device is known before its first one");
            }
            assert!(take(1, own));
            assert!(!take(2, other));
            assert!(take(2, mapped), "another port");
        }
    }

    #[tokio::test]
    async fn sessions_are_bounded_and_end_with_their_conversation() {
        let udp = udp(2).await;
        let (one, other) = (udp.open(None).unwrap(), udp.open(None).unwrap());
        assert!(udp.open(None).is_none());
        assert_ne!(one.secrets(), other.secrets());
        let late = datagram(&one, 1, b"x");
        drop(one);
        assert!(udp.take(&mut late.clone(), SocketAddr::from(([127, 0, 0, 1], 1))).is_none());
        assert!(udp.open(None).is_some());
    }
}
