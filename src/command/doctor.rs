//! `toyhub doctor`: checks of requirements and stored data, and repairs.
//!
//! Each finding is a line on the standard output. The last line, on the standard error, and the exit code summarise
//! them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::ask;
use super::output::{print, print_all};
use crate::config::{Config, HttpListen, Speech};
use crate::domain::backup;
use crate::edge::control::{Command, Response};
use crate::edge::wire::now;
use crate::ports::data_folder::{self, Mended};
use crate::ports::router::{self, Repaired};
use crate::ports::speech::languages::{self, Language};
use crate::ports::speech::{ModelDescription, Recogniser, Voice};
use crate::ports::store::{Store, is_open};
use crate::server;
use crate::service::Failure;

/// The data that is lost with the file of sessions.
const LOST_SESSIONS: &str = "the subscriptions of MQTT clients, the messages of offline clients, and \
                             retained messages are lost; voice messages are in the database";

/// The remaining faults of the stored data.
#[derive(Default)]
struct Left {
    /// Faults that were not repaired.
    open: usize,
    /// Losses that cannot be repaired.
    lost: usize,
}

/// Checks everything, repairs faults with `repair`, and prints a line for each finding.
///
/// Errors: `Faults` if something is missing or wrong, `Losses` if only losses are left.
pub async fn run(config: Config, repair: bool) -> Result<(), Failure> {
    let missing = check_needs(&config).await?;
    let Left { open, lost } = examine(config, repair).await?;
    let mut faults = Vec::new();
    if missing > 0 {
        faults.push(format!("{missing} requirements of the hub are missing"));
    }
    match open {
        0 => {}
        open if repair => faults.push(format!("{open} faults of the data are left")),
        open => faults.push(format!("{open} faults of the data; toyhub doctor --repair fixes what can be repaired")),
    }
    if !faults.is_empty() {
        return Err(Failure::Faults(faults.join("; ")));
    }
    match lost {
        0 => Ok(()),
        lost => Err(Failure::Losses(format!("{lost} losses in the data; only a backup may still have the lost data"))),
    }
}

/// Prints the faults of the stored data, and the repairs.
async fn examine(config: Config, repair: bool) -> Result<Left, Failure> {
    if repair && !is_running(&config).await {
        mend_folder(&config).await?;
    }
    if config.store.url == "embedded" && !config.server.database_dir().exists() && !is_running(&config).await {
        // A used folder is not treated as an empty one.
        server::examine_folder(&config).await.map_err(|fault| Failure::Faults(fault.to_string()))?;
        print(format_args!("none     data: nothing is stored in {}", config.server.data_dir.display()))?;
        return Ok(Left::default());
    }
    let answer = ask(config, Command::Examine { repair }).await.map_err(|failure| match failure {
        // An error on opening the data is a finding of the doctor.
        Failure::Command(fault) => Failure::Faults(fault),
        other => other,
    });
    match answer? {
        Response::Examined { lines, open, lost } => {
            print_all(lines)?;
            Ok(Left { open, lost })
        }
        Response::Failed(message) => Err(Failure::Command(message)),
        Response::Devices(_) | Response::Lines(_) => {
            Err(Failure::Command("the hub gave another answer; it is of another version".into()))
        }
    }
}

/// Repairs the parts of a folder that prevent a hub from starting. Those of a running hub are valid.
async fn mend_folder(config: &Config) -> Result<(), Failure> {
    let (folder, parts) = (config.server.data_dir.clone(), server::folder_parts(config));
    let sessions = parts.sessions.clone();
    let mended = tokio::task::spawn_blocking(move || {
        let fault = |error: &dyn std::error::Error| Failure::Faults(error.to_string());
        let mended = data_folder::mend(&folder, &parts, is_open, now()).map_err(|error| fault(&error))?;
        let repaired = match (&mended, sessions) {
            (Some(_), Some(file)) => Some((router::repair(&file).map_err(|error| fault(&error))?, file)),
            _ => None,
        };
        Ok::<_, Failure>((mended.unwrap_or_default(), repaired))
    });
    let (mended, repaired) = mended.await.map_err(|error| Failure::Command(error.to_string()))??;
    for mended in mended {
        match mended {
            Mended::HubFile(aside) => print(format_args!(
                "mended   hub.toml: the unreadable file is now {}; a new one gets the identity that the \
                 database holds; whether this database is the newest one cannot be checked without the old file",
                aside.display()
            ))?,
            Mended::Files(folder) => print(format_args!(
                "mended   files: the missing folder {} was created again, empty; if its content is on another disk, mount \
                 that before the hub starts",
                folder.display()
            ))?,
        }
    }
    match repaired {
        None | Some((Repaired::Sound, _)) => Ok(()),
        Some((Repaired::Made, file)) => print(format_args!(
            "mended   sessions: the missing file {} was created again, empty; {LOST_SESSIONS}",
            file.display()
        )),
        Some((Repaired::PutAside(aside), _)) => {
            print(format_args!("mended   sessions: the damaged file is now {}; {LOST_SESSIONS}", aside.display()))
        }
    }
}

