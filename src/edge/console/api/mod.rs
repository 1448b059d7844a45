//! The calls of the console: `GET` reads, `POST` changes. Each needs the token of a session of the operator, except for
//! the login. They call the same rules of the domain as the command line ([`control`](crate::edge::control)).
//!
//! A call that changes something is JSON, and completes when it was received, also if the page is closed meanwhile.

mod library;
mod operate;
mod state;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::guard;
use super::history::History;
use super::reply::{Fault, Reply, failure, json};
use crate::config::{Config, seconds};
use crate::domain::error::DomainError;
use crate::domain::{FileKind, Hub};
use crate::edge::body::{self, FieldMap};
use crate::edge::status::RequestFault;
use crate::edge::tasks::Tasks;
use crate::edge::wire;
use crate::model::{Secret, Timestamp};

/// The largest body of a call without a file.
const BODY_MAX_BYTES: u64 = 64 * 1024;
/// A page that makes a request by itself, and not because of the operator, sets this header.
const BACKGROUND: &str = "x-toyhub-background";

/// The calls.
pub(super) struct Api {
    hub: Arc<Hub>,
    config: Arc<Config>,
    tasks: Tasks,
    history: Arc<History>,
    uploads: Semaphore,
    started_at: Timestamp,
}

/// A received call.
struct Call {
    name: String,
    /// Of the address, and of a JSON body.
    fields: FieldMap,
    peer: IpAddr,
    /// Of the session; none at the login.
    token: Option<Secret>,
}

impl Call {
    /// A required text. Errors: `Invalid`.
    fn text(&self, name: &'static str) -> Result<String, Fault> {
        let text = self.optional(name);
        text.ok_or_else(|| DomainError::invalid(name, "is missing").into())
    }

    /// A text that may be missing.
    fn optional(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A number that may be missing. Errors: `Invalid`.
    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Fault> {
        let number = self.optional(name).map(|text| text.parse());
        number.transpose().map_err(|_| DomainError::invalid(name, "must be a number").into())
    }
}

impl Api {
    pub(super) fn new(hub: Arc<Hub>, config: Arc<Config>, tasks: Tasks, history: Arc<History>) -> Self {
        Self { hub, config, tasks, history, uploads: Semaphore::new(1), started_at: wire::now() }
    }

    /// Answers the call of this name.
    pub(super) async fn answer(self: &Arc<Self>, name: &str, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let answered = self.receive(name, request, peer).await;
        answered.unwrap_or_else(|fault| failure(&fault))
    }

    async fn receive(self: &Arc<Self>, name: &str, request: Request<Incoming>, peer: IpAddr) -> Result<Reply, Fault> {
        if !guard::is_own(&request) {
            return Err(Fault::OtherOrigin);
        }
        let is_login = name == "login";
        let token = if is_login { None } else { Some(self.session(&request)?) };
        let query = request.uri().query().unwrap_or_default();
        let fields = body::from_form(query.as_bytes())?;
        let mut call = Call { name: name.to_owned(), fields, peer, token };
        match *request.method() {
            Method::GET if !is_login => return self.read(&call).await,
            Method::POST => {}
            _ => return Err(RequestFault::MethodNotAllowed { allowed: "GET or POST" }.into()),
        }
        let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let upload_max_bytes = match name {
            "content" => Some(self.config.console.upload_max_bytes),
            "hear" => Some(self.config.http.upload_max_bytes),
            _ => None,
        };
        let (max_bytes, expected) = match upload_max_bytes {
            Some(max_bytes) => (max_bytes, &b"application/octet-stream"[..]),
            None => (BODY_MAX_BYTES, &b"application/json"[..]),
        };
        if kind != Some(expected) {
            return Err(RequestFault::UnsupportedType.into());
        }
        // An upload is in memory: one at a time.
        let _turn = match upload_max_bytes {
            Some(_) => Some(self.uploads.acquire().await.map_err(DomainError::internal)?),
            None => None,
        };
        let body = self.body(request.into_body(), max_bytes).await?;
        if upload_max_bytes.is_none() {
            call.fields.extend(body::from_json(&body)?);
        }
        let api = Arc::clone(self);
        let work = self.tasks.spawn(async move { api.change(&call, &body).await });
        match work.await {
            Ok(Some(answer)) => Ok(json(&answer?)),
            // It was cancelled at the deadline of a stop.
            Ok(None) => Err(DomainError::Busy.into()),
            Err(panic) => Err(DomainError::internal(panic).into()),
        }
    }

