//! German, as children and parents speak it.

use super::*;
use crate::ports::speech::languages::GERMAN;

const TITLES: [&str; 17] = [
    "Alle meine Entchen",
    "Hänschen klein",
    "Fuchs, du hast die Gans gestohlen",
    "Backe, backe Kuchen",
    "Der Mond ist aufgegangen",
    "Schlaf, Kindlein, schlaf",
    "Bruder Jakob",
    "Die Räder vom Bus",
    "Der Kuckuck und der Esel",
    "Weißt du, wie viel Sternlein stehen",
    "Die drei kleinen Schweinchen",
    "Rotkäppchen",
    "Hänsel und Gretel",
    "Der Froschkönig",
    "Der Wolf und die sieben Geißlein",
    "Ein Männlein steht im Walde",
    "Zehn kleine Zappelmänner",
];

/// Remark, nickname, toy name. Lena and Leni sound alike.
const FRIENDS: [(&str, &str, &str); 10] = [
    ("Oma", "Ingrid", ""),
    ("Opa", "Karl-Heinz", ""),
    ("Mama", "Julia", ""),
    ("Papa", "Stefan", ""),
    ("Tante Lisa", "Elisabeth", ""),
    ("Onkel Jörg", "Jörg", ""),
    ("Lukas", "Lukas Müller", "Brummi"),
    ("Lena", "Lena Schäfer", "Hoppel"),
    ("Leni", "Leonie Vogt", "Muckel"),
    ("Björn", "Björn Krause", ""),
];

fn understood(sentence: &str) -> Intent {
    let titles = Names::of_titles(&GERMAN, TITLES);
    let friends = FRIENDS.map(|(remark, nickname, toy_name)| FriendNames { remark, nickname, toy_name });
    let friends = Names::of_friends(&GERMAN, friends);
    understand(
        sentence,
        Known { titles: &titles, friends: &friends, toy_name: "Teddy", clarity: Clarity::Clear, likely: &[] },
    )
}

fn label(intent: Intent) -> String {
    match intent {
        Intent::Play(title) => format!("play {}", TITLES[title]),
        Intent::Message(friend) => format!("message {}", FRIENDS[friend].0),
        Intent::AskTitle(a, b) => format!("ask-title {} / {}", TITLES[a], TITLES[b]),
        Intent::ConfirmFriend(friend) => format!("confirm {}", FRIENDS[friend].0),
        Intent::AskFriend(a, b) => format!("ask-friend {} / {}", FRIENDS[a].0, FRIENDS[b].0),
        other => super::label(other),
    }
}

