//! From a request's body to what it has given: fields and a recording.
//!
//! Reading is bounded three ways: in bytes, in the length of a pause and in the time of the whole body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::multipart;
use super::reply::Failure;
use crate::api::request::Given;
use crate::config::{Http, seconds};
use crate::domain::Hub;
use crate::edge::body::{FieldMap, from_form, from_json, from_unnamed};
use crate::edge::status::RequestFault;

/// The bytes of one body, as they come.
pub(super) struct BodyReader {
    body: Incoming,
    connection: Arc<Connection>,
    max_bytes: u64,
    read_bytes: u64,
    pause: Duration,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl BodyReader {
    /// Reads `body` as the limits of `config` allow. A body that is declared larger than `max_bytes` is not begun.
    fn new(body: Incoming, connection: Arc<Connection>, config: &Http, max_bytes: u64) -> Result<Self, RequestFault> {
        if body.size_hint().exact().is_some_and(|size| size > max_bytes) {
            return Err(RequestFault::TooLarge { max_bytes });
        }
        let now = Instant::now();
        let pause = seconds(config.body_pause_timeout_s);
        let deadline = now + seconds(config.request_timeout_s);
        let timer = Box::pin(sleep_until(deadline.min(now + pause)));
        Ok(Self { body, connection, max_bytes, read_bytes: 0, pause, deadline, timer })
    }

    /// Reads to the end what nobody needs, so that the connection can serve another request.
    pub(super) async fn drain(&mut self) -> Result<(), RequestFault> {
        while let Some(chunk) = self.next().await {
            chunk?;
        }
        Ok(())
    }

    /// The whole body, which is small.
    async fn collect(&mut self) -> Result<Bytes, RequestFault> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestFault>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.as_mut().reset(self.deadline.min(Instant::now() + self.pause));
                    // Trailers say nothing here.
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.read_bytes += chunk.len() as u64;
                    if self.read_bytes > self.max_bytes {
                        return Poll::Ready(Some(Err(RequestFault::TooLarge { max_bytes: self.max_bytes })));
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Some(Err(RequestFault::BadBody("it ends too early"))));
                }
                Poll::Ready(None) => {
                    self.connection.set_unread(false);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let fault = || Some(Err(RequestFault::TooSlow));
                    return self.timer.as_mut().poll(cx).map(|()| fault());
                }
            }
        }
    }
}

impl Stream for BodyReader {
    type Item = Result<Bytes, RequestFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

/// The form in which fields come.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Json,
    UrlEncoded,
    Multipart {
        boundary: String,
    },
    /// No `Content-Type`: by the first byte.
    Unnamed,
    Unknown,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let Some(header) = headers.get(CONTENT_TYPE) else { return Self::Unnamed };
        let Ok(text) = header.to_str() else { return Self::Unknown };
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Unnamed,
            "application/json" | "text/json" => Self::Json,
            "application/x-www-form-urlencoded" => Self::UrlEncoded,
            "multipart/form-data" => match multer::parse_boundary(text) {
                Ok(boundary) if !boundary.is_empty() => Self::Multipart { boundary },
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }
}

/// Reads a body to its end. With `takes_recording` a multipart body may carry one, which goes straight to the spool.
pub(super) async fn receive(
    hub: &Hub,
    config: &Http,
    connection: Arc<Connection>,
    headers: &HeaderMap,
    body: Incoming,
    takes_recording: bool,
) -> Result<Given, Failure> {
    if body.is_end_stream() {
        return Ok(Given::default());
    }
    let form = Form::of(headers);
    let recording_max_bytes = match form {
        Form::Multipart { .. } if takes_recording => config.upload_max_bytes,
        _ => 0,
    };
    if recording_max_bytes > 0 {
        // Before the client has sent it all: what it declares, or what has come.
        hub.check_room(body.size_hint().lower())?;
    }
    // Beside the recording there is room for the other fields and for the lines between them.
    let max_bytes = config.body_max_bytes.saturating_add(recording_max_bytes);
    let mut reader = BodyReader::new(body, connection, config, max_bytes)?;
    let fields = match form {
        Form::Multipart { boundary } => {
            let limits = multipart::Limits { text_max_bytes: config.body_max_bytes, recording_max_bytes };
            return multipart::receive(hub, &mut reader, boundary, limits).await;
        }
        Form::Unknown => return unknown_form(&mut reader).await,
        Form::Json => parse(&mut reader, from_json).await?,
        Form::UrlEncoded => parse(&mut reader, from_form).await?,
        Form::Unnamed => parse(&mut reader, from_unnamed).await?,
    };
    Ok(Given::of(fields))
}

/// Clients of every kind name a type for the body that they do not send.
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
    fn the_form_is_what_the_header_says() {
        assert_eq!(form("Application/JSON; charset=utf-8"), Form::Json);
        assert_eq!(form("application/x-www-form-urlencoded"), Form::UrlEncoded);
        assert_eq!(form("multipart/form-data; boundary=\"a b\""), Form::Multipart { boundary: "a b".into() });
        assert_eq!(form("multipart/form-data"), Form::Unknown);
        assert_eq!(form("text/xml"), Form::Unknown);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Unnamed);
    }
}
