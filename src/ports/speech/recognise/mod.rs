//! Speech recognition by whisper.cpp, in this process.
//!
//! A recording passes a gate that rejects silence, noise and music, then one of a few workers, each a thread with its
//! own state of the one model. Before the workers there is a bounded queue, in which the senders take turns. Words with
//! a low probability are rejected. The recognised text is never logged.

mod closest;
mod engine;
mod gate;
mod model;
mod queue;
mod shape;
mod stop;
mod tensors;
#[cfg(test)]
mod tests;
mod transcript;
mod waiting;

use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};
use whisper_rs::{WhisperContext, WhisperContextParameters};

use crate::ports::audio::Sound;
use crate::ports::metrics::METRICS;
pub use closest::ComparisonLimits;
use engine::{Engine, Model};
use model::CheckedModel;
pub use model::{ModelDescription, ModelError, ModelKind};
use queue::FairQueue;
use stop::Stop;
pub use transcript::{Expectation, NoTranscript, RecogniseError, Seconds, Transcript};
pub use waiting::{let_threads_sleep, threads_sleep};

/// The stack of a worker; whisper.cpp's regular expressions recurse.
const STACK_BYTES: usize = 8 << 20;

/// By how much the priority of a worker is lower than that of the threads for messages, as by nice(1). Messages come
/// first, and beside busy processes of other programs recognition still gets a tenth of a processor.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The settings and limits of recognition.
#[derive(Debug, Clone)]
pub struct RecogniserSettings {
    /// The model file, in ggml's format.
    pub model: PathBuf,
    /// The SHA-256 that the file must have, in hex; without it, only official models are checked.
    pub sha256: Option<String>,
    /// The languages to choose from, such as `en`; none for all of Whisper's. Unused by English models.
    pub languages: Vec<String>,
    /// The number of recordings that are recognised at once.
    pub workers: usize,
    /// The number of threads for each of them.
    pub threads: usize,
    /// The maximum number of waiting recordings.
    pub queue_max: usize,
    /// How long a recording may wait.
    pub wait_limit: Duration,
    /// How long the recognition of one may take.
    pub time_limit: Duration,
    /// The limits of a comparison with known sentences.
    pub comparison: ComparisonLimits,
    /// The longest recording, in seconds.
    pub max_seconds: u32,
}

/// A model, and the threads that use it.
#[derive(Debug)]
pub struct Recogniser {
    description: ModelDescription,
    settings: RecogniserSettings,
    queue: Arc<FairQueue<Job>>,
    closing: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// A recording in the queue.
struct Job {
    sound: Sound,
    expectation: Option<Expectation>,
    submitted: Instant,
    abandoned: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Transcript, RecogniseError>>,
}

// Written by hand: a voice must not get into a log.
impl std::fmt::Debug for Job {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Job").field("submitted", &self.submitted).finish_non_exhaustive()
    }
}

/// The receiver of the answer; if it is dropped, the worker stops.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Recogniser {
    /// Checks and loads the model, and starts the workers. Blocks, for seconds if the model is large.
    ///
    /// # Errors
    /// Every variant of [`ModelError`].
    pub fn load(settings: RecogniserSettings) -> Result<Self, ModelError> {
        whisper_rs::install_logging_hooks();
        check_processor()?;
        let started = Instant::now();
        debug!(path = %settings.model.display(), "checking the speech model");
        let CheckedModel { description, file } = model::check(&settings.model, settings.sha256.as_deref())?;
        let languages = languages(&settings.languages, description.multilingual)?;

        debug!(model = %description, "loading the speech model");
        // Not by its name, which may refer to another file by now.
        let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let path: &Path = if open.exists() { &open } else { &settings.model };
        let context = WhisperContext::new_with_params(path, WhisperContextParameters::default())
            .map_err(|error| ModelError::Refused(error.to_string()))?;
        let threads = settings.threads.max(1);
        if threads > 1 && !threads_sleep() {
            warn!(
                threads,
                "the threads of a recognition do not sleep while they wait: beside busy processes it takes long"
            );
        }
        let parts = closest::Parts::of(&context);
        let model = Arc::new(Model {
            parts,
            context,
            languages: languages.into_iter().map(|code| (code, Model::params(code, threads))).collect(),
            prefers_first: !settings.languages.is_empty(),
            audio_positions: description.audio_positions as usize,
            threads,
            comparison: settings.comparison,
        });
        let mut recogniser = Self {
            description,
            queue: Arc::new(FairQueue::new(settings.queue_max)),
            closing: Arc::default(),
            workers: Vec::new(),
            settings,
        };
        for _ in 0..recogniser.settings.workers.max(1) {
            recogniser.start_worker(&model)?;
        }
        let (model, seconds) = (&recogniser.description, started.elapsed().as_secs_f32());
        info!(%model, threads, seconds, "speech recognition is ready");
        Ok(recogniser)
    }

    fn start_worker(&mut self, model: &Arc<Model>) -> Result<(), ModelError> {
        let refused = |error: &dyn std::fmt::Display| ModelError::Refused(error.to_string());
        let engine = Engine::new(Arc::clone(model)).map_err(|error| refused(&error))?;
        let worker = Worker {
            model: Arc::clone(model),
            engine: Some(engine),
            queue: Arc::clone(&self.queue),
            closing: Arc::clone(&self.closing),
            wait_limit: self.settings.wait_limit,
            time_limit: self.settings.time_limit,
        };
        let thread = std::thread::Builder::new().name("recognise".into()).stack_size(STACK_BYTES);
        self.workers.push(thread.spawn(move || worker.run()).map_err(|error| refused(&error))?);
        Ok(())
    }

    /// The description of the model.
    pub fn describe(&self) -> &ModelDescription {
        &self.description
    }

    /// Checks a model file without loading it.
    ///
    /// # Errors
    /// Those of [`ModelError`] that concern the file.
    pub fn inspect(path: &Path, sha256: Option<&str>) -> Result<ModelDescription, ModelError> {
        model::check(path, sha256).map(|checked| checked.description)
    }

    /// Recognises a recording. Senders, identified by `sender`, take turns.
    ///
    /// # Errors
    /// Every variant of [`RecogniseError`].
    pub async fn recognise(&self, sender: &str, sound: Sound) -> Result<Transcript, RecogniseError> {
        self.recognise_expecting(sender, sound, None).await
    }

    /// Recognises a recording, and compares it with the sentences of a grammar if the `expectation` gives one for its words.
    ///
    /// # Errors
    /// Every variant of [`RecogniseError`].
    pub async fn recognise_expecting(
        &self,
        sender: &str,
        sound: Sound,
        expectation: Option<Expectation>,
    ) -> Result<Transcript, RecogniseError> {
        let max_seconds = self.settings.max_seconds;
        if sound.samples.len() as u64 > u64::from(max_seconds) * u64::from(sound.rate_hz) {
            return Err(RecogniseError::TooLong { max_seconds });
        }
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting(Arc::default());
        let abandoned = Arc::clone(&waiting.0);
        let job = Job { sound, expectation, submitted: Instant::now(), abandoned, answer };
        if let Some(displaced) = self.queue.push(sender, job) {
            // This may be a job of another sender with several jobs; each waits for its own answer.
            let _ = displaced.answer.send(Err(RecogniseError::Busy));
        }
        match timeout(self.settings.wait_limit + self.settings.time_limit, outcome).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(_)) => Err(RecogniseError::Failed("recognition is stopping".into())),
            Err(_) => Err(RecogniseError::TimedOut),
        }
    }
}

