//! Real recordings: words spoken by espeak-ng, as the formats that phones and toys send.

use std::path::Path;
use std::process::Command;

use crate::amr::encode_amr_nb;

/// The spoken text of most tests.
pub const WORDS: &str = "Good night little bear, sleep well and dream of the moon.";

/// The words as WAV, 22,050 Hz, 16 bits.
pub fn wav() -> Vec<u8> {
    spoken("en", WORDS)
}

/// A text in a voice of espeak-ng, as WAV.
pub fn spoken(voice: &str, text: &str) -> Vec<u8> {
    let output = Command::new("espeak-ng").args(["-v", voice, "--stdout", text]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A tenth of a second of a tone, as WAV, for tests that send many messages.
pub fn beep() -> Vec<u8> {
    tone(0)
}

/// Such a tone, a different one for each number.
pub fn tone(number: u32) -> Vec<u8> {
    let pitch = 0.17 + f64::from(number) * 0.001;
    wav_of(16_000, (0..1600).map(|n| ((f64::from(n) * pitch).sin() * 8000.0) as i16))
}

/// Ten seconds of a tone, as WAV of more than 1 MiB.
pub fn large() -> Vec<u8> {
    wav_of(96_000, (0..960_000).map(|n| ((f64::from(n) * 0.03).sin() * 8000.0) as i16))
}

/// A WAV file of one channel.
fn wav_of(samples_per_second: u32, samples: impl Iterator<Item = i16>) -> Vec<u8> {
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(samples_per_second.to_le_bytes());
    wav.extend((2 * samples_per_second).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

/// The words as a file that ffmpeg writes for `extension`, with more of its arguments.
pub fn converted(folder: &Path, extension: &str, arguments: &[&str]) -> Vec<u8> {
    let (source, target) = (folder.join("words.wav"), folder.join(format!("words.{extension}")));
    std::fs::write(&source, wav()).unwrap();
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y", "-i"])
        .arg(&source)
        .args(arguments)
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(target).unwrap()
}

/// The words as AMR-NB, as phones record.
pub fn amr(folder: &Path) -> Vec<u8> {
    let raw = converted(folder, "s16", &["-f", "s16le", "-ac", "1", "-ar", "8000"]);
    let samples: Vec<i16> = raw.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    encode_amr_nb(&samples)
}

/// How long a sound plays when ffmpeg decodes it, in seconds.
pub fn seconds(folder: &Path, sound: &[u8]) -> f64 {
    decoded(folder, sound).len() as f64 / 8000.0
}

/// The time from the first loud moment to the last, in seconds: the words without the silence around them.
pub fn spoken_seconds(folder: &Path, sound: &[u8]) -> f64 {
    let samples = decoded(folder, sound);
    let loudness: Vec<u64> =
        samples.chunks(80).map(|moment| moment.iter().map(|sample| u64::from(sample.unsigned_abs())).sum()).collect();
    let loudest = loudness.iter().max().unwrap();
    let is_loud = |moment: &u64| moment * 5 > *loudest;
    let (first, last) = (loudness.iter().position(is_loud), loudness.iter().rposition(is_loud));
    (last.unwrap() - first.unwrap()) as f64 / 100.0
}

/// What ffmpeg makes of it, at 8 kHz.
fn decoded(folder: &Path, sound: &[u8]) -> Vec<i16> {
    let path = folder.join("measured");
    std::fs::write(&path, sound).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-i"])
        .arg(&path)
        .args(["-f", "s16le", "-ac", "1", "-ar", "8000", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// How loud it is by ffmpeg, in LUFS.
pub fn loudness_lufs(folder: &Path, sound: &[u8]) -> f64 {
    let path = folder.join("measured");
    std::fs::write(&path, sound).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(&path)
        .args(["-af", "ebur128", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let summary = &text[text.rfind("Summary:").unwrap()..];
    let line = summary.lines().find_map(|line| line.trim().strip_prefix("I:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Whether `sound` plays as long as the words, within 5 %.
pub fn assert_same_length(folder: &Path, sound: &[u8]) {
    let (expected, found) = (seconds(folder, &wav()), seconds(folder, sound));
    assert!((found - expected).abs() <= 0.05 * expected, "{found} s of {expected} s");
}
