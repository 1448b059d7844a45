//! The record of who has read, bound, befriended, erased and exported what; a guardian reads it.
//!
//! Readings are noted once for each hour, reader and toy: what was noted in this hour is remembered here, so that a
//! reading costs a write once an hour and nothing otherwise.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::error::DomainError;
use super::units::HOUR_S;
use super::{FileKind, Hub};
use crate::model::{Action, Audited, FileName, Message, Party, PartyId, Timestamp, ToyId, UserId};

/// Readings of one hour that are remembered; after more, some are noted again.
const REMEMBERED_MAX: usize = 65_536;
/// The readings of an hour that are noted: who has read, and whom or what.
#[derive(Default)]
pub(super) struct Noted(Mutex<(i64, HashSet<(String, String)>)>);

impl Noted {
    /// Whether this is the first such reading of the hour.
    fn is_first(&self, reader: &str, what: &str, now: Timestamp) -> bool {
        let hour = (now / HOUR_S).floor() as i64;
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.0 != hour || noted.1.len() >= REMEMBERED_MAX {
            *noted = (hour, HashSet::new());
        }
        noted.1.insert((reader.to_owned(), what.to_owned()))
    }
}

impl Hub {
    /// Notes that a reader was given these messages, as far as a user has read those of a toy.
    pub async fn note_reading(&self, reader: &Party, messages: impl Iterator<Item = &Message>, now: Timestamp) {
        let toys: HashSet<&Party> = messages.map(|message| &message.from).filter(|from| *from != reader).collect();
        for toy in toys {
            self.note_reading_of(reader, toy, now).await;
        }
    }

    /// Notes that a party was given a stored sound, as far as a user hears that of a toy's chat.
    pub async fn note_listening(&self, party: &Party, kind: FileKind, sound: &FileName, now: Timestamp) {
        let is_noted = kind != FileKind::Chat || matches!(party, Party::Toy(_));
        if is_noted || !self.noted.is_first(party.id(), sound.as_str(), now) {
            return;
        }
        let found = async {
            for other in self.store.parties_of_sound(sound).await?.unwrap_or_default() {
                let other: PartyId = other.parse().map_err(DomainError::internal)?;
                if let Some((other, _)) = self.store.party(&other).await? {
                    self.note_reading_of(party, &other, now).await;
                }
            }
            Ok::<_, DomainError>(())
        };
        log_missing(found.await);
    }

    async fn note_reading_of(&self, reader: &Party, other: &Party, now: Timestamp) {
        if let (Party::User(_), Party::Toy(_)) = (reader, other)
            && self.noted.is_first(reader.id(), other.id(), now)
        {
            self.note(other, Action::Read, Some(reader), None, now).await;
        }
    }

    /// Notes what somebody did to `subject`; `None` stands for whoever runs the hub. What cannot be noted was done all the
    /// same: it is an error in the log.
    pub async fn note(
        &self,
        subject: &Party,
        action: Action,
        actor: Option<&Party>,
        about: Option<&Party>,
        at: Timestamp,
    ) {
        let id = |party: &Party| party.id().parse::<PartyId>().map_err(DomainError::internal);
        let noting = async {
            let (subject, actor) = (id(subject)?, actor.map(id).transpose()?);
            let about = about.map(id).transpose()?;
            Ok(self.store.audit(&Audited { subject, at, action, actor, about, place: None }).await?)
        };
        log_missing(noting.await);
    }

    /// Notes that a toy was opened at a new place.
    pub(super) async fn note_opening(&self, toy: &ToyId, place: &str, at: Timestamp) {
        let noting = async {
            let subject: PartyId = toy.as_str().parse().map_err(DomainError::internal)?;
            let (action, actor, place) = (Action::OpenedAnew, Some(subject.clone()), Some(place.to_owned()));
            Ok(self.store.audit(&Audited { subject, at, action, actor, about: None, place }).await?)
        };
        log_missing(noting.await);
    }

    /// Notes what somebody did that concerns two parties, for each of the two.
    pub(super) async fn note_pair(
        &self,
        (one, other): (&Party, &Party),
        action: Action,
        actor: Option<&UserId>,
        now: Timestamp,
    ) {
        let actor = actor.map(|actor| Party::User(actor.clone()));
        for (subject, about) in [(one, other), (other, one)] {
            self.note(subject, action, actor.as_ref(), Some(about), now).await;
        }
    }

    /// Notes what a user did to a chat, for each of its two parties.
    pub(super) async fn note_chat(&self, parties: &[PartyId; 2], action: Action, actor: &UserId, now: Timestamp) {
        let [a, b] = parties;
        let actor = Party::User(actor.clone());
        for (subject, about) in [(a, b), (b, a)] {
            let (subject, about) = (self.store.party(subject).await, self.store.party(about).await);
            if let (Ok(Some((subject, _))), Ok(about)) = (subject, about) {
                self.note(&subject, action, Some(&actor), about.map(|(about, _)| about).as_ref(), now).await;
            }
        }
    }

    /// The record of the user, or of an own toy, before a time, newest first. Errors: `UnknownParty`.
    pub async fn audited(
        &self,
        user: &UserId,
        toy: Option<&ToyId>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Audited>, DomainError> {
        let subject = match toy {
            Some(toy) => Party::Toy(self.own_toy(Some(user), toy).await?.id),
            None => Party::User(user.clone()),
        };
        let subject = subject.id().parse().map_err(DomainError::internal)?;
        Ok(self.store.audited(&subject, before, limit).await?)
    }
}

fn log_missing(noted: Result<(), DomainError>) {
    if let Err(error) = noted {
        tracing::error!(?error, "the record of who has done what lacks an entry");
    }
}
