//! Devices of the equipment library, and toys.

use futures_util::future;
use surrealdb::types::{SurrealValue, vars};

use super::friends::Pair;
use super::transaction::{keys_of, record, record_of};
use super::{NewEntry, Store, StoreError, stored};
use crate::model::{ChatId, Device, DeviceKey, Timestamp, Toy, ToyId, UserId};
use crate::ports::clock;

/// A toy to be created with its chat and both address book entries.
#[derive(Debug)]
pub struct NewToy {
    /// The toy; the id is new.
    pub toy: Toy,
    /// The chat of toy and user; the id is new.
    pub chat: ChatId,
    /// The user's entry for the toy.
    pub entry_of_user: NewEntry,
    /// The toy's entry for the user.
    pub entry_of_toy: NewEntry,
    /// The time until which the toy may open at a new place.
    pub let_in_until: Timestamp,
    /// The hash of the invitation that allows the binding, if one was given.
    pub invite_hash: Option<String>,
    /// The version of the text that the user agrees to.
    pub consent: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct ToyRow {
    uid: String,
    device_key: String,
    bind_user: String,
    toy_name: String,
    baby_name: String,
    gender: String,
    avatar: String,
}

impl ToyRow {
    fn into_toy(self) -> Result<Toy, StoreError> {
        Ok(Toy {
            id: stored(&self.uid)?,
            device_key: stored(&self.device_key)?,
            bind_user: stored(&self.bind_user)?,
            toy_name: self.toy_name,
            baby_name: self.baby_name,
            gender: self.gender,
            avatar: stored(&self.avatar)?,
        })
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct DeviceRow {
    key: String,
    secret_hash: String,
    toy: Option<String>,
    name: Option<String>,
}

/// A new device as it is stored.
#[derive(Debug, Clone)]
pub struct StoredDevice {
    /// Its key.
    pub key: DeviceKey,
    /// The SHA-256 of its secret.
    pub secret_hash: String,
    /// What the operator calls it.
    pub name: Option<String>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct NewDeviceRow {
    secret_hash: String,
    toy: Option<String>,
    name: Option<String>,
    created_at: f64,
}

impl DeviceRow {
    fn into_device(self) -> Result<(Device, String), StoreError> {
        let toy = self.toy.as_deref().map(stored).transpose()?;
        Ok((Device { key: stored(&self.key)?, toy, name: self.name }, self.secret_hash))
    }
}

impl Store {
    /// Adds devices to the equipment library: all of them, or none if one of their keys is taken.
    pub async fn add_devices(&self, devices: &[StoredDevice], now: Timestamp) -> Result<(), StoreError> {
        self.transact(|tx| async move {
            for (at, device) in devices.iter().enumerate() {
                let row = NewDeviceRow {
                    secret_hash: device.secret_hash.clone(),
                    toy: None,
                    name: device.name.clone(),
                    // Lists are in the order of the file.
                    created_at: now + at as f64 * 1e-6,
                };
                let id = record("device", device.key.as_str());
                tx.run("CREATE $id CONTENT $row RETURN NONE", vars! { id: id, row: row }).await?;
            }
            Ok(())
        })
        .await
    }

    /// Removes a device that is not bound. Returns false if there is no such device, or if it is bound.
    pub async fn remove_device(&self, key: &DeviceKey) -> Result<bool, StoreError> {
        let mut reply = self
            .run(
                "RETURN array::len(DELETE type::record('device', $key) WHERE toy = NONE RETURN BEFORE) > 0",
                vars! { key: key.as_str() },
            )
            .await?;
        Ok(reply.optional::<bool>(0)?.unwrap_or_default())
    }

    /// Sets the SHA-256 of a new secret of a device. Refused with `UnknownDevice`.
    pub async fn renew_device(&self, key: &DeviceKey, secret_hash: &str) -> Result<(), StoreError> {
        self.run(
            "{
                LET $renewed = (UPDATE type::record('device', $key) SET secret_hash = $secret_hash);
                IF array::len($renewed) = 0 { THROW 'toyhub:unknown_device' };
                RETURN NONE;
            }",
            vars! { key: key.as_str(), secret_hash: secret_hash },
        )
        .await
        .map(drop)
    }

    /// The device of this key and the SHA-256 of its secret.
    pub async fn device(&self, key: &DeviceKey) -> Result<Option<(Device, String)>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS key, secret_hash, toy, name FROM ONLY type::record('device', $key)",
                vars! { key: key.as_str() },
            )
            .await?;
        reply.optional::<DeviceRow>(0)?.map(DeviceRow::into_device).transpose()
    }

    /// Up to `limit` devices, oldest first.
    pub async fn devices(&self, limit: usize) -> Result<Vec<Device>, StoreError> {
        let mut reply = self
            .run(
                "SELECT record::id(id) AS key, secret_hash, toy, name, created_at FROM device
                    ORDER BY created_at LIMIT $limit",
                vars! { limit: limit as i64 },
            )
            .await?;
        reply.rows::<DeviceRow>(0)?.into_iter().map(|row| Ok(row.into_device()?.0)).collect()
    }

