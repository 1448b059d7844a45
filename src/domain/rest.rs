//! The guardians' settings of a toy: quiet hours, daily minutes and permitted content.
//!
//! A toy rests in its quiet hours, and from the end of its daily minutes to the next day. A resting toy is treated as
//! offline: messages are stored, no event is published, no music plays. When the rest ends, the unread messages are
//! published. Quiet hours follow the local time of the family's time zone, across changes of daylight-saving time; days
//! begin at its midnight. One task reads the clock; all others only query whether a toy rests. A guardian's urgent
//! message suspends the rest for a while.
//!
//! The minutes count the length of the sounds that the hub sends to the toy: messages that it receives, spoken answers,
//! and music that it requests or a friend asks it to play. A sound that has begun is played to its end.

use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use tokio_util::sync::CancellationToken;

use super::error::DomainError;
use super::units::{MINUTE_S, ticks};
use super::{FileKind, Hub};
use crate::model::{
    Content, ContentId, DailyMinutes, DayMinute, FileName, Message, Party, PartyId, Played, QuietHours, Secret,
    Timestamp, ToyId, UserId,
};
use crate::ports::store::RestingToy;
use crate::ports::zone::Zone;

/// The maximum number of messages that are counted at once.
const COUNTED_MAX: usize = 500;
/// The output of espeak-ng: 22,050 samples of 16 bits a second.
const WAV_BYTES_PER_S: f64 = 44_100.0;

/// The rules of the toys with any, and the toys that rest now. Bounded by the number of toys.
pub(super) struct Resting {
    rules: DashMap<ToyId, Rules>,
    now: DashSet<ToyId>,
    /// For how long an urgent message suspends a rest.
    emergency_s: f64,
}

/// What a look at the clock has changed.
struct Changed {
    /// The toys whose rest has ended.
    ended: Vec<ToyId>,
    /// The toys whose used minutes are now those of an earlier day, as the clock was set back.
    set_back: Vec<(ToyId, Played)>,
}

/// The times at which a toy rests.
#[derive(Default)]
struct Rules {
    quiet: Option<(QuietHours, Zone)>,
    minutes: Option<Minutes>,
    /// The time until which an urgent message suspends both.
    awake_until: Timestamp,
}

/// The limit of minutes on each day, and the time that was played.
struct Minutes {
    daily: DailyMinutes,
    zone: Zone,
    played: Played,
}

impl Minutes {
    /// The time that was played today. The count of a later day than today is from before the clock was set back: it
    /// counts today, so that setting the clock back gives no further minutes, and takes none from the days to come.
    fn played_today(&self, now: Timestamp) -> Played {
        let day = self.zone.day(now);
        let seconds = if self.played.day >= day { self.played.seconds } else { 0.0 };
        Played { day, seconds }
    }

    /// Moves the count of a later day to today. Returns whether there was one.
    fn set_back(&mut self, now: Timestamp) -> bool {
        let today = self.played_today(now);
        let is_later = self.played.day > today.day;
        if is_later {
            self.played = today;
        }
        is_later
    }

    fn are_used_up(&self, now: Timestamp) -> bool {
        self.played_today(now).seconds >= f64::from(self.daily.minutes) * MINUTE_S
    }
}

impl Rules {
    fn rest_now(&self, now: Timestamp, emergency_s: f64) -> bool {
        // After the clock was set back, the end is further away than any urgent message has set it.
        let is_awake = now < self.awake_until && self.awake_until - emergency_s <= now;
        let is_quiet = |(hours, zone): &(QuietHours, Zone)| hours.include(zone.wall_clock(now));
        let is_over = |minutes: &Minutes| minutes.are_used_up(now);
        !is_awake && (self.quiet.as_ref().is_some_and(is_quiet) || self.minutes.as_ref().is_some_and(is_over))
    }
}

impl Resting {
    pub(super) fn new(emergency_minutes: u32) -> Self {
        Self { rules: DashMap::new(), now: DashSet::new(), emergency_s: f64::from(emergency_minutes) * MINUTE_S }
    }

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

    /// Replaces the rules of a toy by those of the store. The time that it has played does not become less.
    pub(super) fn replace(&self, found: RestingToy) {
        let toy = found.toy.clone();
        let known = self.rules.get(&toy).and_then(|rules| rules.minutes.as_ref().map(|minutes| minutes.played));
        self.add(found);
        self.rules.remove_if_mut(&toy, |_, rules| {
            if let (Some(minutes), Some(known)) = (&mut rules.minutes, known)
                && (known.day, known.seconds) > (minutes.played.day, minutes.played.seconds)
            {
                minutes.played = known;
            }
            rules.quiet.is_none() && rules.minutes.is_none()
        });
    }

