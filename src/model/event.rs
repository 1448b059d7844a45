//! Events: stated here once; each edge encodes them.

use super::Timestamp;
use super::ids::{ChatId, MessageId, RequestId, ToyId};
use super::message::MessageState;
use super::names::FileName;
use super::party::Party;

/// What a friend has somebody play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayedSound {
    /// Of `/get_music/`.
    Music(FileName),
    /// Of `/get_chat/`.
    Chat(FileName),
}

/// What a toy does to what it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToyCommand {
    /// Be quiet.
    Stop,
    /// Turn the volume up.
    Louder,
    /// Turn the volume down.
    Softer,
}

impl ToyCommand {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Louder => "louder",
            Self::Softer => "softer",
        }
    }
}

/// What has happened to a party, published on its inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new voice message.
    Message {
        /// To drop repeats by.
        id: MessageId,
        /// Who sent it.
        from: Party,
        /// The chat window that it stands in.
        chat: ChatId,
        /// The recording, of `/get_chat/`.
        sound: FileName,
        /// A spoken "you have a message from …", of `/get_chat/`; none where it could not be spoken.
        notice: Option<FileName>,
        /// When it was accepted.
        created_at: Timestamp,
    },
    /// A friend has the party play a sound, now; it is not kept.
    Play {
        /// Which friend.
        from: Party,
        /// What to play.
        sound: PlayedSound,
    },
    /// A command of the child to the toy, for now; it is not kept.
    Command(ToyCommand),
    /// Somebody asks to be a friend of the user or of a toy of the user, or a toy of the user asks somebody.
    FriendRequest {
        /// To answer it by.
        id: RequestId,
        /// Who asks.
        requester: Party,
        /// Who is asked.
        requestee: Party,
    },
    /// Something was erased: what a device has loaded before may be gone, and the device loads all again.
    Erased,
    /// A request was accepted: the address book has a new entry.
    FriendAdded {
        /// The new friend.
        friend: Party,
        /// The chat window of the two.
        chat: ChatId,
    },
    /// A friendship has ended: the address book has lost an entry.
    FriendRemoved {
        /// The former friend.
        friend: Party,
        /// The chat window that the two had.
        chat: ChatId,
    },
    /// A toy of the user, which knows only its device key, is refused at a place where it is not let in.
    ToyWantsIn {
        /// The toy.
        toy: ToyId,
        /// The place: an IPv4 address, or the first address of an IPv6 network.
        place: String,
    },
    /// A toy of the user was opened by its device key at a new address, at which no guardian of it has proved itself.
    ToyOpened {
        /// The toy.
        toy: ToyId,
        /// The place: an IPv4 address, or the first address of an IPv6 network.
        place: String,
    },
    /// Messages of this party's own have come further.
    Receipt {
        /// How far.
        state: MessageState,
        /// The newest of them; those before it have come as far at least.
        up_to: MessageId,
        /// Their chat.
        chat: ChatId,
        /// Who has received or heard them.
        by: Party,
    },
    /// This party has heard messages, on whichever of its devices.
    Read {
        /// Who sent them.
        friend: Party,
        /// Their chat.
        chat: ChatId,
        /// How many of that friend are still unheard.
        unread: u64,
    },
}
