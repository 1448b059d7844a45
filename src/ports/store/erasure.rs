//! Erasures: the transaction that makes data unreachable also records the erasure in a row, which stays until all data
//! is deleted. Each step may be repeated, so an erasure continues after a crash.
//!
//! Files are deleted before the rows that name them: after a crash, a row without its file is found again, but a file
//! without its row is not. The engine keeps old versions of rows in its log and its tables until it compacts them
//! ([`Store::compact`]).

use surrealdb::types::{SurrealValue, Variables, vars};

use super::erase::StoredMessage;
use super::message_row::MessageRow;
use super::{Refusal, Store, StoreError, stored, stored_number};
use crate::model::{ChatId, DeviceKey, FileName, MessageId, Party, PartyId, Timestamp, ToyId, UserId};

/// An unfinished erasure.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// Its row.
    pub id: String,
    /// The erased item.
    pub what: Erasing,
    /// Sounds to delete unless another message has them.
    pub sounds: Vec<FileName>,
}

/// The erased item.
#[derive(Debug, Clone)]
pub enum Erasing {
    /// All data of a user or toy, whose own row is deleted already.
    Party {
        /// Who.
        party: Party,
        /// The device that is removed with its toy.
        device: Option<DeviceKey>,
    },
    /// Messages of a chat.
    Chat {
        /// The chat.
        chat: ChatId,
        /// Its two parties.
        parties: Vec<PartyId>,
        /// Messages up to this number.
        up_to: u64,
        /// Only the messages of this party; those of the other party are hidden from it.
        only_of: Option<PartyId>,
        /// Whether the friendship has ended as well.
        ends_friendship: bool,
    },
    /// A message, whose row is deleted already.
    Message {
        /// Which.
        id: MessageId,
        /// The two parties of its chat.
        parties: Vec<PartyId>,
    },
    /// Only old versions of rows.
    Trace,
}

/// A chat to be erased.
#[derive(Debug, Clone)]
pub struct ChatErasure {
    /// The chat.
    pub chat: ChatId,
    /// Its two parties.
    pub parties: [PartyId; 2],
    /// Only the messages of this party; those of the other party are hidden from it.
    pub only_of: Option<PartyId>,
    /// Whether the friendship ends as well.
    pub ends_friendship: bool,
    /// Sounds to delete unless another message has them.
    pub sounds: Vec<FileName>,
}

