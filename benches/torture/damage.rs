//! Damage to the data folder of a stopped hub. Afterwards it starts with all data, or is refused with a line that names
//! the file and the remedy; it never starts with less data, and never as an empty hub.

mod changes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Client;
use serde_json::json;
use tokio::process::Command;

use crate::audit::{Cursor, Listed, list, sessions_away, sound_number};
use crate::family::{Family, post};
use crate::hub::{Addresses, Hub, Refusal};
use crate::ledger::Way;
use crate::run::{Load, Run};
use changes::{Base, CHANGES, Change, Expected};

const SETTINGS: [(&str, &str); 1] = [("TOYHUB_STORE__MEMTABLE_BYTES", "65536")];

/// A hub's folder after its end, and its content.
struct Full {
    folder: tempfile::TempDir,
    families: Vec<Family>,
    chats: Vec<Vec<Listed>>,
    commands: usize,
}

/// Creates a hub with messages in its chats and in offline sessions, and ends it.
async fn fill(program: &Path, parent: &Path, base: Base, time: Duration) -> Result<Full> {
    let folder = tempfile::Builder::new().prefix("toyhub-damage-").tempdir_in(parent)?;
    let mut run = Run::open_in(Hub::new(program, folder.path(), &SETTINGS), 2).await?;
    run.send(
        Load { lanes: 1, pause: Duration::from_millis(5) },
        &[Way::AppHttp, Way::ToyHttp, Way::CommandQos1, Way::CommandQos2],
    );
    tokio::time::sleep(time).await;
    drop(run.gate.pause().await);
    run.gate.close();
    let (addresses, client) = (run.running()?.addresses, Client::new());
    let mut chats = Vec::new();
    for family in &run.families {
        chats.push(list(&client, addresses, family, Cursor::Number, 200).await?);
    }
    let accepted = run.ledger.accepted_by_way();
    let commands = [Way::CommandQos1, Way::CommandQos2].iter().filter_map(|way| accepted.get(way)).sum::<u64>();
    match base {
        Base::Stopped => run.stop().await?,
        Base::Killed => run.kill().await?,
    }
    let families = run.families.clone();
    Ok(Full { folder, families, chats, commands: commands as usize })
}

/// The content of a hub.
#[derive(Debug, Default, PartialEq)]
struct Held {
    messages: usize,
    sounds_missing: usize,
    sounds_wrong: usize,
    commands: usize,
    faults: Vec<String>,
}

async fn held(addresses: Addresses, full: &Full) -> Held {
    let mut held = Held::default();
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap_or_default();
    for (family, chat) in full.families.iter().zip(&full.chats) {
        match list(&client, addresses, family, Cursor::Number, 200).await {
            Ok(listed) => {
                held.messages += chat.iter().filter(|message| listed.contains(message)).count();
                for message in &listed {
                    match sound_number(&client, addresses, &family.token, message).await {
                        Ok(_) => {}
                        Err(error) if error.to_string().contains("404") => held.sounds_missing += 1,
                        Err(_) => held.sounds_wrong += 1,
                    }
                }
            }
            Err(error) => held.faults.push(format!("/chat_list: {error:#}")),
        }
        let body = json!({"from_user": family.user, "to_user": family.toy});
        if let Err(error) = post(&client, addresses, "/recv_msg", None, &body).await {
            held.faults.push(format!("/recv_msg: {error:#}"));
        }
        for mut session in sessions_away(family, &[Way::CommandQos1, Way::CommandQos2], false) {
            match session.drain(addresses, 0).await {
                Ok(messages) => held.commands += messages.len(),
                Err(error) => held.faults.push(format!("a session: {error:#}")),
            }
        }
    }
    held
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    anyhow::ensure!(status.success(), "cp -a {} {}", from.display(), to.display());
    Ok(())
}

