//! Messages: adding to a chat, reading page by page, and search by sound.
//!
//! A chat numbers its messages in the order of the commits (`chat.seq`), so that every read is a bounded range of
//! record ids `message:[chat, seq]`. A number whose message is lost is skipped. A chat whose row is lost, or is behind
//! its messages, is repaired by the next call that uses it.

use surrealdb::types::{SurrealValue, vars};

use super::message_row::MessageRow;
use super::receipts::{EntryRow, ReadMessages};
use super::streams::StreamRow;
use super::transaction::{Transaction, keys_between, keys_of, record, record_of};
use super::{Refusal, Store, StoreError, stored};
use crate::model::{ChatId, Event, FileName, Message, MessageId, MessageState, Party, Timestamp, ToyId};

/// The number of message numbers that one query scans if messages are missing.
const SPAN_MAX: i64 = 4096;
/// The minimum difference between the times of consecutive messages.
const TIME_STEP_S: Timestamp = 0.00001;

/// A new message.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id; new.
    pub id: MessageId,
    /// The sender.
    pub from: Party,
    /// The receiver.
    pub to: Party,
    /// Their chat, as far as the sender knows: its row is read with the others.
    pub chat: Option<ChatId>,
    /// The recording.
    pub sound: FileName,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
    /// How to find the message of an earlier attempt, if its sender may repeat it.
    pub repeats: Option<Repeats>,
}

/// The search for an earlier attempt to send the same recording.
#[derive(Debug, Clone)]
pub struct Repeats {
    /// The names that its sound may have, the new one included.
    pub sounds: Vec<FileName>,
    /// Only a message that was stored after this time counts as the same.
    pub since: Timestamp,
    /// Whether this is certainly the first attempt: the search, which costs as much as all other statements of a message,
    /// is left out then.
    pub is_first: bool,
}

/// The two parties of the message of a recording.
#[derive(Debug)]
pub struct PartiesOfSound {
    /// The ids of the two parties of the chat.
    pub parties: Vec<String>,
    /// The one that has erased the message for itself alone.
    pub hidden_from: Option<String>,
}

impl PartiesOfSound {
    /// The other party of the chat.
    pub fn other_than(&self, party: &str) -> Option<&str> {
        self.parties.iter().map(String::as_str).find(|id| *id != party)
    }

    /// Whether a party has erased the message for itself.
    pub fn is_hidden_from(&self, party: &str) -> bool {
        self.hidden_from.as_deref() == Some(party)
    }
}

/// A stored message, from this attempt or an earlier one.
#[derive(Debug)]
pub struct Kept {
    /// Its id.
    pub id: MessageId,
    /// Its chat.
    pub chat: ChatId,
    /// The recording.
    pub sound: FileName,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
    /// Its time, which is later than that of the message before it.
    pub created_at: Timestamp,
    /// The number of the receiver's event; none for a toy, and for a message that was stored earlier.
    pub receiver_seq: Option<u64>,
    /// Whether its event is published: it is unread, and its receiver has not muted the sender.
    pub is_announced: bool,
}

/// The exclusive end of a page of a chat; both limits apply.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Before {
    /// Messages with an earlier time.
    pub time: Option<Timestamp>,
    /// Messages with a lower number.
    pub seq: Option<u64>,
}

impl Kept {
    fn of(row: MessageRow, is_announced: bool) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id()?,
            chat: row.chat()?,
            notice: row.notice()?,
            sound: row.sound()?,
            created_at: row.created_at,
            receiver_seq: row.event_seq()?,
            is_announced,
        })
    }
}

impl Store {
    /// Stores a message, counts it as unread and, unless the sender is muted, appends it to its receiver's stream, in
    /// one transaction. If an earlier attempt has stored the message, that one is returned.
    ///
    /// Refused with `NotFriends` if the receiver's address book lacks the sender.
    pub async fn add_message(&self, mut new: NewMessage, now: Timestamp) -> Result<Kept, StoreError> {
        let _turns = self.turns.of(new.from.id(), new.to.id()).await;
        let added = match self.try_add_message(&new, now).await {
            Err(error) if error.is_sound_taken() => {
                // An earlier attempt has stored it after all.
                if let Some(repeats) = &mut new.repeats {
                    repeats.is_first = false;
                }
                self.try_add_message(&new, now).await
            }
            added => added,
        };
        match added {
            Err(StoreError::Refused(Refusal::DamagedChat)) => {
                let (to, from) = (new.to.id(), new.from.id());
                if let Some(chat) = self.chat_of_entry(to, from).await? {
                    self.mend_chat_in_turn(&chat, to, from).await?;
                }
                self.try_add_message(&new, now).await
            }
            added => added,
        }
    }

