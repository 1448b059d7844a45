//! Recognition and intents of the hub for recordings and texts from another program.
//!
//! On the standard input a line of JSON for each recording: `offset` and `count` of its samples in a file of 16-bit
//! samples at 16 kHz, the spoken `text` and its `language` (English without one), the `titles` and `friends` of the toy.
//! The output is a line with `heard` (no text if no speech was recognised, and then `why`), its `language`, `confidence`
//! and `weakest` part, the sentences that it is `likely` to be, the `intent` of it and the one of what was `said`, and the `ms`
//! of recognition, of its second pass and of the comparison with those sentences.
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
use toyhub::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use toyhub::ports::speech::languages::Language;
use toyhub::ports::speech::{Expectation, Likely, RecogniseError, Recogniser, Transcript};
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
    settings.time_limit = Duration::from_secs(300);
    let recogniser = Recogniser::load(settings).unwrap();
    let lines = std::io::stdin().lock().lines().enumerate();
    let answers = stream::iter(lines).map(|(number, line)| {
        let order: Order = serde_json::from_str(&line.unwrap()).unwrap();
        answer(&recogniser, number, order.sound(samples), order)
    });
    let mut answers = std::pin::pin!(answers.buffered(AT_ONCE));
    while let Some(answer) = answers.next().await {
        println!("{answer}");
    }
}

async fn answer(recogniser: &Recogniser, number: usize, sound: Sound, order: Order) -> Value {
    // Recordings of one sender would be recognised one after the other.
    let sender = format!("toy-{}", number % AT_ONCE);
    let started = Instant::now();
    let outcome = recogniser.recognise_expecting(&sender, sound, Some(order.expectation())).await;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let (heard, why) = match outcome {
        Ok(heard) => (Some(heard), String::new()),
        Err(RecogniseError::NoTranscript(why)) => (None, why.to_string()),
        Err(error) => panic!("{error}"),
    };
    let said = Language::of(&order.text, &order.language);
    let mut answer = json!({ "why": why, "said": order.meaning(&order.text, true, &[], said), "ms": ms });
    if let Some(heard) = heard {
        let language = Language::of(&heard.text, heard.language);
        answer["intent"] = order.meaning(&heard.text, heard.is_sure(), &heard.likely, language);
        if order.each {
            (answer["begun"], answer["asked"]) = order.messages(&heard, language);
        }
        answer["weakest"] = json!(heard.weakest);
        answer["second_ms"] = json!(heard.seconds.second_pass.as_secs_f64() * 1e3);
        answer["comparison_ms"] = json!(heard.seconds.comparison.as_secs_f64() * 1e3);
        let likely = heard.likely.iter().map(|likely| json!([likely.text, likely.regret]));
        answer["likely"] = likely.collect();
        answer["confidence"] = json!(heard.confidence);
        answer["language"] = json!(heard.language);
        answer["heard"] = json!(heard.text);
    }
    answer
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

    /// The sentences to compare the recording with, as in the hub.
    fn expectation(&self) -> Expectation {
        let (titles, friends) = (self.titles.clone(), self.friends.clone());
        Box::new(move |text, code| {
            let language = Language::of(text, code);
            let titles = Names::of_titles(language, titles.iter().map(String::as_str));
            let friends = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
            let friends = Names::of_friends(language, friends);
            // Only whether the words are clear is asked here, for which a message of few words is clear in any case.
            intent::expected(
                text,
                Known { titles: &titles, friends: &friends, toy_name: "", is_sure: false, likely: &[] },
            )
        })
    }

    /// The name of the intent of a text, and its target.
    fn meaning(&self, text: &str, is_sure: bool, likely: &[Likely], language: &'static Language) -> Value {
        match self.intent(text, is_sure, likely, language, &self.friends) {
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
        let intent = |friends| self.intent(&heard.text, heard.is_sure(), &heard.likely, language, friends);
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
        is_sure: bool,
        likely: &[Likely],
        language: &'static Language,
        friends: &[String],
    ) -> Intent {
        let titles = Names::of_titles(language, self.titles.iter().map(String::as_str));
        let friends = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
        let friends = Names::of_friends(language, friends);
        intent::understand(text, Known { titles: &titles, friends: &friends, toy_name: "", is_sure, likely })
    }
}
