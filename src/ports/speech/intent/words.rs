//! From a transcript to words that can be compared by spelling and by sound.

use std::collections::HashMap;
use std::sync::LazyLock;

use pinyin::ToPinyin;
use rphonetic::DoubleMetaphone;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::numbers;
use super::score::{self, Spelling};

/// Short forms, spelled out so that they need no phrases of their own.
const SHORT_FORMS: &[(&str, &str)] = &[
    ("what's", "what is"),
    ("whats", "what is"),
    ("who's", "who is"),
    ("that's", "that is"),
    ("thats", "that is"),
    ("it's", "it is"),
    ("let's", "let us"),
    ("lets", "let us"),
    ("i'm", "i am"),
    ("i'd", "i would"),
    ("i'll", "i will"),
    ("you're", "you are"),
    ("don't", "do not"),
    ("dont", "do not"),
    ("doesn't", "does not"),
    ("didn't", "did not"),
    ("can't", "can not"),
    ("cant", "can not"),
    ("cannot", "can not"),
    ("won't", "will not"),
    ("wanna", "want to"),
    ("gimme", "give me"),
    ("lemme", "let me"),
];

/// Other words for the same, so that they need no phrases of their own.
const SAME: &[(&[&str], &[&str])] =
    &[(&["really"], &[]), (&["just"], &[]), (&["would", "like"], &["want"]), (&["could", "i"], &["can", "i"])];

/// Words that carry little: losing, adding or mishearing one hardly changes what a phrase means.
const LIGHT: &[&str] = &[
    "a", "an", "the", "to", "too", "two", "me", "my", "i", "it", "is", "of", "for", "and", "some", "please", "now",
    "you", "us", "can", "are", "do", "be", "this", "what", "that", "um", "uh", "so", "tell", "then", "your", "make",
    "bit", "的", "了", "吧", "吗", "啊", "呢", "呀", "个", "一", "我", "给", "请", "你", "来", "是", "点", "条", "首",
];

/// Words that turn a sentence into another one. Where a phrase of the table lacks such a word, it is not meant.
const TURNING: &[&str] = &[
    "not", "never", "no", "i", "who", "whom", "why", "where", "when", "how", "if", "because", "he", "she", "they",
    "we", "him", "her", "them", "said", "says", "was", "were", "did", "does", "will", "had", "has", "went", "told",
    "sent", "不", "没", "别", "他", "她", "谁", "为", "昨",
];

/// Before the point, for courtesy or for want of a word.
#[rustfmt::skip]
const COURTESY_BEFORE: &[&str] = &[
    "please", "hey", "hi", "hello", "ok", "okay", "um", "uh", "er", "erm", "hm", "hmm", "oh", "excuse me", "ah",
    "well", "so", "and", "now", "then", "can you", "could you", "will you", "would you", "can you please",
    "i want you to", "let us", "can we", "could we", "may we", "shall we", "请", "请你", "帮我", "麻烦", "麻烦你",
    "你能", "你可以", "你能不能", "能不能", "可以", "可不可以", "嗯", "喂", "嗨", "你好", "那个", "哎", "我们来",
    "我们",
];

/// After the point.
#[rustfmt::skip]
const COURTESY_AFTER: &[&str] = &[
    "please", "now", "thanks", "thank you", "okay", "ok", "um", "for me", "to me", "a bit", "a little",
    "a little bit", "吧", "吗", "啊", "呀", "呢", "嘛", "谢谢", "好吗", "好不好",
];

/// What one may greet with; a name may follow.
const GREETINGS: &[&str] = &["hey", "hi", "hello", "ok", "okay", "dear", "你好", "嗨", "喂"];

/// Traditional characters of the phrases, each before its simplified one: recognisers write either.
const TRADITIONAL: &str = "給给發发個个條条訊讯說说話话講讲聽听點点請请們们誰谁幾几現现謎谜語语聲声關关樂乐嗎吗來来麼么樣样號号禮礼媽妈\
    爺爷對对問问間间時时減减於于兩两隻只開开換换別别還还過过這这歡欢搖摇籃篮靜静覺觉閉闭暫暂調调電电訴诉題题";

/// How much a light word counts, where others count 1.
const LIGHT_WEIGHT: f64 = 0.35;

