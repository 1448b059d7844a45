//! Decoding of the formats of Symphonia, with libopus for Opus.

use std::io;
use std::sync::LazyLock;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::units::Duration;
use symphonia::default::formats::{AdtsReader, FlacReader, IsoMp4Reader, MkvReader, MpaReader, OggReader, WavReader};
use symphonia_adapter_libopus::OpusDecoder;

use super::claims::{MAX_TRACKS, check_codebooks};
use super::sniff::Kind;
use super::watch::Watch;
use super::{AudioError, Collected, MAX_CHANNELS, PLAUSIBLE_RATES_HZ, sbr};

/// The shortest packets of real encoders last 2.5 ms. Files may hold any
/// number of empty ones, which cost time and never reach the limit on length.
const MAX_PACKETS_PER_SECOND: u64 = 2_000;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<OpusDecoder>();
    codecs
});

/// A recording is damaged if one packet of so many cannot be decoded. Fewer of them are clicks.
const PACKETS_PER_CLICK: usize = 16;

/// Decodes the first sound track of a container.
///
/// Errors: besides limits, `Damaged` and `Unsupported`, possibly after samples were collected.
pub(super) fn decode(
    kind: Kind,
    source: Box<dyn MediaSource + '_>,
    collected: &mut Collected,
    watch: &Watch,
) -> Result<(), AudioError> {
    let mut reader = open(kind, MediaSourceStream::new(source, Default::default()))?;
    let (mut track_id, mut decoder) = choose_track(reader.as_ref())?;
    let declared_end = declared_end(kind, reader.as_ref());
    watch.check()?;

    let params = decoder.codec_params();
    let is_aac = params.codec == CODEC_ID_AAC;
    let mut extended = sbr::Count::of(params.extra_data.as_deref().unwrap_or_default());
    let (mut packets, mut bad) = (0, Bad::default());
    let mut interleaved = Vec::new();
    let max_packets = (u64::from(collected.max_seconds) + 1) * MAX_PACKETS_PER_SECOND;
    for _ in 0..max_packets {
        watch.check()?;
        let mut packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return finish(packets, bad, &extended),
            // Another Ogg file was joined to this one.
            Err(Error::ResetRequired) => {
                (track_id, decoder) = choose_track(reader.as_ref())?;
                continue;
            }
            Err(Error::IoError(error)) if kind.is_stream() && error.kind() == io::ErrorKind::UnexpectedEof => {
                return finish(packets, bad, &extended);
            }
            // The reader searches for the next frame.
            Err(error @ (Error::DecodeError(_) | Error::Unsupported(_))) if kind.is_stream() => {
                bad.note(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if packet.track_id != track_id {
            continue;
        }
        packets += 1;
        if declared_end.is_some_and(|end| packet.pts.get() >= end) {
            // Another MP3 file was joined to this one. The reader takes all of it for padding at the end of the first.
            packet.trim_end = Duration::ZERO;
        }
        if is_aac {
            extended.add(&packet.data);
        }
        match decoder.decode(&packet) {
            Ok(buffer) => append(&buffer, &mut interleaved, collected)?,
            Err(Error::ResetRequired) => return finish(packets, bad, &extended),
            // A bad packet does not end the recording. The decoder reads only the packet: its I/O errors mean that the
            // packet ends too early.
            Err(error) => bad.note(error),
        }
    }
    Err(AudioError::TooLong { max_seconds: collected.max_seconds })
}

/// The packets that could not be decoded.
#[derive(Default)]
struct Bad {
    count: usize,
    last: Option<Error>,
}

impl Bad {
    fn note(&mut self, error: Error) {
        self.count += 1;
        self.last = Some(error);
    }
}

/// The judgement at the end of the packets.
fn finish(packets: usize, bad: Bad, extended: &sbr::Count) -> Result<(), AudioError> {
    match bad.last {
        Some(error) if bad.count * PACKETS_PER_CLICK >= packets => Err(error.into()),
        _ if extended.is_he_aac() => Err(AudioError::Unsupported("the upper half of HE-AAC".into())),
        _ => Ok(()),
    }
}

pub(super) fn open<'s>(kind: Kind, stream: MediaSourceStream<'s>) -> Result<Box<dyn FormatReader + 's>, AudioError> {
    let options = FormatOptions::default();
    Ok(match kind {
        Kind::Wav => Box::new(WavReader::try_new(stream, options)?),
        Kind::Flac => Box::new(FlacReader::try_new(stream, options)?),
        Kind::Ogg => Box::new(OggReader::try_new(stream, options)?),
        Kind::Matroska => Box::new(MkvReader::try_new(stream, options)?),
        Kind::Mp4 => match IsoMp4Reader::try_new(stream, options) {
            Ok(reader) => Box::new(reader),
            // The file was cut before its index, which many recorders write last.
            Err(Error::Unsupported(reason)) => return Err(AudioError::Damaged(reason.into())),
            Err(error) => return Err(error.into()),
        },
        Kind::Mp3 => Box::new(MpaReader::try_new(stream, options)?),
        Kind::Adts => Box::new(AdtsReader::try_new(stream, options)?),
        _ => return Err(AudioError::Unsupported(format!("{kind:?} in this place"))),
    })
}

/// The time at which an MP3 file ends by its first frame, with the padding of its encoder.
fn declared_end(kind: Kind, reader: &dyn FormatReader) -> Option<i64> {
    let track = reader.tracks().first().filter(|_| kind == Kind::Mp3)?;
    i64::try_from(track.num_frames?.saturating_add(track.padding.unwrap_or_default().into())).ok()
}

pub(super) fn choose_track(reader: &dyn FormatReader) -> Result<(u32, Box<dyn AudioDecoder>), AudioError> {
    let unsupported = || AudioError::Unsupported("no sound track that can be decoded".into());
    if reader.tracks().len() > MAX_TRACKS {
        return Err(AudioError::Excessive(format!("more than {MAX_TRACKS} tracks")));
    }
    let track = reader.default_track(TrackType::Audio).ok_or_else(unsupported)?;
    let params = track.codec_params.as_ref().and_then(|params| params.audio()).ok_or_else(unsupported)?;
    if let Some(rate_hz) = params.sample_rate
        && !PLAUSIBLE_RATES_HZ.contains(&rate_hz)
    {
        return Err(AudioError::Damaged(format!("a sample rate of {rate_hz} Hz")));
    }
    if let Some(channels) = &params.channels
        && !(1..=MAX_CHANNELS).contains(&channels.count())
    {
        return Err(AudioError::Damaged(format!("{} channels", channels.count())));
    }
    if params.codec == CODEC_ID_VORBIS {
        check_codebooks(params.extra_data.as_deref().unwrap_or_default())?;
    }
    let decoder = CODECS.make_audio_decoder(params, &AudioDecoderOptions::default())?;
    Ok((track.id, decoder))
}

fn append(
    buffer: &GenericAudioBufferRef<'_>,
    interleaved: &mut Vec<f32>,
    collected: &mut Collected,
) -> Result<(), AudioError> {
    if buffer.frames() == 0 {
        return Ok(());
    }
    buffer.copy_to_vec_interleaved(interleaved);
    collected.push(buffer.spec().rate(), buffer.num_planes(), interleaved)
}

impl From<Error> for AudioError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported(reason) => AudioError::Unsupported(reason.into()),
            // Errors of reading the file are in the watch.
            other => AudioError::Damaged(other.to_string()),
        }
    }
}
