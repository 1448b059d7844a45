//! Packets of Opus in an Ogg file (RFC 3533, RFC 7845), written while they are made.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::opus::{OPUS_OUT_HZ, OPUS_OUT_MS};

/// Samples that a decoder drops at the beginning, at 48 kHz: the delay of the encoder.
const PRE_SKIP: u16 = 312;
/// The rate of positions, in Hz, whatever that of the sound is.
const POSITIONS_HZ: u32 = 48_000;
/// Packets of one page; each has at most six segments, and a page 255.
const PACKETS_PER_PAGE: usize = 16;
/// The flags of the first and of the last page.
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// Writes one stream of one channel.
pub struct OggWriter {
    serial: u32,
    pages: u32,
    packets: u64,
    /// The last packet: its page may be that of the end.
    held: Option<Bytes>,
}

impl OggWriter {
    /// A stream with this number, and its beginning.
    pub fn new(serial: u32) -> (Self, Bytes) {
        let mut writer = Self { serial, pages: 0, packets: 0, held: None };
        let mut head = BytesMut::with_capacity(19);
        head.put_slice(b"OpusHead");
        // The version, and the channels.
        head.put_slice(&[1, 1]);
        head.put_u16_le(PRE_SKIP);
        head.put_u32_le(OPUS_OUT_HZ);
        // No gain, and the mapping of one stream.
        head.put_slice(&[0, 0, 0]);
        let mut tags = BytesMut::new();
        tags.put_slice(b"OpusTags");
        let vendor = b"toyhub";
        tags.put_u32_le(vendor.len() as u32);
        tags.put_slice(vendor);
        tags.put_u32_le(0);
        let mut beginning = BytesMut::new();
        writer.page(FIRST, &[head.freeze()], &mut beginning);
        writer.page(0, &[tags.freeze()], &mut beginning);
        (writer, beginning.freeze())
    }

    /// The pages of more packets, without the last one.
    pub fn write(&mut self, packets: Vec<Bytes>) -> Bytes {
        let mut ready: Vec<Bytes> = self.held.take().into_iter().chain(packets).collect();
        self.held = ready.pop();
        let mut bytes = BytesMut::new();
        for page in ready.chunks(PACKETS_PER_PAGE) {
            self.packets += page.len() as u64;
            self.page(0, page, &mut bytes);
        }
        bytes.freeze()
    }

    /// The last page.
    pub fn end(mut self) -> Bytes {
        let last: Vec<Bytes> = self.held.take().into_iter().collect();
        self.packets += last.len() as u64;
        let mut bytes = BytesMut::new();
        self.page(LAST, &last, &mut bytes);
        bytes.freeze()
    }

    fn page(&mut self, flags: u8, packets: &[Bytes], bytes: &mut BytesMut) {
        let start = bytes.len();
        let position = self.packets * u64::from(POSITIONS_HZ / 1000 * OPUS_OUT_MS);
        bytes.put_slice(b"OggS");
        bytes.put_slice(&[0, flags]);
        bytes.put_u64_le(position);
        bytes.put_u32_le(self.serial);
        bytes.put_u32_le(self.pages);
        bytes.put_u32_le(0);
        let segments: Vec<u8> = packets.iter().flat_map(|packet| segments(packet.len())).collect();
        bytes.put_u8(segments.len() as u8);
        bytes.put_slice(&segments);
        packets.iter().for_each(|packet| bytes.put_slice(packet));
        let sum = checksum(&bytes[start..]);
        bytes[start + CHECKSUM_AT..start + CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        self.pages += 1;
    }
}

/// Where a page has its checksum.
const CHECKSUM_AT: usize = 22;

/// The lengths of the segments of a packet: 255 each, and a shorter one at its end.
fn segments(size: usize) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(255, size / 255).chain([(size % 255) as u8])
}

/// The checksum of a page (RFC 3533 section 6), bit by bit: a page has a few kilobytes.
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |sum: u32, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| (sum << 1) ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_laced_and_pages_have_the_checksum_of_the_format() {
        let lacing = |size| segments(size).collect::<Vec<_>>();
        assert_eq!((lacing(0), lacing(254), lacing(255)), (vec![0], vec![254], vec![255, 0]));
        assert_eq!(lacing(1275), [255, 255, 255, 255, 255, 0]);
        // The check value of this checksum, of the digits from 1 to 9.
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn a_stream_has_its_pages_in_order_and_one_end() {
        let (mut writer, mut file) = OggWriter::new(7);
        let mut rest = BytesMut::from(&file[..]);
        for count in [1, 0, 40, 1] {
            rest.put_slice(&writer.write(vec![Bytes::from_static(&[1; 300]); count]));
        }
        rest.put_slice(&writer.end());
        file = rest.freeze();
        let (mut pages, mut at, mut packets) = (Vec::new(), 0, 0);
        while at < file.len() {
            assert_eq!(&file[at..at + 4], b"OggS");
            let count = usize::from(file[at + 26]);
            let lengths = &file[at + 27..at + 27 + count];
            packets += lengths.iter().filter(|length| **length < 255).count();
            let size = 27 + count + lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
            let mut page = file[at..at + size].to_vec();
            page[CHECKSUM_AT..CHECKSUM_AT + 4].fill(0);
            let position = u64::from_le_bytes(file[at + 6..at + 14].try_into().unwrap());
            assert_eq!(file[at + CHECKSUM_AT..at + CHECKSUM_AT + 4], checksum(&page).to_le_bytes());
            assert_eq!(u32::from_le_bytes(file[at + 18..at + 22].try_into().unwrap()), pages.len() as u32);
            pages.push((file[at + 5], position / 2880));
            at += size;
        }
        assert_eq!(packets, 2 + 42);
        assert_eq!(pages, [(2, 0), (0, 0), (0, 16), (0, 32), (0, 40), (0, 41), (4, 42)]);
        // A stream without a packet ends, too.
        assert_eq!(OggWriter::new(7).0.end()[5], LAST);
    }
}
