//! Erasure of messages, chats, friends, toys and accounts.
//!
//! An erasure begins with one transaction, which makes the data unreachable and records the erasure in a row. [`work`]
//! deletes the data in batches, and continues after a crash. The ids of erased items are kept as hashes
//! ([`crate::ports::erased`]), so that restoring an older backup does not bring them back ([`restored`]).

mod elsewhere;
mod restored;
mod work;

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, watch};

use super::accounts::hash_of;
use super::error::DomainError;
use super::places::Origin;
use super::{Hub, NewDevice, Progress};
use crate::model::{Action, ChatId, DeviceKey, MessageId, Party, PartyId, Secret, Timestamp, ToyId, UserId};
use crate::ports::bus::Notice;
use crate::ports::erased::{ErasedList, Mark};
use crate::ports::store::{ChatErasure, DeviceAfter};

pub use work::run;

/// The erasures of the hub.
pub(super) struct Erasures {
    list: Arc<ErasedList>,
    /// Wakes the worker.
    begun: Notify,
    /// Held by the one worker that runs at a time.
    working: Semaphore,
    /// The progress of the one who waits for the worker.
    watcher: watch::Sender<Progress>,
}

impl Erasures {
    pub(super) fn new(list: ErasedList) -> Self {
        let watcher = watch::Sender::new(Progress::unwatched());
        Self { list: Arc::new(list), begun: Notify::new(), working: Semaphore::new(1), watcher }
    }

    /// Passes the steps of the worker on to the one who waits at that moment.
    fn progress(&self) -> Progress {
        let watcher = self.watcher.subscribe();
        Progress::watched(move |step| watcher.borrow().tell(step))
    }
}

/// Somebody waits for the erasures, until this is dropped.
#[derive(Debug)]
pub struct Watching<'a>(&'a watch::Sender<Progress>);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Progress::unwatched());
    }
}

/// The parties for which a message is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasedFor {
    /// For both parties of its chat.
    Both,
    /// For the user who erases it alone.
    Oneself,
}

/// The messages of a chat that a user may erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Everything: it is the chat of an own toy.
    All,
    /// Its own messages for both parties, and the other party's messages for itself.
    Own,
}

/// The future of an erased toy's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// It may be bound again, with a new secret.
    NewSecret,
    /// It may be bound again, with a new secret and a new key.
    NewKey,
    /// It is removed.
    Removed,
}

fn user_mark(user: &UserId) -> Mark {
    Mark::of("user", &[user.as_str()])
}

fn toy_mark(toy: &ToyId) -> Mark {
    Mark::of("toy", &[toy.as_str()])
}

fn party_mark(party: &Party) -> Mark {
    match party {
        Party::User(user) => user_mark(user),
        Party::Toy(toy) => toy_mark(toy),
    }
}

fn device_mark(key: &DeviceKey) -> Mark {
    Mark::of("device", &[key.as_str()])
}

fn chat_mark(chat: &ChatId) -> Mark {
    Mark::of("chat", &[chat.as_str()])
}

/// A party has left a chat, in which the other one keeps its own messages.
fn ended_mark(chat: &ChatId, by: &PartyId) -> Mark {
    Mark::of("ended", &[chat.as_str(), by.as_str()])
}

fn message_mark(id: &MessageId) -> Mark {
    Mark::of("message", &[id.as_str()])
}

fn hidden_mark(id: &MessageId, from: &str) -> Mark {
    Mark::of("hidden", &[id.as_str(), from])
}

/// A party's friend was erased, or the friendship ended.
fn friend_mark(of: &str, friend: &str) -> Mark {
    Mark::of("friend", &[of, friend])
}

