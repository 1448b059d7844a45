//! The delivery of an answer that hands messages over ([`Handover`]).
//!
//! hyper does not report when an answer was sent. So the body of such an answer notes that hyper has taken it, and the
//! socket notes the next completed flush: hyper flushes when all that it has taken is written. The bytes are then with the
//! system, or with TLS. If the client's end of the connection is closed at that moment, or later by a reset, the client
//! has probably not received them: the messages stay unread, or become unread again.

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
    /// Of the last answer that was sent, until the client sends something again.
    unproven: Option<(Arc<Edge>, oneshot::Receiver<HandedOver>)>,
}

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

    /// Whether an answer is being written.
    pub(super) fn is_writing(&self) -> bool {
        !self.deliveries().taken.is_empty()
    }

    /// The socket has been flushed; `is_closed` if the client has closed its end before.
    pub(super) fn flushed(&self, is_closed: bool) {
        let mut deliveries = self.deliveries();
        for Delivery { edge, handover } in std::mem::take(&mut deliveries.taken) {
            if is_closed {
                continue;
            }
            let (done, handed_over) = oneshot::channel();
            deliveries.unproven = Some((Arc::clone(&edge), handed_over));
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

    /// Whether it is open whether the client has the last answer.
    pub(super) fn is_unproven(&self) -> bool {
        self.deliveries().unproven.is_some()
    }

    /// The client has sent something, or has closed the connection in order: it has the last answer.
    pub(super) fn proven(&self) {
        self.deliveries().unproven = None;
    }

    /// The connection was reset.
    pub(super) fn lost(&self) {
        let Some((edge, handed_over)) = self.deliveries().unproven.take() else { return };
        let hub = Arc::clone(&edge.hub);
        edge.tasks.spawn(async move {
            let Ok(handed_over) = handed_over.await else { return };
            if let Err(error) = hub.take_back(handed_over).await {
                tracing::warn!(?error, "messages whose answer was lost stay read");
            }
        });
    }

    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
