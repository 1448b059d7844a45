//! The phrases of the languages' tables, ready to be matched.

use std::sync::LazyLock;

use super::courtesy::without_courtesy;
use super::lexicon::Lexicon;
use super::score::{self, Spelling};
use super::text;
use super::word::{self, Word};
use crate::ports::speech::grammar::Clarity;
use crate::ports::speech::languages::{self, Choices, DraftWish, Language, Meaning};

/// The minimum similarity of the fixed words around a name.
const FRAME_LIKENESS_MIN: f64 = 0.8;

/// A name is denied by one of so many words: "sag der Oma nicht", but not "sag Oma, ich komme nicht".
const DENIAL_WITHIN: usize = 3;

/// The phrases of the languages of a lexicon.
#[derive(Debug)]
pub(super) struct Phrases {
    pub(super) table: Vec<Phrase>,
    /// The answers to "do you mean the first or the second?": whether it is the first, and its words.
    choices: Vec<(bool, Vec<Word>)>,
    /// The answers to "do you mean this one?": whether it is, and its words.
    answers: Vec<(bool, Vec<Word>)>,
    /// The answers to "shall I send it?", and their words.
    drafts: Vec<(DraftWish, Vec<Word>)>,
}

/// A phrase of the table, ready to be matched.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) meaning: Meaning,
    /// All of it, or the words before the name or number.
    pub(super) before: Vec<Word>,
    /// The letters of that.
    pub(super) letters: String,
    /// The words after it.
    after: Vec<Word>,
    /// The last word, or the last before the name, must be heard, where other small words may be lost: "say something
    /// funny" has no receiver, "say something to …" has one.
    needs_last: bool,
    /// The phrase asks for a message in so many words that it was hardly another sentence.
    pub(super) is_explicit: bool,
    /// The phrase may be a request or a statement.
    is_doubtful: bool,
}

/// The words in the place of the name or number, and how well the words around it fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) words: &'a [Word],
    pub(super) likeness: f64,
    /// The phrase was said with all its words, and no other words follow it. "Can I talk, may I" is no message to May without
    /// a question.
    pub(super) is_clear: bool,
}

impl Phrase {
    fn new(meaning: Meaning, text: &str, lexicon: &Lexicon) -> Self {
        let (is_explicit, is_doubtful) = (text.starts_with('*'), text.starts_with('?'));
        let text = text.trim_start_matches(['*', '?']);
        let (before, after) = text.split_once(['…', '#']).unwrap_or((text, ""));
        let needs_last = before.trim_end().ends_with('!');
        let words = |part: &str| word::words(&text::normalise(part), lexicon);
        let before = words(before);
        let letters = before.iter().map(|word| word.text.as_str()).collect();
        Self { meaning, before, letters, after: words(after), needs_last, is_explicit, is_doubtful }
    }

    /// The position of the name or number in `sentence`: after the phrase's first part, at the beginning of the
    /// sentence, and before the nearest match of its second part.
    pub(super) fn slot<'a>(&self, sentence: &'a [Word]) -> Option<Slot<'a>> {
        let spelling = if matches!(self.meaning, Meaning::Friend(_)) { Spelling::Strict } else { Spelling::Loose };
        let (start, before) = best_length(sentence, &self.before, spelling)?;
        let begun = sentence.get(..start)?;
        let last = begun.last();
        if last.is_some_and(|said| !self.ends_as_needed(said)) {
            return None;
        }
        // "number number ten": the last word was only said twice.
        let repeats = sentence.get(start..)?.iter().take_while(|word| last.is_some_and(|last| last.text == word.text));
        let rest = sentence.get(start + repeats.count()..)?;
        let (words, end, likeness) = if self.after.is_empty() {
            (rest, rest, before)
        } else {
            (1..rest.len()).find_map(|length| {
                let (_, after) = best_length(rest.get(length..)?, &self.after, spelling)?;
                Some((rest.get(..length)?, rest.get(length..)?, (before + after) / 2.0))
            })?
        };
        // Behind a name that ends the phrase, a message may follow in which anything is denied.
        let named = if self.after.is_empty() { DENIAL_WITHIN } else { usize::MAX };
        if words.is_empty() || words.iter().take(named).any(|word| word.is_negation) {
            return None;
        }
        // "To" and "two" sound the same.
        let is_last = |said: &Word, wanted: &Word| said.code == wanted.code && said.vowels == wanted.vowels;
        let has_last =
            last.is_none_or(|said| said.is_chinese || self.before.last().is_some_and(|wanted| is_last(said, wanted)));
        let is_all = |said: &[Word], wanted: &[Word]| {
            let codes = || said.iter().map(|word| &word.code).eq(wanted.iter().map(|word| &word.code));
            said.len() == wanted.len() && (codes() || said.iter().any(|word| word.is_chinese))
        };
        let ends = self.after.is_empty() || is_all(end, &self.after);
        let is_clear = has_last && is_all(begun, &self.before) && ends && !self.is_doubtful;
        Some(Slot { words, likeness, is_clear })
    }

    /// Whether it begins a message without a question, if a friend is named as it wants.
    pub(super) fn begins_message(&self, clarity: Clarity) -> bool {
        match clarity {
            Clarity::Clear => true,
            Clarity::Unclear => self.is_explicit,
            Clarity::Incomplete => false,
        }
    }

    /// Whether a sentence without a name has the word that the phrase needs.
    pub(super) fn may_be(&self, sentence: &[Word]) -> bool {
        sentence.iter().any(|said| self.ends_as_needed(said))
    }

    fn ends_as_needed(&self, said: &Word) -> bool {
        !self.needs_last || self.before.last().is_some_and(|wanted| wanted.text == said.text)
    }
}

