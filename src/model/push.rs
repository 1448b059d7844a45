//! Subscriptions of browsers to push messages (W3C Push API).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Malformed;

/// The maximum length of an endpoint. Those of the known push services have up to 500 bytes.
const ENDPOINT_MAX_BYTES: usize = 2048;

/// The subscription of a browser at a push service.
#[derive(Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// The address at the push service. Whoever knows it can address the browser, so it is not logged.
    pub endpoint: String,
    /// The public key of the browser: a point of the curve P-256, uncompressed.
    pub key: [u8; 65],
    /// The authentication secret of the browser.
    pub auth: [u8; 16],
}

impl PushSubscription {
    /// The subscription of these texts, as `PushSubscription.toJSON()` of a browser has them.
    pub fn parse(endpoint: &str, p256dh: &str, auth: &str) -> Result<Self, Malformed> {
        let endpoint = endpoint.trim();
        let is_web = endpoint.starts_with("https://") || endpoint.starts_with("http://");
        if !is_web || endpoint.len() > ENDPOINT_MAX_BYTES || !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Malformed("endpoint: must be a web address of at most 2048 characters"));
        }
        let key: [u8; 65] =
            bytes_of(p256dh).ok_or(Malformed("p256dh: must be 65 bytes in the Base64 alphabet for URLs"))?;
        // The first byte of an uncompressed point (SEC 1, section 2.3.3).
        if key[0] != 4 {
            return Err(Malformed("p256dh: must be an uncompressed point of P-256"));
        }
        let auth = bytes_of(auth).ok_or(Malformed("auth: must be 16 bytes in the Base64 alphabet for URLs"))?;
        Ok(Self { endpoint: endpoint.to_owned(), key, auth })
    }

    /// The key as a text.
    pub fn p256dh(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key)
    }

    /// The authentication secret as a text.
    pub fn auth(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.auth)
    }
}

// Written by hand, so that the endpoint and the secret are not shown.
impl fmt::Debug for PushSubscription {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PushSubscription(…)")
    }
}

/// The bytes of a text in the Base64 alphabet for URLs, with or without padding.
fn bytes_of<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?.try_into().ok()
}

/// A stored subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPush {
    /// The hash of the token of the login that has made it.
    pub token_hash: String,
    /// The subscription.
    pub subscription: PushSubscription,
    /// When it was made.
    pub created_at: super::Timestamp,
}

/// What a push message announces. It is all that the message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// An unread voice message.
    Message,
    /// A friend request.
    Request,
    /// A toy that wants to connect at a new address.
    Toy,
}

impl News {
    /// Its word in the push message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Request => "request",
            Self::Toy => "toy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_subscriptions_are_accepted() {
        let (key, auth) = (URL_SAFE_NO_PAD.encode([4; 65]), URL_SAFE_NO_PAD.encode([7; 16]));
        let endpoint = "https://push.example/send/1";
        let parsed = PushSubscription::parse(endpoint, &format!("{key}="), &auth).unwrap();
        assert_eq!((parsed.p256dh(), parsed.auth()), (key.clone(), auth.clone()));
        assert!(!format!("{parsed:?}").contains("push.example"));
        let compressed = URL_SAFE_NO_PAD.encode([2; 65]);
        let long = format!("https://push.example/{}", "a".repeat(ENDPOINT_MAX_BYTES));
        for (endpoint, key, auth) in [
            ("push.example", key.as_str(), auth.as_str()),
            ("file:///etc/passwd", &key, &auth),
            ("https://push.example/a b", &key, &auth),
            ("https://push.example/\r\nHost: x", &key, &auth),
            (&long, &key, &auth),
            (endpoint, &compressed, &auth),
            (endpoint, &auth, &auth),
            (endpoint, &key, &key),
            (endpoint, "", ""),
        ] {
            assert!(PushSubscription::parse(endpoint, key, auth).is_err(), "{endpoint} {key} {auth}");
        }
    }
}
