//! The store over the real engine, in folders and in memory.

mod damage;
mod erasure;
mod paging;
mod upkeep;

use std::collections::BTreeMap;
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
    store.prepare(&hub).await.unwrap();
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

    pub(super) async fn meet(store: &Store, sql: &'static str, variables: &Variables) -> Option<StoreError> {
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
    store.add_device(&key, &"0".repeat(64), 0.0).await.unwrap();
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
    let new = NewMessage { id: id.clone(), from, to, sound, notice: None, repeats: None };
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
async fn eight_writers_of_one_stream_number_it_without_gap_or_repeat_and_it_is_kept() {
    const EACH: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(in_folder(folder.path(), 1000).await);
    let reader = user(&store).await;
    let mut writers = Vec::new();
    for _ in 0..8 {
        writers.push(toy(&store, &reader).await);
    }
    let tasks = writers.iter().cloned().map(|writer| {
        let (store, reader) = (Arc::clone(&store), reader.clone());
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for n in 0..EACH {
                let (id, seq) = send(&store, &writer, &reader, n as f64).await;
                sent.push((seq.unwrap(), id));
            }
            assert!(sent.is_sorted(), "one writer's events stand in its order");
            sent
        })
    });
    let mut given = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        given.extend(task.await.unwrap());
    }
    let expected: Vec<u64> = (1..=8 * EACH as u64).collect();
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), expected, "no number is given twice");
    store.close().await.unwrap();
    drop(store);

    let store = in_folder(folder.path(), 1000).await;
    let found = events(&store, &reader).await;
    assert_eq!(found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), expected);
    for (seq, event) in found {
        assert!(matches!(&event, Event::Message { id, .. } if *id == given[&seq]), "{seq}: {event:?}");
    }
    assert_eq!(send(&store, &writers[0], &reader, 99.0).await.1, Some(201), "and it goes on");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_deleted_when_the_limit_is_lowered_and_none_returns_when_it_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 40).await;
    let reader = user(&store).await;
    let writer = toy(&store, &reader).await;
    let rows = async |store: &Store| {
        let mut reply = store.run("RETURN array::len(SELECT VALUE seq FROM event)", Variables::new()).await.unwrap();
        reply.optional::<i64>(0).unwrap().unwrap()
    };
    for n in 0..45 {
        send(&store, &writer, &reader, f64::from(n)).await;
    }
    assert_eq!((position(&store, &reader).await, rows(&store).await), ((6, 45), 40));
    store.close().await.unwrap();
    drop(store);

    let store = in_folder(folder.path(), 3).await;
    send(&store, &writer, &reader, 50.0).await;
    assert_eq!((position(&store, &reader).await, rows(&store).await), ((22, 46), 25), "a few at a time");
    for n in 51..54 {
        send(&store, &writer, &reader, f64::from(n)).await;
    }
    assert_eq!((position(&store, &reader).await, rows(&store).await), ((47, 49), 3));
    store.close().await.unwrap();
    drop(store);

    let store = in_folder(folder.path(), 1000).await;
    send(&store, &writer, &reader, 60.0).await;
    assert_eq!((position(&store, &reader).await, rows(&store).await), ((47, 50), 4));
    let Party::User(user) = &reader else { panic!() };
    assert_eq!(store.missed(user, 45, LIMIT).await.unwrap().events, [], "46 is gone");
    assert_eq!(store.missed(user, 46, LIMIT).await.unwrap().events.len(), 4);
    assert_eq!(
        store.missed(user, 46, 2).await.unwrap().events.iter().map(|event| event.0).collect::<Vec<_>>(),
        [47, 48]
    );
    for after in [50, 51, u64::MAX] {
        assert_eq!(store.missed(user, after, LIMIT).await.unwrap().events, []);
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_events_of_a_user_are_returned_unchanged() {
    let store = in_memory().await;
    let (mia, tom) = (user(&store).await, user(&store).await);
    assert_eq!(position(&store, &mia).await, (1, 0), "before the first event");
    let told = befriend(&store, &mia, &tom).await;
    assert_eq!((told.requester_seq, told.requestee_seq), (Some(1), Some(2)));
    let chat = store.friend(&mia, &id_of(&tom)).await.unwrap().unwrap().chat;
    let (id, sound) = (MessageId::random(), FileName::random("mp3"));
    let notice: Option<FileName> = Some("n.mp3".parse().unwrap());
    let (from, to) = (mia.clone(), tom.clone());
    let new = NewMessage { id: id.clone(), from, to, sound: sound.clone(), notice, repeats: None };
    assert_eq!(store.add_message(new, 5.5).await.unwrap().receiver_seq, Some(3));
    store.mark_delivered(&tom, &id).await.unwrap().unwrap();
    store.mark_read(&tom, &id_of(&mia), None).await.unwrap().unwrap();

    let of_tom = events(&store, &tom).await;
    assert!(matches!(
        &of_tom[0],
        (1, Event::FriendRequest { requester, requestee, .. }) if *requester == mia && *requestee == tom
    ));
    let rest = [
        (2, Event::FriendAdded { friend: mia.clone(), chat: chat.clone() }),
        (
            3,
            Event::Message {
                id: id.clone(),
                from: mia.clone(),
                chat: chat.clone(),
                sound,
                notice: Some("n.mp3".parse().unwrap()),
                created_at: 5.5,
            },
        ),
        (4, Event::Read { friend: mia.clone(), chat: chat.clone(), unread: 0 }),
    ];
    assert_eq!(of_tom[1..], rest);
    let receipt = |state| Event::Receipt { state, up_to: id.clone(), chat: chat.clone(), by: tom.clone() };
    let of_mia = [
        (1, Event::FriendAdded { friend: tom.clone(), chat: chat.clone() }),
        (2, receipt(MessageState::Delivered)),
        (3, receipt(MessageState::Heard)),
    ];
    assert_eq!(events(&store, &mia).await, of_mia);
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
    let (taken, heard) = store.take_unheard(&fluffy, None, 3).await.unwrap();
    assert_eq!((taken.len(), &heard[0].up_to, heard[0].unread), (3, &Some(taken[2].id.clone()), 2));
    assert_eq!((heard[0].sender_seq, heard[0].reader_seq), (Some(1), None));
    let (taken, heard) = store.take_unheard(&fluffy, Some(&id_of(&mia)), 3).await.unwrap();
    assert_eq!((taken.len(), heard[0].unread), (2, 0));
    let (taken, heard) = store.take_unheard(&fluffy, None, 3).await.unwrap();
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
async fn a_database_of_version_1_is_taken_over_with_what_it_holds() {
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
    assert_eq!(store.take_unheard(&fluffy, None, 10).await.unwrap().0[0].id, second);
    assert_eq!(store.mark_read(&mia, &id_of(&fluffy), None).await.unwrap().unwrap().up_to, Some(third));
    let told: Vec<_> = events(&store, &mia).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(told, [1, 2, 3], "delivered, heard, read");
    assert_eq!(send(&store, &fluffy, &mia, 5.0).await.1, Some(4));
    let chat = store.friend(&mia, &id_of(&fluffy)).await.unwrap().unwrap().chat;
    let (page, _) = store.read_chat(&mia, &chat, 1, Before::default()).await.unwrap();
    assert!(page[0].0.created_at > 13.0, "later than the last message of the old version, whatever the clock says");
    store.close().await.unwrap();
}

/// Every SELECT of the store's texts, with the spaces of one line.
fn selects() -> Vec<String> {
    let texts = [
        include_str!("accounts.rs"),
        include_str!("chats.rs"),
        include_str!("content.rs"),
        include_str!("friends.rs"),
        include_str!("household.rs"),
        include_str!("mend.rs"),
        include_str!("receipts.rs"),
        include_str!("requests.rs"),
        include_str!("rest.rs"),
        include_str!("streams.rs"),
        include_str!("toys.rs"),
        include_str!("unread.rs"),
        include_str!("schema.surql"),
    ];
    let mut found = Vec::new();
    for (start, text) in texts.iter().flat_map(|text| text.match_indices("SELECT ").map(move |(at, _)| (at, text))) {
        let mut depth = 0;
        let end = text[start..].find(|c: char| {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            depth < 0 || c == ';' || c == '"'
        });
        let select = &text[start..start + end.unwrap()];
        found.push(select.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    found
}

/// The engine's plan for a query, with example values for its variables.
async fn plan(store: &Store, select: &str) -> String {
    // The store takes fixed texts only; a test may leak some.
    let text: &'static str = format!("EXPLAIN {select}").leak();
    let mut variables = Variables::new();
    for rest in text.split('$').skip(1) {
        let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
        match name {
            "entry" | "message" | "request" | "row" => {
                variables.insert(name, surrealdb::types::object! { chat: "c", friend: "f", device_key: "k" });
            }
            "id" => variables.insert(name, transaction::record("x", "x")),
            "sounds" | "answerers" | "others" => variables.insert(name, vec!["x".to_owned()]),
            "since" => variables.insert(name, 1.0),
            "first" | "last" | "next" | "until" | "up_to" | "seq" | "limit" | "keep" => variables.insert(name, 1i64),
            _ => variables.insert(name, "x"),
        }
    }
    store.run(text, variables).await.unwrap().optional::<String>(0).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_goes_through_a_whole_table_but_lists_of_all_and_a_start() {
    const WHOLE: [&str; 5] = [
        "FROM user WHERE id >",
        "FROM user ORDER",
        "FROM device ORDER",
        "FROM content ORDER",
        "FROM toy WHERE time_zone",
    ];
    const HOT: [(&str, &str); 7] = [
        (
            "party, kind, expires_at FROM ONLY type::record('token', $hash)",
            "Values [ctx: Rt] [expr: type::record('token', 'x')]",
        ),
        (
            "* FROM ONLY type::record('friend', [$owner, $friend])",
            "Values [ctx: Rt] [expr: type::record('friend', ['x', 'x'])]",
        ),
        (
            "FROM message:[$chat, $first]..=[$chat, 9223372036854775807] WHERE",
            "RecordIdScan [ctx: Db] [record_id: message:[",
        ),
        ("FROM friend:[$receiver, '']..[$receiver, 'z'] WHERE", "RecordIdScan [ctx: Db] [record_id: friend:["),
        ("FROM event:[$user, $next]..=[$user, $last]", "RecordIdScan [ctx: Db] [record_id: event:["),
        ("FROM message WHERE uid = $uid", "IndexScan [ctx: Db] [table: message, index: message_uid,"),
        ("FROM message WHERE sound = $sound", "IndexScan [ctx: Db] [table: message, index: message_sound,"),
    ];
    let store = in_memory().await;
    let mut plans = Vec::new();
    for select in selects() {
        let plan = plan(&store, &select).await;
        let is_whole = WHOLE.iter().any(|text| select.contains(text));
        assert_eq!(plan.contains("TableScan"), is_whole, "{select}\n{plan}");
        // The target of an expression is only known when the query runs: it must be a single record.
        let dynamic = plan.lines().filter(|line| line.contains("Values [ctx"));
        let is_one = |line: &str| line.contains("[expr: type::record(") || line.contains("[expr: x:x]");
        assert!(dynamic.clone().all(is_one), "{select}\n{plan}");
        plans.push((select, plan));
    }
    for (text, access) in HOT {
        let found = plans.iter().filter(|(select, _)| select.contains(text)).collect::<Vec<_>>();
        assert!(!found.is_empty(), "no query has {text}");
        assert!(found.iter().all(|(_, plan)| plan.contains(access)), "{text}: {found:?}");
    }
    assert!(plans.len() > 40, "only {} queries were found", plans.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_has_stopped_is_opened_again_with_all_that_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    let mia = user(&store).await;
    store.note(&DatabaseError::internal("Transaction outcome unknown: Database stopped: IO error".into()));
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
async fn an_engine_that_cannot_be_opened_again_is_tried_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    let mia = user(&store).await;
    store.note(&DatabaseError::internal("Database stopped".into()));
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
