//! The hub's own lines, spoken by Piper and by espeak-ng and recognised back by Whisper: how many words are wrong, and how
//! long the first sentence takes.
//!
//! Whisper hears them in half of its window, which is longer than each line, and by beam search. The hub's recogniser is made
//! for short commands: it drops a text that it doubts.

use std::path::{Path, PathBuf};
use std::time::Instant;

use toyhub::config::Config;
use toyhub::model::ToyCommand;
use toyhub::ports::audio::{self, Sound};
use toyhub::ports::speech::Speaker;
use toyhub::ports::speech::languages::{ENGLISH, GERMAN, Language, Line};
use toyhub::server;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use crate::Times;

/// The lines of one language.
const LINES: usize = 200;
/// Where `scripts/get-voice` installs Piper, in the home folder.
const PIPER: &str = ".cache/toyhub/piper";
/// Spellings of the same sounds.
const SAME: [(&str, &str); 7] = [
    ("i'm", "i am"),
    ("it's", "it is"),
    ("alright", "all right"),
    ("goodbye", "good bye"),
    ("grown-up", "grown up"),
    ("mom", "mum"),
    ("okay", "ok"),
];
const ENGLISH_FRIENDS: [&str; 28] = [
    "Grandma",
    "Grandpa",
    "Mum",
    "Dad",
    "Anna",
    "Tom",
    "Uncle Joe",
    "Emma",
    "Jack",
    "Lucy",
    "Oliver",
    "Sophie",
    "Max",
    "Ella",
    "Ben",
    "Daniel",
    "Laura",
    "Peter",
    "Sarah",
    "David",
    "Julia",
    "Michael",
    "Hannah",
    "Paul",
    "Robert",
    "Alice",
    "George",
    "Aunt Mary",
];
const GERMAN_FRIENDS: [&str; 28] = [
    "Oma",
    "Opa",
    "Mama",
    "Papa",
    "Anna",
    "Tom",
    "Onkel Peter",
    "Emma",
    "Jonas",
    "Lena",
    "Paul",
    "Sophie",
    "Max",
    "Lukas",
    "Ben",
    "Daniel",
    "Laura",
    "Peter",
    "Sarah",
    "David",
    "Julia",
    "Michael",
    "Hannah",
    "Felix",
    "Robert",
    "Marie",
    "Georg",
    "Tante Maria",
];

/// Prints a line for each voice, of each eighth of the hub's lines if it shall be quick.
pub async fn print(model: &Path, is_quick: bool) {
    let folder = PathBuf::from(std::env::var_os("HOME").expect("the home folder")).join(PIPER);
    println!("the hub's own lines, recognised back by {}", crate::name(model));
    let mut whisper = Whisper::load(model);
    for (language, friends) in [(&ENGLISH, ENGLISH_FRIENDS), (&GERMAN, GERMAN_FRIENDS)] {
        let lines: Vec<String> = lines(language, &friends).into_iter().step_by(if is_quick { 8 } else { 1 }).collect();
        for folder in [folder.clone(), PathBuf::new()] {
            let has_piper = !folder.as_os_str().is_empty();
            let mut config = Config::default();
            config.speech.languages = vec![language.code.into()];
            config.speech.piper = folder;
            let speaker = server::speaker(&config);
            speaker.prepare(&[language.code]).await;
            let voice = speaker.piper_voices(language.code).next().map(str::to_owned);
            if has_piper && voice.is_none() {
                println!("{:3} no voice of Piper is installed", language.code);
                continue;
            }
            let voice = voice.unwrap_or_else(|| "espeak-ng".into());
            let (mut wrong, mut words, mut whole) = (0, 0, 0);
            let mut first = Times::default();
            for line in &lines {
                first.add(first_sentence(&speaker, line, language).await);
                let sound = speaker.speak(line, language.code).await.expect("it speaks");
                let (said, heard) = (words_of(line), words_of(&whisper.hear(&sound, language.code)));
                let errors = distance(&said, &heard);
                if errors > 0 {
                    eprintln!("{} | {}", said.join(" "), heard.join(" "));
                }
                (wrong, words, whole) = (wrong + errors, words + said.len(), whole + usize::from(errors == 0));
            }
            println!(
                "{:3} {voice:24} {} lines: {:.1} % of {words} words right, {whole} lines whole; first sentence p50 {:.0} ms, p95 \
                 {:.0} ms",
                language.code,
                lines.len(),
                100.0 * (1.0 - wrong as f64 / words as f64),
                first.percentile(50),
                first.percentile(95),
            );
        }
    }
}

