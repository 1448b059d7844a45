//! The connection to a SurrealDB server.
//!
//! Its client library repeats a lost connection by itself and for ever, and sends requests then that were made before.
//! So its tasks run on a runtime of their own, which ends with the connection: a request that its caller has given up is
//! never sent later. A connection that was given up is replaced by a new one, with a new sign-in. The library is built
//! without TLS: see [`Tunnel`].

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use surrealdb::Surreal;
use surrealdb::engine::any::Any;
use surrealdb::opt::auth;
use surrealdb::types::{AuthError, Error as DatabaseError, ErrorDetails, NotAllowedError, NotFoundError};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tunnel::Tunnel;
use super::{Attempts, Store, StoreError, StoreSettings};
use crate::model::Secret;
use crate::ports::outgoing::{OutgoingError, Target, connector};

/// Requests that wait to be sent; beyond that, their callers wait.
const REQUESTS_MAX: usize = 1024;
/// Open transactions, each in a session of its own. Each session signs in once, with a hash of the password at the server,
/// which accepts 64 transactions on a connection.
const TRANSACTIONS_MAX: usize = 16;

/// A SurrealDB server, and the user of it.
#[derive(Debug, Clone)]
pub struct Server {
    /// `ws://…`, or `wss://…` with TLS.
    pub url: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Where the user is defined.
    pub level: UserLevel,
    /// The timeout of each answer.
    pub answer_timeout: Duration,
    /// For TLS: a file of authorities that are trusted beside the public ones.
    pub certificates: Option<PathBuf>,
}

impl Server {
    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.url.starts_with("wss://")
    }

    /// What it is for requests over HTTP: path and query are this one.
    pub(super) fn target(&self, path: &str) -> Result<Target, OutgoingError> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let scheme = if scheme == "wss" { "https" } else { "http" };
        Target::parse(&format!("{scheme}://{host}{path}"))
    }

    /// Whether something accepts connections at the address.
    async fn accepts(&self) -> bool {
        match self.target("/") {
            Ok(target) => TcpStream::connect((target.host(), target.port())).await.is_ok(),
            Err(_) => false,
        }
    }

    /// For encrypted connections.
    pub(super) fn connector(&self) -> Result<TlsConnector, OutgoingError> {
        connector(self.certificates.as_deref())
    }
}

/// Where a user of the server is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserLevel {
    /// For the whole server.
    Root,
    /// In the namespace.
    Namespace,
    /// In the database.
    Database,
}

/// A connection with a session in the database.
pub(super) struct Connection {
    pub(super) database: Surreal<Any>,
    /// Sessions without a transaction. A new one has to sign in, for which the server hashes the password once more.
    idle: Mutex<Vec<Surreal<Any>>>,
    transactions: Arc<Semaphore>,
    _tasks: Tasks,
}

/// The runtime of the connection's tasks.
struct Tasks(Option<Runtime>);

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // It may be dropped by a task of another runtime, which must not block.
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    /// Connects, signs in and selects the database. Errors: `Open`, which states what is wrong.
    pub(super) async fn open(server: &Server, namespace: &str, database: &str) -> Result<Self, StoreError> {
        let limit = server.answer_timeout;
        let opened = timeout(limit, Self::open_slowly(server, namespace, database)).await;
        opened.unwrap_or_else(|_| {
            let why = format!("the server has not answered in {} s (store.answer_timeout_s)", limit.as_secs());
            Err(StoreError::Open(why))
        })
    }

    async fn open_slowly(server: &Server, namespace: &str, database: &str) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::Open(error.to_string());
        let builder = Builder::new_multi_thread().worker_threads(1).thread_name("store").enable_all().build();
        let tasks = Tasks(Some(builder.map_err(failed)?));
        let Some(runtime) = &tasks.0 else { return Err(StoreError::Closed) };
        let ended = |error: JoinError| StoreError::Open(error.to_string());
        let url = match server.is_encrypted() {
            false => server.url.clone(),
            true => {
                let tunnel = runtime.spawn(open_tunnel(server.clone())).await.map_err(ended)??;
                let url = tunnel.url();
                runtime.spawn(tunnel.serve());
                url
            }
        };
        let connecting = async move { surrealdb::engine::any::connect(url).with_capacity(REQUESTS_MAX).await };
        let connection = match runtime.spawn(connecting).await.map_err(ended)? {
            Ok(connection) => connection,
            Err(error) if server.accepts().await => {
                return Err(StoreError::Open(format!(
                    "what accepts connections there does not answer as a SurrealDB server ({error}); if its port expects TLS, \
                     set wss:// in store.url"
                )));
            }
            Err(error) => return Err(unreachable(&error)),
        };
        sign_in(&connection, server, namespace, database).await?;
        let mut attempts = Attempts::default();
        while let Err(error) = connection.use_ns(namespace).use_db(database).await {
            let error = StoreError::Database(error);
            // Another hub may be making the database at this moment.
            if !attempts.may_repeat(&error) {
                return Err(StoreError::Open(format!(
                    "the server refuses namespace {namespace:?} with database {database:?} (store.namespace, \
                     store.database): {error}"
                )));
            }
            attempts.pause().await;
        }
        let transactions = Arc::new(Semaphore::new(TRANSACTIONS_MAX));
        Ok(Self { database: connection, idle: Mutex::default(), transactions, _tasks: tasks })
    }

    /// Waits until another transaction may be opened, at most for `limit`. Errors: `Busy`.
    pub(super) async fn place(&self, limit: Option<Duration>) -> Result<OwnedSemaphorePermit, StoreError> {
        let place = Arc::clone(&self.transactions).acquire_owned();
        let place = timeout(limit.unwrap_or(Duration::MAX), place).await;
        place.ok().and_then(Result::ok).ok_or(StoreError::Busy)
    }

    /// A session for a transaction.
    pub(super) fn session(&self) -> Surreal<Any> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.database.clone())
    }

    /// Keeps the session of a transaction that has ended, for the next one.
    pub(super) fn keep(&self, session: Surreal<Any>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than there were transactions at once.
        idle.push(session);
    }
}

