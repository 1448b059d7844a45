//! Answers that hand unread messages to their receiver: the messages are marked as read when the answer has been sent.
//!
//! Until then they are unread, so that an answer that is lost with its connection loses no message. There is one such
//! answer to a receiver at a time: a further call of the same receiver waits for a moment until it is decided, so that no
//! two answers have the same messages, and a client that has the answer finds its messages read.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Hub;
use super::error::DomainError;
use crate::config::seconds;
use crate::model::{Message, Party, PartyId, Timestamp};
use crate::ports::store::{BatchMark, BatchUndo};

/// The maximum number of messages in one answer.
const BATCH_MAX: usize = 200;

/// The receivers of answers that are being sent. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Handovers(Arc<DashMap<Party, watch::Receiver<()>>>);

impl Handovers {
    /// Begins the only answer to the receiver; none while there is another one.
    fn begin(&self, receiver: &Party) -> Option<Undecided> {
        let Entry::Vacant(place) = self.0.entry(receiver.clone()) else { return None };
        let (decided, waiting) = watch::channel(());
        place.insert(waiting);
        Some(Undecided { all: self.clone(), receiver: receiver.clone(), decided: Some(decided) })
    }
}

/// An answer that is being sent. When it is dropped, the waiting calls go on.
struct Undecided {
    all: Handovers,
    receiver: Party,
    decided: Option<watch::Sender<()>>,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.all.0.remove(&self.receiver);
        self.decided = None;
    }
}

/// Messages in an answer. If this is dropped, they stay unread.
pub struct Handover {
    messages: Vec<Message>,
    mark: BatchMark,
    undecided: Undecided,
}

/// Messages whose answer was sent, but may not have been received.
pub struct HandedOver {
    receiver: Party,
    undo: BatchUndo,
}

impl Hub {
    /// The unread messages of one sender, oldest first, and their handover, which the edge completes when it has sent
    /// the answer; none if there are no messages.
    ///
    /// The sender is `from`, or if `from` has no unread messages, the sender of the oldest unread message. Empty in a
    /// toy's quiet hours. Errors: `Busy` while another answer to the receiver is being sent.
    pub async fn hand_over(
        &self,
        receiver: &Party,
        from: Option<&PartyId>,
    ) -> Result<(Vec<Message>, Option<Handover>), DomainError> {
        if self.rests(receiver) {
            return Ok((Vec::new(), None));
        }
        // Later, a client reads slowly, and its further calls are refused.
        let begun = timeout(self.handover_timeout(), self.begin_handover(receiver)).await;
        let undecided = begun.map_err(|_| DomainError::Busy)?;
        let batch = self.store.unread_batch(receiver, from, BATCH_MAX).await?;
        for heard in batch.corrected {
            self.announce_read(receiver, Some(heard)).await;
        }
        let handover = batch.mark.map(|mark| Handover { messages: batch.messages.clone(), mark, undecided });
        Ok((batch.messages, handover))
    }

    /// Waits until there is no other answer to the receiver.
    async fn begin_handover(&self, receiver: &Party) -> Undecided {
        loop {
            if let Some(undecided) = self.handovers.begin(receiver) {
                return undecided;
            }
            self.await_handovers(receiver).await;
        }
    }

    /// Marks the messages of an answer that was sent as read, and notifies their sender. None if they were read before.
    /// Messages of an earlier answer that was lost are not counted and published a second time.
    pub async fn complete(&self, handover: Handover, now: Timestamp) -> Result<Option<HandedOver>, DomainError> {
        let Handover { messages, mark, undecided } = handover;
        let receiver = &undecided.receiver;
        let Some((heard, undo)) = self.store.mark_batch(receiver, mark).await? else { return Ok(None) };
        let counted = heard.counted;
        self.announce_read(receiver, Some(heard)).await;
        self.note_receiving(receiver, messages.iter(), now).await;
        self.count_messages(receiver, messages.iter().filter(|message| message.seq > counted), now).await;
        Ok(Some(HandedOver { receiver: receiver.clone(), undo }))
    }

    /// Marks the messages of an answer that was lost as unread again, unless later ones were read since, or the receiver
    /// has marked them itself.
    pub async fn take_back(&self, handed_over: HandedOver) -> Result<(), DomainError> {
        let HandedOver { receiver, undo } = handed_over;
        Ok(self.store.unmark_batch(&receiver, undo).await?)
    }

    /// Waits until the answers to a party are decided, for `chats.handover_timeout_s` at most.
    pub async fn await_handovers(&self, party: &Party) {
        let Some(mut waiting) = self.handovers.0.get(party).map(|waiting| waiting.clone()) else { return };
        // It is an error when the sender is gone, which never sends.
        let _ = timeout(self.handover_timeout(), waiting.changed()).await;
    }

    fn handover_timeout(&self) -> Duration {
        seconds(self.config.chats.handover_timeout_s)
    }

    /// The unread messages of one sender, marked as read at once.
    #[cfg(test)]
    pub(crate) async fn receive(&self, receiver: &Party, from: Option<&PartyId>) -> Result<Vec<Message>, DomainError> {
        let (messages, handover) = self.hand_over(receiver, from).await?;
        if let Some(Handover { mark, .. }) = handover {
            let heard = self.store.mark_batch(receiver, mark).await?.map(|(heard, _)| heard);
            self.announce_read(receiver, heard).await;
        }
        Ok(messages)
    }
}
