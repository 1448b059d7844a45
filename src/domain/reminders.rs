//! Reminders, alarms and timers: a child asks its toy for them, the store keeps them, and one task reads the clock.
//!
//! A due reminder waits until its toy is connected and does not rest, at most `reminders.late_max_s`. A toy of its own
//! firmware then gets an event with a sound to play, and the reminder is deleted. On a device on which the hub speaks
//! itself, the event only wakes the conversation ([`ReminderVoice`]): the reminder is deleted once it was spoken
//! ([`Hub::note_told`]), and given again if the connection has ended before.
//!
//! The times of all reminders are in memory, what they are about is only in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::assistant::turn::Telling;
use super::error::DomainError;
use super::units::{DAY_S, HOUR_S, MINUTE_S, ticks};
use crate::model::{ChildWords, Event, Party, Reminder, ReminderId, ReminderKind, Timestamp, ToyId, UserId};
use crate::ports::speech::intent::{When, Wish};
use crate::ports::speech::languages::{Clock, DayPart, Language, Line, Moment, Reminded};
use crate::ports::zone::Zone;

/// A reminder that is given so many seconds after its time was missed, and is worded so.
const MISSED_AFTER_S: f64 = 2.0 * MINUTE_S;
/// An event that has had no effect for so long is published again.
const RING_AGAIN_S: f64 = MINUTE_S;
/// Reminders that are given at once.
const RINGS_AT_ONCE: usize = 8;

/// The times of the reminders of all toys, and the toys on which the hub speaks.
#[derive(Default)]
pub(super) struct Reminders {
    toys: Mutex<HashMap<ToyId, Vec<Entry>>>,
    /// How many conversations there are with each toy.
    voices: Mutex<HashMap<ToyId, usize>>,
}

struct Entry {
    due: Timestamp,
    id: ReminderId,
    /// When its event was published.
    rung: Option<Timestamp>,
}

/// What the clock asks for.
struct Ring {
    toy: ToyId,
    due: Timestamp,
    id: ReminderId,
    /// Its toy could not be reached for too long.
    is_over: bool,
}

impl Reminders {
    fn toys(&self) -> MutexGuard<'_, HashMap<ToyId, Vec<Entry>>> {
        self.toys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn voices(&self) -> MutexGuard<'_, HashMap<ToyId, usize>> {
        self.voices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, toy: ToyId, due: Timestamp, id: ReminderId) {
        self.toys().entry(toy).or_default().push(Entry { due, id, rung: None });
    }

    /// Replaces the reminders of a toy by those of the store.
    pub(super) fn replace(&self, toy: ToyId, found: &[Reminder]) {
        let mut toys = self.toys();
        let known = toys.remove(&toy).unwrap_or_default();
        let rung = |id: &ReminderId| known.iter().find(|entry| entry.id == *id).and_then(|entry| entry.rung);
        let entries = found.iter().map(|new| Entry { due: new.due, id: new.id.clone(), rung: rung(&new.id) });
        let entries: Vec<Entry> = entries.collect();
        if !entries.is_empty() {
            toys.insert(toy, entries);
        }
    }

    fn due_of(&self, toy: &ToyId, id: &ReminderId) -> Option<Timestamp> {
        self.toys().get(toy)?.iter().find(|entry| entry.id == *id).map(|entry| entry.due)
    }

    fn forget(&self, toy: &ToyId, id: &ReminderId) {
        let mut toys = self.toys();
        let Some(entries) = toys.get_mut(toy) else { return };
        entries.retain(|entry| entry.id != *id);
        if entries.is_empty() {
            toys.remove(toy);
        }
    }

    /// Removes a toy that was erased.
    pub(super) fn forget_toy(&self, toy: &ToyId) {
        self.toys().remove(toy);
    }

    fn is_spoken(&self, toy: &ToyId) -> bool {
        self.voices().contains_key(toy)
    }

    /// The reminders that are due now, of toys that can be reached, and those that are over.
    fn rings(&self, now: Timestamp, late_max_s: f64, is_reached: impl Fn(&ToyId) -> bool) -> Vec<Ring> {
        let mut rings = Vec::new();
        for (toy, entries) in &mut *self.toys() {
            if entries.iter().all(|entry| entry.due > now) {
                continue;
            }
            let is_reached = is_reached(toy);
            for entry in entries.iter_mut().filter(|entry| entry.due <= now) {
                let is_over = now - entry.due > late_max_s;
                let was_rung = entry.rung.is_some_and(|rung| (0.0..RING_AGAIN_S).contains(&(now - rung)));
                if is_over || (is_reached && !was_rung) {
                    entry.rung = Some(now);
                    rings.push(Ring { toy: toy.clone(), due: entry.due, id: entry.id.clone(), is_over });
                }
            }
        }
        rings
    }
}

