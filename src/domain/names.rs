//! The characters of names: a name consists of characters that a person can see.
//!
//! Unicode's general category decides, with the property `Default_Ignorable_Code_Point`: letters, marks, numbers,
//! punctuation and symbols are visible; control, format, private and unassigned characters are not. An invisible character
//! is permitted where it changes how its neighbours are shown: within an emoji, and in scripts whose letters join. Only
//! new names are checked: a user whose name is older can still log in.

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier, ExtendedPictographic, GeneralCategory,
    JoiningType, UnifiedIdeograph,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Blanks as wide as a letter, which are visible between two words. There are narrower ones, down to a hair.
const WIDE_BLANKS: [char; 3] = [' ', '\u{a0}', '\u{3000}'];
/// Characters whose category is that of visible ones, and whose glyph is blank.
const BLANK_GLYPHS: [char; 6] = [
    '\u{2800}',  // braille pattern blank
    '\u{fffc}',  // object replacement character
    '\u{13441}', // Egyptian hieroglyph full blank
    '\u{13442}', // Egyptian hieroglyph half blank
    '\u{16fe4}', // Khitan small script filler
    '\u{1d159}', // musical symbol null notehead
];

/// The combining class of a sign that removes the vowel of a consonant and joins it to the next one.
const VIRAMA: u8 = 9;
const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';
const TEXT_STYLE: char = '\u{fe0e}';
const EMOJI_STYLE: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';
/// The flag of a region is a black flag, the region in tags, and the end of tags.
const BLACK_FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';

/// Whether a person can see each character of a name, or its effect.
pub(super) fn is_visible(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    chars.iter().enumerate().all(|(at, &c)| is_visible_char(c) || has_effect(&chars[..at], c, &chars[at + 1..]))
}

/// A text with common blanks instead of narrow and wide ones, which some keyboards insert before punctuation.
pub(super) fn with_common_blanks(text: &str) -> String {
    let is_blank = |c| CodePointMapData::<GeneralCategory>::new().get(c) == GeneralCategory::SpaceSeparator;
    text.chars().map(|c| if is_blank(c) { ' ' } else { c }).collect()
}

fn is_visible_char(c: char) -> bool {
    use GeneralCategory as Category;
    if BLANK_GLYPHS.contains(&c) || is_in::<DefaultIgnorableCodePoint>(c) {
        return false;
    }
    match CodePointMapData::<GeneralCategory>::new().get(c) {
        Category::SpaceSeparator => WIDE_BLANKS.contains(&c),
        Category::Unassigned
        | Category::Control
        | Category::Format
        | Category::PrivateUse
        | Category::Surrogate
        | Category::LineSeparator
        | Category::ParagraphSeparator => false,
        _ => true,
    }
}

/// Whether an invisible character changes how the characters beside it are shown.
fn has_effect(before: &[char], c: char, after: &[char]) -> bool {
    let Some(&last) = before.last() else { return false };
    let next = after.first().copied();
    match c {
        JOINER => {
            (is_virama(last) && next.is_some())
                || (ends_pictograph(before) && next.is_some_and(is_in::<ExtendedPictographic>))
        }
        NON_JOINER => (is_virama(last) && next.is_some()) || separates_letters(before, after),
        TEXT_STYLE | EMOJI_STYLE => is_in::<Emoji>(last) && (!last.is_ascii() || next == Some(KEYCAP)),
        // Variants of Chinese characters, in Japanese names.
        '\u{e0100}'..='\u{e01ef}' => is_in::<UnifiedIdeograph>(last),
        _ => (is_tag(c) || c == END_OF_TAGS) && is_in_flag(before, c, after),
    }
}

fn is_in<P: icu_properties::props::BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass(VIRAMA)
}

/// Whether this ends with a pictograph, which may have a colour of the skin or a style.
fn ends_pictograph(text: &[char]) -> bool {
    match text {
        [.., base, c] if *c == EMOJI_STYLE || is_in::<EmojiModifier>(*c) => is_in::<ExtendedPictographic>(*base),
        [.., c] => is_in::<ExtendedPictographic>(*c),
        [] => false,
    }
}

