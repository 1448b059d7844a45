//! The rules of toyhub: accounts, toys, friends, voice messages, content and permissions.
//!
//! [`Hub`] is the handle that edges hold; cloning it is cheap. Its methods take checked types and the current time;
//! they know no protocol and read no clock.

mod accounts;
mod activation;
mod assistant;
mod audit;
pub mod backup;
mod chats;
pub mod cluster;
mod consent;
mod content;
mod counted;
mod doctor;
pub mod erasure;
pub mod error;
pub mod export;
pub mod fencing;
mod fleet;
mod friends;
mod gauges;
mod handover;
mod health;
pub mod hearing;
mod household;
pub mod housekeeping;
mod kept_words;
mod links;
pub mod live;
pub mod live_logins;
pub mod login;
mod moving_in;
mod names;
mod operator;
mod own_sounds;
mod passwords;
pub mod permissions;
mod permitted;
mod places;
pub mod push;
mod rates;
mod receipts;
mod relay;
mod remarks;
pub mod reminders;
mod requests;
pub mod rest;
mod retention;
pub mod shared_rules;
mod sounds;
mod stored;
mod streams;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;
mod toy_voices;
mod toys;
mod turns;
mod unfinished;
mod units;
mod uploads;
mod voice;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::model::{FileName, Party, Secret, Timestamp};
use crate::ports::bus::Bus;
use crate::ports::chunks::Chunks;
use crate::ports::clock::MonotonicClock;
use crate::ports::data_folder::DataFolder;
use crate::ports::erased::ErasedList;
use crate::ports::files::Files;
use crate::ports::reply::ReplyEngine;
use crate::ports::router::{EncodeEvent, Router, StoredSession};
use crate::ports::space::Space;
use crate::ports::speech::Speaker;
use crate::ports::store::{Refusal, Store, StoreError, flushed_writes};
use crate::ports::workers::{WorkError, Workers};

pub use accounts::{Profile, Registration};
pub use activation::CheckIn;
pub use assistant::turn;
pub use content::NewContent;
pub use doctor::Examination;
pub use fleet::DeviceState;
pub use gauges::{Gauges, Limit};
pub use handover::{HandedOver, Handover};
pub use health::{Health, PartState};
pub use household::{Guardian, Invitation, WantedInvitation};
pub use links::LinksOf;
#[cfg(test)]
pub(crate) use links::test_links;
pub use moving_in::{BadLine, MovingDevice};
pub use places::{Origin, is_local};
pub use receipts::Unread;
pub use requests::{Answerers, NewRequest};
pub use rest::{ToySettings, daily_minutes, quiet_hours};
pub use streams::Resumption;
pub use toys::{Binding, NewDevice, Opened};
pub use uploads::{ChunksSent, Download, Recording};
pub use voice::{Upload, decode_limits};

pub use crate::ports::chunks::UploadState;
pub use crate::ports::clock;
pub use crate::ports::files::{AMR, FileKind, StoredFile};
pub use crate::ports::progress::{Counter, Progress, Step, Unit};
pub use crate::ports::router::{
    Announced, CloseReason, Deliveries, Delivery, Form, Incoming, Mailbox, MailboxHandle, Payload, SessionHandle, Taken,
};
pub use crate::ports::store::{Before, Block, UnreadMessage};

use activation::Activations;
use assistant::Assistant;
use audit::Noted;
use backup::Backups;
use chats::Attempt;
use cluster::Cluster;
use counted::Counted;
use erasure::Erasures;
use error::DomainError;
use export::Exports;
use handover::Handovers;
use health::LastCheck;
use links::Links;
use live_logins::LiveLogins;
use operator::Operators;
use permitted::Permitted;
use push::Pushes;
use rates::Rates;
use remarks::Remarks;
use reminders::Reminders;
use rest::Resting;
use sounds::Sounds;
use stored::Stored;
use tickets::Tickets;
use toy_voices::ToyVoices;
use turns::Turns;

/// The ports of the hub; `server` opens them.
pub struct Ports {
    /// The folder that contains most of them.
    pub folder: DataFolder,
    /// The database.
    pub store: Store,
    /// Sounds and pictures.
    pub files: Files,
    /// The disk that all of it is on.
    pub space: Space,
    /// Recordings in chunks.
    pub chunks: Chunks,
    /// The list of erasures.
    pub erased: ErasedList,
    /// Measures elapsed time.
    pub clock: MonotonicClock,
    /// Live delivery.
    pub router: Arc<Router>,
    /// The connection to the other hubs; none for a single hub.
    pub bus: Option<Arc<Bus>>,
    /// The sessions of an earlier process.
    pub stored_sessions: Vec<StoredSession>,
    /// Synthesis.
    pub speaker: Speaker,
    /// The reply engine, for speech that is not a command.
    pub replies: Arc<dyn ReplyEngine>,
    /// Encodes an event as the payload of a topic. It is passed in, as the domain knows no wire format.
    pub encode_event: EncodeEvent,
}

