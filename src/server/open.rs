//! Opens the ports and creates the hub. If a port cannot be opened, the error is one line with the cause and the
//! remedy.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fault;
use crate::api::events;
use crate::config::{self, BusAddress, Config, SessionOverflow, seconds};
use crate::domain::backup::unfinished_restore;
use crate::domain::{Hub, Ports, Progress};
use crate::edge::wire;
use crate::model::{HubId, Secret, Timestamp};
use crate::ports::bus::{self, Bus, BusSettings};
use crate::ports::chunks::{ChunkLimits, Chunks, Usage};
use crate::ports::clock::{self, MonotonicClock};
use crate::ports::data_folder::{Damage, DataFolder, Inspection, Parts, make_private_folder};
use crate::ports::erased::{ERASED_FILE, ErasedList, is_restored};
use crate::ports::files::{Bucket, BucketSettings, Files};
use crate::ports::outgoing::connector;
use crate::ports::reply::{BuiltIn, ChatEndpoint, ChatSettings, ReplyEngine, WithFallback};
use crate::ports::router::{
    Disk, DiskError, DiskLimits, ForwardId, Heard, Overflow, Publication, Router, RouterLimits,
};
use crate::ports::space::{Space, is_disk_full};
use crate::ports::speech::{
    ComparisonLimits, PiperSettings, RecogniserSettings, Speaker, SpeakerSettings, threads_sleep,
};
use crate::ports::store::{
    Location, RestoreState, Server, Store, StoreError, StoreSettings, UserLevel, check_files, damage, is_open,
};

/// Why a hub does not start: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The value of a key of the configuration cannot be used. The line begins with the key.
    #[error("{0}")]
    Setting(String),
    /// A part of the hub fails. The line names it.
    #[error("{0}")]
    Part(String),
}

impl From<String> for StartError {
    fn from(line: String) -> Self {
        Self::Setting(line)
    }
}

impl StartError {
    fn part(error: impl Display) -> Self {
        Self::Part(error.to_string())
    }
}

