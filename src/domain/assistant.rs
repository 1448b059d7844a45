//! What a child says to its toy: understood, done, and answered.
//!
//! [`Hub::ask`] is the whole way: recording, words, intent, answer. What was said is passed from one to the next and
//! then forgotten: it is neither stored nor logged.

mod library;
mod memory;
mod wording;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::error::DomainError;
use super::{FileKind, Hub, PartState, Upload};
use crate::config::seconds;
use crate::model::{Content, Event, FileName, Friend, Party, Timestamp, ToyCommand, ToyId};
use crate::ports::files::ANSWER_PREFIX;
use crate::ports::reply::ReplyEngine;
use crate::ports::speech::intent::{self, FriendNames, Intent, Known, Names};
use crate::ports::speech::{RecogniseError, Recogniser};
use library::{Library, Mood};
use memory::{Memory, Question};
use wording::{Language, Line};

/// What a toy is answered that asks the hub something.
#[derive(Debug)]
pub enum Answer {
    /// Plays a song, of `/get_music/`.
    Music(FileName),
    /// Plays a spoken reply, of `/get_chat/`.
    Reply(FileName),
    /// Plays a prompt, of `/get_chat/`; the next recording is for the friend.
    StartMessage {
        /// Who the message will be for.
        friend: Party,
        /// What is played first.
        prompt: FileName,
    },
}

/// What the hub hears and replies with, and what it remembers of each toy.
pub(super) struct Assistant {
    recogniser: Mutex<Option<Arc<Recogniser>>>,
    /// There is a model, but it could not be loaded.
    is_deaf: AtomicBool,
    replies: Box<dyn ReplyEngine>,
    memory: Memory,
    /// As it was when it was last asked for.
    library: Mutex<Arc<Library>>,
}

impl Assistant {
    pub(super) fn new(replies: Box<dyn ReplyEngine>, question_timeout_s: u64) -> Self {
        let memory = Memory::new(question_timeout_s as Timestamp);
        let (recogniser, is_deaf) = (Mutex::new(None), AtomicBool::new(false));
        Self { recogniser, is_deaf, replies, memory, library: Mutex::default() }
    }

    fn recogniser(&self) -> Option<Arc<Recogniser>> {
        self.recogniser.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The library of these contents. Its names are prepared again only if it has changed.
    fn library(&self, contents: Vec<Content>) -> Arc<Library> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if library.contents() != contents {
            *library = Arc::new(Library::new(contents));
        }
        Arc::clone(&library)
    }
}

/// What is known around a toy while it is answered.
struct Scene<'a> {
    toy: &'a ToyId,
    toy_name: String,
    library: Arc<Library>,
    friends: Vec<Friend>,
    friend_names: Names,
    now: Timestamp,
}

impl Scene<'_> {
    /// Words that are likely in the recording.
    fn prompt(&self) -> String {
        let titles = self.library.contents().iter().map(|content| content.title.as_str());
        let friends = self.friends.iter().map(|friend| friend.remark.as_str());
        friends.chain(titles).collect::<Vec<_>>().join(", ")
    }

    fn known(&self) -> Known<'_> {
        Known { titles: self.library.names(), friends: &self.friend_names, toy_name: &self.toy_name }
    }
}

