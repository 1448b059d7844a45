//! The hub as a service of the system: its log, signals, exit codes, and notifications of systemd.
//!
//! SIGTERM and SIGINT stop the hub cleanly, a second one at once. SIGHUP reloads the certificates and `[server] log`;
//! all other keys need a restart.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, ConfigError};
use crate::edge::console::tail::{self, TAIL};
use crate::edge::control::{self, Report};
use crate::edge::{label, net};
use crate::server::{Server, StartError};
use crate::systemd;

/// The help text on signals and exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; the hub has stopped in order, after SIGTERM or SIGINT; \"doctor\" has found all well or mended it
  1  the command failed, or the hub could not start
  2  wrong arguments
  3  the hub was stopped at once by a second SIGTERM or SIGINT
  4  the hub stopped because an essential part of it failed
  5  \"doctor\" has found faults, or the lack of something that the hub needs
  6  \"doctor\" has found nothing but losses, which only a backup brings back

Signals of \"toyhub serve\":
  SIGTERM, SIGINT  stop in order; a second one, 0.2 seconds later or more, stops at once
  SIGHUP           read the certificates and [server] log again";

/// `timeout` and some shells send one signal to the process and again to its group, microseconds apart.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
/// The exit code of a hub that a second signal has stopped.
const STOPPED_AT_ONCE: i32 = 3;

/// Why the program ends without success. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command failed, or the hub could not start.
    #[error("{0}")]
    Command(String),
    /// The value of a key of the configuration cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The output cannot be written.
    #[error("the output cannot be written ({0})")]
    Output(#[source] io::Error),
    /// The hub ran, and an essential part of it failed.
    #[error("{0}")]
    Essential(String),
    /// The doctor has found faults that were not repaired.
    #[error("{0}")]
    Faults(String),
    /// The doctor has found losses only.
    #[error("{0}")]
    Losses(String),
}

impl Failure {
    /// The error, with the name of the configuration file before the name of a key.
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::Setting(message) => Self::Setting(format!("{}: {message}", path.display())),
            other => other,
        }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command(_) | Self::Setting(_) | Self::Output(_) => 1,
            Self::Essential(_) => 4,
            Self::Faults(_) => 5,
            Self::Losses(_) => 6,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Command(message)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Setting(message) => Self::Setting(message),
            StartError::Part(message) => Self::Command(message),
        }
    }
}

/// Runs the hub until a signal stops it. `reread` reads the configuration again; `show` gets the steps of a start that
/// takes long, as after an update.
pub async fn serve(
    config: Config,
    reread: impl Fn() -> Result<Config, ConfigError>,
    show: impl FnMut(Report),
) -> Result<(), Failure> {
    // The engine's own log is off: damage of its files is reported once, by the line that ends the start.
    parse(&config.server.log)?;
    TAIL.keep(config.console.log_lines_max);
    let log = Log::start(&format!("{},surrealdb=off,surrealkv=off", config.server.log))?;
    let (hang_up, shutdown) = (listen(SignalKind::hangup())?, CancellationToken::new());
    let stop = stop_on_signal(listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, shutdown.clone());
    // Not ended with the hub, as the second signal must end a process that still waits for something.
    tokio::spawn(stop);
    let (progress, reports) = control::channel();
    let of_start = config.clone();
    let starting = async move { Server::start(of_start, &progress).await };
    let (started, ()) = tokio::join!(starting, control::show_all(reports, show));
    let mut server = started?;
    log.change(&config.server.log)?;
    if let Some(password) = server.new_operator_password() {
        // Not a line of the log. It is shown here, and nowhere again.
        let shown = writeln!(io::stdout(), "toyhub console: the operator's password is {}", password.reveal());
        if let Err(error) = shown {
            tracing::warn!(%error, "the password of the console could not be shown, the next start makes another one");
            server.forget_operator_password().await;
        }
    }
    // A hub without a writable standard output works all the same.
    let addresses = server.addresses();
    if let Err(error) = writeln!(io::stdout(), "toyhub ready {addresses}") {
        tracing::warn!(%error, addresses, "the hub is ready; the standard output cannot be written to");
    }
    systemd::ready().await;
    let (is_alive, certificates) = (server.pulse(), server.certificates());
    tokio::select! {
        ended = server.run(shutdown) => ended.map_err(Failure::Essential),
        never = reload_on_signal(hang_up, config, reread, log, certificates) => match never {},
        never = report_life(is_alive) => match never {},
    }
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen to signals: {error}"))
}

