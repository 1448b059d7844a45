//! Start and stop of the hub: the ports, the hub, the edges, the signal; then the reverse.

mod clock;
mod descriptors;
mod listen;
mod open;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, seconds};
use crate::domain::{
    Hub, Progress, cluster, erasure, fencing, housekeeping, live_logins, push, reminders, rest, shared_rules,
};
use crate::edge::http::{self, Claimed, OtherRoutes, PostRoute, SocketRoute, SoundRoute};
use crate::edge::line::{Connect, LoggedIn};
use crate::edge::tasks::Tasks;
use crate::edge::ws::{self, Apps, Handshake};
use crate::edge::{console, control, discovery, mqtt, net, schedule, wire, xiaozhi};
use crate::model::Secret;
use crate::ports::audio::find_program;
use crate::ports::speech::Recogniser;

pub use listen::try_listen;
pub use open::{
    StartError, bucket, bus_round_trips, examine_folder, folder_parts, open_hub, recogniser_settings, speaker,
    store_settings,
};

use listen::{Bound, bind_all};
use open::part_fault;

/// A hub whose ports are open and whose listeners accept.
pub struct Server {
    hub: Arc<Hub>,
    config: Arc<Config>,
    /// The file of the speech model, which is loaded while the hub serves.
    model: Option<PathBuf>,
    http: net::Listeners,
    mqtt: net::Listeners,
    console: net::Listeners,
    conformance: net::Listeners,
    control: UnixListener,
    /// The sound of devices with stock firmware.
    udp: Option<Arc<xiaozhi::Udp>>,
    /// The connections of all protocols.
    places: Arc<net::Places>,
    addresses: Vec<(&'static str, SocketAddr)>,
    /// The operator's password, if it was made at this start.
    operator_password: Option<Secret>,
}

/// Makes the operator's password at the first start with a console. Without one the hub runs all the same.
async fn prepare_operator(hub: &Hub, config: &config::Console) -> Option<Secret> {
    if !config.is_on() {
        return None;
    }
    let made = hub.prepare_operator().await;
    made.inspect_err(|error| {
        tracing::error!(error = fault(error), "the console has no password, the next start makes it")
    })
    .unwrap_or_default()
}

/// Logs a line if calls need no proof.
fn look_for_open_door(config: &config::Auth) {
    if let Some(warning) = config.mode.warning() {
        tracing::warn!("{warning}");
    }
}

/// Logs a line if no other hub can share the database, or if other hubs cannot read the sounds of this one.
fn look_for_shares(config: &Config) {
    if !config.cluster.has_bus() {
        return;
    }
    if !config.store.is_on_server() {
        tracing::warn!(
            "cluster.bus is set, and store.url is no server: no other hub can share the database of this one"
        );
    } else if !config.files.is_bucket() {
        tracing::warn!(
            "there are other hubs, and files.url is no bucket: a sound can be played only at the hub that has got it"
        );
    }
}

/// Logs a line if `ffmpeg` is turned off or missing.
fn look_for_ffmpeg(config: &config::Audio) {
    if config.ffmpeg.is_empty() {
        tracing::info!("ffmpeg is turned off: recordings that the hub cannot decode itself are refused");
    } else if find_program(Path::new(&config.ffmpeg)).is_none() {
        tracing::warn!(
            program = config.ffmpeg,
            "ffmpeg is not installed: recordings that the hub cannot decode itself are refused, such as HE-AAC, AMR-WB \
             and AIFF; apt-get install ffmpeg, or set audio.ffmpeg"
        );
    }
}

/// The file of the speech model. Without one the hub runs without recognition, and logs a line.
fn find_model(config: &config::Speech) -> Option<PathBuf> {
    let model = config.model_file();
    if model.is_none() {
        tracing::warn!("no speech model, recordings cannot be recognised; scripts/get-model fetches one");
    }
    model
}

/// Loads the speech model. Without a valid one the included model is used, or the hub runs without recognition, and logs a
/// line.
async fn load_model(hub: &Hub, config: &config::Speech, model: PathBuf) {
    match load_recogniser(config, model).await {
        Ok((recogniser, None)) => hub.set_recogniser(recogniser),
        Ok((recogniser, Some(error))) => {
            tracing::error!(%error, "the model of speech.model is not available, the included one is used");
            hub.set_recogniser_instead(recogniser);
        }
        Err(error) => {
            tracing::error!(%error, "speech recognition is not available");
            hub.note_recogniser_failed();
        }
    }
}

/// A recogniser with this model; or with the included model, and the fault of the configured one.
pub async fn load_recogniser(config: &config::Speech, model: PathBuf) -> Result<(Recogniser, Option<String>), String> {
    let error = match loaded(config, model).await {
        Ok(recogniser) => return Ok((recogniser, None)),
        Err(error) => error,
    };
    let Some((config, model)) = config.instead() else { return Err(error) };
    match loaded(&config, model).await {
        Ok(recogniser) => Ok((recogniser, Some(error))),
        Err(of_included) => {
            tracing::debug!(error = of_included, "the included speech model is not available either");
            Err(error)
        }
    }
}

/// A recogniser with this model. Logs the languages that it lacks.
async fn loaded(config: &config::Speech, model: PathBuf) -> Result<Recogniser, String> {
    let settings = recogniser_settings(config, model);
    let loaded = tokio::task::spawn_blocking(|| Recogniser::load(settings)).await;
    let recogniser = loaded.map_err(|error| format!("loading the model failed: {error}"))?;
    let recogniser = recogniser.map_err(|error| error.to_string())?;
    let languages = config.known_languages();
    let missing = recogniser.describe().missing(&languages);
    if !missing.is_empty() {
        tracing::warn!(
            ?missing,
            "the speech model supports English only, not all of speech.languages: it hears every recording as English; \
             fetch one of many languages, scripts/get-model base-q5_1, and set speech.model"
        );
    }
    Ok(recogniser)
}

impl Server {
    /// Binds the listeners, opens the ports and creates the hub's own sounds. The conversion of an older database is told
    /// to `progress`.
    pub async fn start(config: Config, progress: &Progress) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let (all, of_address) = descriptors::connections(descriptors::raise(), config.server.descriptors_reserved);
        let places = net::Places::new(all, of_address);
        // The listeners come first, so that a port in use ends the start before the database is opened.
        let Bound { http, mqtt, console, conformance, udp, addresses } = bind_all(&config).await?;
        let hub = open_hub(&config, progress).await?;
        hub.load_quiet_hours(wire::now()).await.map_err(|error| StartError::Part(fault(&error)))?;
        hub.load_toy_voices().await.map_err(|error| StartError::Part(fault(&error)))?;
        hub.load_reminders().await.map_err(|error| StartError::Part(fault(&error)))?;
        if let Err(error) = hub.delete_unpermitted_words(wire::now()).await {
            tracing::error!(
                error = fault(&error),
                "kept words were not deleted although speech.keep_words is off; they \
                             cannot be read, and the next clean-up deletes them"
            );
        }
        hub.prepare_own_files().await.map_err(|error| StartError::Part(fault(&error)))?;
        look_for_ffmpeg(&config.audio);
        if let Some(fault) = config.speech.fault_of_languages() {
            tracing::warn!("{fault}");
        }
        look_for_open_door(&config.auth);
        look_for_shares(&config);
        let model = find_model(&config.speech);
        if model.is_some() {
            hub.note_recogniser_loading();
        }
        hub.check_health().await.map_err(|error| StartError::Part(fault(&error)))?;
        let operator_password = prepare_operator(&hub, &config.console).await;
        let socket = config.server.control_socket();
        let control = control::bind(&socket).map_err(|error| part_fault(&socket, &error))?;
        let bound = Self {
            hub,
            config,
            model,
            http,
            mqtt,
            console,
            conformance,
            control,
            udp,
            places,
            addresses,
            operator_password,
        };
        Ok(bound)
    }

