//! Collects decoded samples, and mixes the channels of a recording into one.
//!
//! The channels are averaged. Two cases would lose sound by that: a stereo recording whose channels have opposite signs,
//! because one microphone or plug is wired the wrong way round, cancels itself; and a voice in one channel of several
//! becomes softer. So the difference of two channels is kept beside their average, and the better one of them is as
//! loud as the loudest channel. Of more channels there are two differences: of every other one, and of the two halves.

use super::{AudioError, MAX_CHANNELS, PLAUSIBLE_RATES_HZ, Sound};

/// The difference is used if it has more than this many times the energy of the average: for equally loud channels,
/// beyond a correlation of -0.5.
const OPPOSITE: f64 = 3.0;

/// The mix is amplified if it has less than this part of the energy of the loudest channel (a decibel): the channels of
/// an ordinary stereo recording are alike, and their average is left as it is.
const KEPT: f64 = 0.8;

/// The samples decoded so far, and their limit.
pub(super) struct Collected {
    pub(super) max_seconds: u32,
    rate_hz: u32,
    average: Vec<f32>,
    /// The differences of channels: every other one against the rest, and the first half against the second, which are
    /// the same for two. They end with the last of such samples.
    differences: [Vec<f32>; 2],
    channels: [Meter; MAX_CHANNELS],
}

/// Measures the energy of a channel by the changes between its samples: a constant offset has none, and the hum of a
/// cable, which often has opposite signs in both channels, has little against a voice.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    last: f32,
    energy: f64,
}

impl Meter {
    fn add(&mut self, sample: f32) {
        self.energy += f64::from((sample - self.last).powi(2));
        self.last = sample;
    }

    fn energy_of(samples: &[f32]) -> f64 {
        let mut meter = Self::default();
        samples.iter().for_each(|sample| meter.add(*sample));
        meter.energy
    }
}

impl Collected {
    /// Nothing yet, of at most `max_seconds`.
    pub(super) fn new(max_seconds: u32) -> Self {
        Self {
            max_seconds,
            rate_hz: 0,
            average: Vec::new(),
            differences: Default::default(),
            channels: [Meter::default(); MAX_CHANNELS],
        }
    }

