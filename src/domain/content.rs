//! The content library, the hub's own sounds and pictures, and the permission to download files.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use image::ImageFormat;

use super::error::DomainError;
use super::own_sounds::is_own;
use super::places::Origin;
use super::voice::NOTICE_PREFIX;
use super::{FileKind, Hub, StoredFile};
use crate::config::{AuthMode, SpokenFormat};
use crate::model::{Content, ContentId, FileName, Party, PartyId, Secret, Timestamp};
use crate::ports::audio;
use crate::ports::files::{ANSWER_PREFIX, media_type};
use crate::ports::store::PartiesOfSound;

/// The maximum number of pieces in a list.
const LIST_MAX: usize = 10_000;

/// The built-in pictures.
const AVATARS: [(&str, &[u8]); 3] = [
    ("baba.jpg", include_bytes!("avatars/baba.jpg")),
    ("mama.jpg", include_bytes!("avatars/mama.jpg")),
    ("toy.jpg", include_bytes!("avatars/toy.jpg")),
];

/// A piece for the library.
#[derive(Debug)]
pub struct NewContent {
    /// Its title.
    pub title: String,
    /// The sound, in any format of recordings. It is stored as MP3, which every toy plays.
    pub sound: Bytes,
    /// The picture: JPEG or PNG.
    pub cover: Bytes,
    /// The name of the sound's file, for pages that know it; a random one if none is given. If it ends as the format of
    /// the sound does, such as M4A, the sound is stored in that format.
    pub name: Option<FileName>,
}

impl Hub {
    /// Stores the avatars and the hub's own sounds if they are missing.
    pub async fn prepare_own_files(&self) -> Result<(), DomainError> {
        for (name, picture) in AVATARS {
            let name = avatar(name)?;
            if self.files.find(FileKind::Image, &name).await.map_err(DomainError::internal)?.is_none() {
                let picture = Bytes::from_static(picture);
                self.files.put(FileKind::Image, &name, picture).await.map_err(DomainError::internal)?;
            }
        }
        self.prepare_own_sounds().await
    }

    /// The library, oldest first.
    pub async fn content(&self) -> Result<Vec<Content>, DomainError> {
        Ok(self.store.content(LIST_MAX).await?)
    }

    /// Adds a piece. Errors: `Invalid` (also for a name that is taken, or does not fit the sound), `DiskFull`, and those
    /// of a recording that cannot be decoded.
    pub async fn add_content(&self, new: NewContent, now: Timestamp) -> Result<Content, DomainError> {
        self.check_room((new.sound.len() + new.cover.len()) as u64)?;
        let title = self.checked_text("title", new.title)?;
        let picture = match image::guess_format(&new.cover) {
            Ok(ImageFormat::Jpeg) => "jpg",
            Ok(ImageFormat::Png) => "png",
            _ => return Err(DomainError::invalid("cover", "must be a JPEG or a PNG picture")),
        };
        let decoded = self.decode_content(&new.sound).await?;
        let duration = decoded.duration();
        let wanted = new.name.as_ref().map_or(media_type("mp3"), |name| media_type(name.extension()));
        let (extension, sound) = match audio::extension_of(&new.sound) {
            Some(extension) if extension == "mp3" || media_type(extension) == wanted => (extension, new.sound),
            _ => ("mp3", self.encode(decoded, SpokenFormat::Mp3).await?),
        };
        let music = match new.name {
            None => FileName::random(extension),
            Some(name) => self.checked_name(name, extension).await?,
        };
        let content = Content { id: ContentId::random(), title, music, cover: FileName::random(picture) };
        let of_command = vec![(FileKind::Music, content.music.clone()), (FileKind::Image, content.cover.clone())];
        let note = self.files.begin(content.id.as_str(), of_command).await.map_err(DomainError::internal)?;
        self.keep_music(&content.music, sound).await?;
        self.files.put(FileKind::Image, &content.cover, new.cover).await.map_err(DomainError::internal)?;
        self.store.add_content(&content, now).await?;
        self.store.set_music_seconds(&content.music, duration.as_secs_f64()).await?;
        self.files.finish(note).await.map_err(DomainError::internal)?;
        Ok(content)
    }

