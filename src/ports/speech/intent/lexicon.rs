//! The words of the languages that are understood side by side, ready to be looked up.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::LazyLock;

use super::text;
use crate::ports::speech::languages::{self, Language, Meaning, Script, Sign};

/// The small words and numbers of a language, and of the first language of each other script: "play 小星星" has words of
/// two. Two languages of one script would be confused with each other, "die" is no English word here.
#[derive(Debug)]
pub(super) struct Lexicon {
    /// The language itself first.
    pub(super) languages: Vec<&'static Language>,
    pub(super) short_forms: Vec<(&'static str, &'static str)>,
    pub(super) same: Vec<(Vec<String>, Vec<String>)>,
    pub(super) light: HashSet<String>,
    pub(super) turning: HashSet<String>,
    pub(super) negations: HashSet<String>,
    pub(super) retractions: HashSet<String>,
    pub(super) before_answer: HashSet<String>,
    pub(super) courtesy_before: Vec<Vec<String>>,
    pub(super) courtesy_after: Vec<Vec<String>>,
    pub(super) greetings: Vec<Vec<String>>,
    pub(super) joining: Vec<Vec<String>>,
    /// The words of phrases, and others that are seldom a name.
    pub(super) ordinary: HashSet<String>,
    pub(super) before_name: HashSet<String>,
    pub(super) before_noun: HashSet<String>,
    pub(super) before_relative: HashSet<String>,
    pub(super) beside_title: HashSet<String>,
    pub(super) ordinal_endings: HashSet<String>,
    pub(super) around_sum: HashSet<String>,
    /// Longer ones first.
    pub(super) signs: Vec<(Vec<String>, Sign)>,
}

impl Lexicon {
    /// The one that a language begins.
    pub(super) fn of(language: &Language) -> &'static Self {
        static LEXICONS: LazyLock<Vec<Lexicon>> =
            LazyLock::new(|| languages::all().iter().map(|language| Lexicon::new(language)).collect());
        &LEXICONS[language.place()]
    }

    fn new(language: &'static Language) -> Self {
        let mut languages = vec![language];
        for other in languages::all() {
            if languages.iter().all(|known| known.script != other.script) {
                languages.push(other);
            }
        }
        let small_words = || languages.iter().map(|language| &language.small_words);
        let names = || languages.iter().map(|language| &language.names);
        let numbers = || languages.iter().map(|language| &language.numbers);
        let mut signs: Vec<(Vec<String>, Sign)> = numbers()
            .flat_map(|numbers| numbers.signs)
            .map(|(said, sign)| (text::tokens(&text::normalise(said), &[]), *sign))
            .collect();
        signs.sort_by_key(|(said, _)| Reverse(said.len()));
        Self {
            short_forms: small_words().flat_map(|words| words.short_forms).copied().collect(),
            same: small_words().flat_map(|words| words.same).map(|(said, meant)| (split(said), split(meant))).collect(),
            light: set(small_words().map(|words| words.light)),
            turning: set(small_words().map(|words| words.turning)),
            negations: set(small_words().map(|words| words.negations)),
            retractions: set(small_words().map(|words| words.retractions)),
            before_answer: set(small_words().map(|words| words.before_answer)),
            courtesy_before: lists(small_words().map(|words| words.courtesy_before)),
            courtesy_after: lists(small_words().map(|words| words.courtesy_after)),
            greetings: lists(small_words().map(|words| words.greetings)),
            joining: lists(small_words().map(|words| words.joining)),
            ordinary: set(names().map(|names| names.ordinary)).into_iter().chain(words_of_phrases(language)).collect(),
            before_name: set(names().map(|names| names.before_name)),
            before_noun: set(names().map(|names| names.before_noun)),
            before_relative: set(names().map(|names| names.before_relative)),
            beside_title: set(names().map(|names| names.beside_title)),
            ordinal_endings: set(numbers().map(|numbers| numbers.ordinal_endings)),
            around_sum: set(numbers().map(|numbers| numbers.around_sum)),
            signs,
            languages,
        }
    }

    /// Its language of this script.
    pub(super) fn of_script(&self, script: Script) -> Option<&'static Language> {
        self.languages.iter().copied().find(|language| language.script == script)
    }
}

/// The words of the phrases of a language that name no friend, such as "music".
fn words_of_phrases(language: &Language) -> impl Iterator<Item = String> {
    let plain = language.phrases.iter().filter(|(meaning, _)| !matches!(meaning, Meaning::Friend(_)));
    let texts = plain.flat_map(|(_, texts)| texts.iter());
    texts.flat_map(|text| split(text)).filter(|word| word.chars().all(char::is_alphabetic))
}

fn split(entry: &str) -> Vec<String> {
    text::tokens(&text::normalise(entry), &[])
}

fn set<'a>(lists: impl Iterator<Item = &'a [&'a str]>) -> HashSet<String> {
    lists.flatten().map(|entry| text::normalise(entry)).collect()
}

fn lists<'a>(lists: impl Iterator<Item = &'a [&'a str]>) -> Vec<Vec<String>> {
    lists.flatten().map(|entry| split(entry)).collect()
}
