//! The heads of frames (RFC 6455 §5.2), read as their bytes come in.

/// The frame is its message's last one.
pub(super) const FIN: u8 = 0x80;
/// The message is deflated (RFC 7692 §6).
pub(super) const RSV1: u8 = 0x40;
/// The bits that extensions give a meaning.
pub(super) const RSV: u8 = 0x70;
/// What the frame is.
pub(super) const OPCODE: u8 = 0x0f;
/// The first opcode of control frames.
pub(super) const CONTROL: u8 = 0x8;
/// In a head's second byte: the payload is masked.
const MASKED: u8 = 0x80;
/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX_BYTES: usize = 14;

/// How long a head is, told from its second byte.
fn head_length(second: u8) -> usize {
    let length = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & MASKED == 0 { 0 } else { 4 }
}

/// The head and payload lengths of the frame at the start of `bytes`, if its head is whole.
pub(super) fn lengths(bytes: &[u8]) -> Option<(usize, u64)> {
    let head_length = head_length(*bytes.get(1)?);
    let head = bytes.get(..head_length)?;
    let payload = match head[1] & !MASKED {
        126 => u16::from_be_bytes([head[2], head[3]]).into(),
        127 => head[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        short => short.into(),
    };
    Some((head_length, payload))
}

/// Whether the head says that the payload is masked.
pub(super) fn is_masked(head: &[u8]) -> bool {
    head.get(1).is_some_and(|second| second & MASKED != 0)
}

/// Writes a frame with a mask of zeros, under which the payload stays as it is, or with none.
pub(super) fn write(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_MAX_BYTES + payload.len());
    let mask_bit = if masked { MASKED } else { 0 };
    frame.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => frame.push(mask_bit | short),
        (_, Ok(length)) => {
            frame.push(mask_bit | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(mask_bit | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

/// Where a stream of frames stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame {
    head: [u8; HEAD_MAX_BYTES],
    /// How many bytes of the head have come; 0 between two frames.
    known: usize,
    /// The payload that has not come yet, once the head is whole.
    left: Option<u64>,
}

impl Frame {
    /// Whether the next byte is a head's first one.
    pub(super) fn is_between(&self) -> bool {
        self.known == 0
    }

    /// The payload that has not come yet; nothing if the head is not whole.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }

    /// The head as far as it has come.
    pub(super) fn head(&self) -> &[u8] {
        &self.head[..self.known]
    }

    /// The last bytes of a whole head, which are its mask if it has one.
    pub(super) fn mask(&self) -> [u8; 4] {
        self.head().last_chunk().copied().unwrap_or_default()
    }

    /// Takes what belongs to the head; says how many bytes that were.
    pub(super) fn take_head(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.left.is_none() && taken < bytes.len() {
            self.head[self.known] = bytes[taken];
            self.known += 1;
            taken += 1;
            self.left = lengths(self.head()).map(|(_, payload)| payload);
        }
        taken
    }

    /// Notes that `length` bytes of the payload were taken.
    pub(super) fn take_payload(&mut self, length: usize) {
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
    }

    /// Takes what belongs to this frame, its end included; says how many bytes that were.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> usize {
        let head = self.take_head(bytes);
        let left = self.left.unwrap_or(u64::MAX);
        let payload = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - head);
        self.take_payload(payload);
        if self.left == Some(0) {
            *self = Self::default();
        }
        head + payload
    }
}
