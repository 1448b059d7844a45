//! How the hub starts and stops: the ports, the hub, the edges, the signal; then all of it in reverse.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, SessionOverflow, seconds};
use crate::domain::backup::unfinished_restore;
use crate::domain::{Hub, Ports, housekeeping};
use crate::edge::http::{self, SocketRoute};
use crate::edge::ws::{self, Apps, Handshake};
use crate::edge::{control, mqtt, schedule, wire};
use crate::model::Secret;
use crate::ports::chunks::{ChunkLimits, Chunks};
use crate::ports::data_folder::{DataFolder, Parts};
use crate::ports::files::Files;
use crate::ports::reply::{BuiltIn, ChatEndpoint, ChatSettings, ReplyEngine, WithFallback};
use crate::ports::router::{Disk, DiskLimits, Overflow, Router, RouterLimits};
use crate::ports::space::Space;
use crate::ports::speech::{Recogniser, RecogniserSettings, Speaker, SpeakerSettings};
use crate::ports::store::{Place, Store, StoreError, StoreSettings, damaged_table, flushed_writes};

/// A hub whose ports are open and whose listeners accept.
pub struct Server {
    hub: Arc<Hub>,
    config: Arc<Config>,
    http: Vec<TcpListener>,
    mqtt: mqtt::Listeners,
    control: UnixListener,
    /// Where HTTP and the app socket are served; the port that was bound where 0 was asked for.
    pub http_addr: SocketAddr,
    /// Where older clients look for their sockets.
    pub legacy_addr: Option<SocketAddr>,
    /// Where MQTT is served.
    pub mqtt_addr: SocketAddr,
    /// Where MQTT is served over TLS.
    pub mqtt_tls_addr: Option<SocketAddr>,
    /// Where MQTT is served to conformance tests.
    pub mqtt_conformance_addr: Option<SocketAddr>,
}

/// Opens what the hub stands on. The error is one line for the person who starts it.
pub async fn open_hub(config: &Arc<Config>) -> Result<Arc<Hub>, String> {
    prepare_folder(&config.server.data_dir)?;
    if unfinished_restore(&config.server.data_dir) {
        let folder = config.server.data_dir.display();
        return Err(format!("server.data_dir: a restore into {folder} was cut off; run 'toyhub restore' once more"));
    }
    let mut folder = examine_folder(config)?;
    folder.note_change().map_err(|error| error.to_string())?;
    let store = Store::open(&store_settings(config)).await.map_err(|error| store_fault(config, &error))?;
    // Nothing is written to a database before it is known to be this folder's.
    let found = store.hub().await.map_err(|error| store_fault(config, &error))?;
    let id = match folder.settle(found) {
        Ok(id) => id,
        Err(fault) => {
            // Left as after a crash: to close another hub's database would change its files.
            store.abandon();
            return Err(fault.to_string());
        }
    };
    store.prepare(&id).await.map_err(|error| store_fault(config, &error))?;
    // After the store, whose lock keeps a second hub from emptying the spool of the first.
    let files = Files::open(&config.server.files_dir(), &config.server.spool_dir())
        .map_err(|error| folder_fault(&config.server.data_dir, &error))?;
    let space = Space::open(&config.server.data_dir, config.server.free_bytes_min)
        .map_err(|error| folder_fault(&config.server.data_dir, &error))?;
    let limits = ChunkLimits {
        uploads_max: config.chunks.uploads_per_party_max,
        chunks_max: config.chunks.upload_chunks_max,
        bytes_max: config.http.upload_max_bytes,
    };
    let chunks = Chunks::open(&config.server.chunks_dir(), limits)
        .map_err(|error| folder_fault(&config.server.data_dir, &error))?;
    let in_memory = config.store.url == "memory";
    let sessions_file = (!in_memory).then(|| config.server.sessions_file());
    let (disk, found) = Disk::open(sessions_file.as_deref(), disk_limits(config)).map_err(|error| error.to_string())?;
    folder.check_sessions(found.hub.as_ref(), &id).map_err(|error| error.to_string())?;
    disk.claim(&id);
    let limits = RouterLimits {
        subscriptions_max: config.mqtt.subscriptions_max.max(config.ws.subscriptions_max),
        retained_messages_max: config.mqtt.retained_messages_max,
        retained_max_bytes: config.mqtt.retained_max_bytes,
        backpressure_max: seconds(config.mqtt.backpressure_max_s),
    };
    let router = Router::new(limits, disk, found.retained);
    let (stored_sessions, speaker, replies) = (found.sessions, speaker(config), replies(config)?);
    folder.confirm(id, wire::now()).map_err(|error| error.to_string())?;
    let ports = Ports {
        folder,
        store,
        files,
        space,
        chunks,
        router,
        stored_sessions,
        speaker,
        replies,
        encode_event: wire::event_json,
    };
    let hub = Hub::new(ports, Arc::clone(config)).await.map_err(|error| fault(&error))?;
    Ok(Arc::new(hub))
}

