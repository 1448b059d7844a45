//! The operator's listener: the console, a page at `/console` with its calls below `/console/api`, and `GET /metrics`.
//! It serves one request on each connection.
//!
//! `guard` refuses requests that a page of another origin may have sent, `api` has the calls, `history` the figures of
//! the last two hours, `tail` the last lines of the log, `text` the figures for programs.

mod api;
mod guard;
mod history;
mod reply;
pub mod tail;
mod text;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::net::{Client, Ending, Entrance, Listeners, Places, Protocol, Proxies, Stream, Terms};
use super::pages::{CONSOLE, Pages};
use super::tasks::Tasks;
use crate::config::{Config, seconds};
use crate::domain::Hub;
use api::Api;
use history::History;
use reply::{Reply, bytes, guarded, plain};

/// The maximum size of the head of a request.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// What the path of every call begins with.
const CALLS: &str = "/console/api/";

struct Console {
    hub: Arc<Hub>,
    config: Arc<Config>,
    pages: Pages,
    api: Arc<Api>,
}

impl Protocol for Console {
    async fn serve<S: Stream + 'static>(self: Arc<Self>, stream: S, client: Client) -> Ending {
        let Client { peer, place: _place, .. } = client;
        let (head, whole) = (self.config.http.header_timeout_s, self.config.console.request_timeout_s);
        let service = service_fn(move |request| {
            let console = Arc::clone(&self);
            async move { Ok::<_, Infallible>(guarded(console.answer(request, peer).await)) }
        });
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(seconds(head))
            .max_header_size(HEAD_MAX_BYTES)
            .keep_alive(false);
        let stream: Box<dyn Stream> = Box::new(stream);
        match timeout(seconds(whole), protocol.serve_connection(TokioIo::new(stream), service)).await {
            Ok(Ok(())) => Ending::Orderly,
            Ok(Err(_)) | Err(_) => Ending::Failed,
        }
    }
}

impl Console {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        if !guard::is_permitted(&request, &self.config.console.hosts) {
            let text = "this name is not permitted here, add it to console.hosts\n";
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
        let path = request.uri().path();
        if let Some(name) = path.strip_prefix(CALLS) {
            let name = name.to_owned();
            return self.api.answer(&name, request, peer).await;
        }
        let is_read = matches!(request.method(), &Method::GET | &Method::HEAD);
        let found = match path {
            _ if !is_read => None,
            "/metrics" => Some(self.metrics()),
            "/" => {
                let mut response = plain(StatusCode::SEE_OTHER, "the console is at /console\n");
                response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console"));
                Some(response)
            }
            path => {
                let document = CONSOLE.documents.iter().find(|(document, _)| *document == path);
                let page = match document {
                    Some((_, file)) => self.pages.document(file, &request),
                    None => self.pages.asset(&request),
                };
                page.map(|page| page.map(Full::new))
            }
        };
        match found {
            Some(response) => response,
            None if !is_read => {
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET, HEAD\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
            None => plain(StatusCode::NOT_FOUND, "there is nothing at this path\n"),
        }
    }

    fn metrics(&self) -> Reply {
        match text::write(&self.hub.gauges()) {
            Ok(text) => bytes(text::CONTENT_TYPE, text),
            // It writes into memory.
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written\n"),
        }
    }
}

/// Serves the operator until `shutdown`, and returns when every connection has ended. Dropping the future ends all
/// connections at once.
pub async fn serve(
    listeners: Listeners,
    hub: Arc<Hub>,
    config: Arc<Config>,
    tasks: Tasks,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let settings = &config.console;
    let terms = Terms {
        protocol: "console",
        // Beside those of the families' clients: the operator sees the hub also when those have taken all.
        places: Places::new(settings.connections_max, settings.connections_max),
        bans: None,
        proxies: Proxies::new(Vec::new()),
        proxy_protocol: false,
        carries_many: false,
        handshake_timeout: seconds(config.net.handshake_timeout_s),
        keep_alive: seconds(config.mqtt.keep_alive_max_s.into()),
        keep_alive_interval: seconds(config.mqtt.write_timeout_s),
    };
    let (is_on, history) = (settings.is_on(), Arc::new(History::new(seconds(settings.sample_interval_s))));
    let pages = Pages::new(&CONSOLE, &config.http.pages_folder)?;
    let api = Api::new(Arc::clone(&hub), Arc::clone(&config), tasks.clone(), Arc::clone(&history));
    let console = Arc::new(Console { hub: Arc::clone(&hub), config, pages, api: Arc::new(api) });
    let serving = async { Entrance::new(terms, listeners, tasks).serve(console, &shutdown).await.finish().await };
    if is_on {
        tokio::select! {
            () = serving => {}
            () = history.run(&hub) => {}
        }
    } else {
        serving.await;
    }
    Ok(())
}
