//! Speech synthesis: by [Piper](piper), where it has a voice for the language, otherwise by `espeak-ng` or another program.
//!
//! A text is spoken in sentences, so that the first one can be heard while the next one is made ([`Speaker::sentences`]).
//! If Piper fails, `espeak-ng` speaks that sentence and the rest of the text. Programs read the text from their standard
//! input; there is no shell in between. Chinese is passed to `espeak-ng` in pinyin, for its pinyin voice, as its voice for
//! characters spells many of them in English.

mod piper;
mod program;
#[cfg(test)]
mod tests;
mod text;
mod voices;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::ports::audio::{self, AudioError, DecodeLimits, Sound};
use piper::Piper;
pub use piper::{PiperError, PiperSettings};
use text::{parts, pinyin, plain, sentences};
use voices::Voices;

/// The voice of `espeak-ng` for pinyin with numbered tones.
const PINYIN_VOICE: &str = "cmn-latn-pinyin";

/// The language whose voices of Piper read Chinese characters, …
const CHINESE: &str = "zh";
/// … and the one for other letters in such a text.
const BESIDE_CHINESE: &str = "en";

/// The maximum duration of an answer, in seconds.
const MAX_SPEECH_S: u32 = 600;

/// The pace of voices of Piper, about, in words per minute.
const PIPER_WORDS_PER_MINUTE: f32 = 165.0;

/// The settings of the engines.
#[derive(Debug, Clone)]
pub struct SpeakerSettings {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, in which `{voice}` and `{words_per_minute}` are replaced; none for those of `espeak-ng`. A program
    /// with arguments speaks everything, and Piper nothing.
    pub arguments: Vec<String>,
    /// Piper, where it is installed.
    pub piper: Option<PiperSettings>,
    /// The pace, in words per minute.
    pub words_per_minute: u32,
    /// How long a text may wait for its turn, and then how long its synthesis by a program may take.
    pub timeout: Duration,
    /// The CPU time that reading the output of a program may take.
    pub output_cpu_max: Duration,
    /// A text is cut after this many characters.
    pub max_text_chars: usize,
    /// The number of programs that run at the same time.
    pub max_parallel: usize,
}

/// A voice and its pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice<'v> {
    /// A voice of Piper, such as `de_DE-thorsten-medium`; a language, such as `de`, for its first voice of Piper, or
    /// without one for that of `espeak-ng`; or a voice of the program.
    pub name: &'v str,
    /// The voice of `espeak-ng` that speaks if there is no voice of this name: that of the language.
    pub instead: &'v str,
    /// Its pace, in percent of that of the settings.
    pub speed_percent: u16,
}

impl<'v> From<&'v str> for Voice<'v> {
    fn from(name: &'v str) -> Self {
        Self { name, instead: voices::language_of(name).unwrap_or(name), speed_percent: 100 }
    }
}

/// Why a text could not be synthesised.
#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    /// The program is not installed.
    #[error("the speech synthesis program {} was not found", .0.display())]
    Missing(PathBuf),
    /// The program could not be run or ended with an error.
    #[error("the speech synthesis program failed: {0}")]
    Failed(String),
    /// The program took too long and was stopped.
    #[error("the speech synthesis program took too long")]
    TimedOut,
    /// Too many texts are waiting for synthesis.
    #[error("too many texts wait for speech synthesis")]
    Busy,
    /// The program's sound could not be read, or the text has no words.
    #[error(transparent)]
    Audio(#[from] AudioError),
}

/// The engines; a few texts at a time.
#[derive(Debug)]
pub struct Speaker {
    settings: SpeakerSettings,
    turns: Semaphore,
    piper: Option<Piper>,
    voices: Voices,
    /// A voice of `espeak-ng` that is not installed is logged once.
    missing_logged: Once,
}

/// A part of a text, with its engine.
#[derive(Debug)]
struct Part {
    text: String,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    /// A voice of Piper, by its file, and the voice of `espeak-ng` that replaces it.
    Piper {
        file: PathBuf,
        espeak: String,
    },
    /// A voice of `espeak-ng`, and the one that replaces it if it is not installed.
    Espeak {
        voice: String,
        instead: String,
    },
    Other {
        voice: String,
    },
}

impl Speaker {
    /// Engines with these settings. It reads the folder of voices, and starts no process yet.
    pub fn new(settings: SpeakerSettings) -> Self {
        let turns = Semaphore::new(settings.max_parallel.clamp(1, Semaphore::MAX_PERMITS));
        let piper = settings.piper.clone().filter(|_| settings.arguments.is_empty());
        let voices = piper.as_ref().map(|piper| Voices::of_folder(&piper.folder)).unwrap_or_default();
        Self { settings, turns, piper: piper.map(Piper::new), voices, missing_logged: Once::new() }
    }

