//! The sentences that a child may say to a toy, to be compared with a recording whose words are not clear.
//!
//! A [`Grammar`] has the phrases of one language with the titles and friends' names of one toy. It is walked letter by letter,
//! as the parts of words that a model knows are cut anywhere.

use std::sync::LazyLock;

use super::languages::{self, Language, Meaning, Script};

/// The places of phrases, as letters that no text has.
const TITLE: u8 = 1;
const FRIEND: u8 = 2;
const NUMBER: u8 = 3;

/// The numbers of pieces that are compared.
const NUMBERS: u32 = 20;

/// How clearly the words of a recording were heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clarity {
    /// Each word was heard clearly.
    Clear,
    /// One was not. So a message that is begun by few words, as by "call …", is asked about: "call a taxi" sounds like
    /// "call Alex".
    Unclear,
    /// There was a pause, or more speech than the words take: words may be missing. So any message is asked about: "send a
    /// message to Anna … no, don't".
    Incomplete,
}

/// A sentence that a recording is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// The sentence, in lower case and without signs.
    pub text: String,
    /// How much less probable it is than what the model would write: 0 if it is what the model would write, and 3 if it is
    /// e³ = 20 times less probable.
    pub regret: f32,
}

/// Sentences of one language for one toy.
#[derive(Debug)]
pub struct Grammar {
    phrases: &'static Phrases,
    titles: Trie,
    friends: Trie,
}

/// The phrases of a language.
#[derive(Debug)]
struct Phrases {
    before: Trie,
    phrases: Trie,
    after: Trie,
    numbers: Trie,
}

/// Texts with common beginnings. Each word begins with a blank.
#[derive(Debug)]
struct Trie(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    next: Vec<(u8, u32)>,
    is_end: bool,
}

/// How far a sentence is: all ways in which it may have got there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Vec<Way>);

/// One way: the part in which it is, its node, and for a name the node of the phrase behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    part: Part,
    node: u32,
    then: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Phrase,
    Name(u8),
    After,
}

impl Place {
    /// Whether no sentence goes on like this.
    pub fn is_nowhere(&self) -> bool {
        self.0.is_empty()
    }
}

impl Grammar {
    /// The sentences with these names; none in a language without blanks between its words.
    pub(super) fn new<'a>(
        language: &Language,
        titles: impl IntoIterator<Item = &'a str>,
        friends: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let (titles, friends) = (Trie::of(titles), Trie::of(friends));
        (language.script == Script::Latin).then(|| Self { phrases: Phrases::of(language), titles, friends })
    }

    /// The beginning of a sentence.
    pub fn start(&self) -> Place {
        let mut place = Place::default();
        self.enter(&mut place, Way { part: Part::Before, node: 0, then: 0 });
        self.enter(&mut place, Way { part: Part::Phrase, node: 0, then: 0 });
        place
    }

    /// The place behind more letters.
    pub fn walk(&self, from: &Place, letters: &[u8]) -> Place {
        let mut place = from.clone();
        for letter in letters {
            let mut next = Place::default();
            for way in &place.0 {
                if let Some(node) = self.trie(way.part).next(way.node, *letter) {
                    self.enter(&mut next, Way { node, ..*way });
                }
            }
            if next.is_nowhere() {
                return next;
            }
            place = next;
        }
        place
    }

    /// Whether a sentence may end here.
    pub fn may_end(&self, place: &Place) -> bool {
        place.0.iter().any(|way| match way.part {
            Part::Phrase | Part::After => self.trie(way.part).is_end(way.node),
            Part::Before | Part::Name(_) => false,
        })
    }

    fn trie(&self, part: Part) -> &Trie {
        match part {
            Part::Before => &self.phrases.before,
            Part::Phrase => &self.phrases.phrases,
            Part::Name(TITLE) => &self.titles,
            Part::Name(FRIEND) => &self.friends,
            Part::Name(_) => &self.phrases.numbers,
            Part::After => &self.phrases.after,
        }
    }

    /// Adds a way, and those that begin where it is.
    fn enter(&self, place: &mut Place, way: Way) {
        if place.0.contains(&way) {
            return;
        }
        place.0.push(way);
        let is_end = self.trie(way.part).is_end(way.node);
        match way.part {
            Part::Before if is_end => self.enter(place, Way { part: Part::Phrase, node: 0, then: 0 }),
            Part::Name(_) if is_end => self.enter(place, Way { part: Part::Phrase, node: way.then, then: 0 }),
            Part::Phrase => {
                for slot in [TITLE, FRIEND, NUMBER] {
                    if let Some(then) = self.phrases.phrases.next(way.node, slot) {
                        self.enter(place, Way { part: Part::Name(slot), node: 0, then });
                    }
                }
                if is_end {
                    self.enter(place, Way { part: Part::After, node: 0, then: 0 });
                }
            }
            Part::Before | Part::Name(_) | Part::After => {}
        }
    }
}

