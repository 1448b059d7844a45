//! The states of messages: sent, delivered to a device, heard (marked as read). Each change notifies the sender;
//! marking as read also notifies the receiver's other devices.

use super::Hub;
use super::error::DomainError;
use crate::model::{Event, Friend, MessageId, MessageState, Party, PartyId};
use crate::ports::store::{ReadMessages, UnreadMessage};

/// The unread messages of a party. Reading this list marks nothing.
#[derive(Debug)]
pub struct Unread {
    /// The friends with unread messages, with their numbers.
    pub friends: Vec<Friend>,
    /// The oldest unread messages of all of them, oldest first.
    pub messages: Vec<UnreadMessage>,
}

impl Hub {
    /// The unread messages of a party, at most `limit`: for clients that mark played messages with [`Hub::mark_read`].
    /// In a toy's quiet hours the messages are left out.
    pub async fn unread(&self, party: &Party, limit: usize) -> Result<Unread, DomainError> {
        let messages = if self.rests(party) { Vec::new() } else { self.store.unread_messages(party, limit).await? };
        let mut friends = self.store.friends(party).await?;
        friends.retain(|friend| friend.unread > 0);
        Ok(Unread { friends, messages })
    }

    /// Marks a message, and those before it in the chat, as delivered to a device of `receiver`, and notifies the
    /// sender.
    ///
    /// A repeated call, or one for an older or read message, changes nothing. Errors: `UnknownMessage`, also for a
    /// message that is not one to `receiver`.
    pub async fn mark_delivered(&self, receiver: &Party, id: &MessageId) -> Result<(), DomainError> {
        let Some(delivered) = self.store.mark_delivered(receiver, id).await? else { return Ok(()) };
        let receipt = Event::Receipt {
            state: MessageState::Delivered,
            up_to: id.clone(),
            chat: delivered.chat,
            by: receiver.clone(),
        };
        self.announce(&delivered.sender, &receipt, delivered.sender_seq).await;
        Ok(())
    }

    /// Marks the messages of a friend as read by `reader`, up to one of them or all, and notifies the sender and the
    /// devices of the reader.
    ///
    /// A repeated call, or one for an older message, changes nothing. For a toy that rests, only messages that were
    /// delivered before are marked: it was given no others. Errors: `UnknownChat` if there is no such friend,
    /// `UnknownMessage` if the message is not from that friend to `reader`.
    pub async fn mark_read(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
    ) -> Result<(), DomainError> {
        let heard = if self.rests(reader) {
            self.store.mark_delivered_as_read(reader, friend, up_to).await?
        } else {
            self.store.mark_read(reader, friend, up_to).await?
        };
        self.announce_read(reader, heard).await;
        Ok(())
    }

    /// Notifies the sender, and the reader's devices if it is a user: a toy has no other device.
    pub(super) async fn announce_read(&self, reader: &Party, heard: Option<ReadMessages>) {
        let Some(ReadMessages { sender, chat, up_to, unread, sender_seq, reader_seq, .. }) = heard else { return };
        if let Some(up_to) = up_to {
            let receipt = Event::Receipt { state: MessageState::Heard, up_to, chat: chat.clone(), by: reader.clone() };
            self.announce(&sender, &receipt, sender_seq).await;
        }
        if matches!(reader, Party::User(_)) {
            self.announce(reader, &Event::Read { friend: sender, chat, unread }, reader_seq).await;
        }
    }
}
