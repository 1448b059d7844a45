//! Persistent sessions with a full disk, or with a killed process.

use super::*;

fn router_on(storage: &TestDisk) -> (Arc<Router>, Vec<StoredSession>) {
    let (disk, found) = storage.open(DISK_LIMITS).unwrap();
    (Router::new(LIMITS, disk, found.retained), found.sessions)
}

/// A new session with a connection that has read its stored queue, which is empty.
async fn open_session(router: &Arc<Router>, filter: Option<(&str, QoS)>) -> (SessionHandle, Mailbox) {
    let handle = router.open_session(toy(), "c", limit(8), 1000);
    let mut mailbox = handle.attach();
    if let Some((text, qos)) = filter {
        mailbox.subscribe(&at(text, qos), ReplayRetained::Always).unwrap();
    }
    assert!(handle.is_stored().await);
    assert_eq!(given(&mut mailbox).await, []);
    (handle, mailbox)
}

/// Takes all deliveries of a connection: payloads, with the numbers of those that are stored.
async fn given(mailbox: &mut Mailbox) -> Vec<(String, Option<u64>)> {
    let note = |delivery: &Delivery| {
        let payload = String::from_utf8(delivery.publication.payload.bytes().to_vec()).unwrap();
        (payload, delivery.stored.map(|place| place.seq))
    };
    let mut given = Vec::new();
    loop {
        match mailbox.try_recv() {
            Some(Incoming::Delivery(delivery)) => given.push(note(&delivery)),
            Some(Incoming::Backlog) => given.extend(mailbox.backlog(2).await.iter().map(note)),
            Some(Incoming::Closed(reason)) => panic!("{reason:?}"),
            None => return given,
        }
    }
}

fn stored(payloads: &[(&str, u64)]) -> Vec<(String, Option<u64>)> {
    payloads.iter().map(|(payload, seq)| ((*payload).to_owned(), Some(*seq))).collect()
}

