//! Sample rate conversion.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};

use super::{AudioError, PLAUSIBLE_RATES_HZ, Sound};

/// Frames per step: long enough for a steep filter, short enough to stay in
/// the processor's cache.
const CHUNK_FRAMES: usize = 1024;

/// The same sound at another rate, with the same duration: the delay of the filter is removed.
///
/// # Errors
/// [`AudioError::Encode`] when one of the rates is outside 4 to 192 kHz.
pub fn resample(sound: &Sound, rate_hz: u32) -> Result<Sound, AudioError> {
    for rate in [sound.rate_hz, rate_hz] {
        if !PLAUSIBLE_RATES_HZ.contains(&rate) {
            return Err(AudioError::Encode(format!("a sample rate of {rate} Hz")));
        }
    }
    if sound.rate_hz == rate_hz || sound.samples.is_empty() {
        return Ok(Sound { rate_hz, samples: sound.samples.clone() });
    }
    let failed = |error: &dyn std::fmt::Display| AudioError::Encode(error.to_string());
    let frames = sound.samples.len();
    let input = InterleavedOwned::new_from(sound.samples.clone(), 1, frames).map_err(|error| failed(&error))?;
    let (from, to) = (sound.rate_hz as usize, rate_hz as usize);
    let samples = Fft::<f32>::new(from, to, CHUNK_FRAMES, 1, FixedSync::Both)
        .map_err(|error| failed(&error))?
        .process_all(&input, frames, None)
        .map_err(|error| failed(&error))?
        .take_data();
    Ok(Sound { rate_hz, samples })
}
