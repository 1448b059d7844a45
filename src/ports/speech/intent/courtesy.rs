//! Removal of greetings and words of courtesy around a sentence.

use super::lexicon::Lexicon;
use super::score::{self, Spelling};
use super::word::Word;

/// The likeness above which a word is the toy's name, so that the rest of the sentence may begin a message.
const SURELY_TOY: f64 = 0.7;

/// The candidates for the core of a sentence: the sentence itself, the part after the toy's name or a greeting, and
/// each of these without the toy's name at its end.
///
/// Each with a flag whether it may start a message: "hi Tom, tell Tim …" addresses Tom, not the toy.
pub(super) fn parts_meant<'a>(words: &'a [Word], toy_name: &[Word], lexicon: &Lexicon) -> Vec<(&'a [Word], bool)> {
    let is_toy = |part: &[Word]| is_toy_name(part, toy_name, Spelling::Loose, 0.0);
    // Daddy is not Teddy.
    let is_surely_toy = |part: &[Word]| is_toy_name(part, toy_name, Spelling::Strict, SURELY_TOY);
    let whole = without_courtesy(words, lexicon);
    let mut parts = vec![(whole, true)];
    if let Some((name, rest)) = whole.split_at_checked(toy_name.len()).filter(|(name, _)| is_toy(name)) {
        parts.push((without_courtesy(rest, lexicon), is_surely_toy(name)));
    }
    if let Some(length) = lexicon.greetings.iter().filter_map(|greeting| starts_with(words, greeting)).max() {
        let rests = (length + 1..=length + 3).filter_map(|start| words.get(start..));
        parts.extend(rests.map(|rest| (without_courtesy(rest, lexicon), false)));
    }
    let without_name = parts.clone().into_iter().filter_map(|(part, may_message)| {
        let (rest, name) = part.split_at_checked(part.len().checked_sub(toy_name.len())?)?;
        is_toy(name).then(|| (without_courtesy(rest, lexicon), may_message && is_surely_toy(name)))
    });
    parts.extend(without_name);
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

/// Whether a sentence goes on from another one, or into another one: it begins with a word such as "and", or with another
/// word and that, or ends with one. "Now" may be a "no" that was misheard.
pub(super) fn goes_on(words: &[Word], lexicon: &Lexicon) -> bool {
    let begins = |words: &[Word]| lexicon.joining.iter().any(|joining| starts_with(words, joining).is_some());
    let ends = lexicon.joining.iter().any(|joining| ends_with(words, joining).is_some());
    ends || (0..2).filter_map(|start| words.get(start..)).any(begins)
}

/// Whether a sentence has more than words of courtesy and the toy's name.
pub(super) fn says_something(words: &[Word], toy_name: &[Word], lexicon: &Lexicon) -> bool {
    let rest = without_courtesy(words, lexicon);
    !rest.is_empty() && !is_toy_name(rest, toy_name, Spelling::Strict, SURELY_TOY)
}

/// Whether words are like the toy's name, each by more than `least`.
fn is_toy_name(words: &[Word], toy_name: &[Word], spelling: Spelling, least: f64) -> bool {
    let alike = |(said, name): (&Word, &Word)| score::word_likeness(said, name, spelling) > least;
    !words.is_empty() && words.len() == toy_name.len() && words.iter().zip(toy_name).all(alike)
}

/// A sentence without the words of courtesy around it.
pub(super) fn without_courtesy<'a>(mut words: &'a [Word], lexicon: &Lexicon) -> &'a [Word] {
    while let Some(length) = lexicon.courtesy_before.iter().filter_map(|courtesy| starts_with(words, courtesy)).max() {
        words = words.get(length..).unwrap_or_default();
    }
    while let Some(length) = lexicon.courtesy_after.iter().filter_map(|courtesy| ends_with(words, courtesy)).max() {
        words = words.get(..words.len() - length).unwrap_or_default();
    }
    words
}

fn starts_with(words: &[Word], courtesy: &[String]) -> Option<usize> {
    let start = words.get(..courtesy.len())?;
    start.iter().zip(courtesy).all(|(word, piece)| word.text == *piece).then_some(courtesy.len())
}

fn ends_with(words: &[Word], courtesy: &[String]) -> Option<usize> {
    let end = words.get(words.len().checked_sub(courtesy.len())?..)?;
    end.iter().zip(courtesy).all(|(word, piece)| word.text == *piece).then_some(courtesy.len())
}
