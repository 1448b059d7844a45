//! From a transcript to its sentences and tokens: normalises letters, without any meaning.

use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::ports::speech::languages::{self, is_chinese};

/// NFKC, lower case, accents of Latin letters dropped, one kind of apostrophe, simplified characters.
pub(super) fn normalise(text: &str) -> String {
    let composed = text.nfkc().flat_map(char::to_lowercase).nfd().filter(|letter| !is_combining_mark(*letter));
    let mut plain = String::with_capacity(text.len());
    for letter in composed {
        match letter {
            // The only letter whose case folding is two.
            'ß' => plain.push_str("ss"),
            '’' | '‘' | '`' | '´' => plain.push('\''),
            letter => plain.push(simplified(letter)),
        }
    }
    plain
}

/// The form of a character that the languages' tables have.
fn simplified(letter: char) -> char {
    static PAIRS: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
        let other_characters =
            languages::all().iter().flat_map(|language| language.small_words.other_characters.chars());
        let letters: Vec<char> = other_characters.collect();
        letters.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    });
    if is_chinese(letter) { PAIRS.get(&letter).copied().unwrap_or(letter) } else { letter }
}

/// The sentences of a text.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    parts(text, &['.', '!', '?', ';', '。', '\n'])
}

/// The parts between commas and full stops.
pub(super) fn clauses(text: &str) -> Vec<&str> {
    parts(text, &['.', '!', '?', ';', '。', '\n', ',', ':', '、'])
}

fn parts<'a>(text: &'a str, ends: &[char]) -> Vec<&'a str> {
    text.split(ends).filter(|part| part.contains(char::is_alphanumeric)).collect()
}

/// The words of a normalised text: Latin words, numbers, single Chinese characters, and the signs of a sum. Short forms are spelled out.
pub(super) fn tokens(text: &str, short_forms: &[(&str, &str)]) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut current = String::new();
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let same_kind = current.chars().next_back().is_none_or(|last| last.is_numeric() == letter.is_numeric());
        if letter == '\'' && !current.is_empty() {
            current.push(letter);
        } else if is_chinese(letter) {
            flush(&mut current, &mut tokens, short_forms);
            tokens.push(letter.to_string());
        } else if letter.is_alphanumeric() {
            if !same_kind {
                flush(&mut current, &mut tokens, short_forms);
            }
            current.push(letter);
        } else {
            flush(&mut current, &mut tokens, short_forms);
            let joins_words = before.is_alphabetic() && letters.peek().is_some_and(|next| next.is_alphabetic());
            match letter {
                '-' | '–' | '−' if !joins_words => tokens.push("-".into()),
                '+' | '=' | '×' | '*' | '÷' | '/' => tokens.push(letter.to_string()),
                _ => {}
            }
        }
        before = letter;
    }
    flush(&mut current, &mut tokens, short_forms);
    tokens
}

/// Ends a word: short forms are spelled out, other apostrophes dropped.
fn flush(current: &mut String, tokens: &mut Vec<String>, short_forms: &[(&str, &str)]) {
    let word = std::mem::take(current);
    let word = word.trim_end_matches('\'');
    match short_forms.iter().find(|(short, _)| *short == word) {
        Some((_, long)) => tokens.extend(long.split(' ').map(str::to_owned)),
        None if word.is_empty() => {}
        None => tokens.push(word.replace('\'', "")),
    }
}
