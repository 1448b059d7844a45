//! Numbers in words and digits, English and Chinese, and the sums that are made of them.

use pinyin::ToPinyin;
use strsim::normalized_levenshtein;

use super::words::{Word, is_chinese, tokens};

/// No greater number is understood.
const NUMBER_MAX: i64 = 999_999;

/// So many words a number has at most: "nine hundred and ninety nine thousand nine hundred and ninety nine".
const NUMBER_WORDS_MAX: usize = 12;

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const ORDINALS: [(&str, &str); 13] = [
    ("first", "one"),
    ("second", "two"),
    ("third", "three"),
    ("fourth", "four"),
    ("fifth", "five"),
    ("sixth", "six"),
    ("seventh", "seven"),
    ("eighth", "eight"),
    ("ninth", "nine"),
    ("tenth", "ten"),
    ("eleventh", "eleven"),
    ("twelfth", "twelve"),
    ("twentieth", "twenty"),
];

/// What recognisers write for a number, and children say.
const HEARD_ENGLISH: [(&str, &str); 11] = [
    ("won", "one"),
    ("wan", "one"),
    ("to", "two"),
    ("too", "two"),
    ("tree", "three"),
    ("free", "three"),
    ("for", "four"),
    ("fore", "four"),
    ("fife", "five"),
    ("ate", "eight"),
    ("nein", "nine"),
];

const DIGITS: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

/// Syllables that stand for a number or a sign where one is expected.
const HEARD_CHINESE: [(&str, &str); 17] = [
    ("ling", "零"),
    ("yi", "一"),
    ("er", "二"),
    ("liang", "二"),
    ("san", "三"),
    ("si", "四"),
    ("wu", "五"),
    ("liu", "六"),
    ("qi", "七"),
    ("ba", "八"),
    ("jiu", "九"),
    ("shi", "十"),
    ("bai", "百"),
    ("jia", "加"),
    ("jian", "减"),
    ("cheng", "乘"),
    ("chu", "除"),
];

/// In a sum, a word that is spelled this much like a number or a sign is one.
const MISSPELLED_MIN: f64 = 0.75;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
    Times,
    By,
}

/// How the signs are said. Longer ones first.
const SIGNS: &[(&[&str], Sign)] = &[
    (&["multiplied", "by"], Sign::Times),
    (&["divided", "by"], Sign::By),
    (&["divide", "by"], Sign::By),
    (&["take", "away"], Sign::Minus),
    (&["加", "上"], Sign::Plus),
    (&["减", "去"], Sign::Minus),
    (&["乘", "以"], Sign::Times),
    (&["除", "以"], Sign::By),
    (&["plus"], Sign::Plus),
    (&["pluss"], Sign::Plus),
    (&["+"], Sign::Plus),
    (&["加"], Sign::Plus),
    (&["minus"], Sign::Minus),
    (&["less"], Sign::Minus),
    (&["-"], Sign::Minus),
    (&["减"], Sign::Minus),
    (&["times"], Sign::Times),
    (&["time"], Sign::Times),
    (&["x"], Sign::Times),
    (&["×"], Sign::Times),
    (&["*"], Sign::Times),
    (&["乘"], Sign::Times),
    (&["÷"], Sign::By),
    (&["/"], Sign::By),
];

/// The words that may stand around a sum.
const AROUND_SUM: &[&str] = &[
    "what",
    "is",
    "are",
    "how",
    "much",
    "many",
    "does",
    "do",
    "make",
    "makes",
    "equal",
    "equals",
    "to",
    "get",
    "you",
    "can",
    "could",
    "tell",
    "me",
    "calculate",
    "the",
    "sum",
    "of",
    "answer",
    "please",
    "hey",
    "so",
    "um",
    "know",
    "=",
    "and",
    "请",
    "问",
    "你",
    "知",
    "道",
    "等",
    "于",
    "於",
    "几",
    "多",
    "少",
    "是",
    "得",
    "算",
    "一",
    "下",
    "吗",
    "呢",
    "啊",
    "的",
];

/// The result of the sum that a normalised text consists of.
///
/// None if there is more or less in it than a sum, or if a division leaves a remainder.
pub(super) fn sum(text: &str) -> Option<i64> {
    let written = tokens(text);
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let heard: Vec<&str> = written.iter().map(|word| heard_as(word)).collect();
    sum_of(&written, &written).or_else(|| sum_of(&heard, &written))
}

