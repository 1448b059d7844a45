//! Address books and blocks.

use surrealdb::types::{SurrealValue, vars};

use super::rows::Row;
use super::transaction::{Transaction, keys_of, record, record_of};
use super::{Refusal, Store, StoreError, stored, stored_party};
use crate::model::{ChatId, Event, FileName, Friend, Party, PartyId, PartyKind, Timestamp};

/// The answerer of a request that a block hides from its recipient: to the requester it looks like one that is never
/// answered.
pub(super) const NOBODY: &str = "000000000000000000000000";

/// A new entry in an address book.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The friend's kind.
    pub kind: PartyKind,
    /// The friend's name.
    pub nickname: String,
    /// The owner's remark.
    pub remark: String,
    /// The friend's picture.
    pub avatar: FileName,
}

/// Two parties that become friends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    /// Their ids.
    pub(super) parties: [&'a str; 2],
    /// The entry in the address book of each about the other.
    pub(super) entries: [&'a NewEntry; 2],
    /// Their chat, which is new.
    pub(super) chat: &'a ChatId,
    /// The maximum number of entries of an address book.
    pub(super) friends_max: usize,
}

/// A friendship that has ended.
#[derive(Debug)]
pub struct Unfriended {
    /// The removed party.
    pub friend: Party,
    /// The chat of the two parties.
    pub chat: ChatId,
    /// The number of the event of the removing party.
    pub owner_seq: Option<u64>,
    /// The number of the event of the removed party.
    pub friend_seq: Option<u64>,
}

/// A blocked party.
#[derive(Debug, Clone)]
pub struct Block {
    /// The party.
    pub party: Party,
    /// Its name at the time of the block; empty if it was not disclosed to the blocking party.
    pub name: String,
    /// Its picture.
    pub avatar: FileName,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct FriendRow {
    owner: String,
    friend: String,
    kind: String,
    nickname: String,
    remark: String,
    avatar: String,
    chat: String,
    incoming: i64,
    heard: i64,
    muted: Option<bool>,
}

impl FriendRow {
    /// The row, if it is one of the address book of `owner`.
    fn of(self, owner: &Party) -> Result<Self, StoreError> {
        if self.owner == owner.id() { Ok(self) } else { Err(StoreError::Corrupt("an entry of another owner".into())) }
    }

    fn into_friend(self) -> Result<Friend, StoreError> {
        Ok(Friend {
            party: stored_party(&self.kind, &self.friend)?,
            nickname: self.nickname,
            remark: self.remark,
            avatar: stored(&self.avatar)?,
            chat: stored(&self.chat)?,
            unread: u64::try_from(self.incoming - self.heard).unwrap_or(0),
            is_muted: self.muted.unwrap_or(false),
        })
    }
}

/// A new entry.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct NewRow {
    owner: String,
    friend: String,
    kind: String,
    nickname: String,
    remark: String,
    avatar: String,
    chat: String,
    incoming: i64,
    heard: i64,
    read_seq: i64,
    delivered_seq: i64,
    created_at: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct BlockRow {
    owner: String,
    other: String,
    kind: String,
    name: String,
    avatar: String,
    created_at: f64,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct NameRow {
    name: String,
    avatar: String,
}

impl BlockRow {
    fn into_block(self) -> Result<Block, StoreError> {
        let party = stored_party(&self.kind, &self.other)?;
        Ok(Block { party, name: self.name, avatar: stored(&self.avatar)? })
    }
}

impl Store {
    /// A party's address book, oldest entry first.
    pub async fn friends(&self, owner: &Party) -> Result<Vec<Friend>, StoreError> {
        let rows = self.book_of(owner.id()).await?.into_iter();
        rows.map(|row| FriendRow::from_value(row)?.of(owner)?.into_friend()).collect()
    }

    /// A party's entry for another.
    pub async fn friend(&self, owner: &Party, friend: &PartyId) -> Result<Option<Friend>, StoreError> {
        let [row] = self.rows_at([record_of("friend", owner.id(), friend.as_str().to_owned())]).await?;
        row.map(|row| row.read::<FriendRow>()?.into_friend()).transpose()
    }

    /// A party's entry for another, and the other's entry for the party.
    pub async fn friends_both_ways(
        &self,
        owner: &Party,
        friend: &PartyId,
    ) -> Result<(Option<Friend>, Option<Friend>), StoreError> {
        let entry = |owner: &str, friend: &str| record_of("friend", owner, friend.to_owned());
        let ids = [entry(owner.id(), friend.as_str()), entry(friend.as_str(), owner.id())];
        let [of_owner, of_friend] = self.rows_at(ids).await?.map(|row| row.map(Row::read::<FriendRow>).transpose());
        let friend = |row: Option<FriendRow>| row.map(FriendRow::into_friend).transpose();
        Ok((friend(of_owner?)?, friend(of_friend?)?))
    }

    /// Whether a party has an entry for another.
    pub async fn is_friend(&self, owner: &Party, friend: &PartyId) -> Result<bool, StoreError> {
        let [row] = self.rows_at([record_of("friend", owner.id(), friend.as_str().to_owned())]).await?;
        Ok(row.is_some())
    }

    /// Mutes a friend of a party, or ends the mute. Refused with `NotFriends`.
    pub async fn set_muted(&self, owner: &Party, friend: &PartyId, is_muted: bool) -> Result<(), StoreError> {
        let _turns = self.turns.of(owner.id(), friend.as_str()).await;
        self.transact(|tx| async move {
            let id = record_of("friend", owner.id(), friend.as_str().to_owned());
            let known = tx.one::<String>("SELECT VALUE chat FROM ONLY $id", vars! { id: id.clone() }).await?;
            known.ok_or(StoreError::Refused(Refusal::NotFriends))?;
            tx.run("UPDATE $id SET muted = $muted RETURN NONE", vars! { id: id, muted: is_muted }).await.map(drop)
        })
        .await
    }

    /// Removes the entries of both sides and the requests between the two, and notifies both. The chat stays. Refused
    /// with `NotFriends`.
    pub async fn unfriend(&self, owner: &Party, friend: &PartyId) -> Result<Unfriended, StoreError> {
        let _turns = self.turns.of(owner.id(), friend.as_str()).await;
        self.transact(|tx| async move {
            let removed = tx.unfriend(owner, friend.as_str()).await?;
            removed.ok_or(StoreError::Refused(Refusal::NotFriends))
        })
        .await
    }

    /// Blocks another party: a friendship ends, requests of the blocked party and of its toys to one of `owners` are
    /// hidden, and a request to it is withdrawn. Refused with `BookFull` beyond `blocks_max`.
    pub async fn block(
        &self,
        owner: &Party,
        owners: &[String],
        (block, toys): (Block, Vec<String>),
        blocks_max: usize,
        now: Timestamp,
    ) -> Result<Option<Unfriended>, StoreError> {
        let (of, other) = (owner.id(), block.party.id());
        let (block, toys) = (&block, &toys);
        let _turns = self.turns.of(of, other).await;
        self.transact(|tx| async move {
            let id = record_of("block", of, other.to_owned());
            let blocked = tx.rows::<String>(BLOCKED, vars! { keys: keys_of(of) }).await?;
            if !blocked.iter().any(|known| known == other) && blocked.len() >= blocks_max {
                return Err(StoreError::Refused(Refusal::BookFull));
            }
            let row = BlockRow {
                owner: of.to_owned(),
                other: other.to_owned(),
                kind: block.party.kind().as_str().to_owned(),
                name: block.name.clone(),
                avatar: block.avatar.to_string(),
                created_at: now,
            };
            tx.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: row }).await?;
            let removed = tx.unfriend(owner, other).await?;
            let hidden = vars! { owner: of, owners: owners.to_vec(), other: other, toys: toys.clone(), nobody: NOBODY };
            tx.run(HIDE_REQUESTS, hidden).await?;
            Ok(removed)
        })
        .await
    }

    /// The name and the picture of a party that `owner` or one of its family's parties `own` knows: those of an entry in
    /// an address book, of a friend request of the party, or of an earlier block of `owner`.
    pub async fn disclosed_name(
        &self,
        owner: &Party,
        own: Vec<String>,
        party: &Party,
    ) -> Result<Option<(String, FileName)>, StoreError> {
        let mut ids: Vec<_> = own.iter().map(|id| record_of("friend", id, party.id().to_owned())).collect();
        ids.push(record_of("friend", owner.id(), party.id().to_owned()));
        let mut found = None;
        while let Some(id) = ids.pop().filter(|_| found.is_none()) {
            let mut reply = self.run("SELECT nickname AS name, avatar FROM ONLY $id", vars! { id: id }).await?;
            found = reply.optional::<NameRow>(0)?;
        }
        if found.is_none() {
            let mut reply = self.run(OF_REQUEST, vars! { other: party.id(), own: own }).await?;
            found = reply.rows::<NameRow>(0)?.into_iter().next();
        }
        if found.is_none() {
            let id = record_of("block", owner.id(), party.id().to_owned());
            let mut reply = self.run("SELECT name, avatar FROM ONLY $id", vars! { id: id }).await?;
            found = reply.optional::<NameRow>(0)?.filter(|row| !row.name.is_empty());
        }
        found.map(|row| Ok((row.name, stored(&row.avatar)?))).transpose()
    }

    /// Removes a block. Requests to one of `owners` that it has hidden are deleted, so that they can be made again.
    pub async fn unblock(&self, owner: &Party, owners: &[String], other: &PartyId) -> Result<(), StoreError> {
        let _turns = self.turns.of(owner.id(), other.as_str()).await;
        self.run(
            "{
                DELETE type::record('block', [$owner, $other]);
                LET $hidden = (SELECT id, requester, requestee FROM request
                    WHERE answerer = $nobody AND requestee IN $owners);
                FOR $row IN $hidden {
                    DELETE type::record('pending', [$row.requester, $row.requestee]);
                    DELETE $row.id;
                };
                RETURN NONE;
            }",
            vars! { owner: owner.id(), owners: owners.to_vec(), other: other.as_str(), nobody: NOBODY },
        )
        .await
        .map(drop)
    }

    /// The parties that a party has blocked.
    pub async fn blocks(&self, owner: &Party) -> Result<Vec<Block>, StoreError> {
        let mut reply =
            self.run("SELECT * FROM type::record('block', $keys)", vars! { keys: keys_of(owner.id()) }).await?;
        reply.rows::<BlockRow>(0)?.into_iter().map(BlockRow::into_block).collect()
    }
}

