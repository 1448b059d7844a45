//! The decoders of recordings, without the child process.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;

use crate::ports::audio::{DecodeLimits, Sound, decode_bytes, extension_of};

/// The longest recording, in seconds: short, so that an input takes little time.
const MAX_SECONDS: u32 = 2;

/// Formats that begin with fixed bytes, and where these are. They are put into the input, so that it reaches the decoder.
const MAGIC: &[(&str, &[(usize, &[u8])])] = &[
    ("wav", &[(0, b"RIFF"), (8, b"WAVE")]),
    ("flac", &[(0, b"fLaC")]),
    ("ogg", &[(0, b"OggS")]),
    ("matroska", &[(0, b"\x1a\x45\xdf\xa3")]),
    ("mp4", &[(4, b"ftyp")]),
    ("amr", &[(0, b"#!AMR\n")]),
];

/// A recording of any format that is detected in the input.
pub fn any(bytes: &[u8]) {
    decode(Bytes::copy_from_slice(bytes));
}

/// A recording of this format.
pub fn of(format: &str, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let magic = MAGIC.iter().find(|(name, _)| *name == format).map_or(&[][..], |(_, magic)| magic);
    for (at, magic) in magic {
        match bytes.get_mut(*at..at + magic.len()) {
            Some(place) => place.copy_from_slice(magic),
            None => return,
        }
    }
    decode(bytes.into());
}

fn decode(bytes: Bytes) {
    // The decoders of other crates may panic; the hub catches that. A panic of the hub itself still ends the fuzzer.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let _ = extension_of(&bytes);
    let limits = DecodeLimits { max_seconds: MAX_SECONDS, cpu_max: Duration::from_secs(1), ffmpeg: None };
    if let Ok(Sound { rate_hz, samples }) = decode_bytes(bytes, &limits) {
        assert!((4_000..=192_000).contains(&rate_hz), "{rate_hz}");
        assert!(!samples.is_empty() && samples.len() as u64 <= u64::from(MAX_SECONDS) * u64::from(rate_hz));
        assert!(samples.iter().all(|sample| sample.abs() <= 1.0));
    }
}
