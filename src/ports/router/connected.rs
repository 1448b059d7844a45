//! The live connections, as the operator sees them.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Mailbox, Router};
use crate::model::{Party, Timestamp};
use crate::ports::metrics::Traffic;

/// The link of a connection. The router does not use it.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// The name of its protocol.
    pub protocol: &'static str,
    /// The address of the client.
    pub peer: IpAddr,
    /// When it logged in.
    pub since: Timestamp,
    /// Its bytes.
    pub traffic: Arc<Traffic>,
}

/// A live connection.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The party.
    pub party: Party,
    /// Its link; none of one that has just connected.
    pub link: Option<LinkInfo>,
    /// Messages in its queue in memory.
    pub queued: usize,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages that were dropped because its queue was full.
    pub dropped: u64,
}

impl Mailbox {
    /// Notes the link of the connection.
    pub fn note_link(&self, link: LinkInfo) {
        self.queue.state().link = Some(Box::new(link));
    }
}

impl Router {
    /// The live connections of parties whose id begins with `prefix`, at most `limit`, those with the longest queues
    /// first; and the number of all of these. It looks at every connection.
    pub fn connected(&self, prefix: &str, limit: usize) -> (Vec<Connected>, usize) {
        let mut found = Vec::new();
        for present in self.presence.iter().filter(|entry| entry.key().id().starts_with(prefix)) {
            for queue in &present.here {
                let state = queue.state();
                let link = state.link.as_deref().cloned();
                let (queued, subscriptions, dropped) = (state.queued(), state.filters.len(), state.dropped);
                found.push(Connected { party: queue.party().clone(), link, queued, subscriptions, dropped });
            }
        }
        let count = found.len();
        found.sort_by(|a, b| {
            let since = |connected: &Connected| connected.link.as_ref().map_or(f64::INFINITY, |link| link.since);
            b.queued.cmp(&a.queued).then(since(b).total_cmp(&since(a)))
        });
        found.truncate(limit);
        (found, count)
    }
}
