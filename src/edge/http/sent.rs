//! The delivery of an answer that hands messages over ([`Handover`]), and of a sound.
//!
//! hyper does not report when an answer was sent. So the body of such an answer notes that hyper has taken it, and the
//! socket notes the next completed flush: hyper flushes when all that it has taken is written. The bytes are then with the
//! system, or with TLS. If the client's end of the connection is closed at that moment, or later by a reset, the client
//! has probably not received them: the messages stay unread, or become unread again. The client has received an answer if
//! it closes its end later, or if the first byte of a request comes after the answer was written: bytes of a request that
//! it has begun before prove nothing. If a client does not wait for answers, a request that comes after an answer may have
//! been sent before it all the same. So of a client that has once sent a number of requests ahead, a request proves
//! nothing of as many answers before it.
//!
//! A sound is sent at the pace at which the device plays it, and ends the connection. A device that closes its end before
//! the end of the sound has stopped it. One that closes its end afterwards has received it. One that does neither is gone:
//! the system may have all bytes, but the device has not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::ready;
use futures_util::stream::{self, BoxStream, StreamExt as _};
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
    /// The sound that is sent, or was sent.
    sound: Option<Followed>,
}

/// A sound whose delivery is followed.
struct Followed {
    received: oneshot::Sender<()>,
    /// Whether hyper has taken all of it.
    has_ended: bool,
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

    /// Follows the delivery of a sound: `received` resolves when the client has all of it, and is dropped with the
    /// connection.
    pub(super) fn follow<T: Send + 'static>(
        self: &Arc<Self>,
        pieces: BoxStream<'static, T>,
        received: oneshot::Sender<()>,
    ) -> BoxStream<'static, T> {
        self.deliveries().sound = Some(Followed { received, has_ended: false });
        let sent = Arc::clone(self);
        let end = stream::once(async move {
            if let Some(sound) = &mut sent.deliveries().sound {
                sound.has_ended = true;
            }
            None
        });
        pieces.map(Some).chain(end).filter_map(ready).boxed()
    }

    /// Whether a sound is sent, and the client is to stay connected for the rest of it.
    pub(super) fn is_in_a_sound(&self) -> bool {
        self.deliveries().sound.as_ref().is_some_and(|sound| !sound.has_ended)
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
        let deliveries = self.deliveries();
        !deliveries.unproven.is_empty() || deliveries.sound.is_some()
    }

    /// The client has sent bytes after the answers were written; none if it has closed the connection in order.
    pub(super) fn received(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.proven(true);
        } else if begins_request(bytes) {
            let mut deliveries = self.deliveries();
            let proven = deliveries.unproven.len().saturating_sub(deliveries.ahead_max);
            deliveries.unproven.drain(..proven);
        }
    }

    /// The client has the answers: it has closed its end, or has not reset the connection in time. A sound is proven by
    /// the first only.
    pub(super) fn proven(&self, is_closed: bool) {
        let mut deliveries = self.deliveries();
        deliveries.unproven.clear();
        let sound = deliveries.sound.take_if(|sound| sound.has_ended);
        if let Some(sound) = sound.filter(|_| is_closed) {
            // Nobody may wait for it any more.
            let _ = sound.received.send(());
        }
    }

    /// The connection was reset.
    pub(super) fn lost(&self) {
        let unproven = {
            let mut deliveries = self.deliveries();
            deliveries.sound = None;
            std::mem::take(&mut deliveries.unproven)
        };
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
