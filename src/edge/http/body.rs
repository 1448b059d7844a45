//! Parses the body of a request into fields and a recording.

use std::sync::Arc;

use futures_util::StreamExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;

use super::client::Requester;
use super::failure::Failure;
use super::gate::Gate;
use super::multipart;
use super::parameters::parameter;
use super::reading::BodyReader;
use crate::api::request::Given;
use crate::edge::body::{FieldMap, from_json, from_text};
use crate::edge::net::AddressPlace;
use crate::edge::status::RequestFault;

/// The format of the fields.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Json,
    Multipart {
        boundary: String,
    },
    /// Detected by the first byte: no `Content-Type`, or one that small clients and pages also send with JSON
    /// (`curl -d`, `esp_http_client`, `navigator.sendBeacon`).
    Text,
    Unknown,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let Some(header) = headers.get(CONTENT_TYPE) else { return Self::Text };
        let Ok(text) = header.to_str() else { return Self::Unknown };
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/x-www-form-urlencoded" | "text/plain" => Self::Text,
            "application/json" | "text/json" => Self::Json,
            "multipart/form-data" => match parameter(text, "boundary") {
                Some(boundary) if !boundary.is_empty() => Self::Multipart { boundary },
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

/// Reads a body to its end. A multipart body may contain a recording, if the call has one and the gate accepts it; it
/// is returned with its place among the uploads of its address.
pub(super) async fn receive(
    gate: &Gate<'_>,
    client: Arc<Requester>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<(Given, Option<AddressPlace>), Failure> {
    if body.is_end_stream() {
        return Ok((Given::default(), None));
    }
    let (hub, config) = (&gate.edge.hub, &gate.edge.config.http);
    let form = Form::of(headers);
    let recording_max_bytes = match form {
        Form::Multipart { .. } if gate.entry.takes_recording => config.upload_max_bytes,
        _ => 0,
    };
    if recording_max_bytes > 0 {
        // Checked before the client has sent the whole body: its declared size, or the received size.
        hub.check_room(body.size_hint().lower())?;
    }
    // Besides the recording, there is room for the other fields and for the boundaries.
    let max_bytes = config.body_max_bytes.saturating_add(recording_max_bytes);
    let mut reader = BodyReader::new(body, client, config, max_bytes)?;
    let fields = match form {
        Form::Multipart { boundary } => {
            let gate = (recording_max_bytes > 0).then_some(gate);
            let limits = multipart::Limits { text_max_bytes: config.body_max_bytes, gate };
            return multipart::receive(&mut reader, boundary, limits).await;
        }
        Form::Unknown => return Ok((unknown_form(&mut reader).await?, None)),
        Form::Json => parse(&mut reader, from_json).await?,
        Form::Text => parse(&mut reader, from_text).await?,
    };
    Ok((Given::of(fields), None))
}

/// Many clients send a `Content-Type` without a body.
async fn unknown_form(reader: &mut BodyReader) -> Result<Given, Failure> {
    match reader.next().await {
        None => Ok(Given::default()),
        Some(Err(fault)) => Err(fault.into()),
        Some(Ok(_)) => Err(RequestFault::UnsupportedType.into()),
    }
}

async fn parse(
    reader: &mut BodyReader,
    parse: fn(&[u8]) -> Result<FieldMap, RequestFault>,
) -> Result<FieldMap, RequestFault> {
    let bytes = reader.collect().await?;
    if bytes.is_empty() { Ok(FieldMap::new()) } else { parse(&bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn form(content_type: &'static str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Form::of(&headers)
    }

    #[test]
    fn the_form_follows_the_header() {
        assert_eq!(form("Application/JSON; charset=utf-8"), Form::Json);
        assert_eq!(form("application/x-www-form-urlencoded"), Form::Text);
        assert_eq!(form("text/plain;charset=UTF-8"), Form::Text);
        assert_eq!(
            form("Multipart/Form-Data ; charset=utf-8 ; Boundary = x"),
            Form::Multipart { boundary: "x".into() }
        );
        assert_eq!(form("multipart/form-data; boundary=\"a b\""), Form::Multipart { boundary: "a b".into() });
        assert_eq!(form("multipart/form-data"), Form::Unknown);
        assert_eq!(form("text/xml"), Form::Unknown);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Text);
    }
}