    /// A name that pages know, for a new sound. Errors: `Invalid`.
    async fn checked_name(&self, name: FileName, extension: &str) -> Result<FileName, DomainError> {
        if media_type(name.extension()) != media_type(extension) {
            return Err(DomainError::invalid(
                "--name",
                format!("must end with .{extension}, as the sound is stored in that format"),
            ));
        }
        if is_own(&name) || self.store.is_music(&name).await? {
            return Err(name_is_taken());
        }
        Ok(name)
    }

    /// Stores the sound of a new piece. Errors: `Invalid` for a name that another command has taken meanwhile.
    async fn keep_music(&self, name: &FileName, sound: Bytes) -> Result<(), DomainError> {
        if self.files.put_new(FileKind::Music, name, sound.clone()).await.map_err(DomainError::internal)? {
            return Ok(());
        }
        // A file that nobody has added to the library.
        if self.store.is_music(name).await? {
            return Err(name_is_taken());
        }
        self.files.put(FileKind::Music, name, sound).await.map_err(DomainError::internal)
    }

    /// The most bytes of a sound or picture of the library, which is read into memory.
    pub fn content_max_bytes(&self) -> u64 {
        self.config.audio.content_max_bytes
    }

    /// How long stored music plays, in seconds. Of a piece that an older version has added it is found out once.
    pub(super) async fn music_seconds(&self, music: &FileName) -> Result<f64, DomainError> {
        if let Some(seconds) = self.store.music_seconds(music).await? {
            return Ok(seconds);
        }
        let file = self.stored_file(FileKind::Music, music).await?;
        let content = self.files.read_whole(&file).await.map_err(DomainError::internal)?;
        let seconds = self.decode_content(&content).await?.duration().as_secs_f64();
        self.store.set_music_seconds(music, seconds).await?;
        Ok(seconds)
    }