/// The future of an erased toy's device.
#[derive(Debug, Clone)]
pub enum DeviceAfter {
    /// It may be bound again, with a new secret and, if one is given, a new key.
    Renewed {
        /// The SHA-256 of the secret.
        secret_hash: String,
        /// The key.
        key: Option<DeviceKey>,
    },
    /// It is removed.
    Removed,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ErasureRow {
    uid: String,
    kind: String,
    subject: String,
    parties: Vec<String>,
    up_to: i64,
    only_of: Option<String>,
    device: Option<String>,
    sounds: Vec<String>,
}

impl ErasureRow {
    fn into_erasure(self) -> Result<Erasure, StoreError> {
        let parties = || self.parties.iter().map(|id| stored(id)).collect::<Result<Vec<PartyId>, _>>();
        let what = match self.kind.as_str() {
            "party" => Erasing::Party {
                party: party_of(&self.subject)?,
                device: self.device.as_deref().map(stored).transpose()?,
            },
            "chat" | "friendship" => Erasing::Chat {
                chat: stored(&self.subject)?,
                parties: parties()?,
                up_to: stored_number(self.up_to)?,
                only_of: self.only_of.as_deref().map(stored).transpose()?,
                ends_friendship: self.kind == "friendship",
            },
            "message" => Erasing::Message { id: stored(&self.subject)?, parties: parties()? },
            _ => Erasing::Trace,
        };
        let sounds = self.sounds.iter().map(|name| stored(name)).collect::<Result<_, _>>()?;
        Ok(Erasure { id: self.uid, what, sounds })
    }
}

/// A party of its text, `toy/<id>`.
fn party_of(text: &str) -> Result<Party, StoreError> {
    let (kind, id) = text.split_once('/').ok_or_else(|| StoreError::Corrupt("an erasure names no party".into()))?;
    super::stored_party(kind, id)
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

impl Store {
    /// Removes a user with its tokens, subscriptions and places, which frees the user name, and records the erasure of all
    /// other data. Refused with `UnknownParty`.
    pub async fn begin_user_erasure(&self, user: &UserId, now: Timestamp) -> Result<(), StoreError> {
        let subject = Party::User(user.clone()).to_string();
        self.run(
            "{
                IF !record::exists(type::record('user', $user)) { THROW 'toyhub:unknown_party' };
                DELETE user_name WHERE user = $user;
                DELETE name_look WHERE user = $user;
                DELETE type::record('user', $user);
                DELETE token WHERE party = $user;
                DELETE push:[$user, '']..[$user, '~'];
                DELETE place:[$user, '']..[$user, '~'];
                CREATE type::record('erasure', rand::ulid()) SET kind = 'party', subject = $subject, parties = [],
                    up_to = 0, only_of = NONE, device = NONE, sounds = [], created_at = $now;
                RETURN NONE;
            }",
            vars! { user: user.as_str(), subject: subject, now: now },
        )
        .await
        .map(drop)
    }

    /// Removes a toy with its tokens and places, and records the erasure of all other data. Returns the former key of
    /// its device. Refused with `UnknownParty`.
    pub async fn begin_toy_erasure(
        &self,
        toy: &ToyId,
        device: DeviceAfter,
        now: Timestamp,
    ) -> Result<DeviceKey, StoreError> {
        let (secret_hash, new_key, is_removed) = match device {
            DeviceAfter::Renewed { secret_hash, key } => (Some(secret_hash), key.map(|key| key.to_string()), false),
            DeviceAfter::Removed => (None, None, true),
        };
        let mut reply = self
            .run(
                "{
                    LET $key = (SELECT VALUE device_key FROM ONLY type::record('toy', $toy));
                    IF $key = NONE { THROW 'toyhub:unknown_party' };
                    LET $name = (SELECT VALUE name FROM ONLY type::record('device', $key));
                    LET $goes = $is_removed OR $new_key != NONE;
                    IF $goes { DELETE type::record('device', $key) }
                    ELSE { UPDATE type::record('device', $key) SET toy = NONE, secret_hash = $secret_hash };
                    IF $new_key != NONE {
                        CREATE type::record('device', $new_key) SET secret_hash = $secret_hash, toy = NONE,
                            name = $name, created_at = $now;
                    };
                    DELETE type::record('toy', $toy);
                    DELETE token WHERE party = $toy;
                    DELETE place:[$toy, '']..[$toy, '~'];
                    CREATE type::record('erasure', rand::ulid()) SET kind = 'party', subject = $subject, parties = [],
                        up_to = 0, only_of = NONE, device = IF $goes { $key } ELSE { NONE }, sounds = [],
                        created_at = $now;
                    RETURN $key;
                }",
                vars! {
                    toy: toy.as_str(), subject: Party::Toy(toy.clone()).to_string(), secret_hash: secret_hash,
                    new_key: new_key, is_removed: is_removed, now: now,
                },
            )
            .await?;
        let key = reply.optional::<String>(0)?;
        stored(&key.ok_or_else(|| StoreError::Corrupt("a toy has no device".into()))?)
    }

