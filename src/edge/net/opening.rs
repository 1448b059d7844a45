//! From a socket to a stream of the protocol's own bytes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::flushed::Flushed;
use super::listen::Transport;
use super::{Linger, Stream};

/// The answer to plain HTTP at a TLS port, for a person at a browser.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 63\r\n\
    Connection: close\r\n\
    \r\n\
    This port takes TLS alone: write https://, wss:// or mqtts://.\n";

/// Opens a transport other than plain TCP, up to the bytes of its protocol.
pub(super) async fn open(transport: Transport) -> io::Result<Box<dyn Stream>> {
    match transport {
        Transport::Tcp(socket) => Ok(Box::new(socket)),
        Transport::Tls(socket, acceptor) => open_tls(socket, acceptor).await,
        Transport::Unix(socket) => Ok(Box::new(socket)),
        Transport::Other(stream) => Ok(Box::new(Flushed::new(stream))),
    }
}

async fn open_tls(mut socket: TcpStream, acceptor: TlsAcceptor) -> io::Result<Box<dyn Stream>> {
    let mut first = [0];
    // A TLS record begins with a byte that is not a letter, an HTTP request with the first letter of its method.
    if socket.peek(&mut first).await? > 0 && first[0].is_ascii_alphabetic() {
        tracing::debug!("plain text at a tls port");
        socket.write_all(PLAIN_HTTP).await?;
        socket.shutdown().await?;
        let mut linger = Linger::default();
        // A reset ends it as well.
        let _ = poll_fn(|context| linger.poll(Pin::new(&mut socket), context)).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no tls"));
    }
    Ok(Box::new(Flushed::new(acceptor.accept(socket).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_its_declared_length() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
