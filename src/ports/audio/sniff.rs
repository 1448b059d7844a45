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
    /// MPEG layer II, of older recorders.
    Mp2,
    Adts,
    AmrNarrow,
    AmrWide,
    AmrManyChannels,
    /// WAV with 64 bit lengths, of field recorders.
    Wav64,
    Aiff,
    /// Core Audio, of Apple's devices.
    Caf,
    /// Windows Media.
    Asf,
    /// Sun's format, which Java writes.
    Au,
    MpegTransport,
    Avi,
    /// Flash video.
    Flv,
    WavPack,
    /// Sound Blaster's format.
    Voc,
    /// Sony's WAV with 64 bit lengths.
    SonyWav64,
    Ac3,
    Eac3,
}

impl Kind {
    /// Whether this process has a decoder.
    pub(super) fn is_decoded_here(self) -> bool {
        use Kind::{Adts, AmrNarrow, Flac, Matroska, Mp3, Mp4, Ogg, Wav};
        matches!(self, Wav | Flac | Ogg | Matroska | Mp4 | Mp3 | Adts | AmrNarrow)
    }

    /// Frames without a container, which can be found again after damage.
    pub(super) fn is_stream(self) -> bool {
        matches!(self, Kind::Mp3 | Kind::Adts)
    }

    /// The demultiplexer of ffmpeg; none if it has none. None of these opens another file that the recording names.
    pub(super) fn demultiplexer(self) -> Option<&'static str> {
        Some(match self {
            Kind::Wav | Kind::Wav64 => "wav",
            Kind::Flac => "flac",
            Kind::Ogg => "ogg",
            Kind::Matroska => "matroska",
            Kind::Mp4 => "mov",
            Kind::Mp3 | Kind::Mp2 => "mp3",
            Kind::Adts => "aac",
            Kind::AmrNarrow | Kind::AmrWide => "amr",
            Kind::Aiff => "aiff",
            Kind::Caf => "caf",
            Kind::Asf => "asf",
            Kind::Au => "au",
            Kind::MpegTransport => "mpegts",
            Kind::Avi => "avi",
            Kind::Flv => "flv",
            Kind::WavPack => "wv",
            Kind::Voc => "voc",
            Kind::SonyWav64 => "w64",
            Kind::Ac3 => "ac3",
            Kind::Eac3 => "eac3",
            Kind::AmrManyChannels => return None,
        })
    }
}

/// A recognised format and where it begins in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) offset: u64,
    /// Whether something other than tags stands before it.
    pub(super) is_behind_junk: bool,
}

/// A file may have several tags; more than this number is an attack.
const MAX_ID3_TAGS: usize = 4;

/// A stream without a beginning is searched for in so many bytes: a tag with a wrong length may have a picture.
const SEARCHED_BYTES: u64 = 1024 * 1024;

/// So many frames in a row are a stream, wherever they begin.
const FRAMES_IN_A_ROW: usize = 3;

/// The length of a packet of an MPEG transport stream.
const TRANSPORT_PACKET_BYTES: u64 = 188;

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
                    // A byte or two are weak evidence: the next frame must follow.
                    Some(Kind::Mp3 | Kind::Mp2) if !mpeg_goes_on(source, offset, &head)? => None,
                    Some(Kind::Ac3 | Kind::Eac3) if !ac3_goes_on(source, offset, &head)? => None,
                    Some(Kind::MpegTransport) if !transport_goes_on(source, offset)? => None,
                    kind => kind,
                };
                break;
            }
        }
    }
    let mut found = kind.map(|kind| Found { kind, offset, is_behind_junk: false });
    if found.is_none() {
        // From the start first: the length of a tag may lead past the first frames.
        found = search(source, 0)?;
    }
    if found.is_none() && offset > 0 {
        found = search(source, offset)?;
    }
    source.rewind()?;
    Ok(found)
}

