//! Checks of the sizes that a file declares, before a decoder allocates memory or time for them.
//!
//! Symphonia limits its allocations by the bytes that it has read, with two gaps that are closed here: it visits all
//! tracks of an MP4 file for each packet, and it expands the codebooks of Vorbis, 16 MB each, from a few bytes.

use std::io::{self, Read, Seek, SeekFrom};

use super::AudioError;

/// The maximum number of tracks of an MP4 file: a recorder writes one, a film has a few.
pub(super) const MAX_TRACKS: usize = 16;
/// The maximum number of boxes that are read in an MP4 file.
const MAX_BOXES: usize = 4096;
/// The maximum number of values in all codebooks of a Vorbis stream. Those of libvorbis have some hundred thousand.
const MAX_CODEBOOK_VALUES: u64 = 4 * 1024 * 1024;
/// The bits with which each codebook begins (Vorbis I §3.2.1).
const CODEBOOK_SYNC: u64 = 0x56_43_42;

/// Counts the tracks of an MP4 file, and rewinds it. Returns the end that its last box declares, which is behind the end
/// of a truncated file. Errors: `Excessive` for too many tracks.
pub(super) fn check_tracks<S: Read + Seek + ?Sized>(source: &mut S) -> Result<u64, AudioError> {
    let end = source.seek(SeekFrom::End(0))?;
    let (mut position, mut limit, mut tracks) = (0, end, 0);
    for _ in 0..MAX_BOXES {
        let Some(found) = read_box(source, position, limit)? else {
            if limit == end {
                break;
            }
            // The end of the movie box: continue with the file.
            (position, limit) = (limit, end);
            continue;
        };
        match &found.name {
            b"moov" if limit == end => {
                (position, limit) = (found.content, found.end.min(end));
                continue;
            }
            b"trak" => tracks += 1,
            _ => {}
        }
        if tracks > MAX_TRACKS {
            return Err(AudioError::Excessive(format!("more than {MAX_TRACKS} tracks")));
        }
        position = found.end;
    }
    source.rewind()?;
    Ok(position.max(end))
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
