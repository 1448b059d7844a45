//! Devices with stock firmware, which nobody has added to the equipment library: a user binds one by the six digits that
//! it shows.
//!
//! The device key is derived from the hub's secret and both ids of the device, and the secret from those and the toy that
//! it became. So nothing is stored until one is bound; a device that names the network address of another one, but not its
//! random id, is another device; and a secret is void once the toy is unbound.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::accounts::hash_of;
use super::error::DomainError;
use super::{Hub, Origin};
use crate::config::{self, seconds};
use crate::model::{ActivationCode, DeviceKey, DeviceName, Network, Secret, StockIdentity, Timestamp, ToyId};
use crate::ports::store::StoredDevice;

/// What the operator reads in the list of devices.
const NAME: &str = "xiaozhi";
/// How often one device can be erased and bound again.
const LIVES_MAX: u32 = 64;

/// The devices that wait for a user.
pub(super) struct Activations {
    waiting: Mutex<HashMap<ActivationCode, Waiting>>,
    ttl: Duration,
    max: usize,
    per_address_max: usize,
}

struct Waiting {
    key: DeviceKey,
    device: StockIdentity,
    from: Network,
    /// By the monotonic clock.
    until: Duration,
}

/// The state of a device that has started.
#[derive(Debug)]
pub enum CheckIn {
    /// It is a toy, and this is how it logs in.
    Bound {
        /// The toy.
        toy: ToyId,
        /// The secret of its device.
        secret: Secret,
    },
    /// A user has to enter this code.
    Waiting(ActivationCode),
}

impl Activations {
    pub(super) fn new(config: &config::Xiaozhi) -> Self {
        Self {
            waiting: Mutex::default(),
            ttl: seconds(config.activation_ttl_s),
            max: config.activations_max,
            per_address_max: config.activations_per_address_max,
        }
    }

    /// The devices that wait at this time.
    fn waiting(&self, now: Duration) -> MutexGuard<'_, HashMap<ActivationCode, Waiting>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, device| device.until > now);
        waiting
    }

    /// The code of a device, which it keeps as long as it asks. Errors: `Full`, `RateLimited`.
    fn code(
        &self,
        key: &DeviceKey,
        device: &StockIdentity,
        from: Network,
        now: Duration,
    ) -> Result<ActivationCode, DomainError> {
        let mut waiting = self.waiting(now);
        if let Some((code, device)) = waiting.iter_mut().find(|(_, device)| device.key == *key) {
            device.until = now + self.ttl;
            return Ok(code.clone());
        }
        if waiting.len() >= self.max {
            return Err(DomainError::Full("device that waits for a user"));
        }
        if waiting.values().filter(|device| device.from == from).count() >= self.per_address_max {
            return Err(DomainError::RateLimited { retry_after_s: self.ttl.as_secs() });
        }
        let code = loop {
            let code = ActivationCode::random();
            if !waiting.contains_key(&code) {
                break code;
            }
        };
        let (key, device) = (key.clone(), device.clone());
        waiting.insert(code.clone(), Waiting { key, device, from, until: now + self.ttl });
        Ok(code)
    }

    fn key_of(&self, code: &ActivationCode, now: Duration) -> Option<DeviceKey> {
        self.waiting(now).get(code).map(|device| device.key.clone())
    }

    fn device_of(&self, key: &DeviceKey, now: Duration) -> Option<StockIdentity> {
        self.waiting(now).values().find(|waiting| waiting.key == *key).map(|waiting| waiting.device.clone())
    }

    fn forget(&self, key: &DeviceKey) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, device| device.key != *key);
    }
}

impl Hub {
    /// A device has started. Errors: `Full` and `RateLimited` if too many devices wait, in all or at its address.
    pub async fn check_in(&self, device: &StockIdentity, from: impl Into<Origin>) -> Result<CheckIn, DomainError> {
        let key = self.stock_key(device);
        if let Some(toy) = self.store.device(&key).await?.and_then(|(device, _)| device.toy) {
            return Ok(CheckIn::Bound { secret: self.stock_secret(device, &toy), toy });
        }
        let code = self.activations.code(&key, device, from.into().peer.into(), self.clock.now())?;
        Ok(CheckIn::Waiting(code))
    }

    /// Whether a user has bound the device.
    pub async fn is_activated(&self, device: &StockIdentity) -> Result<bool, DomainError> {
        let found = self.store.device(&self.stock_key(device)).await?;
        Ok(found.is_some_and(|(device, _)| device.toy.is_some()))
    }

    /// The device of a user's text. A wrong code counts as a failure of the address. Errors: `UnknownDevice`,
    /// `RateLimited`.
    pub(super) fn named_device(&self, name: DeviceName, from: Origin) -> Result<DeviceKey, DomainError> {
        let code = match name {
            DeviceName::Key(key) => return Ok(key),
            DeviceName::Code(code) => code,
        };
        let address = from.peer.into();
        self.rates.failed_logins_of_address.check(&address)?;
        self.activations.key_of(&code, self.clock.now()).ok_or_else(|| {
            self.rates.failed_logins_of_address.note(&address);
            DomainError::UnknownDevice
        })
    }

    /// Whether a device waits for a user to bind it.
    pub(super) fn is_waiting(&self, key: &DeviceKey) -> bool {
        self.activations.device_of(key, self.clock.now()).is_some()
    }

