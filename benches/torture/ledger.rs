//! The ledger of sent messages and their outcomes, outside the hub's process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A way of sending messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A voice message of an app, `/app_uploader`.
    AppHttp,
    /// A voice message of a toy, `/toy_uploader`.
    ToyHttp,
    /// A voice message of a toy, in chunks over MQTT.
    ToyMqtt,
    /// A voice message of an app, in chunks over its socket.
    AppSocket,
    /// A command of QoS 1 to a toy with an offline session.
    CommandQos1,
    /// A command of QoS 2 to a toy with an offline session.
    CommandQos2,
    /// A command from the app socket to a toy with an offline session.
    CommandSocket,
    /// A state of QoS 2 from a toy to an app that reconnects after every kill.
    StateQos2,
}

impl Way {
    pub const ALL: [Self; 8] = [
        Self::AppHttp,
        Self::ToyHttp,
        Self::ToyMqtt,
        Self::AppSocket,
        Self::CommandQos1,
        Self::CommandQos2,
        Self::CommandSocket,
        Self::StateQos2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::AppHttp => "voice, app over HTTP",
            Self::ToyHttp => "voice, toy over HTTP",
            Self::ToyMqtt => "voice, toy over MQTT, chunks",
            Self::AppSocket => "voice, app over its socket, chunks",
            Self::CommandQos1 => "command, QoS 1, toy away",
            Self::CommandQos2 => "command, QoS 2, toy away",
            Self::CommandSocket => "command, app socket, toy away",
            Self::StateQos2 => "state, QoS 2, app comes back",
        }
    }

    /// Whether messages are voice messages, which stay in a chat.
    pub fn is_voice(self) -> bool {
        matches!(self, Self::AppHttp | Self::ToyHttp | Self::ToyMqtt | Self::AppSocket)
    }

    /// Whether a message may arrive more than once: QoS 1 guarantees at least once.
    fn may_repeat(self) -> bool {
        matches!(self, Self::CommandQos1 | Self::CommandSocket)
    }
}

/// The outcome of a message for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with success, or acknowledged.
    Accepted,
    /// It was answered with an error after which nothing is stored.
    Refused,
    /// There was no answer, or one of unknown outcome.
    Unknown,
}

struct Entry {
    way: Way,
    lane: usize,
    outcome: Outcome,
    found: u32,
}

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    /// Whether messages of a lane may overtake each other where they do not stay in a chat.
    has_many_hubs: bool,
    /// The last number of a lane that was found: messages of one lane arrive in the order of sending.
    last_found: BTreeMap<(Way, usize), u32>,
    faults: Vec<String>,
    /// The first of the doubled messages.
    doubled: Vec<String>,
    /// The number of each answer other than success.
    answers: BTreeMap<String, u64>,
}

/// The figures of one way.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Of unknown outcome, and stored.
    pub unknown_found: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Repeated where the quality of service permits it.
    pub repeated: u64,
    /// Refused, but stored.
    pub unwanted: u64,
}

/// All messages of a run.
#[derive(Default)]
pub struct Ledger(Mutex<Book>);

impl Ledger {
    /// The ledger of several hubs: messages that a sender gives to one hub, and then to another, may arrive in another
    /// order. A chat has one order all the same.
    pub fn of_many_hubs() -> Self {
        Self(Mutex::new(Book { has_many_hubs: true, ..Book::default() }))
    }

    /// Whether there are several hubs.
    pub fn has_many_hubs(&self) -> bool {
        self.book().has_many_hubs
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new message; its outcome is unknown until it is settled.
    pub fn begin(&self, way: Way, lane: usize) -> u32 {
        let mut book = self.book();
        book.entries.push(Entry { way, lane, outcome: Outcome::Unknown, found: 0 });
        (book.entries.len() - 1) as u32
    }

    pub fn settle(&self, number: u32, outcome: Outcome) {
        self.book().entries[number as usize].outcome = outcome;
    }

    /// Resets the list of found voice messages: their chats are read from the beginning.
    pub fn forget_found_voice(&self) {
        let mut book = self.book();
        book.entries.iter_mut().filter(|entry| entry.way.is_voice()).for_each(|entry| entry.found = 0);
        book.last_found.retain(|(way, _), _| !way.is_voice());
    }

    /// Records an arrived message; `place` is for the report of a fault.
    pub fn found(&self, number: u32, place: &str) {
        let mut book = self.book();
        let Some(entry) = book.entries.get_mut(number as usize) else {
            return book.faults.push(format!("{place}: message {number} was never sent"));
        };
        entry.found += 1;
        let (way, lane, found, outcome) = (entry.way, entry.lane, entry.found, entry.outcome);
        // A hub may still store a message whose answer is lost, when its sender has gone on at the other one.
        let is_ordered = if book.has_many_hubs { way.is_voice() && outcome != Outcome::Unknown } else { true };
        let last = book.last_found.get(&(way, lane)).copied().filter(|_| is_ordered);
        if found > 1 && !way.may_repeat() && book.doubled.len() < 50 {
            book.doubled.push(format!("{number} at {place} ({}, lane {lane}, {outcome:?})", way.name()));
        }
        // A repeat may arrive late.
        if found == 1 && last.is_some_and(|last| last > number) {
            let last = last.unwrap_or_default();
            book.faults.push(format!("{place}: message {number} came after {last} ({}, lane {lane})", way.name()));
        }
        if is_ordered {
            book.last_found.insert((way, lane), last.unwrap_or(0).max(number));
        }
    }

    /// Records an answer other than success.
    pub fn answer(&self, way: Way, answer: &str) {
        *self.book().answers.entry(format!("{}: {answer}", way.name())).or_default() += 1;
    }

    /// The number of each answer other than success.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.book().answers.clone()
    }