/// The hub's services.
pub struct Hub {
    folder: DataFolder,
    store: Store,
    files: Files,
    space: Arc<Space>,
    sounds: Sounds,
    /// Attempts to send the same recording.
    attempts: Turns<Attempt>,
    /// Notices that are being spoken.
    notices: Turns<FileName>,
    /// Recordings that are stored as they came, and of which an MP3 is being made.
    made: Turns<FileName>,
    stored: Stored,
    chunks: Arc<Chunks>,
    router: Arc<Router>,
    cluster: Option<Cluster>,
    stored_sessions: Mutex<Vec<StoredSession>>,
    speaker: Speaker,
    assistant: Assistant,
    encode_event: EncodeEvent,
    links: Arc<Links>,
    live_logins: LiveLogins,
    config: Arc<Config>,
    rates: Rates,
    clock: MonotonicClock,
    resting: Resting,
    toy_voices: ToyVoices,
    counted: Counted,
    remarks: Remarks,
    reminders: Reminders,
    tickets: Tickets,
    activations: Activations,
    backups: Backups,
    erasures: Erasures,
    exports: Exports,
    noted: Noted,
    operators: Operators,
    handovers: Handovers,
    pushes: Pushes,
    /// Three pools of workers, so that a queue of recordings blocks neither logins nor messages.
    audio_workers: Workers,
    password_workers: Workers,
    disk_workers: Workers,
    last_check: Mutex<LastCheck>,
    /// The key that makes the names of cached sounds unguessable.
    secret: Secret,
    /// The count of revocations, for concurrent logins.
    revocations: AtomicU64,
    permitted: Permitted,
    #[cfg(test)]
    pub(crate) gate: login::Gate,
    /// Pauses a reading of a permission in the database.
    #[cfg(test)]
    pub(crate) permission_gate: login::Gate,
}

impl Hub {
    /// The hub over `ports`.
    pub async fn new(ports: Ports, config: Arc<Config>) -> Result<Self, DomainError> {
        let Ports {
            folder,
            store,
            files,
            space,
            chunks,
            erased,
            clock,
            router,
            bus,
            stored_sessions,
            speaker,
            replies,
            encode_event,
        } = ports;
        let cluster = bus.map(|bus| Cluster::new(bus, &router, &clock, &config));
        let secret = store.hub_secret(&Secret::random()).await?;
        let pushes = Pushes::open(&store, &config.push).await?;
        let links = Arc::new(Links::new(&secret, config.auth.link_minutes));
        let workers = || {
            let audio = &config.audio;
            Workers::new(audio.workers, audio.queue_max, audio.queue_per_party_max).map_err(DomainError::internal)
        };
        Ok(Self {
            rates: Rates::new(&config.rates, &config.console, &clock),
            counted: Counted::new(&config.ws, &clock),
            remarks: Remarks::default(),
            reminders: Reminders::default(),
            clock,
            resting: Resting::new(config.chats.emergency_minutes),
            toy_voices: ToyVoices::default(),
            revocations: AtomicU64::new(0),
            permitted: Permitted::default(),
            #[cfg(test)]
            gate: login::Gate::default(),
            #[cfg(test)]
            permission_gate: login::Gate::default(),
            tickets: Tickets::new(&config.ws),
            activations: Activations::new(&config.xiaozhi),
            backups: Backups::new(),
            erasures: Erasures::new(erased),
            exports: Exports::new(config.limits.exports_parallel_max),
            noted: Noted::default(),
            operators: Operators::new(&config.console),
            handovers: Handovers::default(),
            pushes,
            audio_workers: workers()?,
            password_workers: workers()?,
            disk_workers: workers()?,
            store,
            files,
            space: Arc::new(space),
            sounds: Sounds::default(),
            attempts: Turns::default(),
            notices: Turns::default(),
            made: Turns::default(),
            stored: Stored::default(),
            chunks: Arc::new(chunks),
            router,
            cluster,
            stored_sessions: Mutex::new(stored_sessions),
            speaker,
            assistant: Assistant::new(replies, &config.speech),
            encode_event,
            links,
            live_logins: LiveLogins::default(),
            config,
            last_check: Mutex::default(),
            secret,
            folder,
        })
    }