/// How much a word counts that only repeats the one before it.
const REPEATED_WEIGHT: f64 = 0.1;

/// A word as it is compared. A Chinese character is a word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// Its letters, or its character.
    pub(super) text: String,
    /// How it sounds in English, by Double Metaphone; empty for a Chinese one.
    pub(super) code: String,
    /// How else it may sound in English.
    pub(super) other_code: String,
    /// How it sounds in Chinese, without tones, and without what accents confuse.
    pub(super) syllable: String,
    /// How much it counts in a phrase.
    pub(super) weight: f64,
    /// Whether it is a Chinese character.
    pub(super) is_chinese: bool,
    /// Whether it turns a sentence into another one.
    pub(super) is_turning: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        static METAPHONE: LazyLock<DoubleMetaphone> = LazyLock::new(|| DoubleMetaphone::new(None));

        let chinese = text.chars().next().filter(|letter| is_chinese(*letter));
        let spelled = chinese.and_then(|letter| letter.to_pinyin()).map_or(text, |pinyin| pinyin.plain());
        // The encoder cuts its input by bytes: it is given ASCII letters only.
        let is_latin = text.bytes().all(|letter| letter.is_ascii_lowercase());
        let heard = is_latin.then(|| METAPHONE.double_metaphone(text));
        Self {
            text: text.to_owned(),
            code: heard.as_ref().map(|heard| heard.primary()).unwrap_or_default(),
            other_code: heard.map(|heard| heard.alternate()).unwrap_or_default(),
            syllable: plain_syllable(spelled),
            // One or two letters are a small word, or what is left of one.
            weight: if LIGHT.contains(&text) || (is_latin && text.len() < 3) { LIGHT_WEIGHT } else { 1.0 },
            is_chinese: chinese.is_some(),
            is_turning: TURNING.contains(&text),
        }
    }

    /// Whether it carries meaning of its own.
    pub(super) fn is_heavy(&self) -> bool {
        self.weight >= 1.0
    }
}

/// Whether a character is a Chinese one.
pub(super) fn is_chinese(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}

/// A syllable without what southern speakers do not tell apart: zh and z, ch and c, sh and s, -ng and -n.
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

/// NFKC, lower case, accents of Latin letters dropped, one kind of apostrophe, simplified characters.
pub(super) fn normalise(text: &str) -> String {
    let composed = text.nfkc().flat_map(char::to_lowercase).nfd().filter(|letter| !is_combining_mark(*letter));
    composed.map(|letter| if matches!(letter, '’' | '‘' | '`' | '´') { '\'' } else { simplified(letter) }).collect()
}

/// The simplified form of a character that the phrases know.
fn simplified(letter: char) -> char {
    static PAIRS: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
        let (traditional, simplified): (Vec<_>, Vec<_>) =
            TRADITIONAL.chars().enumerate().partition(|(i, _)| i % 2 == 0);
        traditional.into_iter().zip(simplified).map(|((_, from), (_, to))| (from, to)).collect()
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

/// The words of a normalised text: Latin words, numbers, single Chinese characters, and the signs of a sum.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut current = String::new();
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let same_kind = current.chars().next_back().is_none_or(|last| last.is_numeric() == letter.is_numeric());
        if letter == '\'' && !current.is_empty() {
            current.push(letter);
        } else if is_chinese(letter) {
            flush(&mut current, &mut tokens);
            tokens.push(letter.to_string());
        } else if letter.is_alphanumeric() {
            if !same_kind {
                flush(&mut current, &mut tokens);
            }
            current.push(letter);
        } else {
            flush(&mut current, &mut tokens);
            let joins_words = before.is_alphabetic() && letters.peek().is_some_and(|next| next.is_alphabetic());
            match letter {
                '-' | '–' | '−' if !joins_words => tokens.push("-".into()),
                '+' | '=' | '×' | '*' | '÷' | '/' => tokens.push(letter.to_string()),
                _ => {}
            }
        }
        before = letter;
    }
    flush(&mut current, &mut tokens);
    tokens
}

