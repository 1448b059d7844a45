//! Sounds for the tests: speech, sounds like speech, and other sounds.

use std::f32::consts::TAU;
use std::process::Command;
use std::time::Duration;

use crate::ports::audio::{DecodeLimits, Sound, decode_bytes};

const RATE_HZ: u32 = 16_000;

fn sound(seconds: f32, mut at: impl FnMut(f32) -> f32) -> Sound {
    let samples = (0..(seconds * RATE_HZ as f32) as u32).map(|n| at(n as f32 / RATE_HZ as f32)).collect();
    Sound { rate_hz: RATE_HZ, samples }
}

/// White noise between -1 and 1.
pub fn noise() -> impl FnMut() -> f32 {
    let mut state = 9u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Gliding vowels and hisses, which the gate takes for speech.
pub fn babble(seconds: f32) -> Sound {
    let mut hiss = noise();
    let mut last = 0.0;
    sound(seconds, |t| {
        let (syllable, within) = ((t / 0.2).floor(), (t % 0.2) / 0.2);
        if within > 0.7 {
            let now = hiss();
            // The difference of neighbours is what is high in the noise.
            return (now - std::mem::replace(&mut last, now)) * 0.1;
        }
        let formant = 400.0 + 350.0 * (syllable * 2.4).sin() + 900.0 * within;
        let wave = |k: f32| (TAU * 130.0 * k * t).sin() / (1.0 + ((130.0 * k - formant) / 150.0).powi(2));
        (1..30).map(|k| wave(k as f32)).sum::<f32>() * 0.15 * (TAU * within / 1.4).sin().max(0.05)
    })
}

/// A note that fades, with its overtones.
fn note(hz: f32, t: f32, fade: f32) -> f32 {
    (1..8).map(|k| (TAU * hz * k as f32 * t).sin() / k as f32 * (-fade * t).exp()).sum::<f32>() * 0.15
}

/// A tone of this phase with its overtones, as a horn has them.
fn overtones(phase: f32) -> f32 {
    (1..8).map(|k| (phase * k as f32).sin() / k as f32).sum::<f32>() * 0.2
}

/// A tone that glides up and down once in a `period`, in a noise.
fn siren(noise: &mut dyn FnMut() -> f32, low_hz: f32, high_hz: f32, period_s: f32) -> impl FnMut(f32) -> f32 {
    let mut phase = 0.0;
    move |t| {
        let height = 0.5 - 0.5 * (TAU * t / period_s).cos();
        phase = (phase + TAU * (low_hz + (high_hz - low_hz) * height) / RATE_HZ as f32) % TAU;
        overtones(phase) + noise()
    }
}

/// Silence, noises, hums, music and sirens, by their names.
pub fn without_speech() -> Vec<(&'static str, Sound)> {
    const TUNE_HZ: [f32; 8] = [262.0, 294.0, 330.0, 262.0, 330.0, 349.0, 392.0, 262.0];
    let chord = |t: f32, fade| [262.0, 330.0, 392.0].map(|hz| note(hz, t, fade)).iter().sum::<f32>();
    let tune = |t: f32| TUNE_HZ[(t / 0.4) as usize % TUNE_HZ.len()];
    let (mut white, mut loud, mut swelling, mut fan, mut faint) = (noise(), noise(), noise(), noise(), noise());
    let mut smooth = 0.0;
    // 10 dB below a siren.
    let (mut street, mut other_street, mut none) = (noise(), noise(), || 0.0);
    let (mut street, mut other_street) = (|| street() * 0.1, || other_street() * 0.1);
    vec![
        ("silence", sound(4.0, |_| 0.0)),
        ("faint noise", sound(4.0, |_| faint() * 0.001)),
        ("white noise", sound(4.0, |_| white() * 0.1)),
        ("loud white noise", sound(4.0, |_| loud())),
        ("noise that swells", sound(4.0, |t| swelling() * (0.3 + 0.28 * (TAU * 3.0 * t).sin()))),
        (
            "a fan",
            sound(4.0, |_| {
                smooth += (fan() - smooth) * 0.1;
                smooth
            }),
        ),
        ("a hum of 50 Hz", sound(4.0, |t| 0.4 * (TAU * 50.0 * t).sin())),
        ("a hum with overtones", sound(4.0, |t| note(50.0, t, 0.0))),
        ("a tone", sound(4.0, |t| 0.5 * (TAU * 1000.0 * t).sin())),
        ("a chord", sound(4.0, |t| chord(t, 0.0))),
        ("a chord that fades", sound(4.0, |t| chord(t, 2.0))),
        ("chords in a row", sound(4.0, |t| chord(t % 0.8, 1.5))),
        ("a tune", sound(4.0, |t| note(tune(t), t % 0.4, 2.0))),
        ("an organ", sound(4.0, |t| note(tune(t), t % 0.4, 0.0))),
        ("a siren", sound(6.0, siren(&mut none, 600.0, 1500.0, 4.0))),
        ("a siren that yelps", sound(4.0, siren(&mut none, 600.0, 1500.0, 0.35))),
        ("a siren of the air raid", sound(8.0, siren(&mut none, 430.0, 900.0, 7.0))),
        ("a siren in the noise of a street", sound(6.0, siren(&mut street, 600.0, 1500.0, 4.0))),
        ("a siren that yelps in noise", sound(4.0, siren(&mut other_street, 600.0, 1500.0, 0.35))),
        ("a horn of two tones", sound(4.0, |t| note(if t % 1.5 < 0.75 { 440.0 } else { 585.0 }, t, 0.0))),
        ("a high horn of two tones", sound(4.0, |t| note(if t % 1.0 < 0.5 { 770.0 } else { 960.0 }, t, 0.0))),
        ("a horn of two tones that trembles", {
            let mut phase = 0.0;
            sound(4.0, move |t| {
                let pitch = if t % 1.5 < 0.75 { 450.0 } else { 600.0 };
                phase += TAU * pitch * (1.0 + 0.03 * (TAU * 6.0 * t).sin()) / RATE_HZ as f32;
                overtones(phase)
            })
        }),
        ("a click", sound(2.0, |t| if (1.0..1.001).contains(&t) { 0.9 } else { 0.0 })),
    ]
}

/// Sentences by espeak-ng: plain, soft, fast, whispered, short, and in noise. None without it, with a printed note.
pub fn spoken() -> Vec<(String, Sound)> {
    let mut spoken = Vec::new();
    for (voice, pace) in [("en", "150"), ("en+f3", "120"), ("en-us+m3", "190"), ("en+whisper", "150"), ("cmn", "150")] {
        let texts = if voice == "cmn" {
            ["播放小熊的歌", "停"]
        } else {
            ["play the song about the little bear", "louder please"]
        };
        for text in texts {
            let Some(sound) = speak(voice, pace, text) else { return Vec::new() };
            let louder = |factor: f32| Sound { samples: sound.samples.iter().map(|x| x * factor).collect(), ..sound };
            let mut hiss = noise();
            let energy = sound.samples.iter().map(|x| x * x).sum::<f32>() / sound.samples.len() as f32;
            // White noise between -1 and 1 has a power of a third; this is 10 dB below the speech.
            let noisy = sound.samples.iter().map(|x| x + hiss() * (energy * 3.0 / 10.0).sqrt()).collect();
            let name = format!("{voice} at {pace}: {text}");
            spoken.push((format!("{name}, in noise"), Sound { samples: noisy, ..sound }));
            spoken.push((format!("{name}, soft"), louder(0.02)));
            spoken.push((name, sound));
        }
    }
    spoken
}

fn speak(voice: &str, pace: &str, text: &str) -> Option<Sound> {
    let Ok(output) = Command::new("espeak-ng").args(["-v", voice, "-s", pace, "--stdout", text]).output() else {
        eprintln!("espeak-ng is not installed: nothing was tested");
        return None;
    };
    let limits = DecodeLimits { max_seconds: 60, cpu_max: Duration::from_secs(20), ffmpeg: None };
    Some(decode_bytes(output.stdout.into(), &limits).unwrap())
}
