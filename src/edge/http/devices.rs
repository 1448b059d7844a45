//! Posts of devices of another protocol, sounds that they fetch, and the handover of each to the edge that knows the protocol.
//!
//! The other edge gets a [`Post`] and returns a [`PostAnswer`]: plain values, without types of HTTP. The body is read and dropped: such
//! devices describe themselves in headers, and some of their bodies are not valid.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Edge;
use super::client::Requester;
use super::failure::Failure;
use super::reading::BodyReader;
use super::reply::{self, Body};
use crate::config::seconds;
use crate::domain::Origin;
use crate::domain::error::DomainError;
use crate::model::Secret;

/// The longest header or parameter that names a device.
const NAME_MAX_BYTES: usize = 256;

/// How a device names itself, unproven.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The header `Device-Id`; in the address of a socket `device-id`.
    pub device_id: Option<String>,
    /// The header `Client-Id`; in the address of a socket `client-id`.
    pub client_id: Option<String>,
    /// The token of the header `Authorization`; in the address of a socket `authorization`, for web pages, which cannot
    /// set a header there.
    pub token: Option<Secret>,
}

impl Claimed {
    fn of_headers(headers: &HeaderMap) -> Self {
        let find = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= NAME_MAX_BYTES).then(|| value.to_owned())
        };
        let token = find(AUTHORIZATION.as_str()).map(|text| token_of(&text));
        Self { device_id: find("device-id"), client_id: find("client-id"), token }
    }

    /// Those of a request that opens a socket.
    pub(super) fn of_handshake<T>(request: &Request<T>) -> Self {
        let named = Self::of_headers(request.headers());
        let query = request.uri().query().unwrap_or_default();
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(query).unwrap_or_default();
        let find = |wanted: &str| {
            let found = pairs.iter().find(|(name, value)| name == wanted && value.len() <= NAME_MAX_BYTES);
            found.map(|(_, value)| value.clone())
        };
        Self {
            device_id: named.device_id.or_else(|| find("device-id")),
            client_id: named.client_id.or_else(|| find("client-id")),
            token: named.token.or_else(|| find("authorization").map(|text| token_of(&text))),
        }
    }
}

/// The token behind `Bearer`, a word that some clients leave out.
fn token_of(text: &str) -> Secret {
    let text = text.trim();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Secret::new(token.map_or(text, |(_, token)| token.trim()))
}

/// A request of a device.
#[derive(Debug)]
pub struct Post {
    /// How the device names itself.
    pub claimed: Claimed,
    /// Its description of itself, `BOARD/VERSION`.
    pub agent: Option<String>,
    /// The host, and the port, at which it has reached the hub.
    pub host: Option<String>,
    /// Whether it has come over TLS.
    pub is_encrypted: bool,
    /// From where it comes.
    pub from: Origin,
}

/// The answer to a device: the status of HTTP, and JSON.
#[derive(Debug)]
pub struct PostAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// Answers one post.
pub type PostHandler = Arc<dyn Fn(Post) -> BoxFuture<'static, PostAnswer> + Send + Sync>;

/// A path to which devices post.
#[derive(Clone)]
pub struct PostRoute {
    /// The path.
    pub pattern: &'static str,
    /// The server of the path.
    pub handler: PostHandler,
}

/// Pieces of a sound that is made while a device fetches it.
pub type SoundPieces = BoxStream<'static, io::Result<Bytes>>;

/// A sound that a device fetches.
pub struct Sound {
    /// Its pieces. They are dropped when the device closes the connection before their end.
    pub pieces: SoundPieces,
    /// Resolves when the device has received all of them: it has closed the connection after their end. Dropped if not.
    pub received: oneshot::Sender<()>,
}

/// The sound of a ticket; none if the ticket is not valid.
pub type SoundHandler = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Sound>> + Send + Sync>;

/// A path from which devices fetch sounds, once each, by the ticket that is its last segment, `{name}`.
#[derive(Clone)]
pub struct SoundRoute {
    /// The path.
    pub pattern: &'static str,
    /// The type of the sounds.
    pub content_type: &'static str,
    /// The server of the path.
    pub handler: SoundHandler,
}

/// Answers `GET` of a sound; none if the ticket is not valid. It ends the connection, so that the device closes it, too.
pub(super) async fn sound(client: &Requester, route: &SoundRoute, ticket: &str) -> Option<Response<Body>> {
    let Sound { pieces, received } = (route.handler)(ticket.to_owned()).await?;
    let pieces = client.sent.follow(pieces, received);
    let mut response = Response::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(route.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// Reads the request to its end, and answers it.
pub(super) async fn post(
    edge: &Edge,
    client: &Arc<Requester>,
    route: &PostRoute,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    if !body.is_end_stream() {
        let http = &edge.config.http;
        BodyReader::new(body, Arc::clone(client), http, http.body_max_bytes)?.drain().await?;
    }
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let post = Post {
        claimed: Claimed::of_headers(&head.headers),
        agent: text(USER_AGENT),
        host: text(HOST),
        is_encrypted: client.is_encrypted,
        from: client.origin(edge, &head.headers),
    };
    let work = edge.tasks.spawn((route.handler)(post));
    match timeout(seconds(edge.config.http.request_timeout_s), work).await {
        Ok(Ok(Some(answer))) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(reply::json(status, &answer.body))
        }
        Ok(Ok(None)) | Err(_) => Err(DomainError::Busy.into()),
        Ok(Err(panic)) => Err(DomainError::internal(panic).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(uri: &str, headers: &[(&'static str, &'static str)]) -> [Option<String>; 3] {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Claimed { device_id, client_id, token } = Claimed::of_handshake(&request.body(()).unwrap());
        [device_id, client_id, token.map(|token| token.reveal().to_owned())]
    }

    #[test]
    fn a_device_names_itself_in_headers_and_a_page_in_the_address() {
        let all = ["a", "b", "c"].map(|text| Some(text.to_owned()));
        let headers = [("Device-Id", "a"), ("Client-Id", "b"), ("Authorization", "Bearer c")];
        assert_eq!(claimed("/xiaozhi/v1/", &headers), all);
        assert_eq!(claimed("/xiaozhi/v1/?device-id=a&client-id=b&authorization=Bearer+c", &[]), all);
        assert_eq!(claimed("/xiaozhi/v1/?device-id=x&authorization=c", &headers[..2]), all, "headers count first");
        assert_eq!(claimed("/xiaozhi/v1/", &[]), [None, None, None]);
        assert_eq!(claimed("/xiaozhi/v1/?device-id=%ff", &[("Client-Id", "\u{e9}")])[1], None);
    }
}
