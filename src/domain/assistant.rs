//! Voice commands of children: recognition, execution and answer.
//!
//! [`Hub::ask`] performs all steps for a whole recording: text, intent, decision, and an answer whose sound is stored. A
//! device that streams takes the same steps one by one, and gets the sound while it is made ([`turn`]). The recognised
//! text is passed from one step to the next and then dropped: it is never logged, and stored only for a toy whose
//! guardians wish it (`kept_words`).

mod decision;
mod draft;
mod ears;
mod library;
mod memory;
mod messages;
mod telling;
pub mod turn;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use super::error::DomainError;
use super::{FileKind, Hub, PartState, Recording, Upload, clock};
use crate::config::{self, seconds};
use crate::model::{Answer, Content, Event, FileName, Friend, Party, Question, Reaction, Timestamp, ToyCommand, ToyId};
use crate::ports::audio::Sound;
use crate::ports::files::ANSWER_PREFIX;
use crate::ports::reply::ReplyEngine;
use crate::ports::speech::intent::{self, FriendNames, Intent, Known, Names, Wish};
use crate::ports::speech::languages::{Clock, Language, Line};
use crate::ports::speech::{Clarity, Expectation, NoTranscript, RecogniseError, Recogniser, Transcript};
use decision::{Decided, Decision, Then};
use ears::Ears;
use library::{Library, Mood};
use memory::Memory;

/// Music is continued so many seconds before the place where it was interrupted: some of it was made and not played, and
/// a child has to find its way back.
const REWIND_S: f64 = 5.0;

/// The recogniser and the reply engine, and the short-term memory for each toy.
pub(super) struct Assistant {
    pub(super) ears: Ears,
    replies: Arc<dyn ReplyEngine>,
    memory: Memory,
    /// The library at its last use.
    library: Mutex<Arc<Library>>,
    /// Places for turns of devices that stream.
    turns: Arc<Semaphore>,
}

impl Assistant {
    pub(super) fn new(replies: Arc<dyn ReplyEngine>, config: &config::Speech) -> Self {
        let memory = Memory::new(config.question_timeout_s as Timestamp);
        let ears = Ears::new(config);
        let library = Mutex::new(Arc::new(Library::new(Vec::new())));
        let turns = Arc::new(Semaphore::new(config.turns_max.min(Semaphore::MAX_PERMITS)));
        Self { ears, replies, memory, library, turns }
    }

    /// The library of these contents. Its names are prepared again only after a change.
    fn library(&self, contents: Vec<Content>) -> Arc<Library> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if library.contents() != contents {
            *library = Arc::new(Library::new(contents));
        }
        Arc::clone(&library)
    }
}

/// The data that is needed to answer a toy, read once for each recording.
struct Scene {
    toy: ToyId,
    toy_name: String,
    library: Arc<Library>,
    friends: Vec<Friend>,
    /// The names of the friends' toys, in the same order; empty for a friend that is not a toy.
    friends_toys: Vec<String>,
}

impl Scene {
    /// What the child gets by an answer, and the title or friend that it is about.
    fn reaction(&self, decision: &Decision) -> (Reaction, Option<String>) {
        match &decision.decided {
            Decided::Music(music) | Decided::Resumed { music, .. } => {
                let played = self.library.piece(music);
                (Reaction::Played, played.map(|content| content.title.clone()))
            }
            Decided::StartMessage { friend, .. } => {
                (Reaction::Message, self.friend(friend).map(|entry| entry.remark.clone()))
            }
            Decided::Text(_) | Decided::Reply(_) | Decided::Messages => (Reaction::Answered, None),
        }
    }

    fn friend(&self, party: &Party) -> Option<&Friend> {
        self.friends.iter().find(|friend| friend.party == *party)
    }

    /// The sentences that a recording of the toy is compared with, if its words are no clear command.
    fn expectation(self: Arc<Self>, names_max: usize) -> Expectation {
        Box::new(move |text, code| {
            let language = Language::of(text, code);
            let friends = self.friend_names(language);
            intent::expected(text, self.known(language, &friends), names_max)
        })
    }

    fn friend_names(&self, language: &'static Language) -> Names {
        let names = self.friends.iter().zip(&self.friends_toys).map(|(friend, toy_name)| FriendNames {
            remark: &friend.remark,
            nickname: &friend.nickname,
            toy_name,
        });
        Names::of_friends(language, names)
    }

