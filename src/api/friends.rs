//! Address books and friend requests.

use super::answer::{File, Id, Kind, Nothing, Status, answer};
use super::request::{IgnoredKind, request};
use super::{Asked, Call, Entry, Facts, Me, Subject, Who};
use crate::domain::NewRequest;
use crate::domain::error::DomainError;
use crate::model::{self, Party, PartyId, RequestId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "friends",
    about: "Address books and friend requests.",
    calls: &[
        Entry::of::<FriendList>(),
        Entry::of::<AddReq>(),
        Entry::of::<ReqList>(),
        Entry::of::<RefReq>(),
        Entry::of::<AccReq>(),
    ],
};

request! {
    /// The address book of a user or a toy.
    struct FriendList {
        /// For whom this is asked.
        me as "_id": Me<Party>,
    }
}

impl Call for FriendList {
    const FACTS: Facts = Facts::new("friend_list", Who::Named, "Friends Inquiry");
    type Answer = Vec<Friend>;

    async fn handle(self, asked: &Asked) -> Result<Vec<Friend>, DomainError> {
        let owner = asked.acting(self.me).await?;
        Ok(asked.hub.friends(&owner).await?.into_iter().map(Friend::from).collect())
    }
}

request! {
    /// Asks to be a friend.
    struct AddReq {
        /// Who asks, a user or a toy.
        me as "req_user": Me<Party>,
        /// Who is asked, a user or a toy.
        add_user: PartyId,
        /// The kind of who asks. Not looked at: the id tells.
        _kind as "type": IgnoredKind,
        /// Words to send along.
        req_info: Option<String>,
        /// What to call who is asked.
        remark: Option<String>,
    }
}

impl Call for AddReq {
    const FACTS: Facts = Facts::new("add_req", Who::Named, "Successful Added Friends Request");
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        let request = NewRequest {
            requester: asked.acting(self.me).await?,
            requestee: self.add_user,
            info: self.req_info.unwrap_or_default(),
            remark: self.remark.unwrap_or_default(),
        };
        asked.hub.request_friend(request, asked.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The friend requests to the user and to the user's toys, newest first.
    struct ReqList {
        /// For whom this is asked.
        me as "_id": Me<UserId>,
    }
}

impl Call for ReqList {
    const FACTS: Facts = Facts::new("req_list", Who::Named, "Query Friends Request");
    type Answer = Vec<FriendRequest>;

    async fn handle(self, asked: &Asked) -> Result<Vec<FriendRequest>, DomainError> {
        let user = asked.acting(self.me).await?;
        Ok(asked.hub.requests(&user).await?.into_iter().map(FriendRequest::from).collect())
    }
}

request! {
    /// Refuses a friend request.
    struct RefReq {
        /// The request: `_id` of /req_list and of the event.
        req_id: RequestId,
    }
}

impl Call for RefReq {
    const FACTS: Facts = Facts::new("ref_req", Who::Answerer, "Refuse to add friends");
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        let answerer = answerer(&self.req_id, asked).await?;
        asked.hub.refuse(&self.req_id, &answerer).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Accepts a friend request: both have a new entry in their address books.
    struct AccReq {
        /// The request: `_id` of /req_list and of the event.
        req_id: RequestId,
        /// What to call who asked.
        remark: Option<String>,
    }
}

impl Call for AccReq {
    const FACTS: Facts = Facts::new("acc_req", Who::Answerer, "Agree to add friends");
    type Answer = Nothing;

    async fn handle(self, asked: &Asked) -> Result<Nothing, DomainError> {
        let answerer = answerer(&self.req_id, asked).await?;
        let remark = self.remark.unwrap_or_default();
        asked.hub.accept(&self.req_id, &answerer, &remark, asked.now).await?;
        Ok(Nothing {})
    }
}

/// The user who may answer the request. The documented call does not name the caller, so that the request itself says
/// for whom the caller must be allowed to act.
async fn answerer(request: &RequestId, asked: &Asked) -> Result<UserId, DomainError> {
    let answerer = asked.hub.request_answerer(request).await?;
    let party = answerer.as_str().parse().map_err(DomainError::internal)?;
    match asked.act_for(&party).await? {
        Party::User(user) => Ok(user),
        Party::Toy(_) => Err(DomainError::UnknownRequest),
    }
}

answer! {
    /// An entry of `/friend_list`.
    pub struct Friend as "Friend" {
        /// The friend, a user or a toy.
        friend_id: Id,
        /// The name that the friend bears; of a toy the child's.
        friend_nick: String,
        /// The name that the owner of the address book gave.
        friend_remark: String,
        /// A picture of /get_image/.
        friend_avatar: File,
        /// The chat of the two.
        friend_chat: Id,
        /// The friend's kind.
        friend_type: Kind,
        /// Messages of this friend that wait. Added.
        unread: u64,
    }
}

impl From<model::Friend> for Friend {
    fn from(friend: model::Friend) -> Self {
        Self {
            friend_id: (&friend.party).into(),
            friend_nick: friend.nickname,
            friend_remark: friend.remark,
            friend_avatar: (&friend.avatar).into(),
            friend_chat: (&friend.chat).into(),
            friend_type: Kind(friend.party.kind()),
            unread: friend.unread,
        }
    }
}

answer! {
    /// An entry of `/req_list`.
    pub struct FriendRequest as "FriendRequest" {
        /// The `req_id` of /acc_req and /ref_req. Added.
        id as "_id": Id,
        /// Who asks.
        req_user: Id,
        /// Who is asked: the user, or a toy of the user.
        add_user: Id,
        /// The kind of who asks.
        kind as "type": Kind,
        /// The words sent along.
        req_info: String,
        /// What the asker calls who is asked.
        remark: String,
        /// The asker's picture, of /get_image/.
        avatar: File,
        /// The asker's name.
        nickname: String,
        /// 0: not answered; 1: accepted; 2: refused.
        status: Status,
        /// The name of who is asked.
        toy_name: String,
    }
}

impl From<model::FriendRequest> for FriendRequest {
    fn from(request: model::FriendRequest) -> Self {
        Self {
            id: (&request.id).into(),
            req_user: (&request.requester).into(),
            add_user: (&request.requestee).into(),
            kind: Kind(request.requester.kind()),
            req_info: request.info,
            remark: request.remark,
            avatar: (&request.avatar).into(),
            nickname: request.nickname,
            status: Status(request.status),
            toy_name: request.toy_name,
        }
    }
}