    /// Appends samples of so many channels, which alternate. Errors: `Damaged`, `TooLong`.
    pub(super) fn push(&mut self, rate_hz: u32, channels: usize, interleaved: &[f32]) -> Result<(), AudioError> {
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(AudioError::Damaged(format!("{channels} channels")));
        }
        if !PLAUSIBLE_RATES_HZ.contains(&rate_hz) {
            return Err(AudioError::Damaged(format!("a sample rate of {rate_hz} Hz")));
        }
        if self.rate_hz != rate_hz && !self.average.is_empty() {
            return Err(AudioError::Damaged("the sample rate changes".into()));
        }
        self.rate_hz = rate_hz;
        let differences = match channels {
            1 => 0,
            2 => 1,
            _ => 2,
        };
        for difference in &mut self.differences[..differences] {
            difference.resize(self.average.len(), 0.0);
        }
        // Floating point files may hold anything, infinity and NaN included.
        let plain = |sample: &f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        for frame in interleaved.chunks_exact(channels) {
            let (mut sum, mut apart) = (0.0, [0.0; 2]);
            for (at, (sample, meter)) in frame.iter().map(plain).zip(&mut self.channels).enumerate() {
                meter.add(sample);
                sum += sample;
                for (apart, is_minus) in apart.iter_mut().zip([at % 2 == 1, at * 2 >= channels]) {
                    *apart += if is_minus { -sample } else { sample };
                }
            }
            self.average.push(sum / channels as f32);
            for (difference, apart) in self.differences[..differences].iter_mut().zip(apart) {
                difference.push(apart / channels as f32);
            }
        }
        if self.average.len() as u64 > u64::from(self.max_seconds) * u64::from(rate_hz) {
            return Err(AudioError::TooLong { max_seconds: self.max_seconds });
        }
        Ok(())
    }

    /// The channels as one; none without a sample.
    pub(super) fn mixed(self) -> Option<Sound> {
        let Self { rate_hz, average, differences, channels, .. } = self;
        if average.is_empty() {
            return None;
        }
        let loudest = channels.iter().map(|channel| channel.energy).fold(0.0, f64::max);
        let mut energy = Meter::energy_of(&average);
        let mut samples = average;
        let limit = OPPOSITE * energy;
        for mut difference in differences {
            let apart = Meter::energy_of(&difference);
            if apart > limit && apart > energy {
                difference.resize(samples.len(), 0.0);
                (samples, energy) = (difference, apart);
            }
        }
        if energy > 0.0 && energy < KEPT * loudest {
            let peak = samples.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
            let gain = ((loudest / energy).sqrt() as f32).min(MAX_CHANNELS as f32).min(1.0 / peak);
            samples.iter_mut().for_each(|sample| *sample *= gain.max(1.0));
        }
        Some(Sound { rate_hz, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;

    /// A wave with overtones, and another one that has nothing of it.
    fn wave(pitch: f32) -> Vec<f32> {
        (0..16_000).map(|n| n as f32 * pitch).map(|t| 0.3 * t.sin() + 0.1 * (3.0 * t).sin()).collect()
    }

    fn mix(channels: &[&[f32]]) -> Vec<f32> {
        let interleaved: Vec<f32> = (0..channels[0].len()).flat_map(|at| channels.iter().map(move |c| c[at])).collect();
        let mut collected = Collected::new(60);
        // In packets, as from a decoder.
        for packet in interleaved.chunks(1000 * channels.len()) {
            collected.push(RATE_HZ, channels.len(), packet).unwrap();
        }
        collected.mixed().unwrap().samples
    }

    fn times(samples: &[f32], factor: f32) -> Vec<f32> {
        samples.iter().map(|sample| sample * factor).collect()
    }

    fn power(samples: &[f32]) -> f32 {
        samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32
    }

    fn assert_close(mixed: &[f32], expected: &[f32], case: &str) {
        let off = mixed.iter().zip(expected).fold(0.0, |off: f32, (a, b)| off.max((a - b).abs()));
        assert!(mixed.len() == expected.len() && off < 0.01, "{case}: off by {off}");
    }

    #[test]
    fn channels_in_phase_are_averaged_and_nothing_else() {
        let (one, softer) = (wave(0.2), times(&wave(0.2), 0.85));
        assert_eq!(mix(&[&one]), one);
        assert_eq!(mix(&[&one, &one]), one);
        let average: Vec<f32> = one.iter().zip(&softer).map(|(a, b)| (a + b) / 2.0).collect();
        assert_eq!(mix(&[&one, &softer]), average);
    }

    #[test]
    fn channels_out_of_phase_keep_their_sound() {
        let one = wave(0.2);
        assert_close(&mix(&[&one, &times(&one, -1.0)]), &one, "opposite signs");
        assert_close(&mix(&[&one, &times(&one, -0.6)]), &one, "opposite signs, one channel softer");
        let (minus, silence) = (times(&one, -1.0), times(&one, 0.0));
        for (case, channels) in [
            ("the front of six", vec![&one, &minus, &silence, &silence, &silence, &silence]),
            ("every other one", vec![&one, &minus, &one, &minus]),
            ("two halves", vec![&one, &one, &minus, &minus]),
        ] {
            let channels: Vec<&[f32]> = channels.into_iter().map(Vec::as_slice).collect();
            assert_close(&mix(&channels), &one, case);
        }
        // A short piece in phase, as a knock at the microphone, does not decide.
        let mut knock = times(&one, -1.0);
        knock[..2000].copy_from_slice(&one[..2000]);
        let mixed = mix(&[&one, &knock]);
        assert_close(&mixed[2000..], &one[2000..], "opposite signs but for a moment");
    }

    #[test]
    fn a_voice_in_one_channel_is_as_loud_as_there() {
        let (one, silence) = (wave(0.2), vec![0.0; 16_000]);
        assert_close(&mix(&[&one, &silence]), &one, "left");
        assert_close(&mix(&[&silence, &one]), &one, "right");
        assert_close(&mix(&[&silence, &silence, &one, &silence, &silence, &silence]), &one, "the centre of six");
        let other = wave(0.231);
        let decibels = 10.0 * (power(&mix(&[&one, &other])) / power(&one).max(power(&other))).log10();
        assert!(decibels.abs() < 1.0, "two voices: {decibels} dB");
    }

    #[test]
    fn an_offset_and_a_hum_of_opposite_signs_are_not_taken_for_the_voice() {
        let one = wave(0.2);
        let hum: Vec<f32> = (0..16_000).map(|n| 0.5 * (n as f32 * 0.02).sin() + 0.1).collect();
        let left: Vec<f32> = one.iter().zip(&hum).map(|(a, b)| a + b).collect();
        let right: Vec<f32> = one.iter().zip(&hum).map(|(a, b)| a - b).collect();
        assert_close(&mix(&[&left, &right]), &one, "hum");
    }

    #[test]
    fn a_mix_is_never_louder_than_full_scale() {
        let (one, other) = (times(&wave(0.2), 2.9), times(&wave(0.331), 2.9));
        assert!(mix(&[&one, &other]).iter().all(|sample| sample.abs() <= 1.0));
        let wild = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 7.0];
        assert_eq!(mix(&[&wild]), [0.0, 0.0, 0.0, 1.0]);
        assert!(Collected::new(60).mixed().is_none());
        assert!(mix(&[&[0.0; 8], &[0.0; 8]]).iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn the_number_of_channels_may_change() {
        let one = wave(0.2);
        let mut collected = Collected::new(60);
        collected.push(RATE_HZ, 1, &one).unwrap();
        let both: Vec<f32> = one.iter().flat_map(|sample| [*sample, *sample]).collect();
        collected.push(RATE_HZ, 2, &both).unwrap();
        collected.push(RATE_HZ, 1, &one).unwrap();
        assert_close(&collected.mixed().unwrap().samples, &[&one[..], &one, &one].concat(), "one, two, one");
        let mut collected = Collected::new(60);
        for channels in [0, MAX_CHANNELS + 1] {
            assert!(matches!(collected.push(RATE_HZ, channels, &one), Err(AudioError::Damaged(_))));
        }
    }
}