    /// The token of a request's session. Errors: `Unauthorized`.
    fn session<B>(&self, request: &Request<B>) -> Result<Secret, DomainError> {
        let token = guard::token(request).ok_or(DomainError::Unauthorized)?;
        self.hub.operator_session(&token, !request.headers().contains_key(BACKGROUND))?;
        Ok(token)
    }

    /// The whole body of a request.
    async fn body(&self, mut body: Incoming, max_bytes: u64) -> Result<Bytes, RequestFault> {
        let too_large = RequestFault::TooLarge { max_bytes };
        if body.size_hint().lower() > max_bytes {
            return Err(too_large);
        }
        let (mut whole, pause) = (BytesMut::new(), seconds(self.config.http.body_pause_timeout_s));
        loop {
            let frame = timeout(pause, body.frame()).await.map_err(|_| RequestFault::TooSlow)?;
            let Some(frame) = frame else { return Ok(whole.freeze()) };
            let frame = frame.map_err(|_| RequestFault::BadBody("it ends too early"))?;
            // Trailers have no meaning here.
            let Ok(chunk) = frame.into_data() else { continue };
            if (whole.len() + chunk.len()) as u64 > max_bytes {
                return Err(too_large);
            }
            whole.extend_from_slice(&chunk);
        }
    }

    /// Answers a call that changes nothing.
    async fn read(&self, call: &Call) -> Result<Reply, Fault> {
        let answer = match call.name.as_str() {
            "overview" => self.overview().await?,
            "history" => self.history.series(call.number("after")?.unwrap_or(0.0), &self.hub),
            "connections" => self.connections(call),
            "refusals" => self.refusals(),
            "log" => self.log(call)?,
            "topics" => self.topics(call),
            "devices" => self.devices(call).await?,
            "users" => self.users(call).await?,
            "content" => self.content().await?,
            "content/sound" => return self.file(call, FileKind::Music).await,
            "content/cover" => return self.file(call, FileKind::Image).await,
            "speech" => self.speech(),
            _ => return Err(RequestFault::NoSuchPath.into()),
        };
        Ok(json(&answer))
    }

    /// Executes a call that changes something.
    async fn change(&self, call: &Call, body: &Bytes) -> Result<Value, Fault> {
        match call.name.as_str() {
            "login" => self.login(call).await,
            "logout" => {
                if let Some(token) = &call.token {
                    self.hub.end_operator_session(token);
                }
                Ok(json!({}))
            }
            "password" => self.change_password(call).await,
            "backup" => self.back_up().await,
            "devices/add" => self.add_devices(call).await,
            "devices/sheet" => self.sheet(call).await,
            "content" => self.add_content(call, body).await,
            "hear" => self.hear(body).await,
            // Those of the command line.
            _ => self.command(call).await,
        }
    }

    async fn login(&self, call: &Call) -> Result<Value, Fault> {
        let token = self.hub.operator_login(Secret::new(call.text("password")?), call.peer).await?;
        Ok(json!({"token": token.reveal()}))
    }

    async fn change_password(&self, call: &Call) -> Result<Value, Fault> {
        let [old, new] = [call.text("old")?, call.text("new")?].map(Secret::new);
        let token = call.token.as_ref().ok_or(DomainError::Unauthorized)?;
        self.hub.change_operator_password((old, new), token, call.peer).await?;
        Ok(json!({}))
    }
}