/// Opens the ports of the hub.
pub async fn open_hub(config: &Arc<Config>, progress: &Progress) -> Result<Arc<Hub>, StartError> {
    prepare_folder(&config.server.data_dir)?;
    if unfinished_restore(&config.server.data_dir) {
        let folder = config.server.data_dir.display();
        return Err(StartError::Part(format!("{folder}: a restore was interrupted; run 'toyhub restore' again")));
    }
    let mut folder = examine_folder(config).await?;
    let doubt = Duration::from_secs(config.server.clock_doubt_h.saturating_mul(3600));
    if let Some(change) = clock::start(folder.last_clock(), doubt) {
        super::clock::log(change);
    }
    let is_on_server = config.store.is_on_server();
    if !is_on_server {
        folder.note_start(wire::now()).map_err(StartError::part)?;
    }
    let store = Store::open_watched(&store_settings(config), progress).await;
    let store = store.map_err(|error| store_fault(config, &error))?;
    check_restored(config, &store).await?;
    if is_on_server {
        // Not before: an interrupted restore goes on only where nothing is written to the folder.
        folder.note_start(wire::now()).map_err(StartError::part)?;
    }
    // Nothing is written to a database before its identity was checked.
    let found = store.hub().await.map_err(|error| store_fault(config, &error))?;
    let id = match folder.settle(found) {
        Ok(id) => id,
        Err(fault) => {
            // Left as after a crash, as closing another hub's database would change its files.
            store.abandon();
            return Err(StartError::part(fault));
        }
    };
    let id = store.prepare(&id, progress).await.map_err(|error| store_fault(config, &error))?;
    // A restore that began meanwhile sees the tables, or is seen here.
    check_restored(config, &store).await?;
    // After the store, whose lock prevents a second hub from emptying the spool of the first.
    let files = open_files(config, &store, &id).await?;
    let space = Space::open(&config.server.data_dir, config.server.free_bytes_min)
        .map_err(|error| part_fault(&config.server.data_dir, &error))?;
    let limits = ChunkLimits {
        uploads_max: config.chunks.uploads_per_party_max,
        chunks_max: config.chunks.upload_chunks_max,
        bytes_max: config.http.upload_max_bytes,
        of_party: Usage { chunks: config.limits.chunks_per_party, bytes: config.limits.chunk_bytes_per_party },
    };
    let chunks = Chunks::open(&config.server.chunks_dir(), limits)
        .map_err(|error| part_fault(&config.server.chunks_dir(), &error))?;
    let erased = ErasedList::open(&config.server.data_dir)
        .map_err(|error| part_fault(&config.server.data_dir.join(ERASED_FILE), &error))?;
    let in_memory = config.store.url == "memory";
    let sessions_file = (!in_memory).then(|| config.server.sessions_file());
    let opened = Disk::open(sessions_file.as_deref(), disk_limits(config));
    let (disk, found) = opened.map_err(|error| sessions_fault(&config.server.sessions_file(), &error))?;
    folder.check_sessions(found.hub.as_ref(), &id).map_err(StartError::part)?;
    disk.claim(&id);
    let limits = RouterLimits {
        subscriptions_max: config.mqtt.subscriptions_max.max(config.ws.subscriptions_max),
        retained_messages_max: config.mqtt.retained_messages_max,
        retained_per_owner_max: config.limits.retained_messages_per_party,
        retained_max_bytes: config.mqtt.retained_max_bytes,
        backpressure_max: seconds(config.mqtt.backpressure_max_s),
    };
    let left = Left { outbox: found.outbox, heard: found.heard };
    let bus = bus(config, &id, &disk, left).map_err(StartError::Setting)?;
    let router = Router::new(limits, disk, found.retained);
    let (stored_sessions, speaker, replies) = (found.sessions, speaker(config), replies(config)?);
    folder.confirm(id, wire::now()).map_err(StartError::part)?;
    if !folder.ended_cleanly() {
        tracing::info!("the last stop was not clean; 'toyhub doctor' compares messages with their recordings");
    }
    let ports = Ports {
        folder,
        store,
        files,
        space,
        chunks,
        erased,
        clock: MonotonicClock::system(),
        router,
        bus,
        stored_sessions,
        speaker,
        replies,
        // Without links: a toy pays for each byte, and they would expire in the queue of a session.
        encode_event: |event, seq| events::encode(event, seq, None),
    };
    let hub = Hub::new(ports, Arc::clone(config)).await.map_err(|error| StartError::Part(fault(&error)))?;
    hub.share_marks().await.map_err(|error| StartError::Part(fault(&error)))?;
    let watching = hub.watch_erasures(progress);
    let again = hub.erase_restored(wire::now()).await.map_err(|error| StartError::Part(fault(&error)))?;
    drop(watching);
    if again > 0 {
        tracing::info!(again, "erasures from before the restore are repeated");
    }
    let removed = hub.remove_unfinished_files().await.map_err(|error| StartError::Part(fault(&error)))?;
    if removed > 0 {
        tracing::info!(removed, "files of an interrupted command deleted");
    }
    Ok(Arc::new(hub))
}

/// The parts of the data folder.
pub fn folder_parts(config: &Config) -> Parts {
    let in_memory = config.store.url == "memory";
    Parts {
        database: (config.store.url == "embedded").then(|| config.server.database_dir()),
        server: config.store.is_on_server().then(|| config.store.url.clone()),
        sessions: (!in_memory).then(|| config.server.sessions_file()),
        files: (!config.files.is_bucket()).then(|| config.server.files_dir()),
    }
}

/// Checks that no restore into the database of a server is unfinished.
async fn check_restored(config: &Config, store: &Store) -> Result<(), StartError> {
    if !config.store.is_on_server() {
        return Ok(());
    }
    let url = &config.store.url;
    match store.restore_state().await.map_err(|error| store_fault(config, &error))? {
        Some(RestoreState::Filling) => Err(StartError::Setting(format!(
            "store.url: {url}: a restore into this database was interrupted or still runs; run 'toyhub restore' again, \
             which completes it"
        ))),
        Some(RestoreState::Erasing) if !is_restored(&config.server.data_dir) => Err(StartError::Setting(format!(
            "store.url: {url}: this database was restored, and data that was erased since the backup is not removed yet; \
             first start the hub on the data folder of that restore, which removes it"
        ))),
        Some(RestoreState::Erasing) | None => Ok(()),
    }
}

