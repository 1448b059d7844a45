use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Topic, TopicFilter, ToyId};

mod sessions;

/// The deadline of each event of a test, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const LIMITS: RouterLimits = RouterLimits {
    subscriptions_max: 8,
    retained_messages_max: 4,
    retained_per_owner_max: 4,
    retained_max_bytes: 64,
    backpressure_max: Duration::from_millis(50),
};

const DISK: DiskLimits = DiskLimits {
    messages_max: 4,
    bytes_max: 10_000,
    age_max_s: 60,
    overflow: Overflow::DropOldest,
    cache_bytes: 1 << 20,
};

pub(super) fn limit(messages_max: usize) -> QueueLimits {
    QueueLimits { messages_max, bytes_max: 1 << 30 }
}

pub(super) fn router(limits: RouterLimits) -> Arc<Router> {
    let (disk, found) = Disk::open(None, DISK).unwrap();
    Router::new(limits, disk, found.retained)
}

pub(super) fn at(text: &str, qos: QoS) -> Subscription {
    Subscription::from_text(text, qos, 0, 0).unwrap()
}

pub(super) fn toy() -> Party {
    Party::Toy(ToyId::random())
}

fn filter(text: &str) -> TopicFilter {
    text.parse().unwrap()
}

pub(super) fn message(topic: &str, payload: &str, qos: QoS, retain: bool) -> Publication {
    let payload = Bytes::copy_from_slice(payload.as_bytes()).into();
    let (topic, properties) = (topic.parse().unwrap(), Bytes::new());
    let (publisher, expires_at) = (Some(ConnectionId(7)), None);
    Publication { topic, payload, qos, retain, publisher, properties, expires_at }
}

async fn closed(mailbox: &mut Mailbox) -> Incoming {
    std::future::poll_fn(|context| mailbox.poll(false, context)).await
}

fn next(mailbox: &mut Mailbox) -> Option<(String, String, QoS, bool)> {
    match mailbox.try_recv()? {
        Incoming::Delivery(Delivery { publication, qos, retain, .. }) => {
            let payload = String::from_utf8(publication.payload.bytes().to_vec()).unwrap();
            Some((publication.topic.to_string(), payload, qos, retain))
        }
        Incoming::Backlog => None,
        Incoming::Closed(reason) => panic!("closed: {reason:?}"),
    }
}

pub(super) fn payloads(mailbox: &mut Mailbox) -> Vec<String> {
    std::iter::from_fn(|| next(mailbox)).map(|(_, payload, _, _)| payload).collect()
}

