//! Ids: hexadecimal texts of a fixed length, one type for each kind.

use std::fmt;
use std::str::FromStr;

use super::Malformed;
use super::secret::random_hex;

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A newtype over lower-case hexadecimal text of a fixed length. The text is in the value: each connection has several
/// ids, and small allocations would double their memory.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $digits:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(super) [u8; $digits]);

        impl $name {
            /// A new value from the system's secure random source.
            pub fn random() -> Self {
                let mut digits = [b'0'; $digits];
                digits.copy_from_slice(random_hex($digits / 2).as_bytes());
                Self(digits)
            }

            /// The hexadecimal digits.
            pub fn as_str(&self) -> &str {
                // Only digits are ever stored.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                match text.as_bytes().try_into() {
                    Ok(digits) if is_lower_hex(text) => Ok(Self(digits)),
                    Ok(_) | Err(_) => Err(Malformed($expected)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }
    };
}

hex_id!(
    /// The identity of a hub's data: 24 lower-case hexadecimal digits.
    HubId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// An app user: 24 lower-case hexadecimal digits (96 random bits).
    UserId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A toy, created when its device is bound: 24 hexadecimal digits.
    ToyId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A chat window between two parties: 24 hexadecimal digits.
    ChatId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A friend request: 24 hexadecimal digits.
    RequestId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A piece of content, such as a song: 24 hexadecimal digits.
    ContentId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// One accepted voice message: 24 hexadecimal digits. Receivers drop duplicates by it.
    MessageId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A reminder of a toy: 24 hexadecimal digits.
    ReminderId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// An id from a client whose kind is not known yet: a user's or a toy's.
    PartyId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// The key of a device, which its QR picture contains: 32 hexadecimal digits.
    DeviceKey, 32, "a device key has 32 lower-case hexadecimal digits"
);

impl ToyId {
    /// Twenty-four zeros: an id that is never assigned, as the random source does not return it in practice.
    const NOBODY: [u8; 24] = [b'0'; 24];

    /// The id of no toy.
    pub fn nobody() -> Self {
        Self(Self::NOBODY)
    }

    /// Whether this is the id of no toy.
    #[inline]
    pub fn is_nobody(&self) -> bool {
        self.0 == Self::NOBODY
    }
}

impl DeviceKey {
    /// Parses a key from a client: scanners and keyboards may send capital letters or blanks.
    pub fn parse_lenient(text: &str) -> Result<Self, Malformed> {
        text.trim().to_ascii_lowercase().parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_24_lower_case_hex_digits() {
        assert!("5c8f582f268d7942f44c6703".parse::<UserId>().is_ok());
        for bad in ["", "5c8f", "5C8F582F268D7942F44C6703", "5c8f582f268d7942f44c670g", "../../../../etc/passwd/x"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
        assert_ne!(UserId::random(), UserId::random());
        assert!(ToyId::random().as_str().parse::<ToyId>().is_ok());
    }
}