/// The outcome for a damaged folder, as text, and whether it is right.
async fn outcome(program: &Path, folder: &Path, full: &Full, change: &Change) -> (bool, String) {
    let hub = Hub::new(program, folder, &SETTINGS);
    let running = match hub.start().await {
        Ok(running) => running,
        Err(refusal) => return refused(&refusal, change, folder),
    };
    let held = held(running.addresses, full).await;
    let panics = running.log().iter().filter(|line| line.contains("panicked")).count();
    let code = running.stop().await;
    let expected: usize = full.chats.iter().map(Vec::len).sum();
    let is_whole = held.messages == expected && held.commands >= full.commands && held.faults.is_empty();
    let sounds = held.sounds_missing + held.sounds_wrong;
    let mut words = format!(
        "started with {} of {expected} messages, {} of {} commands",
        held.messages, held.commands, full.commands
    );
    if is_whole && sounds == 0 {
        words = "started whole".into();
    }
    if sounds > 0 {
        words += &format!(", {} sounds missing, {} wrong", held.sounds_missing, held.sounds_wrong);
    }
    for fault in held.faults.iter().take(2) {
        words += &format!("; {fault}");
    }
    if panics > 0 {
        words += &format!("; {panics} panics");
    }
    if !matches!(code, Ok(Some(0))) {
        words += &format!("; its stop: {code:?}");
    }
    let is_right = match change.expected {
        Expected::Whole | Expected::WholeOrRefused => is_whole && sounds == 0,
        Expected::SoundsAside => is_whole,
        Expected::Unknowable => true,
        Expected::Refused => false,
    };
    (is_right && panics == 0 && matches!(code, Ok(Some(0))), words)
}

fn refused(refusal: &Refusal, change: &Change, folder: &Path) -> (bool, String) {
    let line = refusal.lines.last().cloned().unwrap_or_default();
    let has_panicked = refusal.lines.iter().any(|line| line.contains("panicked"));
    let names_it = change.names.iter().any(|name| line.contains(name));
    // The error for a part of the database names at least the database.
    let names_folder = line.contains("data/db");
    let names_way_out =
        ["toyhub restore", "doctor --repair", "delete", "remove", "put "].iter().any(|way| line.contains(way));
    let mut words = format!("refused (code {:?}): {}", refusal.code, line.replace(folder.to_str().unwrap_or("/"), "…"));
    if has_panicked {
        words += " [it panicked]";
    }
    if !names_it {
        words += if names_folder { " [it names the folder only]" } else { " [it names no file]" };
    }
    if !names_way_out {
        words += " [the line does not name a way out]";
    }
    if refusal.lines.len() > 1 {
        words += &format!(" [{} lines]", refusal.lines.len());
    }
    let may_refuse = change.expected != Expected::Whole;
    let has_code = refusal.code.is_some_and(|code| code != 0);
    (may_refuse && !has_panicked && (names_it || names_folder) && names_way_out && has_code, words)
}

pub async fn torment(program: &Path, parent: &Path, only: Option<&str>, time: Duration) -> Result<bool> {
    let stopped = fill(program, parent, Base::Stopped, time).await?;
    let killed = fill(program, parent, Base::Killed, time).await?;
    let other = fill(program, parent, Base::Stopped, time / 2).await?;
    println!(
        "damage: {} changes; a hub with {} messages that was stopped, one with {} that was killed",
        CHANGES.len(),
        stopped.chats.iter().map(Vec::len).sum::<usize>(),
        killed.chats.iter().map(Vec::len).sum::<usize>()
    );
    println!("| change | | outcome |");
    println!("| --- | --- | --- |");
    let (mut wrong, mut tried) = (0, 0);
    for change in CHANGES.iter().filter(|change| only.is_none_or(|only| change.name.contains(only))) {
        let full = if change.base == Base::Stopped { &stopped } else { &killed };
        let folder = tempfile::Builder::new().prefix("toyhub-damaged-").tempdir_in(parent)?;
        let data: PathBuf = folder.path().join("data");
        copy(&full.folder.path().join("data"), &data)?;
        let applied = (change.apply)(&data, &other.folder.path().join("data"));
        if !applied.with_context(|| change.name)? {
            println!("| {} | – | there is no such file |", change.name);
            continue;
        }
        tried += 1;
        let (is_right, words) = outcome(program, folder.path(), full, change).await;
        wrong += usize::from(!is_right);
        println!("| {} | {} | {words} |", change.name, if is_right { "right" } else { "WRONG" });
        if change.read_only {
            let _ = Command::new("umount").arg(data.join("files")).status().await;
        }
    }
    println!("damage: {tried} changes tried, {wrong} wrong");
    Ok(wrong == 0)
}
