//! The control socket: commands of the command line to the running hub, which is the only process that may open its
//! database.
//!
//! A request is one line of JSON. Lines with the steps of the command follow, and a line with its answer. The socket is a
//! file that only its owner may open.

mod command;
mod content;
mod devices;
mod family;
mod rest;
mod steps;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::fs::OpenOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

pub use command::{Command, DeviceLine, PartyName, Response};
pub use steps::{Report, channel, show_all};

use super::tasks::Tasks;
use super::wire;
use crate::api;
use crate::domain::backup::BackedUp;
use crate::domain::erasure::Device;
use crate::domain::error::DomainError;
use crate::domain::{Hub, NewDevice, Progress};
use crate::model::{Party, Secret, Setting};
use content::Piece;
use steps::Told;

/// The maximum number of devices that one command adds.
pub const DEVICES_MAX: usize = 1000;
const LIST_MAX: usize = 100_000;
const LINE_MAX_BYTES: u64 = 64 * 1024;
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the socket. An abandoned file of an earlier run is replaced.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the command line until `shutdown`; commands that are being done are of `tasks`.
pub async fn serve(listener: UnixListener, hub: Arc<Hub>, tasks: Tasks, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        if let Ok((stream, _)) = accepted {
            let hub = Arc::clone(&hub);
            tasks.spawn(async move {
                match answer_one(stream, &hub).await {
                    // For example, the command was interrupted.
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
                    {
                        tracing::debug!("a client of the control socket left before its answer");
                    }
                    Err(error) => tracing::warn!(%error, "control socket"),
                    Ok(()) => {}
                }
            });
        }
    }
}

async fn answer_one(stream: UnixStream, hub: &Arc<Hub>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut limited = (&mut stream).take(LINE_MAX_BYTES);
    if tokio::time::timeout(LINE_TIMEOUT, limited.read_line(&mut line)).await?? == 0 {
        // The client has only checked whether a hub is running.
        return Ok(());
    }
    let answer = match serde_json::from_str(&line) {
        Ok(command) => {
            let (progress, reports) = steps::channel();
            let executed = async {
                let answer = execute(hub, command, &progress).await;
                drop(progress);
                answer
            };
            tokio::join!(executed, steps::write_all(&mut stream, reports)).0
        }
        Err(error) => Response::Failed(format!("not a command: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    let mut written = stream.write_all(&text).await;
    if written.is_ok() {
        written = stream.flush().await;
    }
    if written.is_err() {
        settle(hub, answer).await;
    }
    written
}

/// Logs the outcome of a command that was interrupted. Devices whose secrets nobody has read are removed again.
async fn settle(hub: &Hub, answer: Response) {
    match answer {
        Response::Devices(lines) => {
            let keys: Vec<String> = lines.into_iter().map(|line| line.key).collect();
            match devices::remove(hub, &keys).await {
                Ok(_) => tracing::info!(devices = keys.len(), "an interrupted command: its devices were removed again"),
                Err(error) => tracing::warn!(%error, "an interrupted command: its devices are left"),
            }
        }
        Response::Failed(message) => tracing::info!(message, "an interrupted command has failed"),
        Response::Lines(_) | Response::Examined { .. } => tracing::info!("an interrupted command was finished"),
    }
}

/// Sends a command to the hub on `path`; none if no hub answers there. `show` gets the steps of the command.
pub async fn ask(path: &Path, command: &Command, mut show: impl FnMut(Report)) -> io::Result<Option<Response>> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut stream = BufReader::new(stream);
    let mut text = serde_json::to_vec(command)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.flush().await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the hub ended before it answered"));
        }
        match serde_json::from_str(&line)? {
            Told::Step { progress } => show(progress),
            Told::Answer(answer) => return Ok(Some(answer)),
        }
    }
}

