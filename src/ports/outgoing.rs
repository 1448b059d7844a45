//! One request over HTTP or HTTPS to another server, on a connection of its own. Redirections are not followed.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::ports::pem;

/// Why a request has no answer. It contains no part of the request.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The address is invalid.
    #[error("the address is wrong: {0}")]
    Address(&'static str),
    /// The file of trusted certificates is invalid.
    #[error("the certificates cannot be used: {}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The host has no address that requests may go to.
    #[error("the host has no permitted address")]
    NotPermitted,
    /// The server cannot be reached, or the connection broke.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The certificate of the server is not valid for its name, or no trusted authority has signed it.
    #[error("the certificate of the server is refused: {0}")]
    Untrusted(String),
    /// The server accepts the connection, and does not answer with TLS.
    #[error("the server does not answer with TLS: {0}")]
    NoTls(String),
    /// The answer does not follow the protocol.
    #[error("the answer cannot be read: {0}")]
    Malformed(&'static str),
}

/// The target of requests.
pub struct Target {
    uri: Uri,
    host: String,
    port: u16,
    /// For `https`.
    name: Option<ServerName<'static>>,
}

/// A request.
pub struct Post<'a> {
    /// Its headers, beside `Host` and `Content-Length`.
    pub headers: Vec<(&'static str, &'a str)>,
    /// Its body.
    pub body: Vec<u8>,
    /// For `https`.
    pub tls: &'a TlsConnector,
    /// The addresses that the request may go to.
    pub is_permitted: fn(IpAddr) -> bool,
    /// The maximum size of the body of the answer.
    pub answer_max_bytes: usize,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Seconds after which the server wants to be asked again.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Bytes,
}

type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer, whose body may still come.
pub struct OpenAnswer {
    /// The status.
    pub status: u16,
    /// Seconds after which the server wants to be asked again.
    pub retry_after_s: Option<u64>,
    /// Whether its body is server-sent events.
    pub is_event_stream: bool,
    body: Limited<Incoming>,
    /// None once it has ended.
    connection: Option<Driving>,
    _sender: SendRequest<Full<Bytes>>,
}

impl OpenAnswer {
    /// The next piece of the body; none at its end. Errors: `Malformed`.
    pub async fn next(&mut self) -> Option<Result<Bytes, OutgoingError>> {
        loop {
            let frame = match &mut self.connection {
                None => self.body.frame().await,
                Some(connection) => tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    () = connection => {
                        self.connection = None;
                        continue;
                    }
                },
            };
            match frame?.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers.
                Ok(Err(_)) => {}
                Err(_) => return Some(Err(OutgoingError::Malformed("it breaks off or is too long"))),
            }
        }
    }
}

