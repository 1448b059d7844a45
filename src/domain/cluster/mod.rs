//! Several hubs over one database: their notices over the [bus](crate::ports::bus), and the comparisons with the database
//! that find what the bus loses (docs/cluster.md).

mod clients;
mod moving;
mod peers;
mod positions;
mod retained;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::error::DomainError;
use super::permissions::is_guest;
use super::units::ticks;
use crate::config::{Config, seconds};
use crate::model::{Event, Party, QoS, Timestamp, ToyId, UserId};
use crate::ports::bus::{Bus, BusState, ClientPublication, Handler, HubName, Notice};
use crate::ports::clock::MonotonicClock;
use crate::ports::router::{Heard, Publication, Reached, Receipt, RetainedAs, Router, StorageState, Ticket};

use clients::Clients;
use moving::{Left, Moving, Wanted};
use peers::Peers;
use positions::Positions;
use retained::Unwritten;

pub use clients::ClientHere;
pub use moving::{FoundSession, LentSession, SessionKeeper, SessionSearch};

/// Signs of life of another hub that may be missing.
const SILENT_BEATS: u32 = 6;
/// How long the parties of the other hubs count as connected after this hub has lost the bus.
const ROSTERS_LAST: Duration = Duration::from_secs(10);
/// A message that seems lost may only be late.
const LATE_MAX: Duration = Duration::from_millis(500);
/// Users whose positions one query reads.
const USERS_AT_ONCE: usize = 256;
/// Events that are read from a stream at once.
const PAGE: usize = 100;
/// Toys that are compared at the same time. Their reads share queries.
const AT_ONCE: usize = 64;
/// How long the end of the process waits until the database has the last retained messages.
const LAST_WRITES_MAX: Duration = Duration::from_secs(2);
/// Jobs that wait.
const JOBS_MAX: usize = 1000;

/// The other hubs, as this one sees them.
pub(super) struct Cluster {
    bus: Arc<Bus>,
    peers: Peers,
    positions: Positions,
    retained: Unwritten,
    clients: Arc<Clients>,
    moving: Moving,
    /// A comparison of the positions is due.
    comparison: Notify,
    /// Sessions whose clients are at other hubs are to be offered to these.
    offers: Notify,
    /// The hub has lost the bus, or is on it again.
    moved: Notify,
    jobs: Sender<Job>,
    /// Taken by [`run`].
    waiting: tokio::sync::Mutex<Receiver<Job>>,
}

/// What another hub has caused, and takes longer.
enum Job {
    /// A party was erased: what its connections leave behind is deleted when they have ended.
    Erased(Party),
    /// Ids are deleted from the file of sessions.
    Erase(Vec<String>),
    /// Settings of a toy were changed.
    Refresh(ToyId),
    /// Another hub wants a session.
    HandOver(Wanted),
    /// Another hub has kept something of a session of this one.
    FetchLeft(Left),
    /// Messages of a session that has moved are stored.
    SessionStored(u64),
}

impl Cluster {
    pub(super) fn new(bus: Arc<Bus>, router: &Arc<Router>, clock: &MonotonicClock, config: &Config) -> Self {
        router.watch_moves({
            let bus = Arc::clone(&bus);
            move |party, is_here| {
                bus.send(Notice::Moved { parties: vec![(party.clone(), is_here)] });
            }
        });
        let retained = Unwritten::default();
        retained.add(router.share_retained());
        let (jobs, waiting) = channel(JOBS_MAX);
        let ids_max = config.mqtt.queue_messages_max.max(config.ws.queue_messages_max);
        Self {
            bus,
            peers: Peers::new(clock, seconds(config.cluster.keep_alive_s) * SILENT_BEATS),
            positions: Positions::new(ids_max),
            retained,
            clients: Arc::default(),
            moving: Moving::default(),
            comparison: Notify::new(),
            offers: Notify::new(),
            moved: Notify::new(),
            jobs,
            waiting: tokio::sync::Mutex::new(waiting),
        }
    }

    fn order(&self, job: Job) {
        match self.jobs.try_send(job) {
            Ok(()) => {}
            // They are read again periodically.
            Err(TrySendError::Full(Job::Refresh(_))) => {}
            // The client begins a new session, or the other hub keeps it.
            Err(TrySendError::Full(Job::HandOver(_) | Job::SessionStored(_))) => {}
            // It is offered again.
            Err(TrySendError::Full(Job::FetchLeft(_))) => {}
            Err(_) => {
                tracing::error!("too much is erased through other hubs at once: some of it stays in the sessions");
            }
        }
    }
}