/// Attempts something on a disk that is killed after each number of changes, until it is acknowledged. An attempt tells
/// whether it is kept completely (otherwise nothing of it is), and whether it was acknowledged.
async fn killed_after_each_change(mut attempt: impl AsyncFnMut(u64) -> (bool, bool)) {
    let mut outcomes = [0, 0];
    for changes in 0.. {
        let (is_kept, is_acknowledged) = attempt(changes).await;
        assert!(is_kept || !is_acknowledged, "after {changes} changes");
        outcomes[usize::from(is_kept)] += 1;
        if is_acknowledged {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// The moment between PUBLISH and PUBREC: whichever change of the disk was the last, either the message is in both
/// sessions and its packet id is stored, or neither.
#[tokio::test]
async fn a_message_of_qos_2_is_stored_with_its_receipt_or_not_at_all() {
    killed_after_each_change(async |changes| {
        let storage = TestDisk::default();
        let (router, _) = router_on(&storage);
        let (_publisher, mailbox) = open_session(&router, None).await;
        let (_first, _first_mailbox) = open_session(&router, Some(("t/#", QoS::ExactlyOnce))).await;
        let (_second, _second_mailbox) = open_session(&router, Some(("t/+", QoS::AtLeastOnce))).await;
        storage.kill_after(changes);
        let publication = message("t/a", "x", QoS::ExactlyOnce, true);
        let reached = router.publish_once(publication, mailbox.receipt(5).unwrap());
        let is_acknowledged = reached.commit.unwrap().reached().await;

        let (_router, sessions) = router_on(&storage.after_kill());
        let mut kept: Vec<_> = sessions.iter().map(|session| (session.received.len(), session.last_seq)).collect();
        kept.sort_unstable();
        let is_kept = kept == [(0, 1), (0, 1), (1, 0)];
        assert!(is_kept || kept == [(0, 0), (0, 0), (0, 0)], "after {changes} changes: {kept:?}");
        (is_kept, is_acknowledged)
    })
    .await;
}

/// Likewise for a message that the other hubs get, too.
#[tokio::test]
async fn a_message_for_other_hubs_is_stored_with_its_receipt_or_not_at_all() {
    let id = ForwardId { stream: 9, number: 1 };
    killed_after_each_change(async |changes| {
        let storage = TestDisk::default();
        let (router, _) = router_on(&storage);
        let (_publisher, mailbox) = open_session(&router, None).await;
        storage.kill_after(changes);
        let forward = |publication: &Arc<Publication>, change: Option<RetainedAs>, _| {
            router.disk.keep_for_hubs(id, publication, change.map_or(1.0, |change| change.version));
            true
        };
        let publication = message("t/a", "x", QoS::ExactlyOnce, true);
        let reached = router.publish_to_all(publication.clone(), mailbox.receipt(5), &forward);
        let is_acknowledged = reached.commit.unwrap().reached().await;

        let (_disk, found) = storage.after_kill().open(DISK_LIMITS).unwrap();
        let outbox = found.outbox.into_iter().map(|(id, publication, at)| (id, publication, found.retained[0].1 == at));
        let kept = (found.sessions[0].received.len(), outbox.collect());
        let is_kept = kept == (1, vec![(id, Publication { publisher: None, ..publication }, true)]);
        assert!(is_kept || kept == (0, Vec::new()), "after {changes} changes: {kept:?}");
        (is_kept, is_acknowledged)
    })
    .await;
}

/// A session moves here while messages for it come over the bus.
#[tokio::test]
async fn a_message_that_comes_with_a_session_and_by_the_bus_is_queued_once() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t/#", QoS::ExactlyOnce))).await;
    let before = disk::now() - 30.0;
    assert_eq!(
        router.publish_heard(message("t/a", "1", QoS::ExactlyOnce, false), None, None, Some(before)).subscribers,
        1
    );
    assert!(session.begin_merge(5000, None, Vec::new(), &[]).await);
    let (first, second) = (disk::now() - 20.0, disk::now() - 10.0);
    let volume = || message("t/volume", "5", QoS::ExactlyOnce, false);
    let by_bus = |publication, at| router.publish_heard(publication, None, None, Some(at)).subscribers;
    let moved = |publication, at| {
        let before = session.last_seq();
        session.enqueue(publication, QoS::ExactlyOnce, false, at);
        session.last_seq() - before
    };
    let stored = message("t/a", "1", QoS::ExactlyOnce, false);
    assert_eq!(moved(stored, Some(before)), 0, "it was here before the move");
    assert_eq!((by_bus(volume(), first), moved(volume(), Some(first))), (1, 0), "the bus was faster");
    assert_eq!((moved(volume(), Some(second)), by_bus(volume(), second)), (1, 0), "the move was faster");
    assert_eq!(by_bus(message("t/light", "5", QoS::ExactlyOnce, false), second), 1, "another topic");
    assert_eq!(by_bus(message("t/volume", "6", QoS::ExactlyOnce, false), second), 1, "another content");
    assert_eq!((moved(volume(), None), moved(volume(), None)), (1, 1), "nobody knows whether they are the same");
    assert_eq!((router.publish(volume()).subscribers, router.publish(volume()).subscribers), (1, 1));

    // The time is in the file: the session may move on after a restart.
    drop(mailbox);
    assert!(session.is_stored().await);
    let page = session.stored((1, u64::MAX), 3).await.unwrap();
    let times: Vec<_> = page.iter().map(|entry| entry.published_at).collect();
    assert_eq!(times, [first, second, second]);

    // A long queue, and its client connects again meanwhile.
    let third = disk::now() - 5.0;
    assert_eq!(by_bus(volume(), third), 1);
    let mailbox = session.attach();
    for n in 0..4500 {
        assert_eq!(moved(message("t/volume", &format!("{n} of many"), QoS::ExactlyOnce, false), Some(third)), 1);
    }
    assert_eq!(moved(volume(), Some(third)), 0, "it came by the bus, long before");
    session.end_merge();
    assert_eq!(by_bus(volume(), first), 1, "the move is over");
    drop(mailbox);

    let later = [disk::unique_now(), disk::unique_now(), disk::unique_now()];
    assert!(later[0] < later[1] && later[1] < later[2]);
}

/// The client of a session goes to another hub, as this one was killed, and comes back later.
#[tokio::test]
async fn a_session_does_not_keep_what_is_published_after_its_client_went_to_another_hub() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t/#", QoS::AtLeastOnce))).await;
    drop(mailbox);
    let publish = |text: &str, at: Option<Timestamp>| {
        let publication = message("t/a", text, QoS::AtLeastOnce, false);
        match at {
            Some(at) => router.publish_heard(publication, None, None, Some(at)).subscribers,
            None => router.publish(publication).subscribers,
        }
    };
    let now = disk::now();
    session.note_elsewhere(now - 60.0, now - 50.0);
    assert_eq!(publish("it was here since", None), 1);
    session.note_elsewhere(now + 60.0, now - 50.0);
    assert_eq!(publish("the clock of the other hub is ahead", None), 1);

    // It was last seen long ago.
    session.queue.note_seen(now - 100.0);
    session.note_elsewhere(now - 60.0, now - 50.0);
    session.note_elsewhere(now - 40.0, now - 30.0);
    assert_eq!(publish("of later", None), 0);
    assert_eq!(publish("of later, at another hub", Some(now - 49.0)), 0);
    assert_eq!(publish("before it had subscribed there", Some(now - 51.0)), 1);
    assert_eq!(publish("the clock of a third hub is ahead", Some(now + 100.0)), 1);
    let heard = Heard { hub: "b".into(), id: ForwardId { stream: 9, number: 1 } };
    let unknown = router.publish_heard(message("t/a", "x", QoS::AtLeastOnce, false), Some(heard), None, None);
    assert_eq!(unknown.subscribers, 1, "an older version does not say when");
    session.enqueue(message("t/a", "moved", QoS::AtLeastOnce, false), QoS::AtLeastOnce, false, None);
    let kept = session.last_seq();
    assert_eq!(kept, 6);
    let _mailbox = session.attach();
    assert_eq!(publish("it is back", None), 1);
    assert_eq!(session.last_seq(), 7);
}

/// A message of another hub: the broker sends it again unless it was acknowledged.
#[tokio::test]
async fn a_session_stores_a_message_of_another_hub_once() {
    let heard = |number| Heard { hub: "b".into(), id: ForwardId { stream: 9, number } };
    killed_after_each_change(async |changes| {
        let storage = TestDisk::default();
        let (router, _) = router_on(&storage);
        let (_session, _mailbox) = open_session(&router, Some(("t/#", QoS::AtLeastOnce))).await;
        let unheard = router.publish_heard(message("other", "x", QoS::AtLeastOnce, false), Some(heard(1)), None, None);
        assert!(unheard.commit.is_none(), "no session stores it");
        storage.kill_after(changes);
        let reached = router.publish_heard(message("t/a", "x", QoS::AtLeastOnce, false), Some(heard(2)), None, None);
        let is_acknowledged = reached.commit.unwrap().reached().await;

        let (_disk, found) = storage.after_kill().open(DISK_LIMITS).unwrap();
        let kept = (found.sessions[0].last_seq, found.heard);
        let is_kept = kept == (1, vec![heard(2)]);
        assert!(is_kept || kept == (0, Vec::new()), "after {changes} changes: {kept:?}");
        (is_kept, is_acknowledged)
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_not_forwarded() {
    let router = router(RouterLimits { retained_max_bytes: 1, ..LIMITS });
    let forward = |_: &Arc<Publication>, _: Option<RetainedAs>, _| panic!("forwarded");
    let reached = router.publish_to_all(message("t", "large", QoS::AtLeastOnce, true), None, &forward);
    assert!(reached.retain_refused && reached.commit.is_none());
}

#[tokio::test]
async fn no_client_holds_a_packet_id_that_is_not_on_disk() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (_session, mut mailbox) = open_session(&router, Some(("t", QoS::ExactlyOnce))).await;
    storage.set_full(true);
    let reached = router.publish(message("t", "lost", QoS::ExactlyOnce, false));
    assert!(!reached.commit.unwrap().reached().await);
    assert_eq!(given(&mut mailbox).await, [], "it would come again with another id");
    storage.set_full(false);
    let recovered = tokio::time::timeout(DEADLINE, router.disk.writable());
    recovered.await.unwrap();
    let reached = router.publish(message("t", "repeated", QoS::ExactlyOnce, false));
    assert!(reached.commit.unwrap().reached().await);
    assert_eq!(given(&mut mailbox).await, stored(&[("repeated", 2)]));
}

#[tokio::test]
async fn a_connection_waits_for_stored_messages_while_the_disk_is_full() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t", QoS::AtLeastOnce))).await;
    drop(mailbox);
    assert!(router.publish(message("t", "1", QoS::AtLeastOnce, false)).commit.unwrap().reached().await);
    storage.set_full(true);
    let mut mailbox = session.attach();
    assert!(!session.is_stored().await);
    assert!(matches!(router.storage_state(), StorageState::Failed { .. }));
    assert_eq!(given(&mut mailbox).await, [], "neither the message nor an end of what is stored");
    let moment = Duration::from_millis(50);
    assert!(tokio::time::timeout(moment, mailbox.recv()).await.is_err());
    storage.set_full(false);
    let incoming = tokio::time::timeout(DEADLINE, mailbox.recv()).await.unwrap();
    assert_eq!(incoming, Incoming::Backlog);
    assert_eq!(router.storage_state(), StorageState::Writable);
    assert_eq!(given(&mut mailbox).await, stored(&[("1", 1)]));
}

#[tokio::test]
async fn a_replay_has_its_place_and_is_not_stored() {
    let replay = |mailbox: &Mailbox, payloads: &[&str]| {
        let message = |payload: &&str| Arc::new(message("t", payload, QoS::AtLeastOnce, false));
        mailbox.replay(payloads.iter().map(message).collect(), QoS::AtLeastOnce);
    };
    let none = |payload: &str| (payload.to_owned(), None);
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mut mailbox) = open_session(&router, Some(("t", QoS::AtLeastOnce))).await;
    let publish = |payload: &str| drop(router.publish(message("t", payload, QoS::AtLeastOnce, false)));
    // To a connection that has read everything, and so gets new messages from memory.
    publish("1");
    replay(&mailbox, &["a", "b"]);
    publish("2");
    let expected = [stored(&[("1", 1)]), vec![none("a"), none("b")], stored(&[("2", 2)])].concat();
    assert_eq!(given(&mut mailbox).await, expected);
    // To one that has read nothing; a second replay replaces the first.
    drop(mailbox);
    let mut mailbox = session.attach();
    replay(&mailbox, &["a", "b"]);
    publish("3");
    replay(&mailbox, &["c"]);
    publish("4");
    let expected = [stored(&[("1", 1), ("2", 2), ("3", 3)]), vec![none("c")], stored(&[("4", 4)])].concat();
    assert_eq!(given(&mut mailbox).await, expected);
    // It is for one connection and takes no room in the session.
    replay(&mailbox, &["d"]);
    drop(mailbox);
    assert!(session.is_stored().await);
    assert_eq!(given(&mut session.attach()).await, stored(&[("1", 1), ("2", 2), ("3", 3), ("4", 4)]));
    let (_router, sessions) = router_on(&storage.after_kill());
    assert_eq!(sessions[0].last_seq, 4);
    // Without a session, it is sent all the same, at the quality of the subscription.
    let mut guest = router.connect(toy(), limit(8));
    mailbox_replays_at(&mut guest, QoS::AtMostOnce);
}

fn mailbox_replays_at(mailbox: &mut Mailbox, granted: QoS) {
    mailbox.replay(vec![Arc::new(message("t", "x", QoS::AtLeastOnce, false))], granted);
    assert_eq!(next(mailbox).map(|(_, _, qos, _)| qos), Some(granted));
}

#[tokio::test]
async fn a_message_in_a_session_and_in_its_replay_is_sent_once_and_in_order() {
    let replay = |mailbox: &Mailbox, payloads: &[&str]| {
        let message = |payload: &&str| Arc::new(message("t", payload, QoS::AtLeastOnce, false));
        mailbox.replay(payloads.iter().map(message).collect(), QoS::AtLeastOnce);
    };
    let replayed = |payloads: &[&str]| payloads.iter().map(|payload| ((*payload).to_owned(), None)).collect::<Vec<_>>();
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t", QoS::AtLeastOnce))).await;
    drop(mailbox);
    for payload in ["1", "command", "3"] {
        assert!(router.publish(message("t", payload, QoS::AtLeastOnce, false)).commit.unwrap().reached().await);
    }
    // The process ends between the commit of 2 and its publication, and the client reconnects to the next process.
    let (router, sessions) = router_on(&storage.after_kill());
    let session_of = |router: &Arc<Router>| router.restore_session(&sessions[0], limit(8));
    drop(session);
    let session = session_of(&router);
    assert!(router.publish(message("t", "4", QoS::AtLeastOnce, false)).commit.unwrap().reached().await);
    let mut mailbox = session.attach();
    replay(&mailbox, &["1", "2", "3", "4"]);
    let expected = [stored(&[("command", 2)]), replayed(&["1", "2", "3", "4"])].concat();
    assert_eq!(given(&mut mailbox).await, expected);
    // Messages of the replay are not in the session any more: they are in the source of the replay.
    drop(mailbox);
    let mut mailbox = session.attach();
    replay(&mailbox, &["3", "4"]);
    assert_eq!(given(&mut mailbox).await, [stored(&[("command", 2)]), replayed(&["3", "4"])].concat());
    // A message that this process has sent, and the client may have received, is sent again at its place, under its
    // packet id.
    drop(router.publish(message("t", "5", QoS::AtLeastOnce, false)));
    assert_eq!(given(&mut mailbox).await, stored(&[("5", 5)]));
    drop(mailbox);
    assert!(router.publish(message("t", "6", QoS::AtLeastOnce, false)).commit.unwrap().reached().await);
    let mut mailbox = session.attach();
    replay(&mailbox, &["4", "5", "6"]);
    let expected = [stored(&[("command", 2), ("5", 5)]), replayed(&["4", "6"])].concat();
    assert_eq!(given(&mut mailbox).await, expected);
}

#[tokio::test]
async fn permanently_refused_messages_were_not_routed() {
    let router = router(LIMITS);
    let mut mailbox = router.connect(toy(), limit(8));
    mailbox.subscribe(&at("big", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    let large = "x".repeat(65);
    assert!(router.publish(message("big", &large, QoS::AtLeastOnce, true)).retain_refused);
    assert_eq!(next(&mut mailbox), None, "the publisher is told that it failed, and sends it again");
    assert!(router.publish(message("big", &large, QoS::AtMostOnce, true)).retain_refused);
    assert_eq!(payloads(&mut mailbox), [large], "of QoS 0 nobody is told");
}

#[tokio::test]
async fn a_subscription_is_written_once_and_again_after_a_failed_commit() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t", QoS::AtLeastOnce))).await;
    let subscribe = |mailbox: &Mailbox, text: &str, qos| {
        mailbox.subscribe(&at(text, qos), ReplayRetained::Never).unwrap();
        mailbox.commit()
    };
    assert!(mailbox.commit().unwrap().reached().await);
    // A reconnecting client repeats it, also while the disk is full.
    drop(mailbox);
    let mailbox = session.attach();
    storage.set_full(true);
    assert!(subscribe(&mailbox, "t", QoS::AtLeastOnce).is_none());
    assert!(!subscribe(&mailbox, "t", QoS::ExactlyOnce).unwrap().reached().await);
    assert!(!subscribe(&mailbox, "u", QoS::AtLeastOnce).unwrap().reached().await);
    mailbox.doubt_subscriptions();
    storage.set_full(false);
    tokio::time::timeout(DEADLINE, router.disk.writable()).await.unwrap();
    assert!(subscribe(&mailbox, "u", QoS::AtLeastOnce).unwrap().reached().await);
    assert!(subscribe(&mailbox, "t", QoS::ExactlyOnce).unwrap().reached().await);
    let filters = || {
        let (_router, sessions) = router_on(&storage.after_kill());
        let of = |subscription: &Subscription| (subscription.text(), subscription.qos);
        let mut filters: Vec<_> = sessions[0].subscriptions.iter().map(of).collect();
        filters.sort();
        filters
    };
    assert_eq!(filters(), [("t".into(), QoS::ExactlyOnce), ("u".into(), QoS::AtLeastOnce)]);
    // A subscription that is unknown here may be in the file.
    storage.set_full(true);
    assert!(mailbox.unsubscribe(&filter("u"), None));
    assert!(!mailbox.commit().unwrap().reached().await);
    storage.set_full(false);
    tokio::time::timeout(DEADLINE, router.disk.writable()).await.unwrap();
    assert!(!mailbox.unsubscribe(&filter("u"), None));
    assert!(mailbox.commit().unwrap().reached().await);
    assert_eq!(filters(), [("t".into(), QoS::ExactlyOnce)]);
}

/// A session begins anew while its hub is away, and its client returns to that one later.
#[tokio::test]
async fn a_session_that_began_anew_names_what_it_has_delivered() {
    let storage = [TestDisk::default(), TestDisk::default()];
    let [(first, _), (second, _)] = [router_on(&storage[0]), router_on(&storage[1])];
    let (old, offline) = open_session(&first, Some(("t/#", QoS::ExactlyOnce))).await;
    drop(offline);
    assert_eq!(old.delivered().await, None, "it did not begin anew");
    let (anew, mut mailbox) = open_session(&second, Some(("t/#", QoS::ExactlyOnce))).await;
    let now = disk::now();
    anew.begin_anew(now - 10.0);
    let publish = |router: &Arc<Router>, text: &str, at: Timestamp| {
        let publication = message("t/a", text, QoS::ExactlyOnce, false);
        router.publish_heard(publication, None, None, Some(at)).subscribers
    };
    let texts = ["read", "queued", "read later"];
    for (text, age) in texts.into_iter().zip([30.0, 20.0, 9.0]) {
        assert_eq!((publish(&first, text, now - age), publish(&second, text, now - age)), (1, 1));
    }
    let got = given(&mut mailbox).await;
    assert_eq!(got.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), texts);
    for (_, seq) in got.into_iter().filter(|(text, _)| text != "queued") {
        mailbox.forget(seq.unwrap());
    }
    drop(mailbox);
    let delivered = anew.delivered().await.unwrap();
    assert_eq!((delivered.until, delivered.messages.len()), (now - 10.0, 2));

    // Only what the client has is dropped, also if the bus brings it again.
    assert!(old.begin_merge(100, Some(&delivered), Vec::new(), &[]).await);
    assert_eq!(publish(&first, "read", now - 30.0), 0);
    let left = old.stored((0, u64::MAX), 10).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(&left[0].publication.payload.bytes()[..], b"queued");
    // It moves on: the next hub is told, too.
    assert_eq!(old.delivered().await.unwrap().messages, delivered.messages);
    // Also of what this session had before.
    let mut mailbox = old.attach();
    for (_, seq) in given(&mut mailbox).await {
        mailbox.forget(seq.unwrap());
    }
    drop(mailbox);
    assert_eq!(old.delivered().await.unwrap().messages.len(), 3);
}

/// The client has released messages of another hub under packet ids, and that hub has not seen that it has completed them.
#[tokio::test]
async fn no_message_gets_a_packet_id_that_is_released_to_the_client() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t/#", QoS::ExactlyOnce))).await;
    drop(mailbox);
    let publish = |text: &str| router.publish(message("t/a", text, QoS::ExactlyOnce, false)).subscribers;
    assert_eq!((publish("1"), publish("2")), (1, 1));
    assert!(session.begin_merge(100, None, Vec::new(), &[1, 2, 4]).await);
    assert_eq!(publish("3"), 1);
    let ids: Vec<_> = session.stored((0, u64::MAX), 10).await.unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(ids, [5, 6, 7]);
}

