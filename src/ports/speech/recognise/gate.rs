//! Voice activity detection: whether a recording may contain speech, before whisper.cpp gets it.
//!
//! Whisper writes words for silence and noise, too. Without a second model, speech is distinguished from those by this:
//! it is loud enough, its spectrum changes from one moment to the next, and it changes far more over the whole
//! recording than between neighbouring moments. A hum and a chord stand still; noise trembles but goes nowhere; notes
//! of an instrument stand still and then jump. A siren glides as speech does, but it is one high tone all the time, and
//! speech is not. In doubt, the gate accepts a recording: a rejected one is never recognised.

use std::ops::{Range, RangeInclusive};

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

use super::transcript::RATE_HZ;

/// Samples of one moment (32 ms), and from one to the next (16 ms).
const FRAME: usize = 512;
const HOP: usize = 256;

/// The edges of the bands, in Hz: wider upwards, as hearing is.
const EDGES_HZ: [f32; 15] =
    [150.0, 250.0, 350.0, 480.0, 630.0, 800.0, 1000.0, 1250.0, 1550.0, 1900.0, 2350.0, 2900.0, 3600.0, 4600.0, 6000.0];
const BANDS: usize = EDGES_HZ.len() - 1;

/// The threshold of silence, in decibels of full scale.
const FLOOR_DB: f32 = -56.0;

/// A moment that is softer than the loudest ones by this is a pause, …
const PAUSE_DB: f32 = 26.0;
/// … and so is one that is softer than this.
const PAUSE_FLOOR_DB: f32 = -72.0;

/// A band so far below the moment's strongest holds nothing of it.
const BAND_DEPTH_DB: f32 = 36.0;

/// Speech fills at least so many moments: a sixth of a second.
const MOMENTS_MIN: usize = 10;

/// Kept before and behind the speech: the soft first and last sounds of words.
const MARGIN: usize = RATE_HZ as usize * 3 / 10;

/// The moments of a long pause, 0.7 s: a model may end behind it, or take what follows for another sentence.
const LONG_PAUSE: usize = RATE_HZ as usize * 7 / 10 / HOP;

/// Beside music or noise, a pause is softer than the loudest moments by only so much, …
const NOISY_PAUSE_DB: f32 = 10.0;
/// … and a word has so many moments that are louder: "no" is short.
const LOUD_MOMENTS_MIN: usize = 5;

/// Speech changes by at least so many decibels from moment to moment: notes and hums do by less than 1.
const STEP_DB: f32 = 1.2;
/// Over the whole it changes by so many, clear of noise which does by 2 and of a knock which does by less than 5, …
const SPREAD_DB: f32 = 5.2;
/// … or, with noise in the same recording, by fewer, and then more over the whole than from moment to moment: noise by
/// itself does so by a factor of 0.75.
const SPREAD_IN_NOISE_DB: f32 = 3.2;

/// The periods of a siren, of a horn and of a whistle, in samples: 4000 Hz to 420 Hz. Voices are lower, those of children
/// too, but for shrieks.
const TONE_PERIODS: RangeInclusive<usize> = 4..=38;
/// A moment is such a tone if it repeats itself so closely after a period, …
const TONE_LIKENESS: f32 = 0.75;
/// … and is so different in between.
const TONE_DIP: f32 = 0.3;
/// The part of the moments that are such a tone, from which on the recording is no speech.
const TONE_PART: f32 = 0.5;

/// The measures that the gate uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measures {
    /// The loudest moments, in decibels of full scale.
    pub(super) level_db: f32,
    /// Moments that are not pauses.
    pub(super) moments: usize,
    /// How far the shape of the spectrum strays from its mean over the recording.
    pub(super) spread_db: f32,
    /// How far it moves from a moment to the next but one; the middle of all such moves.
    pub(super) step_db: f32,
    /// The part of the moments that are one high tone.
    pub(super) tone: f32,
    /// The moments of the longest pause between two parts that are no clicks.
    pub(super) pause: usize,
    /// The moments from the first to the last that is neither a pause nor a click, such as that of a button.
    pub(super) extent: usize,
}

