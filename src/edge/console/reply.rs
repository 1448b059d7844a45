//! Responses of the console.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::domain::error::DomainError;
use crate::edge::status::{self, RequestFault, Status};
use crate::edge::wire;

/// Every response of the console.
pub(super) type Reply = Response<Full<Bytes>>;

/// Why a call of the console failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A rule of the domain.
    Domain(DomainError),
    /// The form of the request.
    Request(RequestFault),
    /// A request of a page of another origin.
    OtherOrigin,
    /// In these words, for the operator.
    Words(String),
}

impl From<DomainError> for Fault {
    fn from(error: DomainError) -> Self {
        Self::Domain(error)
    }
}

impl From<RequestFault> for Fault {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}

/// The response to a failure: its code and its words, and the status of HTTP.
pub(super) fn failure(fault: &Fault) -> Reply {
    let (Status { http, code }, words) = match fault {
        Fault::Domain(error) => (status::of_console(error), words_of(error)),
        Fault::Request(fault) => (status::of_request(fault), fault.to_string()),
        Fault::OtherOrigin => {
            let fault = RequestFault::OriginNotAllowed;
            (status::of_request(&fault), "pages of other origins may not call the console".to_owned())
        }
        Fault::Words(words) => (Status { http: 409, code: 1 }, words.clone()),
    };
    let mut response = json(&json!({"code": code, "msg": words}));
    *response.status_mut() = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Fault::Domain(DomainError::RateLimited { retry_after_s }) = fault {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
    }
    response
}

/// The words of an error. A fault of the hub is logged, and named by the id of its log line.
fn words_of(error: &DomainError) -> String {
    match error {
        DomainError::WrongCredentials => "wrong password".to_owned(),
        error => match status::log_fault(error) {
            Some(fault) => format!("{error}; see the log, fault {fault}"),
            None => error.to_string(),
        },
    }
}

/// A response of JSON text.
pub(super) fn json(value: &Value) -> Reply {
    bytes("application/json", wire::text(value))
}

/// A response of one line.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut response = bytes("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

/// A response of these bytes.
pub(super) fn bytes(content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(bytes.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The headers of every response: none of them is a page for frames, a script for other origins, or of another type
/// than it says.
pub(super) fn guarded(mut response: Reply) -> Reply {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}
