//! Users and their tokens.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::DomainError;
use super::places::Origin;
use super::units::DAY_S;
use super::{Hub, clock};
use crate::config::AuthMode;
use crate::model::{DeviceKey, FileName, Friend, Login, Party, PartyId, Secret, Timestamp, ToyId, User, UserId};
use crate::ports::store::{PartyAt, StoredUser};

/// The longest user name that is looked up.
const USERNAME_MAX_BYTES: usize = 4096;
/// The data of a registration.
#[derive(Debug)]
pub struct Registration {
    /// The name to log in with.
    pub username: String,
    /// The password, opaque.
    pub password: Secret,
    /// The name that is shown to others. Default: the user name.
    pub nickname: String,
    /// `"1"` or `"2"`.
    pub gender: String,
    /// A picture. The default depends on the gender.
    pub avatar: Option<FileName>,
    /// The code of an invitation. The code for a toy makes the new user a guardian at once.
    pub invite: Option<Secret>,
}

/// A user with the data of an app's first screen.
#[derive(Debug)]
pub struct Profile {
    /// The user.
    pub user: User,
    /// The address book.
    pub friends: Vec<Friend>,
    /// The toys that are bound to the user.
    pub toys: Vec<ToyId>,
    /// The number of the user's last event before the address book was read: its counts include every message up to
    /// it.
    pub counted_up_to: u64,
}

