//! Tests of all languages and of their lines.

use super::*;
use crate::model::{ReminderKind, Timestamp, ToyCommand};

/// Wednesday, 25 November 2026, 23:05:09 UTC.
const NOW: Timestamp = 1_795_647_909.5;

#[test]
fn the_clock_is_the_familys() {
    for (offset, time, date, chinese) in [
        (0, "It is 11 oh 5 at night.", "Today is Wednesday, November 25th, 2026.", "现在是晚上11点5分。"),
        (60, "It is 12 oh 5 at night.", "Today is Thursday, November 26th, 2026.", "现在是凌晨12点5分。"),
        (-305, "It is 6 o'clock in the evening.", "Today is Wednesday, November 25th, 2026.", "现在是晚上6点。"),
        (8 * 60 + 30, "It is 7 35 in the morning.", "Today is Thursday, November 26th, 2026.", "现在是上午7点35分。"),
    ] {
        let clock = Clock::new(NOW, offset);
        assert_eq!(Line::Time(clock).text(&ENGLISH), time);
        assert_eq!(Line::Date(clock).text(&ENGLISH), date);
        assert_eq!(Line::Time(clock).text(&CHINESE), chinese);
    }
    assert_eq!(Line::Date(Clock::new(NOW, 0)).text(&CHINESE), "今天是2026年11月25日，星期三。");
    for odd in [f64::NAN, f64::MAX, -1e300] {
        Clock::new(odd, 1440);
    }
}

#[test]
fn numbers_are_worded_with_their_sign_and_days_in_their_order() {
    assert_eq!(Line::Sum(-3).text(&ENGLISH), "That makes minus 3.");
    assert_eq!(Line::Sum(i64::MIN).text(&CHINESE), "等于负9223372036854775808。");
    let days = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31].map(en::ordinal);
    assert_eq!(days, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "31st"]);
}

#[test]
fn the_clock_is_german() {
    for (offset, time, date) in [
        (0, "Es ist 11 Uhr 5 in der Nacht.", "Heute ist Mittwoch, der fünfundzwanzigste November 2026."),
        (115, "Es ist ein Uhr in der Nacht.", "Heute ist Donnerstag, der sechsundzwanzigste November 2026."),
        (-305, "Es ist 6 Uhr am Abend.", "Heute ist Mittwoch, der fünfundzwanzigste November 2026."),
        (8 * 60 + 30, "Es ist 7 Uhr 35 am Morgen.", "Heute ist Donnerstag, der sechsundzwanzigste November 2026."),
    ] {
        let clock = Clock::new(NOW, offset);
        assert_eq!(Line::Time(clock).text(&GERMAN), time);
        assert_eq!(Line::Date(clock).text(&GERMAN), date);
    }
    assert_eq!(Line::Sum(-3).text(&GERMAN), "Das macht minus 3.");
    let days = [1, 2, 3, 7, 8, 12, 19, 20, 21, 30, 31].map(de::ordinal);
    let named = [
        "erste",
        "zweite",
        "dritte",
        "siebte",
        "achte",
        "zwölfte",
        "neunzehnte",
        "zwanzigste",
        "einundzwanzigste",
        "dreißigste",
        "einunddreißigste",
    ];
    assert_eq!(days, named);
}

#[test]
fn the_language_is_that_of_the_question() {
    let code = |said, code| Language::of(said, code).code;
    assert_eq!(code("几点了", "en"), "zh");
    assert_eq!(code("", "zh"), "zh");
    assert_eq!(code("what's the time", "en"), "en");
    assert_eq!(code("quelle heure est-il", "fr"), "en", "the hub has no words of it");
}

#[test]
fn the_language_of_a_family_is_the_first_that_has_words() {
    let code = |codes: &[&str]| {
        let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
        Language::of_family(&codes).code
    };
    assert_eq!(code(&["zh", "en"]), "zh");
    assert_eq!(code(&["fr", "zh"]), "zh");
    assert_eq!((code(&["fr"]), code(&[])), ("en", "en"));
}

