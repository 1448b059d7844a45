//! `ffmpeg` as a child process, for AMR-WB and for AMR inside MP4 and 3GP.
//!
//! A large program decodes an untrusted file here, so the program is restricted: the container format is the one
//! recognised before, never ffmpeg's guess (a playlist could name other files and hosts), only the AMR decoders are
//! enabled, the file is its only input, and time and output are limited.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
#[cfg(target_os = "linux")]
use std::time::Duration;

#[cfg(target_os = "linux")]
use tracing::debug;

use super::{AudioError, DecodeLimits, Sound};

/// The sample rate of AMR-WB, which suffices for narrow band, too.
const RATE_HZ: u32 = 16_000;
const SAMPLE_BYTES: u64 = 2;

/// Decodes the file with the demultiplexer `format` of ffmpeg.
pub(super) fn decode(format: &str, path: Option<&Path>, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    let (Some(program), Some(path)) = (&limits.ffmpeg, path) else {
        return Err(AudioError::Unsupported("AMR-WB, and AMR in 3GP, need ffmpeg and a file".into()));
    };
    let mut child = start(program, format, path, limits)?;
    let max_bytes = u64::from(limits.max_seconds) * u64::from(RATE_HZ) * SAMPLE_BYTES;
    let pcm = read_within(&mut child, max_bytes + 1, limits);
    // It is killed in any case: its output is not read any more.
    let _ = child.kill();
    child.wait()?;
    let pcm = pcm?;

    if pcm.len() as u64 > max_bytes {
        return Err(AudioError::TooLong { max_seconds: limits.max_seconds });
    }
    if pcm.is_empty() {
        return Err(AudioError::Damaged("ffmpeg found no speech in it".into()));
    }
    let samples =
        pcm.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0).collect();
    Ok(Sound { rate_hz: RATE_HZ, samples })
}

fn start(program: &Path, format: &str, path: &Path, limits: &DecodeLimits) -> io::Result<Child> {
    // With the prefix, a name such as `-i` or `http:…` is always taken as a file.
    let mut input = OsString::from("file:");
    input.push(path);
    let child = Command::new(program)
        .args(["-nostdin", "-hide_banner", "-loglevel", "quiet", "-threads", "1"])
        .args(["-protocol_whitelist", "file,pipe", "-codec_whitelist", "amrnb,amrwb"])
        .args(["-f", format, "-i"])
        .arg(input)
        .args(["-map", "0:a:0", "-ac", "1", "-ar", &RATE_HZ.to_string()])
        .args(["-t", &(u64::from(limits.max_seconds) + 1).to_string(), "-f", "s16le", "pipe:1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // On a system that cannot limit another process, the timeout remains.
    #[cfg(target_os = "linux")]
    limit_cpu(&child, limits.cpu_max);
    Ok(child)
}

/// Makes the system end the child when it has used up its CPU time.
#[cfg(target_os = "linux")]
fn limit_cpu(child: &Child, cpu_max: Duration) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let seconds = Some(cpu_max.as_secs().max(1));
    if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(error) = prlimit(Some(id), Resource::Cpu, Rlimit { current: seconds, maximum: seconds })
    {
        debug!(%error, "the CPU time of a child could not be limited");
    }
}

/// Reads the output of the child, at most `max_bytes`, until the timeout.
fn read_within(child: &mut Child, max_bytes: u64, limits: &DecodeLimits) -> Result<Vec<u8>, AudioError> {
    let Some(stdout) = child.stdout.take() else {
        return Err(io::Error::other("ffmpeg has no output").into());
    };
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the child, which the caller kills.
    thread::spawn(move || {
        let mut pcm = Vec::new();
        let read = stdout.take(max_bytes).read_to_end(&mut pcm);
        // After the timeout the receiver is gone.
        let _ = sender.send(read.map(|_| pcm));
    });
    match receiver.recv_timeout(limits.ffmpeg_timeout) {
        Ok(pcm) => Ok(pcm?),
        Err(_) => Err(AudioError::Damaged("ffmpeg took too long".into())),
    }
}
