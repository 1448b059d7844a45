//! A message that a child has spoken, and that is sent once the child says so.

use std::sync::Arc;

use bytes::Bytes;

use super::decision::{Draft, Then};
use super::telling::{Told, tell};
use super::turn::{Answered, Expected, Heard, Spoken, Unanswered};
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::model::{Party, Timestamp, ToyId};
use crate::ports::audio::{self, Sound};
use crate::ports::speech::intent::{self, DraftWish};
use crate::ports::speech::languages::{Language, Line};

/// After so many answers that are not understood, the message is not sent.
const UNCLEAR_MAX: u8 = 3;

impl Hub {
    /// Takes the sound of a turn as a message to a friend, and asks whether to send it; sends it at once if
    /// `speech.confirm_messages` is off. Errors: as of [`Hub::send_turn`], `NotFriends`. If it could not be sent, the hub
    /// expects an answer whether to send it.
    pub async fn draft_turn(
        self: &Arc<Self>,
        toy: &ToyId,
        friend: Party,
        sound: Sound,
        now: Timestamp,
    ) -> Result<Answered, Unanswered> {
        let remark = self.remark_of(toy, &friend).await?;
        let draft = Draft { friend, remark, sound: Arc::new(sound), unclear: 0 };
        if self.config.speech.confirm_messages {
            return Ok(self.ask_about(toy, draft, Vec::new(), now));
        }
        let sent = self.send_turn(toy, &draft.friend, Arc::clone(&draft.sound), now).await;
        sent.map_err(|error| unsent(error, draft))
    }

    /// Asks a child that has said nothing once more for its message to a friend. Errors: `NotFriends`.
    pub async fn ask_for_message(
        self: &Arc<Self>,
        toy: &ToyId,
        friend: Party,
        now: Timestamp,
    ) -> Result<Answered, Unanswered> {
        let remark = self.remark_of(toy, &friend).await?;
        let telling = self.tell_line(toy, &Line::SayYourMessage(&remark), now);
        Ok(Answered { telling, expected: Expected::Message { friend, is_last_chance: true } })
    }

    /// The name of a friend, as the family calls it.
    async fn remark_of(&self, toy: &ToyId, friend: &Party) -> Result<String, Unanswered> {
        let friends = self.store.friends(&Party::from(toy.clone())).await;
        let friends =
            friends.map_err(|error| Unanswered { error: error.into(), expected: Expected::message(friend.clone()) })?;
        let entry = friends.into_iter().find(|entry| entry.party == *friend).ok_or(DomainError::NotFriends)?;
        Ok(entry.remark)
    }

    /// What a child says about its message: to send it, to speak it again, to hear it, or not to send it. Errors: as of
    /// [`Hub::send_turn`]; the message is kept, unless it can never be sent.
    pub async fn answer_draft(
        self: &Arc<Self>,
        toy: &ToyId,
        draft: Draft,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<Answered, Unanswered> {
        let answered = self.follow_wish(toy, draft.clone(), heard, now).await;
        answered.map_err(|error| unsent(error, draft))
    }

    async fn follow_wish(
        self: &Arc<Self>,
        toy: &ToyId,
        mut draft: Draft,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<Answered, DomainError> {
        let said = heard.text().unwrap_or_default();
        let language = self.language_of(heard);
        match intent::draft(said, language) {
            Some(DraftWish::Send) => self.send_turn(toy, &draft.friend, draft.sound, now).await,
            Some(DraftWish::Again) => {
                let telling = self.tell_line(toy, &Line::SayYourMessage(&draft.remark), now);
                Ok(Answered { telling, expected: Expected::message(draft.friend) })
            }
            Some(DraftWish::Play) => {
                let wav = self.wav_of(toy, Arc::clone(&draft.sound)).await?;
                Ok(self.ask_about(toy, draft, vec![Told::Sound(wav)], now))
            }
            None if draft.unclear + 1 < UNCLEAR_MAX => {
                draft.unclear += 1;
                Ok(self.ask_about(toy, draft, Vec::new(), now))
            }
            Some(DraftWish::Drop) | None => {
                Ok(Answered { telling: self.tell_line(toy, &Line::NotSent, now), expected: Expected::Anything })
            }
        }
    }

    /// Asks whether to send a message, after what is told before.
    fn ask_about(self: &Arc<Self>, toy: &ToyId, draft: Draft, mut told: Vec<Told>, now: Timestamp) -> Answered {
        let language = self.family_language();
        told.push(Told::Text { text: Line::ShallISend(&draft.remark).text(language), language });
        let telling = tell(Arc::clone(self), toy.clone(), told, Then::Nothing, now);
        Answered { telling, expected: Expected::Answer(draft) }
    }

    fn language_of(&self, heard: &Heard) -> &'static Language {
        match heard {
            Heard::Words(Spoken { transcript, .. }) => Language::of(&transcript.text, transcript.language),
            Heard::Unclear | Heard::Nothing => self.family_language(),
        }
    }

    /// A sound as a WAV file.
    pub(super) async fn wav_of(&self, toy: &ToyId, sound: Arc<Sound>) -> Result<Bytes, DomainError> {
        let wav = self.audio_workers.run_of(&Party::from(toy.clone()), move || audio::encode_wav(&sound)).await?;
        wav.map_err(DomainError::internal)
    }
}

/// A message that was not sent is kept, unless it can never be sent.
fn unsent(error: DomainError, draft: Draft) -> Unanswered {
    let is_final = matches!(
        error,
        DomainError::NotFriends
            | DomainError::UnknownParty
            | DomainError::NotSound
            | DomainError::EmptyRecording
            | DomainError::RecordingTooLong { .. }
            | DomainError::UploadTooLarge { .. }
    );
    Unanswered { error, expected: if is_final { Expected::Anything } else { Expected::Answer(draft) } }
}
