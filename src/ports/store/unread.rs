//! What of a party's messages is unread.
//!
//! Unread is the difference of two counters of the receiver's address book entry, which the transaction of each message
//! and of each reading moves. After damage they may count messages that are lost; such an entry is set right as soon as
//! all of it was read, and holds up no other one.

use surrealdb::types::{SurrealValue, vars};

use super::chats::MessageRow;
use super::receipts::{Heard, HeardRow};
use super::{Store, StoreError, stored};
use crate::model::{ChatId, FileName, Message, Party, PartyId, Timestamp};

/// Entries in a row that one call finds to count only lost messages.
const EMPTY_ENTRIES_MAX: usize = 32;

/// A message that its receiver has not heard.
#[derive(Debug)]
pub struct Unheard {
    /// The message.
    pub message: Message,
    /// Its chat.
    pub chat: ChatId,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
}

impl Store {
    /// The unheard messages of one sender, oldest first, at most `limit`, which are then heard; and what was marked.
    ///
    /// The sender is `from`, or where nothing of that one is unheard, the one whose message waits longest.
    pub async fn take_unheard(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<(Vec<Message>, Vec<Heard>), StoreError> {
        let mut marked = Vec::new();
        for _ in 0..EMPTY_ENTRIES_MAX {
            let Some(row) = self.take_entry(receiver, from, limit).await? else { break };
            let is_empty = row.messages.is_empty();
            marked.extend(row.heard.map(HeardRow::into_heard).transpose()?);
            if !is_empty {
                let messages = row.messages.into_iter().map(MessageRow::into_message);
                return Ok((messages.collect::<Result<_, _>>()?, marked));
            }
        }
        Ok((Vec::new(), marked))
    }

    async fn take_entry(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<Option<TakenRow>, StoreError> {
        let variables = vars! {
            receiver: receiver.id(), kind: receiver.kind().as_str(), from: from.map(|id| id.as_str().to_owned()),
            limit: limit as i64, keep: self.stream_events_max,
        };
        // Fewer messages than asked for are all that there are.
        let mut reply = self
            .run(
                "{
                    LET $named = IF $from = NONE { NONE } ELSE {
                        (SELECT * FROM ONLY type::record('friend', [$receiver, $from]))
                    };
                    LET $entry = IF $named != NONE AND $named.incoming > $named.heard { $named } ELSE {
                        (SELECT * FROM friend:[$receiver, '']..[$receiver, 'z']
                            WHERE incoming > heard ORDER BY unread_since LIMIT 1)[0]
                    };
                    IF $entry = NONE { RETURN NONE };
                    LET $chat = $entry.chat;
                    LET $first = $entry.read_seq + 1;
                    LET $waiting = (SELECT * FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
                        WHERE sender = $entry.friend ORDER BY seq LIMIT $limit);
                    LET $up_to = IF array::len($waiting) < $limit { NONE } ELSE { array::last($waiting).seq };
                    RETURN {
                        messages: $waiting, heard: fn::hear($receiver, $kind, $entry.friend, $up_to, $keep),
                    };
                }",
                variables,
            )
            .await?;
        reply.optional::<TakenRow>(0)
    }

    /// Up to `limit` unheard messages of a party, of all senders, oldest first; they stay unheard.
    pub async fn unheard(&self, receiver: &Party, limit: usize) -> Result<Vec<Unheard>, StoreError> {
        let mut reply = self
            .run(
                "SELECT friend, chat, read_seq, unread_since FROM friend:[$receiver, '']..[$receiver, 'z']
                    WHERE incoming > heard ORDER BY unread_since",
                vars! { receiver: receiver.id() },
            )
            .await?;
        let mut found: Vec<(Timestamp, Unheard)> = Vec::new();
        let mut senders = 0;
        for waiting in reply.rows::<WaitingRow>(0)? {
            // The oldest `limit` messages are of the `limit` senders who have waited longest, at most.
            if senders == limit {
                break;
            }
            let rows = self.unheard_of(waiting, limit).await?;
            senders += usize::from(!rows.is_empty());
            // Messages of one sender keep the order of their numbers, whatever the clock was when they were sent.
            let mut latest = f64::NEG_INFINITY;
            for row in rows {
                latest = latest.max(row.created_at);
                let (chat, notice) = (stored(&row.chat)?, row.notice()?);
                found.push((latest, Unheard { message: row.into_message()?, chat, notice }));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, unheard)| unheard).collect())
    }

    async fn unheard_of(&self, waiting: WaitingRow, limit: usize) -> Result<Vec<MessageRow>, StoreError> {
        let variables = vars! {
            chat: waiting.chat, first: waiting.read_seq + 1, sender: waiting.friend, limit: limit as i64,
        };
        let mut reply = self
            .run(
                "SELECT * FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
                    WHERE sender = $sender ORDER BY seq LIMIT $limit",
                variables,
            )
            .await?;
        reply.rows::<MessageRow>(0)
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct TakenRow {
    messages: Vec<MessageRow>,
    heard: Option<HeardRow>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct WaitingRow {
    friend: String,
    chat: String,
    read_seq: i64,
}
