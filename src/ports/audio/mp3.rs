//! MP3 encoding with LAME, in a form that every toy can play.

use std::num::NonZeroU32;

use bytes::Bytes;
use mp3lame_encoder::{Bitrate, Builder, Encoder, FlushGap, Mode, MonoPcm, Quality, max_required_buffer_size};

use super::{AudioError, Sound, resample};

/// MPEG-2 layer III: cheap chips decode it, a bandwidth of 12 kHz suffices for a small loudspeaker, and its frames are
/// short (24 ms), so that even players that ignore the info tag add little silence.
const RATE_HZ: u32 = 24_000;

/// A sound louder than this is attenuated: the codec overshoots, and the decoder would clip.
const MAX_PEAK: f32 = 0.98;

/// Samples in a frame of MPEG-2 layer III.
const FRAME_SAMPLES: usize = 576;

/// The length of a frame, for each kbit/s. At 24 kHz it is a whole number, so that all frames of a file have the same
/// length.
const BYTES_PER_KBPS: usize = FRAME_SAMPLES / 8 * 1_000 / RATE_HZ as usize;

/// The silence that LAME adds before the sound, in samples.
const ENCODER_DELAY: usize = 576;

/// Samples handed over at a time: one second.
const CHUNK_SAMPLES: usize = RATE_HZ as usize;

/// The maximum output of LAME when it is flushed, in bytes.
const FLUSH_BYTES: usize = 7_200;

/// The sound as a constant bitrate MP3 (mono, 24 kHz), with the info tag, from which players learn the silence that the
/// codec added at both ends.
///
/// `bitrate_kbps` is rounded up to the next bitrate of the format, at most 160.
///
/// # Errors
/// [`AudioError::Empty`] without samples, [`AudioError::Encode`] otherwise.
pub fn encode_mp3(sound: &Sound, bitrate_kbps: u32) -> Result<Bytes, AudioError> {
    if sound.samples.is_empty() {
        return Err(AudioError::Empty);
    }
    let mut samples = resample(sound, RATE_HZ)?.samples;
    turn_down(&mut samples);

    let bitrate = bitrate(bitrate_kbps);
    let mut encoder = build(bitrate)?;
    let mut music = Vec::new();
    for chunk in samples.chunks(CHUNK_SAMPLES) {
        music.reserve(max_required_buffer_size(chunk.len()));
        encoder.encode_to_vec(MonoPcm(chunk), &mut music).map_err(failed)?;
    }
    music.reserve(FLUSH_BYTES);
    encoder.flush_to_vec::<FlushGap>(&mut music).map_err(failed)?;
    let mut mp3 = info_frame(music.len(), bitrate, samples.len());
    mp3.append(&mut music);
    Ok(mp3.into())
}

fn turn_down(samples: &mut [f32]) {
    let peak = samples.iter().fold(0_f32, |peak, sample| peak.max(sample.abs()));
    if peak > MAX_PEAK {
        let factor = MAX_PEAK / peak;
        samples.iter_mut().for_each(|sample| *sample *= factor);
    }
}

fn build(bitrate: Bitrate) -> Result<Encoder, AudioError> {
    let mut builder = Builder::new().ok_or_else(|| AudioError::Encode("LAME has no memory".into()))?;
    builder.set_num_channels(1).map_err(failed)?;
    builder.set_mode(Mode::Mono).map_err(failed)?;
    builder.set_sample_rate(RATE_HZ).map_err(failed)?;
    // By default, LAME reduces the rate to 16 kHz for small bitrates.
    builder.set_output_sample_rate(NonZeroU32::new(RATE_HZ)).map_err(failed)?;
    builder.set_brate(bitrate).map_err(failed)?;
    builder.set_quality(Quality::Good).map_err(failed)?;
    builder.set_to_write_vbr_tag(false).map_err(failed)?;
    builder.build().map_err(failed)
}

/// The frame of metadata before the sound.
///
/// It is written here because LAME omits it below 64 kbit/s, where its frames are too short to hold one; a frame of its
/// own bitrate is allowed.
fn info_frame(music_bytes: usize, kbps: Bitrate, samples: usize) -> Vec<u8> {
    const FRAME_BYTES: usize = BYTES_PER_KBPS * 64;
    let frames = music_bytes / (BYTES_PER_KBPS * kbps as usize);
    let padding = (frames * FRAME_SAMPLES).saturating_sub(ENCODER_DELAY + samples).min(0xfff);
    let (frames, bytes) = (frames as u32, (FRAME_BYTES + music_bytes) as u32);

    // MPEG-2 layer III, 64 kbit/s, 24 kHz, mono; then its empty side information.
    let mut frame = vec![0xff, 0xf3, 0x84, 0xc4];
    frame.extend([0; 9]);
    // The number of frames and of bytes follow, nothing else.
    frame.extend(b"Info\0\0\0\x03");
    frame.extend(frames.to_be_bytes());
    frame.extend(bytes.to_be_bytes());
    // The encoder, constant bitrate, then lowpass, gains and flags unset.
    frame.extend(b"LAME3.100\x01");
    frame.extend([0; 11]);
    let silence = (ENCODER_DELAY as u32) << 12 | padding as u32;
    frame.extend(&silence.to_be_bytes()[1..]);
    // The rest, checksums included, is zero, which means "not given".
    frame.resize(FRAME_BYTES, 0);
    frame
}

fn bitrate(kbps: u32) -> Bitrate {
    match kbps {
        0..=16 => Bitrate::Kbps16,
        17..=24 => Bitrate::Kbps24,
        25..=32 => Bitrate::Kbps32,
        33..=40 => Bitrate::Kbps40,
        41..=48 => Bitrate::Kbps48,
        49..=64 => Bitrate::Kbps64,
        65..=80 => Bitrate::Kbps80,
        81..=96 => Bitrate::Kbps96,
        97..=112 => Bitrate::Kbps112,
        113..=128 => Bitrate::Kbps128,
        _ => Bitrate::Kbps160,
    }
}

fn failed(error: impl std::fmt::Display) -> AudioError {
    AudioError::Encode(error.to_string())
}