    /// What words are compared with that were all heard clearly.
    fn known<'a>(&'a self, language: &'static Language, friends: &'a Names) -> Known<'a> {
        let titles = self.library.names(language);
        Known { titles, friends, toy_name: &self.toy_name, clarity: Clarity::Clear, likely: &[] }
    }
}

/// The words of a child.
#[derive(Clone)]
pub struct Spoken {
    pub(super) transcript: Transcript,
    /// What the hub knew of the toy when it recognised them; none if they were typed.
    scene: Option<Arc<Scene>>,
}

// Words must not get into a log: the transcript leaves them out, and names stay out, too.
impl std::fmt::Debug for Spoken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Spoken").field("transcript", &self.transcript).finish_non_exhaustive()
    }
}

impl From<Transcript> for Spoken {
    fn from(transcript: Transcript) -> Self {
        Self { transcript, scene: None }
    }
}

/// A toy, the language in which it is answered, and when.
#[derive(Clone, Copy)]
struct Conversation<'a> {
    scene: &'a Scene,
    language: &'static Language,
    now: Timestamp,
}

impl Hub {
    /// Notes that the configured model is being loaded: recordings wait for it.
    pub fn note_recogniser_loading(&self) {
        self.assistant.ears.begin_loading();
    }

    /// Sets the recogniser: from now on, recordings are recognised.
    pub fn set_recogniser(&self, recogniser: Recogniser) {
        self.assistant.ears.set(recogniser);
    }

    /// Sets the recogniser of the included model, as the configured one could not be loaded.
    pub fn set_recogniser_instead(&self, recogniser: Recogniser) {
        self.assistant.ears.set_instead(recogniser);
    }

    /// Notes that the configured model could not be loaded, so that no recording is recognised.
    pub fn note_recogniser_failed(&self) {
        self.assistant.ears.note_failed();
    }

    pub(super) fn speech_state(&self) -> PartState {
        self.assistant.ears.part()
    }

    /// Ends the recogniser and waits for its threads.
    pub(super) async fn stop_recogniser(&self) {
        let recogniser = self.assistant.ears.turn_off();
        // It only fails if the runtime stops, and then no caller is left.
        let _ = tokio::task::spawn_blocking(move || drop(recogniser)).await;
    }

    /// Recognises a recording of a toy and answers it.
    ///
    /// Errors: `NoSpeechModel` for every recording that can be decoded; `NotSound`, `EmptyRecording`,
    /// `RecordingTooLong`, `RateLimited`, `Busy`; `NoSynthesiser` where the answer is to be spoken. A recording without
    /// speech is answered, too.
    pub async fn ask(
        &self,
        toy: &ToyId,
        recording: impl Into<Recording>,
        now: Timestamp,
    ) -> Result<Answer, DomainError> {
        let party = &Party::from(toy.clone());
        self.use_once(party, recording.into(), |upload| self.answer_once(toy, party, upload, now)).await
    }

    async fn answer_once(
        &self,
        toy: &ToyId,
        party: &Party,
        upload: Upload,
        now: Timestamp,
    ) -> Result<Answer, DomainError> {
        let answer = self.answer_recording(toy, party, upload, now).await?;
        match &answer {
            Answer::Music(music) => self.count_music(toy, music, now).await,
            Answer::Reply(sound) | Answer::StartMessage { prompt: sound, .. } => {
                self.count_sounds(toy, vec![sound.clone()], now).await;
            }
        }
        Ok(answer)
    }

    async fn answer_recording(
        &self,
        toy: &ToyId,
        party: &Party,
        upload: Upload,
        now: Timestamp,
    ) -> Result<Answer, DomainError> {
        self.rates.uploads.spend(&party.to_string())?;
        let is_kept = self.config.speech.keep_ai_recordings;
        let kept = is_kept.then(|| self.config.server.ai_recordings_dir().join(format!("{toy}-{now:.3}")));
        let sound = self.decode(party, upload, kept).await?;
        let heard = self.recognise(toy, sound).await?;
        let decision = self.decide(toy, heard.as_ref().ok(), now).await?;
        self.answer_with_file(toy, decision, now).await
    }

