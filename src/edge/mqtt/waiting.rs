//! A client whose message waits for a subscriber, and the packets that it has sent since.
//!
//! While a message of a client is held, no other message of the client is published: further packets are deferred in
//! their order, up to the limits of a queue, and beyond them its socket is not read. Acknowledgements of messages to
//! the client, and pings, are not deferred. Otherwise two clients that publish to each other would each wait for an
//! acknowledgement that is queued after the other's messages. So no cycle of clients deadlocks, as long as none of them
//! has more unacknowledged messages in flight than can be deferred.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;

use super::codec::Request;
use super::reason::End;
use crate::domain::live::{Held, QueueLimits, Ticket};

/// The approximate size of a deferred packet besides its bytes.
const PACKET_BYTES: usize = 256;

/// An answer that was written and is not given yet.
#[derive(Debug)]
pub(super) struct Acknowledgement {
    /// The event that it waits for.
    pub commit: Option<Ticket>,
    pub packet: BytesMut,
    /// The packet id of the client's QoS 2 message that is stored by that commit.
    pub received: Option<u16>,
}

/// A deferred packet, and its size.
#[derive(Debug)]
struct PutOff {
    /// The packet, or the end of the connection.
    next: Result<Request, End>,
    bytes: usize,
}

/// Only there while the client waits.
#[derive(Debug)]
pub(super) struct Waiting {
    limits: QueueLimits,
    held: Option<(Held, Acknowledgement)>,
    put_off: VecDeque<PutOff>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, held: None, put_off: VecDeque::new(), bytes: 0 }
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.held.is_none() && self.put_off.is_empty()
    }

    /// The client's newest message is held; `answer` is for when it is not any more.
    pub(super) fn hold(&mut self, held: Held, answer: Acknowledgement) {
        self.held = Some((held, answer));
    }

    /// Whether a message is held.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// The answer to the held message, once all its subscribers have it.
    pub(super) fn poll_released(&mut self, context: &mut Context<'_>) -> Poll<Acknowledgement> {
        let Some((held, _)) = &mut self.held else { return Poll::Pending };
        ready!(Pin::new(held).poll(context));
        match self.held.take() {
            Some((_, answer)) => Poll::Ready(answer),
            None => Poll::Pending,
        }
    }

    /// The message that is still held when the connection ends, with its answer.
    pub(super) fn into_held(self) -> Option<(Held, Acknowledgement)> {
        self.held
    }

    /// Whether a packet must not wait its turn.
    pub(super) fn goes_ahead(request: &Request) -> bool {
        matches!(request, Request::PubAck(_) | Request::PubRec { .. } | Request::PubComp(_) | Request::PingReq)
    }

    /// Puts off a packet of `bytes` bytes, or the end of the connection.
    pub(super) fn put_off(&mut self, next: Result<Request, End>, bytes: usize) {
        let bytes = bytes + PACKET_BYTES;
        self.bytes += bytes;
        self.put_off.push_back(PutOff { next, bytes });
    }

    /// Whether another packet may be read.
    pub(super) fn has_room(&self) -> bool {
        let is_last = |put_off: &PutOff| matches!(put_off.next, Ok(Request::Disconnect { .. }) | Err(_));
        self.put_off.len() < self.limits.messages_max
            && self.bytes < self.limits.bytes_max
            && !self.put_off.back().is_some_and(is_last)
    }

    /// The first deferred packet, if no message is held.
    pub(super) fn next(&mut self) -> Option<Result<Request, End>> {
        if self.holds() {
            return None;
        }
        let PutOff { next, bytes } = self.put_off.pop_front()?;
        self.bytes -= bytes;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reason::Fault;
    use super::*;

    fn ids(waiting: &mut Waiting) -> Vec<u16> {
        let next = std::iter::from_fn(|| waiting.next());
        next.map(|request| if let Ok(Request::PubRel(id)) = request { id } else { 0 }).collect()
    }

    #[test]
    fn deferred_packets_are_limited_in_number_and_bytes_and_keep_their_order() {
        for (messages_max, bytes_max, expected) in [(3, 1 << 20, 3), (1000, 1000, 3)] {
            let mut waiting = Waiting::new(QueueLimits { messages_max, bytes_max });
            let mut id = 0;
            while waiting.has_room() {
                id += 1;
                waiting.put_off(Ok(Request::PubRel(id)), 100);
            }
            assert_eq!(id, expected);
            assert!(!waiting.is_over());
            assert_eq!(ids(&mut waiting), (1..=expected).collect::<Vec<_>>());
            assert!(waiting.is_over() && waiting.has_room());
        }
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        let disconnect = Request::Disconnect { with_will: false, expiry_s: None };
        for end in [Ok(disconnect), Err(End::Lost), Err(End::Fault(Fault::Malformed))] {
            let mut waiting = Waiting::new(QueueLimits { messages_max: 10, bytes_max: 10_000 });
            waiting.put_off(Ok(Request::PubRel(7)), 4);
            waiting.put_off(end, 2);
            assert!(!waiting.has_room());
            assert_eq!(ids(&mut waiting), [7, 0]);
        }
    }
}
