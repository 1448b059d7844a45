//! The headers in which an HTTP proxy names the client of a request, `X-Forwarded-For` and `Forwarded` (RFC 7239), and
//! those by which a proxy is noticed.
//!
//! Each proxy appends the address of its client, so the list is read from its end, only as far as proxies are trusted.
//! A client may have forged the addresses before that.

use std::net::{IpAddr, SocketAddr};

use super::Proxies;

/// The headers, in lower case, with which proxies describe themselves, their client or its request. A client that is
/// connected directly sends none of them.
const OF_PROXIES: [&str; 15] = [
    "x-forwarded-for",
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
];

/// Whether a request has a header that only a proxy adds.
pub fn is_by_proxy(has_header: impl Fn(&str) -> bool) -> bool {
    OF_PROXIES.iter().any(|name| has_header(name))
}

/// A header of a trusted proxy that names no address where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Which header names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For: client, proxy`
    XForwardedFor,
    /// `Forwarded: for=client, for="[2001:db8::1]:4711"`
    Rfc7239,
}

impl Forwarded {
    /// The header's name, in lower case.
    pub fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Rfc7239 => "forwarded",
        }
    }

    /// The client of a request that came from `peer` with these values of the header, in their order: the last address
    /// that is no trusted proxy's. Without the header it is `peer`, and where a proxy hides its client, that proxy.
    pub fn client<'a>(
        self,
        peer: IpAddr,
        values: impl DoubleEndedIterator<Item = &'a str>,
        proxies: &Proxies,
    ) -> Result<IpAddr, Malformed> {
        let mut client = peer;
        for value in values.rev() {
            for item in items(value, ',').into_iter().rev() {
                if !proxies.contains(client) {
                    return Ok(client);
                }
                let node = match self {
                    Self::XForwardedFor => item,
                    Self::Rfc7239 => of_element(item)?,
                };
                match address(node)? {
                    Some(address) => client = address,
                    None => return Ok(client),
                }
            }
        }
        Ok(client)
    }
}

/// The parts of a list, whose quoted parts may contain the separator.
fn items(list: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = list.split(|character| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match character {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    });
    parts.map(str::trim).collect()
}

/// The value of `for=` in an element of `Forwarded`.
fn of_element(element: &str) -> Result<&str, Malformed> {
    let parameters = items(element, ';').into_iter().filter_map(|parameter| parameter.split_once('='));
    let named: Vec<&str> =
        parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value.trim()).collect();
    match named[..] {
        [value] => Ok(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)),
        _ => Err(Malformed),
    }
}

/// An address with or without a port; none for an identifier of a hidden address (RFC 7239 §6.2, §6.3).
fn address(node: &str) -> Result<Option<IpAddr>, Malformed> {
    if node.eq_ignore_ascii_case("unknown") || node.starts_with('_') {
        return Ok(None);
    }
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().or_else(|_| node.parse::<SocketAddr>().map(|address| address.ip()));
    address.map(|address| Some(address.to_canonical())).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> Proxies {
        Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn client(header: Forwarded, peer: &str, values: &[&str]) -> Result<String, Malformed> {
        let client = header.client(peer.parse().unwrap(), values.iter().copied(), &proxies());
        client.map(|address| address.to_string())
    }

    fn found(address: &str) -> Result<String, Malformed> {
        Ok(address.into())
    }

    #[test]
    fn the_last_address_before_the_trusted_proxies_is_the_client() {
        let x = |peer, values: &[&str]| client(Forwarded::XForwardedFor, peer, values);
        assert_eq!(x("10.0.0.1", &["192.0.2.7"]), found("192.0.2.7"));
        assert_eq!(x("10.0.0.1", &["1.2.3.4, 192.0.2.7"]), found("192.0.2.7"), "what the client itself sent is forged");
        assert_eq!(x("10.0.0.1", &["nonsense, 192.0.2.7"]), found("192.0.2.7"), "and is not even read");
        assert_eq!(x("10.0.0.1", &["1.2.3.4", "192.0.2.7, 10.0.0.2"]), found("192.0.2.7"), "two proxies, two headers");
        assert_eq!(x("10.0.0.1", &["2001:db8::1"]), found("2001:db8::1"));
        assert_eq!(x("10.0.0.1", &["[2001:db8::1]:80"]), found("2001:db8::1"));
        assert_eq!(x("10.0.0.1", &["::ffff:192.0.2.7"]), found("192.0.2.7"));
        assert_eq!(x("10.0.0.1", &["192.0.2.7:4711"]), found("192.0.2.7"));
        assert_eq!(x("10.0.0.1", &["10.0.0.3"]), found("10.0.0.3"), "a request of a proxy's own");
        assert_eq!(x("10.0.0.1", &[]), found("10.0.0.1"));
        assert_eq!(x("192.0.2.9", &["1.2.3.4"]), found("192.0.2.9"), "strangers are not believed");
        assert_eq!(x("10.0.0.1", &["nonsense"]), Err(Malformed));
        assert_eq!(x("10.0.0.1", &["192.0.2.7,"]), Err(Malformed));
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes() {
        let f = |values: &[&str]| client(Forwarded::Rfc7239, "fd00::1", values);
        assert_eq!(f(&["for=192.0.2.7"]), found("192.0.2.7"));
        assert_eq!(f(&["For=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2"]), found("2001:db8::1"));
        assert_eq!(f(&["for=1.2.3.4, host=\"a,for=5.6.7.8\";for=192.0.2.7"]), found("192.0.2.7"));
        assert_eq!(f(&["for=1.2.3.4;by=\"\\\"\", for=unknown"]), found("fd00::1"));
        assert_eq!(f(&["for=_hidden"]), found("fd00::1"));
        assert_eq!(f(&["proto=https"]), Err(Malformed));
        assert_eq!(f(&["for=192.0.2.7;for=1.2.3.4"]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_text_has_a_client_or_is_malformed(text in "[ -~]{0,60}") {
            for header in [Forwarded::XForwardedFor, Forwarded::Rfc7239] {
                let _ = client(header, "10.0.0.1", &[&text]);
            }
        }
    }
}
