//! What the client sends: deflated messages are inflated, everything else passes as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, ReadBuf};

use super::Fault;
use super::frame::{self, CONTROL, FIN, Frame, OPCODE, RSV, RSV1};

/// The largest frame in which a part of an inflated message is handed on.
const PART_MAX_BYTES: usize = 4 * 1024;
/// Masked bytes that are inflated in one go.
const UNMASKED_BYTES: usize = 512;
/// What the sender leaves out at the end of a message (RFC 7692 §7.2.2).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];
/// Final blocks in one message: after each one a new stream begins, which costs as much as kilobytes of input.
const FINAL_BLOCKS_MAX: u32 = 8;

/// The way in.
#[derive(Debug)]
pub(super) struct Inbound {
    message_max_bytes: usize,
    frame: Frame,
    /// Whether the current frame is a part of `message`.
    inflates: bool,
    message: Option<Message>,
    /// Bytes of the client that the reader may not see as they are.
    raw: Bytes,
    /// A frame for the reader.
    ready: Bytes,
    fault: Option<Fault>,
}

/// A deflated message on its way in.
#[derive(Debug)]
struct Message {
    inflate: Decompress,
    /// What the next frame for the reader is: a text, binary data, or their continuation.
    opcode: u8,
    /// That frame's payload, of which `filled` is known.
    part: Box<[u8]>,
    filled: usize,
    mask: [u8; 4],
    deflated_bytes: u64,
    inflated_bytes: usize,
    final_blocks: u32,
    /// What is to be put in of the tail, once the last frame is over.
    tail: Option<&'static [u8]>,
}

/// What becomes of a frame.
enum Lane {
    Pass,
    Inflate,
    Refuse(Fault),
}

impl Inbound {
    pub(super) fn new(message_max_bytes: usize) -> Self {
        Self {
            message_max_bytes,
            frame: Frame::default(),
            inflates: false,
            message: None,
            raw: Bytes::new(),
            ready: Bytes::new(),
            fault: None,
        }
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.message.is_none() && self.raw.is_empty() && self.ready.is_empty()
    }

    /// Bytes that pass are read into `buffer` and stay there. As soon as something else begins, the rest moves to
    /// `raw`, which is never larger than the reader's buffer.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while buffer.remaining() > 0 {
            if !self.ready.is_empty() {
                let length = self.ready.len().min(buffer.remaining());
                buffer.put_slice(&self.ready[..length]);
                advance(&mut self.ready, length);
                break;
            }
            if let Some(fault) = self.fault {
                return Poll::Ready(Err(fault.into()));
            }
            if self.message.as_ref().is_some_and(|message| message.tail.is_some()) {
                self.finish();
            } else if self.raw.is_empty() {
                let before = buffer.filled().len();
                ready!(Pin::new(&mut *io).poll_read(context, buffer))?;
                let new = &buffer.filled()[before..];
                let passed = self.pass(new);
                if passed == new.len() {
                    break;
                }
                self.raw = Bytes::copy_from_slice(&new[passed..]);
                buffer.set_filled(before + passed);
                if passed > 0 {
                    break;
                }
            } else {
                let mut raw = std::mem::take(&mut self.raw);
                let length = self.pass(&raw[..raw.len().min(buffer.remaining())]);
                buffer.put_slice(&raw[..length]);
                let taken = if length > 0 { length } else { self.inflate(&raw) };
                advance(&mut raw, taken);
                self.raw = raw;
                if length > 0 {
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How many of the first bytes are for the reader as they are.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() && !self.inflates && self.fault.is_none() {
            if self.frame.is_between() {
                match self.lane(bytes[passed]) {
                    Lane::Pass => {}
                    Lane::Inflate => {
                        self.inflates = true;
                        break;
                    }
                    Lane::Refuse(fault) => {
                        self.fault = Some(fault);
                        break;
                    }
                }
            }
            passed += self.frame.skip(&bytes[passed..]);
        }
        passed
    }

    /// What becomes of the frame whose head begins with `first`. Faults that have nothing to do with compression are
    /// left to the framing.
    fn lane(&self, first: u8) -> Lane {
        let (opcode, is_deflated, is_within) = (first & OPCODE, first & RSV1 != 0, self.message.is_some());
        match opcode {
            CONTROL.. if is_deflated => Lane::Refuse(Fault::Misplaced),
            CONTROL.. => Lane::Pass,
            0 if is_deflated => Lane::Refuse(Fault::Misplaced),
            0 if is_within && first & RSV == 0 => Lane::Inflate,
            _ if is_within => Lane::Refuse(Fault::Interleaved),
            1 | 2 if first & RSV == RSV1 => Lane::Inflate,
            _ if is_deflated => Lane::Refuse(Fault::Misplaced),
            _ => Lane::Pass,
        }
    }

    /// Takes some of the current frame, which is a part of a deflated message; says how many bytes that were.
    fn inflate(&mut self, bytes: &[u8]) -> usize {
        self.try_inflate(bytes).unwrap_or_else(|fault| {
            self.refuse(fault);
            bytes.len()
        })
    }

    fn try_inflate(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(left) = self.frame.left() else {
            let taken = self.frame.take_head(bytes);
            if let Some(length) = self.frame.left() {
                self.begin(length)?;
            }
            return Ok(taken);
        };
        let Some(message) = &mut self.message else { return Err(Fault::Corrupt) };
        let mut unmasked = [0; UNMASKED_BYTES];
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()).min(unmasked.len());
        for (index, (clear, masked)) in unmasked[..length].iter_mut().zip(bytes).enumerate() {
            *clear = masked ^ message.mask[index % 4];
        }
        let taken = message.inflate(&unmasked[..length], self.message_max_bytes)?;
        message.mask.rotate_left(taken % 4);
        self.ready = message.full_part();
        self.frame.take_payload(taken);
        self.end_of_frame();
        Ok(taken)
    }

