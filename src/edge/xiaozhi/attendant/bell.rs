//! What an idle device is told of: new messages, and reminders.
//!
//! Firmware from 2.5 on plays them ([`notify`](crate::edge::xiaozhi::notify)). Older firmware shows a text and makes a
//! sound, and plays them in its next conversation. So does a device that does not fetch them.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::Attendant;
use crate::domain::error::DomainError;
use crate::edge::wire;
use crate::edge::xiaozhi::End;
use crate::edge::xiaozhi::firmware::Firmware;
use crate::edge::xiaozhi::message::Messages;
use crate::edge::xiaozhi::notify::{Offer, What};
use crate::model::{Event, MessageId, ReminderId};

/// Messages that come together are played together.
const TOGETHER: Duration = Duration::from_millis(300);
/// A device still plays the end of what it has fetched, and is busy.
const PLAYED_OUT: Duration = Duration::from_secs(3);
/// Messages and reminders that wait. Later ones are told of in the next conversation.
const WAITING_MAX: usize = 32;

/// What waits, and what is played now.
pub(super) struct Bell {
    messages: Vec<MessageId>,
    reminders: VecDeque<ReminderId>,
    /// Reminders of which the device was told, and which it has not played.
    unheard: VecDeque<ReminderId>,
    ringing: Option<(Offer, What)>,
    after: Instant,
}

/// What happens next.
pub(super) enum Rung {
    /// There is something to tell.
    Due,
    /// What was played has ended.
    Ended {
        /// Whether the device has fetched all of it.
        was_fetched: bool,
    },
}

impl Bell {
    pub(super) fn new(now: Instant) -> Self {
        let (reminders, unheard) = (VecDeque::new(), VecDeque::new());
        Self { messages: Vec::new(), reminders, unheard, ringing: None, after: now }
    }

    /// An event of the toy. A device that plays reminders is told again of one that it has not played.
    pub(super) fn take(&mut self, event: &Event, can_notify: bool, now: Instant) {
        match event {
            Event::Message { id, .. } => self.add_messages([id.clone()], now),
            Event::Reminder { id, .. } => {
                let is_told = !can_notify && self.unheard.contains(id);
                let is_ringing = matches!(&self.ringing, Some((_, What::Reminder(ringing))) if ringing == id);
                let is_known = is_told || is_ringing || self.reminders.contains(id);
                if !is_known && self.reminders.len() < WAITING_MAX {
                    self.reminders.push_back(id.clone());
                }
            }
            _ => {}
        }
    }

    /// New messages, of which the child was not told.
    pub(super) fn add_messages(&mut self, ids: impl IntoIterator<Item = MessageId>, now: Instant) {
        for id in ids {
            if self.messages.len() < WAITING_MAX && !self.messages.contains(&id) {
                self.messages.push(id);
                self.after = self.after.max(now + TOGETHER);
            }
        }
    }

    /// The reminders for a conversation.
    pub(super) fn unheard(&mut self) -> impl Iterator<Item = ReminderId> {
        self.unheard.drain(..).chain(self.reminders.drain(..))
    }

    /// Waits until there is something to tell, or what is played has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Rung {
        match &mut self.ringing {
            Some((offer, _)) => Rung::Ended { was_fetched: offer.ended().await },
            None if self.messages.is_empty() && self.reminders.is_empty() => pending().await,
            None => {
                sleep_until(self.after).await;
                Rung::Due
            }
        }
    }

    /// What was played has ended.
    pub(super) fn note_ended(&mut self, was_fetched: bool, now: Instant) {
        let Some((_, what)) = self.ringing.take() else { return };
        if was_fetched {
            self.after = now + PLAYED_OUT;
        }
        if let (What::Reminder(id), true) = (what, was_fetched) {
            self.unheard.retain(|unheard| *unheard != id);
        }
    }

    fn note_unheard(&mut self, id: ReminderId) {
        if !self.unheard.contains(&id) && self.unheard.len() < WAITING_MAX {
            self.unheard.push_back(id);
        }
    }
}

impl Attendant {
    /// Whether the device plays sounds while it is idle.
    pub(super) fn can_notify(&self) -> bool {
        self.name.firmware.is_some_and(|firmware| firmware >= Firmware::WITH_NOTIFY)
    }

    /// Tells the device of what is due.
    pub(super) async fn ring(&mut self) -> Result<(), End> {
        match self.next_to_tell().await {
            Ok(Some((what, text))) => self.tell(what, &text).await,
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(?error, "a device is not told of a message or a reminder");
                Ok(())
            }
        }
    }

    /// A reminder, or all new messages, and the text of it; none if it is out of date, or the toy rests.
    async fn next_to_tell(&mut self) -> Result<Option<(What, String)>, DomainError> {
        let (hub, now) = (&self.devices.hub, wire::now());
        if let Some(id) = self.bell.reminders.pop_front() {
            let text = hub.reminder_notice(&self.toy, &id, now).await?;
            return Ok(text.map(|text| (What::Reminder(id), text)));
        }
        let ids = std::mem::take(&mut self.bell.messages);
        let new = hub.new_messages(&self.toy, &ids, now).await?;
        Ok(new.map(|new| (What::Messages(ids), new.notice)))
    }

    async fn tell(&mut self, what: What, text: &str) -> Result<(), End> {
        if let What::Reminder(id) = &what {
            self.bell.note_unheard(id.clone());
        }
        let messages = Messages { session: String::new() };
        let offer = if self.can_notify() { Offer::new(&self.devices, &self.toy, what.clone()) } else { None };
        let message = match &offer {
            Some(offer) => messages.notify(&offer.url(&self.name.address), text),
            None => messages.notice(text),
        };
        self.bell.ringing = offer.map(|offer| (offer, what));
        if self.line.send(Bytes::from(wire::text(&message))).await { Ok(()) } else { Err(End::Gone) }
    }
}
