//! The guardians of toys, and invitations. Only the hash of a code is stored.

use surrealdb::types::{SurrealValue, vars};

use super::friends::{Pair, Unfriended};
use super::transaction::{record, record_of};
use super::{NewEntry, Refusal, Store, StoreError, stored};
use crate::model::{ChatId, Event, Party, Timestamp, ToyId, UserId};
use crate::ports::clock;

/// The issuer of the operator's invitations.
const OPERATOR: &str = "operator";

/// A new invitation.
#[derive(Debug)]
pub struct NewInvite {
    /// The hash of its code.
    pub hash: String,
    /// The issuer: a user, or none for the operator of the hub.
    pub issuer: Option<UserId>,
    /// The toy whose guardian the invited user becomes; none for one registration or one binding.
    pub toy: Option<ToyId>,
    /// The toy's remark for the new guardian. Default: the guardian's own name.
    pub remark: String,
    /// When it expires, by [`clock::age_of`].
    pub expires_at: Timestamp,
}

impl NewInvite {
    fn issuer(&self) -> &str {
        self.issuer.as_ref().map_or(OPERATOR, UserId::as_str)
    }
}

/// A user who becomes a guardian of a toy by an invitation.
#[derive(Debug)]
pub struct Joining<'a> {
    /// The hash of the invitation's code.
    pub hash: &'a str,
    /// The user.
    pub user: &'a UserId,
    /// The toy.
    pub toy: &'a ToyId,
    /// The ids of the toy's family, and those of the user's family.
    pub families: [Vec<String>; 2],
}

/// A valid invitation.
#[derive(Debug)]
pub struct OpenInvite {
    /// Its issuer: a user, or none for the operator of the hub.
    pub issuer: Option<UserId>,
    /// The toy whose guardian the invited user becomes; none for a registration or a binding.
    pub toy: Option<ToyId>,
    /// The toy's remark for the new guardian.
    pub remark: String,
}

impl Store {
    /// The guardians of a toy: the user that it is bound to, then the others by age. Empty for an unknown toy.
    pub async fn guardians(&self, toy: &ToyId) -> Result<Vec<UserId>, StoreError> {
        let Some(toy) = self.toy(toy).await? else { return Ok(Vec::new()) };
        let mut reply = self
            .run(
                "SELECT user, created_at FROM guardian WHERE toy = $toy ORDER BY created_at",
                vars! { toy: toy.id.as_str() },
            )
            .await?;
        let mut guardians = vec![toy.bind_user];
        for row in reply.rows::<GuardianRow>(0)? {
            guardians.push(stored(&row.user)?);
        }
        Ok(guardians)
    }

    /// Whether a user is a guardian of a toy.
    pub async fn is_guardian(&self, user: &UserId, toy: &ToyId) -> Result<bool, StoreError> {
        let id = record("toy", toy.as_str());
        let mut reply = self.run("SELECT VALUE bind_user FROM ONLY $id", vars! { id: id }).await?;
        match reply.optional::<String>(0)? {
            Some(owner) if owner == user.as_str() => return Ok(true),
            None => return Ok(false),
            Some(_) => {}
        }
        let id = record_of("guardian", user.as_str(), toy.as_str().to_owned());
        let mut reply = self.run("SELECT VALUE toy FROM ONLY $id", vars! { id: id }).await?;
        Ok(reply.optional::<String>(0)?.is_some())
    }