/// Looks at the data folder before anything in it is opened.
pub fn examine_folder(config: &Config) -> Result<DataFolder, String> {
    let in_memory = config.store.url == "memory";
    let parts = Parts {
        database: (config.store.url == "embedded").then(|| config.server.database_dir()),
        sessions: (!in_memory).then(|| config.server.sessions_file()),
        files: config.server.files_dir(),
    };
    DataFolder::examine(&config.server.data_dir, parts, flushed_writes).map_err(|error| error.to_string())
}

/// One line on a store that does not open.
fn store_fault(config: &Config, error: &StoreError) -> String {
    let folder = config.server.database_dir();
    match config.store.url.as_str() {
        "embedded" => format!(
            "{}: {error}; see that no other toyhub runs on this data; if the database is damaged, restore a backup \
             with 'toyhub restore', or see 'toyhub doctor --repair'",
            damaged_table(&folder).unwrap_or(folder).display()
        ),
        url => format!("store.url: {url}: {error}; see that the address is right and the server runs"),
    }
}

fn disk_limits(config: &Config) -> DiskLimits {
    let mqtt = &config.mqtt;
    DiskLimits {
        messages_max: mqtt.session_messages_max,
        bytes_max: mqtt.session_bytes_max,
        age_max_s: mqtt.session_message_age_max_s,
        overflow: match mqtt.session_overflow {
            SessionOverflow::DropOldest => Overflow::DropOldest,
            SessionOverflow::DropNewest => Overflow::DropNewest,
        },
        cache_bytes: mqtt.session_cache_bytes,
    }
}

/// The synthesiser of the configuration.
pub fn speaker(config: &Config) -> Speaker {
    Speaker::new(SpeakerSettings {
        program: config.speech.synthesiser.clone().into(),
        arguments: config.speech.synthesiser_arguments.clone(),
        voice: config.speech.voice.clone(),
        words_per_minute: config.speech.words_per_minute,
        timeout: seconds(config.speech.timeout_s),
        max_text_chars: config.speech.text_max_chars,
        max_parallel: config.speech.parallel_max,
    })
}

/// How recordings are listened to, with this model.
pub fn recogniser_settings(config: &config::Speech, model: PathBuf) -> RecogniserSettings {
    RecogniserSettings {
        model,
        sha256: Some(config.model_sha256.clone()).filter(|hash| !hash.is_empty()),
        languages: config.languages.clone(),
        workers: config.workers,
        threads: config.threads,
        queue_max: config.queue_max,
        wait_limit: seconds(config.wait_timeout_s),
        time_limit: seconds(config.recognise_timeout_s),
        max_seconds: config.command_max_s,
    }
}

