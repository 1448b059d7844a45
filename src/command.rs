//! The command line: `serve`, and commands that use the running hub or, if none runs, the data directly.

mod certificate;
mod devices;
mod doctor;
mod hear;
mod manual;
mod output;
mod progress;
mod runtime;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use rustix::fs::Mode;

use crate::config::{self, Config};
use crate::domain::backup::{self, Openers, Restore, Restored};
use crate::domain::hearing::Nameable;
use crate::edge::control::{self, Command, PartyName, Response};
use crate::edge::spec::{self, Document};
use crate::edge::wire::now;
use crate::ports::qr;
use crate::ports::speech::let_threads_sleep;
use crate::server;
use crate::service::{self, Failure};

use output::{print, print_all};
use progress::Display;

const DEFAULT_CONFIG: &str = "broker.toml";
/// The outcome of a command that was interrupted while the hub executes it.
const LEFT_TO_THE_HUB: &str = "interrupted: the hub finishes the command, and logs the outcome";
/// The outcome of a command that was interrupted while no hub runs.
const INTERRUPTED: &str = "interrupted: an erasure that has begun is continued by the hub, or by 'toyhub erase --finish'; \
     anything else is done or not done: repeat it";

/// The server for talking toys.
#[derive(Debug, Parser)]
#[command(version, about, after_help = service::EXIT_CODES)]
pub struct Arguments {
    /// The configuration file [default: broker.toml, if it exists].
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
    /// Give the operator of the console a new password, print it, and end all sessions of the console.
    ConsolePassword {
        /// Read the password from the first line of the standard input [default: generate a random one].
        #[arg(long)]
        stdin: bool,
    },
    /// Create an invitation for one account or one binding (`[auth] registration` and `binding` = "invite"), or for
    /// another guardian of a toy; print its code.
    Invite {
        /// The id of the toy, as "device list" prints it.
        #[arg(long)]
        toy: Option<String>,
        /// The toy's remark for the new guardian [default: the guardian's own name].
        #[arg(long, requires = "toy")]
        remark: Option<String>,
    },
    /// Add a snapshot of all data to a folder of backups, whether or not the hub runs.
    Backup {
        /// The folder, best on another disk. It is created if it does not exist.
        dir: PathBuf,
        /// Remove older snapshots beyond this number [default: none is removed].
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
    },
    /// Restore a snapshot into the data folder, which must be empty.
    Restore {
        /// The folder of backups.
        dir: PathBuf,
        /// The snapshot, by the name of its folder [default: the newest].
        #[arg(long)]
        snapshot: Option<String>,
        /// Skip sounds and pictures that are missing or damaged in the backup, and list them.
        #[arg(long)]
        leave_out_damaged: bool,
    },
    /// Finish all erasures: when this returns, no erased data is left.
    Erase {
        /// Wait until all erasures are finished. The running hub finishes them by itself, too.
        #[arg(long, required = true)]
        finish: bool,
    },
    /// Check the requirements and the stored data of the hub, and report faults.
    Doctor {
        /// Repair faults of the stored data.
        #[arg(long)]
        repair: bool,
    },
    /// Recognise a recording with the configured model, and print its words, their confidence and the intent.
    Hear {
        /// The recording, in any format that toys may send.
        file: PathBuf,
        /// A title of the library that the child may ask for; repeat it for more.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        title: Vec<String>,
        /// A friend that the child may send a message to; repeat it for more.
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        friend: Vec<String>,
        /// The name of the toy, by which the child may address it.
        #[arg(long, default_value = "Teddy")]
        toy: String,
    },
    /// Create a certificate for the home network, and the authority that signs it; print how to use and trust them.
    Certificate {
        /// More names and addresses by which clients reach the hub, such as toys.example 192.168.1.5
        names: Vec<String>,
        /// The folder for the files. An existing authority in it is used again.
        #[arg(long, default_value = "tls")]
        out: PathBuf,
    },
    /// Print a complete configuration with its defaults.
    Config {
        /// Print broker.toml with every key and its default. This is the default.
        #[arg(long)]
        default: bool,
        /// Print the page that describes every key, docs/configuration.md.
        #[arg(long, conflicts_with = "default")]
        reference: bool,
    },
    /// The descriptions of HTTP, sockets and MQTT for programs (OpenAPI, AsyncAPI).
    Spec {
        /// Write them into this folder [default: only list them].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print the manual page, toyhub(1).
    Man {
        /// Write the pages of all commands into this folder: toyhub.1, toyhub-device-add.1 and so on.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print a text, such as the address of the hub, as a QR code for a phone.
    Qr {
        /// The text.
        text: String,
    },
    /// Print the completions of the command line for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum DeviceAction {
    /// Create devices: prints key and secret of each, and stores its QR pictures.
    Add {
        /// The number of devices.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=control::DEVICES_MAX as i64))]
        count: u16,
        /// Give the device this key, which is written in it already: 32 hexadecimal digits [default: a random one].
        #[arg(long, conflicts_with = "count")]
        key: Option<String>,
        /// Also write the QR pictures as KEY.jpg and KEY.png into this folder.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Add devices that exist already, with their keys: all devices of a file, or none.
    Import {
        /// A CSV file with a line for each device: the key, and optionally a secret and a name. A device without a
        /// secret opens by its key alone; "device renew" gives it one.
        file: PathBuf,
    },
    /// Print all devices and their toys.
    List,
    /// Give a device a new secret, and print it. The old one becomes invalid.
    Renew {
        /// The key, as "device list" prints it.
        key: String,
    },
}

#[derive(Debug, Subcommand)]
enum ContentAction {
    /// Add a song or story.
    Add {
        /// The sound. MP3, WAV, M4A, Ogg and FLAC are stored as they are, other formats as MP3.
        file: PathBuf,
        /// Its title.
        #[arg(long)]
        title: String,
        /// Its picture: JPEG or PNG.
        #[arg(long)]
        cover: PathBuf,
        /// Store the sound under this name, which pages know already [default: a random one].
        #[arg(long)]
        name: Option<String>,
    },
    /// Add the songs and stories of a list, in its order.
    Import {
        /// A text file with a line for each piece: its sound, its picture and its title, separated by tabs, and
        /// optionally a name as of "content add". The files are relative to the folder of the list.
        file: PathBuf,
    },
    /// Print the library.
    List,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Print all users.
    List,
    /// Close all of a user's connections and revoke all tokens. The user has to log in with the password again.
    LogOut {
        /// The name to log in with.
        name: String,
    },
    /// Give a user a new password, print it, and revoke all tokens of the user.
    Password {
        /// The name to log in with.
        name: String,
        /// Read the password from the first line of the standard input [default: generate a random one].
        #[arg(long)]
        stdin: bool,
    },
    /// Export the data of a user and the user's toys to a ZIP file.
    Export {
        /// The name to log in with.
        name: String,
        /// The file, which must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Print the audit log of a user, newest first: time, action, actor, other party, address or setting.
    Audit {
        /// The name to log in with.
        name: String,
    },
    /// Erase a user with all chats, recordings and toys. The devices of the toys can be bound again.
    Erase {
        /// The name to log in with.
        name: String,
    },
    /// Require a token for all calls for a user, also at its places (`[auth] mode = "place"`).
    OnlyToken {
        /// The name to log in with.
        name: String,
        /// Permit calls without a token from the user's places again.
        #[arg(long)]
        off: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ToyAction {
    /// Require a token for all calls for a toy, also at its places (`[auth] mode = "place"`).
    OnlyToken {
        /// The id, as "device list" prints it.
        id: String,
        /// Permit calls without a token from the toy's places again.
        #[arg(long)]
        off: bool,
    },
    /// Print what is set for a toy: quiet hours, minutes of a day, and which content it plays.
    Settings {
        /// The id, as "device list" prints it.
        id: String,
    },
    /// Set the quiet hours of a toy, in which messages are held back and no music plays.
    Quiet {
        /// The id, as "device list" prints it.
        id: String,
        /// The daily start: 20:00.
        #[arg(required_unless_present = "off")]
        from: Option<String>,
        /// The daily end: 07:00.
        #[arg(required_unless_present = "off")]
        until: Option<String>,
        /// The time zone of the family: Europe/Berlin.
        #[arg(long, required_unless_present = "off")]
        zone: Option<String>,
        /// Remove the quiet hours.
        #[arg(long, conflicts_with_all = ["from", "until", "zone"])]
        off: bool,
    },
    /// Set how many minutes a toy plays on each day: then messages wait until the next day, and no music plays.
    Minutes {
        /// The id, as "device list" prints it.
        id: String,
        /// The minutes, from 1 to 1440.
        #[arg(required_unless_present = "off")]
        minutes: Option<u32>,
        /// The time zone of the family, in which a day begins at midnight: Europe/Berlin.
        #[arg(long, required_unless_present = "off")]
        zone: Option<String>,
        /// There is no limit any more.
        #[arg(long, conflicts_with_all = ["minutes", "zone"])]
        off: bool,
    },
    /// Set whether a toy plays all content or only approved content.
    Content {
        /// The id, as "device list" prints it.
        id: String,
        /// The permitted content.
        #[arg(value_parser = ["all", "approved"])]
        mode: String,
    },
    /// Set the voice in which the hub speaks to the child of a toy.
    Voice {
        /// The id, as "device list" prints it.
        id: String,
        /// A voice of Piper that is installed, as "doctor" prints it. Default: the voice of the hub.
        voice: Option<String>,
        /// The pace in percent: 60, 70, 80, 90, 100, 120 or 140.
        #[arg(long, default_value_t = 100)]
        speed: u16,
    },
    /// Approve a piece of the library for a toy.
    Approve {
        /// The id, as "device list" prints it.
        id: String,
        /// The id of the piece, as "content list" prints it.
        content: String,
        /// Revoke the approval.
        #[arg(long)]
        off: bool,
    },
    /// Print the audit log of a toy, newest first: time, action, actor, other party, address or setting.
    Audit {
        /// The id, as "device list" prints it.
        id: String,
    },
    /// Print the text that the owner of a toy has agreed to, with its version and the time.
    Consent {
        /// The id, as "device list" prints it.
        id: String,
    },
    /// Print the guardians of a toy.
    Guardians {
        /// The id, as "device list" prints it.
        id: String,
    },
    /// Remove a guardian of a toy.
    RemoveGuardian {
        /// The id, as "device list" prints it.
        id: String,
        /// The user name of the guardian.
        name: String,
    },
    /// Permit a toy to open once at a new address in the next minutes (`auth.let_in_minutes`).
    LetIn {
        /// The id, as "device list" prints it.
        id: String,
    },
    /// Unbind a toy and erase its data. Prints the device, which can be bound again, with its new secret.
    Unbind {
        /// The id, as "device list" prints it.
        id: String,
        /// Give the device a new key, too, with new QR pictures.
        #[arg(long)]
        new_key: bool,
    },
    /// Erase a toy with its device, which cannot be bound again.
    Erase {
        /// The id, as "device list" prints it.
        id: String,
    },
}

/// Runs the command to its end. The error is for the operator.
///
/// The runtime is here and not in the program, which would otherwise be compiled with all asynchronous code of the hub
/// once more.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    if matches!(arguments.action, Action::Serve | Action::Hear { .. }) {
        let_threads_sleep();
    }
    let runtime = runtime::start().map_err(|error| Failure::Command(format!("cannot start the runtime: {error}")))?;
    // On a worker thread, as the size of the main thread's stack cannot be set here.
    let command = runtime.spawn(execute(arguments));
    let ended_early = |error| Err(Failure::Essential(format!("the command ended early: {error}")));
    let outcome = runtime.block_on(command).unwrap_or_else(ended_early);
    // All data is on disk by now; a conversion that still runs on a thread is not needed any more.
    runtime.shutdown_background();
    outcome
}

/// The environment. A name that is no text is none of the hub's; in a value, U+FFFD stands for what is no text.
fn environment() -> impl Iterator<Item = (String, String)> {
    let variables = std::env::vars_os();
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

async fn execute(arguments: Arguments) -> Result<(), Failure> {
    let (path, optional) = match &arguments.config {
        Some(path) => (path.as_path(), false),
        None => (Path::new(DEFAULT_CONFIG), true),
    };
    if let Action::Certificate { names, out } = &arguments.action {
        // Before the configuration is read: it may be invalid only because the certificate is missing.
        return certificate::make(&absolute(out)?, names);
    }
    match arguments.action {
        // Packages are built without a configuration.
        Action::Man { out } => return manual::pages(&Arguments::command(), out.as_deref()),
        Action::Qr { text } => {
            let code = qr::terminal(&text).map_err(|error| Failure::Command(error.to_string()))?;
            return print(code.trim_end_matches('\n'));
        }
        Action::Completions { shell } => return manual::completions(&mut Arguments::command(), shell),
        _ => {}
    }
    let load = || Config::load(path, optional, environment());
    let config = match arguments.action {
        // Works even with an invalid configuration file.
        Action::Config { .. } => Config::default(),
        _ => load().map_err(|error| Failure::Command(error.to_string()))?,
    };
    if !matches!(arguments.action, Action::Spec { .. } | Action::Config { .. }) {
        // Files with children's voices and secrets must not be readable by other users of this machine.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    let done = match arguments.action {
        Action::Serve => {
            let mut display = Display::new();
            service::serve(config, load, |report| display.show(report)).await
        }
        Action::Backup { dir, keep } => {
            let (to, keep) = (absolute(&dir)?, keep.map(usize::from));
            print_answer(ask(config, Command::BackUp { to, keep }).await?)
        }
        Action::Restore { dir: from, snapshot, leave_out_damaged } => {
            restore(&config, Restore { from, snapshot, leave_out_damaged }).await
        }
        Action::Doctor { repair } => doctor::run(config, repair).await,
        Action::Hear { file, title, friend, toy } => {
            hear::run(&config, &file, &Nameable { titles: title, friends: friend, toy_name: toy }).await
        }
        // Done above.
        Action::Certificate { .. } | Action::Man { .. } | Action::Qr { .. } | Action::Completions { .. } => Ok(()),
        Action::Config { reference, .. } => print_configuration(reference),
        Action::Spec { out } => describe(out.as_deref()),
        Action::Device(DeviceAction::Add { count, key, out }) => {
            devices::add(config, count.into(), key, out.as_deref()).await
        }
        Action::Device(DeviceAction::Import { file }) => {
            let file = absolute(&file)?;
            print_answer(ask(config, Command::ImportDevices { file }).await?)
        }
        Action::Device(DeviceAction::List) => print_answer(ask(config, Command::ListDevices).await?),
        Action::Content(ContentAction::Add { file, title, cover, name }) => {
            let (sound, cover) = (absolute(&file)?, absolute(&cover)?);
            print_answer(ask(config, Command::AddContent { title, sound, cover, name }).await?)
        }
        Action::Content(ContentAction::Import { file }) => {
            let file = absolute(&file)?;
            print_answer(ask(config, Command::ImportContent { file }).await?)
        }
        Action::Content(ContentAction::List) => print_answer(ask(config, Command::ListContent).await?),
        Action::User(UserAction::List) => print_answer(ask(config, Command::ListUsers).await?),
        Action::User(UserAction::LogOut { name: user }) => print_answer(ask(config, Command::LogOut { user }).await?),
        Action::User(UserAction::OnlyToken { name, off }) => {
            print_answer(ask(config, Command::OnlyToken { party: PartyName::User(name), is_on: !off }).await?)
        }
        Action::User(UserAction::Audit { name }) => {
            print_answer(ask(config, Command::Audit { party: PartyName::User(name) }).await?)
        }
        Action::Toy(ToyAction::Audit { id }) => {
            print_answer(ask(config, Command::Audit { party: PartyName::Toy(id) }).await?)
        }
        Action::Toy(ToyAction::Consent { id: toy }) => print_answer(ask(config, Command::Consent { toy }).await?),
        Action::User(UserAction::Password { name: user, stdin }) => {
            let password = if stdin { Some(first_line()?) } else { None };
            print_answer(ask(config, Command::SetPassword { user, password }).await?)
        }
        Action::ConsolePassword { stdin } => {
            let password = if stdin { Some(first_line()?) } else { None };
            print_answer(ask(config, Command::SetOperatorPassword { password }).await?)
        }
        Action::Invite { toy, remark } => {
            let remark = remark.unwrap_or_default();
            print_answer(ask(config, Command::Invite { toy, remark }).await?)
        }
        Action::Toy(ToyAction::Settings { id: toy }) => print_answer(ask(config, Command::ToySettings { toy }).await?),
        Action::Toy(ToyAction::Quiet { id: toy, from, until, zone, .. }) => {
            let [from, until, zone] = [from, until, zone].map(Option::unwrap_or_default);
            print_answer(ask(config, Command::SetQuietHours { toy, from, until, zone }).await?)
        }
        Action::Toy(ToyAction::Minutes { id: toy, minutes, zone, .. }) => {
            let zone = zone.unwrap_or_default();
            print_answer(ask(config, Command::SetDailyMinutes { toy, minutes, zone }).await?)
        }
        Action::Toy(ToyAction::Content { id: toy, mode }) => {
            let is_approved_only = mode == "approved";
            print_answer(ask(config, Command::SetContent { toy, is_approved_only }).await?)
        }
        Action::Toy(ToyAction::Voice { id: toy, voice, speed }) => {
            print_answer(ask(config, Command::SetToyVoice { toy, voice, speed }).await?)
        }
        Action::Toy(ToyAction::Approve { id: toy, content, off }) => {
            print_answer(ask(config, Command::Approve { toy, content, is_approved: !off }).await?)
        }
        Action::Toy(ToyAction::Guardians { id: toy }) => {
            print_answer(ask(config, Command::ListGuardians { toy }).await?)
        }
        Action::Toy(ToyAction::RemoveGuardian { id: toy, name: user }) => {
            print_answer(ask(config, Command::RemoveGuardian { toy, user }).await?)
        }
        Action::Toy(ToyAction::OnlyToken { id, off }) => {
            print_answer(ask(config, Command::OnlyToken { party: PartyName::Toy(id), is_on: !off }).await?)
        }
        Action::Toy(ToyAction::LetIn { id: toy }) => print_answer(ask(config, Command::LetToyIn { toy }).await?),
        Action::Toy(ToyAction::Unbind { id: toy, new_key }) => {
            print_answer(ask(config, Command::UnbindToy { toy, new_key }).await?)
        }
        Action::Toy(ToyAction::Erase { id: toy }) => print_answer(ask(config, Command::EraseToy { toy }).await?),
        Action::User(UserAction::Export { name: user, out }) => {
            let to = absolute(&out)?;
            print_answer(ask(config, Command::Export { user, to }).await?)
        }
        Action::User(UserAction::Erase { name: user }) => print_answer(ask(config, Command::EraseUser { user }).await?),
        Action::Erase { .. } => print_answer(ask(config, Command::FinishErasures).await?),
        Action::Device(DeviceAction::Renew { key }) => print_answer(ask(config, Command::RenewDevice { key }).await?),
    };
    // Without a file, the defaults and the environment apply.
    done.map_err(|failure| if path.exists() { failure.at(path) } else { failure })
}

/// Sends the command to the running hub. If none runs, opens the data and executes it here.
async fn ask(config: Config, command: Command) -> Result<Response, Failure> {
    let (socket, mut display) = (config.server.control_socket(), Display::new());
    let answered = tokio::select! {
        answered = control::ask(&socket, &command, |report| display.show(report)) => answered,
        _ = tokio::signal::ctrl_c() => return Err(Failure::Command(LEFT_TO_THE_HUB.into())),
    };
    if let Some(answer) = answered.map_err(|error| Failure::Command(format!("{}: {error}", socket.display())))? {
        return Ok(answer);
    }
    let (progress, reports) = control::channel();
    let executed = async move {
        let hub = server::open_hub(&Arc::new(config), &progress).await?;
        let answer = tokio::select! {
            answer = control::execute(&hub, command, &progress) => Ok(answer),
            // Each of its transactions is done or not done.
            _ = tokio::signal::ctrl_c() => Err(Failure::Command(INTERRUPTED.into())),
        };
        hub.close(now()).await.map_err(|error| Failure::Command(error.to_string()))?;
        answer
    };
    tokio::join!(executed, control::show_all(reports, |report| display.show(report))).0
}

/// The first line of the standard input, without its end.
fn first_line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Failure::Command(format!("standard input: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Restores a backup, and prints the content of the data folder.
async fn restore(config: &Config, request: Restore) -> Result<(), Failure> {
    let (began, mut display) = (std::time::Instant::now(), Display::new());
    let (progress, reports) = control::channel();
    let openers = Openers { store: server::store_settings, bucket: server::bucket };
    let restoring = async move { backup::restore(config, openers, request, &progress).await };
    let (restored, ()) = tokio::join!(restoring, control::show_all(reports, |report| display.show(report)));
    drop(display);
    let folder = config.server.data_dir.display();
    let restored = restored.map_err(|error| Failure::Command(error.to_string()))?;
    let Restored::Snapshot { name, taken_at, hub, rows, files, bytes, left_out, missing_files } = restored else {
        return print(format_args!("{folder}\tthe interrupted restore is complete now"));
    };
    let hub = hub.map_or_else(|| "an unnamed hub".to_owned(), |hub| format!("hub {hub}"));
    print(format_args!("{name}\tof {hub}, begun on {taken_at}"))?;
    let [users, toys, messages] = rows;
    print(format_args!("{folder}\t{users} users, {toys} toys, {messages} messages"))?;
    let (megabytes, seconds) = (bytes as f64 / 1e6, began.elapsed().as_secs_f64());
    print(format_args!("files\t{files} with {megabytes:.1} MB in {seconds:.1} s"))?;
    if missing_files > 0 {
        print(format_args!("missing\t{missing_files} files were missing when the backup was made"))?;
    }
    print_all(left_out.iter().map(|file| format!("left out\t{file}")))
}

/// Prints the answer of the hub.
fn print_answer(answer: Response) -> Result<(), Failure> {
    match answer {
        Response::Lines(lines) | Response::Examined { lines, .. } => {
            print_all(lines).map_err(|failure| match failure {
                Failure::Output(_) => Failure::Command(format!("{failure}; the command itself was done")),
                other => other,
            })
        }
        Response::Failed(message) => Err(Failure::Command(message)),
        Response::Devices(_) => Err(Failure::Command("the hub gave another answer; it is of another version".into())),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Command(format!("{}: {error}", path.display())))
}

/// Prints broker.toml, or the page about it.
fn print_configuration(reference: bool) -> Result<(), Failure> {
    let text = if reference { config::reference() } else { config::default_file() };
    print(text.map_err(|error| Failure::Command(error.to_string()))?.trim_end())
}

/// Writes the descriptions of the edges, or lists them.
fn describe(out: Option<&Path>) -> Result<(), Failure> {
    let documents = spec::documents().map_err(|error| Failure::Command(error.to_string()))?;
    for Document { name, about, text } in documents {
        let Some(folder) = out else {
            print(format_args!("{name}\t{about}"))?;
            continue;
        };
        let path = folder.join(name);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| Failure::Command(format!("{}: {error}", path.display())))?;
        print(format_args!("{}\t{about}", path.display()))?;
    }
    Ok(())
}
