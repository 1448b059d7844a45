//! Devices of the equipment library, and the toys to which users bind them.

use bytes::Bytes;
use futures_util::future;

use super::accounts::hash_of;
use super::error::DomainError;
use super::places::Origin;
use super::{FileKind, Hub};
use crate::config::AuthMode;
use crate::model::{
    Action, ChatId, Device, DeviceKey, DeviceName, FileName, Friend, Party, PartyKind, Secret, Timestamp, Toy, ToyId,
    UserId,
};
use crate::ports::qr;
use crate::ports::store::{NewEntry, NewToy, StoredDevice};

/// A user's request to bind a device.
#[derive(Debug)]
pub struct Binding {
    /// The toy's name.
    pub toy_name: String,
    /// The child's name.
    pub baby_name: String,
    /// The toy's remark for the user.
    pub remark: String,
    /// The user.
    pub user: UserId,
    /// The device, by its key or by the code that it shows.
    pub device: DeviceName,
    /// The code of an invitation.
    pub invite: Option<Secret>,
    /// The version of the consent text that the user has agreed to; none from a client that does not send it.
    pub consent: Option<String>,
}

/// The answer to a toy that starts.
#[derive(Debug)]
pub enum Opened {
    /// The device is bound.
    Bound {
        /// The toy.
        toy: Toy,
        /// A new token, for a toy that presented its device's secret.
        token: Option<Secret>,
    },
    /// The device is known and not bound.
    Unbound,
    /// The device is a toy that may not open at this address.
    NotLetIn,
    /// No such device.
    Unknown,
}

/// A new device. The secret is shown only once.
#[derive(Debug)]
pub struct NewDevice {
    /// The key, which the QR picture shows.
    pub key: DeviceKey,
    /// The secret to connect with.
    pub secret: Secret,
}

impl NewDevice {
    /// The device as it is stored: with the hash of its secret.
    pub(super) fn stored(&self) -> StoredDevice {
        StoredDevice { key: self.key.clone(), secret_hash: hash_of(&self.secret), name: None }
    }
}

/// The kinds of QR pictures of a device.
const QR_EXTENSIONS: [&str; 2] = ["jpg", "png"];

fn qr_name(key: &DeviceKey, extension: &str) -> Result<FileName, DomainError> {
    format!("{key}.{extension}").parse().map_err(DomainError::internal)
}

/// The names of a device's QR pictures.
pub(super) fn qr_names(key: &DeviceKey) -> Result<Vec<FileName>, DomainError> {
    QR_EXTENSIONS.into_iter().map(|extension| qr_name(key, extension)).collect()
}

impl Hub {
    /// Adds devices with their QR pictures (`<key>.jpg`, `<key>.png`): all of them, or none, as secrets would be lost
    /// otherwise. Errors: `DiskFull`.
    pub async fn add_devices(&self, count: usize, now: Timestamp) -> Result<Vec<NewDevice>, DomainError> {
        let new = std::iter::repeat_with(|| NewDevice { key: DeviceKey::random(), secret: Secret::random() });
        let new: Vec<NewDevice> = new.take(count).collect();
        self.put_devices(new.iter().map(NewDevice::stored).collect(), now).await?;
        Ok(new)
    }

    pub(super) async fn put_qr_pictures(&self, key: &DeviceKey) -> Result<(), DomainError> {
        let text = key.as_str().to_owned();
        let drawn = self.disk_workers.run(move || [qr::jpeg(&text), qr::png(&text)]).await?;
        for (name, picture) in qr_names(key)?.iter().zip(drawn) {
            let picture = Bytes::from(picture.map_err(DomainError::internal)?);
            self.files.put(FileKind::Qr, name, picture).await.map_err(DomainError::internal)?;
        }
        Ok(())
    }

