//! Users, toys with their devices, friends and friend requests.

use super::Timestamp;
use super::event::Event;
use super::ids::{ChatId, DeviceKey, RequestId, ToyId, UserId};
use super::names::FileName;
use super::party::Party;

/// A person with the app.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The name to log in with.
    pub username: String,
    /// The name that is shown to others.
    pub nickname: String,
    /// `"1"` or `"2"`, as the app sent it.
    pub gender: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
}

/// A toy that is bound to a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Toy {
    /// Which.
    pub id: ToyId,
    /// The device that it runs on.
    pub device_key: DeviceKey,
    /// The user that it is bound to.
    pub bind_user: UserId,
    /// The toy's name.
    pub toy_name: String,
    /// The child's name.
    pub baby_name: String,
    /// The owner's gender, `"1"` or `"2"`.
    pub gender: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
}

/// One side's entry for a friend in its address book.
#[derive(Debug, Clone, PartialEq)]
pub struct Friend {
    /// The friend.
    pub party: Party,
    /// The friend's name.
    pub nickname: String,
    /// The remark of the owner of the address book.
    pub remark: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
    /// The chat window of the two.
    pub chat: ChatId,
    /// The number of messages of this friend that the owner has not read.
    pub unread: u64,
    /// Whether the messages of this friend are not announced.
    pub is_muted: bool,
}

/// The state of a friend request; on the wire 0, 1, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Not answered.
    Pending = 0,
    /// Accepted.
    Accepted = 1,
    /// Refused.
    Refused = 2,
}

/// A friend request, as its recipient sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct FriendRequest {
    /// Which.
    pub id: RequestId,
    /// The requester.
    pub requester: Party,
    /// The recipient.
    pub requestee: Party,
    /// The party that has to answer next: the requesting toy, until one of its guardians has agreed, then the
    /// recipient. A user answers itself; each guardian of a toy may answer for the toy.
    pub answerer: Party,
    /// The requester's text.
    pub info: String,
    /// The requester's remark for the recipient.
    pub remark: String,
    /// The requester's picture.
    pub avatar: FileName,
    /// The requester's name.
    pub nickname: String,
    /// The recipient's name.
    pub toy_name: String,
    /// Whether and how it was answered.
    pub status: RequestStatus,
}

impl FriendRequest {
    /// The event that notifies the users who may answer.
    pub fn event(&self) -> Event {
        Event::FriendRequest {
            id: self.id.clone(),
            requester: self.requester.clone(),
            requestee: self.requestee.clone(),
        }
    }
}

/// A device of the equipment library.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its key, which the QR picture shows.
    pub key: DeviceKey,
    /// The toy that it became when a user bound it.
    pub toy: Option<ToyId>,
    /// What the operator calls it.
    pub name: Option<String>,
}

/// The login of a valid token or ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// The party.
    pub party: Party,
    /// When it expires, as a time for ages; connections that were opened with it are then closed.
    pub expires_at: Timestamp,
}
