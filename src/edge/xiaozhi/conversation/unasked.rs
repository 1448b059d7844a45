//! What the hub says without being asked: reminders at once, and a notice of unread messages in a pause.
//!
//! A device that is idle or listens goes to speaking at `tts start`, and back at `tts stop`. Nothing is said before its
//! first `listen start`, nor between a `tts stop` and the `listen start` that follows it, nor while the child speaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Conversation, Mode, Speaking};
use crate::domain::turn::{Done, Expected, Telling, Turn, UnreadNotice};
use crate::edge::wire;
use crate::edge::xiaozhi::End;
use crate::edge::xiaozhi::transport::Transport;
use crate::model::{MessageId, ReminderId};

/// Reminders that wait for the end of a turn, and new messages. More are given again later.
const WAITING_MAX: usize = 16;
/// A `listen start` within this time of an unasked `tts start` was sent before that has arrived.
const CROSSING: Duration = Duration::from_secs(1);

/// What the hub has to say.
pub(super) struct Unasked {
    reminders: VecDeque<ReminderId>,
    /// Whether there may be unread messages of which the child was not told.
    has_news: bool,
    /// Messages that have come since the child was last told.
    new: Vec<MessageId>,
    /// The notice is not given before.
    news_after: Instant,
    /// The reminder that is spoken now, and since when anything unasked is.
    reminder: Option<ReminderId>,
    since: Option<Instant>,
    /// Whether the device has said once that it listens.
    has_listened: bool,
}

impl Unasked {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            reminders: VecDeque::new(),
            has_news: true,
            new: Vec::new(),
            news_after: now,
            reminder: None,
            since: None,
            has_listened: false,
        }
    }

    pub(super) fn add_reminder(&mut self, id: ReminderId) {
        let is_known = self.reminders.contains(&id) || self.reminder.as_ref() == Some(&id);
        if !is_known && self.reminders.len() < WAITING_MAX {
            self.reminders.push_back(id);
        }
    }

    pub(super) fn note_message(&mut self, id: &MessageId) {
        self.has_news = true;
        if self.new.len() < WAITING_MAX {
            self.new.push(id.clone());
        }
    }

    /// The messages that have come, and of which the child was not told.
    pub(super) fn take_new(&mut self) -> Vec<MessageId> {
        std::mem::take(&mut self.new)
    }

    pub(super) fn note_listening(&mut self) {
        self.has_listened = true;
    }

    /// The device is as at its first hello.
    pub(super) fn begin_again(&mut self) {
        (self.has_listened, self.has_news) = (false, true);
    }

    /// The device has not got what it was told last, which may have been messages.
    pub(super) fn note_lost(&mut self) {
        self.has_news = true;
    }

    /// A part was spoken to its end.
    pub(super) fn note_told_one(&mut self, done: &Done) {
        if let Done::Reminder(id) = done
            && self.reminder.as_ref() == Some(id)
        {
            self.reminder = None;
        }
    }

    /// All of it was spoken, or interrupted.
    pub(super) fn note_end(&mut self) {
        (self.reminder, self.since) = (None, None);
    }
}

impl<T: Transport> Conversation<'_, T> {
    /// When the hub says something without being asked; none while it may not, or has nothing to say.
    pub(super) fn unasked_due(&self) -> Option<Instant> {
        let is_pressed = self.mode == Mode::Manual && self.turn.is_some();
        let is_child_speaking = self.turn.as_ref().is_some_and(Turn::has_begun);
        let is_start_due = self.start_due.is_some() && self.mode != Mode::Manual;
        let is_free = self.unasked.has_listened
            && self.device.is_reachable()
            && !self.unproven.is_lost()
            && self.speaking.is_none()
            && self.deciding.is_none()
            && matches!(self.expected, Expected::Anything)
            && !(is_pressed || is_child_speaking || is_start_due);
        if !self.unasked.reminders.is_empty() && (is_free || self.plays_music()) {
            return Some(self.lively);
        }
        let pause = Duration::from_millis(self.config.xiaozhi.notice_pause_ms);
        (is_free && self.unasked.has_news).then(|| (self.lively + pause).max(self.unasked.news_after))
    }

    /// Music makes room for a reminder.
    fn plays_music(&self) -> bool {
        self.speaking.as_ref().is_some_and(Speaking::is_music)
    }

    /// Says what is due.
    pub(super) async fn say_unasked(&mut self) -> Result<(), End> {
        let (toy, now) = (self.toy.clone(), wire::now());
        if let Some(id) = self.unasked.reminders.pop_front() {
            return match self.hub.tell_reminder(&toy, &id, now).await {
                Ok(Some(telling)) => {
                    self.unasked.reminder = Some(id);
                    self.say(telling).await
                }
                // It was deleted, or waits for the end of the quiet hours.
                Ok(None) => Ok(()),
                Err(error) => self.report(error).await,
            };
        }
        match self.hub.unread_notice(&toy, now).await {
            Ok(UnreadNotice::Tell(telling)) => {
                self.unasked.has_news = false;
                self.unasked.new.clear();
                self.say(telling).await
            }
            Ok(UnreadNotice::Later) => {
                let pause = Duration::from_millis(self.config.xiaozhi.notice_pause_ms);
                self.unasked.news_after = Instant::now() + pause;
                Ok(())
            }
            Ok(UnreadNotice::Nothing) => {
                self.unasked.has_news = false;
                Ok(())
            }
            Err(error) => {
                self.unasked.has_news = false;
                self.report(error).await
            }
        }
    }

    /// Speaks. Instead of music, it goes on in the same turn of the hub.
    async fn say(&mut self, telling: Telling) -> Result<(), End> {
        self.unasked.since = Some(Instant::now());
        if let Some(speaking) = &mut self.speaking {
            speaking.replace(telling);
            // It may have been a message.
            self.unasked.has_news = true;
            return Ok(());
        }
        if self.mode != Mode::Realtime {
            self.turn = None;
        }
        self.device.send(&self.messages.face("happy")).await?;
        self.begin_speaking().await?;
        if let Some(speaking) = &mut self.speaking {
            speaking.decide(telling);
        }
        Ok(())
    }

    /// Whether the device has said that it listens before it was told that the hub speaks. Then it is in another state
    /// than it says, and the reminder is given again.
    pub(super) fn was_crossed(&mut self) -> bool {
        let is_crossed = self.unasked.since.is_some_and(|since| since.elapsed() < CROSSING);
        if is_crossed && let Some(id) = self.unasked.reminder.take() {
            self.unasked.reminders.push_front(id);
        }
        is_crossed
    }

    /// The child has interrupted the hub: a reminder that was begun is done.
    pub(super) async fn note_stopped(&mut self) {
        let Some(id) = self.unasked.reminder.take() else { return };
        self.note_told(Done::Reminder(id)).await;
    }

    /// A device has got something to its end.
    pub(super) async fn note_told(&mut self, done: Done) {
        let hub = Arc::clone(self.hub);
        if let Err(error) = hub.note_told(&self.toy, &done).await {
            tracing::warn!(?error, "what a device has played is not noted");
        }
    }
}
