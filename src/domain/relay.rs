//! Play requests of legacy clients: a party sends a friend the name of a sound to play.

use super::error::DomainError;
use super::{FileKind, Hub};
use crate::model::{Event, FileName, Party, PartyId, PlayedSound, Timestamp};

impl Hub {
    /// Publishes a play request to a friend. It is not stored: an offline friend does not get it.
    ///
    /// A recording that was sent to the friend, and its notice, were published already, and are not published again. A
    /// toy that rests, and a receiver that has muted the sender, are treated as offline. Errors: `NotFriends` (also for
    /// an unknown party), `Forbidden` for content that is not approved for the toy, `RateLimited`, `StoredFull`.
    pub async fn pass_on(
        &self,
        from: &Party,
        to: &PartyId,
        sound: PlayedSound,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let (receiver, entry) = self.friends_both_ways(from, to).await?;
        if let PlayedSound::Chat(name) = &sound
            && self.was_published(from, &receiver, name, &entry.remark).await?
        {
            return Ok(());
        }
        let (PlayedSound::Music(name) | PlayedSound::Chat(name)) = &sound;
        if !self.may_play(&receiver, name).await? {
            // A client may also send the name of music as that of a recording.
            if matches!(sound, PlayedSound::Music(_)) || self.is_music(name).await? {
                return Err(DomainError::Forbidden);
            }
        }
        let (kind, name) = match &sound {
            PlayedSound::Music(name) => (FileKind::Music, name),
            PlayedSound::Chat(name) => (FileKind::Chat, name),
        };
        let stored = match self.open_file_as(from, kind, name).await {
            Ok(file) => Some(file),
            Err(DomainError::UnknownFile) => None,
            Err(error) => return Err(error),
        };
        let is_silent = entry.is_muted || self.rests(&receiver);
        match stored {
            Some(file) if !self.router.online(&receiver) || is_silent => {
                self.rates.uploads.spend(&from.to_string())?;
                self.check_stored_with(from, file.size).await?;
                let copy = self.new_recording_name(from, name.extension())?;
                let content = self.files.read_whole(&file).await.map_err(DomainError::internal)?;
                let notice = self.notice(&receiver, &entry.remark).await;
                let claimed = self.put_sound(copy, content).await?;
                self.deliver(from, (&receiver, Some(entry.chat)), &claimed, notice, None, now).await?;
                self.note_stored(from, file.size);
                Ok(())
            }
            None if is_silent => Ok(()),
            _ => {
                if let Party::Toy(toy) = &receiver {
                    match &sound {
                        PlayedSound::Music(name) => self.count_music(toy, name, now).await,
                        PlayedSound::Chat(name) => self.count_sounds(toy, vec![name.clone()], now).await,
                    }
                }
                self.announce(&receiver, &Event::Play { from: from.clone(), sound }, None).await;
                Ok(())
            }
        }
    }

    /// Whether a piece of the library has this name, or a file of music.
    async fn is_music(&self, name: &FileName) -> Result<bool, DomainError> {
        if self.store.is_music(name).await? {
            return Ok(true);
        }
        Ok(self.files.find(FileKind::Music, name).await.map_err(DomainError::internal)?.is_some())
    }

    /// Whether `name` is a recording from one to the other, or its notice.
    async fn was_published(
        &self,
        from: &Party,
        receiver: &Party,
        name: &FileName,
        remark: &str,
    ) -> Result<bool, DomainError> {
        if self.notices_of(&[remark]).await?.contains(name) {
            return Ok(true);
        }
        let name = &self.recorded_name(FileKind::Chat, name).await?;
        let Some((message, _)) = self.store.message_of_sound(name).await? else { return Ok(false) };
        let Some(of_sound) = self.store.parties_of_sound(name).await? else { return Ok(false) };
        let is_to_receiver = of_sound.parties.iter().any(|id| id == receiver.id());
        Ok(message.from == *from && is_to_receiver && !of_sound.is_hidden_from(receiver.id()))
    }
}
