//! Accepts the clients of all edges: listeners, limits, bans, TLS, and the client's address behind a proxy.
//!
//! An edge gives an [`Entrance`] its listeners and its [`Terms`], and gets streams: bytes in both directions with the
//! address of the client. It knows neither the transport nor the other connections. The steps of a connection:
//!
//! `listen` (accepted) → `proxy` (the PROXY header, from a configured proxy only) → `flapping` (its address is not
//! banned) → `places` (there is room for it, in all and for its address) → `tls` (where the listener has a certificate)
//! → [`Protocol::serve`] → `linger` (the last bytes arrive).
//!
//! An HTTP proxy names the client of each request in a header instead; `forwarded` reads it.

mod counted;
mod entrance;
mod flapping;
mod flushed;
mod forwarded;
mod linger;
mod listen;
mod opening;
mod places;
mod proxy;
mod tls;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use counted::Counted;
pub use entrance::{Bans, Connections, Entrance, Terms};
pub use forwarded::{Forwarded, Malformed, is_by_proxy};
pub use linger::Linger;
pub use listen::{Handover, Listeners, UnixSocket};
pub use places::{AddressPlace, Place, Places, Refusal};
pub use proxy::Proxies;
pub use tls::{Reloads, Tls, TlsFault, TlsTerms};

/// A byte stream in both directions. All connections except plain TCP share this type, so that a session is not
/// compiled for every transport.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An accepted client.
#[derive(Debug)]
pub struct Client {
    /// Its own address, even if it comes through a proxy; an IPv4 address is never shown as an IPv6 one.
    pub peer: IpAddr,
    /// The number of accepted connections of its protocol, including this one.
    pub number: u64,
    /// Its place among the connections, which is free again when this is dropped.
    pub place: Place,
    /// The number of the listener at which it came in, from 0, in the order of [`Listeners::new`].
    pub listener: usize,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the protocol requires, or because the hub closed it.
    Orderly,
    /// It was refused, or broke.
    Failed,
    /// It was refused; the hash of the name that the client has given.
    Refused(u64),
}

impl Ending {
    /// The end of a refused client that has given this name.
    pub fn of_refused(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self::Refused(hasher.finish())
    }
}

/// A protocol that is served over streams.
pub trait Protocol: Send + Sync + 'static {
    /// Serves one client until its connection ends.
    fn serve<S: Stream + 'static>(self: Arc<Self>, stream: S, client: Client) -> impl Future<Output = Ending> + Send;
}
