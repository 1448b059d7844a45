//! The short-term memory for each toy: the last played piece and the open question. It is not stored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Content, FileName, Friend, Timestamp, ToyId};
use crate::ports::speech::intent::Wish;

/// The maximum number of toys. Beyond it, the toy that has been inactive longest is removed.
const TOYS_MAX: usize = 10_000;

/// A question that the hub asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    /// The title to play.
    Title([Content; 2]),
    /// The friend to start a message to.
    Friend([Friend; 2]),
    /// Whether the message is for this friend.
    IsItFor(Friend),
    /// When this reminder is wanted.
    When(Wish),
    /// Whether to play the unread messages.
    PlayMessages,
}

pub(super) struct Memory {
    toys: Mutex<HashMap<ToyId, Remembered>>,
    toys_max: usize,
    question_timeout_s: Timestamp,
}

#[derive(Default)]
struct Remembered {
    last_played: Option<FileName>,
    /// The music that was begun and not played to its end, and up to where, in seconds.
    place: Option<(FileName, f64)>,
    question: Option<(Question, Timestamp)>,
    touched: Timestamp,
}

impl Memory {
    /// Questions are forgotten after `question_timeout_s`.
    pub(super) fn new(question_timeout_s: Timestamp) -> Self {
        Self { toys: Mutex::default(), toys_max: TOYS_MAX, question_timeout_s }
    }

    fn toys(&self) -> MutexGuard<'_, HashMap<ToyId, Remembered>> {
        self.toys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, toy: &ToyId, now: Timestamp, change: impl FnOnce(&mut Remembered)) {
        let mut toys = self.toys();
        if toys.len() >= self.toys_max && !toys.contains_key(toy) {
            let quietest = toys.iter().min_by(|(_, a), (_, b)| a.touched.total_cmp(&b.touched));
            if let Some(quietest) = quietest.map(|(id, _)| id.clone()) {
                toys.remove(&quietest);
            }
        }
        let remembered = toys.entry(toy.clone()).or_default();
        remembered.touched = now;
        change(remembered);
    }

    pub(super) fn played(&self, toy: &ToyId, music: &FileName, now: Timestamp) {
        self.remember(toy, now, |toy| toy.last_played = Some(music.clone()));
    }

    pub(super) fn last_played(&self, toy: &ToyId) -> Option<FileName> {
        self.toys().get(toy)?.last_played.clone()
    }

    /// Notes up to where music was played; none at its end.
    pub(super) fn set_place(&self, toy: &ToyId, place: Option<(FileName, f64)>, now: Timestamp) {
        self.remember(toy, now, |toy| toy.place = place);
    }

    /// Where music was interrupted, in seconds.
    pub(super) fn place(&self, toy: &ToyId) -> Option<(FileName, f64)> {
        self.toys().get(toy)?.place.clone()
    }

    pub(super) fn set_question(&self, toy: &ToyId, question: Question, now: Timestamp) {
        self.remember(toy, now, |toy| toy.question = Some((question, now)));
    }

    /// Whether a question of a toy is open.
    pub(super) fn has_question(&self, toy: &ToyId, now: Timestamp) -> bool {
        let toys = self.toys();
        let asked = toys.get(toy).and_then(|toy| toy.question.as_ref());
        asked.is_some_and(|(_, asked)| now - asked <= self.question_timeout_s)
    }

    /// Takes the open question of a toy, unless it is out of date.
    pub(super) fn take_question(&self, toy: &ToyId, now: Timestamp) -> Option<Question> {
        let (question, asked) = self.toys().get_mut(toy)?.question.take()?;
        (now - asked <= self.question_timeout_s).then_some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentId;

    fn question(title: &str) -> Question {
        let content = |title: &str| Content {
            id: ContentId::random(),
            title: title.into(),
            music: FileName::random("mp3"),
            cover: FileName::random("jpg"),
        };
        Question::Title([content(title), content("other")])
    }

    #[test]
    fn a_question_is_answered_once_in_time_and_by_its_own_toy() {
        let memory = Memory::new(60.0);
        let (toy, other) = (ToyId::random(), ToyId::random());
        let asked = question("bear");
        memory.set_question(&toy, asked.clone(), 100.0);
        assert_eq!(memory.take_question(&other, 100.0), None);
        assert_eq!(memory.take_question(&toy, 160.0), Some(asked.clone()));
        assert_eq!(memory.take_question(&toy, 160.0), None);
        memory.set_question(&toy, asked, 100.0);
        assert_eq!(memory.take_question(&toy, 160.1), None);
    }

    #[test]
    fn the_toy_that_was_quiet_longest_is_forgotten() {
        let memory = Memory { toys_max: 2, ..Memory::new(60.0) };
        let toys = [ToyId::random(), ToyId::random(), ToyId::random()];
        let song = FileName::random("mp3");
        for (toy, now) in [(0, 1.0), (1, 2.0), (0, 3.0), (2, 4.0)] {
            memory.played(&toys[toy], &song, now);
        }
        let known = toys.each_ref().map(|toy| memory.last_played(toy).is_some());
        assert_eq!(known, [true, false, true]);
    }
}
