//! The short-term memory for each toy: the last played piece, the place in it, and the open question.
//!
//! With an embedded database it is in memory only. Hubs over one server keep the question and the last piece in its
//! database: the answer to a question of one hub may reach another over HTTP. The place is that of a device that streams,
//! which stays at its hub.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::error::DomainError;
use crate::domain::{Hub, clock};
use crate::model::{FileName, Question, Timestamp, ToyId};

/// The maximum number of toys. Beyond it, the toy that has been inactive longest is removed.
const TOYS_MAX: usize = 10_000;
/// Seconds for which hubs over one server know the last piece.
const LAST_PLAYED_S: Timestamp = 24.0 * 3600.0;

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

    fn played(&self, toy: &ToyId, music: &FileName, now: Timestamp) {
        self.remember(toy, now, |toy| toy.last_played = Some(music.clone()));
    }

    fn last_played(&self, toy: &ToyId) -> Option<FileName> {
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

    fn set_question(&self, toy: &ToyId, question: Question, now: Timestamp) {
        self.remember(toy, now, |toy| toy.question = Some((question, now)));
    }

    fn has_question(&self, toy: &ToyId, now: Timestamp) -> bool {
        let toys = self.toys();
        let asked = toys.get(toy).and_then(|toy| toy.question.as_ref());
        asked.is_some_and(|(_, asked)| now - asked <= self.question_timeout_s)
    }

    fn take_question(&self, toy: &ToyId, now: Timestamp) -> Option<Question> {
        let (question, asked) = self.toys().get_mut(toy)?.question.take()?;
        (now - asked <= self.question_timeout_s).then_some(question)
    }
}

impl Hub {
    /// Notes the music that a toy plays.
    pub(super) async fn note_played(&self, toy: &ToyId, music: &FileName, now: Timestamp) -> Result<(), DomainError> {
        if self.store.is_on_server() {
            self.store.set_last_played(toy, music, clock::age_of(now) + LAST_PLAYED_S).await?;
        } else {
            self.assistant.memory.played(toy, music, now);
        }
        Ok(())
    }

    /// The music that a toy has played last.
    pub(super) async fn last_played(&self, toy: &ToyId, now: Timestamp) -> Result<Option<FileName>, DomainError> {
        match self.store.is_on_server() {
            true => Ok(self.store.last_played(toy, clock::age_of(now)).await?),
            false => Ok(self.assistant.memory.last_played(toy)),
        }
    }

    /// Notes a question that the child of a toy was asked.
    pub(super) async fn set_question(
        &self,
        toy: &ToyId,
        question: Question,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let memory = &self.assistant.memory;
        if self.store.is_on_server() {
            self.store.set_question(toy, &question, clock::age_of(now) + memory.question_timeout_s).await?;
        } else {
            memory.set_question(toy, question, now);
        }
        Ok(())
    }

    /// Whether a question to the child of a toy is open.
    pub(super) async fn has_question(&self, toy: &ToyId, now: Timestamp) -> Result<bool, DomainError> {
        match self.store.is_on_server() {
            true => Ok(self.store.has_question(toy, clock::age_of(now)).await?),
            false => Ok(self.assistant.memory.has_question(toy, now)),
        }
    }

    /// Takes the open question to the child of a toy, unless it is out of date.
    pub(super) async fn take_question(&self, toy: &ToyId, now: Timestamp) -> Result<Option<Question>, DomainError> {
        match self.store.is_on_server() {
            true => Ok(self.store.take_question(toy, clock::age_of(now)).await?),
            false => Ok(self.assistant.memory.take_question(toy, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentId;

    fn question() -> Question {
        Question::Title([ContentId::random(), ContentId::random()])
    }

    #[test]
    fn a_question_is_answered_once_in_time_and_by_its_own_toy() {
        let memory = Memory::new(60.0);
        let (toy, other) = (ToyId::random(), ToyId::random());
        let asked = question();
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
