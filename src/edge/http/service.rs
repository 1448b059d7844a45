//! One request from its head to its response: route, method, CORS, access log.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::body;
use super::client::Requester;
use super::failure::Failure;
use super::gate::Gate;
use super::reply::{self, Body, FailureCode};
use super::routes::{Endpoint, FIELD_PATH, Route};
use super::{Edge, bearer, cors, devices, files, sockets};
use crate::api::{Entry, Reply};
use crate::config::{Dialect, seconds};
use crate::domain::Handover;
use crate::domain::error::DomainError;
use crate::edge::status::{self, RequestFault};
use crate::edge::{dialect, wire};
use crate::model::Network;
use crate::ports::metrics::METRICS;

/// The time in which the runtime sees that a connection was closed.
const SEEN_AFTER: Duration = Duration::from_millis(1);

/// Answers one request. It never fails: every failure has its answer.
pub(super) async fn answer(
    edge: Arc<Edge>,
    client: Arc<Requester>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    client.set_unread(!request.body().is_end_stream());
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let headers = request.headers().clone();
    let dialect = client.dialect;
    let found = edge.routes.of(dialect).find(&path);
    let pattern = found.as_ref().map_or("-", |(route, _)| &*route.pattern);

    let mut response = match found {
        Some((route, name)) => dispatch(&edge, &client, route, name.unwrap_or_default(), request).await,
        None => {
            if dialect == Dialect::Documented && edge.routes.field.find(&path).is_some() {
                note_other_dialect(&edge, &client, FIELD_PATH, "the path");
            }
            fail(dialect, RequestFault::NoSuchPath)
        }
    };
    cors::decorate(&edge.config.http, &headers, response.headers_mut());
    if client.is_unread() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    log(&method, pattern, &response, started);
    Ok(response)
}

async fn dispatch(
    edge: &Arc<Edge>,
    client: &Arc<Requester>,
    route: &Route,
    name: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let dialect = client.dialect;
    let method = request.method().clone();
    match (&route.endpoint, method) {
        (endpoint, Method::OPTIONS) => {
            cors::preflight(&edge.config.http, request.headers(), endpoint.allowed_methods())
        }
        (Endpoint::Call(entry), Method::POST) => {
            let (head, body) = request.into_parts();
            match call(edge, client, entry, head, body).await {
                Ok((answer, None)) => reply::render(dialect, Ok(answer)),
                Ok((answer, Some(handover))) => {
                    // Until a timer has fired, the runtime may not have seen that the client is gone.
                    sleep(SEEN_AFTER).await;
                    let response = reply::render(dialect, Ok(answer));
                    response.map(|body| client.sent.hand_over(body, Arc::clone(edge), handover))
                }
                Err(failure) => reply::render(dialect, Err(failure)),
            }
        }
        (Endpoint::File(kind), Method::GET | Method::HEAD) => {
            let result = files::get(&edge.hub, *kind, name, &request, client.origin(edge, request.headers())).await;
            result.unwrap_or_else(|failure| reply::render_failure(dialect, &failure, status::of_file))
        }
        (Endpoint::Export, Method::GET) => {
            let result = files::export(&edge.hub, name).await;
            result.unwrap_or_else(|failure| reply::render_failure(dialect, &failure, status::of_file))
        }
        (Endpoint::Health, Method::GET | Method::HEAD) => reply::json(StatusCode::OK, &json!({"ok": true})),
        (Endpoint::Readiness, Method::GET | Method::HEAD) => {
            let health = edge.hub.health();
            let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::json(status, &wire::health(&health))
        }
        (Endpoint::Document(file), Method::GET | Method::HEAD) => {
            let page = edge.pages.document(file, &request).map(|page| page.map(reply::full));
            page.unwrap_or_else(|| fail(dialect, RequestFault::NoSuchPath))
        }
        (Endpoint::Asset, Method::GET | Method::HEAD) => {
            let page = edge.pages.asset(&request).map(|page| page.map(reply::full));
            page.unwrap_or_else(|| fail(dialect, RequestFault::NoSuchPath))
        }
        // A client of the API that sends a call to the path of a page has the wrong path.
        (Endpoint::Document(_) | Endpoint::Asset, _) => fail(dialect, RequestFault::NoSuchPath),
        // A client of a socket reads the status only.
        (Endpoint::Socket(socket), Method::GET) => sockets::open(edge, client, socket, request)
            .unwrap_or_else(|failure| reply::render_failure(dialect, &failure, status::of_file)),
        (Endpoint::Post(route), Method::POST) => devices::post(edge, client, route, request)
            .await
            .unwrap_or_else(|failure| render_to_device(dialect, &failure)),
        (Endpoint::Sound(route), Method::GET) => {
            let response = devices::sound(client, route, name).await;
            response.unwrap_or_else(|| fail(dialect, RequestFault::NoSuchPath))
        }
        (endpoint, _) => fail(dialect, RequestFault::MethodNotAllowed { allowed: endpoint.allowed_methods() }),
    }
}

