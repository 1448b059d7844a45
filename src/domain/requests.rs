//! Friend requests: requester, recipient, the guardians who agree, and the begin of a friendship.
//!
//! A friendship of a toy needs the consent of guardians of both sides. A request that a guardian makes for its toy
//! contains that consent. A request of the toy itself is listed to the toy's guardians first, and is sent to the
//! recipient after one of them has accepted it. The guardian chooses the toy's remark for the friend.

use super::error::DomainError;
use super::names::with_common_blanks;
use super::units::HOUR_S;
use super::{Hub, clock};
use crate::model::{
    Action, ChatId, Event, FileName, FriendRequest, Party, PartyId, RequestId, RequestStatus, Timestamp, UserId,
};
use crate::ports::store::{Consent, NewEntry, NewFriendRequest, Refusal, StoreError};

/// The maximum number of requests in a list, including answered ones.
const LIST_MAX: usize = 500;
/// A new friend request.
#[derive(Debug)]
pub struct NewRequest {
    /// The requester.
    pub requester: Party,
    /// Whether a guardian of the requesting toy makes the request.
    pub is_by_guardian: bool,
    /// The recipient.
    pub requestee: PartyId,
    /// A text for the recipient.
    pub info: String,
    /// The requester's remark for the recipient. Default: the recipient's own name, which the requester learns when the
    /// request is accepted.
    pub remark: String,
}

/// The users who answer a request.
#[derive(Debug, Default)]
pub struct Answerers {
    /// The users who may answer it now, or have answered it.
    pub now: Vec<UserId>,
    /// The guardians of the requesting toy, who have agreed.
    pub before: Vec<UserId>,
    /// Whether it is not answered yet.
    pub is_open: bool,
}

/// The entry of a party in the address book of a new friend.
pub(super) struct Card {
    /// The party.
    pub(super) party: Party,
    /// A user's nickname, a toy's child.
    pub(super) nickname: String,
    /// A user's nickname, a toy's name.
    pub(super) name: String,
    /// The picture.
    pub(super) avatar: FileName,
}

impl Hub {
    /// Creates a friend request, and notifies the users who may answer it.
    ///
    /// Errors: `UnknownParty`, `SelfRequest`, `AlreadyFriends`, `AlreadyRequested`, `RefusedLately`, `Blocked`, `Full`,
    /// `RateLimited`, `Invalid`, `DiskFull`. A request to a party that has blocked the requester, or whose
    /// guardian has, succeeds and is dropped.
    pub async fn request_friend(&self, new: NewRequest, now: Timestamp) -> Result<RequestId, DomainError> {
        if new.requester.id() == new.requestee.as_str() {
            return Err(DomainError::SelfRequest);
        }
        let info = self.checked_optional_text("req_info", with_common_blanks(&new.info))?;
        let remark = self.checked_optional_text("remark", new.remark)?;
        self.rates.requests.spend(&new.requester.to_string())?;
        self.check_room(0)?;
        let (requestee, _) = self.store.party(&new.requestee).await?.ok_or(DomainError::UnknownParty)?;
        let requester = self.card(&new.requester).await?;
        let requestee = self.card(&requestee).await?;
        let needs_consent = matches!(requester.party, Party::Toy(_)) && !new.is_by_guardian;
        let answerer = if needs_consent { requester.party.clone() } else { requestee.party.clone() };
        let (answerers, askers) = (self.answerers(&answerer).await?, self.with_guardians(&requester.party).await?);
        let families = [self.family_of(&requester.party).await?, self.family_of(&requestee.party).await?];
        let blockers = self.with_guardians(&requestee.party).await?;
        let request = FriendRequest {
            id: RequestId::random(),
            requester: requester.party,
            requestee: requestee.party,
            answerer,
            info,
            remark,
            avatar: requester.avatar,
            nickname: requester.nickname,
            toy_name: requestee.name,
            status: RequestStatus::Pending,
        };
        let (id, event) = (request.id.clone(), request.event());
        let pause_s = f64::from(self.config.accounts.refused_request_pause_h) * HOUR_S;
        let new = NewFriendRequest {
            request,
            answerers,
            askers,
            blockers,
            is_by_guardian: new.is_by_guardian,
            families,
            refused_since: clock::age_of(now) - pause_s,
            pending_max: self.config.accounts.pending_requests_max,
        };
        let told = self.store.add_request(new, now).await.map_err(|error| match error {
            StoreError::Refused(Refusal::RefusedLately(at)) => {
                DomainError::RefusedLately { retry_after_s: (at as f64 + pause_s - clock::age_of(now)).max(1.0) as u64 }
            }
            error => error.into(),
        })?;
        self.announce_to_users(&told, &event).await;
        Ok(id)
    }

