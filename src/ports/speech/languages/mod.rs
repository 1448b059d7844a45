//! The words of each language: the phrases of children, and the hub's answers.
//!
//! A language is one file with one [`Language`] in it: phrases, numbers, answers, notices and replies. It is declared
//! here and listed in [`all`]. There are no words of a language anywhere else: [`intent`](super::intent) compares the
//! recognised text with these tables, and the domain chooses a [`Line`], for which the language has a text. Entries are
//! in normal spelling; case, accents and short forms are normalised when they are loaded.

mod consent;
mod de;
mod en;
mod line;
mod meaning;
mod reminding;
#[cfg(test)]
mod tests;
mod zh;

pub use consent::ConsentWords;
pub use de::GERMAN;
pub use en::ENGLISH;
pub use line::{Clock, Line, Moment, Reminded};
pub(super) use meaning::Meaning;
pub use meaning::{DraftWish, Intent};
pub use reminding::DayPart;
pub(super) use reminding::{Reminding, TimeForm};
pub use zh::CHINESE;

/// All supported languages. The first one is the default.
pub fn all() -> &'static [&'static Language] {
    static ALL: [&Language; 3] = [&ENGLISH, &CHINESE, &GERMAN];
    &ALL
}

/// The phrases of two answers to a question: with `true`, the first or yes; with `false`, the second or no.
pub(super) type Choices = &'static [(bool, &'static [&'static str])];

/// All words of one language.
#[derive(Debug)]
pub struct Language {
    /// Its code, as in Whisper and in `[speech] languages`.
    pub code: &'static str,
    /// The voice of `espeak-ng` for its letters.
    pub voice: &'static str,
    /// Words in a title that mark a quiet song, a story or a riddle.
    pub moods: Moods,
    /// Built-in replies to speech that is not a command.
    pub replies: Replies,
    /// The text that a guardian agrees to.
    pub consent: ConsentWords,
    /// Its script.
    pub(super) script: Script,
    /// The phonetic algorithm that compares its words.
    pub(super) sound: Sound,
    /// The phrases and their meanings. `…` stands for a title or a friend's name, `#` for a number. Words are matched
    /// approximately, by spelling and by sound, and words of courtesy around them need not be listed. A word with `!`
    /// must match exactly. A phrase that begins with `*` asks for a message so explicitly that the name in it is believed
    /// even if a word was not heard clearly. After one that begins with `?`, the hub always asks whether a message is meant.
    pub(super) phrases: &'static [(Meaning, &'static [&'static str])],
    /// The answers to "do you mean the first or the second?": whether it is the first, and its phrases.
    pub(super) choices: Choices,
    /// The answers to "do you mean this one?": whether it is, and its phrases.
    pub(super) answers: Choices,
    /// The answers to "shall I send it?", in addition to yes and no.
    pub(super) drafts: &'static [(DraftWish, &'static [&'static str])],
    pub(super) small_words: SmallWords,
    pub(super) names: NameWords,
    pub(super) numbers: Numbers,
    /// How children ask for reminders.
    pub(super) reminding: Reminding,
    /// The text of a line of the hub.
    say: fn(&Line<'_>) -> String,
}

/// The letters of a language. Languages of different scripts never share a word, and are recognised together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Latin,
    /// Each character is a word.
    Chinese,
}

/// The phonetic algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sound {
    /// Double Metaphone, made for English.
    Metaphone,
    /// Kölner Phonetik, made for German.
    Cologne,
    /// Pinyin without tones.
    Pinyin,
}

/// Words with less or more weight than others.
#[derive(Debug)]
pub(super) struct SmallWords {
    /// Short forms with their long forms, so that they need no phrases of their own.
    pub(super) short_forms: &'static [(&'static str, &'static str)],
    /// Synonyms, so that they need no phrases of their own. They are replaced in this order.
    pub(super) same: &'static [(&'static str, &'static str)],
    /// Words with little weight: if one is missing, added or misrecognised, the meaning of a phrase hardly changes.
    pub(super) light: &'static [&'static str],
    /// Words that change the meaning of a sentence. A phrase without such a word does not match a sentence with it.
    pub(super) turning: &'static [&'static str],
    /// Those of them that negate: a name beside one is not a match. "Sag Oma nicht …" is no message.
    pub(super) negations: &'static [&'static str],
    /// Words of an answer by which a child may mean another name, or none: "not Mia".
    pub(super) retractions: &'static [&'static str],
    /// Words before a name that is the whole answer to a question: "I mean Tom".
    pub(super) before_answer: &'static [&'static str],
    /// Words of courtesy and fillers before the command.
    pub(super) courtesy_before: &'static [&'static str],
    /// Words of courtesy and fillers after the command.
    pub(super) courtesy_after: &'static [&'static str],
    /// Those words and others with which a sentence goes on from another one, as in a story.
    pub(super) joining: &'static [&'static str],
    /// Greetings; a name may follow.
    pub(super) greetings: &'static [&'static str],
    /// Variants of characters, each before the one that is used here.
    pub(super) other_characters: &'static str,
}

