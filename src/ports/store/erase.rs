//! The steps of erasures, each of which finds and deletes rows; [`super::erasure`] stores the steps that are left.

use std::time::{Duration, Instant};

use surrealdb::types::{SurrealValue, Variables, vars};

use super::message_row::MessageRow;
use super::transaction::{Transaction, record, record_of};
use super::{Location, Store, StoreError, stored, stored_number};
use crate::model::{ChatId, Event, FileName, MessageId, Party, PartyId, Timestamp, ToyId, UserId};

/// The number of chats of a party that one query returns.
const CHATS_MAX: i64 = 100;
/// The number of events of a stream that one statement deletes.
const EVENTS_MAX: i64 = 500;
/// The longest time that a compaction of a large database may take.
const COMPACTION_MAX: Duration = Duration::from_secs(3600);

/// A message with all its columns.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// Its chat.
    pub chat: ChatId,
    /// Its number.
    pub seq: u64,
    /// Who sent it.
    pub sender: PartyId,
    /// The recording.
    pub sound: FileName,
    /// The spoken notice that announces it.
    pub notice: Option<FileName>,
    /// The party that has erased it for itself alone.
    pub hidden: Option<PartyId>,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl StoredMessage {
    fn of(row: MessageRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id()?,
            chat: row.chat()?,
            seq: stored_number(row.seq)?,
            sender: stored(&row.sender)?,
            sound: row.sound()?,
            notice: row.notice()?,
            hidden: row.hidden.as_deref().map(stored).transpose()?,
            created_at: row.created_at,
        })
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PartiesRow {
    chat: String,
    parties: Vec<String>,
}

impl PartiesRow {
    fn into_chat(self) -> Result<(ChatId, [PartyId; 2]), StoreError> {
        match self.parties.as_slice() {
            [a, b] => Ok((stored(&self.chat)?, [stored(a)?, stored(b)?])),
            _ => Err(StoreError::Corrupt("a chat has no two parties".into())),
        }
    }
}

