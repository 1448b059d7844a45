//! The similarity of two texts by spelling and by sound, from 0 to 1.

use strsim::{generic_levenshtein, normalized_levenshtein};

use super::word::Word;

/// The weight of similarity by the sound of Latin letters, relative to spelling.
const LATIN_SOUND: f64 = 0.93;

/// The weight of the spelling if long codes differ: "ducks" and "monkeys" share most of theirs.
const SPELLING_BESIDE_LONG_CODE: f64 = 0.2;

/// The weight of the spelling with short codes.
const SPELLING_BESIDE_SHORT_CODE: f64 = 0.5;

/// The weight of similarity by Chinese sound.
const CHINESE_SOUND: f64 = 0.95;

/// The length from which a code is significant by itself; shorter ones are shared by very different names.
const CODE_LENGTH_MIN: usize = 4;

/// With the same short code, names that are spelled this much alike sound the same: Sara and Sarah, not Emma and Amy.
const SAME_SOUND_SPELLING_MIN: f64 = 0.75;

/// The minimum similarity of the spelling of a word of a phrase and the spoken word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// "dime" may be "time".
    Loose,
    /// "walk" is not "talk": before a friend's name.
    Strict,
}

impl Spelling {
    fn likeness_min(self) -> f64 {
        match self {
            Self::Loose => 0.75,
            Self::Strict => 0.8,
        }
    }
}

/// The weight of a word of a phrase that matches only by sound.
const MISHEARD: f64 = 0.9;

/// Words of the same short code must also be spelled this much alike: "tory" is not "three".
const SAME_CODE_SPELLING_MIN: f64 = 0.5;

/// From this likeness on two sentences have the same letters, but for a slip.
const SAME_LETTERS_MIN: f64 = 0.92;

/// More than any phrase weighs.
const NEVER: f64 = 1000.0;

/// Words joined, ready to be compared as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Joined {
    /// The words themselves.
    pub(super) texts: Vec<String>,
    /// All letters without blanks: recognisers split and join words freely.
    pub(super) letters: String,
    code: String,
    vowels: String,
    syllables: Vec<String>,
    sound: String,
    is_chinese: bool,
}

impl Joined {
    pub(super) fn new(words: &[Word]) -> Self {
        Self {
            texts: words.iter().map(|word| word.text.clone()).collect(),
            letters: words.iter().map(|word| word.text.as_str()).collect(),
            code: words.iter().map(|word| word.code.as_str()).collect(),
            vowels: words.iter().map(|word| word.vowels.as_str()).collect(),
            syllables: words.iter().map(|word| word.syllable.clone()).collect(),
            sound: words.iter().map(|word| word.syllable.as_str()).collect(),
            is_chinese: words.iter().any(|word| word.is_chinese),
        }
    }
}

/// The similarity of a part of the spoken words to a name or a title: the maximum by words, letters and sound.
pub(super) fn likeness(spoken: &Joined, name: &Joined) -> f64 {
    let letters = normalized_levenshtein(&spoken.letters, &name.letters);
    let longest = spoken.texts.len().max(name.texts.len());
    let words = share_alike(generic_levenshtein(&spoken.texts, &name.texts), longest);
    let sound = if spoken.is_chinese || name.is_chinese {
        chinese_sound(spoken, name) * CHINESE_SOUND
    } else {
        latin_sound(spoken, name, letters) * LATIN_SOUND
    };
    letters.max(words).max(sound)
}

/// Whether the spoken words are this name and no other: the same letters, or the same sounds, vowels too, and the same first
/// letter. Maya is not May, Marina not Martina, Zara not Sara, and Uncle Jim not Uncle Tim.
pub(super) fn is_the_same(spoken: &Joined, name: &Joined) -> bool {
    let begins_alike = spoken.letters.chars().next() == name.letters.chars().next();
    name.is_chinese || spoken.letters == name.letters || (begins_alike && sounds_the_same(spoken, name))
}

fn sounds_the_same(spoken: &Joined, name: &Joined) -> bool {
    !name.code.is_empty() && spoken.code == name.code && spoken.vowels == name.vowels
}

/// A distance as a likeness of two lists of which the longer has `longest` items.
fn share_alike(distance: usize, longest: usize) -> f64 {
    if longest == 0 { 0.0 } else { 1.0 - distance as f64 / longest as f64 }
}

fn latin_sound(spoken: &Joined, name: &Joined, letters: f64) -> f64 {
    if spoken.code.is_empty() || name.code.is_empty() {
        return 0.0;
    }
    let sound = normalized_levenshtein(&spoken.code, &name.code);
    let is_long = spoken.code.len().min(name.code.len()) >= CODE_LENGTH_MIN;
    if sounds_the_same(spoken, name) && (is_long || letters >= SAME_SOUND_SPELLING_MIN) {
        return sound;
    }
    let spelling = if is_long { SPELLING_BESIDE_LONG_CODE } else { SPELLING_BESIDE_SHORT_CODE };
    sound * (1.0 - spelling) + letters * spelling
}

