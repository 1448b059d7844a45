//! Recognition of HE-AAC by its packets.
//!
//! HE-AAC is AAC for the lower half of the spectrum, and beside it a description of the upper half ("spectral band
//! replication", ISO/IEC 14496-3 §4.6.18), which the decoder of this process ignores. A stream need not announce it.
//! Each packet then ends with a "fill" element of that type; parsing the elements before it would need a decoder, so the
//! element is looked for from the end of the packet.

/// Identifiers of elements, of three bits.
const FILL: u32 = 0b110;
const END: u32 = 0b111;
/// Types of the content of a fill element, of four bits: the description, without and with a checksum.
const DESCRIPTIONS: [u32; 2] = [0b1101, 0b1110];
/// The largest content of a fill element, in bytes.
const FILL_BYTES_MAX: usize = 15 + 255 - 1;

/// What a stream announces, and its packets with and without the description.
#[derive(Debug, Default)]
pub(super) struct Count {
    is_announced: bool,
    packets: usize,
    described: usize,
}

impl Count {
    /// No packets yet, of a stream with this configuration (ISO/IEC 14496-3 §1.6): behind that of AAC may stand a mark,
    /// the number of HE-AAC, and whether it is used.
    pub(super) fn of(configuration: &[u8]) -> Self {
        let is_announced = matches!(configuration, [_, _, 0x56, 0xe5, used, ..] if used & 0x80 != 0);
        Self { is_announced, ..Self::default() }
    }

    /// Adds a packet.
    pub(super) fn add(&mut self, packet: &[u8]) {
        self.packets += 1;
        self.described += usize::from(has_description(packet));
    }

    /// Whether the stream is HE-AAC. The bits of a packet look like the element by chance in one of sixty.
    pub(super) fn is_he_aac(&self) -> bool {
        self.is_announced || self.described * 2 > self.packets
    }
}

fn has_description(packet: &[u8]) -> bool {
    let Some(last) = packet.iter().rposition(|byte| *byte != 0) else { return false };
    // The last set bit ends the identifier of the end; only zeros fill up the byte behind it.
    let end = last * 8 + 8 - packet[last].trailing_zeros() as usize;
    let Some(at) = end.checked_sub(3) else { return false };
    if bits(packet, at, 3) != END {
        return false;
    }
    (1..=FILL_BYTES_MAX).any(|bytes| {
        let (head_bits, count, more) = match bytes {
            ..15 => (7, bytes as u32, None),
            _ => (15, 15, Some((bytes - 14) as u32)),
        };
        let Some(begin) = at.checked_sub(bytes * 8 + head_bits) else { return false };
        bits(packet, begin, 3) == FILL
            && bits(packet, begin + 3, 4) == count
            && more.is_none_or(|more| bits(packet, begin + 7, 8) == more)
            && DESCRIPTIONS.contains(&bits(packet, begin + head_bits, 4))
    })
}

/// So many bits of the packet from the bit `at`, at most 8, the highest first.
fn bits(packet: &[u8], at: usize, count: usize) -> u32 {
    (at..at + count).fold(0, |value, bit| {
        let byte = packet.get(bit / 8).map_or(0, |byte| u32::from(*byte));
        value << 1 | byte >> (7 - bit % 8) & 1
    })
}

/// Appends a description without content to a packet, as an encoder of HE-AAC does. None if the packet has no end.
#[cfg(test)]
pub(super) fn with_description(packet: &[u8]) -> Option<Vec<u8>> {
    let last = packet.iter().rposition(|byte| *byte != 0)?;
    let end = (last * 8 + 8 - packet[last].trailing_zeros() as usize).checked_sub(3)?;
    let mut all: String = (0..end).map(|at| if bits(packet, at, 1) == 1 { '1' } else { '0' }).collect();
    // One byte of the type, without a header; then the end.
    all.push_str("110");
    all.push_str("0001");
    all.push_str("11010000");
    all.push_str("111");
    all.push_str(&"0".repeat((8 - all.len() % 8) % 8));
    let bytes = all.as_bytes().chunks(8);
    bytes.map(|byte| u8::from_str_radix(str::from_utf8(byte).ok()?, 2).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_found_at_the_end_of_a_packet() {
        let plain = [0x21, 0x4d, 0x94, 0x3f, 0x07];
        assert!(!has_description(&plain));
        assert!(has_description(&with_description(&plain).unwrap()));
        // A longer one, whose length needs a second number: 20 bytes of content.
        let mut all = format!("{:08b}110111100000110{}{}111", 0x21, "1101", "01".repeat(78));
        all.push_str(&"0".repeat((8 - all.len() % 8) % 8));
        let long: Vec<u8> = all
            .as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        assert!(has_description(&long));
        for odd in [&[][..], &[0], &[0xff], &[0, 0, 0], &[0xff; 400]] {
            assert!(!has_description(odd), "{odd:?}");
        }
    }

    #[test]
    fn a_stream_is_judged_by_most_of_its_packets() {
        let plain = [0x21, 0x4d, 0x94, 0x3f, 0x07];
        let described = with_description(&plain).unwrap();
        let mut count = Count::default();
        assert!(!count.is_he_aac());
        count.add(&described);
        assert!(count.is_he_aac());
        count.add(&plain);
        assert!(!count.is_he_aac());
        assert!(Count::of(&[0x13, 0x08, 0x56, 0xe5, 0x98]).is_he_aac());
        assert!(!Count::of(&[0x13, 0x08, 0x56, 0xe5, 0x00]).is_he_aac());
    }
}
