//! Recognition and intents of the hub for recordings and texts from another program.
//!
//! On the standard input a line of JSON for each recording: `offset` and `count` of its samples in a file of 16-bit
//! samples at 16 kHz, the spoken `text` and its `language` (English without one), the `titles` and `friends` of the toy.
//! The output is a line with `heard` (no text if no speech was recognised, and then `why`), its `language`, `confidence`
//! and `weakest` part, the sentences that it is `likely` to be, the `intent` of it, the one by its `words` alone and the one
//! of what was `said`, and the `ms` of recognition, of its second pass and of the comparison with those sentences.
//!
//! With `again`, such an output, nothing is recognised, and only the intents are found again. With `limits` (those of
//! [`Limits`], in its order), the output has the intent with each of them (`tried`).
//!
//! With `each`, every friend is alone in an address book of its own, and the output has the friends for whom a message is
//! begun (`begun`) or who are asked about (`asked`).

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use toyhub::config::Config;
use toyhub::ports::audio::Sound;
use toyhub::ports::speech::intent::{self, FriendNames, Intent, Known, Limits, Meanings, Names};
use toyhub::ports::speech::languages::Language;
use toyhub::ports::speech::{Clarity, Expectation, Likely, RecogniseError, Recogniser, Seconds, Transcript};
use toyhub::server;

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    count: usize,
    text: String,
    #[serde(default)]
    language: String,
    titles: Vec<String>,
    friends: Vec<String>,
    #[serde(default)]
    each: bool,
    again: Option<Again>,
    #[serde(default)]
    limits: Vec<[f32; 4]>,
}

/// What was recognised before.
#[derive(Deserialize)]
struct Again {
    heard: String,
    language: String,
    confidence: f32,
    weakest: f32,
    may_lack_words: bool,
    likely: Vec<(String, f32)>,
}

/// One for each worker of the recogniser.
const AT_ONCE: usize = 2;

/// The `languages` are those to choose from, or those of the settings.
pub async fn answer_lines(model: &Path, samples: &Path, languages: &[String]) {
    let mut speech = Config::default().speech;
    if !languages.is_empty() {
        speech.languages = languages.to_vec();
    }
    let mut settings = server::recogniser_settings(&speech, model.to_owned());
    (settings.workers, settings.threads) = (AT_ONCE, 1);
    // The machine may be busy.
    (settings.time_limit, settings.comparison.time_max) = (Duration::from_secs(300), Duration::from_secs(300));
    let recogniser = Recogniser::load(settings).unwrap();
    let lines = std::io::stdin().lock().lines().enumerate();
    let answers = stream::iter(lines).map(|(number, line)| {
        let order: Order = serde_json::from_str(&line.unwrap()).unwrap();
        answer(&recogniser, number, samples, order)
    });
    let mut answers = std::pin::pin!(answers.buffered(AT_ONCE));
    while let Some(answer) = answers.next().await {
        println!("{answer}");
    }
}

async fn answer(recogniser: &Recogniser, number: usize, samples: &Path, order: Order) -> Value {
    let said = Language::of(&order.text, &order.language);
    let said = order.meaning(order.intent(&order.text, Clarity::Clear, &[], said, &order.friends));
    if let Some(again) = &order.again {
        return order.answer(&again.transcript(), said);
    }
    // Recordings of one sender would be recognised one after the other.
    let sender = format!("toy-{}", number % AT_ONCE);
    let started = Instant::now();
    let outcome = recogniser.recognise_expecting(&sender, order.sound(samples), Some(order.expectation())).await;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let mut answer = match outcome {
        Ok(heard) => order.answer(&heard, said),
        Err(RecogniseError::NoTranscript(why)) => json!({ "why": why.to_string(), "said": said }),
        Err(error) => panic!("{error}"),
    };
    answer["ms"] = json!(ms);
    answer
}

impl Again {
    fn transcript(&self) -> Transcript {
        let likely = self.likely.iter().map(|(text, regret)| Likely { text: text.clone(), regret: *regret });
        Transcript {
            text: self.heard.clone(),
            language: Language::of(&self.heard, &self.language).code,
            confidence: self.confidence,
            weakest: self.weakest,
            may_lack_words: self.may_lack_words,
            likely: likely.collect(),
            seconds: Seconds::default(),
        }
    }
}

