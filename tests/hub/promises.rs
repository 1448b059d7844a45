//! The documents name a test for each of their claims: each claim names one, and each of those tests exists and runs.

use std::collections::BTreeSet;
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

/// The names of the functions that the test runner runs: those with an attribute of a test, and without one that leaves
/// them out.
fn tests_of(sources: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let (mut is_test, mut is_ignored) = (false, false);
    for line in sources.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore");
            continue;
        }
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some((name, _)) = function.filter(|_| is_test && !is_ignored).and_then(|rest| rest.split_once('(')) {
            tests.insert(name);
        }
        (is_test, is_ignored) = (false, false);
    }
    tests
}

/// The claims of a document: the rows of its tables "Shown by", and the points of its lists with their paragraphs.
fn claims(text: &str) -> Vec<String> {
    let mut claims: Vec<String> = Vec::new();
    let (mut is_shown, mut is_point) = (false, false);
    for line in text.lines() {
        if line.starts_with('|') {
            let is_header = line.contains("| Shown by |");
            is_shown |= is_header;
            if is_shown && !is_header && !line.starts_with("| --- |") {
                claims.push(line.to_owned());
            }
            continue;
        }
        is_shown = false;
        if line.starts_with("- ") {
            is_point = true;
            claims.push(line.to_owned());
        } else if is_point && (line.starts_with(' ') || line.is_empty()) {
            let point = claims.last_mut().expect("a point");
            point.push('\n');
            point.push_str(line);
        } else {
            is_point = false;
        }
    }
    claims
}

#[test]
fn every_test_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(&root.join("src")) + &sources(&root.join("tests").join("hub"));
    let tests = tests_of(&sources);
    assert!(tests.len() > 500, "{}", tests.len());
    for (document, at_least) in [("SECURITY.md", 60), ("docs/safety.md", 60)] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let names = cited(&text);
        assert!(names.len() >= at_least, "{document} names only {} tests", names.len());
        for name in names {
            assert!(tests.contains(name), "{document} names {name}, which is no test that runs");
        }
    }
}

#[test]
fn every_claim_of_a_document_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // What software cannot do is left to a person, and says so.
    let is_left = |claim: &str| claim.trim_end_matches(" |").rsplit('|').next().unwrap().trim().starts_with("left ");
    for (document, at_least) in [("SECURITY.md", 30), ("docs/safety.md", 25)] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let claims = claims(&text);
        assert!(claims.len() >= at_least, "{document} has only {} claims", claims.len());
        for claim in claims {
            assert!(!cited(&claim).is_empty() || is_left(&claim), "{document} names no test for: {claim}");
        }
    }
}

#[test]
fn a_test_that_does_not_run_is_none() {
    let sources = "#[test]\nfn one() {}\nfn two() {}\n#[test]\n#[ignore = \"slow\"]\nfn three() {}\n\
                   #[tokio::test(flavor = \"multi_thread\")]\nasync fn four() {}\n#[allow(x)]\nfn five() {}";
    assert_eq!(tests_of(sources).into_iter().collect::<Vec<_>>(), ["four", "one"]);
    let text =
        "| A | Shown by |\n| --- | --- |\n| one | `a_b_c_d` |\n\ntext\n\n- point\n  more\n\n  | a |\n\n## End\nx\n";
    assert_eq!(claims(text).len(), 2);
}
