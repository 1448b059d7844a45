//! Uploaded recordings, and the hub's own speech synthesis.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::error::DomainError;
use super::toy_voices::Spoken;
use super::{AMR, FileKind, Hub, StoredFile};
use crate::config::{self, SpokenFormat, seconds};
use crate::model::{FileName, Party, PartyId, PartyKind, UploadName};
use crate::ports::audio::{self, AudioError, DecodeLimits, Ffmpeg, Place, Sound};
use crate::ports::files::{Received, Spooled};
use crate::ports::metrics::METRICS;
use crate::ports::space::Space;
use crate::ports::speech::languages::{Language, Line};
use crate::ports::speech::{SpeakError, Voice};

/// The prefix of the names of spoken notices, before a hyphen.
pub(super) const NOTICE_PREFIX: &str = "say";

/// The beginning of the names of recordings.
const RECORDING_PREFIX: &str = "up-";

/// A recording that is being received. Dropping it deletes its file.
pub struct Upload {
    spooled: Spooled,
    space: Arc<Space>,
    max_bytes: u64,
    bytes: Sha256,
    /// The name that its sender gave it, with the sender and the time for which it may be sent again, in seconds.
    named: Option<(String, u64)>,
}

/// The identity by which a repeated recording is recognised.
pub(super) struct Identity {
    /// The same for the same recording.
    pub(super) digest: [u8; 32],
    /// The time for which it may be sent again, in seconds; 0 if every recording is a new one.
    pub(super) window_s: u64,
}

/// The limits of decoding a recording.
pub fn decode_limits(audio: &config::Audio) -> DecodeLimits {
    DecodeLimits {
        max_seconds: audio.recording_max_s,
        cpu_max: seconds(audio.decode_cpu_max_s),
        ffmpeg: (!audio.ffmpeg.is_empty()).then(|| Ffmpeg {
            program: audio.ffmpeg.as_str().into(),
            timeout: seconds(audio.ffmpeg_timeout_s),
            memory_max_bytes: audio.ffmpeg_memory_max_bytes,
        }),
    }
}

impl Upload {
    /// Appends the next piece. Errors: `UploadTooLarge`, `DiskFull`, `Internal`.
    pub async fn write(&mut self, chunk: &Bytes) -> Result<(), DomainError> {
        if self.spooled.size() + chunk.len() as u64 > self.max_bytes {
            return Err(DomainError::UploadTooLarge { max_bytes: self.max_bytes });
        }
        self.space.take(chunk.len() as u64)?;
        self.bytes.update(chunk);
        self.spooled.write(chunk).await.map_err(DomainError::internal)
    }

    /// Sets the name that its sender, `party`, gave it. Under this name it may be sent again for `window_s` seconds.
    pub(super) fn set_name(&mut self, party: &Party, name: &UploadName, window_s: u64) {
        self.named = Some((format!("{party}/{}", name.as_str()), window_s));
    }

    /// Its identity. A recording without a name from its sender may be sent again for `window_s` seconds.
    pub(super) fn identity(&self, window_s: u64) -> Identity {
        let (name, window_s) = match &self.named {
            Some((name, window_s)) => (name.as_str(), *window_s),
            None => ("", window_s),
        };
        let digest = self.bytes.clone().chain_update([0]).chain_update(name).finalize();
        Identity { digest: digest.into(), window_s }
    }

    /// Bytes received.
    pub fn size(&self) -> u64 {
        self.spooled.size()
    }

    /// Its bytes, if it is an undamaged recording of AMR of at most so many seconds, and in memory.
    pub(super) fn amr(&self, seconds_max: u32) -> Option<Bytes> {
        let bytes = self.spooled.in_memory()?;
        let is_short = audio::duration_of_amr(bytes)? <= seconds(u64::from(seconds_max));
        is_short.then(|| Bytes::copy_from_slice(bytes))
    }

    /// Ends it. Errors: `EmptyRecording`.
    async fn finish(self) -> Result<Received, DomainError> {
        if self.size() == 0 {
            return Err(DomainError::EmptyRecording);
        }
        self.spooled.finish().await.map_err(DomainError::internal)
    }
}

fn decode_received(received: &Received, limits: &DecodeLimits) -> Result<Sound, AudioError> {
    METRICS.decode.time(|| audio::decode(place_of(received), limits))
}

fn place_of(received: &Received) -> Place<'_> {
    match received {
        Received::Memory { bytes, spool, .. } => Place::Memory(bytes.clone(), spool),
        Received::File(path) => Place::File(path),
    }
}

