//! Questions of the hub to a child.

use super::{ChildWords, ContentId, Party, ReminderKind};

/// A question that the hub has asked a child, and whose answer it waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// The title to play.
    Title([ContentId; 2]),
    /// The friend to start a message to.
    Friend([Party; 2]),
    /// Which friend the message is for.
    WhoFor,
    /// Whether the message is for this friend.
    IsItFor(Party),
    /// When a reminder of this kind, with these words, is wanted.
    When(ReminderKind, ChildWords),
    /// Whether to play the unread messages.
    PlayMessages,
}