    pub(super) async fn delete_qr_pictures(&self, key: &DeviceKey) -> Result<(), DomainError> {
        for name in qr_names(key)? {
            self.files.delete_if_there(FileKind::Qr, &name).await.map_err(DomainError::internal)?;
        }
        Ok(())
    }

    /// Removes a device that is not bound, and its QR pictures, for example when its secret could not be printed.
    /// Errors: `UnknownDevice`, also for a bound device.
    pub async fn remove_device(&self, key: &DeviceKey) -> Result<(), DomainError> {
        if !self.store.remove_device(key).await? {
            return Err(DomainError::UnknownDevice);
        }
        self.delete_qr_pictures(key).await
    }

    /// The equipment library, oldest first, at most `limit`.
    pub async fn devices(&self, limit: usize) -> Result<Vec<Device>, DomainError> {
        Ok(self.store.devices(limit).await?)
    }

    /// The key of a device that can be bound. Errors: `UnknownDevice`, `DeviceBound`, `RateLimited`.
    pub async fn scan(&self, device: DeviceName, from: impl Into<Origin>) -> Result<DeviceKey, DomainError> {
        let key = self.named_device(device, from.into())?;
        match self.store.device(&key).await? {
            Some((Device { toy: Some(toy), .. }, _)) => Err(DomainError::DeviceBound(toy)),
            None if !self.is_waiting(&key) => Err(DomainError::UnknownDevice),
            _ => Ok(key),
        }
    }

    /// Binds a device as the user's toy. Errors: `NotFromHere`, `UnknownInvite`, `UnknownDevice`, `DeviceBound`,
    /// `Invalid`, `Full`, `RateLimited`, `DiskFull`.
    pub async fn bind_toy(&self, wish: Binding, from: impl Into<Origin>, now: Timestamp) -> Result<ToyId, DomainError> {
        let from = from.into();
        self.check_allowed_from(self.config.auth.binding, from, wish.invite.is_some(), "binding a toy")?;
        self.check_room(0)?;
        let invite_hash = match &wish.invite {
            Some(code) => Some(self.invitation(code, from, now).await?.hash),
            None => None,
        };
        let toy_name = self.checked_text("toy_name", wish.toy_name)?;
        let baby_name = self.checked_text("baby_name", wish.baby_name)?;
        let remark = self.checked_text("remark", wish.remark)?;
        let agreed = self.agreed(wish.consent.as_deref())?;
        let device_key = self.named_device(wish.device, from)?;
        let user = self.store.user(&wish.user).await?.ok_or(DomainError::UnknownParty)?.user;
        let toy = Toy {
            id: ToyId::random(),
            device_key,
            bind_user: wish.user,
            toy_name: toy_name.clone(),
            baby_name: baby_name.clone(),
            gender: user.gender,
            avatar: super::content::avatar("toy.jpg")?,
        };
        let (id, owner) = (toy.id.clone(), toy.bind_user.clone());
        let entry_of_user =
            NewEntry { kind: PartyKind::Toy, nickname: baby_name, remark: toy_name, avatar: toy.avatar.clone() };
        let entry_of_toy = NewEntry { kind: PartyKind::App, nickname: user.nickname, remark, avatar: user.avatar };
        let let_in_until = self.let_in_until(now);
        let new = NewToy {
            toy,
            chat: ChatId::random(),
            entry_of_user,
            entry_of_toy,
            let_in_until,
            invite_hash,
            consent: agreed.version.clone(),
        };
        let device_key = new.toy.device_key.clone();
        self.adopt_device(&device_key, now).await?;
        self.store.keep_consent_text(&agreed).await?;
        self.store.bind_toy(new, self.config.accounts.friends_max, now).await?;
        self.activate_device(&device_key, &id).await?;
        self.note(&Party::Toy(id.clone()), Action::Bound, Some(&Party::User(owner)), None, now).await;
        Ok(id)
    }

