//! The rules of a toy's guardians for its day: quiet hours, and which content it plays.
//!
//! In its quiet hours a toy is as if it were away: messages are stored and wait, nothing is announced, no music plays. When
//! the hours end, what waits is announced. Hours go by the wall clock of the family's time zone, whatever the date. A task
//! looks at the clock; all others only ask whether a toy rests. An emergency of a guardian lifts the hours for a while.

use std::sync::Arc;

use dashmap::{DashMap, DashSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::error::DomainError;
use crate::config::seconds;
use crate::model::{
    Content, ContentId, DayMinute, FileName, Party, PartyId, QuietHours, Secret, Timestamp, ToyId, UserId,
};
use crate::ports::store::QuietToy;
use crate::ports::zone::Zone;

const SECONDS_PER_MINUTE: f64 = 60.0;

/// The toys that have quiet hours, and those that rest now: as many as there are toys.
#[derive(Default)]
pub(super) struct Resting {
    hours: DashMap<ToyId, Hours>,
    now: DashSet<ToyId>,
}

struct Hours {
    hours: QuietHours,
    zone: Zone,
    awake_until: Timestamp,
}

impl Hours {
    fn are_now(&self, now: Timestamp) -> bool {
        now >= self.awake_until && self.hours.include(self.zone.wall_clock(now))
    }
}

impl Resting {
    fn add(&self, toy: QuietToy) {
        match Zone::named(&toy.hours.zone) {
            Some(zone) => {
                self.hours.insert(toy.toy, Hours { hours: toy.hours, zone, awake_until: toy.awake_until });
            }
            // Of another version of the database of zones.
            None => tracing::warn!(toy = %toy.toy, "the time zone of a toy is unknown, it has no quiet hours"),
        }
    }

    /// Notes who rests now; gives those whose rest has ended.
    fn look(&self, now: Timestamp) -> Vec<ToyId> {
        for toy in &self.hours {
            if toy.are_now(now) {
                self.now.insert(toy.key().clone());
            }
        }
        let rests = |toy: &ToyId| self.hours.get(toy).is_some_and(|hours| hours.are_now(now));
        let ended: Vec<ToyId> = self.now.iter().map(|toy| toy.key().clone()).filter(|toy| !rests(toy)).collect();
        ended.iter().for_each(|toy| drop(self.now.remove(toy)));
        ended
    }

    /// A toy that there is not any more.
    pub(super) fn forget(&self, toy: &ToyId) {
        self.hours.remove(toy);
        self.now.remove(toy);
    }
}

/// What the guardians of a toy have set.
#[derive(Debug)]
pub struct ToySettings {
    /// Its quiet hours.
    pub quiet: Option<QuietHours>,
    /// Whether it plays only approved content.
    pub is_approved_only: bool,
    /// What is approved.
    pub approved: Vec<ContentId>,
}

/// Looks at the clock until `shutdown`. The clock is passed in.
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
    /// Reads the quiet hours of all toys, before the first client comes.
    pub async fn load_quiet_hours(&self, now: Timestamp) -> Result<(), DomainError> {
        self.store.quiet_toys().await?.into_iter().for_each(|toy| self.resting.add(toy));
        self.resting.look(now);
        Ok(())
    }

    /// Notes which toys rest now, and announces what waits to those whose hours have ended.
    pub async fn keep_quiet_hours(&self, now: Timestamp) {
        for toy in self.resting.look(now) {
            let toy = Party::Toy(toy);
            if let Err(error) = self.announce_what_waits(&toy).await {
                tracing::warn!(?error, "messages not announced at the end of quiet hours");
            }
        }
    }

    /// To a toy that is away nothing is announced: it is told on return.
    async fn announce_what_waits(&self, toy: &Party) -> Result<(), DomainError> {
        if self.router.online(toy) {
            for event in self.unheard(toy).await? {
                self.announce(toy, &event, None).await;
            }
        }
        Ok(())
    }

    /// Whether a party is in its quiet hours; only toys have them.
    pub(super) fn rests(&self, party: &Party) -> bool {
        matches!(party, Party::Toy(toy) if self.resting.now.contains(toy))
    }

    /// What the guardians of a toy have set. `None` stands for whoever runs the hub. Errors: `UnknownParty`.
    pub async fn toy_settings(&self, guardian: Option<&UserId>, toy: &ToyId) -> Result<ToySettings, DomainError> {
        self.check_toy_of(guardian, toy).await?;
        Ok(ToySettings {
            quiet: self.resting.hours.get(toy).map(|hours| hours.hours.clone()),
            is_approved_only: self.store.is_approved_only(toy).await?,
            approved: self.store.approvals(toy).await?,
        })
    }

    /// Sets the quiet hours of a toy, or ends them; what waits is announced where it rests no more. Errors: `UnknownParty`,
    /// `Invalid`, `DiskFull`.
    pub async fn set_quiet_hours(
        &self,
        guardian: Option<&UserId>,
        toy: &ToyId,
        hours: Option<QuietHours>,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        self.check_toy_of(guardian, toy).await?;
        if let Some(hours) = &hours {
            if hours.from == hours.until {
                return Err(DomainError::invalid("until", "is another time than from"));
            }
            if Zone::named(&hours.zone).is_none() {
                return Err(DomainError::invalid("zone", "is the name of a time zone, such as Europe/Berlin"));
            }
        }
        self.check_room(0)?;
        self.store.set_quiet_hours(toy, hours.as_ref()).await?;
        match hours {
            Some(hours) => self.resting.add(QuietToy { toy: toy.clone(), hours, awake_until: 0.0 }),
            None => drop(self.resting.hours.remove(toy)),
        }
        self.keep_quiet_hours(now).await;
        Ok(())
    }

    /// Lifts the quiet hours of a toy for `chats.emergency_minutes`, since a guardian has something urgent to say. Errors:
    /// `Forbidden` for anybody else, and for a receiver that is no toy.
    pub async fn wake_for_emergency(&self, user: &UserId, id: &PartyId, now: Timestamp) -> Result<(), DomainError> {
        let toy = self.toy_of(user, id).await.map_err(|error| match error {
            DomainError::UnknownParty => DomainError::Forbidden,
            error => error,
        })?;
        let until = now + f64::from(self.config.chats.emergency_minutes) * SECONDS_PER_MINUTE;
        if let Some(mut hours) = self.resting.hours.get_mut(&toy) {
            hours.awake_until = until;
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

    /// Approves a piece of the library for a toy, or takes that back. Errors: `UnknownParty`, `Invalid` for what is not in
    /// the library, `DiskFull`.
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

    /// The library as a toy may play it.
    pub async fn content_for(&self, toy: &ToyId) -> Result<Vec<Content>, DomainError> {
        let mut content = self.content().await?;
        if self.store.is_approved_only(toy).await? {
            let approved = self.store.approvals(toy).await?;
            content.retain(|content| approved.contains(&content.id));
        }
        Ok(content)
    }

    /// The toy whose token this is, if it is one's.
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

/// The hours that somebody has written: none where neither end is given. Errors: `Invalid`.
pub fn quiet_hours(from: &str, until: &str, zone: &str) -> Result<Option<QuietHours>, DomainError> {
    if from.trim().is_empty() && until.trim().is_empty() {
        return Ok(None);
    }
    let minute = |field, text: &str| {
        text.trim().parse::<DayMinute>().map_err(|malformed| DomainError::invalid(field, malformed.to_string()))
    };
    Ok(Some(QuietHours { from: minute("from", from)?, until: minute("until", until)?, zone: zone.trim().to_owned() }))
}