/// Finds the sum in `words`; what is `written` around it must belong to a question for a sum.
fn sum_of(words: &[&str], written: &[&str]) -> Option<i64> {
    let is_around = |part: Option<&[&str]>| part.is_some_and(|part| part.iter().all(|word| AROUND_SUM.contains(word)));
    (0..words.len()).take_while(|start| is_around(written.get(..*start))).find_map(|start| {
        let (terms, length) = terms(words.get(start..)?)?;
        if is_around(written.get(start + length..)) { evaluate(&terms) } else { None }
    })
}

/// The numbers of a sum, each with the sign before it, and how many words they took.
fn terms(words: &[&str]) -> Option<(Vec<(Sign, i64)>, usize)> {
    let (first, mut length) = number_at(words)?;
    let mut terms = vec![(Sign::Plus, first)];
    while let Some((sign, sign_length)) = sign_at(words.get(length..)?) {
        let Some((number, number_length)) = words.get(length + sign_length..).and_then(number_at) else { break };
        terms.push((sign, number));
        length += sign_length + number_length;
    }
    (terms.len() > 1).then_some((terms, length))
}

fn sign_at(words: &[&str]) -> Option<(Sign, usize)> {
    SIGNS.iter().find(|(said, _)| words.starts_with(said)).map(|(said, sign)| (*sign, said.len()))
}

