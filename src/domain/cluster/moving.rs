//! Sessions of MQTT that move from one hub to another, with their clients.
//!
//! The database says which hub has a session. If that is not the hub that the client has connected to, this one asks for it,
//! while the client waits for its CONNACK:
//!
//! ```text
//! hub B, client connects                     hub A, has the session
//! SessionWanted  ──────────────────────────▶ ends the client's connection
//! opens a session, subscribes       ◀─────── SessionFound: subscriptions, packet ids of QoS 2, messages on their way
//! CONNACK, session present; SessionReady ──▶ reads the stored queue
//! stores the messages               ◀─────── SessionMessages, the last one marked
//! SessionStored ───────────────────────────▶ what came meanwhile is sent likewise; if nothing came: ends the session
//! ```
//!
//! Hub A has the whole session until hub B has it on disk. A message that comes during the move may be at both, by the bus: hub
//! B knows it by its topic, its content and the time when it was published, and keeps one. Events that announce a voice
//! message do not move: the hub of the client reads them in the database.
//!
//! The row has an epoch, and a hub changes only the row that it has read: hub B, to have the session, and hub A, to keep it for a
//! client that has connected there again in the middle. So one of them has it, whichever connection is the newer one; the other
//! one refuses its client, which connects again.
//!
//! If hub A is away, the session begins anew at hub B. The client knows that from its CONNACK, which may be lost: so the row
//! names hub B only when the client has sent something after it. Until then, a client that connects again is one of the
//! session at hub A.
//!
//! The session at hub A still takes what is published in the first seconds of the new one, which delivers that at once. When
//! the client returns to hub A, hub B names what it has delivered of that, by fingerprints, and hub A drops it. So it is where a
//! move ends before its end: both hubs have the session then, and each names what it has delivered since.
//!
//! What hub A has kept would wait for its client there. So when hub A is back, and at each comparison with the database, it
//! offers such a session to the hub that the row names (SessionLeft), which asks for it as above, and adds it to its own.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::super::Hub;
use super::super::error::DomainError;
use super::super::permissions::is_guest;
use super::super::units::DAY_S;
use super::{Cluster, Job};
use crate::config::seconds;
use crate::model::{Party, QoS, Timestamp, Topic};
use crate::ports::bus::{Bus, ClientPublication, FINGERPRINT_BYTES, MovedMessage, MovingSession, Notice};
use crate::ports::clock::age_now;
use crate::ports::router::{
    CLOCKS_DIFFER_MAX_S, EarlyDeliveries, Entry, InFlight, SessionHandle, Subscription, Ticket,
};
use crate::ports::store::SessionOwner;

/// How long the move of a session takes at most.
const MOVE_MAX: Duration = Duration::from_secs(60);
/// Sessions that leave this hub at the same time.
const LEAVING_MAX: usize = 64;
/// The oldest messages of a queue among which the client may have received some.
const RELEASED_MAX: usize = 256;
/// The oldest messages of a queue that move with their packet ids.
const IN_FLIGHT_MAX: usize = 1024;
/// Messages that are read from a session's queue at once.
const PAGE: usize = 64;
/// What the bus has on its way to a session during its move, at most.
const ON_THEIR_WAY_MAX: usize = 4096;
/// How often a hub looks whether sessions have left, or their messages have come.
const LEFT_INTERVAL: Duration = Duration::from_millis(50);
/// Sessions that are offered to the hubs of their clients at a time: moves of clients that connect have room beside them.
const OFFERS_MAX: usize = 16;
/// The pause between them.
const OFFER_PAUSE: Duration = Duration::from_secs(1);
/// Seconds until a session is offered again.
const OFFERED_AGAIN_S: f64 = 60.0;
/// Seconds that a row is kept after the end of its session.
const ROW_LASTS_S: f64 = 30.0 * DAY_S;

/// The sessions of the edge that serves MQTT.
pub trait SessionKeeper: Send + Sync {
    /// The session of a client without a connection; none if there is none, or if a connection serves it.
    fn away(&self, party: &Party, client_id: &str) -> Option<SessionHandle>;

    /// The number of sessions here.
    fn count(&self) -> usize;

    /// The clients of all sessions here, with their client ids.
    fn clients(&self) -> Vec<(Party, String)>;

