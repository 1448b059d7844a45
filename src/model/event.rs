//! Events: stated here once; each edge encodes them.

use super::Timestamp;
use super::ids::{ChatId, MessageId, ReminderId, RequestId, ToyId};
use super::message::MessageState;
use super::names::FileName;
use super::party::Party;
use super::reminder::{ChildWords, ReminderKind};

/// A sound in a play request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayedSound {
    /// Of `/get_music/`.
    Music(FileName),
    /// Of `/get_chat/`.
    Chat(FileName),
}

/// A command for a toy's player.
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

/// An event of a party, published on its inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new voice message.
    Message {
        /// Its id, by which receivers drop duplicates.
        id: MessageId,
        /// The sender.
        from: Party,
        /// Its chat.
        chat: ChatId,
        /// The recording, of `/get_chat/`.
        sound: FileName,
        /// A spoken "you have a message from …", of `/get_chat/`; none if it could not be synthesised.
        notice: Option<FileName>,
        /// When it was accepted.
        created_at: Timestamp,
    },
    /// A play request of a friend, for now; it is not stored.
    Play {
        /// The friend.
        from: Party,
        /// The sound to play.
        sound: PlayedSound,
    },
    /// A command of the child to the toy, for now; it is not stored.
    Command(ToyCommand),
    /// A reminder of the child is due, for now; it is not stored.
    Reminder {
        /// Its id.
        id: ReminderId,
        /// Its kind.
        kind: ReminderKind,
        /// What the child wants to be reminded of; may be empty.
        words: ChildWords,
        /// When it was due.
        due: Timestamp,
        /// What to play, of `/get_chat/`; none if it could not be synthesised, and for devices that the hub speaks on.
        sound: Option<FileName>,
    },
    /// A friend request to the user or to a toy of the user, or from a toy of the user.
    FriendRequest {
        /// The id for the answer.
        id: RequestId,
        /// The requester.
        requester: Party,
        /// The recipient.
        requestee: Party,
    },
    /// Data was erased: loaded data may be out of date, and the device loads everything again.
    Erased,
    /// A request was accepted: the address book has a new entry.
    FriendAdded {
        /// The new friend.
        friend: Party,
        /// The chat of the two parties.
        chat: ChatId,
    },
    /// A friendship has ended: the address book has lost an entry.
    FriendRemoved {
        /// The former friend.
        friend: Party,
        /// The former chat of the two parties.
        chat: ChatId,
    },
    /// A toy of the user that knows only its device key was refused at a new place.
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
    /// Messages that this party sent were delivered or read.
    Receipt {
        /// Their new state.
        state: MessageState,
        /// The newest of them; those before it have reached the state, too.
        up_to: MessageId,
        /// Their chat.
        chat: ChatId,
        /// The receiver.
        by: Party,
    },
    /// A device of this party marked messages as read.
    Read {
        /// The sender.
        friend: Party,
        /// Their chat.
        chat: ChatId,
        /// The number of messages of that friend that are still unread.
        unread: u64,
    },
}
