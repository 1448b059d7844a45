//! MQTT 3.1.1 and 5, distinguished by the CONNECT packet, over the streams of `net`.
//!
//! A connection is a task: `connect` reads its CONNECT, `handshake` brings it to its session, `session` serves it.
//! `codec` and `encode` use `rumqttd`'s codecs (`version`), `properties` are those that the hub forwards, `exchange` does
//! the bookkeeping without sockets, `link` has the socket and its buffers, `sessions` finds the session that a new
//! connection takes over, `requests` executes the requests to the hub itself, `waiting` defers the packets behind a
//! message for a subscriber that is behind, `wills` publishes wills, `reason` turns errors into reason codes.
//!
//! The hub decides about permissions, the router about deliveries. This module has only the protocol and its limits,
//! which are keys of `[mqtt]`. A session that outlives its connection keeps its subscriptions and its messages of QoS 1
//! and 2 in the router's file.

mod codec;
mod connect;
mod encode;
mod exchange;
mod handshake;
mod housekeeping;
mod link;
mod properties;
mod reason;
mod requests;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod version;
mod waiting;
mod wills;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::net::{Bans, Client, Counted, Ending, Entrance, Listeners, Place, Places, Protocol, Proxies, Stream, Terms};
use crate::config::{self, Config, seconds};
use crate::domain::Hub;
use crate::domain::live::QueueLimits;
use crate::edge::line::Connect;
use crate::edge::tasks::Tasks;
use crate::edge::wire;
use crate::ports::router::CloseReason;
use handshake::Arrival;
use sessions::{Keeper, Sessions};

/// The protocol's name inside TLS (ALPN), as it is registered.
pub const ALPN: &[u8] = b"mqtt";
/// The path of MQTT over WebSocket on the HTTP ports.
pub const SOCKET_PATH: &str = "/mqtt";
/// The subprotocols that are spoken there.
pub const SOCKET_PROTOCOLS: &[&str] = &["mqtt", "mqttv3.1"];

/// The requirements of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Credentials, and permission for every topic.
    Guarded,
    /// Neither: for conformance tests from this machine.
    Conformance,
}

/// The shared state of all connections.
struct Edge {
    hub: Arc<Hub>,
    config: Arc<config::Mqtt>,
    sessions: Arc<Sessions>,
    /// Tasks that outlive their connection: delayed wills, and requests to the hub itself.
    tasks: Tasks,
    /// The server of devices whose messages are not routed.
    lines: Option<Connect>,
    shutdown: CancellationToken,
}

/// What this edge shares with others.
pub struct Shared {
    /// The connections of the process.
    pub places: Arc<Places>,
    /// The tasks of all edges.
    pub tasks: Tasks,
    /// The server of devices with stock firmware, which exchange messages with the hub without topics.
    pub lines: Option<Connect>,
}

impl Edge {
    /// The limits of one connection's queue, and of its deferred packets.
    fn queue_limits(&self) -> QueueLimits {
        QueueLimits { messages_max: self.config.queue_messages_max, bytes_max: self.config.queue_bytes_max }
    }
}

/// MQTT for clients of one kind of listener.
struct Mqtt {
    edge: Arc<Edge>,
    profile: Profile,
}

impl Protocol for Mqtt {
    fn serve<S: Stream + 'static>(self: Arc<Self>, stream: S, client: Client) -> impl Future<Output = Ending> + Send {
        let Client { peer, number, place, .. } = client;
        let (stream, traffic) = Counted::new(stream);
        let arrival = Arrival { peer, number, traffic, profile: self.profile, place };
        // Boxed: the memory of the handshake is free again once the session runs.
        let arriving = Box::pin(handshake::handshake(stream, arrival, Arc::clone(&self.edge)));
        async move {
            match arriving.await {
                Ok(session) => session.run().await,
                Err(ending) => ending,
            }
        }
    }
}

/// Serves MQTT clients until `shutdown`, and returns when every connection has ended; work that outlives a connection
/// runs in the tasks of `shared`. `conformance` is for tests, and requires no credentials: its addresses must be loopback
/// addresses. The sessions of the earlier process are restored when this is called, so that no message of another hub comes
/// before them.
///
/// Dropping the future ends all connections at once.
pub fn serve(
    listeners: Listeners,
    conformance: Listeners,
    hub: Arc<Hub>,
    config: Arc<Config>,
    shared: Shared,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> {
    let Shared { places, tasks, lines } = shared;
    let sessions = Arc::new(Sessions::restore(&hub, wire::age_now()));
    let patience = seconds(config.mqtt.connect_timeout_s);
    hub.keep_sessions(Arc::new(Keeper { sessions: Arc::clone(&sessions), patience }));
    let edge = Arc::new(Edge { hub, config: Arc::new(config.mqtt.clone()), sessions, tasks, lines, shutdown });
    serve_edge(listeners, conformance, edge, terms(&config, places))
}

async fn serve_edge(listeners: Listeners, conformance: Listeners, edge: Arc<Edge>, terms: Terms) {
    let for_tests = Terms { bans: None, ..terms.clone() };
    let protocol = |profile| Arc::new(Mqtt { edge: Arc::clone(&edge), profile });
    let serve_all = async {
        let (mut connections, mut of_tests) = tokio::join!(
            Entrance::new(terms, listeners, edge.tasks.clone()).serve(protocol(Profile::Guarded), &edge.shutdown),
            Entrance::new(for_tests, conformance, edge.tasks.clone())
                .serve(protocol(Profile::Conformance), &edge.shutdown),
        );
        edge.sessions.close_all(CloseReason::ShuttingDown);
        tokio::join!(connections.finish(), of_tests.finish());
    };
    tokio::select! {
        () = serve_all => {}
        () = housekeeping::run(&edge) => {}
    }
}

/// The terms on which clients are accepted.
fn terms(config: &Config, places: Arc<Places>) -> Terms {
    let Config { net, mqtt, .. } = config;
    Terms {
        protocol: "mqtt",
        places: Places::within(places, mqtt.connections_max, mqtt.connections_per_address_max),
        bans: Some(Bans {
            failures_max: mqtt.flapping_max,
            refusals_per_name_max: mqtt.flapping_per_name_max,
            age: seconds(mqtt.flapping_age_s),
            ban: seconds(mqtt.flapping_ban_s),
            addresses_max: mqtt.flapping_addresses_max,
        }),
        proxies: Proxies::new(net.proxies.clone()),
        proxy_protocol: mqtt.proxy_protocol,
        carries_many: false,
        handshake_timeout: seconds(net.handshake_timeout_s),
        keep_alive: seconds(mqtt.keep_alive_max_s.into()),
        keep_alive_interval: seconds(mqtt.write_timeout_s),
    }
}