    /// Ends the connection of a client, and takes its session out; none if there is none.
    fn lend<'a>(&'a self, party: &'a Party, client_id: &'a str) -> BoxFuture<'a, Option<Box<dyn LentSession>>>;
}

/// A session that nobody serves until this is dropped: it is back then.
pub trait LentSession: Send + Sync {
    /// The session.
    fn handle(&self) -> &SessionHandle;
    /// Packet ids of QoS 2 messages that the client has not released.
    fn received(&self) -> Vec<u16>;
    /// Packet ids of QoS 2 messages that the client has received from an earlier hub, and that were not released to it.
    fn released(&self) -> Vec<u16>;
    /// The packet id of the message with this number of its queue.
    fn packet_id(&self, seq: u64) -> u16;
    /// Ends the session.
    fn end(self: Box<Self>);
}

/// A session that another hub has found.
#[derive(Debug)]
pub struct FoundSession {
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Packet ids of QoS 2 messages that the client has not released.
    pub received: Vec<u16>,
    /// Packet ids of QoS 2 messages that the client has received, and that are to be released to it.
    pub released: Vec<u16>,
    /// What the client has got there of the messages that an earlier session of it here may have, too.
    pub delivered: Option<EarlyDeliveries>,
    /// The messages that the client may have received.
    pub in_flight: Vec<InFlight>,
    call: Call,
}

/// A move to this hub. Dropped before it is accepted, it is declined, so that the other hub need not wait.
struct Call {
    number: u64,
    from: String,
    bus: Arc<Bus>,
    is_accepted: bool,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("number", &self.number).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_accepted {
            self.bus.send(Notice::SessionDeclined { to: self.from.clone(), call: self.number });
        }
    }
}

/// Where the session of a client was.
#[derive(Debug, Default)]
pub struct SessionSearch {
    /// The session, if another hub hands it over.
    pub found: Option<FoundSession>,
    /// Whether another hub had it last: what this hub has of it is older.
    pub was_elsewhere: bool,
    /// The row that says so.
    owner: Option<SessionOwner>,
}

/// A session whose client may be at another hub.
#[derive(Debug, Clone, Copy)]
struct Offer {
    /// When it is offered to that hub.
    due: Timestamp,
    /// When the client connected there, if that is known.
    since: Option<Timestamp>,
}

/// Whether a session is of a time before the client began another one that has nothing of it. The connection of a hub that
/// was paused ends late: so the time of the next one counts.
fn is_over(owner: &SessionOwner, session: &SessionHandle, since: Option<Timestamp>) -> bool {
    let last = session.seen_at().min(since.unwrap_or(f64::MAX));
    owner.anew_at.is_some_and(|anew_at| last <= anew_at)
}

/// A session that comes to this hub.
struct Coming {
    from: String,
    found: Option<oneshot::Sender<Option<MovingSession>>>,
    session: Option<SessionHandle>,
    /// Whether it is what is left of an earlier session of the client: what this one does not subscribe to is dropped.
    is_left: bool,
    since: Timestamp,
    /// Whether the other hub sends no more: it has ended its session, or given the move up.
    is_complete: bool,
}

/// A session that goes to another hub.
struct Leaving {
    party: Party,
    client_id: String,
    /// The words of that hub.
    words: Sender<()>,
    /// Whether it has said that its client is there.
    is_ready: bool,
}

impl Leaving {
    fn is_of(&self, party: &Party, client_id: &str) -> bool {
        self.party == *party && self.client_id == client_id
    }
}

/// The sessions that move.
pub(super) struct Moving {
    keeper: OnceLock<Arc<dyn SessionKeeper>>,
    coming: DashMap<u64, Coming>,
    /// By the hub that they go to, and its call.
    leaving: DashMap<(String, u64), Leaving>,
    places: Arc<Semaphore>,
    /// Clients that have connected to another hub at about the time when they were last here, and until when their sessions
    /// keep messages if they stay there.
    doubtful: DashMap<(Party, String), Timestamp>,
    /// Clients that may be at another hub, although a session of theirs is here.
    left: DashMap<(Party, String), Offer>,
}

impl Default for Moving {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(LEAVING_MAX));
        let (coming, leaving) = (DashMap::new(), DashMap::new());
        let (doubtful, left) = (DashMap::new(), DashMap::new());
        Self { keeper: OnceLock::new(), coming, leaving, places, doubtful, left }
    }
}