/// Stays on the bus, and compares with the database, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let Some(cluster) = &hub.cluster else { return };
    let config = &hub.config.cluster;
    let compare = async {
        let mut due = ticks(config.position_check_s);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = cluster.comparison.notified() => sleep(LATE_MAX).await,
            }
            if let Err(error) = hub.compare_positions().await {
                tracing::warn!(?error, "the positions of connected users and toys were not compared");
            }
            cluster.offers.notify_one();
        }
    };
    let offer = async {
        loop {
            cluster.offers.notified().await;
            if let Err(error) = hub.offer_left_sessions().await {
                tracing::debug!(?error, "sessions whose clients are at other hubs are offered to them later");
            }
        }
    };
    let forget = async {
        loop {
            cluster.moved.notified().await;
            if !cluster.bus.is_joined() && timeout(ROSTERS_LAST, cluster.moved.notified()).await.is_err() {
                cluster.peers.forget_all(&hub.router);
            }
        }
    };
    let settle = async {
        let mut due = ticks(config.session_overlap_s);
        loop {
            due.tick().await;
            if let Err(error) = hub.settle_doubts().await {
                tracing::debug!(?error, "where the clients of some sessions are is asked again");
            }
        }
    };
    let work = async {
        let mut jobs = cluster.waiting.lock().await;
        let mut moves = JoinSet::new();
        while let Some(job) = jobs.recv().await {
            while moves.try_join_next().is_some() {}
            hub.do_job(job, clock(), &mut moves).await;
        }
    };
    let write = hub.write_retained(&cluster.retained);
    let rest = async {
        shutdown.run_until_cancelled(async { tokio::join!(compare, offer, forget, settle, work, write) }).await;
        // Otherwise the next start does it.
        let _ = timeout(LAST_WRITES_MAX, hub.write_all_retained(&cluster.retained)).await;
    };
    tokio::join!(cluster.bus.run(&*hub, &shutdown), rest);
}

impl Hub {
    /// Whether other hubs share the database.
    pub fn has_bus(&self) -> bool {
        self.cluster.is_some()
    }

    /// The state of the bus; none without one.
    pub(super) fn bus_state(&self) -> Option<BusState> {
        self.cluster.as_ref().map(|cluster| cluster.bus.state())
    }

    /// Sends a notice to all other hubs.
    pub(super) fn notify_hubs(&self, notice: impl FnOnce() -> Notice) {
        if let Some(cluster) = &self.cluster {
            cluster.bus.send(notice());
        }
    }

    /// Notifies the other hubs that the rules, the voice or the reminders of a toy were changed.
    pub(super) fn notify_settings(&self, toy: &ToyId) {
        self.notify_hubs(|| Notice::Settings { toy: toy.clone() });
    }

    /// Before a party connects: reads how far it is.
    pub(super) async fn note_position(&self, party: &Party) -> Result<(), DomainError> {
        let Some(cluster) = self.cluster.as_ref().filter(|_| !is_guest(party)) else { return Ok(()) };
        if cluster.positions.has(party) {
            return Ok(());
        }
        match party {
            Party::User(user) => cluster.positions.start_user(user, self.store.last_event(user).await?),
            Party::Toy(toy) => {
                // In this order: what comes in between changes the count.
                let received = self.store.received(toy).await?;
                let unread = self.store.announced_messages(party, self.replay_max()).await?;
                let ids = unread.into_iter().map(|unread| unread.message.id).collect();
                cluster.positions.start_toy(toy, received, ids);
            }
        }
        Ok(())
    }

