//! Synthesis by `espeak-ng`, as a child process for each text.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::ports::audio::{self, AudioError, DecodeLimits, Sound};

/// The voice for text with Chinese characters, whatever voice is configured.
const CHINESE_VOICE: &str = "cmn";

/// No answer is longer, in seconds.
const MAX_SPEECH_S: u32 = 600;

/// What the engine may write: the longest speech at 48 kHz, 16 bits.
const MAX_WAV_BYTES: u64 = MAX_SPEECH_S as u64 * 48_000 * 2;

/// How the engine is run.
#[derive(Debug, Clone)]
pub struct SpeakerSettings {
    /// The `espeak-ng` program.
    pub program: PathBuf,
    /// Its voice, for example `en`.
    pub voice: String,
    /// The pace, in words per minute.
    pub words_per_minute: u32,
    /// How long a text may wait for its turn, and then how long it may take.
    pub timeout: Duration,
    /// Text beyond this many characters is left out.
    pub max_text_chars: usize,
    /// How many texts are spoken at the same time.
    pub max_parallel: usize,
}

/// Why a text could not be spoken.
#[derive(Debug, thiserror::Error)]
pub enum SpeakError {
    /// The program is not installed.
    #[error("the speech program {} was not found", .0.display())]
    Missing(PathBuf),
    /// The program could not be run or ended with an error.
    #[error("the speech program failed: {0}")]
    Failed(String),
    /// The program took too long and was stopped.
    #[error("the speech program took too long")]
    TimedOut,
    /// Too many texts are waiting to be spoken.
    #[error("too many texts are being spoken")]
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
    /// An engine with these settings; nothing is started yet.
    pub fn new(settings: SpeakerSettings) -> Self {
        let turns = Semaphore::new(settings.max_parallel.clamp(1, Semaphore::MAX_PERMITS));
        Self { settings, turns }
    }

    /// Speaks the text. Markup and control characters in it mean nothing.
    ///
    /// # Errors
    /// Every variant of [`SpeakError`]; a text without any words is
    /// [`AudioError::Empty`].
    pub async fn speak(&self, text: &str) -> Result<Sound, SpeakError> {
        let text = plain(text, self.settings.max_text_chars);
        if !text.contains(char::is_alphanumeric) {
            return Err(AudioError::Empty.into());
        }
        let _turn = timeout(self.settings.timeout, self.turns.acquire()).await.map_err(|_| SpeakError::Busy)?;

        let voice = if text.contains(is_chinese) { CHINESE_VOICE } else { &self.settings.voice };
        let mut command = Command::new(&self.settings.program);
        command
            .args(["-v", voice, "-s", &self.settings.words_per_minute.to_string()])
            // UTF-8 in, a WAV file out.
            .args(["-b", "1", "--stdin", "--stdout"]);
        let wav = self.run(command, text).await?;

        let limits = DecodeLimits { max_seconds: MAX_SPEECH_S, ffmpeg: None, ffmpeg_timeout: Duration::ZERO };
        tokio::task::spawn_blocking(move || audio::decode_bytes(wav, &limits))
            .await
            .map_err(|error| SpeakError::Failed(error.to_string()))?
            .map_err(SpeakError::from)
    }

    /// The program's version, in one line.
    ///
    /// # Errors
    /// [`SpeakError::Missing`], [`SpeakError::Failed`] or
    /// [`SpeakError::TimedOut`].
    pub async fn check(&self) -> Result<String, SpeakError> {
        let mut command = Command::new(&self.settings.program);
        command.arg("--version");
        let output = self.run(command, String::new()).await?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.trim().lines().next().unwrap_or_default().to_owned())
    }

    /// Runs the program with `input` on its standard input, within the time
    /// limit; a caller who goes away takes the program along.
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

/// Writes and reads at the same time, since the program may answer before it
/// has heard everything.
async fn converse(mut child: Child, input: String) -> io::Result<Bytes> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("its input or output is missing"));
    };
    let tell = async move {
        match stdin.write_all(input.as_bytes()).await {
            // A program that needs no more input is judged by how it ends.
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

/// The text without anything that the engine would obey: control characters
/// steer the voice, `[[…]]` are phonemes, and `<…>` is markup.
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

/// Whether a character is a Chinese one (CJK ideographs and extension A).
fn is_chinese(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn settings(program: impl Into<PathBuf>) -> SpeakerSettings {
        SpeakerSettings {
            program: program.into(),
            voice: "en".into(),
            words_per_minute: 160,
            timeout: Duration::from_secs(10),
            max_text_chars: 500,
            max_parallel: 2,
        }
    }

    /// The installed engine; `None`, with a note, where there is none.
    async fn engine() -> Option<Speaker> {
        let speaker = Speaker::new(settings("espeak-ng"));
        match speaker.check().await {
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
        let sound = speaker.speak("Good night, little bear.").await.unwrap();
        assert!((0.8..4.0).contains(&sound.duration().as_secs_f64()), "{:?}", sound.duration());
        assert!(sound.samples.iter().any(|sample| sample.abs() > 0.1));
        assert!(speaker.speak("你好，小熊").await.is_ok());
        let long = speaker.speak(&"bear ".repeat(10_000)).await.unwrap();
        assert!(long.duration() < Duration::from_secs(120));
    }

    #[tokio::test]
    async fn markup_is_not_obeyed() {
        let Some(speaker) = engine().await else {
            return;
        };
        for text in
            ["<speak><break time=\"30s\"/>bear</speak>", "--version bear", "\u{1}1S bear \u{0} bear", "[[h@loU]] bear"]
        {
            let sound = speaker.speak(text).await.unwrap();
            assert!(sound.duration() < Duration::from_secs(6), "{text}: {:?}", sound.duration());
        }
        for text in ["", " \n\t", "<<>>", "...", "\u{1}"] {
            let outcome = speaker.speak(text).await;
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
    async fn a_missing_a_failing_and_a_silent_program_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Speaker::new(settings(folder.path().join("nothing")));
        assert!(matches!(missing.speak("bear").await, Err(SpeakError::Missing(_))));
        assert!(matches!(missing.check().await, Err(SpeakError::Missing(_))));
        let failing = Speaker::new(settings(script(&folder, "exit 3")));
        assert!(matches!(failing.speak("bear").await, Err(SpeakError::Failed(_))));
        let silent = Speaker::new(settings(script(&folder, "cat > /dev/null")));
        assert!(matches!(silent.speak("bear").await, Err(SpeakError::Audio(_))));
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
        let (first, second) = tokio::join!(speaker.speak("one"), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            timeout(Duration::from_millis(100), speaker.turns.acquire()).await.map(drop)
        });
        assert!(matches!(first, Err(SpeakError::TimedOut)));
        assert!(second.is_err(), "the only turn is taken");
        assert!(started.elapsed() < Duration::from_secs(5));

        let _turn = speaker.turns.acquire().await.unwrap();
        assert!(matches!(speaker.speak("two").await, Err(SpeakError::Busy)));
    }
}
