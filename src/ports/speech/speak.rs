//! Speech synthesis by `espeak-ng` or another program, as a child process for each text.
//!
//! The program reads the text from its standard input and writes a WAV file; there is no shell in between. Chinese is
//! passed to `espeak-ng` in pinyin, for its pinyin voice, as its voice for characters spells many of them in English.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use pinyin::ToPinyin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::languages::is_chinese;
use crate::ports::audio::{self, AudioError, DecodeLimits, Sound};

/// The voice of `espeak-ng` for pinyin with numbered tones.
const PINYIN_VOICE: &str = "cmn-latn-pinyin";

/// The maximum number of changes between Chinese and another language; after that, one voice speaks the rest of the
/// text.
const PARTS_MAX: usize = 8;

/// The maximum duration of an answer, in seconds.
const MAX_SPEECH_S: u32 = 600;

/// The maximum output of the engine: the longest speech at 48 kHz, 16 bits.
const MAX_WAV_BYTES: u64 = MAX_SPEECH_S as u64 * 48_000 * 2;

/// The settings of the engine.
#[derive(Debug, Clone)]
pub struct SpeakerSettings {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, in which `{voice}` and `{words_per_minute}` are replaced; none for those of `espeak-ng`.
    pub arguments: Vec<String>,
    /// The pace, in words per minute.
    pub words_per_minute: u32,
    /// How long a text may wait for its turn, and then how long its synthesis may take.
    pub timeout: Duration,
    /// The CPU time that reading its output may take.
    pub output_cpu_max: Duration,
    /// A text is cut after this many characters.
    pub max_text_chars: usize,
    /// The number of texts that are synthesised at the same time.
    pub max_parallel: usize,
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

/// The engine; a few texts at a time.
#[derive(Debug)]
pub struct Speaker {
    settings: SpeakerSettings,
    turns: Semaphore,
}

impl Speaker {
    /// An engine with these settings. It starts no process yet.
    pub fn new(settings: SpeakerSettings) -> Self {
        let turns = Semaphore::new(settings.max_parallel.clamp(1, Semaphore::MAX_PERMITS));
        Self { settings, turns }
    }

    /// Synthesises the text with a voice of the program, for example `en`; `espeak-ng` uses another one for Chinese
    /// characters. Markup and control characters in the text have no effect.
    ///
    /// # Errors
    /// Every variant of [`SpeakError`]; a text without any words is
    /// [`AudioError::Empty`].
    pub async fn speak(&self, text: &str, voice: &str) -> Result<Sound, SpeakError> {
        let text = plain(text, self.settings.max_text_chars);
        if !text.contains(char::is_alphanumeric) {
            return Err(AudioError::Empty.into());
        }
        let _turn = timeout(self.settings.timeout, self.turns.acquire()).await.map_err(|_| SpeakError::Busy)?;
        let mut wavs = Vec::new();
        if self.settings.arguments.is_empty() {
            for (is_chinese, part) in parts(&text) {
                let (voice, part) = if is_chinese { (PINYIN_VOICE, pinyin(part)) } else { (voice, part.to_owned()) };
                wavs.push(self.run(self.espeak(voice), part).await?);
            }
        } else {
            let mut command = Command::new(&self.settings.program);
            command.args(self.settings.arguments.iter().map(|argument| self.filled(argument, voice)));
            wavs.push(self.run(command, text).await?);
        }
        let cpu_max = self.settings.output_cpu_max;
        tokio::task::spawn_blocking(move || joined(wavs, cpu_max))
            .await
            .map_err(|error| SpeakError::Failed(error.to_string()))?
    }

    fn espeak(&self, voice: &str) -> Command {
        let mut command = Command::new(&self.settings.program);
        command
            .args(["-v", voice, "-s", &self.settings.words_per_minute.to_string()])
            // UTF-8 in, a WAV file out.
            .args(["-b", "1", "--stdin", "--stdout"]);
        command
    }

    fn filled(&self, argument: &str, voice: &str) -> String {
        let pace = self.settings.words_per_minute.to_string();
        argument.replace("{voice}", voice).replace("{words_per_minute}", &pace)
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
        let output = self.run(command, String::new()).await?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.trim().lines().next().unwrap_or_default().to_owned())
    }

    /// Runs the program with `input` on its standard input, within the time limit; the program ends if the future is
    /// dropped.
    async fn run(&self, mut command: Command, input: String) -> Result<Bytes, SpeakError> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SpeakError::Missing(self.settings.program.clone()),
                _ => SpeakError::Failed(error.to_string()),
            })?;
        timeout(self.settings.timeout, converse(child, input))
            .await
            .map_err(|_| SpeakError::TimedOut)?
            .map_err(|error| SpeakError::Failed(error.to_string()))
    }
}