impl Order {
    fn sound(&self, samples: &Path) -> Sound {
        let mut file = File::open(samples).unwrap();
        let mut bytes = vec![0; self.count * 2];
        file.seek(SeekFrom::Start(self.offset * 2)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        let samples = bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0);
        Sound { samples: samples.collect(), rate_hz: 16_000 }
    }

    /// The intents of what was heard, and all that tells how it was heard.
    fn answer(&self, heard: &Transcript, said: Value) -> Value {
        let language = Language::of(&heard.text, heard.language);
        let meanings = |likely| self.meanings(&heard.text, heard.clarity(), likely, language, &self.friends);
        let (by_words, meanings) = (meanings(&[]), meanings(&heard.likely));
        let intent = |limits: &Limits| self.meaning(meanings.choose(limits));
        let tried = self.limits.iter().map(|&[most, plain, friend, rival]| Limits { most, plain, friend, rival });
        let mut answer = json!({
            "said": said,
            "intent": intent(&Limits::CHOSEN),
            "words": self.meaning(by_words.choose(&Limits::CHOSEN)),
            "tried": tried.map(|limits| intent(&limits)).collect::<Value>(),
            "weakest": heard.weakest,
            "may_lack_words": heard.may_lack_words,
            "second_ms": heard.seconds.second_pass.as_secs_f64() * 1e3,
            "comparison_ms": heard.seconds.comparison.as_secs_f64() * 1e3,
            "likely": heard.likely.iter().map(|likely| json!([likely.text, likely.regret])).collect::<Value>(),
            "confidence": heard.confidence,
            "language": heard.language,
            "heard": heard.text,
        });
        if self.each {
            (answer["begun"], answer["asked"]) = self.messages(heard, language);
        }
        answer
    }

    /// The sentences to compare the recording with, as in the hub.
    fn expectation(&self) -> Expectation {
        let (titles, friends) = (self.titles.clone(), self.friends.clone());
        Box::new(move |text, code| {
            let language = Language::of(text, code);
            let titles = Names::of_titles(language, titles.iter().map(String::as_str));
            let friends = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
            let friends = Names::of_friends(language, friends);
            let known =
                Known { titles: &titles, friends: &friends, toy_name: "", clarity: Clarity::Clear, likely: &[] };
            intent::expected(text, known, Config::default().speech.compare_names_max)
        })
    }

    /// The name of an intent, and its target.
    fn meaning(&self, intent: Intent) -> Value {
        match intent {
            Intent::Play(index) => json!(["Play", self.titles[index]]),
            Intent::Message(index) => json!(["Message", self.friends[index]]),
            Intent::ConfirmFriend(index) => json!(["ConfirmFriend", self.friends[index]]),
            Intent::PlayNumber(number) => json!(["PlayNumber", number]),
            Intent::Sum(value) => json!(["Sum", value]),
            other => json!([format!("{other:?}").split('(').next(), null]),
        }
    }

    /// The friends for whom a message is begun, and who are asked about, if each is the only one.
    fn messages(&self, heard: &Transcript, language: &'static Language) -> (Value, Value) {
        let (mut begun, mut asked) = (Vec::new(), Vec::new());
        // A name that is found alone is found among all, too, perhaps with another one like it.
        let intent = |friends| self.intent(&heard.text, heard.clarity(), &heard.likely, language, friends);
        let all = intent(&self.friends);
        if matches!(all, Intent::Message(_) | Intent::AskFriend(..) | Intent::ConfirmFriend(_)) {
            for friend in &self.friends {
                match intent(std::slice::from_ref(friend)) {
                    Intent::Message(_) => begun.push(friend),
                    Intent::ConfirmFriend(_) => asked.push(friend),
                    _ => {}
                }
            }
        }
        (json!(begun), json!(asked))
    }

    fn intent(
        &self,
        text: &str,
        clarity: Clarity,
        likely: &[Likely],
        language: &'static Language,
        friends: &[String],
    ) -> Intent {
        self.meanings(text, clarity, likely, language, friends).choose(&Limits::CHOSEN)
    }

    fn meanings(
        &self,
        text: &str,
        clarity: Clarity,
        likely: &[Likely],
        language: &'static Language,
        friends: &[String],
    ) -> Meanings {
        let titles = Names::of_titles(language, self.titles.iter().map(String::as_str));
        let friends = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
        let friends = Names::of_friends(language, friends);
        Meanings::of(text, Known { titles: &titles, friends: &friends, toy_name: "", clarity, likely })
    }
}
