//! One request over HTTP or HTTPS, on a connection of its own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::ReplyError;
use crate::ports::pem;

/// The target of requests.
pub(super) struct Target {
    uri: Uri,
    host: String,
    port: u16,
    /// For `https`.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    answer_max_bytes: usize,
}

impl Target {
    /// With `https`, the given certificates are trusted in addition. An answer has at most `answer_max_bytes`.
    pub(super) fn new(address: &str, certificates: Option<&Path>, answer_max_bytes: usize) -> Result<Self, ReplyError> {
        let wrong = |reason: &str| ReplyError::Address(reason.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong("it cannot be read"))?;
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?.trim_matches(['[', ']']).to_owned();
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("its host is not a valid name"))?;
                (Some((connector(certificates)?, name)), 443)
            }
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        Ok(Self { port: uri.port_u16().unwrap_or(port), uri, host, tls, answer_max_bytes })
    }

    /// Sends `body`. Returns status and body of the answer.
    pub(super) async fn post(&self, body: Vec<u8>, key: Option<&str>) -> Result<(u16, Bytes), ReplyError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        match &self.tls {
            None => self.exchange(stream, body, key).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(unreachable)?;
                self.exchange(stream, body, key).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        body: Vec<u8>,
        key: Option<&str>,
    ) -> Result<(u16, Bytes), ReplyError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        // The part before an @ is a secret, and is not shown.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let mut request = Request::post(path)
            .header(HOST, host)
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| ReplyError::Address("its key or host has characters that no request may have".into()))?;
        // The connection is driven here, concurrently with the exchange, so that no task is left behind.
        let answer = async {
            let answer = sender.send_request(request).await.map_err(unreachable)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), self.answer_max_bytes).collect().await;
            Ok((status, body.map_err(|_| ReplyError::Malformed("it breaks off or is too long"))?.to_bytes()))
        };
        let connection = async {
            // The result is in the answer.
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = connection => never,
        }
    }
}

fn connector(certificates: Option<&Path>) -> Result<TlsConnector, ReplyError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = certificates {
        let unusable = |reason: String| ReplyError::Certificates { path: path.to_owned(), reason };
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

fn unreachable(error: impl std::fmt::Display) -> ReplyError {
    ReplyError::Unreachable(error.to_string())
}
