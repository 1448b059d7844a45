//! Messages and what of them is unheard.
//!
//! A chat numbers its messages densely (`chat.seq`), so that every read is a
//! bounded range of record ids `message:[chat, seq]`. Unread is a difference of
//! two counters of the receiver's address book entry: nothing can drift.

use surrealdb::types::{SurrealValue, vars};

use super::receipts::{Heard, HeardRow};
use super::{Store, StoreError, stored, stored_party, stored_seq};
use crate::model::{ChatId, FileName, Message, MessageId, MessageState, Party, PartyId, Timestamp};

/// A message to be kept.
#[derive(Debug)]
pub struct NewMessage {
    /// Its id; new.
    pub id: MessageId,
    /// Who sends it.
    pub from: Party,
    /// Who receives it.
    pub to: Party,
    /// The recording.
    pub sound: FileName,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
}

/// Where a message was kept.
#[derive(Debug)]
pub struct Kept {
    /// Its chat.
    pub chat: ChatId,
    /// The number of the receiver's event.
    pub receiver_seq: Option<u64>,
}

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

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct MessageRow {
    uid: String,
    chat: String,
    seq: i64,
    sender: String,
    kind: String,
    sound: String,
    notice: Option<String>,
    created_at: f64,
}

impl MessageRow {
    fn into_unheard(self) -> Result<Unheard, StoreError> {
        Ok(Unheard {
            chat: stored(&self.chat)?,
            notice: self.notice.as_deref().map(stored).transpose()?,
            message: self.into_message()?,
        })
    }

    fn into_message(self) -> Result<Message, StoreError> {
        Ok(Message {
            id: stored(&self.uid)?,
            from: stored_party(&self.kind, &self.sender)?,
            sound: stored(&self.sound)?,
            created_at: self.created_at,
        })
    }
}

