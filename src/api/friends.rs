//! Address books and friend requests.

use super::answer::{File, Id, Kind, Nothing, Status, answer};
use super::request::{IgnoredKind, request};
use super::rest::Flag;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::domain::{Answerers, Block as StoredBlock, NewRequest};
use crate::model::{self, Party, PartyId, RequestId, ToyId, UserId};

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
        Entry::of::<Unfriend>(),
        Entry::of::<Block>(),
        Entry::of::<Unblock>(),
        Entry::of::<BlockList>(),
        Entry::of::<Mute>(),
    ],
};

request! {
    /// The address book of a user or a toy.
    struct FriendList {
        /// The user or toy that the request is made for.
        caller as "_id": CallerId<Party>,
    }
}

impl Call for FriendList {
    const FACTS: Facts = Facts::new("friend_list", Permitted::Named, "Friends Inquiry");
    type Answer = Vec<Friend>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Friend>, DomainError> {
        let owner = context.acting(self.caller).await?;
        Ok(context.hub.friends(&owner).await?.into_iter().map(Friend::from).collect())
    }
}

request! {
    /// Sends a friend request. If a toy sends it by itself, a guardian of that toy has to accept it first.
    struct AddReq {
        /// The requester: a user, or a toy (the request is made by the toy itself or by its guardian).
        caller as "req_user": CallerId<Party>,
        /// The recipient, a user or a toy.
        add_user: PartyId,
        /// The requester's kind. Ignored: the id determines it.
        _kind as "type": IgnoredKind,
        /// A text for the recipient.
        req_info: Option<String>,
        /// The requester's remark for the new friend.
        remark: Option<String>,
    }
}

impl Call for AddReq {
    const FACTS: Facts = Facts::new("add_req", Permitted::Named, "Successful Added Friends Request");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (requester, is_by_guardian) = context.acting_or_guarding(self.caller).await?;
        let request = NewRequest {
            requester,
            is_by_guardian,
            requestee: self.add_user,
            info: self.req_info.unwrap_or_default(),
            remark: self.remark.unwrap_or_default(),
        };
        context.hub.request_friend(request, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The friend requests to the user and to the user's toys, and those that the user's toys have made themselves,
    /// newest first.
    struct ReqList {
        /// The user or toy that the request is made for.
        caller as "_id": CallerId<UserId>,
    }
}

impl Call for ReqList {
    const FACTS: Facts = Facts::new("req_list", Permitted::Named, "Query Friends Request");
    type Answer = Vec<FriendRequest>;

