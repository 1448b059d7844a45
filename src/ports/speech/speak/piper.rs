//! Speech synthesis by Piper, in a process that stays alive.
//!
//! The process is a Python interpreter with the package `piper-tts`; the text of its program, `piper.py`, describes the
//! requests and answers. It is started for the first sentence, and speaks one sentence at a time. A process that ends,
//! takes too long or breaks the protocol is killed, and a new one is started for a later sentence, after a pause that
//! doubles with each failure in a row.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::ports::audio::Sound;

/// The program of the process.
const PROGRAM: &str = include_str!("piper.py");

/// The maximum length of the first line of an answer, in bytes.
const HEAD_MAX: u64 = 256;
/// The sample rates of voices, in Hz.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=48_000;
/// The maximum duration of one sentence, in seconds.
const SENTENCE_MAX_S: usize = 120;
const BYTES_PER_SAMPLE: usize = 2;

/// The pause after the first failure, which doubles with each one after it, …
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The settings and limits of Piper.
#[derive(Debug, Clone)]
pub struct PiperSettings {
    /// The folder of Piper: `venv` with the interpreter, `voices` with the voices.
    pub folder: PathBuf,
    /// The threads of one sentence.
    pub threads: usize,
    /// The number of voices in memory.
    pub voices_max: usize,
    /// The number of sentences that wait or are spoken.
    pub queue_max: usize,
    /// How long a sentence may wait, and then how long it may take, the start of the process included.
    pub timeout: Duration,
}

/// Why Piper has not spoken a sentence. It contains no part of the text.
#[derive(Debug, thiserror::Error)]
pub enum PiperError {
    /// The process could not be started.
    #[error("{} cannot be started: {reason}", program.display())]
    Start {
        /// The interpreter.
        program: PathBuf,
        /// The fault.
        reason: io::Error,
    },
    /// The process has ended.
    #[error("the process has ended: {0}")]
    Ended(String),
    /// The process broke the protocol.
    #[error("the process sent an unreadable answer")]
    Garbage,
    /// The process took too long and was killed.
    #[error("the process took too long")]
    TimedOut,
    /// This sentence or voice is refused; the process goes on.
    #[error("{0}")]
    Refused(String),
    /// Too many sentences wait.
    #[error("too many sentences wait")]
    Busy,
    /// The process is not started again yet, after a failure.
    #[error("it is not started again yet, after a failure")]
    Pausing,
}

/// The process and the queue before it.
#[derive(Debug)]
pub(super) struct Piper {
    settings: PiperSettings,
    /// The places of sentences that wait or are spoken.
    places: Semaphore,
    /// The turn to use the process.
    turn: Semaphore,
    /// Locked by the holder of the turn, to take the process or to put it back.
    resting: Mutex<Resting>,
}

/// The process between two sentences.
#[derive(Debug, Default)]
struct Resting {
    process: Option<Process>,
    /// The failures since the last answer.
    failures: u32,
    pauses_until: Option<Instant>,
}