    /// The words of a recording, or why it has none. Errors: `NoSpeechModel`, `RecordingTooLong`, `Busy`.
    async fn recognise(&self, toy: &ToyId, sound: Sound) -> Result<Result<Spoken, NoTranscript>, DomainError> {
        let recogniser = self.assistant.ears.ready().await?;
        let scene = self.scene(toy).await?;
        let expectation = Arc::clone(&scene).expectation(self.config.speech.compare_names_max);
        match recogniser.recognise_expecting(toy.as_str(), sound, Some(expectation)).await {
            Ok(transcript) => Ok(Ok(Spoken { transcript, scene: Some(scene) })),
            Err(RecogniseError::NoTranscript(why)) => Ok(Err(why)),
            Err(RecogniseError::TooLong { max_seconds }) => Err(DomainError::RecordingTooLong { max_seconds }),
            Err(RecogniseError::Busy | RecogniseError::TimedOut) => Err(DomainError::Busy),
            Err(error @ RecogniseError::Failed(_)) => Err(DomainError::internal(error)),
        }
    }

    /// What to answer to these words, or to a recording without any.
    async fn decide(&self, toy: &ToyId, spoken: Option<&Spoken>, now: Timestamp) -> Result<Decision, DomainError> {
        let Some(Spoken { transcript, scene }) = spoken else {
            return Ok(Decision::line(self.family_language(), &Line::NotUnderstood));
        };
        let scene = match scene {
            Some(scene) => Arc::clone(scene),
            None => self.scene(toy).await?,
        };
        let language = Language::of(&transcript.text, transcript.language);
        let decision = self.answer(Conversation { scene: &scene, language, now }, transcript).await?;
        self.keep_words(toy, &transcript.text, scene.reaction(&decision), now).await;
        Ok(decision)
    }

    /// Speaks an answer into a file, for a client that fetches it, and does what follows from the decision.
    async fn answer_with_file(&self, toy: &ToyId, decision: Decision, now: Timestamp) -> Result<Answer, DomainError> {
        let Decision { decided, language, then } = decision;
        let answer = match decided {
            // Such a toy knows itself where it has stopped.
            Decided::Music(music) | Decided::Resumed { music, .. } => Answer::Music(music),
            Decided::Text(text) => Answer::Reply(self.speak_answer(toy, &text, language, now).await?),
            Decided::Reply(said) => {
                let reply = self.assistant.replies.reply(&said, language).await.map_err(DomainError::internal)?;
                Answer::Reply(self.speak_answer(toy, &reply, language, now).await?)
            }
            Decided::Messages => {
                let line = self.unread_in_words(toy, language).await?;
                let reply = Answer::Reply(self.speak_answer(toy, &line, language, now).await?);
                // Such a toy plays messages when their events come.
                self.announce_unread(&Party::from(toy.clone())).await?;
                reply
            }
            Decided::StartMessage { friend, prompt } => {
                Answer::StartMessage { friend, prompt: self.speak_answer(toy, &prompt, language, now).await? }
            }
        };
        self.follow(toy, then, now).await?;
        Ok(answer)
    }

    /// Does what follows once an answer was spoken.
    async fn follow(&self, toy: &ToyId, then: Then, now: Timestamp) -> Result<(), DomainError> {
        match then {
            Then::Nothing => {}
            Then::Ask(question) => self.set_question(toy, *question, now).await?,
            Then::Command(command) => {
                let toy = Party::from(toy.clone());
                // A toy that is offline would get the command when it is out of date.
                if self.router.online(&toy) {
                    self.announce(&toy, &Event::Command(command), None).await;
                }
            }
        }
        Ok(())
    }

    async fn scene(&self, toy: &ToyId) -> Result<Arc<Scene>, DomainError> {
        let toy_name = self.store.toy(toy).await?.ok_or(DomainError::UnknownParty)?.toy_name;
        let friends = self.store.friends(&Party::from(toy.clone())).await?;
        let mut friends_toys = Vec::with_capacity(friends.len());
        for friend in &friends {
            let its_toy = match toy_of(&friend.party) {
                Some(id) => self.store.toy(id).await?,
                None => None,
            };
            friends_toys.push(its_toy.map(|toy| toy.toy_name).unwrap_or_default());
        }
        let library = self.assistant.library(self.content_for(toy).await?);
        Ok(Arc::new(Scene { toy: toy.clone(), toy_name, library, friends, friends_toys }))
    }

