//! The documented HTTP routes, the files, and the handshakes of the sockets, on one port.
//!
//! This module has HTTP only: the hub decides about permissions, and another edge serves a socket after its handshake
//! ([`SocketRoute`]). The way of a request:
//!
//! `connection` (one task, one client) → `client` (whom a proxy forwards it for) → `service` (route, CORS, access log)
//! → `body` (bytes, of `reading`, become fields; `multipart` finds the parts) → one of the calls of [`api`](crate::api), or `files` → `reply` (back to bytes).
//!
//! Connections come from `net`. Limits, all of `[http]` in the configuration: the time of a request's head, the pauses
//! and the length of its body. A client that does not read is cut off after the same pause.

mod body;
mod client;
mod connection;
mod cors;
mod devices;
mod failure;
mod files;
mod gate;
mod multipart;
mod parameters;
mod path;
mod reading;
mod reply;
mod routes;
mod sent;
mod service;
mod sockets;
mod web_origin;

use std::io;
use std::sync::Arc;

use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use hyper::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use super::net::{Client, Ending, Entrance, Forwarded, Listeners, Places, Protocol, Proxies, Stream, Terms};
use crate::config::{Config, Dialect, ForwardedHeader, seconds};
use crate::domain::Hub;
use crate::edge::pages::{FAMILY, Pages};
use crate::edge::tasks::Tasks;
use crate::model::Secret;
use gate::Uploads;
use routes::Routes;

pub use devices::{Claimed, Post, PostAnswer, PostRoute, Sound, SoundPieces, SoundRoute};
pub use multipart::RECORDING_FIELDS;
pub use routes::{FILES, HEALTH, READINESS};
pub use sockets::{Socket, SocketHandler, SocketRoute};

/// The paths that other edges serve.
#[derive(Clone, Default)]
pub struct OtherRoutes {
    /// Those that open a WebSocket.
    pub sockets: Vec<SocketRoute>,
    /// Those to which devices post.
    pub posts: Vec<PostRoute>,
    /// Sounds for devices.
    pub sounds: Vec<SoundRoute>,
}

/// The protocol's name inside TLS (ALPN), as it is registered.
pub const ALPN: &[u8] = b"http/1.1";

/// How large a request's head may be.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How much of a request or an answer one connection holds in memory.
const BUFFER_MAX_BYTES: usize = 64 * 1024;

/// What all connections share.
struct Edge {
    hub: Arc<Hub>,
    config: Arc<Config>,
    /// The dialect of each listener.
    dialects: Vec<Dialect>,
    routes: ByDialect<Routes>,
    protocol: http1::Builder,
    /// How many connections there may be; requests that a proxy forwards are counted here too.
    places: Arc<Places>,
    /// The pages for browsers.
    pages: Pages,
    /// How many recordings are received.
    uploads: Uploads,
    /// Proxies that are trusted with the addresses of their clients.
    proxies: Proxies,
    /// In which header they name the client of a request.
    forwarded: Option<Forwarded>,
    /// No new requests are accepted; running ones may complete.
    shutdown: CancellationToken,
    /// Work that outlives its connection: accepted requests and opened sockets.
    tasks: Tasks,
}

/// One of each dialect.
struct ByDialect<T> {
    documented: T,
    field: T,
}

impl<T> ByDialect<T> {
    fn of(&self, dialect: Dialect) -> &T {
        match dialect {
            Dialect::Documented => &self.documented,
            Dialect::Field => &self.field,
        }
    }
}

impl Edge {
    fn new(
        hub: Arc<Hub>,
        config: Arc<Config>,
        others: OtherRoutes,
        places: Arc<Places>,
        tasks: Tasks,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(seconds(config.http.header_timeout_s))
            .max_header_size(HEAD_MAX_BYTES)
            .max_buf_size(BUFFER_MAX_BYTES)
            // Simple clients close their sending side after the request and then wait for the answer.
            .half_close(true);
        let dialects = config.http.dialects();
        let routes_of = |dialect| Routes::new(dialect, config.http.pages, others.clone()).map_err(io::Error::other);
        let routes = ByDialect { documented: routes_of(Dialect::Documented)?, field: routes_of(Dialect::Field)? };
        let places = Places::within(places, config.http.connections_max, config.http.connections_per_address_max);
        let proxies = Proxies::new(config.net.proxies.clone());
        let forwarded = match config.http.forwarded_header {
            ForwardedHeader::Off => None,
            ForwardedHeader::XForwardedFor => Some(Forwarded::XForwardedFor),
            ForwardedHeader::Forwarded => Some(Forwarded::Rfc7239),
        };
        let uploads = Uploads::new(&config.http);
        let pages = Pages::new(&FAMILY, &config.http.pages_folder)?;
        Ok(Self {
            hub,
            config,
            dialects,
            routes,
            protocol,
            places,
            pages,
            uploads,
            proxies,
            forwarded,
            shutdown,
            tasks,
        })
    }

    /// The dialect of a listener.
    fn dialect_at(&self, listener: usize) -> Dialect {
        self.dialects.get(listener).copied().unwrap_or(self.config.http.dialect)
    }

    /// Whether a listener has TLS.
    fn is_encrypted_at(&self, listener: usize) -> bool {
        let http = &self.config.http;
        listener >= http.listen.len() + http.legacy_listen.len()
    }

    /// On which terms clients are let in.
    fn terms(&self) -> Terms {
        let Config { net, http, mqtt, .. } = &*self.config;
        Terms {
            protocol: "http",
            places: Arc::clone(&self.places),
            bans: None,
            proxies: self.proxies.clone(),
            proxy_protocol: http.proxy_protocol,
            carries_many: self.forwarded.is_some(),
            handshake_timeout: seconds(net.handshake_timeout_s),
            // MQTT comes this way too, and need not send anything by itself.
            keep_alive: seconds(mqtt.keep_alive_max_s.into()),
            keep_alive_interval: seconds(mqtt.write_timeout_s),
        }
    }
}

impl Protocol for Edge {
    async fn serve<S: Stream + 'static>(self: Arc<Self>, stream: S, client: Client) -> Ending {
        connection::run(stream, client, self).await;
        Ending::Orderly
    }
}

/// Serves HTTP clients until `shutdown`, and returns when every connection has ended; accepted requests and sockets are some of
/// `tasks`. Dropping the future ends all connections at once.
///
/// `others` are the paths that other edges serve, `places` the connections that the process may have. Fails at once if two
/// routes have the same path.
pub async fn serve(
    listeners: Listeners,
    hub: Arc<Hub>,
    config: Arc<Config>,
    others: OtherRoutes,
    places: Arc<Places>,
    tasks: Tasks,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let edge = Arc::new(Edge::new(hub, config, others, places, tasks, shutdown)?);
    let entrance = Entrance::new(edge.terms(), listeners, edge.tasks.clone());
    entrance.serve(Arc::clone(&edge), &edge.shutdown).await.finish().await;
    Ok(())
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    headers.typed_get::<Authorization<Bearer>>().map(|header| Secret::new(header.token()))
}