struct Whisper(WhisperState);

impl Whisper {
    fn load(model: &Path) -> Self {
        whisper_rs::install_logging_hooks();
        let context = WhisperContext::new_with_params(model, WhisperContextParameters::default());
        Self(context.expect("the model can be loaded").create_state().expect("there is memory for it"))
    }

    fn hear(&mut self, sound: &Sound, language: &str) -> String {
        let sound = audio::resample(sound, 16_000).expect("it can be resampled");
        let mut params = FullParams::new(SamplingStrategy::BeamSearch { beam_size: 5, patience: -1.0 });
        params.set_language(Some(language));
        // Several would wait for each other beside other processes.
        params.set_n_threads(1);
        params.set_audio_ctx(750);
        params.set_no_timestamps(true);
        params.set_print_progress(false);
        self.0.full(params, &sound.samples).expect("it is recognised");
        self.0.as_iter().map(|segment| segment.to_string()).collect()
    }
}

async fn first_sentence(speaker: &Speaker, line: &str, language: &Language) -> std::time::Duration {
    let started = Instant::now();
    speaker.sentences(line, language.code).next().await.expect("a sentence").expect("it speaks");
    started.elapsed()
}

/// Notices and replies, each once.
fn lines(language: &Language, friends: &[&str]) -> Vec<String> {
    let of_friends = friends.iter().flat_map(|friend| {
        [
            Line::MessageFrom(friend),
            Line::SayYourMessage(friend),
            Line::ShallISend(friend),
            Line::IsItFor(friend),
            Line::MessagesFrom(friend),
            Line::WhoAreYou(friend),
        ]
    });
    let plain = [
        Line::NotUnderstood,
        Line::NoSuchTitle,
        Line::NoSuchNumber,
        Line::NoMusic,
        Line::QuietTime,
        Line::NoSuchFriend,
        Line::Done(ToyCommand::Stop),
        Line::Done(ToyCommand::Louder),
        Line::Done(ToyCommand::Softer),
        Line::WhoAreYou(""),
        Line::NoMessages,
        Line::Awake,
        Line::NotBound,
        Line::NotRegistered,
        Line::NotSent,
        Line::Sent,
        Line::RemindersFull,
        Line::TooFarAhead,
        Line::NoReminders,
        Line::MessagesLater,
        Line::NotNow,
    ];
    let lines = plain.into_iter().chain(of_friends).map(|line| line.text(language));
    let replies = language.replies.table.iter().map(|(_, reply)| (*reply).to_owned());
    replies.chain([language.replies.otherwise.to_owned()]).chain(lines).take(LINES).collect()
}

/// The words of a text, without case and punctuation, in one spelling.
fn words_of(text: &str) -> Vec<String> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '\'' || c == '-';
    let plain: String =
        text.to_lowercase().replace('’', "'").chars().map(|c| if is_of_word(c) { c } else { ' ' }).collect();
    let one_spelling = |word| SAME.iter().find(|(other, _)| *other == word).map_or(word, |(_, usual)| *usual);
    let words = plain.split_whitespace().map(|word| one_spelling(word).replace(['\'', '-'], " "));
    words.flat_map(|word| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// How many words have to be changed, added or left out.
fn distance(said: &[String], heard: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (at, word) in said.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (other, heard) in heard.iter().enumerate() {
            let changed = before + usize::from(word != heard);
            before = row[other + 1];
            row[other + 1] = changed.min(before + 1).min(row[other] + 1);
        }
    }
    row[heard.len()]
}
