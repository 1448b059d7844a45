//! The conversation with one device: its hello, and then turns of the child and answers of the hub.
//!
//! ```text
//!             listen start            the end of the speech               all was played
//!   idle ───────────────────▶ listening ───────────────────▶ speaking ─────────────────────▶ idle
//!    ▲                           │ noise alone: again          │
//!    └───────────────────────────┴─────────── abort ◀──────────┘
//! ```
//!
//! In the mode `realtime` the device sends its microphone while the hub speaks, too: then a turn and an answer exist at the
//! same time, and speech of the child ends the answer.

mod deciding;
mod proof;
mod unasked;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::message::{Hello, Messages, Mode, Said};
use super::speaking::{Next, Part, Speaking};
use super::tools::{self, Outcome, Tools};
use super::transport::{Received, Transport};
use super::{Devices, End};
use crate::config::{Config, seconds};
use crate::domain::error::DomainError;
use crate::domain::reminders::ReminderVoice;
use crate::domain::turn::{Answered, Done, EndedBy, Expected, Heard, Packet, Sound, Turn, Unanswered};
use crate::domain::{Hub, Incoming, Mailbox, Payload};
use crate::edge::tasks::Tasks;
use crate::model::{Event, MessageId, ReminderId, Secret, ToyCommand, ToyId};
use deciding::{Decided, Deciding};
use proof::Unproven;
use unasked::Unasked;

/// Without a packet for so long, a device that speaks has left out silence.
const GAP: Duration = Duration::from_millis(200);
/// Silence that goes on is counted in such steps.
const GAP_STEP: Duration = Duration::from_millis(60);
/// Packets that a device may send in a second: seven times as many as a microphone makes, as they may come in a burst.
const PACKETS_PER_SECOND_MAX: u32 = 120;
/// Firmware says within this time of the end of an answer that it listens.
const START_TIME: Duration = Duration::from_secs(1);
/// The digits of a session's id.
const SESSION_DIGITS: usize = 16;

/// One device.
pub(super) struct Conversation<'a, T> {
    hub: &'a Arc<Hub>,
    config: &'a Config,
    tasks: &'a Tasks,
    device: &'a mut T,
    toy: ToyId,
    tools: &'a mut Tools,
    hello: Hello,
    messages: Messages,
    mode: Mode,
    turn: Option<Turn>,
    /// Up to when the sound of the turn is known, and whether the device leaves out silence now.
    heard_until: Instant,
    is_in_gap: bool,
    speaking: Option<Speaking>,
    /// When the device was told the end of an answer, if it has not said since that it listens.
    start_due: Option<Instant>,
    deciding: Option<Deciding>,
    unproven: Unproven,
    unasked: Unasked,
    /// What the next turn is.
    expected: Expected,
    rate: Rate,
    /// When the child or the hub has spoken last.
    lively: Instant,
    _voice: ReminderVoice,
}

/// What happened.
enum Step {
    Received(Result<Received, End>),
    Incoming(Incoming),
    Speech(Next),
    Heard(Result<Heard, DomainError>),
    Decided(Decided),
    Gap,
    Lost,
    Unasked,
    Silence,
}

/// Waits for the hello of a device, which is its first message.
pub(super) async fn hello_of(device: &mut impl Transport, config: &Config) -> Result<Hello, End> {
    let deadline = Instant::now() + seconds(config.xiaozhi.hello_timeout_s);
    loop {
        let received = timeout_at(deadline, device.next()).await.map_err(|_| End::Close)?;
        if let Received::Text(text) = received?
            && let Some(Said::Hello(hello)) = Said::read(&text)
        {
            return Ok(hello);
        }
    }
}