impl Store {
    /// Some of a party's chats, with their parties. It scans all chats.
    pub async fn chats_of(&self, party: &Party) -> Result<Vec<(ChatId, [PartyId; 2])>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS chat, parties FROM chat WHERE parties CONTAINS $party LIMIT $limit;
                 SELECT chat, [owner, friend] AS parties FROM friend:[$party, '']..[$party, 'z'] LIMIT $limit;",
                vars! { party: party.id(), limit: CHATS_MAX },
            )
            .await?;
        let mut rows = reply.rows::<PartiesRow>(0)?;
        rows.extend(reply.rows::<PartiesRow>(1)?);
        rows.sort_by(|a, b| a.chat.cmp(&b.chat));
        rows.dedup_by(|a, b| a.chat == b.chat);
        rows.into_iter().map(PartiesRow::into_chat).collect()
    }

    /// The number of the last message of a chat; 0 if there is none.
    pub async fn last_number(&self, chat: &ChatId) -> Result<u64, StoreError> {
        let mut reply =
            self.run("SELECT VALUE seq FROM ONLY type::record('chat', $chat)", vars! { chat: chat.as_str() }).await?;
        Ok(reply.optional::<i64>(0)?.map_or(0, |seq| u64::try_from(seq).unwrap_or_default()))
    }

    /// The two parties of a chat.
    pub async fn pair_of_chat(&self, chat: &ChatId) -> Result<Option<[PartyId; 2]>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS chat, parties FROM ONLY type::record('chat', $chat)",
                vars! { chat: chat.as_str() },
            )
            .await?;
        let row = reply.optional::<PartiesRow>(0)?;
        row.map(|row| row.into_chat().map(|(_, parties)| parties)).transpose()
    }

    /// The remarks of the two parties of a friendship for each other.
    pub async fn remarks_between(&self, a: &PartyId, b: &PartyId) -> Result<Vec<String>, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE remark FROM ONLY type::record('friend', [$a, $b]);
                 SELECT VALUE remark FROM ONLY type::record('friend', [$b, $a]);",
                vars! { a: a.as_str(), b: b.as_str() },
            )
            .await?;
        Ok(reply.optional::<String>(0)?.into_iter().chain(reply.optional::<String>(1)?).collect())
    }

    /// A page of all chats after one, with their parties.
    pub async fn chats_after(&self, chat: &str) -> Result<Vec<(ChatId, [PartyId; 2])>, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $place = type::record('chat', $after);
                    RETURN (SELECT record::id(id) AS chat, parties FROM chat WHERE id > $place LIMIT $limit);
                }",
                vars! { after: chat, limit: CHATS_MAX },
            )
            .await?;
        reply.rows::<PartiesRow>(0)?.into_iter().map(PartiesRow::into_chat).collect()
    }

    /// A message by its id.
    pub async fn stored_message(&self, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        self.message(id).await?.map(StoredMessage::of).transpose()
    }

    /// The messages of a chat from one number to another, oldest first, at most `limit`.
    pub async fn stored_messages(
        &self,
        chat: &ChatId,
        (first, last): (u64, u64),
        limit: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let mut reply = self
            .run(
                "SELECT * FROM message:[$chat, $first]..=[$chat, $last] LIMIT $limit",
                vars! { chat: chat.as_str(), first: number(first), last: number(last), limit: limit as i64 },
            )
            .await?;
        let mut messages =
            reply.rows::<MessageRow>(0)?.into_iter().map(StoredMessage::of).collect::<Result<Vec<_>, _>>()?;
        messages.sort_by_key(|message| message.seq);
        Ok(messages)
    }

    /// Deletes messages of a chat, with their part of its counters, and hides others from a party, in one transaction.
    pub async fn erase_messages(
        &self,
        chat: &ChatId,
        erased: &[u64],
        (hidden, from): (&[u64], Option<&PartyId>),
    ) -> Result<(), StoreError> {
        let parties = self.pair_of_chat(chat).await?;
        let _turns = match &parties {
            Some([a, b]) => Some(self.turns.of(a.as_str(), b.as_str()).await),
            None => None,
        };
        self.transact(|tx| async move {
            tx.delete_messages(chat.as_str(), erased).await?;
            for seq in hidden {
                tx.run(
                    "UPDATE $id SET hidden = $from RETURN NONE",
                    vars! { id: record_of("message", chat.as_str(), *seq as i64), from: from.map(ToString::to_string) },
                )
                .await?;
            }
            Ok(())
        })
        .await
    }

    /// Whether a message has this sound or notice. It may scan all messages.
    pub async fn is_sound_used(&self, sound: &FileName) -> Result<bool, StoreError> {
        let mut reply = self
            .run(
                "SELECT VALUE seq FROM message WHERE sound = $sound LIMIT 1;
                 SELECT VALUE seq FROM message WHERE notice = $sound LIMIT 1;",
                vars! { sound: sound.as_str() },
            )
            .await?;
        Ok(!reply.rows::<i64>(0)?.is_empty() || !reply.rows::<i64>(1)?.is_empty())
    }

    /// Binds a toy to another one of its guardians.
    pub async fn pass_on(&self, toy: &ToyId, heir: &UserId) -> Result<(), StoreError> {
        self.run(
            "{
                UPDATE type::record('toy', $toy) SET bind_user = $heir;
                DELETE type::record('guardian', [$heir, $toy]);
                RETURN NONE;
            }",
            vars! { toy: toy.as_str(), heir: heir.as_str() },
        )
        .await
        .map(drop)
    }

    /// Deletes the friend requests from and to a party and those that it may answer, and its guardianships,
    /// invitations, blocks, refusals, retained messages and what was asked.
    pub async fn erase_requests(&self, party: &Party) -> Result<(), StoreError> {
        self.run(
            "{
                LET $all = (SELECT id, requester, requestee FROM request
                    WHERE requester = $party OR requestee = $party OR answerer = $party);
                FOR $request IN $all {
                    DELETE type::record('pending', [$request.requester, $request.requestee]);
                    DELETE $request.id;
                };
                DELETE refusal WHERE requester = $party OR requestee = $party OR refuser = $party;
                DELETE block WHERE owner = $party OR other = $party;
                DELETE guardian WHERE user = $party OR toy = $party;
                DELETE approval:[$party, '']..[$party, 'z'];
                DELETE ticket WHERE party = $party;
                DELETE retained:[$topics, '']..[$topics, 'z'];
                DELETE session:[$party, '']..[$party, 'z'];
                DELETE type::record('asked', $party);
                DELETE type::record('last_played', $party);
                DELETE invite WHERE issuer = $party OR toy = $party OR claimed_by = $party;
                RETURN NONE;
            }",
            vars! { party: party.id(), topics: party.to_string() },
        )
        .await
        .map(drop)
    }

    /// Deletes the stream of an erased user.
    pub async fn erase_stream(&self, user: &UserId) -> Result<(), StoreError> {
        loop {
            let mut reply = self
                .run(
                    "{
                        LET $some = (SELECT VALUE id FROM event:[$user, 0]..[$user, 9223372036854775807] LIMIT $limit);
                        FOR $event IN $some { DELETE $event };
                        IF array::len($some) < $limit { DELETE type::record('stream', $user) };
                        RETURN array::len($some) < $limit;
                    }",
                    vars! { user: user.as_str(), limit: EVENTS_MAX },
                )
                .await?;
            if reply.optional::<bool>(0)?.unwrap_or(true) {
                return Ok(());
            }
        }
    }

    /// Deletes the events of a user up to the last one that names one of `subjects`: ids of parties, chats or messages.
    /// A stream has no gaps, so older events are deleted, too, and devices that have not received them load everything
    /// again. An event notifies the user's devices of this; its number is returned. If no event names a subject, there is
    /// such an event only with `is_told`.
    pub async fn cut_stream(
        &self,
        user: &UserId,
        subjects: &[String],
        is_told: bool,
    ) -> Result<Option<u64>, StoreError> {
        let _turn = self.turns.of(user.as_str(), user.as_str()).await;
        self.transact(|tx| async move {
            let named = tx
                .rows::<i64>(
                    "SELECT VALUE seq FROM event:[$user, 0]..[$user, 9223372036854775807]
                        WHERE party IN $subjects OR requestee IN $subjects OR chat IN $subjects OR uid IN $subjects",
                    vars! { user: user.as_str(), subjects: subjects.to_vec() },
                )
                .await?;
            let newest = named.into_iter().max();
            if newest.is_none() && !is_told {
                return Ok(None);
            }
            let owner = Party::User(user.clone());
            let seq = tx.append_event(&owner, &Event::Erased).await?;
            let Some(newest) = newest else { return Ok(seq) };
            tx.run(
                "DELETE event:[$user, 0]..=[$user, $newest] RETURN NONE",
                vars! { user: user.as_str(), newest: newest },
            )
            .await?;
            tx.run(
                "UPDATE $id SET first = math::max([first, $first]) RETURN NONE",
                vars! { id: record("stream", user.as_str()), first: newest + 1 },
            )
            .await?;
            Ok(seq)
        })
        .await
    }

    /// Makes the engine rewrite its tables and its log without deleted data. It waits for queries that still read old
    /// versions. It does nothing for a database that is not in the data folder.
    pub async fn compact(&self) -> Result<(), StoreError> {
        if !matches!(self.settings.place, Location::Folder { .. }) {
            return Ok(());
        }
        self.settle().await;
        let deadline = Instant::now() + COMPACTION_MAX;
        loop {
            match self.run("ALTER SYSTEM COMPACT", Variables::new()).await {
                // The engine goes on with it. The next call waits for that, and has less to do.
                Err(error) if error.is_late() && Instant::now() < deadline => {}
                result => return result.map(drop),
            }
        }
    }
}

