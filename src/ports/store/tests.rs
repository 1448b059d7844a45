//! The store over the real engine, in folders and in memory.

mod asked;
mod damage;
mod erasure;
mod paging;
mod plans;
mod retained;
mod sessions;
mod streams;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use surrealdb_cnf::ConfigMap;

use super::engine::open_embedded;
use super::*;
use crate::model::{
    ChatId, DeviceKey, Event, FileName, FriendRequest, MessageId, MessageState, Party, PartyId, PartyKind, RequestId,
    RequestStatus, Toy, ToyId, User, UserId,
};

const MIB: u64 = 1024 * 1024;
const LIMIT: usize = 1_000_000;

fn settings(place: Location, stream_events_max: usize) -> StoreSettings {
    StoreSettings {
        place,
        namespace: "toyhub".into(),
        database: "toyhub".into(),
        query_timeout: Duration::from_secs(60),
        stream_events_max,
    }
}

async fn in_folder(path: &Path, stream_events_max: usize) -> Store {
    let place = Location::Folder { path: path.join("db"), block_cache_bytes: 16 * MIB, memtable_bytes: 8 * MIB };
    prepared(&settings(place, stream_events_max)).await
}

async fn in_memory() -> Store {
    prepared(&settings(Location::Memory, 1000)).await
}

async fn prepared(settings: &StoreSettings) -> Store {
    let store = Store::open(settings).await.unwrap();
    let hub = store.hub().await.unwrap().unwrap_or_else(HubId::random);
    store.prepare(&hub, &Progress::unwatched()).await.unwrap();
    store
}

/// A database that does not answer: the next query with this text gets no answer, whether or not it is executed.
pub(crate) struct Fault {
    pub(crate) text: &'static str,
    pub(crate) is_done: bool,
}

impl Fault {
    /// The fault of a query with this text.
    pub(super) fn take(store: &Store, sql: &str) -> Option<Self> {
        store.fault.lock().unwrap().take_if(|fault| sql.contains(fault.text))
    }

    pub(super) async fn apply(store: &Store, sql: &'static str, variables: &Variables) -> Option<StoreError> {
        if Self::take(store, sql)?.is_done {
            store.run_once(sql, variables.clone()).await.unwrap();
        }
        Some(StoreError::NoAnswer(Duration::ZERO))
    }
}

fn entry(kind: PartyKind) -> NewEntry {
    NewEntry { kind, nickname: "n".into(), remark: "r".into(), avatar: "toy.jpg".parse().unwrap() }
}

fn id_of(party: &Party) -> PartyId {
    party.id().parse().unwrap()
}

async fn user(store: &Store) -> Party {
    let user = User {
        id: UserId::random(),
        username: UserId::random().to_string(),
        nickname: "n".into(),
        gender: "1".into(),
        avatar: "mama.jpg".parse().unwrap(),
    };
    let id = user.id.clone();
    store.create_user(StoredUser { user, password_hash: "$argon2id$".into() }, 0.0).await.unwrap();
    id.into()
}

/// A toy of `owner`.
async fn toy(store: &Store, owner: &Party) -> Party {
    let key = DeviceKey::random();
    let device = StoredDevice { key: key.clone(), secret_hash: "0".repeat(64), name: None };
    store.add_devices(&[device], 0.0).await.unwrap();
    let toy = Toy {
        id: ToyId::random(),
        device_key: key,
        bind_user: owner.id().parse().unwrap(),
        toy_name: "t".into(),
        baby_name: "b".into(),
        gender: "1".into(),
        avatar: "toy.jpg".parse().unwrap(),
    };
    let id = toy.id.clone();
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
            100,
            0.0,
        )
        .await
        .unwrap();
    id.into()
}

