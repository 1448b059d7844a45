//! Requests for reminders, alarms and timers: "remind me in ten minutes to brush my teeth", "wake me at seven".
//!
//! A request has a time anywhere in it, in one of the forms of the language. Without that time, the sentence has to begin
//! with the words of a request; what follows is what the child wants to be reminded of.

use std::sync::LazyLock;

use strsim::normalized_levenshtein;

use super::lexicon::Lexicon;
use super::{numbers, text};
use crate::model::{ChildWords, ReminderKind};
use crate::ports::speech::languages::{self, DayPart, Language, TimeForm, is_chinese};

/// How much a word of a request must be spelled as in the table, and from how many letters on it may differ.
const ALIKE_MIN: f64 = 0.8;
const ALIKE_LETTERS_MIN: usize = 5;
/// The longest wait that is understood as one: a year.
const SECONDS_MAX: u64 = 366 * 24 * 3600;
/// The maximum number of words of a request.
const WORDS_MAX: usize = 60;

/// A request for a reminder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its kind.
    pub kind: ReminderKind,
    /// When it is wanted; none if the child has not said it.
    pub when: Option<When>,
    /// What it is about, as it was recognised; may be empty.
    pub words: ChildWords,
}

/// A time, as a child says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many seconds from now.
    In(u32),
    /// By the clock.
    At {
        /// The hour, to 24, which may be of the other half of the day without `part`.
        hour: u8,
        /// The minute.
        minute: u8,
        /// The part of the day, if it was said.
        part: Option<DayPart>,
        /// The distance from today, if it was said.
        day: Option<u8>,
    },
}

/// The table of a language, divided into words.
struct Table {
    frames: Vec<(ReminderKind, Vec<String>, Vec<String>)>,
    times: Vec<(TimeForm, Vec<String>)>,
    units: Vec<(u32, Vec<String>)>,
    one: Vec<String>,
    parts: Vec<(DayPart, Vec<String>)>,
    days: Vec<(u8, Vec<String>)>,
    /// Longer ones first.
    links: Vec<Vec<String>>,
    /// Words without a meaning, such as "bitte".
    fillers: Vec<String>,
}

/// A word as it is compared, and as it was recognised.
struct Said {
    word: String,
    raw: String,
}

/// The request of the transcript, in this language.
pub fn reminder(transcript: &str, toy_name: &str, language: &Language) -> Option<Wish> {
    let lexicon = Lexicon::of(language);
    let table = Table::of(language);
    let said = said(transcript, lexicon, table);
    let said = without_address(&said, toy_name, lexicon);
    if said.len() > WORDS_MAX {
        return None;
    }
    let words: Vec<&str> = said.iter().map(|said| said.word.as_str()).collect();
    // The longest time first: "in ten minutes" before "ten".
    let mut times = times_in(&words, table, lexicon);
    times.sort_by_key(|time| (std::cmp::Reverse(time.end - time.start), time.start));
    let with_time = times.iter().find_map(|time| {
        let rest: Vec<&Said> = said[..time.start].iter().chain(&said[time.end..]).collect();
        table.wish(&rest, Some(time.when))
    });
    let all: Vec<&Said> = said.iter().collect();
    with_time.or_else(|| table.wish(&all, None))
}

/// The time that a transcript consists of, as the answer to "when?". For a timer a number by itself is so many minutes.
pub fn time(transcript: &str, toy_name: &str, language: &Language, kind: ReminderKind) -> Option<When> {
    let lexicon = Lexicon::of(language);
    let table = Table::of(language);
    let said = said(transcript, lexicon, table);
    let said = without_address(&said, toy_name, lexicon);
    let words: Vec<&str> = said.iter().map(|said| said.word.as_str()).collect();
    let found = times_in(&words, table, lexicon).into_iter().find(|time| time.start == 0 && time.end == words.len());
    if let Some(time) = found {
        return Some(time.when);
    }
    let (number, length) = numbers::number_at(&words, lexicon)?;
    if length != words.len() {
        return None;
    }
    match kind {
        ReminderKind::Timer => wait(number, 60),
        ReminderKind::Reminder | ReminderKind::Alarm => clock(number, 0),
    }
}