/// The first frames of a stream behind anything else: a tag with a wrong length, zeros, or half a frame.
fn search<S: Read + Seek>(source: &mut S, offset: u64) -> io::Result<Option<Found>> {
    source.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    source.by_ref().take(SEARCHED_BYTES).read_to_end(&mut bytes)?;
    let mut starts = (0..bytes.len()).filter(|at| bytes[*at] == 0xff);
    let found = starts.find_map(|at| Some((stream_at(&bytes[at..])?, at as u64)));
    Ok(found.map(|(kind, at)| Found { kind, offset: offset + at, is_behind_junk: true }))
}

/// The stream whose frames begin here.
fn stream_at(bytes: &[u8]) -> Option<Kind> {
    [(Kind::Mp3, mp3_frame as fn(&[u8; 12]) -> Option<Frame>), (Kind::Adts, adts_frame), (Kind::Mp2, mp2_frame)]
        .into_iter()
        .find(|(_, frame)| {
            let mut at = 0;
            let mut last = None;
            (0..FRAMES_IN_A_ROW).all(|_| {
                let Some(found) = bytes.get(at..at + 12).and_then(|head| frame(head.try_into().ok()?)) else {
                    return false;
                };
                at += found.len as usize;
                last.replace(found.properties).is_none_or(|last| last == found.properties)
            })
        })
        .map(|(kind, _)| kind)
}

/// A frame of a stream.
struct Frame {
    /// Its length, in bytes.
    len: u64,
    /// The bits of its header that are the same in all frames.
    properties: [u8; 2],
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
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => Some(Kind::Avi),
        [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E'] => Some(Kind::Wav64),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C'] => Some(Kind::Aiff),
        [b'c', b'a', b'f', b'f', 0, 1, ..] => Some(Kind::Caf),
        [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..] => Some(Kind::Asf),
        [b'.', b's', b'n', b'd', ..] => Some(Kind::Au),
        [b'f', b'L', b'a', b'C', ..] => Some(Kind::Flac),
        [b'O', b'g', b'g', b'S', ..] => Some(Kind::Ogg),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Kind::Matroska),
        // QuickTime files of old devices begin with another box.
        [_, _, _, _, name @ .., _, _, _, _] if [b"ftyp", b"moov", b"mdat", b"wide"].contains(&name) => Some(Kind::Mp4),
        _ if head.starts_with(b"#!AMR\n") => Some(Kind::AmrNarrow),
        _ if head.starts_with(b"#!AMR-WB\n") => Some(Kind::AmrWide),
        _ if head.starts_with(b"#!AMR_MC") || head.starts_with(b"#!AMR-WB_MC") => Some(Kind::AmrManyChannels),
        [b'F', b'L', b'V', 1, ..] => Some(Kind::Flv),
        [b'w', b'v', b'p', b'k', ..] => Some(Kind::WavPack),
        [b'r', b'i', b'f', b'f', 0x2e, 0x91, 0xcf, 0x11, ..] => Some(Kind::SonyWav64),
        _ if head.starts_with(b"Creative Voi") => Some(Kind::Voc),
        [0x47, ..] => Some(Kind::MpegTransport),
        // ADTS: twelve set bits, then the version, a layer of zero.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Kind::Adts),
        [0x0b, 0x77, ..] => ac3_frame(head).map(|(kind, _)| kind),
        _ => mpeg_frame(head).map(|(kind, _)| kind),
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

