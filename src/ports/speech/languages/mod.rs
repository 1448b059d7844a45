//! The words of each language: what a child may say, and what the hub answers.
//!
//! A language is one file with one [`Language`] in it, and one line of [`all`]. No word of a language stands anywhere else:
//! [`intent`](super::intent) compares what was said with these tables, the domain chooses a [`Line`] and has the language
//! word it. Entries are written as people write them; case, accents and short forms are evened out when they are loaded.

mod de;
mod en;
mod line;
mod meaning;
#[cfg(test)]
mod tests;
mod zh;

pub use de::GERMAN;
pub use en::ENGLISH;
pub use line::{Clock, Line};
pub use meaning::Intent;
pub(super) use meaning::Meaning;
pub use zh::CHINESE;

/// Every language that the hub has words of. The first one serves where none of them is asked for.
pub fn all() -> &'static [&'static Language] {
    static ALL: [&Language; 3] = [&ENGLISH, &CHINESE, &GERMAN];
    &ALL
}

/// All words of one language.
#[derive(Debug)]
pub struct Language {
    /// Its code, as Whisper and `[speech] languages` have it.
    pub code: &'static str,
    /// The voice of `espeak-ng` for its letters.
    pub voice: &'static str,
    /// Words in a title by which the hub picks a song, a story or a riddle.
    pub moods: Moods,
    /// What the hub replies to what is no command.
    pub replies: Replies,
    /// The letters that it is written in.
    pub(super) script: Script,
    /// How its words are compared by sound.
    pub(super) sound: Sound,
    /// What can be said, and what it means. `…` stands for a title or a friend's name, `#` for a number. Words are matched
    /// loosely, by spelling and by sound, and courtesy around them need not be listed. A word with `!` must be heard as
    /// it is.
    pub(super) phrases: &'static [(Meaning, &'static [&'static str])],
    /// The answers to "do you mean the first or the second?": whether it is the first, and how that is said.
    pub(super) choices: &'static [(bool, &'static [&'static str])],
    pub(super) small_words: SmallWords,
    pub(super) names: NameWords,
    pub(super) numbers: Numbers,
    /// Words a line of the hub.
    say: fn(&Line<'_>) -> String,
}

/// The letters of a language. Languages of different letters never share a word, and are understood side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Latin,
    /// Each character is a word.
    Chinese,
}

/// How words of a language are compared by sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sound {
    /// Double Metaphone, made for English.
    Metaphone,
    /// Kölner Phonetik, made for German.
    Cologne,
    /// Pinyin without tones.
    Pinyin,
}

/// Words that carry little or much beyond their meaning.
#[derive(Debug)]
pub(super) struct SmallWords {
    /// Short forms, spelled out so that they need no phrases of their own.
    pub(super) short_forms: &'static [(&'static str, &'static str)],
    /// Other words for the same, so that they need no phrases of their own. They are replaced in this order.
    pub(super) same: &'static [(&'static str, &'static str)],
    /// Words that carry little: losing, adding or mishearing one hardly changes what a phrase means.
    pub(super) light: &'static [&'static str],
    /// Words that turn a sentence into another one. Where a phrase lacks such a word, it is not meant.
    pub(super) turning: &'static [&'static str],
    /// Those of them that deny: with one beside it, a name is not meant. "Sag Oma nicht …" is no message.
    pub(super) negations: &'static [&'static str],
    /// Before the point, for courtesy or for want of a word.
    pub(super) courtesy_before: &'static [&'static str],
    /// After the point.
    pub(super) courtesy_after: &'static [&'static str],
    /// What one may greet with; a name may follow.
    pub(super) greetings: &'static [&'static str],
    /// Other forms of characters, each before the one that is used here.
    pub(super) other_characters: &'static str,
}