/// Another hub wants a session of this one.
pub(super) struct Wanted {
    pub(super) hub: String,
    pub(super) party: Party,
    pub(super) client_id: String,
    /// None if the session is to end.
    pub(super) call: Option<u64>,
}

/// Another hub has kept something of a session of this one.
pub(super) struct Left {
    pub(super) hub: String,
    pub(super) party: Party,
    pub(super) client_id: String,
}

impl Hub {
    /// The sessions of the edge that serves MQTT, for the other hubs. Only the first call counts.
    pub fn keep_sessions(&self, keeper: Arc<dyn SessionKeeper>) {
        let Some(cluster) = &self.cluster else { return };
        // This process has not heard where they are now.
        let overlap_s = self.config.cluster.session_overlap_s as f64;
        let offer = Offer { due: age_now() + overlap_s + CLOCKS_DIFFER_MAX_S, since: None };
        for client in keeper.clients().into_iter().filter(|(party, _)| !is_guest(party)) {
            cluster.moving.left.insert(client, offer);
        }
        let _ = cluster.moving.keeper.set(keeper);
    }

    /// Before a client connects: finds its session, if another hub has it. With `is_clean`, or if it is not to outlive the
    /// connection (`expiry_s` is 0), that is to end. Errors: as of the store.
    pub async fn find_session(
        &self,
        party: &Party,
        client_id: &str,
        is_clean: bool,
        expiry_s: u32,
    ) -> Result<SessionSearch, DomainError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !is_guest(party)) else {
            return Ok(SessionSearch::default());
        };
        let me = &self.config.cluster.hub;
        let mut owner = self.store.session_owner(party, client_id).await?;
        let is_other = |owner: &&SessionOwner| owner.hub != *me && cluster.peers.has(&owner.hub);
        if is_clean || expiry_s == 0 {
            if let Some(SessionOwner { hub, .. }) = owner.as_ref().filter(is_other) {
                let (to, party, client_id) = (hub.clone(), party.clone(), client_id.to_owned());
                cluster.bus.send(Notice::SessionWanted { to, party, client_id, call: None });
            }
            let was_elsewhere = owner.as_ref().is_some_and(|owner| owner.hub != *me);
            return Ok(SessionSearch { found: None, was_elsewhere, owner });
        }
        let mut found = None;
        let ends_at = self.clock.now() + seconds(self.config.cluster.session_move_s);
        while let Some(SessionOwner { hub, .. }) = owner.as_ref().filter(is_other) {
            let patience = ends_at.saturating_sub(self.clock.now());
            found = cluster.call_session(hub, party, client_id, (patience, false)).await;
            if found.is_some() || self.clock.now() >= ends_at {
                break;
            }
            // It may have moved on meanwhile, for an earlier connection of the client.
            let later = self.store.session_owner(party, client_id).await?;
            if later.as_ref().map(|later| &later.hub) == Some(hub) {
                break;
            }
            owner = later;
        }
        let was_elsewhere = owner.as_ref().is_some_and(|owner| owner.hub != *me);
        Ok(SessionSearch { found, was_elsewhere, owner })
    }

    /// From now on this hub has the session of a search, if it outlives the connection by `expiry_s` seconds. With `is_clean`,
    /// what any hub has of an earlier one is over. The session has to be on disk here, with the packet ids of the found one: if
    /// this fails, or the hub ends before, it is still at the other hub, and the next search finds it there. False if the session
    /// has gone elsewhere since the search, or stays at the other hub for a newer connection of the client there. Errors: as of
    /// the store.
    pub async fn own_session(
        &self,
        party: &Party,
        client_id: &str,
        is_clean: bool,
        expiry_s: u32,
        search: &SessionSearch,
    ) -> Result<bool, DomainError> {
        if self.cluster.is_none() || is_guest(party) {
            return Ok(true);
        }
        let (me, now) = (&self.config.cluster.hub, age_now());
        let lasts = f64::from(expiry_s) + ROW_LASTS_S;
        let before = search.owner.as_ref();
        let owner = match before {
            None if expiry_s == 0 => return Ok(true),
            Some(_) if is_clean => {
                Some(SessionOwner { anew_at: Some(now), ..SessionOwner::next(before, me, now + lasts) })
            }
            Some(_) if expiry_s == 0 => None,
            Some(owner) if owner.hub == *me && owner.until > now + lasts / 2.0 => return Ok(true),
            _ => Some(SessionOwner::next(before, me, now + lasts)),
        };
        Ok(self.store.set_session_owner(party, client_id, before, owner.as_ref()).await?)
    }

    /// Whether a session that was kept here is over: the client has begun another one elsewhere that has nothing of it.
    pub fn is_over(&self, search: &SessionSearch, session: &SessionHandle, client_id: &str) -> bool {
        let owner = search.owner.as_ref().filter(|_| search.was_elsewhere);
        let Some((cluster, owner)) = self.cluster.as_ref().zip(owner) else { return false };
        let offer = cluster.moving.left.get(&(session.party().clone(), client_id.to_owned()));
        is_over(owner, session, offer.and_then(|offer| offer.since))
    }

    /// The client of a found session is connected, and subscribed: its messages may come.
    pub fn accept_session(&self, mut found: FoundSession, session: SessionHandle) {
        let Some(cluster) = &self.cluster else { return };
        let call = &mut found.call;
        call.is_accepted = true;
        if let Some(mut coming) = cluster.moving.coming.get_mut(&call.number) {
            coming.session = Some(session);
        }
        cluster.bus.send(Notice::SessionReady { to: call.from.clone(), call: call.number });
    }

    /// The session of a client begins anew here, as the hub of the one before is away, or goes on after a restart of this hub,
    /// which has not heard whether another hub has one of the client. That one takes messages for a while.
    pub fn note_begun_anew(&self, session: &SessionHandle) {
        let overlap_s = self.config.cluster.session_overlap_s as f64;
        session.begin_anew(age_now() + overlap_s + CLOCKS_DIFFER_MAX_S);
    }

    /// Before a client connects here: if its session is going to another hub, where its client is not yet, it stays, and that
    /// hub cannot have it any more. If the other hub has it already, the move goes on. Errors: as of the store.
    pub async fn reclaim_session(&self, party: &Party, client_id: &str) -> Result<(), DomainError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let leaving = &cluster.moving.leaving;
        let is_on_its_way = |leaving: &Leaving| !leaving.is_ready && leaving.is_of(party, client_id);
        if !leaving.iter().any(|leaving| is_on_its_way(&leaving)) {
            return Ok(());
        }
        let is_kept = match self.store.session_owner(party, client_id).await? {
            None => true,
            Some(owner) if owner.hub != self.config.cluster.hub => false,
            Some(owner) => {
                let kept = SessionOwner::next(Some(&owner), &owner.hub, owner.until);
                self.store.set_session_owner(party, client_id, Some(&owner), Some(&kept)).await?
            }
        };
        if is_kept {
            leaving.retain(|_, leaving| !is_on_its_way(leaving));
        }
        Ok(())
    }

    /// Asks the database for the hubs of clients whose connections the clocks of two hubs do not tell apart. Until then, their
    /// sessions here keep all messages. Errors: as of the store.
    pub(super) async fn settle_doubts(&self) -> Result<(), DomainError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let now = age_now();
        let due = cluster.moving.doubtful.iter().filter(|doubt| *doubt.value() < now);
        let due: Vec<_> = due.map(|doubt| (doubt.key().clone(), *doubt.value())).collect();
        for ((party, client_id), until) in due {
            let owner = self.store.session_owner(&party, &client_id).await?;
            let is_elsewhere = owner.is_some_and(|owner| owner.hub != self.config.cluster.hub);
            let keeper = cluster.moving.keeper.get().filter(|_| is_elsewhere);
            if let Some(session) = keeper.and_then(|keeper| keeper.away(&party, &client_id)) {
                tracing::debug!("a session takes no more messages here, as its client is at another hub");
                session.leave(until).await;
            }
            cluster.moving.doubtful.remove_if(&(party, client_id), |_, later| *later == until);
        }
        Ok(())
    }

    /// Offers sessions whose clients are at other hubs to these, so that what they have kept arrives. Errors: as of the store.
    pub(super) async fn offer_left_sessions(&self) -> Result<(), DomainError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let Some(keeper) = cluster.moving.keeper.get() else { return Ok(()) };
        loop {
            let now = age_now();
            let due = cluster.moving.left.iter().filter(|left| left.due < now).take(OFFERS_MAX);
            let due: Vec<_> = due.map(|left| (left.key().clone(), left.since)).collect();
            if due.is_empty() {
                return Ok(());
            }
            let is_offered =
                stream::iter(due).map(|(key, since)| self.offer_left_session(cluster, &**keeper, key, since));
            let is_offered: Vec<bool> = is_offered.buffer_unordered(OFFERS_MAX).try_collect().await?;
            if is_offered.contains(&true) {
                sleep(OFFER_PAUSE).await;
            }
        }
    }

    /// Whether the session is offered to another hub now.
    async fn offer_left_session(
        &self,
        cluster: &Cluster,
        keeper: &dyn SessionKeeper,
        key: (Party, String),
        since: Option<Timestamp>,
    ) -> Result<bool, DomainError> {
        let (party, client_id) = &key;
        let session = keeper.away(party, client_id);
        let owner = match session {
            Some(_) => self.store.session_owner(party, client_id).await?,
            None => None,
        };
        let owner = owner.filter(|owner| owner.hub != self.config.cluster.hub);
        let (Some(session), Some(owner)) = (session, owner) else {
            // It has moved, or its client is here.
            cluster.moving.left.remove(&key);
            return Ok(false);
        };
        if is_over(&owner, &session, since) {
            match keeper.lend(party, client_id).await {
                Some(lent) => {
                    lent.end();
                    cluster.moving.left.remove(&key);
                }
                None => {
                    cluster.moving.left.insert(key, Offer { due: age_now() + OFFERED_AGAIN_S, since });
                }
            }
            return Ok(false);
        }
        cluster.moving.left.insert(key.clone(), Offer { due: age_now() + OFFERED_AGAIN_S, since });
        let is_there = cluster.peers.has(&owner.hub);
        if is_there {
            let (party, client_id) = key;
            cluster.bus.send(Notice::SessionLeft { to: owner.hub, party, client_id });
        }
        Ok(is_there)
    }

    /// The number of messages among which one that comes twice to a session during a move is known: what two queues hold at
    /// most, and what the bus has on its way.
    pub fn merged_messages_max(&self) -> usize {
        let queue_max = usize::try_from(self.config.mqtt.session_messages_max).unwrap_or(usize::MAX);
        queue_max.saturating_mul(2).saturating_add(ON_THEIR_WAY_MAX)
    }

    /// While this hub stops: waits until the sessions of its clients are at other hubs, or `cluster.hand_over_s`.
    pub async fn hand_over_sessions(&self) {
        let in_company = |cluster: &&Cluster| cluster.bus.is_joined() && !cluster.peers.is_empty();
        let cluster = self.cluster.as_ref().filter(in_company);
        let Some(keeper) = cluster.and_then(|cluster| cluster.moving.keeper.get()) else { return };
        let all_left = async {
            while keeper.count() > 0 {
                sleep(LEFT_INTERVAL).await;
            }
        };
        if timeout(seconds(self.config.cluster.hand_over_s), all_left).await.is_err() {
            tracing::debug!(left = keeper.count(), "sessions stay here");
        }
    }

    /// Messages of a session that comes to this hub.
    pub(super) fn take_messages(&self, call: u64, messages: Vec<MovedMessage>, is_last: bool) -> Option<Ticket> {
        let cluster = self.cluster.as_ref()?;
        let (session, is_left) = {
            let coming = cluster.moving.coming.get(&call)?;
            (coming.session.clone()?, coming.is_left)
        };
        let filters = if is_left { session.subscriptions() } else { Vec::new() };
        let is_wanted = |topic: &Topic| filters.iter().any(|subscription| subscription.filter.matches(topic));
        for MovedMessage { publication, qos, retain } in messages {
            if is_left && !is_wanted(&publication.topic) {
                continue;
            }
            let published_at = publication.published_at;
            session.enqueue(publication.into_publication(), qos, retain, published_at);
        }
        if is_last {
            cluster.order(Job::SessionStored(call));
        }
        Some(self.router.barrier())
    }

    /// All messages that were sent of a session are on disk here.
    pub(super) async fn note_session_stored(&self, call: u64) {
        let Some(cluster) = &self.cluster else { return };
        let coming = cluster.moving.coming.get(&call).map(|coming| (coming.from.clone(), coming.session.clone()));
        let Some((to, Some(session))) = coming else { return };
        // A session that has ended here stores nothing: the other hub keeps its own.
        if self.router.barrier().reached().await && session.is_kept() {
            cluster.bus.send(Notice::SessionStored { to, call });
        }
    }
}

