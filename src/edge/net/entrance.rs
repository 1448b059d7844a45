//! Accepts and counts the connections of a protocol. There is one entrance for each protocol, for all its transports.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::flapping::Flapping;
use super::listen::{Arrival, Listeners, Transport};
use super::opening::open;
use super::places::{Place, Places};
use super::proxy::{Proxies, read_header};
use super::{Client, Ending, Protocol};
use crate::edge::label::Label;
use crate::edge::tasks::Tasks;
use crate::ports::metrics::{self, METRICS};

/// The first pause after a failed accept; it doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a process without file descriptors tries again this often.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The limits and timeouts under which clients are accepted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The protocol's name in log lines.
    pub protocol: &'static str,
    /// How many connections there may be.
    pub places: Arc<Places>,
    /// When an address is banned; none for no bans.
    pub bans: Option<Bans>,
    /// Proxies that are trusted with the address of a client.
    pub proxies: Proxies,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether their connections carry the requests of many clients, each of which is counted by the protocol.
    pub carries_many: bool,
    /// The timeout of a PROXY header, and after it that of a TLS handshake.
    pub handshake_timeout: Duration,
    /// The time without data after which TCP probes a connection.
    pub keep_alive: Duration,
    /// The interval of further probes.
    pub keep_alive_interval: Duration,
}

/// When an address is banned.
#[derive(Debug, Clone, Copy)]
pub struct Bans {
    /// Connections of an address in a minute that were refused or broke early; at one more it is banned.
    pub failures_max: u32,
    /// Of these, refused connections under one name that are counted.
    pub refusals_per_name_max: u32,
    /// The maximum age of a broken connection that counts as one of those.
    pub age: Duration,
    /// The time for which a banned address is refused.
    pub ban: Duration,
    /// Addresses of which such connections are counted at once.
    pub addresses_max: usize,
}

/// A connection that has ended.
#[derive(Debug)]
struct Ended {
    peer: IpAddr,
    started_at: Instant,
    ending: Ending,
}

/// A connection of a proxy, with the client that its header names.
struct Announced {
    arrival: Arrival,
    place: Place,
    client: io::Result<Option<IpAddr>>,
}

/// Accepts the clients of one protocol.
#[derive(Debug)]
pub struct Entrance {
    terms: Terms,
    counts: &'static metrics::Connections,
    listeners: Listeners,
    /// The table belongs to the task that accepts: there is no lock.
    flapping: Option<Flapping>,
    /// Whether the latest connection found no place: one line in the log is enough for all that follow.
    is_full: bool,
    /// Connections that were accepted since the start.
    admitted: u64,
    announced: JoinSet<Announced>,
    connections: Connections,
    /// Those that each connection is one of.
    tasks: Tasks,
}

impl Entrance {
    /// On these terms; connections become some of `tasks`.
    pub fn new(terms: Terms, listeners: Listeners, tasks: Tasks) -> Self {
        let flapping = terms.bans.map(Flapping::new);
        let connections = Connections { protocol: terms.protocol, tasks: JoinSet::new() };
        let counts = METRICS.connections_of(terms.protocol);
        Self {
            terms,
            counts,
            listeners,
            flapping,
            is_full: false,
            admitted: 0,
            announced: JoinSet::new(),
            connections,
            tasks,
        }
    }

