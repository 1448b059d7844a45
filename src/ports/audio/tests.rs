//! Real recordings of every kind, made with `espeak-ng` and `ffmpeg` where these are installed; without them those
//! tests pass and print a note.

mod bombs;
mod child;
mod joined;
mod odd;
mod studio;

use std::path::Path;

use studio::{Studio, ffmpeg};

use super::*;

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_seconds: 60,
        cpu_max: Duration::from_secs(20),
        ffmpeg: Some(Ffmpeg {
            program: "ffmpeg".into(),
            timeout: Duration::from_secs(20),
            memory_max_bytes: 256 * 1024 * 1024,
        }),
    }
}

/// The limits without the child process.
fn alone() -> DecodeLimits {
    DecodeLimits { ffmpeg: None, ..limits() }
}

/// The limits with this program as `ffmpeg`.
fn with_program(program: &Path) -> DecodeLimits {
    let Some(ffmpeg) = limits().ffmpeg else { return limits() };
    DecodeLimits { ffmpeg: Some(Ffmpeg { program: program.to_owned(), ..ffmpeg }), ..limits() }
}

/// The similarity of two sounds at 4 kHz, from 0 to 1, with a shift of up to 125 ms: decoders add some silence.
fn likeness(one: &Sound, other: &Sound) -> f64 {
    let one = resample(one, 4_000).unwrap().samples;
    let other = resample(other, 4_000).unwrap().samples;
    let product = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let scale = (product(&one, &one) * product(&other, &other)).sqrt();
    (0..500).flat_map(|shift| [product(&one[shift..], &other), product(&one, &other[shift..])]).fold(0.0, f64::max)
        / scale
}

fn assert_same_speech(name: &str, sound: &Sound, speech: &Sound) {
    let (got, wanted) = (sound.duration().as_secs_f64(), speech.duration().as_secs_f64());
    assert!((got - wanted).abs() < 0.1, "{name}: {got} s instead of {wanted} s");
    let alike = likeness(sound, speech);
    println!("{name}: {} Hz, {got:.3} s of {wanted:.3} s, alike {alike:.3}", sound.rate_hz);
    // Other speech is alike by 0.3; half a sample of silence before it costs a tenth.
    assert!(alike > 0.75, "{name}: alike {alike}");
}

/// Whether the MP3 that the hub stores of a recording is as loud as the loudest channel of the recording, by ffmpeg.
fn assert_same_loudness(studio: &Studio, file: &Path, sound: &Sound) {
    let stored = decode_bytes(encode_mp3(sound, 48).unwrap(), &alone()).unwrap();
    let loudness = |sound: &Sound| loudness::loudness_lufs(sound).unwrap_or(f64::NEG_INFINITY);
    let expected = studio.channels(file).iter().map(loudness).fold(f64::NEG_INFINITY, f64::max);
    let found = loudness(&stored);
    println!("{file:?}: {expected:.1} LUFS, stored with {found:.1}");
    assert!((found - expected).abs() < 1.0, "{file:?}: stored with {found} LUFS instead of {expected}");
}

#[test]
fn every_format_keeps_the_speech_its_length_and_its_loudness() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    for file in studio.every_kind() {
        let sound = decode(&file, &limits()).unwrap_or_else(|e| panic!("{file:?}: {e:?}"));
        assert_same_speech(&file.display().to_string(), &sound, &speech);
        assert_same_loudness(&studio, &file, &sound);
    }
}

#[test]
fn memory_and_file_are_decoded_alike() {
    let Some(studio) = Studio::get() else { return };
    let file = studio.recording("opus.ogg", &[]);
    let bytes = Bytes::from(std::fs::read(&file).unwrap());
    assert_eq!(decode_bytes(bytes, &limits()).unwrap(), decode(&file, &limits()).unwrap());
}