impl Hub {
    /// Begins to receive a recording of at most `max_bytes`. Errors: `DiskFull`.
    pub async fn begin_upload(&self, max_bytes: u64) -> Result<Upload, DomainError> {
        self.check_room(0)?;
        let spooled = self.files.spool().await.map_err(DomainError::internal)?;
        Ok(Upload { spooled, space: Arc::clone(&self.space), max_bytes, bytes: Sha256::new(), named: None })
    }

    /// Decodes an upload. It is then deleted, or moved to `kept`.
    pub(super) async fn decode(
        &self,
        party: &Party,
        upload: Upload,
        kept: Option<PathBuf>,
    ) -> Result<Sound, DomainError> {
        let (received, limits) = (upload.finish().await?, self.decode_limits());
        let job = move || {
            let sound = decode_received(&received, &limits)?;
            if let Some(kept) = kept {
                kept.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                received.keep(&kept)?;
            }
            Ok(sound)
        };
        let sound = self.audio_workers.run_of(party, job).await?;
        sound.map_err(|error| self.audio_error(error))
    }

    /// Converts an upload of a party to MP3.
    pub(super) async fn convert(&self, party: &Party, upload: Upload) -> Result<Bytes, DomainError> {
        let (received, limits) = (upload.finish().await?, self.decode_limits());
        let bitrate = self.config.audio.mp3_bitrate_kbps;
        let job = move || {
            let sound = decode_received(&received, &limits)?;
            drop(received);
            METRICS.encode.time(|| audio::encode_mp3(&sound, bitrate))
        };
        let encoded = self.audio_workers.run_of(party, job).await?;
        encoded.map_err(|error| self.audio_error(error))
    }

    /// The MP3 of a recording that is stored as it came: made on the first demand, by one request for all that ask for it
    /// meanwhile. Errors: `UnknownFile` if the recording was erased; `Busy`.
    pub(super) async fn made_of(&self, name: &FileName, recording: &StoredFile) -> Result<StoredFile, DomainError> {
        let found = || async { self.files.find_made(name).await.map_err(DomainError::internal) };
        if let Some(made) = found().await? {
            return Ok(made);
        }
        let _turn = self.made.of(name.clone()).await;
        if let Some(made) = found().await? {
            return Ok(made);
        }
        let bytes = self.files.read_whole(recording).await.map_err(DomainError::internal)?;
        let (limits, bitrate) = (self.decode_limits(), self.config.audio.mp3_bitrate_kbps);
        let job = move || audio::encode_mp3(&audio::decode_bytes(bytes, &limits)?, bitrate);
        let mp3 = self.audio_workers.run(job).await?.map_err(|error| self.audio_error(error))?;
        self.files.put_made(name, mp3).await.map_err(DomainError::internal)?;
        if self.files.find(FileKind::Chat, name).await.map_err(DomainError::internal)?.is_none() {
            // It was erased meanwhile.
            self.files.delete_made(name).await.map_err(DomainError::internal)?;
        }
        found().await?.ok_or(DomainError::UnknownFile)
    }

    /// The name under which a recording of a message is stored: one that is stored as it came is asked for as MP3, too.
    pub(super) async fn recorded_name(&self, kind: FileKind, name: &FileName) -> Result<FileName, DomainError> {
        let is_recording = name.as_str().starts_with(RECORDING_PREFIX);
        if kind != FileKind::Chat || name.extension() != "mp3" || !is_recording {
            return Ok(name.clone());
        }
        let as_it_came = name.with_extension(AMR);
        let is_there = self.files.is_any(kind, std::slice::from_ref(&as_it_came)).await;
        Ok(if is_there.map_err(DomainError::internal)? { as_it_came } else { name.clone() })
    }

    /// Encodes a sound of the hub.
    pub(super) async fn encode(&self, sound: Sound, format: SpokenFormat) -> Result<Bytes, DomainError> {
        let bitrate = self.config.audio.mp3_bitrate_kbps;
        let job = move || match format {
            SpokenFormat::Mp3 => audio::encode_mp3(&sound, bitrate),
            SpokenFormat::Wav => audio::encode_wav(&sound),
        };
        let encoded = self.audio_workers.run(job).await?;
        encoded.map_err(|error| self.audio_error(error))
    }

    fn decode_limits(&self) -> DecodeLimits {
        decode_limits(&self.config.audio)
    }

    fn audio_error(&self, error: AudioError) -> DomainError {
        match error {
            AudioError::NotSound
            | AudioError::Damaged(_)
            | AudioError::Excessive(_)
            | AudioError::TooCostly
            | AudioError::Unsupported(_) => DomainError::NotSound,
            AudioError::Empty => DomainError::EmptyRecording,
            AudioError::TooLong { max_seconds } => DomainError::RecordingTooLong { max_seconds },
            error @ (AudioError::Encode(_) | AudioError::Io(_)) => DomainError::internal(error),
        }
    }

