//! Protection against pages of other origins, which may lead a browser to any address, also to one of this machine.
//!
//! - A page may do so under a name of its own (DNS rebinding). So the host of a request must be an address, `localhost`
//!   or a configured name.
//! - It may send requests on behalf of the operator. So a session is a token that the console's page sends in a header:
//!   no cookie is sent by the browser itself. And a request that names another origin is refused before its password or
//!   its token is looked at.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use hyper::http::uri::Authority;

use crate::model::Secret;

/// Tells from which kind of page a browser sends a request (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the host of a request is an address, `localhost` or one of `names`.
pub(super) fn is_permitted<B>(request: &Request<B>, names: &[String]) -> bool {
    let Some(authority) = host(request) else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// The host of a request that has one `Host` header.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    host.to_str().ok()?.parse().ok()
}

/// Whether a request is of the console's own page, or of a program, which names no origin.
pub(super) fn is_own<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let is_of_own_site = match headers.get(SITE).map(|site| site.as_bytes()) {
        None | Some(b"same-origin") => true,
        Some(_) => false,
    };
    let is_of_own_origin = match headers.get(ORIGIN) {
        None => true,
        Some(origin) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            match (origin, host(request)) {
                (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host.as_str()),
                _ => false,
            }
        }
    };
    is_of_own_site && is_of_own_origin
}

/// The token of a session.
pub(super) fn token<B>(request: &Request<B>) -> Option<Secret> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    header.strip_prefix("Bearer ").map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(HeaderName, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/metrics");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_name_that_is_not_configured_is_refused() {
        let names = ["Toyhub.example".to_owned()];
        let permitted = |hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| (HOST, *host)).collect();
            is_permitted(&request(&headers), &names)
        };
        for host in
            ["127.0.0.1:9529", "127.0.0.1", "[::1]:9529", "[::1]", "localhost:9529", "LOCALHOST", "toyhub.example"]
        {
            assert!(permitted(&[host]), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example:9529", "localhost.evil.example", "", "x@127.0.0.1@evil", "127.1"]
        {
            assert!(!permitted(&[host]), "{host}");
        }
        assert!(!permitted(&[]) && !permitted(&["localhost", "evil.example"]));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let own = |headers: &[(HeaderName, &str)]| is_own(&request(&[&[(HOST, "127.0.0.1:9529")], headers].concat()));
        for headers in [
            &[][..],
            &[(ORIGIN, "http://127.0.0.1:9529")],
            &[(ORIGIN, "https://127.0.0.1:9529"), (SITE, "same-origin")],
            &[(SITE, "same-origin")],
        ] {
            assert!(own(headers), "{headers:?}");
        }
        for headers in [
            // Another program of this machine has another port.
            &[(ORIGIN, "http://127.0.0.1:9527")][..],
            &[(ORIGIN, "http://127.0.0.1")],
            &[(ORIGIN, "http://evil.example")],
            &[(ORIGIN, "null")],
            &[(ORIGIN, "")],
            &[(SITE, "cross-site")],
            &[(SITE, "same-site"), (ORIGIN, "http://127.0.0.1:9529")],
            &[(SITE, "none")],
        ] {
            assert!(!own(headers), "{headers:?}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        let read = |value: &str| token(&request(&[(AUTHORIZATION, value)])).map(|token| token.reveal().to_owned());
        assert_eq!(read("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(token(&request(&[])), None);
    }
}