    /// Synthesises the text as one sound. Markup and control characters in it have no effect.
    ///
    /// # Errors
    /// Every variant of [`SpeakError`]; a text without any words is [`AudioError::Empty`].
    pub async fn speak(&self, text: &str, voice: impl Into<Voice<'_>>) -> Result<Sound, SpeakError> {
        let mut sentences = self.sentences(text, voice);
        let mut whole: Option<Sound> = None;
        while let Some(sentence) = sentences.next().await {
            let sentence = sentence?;
            match &mut whole {
                None => whole = Some(sentence),
                Some(whole) => whole.samples.extend(audio::resample(&sentence, whole.rate_hz)?.samples),
            }
        }
        Ok(whole.ok_or(AudioError::Empty)?)
    }

    /// The text as sounds, one after the other, so that the first one can be played while the next one is made. Another
    /// program than Piper speaks all of a text, or all of it in one script, as one sound.
    pub fn sentences<'v>(&self, text: &str, voice: impl Into<Voice<'v>>) -> Sentences<'_> {
        let voice = voice.into();
        let words_per_minute = self.settings.words_per_minute.saturating_mul(voice.speed_percent.into()) / 100;
        let words_per_minute = words_per_minute.max(1);
        let text = plain(text, self.settings.max_text_chars);
        let parts = match text.contains(char::is_alphanumeric) {
            true => self.parts(&text, voice),
            false => VecDeque::new(),
        };
        Sentences { speaker: self, parts, words_per_minute, piper_has_failed: false }
    }

    fn parts(&self, text: &str, voice: Voice<'_>) -> VecDeque<Part> {
        let part = |text: &str, engine| Part { text: text.to_owned(), engine };
        if !self.settings.arguments.is_empty() {
            return [part(text, Engine::Other { voice: voice.name.to_owned() })].into();
        }
        let mut found = VecDeque::new();
        for (is_chinese, run) in parts(text) {
            let voice = voice_for(is_chinese, voice);
            match self.voices.get(voice.name) {
                Some(installed) => found.extend(sentences(run).into_iter().map(|sentence| {
                    let espeak = if is_chinese { PINYIN_VOICE } else { installed.language() }.to_owned();
                    part(sentence, Engine::Piper { file: installed.file.clone(), espeak })
                })),
                None => {
                    let (voice, instead) = (espeak_voice(is_chinese, voice), voice.instead);
                    let instead = if is_chinese { PINYIN_VOICE } else { instead };
                    found.push_back(part(run, Engine::Espeak { voice: voice.to_owned(), instead: instead.to_owned() }));
                }
            }
        }
        found
    }

    /// Logs the faults of the installed voices, and loads those that speak for `voices`, so that the first sentence does
    /// not wait for that. A failure is logged.
    pub async fn prepare<'v>(&self, voices: &[impl Into<Voice<'v>> + Copy]) {
        let voices: Vec<Voice<'v>> = voices.iter().map(|voice| (*voice).into()).collect();
        for fault in &self.voices.faults {
            tracing::warn!(fault, "a voice of Piper cannot be used");
        }
        let missing: BTreeSet<String> = voices.iter().filter_map(|voice| self.missing(*voice)).collect();
        missing.iter().for_each(|fault| tracing::warn!(fault, "a voice of Piper cannot be used"));
        for voice in self.without_piper(&voices) {
            tracing::info!(voice, "Piper has no voice for this; espeak-ng speaks");
        }
        for voice in voices.iter().filter(|voice| self.is_of_espeak(**voice) && voice.name != voice.instead) {
            // It logs a voice that is not installed.
            let _outcome =
                self.by_espeak(espeak_voice(false, *voice), voice.instead, "", self.settings.words_per_minute).await;
        }
        let mut wanted: Vec<_> = voices.iter().filter_map(|voice| self.voices.get(voice.name)).collect();
        wanted.dedup();
        for installed in wanted {
            let Some(piper) = &self.piper else { return };
            match piper.speak(&installed.file, "", 1.0).await {
                Ok(_) => tracing::info!(voice = installed.name, "Piper speaks"),
                Err(error) => log_fallback(&error),
            }
        }
    }

    /// The voices for which espeak-ng speaks although there is a Piper.
    fn without_piper<'v>(&self, voices: &[Voice<'v>]) -> BTreeSet<&'v str> {
        let has_none = |voice: &&Voice<'v>| {
            self.piper.is_some() && voices::language_of(voice.name).is_none() && self.voices.get(voice.name).is_none()
        };
        voices.iter().filter(has_none).map(|voice| voice.name).collect()
    }

    /// The fault that a voice of Piper is wanted and not installed, or not completely.
    fn missing(&self, voice: Voice<'_>) -> Option<String> {
        let Voice { name, instead, .. } = voice;
        let is_missing = voices::language_of(name).is_some() && self.voices.get(name).is_none();
        let why = match self.voices.lacks_configuration(name) {
            true => format!("has no configuration {name}.onnx.json"),
            false => "is not installed".to_owned(),
        };
        let program = self.settings.program.display();
        is_missing.then(|| {
            format!("{name} {why}; {program}, voice {instead}, speaks instead; scripts/get-voice fetches voices")
        })
    }

    /// Whether `espeak-ng` speaks for a voice, and the voice is one of its own.
    fn is_of_espeak(&self, voice: Voice<'_>) -> bool {
        let is_of_piper = voices::language_of(voice.name).is_some() || self.voices.get(voice.name).is_some();
        self.settings.arguments.is_empty() && !is_of_piper
    }

    /// The names of the voices of Piper that speak for `voice`: for its letters, and for Chinese characters beside them.
    pub fn piper_voices<'s>(&'s self, voice: &'s str) -> impl Iterator<Item = &'s str> {
        let found = [false, true].map(|is_chinese| self.voices.get(voice_for(is_chinese, voice.into()).name));
        found.into_iter().flatten().map(|voice| voice.name.as_str())
    }

    /// The names of the installed voices of Piper.
    pub fn installed_voices(&self) -> impl Iterator<Item = &str> {
        self.voices.names()
    }

    /// Whether an installed voice of Piper has this name and language.
    pub fn speaks(&self, name: &str, language: &str) -> bool {
        voices::language_of(name) == Some(language) && self.installed_voices().any(|installed| installed == name)
    }

    /// The faults of installed voices, each with the file.
    pub fn faults(&self) -> &[String] {
        &self.voices.faults
    }

    /// The engine that speaks for a voice, in one line, after a test of Piper.
    ///
    /// # Errors
    /// The fault of Piper, in one line.
    pub async fn check_voice(&self, voice: impl Into<Voice<'_>>) -> Result<String, String> {
        let voice = voice.into();
        let program = self.settings.program.display();
        if let Some(fault) = self.missing(voice) {
            return Err(fault);
        }
        let (Some(piper), Some(installed)) = (&self.piper, self.voices.get(voice.name)) else {
            return self.check_espeak_voice(voice).await;
        };
        let (name, language) = (&installed.name, installed.language());
        match piper.speak(&installed.file, "hello", 1.0).await {
            Ok(sound) => Ok(format!("Piper, voice {name}, \"hello\" lasts {:.1} s", sound.duration().as_secs_f32())),
            Err(error) => Err(format!("Piper, voice {name}: {error}; {program}, voice {language}, speaks instead")),
        }
    }

    async fn check_espeak_voice(&self, voice: Voice<'_>) -> Result<String, String> {
        let program = self.settings.program.display();
        let name = espeak_voice(voice.name == CHINESE, voice);
        let found = format!("{program}, voice {name}");
        let instead = if name == PINYIN_VOICE { name } else { voice.instead };
        let command = program::espeak(&self.settings, name, self.settings.words_per_minute);
        match self.by_program(command, String::new()).await {
            Err(SpeakError::Failed(_)) if name != instead => {
                Err(format!("{program} has no voice {name}; its voice {instead} speaks instead"))
            }
            Err(error) => Err(format!("{found}: {error}")),
            Ok(_) => Ok(found),
        }
    }

    /// The program's version, in one line; for a program other than `espeak-ng`, the result of a test.
    ///
    /// # Errors
    /// Every variant of [`SpeakError`].
    pub async fn check(&self, voice: &str) -> Result<String, SpeakError> {
        if !self.settings.arguments.is_empty() {
            let seconds = self.speak("hello", voice).await?.duration().as_secs_f32();
            return Ok(format!("{} speaks, \"hello\" lasts {seconds:.1} s", self.settings.program.display()));
        }
        let mut command = Command::new(&self.settings.program);
        command.arg("--version");
        let output = program::run(&self.settings, command, String::new()).await?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.trim().lines().next().unwrap_or_default().to_owned())
    }

    /// What `espeak-ng` says in a voice of its own, or in another one if that is not installed.
    async fn by_espeak(
        &self,
        voice: &str,
        instead: &str,
        text: &str,
        words_per_minute: u32,
    ) -> Result<Bytes, SpeakError> {
        let spoken = async |voice: &str| {
            let text = if voice == PINYIN_VOICE { pinyin(text) } else { text.to_owned() };
            self.by_program(program::espeak(&self.settings, voice, words_per_minute), text).await
        };
        match spoken(voice).await {
            Err(SpeakError::Failed(_)) if voice != instead => {
                let spoken = spoken(instead).await;
                if spoken.is_ok() {
                    self.missing_logged.call_once(|| {
                        tracing::warn!(
                            voice,
                            instead,
                            "espeak-ng has no voice of this name; that of the language speaks"
                        );
                    });
                }
                spoken
            }
            spoken => spoken,
        }
    }

    async fn by_program(&self, command: Command, text: String) -> Result<Bytes, SpeakError> {
        let turn = timeout(self.settings.timeout, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| SpeakError::Busy)?.map_err(|_| SpeakError::Busy)?;
        program::run(&self.settings, command, text).await
    }
}

