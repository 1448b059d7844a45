//! Spoken sums that fill a recording of a given length; one of 8 s begins with a child that thinks first.

use std::path::Path;
use std::process::Command;

/// The speed, in words a minute, at which a text is spoken first to measure its length.
const PACE: f64 = 150.0;

/// A recording as a toy sends it, and the number that answers it.
#[derive(Clone)]
pub struct Recording {
    pub wav: Vec<u8>,
    pub sum: u32,
}

impl Recording {
    /// The sum of this `number`, spoken in so many seconds.
    pub fn sum(folder: &Path, seconds: u32, number: usize) -> Self {
        // Each has another value, so that each answer has to be spoken.
        let sum = number as u32 + 20;
        let one = number as u32 % 9 + 2;
        let other = sum - one;
        let (text, pause_s) = match seconds {
            ..3 => (format!("what is {one} plus {other}"), 0),
            3..6 => (format!("can you tell me what {one} plus {other} is"), 0),
            _ => (format!("can you tell me what {one} plus {other} is"), seconds / 2),
        };
        let wav = folder.join("spoken.wav");
        let speak = |pace: f64| {
            let pace = format!("{pace:.0}");
            let spoken =
                Command::new("espeak-ng").args(["-v", "en-us", "-s", &pace, "-w"]).arg(&wav).arg(&text).status();
            assert!(spoken.unwrap().success(), "espeak-ng speaks");
            seconds_of(&std::fs::read(&wav).unwrap())
        };
        let first = speak(PACE);
        speak((PACE * first / (f64::from(seconds - pause_s) * 0.9)).clamp(80.0, 300.0));
        let heard = folder.join("heard.wav");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-y", "-i"]).arg(&wav);
        let around = format!("adelay={}:all=1,apad", pause_s * 1000);
        ffmpeg.args(["-af", &around, "-t", &seconds.to_string(), "-ac", "1", "-ar", "16000"]).arg(&heard);
        assert!(ffmpeg.status().unwrap().success(), "ffmpeg converts");
        Self { wav: std::fs::read(heard).unwrap(), sum }
    }
}

/// The seconds of a WAV file by espeak-ng: one channel of 16 bits.
fn seconds_of(wav: &[u8]) -> f64 {
    let rate = u32::from_le_bytes(wav[24..28].try_into().unwrap());
    (wav.len() - 44) as f64 / 2.0 / f64::from(rate)
}