    /// Binds a device: creates the toy, its chat with the user and an entry on both sides, or nothing.
    ///
    /// Refused with `UnknownDevice`, `DeviceBound`, `UnknownInvite`, `UnknownParty` or `BookFull`.
    pub async fn bind_toy(&self, new: NewToy, friends_max: usize, now: Timestamp) -> Result<(), StoreError> {
        let NewToy { toy, chat, entry_of_user, entry_of_toy, let_in_until, invite_hash, consent } = new;
        let variables = vars! {
            key: toy.device_key.as_str(), toy: toy.id.as_str(), user: toy.bind_user.as_str(),
            toy_name: toy.toy_name, baby_name: toy.baby_name, gender: toy.gender, avatar: toy.avatar.as_str(),
            let_in_until: let_in_until, invite: invite_hash, consent: consent, now: now,
            age: clock::age_of(now),
        };
        let (variables, entries) = (&variables, [&entry_of_user, &entry_of_toy]);
        let pair = Pair { parties: [toy.bind_user.as_str(), toy.id.as_str()], entries, chat: &chat, friends_max };
        self.transact(|tx| async move {
            tx.run(BIND_TOY, variables.clone()).await?;
            tx.befriend(pair, now).await
        })
        .await
    }

    /// The toy of this id.
    pub async fn toy(&self, id: &ToyId) -> Result<Option<Toy>, StoreError> {
        let [row] = self.rows_at([record("toy", id.as_str())]).await?;
        row.map(|row| row.read::<ToyRow>()?.into_toy()).transpose()
    }

    /// Sets the time, by [`clock::age_of`], until which a toy may open at a new place.
    pub async fn let_in(&self, toy: &ToyId, until: Timestamp) -> Result<(), StoreError> {
        let id = record("toy", toy.as_str());
        self.run("UPDATE $id SET let_in_until = $until RETURN NONE", vars! { id: id, until: until }).await.map(drop)
    }

    /// Whether a toy may open at a new place now. This uses the permission up: of several concurrent calls, one gets
    /// it.
    pub async fn take_letting_in(&self, toy: &ToyId, now: Timestamp) -> Result<bool, StoreError> {
        self.transact(|tx| async move {
            let id = record("toy", toy.as_str());
            let age = clock::age_of(now);
            let until = tx.one::<f64>("SELECT VALUE let_in_until FROM ONLY $id", vars! { id: id.clone() }).await?;
            if until.is_none_or(|until| until <= age) {
                return Ok(false);
            }
            tx.run("UPDATE $id SET let_in_until = NONE RETURN NONE", vars! { id: id }).await?;
            Ok(true)
        })
        .await
    }

    /// Those of some toys of which a user is a guardian: those that are bound to the user, then the others, each in the
    /// order of `toys`.
    pub async fn toys_among(&self, user: &UserId, toys: Vec<ToyId>) -> Result<Vec<Toy>, StoreError> {
        if toys.is_empty() {
            return Ok(Vec::new());
        }
        let ids = toys.iter().map(|toy| record("toy", toy.as_str()));
        // With the pairs, whether or not they are needed: another query would cost more.
        let pairs = toys.iter().map(|toy| record_of("guardian", user.as_str(), toy.as_str().to_owned()));
        let mut rows = self.rows_of(ids.chain(pairs).collect()).await?;
        let pairs = rows.split_off(toys.len());
        let (mut found, mut shared) = (Vec::new(), Vec::new());
        for (row, pair) in rows.into_iter().zip(pairs) {
            let Some(row) = row else { continue };
            let toy = row.read::<ToyRow>()?.into_toy()?;
            if toy.bind_user == *user {
                found.push(toy);
            } else if pair.is_some() {
                shared.push(toy);
            }
        }
        found.extend(shared);
        Ok(found)
    }

    /// The toys of which a user is a guardian: those that are bound to the user, oldest first, then the others.
    pub async fn toys_of(&self, user: &UserId) -> Result<Vec<Toy>, StoreError> {
        let mut reply = self
            .run(
                "SELECT *, record::id(id) AS uid FROM toy WHERE bind_user = $user ORDER BY created_at;
                 SELECT VALUE toy FROM type::record('guardian', $keys);",
                vars! { user: user.as_str(), keys: keys_of(user.as_str()) },
            )
            .await?;
        let bound = reply.rows::<ToyRow>(0)?.into_iter().map(ToyRow::into_toy);
        let mut toys = bound.collect::<Result<Vec<_>, _>>()?;
        let others = reply.rows::<String>(1)?.iter().map(|toy| stored(toy)).collect::<Result<Vec<ToyId>, _>>()?;
        // At once, as such reads share a query.
        let others = future::try_join_all(others.iter().map(|toy| self.toy(toy))).await?;
        toys.extend(others.into_iter().flatten());
        Ok(toys)
    }
}

const BIND_TOY: &str = "{
    LET $device = (SELECT toy FROM ONLY type::record('device', $key));
    IF $device = NONE { THROW 'toyhub:unknown_device' };
    IF $device.toy != NONE { THROW 'toyhub:device_bound ' + $device.toy };
    IF $invite != NONE {
        LET $found = (SELECT * FROM ONLY type::record('invite', $invite));
        IF $found = NONE OR $found.expires_at <= $age OR $found.toy != NONE { THROW 'toyhub:unknown_invite' };
        DELETE type::record('invite', $invite);
    };
    IF !record::exists(type::record('user', $user)) { THROW 'toyhub:unknown_party' };
    UPDATE type::record('device', $key) SET toy = $toy;
    CREATE type::record('toy', $toy) SET device_key = $key, bind_user = $user, toy_name = $toy_name,
        baby_name = $baby_name, gender = $gender, avatar = $avatar, locked = false, let_in_until = $let_in_until,
        consent = $consent, created_at = $now;
    RETURN NONE;
}";