impl<'a, T: Transport> Conversation<'a, T> {
    /// Answers the hello of a device.
    pub(super) async fn open(
        devices: &'a Devices,
        device: &'a mut T,
        toy: ToyId,
        tools: &'a mut Tools,
        hello: Hello,
    ) -> Result<Self, End> {
        let Devices { hub, config, tasks, .. } = devices;
        let session: String = Secret::random().reveal().chars().take(SESSION_DIGITS).collect();
        device.greet(&hello, &session).await?;
        let messages = Messages { session };
        if hello.has_tools {
            device.send(&messages.to_tools(&tools.look())).await?;
        }
        let now = Instant::now();
        Ok(Self {
            _voice: hub.speak_reminders(&toy),
            unproven: Unproven::default(),
            unasked: Unasked::new(now),
            hub,
            config,
            tasks,
            device,
            toy,
            tools,
            hello,
            messages,
            mode: Mode::Auto,
            turn: None,
            heard_until: now,
            is_in_gap: false,
            speaking: None,
            start_due: None,
            deciding: None,
            expected: Expected::Anything,
            rate: Rate { began: now, count: 0 },
            lively: now,
        })
    }

    /// A reminder that is due, and was not heard yet.
    pub(super) fn add_reminder(&mut self, id: ReminderId) {
        self.unasked.add_reminder(id);
    }

    /// The messages that have come, and of which the child was not told.
    pub(super) fn take_new_messages(&mut self) -> Vec<MessageId> {
        self.unasked.take_new()
    }

    /// The messages of its session.
    pub(super) fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Serves the device until the conversation ends.
    pub(super) async fn run(&mut self, mailbox: &mut Mailbox) -> End {
        loop {
            let step = self.step(mailbox).await;
            if let Err(end) = self.take(step).await {
                self.finish_turn(end);
                return end;
            }
        }
    }

    /// Waits for what happens next. The sound comes first: its times are kept.
    async fn step(&mut self, mailbox: &mut Mailbox) -> Step {
        let (gap, lost, unasked) = (self.gap(), self.unproven.until(), self.unasked_due());
        let is_silent = self.speaking.is_none() && !self.turn.as_ref().is_some_and(Turn::has_begun);
        // What is decided about a message comes before what the child says next.
        let is_open = !self.deciding.as_ref().is_some_and(Deciding::goes_on);
        let silence = is_silent.then(|| self.lively + seconds(self.config.xiaozhi.silence_timeout_s));
        tokio::select! {
            biased;
            next = speech(&mut self.speaking) => Step::Speech(next),
            received = self.device.next() => Step::Received(received),
            heard = heard(&mut self.turn), if is_open => Step::Heard(heard),
            decided = decided(&mut self.deciding) => Step::Decided(decided),
            incoming = mailbox.recv() => Step::Incoming(incoming),
            () = until(gap) => Step::Gap,
            () = until(lost) => Step::Lost,
            () = until(unasked) => Step::Unasked,
            () = until(silence) => Step::Silence,
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Received(received) => match received? {
                Received::Text(text) => self.take_text(&text).await,
                Received::Sound(packet) => {
                    self.note_alive().await;
                    self.take_sound(&packet).await
                }
                Received::Alive => {
                    self.note_alive().await;
                    Ok(())
                }
            },
            Step::Speech(next) => self.speak(next).await,
            Step::Heard(heard) => self.end_turn(heard).await,
            Step::Decided(decided) => self.answer(decided).await,
            Step::Incoming(incoming) => self.take_incoming(incoming).await,
            Step::Gap => {
                let now = Instant::now();
                if let Some(turn) = &mut self.turn {
                    turn.push_silence(now - self.heard_until);
                }
                (self.heard_until, self.is_in_gap) = (now, true);
                Ok(())
            }
            Step::Lost => self.lose().await,
            Step::Unasked => self.say_unasked().await,
            Step::Silence => Err(End::Close),
        }
    }

    /// When a device that sends nothing has left out silence.
    fn gap(&self) -> Option<Instant> {
        let is_speech = self.turn.as_ref().is_some_and(|turn| turn.has_begun() && !turn.has_ended());
        is_speech.then(|| self.heard_until + if self.is_in_gap { GAP_STEP } else { GAP })
    }

