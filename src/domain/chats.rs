//! Voice messages between friends: sending, history and reading.
//!
//! **Repeated recordings.** A client that got no answer, or an unclear one, sends its recording again. The name of the
//! sound is derived from the recording's bytes, its sender, its receiver and a time window (`chats.retry_window_s`).
//! The second attempt finds the message of the first by this name: there is one message, and both attempts get the same
//! answer, even across a crash of the hub. The attempts of one recording take turns, and the database is only asked if the
//! sound of an earlier one is there, or if other hubs use it. Two recordings of a microphone never have the same bytes. A file that is
//! sent again on purpose, such as a canned greeting, is a new message after the window.

use super::error::DomainError;
use super::sounds::Claimed;
use super::{AMR, FileKind, Hub, Recording, Upload};
use crate::model::{
    ChatId, Event, FileName, Friend, Message, MessageId, MessageState, Party, PartyId, PartyKind, Sent, Timestamp,
    ToyId, UserId,
};
use crate::ports::store::{Before, Kept, NewMessage, Refusal, Repeats, StoreError, UnreadMessage};

/// What the attempts to send the same recording have in common: its digest, its sender and its receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Attempt([u8; 32], Party, PartyId);

impl Attempt {
    fn of(from: &Party, to: &PartyId, upload: &Upload) -> Self {
        Self(upload.identity(0).digest, from.clone(), to.clone())
    }
}

impl Hub {
    /// Sends a recording to a friend. It is stored and synced when this returns, and was published to the receiver.
    ///
    /// Errors: `NotFriends` (also for an unknown party), `NotSound`, `EmptyRecording`, `RecordingTooLong`,
    /// `RateLimited`, `StoredFull`, `Busy`; after these there is no message. After `OutcomeUnknown` there may be one,
    /// which a second attempt with the same recording finds. A sound without a message is deleted later
    /// ([`super::housekeeping`]).
    pub async fn send_recording(
        &self,
        from: &Party,
        to: &PartyId,
        recording: impl Into<Recording>,
        now: Timestamp,
    ) -> Result<Sent, DomainError> {
        self.use_once(from, recording.into(), |upload| self.send_upload(from, to, upload, now)).await
    }

