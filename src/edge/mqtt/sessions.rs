//! The sessions by party and client id: the connection that serves each, and its memory while no connection does.
//!
//! A client that connects again ends its old connection and waits for its place (MQTT 3.1.1 §3.1.4). The party is part
//! of the key, so that a client cannot end or take over another party's session by its client id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use super::exchange::{Memory, Options, stored_id};
use crate::config;
use crate::domain::cluster::{ClientHere, LentSession, SessionKeeper};
use crate::domain::{CloseReason, Hub, Mailbox, MailboxHandle, SessionHandle};
use crate::edge::wire::age_now;
use crate::model::{Party, Timestamp};

type Key = (Party, Box<str>);

/// All sessions of this edge, served or away.
#[derive(Debug, Default)]
pub(super) struct Sessions(DashMap<Arc<Key>, Arc<Slot>>);

/// The entry of one client id. The holder of `session` serves it.
#[derive(Debug, Default)]
struct Slot {
    session: Arc<tokio::sync::Mutex<Option<Box<Kept>>>>,
    live: Mutex<Option<MailboxHandle>>,
    /// The number of the connection that was accepted last, of those that came this far.
    newest: AtomicU64,
}

impl Slot {
    fn live(&self) -> MutexGuard<'_, Option<MailboxHandle>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session without a connection.
#[derive(Debug)]
pub(super) struct Kept {
    handle: SessionHandle,
    memory: Memory,
    ends_at: Timestamp,
    /// The delayed will (v5 §3.1.3.2.2): sending `false` cancels it; dropping the sender publishes it at once.
    will: Option<oneshot::Sender<bool>>,
}

impl Kept {
    pub(super) fn new(
        handle: SessionHandle,
        memory: Memory,
        ends_at: Timestamp,
        will: Option<oneshot::Sender<bool>>,
    ) -> Self {
        Self { handle, memory, ends_at, will }
    }

    pub(super) fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// The client is back: its will is not published.
    pub(super) fn resume(self) -> (SessionHandle, Memory) {
        if let Some(will) = self.will {
            // The will may have been published already.
            let _ = will.send(false);
        }
        (self.handle, self.memory)
    }

    /// Ends the session. A will that waits is published.
    pub(super) fn end(self) {
        self.handle.end();
    }
}

impl Sessions {
    /// The sessions that an earlier process left, waiting for their clients.
    pub(super) fn restore(hub: &Hub, now: Timestamp) -> Self {
        let sessions = Self::default();
        for (stored, handle) in hub.restore_sessions() {
            let ends_at = stored.ended_at + f64::from(stored.expiry_s);
            if ends_at <= now {
                handle.end();
                continue;
            }
            let options = stored.subscriptions.into_iter().map(|subscription| {
                Options::new(subscription.filter, subscription.share, subscription.options, subscription.id)
            });
            if hub.has_bus() {
                hub.note_begun_anew(&handle);
            }
            let received = stored.received.into_iter().collect();
            let memory = Memory { received, options: options.collect(), ..Memory::default() };
            let kept = Kept::new(handle, memory, ends_at, None);
            let slot = Slot { session: Arc::new(tokio::sync::Mutex::new(Some(Box::new(kept)))), ..Slot::default() };
            sessions.0.insert(Arc::new((stored.party, stored.client_id.into())), Arc::new(slot));
        }
        sessions
    }

    /// Ends the client's older connection, if any, and waits until its will is published and its place free. `number` is
    /// its place in the order of accepting; none if one that was accepted later is here already (the check of its login
    /// was the faster one), or if the wait takes longer than `patience`.
    pub(super) async fn enter(
        self: &Arc<Self>,
        party: &Party,
        client_id: &str,
        number: u64,
        patience: Duration,
    ) -> Option<SessionPlace> {
        let entry = self.0.entry(Arc::new((party.clone(), client_id.into())));
        let key = Arc::clone(entry.key());
        let slot = Arc::clone(&entry.or_default());
        if slot.newest.fetch_max(number, Ordering::SeqCst) > number {
            return None;
        }
        if let Some(live) = slot.live().as_ref() {
            live.close(CloseReason::TakenOver);
        }
        let held = timeout(patience, Arc::clone(&slot.session).lock_owned()).await.ok()?;
        Some(SessionPlace { sessions: Arc::clone(self), key, slot, held: Some(held), number, here: None })
    }

    /// Whether one more session may be kept for a party.
    pub(super) fn has_room(&self, party: &Party, config: &config::Mqtt) -> bool {
        let of_party = self.0.iter().filter(|slot| slot.key().0 == *party).take(config.sessions_per_party_max + 1);
        let is_guest = crate::domain::permissions::is_guest(party);
        self.0.len() <= config.sessions_max && (is_guest || of_party.count() <= config.sessions_per_party_max)
    }

    /// Closes every connection.
    pub(super) fn close_all(&self, reason: CloseReason) {
        for slot in &self.0 {
            if let Some(live) = slot.live().as_ref() {
                live.close(reason);
            }
        }
    }

