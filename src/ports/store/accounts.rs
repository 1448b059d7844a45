//! Users, tokens and the secret of this hub.

use surrealdb::types::{SurrealValue, vars};

use super::looks::looks_of;
use super::places::ProvenPlace;
use super::rows::Row;
use super::streams::last_event_of;
use super::transaction::{record, record_of};
use super::{Store, StoreError, stored, stored_number, stored_party};
use crate::model::{FileName, Login, Party, PartyId, PartyKind, Secret, Timestamp, User, UserId};
use crate::ports::clock;

/// A user with its secret data.
#[derive(Debug)]
pub struct StoredUser {
    /// The user.
    pub user: User,
    /// The password's argon2id hash in PHC form.
    pub password_hash: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct UserRow {
    uid: String,
    username: String,
    nickname: String,
    gender: String,
    avatar: String,
    password: String,
}

impl UserRow {
    fn into_stored(self) -> Result<StoredUser, StoreError> {
        let user = User {
            id: stored(&self.uid)?,
            username: self.username,
            nickname: self.nickname,
            gender: self.gender,
            avatar: stored::<FileName>(&self.avatar)?,
        };
        Ok(StoredUser { user, password_hash: self.password })
    }
}

/// The columns that decide about the logins of a party.
#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PartyRow {
    only_token: Option<bool>,
    login_epoch: Option<i64>,
}

/// A party, with what decides whether a call for it needs a token.
#[derive(Debug)]
pub struct PartyAt {
    /// The party.
    pub party: Party,
    /// Whether calls for it always need a token.
    pub only_token: bool,
    /// The place of the call, if the party has authenticated there.
    pub place: Option<ProvenPlace>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct TokenRow {
    party: String,
    kind: String,
    expires_at: f64,
}

impl Store {
    /// Creates a user, whose id is new. Refused with `NameTaken` if the name, or one that looks like it, is taken.
    pub async fn create_user(&self, new: StoredUser, now: Timestamp) -> Result<(), StoreError> {
        self.create_invited_user(new, None, now).await
    }

    /// The same, with the invitation of this hash, if one is given. Refused with `UnknownInvite`, too.
    pub async fn create_invited_user(
        &self,
        new: StoredUser,
        invite_hash: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let StoredUser { user, password_hash } = new;
        let looks = looks_of(&user.username);
        let variables = vars! {
            id: user.id.as_str(), looks: looks, username: user.username, nickname: user.nickname, gender: user.gender,
            avatar: user.avatar.as_str(), password: password_hash, invite: invite_hash.map(str::to_owned), now: now,
            age: clock::age_of(now),
        };
        self.run(
            "{
                IF record::exists(type::record('user_name', $username)) { THROW 'toyhub:name_taken' };
                FOR $look IN $looks {
                    IF record::exists(type::record('name_look', $look)) { THROW 'toyhub:name_taken' };
                    CREATE type::record('name_look', $look) SET user = $id;
                };
                IF $invite != NONE {
                    LET $found = (SELECT * FROM ONLY type::record('invite', $invite));
                    IF $found = NONE OR $found.expires_at <= $age OR $found.claimed_by != NONE
                        { THROW 'toyhub:unknown_invite' };
                    IF $found.toy = NONE { DELETE type::record('invite', $invite) }
                    ELSE { UPDATE type::record('invite', $invite) SET claimed_by = $id };
                };
                CREATE type::record('user_name', $username) SET user = $id;
                CREATE type::record('user', $id) SET username = $username, nickname = $nickname,
                    gender = $gender, avatar = $avatar, password = $password, locked = false, created_at = $now;
                RETURN NONE;
            }",
            variables,
        )
        .await?;
        Ok(())
    }

