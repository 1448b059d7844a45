//! The guardians of a toy, invitations, and the permission to act for a toy.
//!
//! A toy is bound to one user, its first guardian or owner. Other users become guardians by an invitation, a code that
//! is valid once and for a limited time. Guardians see the toy and its chats, answer its friend requests, and are
//! notified as the owner is. Only the owner can unbind the toy and remove other guardians.

use sha2::{Digest, Sha256};

use super::error::DomainError;
use super::places::Origin;
use super::units::HOUR_S;
use super::{Hub, clock};
use crate::model::{Action, ChatId, FileName, Party, PartyId, PartyKind, Secret, Timestamp, ToyId, UserId};
use crate::ports::bus::Notice;
use crate::ports::store::{Joining, NewEntry, NewInvite, OpenInvite};

/// A new invitation. The code is shown once.
#[derive(Debug)]
pub struct Invitation {
    /// The code to enter.
    pub code: Secret,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The options of a new invitation.
#[derive(Debug, Default)]
pub struct WantedInvitation {
    /// The toy whose guardian the invited user becomes; none for one registration or one binding.
    pub toy: Option<ToyId>,
    /// The toy's remark for the new guardian.
    pub remark: String,
}

/// A guardian of a toy.
#[derive(Debug)]
pub struct Guardian {
    /// The guardian's id.
    pub id: UserId,
    /// The name that is shown to others.
    pub nickname: String,
    /// The picture.
    pub avatar: FileName,
    /// Whether the toy is bound to this guardian, the owner.
    pub is_first: bool,
}

/// A valid invitation that a caller presented.
pub(super) struct Invited {
    pub(super) hash: String,
    pub(super) toy: Option<ToyId>,
    remark: String,
    /// Its issuer; none for the operator of the hub.
    issuer: Option<UserId>,
}

impl Hub {
    /// The guardians of a toy, beginning with its owner; empty for an unknown toy.
    pub(super) async fn guardians(&self, toy: &ToyId) -> Result<Vec<UserId>, DomainError> {
        Ok(self.store.guardians(toy).await?)
    }

    /// Whether a user is a guardian of a toy.
    pub(super) async fn is_guardian(&self, user: &UserId, toy: &ToyId) -> Result<bool, DomainError> {
        Ok(self.store.is_guardian(user, toy).await?)
    }

    /// Creates an invitation: to become a guardian of a toy of the issuer, or for one registration or one binding,
    /// which every guardian may issue. The issuer `None` is the operator of the hub.
    ///
    /// Errors: `UnknownParty`, `Forbidden` for a user without a toy, `Invalid`, `Full`, `DiskFull`.
    pub async fn invite(
        &self,
        issuer: Option<&UserId>,
        wanted: WantedInvitation,
        now: Timestamp,
    ) -> Result<Invitation, DomainError> {
        self.check_room(0)?;
        let remark = self.checked_optional_text("remark", wanted.remark)?;
        match (issuer, &wanted.toy) {
            (issuer, Some(toy)) => self.check_toy_of(issuer, toy).await?,
            (Some(issuer), None) if self.store.toys_of(issuer).await?.is_empty() => return Err(DomainError::Forbidden),
            _ => {}
        }
        let code = Secret::invite_code();
        let ttl_s = f64::from(self.config.accounts.invite_ttl_h) * HOUR_S;
        let (hash, expires_at) = (invite_hash(&code), clock::age_of(now) + ttl_s);
        let invite = NewInvite { hash, issuer: issuer.cloned(), toy: wanted.toy, remark, expires_at };
        self.store.add_invite(invite, self.config.accounts.invites_max, now).await?;
        Ok(Invitation { code, expires_at: now + ttl_s })
    }

    /// The invitation of a code. Errors: `UnknownInvite`; `RateLimited` after too many wrong codes.
    pub(super) async fn invitation(&self, code: &Secret, from: Origin, now: Timestamp) -> Result<Invited, DomainError> {
        let address = from.peer.into();
        self.rates.wrong_invites.check(&address)?;
        let hash = invite_hash(code);
        let Some(OpenInvite { issuer, toy, remark }) = self.store.invite(&hash, now).await? else {
            self.rates.wrong_invites.note(&address);
            return Err(DomainError::UnknownInvite);
        };
        Ok(Invited { hash, toy, remark, issuer })
    }