    /// Determines the intent of the text, carries it out, and answers.
    async fn answer(&self, talk: Conversation<'_>, heard: &Transcript) -> Result<Decision, DomainError> {
        let Conversation { scene, language, now } = talk;
        let said = heard.text.as_str();
        // What the question is about may be gone meanwhile: then the words are those of another command.
        match self.take_question(&scene.toy, now).await? {
            Some(Question::Title(titles)) => {
                if let [Some(first), Some(second)] = titles.each_ref().map(|title| scene.library.content(title)) {
                    let names = Names::of_titles(language, [first.title.as_str(), second.title.as_str()]);
                    if let Some(index) = intent::choose(said, &names, 0, 1) {
                        return self.play(talk, if index == 0 { first } else { second }).await;
                    }
                }
            }
            Some(Question::Friend(friends)) => {
                if let [Some(first), Some(second)] = friends.each_ref().map(|friend| scene.friend(friend)) {
                    let names = Names::of_friends(language, [names_of(first), names_of(second)]);
                    if let Some(index) = intent::choose(said, &names, 0, 1) {
                        return Ok(start_message(talk, if index == 0 { first } else { second }));
                    }
                }
            }
            Some(Question::IsItFor(friend)) => {
                if let Some(friend) = scene.friend(&friend) {
                    let names = Names::of_friends(language, [names_of(friend)]);
                    match intent::confirm(said, &names, 0) {
                        Some(true) => return Ok(start_message(talk, friend)),
                        Some(false) => return Ok(ask_back(talk, &Line::WhoFor, Question::WhoFor)),
                        None => {}
                    }
                }
            }
            Some(Question::WhoFor) => match intent::named(said, heard.clarity(), &scene.friend_names(language)) {
                Intent::Unknown if intent::agree(said, language) == Some(false) => {
                    return Ok(Decision::line(language, &Line::NotNow));
                }
                Intent::Unknown => {}
                intent => return self.carry_out(talk, intent, said).await,
            },
            Some(Question::When(kind, words)) => {
                if let Some(when) = intent::time(said, &scene.toy_name, language, kind) {
                    let wish = Wish { kind, when: None, words };
                    let text = self.remind(&scene.toy, wish, when, language, now).await?;
                    return Ok(Decision::text(language, text));
                }
            }
            Some(Question::PlayMessages) => match intent::agree(said, language) {
                Some(true) => return Ok(Decision { decided: Decided::Messages, language, then: Then::Nothing }),
                Some(false) => return Ok(Decision::line(language, &Line::NotNow)),
                None => {}
            },
            None => {}
        }
        if let Some(wish) = self.reminder_in(talk, said) {
            return self.remind_or_ask(talk, wish).await;
        }
        // Instead of answering the question, the child may have given another command.
        let friends = scene.friend_names(language);
        let known = Known { clarity: heard.clarity(), likely: &heard.likely, ..scene.known(language, &friends) };
        self.carry_out(talk, intent::understand(said, known), said).await
    }