fn chinese_sound(spoken: &Joined, name: &Joined) -> f64 {
    // A single syllable in Latin letters is as likely an English word: "ma" is not yet 妈.
    if spoken.is_chinese != name.is_chinese && name.syllables.len() < 2 {
        return 0.0;
    }
    let sound = normalized_levenshtein(&spoken.sound, &name.sound);
    if sound == 1.0 {
        return sound;
    }
    // By letters alone two syllables are easily alike.
    let longest = spoken.syllables.len().max(name.syllables.len());
    (sound + share_alike(generic_levenshtein(&spoken.syllables, &name.syllables), longest)) / 2.0
}

/// How much a whole sentence is like a phrase of the table: word by word, or letter by letter if the recogniser has only
/// set the blanks elsewhere.
pub(super) fn sentence_likeness(sentence: &[Word], letters: &str, phrase: &[Word], phrase_letters: &str) -> f64 {
    let by_word = phrase_likeness(sentence, phrase, Spelling::Loose);
    let (shorter, longer) = (letters.len().min(phrase_letters.len()), letters.len().max(phrase_letters.len()));
    if by_word == 1.0 || (shorter as f64) < longer as f64 * SAME_LETTERS_MIN {
        return by_word;
    }
    let turns = sentence.iter().any(|word| word.is_turning && !phrase.iter().any(|wanted| wanted.text == word.text));
    let by_letter = normalized_levenshtein(letters, phrase_letters);
    if turns || by_letter < SAME_LETTERS_MIN { by_word } else { by_word.max(by_letter) }
}

/// The similarity of the spoken words to a phrase of the table, word by word, with the weight of each word.
pub(super) fn phrase_likeness(spoken: &[Word], phrase: &[Word], spelling: Spelling) -> f64 {
    let weight = |words: &[Word]| words.iter().map(|word| word.weight).sum::<f64>();
    let heaviest = weight(spoken).max(weight(phrase));
    // Texts of very different length cannot be alike; most of the table ends here.
    let lightest = weight(spoken).min(weight(phrase));
    if heaviest == 0.0 || lightest / heaviest < 0.5 {
        return 0.0;
    }
    // The cost to turn the words so far into the first words of the phrase.
    let mut costs: Vec<f64> = std::iter::once(0.0)
        .chain(phrase.iter().scan(0.0, |sum, word| {
            *sum += word.weight;
            Some(*sum)
        }))
        .collect();
    for said in spoken {
        let extra = if said.is_turning { NEVER } else { said.weight };
        let mut diagonal = costs.first().copied().unwrap_or_default();
        let mut left = diagonal + extra;
        let mut row = Vec::with_capacity(costs.len());
        row.push(left);
        for (wanted, above) in phrase.iter().zip(costs.iter().skip(1)) {
            let replaced = diagonal + replacing(said, wanted, spelling);
            left = replaced.min(above + extra).min(left + wanted.weight);
            row.push(left);
            diagonal = *above;
        }
        costs = row;
    }
    let cost = costs.last().copied().unwrap_or(heaviest);
    (1.0 - cost / heaviest).max(0.0)
}

/// The cost of replacing one word by another.
fn replacing(said: &Word, wanted: &Word, spelling: Spelling) -> f64 {
    if said.text == wanted.text {
        // A repeated word is light; it may still be the one that is wanted.
        return 0.0;
    }
    if said.is_turning || wanted.is_turning && !wanted.is_chinese {
        return NEVER;
    }
    said.weight.max(wanted.weight) * (1.0 - word_likeness(said, wanted, spelling))
}

/// Whether one word may be another one misheard, and how well.
pub(super) fn word_likeness(said: &Word, wanted: &Word, spelling: Spelling) -> f64 {
    if said.text == wanted.text {
        return 1.0;
    }
    if said.is_chinese || wanted.is_chinese {
        return if said.syllable == wanted.syllable { MISHEARD } else { 0.0 };
    }
    let (shorter, longer) = (said.text.len().min(wanted.text.len()), said.text.len().max(wanted.text.len()));
    // "Cool" has the consonants of "call", and "wrong" those of "ring".
    let sounds_alike = sounds_alike(said, wanted) && (spelling == Spelling::Loose || said.vowels == wanted.vowels);
    let least = if sounds_alike { SAME_CODE_SPELLING_MIN } else { Spelling::Loose.likeness_min() };
    // No distance is less than the difference of the lengths.
    if (shorter as f64) < longer as f64 * least {
        return 0.0;
    }
    let letters = normalized_levenshtein(&said.text, &wanted.text);
    if sounds_alike {
        return if letters >= least { MISHEARD.max(letters) } else { 0.0 };
    }
    // The beginning of a word is rarely misheard: "sen" is "send".
    let begins_alike = said.text.chars().next() == wanted.text.chars().next();
    let least = if begins_alike { least } else { spelling.likeness_min() };
    if letters >= least { letters } else { 0.0 }
}

/// Whether two words have the same code, which is not significant if it is a single letter.
fn sounds_alike(said: &Word, wanted: &Word) -> bool {
    let same = |a: &str, b: &str| a.len() > 1 && a == b;
    same(&said.code, &wanted.code) || same(&said.other_code, &wanted.code) || same(&said.code, &wanted.other_code)
}
