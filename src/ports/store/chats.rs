//! Messages: added to a chat, read from it page by page, found by their sound.
//!
//! A chat numbers its messages in the order of the commits (`chat.seq`), so that every read is a bounded range of
//! record ids `message:[chat, seq]`. A number whose message is lost is skipped. A chat whose row is lost, or stands
//! behind its messages, is mended by the first call that meets it.

use surrealdb::types::{SurrealValue, vars};

use super::receipts::{Heard, HeardRow};
use super::{Refusal, Store, StoreError, stored, stored_number, stored_party, stored_seq};
use crate::model::{ChatId, FileName, Message, MessageId, MessageState, Party, Timestamp};

/// Numbers that one query looks at where messages are missing.
const SPAN_MAX: i64 = 4096;

/// A message to be kept.
#[derive(Debug, Clone)]
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
    /// What an earlier attempt to send the same recording has left, if its sender may repeat it.
    pub repeats: Option<Repeats>,
}

/// How an earlier attempt to send the same recording is recognised.
#[derive(Debug, Clone)]
pub struct Repeats {
    /// The names that its sound may have, the new one included.
    pub sounds: Vec<FileName>,
    /// Only a message that was kept after this time is the same.
    pub since: Timestamp,
}

/// A message as it was kept, now or by an earlier attempt.
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
    /// The number of the receiver's event; none for a toy, and for a message that was kept earlier.
    pub receiver_seq: Option<u64>,
    /// Whether the receiver has yet to hear it.
    pub is_unheard: bool,
}

/// Which messages of a chat a page ends before; both limits count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Before {
    /// Messages with an earlier time.
    pub time: Option<Timestamp>,
    /// Messages with a lower number.
    pub seq: Option<u64>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
pub(super) struct MessageRow {
    uid: String,
    pub(super) chat: String,
    pub(super) seq: i64,
    sender: String,
    kind: String,
    sound: String,
    notice: Option<String>,
    pub(super) created_at: f64,
}

impl MessageRow {
    pub(super) fn notice(&self) -> Result<Option<FileName>, StoreError> {
        self.notice.as_deref().map(stored).transpose()
    }

    pub(super) fn into_message(self) -> Result<Message, StoreError> {
        Ok(Message {
            id: stored(&self.uid)?,
            seq: stored_number(self.seq)?,
            from: stored_party(&self.kind, &self.sender)?,
            sound: stored(&self.sound)?,
            created_at: self.created_at,
        })
    }

    fn into_kept(self, receiver_seq: Option<i64>, is_unheard: bool) -> Result<Kept, StoreError> {
        Ok(Kept {
            id: stored(&self.uid)?,
            chat: stored(&self.chat)?,
            notice: self.notice()?,
            sound: stored(&self.sound)?,
            created_at: self.created_at,
            receiver_seq: stored_seq(receiver_seq)?,
            is_unheard,
        })
    }
}

impl Store {
    /// Keeps a message, counts it as unread and appends it to its receiver's stream, in one transaction. A message that
    /// an earlier attempt has kept is returned instead.
    ///
    /// Refused with `NotFriends` where the receiver's address book lacks the sender.
    pub async fn add_message(&self, new: NewMessage, now: Timestamp) -> Result<Kept, StoreError> {
        match self.try_add_message(&new, now).await {
            Err(StoreError::Refused(Refusal::DamagedChat)) => {
                let (to, from) = (new.to.id(), new.from.id());
                if let Some(chat) = self.chat_of_entry(to, from).await? {
                    self.mend_chat(&chat, to, from).await?;
                }
                self.try_add_message(&new, now).await
            }
            result => result,
        }
    }