/// Two users become friends: an event for each, and one for the recipient before.
async fn befriend(store: &Store, requester: &Party, requestee: &Party) -> Befriended {
    let request = FriendRequest {
        id: RequestId::random(),
        requester: requester.clone(),
        requestee: requestee.clone(),
        answerer: requestee.clone(),
        info: String::new(),
        remark: "r".into(),
        avatar: "mama.jpg".parse().unwrap(),
        nickname: "n".into(),
        toy_name: "n".into(),
        status: RequestStatus::Pending,
    };
    let id = request.id.clone();
    let new = NewFriendRequest {
        request,
        answerers: vec![requestee.id().parse().unwrap()],
        askers: vec![requester.id().into()],
        blockers: Vec::new(),
        is_by_guardian: false,
        families: [vec![requester.id().into()], vec![requestee.id().into()]],
        refused_since: 0.0,
        pending_max: 100,
    };
    store.add_request(new, 1.0).await.unwrap();
    let entries = (entry(PartyKind::App), entry(PartyKind::App));
    store.accept_request((&id, requestee), &ChatId::random(), entries, 100, 2.0).await.unwrap()
}

async fn send(store: &Store, from: &Party, to: &Party, now: f64) -> (MessageId, Option<u64>) {
    let id = MessageId::random();
    let (from, to, sound) = (from.clone(), to.clone(), FileName::random("mp3"));
    let new = NewMessage { id: id.clone(), from, to, chat: None, sound, notice: None, repeats: None };
    (id, store.add_message(new, now).await.unwrap().receiver_seq)
}

async fn events(store: &Store, party: &Party) -> Vec<(u64, Event)> {
    let Party::User(user) = party else { panic!("toys have no stream") };
    let first = store.missed(user, 0, 0).await.unwrap().first;
    store.missed(user, first - 1, LIMIT).await.unwrap().events
}

async fn position(store: &Store, party: &Party) -> (u64, u64) {
    let Party::User(user) = party else { panic!("toys have no stream") };
    let missed = store.missed(user, 0, 0).await.unwrap();
    (missed.first, missed.last)
}

async fn unread(store: &Store, party: &Party, friend: &Party) -> u64 {
    store.friend(party, &id_of(friend)).await.unwrap().unwrap().unread
}