impl Cluster {
    async fn call_session(
        &self,
        hub: &str,
        party: &Party,
        client_id: &str,
        (patience, is_left): (Duration, bool),
    ) -> Option<FoundSession> {
        let call = rand::random::<u64>() >> 1;
        let (found, answer) = oneshot::channel();
        self.moving.coming.insert(
            call,
            Coming {
                from: hub.to_owned(),
                found: Some(found),
                session: None,
                is_left,
                since: age_now(),
                is_complete: false,
            },
        );
        let (to, party, client_id) = (hub.to_owned(), party.clone(), client_id.to_owned());
        self.bus.send(Notice::SessionWanted { to, party, client_id, call: Some(call) });
        let MovingSession { subscriptions, received, released, delivered, in_flight } =
            match timeout(patience, answer).await {
                Ok(Ok(Some(session))) => session,
                answer => {
                    if answer.is_err() {
                        tracing::warn!(hub, "another hub does not hand over the session of a client in time");
                    }
                    self.moving.coming.remove(&call);
                    return None;
                }
            };
        let (from, bus) = (hub.to_owned(), Arc::clone(&self.bus));
        Some(FoundSession {
            subscriptions,
            received,
            released,
            delivered,
            in_flight: in_flight.into_iter().map(|(seq, message)| on_its_way(seq, message)).collect(),
            call: Call { number: call, from, bus, is_accepted: false },
        })
    }

