//! The audit log: which party read, bound, befriended, erased or exported what. Guardians read it.
//!
//! Reading is recorded once for each hour, reader and toy. The entries of the current hour are cached here, so that
//! reading costs at most one write in an hour.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::error::DomainError;
use super::units::HOUR_S;
use super::{FileKind, Hub};
use crate::model::{Action, Audited, ChatId, FileName, Message, Party, PartyId, Setting, Timestamp, ToyId, UserId};

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
    /// Records that a user read messages that it received from toys. Other reading is not recorded.
    pub async fn note_receiving(&self, reader: &Party, messages: impl Iterator<Item = &Message>, now: Timestamp) {
        let toys: HashSet<&Party> = messages.map(|message| &message.from).filter(|from| *from != reader).collect();
        for toy in toys {
            self.note_reading_of(reader, toy, None, now).await;
        }
    }

    /// Records that a user read messages of a chat of a toy: those of the toy, and as a guardian of the toy all of them.
    /// Other reading is not recorded.
    pub async fn note_reading(
        &self,
        reader: &UserId,
        chat: &ChatId,
        messages: impl Iterator<Item = &Message>,
        now: Timestamp,
    ) {
        let senders: HashSet<&Party> = messages.map(|message| &message.from).collect();
        let has_toy = senders.iter().any(|sender| matches!(sender, Party::Toy(_)));
        // The parties are looked up once in an hour, and again when the first message of a toy is read.
        if senders.is_empty() || !self.noted.is_first(reader.as_str(), &format!("{chat} {has_toy}"), now) {
            return;
        }
        let senders: HashSet<&str> = senders.into_iter().map(Party::id).collect();
        let noting = async {
            let Some(parties) = self.store.pair_of_chat(chat).await? else { return Ok(()) };
            self.note_reading_between(reader, &parties, |toy| senders.contains(toy), now).await
        };
        log_missing(noting.await);
    }

    /// Records that a user downloaded a sound of a toy's chat. Other downloads are not recorded.
    pub async fn note_listening(&self, party: &Party, kind: FileKind, sound: &FileName, now: Timestamp) {
        let Party::User(reader) = party else { return };
        if kind != FileKind::Chat || !self.noted.is_first(party.id(), sound.as_str(), now) {
            return;
        }
        let noting = async {
            let Some(of_sound) = self.store.parties_of_sound(sound).await? else { return Ok(()) };
            let parties = of_sound.parties.iter().map(|id| id.parse().map_err(DomainError::internal));
            let parties = parties.collect::<Result<Vec<PartyId>, _>>()?;
            self.note_reading_between(reader, &parties, |_| true, now).await
        };
        log_missing(noting.await);
    }

    /// Records reading in a chat, for each toy of it of which `is_read` is true or of which the reader is a guardian
    /// outside of the chat. The entry names the toy's friend, unless that is the reader.
    async fn note_reading_between(
        &self,
        reader: &UserId,
        parties: &[PartyId],
        is_read: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let is_party = parties.iter().any(|id| id.as_str() == reader.as_str());
        for id in parties.iter().filter(|id| !is_party || is_read(id.as_str())) {
            let Some((toy @ Party::Toy(_), _)) = self.store.party(id).await? else { continue };
            let other = parties.iter().find(|other| *other != id && other.as_str() != reader.as_str());
            self.note_reading_of(&Party::User(reader.clone()), &toy, other, now).await;
        }
        Ok(())
    }

    /// Records reading of a toy's messages, to or from `other`, once for each hour.
    async fn note_reading_of(&self, reader: &Party, toy: &Party, other: Option<&PartyId>, now: Timestamp) {
        let what = format!("{}/{}", toy.id(), other.map_or("", PartyId::as_str));
        if let (Party::User(user), Party::Toy(_)) = (reader, toy)
            && self.noted.is_first(user.as_str(), &what, now)
        {
            self.note_entry(toy, Action::Read, Some(reader), other.cloned(), now).await;
        }
    }

    /// Records that a guardian read the kept words of a toy's child, once for each hour.
    pub async fn note_reading_of_words(&self, reader: &UserId, toy: &ToyId, now: Timestamp) {
        if self.noted.is_first(reader.as_str(), &format!("{toy} words"), now) {
            let (toy, reader) = (Party::Toy(toy.clone()), Party::User(reader.clone()));
            self.note(&toy, Action::WordsRead, Some(&reader), None, now).await;
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
        match about.map(id_of).transpose() {
            Ok(about) => self.note_entry(subject, action, actor, about, at).await,
            Err(error) => log_missing(Err(error)),
        }
    }

    async fn note_entry(
        &self,
        subject: &Party,
        action: Action,
        actor: Option<&Party>,
        about: Option<PartyId>,
        at: Timestamp,
    ) {
        let noting = async {
            let (subject, actor) = (id_of(subject)?, actor.map(id_of).transpose()?);
            Ok(self.store.audit(&Audited { subject, at, action, actor, about, place: None, setting: None }).await?)
        };
        log_missing(noting.await);
    }

    /// Records that the operator of the hub changed a setting of a party.
    pub async fn note_operated(&self, subject: &Party, setting: Setting, at: Timestamp) {
        let noting = async {
            let (subject, setting) = (id_of(subject)?, Some(setting));
            let (action, actor, about, place) = (Action::Operated, None, None, None);
            Ok(self.store.audit(&Audited { subject, at, action, actor, about, place, setting }).await?)
        };
        log_missing(noting.await);
    }

    /// Records an export of a user's data, for the user and for each toy whose data it contains. The actor `None` is the
    /// operator of the hub.
    pub async fn note_export(&self, user: &UserId, actor: Option<&UserId>, at: Timestamp) {
        let actor = actor.map(|actor| Party::User(actor.clone()));
        let party = Party::User(user.clone());
        self.note(&party, Action::Exported, actor.as_ref(), None, at).await;
        match self.store.toys_of(user).await {
            Ok(toys) => {
                for toy in toys {
                    self.note(&Party::Toy(toy.id), Action::Exported, actor.as_ref(), Some(&party), at).await;
                }
            }
            Err(error) => log_missing(Err(error.into())),
        }
    }

    /// Records that a toy was opened at a new place.
    pub(super) async fn note_opening(&self, toy: &ToyId, place: &str, at: Timestamp) {
        let noting = async {
            let subject: PartyId = toy.as_str().parse().map_err(DomainError::internal)?;
            let (action, actor, place) = (Action::OpenedAnew, Some(subject.clone()), Some(place.to_owned()));
            Ok(self.store.audit(&Audited { subject, at, action, actor, about: None, place, setting: None }).await?)
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
        self.audited_of(&subject, before, limit).await
    }

    /// The entries of a party before a time, newest first, for the operator of the hub. Errors: `UnknownParty`.
    pub async fn audited_of(
        &self,
        subject: &Party,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Audited>, DomainError> {
        let subject = id_of(subject)?;
        self.store.party(&subject).await?.ok_or(DomainError::UnknownParty)?;
        Ok(self.store.audited(&subject, before, limit).await?)
    }
}

fn id_of(party: &Party) -> Result<PartyId, DomainError> {
    party.id().parse().map_err(DomainError::internal)
}

fn log_missing(noted: Result<(), DomainError>) {
    if let Err(error) = noted {
        tracing::error!(?error, "an entry of the audit log was not written");
    }
}