async fn is_running(config: &Config) -> bool {
    tokio::net::UnixStream::connect(config.server.control_socket()).await.is_ok()
}

/// Prints a line for each requirement of the hub. Returns the number of missing ones.
async fn check_needs(config: &Config) -> Result<usize, Failure> {
    let running = is_running(config).await;
    let mut missing = 0;
    let mut report = |what: &str, found: Result<String, String>| match found {
        Ok(text) => print(format_args!("ok       {what}: {text}")),
        Err(text) => {
            missing += 1;
            print(format_args!("MISSING  {what}: {text}"))
        }
    };
    let http = &config.http;
    let [listen, legacy_listen, tls_listen] =
        [&http.listen, &http.legacy_listen, &http.tls_listen].map(|listen| addresses_of(listen));
    let ports = [
        ("http.listen", &listen[..]),
        ("http.legacy_listen", &legacy_listen),
        ("http.tls_listen", &tls_listen),
        ("mqtt.listen", &config.mqtt.listen),
        ("mqtt.tls_listen", &config.mqtt.tls_listen),
        ("console.listen", &config.console.listen),
        ("console.tls_listen", &config.console.tls_listen),
        ("mqtt.conformance_listen", config.mqtt.conformance_listen.as_slice()),
    ];
    for (key, addresses) in ports {
        for address in addresses {
            let found = match running {
                true => Ok(format!("{key}: {address}, a hub runs on this data")),
                false => server::try_listen(key, *address, addresses).map(|()| format!("{key}: {address} is free")),
            };
            report("port", found)?;
        }
    }
    match config.auth.mode.warning() {
        Some(warning) => print(format_args!("WARNING  {warning}"))?,
        None => print("ok       access: calls without a token need a place, or are refused")?,
    }
    report("data folder", free_space(&config.server.data_dir))?;
    if config.store.is_on_server() {
        let found = Store::round_trip(&server::store_settings(config)).await;
        let url = &config.store.url;
        report("store", found.map(|times| format!("{url}: {times}")).map_err(|why| format!("{url}: {why}")))?;
    }
    match server::bucket(config) {
        Ok(None) => {}
        Ok(Some(bucket)) => {
            let found = bucket.round_trip().await;
            let url = &config.files.url;
            report("files", found.map(|times| format!("{url}: {times}")).map_err(|why| format!("{url}: {why}")))?;
        }
        Err(why) => report("files", Err(why))?,
    }
    match server::bus_round_trips(config).await {
        Ok(brokers) => {
            for (url, found) in brokers {
                let found = found.map(|times| format!("{url}: {times}")).map_err(|why| format!("{url}: {why}"));
                report("bus", found)?;
            }
        }
        Err(why) => report("bus", Err(why))?,
    }
    match config.backup.is_on() {
        true => report("backups", newest_backup(config).await)?,
        false => print("none     backups: set backup.dir, or run toyhub backup DIR")?,
    }
    let speech = &config.speech;
    if let Some(fault) = speech.fault_of_languages() {
        report("languages", Err(fault))?;
    }
    let family = Language::of_family(&speech.languages);
    let voice = if speech.voice.is_empty() { family.voice } else { &speech.voice };
    let speaker = server::speaker(config);
    let synthesiser = speaker.check(voice).await;
    let speaks = synthesiser.is_ok();
    report(
        "synthesiser",
        synthesiser.map_err(|error| {
            format!("{error}; apt-get install espeak-ng; until then the hub is silent where Piper does not speak")
        }),
    )?;
    let own = Voice { name: &speech.voice, instead: family.voice, speed_percent: 100 };
    match speech.piper_folder().filter(|_| speech.synthesiser_arguments.is_empty()) {
        Some(_) => {
            for fault in speaker.faults() {
                report("voice", Err(fault.clone()))?;
            }
            for language in languages::all() {
                let is_family = language.code == family.code;
                if is_family || speech.languages.iter().any(|code| code == language.code) {
                    let voice = if is_family && !own.name.is_empty() { own } else { language.code.into() };
                    report(&format!("voice of {}", language.code), speaker.check_voice(voice).await)?;
                }
            }
        }
        None => {
            let who = if speaks { "the synthesiser above speaks" } else { "nothing speaks" };
            print(format_args!("none     Piper: {who}; scripts/get-voice fetches more human voices"))?;
            if !own.name.is_empty() && speech.synthesiser_arguments.is_empty() {
                report(&format!("voice of {}", family.code), speaker.check_voice(own).await)?;
            }
        }
    }
    match config.speech.reply_url.as_str() {
        "" => print("ok       replies: built in")?,
        _ => print(format_args!("ok       replies: a chat endpoint, model {}", config.speech.reply_model))?,
    }
    report(
        "ffmpeg",
        match config.audio.ffmpeg.as_str() {
            "" => Ok("turned off: recordings that the hub cannot decode itself are refused".into()),
            program => version_of(program).await,
        },
    )?;
    match config.speech.model_file() {
        Some(model) => {
            let more = if config.speech.names_no_model() { ", included" } else { "" };
            let found = match inspect(model, speech).await {
                Ok(model) => all_languages(&model, speech).map(|()| format!("{model}{more}")),
                Err(why) => match speech.instead() {
                    Some((speech, model)) => match inspect(model, &speech).await {
                        Ok(included) => Err(format!("{why}; until then the included model is used, {included}")),
                        Err(also) => Err(format!("{why}; the included model is not available either: {also}")),
                    },
                    None => Err(format!("{why}; until then the hub recognises no speech")),
                },
            };
            report("speech model", found)?;
        }
        None => print("none     speech model: /ai_uploader answers code 16; scripts/get-model fetches one")?,
    }
    Ok(missing)
}

