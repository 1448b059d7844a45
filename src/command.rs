//! The command line: `serve`, and commands that work through the running hub or, where none runs, by themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::domain::backup::{self, Restore, Restored};
use crate::edge::control::{self, Answer, Command};
use crate::edge::spec::{self, Document};
use crate::edge::wire::now;
use crate::ports::router::{self, Repaired};
use crate::ports::speech::Recogniser;
use crate::server;
use crate::service::{self, Failure};

const DEFAULT_CONFIG: &str = "broker.toml";

/// The hub behind talking toys.
#[derive(Debug, Parser)]
#[command(version, about, after_help = service::EXIT_CODES)]
pub struct Arguments {
    /// The configuration file [default: broker.toml, if there is one].
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the hub.
    Serve,
    /// The equipment library.
    #[command(subcommand)]
    Device(DeviceAction),
    /// The content library.
    #[command(subcommand)]
    Content(ContentAction),
    /// The users.
    #[command(subcommand)]
    User(UserAction),
    /// The toys.
    #[command(subcommand)]
    Toy(ToyAction),
    /// Add a snapshot of everything to a folder of backups, while the hub runs or while it does not.
    Backup {
        /// The folder, best on another disk. It is made if there is none.
        dir: PathBuf,
        /// Remove older snapshots beyond this number [default: none is removed].
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
    },
    /// Restore a snapshot into the data folder, which has to be empty.
    Restore {
        /// The folder of backups.
        dir: PathBuf,
        /// The snapshot, by the name of its folder [default: the newest].
        #[arg(long)]
        snapshot: Option<String>,
        /// Restore without the sounds and pictures that are missing or damaged in the backup, and name them.
        #[arg(long)]
        leave_out_damaged: bool,
    },
    /// Check what the hub needs and what it has stored, and say what is missing.
    Doctor {
        /// Mend what can be mended of the stored data.
        #[arg(long)]
        repair: bool,
    },
    /// The descriptions of HTTP, sockets and MQTT for programs (OpenAPI, AsyncAPI).
    Spec {
        /// Write them into this folder [default: only say which there are].
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum DeviceAction {
    /// Make devices: prints key and secret of each, and stores its QR pictures.
    Add {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=control::DEVICES_MAX as i64))]
        count: u16,
        /// Also write the QR pictures as KEY.jpg and KEY.png into this folder.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print all devices and the toys that they are.
    List,
}

#[derive(Debug, Subcommand)]
enum ContentAction {
    /// Add a song or story.
    Add {
        /// The sound: MP3, WAV, M4A, Ogg or FLAC.
        file: PathBuf,
        /// Its title.
        #[arg(long)]
        title: String,
        /// Its picture: JPEG or PNG.
        #[arg(long)]
        cover: PathBuf,
    },
    /// Print the library.
    List,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Print all users.
    List,
    /// End all of a user's connections and forget all tokens: only the password lets back in.
    LogOut {
        /// The name to log in with.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum ToyAction {
    /// Make a toy a device again that anybody may bind. Its friends do not hear from it any more.
    Unbind {
        /// The id, as "device list" prints it.
        id: String,
    },
}

/// Runs the command; the error is for the person who typed it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (path, optional) = match &arguments.config {
        Some(path) => (path.as_path(), false),
        None => (Path::new(DEFAULT_CONFIG), true),
    };
    let load = || Config::load(path, optional, std::env::vars());
    let config = load().map_err(|error| error.to_string())?;
    let done = match arguments.action {
        Action::Serve => return service::serve(config, load).await.map_err(|failure| failure.at(path)),
        Action::Backup { dir, keep } => {
            let (to, keep) = (absolute(&dir)?, keep.map(usize::from));
            print(ask(config, Command::BackUp { to, keep }).await?, |_| Ok(()))
        }
        Action::Restore { dir: from, snapshot, leave_out_damaged } => {
            restore(&config, Restore { from, snapshot, leave_out_damaged }).await
        }
        Action::Doctor { repair } => doctor(config, repair).await,
        Action::Spec { out } => describe(out.as_deref()),
        Action::Device(DeviceAction::Add { count, out }) => {
            let pictures = config.server.files_dir().join("qr");
            let answer = ask(config, Command::AddDevices { count: count.into() }).await?;
            print(answer, |key| out.as_deref().map_or(Ok(()), |out| copy_pictures(&pictures, key, out)))
        }
        Action::Device(DeviceAction::List) => print(ask(config, Command::ListDevices).await?, |_| Ok(())),
        Action::Content(ContentAction::Add { file, title, cover }) => {
            let (sound, cover) = (absolute(&file)?, absolute(&cover)?);
            print(ask(config, Command::AddContent { title, sound, cover }).await?, |_| Ok(()))
        }
        Action::Content(ContentAction::List) => print(ask(config, Command::ListContent).await?, |_| Ok(())),
        Action::User(UserAction::List) => print(ask(config, Command::ListUsers).await?, |_| Ok(())),
        Action::User(UserAction::LogOut { name: user }) => {
            print(ask(config, Command::LogOut { user }).await?, |_| Ok(()))
        }
        Action::Toy(ToyAction::Unbind { id: toy }) => print(ask(config, Command::UnbindToy { toy }).await?, |_| Ok(())),
    };
    Ok(done?)
}