/// A conversation in which the hub speaks the reminders of a toy. While there is one, they are kept until
/// [`Hub::note_told`]. Dropping it gives those again that were not told.
pub struct ReminderVoice {
    hub: Arc<Hub>,
    toy: ToyId,
}

impl Drop for ReminderVoice {
    fn drop(&mut self) {
        let reminders = &self.hub.reminders;
        let mut voices = reminders.voices();
        match voices.get_mut(&self.toy) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(voices.remove(&self.toy)),
        }
        drop(voices);
        if let Some(entries) = reminders.toys().get_mut(&self.toy) {
            entries.iter_mut().for_each(|entry| entry.rung = None);
        }
    }
}

/// Gives due reminders, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let mut ticks = ticks(hub.config.reminders.check_interval_s);
    let look = async {
        loop {
            ticks.tick().await;
            hub.give_reminders(clock()).await;
        }
    };
    shutdown.run_until_cancelled(look).await;
}

impl Hub {
    /// Reads the times of all reminders, before the first client connects.
    pub async fn load_reminders(&self) -> Result<(), DomainError> {
        for (toy, due, id) in self.store.all_reminders().await? {
            self.reminders.add(toy, due, id);
        }
        Ok(())
    }

    /// The reminders of a toy, the next one first. `None` stands for the operator of the hub. Errors: `UnknownParty`.
    pub async fn reminders(&self, guardian: Option<&UserId>, toy: &ToyId) -> Result<Vec<Reminder>, DomainError> {
        self.check_toy_of(guardian, toy).await?;
        Ok(self.store.reminders(toy).await?)
    }

    /// Declares that the hub speaks the reminders of a toy, as long as the value is kept.
    pub fn speak_reminders(self: &Arc<Self>, toy: &ToyId) -> ReminderVoice {
        *self.reminders.voices().entry(toy.clone()).or_default() += 1;
        ReminderVoice { hub: Arc::clone(self), toy: toy.clone() }
    }

    /// Gives the reminders that are due.
    pub async fn give_reminders(&self, now: Timestamp) {
        let is_reached = |toy: &ToyId| {
            let party = Party::Toy(toy.clone());
            self.router.online_here(&party) && !self.rests(&party)
        };
        let rings = self.reminders.rings(now, self.config.reminders.late_max_s as f64, is_reached);
        let give = |ring: Ring| async move {
            if let Err(error) = self.give(&ring, now).await {
                tracing::warn!(?error, toy = %Party::Toy(ring.toy).in_log(), "a reminder was not given");
            }
        };
        stream::iter(rings).for_each_concurrent(RINGS_AT_ONCE, give).await;
    }

    async fn give(&self, ring: &Ring, now: Timestamp) -> Result<(), DomainError> {
        let Ring { toy, due, id, is_over } = ring;
        let reminder = self.store.reminder(toy, *due, id).await?;
        let Some(reminder) = reminder.filter(|_| !is_over) else {
            return self.delete_reminder(toy, *due, id).await;
        };
        let is_spoken = self.reminders.is_spoken(toy);
        let sound = if is_spoken {
            None
        } else {
            let (text, language) = self.reminder_text(toy, &reminder, now);
            // Without a synthesiser, the toy has the words.
            self.speak_answer(toy, &text, language, now).await.ok()
        };
        let Reminder { id, kind, due, words, .. } = reminder;
        let event = Event::Reminder { id: id.clone(), kind, words, due, sound };
        self.announce(&Party::Toy(toy.clone()), &event, None).await;
        if is_spoken { Ok(()) } else { self.delete_reminder(toy, due, &id).await }
    }

    pub(super) async fn delete_reminder(
        &self,
        toy: &ToyId,
        due: Timestamp,
        id: &ReminderId,
    ) -> Result<(), DomainError> {
        self.store.delete_reminder(toy, due, id).await?;
        self.reminders.forget(toy, id);
        self.notify_settings(toy);
        Ok(())
    }

    /// A reminder that is due, spoken; none if it was deleted meanwhile, or the toy rests.
    pub async fn tell_reminder(
        self: &Arc<Self>,
        toy: &ToyId,
        id: &ReminderId,
        now: Timestamp,
    ) -> Result<Option<Telling>, DomainError> {
        let Some(reminder) = self.due_reminder(toy, id).await? else { return Ok(None) };
        let (text, language) = self.reminder_text(toy, &reminder, now);
        Ok(Some(self.tell_reminder_text(toy, text, language, id, now)))
    }