impl Hub {
    /// From now on the steps of erasures are told to `progress`, whoever has begun them. There is one such watcher at a
    /// time, the last one.
    pub fn watch_erasures(&self, progress: &Progress) -> Watching<'_> {
        self.erasures.watcher.send_replace(progress.clone());
        Watching(&self.erasures.watcher)
    }

    /// Wakes the worker, for an erasure that was recorded.
    pub(super) fn wake_erasures(&self) {
        self.erasures.begun.notify_one();
    }

    /// Erases a message: for both, if the user sent it or it is in a chat of an own toy; or for the user alone.
    ///
    /// Errors: `UnknownMessage`, also for a message of other parties; `Forbidden` if the user may not erase it for
    /// both; `OutcomeUnknown` and `Busy`, after which the caller repeats the call.
    pub async fn erase_message(
        &self,
        by_user: &UserId,
        id: &MessageId,
        whom: ErasedFor,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let message = self.store.stored_message(id).await?.ok_or(DomainError::UnknownMessage)?;
        let parties = self.store.pair_of_chat(&message.chat).await?.ok_or(DomainError::UnknownMessage)?;
        let right = self.right_over(by_user, &parties).await?.ok_or(DomainError::UnknownMessage)?;
        let by = as_party(by_user)?;
        let has_both_erased = message.hidden.as_ref().is_some_and(|hidden| *hidden != by);
        match whom {
            ErasedFor::Both if right == Right::Own && message.sender != by => return Err(DomainError::Forbidden),
            ErasedFor::Oneself if !parties.contains(&by) => return Err(DomainError::Forbidden),
            ErasedFor::Oneself if !has_both_erased => {
                self.store.hide_message(&message, &by).await.map_err(DomainError::of_change)?;
                return self.write_marks(vec![hidden_mark(id, by.as_str())]).await;
            }
            ErasedFor::Both | ErasedFor::Oneself => {}
        }
        self.store.begin_message_erasure(&message, &parties, now).await.map_err(DomainError::of_change)?;
        self.erasures.list.note(&[message_mark(id)]);
        self.wake_erasures();
        self.note_chat(&parties, Action::ErasedMessage, by_user, now).await;
        Ok(())
    }

    /// Erases the messages of a chat: all of them in the chat of an own toy; otherwise the user's own messages for both
    /// parties, and the other party's messages for the user alone. Errors: `UnknownChat`, also for a chat of other
    /// parties.
    pub async fn erase_chat(&self, by: &UserId, chat: &ChatId, now: Timestamp) -> Result<(), DomainError> {
        let parties = self.store.pair_of_chat(chat).await?.ok_or(DomainError::UnknownChat)?;
        let right = self.right_over(by, &parties).await?.ok_or(DomainError::UnknownChat)?;
        let only_of = if right == Right::Own { Some(as_party(by)?) } else { None };
        let chat = ChatErasure { chat: chat.clone(), parties, only_of, ends_friendship: false, sounds: Vec::new() };
        self.note_chat(&chat.parties, Action::ErasedChat, by, now).await;
        self.begin_chat_erasure(chat, now).await
    }

    /// Ends a friendship of the user, or of an own toy, erases its chat as [`Self::erase_chat`] does, and the friend
    /// requests between the two. Errors: `NotFriends`; `UnknownParty` for another user's toy; `Invalid` for a toy and its
    /// guardian.
    pub async fn erase_friend(
        &self,
        by: &UserId,
        toy: Option<&ToyId>,
        friend: &PartyId,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let of = match toy {
            Some(toy) => {
                self.check_guardian(by, toy).await?;
                Party::Toy(toy.clone())
            }
            None => Party::User(by.clone()),
        };
        let entry = self.store.friend(&of, friend).await?.ok_or(DomainError::NotFriends)?;
        let parties = [of.id().parse().map_err(DomainError::internal)?, friend.clone()];
        let right = self.right_over(by, &parties).await?.ok_or(DomainError::NotFriends)?;
        self.check_no_guardian(&of, friend).await?;
        let only_of = if right == Right::Own { Some(as_party(by)?) } else { None };
        let other = self.store.friend(&entry.party, &parties[0]).await?;
        let remarks: Vec<String> = std::iter::once(entry.remark).chain(other.map(|other| other.remark)).collect();
        let sounds = self.notices_of(&remarks).await?;
        let chat = ChatErasure { chat: entry.chat, parties, only_of, ends_friendship: true, sounds };
        self.note_chat(&chat.parties, Action::Parted, by, now).await;
        self.begin_chat_erasure(chat, now).await
    }

    /// Erases an own toy with all its data. `None` stands for the operator of the hub. Returns its device, unless that
    /// is removed.
    ///
    /// Tokens, sessions, retained messages and connections are gone when this returns. Files and messages are deleted
    /// afterwards, and cannot be read meanwhile. Errors: `UnknownParty`, also for another user's toy.
    pub async fn erase_toy(
        &self,
        owner: Option<&UserId>,
        id: &ToyId,
        device: Device,
        now: Timestamp,
    ) -> Result<Option<NewDevice>, DomainError> {
        let toy = self.own_toy(owner, id).await?;
        let guardians = self.guardians(id).await?;
        let secret = Secret::random();
        let new_key = (device == Device::NewKey).then(DeviceKey::random);
        if let Some(key) = &new_key {
            self.put_qr_pictures(key).await?;
        }
        let after = match device {
            Device::Removed => DeviceAfter::Removed,
            Device::NewSecret | Device::NewKey => {
                DeviceAfter::Renewed { secret_hash: hash_of(&secret), key: new_key.clone() }
            }
        };
        self.store.begin_toy_erasure(id, after, now).await.map_err(DomainError::of_change)?;
        self.cut_off(&Party::Toy(id.clone()), now).await?;
        // The audit log of the toy is erased with it.
        let actor = owner.map(|owner| Party::User(owner.clone()));
        for guardian in guardians {
            self.note(&Party::User(guardian), Action::Unbound, actor.as_ref(), None, now).await;
        }
        let key = new_key.unwrap_or(toy.device_key);
        Ok((device != Device::Removed).then_some(NewDevice { key, secret }))
    }

    /// Erases a user's account with the user's toys, as [`Self::erase_toy`] does; their devices may be bound again. A
    /// toy with another guardian is bound to that one instead. `by` is the user, or none for the operator of the hub.
    /// Errors: `UnknownParty`.
    pub async fn erase_account(&self, user: &UserId, by: Option<&UserId>, now: Timestamp) -> Result<(), DomainError> {
        for toy in self.store.toys_of(user).await?.iter().filter(|toy| toy.bind_user == *user) {
            match self.guardians(&toy.id).await?.into_iter().find(|guardian| guardian != user) {
                Some(heir) => {
                    self.store.pass_on(&toy.id, &heir).await?;
                    self.note_heir(&toy.id, &heir, by, now).await;
                }
                None => drop(self.erase_toy(Some(user), &toy.id, Device::NewSecret, now).await?),
            }
        }
        self.store.begin_user_erasure(user, now).await.map_err(DomainError::of_change)?;
        self.cut_off(&Party::User(user.clone()), now).await
    }

    /// Records that a toy was bound to another guardian. No entry may name the erased user, so the actor is the new
    /// guardian, or none if the operator of the hub has erased the user.
    async fn note_heir(&self, toy: &ToyId, heir: &UserId, by: Option<&UserId>, now: Timestamp) {
        let heir = Party::User(heir.clone());
        let actor = by.map(|_| &heir);
        for subject in [&Party::Toy(toy.clone()), &heir] {
            self.note(subject, Action::GuardianRemoved, actor, None, now).await;
        }
    }

    /// Gives a device a new secret: the old one and the toy's tokens become invalid, and the connections of the toy are
    /// closed. Errors: `UnknownDevice`.
    pub async fn renew_device(&self, key: &DeviceKey, now: Timestamp) -> Result<NewDevice, DomainError> {
        let secret = Secret::random();
        self.store.renew_device(key, &hash_of(&secret)).await?;
        if let Some(toy) = self.store.device(key).await?.and_then(|(device, _)| device.toy) {
            let toy = Party::Toy(toy);
            self.log_out_everywhere(&toy).await?;
            self.note(&toy, Action::SecretRenewed, None, None, now).await;
        }
        Ok(NewDevice { key: key.clone(), secret })
    }

    /// Checks the user's password, before an action that cannot be undone. Errors: `WrongCredentials`, `RateLimited`,
    /// `Busy`.
    pub async fn check_password_of(
        &self,
        user: &UserId,
        password: Secret,
        from: Origin,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let found = self.store.user(user).await?.ok_or(DomainError::UnknownParty)?;
        let budget = self.login_budget(&found.user.username, Some(&found), from, now).await?;
        self.check_login_budget(&budget, from)?;
        if !self.is_password(password, Some(found.password_hash)).await? {
            self.note_failed_login(&budget, from);
            return Err(DomainError::WrongCredentials);
        }
        Ok(())
    }

    /// The error for a receiver that is not a friend.
    pub(super) fn not_friends(&self, from: &Party, to: &PartyId) -> DomainError {
        let is_erased = self.erasures.list.has(&friend_mark(from.id(), to.as_str()));
        if is_erased { DomainError::Erased } else { DomainError::NotFriends }
    }

    /// Whether a device was removed or has got another key.
    pub(super) fn is_device_erased(&self, key: &DeviceKey) -> bool {
        self.erasures.list.has(&device_mark(key))
    }

    /// The error for an unknown party.
    pub(super) fn unknown_party(&self, id: &PartyId) -> DomainError {
        let marks = ["user", "toy"].map(|kind| Mark::of(kind, &[id.as_str()]));
        let is_erased = marks.iter().any(|mark| self.erasures.list.has(mark));
        if is_erased { DomainError::Erased } else { DomainError::UnknownParty }
    }

    async fn begin_chat_erasure(&self, chat: ChatErasure, now: Timestamp) -> Result<(), DomainError> {
        let [a, b] = &chat.parties;
        self.store.begin_chat_erasure(&chat, now).await.map_err(DomainError::of_change)?;
        if chat.ends_friendship {
            self.erasures.list.note(&[friend_mark(a.as_str(), b.as_str()), friend_mark(b.as_str(), a.as_str())]);
            if let (Some((a, _)), Some((b, _))) = (self.store.party(a).await?, self.store.party(b).await?) {
                self.end_subscriptions(&a, &b, &chat.chat);
            }
        }
        self.wake_erasures();
        Ok(())
    }

    /// Closes everything that an erased party has left open, and starts the worker.
    async fn cut_off(&self, party: &Party, now: Timestamp) -> Result<(), DomainError> {
        self.erasures.list.note(&[party_mark(party)]);
        if let Party::Toy(toy) = party {
            self.forget_toy(toy);
        }
        let left = self.leave_chats(party, now).await;
        // This precedes the end of the connections, as the caller may be on one of them.
        self.wake_erasures();
        self.router.forget_retained(&party.to_string());
        self.router.end_sessions(party);
        self.notify_hubs(|| Notice::End { party: party.clone(), is_erased: true });
        self.end_connections_here(party);
        self.leave_in_time(party).await;
        self.router.forget_retained(&format!("online/{}", party.id()));
        left
    }

    /// Forgets the settings of an erased toy.
    pub(super) fn forget_toy(&self, toy: &ToyId) {
        self.resting.forget(toy);
        self.toy_voices.forget(toy);
        self.reminders.forget_toy(toy);
    }

    /// An own toy of the user; any toy if no user is given. Errors: `UnknownParty`.
    pub(super) async fn own_toy(&self, owner: Option<&UserId>, id: &ToyId) -> Result<crate::model::Toy, DomainError> {
        let toy = self.store.toy(id).await?.ok_or(DomainError::UnknownParty)?;
        if owner.is_some_and(|owner| toy.bind_user != *owner) {
            return Err(DomainError::UnknownParty);
        }
        Ok(toy)
    }

    /// Whether the user is a guardian of a party, which can only be a toy.
    async fn guards(&self, user: &UserId, party: &PartyId) -> Result<bool, DomainError> {
        let toy = party.as_str().parse().map_err(DomainError::internal)?;
        self.is_guardian(user, &toy).await
    }

    /// The messages that the user may erase in the chat of two parties; none in a chat of other parties.
    async fn right_over(&self, user: &UserId, parties: &[PartyId; 2]) -> Result<Option<Right>, DomainError> {
        for party in parties {
            if self.guards(user, party).await? {
                return Ok(Some(Right::All));
            }
        }
        let is_party = parties.iter().any(|party| party.as_str() == user.as_str());
        Ok(is_party.then_some(Right::Own))
    }
}

fn as_party(user: &UserId) -> Result<PartyId, DomainError> {
    user.as_str().parse().map_err(DomainError::internal)
}
