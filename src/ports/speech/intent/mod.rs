//! Intent detection: from the recognised text to an [`Intent`].
//!
//! Pure functions. The phrases are in the tables of [`languages`](super::languages). Titles and friends' names are
//! found by spelling and by sound, as children speak unclearly and recognisers make errors: `score.rs` computes the
//! similarity of two texts, `names.rs` picks one name, or two for a question. This module looks nothing up and executes
//! nothing.
//!
//! Each file uses those before it: `text` (letters, sentences, tokens), `lexicon` (the languages' small words),
//! `numbers`, `word`, `score`, then `courtesy`, `names` and `phrases`.
//!
//! A child's message must not be sent to the wrong person. So a message begins at once only if all that was said is a phrase
//! of the table with a friend's name at its place, but for courtesy and the toy's name. If a phrase at the beginning of a
//! sentence lacks a word, if anything else was said, or if the name may be another one or another word, the hub asks first.
//! A name that is only mentioned starts no message.

mod closest;
mod courtesy;
mod lexicon;
mod names;
mod numbers;
mod phrases;
mod reminders;
mod score;
mod text;
mod word;

use std::collections::HashSet;

pub use closest::{Limits, Meanings};
use names::{Anchor, Found};
pub use names::{FriendNames, Names};
use phrases::{Phrase, Phrases};
pub use reminders::{When, Wish, reminder, time};
use word::Word;

use super::grammar::{Clarity, Grammar, Likely};
pub use super::languages::{DraftWish, Intent};
use super::languages::{Language, Meaning};
use lexicon::Lexicon;

/// The minimum similarity of a phrase without a name.
const PHRASE_LIKENESS_MIN: f64 = 0.78;

/// With this similarity, a phrase is certain enough not to search for a name.
const PHRASE_CERTAIN_MIN: f64 = 0.93;

/// The maximum numbers of letters of a transcript and of words of a sentence; commands are shorter.
const LETTERS_MAX: usize = 500;
const WORDS_MAX: usize = 60;

/// The titles and names for one toy.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The titles of the library.
    pub titles: &'a Names,
    /// The toy's address book.
    pub friends: &'a Names,
    /// The toy's own name, by which a child may address it.
    pub toy_name: &'a str,
    /// How clearly the words were heard.
    pub clarity: Clarity,
    /// The sentences that the recording is like by the model's probabilities, if its words are no clear command.
    pub likely: &'a [Likely],
}

/// The intent of the `transcript`, in the language of the titles.
///
/// If its words are no clear command, the sentences decide that the recording is like (`closest.rs`).
pub fn understand(transcript: &str, known: Known<'_>) -> Intent {
    Meanings::of(transcript, known).choose(&Limits::CHOSEN)
}

/// The sentences to compare a recording with whose words are no clear command, nor an answer or a request for a reminder.
/// None either if there are more than `names_max` titles and friends.
pub fn expected(transcript: &str, known: Known<'_>, names_max: usize) -> Option<Grammar> {
    if known.titles.count() + known.friends.count() > names_max {
        return None;
    }
    let language = known.titles.lexicon.languages[0];
    let is_clear = closest::is_clear(understand_text(transcript, known))
        || agree(transcript, language).is_some()
        || reminder(transcript, known.toy_name, language).is_some();
    if is_clear {
        return None;
    }
    let [titles, friends] = [known.titles, known.friends].map(|names| names.ways_to_say().collect::<Vec<_>>());
    Grammar::new(language, titles.iter().map(String::as_str), friends.iter().map(String::as_str))
}

/// The intent of the words alone.
///
/// The whole is tried first, then its sentences, then the parts between commas, since recognisers set both freely. A
/// part between commas never starts a message: "Mummy said, tell grandma" is no command.
fn understand_text(transcript: &str, known: Known<'_>) -> Intent {
    let transcript: String = transcript.chars().take(LETTERS_MAX).collect();
    let text = text::normalise(&transcript);
    let whole = understand_one(&text, known, true);
    if whole != Intent::Unknown {
        return whole;
    }
    let sentences = text::sentences(&text);
    let clauses = text::clauses(&text);
    let by_sentence = sentences.iter().filter(|_| sentences.len() > 1).map(|part| (part, true));
    let by_comma = clauses.iter().filter(|_| clauses.len() > sentences.len()).map(|part| (part, false));
    let intent = by_sentence
        .chain(by_comma)
        .map(|(part, may_message)| understand_one(part, known, may_message))
        .find(|intent| *intent != Intent::Unknown);
    match intent {
        Some(Intent::Message(friend)) if sentences.iter().filter(|part| says_something(part, known)).count() > 1 => {
            Intent::ConfirmFriend(friend)
        }
        intent => intent.unwrap_or(Intent::Unknown),
    }
}