    /// Makes a user a guardian of the toy of an invitation. Errors: `UnknownInvite`, `AlreadyGuardian`, `Full`,
    /// `RateLimited`, `DiskFull`.
    pub async fn join(
        &self,
        user: &UserId,
        code: &Secret,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<ToyId, DomainError> {
        self.check_room(0)?;
        let invited = self.invitation(code, from.into(), now).await?;
        self.join_by(user, invited, now).await
    }

    pub(super) async fn join_by(&self, user: &UserId, invited: Invited, now: Timestamp) -> Result<ToyId, DomainError> {
        let Invited { hash, toy, remark, issuer } = invited;
        let id = toy.ok_or(DomainError::UnknownInvite)?;
        let toy = self.store.toy(&id).await?.ok_or(DomainError::UnknownInvite)?;
        let user = self.store.user(user).await?.ok_or(DomainError::UnknownParty)?.user;
        let entry_of_user =
            NewEntry { kind: PartyKind::Toy, nickname: toy.baby_name, remark: toy.toy_name, avatar: toy.avatar };
        let remark = if remark.is_empty() { user.nickname.clone() } else { remark };
        let entry_of_toy = NewEntry { kind: PartyKind::App, nickname: user.nickname, remark, avatar: user.avatar };
        let chat = ChatId::random();
        let accounts = &self.config.accounts;
        let limits = (accounts.guardians_max, accounts.friends_max);
        let entries = (entry_of_user, entry_of_toy);
        let (party, toy) = (Party::User(user.id.clone()), Party::Toy(id.clone()));
        let families = [self.family_of(&toy).await?, self.family_of(&party).await?];
        let joining = Joining { hash: &hash, user: &user.id, toy: &id, families };
        let seq = self.store.join(joining, &chat, entries, limits, now).await?;
        let user = party;
        self.note_pair((&toy, &user), Action::GuardianAdded, issuer.as_ref(), now).await;
        if seq.is_some() {
            let event =
                |friend: &Party| crate::model::Event::FriendAdded { friend: friend.clone(), chat: chat.clone() };
            self.announce(&user, &event(&toy), seq).await;
            self.announce(&toy, &event(&user), None).await;
        }
        Ok(id)
    }

    /// The guardians of a toy, for one of them or for the operator of the hub (`None`). Errors: `UnknownParty`.
    pub async fn guardians_of(&self, asker: Option<&UserId>, toy: &ToyId) -> Result<Vec<Guardian>, DomainError> {
        self.check_toy_of(asker, toy).await?;
        let mut found = Vec::new();
        for (number, id) in self.guardians(toy).await?.into_iter().enumerate() {
            if let Some(stored) = self.store.user(&id).await? {
                let (nickname, avatar) = (stored.user.nickname, stored.user.avatar);
                found.push(Guardian { id, nickname, avatar, is_first: number == 0 });
            }
        }
        Ok(found)
    }

    /// Removes a guardian of a toy, other than the owner. The friendship with the toy and the subscriptions to its
    /// topics end at once. The guardian's invitations are deleted, and so are the retained commands to the toy and the
    /// toy's places that only this guardian could have permitted. The owner may remove others, each guardian may remove
    /// itself, and the operator of the hub (`None`) may remove any.
    ///
    /// Errors: `UnknownParty`, also for the owner, who unbinds the toy instead; `Forbidden`.
    pub async fn remove_guardian(
        &self,
        by: Option<&UserId>,
        toy: &ToyId,
        guardian: &UserId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(by, toy).await?;
        let is_first = match by {
            Some(by) => self.guardians(toy).await?.first() == Some(by),
            None => true,
        };
        if !is_first && by != Some(guardian) {
            return Err(DomainError::Forbidden);
        }
        let removed = self.store.remove_guardian(guardian, toy).await?;
        let user = Party::User(guardian.clone());
        if let Some(removed) = removed {
            self.end_friendship(&user, removed).await;
        }
        self.note_pair((&Party::Toy(toy.clone()), &user), Action::GuardianRemoved, by, now).await;
        let topics = format!("toy/{toy}/");
        self.end_subscriptions_to(&user, vec![topics.clone()]);
        // Who has published a retained command is not recorded, so those of the other guardians are deleted, too.
        let topics = format!("{topics}cmd/");
        self.router.forget_retained_below(&topics);
        self.forget_shared(&topics).await?;
        self.notify_hubs(|| Notice::Forget { topics });
        self.forget_far_places(toy, now).await
    }

    /// Errors: `UnknownParty`, also for a toy of other users.
    pub async fn check_guardian(&self, user: &UserId, toy: &ToyId) -> Result<(), DomainError> {
        if self.is_guardian(user, toy).await? { Ok(()) } else { Err(DomainError::UnknownParty) }
    }

    /// Checks that the user is a guardian of the toy. `None` stands for the operator of the hub. Errors:
    /// `UnknownParty`.
    pub(super) async fn check_toy_of(&self, guardian: Option<&UserId>, toy: &ToyId) -> Result<(), DomainError> {
        match guardian {
            Some(guardian) => self.check_guardian(guardian, toy).await,
            None => self.store.toy(toy).await?.map(drop).ok_or(DomainError::UnknownParty),
        }
    }

    /// The toy of this id, if the user is a guardian of it. Errors: `UnknownParty`.
    pub async fn toy_of(&self, user: &UserId, id: &PartyId) -> Result<ToyId, DomainError> {
        let toy = id.as_str().parse().map_err(|_| DomainError::UnknownParty)?;
        self.check_guardian(user, &toy).await?;
        Ok(toy)
    }

    /// The party of `id`, if the caller may act for it as the party itself or as a guardian of a toy; and whether the
    /// caller is a guardian. Without a token, the caller counts as a guardian if a guardian has authenticated at the
    /// address and the toy has not: if both have, the call may come from the toy.
    ///
    /// Errors: as [`Hub::authorize`].
    pub async fn authorize_for(
        &self,
        id: &PartyId,
        token: Option<&Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<(Party, bool), DomainError> {
        let from = from.into();
        let itself = match self.authorize(id, token, from, now).await {
            Ok(party) => Some(party),
            Err(DomainError::Unauthorized) => None,
            Err(error) => return Err(error),
        };
        let toy = match itself {
            Some(Party::Toy(toy)) => {
                // With `[auth] mode = "open"` any token is permitted; it identifies the caller.
                let caller = match token {
                    Some(token) => self.token_party(token, now).await?,
                    None => None,
                };
                let is_guardian = match caller {
                    Some(Party::User(user)) => self.is_guardian(&user, &toy).await?,
                    _ => false,
                };
                return Ok((Party::Toy(toy), is_guardian));
            }
            Some(party) => return Ok((party, false)),
            None => id.as_str().parse::<ToyId>().map_err(DomainError::internal)?,
        };
        for guardian in self.guardians(&toy).await? {
            let guardian = guardian.as_str().parse().map_err(DomainError::internal)?;
            match self.authorize(&guardian, token, from, now).await {
                Ok(_) => return Ok((Party::Toy(toy), true)),
                Err(DomainError::Unauthorized | DomainError::UnknownParty | DomainError::Erased) => {}
                Err(error) => return Err(error),
            }
        }
        Err(DomainError::Unauthorized)
    }
}

/// The hash by which the codes of invitations are stored. Blanks, hyphens and the case of letters are ignored.
fn invite_hash(code: &Secret) -> String {
    let plain = code.reveal().chars().filter(char::is_ascii_alphanumeric);
    hex::encode(Sha256::digest(plain.map(|c| c.to_ascii_uppercase()).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let code = Secret::invite_code();
        assert_eq!(code.reveal().len(), 14, "twelve signs in three groups");
        let typed = Secret::new(code.reveal().to_lowercase().replace('-', " "));
        assert_eq!(invite_hash(&code), invite_hash(&typed));
        assert_ne!(invite_hash(&code), invite_hash(&Secret::invite_code()));
    }
}
