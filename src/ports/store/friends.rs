//! Address books and friend requests.

use surrealdb::types::{Object, SurrealValue, object, vars};

use super::{Store, StoreError, stored, stored_party};
use crate::model::{
    ChatId, Event, FileName, Friend, FriendRequest, Party, PartyId, PartyKind, RequestId, RequestStatus, Timestamp,
    UserId,
};

/// What one side's address book will say of the other.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The friend's kind.
    pub kind: PartyKind,
    /// The name that the friend bears.
    pub nickname: String,
    /// The name that the owner gives it.
    pub remark: String,
    /// The friend's picture.
    pub avatar: FileName,
}

impl NewEntry {
    pub(super) fn into_object(self) -> Object {
        object! {
            kind: self.kind.as_str(), nickname: self.nickname, remark: self.remark, avatar: self.avatar.as_str(),
        }
    }
}

/// A request to be kept; `status` is pending.
#[derive(Debug)]
pub struct NewFriendRequest {
    /// The request; the id is new.
    pub request: FriendRequest,
    /// How many may wait for the answerer.
    pub pending_max: usize,
}

/// The numbers of the two events that a new friendship is.
#[derive(Debug)]
pub struct Befriended {
    /// Of the requester's event.
    pub requester_seq: Option<u64>,
    /// Of the requestee's event.
    pub requestee_seq: Option<u64>,
}

/// The two parties of a request that was accepted.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PairRow {
    requester: String,
    requester_kind: String,
    requestee: String,
    requestee_kind: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct FriendRow {
    friend: String,
    kind: String,
    nickname: String,
    remark: String,
    avatar: String,
    chat: String,
    incoming: i64,
    heard: i64,
}

impl FriendRow {
    fn into_friend(self) -> Result<Friend, StoreError> {
        Ok(Friend {
            party: stored_party(&self.kind, &self.friend)?,
            nickname: self.nickname,
            remark: self.remark,
            avatar: stored(&self.avatar)?,
            chat: stored(&self.chat)?,
            unread: u64::try_from(self.incoming - self.heard).unwrap_or(0),
        })
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct RequestRow {
    uid: String,
    requester: String,
    requester_kind: String,
    requestee: String,
    requestee_kind: String,
    answerer: String,
    words: String,
    remark: String,
    avatar: String,
    nickname: String,
    toy_name: String,
    status: i64,
}

impl RequestRow {
    fn into_request(self) -> Result<FriendRequest, StoreError> {
        Ok(FriendRequest {
            id: stored(&self.uid)?,
            requester: stored_party(&self.requester_kind, &self.requester)?,
            requestee: stored_party(&self.requestee_kind, &self.requestee)?,
            answerer: stored(&self.answerer)?,
            info: self.words,
            remark: self.remark,
            avatar: stored(&self.avatar)?,
            nickname: self.nickname,
            toy_name: self.toy_name,
            status: match self.status {
                0 => RequestStatus::Pending,
                1 => RequestStatus::Accepted,
                2 => RequestStatus::Refused,
                _ => return Err(StoreError::Corrupt("unknown status of a request".into())),
            },
        })
    }
}

impl Store {
    /// A party's address book, oldest entry first.
    pub async fn friends(&self, owner: &Party) -> Result<Vec<Friend>, StoreError> {
        let mut reply = self
            .run("SELECT * FROM friend:[$owner, '']..[$owner, 'z'] ORDER BY created_at", vars! { owner: owner.id() })
            .await?;
        reply.rows::<FriendRow>(0)?.into_iter().map(FriendRow::into_friend).collect()
    }

    /// A party's entry for another.
    pub async fn friend(&self, owner: &Party, friend: &PartyId) -> Result<Option<Friend>, StoreError> {
        let mut reply = self
            .run(
                "SELECT * FROM ONLY type::record('friend', [$owner, $friend])",
                vars! { owner: owner.id(), friend: friend.as_str() },
            )
            .await?;
        reply.optional::<FriendRow>(0)?.map(FriendRow::into_friend).transpose()
    }

    /// Keeps a request and tells who may answer it; gives the number of that event. Refused with `AlreadyFriends`,
    /// `AlreadyRequested` or `RequestsFull`.
    pub async fn add_request(&self, new: NewFriendRequest, now: Timestamp) -> Result<Option<u64>, StoreError> {
        let NewFriendRequest { request, pending_max } = new;
        let event = Event::FriendRequest {
            id: request.id.clone(),
            requester: request.requester.clone(),
            requestee: request.requestee.clone(),
        };
        let answerer = Party::User(request.answerer.clone());
        let variables = vars! {
            id: request.id.as_str(), requester: request.requester.id(), requestee: request.requestee.id(),
            requester_kind: request.requester.kind().as_str(), requestee_kind: request.requestee.kind().as_str(),
            answerer: request.answerer.as_str(), info: request.info, remark: request.remark,
            avatar: request.avatar.as_str(), nickname: request.nickname, toy_name: request.toy_name,
            pending_max: pending_max as i64, now: now,
        };
        let (variables, event, answerer) = (&variables, &event, &answerer);
        self.transact(|tx| async move {
            tx.run(ADD_REQUEST, variables.clone()).await?;
            tx.append_event(answerer, event).await
        })
        .await
    }

    /// The requests that a user may answer, newest first, at most `limit`.
    pub async fn requests_for(&self, answerer: &UserId, limit: usize) -> Result<Vec<FriendRequest>, StoreError> {
        let mut reply = self
            .run(
                "SELECT *, record::id(id) AS uid FROM request WHERE answerer = $answerer
                    ORDER BY created_at DESC LIMIT $limit",
                vars! { answerer: answerer.as_str(), limit: limit as i64 },
            )
            .await?;
        reply.rows::<RequestRow>(0)?.into_iter().map(RequestRow::into_request).collect()
    }

    /// The request of this id.
    pub async fn request(&self, id: &RequestId) -> Result<Option<FriendRequest>, StoreError> {
        let mut reply = self
            .run("SELECT *, record::id(id) AS uid FROM ONLY type::record('request', $id)", vars! { id: id.as_str() })
            .await?;
        reply.optional::<RequestRow>(0)?.map(RequestRow::into_request).transpose()
    }

    /// Refuses a request. Refused itself with `UnknownRequest` or `AlreadyAnswered`.
    pub async fn refuse_request(&self, id: &RequestId) -> Result<(), StoreError> {
        self.run(
            "{
                LET $request = (SELECT * FROM ONLY type::record('request', $id));
                IF $request = NONE { THROW 'toyhub:unknown_request' };
                IF $request.status != 0 { THROW 'toyhub:already_answered' };
                UPDATE type::record('request', $id) SET status = 2;
                DELETE type::record('pending', [$request.requester, $request.requestee]);
                RETURN NONE;
            }",
            vars! { id: id.as_str() },
        )
        .await?;
        Ok(())
    }

    /// Accepts a request: a chat, an entry on both sides, both told, status 1, or nothing.
    ///
    /// A request of the pair in the other direction is thereby accepted too. Refused with
    /// `UnknownRequest`, `AlreadyAnswered`, `AlreadyFriends` or `BookFull`.
    pub async fn accept_request(
        &self,
        id: &RequestId,
        chat: &ChatId,
        entry_of_requester: NewEntry,
        entry_of_requestee: NewEntry,
        friends_max: usize,
        now: Timestamp,
    ) -> Result<Befriended, StoreError> {
        let variables = vars! {
            id: id.as_str(), chat: chat.as_str(), of_requester: entry_of_requester.into_object(),
            of_requestee: entry_of_requestee.into_object(), friends_max: friends_max as i64, now: now,
        };
        let variables = &variables;
        self.transact(|tx| async move {
            let pair = tx.one::<PairRow>(ACCEPT_REQUEST, variables.clone()).await?;
            let pair = pair.ok_or_else(|| StoreError::Corrupt("a request has no parties".into()))?;
            let requester = stored_party(&pair.requester_kind, &pair.requester)?;
            let requestee = stored_party(&pair.requestee_kind, &pair.requestee)?;
            let added = |friend: &Party| Event::FriendAdded { friend: friend.clone(), chat: chat.clone() };
            Ok(Befriended {
                requester_seq: tx.append_event(&requester, &added(&requestee)).await?,
                requestee_seq: tx.append_event(&requestee, &added(&requester)).await?,
            })
        })
        .await
    }
}

const ADD_REQUEST: &str = "{
    IF record::exists(type::record('friend', [$requester, $requestee])) { THROW 'toyhub:already_friends' };
    IF record::exists(type::record('pending', [$requester, $requestee])) { THROW 'toyhub:already_requested' };
    LET $waiting = (SELECT VALUE status FROM request WHERE answerer = $answerer);
    IF array::len(array::filter($waiting, |$status: int| $status = 0)) >= $pending_max
        { THROW 'toyhub:requests_full' };
    CREATE type::record('pending', [$requester, $requestee]) SET request = $id;
    CREATE type::record('request', $id) SET requester = $requester, requester_kind = $requester_kind,
        requestee = $requestee, requestee_kind = $requestee_kind, answerer = $answerer, words = $info,
        remark = $remark, avatar = $avatar, nickname = $nickname, toy_name = $toy_name, status = 0,
        created_at = $now;
    RETURN NONE;
}";

