//! The unread messages of a party.
//!
//! Unread is the difference of two counters of the receiver's address book entry, which the transactions of each
//! message and of each read mark update. After damage they may count lost messages; such an entry is corrected as soon
//! as all its messages were read, and does not block others.

use surrealdb::types::{SurrealValue, Value, vars};

use super::message_row::MessageRow;
use super::receipts::{EntryRow, NewlyRead, ReadMessages};
use super::transaction::{Transaction, keys_between, keys_of, record_of};
use super::{Store, StoreError, stored};
use crate::model::{ChatId, FileName, Message, Party, PartyId, Timestamp};

/// The maximum number of consecutive entries with only lost messages in one call.
const EMPTY_ENTRIES_MAX: usize = 32;
/// The maximum number of messages that [`MESSAGES`] returns.
const PAGE: usize = 100;
/// The first messages in a range of keys. A constant limit and no filter, so that its compiled form is cached.
const MESSAGES: &str = "SELECT * FROM type::record('message', $keys) LIMIT 100";
/// The address book entries with unread messages, and those of them that are not muted.
const WAITING: &str = "SELECT friend, chat, read_seq, unread_since FROM type::record('friend', $keys)
    WHERE incoming > heard ORDER BY unread_since";
const WAITING_UNMUTED: &str = "SELECT friend, chat, read_seq, unread_since FROM type::record('friend', $keys)
    WHERE incoming > heard AND muted != true ORDER BY unread_since";

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

/// The first unread messages of one sender. They stay unread until [`Store::mark_batch`].
pub struct Batch {
    /// Oldest first; empty if nothing is unread.
    pub messages: Vec<Message>,
    /// Senders whose unread messages were all lost: their counters were corrected.
    pub corrected: Vec<ReadMessages>,
    /// Marks the messages as read; none if there are none.
    pub mark: Option<BatchMark>,
}

/// The mark of a [`Batch`].
pub struct BatchMark {
    sender: String,
    chat: String,
    /// The number of its last message.
    newest: i64,
    oldest_at: f64,
}

/// The state before the mark of a [`Batch`].
pub struct BatchUndo {
    sender: String,
    chat: String,
    read_seq: i64,
    /// The mark that was set.
    marked_to: i64,
    oldest_at: f64,
}