    /// The addresses of the hub, as `name=address` words, for programs that start it.
    pub fn addresses(&self) -> String {
        let words: Vec<String> = self.addresses.iter().map(|(name, address)| format!("{name}={address}")).collect();
        words.join(" ")
    }

    /// The operator's password, if it was made at this start. It is to be shown once.
    pub fn new_operator_password(&mut self) -> Option<Secret> {
        self.operator_password.take()
    }

    /// The operator's password could not be shown: the next start makes another one.
    pub async fn forget_operator_password(&self) {
        if let Err(error) = self.hub.forget_operator_password().await {
            tracing::error!(error = fault(&error), "the password of the console could not be removed");
        }
    }

    /// Whether the hub works, by its last check.
    pub fn pulse(&self) -> impl Fn() -> bool + Send + use<> {
        let hub = Arc::clone(&self.hub);
        move || hub.health().is_alive
    }

    /// The reloads of the certificates, for each protocol with TLS.
    pub fn certificates(&self) -> Vec<net::Reloads> {
        [&self.http, &self.mqtt, &self.console].into_iter().filter_map(net::Listeners::reloads).collect()
    }

    /// Serves until `shutdown`, then ends connections, their tasks, and the store.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), String> {
        let Self { hub, config, model, http, mqtt, console, conformance, control, udp, places, addresses, .. } = self;
        let tasks = Tasks::default();
        tasks.spawn({
            let (hub, config) = (Arc::clone(&hub), Arc::clone(&config));
            // Large models and the voices of Piper take seconds.
            async move {
                let loading = async {
                    if let Some(model) = model {
                        load_model(&hub, &config.speech, model).await;
                    }
                };
                tokio::join!(loading, hub.prepare_voices());
            }
        });
        let apps = Apps::new(Arc::clone(&hub), Arc::new(config.ws.clone()), tasks.clone(), shutdown.clone());
        let current = SocketRoute {
            pattern: ws::PATH,
            protocols: &[ws::PROTOCOL],
            handler: Arc::new({
                let apps = Arc::clone(&apps);
                move |socket: http::Socket| {
                    let http::Socket { io, token, ticket, after, from, .. } = socket;
                    Box::pin(Arc::clone(&apps).serve(io, Handshake { token, ticket, after, peer: from.peer }))
                }
            }),
        };
        let legacy = ws::LEGACY_PATHS.map(|pattern| SocketRoute {
            pattern,
            protocols: &[],
            handler: Arc::new({
                let apps = Arc::clone(&apps);
                move |socket: http::Socket| {
                    let http::Socket { io, path, token, from, .. } = socket;
                    Box::pin(Arc::clone(&apps).serve_legacy(io, path, token, from))
                }
            }),
        });
        let toys = SocketRoute {
            pattern: mqtt::SOCKET_PATH,
            protocols: mqtt::SOCKET_PROTOCOLS,
            // A board that offers none is served too: its first packet has to be a CONNECT.
            handler: Arc::new({
                // Packets may share a WebSocket message: there is room for two of the largest.
                let (handover, message_max_bytes) = (mqtt.handover(), config.mqtt.packet_max_bytes.saturating_mul(2));
                move |socket: http::Socket| {
                    let handover = handover.clone();
                    Box::pin(async move {
                        handover.pass(ws::SocketBytes::new(socket.io, message_max_bytes).await, socket.from.peer).await;
                    })
                }
            }),
        };
        let port = addresses.iter().find(|(name, _)| *name == "mqtt").map(|(_, address)| address.port());
        let over_mqtt = udp.clone().map(|udp| xiaozhi::OverMqtt { udp, port });
        let devices = config
            .xiaozhi
            .enabled
            .then(|| xiaozhi::Devices::new(Arc::clone(&hub), Arc::clone(&config), over_mqtt, tasks.clone()));
        let lines =
            devices.clone().map(|devices| -> Connect { Arc::new(move |login: LoggedIn<'_>| devices.attend(login)) });
        let devices = devices.as_ref().map(device_routes).unwrap_or_default();
        let mut edges: JoinSet<Result<(), String>> = JoinSet::new();
        if let Some(udp) = udp {
            let shutdown = shutdown.clone();
            edges.spawn(async move {
                udp.run(shutdown).await;
                Ok(())
            });
        }
        edges.spawn({
            let (hub, config, shutdown) = (Arc::clone(&hub), Arc::clone(&config), shutdown.clone());
            let (places, tasks) = (Arc::clone(&places), tasks.clone());
            async move {
                let sockets = [current, toys].into_iter().chain(legacy).chain(devices.sockets).collect();
                let others = OtherRoutes { sockets, ..devices };
                let served = http::serve(http, hub, config, others, places, tasks, shutdown).await;
                served.map_err(|error| format!("http: {error}"))
            }
        });
        edges.spawn({
            let (hub, config, shutdown) = (Arc::clone(&hub), Arc::clone(&config), shutdown.clone());
            let shared = mqtt::Shared { places, tasks: tasks.clone(), lines };
            let served = mqtt::serve(mqtt, conformance, hub, config, shared, shutdown);
            async move {
                served.await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, config, shutdown) = (Arc::clone(&hub), Arc::clone(&config), shutdown.clone());
            let tasks = tasks.clone();
            async move {
                let served = console::serve(console, hub, config, tasks, shutdown).await;
                served.map_err(|error| format!("console: {error}"))
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
                fencing::run(hub, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                erasure::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                rest::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                reminders::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                live_logins::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                shared_rules::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                push::run(hub, wire::now, shutdown).await;
                Ok(())
            }
        });
        edges.spawn({
            let (hub, tasks, shutdown) = (Arc::clone(&hub), tasks.clone(), shutdown.clone());
            async move {
                control::serve(control, hub, tasks, shutdown).await;
                Ok(())
            }
        });
        if config.discovery.mdns {
            let (services, shutdown) = (discovery::services(&addresses), shutdown.clone());
            edges.spawn(async move {
                discovery::run(services, shutdown).await;
                Ok(())
            });
        }
        // It ends after the edges: the sessions of their clients move meanwhile.
        let bus_shutdown = CancellationToken::new();
        let mut bus = JoinSet::new();
        if hub.has_bus() {
            bus.spawn(cluster::run(Arc::clone(&hub), wire::now, bus_shutdown.clone()));
        }
        if config.backup.is_on() {
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            edges.spawn(async move {
                schedule::run(hub, shutdown).await;
                Ok(())
            });
        }

        edges.spawn({
            let (hub, shutdown) = (Arc::clone(&hub), shutdown.clone());
            async move {
                clock::watch(hub, shutdown).await;
                Ok(())
            }
        });
        edges.spawn(look_after(Arc::clone(&hub), seconds(config.server.check_interval_s), shutdown.clone()));

        // If an edge ends by itself, the hub would lack one of its protocols, so the whole hub stops and logs a line.
        // The signal is checked first, as it makes the edges end, too.
        let ended_early = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            ended = edges.join_next() => ended,
        };
        shutdown.cancel();
        tracing::info!("stopping");
        hub.close_connections();
        let all_ended = async {
            while edges.join_next().await.is_some() {}
            tasks.ended().await;
        };
        if tokio::time::timeout(seconds(config.server.shutdown_timeout_s), all_ended).await.is_err() {
            tracing::warn!("connections did not end in time and were cut");
            tasks.cut();
            edges.shutdown().await;
            tasks.ended().await;
        }
        let _ = std::fs::remove_file(config.server.control_socket());
        hub.hand_over_sessions().await;
        bus_shutdown.cancel();
        while let Some(ended) = bus.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of the bus has failed");
            }
        }
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

/// The paths of devices with stock firmware.
fn device_routes(devices: &Arc<xiaozhi::Devices>) -> OtherRoutes {
    let names = |claimed: &Claimed| xiaozhi::Names {
        device_id: claimed.device_id.clone(),
        client_id: claimed.client_id.clone(),
    };
    let sockets = xiaozhi::SOCKET_PATHS.map(|pattern| SocketRoute {
        pattern,
        protocols: &[],
        handler: Arc::new({
            let devices = Arc::clone(devices);
            move |socket: http::Socket| {
                let http::Socket { io, claimed, from, .. } = socket;
                Box::pin(Arc::clone(&devices).serve(io, names(&claimed), claimed.token, from))
            }
        }),
    });
    let checks = xiaozhi::CHECK_PATHS.map(|pattern| PostRoute {
        pattern,
        handler: Arc::new({
            let devices = Arc::clone(devices);
            move |post: http::Post| {
                let devices = Arc::clone(&devices);
                let http::Post { claimed, agent, host, is_encrypted, from } = post;
                let started = xiaozhi::Started { names: names(&claimed), agent, host, is_encrypted, from };
                Box::pin(async move {
                    let (status, body) = devices.check_in(started).await;
                    http::PostAnswer { status, body }
                })
            }
        }),
    });
    let activation = PostRoute {
        pattern: xiaozhi::ACTIVATE_PATH,
        handler: Arc::new({
            let devices = Arc::clone(devices);
            move |post: http::Post| {
                let (devices, names) = (Arc::clone(&devices), names(&post.claimed));
                Box::pin(async move {
                    let (status, body) = devices.activate(names).await;
                    http::PostAnswer { status, body }
                })
            }
        }),
    };
    let sounds = SoundRoute {
        pattern: xiaozhi::SOUND_PATH,
        content_type: "audio/ogg",
        handler: Arc::new({
            let devices = Arc::clone(devices);
            move |ticket: String| {
                let devices = Arc::clone(&devices);
                Box::pin(async move {
                    let xiaozhi::Sound { pieces, received } = devices.fetch(&ticket).await?;
                    Some(http::Sound { pieces, received })
                })
            }
        }),
    };
    let posts = checks.into_iter().chain([activation]).collect();
    OtherRoutes { sockets: sockets.into(), posts, sounds: vec![sounds] }
}

/// Checks the parts of the hub until `shutdown`, and reopens a database whose engine has stopped. Fails if a part has
/// failed that only a restart can recover.
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
            if let Err(lost) = hub.check_health().await {
                return Err(fault(&lost));
            }
        }
    };
    // Concurrently with the checks, as it takes as long as a start of the database.
    let mend = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if let Err(error) = hub.mend_store().await {
                tracing::error!(error = fault(&error), "the database could not be reopened yet");
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

fn fault(error: &crate::domain::error::DomainError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