/// Words in and around the names of friends and titles.
#[derive(Debug)]
pub(super) struct NameWords {
    /// Names for relatives: those of one line mean the same, also in other languages.
    pub(super) kin: &'static [(&'static [Kin], &'static [&'static str])],
    /// What may stand before a friend's name.
    pub(super) before_name: &'static [&'static str],
    /// What is no part of a title, though it is said with it.
    pub(super) beside_title: &'static [&'static str],
}

/// A relative. A word may be one for several: "grandma" is 奶奶 or 外婆, which are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    Mother,
    Father,
    FathersMother,
    MothersMother,
    FathersFather,
    MothersFather,
    Uncle,
    FathersBrother,
    MothersBrother,
    Aunt,
    FathersSister,
    MothersSister,
    ElderBrother,
    YoungerBrother,
    ElderSister,
    YoungerSister,
}

/// Numbers, and the sums that are made of them.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The number that all these words together say.
    pub(super) read: fn(&[&str]) -> Option<i64>,
    /// The words of a number up to 999,999, to compare it with one that was spelled out.
    pub(super) spell: fn(u32) -> Vec<String>,
    /// The cardinal of an ordinal.
    pub(super) cardinal: fn(&str) -> Option<String>,
    /// What follows the digits of an ordinal.
    pub(super) ordinal_endings: &'static [&'static str],
    /// What recognisers write for a number or a sign, and children say; of Chinese, its syllable.
    pub(super) misheard: &'static [(&'static str, &'static str)],
    /// In a sum, a word that is spelled much like one of these is one.
    pub(super) misspelled: &'static [&'static str],
    /// How the signs are said.
    pub(super) signs: &'static [(&'static str, Sign)],
    /// The words that may stand around a sum.
    pub(super) around_sum: &'static [&'static str],
}

/// The sign before a number of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Times,
    By,
}

/// Words in a title that make it something to fall asleep by, a story, or a riddle.
#[derive(Debug)]
pub struct Moods {
    /// Something quiet.
    pub quiet: &'static [&'static str],
    /// A story.
    pub story: &'static [&'static str],
    /// A riddle.
    pub riddle: &'static [&'static str],
}

/// Kind sentences for what small children say.
#[derive(Debug)]
pub struct Replies {
    /// Words of which one must be said, and the reply. The first row that fits is taken.
    pub table: &'static [(&'static [&'static str], &'static str)],
    /// The reply to everything else.
    pub otherwise: &'static str,
}

impl Language {
    /// The language of what was said: by its letters, else by the code of the language in which it was recognised.
    pub fn of(said: &str, code: &str) -> &'static Self {
        let by_letters = said.chars().any(is_chinese).then_some(Script::Chinese);
        let by_letters = by_letters.and_then(|script| all().iter().find(|language| language.script == script));
        by_letters.copied().unwrap_or_else(|| Self::with_code(code).unwrap_or(&ENGLISH))
    }

    /// The language of a family: the first of the `codes` of its settings that the hub has words of.
    pub fn of_family(codes: &[String]) -> &'static Self {
        codes.iter().find_map(|code| Self::with_code(code)).unwrap_or(&ENGLISH)
    }

    /// Its place in [`all`].
    pub fn place(&self) -> usize {
        all().iter().position(|language| language.code == self.code).unwrap_or_default()
    }

    fn with_code(code: &str) -> Option<&'static Self> {
        all().iter().copied().find(|language| language.code == code)
    }

    /// Whether one of `words` is in the text: as a whole word, but for a language that has no blanks between them.
    pub fn has_word(&self, text: &str, words: &[&str]) -> bool {
        let plain: String = text.chars().map(|letter| if letter.is_alphanumeric() { letter } else { ' ' }).collect();
        let plain = format!(" {} ", plain.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "));
        words.iter().any(|word| match self.script {
            Script::Latin => plain.contains(&format!(" {word} ")),
            Script::Chinese => plain.contains(word),
        })
    }
}

/// Whether a character is a Chinese one (CJK ideographs and extensions).
pub(super) fn is_chinese(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}
