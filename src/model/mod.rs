//! Plain data for all modules: ids, names, entities and events.
//!
//! No I/O, no wire format, no clock. A value of one of these types is valid by
//! construction, so that the modules below an edge never check a string again.

mod audit;
mod consent;
mod content;
mod event;
mod ids;
mod kept_words;
mod message;
mod names;
mod network;
mod party;
mod people;
mod push;
mod question;
mod quiet;
mod recording;
mod reminder;
mod secret;
mod stock;
mod topics;
mod toy_voice;

pub use audit::{Action, Audited, Setting};
pub use consent::{Consent, ConsentText};
pub use content::Content;
pub use event::{Event, PlayedSound, ToyCommand};
pub use ids::{ChatId, ContentId, DeviceKey, HubId, MessageId, PartyId, ReminderId, RequestId, ToyId, UserId};
pub use kept_words::{KeptWords, Reaction};
pub use message::{Message, MessageState};
pub use names::{FileName, UploadName};
pub use network::Network;
pub use party::{Party, PartyKind};
pub use people::{Device, Friend, FriendRequest, Login, RequestStatus, Toy, User};
pub use push::{News, PushSubscription, StoredPush};
pub use question::Question;
pub use quiet::{DailyMinutes, DayMinute, Played, QuietHours};
pub use recording::{Answer, Outcome, Sent};
pub use reminder::{ChildWords, Reminder, ReminderKind};
pub use secret::Secret;
pub use stock::{ActivationCode, DeviceName, StockIdentity};
pub use topics::{QoS, Topic, TopicFilter};
pub use toy_voice::ToyVoice;

/// A text that is not a valid id, key or name. The message names the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Seconds since 1970-01-01 UTC, with a fraction; the contract's `create_time`.
pub type Timestamp = f64;

/// The amount of data of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Toys.
    pub toys: u64,
    /// Voice messages.
    pub messages: u64,
}
