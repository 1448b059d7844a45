//! Flow control: when a publisher waits for a subscriber that is behind, and when a subscriber is slow.
//!
//! # The rule
//!
//! A queue has a limit in messages and in bytes ([`QueueLimits`](super::QueueLimits)), for QoS 0 and for QoS 1 and 2
//! each, so that a flood of one takes no room from the other. A client's message of QoS 1 or 2 may fill its part to the
//! *high mark*, one half of the limit. From then on the queue is *behind*, until it has drained to the *low mark*, one
//! quarter: a message for it is not queued but held by its publisher ([`Held`]). The publisher is not acknowledged, and
//! none of its later messages is routed: their order is kept, and so is that of their acknowledgements, which MQTT
//! requires (3.1.1 §4.6). All other publishers continue, with all their subscribers: only one pair waits.
//!
//! Held messages are queued when the queue has drained. After `mqtt.backpressure_max_s`, a reader that has taken no
//! message counts as slow, and its connection is closed. If it has taken any, the held message is queued above the high
//! mark. So a publisher waits a limited time for each message, and a slow reader that still reads is kept, unless so
//! many publishers wait for it that even the limit is reached.
//!
//! The default is ten seconds: longer than the pauses of a working reader (a phone that changes networks, a busy
//! machine), and shorter than `mqtt.write_timeout_s`, after which a client that reads no bytes is disconnected in any
//! case, and than the keep alive after which a publisher may close its connection to the hub.
//!
//! # Why the mark is the limit for clients
//!
//! A publisher holds at most one message for each queue, however many it has in flight: the next ones are not read
//! until that one is queued. So any number of publishers, each with any number of messages in flight, cannot fill a
//! queue beyond its half, and no queue has to hold the number of publishers times `mqtt.inflight_max`. The other half
//! is for messages that never wait: those of the hub itself (events, answers, chunks of files), as the hub must not
//! block on one reader, and held messages after the timeout. At the limit the connection is closed: the hub's events
//! are in its database, and are sent again.
//!
//! The distance between the marks is for throughput: a publisher is woken when a quarter of a queue is free, not when
//! one place is.
//!
//! # Persistent sessions
//!
//! They never make a publisher wait. When the queue in memory is full, a session reads from its stored queue instead,
//! which has limits of its own.
//!
//! # Messages of QoS 0
//!
//! They may be lost, so publishers do not wait for long: beyond the half, a publisher yields to the reader for up to 20
//! ms after the half was reached. At the limit they are dropped and counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout, timeout_at};

use super::index::Target;
use super::queue::{Manner, PublishedAt, Pushed, Queue};
use super::{CloseReason, Delivery, Publication};
use crate::model::QoS;

/// A wait for one subscriber.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A publish that has not reached all its subscribers yet. It resolves when each of them has its message or is closed,
/// in `mqtt.backpressure_max_s` at the latest.
///
/// The publisher polls it and publishes nothing else until then. Dropping it loses the held messages.
#[must_use = "held messages are only delivered while this is polled"]
pub struct Held(Vec<Wait>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held for {} subscribers", self.0.len())
    }
}

impl Future for Held {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // All concurrently: the time of one subscriber must not begin after that of another has ended.
        self.0.retain_mut(|wait| wait.as_mut().poll(context).is_pending());
        if self.0.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The waits of a publish, while they are collected.
#[derive(Debug, Default)]
pub(super) struct Owed {
    held: Vec<(Target, QoS)>,
    crowded: Option<Arc<Queue>>,
}

impl Owed {
    /// A subscriber whose queue is behind.
    pub(super) fn hold(&mut self, target: Target, granted: QoS) {
        self.held.push((target, granted));
    }

    /// A subscriber that got its message of QoS 0 and needs time to read. Waiting for one is enough.
    pub(super) fn crowd(&mut self, target: Target) {
        if let Target::Queue(queue) = target {
            self.crowded = Some(queue);
        }
    }

    /// None if there is nothing to wait for.
    pub(super) fn held_until(self, deadline: impl FnOnce() -> Instant, publication: &Arc<Publication>) -> Option<Held> {
        let Self { held, crowded } = self;
        if held.is_empty() && crowded.is_none() {
            return None;
        }
        let mut waits: Vec<Wait> = Vec::with_capacity(held.len() + 1);
        if !held.is_empty() {
            let deadline = deadline();
            for (target, granted) in held {
                waits.push(Box::pin(deliver(target, granted, Arc::clone(publication), deadline)));
            }
        }
        if let Some(queue) = crowded {
            waits.push(Box::pin(async move {
                // The reader had its time, whether or not the queue has drained.
                let _ = timeout(queue.qos_0_wait(), queue.drained()).await;
            }));
        }
        Some(Held(waits))
    }
}

/// Queues a held message when there is room for it, or after the timeout.
async fn deliver(target: Target, granted: QoS, publication: Arc<Publication>, deadline: Instant) {
    let taken_before = target.taken();
    let give = |manner| target.give(&publication, granted, manner, PublishedAt::Now);
    while give(Manner::Waits) == Pushed::Held {
        let Some(queue) = target.behind() else { continue };
        let drained = queue.drained();
        // Checked once more: it may have drained before the wait began.
        if queue.is_behind() && timeout_at(deadline, drained).await.is_err() {
            return match &target {
                Target::Queue(queue) if queue.taken() == taken_before => queue.close(CloseReason::SlowConsumer),
                _ => drop(give(Manner::Insists)),
            };
        }
    }
}

impl Target {
    /// Queues a publication for the subscriber, at the lower of the two qualities of service.
    pub(super) fn give(&self, publication: &Arc<Publication>, granted: QoS, manner: Manner, at: PublishedAt) -> Pushed {
        let push = |queue: &Queue, granted: QoS| {
            let (publication, qos) = (Arc::clone(publication), granted.min(publication.qos));
            queue.push(Delivery { publication, qos, retain: false, stored: None }, manner, at)
        };
        match self {
            Self::Queue(queue) => push(queue, granted),
            Self::Share(share) => share.give(push),
        }
    }

    /// A queue that publishers wait for.
    fn behind(&self) -> Option<Arc<Queue>> {
        match self {
            Self::Queue(queue) => queue.is_behind().then(|| Arc::clone(queue)),
            Self::Share(share) => share.behind(),
        }
    }

    /// The number of deliveries that the reader has taken. For a group, those of all members count.
    fn taken(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.taken(),
            Self::Share(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