    async fn try_add_message(&self, new: &NewMessage, now: Timestamp) -> Result<Kept, StoreError> {
        self.transact(|tx| async move {
            let Rows { entry, chat, stream } = tx.rows_of_message(new).await?;
            let entry = entry.ok_or(StoreError::Refused(Refusal::NotFriends))?;
            if let Some(sent) = tx.sent(new.repeats.as_ref().filter(|repeats| !repeats.is_first)).await? {
                let is_announced = sent.seq > entry.read_seq && !entry.is_muted();
                return Kept::of(sent, is_announced);
            }
            let chat = chat.ok_or(StoreError::Refused(Refusal::DamagedChat))?;
            // The number is above all marks of the receiver, or the message would count as read.
            let seq = chat.seq.max(entry.read_seq).max(entry.delivered_seq) + 1;
            // The time is later than that of the message before, so that a page that ends before a time neither skips
            // nor repeats a message.
            let created_at = tx.last_at(&entry.chat, &chat).await?.map_or(now, |last| now.max(last + TIME_STEP_S));
            tx.merge(record("chat", &entry.chat), ChatMoved { seq, last_at: created_at }).await?;
            let event = Event::Message {
                id: new.id.clone(),
                from: new.from.clone(),
                chat: stored(&entry.chat)?,
                sound: new.sound.clone(),
                notice: new.notice.clone(),
                created_at,
            };
            let event_seq =
                if entry.is_muted() { None } else { tx.append_event_after(&new.to, stream, &event).await? };
            let message = MessageRow {
                uid: new.id.to_string(),
                chat: entry.chat.clone(),
                seq,
                sender: new.from.id().to_owned(),
                kind: new.from.kind().as_str().to_owned(),
                sound: new.sound.to_string(),
                notice: new.notice.as_ref().map(ToString::to_string),
                created_at,
                event_seq: event_seq.map(|seq| seq as i64),
                hidden: None,
            };
            tx.add(message.clone()).await?;
            let counted = EntryCounted {
                incoming: entry.incoming.max(entry.heard) + 1,
                unread_since: if entry.has_unread() { entry.unread_since } else { Some(created_at) },
            };
            tx.merge(record_of("friend", new.to.id(), new.from.id().to_owned()), counted).await?;
            Kept::of(message, !entry.is_muted())
        })
        .await
    }

    /// The message from one party to another that an earlier attempt has stored.
    pub async fn repeated(&self, from: &Party, to: &Party, repeats: &Repeats) -> Result<Option<Kept>, StoreError> {
        self.transact(|tx| async move {
            let Some(sent) = tx.sent(Some(repeats)).await? else { return Ok(None) };
            let entry = tx.entry(to.id(), from.id()).await?;
            let is_announced = entry.is_none_or(|entry| sent.seq > entry.read_seq && !entry.is_muted());
            Kept::of(sent, is_announced).map(Some)
        })
        .await
    }

    /// The last `limit` messages of a chat with their states, oldest first, if `reader` is one of its parties. All
    /// messages are marked as read.
    ///
    /// With `before`, the last ones before that. Refused with `UnknownChat`, also for a former friend of a toy.
    pub async fn read_chat(
        &self,
        reader: &Party,
        chat: &ChatId,
        limit: usize,
        before: Before,
    ) -> Result<(Vec<(Message, MessageState)>, Option<ReadMessages>), StoreError> {
        self.page(reader, chat, Marks::Heard, limit, before).await
    }

    /// The same for a guardian of `toy` who is not a party of the chat. Marks nothing.
    pub async fn look_at_chat(
        &self,
        toy: &ToyId,
        chat: &ChatId,
        limit: usize,
        before: Before,
    ) -> Result<Vec<(Message, MessageState)>, StoreError> {
        Ok(self.page(&Party::Toy(toy.clone()), chat, Marks::Nothing, limit, before).await?.0)
    }

