//! Resident memory and speed of the store while it stores messages: 100,000, or the number of the first argument.
//! Prints a line for each 10,000.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use toyhub::model::{ChatId, DeviceKey, FileName, MessageId, Party, PartyKind, Toy, ToyId, User, UserId};
use toyhub::ports::store::{Location, NewEntry, NewMessage, NewToy, Store, StoreSettings, StoredDevice, StoredUser};

const MESSAGES_DEFAULT: usize = 100_000;
const STEP: usize = 10_000;
const CHATS: usize = 32;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A user with a toy, who send messages to each other.
async fn family(store: &Store, number: usize) -> (Party, Party) {
    let avatar: FileName = "toy.jpg".parse().unwrap();
    let user = User {
        id: UserId::random(),
        username: format!("user{number}"),
        nickname: "user".into(),
        gender: "1".into(),
        avatar: avatar.clone(),
    };
    let (user_id, key) = (user.id.clone(), DeviceKey::random());
    store.create_user(StoredUser { user, password_hash: "$argon2id$".into() }, 0.0).await.unwrap();
    let device = StoredDevice { key: key.clone(), secret_hash: "0".repeat(64), name: None };
    store.add_devices(&[device], 0.0).await.unwrap();
    let entry = |kind| NewEntry { kind, nickname: "n".into(), remark: "r".into(), avatar: avatar.clone() };
    let toy = Toy {
        id: ToyId::random(),
        device_key: key,
        bind_user: user_id.clone(),
        toy_name: "t".into(),
        baby_name: "b".into(),
        gender: "1".into(),
        avatar: avatar.clone(),
    };
    let toy_id = toy.id.clone();
    let (entry_of_user, entry_of_toy) = (entry(PartyKind::Toy), entry(PartyKind::App));
    store
        .bind_toy(
            NewToy {
                toy,
                chat: ChatId::random(),
                entry_of_user,
                entry_of_toy,
                let_in_until: 0.0,
                invite_hash: None,
                consent: "1".into(),
            },
            10,
            0.0,
        )
        .await
        .unwrap();
    (user_id.into(), toy_id.into())
}

async fn run(messages: usize) {
    let folder = tempfile::tempdir().unwrap();
    let config = toyhub::config::Store::default();
    let settings = StoreSettings {
        place: Location::Folder {
            path: folder.path().join("db"),
            block_cache_bytes: config.block_cache_bytes,
            memtable_bytes: config.memtable_bytes,
        },
        namespace: config.namespace,
        database: config.database,
        query_timeout: Duration::from_secs(60),
        stream_events_max: 1000,
    };
    let store = Arc::new(Store::open(&settings).await.unwrap());
    store.prepare(&toyhub::model::HubId::random(), &toyhub::ports::progress::Progress::unwatched()).await.unwrap();
    let mut families = Vec::new();
    for number in 0..CHATS {
        families.push(family(&store, number).await);
    }
    println!("messages 0 resident {} MiB", resident_mib());
    for step in 1..=messages / STEP {
        let started = Instant::now();
        let senders = families.iter().cloned().map(|(user, toy)| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..STEP / CHATS {
                    let new = NewMessage {
                        id: MessageId::random(),
                        from: user.clone(),
                        to: toy.clone(),
                        chat: None,
                        sound: FileName::random("mp3"),
                        notice: None,
                        repeats: None,
                    };
                    store.add_message(new, number as f64).await.unwrap();
                }
                let batch = store.unread_batch(&toy, None, 200).await.unwrap();
                store.mark_batch(&toy, batch.mark.unwrap()).await.unwrap();
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
        let rate = STEP as f64 / started.elapsed().as_secs_f64();
        println!("messages {} resident {} MiB, {rate:.0} a second, each synced", step * STEP, resident_mib());
    }
    store.close().await.unwrap();
}

fn main() {
    let messages = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(MESSAGES_DEFAULT);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(10 << 20).build().unwrap();
    runtime.block_on(async { tokio::spawn(run(messages)).await.unwrap() });
}
