//! The delivery of an answer that hands messages over ([`Handover`]).
//!
//! hyper does not report when an answer was sent. So the body of such an answer notes that hyper has taken it, and the
//! socket notes the next completed flush: hyper flushes when all that it has taken is written. The bytes are then with the
//! system, or with TLS. If the client's end of the connection is closed at that moment, or later by a reset, the client
//! has probably not received them: the messages stay unread, or become unread again. The client has received an answer if
//! it closes its end later, or if the first byte of a request comes after the answer was written: bytes of a request that
//! it has begun before prove nothing. If a client does not wait for answers, a request that comes after an answer may have
//! been sent before it all the same. So of a client that has once sent a number of requests ahead, a request proves
//! nothing of as many answers before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::Edge;
use super::reply::Body;
use crate::domain::{HandedOver, Handover};
use crate::edge::wire;

/// The deliveries of one connection.
#[derive(Default)]
pub(super) struct Sent(Mutex<Deliveries>);

#[derive(Default)]
struct Deliveries {
    /// Of an answer whose body hyper has not taken.
    ahead: Option<Delivery>,
    /// Of answers that are being written.
    taken: Vec<Delivery>,
    /// Of answers that were sent, until the client begins another request.
    unproven: Vec<(Arc<Edge>, oneshot::Receiver<HandedOver>)>,
    /// The largest number of unproven answers when the client had begun another request: so many requests it sends ahead.
    ahead_max: usize,
}

/// The maximum number of answers to requests that a client has sent ahead. The messages of further ones stay unread.
const UNPROVEN_MAX: usize = 16;
/// How requests begin.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];

struct Delivery {
    edge: Arc<Edge>,
    handover: Handover,
}

impl Sent {
    /// Completes the handover when an answer with this body has been sent. If the connection ends before, the handover
    /// is dropped.
    pub(super) fn hand_over(self: &Arc<Self>, body: Body, edge: Arc<Edge>, handover: Handover) -> Body {
        self.deliveries().ahead = Some(Delivery { edge, handover });
        let sent = Arc::clone(self);
        body.map_frame(move |frame| {
            let mut deliveries = sent.deliveries();
            let taken = deliveries.ahead.take();
            deliveries.taken.extend(taken);
            frame
        })
        .boxed_unsync()
    }

    /// A request of the connection begins to be served. It was sent before the answers that are unproven.
    pub(super) fn begin(&self) {
        let mut deliveries = self.deliveries();
        let ahead = deliveries.taken.len() + deliveries.unproven.len();
        deliveries.ahead_max = deliveries.ahead_max.max(ahead);
    }

    /// Whether an answer is being written.
    pub(super) fn is_writing(&self) -> bool {
        !self.deliveries().taken.is_empty()
    }

    /// The socket has been flushed; `is_closed` if the client has closed its end before.
    pub(super) fn flushed(&self, is_closed: bool) {
        let mut deliveries = self.deliveries();
        for Delivery { edge, handover } in std::mem::take(&mut deliveries.taken) {
            if is_closed || deliveries.unproven.len() >= UNPROVEN_MAX {
                continue;
            }
            let (done, handed_over) = oneshot::channel();
            deliveries.unproven.push((Arc::clone(&edge), handed_over));
            let hub = Arc::clone(&edge.hub);
            edge.tasks.spawn(async move {
                match hub.complete(handover, wire::now()).await {
                    // The connection may have ended.
                    Ok(Some(handed_over)) => drop(done.send(handed_over)),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(?error, "messages that were sent stay unread"),
                }
            });
        }
    }

    /// Whether it is unknown whether the client has an answer.
    pub(super) fn is_unproven(&self) -> bool {
        !self.deliveries().unproven.is_empty()
    }

    /// The client has sent bytes after the answers were written; none if it has closed the connection in order.
    pub(super) fn received(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.proven();
        } else if begins_request(bytes) {
            let mut deliveries = self.deliveries();
            let proven = deliveries.unproven.len().saturating_sub(deliveries.ahead_max);
            deliveries.unproven.drain(..proven);
        }
    }

    /// The client has the answers.
    pub(super) fn proven(&self) {
        self.deliveries().unproven.clear();
    }

    /// The connection was reset.
    pub(super) fn lost(&self) {
        let unproven = std::mem::take(&mut self.deliveries().unproven);
        let Some((edge, _)) = unproven.first() else { return };
        let (hub, tasks) = (Arc::clone(&edge.hub), edge.tasks.clone());
        tasks.spawn(async move {
            // The last one first: each is taken back to the state before it.
            for (_, handed_over) in unproven.into_iter().rev() {
                let Ok(handed_over) = handed_over.await else { continue };
                if let Err(error) = hub.take_back(handed_over).await {
                    tracing::warn!(?error, "messages whose answer was lost stay read");
                }
            }
        });
    }

    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether bytes are the beginning of a request, of which the first ones may come alone; before it, a client may send the
/// end of an empty line.
fn begins_request(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    !bytes.is_empty() && METHODS.iter().any(|method| bytes.starts_with(method) || method.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_first_bytes() {
        for bytes in [&b"POST /recv_msg HTTP/1.1\r\n"[..], b"\r\nGET / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PO"] {
            assert!(begins_request(bytes));
        }
        for bytes in [&b"T /recv_msg HTTP/1.1\r\n"[..], b"{\"to_user\":1}", b"", b"\r\n", b"post / HTTP/1.1"] {
            assert!(!begins_request(bytes));
        }
    }
}