    /// Decodes a piece of the library, as a recording is decoded, with wider limits: a piece may last hours, and comes
    /// from the operator.
    pub(super) async fn decode_content(&self, content: &Bytes) -> Result<Sound, DomainError> {
        let cpu_max = seconds(self.config.audio.content_cpu_max_s);
        let mut limits = DecodeLimits { max_seconds: u32::from(u16::MAX), cpu_max, ..self.decode_limits() };
        if let Some(ffmpeg) = &mut limits.ffmpeg {
            ffmpeg.timeout = cpu_max;
        }
        self.decode_bytes(content, limits).await
    }

    /// Decodes a recording of the operator.
    pub(super) async fn decode_own(&self, recording: &Bytes) -> Result<Sound, DomainError> {
        if recording.is_empty() {
            return Err(DomainError::EmptyRecording);
        }
        self.decode_bytes(recording, self.decode_limits()).await
    }

    async fn decode_bytes(&self, bytes: &Bytes, limits: DecodeLimits) -> Result<Sound, DomainError> {
        let mut spooled = self.files.spool().await.map_err(DomainError::internal)?;
        spooled.write(bytes).await.map_err(DomainError::internal)?;
        let received = spooled.finish().await.map_err(DomainError::internal)?;
        let sound = self.audio_workers.run(move || audio::decode(place_of(&received), &limits)).await?;
        sound.map_err(|error| self.audio_error(error))
    }

    /// A spoken "messages from …" for a receiver's friend. Errors: `NotFriends`, and those of speech synthesis.
    pub async fn spoken_notice(&self, receiver: &Party, from: &PartyId) -> Result<FileName, DomainError> {
        let entry = self.store.friend(receiver, from).await?.ok_or(DomainError::NotFriends)?;
        self.speak(receiver, &Line::MessagesFrom(&entry.remark)).await
    }

    /// The kind of a party's friend; none if there is no such friend.
    pub async fn kind_of_friend(&self, party: &Party, friend: &PartyId) -> Result<Option<PartyKind>, DomainError> {
        Ok(self.store.friend(party, friend).await?.map(|entry| entry.party.kind()))
    }

    /// A spoken "you have no new messages" for a party.
    pub async fn spoken_nothing_new(&self, receiver: &Party) -> Result<FileName, DomainError> {
        self.speak(receiver, &Line::NoMessages).await
    }

