//! Files whose decoding costs much more than their size: their declared sizes are refused before any work, or decoding
//! ends at the deadline.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

#[path = "../../../../benches/bombs/files.rs"]
pub(super) mod files;

use super::super::claims::{MAX_TRACKS, check_codebooks};
use super::super::decode_source;
use super::*;

#[test]
fn an_mp4_file_has_a_handful_of_tracks() {
    let few = decode_bytes(files::mp4(2, 5).into(), &limits()).unwrap();
    assert_eq!((few.rate_hz, few.samples.len()), (8000, 5));
    let many = decode_bytes(files::mp4(MAX_TRACKS as u32 + 1, 1).into(), &limits());
    assert!(matches!(&many, Err(AudioError::Excessive(reason)) if reason.contains("tracks")), "{many:?}");
    // If the length of a box leads beyond the file, or in a circle, the count ends.
    for size in [0u32, 1, 7, 8, 0x7fff_ffff, u32::MAX] {
        let file = [&files::atom(b"ftyp", b"M4A \0\0\0\0")[..], &size.to_be_bytes(), b"moov", &[0; 64]].concat();
        let outcome = decode_bytes(file.into(), &limits());
        assert!(matches!(outcome, Err(AudioError::Damaged(_) | AudioError::Unsupported(_))), "{size}: {outcome:?}");
    }
}

#[test]
fn decoding_ends_with_its_cpu_time_in_every_format() {
    let without = DecodeLimits { cpu_max: Duration::ZERO, ..alone() };
    let outcome = decode_bytes(files::mp4(1, 5).into(), &without);
    assert!(matches!(outcome, Err(AudioError::TooCostly)), "{outcome:?}");
    let Some(studio) = Studio::get() else { return };
    for file in studio.every_kind() {
        let outcome = decode(&file, &without);
        assert!(matches!(outcome, Err(AudioError::TooCostly)), "{file:?}: {outcome:?}");
    }
}

/// Positions of a file that are damaged, one at a time.
const PLACES: usize = 20;

#[test]
fn damage_anywhere_in_a_file_is_never_a_fault_of_the_hub() {
    let Some(studio) = Studio::get() else { return };
    let (mut files, mut places) = (0, 0);
    for file in studio.every_kind() {
        let good = std::fs::read(&file).unwrap();
        files += 1;
        for place in 0..PLACES {
            let mut bytes = good.clone();
            let at = good.len() * (2 * place + 1) / (2 * PLACES);
            bytes[at] ^= 0xff;
            let outcome = decode_bytes(bytes.into(), &alone());
            assert!(!matches!(outcome, Err(AudioError::Io(_))), "{file:?} at {at}: {outcome:?}");
            places += 1;
        }
    }
    assert!(files > 5 && places == files * PLACES);
}

/// A file on a disk that fails after a number of bytes.
struct Failing {
    file: io::Cursor<Bytes>,
    after: u64,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.position() >= self.after {
            return Err(io::Error::other("the disk fails"));
        }
        self.file.read(buffer)
    }
}

impl Seek for Failing {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl MediaSource for Failing {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.file.get_ref().len() as u64)
    }
}

#[test]
fn a_fragment_without_sizes_has_a_plausible_number_of_samples() {
    let boxed =
        |name: &[u8; 4], content: &[u8]| [&(content.len() as u32 + 8).to_be_bytes()[..], name, content].concat();
    // No flags: nothing is stored for each sample, so the reader counts to the number without reading.
    let run = boxed(b"trun", &[0, 0, 0, 0, 0xc4, 0, 0, 0]);
    let fragment = boxed(b"moof", &boxed(b"traf", &run));
    let film = [files::mp4(1, 1), fragment].concat();
    let refused = decode_bytes(film.into(), &limits());
    assert!(matches!(refused, Err(AudioError::Excessive(_))), "{refused:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_of_the_hub() {
    let wav = encode_wav(&tone(48_000, 5.0, 0.5)).unwrap();
    let source = Failing { file: io::Cursor::new(wav), after: 100_000 };
    let outcome = decode_source(Box::new(source), None, &limits());
    assert!(matches!(outcome, Err(AudioError::Io(_))), "{outcome:?}");
}

#[test]
fn the_codebooks_of_a_vorbis_stream_are_added_up() {
    assert!(check_codebooks(&files::codebooks(40, 8, 4096)).is_ok());
    assert!(check_codebooks(&files::codebooks(1, 32, 128 * 1024)).is_ok());
    assert!(check_codebooks(&files::codebooks(2, 32, 128 * 1024)).is_err());
    assert!(check_codebooks(&files::codebooks(200, 16, 8192)).is_err());
    assert!(check_codebooks(&[]).is_ok());
}

#[test]
fn a_vorbis_track_with_huge_codebooks_is_refused_before_they_are_unfolded() {
    let outcome = decode_bytes(files::vorbis(200).into(), &limits());
    assert!(matches!(&outcome, Err(AudioError::Excessive(reason)) if reason.contains("codebooks")), "{outcome:?}");
}
