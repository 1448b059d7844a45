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
use crate::domain::turn::Done;
use crate::edge::wire;
use crate::edge::xiaozhi::End;
use crate::edge::xiaozhi::firmware::Firmware;
use crate::edge::xiaozhi::message::Messages;
use crate::edge::xiaozhi::notify::{Offer, Outcome, What};
use crate::model::{Event, MessageId, ReminderId};

/// Messages that come together are played together.
const TOGETHER: Duration = Duration::from_millis(300);
/// The longest time for which a device still plays what it has received, and is busy.
const PLAYED_OUT: Duration = Duration::from_secs(3);
/// Messages and reminders that wait. Later ones are told of in the next conversation.
const WAITING_MAX: usize = 32;

/// The messages and reminders that an idle device is not told of yet, and the sound that it plays.
pub(super) struct Bell {
    messages: Vec<MessageId>,
    reminders: VecDeque<ReminderId>,
    /// Reminders of which the device was told, and which it has not played.
    unheard: VecDeque<ReminderId>,
    current: Option<Current>,
    after: Instant,
}

/// The sound that a device was told of last.
struct Current {
    what: What,
    state: State,
}

enum State {
    /// The device may fetch it, or fetches it.
    Offered(Offer),
    /// The device has received it, and plays the rest until [`Bell::after`]. Then this is done.
    Received(Vec<Done>),
}

/// The next step of a bell.
pub(super) enum Rung {
    /// There is something to tell.
    Due,
    /// The offer of a sound has ended.
    Ended(Outcome),
    /// A sound was played.
    Played,
}

impl Bell {
    pub(super) fn new(now: Instant) -> Self {
        let (reminders, unheard) = (VecDeque::new(), VecDeque::new());
        Self { messages: Vec::new(), reminders, unheard, current: None, after: now }
    }

    /// An event of the toy. A device that plays reminders is told again of one that it has not played.
    pub(super) fn take(&mut self, event: &Event, can_notify: bool, now: Instant) {
        match event {
            Event::Message { id, .. } => self.add_messages([id.clone()], now),
            Event::Reminder { id, .. } => {
                let is_told = !can_notify && self.unheard.contains(id);
                let is_current =
                    matches!(&self.current, Some(Current { what: What::Reminder(current), .. }) if current == id);
                let is_known = is_told || is_current || self.reminders.contains(id);
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

    /// The child has woken the device, which stops the sound.
    pub(super) fn stop(&mut self) {
        self.current = None;
    }

    /// The reminders for a conversation.
    pub(super) fn unheard(&mut self) -> impl Iterator<Item = ReminderId> {
        self.unheard.drain(..).chain(self.reminders.drain(..))
    }

    /// Waits for the next step. Cancel-safe.
    pub(super) async fn next(&mut self) -> Rung {
        match self.current.as_mut().map(|current| &mut current.state) {
            Some(State::Offered(offer)) => Rung::Ended(offer.ended().await),
            Some(State::Received(_)) => {
                sleep_until(self.after).await;
                Rung::Played
            }
            None if self.messages.is_empty() && self.reminders.is_empty() => pending().await,
            None => {
                sleep_until(self.after).await;
                Rung::Due
            }
        }
    }

    /// The offer of a sound has ended.
    pub(super) fn note_ended(&mut self, outcome: Outcome, now: Instant) {
        let current = self.current.take();
        if let (Some(current), Outcome::Fetched(dones)) = (current, outcome) {
            self.after = now + PLAYED_OUT;
            self.current = Some(Current { state: State::Received(dones), ..current });
        }
    }

    /// The device has played a sound: this is done.
    fn take_played(&mut self) -> Vec<Done> {
        match self.current.take() {
            Some(Current { what, state: State::Received(dones) }) => {
                if let What::Reminder(id) = what {
                    self.unheard.retain(|unheard| *unheard != id);
                }
                dones
            }
            other => {
                self.current = other;
                Vec::new()
            }
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

    /// Notes that the device has played a sound, and the child has not woken it meanwhile.
    pub(super) async fn note_played(&mut self) {
        for done in self.bell.take_played() {
            if let Err(error) = self.devices.hub.note_fetched(&self.toy, &done).await {
                tracing::warn!(?error, "what a device has played is not noted");
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
        self.bell.current = offer.map(|offer| Current { what, state: State::Offered(offer) });
        if self.line.send(Bytes::from(wire::text(&message))).await { Ok(()) } else { Err(End::Gone) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell of a device that has just received the sound of a reminder.
    fn received(id: &ReminderId) -> Bell {
        let (now, dones) = (Instant::now(), vec![Done::Reminder(id.clone())]);
        let mut bell = Bell::new(now);
        bell.note_unheard(id.clone());
        bell.current = Some(Current { what: What::Reminder(id.clone()), state: State::Received(dones) });
        bell.after = now;
        bell
    }

    #[tokio::test]
    async fn a_reminder_is_done_when_its_sound_was_played() {
        let id = ReminderId::random();
        let mut bell = received(&id);
        assert!(matches!(bell.next().await, Rung::Played));
        assert_eq!(bell.take_played(), [Done::Reminder(id)]);
        assert_eq!(bell.unheard().count(), 0);
    }

    #[tokio::test]
    async fn a_child_that_wakes_the_device_at_the_end_of_a_sound_is_told_again() {
        let id = ReminderId::random();
        let mut bell = received(&id);
        bell.stop();
        assert_eq!(bell.take_played(), []);
        assert_eq!(bell.unheard().collect::<Vec<_>>(), [id]);
    }
}
