//! `[net]`, and the types of keys that name addresses.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::settings::settings;

settings! {
    /// TLS and proxies, for all listeners.
    pub struct Net {
        /// PEM file of the certificate chain, the hub's own certificate first. All TLS listeners (TLS 1.2 and 1.3) use
        /// it. "toyhub certificate" makes one for the home network.
        tls_certificate: PathBuf = PathBuf::new() => Everyday;
        /// PEM file of that certificate's key.
        tls_key: PathBuf = PathBuf::new() => Everyday;
        /// Seconds between two checks whether these files, or mqtt.tls_client_ca, have changed. New connections use the
        /// changed files; malformed files are logged and not used. SIGHUP reloads them at once.
        tls_reload_interval_s: u64 = 60;
        /// Connections that may wait at each listener to be accepted. The system may limit it further.
        accept_backlog: u32 = 1024;
        /// Seconds in which a TLS handshake must be complete, and before it the PROXY header of a proxy.
        handshake_timeout_s: u64 = 10;
        /// Addresses and networks of trusted proxies, such as ["127.0.0.1", "10.0.0.0/8"]. Limits for each address then
        /// count the client instead of the proxy. http.proxy_protocol, http.forwarded_header and mqtt.proxy_protocol
        /// state how a proxy names the client.
        #[serde(with = "list")]
        proxies: Vec<IpNet> = Vec::new();
    }
}

/// The header that names the client of a forwarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// None.
    Off,
    /// The header that most proxies write.
    XForwardedFor,
    /// That of RFC 7239.
    Forwarded,
}

/// A value of the configuration that is written as one text.
pub(super) trait Item: Sized {
    fn parse(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;
}

impl Item for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{text:?} is not an address with a port, such as \"0.0.0.0:9527\" or \"[::]:9527\""))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for IpNet {
    fn parse(text: &str) -> Result<Self, String> {
        let address = IpAddr::from_str(text).map(IpNet::from);
        address
            .or_else(|_| text.parse())
            .map_err(|_| format!("{text:?} is not an address or network, such as \"10.0.0.5\" or \"10.0.0.0/8\""))
    }

    fn show(&self) -> String {
        if self.prefix_len() == self.max_prefix_len() { self.addr().to_string() } else { self.to_string() }
    }
}

/// A list of texts; one text alone is a list of one, and `""` an empty one.
pub(super) mod list {
    use super::*;

    pub(in crate::config) fn serialize<T: Item, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items.iter().map(Item::show))
    }

    pub(in crate::config) fn deserialize<'de, T: Item, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(OneOrMany(PhantomData))
    }

    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Item> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            if text.is_empty() { Ok(Vec::new()) } else { Ok(vec![T::parse(text).map_err(E::custom)?]) }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(text) = texts.next_element::<String>()? {
                items.push(T::parse(&text).map_err(serde::de::Error::custom)?);
            }
            Ok(items)
        }
    }
}
