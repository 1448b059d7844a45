//! `[console]`

use std::net::SocketAddr;

use super::settings::settings;

settings! {
    /// The operator's listener: /metrics, the figures of the hub in the text format of Prometheus.
    pub struct Console {
        /// Addresses and ports; [] for none. It asks for no password, so it listens on this machine alone by default:
        /// let nobody else reach it.
        #[serde(with = "super::net::list")]
        listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 9529))];
        /// Names by which programs reach it, in addition to addresses and localhost, such as "toyhub.example". Requests to
        /// any other name are refused, as a web page may lead a browser on this machine here under a name of its own.
        hosts: Vec<String> = Vec::new();
        /// Connections at once.
        connections_max: usize = 32;
    }
}
