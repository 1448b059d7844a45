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
    /// The name that others see.
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
    /// As the owner's, `"1"` or `"2"`.
    pub gender: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
}

/// One side's entry for a friend in its address book.
#[derive(Debug, Clone, PartialEq)]
pub struct Friend {
    /// The friend.
    pub party: Party,
    /// The name that the friend bears.
    pub nickname: String,
    /// The name that the owner of the address book gave.
    pub remark: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
    /// The chat window of the two.
    pub chat: ChatId,
    /// Messages of this friend that the owner has not heard.
    pub unread: u64,
    /// Whether the messages of this friend are not announced.
    pub is_muted: bool,
}

/// What has become of a friend request; on the wire 0, 1, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Not answered.
    Pending = 0,
    /// Accepted.
    Accepted = 1,
    /// Refused.
    Refused = 2,
}

/// A friend request as its receiver sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct FriendRequest {
    /// Which.
    pub id: RequestId,
    /// Who asks.
    pub requester: Party,
    /// Who is asked.
    pub requestee: Party,
    /// Whose answer it waits for: the toy that asks, until a guardian of it has agreed, then the requestee. A user
    /// answers itself, for a toy each of its guardians does.
    pub answerer: Party,
    /// The words sent along.
    pub info: String,
    /// The requester's name for the requestee.
    pub remark: String,
    /// The requester's picture.
    pub avatar: FileName,
    /// The requester's name.
    pub nickname: String,
    /// The requestee's name.
    pub toy_name: String,
    /// Whether and how it was answered.
    pub status: RequestStatus,
}

impl FriendRequest {
    /// The event by which those who may answer are notified.
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
}

/// What a good token or ticket opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Whose it is.
    pub party: Party,
    /// When it stops to be good; what was opened with it is then closed.
    pub expires_at: Timestamp,
}
