//! Mono sound in, MP3 out.
//!
//! Every recording is decoded to a [`Sound`]: one channel of samples at their own rate. The format is detected by the
//! content, never by a file name or a declared type. Most formats are decoded in this process; AMR-WB, and AMR inside
//! 3GP or MP4, are decoded by `ffmpeg` in a limited child process.
//!
//! Every function blocks and none needs a runtime: callers run them on their bounded blocking pool. The input is
//! untrusted, so each decoder runs with limits on CPU time, on packets and on declared sizes, and panics are caught.

mod amr;
mod claims;
mod container;
mod ffmpeg;
mod loudness;
mod mp3;
mod resample;
mod sniff;
mod watch;
mod wav;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use symphonia::core::io::{MediaSource, ReadOnlySource};
use tracing::debug;

pub use loudness::level;
pub use mp3::encode_mp3;
pub use resample::resample;
use sniff::{Found, Kind};
use watch::Watch;
pub use wav::encode_wav;

/// The permitted sample rates of a recording, in Hz: rates below telephone quality and above studio quality occur only
/// in damaged headers.
const PLAUSIBLE_RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// The most channels that a recording may have.
const MAX_CHANNELS: usize = 8;

/// One channel of sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate_hz: u32,
    /// The samples, each from -1 to 1.
    pub samples: Vec<f32>,
}

impl Sound {
    /// The duration of the sound.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.rate_hz.max(1)))
    }
}

/// The limits of decoding one recording.
#[derive(Debug, Clone)]
pub struct DecodeLimits {
    /// The longest recording that is accepted, in seconds.
    pub max_seconds: u32,
    /// The CPU time that decoding may take.
    pub cpu_max: Duration,
    /// The `ffmpeg` program; without it AMR-WB and AMR in 3GP are unsupported.
    pub ffmpeg: Option<PathBuf>,
    /// After this time `ffmpeg` is killed.
    pub ffmpeg_timeout: Duration,
}

/// Why a recording could not be decoded or encoded.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The bytes are not of any sound format known here.
    #[error("this is not a sound file")]
    NotSound,
    /// A sound format, but without a single sample.
    #[error("the recording is empty")]
    Empty,
    /// The recording is longer than the limit.
    #[error("the recording is longer than {max_seconds} seconds")]
    TooLong {
        /// The limit, in seconds.
        max_seconds: u32,
    },
    /// A known format, of which nothing could be decoded.
    #[error("the recording is damaged: {0}")]
    Damaged(String),
    /// Decoding takes more than the limit of CPU time.
    #[error("the recording takes too long to decode")]
    TooCostly,
    /// A known format without a decoder here.
    #[error("this kind of recording is not supported: {0}")]
    Unsupported(String),
    /// The sound could not be resampled or written as MP3.
    #[error("the sound could not be converted: {0}")]
    Encode(String),
    /// The file could not be read, or `ffmpeg` could not be started.
    #[error("the recording could not be read")]
    Io(#[from] io::Error),
}

/// The file extension of a sound in a common format, by its first bytes; none for other formats.
pub fn extension_of(sound: &[u8]) -> Option<&'static str> {
    // Reading from memory does not fail.
    match sniff::recognise(&mut Cursor::new(sound)).ok()??.kind {
        Kind::Wav => Some("wav"),
        Kind::Flac => Some("flac"),
        Kind::Ogg => Some("ogg"),
        Kind::Mp4 => Some("m4a"),
        Kind::Mp3 => Some("mp3"),
        Kind::Matroska | Kind::Adts | Kind::AmrNarrow | Kind::AmrWide | Kind::AmrManyChannels => None,
    }
}

/// Decodes the file at `path` into one channel.
///
/// If a recording breaks off or is damaged in the middle, the part decoded until then is returned.
///
/// # Errors
/// Every variant of [`AudioError`] but `Encode`.
pub fn decode(path: &Path, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    decode_source(Box::new(File::open(path)?), Some(path), limits)
}

/// Decodes a recording held in memory, like [`decode`]. Formats that only `ffmpeg` decodes need a file and are
/// [`AudioError::Unsupported`] here.
///
/// # Errors
/// Every variant of [`AudioError`] but `Encode`.
pub fn decode_bytes(bytes: Bytes, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    decode_source(Box::new(Cursor::new(bytes)), None, limits)
}