impl Hub {
    /// Creates a user, who is then authenticated at the place of the call. Errors: `NotFromHere`, `UnknownInvite`,
    /// `Invalid`, `NameTaken`, `RateLimited`, `DiskFull`, `Busy`.
    pub async fn register(
        &self,
        new: Registration,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<UserId, DomainError> {
        let from = from.into();
        let registration = self.config.auth.registration;
        self.check_allowed_from(registration, from, new.invite.is_some(), "making an account")?;
        let username = self.checked_text("username", new.username)?;
        let nickname = self.checked_optional_text("nickname", new.nickname)?;
        let gender = self.checked_optional_text("gender", new.gender)?;
        self.check_new_password("password", &username, &new.password)?;
        self.rates.registrations.spend(&from.peer.into())?;
        self.check_room(0)?;
        let invited = match &new.invite {
            Some(code) => Some(self.invitation(code, from, now).await?),
            None => None,
        };
        let avatar = match new.avatar {
            Some(avatar) => avatar,
            None if gender == "2" => super::content::avatar("baba.jpg")?,
            None => super::content::avatar("mama.jpg")?,
        };
        let hashed = self.hash_password(new.password).await?;
        let id = UserId::random();
        let nickname = if nickname.is_empty() { username.clone() } else { nickname };
        let user = User { id: id.clone(), username, nickname, gender, avatar };
        let invite_hash = invited.as_ref().map(|invited| invited.hash.as_str());
        self.store.create_invited_user(StoredUser { user, password_hash: hashed }, invite_hash, now).await?;
        self.note_proof(&id.clone().into(), from, now).await?;
        if let Some(invited) = invited.filter(|invited| invited.toy.is_some()) {
            self.join_by(&id, invited, now).await?;
        }
        Ok(id)
    }

    /// Checks a password, which authenticates the user at the place of the call. Returns the profile and a new token.
    /// Errors: `WrongCredentials`, `RateLimited`, `Busy`.
    pub async fn login(
        &self,
        username: &str,
        password: Secret,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<(Profile, Secret), DomainError> {
        let from = from.into();
        let username = username.trim();
        if username.is_empty() {
            return Err(DomainError::invalid("username", "is missing"));
        }
        if username.len() > USERNAME_MAX_BYTES.max(4 * self.config.accounts.name_max_chars) {
            // No user has such a name, and the failure counters would store it as a key.
            return Err(DomainError::WrongCredentials);
        }
        let found = self.store.user_by_name(username).await?;
        let budget = self.login_budget(username, found.as_ref(), from, now).await?;
        self.check_login_budget(&budget, from)?;
        let hash = found.as_ref().map(|found| found.password_hash.clone());
        let is_right = self.is_password(password, hash.clone()).await?;
        let Some(found) = found.filter(|_| is_right) else {
            self.note_failed_login(&budget, from);
            return Err(DomainError::WrongCredentials);
        };
        let party = Party::User(found.user.id.clone());
        let token = self.issue_token(&party, now).await?;
        let current = self.store.user(&found.user.id).await?.map(|user| user.password_hash);
        if current != hash {
            // The password was changed meanwhile: a token issued for the old one must not stay valid.
            self.store.revoke_token(&hash_of(&token)).await?;
            return Err(DomainError::WrongCredentials);
        }
        self.note_proof(&party, from, now).await?;
        let counted_up_to = self.store.last_event(&found.user.id).await?;
        let profile = self.profile_of(found.user, counted_up_to).await?;
        self.note_counted(&profile.user.id, from, profile.counted_up_to);
        Ok((profile, token))
    }

    /// A user's profile. Errors: `UnknownParty`.
    pub async fn profile(&self, user: &UserId) -> Result<Profile, DomainError> {
        let id = user.as_str().parse().map_err(DomainError::internal)?;
        let found = self.store.user_with_last_event(user).await?;
        let (found, counted_up_to) = found.ok_or_else(|| self.unknown_party(&id))?;
        self.profile_of(found.user, counted_up_to).await
    }

    /// Every user, by name, at most `limit`.
    pub async fn users(&self, limit: usize) -> Result<Vec<User>, DomainError> {
        Ok(self.store.users(limit).await?)
    }

    /// The profile of a user whose events up to `counted_up_to` were read before its counts are.
    async fn profile_of(&self, user: User, counted_up_to: u64) -> Result<Profile, DomainError> {
        let friends = self.store.friends(&user.id.clone().into()).await?;
        let toys = self.toys_in(&user.id, &friends).await?.into_iter().map(|toy| toy.id).collect();
        Ok(Profile { user, friends, toys, counted_up_to })
    }

    /// The party of `id`, if the caller may act for it: with its token, or without one as `[auth] mode` permits.
    ///
    /// Errors: `UnknownParty`, `Unauthorized` (a required token is missing, or the token is another party's).
    pub async fn authorize(
        &self,
        id: &PartyId,
        token: Option<&Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<Party, DomainError> {
        Ok(self.authorize_until(id, token, from.into(), now).await?.party)
    }

    /// As [`Self::authorize`], with the time at which the permission ends: the expiry of the token, if there is one.
    pub(super) async fn authorize_until(
        &self,
        id: &PartyId,
        token: Option<&Secret>,
        from: Origin,
        now: Timestamp,
    ) -> Result<Login, DomainError> {
        let place = from.place().map(|place| place.to_string());
        let found = self.store.party_at(id, place.as_deref()).await?.ok_or_else(|| self.unknown_party(id))?;
        let PartyAt { party, only_token, place } = found;
        let expires_at = match (self.config.auth.mode, token) {
            (AuthMode::Open, _) => Some(Timestamp::INFINITY),
            (_, Some(token)) => {
                let login = self.store.login(&hash_of(token), now).await?;
                login.filter(|login| login.party == party).map(|login| login.expires_at)
            }
            (AuthMode::Token, None) => None,
            (AuthMode::Place, None) => {
                let is_allowed = !only_token && self.is_proof(&party, place, now).await?;
                is_allowed.then_some(Timestamp::INFINITY)
            }
        };
        let expires_at = expires_at.ok_or(DomainError::Unauthorized)?;
        Ok(Login { party, expires_at })
    }

    /// The toy of a bound device, if `proof` is the device's secret or a token of the toy.
    pub(super) async fn toy_of_device(
        &self,
        key: &DeviceKey,
        proof_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Login>, DomainError> {
        let Some((device, secret_hash)) = self.store.device(key).await? else { return Ok(None) };
        let Some(toy) = device.toy.map(Party::Toy) else { return Ok(None) };
        self.proven(&toy, &secret_hash, proof_hash, now).await
    }

    /// The login that the proof of this hash permits, if it is the device's secret, which never expires, or a token of its toy.
    pub(super) async fn proven(
        &self,
        toy: &Party,
        secret_hash: &str,
        proof_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Login>, DomainError> {
        if bool::from(proof_hash.as_bytes().ct_eq(secret_hash.as_bytes())) {
            return Ok(Some(Login { party: toy.clone(), expires_at: Timestamp::INFINITY }));
        }
        Ok(self.store.login(proof_hash, now).await?.filter(|login| login.party == *toy))
    }

    /// The party of a token that is known and has not expired.
    pub(super) async fn token_party(&self, token: &Secret, now: Timestamp) -> Result<Option<Party>, DomainError> {
        Ok(self.store.login(&hash_of(token), now).await?.map(|login| login.party))
    }

    /// Deletes every token and every place of a party and closes its connections.
    pub async fn log_out_everywhere(&self, party: &Party) -> Result<(), DomainError> {
        self.store.revoke_tokens(party).await?;
        self.store.forget_places(party).await?;
        self.end_connections(party).await;
        Ok(())
    }

    /// The user of this name. Errors: `UnknownParty`.
    pub async fn user_named(&self, username: &str) -> Result<UserId, DomainError> {
        let found = self.store.user_by_name(username.trim()).await?.ok_or(DomainError::UnknownParty)?;
        Ok(found.user.id)
    }

    pub(super) async fn issue_token(&self, party: &Party, now: Timestamp) -> Result<Secret, DomainError> {
        let token = Secret::random();
        let accounts = &self.config.accounts;
        let expires_at = clock::age_of(now) + f64::from(accounts.token_ttl_days) * DAY_S;
        self.store.add_token(&hash_of(&token), party, now, expires_at, accounts.tokens_max).await?;
        Ok(token)
    }
}

/// The hash by which tokens and device secrets are stored. A fast hash suffices for 256 random bits.
pub(super) fn hash_of(secret: &Secret) -> String {
    hex::encode(Sha256::digest(secret.reveal()))
}
