//! Sound files that cost much more than their size.
#![allow(dead_code, reason = "the tests of the decoders use some of them")]

/// A box of an MP4 file.
pub fn atom(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], name, content].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A sound track of 16 bit samples, whose samples are all the same two bytes at `offset`. Each entry of `times` is the
/// length of one sample.
fn track(id: u32, samples: u32, times: &[u32], offset: u32) -> Vec<u8> {
    track_with(id, samples, times, offset, &[])
}

/// As [`track`], with boxes that say where the samples are.
fn track_with(id: u32, samples: u32, times: &[u32], offset: u32, place: &[u8]) -> Vec<u8> {
    let sample_entry = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &[0, 1, 0, 16, 0, 0, 0, 0], &words(&[8000 << 16])];
    let description = [words(&[0, 1]), atom(b"sowt", &sample_entry.concat())].concat();
    let offsets: Vec<u32> = [0, samples].into_iter().chain((0..samples).map(|_| offset)).collect();
    let table = [
        atom(b"stsd", &description),
        atom(b"stts", &words(times)),
        atom(b"stsc", &words(&[0, 1, 1, 1, 1])),
        atom(b"stsz", &words(&[0, 2, samples])),
        atom(b"stco", &words(&offsets)),
    ];
    let media = [&atom(b"smhd", &[0; 8])[..], place, &atom(b"stbl", &table.concat())].concat();
    let handler = [&[0; 8][..], b"soun", &[0; 13]].concat();
    let header = words(&[0, 0, 0, 8000, samples, 0x55c4_0000]);
    let media = [atom(b"mdhd", &header), atom(b"hdlr", &handler), atom(b"minf", &media)].concat();
    let header = [words(&[7, 0, 0, id, 0, samples]), vec![0; 60]].concat();
    atom(b"trak", &[atom(b"tkhd", &header), atom(b"mdia", &media)].concat())
}

fn movie(samples: u32, tracks: impl FnOnce(u32) -> Vec<u8>) -> Vec<u8> {
    let header = [words(&[0, 0, 0, 8000, samples, 0x1_0000]), vec![0; 76]].concat();
    let kind = atom(b"ftyp", b"M4A \0\0\0\0M4A ");
    let data = atom(b"mdat", &[0x10, 0x27]);
    let offset = kind.len() as u32 + 8;
    [kind, data, atom(b"moov", &[atom(b"mvhd", &header), tracks(offset)].concat())].concat()
}

/// An MP4 file with a number of tracks, each with a number of samples, which are all the same one.
pub fn mp4(tracks: u32, samples: u32) -> Vec<u8> {
    movie(samples, |offset| (1..=tracks).flat_map(|id| track(id, samples, &[0, 1, samples, 1], offset)).collect())
}

/// A movie whose samples are in the file at `path`, by an alias record of QuickTime.
pub fn mp4_of_another_file(path: &str, samples: u32) -> Vec<u8> {
    let even = path.len().next_multiple_of(2);
    let path = [path.as_bytes(), &vec![0; even - path.len()]].concat();
    let record = [&[0; 10][..], &[0; 28], &[0; 12], &[0; 64], &[0; 16], &[0; 4], &[0; 16]].concat();
    let alias = [&[0; 4][..], &record, &[0, 2], &(even as u16).to_be_bytes(), &path, &[0xff, 0xff, 0, 0]].concat();
    let references = [words(&[0, 1]), atom(b"alis", &alias)].concat();
    let place = atom(b"dinf", &atom(b"dref", &references));
    movie(samples, |_| track_with(1, samples, &[0, 1, samples, 1], 0, &place))
}

/// An MP4 file with the length of each sample in a table, which is read from its start each time.
pub fn mp4_with_times(samples: u32) -> Vec<u8> {
    let times: Vec<u32> = [0, samples].into_iter().chain((0..samples).flat_map(|_| [1, 1])).collect();
    movie(samples, |offset| track(1, samples, &times, offset))
}

/// The end of the headers of a Vorbis stream, with a number of codebooks, the first one at an odd bit.
pub fn codebooks(count: usize, dimensions: u64, entries: u64) -> Vec<u8> {
    let mut bits = vec![true, false, true];
    push_codebooks(&mut bits, count, dimensions, entries);
    bytes(&bits)
}