#[test]
fn a_message_reaches_only_its_subscribers() {
    let router = router(LIMITS);
    let (mut wanted, mut other) = (router.connect(toy(), limit(8)), router.connect(toy(), limit(8)));
    wanted.subscribe(&at("toy/a/in", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    other.subscribe(&at("toy/b/in", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    let reached = router.publish(message("toy/a/in", "hello", QoS::AtLeastOnce, false));
    assert_eq!((reached.subscribers, reached.retain_refused, reached.commit.is_none()), (1, false, true));
    let expected = ("toy/a/in".to_owned(), "hello".to_owned(), QoS::AtLeastOnce, false);
    assert_eq!(next(&mut wanted), Some(expected));
    assert_eq!(next(&mut wanted), None);
    assert_eq!(next(&mut other), None);
    assert!(wanted.unsubscribe(&filter("toy/a/in"), None));
    assert!(!wanted.unsubscribe(&filter("toy/a/in"), None));
    assert_eq!(router.publish(message("toy/a/in", "", QoS::AtMostOnce, false)).subscribers, 0);
}

#[test]
fn deliveries_are_taken_together_in_order_and_within_their_limits() {
    let router = router(LIMITS);
    let mut mailbox = router.connect(toy(), limit(1000));
    mailbox.subscribe(&at("a", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    let publish = |number: usize| router.publish(message("a", &number.to_string(), QoS::AtLeastOnce, false));
    (0..40).for_each(|number| assert!(publish(number).held.is_none()));
    let text = |delivery: &Delivery| String::from_utf8(delivery.publication.payload.bytes().to_vec()).unwrap();
    let mut take = |messages, bytes| {
        let mut taken = Taken::up_to(messages, bytes);
        let other = mailbox.take(&mut taken);
        let bytes = taken.deliveries.iter().map(|delivery| delivery.publication.payload.bytes().len()).sum::<usize>();
        assert!(taken.bytes >= bytes, "the size includes the payloads");
        (taken.deliveries.iter().map(text).collect::<Vec<_>>(), other, taken.has_room())
    };
    let numbers = |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect::<Vec<_>>();
    assert_eq!(take(3, 10_000), (numbers(0..3), None, false));
    assert_eq!(take(3, 1), (numbers(3..4), None, false), "the message that reaches the limit is taken");
    assert_eq!(take(0, 10_000), (vec![], None, false));
    assert_eq!(take(3, 0), (vec![], None, false));
    let (many, other, _) = take(1000, 1 << 20);
    assert!(many.len() > 1 && other.is_none());
    let mut next = 4 + many.len();
    assert_eq!(many, numbers(4..next));
    loop {
        let (more, other, has_room) = take(1000, 1 << 20);
        assert_eq!((&more, other), (&numbers(next..next + more.len()), None));
        next += more.len();
        if has_room {
            break;
        }
    }
    assert_eq!(next, 40);
    publish(40);
    mailbox.close(CloseReason::Revoked);
    let mut taken = Taken::up_to(10, 1000);
    assert_eq!(mailbox.take(&mut taken), Some(Incoming::Closed(CloseReason::Revoked)));
    assert!(taken.deliveries.is_empty());
}

#[test]
fn overlapping_filters_give_one_copy_at_the_highest_granted_qos() {
    let router = router(LIMITS);
    let mut mailbox = router.connect(toy(), limit(8));
    for (text, qos) in [("+/b/#", 0), ("a/b/c", 0), ("a/b/#", 2), ("a/+/c", 1), ("+/+/+", 0)] {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
        mailbox.subscribe(&at(text, qos), ReplayRetained::Always).unwrap();
    }
    router.publish(message("a/b/c", "x", QoS::ExactlyOnce, false));
    assert_eq!(next(&mut mailbox).unwrap().2, QoS::ExactlyOnce);
    assert_eq!(next(&mut mailbox), None);
    mailbox.subscribe(&at("a/b/#", QoS::AtMostOnce), ReplayRetained::Always).unwrap();
    router.publish(message("a/b/c", "y", QoS::ExactlyOnce, false));
    assert_eq!(next(&mut mailbox).unwrap().2, QoS::AtLeastOnce);
    assert_eq!(next(&mut mailbox), None);
}

#[test]
fn order_is_kept() {
    let router = router(LIMITS);
    let mut mailbox = router.connect(toy(), limit(200));
    mailbox.subscribe(&at("a/#", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    for number in 0..100 {
        router.publish(message("a/b", &number.to_string(), QoS::AtLeastOnce, false));
    }
    assert_eq!(payloads(&mut mailbox), (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn retained_messages_meet_new_subscriptions() {
    let router = router(LIMITS);
    router.publish(message("toy/a/state/battery", "80", QoS::AtLeastOnce, true));
    router.publish(message("toy/a/state/battery", "79", QoS::AtLeastOnce, true));
    router.publish(message("toy/a/state/volume", "5", QoS::AtMostOnce, true));
    router.publish(message("toy/b/state/battery", "1", QoS::AtMostOnce, true));
    for (text, expected) in [
        ("toy/a/state/#", vec!["79", "5"]),
        ("toy/a/state/battery", vec!["79"]),
        ("toy/+/state/battery", vec!["79", "1"]),
        ("toy/a", vec![]),
        ("#", vec!["79", "5", "1"]),
    ] {
        let mut mailbox = router.connect(toy(), limit(8));
        mailbox.subscribe(&at(text, QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
        let mut received: Vec<_> = std::iter::from_fn(|| next(&mut mailbox))
            .filter(|(topic, ..)| !topic.starts_with("online/"))
            .inspect(|(topic, _, qos, retain)| {
                assert!(retain);
                assert_eq!(*qos == QoS::AtLeastOnce, topic == "toy/a/state/battery");
            })
            .map(|(_, payload, _, _)| payload)
            .collect();
        let mut expected = expected.clone();
        received.sort();
        expected.sort();
        assert_eq!(received, expected, "{text}");
    }
    router.publish(message("toy/a/state/battery", "", QoS::AtMostOnce, true));
    let mut mailbox = router.connect(toy(), limit(8));
    mailbox.subscribe(&at("toy/a/state/#", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    assert_eq!(payloads(&mut mailbox), ["5"]);
}

#[test]
fn retained_messages_have_limits_and_pin_no_buffer() {
    let router = router(LIMITS);
    let mut buffer = bytes::BytesMut::from(&[b'x'; 4096][..]);
    let payload = buffer.split_to(4).freeze().into();
    let slice = Publication { payload, ..message("big/buffer", "", QoS::AtMostOnce, true) };
    assert!(!router.publish(slice).retain_refused);
    buffer.clear();
    assert!(buffer.try_reclaim(4096), "the buffer is free again");
    assert!(router.publish(message("big/payload", &"x".repeat(65), QoS::AtMostOnce, true)).retain_refused);
    for topic in ["a", "b", "c"] {
        assert!(!router.publish(message(topic, "x", QoS::AtMostOnce, true)).retain_refused);
    }
    assert!(router.publish(message("d/d", "x", QoS::AtMostOnce, true)).retain_refused);
    assert!(!router.publish(message("a", "y", QoS::AtMostOnce, true)).retain_refused, "it replaces one");
    assert_eq!(router.retained.len(), 4);
    assert!(!router.publish(message("a", "", QoS::AtMostOnce, true)).retain_refused);
    assert!(!router.publish(message("d/d", "x", QoS::AtMostOnce, true)).retain_refused);
    assert_eq!(router.retained.len(), 4);
    let party = toy();
    let online = format!("online/{}", party.id());
    let mut mailbox = router.connect(party, limit(8));
    mailbox.subscribe(&at(&online, QoS::AtMostOnce), ReplayRetained::Always).unwrap();
    assert_eq!(payloads(&mut mailbox), ["1"], "what clients retain does not crowd out the hub's own");
}

#[test]
fn one_owner_does_not_take_the_room_of_the_others() {
    let router = router(RouterLimits { retained_messages_max: 100, retained_per_owner_max: 2, ..LIMITS });
    let refused = |topic: &str, payload| router.publish(message(topic, payload, QoS::AtLeastOnce, true)).retain_refused;
    assert!(!refused("toy/a/state/1", "x"));
    assert!(!refused("toy/a/state/2", "x"));
    assert!(refused("toy/a/state/3", "x"));
    assert!(!refused("toy/a/state/1", "y"), "another state of the same");
    assert!(!refused("toy/b/state/1", "x"), "another toy");
    assert!(!refused("toy/a/state/1", ""));
    assert!(!refused("toy/a/state/3", "x"));
    assert_eq!(router.retained.len(), 3);
}

#[test]
fn many_retained_messages_close_no_connection() {
    let router = router(RouterLimits { retained_messages_max: 100, retained_per_owner_max: 100, ..LIMITS });
    for number in 0..50 {
        router.publish(message(&format!("t/a/{number}"), "x", QoS::AtLeastOnce, true));
    }
    let mut mailbox = router.connect(toy(), limit(2));
    mailbox.subscribe(&at("t/a/#", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    router.publish(message("t/a/0", "live", QoS::AtLeastOnce, false));
    assert_eq!(payloads(&mut mailbox).len(), 33);
    assert_eq!(mailbox.dropped(), 18);
}

#[test]
fn presence_follows_the_first_and_the_last_connection() {
    let router = router(LIMITS);
    let mut friend = router.connect(toy(), limit(8));
    let party = toy();
    friend.subscribe(&at(&format!("online/{}", party.id()), QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    let first = router.connect(party.clone(), limit(8));
    let second = router.connect(party.clone(), limit(8));
    assert_eq!(router.connections(&party), 2);
    drop(first);
    assert!(router.online(&party));
    assert_eq!(payloads(&mut friend), ["1"]);
    drop(second);
    assert!(!router.online(&party));
    assert_eq!(payloads(&mut friend), ["0"]);
    let mut late = router.connect(toy(), limit(8));
    late.subscribe(&at(&format!("online/{}", party.id()), QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    assert_eq!(next(&mut late).map(|(_, payload, _, retain)| (payload, retain)), Some(("0".into(), true)));
}

#[test]
fn presence_is_that_of_all_hubs() {
    let router = router(LIMITS);
    let mut friend = router.connect(toy(), limit(8));
    let party = toy();
    friend.subscribe(&at(&format!("online/{}", party.id()), QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    let moves = Arc::new(std::sync::Mutex::new(Vec::new()));
    router.watch_moves({
        let moves = Arc::clone(&moves);
        move |party, is_here| moves.lock().unwrap().push((party.clone(), is_here))
    });
    router.note_elsewhere(&party, true);
    assert_eq!(payloads(&mut friend), ["1"]);
    assert!(router.online(&party) && !router.online_here(&party));
    let here = router.connect(party.clone(), limit(8));
    assert!(router.online_here(&party) && router.parties_here().contains(&party));
    router.note_elsewhere(&party, false);
    router.note_elsewhere(&party, true);
    drop(here);
    assert!(router.online(&party) && payloads(&mut friend).is_empty(), "it was never offline");
    router.note_elsewhere(&party, false);
    router.note_elsewhere(&party, false);
    assert_eq!(payloads(&mut friend), ["0"]);
    assert_eq!(*moves.lock().unwrap(), [(party.clone(), true), (party.clone(), false)]);
    assert!(!router.presence.contains_key(&party));
}

#[test]
fn a_closed_connection_receives_nothing_more() {
    let router = router(LIMITS);
    let party = toy();
    let mut mailbox = router.connect(party.clone(), limit(8));
    mailbox.subscribe(&at("a", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    router.publish(message("a", "before", QoS::AtLeastOnce, false));
    router.close_party(&party, CloseReason::Revoked);
    router.close_all(CloseReason::ShuttingDown);
    assert_eq!(router.publish(message("a", "after", QoS::AtLeastOnce, false)).subscribers, 0);
    mailbox.replay(vec![Arc::new(message("a", "after", QoS::AtLeastOnce, false))], QoS::AtLeastOnce);
    assert_eq!(mailbox.try_recv(), Some(Incoming::Closed(CloseReason::Revoked)));
}

#[test]
fn everything_is_freed() {
    let router = router(LIMITS);
    let mailbox = router.connect(toy(), limit(8));
    for text in ["a", "a/b", "a/+", "#", "+/b", "/", "/+"] {
        mailbox.subscribe(&at(text, QoS::AtMostOnce), ReplayRetained::Always).unwrap();
        mailbox.subscribe(&at(text, QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    }
    mailbox.subscribe(&at("one/more", QoS::AtMostOnce), ReplayRetained::Always).unwrap();
    assert_eq!(
        mailbox.subscribe(&at("one/too/many", QoS::AtMostOnce), ReplayRetained::Always),
        Err(TooManySubscriptions)
    );
    drop(mailbox);
    assert!(router.index.is_empty());
    assert!(router.presence.is_empty());
    assert_eq!(router.connections_live(), 0);
}

#[tokio::test]
async fn waiting_ends_with_a_delivery_or_a_close() {
    let router = router(LIMITS);
    let mut mailbox = router.connect(toy(), limit(8));
    mailbox.subscribe(&at("a", QoS::AtMostOnce), ReplayRetained::Always).unwrap();
    let handle = mailbox.handle();
    let short = Duration::from_millis(20);
    assert!(tokio::time::timeout(short, mailbox.recv()).await.is_err());
    router.publish(message("a", "1", QoS::AtMostOnce, false));
    assert!(tokio::time::timeout(short, closed(&mut mailbox)).await.is_err(), "a delivery is no close");
    assert!(matches!(mailbox.recv().await, Incoming::Delivery(_)));
    let waiting = tokio::spawn(async move { closed(&mut mailbox).await });
    tokio::time::sleep(short).await;
    handle.close(CloseReason::TakenOver);
    assert_eq!(waiting.await.unwrap(), Incoming::Closed(CloseReason::TakenOver));
    handle.close(CloseReason::TakenOver);
}

/// Publishers, subscribers that come and go, and a subscriber that must get every message, all at once.
#[test]
fn nothing_is_lost_or_misordered_while_others_come_and_go() {
    const MESSAGES: usize = 5_000;
    // Room for the presence of all guests: a retained message that is refused reaches nobody.
    let router = router(RouterLimits { retained_messages_max: 1000, retained_per_owner_max: 100, ..LIMITS });
    let mut listener = router.connect(toy(), limit(4 * MESSAGES));
    listener.subscribe(&at("busy/+/+", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    std::thread::scope(|scope| {
        for publisher in 0..2 {
            let router = &router;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let topic = format!("busy/{publisher}/{}", number % 2);
                    router.publish(message(&topic, &number.to_string(), QoS::AtLeastOnce, number % 7 == 0));
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..500 {
                let mut guest = router.connect(toy(), limit(8));
                guest.subscribe(&at("busy/0/#", QoS::AtMostOnce), ReplayRetained::Always).unwrap();
                guest.subscribe(&at("+/1/#", QoS::AtMostOnce), ReplayRetained::Always).unwrap();
                while guest.try_recv().is_some() {}
            }
        });
    });
    let mut last = [[None; 2]; 2];
    let mut count = 0;
    while let Some((topic, payload, ..)) = next(&mut listener) {
        let mut levels = topic.split('/').skip(1).map(|level| level.parse::<usize>().unwrap());
        let slot = &mut last[levels.next().unwrap()][levels.next().unwrap()];
        let number = payload.parse::<usize>().unwrap();
        assert!(slot.is_none_or(|before| before < number));
        *slot = Some(number);
        count += 1;
    }
    assert_eq!(count, 2 * MESSAGES);
}

fn topics() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just(""), Just("a"), Just("b"), Just("$SYS"), Just("你好"), Just("ü")];
    prop_oneof![
        20 => proptest::collection::vec(level, 1..6).prop_map(|levels| levels.join("/")),
        1 => (12..20usize).prop_map(|levels| vec!["a"; levels].join("/")),
    ]
}

fn filters() -> impl Strategy<Value = String> {
    (topics(), any::<u32>(), any::<bool>(), 0..18usize).prop_map(|(topic, plus, hash, cut)| {
        let mut levels: Vec<&str> = topic.split('/').collect();
        levels
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| plus >> (at % 16 * 2) & 3 == 0)
            .for_each(|(_, level)| *level = "+");
        if hash {
            levels.truncate(cut);
            levels.push("#");
        }
        levels.join("/")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_agrees_with_the_definition(
        filters in proptest::collection::vec((filters(), 0..3usize, 0..3usize), 1..12),
        removed in any::<u16>(),
        topics in proptest::collection::vec(topics(), 1..12),
    ) {
        let index = Index::default();
        let queues: Vec<_> = (0..3).map(|id| Arc::new(Queue::new(ConnectionId(id), toy(), limit(8), None))).collect();
        let mut expected: Vec<(TopicFilter, usize, QoS)> = Vec::new();
        for (text, connection, qos) in filters {
            let Ok(filter) = text.parse::<TopicFilter>() else { continue };
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
            index.insert(&filter, &Target::Queue(Arc::clone(&queues[connection])), qos);
            expected.retain(|(other, of, _)| (other, *of) != (&filter, connection));
            expected.push((filter, connection, qos));
        }
        for at in (0..expected.len()).rev().filter(|at| removed >> at & 1 == 1) {
            let (filter, connection, _) = expected.remove(at);
            index.remove(&filter, ConnectionId(connection as u64));
        }
        for text in topics {
            let Ok(topic) = text.parse::<Topic>() else { continue };
            let mut found: Vec<_> = index.matching(&topic).into_iter().map(|(target, qos)| (target.id().0, qos)).collect();
            found.sort_unstable();
            let wanted: Vec<_> = (0..3u64)
                .filter_map(|id| {
                    let granted = expected.iter().filter(|(filter, of, _)| *of as u64 == id && filter.matches(&topic));
                    granted.map(|(_, _, qos)| *qos).max().map(|qos| (id, qos))
                })
                .collect();
            prop_assert_eq!(found, wanted, "{}", topic);
        }
        for (filter, connection, _) in expected {
            index.remove(&filter, ConnectionId(connection as u64));
        }
        prop_assert!(index.is_empty());
    }

    #[test]
    fn retained_messages_agree_with_the_definition(
        topics in proptest::collection::vec(topics(), 1..20),
        filters in proptest::collection::vec(filters(), 1..20),
    ) {
        let limits = RouterLimits {
            retained_messages_max: 100,
            retained_per_owner_max: 100,
            retained_max_bytes: 100,
            ..LIMITS
        };
        let retained = Retained::new(&limits);
        let mut kept = std::collections::BTreeSet::new();
        for topic in topics.iter().filter_map(|text| text.parse::<Topic>().ok()) {
            retained.store(&Arc::new(message(topic.as_str(), "x", QoS::AtMostOnce, true)), None, |_, _| {});
            kept.insert(topic);
        }
        prop_assert_eq!(retained.len(), kept.len());
        for filter in filters.iter().filter_map(|text| text.parse::<TopicFilter>().ok()) {
            let mut found = Vec::new();
            retained.for_each_matching(&filter, |message| found.push(message.topic.clone()));
            found.sort();
            let wanted: Vec<_> = kept.iter().filter(|topic| filter.matches(topic)).cloned().collect();
            prop_assert_eq!(found, wanted, "{}", filter);
        }
    }
}

#[test]
fn of_two_retained_messages_the_later_version_stays() {
    let router = router(LIMITS);
    let shown = || {
        let mut found = Vec::new();
        router.retained.for_each_matching(&filter("toy/a/#"), |publication| {
            let payload = String::from_utf8(publication.payload.bytes().to_vec()).unwrap();
            found.push(format!("{} {payload}", publication.topic));
        });
        found
    };
    let retained = |topic: &str, payload: &str| message(topic, payload, QoS::AtMostOnce, true);
    let version = |topic: &str| router.retained(&topic.parse().unwrap()).map(|(_, version)| version);
    assert_eq!(router.share_retained(), []);
    router.publish(retained("toy/a/b", "1"));
    let first = version("toy/a/b").unwrap();
    // The same value, an older one, and a newer one of another hub.
    let change = std::cell::Cell::new(None);
    let note = |_: &Arc<Publication>, as_what: Option<RetainedAs>, _| {
        change.set(as_what);
        false
    };
    router.publish_to_all(retained("toy/a/b", "1"), None, &note);
    assert_eq!(change.get(), Some(RetainedAs { version: first, is_new: false }));
    router.publish_heard(retained("toy/a/b", "0"), None, Some(first - 1.0), None);
    assert_eq!((shown(), version("toy/a/b")), (vec!["toy/a/b 1".to_owned()], Some(first)));
    router.publish_heard(retained("toy/a/b", "2"), None, Some(first + 100.0), None);
    assert_eq!((shown(), version("toy/a/b")), (vec!["toy/a/b 2".to_owned()], Some(first + 100.0)));
    // Whoever has seen it is later, whatever its clock.
    router.publish_to_all(retained("toy/a/b", "3"), None, &note);
    assert!(change.get().is_some_and(|change| change.is_new && change.version > first + 100.0));
    router.publish_heard(retained("toy/a/b", ""), None, Some(first), None);
    assert_eq!(shown(), ["toy/a/b 3"]);
    router.publish_to_all(retained("toy/a/b", ""), None, &note);
    assert!(change.get().is_some_and(|change| change.is_new && change.version > first + 100.0));
    assert_eq!(shown(), [""; 0]);
}

#[test]
fn a_group_is_taken_over_from_the_database() {
    let router = router(LIMITS);
    let retained = |topic: &str, payload: &str| message(topic, payload, QoS::AtMostOnce, true);
    for topic in ["toy/a/gone", "toy/a/young", "toy/a/old", "toy/a/later"] {
        router.publish_heard(retained(topic, "here"), None, Some(5.0), None);
    }
    let found = vec![(retained("toy/a/old", "there"), 6.0), (retained("toy/a/later", "there"), 4.0)];
    router.merge_retained("toy/a", found, |topic, version| topic.as_str() == "toy/a/young" && version == 5.0);
    let mut shown = Vec::new();
    router.retained.for_each_matching(&filter("toy/a/#"), |publication| {
        let payload = String::from_utf8(publication.payload.bytes().to_vec()).unwrap();
        shown.push((publication.topic.to_string(), payload));
    });
    let expected = [("toy/a/later", "here"), ("toy/a/old", "there"), ("toy/a/young", "here")];
    assert_eq!(shown, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
    assert_eq!(router.retained.len(), 3);
}

#[tokio::test]
async fn would_store_is_true_before_a_message_is_stored() {
    let router = router(LIMITS);
    let passing = router.connect(toy(), limit(8));
    passing.subscribe(&at("a/cmd", QoS::ExactlyOnce), ReplayRetained::Always).unwrap();
    let adds = |topic: &str, payload: &str, qos, retain| router.would_store(&message(topic, payload, qos, retain));
    assert!(!adds("a/cmd", "new", QoS::ExactlyOnce, false), "its only subscriber has no session");
    assert!(adds("a/state", "new", QoS::AtMostOnce, true), "retained");
    router.publish(message("a/state", "1", QoS::AtMostOnce, true));
    assert!(!adds("a/state", "2", QoS::AtMostOnce, true), "retained in the place of another");
    assert!(!adds("a/state", "", QoS::AtMostOnce, true), "retained no more");
    assert!(!adds("a/nothing", "", QoS::AtMostOnce, true));

    for (filter, topic) in [("b/cmd", "b/cmd"), ("$share/group/c/cmd", "c/cmd")] {
        let session = router.open_session(toy(), filter, limit(8), 60);
        let kept = session.attach();
        kept.subscribe(&at(filter, QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
        assert!(adds(topic, "new", QoS::AtLeastOnce, false), "for a session: {filter}");
        assert!(!adds(topic, "new", QoS::AtMostOnce, false), "nobody promises QoS 0: {filter}");
        drop(kept);
        assert!(adds(topic, "new", QoS::AtLeastOnce, false), "and for one that is away: {filter}");
        session.end();
        assert!(!adds(topic, "new", QoS::AtLeastOnce, false), "the session has ended: {filter}");
    }
}