    async fn page(
        &self,
        reader: &Party,
        chat: &ChatId,
        marks: Marks,
        limit: usize,
        before: Before,
    ) -> Result<(Vec<(Message, MessageState)>, Option<ReadMessages>), StoreError> {
        let window = match self.open_window(reader, chat, marks).await {
            Err(StoreError::Refused(Refusal::DamagedChat)) => {
                let friend = self.friend_of_chat(reader, chat).await?;
                let friend = friend.ok_or(StoreError::Refused(Refusal::UnknownChat))?;
                self.mend_chat(chat.as_str(), reader.id(), &friend).await?;
                self.open_window(reader, chat, marks).await?
            }
            result => result?,
        };
        let mut last = window.last;
        if let Some(seq) = before.seq {
            last = last.min(i64::try_from(seq).unwrap_or(i64::MAX).saturating_sub(1));
        }
        if let Some(time) = before.time {
            last = self.last_seq_before(chat, last, time).await?;
        }
        let state = |message: &MessageRow| match (window.read, window.delivered) {
            _ if message.sender != reader.id() => MessageState::Heard,
            (Some(read), _) if message.seq <= read => MessageState::Heard,
            (_, Some(delivered)) if message.seq <= delivered => MessageState::Delivered,
            _ => MessageState::Sent,
        };
        let rows = self.last_messages(reader, chat, (window.first, last), limit).await?;
        let messages = rows.into_iter().map(|row| {
            let state = state(&row);
            Ok((row.into_message()?, state))
        });
        let messages = messages.collect::<Result<_, StoreError>>()?;
        Ok((messages, window.heard))
    }

    async fn open_window(&self, reader: &Party, chat: &ChatId, marks: Marks) -> Result<Window, StoreError> {
        let _turn = self.turns.of(reader.id(), reader.id()).await;
        self.transact(|tx| async move {
            let row = tx.chat(chat.as_str()).await?.ok_or(StoreError::Refused(Refusal::DamagedChat))?;
            let other = match row.parties.as_slice() {
                [a, b] if a == reader.id() => b,
                [a, b] if b == reader.id() => a,
                _ => return Err(StoreError::Refused(Refusal::UnknownChat)),
            };
            let heard = match (tx.entry(reader.id(), other).await?, marks) {
                (_, Marks::Nothing) => None,
                (Some(entry), Marks::Heard) => tx.mark_read_up_to(reader, entry, None).await?,
                // A child's messages can be read by its current friends only.
                (None, Marks::Heard) if tx.is_toy(other).await? => {
                    return Err(StoreError::Refused(Refusal::UnknownChat));
                }
                (None, Marks::Heard) => None,
            };
            let others = tx.entry(other, reader.id()).await?;
            let (read, delivered) = others.map(|entry| (entry.read_seq, entry.delivered_seq)).unzip();
            let first = row.erased_to.map_or(1, |erased| erased + 1);
            Ok(Window { first, last: row.seq, read, delivered, heard })
        })
        .await
    }

    /// The highest number of a message that is older than `before`, or 0, by bisection: times rise with the numbers.
    async fn last_seq_before(&self, chat: &ChatId, newest: i64, before: Timestamp) -> Result<i64, StoreError> {
        // All messages up to `older` are older, and none from `newer` on.
        let (mut older, mut newer) = (0, newest.saturating_add(1));
        while newer - older > 1 {
            let middle = older + (newer - older) / 2;
            match self.first_message(chat, middle, newer - 1).await? {
                Some(message) if message.created_at < before => older = message.seq,
                // There is no message between `middle` and the found one.
                Some(_) | None => newer = middle,
            }
        }
        Ok(older)
    }

    /// Number and time of the first message between two numbers.
    async fn first_message(&self, chat: &ChatId, first: i64, last: i64) -> Result<Option<SeqRow>, StoreError> {
        let mut reply = self
            .run(
                "SELECT seq, created_at FROM type::record('message', $keys) LIMIT 1",
                vars! { keys: keys_between(chat.as_str(), first, last) },
            )
            .await?;
        Ok(reply.rows::<SeqRow>(0)?.into_iter().next())
    }

    /// The last `limit` messages from number `oldest` up to number `last` that `reader` sees, oldest first. If messages
    /// are missing, it searches further back.
    async fn last_messages(
        &self,
        reader: &Party,
        chat: &ChatId,
        (oldest, last): (i64, i64),
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let mut found = Vec::new();
        let (mut last, mut span) = (last, i64::try_from(limit).unwrap_or(i64::MAX));
        while last >= oldest && found.len() < limit {
            let first = last.saturating_sub(span).saturating_add(1).max(oldest);
            let mut older = self.messages(chat, first, last).await?;
            older.retain(|row| row.hidden.as_deref() != Some(reader.id()));
            older.append(&mut found);
            found = older;
            last = first - 1;
            span = span.max(span.saturating_mul(4).min(SPAN_MAX));
        }
        found.drain(..found.len().saturating_sub(limit));
        Ok(found)
    }

