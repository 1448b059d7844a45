//! `[cluster]`

use std::path::PathBuf;

use super::settings::settings;
use super::store::Password;

/// The port of MQTT, and that of MQTT over TLS.
const PORTS: (u16, u16) = (1883, 8883);
/// What the hubs add to a packet of a client.
const FRAME_BYTES: usize = 1024;
/// What another hub knows as sent again after a lost connection.
const IN_FLIGHT_MAX: u16 = 4000;
/// The maximum length of the name of a hub and of the prefix.
const NAME_MAX: usize = 48;

settings! {
    /// Several hubs behind one address. See docs/cluster.md. A single hub needs nothing of this.
    pub struct Cluster {
        /// Seconds after which a hub whose SurrealDB server is lost closes the connections of its clients, so that a load
        /// balancer moves them to another hub. It accepts no new ones from the first failed request on.
        store_lost_close_s: u64 = 30;
        /// Seconds between two looks for quiet hours, daily minutes, voices and reminders of toys that were changed at
        /// another hub over the same SurrealDB server.
        rules_interval_s: u64 = 10;
        /// Seconds between two looks whether the logins of the connected clients are still valid: another hub over the
        /// same SurrealDB server may have revoked them.
        logins_interval_s: u64 = 60;
        /// Seconds after which a hub carries out an erasure that another hub over the same SurrealDB server has begun and
        /// has not finished.
        erasure_takeover_s: u64 = 300;
        /// Name of this hub: letters, digits, "-" and "_". Each hub of a database has another one, and keeps it.
        hub: String = String::new();
        /// Addresses of the MQTT broker that connects the hubs, or of the nodes of a cluster of brokers:
        /// "mqtt://host:1883", "mqtts://host:8883". The hub is connected to one of them. [] is for a single hub.
        bus: Vec<String> = Vec::new();
        /// User of the broker; "" for none.
        username: String = String::new();
        /// Password of that user. Set it as TOYHUB_CLUSTER__PASSWORD rather than in this file.
        password: Password = Password::default();
        /// PEM file with the authorities of the broker's certificate. "" is for a public one.
        certificates: PathBuf = PathBuf::new();
        /// First level of the topics of the hubs. The user of the broker needs the right to publish and to subscribe
        /// below it.
        prefix: String = "toyhub".into();
        /// Seconds in which a connection to the broker has to open.
        connect_timeout_s: u64 = 5;
        /// Seconds between two signs of life of a hub on the bus. After three without one that came back, the hub takes
        /// the next address.
        keep_alive_s: u64 = 5;
        /// Seconds by which the clock of another hub may be ahead of this one's. Beyond that, /readyz and the log name it.
        clock_skew_max_s: u64 = 2;
        /// Bytes of the largest packet on the bus. The broker must accept packets of this size.
        packet_max_bytes: usize = 1024 * 1024;
        /// Messages that wait for the broker, for as long as it is away. When they are full, clients' publications of
        /// QoS 1 and 2 to other clients are refused. Those that were accepted are also in the file of sessions.
        queue_messages_max: usize = 10_000;
        /// Bytes of these messages.
        queue_bytes_max: usize = 16 * 1024 * 1024;
        /// Messages that were sent to the broker and are not acknowledged yet. At most 4000.
        inflight_max: u16 = 500;
        /// Seconds that a client waits for its session, if another hub has it. Then it begins a new one.
        session_move_s: u64 = 3;
        /// Seconds for which a hub that stops stays on the bus, without listeners, to hand its sessions of MQTT over to the
        /// hubs that their clients connect to. It stops earlier when it has none left.
        hand_over_s: u64 = 5;
        /// Seconds for which the session of a client still keeps messages at this hub, after the client has begun another
        /// one at another hub, as this one was away. In that time it subscribes there.
        session_overlap_s: u64 = 10;
        /// Seconds between two comparisons of the connected users and toys with the database, which find what the bus
        /// has lost. Only hubs with a bus make them.
        position_check_s: u64 = 20;
    }
}

/// The address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusAddress {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
}

impl BusAddress {
    /// Parses an address; none if it is wrong.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (is_encrypted, usual) = match scheme {
            "mqtt" => (false, PORTS.0),
            "mqtts" => (true, PORTS.1),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            // An IPv6 address.
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(usual), |port| port.parse().ok().filter(|port| *port > 0))?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
        is_host.then(|| Self { host: host.to_owned(), port, is_encrypted })
    }
}

