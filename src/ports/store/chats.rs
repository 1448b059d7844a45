//! Messages and what of them is unheard.
//!
//! A chat numbers its messages densely (`chat.seq`), so that every read is a
//! bounded range of record ids `message:[chat, seq]`. Unread is a difference of
//! two counters of the receiver's address book entry: nothing can drift.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored, stored_party};
use crate::model::{ChatId, FileName, Message, MessageId, Party, PartyId, Timestamp};

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
    /// Keeps a message and counts it as unheard, in one transaction; gives its chat.
    ///
    /// Refused with `NotFriends` where the receiver's address book lacks the sender.
    pub async fn add_message(&self, new: NewMessage, now: Timestamp) -> Result<ChatId, StoreError> {
        let variables = vars! {
            uid: new.id.as_str(), from: new.from.id(), kind: new.from.kind().as_str(), to: new.to.id(),
            sound: new.sound.as_str(), notice: new.notice.as_ref().map(|name| name.as_str().to_owned()), now: now,
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
                    RETURN $entry.chat;
                }",
                variables,
            )
            .await?;
        let chat = reply.optional::<String>(0)?;
        stored(&chat.ok_or_else(|| StoreError::Corrupt("a message has no chat".into()))?)
    }

    /// The last `limit` messages of a chat, oldest first, if `reader` is one of the two; all are then heard.
    ///
    /// With `before`, the last ones that are older. Refused with `UnknownChat`.
    pub async fn read_chat(
        &self,
        reader: &Party,
        chat: &ChatId,
        limit: usize,
        before: Option<Timestamp>,
    ) -> Result<Vec<Message>, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $window = (SELECT seq, parties FROM ONLY type::record('chat', $chat));
                    IF $window = NONE OR $reader NOT IN $window.parties { THROW 'toyhub:unknown_chat' };
                    LET $other = IF $window.parties[0] = $reader { $window.parties[1] } ELSE { $window.parties[0] };
                    UPDATE type::record('friend', [$reader, $other]) SET heard = incoming, read_seq = $window.seq,
                        unread_since = NONE;
                    RETURN $window.seq;
                }",
                vars! { chat: chat.as_str(), reader: reader.id() },
            )
            .await?;
        let mut last = reply.optional::<i64>(0)?.unwrap_or(0);
        if let Some(before) = before {
            last = self.last_seq_before(chat, last, before).await?;
        }
        let first = (last - limit as i64 + 1).max(1);
        self.messages(chat, first, last).await
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

    async fn messages(&self, chat: &ChatId, first: i64, last: i64) -> Result<Vec<Message>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM message:[$chat, $first]..=[$chat, $last] ORDER BY seq",
                vars! { chat: chat.as_str(), first: first, last: last },
            )
            .await?;
        reply.rows::<MessageRow>(0)?.into_iter().map(MessageRow::into_message).collect()
    }

    /// The unheard messages of one sender, oldest first, at most `limit`, which are then heard.
    ///
    /// The sender is `from`, or where nothing of that one is unheard, the one whose message waits longest.
    pub async fn take_unheard(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let variables = vars! {
            receiver: receiver.id(), from: from.map(|id| id.as_str().to_owned()), limit: limit as i64,
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
                    IF $entry = NONE { RETURN [] };
                    LET $seq = (SELECT VALUE seq FROM ONLY type::record('chat', $entry.chat));
                    LET $chat = $entry.chat;
                    LET $first = $entry.read_seq + 1;
                    LET $waiting = (SELECT * FROM message:[$chat, $first]..=[$chat, $seq]
                        WHERE sender = $entry.friend ORDER BY seq LIMIT $limit);
                    LET $rest = $entry.incoming - $entry.heard - array::len($waiting);
                    UPDATE type::record('friend', [$receiver, $entry.friend]) SET heard += array::len($waiting),
                        read_seq = IF $rest > 0 { array::last($waiting).seq } ELSE { $seq },
                        unread_since = IF $rest > 0 { array::last($waiting).created_at } ELSE { NONE };
                    RETURN $waiting;
                }",
                variables,
            )
            .await?;
        reply.rows::<MessageRow>(0)?.into_iter().map(MessageRow::into_message).collect()
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