    /// Sends an urgent message of a guardian to its toy, and suspends the toy's rest. Errors: as of
    /// [`Self::send_recording`]; `Forbidden` for any other sender, and for a receiver that is not a toy.
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
        let is_kept = self.config.audio.amr_to_toys && receiver.kind() == PartyKind::Toy;
        let amr = if is_kept { upload.amr(self.config.audio.recording_max_s) } else { None };
        let extension = if amr.is_some() { AMR } else { "mp3" };
        let (sound, mut repeats) = self.name_recording(from, to, &upload, extension, now)?;
        let _turn = match &repeats {
            Some(_) => Some(self.attempts.of(Attempt::of(from, to, &upload)).await),
            None => None,
        };
        if let Some(repeats) = &mut repeats {
            repeats.is_first = self.is_first_attempt(repeats).await?;
            if !repeats.is_first
                && let Some(kept) = self.store.repeated(from, &receiver, repeats).await?
            {
                self.announce_message(from, &receiver, &kept).await;
                return Ok(sent(kept, &receiver));
            }
        }
        self.check_stored(from).await?;
        let stored = match amr {
            Some(amr) => amr,
            None => self.convert(from, upload).await?,
        };
        let bytes = stored.len() as u64;
        self.check_stored_with(from, bytes).await?;
        let notice = self.notice(&receiver, &entry.remark).await;
        let claimed = self.put_sound(sound, stored).await?;
        let to_friend = (&receiver, Some(entry.chat));
        let kept = match self.deliver(from, to_friend, &claimed, notice, repeats, now).await {
            Err(DomainError::NotFriends) => {
                // The friendship has ended meanwhile, or the receiver was erased: the sound is deleted.
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

    /// The names of a recording's sound: the current one, and those that earlier attempts may have used.
    fn name_recording(
        &self,
        from: &Party,
        to: &PartyId,
        upload: &Upload,
        extension: &str,
        now: Timestamp,
    ) -> Result<(FileName, Option<Repeats>), DomainError> {
        let identity = upload.identity(self.config.chats.retry_window_s);
        if identity.window_s == 0 {
            return Ok((self.new_recording_name(from, extension)?, None));
        }
        let window = identity.window_s as Timestamp;
        let span = (now / window).floor() as i64;
        let prefix = self.recording_prefix(from);
        let name = |span: i64| {
            let (from, to, span) = (from.to_string(), to.as_str(), span.to_be_bytes());
            self.secret_name(&prefix, extension, &[&identity.digest, from.as_bytes(), b"\0", to.as_bytes(), &span])
        };
        // An earlier attempt may have begun in the window before, and a concurrent one at another moment.
        let sounds = vec![name(span)?, name(span.saturating_sub(1))?, name(span.saturating_add(1))?];
        let repeats = Repeats { since: now - window, sounds, is_first: false };
        Ok((repeats.sounds[0].clone(), Some(repeats)))
    }

    /// Whether a recording was certainly never sent before, in the turn of its attempts: a message is in the database only
    /// after its sound is in the file store, and none of its names is there. The attempts of other hubs take no turns with
    /// those of this one.
    async fn is_first_attempt(&self, repeats: &Repeats) -> Result<bool, DomainError> {
        if self.store.is_on_server() {
            return Ok(false);
        }
        let is_any = self.files.is_any(FileKind::Chat, &repeats.sounds).await;
        Ok(!is_any.map_err(DomainError::internal)?)
    }

    /// Stores a sound for a message. It is not deleted as orphaned before the returned claim is dropped.
    pub(super) async fn put_sound(&self, name: FileName, content: bytes::Bytes) -> Result<Claimed, DomainError> {
        let claimed = self.sounds.send(&name)?;
        self.files.put(FileKind::Chat, &name, content).await.map_err(DomainError::internal)?;
        Ok(claimed)
    }

    /// The friend of this id, and the sender's entry in the friend's address book. Errors: `NotFriends`.
    pub(super) async fn friends_both_ways(&self, from: &Party, to: &PartyId) -> Result<(Party, Friend), DomainError> {
        let (own, theirs) = self.store.friends_both_ways(from, to).await?;
        let receiver = own.ok_or_else(|| self.not_friends(from, to))?.party;
        let entry = theirs.ok_or(DomainError::NotFriends)?;
        Ok((receiver, entry))
    }

    /// Stores a message whose sound is stored, and publishes it to its receiver, whose chat with the sender may be known.
    /// Errors: `OutcomeUnknown`.
    pub(super) async fn deliver(
        &self,
        from: &Party,
        (receiver, chat): (&Party, Option<ChatId>),
        sound: &Claimed,
        notice: Option<FileName>,
        repeats: Option<Repeats>,
        now: Timestamp,
    ) -> Result<Kept, DomainError> {
        let new = NewMessage {
            id: MessageId::random(),
            from: from.clone(),
            to: receiver.clone(),
            chat,
            sound: sound.name().clone(),
            notice,
            repeats,
        };
        let kept = self.store.add_message(new, now).await.map_err(DomainError::of_change)?;
        self.announce_message(from, receiver, &kept).await;
        Ok(kept)
    }

    /// Publishes the event of an unread message. If an earlier attempt stored the message, it may have ended before
    /// publishing, so the event is published again. Receivers drop duplicates by the message's id.
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

    /// The last `limit` messages of a chat (before `before`) with their states, oldest first. All messages are marked
    /// as read.
    ///
    /// A guardian of a toy may read the chats of that toy, too, which marks nothing. Errors: `UnknownChat`, also for a
    /// chat of others.
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
                self.announce_read(&party, heard).await;
                Ok(messages)
            }
            Err(StoreError::Refused(Refusal::UnknownChat)) => {
                let toy = self.guarded_toy_of_chat(reader, chat).await?.ok_or(DomainError::UnknownChat)?;
                Ok(self.store.look_at_chat(&toy, chat, limit, before).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The party of a chat that is a toy of which the user is a guardian.
    async fn guarded_toy_of_chat(&self, user: &UserId, chat: &ChatId) -> Result<Option<ToyId>, DomainError> {
        let parties = self.store.parties_of_chat(chat).await?.unwrap_or_default();
        for toy in parties.iter().filter_map(|id| id.parse().ok()) {
            if self.is_guardian(user, &toy).await? {
                return Ok(Some(toy));
            }
        }
        Ok(None)
    }

    /// Whether the event of a message, which waited in a session, is still published to its receiver: not while a toy
    /// rests (the end of the rest publishes it), not of a muted friend, a former one, or of an erased message.
    pub(super) async fn is_announced(&self, receiver: &Party, message: &MessageId) -> Result<bool, DomainError> {
        if self.rests(receiver) {
            return Ok(false);
        }
        let Some(stored) = self.store.stored_message(message).await? else { return Ok(false) };
        let friend = self.store.friend(receiver, &stored.sender).await?;
        Ok(friend.is_some_and(|friend| !friend.is_muted && friend.chat == stored.chat))
    }

    /// The events that a reconnecting party is sent first: its unread messages, without those of muted friends, oldest
    /// first, at most `limit`.
    pub(super) async fn unread_events_up_to(
        &self,
        party: &Party,
        limit: usize,
    ) -> Result<Vec<(Event, Option<u64>)>, DomainError> {
        if self.rests(party) {
            return Ok(Vec::new());
        }
        Ok(self.store.announced_messages(party, limit).await?.into_iter().map(event_of).collect())
    }

    /// Those of them that follow event `after` of a user's stream.
    pub(super) async fn unread_events_after(
        &self,
        party: &Party,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(Event, Option<u64>)>, DomainError> {
        Ok(self.store.announced_after(party, after, limit).await?.into_iter().map(event_of).collect())
    }
}

/// The event of an unread message, with its number.
fn event_of(unread: UnreadMessage) -> (Event, Option<u64>) {
    let UnreadMessage { message, chat, notice, event_seq } = unread;
    let Message { id, from, sound, created_at, .. } = message;
    (Event::Message { id, from, chat, sound, notice, created_at }, event_seq)
}

fn sent(kept: Kept, receiver: &Party) -> Sent {
    Sent { message: kept.id, sound: kept.sound, notice: kept.notice, receiver: receiver.kind() }
}