    /// Accepts clients until `shutdown`; returns the remaining connections. Dropping the future ends all of them.
    pub async fn serve<P: Protocol>(mut self, protocol: Arc<P>, shutdown: &CancellationToken) -> Connections {
        let tls = self.listeners.tls.take();
        let keep_up = async {
            match tls {
                Some(tls) => tls.keep_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.accept(&protocol, shutdown) => {}
            () = keep_up => {}
        }
        self.connections
    }

    async fn accept<P: Protocol>(&mut self, protocol: &Arc<P>, shutdown: &CancellationToken) {
        let mut pause = ACCEPT_PAUSE;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = self.connections.tasks.join_next() => {
                    if let Some(ended) = self.connections.report(ended) {
                        self.note(&ended);
                    }
                }
                Some(announced) = self.announced.join_next() => self.admit_announced(announced, protocol, shutdown),
                accepted = self.listeners.accept() => match accepted {
                    Ok(arrival) => {
                        pause = ACCEPT_PAUSE;
                        self.take_in(arrival, protocol, shutdown);
                    }
                    Err(error) => {
                        // EMFILE stays until a connection ends: without a pause this would be a busy loop.
                        tracing::warn!(protocol = self.terms.protocol, %error, "connection not accepted");
                        tokio::select! {
                            () = shutdown.cancelled() => return,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(ACCEPT_PAUSE_MAX),
                        }
                    }
                },
            }
        }
    }

    /// A connection that was refused, or broke early, counts against its address. A proxy's own connections do not count:
    /// with their health checks, proxies connect and disconnect again and again.
    fn note(&mut self, ended: &Ended) {
        let Some(flapping) = &mut self.flapping else { return };
        if self.terms.proxy_protocol && self.terms.proxies.contains(ended.peer) {
            return;
        }
        let name = match ended.ending {
            Ending::Orderly => return,
            Ending::Failed => None,
            Ending::Refused(name) => Some(name),
        };
        if flapping.failed(ended.peer, name, ended.started_at, Instant::now()) {
            let protocol = self.terms.protocol;
            tracing::warn!(protocol, address = %ended.peer, "address banned, too many of its connections fail");
        }
    }

    /// Accepts a new connection, unless there are too many; a proxy's header is read first.
    fn take_in<P: Protocol>(&mut self, mut arrival: Arrival, protocol: &Arc<P>, shutdown: &CancellationToken) {
        let place = match self.terms.places.take() {
            Ok(place) => place,
            Err(refusal) => {
                self.counts.full.add();
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::warn!(protocol = self.terms.protocol, %refusal, "connections are refused");
                }
                return;
            }
        };
        self.is_full = false;
        if let Some(socket) = arrival.transport.tcp()
            && let Err(error) = self.set_options(socket)
        {
            // The client is gone already.
            tracing::debug!(protocol = self.terms.protocol, address = %arrival.peer, %error, "connection lost");
            return;
        }
        let is_announced = self.terms.proxy_protocol && self.terms.proxies.contains(arrival.peer);
        if is_announced && arrival.transport.tcp().is_some() {
            self.announced.spawn(announce(arrival, place, self.terms.handshake_timeout));
        } else {
            self.admit(arrival, place, protocol, shutdown);
        }
    }

    fn admit_announced<P: Protocol>(
        &mut self,
        announced: Result<Announced, JoinError>,
        protocol: &Arc<P>,
        shutdown: &CancellationToken,
    ) {
        match announced {
            Ok(Announced { mut arrival, place, client: Ok(client) }) => {
                arrival.peer = client.unwrap_or(arrival.peer);
                self.admit(arrival, place, protocol, shutdown);
            }
            // The proxy is the administrator's own.
            Ok(Announced { arrival, client: Err(error), .. }) => tracing::warn!(
                protocol = self.terms.protocol,
                proxy = %arrival.peer,
                %error,
                "connection of a proxy without a good PROXY header refused"
            ),
            Err(error) => tracing::error!(protocol = self.terms.protocol, %error, "reading a PROXY header failed"),
        }
    }

    /// Starts the task of a new connection, unless its address is banned or has too many.
    fn admit<P: Protocol>(
        &mut self,
        Arrival { transport, peer, listener }: Arrival,
        place: Place,
        protocol: &Arc<P>,
        shutdown: &CancellationToken,
    ) {
        let started_at = Instant::now();
        if self.flapping.as_ref().is_some_and(|flapping| flapping.is_banned(peer, started_at)) {
            self.counts.banned.add();
            return;
        }
        let place = if self.terms.carries_many && self.terms.proxies.contains(peer) {
            place
        } else {
            match self.terms.places.take_of(peer) {
                Ok(of_address) => place.with(of_address),
                Err(refusal) => {
                    self.counts.address_full.add();
                    tracing::debug!(protocol = self.terms.protocol, address = %peer, %refusal, "connection refused");
                    return;
                }
            }
        };
        self.counts.accepted.add();
        let (counts, place) = (self.counts, place.counted(&self.counts.open));
        self.admitted += 1;
        let label = Some(Label::new(self.terms.protocol, self.admitted, peer));
        let (protocol, client) = (Arc::clone(protocol), Client { peer, number: self.admitted, place, listener });
        let ended = move |ending| Ended { peer, started_at, ending };
        // A separate kind of task for TCP: idle connections reserve no memory for the other transports. What a client needs
        // later is moved into the future that serves it before that is polled: an `async` block would keep room for both.
        match transport {
            Transport::Tcp(socket) => {
                let serving = Box::pin(protocol.serve(socket, client).map(ended));
                self.connections.tasks.spawn(self.tasks.track_labelled(label, serving));
            }
            other => {
                let (shutdown, patience) = (shutdown.clone(), self.terms.handshake_timeout);
                let opening = Box::pin(async move {
                    let opened = tokio::select! {
                        opened = timeout(patience, open(other)) => opened.unwrap_or_else(|late| Err(late.into())),
                        () = shutdown.cancelled() => Err(io::ErrorKind::Interrupted.into()),
                    };
                    opened.map(|stream| Box::pin(protocol.serve(stream, client)))
                });
                let serving = async move {
                    match opening.await {
                        Ok(serving) => serving.await,
                        Err(error) => {
                            counts.handshake.add();
                            tracing::debug!(%error, "connection failed in its handshake");
                            Ending::Failed
                        }
                    }
                };
                self.connections.tasks.spawn(self.tasks.track_labelled(label, Box::pin(serving.map(ended))));
            }
        }
    }

    /// Small packets leave at once. A client that vanishes without a FIN is found out even if it never sends by itself.
    fn set_options(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let keep_alive =
            TcpKeepalive::new().with_time(self.terms.keep_alive).with_interval(self.terms.keep_alive_interval);
        SockRef::from(socket).set_tcp_keepalive(&keep_alive)
    }
}

/// Reads the PROXY header of a connection.
async fn announce(mut arrival: Arrival, place: Place, patience: Duration) -> Announced {
    let client = match arrival.transport.tcp() {
        Some(socket) => timeout(patience, read_header(socket)).await.unwrap_or_else(|late| Err(late.into())),
        None => Ok(None),
    };
    Announced { arrival, place, client }
}

/// Connections that are being served. Dropping them ends them.
#[derive(Debug)]
pub struct Connections {
    protocol: &'static str,
    /// An end is none where the connection was cut off.
    tasks: JoinSet<Option<Ended>>,
}

impl Connections {
    /// Waits until all have ended.
    pub async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.report(ended);
        }
    }

    /// A connection's task has ended; a panic in it ended that connection alone.
    fn report(&self, ended: Result<Option<Ended>, JoinError>) -> Option<Ended> {
        ended.inspect_err(|error| tracing::error!(protocol = self.protocol, %error, "connection failed")).ok()?
    }
}
