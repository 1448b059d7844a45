//! Subscriptions to push messages. The key of one is its user and the hash of the token of its login:
//! `push:[user, token]`. So there is one for each login at most, and it ends with the login.

use std::collections::HashSet;

use surrealdb::types::{SurrealValue, vars};

use super::transaction::{record, record_of};
use super::{Store, StoreError};
use crate::model::{MessageId, Party, PushSubscription, StoredPush, Timestamp, UserId};
use crate::ports::clock;

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct PushRow {
    token: String,
    endpoint: String,
    p256dh: String,
    auth: String,
    created_at: f64,
}

impl PushRow {
    fn into_push(self) -> Result<StoredPush, StoreError> {
        let parsed = PushSubscription::parse(&self.endpoint, &self.p256dh, &self.auth);
        let subscription = parsed.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(StoredPush { token_hash: self.token, subscription, created_at: self.created_at })
    }
}

impl Store {
    /// Sets the subscription of a login, in place of an earlier one. Other logins of the user lose the same endpoint, so
    /// that a browser gets each message once. Returns false if the login has ended.
    pub async fn set_push(
        &self,
        user: &UserId,
        token_hash: &str,
        subscription: &PushSubscription,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let variables = vars! {
            id: record_of("push", user.as_str(), token_hash.to_owned()), user: user.as_str(), login: token_hash,
            endpoint: subscription.endpoint.clone(), p256dh: subscription.p256dh(), secret: subscription.auth(), now: now,
        };
        let sql = "{
            LET $party = (SELECT VALUE party FROM ONLY type::record('token', $login));
            IF $party != $user { RETURN false };
            DELETE push:[$user, '']..[$user, '~'] WHERE endpoint = $endpoint;
            UPSERT $id SET token = $login, endpoint = $endpoint, p256dh = $p256dh, auth = $secret, created_at = $now;
            RETURN true;
        }";
        Ok(self.run(sql, variables).await?.optional::<bool>(0)?.unwrap_or(false))
    }

    /// The subscriptions of a user whose logins are valid.
    pub async fn pushes(&self, user: &UserId, now: Timestamp) -> Result<Vec<StoredPush>, StoreError> {
        let sql = "SELECT * FROM push:[$user, '']..[$user, '~']";
        let rows = self.run(sql, vars! { user: user.as_str() }).await?.rows::<PushRow>(0)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let logins: Vec<_> = rows.iter().map(|row| record("token", &row.token)).collect();
        let sql = "SELECT VALUE record::id(id) FROM $logins WHERE party = $user AND expires_at > $age";
        let variables = vars! { logins: logins, user: user.as_str(), age: clock::age_of(now) };
        let valid: HashSet<String> = self.run(sql, variables).await?.rows::<String>(0)?.into_iter().collect();
        rows.into_iter().filter(|row| valid.contains(&row.token)).map(PushRow::into_push).collect()
    }

    /// Deletes the subscription of a login; with an endpoint, only if it has that one still.
    pub async fn delete_push(&self, user: &UserId, token_hash: &str, endpoint: Option<&str>) -> Result<(), StoreError> {
        self.run(
            "DELETE $id WHERE $endpoint = NONE OR endpoint = $endpoint RETURN NONE",
            vars! {
                id: record_of("push", user.as_str(), token_hash.to_owned()),
                endpoint: endpoint.map(str::to_owned),
            },
        )
        .await
        .map(drop)
    }

    /// Deletes the subscriptions whose logins have ended. It scans all subscriptions.
    pub async fn delete_lost_pushes(&self) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(
                DELETE (SELECT VALUE id FROM push WHERE !record::exists(type::record('token', token)) LIMIT $rows)
                    RETURN BEFORE
            )",
            vars! {},
        )
        .await
    }

    /// Whether a message has reached a device of its receiver, or was read, or is gone.
    pub async fn has_arrived(&self, receiver: &Party, message: &MessageId) -> Result<bool, StoreError> {
        let Some(message) = self.message(message).await? else { return Ok(true) };
        let mut reply = self
            .run(
                "SELECT VALUE math::max([read_seq, delivered_seq]) FROM ONLY $id",
                vars! { id: record_of("friend", receiver.id(), message.sender) },
            )
            .await?;
        Ok(reply.optional::<i64>(0)?.is_none_or(|reached| message.seq <= reached))
    }
}
