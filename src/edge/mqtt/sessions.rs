//! The live sessions by party and client id, for one purpose: a client that connects again ends its old session
//! (MQTT 3.1.1 §3.1.4). The party is part of the key, so that nobody can end a stranger's session by its client id.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::model::Party;
use crate::ports::router::{CloseReason, ConnectionId, Mailbox, MailboxHandle};

type Key = (Party, Box<str>);

/// All live sessions of this edge.
#[derive(Debug, Default)]
pub(super) struct Sessions(DashMap<Key, Live>);

#[derive(Debug)]
struct Live {
    connection: ConnectionId,
    mailbox: MailboxHandle,
    /// Told once, when the session's will is published and its mailbox gone. One session at most waits for it: the
    /// one that took its place.
    ended: Arc<Notify>,
}

impl Sessions {
    /// Enters a session and closes the one that it takes over, if any. Waits at most `patience` until that one
    /// has ended, so that its will does not follow what the new session publishes.
    pub(super) async fn enter(
        self: &Arc<Self>,
        client_id: String,
        mailbox: &Mailbox,
        patience: Duration,
    ) -> SessionGuard {
        let key = (mailbox.party().clone(), client_id.into_boxed_str());
        let ended = Arc::new(Notify::new());
        let connection = mailbox.connection_id();
        let live = Live { connection, mailbox: mailbox.handle(), ended: Arc::clone(&ended) };
        let old = self.0.insert(key.clone(), live);
        let guard = SessionGuard { sessions: Arc::clone(self), key, connection, ended };
        if let Some(old) = old {
            old.mailbox.close(CloseReason::TakenOver);
            // An old session that is stuck is closed all the same: it gets and routes nothing more.
            let _ = timeout(patience, old.ended.notified()).await;
        }
        guard
    }

    /// Closes every session.
    pub(super) fn close_all(&self, reason: CloseReason) {
        self.0.iter().for_each(|live| live.mailbox.close(reason));
    }
}

/// A session's entry, removed when it is dropped.
#[derive(Debug)]
pub(super) struct SessionGuard {
    sessions: Arc<Sessions>,
    key: Key,
    connection: ConnectionId,
    ended: Arc<Notify>,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let key = (self.key.0.clone(), self.key.1.clone());
        if let Entry::Occupied(entry) = self.sessions.0.entry(key)
            && entry.get().connection == self.connection
        {
            entry.remove();
        }
        // Stored if nobody waits yet.
        self.ended.notify_one();
    }
}