/// How many of the first words are most like the `phrase`, if they are enough.
fn best_length(words: &[Word], phrase: &[Word], spelling: Spelling) -> Option<(usize, f64)> {
    if phrase.is_empty() {
        return Some((0, 1.0));
    }
    let lengths = phrase.len().saturating_sub(2).max(1)..=(phrase.len() + 2).min(words.len());
    let scored =
        lengths.filter_map(|length| Some((length, score::phrase_likeness(words.get(..length)?, phrase, spelling))));
    scored
        .filter(|(_, likeness)| *likeness >= FRAME_LIKENESS_MIN)
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
}

impl Phrases {
    /// Those of a lexicon.
    pub(super) fn of(lexicon: &Lexicon) -> &'static Self {
        static PHRASES: LazyLock<Vec<Phrases>> =
            LazyLock::new(|| languages::all().iter().map(|language| Phrases::new(Lexicon::of(language))).collect());
        &PHRASES[lexicon.languages[0].place()]
    }

    fn new(lexicon: &Lexicon) -> Self {
        let languages = || lexicon.languages.iter();
        let table = languages()
            .flat_map(|language| language.phrases)
            .flat_map(|(meaning, texts)| texts.iter().map(|text| Phrase::new(*meaning, text, lexicon)))
            .collect();
        let replies = |table: fn(&Language) -> Choices| {
            let replies = languages().flat_map(move |language| table(language));
            let words = replies.flat_map(|(is_first, texts)| {
                texts.iter().map(|text| (*is_first, word::words(&text::normalise(text), lexicon)))
            });
            words.collect()
        };
        let (choices, answers) = (replies(|language| language.choices), replies(|language| language.answers));
        let drafts = languages()
            .flat_map(|language| language.drafts)
            .flat_map(|(wish, texts)| texts.iter().map(|text| (*wish, word::words(&text::normalise(text), lexicon))));
        Self { table, choices, answers, drafts: drafts.collect() }
    }

    /// Whether a question was answered by yes or by no, in these very words: more of them may be another command.
    pub(super) fn answer(&self, spoken: &[Word]) -> Option<bool> {
        let is_said = |text: &[Word]| text.iter().map(|word| &word.text).eq(spoken.iter().map(|word| &word.text));
        self.answers.iter().find(|(_, text)| is_said(text)).map(|(is_yes, _)| *is_yes)
    }

    /// What is done with a message: in these very words, but for courtesy. A message that is sent cannot be taken back.
    pub(super) fn draft(&self, spoken: &[Word], lexicon: &Lexicon) -> Option<DraftWish> {
        let spoken = without_courtesy(spoken, lexicon);
        let is_said = |text: &[Word]| text.iter().map(|word| &word.text).eq(spoken.iter().map(|word| &word.text));
        self.drafts.iter().find(|(_, text)| is_said(text)).map(|(wish, _)| *wish)
    }

    /// Whether the first or the second was chosen.
    pub(super) fn choice(&self, spoken: &[Word], lexicon: &Lexicon) -> Option<bool> {
        let spoken = without_courtesy(spoken, lexicon);
        let is_said = |text: &[Word]| score::phrase_likeness(spoken, text, Spelling::Loose) >= FRAME_LIKENESS_MIN;
        self.choices.iter().find(|(_, text)| is_said(text)).map(|(is_first, _)| *is_first)
    }
}
