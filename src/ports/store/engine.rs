//! The engine below the store: opened by the settings, and ended.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use surrealdb::Surreal;
use surrealdb::engine::any::Any;
use surrealdb::engine::local::Db;
use surrealdb_cnf::ConfigMap;
use surrealdb_core::kvs::Datastore;
use surrealdb_core::options::EngineOptions;

use super::server::Connection;
use super::{Location, StoreError, StoreSettings, folder};
use crate::ports::progress::{Counter, Progress, Unit};

/// How often an opening checks whether the lock of the database is free.
const LOCK_TRIES: u32 = 50;

/// The pause between these checks.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The database, whichever engine runs it.
pub(super) enum Engine {
    /// SurrealKV in this process. It is opened by its own builder, as the address alone cannot set its caches.
    Embedded { database: Surreal<Db>, datastore: Arc<Datastore> },
    /// In the memory of this process.
    Memory(Surreal<Any>),
    /// A server.
    Server(Connection),
    /// None while it is being reopened, or while the server is lost.
    Closed,
}

/// Closes an engine. After this its folder can be opened again.
pub(super) async fn end(engine: &Engine) -> Result<(), StoreError> {
    let Engine::Embedded { datastore, .. } = engine else { return Ok(()) };
    let datastore = Arc::clone(datastore);
    let ended = boxed(async move { datastore.shutdown().await }).await;
    ended.map_err(|error| StoreError::Open(error.to_string()))
}

/// Opens the engine of the settings, with a session in their database.
pub(super) async fn open_engine(settings: &StoreSettings, progress: &Progress) -> Result<Engine, StoreError> {
    let engine = match &settings.place {
        Location::Folder { path, block_cache_bytes, memtable_bytes } => {
            let config = ConfigMap::empty()
                .with_key_value("surrealkv_block_cache_capacity", block_cache_bytes.to_string())
                .with_key_value("surrealkv_max_memtable_size", memtable_bytes.to_string());
            wait_for_lock(path).await;
            let conversion = keep_copy(path, progress).await?;
            // `sync=every`: a commit returns when its log is on disk.
            let address = format!("surrealkv://{}?sync=every", path.display());
            let engine = boxed(open_embedded(address, config, settings.query_timeout)).await?;
            drop(conversion);
            let folder = path.clone();
            let closed = tokio::task::spawn_blocking(move || folder::close_log_to_group(&folder)).await;
            closed.map_err(|error| StoreError::Open(error.to_string()))?.map_err(|error| {
                StoreError::Open(format!("{} cannot be closed to other users: {error}", path.display()))
            })?;
            engine
        }
        Location::Memory => Engine::Memory(surrealdb::engine::any::connect("mem://").await?),
        Location::Server(server) => {
            Engine::Server(Connection::open(server, &settings.namespace, &settings.database).await?)
        }
    };
    match &engine {
        Engine::Embedded { database, .. } => {
            database.use_ns(&settings.namespace).use_db(&settings.database).await?;
        }
        Engine::Memory(database) => {
            database.use_ns(&settings.namespace).use_db(&settings.database).await?;
        }
        Engine::Server(_) | Engine::Closed => {}
    }
    Ok(engine)
}

/// Waits until no process has the database open, or briefly. The engine releases its lock by closing the file, which a
/// child process shares that started at that moment, until it executes its program.
async fn wait_for_lock(path: &Path) {
    for _ in 0..LOCK_TRIES {
        let folder = path.to_owned();
        if !tokio::task::spawn_blocking(move || folder::is_open(&folder)).await.unwrap_or(false) {
            return;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// Keeps a copy of a database that the engine is about to convert from an older format. Returns the step of the
/// conversion; none if there is nothing to convert.
async fn keep_copy(path: &Path, progress: &Progress) -> Result<Option<Counter>, StoreError> {
    let (folder, watched) = (path.to_owned(), progress.clone());
    let kept = tokio::task::spawn_blocking(move || folder::keep_old_format(&folder, &watched)).await;
    let kept = kept.map_err(|error| StoreError::Open(error.to_string()))?;
    let kept = kept.map_err(|error| {
        StoreError::Open(format!("{} is to be converted, but no copy of it can be made first: {error}", path.display()))
    })?;
    let Some(copy) = kept else { return Ok(None) };
    tracing::warn!(
        copy = %copy.display(),
        "the database has the format of an older version and is converted now; delete the copy once all is well"
    );
    Ok(Some(progress.begin("converting the database", None, Unit::Items)))
}

/// Boxes one of the engine's larger futures: otherwise each future around it would repeat its layout, beyond the
/// compiler's recursion limit.
fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(future)
}

/// The periodic jobs of the engine, without those for change feeds and live queries, which the hub does not use. Their
/// time stamps wait in a busy loop while the system clock is earlier than before: if it is set back by an hour, the hub
/// would stand still for an hour.
fn jobs() -> EngineOptions {
    EngineOptions::default().with_changefeed_gc_interval(Duration::ZERO).with_live_query_gc_interval(Duration::ZERO)
}

pub(super) async fn open_embedded(
    address: String,
    config: ConfigMap,
    query_timeout: Duration,
) -> Result<Engine, StoreError> {
    let open = |error: anyhow::Error| StoreError::Open(error.to_string());
    let datastore = Datastore::builder()
        .with_config(config)
        .with_query_timeout(Some(query_timeout))
        .with_engine_options(jobs())
        .without_maintenance_tasks()
        .build_with_path(&address)
        .await
        .map_err(open)?;
    datastore.check_version().await.map_err(open)?;
    datastore.bootstrap().await.map_err(open)?;
    datastore.start_maintenance_tasks().map_err(open)?;
    let database = Surreal::<Db>::unstable_from_datastore(Arc::clone(&datastore), None).await?;
    Ok(Engine::Embedded { database, datastore })
}
