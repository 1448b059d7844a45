//! Mono sound in, MP3 or Opus packets out.
//!
//! Every recording is decoded to a [`Sound`]: one channel of samples at their own rate. The format is detected by the
//! content, never by a file name or a declared type. The decoders of this process come first. If they cannot read a
//! recording, or not all of it, `ffmpeg` decides in a limited child process; if it is not installed or cannot read it
//! either, the part that this process has decoded counts. A recording beyond a limit is refused at once.
//!
//! Every function blocks and none needs a runtime: callers run them on their bounded blocking pool, which thereby limits
//! the number of child processes. The input is untrusted, so each decoder runs with limits on CPU time, on packets and
//! on declared sizes, and panics are caught.

mod amr;
mod claims;
mod container;
mod ffmpeg;
mod loudness;
mod mix;
mod mp3;
mod ogg;
mod opus;
mod parts;
mod player;
mod resample;
mod sbr;
mod sniff;
mod watch;
mod wav;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Cursor, SeekFrom, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cpu_time::ThreadTime;
use symphonia::core::io::{MediaSource, ReadOnlySource};
use tracing::debug;

pub use amr::duration_of_amr;
pub use ffmpeg::find_program;
pub use loudness::level;
use mix::Collected;
pub use mp3::encode_mp3;
pub use ogg::OggWriter;
pub use opus::{OPUS_IN_HZ, OPUS_OUT_HZ, OPUS_OUT_MS, OpusReader, OpusWriter};
use parts::Part;
pub use player::Player;
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
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// The program for recordings that this process cannot read; none to do without it.
    pub ffmpeg: Option<Ffmpeg>,
}

/// The `ffmpeg` program, and the limits of one run. Its CPU time is what is left of that of the recording.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    /// Its name or path.
    pub program: PathBuf,
    /// It is killed after this time.
    pub timeout: Duration,
    /// The memory that it may allocate.
    pub memory_max_bytes: u64,
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
    /// It declares more than a recording has.
    #[error("the recording is excessive: {0}")]
    Excessive(String),
    /// Decoding takes more than the limit of CPU time.
    #[error("the recording takes too long to decode")]
    TooCostly,
    /// A known format without a decoder here.
    #[error("this kind of recording is not supported: {0}")]
    Unsupported(String),
    /// The sound could not be resampled or written as MP3.
    #[error("the sound could not be converted: {0}")]
    Encode(String),
    /// The file could not be read.
    #[error("the recording could not be read")]
    Io(#[from] io::Error),
}

/// The file extension of a sound in a common format, by its first bytes. None for other formats, and for a stream that
/// begins behind anything but tags: not every player finds it.
pub fn extension_of(sound: &[u8]) -> Option<&'static str> {
    // Reading from memory does not fail.
    let found = sniff::recognise(&mut Cursor::new(sound)).ok()??;
    match found.kind {
        _ if found.is_behind_junk => None,
        Kind::Wav => Some("wav"),
        Kind::Flac => Some("flac"),
        Kind::Ogg => Some("ogg"),
        Kind::Mp4 => Some("m4a"),
        Kind::Mp3 => Some("mp3"),
        _ => None,
    }
}

/// Where a recording is.
#[derive(Debug, Clone)]
pub enum Place<'p> {
    /// In a file.
    File(&'p Path),
    /// In memory. If `ffmpeg` has to read it, it is written to a file in this folder.
    Memory(Bytes, &'p Path),
}

impl<'p, P: AsRef<Path> + ?Sized> From<&'p P> for Place<'p> {
    fn from(path: &'p P) -> Self {
        Self::File(path.as_ref())
    }
}

/// Decodes a recording into one channel.
///
/// If a recording breaks off or is damaged in the middle, the part that can be decoded is returned.
///
/// # Errors
/// Every variant of [`AudioError`] but `Encode`.
pub fn decode<'p>(place: impl Into<Place<'p>>, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    let place = place.into();
    let source: Box<dyn MediaSource> = match &place {
        Place::File(path) => Box::new(File::open(path)?),
        Place::Memory(bytes, _) => Box::new(Cursor::new(bytes.clone())),
    };
    decode_source(source, Some(place), limits)
}

/// Decodes a recording held in memory, like [`decode`], in this process alone.
///
/// # Errors
/// Every variant of [`AudioError`] but `Encode`.
pub fn decode_bytes(bytes: Bytes, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    decode_source(Box::new(Cursor::new(bytes)), None, limits)
}

