//! The recogniser, which is loaded while the hub already serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::config::{self, seconds};
use crate::domain::PartState;
use crate::domain::error::DomainError;
use crate::ports::speech::Recogniser;

/// The state of speech recognition.
enum State {
    /// No model is configured, or the hub stops.
    Off,
    /// The model is being loaded.
    Loading,
    Ready(Arc<Recogniser>),
    /// The configured model could not be loaded, and the included one recognises.
    Instead(Arc<Recogniser>),
    /// A model is configured, but could not be loaded.
    Failed,
}

/// The recogniser, once its model is loaded.
pub(in crate::domain) struct Ears {
    state: watch::Sender<State>,
    /// How long a recording waits for the model, and the places of those that wait.
    wait_max: Duration,
    waiting: Semaphore,
}

impl Ears {
    pub(super) fn new(config: &config::Speech) -> Self {
        let waiting = Semaphore::new(config.queue_max.min(Semaphore::MAX_PERMITS));
        Self { state: watch::Sender::new(State::Off), wait_max: seconds(config.wait_timeout_s), waiting }
    }

    pub(super) fn begin_loading(&self) {
        self.state.send_replace(State::Loading);
    }

    pub(super) fn note_failed(&self) {
        self.state.send_replace(State::Failed);
    }

    pub(super) fn set(&self, recogniser: Recogniser) {
        self.state.send_replace(State::Ready(Arc::new(recogniser)));
    }

    pub(super) fn set_instead(&self, recogniser: Recogniser) {
        self.state.send_replace(State::Instead(Arc::new(recogniser)));
    }

    /// Takes the recogniser away.
    pub(super) fn turn_off(&self) -> impl Sized + Send + use<> {
        self.state.send_replace(State::Off)
    }

    /// The recogniser, if it is ready.
    pub(in crate::domain) fn now(&self) -> Option<Arc<Recogniser>> {
        match &*self.state.borrow() {
            State::Ready(recogniser) | State::Instead(recogniser) => Some(Arc::clone(recogniser)),
            State::Off | State::Loading | State::Failed => None,
        }
    }

    /// Whether there is a recogniser, or will be. Errors: `NoSpeechModel`.
    pub(super) fn check(&self) -> Result<(), DomainError> {
        match &*self.state.borrow() {
            State::Ready(_) | State::Instead(_) | State::Loading => Ok(()),
            State::Off | State::Failed => Err(DomainError::NoSpeechModel),
        }
    }

    /// The recogniser, once its model is loaded. Errors: `NoSpeechModel`; `Busy` if that takes too long, or if too many
    /// wait.
    pub(in crate::domain) async fn ready(&self) -> Result<Arc<Recogniser>, DomainError> {
        if let Some(recogniser) = self.now() {
            return Ok(recogniser);
        }
        let _place = self.waiting.try_acquire().map_err(|_| DomainError::Busy)?;
        let mut state = self.state.subscribe();
        let loaded = state.wait_for(|state| !matches!(state, State::Loading));
        tokio::time::timeout(self.wait_max, loaded)
            .await
            .map_err(|_| DomainError::Busy)?
            .map_err(DomainError::internal)?;
        self.now().ok_or(DomainError::NoSpeechModel)
    }

    pub(super) fn part(&self) -> PartState {
        match &*self.state.borrow() {
            State::Off => PartState::Off,
            State::Loading => PartState::Loading,
            State::Ready(_) => PartState::Ok,
            State::Instead(_) => PartState::Degraded(
                "the model of speech.model could not be loaded, and the included one is used; see the log and toyhub doctor",
            ),
            State::Failed => PartState::Failed("the speech model could not be loaded, see the log and toyhub doctor"),
        }
    }
}
