//! Devices with stock firmware of the xiaozhi project, as they name themselves.

use std::fmt;
use std::str::FromStr;

use super::Malformed;
use super::ids::DeviceKey;

/// The identity of such a device: its network address, which is printed on the box, and the random id (UUID) that its
/// firmware has made at its first start, which nobody else knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StockIdentity {
    mac: Box<str>,
    client: Box<str>,
}

impl StockIdentity {
    /// From the headers `Device-Id` and `Client-Id`. Errors: an address without six pairs of digits, an id that is no
    /// UUID.
    pub fn parse(device_id: &str, client_id: &str) -> Result<Self, Malformed> {
        let (mac, client) = (device_id.trim().to_ascii_lowercase(), client_id.trim().to_ascii_lowercase());
        if !is_grouped(&mac, ':', &[2; 6]) {
            return Err(Malformed("Device-Id must be a network address, as a0:b1:c2:d3:e4:f5"));
        }
        // A short id could be guessed.
        if !is_grouped(&client, '-', &[8, 4, 4, 4, 12]) {
            return Err(Malformed("Client-Id must be a UUID"));
        }
        Ok(Self { mac: mac.into(), client: client.into() })
    }

    /// The network address: six pairs of lower-case hexadecimal digits with colons.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// The id of the firmware: a UUID in lower case.
    pub fn client(&self) -> &str {
        &self.client
    }
}

// Written by hand: the id is what the device proves itself with.
impl fmt::Debug for StockIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StockIdentity(…)")
    }
}

/// Whether a text has groups of so many hexadecimal digits.
fn is_grouped(text: &str, between: char, groups: &[usize]) -> bool {
    let mut parts = text.split(between);
    let are_digits = groups.iter().all(|digits| {
        parts.next().is_some_and(|part| part.len() == *digits && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    are_digits && parts.next().is_none()
}

/// The code that a device shows until a user binds it: six digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ActivationCode(Box<str>);

impl ActivationCode {
    /// A random code.
    pub fn random() -> Self {
        Self(format!("{:06}", rand::random_range(0..1_000_000)).into())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Written by hand: whoever knows the code can bind the device.
impl fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationCode(…)")
    }
}

impl FromStr for ActivationCode {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_code = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_code { Ok(Self(text.into())) } else { Err(Malformed("an activation code has six digits")) }
    }
}

/// What a user enters to bind a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// The text of its QR picture.
    Key(DeviceKey),
    /// The code that it shows.
    Code(ActivationCode),
}

impl From<DeviceKey> for DeviceName {
    fn from(key: DeviceKey) -> Self {
        Self::Key(key)
    }
}

impl DeviceName {
    /// Parses a text from a client: scanners and keyboards may send capital letters, and blanks around or within it.
    pub fn parse_lenient(text: &str) -> Result<Self, Malformed> {
        let plain: String = text.split_whitespace().collect();
        match plain.parse() {
            Ok(code) => Ok(Self::Code(code)),
            Err(_) => DeviceKey::parse_lenient(text).map(Self::Key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "a0:b1:c2:d3:e4:f5";
    const UUID: &str = "7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b0c";

    #[test]
    fn an_identity_is_a_network_address_and_a_uuid() {
        let identity = StockIdentity::parse(&MAC.to_uppercase(), &format!(" {} ", UUID.to_uppercase())).unwrap();
        assert_eq!((identity.mac(), identity.client()), (MAC, UUID));
        for (mac, client) in [
            ("", UUID),
            ("a0:b1:c2:d3:e4", UUID),
            ("a0:b1:c2:d3:e4:f5:06", UUID),
            ("a0-b1-c2-d3-e4-f5", UUID),
            ("a0:b1:c2:d3:e4:fg", UUID),
            (MAC, ""),
            (MAC, "web_test_client"),
            (MAC, "7b8a4c3e0f1d4e2a9b6c5d4e3f2a1b0c"),
            (MAC, &format!("{UUID}-")),
        ] {
            assert!(StockIdentity::parse(mac, client).is_err(), "{mac} {client}");
        }
        assert!(!format!("{identity:?}").contains("7b8a"));
    }

    #[test]
    fn a_device_is_named_by_its_key_or_its_code() {
        let key = "bc557bcc9570069a494a64eb38698d35";
        assert_eq!(
            DeviceName::parse_lenient(&format!(" {} ", key.to_uppercase())),
            Ok(DeviceName::Key(key.parse().unwrap()))
        );
        for code in ["012345", " 012 345 "] {
            assert_eq!(DeviceName::parse_lenient(code), Ok(DeviceName::Code("012345".parse().unwrap())));
        }
        for wrong in ["", "12345", "1234567", "12345a", "no such key"] {
            assert!(DeviceName::parse_lenient(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ActivationCode::random().as_str().len(), 6);
    }
}
