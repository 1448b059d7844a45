//! The rules of a toy's guardians for its day: quiet hours, minutes of a day, and which content it plays.
//!
//! A toy rests in its quiet hours, and for the rest of a day of which its minutes are used up. Then it is as if it were
//! away: messages are stored and wait, nothing is announced, no music plays. When the rest ends, what waits is announced.
//! Hours go by the wall clock of the family's time zone, whatever the date; days begin at its midnight. A task looks at the
//! clock; all others only ask whether a toy rests. An emergency of a guardian lifts the rest for a while.
//!
//! What is counted is the length of what the hub gives the toy to play: messages that it hears, spoken answers, music that
//! it asks for or a friend sends. A sound that has begun is played to its end.

use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::error::DomainError;
use super::units::MINUTE_S;
use super::{FileKind, Hub};
use crate::config::seconds;
use crate::model::{
    Content, ContentId, DailyMinutes, DayMinute, FileName, Message, Party, PartyId, Played, QuietHours, Secret,
    Timestamp, ToyId, UserId,
};
use crate::ports::store::RestingToy;
use crate::ports::zone::Zone;

/// Messages that are counted at once.
const COUNTED_MAX: usize = 500;
/// Of what espeak-ng speaks: 22,050 samples of 16 bits.
const WAV_BYTES_PER_S: f64 = 44_100.0;

/// The rules of the toys that have some, and the toys that rest now: as many as there are toys.
#[derive(Default)]
pub(super) struct Resting {
    rules: DashMap<ToyId, Rules>,
    now: DashSet<ToyId>,
}

/// When a toy rests.
#[derive(Default)]
struct Rules {
    quiet: Option<(QuietHours, Zone)>,
    minutes: Option<Minutes>,
    /// Until when an emergency lifts both.
    awake_until: Timestamp,
}

/// How long a toy plays on each day, and how long it has played.
struct Minutes {
    daily: DailyMinutes,
    zone: Zone,
    played: Played,
}

impl Minutes {
    fn played_today(&self, now: Timestamp) -> Played {
        let day = self.zone.day(now);
        // Any other day begins anew, also where the clock was set back.
        if self.played.day == day { self.played } else { Played { day, seconds: 0.0 } }
    }

    fn are_used_up(&self, now: Timestamp) -> bool {
        self.played_today(now).seconds >= f64::from(self.daily.minutes) * MINUTE_S
    }
}

impl Rules {
    fn rest_now(&self, now: Timestamp) -> bool {
        let is_quiet = |(hours, zone): &(QuietHours, Zone)| hours.include(zone.wall_clock(now));
        let is_over = |minutes: &Minutes| minutes.are_used_up(now);
        now >= self.awake_until
            && (self.quiet.as_ref().is_some_and(is_quiet) || self.minutes.as_ref().is_some_and(is_over))
    }
}

impl Resting {
    fn add(&self, found: RestingToy) {
        let RestingToy { toy, quiet, minutes, awake_until } = found;
        let zone = |name: &str| {
            let zone = Zone::named(name);
            if zone.is_none() {
                // The zone may come from another version of the time zone database.
                tracing::warn!(toy = %Party::Toy(toy.clone()).in_log(), "the time zone of a toy is unknown, a rule of it is void");
            }
            zone
        };
        let quiet = quiet.and_then(|hours| zone(&hours.zone).map(|zone| (hours, zone)));
        let minutes = minutes.and_then(|(daily, played)| zone(&daily.zone).map(|zone| Minutes { daily, zone, played }));
        self.rules.insert(toy, Rules { quiet, minutes, awake_until });
    }

    /// Changes the rules of a toy; an emergency ends with that.
    fn change(&self, toy: &ToyId, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules.entry(toy.clone()).or_default();
        rules.awake_until = 0.0;
        change(&mut rules);
        drop(rules);
        self.rules.remove_if(toy, |_, rules| rules.quiet.is_none() && rules.minutes.is_none());
    }