/// Executes a command, in the running hub or in the command's own process.
pub async fn execute(hub: &Arc<Hub>, command: Command, progress: &Progress) -> Response {
    let outcome = match command {
        Command::AddDevices { count, key } => devices::add(hub, count, key).await,
        Command::ImportDevices { file } => devices::import(hub, &file).await,
        Command::RemoveDevices { keys } => devices::remove(hub, &keys).await,
        Command::ListDevices => devices::list(hub).await,
        Command::AddContent { title, sound, cover, name } => {
            content::add(hub, Piece { title, sound, cover, name }).await
        }
        Command::ImportContent { file } => content::import(hub, &file, progress).await,
        Command::ListContent => content::list(hub).await,
        Command::ListUsers => list_users(hub).await,
        Command::LogOut { user } => log_out(hub, &user).await,
        Command::UnbindToy { toy, new_key } => unbind_toy(hub, &toy, new_key, progress).await,
        Command::EraseToy { toy } => erase_toy(hub, &toy, progress).await,
        Command::EraseUser { user } => erase_user(hub, &user, progress).await,
        Command::Export { user, to } => export(hub, &user, &to, progress).await,
        Command::FinishErasures => finish_erasures(hub, progress).await,
        Command::RenewDevice { key } => devices::renew(hub, &key).await,
        Command::OnlyToken { party, is_on } => only_token(hub, party, is_on).await,
        Command::LetToyIn { toy } => let_toy_in(hub, &toy).await,
        Command::Invite { toy, remark } => family::invite(hub, toy.as_deref(), remark).await,
        Command::Audit { party } => family::audit(hub, party).await,
        Command::Consent { toy } => family::consent(hub, &toy).await,
        Command::ListGuardians { toy } => family::list_guardians(hub, &toy).await,
        Command::RemoveGuardian { toy, user } => family::remove_guardian(hub, &toy, &user).await,
        Command::SetPassword { user, password } => family::set_password(hub, &user, password).await,
        Command::SetOperatorPassword { password } => set_operator_password(hub, password).await,
        Command::ToySettings { toy } => rest::settings(hub, &toy).await,
        Command::SetQuietHours { toy, from, until, zone } => rest::set_quiet(hub, &toy, (&from, &until, &zone)).await,
        Command::SetDailyMinutes { toy, minutes, zone } => rest::set_minutes(hub, &toy, minutes, &zone).await,
        Command::SetContent { toy, is_approved_only } => rest::set_content(hub, &toy, is_approved_only).await,
        Command::Approve { toy, content, is_approved } => rest::approve(hub, &toy, &content, is_approved).await,
        Command::SetToyVoice { toy, voice, speed } => rest::set_voice(hub, &toy, voice, speed).await,
        Command::Examine { repair } => examine(hub, repair).await,
        Command::BackUp { to, keep } => Ok(back_up(hub, &to, keep, progress).await),
    };
    outcome.unwrap_or_else(|error| {
        tracing::warn!(?error, "command failed");
        Response::Failed(error.to_string())
    })
}

async fn list_users(hub: &Hub) -> Result<Response, DomainError> {
    let line = |user: crate::model::User| format!("{}\t{}", user.id, user.username);
    Ok(Response::Lines(hub.users(LIST_MAX).await?.into_iter().map(line).collect()))
}

async fn log_out(hub: &Hub, user: &str) -> Result<Response, DomainError> {
    let user = hub.user_named(user).await?;
    let party = Party::User(user);
    hub.log_out_everywhere(&party).await?;
    operated(hub, &party, Setting::Logins).await;
    Ok(Response::Lines(vec!["logged out everywhere".into()]))
}

/// A random password is printed once; one that was given is not.
async fn set_operator_password(hub: &Hub, password: Option<String>) -> Result<Response, DomainError> {
    let is_random = password.is_none();
    let password = hub.reset_operator_password(password.map(Secret::new)).await?;
    let line = if is_random { password.reveal().to_owned() } else { "the password is changed".to_owned() };
    Ok(Response::Lines(vec![line]))
}

/// Records in the audit log of a user or toy that the operator of the hub made a change.
async fn operated(hub: &Hub, party: &Party, setting: Setting) {
    hub.note_operated(party, setting, wire::now()).await;
}

async fn examine(hub: &Hub, repair: bool) -> Result<Response, DomainError> {
    let found = hub.examine(repair, wire::now()).await?;
    let mut lines = vec![format!("ok       data: {}", found.summary)];
    for (word, faults) in [("mended  ", &found.mended), ("WRONG   ", &found.open), ("lost    ", &found.lost)] {
        lines.extend(faults.iter().map(|fault| format!("{word} data: {fault}")));
    }
    lines.extend(hub.remarks().into_iter().map(|(subject, text)| format!("hint     {subject}: {text}")));
    Ok(Response::Examined { lines, open: found.open.len(), lost: found.lost.len() })
}

