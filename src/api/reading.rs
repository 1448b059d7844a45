//! Unread messages and receipts, for clients that acknowledge. Unlike `recv_msg`, which marks messages as read when it
//! answers, a lost answer loses no message here: a message stays unread until the client reports that it was played.

use super::accounts::UnreadCounts;
use super::answer::{File, Id, Link, Nothing, Nullable, answer};
use super::request::{Limit, request};
use super::voice::Message;
use super::{Call, CallContext, Entry, Facts, Permitted, ServedAt, Subject};
use crate::domain::UnreadMessage;
use crate::domain::error::DomainError;
use crate::model::{MessageId, PartyId};

/// The default number of messages in one answer of `unread`.
const UNREAD_DEFAULT: u64 = 50;
/// The maximum number of messages in one answer of `unread`.
const UNREAD_MAX: u64 = 200;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "reading",
    about: "Unread messages, and receipts of delivery and reading.",
    calls: &[Entry::of::<Unread>(), Entry::of::<Delivered>(), Entry::of::<MarkRead>()],
};

request! {
    /// The unread messages. They stay unread.
    struct Unread {
        /// The number of messages: 50 by default, 200 at most; a larger number counts as 200.
        limit: Option<Limit<UNREAD_MAX>>,
    }
}

impl Call for Unread {
    const FACTS: Facts = Facts::bare("unread", Permitted::Connected).only_at(ServedAt::Connection);
    type Answer = UnreadMessages;

    async fn handle(self, context: &CallContext) -> Result<UnreadMessages, DomainError> {
        let limit = self.limit.map_or(UNREAD_DEFAULT, |limit| limit.0);
        let found = context.hub.unread(context.connected()?, limit as usize).await?;
        let links = context.links().await?;
        let message = |UnreadMessage { message, chat, notice, .. }: &UnreadMessage| UnreadEntry {
            message: Message::of(message, &links),
            chat_id: chat.into(),
            notice: Nullable(notice.as_ref().map(File::from)),
            notice_url: notice.as_ref().and_then(|notice| links.to(notice)),
        };
        let messages = found.messages.iter().map(message).collect();
        Ok(UnreadMessages { chat: UnreadCounts::of(&found.friends), messages })
    }
}

request! {
    /// Marks a message, and those before it, as delivered to this device.
    struct Delivered {
        /// The `_id` of the message.
        message: MessageId,
    }
}

impl Call for Delivered {
    const FACTS: Facts = Facts::new("delivered", Permitted::Connected, "done").only_at(ServedAt::Connection);
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        context.hub.mark_delivered(context.connected()?, &self.message).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Marks the messages of a friend as read.
    struct MarkRead {
        /// The friend.
        from_user: PartyId,
        /// The `_id` of the last message to mark. Default: all messages.
        message: Option<MessageId>,
    }
}

impl Call for MarkRead {
    const FACTS: Facts = Facts::new("mark_read", Permitted::Connected, "done").only_at(ServedAt::Connection);
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (reader, friend) = (context.connected()?, &self.from_user);
        let waiting = context.hub.uncounted_messages(reader, friend).await?;
        context.hub.mark_read(reader, friend, self.message.as_ref()).await?;
        let left = context.hub.uncounted_messages(reader, friend).await?;
        let heard = waiting.iter().filter(|message| !left.contains(message));
        context.hub.count_messages(reader, heard, context.now).await;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `unread`.
    pub struct UnreadMessages {
        chat: UnreadCounts,
        /// The oldest unread messages, oldest first.
        messages: Vec<UnreadEntry>,
    }
}

answer! {
    /// An entry of `unread`.
    pub struct UnreadEntry as "UnreadMessage" {
        ..message: Message,
        /// The chat of the message.
        chat_id: Id,
        /// A spoken "you have a message from …", of /get_chat/; or null.
        notice: Nullable<File>,
        /// A link to the notice for players. Added.
        notice_url: Option<Link>,
    }
}
