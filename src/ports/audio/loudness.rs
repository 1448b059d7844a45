//! Measurement of perceived loudness, and adjustment to the loudness of a recording.
//!
//! The measurement follows EBU R 128 and ITU-R BS.1770: a filter that models human hearing, and overlapping blocks, of
//! which quiet ones are ignored. Speech and a song of the same measured loudness are perceived as equally loud.

use ebur128::{EbuR128, Mode};

use super::Sound;

/// The loudness of spoken answers, in LUFS: that of a voice recorded close to a telephone.
const TARGET_LUFS: f64 = -16.0;

/// The maximum amplification, in decibels, so that near silence stays near silence.
const GAIN_MAX_DB: f64 = 24.0;

/// Peaks above this are compressed, …
const KNEE: f32 = 0.6;
/// … to stay below this, which leaves headroom for the codec's overshoot.
const PEAK_MAX: f32 = 0.85;

/// Adjusts a sound to the loudness of a recording. A silent one is unchanged.
pub fn level(sound: &mut Sound) {
    // The second pass makes up for the loudness that was lost with the peaks.
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
pub(super) fn loudness_lufs(sound: &Sound) -> Option<f64> {
    let mut meter = EbuR128::new(1, sound.rate_hz, Mode::I).ok()?;
    // The meter uses blocks of 0.4 seconds. A shorter sound is measured as if it were repeated.
    let block = (sound.rate_hz as usize / 10 + 1) * 4;
    let times = if sound.samples.is_empty() { 0 } else { block.div_ceil(sound.samples.len()) };
    for _ in 0..times {
        meter.add_frames_f32(&sound.samples).ok()?;
    }
    meter.loudness_global().ok().filter(|loudness| loudness.is_finite())
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
    fn the_standards_tone_has_the_standards_loudness() {
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