/// Ends a word: short forms are spelled out, other apostrophes dropped.
fn flush(current: &mut String, tokens: &mut Vec<String>) {
    let word = std::mem::take(current);
    let word = word.trim_end_matches('\'');
    match SHORT_FORMS.iter().find(|(short, _)| *short == word) {
        Some((_, long)) => tokens.extend(long.split(' ').map(str::to_owned)),
        None if word.is_empty() => {}
        None => tokens.push(word.replace('\'', "")),
    }
}

/// Words that mean the same put the same way.
fn put_plainly(mut tokens: Vec<String>) -> Vec<String> {
    for (said, meant) in SAME {
        while let Some(at) = tokens.windows(said.len()).position(|part| part == *said) {
            tokens.splice(at..at + said.len(), meant.iter().map(|word| (*word).to_owned()));
        }
    }
    tokens
}

/// The words of a normalised text, to compare. Numbers are spelled out, signs dropped.
pub(super) fn words(text: &str) -> Vec<Word> {
    let tokens = put_plainly(tokens(text));
    let is_chinese_text = text.contains(is_chinese);
    let mut words: Vec<Word> = Vec::with_capacity(tokens.len());
    for token in &tokens {
        if let Ok(number) = token.parse::<u32>() {
            words.extend(numbers::spelled(number, is_chinese_text).iter().map(|word| Word::new(word)));
        } else if token.chars().all(char::is_alphanumeric) {
            // Two characters for one number: "两只" and "2只" are the same.
            words.push(Word::new(if token == "两" { "二" } else { token }));
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

/// What a sentence may be all about: itself, what follows the toy's own name or a greeting, and each of these without
/// the toy's name at its end.
///
/// With each, whether it may start a message: "hi Tom, tell Tim …" is said to Tom, not to the toy.
pub(super) fn parts_meant<'a>(words: &'a [Word], toy_name: &[Word]) -> Vec<(&'a [Word], bool)> {
    let is_toy = |part: &[Word]| {
        let alike = |(said, name): (&Word, &Word)| score::word_likeness(said, name, Spelling::Loose) > 0.0;
        !part.is_empty() && part.len() == toy_name.len() && part.iter().zip(toy_name).all(alike)
    };
    let whole = without_courtesy(words);
    let mut parts = vec![(whole, true)];
    if let Some((_, rest)) = whole.split_at_checked(toy_name.len()).filter(|(name, _)| is_toy(name)) {
        parts.push((without_courtesy(rest), true));
    }
    if let Some(length) = GREETINGS.iter().filter_map(|greeting| starts_with(words, greeting)).max() {
        let rests = (length + 1..=length + 3).filter_map(|start| words.get(start..));
        parts.extend(rests.map(|rest| (without_courtesy(rest), false)));
    }
    let without_name = parts.clone().into_iter().filter_map(|(part, may_message)| {
        let (rest, name) = part.split_at_checked(part.len().checked_sub(toy_name.len())?)?;
        is_toy(name).then_some((without_courtesy(rest), may_message))
    });
    parts.extend(without_name);
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

/// A sentence without the words of courtesy around it.
pub(super) fn without_courtesy(mut words: &[Word]) -> &[Word] {
    while let Some(length) = COURTESY_BEFORE.iter().filter_map(|courtesy| starts_with(words, courtesy)).max() {
        words = words.get(length..).unwrap_or_default();
    }
    while let Some(length) = COURTESY_AFTER.iter().filter_map(|courtesy| ends_with(words, courtesy)).max() {
        words = words.get(..words.len() - length).unwrap_or_default();
    }
    words
}

/// The pieces of an entry of the lists above.
fn pieces(entry: &'static str) -> Vec<&'static str> {
    if entry.contains(is_chinese) {
        entry.char_indices().filter_map(|(at, letter)| entry.get(at..at + letter.len_utf8())).collect()
    } else {
        entry.split(' ').collect()
    }
}

fn starts_with(words: &[Word], entry: &'static str) -> Option<usize> {
    let pieces = pieces(entry);
    let start = words.get(..pieces.len())?;
    start.iter().zip(&pieces).all(|(word, piece)| word.text == *piece).then_some(pieces.len())
}

fn ends_with(words: &[Word], entry: &'static str) -> Option<usize> {
    let pieces = pieces(entry);
    let end = words.get(words.len().checked_sub(pieces.len())?..)?;
    end.iter().zip(&pieces).all(|(word, piece)| word.text == *piece).then_some(pieces.len())
}
