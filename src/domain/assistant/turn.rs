//! A turn of a child that speaks to a device which streams: packets in as they come, the answer out while it is made.
//!
//! A pause of `[speech] pause_ms` may be the end of the sentence, so recognition begins there, and its result is dropped if
//! the child speaks on. After `end_silence_ms`, or when the client says so, the turn has ended, and mostly the words are
//! known already. What the hub answers is decided only then, as a decision may change something.
//!
//! A turn reads no clock: the packets are its time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::telling::{Told, tell};
use super::{Decided, Decision};
use crate::config::seconds;
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::model::{FileName, Party, ReminderId, Timestamp, ToyId};
use crate::ports::audio::OpusReader;
use crate::ports::speech::languages::{Language, Line};
use crate::ports::speech::{Listener, ListenerSettings, NoTranscript, Progress, Transcript};

pub use super::Spoken;
pub use super::decision::Draft;
pub use super::messages::{NewMessages, UnreadNotice};
pub use super::telling::{Done, FilePiece, PACKET_MS, PACKETS_HZ, Piece, Telling, in_a_file};
pub use crate::ports::audio::Sound;

/// Who says when a sentence has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The hub, by silence.
    Silence,
    /// The client, by [`Turn::stop`].
    Client,
}

/// A part of the sound.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// One packet of Opus, of any duration.
    Opus(&'a [u8]),
    /// Samples of 16 bits, little endian, 16 kHz, one channel.
    Pcm(&'a [u8]),
}

/// What a child said.
#[derive(Debug, Clone)]
pub enum Heard {
    /// These words.
    Words(Spoken),
    /// Something that is not understood.
    Unclear,
    /// Nothing: silence, noise or music.
    Nothing,
}

impl Heard {
    /// The recognised text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Words(spoken) => Some(&spoken.transcript.text),
            Self::Unclear | Self::Nothing => None,
        }
    }
}

/// The answer of the hub to a turn.
pub struct Answered {
    /// What is played.
    pub telling: Telling,
    /// What the hub expects of the next turn.
    pub expected: Expected,
}

/// A turn to which the hub has no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub error: DomainError,
    /// What the hub expects of the next turn: a message that could not be sent is still there.
    pub expected: Expected,
}

impl From<DomainError> for Unanswered {
    fn from(error: DomainError) -> Self {
        Self { error, expected: Expected::Anything }
    }
}

/// What the hub expects of a turn.
#[derive(Debug, Clone, Default)]
pub enum Expected {
    /// Anything.
    #[default]
    Anything,
    /// A message.
    Message {
        /// Its receiver.
        friend: Party,
        /// Whether the child was asked for it twice, as it had said nothing.
        is_last_chance: bool,
    },
    /// Whether to send this message.
    Answer(Draft),
}

impl Expected {
    /// A message to a friend, which the child is asked for once more if it says nothing.
    pub(super) fn message(friend: Party) -> Self {
        Self::Message { friend, is_last_chance: false }
    }
}

type Recognising = Pin<Box<dyn Future<Output = Recognised> + Send>>;
type Recognised = Result<Result<Spoken, NoTranscript>, DomainError>;

/// The recognition of the sound up to the last pause.
enum Guess {
    None,
    Running(Recognising),
    Made(Recognised),
}

/// One turn. It ends once; then a new one begins.
pub struct Turn {
    hub: Arc<Hub>,
    toy: ToyId,
    listener: Listener,
    opus: OpusReader,
    guess: Guess,
    is_stopped: bool,
    _place: OwnedSemaphorePermit,
}

impl Hub {
    /// Begins a turn. Errors: `Busy` if too many devices speak, `NoSpeechModel`.
    pub fn begin_turn(self: &Arc<Self>, toy: &ToyId, ended_by: EndedBy) -> Result<Turn, DomainError> {
        let place = Arc::clone(&self.assistant.turns).try_acquire_owned().map_err(|_| DomainError::Busy)?;
        self.assistant.ears.check()?;
        let speech = &self.config.speech;
        let listener = Listener::new(ListenerSettings {
            pause: Duration::from_millis(speech.pause_ms.min(speech.end_silence_ms)),
            end: (ended_by == EndedBy::Silence).then(|| Duration::from_millis(speech.end_silence_ms)),
            max: seconds(speech.command_max_s.into()),
        });
        let opus = OpusReader::new().map_err(DomainError::internal)?;
        let (hub, toy) = (Arc::clone(self), toy.clone());
        Ok(Turn { hub, toy, listener, opus, guess: Guess::None, is_stopped: false, _place: place })
    }