    async fn handle(self, context: &CallContext) -> Result<Vec<FriendRequest>, DomainError> {
        let user = context.acting(self.caller).await?;
        Ok(context.hub.requests(&user).await?.into_iter().map(FriendRequest::from).collect())
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
    const FACTS: Facts = Facts::new("ref_req", Permitted::Answerer, "Refuse to add friends");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let answerer = answerer(&self.req_id, context).await?;
        context.hub.refuse(&self.req_id, &answerer, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Accepts a friend request. Both parties get an entry in their address books. If a toy of the user made the
    /// request by itself, the request is then sent to its recipient.
    struct AccReq {
        /// The request: `_id` of /req_list and of the event.
        req_id: RequestId,
        /// The remark for the requester; if a toy of the user is the requester, the toy's remark for the recipient.
        remark: Option<String>,
    }
}

impl Call for AccReq {
    const FACTS: Facts = Facts::new("acc_req", Permitted::Answerer, "Agree to add friends");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let answerer = answerer(&self.req_id, context).await?;
        let remark = self.remark.unwrap_or_default();
        context.hub.accept(&self.req_id, &answerer, &remark, context.now).await?;
        Ok(Nothing {})
    }
}

/// The user who may answer the request. The documented call does not name the caller, so the caller must be allowed to
/// act for the recipient of the friend request.
///
/// A request that is for other users gets the answer of an unknown one: `Unauthorized` if nothing identifies the caller,
/// else `UnknownRequest`. The guardians of the requesting toy know the request: they have agreed to it.
async fn answerer(request: &RequestId, context: &CallContext) -> Result<UserId, DomainError> {
    let Answerers { now, before, is_open } = match context.hub.request_answerers(request).await {
        Err(DomainError::UnknownRequest) => Answerers::default(),
        found => found?,
    };
    for user in now {
        match acts_for(&user, context).await {
            Ok(()) => return Ok(user),
            Err(DomainError::Unauthorized | DomainError::UnknownParty | DomainError::Erased) => {}
            Err(error) => return Err(error),
        }
    }
    for user in before {
        if acts_for(&user, context).await.is_ok() {
            return Err(if is_open { DomainError::AlreadyRequested } else { DomainError::AlreadyAnswered });
        }
    }
    context.anybody().await?;
    Err(DomainError::UnknownRequest)
}

/// Errors: as [`CallContext::act_for`].
async fn acts_for(user: &UserId, context: &CallContext) -> Result<(), DomainError> {
    let party = user.as_str().parse().map_err(DomainError::internal)?;
    context.act_for(&party).await.map(drop)
}

request! {
    /// Ends a friendship on both sides, and deletes the friend requests between the two; subscriptions to the topics of
    /// the two end at once. Added.
    struct Unfriend {
        /// The user or toy that the request is made for.
        caller as "user_id": CallerId<UserId>,
        /// The friend, a user or a toy.
        friend as "friend_id": PartyId,
        /// A toy of the user that has this friend. Default: the user.
        toy as "toy_id": Option<ToyId>,
    }
}

impl Call for Unfriend {
    const FACTS: Facts = Facts::new("unfriend", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (user, owner) = context.acting_with(self.caller, self.toy).await?;
        context.hub.unfriend(&user, &owner, &self.friend, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Blocks a user or toy. An existing friendship ends. Later friend requests of the blocked party are answered with
    /// success and dropped. Added.
    struct Block {
        /// The user or toy that the request is made for.
        caller as "user_id": CallerId<UserId>,
        /// The user or toy to block. Blocking a user blocks the user's toys, too.
        friend as "friend_id": PartyId,
        /// A toy of the user that blocks. Default: the user; requests to the toys of the user are then dropped, too.
        toy as "toy_id": Option<ToyId>,
    }
}

impl Call for Block {
    const FACTS: Facts = Facts::new("block", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (user, owner) = context.acting_with(self.caller, self.toy).await?;
        context.hub.block(&user, &owner, &self.friend, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Removes a block. The other party may send friend requests again. Added.
    struct Unblock {
        /// The user or toy that the request is made for.
        caller as "user_id": CallerId<UserId>,
        /// The blocked user or toy.
        friend as "friend_id": PartyId,
        /// A toy of the user that has blocked. Default: the user.
        toy as "toy_id": Option<ToyId>,
    }
}

impl Call for Unblock {
    const FACTS: Facts = Facts::new("unblock", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (user, owner) = context.acting_with(self.caller, self.toy).await?;
        context.hub.unblock(&user, &owner, &self.friend, context.now).await?;
        Ok(Nothing {})
    }
}

request! {
    /// The users and toys that the user, or a toy of the user, has blocked. Added.
    struct BlockList {
        /// The user or toy that the request is made for.
        caller as "user_id": CallerId<UserId>,
        /// A toy of the user. Default: the user.
        toy as "toy_id": Option<ToyId>,
    }
}

impl Call for BlockList {
    const FACTS: Facts = Facts::new("block_list", Permitted::Named, "done");
    type Answer = Vec<Blocked>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Blocked>, DomainError> {
        let (_, owner) = context.acting_with(self.caller, self.toy).await?;
        Ok(context.hub.blocks(&owner).await?.into_iter().map(Blocked::from).collect())
    }
}

request! {
    /// Mutes a friend: its messages are stored and counted, but no event is published for them, and music that it sends is
    /// not played. Added.
    struct Mute {
        /// The user or toy that the request is made for.
        caller as "user_id": CallerId<UserId>,
        /// The friend, a user or a toy.
        friend as "friend_id": PartyId,
        /// A toy of the user that has this friend. Default: the user.
        toy as "toy_id": Option<ToyId>,
        /// `true` or `1` ends the mute.
        withdraw: Flag,
    }
}

impl Call for Mute {
    const FACTS: Facts = Facts::new("mute", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let (_, owner) = context.acting_with(self.caller, self.toy).await?;
        context.hub.mute(&owner, &self.friend, !self.withdraw.0).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// An entry of `/block_list`.
    pub struct Blocked as "Blocked" {
        /// The blocked user or toy.
        friend_id: Id,
        /// Its name at the time of the block. Empty if it was neither a friend nor the sender of a request.
        friend_nick: String,
        /// Its picture, of /get_image/; a neutral one if its name is empty.
        friend_avatar: File,
        /// Its kind.
        friend_type: Kind,
    }
}

impl From<StoredBlock> for Blocked {
    fn from(block: StoredBlock) -> Self {
        Self {
            friend_id: (&block.party).into(),
            friend_nick: block.name,
            friend_avatar: (&block.avatar).into(),
            friend_type: Kind(block.party.kind()),
        }
    }
}

answer! {
    /// An entry of `/friend_list`.
    pub struct Friend as "Friend" {
        /// The friend, a user or a toy.
        friend_id: Id,
        /// The friend's name; for a toy, the child's name.
        friend_nick: String,
        /// The remark that the owner of the address book gave.
        friend_remark: String,
        /// A picture of /get_image/.
        friend_avatar: File,
        /// The chat of the two parties.
        friend_chat: Id,
        /// The friend's kind.
        friend_type: Kind,
        /// The number of unread messages of this friend. Added.
        unread: u64,
        /// Whether the friend is muted. Absent if it is not. Added.
        muted: Option<bool>,
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
            muted: friend.is_muted.then_some(true),
        }
    }
}

answer! {
    /// An entry of `/req_list`.
    pub struct FriendRequest as "FriendRequest" {
        /// The `req_id` of /acc_req and /ref_req. Added.
        id as "_id": Id,
        /// The requester.
        req_user: Id,
        /// The recipient: the user or a toy of the user; or another party, if a toy of the user is the requester.
        add_user: Id,
        /// The requester's kind.
        kind as "type": Kind,
        /// The requester's text.
        req_info: String,
        /// The requester's remark for the recipient. Empty if it gave none.
        remark: String,
        /// The requester's picture, of /get_image/.
        avatar: File,
        /// The requester's name.
        nickname: String,
        /// 0: not answered; 1: accepted; 2: refused.
        status: Status,
        /// The recipient's name. Empty in a request of a toy of the user to another family, until it is accepted.
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