impl Transaction<'_> {
    /// Deletes messages of a chat and gives those that were there. The counters of the chat and of the entries of its two
    /// parties follow, so that no other moment finds them wrong.
    pub(super) async fn delete_messages(&self, chat: &str, numbers: &[u64]) -> Result<Vec<MessageRow>, StoreError> {
        let mut gone = Vec::with_capacity(numbers.len());
        for seq in numbers {
            let id = record_of("message", chat, *seq as i64);
            gone.extend(self.rows::<MessageRow>("DELETE $id RETURN BEFORE", vars! { id: id }).await?);
        }
        if gone.is_empty() {
            return Ok(gone);
        }
        self.run(
            "UPDATE $id SET erased = (erased ?? 0) + $gone RETURN NONE",
            vars! { id: record("chat", chat), gone: gone.len() as i64 },
        )
        .await?;
        let sql = "SELECT record::id(id) AS chat, parties FROM ONLY $id";
        let Some(row) = self.one::<PartiesRow>(sql, vars! { id: record("chat", chat) }).await? else { return Ok(gone) };
        let (_, [a, b]) = row.into_chat()?;
        for (owner, sender) in [(&a, &b), (&b, &a)] {
            self.uncount(chat, owner.as_str(), sender.as_str(), &gone).await?;
        }
        Ok(gone)
    }

    /// Takes the messages of `sender` that are gone out of the counters that `owner` has of this friend.
    async fn uncount(&self, chat: &str, owner: &str, sender: &str, gone: &[MessageRow]) -> Result<(), StoreError> {
        let of_sender = || gone.iter().filter(|message| message.sender == sender);
        let all = of_sender().count() as i64;
        // A friendship that has begun anew has another chat.
        let Some(entry) = self.entry(owner, sender).await?.filter(|entry| entry.chat == chat && all > 0) else {
            return Ok(());
        };
        let heard = of_sender().filter(|message| message.seq <= entry.read_seq).count() as i64;
        let incoming_left = (entry.incoming - all).max(0);
        let heard_left = (entry.heard - heard).clamp(0, incoming_left);
        let unread_since = match (heard_left < incoming_left, heard < all) {
            (false, _) => None,
            (true, false) => entry.unread_since,
            (true, true) => {
                let sql = "SELECT VALUE created_at FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
                    WHERE sender = $sender LIMIT 1";
                let variables = vars! { chat: chat, first: entry.read_seq + 1, sender: sender };
                self.rows::<f64>(sql, variables).await?.into_iter().next()
            }
        };
        self.run(
            "UPDATE $id SET incoming = $incoming, heard = $heard, unread_since = $unread_since RETURN NONE",
            vars! {
                id: record_of("friend", owner, sender.to_owned()), incoming: incoming_left, heard: heard_left,
                unread_since: unread_since,
            },
        )
        .await
        .map(drop)
    }
}