    /// Whether an event of a party is still to be published on this hub: not if a comparison has found it.
    pub(super) fn is_unpublished(&self, party: &Party, event: &Event, seq: Option<u64>) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.positions.note(party, event, seq))
    }

    /// The other hubs, which a party's publications are forwarded to; none for a single hub.
    pub(super) fn cluster_of(&self, party: &Party) -> Option<&Cluster> {
        self.cluster.as_ref().filter(|_| !is_guest(party))
    }

    /// Publishes for a client, and forwards it to the other hubs. Errors: `Full`, `DiskFull`; `Internal` while the file of
    /// sessions cannot be written; as of the store.
    pub(super) async fn publish_to_hubs(
        &self,
        cluster: &Cluster,
        publication: Arc<Publication>,
        receipt: Option<Receipt>,
    ) -> Result<Reached, DomainError> {
        self.check_bus_room(&cluster.bus, &publication)?;
        if publication.retain && !self.router.has_retained(&publication.topic) {
            // Whether it is a change, and whether it has room, is known then.
            self.read_retained(publication.topic.as_str()).await?;
        }
        Ok(self.router.publish_to_all(publication, receipt, &|publication, change, published_at| {
            if let Some(RetainedAs { version, is_new: true }) = change {
                cluster.retained.add([(publication.topic.clone(), version)]);
            }
            cluster.bus.forward(publication, change.map(|change| change.version), published_at)
        }))
    }

    /// Whether another publication of a client can be kept for the other hubs. Errors: `Full`; `DiskFull` or `Internal` while
    /// the file cannot be written.
    fn check_bus_room(&self, bus: &Bus, publication: &Publication) -> Result<(), DomainError> {
        if publication.qos == QoS::AtMostOnce {
            return Ok(());
        }
        if !bus.has_room() {
            return Err(DomainError::Full("message for other hubs"));
        }
        if !self.space.has_room(0) {
            return Err(DomainError::DiskFull);
        }
        // It would be sent, and refused, and sent again.
        if self.router.storage_state() != StorageState::Writable {
            return Err(self.storage_fault());
        }
        Ok(())
    }

    /// Publishes what the database has for connected users and toys, and this hub has not published.
    async fn compare_positions(&self) -> Result<(), DomainError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let is_here = |party: &Party| self.router.online_here(party);
        for users in cluster.positions.users(is_here).chunks(USERS_AT_ONCE) {
            let lasts = self.store.last_events(users).await?;
            for (user, last) in users.iter().zip(lasts) {
                if cluster.positions.behind(user, last).is_some() {
                    self.publish_missed(cluster, user, last).await?;
                }
            }
        }
        let toys = cluster.positions.toys(is_here).into_iter();
        let compared = stream::iter(toys).map(|toy| async move { self.compare_toy(cluster, &toy).await });
        let compared: Vec<_> = compared.buffer_unordered(AT_ONCE).collect().await;
        compared.into_iter().collect()
    }

    async fn publish_missed(&self, cluster: &Cluster, user: &UserId, last: u64) -> Result<(), DomainError> {
        let party = Party::User(user.clone());
        while let Some(after) = cluster.positions.behind(user, last) {
            let events = match self.missed(user, after, PAGE).await {
                Ok(events) if events.is_empty() => return Ok(()),
                Ok(events) => events,
                // Its devices notice it with the next event, and load everything again.
                Err(DomainError::StreamTooOld { current }) => {
                    cluster.positions.skip_to(user, current);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            for (number, event) in events {
                self.announce_here(&party, &event, Some(number)).await;
            }
        }
        Ok(())
    }

    async fn compare_toy(&self, cluster: &Cluster, toy: &ToyId) -> Result<(), DomainError> {
        let received = self.store.received(toy).await?;
        if !cluster.positions.has_changed(toy, received) {
            return Ok(());
        }
        let party = Party::Toy(toy.clone());
        // A toy that rests is notified of nothing; all that is unread follows when its rest ends.
        for (event, _) in self.unread_events_up_to(&party, self.replay_max()).await? {
            if let Event::Message { id, .. } = &event
                && cluster.positions.is_missing(toy, id)
            {
                let commit = self.router.publish(self.publication(party.inbox(), &event, None)).commit;
                self.stored(commit).await?;
            }
        }
        cluster.positions.note_received(toy, received);
        Ok(())
    }

    /// Does a job, or lets one that waits for other hubs go on in `moves`.
    async fn do_job(self: &Arc<Self>, job: Job, now: Timestamp, moves: &mut JoinSet<()>) {
        match job {
            Job::Refresh(toy) => {
                if let Err(error) = self.read_rules(toy).await {
                    tracing::debug!(?error, "changed rules of a toy are not read yet");
                }
                self.keep_quiet_hours(now).await;
            }
            Job::Erased(party) => {
                if let Err(error) = self.forget_rest_of_erased(&party).await {
                    tracing::error!(%error, "uploads of a party that was erased through another hub stay on the disk");
                }
            }
            Job::SessionStored(call) => self.note_session_stored(call).await,
            Job::HandOver(wanted) => drop(moves.spawn(moving::hand_over(Arc::clone(self), wanted))),
            Job::FetchLeft(left) => drop(moves.spawn(moving::fetch_left(Arc::clone(self), left))),
            Job::Erase(subjects) => {
                if let Err(error) = self.router.erase(&subjects).await {
                    tracing::error!(%error, "what was erased through another hub stays in the file of sessions");
                }
            }
        }
    }

    /// A publication of a client of another hub.
    fn take_publication(&self, publication: ClientPublication, heard: Option<Heard>) -> Option<Ticket> {
        if !is_of_clients(publication.topic.as_str()) {
            tracing::warn!("a message on the bus has a topic that is not one of clients");
            return None;
        }
        let (version, published_at) = (publication.version, publication.published_at);
        self.router.publish_heard(publication.into_publication(), heard, version, published_at).commit
    }

    fn take_end(&self, party: &Party, is_erased: bool) {
        if !is_erased {
            self.end_connections_here(party);
            return;
        }
        self.cut_off_here(party);
        if let Some(cluster) = &self.cluster {
            cluster.order(Job::Erased(party.clone()));
        }
    }
}

/// Whether clients publish on a topic for each other.
fn is_of_clients(topic: &str) -> bool {
    let levels: Vec<&str> = topic.splitn(4, '/').collect();
    matches!(levels.as_slice(), ["toy", _, "state" | "cmd", _] | ["chat", _])
}

impl Handler for Hub {
    fn handle(&self, from: &HubName, notice: Notice, heard: Option<Heard>) -> Option<Ticket> {
        let cluster = self.cluster.as_ref()?;
        if notice == Notice::Gone {
            cluster.peers.note_gone(from, &self.router);
            cluster.end_moves_to_absent();
            return None;
        }
        // What clients have published may come of a process that has ended, which is not noted as there.
        let is_known = matches!(notice, Notice::Publication(_)) || cluster.peers.note(from, &self.router);
        match notice {
            // Only the hub of a toy knows how long it has played today. What is unread follows at the end of its rest.
            Notice::Event { party, event, .. }
                if self.rests(&party) && matches!(*event, Event::Message { .. } | Event::Play { .. }) => {}
            Notice::Event { party, event, seq } => return self.publish_event(&party, &event, seq),
            Notice::Publication(publication) => return self.take_publication(*publication, heard),
            Notice::End { party, is_erased } => self.take_end(&party, is_erased),
            Notice::Taken { party, client_id, since } => {
                let me = &self.config.cluster.hub;
                let until = since + self.config.cluster.session_overlap_s as f64;
                cluster.note_session_elsewhere(&party, &client_id, since, until);
                if cluster.clients.note_elsewhere((me, from), &party, &client_id, (since, until)) {
                    cluster.note_left(party, client_id, since, until);
                }
            }
            Notice::SessionWanted { party, client_id, call, .. } => {
                cluster.order(Job::HandOver(Wanted { hub: from.hub.clone(), party, client_id, call }));
            }
            Notice::SessionLeft { party, client_id, .. } => {
                cluster.order(Job::FetchLeft(Left { hub: from.hub.clone(), party, client_id }));
            }
            Notice::SessionFound { call, session, .. } => cluster.note_found(&from.hub, call, session),
            Notice::SessionDeclined { call, .. } => {
                cluster.note_declined(&from.hub, call);
                cluster.note_complete(&from.hub, call);
            }
            Notice::SessionReady { call, .. } | Notice::SessionStored { call, .. } => {
                cluster.note_word(&from.hub, call);
            }
            Notice::SessionMessages { call, messages, is_last, .. } => {
                return self.take_messages(call, messages, is_last);
            }
            Notice::Lost { party, topics } => {
                self.revocations.fetch_add(1, Ordering::SeqCst);
                self.router.end_subscriptions(&party, |filter| is_lost(&topics, filter.as_str()));
            }
            Notice::Forget { topics } => self.forget_retained_here(&topics),
            Notice::Erase { subjects } => cluster.order(Job::Erase(subjects)),
            Notice::Settings { toy } => cluster.order(Job::Refresh(toy)),
            Notice::Hello | Notice::RosterRequest => cluster.bus.send_roster(),
            Notice::Roster { is_first, is_last, parties } => {
                cluster.peers.note_roster(from, (is_first, is_last), parties, &self.router);
            }
            Notice::Moved { parties } => cluster.peers.note_moves(from, parties, &self.router),
            Notice::Dropped => cluster.comparison.notify_one(),
            Notice::Heartbeat { .. } if !is_known => drop(cluster.bus.send(Notice::RosterRequest)),
            // What the bus brings of the session may still be on its way.
            Notice::SessionEnded { call, .. } => cluster.note_complete(&from.hub, call),
            Notice::Heartbeat { .. } | Notice::Gone => {}
        }
        None
    }

    fn roster(&self) -> Vec<Party> {
        self.router.parties_here()
    }

    fn connected(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.moved.notify_one();
            cluster.comparison.notify_one();
        }
    }

    fn disconnected(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.moved.notify_one();
        }
    }

    fn lost(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.comparison.notify_one();
        }
    }

    fn tick(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.peers.expire(&self.router);
            cluster.end_moves_to_absent();
            cluster.expire_coming();
        }
    }
}

/// Whether a filter is one of the topics, or begins with one that ends with '/'.
pub(super) fn is_lost(topics: &[String], filter: &str) -> bool {
    topics.iter().any(|topic| if topic.ends_with('/') { filter.starts_with(topic.as_str()) } else { filter == topic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_topics_of_clients_are_taken_from_the_bus() {
        for topic in ["toy/1/state/battery", "toy/1/cmd/volume/left", "chat/1"] {
            assert!(is_of_clients(topic), "{topic}");
        }
        for topic in ["toy/1/in", "toy/1/file/a/0", "app/1/in", "online/1", "$SYS/x", "toy/1/cmd", "chat/1/x", ""] {
            assert!(!is_of_clients(topic), "{topic}");
        }
    }
}
