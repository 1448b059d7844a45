//! AMR narrow band: 20 ms frames of telephone speech, 8 kHz.

use std::io::Read;
use std::time::Duration;

use codec_core::codecs::amr::{AmrCodec, AmrFrameType, AmrStorageReader};
use codec_core::types::{CodecConfig, CodedFrame, FrameKind, VariableRateCodec};

use super::watch::Watch;
use super::{AudioError, Collected};

const MAGIC: &[u8] = b"#!AMR\n";
const RATE_HZ: u32 = 8_000;
const FRAMES_PER_SECOND: u64 = 50;
/// A frame at 12.2 kbit/s, the largest, with its header.
const MAX_FRAME_BYTES: u64 = 32;

/// Decodes a `#!AMR\n` file.
pub(super) fn decode(source: impl Read, collected: &mut Collected, watch: &Watch) -> Result<(), AudioError> {
    // One frame above the limit is enough to detect that the file is too long.
    let max_frames = u64::from(collected.max_seconds) * FRAMES_PER_SECOND + 1;
    let mut file = Vec::new();
    source.take(MAGIC.len() as u64 + max_frames * MAX_FRAME_BYTES).read_to_end(&mut file)?;

    let mut frames = AmrStorageReader::new(&file).map_err(damaged)?;
    let mut codec = AmrCodec::new(&CodecConfig::amr_nb()).map_err(damaged)?;
    // A frame without data belongs to the last speech mode.
    let mut mode = 0;
    let mut mono = Vec::new();
    while let Some(frame) = frames.next_frame().map_err(damaged)? {
        watch.check()?;
        let kind = match frame.frame_type {
            AmrFrameType::Speech(spoken) => {
                mode = spoken.index();
                FrameKind::Speech
            }
            AmrFrameType::Sid(_) => FrameKind::ComfortNoise,
            AmrFrameType::NoData => FrameKind::NoData,
            AmrFrameType::SpeechLost => FrameKind::Lost,
        };
        let coded = CodedFrame { kind, mode, quality_ok: frame.quality_ok, data: frame.data };
        let samples = codec.decode_frame(&coded).map_err(damaged)?;
        mono.clear();
        mono.extend(samples.iter().map(|sample| f32::from(*sample) / 32_768.0));
        collected.push(RATE_HZ, 1, &mono)?;
    }
    Ok(())
}

/// The duration of a recording, if it is an undamaged file of AMR narrow band, with speech.
pub fn duration_of_amr(recording: &[u8]) -> Option<Duration> {
    if !recording.starts_with(MAGIC) {
        return None;
    }
    let mut frames = AmrStorageReader::new(recording).ok()?;
    let (mut count, mut has_speech) = (0, false);
    while let Some(frame) = frames.next_frame().ok()? {
        count += 1;
        has_speech |= matches!(frame.frame_type, AmrFrameType::Speech(_));
    }
    has_speech.then(|| Duration::from_millis(count * 1000 / FRAMES_PER_SECOND))
}

fn damaged(error: impl std::fmt::Display) -> AudioError {
    AudioError::Damaged(error.to_string())
}
