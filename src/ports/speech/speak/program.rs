//! Speech synthesis by a child process for each text: `espeak-ng`, or another program of the operator.

use std::io;
use std::process::Stdio;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{MAX_SPEECH_S, SpeakError, SpeakerSettings};

/// The maximum output of the program: the longest speech at 48 kHz, 16 bits.
const MAX_WAV_BYTES: u64 = MAX_SPEECH_S as u64 * 48_000 * 2;

/// The paces of `espeak-ng`, in words per minute.
const ESPEAK_WORDS_PER_MINUTE: std::ops::RangeInclusive<u32> = 80..=450;

/// `espeak-ng` with this voice.
pub(super) fn espeak(settings: &SpeakerSettings, voice: &str, words_per_minute: u32) -> Command {
    let (slowest, fastest) = ESPEAK_WORDS_PER_MINUTE.into_inner();
    let mut command = Command::new(&settings.program);
    command
        .args(["-v", voice, "-s", &words_per_minute.clamp(slowest, fastest).to_string()])
        // UTF-8 in, a WAV file out.
        .args(["-b", "1", "--stdin", "--stdout"]);
    command
}

/// The operator's program with its arguments.
pub(super) fn other(settings: &SpeakerSettings, voice: &str, words_per_minute: u32) -> Command {
    let mut command = Command::new(&settings.program);
    let pace = words_per_minute.to_string();
    let filled = |argument: &String| argument.replace("{voice}", voice).replace("{words_per_minute}", &pace);
    command.args(settings.arguments.iter().map(filled));
    command
}

/// Runs a program with `input` on its standard input, within the time limit; the program ends if the future is dropped.
pub(super) async fn run(settings: &SpeakerSettings, mut command: Command, input: String) -> Result<Bytes, SpeakError> {
    let child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => SpeakError::Missing(settings.program.clone()),
                _ => SpeakError::Failed(error.to_string()),
            },
        )?;
    timeout(settings.timeout, converse(child, input))
        .await
        .map_err(|_| SpeakError::TimedOut)?
        .map_err(|error| SpeakError::Failed(error.to_string()))
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