    /// A client has connected to another hub at `since`: its session here keeps what is published up to `until`.
    pub(super) fn note_session_elsewhere(&self, party: &Party, client_id: &str, since: Timestamp, until: Timestamp) {
        let keeper = self.moving.keeper.get();
        let Some(session) = keeper.and_then(|keeper| keeper.away(party, client_id)) else { return };
        if !session.note_elsewhere(since, until) {
            self.moving.doubtful.insert((party.clone(), client_id.to_owned()), until);
        }
        self.note_left(party.clone(), client_id.to_owned(), since, until);
    }

    /// The connection of a client to this hub ends, as it has connected to another one at `since`.
    pub(super) fn note_left(&self, party: Party, client_id: String, since: Timestamp, until: Timestamp) {
        let offer = Offer { due: until + CLOCKS_DIFFER_MAX_S, since: Some(since) };
        self.moving.left.insert((party, client_id), offer);
    }

    pub(super) fn note_found(&self, from: &str, call: u64, session: Option<MovingSession>) {
        let found = self.moving.coming.get_mut(&call).and_then(|mut coming| coming.found.take());
        let unsent = match found {
            Some(found) => found.send(session).err().flatten(),
            None => session,
        };
        if unsent.is_some() {
            // The client has waited for too long.
            self.bus.send(Notice::SessionDeclined { to: from.to_owned(), call });
        }
    }