#[test]
fn all_of_eighty_sentences_are_understood() {
    let table: Vec<_> = lines(include_str!("german.tsv")).map(|line| line.split_once('\t').unwrap()).collect();
    let is_asked = |understood: &str, meant: &str| {
        meant.strip_prefix("message ").is_some_and(|friend| understood.strip_prefix("confirm ") == Some(friend))
    };
    let wrong: Vec<String> = table
        .iter()
        .map(|(sentence, meant)| (sentence, label(understood(sentence)), meant))
        .filter(|(_, understood, meant)| understood != *meant && !is_asked(understood, meant))
        .map(|(sentence, understood, meant)| format!("{sentence} is {understood}, not {meant}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert_eq!(table.len(), 80);
}

/// Talk without a receiver, or that only mentions a person.
#[test]
fn everyday_talk_starts_no_message() {
    for sentence in [
        "Oma kommt morgen.",
        "Ich war gestern bei Oma.",
        "Opa ruft an!",
        "Mama schickt Papa eine Nachricht.",
        "Papa soll Mama anrufen.",
        "Wo ist Lukas?",
        "Lukas hat mir mein Auto weggenommen.",
        "Ruf Oma nicht an!",
        "Sag das nicht Mama!",
        "Wann darf ich mit Lena spielen?",
        "Ich will mit Lena spielen.",
        "Ich spreche mit Opa.",
        "Tante Lisa hat Geburtstag.",
        "Hallo Mama, ruf Papa an.",
        "Der Lukas sagt, du bist doof.",
        "Hast du Oma angerufen?",
        "Warum hat Björn nicht geschrieben?",
        "Ich möchte Englisch sprechen.",
        "Nein, nicht Oma.",
        "Wir fahren zu Onkel Jörg.",
    ] {
        let intent = understood(sentence);
        assert!(!matches!(intent, Intent::Message(_) | Intent::AskFriend(..)), "{sentence}: {}", label(intent));
    }
}

#[test]
fn similar_names_are_asked_about_and_chosen() {
    let friends =
        Names::of_friends(&GERMAN, ["Lena", "Leni"].map(|remark| FriendNames { remark, nickname: "", toy_name: "" }));
    let titles = Names::of_titles(&GERMAN, []);
    let known = Known { titles: &titles, friends: &friends, toy_name: "", clarity: Clarity::Clear, likely: &[] };
    assert!(matches!(understand("Schick Leno eine Nachricht.", known), Intent::AskFriend(..)));
    let same_sound = ["Sara", "Sarah"].map(|remark| FriendNames { remark, nickname: "", toy_name: "" });
    let same_sound = Names::of_friends(&GERMAN, same_sound);
    let known_by_sound = Known { friends: &same_sound, ..known };
    assert!(matches!(understand("Schick Sarah eine Nachricht.", known_by_sound), Intent::AskFriend(..)));
    for (answer, chosen) in [
        ("Die Lena.", Some(0)),
        ("Leni, bitte", Some(1)),
        ("die erste", Some(0)),
        ("Das Zweite.", Some(1)),
        ("die andere", Some(1)),
        ("Papa", None),
        ("ja", None),
    ] {
        assert_eq!(choose(answer, &friends, 0, 1), chosen, "{answer}");
    }
}

#[test]
fn a_relative_has_many_names_in_both_languages() {
    let friends = Names::of_friends(&GERMAN, [FriendNames { remark: "Oma", nickname: "", toy_name: "" }]);
    let titles = Names::of_titles(&GERMAN, []);
    let known = Known { titles: &titles, friends: &friends, toy_name: "", clarity: Clarity::Clear, likely: &[] };
    for (said, meant) in [
        ("Schick Omi eine Nachricht.", Intent::Message(0)),
        ("Schick meiner Großmutter eine Nachricht.", Intent::Message(0)),
        ("Schick Opa eine Nachricht.", Intent::NoSuchFriend),
        ("给奶奶发消息", Intent::Message(0)),
    ] {
        assert_eq!(understand(said, known), meant, "{said}");
    }
    let friends = Names::of_friends(&ENGLISH, [FriendNames { remark: "Oma", nickname: "", toy_name: "" }]);
    let titles = Names::of_titles(&ENGLISH, []);
    let known = Known { titles: &titles, friends: &friends, toy_name: "", clarity: Clarity::Clear, likely: &[] };
    assert_eq!(understand("send a message to grandma", known), Intent::Message(0));
}

mod numbers_said {
    use super::*;

    fn number(text: &str) -> Option<u32> {
        let lexicon = Lexicon::of(&GERMAN);
        let words = word::words(&text::normalise(text), lexicon);
        numbers::whole_number(words.iter().map(|word| word.text.as_str()), lexicon)
    }

    #[test]
    fn every_number_to_ten_thousand_is_read_as_it_is_spelled() {
        for value in (0..=10_000).chain([12_345, 99_999, 100_000, 123_456, 999_999]) {
            let spelled = numbers::spelled(value, Script::Latin, Lexicon::of(&GERMAN)).join(" ");
            assert_eq!(number(&spelled), Some(value), "{spelled}");
        }
        assert_eq!(number("1234"), Some(1234));
    }

    #[test]
    fn numbers_have_many_forms() {
        for (text, value) in [
            ("einundzwanzig", Some(21)),
            ("ein und zwanzig", Some(21)),
            ("siebenundsiebzig", Some(77)),
            ("dreißig", Some(30)),
            ("dreissig", Some(30)),
            ("zwo", Some(2)),
            ("hundert", Some(100)),
            ("einhundert", Some(100)),
            ("hundertundeins", Some(101)),
            ("zweihundertfünf", Some(205)),
            ("zweitausendsechsundzwanzig", Some(2026)),
            ("erste", Some(1)),
            ("dritten", Some(3)),
            ("siebtes", Some(7)),
            ("achte", Some(8)),
            ("elfte", Some(11)),
            ("einundzwanzigste", Some(21)),
            ("hundertste", Some(100)),
            ("3te", Some(3)),
            ("vir", Some(4)),
            ("fünf zwanzig", None),
            ("drei vier", None),
            ("hundert hundert", None),
            ("nullundzwanzig", None),
            ("Bär", None),
            ("letzte", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_or_nothing() {
        for (text, value) in [
            ("2+3", Some(5)),
            ("Was ist zwei plus drei mal vier?", Some(14)),
            ("Zwanzig minus fünf minus fünf", Some(10)),
            ("Was ist drei minus fünf?", Some(-2)),
            ("Wie viel ist 81 geteilt durch 9?", Some(9)),
            ("Was macht tausend weniger eins", Some(999)),
            ("Was ist dreiunddreißig und siebenundsechzig?", Some(100)),
            ("fünf durch zwei", None),
            ("fünf durch null", None),
            ("fünf", None),
            ("drei Äpfel und zwei Birnen", None),
            ("ein mal eins", Some(1)),
        ] {
            assert_eq!(numbers::sum(&text::normalise(text), Lexicon::of(&GERMAN)), value, "{text}");
        }
    }
}
