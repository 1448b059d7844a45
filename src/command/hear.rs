//! `toyhub hear`: recognition of one recording, with or without a running hub.
//!
//! Neither the library nor an address book is read: titles and friends are arguments.

use std::path::Path;
use std::time::Instant;

use super::output::print;
use crate::config::Config;
use crate::domain::decode_limits;
use crate::domain::hearing::{Nameable, Words, hear};
use crate::ports::audio;
use crate::server;
use crate::service::Failure;

/// Prints a line for each result. A recording without speech is a result, too.
pub async fn run(config: &Config, file: &Path, nameable: &Nameable) -> Result<(), Failure> {
    let of_file = |error: &dyn std::fmt::Display| Failure::Command(format!("{}: {error}", file.display()));
    // To open a named pipe would wait for a writer.
    if !std::fs::metadata(file).map_err(|error| of_file(&error))?.is_file() {
        return Err(of_file(&"it is not a file"));
    }
    let Some(model) = config.speech.model_file() else {
        return Err(Failure::Command("there is no speech model; scripts/get-model fetches one".into()));
    };
    let (path, limits) = (file.to_owned(), decode_limits(&config.audio));
    let started = Instant::now();
    let sound = tokio::task::spawn_blocking(move || audio::decode(&path, &limits)).await;
    let sound = sound.map_err(|error| of_file(&error))?.map_err(|error| of_file(&error))?;
    let decoded = started.elapsed();

    let (recogniser, fault) = server::load_recogniser(&config.speech, model).await.map_err(Failure::Command)?;
    match fault {
        None => print(format_args!("model\t{}", recogniser.describe()))?,
        // As a hub with these settings does.
        Some(fault) => {
            print(format_args!("model\t{}, included, as that of speech.model is bad: {fault}", recogniser.describe()))?
        }
    }
    let languages = config.speech.known_languages();
    let missing = recogniser.describe().missing(&languages);
    if !missing.is_empty() {
        print(format_args!("languages\t{} is not heard: the model knows English only", missing.join(", ")))?;
    }
    if let Some(fault) = config.speech.fault_of_languages() {
        print(format_args!("languages\t{fault}"))?;
    }
    let names_max = config.speech.compare_names_max;
    let heard = hear(&recogniser, sound, nameable, names_max).await.map_err(|error| of_file(&error))?;
    print(format_args!("recording\t{:.2} s", heard.length.as_secs_f64()))?;
    let Words { text, confidence, language, intent, seconds } = match heard.words {
        Ok(words) => words,
        Err(why) => return print(format_args!("no words\t{why}")),
    };
    print(format_args!("words\t{text}"))?;
    print(format_args!("confidence\t{confidence:.2}"))?;
    print(format_args!("language\t{language}"))?;
    print(format_args!("intent\t{intent}"))?;
    for (step, took) in [
        ("decode", decoded),
        ("gate", seconds.gate),
        ("finding the language", seconds.language),
        ("first pass", seconds.first_pass),
        ("second pass", seconds.second_pass),
        ("comparison", seconds.comparison),
    ] {
        print(format_args!("{step}\t{:.3} s", took.as_secs_f64()))?;
    }
    Ok(())
}
