//! The start times of a hub with many messages, after a stop and after a kill, and those of its backup and restore.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use toyhub::model::{FileName, MessageId, Party};
use toyhub::ports::files::FileKind;
use toyhub::ports::store::{Location, NewMessage, Store, StoreSettings};

use crate::family::{self, Family};
use crate::hub::{Hub, Running};

const FAMILIES: usize = 64;
const STARTS: usize = 3;

/// The size of a recording, about that of five seconds.
const SOUND_BYTES: usize = 20 * 1024;

pub async fn torment(program: &Path, parent: &Path, messages: usize, sounds: usize) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("toyhub-recovery-").tempdir_in(parent)?;
    let hub = Hub::new(program, folder.path(), &[]);
    let running = start(&hub).await?;
    println!("start, new folder: {} ms", running.ready_after.as_millis());
    let families = family::families(&hub, running.addresses, FAMILIES, FAMILIES).await?;
    running.stop().await?;
    let (database, recordings) = (hub.data_dir.join("db"), hub.data_dir.join("files").join(FileKind::Chat.folder()));
    std::fs::create_dir_all(&recordings)?;
    let begun = Instant::now();
    // The store's statements recurse deeper than this thread's stack.
    let filled = std::thread::spawn(move || fill(&database, &recordings, &families, messages, sounds)).join();
    filled.map_err(|_| anyhow!("filling the store panicked"))??;
    println!(
        "{messages} messages stored, each synced, {:.0} a second",
        messages as f64 / begun.elapsed().as_secs_f64()
    );
    let size = size_of(&hub.data_dir.join("db"))?;
    println!("database: {} MiB", size >> 20);
    for number in 0..STARTS {
        let running = start(&hub).await?;
        let resident_kib = running.resident_kib().unwrap_or(0);
        println!(
            "start with {messages} messages, after a {}: {} ms, then {} MiB resident",
            if number == 0 { "stop" } else { "kill" },
            running.ready_after.as_millis(),
            resident_kib >> 10
        );
        running.kill().await?;
    }
    back_up(&hub, program, folder.path()).await?;
    Ok(true)
}

/// Backs a running hub up, twice, and restores it into another folder.
async fn back_up(hub: &Hub, program: &Path, folder: &Path) -> Result<()> {
    let running = start(hub).await?;
    let backups = folder.join("backups");
    let to = backups.to_str().context("a folder whose name is not UTF-8")?;
    for what in ["first backup", "next backup"] {
        let begun = Instant::now();
        hub.run(&["backup", to]).await?;
        println!("{what}: {:.1} s, then {} MiB of backups", begun.elapsed().as_secs_f64(), size_of(&backups)? >> 20);
    }
    running.stop().await?;
    let other = folder.join("other");
    std::fs::create_dir(&other)?;
    let other = Hub::new(program, &other, &[]);
    let begun = Instant::now();
    other.run(&["restore", to]).await?;
    let (took, size) = (begun.elapsed().as_secs_f64(), size_of(&other.data_dir)?);
    println!("restore: {took:.1} s, {} MiB, {:.1} MiB a second", size >> 20, size as f64 / took / f64::from(1 << 20));
    let running = start(&other).await?;
    println!("start of what was restored: {} ms", running.ready_after.as_millis());
    running.stop().await.map(drop)
}

async fn start(hub: &Hub) -> Result<Running> {
    hub.start().await.map_err(|refusal| anyhow!("the hub does not start: {}", refusal.lines.join("\n")))
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
}

/// Adds messages by the store's own function; the first `sounds` of them have a recording of random bytes.
fn fill(database: &Path, recordings: &Path, families: &[Family], messages: usize, sounds: usize) -> Result<()> {
    let config = toyhub::config::Store::default();
    let settings = StoreSettings {
        place: Location::Folder {
            path: database.to_owned(),
            block_cache_bytes: config.block_cache_bytes,
            memtable_bytes: config.memtable_bytes,
        },
        namespace: config.namespace,
        database: config.database,
        query_timeout: Duration::from_secs(60),
        stream_events_max: 1000,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(10 << 20).build()?;
    let parties = families.iter().map(|family| {
        let (user, toy) = (family.user.parse(), family.toy.parse());
        Ok((
            Party::User(user.map_err(|_| anyhow!("a user's id"))?),
            Party::Toy(toy.map_err(|_| anyhow!("a toy's id"))?),
        ))
    });
    let parties = parties.collect::<Result<Vec<(Party, Party)>>>()?;
    let recordings = recordings.to_owned();
    let work = async move {
        let store = Arc::new(Store::open(&settings).await?);
        let senders: Vec<_> = parties
            .into_iter()
            .map(|(user, toy)| {
                let (store, recordings) = (Arc::clone(&store), recordings.clone());
                tokio::spawn(async move {
                    for number in 0..messages / FAMILIES {
                        let (from, to) =
                            if number % 2 == 0 { (user.clone(), toy.clone()) } else { (toy.clone(), user.clone()) };
                        let sound = FileName::random("mp3");
                        if number < sounds / FAMILIES {
                            let mut bytes = vec![0; SOUND_BYTES];
                            rand::fill(&mut bytes[..]);
                            tokio::fs::write(recordings.join(sound.as_str()), bytes).await?;
                        }
                        let new = NewMessage {
                            id: MessageId::random(),
                            from,
                            to,
                            chat: None,
                            sound,
                            notice: None,
                            repeats: None,
                        };
                        store.add_message(new, number as f64).await?;
                    }
                    Ok::<_, anyhow::Error>(())
                })
            })
            .collect();
        for sender in senders {
            sender.await??;
        }
        store.close().await?;
        Ok::<_, anyhow::Error>(())
    };
    runtime.block_on(async { tokio::spawn(work).await? })
}
