//! The characters of user names: a name consists of characters that a person can see.
//!
//! Unicode's general category decides, with the property `Default_Ignorable_Code_Point`: letters, marks, numbers,
//! punctuation and symbols are visible; control, format, private and unassigned characters are not. Only new names are
//! checked: a user whose name is older can still log in.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
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

/// Whether a person can see each character of a name.
pub(super) fn is_visible(name: &str) -> bool {
    name.chars().all(is_visible_char)
}

fn is_visible_char(c: char) -> bool {
    use GeneralCategory as Category;
    if BLANK_GLYPHS.contains(&c) || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_visible_characters_are_permitted_in_every_script() {
        let latin = "mia|Ira Paul|Jörg|jo\u{308}rg|O'Neill-Smith|€5|mia_1.0";
        let others = "小明|小\u{3000}明|みあ|미아|Мия|Μία|مريم|नीरज|ខ្មែរ|🐻|mia🎈2|★mia★";
        for name in latin.split('|').chain(others.split('|')) {
            assert!(is_visible(name), "{name}");
        }
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