/// The clocks of two hubs have not told where the client is, but the database does.
#[tokio::test]
async fn a_session_whose_client_is_elsewhere_forgets_what_it_took_meanwhile() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t/#", QoS::AtLeastOnce))).await;
    let now = disk::now();
    let publish = |text: &str, at: Timestamp| {
        router.publish_heard(message("t/a", text, QoS::AtLeastOnce, false), None, None, Some(at)).subscribers
    };
    assert!(!session.note_elsewhere(now, now + 10.0), "the client was here at about that time");
    assert!(session.note_elsewhere(now + 60.0, now + 70.0), "the clock of the other hub is wrong");
    for (text, age) in [("before", 30.0), ("after", 20.0), ("perhaps on its way to the other hub", 1.0)] {
        assert_eq!(publish(text, now - age), 1);
    }
    session.leave(now - 25.0).await;
    assert_eq!(session.stored((0, u64::MAX), 10).await.unwrap().len(), 3, "the client is here");
    drop(mailbox);
    session.leave(now - 25.0).await;
    let left = session.stored((0, u64::MAX), 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|entry| &entry.publication.payload.bytes()[..]).collect();
    assert_eq!(left, [&b"before"[..], b"perhaps on its way to the other hub"]);
    assert_eq!(publish("later", now - 1.0), 0);
}