fn decode_source(
    mut source: Box<dyn MediaSource>,
    place: Option<Place<'_>>,
    limits: &DecodeLimits,
) -> Result<Sound, AudioError> {
    let started = ThreadTime::try_now()?;
    let Found { kind, offset, .. } = sniff::recognise(&mut source)?.ok_or(AudioError::NotSound)?;
    let own = decode_here(kind, offset, source, limits)?;
    let Some(doubt) = own.doubt else {
        return own.sound.ok_or(AudioError::Empty);
    };
    debug!(%doubt, "this process cannot read a recording, or not all of it");
    let cpu_left = limits.cpu_max.saturating_sub(started.try_elapsed()?);
    let theirs = match (&limits.ffmpeg, place, kind.demultiplexer()) {
        (Some(ffmpeg), Some(place), Some(format)) => {
            let limits = DecodeLimits { cpu_max: cpu_left, ..limits.clone() };
            match place {
                Place::File(path) => ffmpeg::decode(ffmpeg, format, path, &limits),
                Place::Memory(bytes, folder) => {
                    let mut file = tempfile::Builder::new().prefix("upload-").tempfile_in(folder)?;
                    file.write_all(&bytes)?;
                    ffmpeg::decode(ffmpeg, format, file.path(), &limits)
                }
            }
        }
        _ => return own.sound.ok_or(doubt),
    };
    match (own.sound, theirs) {
        // It may have lost more of a damaged recording.
        (Some(own), Ok(theirs)) if theirs.duration() < own.duration().mul_f64(0.9) => Ok(own),
        (_, Ok(theirs)) => Ok(theirs),
        (_, Err(error @ AudioError::TooLong { .. })) => Err(error),
        (Some(own), Err(_)) => Ok(own),
        (None, Err(error @ AudioError::TooCostly)) => Err(error),
        (None, Err(_)) => Err(doubt),
    }
}

/// What the decoders of this process have made of a recording.
struct Attempt {
    /// All that could be decoded; none without a sample.
    sound: Option<Sound>,
    /// Why there may be more, or better, in the recording: `Damaged` or `Unsupported`.
    doubt: Option<AudioError>,
}

/// Decodes a recording in this process. Errors: a limit, or a file that could not be read.
fn decode_here(
    kind: Kind,
    offset: u64,
    source: Box<dyn MediaSource>,
    limits: &DecodeLimits,
) -> Result<Attempt, AudioError> {
    if !kind.is_decoded_here() {
        let doubt = AudioError::Unsupported(format!("{kind:?} is not decoded in this process"));
        return Ok(Attempt { sound: None, doubt: Some(doubt) });
    }
    attempt(source, limits, |mut source, collected, watch| {
        let starts = parts::starts(kind, source.as_mut(), offset)?;
        let len = source.seek(SeekFrom::End(0))?;
        let ends = starts.iter().skip(1).copied().chain([len]);
        let mut outcome = Ok(());
        for (begin, end) in starts.iter().zip(ends) {
            match decode_part(kind, Part::new(source.as_mut(), *begin, end)?, collected, watch) {
                // The next part may be undamaged.
                Err(doubt @ (AudioError::Damaged(_) | AudioError::Unsupported(_) | AudioError::Io(_))) => {
                    outcome = Err(doubt);
                }
                decoded => decoded?,
            }
        }
        outcome
    })
}

fn decode_part(kind: Kind, mut part: Part<'_>, collected: &mut Collected, watch: &Watch) -> Result<(), AudioError> {
    match kind {
        Kind::AmrNarrow => amr::decode(part, collected, watch),
        Kind::Wav => container::decode(kind, wav::mend(part)?, collected, watch),
        // Read as a stream of unknown length: if the reader knew the length of a truncated file, it would refuse all of
        // it.
        Kind::Matroska => container::decode(kind, Box::new(ReadOnlySource::new(part)), collected, watch),
        Kind::Mp4 => {
            let declared_len = claims::check_movie(&mut part)?;
            part.declare(declared_len);
            container::decode(kind, Box::new(part), collected, watch)
        }
        _ => container::decode(kind, Box::new(part), collected, watch),
    }
}

/// Runs a decoder with a watch.
fn attempt(
    source: Box<dyn MediaSource>,
    limits: &DecodeLimits,
    decode: impl FnOnce(Box<dyn MediaSource>, &mut Collected, &Watch) -> Result<(), AudioError>,
) -> Result<Attempt, AudioError> {
    let mut collected = Collected::new(limits.max_seconds);
    let watch = Watch::start(limits.cpu_max)?;
    let source = watch.over(source);
    // A decoder that panics on a hostile file must not end its thread. `collected` stays valid: samples are only
    // appended to it.
    let outcome = catch_unwind(AssertUnwindSafe(|| decode(source, &mut collected, &watch)))
        .unwrap_or_else(|_| Err(AudioError::Damaged("its decoder failed".into())));
    if let Some(verdict) = watch.verdict() {
        return Err(verdict);
    }
    let doubt = match outcome {
        Ok(()) => None,
        // The file itself could be read: the decoder reports invalid bytes as an I/O error.
        Err(AudioError::Io(cause)) => Some(AudioError::Damaged(cause.to_string())),
        Err(doubt @ (AudioError::Damaged(_) | AudioError::Unsupported(_))) => Some(doubt),
        Err(limit) => return Err(limit),
    };
    Ok(Attempt { sound: collected.mixed(), doubt })
}
