//! Address books and the requests that fill them.

use super::Hub;
use super::error::DomainError;
use crate::model::{
    ChatId, Event, FileName, Friend, FriendRequest, Party, PartyId, RequestId, RequestStatus, Timestamp, UserId,
};
use crate::ports::store::{NewEntry, NewFriendRequest};

/// Requests that a list shows at most; answered ones stand in it too.
const LIST_MAX: usize = 500;

/// A wish to be friends.
#[derive(Debug)]
pub struct NewRequest {
    /// Who asks.
    pub requester: Party,
    /// Who is asked.
    pub requestee: PartyId,
    /// Words to send along.
    pub info: String,
    /// The requester's name for the requestee; their own name where it is empty.
    pub remark: String,
}

/// How a party presents itself to a new friend.
struct Card {
    party: Party,
    /// A user's nickname, a toy's child.
    nickname: String,
    /// A user's nickname, a toy's name.
    name: String,
    avatar: FileName,
    /// Who answers for the party.
    answerer: UserId,
}

impl Hub {
    /// A party's address book, with what is unread of each friend.
    pub async fn friends(&self, party: &Party) -> Result<Vec<Friend>, DomainError> {
        Ok(self.store.friends(party).await?)
    }

    /// Asks to be friends; the answerer is told live.
    ///
    /// Errors: `UnknownParty`, `SelfRequest`, `AlreadyFriends`, `AlreadyRequested`, `Full`, `RateLimited`, `Invalid`,
    /// `DiskFull`.
    pub async fn request_friend(&self, new: NewRequest, now: Timestamp) -> Result<RequestId, DomainError> {
        if new.requester.id() == new.requestee.as_str() {
            return Err(DomainError::SelfRequest);
        }
        let info = self.checked_optional_text("req_info", new.info)?;
        let remark = self.checked_optional_text("remark", new.remark)?;
        self.rates.requests.spend(&new.requester.to_string())?;
        self.check_room(0)?;
        let (requestee, _) = self.store.party(&new.requestee).await?.ok_or(DomainError::UnknownParty)?;
        let requester = self.card(&new.requester).await?;
        let requestee = self.card(&requestee).await?;
        let request = FriendRequest {
            id: RequestId::random(),
            requester: requester.party,
            requestee: requestee.party,
            answerer: requestee.answerer,
            info,
            remark: if remark.is_empty() { requestee.nickname } else { remark },
            avatar: requester.avatar,
            nickname: requester.nickname,
            toy_name: requestee.name,
            status: RequestStatus::Pending,
        };
        let (id, answerer) = (request.id.clone(), Party::User(request.answerer.clone()));
        let event = Event::FriendRequest {
            id: id.clone(),
            requester: request.requester.clone(),
            requestee: request.requestee.clone(),
        };
        let pending_max = self.config.accounts.pending_requests_max;
        let seq = self.store.add_request(NewFriendRequest { request, pending_max }, now).await?;
        self.announce(&answerer, &event, seq).await;
        Ok(id)
    }

    /// The requests that a user may answer, newest first.
    pub async fn requests(&self, user: &UserId) -> Result<Vec<FriendRequest>, DomainError> {
        Ok(self.store.requests_for(user, LIST_MAX).await?)
    }

    /// Who may answer a request. Errors: `UnknownRequest`.
    pub async fn request_answerer(&self, id: &RequestId) -> Result<UserId, DomainError> {
        Ok(self.request(id).await?.answerer)
    }

    /// Refuses a request. Errors: `UnknownRequest`, `AlreadyAnswered`.
    pub async fn refuse(&self, id: &RequestId, by: &UserId) -> Result<(), DomainError> {
        self.request_of(id, by).await?;
        Ok(self.store.refuse_request(id).await?)
    }

    /// Accepts a request; both sides are told live. Errors: as [`Hub::refuse`], and `AlreadyFriends`, `Full`, `DiskFull`.
    pub async fn accept(&self, id: &RequestId, by: &UserId, remark: &str, now: Timestamp) -> Result<(), DomainError> {
        self.check_room(0)?;
        let remark = self.checked_optional_text("remark", remark.to_owned())?;
        let request = self.request_of(id, by).await?;
        let requestee = self.card(&request.requestee).await?;
        let of_requester = NewEntry {
            kind: requestee.party.kind(),
            nickname: requestee.nickname,
            remark: request.remark,
            avatar: requestee.avatar,
        };
        let of_requestee = NewEntry {
            kind: request.requester.kind(),
            remark: if remark.is_empty() { request.nickname.clone() } else { remark },
            nickname: request.nickname,
            avatar: request.avatar,
        };
        let chat = ChatId::random();
        let friends_max = self.config.accounts.friends_max;
        let told = self.store.accept_request(id, &chat, of_requester, of_requestee, friends_max, now).await?;
        let (one, other) = (request.requester, request.requestee);
        let event = |friend: &Party| Event::FriendAdded { friend: friend.clone(), chat: chat.clone() };
        self.announce(&one, &event(&other), told.requester_seq).await;
        self.announce(&other, &event(&one), told.requestee_seq).await;
        Ok(())
    }

    async fn request(&self, id: &RequestId) -> Result<FriendRequest, DomainError> {
        self.store.request(id).await?.ok_or(DomainError::UnknownRequest)
    }

    /// The request, if it is the user's to answer; to anyone else it does not exist.
    async fn request_of(&self, id: &RequestId, by: &UserId) -> Result<FriendRequest, DomainError> {
        let request = self.request(id).await?;
        if request.answerer == *by { Ok(request) } else { Err(DomainError::UnknownRequest) }
    }

    async fn card(&self, party: &Party) -> Result<Card, DomainError> {
        match party {
            Party::User(id) => {
                let user = self.store.user(id).await?.ok_or(DomainError::UnknownParty)?.user;
                Ok(Card {
                    party: party.clone(),
                    name: user.nickname.clone(),
                    nickname: user.nickname,
                    avatar: user.avatar,
                    answerer: user.id,
                })
            }
            Party::Toy(id) => {
                let toy = self.store.toy(id).await?.ok_or(DomainError::UnknownParty)?;
                Ok(Card {
                    party: party.clone(),
                    nickname: toy.baby_name,
                    name: toy.toy_name,
                    avatar: toy.avatar,
                    answerer: toy.bind_user,
                })
            }
        }
    }
}
