//! The audit log: which party read, bound, befriended, erased or exported what. Guardians read it.
//!
//! Reading is recorded once for each hour, reader and toy. The entries of the current hour are cached here, so that
//! reading costs at most one write in an hour.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::error::DomainError;
use super::units::HOUR_S;
use super::{FileKind, Hub};
use crate::model::{Action, Audited, FileName, Message, Party, PartyId, Timestamp, ToyId, UserId};

/// The size of the cache; beyond it, some entries are recorded twice.
const REMEMBERED_MAX: usize = 65_536;
/// The cached entries of an hour: the readers, and the toys or messages that they read.
#[derive(Default)]
pub(super) struct Noted(Mutex<(i64, HashSet<(String, String)>)>);

impl Noted {
    /// Whether the reader reads this for the first time in this hour.
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
    /// Records that a user read messages of a toy. Other reading is not recorded.
    pub async fn note_reading(&self, reader: &Party, messages: impl Iterator<Item = &Message>, now: Timestamp) {
        let toys: HashSet<&Party> = messages.map(|message| &message.from).filter(|from| *from != reader).collect();
        for toy in toys {
            self.note_reading_of(reader, toy, now).await;
        }
    }

    /// Records that a user downloaded a sound of a toy's chat. Other downloads are not recorded.
    pub async fn note_listening(&self, party: &Party, kind: FileKind, sound: &FileName, now: Timestamp) {
        let is_noted = kind != FileKind::Chat || matches!(party, Party::Toy(_));
        if is_noted || !self.noted.is_first(party.id(), sound.as_str(), now) {
            return;
        }
        let found = async {
            let of_sound = self.store.parties_of_sound(sound).await?;
            for other in of_sound.map(|of_sound| of_sound.parties).unwrap_or_default() {
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

    /// Records an action on `subject`; the actor `None` is the operator of the hub. The action is complete already, so
    /// a failure to record it is only logged, as an error.
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

    /// Records that a toy was opened at a new place.
    pub(super) async fn note_opening(&self, toy: &ToyId, place: &str, at: Timestamp) {
        let noting = async {
            let subject: PartyId = toy.as_str().parse().map_err(DomainError::internal)?;
            let (action, actor, place) = (Action::OpenedAnew, Some(subject.clone()), Some(place.to_owned()));
            Ok(self.store.audit(&Audited { subject, at, action, actor, about: None, place }).await?)
        };
        log_missing(noting.await);
    }

    /// Records an action that concerns two parties, for each of the two.
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

    /// Records a user's action on a chat, for each of its two parties.
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

    /// The entries of the user, or of a toy that the user is a guardian of, before a time, newest first. Errors: `UnknownParty`.
    pub async fn audited(
        &self,
        user: &UserId,
        toy: Option<&ToyId>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Audited>, DomainError> {
        let subject = match toy {
            Some(toy) => {
                self.check_guardian(user, toy).await?;
                Party::Toy(toy.clone())
            }
            None => Party::User(user.clone()),
        };
        let subject = subject.id().parse().map_err(DomainError::internal)?;
        Ok(self.store.audited(&subject, before, limit).await?)
    }
}

fn log_missing(noted: Result<(), DomainError>) {
    if let Err(error) = noted {
        tracing::error!(?error, "an entry of the audit log was not written");
    }
}