    /// The user of this name.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<StoredUser>, StoreError> {
        let mut reply = self
            .run("SELECT VALUE user FROM ONLY type::record('user_name', $username)", vars! { username: username })
            .await?;
        match reply.optional::<String>(0)? {
            Some(id) => self.user(&stored(&id)?).await,
            None => Ok(None),
        }
    }

    /// The user of this id.
    pub async fn user(&self, id: &UserId) -> Result<Option<StoredUser>, StoreError> {
        let [row] = self.rows_at([record("user", id.as_str())]).await?;
        row.map(|row| row.read::<UserRow>()?.into_stored()).transpose()
    }

    /// The user of this id, and the number of its newest event, from one snapshot; 0 if it has had none.
    pub async fn user_with_last_event(&self, id: &UserId) -> Result<Option<(StoredUser, u64)>, StoreError> {
        let [user, stream] = self.rows_at([record("user", id.as_str()), record("stream", id.as_str())]).await?;
        let Some(user) = user else { return Ok(None) };
        Ok(Some((user.read::<UserRow>()?.into_stored()?, last_event_of(stream)?)))
    }

    /// All users, by name, at most `limit`.
    pub async fn users(&self, limit: usize) -> Result<Vec<User>, StoreError> {
        let mut reply = self
            .run(
                "SELECT *, record::id(id) AS uid FROM user ORDER BY username LIMIT $limit",
                vars! { limit: limit as i64 },
            )
            .await?;
        reply.rows::<UserRow>(0)?.into_iter().map(|row| Ok(row.into_stored()?.user)).collect()
    }

    /// The party of this id, with whether calls for it always need a token.
    pub async fn party(&self, id: &PartyId) -> Result<Option<(Party, bool)>, StoreError> {
        Ok(self.party_at(id, None).await?.map(|found| (found.party, found.only_token)))
    }

    /// The party of this id, and what is known of it at a place.
    pub async fn party_at(&self, id: &PartyId, place: Option<&str>) -> Result<Option<PartyAt>, StoreError> {
        let mut ids = vec![record("user", id.as_str()), record("toy", id.as_str())];
        ids.extend(place.map(|place| record_of("place", id.as_str(), place.to_owned())));
        let mut rows = self.rows_of(ids).await?.into_iter();
        let (user, toy, place) = (rows.next().flatten(), rows.next().flatten(), rows.next().flatten());
        let (kind, row) = match (user, toy) {
            (Some(user), _) => (PartyKind::App, user),
            (None, Some(toy)) => (PartyKind::Toy, toy),
            (None, None) => return Ok(None),
        };
        let only_token = row.read::<PartyRow>()?.only_token.unwrap_or(false);
        let place = place.map(Row::read::<ProvenPlace>).transpose()?;
        Ok(Some(PartyAt { party: Party::new(kind, id), only_token, place }))
    }

    /// The login epoch of a party, which is raised when its password changes or all its tokens are revoked; none for an
    /// unknown party.
    pub async fn login_epoch(&self, party: &Party) -> Result<Option<u64>, StoreError> {
        let id = match party {
            Party::User(user) => record("user", user.as_str()),
            Party::Toy(toy) => record("toy", toy.as_str()),
        };
        let [row] = self.rows_at([id]).await?;
        row.map(|row| stored_number(row.read::<PartyRow>()?.login_epoch.unwrap_or(0))).transpose()
    }

    /// Sets whether calls for a party always need a token.
    pub async fn set_only_token(&self, party: &Party, only_token: bool) -> Result<(), StoreError> {
        let sql = match party {
            Party::User(_) => "UPDATE type::record('user', $id) SET only_token = $only_token",
            Party::Toy(_) => "UPDATE type::record('toy', $id) SET only_token = $only_token",
        };
        self.run(sql, vars! { id: party.id(), only_token: only_token }).await.map(drop)
    }

    /// Stores a token's hash until `expires_at`. Beyond `keep` tokens of the party, the oldest are deleted.
    pub async fn add_token(
        &self,
        hash: &str,
        party: &Party,
        now: Timestamp,
        expires_at: Timestamp,
        keep: usize,
    ) -> Result<(), StoreError> {
        let variables = vars! {
            hash: hash, party: party.id(), kind: party.kind().as_str(), now: now, expires_at: expires_at,
            keep: keep as i64,
        };
        // A toy that opens many times at once would conflict with itself until its attempts are used up.
        let _turn = self.turns.of(party.id(), party.id()).await;
        self.run(
            "{
                CREATE type::record('token', $hash) SET party = $party, kind = $kind,
                    created_at = $now, expires_at = $expires_at;
                LET $old = (SELECT id, created_at FROM token WHERE party = $party ORDER BY created_at DESC START $keep);
                FOR $row IN $old {
                    DELETE $row.id;
                    DELETE type::record('push', [$party, record::id($row.id)]);
                };
                RETURN NONE;
            }",
            variables,
        )
        .await?;
        Ok(())
    }

    /// Sets a user's password hash, raises the login epoch, and deletes every token of the user except that of the hash
    /// `kept`.
    pub async fn set_password(&self, user: &UserId, password_hash: &str, kept: Option<&str>) -> Result<(), StoreError> {
        self.run(
            "{
                UPDATE type::record('user', $user) SET password = $password, login_epoch = (login_epoch ?? 0) + 1;
                DELETE token WHERE party = $user AND record::id(id) != $kept;
                DELETE push:[$user, '']..[$user, '~'] WHERE token != $kept;
                RETURN NONE;
            }",
            vars! { user: user.as_str(), password: password_hash, kept: kept.unwrap_or_default() },
        )
        .await
        .map(drop)
    }

    /// Deletes the token of this hash.
    pub async fn revoke_token(&self, hash: &str) -> Result<(), StoreError> {
        self.run("DELETE type::record('token', $hash)", vars! { hash: hash }).await.map(drop)
    }

    /// Deletes every token of a party, and raises its login epoch.
    pub async fn revoke_tokens(&self, party: &Party) -> Result<(), StoreError> {
        self.run(
            "{
                DELETE token WHERE party = $party;
                DELETE push:[$party, '']..[$party, '~'];
                UPDATE type::record('user', $party) SET login_epoch = (login_epoch ?? 0) + 1;
                UPDATE type::record('toy', $party) SET login_epoch = (login_epoch ?? 0) + 1;
                RETURN NONE;
            }",
            vars! { party: party.id() },
        )
        .await
        .map(drop)
    }

    /// The login of the token with this hash, unless it has expired.
    pub async fn login(&self, hash: &str, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let [row] = self.rows_at([record("token", hash)]).await?;
        match row.map(Row::read::<TokenRow>).transpose()? {
            Some(row) if row.expires_at > clock::age_of(now) => {
                Ok(Some(Login { party: stored_party(&row.kind, &row.party)?, expires_at: row.expires_at }))
            }
            _ => Ok(None),
        }
    }

    /// The secret of this hub, made from `fresh` at the first call.
    pub async fn hub_secret(&self, fresh: &Secret) -> Result<Secret, StoreError> {
        self.kept_secret("secret", fresh).await
    }

    /// The private key of this hub for push services, made from `fresh` at the first call.
    pub async fn push_key(&self, fresh: &Secret) -> Result<Secret, StoreError> {
        self.kept_secret("push", fresh).await
    }

    async fn kept_secret(&self, name: &str, fresh: &Secret) -> Result<Secret, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $kept = (SELECT VALUE secret FROM ONLY $id);
                    IF $kept != NONE { RETURN $kept };
                    UPSERT $id SET secret = $fresh;
                    RETURN $fresh;
                }",
                vars! { id: record("meta", name), fresh: fresh.reveal() },
            )
            .await?;
        let secret = reply.optional::<String>(0)?;
        secret.map(Secret::new).ok_or_else(|| StoreError::Corrupt("a secret of the hub was not stored".into()))
    }
}