async fn stop_on_signal(mut interrupt: Signal, mut terminate: Signal, shutdown: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    next().await;
    shutdown.cancel();
    tokio::join!(systemd::stopping(), async {
        let repeats = async {
            loop {
                next().await;
            }
        };
        let _ = tokio::time::timeout(SAME_SIGNAL, repeats).await;
        next().await;
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(STOPPED_AT_ONCE);
    });
}

async fn reload_on_signal(
    mut hang_up: Signal,
    mut config: Config,
    reread: impl Fn() -> Result<Config, ConfigError>,
    log: Log,
    certificates: Vec<net::Reloads>,
) -> Infallible {
    loop {
        if hang_up.recv().await.is_none() {
            // There are no further signals.
            return pending().await;
        }
        systemd::reloading().await;
        for certificates in &certificates {
            certificates.now().await;
        }
        match reread() {
            Ok(new) => match log.change(&new.server.log) {
                Ok(()) => {
                    let needs_restart = config.differs_beside_log(&new);
                    config.server.log = new.server.log;
                    tracing::info!(log = config.server.log, needs_restart, "configuration reloaded");
                }
                Err(fault) => tracing::error!(%fault, "the log filter was not changed"),
            },
            Err(fault) => tracing::error!(%fault, "the log filter was not changed, the configuration has faults"),
        }
        systemd::ready().await;
    }
}

/// Notifies systemd's watchdog as long as the hub works.
async fn report_life(is_alive: impl Fn() -> bool) -> Infallible {
    let Some(period) = systemd::watchdog_interval() else { return pending().await };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if is_alive() {
            systemd::alive().await;
        }
    }
}

/// The log of the process, whose filter can be changed.
struct Log {
    change: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl Log {
    fn start(filter: &str) -> Result<Self, String> {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(parse(filter)?)
            .with_ansi(colours)
            // Errors of the log would be written to the standard error, which may be the stream that failed, and cause
            // a panic.
            .log_internal_errors(false)
            .event_format(Line)
            .with_writer(std::io::stderr.and(tail::writer))
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        subscriber.finish().with(filter_fn(is_without_contents)).init();
        Ok(Self { change: Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())) })
    }

    fn change(&self, filter: &str) -> Result<(), String> {
        (self.change)(parse(filter)?)
    }
}

/// A line of the log: time, level, the connection that the task works for, module, text and fields.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (faint, plain, colour) = match (to.has_ansi_escapes(), *event.metadata().level()) {
            (false, _) => ("", "", ""),
            (true, Level::ERROR) => ("\x1b[2m", "\x1b[0m", "\x1b[31m"),
            (true, Level::WARN) => ("\x1b[2m", "\x1b[0m", "\x1b[33m"),
            (true, Level::INFO) => ("\x1b[2m", "\x1b[0m", "\x1b[32m"),
            (true, Level::DEBUG) => ("\x1b[2m", "\x1b[0m", "\x1b[34m"),
            (true, Level::TRACE) => ("\x1b[2m", "\x1b[0m", "\x1b[35m"),
        };
        to.write_str(faint)?;
        SystemTime.format_time(&mut to)?;
        write!(to, "{plain} {colour}{:>5}{plain} ", event.metadata().level())?;
        // A line with `parent: None` stands outside any connection: it sums several up, or says less of an address.
        if !event.is_root() {
            label::write_current(&mut to)?;
        }
        write!(to, "{faint}{}:{plain} ", event.metadata().target())?;
        context.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

/// Whether a line may be in the log, whatever `server.log` says. Libraries print messages, statements and their values at
/// the lowest levels, with passwords, tokens and names; the hub's own lines have none.
fn is_without_contents(line: &Metadata<'_>) -> bool {
    let target = line.target();
    let max = if target.starts_with(env!("CARGO_CRATE_NAME")) {
        Level::TRACE
    } else if target.starts_with("surreal") {
        Level::INFO
    } else {
        Level::DEBUG
    };
    *line.level() <= max
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("server.log: {error}; write levels such as \"info,surrealdb=warn\""))
}