    /// What a display shows of a reminder that is due; none as of [`Self::tell_reminder`].
    pub async fn reminder_notice(
        &self,
        toy: &ToyId,
        id: &ReminderId,
        now: Timestamp,
    ) -> Result<Option<String>, DomainError> {
        let reminder = self.due_reminder(toy, id).await?;
        Ok(reminder.map(|reminder| self.reminder_text(toy, &reminder, now).0))
    }

    /// A reminder, unless it was deleted meanwhile, or the toy rests.
    async fn due_reminder(&self, toy: &ToyId, id: &ReminderId) -> Result<Option<Reminder>, DomainError> {
        let Some(due) = self.reminders.due_of(toy, id) else { return Ok(None) };
        if self.rests(&Party::Toy(toy.clone())) {
            return Ok(None);
        }
        Ok(self.store.reminder(toy, due, id).await?)
    }

    /// Notes that a reminder was spoken, or that the child has stopped it.
    pub async fn note_reminded(&self, toy: &ToyId, id: &ReminderId) -> Result<(), DomainError> {
        match self.reminders.due_of(toy, id) {
            Some(due) => self.delete_reminder(toy, due, id).await,
            None => Ok(()),
        }
    }

    /// What is said when a reminder is given.
    fn reminder_text(&self, toy: &ToyId, reminder: &Reminder, now: Timestamp) -> (String, &'static Language) {
        let language = Language::of("", &reminder.language);
        let zone = self.zone_of(toy);
        let said = Reminded { kind: reminder.kind, moment: at(&zone, now, reminder.due), words: &reminder.words.0 };
        let is_missed = now - reminder.due > MISSED_AFTER_S;
        let line = if is_missed { Line::ReminderMissed(said) } else { Line::ReminderDue(said) };
        (line.text(language), language)
    }

    /// Keeps a reminder that a child wishes, and gives the words to confirm it, or to refuse it. The wish has a time.
    pub(super) async fn remind(
        &self,
        toy: &ToyId,
        wish: Wish,
        when: When,
        language: &'static Language,
        now: Timestamp,
    ) -> Result<String, DomainError> {
        let limits = &self.config.reminders;
        let zone = self.zone_of(toy);
        let due = due(when, wish.kind, &zone, now);
        let Some(due) = due.filter(|due| *due - now <= f64::from(limits.ahead_max_days) * DAY_S) else {
            return Ok(Line::TooFarAhead.text(language));
        };
        self.check_room(0)?;
        let words: String = wish.words.0.chars().take(limits.words_max_chars).collect();
        let reminder = Reminder {
            id: ReminderId::random(),
            kind: wish.kind,
            due,
            words: ChildWords(words.clone()),
            language: language.code.to_owned(),
        };
        if !self.store.add_reminder(toy, &reminder, limits.per_toy_max, now).await? {
            return Ok(Line::RemindersFull.text(language));
        }
        self.reminders.add(toy.clone(), due, reminder.id);
        self.notify_settings(toy);
        let moment = match when {
            When::In(seconds) => Moment::In(seconds),
            When::At { .. } => at(&zone, now, due),
        };
        Ok(Line::ReminderSet(Reminded { kind: wish.kind, moment, words: &words }).text(language))
    }

    /// The words that list the reminders of a toy.
    pub(super) async fn list_reminders(
        &self,
        toy: &ToyId,
        language: &'static Language,
        now: Timestamp,
    ) -> Result<String, DomainError> {
        let zone = self.zone_of(toy);
        let all = self.store.reminders(toy).await?;
        let said = |reminder: &Reminder| {
            let left = reminder.due - now;
            // Minutes say more about what is soon.
            let is_soon = left > 0.0 && (left < HOUR_S || reminder.kind == ReminderKind::Timer);
            let exact = if left < MINUTE_S { left.ceil() } else { (left / MINUTE_S).round() * MINUTE_S };
            if is_soon { Moment::In(exact as u32) } else { at(&zone, now, reminder.due) }
        };
        let said: Vec<Reminded<'_>> = all
            .iter()
            .map(|reminder| Reminded { kind: reminder.kind, moment: said(reminder), words: &reminder.words.0 })
            .collect();
        let line = if said.is_empty() { Line::NoReminders } else { Line::RemindersAre(&said) };
        Ok(line.text(language))
    }

    /// Deletes the reminders of a kind, and gives the words to confirm it.
    pub(super) async fn cancel_reminders(
        &self,
        toy: &ToyId,
        kind: ReminderKind,
        language: &'static Language,
    ) -> Result<String, DomainError> {
        let mut count = 0;
        for reminder in self.store.reminders(toy).await?.into_iter().filter(|reminder| reminder.kind == kind) {
            self.delete_reminder(toy, reminder.due, &reminder.id).await?;
            count += 1;
        }
        Ok(Line::RemindersCancelled(kind, count).text(language))
    }
}