    /// A user's toys with their address books.
    pub async fn toys(&self, owner: &UserId) -> Result<Vec<(Toy, Vec<Friend>)>, DomainError> {
        let book = self.store.friends(&owner.clone().into()).await?;
        let toys = self.toys_in(owner, &book).await?;
        // At once, as such reads share a query.
        let books = toys.iter().map(|toy| async { self.store.friends(&toy.id.clone().into()).await });
        let books = future::try_join_all(books).await?;
        Ok(toys.into_iter().zip(books).collect())
    }

    /// The toys of a user with this address book. A guardian is a friend of the toy, and neither can end that.
    pub(super) async fn toys_in(&self, user: &UserId, book: &[Friend]) -> Result<Vec<Toy>, DomainError> {
        let toys = book.iter().filter_map(|friend| match &friend.party {
            Party::Toy(toy) => Some(toy.clone()),
            Party::User(_) => None,
        });
        Ok(self.store.toys_among(user, toys.collect()).await?)
    }

    /// A toy with its address book. Errors: `UnknownParty`.
    pub async fn toy_profile(&self, id: &ToyId) -> Result<(Toy, Vec<Friend>), DomainError> {
        let toy = self.store.toy(id).await?.ok_or(DomainError::UnknownParty)?;
        let friends = self.store.friends(&id.clone().into()).await?;
        Ok((toy, friends))
    }

    /// The opening of a toy that has logged in on its connection. It needs no token. Errors: `UnknownParty`.
    pub async fn open_own(&self, id: &ToyId) -> Result<Opened, DomainError> {
        let toy = self.store.toy(id).await?.ok_or(DomainError::UnknownParty)?;
        Ok(Opened::Bound { toy, token: None })
    }

    /// The opening of a toy. `proof` is its device's secret, for which it gets a new token, or a token.
    ///
    /// The device key alone is printed in the QR code and is no proof: with it, the toy may open where `[auth] mode`
    /// permits.
    pub async fn open_toy(
        &self,
        key: &DeviceKey,
        proof: Option<&Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<Opened, DomainError> {
        let from = from.into();
        let Some((device, secret_hash)) = self.store.device(key).await? else {
            return Ok(self.refused_opening(Opened::Unknown, from));
        };
        let toy = match device.toy {
            Some(id) => self.store.toy(&id).await?,
            None => None,
        };
        // A toy whose row is lost gets a sound to play all the same.
        let Some(toy) = toy else { return Ok(self.refused_opening(Opened::Unbound, from)) };
        let party = Party::Toy(toy.id.clone());
        let login = match proof {
            Some(proof) => self.proven(&party, &secret_hash, &hash_of(proof), now).await?,
            None => None,
        };
        if let Some(login) = login {
            // A token is not exchanged for a new one: otherwise it would never expire.
            let has_secret = login.expires_at == Timestamp::INFINITY;
            self.note_secret(&party, login.expires_at, from, now).await?;
            let token = if has_secret { Some(self.issue_token(&party, now).await?) } else { None };
            return Ok(Opened::Bound { toy, token });
        }
        let may_open = match self.config.auth.mode {
            AuthMode::Open => true,
            AuthMode::Token => false,
            AuthMode::Place => self.may_open(&toy, from, now).await?,
        };
        if !may_open && self.config.auth.mode == AuthMode::Place {
            self.report_refused_opening(&toy.id, from).await;
        }
        Ok(if may_open { Opened::Bound { toy, token: None } } else { self.refused_opening(Opened::NotLetIn, from) })
    }

    /// Counts an opening by a device key that was not successful. After too many from one address, the answer no longer
    /// states whether the device is bound: a stranger must not learn at once that it can be opened.
    fn refused_opening(&self, opened: Opened, from: Origin) -> Opened {
        let (address, rate) = (from.peer.into(), &self.rates.refused_openings_of_address);
        rate.note(&address);
        if rate.check(&address).is_ok() { opened } else { Opened::NotLetIn }
    }
}
