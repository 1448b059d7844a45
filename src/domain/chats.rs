//! Voice messages: from one friend to another, heard or not.
//!
//! **A recording that comes again.** A client that got no answer, or an unclear one, sends its recording again. The
//! sound's name is made from the recording's bytes, its sender, its receiver and a span of time (`chats.retry_window_s`),
//! so that the second attempt finds the message of the first by it: there is one message, and both get the same answer,
//! also across a crash of the hub. Two recordings by a microphone never have the same bytes; what is sent on purpose a
//! second time, such as a canned greeting, is a new message after the window.

use super::error::DomainError;
use super::sounds::Claimed;
use super::{FileKind, Hub, Recording, Upload};
use crate::model::{
    ChatId, Event, FileName, Friend, Message, MessageId, MessageState, Party, PartyId, Sent, Timestamp, ToyId, UserId,
};
use crate::ports::store::{Before, Kept, NewMessage, Refusal, Repeats, StoreError, Unheard};

/// Unheard messages that one call gives; the rest stay unheard.
const RECEIVE_MAX: usize = 200;

impl Hub {
    /// Sends a recording to a friend: stored and synced when this returns, then announced live.
    ///
    /// Errors: `NotFriends` (also where there is no such party), `NotSound`, `EmptyRecording`,
    /// `RecordingTooLong`, `RateLimited`, `StoredFull`, `Busy`; after these there is no message. `OutcomeUnknown`: there may be one,
    /// which the same recording, sent again, finds. A sound that no message has is swept later ([`super::housekeeping`]).
    pub async fn send_recording(
        &self,
        from: &Party,
        to: &PartyId,
        recording: impl Into<Recording>,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        self.use_once(from, recording.into(), |upload| self.send_upload(from, to, upload, now)).await
    }

    /// Sends something urgent from a guardian to its toy, whose quiet hours are lifted for it. Errors: as of
    /// [`Self::send_recording`]; `Forbidden` for anybody else, and for a receiver that is no toy.
    pub async fn send_emergency(
        &self,
        guardian: &UserId,
        toy: &PartyId,
        recording: impl Into<Recording>,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        let from = &Party::User(guardian.clone());
        let send = |upload| async move {
            self.wake_for_emergency(guardian, toy, now).await?;
            self.send_upload(from, toy, upload, now).await
        };
        self.use_once(from, recording.into(), send).await
    }

    async fn send_upload(
        &self,
        from: &Party,
        to: &PartyId,
        upload: Upload,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        self.rates.uploads.spend(&from.to_string())?;
        let (receiver, entry) = self.friends_both_ways(from, to).await?;
        let (sound, repeats) = self.name_recording(from, to, &upload, now)?;
        if let Some(repeats) = &repeats
            && let Some(kept) = self.store.repeated(from, &receiver, repeats).await?
        {
            self.announce_message(from, &receiver, &kept).await;
            return Ok(sent(kept, &receiver));
        }
        self.check_stored(from).await?;
        let mp3 = self.convert(from, upload).await?;
        let bytes = mp3.len() as u64;
        self.check_stored_with(from, bytes).await?;
        let notice = self.notice(&entry.remark).await;
        let claimed = self.put_sound(sound, mp3).await?;
        let kept = match self.deliver(from, &receiver, &claimed, notice, repeats, now).await {
            Err(DomainError::NotFriends) => {
                // The friendship has ended meanwhile, or the receiver was erased: nothing is kept.
                let name = claimed.name().clone();
                drop(claimed);
                self.delete_refused(&name).await?;
                return Err(self.not_friends(from, to));
            }
            kept => kept?,
        };
        self.note_stored(from, bytes);
        Ok(sent(kept, &receiver))
    }

    /// The name of a recording's sound, and what an earlier attempt to send it may have called it.
    fn name_recording(
        &self,
        from: &Party,
        to: &PartyId,
        upload: &Upload,
        now: Timestamp,
    ) -> Result<(FileName, Option<Repeats>), DomainError> {
        let identity = upload.identity(self.config.chats.retry_window_s);
        if identity.window_s == 0 {
            return Ok((self.new_recording_name(from, "mp3")?, None));
        }
        let window = identity.window_s as Timestamp;
        let span = (now / window).floor() as i64;
        let prefix = self.recording_prefix(from);
        let name = |span: i64| {
            let (from, to, span) = (from.to_string(), to.as_str(), span.to_be_bytes());
            self.secret_name(&prefix, "mp3", &[&identity.digest, from.as_bytes(), b"\0", to.as_bytes(), &span])
        };
        // The attempt before may have begun in the span before; one that is being done began at another moment, too.
        let sounds = vec![name(span)?, name(span.saturating_sub(1))?, name(span.saturating_add(1))?];
        let repeats = Repeats { since: now - window, sounds };
        Ok((repeats.sounds[0].clone(), Some(repeats)))
    }

