//! The identification of this hub at push services (VAPID, RFC 8292).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Serialize;

use crate::model::{Secret, Timestamp};

/// Seconds for which a signature is valid. RFC 8292, section 2, permits 24 hours.
const VALID_S: f64 = 12.0 * 3600.0;

/// Why a key cannot be used. It contains no part of the key.
#[derive(Debug, thiserror::Error)]
#[error("the key for push services is not valid")]
pub struct VapidError;

/// The key of this hub: ECDSA on the curve P-256.
pub struct VapidKey {
    pair: EcdsaKeyPair,
    public: String,
}

#[derive(Serialize)]
struct Header {
    typ: &'static str,
    alg: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub: &'a str,
}

impl VapidKey {
    /// A new private key, as [`Self::parse`] takes it.
    pub fn generate() -> Result<Secret, VapidError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(Secret::new(STANDARD.encode(document.map_err(|_| VapidError)?)))
    }

    /// The key of a text: PKCS #8 in Base64.
    pub fn parse(text: &Secret) -> Result<Self, VapidError> {
        let document = STANDARD.decode(text.reveal()).map_err(|_| VapidError)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new());
        let pair = pair.map_err(|_| VapidError)?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        Ok(Self { pair, public })
    }

    /// The public key, in the Base64 alphabet for URLs.
    pub(super) fn public(&self) -> &str {
        &self.public
    }

    /// The value of `Authorization` for a push service (RFC 8292, section 3).
    pub(super) fn authorization(&self, origin: &str, contact: &str, now: Timestamp) -> Result<String, Unspecified> {
        let claims = Claims { aud: origin, exp: (now + VALID_S) as u64, sub: contact };
        let signed = format!("{}.{}", part(&Header { typ: "JWT", alg: "ES256" })?, part(&claims)?);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("vapid t={signed}.{}, k={}", URL_SAFE_NO_PAD.encode(signature), self.public))
    }
}

/// A part of a JSON Web Token (RFC 7515).
fn part(value: &impl Serialize) -> Result<String, Unspecified> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).map_err(|_| Unspecified)?))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_stored_key_signs_for_one_service_and_one_half_day() {
        let key = VapidKey::parse(&VapidKey::generate().unwrap()).unwrap();
        let value = key.authorization("https://push.example", "mailto:me@example.org", 1000.0).unwrap();
        let (token, public) = value.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let [public, signature] = [public, signature].map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(signed.as_bytes(), &signature).unwrap();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
        assert_eq!(claims, r#"{"aud":"https://push.example","exp":44200,"sub":"mailto:me@example.org"}"#);
        for wrong in ["", "AAAA", "no base64"] {
            assert!(VapidKey::parse(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
