//! How loud a sound seems, and bringing it to the loudness of a recording.
//!
//! Measured as ITU-R BS.1770 does: through a filter that hears as people do, in overlapping blocks, of which the quiet
//! ones do not count. Speech and a song that measure alike seem equally loud.

use super::Sound;

/// Loudness that spoken answers get, in LUFS: that of voices recorded close to a telephone.
const TARGET_LUFS: f64 = -16.0;

/// Nothing is made louder by more than this, in decibels: near silence stays near silence.
const GAIN_MAX_DB: f64 = 24.0;

/// From here on peaks are bent, …
const KNEE: f32 = 0.6;
/// … so that none comes above this, which leaves the codec its overshoot.
const PEAK_MAX: f32 = 0.85;

/// A block, and the step to the next one, in seconds.
const BLOCK_S: f64 = 0.4;
const STEP_S: f64 = 0.1;

/// Blocks below this do not count at all, …
const SILENCE_LUFS: f64 = -70.0;
/// … nor do those that are by so much quieter than the others.
const GATE_LU: f64 = 10.0;

/// Brings a sound to the loudness of a recording. One that is silent stays as it is.
pub fn level(sound: &mut Sound) {
    // The second time for what was lost with the peaks.
    for _ in 0..2 {
        let Some(loudness) = loudness_lufs(sound) else { return };
        let gain_db = (TARGET_LUFS - loudness).min(GAIN_MAX_DB);
        let gain = 10.0_f64.powf(gain_db / 20.0) as f32;
        for sample in &mut sound.samples {
            *sample = limited(*sample * gain);
        }
    }
}

fn limited(sample: f32) -> f32 {
    let size = sample.abs();
    if size <= KNEE {
        return sample;
    }
    let room = PEAK_MAX - KNEE;
    (KNEE + room * ((size - KNEE) / room).tanh()).copysign(sample)
}

/// The loudness, in LUFS; none of silence.
fn loudness_lufs(sound: &Sound) -> Option<f64> {
    let rate = f64::from(sound.rate_hz);
    let mut ear = [Filter::shelf(rate), Filter::high_pass(rate)];
    let power: Vec<f64> = sound
        .samples
        .iter()
        .map(|sample| ear.iter_mut().fold(f64::from(*sample), |value, filter| filter.next(value)).powi(2))
        .collect();
    // What is shorter than a block is one.
    let block = ((rate * BLOCK_S) as usize).clamp(1, power.len().max(1));
    let step = ((rate * STEP_S) as usize).max(1);
    let blocks: Vec<f64> =
        power.windows(block).step_by(step).map(|block| block.iter().sum::<f64>() / block.len() as f64).collect();
    let audible = mean_above(&blocks, SILENCE_LUFS)?;
    mean_above(&blocks, (lufs(audible) - GATE_LU).max(SILENCE_LUFS)).map(lufs)
}

fn lufs(power: f64) -> f64 {
    -0.691 + 10.0 * power.log10()
}

fn mean_above(blocks: &[f64], gate_lufs: f64) -> Option<f64> {
    let loud: Vec<f64> = blocks.iter().copied().filter(|power| lufs(*power) > gate_lufs).collect();
    (!loud.is_empty()).then(|| loud.iter().sum::<f64>() / loud.len() as f64)
}

/// A filter of second order.
struct Filter {
    forward: [f64; 3],
    back: [f64; 2],
    state: [f64; 2],
}

impl Filter {
    /// The head's effect: what is high seems louder. The analogue prototypes are those behind the standard's figures
    /// for 48 kHz.
    fn shelf(rate_hz: f64) -> Self {
        let (frequency, gain_db, quality) = (1681.974450955533, 3.999843853973347, 0.7071752369554196);
        let warped = warp(frequency, rate_hz);
        let high = 10.0_f64.powf(gain_db / 20.0);
        let middle = high.powf(0.4996667741545416);
        let scale = 1.0 + warped / quality + warped * warped;
        Self {
            forward: [
                (high + middle * warped / quality + warped * warped) / scale,
                2.0 * (warped * warped - high) / scale,
                (high - middle * warped / quality + warped * warped) / scale,
            ],
            back: back(warped, quality, scale),
            state: [0.0; 2],
        }
    }

    /// What is very low is hardly heard.
    fn high_pass(rate_hz: f64) -> Self {
        let (frequency, quality) = (38.13547087602444, 0.5003270373238773);
        let warped = warp(frequency, rate_hz);
        let scale = 1.0 + warped / quality + warped * warped;
        Self { forward: [1.0, -2.0, 1.0], back: back(warped, quality, scale), state: [0.0; 2] }
    }

    fn next(&mut self, value: f64) -> f64 {
        let out = self.forward[0] * value + self.state[0];
        self.state[0] = self.forward[1] * value - self.back[0] * out + self.state[1];
        self.state[1] = self.forward[2] * value - self.back[1] * out;
        out
    }
}

fn warp(frequency_hz: f64, rate_hz: f64) -> f64 {
    // Below 4 kHz no rate is; the limit only keeps the tangent finite.
    (std::f64::consts::PI * (frequency_hz / rate_hz).min(0.49)).tan()
}

fn back(warped: f64, quality: f64, scale: f64) -> [f64; 2] {
    [2.0 * (warped * warped - 1.0) / scale, (1.0 - warped / quality + warped * warped) / scale]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn tone(rate_hz: u32, hz: f64, size: f64, seconds: f64) -> Sound {
        let samples = (0..(f64::from(rate_hz) * seconds) as u32)
            .map(|n| (size * (TAU * hz * f64::from(n) / f64::from(rate_hz)).sin()) as f32)
            .collect();
        Sound { rate_hz, samples }
    }

    #[test]
    fn the_standards_tone_measures_as_the_standard_says() {
        // A sine of 997 Hz at full scale in one channel reads -3.01.
        for rate in [16_000, 22_050, 48_000] {
            let loudness = loudness_lufs(&tone(rate, 997.0, 1.0, 3.0)).unwrap();
            assert!((loudness + 3.01).abs() < 0.1, "{rate} Hz: {loudness}");
        }
        let low = loudness_lufs(&tone(48_000, 30.0, 1.0, 3.0)).unwrap();
        assert!(low < -8.0, "{low}");
    }

    #[test]
    fn pauses_do_not_count_and_silence_stays_silent() {
        let mut paused = tone(16_000, 997.0, 0.1, 2.0);
        let loudness = loudness_lufs(&paused).unwrap();
        paused.samples.extend(vec![0.0; 64_000]);
        assert!((loudness_lufs(&paused).unwrap() - loudness).abs() < 0.5);
        for samples in [vec![], vec![0.0; 10], vec![0.0; 16_000]] {
            let mut silent = Sound { rate_hz: 16_000, samples: samples.clone() };
            level(&mut silent);
            assert_eq!(silent.samples, samples);
        }
    }

    #[test]
    fn loud_and_soft_sounds_come_out_alike_and_nothing_clips() {
        for (size, seconds) in [(0.9, 2.0), (0.05, 2.0), (0.3, 0.1)] {
            let mut sound = tone(22_050, 440.0, size, seconds);
            level(&mut sound);
            let loudness = loudness_lufs(&sound).unwrap();
            assert!((loudness - TARGET_LUFS).abs() < 0.5, "{size}: {loudness}");
        }
        let mut spiky = tone(16_000, 440.0, 0.02, 2.0);
        spiky.samples[5000] = 1.0;
        level(&mut spiky);
        let peak = spiky.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        assert!(peak <= PEAK_MAX, "{peak}");
    }
}
