//! Stored files (RFC 9110 §13, §14): whole, in part, or not at all because the client has them.
//!
//! A toy on a bad line asks for the rest of a download: one range is served, several are answered with the whole.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt;
use headers::{ETag, HeaderMapExt, IfModifiedSince, IfNoneMatch, IfRange, LastModified};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::bearer;
use super::failure::Failure;
use super::reply::{Body, full};
use crate::api;
use crate::domain::error::DomainError;
use crate::domain::{FileKind, Hub, Origin, StoredFile};
use crate::edge::status::RequestFault;
use crate::edge::wire;
use crate::model::{FileName, Secret};

/// Answers `GET` or `HEAD` of a file; `name` is the path's last segment as it came.
pub(super) async fn get(
    hub: &Hub,
    kind: FileKind,
    name: &str,
    request: &Request<Incoming>,
    from: Origin,
) -> Result<Response<Body>, Failure> {
    let (method, headers) = (request.method(), request.headers());
    let name = file_name(name).ok_or(DomainError::UnknownFile)?;
    let signature = request.uri().query().and_then(signature);
    let file = hub.open_file(kind, &name, bearer(headers).as_ref(), signature, from, wire::now()).await?;
    let etag: Option<ETag> = format!("\"{}\"", file.etag).parse().ok();
    let mut response = if is_known(headers, etag.as_ref(), &file) {
        with_status(StatusCode::NOT_MODIFIED)
    } else {
        content(hub, &file, method, headers, etag.as_ref()).await?
    };
    let answer = response.headers_mut();
    if let Some(etag) = etag {
        answer.typed_insert(etag);
    }
    answer.typed_insert(LastModified::from(file.modified));
    answer.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control(kind)));
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Answers `GET` of a family's archive, which is written while it is sent; `ticket` is the path's last segment.
pub(super) async fn export(hub: &Arc<Hub>, ticket: &str) -> Result<Response<Body>, Failure> {
    let pieces = api::export::fetch(hub, &Secret::new(ticket), wire::now()).await?;
    let mut response = with_status(StatusCode::OK);
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    answer.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"family.zip\""));
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
    Ok(response)
}

/// The signature of a link, in the query of its address.
fn signature(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("sig="))
}

/// The bytes that were asked for, or for `HEAD` their headers.
async fn content(
    hub: &Hub,
    file: &StoredFile,
    method: &Method,
    headers: &HeaderMap,
    etag: Option<&ETag>,
) -> Result<Response<Body>, Failure> {
    // Ranges have a meaning for GET only (RFC 9110 §14.2).
    let selection = match (method == Method::GET).then(|| headers.get(RANGE)).flatten() {
        Some(range) if range_still_holds(headers, etag, file) => Selection::of(range, file.size),
        _ => Selection::Whole,
    };
    let (mut response, range) = match selection {
        Selection::Whole => (with_status(StatusCode::OK), 0..file.size),
        Selection::Part(range) => (with_status(StatusCode::PARTIAL_CONTENT), range),
        Selection::Unsatisfiable => return Err(RequestFault::RangeNotSatisfiable { size: file.size }.into()),
    };
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    answer.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
        let value = HeaderValue::try_from(text).map_err(DomainError::internal)?;
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    if method == Method::GET && !range.is_empty() {
        let chunks = hub.read_file(file, range).await?;
        let chunks = chunks.inspect(|chunk| {
            // The head has been sent: all that is left is to end the connection, which hyper does.
            if let Err(error) = chunk {
                tracing::error!(%error, "a stored file could not be read to its end");
            }
        });
        *response.body_mut() = StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync();
    }
    Ok(response)
}

fn with_status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = status;
    response
}

/// How long and by whom a file may be kept. Sounds of a chat and codes of a device are for one family only.
fn cache_control(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Music | FileKind::Image => "max-age=3600",
        FileKind::Chat | FileKind::Qr => "private, max-age=3600",
    }
}

/// Whether the client has the file as it is (RFC 9110 §13.1.2, §13.1.3).
fn is_known(headers: &HeaderMap, etag: Option<&ETag>, file: &StoredFile) -> bool {
    match (headers.typed_get::<IfNoneMatch>(), etag) {
        (Some(known), Some(etag)) => !known.precondition_passes(etag),
        (Some(_), None) => false,
        (None, _) => headers.typed_get::<IfModifiedSince>().is_some_and(|since| !since.is_modified(file.modified)),
    }
}

/// Whether the part that the client has is of the same file (RFC 9110 §13.1.5).
fn range_still_holds(headers: &HeaderMap, etag: Option<&ETag>, file: &StoredFile) -> bool {
    match headers.typed_try_get::<IfRange>() {
        Ok(None) => true,
        Ok(Some(condition)) => !condition.is_modified(etag, Some(&LastModified::from(file.modified))),
        Err(_) => false,
    }
}

/// The selection of a `Range` header.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

impl Selection {
    /// What `header` selects of `size` bytes. A header that is malformed, or that asks for several parts, is ignored.
    fn of(header: &HeaderValue, size: u64) -> Self {
        let Some(specification) = header.to_str().ok().and_then(single_range) else { return Self::Whole };
        let range = match specification {
            (Some(first), last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            (None, Some(suffix)) => size.saturating_sub(suffix)..size,
            (None, None) => return Self::Whole,
        };
        if range.is_empty() { Self::Unsatisfiable } else { Self::Part(range) }
    }
}

/// First and last byte of `bytes=first-last`, or only one of them: `first-`, `-suffix`.
fn single_range(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, ranges) = header.split_once('=')?;
    let (first, last) = ranges.trim().split_once('-')?;
    let (first, last) = (position(first)?, position(last)?);
    let is_ordered = !matches!((first, last), (Some(first), Some(last)) if first > last);
    (unit.trim().eq_ignore_ascii_case("bytes") && is_ordered).then_some((first, last))
}

/// A position, if one is given. A number beyond any file size becomes the largest number.
fn position(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => None,
    }
}

/// The name in a path, percent-decoded once. A result that is no plain name is no file.
fn file_name(segment: &str) -> Option<FileName> {
    percent_decode_str(segment).decode_utf8().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_specification() {
        let part = |start, end| Selection::Part(start..end);
        let cases = [
            ("bytes=0-4", 10, part(0, 5)),
            ("bytes=5-", 10, part(5, 10)),
            ("bytes=-3", 10, part(7, 10)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("Bytes=9-9", 10, part(9, 10)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=0-", 0, Selection::Unsatisfiable),
            ("bytes=0-1,3-4", 10, Selection::Whole),
            ("bytes=5-2", 10, Selection::Whole),
            ("bytes=-", 10, Selection::Whole),
            ("bytes=a-b", 10, Selection::Whole),
            ("bytes=+1-2", 10, Selection::Whole),
            ("items=0-4", 10, Selection::Whole),
            ("", 10, Selection::Whole),
        ];
        for (header, size, expected) in cases {
            assert_eq!(Selection::of(&HeaderValue::from_static(header), size), expected, "{header}");
        }
    }

    #[test]
    fn names_are_decoded_once_and_stay_in_their_folder() {
        assert_eq!(file_name("a%2Db%2emp3").unwrap().as_str(), "a-b.mp3");
        for bad in ["%2e%2e%2fpasswd", "..", "%252e", "a%2", "a%zz", "%ff", "a%00b", "a%2fb", "%5c", "a%+1"] {
            assert!(file_name(bad).is_none(), "{bad}");
        }
    }
}
