use std::time::Duration;

use futures_util::FutureExt as _;

use super::super::tests::{LIMITS, at, limit, message, payloads, router, toy};
use super::super::{Incoming, Mailbox, QueueLimits, Reached, ReplayRetained, Router, RouterLimits, Taken};
use super::*;

/// Longer than any test waits.
const LONG: RouterLimits = RouterLimits { backpressure_max: Duration::from_secs(600), ..LIMITS };

fn subscriber(router: &Arc<Router>, limits: QueueLimits, filter: &str) -> Mailbox {
    let mailbox = router.connect(toy(), limits);
    mailbox.subscribe(&at(filter, QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    mailbox
}

fn publish(router: &Router, topic: &str, payload: &str) -> Reached {
    router.publish(message(topic, payload, QoS::AtLeastOnce, false))
}

/// A message of the hub itself.
fn announce(router: &Router, topic: &str, payload: &str) -> Reached {
    router.publish(Publication { publisher: None, ..message(topic, payload, QoS::AtLeastOnce, false) })
}

/// Whether all held messages have been queued.
fn is_given(held: &mut Held) -> bool {
    held.now_or_never().is_some()
}

#[tokio::test]
async fn deliveries_that_are_taken_together_let_the_publisher_continue() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(8), "a");
    for payload in ["1", "2", "3", "4"] {
        assert!(publish(&router, "a", payload).held.is_none());
    }
    let mut held = publish(&router, "a", "5").held.unwrap();
    let mut taken = Taken::up_to(2, 1 << 20);
    assert_eq!(mailbox.take(&mut taken), None);
    assert!(taken.deliveries.len() == 2 && !is_given(&mut held), "a quarter is full");
    let mut taken = Taken::up_to(10, 1 << 20);
    assert_eq!(mailbox.take(&mut taken), None);
    assert!(taken.deliveries.len() == 2 && is_given(&mut held));
    assert_eq!(payloads(&mut mailbox), ["5"]);
}

#[tokio::test]
async fn a_publisher_waits_from_one_half_to_one_quarter() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(8), "a");
    let mut other = subscriber(&router, limit(80), "a");
    for payload in ["1", "2", "3", "4"] {
        assert!(publish(&router, "a", payload).held.is_none());
    }
    let mut held = publish(&router, "a", "5").held.unwrap();
    assert_eq!(payloads(&mut other).last().unwrap(), "5", "a subscriber with room does not wait");
    assert!(!is_given(&mut held));
    for _ in 0..2 {
        mailbox.try_recv().unwrap();
        assert!(!is_given(&mut held), "more than a quarter is full");
    }
    assert!(publish(&router, "a", "6").held.is_some(), "another publisher waits too");
    mailbox.try_recv().unwrap();
    held.await;
    assert_eq!(payloads(&mut mailbox), ["4", "5"]);
}

#[tokio::test]
async fn bytes_count_as_messages_do() {
    let router = router(LONG);
    let limits = QueueLimits { messages_max: 1000, bytes_max: 1000 };
    let mut mailbox = subscriber(&router, limits, "a");
    let large = "x".repeat(450);
    assert!(publish(&router, "a", &large).held.is_none());
    let mut held = publish(&router, "a", "5").held.unwrap();
    mailbox.try_recv().unwrap();
    assert!(is_given(&mut held));
    let larger = "x".repeat(5000);
    assert!(publish(&router, "a", &larger).held.is_none(), "what is larger than the queue passes an empty one");
    for _ in 0..3 {
        router.publish(message("a", &large, QoS::AtMostOnce, false));
    }
    assert_eq!(payloads(&mut mailbox).len(), 4);
    assert_eq!(mailbox.dropped(), 1);
}

#[tokio::test]
async fn a_flood_of_qos_0_takes_no_space_from_other_messages() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(4), "a");
    for _ in 0..10 {
        router.publish(message("a", "flood", QoS::AtMostOnce, false));
    }
    assert!(publish(&router, "a", "1").held.is_none());
    assert_eq!(mailbox.dropped(), 6);
    assert_eq!(payloads(&mut mailbox).last().unwrap(), "1");
}

#[tokio::test]
async fn publishers_of_qos_0_wait_only_briefly() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(8), "a");
    let publish = || router.publish(message("a", "x", QoS::AtMostOnce, false)).held;
    for _ in 0..4 {
        assert!(publish().is_none());
    }
    publish().unwrap().await;
    assert!(publish().is_none(), "the reader had its moment and is slow");
    payloads(&mut mailbox);
    for _ in 0..4 {
        assert!(publish().is_none());
    }
    let mut held = publish().unwrap();
    assert!(!is_given(&mut held));
    payloads(&mut mailbox);
    assert!(is_given(&mut held), "the reader has caught up");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_when_the_time_is_up() {
    let router = router(LIMITS);
    let mut mailbox = subscriber(&router, limit(2), "a");
    let mut other = subscriber(&router, limit(2), "b");
    assert!(publish(&router, "a", "1").held.is_none());
    let held = publish(&router, "a", "2").held.unwrap();
    assert!(publish(&router, "b", "x").held.is_none(), "another pair goes on");
    assert_eq!(payloads(&mut other), ["x"]);
    held.await;
    assert_eq!(mailbox.try_recv(), Some(Incoming::Closed(CloseReason::SlowConsumer)));
    assert!(publish(&router, "a", "3").held.is_none());
}