impl Transaction<'_> {
    /// Makes two parties friends: a chat, and an entry on both sides. Refused with `BookFull`.
    pub(super) async fn befriend(&self, pair: Pair<'_>, now: Timestamp) -> Result<(), StoreError> {
        let Pair { parties: [a, b], entries: [of_a, of_b], chat, friends_max } = pair;
        for (owner, friend, entry) in [(a, b, of_a), (b, a, of_b)] {
            if self.rows::<String>(FRIENDS, vars! { keys: keys_of(owner) }).await?.len() >= friends_max {
                return Err(StoreError::Refused(Refusal::BookFull));
            }
            let row = NewRow {
                owner: owner.to_owned(),
                friend: friend.to_owned(),
                kind: entry.kind.as_str().to_owned(),
                nickname: entry.nickname.clone(),
                remark: entry.remark.clone(),
                avatar: entry.avatar.to_string(),
                chat: chat.to_string(),
                incoming: 0,
                heard: 0,
                read_seq: 0,
                delivered_seq: 0,
                created_at: now,
            };
            let id = record_of("friend", owner, friend.to_owned());
            self.run("CREATE $id CONTENT $entry RETURN NONE", vars! { id: id, entry: row }).await?;
        }
        let parties = vec![a.to_owned(), b.to_owned()];
        let id = record("chat", chat.as_str());
        self.run("CREATE $id SET parties = $parties, seq = 0 RETURN NONE", vars! { id: id, parties: parties })
            .await
            .map(drop)
    }

    /// Removes the entries of both sides and the requests between the two, and appends the event to both streams; none
    /// if the two are not friends.
    pub(super) async fn unfriend(&self, owner: &Party, friend: &str) -> Result<Option<Unfriended>, StoreError> {
        let of_owner = record_of("friend", owner.id(), friend.to_owned());
        let of_friend = record_of("friend", friend, owner.id().to_owned());
        let sql = "SELECT * FROM ONLY $id";
        let Some(entry) = self.one::<FriendRow>(sql, vars! { id: of_owner.clone() }).await? else { return Ok(None) };
        for id in [of_owner, of_friend] {
            self.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
        }
        self.run(DELETE_REQUESTS_BETWEEN, vars! { a: owner.id(), b: friend }).await?;
        let Friend { party: friend, chat, .. } = entry.into_friend()?;
        let removed = |friend: &Party| Event::FriendRemoved { friend: friend.clone(), chat: chat.clone() };
        let owner_seq = self.append_event(owner, &removed(&friend)).await?;
        let friend_seq = self.append_event(&friend, &removed(owner)).await?;
        Ok(Some(Unfriended { friend, chat, owner_seq, friend_seq }))
    }
}

