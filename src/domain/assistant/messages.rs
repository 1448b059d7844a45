//! Unread messages, told on a device on which the hub speaks.

use std::sync::Arc;

use super::decision::Then;
use super::telling::{Done, Telling, Told, tell};
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::model::{Friend, Message, MessageId, Party, Question, Timestamp, ToyId};
use crate::ports::speech::languages::{Language, Line};

/// Messages that are played at once, and counted at most.
const MESSAGES_MAX: usize = 50;
/// Friends that are named.
const NAMES_MAX: usize = 3;

/// Whether a device is to be told of unread messages now.
pub enum UnreadNotice {
    /// There are none, or the toy rests.
    Nothing,
    /// The hub has asked the child something else, and waits for the answer.
    Later,
    /// There are some. The notice asks whether to play them.
    Tell(Telling),
}

/// New messages, for a device that is idle.
pub struct NewMessages {
    /// What a display shows.
    pub notice: String,
    /// The names of the friends, and the recordings. Each recording is followed by its message.
    pub telling: Telling,
}

impl Hub {
    /// Those of these messages that an idle device plays now: unread ones of friends who are not muted; none while the toy
    /// rests, at the end of which they are announced again.
    pub async fn new_messages(
        self: &Arc<Self>,
        toy: &ToyId,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<Option<NewMessages>, DomainError> {
        let party = Party::from(toy.clone());
        if self.rests(&party) {
            return Ok(None);
        }
        let unread = self.store.announced_messages(&party, MESSAGES_MAX).await?;
        let new: Vec<Message> =
            unread.into_iter().map(|unread| unread.message).filter(|message| ids.contains(&message.id)).collect();
        let friends = self.store.friends(&party).await?;
        let language = self.family_language();
        let Some(name) = new.first().map(|message| remark_of(message, &friends).unwrap_or_default()) else {
            return Ok(None);
        };
        let notice = Line::MessageFrom(name).text(language);
        let told = told(new, &friends, language)?;
        Ok(Some(NewMessages { notice, telling: tell(Arc::clone(self), toy.clone(), told, Then::Nothing, now) }))
    }

    /// The notice of the unread messages of a toy, without those of muted friends.
    pub async fn unread_notice(self: &Arc<Self>, toy: &ToyId, now: Timestamp) -> Result<UnreadNotice, DomainError> {
        let party = Party::from(toy.clone());
        if self.rests(&party) {
            return Ok(UnreadNotice::Nothing);
        }
        if self.has_question(toy, now).await? {
            return Ok(UnreadNotice::Later);
        }
        let unread = self.store.announced_messages(&party, MESSAGES_MAX).await?;
        if unread.is_empty() {
            return Ok(UnreadNotice::Nothing);
        }
        let friends = self.store.friends(&party).await?;
        let mut names: Vec<String> = Vec::new();
        for name in unread.iter().filter_map(|unread| remark_of(&unread.message, &friends)) {
            if names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        let language = self.family_language();
        let text = Line::UnreadMessages(unread.len(), &names).text(language);
        let then = Then::Ask(Box::new(Question::PlayMessages));
        Ok(UnreadNotice::Tell(tell(Arc::clone(self), toy.clone(), vec![Told::Text { text, language }], then, now)))
    }

    /// The unread messages of a toy, each marked as read when it was played, and the name of its friend before the first
    /// of each.
    pub(super) async fn unread_to_tell(
        &self,
        toy: &ToyId,
        language: &'static Language,
    ) -> Result<Vec<Told>, DomainError> {
        let party = Party::from(toy.clone());
        let line = |line: Line<'_>| Told::Text { text: line.text(language), language };
        if self.rests(&party) {
            return Ok(vec![line(Line::MessagesLater)]);
        }
        let unread = self.store.unread_messages(&party, MESSAGES_MAX).await?;
        if unread.is_empty() {
            return Ok(vec![line(Line::NoMessages)]);
        }
        let friends = self.store.friends(&party).await?;
        told(unread.into_iter().map(|unread| unread.message), &friends, language)
    }

    /// The words about unread messages for a toy that plays messages itself.
    pub(super) async fn unread_in_words(
        &self,
        toy: &ToyId,
        language: &'static Language,
    ) -> Result<String, DomainError> {
        let party = Party::from(toy.clone());
        if self.rests(&party) {
            return Ok(Line::MessagesLater.text(language));
        }
        let unread = self.store.unread_messages(&party, 1).await?;
        let Some(first) = unread.first() else { return Ok(Line::NoMessages.text(language)) };
        let friends = self.store.friends(&party).await?;
        Ok(Line::MessageFrom(remark_of(&first.message, &friends).unwrap_or_default()).text(language))
    }

    /// Notes what a device has fetched, of which is unknown whether it was heard: a message is delivered, a reminder is
    /// deleted.
    pub async fn note_fetched(&self, toy: &ToyId, done: &Done) -> Result<(), DomainError> {
        match done {
            Done::Reminder(id) => self.note_reminded(toy, id).await,
            Done::Message { message, .. } => match self.mark_delivered(&Party::from(toy.clone()), message).await {
                // It was erased meanwhile.
                Err(DomainError::UnknownMessage) => Ok(()),
                marked => marked,
            },
        }
    }

    /// Notes what a device has played to its end: a message is read, a reminder is deleted.
    pub async fn note_told(&self, toy: &ToyId, done: &Done) -> Result<(), DomainError> {
        match done {
            Done::Reminder(id) => self.note_reminded(toy, id).await,
            Done::Message { friend, message } => {
                match self.mark_read(&Party::from(toy.clone()), friend, Some(message)).await {
                    // It was erased meanwhile, or the friendship has ended.
                    Err(DomainError::UnknownMessage | DomainError::UnknownChat) => Ok(()),
                    marked => marked,
                }
            }
        }
    }
}

/// Messages with the name of their friend before the first of each.
fn told(
    messages: impl IntoIterator<Item = Message>,
    friends: &[Friend],
    language: &'static Language,
) -> Result<Vec<Told>, DomainError> {
    let (mut told, mut last) = (Vec::new(), None);
    for message in messages {
        if last.as_ref() != Some(&message.from) {
            let name = remark_of(&message, friends).unwrap_or_default();
            told.push(Told::Text { text: Line::MessagesFrom(name).text(language), language });
        }
        let friend = message.from.id().parse().map_err(DomainError::internal)?;
        told.push(Told::Recording(message.sound));
        told.push(Told::Done(Done::Message { friend, message: message.id }));
        last = Some(message.from);
    }
    Ok(told)
}

fn remark_of<'a>(message: &Message, friends: &'a [Friend]) -> Option<&'a str> {
    friends.iter().find(|friend| friend.party == message.from).map(|friend| friend.remark.as_str())
}