    /// The requests that a user may answer, newest first. A request of one of the user's toys to another family is
    /// without the recipient's name until it is accepted.
    pub async fn requests(&self, user: &UserId) -> Result<Vec<FriendRequest>, DomainError> {
        let own = self.with_toys(user).await?;
        let mut requests = self.store.requests_for(own.clone(), LIST_MAX).await?;
        for request in &mut requests {
            if request.status != RequestStatus::Accepted && !own.iter().any(|id| id == request.requestee.id()) {
                request.toy_name.clear();
            }
        }
        Ok(requests)
    }

    /// The ids of a user and of its toys.
    pub(super) async fn with_toys(&self, user: &UserId) -> Result<Vec<String>, DomainError> {
        let toys = self.store.toys_of(user).await?;
        Ok(std::iter::once(user.to_string()).chain(toys.iter().map(|toy| toy.id.to_string())).collect())
    }

    /// The users who may answer a request. Errors: `UnknownRequest`.
    pub async fn request_answerers(&self, id: &RequestId) -> Result<Answerers, DomainError> {
        let request = self.request(id).await?;
        let now = self.answerers(&request.answerer).await?;
        let before = match &request.requester {
            Party::Toy(_) if request.answerer != request.requester => self.answerers(&request.requester).await?,
            _ => Vec::new(),
        };
        Ok(Answerers { now, before, is_open: request.status == RequestStatus::Pending })
    }

    /// Refuses a request. The same request, and any other of the requesting family to this one, may be made again after
    /// `accounts.refused_request_pause_h`, also by a user who leaves or joins one of the families meanwhile. A guardian's
    /// refusal of a request of its own toy applies to that toy only. Errors: `UnknownRequest`, `AlreadyAnswered`.
    pub async fn refuse(&self, id: &RequestId, by: &UserId, now: Timestamp) -> Result<(), DomainError> {
        let request = self.request_of(id, by).await?;
        let families = if request.answerer == request.requester {
            [vec![request.requester.id().to_owned()], vec![request.requestee.id().to_owned()]]
        } else {
            [self.family_of(&request.requester).await?, self.family_of(&request.requestee).await?]
        };
        Ok(self.store.refuse_request(id, &request.answerer, families, now).await?)
    }

    /// Accepts a request. A guardian of a toy that made the request itself gives its consent this way: the request is
    /// then sent to the recipient, unless the same guardian answers for both, and `remark` is the toy's remark for the
    /// friend.
    ///
    /// Otherwise the two are friends, and are notified. Errors: as [`Hub::refuse`], and `AlreadyFriends`, `Full`,
    /// `DiskFull`.
    pub async fn accept(&self, id: &RequestId, by: &UserId, remark: &str, now: Timestamp) -> Result<(), DomainError> {
        self.check_room(0)?;
        let remark = self.checked_optional_text("remark", remark.to_owned())?;
        let request = self.request_of(id, by).await?;
        if request.answerer == request.requester {
            let answerers = self.answerers(&request.requestee).await?;
            if !answerers.contains(by) {
                return self.consent(request, remark, answerers).await;
            }
        }
        self.befriend(request, remark, by, now).await
    }

    /// Records the consent of a guardian of the requesting toy.
    async fn consent(&self, request: FriendRequest, remark: String, answerers: Vec<UserId>) -> Result<(), DomainError> {
        let event = request.event();
        let consent = Consent {
            askers: self.with_guardians(&request.requester).await?,
            blockers: self.with_guardians(&request.requestee).await?,
            // Without a remark of its own, the guardian agrees to the one in the request.
            remark: if remark.is_empty() { request.remark.clone() } else { remark },
            answerers,
            pending_max: self.config.accounts.pending_requests_max,
            request,
        };
        let told = self.store.consent_to_request(consent).await?;
        self.announce_to_users(&told, &event).await;
        Ok(())
    }