const FRIENDS: &str = "SELECT VALUE friend FROM type::record('friend', $keys)";

const OF_REQUEST: &str = "SELECT nickname AS name, avatar, created_at FROM request
    WHERE requester = $other AND answerer IN $own ORDER BY created_at DESC LIMIT 1";

const BLOCKED: &str = "SELECT VALUE other FROM type::record('block', $keys)";

/// Hides the open requests of a blocked party, and of its toys, from their recipients, and deletes the other requests
/// between the two, all with their texts. To the requester, a hidden request is one that nobody answers.
const HIDE_REQUESTS: &str = "{
    FOR $requester IN array::concat([$other], $toys) {
        FOR $asked IN $owners {
            LET $open = (SELECT VALUE request FROM ONLY type::record('pending', [$requester, $asked]));
            IF $open != NONE {
                UPDATE type::record('request', $open) SET answerer = $nobody, words = '' WHERE answerer = $asked;
            };
        };
    };
    DELETE request WHERE requester = $other AND requestee = $owner AND status != 0;
    DELETE request WHERE requester = $owner AND requestee = $other;
    DELETE type::record('pending', [$owner, $other]);
    RETURN NONE;
}";

/// Deletes the friend requests of two parties to each other, with their texts.
const DELETE_REQUESTS_BETWEEN: &str = "{
    LET $one = (SELECT VALUE id FROM request WHERE requester = $a AND requestee = $b);
    LET $other = (SELECT VALUE id FROM request WHERE requester = $b AND requestee = $a);
    FOR $request IN array::concat($one, $other) { DELETE $request };
    DELETE type::record('pending', [$a, $b]);
    DELETE type::record('pending', [$b, $a]);
    RETURN NONE;
}";