    /// Adds a device that waits to the equipment library, unless it is there. Nobody knows its secret yet.
    pub(super) async fn adopt_device(&self, key: &DeviceKey, now: Timestamp) -> Result<(), DomainError> {
        if !self.is_waiting(key) || self.store.device(key).await?.is_some() {
            return Ok(());
        }
        let secret_hash = hash_of(&Secret::random());
        let device = StoredDevice { key: key.clone(), secret_hash, name: Some(NAME.to_owned()) };
        Ok(self.store.add_devices(&[device], now).await?)
    }

    /// A device that waits was bound as this toy: from now on it can log in.
    pub(super) async fn activate_device(&self, key: &DeviceKey, toy: &ToyId) -> Result<(), DomainError> {
        let Some(device) = self.activations.device_of(key, self.clock.now()) else { return Ok(()) };
        self.store.renew_device(key, &hash_of(&self.stock_secret(&device, toy))).await?;
        self.activations.forget(key);
        Ok(())
    }

    /// The device key; another one after each erasure, as the key of an erased device is never used again.
    pub fn stock_key(&self, device: &StockIdentity) -> DeviceKey {
        let mut last = None;
        for life in 0..LIVES_MAX {
            let digits = &self.derived("xiaozhi key", device, &life.to_string())[..32];
            let Ok(key) = digits.parse::<DeviceKey>() else { continue };
            if !self.is_device_erased(&key) {
                return key;
            }
            last = Some(key);
        }
        // 64 digits of a hash are always a key; a device that was erased so often stays erased.
        last.unwrap_or_else(DeviceKey::random)
    }

    /// The token of a device that waits for a user, for clients that check no more once they are bound. It is valid as
    /// long as the device is bound. It proves what a check asks for: both ids of the device.
    pub fn waiting_token(&self, device: &StockIdentity) -> Secret {
        Secret::new(self.derived("xiaozhi waiting", device, ""))
    }

    /// The secret of the device, if `token` is that of its time of waiting and it is bound now; otherwise `token`.
    pub async fn secret_for(&self, device: &StockIdentity, token: Secret) -> Result<Secret, DomainError> {
        if hash_of(&token) != hash_of(&self.waiting_token(device)) {
            return Ok(token);
        }
        let found = self.store.device(&self.stock_key(device)).await?;
        let toy = found.and_then(|(device, _)| device.toy).ok_or(DomainError::WrongCredentials)?;
        Ok(self.stock_secret(device, &toy))
    }

    fn stock_secret(&self, device: &StockIdentity, toy: &ToyId) -> Secret {
        Secret::new(self.derived("xiaozhi secret", device, toy.as_str()))
    }

    /// 64 hexadecimal digits that only this hub can derive from an identity.
    fn derived(&self, purpose: &str, device: &StockIdentity, of: &str) -> String {
        let key = self.secret.reveal().as_bytes();
        // HMAC accepts keys of any length.
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
        let mac = mac.chain_update(purpose).chain_update([0]).chain_update(device.mac()).chain_update([0]);
        hex::encode(mac.chain_update(device.client()).chain_update([0]).chain_update(of).finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activations(max: usize, per_address_max: usize) -> Activations {
        let config = config::Xiaozhi {
            activations_max: max,
            activations_per_address_max: per_address_max,
            activation_ttl_s: 60,
            ..config::Xiaozhi::default()
        };
        Activations::new(&config)
    }

    fn device() -> StockIdentity {
        StockIdentity::parse("a0:b1:c2:d3:e4:f5", "7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b0c").unwrap()
    }

    fn network(last: u8) -> Network {
        std::net::IpAddr::from([192, 168, 1, last]).into()
    }

    #[test]
    fn a_device_keeps_its_code_as_long_as_it_asks() {
        let (all, device) = (activations(10, 10), device());
        let (key, other) = (DeviceKey::random(), DeviceKey::random());
        let at = Duration::from_secs;
        let code = all.code(&key, &device, network(1), at(0)).unwrap();
        assert_eq!(all.code(&key, &device, network(1), at(59)).unwrap(), code);
        assert_ne!(all.code(&other, &device, network(1), at(59)).unwrap(), code);
        assert_eq!(all.key_of(&code, at(118)), Some(key.clone()));
        assert_eq!(all.key_of(&code, at(119)), None);
        let code = all.code(&key, &device, network(1), at(200)).unwrap();
        all.forget(&key);
        assert_eq!(all.key_of(&code, at(200)), None);
    }

    #[test]
    fn a_flood_is_refused_and_swept_and_leaves_room_for_others() {
        let (all, device) = (activations(5, 3), device());
        let ask = |from: u8, now: u64| {
            all.code(&DeviceKey::random(), &device, network(from), Duration::from_secs(now)).map(drop)
        };
        assert_eq!((0..100).filter(|_| ask(1, 0).is_ok()).count(), 3);
        assert!(matches!(ask(1, 1), Err(DomainError::RateLimited { .. })));
        ask(2, 1).unwrap();
        ask(3, 1).unwrap();
        assert!(matches!(ask(4, 1), Err(DomainError::Full(_))));
        ask(4, 60).unwrap();
        assert_eq!(all.waiting(Duration::from_secs(60)).len(), 3);
    }
}
