//! Recordings that encode a number, which survives the hub's MP3 encoder.
//!
//! Each bit of the number is one of two tones, and all bits sound at once: the number is found in any part of the sound,
//! wherever the encoder put its beginning.

use std::f64::consts::TAU;
use std::io::Cursor;
use std::sync::OnceLock;

use bytes::Bytes;
use toyhub::ports::audio::{self, DecodeLimits};

const RATE_HZ: u32 = 8000;
const SAMPLES: usize = 2400;
/// Bits of the number …
const NUMBER_BITS: u32 = 20;
/// … and of its check sum.
const CHECK_BITS: u32 = 4;
const BITS: u32 = NUMBER_BITS + CHECK_BITS;

fn frequency_hz(bit: u32, value: u32) -> f64 {
    300.0 + 70.0 * f64::from(2 * bit + value)
}

fn tone(bit: u32, value: u32) -> Vec<f32> {
    // Phases that keep the tones from adding up to a click.
    let phase = TAU * f64::from(bit * bit) / f64::from(2 * BITS);
    let sample = |at: usize| TAU * frequency_hz(bit, value) * at as f64 / f64::from(RATE_HZ) + phase;
    (0..SAMPLES).map(|at| (0.035 * sample(at).sin()) as f32).collect()
}

fn tones() -> &'static [[Vec<f32>; 2]] {
    static TONES: OnceLock<Vec<[Vec<f32>; 2]>> = OnceLock::new();
    TONES.get_or_init(|| (0..BITS).map(|bit| [tone(bit, 0), tone(bit, 1)]).collect())
}

fn check_sum(number: u32) -> u32 {
    (0..NUMBER_BITS / CHECK_BITS).fold(0b1010, |sum, part| sum ^ (number >> (part * CHECK_BITS))) & 0b1111
}

/// A WAV file of 0.3 seconds with this number, below 2^20.
pub fn recording(number: u32) -> Vec<u8> {
    assert!(number < 1 << NUMBER_BITS, "more messages than numbers");
    let word = number | check_sum(number) << NUMBER_BITS;
    let mut samples = [0.0_f32; SAMPLES];
    for (bit, pair) in (0..BITS).zip(tones()) {
        for (sample, tone) in samples.iter_mut().zip(&pair[(word >> bit & 1) as usize]) {
            *sample += tone;
        }
    }
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE_HZ,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    for sample in samples {
        writer.write_sample((sample * 32767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
    file.into_inner()
}

/// The number of a stored sound; none if it is damaged or another sound.
pub fn number_of(stored: Bytes) -> Option<u32> {
    let limits = DecodeLimits { max_seconds: 10, cpu_max: std::time::Duration::from_secs(10), ffmpeg: None };
    let sound = audio::decode_bytes(stored, &limits).ok()?;
    let power = |frequency_hz: f64| {
        // Goertzel's filter: one frequency of the spectrum.
        let factor = 2.0 * (TAU * frequency_hz / f64::from(sound.rate_hz)).cos();
        let (mut last, mut before) = (0.0, 0.0);
        for sample in &sound.samples {
            (last, before) = (f64::from(*sample) + factor * last - before, last);
        }
        last * last + before * before - factor * last * before
    };
    let word = (0..BITS)
        .fold(0, |word, bit| word | u32::from(power(frequency_hz(bit, 1)) > power(frequency_hz(bit, 0))) << bit);
    let number = word & ((1 << NUMBER_BITS) - 1);
    (word >> NUMBER_BITS == check_sum(number)).then_some(number)
}
