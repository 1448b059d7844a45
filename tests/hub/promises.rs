//! The documents name a test for each of their claims: each of those tests exists.

use std::path::Path;

use crate::calls::sources;

/// The names of tests that a document cites.
fn cited(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.matches('_').count() >= 3
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    quoted.filter(is_name).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = sources(&root.join("src")) + &sources(&root.join("tests").join("hub"));
    for (document, at_least) in [("SECURITY.md", 30), ("docs/safety.md", 40)] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let names = cited(&text);
        assert!(names.len() >= at_least, "{document} names only {} tests", names.len());
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "{document} names {name}, which is no test");
        }
    }
}
