//! What a streaming device plays: packets that are made while it plays.
//!
//! A text is spoken sentence by sentence, and music is decoded second by second, always on the workers for sound. Nothing is
//! made before the device's edge asks for it, so that an interrupted story costs nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::decision::Then;
use crate::domain::error::DomainError;
use crate::domain::toy_voices::Spoken;
use crate::domain::{AMR, FileKind, Hub};
use crate::model::{FileName, MessageId, Party, PartyId, ReminderId, Timestamp, ToyId};
use crate::ports::audio::{self, AudioError, OPUS_OUT_HZ, OPUS_OUT_MS, OggWriter, OpusWriter, Player, Sound};
use crate::ports::reply::Sentences;
use crate::ports::speech::languages::Language;

/// Music is made in pieces of so many seconds.
const PIECE_S: u32 = 1;
/// Bytes of a stored sound that are read into memory: some hours of MP3.
const SOUND_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// A sentence is not divided before so many letters: short parts sound torn.
const SENTENCE_MIN_LETTERS: usize = 12;

/// A piece of what is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The sentence, where the piece is one.
    pub text: Option<String>,
    /// Packets of Opus, each of [`PACKET_MS`] at [`PACKETS_HZ`] in one channel.
    pub packets: Vec<Bytes>,
    /// What is done once all pieces up to this one were played.
    pub done: Option<Done>,
}

/// What is done once a device has played it to its end, by [`Hub::note_told`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A message of a friend.
    Message {
        /// The friend.
        friend: PartyId,
        /// The message.
        message: MessageId,
    },
    /// A reminder.
    Reminder(ReminderId),
}

/// The duration of a packet, in milliseconds.
pub const PACKET_MS: u32 = OPUS_OUT_MS;
/// The sample rate of a packet, in Hz.
pub const PACKETS_HZ: u32 = OPUS_OUT_HZ;

/// The pieces, in their order. After an error there is none.
pub type Telling = BoxStream<'static, Result<Piece, DomainError>>;

/// What is told.
pub(super) enum Told {
    /// A text.
    Text { text: String, language: &'static Language },
    /// A reply to these words.
    Reply { said: String, language: &'static Language },
    /// Music of the library, of `/get_music/`, from so many seconds after its beginning on.
    Music { music: FileName, from_s: f64 },
    /// A recording, of `/get_chat/`.
    Recording(FileName),
    /// A sound in memory.
    Sound(Bytes),
    /// Nothing: what was told before is done.
    Done(Done),
}

/// The rest of what is told.
struct Rest {
    hub: Arc<Hub>,
    toy: ToyId,
    source: Source,
    /// What is told after that.
    later: VecDeque<Told>,
    /// Done when the first piece was made.
    then: Then,
    now: Timestamp,
}

enum Source {
    Sentences {
        rest: Sentences,
        voice: Spoken,
        writer: Box<OpusWriter>,
    },
    Playing {
        player: Box<Player>,
        /// The music, and up to where it was made, in seconds; none of a recording.
        place: Option<(FileName, f64)>,
    },
    /// The next one of `later` begins.
    Ended,
}

/// Begins to tell some things, one after the other. Nothing is made yet.
pub(super) fn tell(hub: Arc<Hub>, toy: ToyId, told: Vec<Told>, then: Then, now: Timestamp) -> Telling {
    let rest = Rest { hub, toy, source: Source::Ended, later: told.into(), then, now };
    let pieces = stream::unfold(rest, |mut rest| async move {
        let piece = rest.next().await.transpose()?;
        if piece.is_err() {
            rest.source = Source::Ended;
            rest.later.clear();
        }
        Some((piece, rest))
    });
    pieces.boxed()
}

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePiece {
    /// Its bytes; none where only something is done.
    pub bytes: Bytes,
    /// The packets of sound in it and in the pieces before it.
    pub packets: usize,
    /// What is done once all pieces up to this one were fetched.
    pub done: Option<Done>,
    /// Whether it is the last one.
    pub is_last: bool,
}

/// What is told as an Ogg file, in pieces that are made while it is fetched. After an error there is none.
pub fn in_a_file(telling: Telling) -> BoxStream<'static, Result<FilePiece, DomainError>> {
    let (writer, beginning) = OggWriter::new(rand::random());
    let first = FilePiece { bytes: beginning, packets: 0, done: None, is_last: false };
    let rest = stream::unfold((telling, Some(writer), 0), |(mut telling, mut writer, mut packets)| async move {
        let open = writer.as_mut()?;
        let piece = match telling.next().await {
            Some(Ok(piece)) => {
                packets += piece.packets.len();
                let bytes = open.write(piece.packets);
                Ok(FilePiece { bytes, packets, done: piece.done, is_last: false })
            }
            Some(Err(error)) => {
                writer = None;
                Err(error)
            }
            None => Ok(FilePiece { bytes: writer.take()?.end(), packets, done: None, is_last: true }),
        };
        Some((piece, (telling, writer, packets)))
    });
    stream::once(async move { Ok(first) }).chain(rest).boxed()
}

impl Rest {
    /// The next piece; none at the end.
    async fn next(&mut self) -> Result<Option<Piece>, DomainError> {
        let Some(piece) = self.make().await? else { return Ok(None) };
        let then = std::mem::replace(&mut self.then, Then::Nothing);
        self.hub.follow(&self.toy, then, self.now).await?;
        if !piece.packets.is_empty() {
            let seconds = f64::from(PACKET_MS) * piece.packets.len() as f64 / 1000.0;
            self.hub.count_seconds(&self.toy, seconds, self.now).await;
        }
        Ok(Some(piece))
    }