/// The words of a transcript, without those that mean nothing, such as "bitte".
fn said(transcript: &str, lexicon: &Lexicon, table: &Table) -> Vec<Said> {
    let mut said = Vec::new();
    for raw in transcript.split_whitespace() {
        let mut words = text::tokens(&text::normalise(raw), &lexicon.short_forms);
        words.retain(|word| word.chars().any(char::is_alphanumeric) && !table.fillers.contains(word));
        match words.as_slice() {
            [word] => {
                let raw = raw.trim_matches(|letter: char| !letter.is_alphanumeric());
                said.push(Said { word: word.clone(), raw: raw.to_owned() });
            }
            // Such as "7:30", or Chinese.
            words => said.extend(words.iter().map(|word| Said { word: word.clone(), raw: word.clone() })),
        }
    }
    said
}

/// The words without greetings, courtesy and the toy's name around them.
fn without_address<'a>(mut said: &'a [Said], toy_name: &str, lexicon: &Lexicon) -> &'a [Said] {
    let name = text::tokens(&text::normalise(toy_name), &[]);
    loop {
        let before = lexicon.courtesy_before.iter().chain([&name]).chain(&lexicon.greetings);
        let length = before.filter(|words| is_said(said.get(..words.len()), words)).map(Vec::len).max();
        let Some(length) = length else { break };
        said = said.get(length..).unwrap_or_default();
    }
    loop {
        let after = lexicon.courtesy_after.iter().chain([&name]);
        let end = |words: &[String]| said.len().checked_sub(words.len()).and_then(|start| said.get(start..));
        let length = after.filter(|words| is_said(end(words), words)).map(Vec::len).max();
        let Some(length) = length else { return said };
        said = said.get(..said.len() - length).unwrap_or_default();
    }
}

fn is_said(part: Option<&[Said]>, words: &[String]) -> bool {
    let is_same = |part: &[Said]| part.iter().map(|said| &said.word).eq(words);
    !words.is_empty() && part.is_some_and(is_same)
}

/// A time among the words.
struct FoundTime {
    start: usize,
    end: usize,
    when: When,
}

/// All times among the words, each with the parts of the day and days beside it.
fn times_in(words: &[&str], table: &Table, lexicon: &Lexicon) -> Vec<FoundTime> {
    let mut found = Vec::new();
    for start in 0..words.len() {
        let rest = words.get(start..).unwrap_or_default();
        for (form, pattern) in &table.times {
            if let Some((when, length)) = table.time(*form, pattern, rest, lexicon) {
                found.push(table.with_day(words, FoundTime { start, end: start + length, when }));
            }
        }
        // "Tomorrow morning", without an hour.
        if let Some(day) = table.day_alone(words, start) {
            found.push(day);
        }
    }
    found
}

/// The entries of a list, each with its value, divided into words.
fn divided<T: Copy>(list: &[(T, &[&str])], split: impl Fn(&str) -> Vec<String>) -> Vec<(T, Vec<String>)> {
    list.iter()
        .flat_map(|(value, entries)| entries.iter().map(|entry| (*value, split(entry))).collect::<Vec<_>>())
        .collect()
}