    async fn take_text(&mut self, text: &[u8]) -> Result<(), End> {
        let Some(said) = Said::read(text) else {
            tracing::debug!("a message of a device is no JSON");
            return Ok(());
        };
        // After another hello, nobody knows what the device has played.
        if !matches!(said, Said::Hello(_)) {
            self.note_alive().await;
        }
        match said {
            Said::Hello(hello) => self.begin_again(hello).await,
            Said::Start(mode) => self.listen(mode).await,
            Said::Stop => {
                if let Some(turn) = &mut self.turn {
                    turn.stop();
                }
                Ok(())
            }
            Said::Abort => {
                self.lively = Instant::now();
                self.drop_turn();
                self.note_stopped().await;
                self.interrupt(true).await?;
                // Not every client says again that it listens.
                if self.mode == Mode::Realtime { self.begin_turn().await } else { Ok(()) }
            }
            Said::Typed(words) => self.take_typed(words).await,
            Said::Tool(answer) => {
                let outcome = self.tools.take(&answer);
                self.use_tools(outcome).await
            }
            // The end of an earlier session may come late.
            Said::Goodbye(session) if session.as_ref().is_none_or(|id| *id == self.messages.session) => Err(End::Left),
            Said::Goodbye(_) => Ok(()),
            Said::Other => Ok(()),
        }
    }

    /// The device says hello again: it plays nothing any more.
    async fn begin_again(&mut self, hello: Hello) -> Result<(), End> {
        self.hello = hello;
        self.drop_turn();
        self.unproven.forget();
        self.interrupt(false).await?;
        self.start_due = None;
        self.unasked.begin_again();
        self.device.greet(&hello, &self.messages.session).await
    }

    /// Ends the turn without an answer. A message that was spoken still waits for its own.
    fn drop_turn(&mut self) {
        self.turn = None;
        if matches!(self.expected, Expected::Message { .. }) {
            self.expected = Expected::Anything;
        }
    }

    /// The device is there: it has got what it was told.
    async fn note_alive(&mut self) {
        for done in self.unproven.prove() {
            self.note_told(done).await;
        }
    }

    /// Something was played to its end, if the device is still there.
    async fn await_proof(&mut self, done: Done) -> Result<(), End> {
        if !self.device.is_reachable() {
            return Ok(());
        }
        let is_asked = if self.hello.has_tools {
            let question = self.tools.look();
            self.device.send(&self.messages.to_tools(&question)).await?;
            true
        } else {
            self.device.ping().await?
        };
        self.unproven.add(done, is_asked);
        Ok(())
    }

    /// The device does not answer: nothing more is told, and what was told last is told again once it is there.
    async fn lose(&mut self) -> Result<(), End> {
        tracing::debug!("a device does not answer");
        self.unproven.lose();
        self.unasked.note_lost();
        self.interrupt(true).await
    }

    async fn take_sound(&mut self, packet: &[u8]) -> Result<(), End> {
        if !self.rate.has_room() {
            return Ok(());
        }
        if self.listens_without_saying() {
            self.listen(self.mode).await?;
        }
        let Some(turn) = &mut self.turn else { return Ok(()) };
        turn.push(if self.hello.sends_samples { Packet::Pcm(packet) } else { Packet::Opus(packet) });
        let has_begun = turn.has_begun();
        (self.heard_until, self.is_in_gap) = (Instant::now(), false);
        if has_begun {
            self.lively = self.heard_until;
            // A child that speaks while the hub does.
            if self.mode == Mode::Realtime && self.speaking.is_some() {
                self.note_stopped().await;
                self.interrupt(true).await?;
            }
        }
        Ok(())
    }

    /// Whether sound comes from a client that says only once that it listens, as test pages of other makers do. Firmware
    /// sends none after the end of an answer before it says so, but for packets that overtake it.
    fn listens_without_saying(&self) -> bool {
        let is_idle = self.turn.is_none() && self.speaking.is_none() && self.deciding.is_none();
        is_idle && self.mode == Mode::Auto && self.start_due.is_some_and(|since| since.elapsed() >= START_TIME)
    }