/// A device of another protocol takes the status 200 for success, whatever the body says.
fn render_to_device(dialect: Dialect, failure: &Failure) -> Response<Body> {
    let mut response = reply::render_failure(dialect, failure, status::of);
    if response.status().is_success() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn fail(dialect: Dialect, fault: RequestFault) -> Response<Body> {
    reply::render_failure(dialect, &Failure::Request(fault), status::of)
}

/// Reports a client that is served in the wrong dialect to the operator: its route, and the sign.
fn note_other_dialect(edge: &Edge, client: &Requester, route: &str, sign: &str) {
    let (served, spoken) = match client.dialect {
        Dialect::Documented => (Dialect::Documented, Dialect::Field),
        Dialect::Field => (Dialect::Field, Dialect::Documented),
    };
    let (served, spoken) = (served.word(), spoken.word());
    let address = Network::from(client.peer).in_log();
    let text = format!(
        "a client at {address} reads the dialect \"{spoken}\" ({route}: {sign}), and its listener serves \"{served}\"; \
         write \"{spoken}\" behind its address in http.listen or http.legacy_listen, or set http.dialect = \"{spoken}\""
    );
    edge.hub.remark("dialect", format!("{address} {spoken}"), text);
}

/// Receives the body of a call and executes it. The answer may hand messages over.
async fn call(
    edge: &Arc<Edge>,
    client: &Arc<Requester>,
    entry: &'static Entry,
    head: Parts,
    body: Incoming,
) -> Result<(Reply, Option<Handover>), Failure> {
    METRICS.calls.add();
    let http = &edge.config.http;
    let from = client.origin(edge, &head.headers);
    let gate = Gate { edge, client, entry, from, bearer: bearer(&head.headers) };
    let (given, place) = body::receive(&gate, Arc::clone(client), &head.headers, body).await?;
    let context = gate.context(&given);
    let (dialect, content_list) = (client.dialect, http.field_content_list);
    if let Some(sign) = dialect::sign_of_other(dialect, entry.facts.name, &given.fields) {
        note_other_dialect(edge, client, &format!("/{}", entry.facts.name), sign);
    }
    let work = async move {
        let _place = place;
        let reply = dialect::call(dialect, content_list, entry, &context, given).await;
        reply.map(|reply| (reply, context.take_handover()))
    };
    // A completely received request is executed completely: a client that disconnects now must not interrupt a
    // transaction.
    let work = edge.tasks.spawn(work);
    match timeout(seconds(http.request_timeout_s), work).await {
        Ok(Ok(Some(result))) => Ok(result?),
        Ok(Ok(None)) | Err(_) => Err(DomainError::Busy.into()),
        Ok(Err(panic)) => Err(DomainError::internal(panic).into()),
    }
}

/// One line for each request: the route's pattern and numbers, nothing that names a person, a toy or a file. So it stands
/// outside the label of its connection, which names the address.
fn log(method: &Method, route: &str, response: &Response<Body>, started: Instant) {
    let method = match *method {
        Method::GET | Method::HEAD | Method::POST | Method::OPTIONS => method.as_str(),
        // Any text can be a method.
        _ => "other",
    };
    let declared = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes: u64 = declared.or_else(|| response.body().size_hint().exact()).unwrap_or_default();
    tracing::info!(
        target: "access",
        parent: None,
        method,
        route,
        status = response.status().as_u16(),
        code = response.extensions().get::<FailureCode>().map(|code| code.0),
        bytes,
        milliseconds = started.elapsed().as_millis() as u64,
        "request answered"
    );
}