/// Killed when it is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Piper {
    /// It starts no process yet.
    pub(super) fn new(settings: PiperSettings) -> Self {
        let places = Semaphore::new(settings.queue_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { settings, places, turn: Semaphore::new(1), resting: Mutex::default() }
    }

    /// Speaks a sentence with the voice of a file. A `length_scale` of 2 is half as fast as the voice's own pace. Without
    /// a text it only loads the voice, and the sound is empty.
    pub(super) async fn speak(&self, voice: &Path, text: &str, length_scale: f32) -> Result<Sound, PiperError> {
        let _place = self.places.try_acquire().map_err(|_| PiperError::Busy)?;
        let turn = timeout(self.settings.timeout, self.turn.acquire()).await;
        let _turn = turn.map_err(|_| PiperError::Busy)?.map_err(|_| PiperError::Busy)?;
        let process = self.take()?;
        let request =
            serde_json::json!({ "voice": voice.to_string_lossy(), "text": text, "length_scale": length_scale });
        // A caller that goes away drops the process: its answer to this request must not be taken for a later one.
        match timeout(self.settings.timeout, self.ask(process, &request.to_string())).await {
            Ok(Ok((process, outcome))) => {
                self.put_back(process);
                outcome.map_err(PiperError::Refused)
            }
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.failed(PiperError::TimedOut)),
        }
    }

    /// The process between two sentences, for tests that kill it.
    #[cfg(test)]
    pub(super) fn resting_process_id(&self) -> Option<u32> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).process.as_ref()?.child.id()
    }

    fn take(&self) -> Result<Option<Process>, PiperError> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match resting.pauses_until {
            Some(until) if Instant::now() < until => Err(PiperError::Pausing),
            _ => Ok(resting.process.take()),
        }
    }

    fn put_back(&self, process: Process) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        *resting = Resting { process: Some(process), ..Resting::default() };
    }

    fn failed(&self, error: PiperError) -> PiperError {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = PAUSE_MIN.saturating_mul(1 << resting.failures.min(16)).min(PAUSE_MAX);
        resting.failures += 1;
        resting.pauses_until = Some(Instant::now() + pause);
        error
    }

    /// The process with its answer, if it still follows the protocol.
    async fn ask(
        &self,
        process: Option<Process>,
        request: &str,
    ) -> Result<(Process, Result<Sound, String>), PiperError> {
        let mut process = match process {
            Some(process) => process,
            None => self.start()?,
        };
        let written = process.requests.write_all(format!("{request}\n").as_bytes()).await;
        // A process that ends may still have told why.
        let outcome = match (process.answer().await, written) {
            (Ok(outcome), Ok(())) => outcome,
            (Err(error), _) => return Err(error),
            (Ok(_), Err(error)) => return Err(PiperError::Ended(error.to_string())),
        };
        Ok((process, outcome))
    }

    fn start(&self) -> Result<Process, PiperError> {
        let program = self.settings.folder.join("venv/bin/python");
        let failed = |reason: io::Error| PiperError::Start { program: program.clone(), reason };
        let (threads, voices_max) = (self.settings.threads.max(1), self.settings.voices_max.max(1));
        let mut command = Command::new(&program);
        command
            .args(["-I", "-c", PROGRAM, &threads.to_string(), &voices_max.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal is for the hub; without it, this process reads the end of its input and ends.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("its input or output is missing")));
        };
        tracing::info!(folder = %self.settings.folder.display(), "Piper was started");
        Ok(Process { child, requests, answers: BufReader::new(answers) })
    }
}

impl Process {
    /// The sound, or why this request was refused.
    async fn answer(&mut self) -> Result<Result<Sound, String>, PiperError> {
        let mut head = Vec::new();
        let read = (&mut self.answers).take(HEAD_MAX).read_until(b'\n', &mut head).await;
        if !matches!(read, Ok(bytes) if bytes > 0) {
            return Err(self.ended());
        }
        let head = std::str::from_utf8(&head).ok().and_then(|head| head.strip_suffix('\n'));
        match head.and_then(|head| head.split_once(' ')).ok_or(PiperError::Garbage)? {
            ("error", reason) => Ok(Err(reason.to_owned())),
            ("fatal", reason) => Err(PiperError::Ended(reason.to_owned())),
            ("ok", numbers) => {
                let numbers = numbers.split_once(' ');
                let numbers = numbers.and_then(|(rate, bytes)| Some((rate.parse().ok()?, bytes.parse().ok()?)));
                let (rate_hz, bytes): (u32, usize) = numbers.ok_or(PiperError::Garbage)?;
                let bytes_max = SENTENCE_MAX_S * rate_hz as usize * BYTES_PER_SAMPLE;
                if !RATES_HZ.contains(&rate_hz) || bytes % BYTES_PER_SAMPLE != 0 || bytes > bytes_max {
                    return Err(PiperError::Garbage);
                }
                Ok(Ok(self.sound(rate_hz, bytes).await?))
            }
            _ => Err(PiperError::Garbage),
        }
    }

    async fn sound(&mut self, rate_hz: u32, bytes: usize) -> Result<Sound, PiperError> {
        let mut samples = vec![0; bytes];
        if self.answers.read_exact(&mut samples).await.is_err() {
            return Err(self.ended());
        }
        if !self.answers.buffer().is_empty() {
            return Err(PiperError::Garbage);
        }
        let sample = |pair: &[u8; BYTES_PER_SAMPLE]| f32::from(i16::from_le_bytes(*pair)) / 32_768.0;
        Ok(Sound { rate_hz, samples: samples.as_chunks().0.iter().map(sample).collect() })
    }

    fn ended(&mut self) -> PiperError {
        PiperError::Ended(match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "it closed its output".into(),
        })
    }
}
