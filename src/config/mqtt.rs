//! `[mqtt]`

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// The MQTT listeners.
    pub struct Mqtt {
        /// Addresses and ports of MQTT (3.1.1 and 5) without TLS. MQTT over WebSocket is /mqtt on the ports of [http].
        #[serde(with = "super::net::list")]
        listen: Vec<SocketAddr> = vec![SocketAddr::from(([0, 0, 0, 0], 1883))] => Everyday;
        /// Addresses and ports of MQTT over TLS, such as ["0.0.0.0:8883"]; [] for none. Needs net.tls_certificate.
        #[serde(with = "super::net::list")]
        tls_listen: Vec<SocketAddr> = Vec::new() => Everyday;
        /// Bytes of a TLS record to a client, from 512 to 16384: the buffer that a small device needs.
        tls_record_max_bytes: usize = 4 * 1024;
        /// Client certificates. "off": not requested. "optional": a client may present one, which must be valid.
        /// "required": every client must. A certificate only permits the TLS connection; clients still log in with user
        /// name and password.
        tls_client_certificates: ClientCertificates = ClientCertificates::Off;
        /// PEM file of the certificate authorities for client certificates.
        tls_client_ca: PathBuf = PathBuf::new();
        /// Whether each connection of net.proxies begins with a PROXY header (version 1 or 2).
        proxy_protocol: bool = false;
        /// Path of a Unix socket for MQTT clients of this machine, open to the hub's user and group; "" for none.
        unix_socket: PathBuf = PathBuf::new();
        /// Loopback address and port for conformance tests, such as "127.0.0.1:1884"; "" for none. It asks for no
        /// password.
        #[serde(with = "super::optional_address")]
        conformance_listen: Option<SocketAddr> = None;
        /// Connections at once, over all of these listeners and /mqtt.
        connections_max: usize = 20_000;
        /// Connections at once from one address. Clients of the Unix socket count as 127.0.0.1.
        connections_per_address_max: usize = 256;
        /// Refused or early broken connections of one address in a minute. Beyond that, the address is banned.
        flapping_max: u32 = 300;
        /// Of these, refused connections under one user name that count for the address: one broken toy must not get
        /// the others there banned.
        flapping_per_name_max: u32 = 30;
        /// Seconds after its start in which a broken connection counts as early. 0 counts refused connections only.
        flapping_age_s: u64 = 10 => MayBeZero;
        /// Seconds of a ban. 0 turns bans off.
        flapping_ban_s: u64 = 60 => MayBeZero;
        /// Addresses whose connections are counted at once.
        flapping_addresses_max: usize = 10_000;
        /// Seconds in which a client must send CONNECT.
        connect_timeout_s: u64 = 10;
        /// Maximum keep alive, in seconds. A client that requests more, or none, gets this value. At most 65535.
        keep_alive_max_s: u16 = 600;
        /// Bytes of one packet from a client.
        packet_max_bytes: usize = 64 * 1024;
        /// Filters that one client may subscribe to.
        subscriptions_max: usize = 32;
        /// Messages of QoS 1 and 2 that may wait for a slow client in memory, and as many again of QoS 0. Publications
        /// of clients at QoS 1 and 2 may fill one half; then their publisher waits until less than a quarter is full.
        /// At the limit, QoS 0 messages are dropped, and an event of the hub closes the connection, or makes a
        /// persistent session read from its file.
        queue_messages_max: usize = 256;
        /// Bytes of these messages, with the same thresholds. At least twice packet_max_bytes.
        queue_bytes_max: usize = 4 * 1024 * 1024;
        /// Seconds that a publisher, over MQTT or the app socket, waits for a slow subscriber. A subscriber that takes
        /// no message in this time is disconnected as too slow. Publishers do not wait for persistent sessions, which
        /// read from their file instead.
        backpressure_max_s: u64 = 10;
        /// QoS 1 messages to one client that are sent and not acknowledged. At most 65535.
        inflight_max: u16 = 32;
        /// Retained messages of all clients.
        /// 0 keeps none.
        retained_messages_max: usize = 100_000 => MayBeZero;
        /// Bytes of one retained message.
        retained_max_bytes: usize = 16 * 1024;
        /// Seconds in which a client must read what it was sent; otherwise it is disconnected.
        write_timeout_s: u64 = 20;
        /// Topic aliases of one connection in each direction (MQTT 5).
        /// 0 for none.
        topic_aliases_max: u16 = 16 => MayBeZero;
        /// Maximum session expiry interval, in seconds. MQTT 3.1.1 clients that connect without clean session get this
        /// one. 0 keeps no session.
        session_expiry_max_s: u32 = 7 * 24 * 3600 => MayBeZero;
        /// Persistent sessions of all clients.
        sessions_max: usize = 50_000;
        /// Persistent sessions of one user or toy.
        sessions_per_party_max: usize = 8;
        /// Messages of QoS 1 and 2 that one persistent session may hold, in its file.
        session_messages_max: u64 = 1000;
        /// Bytes that one persistent session may hold.
        session_bytes_max: u64 = 4 * 1024 * 1024;
        /// Seconds until a message in a persistent session expires.
        session_message_age_max_s: u64 = 7 * 24 * 3600;
        /// Message that a full session drops: "drop_oldest" or "drop_newest". $SYS/broker counts dropped messages.
        session_overflow: SessionOverflow = SessionOverflow::DropOldest;
        /// Bytes of the sessions' file that are kept in memory.
        session_cache_bytes: usize = 16 * 1024 * 1024;
        /// Seconds between two publications of the figures of $SYS/broker.
        sys_interval_s: u64 = 60;
    }
}

/// Whether MQTT clients present a TLS client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// No certificate is requested.
    Off,
    /// A client may present one, which must be valid.
    Optional,
    /// Every client must present one.
    Required,
}

/// The message that a full session drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOverflow {
    /// The oldest message.
    DropOldest,
    /// The new message.
    DropNewest,
}

impl Mqtt {
    /// Checks keys that depend on each other.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let asks = self.tls_client_certificates != ClientCertificates::Off;
        let lacks_ca = asks && !self.tls_listen.is_empty() && self.tls_client_ca.as_os_str().is_empty();
        let is_narrow = self.queue_bytes_max < 2 * self.packet_max_bytes;
        let exposed = self.conformance_listen.is_some_and(|address| !address.ip().is_loopback());
        [
            lacks_ca.then_some(
                "mqtt.tls_client_ca is empty, which mqtt.tls_client_certificates needs; name a PEM file of the \
                 authorities that signed them",
            ),
            is_narrow.then_some("mqtt.queue_bytes_max is less than twice mqtt.packet_max_bytes; set a larger number"),
            exposed.then_some(
                "mqtt.conformance_listen is open to other machines and asks for no password; set a loopback address \
                 such as \"127.0.0.1:1884\", or \"\"",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
