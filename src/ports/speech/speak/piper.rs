//! Speech synthesis by Piper, in a process that stays alive.
//!
//! The process is a Python interpreter with the package `piper-tts`; the text of its program, `piper.py`, describes the
//! requests and answers. It is started for the first sentence, and speaks one sentence at a time. A process that ends,
//! takes too long or breaks the protocol is killed, and a new one is started in the background, after a pause that doubles
//! with each failure in a row. No sentence waits for it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

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

/// The time in which a process answers whose voice is loaded, before that for the text.
const LOADED_MIN: Duration = Duration::from_secs(3);
/// The time for a character until it was measured.
const PACE_AT_FIRST: Duration = Duration::from_millis(20);
/// The work for any sentence, in characters.
const WORK_MIN: usize = 20;

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
    /// How long a sentence may wait, and then how long it may take, the start of the process included. With a loaded
    /// voice, a sentence has less time, which depends on its length.
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
    places: Arc<Semaphore>,
    /// The turn to use the process.
    turn: Arc<Semaphore>,
    /// The sentence that is spoken: it is finished if its caller goes away.
    speaking: Mutex<JoinSet<()>>,
    /// Locked by the holder of the turn, to take the process or to put it back.
    resting: Arc<Mutex<Resting>>,
    /// The start of another process after a failure, if there is one.
    restart: Mutex<JoinSet<()>>,
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
    measured: Measured,
}

/// What is known of a process by its answers.
#[derive(Debug, Default)]
struct Measured {
    /// The voices in its memory, the last used one last.
    loaded: VecDeque<PathBuf>,
    /// The time that it takes for a character.
    pace: Option<Duration>,
}

impl Measured {
    /// How long a sentence may take. A process that was stopped or hangs is noticed soon, and a slow machine has the time
    /// that it needs.
    fn limit(&self, sentence: &Sentence<'_>, most: Duration) -> Duration {
        if !self.loaded.iter().any(|voice| voice == sentence.voice) {
            return most;
        }
        let usual = self.pace.unwrap_or(PACE_AT_FIRST).saturating_mul(sentence.work());
        (LOADED_MIN + usual.saturating_mul(2)).min(most)
    }

    /// Notes that a sentence was spoken, as `piper.py` notes its voice.
    fn note(&mut self, sentence: &Sentence<'_>, took: Duration, voices_max: usize) {
        let was_loaded = self.loaded.iter().any(|voice| voice == sentence.voice);
        // Loading a voice takes long, and says nothing about the next sentence.
        if was_loaded && !sentence.text.is_empty() {
            let now = took / sentence.work();
            // A slower pace counts at once. A faster one counts by and by: the machine may be busy again.
            self.pace = Some(self.pace.filter(|pace| *pace > now).map_or(now, |pace| pace - (pace - now) / 4));
        }
        self.loaded.retain(|voice| voice != sentence.voice);
        self.loaded.push_back(sentence.voice.to_owned());
        if self.loaded.len() > voices_max {
            self.loaded.pop_front();
        }
    }
}

/// A process, and its sound or the reason for which it refused the sentence.
type Spoken = Result<(Process, Result<Sound, String>), PiperError>;

/// What a process is asked for.
struct Sentence<'s> {
    voice: &'s Path,
    text: &'s str,
    length_scale: f32,
}

impl Sentence<'_> {
    /// The work for it, in characters.
    fn work(&self) -> u32 {
        u32::try_from(self.text.chars().count().saturating_add(WORK_MIN)).unwrap_or(u32::MAX)
    }
}

impl Piper {
    /// It starts no process yet.
    pub(super) fn new(settings: PiperSettings) -> Self {
        let places = Arc::new(Semaphore::new(settings.queue_max.clamp(1, Semaphore::MAX_PERMITS)));
        let turn = Arc::new(Semaphore::new(1));
        Self { settings, places, turn, speaking: Mutex::default(), resting: Arc::default(), restart: Mutex::default() }
    }

    /// Speaks a sentence with the voice of a file. A `length_scale` of 2 is half as fast as the voice's own pace. Without
    /// a text it only loads the voice, and the sound is empty.
    pub(super) async fn speak(&self, voice: &Path, text: &str, length_scale: f32) -> Result<Sound, PiperError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PiperError::Busy)?;
        let turn = timeout(self.settings.timeout, Arc::clone(&self.turn).acquire_owned()).await;
        let turn = turn.map_err(|_| PiperError::Busy)?.map_err(|_| PiperError::Busy)?;
        let process = self.take(voice)?;
        let (settings, resting) = (self.settings.clone(), Arc::clone(&self.resting));
        let (answer, outcome) = oneshot::channel();
        let sentence = (voice.to_owned(), text.to_owned());
        // A caller goes away when its device does. The answer to its request must not be taken for that to a later one, and
        // a new process loads its voice for a second.
        let speaking = async move {
            let sentence = Sentence { voice: &sentence.0, text: &sentence.1, length_scale };
            let spoken = match process {
                Some(process) => process.speak(&sentence, &settings).await,
                None => first_sentence(&sentence, &settings).await,
            };
            let spoken = match spoken {
                Ok((process, outcome)) => {
                    put_back(&resting, process);
                    Ok(outcome)
                }
                Err(error) => {
                    note_failure(&resting);
                    Err(error)
                }
            };
            drop((turn, place));
            let _caller_gone = answer.send(spoken);
        };
        self.speak_in_background(speaking);
        match outcome.await.map_err(|_| PiperError::Ended("the hub stops".into()))? {
            Ok(outcome) => outcome.map_err(PiperError::Refused),
            Err(error) => {
                self.start_again(voice);
                Err(error)
            }
        }
    }

    fn speak_in_background(&self, speaking: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(speaking);
    }

    /// The process between two sentences, for tests that kill it.
    #[cfg(test)]
    pub(super) fn resting_process_id(&self) -> Option<u32> {
        locked(&self.resting).process.as_ref()?.child.id()
    }

    /// The process; none if there was none yet. After a failure no sentence waits for another process.
    fn take(&self, voice: &Path) -> Result<Option<Process>, PiperError> {
        let mut resting = locked(&self.resting);
        match (resting.process.take(), resting.failures) {
            (None, 1..) => {
                drop(resting);
                self.start_again(voice);
                Err(PiperError::Pausing)
            }
            (process, _) => Ok(process),
        }
    }

    /// Starts another process behind the pause, in the background, and loads the voice, unless this is going on already.
    fn start_again(&self, voice: &Path) {
        let mut restart = self.restart.lock().unwrap_or_else(PoisonError::into_inner);
        while restart.try_join_next().is_some() {}
        if !restart.is_empty() {
            return;
        }
        let (settings, resting, voice) = (self.settings.clone(), Arc::clone(&self.resting), voice.to_owned());
        let starting = async move {
            let pauses_until = locked(&resting).pauses_until;
            if let Some(until) = pauses_until {
                sleep_until(until.into()).await;
            }
            match first_sentence(&Sentence { voice: &voice, text: "", length_scale: 1.0 }, &settings).await {
                Ok((process, _)) => put_back(&resting, process),
                Err(error) => {
                    tracing::warn!(%error, "Piper was not started again; espeak-ng speaks instead, see toyhub doctor");
                    note_failure(&resting);
                }
            }
        };
        restart.spawn(starting);
    }
}