    async fn messages(&self, chat: &ChatId, first: i64, last: i64) -> Result<Vec<MessageRow>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM type::record('message', $keys) ORDER BY seq",
                vars! { keys: keys_between(chat.as_str(), first, last) },
            )
            .await?;
        reply.rows::<MessageRow>(0)
    }

    /// Whether the chat is that of the party and one of its current friends.
    pub async fn is_member(&self, party: &Party, chat: &ChatId) -> Result<bool, StoreError> {
        // The row may be lost; the address book has the chat, too.
        let Some(parties) = self.parties_of_chat(chat).await? else {
            return Ok(self.friend_of_chat(party, chat).await?.is_some());
        };
        if !parties.iter().any(|id| id == party.id()) {
            return Ok(false);
        }
        let Some(friend) = parties.iter().find(|id| *id != party.id()) else { return Ok(false) };
        Ok(self.chat_of_entry(party.id(), friend).await?.as_deref() == Some(chat.as_str()))
    }

    /// The two parties of a chat; none if its row is lost.
    pub async fn parties_of_chat(&self, chat: &ChatId) -> Result<Option<Vec<String>>, StoreError> {
        let sql = "SELECT parties FROM ONLY type::record('chat', $chat)";
        let mut reply = self.run(sql, vars! { chat: chat.as_str() }).await?;
        Ok(reply.optional::<PartiesRow>(0)?.map(|row| row.parties))
    }

    /// The friend with whom a party has this chat, by its address book.
    async fn friend_of_chat(&self, party: &Party, chat: &ChatId) -> Result<Option<String>, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE friend FROM type::record('friend', $keys) WHERE chat = $chat LIMIT 1",
                vars! { keys: keys_of(party.id()), chat: chat.as_str() },
            )
            .await?;
        Ok(reply.rows::<String>(0)?.into_iter().next())
    }

    /// The chat of an address book entry.
    async fn chat_of_entry(&self, owner: &str, friend: &str) -> Result<Option<String>, StoreError> {
        let id = record_of("friend", owner, friend.to_owned());
        let mut reply = self.run("SELECT VALUE chat FROM ONLY $id", vars! { id: id }).await?;
        reply.optional::<String>(0)
    }

    /// The recordings of all messages that the party has sent to the friends in its address book.
    pub async fn sounds_sent_by(&self, party: &Party) -> Result<Vec<FileName>, StoreError> {
        let mut sounds = Vec::new();
        for friend in self.friends(party).await? {
            let sql = "SELECT VALUE sound FROM message:[$chat, 0]..=[$chat, 9223372036854775807]
                       WHERE sender = $sender";
            let mut reply = self.run(sql, vars! { chat: friend.chat.as_str(), sender: party.id() }).await?;
            let found = reply.rows::<String>(0)?;
            sounds.extend(found.iter().map(|sound| stored(sound)).collect::<Result<Vec<FileName>, _>>()?);
        }
        Ok(sounds)
    }

    /// The message that has this recording, and its notice.
    pub async fn message_of_sound(&self, sound: &FileName) -> Result<Option<(Message, Option<FileName>)>, StoreError> {
        let mut reply =
            self.run("SELECT * FROM message WHERE sound = $sound LIMIT 1", vars! { sound: sound.as_str() }).await?;
        let row = reply.rows::<MessageRow>(0)?.into_iter().next();
        let found = row.map(|row| {
            let notice = row.notice()?;
            Ok((row.into_message()?, notice))
        });
        found.transpose()
    }

    /// The two parties of the message with this recording, if there is one; only its sender if no row names the
    /// receiver any more.
    pub async fn parties_of_sound(&self, sound: &FileName) -> Result<Option<PartiesOfSound>, StoreError> {
        self.transact(|tx| async move {
            let sql = "SELECT * FROM message WHERE sound = $sound LIMIT 1";
            let message = tx.rows::<MessageRow>(sql, vars! { sound: sound.as_str() }).await?.into_iter().next();
            let Some(message) = message else { return Ok(None) };
            let hidden_from = message.hidden.clone();
            if let Some(chat) = tx.chat(&message.chat).await? {
                if chat.erased_to.is_some_and(|erased| message.seq <= erased) {
                    return Ok(None);
                }
                return Ok(Some(PartiesOfSound { parties: chat.parties, hidden_from }));
            }
            let mut parties = tx
                .rows::<String>(
                    "SELECT VALUE friend FROM type::record('friend', $keys) WHERE chat = $chat",
                    vars! { keys: keys_of(&message.sender), chat: message.chat.as_str() },
                )
                .await?;
            parties.push(message.sender.clone());
            Ok(Some(PartiesOfSound { parties, hidden_from }))
        })
        .await
    }
}

