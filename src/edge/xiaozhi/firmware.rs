//! The versions of the firmware, which differ in what they understand.

use std::fmt;

/// The version of a firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Firmware([u32; 3]);

impl Firmware {
    /// The first version with a port of MQTT in its answer.
    pub(super) const WITH_MQTT_PORT: Self = Self([1, 6, 2]);
    /// The first version with tools.
    pub(super) const WITH_TOOLS: Self = Self([1, 6, 6]);
    /// The first version that plays a sound by its address while it is idle.
    pub(super) const WITH_NOTIFY: Self = Self([2, 5, 0]);

    /// Up to three numbers with dots between them; none for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for (number, part) in numbers.iter_mut().zip(&mut parts) {
            // A build may have a name: 2.5.0-rc1.
            let digits = part.split('-').next()?;
            *number = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
        }
        Some(Self(numbers))
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let of = |text| Firmware::parse(text).unwrap();
        assert!(of("1.6.1") < Firmware::WITH_MQTT_PORT && of("1.10.0") > Firmware::WITH_MQTT_PORT);
        assert!(of("2.4.9") < Firmware::WITH_NOTIFY && of("2.5") >= Firmware::WITH_NOTIFY);
        assert_eq!(of("2.5.0-rc1").to_string(), "2.5.0");
        for text in ["", "v2.5.0", "2..1", "2.x", "-1", "99999999999"] {
            assert_eq!(Firmware::parse(text), None, "{text}");
        }
    }
}