    /// Stores a sound for a message. It is not swept before what is returned is dropped.
    pub(super) async fn put_sound(&self, name: FileName, content: bytes::Bytes) -> Result<Claimed, DomainError> {
        let claimed = self.sounds.send(&name)?;
        self.files.put(FileKind::Chat, &name, content).await.map_err(DomainError::internal)?;
        Ok(claimed)
    }

    /// The friend of this id, and the sender's entry in the friend's address book. Errors: `NotFriends`.
    pub(super) async fn friends_both_ways(&self, from: &Party, to: &PartyId) -> Result<(Party, Friend), DomainError> {
        let receiver = self.store.friend(from, to).await?.ok_or_else(|| self.not_friends(from, to))?.party;
        let sender_id = from.id().parse().map_err(DomainError::internal)?;
        let entry = self.store.friend(&receiver, &sender_id).await?.ok_or(DomainError::NotFriends)?;
        Ok((receiver, entry))
    }

    /// Keeps a message whose sound is stored, and announces it to its receiver. Errors: `OutcomeUnknown`.
    pub(super) async fn deliver(
        &self,
        from: &Party,
        receiver: &Party,
        sound: &Claimed,
        notice: Option<FileName>,
        repeats: Option<Repeats>,
        now: Timestamp,
    ) -> Result<Kept, DomainError> {
        let new = NewMessage {
            id: MessageId::random(),
            from: from.clone(),
            to: receiver.clone(),
            sound: sound.name().clone(),
            notice,
            repeats,
        };
        let kept = self.store.add_message(new, now).await.map_err(DomainError::of_change)?;
        self.announce_message(from, receiver, &kept).await;
        Ok(kept)
    }

    /// Announces a message that waits to be heard. One that an earlier attempt has kept may not have been announced
    /// before: that attempt may have ended just then. Receivers drop repeats by its id.
    async fn announce_message(&self, from: &Party, receiver: &Party, kept: &Kept) {
        if !kept.is_announced || self.rests(receiver) {
            return;
        }
        let event = Event::Message {
            id: kept.id.clone(),
            from: from.clone(),
            chat: kept.chat.clone(),
            sound: kept.sound.clone(),
            notice: kept.notice.clone(),
            created_at: kept.created_at,
        };
        self.announce(receiver, &event, kept.receiver_seq).await;
    }

    /// The last `limit` messages of a chat with how far they have come, oldest first (those before `before`); all are
    /// heard thereby.
    ///
    /// A guardian of a toy sees the chats of that toy, too; nothing of them is heard thereby. Errors: `UnknownChat`, also
    /// for a chat of others.
    pub async fn history(
        &self,
        reader: &UserId,
        chat: &ChatId,
        limit: usize,
        before: Before,
    ) -> Result<Vec<(Message, MessageState)>, DomainError> {
        let party = Party::User(reader.clone());
        match self.store.read_chat(&party, chat, limit, before).await {
            Ok((messages, heard)) => {
                self.announce_heard(&party, heard).await;
                Ok(messages)
            }
            Err(StoreError::Refused(Refusal::UnknownChat)) => {
                let toy = self.guarded_toy_of_chat(reader, chat).await?.ok_or(DomainError::UnknownChat)?;
                Ok(self.store.look_at_chat(&toy, chat, limit, before).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The toy of which a user is a guardian, among the two of a chat.
    async fn guarded_toy_of_chat(&self, user: &UserId, chat: &ChatId) -> Result<Option<ToyId>, DomainError> {
        let parties = self.store.parties_of_chat(chat).await?.unwrap_or_default();
        for toy in parties.iter().filter_map(|id| id.parse().ok()) {
            if self.is_guardian(user, &toy).await? {
                return Ok(Some(toy));
            }
        }
        Ok(None)
    }

    /// The unheard messages of one sender, oldest first, which are heard thereby.
    ///
    /// Of `from`, or where that one has nothing unheard, of the sender who waits longest. None in a toy's quiet hours.
    pub async fn receive(&self, receiver: &Party, from: Option<&PartyId>) -> Result<Vec<Message>, DomainError> {
        if self.rests(receiver) {
            return Ok(Vec::new());
        }
        let (messages, marked) = self.store.take_unheard(receiver, from, RECEIVE_MAX).await?;
        for heard in marked {
            self.announce_heard(receiver, Some(heard)).await;
        }
        Ok(messages)
    }

    /// What a returning party is told first: its unheard messages, but for those of muted friends, oldest first, at most
    /// `limit`.
    pub(super) async fn unheard_events(
        &self,
        party: &Party,
        limit: usize,
    ) -> Result<Vec<(Event, Option<u64>)>, DomainError> {
        if self.rests(party) {
            return Ok(Vec::new());
        }
        let event = |Unheard { message, chat, notice, event_seq }| {
            let Message { id, from, sound, created_at, .. } = message;
            (Event::Message { id, from, chat, sound, notice, created_at }, event_seq)
        };
        Ok(self.store.unheard_aloud(party, limit).await?.into_iter().map(event).collect())
    }
}

fn sent(kept: Kept, receiver: &Party) -> Sent {
    Sent { message: kept.id, sound: kept.sound, notice: kept.notice, receiver: receiver.kind() }
}
