//! Listens to a stream: where speech begins, where it pauses, and where it has ended.
//!
//! Each moment of 16 ms gets a score from a small network (`earshot`), from 0 to 1. A moment is voiced if most of those
//! around it have a high score. The network takes tones and plucked strings for speech, too; the gate of
//! [`recognise`](super::recognise) rejects these afterwards.
//!
//! The only clock is the number of samples. If a client leaves silence out, its edge adds it ([`Listener::hear_silence`]).

use std::time::Duration;

use earshot::Detector;

use crate::ports::audio::{OPUS_IN_HZ, Sound};

/// Samples in a second.
pub const LISTENER_HZ: u32 = OPUS_IN_HZ;

/// Samples of a moment, as the network requires.
const MOMENT: usize = 256;
/// From this score on, a moment may be voiced.
const VOICED: f32 = 0.5;
/// So many moments together …
const TOGETHER: u32 = 6;
/// … are voiced if so many of them have a high score. A click has it for one or two.
const VOICED_MIN: u32 = 4;
/// Devices send packets of 60 ms, and an end is noticed with a packet only. Silence that is shorter by half of one is an
/// end, so that on average the end is noticed when it should be, and not half a packet later.
const HALF_A_PACKET: usize = LISTENER_HZ as usize * 30 / 1000;
/// Sound before the first voiced moment that belongs to the speech: soft first sounds, and the moments that it took to
/// notice it.
const BEFORE: usize = LISTENER_HZ as usize / 2;

/// When speech counts as paused, and as ended.
#[derive(Debug, Clone, Copy)]
pub struct ListenerSettings {
    /// After this silence it is paused: it may have ended.
    pub pause: Duration,
    /// After this silence it has ended, to the nearest packet of a device; none if the client says when.
    pub end: Option<Duration>,
    /// The longest sound. Then the speech has ended in any case.
    pub max: Duration,
}

/// How far the speech is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has not begun.
    Waiting,
    /// It goes on.
    Speaking,
    /// It goes on, or has ended.
    Paused,
    /// It has ended.
    Ended,
}

/// One turn of a speaker.
pub struct Listener {
    detector: Box<Detector>,
    pause: usize,
    end: Option<usize>,
    max: usize,
    samples: Vec<f32>,
    /// How many of them were judged.
    judged: usize,
    /// The latest judgements, one bit each, the newest in the lowest place.
    latest: u32,
    has_begun: bool,
    /// The end of the last voiced moment, as a place in `samples`; and of the last one among those around it that has a
    /// high score itself.
    voiced_until: usize,
    high_until: usize,
}

// Written by hand: a voice must not get into a log.
impl std::fmt::Debug for Listener {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Listener").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens for the first time.
    pub fn new(settings: ListenerSettings) -> Self {
        Self {
            detector: Detector::default_boxed(),
            pause: samples_in(settings.pause),
            end: settings.end.map(samples_in),
            max: samples_in(settings.max).max(MOMENT),
            samples: Vec::new(),
            judged: 0,
            latest: 0,
            has_begun: false,
            voiced_until: 0,
            high_until: 0,
        }
    }

    /// Takes the next samples, each from -1 to 1, at [`LISTENER_HZ`]. Those behind the end of the speech are dropped.
    pub fn hear(&mut self, samples: &[f32]) {
        for part in samples.chunks(MOMENT) {
            if self.progress() == Progress::Ended {
                return;
            }
            self.samples.extend_from_slice(&part[..part.len().min(self.max - self.samples.len())]);
            while self.samples.len() - self.judged >= MOMENT {
                self.judge();
            }
            self.forget();
        }
    }

    /// Takes silence that the client has left out.
    pub fn hear_silence(&mut self, duration: Duration) {
        // Longer silence has ended any speech.
        let samples = samples_in(duration).min(self.max);
        for _ in 0..samples.div_ceil(MOMENT) {
            self.hear(&[0.0; MOMENT]);
        }
    }

    fn judge(&mut self) {
        let next = self.judged + MOMENT;
        let score = self.detector.predict_f32(&self.samples[self.judged..next]);
        self.judged = next;
        self.latest = (self.latest << 1 | u32::from(score >= VOICED)) & ((1 << TOGETHER) - 1);
        if self.latest.count_ones() >= VOICED_MIN {
            self.has_begun = true;
            self.voiced_until = next;
            self.high_until = next - self.latest.trailing_zeros() as usize * MOMENT;
        }
    }

    /// Before the speech, only the latest sound is kept. If the client says when it ends, it has also said when it began.
    fn forget(&mut self) {
        if !self.has_begun && self.end.is_some() && self.judged > 2 * BEFORE {
            let surplus = self.judged - BEFORE;
            self.samples.drain(..surplus);
            self.judged = BEFORE;
        }
    }

    /// How far the speech is.
    pub fn progress(&self) -> Progress {
        if self.samples.len() >= self.max {
            return Progress::Ended;
        }
        if !self.has_begun {
            return Progress::Waiting;
        }
        // Up to two moments behind the last high score count as voiced. The end is counted without them; a pause with
        // them, as otherwise more pauses between words begin a recognition that is thrown away.
        let (silence, behind_voice) = (self.judged - self.high_until, self.judged - self.voiced_until);
        if self.end.is_some_and(|end| silence + HALF_A_PACKET >= end) {
            Progress::Ended
        } else if behind_voice >= self.pause {
            Progress::Paused
        } else {
            Progress::Speaking
        }
    }

    /// Whether speech was noticed, also if it is paused or has ended.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// All of the sound so far.
    pub fn sound(&self) -> Sound {
        Sound { rate_hz: LISTENER_HZ, samples: self.samples.clone() }
    }
}