impl Store {
    /// Keeps a message, counts it as unheard and tells its receiver, in one transaction.
    ///
    /// Refused with `NotFriends` where the receiver's address book lacks the sender.
    pub async fn add_message(&self, new: NewMessage, now: Timestamp) -> Result<Kept, StoreError> {
        let variables = vars! {
            uid: new.id.as_str(), from: new.from.id(), kind: new.from.kind().as_str(), to: new.to.id(),
            to_kind: new.to.kind().as_str(), sound: new.sound.as_str(),
            notice: new.notice.as_ref().map(|name| name.as_str().to_owned()), now: now, keep: self.stream_events_max,
        };
        let mut reply = self
            .run(
                "{
                    LET $entry = (SELECT chat, incoming, heard FROM ONLY type::record('friend', [$to, $from]));
                    IF $entry = NONE { THROW 'toyhub:not_friends' };
                    LET $chat = (UPDATE ONLY type::record('chat', $entry.chat) SET seq += 1 RETURN AFTER);
                    CREATE type::record('message', [$entry.chat, $chat.seq]) SET uid = $uid, chat = $entry.chat,
                        seq = $chat.seq, sender = $from, kind = $kind, sound = $sound, notice = $notice,
                        created_at = $now;
                    UPDATE type::record('friend', [$to, $from]) SET incoming += 1,
                        unread_since = IF $entry.incoming = $entry.heard { $now } ELSE { unread_since };
                    LET $seq = IF $to_kind = 'app' {
                        fn::tell($to, $keep, {
                            type: 'message', uid: $uid, party: $from, kind: $kind, chat: $entry.chat, sound: $sound,
                            notice: $notice, created_at: $now,
                        })
                    } ELSE { NONE };
                    RETURN { chat: $entry.chat, seq: $seq };
                }",
                variables,
            )
            .await?;
        let row = reply.optional::<KeptRow>(0)?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a message has no chat".into()))?;
        Ok(Kept { chat: stored(&row.chat)?, receiver_seq: stored_seq(row.seq)? })
    }

    /// The last `limit` messages of a chat with how far they have come, oldest first, if `reader` is one of the two;
    /// all are then heard.
    ///
    /// With `before`, the last ones that are older. Refused with `UnknownChat`.
    pub async fn read_chat(
        &self,
        reader: &Party,
        chat: &ChatId,
        limit: usize,
        before: Option<Timestamp>,
    ) -> Result<(Vec<(Message, MessageState)>, Option<Heard>), StoreError> {
        let variables = vars! {
            chat: chat.as_str(), reader: reader.id(), kind: reader.kind().as_str(), keep: self.stream_events_max,
        };
        let mut reply = self
            .run(
                "{
                    LET $window = (SELECT seq, parties FROM ONLY type::record('chat', $chat));
                    IF $window = NONE OR $reader NOT IN $window.parties { THROW 'toyhub:unknown_chat' };
                    LET $other = IF $window.parties[0] = $reader { $window.parties[1] } ELSE { $window.parties[0] };
                    LET $heard = fn::hear($reader, $kind, $other, $window.seq, $keep);
                    LET $others = (SELECT read_seq, delivered_seq FROM ONLY type::record('friend', [$other, $reader]));
                    RETURN {
                        last: $window.seq, read: $others.read_seq, delivered: $others.delivered_seq, heard: $heard,
                    };
                }",
                variables,
            )
            .await?;
        let row = reply.optional::<WindowRow>(0)?;
        let row = row.ok_or_else(|| StoreError::Corrupt("a chat has no number".into()))?;
        let last = match before {
            Some(before) => self.last_seq_before(chat, row.last, before).await?,
            None => row.last,
        };
        let first = last.saturating_sub(i64::try_from(limit).unwrap_or(i64::MAX)).saturating_add(1).max(1);
        let state = |message: &MessageRow| match (row.read, row.delivered) {
            _ if message.sender != reader.id() => MessageState::Heard,
            (Some(read), _) if message.seq <= read => MessageState::Heard,
            (_, Some(delivered)) if message.seq <= delivered => MessageState::Delivered,
            _ => MessageState::Sent,
        };
        let rows = self.messages(chat, first, last).await?;
        let messages = rows.into_iter().map(|row| {
            let state = state(&row);
            Ok((row.into_message()?, state))
        });
        let messages = messages.collect::<Result<_, StoreError>>()?;
        Ok((messages, row.heard.map(HeardRow::into_heard).transpose()?))
    }

    /// The highest number whose message is older than `before`, by bisection: times of a chat only rise.
    async fn last_seq_before(&self, chat: &ChatId, newest: i64, before: Timestamp) -> Result<i64, StoreError> {
        let (mut older, mut newer) = (0, newest + 1);
        while newer - older > 1 {
            let middle = older + (newer - older) / 2;
            let message = self.messages(chat, middle, middle).await?;
            if message.first().is_some_and(|message| message.created_at < before) {
                older = middle;
            } else {
                newer = middle;
            }
        }
        Ok(older)
    }

    async fn messages(&self, chat: &ChatId, first: i64, last: i64) -> Result<Vec<MessageRow>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM message:[$chat, $first]..=[$chat, $last] ORDER BY seq",
                vars! { chat: chat.as_str(), first: first, last: last },
            )
            .await?;
        reply.rows::<MessageRow>(0)
    }

    /// The unheard messages of one sender, oldest first, at most `limit`, which are then heard.
    ///
    /// The sender is `from`, or where nothing of that one is unheard, the one whose message waits longest.
    pub async fn take_unheard(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<(Vec<Message>, Option<Heard>), StoreError> {
        let variables = vars! {
            receiver: receiver.id(), kind: receiver.kind().as_str(), from: from.map(|id| id.as_str().to_owned()),
            limit: limit as i64, keep: self.stream_events_max,
        };
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
                    LET $seq = (SELECT VALUE seq FROM ONLY type::record('chat', $entry.chat));
                    LET $chat = $entry.chat;
                    LET $first = $entry.read_seq + 1;
                    LET $waiting = (SELECT * FROM message:[$chat, $first]..=[$chat, $seq]
                        WHERE sender = $entry.friend ORDER BY seq LIMIT $limit);
                    LET $rest = $entry.incoming - $entry.heard - array::len($waiting);
                    LET $up_to = IF $rest > 0 { array::last($waiting).seq } ELSE { $seq };
                    LET $heard = fn::hear($receiver, $kind, $entry.friend, $up_to, $keep);
                    RETURN { messages: $waiting, heard: $heard };
                }",
                variables,
            )
            .await?;
        let Some(row) = reply.optional::<TakenRow>(0)? else { return Ok((Vec::new(), None)) };
        let messages = row.messages.into_iter().map(MessageRow::into_message).collect::<Result<_, _>>()?;
        Ok((messages, row.heard.map(HeardRow::into_heard).transpose()?))
    }

    /// Up to `limit` unheard messages of a party, of all senders, oldest first; they stay unheard.
    pub async fn unheard(&self, receiver: &Party, limit: usize) -> Result<Vec<Unheard>, StoreError> {
        let mut reply = self
            .run(
                "SELECT friend, chat, read_seq, unread_since FROM friend:[$receiver, '']..[$receiver, 'z']
                    WHERE incoming > heard ORDER BY unread_since LIMIT $limit",
                vars! { receiver: receiver.id(), limit: limit as i64 },
            )
            .await?;
        let mut found = Vec::new();
        for waiting in reply.rows::<WaitingRow>(0)? {
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
            for row in reply.rows::<MessageRow>(0)? {
                found.push(row.into_unheard()?);
            }
        }
        found.sort_by(|a, b| a.message.created_at.total_cmp(&b.message.created_at));
        found.truncate(limit);
        Ok(found)
    }

    /// Whether the chat is one of the party's.
    pub async fn is_member(&self, party: &Party, chat: &ChatId) -> Result<bool, StoreError> {
        let mut reply =
            self.run("SELECT parties FROM ONLY type::record('chat', $chat)", vars! { chat: chat.as_str() }).await?;
        let row = reply.optional::<PartiesRow>(0)?;
        Ok(row.is_some_and(|row| row.parties.iter().any(|id| id == party.id())))
    }

    /// The message that has this recording, and its notice.
    pub async fn message_of_sound(&self, sound: &FileName) -> Result<Option<(Message, Option<FileName>)>, StoreError> {
        let mut reply =
            self.run("SELECT * FROM message WHERE sound = $sound LIMIT 1", vars! { sound: sound.as_str() }).await?;
        let row = reply.rows::<MessageRow>(0)?.into_iter().next();
        row.map(|row| row.into_unheard().map(|found| (found.message, found.notice))).transpose()
    }

    /// The two parties of the message that has this recording, if there is one.
    pub async fn parties_of_sound(&self, sound: &FileName) -> Result<Option<Vec<String>>, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $chat = (SELECT VALUE chat FROM message WHERE sound = $sound LIMIT 1)[0];
                    IF $chat = NONE { RETURN NONE };
                    RETURN (SELECT parties FROM ONLY type::record('chat', $chat));
                }",
                vars! { sound: sound.as_str() },
            )
            .await?;
        Ok(reply.optional::<PartiesRow>(0)?.map(|row| row.parties))
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct KeptRow {
    chat: String,
    seq: Option<i64>,
}

/// A chat as one of the two finds it; `read` and `delivered` are the other's marks.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct WindowRow {
    last: i64,
    read: Option<i64>,
    delivered: Option<i64>,
    heard: Option<HeardRow>,
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

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PartiesRow {
    parties: Vec<String>,
}
