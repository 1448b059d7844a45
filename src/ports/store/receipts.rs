//! How far messages have come: delivered to a device, heard. Marks only ever move forward.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored, stored_party, stored_seq};
use crate::model::{ChatId, MessageId, Party, PartyId};

/// Messages that have now reached a device of their receiver.
#[derive(Debug)]
pub struct Delivered {
    /// Who sent them.
    pub sender: Party,
    /// Their chat.
    pub chat: ChatId,
    /// The number of the sender's event.
    pub sender_seq: Option<u64>,
}

/// Messages that have now been heard by their receiver.
#[derive(Debug)]
pub struct Heard {
    /// Who sent them.
    pub sender: Party,
    /// Their chat.
    pub chat: ChatId,
    /// The newest of them; none where only the count of lost messages was set right.
    pub up_to: Option<MessageId>,
    /// How many of that sender are still unheard.
    pub unread: u64,
    /// The number of the sender's event.
    pub sender_seq: Option<u64>,
    /// The number of the receiver's own event.
    pub reader_seq: Option<u64>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct DeliveredRow {
    sender: String,
    kind: String,
    chat: String,
    seq: Option<i64>,
}

/// What `fn::hear` gives.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
pub(super) struct HeardRow {
    friend: String,
    friend_kind: String,
    chat: String,
    uid: Option<String>,
    unread: i64,
    friend_seq: Option<i64>,
    reader_seq: Option<i64>,
}

impl HeardRow {
    pub(super) fn into_heard(self) -> Result<Heard, StoreError> {
        Ok(Heard {
            sender: stored_party(&self.friend_kind, &self.friend)?,
            chat: stored(&self.chat)?,
            up_to: self.uid.as_deref().map(stored).transpose()?,
            unread: u64::try_from(self.unread).unwrap_or(0),
            sender_seq: stored_seq(self.friend_seq)?,
            reader_seq: stored_seq(self.reader_seq)?,
        })
    }
}

impl Store {
    /// Marks a message to `receiver`, and those before it of its chat, as delivered; none where they were before.
    ///
    /// Refused with `UnknownMessage`.
    pub async fn mark_delivered(&self, receiver: &Party, id: &MessageId) -> Result<Option<Delivered>, StoreError> {
        let variables = vars! {
            receiver: receiver.id(), kind: receiver.kind().as_str(), uid: id.as_str(), keep: self.stream_events_max,
        };
        let mut reply = self
            .run(
                "{
                    LET $message = (SELECT chat, seq, sender, kind FROM message WHERE uid = $uid LIMIT 1)[0];
                    IF $message = NONE { THROW 'toyhub:unknown_message' };
                    LET $sender = $message.sender;
                    LET $entry = (SELECT * FROM ONLY type::record('friend', [$receiver, $sender]));
                    IF $entry = NONE OR $entry.chat != $message.chat { THROW 'toyhub:unknown_message' };
                    IF $message.seq <= math::max([$entry.read_seq, $entry.delivered_seq]) { RETURN NONE };
                    UPDATE type::record('friend', [$receiver, $sender]) SET delivered_seq = $message.seq;
                    LET $seq = IF $message.kind = 'app' {
                        fn::tell($sender, $keep, {
                            type: 'delivered', uid: $uid, party: $receiver, kind: $kind, chat: $message.chat,
                        })
                    } ELSE { NONE };
                    RETURN { sender: $sender, kind: $message.kind, chat: $message.chat, seq: $seq };
                }",
                variables,
            )
            .await?;
        let Some(row) = reply.optional::<DeliveredRow>(0)? else { return Ok(None) };
        Ok(Some(Delivered {
            sender: stored_party(&row.kind, &row.sender)?,
            chat: stored(&row.chat)?,
            sender_seq: stored_seq(row.seq)?,
        }))
    }

    /// Marks the messages of a friend as heard, up to one of them or all; none where they were before.
    ///
    /// Refused with `UnknownChat` where there is no such friend, with `UnknownMessage` where the message is not that
    /// friend's to `reader`.
    pub async fn mark_heard(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
    ) -> Result<Option<Heard>, StoreError> {
        let variables = vars! {
            reader: reader.id(), kind: reader.kind().as_str(), friend: friend.as_str(),
            uid: up_to.map(|id| id.as_str().to_owned()), keep: self.stream_events_max,
        };
        let mut reply = self
            .run(
                "{
                    LET $chat = (SELECT VALUE chat FROM ONLY type::record('friend', [$reader, $friend]));
                    IF $chat = NONE { THROW 'toyhub:unknown_chat' };
                    IF $uid = NONE { RETURN fn::hear($reader, $kind, $friend, NONE, $keep) };
                    LET $message = (SELECT chat, seq, sender FROM message WHERE uid = $uid LIMIT 1)[0];
                    IF $message = NONE OR $message.chat != $chat OR $message.sender != $friend
                        { THROW 'toyhub:unknown_message' };
                    RETURN fn::hear($reader, $kind, $friend, $message.seq, $keep);
                }",
                variables,
            )
            .await?;
        reply.optional::<HeardRow>(0)?.map(HeardRow::into_heard).transpose()
    }
}
