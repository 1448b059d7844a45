//! The consent that a guardian gives when it binds a toy.

use super::answer::{Nothing, answer};
use super::request::{Password, request};
use super::{Asked, Call, Entry, Facts, Me, Subject, Who};
use crate::domain::erasure::Device;
use crate::domain::error::DomainError;
use crate::model::{Timestamp, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "consent",
    about: "The consent that a guardian gives when it binds a toy.",
    calls: &[Entry::of::<ConsentText>(), Entry::of::<Consent>(), Entry::of::<WithdrawConsent>()],
};

request! {
    /// The text that a guardian agrees to when it binds a toy: which data of a child is stored, and for how long.
    /// Added.
    struct ConsentText {}
}

impl Call for ConsentText {
    const FACTS: Facts = Facts::new("consent_text", Who::Anybody, "done");
    type Answer = Text;

    async fn handle(self, asked: &Asked) -> Result<Text, DomainError> {
        asked.anybody().await?;
        let found = asked.hub.consent_text();
        Ok(Text { version: found.version, text: found.text })
    }
}

request! {
    /// The text that the user agreed to when an own toy was bound. Added.
    struct Consent {
        /// The owner.
        me as "user_id": Me<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for Consent {
    const FACTS: Facts = Facts::new("consent", Who::Named, "done");
    type Answer = Agreed;

    async fn handle(self, asked: &Asked) -> Result<Agreed, DomainError> {
        let owner = asked.acting(self.me).await?;
        let found = asked.hub.consent_of(&owner, &self.toy).await?;
        let at = found.as_ref().map(|found| found.at);
        let (version, text) = found.map(|found| (found.text.version, found.text.text)).unzip();
        Ok(Agreed { version, text, at })
    }
}

request! {
    /// Withdraws the consent for an own toy and erases the toy's data, as `unbind_toy` does. Requires the password.
    /// Added.
    struct WithdrawConsent {
        /// The owner.
        me as "user_id": Me<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The owner's password.
        password: Password,
    }
}

impl Call for WithdrawConsent {
    const FACTS: Facts = Facts::new("withdraw_consent", Who::Named, "done");
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        let owner = asked.acting(self.me).await?;
        asked.hub.check_password_of(&owner, self.password.0, asked.from, asked.now).await?;
        asked.hub.erase_toy(Some(&owner), &self.toy, Device::NewSecret, asked.now).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `consent_text`.
    pub struct Text {
        /// The version of the text, for the `consent` of `bind_toy`.
        version: String,
        /// The text.
        text: String,
    }
}

answer! {
    /// The answer of `consent`. Empty for a toy that was bound by an older version of the hub.
    pub struct Agreed {
        /// The version of the text.
        version: Option<String>,
        /// The text.
        text: Option<String>,
        /// The time of the consent, in seconds since 1970.
        at: Option<Timestamp>,
    }
}