    /// Messages that were accepted, for each way.
    pub fn accepted_by_way(&self) -> BTreeMap<Way, u64> {
        self.tallies().into_iter().map(|(way, tally)| (way, tally.accepted)).collect()
    }

    /// Records another fault.
    pub fn fault(&self, fault: String) {
        self.book().faults.push(fault);
    }

    /// Whether all accepted messages of a way have arrived.
    pub fn is_complete(&self, way: Way) -> bool {
        let book = self.book();
        let mut accepted = book.entries.iter().filter(|entry| entry.way == way && entry.outcome == Outcome::Accepted);
        accepted.all(|entry| entry.found > 0)
    }

    pub fn accepted(&self) -> u64 {
        self.book().entries.iter().filter(|entry| entry.outcome == Outcome::Accepted).count() as u64
    }

    pub fn accepted_voice(&self) -> u64 {
        let book = self.book();
        let accepted = |entry: &&Entry| entry.way.is_voice() && entry.outcome == Outcome::Accepted;
        book.entries.iter().filter(accepted).count() as u64
    }

    fn tallies(&self) -> BTreeMap<Way, Tally> {
        let mut tallies = BTreeMap::<_, Tally>::new();
        for entry in &self.book().entries {
            let tally = tallies.entry(entry.way).or_default();
            match entry.outcome {
                Outcome::Accepted => tally.accepted += 1,
                Outcome::Refused => tally.refused += 1,
                Outcome::Unknown => tally.unknown += 1,
            }
            match (entry.outcome, entry.found) {
                (Outcome::Accepted, 0) => tally.lost += 1,
                (Outcome::Refused, 1..) => tally.unwanted += 1,
                (Outcome::Unknown, 1..) => tally.unknown_found += 1,
                _ => {}
            }
            if entry.found > 1 {
                *if entry.way.may_repeat() { &mut tally.repeated } else { &mut tally.doubled } += 1;
            }
        }
        tallies
    }

    /// The numbers of accepted messages that are missing.
    fn lost(&self) -> Vec<u32> {
        let book = self.book();
        let lost = |(_, entry): &(usize, &Entry)| entry.outcome == Outcome::Accepted && entry.found == 0;
        book.entries.iter().enumerate().filter(lost).map(|(number, _)| number as u32).collect()
    }

    /// Prints the table and the faults; returns whether there are none.
    pub fn verdict(&self) -> bool {
        println!(
            "| way of sending | accepted | lost | doubled | refused, yet there | unknown outcome | of them there | repeated at QoS 1 |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        let mut sum = Tally::default();
        for (way, tally) in self.tallies() {
            print_row(way.name(), &tally);
            sum.accepted += tally.accepted;
            sum.lost += tally.lost;
            sum.doubled += tally.doubled;
            sum.unwanted += tally.unwanted;
            sum.unknown += tally.unknown;
            sum.unknown_found += tally.unknown_found;
            sum.repeated += tally.repeated;
        }
        print_row("all", &sum);
        let lost = self.lost();
        if !lost.is_empty() {
            println!("lost: {:?}", &lost[..lost.len().min(50)]);
        }
        let book = self.book();
        for doubled in &book.doubled {
            println!("doubled: message {doubled}");
        }
        for fault in book.faults.iter().take(30) {
            println!("FAULT: {fault}");
        }
        if book.faults.len() > 30 {
            println!("and {} more faults", book.faults.len() - 30);
        }
        sum.lost == 0 && sum.doubled == 0 && sum.unwanted == 0 && book.faults.is_empty()
    }
}

fn print_row(name: &str, tally: &Tally) {
    let Tally { accepted, unknown, unknown_found, lost, doubled, repeated, unwanted, .. } = tally;
    println!("| {name} | {accepted} | {lost} | {doubled} | {unwanted} | {unknown} | {unknown_found} | {repeated} |");
}