    /// Makes the two parties friends, as both sides agree.
    async fn befriend(
        &self,
        request: FriendRequest,
        remark: String,
        by: &UserId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let requestee = self.card(&request.requestee).await?;
        let of_requester = NewEntry {
            kind: requestee.party.kind(),
            remark: if request.remark.is_empty() { requestee.nickname.clone() } else { request.remark },
            nickname: requestee.nickname,
            avatar: requestee.avatar,
        };
        let of_requestee = NewEntry {
            kind: request.requester.kind(),
            remark: if remark.is_empty() { request.nickname.clone() } else { remark },
            nickname: request.nickname,
            avatar: request.avatar,
        };
        let chat = ChatId::random();
        let (entries, friends_max) = ((of_requester, of_requestee), self.config.accounts.friends_max);
        let answered = (&request.id, &request.answerer);
        let told = self.store.accept_request(answered, &chat, entries, friends_max, now).await?;
        let (one, other) = (request.requester, request.requestee);
        let event = |friend: &Party| Event::FriendAdded { friend: friend.clone(), chat: chat.clone() };
        self.announce(&one, &event(&other), told.requester_seq).await;
        self.announce(&other, &event(&one), told.requestee_seq).await;
        self.note_pair((&one, &other), Action::Befriended, Some(by), now).await;
        Ok(())
    }

    async fn request(&self, id: &RequestId) -> Result<FriendRequest, DomainError> {
        self.store.request(id).await?.ok_or(DomainError::UnknownRequest)
    }

    /// The request, if the user may answer it; to anyone else it does not exist.
    async fn request_of(&self, id: &RequestId, by: &UserId) -> Result<FriendRequest, DomainError> {
        let request = self.request(id).await?;
        let is_answerer = self.answerers(&request.answerer).await?.contains(by);
        if is_answerer { Ok(request) } else { Err(DomainError::UnknownRequest) }
    }

    /// The users who answer requests for a party.
    async fn answerers(&self, party: &Party) -> Result<Vec<UserId>, DomainError> {
        match party {
            Party::User(user) => Ok(vec![user.clone()]),
            Party::Toy(toy) => self.guardians(toy).await,
        }
    }

    /// The ids of a party's family: the user, or the toy's guardians; their toys; and the other guardians of these.
    pub(super) async fn family_of(&self, party: &Party) -> Result<Vec<String>, DomainError> {
        let mut family = vec![party.id().to_owned()];
        for guardian in self.answerers(party).await? {
            family.push(guardian.to_string());
            for toy in self.store.toys_of(&guardian).await? {
                family.push(toy.id.to_string());
                family.extend(self.guardians(&toy.id).await?.iter().map(ToString::to_string));
            }
        }
        family.sort();
        family.dedup();
        Ok(family)
    }

    /// The ids of one side of a request, to which blocks apply: the party itself, and the guardians of a toy.
    async fn with_guardians(&self, party: &Party) -> Result<Vec<String>, DomainError> {
        let guardians = self.answerers(party).await?;
        let ids = guardians.iter().map(ToString::to_string);
        Ok(std::iter::once(party.id().to_owned()).chain(ids).collect())
    }

    /// Notifies users of an event that has these numbers in their streams.
    pub(super) async fn announce_to_users(&self, told: &[(UserId, Option<u64>)], event: &Event) {
        for (user, seq) in told {
            self.announce(&Party::User(user.clone()), event, *seq).await;
        }
    }

    pub(super) async fn card(&self, party: &Party) -> Result<Card, DomainError> {
        match party {
            Party::User(id) => {
                let user = self.store.user(id).await?.ok_or(DomainError::UnknownParty)?.user;
                Ok(Card {
                    party: party.clone(),
                    name: user.nickname.clone(),
                    nickname: user.nickname,
                    avatar: user.avatar,
                })
            }
            Party::Toy(id) => {
                let toy = self.store.toy(id).await?.ok_or(DomainError::UnknownParty)?;
                Ok(Card { party: party.clone(), nickname: toy.baby_name, name: toy.toy_name, avatar: toy.avatar })
            }
        }
    }
}
