//! The settings of a toy by its guardians: quiet hours, daily minutes, and permitted content.

use super::answer::{Id, Nothing, answer};
use super::request::{Field, Given, Presence, Text, missing, request};
use super::schema;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::ToySettings;
use crate::domain::error::DomainError;
use crate::domain::{daily_minutes, quiet_hours};
use crate::model::{ContentId, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "rest",
    about: "The settings of a toy by its guardians: quiet hours, daily minutes, and permitted content.",
    calls: &[
        Entry::of::<Settings>(),
        Entry::of::<SetQuietHours>(),
        Entry::of::<SetDailyMinutes>(),
        Entry::of::<SetContent>(),
        Entry::of::<ApproveContent>(),
    ],
};

request! {
    /// The settings of a toy. Added.
    struct Settings {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for Settings {
    const FACTS: Facts = Facts::new("toy_settings", Permitted::Named, "done");
    type Answer = SettingsOfToy;

    async fn handle(self, context: &CallContext) -> Result<SettingsOfToy, DomainError> {
        let user = context.acting(self.caller).await?;
        Ok(context.hub.toy_settings(Some(&user), &self.toy, context.now).await?.into())
    }
}

request! {
    /// Sets the quiet hours of a toy. During quiet hours, messages are held back and no music plays. Without `from` and
    /// `until` the toy has no quiet hours. Added.
    struct SetQuietHours {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The daily start: `20:00`.
        from: Option<String>,
        /// The daily end: `07:00`.
        until: Option<String>,
        /// The time zone of the family: `Europe/Berlin`.
        zone: Option<String>,
    }
}

impl Call for SetQuietHours {
    const FACTS: Facts = Facts::new("set_quiet_hours", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        let text = |text: Option<String>| text.unwrap_or_default();
        let hours = quiet_hours(&text(self.from), &text(self.until), &text(self.zone))?;
        context.hub.set_quiet_hours(Some(&user), &self.toy, hours, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Limits the minutes that a toy plays on each day. When they are used up, messages wait until the next day, and no
    /// music plays. The hub counts the length of the sounds that it sends to the toy. Without `minutes` there is no limit.
    /// Added.
    struct SetDailyMinutes {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The minutes, from 1 to 1440.
        minutes: Option<u32>,
        /// The time zone of the family, in which a day begins at midnight: `Europe/Berlin`.
        zone: Option<String>,
    }
}

impl Call for SetDailyMinutes {
    const FACTS: Facts = Facts::new("set_daily_minutes", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        let daily = daily_minutes(self.minutes, &self.zone.unwrap_or_default())?;
        context.hub.set_daily_minutes(Some(&user), &self.toy, daily, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Sets whether a toy plays all content or only approved content. Added.
    struct SetContent {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// `all`, or `approved`: only content that its guardians have approved.
        content: ContentMode,
    }
}

impl Call for SetContent {
    const FACTS: Facts = Facts::new("set_content", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.set_approved_only(Some(&user), &self.toy, self.content.is_approved_only).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Approves a piece of the library for a toy. Added.
    struct ApproveContent {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The piece: `_id` of /content_list.
        content as "content_id": ContentId,
        /// `true` or `1` revokes the approval.
        withdraw: Flag,
    }
}

impl Call for ApproveContent {
    const FACTS: Facts = Facts::new("approve_content", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.approve_content(Some(&user), &self.toy, &self.content, !self.withdraw.0).await?;
        Ok(Nothing {})
    }
}

/// The content that a toy plays: `all` or `approved`.
pub struct ContentMode {
    is_approved_only: bool,
}

impl Text for ContentMode {
    fn schema() -> serde_json::Value {
        schema::one_of(&["all", "approved"])
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        match text.trim() {
            "all" => Ok(Self { is_approved_only: false }),
            "approved" => Ok(Self { is_approved_only: true }),
            "" => Err(missing(name)),
            _ => Err(DomainError::invalid(name, "is \"all\" or \"approved\"")),
        }
    }
}

/// A flag, written as clients of the field write it: `true`, `True`, `yes`, `on` or `1`. Absent means `false`.
pub struct Flag(pub bool);

impl Field for Flag {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> serde_json::Value {
        schema::truth()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        let text = given.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        match text.as_str() {
            "true" | "yes" | "on" | "1" => Ok(Self(true)),
            "" | "false" | "no" | "off" | "0" => Ok(Self(false)),
            // An urgent message must not become an ordinary one silently.
            _ => Err(DomainError::invalid(name, "is true or false")),
        }
    }
}

answer! {
    /// The answer of `/toy_settings`.
    pub struct SettingsOfToy {
        /// The daily start of the quiet hours. Absent if there are none.
        from: Option<String>,
        /// The daily end of the quiet hours.
        until: Option<String>,
        /// The time zone of the family.
        zone: Option<String>,
        /// How many minutes the toy plays on each day. Missing where that is not limited.
        minutes: Option<u64>,
        /// The time zone in which a day begins at midnight.
        minutes_zone: Option<String>,
        /// How many of the minutes of today are used.
        minutes_used: Option<f64>,
        /// Whether the toy plays only approved content.
        approved_only: bool,
        /// The pieces of the library that are approved.
        approved: Vec<Id>,
        /// `true` if the words of the toy's child are kept (`keep_words`). Absent if not.
        keep_words: Option<bool>,
    }
}

impl From<ToySettings> for SettingsOfToy {
    fn from(settings: ToySettings) -> Self {
        let ToySettings { quiet, minutes, is_approved_only, approved, keeps_words } = settings;
        let (from, until, zone) = match quiet {
            Some(quiet) => (Some(quiet.from.to_string()), Some(quiet.until.to_string()), Some(quiet.zone)),
            None => (None, None, None),
        };
        let minutes_used = minutes.as_ref().map(|(_, seconds)| (seconds / 0.6).round() / 100.0);
        let (minutes, minutes_zone) = minutes.map(|(daily, _)| (u64::from(daily.minutes), daily.zone)).unzip();
        let approved = approved.iter().map(Id::from).collect();
        Self {
            from,
            until,
            zone,
            minutes,
            minutes_zone,
            minutes_used,
            approved_only: is_approved_only,
            approved,
            keep_words: keeps_words.then_some(true),
        }
    }
}