fn samples_in(duration: Duration) -> usize {
    let samples = duration.as_millis().saturating_mul(u128::from(LISTENER_HZ)) / 1000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::ports::audio::{DecodeLimits, decode_bytes, resample};

    const SETTINGS: ListenerSettings = ListenerSettings {
        pause: Duration::from_millis(250),
        end: Some(Duration::from_millis(600)),
        max: Duration::from_secs(30),
    };

    fn spoken(text: &str) -> Vec<f32> {
        let output = Command::new("espeak-ng").args(["-v", "en", "--stdout", text]).output().unwrap();
        let limits = DecodeLimits { max_seconds: 60, cpu_max: Duration::from_secs(60), ffmpeg: None };
        let sound = decode_bytes(output.stdout.into(), &limits).unwrap();
        resample(&sound, LISTENER_HZ).unwrap().samples.iter().map(|sample| sample.clamp(-1.0, 1.0)).collect()
    }

    fn silence(seconds: f32) -> Vec<f32> {
        vec![0.0; (seconds * LISTENER_HZ as f32) as usize]
    }

    /// Soft noise of a room.
    fn room(seconds: f32) -> Vec<f32> {
        let mut state = 1u64;
        let noise = std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 0.002
        });
        noise.take((seconds * LISTENER_HZ as f32) as usize).collect()
    }

    /// The time of each change of the progress, in milliseconds, in packets of 60 ms.
    fn changes(listener: &mut Listener, sound: &[f32]) -> Vec<(Progress, usize)> {
        let (mut last, mut found) = (listener.progress(), Vec::new());
        for (at, packet) in sound.chunks(960).enumerate() {
            listener.hear(packet);
            if listener.progress() != last {
                last = listener.progress();
                found.push((last, (at + 1) * 60));
            }
        }
        found
    }

    #[test]
    fn a_command_ends_after_its_silence_and_is_kept_whole() {
        let command = spoken("play the bear song");
        let length_ms = command.len() / 16;
        let mut listener = Listener::new(SETTINGS);
        let sound = [room(2.0), command.clone(), room(2.0)].concat();
        let changes = changes(&mut listener, &sound);
        let [(Progress::Speaking, began), (Progress::Paused, paused), (Progress::Ended, ended)] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!((2000..2400).contains(&began), "{changes:?}");
        // espeak-ng leaves some silence at the end of its sound.
        let end = 2000 + length_ms;
        assert!((end..=end + 360).contains(&paused), "{changes:?} of {end}");
        assert!((300..=420).contains(&(ended - paused)), "{changes:?}");
        // Half a second before it, all of it, and the silence behind it.
        let kept = listener.sound().samples.len() / 16;
        assert!((length_ms + 400..length_ms + 1600).contains(&kept), "{kept} of {length_ms}");
        listener.hear(&command);
        assert_eq!(listener.sound().samples.len() / 16, kept, "nothing more is taken");
    }

    #[test]
    fn a_pause_in_the_middle_is_a_pause_and_no_end() {
        let sound = [spoken("play the song"), room(0.2), spoken("of the bear"), room(1.0)].concat();
        let mut listener = Listener::new(SETTINGS);
        let changes = changes(&mut listener, &sound);
        assert_eq!(changes.last().unwrap().0, Progress::Ended, "{changes:?}");
        assert_eq!(changes.iter().filter(|(progress, _)| *progress == Progress::Ended).count(), 1);
        assert!(listener.sound().samples.len() > sound.len() - 16_000, "both parts are kept");
    }

    #[test]
    fn silence_noise_and_a_click_are_no_speech_and_take_no_room() {
        let mut click = silence(20.0);
        click[160_000..160_200].fill(0.9);
        for (what, sound) in [("silence", silence(60.0)), ("noise", room(60.0)), ("a click", click)] {
            let mut listener = Listener::new(SETTINGS);
            assert_eq!(changes(&mut listener, &sound), [], "{what}");
            assert!(listener.sound().samples.len() < 3 * BEFORE, "{what}");
        }
    }

    #[test]
    fn silence_that_the_client_leaves_out_ends_the_speech_too() {
        let mut listener = Listener::new(SETTINGS);
        listener.hear(&spoken("tell me a story"));
        assert!(listener.has_begun() && listener.progress() != Progress::Ended);
        listener.hear_silence(Duration::from_millis(240));
        listener.hear_silence(Duration::from_secs(3600));
        assert_eq!(listener.progress(), Progress::Ended);
        assert!(listener.sound().samples.len() < 16_000 * 10);
    }

    #[test]
    fn a_speaker_without_an_end_is_cut_at_the_limit() {
        let words = spoken("a long long story about a bear and a bee and a bird ").repeat(20);
        for end in [SETTINGS.end, None] {
            let mut listener = Listener::new(ListenerSettings { end, max: Duration::from_secs(10), ..SETTINGS });
            listener.hear(&words);
            assert_eq!(listener.progress(), Progress::Ended);
            assert!(listener.sound().samples.len() <= 160_000);
        }
    }

    #[test]
    fn a_client_that_says_when_it_ends_may_pause_as_long_as_it_likes() {
        let mut listener = Listener::new(ListenerSettings { end: None, ..SETTINGS });
        let sound = [room(1.5), spoken("good night"), room(5.0)].concat();
        let changes = changes(&mut listener, &sound);
        assert_eq!(changes.last().unwrap().0, Progress::Paused, "{changes:?}");
        assert_eq!(listener.sound().samples.len(), sound.len(), "all of it, from the press of the button on");
    }
}