/// Asks the running hub, or where none runs, opens the data and does it here.
async fn ask(config: Config, command: Command) -> Result<Answer, String> {
    let socket = config.server.control_socket();
    let answered = control::ask(&socket, &command).await;
    if let Some(answer) = answered.map_err(|error| format!("{}: {error}", socket.display()))? {
        return Ok(answer);
    }
    let hub = server::open_hub(&Arc::new(config)).await?;
    let answer = control::execute(&hub, command).await;
    hub.close(now()).await.map_err(|error| error.to_string())?;
    Ok(answer)
}

/// Restores a backup, and says what is in the data folder now.
async fn restore(config: &Config, request: Restore) -> Result<(), String> {
    let began = std::time::Instant::now();
    let restored = backup::restore(config, server::store_settings, request).await.map_err(|error| error.to_string())?;
    let folder = config.server.data_dir.display();
    match restored {
        Restored::Continued => println!("{folder}\tthe restore that was cut off is done now"),
        Restored::Snapshot { name, rows: [users, toys, messages], files, bytes, left_out, missing_files } => {
            println!("{name}\t{users} users, {toys} toys, {messages} messages");
            let seconds = began.elapsed().as_secs_f64();
            println!("{folder}\t{files} files with {:.1} MB in {seconds:.1} s", bytes as f64 / 1e6);
            if missing_files > 0 {
                println!("missing\t{missing_files} files were not there when the backup was made");
            }
            for file in left_out {
                println!("left out\t{file}");
            }
        }
    }
    Ok(())
}

fn print(answer: Answer, for_device: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    match answer {
        Answer::Devices(devices) => {
            for device in devices {
                println!("{}\t{}", device.key, device.secret);
                for_device(&device.key)?;
            }
        }
        Answer::Lines(lines) => lines.iter().for_each(|line| println!("{line}")),
        Answer::Examined { lines, .. } => lines.iter().for_each(|line| println!("{line}")),
        Answer::Failed(message) => return Err(message),
    }
    Ok(())
}