    /// Goes from a frame's head to its payload of `length` bytes.
    fn begin(&mut self, length: u64) -> Result<(), Fault> {
        if !frame::is_masked(self.frame.head()) {
            return Err(Fault::Unmasked);
        }
        let opcode = self.frame.head().first().map_or(0, |first| first & OPCODE);
        let message = self.message.get_or_insert_with(|| Message::new(opcode));
        message.mask = self.frame.mask();
        // Empty blocks inflate to nothing: what comes in has a limit too.
        message.deflated_bytes = message.deflated_bytes.saturating_add(length);
        if message.deflated_bytes > 2 * self.message_max_bytes as u64 + 64 {
            return Err(Fault::TooLarge);
        }
        self.end_of_frame();
        Ok(())
    }

    fn end_of_frame(&mut self) {
        if self.frame.left() != Some(0) {
            return;
        }
        let is_last = self.frame.head().first().is_some_and(|first| first & FIN != 0);
        if let Some(message) = self.message.as_mut().filter(|_| is_last) {
            message.tail = Some(TAIL);
        }
        self.frame = Frame::default();
        self.inflates = false;
    }

    /// Puts in what the sender has left out, and makes the message's last frames.
    fn finish(&mut self) {
        let Some(message) = &mut self.message else { return };
        match message.finish(self.message_max_bytes) {
            Ok(true) => {
                self.ready = message.part(FIN);
                self.message = None;
            }
            Ok(false) => self.ready = message.full_part(),
            Err(fault) => self.refuse(fault),
        }
    }

    fn refuse(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.message = None;
    }
}

/// Drops the first bytes, and the memory with the last one.
fn advance(bytes: &mut Bytes, length: usize) {
    bytes.advance(length);
    if bytes.is_empty() {
        *bytes = Bytes::new();
    }
}

impl Message {
    fn new(opcode: u8) -> Self {
        Self {
            inflate: Decompress::new(false),
            opcode,
            part: vec![0; PART_MAX_BYTES].into(),
            filled: 0,
            mask: [0; 4],
            deflated_bytes: 0,
            inflated_bytes: 0,
            final_blocks: 0,
            tail: None,
        }
    }

    /// Inflates into the part, which has room; says how much of `input` was taken.
    fn inflate(&mut self, input: &[u8], message_max_bytes: usize) -> Result<usize, Fault> {
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let inflated = self.inflate.decompress(input, &mut self.part[self.filled..], FlushDecompress::None);
        let status = inflated.map_err(|_| Fault::Corrupt)?;
        let taken = (self.inflate.total_in() - before.0) as usize;
        let made = (self.inflate.total_out() - before.1) as usize;
        self.filled += made;
        self.inflated_bytes += made;
        if self.inflated_bytes > message_max_bytes {
            return Err(Fault::TooLarge);
        }
        if status == Status::StreamEnd {
            // A final block is allowed; what follows is a stream of its own (RFC 7692 §7.2.3.4).
            self.final_blocks += 1;
            if self.final_blocks > FINAL_BLOCKS_MAX {
                return Err(Fault::Corrupt);
            }
            self.inflate.reset(false);
        } else if taken == 0 && made == 0 && !input.is_empty() {
            return Err(Fault::Corrupt);
        }
        Ok(taken)
    }

    /// Goes on with the end of the message until the part is full; says whether all is out.
    fn finish(&mut self, message_max_bytes: usize) -> Result<bool, Fault> {
        while self.filled < self.part.len() {
            let tail = self.tail.unwrap_or_default();
            let filled = self.filled;
            let taken = self.inflate(tail, message_max_bytes)?;
            self.tail = Some(&tail[taken..]);
            if tail.is_empty() && self.filled == filled {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The part as a frame if it is full.
    fn full_part(&mut self) -> Bytes {
        if self.filled < self.part.len() { Bytes::new() } else { self.part(0) }
    }

    /// The part as a frame of the client.
    fn part(&mut self, fin: u8) -> Bytes {
        let frame = frame::write(fin | self.opcode, true, &self.part[..self.filled]);
        self.opcode = 0;
        self.filled = 0;
        frame.into()
    }
}
