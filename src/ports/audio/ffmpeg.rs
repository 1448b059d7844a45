//! `ffmpeg` as a child process, for recordings that the decoders of this process cannot read.
//!
//! A large program decodes an untrusted file here, so the program is restricted. The demultiplexer is that of the format
//! recognised before, never ffmpeg's guess, since a playlist could name other files and hosts; only decoders of sound
//! are enabled; the recording is its only input, through the file protocol alone; references to other files are not
//! followed. It gets no environment, may not write files, and its CPU time, memory, time and output are limited.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use symphonia::core::io::ReadOnlySource;
use tracing::warn;

use super::claims::MAX_TRACKS;
use super::sniff::Kind;
use super::{AudioError, DecodeLimits, Ffmpeg, Sound, attempt, container};

/// The decoders that may run: those of phones, toys, recorders and browsers.
const DECODERS: &str = "aac,aac_fixed,aac_latm,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,evrc,qcelp,\
                        mp1,mp1float,mp2,mp2float,mp3,mp3float,flac,vorbis,libvorbis,opus,libopus,speex,libspeex,\
                        gsm,gsm_ms,libgsm,libgsm_ms,truespeech,wmav1,wmav2,wmapro,wmavoice,wmalossless,\
                        wavpack,ac3,ac3_fixed,eac3,nellymoser,adpcm_swf,adpcm_sbpro_2,adpcm_sbpro_3,adpcm_sbpro_4,\
                        adpcm_ima_wav,adpcm_ima_qt,adpcm_ms,adpcm_yamaha,g722,g726,\
                        pcm_alaw,pcm_mulaw,pcm_u8,pcm_u16le,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,\
                        pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be";

/// Its exit code when a signal has ended it in order, such as that of the end of its CPU time.
const ENDED_BY_SIGNAL: i32 = 255;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// The interval of checks for the end of a child whose output has ended.
const POLL: Duration = Duration::from_millis(1);

/// Decodes the file with a demultiplexer of ffmpeg. The channels of its output are mixed as those of other recordings.
///
/// Errors: `TooLong`, `TooCostly` for its CPU time and its time, `Damaged`, and `Unsupported` if it cannot be started.
pub(super) fn decode(
    ffmpeg: &Ffmpeg,
    demultiplexer: &str,
    path: &Path,
    limits: &DecodeLimits,
) -> Result<Sound, AudioError> {
    let mut child = start(ffmpeg, demultiplexer, path, limits.max_seconds).map_err(|error| {
        warn!(%error, "ffmpeg cannot be started; see toyhub doctor");
        AudioError::Unsupported("it needs ffmpeg, which cannot be started".into())
    })?;
    // On a system that cannot limit another process, the timeout remains.
    #[cfg(target_os = "linux")]
    restrict(&child, limits.cpu_max, ffmpeg.memory_max_bytes);
    let Some(output) = child.stdout.take() else {
        return Err(io::Error::other("ffmpeg has no output").into());
    };
    let (decoded, ended) = thread::scope(|scope| {
        let (reader, reading) = mpsc::channel();
        let ending = scope.spawn(move || end(child, &reading, ffmpeg.timeout));
        let decoded = attempt(Box::new(ReadOnlySource::new(output)), limits, |source, collected, watch| {
            container::decode(Kind::Wav, source, collected, watch)
        });
        if decoded.is_ok() {
            // The child may be gone.
            let _ = reader.send(());
        }
        drop(reader);
        (decoded, ending.join())
    });
    // Its output breaks off where it ends, so the doubt about that says nothing.
    let sound = decoded?.sound;
    match ended.map_err(|_| io::Error::other("the thread that ends ffmpeg failed"))?? {
        Some(status) if !is_costly(status) => sound.ok_or(AudioError::Damaged("ffmpeg found no sound in it".into())),
        _ => Err(AudioError::TooCostly),
    }
}

/// The program of this name or path that can be started, as the system finds it.
pub fn find_program(program: &Path) -> Option<PathBuf> {
    use rustix::fs::{Access, access};

    let is_program = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(is_program);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(is_program)
}

fn start(ffmpeg: &Ffmpeg, demultiplexer: &str, path: &Path, max_seconds: u32) -> io::Result<Child> {
    // With the prefix, a name such as `-i` or `http:…` is always taken as a file.
    let mut input = OsString::from("file:");
    input.push(path);
    let mut command = Command::new(&ffmpeg.program);
    command
        // Variables may hold the hub's secrets, and turn on reports and proxies.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|folders| ("PATH", folders)))
        .args(["-nostdin", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1", "-threads", "1"])
        .args(["-protocol_whitelist", "file", "-format_whitelist", demultiplexer, "-codec_whitelist", DECODERS])
        .args(["-max_streams", &MAX_TRACKS.to_string()]);
    if demultiplexer == "mov" {
        command.args(["-enable_drefs", "0", "-use_absolute_path", "0"]);
    }
    command
        .args(["-f", demultiplexer, "-i"])
        .arg(input)
        .args(["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-fflags", "+bitexact"])
        // A second above the limit is enough to detect that the recording is too long.
        .args(["-t", &(u64::from(max_seconds) + 1).to_string()])
        .args(["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// Limits the resources of the child. It has not opened the recording yet: it begins with loading its libraries.
#[cfg(target_os = "linux")]
fn restrict(child: &Child, cpu_max: Duration, memory_max_bytes: u64) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let seconds = cpu_max.as_secs().max(1);
    let limits = [
        // The first ends ffmpeg in order, and the second in any case.
        (Resource::Cpu, seconds, seconds + 1),
        (Resource::Data, memory_max_bytes, memory_max_bytes),
        (Resource::Fsize, 0, 0),
        (Resource::Core, 0, 0),
    ];
    let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    for (resource, current, maximum) in limits {
        if let Err(error) = prlimit(Some(id), resource, Rlimit { current: Some(current), maximum: Some(maximum) }) {
            warn!(%error, ?resource, "a resource of ffmpeg could not be limited");
        }
    }
}

/// Waits for the end of the child when its output was read, or else kills it. None after the timeout.
fn end(mut child: Child, reading: &mpsc::Receiver<()>, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    let mut read = reading.recv_timeout(timeout);
    while read.is_ok() && child.try_wait()?.is_none() {
        thread::sleep(POLL);
        if Instant::now() > deadline {
            read = Err(RecvTimeoutError::Timeout);
        }
    }
    // A child that has ended is not killed.
    let _ = child.kill();
    let status = child.wait()?;
    Ok((read != Err(RecvTimeoutError::Timeout)).then_some(status))
}

/// Whether the limit of its CPU time has ended it.
fn is_costly(status: ExitStatus) -> bool {
    status.code() == Some(ENDED_BY_SIGNAL) || matches!(status.signal(), Some(SIGKILL | SIGXCPU))
}