#[tokio::test]
async fn a_slow_reader_that_takes_something_is_kept() {
    let router = router(LIMITS);
    let mut mailbox = subscriber(&router, limit(8), "a");
    for payload in ["1", "2", "3", "4"] {
        assert!(publish(&router, "a", payload).held.is_none());
    }
    for payload in ["5", "6"] {
        let mut held = publish(&router, "a", payload).held.unwrap();
        assert!(!is_given(&mut held));
        mailbox.try_recv().unwrap();
        assert!(!is_given(&mut held));
        held.await;
    }
    assert_eq!(payloads(&mut mailbox), ["3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_reader_of_its_unread_messages_is_not_slow() {
    let router = router(LIMITS);
    let mut mailbox = subscriber(&router, limit(2), "a");
    let unread = |number: usize| Arc::new(message("a", &number.to_string(), QoS::AtLeastOnce, false));
    mailbox.replay((0..9).map(unread).collect(), QoS::AtLeastOnce);
    assert!(publish(&router, "a", "x").held.is_none());
    let mut held = publish(&router, "a", "y").held.unwrap();
    assert!(!is_given(&mut held));
    mailbox.try_recv().unwrap();
    held.await;
    assert_eq!(payloads(&mut mailbox).split_off(8), ["x", "y"]);
}

#[tokio::test]
async fn any_number_of_publishers_gets_its_turn_in_time() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(8), "a");
    let publishers: Vec<_> = (0..50)
        .map(|publisher| {
            let router = Arc::clone(&router);
            tokio::spawn(async move {
                for number in 0..20 {
                    if let Some(held) = publish(&router, "a", &format!("{publisher} {number}")).held {
                        held.await;
                    }
                }
            })
        })
        .collect();
    let mut next = [0; 50];
    for _ in 0..50 * 20 {
        let Incoming::Delivery(delivery) = mailbox.recv().await else { panic!("closed") };
        let text = String::from_utf8(delivery.publication.payload.bytes().to_vec()).unwrap();
        let (publisher, number) = text.split_once(' ').unwrap();
        let expected = &mut next[publisher.parse::<usize>().unwrap()];
        assert_eq!(number, expected.to_string(), "the order of one publisher");
        *expected += 1;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

#[tokio::test]
async fn the_hub_never_waits() {
    let router = router(LONG);
    let mut mailbox = subscriber(&router, limit(4), "a");
    for payload in ["1", "2"] {
        assert!(publish(&router, "a", payload).held.is_none());
    }
    let mut held = publish(&router, "a", "3").held.unwrap();
    for payload in ["4", "5"] {
        assert!(announce(&router, "a", payload).held.is_none(), "the other half is the hub's");
    }
    assert!(!is_given(&mut held));
    assert_eq!(announce(&router, "a", "6").subscribers, 0);
    assert_eq!(mailbox.try_recv(), Some(Incoming::Closed(CloseReason::SlowConsumer)));
    assert!(is_given(&mut held), "nobody waits for a closed connection");
}

#[tokio::test]
async fn a_persistent_session_makes_no_publisher_wait() {
    let router = router(LONG);
    let mailbox = router.open_session(toy(), "id", limit(2), 60).attach();
    mailbox.subscribe(&at("a", QoS::AtLeastOnce), ReplayRetained::Always).unwrap();
    for _ in 0..20 {
        let reached = publish(&router, "a", "x");
        assert!(reached.held.is_none() && reached.commit.is_some());
    }
}

#[tokio::test]
async fn a_shared_subscription_prefers_the_member_with_space() {
    let router = router(LONG);
    let mut one = subscriber(&router, limit(2), "$share/g/a");
    let mut two = subscriber(&router, limit(8), "$share/g/a");
    for _ in 0..5 {
        assert!(publish(&router, "a", "x").held.is_none());
    }
    assert_eq!(payloads(&mut one).len() + payloads(&mut two).len(), 5);
    for _ in 0..5 {
        assert!(publish(&router, "a", "x").held.is_none());
    }
    let mut held = publish(&router, "a", "y").held.unwrap();
    drop(two);
    payloads(&mut one);
    assert!(is_given(&mut held));
    assert_eq!(payloads(&mut one), ["y"]);
}