    /// Records the erasure of the messages that a chat has now, and returns the number of the last one. Unless only one
    /// party's messages are erased, they cannot be read any more. A chat whose row is lost is erased completely. With
    /// the friendship, the friend requests of the two parties to each other are deleted.
    pub async fn begin_chat_erasure(&self, new: &ChatErasure, now: Timestamp) -> Result<u64, StoreError> {
        let [a, b] = &new.parties;
        let _turns = self.turns.of(a.as_str(), b.as_str()).await;
        let begun = self.run(
            "{
                LET $seq = (SELECT VALUE seq FROM ONLY type::record('chat', $chat)) ?? 9223372036854775806;
                IF $ends {
                    DELETE friend:[$a, $b] WHERE chat = $chat;
                    DELETE friend:[$b, $a] WHERE chat = $chat;
                    IF $only_of = NONE { DELETE type::record('chat', $chat) };
                    LET $one = (SELECT VALUE id FROM request WHERE requester = $a AND requestee = $b);
                    LET $other = (SELECT VALUE id FROM request WHERE requester = $b AND requestee = $a);
                    FOR $request IN array::concat($one, $other) { DELETE $request };
                    DELETE type::record('pending', [$a, $b]);
                    DELETE type::record('pending', [$b, $a]);
                } ELSE IF $only_of = NONE {
                    UPDATE type::record('chat', $chat) SET erased_to = $seq;
                    UPDATE friend:[$a, $b], friend:[$b, $a] SET heard = incoming, read_seq = math::max([read_seq, $seq]),
                        delivered_seq = math::max([delivered_seq, $seq]), unread_since = NONE WHERE chat = $chat;
                };
                CREATE type::record('erasure', rand::ulid()) SET
                    kind = IF $ends { 'friendship' } ELSE { 'chat' }, subject = $chat, parties = [$a, $b],
                    up_to = $seq, only_of = $only_of, device = NONE, sounds = $sounds, created_at = $now;
                RETURN $seq;
            }",
            vars! {
                chat: new.chat.as_str(), a: a.as_str(), b: b.as_str(), ends: new.ends_friendship,
                only_of: new.only_of.as_ref().map(ToString::to_string), sounds: texts(&new.sounds), now: now,
            },
        );
        let seq = begun.await?.optional::<i64>(0)?;
        stored_number(seq.ok_or_else(|| StoreError::Corrupt("an erasure has no end".into()))?)
    }

    /// Removes a message and records the erasure of its sound and events. Refused with `UnknownMessage`.
    pub async fn begin_message_erasure(
        &self,
        message: &StoredMessage,
        parties: &[PartyId; 2],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sounds: Vec<&FileName> = std::iter::once(&message.sound).chain(&message.notice).collect();
        let [a, b] = parties;
        let variables = vars! {
            uid: message.id.as_str(), a: a.as_str(), b: b.as_str(), sounds: texts(&sounds), now: now,
        };
        let variables = &variables;
        let _turns = self.turns.of(a.as_str(), b.as_str()).await;
        self.transact(|tx| async move {
            let gone = tx.delete_messages(message.chat.as_str(), &[message.seq]).await?;
            if gone.first().map(MessageRow::id).transpose()?.as_ref() != Some(&message.id) {
                return Err(StoreError::Refused(Refusal::UnknownMessage));
            }
            tx.run(
                "CREATE type::record('erasure', rand::ulid()) SET kind = 'message', subject = $uid, parties = [$a, $b],
                    up_to = 0, only_of = NONE, device = NONE, sounds = $sounds, created_at = $now RETURN NONE",
                variables.clone(),
            )
            .await
            .map(drop)
        })
        .await
    }

    /// Hides a message from one of its two parties.
    pub async fn hide_message(&self, message: &StoredMessage, from: &PartyId) -> Result<(), StoreError> {
        self.run(
            "UPDATE type::record('message', [$chat, $seq]) SET hidden = $from WHERE uid = $uid",
            vars! {
                chat: message.chat.as_str(), seq: message.seq as i64, uid: message.id.as_str(), from: from.as_str(),
            },
        )
        .await
        .map(drop)
    }

    /// All unfinished erasures, oldest first.
    pub async fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let sql = "SELECT *, record::id(id) AS uid FROM erasure ORDER BY created_at";
        let rows = self.run(sql, Variables::new()).await?.rows::<ErasureRow>(0)?;
        rows.into_iter().map(ErasureRow::into_erasure).collect()
    }

    /// Whether an unfinished erasure was begun before a time.
    pub async fn is_erasure_from_before(&self, time: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT VALUE record::id(id) FROM erasure WHERE created_at < $time LIMIT 1";
        Ok(!self.run(sql, vars! { time: time }).await?.rows::<String>(0)?.is_empty())
    }

    /// Adds sounds to an erasure.
    pub async fn add_sounds(&self, erasure: &str, sounds: &[FileName]) -> Result<(), StoreError> {
        self.run(
            "UPDATE type::record('erasure', $id) SET sounds = array::union(sounds, $sounds)",
            vars! { id: erasure, sounds: texts(sounds) },
        )
        .await
        .map(drop)
    }

    /// Removes all names from an erasure, of whose data only old versions of rows are left.
    pub async fn leave_trace(&self, erasure: &str) -> Result<(), StoreError> {
        self.run(
            "UPDATE type::record('erasure', $id) SET kind = 'trace', subject = '', parties = [], only_of = NONE,
                device = NONE, sounds = []",
            vars! { id: erasure },
        )
        .await
        .map(drop)
    }

    /// Deletes a finished erasure.
    pub async fn end_erasure(&self, erasure: &str) -> Result<(), StoreError> {
        self.run("DELETE type::record('erasure', $id)", vars! { id: erasure }).await.map(drop)
    }
}
