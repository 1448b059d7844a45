//! The sound that a device plays: what was made of it, and when the next part of it is due.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;
use crate::domain::error::DomainError;
use crate::domain::turn::{Done, PACKET_MS, Piece, Telling};

/// A device changes its state after `tts start`, and drops packets that come before.
const READY_AFTER: Duration = Duration::from_millis(100);
/// So many packets are made ahead: a second and a half.
const MADE_AHEAD: usize = 25;

/// The next part of a sound.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The text of the sentence that follows.
    Sentence(String),
    /// A packet, and its time from the beginning of the sound, in milliseconds.
    Packet(Bytes, u32),
    /// All packets before it were played, and with them this is done.
    Done(Done),
}

/// What happens next.
#[derive(Debug)]
pub(super) enum Next {
    /// A part is due.
    Part(Part),
    /// All of it was played.
    Ended,
    /// The rest cannot be made.
    Failed(DomainError),
}

/// One sound, from `tts start` to `tts stop`.
pub(super) struct Speaking {
    /// None until the answer is decided, and after its last piece.
    telling: Option<Telling>,
    is_decided: bool,
    /// Whether the last piece was none of speech.
    is_music: bool,
    parts: VecDeque<Part>,
    /// What is done when the packets before it were played, and when that is. The next packets do not wait for it.
    dones: VecDeque<(Instant, Done)>,
    made: u32,
    waiting: usize,
    pace: Pace,
    ready: Instant,
    play_out: Duration,
}

impl Speaking {
    /// A sound whose `tts start` is sent at this time, and which is not decided yet.
    pub(super) fn new(now: Instant, lead: u32, play_out: Duration) -> Self {
        Self {
            telling: None,
            is_decided: false,
            is_music: false,
            parts: VecDeque::new(),
            dones: VecDeque::new(),
            made: 0,
            waiting: 0,
            pace: Pace::new(lead),
            ready: now + READY_AFTER,
            play_out,
        }
    }

    /// What is played.
    pub(super) fn decide(&mut self, telling: Telling) {
        (self.telling, self.is_decided) = (Some(telling), true);
    }

    /// Whether music or a recording is played.
    pub(super) fn is_music(&self) -> bool {
        self.is_music
    }

    /// Plays something else from now on. What was sent is played to its end, a few packets.
    pub(super) fn replace(&mut self, telling: Telling) {
        self.parts.clear();
        (self.waiting, self.is_music) = (0, false);
        self.decide(telling);
    }

