//! Recognition and intents of the hub for recordings and texts from another program.
//!
//! On the standard input a line of JSON for each recording: `offset` and `count` of its samples in a file of 16-bit
//! samples at 16 kHz, the spoken `text`, the `titles` and `friends` of the toy. The output is a line with `heard` (no
//! text if no speech was recognised, and then `why`), its `confidence`, the `intent` of it and the one of what was
//! `said`, and the `ms` of recognition and of its second pass.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use toyhub::config::Config;
use toyhub::ports::audio::Sound;
use toyhub::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use toyhub::ports::speech::languages::ENGLISH;
use toyhub::ports::speech::{RecogniseError, Recogniser};
use toyhub::server;

#[derive(Deserialize)]
struct Order {
    offset: u64,
    count: usize,
    text: String,
    titles: Vec<String>,
    friends: Vec<String>,
}

/// One for each worker of the recogniser.
const AT_ONCE: usize = 2;

pub async fn answer_lines(model: &Path, samples: &Path) {
    let mut settings = server::recogniser_settings(&Config::default().speech, model.to_owned());
    (settings.workers, settings.threads) = (AT_ONCE, 1);
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
    let outcome = recogniser.recognise(&sender, sound).await;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let mut second_ms = 0.0;
    let (heard, confidence, why) = match outcome {
        Ok(heard) => {
            second_ms = heard.seconds.second_pass.as_secs_f64() * 1e3;
            (Some(heard.text), heard.confidence, String::new())
        }
        Err(RecogniseError::NoTranscript(why)) => (None, 0.0, why.to_string()),
        Err(error) => panic!("{error}"),
    };
    let intent = heard.as_deref().map(|text| order.meaning(text));
    let said = order.meaning(&order.text);
    json!({
        "heard": heard, "confidence": confidence, "why": why, "intent": intent, "said": said, "ms": ms, "second_ms": second_ms
    })
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

    /// The name of the intent of a text, and its target.
    fn meaning(&self, text: &str) -> Value {
        let titles = Names::of_titles(&ENGLISH, self.titles.iter().map(String::as_str));
        let friends = self.friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
        let known = Known { titles: &titles, friends: &Names::of_friends(&ENGLISH, friends), toy_name: "" };
        match intent::understand(text, known) {
            Intent::Play(index) => json!(["Play", self.titles[index]]),
            Intent::Message(index) => json!(["Message", self.friends[index]]),
            Intent::ConfirmFriend(index) => json!(["ConfirmFriend", self.friends[index]]),
            Intent::PlayNumber(number) => json!(["PlayNumber", number]),
            Intent::Sum(value) => json!(["Sum", value]),
            other => json!([format!("{other:?}").split('(').next(), null]),
        }
    }
}