fn locked(resting: &Mutex<Resting>) -> MutexGuard<'_, Resting> {
    resting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_back(resting: &Mutex<Resting>, process: Process) {
    *locked(resting) = Resting { process: Some(process), ..Resting::default() };
}

fn note_failure(resting: &Mutex<Resting>) {
    let mut resting = locked(resting);
    let pause = PAUSE_MIN.saturating_mul(1 << resting.failures.min(16)).min(PAUSE_MAX);
    resting.failures += 1;
    resting.pauses_until = Some(Instant::now() + pause);
}

/// Speaks a sentence by a new process.
async fn first_sentence(sentence: &Sentence<'_>, settings: &PiperSettings) -> Spoken {
    Process::start(settings)?.speak(sentence, settings).await
}

impl Process {
    fn start(settings: &PiperSettings) -> Result<Self, PiperError> {
        let program = settings.folder.join("venv/bin/python");
        let failed = |reason: io::Error| PiperError::Start { program: program.clone(), reason };
        let (threads, voices_max) = (settings.threads.max(1), settings.voices_max.max(1));
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
        tracing::info!(folder = %settings.folder.display(), "Piper was started");
        Ok(Self { child, requests, answers: BufReader::new(answers), measured: Measured::default() })
    }

    /// Itself with its answer, if it answers in time and still follows the protocol.
    async fn speak(mut self, sentence: &Sentence<'_>, settings: &PiperSettings) -> Spoken {
        let limit = self.measured.limit(sentence, settings.timeout);
        let start = Instant::now();
        let outcome = timeout(limit, self.ask(sentence)).await.map_err(|_| PiperError::TimedOut)??;
        if outcome.is_ok() {
            self.measured.note(sentence, start.elapsed(), settings.voices_max.max(1));
        }
        Ok((self, outcome))
    }

    async fn ask(&mut self, sentence: &Sentence<'_>) -> Result<Result<Sound, String>, PiperError> {
        let Sentence { voice, text, length_scale } = sentence;
        let request =
            serde_json::json!({ "voice": voice.to_string_lossy(), "text": text, "length_scale": length_scale });
        let written = self.requests.write_all(format!("{request}\n").as_bytes()).await;
        // A process that ends may still have told why.
        match (self.answer().await, written) {
            (Ok(outcome), Ok(())) => Ok(outcome),
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(PiperError::Ended(error.to_string())),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    fn sentence<'s>(voice: &'s str, text: &'s str) -> Sentence<'s> {
        Sentence { voice: Path::new(voice), text, length_scale: 1.0 }
    }

    #[test]
    fn a_sentence_with_a_loaded_voice_has_time_in_proportion_to_its_length() {
        let long = "a".repeat(80);
        let (short, long) = (sentence("en", "a bear"), sentence("en", &long));
        let mut measured = Measured::default();
        assert_eq!(measured.limit(&short, MOST), MOST, "the voice has to be loaded");
        measured.note(&short, Duration::from_secs(9), 2);
        assert!(measured.limit(&short, MOST) < Duration::from_secs(5), "loading is no measure");
        assert!(measured.limit(&long, MOST) > measured.limit(&short, MOST));

        // A slow machine: 50 ms for a character.
        measured.note(&long, Duration::from_secs(5), 2);
        assert_eq!(measured.limit(&long, MOST), MOST, "3 s and twice 5 s are more than the limit");
        assert_eq!(measured.limit(&sentence("en", ""), MOST), Duration::from_secs(5));
        for _ in 0..20 {
            measured.note(&long, Duration::from_secs(1), 2);
        }
        assert!(measured.limit(&long, MOST) < Duration::from_millis(5_200), "it was busy for a while");

        // A voice that the process has dropped is loaded again.
        for voice in ["de", "zh"] {
            measured.note(&sentence(voice, ""), Duration::from_secs(1), 2);
        }
        assert_eq!(measured.limit(&short, MOST), MOST);
        assert!(measured.limit(&sentence("de", ""), MOST) < MOST);
    }
}