    /// Stores an invitation, and deletes expired ones of its issuer. Refused with `InvitesFull`.
    pub async fn add_invite(&self, invite: NewInvite, invites_max: usize, now: Timestamp) -> Result<(), StoreError> {
        let variables = vars! {
            hash: invite.hash.as_str(), issuer: invite.issuer(), toy: invite.toy.as_ref().map(ToString::to_string),
            remark: invite.remark.as_str(), invites_max: invites_max as i64, expires_at: invite.expires_at, now: now,
            age: clock::age_of(now),
        };
        self.run(
            "{
                DELETE invite WHERE issuer = $issuer AND expires_at <= $age;
                LET $open = (SELECT VALUE expires_at FROM invite WHERE issuer = $issuer);
                IF array::len($open) >= $invites_max { THROW 'toyhub:invites_full' };
                CREATE type::record('invite', $hash) SET issuer = $issuer, toy = $toy, remark = $remark,
                    claimed_by = NONE, created_at = $now, expires_at = $expires_at;
                RETURN NONE;
            }",
            variables,
        )
        .await
        .map(drop)
    }

    /// The invitation of this hash, if it is valid.
    pub async fn invite(&self, hash: &str, now: Timestamp) -> Result<Option<OpenInvite>, StoreError> {
        let mut reply = self
            .run("SELECT issuer, toy, remark, expires_at FROM ONLY type::record('invite', $hash)", vars! { hash: hash })
            .await?;
        let row = reply.optional::<InviteRow>(0)?.filter(|row| row.expires_at > clock::age_of(now));
        row.map(InviteRow::into_invite).transpose()
    }

    /// Makes a user a guardian of the invitation's toy, and the two friends unless they are already. Refusals that bind
    /// the toy's family bind the user's family, too, also after it has left again. Returns the number of the event.
    /// Refused with `UnknownInvite`, `AlreadyGuardian`, `GuardiansFull` or `BookFull`.
    pub async fn join(
        &self,
        joining: Joining<'_>,
        chat: &ChatId,
        (entry_of_user, entry_of_toy): (NewEntry, NewEntry),
        (guardians_max, friends_max): (usize, usize),
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let Joining { hash, user, toy, families } = joining;
        let families = &families;
        let variables = vars! {
            hash: hash, user: user.as_str(), toy: toy.as_str(), guardians_max: guardians_max as i64, now: now,
            age: clock::age_of(now),
        };
        let (variables, entries) = (&variables, [&entry_of_user, &entry_of_toy]);
        let pair = Pair { parties: [user.as_str(), toy.as_str()], entries, chat, friends_max };
        let _turns = self.turns.of(user.as_str(), toy.as_str()).await;
        self.transact(|tx| async move {
            let is_new = tx.one::<bool>(JOIN, variables.clone()).await?;
            tx.share_refusals(families).await?;
            if is_new != Some(true) {
                return Ok(None);
            }
            tx.befriend(pair, now).await?;
            let added = Event::FriendAdded { friend: Party::Toy(toy.clone()), chat: chat.clone() };
            tx.append_event(&Party::User(user.clone()), &added).await
        })
        .await
    }

    /// Removes a guardian of a toy and its friendship with the toy. The guardian's invitations are deleted, and the
    /// toy's permission to open at a new place ends. Refused with `UnknownParty`, also for the user that the toy is
    /// bound to.
    pub async fn remove_guardian(&self, user: &UserId, toy: &ToyId) -> Result<Option<Unfriended>, StoreError> {
        let _turns = self.turns.of(user.as_str(), toy.as_str()).await;
        self.transact(|tx| async move {
            let id = record_of("guardian", user.as_str(), toy.as_str().to_owned());
            let found = tx.one::<String>("SELECT VALUE toy FROM ONLY $id", vars! { id: id.clone() }).await?;
            found.ok_or(StoreError::Refused(Refusal::UnknownParty))?;
            tx.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
            // The guardian's invitations and permissions end, too.
            tx.run("DELETE invite WHERE issuer = $user", vars! { user: user.as_str() }).await?;
            let id = record("toy", toy.as_str());
            tx.run("UPDATE $id SET let_in_until = NONE RETURN NONE", vars! { id: id }).await?;
            tx.unfriend(&Party::User(user.clone()), toy.as_str()).await
        })
        .await
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct GuardianRow {
    user: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct InviteRow {
    issuer: String,
    toy: Option<String>,
    remark: String,
    expires_at: f64,
}

impl InviteRow {
    fn into_invite(self) -> Result<OpenInvite, StoreError> {
        let issuer = (self.issuer != OPERATOR).then(|| stored(&self.issuer)).transpose()?;
        Ok(OpenInvite { issuer, toy: self.toy.as_deref().map(stored).transpose()?, remark: self.remark })
    }
}

const JOIN: &str = "{
    LET $invite = (SELECT * FROM ONLY type::record('invite', $hash));
    IF $invite = NONE OR $invite.expires_at <= $age OR $invite.toy != $toy
        OR ($invite.claimed_by != NONE AND $invite.claimed_by != $user) { THROW 'toyhub:unknown_invite' };
    LET $owner = (SELECT VALUE bind_user FROM ONLY type::record('toy', $toy));
    IF $owner = NONE { THROW 'toyhub:unknown_invite' };
    IF $owner = $user OR record::exists(type::record('guardian', [$user, $toy])) { THROW 'toyhub:already_guardian' };
    IF array::len(SELECT VALUE user FROM guardian WHERE toy = $toy) + 1 >= $guardians_max
        { THROW 'toyhub:guardians_full' };
    LET $is_new = !record::exists(type::record('friend', [$user, $toy]));
    DELETE type::record('invite', $hash);
    DELETE type::record('block', [$toy, $user]);
    DELETE type::record('block', [$user, $toy]);
    CREATE type::record('guardian', [$user, $toy]) SET user = $user, toy = $toy, created_at = $now;
    RETURN $is_new;
}";