/// Writes and reads concurrently, as the program may write before it has read everything.
async fn converse(mut child: Child, input: String) -> io::Result<Bytes> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("its input or output is missing"));
    };
    let tell = async move {
        match stdin.write_all(input.as_bytes()).await {
            // A program may stop reading early; its exit status counts.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    };
    let listen = async move {
        let mut output = Vec::new();
        stdout.take(MAX_WAV_BYTES).read_to_end(&mut output).await?;
        Ok(output)
    };
    let ((), output) = tokio::try_join!(tell, listen)?;
    let status = child.wait().await?;
    if status.success() { Ok(output.into()) } else { Err(io::Error::other(status.to_string())) }
}

/// The text without commands for the engine: control characters change the voice, `[[…]]` are phonemes, and `<…>` is
/// markup.
fn plain(text: &str, max_chars: usize) -> String {
    text.chars()
        .take(max_chars)
        .map(|letter| match letter {
            '[' | ']' | '<' | '>' => ' ',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect()
}

/// The parts of one sound, at one loudness.
fn joined(wavs: Vec<Bytes>, cpu_max: Duration) -> Result<Sound, SpeakError> {
    let limits = DecodeLimits { max_seconds: MAX_SPEECH_S, cpu_max, ffmpeg: None };
    let mut whole: Option<Sound> = None;
    for wav in wavs {
        let mut part = match audio::decode_bytes(wav, &limits) {
            // A part of punctuation, or of letters that the voice has no sound for.
            Err(AudioError::Empty) => continue,
            part => part?,
        };
        // Voices differ in loudness, too.
        audio::level(&mut part);
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.samples.extend(audio::resample(&part, whole.rate_hz)?.samples),
        }
    }
    Ok(whole.ok_or(AudioError::Empty)?)
}

/// The text in runs of Chinese and of other letters. Digits, spaces and punctuation belong to the run they stand in.
fn parts(text: &str) -> Vec<(bool, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut current) = (0, None);
    for (at, letter) in text.char_indices() {
        let kind = if is_chinese(letter) { Some(true) } else { letter.is_alphabetic().then_some(false) };
        let Some(kind) = kind else { continue };
        match current {
            Some(previous) if previous != kind && parts.len() + 1 < PARTS_MAX => {
                parts.push((previous, &text[begin..at]));
                (begin, current) = (at, Some(kind));
            }
            // After too many changes, the rest is spoken by the voice that supports both.
            Some(previous) if previous != kind => current = Some(true),
            _ => current = Some(kind),
        }
    }
    parts.push((current.unwrap_or(false), &text[begin..]));
    parts
}

/// The text with each Chinese character as its syllable and the number of its tone.
fn pinyin(text: &str) -> String {
    let mut spelled = String::new();
    for letter in text.chars() {
        match letter.to_pinyin() {
            Some(syllable) => {
                spelled.push(' ');
                spelled.push_str(syllable.with_tone_num_end());
                spelled.push(' ');
            }
            // A pause is a pause in any script.
            None => spelled.push(match letter {
                '，' | '、' => ',',
                '。' => '.',
                '？' => '?',
                '！' => '!',
                '；' => ';',
                '：' => ':',
                other => other,
            }),
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn settings(program: impl Into<PathBuf>) -> SpeakerSettings {
        SpeakerSettings {
            program: program.into(),
            arguments: Vec::new(),
            words_per_minute: 160,
            timeout: Duration::from_secs(10),
            output_cpu_max: Duration::from_secs(10),
            max_text_chars: 500,
            max_parallel: 2,
        }
    }

    /// The installed engine; `None`, with a note, where there is none.
    async fn engine() -> Option<Speaker> {
        let speaker = Speaker::new(settings("espeak-ng"));
        match speaker.check("en").await {
            Err(SpeakError::Missing(_)) => {
                eprintln!("espeak-ng is not installed: nothing was tested");
                None
            }
            version => {
                assert!(version.unwrap().contains("eSpeak"));
                Some(speaker)
            }
        }
    }

    fn script(folder: &tempfile::TempDir, lines: &str) -> PathBuf {
        let path = folder.path().join("engine");
        // A child writes it: a file that this process, or a fork of it, holds open
        // for writing could not be started.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#;
        let status = std::process::Command::new("sh").args(["-c", write, path.to_str().unwrap(), lines]).status();
        assert!(status.unwrap().success());
        path
    }

    #[tokio::test]
    async fn a_sentence_becomes_sound() {
        let Some(speaker) = engine().await else {
            return;
        };
        let sound = speaker.speak("Good night, little bear.", "en").await.unwrap();
        assert!((0.8..4.0).contains(&sound.duration().as_secs_f64()), "{:?}", sound.duration());
        assert!(sound.samples.iter().any(|sample| sample.abs() > 0.1));
        assert!(speaker.speak("你好，小熊", "en").await.is_ok());
        let long = speaker.speak(&"bear ".repeat(10_000), "en").await.unwrap();
        assert!(long.duration() < Duration::from_secs(120));
    }

    #[test]
    fn chinese_is_spelled_and_other_words_stay_with_their_own_voice() {
        assert_eq!(parts("good night"), [(false, "good night")]);
        assert_eq!(parts("现在是14点5分。"), [(true, "现在是14点5分。")]);
        assert_eq!(parts("a message from 妈妈!"), [(false, "a message from "), (true, "妈妈!")]);
        assert_eq!(parts("12, 你好 Tom"), [(true, "12, 你好 "), (false, "Tom")]);
        assert_eq!(parts("..."), [(false, "...")]);
        assert_eq!(pinyin("妈妈，你好。女"), " ma1  ma1 , ni3  hao3 . nü3 ");
        let many = "a爸".repeat(50);
        let parts = parts(&many);
        assert_eq!(parts.len(), PARTS_MAX);
        assert_eq!(parts.iter().map(|(_, part)| *part).collect::<String>(), many);
        assert!(parts.last().unwrap().0);
    }

    #[tokio::test]
    async fn chinese_english_and_both_are_spoken() {
        let Some(speaker) = engine().await else {
            return;
        };
        let seconds = async |text: &str| speaker.speak(text, "en").await.unwrap().duration().as_secs_f64();
        let (chinese, english) = (seconds("妈妈来了").await, seconds("a message").await);
        // Spelled in English, each character would take a second.
        assert!((0.5..2.5).contains(&chinese), "{chinese}");
        let both = seconds("a message 妈妈来了").await;
        assert!((both - chinese - english).abs() < 0.3, "{both} of {chinese} and {english}");
        assert!(seconds("小熊说：hello，小朋友们，晚安！").await > 1.5);
    }

    #[tokio::test]
    async fn another_program_is_given_its_arguments_and_the_text_as_input() {
        let Some(_) = engine().await else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        let lines = format!(
            "printf %s \"$*\" > {0}\ncat > {0}.text\nexec espeak-ng -v en --stdout -f {0}.text",
            said.display()
        );
        let speaker = Speaker::new(SpeakerSettings {
            arguments: ["--voice", "{voice}", "; touch x", "{words_per_minute}"].map(str::to_owned).into(),
            ..settings(script(&folder, &lines))
        });
        let sound = speaker.speak("$(touch x) `touch x`; good night 小熊", "en").await.unwrap();
        assert!(sound.duration() > Duration::from_millis(500));
        assert_eq!(std::fs::read_to_string(&said).unwrap(), "--voice en ; touch x 160");
        let text = std::fs::read_to_string(folder.path().join("said.text")).unwrap();
        assert_eq!(text, "$(touch x) `touch x`; good night 小熊");
        assert!(!std::path::Path::new("x").exists() && !folder.path().join("x").exists());
        assert!(speaker.check("en").await.unwrap().contains("speaks"));
    }

    #[tokio::test]
    async fn markup_is_not_obeyed() {
        let Some(speaker) = engine().await else {
            return;
        };
        for text in
            ["<speak><break time=\"30s\"/>bear</speak>", "--version bear", "\u{1}1S bear \u{0} bear", "[[h@loU]] bear"]
        {
            let sound = speaker.speak(text, "en").await.unwrap();
            assert!(sound.duration() < Duration::from_secs(6), "{text}: {:?}", sound.duration());
        }
        for text in ["", " \n\t", "<<>>", "...", "\u{1}"] {
            let outcome = speaker.speak(text, "en").await;
            assert!(matches!(outcome, Err(SpeakError::Audio(AudioError::Empty))), "{text:?}");
        }
    }

    #[test]
    fn the_text_is_cleaned_and_cut() {
        assert_eq!(plain("a<b>\u{1}[[c]]\nd", 100), "a b    c   d");
        assert_eq!(plain("小熊晚安", 2), "小熊");
        assert!(is_chinese('熊') && !is_chinese('é') && !is_chinese('あ'));
    }

    #[tokio::test]
    async fn a_missing_a_failing_and_a_silent_program_have_different_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Speaker::new(settings(folder.path().join("nothing")));
        assert!(matches!(missing.speak("bear", "en").await, Err(SpeakError::Missing(_))));
        assert!(matches!(missing.check("en").await, Err(SpeakError::Missing(_))));
        let failing = Speaker::new(settings(script(&folder, "exit 3")));
        assert!(matches!(failing.speak("bear", "en").await, Err(SpeakError::Failed(_))));
        let silent = Speaker::new(settings(script(&folder, "cat > /dev/null")));
        assert!(matches!(silent.speak("bear", "en").await, Err(SpeakError::Audio(_))));
    }

    #[tokio::test]
    async fn a_hanging_program_is_stopped_and_the_queue_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let speaker = Speaker::new(SpeakerSettings {
            timeout: Duration::from_millis(300),
            max_parallel: 1,
            ..settings(script(&folder, "exec sleep 60"))
        });
        let started = Instant::now();
        let (first, second) = tokio::join!(speaker.speak("one", "en"), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            timeout(Duration::from_millis(100), speaker.turns.acquire()).await.map(drop)
        });
        assert!(matches!(first, Err(SpeakError::TimedOut)));
        assert!(second.is_err(), "the only turn is taken");
        assert!(started.elapsed() < Duration::from_secs(5));

        let _turn = speaker.turns.acquire().await.unwrap();
        assert!(matches!(speaker.speak("two", "en").await, Err(SpeakError::Busy)));
    }
}
