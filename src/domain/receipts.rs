//! The states of messages: sent, delivered to a device, heard. Each step notifies the sender, and a step of reading the
//! receiver's other devices.

use super::Hub;
use super::error::DomainError;
use crate::model::{Event, Friend, MessageId, MessageState, Party, PartyId};
use crate::ports::store::{Heard, Unheard};

/// What waits for a party; nothing is marked by looking.
#[derive(Debug)]
pub struct Unread {
    /// The friends of whom something is unheard, with how much.
    pub friends: Vec<Friend>,
    /// The oldest unheard messages of all of them, oldest first.
    pub messages: Vec<Unheard>,
}

impl Hub {
    /// The unread messages of a party, at most `limit`: for clients that mark with [`Hub::mark_heard`] what they have
    /// played. In a toy's quiet hours the messages are left out.
    pub async fn unread(&self, party: &Party, limit: usize) -> Result<Unread, DomainError> {
        let messages = if self.rests(party) { Vec::new() } else { self.store.unheard(party, limit).await? };
        let mut friends = self.store.friends(party).await?;
        friends.retain(|friend| friend.unread > 0);
        Ok(Unread { friends, messages })
    }

    /// Notes that a device of `receiver` has a message, and so those before it of the same chat, and notifies the sender.
    ///
    /// A repeat, also for an older message or one that was heard, changes nothing. Errors: `UnknownMessage`,
    /// also for a message that is not one to `receiver`.
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

    /// Notes that `reader` has heard the messages of a friend, up to one of them or all, and notifies the sender and the
    /// devices of the reader.
    ///
    /// A repeat, also for an older message, changes nothing. Errors: `UnknownChat` where there is no such
    /// friend, `UnknownMessage` where the message is not that friend's to `reader`.
    pub async fn mark_heard(
        &self,
        reader: &Party,
        friend: &PartyId,
        up_to: Option<&MessageId>,
    ) -> Result<(), DomainError> {
        let heard = self.store.mark_heard(reader, friend, up_to).await?;
        self.announce_heard(reader, heard).await;
        Ok(())
    }

    /// Notifies the sender, and the reader's devices if it is a user: a toy has no other device.
    pub(super) async fn announce_heard(&self, reader: &Party, heard: Option<Heard>) {
        let Some(Heard { sender, chat, up_to, unread, sender_seq, reader_seq }) = heard else { return };
        if let Some(up_to) = up_to {
            let receipt = Event::Receipt { state: MessageState::Heard, up_to, chat: chat.clone(), by: reader.clone() };
            self.announce(&sender, &receipt, sender_seq).await;
        }
        if matches!(reader, Party::User(_)) {
            self.announce(reader, &Event::Read { friend: sender, chat, unread }, reader_seq).await;
        }
    }
}
