//! Devices that exist already and move in, with the keys that are written in them and printed on their QR codes.
//!
//! A file of devices is imported completely or not at all: every fault is reported with its line, and nothing is
//! changed.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::accounts::hash_of;
use super::error::DomainError;
use super::toys::{NewDevice, qr_names};
use super::{FileKind, Hub};
use crate::model::{DeviceKey, Secret, Timestamp};
use crate::ports::store::StoredDevice;

/// More devices than a hub has.
const DEVICES_MAX: usize = 10_000_000;
/// Devices whose pictures are stored at once.
const PICTURES_AT_ONCE: usize = 16;
/// The least length of a secret that comes with a device. The hub's own secrets have 64 characters.
const SECRET_MIN_CHARS: usize = 16;
/// The greatest length, in bytes.
const SECRET_MAX_BYTES: usize = 256;
/// The number of different characters that a secret has at least.
const SECRET_DIFFERENT_MIN: usize = 6;

/// A device of a file, as its line names it.
#[derive(Debug)]
pub struct MovingDevice {
    /// The number of the line.
    pub line: u64,
    /// The key.
    pub key: String,
    /// The secret; empty for a device that has none.
    pub secret: Secret,
    /// What the operator calls the device; may be empty.
    pub name: String,
}

/// A fault of a line. It does not repeat the text, which may be a secret in the wrong column.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadLine {
    /// The number of the line.
    pub line: u64,
    /// The fault.
    pub fault: String,
}

impl BadLine {
    fn new(line: u64, fault: impl Into<String>) -> Self {
        Self { line, fault: fault.into() }
    }
}

impl Hub {
    /// Adds a device with a key of its own, and its QR pictures. Errors: `Invalid` for a key that is taken, `DiskFull`.
    pub async fn add_device_of(&self, key: DeviceKey, now: Timestamp) -> Result<NewDevice, DomainError> {
        if let Some(fault) = self.fault_of_key(&key, &self.known_keys().await?) {
            return Err(DomainError::invalid("--key", fault));
        }
        let secret = Secret::random();
        let device = NewDevice { key, secret };
        self.put_devices(vec![device.stored()], now).await?;
        Ok(device)
    }

    /// Adds all devices of a file, or none if a line has a fault. Errors: `DiskFull`.
    ///
    /// A device without a secret can open by its key, as `[auth] mode` permits, until it is given one.
    pub async fn import_devices(
        &self,
        devices: Vec<MovingDevice>,
        now: Timestamp,
    ) -> Result<Result<usize, Vec<BadLine>>, DomainError> {
        let known = self.known_keys().await?;
        let (mut bad, mut sound, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
        for device in devices {
            let line = device.line;
            match self.checked_device(device, &known) {
                Err(fault) => bad.push(BadLine::new(line, fault)),
                Ok(device) => match lines.insert(device.key.clone(), line) {
                    Some(first) => {
                        lines.insert(device.key, first);
                        bad.push(BadLine::new(line, format!("line {first} has the same device key")));
                    }
                    None => sound.push(device),
                },
            }
        }
        if !bad.is_empty() {
            return Ok(Err(bad));
        }
        let count = sound.len();
        self.put_devices(sound, now).await?;
        Ok(Ok(count))
    }

    fn checked_device(&self, device: MovingDevice, known: &HashSet<DeviceKey>) -> Result<StoredDevice, String> {
        let MovingDevice { key, secret, name, .. } = device;
        let key = DeviceKey::parse_lenient(&key).map_err(|_| "the device key does not have 32 hexadecimal digits")?;
        if let Some(fault) = self.fault_of_key(&key, known) {
            return Err(fault.to_owned());
        }
        let secret = if secret.reveal().is_empty() { Secret::random() } else { checked_secret(secret, &key)? };
        let name = self.checked_optional_text("name", name).map_err(|error| match error {
            DomainError::Invalid { expected, .. } => format!("the name {expected}"),
            error => error.to_string(),
        })?;
        Ok(StoredDevice { key, secret_hash: hash_of(&secret), name: Some(name).filter(|name| !name.is_empty()) })
    }

    fn fault_of_key(&self, key: &DeviceKey, known: &HashSet<DeviceKey>) -> Option<&'static str> {
        if known.contains(key) {
            return Some("the hub has a device with this key already");
        }
        // A restored backup would remove it again.
        self.is_device_erased(key).then_some("the device with this key was erased; add it with a new key")
    }

    async fn known_keys(&self) -> Result<HashSet<DeviceKey>, DomainError> {
        Ok(self.store.devices(DEVICES_MAX).await?.into_iter().map(|device| device.key).collect())
    }

    /// Stores the pictures, and then the devices in one transaction. Their keys are new.
    pub(super) async fn put_devices(&self, devices: Vec<StoredDevice>, now: Timestamp) -> Result<(), DomainError> {
        self.check_room(0)?;
        let keys: Vec<DeviceKey> = devices.iter().map(|device| device.key.clone()).collect();
        let pictures = keys.iter().map(qr_names).collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let pictures = pictures.map(|name| (FileKind::Qr, name)).collect();
        let note = self.files.begin(DeviceKey::random().as_str(), pictures).await.map_err(DomainError::internal)?;
        let putting = async {
            // Several at once share the syncs of the file system.
            let put = stream::iter(keys.clone()).map(|key| async move { self.put_qr_pictures(&key).await });
            put.buffer_unordered(PICTURES_AT_ONCE).try_collect::<()>().await?;
            self.store.add_devices(&devices, now).await.map_err(DomainError::from)
        };
        let outcome = putting.await;
        if outcome.is_err() {
            // Another command may have added one of them meanwhile, whose pictures are the same.
            let known = self.known_keys().await?;
            for key in keys.iter().filter(|key| !known.contains(*key)) {
                self.delete_qr_pictures(key).await?;
            }
        }
        self.files.finish(note).await.map_err(DomainError::internal)?;
        outcome
    }
}

/// A secret that cannot be guessed easily; or its fault.
fn checked_secret(secret: Secret, key: &DeviceKey) -> Result<Secret, &'static str> {
    let text = secret.reveal();
    let different: HashSet<char> = text.chars().collect();
    if text.chars().any(char::is_control) {
        return Err("the secret has control characters");
    }
    if text.len() > SECRET_MAX_BYTES {
        return Err("the secret has more than 256 bytes");
    }
    if text.chars().count() < SECRET_MIN_CHARS || different.len() < SECRET_DIFFERENT_MIN {
        return Err("the secret is weak: it needs 16 characters, of which 6 are different");
    }
    if text.to_lowercase().contains(key.as_str()) {
        return Err("the secret is weak: it is the device key, which is printed on the QR code");
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_must_not_be_easy_to_guess() {
        let key = "bc557bcc9570069a494a64eb38698d35".parse().unwrap();
        let fault = |text: &str| checked_secret(Secret::new(text), &key).err();
        for good in ["0123456789abcdef", "correct horse battery", Secret::random().reveal(), "ÄÖÜäöüß-ÄÖÜäöüß-"]
        {
            assert_eq!(fault(good), None, "{good}");
        }
        for (bad, expected) in [
            ("0123456789abcde", "weak"),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", "weak"),
            ("abababababababababababab", "weak"),
            (key.as_str(), "printed on the QR code"),
            ("BC557BCC9570069A494A64EB38698D35", "printed on the QR code"),
            ("0123456789\tabcdef", "control"),
            (&"0123456789".repeat(30), "more than 256"),
        ] {
            assert!(fault(bad).is_some_and(|fault| fault.contains(expected)), "{bad}");
        }
    }
}