/// Whether the letters on both sides would join, as those of Arabic and Persian do.
fn separates_letters(before: &[char], after: &[char]) -> bool {
    let joining = |c: &char| CodePointMapData::<JoiningType>::new().get(*c);
    let is_letter = |joining: &JoiningType| *joining != JoiningType::Transparent;
    let left = before.iter().rev().map(joining).find(is_letter);
    let right = after.iter().map(joining).find(is_letter);
    matches!(left, Some(JoiningType::DualJoining | JoiningType::LeftJoining))
        && matches!(right, Some(JoiningType::DualJoining | JoiningType::RightJoining))
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}')
}

fn is_in_flag(before: &[char], c: char, after: &[char]) -> bool {
    let tags = |text: &mut dyn Iterator<Item = &char>| text.take_while(|c| is_tag(**c)).count();
    let (first, rest) = (tags(&mut before.iter().rev()), tags(&mut after.iter()));
    let (region, end) = match c {
        END_OF_TAGS => (first, Some(&c)),
        _ => (first + 1 + rest, after.get(rest)),
    };
    before[..before.len() - first].last() == Some(&BLACK_FLAG) && end == Some(&END_OF_TAGS) && (3..=6).contains(&region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_visible_characters_are_permitted_in_every_script() {
        let latin = "mia|Ira Paul|Jörg|jo\u{308}rg|O'Neill-Smith|€5|mia_1.0|Straße 5|Zoë";
        let others = "小明|小\u{3000}明|みあ|미아|Мия|Μία|مريم|नीरज|ខ្មែរ|🐻|mia🎈2|★mia★";
        for name in latin.split('|').chain(others.split('|')) {
            assert!(is_visible(name), "{name}");
        }
    }

    #[test]
    fn invisible_characters_with_an_effect_are_permitted() {
        for name in [
            "👨\u{200d}👩\u{200d}👧\u{200d}👦",
            "🏳\u{fe0f}\u{200d}🌈",
            "👩🏽\u{200d}🚀",
            "mia ❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "🇩🇪🇨🇳",
            "👍🏿",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            // Persian and Sinhala, and a variant of a Chinese character.
            "علی\u{200c}رضا",
            "ශ\u{dca}\u{200d}රී",
            "葛\u{e0100}城",
        ] {
            assert!(is_visible(name), "{name}");
        }
    }

    #[test]
    fn invisible_characters_without_an_effect_are_not() {
        for name in [
            "\u{200d}👧",
            "👧\u{200d}",
            "👧\u{200d}\u{200d}👦",
            "mi\u{200d}a",
            "mi\u{200c}a",
            "علی\u{200c}",
            "ا\u{200c}ب",
            "1\u{fe0f}",
            "❤\u{fe0f}\u{fe0f}",
            "mia\u{e0100}",
            "🏴\u{e0067}\u{e0062}",
            "🏴\u{e007f}",
            "👧\u{e0067}\u{e0062}\u{e0065}\u{e007f}",
            "🏴\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e007f}",
        ] {
            assert!(!is_visible(name), "{}", name.escape_unicode());
        }
    }

    #[test]
    fn texts_may_have_narrow_blanks() {
        assert_eq!(with_common_blanks("Salut\u{202f}! \u{3000}小"), "Salut !  小");
        assert!(!is_visible("Salut\u{202f}!"));
    }

    #[test]
    fn characters_without_a_glyph_are_not() {
        let controls = "\0\t\n\u{7f}\u{85}\u{2028}\u{2029}\u{fff9}\u{1d173}\u{e0041}";
        let formats = "\u{ad}\u{600}\u{61c}\u{180e}\u{200b}\u{200d}\u{202e}\u{2060}\u{feff}";
        let ignorable = "\u{34f}\u{115f}\u{17b4}\u{3164}\u{fe0f}\u{ffa0}\u{e0100}";
        let spaces = "\u{1680}\u{2009}\u{200a}\u{202f}\u{205f}";
        let unassigned_and_private = "\u{378}\u{e000}\u{ffff}\u{f0000}\u{10ffff}";
        let blank = "\u{2800}\u{fffc}\u{13441}\u{13442}\u{16fe4}\u{1d159}";
        for c in [controls, formats, ignorable, spaces, unassigned_and_private, blank].concat().chars() {
            assert!(!is_visible(&format!("mia{c}")), "{}", c.escape_unicode());
        }
    }
}
