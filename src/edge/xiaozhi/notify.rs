//! Sounds for idle devices: the hub sends the address of a sound over MQTT, and the device fetches and plays it.
//!
//! The address has a ticket that is valid once and for a short time, as the device sends no credentials. The sound is made
//! while it is fetched, at the pace at which it is played, and its last page is held back until the rest was played. So a
//! device that stops the sound closes the connection before its end, and one that closes it afterwards has played all but
//! what it buffers. A device that closes nothing is gone. The device does not say that it has played the sound.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
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

/// The content of a sound.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// New messages.
    Messages(Vec<MessageId>),
    /// A reminder that is due.
    Reminder(ReminderId),
}

impl What {
    /// Begins the sound; none if there is nothing to tell any more.
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
    places: Arc<Semaphore>,
}

struct Ticket {
    toy: ToyId,
    what: What,
    until: Instant,
    /// Gets the effects of the sound when all its pieces were made.
    ended: oneshot::Sender<Vec<Done>>,
    received: oneshot::Sender<()>,
}

/// A sound that a device was told of. Dropping it makes the ticket invalid.
pub(super) struct Offer {
    devices: Arc<Devices>,
    ticket: String,
    /// The effects of the sound, when the device has received all of it; none if it has not.
    fetched: BoxFuture<'static, Option<Vec<Done>>>,
    until: Instant,
    is_fetching: bool,
    _place: OwnedSemaphorePermit,
}

/// The end of an offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The device has received all of the sound, and plays the rest of it; with the effects of the sound.
    Fetched(Vec<Done>),
    /// The device has stopped the sound or is gone, or there was nothing to tell any more.
    Stopped,
    /// The device has not fetched the sound in time.
    Unfetched,
}

/// A sound for a device that fetches it.
pub struct Sound {
    /// The pieces of an Ogg file.
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
    /// To be sent when the device has received all of them, and dropped if it has not.
    pub received: oneshot::Sender<()>,
}

impl Tickets {
    pub(super) fn new(config: &config::Xiaozhi) -> Self {
        let places = Arc::new(Semaphore::new(config.notifications_max));
        Self { all: DashMap::new(), ttl: seconds(config.notify_ttl_s), places }
    }
}

impl Offer {
    /// Makes a ticket; none if there are too many.
    pub(super) fn new(devices: &Arc<Devices>, toy: &ToyId, what: What) -> Option<Self> {
        let tickets = &devices.tickets;
        let place = Arc::clone(&tickets.places).try_acquire_owned().ok()?;
        let ((ended, dones), (received, is_received)) = (oneshot::channel(), oneshot::channel());
        let (ticket, until) = (Secret::random().reveal().to_owned(), Instant::now() + tickets.ttl);
        tickets.all.insert(ticket.clone(), Ticket { toy: toy.clone(), what, until, ended, received });
        let fetched = async move {
            let dones = dones.await.ok()?;
            is_received.await.ok().map(|()| dones)
        };
        let fetched = fetched.boxed();
        Some(Self { devices: Arc::clone(devices), ticket, fetched, until, is_fetching: false, _place: place })
    }

    /// The address, at a hub that the device reaches there.
    pub(super) fn url(&self, hub: &str) -> String {
        format!("{hub}{}", SOUND_PATH.replace("{name}", &self.ticket))
    }

    /// Waits for the end. Cancel-safe; not to be called after it.
    pub(super) async fn ended(&mut self) -> Outcome {
        let of = |fetched: Option<_>| fetched.map_or(Outcome::Stopped, Outcome::Fetched);
        while !self.is_fetching {
            tokio::select! {
                biased;
                fetched = &mut self.fetched => return of(fetched),
                () = sleep_until(self.until) => {
                    if self.devices.tickets.all.remove(&self.ticket).is_some() {
                        return Outcome::Unfetched;
                    }
                    self.is_fetching = true;
                }
            }
        }
        of((&mut self.fetched).await)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.devices.tickets.all.remove(&self.ticket);
    }
}

impl Devices {
    /// The sound of a ticket; none if the ticket is not valid, or there is nothing to play any more.
    pub async fn fetch(&self, ticket: &str) -> Option<Sound> {
        let (_, Ticket { toy, what, ended, received, .. }) =
            self.tickets.all.remove_if(ticket, |_, ticket| ticket.until >= Instant::now())?;
        match what.tell(&self.hub, &toy).await {
            Ok(telling) => {
                let fetch = Fetch { pieces: in_a_file(telling?), dones: Vec::new(), began: None, packets: 0, ended };
                Some(Sound { pieces: stream::unfold(Some(fetch), next).boxed(), received })
            }
            Err(error) => {
                tracing::warn!(?error, "a sound for a device cannot be made");
                None
            }
        }
    }
}

/// A sound that is being fetched.
struct Fetch {
    pieces: BoxStream<'static, Result<FilePiece, DomainError>>,
    /// The effects of the sound at its end.
    dones: Vec<Done>,
    /// When the first packet was sent, and how many were sent.
    began: Option<Instant>,
    packets: usize,
    ended: oneshot::Sender<Vec<Done>>,
}

/// The next bytes, when they are due; none at the end. The bytes are made as fast as the connection takes them, which has
/// room for a short sound as a whole: that they were taken does not mean that they were received.
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
            // The last page has the last packet alone, which is due when all before it were played.
            let (packets, ahead) =
                if piece.is_last { (piece.packets - 1, Duration::ZERO) } else { (fetch.packets, AHEAD) };
            let played = Duration::from_millis(u64::from(PACKET_MS)) * u32::try_from(packets).unwrap_or(u32::MAX);
            sleep_until(began + played.saturating_sub(ahead)).await;
        }
        fetch.packets = piece.packets;
        return Some((Ok(piece.bytes), Some(fetch)));
    }
    // Nobody may wait for it any more.
    let _ = fetch.ended.send(fetch.dones);
    None
}