impl Cluster {
    /// Whether there is a bus.
    pub fn has_bus(&self) -> bool {
        !self.bus.is_empty()
    }

    /// The addresses of the broker.
    pub fn addresses(&self) -> Vec<BusAddress> {
        self.bus.iter().filter_map(|text| BusAddress::parse(text)).collect()
    }

    /// Faults beside those of single keys. `published_max_bytes` says how large a packet of a client may be.
    pub(super) fn faults(&self, published_max_bytes: usize) -> Vec<String> {
        let is_name = |text: &str| {
            text.len() <= NAME_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '_'].contains(&c))
        };
        let mut faults = Vec::new();
        if !is_name(&self.hub) {
            faults.push(format!(
                "cluster.hub has other characters than letters, digits, - and _, or more than {NAME_MAX}"
            ));
        }
        if !self.has_bus() {
            return faults;
        }
        for text in self.bus.iter().filter(|text| BusAddress::parse(text).is_none()) {
            // The part before an @ may be a password.
            faults.push(match text.rsplit_once('@') {
                Some((_, shown)) => format!(
                    "cluster.bus: the address of {shown:?} has a user; set \"mqtt://{shown}\", or \"mqtts://…\" with TLS, and \
                     the user as cluster.username and cluster.password"
                ),
                None => format!("cluster.bus: {text:?} is no address; set one such as \"mqtt://broker:1883\""),
            });
        }
        if self.hub.is_empty() {
            faults.push(
                "cluster.hub is empty, which cluster.bus needs; name each hub of the database differently".into(),
            );
        }
        if self.prefix.is_empty() || !is_name(&self.prefix) {
            faults.push("cluster.prefix is no name; set one such as \"toyhub\"".into());
        }
        if self.packet_max_bytes < published_max_bytes.saturating_add(FRAME_BYTES) {
            faults.push(format!(
                "cluster.packet_max_bytes is less than mqtt.packet_max_bytes and {FRAME_BYTES} more; set a larger number"
            ));
        }
        if self.inflight_max > IN_FLIGHT_MAX {
            faults.push(format!("cluster.inflight_max is {}; set at most {IN_FLIGHT_MAX}", self.inflight_max));
        }
        if !self.password.reveal().is_empty() && self.username.is_empty() {
            faults.push("cluster.password is set, and cluster.username is not; set both or none".into());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_port() {
        let address = |host: &str, port, is_encrypted| Some(BusAddress { host: host.into(), port, is_encrypted });
        for (text, expected) in [
            ("mqtt://broker", address("broker", 1883, false)),
            ("mqtts://broker.example/", address("broker.example", 8883, true)),
            ("mqtt://10.0.0.1:1884", address("10.0.0.1", 1884, false)),
            ("mqtt://[::1]:1884", address("::1", 1884, false)),
            ("mqtts://[::1]", address("::1", 8883, true)),
            ("broker:1883", None),
            ("tcp://broker:1883", None),
            ("mqtt://", None),
            ("mqtt://broker:0", None),
            ("mqtt://broker:x", None),
            ("mqtt://me:secret@broker", None),
            ("mqtt://broker/path", None),
        ] {
            assert_eq!(BusAddress::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bus_needs_a_name() {
        let bus = || Cluster { hub: "a".into(), bus: vec!["mqtt://broker".into()], ..Cluster::default() };
        assert!(Cluster::default().faults(1000).is_empty() && bus().faults(1000).is_empty());
        for (faulty, named) in [
            (Cluster { hub: String::new(), ..bus() }, "cluster.hub"),
            (Cluster { hub: "a/b".into(), ..bus() }, "cluster.hub"),
            (Cluster { prefix: "+".into(), ..bus() }, "cluster.prefix"),
            (Cluster { packet_max_bytes: 2023, ..bus() }, "cluster.packet_max_bytes"),
            (Cluster { inflight_max: 4001, ..bus() }, "cluster.inflight_max"),
            (Cluster { bus: vec!["broker:1883".into()], ..bus() }, "cluster.bus: \"broker:1883\" is no address"),
            (
                Cluster { bus: vec!["mqtts://me:secret@broker".into()], ..bus() },
                "cluster.bus: the address of \"broker\" has a user",
            ),
        ] {
            let faults = faulty.faults(1000);
            assert!(faults.len() == 1 && faults[0].starts_with(named), "{faults:?}");
            assert!(!faults[0].contains("secret"), "{faults:?}");
        }
    }
}