/// Who makes replies.
fn replies(config: &Config) -> Result<Box<dyn ReplyEngine>, String> {
    let speech = &config.speech;
    if speech.reply_url.is_empty() {
        return Ok(Box::new(BuiltIn));
    }
    let name = &speech.reply_key_env;
    let key = if name.is_empty() {
        None
    } else {
        let key = std::env::var(name).map_err(|_| format!("speech.reply_key_env: {name} is not set; export it"))?;
        Some(Secret::new(key))
    };
    let endpoint = ChatEndpoint::new(ChatSettings {
        url: speech.reply_url.clone(),
        certificates: Some(speech.reply_certificates.clone()).filter(|path| !path.as_os_str().is_empty()),
        model: speech.reply_model.clone(),
        key,
        prompt: speech.reply_prompt.clone(),
        timeout: seconds(speech.reply_timeout_s),
        words_max: speech.reply_words_max,
    });
    Ok(Box::new(WithFallback::new(endpoint.map_err(|error| format!("speech.reply_url: {error}"))?)))
}

/// Loads the speech model. Without a good one the hub runs, and says so.
async fn listen(hub: &Hub, config: &config::Speech) {
    let Some(model) = config.model_file() else {
        tracing::warn!("no speech model, the toys understand nothing; scripts/get-model fetches one");
        return;
    };
    if config.names_no_model() {
        tracing::info!(
            "the speech model in the box knows synthetic voices and few words; fetch one that has heard people: \
             scripts/get-model base.en-q5_1, and set speech.model"
        );
    }
    let settings = recogniser_settings(config, model);
    match tokio::task::spawn_blocking(|| Recogniser::load(settings)).await {
        Ok(Ok(recogniser)) => hub.listen_with(recogniser),
        Ok(Err(error)) => {
            tracing::error!(%error, "no speech recognition, the toys understand nothing");
            hub.cannot_listen();
        }
        Err(error) => {
            tracing::error!(%error, "no speech recognition, loading the model failed");
            hub.cannot_listen();
        }
    }
}

/// Where the database is, and how it is opened.
pub fn store_settings(config: &Config) -> StoreSettings {
    let store = &config.store;
    let place = match store.url.as_str() {
        "embedded" => Place::Folder {
            path: config.server.database_dir(),
            block_cache_bytes: store.block_cache_bytes,
            memtable_bytes: store.memtable_bytes,
        },
        "memory" => Place::Memory,
        url => Place::Server {
            url: url.to_owned(),
            username: store.username.clone(),
            password: Secret::new(store.password.clone()),
        },
    };
    StoreSettings {
        place,
        namespace: store.namespace.clone(),
        database: store.database.clone(),
        query_timeout: seconds(store.query_timeout_s),
        stream_events_max: config.accounts.stream_events_max,
    }
}

impl Server {
    /// Binds the listeners, opens the ports and makes the hub's own sounds.
    pub async fn start(config: Config) -> Result<Self, String> {
        let config = Arc::new(config);
        // The listeners first: a port in use ends the start before the database is opened.
        let http = bind("http.listen", config.http.listen).await?;
        let legacy = bind_optional("http.legacy_listen", config.http.legacy_listen).await?;
        let tcp = bind("mqtt.listen", config.mqtt.listen).await?;
        let tls = bind_optional("mqtt.tls_listen", config.mqtt.tls_listen).await?;
        let conformance = bind_optional("mqtt.conformance_listen", config.mqtt.conformance_listen).await?;
        let http_addr = address(&http)?;
        let legacy_addr = legacy.as_ref().map(address).transpose()?;
        let http = [http].into_iter().chain(legacy).collect();
        let mqtt_addr = address(&tcp)?;
        let mqtt_tls_addr = tls.as_ref().map(address).transpose()?;
        let mqtt_conformance_addr = conformance.as_ref().map(address).transpose()?;
        let mqtt = mqtt_listeners(&config.mqtt, tcp, tls, conformance).await?;
        let hub = open_hub(&config).await?;
        hub.prepare_own_files().await.map_err(|error| fault(&error))?;
        listen(&hub, &config.speech).await;
        hub.check_health(Instant::now()).await.map_err(|error| fault(&error))?;
        let socket = config.server.control_socket();
        let control = control::bind(&socket).map_err(|error| folder_fault(&socket, &error))?;
        Ok(Self {
            hub,
            config,
            http,
            mqtt,
            control,
            http_addr,
            legacy_addr,
            mqtt_addr,
            mqtt_tls_addr,
            mqtt_conformance_addr,
        })
    }