/// The longest number that the words begin with.
fn number_at(words: &[&str]) -> Option<(i64, usize)> {
    (1..=words.len().min(NUMBER_WORDS_MAX)).rev().find_map(|length| Some((number(words.get(..length)?)?, length)))
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

/// What a word may have been, where a number or a sign is expected.
fn heard_as(word: &str) -> &str {
    if let Some((_, number)) = HEARD_ENGLISH.iter().find(|(heard, _)| *heard == word) {
        return number;
    }
    if let Some(letter) = word.chars().next().filter(|letter| is_chinese(*letter)) {
        let syllable = letter.to_pinyin().map(|syllable| syllable.plain());
        return HEARD_CHINESE.iter().find(|(heard, _)| Some(*heard) == syllable).map_or(word, |(_, number)| number);
    }
    if word.len() < 3 || AROUND_SUM.contains(&word) {
        return word;
    }
    let known = UNITS.iter().chain(&TENS).chain(&["plus", "minus", "times", "divided", "hundred"]);
    let likely = known.map(|known| (*known, normalized_levenshtein(word, known)));
    let likely = likely.filter(|(_, likeness)| *likeness >= MISSPELLED_MIN).max_by(|a, b| a.1.total_cmp(&b.1));
    likely.map_or(word, |(known, _)| known)
}

/// The number that all the words together say, cardinal or ordinal, also as misheard.
pub(super) fn whole_number(words: &[Word]) -> Option<u32> {
    let written: Vec<&str> = words
        .iter()
        .map(|word| word.text.as_str())
        .filter(|word| !matches!(*word, "st" | "nd" | "rd" | "th"))
        .map(|word| ORDINALS.iter().find(|(ordinal, _)| *ordinal == word).map_or(word, |(_, cardinal)| cardinal))
        .collect();
    let heard = || number(&written.iter().map(|word| heard_as(word)).collect::<Vec<_>>());
    number(&written).or_else(heard)?.try_into().ok()
}

/// The number that all the words together say.
fn number(words: &[&str]) -> Option<i64> {
    let value = match words {
        [] => None,
        [digits] if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
        [first, ..] if first.contains(is_chinese) => chinese(words),
        _ => english(words),
    };
    value.filter(|value| *value <= NUMBER_MAX)
}

/// "Two hundred and five": units are added, "hundred" and "thousand" multiply what stands before them.
fn english(words: &[&str]) -> Option<i64> {
    let mut thousands = 0;
    let mut below = 0;
    // What the next word may be worth at most, so that "five twenty" is no number.
    let mut room = 1000;
    let mut words = words.iter().copied().peekable();
    let mut is_first = true;
    while let Some(word) = words.next() {
        let value = UNITS.iter().position(|unit| *unit == word).map(|value| (value, 1));
        let value =
            value.or_else(|| TENS.iter().position(|ten| !ten.is_empty() && *ten == word).map(|ten| (ten * 10, 10)));
        match (word, value) {
            (_, Some((value, scale))) if value < room => {
                below += i64::try_from(value).ok()?;
                // "Twenty" leaves room for a unit that is not zero, a unit for nothing.
                room = if scale == 10 { 10 } else { 0 };
            }
            ("hundred", _) if is_first || (below > 0 && below < 10) => {
                below = below.max(1) * 100;
                room = 100;
            }
            ("thousand", _) if thousands == 0 && (is_first || below > 0) => {
                thousands = below.max(1) * 1000;
                below = 0;
                room = 1000;
            }
            ("a", _) if is_first && matches!(words.peek(), Some(&"hundred" | &"thousand")) => continue,
            ("and", _) if !is_first && room >= 100 && words.peek().is_some() => {}
            _ => return None,
        }
        is_first = false;
    }
    Some(thousands + below)
}

/// 一百零五, 两百, 一百二: each digit is multiplied by the unit behind it.
fn chinese(words: &[&str]) -> Option<i64> {
    let mut total = 0;
    let mut digit = None;
    let mut unit_before = i64::MAX;
    let mut has_gap = false;
    for word in words {
        let Some(unit) = chinese_unit(word) else {
            let value = DIGITS.iter().position(|digit| digit == word).or((*word == "两").then_some(2))?;
            // Two digits in a row are a telephone number; a zero only fills a gap.
            if digit.is_some_and(|digit| digit != 0) {
                return None;
            }
            has_gap = value == 0 || (has_gap && digit == Some(0));
            digit = Some(i64::try_from(value).ok()?);
            continue;
        };
        if unit >= unit_before || digit == Some(0) {
            return None;
        }
        // Only ten does without a digit: 十五.
        total += unit * digit.take().or((unit == 10).then_some(1))?;
        unit_before = unit;
        has_gap = false;
    }
    match digit {
        // 一百二 is 120, 一百零二 is 102.
        Some(last) if !has_gap && (unit_before == 100 || unit_before == 1000) => Some(total + last * unit_before / 10),
        Some(last) => Some(total + last),
        None => Some(total),
    }
}

fn chinese_unit(word: &str) -> Option<i64> {
    match word {
        "十" => Some(10),
        "百" => Some(100),
        "千" => Some(1000),
        _ => None,
    }
}

/// The words of a number, to compare it with what was spelled out.
pub(super) fn spelled(number: u32, in_chinese: bool) -> Vec<String> {
    if i64::from(number) > NUMBER_MAX {
        return vec![number.to_string()];
    }
    if in_chinese { spelled_chinese(number) } else { spelled_english(number) }
}

fn spelled_english(number: u32) -> Vec<String> {
    let word = |words: &[&str], index: u32| words.get(index as usize).map(|word| (*word).to_owned());
    let mut spelled = Vec::new();
    let mut rest = number;
    for (size, name) in [(1000, "thousand"), (100, "hundred")] {
        if rest >= size {
            spelled.extend(spelled_english(rest / size));
            spelled.push(name.to_owned());
            rest %= size;
        }
    }
    if rest >= 20 {
        spelled.extend(word(&TENS, rest / 10));
        rest %= 10;
    }
    if rest > 0 || spelled.is_empty() {
        spelled.extend(word(&UNITS, rest));
    }
    spelled
}

fn spelled_chinese(number: u32) -> Vec<String> {
    let digit = |index: u32| DIGITS.get(index as usize).map(|digit| (*digit).to_owned());
    if number > 9999 {
        return vec![number.to_string()];
    }
    let mut spelled = Vec::new();
    let mut rest = number;
    let mut gap = false;
    for (size, name) in [(1000, "千"), (100, "百"), (10, "十")] {
        if rest >= size {
            if gap {
                spelled.push("零".to_owned());
            }
            // Ten to nineteen begin with ten itself.
            if !(size == 10 && rest < 20 && spelled.is_empty()) {
                spelled.extend(digit(rest / size));
            }
            spelled.push(name.to_owned());
            rest %= size;
            gap = false;
        } else {
            gap = !spelled.is_empty();
        }
    }
    if rest > 0 || spelled.is_empty() {
        if gap {
            spelled.push("零".to_owned());
        }
        spelled.extend(digit(rest));
    }
    spelled
}