    /// All messages of a session that comes here have come, or the other hub has given the move up.
    pub(super) fn note_complete(&self, from: &str, call: u64) {
        if let Some(mut coming) = self.moving.coming.get_mut(&call).filter(|coming| coming.from == from) {
            coming.is_complete = true;
        }
    }

    /// Whether messages of a session are on their way to this hub.
    fn is_coming(&self, session: &SessionHandle) -> bool {
        let now = age_now();
        self.moving.coming.iter().any(|coming| {
            let is_open = !coming.is_complete && now - coming.since < MOVE_MAX.as_secs_f64();
            is_open && self.peers.has(&coming.from) && coming.session.as_ref().is_some_and(|other| other.is(session))
        })
    }

    /// The other hub has given a move up, which has not begun yet: the session is back.
    pub(super) fn note_declined(&self, from: &str, call: u64) {
        self.moving.leaving.remove(&(from.to_owned(), call));
    }

    /// Moves to a hub that is gone end: their sessions are back.
    pub(super) fn end_moves_to_absent(&self) {
        self.moving.leaving.retain(|(hub, _), _| self.peers.has(hub));
    }

    /// The other hub is ready for messages of a session, or has stored what was sent.
    pub(super) fn note_word(&self, from: &str, call: u64) {
        if let Some(mut leaving) = self.moving.leaving.get_mut(&(from.to_owned(), call)) {
            leaving.is_ready = true;
            let _ = leaving.words.try_send(());
        }
    }