/// A time by the clock, as it is worded.
fn at(zone: &Zone, now: Timestamp, due: Timestamp) -> Moment {
    Moment::At(Clock::new(due, zone.minutes_east(due)), zone.days_between(now, due))
}

/// When a reminder is due; none for a time that does not exist.
///
/// Without a part of the day, an hour is the next one in which a child is awake: "at three" is in the afternoon, "at
/// seven" the next seven o'clock, and an alarm from four to eleven is in the morning.
fn due(when: When, kind: ReminderKind, zone: &Zone, now: Timestamp) -> Option<Timestamp> {
    let (hour, minute, part, day) = match when {
        When::In(seconds) => return Some(now + f64::from(seconds)),
        When::At { hour, minute, part, day } => (u16::from(hour), u16::from(minute), part, day),
    };
    let hours = match (part, hour) {
        (_, 0 | 13..) => vec![hour],
        (Some(DayPart::Morning), 12) => vec![0],
        (Some(DayPart::Morning), _) => vec![hour],
        (Some(DayPart::Noon), 11 | 12) | (Some(DayPart::Afternoon), 12) => vec![hour],
        (Some(DayPart::Night), 1..=5) => vec![hour],
        (Some(_), _) => vec![hour + 12],
        (None, 12) => vec![12],
        (None, 4..=11) if kind == ReminderKind::Alarm => vec![hour],
        (None, 1..=5) => vec![hour + 12],
        (None, _) => vec![hour, hour + 12],
    };
    let days = match day {
        None | Some(0) => vec![0, 1],
        Some(day) => vec![i32::from(day)],
    };
    let times = days.iter().flat_map(|day| hours.iter().map(move |hour| (*day, hour * 60 + minute)));
    times.filter_map(|(day, minutes)| zone.time_at(now, day, minutes)).find(|time| *time > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 28 March 2026, 19:30 in Berlin; daylight-saving time begins in the night that follows.
    const NOW: Timestamp = 1_774_722_600.0;

    #[test]
    fn an_hour_is_the_next_one_at_which_a_child_is_awake() {
        let zone = Zone::named("Europe/Berlin").unwrap();
        let at = |hour, minute, part, day, kind| {
            let due = due(When::At { hour, minute, part, day }, kind, &zone, NOW).unwrap();
            format!("{} {}", zone.days_between(NOW, due), zone.wall_clock(due))
        };
        use DayPart::{Afternoon, Evening, Morning, Night, Noon};
        use ReminderKind::{Alarm, Reminder};
        for (hour, minute, part, day, kind, expected) in [
            (7, 0, None, None, Alarm, "1 07:00"),
            (8, 0, None, None, Reminder, "0 20:00"),
            (7, 0, None, None, Reminder, "1 07:00"),
            (3, 15, None, None, Reminder, "1 15:15"),
            (12, 0, None, None, Reminder, "1 12:00"),
            (12, 0, Some(Night), None, Reminder, "1 00:00"),
            (2, 30, Some(Night), None, Reminder, "1 03:30"),
            (20, 0, None, None, Alarm, "0 20:00"),
            (8, 0, Some(Evening), Some(0), Reminder, "0 20:00"),
            (9, 0, Some(Morning), Some(0), Reminder, "1 09:00"),
            (7, 0, None, Some(1), Reminder, "1 07:00"),
            (4, 0, Some(Afternoon), Some(2), Reminder, "2 16:00"),
            (1, 0, Some(Noon), None, Reminder, "1 13:00"),
        ] {
            assert_eq!(at(hour, minute, part, day, kind), expected, "{hour}:{minute} {part:?} {day:?} {kind:?}");
        }
        assert_eq!(due(When::In(90), Reminder, &zone, NOW), Some(NOW + 90.0));
    }

    #[test]
    fn a_due_reminder_rings_when_its_toy_is_reached_and_not_for_ever() {
        let reminders = Reminders::default();
        let (toy, id) = (ToyId::random(), ReminderId::random());
        reminders.add(toy.clone(), 100.0, id.clone());
        let rings = |now, is_reached| {
            let rings = reminders.rings(now, 50.0, |_| is_reached);
            rings.iter().map(|ring| ring.is_over).collect::<Vec<_>>()
        };
        assert_eq!(rings(99.9, true), [false; 0]);
        assert_eq!(rings(100.0, false), [false; 0]);
        assert_eq!(rings(101.0, true), [false]);
        assert_eq!(rings(102.0, true), [false; 0], "its event was published");
        assert_eq!(rings(90.0, true), [false; 0]);
        assert_eq!(rings(100.5, true), [false], "the clock was set back");
        assert_eq!(rings(151.0, false), [true]);
        reminders.forget(&toy, &id);
        assert_eq!(rings(152.0, true), [false; 0]);
    }
}