impl Measures {
    fn may_be_speech(&self) -> bool {
        self.level_db > FLOOR_DB
            && self.moments >= MOMENTS_MIN
            && self.step_db > STEP_DB
            && self.tone < TONE_PART
            && (self.spread_db > SPREAD_DB || self.spread_db > self.step_db.max(SPREAD_IN_NOISE_DB))
    }
}

/// The speech of a recording.
#[derive(Debug)]
pub(super) struct Spoken {
    /// The samples that may contain it, with a margin.
    pub(super) range: Range<usize>,
    /// Whether there is a long pause in it, with more than a click before and behind.
    pub(super) has_pause: bool,
    /// How long it is, without the margin.
    pub(super) seconds: f32,
}

/// The speech of a recording; `None` without any.
pub(super) fn speech(samples: &[f32]) -> Option<Spoken> {
    let (measures, range) = measure(samples);
    let seconds = (measures.extent * HOP) as f32 / RATE_HZ as f32;
    let spoken = range.map(|range| Spoken { range, has_pause: measures.pause > LONG_PAUSE, seconds });
    spoken.filter(|_| measures.may_be_speech())
}

/// The measures of a recording, and the range between its pauses.
pub(super) fn measure(samples: &[f32]) -> (Measures, Option<Range<usize>>) {
    let moments = moments(samples);
    let Some(level_db) = percentile(moments.iter().map(|moment| moment.level_db), 0.95) else {
        return (Measures { level_db: f32::NEG_INFINITY, ..Measures::default() }, None);
    };
    let threshold = (level_db - PAUSE_DB).max(PAUSE_FLOOR_DB);
    let above = |threshold: f32| (0..moments.len()).filter(|at| moments[*at].level_db > threshold).collect::<Vec<_>>();
    let (active, loud) = (above(threshold), above(level_db - NOISY_PAUSE_DB));
    let (Some(first), Some(last)) = (active.first(), active.last()) else {
        return (Measures { level_db, ..Measures::default() }, None);
    };
    let range = (first * HOP).saturating_sub(MARGIN)..(last * HOP + FRAME + MARGIN).min(samples.len());

    let mut mean = [0.0; BANDS];
    for at in &active {
        for (sum, band) in mean.iter_mut().zip(&moments[*at].shape) {
            *sum += band / active.len() as f32;
        }
    }
    let spread = active.iter().map(|at| distance(&moments[*at].shape, &mean).powi(2)).sum::<f32>();
    // Every second moment: neighbours share half of their samples.
    let steps = active.iter().filter(|at| **at >= 2 && moments[**at - 2].level_db > threshold);
    let steps = steps.map(|at| distance(&moments[*at].shape, &moments[*at - 2].shape));
    let measures = Measures {
        level_db,
        moments: active.len(),
        spread_db: (spread / active.len() as f32).sqrt(),
        step_db: percentile(steps, 0.5).unwrap_or_default(),
        tone: active.iter().filter(|at| moments[**at].is_tone).count() as f32 / active.len() as f32,
        pause: longest_pause(&active, MOMENTS_MIN).max(longest_pause(&loud, LOUD_MOMENTS_MIN)),
        extent: extent(&active),
    };
    (measures, Some(range))
}

/// The longest gap in the numbers of the moments that are not pauses, with at least `least` before and behind it.
fn longest_pause(active: &[usize], least: usize) -> usize {
    let gaps = active.windows(2).enumerate().map(|(at, pair)| (at + 1, pair[1] - pair[0]));
    let long = gaps.filter(|(before, _)| *before >= least && active.len() - before >= least);
    long.map(|(_, gap)| gap).max().unwrap_or_default()
}

