//! One client, one connection (MQTT 3.1.1 §3.1.4), at whichever hub: the later connection ends the earlier one.

use std::sync::Arc;

use dashmap::DashMap;

use super::super::Hub;
use super::super::permissions::is_guest;
use crate::model::{Party, Timestamp};
use crate::ports::bus::{HubName, Notice};
use crate::ports::clock::age_now;
use crate::ports::router::{CloseReason, ConnectionId, Mailbox, MailboxHandle};

type Key = (Party, Box<str>);

/// The clients that are connected to this hub, by party and client id.
#[derive(Debug, Default)]
pub(super) struct Clients(DashMap<Key, Served>);

#[derive(Debug)]
struct Served {
    mailbox: MailboxHandle,
    connection: ConnectionId,
    since: Timestamp,
}

/// A client is connected to this hub, until it is dropped.
#[derive(Debug)]
pub struct ClientHere {
    clients: Arc<Clients>,
    key: Key,
    connection: ConnectionId,
}

impl Drop for ClientHere {
    fn drop(&mut self) {
        self.clients.0.remove_if(&self.key, |_, served| served.connection == self.connection);
    }
}

impl Hub {
    /// A client has connected: its connections to other hubs end. None for a single hub.
    pub fn note_client(&self, mailbox: &Mailbox, client_id: &str) -> Option<ClientHere> {
        let cluster = self.cluster.as_ref().filter(|_| !is_guest(mailbox.party()))?;
        let (connection, since) = (mailbox.connection_id(), age_now());
        let key: Key = (mailbox.party().clone(), client_id.into());
        cluster.clients.0.insert(key.clone(), Served { mailbox: mailbox.handle(), connection, since });
        cluster.bus.send(Notice::Taken { party: key.0.clone(), client_id: client_id.into(), since });
        Some(ClientHere { clients: Arc::clone(&cluster.clients), key, connection })
    }
}

impl Clients {
    /// The mailbox of a client that is connected to this hub.
    pub(super) fn mailbox(&self, party: &Party, client_id: &str) -> Option<MailboxHandle> {
        self.0.get(&(party.clone(), client_id.into())).map(|served| served.mailbox.clone())
    }

    /// A client has connected to another hub: an earlier connection to this one ends. The names of the hubs decide between
    /// two at the same time, so that one of them stays. Returns whether one ends here.
    pub(super) fn note_elsewhere(
        &self,
        (me, from): (&str, &HubName),
        party: &Party,
        client_id: &str,
        (since, until): (Timestamp, Timestamp),
    ) -> bool {
        let Some(served) = self.0.get(&(party.clone(), client_id.into())) else { return false };
        let is_earlier = (served.since, me) < (since, from.hub.as_str());
        if is_earlier {
            served.mailbox.note_elsewhere(since, until);
            served.mailbox.close(CloseReason::TakenOver);
        }
        is_earlier
    }
}
