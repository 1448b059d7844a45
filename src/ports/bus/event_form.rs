//! The form of events on the bus. Fields may be added; a hub of another version ignores those that it does not know.

use serde::{Deserialize, Serialize};

use crate::model::{
    ChildWords, Event, FileName, Malformed, MessageState, Party, PlayedSound, ReminderKind, ToyCommand,
};

/// An event, with ids, names and words as texts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum EventForm {
    Message { id: String, from: String, chat: String, sound: String, notice: Option<String>, at: f64 },
    PlayMusic { from: String, sound: String },
    PlayChat { from: String, sound: String },
    Command { word: String },
    Reminder { id: String, kind: String, words: String, due: f64, sound: Option<String> },
    FriendRequest { id: String, requester: String, requestee: String },
    Erased {},
    FriendAdded { friend: String, chat: String },
    FriendRemoved { friend: String, chat: String },
    ToyWantsIn { toy: String, place: String },
    ToyOpened { toy: String, place: String },
    Delivered { up_to: String, chat: String, by: String },
    Heard { up_to: String, chat: String, by: String },
    Read { friend: String, chat: String, unread: u64 },
}

impl From<&Event> for EventForm {
    fn from(event: &Event) -> Self {
        let name = |sound: &Option<FileName>| sound.as_ref().map(FileName::to_string);
        match event {
            Event::Message { id, from, chat, sound, notice, created_at } => Self::Message {
                id: id.to_string(),
                from: from.to_string(),
                chat: chat.to_string(),
                sound: sound.to_string(),
                notice: name(notice),
                at: *created_at,
            },
            Event::Play { from, sound: PlayedSound::Music(sound) } => {
                Self::PlayMusic { from: from.to_string(), sound: sound.to_string() }
            }
            Event::Play { from, sound: PlayedSound::Chat(sound) } => {
                Self::PlayChat { from: from.to_string(), sound: sound.to_string() }
            }
            Event::Command(command) => Self::Command { word: command.as_str().to_owned() },
            Event::Reminder { id, kind, words, due, sound } => Self::Reminder {
                id: id.to_string(),
                kind: kind.as_str().to_owned(),
                words: words.0.clone(),
                due: *due,
                sound: name(sound),
            },
            Event::FriendRequest { id, requester, requestee } => Self::FriendRequest {
                id: id.to_string(),
                requester: requester.to_string(),
                requestee: requestee.to_string(),
            },
            Event::Erased => Self::Erased {},
            Event::FriendAdded { friend, chat } => {
                Self::FriendAdded { friend: friend.to_string(), chat: chat.to_string() }
            }
            Event::FriendRemoved { friend, chat } => {
                Self::FriendRemoved { friend: friend.to_string(), chat: chat.to_string() }
            }
            Event::ToyWantsIn { toy, place } => Self::ToyWantsIn { toy: toy.to_string(), place: place.clone() },
            Event::ToyOpened { toy, place } => Self::ToyOpened { toy: toy.to_string(), place: place.clone() },
            Event::Receipt { state, up_to, chat, by } => {
                let (up_to, chat, by) = (up_to.to_string(), chat.to_string(), by.to_string());
                match state {
                    MessageState::Heard => Self::Heard { up_to, chat, by },
                    MessageState::Sent | MessageState::Delivered => Self::Delivered { up_to, chat, by },
                }
            }
            Event::Read { friend, chat, unread } => {
                Self::Read { friend: friend.to_string(), chat: chat.to_string(), unread: *unread }
            }
        }
    }
}

impl TryFrom<EventForm> for Event {
    type Error = Malformed;

    fn try_from(form: EventForm) -> Result<Self, Malformed> {
        let name = |sound: Option<String>| sound.map(|sound| sound.parse::<FileName>()).transpose();
        let receipt = |state, up_to: String, chat: String, by: String| -> Result<Event, Malformed> {
            Ok(Event::Receipt { state, up_to: up_to.parse()?, chat: chat.parse()?, by: by.parse()? })
        };
        Ok(match form {
            EventForm::Message { id, from, chat, sound, notice, at } => Event::Message {
                id: id.parse()?,
                from: from.parse::<Party>()?,
                chat: chat.parse()?,
                sound: sound.parse()?,
                notice: name(notice)?,
                created_at: at,
            },
            EventForm::PlayMusic { from, sound } => {
                Event::Play { from: from.parse()?, sound: PlayedSound::Music(sound.parse()?) }
            }
            EventForm::PlayChat { from, sound } => {
                Event::Play { from: from.parse()?, sound: PlayedSound::Chat(sound.parse()?) }
            }
            EventForm::Command { word } => {
                let all = [ToyCommand::Stop, ToyCommand::Louder, ToyCommand::Softer];
                let known = all.into_iter().find(|command| command.as_str() == word);
                Event::Command(known.ok_or(Malformed("a command is stop, louder or softer"))?)
            }
            EventForm::Reminder { id, kind, words, due, sound } => Event::Reminder {
                id: id.parse()?,
                kind: ReminderKind::of_word(&kind).ok_or(Malformed("a reminder has a kind"))?,
                words: ChildWords(words),
                due,
                sound: name(sound)?,
            },
            EventForm::FriendRequest { id, requester, requestee } => {
                Event::FriendRequest { id: id.parse()?, requester: requester.parse()?, requestee: requestee.parse()? }
            }
            EventForm::Erased {} => Event::Erased,
            EventForm::FriendAdded { friend, chat } => {
                Event::FriendAdded { friend: friend.parse()?, chat: chat.parse()? }
            }
            EventForm::FriendRemoved { friend, chat } => {
                Event::FriendRemoved { friend: friend.parse()?, chat: chat.parse()? }
            }
            EventForm::ToyWantsIn { toy, place } => Event::ToyWantsIn { toy: toy.parse()?, place },
            EventForm::ToyOpened { toy, place } => Event::ToyOpened { toy: toy.parse()?, place },
            EventForm::Delivered { up_to, chat, by } => receipt(MessageState::Delivered, up_to, chat, by)?,
            EventForm::Heard { up_to, chat, by } => receipt(MessageState::Heard, up_to, chat, by)?,
            EventForm::Read { friend, chat, unread } => {
                Event::Read { friend: friend.parse()?, chat: chat.parse()?, unread }
            }
        })
    }
}