async fn states(store: &Store, reader: &Party, friend: &Party) -> Vec<MessageState> {
    let chat = store.friend(reader, &id_of(friend)).await.unwrap().unwrap().chat;
    let (messages, _) = store.read_chat(reader, &chat, LIMIT, Before::default()).await.unwrap();
    messages.into_iter().map(|(_, state)| state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_only_move_forward_and_each_advance_is_published_once() {
    use MessageState::{Delivered, Heard, Sent};
    let store = in_memory().await;
    let (mia, tom, eve) = (user(&store).await, user(&store).await, user(&store).await);
    befriend(&store, &mia, &tom).await;
    befriend(&store, &eve, &tom).await;
    let mut sent = Vec::new();
    for n in 0..5 {
        sent.push(send(&store, &mia, &tom, f64::from(n)).await.0);
        send(&store, &tom, &mia, f64::from(n) + 0.5).await;
    }
    let hers = send(&store, &eve, &tom, 9.0).await.0;
    let mia_id = id_of(&mia);
    let told = async || {
        let events = events(&store, &mia).await.into_iter();
        events.filter(|(_, event)| matches!(event, Event::Receipt { .. })).count()
    };

    assert!(store.mark_delivered(&tom, &sent[2]).await.unwrap().is_some());
    for n in [2, 1, 0] {
        assert!(store.mark_delivered(&tom, &sent[n]).await.unwrap().is_none(), "{n} again");
    }
    let heard = store.mark_read(&tom, &mia_id, Some(&sent[1])).await.unwrap().unwrap();
    assert_eq!((&heard.up_to, heard.unread, unread(&store, &tom, &mia).await), (&Some(sent[1].clone()), 3, 3));
    for n in [1, 0] {
        assert!(store.mark_read(&tom, &mia_id, Some(&sent[n])).await.unwrap().is_none(), "{n} again");
        assert!(store.mark_delivered(&tom, &sent[n]).await.unwrap().is_none(), "heard before");
    }
    assert_eq!(told().await, 2);
    let of_hers = |states: Vec<MessageState>| -> Vec<_> { states.into_iter().step_by(2).collect() };
    assert_eq!(of_hers(states(&store, &mia, &tom).await), [Heard, Heard, Delivered, Sent, Sent]);

    for (who, message) in [(&tom, &MessageId::random()), (&mia, &sent[4]), (&eve, &sent[4]), (&mia, &hers)] {
        let refused = store.mark_delivered(who, message).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::UnknownMessage)), "{refused}");
    }
    let refused = store.mark_read(&tom, &mia_id, Some(&hers)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(Refusal::UnknownMessage)), "another friend's: {refused}");
    for stranger in [id_of(&eve), id_of(&mia), "5c8f582f268d7942f44c6703".parse().unwrap()] {
        let refused = store.mark_read(&mia, &stranger, None).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(Refusal::UnknownChat)), "{refused}");
    }

    let heard = store.mark_read(&tom, &mia_id, None).await.unwrap().unwrap();
    assert_eq!((&heard.up_to, heard.unread), (&Some(sent[4].clone()), 0));
    assert!(store.mark_read(&tom, &mia_id, None).await.unwrap().is_none());
    assert!(store.mark_delivered(&tom, &sent[4]).await.unwrap().is_none(), "heard implies delivered");
    assert_eq!(of_hers(states(&store, &mia, &tom).await), [Heard; 5]);
    assert_eq!((told().await, unread(&store, &tom, &eve).await), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_concurrent_equal_marks_one_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    let (mia, tom) = (user(&store).await, user(&store).await);
    befriend(&store, &mia, &tom).await;
    let (before, tom_before) = (position(&store, &mia).await.1, position(&store, &tom).await.1);
    let id = send(&store, &mia, &tom, 1.0).await.0;
    let mia_id = id_of(&mia);
    let delivered = futures_util::future::join_all((0..8).map(|_| store.mark_delivered(&tom, &id))).await;
    assert_eq!(delivered.into_iter().filter(|mark| mark.as_ref().unwrap().is_some()).count(), 1);
    let heard = futures_util::future::join_all((0..8).map(|_| store.mark_read(&tom, &mia_id, Some(&id)))).await;
    assert_eq!(heard.into_iter().filter(|mark| mark.as_ref().unwrap().is_some()).count(), 1);
    assert_eq!(position(&store, &mia).await.1, before + 2);
    assert_eq!(position(&store, &tom).await.1, tom_before + 2, "the message and that it is read");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn read_messages_have_the_state_heard_and_send_receipts() {
    let store = in_memory().await;
    let mia = user(&store).await;
    let fluffy = toy(&store, &mia).await;
    let mut sent = Vec::new();
    for n in 0..5 {
        assert_eq!(send(&store, &mia, &fluffy, f64::from(n)).await.1, None, "toys have no stream");
    }
    let (taken, heard) = store.take_unread(&fluffy, None, 3).await.unwrap();
    assert_eq!((taken.len(), &heard[0].up_to, heard[0].unread), (3, &Some(taken[2].id.clone()), 2));
    assert_eq!((heard[0].sender_seq, heard[0].reader_seq), (Some(1), None));
    let (taken, heard) = store.take_unread(&fluffy, Some(&id_of(&mia)), 3).await.unwrap();
    assert_eq!((taken.len(), heard[0].unread), (2, 0));
    let (taken, heard) = store.take_unread(&fluffy, None, 3).await.unwrap();
    assert!(taken.is_empty() && heard.is_empty());

    for n in 5..8 {
        sent.push(send(&store, &fluffy, &mia, f64::from(n)).await);
    }
    assert_eq!(sent.iter().map(|(_, seq)| seq.unwrap()).collect::<Vec<_>>(), [3, 4, 5]);
    let waiting = store.unread_messages(&mia, 2).await.unwrap();
    assert_eq!(waiting.iter().map(|waiting| &waiting.message.id).collect::<Vec<_>>(), [&sent[0].0, &sent[1].0]);
    assert_eq!(unread(&store, &mia, &fluffy).await, 3, "to look marks nothing");
    let chat = store.friend(&mia, &id_of(&fluffy)).await.unwrap().unwrap().chat;
    let (page, heard) = store.read_chat(&mia, &chat, 4, Before::default()).await.unwrap();
    let heard = heard.unwrap();
    assert_eq!(
        (&heard.up_to, heard.unread, heard.sender_seq, heard.reader_seq),
        (&Some(sent[2].0.clone()), 0, None, Some(6))
    );
    assert_eq!(page.iter().map(|(_, state)| *state).collect::<Vec<_>>(), [MessageState::Heard; 4]);
    assert!(store.read_chat(&mia, &chat, 4, Before::default()).await.unwrap().1.is_none());
    assert_eq!(position(&store, &mia).await, (1, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_version_1_is_migrated_with_all_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("surrealkv://{}?sync=every", folder.path().join("db").display());
    let engine = open_embedded(address, ConfigMap::empty(), Duration::from_secs(60)).await.unwrap();
    let Engine::Embedded { database, .. } = &engine else { panic!() };
    database.use_ns("toyhub").use_db("toyhub").await.unwrap();
    let old = Store::over(engine, &settings(Location::Memory, 0));
    // A database that SurrealDB 3 made keeps its rules.
    old.run("ALTER DATABASE toyhub COMPATIBILITY 3", Variables::new()).await.unwrap();
    old.run(include_str!("tests/version_1.surql"), Variables::new()).await.unwrap();
    old.close().await.unwrap();
    drop(old);

    for start in 1..=2 {
        let store = in_folder(folder.path(), 1000).await;
        let mut reply = store.run("SELECT VALUE version FROM ONLY meta:schema", Variables::new()).await.unwrap();
        assert_eq!(reply.optional::<i64>(0).unwrap(), Some(SCHEMA_VERSION), "start {start}");
        store.close().await.unwrap();
    }
    let store = in_folder(folder.path(), 1000).await;
    let mia = Party::User("aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap());
    let fluffy = Party::Toy("bbbbbbbbbbbbbbbbbbbbbbbb".parse().unwrap());
    let alike = User {
        id: UserId::random(),
        username: "Mіa".into(),
        nickname: "n".into(),
        gender: "1".into(),
        avatar: "mama.jpg".parse().unwrap(),
    };
    let taken = store.create_user(StoredUser { user: alike, password_hash: "$argon2id$".into() }, 0.0).await;
    assert!(matches!(taken, Err(StoreError::Refused(Refusal::NameTaken))), "it looks like an older name: {taken:?}");
    assert!(store.user_by_name("mia").await.unwrap().is_some());
    let login = store.login(&"f".repeat(64), 999.0).await.unwrap().unwrap();
    assert_eq!((&login.party, login.expires_at), (&mia, 1000.0));
    assert_eq!((unread(&store, &mia, &fluffy).await, unread(&store, &fluffy, &mia).await), (1, 1));
    assert_eq!(position(&store, &mia).await, (1, 0));
    let [first, second, third] = [1, 2, 3].map(|n| format!("{n:024}").parse::<MessageId>().unwrap());
    assert!(store.mark_delivered(&mia, &first).await.unwrap().is_none(), "it was heard");
    assert!(store.mark_delivered(&mia, &third).await.unwrap().is_some());
    assert!(store.mark_delivered(&fluffy, &second).await.unwrap().is_some());
    assert_eq!(store.take_unread(&fluffy, None, 10).await.unwrap().0[0].id, second);
    assert_eq!(store.mark_read(&mia, &id_of(&fluffy), None).await.unwrap().unwrap().up_to, Some(third));
    let told: Vec<_> = events(&store, &mia).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(told, [1, 2, 3], "delivered, heard, read");
    assert_eq!(send(&store, &fluffy, &mia, 5.0).await.1, Some(4));
    let chat = store.friend(&mia, &id_of(&fluffy)).await.unwrap().unwrap().chat;
    let (page, _) = store.read_chat(&mia, &chat, 1, Before::default()).await.unwrap();
    assert!(page[0].0.created_at > 13.0, "later than the last message of the old version, whatever the clock says");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_engine_is_reopened_with_all_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    let mia = user(&store).await;
    let stopped = DatabaseError::internal("Transaction outcome unknown: Database stopped: IO error".into());
    store.note(&store.engine(), &stopped);
    assert!(store.has_stopped());
    store.reopen().await.unwrap();
    assert!(!store.has_stopped());
    store.ping().await.unwrap();
    store.try_write().await.unwrap();
    assert!(store.party(&id_of(&mia)).await.unwrap().is_some(), "what was stored before");
    let tom = user(&store).await;
    store.close().await.unwrap();
    drop(store);
    let store = in_folder(folder.path(), 1000).await;
    assert!(store.party(&id_of(&tom)).await.unwrap().is_some(), "what was stored afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reopening_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    let mia = user(&store).await;
    store.note(&store.engine(), &DatabaseError::internal("Database stopped".into()));
    let (manifest, aside) = (folder.path().join("db/manifest"), folder.path().join("aside"));
    let engine = store.engine();
    end(&engine).await.unwrap();
    std::fs::rename(&manifest, &aside).unwrap();
    assert!(store.reopen().await.is_err());
    assert!(store.has_stopped() && matches!(store.ping().await, Err(StoreError::Closed)));
    std::fs::remove_dir_all(&manifest).ok();
    std::fs::rename(&aside, &manifest).unwrap();
    store.reopen().await.unwrap();
    assert!(store.party(&id_of(&mia)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_a_starting_child_process_shares_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    in_folder(folder.path(), 1000).await.close().await.unwrap();
    let lock = std::fs::File::options().write(true).open(folder.path().join("db/LOCK")).unwrap();
    lock.try_lock().unwrap();
    assert!(is_open(&folder.path().join("db")) && is_open(&folder.path().join("db")), "a check leaves it as it is");
    let (opening, ()) = tokio::join!(in_folder(folder.path(), 1000), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(lock);
    });
    opening.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reads_return_the_rows_of_their_own_callers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(in_folder(folder.path(), 100).await);
    let mut users = Vec::new();
    for _ in 0..12 {
        users.push(user(&store).await);
    }
    // Each has as many friends as its place in the list.
    for (at, owner) in users.iter().enumerate() {
        for _ in 0..at {
            let friend = user(&store).await;
            befriend(&store, owner, &friend).await;
        }
    }
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        for (at, owner) in users.iter().cloned().enumerate() {
            let store = Arc::clone(&store);
            readers.spawn(async move {
                let id = id_of(&owner);
                let (book, found) = tokio::join!(store.friends(&owner), store.party(&id));
                let book = book.unwrap();
                assert_eq!(book.len(), at);
                let nobody = UserId::random();
                let (both, nobody) = tokio::join!(
                    async {
                        match book.first() {
                            Some(friend) => store.friends_both_ways(&owner, &id_of(&friend.party)).await.unwrap(),
                            None => (None, None),
                        }
                    },
                    store.user(&nobody)
                );
                assert_eq!(both.0.map(|friend| friend.party), book.first().map(|friend| friend.party.clone()));
                assert_eq!(both.1.map(|friend| friend.party), (at > 0).then(|| owner.clone()));
                assert!(nobody.unwrap().is_none());
                assert_eq!(found.unwrap().unwrap().0, owner);
                assert_eq!(
                    store.user(&owner.id().parse().unwrap()).await.unwrap().unwrap().user.id.as_str(),
                    owner.id()
                );
            });
        }
    }
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
}