    /// Changes the rules of a toy. This ends the effect of an urgent message.
    fn change(&self, toy: &ToyId, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules.entry(toy.clone()).or_default();
        rules.awake_until = 0.0;
        change(&mut rules);
        drop(rules);
        self.rules.remove_if(toy, |_, rules| rules.quiet.is_none() && rules.minutes.is_none());
    }

    /// Determines the toys that rest now.
    fn look(&self, now: Timestamp) -> Changed {
        let mut set_back = Vec::new();
        for mut toy in self.rules.iter_mut() {
            if let Some(minutes) = &mut toy.minutes
                && minutes.set_back(now)
            {
                let played = minutes.played;
                set_back.push((toy.key().clone(), played));
            }
            if toy.rest_now(now, self.emergency_s) {
                self.now.insert(toy.key().clone());
            }
        }
        let rests = |toy: &ToyId| self.rules.get(toy).is_some_and(|rules| rules.rest_now(now, self.emergency_s));
        let ended: Vec<ToyId> = self.now.iter().map(|toy| toy.key().clone()).filter(|toy| !rests(toy)).collect();
        for toy in &ended {
            self.now.remove(toy);
        }
        Changed { ended, set_back }
    }

    /// Whether the minutes of a toy are counted.
    fn counts(&self, toy: &ToyId) -> bool {
        self.rules.get(toy).is_some_and(|rules| rules.minutes.is_some())
    }

    /// Adds to the played time of a toy, and returns that of today; none for a toy without a limit. When its minutes
    /// are used up, the toy rests.
    fn count(&self, toy: &ToyId, seconds: f64, now: Timestamp) -> Option<Played> {
        let mut rules = self.rules.get_mut(toy)?;
        let minutes = rules.minutes.as_mut()?;
        let today = minutes.played_today(now);
        let played = Played { seconds: today.seconds + seconds, ..today };
        minutes.played = played;
        let rests = rules.rest_now(now, self.emergency_s);
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
    /// Its daily minutes, and the used seconds of today.
    pub minutes: Option<(DailyMinutes, f64)>,
    /// Whether it plays only approved content.
    pub is_approved_only: bool,
    /// The approved content.
    pub approved: Vec<ContentId>,
    /// Whether the words of its child to the hub are kept.
    pub keeps_words: bool,
}

/// Checks periodically which toys rest, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let mut ticks = ticks(hub.config.chats.quiet_check_interval_s);
    let look = async {
        loop {
            ticks.tick().await;
            hub.keep_quiet_hours(clock()).await;
        }
    };
    shutdown.run_until_cancelled(look).await;
}

impl Hub {
    /// Reads the quiet hours and daily minutes of all toys, before the first client connects.
    pub async fn load_quiet_hours(&self, now: Timestamp) -> Result<(), DomainError> {
        self.store.resting_toys().await?.into_iter().for_each(|toy| self.resting.add(toy));
        let Changed { set_back, .. } = self.resting.look(now);
        self.store_played(set_back).await;
        Ok(())
    }

    /// Determines the toys that rest now, and publishes the unread messages of those whose rest has ended.
    pub async fn keep_quiet_hours(&self, now: Timestamp) {
        let Changed { ended, set_back } = self.resting.look(now);
        self.store_played(set_back).await;
        for toy in ended {
            let toy = Party::Toy(toy);
            if let Err(error) = self.announce_unread_here(&toy).await {
                tracing::warn!(?error, "messages not announced at the end of a toy's rest");
            }
        }
    }

    /// Publishes the unread messages of a toy. An offline toy gets them when it reconnects.
    pub(super) async fn announce_unread(&self, toy: &Party) -> Result<(), DomainError> {
        if self.router.online(toy) {
            for event in self.unread_events(toy).await? {
                self.announce(toy, &event, None).await;
            }
        }
        Ok(())
    }

    /// As [`Self::announce_unread`], for a toy that is connected to this hub. Each hub does that for its own.
    async fn announce_unread_here(&self, toy: &Party) -> Result<(), DomainError> {
        if self.router.online_here(toy) {
            for event in self.unread_events(toy).await? {
                self.announce_here(toy, &event, None).await;
            }
        }
        Ok(())
    }

