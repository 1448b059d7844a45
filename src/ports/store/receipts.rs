//! The states of messages: delivered to a device, heard (marked as read). Marks only move forward.

use surrealdb::types::{SurrealValue, vars};

use super::message_row::MessageRow;
use super::transaction::{Transaction, record, record_of};
use super::{Refusal, Store, StoreError, stored, stored_party};
use crate::model::{ChatId, Event, MessageId, MessageState, Party, PartyId};

/// The number of messages that one query reads to count new ones.
const PAGE: i64 = 1000;

/// Messages that were marked as delivered.
#[derive(Debug)]
pub struct Delivered {
    /// The sender.
    pub sender: Party,
    /// Their chat.
    pub chat: ChatId,
    /// The number of the sender's event.
    pub sender_seq: Option<u64>,
}

/// Messages that were marked as read.
#[derive(Debug)]
pub struct ReadMessages {
    /// The sender.
    pub sender: Party,
    /// Their chat.
    pub chat: ChatId,
    /// The newest of them; none if only the count of lost messages was corrected, and if the sender was notified of all
    /// of them before an answer was lost.
    pub up_to: Option<MessageId>,
    /// Messages of the chat up to this number were marked as read before; a lost answer may have made them unread again.
    pub counted: u64,
    /// The number of messages of that sender that are still unread.
    pub unread: u64,
    /// The number of the sender's event.
    pub sender_seq: Option<u64>,
    /// The number of the receiver's own event.
    pub reader_seq: Option<u64>,
}

/// The counters and marks of one side's address book entry.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
pub(super) struct EntryRow {
    pub(super) friend: String,
    kind: String,
    pub(super) chat: String,
    pub(super) incoming: i64,
    pub(super) heard: i64,
    pub(super) read_seq: i64,
    pub(super) delivered_seq: i64,
    pub(super) unread_since: Option<f64>,
    counted_seq: Option<i64>,
    pub(super) settled_seq: Option<i64>,
    muted: Option<bool>,
}

impl EntryRow {
    pub(super) fn has_unread(&self) -> bool {
        self.incoming > self.heard
    }

    /// Up to this number, messages were marked as read at least once.
    pub(super) fn counted(&self) -> i64 {
        self.counted_seq.unwrap_or(0).max(self.read_seq)
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted.unwrap_or(false)
    }
}

/// The messages of a friend to mark as read: the last number, their count, and the newest of them.
pub(super) struct NewlyRead {
    /// None for all messages.
    pub(super) up_to: Option<i64>,
    pub(super) count: i64,
    pub(super) newest: Option<MessageRow>,
}

