//! `[http]`

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::net::{ForwardedHeader, Item};
use super::settings::settings;

settings! {
    /// The HTTP listeners, which the app socket shares.
    pub struct Http {
        /// Addresses and ports of HTTP and of the app socket /ws. "[::]:9527" listens on IPv6 and IPv4. An address may
        /// be followed by the dialect of its answers: ["0.0.0.0:9527", "0.0.0.0:9530 field"].
        #[serde(with = "super::net::list")]
        listen: Vec<HttpListen> = vec![HttpListen::on(9527)] => Everyday;
        /// More addresses and ports of the same, for legacy clients, which open the sockets /app/<id> and /toy/<id>
        /// there; [] for none.
        #[serde(with = "super::net::list")]
        legacy_listen: Vec<HttpListen> = vec![HttpListen::on(9528)] => Everyday;
        /// Addresses and ports of the same over TLS (https, wss), such as ["0.0.0.0:9443"]; [] for none. Needs
        /// net.tls_certificate.
        #[serde(with = "super::net::list")]
        tls_listen: Vec<HttpListen> = Vec::new() => Everyday;
        /// Bytes of a TLS record to a client, from 512 to 16384: the buffer that a small device needs.
        tls_record_max_bytes: usize = 16 * 1024;
        /// Whether each connection of net.proxies begins with a PROXY header (version 1 or 2).
        proxy_protocol: bool = false;
        /// Header in which net.proxies name the client of a request: "x-forwarded-for", "forwarded" (RFC 7239) or
        /// "off". Choose the one that your proxy sets itself: the other one may come from the client. Connections of
        /// these proxies are not limited by address; the requests and sockets of their clients are.
        forwarded_header: ForwardedHeader = ForwardedHeader::Off;
        /// Form of the answers at addresses without a dialect of their own. "documented": the documented API alone.
        /// "field": with the additions that legacy pages and phones read (CODE, MSG, DATA, and more).
        dialect: Dialect = Dialect::Documented => Everyday;
        /// Form of /content_list in the dialect "field": "bare" for the list alone, or "data" for the list in the
        /// envelope. Legacy clients read one or the other.
        field_content_list: ContentListForm = ContentListForm::Bare;
        /// Whether the hub serves its pages: the family's app at /, a toy in the browser at /toy, and both side by side
        /// at /demo.
        pages: bool = true;
        /// Folder with files that replace those of the pages of the same name, read at the start; "" for none. For
        /// developers of pages.
        pages_folder: PathBuf = PathBuf::new();
        /// Origins of web pages that may call the routes and open the socket; "*" for any. Calls without a token are
        /// refused to pages of public origins that are not named here; "null" stands for files that a browser opens.
        allowed_origins: Vec<String> = vec!["*".into()] => Everyday;
        /// Connections at once.
        connections_max: usize = 10_000;
        /// Connections at once from one address.
        connections_per_address_max: usize = 256;
        /// Seconds in which the head of a request must arrive.
        header_timeout_s: u64 = 10;
        /// Seconds without progress after which the upload of a body, or the download of an answer, is ended.
        body_pause_timeout_s: u64 = 15;
        /// Seconds that a whole request may take, its upload included.
        request_timeout_s: u64 = 120;
        /// Seconds in which a client closes its end after an answer that hands messages over and ends the connection.
        /// Later the answer counts as received, unless the connection was reset. A sound for a device of [xiaozhi] does not.
        close_timeout_s: u64 = 3;
        /// Bytes of a JSON or form body.
        body_max_bytes: u64 = 64 * 1024;
        /// Bytes of an uploaded recording.
        upload_max_bytes: u64 = 16 * 1024 * 1024;
        /// Bytes of a recording that are held in memory until the field of the form that names its sender arrives, if
        /// nobody has authenticated at the address of the client.
        upload_held_bytes: u64 = 128 * 1024;
        /// Bytes of all recordings that are held this way.
        uploads_held_bytes: u64 = 64 * 1024 * 1024;
        /// Recordings that one address uploads at once. Beyond that, requests are answered with code 17 (busy).
        uploads_per_address_max: usize = 32;
    }
}

/// The form of the answers of the documented routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The documented API alone.
    Documented,
    /// With additions for legacy clients.
    Field,
}

/// The form of `/content_list` in the dialect of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentListForm {
    /// The list alone.
    Bare,
    /// The list as `data` and `DATA` of the envelope.
    Data,
}

/// The address of a listener, and the dialect of its answers, if it has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpListen {
    /// The address.
    pub address: SocketAddr,
    /// The dialect.
    pub dialect: Option<Dialect>,
}

impl HttpListen {
    fn on(port: u16) -> Self {
        Self { address: SocketAddr::from(([0, 0, 0, 0], port)), dialect: None }
    }
}

impl Item for HttpListen {
    fn parse(text: &str) -> Result<Self, String> {
        let (address, dialect) = match text.trim().split_once(char::is_whitespace) {
            None => (text.trim(), None),
            Some((address, dialect)) => match Dialect::of_word(dialect.trim()) {
                Some(dialect) => (address, Some(dialect)),
                None => return Err(format!("{text:?} does not end with a dialect: \"documented\" or \"field\"")),
            },
        };
        Ok(Self { address: SocketAddr::parse(address)?, dialect })
    }

    fn show(&self) -> String {
        match self.dialect {
            None => self.address.to_string(),
            Some(dialect) => format!("{} {}", self.address, dialect.word()),
        }
    }
}

impl Dialect {
    const ALL: [Self; 2] = [Self::Documented, Self::Field];

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Field => "field",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.word() == word)
    }
}

impl Http {
    /// The dialect of each listener: those of `listen`, then of `legacy_listen`, then of `tls_listen`.
    pub fn dialects(&self) -> Vec<Dialect> {
        let all = self.listen.iter().chain(&self.legacy_listen).chain(&self.tls_listen);
        all.map(|listen| listen.dialect.unwrap_or(self.dialect)).collect()
    }
}