impl Table {
    fn of(language: &Language) -> &'static Self {
        static TABLES: LazyLock<Vec<Table>> =
            LazyLock::new(|| languages::all().iter().map(|language| Table::new(language)).collect());
        &TABLES[language.place()]
    }

    fn new(language: &Language) -> Self {
        let lexicon = Lexicon::of(language);
        let split = |entry: &str| text::tokens(&text::normalise(entry), &lexicon.short_forms);
        let pattern = |entry: &str| -> Vec<String> {
            let spaced = entry.replace('#', " # ").replace('@', " @ ");
            let words = spaced.split_whitespace();
            words.flat_map(|word| if matches!(word, "#" | "@") { vec![word.to_owned()] } else { split(word) }).collect()
        };
        let words = &language.reminding;
        let frames = words.frames.iter().flat_map(|(kind, frames)| {
            frames.iter().map(move |frame| {
                let (before, after) = frame.split_once('…').unwrap_or((frame, ""));
                (*kind, split(before), split(after))
            })
        });
        let mut links: Vec<Vec<String>> = words.links.iter().map(|link| split(link)).collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.len()));
        let mut units = divided(words.units, split);
        units.sort_by_key(|(_, unit)| std::cmp::Reverse(unit.len()));
        let fillers = lexicon.same.iter().filter(|(said, meant)| said.len() == 1 && meant.is_empty());
        Self {
            frames: frames.collect(),
            times: divided(words.times, pattern),
            units,
            one: words.one.iter().flat_map(|word| split(word)).collect(),
            parts: divided(words.parts, split),
            days: divided(words.days, split),
            links,
            fillers: fillers.flat_map(|(said, _)| said.clone()).collect(),
        }
    }

    /// The request of these words, from which the time was taken out.
    fn wish(&self, said: &[&Said], when: Option<When>) -> Option<Wish> {
        let fits = |part: &[&Said], words: &[String]| {
            part.len() == words.len() && part.iter().zip(words).all(|(said, word)| are_alike(&said.word, word))
        };
        let fitting = self.frames.iter().filter_map(|(kind, before, after)| {
            let rest = said.get(before.len()..)?;
            let end = rest.len().checked_sub(after.len())?;
            let is_one = fits(said.get(..before.len())?, before) && fits(rest.get(end..)?, after);
            is_one.then(|| (*kind, before.len() + after.len(), rest.get(..end).unwrap_or_default()))
        });
        let (kind, _, mut rest) = fitting.max_by_key(|(_, length, _)| *length)?;
        let mut is_linked = false;
        loop {
            let link = self.links.iter().find(|link| rest.get(..link.len()).is_some_and(|part| fits(part, link)));
            let Some(link) = link else { break };
            is_linked = true;
            rest = rest.get(link.len()..).unwrap_or_default();
        }
        // "Timers are funny" is no request, and "remind me" is one for anything.
        if kind != ReminderKind::Reminder && !rest.is_empty() && !is_linked {
            return None;
        }
        let is_chinese = rest.iter().any(|said| said.raw.contains(is_chinese));
        let words: Vec<&str> = rest.iter().map(|said| said.raw.as_str()).collect();
        let words = ChildWords(words.join(if is_chinese { "" } else { " " }));
        Some(Wish { kind, when, words })
    }

    /// The time with which the words begin, in this form, and how many words it takes.
    fn time(&self, form: TimeForm, pattern: &[String], words: &[&str], lexicon: &Lexicon) -> Option<(When, usize)> {
        let (mut found, mut units, mut at) = (Vec::new(), Vec::new(), 0);
        for (place, wanted) in pattern.iter().enumerate() {
            let rest = words.get(at..)?;
            at += match wanted.as_str() {
                "#" => {
                    let before_unit = pattern.get(place + 1).is_some_and(|next| next == "@");
                    let (number, length) = self.number(rest, before_unit, lexicon)?;
                    found.push(number);
                    length
                }
                "@" => {
                    let is_at =
                        |unit: &[String]| rest.len() >= unit.len() && rest.iter().zip(unit).all(|(a, b)| a == b);
                    let (seconds, unit) = self.units.iter().find(|(_, unit)| is_at(unit))?;
                    units.push(*seconds);
                    unit.len()
                }
                word if rest.first() == Some(&word) => 1,
                _ => return None,
            };
        }
        let number = |at: usize| found.get(at).copied();
        let when = match form {
            TimeForm::In => {
                let all = found.iter().zip(&units).map(|(number, unit)| wait_seconds(*number, *unit));
                seconds(all.sum::<Option<u64>>()?)
            }
            TimeForm::InAndHalf => {
                let unit = *units.first()?;
                seconds(wait_seconds(number(0)?, unit)? + u64::from(unit) / 2)
            }
            TimeForm::Seconds(fixed) => Some(When::In(fixed)),
            TimeForm::At => clock(number(0)?, number(1).unwrap_or(0)),
            TimeForm::Past => clock_beside(number(1)?, number(0)?),
            TimeForm::To => clock_beside(number(1)?, -number(0)?),
            TimeForm::Beside(minutes) => clock_beside(number(0)?, minutes.into()),
        };
        when.map(|when| (when, at))
    }

    fn number(&self, words: &[&str], before_unit: bool, lexicon: &Lexicon) -> Option<(i64, usize)> {
        let one = before_unit && words.first().is_some_and(|word| self.one.iter().any(|one| one == word));
        numbers::number_at(words, lexicon).or(one.then_some((1, 1)))
    }

    /// A time by the clock with the part of the day and the day beside it.
    fn with_day(&self, words: &[&str], mut found: FoundTime) -> FoundTime {
        while let When::At { hour, minute, part, day } = found.when {
            let part_beside = if part.is_none() { beside(&self.parts, words, &found) } else { None };
            let day_beside = if day.is_none() { beside(&self.days, words, &found) } else { None };
            // "Um acht Uhr morgen früh", and "morgen früh um acht Uhr".
            match (part_beside, day_beside) {
                (Some((part, start, end)), _) => {
                    found = FoundTime { start, end, when: When::At { hour, minute, part: Some(part), day } };
                }
                (None, Some((day, start, end))) => {
                    found = FoundTime { start, end, when: When::At { hour, minute, part, day: Some(day) } };
                }
                (None, None) => break,
            }
        }
        found
    }

    /// A day or a part of it at this place, without an hour.
    fn day_alone(&self, words: &[&str], start: usize) -> Option<FoundTime> {
        let empty = FoundTime { start, end: start, when: When::In(0) };
        let day = after(&self.days, words, &empty);
        let end = day.map_or(start, |(_, end)| end);
        let part = after(&self.parts, words, &FoundTime { start, end, when: When::In(0) });
        // "Night" alone is more often a part of what is said: "say good night".
        let part = part.filter(|(_, part_end)| day.is_some() || part_end - start > 1);
        let end = part.map_or(end, |(_, end)| end);
        let hour = match part.map(|(part, _)| part) {
            Some(DayPart::Morning) => 8,
            Some(DayPart::Noon) => 12,
            Some(DayPart::Afternoon) => 15,
            Some(DayPart::Evening) => 18,
            Some(DayPart::Night) => 20,
            None if day.is_some_and(|(day, _)| day > 0) => 8,
            None => return None,
        };
        let part = part.map_or(DayPart::Morning, |(part, _)| part);
        let when = When::At { hour, minute: 0, part: Some(part), day: day.map(|(day, _)| day) };
        (end > start).then_some(FoundTime { start, end, when })
    }
}

