//! The last lines of the log, for the console.
//!
//! The log is of the process and not of a hub, like its counters. Its lines have no secret and no name of a family.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A longer line is cut here, in bytes.
const LINE_MAX_BYTES: usize = 2000;

/// The last lines of this process.
pub static TAIL: Tail = Tail::new();

/// The last lines of a log.
#[derive(Debug)]
pub struct Tail(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    kept: VecDeque<String>,
    kept_max: usize,
    /// The number of the first kept line, from 0.
    first: u64,
}

impl Tail {
    const fn new() -> Self {
        Self(Mutex::new(Lines { kept: VecDeque::new(), kept_max: 0, first: 0 }))
    }

    /// Keeps so many lines from now on.
    pub fn keep(&self, lines_max: usize) {
        self.lines().kept_max = lines_max;
    }

    /// The lines from this number on, at most `limit` of the last ones; with the number of the first one and that of the
    /// next one.
    pub(super) fn from(&self, number: u64, limit: usize) -> (u64, Vec<String>, u64) {
        let lines = self.lines();
        let next = lines.first + lines.kept.len() as u64;
        let first = number.max(lines.first).max(next.saturating_sub(limit as u64)).min(next);
        let skipped = usize::try_from(first - lines.first).unwrap_or(usize::MAX);
        (first, lines.kept.iter().skip(skipped).cloned().collect(), next)
    }

    fn note(&self, text: &[u8]) {
        let text = plain(&String::from_utf8_lossy(text));
        let mut lines = self.lines();
        for line in text.lines() {
            while lines.kept.len() >= lines.kept_max.max(1) {
                lines.kept.pop_front();
                lines.first += 1;
            }
            if lines.kept_max == 0 {
                lines.first += 1;
                continue;
            }
            let end = line.floor_char_boundary(LINE_MAX_BYTES);
            lines.kept.push_back(line[..end].to_owned());
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text without the colours of a terminal (`ESC [ … m`).
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

/// Writes one line of the log.
#[derive(Debug)]
pub struct Note<'a>(&'a Tail);

impl io::Write for Note<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.note(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer of one line of the log of this process.
pub fn writer() -> Note<'static> {
    Note(&TAIL)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_colours() {
        let tail = Tail::new();
        Note(&tail).write_all(b"nobody keeps this\n").unwrap();
        assert_eq!(tail.from(0, 9), (1, vec![], 1));
        tail.keep(3);
        for line in ["\u{1b}[2mone\u{1b}[0m\n", "two\nthree\n", "four\n"] {
            Note(&tail).write_all(line.as_bytes()).unwrap();
        }
        let texts = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(tail.from(0, 9), (2, texts(&["two", "three", "four"]), 5));
        assert_eq!(tail.from(4, 9), (4, texts(&["four"]), 5));
        assert_eq!(tail.from(0, 1), (4, texts(&["four"]), 5));
        assert_eq!(tail.from(5, 9), (5, vec![], 5));
        assert_eq!(tail.from(99, 9), (5, vec![], 5));
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let tail = Tail::new();
        tail.keep(1);
        Note(&tail).write_all("ä".repeat(LINE_MAX_BYTES).as_bytes()).unwrap();
        assert_eq!(tail.from(0, 1).1[0].len(), LINE_MAX_BYTES);
    }
}
