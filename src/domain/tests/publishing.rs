//! Which publications of clients are routed at once, and which are looked up first.

use bytes::Bytes;

use super::*;
use crate::domain::live::{Publication, Reached, ReplayRetained, Subscription};
use crate::domain::permissions::guest;
use crate::model::{QoS, Topic};

/// How a publication is taken.
#[derive(Debug, PartialEq)]
enum Taken {
    /// At once; with the number of its subscribers.
    Routed(usize),
    /// At once.
    Refused(String),
    /// Something is looked up for it.
    Undecided,
}

fn message(mailbox: &Mailbox, topic: &str, qos: QoS, retain: bool, size: usize) -> Arc<Publication> {
    let (topic, payload) = (topic.parse::<Topic>().unwrap(), Bytes::from(vec![b'x'; size]).into());
    let (properties, publisher) = (Bytes::new(), Some(mailbox.connection_id()));
    Arc::new(Publication { topic, payload, qos, retain, publisher, properties, expires_at: None })
}

impl World {
    fn take(&self, party: &Party, publication: Arc<Publication>) -> Taken {
        match self.hub.publish_at_once(party, publication, None) {
            Ok(Ok(Reached { subscribers, .. })) => Taken::Routed(subscribers),
            Ok(Err(error)) => Taken::Refused(error.to_string()),
            Err(_) => Taken::Undecided,
        }
    }
}

fn subscribe(mailbox: &Mailbox, filter: &str) {
    let subscription = Subscription::from_text(filter, QoS::ExactlyOnce, 0, 0).unwrap();
    mailbox.subscribe(&subscription, ReplayRetained::Never).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_rule_alone_permits_is_routed_at_once() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let (user, other) = (Party::User(user), world.family().await.1);
    let ears = world.connected(&toy).await;
    for filter in ["#", "toy/+/state/#", "$SYS/x"] {
        subscribe(&ears, filter);
    }
    let forbidden = || Taken::Refused(DomainError::Forbidden.to_string());
    let id = toy.id();
    for (party, topic, expected) in [
        (&toy, format!("toy/{id}/state/x"), Taken::Routed(1)),
        (&toy, format!("toy/{id}/cmd/x"), forbidden()),
        (&toy, format!("toy/{id}/in"), forbidden()),
        (&toy, format!("toy/{id}/out"), forbidden()),
        (&toy, format!("toy/{id}/voice/a/0"), forbidden()),
        (&toy, format!("toy/{}/state/x", other.id()), forbidden()),
        (&toy, "$SYS/x".to_owned(), forbidden()),
        (&toy, "a".to_owned(), forbidden()),
        (&user, format!("online/{}", user.id()), forbidden()),
        (&user, format!("toy/{id}/cmd/x"), Taken::Undecided),
        (&user, format!("toy/{}/cmd/x", other.id()), Taken::Undecided),
        (&user, format!("chat/{}", ChatId::random()), Taken::Undecided),
        (&guest(), "a".to_owned(), Taken::Routed(1)),
        (&guest(), format!("chat/{}", ChatId::random()), Taken::Undecided),
    ] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let taken = world.take(party, message(&ears, &topic, qos, false, 1));
            assert_eq!(taken, expected, "{party} {topic} {qos:?}");
        }
    }
    // What is looked up has the same result as ever.
    for (topic, expected) in [(format!("toy/{id}/cmd/x"), true), (format!("toy/{}/cmd/x", other.id()), false)] {
        let publication = message(&ears, &topic, QoS::AtLeastOnce, false, 1);
        let undecided = world.hub.publish_at_once(&user, publication, None).unwrap_err();
        let published = world.hub.publish_undecided(&user, undecided).await;
        assert_eq!(published.is_ok(), expected, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_of_a_message_that_is_routed_at_once_is_stored_with_it() {
    let world = world(Config::default()).await;
    let (_, toy) = world.family().await;
    let mailbox = world.hub.open_session(&Admitted::unproven(toy.clone()), "c", 1000).await.unwrap();
    let topic = format!("toy/{}/state/x", toy.id());
    let publish = |receipt| {
        let publication = message(&mailbox, &topic, QoS::ExactlyOnce, false, 1);
        world.hub.publish_at_once(&toy, publication, receipt).unwrap().unwrap()
    };
    assert!(publish(None).commit.is_none(), "nobody stores it");
    assert!(publish(mailbox.receipt(7)).commit.unwrap().reached().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_retained_is_refused_at_once() {
    let world = world(Config::default()).await;
    let (_, toy) = world.family().await;
    let ears = world.connected(&toy).await;
    let topic = format!("toy/{}/state/x", toy.id());
    subscribe(&ears, &topic);
    let before = world.hub.figures().retained;
    assert_eq!(world.take(&toy, message(&ears, &topic, QoS::AtLeastOnce, true, 100)), Taken::Routed(1));
    assert_eq!(world.hub.figures().retained, before + 1);
    let refused = Taken::Refused(DomainError::Full("retained message").to_string());
    assert_eq!(world.take(&toy, message(&ears, &topic, QoS::AtLeastOnce, true, 101)), refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_only_messages_that_would_be_stored_are_refused_at_once() {
    let mut config = Config::default();
    config.server.free_bytes_min = u64::MAX;
    let world = world(config).await;
    let (_, toy) = world.family().await;
    let topic = format!("toy/{}/state/x", toy.id());
    let ears = world.connected(&toy).await;
    subscribe(&ears, &topic);
    let publish = |qos, retain| world.take(&toy, message(&ears, &topic, qos, retain, 1));
    let refused = || Taken::Refused(DomainError::DiskFull.to_string());
    assert_eq!(publish(QoS::AtLeastOnce, false), Taken::Routed(1));
    assert_eq!(publish(QoS::AtLeastOnce, true), refused());
    let session = world.hub.open_session(&Admitted::unproven(toy.clone()), "c", 1000).await.unwrap();
    subscribe(&session, &topic);
    assert_eq!(publish(QoS::AtLeastOnce, false), refused());
    assert_eq!(publish(QoS::AtMostOnce, false), Taken::Routed(2));
}
