//! Recognition of one recording for the operator, who tries a model or a microphone: the words, and what a toy would do.
//!
//! Nothing is stored or logged, and no address book is read.

use std::time::Duration;

use bytes::Bytes;

use super::Hub;
use super::error::DomainError;
use crate::ports::audio::Sound;
use crate::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use crate::ports::speech::languages::Language;
use crate::ports::speech::{Clarity, Expectation, ModelDescription, NoTranscript, RecogniseError, Recogniser, Seconds};

/// The recogniser takes the recordings of one sender in turn.
const SENDER: &str = "operator";

/// What was recognised.
#[derive(Debug)]
pub struct Heard {
    /// How long the recording is.
    pub length: Duration,
    /// The words, or why there are none.
    pub words: Result<Words, NoTranscript>,
}

/// The words of a recording.
pub struct Words {
    /// The text, as the model writes it.
    pub text: String,
    /// The confidence of the model, from 0 to 1.
    pub confidence: f32,
    /// The language, such as `en`.
    pub language: &'static str,
    /// What a toy would do.
    pub intent: String,
    /// How long the steps took.
    pub seconds: Seconds,
}

// Written by hand, as that of the transcript: words must not get into a log.
impl std::fmt::Debug for Words {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Words").field("language", &self.language).finish_non_exhaustive()
    }
}

/// What the speaker of a recording may name.
#[derive(Debug, Clone, Default)]
pub struct Nameable {
    /// The titles of the library.
    pub titles: Vec<String>,
    /// The friends.
    pub friends: Vec<String>,
    /// The toy's own name; empty if it has none.
    pub toy_name: String,
}

/// Recognises a recording. If more than `names_max` titles and friends may be named, it is not compared with known sentences.
/// A recording without speech is a result, too.
pub async fn hear(
    recogniser: &Recogniser,
    sound: Sound,
    nameable: &Nameable,
    names_max: usize,
) -> Result<Heard, RecogniseError> {
    let length = sound.duration();
    let Nameable { titles, friends, toy_name } = nameable;
    let (its_titles, its_friends, its_toy_name) = (titles.clone(), friends.clone(), toy_name.clone());
    let expectation: Expectation = Box::new(move |text, code| {
        let language = Language::of(text, code);
        let [titles, friends] = names(language, &its_titles, &its_friends);
        let toy_name = &its_toy_name;
        let known = Known { titles: &titles, friends: &friends, toy_name, clarity: Clarity::Clear, likely: &[] };
        intent::expected(text, known, names_max)
    });
    let heard = match recogniser.recognise_expecting(SENDER, sound, Some(expectation)).await {
        Ok(heard) => heard,
        Err(RecogniseError::NoTranscript(why)) => return Ok(Heard { length, words: Err(why) }),
        Err(error) => return Err(error),
    };
    let language = Language::of(&heard.text, heard.language);
    let [titles_as_said, friends_as_said] = names(language, titles, friends);
    let known = Known {
        titles: &titles_as_said,
        friends: &friends_as_said,
        toy_name,
        clarity: heard.clarity(),
        likely: &heard.likely,
    };
    // As in a conversation, requests to be reminded come first.
    let intent = match intent::reminder(&heard.text, toy_name, language) {
        Some(wish) if wish.when.is_some() => format!("set: {}", wish.kind.as_str()),
        Some(wish) => format!("ask: when shall the {} be?", wish.kind.as_str()),
        None => describe(intent::understand(&heard.text, known), titles, friends),
    };
    let (text, confidence, language, seconds) = (heard.text, heard.confidence, heard.language, heard.seconds);
    Ok(Heard { length, words: Ok(Words { text, confidence, language, intent, seconds }) })
}

/// The titles and the friends, as they are said in a language.
fn names(language: &'static Language, titles: &[String], friends: &[String]) -> [Names; 2] {
    let friends = friends.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
    [Names::of_titles(language, titles.iter().map(String::as_str)), Names::of_friends(language, friends)]
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
        Intent::Resume => "go on".into(),
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
        Intent::ListReminders => "the reminders".into(),
        Intent::CancelReminders(kind) => format!("delete each {}", kind.as_str()),
        Intent::PlayMessages => "play the unread messages".into(),
        Intent::Unknown => "no command: a reply".into(),
    }
}

impl Hub {
    /// The speech model; none if recordings are not recognised.
    pub fn speech_model(&self) -> Option<ModelDescription> {
        self.assistant.ears.now().map(|recogniser| recogniser.describe().clone())
    }

    /// Recognises a recording of the operator, with the titles of the library. Errors: `NoSpeechModel`, `NotSound`,
    /// `EmptyRecording`, `RecordingTooLong`, `Busy`.
    pub async fn hear(&self, recording: &Bytes) -> Result<Heard, DomainError> {
        let recogniser = self.assistant.ears.ready().await?;
        let sound = self.decode_own(recording).await?;
        let titles = self.content().await?.into_iter().map(|content| content.title).collect();
        let nameable = Nameable { titles, ..Nameable::default() };
        let names_max = self.config.speech.compare_names_max;
        hear(&recogniser, sound, &nameable, names_max).await.map_err(|error| match error {
            RecogniseError::TooLong { max_seconds } => DomainError::RecordingTooLong { max_seconds },
            RecogniseError::Busy | RecogniseError::TimedOut => DomainError::Busy,
            error => DomainError::internal(error),
        })
    }
}