fn addresses_of(listen: &[HttpListen]) -> Vec<SocketAddr> {
    listen.iter().map(|listen| listen.address).collect()
}

/// Name, size and kind of a model, or its fault.
async fn inspect(model: PathBuf, settings: &Speech) -> Result<ModelDescription, String> {
    let sha256 = Some(settings.model_sha256.clone()).filter(|hash| !hash.is_empty());
    let found = tokio::task::spawn_blocking(move || Recogniser::inspect(&model, sha256.as_deref())).await;
    found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The fault that a model does not support all languages.
fn all_languages(model: &ModelDescription, settings: &Speech) -> Result<(), String> {
    let languages = settings.known_languages();
    let missing = model.missing(&languages);
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{model}: it does not support {} of speech.languages, and hears every recording as English; \
             scripts/get-model base-q5_1",
            missing.join(", ")
        )),
    }
}

fn free_space(folder: &Path) -> Result<String, String> {
    data_folder::make_private_folder(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let space = rustix::fs::statvfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let free_mib = space.f_bavail * space.f_frsize / (1024 * 1024);
    let text = format!("{}, {free_mib} MiB free", folder.display());
    if free_mib < 100 { Err(format!("{text}; free space on the disk")) } else { Ok(text) }
}

/// The newest backup of `[backup]`, or the fault that there is no recent one.
async fn newest_backup(config: &Config) -> Result<String, String> {
    let settings = &config.backup;
    let found = backup::newest(&settings.dir).await.map_err(|error| error.to_string())?;
    let folder = settings.dir.display();
    let (name, taken_at) = found.ok_or_else(|| format!("{folder} has no backup yet; see the log of the hub"))?;
    let hours = ((now() - taken_at) / 3600.0).max(0.0) as u64;
    let text = format!("{folder}/{name}, {hours} hours old");
    // A backup may be late if the hub was stopped, or if it is being made.
    let is_old = hours > settings.interval_h.saturating_mul(2);
    if is_old { Err(format!("{text}; no newer one was made, see the log of the hub")) } else { Ok(text) }
}

async fn version_of(program: &str) -> Result<String, String> {
    let output = tokio::process::Command::new(program).arg("-version").output().await;
    let output = output.map_err(|error| {
        format!("{program}: {error}; recordings that the hub cannot decode itself are refused; apt-get install ffmpeg")
    })?;
    if !output.status.success() {
        return Err(format!("{program}: it ends with {}; set audio.ffmpeg, or apt-get install ffmpeg", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or(program).to_owned())
}
