//! Tells an idle device of new messages and of reminders.
//!
//! Firmware from 2.5 on plays them ([`notify`](crate::edge::xiaozhi::notify)). Older firmware shows a text and makes a
//! sound, and the hub tells it of them in the next conversation. It does the same with a device that does not fetch them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

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
/// The maximum number of messages, and of reminders, in the queue. The hub tells of later ones in the next conversation.
const WAITING_MAX: usize = 32;

/// The messages and reminders that an idle device is not told of yet, and the sound that it plays.
pub(super) struct Bell {
    messages: Vec<MessageId>,
    /// Messages whose sound the device has not fetched. The next sound has them, too: a message counts as delivered with
    /// those before it in its chat.
    unfetched: Vec<MessageId>,
    reminders: VecDeque<ReminderId>,
    /// Reminders of which the device was told, and which it has not played.
    unheard: VecDeque<Unheard>,
    current: Option<Current>,
    after: Instant,
}

struct Unheard {
    id: ReminderId,
    /// Whether the device has shown the text of it, instead of a sound. It is not told again before it is woken.
    is_shown: bool,
}

/// The sound that a device was told of last.
struct Current {
    what: What,
    text: String,
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
        Self { messages: Vec::new(), unfetched: Vec::new(), reminders, unheard, current: None, after: now }
    }

    /// An event of the toy. A device is told again of a reminder whose sound it has stopped.
    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Message { id, .. } => self.add_messages([id.clone()], now),
            Event::Reminder { id, .. } => {
                let is_shown = self.unheard.iter().any(|unheard| unheard.id == *id && unheard.is_shown);
                let is_current =
                    matches!(&self.current, Some(Current { what: What::Reminder(current), .. }) if current == id);
                let is_known = is_shown || is_current || self.reminders.contains(id);
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
        if let Some(current) = self.current.take() {
            self.keep_unfetched(current.what);
        }
    }

    /// The reminders for a conversation.
    pub(super) fn unheard(&mut self) -> impl Iterator<Item = ReminderId> {
        self.unheard.drain(..).map(|unheard| unheard.id).chain(self.reminders.drain(..))
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

    /// The offer of a sound has ended. Gives the text that the device is to show, if it has not fetched the sound.
    fn note_ended(&mut self, outcome: Outcome, now: Instant) -> Option<String> {
        let current = self.current.take()?;
        match outcome {
            Outcome::Fetched(dones) => {
                self.after = now + PLAYED_OUT;
                self.current = Some(Current { state: State::Received(dones), ..current });
                None
            }
            Outcome::Stopped => {
                self.keep_unfetched(current.what);
                None
            }
            Outcome::Unfetched => {
                self.note_shown(&current.what);
                self.keep_unfetched(current.what);
                Some(current.text)
            }
        }
    }

    /// The device has played a sound: this is done.
    fn take_played(&mut self) -> Vec<Done> {
        match self.current.take() {
            Some(Current { what, state: State::Received(dones), .. }) => {
                if let What::Reminder(id) = what {
                    self.unheard.retain(|unheard| unheard.id != id);
                }
                dones
            }
            other => {
                self.current = other;
                Vec::new()
            }
        }
    }

    fn keep_unfetched(&mut self, what: What) {
        if let What::Messages(ids) = what {
            self.unfetched = ids;
        }
    }

    /// All messages that the device has not received, oldest first.
    fn take_messages(&mut self) -> Vec<MessageId> {
        let mut ids = std::mem::take(&mut self.unfetched);
        for id in std::mem::take(&mut self.messages) {
            if ids.len() < WAITING_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn note_unheard(&mut self, id: &ReminderId) {
        let is_known = self.unheard.iter().any(|unheard| unheard.id == *id);
        if !is_known && self.unheard.len() < WAITING_MAX {
            self.unheard.push_back(Unheard { id: id.clone(), is_shown: false });
        }
    }

    fn note_shown(&mut self, what: &What) {
        if let What::Reminder(id) = what {
            self.unheard.iter_mut().filter(|unheard| unheard.id == *id).for_each(|unheard| unheard.is_shown = true);
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
            Ok(Some((what, text))) => self.tell(what, text).await,
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
        let ids = self.bell.take_messages();
        let new = hub.new_messages(&self.toy, &ids, now).await?;
        Ok(new.map(|new| (What::Messages(ids), new.notice)))
    }

    async fn tell(&mut self, what: What, text: String) -> Result<(), End> {
        if let What::Reminder(id) = &what {
            self.bell.note_unheard(id);
        }
        let offer = if self.can_notify() { Offer::new(&self.devices, &self.toy, what.clone()) } else { None };
        let Some(offer) = offer else {
            self.bell.note_shown(&what);
            return self.show(&text).await;
        };
        let message = Messages::outside_sessions().notify(&offer.url(&self.address()), &text);
        self.bell.current = Some(Current { what, text, state: State::Offered(offer) });
        self.send(&message).await
    }

    /// The offer of a sound has ended. A device that has not fetched it shows a text.
    pub(super) async fn end_offer(&mut self, outcome: Outcome) -> Result<(), End> {
        match self.bell.note_ended(outcome, Instant::now()) {
            Some(text) => self.show(&text).await,
            None => Ok(()),
        }
    }

    /// Has the device show a text, with a sound of its own.
    async fn show(&mut self, text: &str) -> Result<(), End> {
        self.send(&Messages::outside_sessions().notice(text)).await
    }

    /// The scheme and the host of HTTP at which the device fetches sounds.
    fn address(&self) -> Cow<'_, str> {
        let configured = address_of_socket(&self.devices.config.xiaozhi.websocket_url);
        configured.map_or(Cow::Borrowed(&self.name.address), Cow::Owned)
    }
}

/// The address of HTTP at the host of a WebSocket; none for anything else.
fn address_of_socket(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        _ => return None,
    };
    let host = rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell of a device that has just received the sound of a reminder.
    fn received(id: &ReminderId) -> Bell {
        let (now, dones) = (Instant::now(), vec![Done::Reminder(id.clone())]);
        let mut bell = Bell::new(now);
        bell.note_unheard(id);
        let (what, state) = (What::Reminder(id.clone()), State::Received(dones));
        bell.current = Some(Current { what, text: String::new(), state });
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

    #[test]
    fn a_sound_has_the_messages_of_the_one_that_was_not_fetched() {
        let [first, second, third] = [(); 3].map(|()| MessageId::random());
        let now = Instant::now();
        let mut bell = Bell::new(now);
        for (new, expected) in [
            (&first, vec![first.clone()]),
            (&second, vec![first.clone(), second.clone()]),
            (&third, vec![first.clone(), second.clone(), third.clone()]),
        ] {
            bell.add_messages([new.clone()], now);
            let ids = bell.take_messages();
            assert_eq!(ids, expected);
            let (what, state) = (What::Messages(ids), State::Received(Vec::new()));
            bell.current = Some(Current { what, text: "text".to_owned(), state });
            assert_eq!(bell.note_ended(Outcome::Unfetched, now).as_deref(), Some("text"));
        }
    }

    #[test]
    fn sounds_are_at_the_host_of_the_socket() {
        for (url, expected) in [
            ("wss://hub.example/xiaozhi/v1/", Some("https://hub.example")),
            ("ws://192.168.1.10:9527", Some("http://192.168.1.10:9527")),
            ("wss://hub.example?a", Some("https://hub.example")),
            ("wss:///xiaozhi/v1/", None),
            ("", None),
        ] {
            assert_eq!(address_of_socket(url).as_deref(), expected, "{url}");
        }
    }
}