/// Whether a sentence has more than courtesy and the toy's name.
fn says_something(text: &str, known: Known<'_>) -> bool {
    let lexicon = known.titles.lexicon;
    let toy_name = word::words(&text::normalise(known.toy_name), lexicon);
    courtesy::says_something(&word::words(text, lexicon), &toy_name, lexicon)
}

/// The answer to "do you mean this one?": whether it is, if that is clear. The name itself is a yes, but not a sentence with
/// the name: "no, not the bear" and "tell me a story about a bear" begin no message to a friend Bear.
pub fn confirm(transcript: &str, names: &Names, index: usize) -> Option<bool> {
    let lexicon = names.lexicon;
    let spoken = word::words(&text::normalise(transcript), lexicon);
    if let Some(answer) = Phrases::of(lexicon).answer(&spoken) {
        return Some(answer);
    }
    let is_named = matches!(names.only(index, index).find_in_answer(&spoken), Found::One(_));
    is_named.then_some(true)
}

/// The friend who was named as the answer to "who shall the message be for?".
pub fn named(transcript: &str, clarity: Clarity, friends: &Names) -> Intent {
    let spoken = word::words(&text::normalise(transcript), friends.lexicon);
    let found = friends.find_in_answer(&spoken).friend(clarity != Clarity::Incomplete);
    found.unwrap_or(Intent::Unknown)
}

/// The answer to a question for yes or no, if it is clear.
pub fn agree(transcript: &str, language: &Language) -> Option<bool> {
    let lexicon = Lexicon::of(language);
    Phrases::of(lexicon).answer(&word::words(&text::normalise(transcript), lexicon))
}

/// What a child wants to be done with its message, if it is clear.
pub fn draft(transcript: &str, language: &Language) -> Option<DraftWish> {
    let lexicon = Lexicon::of(language);
    let spoken = word::words(&text::normalise(transcript), lexicon);
    let phrases = Phrases::of(lexicon);
    let answer = || phrases.answer(&spoken).map(|is_yes| if is_yes { DraftWish::Send } else { DraftWish::Drop });
    answer().or_else(|| phrases.draft(&spoken, lexicon))
}

/// The answer to "do you mean the first or the second?": one of the two, if it is clear which.
pub fn choose(transcript: &str, names: &Names, first: usize, second: usize) -> Option<usize> {
    let lexicon = names.lexicon;
    let spoken = word::words(&text::normalise(transcript), lexicon);
    match names.only(first, second).find_in_answer(&spoken) {
        Found::One(index) | Found::Unsure(index) => Some(index),
        Found::Two(..) | Found::None => {
            Phrases::of(lexicon).choice(&spoken, lexicon).map(|is_first| if is_first { first } else { second })
        }
    }
}

/// The meaning of one sentence.
fn understand_one(text: &str, known: Known<'_>, may_message: bool) -> Intent {
    let lexicon = known.titles.lexicon;
    if let Some(value) = numbers::sum(text, lexicon) {
        return Intent::Sum(value);
    }
    let mut spoken = word::words(text, lexicon);
    spoken.truncate(WORDS_MAX);
    let toy_name = word::words(&text::normalise(known.toy_name), lexicon);
    let mut undecided = Intent::Unknown;
    // "And then call Anna" is a piece of a story.
    let clarity = if courtesy::goes_on(&spoken, lexicon) { Clarity::Incomplete } else { known.clarity };
    for (part, is_to_toy) in courtesy::parts_meant(&spoken, &toy_name, lexicon) {
        match (understand_words(part, Known { clarity, ..known }, may_message && is_to_toy), undecided) {
            (Intent::Unknown, _) => {}
            // Without the toy's name at its end a request may be clear.
            (Intent::Message(friend), Intent::ConfirmFriend(asked)) if friend == asked => {
                return Intent::Message(friend);
            }
            (_, Intent::ConfirmFriend(_)) => {}
            // Something better may follow a greeting: "hello teddy, …".
            (intent @ (Intent::NoSuchTitle | Intent::NoSuchFriend | Intent::ConfirmFriend(_)), _) => undecided = intent,
            (intent, _) => return intent,
        }
    }
    undecided
}

