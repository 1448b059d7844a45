//! Sample rate conversion.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};

use super::{AudioError, PLAUSIBLE_RATES_HZ, Sound};

/// Frames per step: long enough for a steep filter, short enough to stay in
/// the processor's cache.
const CHUNK_FRAMES: usize = 1024;

/// Changes the rate of a sound that comes in pieces.
pub(super) struct Resampling {
    /// None between equal rates.
    filter: Option<Fft<f32>>,
    from_hz: u32,
    to_hz: u32,
    /// Samples that do not fill a step yet.
    waiting: Vec<f32>,
    /// Samples of the filter's delay, which come first and are left out.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampling {
    /// Between two rates, in Hz, which are within 4 to 192 kHz. Errors: `Encode`.
    pub(super) fn new(from_hz: u32, to_hz: u32) -> Result<Self, AudioError> {
        let filter = match from_hz == to_hz {
            true => None,
            false => Some(
                Fft::<f32>::new(from_hz as usize, to_hz as usize, CHUNK_FRAMES, 1, FixedSync::Both)
                    .map_err(|error| AudioError::Encode(error.to_string()))?,
            ),
        };
        let delay = filter.as_ref().map_or(0, Fft::output_delay);
        Ok(Self { filter, from_hz, to_hz, waiting: Vec::new(), delay, taken: 0, given: 0 })
    }

    /// The rate of the input, in Hz.
    pub(super) fn input_hz(&self) -> u32 {
        self.from_hz
    }

    /// Takes the next samples, and appends those that are ready to `out`. Errors: `Encode`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        self.taken += samples.len() as u64;
        self.filtered(samples, out)
    }

    /// Appends the samples that the filter still holds. Errors: `Encode`.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let whole = (self.taken * u64::from(self.to_hz)).div_ceil(u64::from(self.from_hz));
        while self.filter.is_some() && self.given < whole {
            self.filtered(&[0.0; CHUNK_FRAMES], out)?;
        }
        let surplus = usize::try_from(self.given.saturating_sub(whole)).unwrap_or(usize::MAX);
        out.truncate(out.len().saturating_sub(surplus));
        self.given = whole;
        Ok(())
    }

    fn filtered(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), AudioError> {
        let Some(filter) = &mut self.filter else {
            out.extend_from_slice(samples);
            self.given += samples.len() as u64;
            return Ok(());
        };
        let failed = |error: &dyn std::fmt::Display| AudioError::Encode(error.to_string());
        self.waiting.extend_from_slice(samples);
        loop {
            let frames = filter.input_frames_next();
            if self.waiting.len() < frames {
                return Ok(());
            }
            let step: Vec<f32> = self.waiting.drain(..frames).collect();
            let step = InterleavedOwned::new_from(step, 1, frames).map_err(|error| failed(&error))?;
            let made = filter.process(&step, None).map_err(|error| failed(&error))?.take_data();
            let late = self.delay.min(made.len());
            self.delay -= late;
            out.extend_from_slice(&made[late..]);
            self.given += (made.len() - late) as u64;
        }
    }
}

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
