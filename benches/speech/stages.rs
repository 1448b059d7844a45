//! The steps between a recording and its answer, measured one by one; and whisper.cpp without the hub.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use toyhub::config::Config;
use toyhub::ports::audio::{self, DecodeLimits, Sound};
use toyhub::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use toyhub::ports::speech::languages::ENGLISH;
use toyhub::ports::speech::{Clarity, Recogniser};
use toyhub::server;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use crate::Times;
use crate::recordings::Recording;

const RATE_HZ: u32 = 16_000;

#[derive(Default)]
pub struct Stages {
    pub decode: Times,
    pub recognise: Times,
    pub intent: Times,
    pub synthesise: Times,
    /// whisper.cpp alone, with the same model and settings.
    pub direct: Times,
    /// How many recordings were understood.
    pub right: usize,
}

pub async fn measure(model: &Path, recordings: &[Recording]) -> Stages {
    let config = Config::default();
    let settings = server::recogniser_settings(&config.speech, model.to_owned());
    let mut direct = Direct::new(model, settings.threads);
    let recogniser = Recogniser::load(settings).unwrap();
    let speaker = server::speaker(&config);
    let titles: Vec<String> = (0..50).map(|number| format!("The Song of the {number} Bears")).collect();
    let titles = Names::of_titles(&ENGLISH, titles.iter().map(String::as_str));
    let friends = ["Grandma", "Grandpa", "Mum", "Dad", "Anna", "Ball Ball", "Tom", "Uncle Joe"];
    let friends = friends.map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
    let friends = Names::of_friends(&ENGLISH, friends);
    let known = Known { titles: &titles, friends: &friends, toy_name: "Fluffy", clarity: Clarity::Clear, likely: &[] };

    let mut stages = Stages::default();
    for recording in recordings {
        let (sound, took) = timed(|| decode(&recording.wav, &config));
        stages.decode.add(took);
        stages.direct.add(timed(|| direct.words(&sound)).1);

        let started = Instant::now();
        let heard = recogniser.recognise("toy", sound).await;
        stages.recognise.add(started.elapsed());
        let text = heard.map(|heard| heard.text).unwrap_or_default();

        let (intent, took) = timed(|| intent::understand(&text, known));
        stages.intent.add(took);
        stages.right += usize::from(intent == Intent::Sum(recording.sum.into()));

        let started = Instant::now();
        let spoken = speaker.speak(&format!("That makes {}.", recording.sum), "en").await.unwrap();
        audio::encode_mp3(&spoken, config.audio.mp3_bitrate_kbps).unwrap();
        stages.synthesise.add(started.elapsed());
    }
    stages
}

fn decode(wav: &[u8], config: &Config) -> Sound {
    let limits = DecodeLimits {
        max_seconds: config.audio.recording_max_s,
        cpu_max: Duration::from_secs(config.audio.decode_cpu_max_s),
        ffmpeg: None,
    };
    audio::decode_bytes(Bytes::copy_from_slice(wav), &limits).unwrap()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let made = work();
    (made, started.elapsed())
}

/// whisper.cpp called directly, with the hub's settings.
pub struct Direct {
    state: WhisperState,
    positions: usize,
    threads: usize,
}

impl Direct {
    pub fn new(model: &Path, threads: usize) -> Self {
        whisper_rs::install_logging_hooks();
        let context = WhisperContext::new_with_params(model, WhisperContextParameters::default()).unwrap();
        let positions = context.n_audio_ctx() as usize;
        Self { state: context.create_state().unwrap(), positions, threads }
    }

    pub fn words(&mut self, sound: &Sound) {
        assert_eq!(sound.rate_hz, RATE_HZ);
        self.tokens(&sound.samples, 48);
    }

    /// Recognises a recording, with a limit of tokens.
    pub fn tokens(&mut self, samples: &[f32], most: i32) {
        let needed = (samples.len() * 50).div_ceil(RATE_HZ as usize) + 128;
        let shortened = needed.next_multiple_of(64).max(384).min(self.positions);
        self.tokens_in(samples, if self.positions <= 512 { self.positions } else { shortened }, most);
    }

    /// The same, in a window of so many positions.
    pub fn tokens_in(&mut self, samples: &[f32], positions: usize, most: i32) {
        let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        params.set_language(Some("en"));
        params.set_n_threads(self.threads as i32);
        params.set_no_context(true);
        params.set_single_segment(true);
        params.set_no_timestamps(true);
        params.set_suppress_nst(true);
        params.set_suppress_blank(false);
        params.set_print_progress(false);
        params.set_temperature_inc(0.0);
        params.set_max_tokens(most);
        params.set_audio_ctx(positions as i32);
        self.state.full(params, samples).unwrap();
    }
}