/// The sounds of a text, made one after the other.
#[derive(Debug)]
pub struct Sentences<'s> {
    speaker: &'s Speaker,
    parts: VecDeque<Part>,
    words_per_minute: u32,
    /// Whether `espeak-ng` speaks the rest, as two voices would take turns otherwise.
    piper_has_failed: bool,
}

impl Sentences<'_> {
    /// The next sound; none at the end. A text without any words has none.
    ///
    /// # Errors
    /// Every variant of [`SpeakError`].
    pub async fn next(&mut self) -> Option<Result<Sound, SpeakError>> {
        loop {
            let part = self.parts.pop_front()?;
            match self.speak(part).await {
                // A part of punctuation, or of letters that the voice has no sound for.
                Err(SpeakError::Audio(AudioError::Empty)) => {}
                outcome => return Some(outcome),
            }
        }
    }

    async fn speak(&mut self, Part { text, engine }: Part) -> Result<Sound, SpeakError> {
        let (speaker, words_per_minute) = (self.speaker, self.words_per_minute);
        let wav = match engine {
            Engine::Piper { file, espeak } => match self.by_piper(&file, &text).await {
                Some(sound) => return on_a_thread(move || levelled(sound)).await,
                None => speaker.by_espeak(&espeak, &espeak, &text, words_per_minute).await?,
            },
            Engine::Espeak { voice, instead } => speaker.by_espeak(&voice, &instead, &text, words_per_minute).await?,
            Engine::Other { voice } => {
                speaker.by_program(program::other(&speaker.settings, &voice, words_per_minute), text).await?
            }
        };
        let limits = DecodeLimits { max_seconds: MAX_SPEECH_S, cpu_max: speaker.settings.output_cpu_max, ffmpeg: None };
        on_a_thread(move || levelled(audio::decode_bytes(wav, &limits)?)).await
    }

    /// None if Piper has failed.
    async fn by_piper(&mut self, file: &Path, text: &str) -> Option<Sound> {
        let piper = self.speaker.piper.as_ref().filter(|_| !self.piper_has_failed)?;
        let length_scale = PIPER_WORDS_PER_MINUTE / self.words_per_minute as f32;
        // Its voices learned whole sentences, with a full stop.
        let text = if text.ends_with(char::is_alphanumeric) { format!("{text}.") } else { text.to_owned() };
        let outcome = piper.speak(file, &text, length_scale).await;
        outcome
            .inspect_err(|error| {
                self.piper_has_failed = true;
                log_fallback(error);
            })
            .ok()
    }
}