fn decode_source(
    mut source: Box<dyn MediaSource>,
    path: Option<&Path>,
    limits: &DecodeLimits,
) -> Result<Sound, AudioError> {
    let Found { kind, offset } = sniff::recognise(&mut source)?.ok_or(AudioError::NotSound)?;
    match kind {
        Kind::AmrNarrow => guarded(source, limits, amr::decode),
        Kind::AmrWide => ffmpeg::decode("amr", path, limits),
        Kind::AmrManyChannels => Err(AudioError::Unsupported("AMR with several channels".into())),
        Kind::Wav => guarded(source, limits, |source, collected, watch| {
            container::decode(kind, wav::mend(source)?, 0, collected, watch)
        }),
        // Read as a stream of unknown length: if the reader knew the length of a truncated file, it would refuse all of
        // it.
        Kind::Matroska => guarded(source, limits, |source, collected, watch| {
            container::decode(kind, Box::new(ReadOnlySource::new(source)), 0, collected, watch)
        }),
        Kind::Mp4 => {
            claims::check_tracks(source.as_mut())?;
            let outcome = guarded(source, limits, |source, collected, watch| {
                container::decode(kind, source, offset, collected, watch)
            });
            let Err(AudioError::Unsupported(reason)) = outcome else {
                return outcome;
            };
            // The track may be AMR, as in the 3GP files of older phones.
            ffmpeg::decode("mov", path, limits).map_err(|error| match error {
                AudioError::Damaged(_) | AudioError::Unsupported(_) => AudioError::Unsupported(reason),
                other => other,
            })
        }
        _ => guarded(source, limits, |source, collected, watch| {
            container::decode(kind, source, offset, collected, watch)
        }),
    }
}

/// The samples decoded so far, and their limit.
struct Collected {
    max_seconds: u32,
    rate_hz: u32,
    samples: Vec<f32>,
}

impl Collected {
    /// Appends samples of one channel.
    fn push(&mut self, rate_hz: u32, samples: impl Iterator<Item = f32>) -> Result<(), AudioError> {
        if !PLAUSIBLE_RATES_HZ.contains(&rate_hz) {
            return Err(AudioError::Damaged(format!("a sample rate of {rate_hz} Hz")));
        }
        if self.rate_hz != rate_hz && !self.samples.is_empty() {
            return Err(AudioError::Damaged("the sample rate changes".into()));
        }
        self.rate_hz = rate_hz;
        // Floating point files may hold anything, infinity and NaN included.
        self.samples.extend(samples.map(|sample| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }));
        if self.samples.len() as u64 > u64::from(self.max_seconds) * u64::from(rate_hz) {
            return Err(AudioError::TooLong { max_seconds: self.max_seconds });
        }
        Ok(())
    }
}

/// Runs a decoder with a watch. Damage after the first samples only ends the sound.
fn guarded(
    source: Box<dyn MediaSource>,
    limits: &DecodeLimits,
    decode: impl FnOnce(Box<dyn MediaSource>, &mut Collected, &Watch) -> Result<(), AudioError>,
) -> Result<Sound, AudioError> {
    let mut collected = Collected { max_seconds: limits.max_seconds, rate_hz: 0, samples: Vec::new() };
    let watch = Watch::start(limits.cpu_max)?;
    let source = watch.over(source);
    // A decoder that panics on a hostile file must not end its thread. `collected` stays valid: samples are only
    // appended to it.
    let outcome = catch_unwind(AssertUnwindSafe(|| decode(source, &mut collected, &watch)))
        .unwrap_or_else(|_| Err(AudioError::Damaged("its decoder failed".into())));
    if let Some(verdict) = watch.verdict() {
        return Err(verdict);
    }
    let outcome = outcome.map_err(|error| match error {
        // The file itself could be read: the decoder reports invalid bytes as an I/O error.
        AudioError::Io(cause) => AudioError::Damaged(cause.to_string()),
        error => error,
    });
    let Collected { rate_hz, samples, .. } = collected;
    match outcome {
        Ok(()) if samples.is_empty() => Err(AudioError::Empty),
        Ok(()) => Ok(Sound { rate_hz, samples }),
        Err(AudioError::Damaged(reason)) if !samples.is_empty() => {
            debug!(reason, "a damaged recording was cut short");
            Ok(Sound { rate_hz, samples })
        }
        Err(error) => Err(error),
    }
}