async fn unbind_toy(hub: &Hub, toy: &str, new_key: bool, progress: &Progress) -> Result<Response, DomainError> {
    let _watching = hub.watch_erasures(progress);
    let toy = toy.parse().map_err(|_| DomainError::UnknownParty)?;
    let device = if new_key { Device::NewKey } else { Device::NewSecret };
    let device = hub.erase_toy(None, &toy, device, wire::now()).await?;
    hub.finish_erasures(wire::now()).await?;
    Ok(Response::Lines(device.iter().map(device_text).collect()))
}

/// A device with its secret, which is shown once.
fn device_text(device: &NewDevice) -> String {
    format!("{}\t{}", device.key, device.secret.reveal())
}

async fn erase_toy(hub: &Hub, toy: &str, progress: &Progress) -> Result<Response, DomainError> {
    let _watching = hub.watch_erasures(progress);
    let toy = toy.parse().map_err(|_| DomainError::UnknownParty)?;
    hub.erase_toy(None, &toy, Device::Removed, wire::now()).await?;
    erased(hub).await
}

async fn erase_user(hub: &Hub, user: &str, progress: &Progress) -> Result<Response, DomainError> {
    let _watching = hub.watch_erasures(progress);
    let user = hub.user_named(user).await?;
    hub.erase_account(&user, None, wire::now()).await?;
    erased(hub).await
}

async fn export(hub: &Arc<Hub>, user: &str, to: &Path, progress: &Progress) -> Result<Response, DomainError> {
    let user = hub.user_named(user).await?;
    let began = Instant::now();
    let mut pieces = api::export::open(hub, user.clone(), progress, wire::now()).await?;
    let unwritable =
        |error: io::Error| DomainError::invalid("FILE", format!("{} cannot be written: {error}", to.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).await.map_err(unwritable)?;
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(DomainError::internal)?;
        bytes += piece.len() as u64;
        file.write_all(&piece).await.map_err(unwritable)?;
    }
    file.sync_all().await.map_err(unwritable)?;
    hub.note_export(&user, None, wire::now()).await;
    let took = began.elapsed().as_secs_f64();
    Ok(Response::Lines(vec![format!("{}\t{} MB in {took:.1} s", to.display(), megabytes(bytes))]))
}

async fn finish_erasures(hub: &Hub, progress: &Progress) -> Result<Response, DomainError> {
    let _watching = hub.watch_erasures(progress);
    erased(hub).await
}

async fn erased(hub: &Hub) -> Result<Response, DomainError> {
    hub.finish_erasures(wire::now()).await?;
    Ok(Response::Lines(vec!["erased".into()]))
}

async fn only_token(hub: &Hub, party: PartyName, is_on: bool) -> Result<Response, DomainError> {
    let party = family::party(hub, &party).await?;
    hub.set_only_token(&party, is_on).await?;
    operated(hub, &party, Setting::OnlyToken).await;
    Ok(Response::Lines(vec![if is_on { "needs a token everywhere" } else { "needs no token at its places" }.into()]))
}

async fn let_toy_in(hub: &Hub, toy: &str) -> Result<Response, DomainError> {
    let toy = toy.parse().map_err(|_| DomainError::UnknownParty)?;
    hub.let_toy_in(None, &toy, wire::now()).await?;
    operated(hub, &Party::Toy(toy), Setting::LetIn).await;
    Ok(Response::Lines(vec!["may open once at a new address".into()]))
}

async fn back_up(hub: &Hub, to: &Path, keep: Option<usize>, progress: &Progress) -> Response {
    let began = Instant::now();
    let made = match hub.back_up(to, keep, wire::now(), progress).await {
        Ok(made) => made,
        Err(error) => return Response::Failed(error.to_string()),
    };
    let took = began.elapsed().as_secs_f64();
    let BackedUp { name, users, toys, messages, files, bytes, new_files, new_bytes, missing_files } = made;
    let mut lines = vec![
        format!("{name}\t{users} users, {toys} toys, {messages} messages"),
        format!("files\t{files} with {} MB", megabytes(bytes)),
        format!("written\t{new_files} new files; {} MB in {took:.1} s", megabytes(new_bytes)),
    ];
    if missing_files > 0 {
        lines.push(format!("missing\t{missing_files} files that the database names; the log of the hub names some"));
    }
    Response::Lines(lines)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