    async fn carry_out(&self, talk: Conversation<'_>, intent: Intent, said: &str) -> Result<Decision, DomainError> {
        let Conversation { scene, language, now } = talk;
        let titles = scene.library.contents();
        let clock = Clock::new(now, self.zone_of(&scene.toy).minutes_east(now));
        let line = match intent {
            Intent::Play(index) => {
                return self.play_or_answer(talk, titles.get(index), Line::NoSuchTitle).await;
            }
            Intent::PlayNumber(number) => {
                let content = number.checked_sub(1).and_then(|index| titles.get(index as usize));
                return self.play_or_answer(talk, content, Line::NoSuchNumber).await;
            }
            Intent::PlayAny => return self.play_some(talk, Mood::Any, Line::NoMusic).await,
            Intent::PlayAnother => return self.play_some(talk, Mood::Another, Line::NoMusic).await,
            Intent::PlayAgain => return self.play_again(talk).await,
            Intent::Resume => return self.go_on(talk).await,
            Intent::PlayQuiet => return self.play_some(talk, Mood::Quiet, Line::NoMusic).await,
            Intent::Story => return self.play_some(talk, Mood::Story, Line::Story).await,
            Intent::Riddle => return self.play_some(talk, Mood::Riddle, Line::Riddle).await,
            Intent::Message(index) => {
                let friend = scene.friends.get(index).ok_or(DomainError::NotFriends)?;
                return Ok(start_message(talk, friend));
            }
            Intent::AskTitle(first, second) => return Ok(ask_title(talk, first, second)),
            Intent::AskFriend(first, second) => return Ok(ask_friend(talk, first, second)),
            Intent::ConfirmFriend(index) => {
                let friend = scene.friends.get(index).ok_or(DomainError::NotFriends)?;
                let question = Question::IsItFor(friend.party.clone());
                return Ok(ask_back(talk, &Line::IsItFor(&friend.remark), question));
            }
            Intent::Stop => return Ok(command(talk, ToyCommand::Stop)),
            Intent::Louder => return Ok(command(talk, ToyCommand::Louder)),
            Intent::Softer => return Ok(command(talk, ToyCommand::Softer)),
            Intent::NoSuchTitle => Line::NoSuchTitle,
            Intent::NoSuchFriend => return Ok(ask_back(talk, &Line::NoSuchFriend, Question::WhoFor)),
            Intent::Time => Line::Time(clock),
            Intent::Date => Line::Date(clock),
            Intent::Sum(value) => Line::Sum(value),
            Intent::WhoAreYou => Line::WhoAreYou(&scene.toy_name),
            Intent::ListReminders => {
                let text = self.list_reminders(&scene.toy, language, now).await?;
                return Ok(Decision::text(language, text));
            }
            Intent::CancelReminders(kind) => {
                let text = self.cancel_reminders(&scene.toy, kind, language).await?;
                return Ok(Decision::text(language, text));
            }
            Intent::PlayMessages => {
                return Ok(Decision { decided: Decided::Messages, language, then: Then::Nothing });
            }
            Intent::Unknown => {
                let decided = Decided::Reply(said.to_owned());
                return Ok(Decision { decided, language, then: Then::Nothing });
            }
        };
        Ok(Decision::line(language, &line))
    }

    /// The reminder that a child asks for, unless they are turned off.
    fn reminder_in(&self, talk: Conversation<'_>, said: &str) -> Option<Wish> {
        let is_on = self.config.reminders.per_toy_max > 0;
        is_on.then(|| intent::reminder(said, &talk.scene.toy_name, talk.language)).flatten()
    }

    /// Keeps a reminder, or asks for its time.
    async fn remind_or_ask(&self, talk: Conversation<'_>, wish: Wish) -> Result<Decision, DomainError> {
        match wish.when {
            Some(when) => {
                let text = self.remind(&talk.scene.toy, wish, when, talk.language, talk.now).await?;
                Ok(Decision::text(talk.language, text))
            }
            None => Ok(ask_back(talk, &Line::WhenReminder(wish.kind), Question::When(wish.kind, wish.words))),
        }
    }

    async fn play(&self, talk: Conversation<'_>, content: &Content) -> Result<Decision, DomainError> {
        let Conversation { scene, language, now } = talk;
        if self.rests(&Party::from(scene.toy.clone())) {
            return Ok(Decision::line(language, &Line::QuietTime));
        }
        self.note_played(&scene.toy, &content.music, now).await?;
        Ok(Decision { decided: Decided::Music(content.music.clone()), language, then: Then::Nothing })
    }

    async fn play_or_answer(
        &self,
        talk: Conversation<'_>,
        content: Option<&Content>,
        otherwise: Line<'_>,
    ) -> Result<Decision, DomainError> {
        match content {
            Some(content) => self.play(talk, content).await,
            None => Ok(Decision::line(talk.language, &otherwise)),
        }
    }

    async fn play_some(
        &self,
        talk: Conversation<'_>,
        mood: Mood,
        otherwise: Line<'_>,
    ) -> Result<Decision, DomainError> {
        let last = self.last_played(&talk.scene.toy, talk.now).await?;
        self.play_or_answer(talk, talk.scene.library.pick(mood, last.as_ref()), otherwise).await
    }

    /// Plays the last piece again, or any piece if none was played lately.
    async fn play_again(&self, talk: Conversation<'_>) -> Result<Decision, DomainError> {
        let last = self.last_played(&talk.scene.toy, talk.now).await?;
        match last.and_then(|music| talk.scene.library.piece(&music)) {
            Some(content) => self.play(talk, content).await,
            None => self.play_some(talk, Mood::Any, Line::NoMusic).await,
        }
    }

