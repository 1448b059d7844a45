//! Sentences that name no friend start no message, whoever is in the address book.

use super::*;

fn sentences() -> Vec<String> {
    let lists = lines(include_str!("strangers.txt")).map(|line| line.split_once(" | ").unwrap());
    let made = lists.flat_map(|(starts, ends)| {
        starts.split("; ").flat_map(move |start| ends.split("; ").map(move |end| format!("{start} {end}")))
    });
    made.collect()
}

fn names() -> Vec<&'static str> {
    lines(include_str!("names.txt")).flat_map(str::split_whitespace).collect()
}

fn book(names: &[&str]) -> Names {
    Names::of_friends(&ENGLISH, names.iter().map(|remark| FriendNames { remark, nickname: "", toy_name: "" }))
}

#[test]
fn a_sentence_without_a_friend_starts_no_message_whoever_the_friend_is() {
    let (sentences, names) = (sentences(), names());
    assert!(sentences.len() >= 1000 && names.len() >= 200, "{} and {}", sentences.len(), names.len());
    let titles = Names::of_titles(&ENGLISH, TITLES);
    let understand = |said: &str, friends: &Names| {
        understand(said, Known { titles: &titles, friends, toy_name: "Teddy", clarity: Clarity::Clear, likely: &[] })
    };
    let (all, alone): (Names, Vec<Names>) = (book(&names), names.iter().map(|name| book(&[name])).collect());
    let (mut messages, mut asked) = (Vec::new(), Vec::new());
    for said in &sentences {
        // A name that is found alone is found among all, too, perhaps with another one like it.
        if !matches!(understand(said, &all), Intent::Message(_) | Intent::AskFriend(..) | Intent::ConfirmFriend(_)) {
            continue;
        }
        for (name, friends) in names.iter().zip(&alone) {
            match understand(said, friends) {
                Intent::Message(_) => messages.push((said, name)),
                Intent::ConfirmFriend(_) => asked.push((said, name)),
                _ => {}
            }
        }
    }
    eprintln!("asked about {} of {}: {asked:?}", asked.len(), sentences.len() * names.len());
    assert!(messages.is_empty(), "{messages:?}");
    assert!(asked.len() * 1000 < sentences.len() * names.len(), "{asked:?}");
}

#[test]
fn a_comparison_starts_no_message_however_near_the_sentence_of_a_friend_is() {
    let (sentences, names) = (sentences(), names());
    let titles = Names::of_titles(&ENGLISH, TITLES);
    let mut asked = 0;
    for name in &names {
        let friends = book(&[name]);
        let words_alone =
            Known { titles: &titles, friends: &friends, toy_name: "Teddy", clarity: Clarity::Clear, likely: &[] };
        let likely = ["send a message to", "i want to talk to", "call", "a message for", "tell"]
            .map(|phrase| [Likely { text: format!("{phrase} {}", name.to_lowercase()), regret: 0.0 }]);
        // All sentences with all names would take minutes: each name gets a part of them, every phrase in turn.
        let offset = name.bytes().map(usize::from).sum::<usize>();
        for (at, said) in sentences.iter().enumerate().skip(offset % 100).step_by(100) {
            let intent = understand(said, Known { likely: &likely[at / 100 % likely.len()], ..words_alone });
            assert!(!matches!(intent, Intent::Message(_)), "{said:?} for {name:?}");
            asked += usize::from(matches!(intent, Intent::ConfirmFriend(_)));
        }
    }
    assert!(asked > names.len(), "the sentences were compared: {asked}");
}
