//! Recordings that were joined, one file behind the other.
//!
//! Recorders that append to their last file write them, and so does `cat`. Each part is decoded as a file of its own. The
//! readers of MP3, AAC streams and Ogg continue with the next part by themselves.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::AudioError;
use super::sniff::Kind;

/// The maximum number of parts of a recording.
pub(super) const MAX_PARTS: usize = 1024;

/// The number of bytes by which the beginning of a part is recognised.
const HEAD_BYTES: usize = 16;

/// The number of bytes that are searched at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Whether a file of this kind begins with these bytes. Samples look like that in less than one of 2^48 places.
fn begins(kind: Kind, head: &[u8]) -> bool {
    match (kind, head) {
        (Kind::Wav, [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]) => true,
        // The first block has the parameters of the stream, in 34 bytes.
        (Kind::Flac, [b'f', b'L', b'a', b'C', 0 | 0x80, 0, 0, 34, ..]) => true,
        (Kind::Mp4, [0, 0, 0, _, b'f', b't', b'y', b'p', ..]) => true,
        // The header of EBML begins with the version, behind its length of one to eight bytes.
        (Kind::Matroska, [0x1a, 0x45, 0xdf, 0xa3, rest @ ..]) => {
            rest.windows(3).any(|bytes| bytes[..2] == [0x42, 0x86] && bytes[2] & 0x80 != 0)
        }
        (Kind::AmrNarrow, _) => head.starts_with(b"#!AMR\n"),
        _ => false,
    }
}

/// Where the parts of a recording begin, the first one at `first`. Errors: `Excessive` for too many.
pub(super) fn starts(kind: Kind, source: &mut dyn MediaSource, first: u64) -> Result<Vec<u64>, AudioError> {
    let mut starts = vec![first];
    if matches!(kind, Kind::Mp3 | Kind::Adts | Kind::Ogg) {
        return Ok(starts);
    }
    let mut position = source.seek(SeekFrom::Start(first + 1))?;
    let mut bytes = Vec::new();
    while (&mut *source).take(CHUNK_BYTES).read_to_end(&mut bytes)? > 0 {
        let heads = bytes.windows(HEAD_BYTES).zip(position..);
        starts.extend(heads.filter(|(head, _)| begins(kind, head)).map(|(_, at)| at));
        if starts.len() > MAX_PARTS {
            return Err(AudioError::Excessive(format!("more than {MAX_PARTS} parts")));
        }
        let searched = (bytes.len() + 1).saturating_sub(HEAD_BYTES);
        bytes.drain(..searched);
        position += searched as u64;
    }
    Ok(starts)
}

/// One part of a source, as a file.
pub(super) struct Part<'s> {
    source: &'s mut dyn MediaSource,
    begin: u64,
    len: u64,
    declared_len: u64,
    position: u64,
}

impl<'s> Part<'s> {
    /// The bytes from `begin` to `end`. Errors: those of the source.
    pub(super) fn new(source: &'s mut dyn MediaSource, begin: u64, end: u64) -> io::Result<Self> {
        let len = end.saturating_sub(begin);
        source.seek(SeekFrom::Start(begin))?;
        Ok(Self { source, begin, len, declared_len: len, position: 0 })
    }

    /// Reports another length than the true one: a reader that knows that a file is truncated refuses its last piece.
    pub(super) fn declare(&mut self, len: u64) {
        self.declared_len = len.max(self.len);
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.position);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buffer[..wanted])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Part<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.declared_len.checked_add_signed(by),
        };
        let place = position.and_then(|position| Some((position, self.begin.checked_add(position)?)));
        let (position, absolute) = place.ok_or(io::ErrorKind::InvalidInput)?;
        self.source.seek(SeekFrom::Start(absolute))?;
        self.position = position;
        Ok(position)
    }
}

impl MediaSource for Part<'_> {
    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.declared_len)
    }
}