/// The voice for a run of a text: for Chinese characters one that knows them, and for other letters another one.
fn voice_for(is_chinese: bool, voice: Voice<'_>) -> Voice<'_> {
    match (is_chinese, voices::language_of(voice.name).unwrap_or(voice.name) == CHINESE) {
        (true, false) => CHINESE.into(),
        (false, true) => BESIDE_CHINESE.into(),
        _ => voice,
    }
}

/// The voice of `espeak-ng` for a voice that Piper does not have.
fn espeak_voice(is_chinese: bool, voice: Voice<'_>) -> &str {
    match (is_chinese, voices::language_of(voice.name)) {
        (true, _) => PINYIN_VOICE,
        (false, Some(_)) => voice.instead,
        (false, None) => voice.name,
    }
}

fn log_fallback(error: &PiperError) {
    match error {
        PiperError::Busy | PiperError::Pausing => tracing::debug!(%error, "espeak-ng speaks instead of Piper"),
        error => tracing::warn!(%error, "Piper has failed; espeak-ng speaks instead, see toyhub doctor"),
    }
}

/// Voices and sentences differ in loudness, too.
fn levelled(mut sound: Sound) -> Result<Sound, SpeakError> {
    if sound.samples.is_empty() {
        return Err(AudioError::Empty.into());
    }
    audio::level(&mut sound);
    Ok(sound)
}

async fn on_a_thread(work: impl FnOnce() -> Result<Sound, SpeakError> + Send + 'static) -> Result<Sound, SpeakError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SpeakError::Failed(error.to_string()))?
}