/// The entry of a list that is beside a time, and what the time takes with it.
fn beside<T: Copy>(list: &[(T, Vec<String>)], words: &[&str], found: &FoundTime) -> Option<(T, usize, usize)> {
    if let Some((value, end)) = after(list, words, found) {
        return Some((value, found.start, end));
    }
    let before = list.iter().filter(|(_, entry)| {
        let start = found.start.checked_sub(entry.len());
        start.and_then(|start| words.get(start..found.start)).is_some_and(|part| part.iter().eq(entry.iter()))
    });
    before.max_by_key(|(_, entry)| entry.len()).map(|(value, entry)| (*value, found.start - entry.len(), found.end))
}

/// The longest entry of a list behind a time.
fn after<T: Copy>(list: &[(T, Vec<String>)], words: &[&str], found: &FoundTime) -> Option<(T, usize)> {
    let is_there = |entry: &[String]| {
        words.get(found.end..found.end + entry.len()).is_some_and(|part| part.iter().eq(entry.iter()))
    };
    let after = list.iter().filter(|(_, entry)| is_there(entry)).max_by_key(|(_, entry)| entry.len());
    after.map(|(value, entry)| (*value, found.end + entry.len()))
}

fn are_alike(said: &str, wanted: &str) -> bool {
    said == wanted
        || (wanted.len() >= ALIKE_LETTERS_MIN && wanted.is_ascii() && normalized_levenshtein(said, wanted) >= ALIKE_MIN)
}

fn wait_seconds(number: i64, unit: u32) -> Option<u64> {
    u64::try_from(number).ok()?.checked_mul(unit.into())
}

fn seconds(seconds: u64) -> Option<When> {
    (1..=SECONDS_MAX).contains(&seconds).then(|| u32::try_from(seconds).ok().map(When::In))?
}

fn wait(number: i64, unit: u32) -> Option<When> {
    seconds(wait_seconds(number, unit)?)
}

fn clock(hour: i64, minute: i64) -> Option<When> {
    let (hour, minute) = (u8::try_from(hour).ok()?, u8::try_from(minute).ok()?);
    (hour <= 24 && minute < 60).then_some(When::At { hour, minute, part: None, day: None })
}

/// So many minutes past an hour, or to it.
fn clock_beside(hour: i64, minutes: i64) -> Option<When> {
    if !(1..60).contains(&minutes.abs()) {
        return None;
    }
    let all = hour.checked_mul(60)?.checked_add(minutes)?;
    // A quarter to one is 12:45.
    let all = if all < 60 { all + 12 * 60 } else { all };
    clock(all / 60, all % 60)
}

#[cfg(test)]
mod tests;
