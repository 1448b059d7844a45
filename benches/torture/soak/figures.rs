//! The measurements, span by span.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::picture::Line;

/// The measured operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A voice message, from upload to answer.
    Voice,
    /// A command, from the app's frame to the toy.
    Command,
    /// A chat line, likewise.
    Chat,
    /// A question to the hub, from upload to answer.
    Question,
    /// A client's reconnect, until it is subscribed again.
    Return,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Voice, "voice message: upload to answer"),
    (Kind::Command, "command: app to toy"),
    (Kind::Chat, "chat: app to toy"),
    (Kind::Question, "question: upload to answer"),
    (Kind::Return, "return of a client"),
];

struct Span {
    minutes: f64,
    /// Times in milliseconds.
    times: BTreeMap<Kind, Vec<f64>>,
    resident_mib: f64,
}

/// All figures of a run.
pub struct Figures {
    begun: Cell<Instant>,
    current: RefCell<BTreeMap<Kind, Vec<f64>>>,
    spans: RefCell<Vec<Span>>,
    accepted: RefCell<HashMap<String, Vec<String>>>,
    failures: RefCell<BTreeMap<String, u64>>,
    open: Cell<usize>,
}

fn at(times: &[f64], share: f64) -> f64 {
    times.get(((times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0)
}

impl Figures {
    pub fn new() -> Self {
        Self {
            begun: Cell::new(Instant::now()),
            current: RefCell::default(),
            spans: RefCell::default(),
            accepted: RefCell::default(),
            failures: RefCell::default(),
            open: Cell::new(0),
        }
    }

    /// Ends the phase of the first connections.
    pub fn begin(&self) {
        self.begun.set(Instant::now());
        self.current.borrow_mut().clear();
    }

    pub fn note(&self, kind: Kind, time: Duration) {
        self.current.borrow_mut().entry(kind).or_default().push(time.as_secs_f64() * 1000.0);
    }

    /// A moment of this run, for the payload of a message.
    pub fn stamp(&self) -> String {
        self.begun.get().elapsed().as_micros().to_string()
    }

    /// The age of a stamp.
    pub fn age(&self, stamp: &[u8]) -> Option<Duration> {
        let micros = std::str::from_utf8(stamp).ok()?.parse().ok()?;
        self.begun.get().elapsed().checked_sub(Duration::from_micros(micros))
    }

    pub async fn while_open<T>(&self, call: impl Future<Output = T>) -> T {
        self.open.set(self.open.get() + 1);
        let answer = call.await;
        self.open.set(self.open.get() - 1);
        answer
    }

    pub fn open(&self) -> usize {
        self.open.get()
    }

    pub fn accept(&self, toy: &str, message: &str) {
        self.accepted.borrow_mut().entry(toy.to_owned()).or_default().push(message.to_owned());
    }

    pub fn accepted(&self, toy: &str) -> Vec<String> {
        self.accepted.borrow().get(toy).cloned().unwrap_or_default()
    }

    pub fn fail(&self, failure: &str) {
        *self.failures.borrow_mut().entry(failure.to_owned()).or_default() += 1;
    }

    pub fn failed(&self) -> u64 {
        self.failures.borrow().values().sum()
    }

    /// The most frequent failures.
    pub fn failures(&self) -> Vec<(String, u64)> {
        let mut failures: Vec<_> = self.failures.borrow().iter().map(|(text, count)| (text.clone(), *count)).collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        failures.truncate(10);
        failures
    }

    pub fn close_span(&self, resident_kib: u64) {
        let mut times = std::mem::take(&mut *self.current.borrow_mut());
        times.values_mut().for_each(|times| times.sort_by(f64::total_cmp));
        let minutes = self.begun.get().elapsed().as_secs_f64() / 60.0;
        let resident_mib = resident_kib as f64 / 1024.0;
        self.spans.borrow_mut().push(Span { minutes, times, resident_mib });
    }

    pub fn print(&self) {
        println!("| | count | p50 ms | p99 ms | longest ms |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        for (kind, name) in KINDS {
            let spans = self.spans.borrow();
            let mut all: Vec<f64> = spans.iter().filter_map(|span| span.times.get(&kind)).flatten().copied().collect();
            all.sort_by(f64::total_cmp);
            println!(
                "| {name} | {} | {:.1} | {:.1} | {:.0} |",
                all.len(),
                at(&all, 0.5),
                at(&all, 0.99),
                at(&all, 1.0)
            );
        }
        let spans = self.spans.borrow();
        let resident = |span: Option<&Span>| span.map_or(0.0, |span| span.resident_mib);
        let most = spans.iter().map(|span| span.resident_mib).fold(0.0, f64::max);
        println!(
            "resident memory: {:.0} MiB at first, {:.0} in the middle, {:.0} at the end, {most:.0} at most",
            resident(spans.first()),
            resident(spans.get(spans.len() / 2)),
            resident(spans.last())
        );
    }

    pub fn latency_lines(&self) -> Vec<Line> {
        let spans = self.spans.borrow();
        let line = |(kind, name): (Kind, &'static str)| {
            let point = |span: &Span| Some((span.minutes, at(span.times.get(&kind)?, 0.99)));
            Line { name, points: spans.iter().filter_map(point).collect() }
        };
        KINDS.into_iter().map(line).collect()
    }

    pub fn memory_line(&self) -> Line {
        let points = self.spans.borrow().iter().map(|span| (span.minutes, span.resident_mib)).collect();
        Line { name: "resident", points }
    }
}