/// The lines about a reminder of this kind.
fn reminding_lines(kind: ReminderKind) -> Vec<Line<'static>> {
    let said = |moment, words| Reminded { kind, moment, words };
    let (soon, later) = (Moment::In(3725), Moment::At(Clock::new(NOW, 0), 1));
    vec![
        Line::ReminderSet(said(soon, "")),
        Line::ReminderSet(said(later, "Zahn")),
        Line::ReminderDue(said(soon, "")),
        Line::ReminderDue(said(soon, "Zahn")),
        Line::ReminderMissed(said(later, "")),
        Line::ReminderMissed(said(later, "Zahn")),
        Line::RemindersAre(Box::leak(Box::new([said(soon, ""), said(later, "Zahn")]))),
        Line::RemindersCancelled(kind, 0),
        Line::RemindersCancelled(kind, 1),
    ]
}

/// A line of each kind.
fn lines() -> impl Iterator<Item = Line<'static>> {
    let names: &'static [String] = Box::leak(Box::new(["Tom".to_owned(), "Tim".to_owned()]));
    let clock = Clock::new(NOW, 0);
    [
        Line::NotUnderstood,
        Line::SayYourMessage("Tom"),
        Line::Which("Tom", "Tim"),
        Line::IsItFor("Tom"),
        Line::NoSuchTitle,
        Line::NoSuchNumber,
        Line::NoMusic,
        Line::QuietTime,
        Line::NoSuchFriend,
        Line::WhoFor,
        Line::Done(ToyCommand::Stop),
        Line::Done(ToyCommand::Louder),
        Line::Done(ToyCommand::Softer),
        Line::Time(clock),
        Line::Date(clock),
        Line::Sum(7),
        Line::WhoAreYou("Fluffy"),
        Line::Story,
        Line::Riddle,
        Line::MessageFrom("Tom"),
        Line::MessagesFrom("Tom"),
        Line::NoMessages,
        Line::Awake,
        Line::NotBound,
        Line::NotRegistered,
        Line::Sent,
        Line::ShallISend("Tom"),
        Line::NotSent,
        Line::WhenReminder(ReminderKind::Reminder),
        Line::WhenReminder(ReminderKind::Alarm),
        Line::WhenReminder(ReminderKind::Timer),
        Line::RemindersFull,
        Line::TooFarAhead,
        Line::NoReminders,
        Line::MessagesLater,
        Line::NotNow,
    ]
    .into_iter()
    .chain(ReminderKind::ALL.into_iter().flat_map(reminding_lines))
    .chain([Line::UnreadMessages(1, names), Line::UnreadMessages(3, names)])
}

#[test]
fn every_language_has_its_own_words_for_everything() {
    for line in lines() {
        let texts: Vec<String> = all().iter().map(|language| line.text(language)).collect();
        for (at, text) in texts.iter().enumerate() {
            assert!(text.contains(char::is_alphabetic), "{line:?} in {}: {text:?}", all()[at].code);
            assert!(!texts[..at].contains(text), "{line:?} in {} is that of another language: {text}", all()[at].code);
        }
    }
    for language in all() {
        let Moods { quiet, story, riddle } = language.moods;
        let Replies { table, otherwise } = language.replies;
        assert!(![quiet, story, riddle].iter().any(|words| words.is_empty()), "{}", language.code);
        assert_eq!(table.len(), ENGLISH.replies.table.len(), "{} replies to as much", language.code);
        assert!(table.iter().all(|(words, reply)| !words.is_empty() && !reply.is_empty()) && !otherwise.is_empty());
        let meanings = |language: &Language| {
            let mut meanings: Vec<String> =
                language.phrases.iter().map(|(meaning, _)| format!("{meaning:?}")).collect();
            meanings.sort();
            meanings.dedup();
            meanings
        };
        let missing: Vec<String> =
            meanings(&ENGLISH).into_iter().filter(|meaning| !meanings(language).contains(meaning)).collect();
        assert!(missing.is_empty(), "{} has no phrases for {missing:?}", language.code);
        assert_eq!((language.choices.len(), language.answers.len()), (2, 2), "{}", language.code);
    }
}
