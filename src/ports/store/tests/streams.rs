//! The numbered stream of a user.

use std::collections::BTreeMap;

use super::*;

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
    let new = NewMessage { id: id.clone(), from, to, chat: None, sound: sound.clone(), notice, repeats: None };
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