/// The client has messages of a hub under packet ids that other messages of this one have.
#[tokio::test]
async fn messages_on_their_way_keep_their_packet_ids_and_others_get_new_ones() {
    let storage = TestDisk::default();
    let (router, _) = router_on(&storage);
    let (session, mailbox) = open_session(&router, Some(("t/#", QoS::ExactlyOnce))).await;
    drop(mailbox);
    let now = disk::now();
    let publish = |text: &str, at: Timestamp| {
        router.publish_heard(message("t/a", text, QoS::ExactlyOnce, false), None, None, Some(at)).subscribers
    };
    for (number, text) in ["old", "here and there"].into_iter().enumerate() {
        assert_eq!(publish(text, now - 30.0 + number as f64), 1);
    }
    let in_flight = || {
        [(2, "on its way", now - 20.0), (4, "here and there", now - 29.0)].map(|(seq, text, at)| InFlight {
            seq,
            publication: message("t/a", text, QoS::ExactlyOnce, false),
            qos: QoS::ExactlyOnce,
            retain: false,
            published_at: Some(at),
        })
    };
    // A handshake that fails after this leaves the session so, and the next one does it again.
    for attempt in 1..=2 {
        assert!(session.begin_merge(100, None, in_flight().into(), &[]).await);
        let page = session.stored((0, u64::MAX), 10).await.unwrap();
        let text = |entry: &Entry| String::from_utf8(entry.publication.payload.bytes().to_vec()).unwrap();
        let found: Vec<_> = page.iter().map(|entry| (entry.seq % PACKET_IDS, text(entry))).collect();
        let expected = [(2, "on its way"), (4, "here and there"), (5, "old")];
        assert_eq!(found, expected.map(|(id, text)| (id, text.to_owned())), "attempt {attempt}");
    }
    assert_eq!((publish("on its way", now - 20.0), publish("old", now - 30.0)), (0, 0), "by the bus");
    let mut mailbox = session.attach();
    let deliveries = mailbox.backlog(10).await;
    let again: Vec<_> = deliveries.iter().map(|delivery| delivery.stored.unwrap().again).collect();
    assert_eq!(again, [true, true, false], "sent before, or not");
    assert_eq!(session.in_flight(10).await.len(), 3, "the client has not acknowledged them");
}
