//! The operator's listener. It serves `GET /metrics`, and one request on each connection.
//!
//! A web page may lead a browser to any address, also to one of this machine, under a name of its own (DNS rebinding). So
//! the host of a request must be an address, `localhost` or a configured name.

mod text;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::net::{Client, Ending, Entrance, Listeners, Places, Protocol, Proxies, Stream, Terms};
use super::tasks::Tasks;
use crate::config::{Config, seconds};
use crate::domain::Hub;

/// The maximum size of the head of a request.
const HEAD_MAX_BYTES: usize = 16 * 1024;

struct Console {
    hub: Arc<Hub>,
    config: Arc<Config>,
}

impl Protocol for Console {
    async fn serve<S: Stream + 'static>(self: Arc<Self>, stream: S, client: Client) -> Ending {
        let Client { place: _place, .. } = client;
        let patience = seconds(self.config.http.header_timeout_s);
        let service = service_fn(move |request| {
            let console = Arc::clone(&self);
            async move { Ok::<_, Infallible>(console.answer(&request)) }
        });
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_header_size(HEAD_MAX_BYTES)
            .keep_alive(false);
        let stream: Box<dyn Stream> = Box::new(stream);
        // For the head of the request, and again for a client that does not read the answer.
        match timeout(patience * 2, protocol.serve_connection(TokioIo::new(stream), service)).await {
            Ok(Ok(())) => Ending::Orderly,
            Ok(Err(_)) | Err(_) => Ending::Failed,
        }
    }
}

impl Console {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !is_permitted(request, &self.config.console.hosts) {
            let text = "this name is not permitted here, add it to console.hosts\n";
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET | &Method::HEAD) => match text::write(&self.hub.gauges()) {
                Ok(text) => response(StatusCode::OK, text::CONTENT_TYPE, text),
                // It writes into memory.
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written\n"),
            },
            ("/metrics", _) => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET, HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "there is nothing at this path\n"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the host of a request is an address, `localhost` or one of `names`.
fn is_permitted<B>(request: &Request<B>, names: &[String]) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Serves the operator's programs until `shutdown`, and returns when every connection has ended. Dropping the future ends
/// all connections at once.
pub async fn serve(
    listeners: Listeners,
    hub: Arc<Hub>,
    config: Arc<Config>,
    tasks: Tasks,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections_max = config.console.connections_max;
    let terms = Terms {
        protocol: "console",
        // Beside those of the families' clients: the operator sees the hub also when those have taken all.
        places: Places::new(connections_max, connections_max),
        bans: None,
        proxies: Proxies::new(Vec::new()),
        proxy_protocol: false,
        carries_many: false,
        handshake_timeout: seconds(config.net.handshake_timeout_s),
        keep_alive: seconds(config.mqtt.keep_alive_max_s.into()),
        keep_alive_interval: seconds(config.mqtt.write_timeout_s),
    };
    let console = Arc::new(Console { hub, config });
    Entrance::new(terms, listeners, tasks).serve(console, &shutdown).await.finish().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_configured_is_refused() {
        let names = ["Toyhub.example".to_owned()];
        let permitted = |hosts: &[&str]| {
            let mut request = Request::builder().uri("/metrics");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            is_permitted(&request.body(()).unwrap(), &names)
        };
        for host in
            ["127.0.0.1:9529", "127.0.0.1", "[::1]:9529", "[::1]", "localhost:9529", "LOCALHOST", "toyhub.example"]
        {
            assert!(permitted(&[host]), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example:9529", "localhost.evil.example", "", "x@127.0.0.1@evil", "127.1"]
        {
            assert!(!permitted(&[host]), "{host}");
        }
        assert!(!permitted(&[]) && !permitted(&["localhost", "evil.example"]));
    }
}