impl Transaction<'_> {
    /// A party's entry for another.
    pub(super) async fn entry(&self, owner: &str, friend: &str) -> Result<Option<EntryRow>, StoreError> {
        self.one::<EntryRow>("SELECT * FROM ONLY $id", vars! { id: record_of("friend", owner, friend.to_owned()) })
            .await
    }

    /// Marks the messages of an entry's friend as read by `reader`, up to the number `up_to` of their chat, or all, and
    /// appends events to both streams. None if they were marked before; then a lost answer does not make them unread.
    pub(super) async fn mark_read_up_to(
        &self,
        reader: &Party,
        entry: EntryRow,
        up_to: Option<i64>,
    ) -> Result<Option<ReadMessages>, StoreError> {
        let Some(new) = self.newly_read(&entry, up_to).await? else {
            let settled = up_to.unwrap_or(i64::MAX).min(entry.read_seq);
            if settled > entry.settled_seq.unwrap_or(0) {
                let id = record_of("friend", reader.id(), entry.friend);
                self.run("UPDATE $id SET settled_seq = $settled RETURN NONE", vars! { id: id, settled: settled })
                    .await?;
            }
            return Ok(None);
        };
        let (read, _) = self.mark_read(reader, entry, new).await?;
        Ok(Some(read))
    }

    /// The messages of an entry's friend to mark as read, up to the number `up_to` of their chat, or all. None if there
    /// is nothing to mark; where the counters count lost messages, all of them may be no message.
    pub(super) async fn newly_read(
        &self,
        entry: &EntryRow,
        up_to: Option<i64>,
    ) -> Result<Option<NewlyRead>, StoreError> {
        if !entry.has_unread() || up_to.is_some_and(|seq| seq <= entry.read_seq) {
            return Ok(None);
        }
        let new = self.new_messages(entry, up_to).await?;
        Ok((up_to.is_none() || new.newest.is_some()).then_some(new))
    }

    /// Whether the friend of an entry has sent messages after a number of their chat.
    pub(super) async fn has_later(&self, entry: &EntryRow, seq: i64) -> Result<bool, StoreError> {
        let later = self
            .rows::<i64>(
                "SELECT VALUE seq FROM message:[$chat, $first]..=[$chat, $last] WHERE sender = $sender LIMIT 1",
                vars! {
                    chat: entry.chat.as_str(), first: seq.saturating_add(1), last: i64::MAX,
                    sender: entry.friend.as_str(),
                },
            )
            .await?;
        Ok(!later.is_empty())
    }

    /// Counts the messages to mark.
    pub(super) async fn new_messages(&self, entry: &EntryRow, up_to: Option<i64>) -> Result<NewlyRead, StoreError> {
        let mut new = NewlyRead { up_to, count: 0, newest: None };
        let (mut first, last) = (entry.read_seq + 1, up_to.unwrap_or(i64::MAX));
        while first <= last {
            let rows = self
                .rows::<MessageRow>(
                    "SELECT * FROM message:[$chat, $first]..=[$chat, $last] LIMIT $limit",
                    vars! { chat: entry.chat.as_str(), first: first, last: last, limit: PAGE },
                )
                .await?;
            let Some(end) = rows.iter().map(|row| row.seq).max() else { break };
            first = end.saturating_add(1);
            let of_friend = rows.into_iter().filter(|row| row.sender == entry.friend);
            for row in of_friend {
                new.count += 1;
                if new.newest.as_ref().is_none_or(|newest| newest.seq < row.seq) {
                    new.newest = Some(row);
                }
            }
        }
        Ok(new)
    }

    /// Marks the counted messages. If all were read, nothing is unread, even if the counters counted lost messages;
    /// then there is no newest message. The number is the mark.
    pub(super) async fn mark_read(
        &self,
        reader: &Party,
        entry: EntryRow,
        new: NewlyRead,
    ) -> Result<(ReadMessages, i64), StoreError> {
        let newest_seq = new.newest.as_ref().map_or(0, |newest| newest.seq);
        let (heard, read_seq) = match new.up_to {
            Some(up_to) => (entry.incoming.min(entry.heard + new.count), up_to),
            None => {
                let id = record("chat", &entry.chat);
                let end = self.one::<i64>("SELECT VALUE seq FROM ONLY $id", vars! { id: id }).await?;
                (entry.incoming, entry.read_seq.max(end.unwrap_or(0)).max(newest_seq))
            }
        };
        let unread = entry.incoming - heard;
        let newest_at = new.newest.as_ref().map(|newest| newest.created_at);
        self.run(
            "UPDATE $id SET heard = $heard, read_seq = $read, delivered_seq = $delivered, unread_since = $unread_since
                RETURN NONE",
            vars! {
                id: record_of("friend", reader.id(), entry.friend.clone()), heard: heard, read: read_seq,
                delivered: entry.delivered_seq.max(read_seq), unread_since: newest_at.filter(|_| unread > 0),
            },
        )
        .await?;
        let (friend, chat) = (stored_party(&entry.kind, &entry.friend)?, stored::<ChatId>(&entry.chat)?);
        let counted = entry.counted();
        let up_to = new.newest.filter(|newest| newest.seq > counted).map(|newest| newest.id()).transpose()?;
        let counted = u64::try_from(counted).unwrap_or(0);
        let unread = u64::try_from(unread).unwrap_or(0);
        let sender_seq = match &up_to {
            Some(id) => {
                let (up_to, chat, by) = (id.clone(), chat.clone(), reader.clone());
                self.append_event(&friend, &Event::Receipt { state: MessageState::Heard, up_to, chat, by }).await?
            }
            None => None,
        };
        let read = Event::Read { friend: friend.clone(), chat: chat.clone(), unread };
        let reader_seq = self.append_event(reader, &read).await?;
        Ok((ReadMessages { sender: friend, chat, up_to, counted, unread, sender_seq, reader_seq }, read_seq))
    }
}