/// Stops recognition and waits for the threads, at most for one pass of the model.
impl Drop for Recogniser {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.queue.close();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

struct Worker {
    model: Arc<Model>,
    engine: Option<Engine>,
    queue: Arc<FairQueue<Job>>,
    closing: Arc<AtomicBool>,
    wait_limit: Duration,
    time_limit: Duration,
}

impl Worker {
    fn run(mut self) {
        lower_priority();
        while let Some((sender, Job { sound, expectation, submitted, abandoned, answer })) = self.queue.next() {
            let waited = submitted.elapsed();
            let outcome = if waited > self.wait_limit {
                Err(RecogniseError::Busy)
            } else {
                let deadline = Instant::now() + self.time_limit;
                let stop = Stop { deadline, abandoned, closing: Arc::clone(&self.closing) };
                self.work(&sound, expectation, &stop).map(|mut heard| {
                    heard.seconds.waiting = waited;
                    heard
                })
            };
            self.queue.done(&sender);
            // The caller may be gone.
            let _ = answer.send(outcome);
        }
    }

    fn work(
        &mut self,
        sound: &Sound,
        expectation: Option<Expectation>,
        stop: &Stop,
    ) -> Result<Transcript, RecogniseError> {
        if stop.reached() {
            return Err(RecogniseError::TimedOut);
        }
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => Engine::new(Arc::clone(&self.model)).map_err(|error| RecogniseError::Failed(error.to_string()))?,
        };
        let recognised = || METRICS.recognise.time(|| engine.recognise(sound, expectation, stop));
        let outcome = catch_unwind(AssertUnwindSafe(recognised))
            .unwrap_or_else(|_| Err(RecogniseError::Failed("it panicked".into())));
        // After a failure the next recording gets a new state.
        match &outcome {
            Err(RecogniseError::Failed(reason)) => error!(reason, "speech recognition failed"),
            _ => self.engine = Some(engine),
        }
        outcome
    }
}

/// Lowers the priority of this thread, and of those that it starts. On other systems than Linux that of the whole
/// process would be lowered.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        let lowered = rustix::process::getpriority_process(None)
            .and_then(|nice| rustix::process::setpriority_process(None, nice + NICE));
        if let Err(error) = lowered {
            debug!(%error, "the priority of speech recognition stays as it is");
        }
    }
}

/// The languages, as whisper.cpp's codes.
fn languages(wanted: &[String], multilingual: bool) -> Result<Vec<&'static str>, ModelError> {
    if !multilingual {
        return Ok(vec!["en"]);
    }
    if wanted.is_empty() {
        return Ok((0..=whisper_rs::get_lang_max_id()).filter_map(whisper_rs::get_lang_str).collect());
    }
    let known = |code: &String| {
        let plain = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase());
        let id = plain.then(|| whisper_rs::get_lang_id(code)).flatten();
        id.and_then(whisper_rs::get_lang_str).ok_or_else(|| ModelError::Language(code.clone()))
    };
    wanted.iter().map(known).collect()
}

/// whisper.cpp is built for these, and ends the process on a processor without them.
fn check_processor() -> Result<(), ModelError> {
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("F16C", std::is_x86_feature_detected!("f16c")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
    ] {
        if !there {
            return Err(ModelError::Processor(name));
        }
    }
    Ok(())
}