    /// Goes on with what was interrupted, a little before that; plays the last piece if none was.
    async fn go_on(&self, talk: Conversation<'_>) -> Result<Decision, DomainError> {
        let Some((music, at_s)) = self.assistant.memory.place(&talk.scene.toy) else {
            return self.play_again(talk).await;
        };
        let Some(content) = talk.scene.library.piece(&music) else {
            return self.play_again(talk).await;
        };
        let mut decision = self.play(talk, content).await?;
        // Unless it is quiet time.
        if matches!(decision.decided, Decided::Music(_)) {
            decision.decided = Decided::Resumed { music, from_s: (at_s - REWIND_S).max(0.0) };
        }
        Ok(decision)
    }

    /// Speaks an answer and keeps the sound for a while, of `/get_chat/`.
    pub(super) async fn speak_answer(
        &self,
        toy: &ToyId,
        text: &str,
        language: &'static Language,
        now: Timestamp,
    ) -> Result<FileName, DomainError> {
        let spoken = self.spoken_to(&Party::from(toy.clone()), language);
        let name = self.spoken_name(ANSWER_PREFIX, &spoken, text)?;
        let found = self.files.find(FileKind::Chat, &name).await.map_err(DomainError::internal)?;
        let half_life = self.config.speech.answer_age_max_s as Timestamp / 2.0;
        let age = |modified: SystemTime| now - unix_time(modified);
        // An older sound might be deleted before it is fetched.
        if found.is_none_or(|file| age(file.modified) > half_life) {
            let sound = self.speak_for_toys(text, &spoken).await?;
            self.files.put(FileKind::Chat, &name, sound).await.map_err(DomainError::internal)?;
        }
        Ok(name)
    }

    /// Deletes the sounds of answers that have been kept long enough.
    pub async fn sweep_answers(&self, now: Timestamp) -> Result<(), DomainError> {
        let age_max = seconds(self.config.speech.answer_age_max_s);
        if clock::settled_for() <= age_max || !self.files.is_sweep_due() {
            return Ok(());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(now).unwrap_or_default();
        let Some(before) = now.checked_sub(age_max) else { return Ok(()) };
        let swept = self.files.sweep_answers(before).await.map_err(DomainError::internal)?;
        if swept > 0 {
            tracing::debug!(swept, "old answers deleted");
        }
        Ok(())
    }
}

fn start_message(talk: Conversation<'_>, friend: &Friend) -> Decision {
    let prompt = Line::SayYourMessage(&friend.remark).text(talk.language);
    let decided = Decided::StartMessage { friend: friend.party.clone(), prompt };
    Decision { decided, language: talk.language, then: Then::Nothing }
}

fn ask_title(talk: Conversation<'_>, first: usize, second: usize) -> Decision {
    let titles = talk.scene.library.contents();
    let (Some(first), Some(second)) = (titles.get(first), titles.get(second)) else {
        return Decision::line(talk.language, &Line::NoSuchTitle);
    };
    let question = Question::Title([first.id.clone(), second.id.clone()]);
    ask_back(talk, &Line::Which(&first.title, &second.title), question)
}

fn ask_friend(talk: Conversation<'_>, first: usize, second: usize) -> Decision {
    let (Some(first), Some(second)) = (talk.scene.friends.get(first), talk.scene.friends.get(second)) else {
        return Decision::line(talk.language, &Line::NoSuchFriend);
    };
    let question = Question::Friend([first.party.clone(), second.party.clone()]);
    // Two friends with the same remark are distinguished by their own names.
    let names = match first.remark == second.remark {
        true => [&first.nickname, &second.nickname],
        false => [&first.remark, &second.remark],
    };
    ask_back(talk, &Line::Which(names[0], names[1]), question)
}

/// Asks a question, which is remembered only once it was spoken.
fn ask_back(talk: Conversation<'_>, line: &Line<'_>, question: Question) -> Decision {
    Decision { then: Then::Ask(Box::new(question)), ..Decision::line(talk.language, line) }
}

/// Confirms a command to the toy, and then publishes it.
fn command(talk: Conversation<'_>, command: ToyCommand) -> Decision {
    Decision { then: Then::Command(command), ..Decision::line(talk.language, &Line::Done(command)) }
}

/// The names of a friend without that of its toy.
fn names_of(friend: &Friend) -> FriendNames<'_> {
    FriendNames { remark: &friend.remark, nickname: &friend.nickname, toy_name: "" }
}

fn toy_of(party: &Party) -> Option<&ToyId> {
    match party {
        Party::Toy(id) => Some(id),
        Party::User(_) => None,
    }
}

fn unix_time(time: SystemTime) -> Timestamp {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
