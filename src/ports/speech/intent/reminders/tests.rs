//! Requests in all languages, and sentences that are none.

use DayPart::{Afternoon, Evening, Morning, Night, Noon};
use ReminderKind::{Alarm, Reminder, Timer};

use super::*;
use crate::ports::speech::languages::{CHINESE, ENGLISH, GERMAN};

const MINUTE: u32 = 60;
const HOUR: u32 = 3600;

fn at(hour: u8, minute: u8) -> When {
    When::At { hour, minute, part: None, day: None }
}

fn on(hour: u8, minute: u8, part: Option<DayPart>, day: Option<u8>) -> When {
    When::At { hour, minute, part, day }
}

type Case = (&'static str, ReminderKind, Option<When>, &'static str);

#[track_caller]
fn check(language: &Language, cases: &[Case]) {
    let found = cases.iter().map(|(said, ..)| {
        let wish = reminder(said, "Teddy", language);
        (*said, wish.map(|wish| (wish.kind, wish.when, wish.words.0)))
    });
    let expected = cases.iter().map(|(said, kind, when, words)| (*said, Some((*kind, *when, (*words).to_owned()))));
    let wrong: Vec<_> = found.zip(expected).filter(|(found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "found, expected: {wrong:#?}");
}

#[test]
fn english() {
    check(
        &ENGLISH,
        &[
            ("Remind me in ten minutes to brush my teeth.", Reminder, Some(When::In(10 * MINUTE)), "brush my teeth"),
            ("remind me to brush my teeth in 10 minutes", Reminder, Some(When::In(10 * MINUTE)), "brush my teeth"),
            ("In an hour, remind me to feed the cat!", Reminder, Some(When::In(HOUR)), "feed the cat"),
            ("Teddy, can you please remind me at 7:30 to call Grandma?", Reminder, Some(at(7, 30)), "call Grandma"),
            (
                "remind me tomorrow morning to feed the Rabbit",
                Reminder,
                Some(on(8, 0, Some(Morning), Some(1))),
                "feed the Rabbit",
            ),
            ("remind me at half past six about the football game", Reminder, Some(at(6, 30)), "the football game"),
            (
                "remind me at quarter to eight in the evening to go to bed",
                Reminder,
                Some(on(7, 45, Some(Evening), None)),
                "go to bed",
            ),
            ("remind me at five past four that I have homework", Reminder, Some(at(4, 5)), "I have homework"),
            ("remind me in an hour and a half to eat", Reminder, Some(When::In(5400)), "eat"),
            ("remind me in one hour and 20 minutes to eat", Reminder, Some(When::In(80 * MINUTE)), "eat"),
            ("remind me in half an hour", Reminder, Some(When::In(1800)), ""),
            ("remind me at 3 p.m. to drink", Reminder, Some(on(3, 0, Some(Evening), None)), "drink"),
            ("remind me to clean up", Reminder, None, "clean up"),
            ("Wake me at seven.", Alarm, Some(at(7, 0)), ""),
            ("wake me up at 7 o'clock tomorrow please", Alarm, Some(on(7, 0, None, Some(1))), ""),
            (
                "please wake me up tomorrow at six thirty in the morning",
                Alarm,
                Some(on(6, 30, Some(Morning), Some(1))),
                "",
            ),
            ("set an alarm for 6:45", Alarm, Some(at(6, 45)), ""),
            ("wake me in twenty minutes to feed the dog", Alarm, Some(When::In(20 * MINUTE)), "feed the dog"),
            ("wake me up", Alarm, None, ""),
            ("Set a timer for five minutes.", Timer, Some(When::In(5 * MINUTE)), ""),
            ("set a five minute timer", Timer, Some(When::In(5 * MINUTE)), ""),
            ("start a timer for 90 seconds", Timer, Some(When::In(90)), ""),
            ("hey Teddy set a timer", Timer, None, ""),
        ],
    );
}

#[test]
fn german() {
    check(
        &GERMAN,
        &[
            ("Erinnere mich in zehn Minuten ans Zähneputzen.", Reminder, Some(When::In(10 * MINUTE)), "Zähneputzen"),
            (
                "Erinnere mich bitte in 10 Minuten daran, die Zähne zu putzen.",
                Reminder,
                Some(When::In(10 * MINUTE)),
                "die Zähne zu putzen",
            ),
            (
                "Kannst du mich in einer Stunde an die Hausaufgaben erinnern?",
                Reminder,
                Some(When::In(HOUR)),
                "die Hausaufgaben",
            ),
            ("Erinnere mich um halb sieben an den Turnbeutel", Reminder, Some(at(6, 30)), "Turnbeutel"),
            ("erinnere mich um viertel nach drei an Oma", Reminder, Some(at(3, 15)), "Oma"),
            (
                "Erinnere mich morgen früh um acht Uhr ans Füttern",
                Reminder,
                Some(on(8, 0, Some(Morning), Some(1))),
                "Füttern",
            ),
            ("erinnere mich heute Abend an das Buch", Reminder, Some(on(18, 0, Some(Evening), Some(0))), "Buch"),
            ("erinnere mich in einer halben Stunde", Reminder, Some(When::In(1800)), ""),
            ("Weck mich um sieben.", Alarm, Some(at(7, 0)), ""),
            ("Weck mich morgen um 6 Uhr 30", Alarm, Some(on(6, 30, None, Some(1))), ""),
            ("Stell den Wecker auf 7:15 Uhr", Alarm, Some(at(7, 15)), ""),
            ("kannst du mich um sieben Uhr am Morgen wecken", Alarm, Some(on(7, 0, Some(Morning), None)), ""),
            ("Stell einen Timer auf fünf Minuten.", Timer, Some(When::In(5 * MINUTE)), ""),
            ("Timer drei Minuten", Timer, Some(When::In(3 * MINUTE)), ""),
            ("stell bitte die Eieruhr auf 4 Minuten", Timer, Some(When::In(4 * MINUTE)), ""),
            ("erinnere mich daran, dass ich aufräumen muss", Reminder, None, "aufräumen muss"),
        ],
    );
}

#[test]
fn chinese() {
    check(
        &CHINESE,
        &[
            ("十分钟后提醒我刷牙", Reminder, Some(When::In(10 * MINUTE)), "刷牙"),
            ("提醒我十分钟后刷牙。", Reminder, Some(When::In(10 * MINUTE)), "刷牙"),
            ("请半个小时后提醒我写作业", Reminder, Some(When::In(1800)), "写作业"),
            ("提醒我明天早上八点喂兔子", Reminder, Some(on(8, 0, Some(Morning), Some(1))), "喂兔子"),
            ("下午三点半提醒我吃药", Reminder, Some(on(3, 30, Some(Afternoon), None)), "吃药"),
            ("晚上提醒我看书", Reminder, Some(on(18, 0, Some(Evening), None)), "看书"),
            ("提醒我要收拾房间", Reminder, None, "收拾房间"),
            ("七点叫我起床", Alarm, Some(at(7, 0)), ""),
            ("明天早上七点一刻叫我起床", Alarm, Some(on(7, 15, Some(Morning), Some(1))), ""),
            ("定一个七点的闹钟", Alarm, Some(at(7, 0)), ""),
            ("中午十二点叫醒我", Alarm, Some(on(12, 0, Some(Noon), None)), ""),
            ("计时五分钟", Timer, Some(When::In(5 * MINUTE)), ""),
            ("定一个五分钟的计时器", Timer, Some(When::In(5 * MINUTE)), ""),
            ("倒计时30秒", Timer, Some(When::In(30)), ""),
        ],
    );
}

#[test]
fn other_sentences_are_no_requests() {
    let others = [
        (&ENGLISH, "what time is it"),
        (&ENGLISH, "what is seven plus ten"),
        (&ENGLISH, "you wake me up every morning at seven"),
        (&ENGLISH, "timers are funny"),
        (&ENGLISH, "wake me when the cat is back"),
        (&ENGLISH, "do not remind me"),
        (&ENGLISH, "send a message to dad"),
        (&ENGLISH, "play number ten"),
        (&ENGLISH, "dad said remind me at seven"),
        (&ENGLISH, "in ten minutes"),
        (&ENGLISH, ""),
        (&GERMAN, "wie spät ist es"),
        (&GERMAN, "ich erinnere mich an den Urlaub"),
        (&GERMAN, "weck mich nicht"),
        (&GERMAN, "um sieben gibt es Essen"),
        (&CHINESE, "现在几点了"),
        (&CHINESE, "妈妈七点叫我起床"),
        (&CHINESE, "别提醒我"),
    ];
    for (language, said) in others {
        assert_eq!(reminder(said, "Teddy", language), None, "{said}");
    }
    let long = format!("remind me in ten minutes to {}", "go ".repeat(500));
    assert_eq!(reminder(&long, "Teddy", &ENGLISH), None);
}

#[test]
fn a_time_that_cannot_be_is_none() {
    for said in ["remind me at 77 to eat", "remind me in 0 minutes to eat", "remind me in 99999 weeks to eat"] {
        let wish = reminder(said, "", &ENGLISH);
        assert!(wish.is_none_or(|wish| wish.when.is_none()), "{said}");
    }
}

#[test]
fn a_time_answers_the_question_for_it() {
    for (language, said, kind, expected) in [
        (&ENGLISH, "in ten minutes", Reminder, Some(When::In(10 * MINUTE))),
        (&ENGLISH, "at seven please", Alarm, Some(at(7, 0))),
        (&ENGLISH, "seven", Alarm, Some(at(7, 0))),
        (&ENGLISH, "five", Timer, Some(When::In(5 * MINUTE))),
        (&ENGLISH, "five minutes", Timer, Some(When::In(5 * MINUTE))),
        (&ENGLISH, "tomorrow at ten at night", Reminder, Some(on(10, 0, Some(Night), Some(1)))),
        (&ENGLISH, "play a song", Timer, None),
        (&ENGLISH, "", Timer, None),
        (&GERMAN, "um sieben", Alarm, Some(at(7, 0))),
        (&GERMAN, "in fünf Minuten bitte", Timer, Some(When::In(5 * MINUTE))),
        (&CHINESE, "五分钟", Timer, Some(When::In(5 * MINUTE))),
        (&CHINESE, "晚上八点", Reminder, Some(on(8, 0, Some(Evening), None))),
    ] {
        assert_eq!(time(said, "Teddy", language, kind), expected, "{said}");
    }
}