fn copy_pictures(from: &Path, key: &str, to: &Path) -> Result<(), String> {
    for extension in ["jpg", "png"] {
        let name = format!("{key}.{extension}");
        std::fs::create_dir_all(to)
            .and_then(|()| std::fs::copy(from.join(&name), to.join(&name)))
            .map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the descriptions of the edges, or says which there are.
fn describe(out: Option<&Path>) -> Result<(), String> {
    let documents = spec::documents().map_err(|error| error.to_string())?;
    for Document { name, about, text } in documents {
        let Some(folder) = out else {
            println!("{name}\t{about}");
            continue;
        };
        let path = folder.join(name);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}\t{about}", path.display());
    }
    Ok(())
}

/// Prints a line for each thing that the hub needs, and for what it has stored; an error if something is missing.
async fn doctor(config: Config, repair: bool) -> Result<(), String> {
    let missing = check_needs(&config).await;
    let open = examine(config, repair).await?;
    match (missing, open) {
        (0, 0) => Ok(()),
        (0, open) if repair => Err(format!("{open} faults of the data are left")),
        (0, open) => Err(format!("{open} faults of the data; toyhub doctor --repair mends what can be mended")),
        (missing, _) => Err(format!("{missing} missing")),
    }
}

/// Prints what is wrong with the stored data, and what was mended; the number of faults that are left.
async fn examine(config: Config, repair: bool) -> Result<usize, String> {
    if config.store.url == "embedded" && !config.server.database_dir().exists() {
        // A folder that was in use is not an empty one.
        server::examine_folder(&config)?;
        println!("none     data: nothing is stored in {}", config.server.data_dir.display());
        return Ok(0);
    }
    if repair && config.store.url != "memory" {
        repair_sessions(&config).await?;
    }
    match ask(config, Command::Examine { repair }).await? {
        Answer::Examined { lines, open } => {
            lines.iter().for_each(|line| println!("{line}"));
            Ok(open)
        }
        Answer::Failed(message) => Err(message),
        Answer::Devices(_) | Answer::Lines(_) => Err("the hub gave another answer; it is of another version".into()),
    }
}

/// Puts a damaged file of sessions aside, without which no hub starts. A hub that runs has opened a good one.
async fn repair_sessions(config: &Config) -> Result<(), String> {
    if tokio::net::UnixStream::connect(config.server.control_socket()).await.is_ok() {
        return Ok(());
    }
    let file = config.server.sessions_file();
    let repaired = tokio::task::spawn_blocking(move || router::repair(&file)).await;
    match repaired.map_err(|error| error.to_string())?.map_err(|error| error.to_string())? {
        Repaired::Missing | Repaired::Sound => {}
        Repaired::PutAside(aside) => println!(
            "mended   sessions: the damaged file is now {}; lost are the subscriptions of MQTT clients, what waited for \
             those that were away, and retained messages; voice messages are in the database",
            aside.display()
        ),
    }
    Ok(())
}

/// Prints a line for each thing that the hub needs; the number of those that are missing.
async fn check_needs(config: &Config) -> usize {
    let running = tokio::net::UnixStream::connect(config.server.control_socket()).await.is_ok();
    let mut missing = 0;
    let mut report = |what: &str, found: Result<String, String>| match found {
        Ok(text) => println!("ok       {what}: {text}"),
        Err(text) => {
            missing += 1;
            println!("MISSING  {what}: {text}");
        }
    };
    let ports = [
        ("port of http.listen", Some(config.http.listen)),
        ("port of mqtt.listen", Some(config.mqtt.listen)),
        ("port of mqtt.tls_listen", config.mqtt.tls_listen),
        ("port of mqtt.conformance_listen", config.mqtt.conformance_listen),
    ];
    for (what, address) in ports.into_iter().filter_map(|(what, address)| Some((what, address?))) {
        report(
            what,
            match tokio::net::TcpListener::bind(address).await {
                _ if running => Ok(format!("{address}, a hub runs on this data")),
                Ok(_) => Ok(format!("{address} is free")),
                Err(error) => Err(format!("{address}: {error}; set another port or stop the other program")),
            },
        );
    }
    report("data folder", free_space(&config.server.data_dir));
    match config.backup.is_on() {
        true => report("backups", newest_backup(config).await),
        false => println!("none     backups: set backup.dir, or run toyhub backup DIR"),
    }
    let synthesiser = server::speaker(config).check().await;
    report("synthesiser", synthesiser.map_err(|error| format!("{error}; apt-get install espeak-ng")));
    match config.speech.reply_url.as_str() {
        "" => println!("ok       replies: built in"),
        _ => println!("ok       replies: a chat endpoint, model {}", config.speech.reply_model),
    }
    report(
        "ffmpeg",
        match config.audio.ffmpeg.as_str() {
            "" => Ok("switched off: AMR-WB and 3GP recordings are refused".into()),
            program => version_of(program).await,
        },
    );
    match config.speech.model_file() {
        Some(model) => {
            let found = inspect(model, config.speech.model_sha256.clone()).await;
            let more = if config.speech.names_no_model() {
                ", in the box; better: scripts/get-model base.en-q5_1"
            } else {
                ""
            };
            report("speech model", found.map(|found| format!("{found}{more}")));
        }
        None => println!("none     speech model: /ai_uploader answers code 16; scripts/get-model fetches one"),
    }
    missing
}

/// Name, size and kind of a model, or what is wrong with it.
async fn inspect(model: PathBuf, sha256: String) -> Result<String, String> {
    let sha256 = Some(sha256).filter(|hash| !hash.is_empty());
    let found = tokio::task::spawn_blocking(move || Recogniser::inspect(&model, sha256.as_deref())).await;
    let found = found.map_err(|error| error.to_string())?;
    found.map(|description| description.to_string()).map_err(|error| error.to_string())
}

fn free_space(folder: &Path) -> Result<String, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let space = rustix::fs::statvfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let free_mib = space.f_bavail * space.f_frsize / (1024 * 1024);
    let text = format!("{}, {free_mib} MiB free", folder.display());
    if free_mib < 100 { Err(format!("{text}; make room")) } else { Ok(text) }
}

/// The newest backup of `[backup]`, or that there is none of late.
async fn newest_backup(config: &Config) -> Result<String, String> {
    let settings = &config.backup;
    let found = backup::newest(&settings.dir).await.map_err(|error| error.to_string())?;
    let folder = settings.dir.display();
    let (name, taken_at) = found.ok_or_else(|| format!("{folder} holds none yet; the log of the hub says why"))?;
    let hours = ((now() - taken_at) / 3600.0).max(0.0) as u64;
    let text = format!("{folder}/{name}, {hours} hours old");
    // One may be late: the hub was off, or it is being made.
    let is_old = hours > settings.interval_h.saturating_mul(2);
    if is_old { Err(format!("{text}; the log of the hub says why none was made since")) } else { Ok(text) }
}

async fn version_of(program: &str) -> Result<String, String> {
    let output = tokio::process::Command::new(program).arg("-version").output().await;
    let output = output.map_err(|error| format!("{program}: {error}; apt-get install ffmpeg"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or(program).to_owned())
}
