//! Writes WAV files, and corrects the headers of received ones.
//!
//! Small recorders write the header first and never update it: the lengths are then 0, 0xFFFFFFFF or larger than the
//! file. A new header with the true lengths is put before the samples; chunks without samples are dropped.

use std::io::{self, Cursor, Read, SeekFrom};

use bytes::Bytes;
use hound::{SampleFormat, WavSpec, WavWriter};
use symphonia::core::io::{MediaSource, ReadOnlySource};

use super::{AudioError, Sound};

/// The format chunk has 16 to 40 bytes, and a few hundred with the
/// coefficients of ADPCM.
const MAX_FORMAT_BYTES: u32 = 4096;

/// More chunks than this before the samples are an attack.
const MAX_CHUNKS: usize = 1000;

/// The sound as WAV: one channel of 16 bits at its own rate.
///
/// # Errors
/// [`AudioError::Empty`] without samples, [`AudioError::Encode`] otherwise.
pub fn encode_wav(sound: &Sound) -> Result<Bytes, AudioError> {
    if sound.samples.is_empty() {
        return Err(AudioError::Empty);
    }
    let failed = |error: hound::Error| AudioError::Encode(error.to_string());
    let format =
        WavSpec { channels: 1, sample_rate: sound.rate_hz, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, format).map_err(failed)?;
    for sample in &sound.samples {
        // A float that is too large becomes the nearest integer, and NaN becomes 0.
        writer.write_sample((sample * 32768.0).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    Ok(file.into_inner().into())
}

/// Puts a header with the true lengths before the samples of a WAV file.
pub(super) fn mend<'s>(mut source: impl MediaSource + 's) -> Result<Box<dyn MediaSource + 's>, AudioError> {
    let file_len = source.seek(SeekFrom::End(0))?;
    let mut position = source.seek(SeekFrom::Start(12))?;
    let mut header = b"RIFF\xff\xff\xff\xffWAVE".to_vec();

    for _ in 0..MAX_CHUNKS {
        let (id, declared) = read_chunk_head(&mut source)?;
        position += 8;
        let remaining = file_len.saturating_sub(position);
        match &id {
            b"data" => {
                let known = declared != 0 && u64::from(declared) <= remaining;
                // 0xFFFFFFFF would mean "unknown" again.
                let longest = u64::from(u32::MAX - 1);
                let len = if known { declared } else { remaining.min(longest) as u32 };
                header.extend_from_slice(b"data");
                header.extend_from_slice(&len.to_le_bytes());
                let samples = source.take(u64::from(len));
                return Ok(Box::new(ReadOnlySource::new(Cursor::new(header).chain(samples))));
            }
            b"fmt " if declared <= MAX_FORMAT_BYTES => {
                header.extend_from_slice(b"fmt ");
                header.extend_from_slice(&declared.to_le_bytes());
                let padded = u64::from(declared) + u64::from(declared % 2);
                let read = source.by_ref().take(padded).read_to_end(&mut header)?;
                if (read as u64) < padded {
                    break;
                }
            }
            _ => {}
        }
        position += u64::from(declared) + u64::from(declared % 2);
        source.seek(SeekFrom::Start(position))?;
    }
    Err(AudioError::Damaged("a WAV file without samples".into()))
}

fn read_chunk_head(source: &mut dyn MediaSource) -> Result<([u8; 4], u32), AudioError> {
    let (mut id, mut len) = ([0; 4], [0; 4]);
    source.read_exact(&mut id).and_then(|()| source.read_exact(&mut len)).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => AudioError::Damaged("a WAV file without samples".into()),
        _ => error.into(),
    })?;
    Ok((id, u32::from_le_bytes(len)))
}