    /// Determines the toys in their quiet hours now. Returns those whose quiet hours have ended.
    fn look(&self, now: Timestamp) -> Vec<ToyId> {
        for toy in &self.rules {
            if toy.rest_now(now) {
                self.now.insert(toy.key().clone());
            }
        }
        let rests = |toy: &ToyId| self.rules.get(toy).is_some_and(|rules| rules.rest_now(now));
        let ended: Vec<ToyId> = self.now.iter().map(|toy| toy.key().clone()).filter(|toy| !rests(toy)).collect();
        ended.iter().for_each(|toy| drop(self.now.remove(toy)));
        ended
    }

    /// Whether what a toy plays is counted.
    fn counts(&self, toy: &ToyId) -> bool {
        self.rules.get(toy).is_some_and(|rules| rules.minutes.is_some())
    }

    /// Counts what a toy plays, and gives what that makes on this day; none where it is not counted. From the end of its
    /// minutes on the toy rests.
    fn count(&self, toy: &ToyId, seconds: f64, now: Timestamp) -> Option<Played> {
        let mut rules = self.rules.get_mut(toy)?;
        let minutes = rules.minutes.as_mut()?;
        let today = minutes.played_today(now);
        let played = Played { seconds: today.seconds + seconds, ..today };
        minutes.played = played;
        let rests = rules.rest_now(now);
        drop(rules);
        if rests {
            self.now.insert(toy.clone());
        }
        Some(played)
    }

    /// Removes a toy that was erased.
    pub(super) fn forget(&self, toy: &ToyId) {
        self.rules.remove(toy);
        self.now.remove(toy);
    }
}

/// The settings of a toy.
#[derive(Debug)]
pub struct ToySettings {
    /// Its quiet hours.
    pub quiet: Option<QuietHours>,
    /// Its minutes of a day, and the seconds of today that are used.
    pub minutes: Option<(DailyMinutes, f64)>,
    /// Whether it plays only approved content.
    pub is_approved_only: bool,
    /// The approved content.
    pub approved: Vec<ContentId>,
}

/// Checks the quiet hours periodically until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let mut ticks = interval(seconds(hub.config.chats.quiet_check_interval_s));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = async {
        loop {
            ticks.tick().await;
            hub.keep_quiet_hours(clock()).await;
        }
    };
    shutdown.run_until_cancelled(look).await;
}

impl Hub {
    /// Reads when toys rest, before the first client comes.
    pub async fn load_quiet_hours(&self, now: Timestamp) -> Result<(), DomainError> {
        self.store.resting_toys().await?.into_iter().for_each(|toy| self.resting.add(toy));
        self.resting.look(now);
        Ok(())
    }

    /// Notes which toys rest now, and announces what waits to those whose rest has ended.
    pub async fn keep_quiet_hours(&self, now: Timestamp) {
        for toy in self.resting.look(now) {
            let toy = Party::Toy(toy);
            if let Err(error) = self.announce_what_waits(&toy).await {
                tracing::warn!(?error, "messages not announced at the end of a toy's rest");
            }
        }
    }

    /// Nothing is published to an offline toy: it gets its unread messages when it reconnects.
    pub(super) async fn announce_what_waits(&self, toy: &Party) -> Result<(), DomainError> {
        if self.router.online(toy) {
            for event in self.unread_events(toy).await? {
                self.announce(toy, &event, None).await;
            }
        }
        Ok(())
    }

    /// Whether a party rests; only toys do.
    pub(super) fn rests(&self, party: &Party) -> bool {
        matches!(party, Party::Toy(toy) if self.resting.now.contains(toy))
    }

    /// The settings of a toy. `None` stands for the operator of the hub. Errors: `UnknownParty`.
    pub async fn toy_settings(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        now: Timestamp,
    ) -> Result<ToySettings, DomainError> {
        self.check_toy_of(guardian, toy).await?;
        let (quiet, minutes) = match self.resting.rules.get(toy) {
            Some(rules) => (
                rules.quiet.as_ref().map(|(hours, _)| hours.clone()),
                rules.minutes.as_ref().map(|minutes| (minutes.daily.clone(), minutes.played_today(now).seconds)),
            ),
            None => (None, None),
        };
        Ok(ToySettings {
            quiet,
            minutes,
            is_approved_only: self.store.is_approved_only(toy).await?,
            approved: self.store.approvals(toy).await?,
        })
    }