    /// Closes the store and records the clean stop. The hub cannot be used afterwards.
    pub async fn close(&self, now: Timestamp) -> Result<(), DomainError> {
        self.backups.cancel();
        self.backups.ended().await;
        self.stop_recogniser().await;
        self.router.close().await;
        let counts = self.store.counts().await;
        if let Err(error) = self.folder.note_change() {
            // Such as a full disk. The stop is then not recorded as clean: the next start needs the log, which a clean
            // stop would have removed.
            self.store.abandon();
            return Err(DomainError::internal(error));
        }
        self.store.close().await?;
        if self.store.is_lost() {
            tracing::warn!("the database server is lost: this stop is not recorded as clean");
            return Ok(());
        }
        self.folder.note_stop(counts?, now, flushed_writes).map_err(DomainError::internal)
    }

    /// Stores the time, so that the next start notices a clock that is wrong. Blocks on the disk.
    pub fn note_clock(&self) -> Result<(), DomainError> {
        self.folder.note_clock().map_err(DomainError::internal)
    }

    /// Checks a required name: not empty, not too long, and visible.
    fn checked_text(&self, field: &'static str, text: String) -> Result<String, DomainError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DomainError::invalid(field, "is missing"));
        }
        self.checked_optional_text(field, text.to_owned())
    }

    /// Checks an optional name: not too long, and visible ([`names`]).
    fn checked_optional_text(&self, field: &'static str, text: String) -> Result<String, DomainError> {
        let max = self.config.accounts.name_max_chars;
        let text = text.trim();
        if text.chars().count() > max {
            return Err(DomainError::invalid(field, format!("has more than {max} characters")));
        }
        if !names::is_visible(text) {
            return Err(DomainError::invalid(field, "has characters that cannot be seen"));
        }
        Ok(text.to_owned())
    }
}

impl From<StoreError> for DomainError {
    fn from(error: StoreError) -> Self {
        let refusal = match error {
            StoreError::Refused(refusal) => refusal,
            StoreError::Lost => return Self::Unavailable("database"),
            StoreError::Closed | StoreError::Busy | StoreError::Changing => return Self::Busy,
            error if error.is_conflict() => return Self::Busy,
            error => return Self::internal(error),
        };
        match refusal {
            Refusal::NameTaken => Self::NameTaken,
            Refusal::UnknownParty => Self::UnknownParty,
            Refusal::UnknownDevice => Self::UnknownDevice,
            Refusal::DeviceBound(toy) => Self::DeviceBound(toy),
            Refusal::UnknownChat => Self::UnknownChat,
            Refusal::UnknownMessage => Self::UnknownMessage,
            Refusal::UnknownRequest => Self::UnknownRequest,
            Refusal::NotFriends => Self::NotFriends,
            Refusal::AlreadyFriends => Self::AlreadyFriends,
            Refusal::AlreadyRequested => Self::AlreadyRequested,
            Refusal::AlreadyAnswered => Self::AlreadyAnswered,
            Refusal::Blocked => Self::Blocked,
            Refusal::UnknownInvite => Self::UnknownInvite,
            Refusal::AlreadyGuardian => Self::AlreadyGuardian,
            Refusal::GuardiansFull => Self::Full("guardian of this toy"),
            Refusal::InvitesFull => Self::Full("open invitation"),
            // The domain reads the pause itself, to report the time left.
            Refusal::RefusedLately(_) => Self::RefusedLately { retry_after_s: 1 },
            Refusal::BookFull => Self::Full("friend in this address book"),
            Refusal::RequestsFull => Self::Full("friend request"),
            Refusal::DamagedChat => Self::internal("a chat is damaged; see toyhub doctor --repair"),
        }
    }
}

impl DomainError {
    /// Why a change failed, for a caller who has to learn whether it was made all the same: `OutcomeUnknown` where the
    /// database did not say.
    fn of_change(error: StoreError) -> Self {
        let is_known = error.has_changed_nothing();
        match Self::from(error) {
            Self::Internal(cause) if !is_known => Self::OutcomeUnknown(cause),
            error => error,
        }
    }
}

impl From<WorkError> for DomainError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Busy => Self::Busy,
            WorkError::Failed => Self::internal(error),
        }
    }
}

/// The party's user id; toys have none.
fn user_of(party: &Party) -> Option<&crate::model::UserId> {
    match party {
        Party::User(id) => Some(id),
        Party::Toy(_) => None,
    }
}