/// Words in and around the names of friends and titles.
#[derive(Debug)]
pub(super) struct NameWords {
    /// Names for relatives: those of one line mean the same, also in other languages.
    pub(super) kin: &'static [(&'static [Kin], &'static [&'static str])],
    /// Words that may precede a friend's name.
    pub(super) before_name: &'static [&'static str],
    /// Those directly before a name that make it another word: "ring the bell" is no call to Belle, and "our bear" is not the
    /// friend Bear.
    pub(super) before_noun: &'static [&'static str],
    /// Those of them that relatives have, too: "my grandma".
    pub(super) before_relative: &'static [&'static str],
    /// Words beside those of the phrases that are seldom names, though a friend may be called so.
    pub(super) ordinary: &'static [&'static str],
    /// Words that are spoken with a title, but are not part of it.
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

/// Numbers and sums.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The number of all these words together.
    pub(super) read: fn(&[&str]) -> Option<i64>,
    /// The words of a number up to 999,999, for comparison with a spelled-out number.
    pub(super) spell: fn(u32) -> Vec<String>,
    /// The cardinal of an ordinal.
    pub(super) cardinal: fn(&str) -> Option<String>,
    /// Suffixes of ordinals in digits.
    pub(super) ordinal_endings: &'static [&'static str],
    /// Frequent misrecognitions of numbers and signs; in Chinese, as syllables.
    pub(super) misheard: &'static [(&'static str, &'static str)],
    /// In a sum, a word with a similar spelling counts as one of these.
    pub(super) misspelled: &'static [&'static str],
    /// The words of the signs.
    pub(super) signs: &'static [(&'static str, Sign)],
    /// Words that may surround a sum.
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

/// Words in a title that mark a lullaby, a story or a riddle.
#[derive(Debug)]
pub struct Moods {
    /// Quiet music.
    pub quiet: &'static [&'static str],
    /// A story.
    pub story: &'static [&'static str],
    /// A riddle.
    pub riddle: &'static [&'static str],
}

/// Friendly replies to small children.
#[derive(Debug)]
pub struct Replies {
    /// Words of which one must be in the text, and the reply. The first matching row is used.
    pub table: &'static [(&'static [&'static str], &'static str)],
    /// The reply to any other text.
    pub otherwise: &'static str,
}

impl Language {
    /// The language of a text: by its script, otherwise by the code of the language in which it was recognised.
    pub fn of(said: &str, code: &str) -> &'static Self {
        let by_letters = said.chars().any(is_chinese).then_some(Script::Chinese);
        let by_letters = by_letters.and_then(|script| all().iter().find(|language| language.script == script));
        by_letters.copied().unwrap_or_else(|| Self::with_code(code).unwrap_or(&ENGLISH))
    }

    /// The language of a family: the first supported one of the `codes` of its settings.
    pub fn of_family(codes: &[String]) -> &'static Self {
        codes.iter().find_map(|code| Self::with_code(code)).unwrap_or(&ENGLISH)
    }

    /// Its index in [`all`].
    pub fn place(&self) -> usize {
        all().iter().position(|language| language.code == self.code).unwrap_or_default()
    }

    fn with_code(code: &str) -> Option<&'static Self> {
        all().iter().copied().find(|language| language.code == code)
    }

    /// Whether one of `words` is in the text: as a whole word, except in a language without blanks between words.
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
