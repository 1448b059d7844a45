//! Search for titles and friends' names in a text.

use std::sync::LazyLock;

use super::courtesy::without_courtesy;
use super::lexicon::Lexicon;
use super::score::{self, Joined, Spelling};
use super::text;
use super::word::{self, Word};
use crate::ports::speech::languages::{self, Kin, Language};

/// The minimum similarity of a name.
const LIKENESS_MIN: f64 = 0.72;

/// If the scores of two names differ by less than this, the hub asks which one is meant.
const MARGIN_MIN: f64 = 0.08;

/// The minimum similarity to a way of saying a name without which the hub asks whether this one is meant.
const CERTAIN_MIN: f64 = 0.85;

/// The weight of a part of a friend's name, relative to the full name.
const PART_OF_NAME: f64 = 0.9;

/// The weight of a synonym for a relative.
const KIN_NAME: f64 = 0.88;

/// The weight of a synonym for a relative in the other language.
const KIN_NAME_TRANSLATED: f64 = 0.78;

/// The minimum weight of a part of a title, if all spoken words belong to it.
const PART_OF_TITLE: f64 = 0.74;

/// The additional weight of the rest of the title, multiplied by its share.
const PART_OF_TITLE_SPAN: f64 = 0.2;

/// The maximum deduction for a title that leaves spoken words unexplained.
const UNEXPLAINED: f64 = 0.25;

/// The minimum similarity of a title without "play" …
const BARE_TITLE_MIN: f64 = 0.8;

/// … and if more follows it, from this one, …
const BARE_BEGINNING_MIN: f64 = 0.9;

/// … if it has so many words: "The Bridge is high" asks for no song.
const BARE_TITLE_WORDS_MIN: usize = 3;

/// All that a child may call a friend. A name that is not known is left empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FriendNames<'a> {
    /// The remark in the toy's address book.
    pub remark: &'a str,
    /// The friend's own name.
    pub nickname: &'a str,
    /// The name of the friend's toy.
    pub toy_name: &'a str,
}

/// Names that may be said in one language, prepared to be found. The index of each is its place in the list it was made
/// from.
#[derive(Debug, Clone)]
pub struct Names {
    pub(super) lexicon: &'static Lexicon,
    forms: Vec<Form>,
    /// The names as they are written, in addition to their forms.
    written: Vec<String>,
    /// Whether a part is enough: for a title, not for a friend.
    parts_count: bool,
}

/// One way to say a name.
#[derive(Debug, Clone, PartialEq)]
struct Form {
    index: usize,
    words: Vec<Word>,
    joined: Joined,
    /// Its weight, relative to the name itself.
    factor: f64,
    /// Whether it is the friend's name for sure, and not a part that another person may have, too.
    is_sure: bool,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// This one.
    One(usize),
    /// Probably this one, but another name or word may have been said.
    Unsure(usize),
    /// One of these two, the likelier first.
    Two(usize, usize),
    None,
}

/// Where a name may stand among the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// At the start, behind "my friend" and the like.
    AtStart,
    Anywhere,
    /// All of the words are the name.
    Whole,
}

/// Some of the words that were said, side by side.
struct Window<'a> {
    first: &'a Word,
    length: usize,
    joined: Joined,
    /// The word before it.
    before: Option<&'a Word>,
    /// No other words follow.
    is_last: bool,
}

impl Window<'_> {
    /// A small word begins no friend's name, unless it really does: "to my" is no "Tommy".
    fn may_begin(&self, form: &Form) -> bool {
        let is_name = self.first.is_heavy() && !self.first.is_turning;
        is_name || form.words.first().is_some_and(|word| word.text == self.first.text)
    }
}