const ACCEPT_REQUEST: &str = "{
    LET $request = (SELECT * FROM ONLY type::record('request', $id));
    IF $request = NONE { THROW 'toyhub:unknown_request' };
    IF $request.status != 0 { THROW 'toyhub:already_answered' };
    LET $a = $request.requester;
    LET $b = $request.requestee;
    IF record::exists(type::record('friend', [$a, $b])) { THROW 'toyhub:already_friends' };
    IF array::len(SELECT VALUE created_at FROM friend:[$a, '']..[$a, 'z']) >= $friends_max
        OR array::len(SELECT VALUE created_at FROM friend:[$b, '']..[$b, 'z']) >= $friends_max
        { THROW 'toyhub:book_full' };
    UPDATE type::record('request', $id) SET status = 1;
    DELETE type::record('pending', [$a, $b]);
    LET $crossing = (SELECT VALUE request FROM ONLY type::record('pending', [$b, $a]));
    IF $crossing != NONE {
        UPDATE type::record('request', $crossing) SET status = 1;
        DELETE type::record('pending', [$b, $a]);
    };
    CREATE type::record('chat', $chat) SET parties = [$a, $b], seq = 0;
    CREATE type::record('friend', [$a, $b]) SET owner = $a, friend = $b, kind = $of_requester.kind,
        nickname = $of_requester.nickname, remark = $of_requester.remark, avatar = $of_requester.avatar,
        chat = $chat, incoming = 0, heard = 0, read_seq = 0, delivered_seq = 0, unread_since = NONE,
        created_at = $now;
    CREATE type::record('friend', [$b, $a]) SET owner = $b, friend = $a, kind = $of_requestee.kind,
        nickname = $of_requestee.nickname, remark = $of_requestee.remark, avatar = $of_requestee.avatar,
        chat = $chat, incoming = 0, heard = 0, read_seq = 0, delivered_seq = 0, unread_since = NONE,
        created_at = $now;
    RETURN {
        requester: $a, requester_kind: $request.requester_kind,
        requestee: $b, requestee_kind: $request.requestee_kind,
    };
}";