    /// Sets or removes the quiet hours of a toy. If they no longer apply now, its unread messages are published.
    /// Errors: `UnknownParty`, `Invalid`, `DiskFull`.
    pub async fn set_quiet_hours(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        hours: Option<QuietHours>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        let quiet = match hours {
            Some(hours) if hours.from == hours.until => {
                return Err(DomainError::invalid("until", "must differ from from"));
            }
            Some(hours) => {
                let zone = known_zone(&hours.zone)?;
                Some((hours, zone))
            }
            None => None,
        };
        self.check_room(0)?;
        self.store.set_quiet_hours(toy, quiet.as_ref().map(|(hours, _)| hours)).await?;
        self.resting.change(toy, |rules| rules.quiet = quiet);
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Sets how many minutes a toy plays on each day, or ends that; what it has played today counts. Errors:
    /// `UnknownParty`, `Invalid`, `DiskFull`.
    pub async fn set_daily_minutes(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        daily: Option<DailyMinutes>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        let daily = match daily {
            Some(daily) => {
                let zone = known_zone(&daily.zone)?;
                Some((daily, zone))
            }
            None => None,
        };
        self.check_room(0)?;
        self.store.set_daily_minutes(toy, daily.as_ref().map(|(daily, _)| daily)).await?;
        self.resting.change(toy, |rules| {
            let played = rules.minutes.take().map(|minutes| minutes.played).unwrap_or_default();
            rules.minutes = daily.map(|(daily, zone)| Minutes { daily, zone, played });
        });
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Counts the messages that a toy hears.
    pub async fn count_messages(&self, receiver: &Party, messages: impl Iterator<Item = &Message>, now: Timestamp) {
        let Party::Toy(toy) = receiver else { return };
        if !self.resting.counts(toy) {
            return;
        }
        let sounds = messages.map(|message| message.sound.clone()).collect();
        self.count_sounds(toy, sounds, now).await;
    }

    /// The unread messages of a friend to a toy whose minutes are counted; none where they are not.
    pub async fn waiting_to_be_counted(&self, reader: &Party, friend: &PartyId) -> Result<Vec<Message>, DomainError> {
        if !matches!(reader, Party::Toy(toy) if self.resting.counts(toy)) {
            return Ok(Vec::new());
        }
        let unread = self.store.unread_messages(reader, COUNTED_MAX).await?.into_iter().map(|unread| unread.message);
        Ok(unread.filter(|message| message.from.id() == friend.as_str()).collect())
    }

    /// Counts sounds of the hub's own making that a toy plays: recordings and spoken answers.
    pub(super) async fn count_sounds(&self, toy: &ToyId, sounds: Vec<FileName>, now: Timestamp) {
        if !self.resting.counts(toy) || sounds.is_empty() {
            return;
        }
        let mut seconds = 0.0;
        for sound in sounds {
            match self.files.size_of_all(FileKind::Chat, vec![sound.clone()]).await {
                Ok(bytes) => seconds += bytes as f64 / self.bytes_per_second(&sound),
                Err(error) => tracing::warn!(%error, "a sound that a toy plays is not counted"),
            }
        }
        self.count_seconds(toy, seconds, now).await;
    }

    /// Counts music that a toy plays.
    pub(super) async fn count_music(&self, toy: &ToyId, music: &FileName, now: Timestamp) {
        if !self.resting.counts(toy) {
            return;
        }
        match self.music_seconds(music).await {
            Ok(seconds) => self.count_seconds(toy, seconds, now).await,
            Err(error) => tracing::warn!(?error, "music that a toy plays is not counted"),
        }
    }

    async fn count_seconds(&self, toy: &ToyId, seconds: f64, now: Timestamp) {
        let Some(played) = self.resting.count(toy, seconds, now) else { return };
        if let Err(error) = self.store.set_played(toy, played).await {
            tracing::warn!(%error, "what a toy has played is not stored");
        }
    }

    /// How many bytes of a recording or spoken answer play in a second: the hub makes both at constant rates.
    fn bytes_per_second(&self, sound: &FileName) -> f64 {
        match sound.extension() {
            "wav" => WAV_BYTES_PER_S,
            _ => f64::from(self.config.audio.mp3_bitrate_kbps) * 125.0,
        }
    }

    /// Lifts the rest of a toy for `chats.emergency_minutes`, since a guardian has something urgent to say; a mute of the
    /// guardian ends. Errors: `Forbidden` for anybody else, and for a receiver that is no toy.
    pub(super) async fn wake_for_emergency(
        &self,
        user: &UserId,
        id: &PartyId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let toy = self.toy_of(user, id).await.map_err(|error| match error {
            DomainError::UnknownParty => DomainError::Forbidden,
            error => error,
        })?;
        let (of, guardian) = (Party::Toy(toy.clone()), user.as_str().parse().map_err(DomainError::internal)?);
        if self.store.friend(&of, &guardian).await?.is_some_and(|friend| friend.is_muted) {
            self.store.set_muted(&of, &guardian, false).await?;
        }
        let until = now + f64::from(self.config.chats.emergency_minutes) * MINUTE_S;
        if let Some(mut rules) = self.resting.rules.get_mut(&toy) {
            rules.awake_until = until;
        } else {
            return Ok(());
        }
        self.store.keep_awake(&toy, until).await?;
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Sets whether a toy plays only approved content. Errors: `UnknownParty`.
    pub async fn set_approved_only(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        is_on: bool,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        Ok(self.store.set_approved_only(toy, is_on).await?)
    }

    /// Approves a piece of the library for a toy, or revokes the approval. Errors: `UnknownParty`, `Invalid` for a
    /// piece that is not in the library, `DiskFull`.
    pub async fn approve_content(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        content: &ContentId,
        is_approved: bool,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        self.check_room(0)?;
        if !self.content().await?.iter().any(|known| known.id == *content) {
            return Err(DomainError::invalid("content_id", "is not in the library"));
        }
        Ok(self.store.approve(toy, content, is_approved).await?)
    }

    /// The part of the library that a toy may play.
    pub async fn content_for(&self, toy: &ToyId) -> Result<Vec<Content>, DomainError> {
        let mut content = self.content().await?;
        if self.store.is_approved_only(toy).await? {
            let approved = self.store.approvals(toy).await?;
            content.retain(|content| approved.contains(&content.id));
        }
        Ok(content)
    }

    /// The toy of this token, if it is a toy's.
    pub async fn toy_of_token(&self, token: &Secret, now: Timestamp) -> Result<Option<ToyId>, DomainError> {
        Ok(match self.token_party(token, now).await? {
            Some(Party::Toy(toy)) => Some(toy),
            _ => None,
        })
    }

    /// Whether a toy may play this music.
    pub(super) async fn may_play(&self, party: &Party, music: &FileName) -> Result<bool, DomainError> {
        match party {
            Party::Toy(toy) if self.store.is_approved_only(toy).await? => {
                Ok(self.content_for(toy).await?.iter().any(|content| content.music == *music))
            }
            _ => Ok(true),
        }
    }
}

/// The zone of a name. Errors: `Invalid`.
fn known_zone(name: &str) -> Result<Zone, DomainError> {
    Zone::named(name).ok_or_else(|| DomainError::invalid("zone", "is the name of a time zone, such as Europe/Berlin"))
}

/// The minutes of a day that somebody has written: none where there is no number. Errors: `Invalid`.
pub fn daily_minutes(minutes: Option<u32>, zone: &str) -> Result<Option<DailyMinutes>, DomainError> {
    match minutes.map(u16::try_from) {
        None => Ok(None),
        Some(Ok(minutes @ 1..=DailyMinutes::MAX)) => Ok(Some(DailyMinutes { minutes, zone: zone.trim().to_owned() })),
        Some(_) => Err(DomainError::invalid("minutes", format!("is a number from 1 to {}", DailyMinutes::MAX))),
    }
}

/// Parses quiet hours; none if neither end is given. Errors: `Invalid`.
pub fn quiet_hours(from: &str, until: &str, zone: &str) -> Result<Option<QuietHours>, DomainError> {
    if from.trim().is_empty() && until.trim().is_empty() {
        return Ok(None);
    }
    let minute = |field, text: &str| {
        text.trim().parse::<DayMinute>().map_err(|malformed| DomainError::invalid(field, malformed.to_string()))
    };
    Ok(Some(QuietHours { from: minute("from", from)?, until: minute("until", until)?, zone: zone.trim().to_owned() }))
}