    /// Decides the answer to what a child said, and begins to speak it. Errors: `RateLimited`, `UnknownParty`.
    pub async fn answer_turn(
        self: &Arc<Self>,
        toy: &ToyId,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<Answered, DomainError> {
        self.rates.uploads.spend(&Party::from(toy.clone()).to_string())?;
        let spoken = match heard {
            Heard::Words(spoken) => Some(spoken),
            Heard::Unclear | Heard::Nothing => None,
        };
        let Decision { decided, language, then } = self.decide(toy, spoken, now).await?;
        let (told, expected) = match decided {
            Decided::Music(music) => (vec![Told::Music { music, from_s: 0.0 }], Expected::Anything),
            Decided::Resumed { music, from_s } => (vec![Told::Music { music, from_s }], Expected::Anything),
            Decided::Text(text) => (vec![Told::Text { text, language }], Expected::Anything),
            Decided::Reply(said) => (vec![Told::Reply { said, language }], Expected::Anything),
            Decided::Messages => (self.unread_to_tell(toy, language).await?, Expected::Anything),
            Decided::StartMessage { friend, prompt } => {
                (vec![Told::Text { text: prompt, language }], Expected::message(friend))
            }
        };
        Ok(Answered { telling: tell(Arc::clone(self), toy.clone(), told, then, now), expected })
    }

    /// What a client says that has a keyboard instead of a microphone.
    pub fn typed(&self, text: String) -> Heard {
        let language = self.family_language().code;
        let seconds = Default::default();
        let (confidence, weakest) = (1.0, 1.0);
        let transcript =
            Transcript { text, language, confidence, weakest, may_lack_words: false, likely: Vec::new(), seconds };
        Heard::Words(transcript.into())
    }

    /// Sends the sound of a turn to a friend, and confirms it. Errors: as of [`Hub::send_recording`].
    pub async fn send_turn(
        self: &Arc<Self>,
        toy: &ToyId,
        friend: &Party,
        sound: Arc<Sound>,
        now: Timestamp,
    ) -> Result<Answered, DomainError> {
        let from = Party::from(toy.clone());
        let wav = self.wav_of(toy, sound).await?;
        let mut upload = self.begin_upload(self.config.http.upload_max_bytes).await?;
        upload.write(&wav).await?;
        let receiver = friend.id().parse().map_err(DomainError::internal)?;
        self.send_recording(&from, &receiver, upload, now).await?;
        Ok(Answered { telling: self.tell_line(toy, &Line::Sent, now), expected: Expected::Anything })
    }

    /// Speaks a line of the hub in the families' language.
    pub fn tell_line(self: &Arc<Self>, toy: &ToyId, line: &Line<'_>, now: Timestamp) -> Telling {
        let language = self.family_language();
        let told = vec![Told::Text { text: line.text(language), language }];
        tell(Arc::clone(self), toy.clone(), told, super::Then::Nothing, now)
    }

    /// Speaks the text of a reminder.
    pub(in crate::domain) fn tell_reminder_text(
        self: &Arc<Self>,
        toy: &ToyId,
        text: String,
        language: &'static Language,
        id: &ReminderId,
        now: Timestamp,
    ) -> Telling {
        let told = vec![Told::Text { text, language }, Told::Done(Done::Reminder(id.clone()))];
        tell(Arc::clone(self), toy.clone(), told, super::Then::Nothing, now)
    }

    /// Plays music, of `/get_music/`. A missing file is an error of its first piece.
    pub fn tell_music(self: &Arc<Self>, toy: &ToyId, music: FileName, now: Timestamp) -> Telling {
        tell(Arc::clone(self), toy.clone(), vec![Told::Music { music, from_s: 0.0 }], super::Then::Nothing, now)
    }
}

impl Turn {
    /// Takes the next packet. One that cannot be decoded is left out. Then [`Self::heard`] has to be called (again).
    pub fn push(&mut self, packet: Packet<'_>) {
        match packet {
            Packet::Opus(packet) => match self.opus.read(packet) {
                Ok(samples) => self.listener.hear(samples),
                Err(error) => tracing::debug!(%error, "a packet of speech is left out"),
            },
            Packet::Pcm(bytes) => {
                let pairs = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                let samples: Vec<f32> = pairs.map(|sample| f32::from(sample) / 32_768.0).collect();
                self.listener.hear(&samples);
            }
        }
        self.follow_listener();
    }

    /// Takes silence that the client has left out. Then [`Self::heard`] has to be called (again).
    pub fn push_silence(&mut self, duration: Duration) {
        self.listener.hear_silence(duration);
        self.follow_listener();
    }

    /// Ends the turn.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Whether speech was noticed.
    pub fn has_begun(&self) -> bool {
        self.listener.has_begun()
    }

    /// Whether nothing more is taken.
    pub fn has_ended(&self) -> bool {
        self.is_stopped || self.listener.progress() == Progress::Ended
    }

    /// The sound of the turn.
    pub fn sound(&self) -> Sound {
        self.listener.sound()
    }

    /// Begins to recognise at a pause, and drops the result if it was none.
    fn follow_listener(&mut self) {
        match (self.listener.progress(), &self.guess) {
            (Progress::Paused, Guess::None) => self.guess = self.begin_guess(),
            (Progress::Speaking, Guess::Running(_) | Guess::Made(_)) => self.guess = Guess::None,
            _ => {}
        }
    }

    fn begin_guess(&self) -> Guess {
        let (hub, toy, sound) = (Arc::clone(&self.hub), self.toy.clone(), self.listener.sound());
        Guess::Running(Box::pin(async move { hub.recognise(&toy, sound).await }))
    }

    /// Waits for the end of the turn, and gives what was said. Cancel-safe. It must be polled for recognition to begin.
    ///
    /// Errors: `Busy`, `NoSpeechModel`.
    pub async fn heard(&mut self) -> Result<Heard, DomainError> {
        std::future::poll_fn(|context| self.poll_heard(context)).await
    }

    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Result<Heard, DomainError>> {
        loop {
            if let Guess::Running(recognising) = &mut self.guess {
                let made = ready!(recognising.as_mut().poll(context));
                self.guess = Guess::Made(made);
            }
            if !self.has_ended() {
                return Poll::Pending;
            }
            match std::mem::replace(&mut self.guess, Guess::None) {
                Guess::Made(recognised) => {
                    return Poll::Ready(recognised.map(|words| match words {
                        Ok(spoken) => Heard::Words(spoken),
                        Err(NoTranscript::NoSpeech) => Heard::Nothing,
                        Err(_) => Heard::Unclear,
                    }));
                }
                Guess::None | Guess::Running(_) => self.guess = self.begin_guess(),
            }
        }
    }
}