#[test]
fn wav_headers_with_wrong_lengths_are_mended() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    // The canonical header of ffmpeg's "bitexact" output has 44 bytes.
    let file = studio.recording("plain.wav", &["-c:a", "pcm_s16le", "-fflags", "+bitexact"]);
    let good = std::fs::read(file).unwrap();
    assert_eq!(&good[36..40], b"data");
    for wrong in [0_u32, u32::MAX, u32::MAX - 1, 0x7fff_f000] {
        let mut bytes = good.clone();
        bytes[4..8].copy_from_slice(&wrong.to_le_bytes());
        bytes[40..44].copy_from_slice(&wrong.to_le_bytes());
        let sound = decode_bytes(bytes.into(), &limits()).unwrap();
        assert_same_speech("mended", &sound, &speech);
    }
    let header_only = Bytes::copy_from_slice(&good[..44]);
    assert!(matches!(decode_bytes(header_only, &limits()), Err(AudioError::Empty)));
    let one_sample = Bytes::copy_from_slice(&good[..46]);
    assert_eq!(decode_bytes(one_sample, &limits()).unwrap().samples.len(), 1);
}

#[test]
fn files_that_are_not_sounds_are_refused() {
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(9, 9).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let texts: [&[u8]; 7] = [
        b"",
        b"\xff",
        b"Dear grandmother,\nthank you for the bear.\n",
        b"#EXTM3U\nhttp://example.org/secret\n",
        b"\xff\xfeD\0e\0a\0r\0",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        &[0xff; 64],
    ];
    for bytes in texts.into_iter().chain([png.get_ref().as_slice()]) {
        let outcome = decode_bytes(Bytes::copy_from_slice(bytes), &limits());
        assert!(matches!(outcome, Err(AudioError::NotSound)), "{bytes:?}: {outcome:?}");
    }
    assert!(matches!(decode(Path::new("/nowhere.wav"), &limits()), Err(AudioError::Io(_))));
}

#[test]
fn magic_without_sense_is_damaged_or_empty() {
    let magics: [&[u8]; 13] = [
        b"RIFF\0\0\0\0WAVE",
        b"fLaC",
        b"OggS",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\x18ftypM4A ",
        b"#!AMR\n",
        b"\xff\xf1\x50\x80",
        b"#!AMR_MC1.0\n\0\0\0\x02",
        b"RIFF\x04\0\0\0AVI LIST",
        b"FLV\x01\x04\0\0\0\x09",
        b"wvpk",
        b"Creative Voice File\x1a",
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
    ];
    for magic in magics {
        for garbage in [&[][..], &[0x55; 300], &[0xff; 300], &[0x00; 300]] {
            let bytes = [magic, garbage].concat();
            let outcome = decode_bytes(bytes.into(), &limits());
            if let Ok(sound) = &outcome {
                // AMR decodes any bits as speech.
                assert!(magic == b"#!AMR\n", "{magic:?} {sound:?}");
            }
            assert!(!matches!(outcome, Err(AudioError::Io(_))), "{magic:?}: {outcome:?}");
        }
    }
}

#[test]
fn recordings_past_the_limit_are_too_long() {
    let Some(studio) = Studio::get() else { return };
    let short = DecodeLimits { max_seconds: 2, ..limits() };
    for file in studio.every_kind() {
        let outcome = decode(&file, &short);
        assert!(matches!(outcome, Err(AudioError::TooLong { max_seconds: 2 })), "{outcome:?}");
    }
}

#[test]
fn a_file_cut_in_the_middle_keeps_its_beginning() {
    let Some(studio) = Studio::get() else { return };
    for file in studio.every_kind() {
        let bytes = std::fs::read(&file).unwrap();
        let outcome = decode_bytes(Bytes::copy_from_slice(&bytes[..bytes.len() / 2]), &limits());
        // Its index is at the end.
        if file.ends_with("voice.m4a") {
            assert!(matches!(outcome, Err(AudioError::Damaged(_))), "{file:?}: {outcome:?}");
            continue;
        }
        let seconds = outcome.unwrap_or_else(|e| panic!("{file:?}: {e:?}")).duration();
        assert!((0.8..3.5).contains(&seconds.as_secs_f64()), "{file:?}: {seconds:?}");
    }
}