    async fn make(&mut self) -> Result<Option<Piece>, DomainError> {
        loop {
            match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Sentences { mut rest, voice, writer } => {
                    let Some(sentence) = rest.next().await else { continue };
                    let sentence = sentence.map_err(DomainError::internal)?;
                    let sound = match self.hub.synthesise(&sentence, &voice).await {
                        Ok(sound) => Some(sound),
                        // Of punctuation alone.
                        Err(DomainError::Internal(cause)) if is_without_words(cause.as_ref()) => None,
                        Err(error) => return Err(error),
                    };
                    let Some(sound) = sound else {
                        self.source = Source::Sentences { rest, voice, writer };
                        continue;
                    };
                    let (packets, writer) = encode(&self.hub, &self.toy, sound, writer).await?;
                    self.source = Source::Sentences { rest, voice, writer };
                    return Ok(Some(Piece { text: Some(sentence), packets, done: None }));
                }
                Source::Playing { mut player, mut place } => {
                    let party = Party::from(self.toy.clone());
                    let job = move || player.next(PIECE_S).map(|packets| (packets, player));
                    let made = self.hub.audio_workers.run_of(&party, job).await?;
                    let (packets, player) = made.map_err(DomainError::internal)?;
                    let memory = &self.hub.assistant.memory;
                    if packets.is_empty() {
                        if place.is_some() {
                            memory.set_place(&self.toy, None, self.now);
                        }
                        continue;
                    }
                    if let Some((_, at_s)) = &mut place {
                        *at_s += f64::from(PACKET_MS) * packets.len() as f64 / 1000.0;
                        memory.set_place(&self.toy, place.clone(), self.now);
                    }
                    self.source = Source::Playing { player, place };
                    return Ok(Some(Piece { text: None, packets, done: None }));
                }
                Source::Ended => {
                    let Some(told) = self.later.pop_front() else { return Ok(None) };
                    if let Told::Done(done) = told {
                        return Ok(Some(Piece { text: None, packets: Vec::new(), done: Some(done) }));
                    }
                    self.source = begin(&self.hub, &self.toy, told).await?;
                }
            }
        }
    }
}

async fn begin(hub: &Hub, toy: &ToyId, told: Told) -> Result<Source, DomainError> {
    Ok(match told {
        Told::Text { text, language } => {
            spoken(hub, toy, stream::iter(sentences(&text).into_iter().map(Ok)).boxed(), language)?
        }
        Told::Reply { said, language } => {
            spoken(hub, toy, Arc::clone(&hub.assistant.replies).sentences(said, language), language)?
        }
        Told::Music { music, from_s } => {
            let player = open(hub, toy, FileKind::Music, &music, from_s).await?;
            Source::Playing { player, place: Some((music, from_s)) }
        }
        Told::Recording(sound) => {
            Source::Playing { player: open(hub, toy, FileKind::Chat, &sound, 0.0).await?, place: None }
        }
        Told::Sound(sound) => Source::Playing { player: play(hub, toy, sound, 0.0).await?, place: None },
        Told::Done(_) => Source::Ended,
    })
}

