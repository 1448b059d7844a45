//! Names of files: of those that the hub stores, and of recordings in chunks.

use std::fmt;
use std::str::FromStr;

use super::Malformed;
use super::secret::random_hex;

/// The name of a stored file: 1–120 letters, digits, `-`, `_` and `.`, not starting with a dot.
///
/// Such a name cannot leave its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<str>);

impl FileName {
    /// A new name that cannot be guessed: 128 random bits and the `extension`, given without a dot.
    pub fn random(extension: &str) -> Self {
        Self(format!("{}.{extension}", random_hex(16)).into())
    }

    /// The name, with its extension.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text after the last dot, or an empty text.
    pub fn extension(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// The same name with another extension, given without a dot.
    pub fn with_extension(&self, extension: &str) -> Self {
        let stem = self.0.rsplit_once('.').map_or(&*self.0, |(stem, _)| stem);
        Self(format!("{stem}.{extension}").into())
    }
}

impl FromStr for FileName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if (1..=120).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("a file name has 1 to 120 letters, digits, '-', '_' and '.', and no leading dot"))
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that a sender gives to a recording in chunks: 1–32 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadName(Box<str>);

impl UploadName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("an upload's name has 1 to 32 letters, digits, '-' and '_'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_cannot_leave_their_folder() {
        for good in ["Success.mp3", "1552898221960.amr.mp3", "ba7462dd-62a5-460c-bfab-bb64edd7c983.wav"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ü.mp3", "a\0b", "%2e%2e"] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }
}
