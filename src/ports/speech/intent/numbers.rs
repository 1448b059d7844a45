//! Numbers in words and digits, and the sums that are made of them.

use pinyin::ToPinyin;
use strsim::normalized_levenshtein;

use super::lexicon::Lexicon;
use super::text;
use crate::ports::speech::languages::{Numbers, Script, Sign, is_chinese};

/// No greater number is understood.
const NUMBER_MAX: i64 = 999_999;

/// So many words a number has at most: "nine hundred and ninety nine thousand nine hundred and ninety nine".
const NUMBER_WORDS_MAX: usize = 12;

/// In a sum, a word that is spelled this much like a number or a sign is one.
const MISSPELLED_MIN: f64 = 0.75;

/// The result of the sum that a normalised text consists of.
///
/// None if there is more or less in it than a sum, or if a division leaves a remainder.
pub(super) fn sum(text: &str, lexicon: &Lexicon) -> Option<i64> {
    let written = text::tokens(text, &lexicon.short_forms);
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let heard: Vec<&str> = written.iter().map(|word| likely_word(word, lexicon)).collect();
    sum_of(&written, &written, lexicon).or_else(|| sum_of(&heard, &written, lexicon))
}

/// Finds the sum in `words`; the `written` words around it must belong to a question for a sum.
fn sum_of(words: &[&str], written: &[&str], lexicon: &Lexicon) -> Option<i64> {
    let is_around =
        |part: Option<&[&str]>| part.is_some_and(|part| part.iter().all(|word| lexicon.around_sum.contains(*word)));
    (0..words.len()).take_while(|start| is_around(written.get(..*start))).find_map(|start| {
        let (terms, length) = terms(words.get(start..)?, lexicon)?;
        if is_around(written.get(start + length..)) { evaluate(&terms) } else { None }
    })
}

/// The numbers of a sum, each with the sign before it, and how many words they took.
fn terms(words: &[&str], lexicon: &Lexicon) -> Option<(Vec<(Sign, i64)>, usize)> {
    let (first, mut length) = number_at(words, lexicon)?;
    let mut terms = vec![(Sign::Plus, first)];
    while let Some((sign, sign_length)) = sign_at(words.get(length..)?, lexicon) {
        let after = words.get(length + sign_length..);
        let Some((number, number_length)) = after.and_then(|after| number_at(after, lexicon)) else { break };
        terms.push((sign, number));
        length += sign_length + number_length;
    }
    (terms.len() > 1).then_some((terms, length))
}

fn sign_at(words: &[&str], lexicon: &Lexicon) -> Option<(Sign, usize)> {
    let begins = |said: &[String]| words.len() >= said.len() && words.iter().zip(said).all(|(word, said)| word == said);
    lexicon.signs.iter().find(|(said, _)| begins(said)).map(|(said, sign)| (*sign, said.len()))
}

/// The longest number that the words begin with.
pub(super) fn number_at(words: &[&str], lexicon: &Lexicon) -> Option<(i64, usize)> {
    let mut lengths = (1..=words.len().min(NUMBER_WORDS_MAX)).rev();
    lengths.find_map(|length| Some((number(words.get(..length)?, lexicon)?, length)))
}

/// Products first, then from left to right.
fn evaluate(terms: &[(Sign, i64)]) -> Option<i64> {
    let mut total = 0i64;
    let mut product = 0i64;
    for (sign, number) in terms {
        match sign {
            Sign::Plus | Sign::Minus => {
                total = total.checked_add(product)?;
                product = if *sign == Sign::Plus { *number } else { -number };
            }
            Sign::Times => product = product.checked_mul(*number)?,
            Sign::By if product.checked_rem(*number)? == 0 => product /= number,
            Sign::By => return None,
        }
    }
    total.checked_add(product)
}

/// The possible meaning of a misrecognised word, if a number or a sign is expected.
fn likely_word<'a>(word: &'a str, lexicon: &Lexicon) -> &'a str {
    let first = word.chars().next();
    let syllable = first.filter(|letter| is_chinese(*letter)).map(|letter| letter.to_pinyin().map(|one| one.plain()));
    let (script, key) = match syllable {
        Some(syllable) => (Script::Chinese, syllable.unwrap_or(word)),
        None => (Script::Latin, word),
    };
    let Some(Numbers { misheard, misspelled, .. }) = lexicon.of_script(script).map(|language| &language.numbers) else {
        return word;
    };
    if let Some((_, number)) = misheard.iter().find(|(heard, _)| *heard == key) {
        return number;
    }
    if word.len() < 3 || lexicon.around_sum.contains(word) {
        return word;
    }
    let likely = misspelled.iter().map(|known| (*known, normalized_levenshtein(word, known)));
    let likely = likely.filter(|(_, likeness)| *likeness >= MISSPELLED_MIN).max_by(|a, b| a.1.total_cmp(&b.1));
    likely.map_or(word, |(known, _)| known)
}

/// The number that all the words together say, cardinal or ordinal, also as misheard.
pub(super) fn whole_number<'a>(words: impl Iterator<Item = &'a str>, lexicon: &Lexicon) -> Option<u32> {
    let cardinal = |word: &str| lexicon.languages.iter().find_map(|language| (language.numbers.cardinal)(word));
    let written: Vec<String> = words
        .filter(|word| !lexicon.ordinal_endings.contains(*word))
        .map(|word| cardinal(word).unwrap_or_else(|| word.to_owned()))
        .collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let heard = || number(&written.iter().map(|word| likely_word(word, lexicon)).collect::<Vec<_>>(), lexicon);
    number(&written, lexicon).or_else(heard)?.try_into().ok()
}

/// The number that all the words together say.
fn number(words: &[&str], lexicon: &Lexicon) -> Option<i64> {
    let value = match words {
        [] => None,
        [digits] if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
        _ => lexicon.languages.iter().find_map(|language| (language.numbers.read)(words)),
    };
    value.filter(|value| *value <= NUMBER_MAX)
}

/// The words of a number in a text of this script, to compare it with a spelled-out number.
pub(super) fn spelled(number: u32, script: Script, lexicon: &Lexicon) -> Vec<String> {
    match lexicon.of_script(script) {
        Some(language) if i64::from(number) <= NUMBER_MAX => {
            (language.numbers.spell)(number).iter().map(|word| text::normalise(word)).collect()
        }
        _ => vec![number.to_string()],
    }
}
