//! The WebSocket handshake (RFC 6455 §4.2) and the hand-over of the opened socket to the edge that speaks over it.
//!
//! What crosses the border is [`Socket`]: bytes and plain values, nothing of HTTP. The receiving edge puts its
//! framing (in the server's role, without a handshake) on [`Socket::io`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use headers::{HeaderMapExt, SecWebsocketAccept, SecWebsocketKey};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::client::Requester;
use super::devices::Claimed;
use super::failure::Failure;
use super::path::with_one_slash;
use super::reply::{Body, full};
use super::{Edge, bearer, cors};
use crate::domain::Origin;
use crate::edge::net::Stream;
use crate::edge::status::RequestFault;
use crate::model::Secret;

/// A WebSocket after its handshake; its place among the connections is free again when `io` is dropped.
pub struct Socket {
    /// The bytes behind the handshake: frames of RFC 6455, this side being the server.
    pub io: Box<dyn Stream>,
    /// The path of the request, such as `/toy/5c8f58eb268d79173c97bac5`, not percent-decoded, without a query.
    pub path: String,
    /// The subprotocol that was agreed on, one of [`SocketRoute::protocols`].
    pub protocol: Option<&'static str>,
    /// The token of `Authorization: Bearer`. Never one of the address: addresses end up in logs.
    pub token: Option<Secret>,
    /// The one-time ticket of the address, `?ticket=…`, which is useless if it is found in a log later.
    pub ticket: Option<Secret>,
    /// The number of the address's `?after=…`.
    pub after: Option<u64>,
    /// How a device names itself.
    pub claimed: Claimed,
    /// From where the client opens it.
    pub from: Origin,
}

/// Serves one socket until it is closed. The future is dropped if the hub stops and it does not end in time.
pub type SocketHandler = Arc<dyn Fn(Socket) -> BoxFuture<'static, ()> + Send + Sync>;

/// A path at which clients open a WebSocket.
#[derive(Clone)]
pub struct SocketRoute {
    /// The path, with `{name}` for a segment that may be anything: `/ws`, `/toy/{id}`.
    pub pattern: &'static str,
    /// The subprotocols that can be agreed on, by the client's preference.
    pub protocols: &'static [&'static str],
    /// The server of the socket.
    pub handler: SocketHandler,
}

/// Answers 101 and hands the socket to the route's handler; or the reason of the refusal.
pub(super) fn open(
    edge: &Edge,
    client: &Arc<Requester>,
    route: &SocketRoute,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    // Before the upgrade: a load balancer reads the status.
    edge.hub.check_store_answers()?;
    let headers = request.headers();
    let accept = accept_key(&request).ok_or(RequestFault::NotAWebSocket)?;
    // A browser sends cookies and reaches local networks from any page; the origin names the page.
    if headers.get(ORIGIN).is_some_and(|origin| !cors::is_allowed(&edge.config.http, origin)) {
        return Err(RequestFault::OriginNotAllowed.into());
    }
    let protocol = agreed_protocol(headers, route.protocols);
    let token = bearer(headers);
    let path = with_one_slash(request.uri().path()).to_owned();
    let Query { ticket, after } = Query::of(request.uri().query().unwrap_or_default());
    // The socket holds the place of its request.
    let (client, handler) = (Arc::clone(client), Arc::clone(&route.handler));
    let from = client.origin(edge, headers);
    let claimed = Claimed::of_handshake(&request);
    let serving = async move {
        let _client = client;
        match hyper::upgrade::on(request).await {
            Ok(io) => {
                let io = Box::new(TokioIo::new(io));
                handler(Socket { io, path, protocol, token, ticket, after, claimed, from }).await;
            }
            Err(error) => tracing::debug!(%error, "socket lost in its handshake"),
        }
    };
    edge.tasks.spawn(serving);

    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.typed_insert(accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

/// Parameters of the address: a page cannot set headers of its handshake.
#[derive(Default)]
struct Query {
    ticket: Option<Secret>,
    after: Option<u64>,
}

impl Query {
    fn of(text: &str) -> Self {
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(text).unwrap_or_default();
        let find = |wanted| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        Self { ticket: find("ticket").map(Secret::new), after: find("after").and_then(|number| number.parse().ok()) }
    }
}

/// The proof that the handshake was understood; nothing if the request does not open a WebSocket of version 13.
fn accept_key(request: &Request<Incoming>) -> Option<SecWebsocketAccept> {
    let headers = request.headers();
    let is_upgrade = request.version() == Version::HTTP_11
        && items(headers, &UPGRADE).any(|item| item.eq_ignore_ascii_case("websocket"))
        && items(headers, &CONNECTION).any(|item| item.eq_ignore_ascii_case("upgrade"))
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    is_upgrade.then(|| headers.typed_get::<SecWebsocketKey>().map(Into::into)).flatten()
}

/// The items of a header that is a list.
fn items<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn agreed_protocol(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    items(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(|wanted| ours.iter().copied().find(|own| *own == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_protocol_that_both_know_is_agreed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, mqtt"));
        assert_eq!(agreed_protocol(&headers, &["mqtt", "mqttv3.1"]), Some("mqtt"));
        assert_eq!(agreed_protocol(&headers, &[]), None);
        assert_eq!(agreed_protocol(&HeaderMap::new(), &["mqtt"]), None);
    }
}
