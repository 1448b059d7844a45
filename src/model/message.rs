//! Voice messages.

use super::Timestamp;
use super::ids::MessageId;
use super::names::FileName;
use super::party::Party;

/// One voice message of a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Its number in its chat, which determines the order.
    pub seq: u64,
    /// The sender.
    pub from: Party,
    /// The recording, of `/get_chat/`.
    pub sound: FileName,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The state of delivery of a message; each state implies those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageState {
    /// It is stored.
    Sent,
    /// A device of the receiver has it.
    Delivered,
    /// The receiver has marked it as read.
    Heard,
}

impl MessageState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Heard => "heard",
        }
    }
}
