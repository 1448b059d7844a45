//! Pages of other origins: which may read the answers (Fetch standard, "CORS protocol").

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, HeaderValue, ORIGIN,
    VARY,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::reply::{Body, full};
use crate::config::Http;

const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Range, If-Range, If-None-Match");
/// The longest list of headers that a page may ask for.
const REQUESTED_HEADERS_MAX_BYTES: usize = 1024;
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("ETag, Content-Range, Accept-Ranges, Content-Length, Retry-After");
/// How long a browser may remember a preflight's answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

fn any_origin(config: &Http) -> bool {
    config.allowed_origins.iter().any(|allowed| allowed == "*")
}

/// Whether pages of `origin` may use the hub.
pub(super) fn is_allowed(config: &Http, origin: &HeaderValue) -> bool {
    any_origin(config) || config.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
}

/// Answers `OPTIONS`: the preflight of a page, or a client that asks for the methods.
///
/// Libraries add headers of their own (`X-Requested-With`, `Device-Id`). A page that may use the hub may send them: a call
/// does no more because of them.
pub(super) fn preflight(config: &Http, request: &HeaderMap, allowed_methods: &'static str) -> Response<Body> {
    let is_list = |byte: &u8| byte.is_ascii_alphanumeric() || b", !#$%&'*+-.^_`|~".contains(byte);
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|asked| {
        let from = request.get(ORIGIN).is_some_and(|origin| is_allowed(config, origin));
        from && asked.len() <= REQUESTED_HEADERS_MAX_BYTES && asked.as_bytes().iter().all(is_list)
    });
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allowed_methods));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed_methods));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.cloned().unwrap_or(ALLOWED_HEADERS));
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets the page that asked read the answer, if its origin is allowed.
pub(super) fn decorate(config: &Http, request: &HeaderMap, answer: &mut HeaderMap) {
    let origin = request.get(ORIGIN);
    if any_origin(config) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        // A cache must not give one origin's answer to another, nor the answer without an origin to any.
        answer.append(VARY, HeaderValue::from_static("Origin"));
        match origin {
            Some(origin) if is_allowed(config, origin) => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
            _ => return,
        }
    }
    if origin.is_some() {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decorated(allowed: &[&str], origin: Option<&'static str>) -> HeaderMap {
        let config = Http { allowed_origins: allowed.iter().map(|text| text.to_string()).collect(), ..Http::default() };
        let mut request = HeaderMap::new();
        if let Some(origin) = origin {
            request.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        let mut answer = HeaderMap::new();
        decorate(&config, &request, &mut answer);
        answer
    }

    #[test]
    fn an_allowed_origin_may_send_the_headers_that_it_requests() {
        let config = Http { allowed_origins: vec!["http://a".into()], ..Http::default() };
        let allowed = |origin: &'static str, asked: String| {
            let mut request = HeaderMap::new();
            request.insert(ORIGIN, HeaderValue::from_static(origin));
            request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_bytes(asked.as_bytes()).unwrap());
            preflight(&config, &request, "POST").headers()[ACCESS_CONTROL_ALLOW_HEADERS].clone()
        };
        let asked = "x-requested-with, device-id";
        assert_eq!(allowed("http://a", asked.into()), asked);
        assert_eq!(allowed("http://evil", asked.into()), ALLOWED_HEADERS);
        assert_eq!(allowed("http://a", "x: y".into()), ALLOWED_HEADERS);
        assert_eq!(allowed("http://a", "x".repeat(2000)), ALLOWED_HEADERS);
    }

    #[test]
    fn only_allowed_origins_may_read() {
        assert_eq!(decorated(&["*"], Some("http://a"))[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let listed = decorated(&["http://a", "http://b"], Some("http://b"));
        assert_eq!(listed[ACCESS_CONTROL_ALLOW_ORIGIN], "http://b");
        assert_eq!(listed[VARY], "Origin");
        for other in [decorated(&["http://a"], Some("http://evil")), decorated(&["http://a"], None)] {
            assert!(!other.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            assert_eq!(other[VARY], "Origin");
        }
    }
}
