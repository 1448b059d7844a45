//! Secrets, and the generation of random texts.

use std::fmt;

use rand::Rng;

pub(super) fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0u8; bytes];
    // `rand::rng` is a cryptographically secure generator seeded by the system.
    rand::rng().fill_bytes(&mut buffer);
    hex::encode(buffer)
}

/// A secret text: a password, a token, a device secret. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be logged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 256 bits from the system's secure random source, in 64 hexadecimal digits.
    pub fn random() -> Self {
        Self(random_hex(32))
    }

    /// A code that people type: 60 bits from the system's secure random source, in twelve characters that cannot be
    /// confused with others.
    pub fn invite_code() -> Self {
        const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let mut bytes = [0u8; 12];
        rand::rng().fill_bytes(&mut bytes);
        let signs = bytes.map(|byte| char::from(SIGNS[usize::from(byte % 32)]));
        Self(signs.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
