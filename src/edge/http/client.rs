//! The client of a request: whom the connection is from, or whom a proxy forwards it for.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::{HeaderMap, Request, StatusCode};

use super::sent::Sent;
use super::{Edge, web_origin};
use crate::config::Dialect;
use crate::domain::Origin;
use crate::edge::net::{AddressPlace, is_by_proxy};

/// The client and the connection of a request.
pub(super) struct Requester {
    /// The client's address, even behind a proxy; an IPv4 address is never shown as an IPv6 one.
    pub(super) peer: IpAddr,
    /// Whether a proxy that is not named speaks for the client: then `peer` is the proxy.
    is_hidden: bool,
    /// The dialect of its listener.
    pub(super) dialect: Dialect,
    /// Whether its listener has TLS.
    pub(super) is_encrypted: bool,
    /// Whether a request has a body of which something has not been read.
    unread: Arc<AtomicBool>,
    /// The answers of the connection that are being sent.
    pub(super) sent: Arc<Sent>,
    /// The place of a request that a proxy forwards: of its connections, each carries many clients.
    _place: Option<AddressPlace>,
}

impl Requester {
    /// The client of a connection, as long as no request names another one.
    pub(super) fn of_connection(
        peer: IpAddr,
        (dialect, is_encrypted): (Dialect, bool),
        unread: Arc<AtomicBool>,
        sent: Arc<Sent>,
    ) -> Self {
        Self { peer, is_hidden: false, dialect, is_encrypted, unread, sent, _place: None }
    }

    /// From where the request comes, and from which kind of client.
    pub(super) fn origin(&self, edge: &Edge, headers: &HeaderMap) -> Origin {
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let is_hidden = self.is_hidden || web_origin::has_no_place(edge, headers);
        Origin { is_hidden, ..Origin::from(self.peer) }.with_agent(agent)
    }

    /// Notes whether the request at hand has a body of which something has not been read.
    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Whether the connection must end, since the rest of a body stands where the next request should.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// The same for a request, whose client a trusted proxy names; or why the request is not served.
    pub(super) fn of(self: &Arc<Self>, request: &Request<Incoming>, edge: &Edge) -> Result<Arc<Self>, Refused> {
        let Some(forwarded) = edge.forwarded.filter(|_| edge.proxies.contains(self.peer)) else {
            if !is_by_proxy(|name| request.headers().contains_key(name)) {
                return Ok(Arc::clone(self));
            }
            report_unnamed_proxy(self.peer);
            return Ok(Arc::new(Self {
                peer: self.peer,
                is_hidden: true,
                dialect: self.dialect,
                is_encrypted: self.is_encrypted,
                unread: Arc::clone(&self.unread),
                sent: Arc::clone(&self.sent),
                _place: None,
            }));
        };
        let values = request.headers().get_all(forwarded.header()).iter();
        // Text that is not ASCII names no address either.
        let values = values.map(|value| value.to_str().unwrap_or("?"));
        let values: Vec<&str> = values.collect();
        let Ok(peer) = forwarded.client(self.peer, values.into_iter(), &edge.proxies) else {
            tracing::warn!(proxy = %self.peer, header = forwarded.header(), "header of a proxy names no address");
            return Err((StatusCode::BAD_REQUEST, "The header in which the proxy names its client is malformed.\n"));
        };
        let place = edge.places.take_of(peer).map_err(|refused| {
            tracing::debug!(address = %peer, %refused, "http request refused");
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests and sockets from one address at once.\n")
        })?;
        let (unread, sent) = (Arc::clone(&self.unread), Arc::clone(&self.sent));
        let (dialect, is_encrypted) = (self.dialect, self.is_encrypted);
        Ok(Arc::new(Self { peer, is_hidden: false, dialect, is_encrypted, unread, sent, _place: Some(place) }))
    }
}

/// Says once that a proxy is not named. Its clients are then at no place, and calls without a token are refused.
fn report_unnamed_proxy(peer: IpAddr) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            proxy = %peer,
            "requests name another client, but net.proxies does not name their proxy; without a token they are refused"
        );
    }
}

/// Status and plain text for a request that is not served.
pub(super) type Refused = (StatusCode, &'static str);
