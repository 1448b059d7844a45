use std::collections::BTreeSet;

use super::*;

#[test]
fn each_name_stands_for_one_call() {
    let mut names = BTreeSet::new();
    for call in calls() {
        assert!(names.insert(call.facts.name), "{} is registered twice", call.facts.name);
        let by_word = call_of_word(call.facts.name).map(|found| found.facts.name);
        assert_eq!(by_word.is_some(), call.facts.served_at != ServedAt::Http, "{}", call.facts.name);
    }
    assert!(names.len() >= 25, "{names:?}");
    assert!(call_of_word("/reg").is_none());
}

/// The permitted caller is stated twice: in the constant, for the documents, and in the fields, for the handler.
#[test]
fn calls_for_a_party_name_it() {
    for call in calls() {
        let named = (call.fields)().iter().filter(|field| matches!(field.presence, Presence::Caller(_))).count();
        assert_eq!(
            named,
            usize::from(matches!(call.facts.permitted, Permitted::Named | Permitted::NamedByToken)),
            "{}",
            call.facts.name
        );
        let is_connected = call.facts.permitted == Permitted::Connected;
        assert_eq!(is_connected, call.facts.served_at == ServedAt::Connection, "{}", call.facts.name);
    }
}

#[test]
fn a_limit_above_the_largest_page_is_the_largest_page() {
    use super::request::{Limit, Text as _};
    for (text, expected) in [
        ("1", Some(1)),
        ("500", Some(500)),
        ("501", Some(500)),
        ("99999999999999999999999", Some(500)),
        ("0", None),
        ("-1", None),
        ("x", None),
    ] {
        assert_eq!(Limit::<500>::parse("limit", text).ok().map(|limit| limit.0), expected, "{text}");
    }
}