    /// Where clients reach the hub, as `name=address` words: programs that start it read them.
    pub fn addresses(&self) -> String {
        let mut words = format!("http={} mqtt={}", self.http_addr, self.mqtt_addr);
        for (name, address) in
            [("legacy", self.legacy_addr), ("mqtts", self.mqtt_tls_addr), ("conformance", self.mqtt_conformance_addr)]
        {
            words.extend(address.map(|address| format!(" {name}={address}")));
        }
        words
    }

    /// Whether the hub does its work, as it was found at its last check.
    pub fn pulse(&self) -> impl Fn() -> bool + Send + use<> {
        let hub = Arc::clone(&self.hub);
        move || hub.health(Instant::now()).is_alive
    }

    /// What has the certificates read again, where TLS is served.
    pub fn certificates(&self) -> Option<mqtt::Reloads> {
        self.mqtt.reloads()
    }

    /// Serves until `shutdown`, then ends connections, what they began, and the store.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), String> {
        let Self { hub, config, http, mqtt, control, .. } = self;
        let apps = Apps::new(Arc::clone(&hub), Arc::new(config.ws.clone()));
        let current = SocketRoute {
            pattern: ws::PATH,
            protocols: &[ws::PROTOCOL],
            needs_protocol: false,
            compression: config.ws.compression,
            handler: Arc::new({
                let (apps, message_max_bytes) = (Arc::clone(&apps), config.ws.message_max_bytes);
                move |socket: http::Socket| {
                    let http::Socket { io, compression, token, ticket, after, peer, .. } = socket;
                    let io: Box<dyn http::SocketIo> =
                        if compression { Box::new(ws::Deflated::new(io, message_max_bytes)) } else { io };
                    Box::pin(Arc::clone(&apps).serve(io, Handshake { token, ticket, after, peer }))
                }
            }),
        };
        let legacy = ws::LEGACY_PATHS.map(|pattern| SocketRoute {
            pattern,
            protocols: &[],
            needs_protocol: false,
            compression: false,
            handler: Arc::new({
                let apps = Arc::clone(&apps);
                move |socket: http::Socket| {
                    let http::Socket { io, path, token, peer, .. } = socket;
                    Box::pin(Arc::clone(&apps).serve_legacy(io, path, token, peer))
                }
            }),
        });
        let toys = SocketRoute {
            pattern: mqtt::SOCKET_PATH,
            protocols: mqtt::SOCKET_PROTOCOLS,
            needs_protocol: true,
            compression: false,
            handler: Arc::new({
                // Packets may share a message: there is room for two of the largest.
                let (door, message_max_bytes) = (mqtt.door(), config.mqtt.packet_max_bytes.saturating_mul(2));
                move |socket: http::Socket| {
                    let door = door.clone();
                    Box::pin(async move {
                        door.enter(ws::SocketBytes::new(socket.io, message_max_bytes).await, socket.peer).await;
                    })
                }
            }),
        };
        let mut edges: JoinSet<Result<(), String>> = JoinSet::new();
        edges.spawn({
            let (hub, config, shutdown) = (Arc::clone(&hub), Arc::clone(&config), shutdown.clone());
            async move {
                let sockets = [current, toys].into_iter().chain(legacy).collect();
                let served = http::serve(http, hub, config, sockets, shutdown).await;
                apps.finish().await;
                served.map_err(|error| format!("http: {error}"))
            }
        });
        edges.spawn({
            let (hub, config, shutdown) = (Arc::clone(&hub), Arc::new(config.mqtt.clone()), shutdown.clone());
            async move {
                mqtt::serve(mqtt, hub, config, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                housekeeping::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                control::serve(control, hub, shutdown).await;
                Ok(())
            }
        });
        if config.backup.is_on() {
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            edges.spawn(async move {
                schedule::run(hub, shutdown).await;
                Ok(())
            });
        }

        edges.spawn(look_after(Arc::clone(&hub), seconds(config.server.check_interval_s), shutdown.clone()));

        // An edge that ends by itself leaves a hub that is deaf on one side: the whole stops and says so.
        // The signal is looked at first, for it makes the edges end too.
        let ended_early = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            ended = edges.join_next() => ended,
        };
        shutdown.cancel();
        tracing::info!("stopping");
        hub.close_connections();
        let all_ended = async { while edges.join_next().await.is_some() {} };
        if tokio::time::timeout(seconds(config.server.shutdown_timeout_s), all_ended).await.is_err() {
            tracing::warn!("connections cut off, they did not end in time");
            edges.shutdown().await;
        }
        let _ = std::fs::remove_file(config.server.control_socket());
        hub.close(wire::now()).await.map_err(|error| fault(&error))?;
        tracing::info!("stopped");
        match ended_early {
            None => Ok(()),
            Some(Ok(Ok(()))) => Err("a listener ended by itself".into()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(format!("a listener failed: {error}")),
        }
    }
}

