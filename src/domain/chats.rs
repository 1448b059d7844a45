//! Voice messages: from one friend to another, heard or not.

use super::error::DomainError;
use super::{FileKind, Hub, Upload};
use crate::model::{
    ChatId, Event, FileName, Friend, Message, MessageId, MessageState, Party, PartyId, PartyKind, Timestamp, UserId,
};
use crate::ports::store::{NewMessage, Unheard};

/// Unheard messages that one call gives; the rest stay unheard.
const RECEIVE_MAX: usize = 200;

/// A message that was accepted.
#[derive(Debug)]
pub struct Sent {
    /// The message.
    pub message: MessageId,
    /// The recording as it is stored, of `/get_chat/`.
    pub sound: FileName,
    /// The spoken notice, of `/get_chat/`; none where nothing can be spoken.
    pub notice: Option<FileName>,
    /// What kind of party receives it.
    pub receiver: PartyKind,
}

impl Hub {
    /// Sends a recording to a friend: stored and synced when this returns, then told live.
    ///
    /// Errors: `NotFriends` (also where there is no such party), `NotSound`, `EmptyRecording`,
    /// `RecordingTooLong`, `RateLimited`, `Busy`. After an error nothing is kept.
    pub async fn send_recording(
        &self,
        from: &Party,
        to: &PartyId,
        upload: Upload,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        self.rates.uploads.spend(&from.to_string())?;
        let (receiver, entry) = self.friends_both_ways(from, to).await?;
        // A recording that is sent again has the name of the first time, by which its message is known.
        let known = match &upload.identity {
            Some(identity) => Some(self.secret_name("up", "mp3", &[identity, to.as_str().as_bytes()])?),
            None => None,
        };
        if let Some(sound) = &known
            && let Some((message, notice)) = self.store.message_of_sound(sound).await?
        {
            return Ok(Sent { message: message.id, sound: message.sound, notice, receiver: receiver.kind() });
        }
        let mp3 = self.convert(upload).await?;
        let notice = self.notice(&entry.remark).await;
        let sound = known.clone().unwrap_or_else(|| FileName::random("mp3"));
        self.files.put(FileKind::Chat, &sound, mp3).await.map_err(DomainError::internal)?;
        let message = match self.deliver(from, &receiver, sound.clone(), notice.clone(), now).await {
            Ok(message) => message,
            // Where the name is known, a message that came at the same time may have it.
            Err(error) if known.is_some() => return Err(error),
            Err(error) => {
                if let Err(error) = self.files.delete(FileKind::Chat, &sound).await {
                    tracing::warn!(%error, "recording of a refused message not removed");
                }
                return Err(error);
            }
        };
        Ok(Sent { message, sound, notice, receiver: receiver.kind() })
    }

    /// The friend of this id, and the sender's entry in the friend's address book. Errors: `NotFriends`.
    pub(super) async fn friends_both_ways(&self, from: &Party, to: &PartyId) -> Result<(Party, Friend), DomainError> {
        let receiver = self.store.friend(from, to).await?.ok_or(DomainError::NotFriends)?.party;
        let sender_id = from.id().parse().map_err(DomainError::internal)?;
        let entry = self.store.friend(&receiver, &sender_id).await?.ok_or(DomainError::NotFriends)?;
        Ok((receiver, entry))
    }

    /// Keeps a message whose sound is stored, and tells its receiver.
    pub(super) async fn deliver(
        &self,
        from: &Party,
        receiver: &Party,
        sound: FileName,
        notice: Option<FileName>,
        now: Timestamp,
    ) -> Result<MessageId, DomainError> {
        let id = MessageId::random();
        let new = NewMessage {
            id: id.clone(),
            from: from.clone(),
            to: receiver.clone(),
            sound: sound.clone(),
            notice: notice.clone(),
        };
        let kept = self.store.add_message(new, now).await?;
        let event =
            Event::Message { id: id.clone(), from: from.clone(), chat: kept.chat, sound, notice, created_at: now };
        self.announce(receiver, &event, kept.receiver_seq).await;
        Ok(id)
    }

    /// The last `limit` messages of a chat with how far they have come, oldest first (those before `before`); all are
    /// heard thereby.
    ///
    /// Errors: `UnknownChat`, also for a chat of others.
    pub async fn history(
        &self,
        reader: &UserId,
        chat: &ChatId,
        limit: usize,
        before: Option<Timestamp>,
    ) -> Result<Vec<(Message, MessageState)>, DomainError> {
        let reader = Party::User(reader.clone());
        let (messages, heard) = self.store.read_chat(&reader, chat, limit, before).await?;
        self.announce_heard(&reader, heard).await;
        Ok(messages)
    }

    /// The unheard messages of one sender, oldest first, which are heard thereby.
    ///
    /// Of `from`, or where that one has nothing unheard, of the sender who waits longest.
    pub async fn receive(&self, receiver: &Party, from: Option<&PartyId>) -> Result<Vec<Message>, DomainError> {
        let (messages, heard) = self.store.take_unheard(receiver, from, RECEIVE_MAX).await?;
        self.announce_heard(receiver, heard).await;
        Ok(messages)
    }

    /// What a returning party is told first: its unheard messages, oldest first, at most `limit`.
    pub(super) async fn unheard_events(&self, party: &Party, limit: usize) -> Result<Vec<Event>, DomainError> {
        let event = |Unheard { message, chat, notice }| Event::Message {
            id: message.id,
            from: message.from,
            chat,
            sound: message.sound,
            notice,
            created_at: message.created_at,
        };
        Ok(self.store.unheard(party, limit).await?.into_iter().map(event).collect())
    }
}
