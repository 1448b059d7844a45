//! The decoders of recordings, without the child process.

use std::ops::Range;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;

use crate::ports::audio::{DecodeLimits, Sound, decode_bytes, extension_of};

/// The longest recording, in seconds: short, so that an input takes little time.
const MAX_SECONDS: u32 = 1;

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
    match format {
        "ogg" => correct_checksums(&mut bytes),
        "amr" => bytes.truncate(end_of_frames(&bytes)),
        _ => {}
    }
    decode(bytes.into());
}

fn decode(bytes: Bytes) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(on_panic)));
    let _ = extension_of(&bytes);
    let limits = DecodeLimits { max_seconds: MAX_SECONDS, cpu_max: Duration::from_secs(1), ffmpeg: None };
    if let Ok(Sound { rate_hz, samples }) = decode_bytes(bytes, &limits) {
        assert!((4_000..=192_000).contains(&rate_hz), "{rate_hz}");
        assert!(!samples.is_empty() && samples.len() as u64 <= u64::from(MAX_SECONDS) * u64::from(rate_hz));
        assert!(samples.iter().all(|sample| sample.abs() <= 1.0));
    }
}

/// The decoders of other crates may panic, and the hub catches that. A panic of the hub's own files, which it would catch
/// too, ends the fuzzer: their paths are relative to this package.
fn on_panic(info: &PanicHookInfo<'_>) {
    if info.location().is_none_or(|place| Path::new(place.file()).is_relative()) {
        eprintln!("{info}");
        process::abort();
    }
}

/// Where the first frames of AMR end. Each takes the time of a whole container of another format, and a byte is enough for
/// one without data.
fn end_of_frames(bytes: &[u8]) -> usize {
    const FRAMES: usize = 6;
    /// The bytes of a frame of each type, with its header (RFC 4867 section 5.3).
    const LENGTHS: [usize; 16] = [13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1];
    (0..FRAMES)
        .fold(b"#!AMR\n".len(), |at, _| at + bytes.get(at).map_or(0, |head| LENGTHS[usize::from(head >> 3 & 0xf)]))
}

/// Each page of Ogg has a checksum, which a stranger calculates and a fuzzer does not guess: without it nothing behind
/// the pages would be read. Corrects those of all pages that are whole.
fn correct_checksums(bytes: &mut [u8]) {
    const HEAD: usize = 27;
    const CHECKSUM: Range<usize> = 22..26;
    let mut rest = bytes;
    while let Some(begin) = rest.windows(4).position(|four| four == b"OggS") {
        rest = &mut rest[begin..];
        let Some((head, behind)) = rest.split_first_chunk::<HEAD>() else { return };
        let segments = usize::from(head[HEAD - 1]);
        let body = behind.iter().take(segments).copied().map(usize::from).sum::<usize>();
        let len = HEAD + segments + body;
        let is_whole = len <= rest.len();
        let (page, behind) = rest.split_at_mut(if is_whole { len } else { 4 });
        if is_whole {
            page[CHECKSUM].fill(0);
            let next = |sum: u32, byte: &u8| sum << 8 ^ REMAINDERS[usize::from((sum >> 24) as u8 ^ byte)];
            let sum = page.iter().fold(0, next);
            page[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        }
        rest = behind;
    }
}

/// The remainders of all bytes (RFC 3533 §6: the polynomial 0x04c11db7, the highest bit first).
const REMAINDERS: [u32; 256] = {
    let mut remainders = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = ((byte as u32) << 24, 0);
        while bit < 8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
            bit += 1;
        }
        remainders[byte] = sum;
        byte += 1;
    }
    remainders
};