    /// A stored file, if the caller may download it. Errors: `UnknownFile`, `Unauthorized`.
    ///
    /// A recording can be downloaded by its two parties and the guardians of a toy: with a token of one of them, or
    /// from a place of one of them where `[auth] mode` permits calls without a token. The signature of a link permits
    /// the same as a token of the link's party.
    pub async fn open_file(
        &self,
        kind: FileKind,
        name: &FileName,
        token: Option<&Secret>,
        signature: Option<&str>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<StoredFile, DomainError> {
        let (mode, from) = (self.config.auth.mode, from.into());
        let linked = match signature.filter(|_| kind == FileKind::Chat) {
            Some(signature) => self.party_of_link(name, signature, now).await?,
            None => None,
        };
        // Before the files are looked at: a stranger learns nothing of them, and causes no request to a bucket.
        let login = match (kind, token) {
            (FileKind::Chat, _) if linked.is_some() => None,
            (FileKind::Chat, Some(token)) => {
                Some(self.token_party(token, now).await?.ok_or(DomainError::Unauthorized)?)
            }
            (FileKind::Chat, None) if mode == AuthMode::Token => return Err(DomainError::Unauthorized),
            (FileKind::Chat, None) if mode == AuthMode::Place => {
                self.authorize_anybody(None, from, now).await?;
                None
            }
            _ => None,
        };
        let (asked, name) = (name, &self.recorded_name(kind, name).await?);
        let file = self.stored_file(kind, name).await?;
        match (&linked, &login) {
            (Some(party), _) => self.check_linked(party, name).await?,
            (None, Some(party)) => self.check_listener(party, name).await?,
            (None, None) if kind == FileKind::Chat && mode == AuthMode::Place => {
                self.check_place_of_listener(name, from, now).await?;
            }
            (None, None) => {}
        }
        if let Some(party) = linked.or(login) {
            self.note_listening(&party, kind, name, now).await;
        }
        self.as_asked(asked, name, file).await
    }

    /// The file of the asked name: the recording itself, or an MP3 of it.
    async fn as_asked(&self, asked: &FileName, name: &FileName, file: StoredFile) -> Result<StoredFile, DomainError> {
        if asked == name { Ok(file) } else { self.made_of(name, &file).await }
    }

    /// Refuses a link to a recording that the link's party may no longer download, or whose message was erased. Errors:
    /// `UnknownFile`.
    async fn check_linked(&self, party: &Party, name: &FileName) -> Result<(), DomainError> {
        let is_permitted = match self.store.parties_of_sound(name).await? {
            Some(of_sound) => self.may_listen(party, &of_sound).await?,
            None => {
                let prefix = name.as_str().split_once('-').map(|(prefix, _)| prefix);
                prefix.is_some_and(|prefix| [NOTICE_PREFIX, ANSWER_PREFIX].contains(&prefix))
            }
        };
        if is_permitted { Ok(()) } else { Err(DomainError::UnknownFile) }
    }

    /// Whether the address is a place of one of the two parties of a recording. Errors: `Unauthorized`.
    async fn check_place_of_listener(&self, name: &FileName, from: Origin, now: Timestamp) -> Result<(), DomainError> {
        let Some(of_sound) = self.store.parties_of_sound(name).await? else {
            // A notice belongs to no chat. Its name cannot be guessed, like that of a recording.
            return self.authorize_anybody(None, from, now).await;
        };
        let parties = &of_sound.parties;
        let mut listeners: Vec<PartyId> = parties.iter().filter_map(|id| id.parse().ok()).collect();
        for toy in parties.iter().filter_map(|id| id.parse().ok()) {
            let guardians = self.guardians(&toy).await?;
            listeners.extend(guardians.iter().filter_map(|user| user.as_str().parse().ok()));
        }
        for id in &listeners {
            match self.authorize(id, None, from, now).await {
                Ok(party) if self.may_listen(&party, &of_sound).await? => return Ok(()),
                Ok(_) | Err(DomainError::Unauthorized | DomainError::UnknownParty | DomainError::Erased) => {}
                Err(error) => return Err(error),
            }
        }
        Err(DomainError::Unauthorized)
    }

    /// A stored file, for a party that has logged in. Errors: `UnknownFile`.
    pub(super) async fn open_file_as(
        &self,
        party: &Party,
        kind: FileKind,
        name: &FileName,
    ) -> Result<StoredFile, DomainError> {
        let recorded = self.recorded_name(kind, name).await?;
        if kind == FileKind::Chat {
            self.check_listener(party, &recorded).await?;
        }
        let file = self.stored_file(kind, &recorded).await?;
        self.as_asked(name, &recorded, file).await
    }

    pub(super) async fn stored_file(&self, kind: FileKind, name: &FileName) -> Result<StoredFile, DomainError> {
        let found = self.files.find(kind, name).await.map_err(DomainError::internal)?;
        found.ok_or(DomainError::UnknownFile)
    }

    async fn check_listener(&self, party: &Party, name: &FileName) -> Result<(), DomainError> {
        match self.store.parties_of_sound(name).await? {
            Some(of_sound) if !self.may_listen(party, &of_sound).await? => Err(DomainError::UnknownFile),
            // A notice belongs to no chat. Its name cannot be guessed.
            _ => Ok(()),
        }
    }

    /// Whether a party may download the recordings of a chat: the two parties of the chat may, unless the other one is
    /// a toy that is no longer a friend, and so may the guardians of a toy; but not one that has erased the message for
    /// itself.
    async fn may_listen(&self, listener: &Party, of_sound: &PartiesOfSound) -> Result<bool, DomainError> {
        if of_sound.is_hidden_from(listener.id()) {
            return Ok(false);
        }
        let parties = &of_sound.parties;
        if parties.iter().any(|id| id == listener.id()) {
            let other = of_sound.other_than(listener.id()).and_then(|id| id.parse::<PartyId>().ok());
            let Some(other) = other else { return Ok(true) };
            if self.store.is_friend(listener, &other).await? {
                return Ok(true);
            }
            return Ok(!matches!(self.store.party(&other).await?, Some((Party::Toy(_), _))));
        }
        let Party::User(user) = listener else { return Ok(false) };
        for toy in parties.iter().filter_map(|id| id.parse().ok()) {
            if self.is_guardian(user, &toy).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The bytes `range` of a file, as a stream.
    pub async fn read_file(
        &self,
        file: &StoredFile,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, DomainError> {
        self.files.read(file, range).await.map_err(DomainError::internal)
    }
}

fn name_is_taken() -> DomainError {
    DomainError::invalid("--name", "is the name of another sound of the hub")
}

/// The name of a built-in picture.
pub(super) fn avatar(name: &str) -> Result<FileName, DomainError> {
    name.parse().map_err(DomainError::internal)
}