    /// Waits for what happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let wants_more = self.telling.is_some() && self.waiting < MADE_AHEAD;
            while let Some(Part::Done(done)) = self.parts.front() {
                self.dones.push_back((self.pace.played_out().unwrap_or(self.ready), done.clone()));
                self.parts.pop_front();
            }
            let (due, done_due) = (self.due(), self.dones.front().map(|(at, _)| *at));
            tokio::select! {
                biased;
                () = until(done_due) => {
                    if let Some((_, done)) = self.dones.pop_front() {
                        return Next::Part(Part::Done(done));
                    }
                }
                () = until(due) => match self.parts.pop_front() {
                    Some(part) => {
                        if matches!(part, Part::Packet(..)) {
                            self.pace.sent(Instant::now());
                            self.waiting -= 1;
                        }
                        return Next::Part(part);
                    }
                    None => return Next::Ended,
                },
                piece = more(&mut self.telling), if wants_more => match piece {
                    Some(Ok(piece)) => self.add(piece),
                    Some(Err(error)) => {
                        self.telling = None;
                        return Next::Failed(error);
                    }
                    None => self.telling = None,
                },
            }
        }
    }

    /// When the next part is due, or the end; none while there is neither.
    fn due(&self) -> Option<Instant> {
        match self.parts.front() {
            Some(_) => Some(self.pace.due().map_or(self.ready, |due| due.max(self.ready))),
            None if self.is_decided && self.telling.is_none() => {
                Some(self.pace.played_out().map_or(self.ready, |end| end + self.play_out))
            }
            None => None,
        }
    }

    fn add(&mut self, piece: Piece) {
        self.waiting += piece.packets.len();
        self.is_music = piece.text.is_none() && piece.done.is_none();
        self.parts.extend(piece.text.map(Part::Sentence));
        for packet in piece.packets {
            self.parts.push_back(Part::Packet(packet, self.made.saturating_mul(PACKET_MS)));
            self.made = self.made.saturating_add(1);
        }
        self.parts.extend(piece.done.map(Part::Done));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

async fn more(telling: &mut Option<Telling>) -> Option<Result<Piece, DomainError>> {
    match telling {
        Some(telling) => telling.next().await,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::model::ReminderId;

    fn piece(text: Option<&str>, count: usize) -> Result<Piece, DomainError> {
        Ok(Piece { text: text.map(str::to_owned), packets: vec![Bytes::from_static(b"p"); count], done: None })
    }

    /// What happens, and when, in milliseconds.
    async fn played(pieces: Vec<Result<Piece, DomainError>>) -> Vec<(String, u64)> {
        let start = Instant::now();
        let mut speaking = Speaking::new(start, 4, Duration::from_millis(300));
        speaking.decide(stream::iter(pieces).boxed());
        let mut found = Vec::new();
        loop {
            let next = speaking.next().await;
            let at = start.elapsed().as_millis() as u64;
            match next {
                Next::Part(Part::Sentence(text)) => found.push((text, at)),
                Next::Part(Part::Packet(_, time)) => found.push((format!("{time}"), at)),
                Next::Part(Part::Done(_)) => found.push(("done".into(), at)),
                Next::Ended => {
                    found.push(("end".into(), at));
                    return found;
                }
                Next::Failed(_) => found.push(("failed".into(), at)),
            }
        }
    }

    /// On a busy machine a timer may be late, and never early.
    fn assert_not_early(found: &[(String, u64)], expected: &[(&str, u64)]) {
        let words = |list: &[(String, u64)]| list.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>();
        assert_eq!(words(found), expected.iter().map(|(word, _)| word.to_string()).collect::<Vec<_>>());
        for ((word, at), (_, expected)) in found.iter().zip(expected) {
            assert!(at >= expected, "{word} at {at}, not before {expected}");
        }
    }

    #[tokio::test]
    async fn sentences_and_packets_come_in_order_and_the_end_after_the_last_was_played() {
        let found = played(vec![piece(Some("one"), 6), piece(Some("two"), 1)]).await;
        let expected = [
            ("one", 100),
            ("0", 100),
            ("60", 100),
            ("120", 100),
            ("180", 100),
            ("240", 160),
            ("300", 220),
            ("two", 280),
            ("360", 280),
            ("end", 100 + 7 * 60 + 300),
        ];
        assert_not_early(&found, &expected);
    }

    #[tokio::test]
    async fn a_sound_that_breaks_off_is_played_so_far() {
        let mut found = played(vec![piece(None, 2), Err(DomainError::Busy)]).await;
        // When it breaks off has nothing to do with the pace.
        let failed = found.iter().position(|(word, _)| word == "failed").unwrap();
        found.remove(failed);
        assert_not_early(&found, &[("0", 100), ("60", 100), ("end", 100 + 2 * 60 + 300)]);
    }

    #[tokio::test]
    async fn something_is_done_when_all_before_it_was_played() {
        let done = Piece { text: None, packets: Vec::new(), done: Some(Done::Reminder(ReminderId::random())) };
        let found = played(vec![piece(Some("one"), 6), Ok(done), piece(None, 1)]).await;
        let packets = ["0", "60", "120", "180", "240", "300"];
        let times = [100, 100, 100, 100, 160, 220];
        let mut expected = vec![("one", 100)];
        expected.extend(packets.into_iter().zip(times));
        // The packets that follow do not wait for it.
        expected.extend([("360", 280), ("done", 100 + 6 * 60), ("end", 100 + 7 * 60 + 300)]);
        assert_not_early(&found, &expected);
    }

    #[tokio::test]
    async fn music_makes_room_at_once() {
        let start = Instant::now();
        let mut speaking = Speaking::new(start, 4, Duration::ZERO);
        speaking.decide(stream::repeat_with(|| piece(None, 10)).boxed());
        while !matches!(speaking.next().await, Next::Part(Part::Packet(_, 240))) {}
        assert!(speaking.is_music());
        speaking.replace(stream::iter(vec![piece(Some("ring"), 1)]).boxed());
        assert!(matches!(speaking.next().await, Next::Part(Part::Sentence(text)) if text == "ring"));
        assert!(!speaking.is_music());
        assert!(matches!(speaking.next().await, Next::Part(Part::Packet(..))));
        assert!(matches!(speaking.next().await, Next::Ended));
    }

    #[tokio::test]
    async fn nothing_is_made_far_ahead() {
        let made = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&made);
        let endless = stream::repeat_with(move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            piece(None, 10)
        });
        let mut speaking = Speaking::new(Instant::now(), 4, Duration::ZERO);
        speaking.decide(endless.boxed());
        for _ in 0..12 {
            assert!(matches!(speaking.next().await, Next::Part(Part::Packet(..))));
        }
        let made = made.load(std::sync::atomic::Ordering::Relaxed);
        assert!((3..=4).contains(&made), "{made} pieces of ten packets, of which twelve were sent");
    }
}
