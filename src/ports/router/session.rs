//! Persistent sessions: their queue stays in the index without a connection, and their messages are stored by `disk`.

use std::sync::Arc;

use super::disk::{Op, StoredSession};
use super::queue::{Durable, Queue};
use super::{Mailbox, QueueLimits, Router};
use crate::model::Party;

/// A persistent session, with or without a connection.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    router: Arc<Router>,
    queue: Arc<Queue>,
}

impl Router {
    /// Creates a persistent session. It stays in the file until [`SessionHandle::end`].
    pub fn open_session(
        self: &Arc<Self>,
        party: Party,
        client_id: &str,
        limits: QueueLimits,
        expiry_s: u32,
    ) -> SessionHandle {
        let session = self.disk.new_session();
        let client_id = client_id.to_owned();
        self.disk.order(Op::Open { session, party: party.clone(), client_id, expiry_s });
        let durable = Durable::new(self.disk.clone(), session, 0, expiry_s);
        let queue = Arc::new(Queue::new(self.next_id(), party, limits, Some(durable)));
        self.note_session(queue.party(), &queue);
        SessionHandle { router: Arc::clone(self), queue }
    }

    /// Restores a session of an earlier process, which then receives messages again.
    pub fn restore_session(self: &Arc<Self>, stored: &StoredSession, limits: QueueLimits) -> SessionHandle {
        let durable = Durable::new(self.disk.clone(), stored.id, stored.last_seq, stored.expiry_s);
        let queue = Arc::new(Queue::new(self.next_id(), stored.party.clone(), limits, Some(durable)));
        self.note_session(queue.party(), &queue);
        for subscription in &stored.subscriptions {
            queue.remember(subscription);
            self.insert_subscription(&queue, subscription);
        }
        SessionHandle { router: Arc::clone(self), queue }
    }
}

impl SessionHandle {
    pub(super) fn new(router: Arc<Router>, queue: Arc<Queue>) -> Self {
        Self { router, queue }
    }

    /// The party of the session.
    pub fn party(&self) -> &Party {
        self.queue.party()
    }

    /// Waits until the session is in the file; false if it could not be written.
    pub async fn is_stored(&self) -> bool {
        self.router.disk.barrier().reached().await
    }

    /// Attaches a connection. It gets the stored messages first.
    pub fn attach(&self) -> Mailbox {
        self.queue.unpark();
        self.router.attach(Arc::clone(&self.queue))
    }

    /// Ends the session, and deletes its subscriptions and its queue.
    pub fn end(&self) {
        self.queue.end_session();
        self.router.forget_subscriptions(&self.queue);
    }
}
