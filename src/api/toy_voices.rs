//! The voice in which the hub speaks to a toy's child.

use super::answer::{Nothing, answer};
use super::request::request;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::model::{self, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "toy_voices",
    about: "The voice in which the hub speaks to a toy's child.",
    calls: &[Entry::of::<ToyVoice>(), Entry::of::<SetToyVoice>()],
};

request! {
    /// The voice of a toy, and the voices that it can have. Added.
    struct ToyVoice {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for ToyVoice {
    const FACTS: Facts = Facts::new("toy_voice", Permitted::Named, "done");
    type Answer = VoiceOfToy;

    async fn handle(self, context: &CallContext) -> Result<VoiceOfToy, DomainError> {
        let user = context.acting(self.caller).await?;
        let model::ToyVoice { name, speed_percent } = context.hub.toy_voice(Some(&user), &self.toy).await?;
        let speeds = model::ToyVoice::SPEEDS_PERCENT.map(u64::from).to_vec();
        Ok(VoiceOfToy { voice: name, speed: speed_percent.into(), voices: context.hub.installed_voices(), speeds })
    }
}

request! {
    /// Sets the voice in which the hub speaks to the toy's child: notices and answers. Without `voice` it is the hub's
    /// own. Messages of friends sound as they are. Added.
    struct SetToyVoice {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// A voice of /toy_voice. Other languages than its own are spoken by the voices of the hub.
        voice: Option<String>,
        /// The pace in percent, one of those of /toy_voice. Default: 100.
        speed: Option<u32>,
    }
}

impl Call for SetToyVoice {
    const FACTS: Facts = Facts::new("set_toy_voice", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        let voice = model::ToyVoice {
            name: self.voice.filter(|name| !name.trim().is_empty()),
            speed_percent: u16::try_from(self.speed.unwrap_or(100)).unwrap_or(u16::MAX),
        };
        context.hub.set_toy_voice(Some(&user), &self.toy, voice).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `/toy_voice`.
    pub struct VoiceOfToy {
        /// The voice. Absent if it is the hub's own.
        voice: Option<String>,
        /// The pace in percent.
        speed: u64,
        /// The voices that a toy can have.
        voices: Vec<String>,
        /// The paces that a voice can have, in percent.
        speeds: Vec<u64>,
    }
}
