//! Links: signed addresses of sounds for players, which cannot present a token (`/get_chat/<name>?sig=…`).
//!
//! The signature contains the expiry of the link. It is an HMAC over the name and the expiry, with a key derived from
//! the hub's secret, which is in the database. So links stay valid after a restart and in a restored backup.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::{FileName, Secret, Timestamp};

/// The purpose of the derived key: the secret has other uses.
const PURPOSE: &[u8] = b"links to sounds";

/// Creates and verifies links.
pub struct Links {
    mac: Hmac<Sha256>,
    lasts_s: Timestamp,
}

impl Links {
    pub(crate) fn new(secret: &Secret, lasts_minutes: u32) -> Self {
        let key = keyed(secret.reveal().as_bytes()).chain_update(PURPOSE).finalize().into_bytes();
        Self { mac: keyed(&key), lasts_s: Timestamp::from(lasts_minutes) * 60.0 }
    }

    /// The address of a recording or spoken sound, valid for `auth.link_minutes`.
    pub fn of(&self, name: &FileName, now: Timestamp) -> String {
        let good_until = (now + self.lasts_s).ceil() as u64;
        let mac = self.signed(name, good_until).finalize().into_bytes();
        format!("/get_chat/{name}?sig={good_until}-{}", hex::encode(mac))
    }

    /// Whether the signature is valid for this name and has not expired.
    pub(super) fn opens(&self, name: &FileName, signature: &str, now: Timestamp) -> bool {
        let Some((good_until, mac)) = signature.split_once('-') else { return false };
        let (Ok(good_until), Ok(mac)) = (good_until.parse::<u64>(), hex::decode(mac)) else { return false };
        now < good_until as Timestamp && self.signed(name, good_until).verify_slice(&mac).is_ok()
    }

    fn signed(&self, name: &FileName, good_until: u64) -> Hmac<Sha256> {
        // A name cannot contain this byte.
        self.mac.clone().chain_update(name.as_str()).chain_update([0]).chain_update(good_until.to_be_bytes())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC accepts keys of any length.
        Err(_) => Hmac::new(&Default::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(secret: &str) -> Links {
        Links::new(&Secret::new(secret), 2)
    }

    #[test]
    fn a_link_opens_one_sound_for_a_while() {
        let (name, other): (FileName, FileName) = ("a.mp3".parse().unwrap(), "b.mp3".parse().unwrap());
        let link = links("secret").of(&name, 1000.5);
        let signature = link.strip_prefix("/get_chat/a.mp3?sig=").unwrap();
        let opens = |name: &FileName, signature: &str, now| links("secret").opens(name, signature, now);
        assert!(opens(&name, signature, 1000.5));
        assert!(opens(&name, signature, 1120.0));
        assert!(!opens(&name, signature, 1121.0), "it is too old");
        assert!(!opens(&other, signature, 1000.5), "another sound");
        assert!(!links("other").opens(&name, signature, 1000.5), "another hub");
        let mac = signature.split_once('-').unwrap().1;
        for forged in
            ["", "-", "9999999999", &format!("9999999999-{mac}"), &format!("1121-{}", "0".repeat(64)), "1121-"]
        {
            assert!(!opens(&name, forged, 1000.5), "{forged}");
        }
        assert!(!opens(&name, &signature[..signature.len() - 2], 1000.5), "cut");
    }
}
