//! Turns the answer of a call into an HTTP response.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::failure::Failure;
use crate::api::Reply;
use crate::config::Dialect;
use crate::domain::error::DomainError;
use crate::edge::status::{self, RequestFault, Status};
use crate::edge::{dialect, wire};
use crate::ports::metrics::METRICS;

/// The body of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The envelope's code of a failure, kept beside the response for the access log.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailureCode(pub(super) u16);

/// A body of these bytes.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A response of JSON text. It is for one client at one time, so it must not be cached.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(wire::text(value)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response of a documented route.
pub(super) fn render(dialect: Dialect, result: Result<Reply, Failure>) -> Response<Body> {
    match result {
        Ok(Reply { msg: Some(msg), data }) => json(StatusCode::OK, &dialect::envelope(dialect, 0, msg, data)),
        Ok(Reply { msg: None, data }) => json(StatusCode::OK, &data),
        Err(failure) => render_failure(dialect, &failure, status::of),
    }
}

/// The response to a failure. `status_of` is the column of the status table: documented routes or files.
pub(super) fn render_failure(
    dialect: Dialect,
    failure: &Failure,
    status_of: fn(&DomainError) -> Status,
) -> Response<Body> {
    let (status, message) = match failure {
        Failure::Domain(error) => (status_of(error), error.to_string()),
        Failure::Request(fault) => (status::of_request(fault), fault.to_string()),
    };
    METRICS.refused(status.code);
    let data = match failure {
        Failure::Domain(error) => status::data_of(error),
        Failure::Request(_) => json!({}),
    };
    let envelope = dialect::envelope(dialect, status.code, &message, data);
    let http = StatusCode::from_u16(status.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(http, &envelope);
    response.extensions_mut().insert(FailureCode(status.code));
    add_headers(&mut response, failure);
    response
}

/// The headers that belong to some failures (RFC 9110 §10, §11, §14, §15).
fn add_headers(response: &mut Response<Body>, failure: &Failure) {
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    match failure {
        Failure::Domain(DomainError::Unauthorized) if is_unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Failure::Domain(DomainError::RateLimited { retry_after_s }) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_s));
        }
        Failure::Request(RequestFault::MethodNotAllowed { allowed }) => {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        Failure::Request(RequestFault::NotAWebSocket) => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        Failure::Request(RequestFault::RangeNotSatisfiable { size }) => {
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
                headers.insert(CONTENT_RANGE, range);
            }
        }
        _ => {}
    }
}