    /// The time zone of a toy: that of its quiet hours or of its minutes, or else that of the settings.
    pub(super) fn zone_of(&self, toy: &ToyId) -> Zone {
        let of_rules = self.resting.rules.get(toy).and_then(|rules| {
            let quiet = rules.quiet.as_ref().map(|(_, zone)| zone.clone());
            quiet.or_else(|| rules.minutes.as_ref().map(|minutes| minutes.zone.clone()))
        });
        of_rules.unwrap_or_else(|| Zone::fixed(self.config.speech.utc_offset_minutes))
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
        // Messages count when the answer with them has been sent.
        self.await_handovers(&Party::Toy(toy.clone())).await;
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
            keeps_words: self.config.speech.keep_words && self.store.keeps_words(toy).await?,
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
        if hours.as_ref().is_some_and(|hours| hours.from == hours.until) {
            return Err(DomainError::invalid("until", "must differ from from"));
        }
        let quiet = hours.map(|hours| known_zone(&hours.zone).map(|zone| (hours, zone))).transpose()?;
        self.check_room(0)?;
        self.store.set_quiet_hours(toy, quiet.as_ref().map(|(hours, _)| hours)).await?;
        self.resting.change(toy, |rules| rules.quiet = quiet);
        self.notify_settings(toy);
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Sets or removes the daily minutes of a toy. The time that it has played today counts. Errors: `UnknownParty`,
    /// `Invalid`, `DiskFull`.
    pub async fn set_daily_minutes(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        daily: Option<DailyMinutes>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        let daily = daily.map(|daily| known_zone(&daily.zone).map(|zone| (daily, zone))).transpose()?;
        self.check_room(0)?;
        self.store.set_daily_minutes(toy, daily.as_ref().map(|(daily, _)| daily)).await?;
        self.resting.change(toy, |rules| {
            let played = rules.minutes.take().map(|minutes| minutes.played).unwrap_or_default();
            rules.minutes = daily.map(|(daily, zone)| Minutes { daily, zone, played });
        });
        self.notify_settings(toy);
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Counts the messages that a toy receives.
    pub async fn count_messages(&self, receiver: &Party, messages: impl Iterator<Item = &Message>, now: Timestamp) {
        let Party::Toy(toy) = receiver else { return };
        if !self.resting.counts(toy) {
            return;
        }
        let sounds = messages.map(|message| message.sound.clone()).collect();
        self.count_sounds(toy, sounds, now).await;
    }

    /// The unread messages of a friend to a toy whose minutes are counted, and that were not counted; none for other toys.
    pub async fn uncounted_messages(&self, reader: &Party, friend: &PartyId) -> Result<Vec<Message>, DomainError> {
        if !matches!(reader, Party::Toy(toy) if self.resting.counts(toy)) {
            return Ok(Vec::new());
        }
        let unread = self.store.unread_messages(reader, COUNTED_MAX).await?.into_iter().map(|unread| unread.message);
        let counted = self.store.counted(reader, friend).await?;
        Ok(unread.filter(|message| message.from.id() == friend.as_str() && message.seq > counted).collect())
    }

    /// Counts sounds that the hub has encoded, and that a toy plays: recordings and spoken answers.
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

    pub(super) async fn count_seconds(&self, toy: &ToyId, seconds: f64, now: Timestamp) {
        let Some(played) = self.resting.count(toy, seconds, now) else { return };
        self.store_played(vec![(toy.clone(), played)]).await;
    }

    async fn store_played(&self, played: Vec<(ToyId, Played)>) {
        for (toy, played) in played {
            if let Err(error) = self.store.set_played(&toy, played).await {
                tracing::warn!(%error, "what a toy has played is not stored");
            }
        }
    }

    /// The bytes of one second of a recording or spoken answer: the hub encodes both at constant rates.
    fn bytes_per_second(&self, sound: &FileName) -> f64 {
        match sound.extension() {
            "wav" => WAV_BYTES_PER_S,
            _ => f64::from(self.config.audio.mp3_bitrate_kbps) * 125.0,
        }
    }

    /// Suspends the rest of a toy for `chats.emergency_minutes`, for an urgent message of a guardian, and ends the
    /// toy's mute of that guardian. Errors: `Forbidden` for any other sender, and for a receiver that is not a toy.
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
        let until = now + self.resting.emergency_s;
        if let Some(mut rules) = self.resting.rules.get_mut(&toy) {
            rules.awake_until = until;
        } else {
            return Ok(());
        }
        self.store.keep_awake(&toy, until).await?;
        self.notify_settings(&toy);
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

/// Parses daily minutes; none without a number. Errors: `Invalid`.
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
