//! Web pages that may not act at a place.
//!
//! A browser sends requests of any page that a person opens, from the person's address. At a place, that address is the
//! proof of a call without a token ([`crate::domain::Origin`]). So a page that anybody may have made has no place: one of
//! a public origin, unless the settings name it. A browser names the page in the header `Origin` (Fetch standard, "`Origin`
//! header") of every POST and of every WebSocket.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use super::Edge;
use crate::config::Http;
use crate::domain::is_local;

/// Ends of names that exist only in a local network (RFC 6761, RFC 6762, RFC 8375, and names of common routers).
const LOCAL_NAMES: [&str; 6] = [".localhost", ".local", ".home.arpa", ".internal", ".lan", ".fritz.box"];
/// The longest origin that a hint to the operator shows.
const SHOWN_MAX_BYTES: usize = 100;

/// Whether a request comes from a page that has no place. The operator gets a hint for each origin.
pub(super) fn has_no_place(edge: &Edge, headers: &HeaderMap) -> bool {
    let Some(origin) = foreign_origin(&edge.config.http, headers) else { return false };
    let is_shown =
        origin.len() <= SHOWN_MAX_BYTES && origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    let origin = if is_shown { origin } else { "?" };
    let text = format!(
        "calls without a token are refused to web pages of the origin \"{origin}\", which anybody may have made; if they \
         are yours, add \"{origin}\" to http.allowed_origins"
    );
    edge.hub.remark("origin", origin.to_owned(), text);
    true
}

/// The origin of the page, if anybody may have made the page.
fn foreign_origin<'h>(config: &Http, headers: &'h HeaderMap) -> Option<&'h str> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_named = |origin: &str| config.allowed_origins.iter().any(|named| named == origin);
    let mut origins = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or("?"));
    origins.find(|origin| !is_named(origin) && !is_trusted(origin, host))
}

/// Whether the page is part of an installed app, of the local network, or of the hub itself, `host`.
///
/// A page of the hub itself is known by its name only over TLS: over plain HTTP, the name of any web site may lead to the
/// hub ("DNS rebinding").
fn is_trusted(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    match scheme {
        "http" => is_local_host(authority),
        "https" => is_local_host(authority) || authority.eq_ignore_ascii_case(host),
        // No web page has another scheme.
        _ => true,
    }
}

/// Whether a host, with or without a port, is of a local network.
fn is_local_host(authority: &str) -> bool {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<IpAddr>().is_ok_and(is_local);
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host).trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_local(address);
    }
    let is_one_label = !host.is_empty() && !host.contains('.');
    is_one_label || LOCAL_NAMES.iter().any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_foreign(allowed: &[&str], origin: &'static str, host: &'static str) -> bool {
        let allowed_origins = allowed.iter().map(|text| text.to_string()).collect();
        let config = Http { allowed_origins, ..Http::default() };
        let headers = [(ORIGIN, origin.parse().unwrap()), (HOST, host.parse().unwrap())];
        foreign_origin(&config, &HeaderMap::from_iter(headers)).is_some()
    }

    #[test]
    fn a_page_that_anybody_may_have_made_has_no_place() {
        const HUB: &str = "toys.example:9527";
        for origin in [
            "http://evil.example",
            "https://evil.example:9527",
            "http://203.0.113.5",
            "http://[2001:db8::1]:80",
            "null",
            "http://toys.example:9527",
            "http://localhost.evil.example",
            "http://192.168.1.5.evil.example",
            "https://",
        ] {
            assert!(is_foreign(&["*"], origin, HUB), "{origin}");
        }
        for origin in [
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://192.168.1.5:9527",
            "http://[fe80::1]",
            "http://[::1]:1",
            "http://toyhub.local:9527",
            "http://pi",
            "https://toys.example:9527",
            "file://",
            "capacitor://localhost",
        ] {
            assert!(!is_foreign(&["*"], origin, HUB), "{origin}");
        }
        assert!(!is_foreign(&["*", "http://pages.example"], "http://pages.example", HUB), "it is named");
        assert!(!is_foreign(&["null"], "null", HUB), "it is named");
    }

    #[test]
    fn a_client_that_is_no_page_has_its_place() {
        assert_eq!(foreign_origin(&Http::default(), &HeaderMap::new()), None);
    }
}