    /// The notice for `receiver` of a message from a friend with this remark; none if speech synthesis fails, as the
    /// message is sent without it then.
    pub(super) async fn notice(&self, receiver: &Party, remark: &str) -> Option<FileName> {
        match METRICS.notice.time_of(self.speak(receiver, &Line::MessageFrom(remark))).await {
            Ok(name) => Some(name),
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the notice of a message could not be synthesised");
                None
            }
        }
    }

    /// The names of the notices that may have been spoken for some remarks, in all voices.
    pub(super) async fn notices_of(&self, remarks: &[impl AsRef<str>]) -> Result<Vec<FileName>, DomainError> {
        let language = self.family_language();
        let lines =
            remarks.iter().map(AsRef::as_ref).flat_map(|name| [Line::MessageFrom(name), Line::MessagesFrom(name)]);
        let lines: Vec<String> = lines.map(|line| line.text(language)).collect();
        let all = self.all_spoken(language).await?;
        let names =
            all.iter().flat_map(|spoken| lines.iter().map(|text| self.spoken_name(NOTICE_PREFIX, spoken, text)));
        names.collect()
    }

    /// The language of notices and opening sounds. An answer to a child is in the language of the question.
    pub(super) fn family_language(&self) -> &'static Language {
        Language::of_family(&self.config.speech.languages)
    }

    /// Loads the voices of Piper for the hub's languages. Without them, espeak-ng speaks, and the log says so.
    pub async fn prepare_voices(&self) {
        self.look_for_toy_voices();
        let voices: Vec<Voice<'_>> =
            self.spoken_languages().flat_map(|language| [self.voice(language), language.code.into()]).collect();
        self.speaker.prepare(&voices).await;
    }

    /// The voice for a language. The voice of the settings is for the families' language, or for all languages with a
    /// program other than espeak-ng; for another language, the first voice of Piper, or espeak-ng's default voice.
    pub(super) fn voice(&self, language: &'static Language) -> Voice<'_> {
        let speech = &self.config.speech;
        let is_own = language.code == self.family_language().code || !speech.synthesiser_arguments.is_empty();
        let name = if is_own && !speech.voice.is_empty() { &speech.voice } else { language.voice };
        Voice { name, instead: language.voice, speed_percent: 100 }
    }

    /// Synthesises a line for a party in the families' language once, and stores the sound, of `/get_chat/`.
    ///
    /// The name depends on the hub's secret, so that a client cannot find out whether a text was ever synthesised.
    async fn speak(&self, receiver: &Party, line: &Line<'_>) -> Result<FileName, DomainError> {
        let language = self.family_language();
        let (text, spoken) = (line.text(language), self.spoken_to(receiver, language));
        let name = self.spoken_name(NOTICE_PREFIX, &spoken, &text)?;
        if self.is_spoken(&name).await? {
            return Ok(name);
        }
        // Concurrent messages with the same notice wait for the one that speaks it.
        let _turn = self.notices.of(name.clone()).await;
        if self.is_spoken(&name).await? {
            return Ok(name);
        }
        let sound = self.speak_for_toys(&text, &spoken).await?;
        self.files.put(FileKind::Chat, &name, sound).await.map_err(DomainError::internal)?;
        Ok(name)
    }

    async fn is_spoken(&self, name: &FileName) -> Result<bool, DomainError> {
        self.files.is_any(FileKind::Chat, std::slice::from_ref(name)).await.map_err(DomainError::internal)
    }

    /// The name of a spoken text, which differs for each voice and pace.
    pub(super) fn spoken_name(&self, prefix: &str, spoken: &Spoken, text: &str) -> Result<FileName, DomainError> {
        let (speech, voice) = (&self.config.speech, &spoken.voice);
        let (program, arguments) = (&speech.synthesiser, speech.synthesiser_arguments.join("\0"));
        let mut settings = format!("\0{voice}\0{}\0{program}\0{arguments}\0", speech.words_per_minute);
        // Sounds of the usual pace, and those of espeak-ng, keep their names.
        if spoken.speed_percent != 100 {
            settings.push_str(&format!("{}%\0", spoken.speed_percent));
        }
        let piper = self.speaker.piper_voices(voice).map(|name| format!("{name}\0")).collect::<String>();
        self.secret_name(prefix, speech.format.extension(), &[settings.as_bytes(), piper.as_bytes(), text.as_bytes()])
    }

    /// The prefix of the names of all recordings of a party, by which they are found when the party is erased. Only the
    /// hub can derive it, by its secret.
    pub(super) fn recording_prefix(&self, party: &Party) -> String {
        let digest = Sha256::new().chain_update(self.secret.reveal()).chain_update(format!("recordings of {party}"));
        format!("{RECORDING_PREFIX}{}", hex::encode(&digest.finalize()[..8]))
    }

    /// A new name for a recording of a party.
    pub(super) fn new_recording_name(&self, party: &Party, extension: &str) -> Result<FileName, DomainError> {
        let (prefix, random) = (self.recording_prefix(party), FileName::random(extension));
        format!("{prefix}-{random}").parse().map_err(DomainError::internal)
    }

    /// A name for a sound that is the same for the same `parts`, and cannot be guessed without the hub's secret.
    pub(super) fn secret_name(&self, prefix: &str, extension: &str, parts: &[&[u8]]) -> Result<FileName, DomainError> {
        let digest = parts
            .iter()
            .fold(Sha256::new().chain_update(self.secret.reveal()), |digest, part| digest.chain_update(part));
        format!("{prefix}-{}.{extension}", hex::encode(&digest.finalize()[..16])).parse().map_err(DomainError::internal)
    }

    /// The spoken text, in the format of the settings.
    pub(super) async fn speak_for_toys(&self, text: &str, spoken: &Spoken) -> Result<Bytes, DomainError> {
        self.encode(self.synthesise(text, spoken).await?, self.config.speech.format).await
    }

    /// A line in a language, as MP3.
    pub(super) async fn speak_as_mp3(
        &self,
        line: &Line<'_>,
        language: &'static Language,
    ) -> Result<Bytes, DomainError> {
        self.encode(self.synthesise(&line.text(language), self.voice(language)).await?, SpokenFormat::Mp3).await
    }

    pub(super) async fn synthesise(&self, text: &str, voice: impl Into<Voice<'_>>) -> Result<Sound, DomainError> {
        self.speaker.speak(text, voice).await.map_err(|error| match error {
            SpeakError::Busy => DomainError::Busy,
            SpeakError::Missing(_) => DomainError::NoSynthesiser,
            error => DomainError::Internal(Box::new(error)),
        })
    }
}

/// An error and its cause, for the log.
fn error_chain(error: &DomainError) -> Arc<str> {
    match error {
        DomainError::Internal(cause) => cause.to_string().into(),
        error => error.to_string().into(),
    }
}
