//! Erasure of messages, chats, friends, toys and accounts.

use super::answer::{Key, Nothing, answer};
use super::request::{Field, Given, Password, Presence, request};
use super::schema;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::erasure::{Device, ErasedFor};
use crate::domain::error::DomainError;
use crate::model::{ChatId, MessageId, PartyId, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "erasure",
    about: "Erasure of messages, chats, friends, toys and accounts.",
    calls: &[
        Entry::of::<EraseMessage>(),
        Entry::of::<EraseChat>(),
        Entry::of::<EraseFriend>(),
        Entry::of::<UnbindToy>(),
        Entry::of::<EraseToy>(),
        Entry::of::<EraseAccount>(),
    ],
};

/// The parties for which a message is erased.
struct Whom(ErasedFor);

impl Field for Whom {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> serde_json::Value {
        schema::one_of(&["both", "me"])
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        match given.text(name).as_deref().map(str::trim) {
            None | Some("" | "both") => Ok(Self(ErasedFor::Both)),
            Some("me") => Ok(Self(ErasedFor::Oneself)),
            Some(_) => Err(DomainError::invalid(name, "is \"both\" or \"me\"")),
        }
    }
}

request! {
    /// Erases a message for the user alone, or for both parties if the user sent it or it is in a chat of an own toy.
    /// Added.
    struct EraseMessage {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The `_id` of the message.
        message: MessageId,
        /// `both` parties (the default), or the user alone.
        whom as "for": Whom,
    }
}

impl Call for EraseMessage {
    const FACTS: Facts = Facts::new("erase_message", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.erase_message(&user, &self.message, self.whom.0, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Erases the messages of a chat. All of them in the chat of an own toy; in another chat the user's own messages
    /// for both parties, and the other party's messages for the user alone. Added.
    struct EraseChat {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The chat.
        chat_id: ChatId,
    }
}

impl Call for EraseChat {
    const FACTS: Facts = Facts::new("erase_chat", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.erase_chat(&user, &self.chat_id, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Ends a friendship of the user or of an own toy, erases its chat as `erase_chat` does, and the friend requests
    /// between the two. Added.
    struct EraseFriend {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The own toy that has this friend. Default: the user.
        toy as "toy_id": Option<ToyId>,
        /// The friend.
        friend_id: PartyId,
    }
}

impl Call for EraseFriend {
    const FACTS: Facts = Facts::new("erase_friend", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.erase_friend(&user, self.toy.as_ref(), &self.friend_id, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Unbinds a toy and erases its data, including its chats with the user. The device can be bound again. It gets a
    /// new secret, which only the operator of the hub can read. Added.
    struct UnbindToy {
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// "1" for a new device key, too; the old QR picture is then invalid.
        new_key: Option<String>,
    }
}

impl Call for UnbindToy {
    const FACTS: Facts = Facts::new("unbind_toy", Permitted::Named, "done");
    type Answer = Unbound;

    async fn handle(self, context: &CallContext) -> Result<Unbound, DomainError> {
        let owner = context.acting(self.caller).await?;
        let has_new_key = self.new_key.is_some_and(|text| matches!(text.trim(), "1" | "true"));
        let device = if has_new_key { Device::NewKey } else { Device::NewSecret };
        let device = context.hub.erase_toy(Some(&owner), &self.toy, device, context.now).await?;
        Ok(Unbound { device_key: device.as_ref().map(|device| (&device.key).into()) })
    }
}

request! {
    /// Erases a toy and its device, which cannot be bound again. Requires the password. Added.
    struct EraseToy {
        /// The owner.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The owner's password.
        password: Password,
    }
}

impl Call for EraseToy {
    const FACTS: Facts = Facts::new("erase_toy", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let owner = context.acting(self.caller).await?;
        context.hub.check_password_of(&owner, self.password.0, context.from, context.now).await?;
        context.hub.erase_toy(Some(&owner), &self.toy, Device::Removed, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Erases the user's account and toys. Requires the password. All connections are closed, including this one.
    /// Added.
    struct EraseAccount {
        /// The user.
        caller as "_id": CallerId<UserId>,
        /// The password.
        password: Password,
    }
}

impl Call for EraseAccount {
    const FACTS: Facts = Facts::new("erase_account", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        context.hub.check_password_of(&user, self.password.0, context.from, context.now).await?;
        context.hub.erase_account(&user, Some(&user), context.now).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `unbind_toy`.
    pub struct Unbound {
        /// The key of the device, which is no longer bound.
        device_key: Option<Key>,
    }
}