    /// Ends the sessions whose time is over (v5 §3.1.2.11.2).
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, slot| {
            let Ok(mut session) = slot.session.try_lock() else { return true };
            if let Some(kept) = session.take_if(|kept| kept.ends_at <= now) {
                kept.end();
            }
            // A client that is about to connect has the slot already.
            session.is_some() || Arc::strong_count(slot) > 1
        });
    }
}

/// The right to serve one session, until it is dropped.
#[derive(Debug)]
pub(super) struct SessionPlace {
    sessions: Arc<Sessions>,
    key: Arc<Key>,
    slot: Arc<Slot>,
    held: Option<OwnedMutexGuard<Option<Box<Kept>>>>,
    number: u64,
    /// For the other hubs, while a connection serves the session. Boxed: a hub alone has none.
    here: Option<Box<ClientHere>>,
}

impl SessionPlace {
    pub(super) fn client_id(&self) -> &str {
        &self.key.1
    }

    /// The session that waits here, unless its time is over.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Kept> {
        let kept = self.held.as_mut()?.take()?;
        if kept.ends_at > now {
            return Some(*kept);
        }
        kept.end();
        None
    }

    /// Leaves a session here for the client's return.
    pub(super) fn keep(&mut self, kept: Kept) {
        if let Some(held) = &mut self.held {
            **held = Some(Box::new(kept));
        }
    }

    /// Leaves nothing here: the session has ended.
    pub(super) fn clear(&mut self) {
        if let Some(held) = &mut self.held {
            **held = None;
        }
    }

    /// From now on, another connection of this client closes `mailbox`, to whichever hub.
    pub(super) fn serve(&mut self, mailbox: &Mailbox, hub: &Hub) {
        *self.slot.live() = Some(mailbox.handle());
        if self.slot.newest.load(Ordering::SeqCst) != self.number {
            // It connected while this one waited, and found no connection to close.
            mailbox.close(CloseReason::TakenOver);
        }
        self.here = hub.note_client(mailbox, &self.key.1).map(Box::new);
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        *self.slot.live() = None;
        let is_empty = self.held.take().is_none_or(|held| held.is_none());
        if is_empty {
            // Two: the map's and this one. A client that connects takes another while the map's entry is locked.
            self.sessions
                .0
                .remove_if(&self.key, |_, slot| Arc::ptr_eq(slot, &self.slot) && Arc::strong_count(slot) == 2);
        }
    }
}

/// Gives sessions to the other hubs, for whose clients it waits no longer than this.
pub(super) struct Keeper {
    pub(super) sessions: Arc<Sessions>,
    pub(super) patience: Duration,
}

impl SessionKeeper for Keeper {
    fn count(&self) -> usize {
        self.sessions.0.len()
    }

    fn clients(&self) -> Vec<(Party, String)> {
        self.sessions.0.iter().map(|slot| (slot.key().0.clone(), slot.key().1.to_string())).collect()
    }

    fn away(&self, party: &Party, client_id: &str) -> Option<SessionHandle> {
        let key: Key = (party.clone(), client_id.into());
        let slot = Arc::clone(&*self.sessions.0.get(&key)?);
        let session = slot.session.try_lock().ok()?;
        session.as_ref().map(|kept| kept.handle.clone())
    }

    fn lend<'a>(&'a self, party: &'a Party, client_id: &'a str) -> BoxFuture<'a, Option<Box<dyn LentSession>>> {
        Box::pin(async move {
            let key: Arc<Key> = Arc::new((party.clone(), client_id.into()));
            let slot = Arc::clone(&*self.sessions.0.get(&key)?);
            if let Some(live) = slot.live().as_ref() {
                live.close(CloseReason::TakenOver);
            }
            let held = timeout(self.patience, Arc::clone(&slot.session).lock_owned()).await.ok()?;
            let (sessions, number) = (Arc::clone(&self.sessions), slot.newest.load(Ordering::SeqCst));
            let mut place = SessionPlace { sessions, key, slot, held: Some(held), number, here: None };
            let kept = place.take(age_now())?;
            let (handle, memory) = (kept.handle.clone(), kept.memory.clone());
            Some(Box::new(Lent { place, kept: Some(kept), handle, memory }) as Box<dyn LentSession>)
        })
    }
}

/// A session that another hub gets. Dropped, it waits for its client here again.
struct Lent {
    place: SessionPlace,
    kept: Option<Kept>,
    handle: SessionHandle,
    memory: Memory,
}

impl LentSession for Lent {
    fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    fn received(&self) -> Vec<u16> {
        self.memory.received.iter().copied().collect()
    }

    fn released(&self) -> Vec<u16> {
        self.memory.released.iter().copied().collect()
    }

    fn packet_id(&self, seq: u64) -> u16 {
        stored_id(seq)
    }

    fn end(mut self: Box<Self>) {
        if let Some(kept) = self.kept.take() {
            // The client is back, at the other hub.
            let (handle, _) = kept.resume();
            handle.end();
        }
        self.place.clear();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.place.keep(kept);
        }
    }
}