impl Transaction<'_> {
    async fn is_toy(&self, id: &str) -> Result<bool, StoreError> {
        let name = self.one::<String>("SELECT VALUE toy_name FROM ONLY $id", vars! { id: record("toy", id) }).await?;
        Ok(name.is_some())
    }

    /// The rows that a new message changes.
    async fn rows_of_message(&self, new: &NewMessage) -> Result<Rows, StoreError> {
        let mut ids = vec![record_of("friend", new.to.id(), new.from.id().to_owned())];
        ids.extend(new.chat.as_ref().map(|chat| record("chat", chat.as_str())));
        if let Party::User(user) = &new.to {
            ids.push(record("stream", user.as_str()));
        }
        let (mut entry, mut known, mut stream) = (None, None, None);
        for (id, row) in ids.iter().zip(self.rows_at(&ids).await?) {
            let Some(row) = row else { continue };
            match id.table.as_str() {
                "friend" => entry = Some(row.read::<EntryRow>()?),
                "chat" => known = Some(row.read::<ChatRow>()?),
                _ => stream = Some(row.read::<StreamRow>()?),
            }
        }
        let chat = match &entry {
            // They were friends before, with another chat, or the sender does not know it.
            Some(entry) if new.chat.as_ref().map(ChatId::as_str) != Some(&*entry.chat) => {
                self.chat(&entry.chat).await?
            }
            _ => known,
        };
        Ok(Rows { entry, chat, stream })
    }

    async fn chat(&self, chat: &str) -> Result<Option<ChatRow>, StoreError> {
        self.one::<ChatRow>("SELECT seq, last_at, parties, erased_to FROM ONLY $id", vars! { id: record("chat", chat) })
            .await
    }

    /// The message that an earlier attempt with the same recording has stored.
    async fn sent(&self, repeats: Option<&Repeats>) -> Result<Option<MessageRow>, StoreError> {
        let Some(repeats) = repeats else { return Ok(None) };
        let sounds: Vec<String> = repeats.sounds.iter().map(ToString::to_string).collect();
        let rows = self
            .rows::<MessageRow>(
                "SELECT * FROM message WHERE sound IN $sounds AND created_at > $since LIMIT 1",
                vars! { sounds: sounds, since: repeats.since },
            )
            .await?;
        Ok(rows.into_iter().next())
    }

    /// The time of the newest message of a chat.
    async fn last_at(&self, id: &str, chat: &ChatRow) -> Result<Option<Timestamp>, StoreError> {
        if chat.last_at.is_some() || chat.seq == 0 {
            return Ok(chat.last_at);
        }
        let newest = record_of("message", id, chat.seq);
        self.one::<f64>("SELECT VALUE created_at FROM ONLY $id", vars! { id: newest }).await
    }

    /// Stores a message under its number. Refused with `DamagedChat` if another message has it.
    async fn add(&self, message: MessageRow) -> Result<(), StoreError> {
        let id = record_of("message", &message.chat, message.seq);
        match self.run("CREATE $id CONTENT $row RETURN NONE", vars! { id: id, row: message }).await {
            Err(error) if error.is_record_taken() => Err(StoreError::Refused(Refusal::DamagedChat)),
            added => added.map(drop),
        }
    }
}

/// What a new message changes, as it is before.
struct Rows {
    entry: Option<EntryRow>,
    chat: Option<ChatRow>,
    stream: Option<StreamRow>,
}

/// The new columns of a chat with a new message.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ChatMoved {
    seq: i64,
    last_at: f64,
}

/// The new columns of the receiver's entry.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct EntryCounted {
    incoming: i64,
    unread_since: Option<f64>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ChatRow {
    seq: i64,
    last_at: Option<f64>,
    parties: Vec<String>,
    erased_to: Option<i64>,
}

/// The marks that reading a page of a chat sets.
#[derive(Debug, Clone, Copy)]
enum Marks {
    /// All messages to the reader are marked as read.
    Heard,
    /// Nothing is marked.
    Nothing,
}

/// A chat from the view of one party; `read` and `delivered` are the marks of the other one.
struct Window {
    first: i64,
    last: i64,
    read: Option<i64>,
    delivered: Option<i64>,
    heard: Option<ReadMessages>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct SeqRow {
    seq: i64,
    created_at: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PartiesRow {
    parties: Vec<String>,
}
