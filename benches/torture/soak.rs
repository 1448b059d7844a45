//! Many toys and apps for a long time: voice messages, commands, states, chat and questions to the hub, while a third
//! of all clients comes back at once every few minutes. The hub's clock runs faster, so that a day passes: reminders, rest
//! hours, expiry and the daily upkeep take place. Latencies and the hub's memory over time, as a picture.

mod figures;
mod people;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::RngExt as _;
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::audit::{Cursor, list};
use crate::family::{self, Family};
use crate::hub::{Addresses, Hub};
use crate::picture::{Chart, draw};
use crate::sound;
use figures::{Figures, Kind};
use people::{App, People, Toy};

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub toys: usize,
    pub apps: usize,
    pub time: Duration,
    /// What passes on the hub's clock in that time; 0 for the true time.
    pub hours: f64,
    pub storm_every: Duration,
    pub voice_per_second: f64,
    pub commands_per_second: f64,
    pub states_per_second: f64,
    pub chat_per_second: f64,
    pub questions_per_minute: f64,
    pub speech_model: Option<PathBuf>,
    pub picture: Option<PathBuf>,
}

/// The span of time of one point of the picture.
const SPAN: Duration = Duration::from_secs(15);
/// The percentage of clients in a storm.
const STORM_PERCENT: u64 = 33;
const QUESTIONS: [&str; 4] = ["what is three plus four", "tell me a story", "what time is it", "send a message to mum"];

pub async fn torment(program: &Path, parent: &Path, faketime: &Path, plan: Plan) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("toyhub-soak-").tempdir_in(parent)?;
    let mut hub = Hub::new(program, folder.path(), &[]);
    if let Some(model) = &plan.speech_model {
        hub.set("TOYHUB_SPEECH__MODEL", model.to_str().unwrap_or_default());
    }
    if plan.hours > 0.0 {
        if !faketime.exists() {
            println!("soak: skipped, {} is not there (package faketime)", faketime.display());
            return Ok(true);
        }
        let rate = plan.hours * 3600.0 / plan.time.as_secs_f64();
        println!("soak: the hub's clock runs {rate:.1} times as fast, {:.0} hours", plan.hours);
        hub.fake_clock(faketime);
        hub.set("FAKETIME", &format!("+0 x{rate:.3}"));
    }
    let questions = if plan.speech_model.is_some() { spoken_questions(folder.path()) } else { Vec::new() };
    if questions.is_empty() {
        println!("soak: no questions to the hub; they need a model and espeak-ng");
    }
    let running = hub.start().await.map_err(|refusal| anyhow!("{}", refusal.lines.join("\n")))?;
    let addresses = running.addresses;
    let families = Rc::new(family::families(&hub, addresses, plan.apps, plan.toys).await?);
    eprintln!(
        "soak: {} toys of {} users are made, {} MiB resident",
        plan.toys,
        plan.apps,
        running.resident_kib().unwrap_or(0) >> 10
    );
    let figures = Rc::new(Figures::new());
    let people = People::connect(addresses, &families, plan.apps, &figures).await?;
    eprintln!("soak: all are connected, {} MiB resident", running.resident_kib().unwrap_or(0) >> 10);
    let begun = Instant::now();
    figures.begin();
    let load =
        Load { addresses, families: Rc::clone(&families), figures: Rc::clone(&figures), people: Rc::new(people) };
    let mut drivers = load.drive(&plan, questions);
    let mut storm = tokio::time::interval_at((begun + plan.storm_every).into(), plan.storm_every);
    let mut span = tokio::time::interval_at((begun + SPAN).into(), SPAN);
    let end = tokio::time::sleep_until((begun + plan.time).into());
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = storm.tick() => load.people.storm(STORM_PERCENT),
            _ = span.tick() => figures.close_span(running.resident_kib().unwrap_or(0)),
        }
    }
    drivers.shutdown().await;
    load.settle().await;
    figures.close_span(running.resident_kib().unwrap_or(0));
    figures.print();
    if let Some(picture) = &plan.picture {
        let title = format!("{} toys, {} apps: latency, 99 of 100 within, milliseconds", plan.toys, plan.apps);
        let latencies = figures.latency_lines();
        let memory = [figures.memory_line()];
        draw(
            picture,
            &[
                Chart { title: &title, lines: &latencies },
                Chart { title: "resident memory of the hub, MiB", lines: &memory },
            ],
        )?;
    }
    let is_whole = load.nothing_lost().await?;
    let panics = running.log().iter().filter(|line| line.contains("panicked")).count();
    let code = running.stop().await?;
    println!("soak: the hub's exit code {code:?}, {panics} panics in its log");
    Ok(is_whole && code == Some(0) && panics == 0)
}

fn spoken_questions(folder: &Path) -> Vec<Vec<u8>> {
    let speak = |(number, words): (usize, &str)| {
        let path = folder.join(format!("question{number}.wav"));
        let spoken = Command::new("espeak-ng").args(["-v", "en-us", "-w"]).arg(&path).arg(words).status().ok()?;
        spoken.success().then(|| std::fs::read(path).ok())?
    };
    QUESTIONS.into_iter().enumerate().filter_map(speak).collect()
}

