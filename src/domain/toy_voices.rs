//! The voices of toys: what the hub says to a child is spoken in the voice, and at the pace, that its guardians chose.

use std::collections::BTreeSet;

use dashmap::DashMap;

use super::Hub;
use super::error::DomainError;
use crate::model::{Party, ToyId, ToyVoice, UserId};
use crate::ports::speech::Voice;
use crate::ports::speech::languages::Language;

/// The voices of the toys that have one of their own.
#[derive(Debug, Default)]
pub(super) struct ToyVoices(DashMap<ToyId, ToyVoice>);

impl ToyVoices {
    /// Removes a toy that was erased.
    pub(super) fn forget(&self, toy: &ToyId) {
        self.0.remove(toy);
    }

    fn get(&self, toy: &ToyId) -> ToyVoice {
        self.0.get(toy).map(|voice| voice.clone()).unwrap_or_default()
    }

    pub(super) fn set(&self, toy: ToyId, voice: ToyVoice) {
        if voice == ToyVoice::default() {
            self.0.remove(&toy);
        } else {
            self.0.insert(toy, voice);
        }
    }
}

/// The voice and the pace of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoken {
    /// A voice of Piper, or of the program, or a language.
    pub(super) voice: String,
    /// The voice of the program for the language, which speaks if that one is not installed.
    pub(super) instead: &'static str,
    /// The pace, in percent of that of the settings.
    pub(super) speed_percent: u16,
}

impl<'s> From<&'s Spoken> for Voice<'s> {
    fn from(spoken: &'s Spoken) -> Self {
        Self { name: &spoken.voice, instead: spoken.instead, speed_percent: spoken.speed_percent }
    }
}

impl Hub {
    /// Reads the voices of all toys, before the first client connects.
    pub async fn load_toy_voices(&self) -> Result<(), DomainError> {
        for (toy, voice) in self.store.toy_voices().await? {
            self.toy_voices.set(toy, voice);
        }
        Ok(())
    }

    /// Logs the voices of toys that are not installed any more, each once: the voice of the hub speaks to these toys.
    pub(super) fn look_for_toy_voices(&self) {
        let chosen = self.toy_voices.0.iter().filter_map(|voice| voice.name.clone());
        let is_missing = |name: &String| !self.speaker.installed_voices().any(|installed| installed == name);
        let missing: BTreeSet<String> = chosen.filter(is_missing).collect();
        for voice in &missing {
            tracing::warn!(voice, "the voice of some toys is not installed; the voice of the hub speaks instead");
        }
    }

    /// The voice of a toy. `None` stands for the operator of the hub. Errors: `UnknownParty`.
    pub async fn toy_voice(&self, guardian: Option<&UserId>, toy: &ToyId) -> Result<ToyVoice, DomainError> {
        self.check_toy_of(guardian, toy).await?;
        Ok(self.toy_voices.get(toy))
    }

    /// Sets the voice of a toy. Errors: `UnknownParty`, `Invalid`, `DiskFull`.
    pub async fn set_toy_voice(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        voice: ToyVoice,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        if !ToyVoice::SPEEDS_PERCENT.contains(&voice.speed_percent) {
            let speeds = ToyVoice::SPEEDS_PERCENT.map(|speed| speed.to_string()).join(", ");
            return Err(DomainError::invalid("speed", format!("is one of {speeds}")));
        }
        if let Some(name) = &voice.name
            && !self.speaker.installed_voices().any(|installed| installed == name)
        {
            return Err(DomainError::invalid("voice", "is not installed; /toy_voice lists the voices of this hub"));
        }
        self.check_room(0)?;
        self.store.set_toy_voice(toy, &voice).await?;
        self.toy_voices.set(toy.clone(), voice);
        self.notify_settings(toy);
        Ok(())
    }

    /// The voices that a toy can have.
    pub fn installed_voices(&self) -> Vec<String> {
        self.speaker.installed_voices().map(str::to_owned).collect()
    }

    /// The voice in which a party hears a text; only toys have one of their own.
    pub(super) fn spoken_to(&self, party: &Party, language: &'static Language) -> Spoken {
        match party {
            Party::Toy(toy) => self.spoken_in(&self.toy_voices.get(toy), language),
            Party::User(_) => self.spoken_in(&ToyVoice::default(), language),
        }
    }

    /// A voice speaks its own language; the hub's voice for a language speaks the others, at the same pace.
    pub(super) fn spoken_in(&self, voice: &ToyVoice, language: &'static Language) -> Spoken {
        let own = voice.name.as_deref().filter(|name| self.speaker.speaks(name, language.code));
        let name = own.unwrap_or_else(|| self.voice(language).name);
        Spoken { voice: name.to_owned(), instead: language.voice, speed_percent: voice.speed_percent }
    }

    /// All voices in which a text may have been spoken.
    pub(super) async fn all_spoken(&self, language: &'static Language) -> Result<Vec<Spoken>, DomainError> {
        let used = self.store.used_voices().await?;
        let all = std::iter::once(ToyVoice::default()).chain(used);
        Ok(all.map(|voice| self.spoken_in(&voice, language)).collect())
    }
}