/// From the first to the last of the moments that are no pauses and have enough neighbours that they are no click.
fn extent(active: &[usize]) -> usize {
    let mut parts = active.chunk_by(|one, other| other - one == 1).filter(|part| part.len() >= LOUD_MOMENTS_MIN);
    let Some(first) = parts.next() else { return 0 };
    let last = parts.next_back().unwrap_or(first);
    last.last().zip(first.first()).map_or(0, |(last, first)| last - first + 1)
}

struct Moment {
    level_db: f32,
    /// Each band against the mean of all, in decibels.
    shape: [f32; BANDS],
    /// Whether it is one high tone.
    is_tone: bool,
}

fn moments(samples: &[f32]) -> Vec<Moment> {
    let transform = RealFftPlanner::<f32>::new().plan_fft_forward(FRAME);
    let window: Vec<f32> =
        (0..FRAME).map(|at| 0.5 - 0.5 * (std::f32::consts::TAU * at as f32 / FRAME as f32).cos()).collect();
    let mut input = vec![0.0; FRAME];
    let mut spectrum = vec![Complex32::default(); FRAME / 2 + 1];
    let mut moments = Vec::with_capacity(samples.len() / HOP);
    for frame in samples.windows(FRAME).step_by(HOP) {
        for ((into, sample), factor) in input.iter_mut().zip(frame).zip(&window) {
            *into = sample * factor;
        }
        // It only fails on slices of a wrong length.
        if transform.process(&mut input, &mut spectrum).is_err() {
            break;
        }
        moments.push(Moment { is_tone: is_high_tone(&frame[FRAME / 4..FRAME * 3 / 4]), ..moment(&spectrum) });
    }
    moments
}

fn moment(spectrum: &[Complex32]) -> Moment {
    let bin = |hz: f32| (hz * FRAME as f32 / RATE_HZ as f32).round() as usize;
    // So that a full-scale sine in one band has a power of 1: the window's gain is a half.
    let scale = 16.0 / (FRAME * FRAME) as f32 / 1.5;
    let mut powers = [0.0; BANDS];
    for (power, edges) in powers.iter_mut().zip(EDGES_HZ.windows(2)) {
        *power = spectrum[bin(edges[0])..bin(edges[1])].iter().map(|value| value.norm_sqr() * scale).sum();
    }
    let level = powers.iter().sum::<f32>();
    let strongest = powers.iter().copied().fold(0.0, f32::max);
    let floor = strongest * 10f32.powf(-BAND_DEPTH_DB / 10.0) + 1e-12;
    let mut shape = powers.map(|power| decibels(power.max(floor)));
    let mean = shape.iter().sum::<f32>() / BANDS as f32;
    for band in &mut shape {
        *band -= mean;
    }
    Moment { level_db: decibels(level), shape, is_tone: false }
}

/// Whether the samples are one tone with a period of `TONE_PERIODS`, with or without overtones: they are like themselves
/// after that period, and not before.
fn is_high_tone(samples: &[f32]) -> bool {
    let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let likeness = |period: usize| {
        let (one, other) = (&samples[..samples.len() - period], &samples[period..]);
        product(one, other) / (product(one, one) * product(other, other)).sqrt().max(f32::MIN_POSITIVE)
    };
    let mut periods = (1..=*TONE_PERIODS.end()).map(|period| (period, likeness(period)));
    // A low tone changes little within a few samples, and differs from itself only after half of its long period.
    periods.by_ref().any(|(_, likeness)| likeness < TONE_DIP)
        && periods.any(|(period, likeness)| TONE_PERIODS.contains(&period) && likeness > TONE_LIKENESS)
}

fn decibels(power: f32) -> f32 {
    10.0 * (power + 1e-12).log10()
}

/// The root of the mean square of the differences.
fn distance(one: &[f32; BANDS], other: &[f32; BANDS]) -> f32 {
    (one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum::<f32>() / BANDS as f32).sqrt()
}

fn percentile(values: impl Iterator<Item = f32>, part: f32) -> Option<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get((values.len().saturating_sub(1) as f32 * part).round() as usize).copied()
}
