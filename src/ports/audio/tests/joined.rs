//! Recordings that were joined, one file behind the other.

use super::super::parts::MAX_PARTS;
use super::*;

/// The sound from this time on.
fn from(sound: &Sound, seconds: f64) -> Sound {
    let at = (seconds * f64::from(sound.rate_hz)) as usize;
    Sound { rate_hz: sound.rate_hz, samples: sound.samples[at.min(sound.samples.len())..].to_vec() }
}

#[test]
fn every_part_of_a_joined_recording_is_kept() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    for file in studio.every_kind() {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        let one = decode(&file, &alone()).unwrap().duration().as_secs_f64();
        let twice = decode_bytes(bytes.repeat(2).into(), &alone()).unwrap_or_else(|e| panic!("twice {name}: {e:?}"));
        let seconds = twice.duration().as_secs_f64();
        // The silence that an encoder adds is known of the first part alone.
        assert!((one * 2.0 - 0.01..one * 2.0 + 0.3).contains(&seconds), "twice {name}: {seconds} s of {one} s");
        assert!(likeness(&from(&twice, seconds - one), &speech) > 0.75, "the second part of {name}");
        // Nothing of the first part is lost when the second one is cut.
        let cut = [&bytes[..], &bytes[..bytes.len() / 2]].concat();
        let seconds = decode_bytes(cut.into(), &alone()).unwrap().duration().as_secs_f64();
        assert!(seconds > one - 0.01, "{name} and half of it: {seconds} s of {one} s");
        // The child process may read the first part alone.
        let seconds = decode(&studio.file("twice", &bytes.repeat(2)), &limits()).unwrap().duration().as_secs_f64();
        assert!(seconds > one * 2.0 - 0.1, "twice {name} with ffmpeg: {seconds} s of {one} s");
    }
}

#[test]
fn many_parts_are_one_recording_and_too_many_are_refused() {
    let Some(studio) = Studio::get() else { return };
    let beep = encode_wav(&tone(8_000, 0.01, 0.5)).unwrap();
    let sound = decode_bytes(beep.repeat(MAX_PARTS).into(), &alone()).unwrap();
    assert_eq!(sound.samples.len(), 80 * MAX_PARTS);
    let outcome = decode_bytes(beep.repeat(MAX_PARTS + 1).into(), &limits());
    assert!(matches!(&outcome, Err(AudioError::Excessive(reason)) if reason.contains("parts")), "{outcome:?}");
    // The parts count together.
    let bytes = std::fs::read(studio.path("speech.wav")).unwrap();
    let outcome = decode_bytes(bytes.repeat(20).into(), &alone());
    assert!(matches!(outcome, Err(AudioError::TooLong { .. })), "{outcome:?}");
}

#[test]
fn a_truncated_film_keeps_what_was_recorded() {
    let Some(studio) = Studio::get() else { return };
    let pieces: &[&str] = &["-c:a", "aac", "-movflags", "empty_moov", "-frag_duration", "400000"];
    let front: &[&str] = &["-c:a", "aac", "-movflags", "+faststart"];
    for file in [studio.recording("pieces.mp4", pieces), studio.recording("fast.m4a", front)] {
        let bytes = std::fs::read(&file).unwrap();
        let whole = decode(&file, &alone()).unwrap().duration().as_secs_f64();
        let mut last = 0.0;
        for tenth in 3..10 {
            let cut = decode_bytes(bytes[..bytes.len() * tenth / 10].to_vec().into(), &alone());
            let seconds = cut.unwrap_or_else(|e| panic!("{file:?} at {tenth}: {e:?}")).duration().as_secs_f64();
            assert!(seconds > last && seconds > whole * (tenth as f64 / 10.0 - 0.3), "{file:?} at {tenth}: {seconds}");
            last = seconds;
        }
    }
}