fn spoken(hub: &Hub, toy: &ToyId, rest: Sentences, language: &'static Language) -> Result<Source, DomainError> {
    let voice = hub.spoken_to(&Party::from(toy.clone()), language);
    let writer = Box::new(OpusWriter::new().map_err(DomainError::internal)?);
    Ok(Source::Sentences { rest, voice, writer })
}

/// The packets of a sentence. It ends with a packet: the next one may take a while.
async fn encode(
    hub: &Hub,
    toy: &ToyId,
    sound: Sound,
    mut writer: Box<OpusWriter>,
) -> Result<(Vec<Bytes>, Box<OpusWriter>), DomainError> {
    let job = move || {
        let mut packets = Vec::new();
        writer.write(&audio::resample(&sound, PACKETS_HZ)?.samples, &mut packets)?;
        writer.flush(&mut packets)?;
        Ok::<_, AudioError>((packets, writer))
    };
    let made = hub.audio_workers.run_of(&Party::from(toy.clone()), job).await?;
    made.map_err(DomainError::internal)
}

/// A player of a stored sound, from so many seconds after its beginning on.
async fn open(
    hub: &Hub,
    toy: &ToyId,
    kind: FileKind,
    name: &FileName,
    from_s: f64,
) -> Result<Box<Player>, DomainError> {
    let mut file = hub.stored_file(kind, name).await?;
    if kind == FileKind::Chat && name.extension() == AMR {
        file = hub.made_of(name, &file).await?;
    }
    if file.size > SOUND_MAX_BYTES {
        return Err(DomainError::UploadTooLarge { max_bytes: SOUND_MAX_BYTES });
    }
    let sound = hub.files.read_whole(&file).await.map_err(DomainError::internal)?;
    play(hub, toy, sound, from_s).await
}

async fn play(hub: &Hub, toy: &ToyId, sound: Bytes, from_s: f64) -> Result<Box<Player>, DomainError> {
    let opened = hub.audio_workers.run_of(&Party::from(toy.clone()), move || Player::open_at(sound, from_s)).await?;
    Ok(Box::new(opened.map_err(DomainError::internal)?))
}

fn is_without_words(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(crate::ports::speech::SpeakError::Audio(AudioError::Empty)))
}

/// The sentences of a text, with their punctuation. Short ones stay with the next.
fn sentences(text: &str) -> Vec<String> {
    let (mut found, mut sentence) = (Vec::new(), String::new());
    let mut letters = text.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        sentence.push(letter);
        let is_end = match letter {
            '。' | '！' | '？' => true,
            '.' | '!' | '?' => letters.peek().is_none_or(|next| next.is_whitespace()),
            _ => false,
        };
        if is_end && sentence.chars().filter(|letter| letter.is_alphanumeric()).count() >= SENTENCE_MIN_LETTERS {
            found.push(std::mem::take(&mut sentence).trim().to_owned());
        }
    }
    if !sentence.trim().is_empty() {
        found.push(sentence.trim().to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_divided_into_sentences_that_are_not_torn() {
        for (text, expected) in [
            ("", vec![]),
            ("  ", vec![]),
            (
                "It is 3.5 metres long. And Mr. Bear is asleep!",
                vec!["It is 3.5 metres long.", "And Mr. Bear is asleep!"],
            ),
            ("Yes! It is nice to hear you. Bye", vec!["Yes! It is nice to hear you.", "Bye"]),
            (
                "现在是下午三点十五分，太阳很好。我们去公园玩吧",
                vec!["现在是下午三点十五分，太阳很好。", "我们去公园玩吧"],
            ),
        ] {
            assert_eq!(sentences(text), expected, "{text}");
        }
    }
}