impl Names {
    /// The titles of the library, in its order.
    pub fn of_titles<'a>(language: &'static Language, titles: impl IntoIterator<Item = &'a str>) -> Self {
        let lexicon = Lexicon::of(language);
        let (mut forms, mut written) = (Vec::new(), Vec::new());
        for (index, title) in titles.into_iter().enumerate() {
            forms.extend(Form::new(index, title, 1.0, lexicon));
            written.push(title.to_owned());
        }
        Self { lexicon, forms, written, parts_count: true }
    }

    /// The friends of a toy, in the order of its address book.
    pub fn of_friends<'a>(language: &'static Language, friends: impl IntoIterator<Item = FriendNames<'a>>) -> Self {
        let lexicon = Lexicon::of(language);
        let (mut forms, mut written) = (Vec::new(), Vec::new());
        for (index, friend) in friends.into_iter().enumerate() {
            for name in [friend.remark, friend.nickname, friend.toy_name].into_iter().filter(|name| !name.is_empty()) {
                forms.extend(Form::all_of_friend(index, name, lexicon));
                written.push(name.to_owned());
            }
        }
        Self { lexicon, forms, written, parts_count: false }
    }

    /// Only these two of the names.
    pub(super) fn only(&self, first: usize, second: usize) -> Self {
        let forms = self.forms.iter().filter(|form| form.index == first || form.index == second).cloned().collect();
        Self { lexicon: self.lexicon, forms, written: Vec::new(), parts_count: self.parts_count }
    }

    /// The number of names.
    pub(super) fn count(&self) -> usize {
        self.written.len()
    }

    /// All ways to say the names in this language: as they are written, and as they are understood.
    pub(super) fn ways_to_say(&self) -> impl Iterator<Item = String> {
        let forms = self.forms.iter().filter(|form| form.factor >= KIN_NAME);
        let forms = forms.map(|form| form.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "));
        self.written.iter().cloned().chain(forms)
    }

    /// The name that is most like some of the words.
    pub(super) fn find(&self, spoken: &[Word], place: Anchor) -> Found {
        let longest = self.forms.iter().map(|form| form.words.len()).max().unwrap_or_default() + 1;
        let starts = match place {
            Anchor::AtStart => self.before_name(spoken) + 1,
            Anchor::Anywhere => spoken.len(),
            Anchor::Whole => 1,
        };
        let windows: Vec<Window> = (0..starts.min(spoken.len()))
            .flat_map(|start| (1..=longest).map_while(move |length| Some((start, spoken.get(start..start + length)?))))
            .filter_map(|(start, words)| {
                let before = start.checked_sub(1).and_then(|before| spoken.get(before));
                let is_last = start + words.len() == spoken.len();
                Some(Window { first: words.first()?, length: words.len(), joined: Joined::new(words), before, is_last })
            })
            .collect();
        let scores = self.forms.iter().map(|form| {
            let by_window = windows
                .iter()
                .filter(|window| window.length.abs_diff(form.words.len()) <= 1)
                .filter(|window| place != Anchor::AtStart || window.may_begin(form))
                .filter(|window| place != Anchor::Whole || window.length == spoken.len())
                // "Uncle Bob" is not called by the "Uncle" of Uncle Tim.
                .filter(|window| form.is_sure || window.is_last || !form.is_relative())
                .map(|window| {
                    // In the place of a friend's name, "will" and "the bell" are more often words than Will and Belle, and
                    // "Jack Frost" is not Jack.
                    let may_be_other =
                        self.is_noun(window, form) || form.is_ordinary() || !form.is_sure || !window.is_last;
                    let is_other = place == Anchor::AtStart && may_be_other;
                    let is_the_same = score::is_the_same(&window.joined, &form.joined) && !is_other;
                    (form.likeness(&window.joined), window.length, is_the_same)
                })
                .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let (likeness, explained, is_the_same) = by_window.unwrap_or_default();
            let is_certain = is_the_same && likeness >= CERTAIN_MIN * form.factor;
            let part = if self.parts_count { form.part_likeness(spoken, self.lexicon) } else { 0.0 };
            let explained = if part > likeness { spoken.len() } else { explained };
            Score {
                index: form.index,
                likeness: likeness.max(part),
                is_certain,
                unexplained: spoken.len() - explained,
                said: spoken.len(),
            }
        });
        decide(scores)
    }

    /// The name that was the answer to a question: a friend's with nothing else but courtesy and "I mean" or the like, and a
    /// title's anywhere, as a wrong song does no harm.
    pub(super) fn find_in_answer(&self, spoken: &[Word]) -> Found {
        if self.parts_count {
            return self.find(spoken, Anchor::Anywhere);
        }
        let spoken = without_courtesy(spoken, self.lexicon);
        let before = spoken.iter().take_while(|word| self.lexicon.before_answer.contains(&word.text)).count();
        // A friend may be called as one of these words.
        let starts = (0..=before.min(spoken.len().saturating_sub(1))).rev();
        let named = starts.filter_map(|start| spoken.get(start..)).filter(|part| !part.iter().any(Word::takes_back));
        named.map(|part| self.find(part, Anchor::Whole)).find(|found| *found != Found::None).unwrap_or(Found::None)
    }

    /// The title that was said without any "play": all the words are like it, or they begin with a long one.
    pub(super) fn find_bare(&self, spoken: &[Word]) -> Found {
        let scores = self.forms.iter().filter_map(|form| {
            let length = form.words.len();
            let score = |part: &[Word], least: f64| {
                let likeness = form.likeness(&Joined::new(part));
                let unexplained = spoken.len() - part.len();
                let is_certain = likeness >= CERTAIN_MIN;
                let said = spoken.len();
                (likeness >= least).then_some(Score { index: form.index, likeness, is_certain, unexplained, said })
            };
            let whole = if length.abs_diff(spoken.len()) <= 2 { score(spoken, BARE_TITLE_MIN) } else { None };
            let is_long = length >= BARE_TITLE_WORDS_MIN;
            whole.or_else(|| if is_long { score(spoken.get(..length)?, BARE_BEGINNING_MIN) } else { None })
        });
        decide(scores)
    }

    /// Whether the words in the place of a name may be one. "I want to talk to you" and "I want to talk about dinosaurs" name no
    /// friend, but "talk to Will" and "talk to Bo" do, if friends are called so.
    pub(super) fn may_be_named(&self, spoken: &[Word]) -> bool {
        let may_be = spoken.iter().any(|word| word.is_heavy() && !word.is_turning);
        if self.parts_count {
            return may_be;
        }
        let first = spoken.get(self.before_name(spoken));
        let is_other = first.is_some_and(|word| !word.is_chinese && self.lexicon.beside_title.contains(&word.text));
        may_be && !is_other || self.begin(spoken)
    }

    /// Whether the words begin with a name as it is spelled, behind "my friend" and the like.
    pub(super) fn begin(&self, spoken: &[Word]) -> bool {
        let rest = spoken.get(self.before_name(spoken)..).unwrap_or_default();
        self.forms.iter().any(|form| {
            let said = rest.get(..form.words.len());
            said.is_some_and(|said| said.iter().zip(&form.words).all(|(said, word)| said.text == word.text))
        })
    }

    /// Whether the word before a name makes it another word. "My Grandma" is Grandma; "the mummy" may be one of Egypt.
    fn is_noun(&self, window: &Window<'_>, form: &Form) -> bool {
        let Some(Word { text, .. }) = window.before else { return false };
        let is_of_relative = form.is_relative() && self.lexicon.before_relative.contains(text);
        self.lexicon.before_noun.contains(text) && !is_of_relative
    }

    /// How many words stand before the name.
    fn before_name(&self, spoken: &[Word]) -> usize {
        spoken.iter().take_while(|word| self.lexicon.before_name.contains(&word.text)).count()
    }
}

