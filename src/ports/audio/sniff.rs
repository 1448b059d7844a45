//! Detection of the format of a recording by its first bytes.

use std::io::{self, Read, Seek, SeekFrom};

/// A recognised sound format, whether or not it can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Wav,
    Flac,
    Ogg,
    Matroska,
    Mp4,
    Mp3,
    Adts,
    AmrNarrow,
    AmrWide,
    AmrManyChannels,
}

/// A recognised format and where it begins in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) offset: u64,
}

/// A file may have several tags; more than this number is an attack.
const MAX_ID3_TAGS: usize = 4;

/// Detects the format of the source and rewinds it. `None`: not a known sound format.
pub(super) fn recognise<S: Read + Seek>(source: &mut S) -> io::Result<Option<Found>> {
    let mut offset = 0;
    let mut kind = None;
    for _ in 0..=MAX_ID3_TAGS {
        let head = read_at(source, offset)?;
        match id3_len(&head) {
            Some(len) => offset += len,
            None => {
                kind = match kind_of(&head) {
                    // Two bytes are weak evidence: the next frame must follow.
                    Some(Kind::Mp3) if !mp3_goes_on(source, offset, &head)? => None,
                    kind => kind,
                };
                break;
            }
        }
    }
    source.rewind()?;
    Ok(kind.map(|kind| Found { kind, offset }))
}

/// Up to twelve bytes at `offset`, padded with zeros.
fn read_at<S: Read + Seek>(source: &mut S, offset: u64) -> io::Result<[u8; 12]> {
    source.seek(SeekFrom::Start(offset))?;
    let mut head = Vec::with_capacity(12);
    source.by_ref().take(12).read_to_end(&mut head)?;
    head.resize(12, 0);
    Ok(std::array::from_fn(|index| head[index]))
}

fn kind_of(head: &[u8; 12]) -> Option<Kind> {
    match head {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'] => Some(Kind::Wav),
        [b'f', b'L', b'a', b'C', ..] => Some(Kind::Flac),
        [b'O', b'g', b'g', b'S', ..] => Some(Kind::Ogg),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Kind::Matroska),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Kind::Mp4),
        _ if head.starts_with(b"#!AMR\n") => Some(Kind::AmrNarrow),
        _ if head.starts_with(b"#!AMR-WB\n") => Some(Kind::AmrWide),
        _ if head.starts_with(b"#!AMR_MC") || head.starts_with(b"#!AMR-WB_MC") => Some(Kind::AmrManyChannels),
        // ADTS: twelve set bits, then the version, a layer of zero.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Kind::Adts),
        _ => mp3_frame_len(head).map(|_| Kind::Mp3),
    }
}

/// The total length of an ID3v2 tag.
fn id3_len(head: &[u8; 12]) -> Option<u64> {
    match head {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let body = [a, b, c, d].iter().fold(0, |len, byte| len << 7 | u64::from(**byte & 0x7f));
            let footer = if flags & 0x10 != 0 { 10 } else { 0 };
            Some(10 + body + footer)
        }
        _ => None,
    }
}

/// The length of the MPEG layer III frame that begins here, in bytes.
fn mp3_frame_len(head: &[u8; 12]) -> Option<u64> {
    const KBPS_V1: [u64; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const KBPS_V2: [u64; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, version_layer, rates, ..] = *head else {
        return None;
    };
    if version_layer & 0xe0 != 0xe0 || version_layer & 0x06 != 0x02 {
        return None;
    }
    let (kbps, rate_divisor, bits_per_frame_factor) = match version_layer & 0x18 {
        0x18 => (KBPS_V1, 1, 144),
        0x10 => (KBPS_V2, 2, 72),
        0x00 => (KBPS_V2, 4, 72),
        _ => return None,
    };
    let kbps = kbps.get(usize::from(rates >> 4).checked_sub(1)?)?;
    let rate = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / rate_divisor;
    let padding = u64::from(rates >> 1 & 1);
    Some(bits_per_frame_factor * kbps * 1000 / rate + padding)
}

/// Whether the first frame is followed by another one or by the end.
fn mp3_goes_on<S: Read + Seek>(source: &mut S, offset: u64, head: &[u8; 12]) -> io::Result<bool> {
    let Some(len) = mp3_frame_len(head) else {
        return Ok(false);
    };
    let next = read_at(source, offset + len)?;
    Ok(next == [0; 12] || next.starts_with(b"TAG") || mp3_frame_len(&next).is_some())
}
