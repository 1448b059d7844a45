//! `toyhub hear`: recognition of one recording, with or without a running hub.
//!
//! Neither the library nor an address book is read: titles and friends are arguments.

use std::path::Path;
use std::time::Instant;

use super::output::print;
use crate::config::Config;
use crate::domain::decode_limits;
use crate::ports::audio;
use crate::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use crate::ports::speech::languages::Language;
use crate::ports::speech::{RecogniseError, Recogniser};
use crate::server;
use crate::service::Failure;

/// Prints a line for each result. A recording without speech is a result, too.
pub async fn run(config: &Config, file: &Path, titles: &[String], friends: &[String]) -> Result<(), Failure> {
    let of_file = |error: &dyn std::fmt::Display| Failure::Command(format!("{}: {error}", file.display()));
    let Some(model) = config.speech.model_file() else {
        return Err(Failure::Command("there is no speech model; scripts/get-model fetches one".into()));
    };
    let (path, limits) = (file.to_owned(), decode_limits(&config.audio));
    let started = Instant::now();
    let sound = tokio::task::spawn_blocking(move || audio::decode(&path, &limits)).await;
    let sound = sound.map_err(|error| of_file(&error))?.map_err(|error| of_file(&error))?;
    let (decoded, length) = (started.elapsed(), sound.duration());

    let settings = server::recogniser_settings(&config.speech, model);
    let loaded = tokio::task::spawn_blocking(|| Recogniser::load(settings)).await;
    let failed = |error: &dyn std::fmt::Display| Failure::Command(error.to_string());
    let recogniser = loaded.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    print(format_args!("model\t{}", recogniser.describe()))?;
    print(format_args!("recording\t{:.2} s", length.as_secs_f64()))?;
    let heard = match recogniser.recognise("command", sound).await {
        Ok(heard) => heard,
        Err(RecogniseError::NoTranscript(why)) => return print(format_args!("no words\t{why}")),
        Err(error) => return Err(of_file(&error)),
    };

    let language = Language::of(&heard.text, heard.language);
    let names = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
    let known = Known {
        titles: &Names::of_titles(language, titles.iter().map(String::as_str)),
        friends: &Names::of_friends(language, names),
        toy_name: "",
    };
    let intent = intent::understand(&heard.text, known);
    print(format_args!("words\t{}", heard.text))?;
    print(format_args!("confidence\t{:.2}", heard.confidence))?;
    print(format_args!("language\t{}", heard.language))?;
    print(format_args!("intent\t{}", describe(intent, titles, friends)))?;
    let seconds = heard.seconds;
    for (step, took) in [
        ("decode", decoded),
        ("gate", seconds.gate),
        ("language", seconds.language),
        ("first pass", seconds.first_pass),
        ("second pass", seconds.second_pass),
    ] {
        print(format_args!("{step}\t{:.3} s", took.as_secs_f64()))?;
    }
    Ok(())
}

/// The intent, with the title or friend that it names.
fn describe(intent: Intent, titles: &[String], friends: &[String]) -> String {
    let title = |index: usize| titles.get(index).map_or("", String::as_str);
    let friend = |index: usize| friends.get(index).map_or("", String::as_str);
    match intent {
        Intent::Play(index) => format!("play {}", title(index)),
        Intent::PlayNumber(number) => format!("play number {number}"),
        Intent::PlayAny => "play anything".into(),
        Intent::PlayAnother => "play another one".into(),
        Intent::PlayAgain => "play it again".into(),
        Intent::PlayQuiet => "play something quiet".into(),
        Intent::AskTitle(first, second) => format!("ask: {} or {}?", title(first), title(second)),
        Intent::NoSuchTitle => "play a title that is not in the library".into(),
        Intent::Stop => "stop".into(),
        Intent::Louder => "louder".into(),
        Intent::Softer => "softer".into(),
        Intent::Message(index) => format!("message to {}", friend(index)),
        Intent::AskFriend(first, second) => format!("ask: {} or {}?", friend(first), friend(second)),
        Intent::ConfirmFriend(index) => format!("ask: message to {}?", friend(index)),
        Intent::NoSuchFriend => "message to a friend who is not in the address book".into(),
        Intent::Time => "time".into(),
        Intent::Date => "date".into(),
        Intent::Sum(value) => format!("sum {value}"),
        Intent::Story => "story".into(),
        Intent::Riddle => "riddle".into(),
        Intent::WhoAreYou => "the toy's name".into(),
        Intent::Unknown => "no command: a reply".into(),
    }
}