impl Form {
    fn new(index: usize, name: &str, factor: f64, lexicon: &Lexicon) -> Option<Self> {
        let words = word::words(&text::normalise(name), lexicon);
        let joined = Joined::new(&words);
        (!words.is_empty()).then_some(Self { index, words, joined, factor, is_sure: true })
    }

    /// The name itself, other words for the same relative, and the parts that one is called by.
    fn all_of_friend(index: usize, name: &str, lexicon: &Lexicon) -> Vec<Self> {
        let Some(whole) = Self::new(index, name, 1.0, lexicon) else {
            return Vec::new();
        };
        let letters = whole.joined.letters.clone();
        let mut forms: Vec<Self> = other_kin(&letters)
            .filter_map(|(other, is_translated)| {
                Self::new(index, other, if is_translated { KIN_NAME_TRANSLATED } else { KIN_NAME }, lexicon)
            })
            .collect();
        match whole.words.as_slice() {
            // The given name without the family name.
            [_, second, third] if whole.words.iter().all(|word| word.is_chinese) => {
                forms.extend(Self::new(index, &format!("{}{}", second.text, third.text), PART_OF_NAME, lexicon));
            }
            [_, _, ..] => {
                // Of "Anna Miller" Anna is sure. Ben of "Mama of Ben", Tim of "Uncle Tim" and Miller may be others.
                let is_own = whole.words.iter().all(|word| !word.is_small && !is_kin(&word.text));
                let parts = whole.words.iter().enumerate().filter(|(_, word)| !word.is_chinese && word.text.len() >= 3);
                forms.extend(parts.filter_map(|(at, word)| {
                    let part = Self::new(index, &word.text, PART_OF_NAME, lexicon)?;
                    Some(Self { is_sure: is_own && at == 0, ..part })
                }));
            }
            _ => {}
        }
        forms.push(whole);
        forms
    }

