//! The guardians of a toy, and invitations.

use super::answer::{File, Id, Nothing, answer};
use super::request::request;
use super::{Call, CallContext, CallerId, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::domain::{Guardian as Found, WantedInvitation};
use crate::model::{PartyId, Secret, Timestamp, ToyId, UserId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "household",
    about: "The guardians of a toy, and invitations.",
    calls: &[Entry::of::<Invite>(), Entry::of::<Join>(), Entry::of::<GuardianList>(), Entry::of::<RemoveGuardian>()],
};

request! {
    /// Creates an invitation, which is valid once and for a limited time. Added.
    struct Invite {
        /// A guardian of a toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy whose guardian the invited user becomes. Without it, the invitation permits one registration or one
        /// binding.
        toy as "toy_id": Option<ToyId>,
        /// The toy's remark for the new guardian. Default: the guardian's own name.
        remark: Option<String>,
    }
}

impl Call for Invite {
    const FACTS: Facts = Facts::new("invite", Permitted::Named, "done");
    type Answer = Invited;

    async fn handle(self, context: &CallContext) -> Result<Invited, DomainError> {
        let user = context.acting(self.caller).await?;
        let wanted = WantedInvitation { toy: self.toy, remark: self.remark.unwrap_or_default() };
        let made = context.hub.invite(Some(&user), wanted, context.now).await?;
        Ok(Invited { invite: made.code.reveal().to_owned(), expires_at: made.expires_at })
    }
}

request! {
    /// Makes the user a guardian of the toy of an invitation. Added.
    struct Join {
        /// The invited user.
        caller as "user_id": CallerId<UserId>,
        /// The code.
        invite: Secret,
    }
}

impl Call for Join {
    const FACTS: Facts = Facts::new("join", Permitted::Named, "done");
    type Answer = Joined;

    async fn handle(self, context: &CallContext) -> Result<Joined, DomainError> {
        let user = context.acting(self.caller).await?;
        let toy = context.hub.join(&user, &self.invite, context.from, context.now).await?;
        Ok(Joined { toy_id: (&toy).into() })
    }
}

request! {
    /// The guardians of a toy, beginning with its owner. Added.
    struct GuardianList {
        /// A guardian of the toy.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
    }
}

impl Call for GuardianList {
    const FACTS: Facts = Facts::new("guardian_list", Permitted::Named, "done");
    type Answer = Vec<Guardian>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Guardian>, DomainError> {
        let user = context.acting(self.caller).await?;
        Ok(context.hub.guardians_of(Some(&user), &self.toy).await?.into_iter().map(Guardian::from).collect())
    }
}

request! {
    /// Removes a guardian of a toy. Its access to the toy and its chats ends at once. The owner may remove others; each
    /// guardian may remove itself. Added.
    struct RemoveGuardian {
        /// The guardian who makes the call.
        caller as "user_id": CallerId<UserId>,
        /// The toy.
        toy as "toy_id": ToyId,
        /// The guardian to remove.
        guardian as "guardian_id": PartyId,
    }
}

impl Call for RemoveGuardian {
    const FACTS: Facts = Facts::new("remove_guardian", Permitted::Named, "done");
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        let user = context.acting(self.caller).await?;
        let guardian = self.guardian.as_str().parse().map_err(|_| DomainError::UnknownParty)?;
        context.hub.remove_guardian(Some(&user), &self.toy, &guardian, context.now).await?;
        Ok(Nothing {})
    }
}

answer! {
    /// The answer of `/invite`.
    pub struct Invited {
        /// The code, shown once.
        invite: String,
        /// The time at which it expires, in seconds since 1970.
        expires_at: Timestamp,
    }
}

answer! {
    /// The answer of `/join`.
    pub struct Joined {
        /// The toy whose guardian the user now is.
        toy_id: Id,
    }
}

answer! {
    /// An entry of `/guardian_list`.
    pub struct Guardian as "Guardian" {
        /// The guardian.
        id as "_id": Id,
        /// The name that is shown to others.
        nickname: String,
        /// A picture of /get_image/.
        avatar: File,
        /// Whether the toy is bound to this guardian, the owner. Only the owner can unbind it and remove other
        /// guardians.
        is_first: bool,
    }
}

impl From<Found> for Guardian {
    fn from(found: Found) -> Self {
        Self {
            id: (&found.id).into(),
            nickname: found.nickname,
            avatar: (&found.avatar).into(),
            is_first: found.is_first,
        }
    }
}
