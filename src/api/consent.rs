//! The consent that a guardian gives when it binds a toy.

use super::answer::{Nothing, answer};
use super::request::{Password, request};
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
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
    struct ConsentText {
        /// "en" (default), "zh" or "de". For other languages the text is English.
        language: Option<String>,
    }
}

impl Call for ConsentText {
    const FACTS: Facts = Facts::new("consent_text", Permitted::Anybody, "done");
    type Answer = Text;

    async fn handle(self, context: &CallContext) -> Result<Text, DomainError> {
        context.anybody().await?;
        let found = context.hub.consent_text(&self.language.unwrap_or_default());
        Ok(Text { version: found.version, language: found.language, text: found.text })
    }
}

request! {
    /// The text that the user agreed to when an own toy was bound. Added.
    struct Consent {
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for Consent {
    const FACTS: Facts = Facts::new("consent", Permitted::Named, "done");
    type Answer = Agreed;

    async fn handle(self, context: &CallContext) -> Result<Agreed, DomainError> {
        let owner = context.acting(self.caller).await?;
        let found = context.hub.consent_of(Some(&owner), &self.toy).await?;
        let at = found.as_ref().map(|found| found.at);
        let found = found.map(|found| found.text);
        let language = found.as_ref().map(|text| text.language.clone());
        let (version, text) = found.map(|found| (found.version, found.text)).unzip();
        Ok(Agreed { version, language, text, at })
    }
}

request! {
    /// Withdraws the consent for an own toy and erases the toy's data, as `unbind_toy` does. Requires the password.
    /// Added.
    struct WithdrawConsent {
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The owner's password.
        password: Password,
    }
}

impl Call for WithdrawConsent {
    const FACTS: Facts = Facts::new("withdraw_consent", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let owner = context.acting(self.caller).await?;
        context.hub.check_password_of(&owner, self.password.0, context.from, context.now).await?;
        context.hub.erase_toy(Some(&owner), &self.toy, Device::NewSecret, context.now).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `consent_text`.
    pub struct Text {
        /// The version of the text, for the `consent` of `bind_toy`.
        version: String,
        /// The code of its language.
        language: String,
        /// The text.
        text: String,
    }
}

answer! {
    /// The answer of `consent`. Empty for a toy that was bound by an older version of the hub.
    pub struct Agreed {
        /// The version of the text.
        version: Option<String>,
        /// The code of its language.
        language: Option<String>,
        /// The text.
        text: Option<String>,
        /// The time of the consent, in seconds since 1970.
        at: Option<Timestamp>,
    }
}