    /// Whether it has only words that a sentence may have, too, such as Will, You or Music.
    fn is_ordinary(&self) -> bool {
        self.words.iter().all(|word| word.is_small || word.is_ordinary && !is_kin(&word.text))
    }

    /// Whether it begins with a word for a relative.
    fn is_relative(&self) -> bool {
        self.words.first().is_some_and(|word| is_kin(&word.text))
    }

    fn likeness(&self, spoken: &Joined) -> f64 {
        // "Grandpa" is no misheard "grandma": a word for a relative means that one.
        if spoken.letters != self.joined.letters && is_kin(&spoken.letters) {
            return 0.0;
        }
        score::likeness(spoken, &self.joined) * self.factor
    }

    /// How much the title is meant by a part of it: "goldilocks". All that was said must be in it.
    fn part_likeness(&self, spoken: &[Word], lexicon: &Lexicon) -> f64 {
        let is_named = |word: &&Word| word.is_heavy() && !lexicon.beside_title.contains(&word.text);
        let said: Vec<&Word> = spoken.iter().filter(is_named).collect();
        let letters = |word: &Word| if word.is_chinese { 3 } else { word.text.len() };
        let found = said
            .iter()
            .all(|said| self.words.iter().any(|word| score::word_likeness(said, word, Spelling::Strict) >= 0.85));
        let size: usize = said.iter().map(|word| letters(word)).sum();
        if !found || size < 4 {
            return 0.0;
        }
        let whole: usize = self.words.iter().map(letters).sum();
        PART_OF_TITLE + PART_OF_TITLE_SPAN * (size as f64 / whole as f64).min(1.0)
    }
}

/// Words of one language for the same relative.
struct KinWords {
    language: usize,
    kin: &'static [Kin],
    words: Vec<String>,
}

/// Those of all languages: a child may use a word of its other language for grandma.
fn kin_words() -> &'static [KinWords] {
    static KIN: LazyLock<Vec<KinWords>> = LazyLock::new(|| {
        let of_language = |(place, language): (usize, &&'static Language)| {
            language.names.kin.iter().map(move |(kin, words)| KinWords {
                language: place,
                kin,
                words: words.iter().map(|word| text::normalise(word)).collect(),
            })
        };
        languages::all().iter().enumerate().flat_map(of_language).collect()
    });
    &KIN
}

fn is_kin(letters: &str) -> bool {
    kin_words().iter().any(|group| group.words.iter().any(|word| word == letters))
}

/// All words for the relative that this one is for, and whether they are of another language.
fn other_kin(letters: &str) -> impl Iterator<Item = (&'static str, bool)> {
    let own = kin_words().iter().filter(move |group| group.words.iter().any(|word| word == letters));
    own.flat_map(|own| {
        let same = kin_words().iter().filter(|group| group.kin.iter().any(|kin| own.kin.contains(kin)));
        same.flat_map(|group| group.words.iter().map(|word| (word.as_str(), group.language != own.language)))
    })
}

/// How well a name fits.
#[derive(Debug, Clone, Copy)]
struct Score {
    index: usize,
    likeness: f64,
    /// Whether a way of saying it was said as it is, or nearly so.
    is_certain: bool,
    unexplained: usize,
    said: usize,
}

impl Score {
    /// The order of names: one that explains more of the spoken words wins.
    fn rank(&self) -> f64 {
        self.likeness * (1.0 - UNEXPLAINED * self.unexplained as f64 / self.said.max(1) as f64)
    }
}

/// The best, or the best two if they are too near to each other.
fn decide(scores: impl Iterator<Item = Score>) -> Found {
    let mut best: Option<Score> = None;
    let mut second: Option<Score> = None;
    for score in scores.filter(|score| score.likeness >= LIKENESS_MIN) {
        match best {
            Some(known) if known.index == score.index => {
                if score.rank() > known.rank() {
                    best = Some(score);
                }
            }
            Some(known) if known.rank() >= score.rank() => {
                if second.is_none_or(|second| score.rank() > second.rank()) {
                    second = Some(score);
                }
            }
            _ => {
                second = best;
                best = Some(score);
            }
        }
    }
    match (best, second) {
        (Some(best), Some(second)) if best.rank() - second.rank() < MARGIN_MIN => Found::Two(best.index, second.index),
        (Some(best), _) if best.is_certain => Found::One(best.index),
        (Some(best), _) => Found::Unsure(best.index),
        (None, _) => Found::None,
    }
}
