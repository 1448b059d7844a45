//! Sounds for devices that are idle: the hub sends the address of a sound over MQTT, and the device fetches and plays it.
//!
//! The address has a ticket that is valid once and for a short time, as the device sends no credentials. The sound is made
//! while it is fetched, at the pace at which it is played: so a device that stops it has closed the connection before its
//! end. The device does not say that it has played it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Devices;
use crate::config::{self, seconds};
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::domain::turn::{Done, FilePiece, PACKET_MS, Telling, in_a_file};
use crate::edge::wire;
use crate::model::{MessageId, ReminderId, Secret, ToyId};

/// The path from which devices fetch sounds.
pub const SOUND_PATH: &str = "/xiaozhi/sound/{name}";
/// The sound is sent so far ahead of the time at which it is played; the firmware has room for 1.2 seconds.
const AHEAD: Duration = Duration::from_secs(2);

/// What a device plays.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// New messages.
    Messages(Vec<MessageId>),
    /// A reminder that is due.
    Reminder(ReminderId),
}

impl What {
    /// Tells it; none if there is nothing to tell any more.
    async fn tell(&self, hub: &Arc<Hub>, toy: &ToyId) -> Result<Option<Telling>, DomainError> {
        match self {
            Self::Messages(ids) => Ok(hub.new_messages(toy, ids, wire::now()).await?.map(|new| new.telling)),
            Self::Reminder(id) => hub.tell_reminder(toy, id, wire::now()).await,
        }
    }
}

/// The valid tickets.
pub(super) struct Tickets {
    all: DashMap<String, Ticket>,
    ttl: Duration,
    max: usize,
}

struct Ticket {
    toy: ToyId,
    what: What,
    until: Instant,
    fetched: oneshot::Sender<()>,
}

/// A sound that a device was told of. Dropping it makes the ticket invalid.
pub(super) struct Offer {
    devices: Arc<Devices>,
    ticket: String,
    /// Resolves when the sound was fetched to its end; an error if it will not be.
    fetched: oneshot::Receiver<()>,
    until: Instant,
    is_fetching: bool,
}

impl Tickets {
    pub(super) fn new(config: &config::Xiaozhi) -> Self {
        Self { all: DashMap::new(), ttl: seconds(config.notify_ttl_s), max: config.notifications_max }
    }
}

impl Offer {
    /// Makes a ticket; none if there are too many.
    pub(super) fn new(devices: &Arc<Devices>, toy: &ToyId, what: What) -> Option<Self> {
        let tickets = &devices.tickets;
        if tickets.all.len() >= tickets.max {
            return None;
        }
        let (sender, fetched) = oneshot::channel();
        let (ticket, until) = (Secret::random().reveal().to_owned(), Instant::now() + tickets.ttl);
        tickets.all.insert(ticket.clone(), Ticket { toy: toy.clone(), what, until, fetched: sender });
        Some(Self { devices: Arc::clone(devices), ticket, fetched, until, is_fetching: false })
    }

    /// The address, at a hub that the device reaches there.
    pub(super) fn url(&self, hub: &str) -> String {
        format!("{hub}{}", SOUND_PATH.replace("{name}", &self.ticket))
    }

    /// Waits for the end; true if the sound was fetched completely. Cancel-safe.
    pub(super) async fn ended(&mut self) -> bool {
        while !self.is_fetching {
            tokio::select! {
                biased;
                fetched = &mut self.fetched => return fetched.is_ok(),
                () = sleep_until(self.until) => {
                    if self.devices.tickets.all.remove(&self.ticket).is_some() {
                        return false;
                    }
                    self.is_fetching = true;
                }
            }
        }
        (&mut self.fetched).await.is_ok()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.devices.tickets.all.remove(&self.ticket);
    }
}

impl Devices {
    /// The sound of a ticket, as an Ogg file; none if the ticket is not valid, or there is nothing to play any more.
    pub async fn fetch(&self, ticket: &str) -> Option<BoxStream<'static, io::Result<Bytes>>> {
        let (_, Ticket { toy, what, until, fetched }) = self.tickets.all.remove(ticket)?;
        if until < Instant::now() {
            return None;
        }
        let hub = Arc::clone(&self.hub);
        match what.tell(&hub, &toy).await {
            Ok(telling) => {
                let pieces = in_a_file(telling?);
                let fetch = Fetch { hub, toy, pieces, dones: Vec::new(), began: None, packets: 0, fetched };
                Some(stream::unfold(Some(fetch), next).boxed())
            }
            Err(error) => {
                tracing::warn!(?error, "a device gets no sound");
                None
            }
        }
    }
}

/// A sound that is being fetched.
struct Fetch {
    hub: Arc<Hub>,
    toy: ToyId,
    pieces: BoxStream<'static, Result<FilePiece, DomainError>>,
    /// What is done at the end.
    dones: Vec<Done>,
    /// When the first packet was sent, and how many were sent.
    began: Option<Instant>,
    packets: usize,
    fetched: oneshot::Sender<()>,
}

/// The next bytes, when they are due; none at the end, which is reached only by a device that has taken all before.
async fn next(fetch: Option<Fetch>) -> Option<(io::Result<Bytes>, Option<Fetch>)> {
    let mut fetch = fetch?;
    loop {
        let piece = match fetch.pieces.next().await {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                tracing::warn!(?error, "a sound for a device breaks off");
                return Some((Err(io::Error::other("the sound breaks off")), None));
            }
            None => break,
        };
        fetch.dones.extend(piece.done);
        if piece.bytes.is_empty() {
            fetch.packets = piece.packets;
            continue;
        }
        if piece.packets > 0 {
            let began = *fetch.began.get_or_insert_with(Instant::now);
            let played = Duration::from_millis(u64::from(PACKET_MS)) * u32::try_from(fetch.packets).unwrap_or(u32::MAX);
            sleep_until(began + played.saturating_sub(AHEAD)).await;
        }
        fetch.packets = piece.packets;
        return Some((Ok(piece.bytes), Some(fetch)));
    }
    for done in &fetch.dones {
        if let Err(error) = fetch.hub.note_fetched(&fetch.toy, done).await {
            tracing::warn!(?error, "what a device has fetched is not noted");
        }
    }
    // Nobody may wait for it any more.
    let _ = fetch.fetched.send(());
    None
}
