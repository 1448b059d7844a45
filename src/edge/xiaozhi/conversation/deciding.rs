//! The answer to a turn, while the hub decides it.
//!
//! What may send a message of the child is a task of its own: neither an interruption nor the end of the connection stops
//! it, so that the message is not lost, and is not stored without its event. All else ends with its [`Deciding`].

use std::pin::Pin;
use std::sync::Arc;

use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::domain::turn::{Answered, Expected, Heard, Sound, Turn, Unanswered};
use crate::edge::tasks::Tasks;
use crate::edge::wire;
use crate::model::ToyId;

/// What was decided.
pub(super) type Decided = Result<Answered, Unanswered>;

/// An answer that is not decided yet.
pub(super) struct Deciding {
    decided: Pin<Box<dyn Future<Output = Decided> + Send>>,
    /// What the hub had expected of the turn.
    expected: Expected,
}

impl Deciding {
    /// Begins to decide the answer to what was said in a turn of this sound.
    pub(super) fn begin(
        hub: &Arc<Hub>,
        tasks: &Tasks,
        toy: &ToyId,
        expected: Expected,
        heard: Heard,
        sound: Sound,
    ) -> Self {
        let expected = match expected {
            Expected::Message { is_last_chance: true, .. } if matches!(heard, Heard::Nothing) => Expected::Anything,
            expected => expected,
        };
        let decided = decide(Arc::clone(hub), toy.clone(), expected.clone(), heard, sound);
        if !is_about_message(&expected) {
            return Self { decided: Box::pin(decided), expected };
        }
        let (task, before) = (tasks.spawn(decided), expected.clone());
        let decided = async move {
            let error = match task.await {
                Ok(Some(decided)) => return decided,
                // The hub stops.
                Ok(None) => DomainError::Busy,
                Err(error) => DomainError::internal(error),
            };
            Err(Unanswered { error, expected: before })
        };
        Self { decided: Box::pin(decided), expected }
    }

    /// Whether it goes on when it is interrupted.
    pub(super) fn goes_on(&self) -> bool {
        is_about_message(&self.expected)
    }

    /// Waits for it. Cancel-safe.
    pub(super) async fn decided(&mut self) -> Decided {
        self.decided.as_mut().await
    }

    /// What the hub expects of the next turn, if the child does not hear the answer: a prompt that was not heard is none.
    pub(super) fn expected_unheard(self, expected: Expected) -> Expected {
        if matches!(expected, Expected::Message { .. }) { self.expected } else { expected }
    }
}

/// Decides the answer to a turn that has ended, after the device has gone, if it may send a message.
pub(super) fn finish(hub: &Arc<Hub>, tasks: &Tasks, toy: &ToyId, expected: Expected, mut turn: Turn) {
    if !is_about_message(&expected) {
        return;
    }
    let (hub, toy) = (Arc::clone(hub), toy.clone());
    tasks.spawn(async move {
        let decided = match turn.heard().await {
            Ok(Heard::Nothing) => return,
            Ok(heard) => decide(hub, toy, expected, heard, turn.sound()).await,
            Err(error) => Err(error.into()),
        };
        if let Err(Unanswered { error, .. }) = decided {
            tracing::warn!(?error, "the last turn of a device that has gone");
        }
    });
}

fn is_about_message(expected: &Expected) -> bool {
    !matches!(expected, Expected::Anything)
}

async fn decide(hub: Arc<Hub>, toy: ToyId, expected: Expected, heard: Heard, sound: Sound) -> Decided {
    let now = wire::now();
    match expected {
        Expected::Message { friend, .. } if matches!(heard, Heard::Nothing) => {
            hub.ask_for_message(&toy, friend, now).await
        }
        Expected::Message { friend, .. } => hub.draft_turn(&toy, friend, sound, now).await,
        Expected::Answer(draft) => hub.answer_draft(&toy, draft, &heard, now).await,
        Expected::Anything => Ok(hub.answer_turn(&toy, &heard, now).await?),
    }
}