/// Checks what the hub stands on until `shutdown`, and opens a database again whose engine has stopped. Fails where a
/// part is lost that only a new start brings back.
async fn look_after(hub: Arc<Hub>, period: Duration, shutdown: CancellationToken) -> Result<(), String> {
    let ticks = || {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let check = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if let Err(lost) = hub.check_health(Instant::now()).await {
                return Err(fault(&lost));
            }
        }
    };
    // Beside the checks: it takes as long as a start of the database.
    let mend = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if let Err(error) = hub.mend_store().await {
                tracing::error!(error = fault(&error), "the database is not open again yet");
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        lost = check => lost,
        () = mend => Ok(()),
    }
}

/// All places at which MQTT clients come in.
async fn mqtt_listeners(
    config: &config::Mqtt,
    tcp: TcpListener,
    tls: Option<TcpListener>,
    conformance: Option<TcpListener>,
) -> Result<mqtt::Listeners, String> {
    let mut listeners = mqtt::Listeners::new(tcp);
    if let Some(listener) = tls {
        listeners.add_tls(listener, mqtt::Tls::load(config).await.map_err(|error| error.to_string())?);
    }
    if let Some(listener) = conformance {
        listeners.add_conformance(listener);
    }
    let path = &config.unix_socket;
    if !path.as_os_str().is_empty() {
        let bound = mqtt::UnixSocket::bind(path).await;
        listeners.add_unix(bound.map_err(|error| unix_socket_fault(path, &error))?);
    }
    Ok(listeners)
}

fn unix_socket_fault(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("mqtt.unix_socket: {path} is in use; stop the other program or set another path")
        }
        io::ErrorKind::AlreadyExists => {
            format!("mqtt.unix_socket: {path} is a file that is no socket; move it away or set another path")
        }
        _ => format!("mqtt.unix_socket: cannot listen at {path} ({error}); set a path in a folder of the hub's user"),
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| error.to_string())
}

async fn bind_optional(key: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
    match address {
        Some(address) => bind(key, address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{key}: {address} is in use; stop the other program or set another port"),
        io::ErrorKind::PermissionDenied => format!("{key}: {address} is not permitted; set a port above 1023"),
        _ => format!("{key}: cannot listen on {address} ({error}); set an address of this machine"),
    })
}

fn prepare_folder(folder: &Path) -> Result<(), String> {
    let probe = folder.join(".writable");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| folder_fault(folder, &error))
}

fn folder_fault(path: &Path, error: &dyn std::error::Error) -> String {
    format!("server.data_dir: {} cannot be used ({error}); give its owner the right to write", path.display())
}

fn fault(error: &crate::domain::error::DomainError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
