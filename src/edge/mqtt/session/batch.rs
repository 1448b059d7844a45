//! When a session writes its output.
//!
//! A write costs as much as the work for dozens of small messages. A session that has one packet to write does it at once,
//! so that its client waits for nothing. One that has several is busy: it first reads what its client has sent meanwhile, so
//! that the answers share a write. The number of these reads is limited, and none of them waits.
//!
//! It does not let other tasks have their turn first: measured, that gave less throughput from one client to many and beside
//! other busy processes.

/// The number of reads before a write at most.
const READS_MAX: u8 = 4;

/// The output of a session since its last write.
#[derive(Debug, Default)]
pub(super) struct Batch {
    packets: u32,
    reads: u8,
    /// Nothing more will be read: the client has ended its side of the connection, or it is lost.
    is_last: bool,
}

impl Batch {
    /// Notes an encoded message, or the answer to one.
    #[inline]
    pub(super) fn add(&mut self) {
        self.packets += 1;
    }

    /// Begins the next one.
    #[inline]
    pub(super) fn begin(&mut self) {
        *self = Self { is_last: self.is_last, ..Self::default() };
    }

    /// Whether the input is read before the output is written.
    #[inline]
    pub(super) fn reads_first(&self) -> bool {
        self.packets > 1 && self.reads < READS_MAX && !self.is_last
    }

    /// Notes the result of such a read. Returns the number of bytes; none if nothing more will be read. Then the output is
    /// written before the session ends.
    pub(super) fn note_read(&mut self, read: std::io::Result<usize>) -> Option<usize> {
        self.reads += 1;
        let bytes = read.ok().filter(|bytes| *bytes > 0);
        self.is_last = bytes.is_none();
        bytes
    }

    /// Whether a read before a write has met the end.
    #[inline]
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn of(packets: usize) -> Batch {
        let mut batch = Batch::default();
        (0..packets).for_each(|_| batch.add());
        batch
    }

    #[test]
    fn a_single_packet_is_written_at_once() {
        for packets in [0, 1] {
            assert!(!of(packets).reads_first(), "{packets}");
        }
    }

    #[test]
    fn several_packets_are_written_after_some_reads() {
        let mut batch = of(2);
        for _ in 0..2 {
            for _ in 0..READS_MAX {
                assert!(batch.reads_first());
                assert_eq!(batch.note_read(Ok(7)), Some(7));
                batch.add();
            }
            assert!(!batch.reads_first(), "the packets of a client that sends on are answered");
            batch.begin();
            assert!(!batch.reads_first());
            (0..2).for_each(|_| batch.add());
        }
    }

    #[test]
    fn the_end_of_the_input_is_remembered_until_the_output_is_written() {
        for end in [Ok(0), Err(io::ErrorKind::ConnectionReset.into())] {
            let mut batch = of(2);
            assert!(!batch.is_last());
            assert_eq!(batch.note_read(end), None);
            assert!(!batch.reads_first());
            batch.begin();
            assert!(batch.is_last());
        }
    }
}
