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
        /// Whether clients present certificates too. "off": not asked. "optional": those who present one need a good
        /// one. "required": all. A certificate lets a client open TLS; who it is, its user name and password say.
        tls_client_certificates: ClientCertificates = ClientCertificates::Off;
        /// PEM file with the certificates of the authorities that sign the clients' certificates.
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
        /// Connections of one address in a minute that were refused or broke early; at one more the address is banned.
        flapping_max: u32 = 300;
        /// Seconds: a connection that breaks later than this after its start did not break early.
        /// 0 counts refused connections only.
        flapping_age_s: u64 = 10 => MayBeZero;
        /// Seconds that a banned address is refused.
        /// 0 bans nobody.
        flapping_ban_s: u64 = 60 => MayBeZero;
        /// Addresses of which such connections are counted at once.
        flapping_addresses_max: usize = 10_000;
        /// Seconds in which a client sends CONNECT.
        connect_timeout_s: u64 = 10;
        /// Seconds of the longest keep alive; a client that asks for more or for none gets this one. At most 65535.
        keep_alive_max_s: u16 = 600;
        /// Bytes of one packet from a client.
        packet_max_bytes: usize = 64 * 1024;
        /// Filters that one client may subscribe to.
        subscriptions_max: usize = 32;
        /// Messages of QoS 1 and 2 that may wait for a slow client in memory, and as many again of QoS 0. What clients
        /// publish at QoS 1 and 2 may fill one half; then its publisher waits, until less than a quarter is full. At
        /// the limit, QoS 0 is dropped; a message of the hub's own closes the connection, or turns a kept session to
        /// its file.
        queue_messages_max: usize = 256;
        /// Bytes of such messages; the same halves and quarters. At least two of packet_max_bytes.
        queue_bytes_max: usize = 4 * 1024 * 1024;
        /// Seconds that the publisher of a message, an app too, waits for a subscriber that is behind. A subscriber
        /// that has taken nothing in this time is closed as too slow. Nobody waits for a session that is kept: it turns
        /// to its file.
        backpressure_max_s: u64 = 10;
        /// QoS 1 messages on their way to one client, not yet acknowledged. At most 65535.
        inflight_max: u16 = 32;
        /// Retained messages of all clients.
        /// 0 keeps none.
        retained_messages_max: usize = 100_000 => MayBeZero;
        /// Bytes of one retained message.
        retained_max_bytes: usize = 16 * 1024;
        /// Seconds that a client may take to read what is sent to it.
        write_timeout_s: u64 = 20;
        /// Topic aliases of one connection in each direction (MQTT 5).
        /// 0 for none.
        topic_aliases_max: u16 = 16 => MayBeZero;
        /// Seconds that a session may outlive its connection; a client of 3.1.1 that wants its session kept gets this.
        /// 0 keeps no session.
        session_expiry_max_s: u32 = 7 * 24 * 3600 => MayBeZero;
        /// Sessions that outlive their connection, in all.
        sessions_max: usize = 50_000;
        /// Such sessions of one user or toy.
        sessions_per_party_max: usize = 8;
        /// Messages of QoS 1 and 2 that may wait in one session, in its file.
        session_messages_max: u64 = 1000;
        /// Bytes that may wait in one session.
        session_bytes_max: u64 = 4 * 1024 * 1024;
        /// Seconds that a message may wait in a session.
        session_message_age_max_s: u64 = 7 * 24 * 3600;
        /// What gives way in a full session: "drop_oldest" or "drop_newest". What was dropped is counted in
        /// $SYS/broker.
        session_overflow: SessionOverflow = SessionOverflow::DropOldest;
        /// Bytes of the sessions' file that are kept in memory.
        session_cache_bytes: usize = 16 * 1024 * 1024;
        /// Seconds between two publications of the figures of $SYS/broker.
        sys_interval_s: u64 = 60;
    }
}

/// Whether MQTT clients present certificates of their own when they open TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked.
    Off,
    /// Those who present one need a good one.
    Optional,
    /// All do.
    Required,
}

/// What gives way in a full session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOverflow {
    /// The message that waited longest.
    DropOldest,
    /// The message that finds no room.
    DropNewest,
}

impl Mqtt {
    /// Keys of which one needs another.
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
            is_narrow.then_some("mqtt.queue_bytes_max is less than two of mqtt.packet_max_bytes; set more"),
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
