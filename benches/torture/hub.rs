//! The hub's program on a data folder: started, killed and started again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The timeout of a start.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// Lines of the log that are kept for the report.
const LOG_LINES_KEPT: usize = 60;

/// The settings of every run: ports of its own, and limits above the load of one machine.
const SETTINGS: [(&str, &str); 22] = [
    ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
    ("TOYHUB_HTTP__LEGACY_LISTEN", ""),
    ("TOYHUB_CONSOLE__LISTEN", ""),
    ("TOYHUB_MQTT__LISTEN", "127.0.0.1:0"),
    // Clocks jump by a year here: no token and no place may expire.
    ("TOYHUB_AUTH__MODE", "open"),
    ("TOYHUB_SERVER__LOG", "warn,surrealkv=debug"),
    ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "10000"),
    ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "20000"),
    ("TOYHUB_MQTT__FLAPPING_MAX", "1000000"),
    ("TOYHUB_MQTT__SESSION_MESSAGES_MAX", "1000000"),
    ("TOYHUB_MQTT__SESSION_BYTES_MAX", "1000000000"),
    ("TOYHUB_MQTT__SESSION_OVERFLOW", "drop_newest"),
    ("TOYHUB_WS__REQUESTS_PER_SECOND", "100000"),
    ("TOYHUB_ACCOUNTS__PASSWORD_MEMORY_KIB", "64"),
    ("TOYHUB_ACCOUNTS__PASSWORD_PASSES", "1"),
    ("TOYHUB_RATES__FAILED_LOGINS_PER_ADDRESS_PER_MINUTE", "1000000"),
    ("TOYHUB_RATES__FAILED_LOGINS_PER_ACCOUNT_PER_MINUTE", "1000000"),
    ("TOYHUB_RATES__REGISTRATIONS_PER_ADDRESS_PER_MINUTE", "1000000"),
    ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000000"),
    ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "1000000"),
    ("TOYHUB_AUDIO__QUEUE_MAX", "100000"),
    ("TOYHUB_HTTP__REQUEST_TIMEOUT_S", "60"),
];

/// The addresses of a running hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
}

/// The operations of the engine, by its own log.
#[derive(Debug, Default)]
pub struct EngineWork {
    pub rotations: AtomicU64,
    pub flushes: AtomicU64,
    pub compactions: AtomicU64,
}

impl EngineWork {
    fn note(&self, line: &str) {
        let counted = [
            ("rotate_memtable: completed rotation", &self.rotations),
            ("Created SST table_id", &self.flushes),
            ("Compaction finished output table", &self.compactions),
        ];
        for (text, counter) in counted {
            if line.contains(text) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub fn total(&self) -> u64 {
        [&self.rotations, &self.flushes, &self.compactions].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The program, its data folder and its settings.
pub struct Hub {
    program: PathBuf,
    /// The working folder; the data is in `data` of it, unless `data_dir` says otherwise.
    pub folder: PathBuf,
    pub data_dir: PathBuf,
    settings: Vec<(String, String)>,
    pub work: Arc<EngineWork>,
}

/// A hub that is ready.
pub struct Running {
    child: Child,
    pub addresses: Addresses,
    /// From the start of the process until it reports that it is ready.
    pub ready_after: Duration,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// The end of a failed start.
#[derive(Debug)]
pub struct Refusal {
    /// The exit code; none if a signal ended it, or if it did not end.
    pub code: Option<i32>,
    /// Its standard error, without the engine's lines.
    pub lines: Vec<String>,
}

impl Hub {
    pub fn new(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            data_dir: folder.join("data"),
            settings: SETTINGS.iter().chain(settings).map(owned).collect(),
            work: Arc::default(),
        }
    }

    /// Adds or replaces a variable of the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// From its next start on, the hub reads its clock through libfaketime, which leaves timers as they are.
    pub fn fake_clock(&mut self, faketime: &Path) {
        self.set("LD_PRELOAD", faketime.to_str().unwrap_or_default());
        for name in ["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"] {
            self.set(name, "1");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env("TOYHUB_SERVER__DATA_DIR", &self.data_dir);
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        command
    }

    /// The output of the program with these arguments.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.command(arguments).output().await?;
        if !ran.status.success() {
            bail!("toyhub {}: {}", arguments.join(" "), String::from_utf8_lossy(&ran.stderr));
        }
        Ok(String::from_utf8(ran.stdout)?)
    }

    /// Starts the program and waits until it is ready.
    pub async fn start(&self) -> Result<Running, Refusal> {
        let begun = Instant::now();
        let failed = |error: std::io::Error| Refusal { code: None, lines: vec![error.to_string()] };
        let mut serve = self.command(&["serve"]);
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let reading =
            child.stderr.take().map(|stderr| tokio::spawn(read_log(stderr, Arc::clone(&log), Arc::clone(&self.work))));
        let ready = async {
            let stdout = child.stdout.take()?;
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("toyhub ready") {
                    // Further output must not fill the pipe.
                    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                    return addresses(&line);
                }
            }
            None
        };
        match tokio::time::timeout(START_DEADLINE, ready).await {
            Ok(Some(addresses)) => Ok(Running { child, addresses, ready_after: begun.elapsed(), log }),
            Ok(None) => {
                let code = child.wait().await.ok().and_then(|status| status.code());
                if let Some(reading) = reading {
                    let _ = reading.await;
                }
                Err(Refusal { code, lines: kept(&log) })
            }
            Err(_) => {
                let _ = child.kill().await;
                let mut lines = kept(&log);
                lines.push(format!("not ready after {} s", START_DEADLINE.as_secs()));
                Err(Refusal { code: None, lines })
            }
        }
    }
}

impl Running {
    /// The memory that the process has in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Stops the process at once, as a loss of power does: it answers no request any more.
    pub fn freeze(&self) -> Result<()> {
        let pid = self.child.id().context("the hub has ended")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// SIGTERM; waits for the end and returns the exit code.
    pub async fn stop(mut self) -> Result<Option<i32>> {
        let pid = self.child.id().context("the hub has ended")?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(ended.context("the hub did not stop within a minute")??.code())
    }

    /// The last lines of its log.
    pub fn log(&self) -> Vec<String> {
        kept(&self.log)
    }
}

fn kept(log: &Mutex<VecDeque<String>>) -> Vec<String> {
    log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

async fn read_log(stderr: tokio::process::ChildStderr, log: Arc<Mutex<VecDeque<String>>>, work: Arc<EngineWork>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        work.note(&line);
        if line.contains("DEBUG") {
            continue;
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES_KEPT {
            log.pop_front();
        }
        log.push_back(line);
    }
}

fn addresses(ready: &str) -> Option<Addresses> {
    let address = |name: &str| ready.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok();
    Some(Addresses { http: address("http=")?, mqtt: address("mqtt=")? })
}