impl Store {
    /// The unread messages of one sender, oldest first, at most `limit`.
    ///
    /// The sender is `from`, or if `from` has no unread messages, the sender of the oldest unread message.
    pub async fn unread_batch(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        let mut batch = Batch { messages: Vec::new(), corrected: Vec::new(), mark: None };
        // Most toys that ask have nothing unread, and a transaction costs several reads.
        if limit == 0 || self.friends(receiver).await?.iter().all(|friend| friend.unread == 0) {
            return Ok(batch);
        }
        for _ in 0..EMPTY_ENTRIES_MAX {
            let _turn = self.turns.of(receiver.id(), receiver.id()).await;
            match self.transact(|tx| async move { tx.look_at_entry(receiver, from, limit).await }).await? {
                Found::Nothing => break,
                Found::OnlyLost(heard) => batch.corrected.push(heard),
                Found::Messages(rows, mark) => {
                    batch.messages = rows.into_iter().map(MessageRow::into_message).collect::<Result<_, _>>()?;
                    batch.mark = Some(mark);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Marks the messages of a batch as read, and none that came later. None if they were marked since, or their chat
    /// was erased.
    pub async fn mark_batch(
        &self,
        receiver: &Party,
        mark: BatchMark,
    ) -> Result<Option<(ReadMessages, BatchUndo)>, StoreError> {
        let BatchMark { sender, chat, newest, oldest_at } = &mark;
        let _turns = self.turns.of(receiver.id(), sender).await;
        self.transact(|tx| async move {
            let entry = tx.entry(receiver.id(), sender).await?;
            let Some(entry) = entry.filter(|entry| entry.chat == *chat) else { return Ok(None) };
            // Counted anew: since the batch was read, messages may have been erased, and others sent.
            let Some(mut new) = tx.newly_read(&entry, Some(*newest)).await? else { return Ok(None) };
            if !tx.has_later(&entry, *newest).await? {
                new.up_to = None;
            }
            let read_seq = entry.read_seq;
            let (read, marked_to) = tx.mark_read(receiver, entry, new).await?;
            let (sender, chat, oldest_at) = (sender.clone(), chat.clone(), *oldest_at);
            Ok(Some((read, BatchUndo { sender, chat, read_seq, marked_to, oldest_at })))
        })
        .await
    }

    /// Makes the messages of a batch unread again, unless others were marked since, or the receiver has marked them
    /// itself ([`Self::mark_read`]).
    pub async fn unmark_batch(&self, receiver: &Party, undo: BatchUndo) -> Result<(), StoreError> {
        let BatchUndo { sender, chat, read_seq, marked_to, oldest_at } = &undo;
        let _turns = self.turns.of(receiver.id(), sender).await;
        self.transact(|tx| async move {
            let entry = tx.entry(receiver.id(), sender).await?;
            let Some(mut entry) = entry.filter(|entry| entry.chat == *chat && entry.read_seq == *marked_to) else {
                return Ok(());
            };
            let counted = entry.counted();
            entry.read_seq = (*read_seq).max(entry.settled_seq.unwrap_or(0));
            if entry.read_seq >= *marked_to {
                return Ok(());
            }
            let unread = tx.new_messages(&entry, None).await?.count;
            if unread == 0 {
                return Ok(());
            }
            tx.run(
                "UPDATE $id SET heard = $heard, read_seq = $read, counted_seq = $counted, unread_since = $since
                    RETURN NONE",
                vars! {
                    id: record_of("friend", receiver.id(), sender.clone()), heard: (entry.incoming - unread).max(0),
                    read: entry.read_seq, counted: counted, since: *oldest_at,
                },
            )
            .await
            .map(drop)
        })
        .await
    }

    /// The messages of a batch, marked as read at once.
    #[cfg(test)]
    pub async fn take_unread(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<(Vec<Message>, Vec<ReadMessages>), StoreError> {
        let Batch { messages, corrected: mut marked, mark } = self.unread_batch(receiver, from, limit).await?;
        if let Some(mark) = mark {
            marked.extend(self.mark_batch(receiver, mark).await?.map(|(heard, _)| heard));
        }
        Ok((messages, marked))
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
        let waiting = if with_muted { WAITING } else { WAITING_UNMUTED };
        let mut reply = self.run(waiting, vars! { keys: keys_of(receiver.id()) }).await?;
        let mut found: Vec<(Timestamp, UnreadMessage)> = Vec::new();
        let mut senders = 0;
        for waiting in reply.rows::<WaitingRow>(0)? {
            // The oldest `limit` messages are from at most the `limit` senders with the oldest unread messages. How old
            // the first one after an event is, is not known.
            if senders == limit && after.is_none() {
                break;
            }
            let rows = self.unread_from(receiver, waiting, after, limit).await?;
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

    async fn unread_from(
        &self,
        receiver: &Party,
        waiting: WaitingRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let WaitingRow { friend, chat, read_seq } = waiting;
        let mut search = UnreadSearch::new(receiver, friend, read_seq, after, limit);
        while let Some(keys) = search.keys(&chat) {
            search.take(self.run(MESSAGES, vars! { keys: keys }).await?.rows(0)?);
        }
        Ok(search.found)
    }
}

impl Transaction<'_> {
    /// The first unread messages of one entry. If all of them were lost, the entry is corrected.
    async fn look_at_entry(&self, receiver: &Party, from: Option<&PartyId>, limit: usize) -> Result<Found, StoreError> {
        let named = match from {
            Some(from) => self.entry(receiver.id(), from.as_str()).await?.filter(EntryRow::has_unread),
            None => None,
        };
        let entry = match named {
            Some(entry) => Some(entry),
            None => self.longest_unread(receiver).await?,
        };
        let Some(entry) = entry else { return Ok(Found::Nothing) };
        let mut search = UnreadSearch::new(receiver, entry.friend.clone(), entry.read_seq, None, limit);
        while let Some(keys) = search.keys(&entry.chat) {
            search.take(self.rows(MESSAGES, vars! { keys: keys }).await?);
        }
        let messages = search.found;
        let (Some(oldest), Some(newest)) = (messages.first(), messages.last()) else {
            let all = NewlyRead { up_to: None, count: 0, newest: None };
            let (corrected, _) = self.mark_read(receiver, entry, all).await?;
            return Ok(Found::OnlyLost(corrected));
        };
        let EntryRow { friend: sender, chat, .. } = entry;
        let mark = BatchMark { sender, chat, newest: newest.seq, oldest_at: oldest.created_at };
        Ok(Found::Messages(messages, mark))
    }

    /// The entry whose first unread message is the oldest.
    async fn longest_unread(&self, receiver: &Party) -> Result<Option<EntryRow>, StoreError> {
        let entries = self
            .rows::<EntryRow>(
                "SELECT * FROM type::record('friend', $keys) WHERE incoming > heard ORDER BY unread_since LIMIT 1",
                vars! { keys: keys_of(receiver.id()) },
            )
            .await?;
        Ok(entries.into_iter().next())
    }
}

/// A search for the first unread messages of one sender, page by page.
struct UnreadSearch<'a> {
    receiver: &'a Party,
    sender: String,
    /// Only messages whose events follow this number in the receiver's stream.
    after: Option<i64>,
    limit: usize,
    /// The number at which the next page begins; none after the last page.
    first: Option<i64>,
    /// Oldest first.
    found: Vec<MessageRow>,
}

impl<'a> UnreadSearch<'a> {
    fn new(receiver: &'a Party, sender: String, read_seq: i64, after: Option<u64>, limit: usize) -> Self {
        let after = after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
        Self { receiver, sender, after, limit, first: read_seq.checked_add(1), found: Vec::new() }
    }

    /// The keys of the next page, of [`MESSAGES`]; none at the end.
    fn keys(&self, chat: &str) -> Option<Value> {
        let first = self.first.filter(|_| self.found.len() < self.limit)?;
        Some(keys_between(chat, first, i64::MAX))
    }

    /// Takes the messages of a page.
    fn take(&mut self, mut page: Vec<MessageRow>) {
        page.sort_by_key(|row| row.seq);
        let is_last = page.len() < PAGE;
        self.first = page.last().filter(|_| !is_last).and_then(|row| row.seq.checked_add(1));
        page.retain(|row| row.sender == self.sender && row.hidden.as_deref() != Some(self.receiver.id()));
        if let Some(after) = self.after {
            page.retain(|row| row.event_seq.map_or(after == 0, |number| number > after));
        }
        page.truncate(self.limit - self.found.len());
        self.found.append(&mut page);
    }
}

/// The unread messages of an entry.
enum Found {
    Nothing,
    OnlyLost(ReadMessages),
    Messages(Vec<MessageRow>, BatchMark),
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct WaitingRow {
    friend: String,
    chat: String,
    read_seq: i64,
}