    async fn try_add_message(&self, new: &NewMessage, now: Timestamp) -> Result<Kept, StoreError> {
        let (sounds, since) = match &new.repeats {
            Some(repeats) => (repeats.sounds.iter().map(|name| name.as_str().to_owned()).collect(), repeats.since),
            None => (Vec::<String>::new(), now),
        };
        let variables = vars! {
            uid: new.id.as_str(), from: new.from.id(), kind: new.from.kind().as_str(), to: new.to.id(),
            to_kind: new.to.kind().as_str(), sound: new.sound.as_str(),
            notice: new.notice.as_ref().map(|name| name.as_str().to_owned()), now: now, keep: self.stream_events_max,
            sounds: sounds, since: since,
        };
        // The number is above all marks of the receiver, or the message would count as heard. The time is later than
        // that of the message before, so that a page that ends before a time neither skips nor repeats a message.
        let mut reply = self
            .run(
                "{
                    LET $entry = (SELECT * FROM ONLY type::record('friend', [$to, $from]));
                    IF $entry = NONE { THROW 'toyhub:not_friends' };
                    LET $sent = IF array::len($sounds) = 0 { NONE } ELSE {
                        (SELECT * FROM message WHERE sound IN $sounds AND created_at > $since LIMIT 1)[0]
                    };
                    IF $sent != NONE {
                        RETURN { message: $sent, seq: NONE, unheard: $sent.seq > $entry.read_seq };
                    };
                    LET $chat = (SELECT seq, last_at FROM ONLY type::record('chat', $entry.chat));
                    IF $chat = NONE { THROW 'toyhub:damaged_chat' };
                    LET $seq = math::max([$chat.seq, $entry.read_seq, $entry.delivered_seq]) + 1;
                    IF record::exists(type::record('message', [$entry.chat, $seq])) { THROW 'toyhub:damaged_chat' };
                    LET $last_at = $chat.last_at
                        ?? (SELECT VALUE created_at FROM ONLY type::record('message', [$entry.chat, $chat.seq]));
                    LET $at = IF $last_at = NONE { $now } ELSE { math::max([$now, $last_at + 0.00001f]) };
                    UPDATE type::record('chat', $entry.chat) SET seq = $seq, last_at = $at;
                    LET $message = (CREATE ONLY type::record('message', [$entry.chat, $seq]) SET uid = $uid,
                        chat = $entry.chat, seq = $seq, sender = $from, kind = $kind, sound = $sound,
                        notice = $notice, created_at = $at);
                    UPDATE type::record('friend', [$to, $from]) SET
                        incoming = math::max([$entry.incoming, $entry.heard]) + 1,
                        unread_since = IF $entry.incoming <= $entry.heard { $at } ELSE { unread_since };
                    LET $told = IF $to_kind = 'app' {
                        fn::tell($to, $keep, {
                            type: 'message', uid: $uid, party: $from, kind: $kind, chat: $entry.chat, sound: $sound,
                            notice: $notice, created_at: $at,
                        })
                    } ELSE { NONE };
                    RETURN { message: $message, seq: $told, unheard: true };
                }",
                variables,
            )
            .await?;
        let row = reply.optional::<KeptRow>(0)?;
        let KeptRow { message, seq, unheard } =
            row.ok_or_else(|| StoreError::Corrupt("a message has no chat".into()))?;
        message.into_kept(seq, unheard)
    }

    /// The message from one party to another that an earlier attempt has kept.
    pub async fn repeated(&self, from: &Party, to: &Party, repeats: &Repeats) -> Result<Option<Kept>, StoreError> {
        let sounds: Vec<String> = repeats.sounds.iter().map(|name| name.as_str().to_owned()).collect();
        let mut reply = self
            .run(
                "{
                    LET $sent = (SELECT * FROM message WHERE sound IN $sounds AND created_at > $since LIMIT 1)[0];
                    IF $sent = NONE { RETURN NONE };
                    LET $read = (SELECT VALUE read_seq FROM ONLY type::record('friend', [$to, $from])) ?? 0;
                    RETURN { message: $sent, seq: NONE, unheard: $sent.seq > $read };
                }",
                vars! { sounds: sounds, since: repeats.since, from: from.id(), to: to.id() },
            )
            .await?;
        let row = reply.optional::<KeptRow>(0)?;
        row.map(|row| row.message.into_kept(None, row.unheard)).transpose()
    }

    /// The last `limit` messages of a chat with how far they have come, oldest first, if `reader` is one of the two;
    /// all are then heard.
    ///
    /// With `before`, the last ones before that. Refused with `UnknownChat`.
    pub async fn read_chat(
        &self,
        reader: &Party,
        chat: &ChatId,
        limit: usize,
        before: Before,
    ) -> Result<(Vec<(Message, MessageState)>, Option<Heard>), StoreError> {
        let window = match self.open_window(reader, chat).await {
            Err(StoreError::Refused(Refusal::DamagedChat)) => {
                let friend = self.friend_of_chat(reader, chat).await?;
                let friend = friend.ok_or(StoreError::Refused(Refusal::UnknownChat))?;
                self.mend_chat(chat.as_str(), reader.id(), &friend).await?;
                self.open_window(reader, chat).await?
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
        let rows = self.last_messages(chat, last, limit).await?;
        let messages = rows.into_iter().map(|row| {
            let state = state(&row);
            Ok((row.into_message()?, state))
        });
        let messages = messages.collect::<Result<_, StoreError>>()?;
        Ok((messages, window.heard.map(HeardRow::into_heard).transpose()?))
    }

    async fn open_window(&self, reader: &Party, chat: &ChatId) -> Result<WindowRow, StoreError> {
        let variables = vars! {
            chat: chat.as_str(), reader: reader.id(), kind: reader.kind().as_str(), keep: self.stream_events_max,
        };
        let mut reply = self
            .run(
                "{
                    LET $window = (SELECT seq, parties FROM ONLY type::record('chat', $chat));
                    IF $window = NONE { THROW 'toyhub:damaged_chat' };
                    IF $reader NOT IN $window.parties { THROW 'toyhub:unknown_chat' };
                    LET $other = IF $window.parties[0] = $reader { $window.parties[1] } ELSE { $window.parties[0] };
                    LET $heard = fn::hear($reader, $kind, $other, NONE, $keep);
                    LET $others = (SELECT read_seq, delivered_seq FROM ONLY type::record('friend', [$other, $reader]));
                    RETURN {
                        last: $window.seq, read: $others.read_seq, delivered: $others.delivered_seq, heard: $heard,
                    };
                }",
                variables,
            )
            .await?;
        let row = reply.optional::<WindowRow>(0)?;
        row.ok_or_else(|| StoreError::Corrupt("a chat has no number".into()))
    }

    /// The highest number of a message that is older than `before`, or 0, by bisection: times rise with the numbers.
    async fn last_seq_before(&self, chat: &ChatId, newest: i64, before: Timestamp) -> Result<i64, StoreError> {
        // All messages up to `older` are older, none from `newer` on is.
        let (mut older, mut newer) = (0, newest.saturating_add(1));
        while newer - older > 1 {
            let middle = older + (newer - older) / 2;
            match self.first_message(chat, middle, newer - 1).await? {
                Some(message) if message.created_at < before => older = message.seq,
                // Between `middle` and the message that was found, no number has one.
                Some(_) | None => newer = middle,
            }
        }
        Ok(older)
    }

    /// Number and time of the first message between two numbers.
    async fn first_message(&self, chat: &ChatId, first: i64, last: i64) -> Result<Option<SeqRow>, StoreError> {
        let mut reply = self
            .run(
                "SELECT seq, created_at FROM message:[$chat, $first]..=[$chat, $last] LIMIT 1",
                vars! { chat: chat.as_str(), first: first, last: last },
            )
            .await?;
        Ok(reply.rows::<SeqRow>(0)?.into_iter().next())
    }

    /// The last `limit` messages up to number `last`, oldest first. Where numbers have no message, it looks further back.
    async fn last_messages(&self, chat: &ChatId, last: i64, limit: usize) -> Result<Vec<MessageRow>, StoreError> {
        let mut found = Vec::new();
        let (mut last, mut span) = (last, i64::try_from(limit).unwrap_or(i64::MAX));
        while last >= 1 && found.len() < limit {
            let first = last.saturating_sub(span).saturating_add(1).max(1);
            let mut older = self.messages(chat, first, last).await?;
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
                "SELECT * FROM message:[$chat, $first]..=[$chat, $last] ORDER BY seq",
                vars! { chat: chat.as_str(), first: first, last: last },
            )
            .await?;
        reply.rows::<MessageRow>(0)
    }

    /// Whether the chat is one of the party's.
    pub async fn is_member(&self, party: &Party, chat: &ChatId) -> Result<bool, StoreError> {
        let mut reply =
            self.run("SELECT parties FROM ONLY type::record('chat', $chat)", vars! { chat: chat.as_str() }).await?;
        match reply.optional::<PartiesRow>(0)? {
            Some(row) => Ok(row.parties.iter().any(|id| id == party.id())),
            // The row may be lost; the address book knows the chat too.
            None => Ok(self.friend_of_chat(party, chat).await?.is_some()),
        }
    }

    /// The friend with whom a party has this chat, by its address book.
    async fn friend_of_chat(&self, party: &Party, chat: &ChatId) -> Result<Option<String>, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE friend FROM friend:[$owner, '']..[$owner, 'z'] WHERE chat = $chat LIMIT 1",
                vars! { owner: party.id(), chat: chat.as_str() },
            )
            .await?;
        Ok(reply.rows::<String>(0)?.into_iter().next())
    }

    /// The chat of an address book entry.
    async fn chat_of_entry(&self, owner: &str, friend: &str) -> Result<Option<String>, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE chat FROM ONLY type::record('friend', [$owner, $friend])",
                vars! { owner: owner, friend: friend },
            )
            .await?;
        reply.optional::<String>(0)
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

    /// The two parties of the message that has this recording, if there is one; only its sender where nothing is left
    /// that names the other.
    pub async fn parties_of_sound(&self, sound: &FileName) -> Result<Option<Vec<String>>, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $message = (SELECT chat, sender FROM message WHERE sound = $sound LIMIT 1)[0];
                    IF $message = NONE { RETURN NONE };
                    LET $window = (SELECT parties FROM ONLY type::record('chat', $message.chat));
                    IF $window != NONE { RETURN $window };
                    LET $sender = $message.sender;
                    LET $friends = (SELECT VALUE friend FROM friend:[$sender, '']..[$sender, 'z']
                        WHERE chat = $message.chat);
                    RETURN { parties: array::append($friends, $sender) };
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
    message: MessageRow,
    seq: Option<i64>,
    unheard: bool,
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
struct SeqRow {
    seq: i64,
    created_at: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PartiesRow {
    parties: Vec<String>,
}