impl Phrases {
    fn of(language: &Language) -> &'static Self {
        static ALL: LazyLock<Vec<Phrases>> =
            LazyLock::new(|| languages::all().iter().map(|language| Phrases::new(language)).collect());
        &ALL[language.place()]
    }

    fn new(language: &Language) -> Self {
        let mut phrases = Trie(vec![Node::default()]);
        for (meaning, texts) in language.phrases {
            let slot = match meaning {
                Meaning::Title(_) => TITLE,
                Meaning::Friend(_) => FRIEND,
                Meaning::Number | Meaning::Is(_) => NUMBER,
            };
            for text in *texts {
                let mut letters = Vec::new();
                for word in text.split_whitespace() {
                    match word {
                        "…" | "#" => letters.push(slot),
                        word => letters.extend(plain(word)),
                    }
                }
                phrases.add(&letters);
            }
        }
        let words = &language.small_words;
        let numbers = (1..=NUMBERS).flat_map(|number| [number.to_string(), (language.numbers.spell)(number).join(" ")]);
        let numbers: Vec<String> = numbers.collect();
        Self {
            before: Trie::of(words.courtesy_before.iter().copied()),
            phrases,
            after: Trie::of(words.courtesy_after.iter().copied()),
            numbers: Trie::of(numbers.iter().map(String::as_str)),
        }
    }
}

impl Trie {
    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut trie = Self(vec![Node::default()]);
        for text in texts {
            let letters = plain(text);
            if !letters.is_empty() {
                trie.add(&letters);
            }
        }
        trie
    }

    fn add(&mut self, letters: &[u8]) {
        let mut at = 0;
        for letter in letters {
            at = match self.next(at, *letter) {
                Some(next) => next,
                None => {
                    let next = self.0.len() as u32;
                    self.0.push(Node::default());
                    self.0[at as usize].next.push((*letter, next));
                    next
                }
            };
        }
        self.0[at as usize].is_end = true;
    }

    fn next(&self, node: u32, letter: u8) -> Option<u32> {
        self.0[node as usize].next.iter().find(|(known, _)| *known == letter).map(|(_, next)| *next)
    }

    fn is_end(&self, node: u32) -> bool {
        self.0[node as usize].is_end
    }
}

/// The words of a text, each behind a blank, in lower case and without signs.
fn plain(text: &str) -> Vec<u8> {
    let mut letters = Vec::new();
    for word in text.split([' ', '-', '…']) {
        let word: String =
            word.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if !word.is_empty() {
            letters.push(b' ');
            letters.extend(word.into_bytes());
        }
    }
    letters
}

/// A part of a text as a model writes it, in the form of the sentences: none if it has signs that no sentence has, empty if it
/// is nothing but a full stop or the like.
pub fn plain_part(part: &[u8]) -> Option<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(part) else { return Some(part.to_ascii_lowercase()) };
    let mut letters = String::new();
    for letter in text.chars() {
        match letter {
            ' ' | '-' => letters.push(' '),
            '.' | '!' | '?' | '\'' | '’' | '…' => {}
            letter if letter.is_alphanumeric() => letters.extend(letter.to_lowercase()),
            _ => return None,
        }
    }
    Some(letters.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::speech::languages::{CHINESE, ENGLISH, GERMAN};

    fn grammar(language: &Language) -> Grammar {
        Grammar::new(language, ["Ode to Joy", "Hänschen klein", "小星星"], ["Anna", "Uncle Joe", ""]).unwrap()
    }

    /// Whether the parts of words are a sentence.
    fn is_sentence(grammar: &Grammar, parts: &[&str]) -> bool {
        let mut place = grammar.start();
        for part in parts {
            let Some(letters) = plain_part(part.as_bytes()) else { return false };
            place = grammar.walk(&place, &letters);
        }
        grammar.may_end(&place)
    }

    #[test]
    fn sentences_are_the_phrases_with_names_wherever_their_words_are_cut() {
        let english = grammar(&ENGLISH);
        for parts in [
            &[" play ode to joy"][..],
            &[" Pl", "ay", " O", "de", " to", " Joy", "!"],
            &[" send", " a message to", " An", "na", "."],
            &[" Send", " Uncle", " Joe", " a", " message"],
            &[" please", " play", "-Ode", " to-Joy", " for me"],
            &[" can you play number", " 3"],
            &[" what", " time is it", "?"],
        ] {
            assert!(is_sentence(&english, parts), "{parts:?}");
        }
        for parts in [
            &[][..],
            &[" play"],
            &[" play ode to"],
            &[" play ode to joyful"],
            &[" play anna"],
            &[" send a message to ode to joy"],
            &[" send a message to"],
            &[" spiel", " ode to joy"],
            &[" ♪ play ode to joy"],
        ] {
            assert!(!is_sentence(&english, parts), "{parts:?}");
        }
        let nowhere = english.walk(&english.start(), b" xylophone");
        assert!(nowhere.is_nowhere() && english.walk(&nowhere, b" play").is_nowhere());
    }

    #[test]
    fn umlauts_are_found_as_they_are_spelled_and_chinese_has_no_sentences_of_words() {
        let german = grammar(&GERMAN);
        assert!(is_sentence(&german, &[" Spiel", " H", "ä", "nschen", " klein"]));
        assert!(is_sentence(&german, &[" ich möchte", " mit Anna sprechen"]));
        assert!(Grammar::new(&CHINESE, ["小星星"], ["妈妈"]).is_none());
    }

    #[test]
    fn parts_of_words_are_compared_without_signs_and_case() {
        let plain = |part: &str| plain_part(part.as_bytes()).map(|letters| String::from_utf8(letters).unwrap());
        assert_eq!(plain(" Play"), Some(" play".into()));
        assert_eq!(plain("'s"), Some("s".into()));
        assert_eq!(plain("-T"), Some(" t".into()));
        assert_eq!(plain("."), Some(String::new()));
        assert_eq!((plain(","), plain(" ("), plain("[_BEG_]")), (None, None, None));
        assert_eq!(plain_part(&[0xc3]), Some(vec![0xc3]), "a part of a letter");
    }
}