    /// Forgets moves that are complete, or that the other hub has given up. By then, the bus has brought what came during
    /// the move to both.
    pub(super) fn expire_coming(&self) {
        let now = age_now();
        self.moving.coming.retain(|_, coming| {
            let is_young = now - coming.since < MOVE_MAX.as_secs_f64() * 2.0;
            if let Some(session) = coming.session.as_ref().filter(|_| !is_young) {
                session.end_merge();
            }
            is_young
        });
    }
}

/// Hands a session over to another hub.
pub(super) async fn hand_over(hub: Arc<Hub>, wanted: Wanted) {
    let Some(cluster) = &hub.cluster else { return };
    let Ok(_place) = cluster.moving.places.try_acquire() else { return };
    let Wanted { hub: to, party, client_id, call } = wanted;
    // The earlier connection there was given up before it had the session: its move ends, and gives the session back.
    cluster.moving.leaving.retain(|(hub, _), leaving| *hub != to || !leaving.is_of(&party, &client_id));
    let lent = match cluster.moving.keeper.get() {
        Some(keeper) => keeper.lend(&party, &client_id).await,
        None => None,
    };
    let Some(call) = call else {
        if let Some(lent) = lent {
            lent.end();
        }
        return;
    };
    let Some(lent) = lent else {
        cluster.bus.send(Notice::SessionFound { to, call, session: None });
        return;
    };
    let (words, mut heard) = channel(1);
    let key = (party.clone(), client_id.clone());
    cluster.moving.leaving.insert((to.clone(), call), Leaving { party, client_id, words, is_ready: false });
    let mut delivered = lent.handle().delivered().await;
    if let Some(EarlyDeliveries { messages, .. }) = &mut delivered {
        // Beside the messages on their way. What is left out may come again.
        let max = cluster.bus.content_max() / 4 / FINGERPRINT_BYTES;
        messages.drain(..messages.len().saturating_sub(max));
    }
    lent.handle().share().await;
    let (in_flight, lost_ids) = in_flight(cluster, &*lent).await;
    let session = MovingSession {
        subscriptions: lent.handle().subscriptions(),
        received: lent.received(),
        released: released(&*lent).await.into_iter().chain(lost_ids).collect(),
        delivered,
        in_flight,
    };
    cluster.bus.send(Notice::SessionFound { to: to.clone(), call, session: Some(session) });
    let moved = async {
        let (mut after, mut is_all) = (0, false);
        while !is_all {
            heard.recv().await?;
            while cluster.is_coming(lent.handle()) {
                // The client was here only for a moment: the hub before still sends.
                sleep(LEFT_INTERVAL).await;
            }
            is_all = lent.handle().last_seq() <= after;
            if !is_all {
                after = send_messages(cluster, &*lent, &to, call, after).await?;
            }
        }
        Some(())
    };
    let is_moved = timeout(MOVE_MAX, moved).await.ok().flatten().is_some();
    cluster.moving.leaving.remove(&(to.clone(), call));
    if is_moved {
        lent.end();
        cluster.bus.send(Notice::SessionEnded { to, call });
    } else {
        // Common where the client connects elsewhere again in the middle.
        tracing::debug!(hub = to, "a session was not handed over to another hub: it is kept");
        cluster.moving.left.insert(key, Offer { due: age_now(), since: None });
        cluster.bus.send(Notice::SessionDeclined { to, call });
    }
}

/// Adds what another hub has kept to a session that is here, connected or not.
pub(super) async fn fetch_left(hub: Arc<Hub>, left: Left) {
    let Some(cluster) = &hub.cluster else { return };
    let Ok(_place) = cluster.moving.places.try_acquire() else { return };
    let Left { hub: from, party, client_id } = left;
    let owner = hub.store.session_owner(&party, &client_id).await;
    if !owner.is_ok_and(|owner| owner.is_some_and(|owner| owner.hub == hub.config.cluster.hub)) {
        return;
    }
    let served = cluster.clients.mailbox(&party, &client_id).and_then(|mailbox| hub.router.session_of(&mailbox));
    let kept = || cluster.moving.keeper.get().and_then(|keeper| keeper.away(&party, &client_id));
    let Some(session) = served.or_else(kept) else { return };
    let patience = seconds(hub.config.cluster.session_move_s);
    let Some(found) = cluster.call_session(&from, &party, &client_id, (patience, true)).await else { return };
    // What was on its way from there comes with the rest: the client has another session now, with packet ids of its own.
    let here = session.delivered().await;
    let messages = found.delivered.iter().chain(&here).flat_map(|delivered| delivered.messages.iter().copied());
    let delivered = EarlyDeliveries { until: age_now(), messages: messages.collect() };
    let is_merging = session.begin_merge(hub.merged_messages_max(), Some(&delivered), Vec::new(), &[]).await;
    if is_merging && session.is_kept() {
        tracing::debug!(hub = from, "what another hub has kept of a session follows");
        hub.accept_session(found, session);
    }
}

