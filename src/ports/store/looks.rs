//! The looks of user names, so that no user can imitate the name of another one.
//!
//! A look is the skeleton of a name by Unicode's standard on security (UTS #39): letters of other alphabets are
//! replaced by the letters that they look like, and invisible characters are removed. A name has up to three looks: as it
//! is written, in small letters and in capitals, as some letters look like others in one case only. Accounts from before
//! version 11 with the same look are unchanged.

use surrealdb::types::vars;
use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

use super::{Store, StoreError, stored};

/// The looks of a name.
pub(super) fn looks_of(name: &str) -> Vec<String> {
    let look = |name: &str| {
        let shape: String = skeleton(name).collect();
        shape.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let plain: String = name.nfkc().collect();
    let mut looks = vec![look(&plain), look(&plain.to_lowercase()), look(&plain.to_uppercase())];
    looks.retain(|look| !look.is_empty());
    looks.sort();
    looks.dedup();
    looks
}

impl Store {
    /// Stores the looks of all existing names. It may be repeated.
    pub(super) async fn note_looks(&self) -> Result<(), StoreError> {
        // It sorts before every id.
        let mut last = "0".to_owned();
        loop {
            let page = self.users_after(&last).await?;
            let Some(end) = page.last().cloned() else { return Ok(()) };
            for id in page {
                let Some(found) = self.user(&stored(&id)?).await? else { continue };
                self.run(
                    "FOR $look IN $looks {
                        IF !record::exists(type::record('name_look', $look))
                            { CREATE type::record('name_look', $look) SET user = $user };
                    }",
                    vars! { looks: looks_of(&found.user.username), user: id },
                )
                .await?;
            }
            last = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_share_a_look() {
        for (one, other, expected) in [
            ("mia", "Mia", true),
            ("mia", "mıa", true),
            ("mia", "mіa", true),
            ("anna", "аnna", true),
            ("anna", "an\u{200b}na", true),
            ("anna b", "anna\u{a0} b", true),
            ("ａｎｎａ", "anna", true),
            ("Iris", "lris", true),
            ("kate1", "КАТЕ1", true),
            ("mia", "ΜΙΑ", true),
            ("bobo", "B0B0", true),
            ("tomlow", "ТОМLОW", true),
            ("omi", "0mi", true),
            ("paul", "pau1", true),
            ("jörg", "jo\u{308}rg", true),
            ("jörg", "jorg", false),
            ("mia", "mio", false),
            ("小明", "小月", false),
            ("mia", "mia2", false),
        ] {
            let (one_looks, other_looks) = (looks_of(one), looks_of(other));
            let are_alike = one_looks.iter().any(|look| other_looks.contains(look));
            assert_eq!(are_alike, expected, "{one} {other}: {one_looks:?} {other_looks:?}");
        }
        assert_eq!(looks_of("\u{200b}"), [""; 0]);
    }
}