/// A tunnel to an encrypted server, whose certificate is right. Errors: `Open`.
async fn open_tunnel(server: Server) -> Result<Tunnel, StoreError> {
    let tls = server.connector().map_err(|error| StoreError::Open(format!("store.certificates: {error}")))?;
    let target = server.target("/").map_err(|error| StoreError::Open(error.to_string()))?;
    let path = server.url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    Tunnel::open(target, path, tls, server.answer_timeout).await.map_err(|error| match error {
        OutgoingError::Untrusted(why) => StoreError::Open(format!(
            "the certificate of the server is refused ({why}); name its authority in store.certificates, and the server \
             as its certificate does"
        )),
        OutgoingError::NoTls(why) => StoreError::Open(format!(
            "the server does not answer with TLS ({why}); if its port is without TLS, set ws:// in store.url"
        )),
        error => unreachable(&error),
    })
}

/// The error of a server that is not there.
fn unreachable(error: &impl Display) -> StoreError {
    StoreError::Open(format!("no SurrealDB server can be reached there ({error}); is it running?"))
}

async fn sign_in(
    connection: &Surreal<Any>,
    server: &Server,
    namespace: &str,
    database: &str,
) -> Result<(), StoreError> {
    let (username, password) = (server.username.clone(), server.password.reveal().to_owned());
    let who = match server.level {
        UserLevel::Root => format!("the root user {username:?}"),
        UserLevel::Namespace => format!("user {username:?} of namespace {namespace:?}"),
        UserLevel::Database => format!("user {username:?} of database {database:?} in namespace {namespace:?}"),
    };
    let (namespace, database) = (namespace.to_owned(), database.to_owned());
    let signed_in = match server.level {
        UserLevel::Root => connection.signin(auth::Root { username, password }).await,
        UserLevel::Namespace => connection.signin(auth::Namespace { namespace, username, password }).await,
        UserLevel::Database => connection.signin(auth::Database { namespace, database, username, password }).await,
    };
    match signed_in {
        Ok(_) => Ok(()),
        Err(error) if error.is_connection() => Err(StoreError::Database(error)),
        Err(error) => Err(StoreError::Open(format!(
            "the server refuses {who} or the password (store.username, store.password, store.user_level): {error}"
        ))),
    }
}

impl Store {
    /// Connects to a server, signs in, writes and reads, and measures the times. An empty database is left so.
    pub async fn round_trip(settings: &StoreSettings) -> Result<String, StoreError> {
        let start = Instant::now();
        let store = Self::open(settings).await?;
        let connected_ms = start.elapsed().as_millis();
        if store.hub().await?.is_none() {
            return Ok(format!(
                "signed in after {connected_ms} ms; the database is empty, the first start prepares it"
            ));
        }
        let start = Instant::now();
        store.try_write().await?;
        let written_ms = start.elapsed().as_millis();
        let start = Instant::now();
        store.ping().await?;
        let read_ms = start.elapsed().as_millis();
        Ok(format!("signed in after {connected_ms} ms, written in {written_ms} ms, read in {read_ms} ms"))
    }
}

/// Whether an error states that the connection or its sign-in is lost: only a new one can go on.
pub(super) fn is_loss(error: &DatabaseError) -> bool {
    match error.details() {
        ErrorDetails::Connection(_) => true,
        ErrorDetails::NotAllowed(Some(NotAllowedError::Auth(why))) => {
            matches!(why, AuthError::TokenExpired | AuthError::SessionExpired)
        }
        // A session of the client that could not be signed in again.
        ErrorDetails::NotFound(Some(NotFoundError::Session { .. })) => true,
        _ => false,
    }
}