struct Load {
    addresses: Addresses,
    families: Rc<Vec<Family>>,
    figures: Rc<Figures>,
    people: Rc<People>,
}

/// Calls `act` at this rate per second, whether or not earlier calls have ended.
async fn often<F: Future<Output = ()> + 'static>(per_second: f64, act: impl Fn() -> F) {
    if per_second <= 0.0 {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tokio::task::spawn_local(act());
    }
}

fn any(count: usize) -> usize {
    rand::rng().random_range(0..count)
}

impl Load {
    fn drive(&self, plan: &Plan, questions: Vec<Vec<u8>>) -> tokio::task::JoinSet<()> {
        let mut drivers = tokio::task::JoinSet::new();
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap_or_default();
        let (addresses, families, figures) = (self.addresses, Rc::clone(&self.families), Rc::clone(&self.figures));
        let voice_client = client.clone();
        drivers.spawn_local(often(plan.voice_per_second, move || {
            let family = families[any(families.len())].clone();
            send_voice(voice_client.clone(), addresses, family, Rc::clone(&figures))
        }));
        let people = Rc::clone(&self.people);
        drivers.spawn_local(often(plan.commands_per_second, move || {
            let app: Rc<App> = people.app(any(people.apps()));
            async move { app.command() }
        }));
        let people = Rc::clone(&self.people);
        drivers.spawn_local(often(plan.chat_per_second, move || {
            let app: Rc<App> = people.app(any(people.apps()));
            async move { app.chat() }
        }));
        let people = Rc::clone(&self.people);
        drivers.spawn_local(often(plan.states_per_second, move || {
            let toy: Rc<Toy> = people.toy(any(people.toys()));
            async move { toy.state() }
        }));
        if !questions.is_empty() {
            let (families, figures, questions) =
                (Rc::clone(&self.families), Rc::clone(&self.figures), Rc::new(questions));
            drivers.spawn_local(often(plan.questions_per_minute / 60.0, move || {
                let family = families[any(families.len())].clone();
                let question = questions[any(questions.len())].clone();
                ask(client.clone(), addresses, family, question, Rc::clone(&figures))
            }));
        }
        drivers
    }

    /// Waits for outstanding answers.
    async fn settle(&self) {
        let begun = Instant::now();
        while self.figures.open() > 0 && begun.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Every accepted voice message is in its chat.
    async fn nothing_lost(&self) -> Result<bool> {
        let client = Client::new();
        let (mut there, mut fewer) = (0, 0);
        for family in self.families.iter() {
            let accepted = self.figures.accepted(&family.toy);
            if accepted.is_empty() {
                continue;
            }
            let listed = list(&client, self.addresses, family, Cursor::Number, 500).await?;
            there += accepted.len();
            fewer += accepted.iter().filter(|id| !listed.iter().any(|message| message.id == **id)).count();
        }
        println!(
            "soak: {there} voice messages accepted, {fewer} of them missing; {} calls failed",
            self.figures.failed()
        );
        for (failure, count) in self.figures.failures() {
            println!("soak: {count} times: {failure}");
        }
        Ok(fewer == 0)
    }
}

async fn send_voice(client: Client, addresses: Addresses, family: Family, figures: Rc<Figures>) {
    let recording = sound::recording(rand::rng().random_range(0..1 << 20));
    let part = Part::bytes(recording).file_name("record.wav");
    let Family { user, toy, token, .. } = &family;
    let from_app = rand::rng().random_range(0..2) == 0;
    let (path, fields, field) = if from_app {
        ("/app_uploader", [("user_id", user), ("to_user", toy)], "reco_file")
    } else {
        ("/toy_uploader", [("user_id", toy), ("to_user", user)], "reco")
    };
    let form = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value.clone()));
    let request = client.post(format!("http://{}{path}", addresses.http)).multipart(form.part(field, part));
    let request = if from_app { request.bearer_auth(token) } else { request };
    if let Some(answer) = timed(&figures, Kind::Voice, request).await {
        match answer["data"]["_id"].as_str() {
            Some(id) => figures.accept(toy, id),
            None => figures.fail(&format!("{path}: {answer}")),
        }
    }
}

async fn ask(client: Client, addresses: Addresses, family: Family, question: Vec<u8>, figures: Rc<Figures>) {
    let form = Form::new().text("toy_id", family.toy).part("reco", Part::bytes(question).file_name("question.wav"));
    let request = client.post(format!("http://{}/ai_uploader", addresses.http)).multipart(form);
    if let Some(answer) = timed(&figures, Kind::Question, request).await
        && answer["from_user"].is_null()
    {
        figures.fail(&format!("/ai_uploader: {answer}"));
    }
}

/// The answer of a call, whose time is recorded.
async fn timed(figures: &Figures, kind: Kind, request: reqwest::RequestBuilder) -> Option<Value> {
    let begun = Instant::now();
    let answer = figures.while_open(async { request.send().await?.json::<Value>().await }).await;
    match answer {
        Ok(answer) => {
            figures.note(kind, begun.elapsed());
            Some(answer)
        }
        Err(error) => {
            figures.fail(&format!("{kind:?}: {error}"));
            None
        }
    }
}