impl Hub {
    /// From now on, recordings can be understood.
    pub fn listen_with(&self, recogniser: Recogniser) {
        *self.assistant.recogniser.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(recogniser));
    }

    /// The model could not be loaded: no recording can be understood, though the configuration wants it.
    pub fn cannot_listen(&self) {
        self.assistant.is_deaf.store(true, Ordering::Relaxed);
    }

    pub(super) fn speech_state(&self) -> PartState {
        match self.assistant.recogniser() {
            Some(_) => PartState::Ok,
            None if self.assistant.is_deaf.load(Ordering::Relaxed) => {
                PartState::Failed("the speech model could not be loaded, see the log and toyhub doctor")
            }
            None => PartState::Off,
        }
    }

    /// Ends the recogniser, whose threads are waited for.
    pub(super) async fn stop_listening(&self) {
        let recogniser = self.assistant.recogniser.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It only fails if the runtime stops, and then nothing waits.
        let _ = tokio::task::spawn_blocking(move || drop(recogniser)).await;
    }

    /// Answers what a toy was told.
    ///
    /// Errors: `NoSpeechModel` for every recording that can be read; `NotSound`, `EmptyRecording`, `RecordingTooLong`,
    /// `RateLimited`, `Busy`; `NoSynthesiser` where the answer is to be spoken. Who says nothing is told so.
    pub async fn ask(&self, toy: &ToyId, upload: Upload, now: Timestamp) -> Result<Answer, DomainError> {
        self.rates.uploads.spend(&Party::from(toy.clone()).to_string())?;
        let is_kept = self.config.speech.keep_ai_recordings;
        let kept = is_kept.then(|| self.config.server.ai_recordings_dir().join(format!("{toy}-{now:.3}")));
        let sound = self.decode(upload, kept).await?;
        let recogniser = self.assistant.recogniser().ok_or(DomainError::NoSpeechModel)?;
        let scene = self.scene(toy, now).await?;
        match recogniser.recognise(toy.as_str(), sound, &scene.prompt()).await {
            Ok(heard) => {
                let language = Language::of(&heard.text, heard.language);
                self.answer(&scene, &heard.text, language).await
            }
            Err(RecogniseError::NotHeard(_)) => {
                let language = self.config.speech.languages.first().map_or("en", String::as_str);
                self.respond(&scene, Language::of("", language), &Line::NotHeard).await
            }
            Err(RecogniseError::TooLong { max_seconds }) => Err(DomainError::RecordingTooLong { max_seconds }),
            Err(RecogniseError::Busy | RecogniseError::TimedOut) => Err(DomainError::Busy),
            Err(error @ RecogniseError::Failed(_)) => Err(DomainError::internal(error)),
        }
    }

    async fn scene<'a>(&self, toy: &'a ToyId, now: Timestamp) -> Result<Scene<'a>, DomainError> {
        let toy_name = self.store.toy(toy).await?.ok_or(DomainError::UnknownParty)?.toy_name;
        let friends = self.store.friends(&Party::from(toy.clone())).await?;
        let mut toy_names = Vec::with_capacity(friends.len());
        for friend in &friends {
            let its_toy = match toy_of(&friend.party) {
                Some(id) => self.store.toy(id).await?,
                None => None,
            };
            toy_names.push(its_toy.map(|toy| toy.toy_name).unwrap_or_default());
        }
        let friend_names = Names::of_friends(friends.iter().zip(&toy_names).map(|(friend, toy_name)| FriendNames {
            remark: &friend.remark,
            nickname: &friend.nickname,
            toy_name,
        }));
        let library = self.assistant.library(self.content().await?);
        Ok(Scene { toy, toy_name, library, friends, friend_names, now })
    }

    /// Does what was said, and answers it.
    async fn answer(&self, scene: &Scene<'_>, said: &str, language: Language) -> Result<Answer, DomainError> {
        match self.assistant.memory.take_question(scene.toy, scene.now) {
            Some(Question::Title(titles)) => {
                let names = Names::of_titles(titles.iter().map(|content| content.title.as_str()));
                if let Some(content) = intent::choose(said, &names, 0, 1).and_then(|index| titles.get(index)) {
                    return Ok(self.play(scene, content));
                }
            }
            Some(Question::Friend(friends)) => {
                let names = Names::of_friends(friends.iter().map(|friend| FriendNames {
                    remark: &friend.remark,
                    nickname: &friend.nickname,
                    toy_name: "",
                }));
                if let Some(friend) = intent::choose(said, &names, 0, 1).and_then(|index| friends.get(index)) {
                    return self.start_message(scene, language, friend).await;
                }
            }
            None => {}
        }
        // Whoever was asked may have changed their mind.
        self.carry_out(scene, intent::understand(said, scene.known()), said, language).await
    }

    async fn carry_out(
        &self,
        scene: &Scene<'_>,
        intent: Intent,
        said: &str,
        language: Language,
    ) -> Result<Answer, DomainError> {
        let titles = scene.library.contents();
        let clock = wording::Clock::new(scene.now, self.config.speech.utc_offset_minutes);
        let line = match intent {
            Intent::Play(index) => {
                return self.play_or_say(scene, language, titles.get(index), Line::NoSuchTitle).await;
            }
            Intent::PlayNumber(number) => {
                let content = number.checked_sub(1).and_then(|index| titles.get(index as usize));
                return self.play_or_say(scene, language, content, Line::NoSuchNumber).await;
            }
            Intent::PlayAny => return self.play_some(scene, language, Mood::Any, Line::NoMusic).await,
            Intent::PlayAnother => return self.play_some(scene, language, Mood::Another, Line::NoMusic).await,
            Intent::PlayAgain => return self.play_again(scene, language).await,
            Intent::PlayQuiet => return self.play_some(scene, language, Mood::Quiet, Line::NoMusic).await,
            Intent::Story => return self.play_some(scene, language, Mood::Story, Line::any_story()).await,
            Intent::Riddle => return self.play_some(scene, language, Mood::Riddle, Line::any_riddle()).await,
            Intent::Message(index) => {
                let friend = scene.friends.get(index).ok_or(DomainError::NotFriends)?;
                return self.start_message(scene, language, friend).await;
            }
            Intent::AskTitle(first, second) => return self.ask_title(scene, language, first, second).await,
            Intent::AskFriend(first, second) => return self.ask_friend(scene, language, first, second).await,
            Intent::Stop => return self.command(scene, language, ToyCommand::Stop).await,
            Intent::Louder => return self.command(scene, language, ToyCommand::Louder).await,
            Intent::Softer => return self.command(scene, language, ToyCommand::Softer).await,
            Intent::NoSuchTitle => Line::NoSuchTitle,
            Intent::NoSuchFriend => Line::NoSuchFriend,
            Intent::Time => Line::Time(clock),
            Intent::Date => Line::Date(clock),
            Intent::Sum(value) => Line::Sum(value),
            Intent::WhoAreYou => Line::WhoAreYou(&scene.toy_name),
            Intent::Unknown => {
                let reply = self.assistant.replies.reply(said).await.map_err(DomainError::internal)?;
                return Ok(Answer::Reply(self.speak_answer(&reply, scene.now).await?));
            }
        };
        self.respond(scene, language, &line).await
    }

    fn play(&self, scene: &Scene<'_>, content: &Content) -> Answer {
        self.assistant.memory.played(scene.toy, &content.music, scene.now);
        Answer::Music(content.music.clone())
    }

    async fn play_or_say(
        &self,
        scene: &Scene<'_>,
        language: Language,
        content: Option<&Content>,
        otherwise: Line<'_>,
    ) -> Result<Answer, DomainError> {
        match content {
            Some(content) => Ok(self.play(scene, content)),
            None => self.respond(scene, language, &otherwise).await,
        }
    }

    async fn play_some(
        &self,
        scene: &Scene<'_>,
        language: Language,
        mood: Mood,
        otherwise: Line<'_>,
    ) -> Result<Answer, DomainError> {
        let last = self.assistant.memory.last_played(scene.toy);
        self.play_or_say(scene, language, scene.library.pick(mood, last.as_ref()), otherwise).await
    }

    /// Plays the last one; any, where there was none lately.
    async fn play_again(&self, scene: &Scene<'_>, language: Language) -> Result<Answer, DomainError> {
        let last = self.assistant.memory.last_played(scene.toy);
        match scene.library.contents().iter().find(|content| Some(&content.music) == last.as_ref()) {
            Some(content) => Ok(self.play(scene, content)),
            None => self.play_some(scene, language, Mood::Any, Line::NoMusic).await,
        }
    }

    async fn start_message(
        &self,
        scene: &Scene<'_>,
        language: Language,
        friend: &Friend,
    ) -> Result<Answer, DomainError> {
        let prompt = Line::SayYourMessage(&friend.remark).text(language);
        let prompt = self.speak_answer(&prompt, scene.now).await?;
        Ok(Answer::StartMessage { friend: friend.party.clone(), prompt })
    }

    async fn ask_title(
        &self,
        scene: &Scene<'_>,
        language: Language,
        first: usize,
        second: usize,
    ) -> Result<Answer, DomainError> {
        let titles = scene.library.contents();
        let (Some(first), Some(second)) = (titles.get(first), titles.get(second)) else {
            return self.respond(scene, language, &Line::NoSuchTitle).await;
        };
        let question = Question::Title([first.clone(), second.clone()]);
        self.ask_back(scene, language, &Line::Which(&first.title, &second.title), question).await
    }

    async fn ask_friend(
        &self,
        scene: &Scene<'_>,
        language: Language,
        first: usize,
        second: usize,
    ) -> Result<Answer, DomainError> {
        let (Some(first), Some(second)) = (scene.friends.get(first), scene.friends.get(second)) else {
            return self.respond(scene, language, &Line::NoSuchFriend).await;
        };
        let question = Question::Friend([first.clone(), second.clone()]);
        // Two who are called the same are told apart by what they call themselves.
        let names = match first.remark == second.remark {
            true => [&first.nickname, &second.nickname],
            false => [&first.remark, &second.remark],
        };
        self.ask_back(scene, language, &Line::Which(names[0], names[1]), question).await
    }

    /// Asks, and remembers what: only once it was asked.
    async fn ask_back(
        &self,
        scene: &Scene<'_>,
        language: Language,
        line: &Line<'_>,
        question: Question,
    ) -> Result<Answer, DomainError> {
        let answer = self.respond(scene, language, line).await?;
        self.assistant.memory.asked(scene.toy, question, scene.now);
        Ok(answer)
    }

    /// Tells a toy that listens, and says so.
    async fn command(&self, scene: &Scene<'_>, language: Language, command: ToyCommand) -> Result<Answer, DomainError> {
        let answer = self.respond(scene, language, &Line::Done(command)).await?;
        let toy = Party::from(scene.toy.clone());
        // To a toy that is away, it would come when nobody wants it any more.
        if self.router.online(&toy) {
            self.announce(&toy, &Event::Command(command), None).await;
        }
        Ok(answer)
    }

    async fn respond(&self, scene: &Scene<'_>, language: Language, line: &Line<'_>) -> Result<Answer, DomainError> {
        Ok(Answer::Reply(self.speak_answer(&line.text(language), scene.now).await?))
    }

    /// Speaks an answer and keeps the sound for a while, of `/get_chat/`.
    async fn speak_answer(&self, text: &str, now: Timestamp) -> Result<FileName, DomainError> {
        let name = self.spoken_name(ANSWER_PREFIX, text)?;
        let found = self.files.find(FileKind::Chat, &name).await.map_err(DomainError::internal)?;
        let half_life = self.config.speech.answer_age_max_s as Timestamp / 2.0;
        let age = |modified: SystemTime| now - unix_time(modified);
        // An older one might be swept before it is fetched.
        if found.is_none_or(|file| age(file.modified) > half_life) {
            let sound = self.speak_for_toys(text).await?;
            self.files.put(FileKind::Chat, &name, sound).await.map_err(DomainError::internal)?;
        }
        Ok(name)
    }

    /// Deletes the sounds of answers that have been kept long enough.
    pub async fn sweep_answers(&self, now: Timestamp) -> Result<(), DomainError> {
        let age_max = seconds(self.config.speech.answer_age_max_s);
        let now = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(now).unwrap_or_default();
        let Some(before) = now.checked_sub(age_max) else { return Ok(()) };
        let swept = self.files.sweep_answers(before).await.map_err(DomainError::internal)?;
        if swept > 0 {
            tracing::debug!(swept, "old answers swept");
        }
        Ok(())
    }
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