/// A small deterministic random generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn mutated_files_never_bring_the_decoder_down() {
    let Some(studio) = Studio::get() else { return };
    let rounds: usize = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    let mut dice = Dice(7);
    for file in studio.every_kind() {
        let good = std::fs::read(&file).unwrap();
        for _ in 0..rounds {
            let mut bytes = good.clone();
            // Damaged headers reach more code than damaged samples.
            let reach = [64, 512, bytes.len()][dice.below(3)].min(bytes.len());
            for _ in 0..=dice.below(8) {
                let at = dice.below(reach);
                bytes[at] = [0, 0xff, 0x80, dice.below(256) as u8][dice.below(4)];
            }
            if dice.below(4) == 0 {
                bytes.truncate(dice.below(bytes.len()));
            }
            let started = std::time::Instant::now();
            let without = DecodeLimits { max_seconds: 10, ..alone() };
            let outcome = decode_bytes(bytes.into(), &without);
            if let Ok(sound) = outcome {
                assert!(!sound.samples.is_empty());
                assert!(sound.samples.iter().all(|sample| sample.abs() <= 1.0));
                assert!(resample(&sound, 16_000).is_ok());
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{file:?} {:?}", started.elapsed());
        }
    }
}

fn tone(rate_hz: u32, seconds: f64, loudness: f32) -> Sound {
    let samples = (0..(f64::from(rate_hz) * seconds) as usize)
        .map(|n| loudness * (n as f32 * 440.0 * std::f32::consts::TAU / rate_hz as f32).sin())
        .collect();
    Sound { rate_hz, samples }
}

#[test]
fn resampling_keeps_length_and_place() {
    for (from, to) in [(44_100, 16_000), (8_000, 24_000), (22_050, 24_000), (44_101, 16_000)] {
        for seconds in [0.01, 1.0, 3.3] {
            let sound = tone(from, seconds, 0.5);
            let other = resample(&sound, to).unwrap();
            let drift = other.duration().as_secs_f64() - sound.duration().as_secs_f64();
            assert!(drift.abs() <= 2.0 / f64::from(to), "{from} to {to}: {drift}");
        }
        let (other, ideal) = (resample(&tone(from, 1.0, 0.5), to).unwrap(), tone(to, 1.0, 0.5));
        let middle = to as usize / 4..to as usize * 3 / 4;
        for (got, wanted) in other.samples[middle.clone()].iter().zip(&ideal.samples[middle]) {
            assert!((got - wanted).abs() < 0.04, "{from} to {to}: {got} {wanted}");
        }
    }
    let odd = Sound { rate_hz: 0, samples: vec![0.0] };
    assert!(matches!(resample(&odd, 16_000), Err(AudioError::Encode(_))));
}

#[test]
fn mp3_keeps_the_length_of_short_and_long_sounds() {
    for seconds in [0.000_5, 0.2, 1.0, 5.0, 29.9] {
        for rate_hz in [8_000, 16_000, 22_050, 48_000] {
            let sound = tone(rate_hz, seconds, 1.0);
            let mp3 = encode_mp3(&sound, 48).unwrap();
            let back = decode_bytes(mp3, &limits()).unwrap();
            let off = (back.duration().as_secs_f64() - sound.duration().as_secs_f64()).abs();
            assert!(off <= 0.000_5, "{seconds} s at {rate_hz} Hz is off by {off} s");
        }
    }
    let empty = Sound { rate_hz: 16_000, samples: Vec::new() };
    assert!(matches!(encode_mp3(&empty, 48), Err(AudioError::Empty)));
}

#[test]
fn mp3_is_understood_by_other_players() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    let (mp3, wav) = (studio.path("ours.mp3"), studio.path("ours.wav"));
    for kbps in [0, 32, 48, 64, 500] {
        std::fs::write(&mp3, encode_mp3(&speech, kbps).unwrap()).unwrap();
        ffmpeg(&["-i", mp3.to_str().unwrap(), wav.to_str().unwrap()]);
        assert_same_speech("by ffmpeg", &decode(&wav, &limits()).unwrap(), &speech);
        assert_same_speech("by us", &decode(&mp3, &limits()).unwrap(), &speech);
    }
}
