//! Checks of the sizes that a file declares, before a decoder allocates memory or time for them.
//!
//! Symphonia limits its work by the bytes that it has read, with three gaps that are closed here: it visits all tracks of
//! an MP4 file for each packet, it counts to the declared number of samples of each MP4 fragment, and it expands the
//! codebooks of Vorbis, 16 MB each, from a few bytes.

use std::io::{self, Read, Seek, SeekFrom};

use super::AudioError;

/// The maximum number of tracks of an MP4 file: a recorder writes one, a film has a few.
pub(super) const MAX_TRACKS: usize = 16;
/// The maximum number of boxes of an MP4 file. A fragment for each packet of ten minutes has fewer.
const MAX_BOXES: usize = 256 * 1024;
/// The maximum number of samples in all fragments of an MP4 file: 12 minutes of PCM.
const MAX_FRAGMENT_SAMPLES: u64 = 32 * 1024 * 1024;
/// The maximum number of values in all codebooks of a Vorbis stream. Those of libvorbis have some hundred thousand.
const MAX_CODEBOOK_VALUES: u64 = 4 * 1024 * 1024;
/// The bits with which each codebook begins (Vorbis I §3.2.1).
const CODEBOOK_SYNC: u64 = 0x56_43_42;

/// Checks the numbers of tracks and of samples in fragments of an MP4 file, and rewinds it. Returns the end that its last
/// box declares, which is behind the end of a truncated file. Errors: `Excessive`.
pub(super) fn check_movie<S: Read + Seek + ?Sized>(source: &mut S) -> Result<u64, AudioError> {
    let end = source.seek(SeekFrom::End(0))?;
    // The ends of the boxes around `position`.
    let mut limits = vec![end];
    let (mut position, mut declared_end, mut boxes, mut tracks, mut samples) = (0, end, 0, 0, 0);
    while let Some(&limit) = limits.last() {
        let Some(found) = read_box(source, position, limit)? else {
            if limits.len() == 1 {
                break;
            }
            // Continue behind the box around it.
            limits.pop();
            position = limit;
            continue;
        };
        boxes += 1;
        // A truncated index is of no use, so its end does not count.
        if limits.len() == 1 && &found.name != b"moov" {
            declared_end = declared_end.max(found.end);
        }
        match &found.name {
            b"moov" | b"moof" | b"traf" => {
                limits.push(found.end.min(limit));
                position = found.content;
            }
            name => {
                tracks += usize::from(name == b"trak");
                if name == b"trun" {
                    samples += samples_of(source, found.content)?;
                }
                position = found.end;
            }
        }
        let excessive = [
            (boxes > MAX_BOXES, "boxes", MAX_BOXES as u64),
            (tracks > MAX_TRACKS, "tracks", MAX_TRACKS as u64),
            (samples > MAX_FRAGMENT_SAMPLES, "samples in fragments", MAX_FRAGMENT_SAMPLES),
        ];
        if let Some((_, what, most)) = excessive.iter().find(|(is_excessive, ..)| *is_excessive) {
            return Err(AudioError::Excessive(format!("more than {most} {what}")));
        }
    }
    source.rewind()?;
    Ok(declared_end)
}

/// The declared number of samples of a fragment's run (`trun`), whose content begins at `content`.
fn samples_of<S: Read + Seek + ?Sized>(source: &mut S, content: u64) -> io::Result<u64> {
    source.seek(SeekFrom::Start(content))?;
    let mut head = Vec::with_capacity(8);
    source.take(8).read_to_end(&mut head)?;
    // The version, the flags, the number.
    Ok(head.last_chunk::<4>().filter(|_| head.len() == 8).map_or(0, |count| u64::from(u32::from_be_bytes(*count))))
}

struct FoundBox {
    name: [u8; 4],
    /// Where its content begins and ends.
    content: u64,
    end: u64,
}

/// The box at `position`, if one begins before `limit`.
fn read_box<S: Read + Seek + ?Sized>(source: &mut S, position: u64, limit: u64) -> io::Result<Option<FoundBox>> {
    if position.saturating_add(8) > limit {
        return Ok(None);
    }
    source.seek(SeekFrom::Start(position))?;
    let mut head = Vec::with_capacity(16);
    source.take(16).read_to_end(&mut head)?;
    let (Some((size, rest)), true) = (head.split_first_chunk::<4>(), head.len() >= 8) else { return Ok(None) };
    let Some((name, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let (head_len, size) = match (u32::from_be_bytes(*size), rest.first_chunk::<8>()) {
        (0, _) => (8, limit - position),
        (1, Some(size)) => (16, u64::from_be_bytes(*size)),
        (1, None) => return Ok(None),
        (size, _) => (8, u64::from(size)),
    };
    if size < head_len {
        return Ok(None);
    }
    Ok(Some(FoundBox { name: *name, content: position + head_len, end: position.saturating_add(size) }))
}

/// Adds up the declared sizes of the codebooks in the headers of a Vorbis stream. Errors: `Excessive` for too much.
///
/// Each codebook begins with a fixed pattern, at any bit, so the pattern is searched for instead of parsing everything
/// else. A false match can only make the sum larger.
pub(super) fn check_codebooks(headers: &[u8]) -> Result<(), AudioError> {
    let mut values = 0;
    // The next 64 bits, the first one lowest, as Vorbis packs them.
    let mut window = 0u64;
    for bit in 0..headers.len() * 8 + 64 {
        let next = headers.get(bit / 8).map_or(0, |byte| u64::from(byte >> (bit % 8) & 1));
        window = window >> 1 | next << 63;
        if window & 0xff_ffff == CODEBOOK_SYNC {
            let (dimensions, entries) = (window >> 24 & 0xffff, window >> 40);
            // The decoder itself refuses larger codebooks.
            if dimensions <= 32 && entries <= 128 * 1024 {
                values += dimensions * entries;
            }
        }
    }
    if values > MAX_CODEBOOK_VALUES {
        return Err(AudioError::Excessive(format!("{values} numbers in its codebooks")));
    }
    Ok(())
}