/// The meaning of a sentence without an introduction.
fn understand_words(sentence: &[Word], known: Known<'_>, may_message: bool) -> Intent {
    let lexicon = known.titles.lexicon;
    let phrases = &Phrases::of(lexicon).table;
    if let Some(number) = phrases.iter().find_map(|phrase| number_wanted(phrase, sentence, lexicon)) {
        return Intent::PlayNumber(number);
    }
    let (plain, likeness) = plain_phrase(sentence, phrases);
    if likeness >= PHRASE_CERTAIN_MIN {
        return plain;
    }
    let is_plain = likeness >= PHRASE_LIKENESS_MIN;
    let framed = framed_name(sentence, phrases, known, may_message, is_plain);
    if let Some(intent) = framed.found {
        return intent;
    }
    if is_plain {
        return plain;
    }
    known.titles.find_bare(sentence).title().unwrap_or(framed.otherwise)
}

/// The number in "play number …", if the sentence has this form.
fn number_wanted(phrase: &Phrase, sentence: &[Word], lexicon: &Lexicon) -> Option<u32> {
    if phrase.meaning != Meaning::Number {
        return None;
    }
    let slot = phrase.slot(sentence)?;
    numbers::whole_number(slot.words.iter().map(|word| word.text.as_str()), lexicon)
}

/// The most similar phrase without a name, and its similarity.
fn plain_phrase(sentence: &[Word], phrases: &[Phrase]) -> (Intent, f64) {
    let letters: String = sentence.iter().map(|word| word.text.as_str()).collect();
    let mut best = (Intent::Unknown, 0.0);
    for phrase in phrases {
        if let Meaning::Is(intent) = phrase.meaning
            && phrase.may_be(sentence)
        {
            let likeness = score::sentence_likeness(sentence, &letters, &phrase.before, &phrase.letters);
            if likeness > best.1 {
                best = (intent, likeness);
            }
        }
    }
    best
}

/// The result of the phrases around a name.
struct Framed {
    found: Option<Intent>,
    /// The intent if nothing else matches.
    otherwise: Intent,
}

/// Looks for a title or a friend where the phrases of the table have one. Where the sentence is also like a phrase
/// without a name, a friend's name must be spelled as it is: "tell the time" is nothing for Tim.
fn framed_name(sentence: &[Word], phrases: &[Phrase], known: Known<'_>, may_message: bool, is_plain: bool) -> Framed {
    let mut slots = Vec::new();
    for phrase in phrases {
        let is_allowed = match phrase.meaning {
            Meaning::Title(_) => true,
            Meaning::Friend(_) => may_message,
            Meaning::Is(_) | Meaning::Number => false,
        };
        if is_allowed {
            slots.extend(phrase.slot(sentence).map(|slot| (slot, phrase)));
        }
    }
    // The phrase that fits best decides; of equals the one that explains more.
    slots.sort_by(|(a, _), (b, _)| b.likeness.total_cmp(&a.likeness).then(a.words.len().cmp(&b.words.len())));

    let mut otherwise = Intent::Unknown;
    let mut tried = HashSet::new();
    for (slot, phrase) in slots {
        let (is_title, fallback) = match phrase.meaning {
            Meaning::Title(fallback) => (true, fallback),
            Meaning::Friend(fallback) => (false, fallback),
            Meaning::Is(_) | Meaning::Number => continue,
        };
        let names = if is_title { known.titles } else { known.friends };
        if !names.may_be_named(slot.words) {
            continue;
        }
        // Many phrases leave the same words for the name.
        if tried.insert((is_title, slot.words.as_ptr(), slot.words.len())) {
            let found = if is_title {
                known.titles.find(slot.words, Anchor::Anywhere).title()
            } else if is_plain && !known.friends.begin(slot.words) {
                None
            } else {
                known
                    .friends
                    .find(slot.words, Anchor::AtStart)
                    .friend(slot.is_clear && phrase.begins_message(known.clarity))
            };
            if found.is_some() {
                return Framed { found, otherwise };
            }
        }
        if otherwise == Intent::Unknown {
            otherwise = fallback;
        }
    }
    Framed { found: None, otherwise }
}

impl Found {
    fn title(self) -> Option<Intent> {
        match self {
            // A wrong song does no harm.
            Self::One(index) | Self::Unsure(index) => Some(Intent::Play(index)),
            Self::Two(first, second) => Some(Intent::AskTitle(first, second)),
            Self::None => None,
        }
    }

    fn friend(self, is_certain: bool) -> Option<Intent> {
        match self {
            Self::One(index) if is_certain => Some(Intent::Message(index)),
            Self::One(index) | Self::Unsure(index) => Some(Intent::ConfirmFriend(index)),
            Self::Two(first, second) => Some(Intent::AskFriend(first, second)),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests;
