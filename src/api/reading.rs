//! Receipts of clients that acknowledge by themselves. Nothing is lost with a broken link, as an answer of `recv_msg`
//! can be: a message stays unread until the client says that it was played.

use super::accounts::UnreadCounts;
use super::answer::{File, Id, Link, Nothing, Nullable, answer};
use super::request::{Limit, request};
use super::voice::Message;
use super::{Asked, Call, Door, Entry, Facts, Subject, Who};
use crate::domain::Unheard;
use crate::domain::error::DomainError;
use crate::model::{MessageId, PartyId};

/// Messages of one `unread` answer, if the client does not say how many.
const UNREAD_DEFAULT: u64 = 50;
/// Messages of one `unread` answer at most.
const UNREAD_MAX: u64 = 200;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "reading",
    about: "Receipts: what was delivered and what was heard.",
    calls: &[Entry::of::<Unread>(), Entry::of::<Delivered>(), Entry::of::<MarkRead>()],
};

request! {
    /// What waits to be heard, without marking it.
    struct Unread {
        /// How many messages: 50 where nothing is said, 200 at most.
        limit: Option<Limit<UNREAD_MAX>>,
    }
}

impl Call for Unread {
    const FACTS: Facts = Facts::bare("unread", Who::Connected).only_at(Door::Connection);
    type Answer = UnreadMessages;

    async fn handle(self, asked: &Asked) -> Result<UnreadMessages, DomainError> {
        let limit = self.limit.map_or(UNREAD_DEFAULT, |limit| limit.0);
        let found = asked.hub.unread(asked.connected()?, limit as usize).await?;
        let message = |Unheard { message, chat, notice, .. }: &Unheard| UnheardMessage {
            message: Message::of(message, asked),
            chat_id: chat.into(),
            notice: Nullable(notice.as_ref().map(File::from)),
            notice_url: notice.as_ref().and_then(|notice| asked.link(notice)),
        };
        let messages = found.messages.iter().map(message).collect();
        Ok(UnreadMessages { chat: UnreadCounts::of(&found.friends), messages })
    }
}

request! {
    /// This device has a message, and those before it.
    struct Delivered {
        /// The `_id` of the message.
        message: MessageId,
    }
}

impl Call for Delivered {
    const FACTS: Facts = Facts::new("delivered", Who::Connected, "done").only_at(Door::Connection);
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        asked.hub.mark_delivered(asked.connected()?, &self.message).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The messages of a friend were heard.
    struct MarkRead {
        /// The friend.
        from_user: PartyId,
        /// Up to the message with this `_id`; all where none is given.
        message: Option<MessageId>,
    }
}

impl Call for MarkRead {
    const FACTS: Facts = Facts::new("mark_read", Who::Connected, "done").only_at(Door::Connection);
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        let (reader, friend) = (asked.connected()?, &self.from_user);
        let waiting = asked.hub.waiting_to_be_counted(reader, friend).await?;
        asked.hub.mark_heard(reader, friend, self.message.as_ref()).await?;
        let left = asked.hub.waiting_to_be_counted(reader, friend).await?;
        let heard = waiting.iter().filter(|message| !left.contains(message));
        asked.hub.count_messages(reader, heard, asked.now).await;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `unread`.
    pub struct UnreadMessages {
        chat: UnreadCounts,
        /// The oldest that wait, oldest first.
        messages: Vec<UnheardMessage>,
    }
}

answer! {
    /// An entry of `unread`.
    pub struct UnheardMessage as "UnheardMessage" {
        ..message: Message,
        /// The chat that it stands in.
        chat_id: Id,
        /// A spoken "you have a message from …", of /get_chat/; or null.
        notice: Nullable<File>,
        /// A link to the notice for players. Added.
        notice_url: Option<Link>,
    }
}
