//! A word as it is compared, by spelling and by sound.

use std::sync::LazyLock;

use pinyin::ToPinyin;
use rphonetic::{Cologne, DoubleMetaphone, Encoder};

use super::lexicon::Lexicon;
use super::{numbers, text};
use crate::ports::speech::languages::{Script, Sound, is_chinese};

/// How much a light word counts, where others count 1.
const LIGHT_WEIGHT: f64 = 0.35;

/// How much a word counts that only repeats the one before it.
const REPEATED_WEIGHT: f64 = 0.1;

/// A word as it is compared. A Chinese character is a word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// Its letters, or its character.
    pub(super) text: String,
    /// How it sounds in the language, by the code that is made for it; empty for a Chinese one.
    pub(super) code: String,
    /// How else it may sound.
    pub(super) other_code: String,
    /// Its vowels, which the code has not: Lena is not Leni, and May is not Maya.
    pub(super) vowels: String,
    /// How it sounds in Chinese, without tones, and without the differences that accents confuse.
    pub(super) syllable: String,
    /// How much it counts in a phrase.
    pub(super) weight: f64,
    /// Whether it is one of the small words of the language, of which a sentence has many.
    pub(super) is_small: bool,
    /// Whether it is a word of phrases, or another one that is seldom a name.
    pub(super) is_ordinary: bool,
    /// Whether it is a Chinese character.
    pub(super) is_chinese: bool,
    /// Whether it turns a sentence into another one.
    pub(super) is_turning: bool,
    /// Whether it negates the word beside it.
    pub(super) is_negation: bool,
    /// Whether it takes back what was said before it.
    pub(super) is_retraction: bool,
}

impl Word {
    fn new(text: &str, lexicon: &Lexicon) -> Self {
        let chinese = text.chars().next().filter(|letter| is_chinese(*letter));
        let spelled = chinese.and_then(|letter| letter.to_pinyin()).map_or(text, |pinyin| pinyin.plain());
        // The encoders cut their input by bytes: they are given ASCII letters only.
        let is_latin = text.bytes().all(|letter| letter.is_ascii_lowercase());
        let sound = if is_latin { LatinSound::of(text, lexicon) } else { LatinSound::default() };
        Self {
            text: text.to_owned(),
            code: sound.code,
            other_code: sound.other_code,
            vowels: sound.vowels,
            syllable: plain_syllable(spelled),
            // One or two letters are a small word, or the rest of one.
            weight: if lexicon.light.contains(text) || (is_latin && text.len() < 3) { LIGHT_WEIGHT } else { 1.0 },
            is_small: lexicon.light.contains(text) || lexicon.turning.contains(text),
            is_ordinary: lexicon.ordinary.contains(text),
            is_chinese: chinese.is_some(),
            is_turning: lexicon.turning.contains(text),
            is_negation: lexicon.negations.contains(text),
            is_retraction: lexicon.retractions.contains(text),
        }
    }

    /// Whether a child may take back with it what it said before, or deny it.
    pub(super) fn takes_back(&self) -> bool {
        self.is_retraction || self.is_negation
    }

    /// Whether it carries meaning of its own.
    pub(super) fn is_heavy(&self) -> bool {
        self.weight >= 1.0
    }
}

/// How a word of Latin letters sounds.
#[derive(Default)]
struct LatinSound {
    code: String,
    other_code: String,
    vowels: String,
}

impl LatinSound {
    fn of(text: &str, lexicon: &Lexicon) -> Self {
        static METAPHONE: LazyLock<DoubleMetaphone> = LazyLock::new(|| DoubleMetaphone::new(None));

        match lexicon.of_script(Script::Latin).map(|language| language.sound) {
            Some(Sound::Cologne) => Self { code: Cologne.encode(text), vowels: vowels(text), ..Self::default() },
            Some(Sound::Metaphone | Sound::Pinyin) | None => {
                let heard = METAPHONE.double_metaphone(text);
                Self { code: heard.primary(), other_code: heard.alternate(), vowels: vowels(text) }
            }
        }
    }
}

/// The vowels of a word, those side by side as one where they are the same: of Sara and Sarah they are the same.
fn vowels(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().map(|letter| if letter == 'y' { 'i' } else { letter }).collect();
    // Before the consonants are left out: Anna has two, and Ann has one.
    letters.dedup();
    letters.into_iter().filter(|letter| "aeiou".contains(*letter)).collect()
}

/// A syllable without distinctions that southern speakers do not make: zh and z, ch and c, sh and s, -ng and -n.
fn plain_syllable(pinyin: &str) -> String {
    let mut letters = pinyin.replace('ü', "v");
    if matches!(letters.get(..2), Some("zh" | "ch" | "sh")) {
        letters.remove(1);
    }
    if letters.ends_with("ng") {
        letters.pop();
    }
    letters
}

/// Words that mean the same put the same way.
fn put_plainly(mut tokens: Vec<String>, lexicon: &Lexicon) -> Vec<String> {
    for (said, meant) in &lexicon.same {
        while let Some(at) = tokens.windows(said.len()).position(|part| part == said.as_slice()) {
            tokens.splice(at..at + said.len(), meant.iter().cloned());
        }
    }
    tokens
}

/// The words of a normalised text, to compare. Numbers are spelled out, signs dropped.
pub(super) fn words(text: &str, lexicon: &Lexicon) -> Vec<Word> {
    let tokens = put_plainly(text::tokens(text, &lexicon.short_forms), lexicon);
    let script = if text.contains(is_chinese) { Script::Chinese } else { Script::Latin };
    let mut words: Vec<Word> = Vec::with_capacity(tokens.len());
    for token in &tokens {
        if let Ok(number) = token.parse::<u32>() {
            words.extend(numbers::spelled(number, script, lexicon).iter().map(|word| Word::new(word, lexicon)));
        } else if token.chars().all(char::is_alphanumeric) {
            words.push(Word::new(token, lexicon));
        }
    }
    // Chinese words double a character anyway, 妈妈; three are one said again.
    let repeats = |at: usize| {
        let before = |back: usize| at.checked_sub(back).and_then(|at| words.get(at)).map(|word| &word.text);
        let word = words.get(at).filter(|word| before(1) == Some(&word.text));
        word.is_some_and(|word| !word.is_chinese || before(2) == Some(&word.text))
    };
    let repeated: Vec<bool> = (0..words.len()).map(repeats).collect();
    for (word, _) in words.iter_mut().zip(repeated).filter(|(_, repeated)| *repeated) {
        word.weight = REPEATED_WEIGHT;
        word.is_turning = false;
    }
    words
}