impl Target {
    /// Parses an address. Errors: `Address`.
    pub fn parse(address: &str) -> Result<Self, OutgoingError> {
        let wrong = OutgoingError::Address;
        let uri: Uri = address.parse().map_err(|_| wrong("it cannot be read"))?;
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?.trim_matches(['[', ']']).to_owned();
        let (name, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("its host is not a valid name"))?;
                (Some(name), 443)
            }
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        Ok(Self { port: uri.port_u16().unwrap_or(port), uri, host, name })
    }

    /// Whether requests are encrypted.
    pub fn is_https(&self) -> bool {
        self.name.is_some()
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Scheme, host and port, as a web origin (RFC 6454).
    pub fn origin(&self) -> String {
        let authority = self.authority();
        let (scheme, default) = if self.is_https() { ("https", ":443") } else { ("http", ":80") };
        format!("{scheme}://{}", authority.strip_suffix(default).unwrap_or(authority))
    }

    /// Host and port. The part before an @ is a secret, and is not shown.
    pub fn authority(&self) -> &str {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        authority.rsplit('@').next().unwrap_or_default()
    }

    /// Sends a request. Errors: all but `Certificates`.
    pub async fn post(&self, post: Post<'_>) -> Result<Answer, OutgoingError> {
        let mut answer = self.open(post).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.next().await {
            body.extend_from_slice(&piece?);
        }
        Ok(Answer { status: answer.status, retry_after_s: answer.retry_after_s, body: body.freeze() })
    }

    /// Sends a request. Returns the answer before its body has come. Errors: all but `Certificates`.
    pub async fn open(&self, post: Post<'_>) -> Result<OpenAnswer, OutgoingError> {
        let found = lookup_host((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let permitted: Vec<SocketAddr> = found.filter(|address| (post.is_permitted)(address.ip())).collect();
        if permitted.is_empty() {
            return Err(OutgoingError::NotPermitted);
        }
        let stream = TcpStream::connect(permitted.as_slice()).await.map_err(unreachable)?;
        match &self.name {
            None => self.send(stream, post).await,
            Some(name) => {
                let stream = encrypt(post.tls, name.clone(), stream).await?;
                self.send(stream, post).await
            }
        }
    }

    /// An encrypted connection, for another protocol than HTTP. Errors: `Address`, `Unreachable`, `NoTls`, `Untrusted`.
    pub async fn connect(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, OutgoingError> {
        let name = self.name.clone().ok_or(OutgoingError::Address("it is not encrypted"))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        encrypt(tls, name, stream).await
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        post: Post<'_>,
    ) -> Result<OpenAnswer, OutgoingError> {
        let Post { headers, body, answer_max_bytes, .. } = post;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).header(HOST, self.authority());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| OutgoingError::Address("its host or a header has characters that no request may have"))?;
        // The connection is driven by whoever reads the answer, so that no task is left behind. Its result is in the
        // answer.
        let mut connection: Driving = Box::pin(async move { drop(connection.await) });
        let mut sending = Box::pin(sender.send_request(request));
        let (answer, connection) = tokio::select! {
            biased;
            answer = &mut sending => (answer, Some(connection)),
            () = &mut connection => (sending.await, None),
        };
        let answer = answer.map_err(unreachable)?;
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        Ok(OpenAnswer {
            status: answer.status().as_u16(),
            retry_after_s: text(RETRY_AFTER).parse().ok(),
            is_event_stream: text(CONTENT_TYPE).to_ascii_lowercase().starts_with("text/event-stream"),
            body: Limited::new(answer.into_body(), answer_max_bytes),
            connection,
            _sender: sender,
        })
    }
}

/// The client side of TLS, which trusts the public certificate authorities and the given certificates.
///
/// # Errors
/// `Certificates`, `Unreachable`.
pub fn connector(certificates: Option<&Path>) -> Result<TlsConnector, OutgoingError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = certificates {
        let unusable = |reason: String| OutgoingError::Certificates { path: path.to_owned(), reason };
        if roots.add_parsable_certificates(pem::certificates(path).map_err(unusable)?).0 == 0 {
            return Err(unusable("there is no valid certificate in it".into()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unreachable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The client side of a connection that is encrypted from now on. Errors: `NoTls`, `Untrusted`.
pub async fn encrypt(
    tls: &TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, OutgoingError> {
    tls.connect(name, stream).await.map_err(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(why)) => OutgoingError::Untrusted(why.to_string()),
            _ => OutgoingError::NoTls(error.to_string()),
        }
    })
}

fn unreachable(error: impl std::fmt::Display) -> OutgoingError {
    OutgoingError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_has_neither_a_secret_nor_the_usual_port() {
        for (address, origin) in [
            ("https://push.example/send/1?a=b", "https://push.example"),
            ("https://push.example:443/send", "https://push.example"),
            ("https://push.example:8443/send", "https://push.example:8443"),
            ("http://me:secret@[::1]:80/", "http://[::1]"),
        ] {
            assert_eq!(Target::parse(address).unwrap().origin(), origin, "{address}");
        }
        for wrong in ["push.example", "ftp://push.example/", "https:///path", ""] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