/// Opens the folder or the bucket of sounds and pictures, for the hub of this database.
async fn open_files(config: &Config, store: &Store, id: &HubId) -> Result<Files, StartError> {
    let spool = config.server.spool_dir();
    let audio = &config.audio;
    let with_memory = |files: Files| files.with_memory(audio.recording_memory_bytes, audio.recordings_memory_bytes);
    let Some(bucket) = bucket(config).map_err(StartError::Setting)? else {
        let folder = config.server.files_dir();
        return Files::open(&folder, &spool).map(with_memory).map_err(|error| part_fault(&folder, &error));
    };
    let messages = store.counts().await.map_err(|error| store_fault(config, &error))?.messages;
    bucket.claim(id, messages).await.map_err(|fault| {
        let cause = std::error::Error::source(&fault).and_then(std::error::Error::source);
        // The answer of a server may have several lines.
        let cause = cause.map(|cause| cause.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
        StartError::Setting(format!("files.url: {}: {fault}{cause}", config.files.url))
    })?;
    Files::over(bucket, &spool).map(with_memory).map_err(|error| part_fault(&spool, &error))
}

/// The bucket of the configuration; none if the files are in a folder. Errors are one line, and begin with the key.
pub fn bucket(config: &Config) -> Result<Option<Bucket>, String> {
    let files = &config.files;
    if !files.is_bucket() {
        return Ok(None);
    }
    let key = Secret::new(files.secret_access_key.reveal().to_owned());
    let settings = BucketSettings {
        url: files.url.clone(),
        endpoint: Some(files.endpoint.trim_end_matches('/').to_owned()).filter(|endpoint| !endpoint.is_empty()),
        region: files.region.clone(),
        path_style: files.path_style,
        credentials: (!files.access_key_id.is_empty()).then(|| (files.access_key_id.clone(), key)),
        certificates: Some(files.certificates.clone()).filter(|path| !path.as_os_str().is_empty()),
        allow_http: files.allow_http,
        connect_timeout: seconds(files.connect_timeout_s),
        attempt_timeout: seconds(files.timeout_s),
        retry_timeout: seconds(files.retry_s),
        parallel_max: files.parallel_max,
        piece_bytes: files.piece_bytes,
        check_interval: seconds(files.check_interval_s),
        sweep_interval: seconds(files.sweep_interval_s),
    };
    Bucket::new(&settings).map(Some)
}

/// Checks the data folder before anything in it is opened.
pub async fn examine_folder(config: &Config) -> Result<DataFolder, StartError> {
    let (folder, parts) = (config.server.data_dir.clone(), folder_parts(config));
    let engine = Inspection { is_open, check: check_files };
    let examined = tokio::task::spawn_blocking(move || DataFolder::examine(&folder, parts, engine)).await;
    examined.map_err(StartError::part)?.map_err(StartError::part)
}

/// One line on a store that does not open.
fn store_fault(config: &Config, error: &StoreError) -> StartError {
    let folder = config.server.database_dir();
    match config.store.url.as_str() {
        "embedded" if is_disk_full(error) => part_fault(&folder, error),
        "embedded" if error.is_late() => StartError::Part(format!(
            "{}: {error}; the machine is too busy: start the hub again later, or with a greater store.query_timeout_s",
            folder.display()
        )),
        "embedded" => {
            let Damage { path, why } = damage(&folder, &error.to_string());
            let way_out = "give the hub's user the right to read and write it; if it is damaged, restore a backup with \
                           'toyhub restore'";
            StartError::Part(format!("{}: {why}; {way_out}", path.display()))
        }
        url => StartError::Setting(format!("store.url: {url}: {error}")),
    }
}

/// One line on a file of sessions that does not open.
fn sessions_fault(file: &Path, error: &DiskError) -> StartError {
    match error {
        DiskError::Full => part_fault(file, error),
        _ => StartError::part(error),
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

/// What earlier processes have left for the bus.
struct Left {
    outbox: Vec<(ForwardId, Publication, Timestamp)>,
    heard: Vec<Heard>,
}

/// The connection to the other hubs; none for a single hub. Errors are one line, and begin with the key.
fn bus(config: &Config, data: &HubId, disk: &Disk, left: Left) -> Result<Option<Arc<Bus>>, String> {
    let Left { outbox, heard } = left;
    let Some(settings) = bus_settings(config, data)? else {
        if !outbox.is_empty() {
            // They would be out of date when there is a bus again.
            let publications = outbox.len();
            tracing::warn!(publications, "cluster.bus is empty: publications that wait for other hubs are deleted");
            disk.forget_forwarded(outbox.into_iter().map(|(id, ..)| id).collect());
        }
        return Ok(None);
    };
    // A later process has a greater one, unless the clock was set back.
    let epoch = (clock::now() * 1000.0) as u64;
    Ok(Some(Arc::new(Bus::new(settings, epoch, disk.clone(), outbox, heard))))
}

/// A round trip over each broker of the bus; none for a single hub. Errors are one line.
pub async fn bus_round_trips(config: &Config) -> Result<Vec<(String, Result<String, String>)>, String> {
    // Of a database that there is not: no hub receives it.
    let Some(settings) = bus_settings(config, &HubId::random())? else { return Ok(Vec::new()) };
    let (disk, _) = Disk::open(None, disk_limits(config)).map_err(|error| error.to_string())?;
    Ok(Bus::round_trips(settings, disk).await)
}

/// The settings of the bus; none for a single hub. Errors are one line, and begin with the key.
fn bus_settings(config: &Config, data: &HubId) -> Result<Option<BusSettings>, String> {
    let cluster = &config.cluster;
    if !cluster.has_bus() {
        return Ok(None);
    }
    let certificates = Some(cluster.certificates.as_path()).filter(|path| !path.as_os_str().is_empty());
    let addresses = cluster.addresses();
    let tls = match addresses.iter().any(|address| address.is_encrypted) {
        true => Some(connector(certificates).map_err(|error| format!("cluster.certificates: {error}"))?),
        false => None,
    };
    let address = |address: BusAddress| bus::BusAddress {
        host: address.host,
        port: address.port,
        tls: tls.clone().filter(|_| address.is_encrypted),
    };
    let password = Secret::new(cluster.password.reveal().to_owned());
    Ok(Some(BusSettings {
        hub: cluster.hub.clone(),
        data: data.clone(),
        addresses: addresses.into_iter().map(address).collect(),
        credentials: (!cluster.username.is_empty()).then(|| (cluster.username.clone(), password)),
        prefix: cluster.prefix.clone(),
        connect_timeout: seconds(cluster.connect_timeout_s),
        keep_alive: seconds(cluster.keep_alive_s),
        clock_skew_max: seconds(cluster.clock_skew_max_s),
        packet_max_bytes: cluster.packet_max_bytes,
        queue_messages_max: cluster.queue_messages_max,
        queue_bytes_max: cluster.queue_bytes_max,
        in_flight_max: cluster.inflight_max.into(),
    }))
}

/// The synthesiser of the configuration.
pub fn speaker(config: &Config) -> Speaker {
    let speech = &config.speech;
    let piper = speech.piper_folder().map(|folder| PiperSettings {
        folder,
        threads: speech.piper_threads,
        voices_max: speech.piper_voices_max,
        queue_max: speech.piper_queue_max,
        timeout: seconds(speech.piper_timeout_s),
    });
    Speaker::new(SpeakerSettings {
        program: speech.synthesiser.clone().into(),
        arguments: speech.synthesiser_arguments.clone(),
        piper,
        words_per_minute: speech.words_per_minute,
        timeout: seconds(speech.timeout_s),
        output_cpu_max: seconds(speech.output_cpu_max_s),
        max_text_chars: speech.text_max_chars,
        max_parallel: speech.parallel_max,
    })
}

/// The most threads of one recognition by default.
const THREADS_MAX: usize = 2;

/// The settings of speech recognition, with this model.
pub fn recogniser_settings(config: &config::Speech, model: PathBuf) -> RecogniserSettings {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.workers == 0 { workers_for(processors) } else { config.workers };
    RecogniserSettings {
        model,
        sha256: Some(config.model_sha256.clone()).filter(|hash| !hash.is_empty()),
        languages: config.known_languages(),
        workers,
        threads: if config.threads == 0 { threads_for(processors, workers, threads_sleep()) } else { config.threads },
        queue_max: config.queue_max,
        wait_limit: seconds(config.wait_timeout_s),
        time_limit: seconds(config.recognise_timeout_s),
        comparison: ComparisonLimits {
            steps_max: config.compare_steps_max,
            time_max: Duration::from_millis(config.compare_ms_max),
        },
        max_seconds: config.command_max_s,
    }
}

/// How many recordings are recognised at once on a machine with so many processors.
fn workers_for(processors: usize) -> usize {
    (processors / 2).clamp(1, 4)
}

/// The threads of each of so many recognitions.
fn threads_for(processors: usize, workers: usize, sleep: bool) -> usize {
    if sleep { (processors / workers.max(1)).clamp(1, THREADS_MAX) } else { 1 }
}

/// The reply engine of the configuration.
fn replies(config: &Config) -> Result<Arc<dyn ReplyEngine>, String> {
    let speech = &config.speech;
    if speech.reply_url.is_empty() {
        return Ok(Arc::new(BuiltIn));
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
        answer_max_bytes: speech.reply_max_bytes,
        words_max: speech.reply_words_max,
        streams: speech.reply_stream,
    });
    Ok(Arc::new(WithFallback::new(endpoint.map_err(|error| format!("speech.reply_url: {error}"))?)))
}

/// The settings of the database.
pub fn store_settings(config: &Config) -> StoreSettings {
    let store = &config.store;
    let place = match store.url.as_str() {
        "embedded" => Location::Folder {
            path: config.server.database_dir(),
            block_cache_bytes: store.block_cache_bytes,
            memtable_bytes: store.memtable_bytes,
        },
        "memory" => Location::Memory,
        url => Location::Server(Server {
            url: url.to_owned(),
            username: store.username.clone(),
            password: Secret::new(store.password.reveal().to_owned()),
            level: match store.user_level {
                config::UserLevel::Root => UserLevel::Root,
                config::UserLevel::Namespace => UserLevel::Namespace,
                config::UserLevel::Database => UserLevel::Database,
            },
            answer_timeout: seconds(store.answer_timeout_s),
            certificates: Some(store.certificates.clone()).filter(|path| !path.as_os_str().is_empty()),
        }),
    };
    StoreSettings {
        place,
        namespace: store.namespace.clone(),
        database: store.database.clone(),
        query_timeout: seconds(store.query_timeout_s),
        stream_events_max: config.accounts.stream_events_max,
    }
}

/// Creates the data folder, and checks that it can be written to.
fn prepare_folder(folder: &Path) -> Result<(), StartError> {
    let probe = folder.join(".writable");
    make_private_folder(folder)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| match is_disk_full(&error) {
            true => part_fault(folder, &error),
            false => {
                let folder = folder.display();
                let way_out = "give the hub's user the right to write there, or set another folder";
                StartError::Setting(format!("server.data_dir: {folder} cannot be used ({error}); {way_out}"))
            }
        })
}

/// One line on a file or folder within the data folder.
pub(super) fn part_fault(path: &Path, error: &(dyn std::error::Error + 'static)) -> StartError {
    let path = path.display();
    StartError::Part(match is_disk_full(error) || matches!(error.downcast_ref(), Some(DiskError::Full)) {
        true => format!("{path}: the disk is full ({error}); free space on it and start the hub again"),
        false => format!("{path} cannot be used ({error}); give the hub's user the right to read and write it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognitions_share_the_processors() {
        for (processors, workers, threads) in [(1, 1, 1), (2, 1, 2), (3, 1, 2), (4, 2, 2), (8, 4, 2), (64, 4, 2)] {
            assert_eq!(workers_for(processors), workers, "{processors}");
            assert_eq!(threads_for(processors, workers, true), threads, "{processors}");
            assert_eq!(threads_for(processors, workers, false), 1, "{processors}");
        }
        assert_eq!(threads_for(2, 4, true), 1, "an operator wants four at once");
    }
}