/// Packet ids of the messages that the client has received, and would wait for in vain: their release does not move with
/// them. They are the oldest of the queue.
async fn released(lent: &dyn LentSession) -> Vec<u16> {
    let page = lent.handle().stored((0, lent.handle().last_seq()), RELEASED_MAX).await.unwrap_or_default();
    let of_queue = page.iter().filter(|entry| entry.released).map(|entry| lent.packet_id(entry.seq));
    lent.released().into_iter().chain(of_queue).collect()
}

/// The messages that the client may have received, and would take for new ones under other packet ids. They move again with
/// the others, as an older hub knows nothing of these. With the packet ids of those of QoS 2 that do not move with their ids:
/// the client would take another message under such an id for a repeat, so they are released.
async fn in_flight(cluster: &Cluster, lent: &dyn LentSession) -> (Vec<(u64, MovedMessage)>, Vec<u16>) {
    let (inbox, mut bytes) = (lent.handle().party().inbox(), 0);
    let (mut moved, mut left) = (Vec::new(), Vec::new());
    for entry in lent.handle().in_flight(IN_FLIGHT_MAX).await {
        let (seq, qos, is_moved) = (entry.seq, entry.qos, is_moved(&entry, &inbox));
        let message = MovedMessage::from(entry);
        bytes += message.weight();
        if is_moved && bytes <= cluster.bus.content_max() {
            moved.push((seq, message));
        } else if qos == QoS::ExactlyOnce {
            left.push(lent.packet_id(seq));
        }
    }
    (moved, left)
}

/// A message that has moved, at the next hub.
fn on_its_way(seq: u64, MovedMessage { publication, qos, retain }: MovedMessage) -> InFlight {
    let published_at = publication.published_at;
    InFlight { seq, publication: publication.into_publication(), qos, retain, published_at }
}

/// Whether the next hub gets a message from this one: the client has a released one, and that hub reads announced ones in the
/// database.
fn is_moved(entry: &Entry, inbox: &Topic) -> bool {
    let is_announced = entry.publication.topic == *inbox && entry.publication.payload.message().is_some();
    !entry.released && !is_announced
}

impl From<Entry> for MovedMessage {
    fn from(Entry { publication, qos, retain, published_at, .. }: Entry) -> Self {
        Self { publication: ClientPublication::moved(&publication, Some(published_at)), qos, retain }
    }
}

/// Sends the messages of a session after number `after`, and returns the last one; none if they cannot be read now.
async fn send_messages(cluster: &Cluster, lent: &dyn LentSession, to: &str, call: u64, mut after: u64) -> Option<u64> {
    let (session, last) = (lent.handle(), lent.handle().last_seq());
    let inbox = session.party().inbox();
    loop {
        let page = session.stored((after, last), PAGE).await?;
        let is_last_page = page.len() < PAGE;
        after = if is_last_page { last } else { page.last().map_or(last, |entry| entry.seq) };
        let messages = page.into_iter().filter(|entry| is_moved(entry, &inbox)).map(MovedMessage::from);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for message in messages {
            let weight = message.weight();
            if bytes + weight > cluster.bus.content_max() && !batch.is_empty() {
                let messages = std::mem::take(&mut batch);
                cluster.bus.send(Notice::SessionMessages { to: to.to_owned(), call, messages, is_last: false });
                bytes = 0;
            }
            bytes += weight;
            batch.push(message);
        }
        cluster.bus.send(Notice::SessionMessages { to: to.to_owned(), call, messages: batch, is_last: is_last_page });
        if is_last_page {
            return Some(after);
        }
    }
}