    /// The device listens.
    async fn listen(&mut self, mode: Mode) -> Result<(), End> {
        self.mode = mode;
        self.lively = Instant::now();
        self.unasked.note_listening();
        // In this mode the child may have begun while the hub still spoke, and by now have ended the turn.
        let is_due = self.start_due.take().is_some() && mode == Mode::Realtime;
        if is_due && self.speaking.is_some() {
            return Ok(());
        }
        // A device that listens does not speak any more, unless it has not heard yet that it should.
        let is_crossed = self.was_crossed();
        self.interrupt(is_crossed).await?;
        let goes_on = mode == Mode::Realtime && self.turn.as_ref().is_some_and(Turn::has_begun);
        if goes_on { Ok(()) } else { self.begin_turn().await }
    }

    async fn begin_turn(&mut self) -> Result<(), End> {
        // The place of the last turn is free before a new one is taken.
        self.turn = None;
        let ended_by = if self.mode == Mode::Manual { EndedBy::Client } else { EndedBy::Silence };
        match self.hub.begin_turn(&self.toy, ended_by) {
            Ok(turn) => {
                (self.heard_until, self.is_in_gap) = (Instant::now(), false);
                self.turn = Some(turn);
                Ok(())
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// The child has ended its turn.
    async fn end_turn(&mut self, heard: Result<Heard, DomainError>) -> Result<(), End> {
        let Some(turn) = self.turn.take() else { return Ok(()) };
        let heard = match heard {
            Ok(Heard::Nothing) if self.mode != Mode::Manual => return self.begin_turn().await,
            Ok(heard) => heard,
            Err(error) => return self.fail(error).await,
        };
        self.lively = Instant::now();
        let sound = turn.sound();
        drop(turn);
        self.reply_to(heard, sound).await
    }

    /// Words that are typed instead of spoken. They interrupt the hub, and are no message to a friend.
    async fn take_typed(&mut self, words: String) -> Result<(), End> {
        if self.deciding.as_ref().is_some_and(Deciding::goes_on) {
            return self.report(DomainError::Busy).await;
        }
        self.lively = Instant::now();
        self.drop_turn();
        self.note_stopped().await;
        self.interrupt(true).await?;
        self.reply_to(self.hub.typed(words), Sound::default()).await
    }

    async fn reply_to(&mut self, heard: Heard, sound: Sound) -> Result<(), End> {
        let text = heard.text().map(str::to_owned);
        // It begins before the device is told: a message is sent even if the device has gone.
        let expected = std::mem::take(&mut self.expected);
        self.deciding = Some(Deciding::begin(self.hub, self.tasks, &self.toy, expected, heard, sound));
        if let Some(text) = text {
            self.device.send(&self.messages.heard(&text)).await?;
        }
        self.device.send(&self.messages.face("happy")).await?;
        self.begin_speaking().await?;
        if self.mode == Mode::Realtime { self.begin_turn().await } else { Ok(()) }
    }

    /// Tells the device that the hub speaks. What it says is not decided yet.
    async fn begin_speaking(&mut self) -> Result<(), End> {
        self.device.send(&self.messages.speech("start")).await?;
        let xiaozhi = &self.config.xiaozhi;
        let play_out = Duration::from_millis(xiaozhi.play_out_ms);
        self.speaking = Some(Speaking::new(Instant::now(), xiaozhi.lead_packets, play_out));
        Ok(())
    }

    async fn answer(&mut self, decided: Decided) -> Result<(), End> {
        let Some(deciding) = self.deciding.take() else { return Ok(()) };
        match decided {
            Ok(Answered { telling, expected }) => {
                if let Some(speaking) = &mut self.speaking {
                    self.expected = expected;
                    speaking.decide(telling);
                } else {
                    self.expected = deciding.expected_unheard(expected);
                }
                Ok(())
            }
            Err(Unanswered { error, expected }) => {
                self.expected = expected;
                self.fail(error).await
            }
        }
    }

    /// A child that has said what it wants does not wait for the answer: what it has said about a message is done.
    fn finish_turn(&mut self, end: End) {
        let turn = self.turn.take().filter(Turn::has_ended);
        if let Some(turn) = turn
            && self.deciding.is_none()
            && !matches!(end, End::Closed(_))
        {
            deciding::finish(self.hub, self.tasks, &self.toy, std::mem::take(&mut self.expected), turn);
        }
    }

    async fn speak(&mut self, next: Next) -> Result<(), End> {
        self.lively = Instant::now();
        match next {
            Next::Part(Part::Sentence(text)) => self.device.send(&self.messages.sentence(&text)).await,
            Next::Part(Part::Packet(packet, at_ms)) => self.device.send_sound(&packet, at_ms).await,
            Next::Part(Part::Done(done)) => {
                self.unasked.note_told_one(&done);
                self.await_proof(done).await
            }
            // What was sent is played to its end.
            Next::Failed(error) => self.report(error).await,
            Next::Ended => {
                self.speaking = None;
                self.unasked.note_end();
                self.send_stop().await
            }
        }
    }

    /// Ends the answer at once. The device is told so, unless it has told the hub. A message is sent all the same.
    async fn interrupt(&mut self, tells: bool) -> Result<(), End> {
        self.deciding.take_if(|deciding| !deciding.goes_on());
        self.unasked.note_end();
        if self.speaking.take().is_some() && tells {
            self.send_stop().await?;
        }
        Ok(())
    }

    async fn send_stop(&mut self) -> Result<(), End> {
        self.start_due = Some(Instant::now());
        self.device.send(&self.messages.speech("stop")).await
    }

    /// Shows why there is no answer, and ends the turn.
    async fn fail(&mut self, error: DomainError) -> Result<(), End> {
        self.report(error).await?;
        self.interrupt(true).await
    }

    async fn report(&mut self, error: DomainError) -> Result<(), End> {
        let message = error.to_string();
        if let DomainError::Internal(cause) = error {
            tracing::error!(%cause, "answer to a device");
        }
        self.device.send(&self.messages.alert(&message)).await
    }

    async fn take_incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        let delivery = match incoming {
            Incoming::Delivery(delivery) => delivery,
            Incoming::Backlog => return Ok(()),
            Incoming::Closed(reason) => return Err(End::Closed(reason)),
        };
        let publication = &delivery.publication;
        let Payload::Event(announced) = &publication.payload else {
            let Some(key) = tools::key_of_command(&self.toy, publication.topic.as_str()) else { return Ok(()) };
            if !self.hello.has_tools {
                return Ok(());
            }
            let outcome = Outcome::of(self.tools.set(key, publication.payload.bytes()));
            return self.use_tools(outcome).await;
        };
        match announced.event() {
            Event::Reminder { id, .. } if self.unproven.has_reminder(id) => Ok(()),
            Event::Reminder { id, .. } => {
                self.unasked.add_reminder(id.clone());
                Ok(())
            }
            Event::Message { id, .. } => {
                self.unasked.note_message(id);
                Ok(())
            }
            Event::Command(command @ (ToyCommand::Louder | ToyCommand::Softer)) if self.hello.has_tools => {
                let outcome = Outcome::of([self.tools.change_volume(*command)]);
                self.use_tools(outcome).await
            }
            _ => Ok(()),
        }
    }

    /// Calls tools, and publishes what has changed.
    async fn use_tools(&mut self, outcome: Outcome) -> Result<(), End> {
        for call in &outcome.calls {
            self.device.send(&self.messages.to_tools(call)).await?;
        }
        tools::publish(self.hub, &self.toy, outcome.states).await;
        Ok(())
    }
}

async fn speech(speaking: &mut Option<Speaking>) -> Next {
    match speaking {
        Some(speaking) => speaking.next().await,
        None => pending().await,
    }
}

async fn heard(turn: &mut Option<Turn>) -> Result<Heard, DomainError> {
    match turn {
        Some(turn) => turn.heard().await,
        None => pending().await,
    }
}

async fn decided(deciding: &mut Option<Deciding>) -> Decided {
    match deciding {
        Some(deciding) => deciding.decided().await,
        None => pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// The packets of this second.
struct Rate {
    began: Instant,
    count: u32,
}

impl Rate {
    /// Counts one more.
    fn has_room(&mut self) -> bool {
        let now = Instant::now();
        if now - self.began >= Duration::from_secs(1) {
            (self.began, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= PACKETS_PER_SECOND_MAX
    }
}
