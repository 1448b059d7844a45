//! The devices of the equipment library, as the operator sees them.

use super::error::DomainError;
use super::{Hub, clock};
use crate::model::{Device, DeviceKey, Party, Timestamp};
use crate::ports::qr::{self, Outline};

/// The maximum number of devices that are looked at.
const LIST_MAX: usize = 100_000;

/// A device with the state of its toy.
#[derive(Debug)]
pub struct DeviceState {
    /// The device.
    pub device: Device,
    /// Whether its toy is connected.
    pub is_online: bool,
    /// When its toy was last active, with a precision of an hour; none of one that was not active yet.
    pub seen_at: Option<Timestamp>,
}

impl Hub {
    /// The devices whose key, toy or name contains `text`, oldest first, at most `limit`; and the number of all of
    /// these. It looks at all devices.
    pub async fn device_states(
        &self,
        text: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<DeviceState>, usize), DomainError> {
        let text = text.to_lowercase();
        let is_found = |device: &Device| {
            device.key.as_str().contains(&text)
                || device.toy.as_ref().is_some_and(|toy| toy.as_str().contains(&text))
                || device.name.as_ref().is_some_and(|name| name.to_lowercase().contains(&text))
        };
        let mut found = self.devices(LIST_MAX).await?;
        found.retain(is_found);
        let count = found.len();
        found.truncate(limit);
        let (mut states, age) = (Vec::with_capacity(found.len()), clock::age_of(now));
        for device in found {
            let (mut is_online, mut seen_at) = (false, None);
            if let Some(toy) = &device.toy {
                let party = Party::Toy(toy.clone());
                is_online = self.router.online(&party);
                let places = self.store.places(&party).await?;
                let last = places.iter().map(|place| place.seen_at).max_by(f64::total_cmp);
                // It is a time for ages.
                seen_at = last.map(|last| now - (age - last));
            }
            states.push(DeviceState { device, is_online, seen_at });
        }
        Ok((states, count))
    }

    /// The QR code of a device, to be printed. Errors: `UnknownDevice`.
    pub async fn qr_outline(&self, key: &DeviceKey) -> Result<Outline, DomainError> {
        self.store.device(key).await?.ok_or(DomainError::UnknownDevice)?;
        qr::outline(key.as_str()).map_err(DomainError::internal)
    }
}
