//! Speech models that return the same text for any input, in whisper.cpp's format, so that the real recogniser runs in
//! tests without a model of hundreds of megabytes. They are written as the recogniser's own tests write theirs.

#[path = "../../../src/ports/speech/recognise/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../../src/ports/speech/recognise/shape.rs"]
#[allow(dead_code)]
mod shape;
#[path = "../../../src/ports/speech/recognise/tensors.rs"]
mod tensors;
mod tests;

use tests::author::{END, Weights, says, shape, token, write};

/// Stronger than any doubt.
const SURE: f32 = 4.0;

/// A little weaker than that.
const NEARLY_SURE: f32 = 3.8;

/// The file of a model of many languages that returns this text, letter by letter, in any requested language.
pub fn saying_in_any_language(text: &str) -> Vec<u8> {
    // Behind the start stand the language, the task and "no timestamps"; all special tokens are one further.
    let letters = text.bytes().enumerate().map(|(at, letter)| (at + 3, usize::from(letter), SURE));
    let said: Vec<_> = letters.chain([(text.len() + 3, END + 1, SURE)]).collect();
    let many = shape::Shape { vocabulary: 51_865, ..shape(1) };
    write(&many, &Weights::Says(&said)).bytes
}

/// The file of a model that returns this text, letter by letter: words that [`saying`] does not know. At most 60 letters.
pub fn spelling(text: &str) -> Vec<u8> {
    let letters = text.bytes().enumerate().map(|(at, letter)| (at + 1, usize::from(letter), SURE));
    let said: Vec<_> = letters.chain([(text.len() + 1, END, SURE)]).collect();
    write(&shape(1), &Weights::Says(&said)).bytes
}

/// The file of a model that returns this text.
pub fn saying(text: &str) -> Vec<u8> {
    saying_or(text, "")
}

/// The file of a model that returns this text, and finds another last word nearly as probable.
pub fn saying_or(text: &str, other: &str) -> Vec<u8> {
    let words: Vec<String> = text.split(' ').map(|word| format!(" {word}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut said = says(&words, SURE);
    if !other.is_empty() {
        said.push((words.len(), token(&format!(" {other}")), NEARLY_SURE));
    }
    write(&shape(1), &Weights::Says(&said)).bytes
}