fn push(bits: &mut Vec<bool>, value: u64, len: usize) {
    bits.extend((0..len).map(|bit| value >> bit & 1 == 1));
}

fn push_codebooks(bits: &mut Vec<bool>, count: usize, dimensions: u64, entries: u64) {
    for _ in 0..count {
        push(bits, 0x56_43_42, 24);
        push(bits, dimensions, 16);
        push(bits, entries, 24);
        // The lengths are in order: all words have 17 bits, the first length, less one, in five.
        push(bits, 0b1, 1);
        push(bits, 16, 5);
        push(bits, entries, 64 - entries.leading_zeros() as usize);
        // A lookup table of type 1 with one bit for each of its values, two of them.
        push(bits, 1, 4);
        push(bits, 0, 64);
        push(bits, 0, 4);
        push(bits, 0, 1);
        push(bits, 0b10, 2);
    }
}

/// Bits as Vorbis packs them, the lowest first.
fn bytes(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |value, bit| value << 1 | u8::from(*bit))).collect()
}

/// An element of a Matroska file.
fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size[..], content].concat()
}

/// A Matroska file with a Vorbis track of so many codebooks of 16 MB each.
pub fn vorbis(count: usize) -> Vec<u8> {
    let identity = [&b"\x01vorbis\0\0\0\0\x01"[..], &8000u32.to_le_bytes(), &[0; 12], &[0xb8, 1]].concat();
    let comment = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";
    let mut bits = Vec::new();
    push(&mut bits, count as u64 - 1, 8);
    push_codebooks(&mut bits, count, 16, 65_536);
    let setup = [&b"\x05vorbis"[..], &bytes(&bits), &[0; 64]].concat();
    let headers = [&[2, identity.len() as u8, comment.len() as u8][..], &identity, comment, &setup].concat();
    let sound = [element(&[0xb5], &8000f64.to_be_bytes()), element(&[0x9f], &[1])].concat();
    let entry = [
        element(&[0xd7], &[1]),
        element(&[0x73, 0xc5], &[1]),
        element(&[0x83], &[2]),
        element(&[0x86], b"A_VORBIS"),
        element(&[0x63, 0xa2], &headers),
        element(&[0xe1], &sound),
    ];
    let tracks = element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &entry.concat()));
    let scale = element(&[0x2a, 0xd7, 0xb1], &1_000_000u32.to_be_bytes());
    let apps = [element(&[0x4d, 0x80], b"bombs"), element(&[0x57, 0x41], b"bombs")].concat();
    let info = element(&[0x15, 0x49, 0xa9, 0x66], &[scale, apps].concat());
    let cluster = element(&[0x1f, 0x43, 0xb6, 0x75], &element(&[0xe7], &[0]));
    let segment = element(&[0x18, 0x53, 0x80, 0x67], &[info, tracks, cluster].concat());
    [element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"webm")), segment].concat()
}

/// A FLAC file of so many bytes, of which every second one could begin a frame.
pub fn flac(len: usize) -> Vec<u8> {
    let information = [&[0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0][..], &[0x01, 0xf4, 0x00, 0xf0], &[0; 20]].concat();
    let frame = [0xff, 0xf8, 0xc9, 0x08, 0x00];
    let frames = frame.into_iter().cycle().take(len);
    [&b"fLaC\x80\0\0\x22"[..], &information].concat().into_iter().chain(frames).collect()
}

/// An AAC stream of so many frames without content.
pub fn adts(frames: usize) -> Vec<u8> {
    [0xff, 0xf1, 0x6c, 0x40, 0x00, 0xff, 0xfc].repeat(frames)
}

/// An AMR recording of so many frames without content.
pub fn amr(frames: usize) -> Vec<u8> {
    [&b"#!AMR\n"[..], &vec![0x7c; frames]].concat()
}

/// An MP3 file behind a tag with a picture of so many bytes, which is cut.
pub fn tagged_mp3(len: usize) -> Vec<u8> {
    let size = [21, 14, 7, 0].map(|shift| (len >> shift & 0x7f) as u8);
    let tag = [&b"ID3\x03\0\0"[..], &size, b"APIC\x7f\xff\xff\xff\0\0\0image/png\0\x03\0"].concat();
    let picture = vec![0xff; len - (tag.len() - 10)];
    [tag, picture, [0xff, 0xfb, 0x90, 0x64].repeat(1000)].concat()
}
