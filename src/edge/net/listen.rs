//! Listeners: TCP with or without TLS, a Unix socket, and the handover of clients that another edge has accepted.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::Stream;
use super::tls::{Acceptors, Reloads, Tls};

/// Clients of other edges that wait to be accepted; beyond that, the other edge waits.
const HANDOVER_QUEUE: usize = 64;

/// All listeners of one protocol.
#[derive(Debug)]
pub struct Listeners {
    all: Vec<Listener>,
    /// The listener that is polled first: the one after the last that had a client, so that a busy one delays no other.
    next: usize,
    handover: Handover,
    visitors: mpsc::Receiver<(Box<dyn Stream>, IpAddr)>,
    /// Whose files are to be watched.
    pub(super) tls: Option<Tls>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Acceptors),
    Unix(UnixSocket),
}

/// An accepted connection.
pub(super) struct Arrival {
    pub transport: Transport,
    /// The address of the connection, which may be that of a proxy; an IPv4 address is never shown as an IPv6 one.
    pub peer: IpAddr,
    /// The number of the listener.
    pub listener: usize,
}

/// The transport of the connection.
pub(super) enum Transport {
    Tcp(TcpStream),
    /// Before its handshake.
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
    /// Bytes of another edge.
    Other(Box<dyn Stream>),
}

/// Hands over clients that another edge has accepted, such as MQTT over WebSocket.
#[derive(Debug, Clone)]
pub struct Handover(mpsc::Sender<(Box<dyn Stream>, IpAddr)>);

impl Handover {
    /// Hands a client over. If the hub stops, it is dropped.
    pub async fn pass(&self, stream: impl Stream + 'static, peer: IpAddr) {
        let _ = self.0.send((Box::new(stream), peer)).await;
    }
}

impl Listeners {
    /// Plain TCP, and TCP with TLS; numbered in this order.
    pub fn new(tcp: Vec<TcpListener>, with_tls: Vec<TcpListener>, tls: Option<Tls>) -> Self {
        let (sender, visitors) = mpsc::channel(HANDOVER_QUEUE);
        let mut all: Vec<Listener> = tcp.into_iter().map(Listener::Tcp).collect();
        if let Some(tls) = &tls {
            all.extend(with_tls.into_iter().map(|listener| Listener::Tls(listener, tls.acceptors())));
        }
        Self { all, next: 0, handover: Handover(sender), visitors, tls }
    }

    /// And a socket for clients of this machine.
    pub fn add_unix(&mut self, socket: UnixSocket) {
        self.all.push(Listener::Unix(socket));
    }

    /// Reloads the certificate, on a listener with TLS.
    pub fn reloads(&self) -> Option<Reloads> {
        self.tls.as_ref().map(Tls::reloads)
    }

    /// The way in for other edges.
    pub fn handover(&self) -> Handover {
        self.handover.clone()
    }

    /// The next client of any listener. Cancel-safe.
    pub(super) async fn accept(&mut self) -> io::Result<Arrival> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        // The handover is one source more.
        let count = self.all.len() + 1;
        for turn in 0..count {
            let at = (self.next + turn) % count;
            let accepted = match self.all.get(at) {
                Some(listener) => listener.poll_accept(context),
                None => self.visitors.poll_recv(context).map(|visitor| {
                    // There is always a sender: our own.
                    let (stream, peer) = visitor.ok_or(io::ErrorKind::BrokenPipe)?;
                    Ok((Transport::Other(stream), peer))
                }),
            };
            let accepted = accepted.map_ok(|(transport, peer)| Arrival { transport, peer, listener: at });
            if accepted.is_ready() {
                self.next = at + 1;
                return accepted;
            }
        }
        Poll::Pending
    }
}

impl Listener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Transport, IpAddr)>> {
        match self {
            Self::Tcp(listener) => listener
                .poll_accept(context)
                .map_ok(|(socket, peer)| (Transport::Tcp(socket), peer.ip().to_canonical())),
            Self::Tls(listener, acceptors) => listener
                .poll_accept(context)
                .map_ok(|(socket, peer)| (Transport::Tls(socket, acceptors.latest()), peer.ip().to_canonical())),
            Self::Unix(socket) => socket
                .listener
                .poll_accept(context)
                .map_ok(|(socket, _)| (Transport::Unix(socket), IpAddr::V4(Ipv4Addr::LOCALHOST))),
        }
    }
}

impl Transport {
    /// The socket of a TCP connection.
    pub(super) fn tcp(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Tcp(socket) | Self::Tls(socket, _) => Some(socket),
            Self::Unix(_) | Self::Other(_) => None,
        }
    }
}

/// A listening Unix socket. Dropping it deletes its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Listens at `path`, for the hub's user and group. The abandoned file of an earlier run is replaced; any other
    /// file, and a socket at which someone listens, is an error.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
            Ok(_) => std::fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Self { listener: UnixListener::bind(path)?, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(socket)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