/// The frame of MPEG layer II or III that begins here.
fn mpeg_frame(head: &[u8; 12]) -> Option<(Kind, Frame)> {
    const KBPS_V1_III: [u64; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const KBPS_V1_II: [u64; 14] = [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
    const KBPS_V2: [u64; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, version_layer, rates, ..] = *head else {
        return None;
    };
    let kind = match version_layer & 0xe6 {
        0xe2 => Kind::Mp3,
        0xe4 => Kind::Mp2,
        _ => return None,
    };
    let (kbps, rate_divisor, bits_per_frame_factor) = match (version_layer & 0x18, kind) {
        (0x18, Kind::Mp3) => (KBPS_V1_III, 1, 144),
        (0x18, _) => (KBPS_V1_II, 1, 144),
        (0x10, Kind::Mp3) => (KBPS_V2, 2, 72),
        (0x10, _) => (KBPS_V2, 2, 144),
        (0x00, Kind::Mp3) => (KBPS_V2, 4, 72),
        _ => return None,
    };
    let kbps = kbps.get(usize::from(rates >> 4).checked_sub(1)?)?;
    let rate = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / rate_divisor;
    let padding = u64::from(rates >> 1 & 1);
    let len = bits_per_frame_factor * kbps * 1000 / rate + padding;
    Some((kind, Frame { len, properties: [version_layer, rates & 0x0c] }))
}

fn mp3_frame(head: &[u8; 12]) -> Option<Frame> {
    mpeg_frame(head).filter(|(kind, _)| *kind == Kind::Mp3).map(|(_, frame)| frame)
}

fn mp2_frame(head: &[u8; 12]) -> Option<Frame> {
    mpeg_frame(head).filter(|(kind, _)| *kind == Kind::Mp2).map(|(_, frame)| frame)
}

/// The frame of AC-3 or E-AC-3 that begins here, and its length (ETSI TS 102 366 §4.4, §E.1.3).
fn ac3_frame(head: &[u8; 12]) -> Option<(Kind, u64)> {
    const KBPS: [u64; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
    let [0x0b, 0x77, third, fourth, rates, version, ..] = *head else { return None };
    match version >> 3 {
        ..=10 => {
            let kbps = KBPS.get(usize::from(rates & 0x3f) / 2)?;
            let words = match rates >> 6 {
                0 => kbps * 2,
                1 => kbps * 320 / 147 + u64::from(rates & 1),
                2 => kbps * 3,
                _ => return None,
            };
            Some((Kind::Ac3, words * 2))
        }
        11..=16 => Some((Kind::Eac3, 2 * (u64::from(third & 7) << 8 | u64::from(fourth)) + 2)),
        _ => None,
    }
}

/// The AAC frame with a header that begins here.
fn adts_frame(head: &[u8; 12]) -> Option<Frame> {
    let [0xff, second, third, fourth, fifth, sixth, ..] = *head else { return None };
    let len = u64::from(fourth & 3) << 11 | u64::from(fifth) << 3 | u64::from(sixth >> 5);
    // A layer of zero, a known sample rate, and more than the header.
    let is_frame = second & 0xf6 == 0xf0 && third >> 2 & 0xf < 13 && len > 7;
    is_frame.then_some(Frame { len, properties: [second, third] })
}

/// Whether the first frame is followed by another one or by the end.
fn mpeg_goes_on<S: Read + Seek>(source: &mut S, offset: u64, head: &[u8; 12]) -> io::Result<bool> {
    let Some((kind, frame)) = mpeg_frame(head) else {
        return Ok(false);
    };
    let next = read_at(source, offset + frame.len)?;
    Ok(next == [0; 12] || next.starts_with(b"TAG") || mpeg_frame(&next).is_some_and(|(next, _)| next == kind))
}

/// Whether the first frame of AC-3 or E-AC-3 is followed by another one or by the end.
fn ac3_goes_on<S: Read + Seek>(source: &mut S, offset: u64, head: &[u8; 12]) -> io::Result<bool> {
    let Some((_, len)) = ac3_frame(head) else {
        return Ok(false);
    };
    let next = read_at(source, offset + len)?;
    Ok(next == [0; 12] || next.starts_with(&[0x0b, 0x77]))
}

/// Whether the next packets of a transport stream follow.
fn transport_goes_on<S: Read + Seek>(source: &mut S, offset: u64) -> io::Result<bool> {
    for packet in 1..4 {
        if read_at(source, offset + packet * TRANSPORT_PACKET_BYTES)?[0] != 0x47 {
            return Ok(false);
        }
    }
    Ok(true)
}