impl Store {
    /// Up to this number of their chat, a friend's messages were marked as read at least once.
    pub async fn counted(&self, reader: &Party, friend: &PartyId) -> Result<u64, StoreError> {
        let id = record_of("friend", reader.id(), friend.to_string());
        let mut reply = self.run("SELECT * FROM ONLY $id", vars! { id: id }).await?;
        let entry = reply.optional::<EntryRow>(0)?;
        Ok(entry.map_or(0, |entry| u64::try_from(entry.counted()).unwrap_or(0)))
    }

    /// A message by its id; it never changes.
    pub(super) async fn message(&self, id: &MessageId) -> Result<Option<MessageRow>, StoreError> {
        let mut reply = self.run("SELECT * FROM message WHERE uid = $uid LIMIT 1", vars! { uid: id.as_str() }).await?;
        Ok(reply.rows::<MessageRow>(0)?.into_iter().next())
    }

    /// Marks a message to `receiver`, and those before it of its chat, as delivered; none if they were marked before.
    ///
    /// Refused with `UnknownMessage`.
    pub async fn mark_delivered(&self, receiver: &Party, id: &MessageId) -> Result<Option<Delivered>, StoreError> {
        let unknown = || StoreError::Refused(Refusal::UnknownMessage);
        let message = &self.message(id).await?.ok_or_else(unknown)?;
        let sender = &message.from()?;
        let _turns = self.turns.of(receiver.id(), sender.id()).await;
        self.transact(|tx| async move {
            let entry = tx.entry(receiver.id(), &message.sender).await?;
            let entry = entry.filter(|entry| entry.chat == message.chat).ok_or_else(unknown)?;
            if message.seq <= entry.read_seq.max(entry.delivered_seq) {
                return Ok(None);
            }
            tx.run(
                "UPDATE $id SET delivered_seq = $seq RETURN NONE",
                vars! { id: record_of("friend", receiver.id(), entry.friend), seq: message.seq },
            )
            .await?;
            let chat = stored::<ChatId>(&message.chat)?;
            let receipt = Event::Receipt {
                state: MessageState::Delivered,
                up_to: id.clone(),
                chat: chat.clone(),
                by: receiver.clone(),
            };
            let sender_seq = tx.append_event(sender, &receipt).await?;
            Ok(Some(Delivered { sender: sender.clone(), chat, sender_seq }))
        })
        .await
    }

    /// Marks the messages of a friend as read, up to one of them or all; none if they were marked before.
    ///
    /// Refused with `UnknownChat` if there is no such friend, with `UnknownMessage` if the message is not from that
    /// friend to `reader`.
    pub async fn mark_read(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
    ) -> Result<Option<ReadMessages>, StoreError> {
        self.mark_read_of(reader, friend, up_to, false).await
    }

    /// As [`Self::mark_read`], without messages that no device of `reader` has received.
    pub async fn mark_delivered_as_read(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
    ) -> Result<Option<ReadMessages>, StoreError> {
        self.mark_read_of(reader, friend, up_to, true).await
    }

    async fn mark_read_of(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
        only_delivered: bool,
    ) -> Result<Option<ReadMessages>, StoreError> {
        let message = match up_to {
            Some(id) => Some(self.message(id).await?),
            None => None,
        };
        let message = &message;
        let _turns = self.turns.of(reader.id(), friend.as_str()).await;
        self.transact(|tx| async move {
            let entry = tx.entry(reader.id(), friend.as_str()).await?;
            let entry = entry.ok_or(StoreError::Refused(Refusal::UnknownChat))?;
            let is_of_friend = |row: &&MessageRow| row.chat == entry.chat && row.sender == friend.as_str();
            let up_to = match message {
                Some(message) => {
                    let message = message.as_ref().filter(is_of_friend);
                    Some(message.ok_or(StoreError::Refused(Refusal::UnknownMessage))?.seq)
                }
                None => None,
            };
            let up_to = match only_delivered {
                true => Some(up_to.unwrap_or(i64::MAX).min(entry.delivered_seq)),
                false => up_to,
            };
            tx.mark_read_up_to(reader, entry, up_to).await
        })
        .await
    }
}
