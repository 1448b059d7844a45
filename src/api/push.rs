//! Push messages to browsers in which the app is closed.

use super::answer::{Nothing, answer};
use super::request::request;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, ServedAt, Subject};
use crate::domain::error::DomainError;
use crate::model::{Malformed, PushSubscription, StoredPush, Timestamp, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "push",
    about: "Push messages to browsers in which the app is closed.",
    calls: &[Entry::of::<PushKey>(), Entry::of::<SetPush>(), Entry::of::<ErasePush>(), Entry::of::<PushList>()],
};

request! {
    /// The key with which a browser subscribes to push messages of this hub. Added.
    struct PushKey {}
}

impl Call for PushKey {
    const FACTS: Facts = Facts::new("push_key", Permitted::Anybody, "done");
    type Answer = Key;

    async fn handle(self, context: &CallContext) -> Result<Key, DomainError> {
        context.anybody().await?;
        Ok(Key { key: context.hub.push_key().map(str::to_owned) })
    }
}

request! {
    /// Sets the push subscription of the browser with the token of this call. It ends with the token. A push message says
    /// that there is something new, and neither what nor from whom. Added.
    struct SetPush {
        /// The user.
        caller as "user_id": CallerId<UserId>,
        /// The address of the subscription at a push service, by https.
        endpoint: String,
        /// The public key of the browser, as `PushSubscription.toJSON()` has it.
        p256dh: String,
        /// The authentication secret of the browser, likewise.
        auth: String,
    }
}

impl Call for SetPush {
    const FACTS: Facts = Facts::new("set_push", Permitted::Named, "done").only_at(ServedAt::Http);
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        let parsed = PushSubscription::parse(&self.endpoint, &self.p256dh, &self.auth);
        let subscription = parsed.map_err(|Malformed(fault)| {
            let (field, expected) = fault.split_once(": ").unwrap_or(("endpoint", fault));
            DomainError::invalid(field, expected)
        })?;
        context.hub.set_push(&user, context.token()?, &subscription, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Deletes the push subscription of the browser with the token of this call. Added.
    struct ErasePush {
        /// The user.
        caller as "user_id": CallerId<UserId>,
    }
}

impl Call for ErasePush {
    const FACTS: Facts = Facts::new("erase_push", Permitted::Named, "done").only_at(ServedAt::Http);
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.erase_push(&user, context.token()?).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The push subscriptions of a user. Added.
    struct PushList {
        /// The user.
        caller as "user_id": CallerId<UserId>,
    }
}

impl Call for PushList {
    const FACTS: Facts = Facts::new("push_list", Permitted::Named, "done");
    type Answer = Vec<Subscription>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Subscription>, DomainError> {
        let user = context.acting(self.caller).await?;
        Ok(context.hub.pushes(&user, context.now).await?.iter().map(Subscription::from).collect())
    }
}

answer! {
    /// The answer of `push_key`.
    pub struct Key {
        /// The `applicationServerKey` of `PushManager.subscribe`. Absent if the hub sends no push messages.
        key: Option<String>,
    }
}

answer! {
    /// An entry of `push_list`.
    pub struct Subscription {
        /// The host of the push service.
        service: String,
        /// When the browser has subscribed, in seconds since 1970.
        at: Timestamp,
    }
}

impl From<&StoredPush> for Subscription {
    fn from(push: &StoredPush) -> Self {
        let (_, rest) = push.subscription.endpoint.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        Self { service: host.to_owned(), at: push.created_at }
    }
}
