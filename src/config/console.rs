//! `[console]`

use std::net::SocketAddr;

use super::settings::settings;

settings! {
    /// The operator's listener: /console, pages for the operator, with a password; and /metrics, the figures of the hub
    /// in the text format of Prometheus, without one.
    pub struct Console {
        /// Addresses and ports; [] for none. /metrics asks for no password, so it listens on this machine alone by
        /// default: let nobody else reach it. The password of /console is made and printed at the first start.
        #[serde(with = "super::net::list")]
        listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 9529))];
        /// Addresses and ports with TLS, with the certificate of net.tls_certificate; [] for none.
        #[serde(with = "super::net::list")]
        tls_listen: Vec<SocketAddr> = Vec::new();
        /// Names by which programs reach it, in addition to addresses and localhost, such as "toyhub.example". Requests to
        /// any other name are refused, as a web page may lead a browser on this machine here under a name of its own.
        hosts: Vec<String> = Vec::new();
        /// Connections at once.
        connections_max: usize = 32;
        /// Seconds for a request and its answer, such as an upload of content.
        request_timeout_s: u64 = 600;
        /// The largest upload: a piece of content with its cover.
        upload_max_bytes: u64 = 64 * 1024 * 1024;
        /// Minutes after which an unused session of the operator ends.
        session_idle_minutes: u64 = 30;
        /// Hours after which a session of the operator ends in any case.
        session_max_hours: u64 = 12;
        /// Sessions at once. Beyond that, the one that was used least recently ends.
        sessions_max: usize = 16;
        /// Wrong passwords of the operator from one address in a minute.
        failed_logins_per_minute: u32 = 5;
        /// Seconds between two points of the charts, which show the last two hours.
        sample_interval_s: u64 = 15;
        /// Rows of a table, such as that of connections. The others are found by searching.
        rows_max: usize = 500;
        /// Lines of the log that the console shows.
        log_lines_max: usize = 1000;
    }
}

impl Console {
    /// Whether there is a listener.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.tls_listen.is_empty()
    }
}
