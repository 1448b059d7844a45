//! The text that is spoken: without commands, in parts of one script, in sentences, and in pinyin.

use pinyin::ToPinyin;

use crate::ports::speech::languages::is_chinese;

/// The maximum number of changes between Chinese and another language; after that, one voice speaks the rest of the
/// text.
const PARTS_MAX: usize = 8;

/// A sentence is at least so many characters; a shorter one is spoken with the next one.
const SENTENCE_MIN_CHARS: usize = 6;
/// The first sentence of a text is divided at a comma if it is longer than this, so that it is heard soon, …
const FIRST_MAX_CHARS: usize = 50;
/// … behind at least so many characters.
const CLAUSE_MIN_CHARS: usize = 12;

/// The text without commands for the engine: control characters change the voice, `[[…]]` are phonemes, and `<…>` is
/// markup.
pub(super) fn plain(text: &str, max_chars: usize) -> String {
    text.chars()
        .take(max_chars)
        .map(|letter| match letter {
            '[' | ']' | '<' | '>' => ' ',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect()
}

/// The text in runs of Chinese and of other letters. Digits, spaces and punctuation belong to the run they stand in.
pub(super) fn parts(text: &str) -> Vec<(bool, &str)> {
    let mut parts = Vec::new();
    let (mut begin, mut current) = (0, None);
    for (at, letter) in text.char_indices() {
        let kind = if is_chinese(letter) { Some(true) } else { letter.is_alphabetic().then_some(false) };
        let Some(kind) = kind else { continue };
        match current {
            Some(previous) if previous != kind && parts.len() + 1 < PARTS_MAX => {
                parts.push((previous, &text[begin..at]));
                (begin, current) = (at, Some(kind));
            }
            // After too many changes, the rest is spoken by the voice that supports both.
            Some(previous) if previous != kind => current = Some(true),
            _ => current = Some(kind),
        }
    }
    parts.push((current.unwrap_or(false), &text[begin..]));
    parts
}

/// The text with each Chinese character as its syllable and the number of its tone.
pub(super) fn pinyin(text: &str) -> String {
    let mut spelled = String::new();
    for letter in text.chars() {
        match letter.to_pinyin() {
            Some(syllable) => {
                spelled.push(' ');
                spelled.push_str(syllable.with_tone_num_end());
                spelled.push(' ');
            }
            // A pause is a pause in any script.
            None => spelled.push(match letter {
                '，' | '、' => ',',
                '。' => '.',
                '？' => '?',
                '！' => '!',
                '；' => ';',
                '：' => ':',
                other => other,
            }),
        }
    }
    spelled
}

/// The sentences of a text. The first one may end at a comma.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut begin = 0;
    for (at, letter) in text.char_indices() {
        let end = at + letter.len_utf8();
        let is_end = matches!(letter, '。' | '！' | '？')
            || matches!(letter, '.' | '!' | '?' | '…') && text[end..].starts_with(char::is_whitespace);
        if is_end && text[begin..end].trim().chars().count() >= SENTENCE_MIN_CHARS {
            sentences.push(text[begin..end].trim());
            begin = end;
        }
    }
    let rest = text[begin..].trim();
    if rest.contains(char::is_alphanumeric) {
        sentences.push(rest);
    }
    if let Some(first) = sentences.first().copied()
        && first.chars().count() > FIRST_MAX_CHARS
        && let Some(end) = first_clause(first)
    {
        sentences.splice(..1, [first[..end].trim_end(), first[end..].trim_start()]);
    }
    sentences
}

/// The end of the first clause of a sentence that is not too short, unless it is nearly all of the sentence.
fn first_clause(sentence: &str) -> Option<usize> {
    let chars = sentence.chars().count();
    let clauses = sentence.char_indices().enumerate().filter(|(_, (at, letter))| {
        let after = &sentence[at + letter.len_utf8()..];
        matches!(letter, '，' | '；' | '：')
            || matches!(letter, ',' | ';' | ':') && after.starts_with(char::is_whitespace)
    });
    clauses
        .map(|(count, (at, letter))| (count, at + letter.len_utf8()))
        .find(|(count, _)| (CLAUSE_MIN_CHARS..chars.saturating_sub(CLAUSE_MIN_CHARS)).contains(count))
        .map(|(_, end)| end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_spelled_and_other_words_stay_with_their_own_voice() {
        assert_eq!(parts("good night"), [(false, "good night")]);
        assert_eq!(parts("现在是14点5分。"), [(true, "现在是14点5分。")]);
        assert_eq!(parts("a message from 妈妈!"), [(false, "a message from "), (true, "妈妈!")]);
        assert_eq!(parts("12, 你好 Tom"), [(true, "12, 你好 "), (false, "Tom")]);
        assert_eq!(parts("..."), [(false, "...")]);
        assert_eq!(pinyin("妈妈，你好。女"), " ma1  ma1 , ni3  hao3 . nü3 ");
        let many = "a爸".repeat(50);
        let parts = parts(&many);
        assert_eq!(parts.len(), PARTS_MAX);
        assert_eq!(parts.iter().map(|(_, part)| *part).collect::<String>(), many);
        assert!(parts.last().unwrap().0);
    }

    #[test]
    fn the_text_is_cleaned_and_cut() {
        assert_eq!(plain("a<b>\u{1}[[c]]\nd", 100), "a b    c   d");
        assert_eq!(plain("小熊晚安", 2), "小熊");
        assert!(is_chinese('熊') && !is_chinese('é') && !is_chinese('あ'));
    }

    #[test]
    fn a_text_is_divided_into_sentences_and_its_long_first_one_at_a_comma() {
        let joined = |text: &str| sentences(text).join("|");
        for (text, divided) in [
            ("Good night.", "Good night."),
            ("Hello! It is nice to hear you. Bye!", "Hello!|It is nice to hear you.|Bye!"),
            ("No. I do not know that one.", "No. I do not know that one."),
            ("It is 3.5 o'clock.", "It is 3.5 o'clock."),
            ("晚安。小朋友们，你好！", "晚安。小朋友们，你好！"),
            ("小朋友们，晚安。今天很好玩！", "小朋友们，晚安。|今天很好玩！"),
            ("Yes, of course I can.", "Yes, of course I can."),
            (
                "Once upon a time there was a little bear, who lived in a forest, and he slept.",
                "Once upon a time there was a little bear,|who lived in a forest, and he slept.",
            ),
            (
                "Good night, sleep well and dream of something nice.",
                "Good night, sleep well and dream of something nice.",
            ),
            ("…", ""),
            ("", ""),
        ] {
            assert_eq!(joined(text), divided, "{text}");
        }
        let text = "One bear, two bears. ".repeat(40);
        assert_eq!(sentences(&text).len(), 40);
    }
}
