//! The unread messages of a party.
//!
//! Unread is the difference of two counters of the receiver's address book entry, which the transactions of each
//! message and of each read mark update. After damage they may count lost messages; such an entry is corrected as soon
//! as all its messages were read, and does not block others.

use surrealdb::types::{SurrealValue, vars};

use super::message_row::MessageRow;
use super::receipts::{EntryRow, Heard, NewlyHeard};
use super::transaction::Transaction;
use super::{Store, StoreError, stored};
use crate::model::{ChatId, FileName, Message, Party, PartyId, Timestamp};

/// The maximum number of consecutive entries with only lost messages in one call.
const EMPTY_ENTRIES_MAX: usize = 32;
const UNHEARD_OF_ONE: &str = "SELECT * FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
    WHERE sender = $sender AND hidden != $receiver ORDER BY seq LIMIT $limit";
const UNHEARD_OF_ONE_AFTER: &str = "SELECT * FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
    WHERE sender = $sender AND hidden != $receiver AND (event_seq > $after OR ($after = 0 AND event_seq = NONE))
        ORDER BY seq LIMIT $limit";

/// An unread message.
#[derive(Debug)]
pub struct UnreadMessage {
    /// The message.
    pub message: Message,
    /// Its chat.
    pub chat: ChatId,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
    /// The number of its event in the receiver's stream, as it was published; none for a toy.
    pub event_seq: Option<u64>,
}

impl Store {
    /// The unread messages of one sender, oldest first, at most `limit`, which are marked as read; and the result of
    /// the mark.
    ///
    /// The sender is `from`, or if `from` has no unread messages, the sender of the oldest unread message.
    pub async fn take_unheard(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<(Vec<Message>, Vec<Heard>), StoreError> {
        let mut marked = Vec::new();
        if limit == 0 {
            return Ok((Vec::new(), marked));
        }
        for _ in 0..EMPTY_ENTRIES_MAX {
            let _turn = self.turns.of(receiver.id(), receiver.id()).await;
            let taken = self.transact(|tx| async move { tx.take_entry(receiver, from, limit).await }).await?;
            let Some((messages, heard)) = taken else { break };
            marked.push(heard);
            if !messages.is_empty() {
                let messages = messages.into_iter().map(MessageRow::into_message);
                return Ok((messages.collect::<Result<_, _>>()?, marked));
            }
        }
        Ok((Vec::new(), marked))
    }

    /// Up to `limit` unread messages of a party, of all senders, oldest first. They stay unread.
    pub async fn unread_messages(&self, receiver: &Party, limit: usize) -> Result<Vec<UnreadMessage>, StoreError> {
        self.unread_messages_with(receiver, true, None, limit).await
    }

    /// As [`Self::unread_messages`], without the messages of muted friends.
    pub async fn announced_messages(&self, receiver: &Party, limit: usize) -> Result<Vec<UnreadMessage>, StoreError> {
        self.unread_messages_with(receiver, false, None, limit).await
    }

    /// As [`Self::announced_messages`], only those whose events follow number `after` in the stream of the user, in the
    /// order of the stream. 0 is its beginning; then those without a number come first.
    pub async fn announced_after(
        &self,
        receiver: &Party,
        after: u64,
        limit: usize,
    ) -> Result<Vec<UnreadMessage>, StoreError> {
        self.unread_messages_with(receiver, false, Some(after), limit).await
    }

    async fn unread_messages_with(
        &self,
        receiver: &Party,
        with_muted: bool,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<UnreadMessage>, StoreError> {
        let mut reply = self
            .run(
                "SELECT friend, chat, read_seq, unread_since FROM friend:[$receiver, '']..[$receiver, 'z']
                    WHERE incoming > heard AND ($with_muted OR muted != true) ORDER BY unread_since",
                vars! { receiver: receiver.id(), with_muted: with_muted },
            )
            .await?;
        let mut found: Vec<(Timestamp, UnreadMessage)> = Vec::new();
        let mut senders = 0;
        for waiting in reply.rows::<WaitingRow>(0)? {
            // The oldest `limit` messages are from at most the `limit` senders with the oldest unread messages. How old
            // the first one after an event is, is not known.
            if senders == limit && after.is_none() {
                break;
            }
            let rows = self.unheard_of(receiver, waiting, after, limit).await?;
            senders += usize::from(!rows.is_empty());
            // Messages of one sender are in the order of their numbers, even after changes of the clock.
            let mut latest = f64::NEG_INFINITY;
            for row in rows {
                latest = latest.max(row.created_at);
                let (chat, notice, event_seq) = (stored(&row.chat)?, row.notice()?, row.event_seq()?);
                found.push((latest, UnreadMessage { message: row.into_message()?, chat, notice, event_seq }));
            }
        }
        match after {
            None => found.sort_by(|(a, _), (b, _)| a.total_cmp(b)),
            Some(_) => found.sort_by_key(|(_, unread)| unread.event_seq),
        }
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, message)| message).collect())
    }

    async fn unheard_of(
        &self,
        receiver: &Party,
        waiting: WaitingRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let WaitingRow { friend, chat, read_seq } = waiting;
        let (first, limit) = (read_seq + 1, limit as i64);
        let mut variables = vars! { receiver: receiver.id(), chat: chat, first: first, sender: friend, limit: limit };
        let query = match after {
            None => UNHEARD_OF_ONE,
            Some(after) => {
                variables.insert("after", i64::try_from(after).unwrap_or(i64::MAX));
                UNHEARD_OF_ONE_AFTER
            }
        };
        let mut reply = self.run(query, variables).await?;
        reply.rows::<MessageRow>(0)
    }
}

impl Transaction<'_> {
    /// The first unread messages of one entry, and the result of the mark; none if there are no unread messages.
    async fn take_entry(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<Option<(Vec<MessageRow>, Heard)>, StoreError> {
        let named = match from {
            Some(from) => self.entry(receiver.id(), from.as_str()).await?.filter(EntryRow::has_unread),
            None => None,
        };
        let entry = match named {
            Some(entry) => Some(entry),
            None => self.longest_unread(receiver).await?,
        };
        let Some(entry) = entry else { return Ok(None) };
        let messages = self
            .rows::<MessageRow>(
                UNHEARD_OF_ONE,
                vars! {
                    receiver: receiver.id(), chat: entry.chat.as_str(), first: entry.read_seq + 1,
                    sender: entry.friend.as_str(),
                    limit: limit as i64,
                },
            )
            .await?;
        let newest = messages.last().cloned();
        // Fewer messages than requested mean that there are no more.
        let up_to = newest.as_ref().map(|newest| newest.seq).filter(|_| messages.len() >= limit);
        let count = i64::try_from(messages.len()).unwrap_or(i64::MAX);
        let heard = self.mark_read(receiver, entry, NewlyHeard { up_to, count, newest }).await?;
        Ok(Some((messages, heard)))
    }

    /// The entry whose first unread message is the oldest.
    async fn longest_unread(&self, receiver: &Party) -> Result<Option<EntryRow>, StoreError> {
        let entries = self
            .rows::<EntryRow>(
                "SELECT * FROM friend:[$receiver, '']..[$receiver, 'z']
                    WHERE incoming > heard ORDER BY unread_since LIMIT 1",
                vars! { receiver: receiver.id() },
            )
            .await?;
        Ok(entries.into_iter().next())
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct WaitingRow {
    friend: String,
    chat: String,
    read_seq: i64,
}
