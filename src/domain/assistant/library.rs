//! Selection from the content library by title, by number, or by mood.

use crate::model::{Content, ContentId, FileName};
use crate::ports::speech::intent::Names;
use crate::ports::speech::languages::{self, Language, Moods};

/// A request without a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Any music.
    Any,
    /// Any music except the last piece.
    Another,
    /// Quiet music, or any music if there is none.
    Quiet,
    /// A story.
    Story,
    /// A riddle.
    Riddle,
}

/// The contents, in their order, and their titles prepared for the search.
pub(super) struct Library {
    contents: Vec<Content>,
    /// In the order of [`languages::all`].
    names: Vec<Names>,
}

impl Library {
    pub(super) fn new(contents: Vec<Content>) -> Self {
        let titles = || contents.iter().map(|content| content.title.as_str());
        let names = languages::all().iter().map(|language| Names::of_titles(language, titles())).collect();
        Self { contents, names }
    }

    pub(super) fn contents(&self) -> &[Content] {
        &self.contents
    }

    pub(super) fn content(&self, id: &ContentId) -> Option<&Content> {
        self.contents.iter().find(|content| content.id == *id)
    }

    /// The piece whose sound this is.
    pub(super) fn piece(&self, music: &FileName) -> Option<&Content> {
        self.contents.iter().find(|content| content.music == *music)
    }

    /// The titles as they are spoken in a language.
    pub(super) fn names(&self, language: &Language) -> &Names {
        &self.names[language.place()]
    }

    /// A random matching piece; the last played piece only if it is the only match.
    pub(super) fn pick(&self, mood: Mood, last: Option<&FileName>) -> Option<&Content> {
        let all = || self.contents.iter();
        let with = |words: MoodWords| all().filter(move |content| has_word(&content.title, words)).collect();
        let is_told = |content: &Content| {
            has_word(&content.title, |moods| moods.story) || has_word(&content.title, |moods| moods.riddle)
        };
        let music = || {
            let music: Vec<&Content> = all().filter(|content| !is_told(content)).collect();
            if music.is_empty() { all().collect() } else { music }
        };
        let mut fitting: Vec<&Content> = match mood {
            Mood::Any | Mood::Another => music(),
            Mood::Quiet => with(|moods| moods.quiet),
            Mood::Story => with(|moods| moods.story),
            Mood::Riddle => with(|moods| moods.riddle),
        };
        if mood == Mood::Quiet && fitting.is_empty() {
            fitting = music();
        }
        if fitting.len() > 1 {
            fitting.retain(|content| Some(&content.music) != last);
        }
        let index = (!fitting.is_empty()).then(|| rand::random_range(0..fitting.len()))?;
        fitting.get(index).copied()
    }
}

/// Words of a mood in one language.
type MoodWords = fn(&Moods) -> &'static [&'static str];

/// Whether a title, in any language, contains such a word.
fn has_word(title: &str, words: MoodWords) -> bool {
    languages::all().iter().any(|language| language.has_word(title, words(&language.moods)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::ContentId;

    fn library(titles: &[&str]) -> Library {
        let content = |title: &&str| Content {
            id: ContentId::random(),
            title: (*title).into(),
            music: FileName::random("mp3"),
            cover: FileName::random("jpg"),
        };
        Library::new(titles.iter().map(content).collect())
    }

    fn picked<'a>(library: &'a Library, mood: Mood, last: Option<&FileName>) -> HashSet<&'a str> {
        (0..200).filter_map(|_| library.pick(mood, last)).map(|content| content.title.as_str()).collect()
    }

    #[test]
    fn a_mood_picks_a_matching_title() {
        let library =
            library(&["The Bus", "Good Night Moon", "摇篮曲", "The Story of the Pig", "A Riddle", "Starting Up"]);
        assert_eq!(picked(&library, Mood::Quiet, None), HashSet::from(["Good Night Moon", "摇篮曲"]));
        assert_eq!(picked(&library, Mood::Story, None), HashSet::from(["The Story of the Pig"]));
        assert_eq!(picked(&library, Mood::Riddle, None), HashSet::from(["A Riddle"]));
        let music = HashSet::from(["The Bus", "Good Night Moon", "摇篮曲", "Starting Up"]);
        assert_eq!(picked(&library, Mood::Any, None), music);
    }

    #[test]
    fn the_last_one_is_not_played_again_unless_it_is_the_only_one() {
        let two = library(&["The Bus", "The Train"]);
        let bus = &two.contents()[0].music;
        for mood in [Mood::Any, Mood::Another, Mood::Quiet] {
            assert_eq!(picked(&two, mood, Some(bus)), HashSet::from(["The Train"]));
        }
        let one = library(&["The Bus"]);
        assert_eq!(picked(&one, Mood::Another, Some(&one.contents()[0].music)), HashSet::from(["The Bus"]));
        assert_eq!(library(&[]).pick(Mood::Any, None), None);
        assert_eq!(one.pick(Mood::Story, None), None);
    }
}
